"""The laboratory's runs, several at a time: what is owed is run, what was run is kept in one file of records."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
from itertools import islice
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import NamedTuple, TypeVar

from selfreward.lab.defects import calibration
from selfreward.lab.defects.arms import arms
from selfreward.lab.defects.calibration import Rejudged, rejudge
from selfreward.lab.defects.curves import draw
from selfreward.lab.defects.page import as_markdown
from selfreward.lab.defects.runs import LabRun, ready, run_seed
from selfreward.lab.defects.table import tabulate
from selfreward.lab.defects.together import tabulate_joint
from selfreward.records import Record, iter_jsonl, to_line, write_whole
from selfreward.rundir import Progress

R = TypeVar("R", bound=Record)
NAME = "loop-health"
"""Names of the page, its figures, its drawing, and the records that they are made of."""


class Piece(NamedTuple):
    """Something to run that leaves a record."""

    name: str
    run: Callable[[Path], Record]
    """Given a folder for what is under way."""
    records: str
    """The end of the name of the file that it is kept in."""


def run_lab(out: Path, work: Path, workers: int, minutes: float, only: Sequence[str]) -> Path:
    """Run what is owed of the arms whose names begin as `only` says, for so many minutes; write the page, and return its path."""
    out.mkdir(parents=True, exist_ok=True)
    runs, rejudged = read_kept(out / f"{NAME}.runs.jsonl", LabRun), read_kept(out / f"{NAME}.rejudged.jsonl", Rejudged)
    pieces = [piece for piece in owed(runs, rejudged) if piece.name.startswith(tuple(only))]
    if minutes:
        run_pieces(pieces, out, work, workers, minutes)
    for name, text in write_up(out).items():
        write_whole(out / name, text)
    return out / f"{NAME}.md"


def write_up(out: Path) -> dict[str, str]:
    """The page, its figures and its drawing, by the names of their files, from the records in `out`."""
    runs, rejudged = read_kept(out / f"{NAME}.runs.jsonl", LabRun), read_kept(out / f"{NAME}.rejudged.jsonl", Rejudged)
    found = tabulate(runs, rejudged) | {"joint": tabulate_joint(runs), "missing": _missing(owed(runs, rejudged))}
    return {f"{NAME}.json": json.dumps(found, indent=1), f"{NAME}.svg": draw(found), f"{NAME}.md": as_markdown(found)}


def read_kept(records: Path, kind: type[R]) -> list[R]:
    """The records that were kept, none where there is no file yet; a last line that was cut off is run again."""
    if not records.exists():
        return []
    whole = records.read_bytes().rfind(b"\n") + 1
    with records.open("r+b") as file:
        file.truncate(whole)
    return list(iter_jsonl(records, kind))


def owed(runs: Iterable[LabRun], rejudged: Iterable[Rejudged]) -> list[Piece]:
    """The runs that are missing, in the order of the arms; pairs are judged again in the end."""
    done, again = {(run.arm, run.seed) for run in runs}, {(run.noise, run.seed) for run in rejudged}
    found = [
        Piece(arm.name, partial(run_seed, arm, seed), "runs")
        for arm in arms()
        for seed in arm.seeds
        if (arm.name, seed) not in done
    ]
    for noise in calibration.NOISE:
        left = (seed for seed in calibration.SEEDS if (noise, seed) not in again)
        found += [Piece(f"rejudged-{noise:g}", partial(rejudge, noise, seed), "rejudged") for seed in left]
    return found


def _missing(pieces: Iterable[Piece]) -> list[str]:
    """Arms of which runs are owed, and how many."""
    return [f"{name} ({count})" for name, count in Counter(piece.name for piece in pieces).items()]


def run_pieces(pieces: Sequence[Piece], out: Path, work: Path, workers: int, minutes: float) -> int:
    """Run pieces, `workers` at a time, beginning none after so many minutes; each is kept in `out` as soon as it is done.

    Returns how many were done. What a killed laboratory was at goes on where it was, from the folders in `work`.
    """
    end, done = time.monotonic() + 60 * minutes, 0
    waiting = iter(pieces)
    work.mkdir(parents=True, exist_ok=True)
    with (
        Progress(work).stage("laboratory", len(pieces), "runs") as advance,
        ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=ready) as pool,
    ):
        with _deaf_children():
            running = {pool.submit(piece.run, work): piece for piece in islice(waiting, workers)}
        while running:
            finished = _next(running)
            for one in finished:
                piece = running.pop(one)
                _keep(one.result(), out / f"{NAME}.{piece.records}.jsonl")
                done += 1
                advance(1)
            if time.monotonic() < end:
                running |= {pool.submit(piece.run, work): piece for piece in islice(waiting, len(finished))}
    return done


@contextmanager
def _deaf_children() -> Iterator[None]:
    """Let the processes that begin meanwhile hear no Ctrl-C: a terminal sends it to all, and each would tell its own story."""
    heard = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, heard)


def _next(running: Iterable[Future[Record]]) -> set[Future[Record]]:
    """Wait for runs that are done, at least one; Ctrl-C ends the others, which go on another time from where they were."""
    try:
        return wait(running, return_when=FIRST_COMPLETED).done
    except KeyboardInterrupt:
        for worker in active_children():
            worker.terminate()
        raise


def _keep(found: Record, records: Path) -> None:
    """Write a record down for good."""
    with records.open("a", encoding="utf-8") as out:
        out.write(to_line(found) + "\n")
        out.flush()
        os.fsync(out.fileno())
