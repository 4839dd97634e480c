"""How the text of a judge is read; `docs/parsing.md` states the rule in words.

Where a verdict is not plainly one value it is not read at all: a score that is missing is counted, and one that is wrong
becomes a preference.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from math import exp, fsum

from selfreward.records import Outcome, Watched

# Models repeat themselves without end, so no pattern here may go back over a run of characters that it took in (`*+`).
LINE_END = r"[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]"
SPACE = r"[^\S\n\r\v\f\x1c-\x1e\x85\u2028\u2029]"
"""White space of any kind within a line."""
MARKS = rf"{SPACE}*+[#*>]*+{SPACE}*+"
"""What may stand on a line before a role marker."""
AFTER_ROLE = rf"(?:{SPACE}|\*)*+"
END_OF_TURN = re.compile(
    r"<\s*+/?\s*+[|｜][^<>|｜\n]{1,40}[|｜]\s*+>"
    r"|<\s*+/?\s*+\|?(?:im_start|im_end|end|endoftext|eos|end_of_turn|start_of_turn|user|assistant|system)\|?\s*+>"
    r"|</s>|\[\s*+/?INST\s*+\]"
    rf"|{LINE_END}{MARKS}"
    rf"(?:(?:user|human|assistant|system|instruction){AFTER_ROLE}[:：]|(?:user|human|assistant|system){AFTER_ROLE}(?={LINE_END}))",
    re.IGNORECASE,
)
"""An end of turn or a role marker, as a token or spelt out; what follows is a forged turn.

Models make up markers of their own (`<|im_answer|>`), so every name between pipes is one.
"""
OWN_NAME = re.compile(rf"\s*+{MARKS}assistant{AFTER_ROLE}(?:[:：]|(?={LINE_END}))", re.IGNORECASE)
"""At the start of a text: who writes names itself, as small models do, and forges no turn."""
POSITIVE = r"\d+(?:\.\d+|,(?!\d{3}\b)\d+)?"
NUMBER = re.compile(rf"[-+]?{POSITIVE}")
"""A plain number. A decimal comma is read as one, but before three digits it may stand for thousands."""
WRAPPING = r"*_()\[\]{}\"'“”‘’«»`$"
AROUND = rf"(?:{SPACE}|[{WRAPPING}])*+"
"""Spaces, emphasis, brackets and quotes, which change nothing of what they stand around."""
DIGIT = r"[\d¼-¾²³¹⁰⁴-⁹₀-₉⅐-⅞↉]"
SIGN = rf"[^\w\s.!?:/∕／。！？：{WRAPPING}]"
GOES_ON = re.compile(
    rf"[.,:]?{DIGIT}|e[-+−]?\d"
    rf"|{SPACE}*+\*?{SPACE}*+{DIGIT}"
    rf"|{AROUND}(?:{SIGN}++|\.{{2,3}}|to|or|and|through|plus|minus|times){AROUND}{DIGIT}",
    re.IGNORECASE,
)
"""What makes the number before it a part of something: a longer number, a power, a range, a sum, a list."""
OUT_OF = re.compile(
    rf"{AROUND}(?:(?:[^\W\d_]++{AROUND})?(?:[/∕／]|out{SPACE}++of)|(?:(?:point|star|mark)s?{AROUND})?of)"
    rf"(?:{AROUND}(?:a|the|possible|maximum|total|of)\b)*+{AROUND}({POSITIVE})",
    re.IGNORECASE,
)
"""The best score there is, where a verdict names it."""


def own_turn(text: str) -> str:
    """What was written before the first end of turn or role marker, but for the writer's own name at the start.

    A marker on the first line ends nothing: there was no turn before it.
    """
    named = OWN_NAME.match(text)
    end = END_OF_TURN.search(text, named.end() if named else 0)
    return text[: end.start()] if end else text


def last_verdict(text: str, pattern: re.Pattern[str]) -> re.Match[str] | None:
    """The last place where `pattern` matches; None where it does not."""
    return next(reversed(list(pattern.finditer(text))), None)


def read_score(text: str, pattern: re.Pattern[str], scale: tuple[float, float]) -> tuple[Outcome, float | None]:
    """The last verdict in a judge's own turn as a score on `scale`, both ends included; never an earlier one instead.

    The one group of `pattern` catches the score. `unparsed`: no verdict, or not one plain number. `off_scale`: a number
    beyond the ends, or out of another best score than the scale's.
    """
    found = last_verdict(text, pattern)
    if found is None or not NUMBER.fullmatch(found[1] or "") or GOES_ON.match(text, found.end()):
        return "unparsed", None
    best = OUT_OF.match(text, found.end())
    if best and GOES_ON.match(text, best.end()):
        return "unparsed", None
    score, (low, high) = _value(found[1]), scale
    if not low <= score <= high or (best and _value(best[1]) != high):
        return "off_scale", None
    return "scored", score


def expected_score(text: str, pattern: re.Pattern[str], watched: Iterable[Watched]) -> tuple[Outcome, float | None]:
    """The score to be expected at a verdict that `read_score` took: the sum of s · p(s) over the points s of the scale.

    p(s) is how likely the judge was to draw s there, by the place in `watched`, all points together made 1. `no_logprobs`: the
    verdict is no such place, for it is more than one token ("4.5"), part of one, or the engine gave no probabilities.
    """
    found = last_verdict(text, pattern)
    start, verdict = (found.start(1), found[1]) if found else (-1, "")
    at = next((place.logprobs for place in watched if place.at == start and verdict in place.logprobs), None)
    if at is None:
        return "no_logprobs", None
    most = max(at.values())
    weights = {int(point): exp(logprob - most) for point, logprob in at.items()}
    return "scored", fsum(point * weight for point, weight in weights.items()) / fsum(weights.values())


def _value(number: str) -> float:
    return float(number.replace(",", "."))
