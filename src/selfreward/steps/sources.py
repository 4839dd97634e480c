"""Rows of files and datasets as records: every row is used, or counted with the reason why not.

A container (JSONL, JSON, CSV, Parquet, a dataset) gives rows. A format says what a row means: what somebody asked, and what
was answered. From that an example, a prompt or a ranking is made.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import ValidationError

from selfreward.errors import BadRows, SelfRewardError, amount
from selfreward.recipe import SourceConfig
from selfreward.records import (
    HALF,
    REPLY,
    Dropped,
    Example,
    Identified,
    Prompt,
    Ranking,
    half_in,
    whole_json,
    wrong_field,
)
from selfreward.steps.choices import as_ranked
from selfreward.steps.containers import Place, rows_of
from selfreward.steps.dialogues import Unused
from selfreward.steps.exchanges import Exchange, gathered
from selfreward.steps.formats import INPUTS, LISTS, Alpaca, Answered, Asked, Carrying, Conversation, Shape, Tree
from selfreward.steps.rankings import ABSENT, Preferred, Ranked, Rated, RatedConversation

R = TypeVar("R", bound=Identified)
T = TypeVar("T")
SHAPES: dict[str, type[Shape]] = {"oasst": Tree, "alpaca": Alpaca}
"""Shapes of rows by format; the shape of a row with `columns` depends on the kind of record."""
RATING = {"rank", "score"}
INNER = RATING | {"text", "role", "content"}
"""Names of fields in the objects inside a row; a rank or a score may stand in the row itself."""
ANSWERED = {"prompt", "response", "responses", "chosen"}
"""Columns beside which a list of turns says nothing new."""
HAS = "its columns are"
CORRECT = "Correct it"
PUT_RIGHT = f"{CORRECT}, or pass --skip-bad-rows (`evaluate`: --set skip_bad_rows=true) to leave such rows out and count them"
"""The way out where other rows are left without the bad ones."""
OTHER_FORMAT = 'Give the format that it has, such as format = "messages", or "columns" with columns = {{ {} }}'
NAME_THEM = {
    Example: 'prompt = "question", response = "answer"', Prompt: 'prompt = "question"',
    Ranking: 'prompt = "question", chosen = "good", rejected = "bad" }, or { prompt = "question", responses = "answers", '
    'scores = "points"',
}  # fmt: skip
"""Columns that a record is made of, where the rows have other names for them."""
KeptAndDropped = tuple[list[R], list[Dropped]]
"""The records that a source gave, and its rows that became none, each with a reason."""


def load_examples(
    source: SourceConfig, kind: Literal["ift", "eft"], stage: str, seed: int, skip_bad_rows: bool = False
) -> KeptAndDropped[Example]:
    """Examples in `source`: of a row with several ranked answers, the best."""
    came_from = Path(source.path).name

    def make(exchange: Exchange) -> tuple[Example, list[str]]:
        response = exchange.best()
        of = {"prompt": exchange.prompt, "context": exchange.context, "untrained": exchange.untrained}
        return Example(**of, response=response, kind=kind, source=came_from), []

    return _load(source, Example, make, stage, seed, skip_bad_rows)


def load_prompts(source: SourceConfig, stage: str, seed: int, skip_bad_rows: bool = False) -> KeptAndDropped[Prompt]:
    """Prompts in `source`: of a conversation, everything before its last answer."""

    def make(exchange: Exchange) -> tuple[Prompt, list[str]]:
        return Prompt(text=exchange.prompt, context=exchange.context, source="seed", checks=exchange.checks), []

    return _load(source, Prompt, make, stage, seed, skip_bad_rows)


def load_rankings(source: SourceConfig, stage: str, seed: int, skip_bad_rows: bool = False) -> KeptAndDropped[Ranking]:
    """Sets of two or more ranked responses in `source`, in a row each or in a row a response.

    Responses left out of a set are dropped as `reply_…`.
    """
    if source.format == "alpaca":
        now = "Give rows of format oasst, messages, columns or records"
        raise SelfRewardError(f"{source.format} rows have one answer each, and no ranks", source.path, now)

    def make(exchange: Exchange) -> tuple[Ranking, list[str]]:
        ranked, left_out = exchange.ranked()
        texts, ranks = zip(*ranked, strict=True)
        return Ranking(prompt=exchange.prompt, context=exchange.context, responses=texts, ranks=ranks), left_out

    return _load(source, Ranking, make, stage, seed, skip_bad_rows)


def draw(records: Sequence[R], limit: int | None, stage: str, seed: int) -> KeptAndDropped[R]:
    """Draw at most `limit` of `records` by the run's seed; they keep their order, and the others are dropped."""
    if limit is None or len(records) <= limit:
        return list(records), []
    places = set(random.Random(f"{seed} {stage}").sample(range(len(records)), limit))
    dropped = [Dropped(id=record.id, stage=stage, reason="over_limit") for at, record in enumerate(records) if at not in places]
    return [record for at, record in enumerate(records) if at in places], dropped


