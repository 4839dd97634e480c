"""Figures that are no plain mean, each with its 95 % interval by the percentile bootstrap over units, as in `estimates`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from selfreward.estimates import Floats
from selfreward.records import Estimate

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
    """How far `values` lie from their mirror image at 0: 0 where they are their own, 1 where all are one other value.

    1 − Σᵢⱼ|xᵢ − xⱼ| / Σᵢⱼ|xᵢ + xⱼ|, i = j included, as the paper on self-bias has it (arXiv 2402.11436), with its θ = 0. It has
    no sign. None where all are 0. Few values have some by chance: two that are x or −x as a coin says, 1/2 on the average.
    """
    x = np.asarray(values, dtype=float)
    apart, together = np.abs(np.subtract.outer(x, x)), np.abs(np.add.outer(x, x))

    def statistic(times: Floats) -> Floats:
        skewness: Floats = 1 - ((times @ apart) * times).sum(1) / ((times @ together) * times).sum(1)
        return skewness

    return resampled(statistic, len(x), resamples, seed)
