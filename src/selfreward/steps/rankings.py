"""Rows of other people's data that set answers against each other, in a row each or in a row an answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from pydantic import AliasChoices, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from selfreward.errors import amount
from selfreward.steps.dialogues import Row, Text, Turn, Unused, as_asked, as_turns, conversation, whole_text
from selfreward.steps.exchanges import Answer, Exchange
from selfreward.steps.formats import Answered, Asked, Conversation, Shape, as_exchange, assistants_alone

ABSENT = "absent"
"""The type of pydantic's error where a row has no prompt, or no rank."""


class Rating(Row):
    """The rank or score of a row's only response; other rows have other responses to its prompt."""

    rank: float | None = None
    """Lower is better."""
    score: float | None = None
    """Higher is better."""

    @field_validator("rank", "score", mode="before")
    @classmethod
    def _empty_cell(cls, value: Any) -> Any:
        """Read an empty cell of a CSV file as no number."""
        return None if isinstance(value, str) and not value.strip() else value

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

    @model_validator(mode="after")
    def _has_a_rating(self) -> Self:
        if not {"rank", "score"} & self.model_fields_set:
            raise PydanticCustomError(ABSENT, "rank and score are missing, and a ranking needs one of them")
        return self

    def exchange(self, language: str | None) -> Exchange:
        """The conversation up to its last answer, and that answer with its rating."""
        return self.rated(super().exchange(language))


class Preferred(Shape):
    """Columns `chosen` and `rejected`, with the prompt in a column of its own or as the turns that both begin with."""

    prompt: list[Turn] | None = None
    system: Text | None = None
    chosen: list[Turn]
    rejected: list[Turn]

    @field_validator("prompt", mode="before")
    @classmethod
    def _asked(cls, value: Any) -> Any:
        return as_turns(value) if isinstance(value, str) else as_asked(value)

    @field_validator("chosen", "rejected", mode="before")
    @classmethod
    def _answer_alone(cls, value: Any) -> Any:
        value = whole_text(value)
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
        return as_exchange(sides[0][:-1], [Answer(side[-1].content, rank) for rank, side in enumerate(sides)])

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
    rank: float | None = None
    score: float | None = None

    @model_validator(mode="before")
    @classmethod
    def _text_alone(cls, value: Any) -> Any:
        text = assistants_alone(whole_text(value))
        return {"text": text} if isinstance(text, str) else text


class Ranked(Asked):
    """A column with the prompt, one with several responses, and ranks or scores in them or in a column beside them."""

    responses: list[Scored]
    ranks: list[float | None] | None = None
    """Lower is better."""
    scores: list[float | None] | None = None
    """Higher is better."""

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
