"""Defects that begin on the way, and limits from the run itself, by hand; the pictures of the page."""

import json
from importlib.resources import files
from pathlib import Path

import pytest

from selfreward.errors import SelfRewardError
from selfreward.lab.defects.arms import FITTING, FRESH, PLANTED, TESTING, TURNED, Arm
from selfreward.lab.defects.defects import DEFECTS
from selfreward.lab.defects.fit import first_alarm, first_harm, fit, since, true_scores
from selfreward.lab.defects.own import OWN, furthest, mean_widths, own_distances, own_lines, shipped, tabulate_own
from selfreward.lab.defects.page import as_markdown
from selfreward.lab.defects.pictures import draw, draw_pictures
from selfreward.lab.defects.runs import LabRun, Seen
from selfreward.lab.defects.table import tabulate
from selfreward.lab.defects.together import figures_of, tabulate_joint
from selfreward.lab.defects.worlds import HARD
from selfreward.measure import calibrate, furthest_in_the_laboratory, own_baseline, own_usual
from selfreward.records import Baseline, Reading, iter_jsonl

LAB = Path(__file__).parents[2] / "docs" / "results" / "loop-health.runs.jsonl"
NOISE = next(defect for defect in DEFECTS if defect.name == "noise")
NONE = {"M1": {}, "M2": {}}
TURN = Arm(NOISE, 1.0, None, TURNED, 3)


def run(seed, arm="clean", readings=(0.0, 0.0, 0.0), true=(3.0, 4.0, 4.0), half=1.0):
    """A run of M1, M2 and M3 with one figure, `a.b`, whose intervals reach `half` either way."""
    models = {
        f"M{t}": Seen(
            true_score=score, self_score=3.5, criteria={}, traits={"canary": 0.1, "length": 3.0, "bribe": 0.0}, pairs_right=None,
            pairs_wrong=None, readings={"a.b": value, "a.none": None}, half={"a.b": half},
        )
        for t, (value, score) in enumerate(zip(readings, true, strict=True), start=1)
    }  # fmt: skip
    return LabRun(arm=arm, seed=seed, models=models, seconds=60)


def bare(one):
    """A run as it was recorded before intervals were kept."""
    return one.model_copy(update={"models": {name: seen.model_copy(update={"half": {}}) for name, seen in one.models.items()}})


def test_the_first_reading_is_what_is_usual_and_one_without_a_width_is_left_to_the_next_model():
    assert own_usual([{"a": (1.0, 0.0), "b": (2.0, 0.5)}, {"a": (3.0, 0.25), "b": (9.0, 1.0)}]) == {
        "a": (3.0, 0.25),
        "b": (2.0, 0.5),
    }


def test_the_distance_from_its_own_first_models_by_hand():
    """M1 and M3 are each known to 2, so their difference to the root of 8."""
    far = own_distances(run(0, readings=(1.0, 7.0, 4.0), half=2.0), NONE)  # M2 differs, and M1 was first
    assert far == {"M3": pytest.approx(3**2 / 8)}
    assert own_distances(run(0, readings=(0.0, 0.0, 99.0)), NONE) == {"M3": 36}  # capped
    assert furthest([run(0, readings=(0, 0, 2)), run(1, readings=(0, 0, -3))], NONE) == pytest.approx([4.5, 2])


def test_a_first_interval_that_came_out_narrow_by_luck_does_not_alarm_ever_after():
    narrow = run(0, readings=(0.0, 0.0, 3.0))
    narrow.models["M1"].half["a.b"] = 0.01
    assert own_distances(narrow, NONE) == {"M3": pytest.approx(3**2 / (1 + 0.01**2))}


def test_a_run_without_intervals_is_read_with_the_mean_widths_of_those_that_have_them():
    old = bare(run(0, readings=(0.0, 0.0, 3.0)))
    assert own_distances(old, NONE) == {}
    widths = mean_widths([run(1, half=1.0), run(2, half=2.0), old])
    assert widths == {name: {"a.b": 1.5} for name in ("M1", "M2", "M3")}
    assert own_distances(old, widths) == {"M3": pytest.approx(3**2 / (2 * 1.5**2))}
    assert mean_widths([run(1, half=0.0), run(2, half=2.0)]) == {"M1": {}, "M2": {}, "M3": {}}  # in one of two


