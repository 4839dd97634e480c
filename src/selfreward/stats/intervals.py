"""Intervals by the bootstrap: of means, of ratios, of differences between shares, and over prompts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from math import sqrt
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from selfreward.records import Estimate

Floats = NDArray[np.float64]
AT_ONCE = 250_000
"""Units drawn in one go, which fit into a cache: a million units, resampled a thousand times, take seconds and little memory."""

Column = Sequence[float] | Floats
"""A number for each unit."""
Share = tuple[Column, Column]
"""The parts and the wholes of each unit, for `ratios`."""


def per_unit(values: Column) -> Share:
    """The share that is the mean of `values`."""
    return values, np.ones(len(values))


def mean(values: Sequence[float], resamples: int, seed: int) -> Estimate | None:
    """Mean of `values` with its interval; None without values."""
    return ratio(*per_unit(values), resamples, seed)


def ratio(parts: Column, wholes: Column, resamples: int, seed: int) -> Estimate | None:
    """Sum of `parts` over sum of `wholes`, with units resampled; None where the wholes sum to 0."""
    return ratios([(parts, wholes)], resamples, seed)[0]


def ratios(shares: Sequence[Share], resamples: int, seed: int) -> list[Estimate | None]:
    """`ratio` of each (parts, wholes); those of equally many units have their resamples in common, which are drawn once."""
    columns = [(np.asarray(parts, dtype=float), np.asarray(wholes, dtype=float)) for parts, wholes in shares]
    sums = iter(_resampled([column for pair in columns if pair[1].sum() for column in pair], resamples, seed))
    return [_ratio(*pair, next(sums), next(sums)) if pair[1].sum() else None for pair in columns]


def _ratio(parts: Floats, wholes: Floats, part_sums: Floats, whole_sums: Floats) -> Estimate:
    wholes_met = whole_sums > 0
    return _estimate(parts.sum() / wholes.sum(), part_sums[wholes_met] / whole_sums[wholes_met], round(wholes.sum()))


def _resampled(columns: Sequence[Floats], resamples: int, seed: int) -> list[Floats]:
    """Sums of each column over the units of each resample, [resamples]. A resample is shared by all columns of its length."""
    sums = [np.full(resamples, column.sum()) for column in columns]
    varied = [(column, into) for column, into in zip(columns, sums, strict=True) if not _is_constant(column)]
    for units in {len(column) for column, _ in varied}:
        rng, rows = np.random.default_rng(seed), max(1, AT_ONCE // units)
        for done in range(0, resamples, rows):
            draw = rng.integers(units, size=(min(rows, resamples - done), units))
            for column, into in varied:
                if len(column) == units:
                    into[done : done + rows] = column.take(draw).sum(1)
    return sums


def _is_constant(column: Floats) -> bool:
    """True if every resample has the sum of the column itself: units are alike, and whole numbers, whose sums are exact."""
    return bool((column == column[0]).all() and column[0].is_integer())


def _estimate(value: float, resampled: Floats, n: int) -> Estimate:
    low, high = np.quantile(resampled, [0.025, 0.975])
    return Estimate(value=float(value), low=float(low), high=float(high), n=n)


Statistic = Callable[[Floats], Floats]
"""Counts of each unit [resamples, units] → the statistic [resamples]; not finite where it is undefined."""
Counts = tuple[float, float, float, float]
"""Hits and trials of one unit, then hits and trials of the others."""


def resampled(statistic: Statistic, units: int, resamples: int, seed: int) -> Estimate | None:
    """`statistic` of all `units`, each counted once; None without units, and where it is undefined.

    The interval is over the resamples in which it is defined. They are all in memory at once: meant for thousands of units.
    """
    if not units:
        return None
    counts = np.random.default_rng(seed).multinomial(units, np.full(units, 1 / units), resamples).astype(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        (value,), estimates = statistic(np.ones((1, units))), statistic(counts)
    if not np.isfinite(value):
        return None
    low, high = np.quantile(estimates[np.isfinite(estimates)], [0.025, 0.975])
    return Estimate(value=float(value), low=float(low), high=float(high), n=units)


def difference_of_shares(counts: Sequence[Counts], resamples: int, seed: int) -> Estimate | None:
    """Share of hits − the others' share of hits, −1 to 1; None where either has no trials."""
    hits, trials, other_hits, other_trials = np.asarray(counts, dtype=float).reshape(-1, 4).T

    def statistic(times: Floats) -> Floats:
        difference: Floats = (times @ hits) / (times @ trials) - (times @ other_hits) / (times @ other_trials)
        return difference

    return resampled(statistic, len(counts), resamples, seed)


def distance_skewness(values: Sequence[float], resamples: int, seed: int) -> Estimate | None:
    """The distance of `values` from their mirror image at 0: 0 where they are symmetric, 1 where all are one value other than 0.

    1 − Σᵢⱼ|xᵢ − xⱼ| / Σᵢⱼ|xᵢ + xⱼ|, i = j included, as in the paper on self-bias (arXiv 2402.11436), with its θ = 0. It has
    no sign. None where all are 0. Small samples have some by chance: two values, each x or −x by a coin, 1/2 on average.
    """
    x = np.asarray(values, dtype=float)
    apart, together = np.abs(np.subtract.outer(x, x)), np.abs(np.add.outer(x, x))

    def statistic(times: Floats) -> Floats:
        skewness: Floats = 1 - ((times @ apart) * times).sum(1) / ((times @ together) * times).sum(1)
        return skewness

    return resampled(statistic, len(x), resamples, seed)


def spread_within(groups: Iterable[tuple[str, Sequence[float]]], resamples: int, seed: int) -> Estimate | None:
    """Standard deviation of values around their group's mean: root of all squares over all degrees of freedom.

    `groups`: (unit, values) each; the unit that a group belongs to, such as a prompt, is resampled for the interval. None where
    no group has two values.
    """
    squares: dict[str, float] = defaultdict(float)
    degrees: dict[str, int] = defaultdict(int)
    for unit, values in groups:
        if len(values) > 1:
            squares[unit] += _squares(tuple(values))
            degrees[unit] += len(values) - 1
    variance = ratio(list(squares.values()), list(degrees.values()), resamples, seed) if degrees else None
    return variance and Estimate(value=sqrt(variance.value), low=sqrt(variance.low), high=sqrt(variance.high))


@lru_cache(maxsize=10_000)  # a judge gives few different scores
def _squares(values: tuple[float, ...]) -> float:
    """Sum of the squared distances from the mean."""
    mean = fmean(values)
    return sum((value - mean) ** 2 for value in values)
