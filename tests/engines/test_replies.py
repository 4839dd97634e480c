"""Odd but valid replies of real endpoints are read for what they say, and what is no answer is an error with its name."""

import gzip
import json
import zlib

import pytest
from test_server import ask, endpoint, opened, refused, said  # noqa: F401

from selfreward.engines import Batch
from selfreward.engines.sampling import client
from selfreward.engines.sampling.client import stated_pause, unpacked
from selfreward.engines.sampling.replies import BadReply, read_reply
from selfreward.errors import SelfRewardError
from selfreward.records import Completion, content_id


def completion(reply):
    return read_reply(json.dumps(reply)).completion(ask(), lambda text: text)


def choice(message=None, finish="stop", **more):
    return {"choices": [{"index": 0, "message": message, "finish_reason": finish, **more}]}


STOPS = ["stop", "STOP", "eos", "eos_token", "end_turn", "stop_sequence", "COMPLETE", "endoftext"]
STOPS += ["FINISH_REASON_STOP", "eosFound", "end_of_turn", "end_of_text", "done", "<|im_end|>"]
LENGTHS = ["length", "max_tokens", "MAX_TOKENS", "model_length", "max_output_tokens", "model_context_window_exceeded"]
LENGTHS += ["FINISH_REASON_MAX_TOKENS", "max_new_tokens", "max_completion_tokens"]


@pytest.mark.parametrize(("said_by_server", "finish"), [*[(one, "stop") for one in STOPS], *[(one, "length") for one in LENGTHS]])
def test_ends_that_other_servers_have_names_of_their_own_for_are_understood(said_by_server, finish):
    read = completion(said("so far", said_by_server))
    assert (read.text, read.finish, read.reason) == ("so far", finish, None)


@pytest.mark.parametrize(
    "content", ["ab", ["a", "b"], {"type": "text", "text": "ab"}, [{"text": "a"}, {"type": "output_text", "text": "b"}]]
)
def test_content_is_a_text_or_parts_in_whatever_form(content):
    read = completion(choice({"content": content}))
    assert (read.text, read.finish) == ("ab", "stop")


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (said("x", None), "no reason for the answer's end"),
        (said("x", ""), "no reason for the answer's end"),
        (said("x", "content_filter"), "ended by 'content_filter'"),
        (said("x", "load"), "ended by 'load'"),
        (said("x", 3), "ended by 3"),
        ({"choices": []}, "no choice"),
        ({"choices": None}, "no choice"),
        (choice(None), "without a message"),
        ({"choices": [{"index": 0, "text": "x", "finish_reason": "stop"}]}, "without a message"),
        (said("x", ["stop"]), "ended by ['stop']"),
        (choice({"content": [{"type": "refusal", "refusal": "No."}]}, "stop"), "refused: No."),
        (choice({"content": None, "refusal": "I will not\nsay that."}), "refused: I will not say that."),
        (
            choice({"content": "so f"}, "error", error={"code": 502, "message": "upstream\x1b[31m gone"}),
            "says: upstream [31m gone",
        ),
        (choice({"content": ""}, None, error="busy"), "says: busy"),
    ],
)
def test_what_is_no_answer_is_an_error_with_its_reason(reply, reason):
    read = completion(reply)
    assert read.finish == "error" and reason in read.reason and "\n" not in read.reason
    assert Completion.model_validate_json(read.model_dump_json()) == read


PARTS = [{"type": "text", "text": "Score: "}, {"type": "text", "text": "4"}]


@pytest.mark.parametrize(
    ("message", "text", "thought"),
    [
        ({"content": PARTS}, "Score: 4", None),
        ({"content": [{"type": "output_text", "text": "4"}]}, "4", None),
        ({"content": [{"text": "4"}]}, "4", None),
        ({"content": []}, "", None),
        ({"content": [{"type": "image_url", "image_url": {"url": "x"}}, *PARTS]}, "Score: 4", None),
        ({"content": [{"type": "text", "text": None}, *PARTS]}, "Score: 4", None),
        ({"content": [{"type": "thinking", "thinking": "hm. Score: 1"}, *PARTS]}, "Score: 4", "hm. Score: 1"),
        ({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, *PARTS]}, "Score: 4", "hm"),
        ({"content": "4", "reasoning_content": "Score: 5"}, "4", "Score: 5"),
        ({"content": "4", "reasoning": "Score: 5"}, "4", "Score: 5"),
        ({"content": "4", "reasoning_content": None, "reasoning": ""}, "4", None),
        ({"content": "4", "reasoning_content": "once", "reasoning": "once"}, "4", "once"),
        ({"content": None, "reasoning": "no end of it"}, "", "no end of it"),
        ({"content": "4", "reasoning": {"effort": "high"}}, "4", None),
        ({"content": "4", "tool_calls": [], "refusal": None, "audio": None, "annotations": []}, "4", None),
        ({}, "", None),
    ],
)
def test_the_answer_is_read_and_its_thought_kept_apart(message, text, thought):
    read = completion(choice(message))
    assert (read.text, read.thought, read.finish) == (text, thought, "stop")


