"""A finding of `check`: one thing in a recipe that is wrong, or may be."""

from __future__ import annotations

from typing import Literal, NamedTuple

from selfreward.errors import SelfRewardError


class Finding(NamedTuple):
    """Something that is wrong with a recipe, or may be."""

    level: Literal["error", "warning"]
    where: str
    what: str
    now: str

    @classmethod
    def of(cls, error: SelfRewardError) -> Finding:
        """The finding for an error that would end a run."""
        return cls("error", error.where, error.what, error.now)

    def __str__(self) -> str:
        return f"{self.level}: {self.where}: {self.what}. {self.now}"
