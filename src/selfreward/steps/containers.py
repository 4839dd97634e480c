"""Containers of rows: JSONL, JSON, CSV and Parquet files, packed or not, and datasets."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from pydantic_core import from_json

from selfreward.engines import quiet_hub
from selfreward.errors import SelfRewardError, amount
from selfreward.recipe import HUB_ID, SourceConfig
from selfreward.records import first_undecodable, readable
from selfreward.steps.dialogues import as_listed

LONGEST_CELL = 2**31 - 1
"""Characters in a cell of a CSV file; Python's own limit of 131,072 is shorter than some conversations."""


class Place(NamedTuple):
    """The place of a row: for people, and as an id that does not depend on the file's folder."""

    where: str
    id: str


def rows_of(source: SourceConfig) -> Iterator[tuple[Place, Any]]:
    """Every row, a line of JSON as text, where it stands before it."""
    path = Path(source.path)
    packed = PACKED.get(path.suffix.lower(), open)
    reader = READERS.get(Path(path.stem if packed is not open else path.name).suffix.lower())
    if reader is None or path.is_dir():
        for number, row in enumerate(_dataset(source), start=1):
            yield Place(f"{source.path}, row {number}", f"{path.name}, row {number}"), row
        return
    try:
        with packed(readable(path), "rb") as file:
            for at, row in reader(file):
                yield Place(f"{path}{at}", f"{path.name}{at}"), row
    except UnicodeDecodeError as error:
        with packed(readable(path), "rb") as lines:
            raise SelfRewardError("is not UTF-8 text", f"{path}:{first_undecodable(lines)}", "Save it as UTF-8") from error
    except (OSError, EOFError, zlib.error, lzma.LZMAError, csv.Error, ValueError, RecursionError) as error:
        why = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise SelfRewardError(f"cannot be read ({why})", str(path), "Give a file that exists and is whole") from error


def _lines(file: IO[bytes]) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(io.TextIOWrapper(file, encoding="utf-8-sig"), start=1):
        if line.strip():
            yield f":{number}", line.rstrip("\r\n")


def _list(file: IO[bytes]) -> Iterator[tuple[str, Any]]:
    text = file.read().decode("utf-8-sig")
    try:
        rows = from_json(text)
    except ValueError:
        try:
            rows = json.loads(text)  # half a surrogate pair is for its row to tell
        except json.JSONDecodeError as error:
            if error.msg != "Extra data":  # behind the first of several rows
                raise
            yield from _lines(io.BytesIO(text.encode()))
            return
    if not isinstance(rows, list):
        raise ValueError("not a list of rows; name the file .jsonl if every line is a row")
    yield from ((f", row {number}", row) for number, row in enumerate(rows, start=1))


def _parquet(file: IO[bytes]) -> Iterator[tuple[str, Any]]:
    from pyarrow import parquet

    batches = parquet.ParquetFile(file).iter_batches()
    rows = (row for batch in batches for row in batch.to_pylist())
    yield from ((f", row {number}", row) for number, row in enumerate(rows, start=1))


def _tabs(file: IO[bytes]) -> Iterator[tuple[str, Any]]:
    return _csv(file, "\t")


def _csv(file: IO[bytes], between: str = ",") -> Iterator[tuple[str, Any]]:
    """Rows by the names in the first one. A row with more or fewer cells is an error in its place."""
    csv.field_size_limit(LONGEST_CELL)
    rows = csv.reader(io.TextIOWrapper(file, encoding="utf-8-sig", newline=""), strict=True, delimiter=between)
    header = next(rows, [])
    for number, cells in enumerate(filter(None, rows), start=1):
        short = ValueError(f"{amount(len(cells), 'cell')}, and the first row names {len(header)}")
        yield f", row {number}", dict(zip(header, map(as_listed, cells), strict=True)) if len(cells) == len(header) else short


READERS: dict[str, Callable[[Any], Iterator[tuple[str, Any]]]] = {
    **dict.fromkeys((".jsonl", ".ndjson", ".jsonlines", ".jl"), _lines),
    ".json": _list, ".csv": _csv, ".tsv": _tabs, ".parquet": _parquet,
}  # fmt: skip
PACKED: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}


def _dataset(source: SourceConfig) -> Iterable[dict[str, Any]]:
    """A dataset's rows, from a folder or the hub, through `datasets`."""
    path = Path(source.path)
    if path.is_file():
        raise SelfRewardError(
            "is of a kind that cannot be read", str(path), "Give .jsonl, .json, .csv, .tsv or .parquet, also .gz, or a folder"
        )
    if not path.is_dir() and not HUB_ID.fullmatch(source.path):
        raise SelfRewardError("cannot be read (No such file or directory)", source.path, "Give a file that exists")
    import datasets

    datasets.disable_progress_bars()
    quiet_hub()
    try:
        if (path / "state.json").is_file() or (path / "dataset_dict.json").is_file():
            saved = datasets.load_from_disk(source.path)
            rows = saved[source.split] if isinstance(saved, dict) else saved
        else:
            rows = datasets.load_dataset(source.path, name=source.subset, split=source.split)
        return rows  # type: ignore[no-any-return]
    except Exception as error:  # the hub, the network and every file format have errors of their own
        why = " ".join(str(error).split()) or type(error).__name__
        now = (
            "Give a folder with its files, or a dataset that the hub has and this machine can reach; look at subset and split too"
        )
        raise SelfRewardError(f"cannot be loaded as a dataset ({why})", source.path, now) from error
