"""What an endpoint honours, found out before a run: told by a stub that leaves out one field after another."""

import json
import re
from itertools import count
from types import SimpleNamespace

import pytest
from test_server import Endpoint, judging, said

from selfreward.checks.judged import EXAMPLE, usual_example
from selfreward.checks.reach import models_of
from selfreward.checks.served import findings, meet
from selfreward.engines import outside_model
from selfreward.engines.sampling.probe import Honours, probe
from selfreward.engines.sampling.server import ServerModel
from selfreward.errors import SelfRewardError
from selfreward.measure.evaluations import evaluate
from selfreward.recipe import BackendConfig, ServerConfig, load_recipe
from selfreward.records import Checkpoint
from selfreward.rundir import Progress
from selfreward.steps import load_seed
from tinyrun import go, make_world, quiet

EVERY = Honours(alike=False, seed=True, temperature=True, top_p=True, n=True, logprobs=True)
NUMBER = count()


def drawing(body, leaving_out=()):
    """The answer of a server that draws as it is asked to, but for the fields that it leaves out."""
    asked = {name: value for name, value in body.items() if name not in leaving_out}
    greedy = "all" in leaving_out or asked.get("temperature", 1) == 0 or asked.get("top_p", 1) < 0.01
    text = "the likeliest" if greedy else f"drawn by {asked.get('seed', f'chance {next(NUMBER)}')}"
    reply = said(text)
    if asked.get("logprobs"):
        reply["choices"][0]["logprobs"] = {"content": [{"top_logprobs": [{"token": "the", "logprob": -0.1}]}]}
    reply["choices"] *= asked.get("n", 1)
    return reply


@pytest.fixture
def endpoint():
    found = Endpoint()
    yield found
    found.server.shutdown()
    found.server.server_close()


def probed(endpoint, **settings):
    engine = ServerModel(ServerConfig(url=endpoint.url, model="m", **{"retries": 0, **settings}))
    try:
        return probe(engine, Checkpoint(name="m", path="m", fingerprint="f"))
    finally:
        engine.close()


@pytest.mark.parametrize(
    ("leaving_out", "changes"),
    [
        ((), {}),
        (("seed",), {"seed": False}),
        (("temperature",), {"temperature": False}),
        (("top_p",), {"top_p": False}),
        (("n",), {"n": False}),
        (("logprobs",), {"logprobs": False}),
        (("temperature", "top_p"), {"temperature": False, "top_p": False}),
        (("seed", "top_p"), {"seed": False, "top_p": False}),
        (("all",), {"alike": True, "seed": None, "temperature": None, "top_p": None}),
        (("all", "n"), {"alike": True, "seed": None, "temperature": None, "top_p": None, "n": False}),
    ],
    ids=str,
)  # fmt: skip
def test_each_field_that_a_server_leaves_out_is_found_by_a_handful_of_short_calls(endpoint, leaving_out, changes):
    endpoint.play = lambda number, body, headers: drawing(body, leaving_out)
    assert probed(endpoint) == EVERY._replace(**changes)
    assert len(endpoint.calls) <= 9 and sum(call["max_tokens"] for call in endpoint.calls) <= 9 * 24


def test_two_seeds_that_agree_by_chance_are_not_taken_for_all(endpoint):
    def play(number, body, headers):
        reply = drawing(body)
        if reply["choices"][0]["message"]["content"] in ("drawn by 1", "drawn by 2"):
            reply["choices"][0]["message"]["content"] = "twice the same"
        return reply

    endpoint.play = play
    assert probed(endpoint) == EVERY


def test_of_a_model_that_thinks_in_secret_nothing_is_claimed(endpoint):
    endpoint.script(said("", "length"))
    assert probed(endpoint) == Honours(n=False)


def test_thoughts_that_are_given_apart_are_compared_too(endpoint):
    def play(number, body, headers):
        reply = drawing(body)
        for choice in reply["choices"]:
            choice["message"] = {"content": "", "reasoning_content": choice["message"]["content"]}
        return reply

    endpoint.play = play
    assert probed(endpoint) == EVERY._replace(thinks=True)


