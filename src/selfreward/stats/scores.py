"""Scores of judgments, counted and averaged as they go by."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from math import fsum
from typing import NamedTuple

from selfreward.records import Scored, ScoreOnly, only


class Tally:
    """Counts judgments in passing, since there may be too many to read twice or to hold in memory."""

    def __init__(self) -> None:
        self.outcomes, self.scores = Counter[str](), Counter[float]()

    def of(self, judgments: Iterable[Scored], about: Container[str] | None = None) -> Iterator[Scored]:
        """Yield all `judgments`; count those of the responses `about`, by their ids, or all where it is not given."""
        for judgment in judgments:
            if about is None or judgment.response_id in about:
                self.outcomes[judgment.outcome] += 1
                if judgment.score is not None:
                    self.scores[round(judgment.score, 2)] += 1
            yield judgment

    @property
    def histogram(self) -> dict[str, int]:
        """Counts of the scored judgments by score, to two decimals."""
        return dict(sorted((f"{score:g}", count) for score, count in self.scores.items()))

    @property
    def unscored(self) -> float:
        """Share of the counted judgments without a score, 0 to 1."""
        total = self.outcomes.total()
        return (total - self.scores.total()) / total if total else 0.0


class Scores(NamedTuple):
    """Judgments, counted and grouped by response id."""

    judged: Counter[str]
    """All judgments."""
    given: dict[str, list[float]]
    """The scores of those that have one."""

    @classmethod
    def of(cls, judgments: Iterable[Scored]) -> Scores:
        """Group `judgments`."""
        judged, given = Counter[str](), defaultdict[str, list[float]](list)
        for judgment in only(judgments, ScoreOnly):
            judged[judgment.response_id] += 1
            if judgment.score is not None:
                given[judgment.response_id].append(judgment.score)
        return cls(judged, given)

    def valid(self, min_valid: int) -> dict[str, list[float]]:
        """The scores given by response id, without responses that have fewer than `min_valid`.

        A response with fewer than `min_valid` judgments needs all of them valid.
        """
        return {name: given for name, given in self.given.items() if len(given) >= min(min_valid, self.judged[name])}


def means(given: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The mean of each response's scores; sums are exact, so that the same scores in another order are equal."""
    return {name: fsum(scores) / len(scores) for name, scores in given.items()}


def mean_scores(judgments: Iterable[Scored], min_valid: int) -> dict[str, float]:
    """The means of the scores that are `Scores.valid`, by response id."""
    return means(Scores.of(judgments).valid(min_valid))