def test_false_alarms_and_detection_by_a_runs_own_limits_by_hand():
    fitted = [run(seed, readings=(0.0, 0.0, 1.0 + at / 100)) for at, seed in enumerate(OWN)]
    clean = [run(seed, readings=(0.0, 0.0, 5.0 if at < 2 else 1.0)) for at, seed in enumerate(FRESH[40:48])]
    planted = [
        run(seed, TURN.name, readings=(0.0, 0.0, 9.0 if at else 0.0), true=(3, 4, 1)) for at, seed in enumerate(TURNED[:4])
    ]
    truth = true_scores([run(seed, true=(3, 4 + seed / 10, 4 + seed / 10)) for seed in range(3)])
    row = {"arm": TURN.name, "defect": "noise", "how": TURN.how, "kind": "turned", "strength": 1.0, "runs": 4, "harmed": 4}
    found = tabulate_own([*fitted, *clean, *planted], [row], truth)
    assert found["limit"] == pytest.approx(1.38**2 / 2)  # of 40 the second furthest: two of 41 may be as far or farther
    false = found["false_alarms"]
    assert (false["found"], false["of"], found["intervals"]) == (2, 8, 52)
    assert [(row["alarmed"], row["in_time"]) for row in found["defects"]] == [(3, 3)]
    page = "\n".join(own_lines(found))
    assert "| noise from M3 on | 1 | 4 | 3 | 4 | 3 of 4 |" in page and "begun on the way: 3 of 4 in time" in page
    assert "2 of 8 other clean runs" in page
    assert tabulate_own([*fitted[:18], *clean], [row], truth) is None  # 18 cannot hold 5 %
    assert tabulate_own(list(map(bare, fitted)), [row], truth) is None  # nothing has intervals


def test_what_shows_before_a_defect_begins_is_not_its_work():
    clean = [run(seed, readings=(seed % 3, seed % 3, seed % 3)) for seed in range(9)]
    early = run(0, TURN.name, readings=(99.0, 99.0, 1.0), true=(3, 0, 4))
    truth = true_scores([run(seed, true=(3, 4 + seed / 10, 4 + seed / 10)) for seed in range(3)])
    assert first_alarm(early, fit(clean)) == "M1" and first_harm(early, truth) == "M2"
    assert first_alarm(since(early, 3), fit(clean)) is None and first_harm(since(early, 3), truth) is None


def test_a_model_left_behind_harms_nobody_and_the_last_good_one_is_the_result():
    left = run(0, true=(3, 4, 0)).model_copy(update={"left": ("M3",)})
    truth = true_scores([run(seed, true=(3, 4 + seed / 10, 4 + seed / 10)) for seed in range(3)])
    assert first_harm(left, truth) is None and list(left.kept) == ["M1", "M2"]
    assert first_harm(left.model_copy(update={"left": ()}), truth) == "M3"


def test_names_tell_arms_apart():
    length = next(defect for defect in DEFECTS if defect.name == "length")
    grows = Arm(length, 0.5, None, TURNED, gain=4.0)
    assert (TURN.name, TURN.how, TURN.kind) == ("noise-1-from-M3", " from M3 on", "turned")
    assert (grows.name, grows.how, grows.kind) == ("length-0.5-grows-4", " growing by 4", "growing")
    assert Arm(NOISE, 1.0, "rollback", TURNED, 3).name == "noise-1-from-M3+rollback"


