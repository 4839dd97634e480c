"""Containers of rows: JSONL, JSON, CSV and Parquet files, packed or not, and datasets."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import IO, Any, NamedTuple

from pydantic_core import from_json

from selfreward.engines import quiet_hub
from selfreward.errors import SelfRewardError, amount
from selfreward.recipe import HUB_ID, SourceConfig
from selfreward.records import first_undecodable, readable
from selfreward.steps.dialogues import NAMED, SAID, as_listed

LONGEST_CELL = 2**31 - 1
"""Characters in a cell of a CSV file; Python's own limit of 131,072 is shorter than some conversations."""

NEXT = re.compile(r"\S")
AROUND = ("data", "rows", "examples", "records", "items", "instances", "entries", "samples", "train")
"""Names of the list of rows in an object around it."""
POINTER = b"version https://git-lfs"
"""The beginning of a file that Git LFS has not fetched."""


class Place(NamedTuple):
    """The place of a row: for people, and as an id that does not depend on the file's folder."""

    where: str
    id: str


def rows_of(source: SourceConfig, file: bool = False) -> Iterator[tuple[Place, Any]]:
    """Every row, a line of JSON as text, where it stands before it.

    With `file` it is no dataset, and JSONL by any other name.
    """
    path = Path(source.path)
    packed = PACKED.get(path.suffix.lower(), open)
    reader = READERS.get(Path(path.stem if packed is not open else path.name).suffix.lower(), _lines if file else None)
    if reader is None or (path.is_dir() and not file):
        for number, row in enumerate(_dataset(source), start=1):
            yield Place(f"{source.path}, row {number}", f"{path.name}, row {number}"), row
        return
    try:
        _refuse_pointer(path)
        with packed(readable(path), "rb") as opened:
            for at, row in reader(opened):
                yield Place(f"{path}{at}", f"{path.name}{at}"), row
    except UnicodeDecodeError as error:
        with packed(readable(path), "rb") as lines:
            raise SelfRewardError("is not UTF-8 text", f"{path}:{first_undecodable(lines)}", "Save it as UTF-8") from error
    except (OSError, EOFError, zlib.error, lzma.LZMAError, csv.Error, ValueError, RecursionError) as error:
        why = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise SelfRewardError(f"cannot be read ({why})", str(path), "Give a file that exists and is whole") from error


def _refuse_pointer(path: Path) -> None:
    with readable(path).open("rb") as file:
        if file.read(len(POINTER)) == POINTER:
            raise SelfRewardError("is a pointer of Git LFS, and not the data", str(path), "Fetch the data: git lfs pull")


def _lines(file: IO[bytes]) -> Iterator[tuple[str, Any]]:
    """A row a line; or the rows of a list, or objects over several lines, where the first line is no row."""
    rows = None if _is_row(next((line for line in file if line.strip()), b"")) else _documents(_whole(file))
    if rows is not None:
        yield from _numbered(rows)
        return
    file.seek(0)
    for number, line in enumerate(io.TextIOWrapper(file, encoding="utf-8-sig"), start=1):
        if line.strip():
            yield f":{number}", line.rstrip("\r\n")


