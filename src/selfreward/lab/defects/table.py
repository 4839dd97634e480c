"""Tables of the laboratory's runs: false alarms of clean runs, harm and detection of each defect, the worth of each cure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from statistics import fmean, stdev
from typing import Any, NamedTuple

from scipy import stats

from selfreward.errors import SelfRewardError
from selfreward.lab.defects.arms import CURES, CURES_ON_THE_WAY, FITTING, FRESH, KINDS, TESTING, Arm, arms
from selfreward.lab.defects.calibration import Rejudged, bins
from selfreward.lab.defects.defects import DEFECTS
from selfreward.lab.defects.fit import (
    Clean,
    Limits,
    ModelFigure,
    by_figure,
    caught,
    first_alarm,
    first_harm,
    fit,
    outliers,
    since,
    true_scores,
)
from selfreward.lab.defects.runs import LabRun, Seen
from selfreward.lab.defects.worlds import EASY, World

SURE = 0.95
"""Confidence of a bound, one-sided, by Clopper and Pearson."""
ENOUGH = 8
"""The least number of runs: clean ones to fit limits on, and of an arm for a row with a spread."""

HARMFUL = 0.5
"""Share of the harmed runs from which a strength counts as harmful: a clean run may be harmed by chance."""


class BoundedShare(NamedTuple):
    """A count out of a number of runs, with its bound."""

    found: int
    of: int
    bound: float


def at_most(count: int, of: int) -> BoundedShare:
    """A share with an upper bound."""
    return BoundedShare(count, of, float(stats.binomtest(count, of, alternative="less").proportion_ci(SURE, "exact").high))


def at_least(count: int, of: int) -> BoundedShare:
    """A share with a lower bound."""
    return BoundedShare(count, of, float(stats.binomtest(count, of, alternative="greater").proportion_ci(SURE, "exact").low))


def tabulate(runs: Sequence[LabRun], rejudged: Sequence[Rejudged], world: World = EASY) -> dict[str, Any]:
    """Every figure of the page, as JSON values. Raises `SelfRewardError` before there are clean runs to fit limits on."""
    every = list(arms(world))
    by_arm = {arm.name: [run for run in runs if run.arm == arm.name] for arm in every}
    clean = {seeds: [run for run in by_arm["clean"] if run.seed in seeds] for seeds in (FITTING, TESTING)}
    if len(clean[FITTING]) < ENOUGH:
        what = f"{len(clean[FITTING])} clean runs are too few to fit limits on"
        raise SelfRewardError(
            what, "selfreward lab", "What was run is kept: give it more --minutes, in the folder of its records"
        )
    fresh = [run for run in by_arm["clean"] if run.seed in FRESH]
    limits, truth = fit(clean[FITTING]), true_scores(clean[FITTING])
    fitting = by_figure(clean[FITTING])
    usual = {figure: (fmean(fitting[figure]), stdev(fitting[figure])) for figure in limits.centre}
    defective = [(arm, by_arm[arm.name]) for arm in every if arm.defect and not arm.cure and by_arm[arm.name]]
    rows = [{**_row(arm, arm_runs, limits, truth), **_moved(arm_runs, usual)} for arm, arm_runs in defective]
    return {
        "runs": len(runs), "hours": sum(run.seconds for run in runs) / 3600,
        "seconds_a_run": fmean(run.seconds for run in clean[FITTING]),
        "clean": {"fitting": len(clean[FITTING]), "testing": len(clean[TESTING]), **_curves(clean[FITTING])},
        "limits": _limits(limits), "times": limits.times,
        "false_alarms": _false_alarms(clean[TESTING], limits, truth) if clean[TESTING] else None,
        "fresh": _fresh(fresh, limits, truth) if fresh else None,
        "defects": rows, "detection": {kind: _detection([row for row in rows if row["kind"] == kind]) for kind in KINDS},
        "cures": _cures(every, by_arm, truth),
        "calibration": [cell._asdict() for cell in bins(rejudged)],
    }  # fmt: skip


def _limits(limits: Limits) -> dict[str, dict[str, tuple[float, float]]]:
    """Figure → model → lowest and highest value without an alarm."""
    ends: dict[str, dict[str, tuple[float, float]]] = {}
    for model, monitor in sorted(limits.centre, key=lambda figure: (figure[1], figure[0])):
        low, high = limits.ends((model, monitor))
        ends.setdefault(monitor, {})[model] = (round(low, 5), round(high, 5))
    return ends


def _false_alarms(clean: Sequence[LabRun], limits: Limits, truth: Clean) -> dict[str, Any]:
    """Alarms of the clean runs that no limit was fitted on, by any figure and by each; and how many of them count as harmed."""
    monitors_by_run = [{alarm.monitor for alarm in outliers(run, limits)} for run in clean]
    counts = Counter(monitor for monitors in monitors_by_run for monitor in monitors)
    monitors = sorted({monitor for _, monitor in limits.centre})
    return {
        "any": at_most(sum(map(bool, monitors_by_run)), len(clean))._asdict(),
        "harmed": sum(first_harm(run, truth) is not None for run in clean),
        "each": {monitor: at_most(counts[monitor], len(clean))._asdict() for monitor in monitors},
    }


def _fresh(runs: Sequence[LabRun], limits: Limits, truth: Clean) -> dict[str, Any]:
    """Clean runs made after all was chosen: false alarms by the limits as they were, and their own true scores."""
    return {**_false_alarms(runs, limits, truth), "seeds": (runs[0].seed, runs[-1].seed), **_curves(runs)}


def _curves(runs: Sequence[LabRun], trait: str = "") -> dict[str, Any]:
    """Means over runs by model: the true score, the model's score of itself, and the trait that a defect breeds."""
    return {
        "true": _by_model(runs, lambda record: record.true_score),
        "said": _by_model(runs, lambda record: record.self_score),
        **({"trait": _by_model(runs, lambda record: record.traits.get(trait))} if trait in TRAITS else {}),
    }


