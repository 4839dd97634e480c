"""A figure with its 95 % interval, by the percentile bootstrap over independent units (prompts, say)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from selfreward.records import Record


class Estimate(Record):
    """A value and the ends of its 95 % interval."""

    value: float
    low: float
    high: float


def mean(values: Sequence[float], resamples: int, seed: int) -> Estimate | None:
    """The mean of `values`; None of none."""
    return ratio(values, [1.0] * len(values), resamples, seed)


def ratio(parts: Sequence[float], wholes: Sequence[float], resamples: int, seed: int) -> Estimate | None:
    """Sum of `parts` over sum of `wholes`, unit by unit resampled; None where the wholes sum to nothing."""
    if not sum(wholes):
        return None
    over, under = np.asarray(parts, dtype=float), np.asarray(wholes, dtype=float)
    draws = np.random.default_rng(seed).integers(len(over), size=(resamples, len(over)))
    sums = under[draws].sum(1)
    low, high = np.quantile(over[draws].sum(1)[sums > 0] / sums[sums > 0], [0.025, 0.975])
    return Estimate(value=float(over.sum() / under.sum()), low=float(low), high=float(high))
