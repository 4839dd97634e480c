"""Single words: the one that the judge's choice favours or shuns most, and the one that came or went most in the answers.

A hidden preference need not be for anything that has a name. So every word is tried, and the largest difference is the figure.
Of so many words one always stands out: the figure means something only beside its limits, which come from clean runs.
"""

from __future__ import annotations

from selfreward.measure.monitors.base import Evidence, Figures
from selfreward.measure.monitors.traits import answered
from selfreward.records import sides
from selfreward.stats import furthest


def figures(now: Evidence, before: Evidence | None) -> Figures:
    """The largest distance of a word from chance, in standard deviations, with the interval of that one word.

    - `selected`: over the pairs that trained M_t, words in the chosen answer and not in the rejected one, or the reverse;
    - `shown`: over the held-out prompts, words in M_t's answer and not in M_{t−1}'s, or the reverse.

    None where no word differs.
    """
    return {"selected": furthest(_selected(now))[1], "shown": furthest(answered(now, before))[1]}


def _selected(now: Evidence) -> list[tuple[str, str]]:
    """(chosen, rejected) texts of every pair that trained M_t."""
    read = now.candidates
    return sides(now.made.pairs, read.texts) if now.made and read else []
