"""Files of published shapes: a JSON list, JSONL or Parquet, also packed, with more fields than we need."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from selfreward.errors import SelfRewardError
from selfreward.recipe import SourceConfig
from selfreward.records import wrong_field
from selfreward.steps import rows_of


class Row(BaseModel):
    """A row of a published file; fields that are not named here are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


T = TypeVar("T", bound=Row)


def read_rows(path: str, kind: type[T], rename: dict[str, str] | None = None) -> list[T]:
    """The rows of a file as `kind`; `rename`: field → its name in the file. Raises `SelfRewardError` with the row's place."""
    rows = [_row(value, kind, where, rename or {}) for where, value in _values(Path(path))]
    if not rows:
        raise SelfRewardError("has no rows", path, "Give a file with at least one row")
    return rows


def first_row(path: str) -> dict[str, Any]:
    """The first row of a file; empty where there is none, or it has no fields."""
    _, row = next(_values(Path(path)), ("", None))
    return row if isinstance(row, dict) else {}


def _values(path: Path) -> Iterator[tuple[str, Any]]:
    """(place, value) of each row."""
    for place, row in rows_of(SourceConfig(path=str(path)), file=True):
        if isinstance(row, ValueError):
            raise SelfRewardError(f"cannot be read ({row})", place.where, "Correct it, or restore the file") from row
        yield place.where, _json(row, place.where) if isinstance(row, str) else row


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
