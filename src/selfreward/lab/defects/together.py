"""The joint figure in the laboratory: false alarms of clean runs, and the harmed runs that it sees beside the single limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from selfreward.lab.defects.arms import FITTING, TESTING, arms
from selfreward.lab.defects.fit import Clean, caught, first_harm, true_scores
from selfreward.lab.defects.runs import LabRun
from selfreward.lab.defects.table import HARMFUL, at_least, at_most, counted
from selfreward.measure import CAP, Joint, calibrate, first_beyond

FALSE_ALARMS = 0.04
"""The share of clean runs that may raise the joint alarm."""
Figures = dict[str, dict[str, float]]


def figures_of(run: LabRun) -> Figures:
    """Model → figure → value, of all that was read."""
    return {
        model: {figure: value for figure, value in seen.readings.items() if value is not None}
        for model, seen in run.models.items()
    }


def tabulate_joint(runs: Sequence[LabRun], single: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Alarms by the joint figure, as built-ins; None where too few clean runs were made to hold the share of false alarms.

    `single`: the rows of the planted defects by single limits, as `tabulate` gives them.
    """
    clean = {seeds: [run for run in runs if run.arm == "clean" and run.seed in seeds] for seeds in (FITTING, TESTING)}
    baseline = calibrate([figures_of(run) for run in clean[FITTING]])
    limit = baseline.limit(FALSE_ALARMS)
    if limit is None or not clean[TESTING]:
        return None
    joint, truth = Joint(baseline, limit), true_scores(clean[FITTING])
    false = sum(first_beyond(figures_of(run), joint) is not None for run in clean[TESTING])
    by_arm = {(arm.defect.name, arm.strength): arm.name for arm in arms() if arm.defect and not arm.cure}
    planted = [(row, [run for run in runs if run.arm == by_arm[row["defect"], row["strength"]]]) for row in single]
    rows = [_row(row, figures, joint, truth) for row, figures in planted]
    return {
        "spread_from": len(clean[FITTING]) // 2, "compared_with": len(baseline.furthest), "limit": limit,
        "holds": baseline.finest, "false_alarms": at_most(false, len(clean[TESTING]))._asdict(), "defects": rows,
        "harmful": _seen([row for row in rows if row["harmed"] >= HARMFUL * row["runs"]]), "all": _seen(rows),
    }  # fmt: skip


def _row(single: Mapping[str, Any], runs: Sequence[LabRun], joint: Joint, truth: Clean) -> dict[str, Any]:
    alarm = [first_beyond(figures_of(run), joint) for run in runs]
    seen = caught([first_harm(run, truth) for run in runs], alarm)
    same = {name: single[name] for name in ("defect", "strength", "runs", "harmed")}
    return {**same, "single": single["in_time"], "joint": seen.in_time, "alarm_at": counted(alarm), "lead": seen.lead}


def _seen(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    harmed = sum(row["harmed"] for row in rows)
    return at_least(sum(row["joint"] for row in rows), harmed)._asdict() if harmed else None


INTRODUCTION = """## One alarm over all figures

The joint figure (`joint.distance`) of a model is the mean of its figures' squared standard deviations from clean runs' mean,
taken from the first {spread_from} clean runs. Its limit, {limit:.2f}, is what the furthest model of the other {compared_with}
never passed: a clean run passes it with probability {holds:.1%} at most, over all its models together. The form of this alarm
(squares, capped at {cap:g} standard deviations) was chosen after these runs had been seen; its limit was not.

**False alarms**: {false}, fewer than {false_bound:.1%} with 95 % confidence.

**Detection** in time: {harmful} at the strengths that harm half of their runs, and {every} of all harmed runs.

| defect | strength | harmed | in time by single limits | in time by the joint alarm | joint alarm, first at | lead, models |
|---|---|---|---|---|---|---|"""


def joint_lines(figures: Mapping[str, Any] | None) -> Iterator[str]:
    """The section of the page."""
    if figures is None:
        return
    false = figures["false_alarms"]
    yield INTRODUCTION.format(
        **{name: figures[name] for name in ("spread_from", "limit", "compared_with", "holds")}, cap=CAP,
        false=f"{false['found']} of {false['of']} clean runs", false_bound=false["bound"],
        harmful=_share(figures["harmful"]), every=_share(figures["all"]),
    )  # fmt: skip
    for row in sorted(figures["defects"], key=lambda row: (row["defect"], row["strength"])):
        at = ", ".join(f"{model} {count}" for model, count in row["alarm_at"].items()) or "nobody"
        lead = "–" if row["lead"] is None else f"{row['lead']:.1f}"
        harmed = f"{row['harmed']} of {row['runs']}"
        yield f"| {row['defect']} | {row['strength']:g} | {harmed} | {row['single']} | {row['joint']} | {at} | {lead} |"
    yield ""


def _share(figures: Mapping[str, Any] | None) -> str:
    return f"{figures['found']} of {figures['of']} (more than {figures['bound']:.1%})" if figures else "none was harmed"
