"""The laboratory's runs, several at a time: what is owed is run, what was run is kept in one file of records."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from selfreward.jsonl import iter_jsonl, to_line
from selfreward.micro.lab.arms import Arm
from selfreward.micro.lab.runs import LabRun, run_seed

Piece = tuple[Arm, int]
"""An arm and one of its seeds."""


def read_runs(records: Path) -> list[LabRun]:
    """The runs that were kept, none where there is no file yet; a last line that was cut off is run again."""
    if not records.exists():
        return []
    whole = records.read_bytes().rfind(b"\n") + 1
    with records.open("r+b") as file:
        file.truncate(whole)
    return list(iter_jsonl(records, LabRun))


def owed(arms: Iterable[Arm], done: Iterable[LabRun]) -> list[Piece]:
    """What has not been run, in the order of the arms."""
    finished = {(run.arm, run.seed) for run in done}
    return [(arm, seed) for arm in arms for seed in arm.seeds if (arm.name, seed) not in finished]


def run_pieces(
    pieces: list[Piece],
    records: Path,
    work: Path,
    workers: int,
    minutes: float,
    run: Callable[[Arm, int, Path], LabRun] = run_seed,
) -> int:
    """Run pieces, `workers` at a time, beginning none after so many minutes; each is kept in `records` as soon as it is done.

    Returns how many were done. What a killed laboratory was at goes on where it was, from the folders in `work`.
    """
    end, done = time.monotonic() + 60 * minutes, 0
    waiting, console = iter(pieces), Console(stderr=True, highlight=False)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool, _Bar(console, len(pieces)) as advance:
        running = {pool.submit(run, *piece, work) for piece in islice(waiting, workers)}
        while running:
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for one in finished:
                found = _kept(one, records)
                done += 1
                advance(f"{found.arm} {found.seed}")
            if time.monotonic() < end:
                running |= {pool.submit(run, *piece, work) for piece in islice(waiting, len(finished))}
    return done


def _kept(future: Future[LabRun], records: Path) -> LabRun:
    """A finished run, written down for good."""
    found = future.result()
    with records.open("a", encoding="utf-8") as out:
        out.write(to_line(found) + "\n")
        out.flush()
        os.fsync(out.fileno())
    return found


class _Bar:
    """A bar over all runs with the time that is left; off a terminal, a line for each run."""

    def __init__(self, console: Console, total: int) -> None:
        self._console, self._total, self._done, self._began = console, total, 0, time.monotonic()
        columns = (TextColumn("{task.description:<28}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)

    def __enter__(self) -> Callable[[str], None]:
        self._bar.start()
        self._task = self._bar.add_task("laboratory", total=self._total)
        return self._advance

    def _advance(self, what: str) -> None:
        self._done += 1
        self._bar.update(self._task, advance=1, description=what)
        if not self._console.is_terminal:
            left = (time.monotonic() - self._began) / self._done * (self._total - self._done) / 60
            self._console.print(f"{what}: {self._done} of {self._total} runs, about {left:.0f} min left", soft_wrap=True)

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
