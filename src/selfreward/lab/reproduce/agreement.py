"""Agreement of annotators and judges with each other."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from itertools import combinations
from typing import Literal, NamedTuple, TypeVar

from selfreward.measure import Row

Label = TypeVar("Label", bound=Hashable)


def majority(labels: Sequence[Label]) -> Label | None:
    """The label of more than half of `labels`; None where there is none."""
    return next((label for label, votes in Counter(labels).items() if 2 * votes > len(labels)), None)


def accuracy(labels: Sequence[Hashable], truth: Sequence[Hashable]) -> float:
    """Share of `labels` that equal the true one at their place, 0 to 1; needs at least one."""
    return sum(label == true for label, true in zip(labels, truth, strict=True)) / len(truth)


def kappa(a: Sequence[Hashable], b: Sequence[Hashable]) -> float | None:
    """Cohen's kappa (1960), unweighted: agreement beyond chance, at most 1. None where chance explains everything."""
    counts, others = Counter(a), Counter(b)
    by_chance = sum(counts[label] * others[label] for label in counts) / len(a) ** 2
    return None if by_chance == 1 else (accuracy(a, b) - by_chance) / (1 - by_chance)


class Vote(Row):
    """A vote on two models' answers to a question, in the published shape of MT-Bench."""

    judge: str
    """The judge's name, such as `expert_0` or `author_0`."""
    model_a: str
    model_b: str
    question_id: int | str
    turn: int
    winner: Literal["model_a", "model_b", "tie", "tie (inconsistent)"]

    @property
    def pair(self) -> tuple[str, str]:
        """The two models, sorted."""
        return min(self.model_a, self.model_b), max(self.model_a, self.model_b)

    @property
    def better(self) -> str | None:
        """The winning model; None for a tie."""
        return {"model_a": self.model_a, "model_b": self.model_b}.get(self.winner)


class Agreement(NamedTuple):
    """Counts of pairs of votes on the same answers: all, and those that agree."""

    agreeing: int
    pairs: int

    @property
    def share(self) -> float | None:
        """0 to 1; None without pairs."""
        return self.agreeing / self.pairs if self.pairs else None


def between_people(votes: Iterable[Vote], turn: int, ties: bool = True, judges: str = "expert") -> Agreement:
    """Agreement of two votes on the same answers, over all pairs of votes, as in the paper of MT-Bench (table 5).

    Only judges whose name begins with `judges` count. Without `ties`, a pair in which either vote is a tie does not count.
    """
    groups: dict[tuple[int | str, tuple[str, str]], list[str | None]] = defaultdict(list)
    for vote in votes:
        if vote.turn == turn and vote.judge.startswith(judges):
            groups[vote.question_id, vote.pair].append(vote.better)
    pairs = [pair for group in groups.values() for pair in combinations(group, 2) if ties or None not in pair]
    return Agreement(sum(a == b for a, b in pairs), len(pairs))
