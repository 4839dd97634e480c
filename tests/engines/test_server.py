"""A model behind an endpoint: what is sent, what is tried again, what ends the run, and where the key never shows."""

import asyncio
import importlib
import json
import os
import random
import re
import socket
import subprocess
import sys
import threading
import time
import traceback
import urllib.request
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from selfreward.engines import outside_model, trouble_of
from selfreward.engines.sampling.client import Pace, backoff, stated_pause
from selfreward.engines.sampling.probe import ASKED
from selfreward.engines.sampling.server import ServerModel
from selfreward.errors import SelfRewardError, amount
from selfreward.recipe import ServerConfig, load_recipe
from selfreward.records import Checkpoint, Completion, Judgment, Message, Prompt, Request, Sampling, content_id, read_jsonl
from selfreward.steps import Likely
from tinymodels import WORDS, make_model
from tinyrun import count_requests, go, make_world, quiet, tree

SAMPLING = Sampling(temperature=0.7, top_p=0.9, max_tokens=12)
JUDGE = Checkpoint(name="judge", path="judge", fingerprint="f0")
KEY = "sk-Plant3d-0123456789abcdef"


def ask(text="say it", index=0, top_logprobs=0):
    return Request.asking("about", index, (Message(role="user", content=text),), SAMPLING, JUDGE, 0, top_logprobs)


def said(text="fine", finish="stop", **choice):
    """The body of a chat completion."""
    usage = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
    message = {"role": "assistant", "content": text}
    return {"choices": [{"index": 0, "message": message, "finish_reason": finish, **choice}], "usage": usage}


class Endpoint:
    """A real HTTP server that answers by `play(number of the call, body, headers)`: a body, or (status, headers, body).

    Bytes are sent as they are; None hangs up without an answer. `listed` and `props` are what it says of itself; None: nothing.
    """

    listed = props = None

    def __init__(self):
        self.calls, self.headers, self.paths, self.play = [], [], [], lambda number, body, headers: said()
        self.lock, self.under_way, self.most = threading.Lock(), 0, 0
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                endpoint.answer(self)

            def do_GET(self):
                told = {"/v1/models": endpoint.listed, "/props": endpoint.props}.get(self.path)
                content = json.dumps(told).encode()
                self.send_response(404 if told is None else 200)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # a caller who hung up
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"

    def answer(self, handler):
        body = json.loads(handler.rfile.read(int(handler.headers["content-length"])))
        with self.lock:
            number = len(self.calls)
            self.calls.append(body)
            self.headers.append(dict(handler.headers))
            self.paths.append(handler.path)
            self.under_way += 1
            self.most = max(self.most, self.under_way)
        played = self.play(number, body, dict(handler.headers))
        with self.lock:
            self.under_way -= 1
        if played is None:
            handler.close_connection = True
            return
        status, headers, content = played if isinstance(played, tuple) else (200, {}, played)
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        handler.send_response(status)
        for name, value in {"content-type": "application/json", "content-length": str(len(content)), **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(content)

    def script(self, *played):
        """Answer in this order; the last one from then on."""
        self.play = lambda number, body, headers: played[min(number, len(played) - 1)]


@pytest.fixture
def endpoint():
    endpoint = Endpoint()
    yield endpoint
    endpoint.server.shutdown()
    endpoint.server.server_close()


@pytest.fixture
def opened(endpoint):
    """Opens the engine for the endpoint; what it slept is in `engine.slept`."""
    engines = []

    def open_engine(url=endpoint.url, **settings):
        slept = []

        async def sleep(seconds):
            slept.append(seconds)

        engine = ServerModel(ServerConfig(url=url, model="m", **settings), sleep, time.monotonic)
        engine.slept = slept
        engines.append(engine)
        return engine

    yield open_engine
    for engine in engines:
        engine.close()


def refused(engine, *requests):
    with pytest.raises(SelfRewardError) as caught:
        list(engine.generate(requests or [ask()]))
    assert caught.value.where == f"{engine.config.url} (m)"
    return caught.value


# ——— what is sent, what is read ———


def test_a_call_says_everything_about_the_sampling_and_asks_for_one_answer(endpoint, opened):
    messages = (Message(role="system", content="Be brief."), Message(role="user", content="say it"))
    request = Request.asking("about", 0, messages, SAMPLING, JUDGE, 0)
    (answer,) = opened().generate([request])
    assert answer == Completion(request_id=request.id, text="fine", finish="stop", prompt_tokens=7, completion_tokens=2)
    (call,) = endpoint.calls
    assert 0 <= call.pop("seed") < 2**31
    assert call == {
        "model": "m", "temperature": 0.7, "top_p": 0.9, "max_tokens": 12,
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "say it"}],
    }  # fmt: skip
    assert endpoint.paths == ["/v1/chat/completions"]


def test_a_text_that_is_to_be_forced_is_an_error_of_its_own_and_the_endpoint_is_not_asked(endpoint, opened):
    endpoint.script(said("fine"))
    forced, empty = (ask(index=n).model_copy(update={"forced": text}) for n, text in enumerate(("as it is", "")))
    found = {one.request_id: one for one in opened().generate([forced, ask("say it"), empty])}
    for request in (forced, empty):
        answer = found.pop(request.id)
        assert (answer.finish, answer.text, answer.logprob, answer.completion_tokens) == ("error", "", None, 0)
        assert Likely.read(request, answer).outcome == "untold"
    assert [one.text for one in found.values()] == ["fine"] and len(endpoint.calls) == 1


def test_samples_of_one_prompt_are_asked_with_seeds_of_their_own(endpoint, opened):
    list(opened().generate([ask(index=index) for index in range(20)]))
    assert len({call["seed"] for call in endpoint.calls}) == 20


def test_nothing_about_this_machine_or_another_endpoint_is_sent(endpoint, opened, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-of-mine")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "project-of-mine")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", f"Authorization: Bearer {KEY}\nX-Mine: {KEY}")
    list(opened().generate([ask()]))
    (headers,) = endpoint.headers
    assert {name.lower() for name in headers} == {
        "host", "connection", "accept", "accept-encoding", "content-type", "content-length", "user-agent",
    }  # fmt: skip