def _load(
    source: SourceConfig, kind: type[R], make: Callable[[Exchange], tuple[R, list[str]]], stage: str, seed: int, skip: bool
) -> KeptAndDropped[R]:
    kept: list[R] = []
    dropped: list[Dropped] = []
    ids: set[str] = set()
    if source.format == "records":
        kept = [record for _, record in _used(source, lambda row, where: _record(row, source, kind, where), stage, skip, dropped)]
    else:
        read = _used(source, lambda row, where: _exchange(row, source, kind, where), stage, skip, dropped)
        for place, exchange in gathered(read):
            try:
                record, left_out = make(exchange)
                if record.id in ids:
                    raise Unused("repeated")
            except Unused as unused:
                dropped.append(Dropped(id=place.id, stage=stage, reason=str(unused)))
            else:
                kept.append(record)
                ids.add(record.id)
                dropped += [Dropped(id=place.id, stage=stage, reason=REPLY + reason) for reason in left_out]
    kept, over = draw(kept, source.limit, stage, seed)
    return kept, dropped + over


def _used(
    source: SourceConfig, read: Callable[[Any, str], T], stage: str, skip: bool, dropped: list[Dropped]
) -> Iterator[tuple[Place, T]]:
    """The records that `read` makes of rows, each given with its place; rows that give none gather in `dropped`.

    Raises `BadRows` behind the last row, about the first that cannot be read, where such rows are not to be left out (`skip`).
    """
    first, bad, others = None, 0, False
    for place, raw in rows_of(source):
        try:
            yield place, _read(raw, place, read)
            others = True
        except Unused as unused:
            dropped.append(Dropped(id=place.id, stage=stage, reason=str(unused)))
            others = True
        except SelfRewardError as error:
            first, bad = first or error, bad + 1
            dropped.append(Dropped(id=place.id, stage=stage, reason="bad_row"))
    if first and not skip:
        raise _about(first, bad, others) from first


def _about(first: SelfRewardError, count: int, others: bool) -> BadRows:
    """The error about a source's bad rows. Where there are `others` to learn from, it offers to leave such rows out."""
    among = f"; {amount(count, 'row')} of this source cannot be read, and this is the first" if count > 1 else ""
    hint = "" if first.now == CORRECT else f"{first.now}. "
    now = hint + PUT_RIGHT if others else first.now
    return BadRows(first.what + among, first.where, now)


def _read(raw: Any, place: Place, read: Callable[[Any, str], T]) -> T:
    """Give a row, as it stands in its file, to `read`. Raises `Unused` or `SelfRewardError`."""
    if isinstance(raw, ValueError):
        raise SelfRewardError(str(raw), place.where, CORRECT)
    row = _parsed(raw, place.where) if isinstance(raw, str) else raw
    if half := half_in(row):
        raise SelfRewardError(f"{half}: {HALF}", place.where, CORRECT)
    return read(row, place.where)


def _record(row: Any, source: SourceConfig, kind: type[R], where: str) -> R:
    """A row as this program writes it. Raises `SelfRewardError`."""
    try:
        return kind.model_validate(row)
    except ValidationError as error:
        has = _has(error, row)
        now = OTHER_FORMAT.format(NAME_THEM[kind]) if has else CORRECT
        raise SelfRewardError(wrong_field(error, kind) + has, where, now) from error


