"""Rows of files and datasets as records: every row is used, or counted with the reason why not.

A container (JSONL, JSON, Parquet, a dataset) gives rows. A format says what a row means: what somebody asked first, and what
was answered. From that an example, a prompt or a ranking is made.
"""

from __future__ import annotations

import gzip
import io
import random
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple, TypeVar

from pydantic import ValidationError
from pydantic_core import from_json

from selfreward.errors import SelfRewardError
from selfreward.recipe import HUB_ID, SourceConfig
from selfreward.records import REPLY, Dropped, Example, Identified, Prompt, Ranking, wrong_field
from selfreward.steps.formats import Alpaca, Answered, Asked, Conversation, Exchange, Ranked, Row, Tree, Unused

R = TypeVar("R", bound=Identified)
SHAPES: dict[str, type[Row]] = {"oasst": Tree, "messages": Conversation, "alpaca": Alpaca}
"""Shapes of rows by format; the shape of a row with `columns` depends on what is wanted of it."""
INNER = {"text", "rank", "score", "role", "content"}
"""Names of what is in the objects inside a row."""
PUT_RIGHT = "Put it right, or pass --skip-bad-rows to leave such rows out and count them"
Kept = tuple[list[R], list[Dropped]]
"""The records, and what did not become one."""


class Place(NamedTuple):
    """Where a row stands: for people, and as an id that is the same wherever the file lies."""

    where: str
    id: str


def load_examples(
    source: SourceConfig, kind: Literal["ift", "eft"], stage: str, seed: int, skip_bad_rows: bool = False
) -> Kept[Example]:
    """Examples in `source`: of a row with several ranked answers, the best."""
    came_from = Path(source.path).name

    def make(found: Exchange) -> tuple[Example, list[str]]:
        return Example(prompt=found.prompt, response=found.best(), kind=kind, source=came_from), []

    return _load(source, Example, make, stage, seed, skip_bad_rows)


def load_prompts(source: SourceConfig, stage: str, seed: int, skip_bad_rows: bool = False) -> Kept[Prompt]:
    """Prompts in `source`: of a conversation, its first turn."""

    def make(found: Exchange) -> tuple[Prompt, list[str]]:
        return Prompt(text=found.prompt, source="seed"), []

    return _load(source, Prompt, make, stage, seed, skip_bad_rows)


def load_rankings(source: SourceConfig, stage: str, seed: int, skip_bad_rows: bool = False) -> Kept[Ranking]:
    """Sets of two or more ranked responses in `source`. Responses left out of a set are dropped as `reply_…`."""
    if source.format in ("messages", "alpaca"):
        now = "Give rows of format oasst, columns or records"
        raise SelfRewardError(f"{source.format} rows have one answer each, and no ranks", source.path, now)

    def make(found: Exchange) -> tuple[Ranking, list[str]]:
        ranked, left_out = found.ranked()
        made = Ranking(prompt=found.prompt, responses=tuple(text for text, _ in ranked), ranks=tuple(rank for _, rank in ranked))
        return made, left_out

    return _load(source, Ranking, make, stage, seed, skip_bad_rows)


def draw(records: Sequence[R], limit: int | None, stage: str, seed: int) -> Kept[R]:
    """At most `limit` of `records`, drawn by the run's seed, in their order; the others are dropped."""
    if limit is None or len(records) <= limit:
        return list(records), []
    drawn = set(random.Random(f"{seed} {stage}").sample(range(len(records)), limit))
    dropped = [Dropped(id=record.id, stage=stage, reason="over_limit") for at, record in enumerate(records) if at not in drawn]
    return [record for at, record in enumerate(records) if at in drawn], dropped


def _load(
    source: SourceConfig, kind: type[R], make: Callable[[Exchange], tuple[R, list[str]]], stage: str, seed: int, skip: bool
) -> Kept[R]:
    kept: list[R] = []
    dropped: list[Dropped] = []
    seen: set[str] = set()
    for place, raw in _rows(source):
        try:
            record, left_out = _read(raw, source, kind, make, place.where)
            if record.id in seen and source.format != "records":
                raise Unused("repeated")
        except Unused as unused:
            dropped.append(Dropped(id=place.id, stage=stage, reason=str(unused)))
        except SelfRewardError:
            if not skip:
                raise
            dropped.append(Dropped(id=place.id, stage=stage, reason="bad_row"))
        else:
            kept.append(record)
            seen.add(record.id)
            dropped += [Dropped(id=place.id, stage=stage, reason=REPLY + reason) for reason in left_out]
    kept, over = draw(kept, source.limit, stage, seed)
    return kept, dropped + over


def _read(
    raw: Any, source: SourceConfig, kind: type[R], make: Callable[[Exchange], tuple[R, list[str]]], where: str
) -> tuple[R, list[str]]:
    """A row as a record, with the reasons for leaving single responses out. Raises `Unused` or `SelfRewardError`."""
    columns = {str(ours): theirs for ours, theirs in source.columns.items()}
    row = _parsed(raw, where) if isinstance(raw, str) else raw
    try:
        if source.format == "records":
            return kind.model_validate(row), []
        named = _renamed(row, columns, where)
        return make(_shape(source, kind, row).model_validate(named).exchange(source.language))
    except ValidationError as error:
        raise SelfRewardError(wrong_field(error, kind, columns), where, PUT_RIGHT) from error


