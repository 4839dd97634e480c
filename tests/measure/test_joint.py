"""One alarm over all figures: distances by hand, the limit's error rate by simulation, and what a run makes of a baseline."""

import json
import random
import shutil
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from selfreward.cli import app
from selfreward.errors import SelfRewardError
from selfreward.measure.monitors.joint import (
    CAP,
    JOINT,
    Joint,
    calibrate,
    clean_figures,
    deviations,
    distance,
    first_beyond,
    first_of,
    load_joint,
    shared_baseline,
)
from selfreward.measure.monitors.verdicts import read_joint
from selfreward.recipe import DriftConfig, Limit, load_recipe
from selfreward.records import Baseline, Reading, to_line
from selfreward.rundir import open_run
from tinyrun import go, make_world, quiet

USUAL = {"a": (1.0, 0.5), "b": (0.0, 2.0)}


def reading(monitor, value, iteration="M2", reach=1.0):
    interval = None if value is None else (value - reach, value + reach)
    return Reading(monitor=monitor, iteration=iteration, value=value, interval=interval, limit=None, verdict="ok")


def run_of(rng, models=3, figures=12, shift=0.0, together=1.0):
    """A run whose figures, skewed ones, hang together within a model and over models."""
    level = rng.gauss(0, together)
    return {
        f"M{model}": {f"f{at}": rng.gauss(shift, 1) + level + rng.expovariate(1) for at in range(figures)}
        for model in range(1, models + 1)
    }


def test_the_distance_is_the_mean_square_in_standard_deviations():
    assert distance({"a": 2.0, "b": -2.0}, USUAL) == pytest.approx((2**2 + 1**2) / 2)
    assert distance({"b": 4.0, "c": 9.0}, USUAL) == pytest.approx(4)  # what has no usual value counts for nothing
    assert distance({"a": 1e9}, USUAL) == CAP**2
    assert distance({"c": 1.0}, USUAL) is None


def test_the_figures_of_a_monitor_count_as_one():
    """By hand: people's two figures are 3 and 1 spreads away, health's is 2; (9 + 1) / 2 = 5 and 4, mean 4.5, not 14 / 3."""
    usual = {"people.a": (0.0, 1.0), "people.b": (0.0, 1.0), "health.c": (0.0, 1.0)}
    assert distance({"people.a": 3.0, "people.b": -1.0, "health.c": 2.0}, usual) == pytest.approx(4.5)


def test_the_figures_behind_it_are_named_the_furthest_first():
    assert list(deviations({"a": 0.5, "b": -4.0}, USUAL).items()) == [("b", -2.0), ("a", -1.0)]


def test_means_come_from_the_first_half_of_the_runs_and_the_furthest_models_from_the_second():
    runs = [{"M1": {"a": value}} for value in (0.0, 2.0, 1.0, 4.0)]
    baseline = calibrate(runs)
    assert baseline.usual == {"M1": {"a": (1.0, pytest.approx(2**0.5))}}
    assert baseline.furthest == (pytest.approx(4.5), 0.0)  # a run at 4 and one at 1, mean 1, variance 2


def test_a_figure_that_hardly_moves_or_that_few_runs_have_is_left_out():
    still = [{"M1": {"a": float(at), "still": 1.0, **({"rare": 1.0 * at} if at < 3 else {})}} for at in range(20)]
    assert set(calibrate(still).usual["M1"]) == {"a"}


@pytest.mark.parametrize(("furthest", "share", "limit"), [
    (19, 0.05, 19), (18, 0.05, None), (39, 0.05, 38), (24, 0.04, 24), (30, 0.04, 30), (3, 0.99, 1),
])  # fmt: skip
def test_the_limit_is_the_kth_furthest_of_n_where_k_is_the_share_of_n_plus_one(furthest, share, limit):
    baseline = Baseline(usual={}, furthest=tuple(float(at) for at in range(furthest, 0, -1)))
    assert baseline.limit(share) == limit


def test_the_share_that_is_offered_is_one_that_the_runs_can_hold():
    for count in range(1, 200):
        baseline = Baseline(usual={}, furthest=(1.0,) * count)
        assert baseline.limit(baseline.finest) is not None