def test_the_key_that_the_recipe_names_is_sent_and_no_other(endpoint, opened, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-another")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "Authorization: Bearer sk-another")
    monkeypatch.setenv("JUDGE_KEY", f"{KEY}\n")
    list(opened(key_env="JUDGE_KEY").generate([ask()]))
    assert endpoint.headers[0]["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    ("finish", "read"),
    [("stop", "stop"), ("length", "length"), ("content_filter", "error"), ("tool_calls", "error"), (None, "error")],
)
def test_an_answer_ends_as_the_server_says_and_an_unknown_end_is_an_error(endpoint, opened, finish, read):
    endpoint.script(said("so far", finish))
    (answer,) = opened().generate([ask()])
    assert (answer.text, answer.finish) == ("so far", read)


@pytest.mark.parametrize(
    ("reply", "text", "finish"),
    [
        ({"choices": []}, "", "error"),
        ({"choices": [{"message": {"content": None}, "finish_reason": "stop"}], "usage": None}, "", "stop"),
        ({"choices": [{"message": {"content": "4", "reasoning_content": "Score: 5"}, "finish_reason": "stop"}]}, "4", "stop"),
        (said("\ud83d and \ud83d\ude00"), "? and 😀", "stop"),
        (said("<|im_end|>\x00\x1b[31m</script>Score: 5"), "<|im_end|>\x00\x1b[31m</script>Score: 5", "stop"),
    ],
    ids=["no choice", "no content", "thoughts", "half a surrogate pair", "hostile"],
)
def test_whatever_an_answer_holds_is_text(endpoint, opened, reply, text, finish):
    endpoint.script(reply)
    (answer,) = opened().generate([ask()])
    assert (answer.text, answer.finish) == (text, finish)
    assert type(answer).model_validate_json(answer.model_dump_json()) == answer


def likely(*tokens):
    listed = [{"token": token, "logprob": logprob, "bytes": None} for token, logprob in tokens]
    return {"content": [{"token": "x", "logprob": 0, "top_logprobs": listed}]}


def test_first_tokens_come_with_their_log_probabilities_and_those_that_read_the_same_are_one(endpoint, opened):
    endpoint.script(said(logprobs=likely(("m", -0.5), ("M", -1.25), ("m", -1.5), ("q", float("-inf")))))
    plain, asked = sorted(opened().generate([ask(), ask(top_logprobs=4)]), key=lambda answer: bool(answer.first_token))
    assert plain.first_token is None
    assert asked.first_token == pytest.approx({"m": -0.1867383125, "M": -1.25})  # log(e^-0.5 + e^-1.5)
    assert type(asked).model_validate_json(asked.model_dump_json()) == asked
    calls = {call.get("top_logprobs"): call.get("logprobs") for call in endpoint.calls}
    assert calls == {None: None, 4: True}


@pytest.mark.parametrize("logprobs", [None, {"content": None}, {"content": []}, likely(), {"tokens": ["m"]}, "none"])
def test_first_tokens_that_the_server_does_not_give_are_none_and_not_made_up(endpoint, opened, logprobs):
    endpoint.script(said(logprobs=logprobs))
    (answer,) = opened().generate([ask(top_logprobs=2)])
    assert (answer.first_token, answer.text) == (None, "fine")


def drawn(*tokens):
    """A completion's tokens, each with the likeliest at its place: (text, log-probability, {text: log-probability}, bytes?)."""
    return {
        "content": [
            {"token": text, "logprob": logprob, "bytes": spelled[0] if spelled else list(text.encode()),
             "top_logprobs": [{"token": other, "logprob": value, "bytes": None} for other, value in listed]}
            for text, logprob, listed, *spelled in tokens
        ]
    }  # fmt: skip


def watching(endpoint, opened, text, logprobs, watch=("0", "1", "2", "3", "4", "5"), top_logprobs=0):
    endpoint.script(said(text, logprobs=logprobs))
    request = ask(top_logprobs=top_logprobs)
    (answer,) = opened().generate([request.model_copy(update={"watch": watch})])
    assert answer.text == text and type(answer).model_validate_json(answer.model_dump_json()) == answer
    return [(one.at, one.logprobs) for one in answer.watched]


VERDICT = [("3", -0.1, [("3", -0.1), (" 3", -3.0), ("x", -4.0)]), (" points", -0.5, []), (". Score:", -0.5, [])]


def test_where_a_watched_token_was_drawn_its_rivals_come_with_it_and_those_that_read_the_same_are_one(endpoint, opened):
    tokens = drawn(*VERDICT, (" 4\n", -1.0, [(" 4\n", -1.0), ("4", -2.0), (" 5", -0.75), (" 9", -3.0), ("2", -9.0)]))
    found = watching(endpoint, opened, "3 points. Score: 4\n", tokens)
    assert found == [
        (0, {"3": pytest.approx(-0.0464, abs=1e-4)}),  # log(e^-0.1 + e^-3)
        (17, {"4": pytest.approx(-0.68674, abs=1e-5), "5": -0.75, "2": -9.0}),  # log(e^-1 + e^-2)
    ]
    assert (endpoint.calls[0]["logprobs"], endpoint.calls[0]["top_logprobs"]) == (True, 20)


def test_a_watched_token_that_was_drawn_counts_also_where_it_is_not_among_the_likeliest(endpoint, opened):
    found = watching(endpoint, opened, "Score: 1", drawn(("Score: ", 0.0, []), ("1", -5.0, [("4", -0.1), ("5", -2.0)])))
    assert found == [(7, {"1": -5.0, "4": -0.1, "5": -2.0})]


def test_places_are_counted_in_characters_of_the_text_whatever_stands_before_and_after_it(endpoint, opened):
    split = [("\ufffd", -1.0, [], [0xF0, 0x9F]), ("\ufffd", -1.0, [], [0x98, 0x80])]  # one 😀 in two tokens
    thought = [("<think>😀 é: ", -1.0, []), ("4", -2.0, [("4", -2.0)]), ("</think>\n\n", -1.0, [])]  # the very words of the text
    tokens = drawn(*thought, *split, (" é: ", -1.0, []), ("4", -1.0, [("4", -1.0)]), ("<|im_end|>", 0.0, []))
    assert watching(endpoint, opened, "😀 é: 4", tokens) == [(5, {"4": -1.0})]


def test_first_tokens_stay_as_many_as_were_asked_for_where_others_are_watched(endpoint, opened):
    endpoint.script(said("4", logprobs=drawn(("4", -0.5, [("4", -0.5), ("5", -1.5), ("3", -2.5)]))))
    (answer,) = opened().generate([ask(top_logprobs=2).model_copy(update={"watch": ("4", "5")})])
    assert answer.first_token == {"4": -0.5, "5": -1.5}
    assert [one.logprobs for one in answer.watched] == [{"4": -0.5, "5": -1.5}]


@pytest.mark.parametrize(
    "logprobs",
    [
        None,
        {"content": None},
        {"content": []},
        "none",
        drawn(("Score:", -1.0, []), (" 5", -1.0, [(" 5", -1.0)])),  # tokens of another text
        drawn(("Score", -1.0, []), (": 4", -1.0, [(": 4", -1.0)])),  # part of a longer token
        {"content": [{"token": "Score: ", "logprob": 0.0}, {"token": "4", "logprob": 0.0}]},  # no alternatives
        drawn(("Score: ", -1.0, [], [300])),  # no bytes
    ],
    ids=["null", "no content", "empty", "a word", "another text", "part of a token", "no list", "bytes beyond 255"],
)
def test_watched_tokens_that_the_server_does_not_give_are_none_and_not_made_up(endpoint, opened, logprobs):
    assert watching(endpoint, opened, "Score: 4", logprobs) == []


def test_nothing_is_watched_where_nothing_is_asked_for(endpoint, opened):
    endpoint.script(said("4", logprobs=drawn(("4", -0.5, [("4", -0.5)]))))
    (answer,) = opened().generate([ask()])
    assert answer.watched == () and "logprobs" not in endpoint.calls[0]


# ——— what is tried again ———

MAY_PASS = [
    (429, {}, {}),
    (408, {}, {}),
    (409, {}, {}),
    (500, {}, {"error": {"message": "oops"}}),
    (502, {"content-type": "text/html"}, b"<html>Bad gateway</html>"),
    None,
    b"",
    b"[]",
    b'{"choices": [',
    b"\xff\xfe",
    b"[" * 100_000,
    {"error": {"message": "overloaded"}},
    {"choices": [{"message": {"content": 7}}]},
]


@pytest.mark.parametrize("failure", MAY_PASS, ids=lambda failure: str(failure)[:30])
def test_what_may_pass_is_tried_again_after_a_pause(endpoint, opened, failure):
    endpoint.script(failure, said("better"))
    engine = opened()
    assert [answer.text for answer in engine.generate([ask()])] == ["better"]
    assert len(endpoint.calls) == 2 and endpoint.calls[0] == endpoint.calls[1]
    assert 0.5 <= engine.slept[0] <= 1 and len(engine.slept) == 1


def test_a_server_that_does_not_answer_in_time_is_asked_again(endpoint, opened):
    never = threading.Event()
    endpoint.play = lambda number, body, headers: said("too late" if number == 0 and not never.wait(30) else "in time")
    assert [answer.text for answer in opened(timeout=1).generate([ask()])] == ["in time"]
    assert len(endpoint.calls) >= 2
    never.set()


def test_pauses_grow_and_the_servers_own_is_kept_to(endpoint, opened):
    busy = (503, {}, {"error": "loading"})
    endpoint.script(busy, busy, (429, {"retry-after": "17"}, {}), busy, said())
    engine = opened(retries=4)
    assert len(list(engine.generate([ask()]))) == 1
    first, second, asked, fourth = engine.slept
    assert 0.5 <= first <= 1 <= second <= 2 and asked == 17 and 4 <= fourth <= 8


def test_pauses_double_up_to_a_minute_and_are_spread(monkeypatch):
    assert len({backoff(3) for _ in range(10)}) == 10 and all(4 <= backoff(3) <= 8 for _ in range(50))
    monkeypatch.setattr(random, "uniform", lambda low, high: high)
    assert [backoff(attempt) for attempt in (*range(8), 5000)] == [1, 2, 4, 8, 16, 32, 60, 60, 60]


@pytest.mark.parametrize(
    ("stated", "pause"),
    [
        *[("0", 0), ("2.5", 2.5), ("86400", 600), ("inf", 600), ("-3", None), ("nan", None), ("soon", None), ("", None)],
        *[("Wed, 21 Oct 2099 07:28:00 GMT", 600), ("Wed, 21 Oct 2015 07:28:00 GMT", None)],
    ],
)
def test_a_stated_pause_is_a_number_of_seconds_or_a_date_and_never_for_ever(stated, pause):
    assert stated_pause({"retry-after": stated}) == pause


def test_a_server_that_stays_down_ends_the_run_and_says_what_was_tried(endpoint, opened):
    endpoint.script((500, {}, {}), None, (500, {}, {}), (500, {}, b"no\nGPU \x1b[31mleft"))
    engine = opened(retries=3)
    error = refused(engine)
    assert error.what.startswith("no completion in 4 tries (3 × status 500, 1 × no connection")
    assert error.what.endswith("it said: no GPU [31mleft)") and "same command goes on" in error.now
    assert len(engine.slept) == 3


def test_a_server_that_does_not_answer_is_told_of_until_an_answer_comes(endpoint, opened):
    engine, told = opened(retries=3), []
    endpoint.play = lambda number, body, headers: (503, {}, {"error": "starting"}) if number < 2 else said()

    async def sleep(seconds):
        told.append(engine.trouble)

    engine._sleep = sleep
    assert trouble_of(engine) == ""
    (answer,) = engine.generate([ask()])
    assert told == [f"{endpoint.url} (m) does not answer: status 503, {n} of 4 tries failed" for n in (1, 2)]
    assert (answer.text, trouble_of(engine)) == ("fine", "")
    endpoint.play = lambda number, body, headers: said() if body["messages"][0]["content"] == "Hi" else (500, {}, {"error": "no"})
    (answer,) = engine.generate([ask(index=1)])
    assert (answer.finish, trouble_of(engine)) == ("error", "")


def test_where_there_is_no_server_at_all_the_error_says_so(opened):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        error = refused(opened(url=f"http://127.0.0.1:{taken.getsockname()[1]}/v1", retries=1))
    assert "2 × no connection" in error.what


def test_what_was_answered_before_a_failure_is_given_out_first(endpoint, opened):
    endpoint.play = lambda number, body, headers: (401, {}, {}) if "bad" in str(body["messages"]) else said()
    stream = opened(concurrency=1).generate([ask("good"), ask("good", 1), ask("bad"), ask("good", 2)])
    assert [next(stream).text, next(stream).text] == ["fine", "fine"]
    with pytest.raises(SelfRewardError):
        next(stream)
    assert len(endpoint.calls) == 3


def test_of_what_came_meanwhile_the_answers_are_given_out_before_the_failure(endpoint, opened):
    taken = threading.Event()

    def play(number, body, headers):
        assert "first" in str(body["messages"]) or taken.wait(30)
        return (401, {}, {}) if "bad" in str(body["messages"]) else said()

    endpoint.play = play
    engine, answers = opened(concurrency=6), []
    stream = engine.generate([ask("first"), ask("bad"), *(ask("good", index) for index in range(4))])
    answers.append(next(stream))
    taken.set()
    while asyncio.all_tasks(engine._loop):
        time.sleep(0.001)
    asyncio.run_coroutine_threadsafe(asyncio.sleep(0), engine._loop).result()
    answers += [next(stream) for _ in range(4)]
    with pytest.raises(SelfRewardError):
        next(stream)
    assert len({answer.request_id for answer in answers}) == 5


# ——— what is not ———


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_is_not_accepted_is_said_by_its_variables_name(endpoint, opened, monkeypatch, status):
    endpoint.play = lambda number, body, headers: (status, {}, {"error": {"message": f"{headers['authorization']} is wrong"}})
    monkeypatch.setenv("JUDGE_KEY", KEY)
    error = refused(opened(key_env="JUDGE_KEY"))
    assert "JUDGE_KEY" in error.what and "JUDGE_KEY" in error.now and "is wrong" in error.what
    assert len(endpoint.calls) == (1 if status == 401 else 2)  # 403 may be about one request: a greeting tells


def test_a_server_that_wants_a_key_where_none_is_named_says_where_to_name_it(endpoint, opened):
    endpoint.script((401, {}, {}))
    assert "key_env" in refused(opened()).now


@pytest.mark.parametrize("played", [(404, {}, {}), (405, {}, {}), (308, {"location": "http://127.0.0.1:9/v1"}, b"")])
def test_a_wrong_address_or_model_ends_the_run_at_once(endpoint, opened, played):
    endpoint.script(played)
    error = refused(opened())
    assert "url" in error.now and "model" in error.now
    assert len(endpoint.calls) == (2 if played[0] == 404 else 1)  # 404 may be about one request: a greeting tells


def too_long(number, body, headers):
    """Refuses long prompts and answers all others."""
    if max(len(message["content"]) for message in body["messages"]) > 20:
        return 400, {}, {"error": {"message": "This model's maximum context length is 20", "code": "context_length_exceeded"}}
    return said()


def test_a_request_that_is_refused_for_what_it_says_is_an_error_of_its_own(endpoint, opened):
    endpoint.play = too_long
    long, short = ask("x" * 30), ask("short")
    answers = {answer.request_id: answer for answer in opened().generate([long, short])}
    assert (answers[long.id].finish, answers[long.id].text) == ("error", "")
    assert answers[short.id].finish == "stop"
    probe = next(call for call in endpoint.calls if call["messages"][0]["content"] == "Hi")
    assert probe == {**next(c for c in endpoint.calls if len(c["messages"][0]["content"]) == 30), "messages": probe["messages"]}


def test_a_server_that_refuses_whatever_it_is_asked_ends_the_run(endpoint, opened):
    endpoint.script((400, {}, {"detail": "Server is pinned to 'b'; requested 'm'."}))
    error = refused(opened(), ask("x" * 30), ask("short"))
    assert "pinned to 'b'" in error.what and "every request" in error.what


def test_a_server_that_wants_the_length_under_its_new_name_gets_it(endpoint, opened):
    words = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
    endpoint.play = lambda number, body, headers: (400, {}, {"error": {"message": words}}) if "max_tokens" in body else said()
    engine = opened(concurrency=4)
    assert [answer.finish for answer in engine.generate([ask(index=index) for index in range(9)])] == ["stop"] * 9
    told = [call for call in endpoint.calls if "max_tokens" in call]
    assert 1 <= len(told) <= 4 and all("max_completion_tokens" not in call for call in told)
    assert all(call["max_completion_tokens"] == 12 for call in endpoint.calls if call not in told)


def test_a_server_that_knows_no_seed_gets_none(endpoint, opened):
    words = {"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"]}]}
    endpoint.play = lambda number, body, headers: (422, {}, words) if "seed" in body else said()
    engine = opened(concurrency=1)
    assert len(list(engine.generate([ask(index=index) for index in range(3)]))) == 3
    assert ["seed" in call for call in endpoint.calls] == [True, False, False, False]


