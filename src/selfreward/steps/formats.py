"""Rows of other people's data: somebody's first turn, and the answers to it.

One class a format. Each reads what it needs, leaves the rest of a row alone, and turns into an `Exchange`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, field_validator, model_validator

USER = {"user", "human", "prompter"}
ASSISTANT = {"assistant", "gpt", "model", "bot"}


class Unused(Exception):
    """A row that fits its format and is not wanted; its text is the reason."""


class Answer(NamedTuple):
    """One answer: its rank among the others, 0 the best, None where nobody ranked it; and what is against it, if anything."""

    text: str
    rank: int | None = 0
    against: str = ""

    @property
    def unfit(self) -> str:
        """Why it is not to be used; empty where it is."""
        return self.against or ("" if self.text.strip() else "empty")


class Exchange(NamedTuple):
    """A first turn and its answers."""

    prompt: str
    answers: Sequence[Answer]

    def best(self) -> str:
        """The answer of rank 0, the first where several share it. Raises `Unused` where there is none to use."""
        if not self.answers:
            raise Unused("unanswered")
        best = next((answer for answer in self.answers if answer.rank == 0), None)
        if best is None:
            raise Unused("unranked")
        if best.unfit:
            raise Unused(best.unfit)
        return best.text

    def ranked(self) -> tuple[list[tuple[str, int]], list[str]]:
        """(text, rank) of two answers or more, and the reasons for leaving others out. Raises `Unused` where it cannot be."""
        fit = [(answer.text, answer.rank) for answer in self.answers if answer.rank is not None and not answer.unfit]
        if not self.answers:
            raise Unused("unanswered")
        if len(fit) < 2:
            raise Unused("unranked" if any(answer.rank is None for answer in self.answers) else "one_response")
        order = sorted({rank for _, rank in fit})
        if len(order) == 1:
            raise Unused("all_tied")
        left_out = [answer.unfit or "unranked" for answer in self.answers if answer.unfit or answer.rank is None]
        return [(text, order.index(rank)) for text, rank in fit], left_out


class Row(BaseModel):
    """A row, or an object in one; what else it holds is none of our business."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

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


class Tree(Row):
    """A tree of Open Assistant's export: a first prompt, the replies to it, the replies to those."""

    prompt: Message

    def exchange(self, language: str | None) -> Exchange:
        """The root and the direct replies to it."""
        if language and self.prompt.lang != language:
            raise Unused("language")
        if self.prompt.against:
            raise Unused(self.prompt.against)
        replies = self.prompt.replies or []
        return _exchange(self.prompt.text, [Answer(reply.text, reply.rank, reply.against) for reply in replies])


class Turn(Row):
    """One turn of a conversation, by whichever names are usual."""

    role: str = Field(validation_alias=AliasChoices("role", "from"))
    content: str = Field(validation_alias=AliasChoices("content", "text", "value"))


class Conversation(Row):
    """Chat `messages`. What follows the first answer is left alone."""

    messages: list[Turn]

    @field_validator("messages", mode="before")
    @classmethod
    def _up_to_the_first_answer(cls, value: Any) -> Any:
        system = bool(value) and isinstance(value, list) and isinstance(value[0], dict) and "system" in value[0].values()
        return value[: 3 if system else 2] if isinstance(value, list) else value

    def exchange(self, language: str | None) -> Exchange:
        """The first turn and the answer to it."""
        turns = _without_system(self.messages)
        answers = [Answer(turn.content) for turn in turns[1:2] if turn.role in ASSISTANT]
        return _exchange(_first_turn(turns[:1]), answers)


class Alpaca(Row):
    """Alpaca's fields: the input, where there is one, stands below the instruction."""

    instruction: str
    input: str | None = None
    output: str | None

    def exchange(self, language: str | None) -> Exchange:
        """Instruction and input as one prompt."""
        asked = [part for part in (self.instruction, self.input) if part and part.strip()]
        return _exchange("\n\n".join(asked), [] if self.output is None else [Answer(self.output)])


class Asked(Row):
    """A column with the prompt: a text, or the turns of a conversation up to the answers."""

    prompt: list[Turn]

    @field_validator("prompt", mode="before")
    @classmethod
    def _text_alone(cls, value: Any) -> Any:
        return [{"role": "user", "content": value}] if isinstance(value, str) else value

    def exchange(self, language: str | None) -> Exchange:
        """The prompt and what was answered."""
        return _exchange(_first_turn(_without_system(self.prompt)), self.answers())

    def answers(self) -> list[Answer]:
        """None, of a prompt alone."""
        return []


class Answered(Asked):
    """A column with the prompt and one with its answer."""

    response: str | None

    def answers(self) -> list[Answer]:
        """The one there is."""
        return [] if self.response is None else [Answer(self.response)]


class Scored(Row):
    """One of several responses, with what people gave it."""

    text: str = Field(validation_alias=AliasChoices("text", "content", "value"))
    rank: float | None = None
    score: float | None = None

    @model_validator(mode="before")
    @classmethod
    def _text_alone(cls, value: Any) -> Any:
        return {"text": value} if isinstance(value, str) else value


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
                raise ValueError(f"{len(self.responses)} responses but {len(beside)} {name}")
        return self

    def answers(self) -> list[Answer]:
        """The responses, ranked by the first there is of: `ranks`, `scores`, a rank in each, a score in each."""
        inside = self.responses
        given = (self.ranks, _negated(self.scores), [one.rank for one in inside], _negated([one.score for one in inside]))
        nobody: list[float | None] = [None] * len(inside)
        values = next((column for column in given if column and column != nobody), nobody)
        return [Answer(one.text, rank) for one, rank in zip(inside, _dense(values), strict=True)]


def _negated(scores: Sequence[float | None] | None) -> list[float | None]:
    return [None if score is None else -score for score in scores or []]


def _dense(values: Sequence[float | None]) -> list[int | None]:
    """Ranks without gaps: 0 for the lowest of `values`, equal for equal ones, None for None."""
    distinct = sorted({value for value in values if value is not None})
    return [None if value is None else distinct.index(value) for value in values]


def _without_system(turns: Sequence[Turn]) -> list[Turn]:
    """The turns after what the system said. Raises `Unused` where that is more than nothing: the answer may hang on it."""
    if any(turn.role == "system" and turn.content.strip() for turn in turns[:1]):
        raise Unused("system_turn")
    return [turn for at, turn in enumerate(turns) if at or turn.role != "system"]


def _first_turn(turns: Sequence[Turn]) -> str:
    """The user's words. Raises `Unused` where they are not the one and only turn."""
    if len(turns) != 1 or turns[0].role not in USER:
        raise Unused("not_first_turn")
    return turns[0].content


def _exchange(prompt: str, answers: Sequence[Answer]) -> Exchange:
    if not prompt.strip():
        raise Unused("empty")
    return Exchange(prompt, answers)
