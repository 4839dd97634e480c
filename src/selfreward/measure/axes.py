"""Both axes (paper, section 3.1): true scores and head-to-head of answers, and agreement of judgments with people."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

from selfreward.records import Comparison, Estimate, HeadToHead, Ranking, Response, RewardModeling, Side, TrueScore, Verdict
from selfreward.stats import intervals, kendall, places, spearman


def true_score(verdicts: Sequence[Verdict], resamples: int, seed: int) -> TrueScore | None:
    """Summary of `verdicts`; None without verdicts."""
    score = intervals.mean([verdict.score for verdict in verdicts], resamples, seed)
    if score is None:
        return None
    kinds: dict[str, list[float]] = defaultdict(list)
    points: dict[str, list[float]] = defaultdict(list)
    for verdict in verdicts:
        kinds[verdict.kind].append(verdict.score)
        for criterion, point in verdict.points.items():
            points[criterion].append(point)
    return TrueScore(
        score=score,
        by_kind={kind: mean for kind, values in kinds.items() if (mean := intervals.mean(values, resamples, seed))},
        by_criterion={criterion: sum(values) / len(values) for criterion, values in points.items()},
        histogram=dict(sorted(Counter(f"{verdict.score:g}" for verdict in verdicts).items())),
    )


def compare_scores(ours: Iterable[Response], theirs: Iterable[Response], scores: Mapping[str, float]) -> list[Comparison]:
    """Compare two models' answers prompt by prompt, by `scores` of response ids. Equal scores are a tie."""
    rivals = {response.prompt_id: response for response in theirs}
    pairs = [(response, rivals[response.prompt_id]) for response in ours if response.prompt_id in rivals]
    return [
        Comparison(prompt_id=a.prompt_id, a=a.id, b=b.id, winner=_winner(scores.get(a.id), scores.get(b.id))) for a, b in pairs
    ]


def _winner(a: float | None, b: float | None) -> Side:
    if a is None or b is None:
        return "none"
    return "tie" if a == b else "a" if a > b else "b"


def head_to_head(comparisons: Sequence[Comparison], against: str, judge: str, resamples: int, seed: int) -> HeadToHead:
    """Count comparisons from the side of `a`."""
    count = Counter(comparison.winner for comparison in comparisons)
    signs = {"a": 1.0, "tie": 0.0, "b": -1.0}
    net = intervals.mean([signs[c.winner] for c in comparisons if c.winner != "none"], resamples, seed)
    return HeadToHead(
        against=against, judge=judge, wins=count["a"], ties=count["tie"], losses=count["b"], unscored=count["none"], net=net
    )


class Judged(NamedTuple):
    """The ranks of one ranking, and a judge's scores of its responses; None for a response without a score."""

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
    compared = [_compared(ranking.ranks, ranking.scores) for ranking in judged]
    agreed = [_share(*counts) for counts in compared]
    accuracy, strict, five_best, exact_match, lengths = _estimates(
        [
            agreed,
            [_share(*counts, tie=0.0) for counts in compared],
            [perfect_that_are_best(ranking, perfect) for ranking in judged],
            [(float(same_order(ranking)), 1) for ranking in judged],
            [_share(*_compared(ranking.ranks, ranking.lengths)) for ranking in judged],
        ],
        resamples, seed,
    )  # fmt: skip
    rho, tau = _correlated(judged, resamples, seed)
    scored = any(score is not None for ranking in judged for score in ranking.scores)
    return RewardModeling(
        rankings=len(judged),
        pairs=sum(pairs for _, pairs in agreed),
        pairwise_accuracy=accuracy if scored else None,
        pairwise_accuracy_strict=strict if scored else None,
        by_kind=_by_kind(judged, agreed, accuracy, resamples, seed) if scored else {},
        five_best=five_best,
        exact_match=exact_match,
        spearman=rho,
        kendall=tau,
        length_baseline=lengths,
        unparsed=unparsed,
    )