# ——— what one request fails of ———

ALONE = [
    (403, {}, {"error": {"message": "flagged by moderation"}}),
    (404, {}, {"error": {"message": "no endpoint found for this request"}}),
    (413, {}, {"error": "too large"}),
    (422, {}, {"detail": "not this"}),
    (451, {}, {"error": "not here"}),
    (500, {}, {"error": "Conversation roles must alternate"}),
    (501, {}, {"error": "not such"}),
    (502, {}, {"error": "the model gave nothing"}),
    {"error": {"message": "no choices for this"}},
    b"<html>",
    {"choices": None},
    {"choices": [{"message": None, "finish_reason": "stop"}]},
]


@pytest.mark.parametrize("failure", ALONE, ids=lambda failure: str(failure)[:40])
def test_a_request_that_always_fails_is_an_error_of_its_own_with_its_reason_and_the_others_go_on(endpoint, opened, failure):
    endpoint.play = lambda number, body, headers: failure if "bad" in body["messages"][0]["content"] else said()
    bad, good = ask("bad"), [ask("good", index) for index in range(5)]
    answers = {answer.request_id: answer for answer in opened(concurrency=2).generate([bad, *good])}
    assert [answers[request.id].text for request in good] == ["fine"] * 5
    failed = answers[bad.id]
    assert (failed.finish, failed.text) == ("error", "") and failed.reason
    words = json.dumps(failure[2]) if isinstance(failure, tuple) else "choice" if isinstance(failure, dict) else "<html>"
    assert words in failed.reason or json.dumps(failure)[:20] in failed.reason
    assert type(failed).model_validate_json(failed.model_dump_json()) == failed


