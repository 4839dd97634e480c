"""The wording of answers: built-in traits, traits of your own, and the words that set two groups of texts apart."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import pairwise
from math import isfinite, nan, sqrt
from typing import Any

from selfreward.errors import SelfRewardError, raised
from selfreward.recipe import IMPORT_PATH, DriftConfig, imported
from selfreward.records import Estimate
from selfreward.stats.novelty import WORD_OF_ANY_SCRIPT

Trait = Callable[[str], float | None]
"""Text → its number; None where the text is too short to have one."""

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
"""Phrases by which a model declines to answer."""
LIST_ITEM = re.compile(r"^[ \t]*+(?:[-*+•–]|\d{1,3}[.)])[ \t]", re.MULTILINE)
SENTENCE_END = re.compile(r"""[.!?…]["'”’)\]]*+\s|[\n。！？]""")
"""An end mark before white space, or a line's end: a number's point ends nothing, an abbreviation's does."""
EXCLAMATION = re.compile("[!！]")
WORD_CHARACTER = re.compile(r"\w")
SPACED = bytes(byte if byte > 0x7F or chr(byte).isalnum() else 0x20 for byte in range(256))
"""Bytes of UTF-8 → themselves, or a space for what ASCII has between words: nothing else ends a word in most languages."""


def words(text: str) -> list[str]:
    """The words of any script, in lower case and without punctuation; scripts without spaces give one word per character."""
    lower = text.lower()
    parts = lower.encode("utf-8", "surrogatepass").translate(SPACED).decode("utf-8", "surrogatepass").split()
    if lower.isascii():
        return parts
    found: list[str] = []
    for part in parts:  # the pattern takes four times as long as all else
        if part.isascii():
            found.append(part)
        else:
            found += WORD_OF_ANY_SCRIPT.findall(part)
    return found


def bigrams(text: str) -> list[tuple[str, str]]:
    """Pairs of neighbouring words."""
    return list(pairwise(words(text)))


def matches(pattern: re.Pattern[str], text: str) -> int:
    """Count of the non-overlapping matches of `pattern`."""
    return len(pattern.findall(text))


def _hedges(text: str) -> int:
    return matches(HEDGES, text.lower())


def _refuses(text: str) -> bool:
    return REFUSALS.search(text) is not None


def _sentences(text: str) -> int:
    return sum(WORD_CHARACTER.search(part) is not None for part in SENTENCE_END.split(text))


def _distinct_2(text: str) -> float | None:
    """Share of distinct pairs of neighbouring words (distinct-2: Li et al. 2016); None below two words."""
    pairs = bigrams(text)
    return len(set(pairs)) / len(pairs) if pairs else None


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
"""Name → a count in one text, except `refusal`, which is 0 or 1, and `distinct_2`, a share. Word lists are English."""


def known_traits(config: DriftConfig) -> dict[str, Trait]:
    """The built-in traits and those of the recipe. Raises `SelfRewardError` where a function of the user's cannot be imported."""
    return {**TRAITS, **{name: _own(name, value) for name, value in config.traits.items()}}


def _own(name: str, pattern: str) -> Trait:
    if re.fullmatch(IMPORT_PATH, pattern):
        return partial(_called, name, imported(pattern, f"drift.traits.{name}"))
    return partial(matches, re.compile(pattern, re.IGNORECASE))


def _called(name: str, function: Callable[[str], Any], text: str) -> float:
    """The number that the user's function gives for `text`. Raises `SelfRewardError` where it is not finite."""
    try:
        given = function(text)
    except Exception as error:  # the user's code may raise anything
        raise _no_number(name, text, f"raised {raised(error)}") from error
    try:
        value = nan if isinstance(given, str | bytes) or getattr(given, "ndim", None) else float(given)
    except Exception:  # neither has its value to be a number
        value = nan
    if not isfinite(value):
        raise _no_number(name, text, f"gave {' '.join(repr(given).split()):.80}")
    return value


def _no_number(name: str, text: str, what: str) -> SelfRewardError:
    now = "Make the function return a finite number for any text, an empty text too"
    return SelfRewardError(f"{what} for {text[:80]!r}", f"drift.traits.{name}", now)


Z = 1.96


def furthest(texts: Iterable[tuple[str, str]]) -> tuple[str, Estimate | None]:
    """The word that most one-sidedly occurs in one text of each pair alone, and its z by McNemar's test: + for the first text."""
    ahead, behind = Counter[str](), Counter[str]()
    for first_text, second_text in texts:
        first, second = set(words(first_text)), set(words(second_text))
        ahead.update(first - second)
        behind.update(second - first)
    z = {word: (ahead[word] - behind[word]) / sqrt(ahead[word] + behind[word]) for word in sorted({*ahead, *behind})}
    if not z:
        return "", None
    word = max(z, key=lambda candidate: abs(z[candidate]))
    return word, Estimate(value=z[word], low=z[word] - Z, high=z[word] + Z)
