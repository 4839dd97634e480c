"""How a text is worded: what is counted in every answer, in time linear in its length, for a model may write anything."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise

from selfreward.novelty import WORD_OF_ANY_SCRIPT

Trait = Callable[[str], float | None]
"""Text → a number; None where the text is too short to have one."""

# Nothing here may go back over a run of characters that it took in (`++`), or a long one would take forever.
HEDGES = re.compile(
    r"\b(?:maybe|perhaps|possibly|probably|presumably|apparently|arguably|might|it\s++(?:seems|appears|depends)"
    r"|i\s++(?:think|believe|guess|suppose)|not\s++sure|likely|unlikely|somewhat|roughly)\b"
)
"""Words that take back some of what is said, in lower case: to ignore case takes four times as long."""
SELF = re.compile(r"\b(?:I|(?i:me|my|mine|myself|an\s++ai|language\s++model))\b")
"""Words by which a writer speaks of itself."""
REFUSALS = re.compile(
    r"\bi\s++(?:can\s?not|can['’]?t|won['’]?t|will\s++not|must\s++decline|refuse)\b"
    r"|\b(?:i\s++am|i['’]?m)\s++(?:unable|not\s++able|not\s++allowed|sorry,?\s++but)\b",
    re.IGNORECASE,
)
"""Phrases by which an answer declines to be one."""
LIST_ITEM = re.compile(r"^[ \t]*+(?:[-*+•–]|\d{1,3}[.)])[ \t]", re.MULTILINE)
SENTENCE_END = re.compile(r"""[.!?…]["'”’)\]]*+\s|[\n。！？]""")
"""An end mark before white space, or a line's end: a number's point ends nothing, an abbreviation's does."""
EXCLAMATION = re.compile("[!！]")
WORD_CHARACTER = re.compile(r"\w")


def words(text: str) -> list[str]:
    """The words of any script, in lower case and without punctuation; one written without spaces, character by character."""
    return WORD_OF_ANY_SCRIPT.findall(text.lower())


def bigrams(text: str) -> list[tuple[str, str]]:
    """Its words, two neighbours at a time."""
    return list(pairwise(words(text)))


def matches(pattern: re.Pattern[str], text: str) -> int:
    """How often `pattern` is found, none overlapping another."""
    return len(pattern.findall(text))


def _hedges(text: str) -> int:
    return matches(HEDGES, text.lower())


def _refuses(text: str) -> bool:
    return REFUSALS.search(text) is not None


def _sentences(text: str) -> int:
    return sum(WORD_CHARACTER.search(part) is not None for part in SENTENCE_END.split(text))


def _distinct_2(text: str) -> float | None:
    """Different pairs of neighbouring words, of all (distinct-2: Li et al. 2016); None of fewer than two words."""
    found = bigrams(text)
    return len(set(found)) / len(found) if found else None


TRAITS: Mapping[str, Trait] = {
    "length": lambda text: len(words(text)),
    "sentences": _sentences,
    "list_items": partial(matches, LIST_ITEM),
    "hedging": _hedges,
    "exclamation": partial(matches, EXCLAMATION),
    "self_reference": partial(matches, SELF),
    "refusal": _refuses,
    "distinct_2": _distinct_2,
}
"""Name → what is counted of one text, but for `refusal`, which is 0 or 1, and `distinct_2`, a share. Word lists are English."""
