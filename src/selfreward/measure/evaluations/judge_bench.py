"""JudgeBench: two answers of one model, of which an objective truth says which is right (Tan et al. 2024, arXiv 2410.12784).

The model under evaluation is the judge. It sees each pair in both orders; the published score counts a pair as right where more
of the two verdicts name the right answer than the wrong one. The user gives the published file.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Literal, NamedTuple

from pydantic import AliasChoices, Field

from selfreward.measure.evaluations.base import Settings, Trial, counted, given
from selfreward.measure.evaluations.published import Row, read_rows
from selfreward.recipe import Located, PairwiseConfig
from selfreward.records import Figure, Findings, Preference, Prompt, Response, Side, content_id, digest
from selfreward.rundir import Part
from selfreward.steps import PairwiseJudge

PREFERENCES = Part("preferences", "asks", Preference)
RIGHT: dict[str, Side] = {"A>B": "a", "B>A": "b"}


class Pair(Row):
    """A pair of the published file."""

    source: str
    """The benchmark that the question comes from: mmlu-pro-law, livebench-math, …"""
    question: str
    first: str = Field(validation_alias=AliasChoices("response_A", "first"))
    second: str = Field(validation_alias=AliasChoices("response_B", "second"))
    label: Literal["A>B", "B>A"]

    @property
    def group(self) -> str:
        """The published groups of sources: knowledge, reasoning, math, coding; a source of another kind is its own."""
        named = {"mmlu-pro": "knowledge", "livebench-reasoning": "reasoning", "livebench-math": "math", "livecodebench": "coding"}
        return next((group for start, group in named.items() if self.source.startswith(start)), self.source)


class Tried(NamedTuple):
    """One pair and its verdicts in both orders, as sides; `none` where the judge gave none."""

    pair: Pair
    sides: Sequence[Side]

    @property
    def both(self) -> bool:
        """True if both verdicts name the right answer."""
        return all(side == RIGHT[self.pair.label] for side in self.sides)

    @property
    def most(self) -> bool:
        """True if more of them name the right answer than the wrong one, as published: right and tie is right."""
        right = RIGHT[self.pair.label]
        return sum((side == right) - (side == ("b" if right == "a" else "a")) for side in self.sides) > 0

    @property
    def turned(self) -> float | None:
        """True if the verdict changed with the order; None where one of the two is missing."""
        return None if "none" in self.sides else float(len({*self.sides}) > 1)

    @property
    def longer(self) -> bool:
        """True if the right answer is the longer one, in characters."""
        right, wrong = (self.pair.first, self.pair.second)[:: 1 if self.pair.label == "A>B" else -1]
        return len(right) > len(wrong)


class JudgeBench(Settings):
    """JudgeBench, with the model itself as the judge."""

    data: Located
    """The published pairs."""
    pairwise: PairwiseConfig = PairwiseConfig()
    """The model's rubric and sampling as a judge of two answers."""

    @cached_property
    def pairs(self) -> list[Pair]:
        """The pairs, in order."""
        return read_rows(self.data, Pair)

    @cached_property
    def judge(self) -> PairwiseJudge:
        """The rubric and its parser."""
        return PairwiseJudge(self.pairwise)

    def load(self) -> object:
        """Read pairs and rubric."""
        return self.pairs, self.judge

    def find(self, trial: Trial) -> Findings:
        """The model compares both answers of every pair, in both orders."""
        items = [_item(number, pair) for number, pair in enumerate(self.pairs)]
        preferences = list(trial.at.ask(PREFERENCES, self.judge, items, trial.model))
        tried = _beside(self.pairs, preferences)
        groups: dict[str, list[Tried]] = defaultdict(list)
        for each in tried:
            groups[each.pair.group].append(each)
        return Findings(
            prompts_digest=digest(prompt for prompt, _, _ in items),
            rubric_digest=content_id(self.judge.rubric.text),
            figures=self._figures(tried),
            outcomes=counted((preference.outcome for preference in preferences), 0),
            note="As published, a pair is right where more of its two verdicts name the right answer than the wrong one; a "
            "missing verdict names neither. Comparable with published figures as a judge with its rubric.",
            breakdown={
                "group": [
                    share for name, part in sorted(groups.items()) for share in self.share(name, [tried.most for tried in part])
                ]
            },
            broken_down=AS_PUBLISHED,
        )

    def _figures(self, tried: Sequence[Tried]) -> list[Figure]:
        return [
            *self.share(AS_PUBLISHED, [pair.most for pair in tried]),
            *self.share("right in both orders %", [pair.both for pair in tried]),
            *self.share("verdicts that change with the order %", [pair.turned for pair in tried if pair.turned is not None]),
            *self.share("accuracy of length alone %", [pair.longer for pair in tried]),
        ]


AS_PUBLISHED = "accuracy, as published %"


def _item(number: int, pair: Pair) -> tuple[Prompt, Response, Response]:
    """A pair as a judge is asked of it."""
    prompt = Prompt(text=pair.question, source="seed")
    a, b = given(number, prompt, (pair.first, pair.second))
    return prompt, a, b


def _beside(pairs: Sequence[Pair], preferences: Iterable[Preference]) -> list[Tried]:
    """Each pair with its verdicts; preferences come two for a pair, in the order of the pairs."""
    sides = [preference.side for preference in preferences]
    return [Tried(pair, sides[2 * at : 2 * at + 2]) for at, pair in enumerate(pairs)]
