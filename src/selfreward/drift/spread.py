"""How far values lie apart within groups: a standard deviation pooled over groups, with its interval."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from math import sqrt
from statistics import fmean

from selfreward import estimates
from selfreward.records import Estimate


def within(groups: Iterable[tuple[str, Sequence[float]]], resamples: int, seed: int) -> Estimate | None:
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
    found = estimates.ratio(list(squares.values()), list(degrees.values()), resamples, seed) if degrees else None
    return found and Estimate(value=sqrt(found.value), low=sqrt(found.low), high=sqrt(found.high))
