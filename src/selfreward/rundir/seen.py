"""The last sign of life of a run (`logs/status.json`), and the error that ended it."""

from __future__ import annotations

from pathlib import Path

from selfreward.errors import SelfRewardError, amount
from selfreward.records import Record, read_line, readable

ENDED = "error.txt"
"""In the folder of an attempt: the error that ended it."""


class Status(Record):
    """The stage in which a process was last seen: `logs/status.json`."""

    stage: str
    done: int
    total: int
    unit: str
    eta_s: float | None
    at: float
    """Time of writing, in seconds since 1970."""
    pid: int
    tokens: int = 0
    """Drawn by that process in this stage, as far as its engine tells."""

    @property
    def done_of(self) -> str:
        """Finished and all units of work: `3 of 8 requests`."""
        return done_of(self.done, self.total, self.unit)


def last_seen(file: Path) -> Status | None:
    """The last sign of life of a process; None where `file` is missing or damaged."""
    try:
        return read_line(readable(file).read_text(encoding="utf-8"), Status, str(file))
    except (OSError, UnicodeDecodeError, SelfRewardError):
        return None


def done_of(done: int, total: int, unit: str) -> str:
    """Finished and all units: `3 of 8 requests`, `1 of 1 step`, `no requests`."""
    return f"{done:,} of {amount(total, unit.removesuffix('s'))}" if total else f"no {unit}"


def attempts(logs: Path) -> list[int]:
    """Numbers of the attempts at a run."""
    return [int(number) for path in logs.glob("attempt_*") if (number := path.name.split("_")[1]).isdecimal()]


def last_error(logs: Path) -> str:
    """The error that ended the last attempt at a run; empty where none did."""
    file = logs / f"attempt_{max(attempts(logs), default=0)}" / ENDED
    try:
        return readable(file).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
