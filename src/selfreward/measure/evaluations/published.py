"""Files of published shapes: a JSON list or JSONL, also gzipped, with more fields than we need."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from selfreward.errors import SelfRewardError
from selfreward.records import readable, wrong_field


class Row(BaseModel):
    """A row of a published file; fields that are not named here are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


T = TypeVar("T", bound=Row)


def read_rows(path: str, kind: type[T], rename: dict[str, str] | None = None) -> list[T]:
    """The rows of a file as `kind`; `rename`: field → its name in the file. Raises `SelfRewardError` with the row's place."""
    rows = [_row(value, kind, where, rename or {}) for where, value in _values(Path(path))]
    if not rows:
        raise SelfRewardError("has no rows", path, "Give a JSON list or JSONL with at least one row")
    return rows


def first_fields(path: str) -> tuple[str, ...]:
    """Names of the fields in the first row of a file."""
    _, row = next(_values(Path(path)), ("", None))
    return tuple(row) if isinstance(row, dict) else ()


def _values(path: Path) -> Iterator[tuple[str, Any]]:
    """(place, value) of each row."""
    try:
        with gzip.open(readable(path)) if path.suffix == ".gz" else readable(path).open("rb") as file:
            text = file.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise SelfRewardError("is not UTF-8 text", str(path), "Give a JSON list or JSONL, in UTF-8") from error
    except (OSError, EOFError, zlib.error) as error:
        raise SelfRewardError(f"cannot be read ({error})", str(path), "Give a JSON list or JSONL that is whole") from error
    if text.lstrip().startswith("["):
        yield from ((f"{path}, row {n}", row) for n, row in enumerate(_json(text, str(path)), start=1))
        return
    for n, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield f"{path}:{n}", _json(line, f"{path}:{n}")


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise SelfRewardError(f"is not JSON ({error})", where, "Correct it, or restore the file") from error


def _row(value: Any, kind: type[T], where: str, rename: dict[str, str]) -> T:
    try:
        fields = {**value, **{field: value[name] for field, name in rename.items()}}
        return kind.model_validate(fields)
    except (TypeError, KeyError) as error:
        has = ", ".join(value) if isinstance(value, dict) else repr(value)[:40]
        raise SelfRewardError(f"has no field {error}: it has {has}", where, "Name an existing field") from error
    except ValidationError as error:
        raise SelfRewardError(wrong_field(error, kind), where, "Correct the row, or give another file") from error