def test_rows_on_the_way_and_fresh_seeds_stand_apart_on_the_page():
    spread = lambda seeds: [run(seed, readings=(seed % 5, seed % 7, seed % 5)) for seed in seeds]  # noqa: E731
    clean = [one.model_copy(update={"seed": seed}) for seed, one in zip([*FITTING, *TESTING], spread(range(120)), strict=True)]
    clean = [
        run(one.seed, readings=(one.seed % 5, one.seed % 7, one.seed % 5), true=(3, 4 + one.seed % 3 / 10, 4)) for one in clean
    ]
    fresh = [run(seed, readings=(99.0 if seed == FRESH[0] else 1.0, 1.0, 1.0)) for seed in FRESH[:8]]
    turned = [run(seed, TURN.name, readings=(1.0, 1.0, 99.0), true=(3, 4, 1)) for seed in TURNED]
    found = tabulate([*clean, *fresh, *turned], [])
    assert (found["fresh"]["any"]["found"], found["fresh"]["any"]["of"]) == (1, 8)
    assert found["detection"]["first"] is None and found["detection"]["turned"]["found"] == 10
    (row,) = found["defects"]
    assert row["alarm_at"] == {"M3": 10} and row["series"]["a.b"].keys() == {"M1", "M2", "M3"}
    joint = tabulate_joint([*clean, *fresh, *turned], found["defects"])
    assert joint["fresh"]["found"] == 1 and joint["fresh"]["alarm_at"] == {"M1": 1}
    assert joint["fresh"]["either"]["found"] == 1  # the same run by both
    assert joint["all"]["turned"]["found"] == 10 and joint["all"]["first"] is None
    assert [(found["found"], found["of"]) for found in joint["together"]["either"]] == [(10, 10), (10, 10)]
    page = as_markdown({**found, "joint": joint})
    assert "- *noise* from M3 on, strength 1, 10 runs" in page and "1 of 8 clean runs, fewer than" in page
    (picture,) = draw_pictures(found).values()
    assert picture == draw(row, found["clean"]) and picture.count('<path class="line') == 3 and "a.b" in picture


def test_the_harder_worlds_page_has_its_own_clean_runs_and_the_own_limit_that_users_have():
    clean = [run(seed, readings=(seed % 5, seed % 7, seed % 5), true=(3, 4 + seed % 3 / 10, 4)) for seed in FITTING]
    far = [run(seed, "noise-1", readings=(1.0, 1.0, 99.0), true=(3, 4, 1)) for seed in PLANTED]
    found = tabulate([*clean, *far], [], HARD)
    joint = tabulate_joint([*clean, *far], found["defects"], HARD)
    assert found["false_alarms"] is None and found["fresh"] is None and found["cures"] == []
    assert joint["compared_with"] == 30 and joint["holds"] == 0.033  # of 31, one may be the furthest
    assert joint["all"]["first"]["found"] == 10
    assert joint["own"]["limit"] == Baseline(usual={}, furthest=furthest_in_the_laboratory()).limit(0.05)
    assert joint["own"]["false_alarms"]["of"] == 60
    page = as_markdown({**found, "joint": joint}, HARD)
    assert "`selfreward lab --world micro-hard`: 70 runs of the world `micro-hard`" in page and "lab-hard.toml" in page
    assert "](loop-health-hard.svg)" in page and "## Cures" not in page and "before any run of this one" in page


def test_the_shipped_baseline_and_distances_are_those_of_the_recorded_clean_runs():
    runs = list(iter_jsonl(LAB, LabRun))
    fitted = [figures_of(one) for one in runs if one.arm == "clean" and one.seed in (*FITTING, *TESTING)]
    baseline = files("selfreward") / "lab" / "defects" / "baseline.jsonl"
    assert Baseline.model_validate_json(baseline.read_text()) == calibrate(fitted)
    distances = json.loads((files("selfreward") / "measure" / "text" / "own_distances.json").read_text())
    assert distances == shipped(runs)


def test_a_run_that_has_no_m2_yet_or_none_after_it_gives_no_baseline(tmp_path):
    from types import SimpleNamespace

    bare = SimpleNamespace(folder=tmp_path, models={}, iterations=["M2", "M3"])
    with pytest.raises(SelfRewardError, match="has not watched M1 and M2, and M1 and M2 are what later models are held against"):
        own_baseline(bare)
    reading = Reading(monitor="a.b", iteration="M1", value=1.0, interval=(0.0, 2.0), limit=None, verdict="ok")
    m1 = SimpleNamespace(watched=[reading])
    with pytest.raises(SelfRewardError, match=r"has not watched M2, .*Let it go on until both are watched"):
        own_baseline(SimpleNamespace(folder=tmp_path, models={"M1": m1}, iterations=["M2", "M3"]))
    finished = SimpleNamespace(folder=tmp_path, models={"M1": m1, "M2": m1}, iterations=["M2"])
    with pytest.raises(SelfRewardError, match=r"makes no model after M2, .*two iterations or more") as error:
        own_baseline(finished)
    assert "Let it" not in error.value.now, "nothing that is waited for will come"
