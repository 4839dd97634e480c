"""Reasons why a source of rows gives nothing: the commonest, the first row that it was met in, and the field that decides it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from selfreward.errors import SelfRewardError, cut_short
from selfreward.records import REPLY, Dropped

WITHIN = "."
"""The mark of a field in the source's own table."""
ROWS = (".path", "give rows that are used; docs/own-model.md says what is read of one")
COLUMNS = (".columns", "name the columns as they are, or give other rows")
DECIDES = {
    "language": (".language", "name one that its trees are in, or leave it out"),
    "unranked": (".columns", "name the column with people's ranks or scores"),
    "scores_disagree": (".path", "give rows whose chosen answer has the higher score, or no columns of scores"),
    "unanswered": COLUMNS, "one_response": COLUMNS, "ends_with_an_answer": COLUMNS, "prompts_differ": COLUMNS,
    "bad_row": ("data.skip_bad_rows", "set it to false, and what is wrong in the first such row is told"),
    "held_out": ("data.heldout", "lower it, or give more rows, or data.heldout_prompts"),
    "in_ift": ("data.ift.limit", "leave some prompts out of IFT by it, or give ranked sets of other prompts"),
    "measured_on": ("data.heldout", "lower it, or give ranked sets of prompts that are not held out"),
    "anchor": ("judge.checks", 'set it to "measure", or give prompts without checks'),
}  # fmt: skip
"""Reason against a row → the field that decides it, and what to do; of others the rows themselves."""
IN_TABLE = {
    ("held_out", "data.rankings"): ("eft.heldout", "lower it, or give more ranked sets, or data.heldout_rankings"),
    **{(reason, "prompts.from"): ("prompts.from", "give other prompts") for reason in ("held_out", "repeated", "empty")},
    ("bad_row", "data"): ("skip_bad_rows", "set it to false, and what is wrong in the first such row is told"),
}
"""Reason and table of the source → field and advice, where they are others there than in other tables."""


class Gap(NamedTuple):
    """The reason why a source gives nothing."""

    told: str = ""
    """Reasons with counts and an example, after what is missing; empty where there was no row."""
    now: str = ""
    """The field and what to do; empty where there was no row."""

    def error(self, what: str, where: str, otherwise: str) -> SelfRewardError:
        """The error that the source lacks `what` is needed; `otherwise`: what to do where there was no row."""
        return SelfRewardError(what + self.told, where, self.now or otherwise)


def why_none(dropped: Iterable[Dropped], table: str, texts: Mapping[str, str] = {}) -> Gap:
    """The gap that `dropped` rows leave in the source that the recipe names in `table` ("data.ift").

    `texts`: prompts of dropped records by id; other ids say where a row stands.
    """
    rows = [drop for drop in dropped if not drop.reason.startswith(REPLY)]
    if not rows:
        return Gap()
    counts = Counter(drop.reason for drop in rows)
    worst = min(counts, key=lambda reason: (-counts[reason], reason))
    first = next(drop.id for drop in rows if drop.reason == worst)
    example = cut_short(texts[first]) if first in texts else first
    told = f" ({', '.join(f'{reason} {count:,}' for reason, count in sorted(counts.items()))}; {worst}, for example: {example})"
    field, advice = IN_TABLE.get((worst, table)) or DECIDES.get(worst, ROWS)
    return Gap(told, f"{table + field if field.startswith(WITHIN) else field} decides it: {advice}")
