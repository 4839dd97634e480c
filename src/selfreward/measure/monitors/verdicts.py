"""From figures to readings: every monitor is read, and its figures are held against the recipe's limits."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

from selfreward.errors import SelfRewardError
from selfreward.measure.monitors import consistency, flattery, flukes, health, lexicon, people, policy, traits
from selfreward.measure.monitors.base import Evidence
from selfreward.measure.monitors.joint import JOINT, Joint, deviations, distance
from selfreward.recipe import Ends, Limit
from selfreward.records import Estimate, Reading, number

MONITORS = {
    "flukes": flukes.figures,
    "flattery": flattery.figures,
    "consistency": consistency.figures,
    "people": people.figures,
    "health": health.figures,
    "traits": traits.figures,
    "lexicon": lexicon.figures,
    "policy": policy.figures,
}

BEHIND = 8
"""Figures that are named behind the joint one."""


def read_monitors(
    now: Evidence, before: Evidence | None, limits: Mapping[str, Limit], joint: Joint | None = None
) -> list[Reading]:
    """All figures of all monitors, as readings named `monitor.figure`.

    Raises `SelfRewardError` where a limit names a figure that no monitor has: it could never raise an alarm.
    """
    readable = {
        f"{monitor}.{name}": figure for monitor, figures in MONITORS.items() for name, figure in figures(now, before).items()
    }
    names = {*readable, *([JOINT] if joint else [])}
    for unknown in sorted(limits.keys() - names):
        near = difflib.get_close_matches(unknown, names, n=1, cutoff=0)[0]
        raise SelfRewardError("no monitor reads such a figure", f"drift.limits.{unknown}", f"Did you mean {near}?")
    readings = [read_figure(name, now.name, figure, limits) for name, figure in readable.items()]
    return readings if joint is None else [read_joint(readings, now.name, limits, joint), *readings]


def read_joint(readings: Sequence[Reading], iteration: str, limits: Mapping[str, Limit], joint: Joint) -> Reading:
    """The joint figure of one model, from its readings; its limit is the baseline's where `limits` has none."""
    figures = {reading.monitor: reading.value for reading in readings if reading.value is not None}
    usual = joint.baseline.usual.get(iteration, {})
    far, behind = distance(figures, usual), list(deviations(figures, usual).items())[:BEHIND]
    figure = None if far is None else Estimate(value=far, low=far, high=far)
    reading = read_figure(JOINT, iteration, figure, {JOINT: Limit(above=joint.limit)} | dict(limits))
    return reading.model_copy(update={"interval": None, "behind": dict(behind) if figure else None})


def read_figure(monitor: str, iteration: str, figure: Estimate | None, limits: Mapping[str, Limit]) -> Reading:
    """One figure held against its limits, if it has any; a figure without a value is `ok`."""
    limit = limits.get(monitor, Limit())
    ends = [end_at(end, iteration) for end in (limit.below, limit.above, limit.stop_below, limit.stop_above)]
    warn, stop = (ends[0], ends[1]), (ends[2], ends[3])
    warned, stopped = (figure is not None and _outside(figure.value, *pair) for pair in (warn, stop))
    limit_ends, spare_ends = (stop, warn) if stopped else (warn, stop)  # the limit that was passed, where two are set
    low, high = (end if end is not None else spare for end, spare in zip(limit_ends, spare_ends, strict=True))
    return Reading(
        monitor=monitor, iteration=iteration,
        value=figure.value if figure else None, interval=(figure.low, figure.high) if figure else None,
        limit=None if low is None and high is None else (low, high),
        verdict="stop" if stopped else "warn" if warned else "ok", n=figure.n if figure else None,
    )  # fmt: skip


def end_at(ends: Ends | None, iteration: str) -> float | None:
    """The end that holds for the model M_t: `ends` may give one for each model from M1 on."""
    if not isinstance(ends, tuple):
        return ends
    return ends[min(number(iteration), len(ends)) - 1]


def _outside(value: float, low: float | None, high: float | None) -> bool:
    return (low is not None and value < low) or (high is not None and value > high)
