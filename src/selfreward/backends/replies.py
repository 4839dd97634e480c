"""What an OpenAI-compatible endpoint answers, read with mistrust: whatever it holds, it is text and numbers or it is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ValidationError

from selfreward.backends import likeliest
from selfreward.records import Completion, Finish, Request

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


class _Logprobs(BaseModel):
    content: tuple[_Position, ...]


class Reply(BaseModel):
    """A chat completion, as far as it is read."""

    choices: tuple[_Choice, ...]
    usage: _Usage | None = None

    def completion(self, request: Request, cleaned: Callable[[str], str]) -> Completion:
        """The completion of `request`, every text of it `cleaned`; an error where there is no choice."""
        choice = self.choices[0] if self.choices else _Choice(message=_Message())
        usage = self.usage or _Usage()
        return Completion(
            request_id=request.id,
            text=cleaned(choice.message.content or ""),
            finish=FINISHES.get(choice.finish_reason, "error"),
            prompt_tokens=usage.prompt_tokens or 0,
            completion_tokens=usage.completion_tokens or 0,
            first_token=_first_token(choice.logprobs, cleaned) if request.top_logprobs else None,
        )


def read_reply(text: str) -> Reply:
    """The chat completion in a response's body. Raises `BadReply`."""
    try:
        # Half a surrogate pair is no text: it could be neither written nor read again.
        return Reply.model_validate_json(json.dumps(json.loads(text), ensure_ascii=False).encode(errors="replace"))
    except (ValueError, RecursionError) as error:
        raise BadReply(text) from error


def _first_token(logprobs: Any, cleaned: Callable[[str], str]) -> dict[str, float] | None:
    """The likeliest first tokens; None where the server gave none, whatever it was asked."""
    try:
        positions = _Logprobs.model_validate(logprobs).content
    except ValidationError:
        return None
    return likeliest((cleaned(token.token), token.logprob) for token in positions[0].top_logprobs) or None if positions else None