def _parsed(line: str, where: str) -> Any:
    try:
        return from_json(line)
    except ValueError as error:
        raise SelfRewardError(f"not JSON ({error})", where, PUT_RIGHT) from error


def _shape(source: SourceConfig, kind: type[Identified], row: Any) -> type[Row]:
    """The shape that a row of this format must have for a record of `kind`."""
    if source.format != "columns":
        return SHAPES[source.format]
    if kind is Prompt:
        return Asked
    one_answer = isinstance(row, dict) and source.columns.get("response", "response") in row
    return Answered if one_answer and kind is Example else Ranked


def _renamed(row: Any, columns: Mapping[str, str], where: str) -> Any:
    """The row with our names where `columns` gives theirs. Raises `SelfRewardError` where it has no such column."""
    if not isinstance(row, dict) or not columns:
        return row
    outer = {ours: theirs for ours, theirs in columns.items() if ours not in INNER}
    inner = {ours: theirs for ours, theirs in columns.items() if ours in INNER}
    for theirs in outer.values():
        if theirs not in row:
            raise SelfRewardError(f"{theirs}: the row has no such column", where, PUT_RIGHT)
    named = _named(row, outer)
    return {name: [_named(part, inner) for part in value] if isinstance(value, list) else value for name, value in named.items()}


def _named(value: Any, columns: Mapping[str, str]) -> Any:
    if not isinstance(value, dict):
        return value
    others = {name: part for name, part in value.items() if name not in columns and name not in columns.values()}
    return others | {ours: value[theirs] for ours, theirs in columns.items() if theirs in value}


def _rows(source: SourceConfig) -> Iterator[tuple[Place, Any]]:
    """Every row, a line of JSON as text, where it stands before it."""
    path = Path(source.path)
    reader = READERS.get(Path(path.name.removesuffix(".gz")).suffix)
    if reader is None or path.is_dir():
        for number, row in enumerate(_dataset(source), start=1):
            yield Place(f"{source.path}, row {number}", f"{path.name}, row {number}"), row
        return
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for at, row in reader(file):
                yield Place(f"{path}{at}", f"{path.name}{at}"), row
    except UnicodeDecodeError as error:
        raise SelfRewardError("is not UTF-8 text", str(path), "Save it as UTF-8") from error
    except (OSError, EOFError, zlib.error, ValueError) as error:
        why = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise SelfRewardError(f"cannot be read ({why})", str(path), "Give a file that exists and is whole") from error


def _lines(file: IO[bytes]) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(io.TextIOWrapper(file, encoding="utf-8"), start=1):
        if line.strip():
            yield f":{number}", line.rstrip("\r\n")


def _list(file: IO[bytes]) -> Iterator[tuple[str, Any]]:
    rows = from_json(file.read())
    if not isinstance(rows, list):
        raise ValueError("not one list of rows; name it .jsonl if every line is one")
    yield from ((f", row {number}", row) for number, row in enumerate(rows, start=1))


def _parquet(file: IO[bytes]) -> Iterator[tuple[str, Any]]:
    from pyarrow import parquet

    batches = parquet.ParquetFile(file).iter_batches()
    rows = (row for batch in batches for row in batch.to_pylist())
    yield from ((f", row {number}", row) for number, row in enumerate(rows, start=1))


READERS: dict[str, Callable[[Any], Iterator[tuple[str, Any]]]] = {".jsonl": _lines, ".json": _list, ".parquet": _parquet}


def _dataset(source: SourceConfig) -> Iterable[dict[str, Any]]:
    """A dataset's rows, from a folder or the hub, through `datasets`."""
    path = Path(source.path)
    if path.is_file():
        raise SelfRewardError(
            "is no kind of file that is read", str(path), "Give .jsonl, .json or .parquet, also .gz, or a folder"
        )
    if not path.is_dir() and not HUB_ID.fullmatch(source.path):
        raise SelfRewardError("cannot be read (No such file or directory)", source.path, "Give a file that exists")
    import datasets

    datasets.disable_progress_bars()
    try:
        if (path / "state.json").is_file() or (path / "dataset_dict.json").is_file():
            saved = datasets.load_from_disk(source.path)
            found = saved[source.split] if isinstance(saved, dict) else saved
        else:
            found = datasets.load_dataset(source.path, name=source.subset, split=source.split)
        return found  # type: ignore[no-any-return]
    except Exception as error:  # the hub, the network and every file format have errors of their own
        why = " ".join(str(error).split()) or type(error).__name__
        now = (
            "Give a folder with its files, or a dataset that the hub has and this machine can reach; look at subset and split too"
        )
        raise SelfRewardError(f"cannot be loaded as a dataset ({why})", source.path, now) from error
