"""The parser of a judge's text; `docs/parsing.md` states the rule in words.

A verdict that is not plainly one value is not read at all: a missing score is counted, but a wrong score becomes a preference.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from math import exp, fsum, isclose
from typing import NamedTuple

from selfreward.records import Outcome, Watched
from selfreward.steps.asides import QUOTATION, is_supposed, spoken_of
from selfreward.steps.score_names import BOUNDS, EXPLAINS, HEADING, LISTED_NAME, NAMED, OVERALL, SECTION
from selfreward.steps.verdict_words import (
    A_BEST,
    ADDED,
    AGAIN,
    ANOTHER,
    AROUND,
    BEFORE,
    BELOW,
    BEST_FIRST,
    ENDS_LINE,
    GOES_ON,
    LINE_END,
    LISTED,
    NOT_JOINED,
    OUT_OF,
    PARTS,
    POSITIVE,
    SCALE_BEFORE,
    SCALE_BEHIND,
    SHARE,
    SPACE,
    SPELT,
    TOTAL,
    UNITS,
)

NUMBER = re.compile(rf"[-+]?{POSITIVE}")
"""A plain number. A decimal comma is read as one, but before three digits it may stand for thousands."""
WITHIN, LONGER = re.compile(r"\d\.?\Z"), re.compile(r"\.?\d")
"""Digits directly beside the group of a pattern, which catches a part of a number then."""
NO_WORD = r"(?!\w)"
"""The end of a label, as patterns made of labels have it."""
PLAIN = r"[\s*]*"
"""White space and bold, as the default patterns have it around a colon."""
BRACKETED = re.compile(r"(?<![\\(\[（【])[(\[（【](?![(\[（【])")
"""A bracket that a list or a note may have, too."""
BULLET = re.compile(rf"{LINE_END}{SPACE}*+\*{SPACE}")
"""The beginning of a list's item, which is no emphasis."""
OF_UNITS = re.compile(rf"{AROUND}{UNITS}(?![^\W\d_])", re.IGNORECASE)
"""The words after a number that say it counts points, as the items of a list below a score do."""
SCALE_ALONE = re.compile(rf"{SPACE}*+{UNITS}?{SPACE}*+(?:制|段階)", re.IGNORECASE)
"""A sign that the number before it is the best score of a scale (`5分制`), and no score."""
NO_VERDICT = re.compile("(?!)")
NEAR = 160
"""Characters before a score in which a scale may be named."""


def compiled(pattern: str) -> re.Pattern[str]:
    """A recipe's pattern, in which `PLAIN` stands for any white space and bold, and either width of colon for a colon."""
    around = {f"{PLAIN}:{PLAIN}": f"{BEFORE}[:：]{BEFORE}", f"{PLAIN}:": f"{BEFORE}[:：]", PLAIN: BEFORE, NO_WORD: NOT_JOINED}
    for recipes, ours in around.items():
        pattern = pattern.replace(recipes, ours)
    return re.compile(pattern, re.IGNORECASE)


def verdicts(text: str, pattern: re.Pattern[str], start: int = 0) -> Iterator[re.Match[str]]:
    """The matches of `pattern` that count.

    An end of the scale is none, nor a score that is supposed or denied, nor the first of a list, nor, with words after it, what
    stands on a line below, in brackets or in the place of reasons.
    """
    for match in pattern.finditer(text, start):
        before = text[match.start() : max(match.start(1), match.start())].lstrip()
        bracketed = match.end() == match.end(1) and BRACKETED.search(before)  # a pattern that closes a bracket means it
        line = text[_line_start(text, match.start()) : match.start()]
        apart = re.search(LINE_END, before) or bracketed or EXPLAINS.search(line)
        if (
            not (apart and not ENDS_LINE.match(text, match.end()))
            and not BOUNDS.search(line)
            and not is_supposed(text, line, match.end())
            and not (BULLET.search(before) and OF_UNITS.match(text, match.end()))
            and not (match[1] == "1" and LISTED.match(text, match.end()))
        ):
            yield match


