"""Records in files, one JSON object a line, and errors that name file, line and field."""

from __future__ import annotations

import hashlib
import json
import re
from codecs import BOM_UTF8
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from selfreward.errors import SelfRewardError, without_preface
from selfreward.records.base import VERIFIED, Record
from selfreward.records.files import readable

R = TypeVar("R", bound=Record)
S = TypeVar("S", bound=Record)


def to_line(record: Record) -> str:
    """The record as one line of JSON, without the line's end."""
    return record.model_dump_json()


class Records(Collection[R]):
    """The records of whole files whose hashes were checked, read anew for each iteration: a million need no memory."""

    def __init__(self, files: Sequence[Path], kind: type[R], count: int) -> None:
        self.files, self.kind, self._count = tuple(files), kind, count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[R]:
        return chain.from_iterable(iter_jsonl(file, self.kind, VERIFIED) for file in self.files)

    def __contains__(self, record: object) -> bool:
        return any(record == other for other in self)

    def __add__(self, others: Records[R]) -> Records[R]:
        return Records([*self.files, *others.files], self.kind, len(self) + len(others))

    def about(self, field: str, values: Collection[object]) -> Iterator[R]:
        """The records whose `field` is among `values`; of other lines only that field is read."""
        return chain.from_iterable(iter_about(file, self.kind, field, values) for file in self.files)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Each record as JSON values, with its id."""
        return (record.model_dump(mode="json") for record in self)

    def to_pandas(self) -> Any:
        """A `pandas.DataFrame` with one row per record. Raises `ImportError` where pandas is not installed."""
        import pandas

        return pandas.DataFrame(list(self.rows()), columns=None if len(self) else list(self.kind.model_fields))

    def to_dataset(self) -> Any:
        """A `datasets.Dataset` with one row per record."""
        import datasets

        return datasets.Dataset.from_list(even(self.rows()))


def only(records: Iterable[R], kind: type[S]) -> Iterable[R | S]:
    """`records`, of which only the fields of `kind` are read where they are in files, in a third of the time."""
    return Records(records.files, kind, len(records)) if isinstance(records, Records) else records


def even(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows, each with every name that one of them has: `datasets` takes the columns of the first."""
    rows_read = list(rows)
    names = dict.fromkeys(name for row in rows_read for name in row)
    return [{name: row.get(name) for name in names} for row in rows_read]


def iter_jsonl(path: Path, kind: type[R], context: str | None = None) -> Iterator[R]:
    """The records of a file, one by one. Raises `SelfRewardError` naming file, line and field.

    `context`: `VERIFIED` where the file's hash was checked already and ids need not be computed.
    """
    validate = kind.__pydantic_validator__.validate_json  # `model_validate_json` takes a third more for a short line
    for number, line in _numbered(path):
        try:
            yield validate(line, context=context)
        except ValidationError as error:
            raise _wrong_line(error, kind, line, f"{path}:{number}") from error


def iter_about(path: Path, kind: type[R], field: str, values: Collection[object]) -> Iterator[R]:
    """The records of a file whose `field` is among `values`, as by `iter_jsonl`; of other lines only that field is read."""
    for number, line in _numbered(path):
        try:
            matches = from_json(line)[field] in values
        except (ValueError, KeyError, TypeError):
            matches = True  # to be told what is wrong with it
        if matches:
            yield read_line(line, kind, f"{path}:{number}")


def _numbered(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with readable(path).open("rb") as lines:
            if lines.read(len(BOM_UTF8)) != BOM_UTF8:
                lines.seek(0)
            yield from enumerate(lines, start=1)
    except OSError as error:
        raise SelfRewardError(f"cannot be read ({error.strerror})", str(path), "Give a file that exists") from error


def first_undecodable(lines: Iterable[bytes]) -> int:
    """The number of the first line that is not UTF-8."""
    for number, line in enumerate(lines, start=1):
        try:
            line.decode("utf-8")
        except UnicodeDecodeError:
            return number
    return 0


def read_line(line: str | bytes, kind: type[R], where: str, context: str | None = None) -> R:
    """One line of JSON as a record of `kind`; `context` as for `iter_jsonl`."""
    try:
        return kind.model_validate_json(line, context=context)
    except ValidationError as error:
        raise _wrong_line(error, kind, line, where) from error


def _wrong_line(error: ValidationError, kind: type[Record], line: str | bytes, where: str) -> SelfRewardError:
    if isinstance(line, bytes) and first_undecodable([line]):
        return SelfRewardError("is not UTF-8 text", where, "Save it as UTF-8")
    return SelfRewardError(wrong_field(error, kind), where, "Correct the line, or restore the file")


def read_record(file: Path, kind: type[R]) -> R:
    """The record that a whole file is. Raises `SelfRewardError` where it is another, or no text."""
    try:
        return read_line(readable(file).read_text(encoding="utf-8"), kind, str(file))
    except UnicodeDecodeError as error:
        raise SelfRewardError("is not UTF-8", str(file), "Restore the file") from error


def wrong_field(error: ValidationError, kind: type[BaseModel], names: Mapping[str, str] | None = None) -> str:
    """The first field that is wrong in a value meant as a `kind`, and its fault; `names`: the file's names for the fields."""
    first = error.errors(include_url=False)[0]
    field = ".".join((names or {}).get(str(part), str(part)) for part in first["loc"]) or kind.__name__
    return f"{field}: {HALF if first['type'] == 'string_unicode' else without_preface(first['msg'])}"


HALF = "holds half a surrogate pair, which is no text"


def half_in(value: Any, path: str = "") -> str | None:
    """The dotted name of the first text in a tree of built-ins that holds half a surrogate pair; None where none does."""
    if isinstance(value, str):
        return path or "it" if HALVES.search(value) else None
    if isinstance(value, dict) and any(HALVES.search(name) for name in value if isinstance(name, str)):
        return f"a name in {path}" if path else "a name in it"
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return next(filter(None, (half_in(part, f"{path}.{name}".lstrip(".")) for name, part in parts)), None)


HALVES = re.compile("[\ud800-\udfff]")


def whole_json(text: str | bytes) -> Any:
    """A JSON value. Raises `ValueError`, which names the field where a text holds half a surrogate pair."""
    if isinstance(text, str) and HALVES.search(text):
        raise ValueError(f"it {HALF}")
    try:
        return from_json(text)
    except ValueError as error:
        try:
            half = half_in(json.loads(text))
        except (ValueError, RecursionError):
            half = None
        raise ValueError(f"{half}: {HALF}" if half else f"not JSON ({error})") from error


def read_jsonl(path: Path, kind: type[R]) -> list[R]:
    """All records of a file, in order."""
    return list(iter_jsonl(path, kind))


def digest(records: Iterable[Record]) -> str:
    """A hash of records in their order."""
    total = hashlib.sha256()
    for record in records:
        total.update(to_line(record).encode() + b"\n")
    return total.hexdigest()
