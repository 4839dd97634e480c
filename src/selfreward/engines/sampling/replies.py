"""Replies of OpenAI-compatible endpoints, read with mistrust: everything in them is text and numbers or is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, TypeAdapter, ValidationError

from selfreward.engines.protocols import likeliest
from selfreward.engines.thoughts import without_thought
from selfreward.records import Completion, Finish, Request, Watched

STOPS = {
    *("stop", "stopsequence", "stopstringfound", "stoptoken", "endturn", "endofturn", "endoftext", "eos", "eostoken", "eosfound"),
    *("complete", "completed", "done", "imend"),
}
"""Names that servers have for the end of a turn, in small letters alone."""
LENGTHS = {
    *("length", "maxtokens", "maxoutputtokens", "maxnewtokens", "maxcompletiontokens", "maxlength", "modellength", "tokenlimit"),
    *("limit", "modelcontextwindowexceeded", "maxpredictedtokensreached", "contextlengthreached"),
}
"""Names of an answer that was cut off. Another reason to end, a content filter say, is an error of that name."""
IN_PARTS = ("text", "thinking", "refusal")
"""Names of what a part says."""
LONGEST_REASON = 300
"""Characters of a reason that are kept."""
MOST_TOKENS = 2**26
"""A larger count of tokens is none: no body that is read holds so many."""


class BadReply(Exception):
    """An answer that is no chat completion."""


def _count(value: Any) -> int:
    """A count of tokens, however it is written; 0 where it is none."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return 0
    return int(number) if 0 <= number <= MOST_TOKENS else 0


def _parts(content: Any) -> Any:
    """An answer's parts, as (kind, text); a plain text is one. Raises `ValueError` where it is neither."""
    if content is None or isinstance(content, str):
        return (("text", content or ""),)
    given = [content] if isinstance(content, dict) else content
    parts: list[Any] = (
        [{"text": part} if isinstance(part, str) else part for part in given] if isinstance(given, list) else [None]
    )
    if not all(isinstance(part, dict) for part in parts):
        raise ValueError("content is neither text nor parts")
    return tuple((str(part.get("type", "text")), next(filter(None, map(part.get, IN_PARTS)), "")) for part in parts)


Count = Annotated[int, BeforeValidator(_count)]
Ids = TypeAdapter(tuple[Annotated[int, Field(ge=0, strict=True)], ...])


class _Message(BaseModel):
    content: Annotated[tuple[tuple[str, Any], ...], BeforeValidator(_parts)] = ()
    reasoning_content: Any = None
    reasoning: Any = None
    refusal: Any = None

    @property
    def said(self) -> str:
        """The answer."""
        return "".join(_flat(text) for kind, text in self.content if "text" in kind)

    @property
    def refused(self) -> Any:
        """The reason why there is no answer; empty where none is given."""
        return self.refusal or "".join(_flat(text) for kind, text in self.content if kind == "refusal")

    @property
    def thought(self) -> str | None:
        """The text that a thinking model wrote before its answer, where the server keeps the two apart."""
        inside = "".join(_flat(text) for kind, text in self.content if kind in ("thinking", "reasoning"))
        return next((text for text in (*map(_flat, (self.reasoning_content, self.reasoning)), inside) if text), None)


class _Choice(BaseModel):
    message: _Message | None = None
    finish_reason: Any = None
    logprobs: Any = None
    token_ids: Any = None
    error: Any = None


