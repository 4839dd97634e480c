"""One alarm over all figures and all models of a run, with an error rate that holds however often one looks.

The distance of a model: every figure's squared number of standard deviations from clean runs' mean, `CAP` of them at most; the
mean of those of each monitor, whose figures say much the same; and the mean over monitors. A run's furthest model is compared
with the furthest model of clean runs that the means were not taken from: split conformal prediction. A run that is exchangeable
with n such runs goes beyond the k-th furthest of them with probability k / (n + 1) at most, whatever the distribution and however
the figures hang together; and since an alarm at any model is an alarm at the furthest, looking after every model costs nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from math import hypot
from pathlib import Path
from statistics import fmean, stdev
from typing import NamedTuple

from selfreward.errors import SelfRewardError, amount
from selfreward.recipe import DriftConfig, Recipe, changed_values
from selfreward.records import Baseline, file_hash, fingerprint, read_jsonl
from selfreward.rundir import RunView

JOINT = "joint.distance"
"""The name of the figure."""
Figures = Mapping[str, Mapping[str, float]]
"""Model → figure → value, of one run."""
CAP = 6.0
"""Standard deviations from which on a figure counts no further: one odd figure of one clean run should not set the limit."""
KNOWN = 2 / 3
"""A figure that fewer of the clean runs have is left out."""
MOVED = 1 / 10
"""A figure that was off its median in fewer of them is left out: what hardly moves has no scale."""
FEWEST = 4
"""Clean runs: two for a spread, two to compare with."""
NO_FIGURES = (
    *("seed.", "branch.", "keep_checkpoints.", "report_to.", "cluster."),
    *("drift.limits.", "drift.baseline.", "drift.false_alarms.", "drift.on_alarm."),
)
"""Fields in which clean runs may differ: those that decide no figure, and the seed."""


class Joint(NamedTuple):
    """A baseline, and the distance beyond which a model raises the alarm."""

    baseline: Baseline
    limit: float


def load_joint(config: DriftConfig) -> Joint | None:
    """The recipe's baseline with its limit; None where it names none.

    Raises `SelfRewardError` where the file is none, or holds too few clean runs for `drift.false_alarms`.
    """
    if config.baseline is None:
        return None
    lines = read_jsonl(Path(config.baseline), Baseline)
    if len(lines) != 1:
        raise SelfRewardError(f"has {amount(len(lines), 'line')}, not one", config.baseline, "Make it with selfreward calibrate")
    limit = lines[0].limit(config.false_alarms)
    if limit is None:
        what = f"{amount(len(lines[0].furthest), 'clean run')} to compare with cannot hold {config.false_alarms:.1%} false alarms"
        now = f"Set drift.false_alarms to {lines[0].finest:g} or more, or calibrate with more runs"
        raise SelfRewardError(what, config.baseline, now)
    return Joint(lines[0], limit)


def figures_of(run: RunView) -> dict[str, dict[str, float]]:
    """All figures that were read of a run's models, the joint one left out."""
    return {
        name: {each.monitor: each.value for each in model.watched if each.value is not None and each.monitor != JOINT}
        for name, model in run.models.items()
        if model.watched
    }


def clean_figures(run: RunView) -> dict[str, dict[str, float]]:
    """The figures of a run that a baseline is made of.

    Raises `SelfRewardError` where it has not finished or was not watched: what its later models would read is not known.
    """
    if not run.finished:
        now = "Let it go on to its end by the same command, or leave it out"
        raise SelfRewardError("has not finished, and a clean run is compared with whole ones", str(run.folder), now)
    if not (figures := figures_of(run)):
        raise SelfRewardError("was not watched", str(run.folder), "Leave it out, or run it by a recipe with [drift]")
    return figures


def shared_baseline(runs: Sequence[RunView]) -> Baseline:
    """The baseline of clean runs of one recipe, which differ by their seeds.

    Raises `SelfRewardError` where a run is no clean one, is given twice, has the seed of another or has a recipe of its own, and
    as `calibrate` does.
    """
    seeds, held = dict[int, RunView](), cache(_held)  # a base of many gigabytes is read once, however many runs name it
    for run in runs:
        twin = seeds.setdefault(run.recipe.seed, run)
        if twin is not run:
            same = twin.folder.resolve() == run.folder.resolve()
            what = "is given twice" if same else f"has the seed of {twin.folder}, {run.recipe.seed}"
            raise SelfRewardError(what, str(run.folder), "Give each run once, and runs of different seeds")
        if others := _unlike(runs[0].recipe, run.recipe, held):
            what = f"is by another recipe than {runs[0].folder}: {', '.join(others)} differ{'s' if len(others) == 1 else ''}"
            raise SelfRewardError(what, str(run.folder), "Give runs of one recipe and different seeds")
    baseline = calibrate(list(map(clean_figures, runs)))
    return baseline.model_copy(update={"of": tuple(first for run in runs for first in first_of(run))})