TRAITS = {defect.name for defect in DEFECTS if defect.trait}


def _by_model(runs: Iterable[LabRun], figure: Callable[[Seen], float | None]) -> dict[str, dict[str, float]]:
    series: dict[str, list[float]] = {}
    for run in runs:
        for model, record in run.models.items():
            if (value := figure(record)) is not None:
                series.setdefault(model, []).append(value)
    return {model: {"mean": fmean(values), "sd": stdev(values) if len(values) > 1 else 0.0} for model, values in series.items()}


def _row(arm: Arm, runs: Sequence[LabRun], limits: Limits, truth: Clean) -> dict[str, Any]:
    """Harm by one defect at one strength, and the monitors that saw it, with the model at which they did."""
    assert arm.defect
    touched = [since(run, arm.begins) for run in runs]
    harm, alarm = [first_harm(run, truth) for run in touched], [first_alarm(run, limits) for run in touched]
    counts = Counter(monitor for run in touched for monitor in {outlier.monitor for outlier in outliers(run, limits)})
    return {
        "arm": arm.name, "defect": arm.defect.name, "how": arm.how, "kind": arm.kind, "strength": arm.strength, "runs": len(runs),
        "ended": sum(run.ended is not None for run in runs),
        **_curves(runs, arm.defect.name),
        "harmed": sum(h is not None for h in harm), "harm_at": counted(harm),
        "alarmed": sum(a is not None for a in alarm), "alarm_at": counted(alarm), **caught(harm, alarm)._asdict(),
        "seen_by": dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:6]),
    }  # fmt: skip


def _moved(runs: Sequence[LabRun], usual: dict[ModelFigure, tuple[float, float]]) -> dict[str, Any]:
    """The figures that moved most: (monitor, model, mean distance in standard deviations of clean runs); each over all models."""
    off = {
        (model, monitor): (fmean(values) - usual[model, monitor][0]) / usual[model, monitor][1]
        for (model, monitor), values in by_figure(runs).items()
        if usual.get((model, monitor), (0.0, 0.0))[1]
    }
    furthest: dict[str, tuple[str, str, float]] = {}
    for (model, monitor), far in sorted(off.items(), key=lambda item: (-abs(item[1]), item[0])):
        furthest.setdefault(monitor, (monitor, model, round(far, 2)))
    moved = list(furthest.values())[:6]
    series = {
        name: {model: round(far, 2) for (model, monitor), far in sorted(off.items()) if monitor == name} for name, _, _ in moved
    }
    return {"moved": moved, "series": series}


def counted(models: Iterable[str | None]) -> dict[str, int]:
    """The count of each of `models`, in their order."""
    return dict(sorted(Counter(model for model in models if model).items()))


def _detection(rows: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The share of harmed runs, at harmful strengths, with an alarm by the model in which the harm shows; None without any."""
    harmful = [row for row in rows if row["harmed"] >= HARMFUL * row["runs"]]
    harmed, in_time = sum(row["harmed"] for row in harmful), sum(row["in_time"] for row in harmful)
    return at_least(in_time, harmed)._asdict() if harmed else None


def _cures(every: Sequence[Arm], by_arm: dict[str, list[LabRun]], truth: Clean) -> list[dict[str, Any]]:
    """Each cure beside the runs of its seeds without it: on clean runs, and on runs with a defect."""
    rows = []
    for arm in sorted((arm for arm in every if arm.cure), key=lambda arm: [*CURES, *CURES_ON_THE_WAY].index(arm.cure or "")):
        before = {run.seed: run for run in by_arm[arm._replace(cure=None).name]}
        if runs := [(run, before[run.seed]) for run in by_arm[arm.name] if run.seed in before]:
            defect = arm.defect.name if arm.defect else "none"
            told = {"cure": arm.cure, "defect": defect, "how": arm.how, "strength": arm.strength}
            rows.append({**told, **_beside(runs, defect, truth)})
    return rows


def _beside(runs: Sequence[tuple[LabRun, LabRun]], defect: str, truth: Clean) -> dict[str, Any]:
    """The last true score with the cure less that without it, the trait likewise, and the number of harmed runs."""
    last = [(_last(with_cure), _last(without_cure)) for with_cure, without_cure in runs]
    ended = sum(with_cure.ended is not None for with_cure, _ in runs)
    figures: dict[str, Any] = {"runs": len(runs), "ended": ended, "without": fmean(b.true_score for _, b in last)}
    figures["true"] = _difference([a.true_score - b.true_score for a, b in last])
    if defect in TRAITS:
        figures["trait"] = _difference([a.traits[defect] - b.traits[defect] for a, b in last])
    harmed, harmed_without = (sum(first_harm(run, truth) is not None for run in side) for side in zip(*runs, strict=True))
    return {**figures, "harmed_without": harmed_without, "harmed": harmed}


def _last(run: LabRun) -> Seen:
    return list(run.kept.values())[-1]


def _difference(values: Sequence[float]) -> dict[str, float]:
    """A mean over seeds with its 95 % interval by Student's t; of one seed the value alone."""
    mean = fmean(values)
    if len(values) == 1:
        return {"value": mean}
    half = float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))
    return {"value": mean, "low": mean - half, "high": mean + half}