def test_a_field_that_is_refused_is_left_out_and_named(endpoint):
    words = "`temperature` and `top_p` cannot both be specified for this model. Please use only one."
    endpoint.play = lambda number, body, headers: (
        (400, {}, {"error": {"message": words}}) if {"temperature", "top_p"} <= body.keys() else drawing(body)
    )
    found = probed(endpoint)
    assert found.refused == ("top_p",) and (found.seed, found.temperature) == (True, True)
    assert "refuses top_p" in str(found) and "ignores" not in str(found)


def test_a_server_whose_every_answer_ends_in_no_way_that_counts_is_said_to_fail(endpoint):
    endpoint.script(said("fine", "tool_calls"))
    assert probed(endpoint).failed == "the answer ended by 'tool_calls'"


def test_a_server_that_refuses_log_probs_is_asked_without(endpoint):
    endpoint.play = lambda number, body, headers: (400, {}, {"error": "no"}) if "logprobs" in body else drawing(body)
    assert probed(endpoint) == EVERY._replace(logprobs=False)


# ——— where it matters ———


def recipe_for(tmp_path, endpoint, part, **changes):
    fields = {"judge": {"judge.by": "other"}, "measures": {"measure.judge": "other"},
              "writer": {"prompts.by": "frozen", "prompts.frozen": "other"}}[part]  # fmt: skip
    dotted = {name.replace("__", "."): value for name, value in changes.items()}
    served = {"servers.other.url": endpoint.url, "servers.other.model": "m"}
    return load_recipe(make_world(tmp_path / "world"), {**served, **fields, **dotted})


@pytest.mark.parametrize(
    ("part", "changes", "honours", "level", "what"),
    [
        ("judge", {}, EVERY, None, ""),
        ("judge", {}, EVERY._replace(alike=True), "error", "the 3 judgments of a response are one judgment"),
        (
            "judge",
            {"judge__samples": "adaptive"},
            EVERY._replace(alike=True),
            "error",
            "judgments of a response are one judgment",
        ),
        ("judge", {"judge__samples": 1}, EVERY._replace(alike=True), "warning", "as if its temperature (judge) were 0"),
        ("judge", {"judge__samples": 1, "judge__temperature": 0}, EVERY._replace(alike=True), None, ""),
        ("writer", {}, EVERY._replace(alike=True), "warning", "as if its temperature (writer) were 0"),
        ("measures", {}, EVERY._replace(alike=True), None, ""),
        ("measures", {}, EVERY._replace(temperature=False), "warning", "samples at temperature 0 too"),
        ("judge", {}, EVERY._replace(temperature=False), None, ""),
        ("judge", {}, EVERY._replace(top_p=False), "warning", "ignores top_p"),
        ("judge", {"judge__top_p": 1.0}, EVERY._replace(top_p=False), None, ""),
        ("judge", {}, EVERY._replace(seed=False, n=False), None, ""),
        ("judge", {}, EVERY._replace(logprobs=False), None, ""),
        ("judge", {"judge__read": "expected"}, EVERY._replace(logprobs=False), "error", "gives no log-probabilities"),
        ("judge", {}, EVERY._replace(refused=("top_p",)), "warning", "refuses top_p as it is set (judge)"),
        ("judge", {"judge__top_p": 1.0}, EVERY._replace(refused=("top_p",)), None, ""),
        ("judge", {}, Honours(failed="the server gave no choice"), "error", "(the server gave no choice)"),
        ("judge", {"judge__max_tokens": 4096}, EVERY._replace(context=4096), "warning", "answers are cut shorter"),
        ("judge", {"judge__max_tokens": 4095}, EVERY._replace(context=4096), None, ""),
        ("judge", {"judge__thinking": 3072}, EVERY._replace(context=4096), "warning", "(judge) with its thoughts is 4,096"),
        ("judge", {}, EVERY._replace(thinks=True), "warning", "thinks although it is not asked to (judge)"),
        ("judge", {"judge__thinking": 64}, EVERY._replace(thinks=True), None, ""),
    ],
)
def test_what_is_not_honoured_is_said_where_it_matters_and_stops_where_nothing_would_come_of_it(
    tmp_path, endpoint, part, changes, honours, level, what
):
    recipe = recipe_for(tmp_path, endpoint, part, **changes)
    found = list(findings("other", models_of(recipe)["other"], recipe, honours))
    assert [(finding.level, what in finding.what) for finding in found] == ([(level, True)] if level else [])


