"""K judgments of each response: LLM-as-a-Judge (paper, section 2.2, step 3, and figure 2), in one round or in several."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from selfreward.engines import thought_of, without_thought
from selfreward.recipe import JudgeConfig
from selfreward.records import (
    Asked,
    Checkpoint,
    Completion,
    Judgment,
    Outcome,
    Records,
    Request,
    Response,
    Scored,
    Watched,
    turns_of,
)
from selfreward.rundir import JUDGMENTS, ModelFolder
from selfreward.stats import mean_scores
from selfreward.steps.json_verdicts import json_verdict, read_json, schema
from selfreward.steps.parsing import NO_VERDICT, OF_UNITS, compiled, expected_score, read_score
from selfreward.steps.rubrics import Rubric, own_words
from selfreward.steps.turns import own_turn
from selfreward.steps.witnesses import refuse_unreadable

REST = re.compile(r"[^\n]*?(?=[.!?;。！？](?:\s|\Z)|\n|\Z)")
"""The rest of the sentence behind a score."""
TERMS = re.compile(r"(?:\s*\n\s*[+＋=＝][^\n]*)*+")
"""The rest of a sum over several lines."""
TELLS = re.compile(
    r"[\d%％¼-¾]|\b(?:zero|two|three|four|five|six|seven|eight|nine|ten)\b|[(（](?:one|[零一二三四五六七八九十])[)）]",
    re.IGNORECASE,
)
"""A number behind a score, which may say it once more: terms of a sum, a share, the best possible score."""
ESCAPED = re.compile(r"\\u00([46][1-9a-f]|[57][0-9a])", re.IGNORECASE)
"""A letter as JSON may write it."""
AFTER_KEY = re.compile(r"\s*(?:\"(?:[^\"\\]|\\.)*+\"|'(?:[^'\\]|\\.)*+'|[^,}\n]*)\s*,?")
"""The text behind the key of the score in an object: its value."""


class Grader:
    """A rubric, a scale and a parser: they make a judge's prompt of a response, and a judgment of its answer."""

    def __init__(self, config: JudgeConfig, samples: Iterable[int] | None = None) -> None:
        """Judge each response `config.most` times, or only as the numbers `samples` of these judgments."""
        self.config, self.samples = config, range(config.most) if samples is None else tuple(samples)
        self.rubric = Rubric(config.rubric, ("prompt", "response"), "judge.rubric")
        self._verdict = compiled(config.pattern) if config.form == "text" else json_verdict(config.field)
        if config.form == "text":
            refuse_unreadable(self._verdict, config.caught, lambda text: self.parse(text)[0] != "unparsed", "judge.pattern")
        self._schema = schema(config.field, config.scale) if config.form == "json" else None
        low, high = map(int, config.scale)
        self._watch = tuple(map(str, range(low, high + 1))) if config.read == "expected" else ()

    @property
    def reading(self) -> list[object]:
        """Everything beside the judge's text that a judgment depends on."""
        json = ["json", self.config.field] if self.config.form == "json" else []
        return [self.config.pattern, *self.config.scale, self.config.read, *json]

    def fill(self, prompt: Asked, response: str) -> str:
        """The judge's prompt."""
        return self.rubric.fill(prompt=prompt, response=response)

    def plan(self, items: Iterable[tuple[Asked, Response]], model: Checkpoint, seed: int) -> list[Request]:
        """K requests for each (prompt, response), next to each other.

        A response that is there twice is judged once, and one that is no answer not at all.
        """
        once = {response.id: (prompt, response) for prompt, response in items if response.answered}
        return [
            Request.asking(
                response.id, sample, turns, self.config.sampling, model, seed, watch=self._watch, json_schema=self._schema
            )
            for prompt, response in once.values()
            for turns in (turns_of(self.config.frame(self.fill(prompt, response.text))),)
            for sample in self.samples
        ]

    def read(self, request: Request, completion: Completion) -> Judgment:
        """One opinion: a score on the scale, or the name of the failure."""
        return read_judgment(request, completion, self.parse, self._verdict)

    def parse(self, text: str, watched: Iterable[Watched] = ()) -> tuple[Outcome, float | None]:
        """The score in a judge's own turn, or the name of the failure; an expected score is computed from `watched`."""
        if self.config.form == "json":
            return read_json(text, self.config.field, self.config.scale)
        sampled = read_score(text, self._verdict, self.config.scale)
        if sampled[0] != "scored" or self.config.read == "sampled":
            return sampled
        return expected_score(text, self._verdict, watched)

    def without_score(self, text: str) -> str:
        """A judge's words without their verdicts, nor what says these once more in the same sentence."""
        json = self.config.form == "json"
        text = ESCAPED.sub(lambda letter: chr(int(letter[1], 16)), text) if json else text
        words, at = "", 0
        for verdict in self._verdict.finditer(text):
            words, at = words + text[at : max(at, verdict.start())], max(at, _behind(text, verdict.end(), json))
        return (words + text[at:]).strip()

    def own_turn(self, text: str) -> str:
        """The part of a judge's text that counts."""
        return own_turn(text, self._verdict)

    def mean_scores(self, judgments: Iterable[Scored]) -> dict[str, float]:
        """Mean score by response id, over its valid judgments."""
        return mean_scores(judgments, self.config.min_valid)


