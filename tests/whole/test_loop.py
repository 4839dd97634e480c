"""The loop as the recipe shapes it, on the fake backend."""

import json

import pytest

from selfreward.errors import SelfRewardError
from selfreward.records import Judgment, Pair, Prompt, Proposal, Response, read_jsonl, to_line
from selfreward.steps import plan_prompts
from tinyrun import go, make_world, quiet


@pytest.fixture
def world(tmp_path, monkeypatch):
    quiet(monkeypatch)
    return make_world(tmp_path / "world")


def fingerprints(run):
    return {path.parent.name: json.loads(path.read_text()) for path in run.glob("*/model.receipt.json")}


def test_every_round_starts_from_the_model_before_it_and_no_other(world, tmp_path):
    last = go(world, tmp_path / "run", iterations=3, sft__baseline=True)
    made = fingerprints(tmp_path / "run")
    models = json.loads((tmp_path / "run" / "summary.json").read_text())["models"]
    assert [model["name"] for model in models] == ["M0", "SFT", "M1", "M2", "M3", "M4"]
    base = models[0]["fingerprint"]
    assert made["SFT"]["start"] == made["M1"]["start"] == base
    for before, after in (("M1", "M2"), ("M2", "M3"), ("M3", "M4")):
        assert made[after]["start"] == made[before]["fingerprint"]
    assert last.fingerprint == made["M4"]["fingerprint"]


def test_candidates_are_answered_and_judged_by_the_model_that_they_will_train(world, tmp_path):
    go(world, tmp_path / "run", iterations=2)
    made = fingerprints(tmp_path / "run")
    for folder, model in (("M2", "M1"), ("M3", "M2")):
        responses = read_jsonl(tmp_path / "run" / folder / "responses.jsonl", Response)
        judgments = read_jsonl(tmp_path / "run" / folder / "judgments.jsonl", Judgment)
        assert {response.model for response in responses} == {judgment.judge for judgment in judgments}
        assert {response.model for response in responses} == {made[model]["fingerprint"]}


def test_counts_add_up(world, tmp_path):
    go(world, tmp_path / "run", iterations=2, sft__baseline=True)
    for folder in ("M2", "M3"):
        read = {
            name: read_jsonl(tmp_path / "run" / folder / f"{name}.jsonl", kind)
            for name, kind in {
                "proposed": Proposal, "prompts": Prompt, "responses": Response, "judgments": Judgment, "pairs": Pair,
            }.items()
        }  # fmt: skip
        dropped = {name: len((tmp_path / "run" / folder / f"{name}.dropped.jsonl").read_text().splitlines()) for name in read if
                   name in ("prompts", "pairs")}  # fmt: skip
        assert len(read["proposed"]) == 6 == len(read["prompts"]) + dropped["prompts"]
        assert len(read["responses"]) == 2 * len(read["prompts"])
        assert len(read["judgments"]) == 3 * len(read["responses"])
        assert len(read["prompts"]) == len(read["pairs"]) + dropped["pairs"]


def test_a_run_may_start_from_an_instruct_model_and_skip_sft(world, tmp_path):
    go(world, tmp_path / "run", sft__on="none")
    made = fingerprints(tmp_path / "run")
    models = {model["name"]: model for model in json.loads((tmp_path / "run" / "summary.json").read_text())["models"]}
    assert set(made) == {"M2"} and made["M2"]["start"] == models["M0"]["fingerprint"] == models["M1"]["fingerprint"]


def test_the_writer_of_prompts_is_the_base_if_frozen_and_m_t_if_current(world, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("selfreward.loop.plan_prompts", lambda *a: asked.append(a[3].name) or plan_prompts(*a))
    go(world, tmp_path / "frozen", iterations=2, prompts__by="frozen")
    go(world, tmp_path / "current", iterations=2, prompts__by="current")
    assert asked == ["M0", "M0", "M1", "M2"]


def test_a_frozen_judge_is_m1_in_every_round(world, tmp_path):
    go(world, tmp_path / "run", iterations=2, judge__by="frozen")
    made = fingerprints(tmp_path / "run")
    for folder in ("M2", "M3"):
        judgments = read_jsonl(tmp_path / "run" / folder / "judgments.jsonl", Judgment)
        assert {judgment.judge for judgment in judgments} == {made["M1"]["fingerprint"]}


def test_your_own_prompts_are_taken_in_turn_and_those_held_out_are_dropped(world, tmp_path):
    texts = [f"tell me of thing number {n}" for n in range(5)] + ["name the birch number 1"]
    own = world.parent / "own.jsonl"
    own.write_text("".join(to_line(Prompt(text=text, source="seed")) + "\n" for text in texts))
    go(world, tmp_path / "run", iterations=2, prompts__from=str(own), prompts__per_iteration=3)
    asked = [[p.text for p in read_jsonl(tmp_path / "run" / m / "prompts.jsonl", Prompt)] for m in ("M2", "M3")]
    assert asked == [texts[:3], texts[3:5]]
    dropped = [json.loads(line) for line in (tmp_path / "run" / "M3" / "prompts.dropped.jsonl").read_text().splitlines()]
    assert [drop["reason"] for drop in dropped] == ["held_out"]
    with pytest.raises(SelfRewardError, match="has no prompts left for M4"):
        go(world, tmp_path / "more", iterations=3, prompts__from=str(own), prompts__per_iteration=3)


def test_pairs_of_earlier_rounds_are_trained_on_only_where_the_recipe_says_so(world, tmp_path):
    steps = {}
    for accumulate in (False, True):
        run = tmp_path / str(accumulate)
        go(world, run, iterations=2, pairs__accumulate=accumulate)
        pairs = [len(read_jsonl(run / m / "pairs.jsonl", Pair)) for m in ("M2", "M3")]
        steps[accumulate] = fingerprints(run)["M3"]["steps"]
        assert steps[accumulate] == (sum(pairs) if accumulate else pairs[1])  # one pair a step
