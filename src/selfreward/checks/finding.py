"""What `check` says of a recipe: one thing that is wrong, or may be."""

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
        """What a run would stop with."""
        return cls("error", error.where, error.what, error.now)
