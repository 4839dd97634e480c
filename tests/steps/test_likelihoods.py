"""Scores by likelihood: DICE's, and CREAM's as it was published, from the models of the loop and no judge."""

import json
import shutil
from statistics import fmean

import pytest

from selfreward.checks.amounts import stand_in, weigh
from selfreward.checks.planning import plan
from selfreward.errors import SelfRewardError
from selfreward.recipe import load_recipe
from selfreward.records import Judgment, Likelihood, Pair, Response, read_jsonl
from selfreward.reports import export_run, write_report
from selfreward.reports.card import CARD
from selfreward.stats import rank_consistency
from selfreward.steps.likelihoods import balancing, log_ratios, per_token, without_length
from tinyrun import count_requests, go, make_world, quiet, tree

WIDE = {"iterations": 3, "responses__n": 4, "prompts__per_iteration": 12}


@pytest.fixture
def world(tmp_path, monkeypatch):
    quiet(monkeypatch)
    return make_world(tmp_path / "world")


def told(model, **logprobs):
    """Likelihoods by response id; None of an untold one. Of ten tokens each."""
    return [
        Likelihood(response_id=name, model=model, outcome="untold" if value is None else "told", logprob=value, tokens=10)
        for name, value in logprobs.items()
    ]


def test_the_reward_is_the_log_ratio_of_what_both_models_have_told():
    ours, theirs = told("now", a=-10.0, b=-20.0, c=None, d=-1.0), told("then", a=-12.5, b=-15.0, c=-3.0)
    assert log_ratios(ours, theirs) == {"a": 2.5, "b": -5.0}
    assert per_token(ours) == {"a": -1.0, "b": -2.0, "d": -0.1}


def answers(*lengths, prompt="p"):
    return [Response(prompt_id=prompt, model="m", index=n, text="x" * k, finish="stop") for n, k in enumerate(lengths)]


def test_length_costs_its_penalty_for_every_character():
    group = answers(10, 30)
    rewards = {group[0].id: 2.0, group[1].id: 3.0}
    assert without_length(rewards, group, 0.1) == ({group[0].id: 1.0, group[1].id: 0.0}, 0.1)
    assert without_length(rewards, [*group, *answers(5, prompt="q")], 0.0)[0] == rewards


@pytest.mark.parametrize(
    ("groups", "weight"),
    [
        # By reward alone the longer of each is chosen, +20 and +10 characters; the second turns above .1, the first above .25:
        # |20 + 10| / 2 = 15, then half of 20 less 10 = 5, then half of 20 and 10 = 15, which grows.
        ([[(5.0, 30, "a"), (0.0, 10, "b")], [(1.0, 20, "c"), (0.0, 10, "d")]], 0.25),
        ([[(5.0, 30, "a"), (0.0, 10, "b")]], 1.0),  # |20| on either side of .25: it never grows
        ([[(1.0, 10, "a"), (0.0, 10, "b")]], 1.0),
        ([[(1.0, 10, "a")]], 0.0),  # nothing to choose between
    ],
)
def test_the_balancing_penalty_is_the_last_before_the_difference_in_length_grows(groups, weight):
    assert balancing(groups) == pytest.approx(weight, abs=0.0011)


def of(folder, name, kind):
    return read_jsonl(folder / f"{name}.jsonl", kind)


def fingerprint(run, name):
    return json.loads((run / name / "model.receipt.json").read_text())["fingerprint"]


def check_pairs(folder, scores):
    """Every pair is the best against the worst of its prompt by `scores`."""
    responses, pairs = of(folder, "responses", Response), of(folder, "pairs", Pair)
    assert pairs
    for pair in pairs:
        group = [scores[one.id] for one in responses if one.prompt_id == pair.prompt_id and one.id in scores]
        assert (pair.chosen_score, pair.rejected_score) == (max(group), min(group))
        assert scores[pair.chosen_id] == pair.chosen_score and scores[pair.rejected_id] == pair.rejected_score


def test_m1_gives_scores_and_later_models_their_log_ratio_to_the_one_before(world, tmp_path):
    run = tmp_path / "run"
    go(world, run, judge__method="likelihood", **WIDE)
    assert (run / "M2" / "judgments.jsonl").exists() and not (run / "M2" / "likelihoods.jsonl").exists()
    for t in (3, 4):
        folder = run / f"M{t}"
        assert not (folder / "judgments.jsonl").exists()
        ours, theirs = of(folder, "likelihoods", Likelihood), of(folder, "likelihoods_before", Likelihood)
        assert {one.model for one in ours} == {fingerprint(run, f"M{t - 1}")}
        assert {one.model for one in theirs} == {fingerprint(run, f"M{t - 2}")}
        whole = {one.id for one in of(folder, "responses", Response) if one.finish == "stop"}
        assert {one.response_id for one in ours} == whole  # what did not end has no score
        check_pairs(folder, log_ratios(ours, theirs))
        assert json.loads((folder / "measured.json").read_text())["loop"]["further"]["likelihoods"] == {"told": len(ours)}


