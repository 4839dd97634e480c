"""Limits from clean runs, alarms by them, and the harm that alarms should come before.

One number says how far is too far for all figures together, for a run is watched by all of them at once: a figure is out of its
limits when it lies further from the clean runs' median than `times` the furthest of the clean runs. `times` is the smallest for
which no clean run, left out of its own limits, raises an alarm.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import fmean, median, stdev
from typing import NamedTuple

from selfreward.micro.lab.runs import LabRun

Figure = tuple[str, str]
"""A model, M2 say, and the figure of a monitor."""
KNOWN = 2 / 3
"""A figure that fewer of the clean runs have is given no limits."""
STILL = 0.01
"""The least reach: a figure that no clean run moved is not out of its limits for a rounding."""
HARM = 2.0
"""Standard deviations below the clean runs at which a true score is called harmed."""


class Limits(NamedTuple):
    """Where a figure of a clean run lies: within `times` its reach of its centre."""

    centre: dict[Figure, float]
    reach: dict[Figure, float]
    times: float

    def ends(self, figure: Figure) -> tuple[float, float]:
        """The lowest and the highest value that is no alarm."""
        far = self.times * self.reach[figure]
        return self.centre[figure] - far, self.centre[figure] + far


class Alarm(NamedTuple):
    """A figure out of its limits."""

    model: str
    monitor: str
    times: float
    """How many times its limits' distance it is off its centre."""


def values(run: LabRun) -> dict[Figure, float]:
    """Every figure that was read of a run."""
    return {
        (model, monitor): value
        for model, seen in run.models.items()
        for monitor, value in seen.readings.items()
        if value is not None
    }


def fit(clean: Sequence[LabRun]) -> Limits:
    """Limits from clean runs, two at least."""
    found: dict[Figure, list[tuple[int, float]]] = defaultdict(list)
    for at, run in enumerate(clean):
        for figure, value in values(run).items():
            found[figure].append((at, value))
    known = {figure: told for figure, told in found.items() if len(told) >= max(2, KNOWN * len(clean))}
    centre = {figure: median(value for _, value in told) for figure, told in known.items()}
    off = {f: sorted(((abs(value - centre[f]), at) for at, value in told), reverse=True) for f, told in known.items()}
    worst: dict[int, float] = defaultdict(float)
    for (furthest, at), (second, _), *_ in off.values():  # but for the furthest, all lie within the reach of the others
        worst[at] = max(worst[at], furthest / max(second, STILL))
    reach = {figure: max(distances[0][0], STILL) for figure, distances in off.items()}
    return Limits(centre, reach, max(worst.values(), default=1.0))


def alarms(run: LabRun, limits: Limits) -> list[Alarm]:
    """Every figure of a run that is out of its limits, the furthest first of each model, models in their order."""
    off = {f: abs(v - limits.centre[f]) / (limits.times * limits.reach[f]) for f, v in values(run).items() if f in limits.centre}
    found = [Alarm(model, monitor, times) for (model, monitor), times in off.items() if times > 1]
    return sorted(found, key=lambda alarm: (alarm.model, -alarm.times))


def first_alarm(run: LabRun, limits: Limits) -> str | None:
    """The first model with a figure out of its limits. A run that ended for want of pairs has told so itself: no alarm."""
    return next((alarm.model for alarm in alarms(run, limits)), None)


class Clean(NamedTuple):
    """Mean and standard deviation of the true score of clean runs, by model."""

    mean: dict[str, float]
    sd: dict[str, float]


def true_scores(clean: Iterable[LabRun]) -> Clean:
    """What clean runs are truly worth."""
    by_model: dict[str, list[float]] = defaultdict(list)
    for run in clean:
        for model, seen in run.models.items():
            by_model[model].append(seen.true_score)
    return Clean({m: fmean(s) for m, s in by_model.items()}, {m: stdev(s) for m, s in by_model.items()})


def first_harm(run: LabRun, clean: Clean) -> str | None:
    """The first model after M1 whose true score is harmed."""
    harmed = (m for m, seen in run.models.items() if m != "M1" and seen.true_score < clean.mean[m] - HARM * clean.sd[m])
    return next(harmed, None)
