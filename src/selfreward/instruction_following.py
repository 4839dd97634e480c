"""Axis 1, how well a model follows instructions: true scores where there is a truth, and head-to-head (paper, 3.1)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from selfreward.records import Comparison, HeadToHead, Response, Side, TrueScore, Verdict
from selfreward.stats import intervals


def true_score(verdicts: Sequence[Verdict], resamples: int, seed: int) -> TrueScore | None:
    """Sum up verdicts; None of none."""
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
        by_kind={kind: found for kind, values in kinds.items() if (found := intervals.mean(values, resamples, seed))},
        by_criterion={criterion: sum(values) / len(values) for criterion, values in points.items()},
        histogram=dict(sorted(Counter(f"{verdict.score:g}" for verdict in verdicts).items())),
    )


def compare(ours: Iterable[Response], theirs: Iterable[Response], scores: Mapping[str, float]) -> list[Comparison]:
    """Two models' answers, prompt by prompt, by `scores` of response ids. Equal scores are a tie."""
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
