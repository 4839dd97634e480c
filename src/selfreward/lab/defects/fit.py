"""Limits from clean runs, alarms by them, and the harm that alarms should precede.

One factor serves all figures together, for a run is watched by all of them at once: a figure is out of its limits when its
distance from the clean runs' median exceeds the factor times the largest distance that its monitor had in any clean run. The
factor is the smallest by which hardly any clean run raises an alarm by the limits of the others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import fmean, median, stdev
from typing import NamedTuple

from selfreward.lab.defects.runs import LabRun
from selfreward.records import number

ModelFigure = tuple[str, str]
"""(model, monitor.figure), such as ("M2", "flukes.rate")."""
KNOWN = 2 / 3
"""The least share of the clean runs with a figure for it to be given limits."""
MOVED = 1 / 10
"""The least share of the clean runs in which a monitor is off its median for it to be given limits: others have no scale."""
ALLOWED = 1 / 50
"""Share of the clean runs that may raise an alarm by the limits of the others: one odd run should not blind every monitor."""
HARM = 2.0
"""Standard deviations below the clean runs from which a true score counts as harmed."""


class Limits(NamedTuple):
    """Limits of every figure: within `times` its monitor's reach of its centre."""

    centre: dict[ModelFigure, float]
    """Medians over the clean runs."""
    reach: dict[str, float]
    """The largest distance from the centre over all clean runs and models, by monitor."""
    times: float

    def ends(self, figure: ModelFigure) -> tuple[float, float]:
        """The lowest and the highest value without an alarm."""
        far = self.times * self.reach[figure[1]]
        return self.centre[figure] - far, self.centre[figure] + far


class Outlier(NamedTuple):
    """A figure out of its limits."""

    model: str
    monitor: str
    times: float
    """Its distance from the centre, as a multiple of its limits' distance."""


def values(run: LabRun) -> dict[ModelFigure, float]:
    """Every figure of a run that has a value."""
    return {
        (model, monitor): value
        for model, record in run.models.items()
        for monitor, value in record.readings.items()
        if value is not None
    }


def by_figure(runs: Iterable[LabRun]) -> dict[ModelFigure, list[float]]:
    """Values of each figure, over runs."""
    values_by_figure: dict[ModelFigure, list[float]] = defaultdict(list)
    for run in runs:
        for figure, value in values(run).items():
            values_by_figure[figure].append(value)
    return values_by_figure


def fit(clean: Sequence[LabRun]) -> Limits:
    """Limits from clean runs, at least two."""
    least = max(2, KNOWN * len(clean))
    centre = {figure: median(numbers) for figure, numbers in by_figure(clean).items() if len(numbers) >= least}
    readings = [values(run) for run in clean]
    furthest = {monitor: _furthest(monitor, readings, centre) for monitor in sorted({monitor for _, monitor in centre})}
    moved = {monitor: far for monitor, far in furthest.items() if sum(map(bool, far)) >= max(2, MOVED * len(clean))}
    worst = [1.0] * len(clean)
    for far in moved.values():  # all but the furthest lie within the reach of the others
        second, first = sorted(range(len(clean)), key=far.__getitem__)[-2:]
        worst[first] = max(worst[first], far[first] / far[second])
    times = sorted(worst, reverse=True)[int(ALLOWED * len(clean))]
    reach = {monitor: max(far) for monitor, far in moved.items()}
    return Limits({figure: at for figure, at in centre.items() if figure[1] in moved}, reach, times)


def _furthest(monitor: str, runs: Iterable[dict[ModelFigure, float]], centre: dict[ModelFigure, float]) -> list[float]:
    """For each clean run, the largest distance of a monitor's figures from their centres; 0 where it has none."""
    return [
        max((abs(value - centre[f]) for f, value in readings.items() if f[1] == monitor and f in centre), default=0.0)
        for readings in runs
    ]


def since(run: LabRun, begins: int) -> LabRun:
    """A run without its models before M_`begins`: what they show is no work of a defect that begins there."""
    return run.model_copy(update={"models": {name: seen for name, seen in run.models.items() if number(name) >= begins}})


def outliers(run: LabRun, limits: Limits) -> list[Outlier]:
    """Every figure of a run outside its limits, by model, the furthest first."""
    off = {
        f: abs(v - limits.centre[f]) / (limits.times * limits.reach[f[1]]) for f, v in values(run).items() if f in limits.centre
    }
    figures = [Outlier(model, monitor, times) for (model, monitor), times in off.items() if times > 1]
    return sorted(figures, key=lambda figure: (figure.model, -figure.times))


def first_alarm(run: LabRun, limits: Limits) -> str | None:
    """The first model with a figure outside its limits. None for a run that ended without usable pairs: its end is the alarm."""
    return next((alarm.model for alarm in outliers(run, limits)), None)


class Clean(NamedTuple):
    """Mean and standard deviation of the true score of clean runs, by model."""

    mean: dict[str, float]
    sd: dict[str, float]


def true_scores(clean: Iterable[LabRun]) -> Clean:
    """True scores of clean runs."""
    by_model: dict[str, list[float]] = defaultdict(list)
    for run in clean:
        for model, record in run.models.items():
            by_model[model].append(record.true_score)
    return Clean({m: fmean(s) for m, s in by_model.items()}, {m: stdev(s) for m, s in by_model.items()})


def first_harm(run: LabRun, clean: Clean) -> str | None:
    """The first model after M1 whose true score is harmed."""
    harmed = (m for m, record in run.kept.items() if m != "M1" and record.true_score < clean.mean[m] - HARM * clean.sd[m])
    return next(harmed, None)


class Caught(NamedTuple):
    """Alarms beside the harm that they should come before."""

    in_time: int
    """Harmed runs that had raised an alarm by the model in which the harm shows."""
    lead: float | None
    """Models from the alarm to the harm, mean over harmed runs with an alarm; None without any."""


def caught(harm: Iterable[str | None], alarm: Iterable[str | None]) -> Caught:
    """Compare the first harm and the first alarm of each run."""
    leads = [number(shown) - number(raised) for shown, raised in zip(harm, alarm, strict=True) if shown and raised]
    return Caught(sum(lead >= 0 for lead in leads), fmean(leads) if leads else None)