def test_clean_runs_raise_an_alarm_as_often_as_is_said_however_many_models_are_looked_at():
    """Binomial by simulation: each trial draws a baseline and one more run, so that trials are independent."""
    rng, raised, trials = random.Random(0), 0, 1500
    for _ in range(trials):
        baseline = calibrate([run_of(rng) for _ in range(8 + 9)])
        raised += first_beyond(run_of(rng), Joint(baseline, baseline.limit(0.1))) is not None
    assert baseline.limit(0.1) == baseline.furthest[0]
    assert 0.075 < raised / trials < 0.125  # 1 of 10, within four standard errors; never-alarming and peeking both fail this


def test_many_small_moves_raise_the_alarm_that_no_single_figure_does():
    rng = random.Random(1)
    runs = [run_of(rng, figures=40, together=0) for _ in range(60)]
    baseline = calibrate(runs)
    joint = Joint(baseline, baseline.limit(0.04))
    moved = [run_of(rng, figures=40, together=0, shift=1.5) for _ in range(20)]
    highest = {name: max(run[model][name] for run in runs for model in run) for name in runs[0]["M1"]}
    assert sum(first_beyond(run, joint) is not None for run in moved) == 20
    alone = [sum(run["M1"][name] > highest[name] for name in highest) for run in moved]
    assert sum(alone) / (20 * 40) < 0.05  # a single figure passes what it ever was in a clean run once in twenty times


def test_a_reading_names_what_is_behind_it_and_takes_a_limit_of_the_recipe_before_the_baselines():
    joint = Joint(Baseline(usual={"M2": USUAL}, furthest=(1.0,)), 2.0)
    readings = [reading("a", 2.0), reading("b", -2.0), reading("c", 7.0), reading("d", None)]
    read = read_joint(readings, "M2", DriftConfig(), joint)
    assert (read.monitor, read.value, read.limit, read.verdict) == (JOINT, 2.5, (None, 2.0), "warn")
    assert read.behind == {"a": 2.0, "b": -1.0}
    assert read_joint(readings, "M2", DriftConfig(limits={JOINT: Limit(stop_above=2.4)}), joint).verdict == "stop"
    assert read_joint(readings, "M2", DriftConfig(limits={JOINT: Limit(above=3)}), joint).verdict == "ok"
    assert read_joint(readings, "M9", DriftConfig(), joint).value is None


def test_readings_without_it_are_written_as_they_were():
    assert "behind" not in to_line(reading("a", 1.0))


def test_a_baseline_that_cannot_hold_the_share_is_refused_with_one_that_it_can(tmp_path):
    file = tmp_path / "baseline.jsonl"
    file.write_text(to_line(Baseline(usual={}, furthest=(1.0,) * 9)) + "\n")
    with pytest.raises(SelfRewardError, match=r"9 clean runs to compare with cannot hold 5.0% false alarms.*0.1 or more"):
        load_joint(DriftConfig(baseline=str(file)))
    assert load_joint(DriftConfig(baseline=str(file), false_alarms=0.1)).limit == 1
    file.write_text("")
    with pytest.raises(SelfRewardError, match="has no lines, not one"):
        load_joint(DriftConfig(baseline=str(file)))
    assert load_joint(DriftConfig()) is None


def test_the_share_that_the_error_offers_is_accepted(tmp_path):
    file = tmp_path / "baseline.jsonl"
    file.write_text(to_line(Baseline(usual={}, furthest=(1.0,) * 8)) + "\n")
    with pytest.raises(SelfRewardError, match=r"to 0\.112 or more"):  # a ninth, rounded up
        load_joint(DriftConfig(baseline=str(file)))
    assert load_joint(DriftConfig(baseline=str(file), false_alarms=0.112)).limit == 1


@pytest.mark.parametrize("fields", [
    {"usual": {"M2": {"a": (float("nan"), 1.0)}}}, {"usual": {"M2": {"a": (1.0, 0.0)}}},
    {"usual": {"M2": {"a": (1.0, float("inf"))}}}, {"furthest": (float("inf"), 1.0)}, {"furthest": (1.0, -1.0)}, {"furthest": ()},
])  # fmt: skip
def test_a_baseline_that_could_alarm_always_or_never_is_refused_with_its_line(fields, tmp_path):
    file = tmp_path / "baseline.jsonl"
    file.write_text(json.dumps({"usual": {"M2": {"a": (1.0, 1.0)}}, "furthest": (1.0,) * 19, **fields}) + "\n")
    with pytest.raises(SelfRewardError, match=r"baseline\.jsonl:1: "):
        load_joint(DriftConfig(baseline=str(file)))


