"""Texts that a regular expression matches, made from it: whether a verdict that it catches could ever be understood."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from random import Random
from re import _parser  # type: ignore[attr-defined]
from typing import Any

from selfreward.errors import SelfRewardError

TRIES = 300
"""Witnesses that a pattern is judged by."""
MORE = 2
"""Repetitions beyond the fewest, at most."""
CHARACTERS = [*map(chr, range(32, 127)), "\n", "\t", "：", "é", "字"]
"""Signs of every class that a pattern may ask for."""
AROUND = ("", " ", "\n", "x", "4", ".", "分")
"""Texts beside a witness, for patterns that look at what is there."""
UNTOLD = {"ASSERT_NOT", "GROUPREF", "GROUPREF_EXISTS"}
"""Parts of a pattern that a text which is made piece by piece may not keep to."""


def refuse_unreadable(verdict: re.Pattern[str], words: Iterable[str], understood: Callable[[str], bool], field: str) -> None:
    """Raises `SelfRewardError` for the `field` of a recipe where `verdict` can never be understood."""
    if never_understood(verdict, words, understood):
        what = f"{field} = {verdict.pattern!r:.80} can never be understood: whatever its group catches is a part of more"
        raise SelfRewardError(what, "the recipe", "Let the group catch a whole verdict, and the pattern nothing that forbids one")


def never_understood(verdict: re.Pattern[str], words: Iterable[str], understood: Callable[[str], bool]) -> bool:
    """True if no text that `verdict` matches, with one of `words` in its group, is `understood`; False where that cannot be told.

    Judged by texts drawn from the pattern's own parts, the same ones each time.
    """
    draw, parsed = Random(0), _parser.parse(verdict.pattern, verdict.flags)
    choices, matched = list(words), False
    for _ in range(TRIES):
        text = draw.choice(AROUND) + "".join(_pieces(parsed, draw, draw.choice(choices))) + draw.choice(AROUND)
        if verdict.search(text):
            matched = True
            if understood(text):
                return False
    return matched or not UNTOLD & {str(name) for name in _names(parsed)}


def _names(parsed: Any) -> Iterator[object]:
    """The name of every part of a pattern, at any depth."""
    for part in parsed if isinstance(parsed, list | tuple | _parser.SubPattern) else ():
        if isinstance(part, list | tuple | _parser.SubPattern):
            yield from _names(part)
        else:
            yield part


def _pieces(parsed: Any, draw: Random, word: str) -> Iterator[str]:
    """A text that the parts match one after the other, `word` in the first group; what they only look at is written out."""
    for name, part in parsed:
        match str(name):
            case "LITERAL":
                yield chr(part)
            case "NOT_LITERAL" | "IN" | "ANY":
                yield _character(name, part, draw)
            case "BRANCH":
                yield from _pieces(draw.choice(part[1]), draw, word)
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                least, most, repeated = part
                for _ in range(draw.randint(least, max(least, min(most, least + MORE)))):
                    yield from _pieces(repeated, draw, word)
            case "SUBPATTERN":
                yield from [word] if part[0] == 1 else _pieces(part[3], draw, word)
            case "ATOMIC_GROUP":
                yield from _pieces(part, draw, word)
            case "ASSERT":
                yield from _pieces(part[1], draw, word)


def _character(name: Any, part: Any, draw: Random) -> str:
    """A character that a part for one matches."""
    state = _parser.State()
    state.str = ""
    alone = _parser.SubPattern(state, [(name, part)])
    fitting = re._compiler.compile(alone, 0).fullmatch  # type: ignore[attr-defined]
    return next(filter(fitting, draw.sample(CHARACTERS, len(CHARACTERS))), "")