def _whole(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8-sig")


def _is_row(line: bytes) -> bool:
    """False for a line that only begins an object or a list, and for a list of rows; turns in a list are a row."""
    if not line.lstrip(b"\xef\xbb\xbf \t").startswith((b"[", b"{")):
        return True
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return False
    rows_in_list = isinstance(row, list) and row and all(isinstance(part, dict) and not part.keys() & {*NAMED} for part in row)
    return not rows_in_list and _unwrapped(row) is row


def _documents(text: str) -> list[Any] | None:
    """The rows in a text of JSON values, one after another, or in a list; None where it is no such text."""
    decoder, values, at = json.JSONDecoder(), [], 0
    try:
        while start := NEXT.search(text, at):
            value, at = decoder.raw_decode(text, start.start())
            values.append(value)
    except (ValueError, RecursionError):
        return None
    alone = _unwrapped(values[0]) if len(values) == 1 else values
    return alone if isinstance(alone, list) else values


def _unwrapped(value: Any) -> Any:
    """The list of rows in an object around it; anything else as it is, also an object of several lists."""
    lists = [name for name, part in value.items() if isinstance(part, list)] if isinstance(value, dict) else []
    around = len(lists) == 1 and lists[0] in AROUND and value[lists[0]]
    return around if around and all(isinstance(row, dict) and not _is_turn(row) for row in around) else value


def _is_turn(part: dict[str, Any]) -> bool:
    return bool(part.keys() & {*NAMED} and part.keys() & {*SAID})


def _numbered(rows: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    for number, row in enumerate(rows, start=1):
        yield f", row {number}", ValueError("a text, where a row must be an object") if isinstance(row, str) else row


def _list(file: IO[bytes]) -> Iterator[tuple[str, Any]]:
    text = _whole(file)
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
    rows = _unwrapped(rows)
    if not isinstance(rows, list):
        fields = f"an object of {', '.join(rows)}, and " if isinstance(rows, dict) else ""
        raise ValueError(f"{fields}not a list of rows; keep the list alone, or name the file .jsonl if every line is a row")
    yield from _numbered(rows)


def _parquet(file: IO[bytes]) -> Iterator[tuple[str, Any]]:
    from pyarrow import parquet

    batches = parquet.ParquetFile(file).iter_batches()
    rows = (row for batch in batches for row in batch.to_pylist())
    yield from ((f", row {number}", row) for number, row in enumerate(rows, start=1))


def _arrow(file: IO[bytes]) -> Iterator[tuple[str, Any]]:
    """Rows of an Arrow file, with a list of its batches (Feather) or as a stream, as `datasets` keeps them."""
    from pyarrow import ArrowInvalid, ipc

    try:
        opened = ipc.open_file(file)
        batches = map(opened.get_batch, range(opened.num_record_batches))
    except ArrowInvalid:
        file.seek(0)
        batches = iter(ipc.open_stream(file))
    rows = (row for batch in batches for row in batch.to_pylist())
    yield from ((f", row {number}", row) for number, row in enumerate(rows, start=1))


def _zst(path: Path, mode: str) -> IO[bytes]:
    """A file packed by zstd, unpacked in memory: its reader cannot go back."""
    import pyarrow

    with pyarrow.input_stream(str(path), compression="zstd") as packed:
        return io.BytesIO(packed.read())


def _tabs(file: IO[bytes]) -> Iterator[tuple[str, Any]]:
    return _csv(file, "\t")


def _csv(file: IO[bytes], between: str = ",") -> Iterator[tuple[str, Any]]:
    """Rows by the names in the first one. A row with more or fewer cells is an error in its place."""
    csv.field_size_limit(LONGEST_CELL)
    lines = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    first = lines.readline()
    if named := re.fullmatch(r"sep=(.)\s*", first):  # as Excel says it
        first, between = lines.readline(), named[1]
    elif between == ",":
        between = _between(first)
    rows = filter(None, csv.reader(chain([first], lines), strict=True, delimiter=between))
    header = next(rows, [])
    if twice := [name for at, name in enumerate(header) if name and name in header[:at]]:
        raise ValueError(f"two columns have the name {twice[0]!r}; rename one of them")
    yield from ((f", row {number}", _named(header, cells)) for number, cells in enumerate(rows, start=1))


def _named(header: Sequence[str], cells: Sequence[str]) -> dict[str, Any] | ValueError:
    """The cells by their names, or what is wrong with them."""
    if len(cells) != len(header):
        return ValueError(f"{amount(len(cells), 'cell')}, and the first row names {len(header)}")
    try:
        return {name: as_listed(cell) for name, cell in zip(header, cells, strict=True)}
    except ValueError as error:
        return error


def _between(header: str) -> str:
    """The mark between names of columns: a semicolon or a tab where there is no comma."""
    bare = re.sub(r'"[^"]*"', "", header)
    return next((mark for mark in ",;\t" if mark in bare), ",")


READERS: dict[str, Callable[[Any], Iterator[tuple[str, Any]]]] = {
    **dict.fromkeys((".jsonl", ".ndjson", ".jsonlines", ".jl"), _lines),
    ".json": _list, ".csv": _csv, ".tsv": _tabs, ".parquet": _parquet, ".arrow": _arrow, ".feather": _arrow,
}  # fmt: skip
PACKED: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open, ".zst": _zst}


def _dataset(source: SourceConfig) -> Iterable[dict[str, Any]]:
    """A dataset's rows, from a folder or the hub, through `datasets`."""
    path = Path(source.path)
    if path.is_file():
        raise SelfRewardError(
            "is of a kind that cannot be read",
            str(path),
            "Give .jsonl, .json, .csv, .tsv, .parquet or .arrow, also .gz, or a folder",
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
