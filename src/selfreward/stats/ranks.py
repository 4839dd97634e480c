"""Rank correlations with an interval, and how consistent two rankings of candidates are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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


def rank_consistency(groups: Iterable[Sequence[str]], ours: Mapping[str, float], theirs: Mapping[str, float]) -> list[float]:
    """Kendall's tau-b (−1 to 1) between two judges' scores of each group of response ids, one prompt's candidates say.

    Of a group the responses that both have scored count. A group in which either side has nothing but ties, or fewer than two
    responses, has no tau and is left out.
    """
    found = []
    for group in groups:
        both = [(ours[one], theirs[one]) for one in group if one in ours and one in theirs]
        a, b = places([score for score, _ in both]), places([score for _, score in both])
        if len(set(a)) > 1 and len(set(b)) > 1:
            found.append(kendall(a, b))
    return found
