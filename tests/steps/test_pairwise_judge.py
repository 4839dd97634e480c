"""Candidates compared with each other by their own model: the share of the others that each wins against is its score."""

import json
import shutil

import pytest

from selfreward.checks.amounts import stand_in, weigh
from selfreward.checks.planning import plan
from selfreward.errors import SelfRewardError
from selfreward.recipe import load_recipe
from selfreward.records import Pair, Preference, Response, read_jsonl
from selfreward.reports import export_run, write_report
from selfreward.reports.browse import sample
from selfreward.rundir import open_run
from selfreward.steps import combine, flip_rate
from selfreward.steps.pairwise import win_shares
from tinyrun import count_requests, go, make_world, quiet, tree

PAIRWISE = {"judge__method": "pairwise", "responses__n": 4, "prompts__per_iteration": 12, "judge__min_valid": 2}


@pytest.fixture
def world(tmp_path, monkeypatch):
    quiet(monkeypatch)
    return make_world(tmp_path / "world")


def answer(n, text=None, finish="stop"):
    return Response(prompt_id="p", model="m", index=n, text=text or f"answer {n}", finish=finish)


def compared(a, b, forwards, backwards):
    """Both orders of a comparison; each verdict is a place, or None for a failure."""
    return [
        Preference(
            prompt_id="p", first=first.id, second=second.id, swapped=swapped, judge="j", rationale="",
            outcome="decided" if winner else "unparsed", winner=winner,
        )
        for (first, second, swapped), winner in zip(((a, b, False), (b, a, True)), (forwards, backwards), strict=True)
    ]  # fmt: skip


A, B, C, D = map(answer, range(4))
AB = compared(A, B, "first", "second")  # A wins
AC = compared(A, C, "first", "first")  # the verdict goes with the place: a tie
AD = compared(A, D, "first", "second")  # A wins
BC = compared(B, C, "second", "first")  # C wins
BD = compared(B, D, "tie", "tie")
CD = compared(C, D, "first", None)  # one order failed: nothing is decided


def test_a_score_is_the_share_of_the_others_that_are_beaten_ties_by_half():
    shares = win_shares([*AB, *AC, *AD, *BC, *BD, *CD], [A, B, C, D], 2)
    assert shares == {A.id: (1 + 0.5 + 1) / 3, B.id: (0 + 0 + 0.5) / 3, C.id: (0.5 + 1) / 2, D.id: (0 + 0.5) / 2}


def test_a_candidate_of_too_few_decided_comparisons_has_no_score():
    failed = compared(A, D, None, "first")
    shares = win_shares([*AB, *AC, *failed, *BC, *compared(B, D, None, None), *CD], [A, B, C, D], 2)
    assert D.id not in shares and shares[A.id] == (1 + 0.5) / 2
    assert win_shares([*AB], [A, B], 2) == {A.id: 1.0, B.id: 0.0}  # no more rivals than one
    assert win_shares(compared(A, B, None, "first"), [A, B], 2) == {}


def test_candidates_that_read_the_same_are_level_and_no_answer_is_a_rival_to_none():
    same, failed = answer(5, A.text), answer(6, "x", "error")
    assert win_shares([*AB, *compared(B, same, "second", "first")], [A, B, same, failed], 2) == {
        A.id: (1 + 0.5) / 2, B.id: 0.0, same.id: (1 + 0.5) / 2,
    }  # fmt: skip


def test_a_run_compares_all_candidates_of_a_prompt_in_both_orders_and_learns_from_the_shares(world, tmp_path):
    go(world, tmp_path / "run", **PAIRWISE, drift__sample=2)
    folder = tmp_path / "run" / "M2"
    assert not list(folder.glob("judgments*"))
    responses, preferences = (
        read_jsonl(folder / "responses.jsonl", Response),
        read_jsonl(folder / "preferences.jsonl", Preference),
    )
    texts = {response.id: response.text for response in responses}
    assert len(preferences) == len(responses) // 4 * 6 * 2 and all(texts[one.first] != texts[one.second] for one in preferences)
    shares = win_shares(preferences, responses, 2)
    pairs = read_jsonl(folder / "pairs.jsonl", Pair)
    assert pairs and len({comparison.winner for comparison in combine(preferences)}) == 4
    for pair in pairs:
        group = [shares[one.id] for one in responses if one.prompt_id == pair.prompt_id and one.id in shares]
        assert (pair.chosen_score, pair.rejected_score) == (shares[pair.chosen_id], shares[pair.rejected_id])
        assert pair.rejected_score == min(group)
    shown = sample(open_run(tmp_path / "run")["M2"], load_recipe(world, {"judge.method": "pairwise"}).judge, 10**9)
    drawn = [one for browsed in shown.browsed for one in browsed.candidates]
    assert {one.response.id for one in drawn if one.below} >= shares.keys()
    assert all(one.score == (shares[one.response.id] if one.part else None) for one in drawn)
    loop = json.loads((folder / "measured.json").read_text())["loop"]
    assert sum(loop["further"]["preferences"].values()) == len(preferences) and loop["judgments"] == {}
    assert loop["position_flips"] == flip_rate(preferences)
    readings = {one.monitor: one.value for one in open_run(tmp_path / "run").readings() if one.iteration == "M2"}
    assert readings["flukes.rate"] is None and readings["traits.S/length"] is not None


def test_it_goes_on_where_it_was_killed_and_is_shown_and_exported(world, tmp_path, monkeypatch):
    go(world, tmp_path / "run", **PAIRWISE)
    expected = tree(tmp_path / "run")
    for file in (tmp_path / "run" / "M2").iterdir():
        if file.name.startswith(("preferences", "pairs", "model", "held", "truth", "ranking", "measured")):
            shutil.rmtree(file) if file.is_dir() else file.unlink()
    asked = count_requests(monkeypatch)
    go(world, tmp_path / "run", **PAIRWISE)
    assert tree(tmp_path / "run") == expected and max(asked.values()) == 1
    page = _page(tmp_path / "run", monkeypatch)
    assert "preferences" in page and "changed with the order" in page and "shown before" in page and "see below" in page
    export_run(tmp_path / "run", tmp_path / "all")
    assert (tmp_path / "all" / "preferences" / "train.parquet").exists()


def _page(run, monkeypatch):
    monkeypatch.undo()
    return write_report(run).read_text()


def test_the_bill_counts_every_comparison_twice(world):
    recipe = load_recipe(world, {"judge.method": "pairwise", "responses.n": 4})
    lines = {
        stage.stage: stage for stage in plan(recipe, weigh(stand_in(recipe), [], recipe, lambda texts: [*map(len, texts)], 4))
    }
    assert lines["M2/preferences"].requests == 6 * 6 * 2 and "M2/judgments" not in lines
    assert lines["M2/preferences"].prompt.likely > 2 * lines["M2/responses"].completion.likely


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"judge.by": ["current", "frozen"]}, "a jury gives scores"),
        ({"judge.samples": "adaptive"}, 'samples = "adaptive" is for scores'),
        ({"pairs.max_fluke": 0.2}, "max_fluke is computed from the noise"),
        ({"dpo.confidence": "consistency"}, "compares mean scores of one judge"),
    ],
)
def test_what_does_not_go_with_it_is_refused_in_a_line(changes, reason, world):
    with pytest.raises(SelfRewardError) as refused:
        load_recipe(world, {"judge.method": "pairwise", **changes})
    assert reason in str(refused.value) and "\n" not in str(refused.value)
