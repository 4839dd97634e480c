"""Judging the candidates of an iteration: each K times, or one round after another while best or worst is undecided."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain

from selfreward.judgments import Judge
from selfreward.records import Checkpoint, Judgment, Response
from selfreward.rundir import ModelFolder

NEAR = 0.5
"""Points from the best (or worst) mean within which another candidate may still be it; single scores are so near if equal."""


class Judgments(Collection[Judgment]):
    """Those of several rounds, one round after the other."""

    def __init__(self) -> None:
        self.rounds: list[Collection[Judgment]] = []

    def __len__(self) -> int:
        return sum(map(len, self.rounds))

    def __iter__(self) -> Iterator[Judgment]:
        return chain.from_iterable(self.rounds)

    def __contains__(self, judgment: object) -> bool:
        return any(judgment in one for one in self.rounds)


def judge_candidates(
    it: ModelFolder, candidates: Sequence[tuple[str, Response]], judge: Judge, grader: Checkpoint, seed: int
) -> Collection[Judgment]:
    """All judgments by `grader` of `candidates`, (prompt text, response) each.

    Of an adaptive judge round n is a stage of its own, in which every candidate that is then undecided has sample n of the K
    that it would have had otherwise, from the same seed: what is drawn is part of what K for everyone would have drawn.
    """
    judgments, responses = Judgments(), [response for _, response in candidates]
    asked = {response.id for response in responses}
    adaptive = judge.config.samples == "adaptive"
    for number, stage in enumerate(judge.config.rounds):
        due = [one for one in candidates if one[1].id in asked]
        plan = judge.plan(due, grader, seed, [number] if adaptive else None)
        judgments.rounds.append(it.stream(stage, Judgment, plan, grader, judge.read, judge.reading))
        asked = undecided(responses, judge.mean_scores(judgments)) if adaptive else asked
    return judgments


def undecided(responses: Iterable[Response], scores: Mapping[str, float]) -> set[str]:
    """Ids of the responses that are to be judged once more, after judgments that gave the mean `scores` by response id.

    Best is undecided while whole answers that do not read the same have means within half a point of the highest, worst while
    answers have so of the lowest: then all of those are judged again. So is an answer without a score.
    """
    groups: dict[str, list[Response]] = defaultdict(list)
    for response in responses:
        if response.answered:
            groups[response.prompt_id].append(response)
    unscored = {response.id for group in groups.values() for response in group if response.id not in scores}
    return unscored.union(*(_rivals(group, scores) for group in groups.values()))


def _rivals(group: Iterable[Response], scores: Mapping[str, float]) -> set[str]:
    """Those of one prompt's answers that may be its best, where several may, and its worst likewise."""
    lowest_first = sorted((response for response in group if response.id in scores), key=lambda one: scores[one.id])
    highest_first = [response for response in reversed(lowest_first) if response.finish == "stop"]
    rivals: set[str] = set()
    for order in (highest_first, lowest_first):
        near = [one for one in order if abs(scores[one.id] - scores[order[0].id]) <= NEAR]
        if len({one.text for one in near}) > 1:
            rivals |= {one.id for one in near}
    return rivals