def test_a_run_that_has_not_finished_or_was_not_watched_is_no_clean_run(tmp_path):
    models = {"M1": SimpleNamespace(watched=[reading("a", 1.0, "M1")])}
    under_way = SimpleNamespace(folder=tmp_path, finished=False, models=models)
    with pytest.raises(SelfRewardError, match="has not finished"):
        clean_figures(under_way)
    with pytest.raises(SelfRewardError, match="was not watched"):
        clean_figures(SimpleNamespace(folder=tmp_path, finished=True, models={"M1": SimpleNamespace(watched=[])}))


def test_calibrate_writes_a_baseline_of_runs(tmp_path, monkeypatch):
    values = iter(range(8))

    def opened(folder):
        at = float(next(values))
        watched = [reading("a", at, "M1"), reading("b", None, "M1"), reading(JOINT, 1.0, "M1")]
        m1 = SimpleNamespace(watched=watched, measured=SimpleNamespace(fingerprint=f"first {at:g}"))
        recipe = load_recipe("micro", {"seed": int(at)})
        return SimpleNamespace(finished=True, folder=folder, recipe=recipe, models={"M1": m1, "M2": SimpleNamespace(watched=[])})

    monkeypatch.setattr("selfreward.rundir.open_run", opened)
    out = tmp_path / "baseline.jsonl"
    answer = CliRunner().invoke(app, ["calibrate", *map(str, range(6)), "--out", str(out)])
    assert answer.exit_code == 0, answer.output
    assert "25.0%" in answer.output
    baseline = Baseline.model_validate_json(out.read_text())
    assert baseline.usual == {"M1": {"a": (1.0, 1.0)}}
    assert baseline.furthest == (16.0, 9.0, 4.0)
    assert baseline.of == tuple(f"first {at}" for at in range(6))
    assert baseline.misfit("first 3").startswith("this run is among those") and baseline.misfit("another") is None
    too_few = CliRunner().invoke(app, ["calibrate", "one", "two"])
    assert "4 is the fewest" in too_few.output
    assert too_few.exit_code != 0


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({1: {"seed": 0}}, r"b: has the seed of .*a, 0\. Give each run once"),
        (
            {3: {"dpo.beta": 0.7, "responses.n": 9}},
            r"d: is by another recipe than .*a: dpo\.beta, responses\.n differ\. Give runs",
        ),
        ({2: {"drift.pool": 3}}, r"c: is by another recipe than .*a: drift\.pool differs"),
    ],
)
def test_runs_that_are_not_of_one_recipe_and_different_seeds_make_no_baseline(changes, says, tmp_path):
    with pytest.raises(SelfRewardError, match=says):
        shared_baseline([*clean_runs(tmp_path, changes)])


def test_clean_runs_may_differ_in_what_decides_no_figure_and_none_is_given_twice(tmp_path):
    runs = [
        *clean_runs(
            tmp_path, {1: {'drift.limits."flukes.rate".above': 1}, 2: {"report_to": ["trackio"], "drift.on_alarm": "stop"}}
        )
    ]
    assert len(shared_baseline(runs).furthest) == 2
    with pytest.raises(SelfRewardError, match=r"d: is given twice\. Give"):
        shared_baseline([*runs, SimpleNamespace(folder=tmp_path / "." / "d", recipe=runs[3].recipe)])


def test_clean_runs_may_have_their_files_and_their_base_at_other_places_if_these_hold_the_same(tmp_path):
    for name, weights in (("here", b"a"), ("there", b"a"), ("elsewhere", b"b")):
        (tmp_path / name / "base").mkdir(parents=True)
        (tmp_path / name / "base" / "model.safetensors").write_bytes(weights)
        (tmp_path / name / "judge.txt").write_bytes(weights + b" {prompt} {response}")

    def placed(name):
        return {"base": str(tmp_path / name / "base"), "judge.rubric": str(tmp_path / name / "judge.txt")}

    def runs(*names):
        return shared_baseline([*clean_runs(tmp_path, {seed: placed(name) for seed, name in enumerate(names)})])

    assert len(runs("here", "there", "here", "there").furthest) == 2
    with pytest.raises(SelfRewardError, match=r"c: is by another recipe than .*a: base, judge\.rubric differ"):
        runs("here", "there", "elsewhere", "there")
    shutil.rmtree(tmp_path / "there")  # what is no longer there cannot be compared
    with pytest.raises(SelfRewardError, match=r"b: is by another recipe than .*a: base, judge\.rubric differ"):
        runs("here", "there", "here", "here")


