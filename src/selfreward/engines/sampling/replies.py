"""What an OpenAI-compatible endpoint answers, read with mistrust: whatever it holds, it is text and numbers or it is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError

from selfreward.engines.protocols import likeliest
from selfreward.records import Completion, Finish, Request, Watched

FINISHES: dict[str | None, Finish] = {"stop": "stop", "length": "length"}
"""Any other reason to end, a content filter say, is an error."""


class BadReply(Exception):
    """An answer that is no chat completion."""


class _Message(BaseModel):
    content: str | None = None
    """The answer. A thinking model's thoughts stand in other fields, which are not read."""


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None
    logprobs: Any = None


class _Usage(BaseModel):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Likely(BaseModel):
    token: str
    logprob: float


class _Position(BaseModel):
    top_logprobs: tuple[_Likely, ...]


class _Beginning(BaseModel):
    content: tuple[_Position, ...]


class _Drawn(_Position, _Likely):
    spelled: tuple[Annotated[int, Field(ge=0, le=255)], ...] | None = Field(None, alias="bytes")
    """Its bytes: a token that ends within a character has no text that shows it."""

    @property
    def raw(self) -> bytes:
        return self.token.encode() if self.spelled is None else bytes(self.spelled)


class _Tokens(BaseModel):
    content: tuple[_Drawn, ...]


class Reply(BaseModel):
    """A chat completion, as far as it is read."""

    choices: tuple[_Choice, ...]
    usage: _Usage | None = None

    def completion(self, request: Request, cleaned: Callable[[str], str]) -> Completion:
        """The completion of `request`, every text of it `cleaned`; an error where there is no choice."""
        choice = self.choices[0] if self.choices else _Choice(message=_Message())
        usage = self.usage or _Usage()
        said = choice.message.content or ""
        return Completion(
            request_id=request.id,
            text=cleaned(said),
            finish=FINISHES.get(choice.finish_reason, "error"),
            prompt_tokens=usage.prompt_tokens or 0,
            completion_tokens=usage.completion_tokens or 0,
            first_token=_first_token(choice.logprobs, request.top_logprobs, cleaned) if request.top_logprobs else None,
            watched=_watched(choice.logprobs, said, request.watch) if cleaned(said) == said else (),
        )


def read_reply(text: str) -> Reply:
    """The chat completion in a response's body. Raises `BadReply`."""
    try:
        # Half a surrogate pair is no text: it could be neither written nor read again.
        return Reply.model_validate_json(json.dumps(json.loads(text), ensure_ascii=False).encode(errors="replace"))
    except (ValueError, RecursionError) as error:
        raise BadReply(text) from error


def _first_token(logprobs: Any, count: int, cleaned: Callable[[str], str]) -> dict[str, float] | None:
    """The `count` likeliest first tokens; None where the server gave none, whatever it was asked."""
    try:
        positions = _Beginning.model_validate(logprobs).content
    except ValidationError:
        return None
    listed = positions[0].top_logprobs[:count] if positions else ()
    return likeliest((cleaned(token.token), token.logprob) for token in listed) or None


def _watched(logprobs: Any, text: str, watch: Sequence[str]) -> tuple[Watched, ...]:
    """Where tokens of `text` read as one of `watch`; none where the server gave no tokens, or such as do not make up the text.

    What is not among the likeliest tokens of a place, as many as a server lists, is left out there.
    """
    try:
        tokens = _Tokens.model_validate(logprobs).content if watch else ()
    except ValidationError:
        return ()
    # Before the text may stand thoughts or white space that the server cut off, after it an end of turn.
    begin = b"".join(token.raw for token in tokens).rfind(raw := text.encode())
    found = []
    for token, end in zip(tokens, accumulate(len(token.raw) for token in tokens), strict=True):
        word = token.token.strip()
        at = end - len(token.token.lstrip().encode()) - begin
        if begin >= 0 and word in watch and 0 <= at < len(raw):
            found.append(Watched(at=len(raw[:at].decode(errors="replace")), logprobs=_alternatives(token, watch)))
    return tuple(found)


def _alternatives(drawn: _Drawn, watch: Sequence[str]) -> dict[str, float]:
    listed = [(token.token, token.logprob) for token in drawn.top_logprobs]
    every = listed if drawn.token in dict(listed) else [(drawn.token, drawn.logprob), *listed]
    return likeliest((token.strip(), logprob) for token, logprob in every if token.strip() in watch)
