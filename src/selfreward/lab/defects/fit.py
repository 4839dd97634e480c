"""Limits from clean runs, alarms by them, and the harm that alarms should come before.

One number says how far is too far for all figures together, for a run is watched by all of them at once: a figure is out of its
limits when it lies further from the clean runs' median than so many times as its monitor did in any clean run. The number is the
smallest for which hardly a clean run raises an alarm by the limits of all others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import fmean, median, stdev
from typing import NamedTuple

from selfreward.lab.defects.runs import LabRun

Figure = tuple[str, str]
"""A model, M2 say, and the figure of a monitor."""
KNOWN = 2 / 3
"""A figure that fewer of the clean runs have is given no limits."""
MOVED = 1 / 10
"""A monitor that was off its median in fewer of the clean runs has none either: what hardly moves has no scale."""
ALLOWED = 1 / 50
"""The share of the clean runs that may raise an alarm by the limits of the others: one odd run should not blind every monitor."""
HARM = 2.0
"""Standard deviations below the clean runs at which a true score is called harmed."""


class Limits(NamedTuple):
    """Where a figure of a clean run lies: within `times` its monitor's reach of its centre."""

    centre: dict[Figure, float]
    """Of clean runs, the median."""
    reach: dict[str, float]
    """By monitor, the furthest from the centre, of all clean runs and models."""
    times: float

    def ends(self, figure: Figure) -> tuple[float, float]:
        """The lowest and the highest value that is no alarm."""
        far = self.times * self.reach[figure[1]]
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


def by_figure(runs: Iterable[LabRun]) -> dict[Figure, list[float]]:
    """Readings of each figure, over runs."""
    found: dict[Figure, list[float]] = defaultdict(list)
    for run in runs:
        for figure, value in values(run).items():
            found[figure].append(value)
    return found


def fit(clean: Sequence[LabRun]) -> Limits:
    """Limits from clean runs, two at least."""
    centre = {figure: median(every) for figure, every in by_figure(clean).items() if len(every) >= max(2, KNOWN * len(clean))}
    told = [values(run) for run in clean]
    furthest = {monitor: _furthest(monitor, told, centre) for monitor in sorted({monitor for _, monitor in centre})}
    moved = {monitor: far for monitor, far in furthest.items() if sum(map(bool, far)) >= max(2, MOVED * len(clean))}
    worst = [1.0] * len(clean)
    for far in moved.values():  # all but the furthest lie within the reach of the others
        second, first = sorted(range(len(clean)), key=far.__getitem__)[-2:]
        worst[first] = max(worst[first], far[first] / far[second])
    times = sorted(worst, reverse=True)[int(ALLOWED * len(clean))]
    reach = {monitor: max(far) for monitor, far in moved.items()}
    return Limits({figure: at for figure, at in centre.items() if figure[1] in moved}, reach, times)


def _furthest(monitor: str, told: Iterable[dict[Figure, float]], centre: dict[Figure, float]) -> list[float]:
    """Of each clean run, by its figures, how far those of a monitor were off their centres at most; 0 where it has none."""
    return [
        max((abs(value - centre[f]) for f, value in found.items() if f[1] == monitor and f in centre), default=0.0)
        for found in told
    ]


def alarms(run: LabRun, limits: Limits) -> list[Alarm]:
    """Every figure of a run that is out of its limits, the furthest first of each model, models in their order."""
    off = {
        f: abs(v - limits.centre[f]) / (limits.times * limits.reach[f[1]]) for f, v in values(run).items() if f in limits.centre
    }
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
    """True scores of clean runs."""
    by_model: dict[str, list[float]] = defaultdict(list)
    for run in clean:
        for model, seen in run.models.items():
            by_model[model].append(seen.true_score)
    return Clean({m: fmean(s) for m, s in by_model.items()}, {m: stdev(s) for m, s in by_model.items()})


def first_harm(run: LabRun, clean: Clean) -> str | None:
    """The first model after M1 whose true score is harmed."""
    harmed = (m for m, seen in run.models.items() if m != "M1" and seen.true_score < clean.mean[m] - HARM * clean.sd[m])
    return next(harmed, None)