def first_of(run: RunView) -> tuple[str, ...]:
    """The fingerprint of a run's M1; none where it is not measured, and where it is the base itself, as in runs of any seed."""
    measured = run.models["M1"].measured
    return (measured.fingerprint,) if measured and run.recipe.sft.on != "none" else ()


def _unlike(one: Recipe, other: Recipe, held: Callable[[str], str | None]) -> list[str]:
    """The fields in which two recipes differ, of those that decide a figure; places that hold the same by `held` do not."""
    values = changed_values(*(recipe.model_dump(mode="json", by_alias=True) for recipe in (one, other)))
    deciding = {field: list(map(str, both)) for field, both in values.items() if not f"{field}.".startswith(NO_FIGURES)}
    return [field for field, (mine, theirs) in deciding.items() if held(mine) is None or held(mine) != held(theirs)]


def _held(place: str) -> str | None:
    """A hash of the file, or of the model's weights and tokenizer, at a place; None where there is neither."""
    path = Path(place)
    with suppress(SelfRewardError):
        return file_hash(path) if path.is_file() else fingerprint(path)
    return None


def calibrate(runs: Sequence[Figures]) -> Baseline:
    """A baseline from clean runs: means and spreads from the first half, furthest distances from the second.

    Raises `SelfRewardError` where there are fewer than four runs, or no figure that moves.
    """
    if len(runs) < FEWEST:
        raise SelfRewardError(f"{amount(len(runs), 'clean run')}, and {FEWEST} is the fewest", "calibrate", "Give more runs")
    half = len(runs) // 2
    usual = _usual(runs[:half])
    if not usual:
        raise SelfRewardError("no figure moves in the clean runs", "calibrate", "Give runs of different seeds, with [drift]")
    furthest = [max((far for _, far in _distances(run, usual)), default=0.0) for run in runs[half:]]
    return Baseline(usual=usual, furthest=tuple(furthest))


def distance(figures: Mapping[str, float], usual: Mapping[str, tuple[float, float]]) -> float | None:
    """The distance of a model from clean runs: about 1 for a clean one, `CAP`² at most; None without a figure in `usual`."""
    squares: dict[str, list[float]] = defaultdict(list)
    for name, off in deviations(figures, usual).items():
        squares[name.partition(".")[0]].append(min(abs(off), CAP) ** 2)
    return fmean(map(fmean, squares.values())) if squares else None


def widened(usual: Mapping[str, tuple[float, float]], halves: Mapping[str, float]) -> dict[str, tuple[float, float]]:
    """`usual` of half widths of intervals, with that of another reading added to each: a difference has the errors of both."""
    return {name: (value, hypot(half, halves.get(name, 0.0))) for name, (value, half) in usual.items()}


def deviations(figures: Mapping[str, float], usual: Mapping[str, tuple[float, float]]) -> dict[str, float]:
    """Figure → how many standard deviations of clean runs it lies from their mean, the furthest first."""
    off = {name: (figures[name] - mean) / spread for name, (mean, spread) in usual.items() if name in figures}
    return dict(sorted(off.items(), key=lambda deviation: (-abs(deviation[1]), deviation[0])))


def _usual(runs: Sequence[Figures]) -> dict[str, dict[str, tuple[float, float]]]:
    """Model → figure → mean and standard deviation."""
    values: dict[tuple[str, str], list[float]] = defaultdict(list)
    for run in runs:
        for model, figures in run.items():
            for name, value in figures.items():
                values[model, name].append(value)
    usual: dict[str, dict[str, tuple[float, float]]] = {}
    for (model, name), readings in values.items():
        if len(readings) >= max(2, KNOWN * len(runs)) and _moves(readings):
            usual.setdefault(model, {})[name] = (fmean(readings), stdev(readings))
    return usual


def _moves(readings: Sequence[float]) -> bool:
    commonest = max(map(readings.count, set(readings)))
    return len(readings) - commonest >= max(1, MOVED * len(readings))


def first_beyond(run: Figures, joint: Joint) -> str | None:
    """The first model of a run that lies beyond the limit; None where none does."""
    return next((model for model, far in _distances(run, joint.baseline.usual) if far > joint.limit), None)


def _distances(run: Figures, usual: Mapping[str, Mapping[str, tuple[float, float]]]) -> Iterator[tuple[str, float]]:
    for model in usual:
        if model in run and (far := distance(run[model], usual[model])) is not None:
            yield model, far