def test_a_server_that_ignores_top_p_is_warned_of_once_with_all_parts_that_set_it(tmp_path, endpoint):
    recipe = recipe_for(tmp_path, endpoint, "judge", judge__top_p=0.9, pairwise__top_p=0.8, measure__judge="other")
    (found,) = findings("other", ("judge", "measures"), recipe, EVERY._replace(top_p=False))
    assert found.what == "ignores top_p: more tokens are sampled from than it allows for judge (0.9) and for measures (0.8)"


def test_more_connections_than_are_held_are_said_and_no_more_are_opened(tmp_path, endpoint, monkeypatch):
    recipe = recipe_for(tmp_path, endpoint, "judge", servers__other__concurrency=1200)
    (finding,) = findings("other", ("judge",), recipe, EVERY)
    assert "concurrency is 1,200, and this process holds 1,000 connections" in finding.what and finding.level == "warning"
    monkeypatch.setattr("resource.getrlimit", lambda which: (67, 1024))
    (finding,) = findings("other", ("judge",), recipe, EVERY)
    assert "holds 3 connections" in finding.what
    assert probed(endpoint, concurrency=50) is not None
    engine = ServerModel(ServerConfig(url=endpoint.url, model="m", concurrency=50))
    assert engine._at_once == 3
    engine.close()


def test_more_connections_than_are_held_are_said_before_an_evaluation_too(endpoint, tmp_path):
    servers = {"other": ServerConfig(url=endpoint.url, model="m", concurrency=1200)}
    settings = SimpleNamespace(servers=servers, backend=BackendConfig(type="fake"))
    (line,) = evaluate._assert_reachable([outside_model("other", servers)], settings, Progress(tmp_path), finished=False)
    assert line == "other: concurrency is 1,200, and this process holds 1,000 connections: no more requests run at once"


@pytest.mark.parametrize(
    ("part", "changes", "answer", "says", "field"),
    [
        ("judge", {}, said("It is a fine answer. Score: 4"), None, ""),
        ("judge", {}, said("It is a fine answer."), "no score can be read .*unparsed.*It is a fine answer", "judge.pattern"),
        ("judge", {}, said("A fine answer; Score: 9"), "off_scale", "judge.scale"),
        ("judge", {}, said("A fine ans", "length"), "truncated.*A fine ans", "judge.max_tokens"),
        ("judge", {}, said('{"score": 4}'), None, ""),  # as in text
        ("judge", {}, said('It is fine. {"rating": 4}'), "unparsed", "judge.form"),
        ("judge", {"judge__form": "json"}, said('{"score": 4}'), None, ""),
        ("judge", {"judge__form": "json"}, said('{"rating": 4}'), "unparsed", "judge.field"),
        ("judge", {"judge__form": "json"}, said("Score: 4"), "unparsed", "judge.field"),
        ("judge", {}, said("", "tool_calls"), "error.*tool_calls", "judge.by"),
        ("judge", {"judge__method": "pairwise"}, said("Score: 4"), "no verdict", "pairwise.pattern"),
        ("judge", {"judge__method": "pairwise"}, said("Verdict: first"), None, ""),
        ("measures", {}, said("Score: 4"), "no verdict can be read", "pairwise.pattern"),
        ("measures", {}, said("Verdict: first"), None, ""),
        ("measures", {}, said("", "tool_calls"), "error.*tool_calls", "measure.judge"),
        ("writer", {}, said("no verdict of any kind"), None, ""),
    ],
    ids=str,
)  # fmt: skip
def test_a_judge_whose_answers_say_nothing_that_is_read_is_warned_of(tmp_path, endpoint, part, changes, answer, says, field):
    endpoint.play = lambda number, body, headers: answer if judging(body) else drawing(body)
    recipe = recipe_for(tmp_path, endpoint, part, **changes)
    _, found = meet("other", models_of(recipe)["other"], recipe, EXAMPLE, retries=0)
    asked = [body for body in endpoint.calls if judging(body)]
    assert len(asked) == (part != "writer")
    assert [finding.level for finding in found] == (["warning"] if says else [])
    if says:
        assert re.search(says, found[0].what) and found[0].now.startswith(f"{field} decides it: ")
    if asked:
        (body,) = asked
        text = str(body["messages"])
        assert EXAMPLE.prompt in text and EXAMPLE.response in text
        sampling = recipe.judge if part == "judge" and not changes.get("judge__method") else recipe.pairwise
        assert (body["max_tokens"], body["temperature"]) == (sampling.max_tokens, sampling.temperature)


