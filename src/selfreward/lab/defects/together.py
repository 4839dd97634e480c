"""The joint figure in the laboratory: false alarms of clean runs, and the harmed runs that it sees beside the single limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from selfreward.lab.defects.arms import FITTING, FRESH, KINDS, TESTING, TURN, arms
from selfreward.lab.defects.fit import Clean, Limits, caught, first_alarm, first_harm, fit, since, true_scores
from selfreward.lab.defects.own import own_lines, tabulate_own
from selfreward.lab.defects.runs import LabRun
from selfreward.lab.defects.table import HARMFUL, at_least, at_most, counted
from selfreward.lab.defects.worlds import EASY, World
from selfreward.measure import CAP, Joint, calibrate, first_beyond

FALSE_ALARMS = 0.02
"""The share of clean runs that may raise the joint alarm: half of what fresh runs are to show, for a share has an interval."""
Figures = dict[str, dict[str, float]]


def figures_of(run: LabRun) -> Figures:
    """Model → figure → value, of all that was read."""
    return {
        model: {figure: value for figure, value in seen.readings.items() if value is not None}
        for model, seen in run.models.items()
    }


def tabulate_joint(runs: Sequence[LabRun], single: Sequence[Mapping[str, Any]], world: World = EASY) -> dict[str, Any] | None:
    """Alarms by the joint figure, as built-ins; None where too few clean runs were made to hold the share of false alarms.

    `single`: the rows of the planted defects by single limits, as `tabulate` gives them.
    """
    clean = {seeds: [run for run in runs if run.arm == "clean" and run.seed in seeds] for seeds in (FITTING, TESTING, FRESH)}
    baseline = calibrate([figures_of(run) for run in (*clean[FITTING], *clean[TESTING])])
    limit = baseline.limit(FALSE_ALARMS if world == EASY else max(FALSE_ALARMS, baseline.finest))
    if limit is None:
        return None
    joint, limits, truth = Joint(baseline, limit), fit(clean[FITTING]), true_scores(clean[FITTING])
    false = _false(clean[FRESH], joint, limits) if clean[FRESH] else None
    by_name = {arm.name: arm for arm in arms(world)}
    grouped = [(row, [run for run in runs if run.arm == row["arm"]]) for row in single]
    rows = [_row(row, of_arm, by_name[row["arm"]].begins, joint, limits, truth) for row, of_arm in grouped]
    of_kind = {kind: [row for row in rows if row["kind"] == kind] for kind in KINDS}
    harmful = [row for row in rows if row["harmed"] >= HARMFUL * row["runs"]]
    return {
        "spread_from": (len(clean[FITTING]) + len(clean[TESTING])) // 2, "compared_with": len(baseline.furthest), "limit": limit,
        "holds": baseline.finest, "defects": rows, "fresh": false,
        "harmful": {kind: _seen([row for row in harmful if row["kind"] == kind]) for kind in KINDS},
        "all": {kind: _seen(rows) for kind, rows in of_kind.items()}, "own": tabulate_own(runs, rows, truth, world),
        "together": {alarm: [_seen(harmful, alarm), _seen(rows, alarm)] for alarm in ALARMS},
    }  # fmt: skip


def _false(clean: Sequence[LabRun], joint: Joint, limits: Limits) -> dict[str, Any]:
    """False alarms of the joint figure, and of it and the single limits together."""
    alarm = [first_beyond(figures_of(run), joint) for run in clean]
    either = sum(bool(model or first_alarm(run, limits)) for model, run in zip(alarm, clean, strict=True))
    of_joint, of_either = (at_most(count, len(clean))._asdict() for count in (sum(map(bool, alarm)), either))
    return {**of_joint, "alarm_at": counted(alarm), "either": of_either}


def _row(
    single: Mapping[str, Any], runs: Sequence[LabRun], begins: int, joint: Joint, limits: Limits, truth: Clean
) -> dict[str, Any]:
    touched = [since(run, begins) for run in runs]
    alarm = [first_beyond(figures_of(run), joint) for run in touched]
    either = [
        min(filter(None, (model, first_alarm(run, limits))), default=None) for model, run in zip(alarm, touched, strict=True)
    ]
    harm = [first_harm(run, truth) for run in touched]
    seen = caught(harm, alarm)
    same = {name: single[name] for name in ("arm", "defect", "how", "kind", "strength", "runs", "harmed")}
    counts = {"single": single["in_time"], "joint": seen.in_time, "either": caught(harm, either).in_time}
    return {**same, **counts, "alarm_at": counted(alarm), "lead": seen.lead}


def _seen(rows: Sequence[Mapping[str, Any]], alarm: str = "joint") -> dict[str, Any] | None:
    harmed = sum(row["harmed"] for row in rows)
    return at_least(sum(row[alarm] for row in rows), harmed)._asdict() if harmed else None


FRESH_SEEDS = """**False alarms on fresh seeds**: {found} of {of} clean runs, fewer than {bound:.1%} with 95 % confidence.
**False alarms by it or by a single limit**: {either[found]} of {of} clean runs, fewer than {either[bound]:.1%}.

