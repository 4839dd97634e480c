"""The laboratory's runs, several at a time: missing runs are made, and their records are kept in one file."""

from __future__ import annotations

import difflib
import json
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
from itertools import islice
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import NamedTuple

from selfreward.errors import SelfRewardError
from selfreward.lab.defects import calibration
from selfreward.lab.defects.arms import arms
from selfreward.lab.defects.calibration import Rejudged, rejudge
from selfreward.lab.defects.curves import draw_curves
from selfreward.lab.defects.page import as_markdown
from selfreward.lab.defects.pictures import draw_pictures
from selfreward.lab.defects.runs import LabRun, ready, run_arm
from selfreward.lab.defects.table import tabulate
from selfreward.lab.defects.together import tabulate_joint
from selfreward.lab.defects.worlds import EASY, World
from selfreward.lab.micro.study import keep, read_kept
from selfreward.records import Record, write_whole
from selfreward.rundir import Progress


class Piece(NamedTuple):
    """A unit of work that leaves a record."""

    name: str
    run: Callable[[Path], Record]
    """Given a working folder, makes the record."""
    records: str
    """The last part of the name of the file for its record."""


def run_lab(out: Path, work: Path, workers: int, minutes: float, only: Sequence[str], world: World = EASY) -> Path:
    """Make the missing runs of the arms whose names begin as `only` says, in about `minutes`; write the page; return its path.

    Raises `SelfRewardError` where no arm's name begins so, and where there are too few runs for a page.
    """
    known = dict.fromkeys(piece.name for piece in owed([], [], world))
    for begun in only:
        if not any(name.startswith(begun) for name in known):
            near = difflib.get_close_matches(begun, known, n=1)
            now = f"{f'Did you mean {near[0]}? ' if near else ''}There are {', '.join(known)}"
            raise SelfRewardError(f"no arm's name begins with {begun!r}", "--only", now)
    pieces = [piece for piece in owed(*_kept(out, world), world) if piece.name.startswith(tuple(only))]
    if minutes:
        out.mkdir(parents=True, exist_ok=True)
        run_pieces(pieces, out, work, workers, minutes, world)
    for name, text in write_up(out, world).items():
        write_whole(out / name, text)
    return out / f"{world.stem}.md"


def _kept(out: Path, world: World) -> tuple[list[LabRun], list[Rejudged]]:
    file = out / f"{world.stem}.runs.jsonl"
    runs, rejudged = read_kept(file, LabRun), read_kept(out / f"{world.stem}.rejudged.jsonl", Rejudged)
    twice = [f"{arm}, seed {seed}" for (arm, seed), count in Counter((run.arm, run.seed) for run in runs).items() if count > 1]
    if twice:
        raise SelfRewardError(f"has a run twice ({twice[0]}), and would count it twice", str(file), "Remove one of the two lines")
    return runs, rejudged


def write_up(out: Path, world: World = EASY) -> dict[str, str]:
    """The page, its figures and its drawings, by file name, from the records in `out`."""
    runs, rejudged = _kept(out, world)
    figures = tabulate(runs, rejudged, world)
    figures |= {"joint": tabulate_joint(runs, figures["defects"], world), "missing": _missing(owed(runs, rejudged, world))}
    pictures = {f"{world.stem}-{name}.svg": picture for name, picture in draw_pictures(figures).items()}
    texts = {
        f"{world.stem}.json": json.dumps(figures, indent=1),
        f"{world.stem}.svg": draw_curves(figures),
        f"{world.stem}.md": as_markdown(figures, world),
    }
    return texts | pictures


def owed(runs: Iterable[LabRun], rejudged: Iterable[Rejudged], world: World = EASY) -> list[Piece]:
    """The missing runs, in the order of the arms; pairs are judged again at the end, in the easy world alone."""
    done, again = {(run.arm, run.seed) for run in runs}, {(run.noise, run.seed) for run in rejudged}
    pieces = [
        Piece(arm.name, partial(run_arm, arm, seed), "runs")
        for arm in arms(world)
        for seed in arm.seeds
        if (arm.name, seed) not in done
    ]
    for noise in calibration.NOISE if world == EASY else ():
        seeds = (seed for seed in calibration.SEEDS if (noise, seed) not in again)
        pieces += [Piece(f"rejudged-{noise:g}", partial(rejudge, noise, seed), "rejudged") for seed in seeds]
    return pieces


def _missing(pieces: Iterable[Piece]) -> list[str]:
    """Arms with missing runs, and how many."""
    return [f"{name} ({count})" for name, count in Counter(piece.name for piece in pieces).items()]


def run_pieces(pieces: Sequence[Piece], out: Path, work: Path, workers: int, minutes: float, world: World = EASY) -> int:
    """Run pieces, `workers` at a time, and begin none after `minutes`; each record is kept in `out` as soon as it is made.

    Returns the number of finished pieces. A killed laboratory continues from the folders in `work`.
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
        with _ending_children():
            while running:
                finished = wait(running, return_when=FIRST_COMPLETED).done
                for future in finished:
                    piece = running.pop(future)
                    keep(future.result(), out / f"{world.stem}.{piece.records}.jsonl")
                    done += 1
                    advance(1)
                if time.monotonic() < end:
                    running |= {pool.submit(piece.run, work): piece for piece in islice(waiting, len(finished))}
    return done


@contextmanager
def _deaf_children() -> Iterator[None]:
    """Start child processes that ignore Ctrl-C: a terminal sends it to all, and each would print its own error."""
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


@contextmanager
def _ending_children() -> Iterator[None]:
    """End the child processes at Ctrl-C, and at SIGTERM likewise; their runs continue another time."""
    handler = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        for worker in active_children():
            worker.terminate()
        raise
    finally:
        signal.signal(signal.SIGTERM, handler)
