"""Progress of long work as people see it: stage, bar, rate and ETA on a terminal; plain lines in a file; `logs/status.json`.

Whatever the work is held up by, a pass over a thousand prompts or a slow file system, something is said every ten seconds.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from threading import Event, RLock, Thread
from typing import TYPE_CHECKING, Protocol

from selfreward.errors import Stopped, amount, shown, terminal
from selfreward.rundir.seen import done_of

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bar

EVERY = 10.0
"""Seconds between two plain lines of one stage."""
OFTEN = 5.0
"""Seconds between two lines about a server that is waited for before the first stage."""
BEAT = 1.0
"""Seconds between two looks at whether a line is due."""


class Server(Protocol):
    """An engine that somebody else runs."""

    trouble: str
    """The reason why it does not answer; empty while it does."""


class Progress:
    """Shows one stage at a time, and ends the run at a safe point once `stopping` says so."""

    def __init__(self, logs: Path, stopping: Callable[[], bool] = lambda: False, console: Console | None = None) -> None:
        self.console = console or _stderr()
        self.status_file, self._stopping = logs / "status.json", stopping
        self._lock, self._shown = RLock(), list[Callable[[], None]]()

    def say(self, text: str) -> None:
        """Print one line for the user."""
        self.console.print(shown(text), markup=False, emoji=False, soft_wrap=True)

    @contextmanager
    def stage(self, name: str, total: int, unit: str, done: int = 0, longest: int = 0) -> Iterator[Work]:
        """Show stage `name` ("M2/judgments") while `total` units of work are done, `done` of them in an earlier run.

        `longest`: tokens of a unit, at most; 0 where units have none.
        """
        clock = _Clock(name, total, unit, done, longest)
        self._write(clock)
        with _bar(self.console) as bar:
            task = bar.add_task(shown(name), total=total, completed=done, told="")

            def show() -> None:
                bar.update(task, completed=clock.done, told=", ".join(clock.told()))
                if clock.due():
                    self._write(clock)
                    if not self.console.is_terminal and clock.done < total:
                        self.say(clock.line())

            try:
                with self._beating(show):
                    yield Work(clock, lambda: self._refresh(show), lambda: self._assert_wanted(name))
            finally:
                self._write(clock)
        self.say(clock.line())

    @contextmanager
    def meanwhile(self, what: str | Callable[[], str], every: float | None = None) -> Iterator[None]:
        """Say every ten seconds, or `every` so many, that `what` ("M2: loading") is being done, which has no parts to count."""
        began = last_line = time.monotonic()

        def show() -> None:
            nonlocal last_line
            if (now := time.monotonic()) - last_line >= (every or EVERY):
                last_line = now
                self.say(f"{what if isinstance(what, str) else what()}, {duration(now - began)} so far")

        with self._beating(show):
            yield

    def waiting_for(self, server: Server, url: str) -> AbstractContextManager[None]:
        """Say every few seconds that `server` is being asked at `url`, or why it does not answer."""
        return self.meanwhile(lambda: server.trouble or f"asking {url}", OFTEN)

    @contextmanager
    def _beating(self, show: Callable[[], None]) -> Iterator[None]:
        """Call `show` every second in a thread of its own; while there are several such, the last one alone."""
        ended = Event()

        def beat() -> None:
            while not ended.wait(BEAT):
                if self._shown[-1:] == [show]:
                    self._refresh(show)

        thread = Thread(target=beat, daemon=True)
        self._shown.append(show)
        thread.start()
        try:
            yield
        finally:
            self._shown.remove(show)
            ended.set()
            thread.join()

    def _refresh(self, show: Callable[[], None]) -> None:
        with self._lock:
            show()

    def _assert_wanted(self, name: str) -> None:
        if self._stopping():
            raise Stopped(name)

    def _write(self, clock: _Clock) -> None:
        status = {"stage": clock.name, "done": clock.done, "total": clock.total, "unit": clock.unit}
        status |= {"eta_s": clock.eta(), "at": time.time(), "pid": os.getpid()}
        status |= {"tokens": clock.tokens} if clock.tokens else {}
        partial = self.status_file.with_suffix(".partial")
        with suppress(OSError):  # nobody waits for this file
            partial.write_text(json.dumps(status))
            partial.replace(self.status_file)


class Work:
    """The work of one stage, told as it is done. Counting raises `Stopped` where the run was asked to end, but not in `came`."""

    def __init__(self, clock: _Clock, show: Callable[[], None], assert_wanted: Callable[[], None]) -> None:
        self._clock, self._show, self._assert_wanted = clock, show, assert_wanted

    def __call__(self, units: int) -> None:
        """Count these units as done."""
        self._clock.done += units
        self._show()
        self._assert_wanted()

    def drew(self, tokens: int) -> None:
        """Count these tokens as drawn, in units that are not done yet."""
        self._clock.drawn += tokens
        self._assert_wanted()

    def held_up(self, by: Callable[[], str]) -> None:
        """Have told in the place of rates what `by` says that the work waits for, while it says anything."""
        self._clock.trouble = by

    def came(self, tokens: int) -> None:
        """One more unit, of so many tokens, is done, but this is no point to stop at."""
        self._clock.done += 1
        self._clock.came += tokens
        self._clock.squares += tokens**2
        self._show()


def _stderr() -> Console:
    return terminal(stderr=True)


def _bar(console: Console) -> Bar:
    """A bar with name, rate and ETA on a terminal; nothing elsewhere."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    return Progress(
        TextColumn("{task.description:<24}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TextColumn("{task.fields[told]}", markup=False), console=console, transient=True, disable=not console.is_terminal,
    )  # fmt: skip