def last_verdict(text: str, pattern: re.Pattern[str]) -> re.Match[str] | None:
    """The last of `verdicts`; None where there is none."""
    return next(iter(deque(verdicts(text, pattern), maxlen=1)), None)


def _overall(text: str, pattern: re.Pattern[str]) -> re.Match[str] | None:
    """The last verdict not about one of several criteria: the first of `Score: 4`, `Relevance score: 1`; None if all are.

    One name before a colon or a dash (`Wait: Score: 3`), or as a heading, may be a remark; two that differ (`Form: Score: 1`) are
    criteria. A score that is quoted, or that a legend explains, counts only where no other is there.
    """
    matches = [*verdicts(text, pattern)]
    lines = [text[_line_start(text, match.start()) : match.start()] for match in matches]
    before = [line if match[0][:1].isalpha() else "" for line, match in zip(lines, matches, strict=True)]
    listed = [_criterion(line, LISTED_NAME) or _heading(text, matches, at) for at, line in enumerate(before)]
    several = len({*listed} - {""}) > 1
    names = [
        spoken_of(text, line, *match.span()) or _criterion(own, NAMED) or (name if several else "")
        for match, line, own, name in zip(matches, lines, before, listed, strict=True)
    ]
    for kind in ("", QUOTATION):
        if given := [match for match, name in zip(matches, names, strict=True) if name == kind]:
            return given[-1]
    return matches[-1] if len({*names}) == 1 else None


def _criterion(line: str, form: re.Pattern[str]) -> str:
    """The words that name a score at the end of its `line` so far; empty where they name the whole."""
    match = form.search(line)
    name = match[match.lastindex or 0] if match else ""
    return "" if OVERALL.search(name) else " ".join(name.lower().split())


def _heading(text: str, matches: Sequence[re.Match[str]], at: int) -> str:
    """The heading of a verdict that is the first below it and begins its line; empty where it names the whole."""
    start = matches[at].start()
    begin = _line_start(text, start)
    if re.search(r"[^\W_]", text[begin:start]):
        return ""
    last = next(iter(deque(HEADING.finditer(text, matches[at - 1].end() if at else 0, begin), maxlen=1)), None)
    name = last[last.lastindex or 0] if last else ""
    numbered = re.search(r"\d\Z", name)
    return "" if not numbered and (OVERALL.search(name) or SECTION.search(name)) else " ".join(name.lower().split())


def _line_start(text: str, at: int) -> int:
    """The line end before `at`, but no more than 80 characters before."""
    return max(text.rfind("\n", 0, at), at - 80, 0)


class Number(NamedTuple):
    """A score as it stands in a text."""

    text: str
    start: int
    end: int
    best: float | None
    """The best score, where it is named before this one."""


def _number(text: str, match: re.Match[str]) -> Number | None:
    """The number of a verdict: of a sum its total, of `10点中4点` the 4; None where it is not one plain number."""
    if not NUMBER.fullmatch(match[1] or "") or _is_part(text, match):
        return None
    terms, added, end = _terms(text, match[1], match.end())
    total = TOTAL.match(text, end) if len(terms) > 1 else None
    if total:
        same = isclose(fsum(terms), _value(total[1]), abs_tol=1e-9)
        return Number(total[1], total.start(1), total.end(), None) if same else None
    agrees, end = _parts(text, match.end(), _value(match[1]))
    if added or not agrees or _goes_on(text, end):
        return None
    score = BEST_FIRST.match(text, match.end())
    if score:
        return Number(score[1], score.start(1), score.end(), _value(match[1]))
    if SCALE_ALONE.match(text, match.end()):
        return None
    return Number(match[1], match.start(1), end, None)


def _goes_on(text: str, at: int) -> bool:
    """True if what follows at `at` makes the number before it another; a scale behind a comma does not."""
    return bool(GOES_ON.match(text, at)) and not SCALE_BEHIND.match(text, at)


