"""Several judges: the mean of their places, a gate of agreement, and a stage for each."""

import json

import pytest

from selfreward.checks.amounts import stand_in, weigh
from selfreward.checks.planning import plan
from selfreward.engines.fake import FakeModel
from selfreward.errors import SelfRewardError
from selfreward.recipe import load_recipe
from selfreward.records import Dropped, Judgment, Pair, Response, content_id, read_jsonl
from selfreward.reports.browse import sample
from selfreward.reports.card import judge_of
from selfreward.rundir import open_run
from selfreward.stats import mean_places, mean_scores
from selfreward.steps.pairs import without_dissent
from tinyrun import count_requests, go, make_world, quiet, tree


def graded(word):
    """A judge that counts `word`, up to 5; of an odd length it says nothing that can be read."""

    def write(request):
        said = request.messages[-1].content.split("<response>")[-1].split("</response>")[0]
        return (f"Score: {min(5, said.count(word))}" if len(said) % 7 else "who knows"), "stop"

    return FakeModel(write)


def fond():
    return graded("e")


def strict():
    return graded("a")


JURY = ["test_jury:fond", "test_jury:strict", "frozen"]


@pytest.fixture
def world(tmp_path, monkeypatch):
    quiet(monkeypatch)
    return make_world(tmp_path / "world")


def test_places_are_the_share_of_the_others_that_a_response_is_above_level_ones_by_half():
    one = {"a": 5.0, "b": 3.0, "c": 3.0, "d": 1.0}
    other = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0}
    assert mean_places([["a", "b", "c", "d"]], [one]) == {"a": 1.0, "b": 0.5, "c": 0.5, "d": 0.0}
    assert mean_places([["a", "b", "c", "d"]], [one, other]) == {
        "a": (1 + 0) / 2, "b": (3 + 2) / 12, "c": (3 + 4) / 12, "d": (0 + 1) / 2,
    }  # fmt: skip


def test_candidates_that_are_level_in_all_have_one_place_to_the_bit():
    scores = [dict(zip("abcd", values, strict=True)) for values in ((0, 0, 1, 1), (1, 1, 0, 1))]
    assert mean_places(["abcd"], scores) == {"a": 5 / 12, "b": 5 / 12, "c": 5 / 12, "d": 9 / 12}


def test_what_a_judge_could_not_score_has_no_place_and_takes_none():
    one, other = {"a": 5.0, "b": 3.0, "c": 4.0}, {"a": 1.0, "b": 2.0}
    assert mean_places([["a", "b", "c"], ["d"]], [one, other]) == {"a": 0.5, "b": 0.5}
    assert mean_places([["a"]], [one]) == {"a": 0.5}


PAIRS = [Pair(prompt_id=f"p{n}", chosen_id=f"c{n}", rejected_id=f"r{n}", chosen_score=0.9, rejected_score=0.1) for n in range(3)]
OPINIONS = [
    {"c0": 5, "r0": 1, "c1": 5, "r1": 1, "c2": 5, "r2": 1},
    {"c0": 2, "r0": 1, "c1": 3, "r1": 1, "c2": 1, "r2": 1},
    {"c0": 5, "r0": 4, "c1": 1, "r1": 2, "c2": 1, "r2": 5},
]


@pytest.mark.parametrize(
    ("agreement", "kept"), [(0.0, [0, 1, 2]), (0.3, [0, 1, 2]), (0.5, [0, 1]), (0.66, [0, 1]), (0.67, [0]), (1.0, [0])]
)
def test_a_pair_is_kept_where_enough_of_the_jury_would_have_it_and_a_tie_is_not_for_it(agreement, kept):
    before = [Dropped(id="other", stage="pairs", reason="tie")]
    pairs, dropped = without_dissent((PAIRS, before), OPINIONS, agreement)
    assert pairs == [PAIRS[n] for n in kept]
    gone = [PAIRS[n] for n in range(3) if n not in kept]
    assert dropped == [*before, *(Dropped(id=pair.prompt_id, stage="pairs", reason="jury_disagrees") for pair in gone)]


