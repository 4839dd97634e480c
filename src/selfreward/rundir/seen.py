"""The last sign of life of a run: `logs/status.json`."""

from __future__ import annotations

from pathlib import Path

from selfreward.errors import SelfRewardError, amount
from selfreward.records import Record, read_line


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
        return read_line(file.read_text(encoding="utf-8"), Status, str(file))
    except (OSError, UnicodeDecodeError, SelfRewardError):
        return None


def done_of(done: int, total: int, unit: str) -> str:
    """Finished and all units: `3 of 8 requests`, `1 of 1 step`, `no requests`."""
    return f"{done:,} of {amount(total, unit.removesuffix('s'))}" if total else f"no {unit}"
