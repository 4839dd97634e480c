"""A figure of ours beside the one that was published."""

from __future__ import annotations

from typing import Literal, NamedTuple

Closeness = Literal["ok", "off", "-"]


class Line(NamedTuple):
    """A figure computed from a file, and the published value that it is to reproduce."""

    file: str
    """The file with its numbers, without `.jsonl`."""
    what: str
    ours: float | None
    """None where we have no such figure."""
    published: float | None = None
    """None where nothing was published, so that it cannot be off."""
    tolerance: float = 0.0
    id: str = ""
    """Its name in the list of published figures."""

    @property
    def verdict(self) -> Closeness:
        """True if our figure is within the tolerance of the published one."""
        if self.published is None:
            return "-"
        return "ok" if self.ours is not None and abs(self.ours - self.published) <= self.tolerance else "off"
