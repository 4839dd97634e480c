"""A judge's own turn in what it wrote: from behind its last closed thought to the first end of turn or role marker."""

from __future__ import annotations

import re
from bisect import bisect_left
from functools import cached_property
from typing import NamedTuple

from selfreward.engines import CLOSE, OPEN, in_quotes
from selfreward.steps.parsing import NO_VERDICT, verdicts
from selfreward.steps.speaker_words import ANSWERS, ASSISTANTS, USERS
from selfreward.steps.verdict_words import LINE_END, SPACE

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


class Turn(NamedTuple):
    """A judge's own turn, as a place in its text."""

    start: int
    """The place behind its last closed thought."""
    end: int
    thinking: bool
    """True if the text ends within a thought, so that nothing was said."""


def find_turn(text: str, verdict: re.Pattern[str] = NO_VERDICT, answers: bool = False) -> Turn:
    """The turn from behind its last closed thought to the first end of turn or role marker outside of thoughts.

    A marker on the first line ends nothing, for there was no turn before it, nor does the writer's own name. As long as no
    `verdict` has been given, nor does a role as a heading, in a block quote or in fenced code: there a judge quotes what it
    was shown. Where it `answers` the prompt itself before it judges, nor does any role: an answer may be a dialogue.
    """
    start, opened, ended = 0, False, -1
    forged: int | None = None
    quoting = _Quoting(text, verdict, answers)
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

    def __init__(self, text: str, verdict: re.Pattern[str], answers: bool) -> None:
        self._text, self._verdict, self._answers = text, verdict, answers
        self._fences, self._counted, self._last_fence = 0, 0, text.rfind("```")

    def at(self, mark: re.Match[str], start: int) -> bool:
        """True if a role is quoted, in a turn that begins at `start`."""
        self._fences += self._text.count("```", self._counted, mark.start())
        self._counted = mark.start()
        fenced = self._fences % 2 == 1 and mark.start() < self._last_fence
        quoted = not mark["task"] and (fenced or "#" in mark["marks"] or ">" in mark["marks"])
        if self._verdict is NO_VERDICT or not (quoted or self._answers):
            return False
        headed = HEADED.match(self._text, mark.end())
        end, position = headed.end() if headed else mark.end(), bisect_left(self._given, start)
        return position == len(self._given) or self._given[position] > end

    @cached_property
    def _given(self) -> list[int]:
        """The end of each verdict."""
        return [match.end() for match in verdicts(self._text, self._verdict)]
