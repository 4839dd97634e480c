"""Rows of other people's data that set answers against each other, in a row each or in a row an answer."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Annotated, Any, Self

from pydantic import AliasChoices, BeforeValidator, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError, from_json

from selfreward.errors import amount
from selfreward.steps.dialogues import Row, Text, Turn, Unused, as_asked, as_turns, conversation, whole_text
from selfreward.steps.exchanges import Answer, Exchange
from selfreward.steps.formats import LISTS, SYSTEM, Answered, Asked, Conversation, Shape, as_exchange, assistants_alone

ABSENT = "absent"
"""The type of pydantic's error where a row has no prompt, or no rank."""
SCORES = ("score_{}", "{}_score", "{}_rating")
"""Names of the scores of the chosen and the rejected answer."""


def _filled(value: Any) -> Any:
    """None for an empty cell of a table; anything else as it is."""
    return None if isinstance(value, str) and not value.strip() else value


def _points(value: Any) -> float | None:
    """The number that a cell holds; None where it holds anything else, for nothing promises that scores stand there."""
    try:
        points = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return points if isfinite(points) else None


Number = Annotated[float | None, BeforeValidator(_filled)]
Points = Annotated[float | None, BeforeValidator(_points)]


class Rating(Row):
    """The rank or score of a row's only response; other rows have other responses to its prompt."""

    rank: Number = None
    """Lower is better."""
    score: Number = None
    """Higher is better."""

    @model_validator(mode="after")
    def _has_a_rating(self) -> Self:
        if not {"rank", "score"} & self.model_fields_set:
            raise PydanticCustomError(ABSENT, "rank and score are missing, and a ranking needs one of them")
        return self

    def rated(self, exchange: Exchange) -> Exchange:
        """An exchange, its response with its rank, or its score negated for one."""
        rank = self.rank if self.rank is not None or self.score is None else -self.score
        return exchange._replace(answers=[answer._replace(rank=rank) for answer in exchange.answers], partial=True)


class Rated(Answered, Rating):
    """A column with the prompt, one with a response to it, and its rank or score."""

    def exchange(self, language: str | None) -> Exchange:
        """The prompt and this response."""
        return self.rated(super().exchange(language))


class RatedConversation(Conversation, Rating):
    """Chat `messages`, and the rank or score of the last answer."""

    def exchange(self, language: str | None) -> Exchange:
        """The conversation up to its last answer, and that answer with its rating."""
        return self.rated(super().exchange(language))


