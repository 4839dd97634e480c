"""A frozen line of JSON, and one with a content id.

`id` is a hash of the contents, so equal work has equal ids on every machine. A file whose ids do not match its contents was
edited or damaged, and is refused.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationInfo, computed_field, model_validator

VERIFIED = "verified"
"""Context of validation for a file whose hash was checked: its ids are taken without being computed again."""
REPLY = "reply_"
"""Begins the reasons for leaving single responses out of a ranked set that is kept."""


def content_id(*parts: object) -> str:
    """16 hexadecimal digits, a hash of `parts` (JSON values and records)."""
    return hashlib.sha256(_canonical(parts).encode()).hexdigest()[:16]


def _fields(value: object) -> dict[str, Any]:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(f"{type(value).__name__} is not JSON")


_canonical = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=_fields).encode


class Record(BaseModel):
    """A frozen line of JSON. Unknown and missing fields are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Identified(Record):
    """A record with a content id over the fields named in `identity`."""

    identity: ClassVar[tuple[str, ...]]

    @computed_field  # type: ignore[prop-decorator]
    @cached_property
    def id(self) -> str:
        """The content id."""
        return content_id(type(self).__name__, [getattr(self, name) for name in self.identity] + self.added_identity)

    @property
    def added_identity(self) -> list[object]:
        """Values hashed after `identity`: newer fields, where they are set, so that records without them keep their ids."""
        return []

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy; changes give it the id of its new contents."""
        copied = super().model_copy(update=update, deep=deep)
        copied.__dict__.pop("id", None)
        return copied

    @model_validator(mode="wrap")
    @classmethod
    def _check_id(cls, value: Any, build: Any, info: ValidationInfo) -> Self:
        if not isinstance(value, Mapping) or "id" not in value:
            return build(value)  # type: ignore[no-any-return]
        record: Self = build({name: field for name, field in value.items() if name != "id"})
        if info.context == VERIFIED:
            record.__dict__["id"] = value["id"]
        elif record.id != value["id"]:
            raise ValueError(f"id is {value['id']!r} but the contents say {record.id!r}: the line was changed")
        return record


def compiles(pattern: str) -> str:
    """`pattern`, if it is a regular expression. Raises `ValueError`."""
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"not a regular expression ({error})") from error
    return pattern


GROUPED = re.compile(
    r"\\.|\[\^?\]?(?:\\.|[^\]\\])*+\]|(?P<negative>\(\?<?!)|(?P<group>\((?:\?P<|(?!\?)))|(?P<other>\()|(?P<close>\))", re.DOTALL
)
"""A piece of a regular expression that affects where its groups are."""
HANGS_ON_MORE = re.compile(r"\(\?(?:<?[=!]|\(|P=)|\\[1-9B]")
"""A piece of a regular expression that depends on the text around its group."""


def catches(pattern: str, texts: Iterable[str]) -> list[str]:
    """The texts that the first group of `pattern` can catch, ignoring case; all of them where that cannot be told."""
    opened: list[tuple[str, int]] = []
    for piece in GROUPED.finditer(pattern):
        if piece.lastgroup == "close" and opened:
            kind, start = opened.pop()
            if kind == "group" and not any(outer == "group" for outer, _ in opened):
                never = any(outer == "negative" for outer, _ in opened)
                return [] if never else _caught(pattern[start : piece.end()], re.compile(pattern).flags, texts)
        elif piece.lastgroup:
            opened.append((piece.lastgroup, piece.start()))
    return list(texts)


def _caught(group: str, flags: int, texts: Iterable[str]) -> list[str]:
    if HANGS_ON_MORE.search(group):
        return list(texts)
    alone = re.compile(group, flags | re.IGNORECASE)
    return [text for text in texts if alone.fullmatch(text)]
