"""Readings from figures: every monitor is read, and its figures are compared with the recipe's limits."""

from __future__ import annotations

from collections.abc import Sequence

from selfreward.measure.monitors import (
    consistency,
    flattery,
    flukes,
    health,
    lexicon,
    people,
    policy,
    progress,
    runaway,
    style,
    traits,
)
from selfreward.measure.monitors.base import Evidence, Figures
from selfreward.measure.monitors.joint import JOINT, Joint, deviations, distance, widened
from selfreward.recipe import DriftConfig, Limit, Recipe
from selfreward.records import Estimate, Measured, Reading, Severity, number

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
ALSO = {"progress": progress.figures, "runaway": runaway.figures, "style": style.figures}
"""Monitors that read where `drift.also` names them: runs begun before they were there go on without."""

BEHIND = 8
"""Figures that are named behind the joint one."""

NOTHING = Measured(
    name="M1", fingerprint="", parent=None, true_score=None, pairwise_accuracy=None, instruction_following=None, self_score=None,
    head_to_head=[], answer_length=0, ran_out_of_length=0, distinct_answers=0, score_histogram={}, judgments={},
    reward_modeling=None,
)  # fmt: skip
"""The measurements of a model that nothing is known of; monitors name their figures all the same."""


def figure_names(recipe: Recipe) -> list[str]:
    """The names of all figures that are read by the `[drift]` of `recipe`, in the order of `drift.jsonl`."""
    config = recipe.drift or DriftConfig()
    traits = dict.fromkeys(config.traits, "")  # named alone: functions of the user's are not loaded
    unread = recipe.model_copy(update={"drift": config.model_copy(update={"traits": traits})})
    figures = _figures(Evidence("M1", unread, NOTHING, (), (), (), (), ()), None, config)
    return [*([JOINT] if config.baseline else []), *figures]


def read_monitors(now: Evidence, before: Evidence | None, config: DriftConfig, joint: Joint | None = None) -> list[Reading]:
    """All figures of all monitors, as readings named `monitor.figure`."""
    now = now._replace(read=now.candidates)  # once for all monitors; not kept, for there are many
    readings = [read_figure(name, now.name, figure, config) for name, figure in _figures(now, before, config).items()]
    return readings if joint is None else [read_joint(readings, now.name, config, joint), *readings]


def _figures(now: Evidence, before: Evidence | None, config: DriftConfig) -> Figures:
    monitors = MONITORS | {name: ALSO[name] for name in config.also}
    return {f"{monitor}.{name}": figure for monitor, read in monitors.items() for name, figure in read(now, before).items()}


def read_joint(readings: Sequence[Reading], iteration: str, config: DriftConfig, joint: Joint) -> Reading:
    """The joint figure of one model, from its readings; its limit is the baseline's where `drift.limits` has none."""
    figures = {reading.monitor: reading.value for reading in readings if reading.value is not None}
    usual = joint.baseline.usual.get(iteration, {})
    if joint.baseline.own:
        usual = widened(usual, {reading.monitor: half for reading in readings if (half := reading.half) is not None})
    far, behind = distance(figures, usual), list(deviations(figures, usual).items())[:BEHIND]
    figure = None if far is None else Estimate(value=far, low=far, high=far)
    limits = {JOINT: Limit(above=joint.limit)} | config.limits
    reading = read_figure(JOINT, iteration, figure, config.model_copy(update={"limits": limits}))
    return reading.model_copy(update={"interval": None, "behind": dict(behind) if figure else None})


def read_figure(monitor: str, iteration: str, figure: Estimate | None, config: DriftConfig) -> Reading:
    """One figure held against its limits, if it has any; a figure without a value is `ok`."""
    limit = config.limits.get(monitor)
    below, above, stop_below, stop_above = limit.at(number(iteration)).values() if limit else [None] * 4
    warn, stop = (below, above), (stop_below, stop_above)
    warned, stopped = (figure is not None and _outside(figure.value, *pair) for pair in (warn, stop))
    limit_ends, spare_ends = (stop, warn) if stopped else (warn, stop)  # the limit that was passed, where two are set
    low, high = (end if end is not None else spare for end, spare in zip(limit_ends, spare_ends, strict=True))
    return Reading(
        monitor=monitor, iteration=iteration,
        value=figure.value if figure else None, interval=(figure.low, figure.high) if figure else None,
        limit=None if low is None and high is None else (low, high),
        verdict="stop" if stopped else _on_alarm(config, iteration) if warned else "ok", n=figure.n if figure else None,
    )  # fmt: skip


def _on_alarm(config: DriftConfig, iteration: str) -> Severity:
    """The verdict on a model outside a limit that does not say `stop` itself. Before M1 there is no model to go back to."""
    if config.on_alarm is None:
        return "warn"
    return "back" if config.on_alarm == "rollback" and iteration != "M1" else "stop"


def _outside(value: float, low: float | None, high: float | None) -> bool:
    return (low is not None and value < low) or (high is not None and value > high)