@pytest.mark.parametrize("failure", [(429, {}, {}), (503, {}, {}), (504, {}, {}), (529, {}, {}), (408, {}, {}), None], ids=str)
def test_a_server_with_no_room_for_a_request_ends_the_run_though_it_has_room_for_a_greeting(endpoint, opened, failure):
    endpoint.play = lambda number, body, headers: failure if "bad" in body["messages"][0]["content"] else said()
    assert "no completion in 2 tries" in refused(opened(retries=1), ask("bad")).what


@pytest.mark.parametrize("failure", ALONE[:10], ids=lambda failure: str(failure)[:40])
def test_what_fails_whatever_is_asked_ends_the_run(endpoint, opened, failure):
    endpoint.script(failure)
    assert refused(opened(retries=1), ask("bad"), ask("good"))


def test_where_not_one_request_is_answered_the_run_ends_though_a_greeting_is(endpoint, opened, monkeypatch):
    monkeypatch.setattr("selfreward.engines.sampling.server.NONE_YET", 5)
    flagged = (403, {}, {"error": {"message": "flagged"}})
    endpoint.play = lambda number, body, headers: said() if body["messages"][0]["content"] == "Hi" else flagged
    error = refused(opened(), *(ask(index=index) for index in range(8)))
    assert "not one of the first 5 requests was answered" in error.what and "flagged" in error.what
    four = list(opened().generate([ask(index=index) for index in range(4)]))
    assert [answer.finish for answer in four] == ["error"] * 4
    endpoint.play = lambda number, body, headers: said() if body["messages"][0]["content"] in ("Hi", "fine") else flagged
    late = list(opened(concurrency=1).generate([ask("fine"), *(ask(index=index) for index in range(8))]))
    assert [answer.finish for answer in late].count("error") == 8


