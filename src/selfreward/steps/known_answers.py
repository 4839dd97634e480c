"""Known answers at the end of a text: case, white space, marks around them, groups of digits and boxes of TeX aside."""

from __future__ import annotations

import re
import unicodedata

from selfreward.stats import NO_SPACES

AT_THE_END = " \t\n*_`\"'“”’.!)]}$\\。！）」』】"
"""Marks behind an answer that are no part of it."""
BEFORE = " \t\n*_`\"'“‘$(["
"""Marks before a known answer that are no part of it."""
GROUPS = re.compile(r"(?<=\d)(?:,|\{,\}|\\,)(?=\d{3}(?!\d))")
"""The mark between groups of digits, in TeX too."""
BOXES = re.compile(r"(?:\\(?:f?boxed|fbox|text\w*|math\w+)\{)+\Z")
"""Commands of TeX that stand around an answer and change nothing of it."""
TAG = re.compile(r"</?[a-z][\w-]{0,20}> ?\Z")
"""A tag that an answer stands in."""
WITH_ITS_MARKS = re.compile(r"[(\[][^()\[\]]*,[^()\[\]]*[)\]]|(?:.*[^a-z])?[\da-z)]!")
"""A known answer whose own marks at its ends mean something: an interval, a tuple, a factorial."""
NO_WAY_ON = re.compile(
    r"[-–.,{]\Z|[/^] ?\Z|\w_\Z|\d(?::| : )\Z|[√±∓×·÷∙⋅≥≤≠≉<] ?\Z|(?<![-=])> ?\Z|[\w)] ?\+ ?\Z|[\d)]\*{1,2}\Z|\d x \Z"
    r"|\\(?:sqrt|cdot|times|div|pm|mp|geq?|leq?|neq?|[dt]?frac\d) ?\Z"
)
"""The end of what an answer is only the rest of: a sign, a whole part, a numerator, a base, a factor, a relation."""
LOOSE = " *_`\"'“”‘’«»$,:;?。，、：；？"
"""Marks around an answer that never mean anything."""
WRAPPED = re.compile(r"\\(?:(?:f?boxed|fbox|text\w*|math\w+)\{|[(\[])(.*)(?:\}|\\[)\]])")
"""An answer in a box or a formula of TeX."""
NUMBER = re.compile(r"(?=.?\d)\+?(-?)0*(\d*)(?:(\.\d*[1-9])0*|\.0*)?")
"""A number as its sign, its whole part and its decimals, without zeros at the ends."""
DENIED = re.compile(r"(?:\b(?:not|never|nicht|kein(?:e[nmrs]?)?|pas)|n['’]t)(?: (?:an?|the))? [*_`\"“‘(\[]*\Z|[不没沒非]\Z")
"""The end of what denies an answer."""


def ends_with(text: str, answer: str) -> bool:
    """True if a text ends with the known answer, as words of its own."""
    if WITH_ITS_MARKS.fullmatch(_spelt(answer)):
        return _ends_exactly(_spelt(text), _spelt(answer))
    said, known = _plain(text), _plain(answer).lstrip(BEFORE)
    if not known:  # it is a mark
        return text.rstrip().endswith(answer.strip())
    return said.endswith(known) and not _is_rest(said[: len(said) - len(known)], known)


def form_of(answer: str) -> str:
    """The form in which two answers are one: without case, spaces around signs, marks around it, boxes and groups of digits.

    A number has no zeros at its ends (`.5`, `0.50`). Marks that mean something are kept: `5!`, `(0, 1]`.
    """
    said = _spelt(answer).strip(LOOSE)
    while inner := WRAPPED.fullmatch(said):
        said = inner[1].strip(LOOSE)
    said = re.sub(r"(?<=\d) (?=\d{3}(?!\d))", "", said).rstrip("." + LOOSE)
    said = re.sub(r" ?([=<>+*/^,;:()\[\]-]) ?", r"\1", re.sub(r"(?<![\d.])\.(?=\d)", "0.", said))
    said = said if WITH_ITS_MARKS.fullmatch(said) else said.strip("()[]{}（）【】!！\\" + LOOSE).rstrip("." + LOOSE)
    number = NUMBER.fullmatch(said)
    return f"{number[1]}{number[2] or 0}{number[3] or ''}" if number else said


def _ends_exactly(said: str, known: str) -> bool:
    """True if a text ends with a known answer and its own marks, other marks behind it aside."""
    said, known = (re.sub(" ?, ?", ",", form) for form in (said, known))
    at = said.rfind(known)
    return at >= 0 and not said[at + len(known) :].strip(AT_THE_END) and not _is_rest(said[:at], known)


def _plain(text: str) -> str:
    """A text in the form that is compared, without marks at its end."""
    return _spelt(text).rstrip(AT_THE_END)


def _spelt(text: str) -> str:
    one_space = " ".join(unicodedata.normalize("NFC", text).casefold().replace("−", "-").split())
    return re.sub(r" ?\\?%", "%", GROUPS.sub("", one_space)).replace("{ ", "{")


def _is_rest(before: str, known: str) -> bool:
    """True if a known answer goes on what stands before it (42 in 142, 3.42, -42, 1/42, 12:42), or is denied there."""
    before = TAG.sub("", BOXES.sub("", before[-99:]))
    last = before[-1:]
    if last.isalnum() and not DENIED.search(before):
        return not NO_SPACES.match(last) and not NO_SPACES.match(known)
    mixed = re.match(r"\d+/\d", known) and re.search(r"\d \Z", before)
    return bool(mixed or NO_WAY_ON.search(before) or DENIED.search(before))
