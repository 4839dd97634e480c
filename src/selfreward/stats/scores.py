"""Scores of judgments, counted and averaged as they go by."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Iterator
from math import fsum

from selfreward.records import Judgment


class Tally:
    """Judgments counted as they go by, for there may be too many to go over twice or to hold."""

    def __init__(self) -> None:
        self.outcomes, self.scores = Counter[str](), Counter[float]()

    def of(self, judgments: Iterable[Judgment], about: Container[str] | None = None) -> Iterator[Judgment]:
        """All of `judgments`; those of the responses `about` are counted, by their ids, or all where it is not given."""
        for judgment in judgments:
            if about is None or judgment.response_id in about:
                self.outcomes[judgment.outcome] += 1
                if judgment.score is not None:
                    self.scores[round(judgment.score, 2)] += 1
            yield judgment

    @property
    def histogram(self) -> dict[str, int]:
        """How many have a score, by the score to two decimals."""
        return dict(sorted((f"{score:g}", count) for score, count in self.scores.items()))

    @property
    def unscored(self) -> float:
        """Share of those without a score."""
        total = self.outcomes.total()
        return (total - self.scores.total()) / total if total else 0.0


def mean_scores(judgments: Iterable[Judgment], min_valid: int) -> dict[str, float]:
    """Mean score by response id, over its valid judgments; responses with fewer than `min_valid` are not in it.

    A response that was judged less often than that needs all its judgments valid. Summed exactly, so that the same scores in
    another order are equal and not a preference.
    """
    judged: Counter[str] = Counter()
    valid: dict[str, list[float]] = defaultdict(list)
    for judgment in judgments:
        judged[judgment.response_id] += 1
        if judgment.score is not None:
            valid[judgment.response_id].append(judgment.score)
    return {name: fsum(scores) / len(scores) for name, scores in valid.items() if len(scores) >= min(min_valid, judged[name])}