# ——— what a server takes ———

BOTH = "`temperature` and `top_p` cannot both be specified for this model. Please use only one."
FIXED = "Unsupported value: 'temperature' does not support 0.7 with this model. Only the default (1) value is supported."


@pytest.mark.parametrize(
    ("words", "refused_with", "left_out"),
    [
        (BOTH, {"temperature", "top_p"}, ["top_p"]),
        (FIXED, {"temperature"}, ["temperature"]),
        ("Unsupported parameter: 'top_p' is not supported with this model.", {"top_p"}, ["top_p"]),
        ("topP is not allowed", {"top_p"}, ["top_p"]),
    ],
)
def test_a_field_that_a_server_refuses_is_left_out_from_then_on(endpoint, opened, words, refused_with, left_out):
    endpoint.play = lambda number, body, headers: (
        (400, {}, {"error": {"message": words}}) if refused_with <= body.keys() else said()
    )
    engine = opened(concurrency=1)
    assert [answer.finish for answer in engine.generate([ask(index=index) for index in range(3)])] == ["stop"] * 3
    assert len(endpoint.calls) == 4 and sorted(engine.dialect.without) == left_out
    asked = {"temperature", "top_p", "seed", "max_tokens"}
    assert all(asked - call.keys() == {*left_out} for call in endpoint.calls[1:])


def test_a_refusal_that_quotes_the_prompt_takes_no_field_away(endpoint, opened):
    def play(number, body, headers):
        asked = body["messages"][0]["content"]
        return (400, {}, {"error": f"not allowed: {asked}"}) if "plant" in asked else said()

    endpoint.play = play
    engine = opened(concurrency=1)
    bad, good = ask("plant a seed at that temperature"), ask("good")
    answers = {answer.request_id: answer for answer in engine.generate([bad, good])}
    assert answers[bad.id].finish == "error" and answers[good.id].finish == "stop"
    assert engine.dialect.without == frozenset() and {"seed", "temperature"} <= endpoint.calls[-1].keys()


def windowed(context, tell=True):
    """Refuses what does not fit into `context`, a token a character, as vLLM does."""

    def play(number, body, headers):
        read = sum(len(message["content"]) for message in body["messages"])
        if read + body["max_tokens"] > context:
            return 400, {}, {"error": {"message": f"This model's maximum context length is {context} tokens."}}
        usage = {"prompt_tokens": read if tell else None, "completion_tokens": body["max_tokens"]}
        return {**said("x" * body["max_tokens"], "length"), "usage": usage}

    return play


@pytest.mark.parametrize(
    ("context", "told", "counted", "tokens"),
    [(40, True, True, 10), (40, False, True, 6), (40, True, False, 6), (31, True, True, 1), (30, True, True, None)],
)
def test_a_long_prompt_gets_as_many_tokens_as_there_is_room_for(endpoint, opened, context, told, counted, tokens):
    endpoint.listed = {"data": [{"id": "other", "max_model_len": 9}, {"id": "m", "max_model_len": context}]} if told else None
    endpoint.play = windowed(context, counted)
    engine = opened(concurrency=1)
    long, short = engine.generate([ask("x" * 30), ask("short")])
    assert short.completion_tokens == 12 and engine.dialect.context == (context if told else None)
    if tokens is None:
        assert long.finish == "error" and "maximum context length is 30" in long.reason
    else:
        assert (long.finish, long.text) == ("length", "x" * tokens)


def test_where_no_answer_fits_as_long_as_the_recipe_allows_all_are_as_long_as_fits(endpoint, opened):
    endpoint.listed = {"data": [{"id": "m", "max_model_len": 12}]}
    endpoint.play = windowed(12)
    assert [answer.text for answer in opened(concurrency=1).generate([ask("say"), ask("say it")])] == ["x" * 9, "x" * 6]


