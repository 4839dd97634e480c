"""Verdicts as JSON: the last object of a judge's own turn, and the schema that servers can hold the judge to."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from selfreward.records import Outcome
from selfreward.steps.parsing import read_score
from selfreward.steps.verdict_words import BEFORE, POSITIVE

BEGINS = re.compile(r"\{(?=\s*+[\"'}])")
"""The opening brace of an object, in a form that prose, LaTeX and templates do not have."""
IN_OBJECT = re.compile(r"[^\"{}]++|\"(?:[^\"\\]|\\.)*+(?:\"|\Z)|[{}]", re.DOTALL)
"""A piece of an object: text between braces, a string, a brace."""
WHOLE = re.compile(rf"\A{BEFORE}(-?{POSITIVE})")
"""A string that begins with a number, which the rules for text then go on from."""


def json_verdict(field: str) -> re.Pattern[str]:
    """The place where an object gives `field`."""
    return re.compile(rf"([\"']{re.escape(field)}[\"']\s*:)", re.IGNORECASE)


def schema(field: str, scale: tuple[float, float]) -> str:
    """The JSON schema, as text, of an object with the reasons first and then a score on `scale`."""
    score = {"type": "number", "minimum": scale[0], "maximum": scale[1]}
    properties = {"reasons": {"type": "string"}, field: score}
    return json.dumps({"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False})


def read_json(text: str, field: str, scale: tuple[float, float]) -> tuple[Outcome, float | None]:
    """The value of `field` (in any case) in the last object of a judge's own turn, as a score on `scale`.

    `unparsed`: no object, a broken one behind it that speaks of `field`, or a value that is not plainly one number. A string
    is read by the rules for text (`"4/5"` is 4).
    """
    value = _last_value(text, field)
    if isinstance(value, str):
        return read_score(value, WHOLE, scale) if WHOLE.match(value) else ("unparsed", None)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "unparsed", None
    return ("scored", float(value)) if scale[0] <= value <= scale[1] else ("off_scale", None)


def holds_object(text: str) -> bool:
    """True if a whole JSON object stands in `text`."""
    for begin in BEGINS.finditer(text):
        try:
            DECODER.raw_decode(text, begin.start())
        except (ValueError, RecursionError):
            continue
        return True
    return False


def _last_value(text: str, field: str) -> Any:
    """The value of `field` in the last object; None where there is none, it is broken, or gives it twice."""
    pattern = json_verdict(field)
    last, at, behind, broken = None, 0, 0, False
    while begin := BEGINS.search(text, at):
        at = _closing(text, begin.start())
        try:
            # Of the object alone, for an error counts the lines from the start of what it is given.
            last = DECODER.decode(text[begin.start() : at])
            behind, broken = at, False
        except (ValueError, RecursionError):
            broken = broken or pattern.search(text, begin.start(), at) is not None
    values = [value for name, value in last or [] if name.casefold() == field.casefold()]
    unquoted = re.compile(rf"\{{[^{{}}]*?\b{re.escape(field)}\b", re.IGNORECASE).search(text, behind)
    return values[0] if len(values) == 1 and not broken and not unquoted else None


def _closing(text: str, begin: int) -> int:
    """The place behind the brace that closes the one at `begin`; the end of the text where none does."""
    depth = 0
    for piece in IN_OBJECT.finditer(text, begin):
        depth += {"{": 1, "}": -1}.get(piece[0], 0)
        if depth == 0:
            return piece.end()
    return len(text)


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


DECODER = json.JSONDecoder(object_pairs_hook=list, parse_constant=_no_number)
"""Objects are lists of (name, value), so that a name that is given twice shows."""
