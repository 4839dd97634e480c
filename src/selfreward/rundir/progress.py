"""Progress of long work: stage, bar, rate and ETA on a terminal; plain lines in a file; `logs/status.json`."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from selfreward.engines import Advance
from selfreward.errors import Stopped, shown
from selfreward.rundir.seen import done_of

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bar

EVERY = 10.0
"""Seconds between two plain lines of one stage."""


class Progress:
    """Shows one stage at a time, and ends the run at a safe point once `stopping` says so."""

    def __init__(self, logs: Path, stopping: Callable[[], bool] = lambda: False, console: Console | None = None) -> None:
        self.console = console or _stderr()
        self.status_file, self._stopping = logs / "status.json", stopping

    def say(self, text: str) -> None:
        """Print one line for the user."""
        self.console.print(shown(text), markup=False, soft_wrap=True)

    @contextmanager
    def stage(self, name: str, total: int, unit: str, done: int = 0) -> Iterator[Advance]:
        """Show stage `name` ("M2/judgments") during `total` units of work, `done` of which are from an earlier run."""
        clock = _Clock(name, total, unit, done)
        self._write(clock)
        with _bar(self.console) as bar:
            task = bar.add_task(shown(name), total=total, completed=done, rate="")

            def advance(units: int) -> None:
                clock.done += units
                bar.update(task, completed=clock.done, rate=clock.rate())
                if clock.due():
                    self._write(clock)
                    if not self.console.is_terminal and clock.done < total:
                        self.say(clock.line())
                if self._stopping():
                    raise Stopped(name)

            try:
                yield advance
            finally:
                self._write(clock)
        self.say(clock.line())

    def _write(self, clock: _Clock) -> None:
        status = {"stage": clock.name, "done": clock.done, "total": clock.total, "unit": clock.unit}
        status |= {"eta_s": clock.eta(), "at": time.time(), "pid": os.getpid()}
        partial = self.status_file.with_suffix(".partial")
        with suppress(OSError):  # nobody waits for this file
            partial.write_text(json.dumps(status))
            partial.replace(self.status_file)


def _stderr() -> Console:
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def _bar(console: Console) -> Bar:
    """A bar with name, rate and ETA on a terminal; nothing elsewhere."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description:<24}", markup=False), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal,
    )  # fmt: skip


class _Clock:
    """Rate and ETA of one stage, from this run's own work."""

    def __init__(self, name: str, total: int, unit: str, done: int) -> None:
        self.name, self.total, self.unit, self.done, self._before = name, total, unit, done, done
        self._started = self._said = time.monotonic()

    def due(self) -> bool:
        """Whether it is time for another plain line."""
        now = time.monotonic()
        late = now - self._said >= EVERY
        self._said = now if late else self._said
        return late

    def per_second(self) -> float:
        return (self.done - self._before) / max(1e-9, time.monotonic() - self._started)

    def rate(self) -> str:
        speed = self.per_second()
        if 0 < speed < 0.5:
            return f"{1 / speed:,.1f} s each"
        return f"{speed:,.1f} {self.unit}/s" if speed < 100 else f"{speed:,.0f} {self.unit}/s"

    def eta(self) -> float | None:
        speed = self.per_second()
        return (self.total - self.done) / speed if speed > 0 else None

    def line(self) -> str:
        done = done_of(self.done, self.total, self.unit)
        if not self.total:
            return f"{self.name}: {done}"
        eta = self.eta()
        rest = f", {duration(eta)} left" if eta and self.done < self.total else ""
        spent = time.monotonic() - self._started
        return f"{self.name}: {done} in {spent:.1f} s ({self.rate()}{rest})"


def duration(seconds: float) -> str:
    """Seconds in a suitable unit."""
    for limit, factor, unit in ((120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / factor:,.0f} {unit}"
    return f"{seconds / 86400:,.0f} days"
