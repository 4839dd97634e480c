"""Two answers to one prompt, side by side before a judge, in both orders (paper, section 3.1).

Judges favour a place. So each comparison is asked twice, either answer first once; where the two verdicts disagree it
is a tie, and where one of them failed there is no verdict at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from selfreward.recipe import FIRST_SECOND_TIE, PairwiseConfig, label_name
from selfreward.records import Checkpoint, Completion, Place, Preference, Prompt, Request, Response
from selfreward.steps.parsing import last_verdict
from selfreward.steps.rubrics import Rubric, own_words

PLACES: tuple[Place, Place, Place] = ("first", "second", "tie")


class PairwiseJudge:
    """A rubric and a parser for comparing two answers."""

    def __init__(self, config: PairwiseConfig) -> None:
        self.config = config
        self.rubric = Rubric(config.rubric, ("prompt", "first", "second"), "pairwise.rubric")
        self._verdict = re.compile(config.pattern, re.IGNORECASE)
        names = map(label_name, config.labels)
        self._places: dict[str, Place] = dict(zip(names, PLACES, strict=True))

    @property
    def reading(self) -> list[object]:
        """Everything that a verdict depends on beside the judge's text."""
        labels = [] if self.config.labels == FIRST_SECOND_TIE else [list(self.config.labels)]
        return [self.config.pattern, *labels]

    def plan(self, items: Iterable[tuple[Prompt, Response, Response]], model: Checkpoint, seed: int) -> list[Request]:
        """Two requests for each (prompt, a, b), next to each other: a first, then b first."""
        return [
            self._ask(prompt, first, second, index, model, seed)
            for prompt, a, b in items
            for index, (first, second) in enumerate([(a, b), (b, a)])
        ]

    def _ask(self, prompt: Prompt, first: Response, second: Response, index: int, model: Checkpoint, seed: int) -> Request:
        about = f"{prompt.id} {first.id} {second.id}"
        text = self.rubric.fill(prompt=prompt.text, first=first.text, second=second.text)
        return Request.user_turn(about, index, text, self.config.sampling, model, seed)

    def read(self, request: Request, completion: Completion) -> Preference:
        """One verdict, or the name of what is wrong with it."""
        prompt_id, first, second = request.about.split()
        own, _, failure = own_words(completion, self._verdict)
        winner = None if failure else self.parse(own)
        return Preference(
            prompt_id=prompt_id,
            first=first,
            second=second,
            swapped=request.index == 1,
            judge=request.model,
            rationale=completion.text,
            outcome=failure or ("decided" if winner else "unparsed"),
            winner=winner,
        )

    def parse(self, text: str) -> Place | None:
        """The last verdict in a judge's own text; None where there is none, or one of no place."""
        found = last_verdict(text, self._verdict)
        return self._places.get(label_name(found[1] or "")) if found else None
