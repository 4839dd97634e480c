"""Rank correlations with an interval, and how consistent two rankings of candidates are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import sqrt

import numpy as np
from numpy.typing import NDArray

Signs = NDArray[np.int64]


def kendall(a: Sequence[int], b: Sequence[int]) -> float:
    """Tau-b (−1 to 1) of two lists of equal length, neither of which is all ties."""
    return _cosine(_signs(a), _signs(b))


def spearman(a: Sequence[int], b: Sequence[int]) -> float:
    """Rho (−1 to 1), ties at their mean rank, of two lists of equal length, neither of which is all ties."""
    return _cosine(_signs(a).sum(0), _signs(b).sum(0))


def places(values: Sequence[float]) -> tuple[int, ...]:
    """The rank of each value among the distinct values, from 0: a rank correlation depends on nothing else."""
    ranked = {value: place for place, value in enumerate(sorted(set(values)))}
    return tuple(ranked[value] for value in values)


def _signs(values: Sequence[int]) -> Signs:
    array = np.asarray(values, dtype=np.int64)
    return np.sign(np.subtract.outer(array, array))


def _cosine(a: Signs, b: Signs) -> float:
    return int((a * b).sum()) / sqrt(int((a * a).sum()) * int((b * b).sum()))


def mean_places(groups: Iterable[Sequence[str]], opinions: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Share of the others of its group that a response is placed above, 0 to 1, level ones by half; mean over `opinions`.

    `groups`: ids of one prompt's candidates each. `opinions`: each judge's scores by id. Responses count that all have scored. It
    is the mean rank, from the worst, less 1 and over how many others there are. Alone in its group a response has ½.
    """
    places: dict[str, float] = {}
    for group in groups:
        judged = [response_id for response_id in group if all(response_id in scores for scores in opinions)]
        for response_id in judged:
            others = [other for other in judged if other != response_id]
            halves = sum(_above(scores[response_id], [scores[other] for other in others]) for scores in opinions)
            places[response_id] = halves / (2 * len(others) * len(opinions)) if others else 0.5
    return places


def _above(score: float, others: Sequence[float]) -> int:
    """Twice how many of the others a score is above, level ones by half: whole numbers, so that level places are equal."""
    return sum(2 * (score > other) + (score == other) for other in others)


def rank_consistency(groups: Iterable[Sequence[str]], ours: Mapping[str, float], theirs: Mapping[str, float]) -> list[float]:
    """Kendall's tau-b (−1 to 1) between two judges' scores in each group of response ids, such as one prompt's candidates.

    Only responses that both judges have scored count. A group is left out where fewer than two remain, or where either judge
    scores all of them alike.
    """
    taus = []
    for group in groups:
        both = [(ours[name], theirs[name]) for name in group if name in ours and name in theirs]
        a, b = places([score for score, _ in both]), places([score for _, score in both])
        if len(set(a)) > 1 and len(set(b)) > 1:
            taus.append(kendall(a, b))
    return taus
