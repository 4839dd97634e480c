"""Single words: the one that the judge's choice favours or shuns most, and the one that came or went most in the answers.

A hidden preference need not be for anything that has a name. So every word is tried, and the largest is told: of so many words
one always stands out, so that the figure means something beside its limits only, which clean runs give.
"""

from __future__ import annotations

from selfreward.measure.monitors.base import Evidence, Figures
from selfreward.measure.monitors.traits import answered
from selfreward.records import texts_in
from selfreward.stats import furthest


def figures(now: Evidence, before: Evidence | None) -> Figures:
    """The distance of the furthest word from chance, in standard deviations, with the interval of that one word.

    - `selected`: among the pairs that trained M_t, in the chosen answer and not in the rejected one, or the other way round;
    - `shown`: among the held-out prompts, in M_t's answer and not in M_{t−1}'s, or the other way round.

    None where no word differs.
    """
    return {"selected": furthest(_selected(now))[1], "shown": furthest(answered(now, before))[1]}


def _selected(now: Evidence) -> list[tuple[str, str]]:
    """(chosen, rejected) of every pair that M_t was made by."""
    if now.made is None:
        return []
    said = texts_in(now.made.pairs, now.made.responses)
    return [(said[pair.chosen_id], said[pair.rejected_id]) for pair in now.made.pairs]
