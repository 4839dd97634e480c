"""What a model is asked: an instruction alone, or the turns of a conversation of which it is to answer the last."""

from __future__ import annotations

from itertools import cycle
from typing import ClassVar, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from selfreward.records.base import Identified
from selfreward.records.requests import Message

Asked = str | tuple[Message, ...]
"""An instruction alone, or a conversation up to and with the user's turn that is answered."""


class Conversed(Identified):
    """A record about a user's turn, which may be the last of a conversation."""

    last: ClassVar[str] = "prompt"
    """The field with that turn."""
    context: tuple[Message, ...] = Field((), exclude_if=lambda context: not context)
    """The turns before it: a system turn or none, then exchanges; left out of a line where there are none."""

    @property
    def asked(self) -> Asked:
        """The user's turn after the turns before it; its text alone where there are none."""
        text: str = getattr(self, self.last)
        return (*self.context, Message(role="user", content=text)) if self.context else text

    @property
    def stands_alone(self) -> bool:
        """Whether nobody has spoken before it; a system turn may have been given."""
        return all(turn.role == "system" for turn in self.context)

    @property
    def added_identity(self) -> list[object]:
        """The turns before, where there are any."""
        return [self.context] if self.context else []

    @model_validator(mode="after")
    def _in_turn(self) -> Self:
        spoken = self.context[bool(self.context) and self.context[0].role == "system" :]
        if len(spoken) % 2 or any(turn.role != role for turn, role in zip(spoken, cycle(("user", "assistant")), strict=False)):
            raise ValueError("context must be exchanges of user and assistant, after a system turn or none")
        return self


def turns_of(asked: Asked) -> tuple[Message, ...]:
    """The turns of what is asked."""
    return (Message(role="user", content=asked),) if isinstance(asked, str) else asked


def last_turn(asked: Asked) -> tuple[tuple[Message, ...], str]:
    """The turns before the last, and the text of that."""
    *context, last = turns_of(asked)
    return tuple(context), last.content


def quoted(asked: Asked) -> str:
    """What is asked as a text to read: an instruction as it is, a conversation turn by turn.

    Each turn is headed by its number and role, and each line of its content begins with `> `, so that no content can pose as
    another turn.
    """
    if isinstance(asked, str):
        return asked
    return "\n".join(line for number, turn in enumerate(asked, start=1) for line in _quoted(number, turn))


def _quoted(number: int, turn: Message) -> list[str]:
    return [f"({number}) {turn.role.capitalize()}:", *(f"> {line}".rstrip() for line in turn.content.splitlines() or [""])]


class Frame(NamedTuple):
    """A system prompt that a recipe adds to everything that it asks, and how system turns are given."""

    system: str = ""
    """Of a prompt that has a system turn of its own, that one stands alone."""
    role: Literal["system", "user"] = "system"
    """`user`: the text of the system turn stands before the first user turn, two line ends between them."""

    def __call__(self, asked: Asked) -> Asked:
        """`asked` as a model is given it."""
        turns = turns_of(asked)
        if self.system.strip() and turns[0].role != "system":
            turns = (Message(role="system", content=self.system), *turns)
        if self.role == "user" and turns[0].role == "system":
            first = turns[1].model_copy(update={"content": f"{turns[0].content}\n\n{turns[1].content}"})
            turns = (first, *turns[2:])
        return turns[0].content if len(turns) == 1 else turns


NO_FRAME = Frame()
