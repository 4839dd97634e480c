"""A figure with its 95 % interval, by the percentile bootstrap over independent units (prompts, say)."""

from __future__ import annotations

from collections.abc import Sequence

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
