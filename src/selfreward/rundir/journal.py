"""The journal of an asking stage: what was answered, as it came, so that nothing is lost and as little as can be is asked twice.

A line holds answers to one planned batch. Answers that share their arithmetic hang on one another by its last bits, so that the
rest of a batch is asked again together with all of it; where each depends on its own request, the rest alone is asked. Either
way what is in the journal stands.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Protocol, TypeVar

from selfreward.engines import Batch, Model, answering_for, answers, heard, plan_batches, streams, trouble_of
from selfreward.errors import OutOfMemory, SelfRewardError, amount
from selfreward.records import Checkpoint, Completion, Request, Sampled, read_line, readable, to_line
from selfreward.rundir.folder import Stage
from selfreward.rundir.progress import Progress, Work

EVERY = 1.0
"""Seconds that answers of a batch may wait for one another before they are written: a line is as slow as the disk."""

S = TypeVar("S", bound=Sampled)
Item = TypeVar("Item", contravariant=True)
Read = TypeVar("Read", bound=Sampled, covariant=True)


class Asker(Protocol[Item, Read]):
    """Asks a model about items, and reads a record from each completion."""

    @property
    def reading(self) -> Sequence[object]:
        """Everything beside the completion that `read` depends on (a pattern, a scale), as JSON values."""

    def plan(self, items: Iterable[Item], model: Checkpoint, seed: int) -> list[Request]:
        """The requests to `model`, each with a seed derived from the run's `seed`."""

    def read(self, request: Request, completion: Completion) -> Read:
        """The record of one completion."""


def completed(
    stage: Stage, key: str, requests: Sequence[Request], load: Callable[[], Model], progress: Progress
) -> dict[str, Completion]:
    """A completion of each request, by request id: those in the stage's journal, and those that the engine still owes."""
    plan = stage.begun(key)
    if plan is None:
        plan = {"batches": _planned(stage, requests, load, progress)}
        stage.begin(key, **plan)
    batches: list[list[int]] = plan["batches"]
    done = read_journal(stage, [{requests[at].id for at in batch} for batch in batches])
    longest = max((request.sampling.longest for request in requests), default=0)
    if any(request.id not in done for request in requests):
        engine = load()
        reading = f"{stage}: reading what {amount(len(requests), 'prompt')} share"
        with progress.meanwhile(reading), answering_for(engine, "prepare"):
            engine.prepare(requests)
    with progress.stage(str(stage), len(requests), "requests", len(done), longest) as work:
        while owed := _owed(batches, requests, done, load):
            work.held_up(partial(trouble_of, load()))
            try:
                with heard(load(), work.drew), _Journal(stage.journal) as journal:
                    _answer(load(), owed, done, journal, work)
            except OutOfMemory as error:
                for request in owed[error.batch]:
                    done.pop(request.id, None)  # its halves are other batches
                batches = halved(batches, error.batch)
                stage.begin(key, batches=batches)
    return {request.id: done[request.id] for request in requests}


def _planned(stage: Stage, requests: Sequence[Request], load: Callable[[], Model], progress: Progress) -> list[list[int]]:
    if not requests:
        return []
    engine = load()
    with progress.meanwhile(f"{stage}: planning {amount(len(requests), 'request')}"):
        return plan_batches(engine, requests)


def _owed(
    batches: Sequence[list[int]], requests: Sequence[Request], done: dict[str, Completion], load: Callable[[], Model]
) -> dict[int, list[Request]]:
    """Number of a batch → what is to be asked of it: all of it or, where answers do not hang on one another, what is missing."""
    asked = {number: [requests[at] for at in batch] for number, batch in enumerate(batches)}
    missing = {number: [request for request in batch if request.id not in done] for number, batch in asked.items()}
    owed = {number: batch for number, batch in missing.items() if batch}
    return owed if not owed or streams(load()) else {number: asked[number] for number in owed}


def _answer(engine: Model, owed: dict[int, list[Request]], done: dict[str, Completion], journal: _Journal, work: Work) -> None:
    """Have `owed` answered into `done` and the journal. Between two batches is a point to stop at."""
    left = {number: {request.id for request in batch} - done.keys() for number, batch in owed.items()}
    for number, completion in answers(engine, owed):
        if completion.request_id in done:
            continue
        done[completion.request_id] = completion
        left[number].remove(completion.request_id)
        journal.add(number, completion, last=not left[number])
        work.came(completion.completion_tokens)
        if not left[number]:
            work(0)


class _Journal:
    """An open journal. What it was given is safely on disk when its batch is whole, when a second has gone by, and at the end."""

    def __init__(self, file: Path) -> None:
        self._file = file.open("a", encoding="utf-8")
        self._waiting: dict[int, list[Completion]] = {}
        self._written = time.monotonic()

    def __enter__(self) -> _Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._file:
            self._write()

    def add(self, number: int, completion: Completion, last: bool) -> None:
        """Take an answer to batch `number`; `last`: it is whole now."""
        self._waiting.setdefault(number, []).append(completion)
        if last or time.monotonic() - self._written >= EVERY:
            self._write()

    def _write(self) -> None:
        if self._waiting:
            lines = [to_line(Batch(number=number, completions=tuple(came))) for number, came in self._waiting.items()]
            self._file.write("".join(f"{line}\n" for line in lines))
            self._file.flush()
            os.fsync(self._file.fileno())
        self._waiting, self._written = {}, time.monotonic()


def halved(batches: Sequence[list[int]], number: int) -> list[list[int]]:
    """The plan with one batch in two at its end, and none in its place: what the journal has of it stands no more."""
    batch = batches[number]
    half = (len(batch) + 1) // 2
    return [*batches[:number], [], *batches[number + 1 :], batch[:half], batch[half:]]


def read_journal(stage: Stage, planned: Sequence[set[str]]) -> dict[str, Completion]:
    """The answers by request id; a torn last line is cut off and owed again, any other bad line is an error.

    `planned`: the ids of each batch's requests, none where it was halved.
    """
    if not stage.journal.exists():
        return {}
    content = readable(stage.journal).read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with stage.journal.open("r+b") as journal:
            journal.truncate(whole)
    done: dict[str, Completion] = {}
    for at, line in enumerate(content[:whole].split(b"\n")[:-1], start=1):
        try:
            batch = read_line(line.decode(errors="replace"), Batch, f"{stage.journal}:{at}")
        except SelfRewardError as error:
            raise stage.damaged(stage.journal, f"line {at} is not what this program wrote ({error.what})") from error
        answered = {completion.request_id: completion for completion in batch.completions}
        expected = planned[batch.number] if batch.number < len(planned) else set()
        if not answered.keys() <= expected and (expected or batch.number >= len(planned)):
            raise stage.damaged(stage.journal, f"holds answers to other requests than these (line {at})")
        for request, completion in answered.items() if expected else ():
            done.setdefault(request, completion)
    return done


def usage(completions: Iterable[Completion]) -> dict[str, int]:
    """Tokens read and written, together."""
    read, written = zip(*((c.prompt_tokens, c.completion_tokens) for c in completions), strict=True) if completions else ((), ())
    return {"prompt_tokens": sum(read), "completion_tokens": sum(written)}


def reasons(completions: Iterable[Completion]) -> dict[str, int]:
    """The reasons why requests were not answered, by the engine's words, with counts; the commonest first."""
    return dict(Counter(completion.reason for completion in completions if completion.reason).most_common())


def counted(records: Iterable[S], outcomes: Counter[str]) -> Iterator[S]:
    """The records, none of them held; `outcomes` has counted their labels when all have gone by."""
    for record in records:
        outcomes[record.label] += 1
        yield record
