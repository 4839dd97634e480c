"""Questions to a model, alone or after the turns of a conversation; requests, and the completions that come back."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from selfreward.records.base import Identified, Record, content_id

Ids = Annotated[tuple[int, ...] | None, Field(exclude_if=lambda ids: ids is None)]
"""Sampled token ids, with the one that stopped generation, if any; left out of a line where they are unknown."""


def unset() -> Any:
    """A field that is written only where it is set, so that records from before it keep their ids."""
    return Field(None, exclude_if=lambda value: value is None)


class Message(Record):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


Asked = str | tuple[Message, ...]
"""An instruction alone, or a conversation up to and with the user's turn that is answered."""


class Conversed(Identified):
    """A record about a user's turn, which may be the last of a conversation."""

    last: ClassVar[str] = "prompt"
    """The field with that turn."""
    newer: ClassVar[tuple[str, ...]] = ("context",)
    """Fields that count for the id where they are set."""
    context: tuple[Message, ...] = Field((), exclude_if=lambda context: not context)
    """The turns before it: a system turn or none, then exchanges; left out of a line where there are none."""

    @property
    def asked(self) -> Asked:
        """The user's turn after the turns before it; its text alone where there are none."""
        text: str = getattr(self, self.last)
        return (*self.context, Message(role="user", content=text)) if self.context else text

    @property
    def stands_alone(self) -> bool:
        """True if nobody has spoken before it; a system turn may have been given."""
        return all(turn.role == "system" for turn in self.context)

    @property
    def added_identity(self) -> list[object]:
        """The values of the `newer` fields that are set."""
        return [value for name in self.newer if (value := getattr(self, name))]

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
    """The prompt as a text to read: an instruction as it is, a conversation turn by turn.

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
    """The system turn; a prompt with a system turn of its own keeps that turn alone."""
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


Posed = tuple[tuple[Message, ...], bool]
"""A prompt: its messages, and whether the model is to think before it answers."""


class Sampling(Record):
    """Sampling parameters. Every field is always sent, for engines fill gaps with their own defaults."""

    temperature: float
    top_p: float
    max_tokens: int
    thinking: int | None = unset()
    """Tokens that the model may think in before it answers, beside `max_tokens`; None: it is told not to think."""

    @property
    def longest(self) -> int:
        """Tokens that a completion may have in all."""
        return self.max_tokens + (self.thinking or 0)


class Request(Identified):
    """One requested completion: `about` is the id of the record it concerns, `index` the number of its sample."""

    identity = ("about", "index", "messages", "sampling", "seed", "model", "top_logprobs", "watch", "forced")
    about: str
    index: int
    messages: tuple[Message, ...]
    sampling: Sampling
    seed: int
    model: str
    """Fingerprint of the model asked."""
    top_logprobs: int = 0
    """The number of likeliest first tokens whose log-probabilities are requested as well."""
    watch: tuple[str, ...] = ()
    """Texts of single tokens, such as a scale's numbers: wherever one of them is drawn, the probabilities of all are returned."""
    forced: str | None = None
    """An answer to be given, to the end of its turn: nothing is sampled, and its likelihood is returned."""
    json_schema: str | None = unset()
    """A JSON schema, as text, which engines that can constrain sampling enforce."""
    forced_thought: str | None = unset()
    """The thought before a forced answer that was sampled with one."""

    @property
    def added_identity(self) -> list[object]:
        """The values of newer fields: requests without them keep their ids."""
        schema: list[object] = [] if self.json_schema is None else [self.json_schema]
        return schema if self.forced_thought is None else [*schema, {"forced_thought": self.forced_thought}]

    @property
    def thinks(self) -> bool:
        """True if the model is to think before it answers, or a thought is forced on it."""
        return self.sampling.thinking is not None if self.forced is None else self.forced_thought is not None

    @property
    def posed(self) -> Posed:
        """The prompt for an engine."""
        return self.messages, self.thinks

    @classmethod
    def asking(
        cls,
        about: str,
        index: int,
        messages: tuple[Message, ...],
        sampling: Sampling,
        model: Checkpoint,
        run_seed: int,
        top_logprobs: int = 0,
        watch: tuple[str, ...] = (),
        forced: str | None = None,
        json_schema: str | None = None,
        forced_thought: str | None = None,
    ) -> Request:
        """A request with its own seed, derived from the run's seed and from its contents."""
        seed = int(content_id("seed", run_seed, about, index, *(message.content for message in messages)), 16)
        return cls(
            about=about, index=index, messages=messages, sampling=sampling, seed=seed, model=model.fingerprint,
            top_logprobs=top_logprobs, watch=watch, forced=forced, json_schema=json_schema,
            forced_thought=forced_thought,
        )  # fmt: skip

    @classmethod
    def user_turn(
        cls,
        about: str,
        index: int,
        text: str,
        sampling: Sampling,
        model: Checkpoint,
        run_seed: int,
        watch: tuple[str, ...] = (),
        json_schema: str | None = None,
    ) -> Request:
        """Like `asking`, for a single user message."""
        turn = Message(role="user", content=text)
        return cls.asking(about, index, (turn,), sampling, model, run_seed, watch=watch, json_schema=json_schema)


Finish = Literal["stop", "length", "error", "truncated"]
"""`length`: an answer was cut off; `truncated`: the model was still thinking, so that there is no answer."""


class Watched(Record):
    """A place where one of `Request.watch` was drawn, and the probability of each of them there."""

    at: int
    """Offset in characters where the drawn token begins in the completion's text, after its white space."""
    logprobs: dict[str, float]
    """Natural log-probabilities of the watched texts at temperature 1, before top-p; tokens with the same text are summed."""


class Completion(Record):
    """The answer to a request. `text` holds generated text alone, without the end of turn."""

    request_id: str
    text: str
    finish: Finish
    prompt_tokens: int
    completion_tokens: int
    first_token: dict[str, float] | None = None
    """The likeliest first tokens with their natural log-probabilities, before temperature; None where not requested."""
    watched: tuple[Watched, ...] = ()
    """Every place where one of `Request.watch` was drawn, in the text's order."""
    logprob: float | None = None
    """Sum of the natural log-probabilities of a forced text's tokens, with its end of turn, at temperature 1, before top-p."""
    reason: str | None = unset()
    """The cause of a missing answer, in a line, where `finish` is `error` and the engine knows it."""
    thought: str | None = unset()
    """The thinking before an answer, never part of `text`; empty where the model was to think and did not."""
    ids: Ids = None
    """The sampled ids, where the engine knows them; a forced text has none."""


class Sampled(Identified):
    """A record read from a completion."""

    @property
    def label(self) -> str:
        """The outcome in a word, for counting."""
        raise NotImplementedError


class Thoughtful(Sampled):
    """A record that was read from a completion of a model that may have been told to think."""

    thought: str | None = unset()
    """The text that it wrote before what counts; empty where it was to think and did not, None where it was not to."""

    @property
    def added_identity(self) -> list[object]:
        """The thought, where there may be one."""
        return [] if self.thought is None else [self.thought]


class Checkpoint(Record):
    """A model on disk. `fingerprint` is a hash of its weights and tokenizer; `parent` that of the model it was trained from."""

    name: str
    path: Path
    fingerprint: str
    parent: str | None = None
