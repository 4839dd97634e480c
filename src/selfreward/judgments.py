"""K judgments of each response: LLM-as-a-Judge (paper, section 2.2, step 3, and figure 2)."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from math import fsum

from selfreward.parsing import read_score
from selfreward.records import Checkpoint, Completion, Judgment, Outcome, Request, Response
from selfreward.rubrics import Rubric, own_words
from selfreward.sections import JudgeConfig


class Judge:
    """A rubric, a scale and a parser."""

    def __init__(self, config: JudgeConfig) -> None:
        self.config = config
        self.rubric = Rubric(config.rubric, ("prompt", "response"), "judge.rubric")
        self._verdict = re.compile(config.pattern, re.IGNORECASE)

    @property
    def reading(self) -> list[object]:
        """What a judgment depends on beside what the judge wrote."""
        return [self.config.pattern, *self.config.scale]

    def fill(self, prompt: str, response: str) -> str:
        """The judge's prompt."""
        return self.rubric.fill(prompt=prompt, response=response)

    def plan(self, responses: Iterable[tuple[str, Response]], model: Checkpoint, seed: int) -> list[Request]:
        """K requests for each (prompt text, response), next to each other.

        A response that is there twice is judged once, and one that is no answer not at all.
        """
        once = {response.id: (prompt, response) for prompt, response in responses if response.answered}
        return [
            Request.user_turn(response.id, sample, text, self.config.sampling, model, seed)
            for prompt, response in once.values()
            for text in (self.fill(prompt, response.text),)
            for sample in range(self.config.samples)
        ]

    def read(self, request: Request, completion: Completion) -> Judgment:
        """One opinion: a score on the scale, or the name of what is wrong with it."""
        return read_judgment(request, completion, self.parse)

    def parse(self, text: str) -> tuple[Outcome, float | None]:
        """The score in a judge's own turn, or the name of what is wrong with it."""
        return read_score(text, self._verdict, self.config.scale)

    def mean_scores(self, judgments: Iterable[Judgment]) -> dict[str, float]:
        """Mean score by response id, over its valid judgments."""
        return mean_scores(judgments, self.config.min_valid)


def read_judgment(request: Request, completion: Completion, parse: Callable[[str], tuple[Outcome, float | None]]) -> Judgment:
    """What a judge wrote about a response; `parse` finds the score in its own turn, or what is wrong with it."""
    own, failure = own_words(completion)
    outcome, score = (failure, None) if failure else parse(own)
    return Judgment(
        response_id=request.about,
        judge=request.model,
        sample=request.index,
        rationale=completion.text,
        outcome=outcome,
        score=score,
    )


def mean_scores(judgments: Iterable[Judgment], min_valid: int) -> dict[str, float]:
    """Mean score by response id, over its valid judgments; responses with fewer than `min_valid` are not in it.

    Summed exactly, so that the same scores in another order are equal and not a preference.
    """
    valid: dict[str, list[float]] = defaultdict(list)
    for judgment in judgments:
        if judgment.score is not None:
            valid[judgment.response_id].append(judgment.score)
    return {name: fsum(scores) / len(scores) for name, scores in valid.items() if len(scores) >= min_valid}
