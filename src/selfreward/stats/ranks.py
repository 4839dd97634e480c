"""Rank correlations with an interval, and how consistent two rankings of candidates are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import fsum, sqrt

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


def mean_places(groups: Iterable[Sequence[str]], opinions: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Share of the others of its group that a response is placed above, 0 to 1, level ones by half; mean over `opinions`.

    `groups`: ids of one prompt's candidates each. `opinions`: each judge's scores by id. Responses count that all have scored. It
    is the mean rank, from the worst, less 1 and over how many others there are. Alone in its group a response has ½.
    """
    found: dict[str, float] = {}
    for group in groups:
        judged = [one for one in group if all(one in scores for scores in opinions)]
        for one in judged:
            shares = [_above(scores[one], [scores[other] for other in judged if other != one]) for scores in opinions]
            found[one] = fsum(shares) / len(shares)
    return found


def _above(score: float, others: Sequence[float]) -> float:
    return sum((score > other) + (score == other) / 2 for other in others) / len(others) if others else 0.5


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