def _exchange(row: Any, source: SourceConfig, kind: type[Identified], where: str) -> Exchange:
    """The exchange in a row of another program. Raises `Unused` or `SelfRewardError`."""
    columns = {str(ours): theirs for ours, theirs in source.columns.items()}
    try:
        renamed = _renamed(row, columns, where)
        renamed = _with_input(as_ranked(renamed), columns) if source.format == "columns" else renamed
        exchange = _shape(source, kind, renamed).model_validate(renamed).exchange(source.language)
        return exchange._replace(checks=Carrying.model_validate(renamed).checks) if kind is Prompt else exchange
    except ValidationError as error:
        has = _has(error, row)
        way = "Say which column is which, as in columns = {{ {} }}" if source.format == "columns" else OTHER_FORMAT
        now = way.format(NAME_THEM[kind]) if has else CORRECT
        raise SelfRewardError(wrong_field(error, kind, columns) + has, where, now) from error


def _has(error: ValidationError, row: Any) -> str:
    """The names of a row's columns, where one is missing."""
    first = error.errors(include_url=False)[0]
    missing = isinstance(row, dict) and row and first["type"] in ("missing", ABSENT) and len(first["loc"]) < 2
    return f" ({HAS} {', '.join(map(str, row))})" if missing else ""


def _parsed(line: str, where: str) -> Any:
    try:
        return whole_json(line)
    except ValueError as error:
        raise SelfRewardError(str(error), where, CORRECT) from error


def _shape(source: SourceConfig, kind: type[Identified], row: Any) -> type[Shape]:
    """The shape that a row of this format must have for a record of `kind`; the row has our names."""
    has = row if isinstance(row, dict) else {}
    talks = source.format == "columns" and has.keys() & {*LISTS} and not has.keys() & ANSWERED
    if source.format == "messages" or talks:
        return RatedConversation if kind is Ranking else Conversation
    if source.format != "columns":
        return SHAPES[source.format]
    if "chosen" in has and "rejected" in has:
        return Preferred
    if kind is Prompt:
        return Asked
    if "response" in has and (kind is Example or "responses" not in has):
        return Answered if kind is Example else Rated
    return Ranked


def _renamed(row: Any, columns: Mapping[str, str], where: str) -> Any:
    """The row with our names where `columns` gives theirs. Raises `SelfRewardError` where it has no such column.

    `a.b` names what is under `b` in the column `a`, where no column has that name.
    """
    if not isinstance(row, dict) or not columns:
        return row
    row = row | {
        theirs: value for theirs in columns.values() if theirs not in row and (value := _within(row, theirs)) is not None
    }
    alone = "response" in columns or ("response" in row and "responses" not in columns | row)  # then its rating stands beside it
    outer = {
        ours: theirs for ours, theirs in columns.items() if ours not in INNER or (ours in RATING and (alone or theirs in row))
    }
    for theirs in outer.values():
        if theirs not in row:
            raise SelfRewardError(f"{theirs}: the row has no such column ({HAS} {', '.join(map(str, row))})", where, CORRECT)
    renamed, inner = _named(row, outer), {ours: theirs for ours, theirs in columns.items() if ours in INNER}
    return {
        name: [_named(part, inner) for part in value] if isinstance(value, list) else value for name, value in renamed.items()
    }


def _with_input(row: Any, columns: Mapping[str, str]) -> Any:
    """The row, what stands in an `input` that no column names below a prompt that is an `instruction`, as Alpaca has it."""
    if not isinstance(row, dict) or columns.get("prompt") != "instruction":
        return row
    parts = [row.get("prompt"), *(row.get(name) for name in INPUTS if name not in columns.values())]
    texts = [part for part in parts if isinstance(part, str) and part.strip()]
    return row | {"prompt": "\n\n".join(texts)} if isinstance(parts[0], str) else row


def _within(row: Any, path: str) -> Any:
    """The value under a dotted name; None where there is none."""
    for name in path.split("."):
        row = row.get(name) if isinstance(row, dict) else None
    return row


def _named(value: Any, columns: Mapping[str, str]) -> Any:
    if not isinstance(value, dict):
        return value
    others = {name: part for name, part in value.items() if name not in columns and name not in columns.values()}
    return others | {ours: value[theirs] for ours, theirs in columns.items() if theirs in value}