class _Clock:
    """Rate and ETA of one stage, from this run's own work."""

    def __init__(self, name: str, total: int, unit: str, done: int, longest: int) -> None:
        self.name, self.total, self.unit, self.done, self._before, self._longest = name, total, unit, done, done, longest
        self.drawn = self.came = self.squares = 0
        """Tokens that an engine told of while it drew them, those of units that are done, and the sum of their squares."""
        self.trouble: Callable[[], str] = str
        """The reason why the work waits; empty where it goes on."""
        self._started = self._said = time.monotonic()

    @property
    def tokens(self) -> int:
        """Tokens drawn, as far as is known."""
        return max(self.drawn, self.came)

    def due(self) -> bool:
        """True if it is time for another plain line."""
        now = time.monotonic()
        late = now - self._said >= EVERY
        self._said = now if late else self._said
        return late

    def spent(self) -> float:
        return max(1e-9, time.monotonic() - self._started)

    def eta(self) -> float | None:
        """Seconds left: by tokens where those of a unit are known or bounded, else by units; None where nothing tells."""
        mine = self.done - self._before
        if self.tokens and (each := self.came / mine if mine else self._longest):
            wanted = (self.total - self.done) * each
            under_way = self.drawn - min(self.drawn, self.came)
            return max(wanted - under_way, self._old() * wanted) * self.spent() / self.tokens
        return (self.total - self.done) * self.spent() / mine if mine else None

    def _old(self) -> float:
        """Share of the mean that a unit which has outlived most still needs: variance by squared mean, as of gamma lifetimes."""
        mine = self.done - self._before
        return max(0.1, mine * self.squares / self.came**2 - 1 if self.came else 0)

    def told(self) -> list[str]:
        """Rates and ETA; nothing that is not known. While something holds the work up, that alone."""
        if trouble := self.trouble():
            return [trouble]
        mine, left = self.done - self._before, self.eta() if self.done < self.total else None
        most = "at most " if not mine else ""  # of units that are all as long as they may be
        return [
            *([self._rate(mine / self.spent())] if mine else []),
            *([f"{_number(self.tokens / self.spent())} tokens/s"] if self.tokens else []),
            *([f"{most}{duration(max(1.0, left))} left"] if left is not None else []),
        ]

    def _rate(self, speed: float) -> str:
        return f"{1 / speed:,.1f} s each" if 0 < speed < 0.5 else f"{_number(speed)} {self.unit}/s"

    def line(self) -> str:
        done = done_of(self.done, self.total, self.unit)
        if not self.total:
            return f"{self.name}: {done}"
        tokens = f", {amount(self.tokens, 'token')}" if self.tokens else ""
        told = ", ".join(self.told())
        return f"{self.name}: {done}{tokens} in {self.spent():.1f} s{f' ({told})' if told else ''}"


def _number(speed: float) -> str:
    return f"{speed:,.1f}" if speed < 100 else f"{speed:,.0f}"


def duration(seconds: float) -> str:
    """Seconds in a suitable unit."""
    for limit, factor, unit in ((120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / factor:,.0f} {unit}"
    return f"{seconds / 86400:,.0f} days"
