"""The parser of a judge's text; `docs/parsing.md` states the rule in words.

A verdict that is not plainly one value is not read at all: a missing score is counted, but a wrong score becomes a preference.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Iterator
from functools import cached_property
from math import exp, fsum, isclose
from typing import NamedTuple

from selfreward.engines import CLOSE, OPEN, in_quotes
from selfreward.records import Outcome, Watched
from selfreward.steps.verdict_words import (
    ADDED,
    ANSWERS,
    AROUND,
    ASSISTANTS,
    BEFORE,
    BEST_FIRST,
    ENDS_LINE,
    GOES_ON,
    LINE_END,
    LISTED,
    NAMED,
    OUT_OF,
    OVERALL,
    POSITIVE,
    SPACE,
    SPELT,
    TOTAL,
    UNITS,
    USERS,
)

MARKS = rf"{SPACE}*+[#*>]*+{SPACE}*+"
"""Characters that may stand on a line before a role marker."""
AFTER_ROLE = rf"(?:{SPACE}|\*)*+"
_TOKEN = (
    r"<\s*+/?\s*+[|｜][^<>|｜\n]{1,40}[|｜]\s*+>"
    r"|<\s*+/?\s*+\|?(?:im_start|im_end|end|endoftext|eos|end_of_turn|start_of_turn|user|assistant|system)\|?\s*+>"
    r"|</s>|\[\s*+/?INST\s*+\]"
)
_ROLE = (
    rf"{LINE_END}(?P<marks>{MARKS})"
    rf"(?:(?:user|human|assistant|system|(?P<task>instruction)|{USERS}|{ASSISTANTS}|{ANSWERS}){AFTER_ROLE}[:：]"
    rf"|(?:user|human|assistant|system|{USERS}|{ASSISTANTS}){AFTER_ROLE}(?={LINE_END}))"
)
TURNS = re.compile(rf"(?P<open>{OPEN})|(?P<close>{CLOSE})|(?P<token>{_TOKEN})|(?P<role>{_ROLE})", re.IGNORECASE)
"""The beginning or end of a thought, and an end of turn or a role marker, as a token or spelt out. Models make up markers of
their own (`<|im_answer|>`), so every name between pipes is one."""
OWN_NAME = re.compile(rf"\s*+{MARKS}(?:assistant|{ASSISTANTS}|{ANSWERS}){AFTER_ROLE}(?:[:：]|(?={LINE_END}))", re.IGNORECASE)
"""The writer's own name at the start of a text, which small models write, and which forges no turn."""
HEADED = re.compile(rf"(?:{SPACE}|\*)*+(?:{LINE_END}\s*+)?{LINE_END.replace('[', '[^', 1)}*+")
"""The text behind a role: the rest of its line, or the next line with words where it stands alone."""
NUMBER = re.compile(rf"[-+]?{POSITIVE}")
"""A plain number. A decimal comma is read as one, but before three digits it may stand for thousands."""
SLASH = re.compile(rf"{AROUND}[/∕／]{AROUND}\d")
PLAIN = r"[\s*]*"
"""White space and bold, as the default patterns have it around a colon."""
BRACKETED = re.compile(r"(?<![\\(\[（【])[(\[（【](?![(\[（【])")
"""A bracket that a list or a note may have, too."""
BULLET = re.compile(rf"{LINE_END}{SPACE}*+\*{SPACE}")
"""The beginning of a list's item, which is no emphasis."""
OF_UNITS = re.compile(rf"{AROUND}{UNITS}(?![^\W\d_])", re.IGNORECASE)
"""The words after a number that say it counts points, as the items of a list below a score do."""
NO_VERDICT = re.compile("(?!)")


class Turn(NamedTuple):
    """A judge's own turn, as a place in its text."""

    start: int
    """The place behind its last closed thought."""
    end: int
    thinking: bool
    """True if the text ends within a thought, so that nothing was said."""


