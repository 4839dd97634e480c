"""Rank correlations of short lists, in whole numbers: scipy, which gives the same, takes a millisecond for each pair of lists.

Both are the cosine between two lists' comparisons: of each value with each other, by sign (Kendall), or of each value with all
others together (Spearman: how many are below less how many are above, which is twice its mean rank's distance from the middle).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import numpy as np
from numpy.typing import NDArray

Signs = NDArray[np.int64]


def kendall(one: Sequence[int], other: Sequence[int]) -> float:
    """Tau-b (−1 to 1) of two lists of the same length, neither of which is all ties."""
    return _cosine(_signs(one), _signs(other))


def spearman(one: Sequence[int], other: Sequence[int]) -> float:
    """Rho (−1 to 1), ties at their mean rank, of two lists of the same length, neither of which is all ties."""
    return _cosine(_signs(one).sum(0), _signs(other).sum(0))


def places(values: Sequence[float]) -> tuple[int, ...]:
    """Each value's place among the distinct ones, which is all that a rank correlation goes by."""
    ranked = {value: place for place, value in enumerate(sorted(set(values)))}
    return tuple(ranked[value] for value in values)


def _signs(values: Sequence[int]) -> Signs:
    listed = np.asarray(values, dtype=np.int64)
    return np.sign(np.subtract.outer(listed, listed))


def _cosine(one: Signs, other: Signs) -> float:
    return int((one * other).sum()) / sqrt(int((one * one).sum()) * int((other * other).sum()))
