"""Counts of the rows in each source that a recipe names: read, kept, and dropped by reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from selfreward.checks.finding import Finding
from selfreward.errors import amount
from selfreward.recipe import Recipe, SourceConfig
from selfreward.records import REPLY, Dropped
from selfreward.steps import Seed

ASKED_FOR = {"over_limit", "held_out", "in_ift", "measured_on", "language"}
"""Reasons that the recipe itself gives: a limit, a language, and prompts that belong to another part."""
BAD = "bad_row"
"""The reason against a row that cannot be read."""
MANY = 0.02
"""A larger share of rows dropped for other reasons is warned of."""


class Read(NamedTuple):
    """One source of rows: what it gave."""

    field: str
    """The recipe's name for it: `data.ift`."""
    path: str
    rows: int
    kept: int
    dropped: dict[str, int]
    """Counts of dropped rows by reason, the commonest first."""
    replies: dict[str, int] = {}  # noqa: RUF012
    """Single responses left out of ranked sets that are kept, by reason."""
    first: str = ""
    """The first row dropped for the commonest reason that the recipe does not give itself."""
    bad: str = ""
    """The first row that cannot be read."""

    def __str__(self) -> str:
        inside = f"; of kept rows, responses left out: {_counted(self.replies)}" if self.replies else ""
        dropped = f"; dropped: {_counted(self.dropped)}" if self.dropped else ", none dropped"
        return f"{self.field} ({Path(self.path).name}): {amount(self.rows, 'row')} read, {self.kept:,} kept{dropped}{inside}"

    @property
    def lost(self) -> dict[str, int]:
        """Rows dropped for reasons that the recipe does not give itself."""
        return {reason: count for reason, count in self.dropped.items() if reason not in ASKED_FOR}

    @property
    def warning(self) -> Finding | None:
        """A warning where more of its rows were lost than a few."""
        lost = sum(self.lost.values())
        if lost <= MANY * self.rows:
            return None
        what = f"{lost:,} of {amount(self.rows, 'row')} ({lost / self.rows:.0%}) are not used: {_counted(self.lost)}"
        now = f"{self.first} is the first; docs/own-model.md describes the fields of a row"
        return Finding("warning", f"{self.field} ({self.path})", what, now)


def read_of(field: str, source: SourceConfig, kept: int, dropped: Sequence[Dropped]) -> Read:
    """The yield of a source: the number of `kept` records, and of rows that were dropped, by reason."""
    rows = [drop for drop in dropped if not drop.reason.startswith(REPLY)]
    replies = Counter(drop.reason.removeprefix(REPLY) for drop in dropped if drop.reason.startswith(REPLY))
    reasons = dict(Counter(drop.reason for drop in rows).most_common())
    worst = next((reason for reason in reasons if reason not in ASKED_FOR), None)
    first = next((drop.id for drop in rows if drop.reason == worst), "")
    bad = next((drop.id for drop in rows if drop.reason == BAD), "")
    return Read(field, source.path, kept + len(rows), kept, reasons, dict(replies.most_common()), first, bad)


def of_seed(seed: Seed, recipe: Recipe) -> Iterator[Read]:
    """The yield of each source of `[data]`."""
    parts = {"eft": seed.eft, "rankings": seed.rankings, "ift": seed.ift, "heldout_prompts": seed.heldout_prompts,
             "heldout_rankings": seed.heldout_rankings}  # fmt: skip
    for name in ("ift", "eft", "rankings", "heldout_prompts", "heldout_rankings"):
        if source := getattr(recipe.data, name):
            yield read_of(f"data.{name}", source, len(parts[name]), [drop for drop in seed.dropped if drop.stage == name])


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{reason} {count:,}" for reason, count in counts.items())