def _behind(text: str, at: int, json: bool) -> int:
    """The place behind all that belongs to a score, or to the key of one, that ends in `at`."""
    if json:
        return _end(AFTER_KEY, text, at)
    end = _end(TERMS, text, _end(REST, text, at))
    return end if TELLS.search(text, at, end) else _end(OF_UNITS, text, at)


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match else at


def read_judgment(
    request: Request,
    completion: Completion,
    parse: Callable[[str, list[Watched]], tuple[Outcome, float | None]],
    verdict: re.Pattern[str] = NO_VERDICT,
) -> Judgment:
    """A judge's text about a response as a judgment; `parse` finds the score in its own turn, or names what is wrong with it.

    `verdict` helps to find the own turn; the places that `parse` is given are places in it.
    """
    completion = without_thought(completion, request)
    own, start, failure = own_words(completion, verdict)
    watched = [place.model_copy(update={"at": place.at - start}) for place in completion.watched]
    outcome, score = (failure, None) if failure else parse(own, watched)
    return Judgment(
        response_id=request.about,
        judge=request.model,
        sample=request.index,
        rationale=completion.text,
        thought=thought_of(request, completion),
        outcome=outcome,
        score=score,
    )


NEAR = 0.5
"""Points from the best (or worst) mean within which another candidate may still be best (or worst); single scores only if equal.
"""


def ask_candidates(
    it: ModelFolder, candidates: Sequence[tuple[Asked, Response]], grader: Grader, by: Checkpoint
) -> Records[Judgment]:
    """All judgments of `candidates`, (prompt, response) each, that the model `by` writes.

    With an adaptive judge round n is a stage of its own, in which every candidate that is then undecided has sample n of the K
    that it would have had otherwise, from the same seed: the samples drawn are among those that K for everyone would have drawn.
    """
    if grader.config.samples != "adaptive":
        return it.ask(JUDGMENTS, grader, candidates, by)
    responses = [response for _, response in candidates]
    open_ids, judgments = {response.id for response in responses}, Records([], Judgment, 0)
    for number, stage in enumerate(grader.config.rounds):
        items = [item for item in candidates if item[1].id in open_ids]
        judgments += it.ask(JUDGMENTS.named(stage), Grader(grader.config, [number]), items, by)
        open_ids = undecided(responses, grader.mean_scores(judgments))
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
    """Ids of one prompt's answers that may be its best, where several may, and of those that may be its worst."""
    lowest_first = sorted((response for response in group if response.id in scores), key=lambda answer: scores[answer.id])
    highest_first = [response for response in reversed(lowest_first) if response.finish == "stop"]
    rivals: set[str] = set()
    for order in (highest_first, lowest_first):
        near = [answer for answer in order if abs(scores[answer.id] - scores[order[0].id]) <= NEAR]
        if len({answer.text for answer in near}) > 1:
            rivals |= {answer.id for answer in near}
    return rivals