@pytest.mark.parametrize(
    ("listed", "context"),
    [
        ({"data": [{"id": "m", "max_model_len": 4096}]}, 4096),
        ({"data": [{"id": "another", "max_model_len": 4096}]}, 4096),  # the only one that there is
        ({"data": [{"id": "a", "max_model_len": 1}, {"id": "b", "max_model_len": 2}]}, None),
        ({"data": [{"id": "m", "context_length": 8192}]}, 8192),
        ({"data": [{"id": "m", "max_model_len": None, "context_window": 7}]}, 7),
        *[({"data": [{"id": "m", "max_model_len": size}]}, None) for size in ("4096", -1, 0, True, 4096.5, [1])],
        *[(listed, None) for listed in ([], {}, {"data": None}, {"data": [None, 3]}, {"data": {}}, "x", 7)],
    ],
)
def test_a_context_is_taken_from_the_list_of_models_where_it_stands_there(endpoint, opened, listed, context):
    endpoint.listed = listed
    engine = opened()
    assert len(list(engine.generate([ask()]))) == 1 and engine.dialect.context == context


LLAMA = {"data": [{"id": "m.gguf", "owned_by": "llamacpp", "meta": {"n_ctx_train": 8192}}]}


def test_llama_cpp_is_known_by_its_list_and_told_to_sample_as_asked(endpoint, opened, monkeypatch):
    endpoint.listed, endpoint.props = LLAMA, {"default_generation_settings": {"n_ctx": 1024}, "total_slots": 2}
    engine = opened()
    list(engine.generate([ask()]))
    assert endpoint.calls[0]["samplers"] == ["temperature", "top_p"] and engine.dialect.context == 1024
    mine = opened(extra={"samplers": ["top_k", "temperature"], "top_k": 7})
    list(mine.generate([ask()]))
    assert (endpoint.calls[1]["samplers"], endpoint.calls[1]["top_k"]) == (["top_k", "temperature"], 7)
    endpoint.listed = {"data": [{"id": "llama.cpp", "owned_by": "me"}]}  # not by its name
    list(opened().generate([ask()]))
    assert "samplers" not in endpoint.calls[2]


def test_a_server_that_never_says_what_it_is_is_asked_all_the_same(endpoint, opened, monkeypatch):
    monkeypatch.setattr("selfreward.engines.sampling.server.PATIENCE", 0.2)
    never = threading.Event()
    endpoint.server.RequestHandlerClass.do_GET = lambda handler: never.wait(30)
    assert [answer.text for answer in opened(retries=0).generate([ask()])] == ["fine"]
    never.set()


def test_extra_fields_go_into_every_body_and_make_another_judge(endpoint, opened):
    plain, more = ServerConfig(url=endpoint.url, model="m"), ServerConfig(url=endpoint.url, model="m", extra={"top_k": 0})
    list(opened(extra={"top_k": 0, "chat_template_kwargs": {"enable_thinking": False}}).generate([ask()]))
    assert endpoint.calls[0]["top_k"] == 0 and endpoint.calls[0]["chat_template_kwargs"] == {"enable_thinking": False}
    prints = [outside_model("j", {"j": config}).fingerprint for config in (plain, more)]
    assert prints[0] == content_id("server", endpoint.url, "m") != prints[1]
    assert "extra" not in plain.model_dump() and more.model_dump()["extra"] == {"top_k": 0}


@pytest.mark.parametrize("name", ["model", "messages", "temperature", "top_p", "max_tokens", "seed", "n", "stream", "logprobs"])
def test_extra_cannot_say_what_the_recipe_says_elsewhere(tmp_path, name):
    served = {"servers.j.url": "http://host/v1", "servers.j.model": "m", "servers.j.extra": {name: 1}}
    with pytest.raises(SelfRewardError, match=f"{name} is decided by other fields"):
        load_recipe(make_world(tmp_path), served)


SCHEMA = '{"type": "object", "properties": {"score": {"type": "number"}}}'


def test_a_schema_is_sent_as_the_form_of_the_answer_and_none_where_none_is_asked_for(endpoint, opened):
    list(opened(concurrency=1).generate([ask().model_copy(update={"json_schema": SCHEMA}), ask(index=1)]))
    shaped, plain = endpoint.calls
    sent = {"name": "verdict", "schema": {"type": "object", "properties": {"score": {"type": "number"}}}, "strict": True}
    assert shaped["response_format"] == {"type": "json_schema", "json_schema": sent} and "response_format" not in plain


def test_a_server_that_takes_no_schema_is_asked_without_and_keeps_its_seeds(endpoint, opened):
    words = {"error": {"message": "This response_format type is unavailable now"}}
    endpoint.play = lambda number, body, headers: (400, {}, words) if "response_format" in body else said()
    asked = [ask(index=index).model_copy(update={"json_schema": SCHEMA}) for index in range(3)]
    assert [answer.finish for answer in opened(concurrency=1).generate(asked)] == ["stop"] * 3
    assert ["response_format" in call for call in endpoint.calls] == [True, False, False, False]
    assert all("seed" in call for call in endpoint.calls)


# ——— how many at once, how fast ———


def test_as_many_calls_are_under_way_as_may_be_and_never_more(endpoint, opened):
    together = threading.Barrier(4)
    endpoint.play = lambda number, body, headers: together.wait(30) >= 0 and said()
    requests = [ask(index=index) for index in range(12)]
    answers = list(opened(concurrency=4).generate(requests))
    assert {answer.request_id for answer in answers} == {request.id for request in requests}
    assert endpoint.most == 4 and not together.broken


def test_a_slow_answer_holds_up_no_other(endpoint, opened):
    fast = threading.Barrier(2)  # passed once the nine others are answered
    endpoint.play = lambda number, body, headers: said("slow") if "slow" in str(body) and fast.wait(30) >= 0 else said()
    answers = []
    for answer in opened(concurrency=2).generate([ask("slow"), *(ask(index=index) for index in range(9))]):
        answers.append(answer.text)
        if len(answers) == 9:
            fast.wait(30)
    assert answers == ["fine"] * 9 + ["slow"]


def test_a_plan_has_every_request_on_its_own(opened):
    assert opened(concurrency=4).batches([ask(index=index) for index in range(3)]) == [[0], [1], [2]]
    assert opened(concurrency=4).batches([]) == []


class Time:
    """A clock that stands still but for sleeping."""

    now = 100.0

    async def sleep(self, seconds):
        self.now += seconds


def begun(per_minute, busy):
    """When calls begin that each keep one caller busy for so many seconds."""
    time_, begins = Time(), []
    pace = Pace(per_minute, time_.sleep, lambda: time_.now)

    async def call():
        for seconds in busy:
            await pace.turn()
            begins.append(time_.now - 100)
            time_.now += seconds

    asyncio.run(call())
    return begins