class _Usage(BaseModel):
    prompt_tokens: Count = 0
    completion_tokens: Count = 0


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

    choices: tuple[_Choice, ...] | None
    usage: Annotated[_Usage, BeforeValidator(lambda usage: usage if isinstance(usage, dict) else {})] = _Usage()

    def completion(self, request: Request, cleaned: Callable[[str], str]) -> Completion:
        """The completion of `request`, every text of it `cleaned`; an error with its reason where there is no answer."""
        choice = self.choices[0] if self.choices else _Choice()
        message = choice.message or _Message()
        finish, reason = self._end(choice)
        thought = cleaned(message.thought) if message.thought else None
        thinks = request.sampling.thinking is not None
        completion = Completion(
            request_id=request.id,
            text=cleaned(message.said),
            finish=finish,
            prompt_tokens=self.usage.prompt_tokens,
            completion_tokens=self.usage.completion_tokens,
            first_token=_first_token(choice.logprobs, request.top_logprobs, cleaned) if request.top_logprobs else None,
            watched=_watched(choice.logprobs, message.said, request.watch) if cleaned(message.said) == message.said else (),
            reason=one_line(cleaned(reason)) if reason else None,
            thought=None if thinks else thought,
            ids=sampled_ids(choice),
        )
        return without_thought(completion, request, apart=thought)

    def _end(self, choice: _Choice) -> tuple[Finish, str | None]:
        """The way in which an answer ended, and the reason where there is no answer."""
        given = choice.finish_reason if isinstance(choice.finish_reason, str) else ""
        named = re.sub(r"[^a-z]", "", given.lower()).removeprefix("finishreason")
        if not self.choices:
            return "error", "the server gave no choice"
        if choice.error:
            return "error", f"the server says: {_told(choice.error)}"
        if choice.message is None:
            return "error", "the server gave a choice without a message"
        if choice.message.refused and not choice.message.said:
            return "error", f"refused: {_told(choice.message.refused)}"
        if named in STOPS or named in LENGTHS:
            return ("stop" if named in STOPS else "length"), None
        if choice.finish_reason in (None, ""):
            return "error", "the server gave no reason for the answer's end (finish_reason)"
        return "error", f"the answer ended by {choice.finish_reason!r}"


def sampled_ids(choice: _Choice) -> tuple[int, ...] | None:
    """The ids of the sampled tokens, end of turn included where the server includes it; None where it gives none.

    vLLM and SGLang list them (`return_token_ids`), llama.cpp gives each beside its log-probability.
    """
    content = choice.logprobs.get("content") if isinstance(choice.logprobs, dict) else None
    beside = [token.get("id") for token in content if isinstance(token, dict)] if isinstance(content, list) else None
    for ids in (choice.token_ids, beside):
        try:
            if ids:
                return Ids.validate_python(ids)
        except ValidationError:
            continue
    return None


def read_reply(text: str) -> Reply:
    """The chat completion in a response's body. Raises `BadReply`."""
    try:
        # Half a surrogate pair is no text: it could be neither written nor read again.
        return Reply.model_validate_json(json.dumps(json.loads(text), ensure_ascii=False).encode(errors="replace"))
    except (ValueError, RecursionError) as error:
        raise BadReply(text) from error


def one_line(text: str) -> str:
    """A server's words, fit to be shown: one short line."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= LONGEST_REASON else f"{line[:LONGEST_REASON]}…"


def _told(error: Any) -> str:
    """The words of an error that may be an object with a message."""
    return str(error.get("message") or error) if isinstance(error, dict) else str(error)


def _flat(thinking: Any) -> str:
    """A thought, which may be in parts itself."""
    if isinstance(thinking, list):
        return "".join(_flat(part.get("text")) for part in thinking if isinstance(part, dict))
    return thinking if isinstance(thinking, str) else ""


def _first_token(logprobs: Any, count: int, cleaned: Callable[[str], str]) -> dict[str, float] | None:
    """The `count` likeliest first tokens; None where the server gave none, whatever it was asked."""
    try:
        positions = _Beginning.model_validate(logprobs).content
    except ValidationError:
        return None
    listed = positions[0].top_logprobs[:count] if positions else ()
    return likeliest((cleaned(token.token), token.logprob) for token in listed) or None


def _watched(logprobs: Any, text: str, watch: Sequence[str]) -> tuple[Watched, ...]:
    """The places where tokens of `text` read as one of `watch`; empty without tokens that make up the text.

    A place lacks the words that are not among the likeliest tokens that the server lists.
    """
    try:
        tokens = _Tokens.model_validate(logprobs).content if watch else ()
    except ValidationError:
        return ()
    # Before the text may stand thoughts or white space that the server cut off, after it an end of turn.
    begin = b"".join(token.raw for token in tokens).rfind(raw := text.encode())
    places = []
    for token, end in zip(tokens, accumulate(len(token.raw) for token in tokens), strict=True):
        word = token.token.strip()
        at = end - len(token.token.lstrip().encode()) - begin
        if begin >= 0 and word in watch and 0 <= at < len(raw):
            places.append(Watched(at=len(raw[:at].decode(errors="replace")), logprobs=_alternatives(token, watch)))
    return tuple(places)


def _alternatives(drawn: _Drawn, watch: Sequence[str]) -> dict[str, float]:
    listed = [(token.token, token.logprob) for token in drawn.top_logprobs]
    every = listed if drawn.token in dict(listed) else [(drawn.token, drawn.logprob), *listed]
    return likeliest((token.strip(), logprob) for token, logprob in every if token.strip() in watch)
