"""Two judgments of one response before a meta-judge, in both orders, with their scores cut out (arXiv 2407.19594).

Shown the scores, a meta-judge soon prefers the higher one, whatever the reasons; so it reads the reasons alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from selfreward.engines import thought_of, without_thought
from selfreward.recipe import JudgePairsConfig
from selfreward.records import Checkpoint, Completion, Judgment, MetaJudgment, Request
from selfreward.steps.judgments import Grader
from selfreward.steps.labels import Labels
from selfreward.steps.parsing import last_verdict
from selfreward.steps.rubrics import Rubric, own_words


def load_meta_rubric(config: JudgePairsConfig) -> Rubric:
    """The meta-judge's prompt. Raises `SelfRewardError` where it cannot be read or lacks a slot."""
    return Rubric(config.rubric, ("task", "first", "second"), "judge_pairs.rubric")


class Battle(NamedTuple):
    """Two judgments of one response, and the task that both were given."""

    task: str
    a: Judgment
    b: Judgment


class MetaJudge:
    """A rubric and a parser for comparing two judgments."""

    def __init__(self, config: JudgePairsConfig, grader: Grader) -> None:
        self.config, self.grader = config, grader
        self.rubric = load_meta_rubric(config)
        self._verdict, self._labels = re.compile(config.pattern, re.IGNORECASE), Labels(("first", "second"))

    @property
    def reading(self) -> list[object]:
        """Everything beside the meta-judge's text that a verdict depends on."""
        return [self.config.pattern]

    def plan(self, items: Iterable[Battle], model: Checkpoint, seed: int) -> list[Request]:
        """Two requests for each battle, next to each other: a first, then b first."""
        return [
            self._ask(battle.task, first, second, index, model, seed)
            for battle in items
            for index, (first, second) in enumerate([(battle.a, battle.b), (battle.b, battle.a)])
        ]

    def _ask(self, task: str, first: Judgment, second: Judgment, index: int, model: Checkpoint, seed: int) -> Request:
        about = f"{first.response_id} {first.id} {second.id}"
        reasons = {"first": self.reasons(first), "second": self.reasons(second)}
        return Request.user_turn(about, index, self.rubric.fill(task=task, **reasons), self.config.sampling, model, seed)

    def reasons(self, judgment: Judgment) -> str:
        """The judge's own words without the score."""
        return self.grader.without_score(self.grader.own_turn(judgment.rationale))

    def read(self, request: Request, completion: Completion) -> MetaJudgment:
        """One verdict, or the name of the failure."""
        response_id, first, second = request.about.split()
        completion = without_thought(completion, request)
        own, _, failure = own_words(completion, self._verdict)
        verdict = None if failure else last_verdict(own, self._verdict)
        named = (self._labels.named(own, *verdict.span(1)) or "").lower() if verdict and verdict[1] else ""
        return MetaJudgment.model_validate(
            {
                "response_id": response_id, "first": first, "second": second, "swapped": request.index == 1,
                "judge": request.model, "rationale": completion.text, "thought": thought_of(request, completion),
                "outcome": failure or ("decided" if named in ("first", "second") else "unparsed"),
                "winner": named if named in ("first", "second") else None,
            }
        )  # fmt: skip
