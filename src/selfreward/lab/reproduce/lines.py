"""A figure of ours beside the one that was published."""

from __future__ import annotations

from typing import Literal, NamedTuple

Agreement = Literal["ok", "off", "-"]


class Line(NamedTuple):
    """A figure computed from a file, and the published value that it is to reproduce."""

    file: str
    """Where its numbers come from, without `.jsonl`."""
    what: str
    ours: float | None
    """None where we have none to put beside the published one."""
    published: float | None = None
    """None where nothing was published: then there is nothing to be off from."""
    tolerance: float = 0.0
    id: str = ""
    """Its name in the list of published figures."""

    @property
    def verdict(self) -> Agreement:
        """Whether ours is within the tolerance of the published one."""
        if self.published is None:
            return "-"
        return "ok" if self.ours is not None and abs(self.ours - self.published) <= self.tolerance else "off"