class Preferred(Shape):
    """Columns `chosen` and `rejected`, with the prompt in a column of its own or as the turns that both begin with."""

    prompt: list[Turn] | None = None
    system: Text | None = Field(None, validation_alias=AliasChoices(*SYSTEM))
    chosen: list[Turn]
    rejected: list[Turn]
    chosen_score: Points = Field(None, validation_alias=AliasChoices(*(name.format("chosen") for name in SCORES)))
    rejected_score: Points = Field(None, validation_alias=AliasChoices(*(name.format("rejected") for name in SCORES)))

    status: Any = None
    """`tie` where an annotator preferred neither (Argilla's Orca pairs)."""

    @model_validator(mode="before")
    @classmethod
    def _turns_before(cls, value: Any) -> Any:
        """Take the prompt from a list of turns beside two answers that have none before them."""
        if not isinstance(value, dict) or value.get("prompt") is not None:
            return value
        chosen = value.get("chosen")
        alone = not (isinstance(chosen, list) and len(chosen) > 1)
        return value | {"prompt": next((value[name] for name in LISTS if alone and isinstance(value.get(name), list)), None)}

    @field_validator("prompt", mode="before")
    @classmethod
    def _asked(cls, value: Any) -> Any:
        return as_turns(value) if isinstance(value, str) else as_asked(value)

    @field_validator("chosen", "rejected", mode="before")
    @classmethod
    def _answer_alone(cls, value: Any) -> Any:
        value = "" if value is None else whole_text(value)
        turns = as_turns(value)
        whole = not isinstance(value, str) or len(turns) > 1
        turns = turns if whole else [{"role": "assistant", "content": value}]
        return [turns] if isinstance(turns, dict) else turns

    @model_validator(mode="after")
    def _has_a_prompt(self) -> Self:
        if self.prompt is None and len(self.chosen) < 2:
            raise PydanticCustomError(ABSENT, "prompt is missing, and chosen has no turns before its last to take it from")
        return self

    def exchange(self, language: str | None) -> Exchange:
        """The prompt, the chosen answer and the rejected one."""
        before = self._before()
        sides = [conversation([*before, *side[-1:]], self.system) for side in (self.chosen, self.rejected)]
        if any(len(side) < 2 or side[-1].role != "assistant" for side in sides):
            raise Unused("unanswered")
        ranks = (0, 0) if self._margin() == 0 else (0, 1)
        return as_exchange(sides[0][:-1], [Answer(side[-1].content, rank) for rank, side in zip(ranks, sides, strict=True)])

    def _margin(self) -> float | None:
        """Points of the chosen answer above the rejected one; None where nobody gave any. Raises `Unused` where it is below."""
        if self.status == "tie":
            return 0
        if self.chosen_score is None or self.rejected_score is None:
            return None
        if self.chosen_score < self.rejected_score:
            raise Unused("scores_disagree")
        return self.chosen_score - self.rejected_score

    def _before(self) -> list[Turn]:
        """The turns before both answers. Raises `Unused` where they are not the same, or others than the prompt's."""
        before = self.chosen[:-1]
        if _said(before) != _said(self.rejected[:-1]):
            raise Unused("prompts_differ")
        prompt = [turn for turn in self.prompt or [] if not (turn.silent and turn.role == "assistant")]
        if not before or before[0].role == "assistant":
            return [*prompt, *before]
        if prompt and _said(prompt)[-1] not in _said(before):
            raise Unused("prompts_differ")
        more = len(prompt) > len(before) and _said(prompt)[-len(before) :] == _said(before)
        return prompt if more else before


class Scored(Row):
    """One of several responses, with people's rank or score."""

    text: Text = Field(validation_alias=AliasChoices("text", "content", "value", "response"))
    rank: Number = None
    score: Number = None

    @model_validator(mode="before")
    @classmethod
    def _text_alone(cls, value: Any) -> Any:
        text = "" if value is None else assistants_alone(whole_text(value))
        return {"text": text} if isinstance(text, str) else text


class Ranked(Asked):
    """A column with the prompt, one with several responses, and ranks or scores in them or in a column beside them."""

    responses: list[Scored]
    ranks: list[Number] | None = None
    """Lower is better."""
    scores: list[Number] | None = None
    """Higher is better."""

    @field_validator("responses", "ranks", "scores", mode="before")
    @classmethod
    def _in_a_cell(cls, value: Any) -> Any:
        """Read a list that stands in a cell of a table as JSON."""
        try:
            return from_json(value) if isinstance(value, str) and value.lstrip().startswith("[") else _filled(value)
        except ValueError:
            return value

    @model_validator(mode="after")
    def _same_length(self) -> Self:
        for name, beside in (("ranks", self.ranks), ("scores", self.scores)):
            if beside is not None and len(beside) != len(self.responses):
                raise ValueError(f"{amount(len(self.responses), 'response')} but {len(beside)} {name}")
        return self

    def answers(self) -> list[Answer]:
        """The responses, ranked by the first field that is there: `ranks`, `scores`, a rank in each, a score in each."""
        inside = self.responses
        columns = (
            self.ranks,
            _negated(self.scores),
            [answer.rank for answer in inside],
            _negated([answer.score for answer in inside]),
        )
        nobody: list[float | None] = [None] * len(inside)
        values = next((column for column in columns if column and column != nobody), nobody)
        return [Answer(answer.text, rank) for answer, rank in zip(inside, _dense(values), strict=True)]


def _negated(scores: Sequence[float | None] | None) -> list[float | None]:
    return [None if score is None else -score for score in scores or []]


def _dense(values: Sequence[float | None]) -> list[int | None]:
    """Ranks without gaps: 0 for the lowest of `values`, equal for equal ones, None for None."""
    distinct = sorted({value for value in values if value is not None})
    return [None if value is None else distinct.index(value) for value in values]


def _said(turns: Sequence[Turn]) -> list[tuple[str, str]]:
    return [(turn.role, turn.content.strip()) for turn in turns]