def test_the_example_that_is_judged_is_one_of_the_seed_of_middle_length(tmp_path):
    seed = load_seed(load_recipe(make_world(tmp_path)))
    three = [seed.ift[0].model_copy(update={"response": "x" * length}) for length in (900, 2, 30)]
    assert usual_example(seed._replace(ift=three)).response == "x" * 30
    assert usual_example(None) == EXAMPLE == usual_example(seed._replace(ift=[]))


# ——— in a run ———


def test_a_run_whose_judge_answers_every_seed_alike_stops_before_its_first_token(tmp_path, endpoint):
    endpoint.play = lambda number, body, headers: said(f"Score: {len(str(body['messages'])) % 6}")
    recipe = make_world(tmp_path / "world")
    served = {"judge__by": "other", "servers__other__url": endpoint.url, "servers__other__model": "m"}
    with pytest.raises(SelfRewardError, match="the 3 judgments of a response are one judgment"):
        go(recipe, tmp_path / "run", **served)
    assert not any(judging(call) for call in endpoint.calls) and not list((tmp_path / "run").glob("*/*.receipt.json"))
    go(recipe, tmp_path / "run", **served, judge__samples=1)  # the run that was stopped had made nothing


def test_a_server_is_asked_once_for_a_run_however_often_it_goes_on(tmp_path, endpoint, monkeypatch, capfd):
    quiet(monkeypatch)
    endpoint.play = lambda number, body, headers: (
        said(f"drawn by {body['seed']}. Score: {body['seed'] % 6}") if judging(body) else drawing(body, ("top_p",))
    )
    recipe = make_world(tmp_path / "world")
    served = {"judge__by": "other", "servers__other__url": endpoint.url, "servers__other__model": "m"}
    go(recipe, tmp_path / "run", **served)
    asked = sum(not judging(call) for call in endpoint.calls)
    assert asked <= 9
    (note,) = json.loads((tmp_path / "run/logs/servers.json").read_text()).values()
    assert note == "other: ignores top_p"
    (tmp_path / "run/M2/model.receipt.json").rename(tmp_path / "receipt")
    with pytest.raises(SelfRewardError):
        go(recipe, tmp_path / "run", **served)
    assert sum(not judging(call) for call in endpoint.calls) == asked


def test_a_run_that_waits_for_a_dead_server_says_so_by_its_name_and_the_tries(tmp_path, endpoint, monkeypatch, capfd):
    monkeypatch.setattr("selfreward.rundir.progress.OFTEN", 0.1)
    monkeypatch.setattr("selfreward.rundir.progress.BEAT", 0.02)
    monkeypatch.setattr("selfreward.engines.sampling.server.backoff", lambda attempt: 0.4)
    endpoint.script((503, {}, {"error": "gone"}))
    served = {"judge__by": "other", "servers__other__url": endpoint.url, "servers__other__model": "m"}
    with pytest.raises(SelfRewardError, match="no completion in 3 tries"):
        go(make_world(tmp_path / "world"), tmp_path / "run", **served, servers__other__retries=2)
    said = capfd.readouterr().err
    assert f"{endpoint.url} (m) does not answer: status 503, 1 of 3 tries failed" in said and "2 of 3 tries failed" in said


def test_a_run_whose_judge_writes_prose_says_so_before_its_first_token(tmp_path, endpoint, capfd):
    endpoint.play = lambda number, body, headers: said(f"A fine answer, {body['seed']}.") if judging(body) else drawing(body)
    served = {"judge__by": "other", "servers__other__url": endpoint.url, "servers__other__model": "m"}
    with pytest.raises(SelfRewardError, match="no judgment could be read"):
        go(make_world(tmp_path / "world"), tmp_path / "run", **served)
    lines = capfd.readouterr().err.splitlines()
    (at,) = [at for at, line in enumerate(lines) if line.startswith("warning: other: no score can be read in a judgment")]
    assert "the judge wrote “A fine answer, " in lines[at] and "judge.pattern decides it" in lines[at]
    assert at < min(n for n, line in enumerate(lines) if line.startswith("M1/"))
