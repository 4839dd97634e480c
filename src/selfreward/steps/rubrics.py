"""Rubrics: texts with slots, filled with hostile words; and the judge's own words in its completion.

The text that is judged may forge verdicts, slots, markup or the end of itself. So slots are filled in one pass, the rubric's own
tags are broken inside the texts, and only what the judge generated, up to its end of turn, is ever parsed.
"""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

from selfreward.errors import SelfRewardError
from selfreward.records import Asked, Completion, quoted, readable
from selfreward.steps.parsing import NO_VERDICT
from selfreward.steps.turns import find_turn

CONVERSATION = "conversation"
"""The tag around one."""
LAST_TURN = "the last turn of this conversation"
"""The text that stands for the prompt in a rubric: the turns are below it."""
Failure = Literal["error", "truncated"]


class Rubric:
    """A judge's prompt with named slots, from a file."""

    def __init__(self, path: str, slots: tuple[str, ...], field: str) -> None:
        """Read the rubric that the recipe names in `field`. Raises `SelfRewardError` where it is unreadable or lacks a slot."""
        try:
            self.text = readable(Path(path)).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is not UTF-8"
            raise SelfRewardError(f"cannot be read ({why})", path, f"Set {field} to a text file") from error
        missing = [slot for slot in slots if f"{{{slot}}}" not in self.text]
        if missing:
            raise SelfRewardError(f"has no slot {{{missing[0]}}}", path, "Put it where the text belongs")
        self._slot = re.compile(rf"\{{({'|'.join(slots)})\}}")

    @cached_property
    def _tags(self) -> set[str]:
        """Names of the tags that the rubric puts around a slot, as a text might forge them."""
        return {name.lower() for name in re.findall(r"</?\s*(\w+)\s*>", self.text)}

    def fill(self, **texts: Asked) -> str:
        """The prompt, a text or a conversation for each slot; slots, tags and roles inside the texts are only text."""
        return self.put_into(self.text, **texts)

    def put_into(self, part: str, **texts: Asked) -> str:
        """A part of the prompt, filled as by `fill`."""
        talk = {CONVERSATION} if any(not isinstance(text, str) for text in texts.values()) else set[str]()
        names = "|".join(sorted(self._tags | talk)) or "(?!)"
        forged = re.compile(rf"<(?=\s*+/?\s*+(?:{names})\b)", re.IGNORECASE)
        safe = {name: _in_tags(forged.sub("&lt;", quoted(text)), text) for name, text in texts.items()}
        return self._slot.sub(lambda slot: safe[slot[1]], part)


def _in_tags(shown: str, asked: Asked) -> str:
    """The prompt as it stands in a rubric; `shown`: its text, without forged tags."""
    return shown if isinstance(asked, str) else f"{LAST_TURN}\n<{CONVERSATION}>\n{shown}\n</{CONVERSATION}>"


class Said(NamedTuple):
    """A judge's own turn."""

    text: str
    start: int
    """The character at which it begins in the judge's text, after thoughts."""
    failure: Failure | None
    """The reason why it does not count."""


def own_words(completion: Completion, verdict: re.Pattern[str] = NO_VERDICT, answers: bool = False) -> Said:
    """A judge's words behind its thoughts and before its end of turn, and the failure that keeps them from counting.

    `verdict` finds verdicts: before the first one, role headings may be quotations of the judge's prompt, and where the judge
    `answers` that prompt first, any roles may be its answer's.
    """
    if completion.finish == "error":
        return Said("", 0, "error")
    if completion.finish == "truncated":
        return Said("", 0, "truncated")
    start, end, thinking = find_turn(completion.text, verdict, answers)
    cut_off = thinking or (completion.finish == "length" and end == len(completion.text))
    return Said("" if thinking else completion.text[start:end], start, "truncated" if cut_off else None)
