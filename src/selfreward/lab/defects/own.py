"""Limits from the run itself in the laboratory: false alarms of clean runs, and the harmed runs that such limits see.

Runs that were recorded before intervals were kept are read with the mean widths of those that have them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from selfreward.lab.defects.arms import FITTING, FRESH, KINDS, arms
from selfreward.lab.defects.fit import Clean, caught, first_harm, since
from selfreward.lab.defects.runs import LabRun
from selfreward.lab.defects.table import at_least, at_most
from selfreward.lab.defects.worlds import EASY, World
from selfreward.measure import FIRST, distance, furthest_in_the_laboratory, own_usual, widened
from selfreward.records import Baseline

OWN = FRESH[:40]
"""Seeds of the clean runs that the limit is from; those recorded before them have no intervals."""
FALSE_ALARMS = 0.05
"""The share of clean runs that may raise the alarm: the default of `drift.false_alarms`."""
KNOWN = 2 / 3
"""A figure whose interval has a width in fewer of the runs has no mean width."""
Widths = Mapping[str, Mapping[str, float]]
"""Model → figure → half the width of its interval."""


def mean_widths(runs: Iterable[LabRun]) -> Widths:
    """Means over the clean runs that have intervals."""
    with_intervals = [run for run in runs if run.arm == "clean" and run.models["M1"].half]
    widths: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for run in with_intervals:
        for name, seen in run.models.items():
            for figure, half in seen.half.items():
                widths[name][figure] += [half] if half else []
    return {
        name: {figure: fmean(found) for figure, found in figures.items() if len(found) >= KNOWN * len(with_intervals)}
        for name, figures in widths.items()
    }


def own_distances(run: LabRun, widths: Widths) -> dict[str, float]:
    """Model after M2 → its distance from the run's own M1 and M2, by their intervals or else by `widths`."""
    halves = {name: seen.half or widths.get(name, {}) for name, seen in run.models.items()}
    read = {
        name: {figure: value for figure, value in seen.readings.items() if value is not None} for name, seen in run.models.items()
    }
    usual = own_usual(
        {figure: (read[name][figure], half) for figure, half in halves[name].items() if figure in read[name]}
        for name in FIRST
        if name in read
    )
    far = {name: distance(read[name], widened(usual, halves[name])) for name in read if name not in FIRST}
    return {name: distance for name, distance in far.items() if distance is not None}


def furthest(runs: Iterable[LabRun], widths: Widths) -> list[float]:
    """The distance of the furthest model of each run that went on after M2, largest first."""
    return sorted((max(far.values()) for run in runs if (far := own_distances(run, widths))), reverse=True)


def shipped(runs: Sequence[LabRun]) -> list[float]:
    """The distances of the clean runs that limits are fitted on, as `measure/text/own_distances.json` has them."""
    fitted = (run for run in runs if run.arm == "clean" and run.seed in OWN)
    return [round(far, 5) for far in furthest(fitted, {})]


def tabulate_own(
    runs: Sequence[LabRun], rows: Sequence[Mapping[str, Any]], truth: Clean, world: World = EASY
) -> dict[str, Any] | None:
    """Alarms by limits of the run itself; None where no run has intervals, or too few are clean.

    In another world than the easy one, the limit is the one that comes with the package, as a user's is.
    """
    fitted = tuple(shipped(runs)) if world == EASY else furthest_in_the_laboratory()
    limit = Baseline(usual={}, furthest=fitted).limit(FALSE_ALARMS) if fitted else None
    if limit is None or not any(run.models["M1"].half for run in runs):
        return None
    widths, begins = mean_widths(runs), {arm.name: arm.begins for arm in arms(world)}
    unseen = [seed for seed in FRESH if seed not in OWN] if world == EASY else FITTING
    later = [run for run in runs if run.arm == "clean" and run.seed in unseen]
    of_arm = [(row, [run for run in runs if run.arm == row["arm"]]) for row in rows]
    return {
        "limit": limit, "intervals": sum(bool(run.models["M1"].half) for run in runs), "recorded": len(runs),
        "false_alarms": _false(later, widths, limit) if later else None,
        "defects": [_row(row, of_row, begins[row["arm"]], widths, limit, truth) for row, of_row in of_arm],
    }  # fmt: skip


def _false(clean: Iterable[LabRun], widths: Widths, limit: float) -> dict[str, Any]:
    far = furthest(clean, widths)
    return at_most(sum(distance > limit for distance in far), len(far))._asdict()


def _row(
    row: Mapping[str, Any], runs: Sequence[LabRun], begins: int, widths: Widths, limit: float, truth: Clean
) -> dict[str, Any]:  # fmt: skip
    alarm = [next((name for name, far in own_distances(run, widths).items() if far > limit), None) for run in runs]
    harm = [first_harm(since(run, begins), truth) for run in runs]
    told = {name: row[name] for name in ("defect", "how", "kind", "strength", "runs", "harmed")}
    return {**told, "alarmed": sum(model is not None for model in alarm), "in_time": caught(harm, alarm).in_time}


INTRODUCTION = """## Limits from the run itself

Without clean runs, a run's own M1 and M2 are what later models are held against, in half widths of both intervals
(`selfreward calibrate RUN`). The limit, {limit:.2f}, is what {share:.0%} of the clean runs of seeds {first} to {last} go beyond
at most{where}. {widths}

**False alarms by own limits**: {false}.

| defect | strength | runs | alarmed | harmed | alarm by the harm |
|---|---|---|---|---|---|"""


BEFORE = "Of runs recorded before intervals were kept, all but {intervals}, widths are the mean of those that have them."


def own_lines(found: Mapping[str, Any] | None, world: World = EASY) -> Iterator[str]:
    """The section of the page."""
    if found is None:
        return
    false = "{found} of {of} other clean runs, fewer than {bound:.1%} with 95 % confidence"
    yield INTRODUCTION.format(
        limit=found["limit"], share=FALSE_ALARMS, first=OWN[0], last=OWN[-1],
        where="" if world == EASY else " in the easy world: a user's world is another as well",
        widths=BEFORE.format(**found) if found["intervals"] < found["recorded"] else "Widths are each run's own.",
        false=false.format(**found["false_alarms"]) if found["false_alarms"] else "not known, for there are no other runs yet",
    )  # fmt: skip
    for row in sorted(found["defects"], key=lambda row: (KINDS.index(row["kind"]), row["defect"], row["strength"])):
        counts = (row["runs"], row["alarmed"], row["harmed"], f"{row['in_time']} of {row['harmed']}")
        yield f"| {row['defect']}{row['how']} | {row['strength']:g} | {' | '.join(map(str, counts))} |"
    yield ""
    for kind in dict.fromkeys(row["kind"] for row in found["defects"]):
        rows = [row for row in found["defects"] if row["kind"] == kind and row["harmed"]]
        if rows:
            harmed, seen = (sum(row[name] for row in rows) for name in ("harmed", "in_time"))
            bound = at_least(seen, harmed).bound
            yield f"**Detection by own limits**, {KIND[kind]}: {seen} of {harmed} in time, more than {bound:.1%}."
            yield ""


KIND = {"first": "planted from M1 on", "later": "thought of later", "turned": "begun on the way", "growing": "growing"}