@pytest.mark.parametrize("content", [4, True, [None], [["a"]]])
def test_content_that_is_neither_text_nor_parts_is_no_chat_completion(content):
    with pytest.raises(BadReply):
        completion(choice({"content": content}))


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        ({"prompt_tokens": 7, "completion_tokens": 2}, (7, 2)),
        ({"prompt_tokens": "7", "completion_tokens": 2.0}, (7, 2)),
        ({"prompt_tokens": None, "completion_tokens": -3}, (0, 0)),
        ({"prompt_tokens": [7], "completion_tokens": "many"}, (0, 0)),
        ({"prompt_tokens": float("nan"), "completion_tokens": float("inf")}, (0, 0)),
        ({"prompt_tokens": 1e300, "completion_tokens": 2**63}, (0, 0)),
        ({"input_tokens": 7}, (0, 0)),
        ({}, (0, 0)), (None, (0, 0)), ([], (0, 0)), ("none", (0, 0)), (3, (0, 0)),
    ],
)  # fmt: skip
def test_counts_are_read_however_they_are_written_and_never_keep_an_answer_from_being_one(usage, counts):
    read = completion({**said("fine"), "usage": usage})
    assert (read.text, read.prompt_tokens, read.completion_tokens) == ("fine", *counts)
    without = said("fine")
    del without["usage"]
    assert completion(without).text == "fine"


@pytest.mark.parametrize(
    ("more", "ids"),
    [
        ({"token_ids": [5, 6, 2]}, (5, 6, 2)),  # vLLM and SGLang
        ({"logprobs": {"content": [{"id": 5, "token": "a"}, {"id": 2, "token": ""}]}}, (5, 2)),  # llama.cpp
        ({"token_ids": None, "logprobs": {"content": [{"id": 5}]}}, (5,)),
        ({"logprobs": {"content": [{"id": 5}, {"token": "b"}]}}, None),  # not all of them
        ({"token_ids": ["5"]}, None), ({"token_ids": [-1]}, None), ({"token_ids": [5.0]}, None), ({"token_ids": "56"}, None),
        ({"token_ids": []}, None), ({"logprobs": {"content": [7]}}, None), ({"logprobs": "none"}, None), ({}, None),
    ],
)  # fmt: skip
def test_ids_that_a_server_gives_are_carried_and_never_half_of_them(more, ids):
    assert completion(choice({"content": "a"}, **more)).ids == ids


def test_what_is_not_set_is_not_written_so_that_journals_keep_their_ids():
    plain = Completion(request_id="r", text="t", finish="stop", prompt_tokens=1, completion_tokens=1)
    assert not {"reason", "thought", "ids"} & json.loads(plain.model_dump_json()).keys()
    fields = ("request_id", "text", "finish", "prompt_tokens", "completion_tokens", "first_token", "watched", "logprob")
    as_before = {name: getattr(plain, name) for name in fields}
    assert Batch(number=0, completions=(plain,)).id == content_id("Batch", [0, [as_before]])
    assert "reason" in json.loads(plain.model_copy(update={"reason": "why"}).model_dump_json())


# ——— pauses and bodies ———


@pytest.mark.parametrize(
    ("stated", "pause"),
    [
        *[("1e400", 600), ("9" * 400, 600), ("-0", 0), ("-1e400", None), ("1_0", 10), ("0x10", None), ("٣", 3), (" 7 ", 7)],
        *[("Fri, 31 Dec 9999 23:59:59 GMT", 600), ("Fri, 31 Dec 99999999999 23:59:59 GMT", None), ("Mon", None), (",,,", None)],
        *[("Wed, 32 Oct 2099 99:99:99 GMT", None), ("\x00", None), ("2099-10-21T07:28:00Z", None)],
    ],
)
def test_a_pause_is_bounded_whatever_a_server_asks_for(stated, pause):
    assert stated_pause({"retry-after": stated}) == pause


def test_a_server_that_asks_for_no_pause_is_not_called_again_at_once(endpoint, opened):  # noqa: F811
    endpoint.script((429, {"retry-after": "0"}, {}), (429, {"retry-after": "0"}, {}), said())
    engine = opened()
    assert len(list(engine.generate([ask()]))) == 1
    assert 0.5 <= engine.slept[0] <= 1 <= engine.slept[1] <= 2


def packed(reply):
    return 200, {"content-encoding": "gzip"}, gzip.compress(json.dumps(reply).encode())


