"""Limits from the run itself in the laboratory: false alarms of fresh clean runs, and the harmed runs that such limits see."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from selfreward.lab.defects.arms import FRESH, arms
from selfreward.lab.defects.fit import Clean, caught, first_harm, since
from selfreward.lab.defects.runs import LabRun
from selfreward.lab.defects.table import at_least, at_most
from selfreward.measure import FIRST, distance, own_usual
from selfreward.records import Baseline

FALSE_ALARMS = 0.05
"""The share of clean runs that may raise the alarm: the default of `drift.false_alarms`."""


def own_distances(run: LabRun) -> dict[str, float]:
    """Model after M2 → its distance from the run's own M1 and M2; empty for a run without intervals."""
    first = (run.models[name] for name in FIRST if name in run.models)
    usual = own_usual({name: (seen.readings[name] or 0.0, half) for name, half in seen.half.items()} for seen in first)
    later = {name: seen for name, seen in run.models.items() if name not in FIRST}
    read = {name: {figure: value for figure, value in seen.readings.items() if value is not None} for name, seen in later.items()}
    return {name: far for name, figures in read.items() if (far := distance(figures, usual)) is not None}


def furthest(runs: Sequence[LabRun]) -> list[float]:
    """Of each clean run that went on after M2, the distance of its furthest model."""
    return [max(far.values()) for run in runs if (far := own_distances(run))]


def tabulate_own(runs: Sequence[LabRun], rows: Sequence[Mapping[str, Any]], truth: Clean) -> dict[str, Any] | None:
    """Alarms by limits of the run itself; None where too few fresh clean runs have intervals.

    False alarms: each half of the clean runs by the limit of the other. Detection: by the limit of all of them.
    """
    clean = [run for run in runs if run.arm == "clean" and run.seed in FRESH and own_distances(run)]
    halves = [furthest(clean[::2]), furthest(clean[1::2])]
    limits = [Baseline(usual={}, furthest=tuple(sorted(half, reverse=True))).limit(FALSE_ALARMS) for half in halves]
    whole = Baseline(usual={}, furthest=tuple(sorted(furthest(clean), reverse=True))).limit(FALSE_ALARMS)
    if whole is None:
        return None
    crossed = list(zip(halves, reversed(limits), strict=True))
    false = sum(far > limit for half, limit in crossed if limit is not None for far in half)
    tested = sum(len(half) for half, limit in crossed if limit is not None)
    begins = {arm.name: arm.begins for arm in arms()}
    seen = [_row(row, [run for run in runs if run.arm == row["arm"]], begins[row["arm"]], whole, truth) for row in rows]
    return {
        "clean": len(clean), "limit": whole, "false_alarms": at_most(false, tested)._asdict() if tested else None,
        "defects": [row for row in seen if row["runs"]],
    }  # fmt: skip


def _row(row: Mapping[str, Any], runs: Sequence[LabRun], begins: int, limit: float, truth: Clean) -> dict[str, Any]:
    touched = [run for run in runs if own_distances(run)]
    alarm = [next((name for name, far in own_distances(run).items() if far > limit), None) for run in touched]
    harm = [first_harm(since(run, begins), truth) for run in touched]
    told = {name: row[name] for name in ("defect", "how", "strength")}
    return {
        **told,
        "runs": len(touched),
        "harmed": sum(model is not None for model in harm),
        "in_time": caught(harm, alarm).in_time,
    }


INTRODUCTION = """## Limits from the run itself

Without clean runs, a run's own M1 and M2 are what later models are held against, in half widths of their intervals
(`selfreward calibrate RUN`). The limit, {limit:.2f}, is what {share:.0%} of clean runs go beyond at most, by {clean} fresh ones.
{false}

| defect | strength | runs | harmed | alarm by the harm |
|---|---|---|---|---|"""


def own_lines(found: Mapping[str, Any] | None) -> Iterator[str]:
    """The section of the page."""
    if found is None:
        return
    false = found["false_alarms"]
    told = "Too few of them for one half to be tried by the limit of the other."
    if false:
        share = f"{false['found']} of {false['of']} alarmed, fewer than {false['bound']:.1%}"
        told = f"Each half of them by the limit of the other: {share}."
    yield INTRODUCTION.format(limit=found["limit"], share=FALSE_ALARMS, clean=found["clean"], false=told)
    for row in found["defects"]:
        cells = (
            f"{row['defect']}{row['how']}",
            f"{row['strength']:g}",
            row["runs"],
            row["harmed"],
            f"{row['in_time']} of {row['harmed']}",
        )
        yield f"| {' | '.join(map(str, cells))} |"
    harmed, seen = (sum(row[name] for row in found["defects"]) for name in ("harmed", "in_time"))
    if harmed:
        yield f"\nOf all harmed runs with intervals {seen} of {harmed} in time, more than {at_least(seen, harmed).bound:.1%}."
    yield ""