def test_a_run_asks_each_judge_in_a_stage_of_its_own_and_learns_from_the_mean_of_their_places(world, tmp_path):
    go(world, tmp_path / "run", judge__by=JURY, responses__n=4, prompts__per_iteration=12)
    folder = tmp_path / "run" / "M2"
    said = [read_jsonl(folder / f"{stage}.jsonl", Judgment) for stage in ("judgments", "judgments_2", "judgments_3")]
    outside = [content_id(name) for name in JURY[:2]]
    assert [{judgment.judge for judgment in stage} for stage in said[:2]] == [{name} for name in outside]
    m1 = json.loads((folder.parent / "M1" / "model.receipt.json").read_text())["fingerprint"]
    assert {judgment.judge for judgment in said[2]} == {m1}
    groups = {}
    for response in read_jsonl(folder / "responses.jsonl", Response):
        groups.setdefault(response.prompt_id, []).append(response.id)
    places = mean_places(groups.values(), [mean_scores(stage, 1) for stage in said])
    pairs = read_jsonl(folder / "pairs.jsonl", Pair)
    assert pairs and any(len(group) > sum(one in places for one in group) for group in groups.values())
    for pair in pairs:
        group = [places[one] for one in groups[pair.prompt_id] if one in places]
        assert (pair.chosen_score, pair.rejected_score) == (places[pair.chosen_id], places[pair.rejected_id])
        assert pair.rejected_score == min(group)
    shown = sample(open_run(tmp_path / "run")["M2"], load_recipe(world, {"judge.by": JURY}).judge, 10**9)
    drawn = [one for browsed in shown.browsed for one in browsed.candidates]
    assert all(one.score == (places[one.response.id] if one.part else None) and one.below for one in drawn)
    go(world, tmp_path / "strict", judge__by=JURY, judge__agreement=1.0, responses__n=4, prompts__per_iteration=12)
    opinions = [mean_scores(stage, 1) for stage in said]
    counts = json.loads((tmp_path / "strict" / "M2" / "pairs.receipt.json").read_text())
    kept = [pair for pair in pairs if all(s[pair.chosen_id] > s[pair.rejected_id] for s in opinions)]
    assert counts["records"] == len(kept) < len(pairs) and counts["dropped"]["jury_disagrees"] == len(pairs) - len(kept)


def test_a_run_with_a_jury_goes_on_where_it_was_killed_and_is_shown(world, tmp_path, monkeypatch):
    jury = {"judge__by": JURY, "judge__agreement": 0.5, "drift__sample": 2}
    go(world, tmp_path / "run", **jury)
    expected = tree(tmp_path / "run")
    for file in (tmp_path / "run" / "M2").iterdir():
        if file.name.startswith(("judgments_2", "judgments_3", "pairs", "model", "held", "drift", "measured")):
            __import__("shutil").rmtree(file) if file.is_dir() else file.unlink()
    asked = count_requests(monkeypatch)
    go(world, tmp_path / "run", **jury)
    assert tree(tmp_path / "run") == expected and asked
    monkeypatch.undo()
    from selfreward.reports import write_report

    page = write_report(tmp_path / "run").read_text()
    assert "test_jury:fond" in page and "a jury" in page and "50 % must agree" in page
    readings = {reading.monitor: reading.value for reading in open_run(tmp_path / "run").readings() if reading.iteration == "M2"}
    assert readings["flukes.rate"] is None


def test_the_bill_has_a_line_for_every_judge(world):
    recipe = load_recipe(world, {"judge.by": JURY})
    lines = {
        stage.stage: stage for stage in plan(recipe, weigh(stand_in(recipe), [], recipe, lambda texts: [*map(len, texts)], 4))
    }
    by = [lines[f"M2/{stage}"].by for stage in ("judgments", "judgments_2", "judgments_3")]
    assert by == [*JURY[:2], recipe.base]
    assert {lines[f"M2/{stage}"].requests for stage in ("judgments", "judgments_2", "judgments_3")} == {6 * 2 * 3}
    assert judge_of(recipe) == "a jury of 3 (test_jury:fond; test_jury:strict; M1, throughout)"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"judge.by": ["current"]}, "must name at least two, each once"),
        ({"judge.by": ["current", "current"]}, "must name at least two, each once"),
        ({"judge.by": 3}, "must be a model, or a list of models"),
        ({"judge.by": ["current", "frozen"], "judge.samples": "adaptive"}, "asks one judge again"),
        ({"judge.agreement": 0.5}, "agreement works only with a jury"),
        ({"judge.by": ["current", "frozen"], "pairs.max_fluke": 0.2}, "one judge's scores"),
        ({"judge.by": ["current", "frozen"], "dpo.confidence": "consistency"}, "compares mean scores of one judge"),
    ],
)
def test_what_a_jury_cannot_do_is_refused_in_a_line(changes, reason, world):
    with pytest.raises(SelfRewardError) as refused:
        load_recipe(world, changes)
    assert reason in str(refused.value) and "\n" not in str(refused.value)