def _is_part(text: str, match: re.Match[str]) -> bool:
    """True if the group of a pattern has caught some of the digits of a number."""
    start, end = match.span(1)
    return bool(WITHIN.search(text[max(start - 2, 0) : start]) or LONGER.match(text, end))


def _terms(text: str, first: str, at: int) -> tuple[list[float], bool, int]:
    """The terms of a sum of which the `first` ends in `at`; whether any is added, and where the last ends."""
    terms, added = [_value(first)], False
    while term := ADDED.match(text, at):
        terms.append(_value(term[2]) * (-1 if term[1] else 1))
        added, at = added or not term[1], term.end()
    return terms, added, at


def _parts(text: str, at: int, total: float) -> tuple[bool, int]:
    """True if a sum behind the `total` that ends in `at` comes to it, or there is none; and the place where the sum ends."""
    first = PARTS.match(text, at)
    terms, added, end = _terms(text, first[2], first.end()) if first else ([], False, at)
    agrees = isclose(fsum(terms), total, abs_tol=1e-9)
    if first and (agrees or added):
        closed = re.compile(r"[^\n()]*[)）\]]").match(text, end) if first["opened"] else None
        return agrees, closed.end() if closed else end
    return True, at


@lru_cache(1 << 12)  # a small model's judgments are often the same, and a reading takes as long as sampling some tokens
def read_score(text: str, pattern: re.Pattern[str], scale: tuple[float, float]) -> tuple[Outcome, float | None]:
    """The last verdict in a judge's own turn as a score on `scale`, both ends included; never an earlier one instead.

    The one group of `pattern` catches the score. `unparsed`: no verdict, or not one plain number. `off_scale`: a number
    beyond the ends, or out of another best score than the scale's.
    """
    match = _overall(text, pattern)
    number = _number(text, match) if match else None
    if match is None or number is None or _goes_on(text, number.end):
        return "unparsed", None
    score, (low, high) = _value(number.text), scale
    best_match = OUT_OF.match(text, number.end) or BELOW.match(text, number.end)
    best = _best(best_match) if best_match else number.best
    if best_match and best and _goes_on_behind(text, _behind_share(text, best_match.end(), score / best), score):
        return "unparsed", None
    if best is None:
        best = _best_before(text, max(number.start - NEAR, 0), match.start())
    another = None if best_match else ANOTHER.match(text, number.end)
    if not low <= score <= high or best not in (None, high) or (another and _value(another[1]) > high):
        return "off_scale", None
    return ("unparsed", None) if another and _value(another[1]) != score else ("scored", score)


def _best_before(text: str, start: int, end: int) -> float | None:
    """The best score of a scale that is named between `start` and `end`, the place of the verdict."""
    before = SCALE_BEFORE.search(text, start, end) if A_BEST.search(text[start:end].lower()) else None
    return _best(before) if before else None


def _behind_share(text: str, at: int, share: float) -> int:
    """The place behind a `share` that is said once more at `at`, as in `4/5 = 80%`; `at` where it is not, or is another."""
    match = SHARE.match(text, at)
    if not match:
        return at
    whole = 100.0 if match["percent"] else _value(match["of"]) if match["of"] else 1.0
    return match.end() if whole and isclose(_value(match[1]) / whole, share, abs_tol=0.005) else at


def _goes_on_behind(text: str, at: int, score: float) -> bool:
    """True if something behind a best score that ends in `at` makes it another, or the score."""
    return bool(GOES_ON.match(text, at) or AGAIN.match(text, at)) or not _parts(text, at, score)[0]


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


def _best(match: re.Match[str]) -> float:
    """A best score in digits, as a word, or as the sign of a percentage."""
    text = match[match.lastindex or 0]
    return _value(text) if NUMBER.fullmatch(text) else float(SPELT.get(text.lower(), 100))
