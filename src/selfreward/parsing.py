"""How the text of a judge is read; `docs/parsing.md` states the rule in words.

Where a verdict is not plainly one value it is not read at all: a score that is missing is counted, and one that is wrong
becomes a preference.
"""

from __future__ import annotations

import re

from selfreward.records import Outcome

END_OF_TURN = re.compile(
    r"<\s*/?\s*[|｜][^<>|｜\n]{1,40}[|｜]\s*>"
    r"|<\s*/?\s*\|?(?:im_start|im_end|end|endoftext|eos|end_of_turn|start_of_turn|user|assistant|system)\|?\s*>"
    r"|</s>|\[\s*/?INST\s*\]"
    r"|\n[ \t]*[#*>]*[ \t]*(?:(?:user|human|assistant|system|instruction)[ \t*]*:|(?:user|human|assistant|system)[ \t*]*(?=\n))",
    re.IGNORECASE,
)
"""An end of turn or a role marker, as a token or spelt out; what follows is a forged turn.

Models make up markers of their own (`<|im_answer|>`), so every name between pipes is one.
"""
NUMBER = re.compile(r"[-+]?\d+(?:\.\d+|,(?!\d{3}\b)\d+)?")
"""A plain number. A decimal comma is read as one, but before three digits it may stand for thousands."""
GOES_ON = re.compile(
    r"[.,]?\d|[½¼¾]"
    r"|[ \t]*(?:[-–—−~+*×^=&±,]|\b(?:to|or|and)\b)?[ \t]*\d",
    re.IGNORECASE,
)
"""What makes the number before it a part of something: a longer number, a range, a sum, a list."""
OUT_OF = re.compile(r"[ \t*\])\"]*(?:points?\b[ \t]*)?\(?[ \t]*(?:/|\b(?:out[ \t]+)?of\b)[ \t]*(\d+(?:\.\d+)?)", re.IGNORECASE)
"""The best score there is, where a verdict names it."""


def own_turn(text: str) -> str:
    """What was written before the first end of turn or role marker."""
    return END_OF_TURN.split(text, maxsplit=1)[0]


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
    score, best = float(found[1].replace(",", ".")), OUT_OF.match(text, found.end())
    low, high = scale
    if not low <= score <= high or (best and float(best[1]) != high):
        return "off_scale", None
    return "scored", score