def test_calls_begin_evenly_spaced_and_are_not_caught_up_with():
    assert begun(30, [0, 0, 0, 0, 0]) == [0, 2, 4, 6, 8]
    assert begun(30, [0, 0.5, 7, 0, 0]) == [0, 2, 4, 11, 13]
    assert begun(None, [0, 0, 5, 0]) == [0, 0, 0, 5]


def test_every_attempt_counts_towards_the_rate(endpoint):
    time_, tries = Time(), []

    def play(number, body, headers):
        tries.append(time_.now - 100)
        return (429, {"retry-after": "1"}, {}) if number < 2 else said()

    endpoint.play = play
    engine = ServerModel(ServerConfig(url=endpoint.url, model="m", requests_per_minute=6), time_.sleep, lambda: time_.now)
    assert len(list(engine.generate([ask()]))) == 1
    engine.close()
    assert tries == [0, 10, 20]


def test_calls_under_way_are_broken_off_where_no_one_waits_for_them_any_more(endpoint, opened):
    never = threading.Event()
    endpoint.play = lambda number, body, headers: (number == 0 or never.wait(60)) and said()
    engine = opened(concurrency=3)
    stream = engine.generate([ask(index=index) for index in range(9)])
    next(stream)
    stream.close()
    for _ in range(1000):
        if not asyncio.all_tasks(engine._loop):
            break
        time.sleep(0.01)
    assert not asyncio.all_tasks(engine._loop)
    never.set()


def test_an_engine_can_be_closed_while_calls_are_under_way(endpoint):
    never = threading.Event()
    endpoint.play = lambda number, body, headers: (number == 0 or never.wait(60)) and said()
    engine = ServerModel(ServerConfig(url=endpoint.url, model="m", concurrency=3))
    stream = engine.generate([ask(index=index) for index in range(9)])
    next(stream)
    engine.close()
    never.set()
    assert not engine._thread.is_alive() and engine._loop.is_closed()


def test_it_works_where_a_loop_is_running_already(endpoint, opened):
    async def notebook():
        return list(opened().generate([ask()]))

    assert len(asyncio.run(notebook())) == 1


# ——— the key ———


def test_a_variable_that_is_not_set_or_holds_no_key_is_refused_by_name(opened, monkeypatch):
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    with pytest.raises(SelfRewardError, match="JUDGE_KEY is not set"):
        opened(key_env="JUDGE_KEY")
    monkeypatch.setenv("JUDGE_KEY", f"{KEY}\nJUDGE_KEY={KEY}")
    with pytest.raises(SelfRewardError, match="JUDGE_KEY holds no key") as caught:
        opened(key_env="JUDGE_KEY")
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"servers.j.key_env": KEY},
        {"servers.j.key": KEY},
        {"servers.j.url": f"https://me:{KEY}@host/v1"},
        {"servers.j.url": f"https://host/v1?key={KEY}"},
        {"servers.j.extra": {"stop": [KEY]}},
        {"servers.j.extra": {"api_key": KEY[3:]}},
        {"servers.j.extra": {"seed": 1, "headers": {"X-Api-Key": KEY[3:]}}},
        {"servers.j.extra": {"tools": [{"url": f"https://me:{KEY[3:]}@host"}]}},
        {"servers.j.extra": {"header": f"Authorization: Bearer {KEY[3:]}"}},
    ],
    ids=str,
)
def test_a_key_in_the_recipe_is_refused_and_not_shown(tmp_path, changes):
    recipe = make_world(tmp_path)
    base = {"servers.j.url": "http://host/v1", "servers.j.model": "m"}
    assert load_recipe(recipe, {**base, "servers.j.key_env": "JUDGE_KEY"}).servers["j"].key_env == "JUDGE_KEY"
    with pytest.raises(SelfRewardError) as caught:
        load_recipe(recipe, {**base, **changes})
    assert KEY[3:] not in str(caught.value)


def test_extra_fields_that_only_sound_like_secrets_are_taken(tmp_path):
    extra = {"return_token_ids": True, "stop_token_ids": [2], "prompt_cache_key": "run", "eos_token": "</s>"}
    served = {"servers.j.url": "http://host/v1", "servers.j.model": "m", "servers.j.extra": extra}
    assert load_recipe(make_world(tmp_path), served).servers["j"].extra == extra


