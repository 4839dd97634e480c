"""K judgments of each response: LLM-as-a-Judge (paper, section 2.2, step 3, and figure 2)."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable, Iterator
from math import fsum

from selfreward.iteration import JudgeConfig
from selfreward.json_verdicts import json_verdict, read_json, schema
from selfreward.parsing import NO_VERDICT, expected_score, own_turn, read_score
from selfreward.records import Checkpoint, Completion, Judgment, Outcome, Request, Response, Watched
from selfreward.rubrics import Rubric, own_words


class Judge:
    """A rubric, a scale and a parser."""

    def __init__(self, config: JudgeConfig) -> None:
        self.config = config
        self.rubric = Rubric(config.rubric, ("prompt", "response"), "judge.rubric")
        self._verdict = re.compile(config.pattern, re.IGNORECASE) if config.form == "text" else json_verdict(config.field)
        self._schema = schema(config.field, config.scale) if config.form == "json" else None
        low, high = map(int, config.scale)
        self._watch = tuple(map(str, range(low, high + 1))) if config.read == "expected" else ()

    @property
    def reading(self) -> list[object]:
        """What a judgment depends on beside what the judge wrote."""
        json = ["json", self.config.field] if self.config.form == "json" else []
        return [self.config.pattern, *self.config.scale, self.config.read, *json]

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
            Request.user_turn(response.id, sample, text, self.config.sampling, model, seed, self._watch, self._schema)
            for prompt, response in once.values()
            for text in (self.fill(prompt, response.text),)
            for sample in numbers
        ]

    def read(self, request: Request, completion: Completion) -> Judgment:
        """One opinion: a score on the scale, or the name of what is wrong with it."""
        return read_judgment(request, completion, self.parse, self._verdict)

    def parse(self, text: str, watched: Iterable[Watched] = ()) -> tuple[Outcome, float | None]:
        """The score in a judge's own turn, or the name of what is wrong with it; `watched` is what an expected score goes by."""
        if self.config.form == "json":
            return read_json(text, self.config.field, self.config.scale)
        sampled = read_score(text, self._verdict, self.config.scale)
        if sampled[0] != "scored" or self.config.read == "sampled":
            return sampled
        return expected_score(text, self._verdict, watched)

    def own_turn(self, text: str) -> str:
        """What of a judge's text counts."""
        return own_turn(text, self._verdict)

    def mean_scores(self, judgments: Iterable[Judgment]) -> dict[str, float]:
        """Mean score by response id, over its valid judgments."""
        return mean_scores(judgments, self.config.min_valid)


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


def read_judgment(
    request: Request,
    completion: Completion,
    parse: Callable[[str, list[Watched]], tuple[Outcome, float | None]],
    verdict: re.Pattern[str] = NO_VERDICT,
) -> Judgment:
    """What a judge wrote about a response; `parse` finds the score in its own turn, or what is wrong with it.

    `verdict` is what the own turn is found by; the places that `parse` is given are places in it.
    """
    own, start, failure = own_words(completion, verdict)
    watched = [place.model_copy(update={"at": place.at - start}) for place in completion.watched]
    outcome, score = (failure, None) if failure else parse(own, watched)
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
