"""K judgments of each response: LLM-as-a-Judge (paper, section 2.2, step 3, and figure 2)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import partial

from selfreward.parsing import expected_score, read_score
from selfreward.recipe import JudgeConfig
from selfreward.records import Checkpoint, Completion, Judgment, Outcome, Request, Response, Watched
from selfreward.rubrics import Rubric, own_words
from selfreward.stats import mean_scores


class Judge:
    """A rubric, a scale and a parser."""

    def __init__(self, config: JudgeConfig) -> None:
        self.config = config
        self.rubric = Rubric(config.rubric, ("prompt", "response"), "judge.rubric")
        self._verdict = re.compile(config.pattern, re.IGNORECASE)
        low, high = map(int, config.scale)
        self._watch = tuple(map(str, range(low, high + 1))) if config.read == "expected" else ()

    @property
    def reading(self) -> list[object]:
        """What a judgment depends on beside what the judge wrote."""
        return [self.config.pattern, *self.config.scale, self.config.read]

    def fill(self, prompt: str, response: str) -> str:
        """The judge's prompt."""
        return self.rubric.fill(prompt=prompt, response=response)

    def plan(
        self, responses: Iterable[tuple[str, Response]], model: Checkpoint, seed: int, samples: Iterable[int] | None = None
    ) -> list[Request]:
        """K requests for each (prompt text, response), next to each other; of those K, only `samples` where they are given.

        A response that is there twice is judged once, and one that is no answer not at all.
        """
        numbers = range(self.config.most) if samples is None else tuple(samples)
        once = {response.id: (prompt, response) for prompt, response in responses if response.answered}
        return [
            Request.user_turn(response.id, sample, text, self.config.sampling, model, seed, self._watch)
            for prompt, response in once.values()
            for text in (self.fill(prompt, response.text),)
            for sample in numbers
        ]

    def read(self, request: Request, completion: Completion) -> Judgment:
        """One opinion: a score on the scale, or the name of what is wrong with it."""
        return read_judgment(request, completion, partial(self.parse, watched=completion.watched))

    def parse(self, text: str, watched: Iterable[Watched] = ()) -> tuple[Outcome, float | None]:
        """The score in a judge's own turn, or the name of what is wrong with it; `watched` is what an expected score goes by."""
        sampled = read_score(text, self._verdict, self.config.scale)
        if sampled[0] != "scored" or self.config.read == "sampled":
            return sampled
        return expected_score(text, self._verdict, watched)

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