def test_no_error_shows_a_key_that_the_server_says_back(endpoint, opened, monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", KEY)
    for status in (400, 401, 404, 500, 200):
        endpoint.play = lambda number, body, headers, status=status: (
            (status, {}, {"error": {"message": f"got {headers['authorization']}"}})
        )
        error = refused(opened(key_env="JUDGE_KEY", retries=0))
        assert KEY not in "".join(traceback.format_exception(error)) + repr(error)
        assert "got Bearer ***" in str(error)


def test_a_placeholder_for_a_key_stays_in_the_text(endpoint, opened, monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", "EMPTY")
    endpoint.script(said("The box is EMPTY."))
    assert [answer.text for answer in opened(key_env="JUDGE_KEY").generate([ask()])] == ["The box is EMPTY."]


def test_without_the_client_the_error_says_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "selfreward.engines.sampling.server")
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(SelfRewardError) as caught:
        importlib.import_module("selfreward.engines.sampling.server")
    assert caught.value.now == "pip install 'selfreward-lm[server]'"


# ——— in a run ———


def scores(body, headers):
    """A judge that says its caller's key back, and that draws by its seed."""
    return said(f"{headers.get('authorization')} {body['seed']} Score: {len(str(body['messages'])) % 6}")


def judging(body):
    """Whether a call asks for a judgment, and not for what the server honours."""
    return body["messages"][0]["content"] != ASKED


@pytest.fixture
def judged(tmp_path, endpoint, monkeypatch):
    """Starts, or goes on with, a run whose judge is the endpoint."""
    recipe = make_world(tmp_path / "world")
    monkeypatch.setenv("JUDGE_KEY", KEY)
    monkeypatch.setattr("selfreward.engines.sampling.server.backoff", lambda attempt: 0)
    served = {"judge__by": "outside", "servers__outside__model": "m", "servers__outside__key_env": "JUDGE_KEY"}
    return lambda **changes: go(recipe, tmp_path / "run", servers__outside__url=endpoint.url, **served, **changes)


def test_a_run_with_an_outside_judge_holds_its_judgments_and_its_key_nowhere(tmp_path, endpoint, judged, capfd):
    endpoint.play = lambda number, body, headers: scores(body, headers)
    judged()
    judgments = read_jsonl(tmp_path / "run" / "M2" / "judgments.jsonl", Judgment)
    assert {judgment.outcome for judgment in judgments} == {"scored"}
    assert all(re.match(r"Bearer \*\*\* \d+ Score: ", judgment.rationale) for judgment in judgments)
    assert (tmp_path / "run" / "report" / "index.html").exists()
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
    assert KEY not in "".join(capfd.readouterr())


def test_a_run_that_a_dead_server_ended_goes_on_and_asks_nothing_again_that_was_answered(tmp_path, endpoint, judged, monkeypatch):
    quiet(monkeypatch)
    own, answered, down = count_requests(monkeypatch), Counter(), iter(range(10))

    def play(number, body, headers):
        if next(down, None) is None:
            return 503, {}, {"error": f"{headers['authorization']}: gone"}
        if judging(body):
            answered[json.dumps(body)] += 1
        return scores(body, headers)

    endpoint.play = play
    with pytest.raises(SelfRewardError, match="status 503") as caught:
        judged(servers__outside__concurrency=2)
    assert KEY not in str(caught.value)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
    down = iter(range(1000))
    judged(servers__outside__concurrency=2)
    assert max(answered.values()) == 1 and set(own.values()) == {1}
    whole = tree(tmp_path / "run")
    judged(servers__outside__concurrency=5)
    assert {name: digest for name, digest in tree(tmp_path / "run").items() if name != "config.json"} == {
        name: digest for name, digest in whole.items() if name != "config.json"
    }


def test_why_judgments_failed_is_kept_with_the_stage_and_said(tmp_path, endpoint, judged, capfd):
    flagged = []

    def play(number, body, headers):
        if judging(body) and body["seed"] % 4 == 0 and body["messages"][0]["content"] != "Hi":
            flagged.append(number)
            return 403, {}, {"error": f"{headers['authorization']} flagged"}
        return scores(body, headers)

    endpoint.play = play
    judged(responses__n=6)
    receipt = json.loads((tmp_path / "run" / "M2" / "judgments.receipt.json").read_text())
    assert 0 < len(flagged) == receipt["outcomes"]["error"]
    assert receipt["failed"] == {'status 403: {"error": "Bearer *** flagged"}': len(flagged)}
    assert "failed" not in json.loads((tmp_path / "run" / "M2" / "responses.receipt.json").read_text())
    assert f"M2/judgments: {amount(len(flagged), 'request')} failed, most of them with: status 403" in capfd.readouterr().err


# ——— a real server ———


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """(url, model) of a `transformers serve` process; killed at the end."""
    folder = make_model(tmp_path_factory.mktemp("served") / "model")
    config = folder / "generation_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "do_sample": True}))  # else it is greedy whatever is asked
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [Path(sys.executable).with_name("transformers"), "serve", folder, "--port", str(port), "--host", "127.0.0.1"]
    quiet_and_offline = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with (folder.parent / "log").open("w") as log:
        process = subprocess.Popen([*command, "--device", "cpu"], env=quiet_and_offline, stdout=log, stderr=log)
    try:
        for _ in range(240):
            assert process.poll() is None, (folder.parent / "log").read_text()
            if healthy(port):
                break
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1", str(folder)
    finally:
        process.kill()
        process.wait()


def healthy(port):
    try:
        return urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).status == 200
    except OSError:
        return False


def test_a_real_server_answers_each_request_in_its_own_words(served):
    engine = ServerModel(ServerConfig(url=served[0], model=served[1], concurrency=3))
    requests = [ask("bak del fim", index, top_logprobs=3) for index in range(6)]
    answers = {answer.request_id: answer for answer in engine.generate(requests)}
    engine.close()
    assert set(answers) == {request.id for request in requests}
    assert len({answer.text for answer in answers.values()}) > 1
    for answer in answers.values():
        assert answer.prompt_tokens == 5 and 1 <= answer.completion_tokens <= 12
        assert (answer.finish == "length") == (answer.completion_tokens == 12)
        assert len(answer.text.split()) <= answer.completion_tokens and set(answer.text.split()) <= {*WORDS}
        assert answer.first_token is None  # this server is asked for log-probabilities and says nothing of them


def test_a_real_server_that_serves_another_model_is_an_error_and_not_a_failed_judgment(served):
    engine = ServerModel(ServerConfig(url=served[0], model="another"))
    with pytest.raises(SelfRewardError, match=r"refuses every request.*another"):
        list(engine.generate([ask()]))
    engine.close()


@pytest.fixture
def with_real(served, tmp_path, monkeypatch):
    """Starts a run that may call the real server by the name of `real`."""
    quiet(monkeypatch)
    recipe = make_world(tmp_path / "world")
    server = {"servers__real__url": served[0], "servers__real__model": served[1]}
    return lambda **changes: go(recipe, tmp_path / "run", **server, **changes)


def test_a_real_server_writes_the_prompts_of_a_whole_run(with_real, tmp_path):
    made = with_real(
        prompts__by="frozen", prompts__frozen="real", prompts__min_words=1, prompts__max_tokens=40, prompts__per_iteration=12
    )
    assert made.name == "M2"
    prompts = read_jsonl(tmp_path / "run" / "M2" / "prompts.jsonl", Prompt)
    assert len(prompts) > 1 and all(set(prompt.text.lower().split()) <= {*WORDS} for prompt in prompts)


def test_a_real_server_judges_in_a_run(with_real, tmp_path):
    with pytest.raises(SelfRewardError, match="no usable pair"):  # its model has no word for a score
        with_real(judge__by="real", judge__max_tokens=6)
    judgments = read_jsonl(tmp_path / "run" / "M2" / "judgments.jsonl", Judgment)
    assert len({judgment.rationale for judgment in judgments}) > 3
    assert all(set(judgment.rationale.split()) <= {*WORDS, "<unk>"} for judgment in judgments)
    assert {judgment.outcome for judgment in judgments} <= {"unparsed", "truncated"}
