"""Intervals by the bootstrap: of means, of ratios, of differences between shares, and over prompts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from math import sqrt
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from selfreward.records import Estimate

Floats = NDArray[np.float64]
AT_ONCE = 250_000
"""Units drawn in one go: what fits into a cache, so that a million, resampled a thousand times, takes seconds and no memory."""


def mean(values: Sequence[float], resamples: int, seed: int) -> Estimate | None:
    """The mean of `values`; None of none."""
    if not len(values):
        return None
    over = np.asarray(values, dtype=float)
    (drawn,) = _resampled([over], resamples, seed)
    return _estimate(over.sum() / len(over), drawn / len(over))


def ratio(parts: Sequence[float], wholes: Sequence[float], resamples: int, seed: int) -> Estimate | None:
    """Sum of `parts` over sum of `wholes`, unit by unit resampled; None where the wholes sum to nothing."""
    return ratios([(parts, wholes)], resamples, seed)[0]


def ratios(of: Sequence[tuple[Sequence[float], Sequence[float]]], resamples: int, seed: int) -> list[Estimate | None]:
    """`ratio` of each (parts, wholes), all over the same units: what it is alone, but units are drawn once for all of them."""
    columns = [(np.asarray(parts, dtype=float), np.asarray(wholes, dtype=float)) for parts, wholes in of]
    known = [pair for pair in columns if pair[1].sum()]
    drawn = iter(_resampled([column for pair in known for column in pair], resamples, seed) if known else ())
    return [_ratio(*pair, next(drawn), next(drawn)) if pair[1].sum() else None for pair in columns]


def _ratio(over: Floats, under: Floats, drawn: Floats, sums: Floats) -> Estimate:
    return _estimate(over.sum() / under.sum(), drawn[sums > 0] / sums[sums > 0])


def _resampled(columns: Sequence[Floats], resamples: int, seed: int) -> Floats:
    """For every column, of a value for each unit, its sums over the units of each resample, which are the same for all."""
    rng, units, sums = np.random.default_rng(seed), len(columns[0]), []
    rows = max(1, AT_ONCE // units)
    for done in range(0, resamples, rows):
        draw = rng.integers(units, size=(min(rows, resamples - done), units))
        sums.append([column.take(draw).sum(1) for column in columns])
    return np.hstack(sums)


def _estimate(value: float, resampled: Floats) -> Estimate:
    low, high = np.quantile(resampled, [0.025, 0.975])
    return Estimate(value=float(value), low=float(low), high=float(high))


Statistic = Callable[[Floats], Floats]
"""How often each unit counts, [resamples, units] → the statistic, [resamples]; not finite where it is undefined."""
Counts = tuple[float, float, float, float]
"""Of one unit: hits, out of how many; hits of the others, out of how many."""


def resampled(statistic: Statistic, units: int, resamples: int, seed: int) -> Estimate | None:
    """`statistic` of all `units`, each counted once; None of none, and where it is undefined.

    The interval is over the resamples in which it is defined. All of them are held at once: for thousands of units.
    """
    if not units:
        return None
    drawn = np.random.default_rng(seed).multinomial(units, np.full(units, 1 / units), resamples).astype(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        (value,), found = statistic(np.ones((1, units))), statistic(drawn)
    if not np.isfinite(value):
        return None
    low, high = np.quantile(found[np.isfinite(found)], [0.025, 0.975])
    return Estimate(value=float(value), low=float(low), high=float(high))


def difference_of_shares(counts: Sequence[Counts], resamples: int, seed: int) -> Estimate | None:
    """Share of hits − the others' share of hits, −1 to 1; None where one of them is a share of nothing."""
    hits, among, others, among_others = np.asarray(counts, dtype=float).reshape(-1, 4).T

    def statistic(times: Floats) -> Floats:
        difference: Floats = (times @ hits) / (times @ among) - (times @ others) / (times @ among_others)
        return difference

    return resampled(statistic, len(counts), resamples, seed)


def distance_skewness(values: Sequence[float], resamples: int, seed: int) -> Estimate | None:
    """The distance of `values` from their mirror image at 0: 0 where they are symmetric, 1 where all are one value other than 0.

    1 − Σᵢⱼ|xᵢ − xⱼ| / Σᵢⱼ|xᵢ + xⱼ|, i = j included, as the paper on self-bias has it (arXiv 2402.11436), with its θ = 0. It has
    no sign. None where all are 0. Few values have some by chance: two that are x or −x as a coin says, 1/2 on the average.
    """
    x = np.asarray(values, dtype=float)
    apart, together = np.abs(np.subtract.outer(x, x)), np.abs(np.add.outer(x, x))

    def statistic(times: Floats) -> Floats:
        skewness: Floats = 1 - ((times @ apart) * times).sum(1) / ((times @ together) * times).sum(1)
        return skewness

    return resampled(statistic, len(x), resamples, seed)


def spread_within(groups: Iterable[tuple[str, Sequence[float]]], resamples: int, seed: int) -> Estimate | None:
    """Standard deviation of values around their group's mean: root of all squares over all degrees of freedom.

    `groups`: the unit that a group belongs to, a prompt say, and its values; the interval resamples units. None where no group
    has two values.
    """
    squares: dict[str, float] = defaultdict(float)
    degrees: dict[str, int] = defaultdict(int)
    for unit, values in groups:
        if len(values) > 1:
            mean = fmean(values)
            squares[unit] += sum((value - mean) ** 2 for value in values)
            degrees[unit] += len(values) - 1
    found = ratio(list(squares.values()), list(degrees.values()), resamples, seed) if degrees else None
    return found and Estimate(value=sqrt(found.value), low=sqrt(found.low), high=sqrt(found.high))