"""
ALARMS = {"single": "single limits", "joint": "the joint alarm", "either": "either"}
"""Alarm → its name in a sentence."""
SAID = {
    "first": "planted from M1 on", "later": "thought of later, from M1 on", "turned": f"from M{TURN} on", "growing": "growing",
}  # fmt: skip
"""Kind of defects → its name in a sentence."""
INTRODUCTION = """## One alarm over all figures

The joint figure (`joint.distance`) of a model is the mean of its figures' squared standard deviations from clean runs' mean,
taken from the first {spread_from} clean runs, each monitor's figures as one. Its limit, {limit:.2f}, is what the furthest model
of the other {compared_with} never passed: a clean run passes it with probability {holds:.1%} at most, over all its models
together. The form of this alarm (squares, at most {cap:g} standard deviations, each monitor's mean) was chosen {chosen}.

{fresh}**Detection** in time, at the strengths that harm half of their runs, and of all harmed runs: {detection}.

**Detection of all defects together**, the same two: {together}.

| defect | strength | harmed | in time by single limits | by the joint alarm | by either | joint alarm, first at | lead, models |
|---|---|---|---|---|---|---|---|"""


CHOSEN = """after these runs,
the planted ones below and fresh seeds 200 to 241 had been seen; its limit was not"""


def joint_lines(figures: Mapping[str, Any] | None, world: World = EASY) -> Iterator[str]:
    """The section of the page."""
    if figures is None:
        return
    fresh = figures["fresh"]
    kinds = [kind for kind in KINDS if any(row["kind"] == kind for row in figures["defects"])]
    yield INTRODUCTION.format(
        chosen=CHOSEN if world == EASY else "in the easy world, before any run of this one",
        **{name: figures[name] for name in ("spread_from", "limit", "compared_with", "holds")}, cap=CAP,
        fresh=FRESH_SEEDS.format(**fresh) if fresh else "",
        detection="; ".join(f"{SAID[kind]} {_share(figures['harmful'][kind])}, {_share(figures['all'][kind])}" for kind in kinds),
        together="; ".join(f"by {said} {', '.join(map(_share, figures['together'][alarm]))}" for alarm, said in ALARMS.items()),
    )  # fmt: skip
    for row in sorted(figures["defects"], key=lambda row: (KINDS.index(row["kind"]), row["defect"], row["strength"])):
        at = ", ".join(f"{model} {count}" for model, count in row["alarm_at"].items()) or "nobody"
        lead = "–" if row["lead"] is None else f"{row['lead']:.1f}"
        harmed = f"{row['harmed']} of {row['runs']}"
        cells = (f"{row['defect']}{row['how']}", f"{row['strength']:g}", harmed, *(row[alarm] for alarm in ALARMS), at, lead)
        yield f"| {' | '.join(map(str, cells))} |"
    yield ""
    yield from own_lines(figures["own"], world)


def _share(figures: Mapping[str, Any] | None) -> str:
    return f"{figures['found']} of {figures['of']} (more than {figures['bound']:.1%})" if figures else "none was harmed"
