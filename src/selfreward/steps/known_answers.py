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
GOES_ON = re.compile(r"[-–.,{]\Z|[/^] ?\Z|\w_\Z")
"""The end of what an answer is only the rest of: a sign, a whole part, a numerator, a base."""


def ends_with(text: str, answer: str) -> bool:
    """True if a text ends with the known answer, as words of its own."""
    said, known = _plain(text), _plain(answer).lstrip(BEFORE)
    if not known:  # it is a mark
        return text.rstrip().endswith(answer.strip())
    return said.endswith(known) and not _is_rest(said[: len(said) - len(known)], known)


def _plain(text: str) -> str:
    """A text in the form that is compared, without marks at its end."""
    one_space = " ".join(unicodedata.normalize("NFC", text).casefold().replace("−", "-").split())
    return re.sub(r" ?\\?%", "%", GROUPS.sub("", one_space)).replace("{ ", "{").rstrip(AT_THE_END)


def _is_rest(before: str, known: str) -> bool:
    """True if a known answer goes on what stands before it: 42 in 142, 3.42, -42, 1/42."""
    before = BOXES.sub("", before[-99:])
    last = before[-1:]
    if last.isalnum():
        return not NO_SPACES.match(last) and not NO_SPACES.match(known)
    return GOES_ON.search(before) is not None