def test_a_packed_answer_is_read(endpoint, opened):  # noqa: F811
    endpoint.script(packed(said("fine " * 1000)))
    (answer,) = opened().generate([ask()])
    assert answer.text == "fine " * 1000
    assert endpoint.headers[0]["accept-encoding"] == "gzip"


@pytest.mark.parametrize("pack", [lambda reply: reply, packed], ids=["as it is", "packed"])
@pytest.mark.parametrize("status", [200, 500])
def test_no_body_is_read_or_unpacked_beyond_its_bound(endpoint, opened, monkeypatch, pack, status):  # noqa: F811
    monkeypatch.setattr(client, "LARGEST_BODY", 2000)
    whole = pack(said("x" * 5000))
    _, headers, body = whole if isinstance(whole, tuple) else (200, {}, whole)
    endpoint.script((status, headers, body))
    error = refused(opened(retries=1))
    assert "2 × an answer that is no chat completion" in error.what and "more than 2,000 bytes" in error.what
    endpoint.script(pack(said("x" * 1000)))
    assert [answer.finish for answer in opened().generate([ask()])] == ["stop"]


@pytest.mark.parametrize("charset", ["utf-8", "zlib", "bz2", "rot13", "idna", "undefined", "punycode", "utf-16", "none-such"])
@pytest.mark.parametrize("status", [200, 500])
def test_whatever_charset_an_answer_names_it_is_read_as_utf8(endpoint, opened, charset, status):  # noqa: F811
    """Codecs of Python's own, such as zlib, would raise other errors, or unpack without a bound."""
    body = json.dumps(said("fíne"), ensure_ascii=False).encode()
    endpoint.script((status, {"content-type": f"application/json; charset={charset}"}, body), said("fíne"))
    (answer,) = opened().generate([ask()])
    assert answer.text == "fíne" and len(endpoint.calls) == (1 if status == 200 else 2)


def test_unpacking_ends_at_the_bound_and_not_after_it(monkeypatch):
    monkeypatch.setattr(client, "LARGEST_BODY", 1000)
    held = []

    class Counting:
        """A decompressor that notes how much it gives out."""

        def __init__(self, wbits):
            self._real = decompressobj(wbits)

        def decompress(self, data, max_length):
            held.append(len(content := self._real.decompress(data, max_length)))
            return content

        @property
        def eof(self):
            return self._real.eof

    decompressobj = zlib.decompressobj
    monkeypatch.setattr(client.zlib, "decompressobj", Counting)
    with pytest.raises(BadReply, match="more than 1,000 bytes unpacked"):
        unpacked(gzip.compress(b"x" * 100_000), "gzip")
    assert held == [1001]
    assert unpacked(gzip.compress(b"x" * 1000), "GZIP") == b"x" * 1000


@pytest.mark.parametrize(
    ("body", "encoding"),
    [(b"x", "br"), (b"x", "gzip"), (b"x", "gzip, gzip"), (b"x", "zstd"), (gzip.compress(b"xyz", mtime=0)[:-3], "gzip")],
)
def test_a_body_that_is_not_packed_as_was_asked_for_is_no_answer(body, encoding):
    with pytest.raises(BadReply):
        unpacked(body, encoding)


# ——— what a server says of itself, and what the environment does ———


@pytest.mark.parametrize("encoding", ["br", "gzip"])
def test_a_list_of_models_that_cannot_be_read_tells_nothing_and_ends_nothing(endpoint, opened, monkeypatch, encoding):  # noqa: F811
    monkeypatch.setattr(client, "LARGEST_BODY", 2000)
    played, answer = [], endpoint.server.RequestHandlerClass.do_GET

    def bomb(handler):
        played.append(handler.path)
        content = gzip.compress(b"x" * 5000)
        handler.send_response(200)
        for name, value in {"content-encoding": encoding, "content-length": str(len(content))}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(content)

    monkeypatch.setattr(endpoint.server.RequestHandlerClass, "do_GET", bomb)
    assert answer is not bomb and [answer.text for answer in opened().generate([ask()])] == ["fine"]
    assert played == ["/v1/models"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HTTP_PROXY", "socks4://user:S3cretM4rk@host:9"), ("all_proxy", "http://user:S3cretM4rk:9"),
        ("SSL_CERT_FILE", "/nowhere/S3cretM4rk.pem"), ("SSL_CERT_FILE", __file__),
    ],
)  # fmt: skip
def test_a_proxy_or_a_certificate_that_cannot_be_used_is_one_line_with_its_variable(endpoint, opened, monkeypatch, name, value):  # noqa: F811
    for other in client.OF_THE_NETWORK:
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, value)
    with pytest.raises(SelfRewardError) as caught:
        opened()
    assert f"with what {name} say" in str(caught.value) and "S3cretM4rk" not in str(caught.value)