def find_turn(text: str, verdict: re.Pattern[str] = NO_VERDICT) -> Turn:
    """The turn from behind its last closed thought to the first end of turn or role marker outside of thoughts.

    A marker on the first line ends nothing, for there was no turn before it, nor does the writer's own name. As long as no
    `verdict` has been given, nor does a role as a heading, in a block quote or in fenced code: there a judge quotes what it
    was shown.
    """
    start, opened, ended = 0, False, -1
    forged: int | None = None
    quoting = _Quoting(text, verdict)
    name = _own_name(text, 0)
    for mark in TURNS.finditer(text):
        kind = "role" if mark["role"] else mark.lastgroup
        if kind != "role" and in_quotes(text, mark):
            continue
        if opened:
            if kind == "open" and ended >= 0:
                break
            ended = mark.start() if kind == "token" else ended
            opened = kind != "close"
        elif kind == "close":  # also one that the prompt, or a thought which speaks of its end, had opened
            forged = None
        elif kind == "token" or (kind == "open" and forged is not None):
            return Turn(start, mark.start() if forged is None else forged, False)
        elif kind == "open":
            opened, ended = True, -1
        elif forged is None and mark.start() >= name and not quoting.at(mark, start):
            forged = mark.start()
        if kind == "close":
            start, name = mark.end(), _own_name(text, mark.end())
    return Turn(start, len(text) if forged is None else forged, opened)


def own_turn(text: str, verdict: re.Pattern[str] = NO_VERDICT) -> str:
    """The text of `find_turn`; empty where it ends within a thought."""
    start, end, thinking = find_turn(text, verdict)
    return "" if thinking else text[start:end]


def _own_name(text: str, start: int) -> int:
    match = OWN_NAME.match(text, start)
    return match.end() if match else start


class _Quoting:
    """Tells role markers that a judge quotes from those that begin a turn; asked in the order of the text."""

    def __init__(self, text: str, verdict: re.Pattern[str]) -> None:
        self._text, self._verdict = text, verdict
        self._fences, self._counted, self._last_fence = 0, 0, text.rfind("```")

    def at(self, mark: re.Match[str], start: int) -> bool:
        """True if a role is quoted, in a turn that begins at `start`."""
        self._fences += self._text.count("```", self._counted, mark.start())
        self._counted = mark.start()
        fenced = self._fences % 2 == 1 and mark.start() < self._last_fence
        if self._verdict is NO_VERDICT or mark["task"] or not (fenced or "#" in mark["marks"] or ">" in mark["marks"]):
            return False
        headed = HEADED.match(self._text, mark.end())
        end, position = headed.end() if headed else mark.end(), bisect_left(self._given, start)
        return position == len(self._given) or self._given[position] > end

    @cached_property
    def _given(self) -> list[int]:
        """The end of each verdict."""
        return [match.end() for match in verdicts(self._text, self._verdict)]


def compiled(pattern: str) -> re.Pattern[str]:
    """A recipe's pattern, in which `PLAIN` stands for any white space and bold, and either width of colon for a colon."""
    return re.compile(pattern.replace(f"{PLAIN}:{PLAIN}", f"{BEFORE}[:：]{BEFORE}").replace(PLAIN, BEFORE), re.IGNORECASE)


def verdicts(text: str, pattern: re.Pattern[str], start: int = 0) -> Iterator[re.Match[str]]:
    """The matches of `pattern` that count: none below its line or in brackets with words after it, and no list's first."""
    for match in pattern.finditer(text, start):
        before = text[match.start() : max(match.start(1), match.start())].lstrip()
        bracketed = match.end() == match.end(1) and BRACKETED.search(before)  # a pattern that closes a bracket means it
        below = (re.search(LINE_END, before) or bracketed) and not ENDS_LINE.match(text, match.end())
        if (
            not below
            and not (BULLET.search(before) and OF_UNITS.match(text, match.end()))
            and not (match[1] == "1" and LISTED.match(text, match.end()))
        ):
            yield match


def last_verdict(text: str, pattern: re.Pattern[str]) -> re.Match[str] | None:
    """The last of `verdicts`; None where there is none."""
    return next(iter(deque(verdicts(text, pattern), maxlen=1)), None)