def test_a_balancing_penalty_is_taken_off_and_told(world, tmp_path):
    run = tmp_path / "run"
    go(world, run, judge__method="likelihood", judge__length_penalty="balanced", **WIDE)
    folder = run / "M3"
    rewards = log_ratios(of(folder, "likelihoods", Likelihood), of(folder, "likelihoods_before", Likelihood))
    scores, weight = without_length(rewards, of(folder, "responses", Response), None)
    check_pairs(folder, scores)
    assert json.loads((folder / "measured.json").read_text())["loop"]["told"] == {"length penalty": weight}


def test_cream_ranks_by_m1s_own_likelihood_first_and_then_by_what_was_learnt_since_m1(world, tmp_path):
    run = tmp_path / "run"
    go(world, run, judge__method="cream", dpo__confidence="consistency", **WIDE)
    check_pairs(run / "M2", per_token(of(run / "M2", "likelihoods", Likelihood)))
    for t, before in ((3, None), (4, "likelihoods_before")):
        folder = run / f"M{t}"
        now, first = of(folder, "likelihoods", Likelihood), of(folder, "likelihoods_m1", Likelihood)
        assert {one.model for one in first} == {fingerprint(run, "M1")} and not list(folder.glob("judgments*"))
        scores = log_ratios(now, first)
        check_pairs(folder, scores)
        earlier = log_ratios(of(folder, before, Likelihood), first) if before else per_token(first)
        groups = {}
        for one in of(folder, "responses", Response):
            groups.setdefault(one.prompt_id, []).append(one.id)
        trust = (fmean(rank_consistency(groups.values(), scores, earlier)) + 1) / 2
        assert json.loads((folder / "model.receipt.json").read_text())["confidence"] == pytest.approx(trust) != 1
    assert "confidence" not in json.loads((run / "M2" / "model.receipt.json").read_text())
    assert not list(run.glob("*/judgments_before*"))


def test_it_goes_on_where_it_was_killed_and_is_shown_and_exported(world, tmp_path, monkeypatch):
    cream = {"judge__method": "cream", "dpo__confidence": "consistency", "drift__sample": 2, **WIDE}
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        go(world, run, **cream)
        expected = tree(run)
        for file in (run / "M4").iterdir():
            if file.name.startswith(("likelihoods", "pairs", "model", "held", "truth", "rank", "measured", "drift")):
                shutil.rmtree(file) if file.is_dir() else file.unlink()
        asked = count_requests(patch)
        go(world, run, **cream)
        assert tree(run) == expected and max(asked.values()) == 1
    monkeypatch.undo()
    page = write_report(run).read_text()
    assert "likelihoods m1" in page and "nats" in page
    export_run(run, tmp_path / "all")
    assert (tmp_path / "all" / "likelihoods_before" / "train.parquet").exists()
    assert of(run / "M4", "heldout_judgments", Judgment)  # measured as ever


@pytest.mark.parametrize(
    ("method", "second", "third"),
    [
        ("likelihood", "Candidates were judged by the model itself", "log-likelihood ratio, M2 over the model before it."),
        ("cream", "the mean log-probability of their tokens by M1.", "log-likelihood ratio, M2 over M1."),
    ],
)
def test_a_card_names_the_model_whose_likelihood_made_the_scores(method, second, third, world, tmp_path):
    go(world, tmp_path / "run", **WIDE | {"judge__method": method, "iterations": 2})
    cards = [(tmp_path / "run" / name / "model" / CARD).read_text() for name in ("M2", "M3")]
    assert second in cards[0] and "likelihood ratio" not in cards[0] and third in cards[1]


def test_the_bill_has_a_forced_answer_a_candidate_and_no_judgment(world):
    recipe = load_recipe(world, {"judge.method": "cream", "dpo.confidence": "consistency", "iterations": 3})
    lines = {
        stage.stage: stage for stage in plan(recipe, weigh(stand_in(recipe), [], recipe, lambda texts: [*map(len, texts)], 4))
    }
    asked = [stage for stage in lines if "/likelihoods" in stage]
    assert asked == [
        "M2/likelihoods",
        "M3/likelihoods",
        "M3/likelihoods_m1",
        "M4/likelihoods",
        "M4/likelihoods_m1",
        "M4/likelihoods_before",
    ]
    assert {lines[stage].requests for stage in asked} == {12} and all(lines[stage].forced for stage in asked)
    assert not any("/judgments" in stage for stage in lines)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"judge.method": "likelihood", "judge.by": "frozen"}, "asks the models of the loop"),
        ({"judge.method": "cream", "judge.by": ["current", "frozen"]}, "a jury gives scores"),
        ({"judge.method": "likelihood", "dpo.confidence": "consistency"}, "compares mean scores of one judge"),
        ({"judge.method": "cream", "judge.length_penalty": 0.1}, "length_penalty works only with"),
        ({"judge.method": "likelihood", "judge.length_penalty": -1}, 'must be a number of at least 0, or "balanced"'),
        ({"judge.method": "cream", "pairs.max_fluke": 0.2}, "max_fluke is computed from the noise"),
    ],
)
def test_what_does_not_go_with_it_is_refused_in_a_line(changes, reason, world):
    with pytest.raises(SelfRewardError) as refused:
        load_recipe(world, changes)
    assert reason in str(refused.value) and "\n" not in str(refused.value)
