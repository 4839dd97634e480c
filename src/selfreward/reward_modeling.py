"""Axis 2, how well a model judges: its scores against people's ranks of the same responses (paper, 3.2 and table 4)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy import stats

from selfreward import estimates
from selfreward.estimates import Estimate
from selfreward.records import Ranking, Record, Response

ORDERS = 65536
"""Pairs of orders whose correlation is remembered: four responses have 75 × 75, and scipy takes a millisecond for each."""
TIE_RULE = "a tie in score counts half; a response without a score makes its pairs wrong"


class RewardModeling(Record):
    """The paper's five metrics, on ranked responses. Means are over rankings; intervals resample rankings."""

    rankings: int
    pairs: int
    """Pairs of responses that people rank apart."""
    tie_rule: str = TIE_RULE
    pairwise_accuracy: Estimate | None
    """Share of those pairs in people's order, by the tie rule; None of a model that gave no score at all."""
    pairwise_accuracy_strict: Estimate | None
    """The same with ties wrong."""
    by_kind: dict[str, Estimate]
    """Pairwise accuracy by kind of task."""
    five_best: Estimate | None
    """Of the responses with the best score there is, 5 in the paper, the share that people rank best."""
    exact_match: Estimate | None
    """Share of rankings whose whole order by score is people's."""
    spearman: Estimate | None
    kendall: Estimate | None
    """Tau-b. Rankings in which one side is all ties have neither."""
    length_baseline: Estimate | None
    """Pairwise accuracy of text length alone, longer being better."""
    unparsed: float
    """Share of judgments without a valid score."""


class Judged(NamedTuple):
    """One ranking beside the scores a judge gave; None where it gave none."""

    kind: str
    ranks: Sequence[float]
    scores: Sequence[float | None]
    lengths: Sequence[int]


def beside_ranks(
    ranked: Iterable[tuple[Ranking, Sequence[Response]]],
    scores: Mapping[str, float],
    kind: Callable[[Ranking], str] = lambda _: "all",
) -> list[Judged]:
    """People's ranks beside `scores` of the same responses by id; `kind` tells the kind of task."""
    return [
        Judged(kind(ranking), ranking.ranks, [scores.get(r.id) for r in responses], [len(r.text) for r in responses])
        for ranking, responses in ranked
    ]


def reward_modeling(judged: Sequence[Judged], unparsed: float, resamples: int, seed: int, perfect: float = 5.0) -> RewardModeling:
    """All metrics over `judged`; `unparsed` is the share of failed judgments behind the scores, `perfect` the best score."""

    def accuracy(counts: Sequence[tuple[float, int]]) -> Estimate | None:
        return estimates.ratio([right for right, _ in counts], [of for _, of in counts], resamples, seed)

    def average(values: list[float]) -> Estimate | None:
        return estimates.mean(values, resamples, seed)

    spearman, kendall = _by_order(stats.spearmanr), _by_order(stats.kendalltau)
    scored = any(score is not None for ranking in judged for score in ranking.scores)
    agreed = [agreeing(ranking) for ranking in judged]
    by_kind: dict[str, list[tuple[float, int]]] = {kind: [] for kind in sorted({ranking.kind for ranking in judged})}
    for ranking, counts in zip(judged, agreed, strict=True):
        by_kind[ranking.kind].append(counts)
    return RewardModeling(
        rankings=len(judged),
        pairs=sum(pairs for _, pairs in agreed),
        pairwise_accuracy=accuracy(agreed) if scored else None,
        pairwise_accuracy_strict=accuracy([agreeing(ranking, tie=0.0) for ranking in judged]) if scored else None,
        by_kind={kind: found for kind, counts in by_kind.items() if scored and (found := accuracy(counts))},
        five_best=accuracy([perfect_that_are_best(ranking, perfect) for ranking in judged]),
        exact_match=average([float(same_order(ranking)) for ranking in judged]),
        spearman=average([rho for ranking in judged if (rho := correlation(ranking, spearman)) is not None]),
        kendall=average([tau for ranking in judged if (tau := correlation(ranking, kendall)) is not None]),
        length_baseline=accuracy([agreeing(ranking._replace(scores=ranking.lengths)) for ranking in judged]),
        unparsed=unparsed,
    )


def agreeing(ranking: Judged, tie: float = 0.5) -> tuple[float, int]:
    """(pairs in people's order, with `tie` for each tie in score; pairs that people rank apart)."""
    right, pairs = 0.0, 0
    for better, worse in _ranked_apart(ranking):
        pairs += 1
        a, b = ranking.scores[better], ranking.scores[worse]
        if a is not None and b is not None:
            right += tie if a == b else float(a > b)
    return right, pairs


def _ranked_apart(ranking: Judged) -> Iterator[tuple[int, int]]:
    for one, other in combinations(range(len(ranking.ranks)), 2):
        if ranking.ranks[one] != ranking.ranks[other]:
            yield (one, other) if ranking.ranks[one] < ranking.ranks[other] else (other, one)


def perfect_that_are_best(ranking: Judged, perfect: float = 5.0) -> tuple[float, int]:
    """(responses scored `perfect` that people rank best, responses scored `perfect`)."""
    found = [rank for rank, score in zip(ranking.ranks, ranking.scores, strict=True) if score == perfect]
    return float(sum(rank == min(ranking.ranks) for rank in found)), len(found)


def same_order(ranking: Judged) -> bool:
    """Whether the scores order every pair as people do, ties where they tie."""
    if any(score is None for score in ranking.scores):
        return False
    order = np.sign(np.subtract.outer(np.asarray(ranking.scores, float), np.asarray(ranking.scores, float)))
    people = np.sign(np.subtract.outer(-np.asarray(ranking.ranks), -np.asarray(ranking.ranks)))
    return bool((order == people).all())


def correlation(ranking: Judged, measure: Callable[..., tuple[float, float]]) -> float | None:
    """Scipy's `measure` between scores and goodness of rank over the scored responses; None where it is undefined."""
    scored = [(score, -rank) for score, rank in zip(ranking.scores, ranking.ranks, strict=True) if score is not None]
    if len({score for score, _ in scored}) < 2 or len({rank for _, rank in scored}) < 2:
        return None
    scores, goodness = zip(*scored, strict=True)
    return float(measure(scores, goodness)[0])


Measure = Callable[[Sequence[float], Sequence[float]], tuple[float, float]]


def _by_order(measure: Measure) -> Measure:
    """A rank correlation, which goes by order alone, that remembers what it found of each pair of orders."""
    remembered = lru_cache(ORDERS)(measure)
    return lambda scores, goodness: remembered(_order(scores), _order(goodness))


def _order(values: Sequence[float]) -> tuple[int, ...]:
    """Each value's place among the distinct ones."""
    places = {value: place for place, value in enumerate(sorted(set(values)))}
    return tuple(places[value] for value in values)