def _overall(text: str, pattern: re.Pattern[str]) -> re.Match[str] | None:
    """The last verdict not about one of several criteria: the first of `Score: 4`, `Relevance score: 1`; None if all are."""
    last, names = None, set[str]()
    for match in verdicts(text, pattern):
        name = _criterion(text, match)
        if not name:
            last = match
        names.add(name)
        alone = match
    return last or (alone if len(names) == 1 else None)


def _criterion(text: str, match: re.Match[str]) -> str:
    """The words that name a score at the beginning of its line; empty where they name the whole."""
    begin = max(text.rfind("\n", 0, match.start()), match.start() - 80, 0)
    name = NAMED.search(text[begin : match.start()])
    return "" if name is None or OVERALL.search(name[1]) else " ".join(name[1].lower().split())


class Number(NamedTuple):
    """A score as it stands in a text."""

    text: str
    start: int
    end: int
    best: float | None
    """The best score, where it is named before this one."""


def _number(text: str, match: re.Match[str]) -> Number | None:
    """The number of a verdict: of a sum its total, of `10点中4点` the 4; None where it is not one plain number."""
    if not NUMBER.fullmatch(match[1] or ""):
        return None
    terms, at = [_value(match[1])], match.end()
    added = False
    while term := ADDED.match(text, at):
        terms.append(_value(term[2]) * (-1 if term[1] else 1))
        added, at = added or not term[1], term.end()
    total = TOTAL.match(text, at) if len(terms) > 1 else None
    if total:
        same = isclose(fsum(terms), _value(total[1]), abs_tol=1e-9)
        return Number(total[1], total.start(1), total.end(), None) if same else None
    if added or GOES_ON.match(text, match.end()):
        return None
    score = BEST_FIRST.match(text, match.end())
    if score:
        return Number(score[1], score.start(1), score.end(), _value(match[1]))
    return Number(match[1], match.start(1), match.end(), None)


def read_score(text: str, pattern: re.Pattern[str], scale: tuple[float, float]) -> tuple[Outcome, float | None]:
    """The last verdict in a judge's own turn as a score on `scale`, both ends included; never an earlier one instead.

    The one group of `pattern` catches the score. `unparsed`: no verdict, or not one plain number. `off_scale`: a number
    beyond the ends, or out of another best score than the scale's.
    """
    match = _overall(text, pattern)
    number = _number(text, match) if match else None
    if number is None or GOES_ON.match(text, number.end):
        return "unparsed", None
    best_match = OUT_OF.match(text, number.end)
    if best_match and (GOES_ON.match(text, best_match.end()) or SLASH.match(text, best_match.end())):
        return "unparsed", None
    best = _best(best_match[best_match.lastindex or 0]) if best_match else number.best
    score, (low, high) = _value(number.text), scale
    if not low <= score <= high or best not in (None, high):
        return "off_scale", None
    return "scored", score


def expected_score(text: str, pattern: re.Pattern[str], watched: Iterable[Watched]) -> tuple[Outcome, float | None]:
    """The score to be expected at a verdict that `read_score` took: the sum of s · p(s) over the points s of the scale.

    p(s) is how likely the judge was to write s in that place (`watched`, whose places are in `text`), all points together
    made 1. `no_logprobs`: the verdict is no such place, for it is more than one token ("4.5"), part of one, or the engine
    gave no probabilities.
    """
    match = _overall(text, pattern)
    number = _number(text, match) if match else None
    start, verdict = (number.start, number.text) if number else (-1, "")
    at = next((place.logprobs for place in watched if place.at == start and verdict in place.logprobs), None)
    if at is None:
        return "no_logprobs", None
    most = max(at.values())
    weights = {int(point): exp(logprob - most) for point, logprob in at.items()}
    return "scored", fsum(point * weight for point, weight in weights.items()) / fsum(weights.values())


def _value(number: str) -> float:
    return float(number.replace(",", ".")) + 0.0  # there is one zero, without a sign


def _best(text: str) -> float:
    """A best score in digits, as a word, or as the sign of a percentage."""
    return _value(text) if NUMBER.fullmatch(text) else float(SPELT.get(text.lower(), 100))