Share = tuple[float, int]
"""(right, all) of one ranking."""


def _estimates(shares: Sequence[Sequence[Share]], resamples: int, seed: int) -> list[Estimate | None]:
    columns = [([right for right, _ in counts], [pairs for _, pairs in counts]) for counts in shares]
    return intervals.ratios(columns, resamples, seed)


def _by_kind(
    judged: Sequence[Judged], agreed: Sequence[Share], overall: Estimate | None, resamples: int, seed: int
) -> dict[str, Estimate]:
    shares: dict[str, list[Share]] = {kind: [] for kind in sorted({ranking.kind for ranking in judged})}
    for ranking, share in zip(judged, agreed, strict=True):
        shares[ranking.kind].append(share)
    if len(shares) == 1:
        return dict.fromkeys(shares, overall) if overall else {}
    estimates = {kind: _estimates([counts], resamples, seed)[0] for kind, counts in shares.items()}
    return {kind: estimate for kind, estimate in estimates.items() if estimate}


def _correlated(judged: Sequence[Judged], resamples: int, seed: int) -> list[Estimate | None]:
    """Mean rho and mean tau over the rankings that have them; computed once per distinct order, which is all they depend on."""
    orders = [(places(both[0]), places(both[1])) for ranking in judged if (both := _scored_apart(ranking))]
    correlations = [{pair: measure(*pair) for pair in set(orders)} for measure in (spearman, kendall)]
    return _estimates([[(values[pair], 1) for pair in orders] for values in correlations], resamples, seed)


def agreeing(ranking: Judged, tie: float = 0.5) -> Share:
    """(pairs in people's order, with `tie` for each tie in score; pairs that people rank apart)."""
    return _share(*_compared(ranking.ranks, ranking.scores), tie=tie)


def _share(right: int, ties: int, pairs: int, tie: float = 0.5) -> Share:
    return right + tie * ties, pairs


def _compared(ranks: Sequence[float], scores: Sequence[float | None]) -> tuple[int, int, int]:
    """Counts of the pairs that people rank apart: (scored in people's order, scored alike, all)."""
    right, ties, pairs = 0, 0, 0
    for (rank, score), (other, against) in combinations(zip(ranks, scores, strict=True), 2):
        if rank != other:
            pairs += 1
            if score is not None and against is not None:
                ties += score == against
                right += score != against and (score > against) == (rank < other)
    return right, ties, pairs


def perfect_that_are_best(ranking: Judged, perfect: float = 5.0) -> tuple[float, int]:
    """(responses scored `perfect` that people rank best, responses scored `perfect`)."""
    ranks = [rank for rank, score in zip(ranking.ranks, ranking.scores, strict=True) if score == perfect]
    return float(sum(rank == min(ranking.ranks) for rank in ranks)), len(ranks)


def same_order(ranking: Judged) -> bool:
    """True if the scores order every pair as people do, with ties where people have ties."""
    scores = [score for score in ranking.scores if score is not None]
    return len(scores) == len(ranking.ranks) and places(scores) == places([-rank for rank in ranking.ranks])


def correlation(ranking: Judged, measure: Callable[..., tuple[float, float]]) -> float | None:
    """Scipy's `measure` of correlation between scores and goodness of rank, over the scored responses; None where undefined."""
    both = _scored_apart(ranking)
    return float(measure(*both)[0]) if both else None


def _scored_apart(ranking: Judged) -> tuple[Sequence[float], Sequence[float]] | None:
    """(scores, goodness of rank) of the scored responses; None where either is nothing but ties."""
    scored = [(score, -rank) for score, rank in zip(ranking.scores, ranking.ranks, strict=True) if score is not None]
    scores, goodness = [score for score, _ in scored], [rank for _, rank in scored]
    return (scores, goodness) if len({*scores}) > 1 and len({*goodness}) > 1 else None
