"""Rows of other people's data: a request, and the answers to it.

One class a format. Each reads what it needs, leaves the rest of a row alone, and turns into an `Exchange`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from pydantic import AliasChoices, Field, field_validator, model_validator

from selfreward.records import Checks
from selfreward.records import Message as Said
from selfreward.steps.dialogues import (
    Row,
    Text,
    Turn,
    Unused,
    as_asked,
    as_dialogue,
    as_exchanged,
    as_listed,
    conversation,
    in_cell,
    whole_text,
)
from selfreward.steps.exchanges import Answer, Exchange

LISTS = ("messages", "conversations", "conversation", "contents", "dialogue", "dialog", "chat", "turns")
"""Names of a list of turns."""
SYSTEM = ("system", "system_prompt", "system_instruction", "systemInstruction")
"""Names of a system prompt beside them."""


INPUTS = ("input", "context")
"""Names of what stands below an instruction."""


class Shape(Row):
    """A row of a format."""

    @model_validator(mode="before")
    @classmethod
    def _without_null_names(cls, value: Any) -> Any:
        """Take a system prompt that is null for one that is missing, so that it may stand under another of its names."""
        nulls = {name for name in SYSTEM if value.get(name) is None} if isinstance(value, dict) else set()
        return {name: part for name, part in value.items() if name not in nulls} if nulls else value

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
    system: Text | None = Field(None, validation_alias=AliasChoices(*SYSTEM))

    @model_validator(mode="before")
    @classmethod
    def _the_one_given(cls, value: Any) -> Any:
        """The list among several names, a name that is null counting as missing; a row may be the list, and the list its JSON."""
        value = {LISTS[0]: value} if isinstance(value, list) else value
        has_turns = isinstance(value, dict) and any(value.get(name) is not None for name in LISTS)
        if not has_turns:
            return value
        row = {name: part for name, part in value.items() if name not in LISTS or part is not None}
        row |= {name: as_listed(part) for name, part in row.items() if name in LISTS and isinstance(part, str)}
        return row | {name: as_exchanged(row[name]) for name in ("conversations", "conversation") if name in row}

    def exchange(self, language: str | None) -> Exchange:
        """The last turn of the user and the answer to it."""
        turns = conversation(self.messages, self.system)
        if turns[-1].role == "assistant" and self.messages[-1].unlearnt:
            raise Unused("weight_zero")
        answers = [Answer(turns[-1].content)] if turns[-1].role == "assistant" else []
        exchange = as_exchange(turns[: len(turns) - len(answers)], answers)
        said = [turn for turn in self.messages if turn.role == "assistant"][
            : sum(turn.role == "assistant" for turn in exchange.context)
        ]
        return exchange._replace(untrained=tuple(number for number, turn in enumerate(said) if turn.unlearnt))


class Alpaca(Shape):
    """Alpaca's fields: the input, where there is one, stands below the instruction."""

    instruction: str
    input: str | None = Field(None, validation_alias=AliasChoices(*INPUTS))
    output: str | None = Field(None, validation_alias=AliasChoices("output", "response"))
    system: Text | None = Field(None, validation_alias=AliasChoices(*SYSTEM))
    history: list[tuple[str, str]] | None = None
    """(instruction, output) of earlier turns."""

    @field_validator("history", mode="before")
    @classmethod
    def _pairs_alone(cls, value: Any) -> Any:
        return value if isinstance(value, list) else None

    def exchange(self, language: str | None) -> Exchange:
        """Instruction and input as one prompt."""
        parts = [part for part in (self.instruction, self.input) if part and part.strip()]
        earlier = as_exchanged([text for pair in self.history or [] for text in pair])
        said = [*map(Turn.model_validate, earlier), _user("\n\n".join(parts))]
        turns = conversation(said, self.system)
        return as_exchange(turns, [] if self.output is None else [Answer(self.output)])


class Asked(Shape):
    """A column with the prompt: a text, or the turns of a conversation up to the answers; and one with a system prompt."""

    prompt: list[Turn]
    system: Text | None = Field(None, validation_alias=AliasChoices(*SYSTEM))

    @field_validator("prompt", mode="before")
    @classmethod
    def _text_alone(cls, value: Any) -> Any:
        return as_asked(as_dialogue(whole_text(value)))

    def exchange(self, language: str | None) -> Exchange:
        """The prompt and its answers."""
        return as_exchange(_prompt(self.prompt, self.system), self.answers())

    def answers(self) -> list[Answer]:
        """No answers: a prompt alone."""
        return []


class Answered(Asked):
    """A column with the prompt and one with its answer: a text, or the assistant's turn."""

    response: Text | None

    @field_validator("response", mode="before")
    @classmethod
    def _one_turn(cls, value: Any) -> Any:
        return assistants_alone(value)

    def answers(self) -> list[Answer]:
        """The single answer."""
        return [] if self.response is None else [Answer(self.response)]


class Carrying(Row):
    """A row that may carry checks: in our own form, or as IFEval's file has them, a list of kinds and one of their arguments.

    Either may be a text in a cell of a table.
    """

    checks: Checks = ()

    @model_validator(mode="before")
    @classmethod
    def _as_published(cls, value: Any) -> Any:
        row = value if isinstance(value, dict) else {}
        checks, kinds, arguments = (in_cell(row.get(name)) for name in ("checks", "instruction_id_list", "kwargs"))
        if checks or kinds is None:
            return {"checks": checks}
        arguments = [] if arguments is None else arguments
        if not isinstance(kinds, list) or not isinstance(arguments, list):
            raise ValueError("instruction_id_list and kwargs are no lists, one of kinds and one of their arguments")
        return {"checks": [{"id": kind, "kwargs": in_cell(given)} for kind, given in zip_longest(kinds, arguments)]}


def assistants_alone(value: Any) -> Any:
    """The content of the assistant's turn where a list has that alone; anything else as it is."""
    alone = value[0] if isinstance(value, list) and len(value) == 1 else value
    turn = Turn.model_validate(alone) if isinstance(alone, dict) and {"role", "from"} & alone.keys() else None
    return turn.content if turn and turn.role == "assistant" else value


def _user(text: str) -> Turn:
    return Turn.model_validate({"role": "user", "content": text})


def _prompt(turns: Sequence[Turn], system: str | None) -> tuple[Said, ...]:
    """The turns up to an answer. Raises `Unused` where one was given already."""
    messages = conversation(turns, system)
    if messages[-1].role == "assistant" and messages[-1].content.strip():
        raise Unused("ends_with_an_answer")
    return messages[:-1] if messages[-1].role == "assistant" else messages


def as_exchange(turns: Sequence[Said], answers: Sequence[Answer]) -> Exchange:
    """Turns of which the user's is the last, and the answers to it."""
    return Exchange(turns[-1].content, answers, tuple(turns[:-1]))
