"""Rows of other people's data: a request, and the answers to it.

One class a format. Each reads what it needs, leaves the rest of a row alone, and turns into an `Exchange`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from pydantic import AliasChoices, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from selfreward.errors import amount
from selfreward.records import Message as Said
from selfreward.steps.dialogues import Row, Text, Turn, Unused, as_asked, as_turns, conversation, whole_text
from selfreward.steps.exchanges import Answer, Exchange

LISTS = ("messages", "conversations", "conversation")
"""Names of a list of turns."""
NO_PROMPT = "no_prompt"
"""The type of pydantic's error where a preference has none."""


class Shape(Row):
    """A row of a format."""

    def exchange(self, language: str | None) -> Exchange:
        """The exchange in this row. Raises `Unused`."""
        raise NotImplementedError


class Message(Row):
    """A message of an Open Assistant tree, with the replies to it."""

    text: str
    lang: str | None = None
    review_result: bool | None = None
    deleted: bool | None = None
    rank: int | None = None
    replies: list[Message] | None = None

    @property
    def against(self) -> str:
        """Deleted, or not passed by reviewers."""
        return "deleted" if self.deleted else "" if self.review_result else "not_reviewed"


class Tree(Shape):
    """A tree of Open Assistant's export: a first prompt, the replies to it, the replies to those."""

    prompt: Message

    def exchange(self, language: str | None) -> Exchange:
        """The root and the direct replies to it."""
        if language and self.prompt.lang != language:
            raise Unused("language")
        if self.prompt.against:
            raise Unused(self.prompt.against)
        replies = self.prompt.replies or []
        if not self.prompt.text.strip():
            raise Unused("empty")
        return Exchange(self.prompt.text, [Answer(reply.text, reply.rank, reply.against) for reply in replies])


class Conversation(Shape):
    """Chat `messages`: the last answer, and everything before it. A list that ends with the user's turn is a prompt."""

    messages: list[Turn] = Field(validation_alias=AliasChoices(*LISTS))
    system: Text | None = None

    @model_validator(mode="before")
    @classmethod
    def _the_one_given(cls, value: Any) -> Any:
        """The list among several names; a name that is null in this row counts as missing."""
        has_turns = isinstance(value, dict) and any(value.get(name) is not None for name in LISTS)
        return {name: part for name, part in value.items() if name not in LISTS or part is not None} if has_turns else value

    def exchange(self, language: str | None) -> Exchange:
        """The last turn of the user and the answer to it."""
        turns = conversation(self.messages, self.system)
        answers = [Answer(turns[-1].content)] if turns[-1].role == "assistant" else []
        return _exchange(turns[: len(turns) - len(answers)], answers)


class Alpaca(Shape):
    """Alpaca's fields: the input, where there is one, stands below the instruction."""

    instruction: str
    input: str | None = None
    output: str | None
    system: Text | None = None

    def exchange(self, language: str | None) -> Exchange:
        """Instruction and input as one prompt."""
        parts = [part for part in (self.instruction, self.input) if part and part.strip()]
        turns = conversation([_user("\n\n".join(parts))], self.system)
        return _exchange(turns, [] if self.output is None else [Answer(self.output)])


class Asked(Shape):
    """A column with the prompt: a text, or the turns of a conversation up to the answers; and one with a system prompt."""

    prompt: list[Turn]
    system: Text | None = None

    @field_validator("prompt", mode="before")
    @classmethod
    def _text_alone(cls, value: Any) -> Any:
        return as_asked(value)

    def exchange(self, language: str | None) -> Exchange:
        """The prompt and its answers."""
        return _exchange(_prompt(self.prompt, self.system), self.answers())

    def answers(self) -> list[Answer]:
        """No answers: a prompt alone."""
        return []


class Answered(Asked):
    """A column with the prompt and one with its answer: a text, or the assistant's turn."""

    response: Text | None

    @field_validator("response", mode="before")
    @classmethod
    def _one_turn(cls, value: Any) -> Any:
        return _alone(value)

    def answers(self) -> list[Answer]:
        """The single answer."""
        return [] if self.response is None else [Answer(self.response)]


class Rated(Answered):
    """A column with the prompt, one with a response to it, and its rank or score; other rows have other responses."""

    rank: float | None = None
    """Lower is better."""
    score: float | None = None
    """Higher is better."""

    @field_validator("rank", "score", mode="before")
    @classmethod
    def _empty_cell(cls, value: Any) -> Any:
        """Read an empty cell of a CSV file as no number."""
        return None if isinstance(value, str) and not value.strip() else value

    def exchange(self, language: str | None) -> Exchange:
        """The prompt and this response."""
        return super().exchange(language)._replace(partial=True)

    def answers(self) -> list[Answer]:
        """The response, with its rank, or its score negated for one."""
        rank = self.rank if self.rank is not None or self.score is None else -self.score
        return [answer._replace(rank=rank) for answer in super().answers()]


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
            raise PydanticCustomError(NO_PROMPT, "prompt is missing, and chosen has no turns before its last to take it from")
        return self

    def exchange(self, language: str | None) -> Exchange:
        """The prompt, the chosen answer and the rejected one."""
        before = self._before()
        sides = [conversation([*before, *side[-1:]], self.system) for side in (self.chosen, self.rejected)]
        if any(len(side) < 2 or side[-1].role != "assistant" for side in sides):
            raise Unused("unanswered")
        return _exchange(sides[0][:-1], [Answer(side[-1].content, rank) for rank, side in enumerate(sides)])

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
        text = _alone(whole_text(value))
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


def _alone(value: Any) -> Any:
    """The content of the assistant's turn where a list has that alone; anything else as it is."""
    alone = value[0] if isinstance(value, list) and len(value) == 1 else value
    turn = Turn.model_validate(alone) if isinstance(alone, dict) and {"role", "from"} & alone.keys() else None
    return turn.content if turn and turn.role == "assistant" else value


def _said(turns: Sequence[Turn]) -> list[tuple[str, str]]:
    return [(turn.role, turn.content.strip()) for turn in turns]


def _user(text: str) -> Turn:
    return Turn.model_validate({"role": "user", "content": text})


def _prompt(turns: Sequence[Turn], system: str | None) -> tuple[Said, ...]:
    """The turns up to an answer. Raises `Unused` where one was given already."""
    messages = conversation(turns, system)
    if messages[-1].role == "assistant" and messages[-1].content.strip():
        raise Unused("ends_with_an_answer")
    return messages[:-1] if messages[-1].role == "assistant" else messages


def _exchange(turns: Sequence[Said], answers: Sequence[Answer]) -> Exchange:
    return Exchange(turns[-1].content, answers, tuple(turns[:-1]))