def clean_runs(folder, changes):
    """Four runs of seeds 0 to 3 in folders a to d, with `changes` to the recipes of some."""
    for seed, name in enumerate("abcd"):
        m1 = SimpleNamespace(watched=[reading("a", 1.0 * seed, "M1")], measured=None)
        recipe = load_recipe("micro", {"seed": seed, **changes.get(seed, {})})
        yield SimpleNamespace(folder=folder / name, recipe=recipe, finished=True, models={"M1": m1})


def test_a_run_is_told_of_a_baseline_that_is_none_for_it(tmp_path, monkeypatch, capsys):
    quiet(monkeypatch)
    monkeypatch.setattr("selfreward.rundir.progress.Progress.say", lambda self, line: print(line))
    recipe, file, usual = make_world(tmp_path / "world"), tmp_path / "baseline.jsonl", {"M2": {"health.mean": (3.0, 1.0)}}

    def told(**fields):
        file.write_text(to_line(Baseline(usual=usual, furthest=(1.0,) * 19, **fields)) + "\n")
        go(recipe, tmp_path / "run", drift={"sample": 2, "pool": 2, "baseline": str(file)})
        return [line for line in capsys.readouterr().out.splitlines() if line.startswith("drift.baseline: ")]

    assert told() == []
    (first,) = first_of(open_run(tmp_path / "run"))
    assert told(of=("another",), own=True)[0].startswith("drift.baseline: the baseline is another run's M1 and M2")
    assert told(of=("another", first))[0].startswith("drift.baseline: this run is among those")
    assert told(of=(first,), own=True) == told(of=("another",)) == []


def test_a_first_model_that_is_the_base_itself_tells_no_runs_apart(tmp_path):
    runs = list(clean_runs(tmp_path, {seed: {"sft.on": "none"} for seed in range(4)}))
    for run in runs:
        run.models["M1"].measured = SimpleNamespace(fingerprint="base")
    assert shared_baseline(runs).misfit("base") is None


def test_the_order_of_the_furthest_in_a_file_is_no_matter():
    assert Baseline(usual={}, furthest=(1.0, 3.0, 2.0)).limit(0.25) == 3.0


def test_calibrate_makes_a_baseline_of_one_run_from_its_own_first_models(tmp_path, monkeypatch):
    found = [reading("a", 1.0, "M1"), reading("b", None, "M1"), reading("still", 3.0, "M1", reach=0.0), reading(JOINT, 1.0, "M1")]
    watched = {"M1": found, "M2": [reading("a", 9.0, "M2"), reading("b", 2.0, "M2", reach=0.5)], "M3": [], "M4": []}
    models = {name: SimpleNamespace(watched=readings) for name, readings in watched.items()}
    models["M1"].measured = SimpleNamespace(fingerprint="first")
    run = SimpleNamespace(models=models, iterations=["M2", "M3", "M4"], folder=tmp_path, recipe=load_recipe("micro"))
    monkeypatch.setattr("selfreward.rundir.open_run", lambda folder: run)
    monkeypatch.setattr("selfreward.measure.monitors.own.furthest_in_the_laboratory", lambda: (4.0,) * 24)
    out = tmp_path / "baseline.jsonl"
    answer = CliRunner().invoke(app, ["calibrate", "runs/my", "--out", str(out)])
    assert answer.exit_code == 0 and "4.0%" in answer.output and "24 clean runs of the laboratory" in answer.output
    baseline = Baseline.model_validate_json(out.read_text())
    assert baseline.usual == {name: {"a": (1.0, 1.0), "b": (2.0, 0.5)} for name in ("M3", "M4")}
    assert baseline.misfit("another").startswith("the baseline is another run's") and baseline.misfit("first") is None
    joint = load_joint(DriftConfig(baseline=str(out)))
    later = [reading("a", 4.0, "M3", reach=0.75), reading("b", 2.0, "M3")]  # an interval half .75 wide, beside one half 1 wide
    beyond = read_joint(later, "M3", DriftConfig(false_alarms=0.08), joint)
    assert beyond.value == pytest.approx((3 / 1.25) ** 2 / 2) and beyond.behind == {"a": pytest.approx(2.4), "b": 0.0}
    assert read_joint([reading("a", 7.0, "M3"), later[1]], "M3", DriftConfig(), joint).verdict == "warn"
    assert read_joint([reading("a", 4.0, "M2")], "M2", DriftConfig(), joint).verdict == "ok"
