"""Thoughts before an answer: the marks that models put around them, and a text as its thought and its answer."""

from __future__ import annotations

import re
from typing import NamedTuple

from selfreward.records import Completion, Request

_NAME = (
    r"(?:(?!(?:no|end|stop)_)\w{1,20}[:_])?(?:think(?:ing)?|thoughts?|reasoning|scratchpad|antthinking|reflection|cot|chain[_-]of[_-]thought"
    r"|(?:inner|internal)[_-](?:monologue|thoughts?))(?:_(?:fast|slow|deep|short|long))?(?::\w{1,20})?"
)
OPEN = (
    rf"<\s*+\|?{_NAME}\|?\s*+>|\[THINK\]|◁think▷|<\|(?:START_THINKING|begin_of_thought|inner_prefix)\|>"
    r"|<\|channel\|>\s*+(?:analysis|commentary)\b[^<\n]*+(?:<\|message\|>)?|<\|channel>\s*+thought\b|<unused94>\s*+thought\b"
)
"""The beginning of a thought, ignoring case: of Qwen and most, Mistral, Kimi, Cohere, Apertus, gpt-oss, Gemma 4, MedGemma."""
CLOSE = (
    rf"<\s*+\|?/\s*+\|?{_NAME}\|?\s*+>|\[/THINK\]|◁/think▷|<channel\|>|<unused95>"
    r"|<\|inner_suffix\|>|<\|(?:END_THINKING|end_of_thought)\|>(?:\s*+<\|(?:START_RESPONSE|START_TEXT|begin_of_solution)\|>)?"
    r"|(?:<\|end\|>\s*+<\|start\|>\s*+assistant\s*+)?<\|channel\|>\s*+final\b[^<\n]*+<\|message\|>"
)
"""The end of a thought, with the header of the answer where one follows."""
_RARE_OPEN = r"\bto=self<\|message\|>|Here are my reasoning steps:"
_RARE_CLOSE = r"(?:<\|eom\|>\s*+<\|start\|>\s*+assistant\s*+)?\bto=user<\|message\|>|\[BEGIN FINAL RESPONSE\]"
"""Marks of single models (Muse Glimmer, Apriel), which stand in other texts too."""
MARKS = re.compile(rf"(?P<open>{OPEN}|{_RARE_OPEN})|(?P<close>{CLOSE}|{_RARE_CLOSE})", re.IGNORECASE)
QUOTED = {*"`\"'“”‘’«»"}


class Said(NamedTuple):
    """A completion of a model that may think."""

    thought: str
    """The thought without its marks; empty where there is none."""
    answer: str
    start: int
    """The character at which the answer begins."""
    whole: bool
    """True if the thought came to its end; without an end there is no answer."""


def parted(text: str, opened: bool = False) -> Said:
    """A completion as its thought and its answer; `opened`: the prompt has begun the thought.

    A thought stands before the answer: marks after the answer's first word are its text. A close without an opening ends a
    thought all the same, for servers cut off an opening that their prompt has. A mark in quotes is spoken of.
    """
    start, began, ended, thinking = 0, 0, 0, opened
    for mark in MARKS.finditer(text):
        if in_quotes(text, mark):
            continue
        if not thinking and (start or mark["open"]) and text[start : mark.start()].strip():
            break
        if mark["open"]:
            began = began if start or text[began : mark.start()].strip() else mark.end()
            thinking = True
        else:
            start, ended, thinking = mark.end(), mark.start(), False
    if thinking:
        return Said(text[began:].strip(), "", len(text), False)
    return Said(text[began:ended].strip(), text[start:], start, True)


def written_with(text: str) -> Said | None:
    """The thought and the answer of a text by people that begins with a thought (`<think>…</think>`); None of any other."""
    mark, completion = MARKS.match(text.lstrip()), parted(text)
    return completion if mark and mark["open"] and completion.thought and completion.whole else None


def without_thought(completion: Completion, request: Request, opened: bool = False, apart: str | None = None) -> Completion:
    """A completion of a model that was to think, with its thought apart; any other as it is.

    `opened`: its prompt has begun the thought; `apart`: the thought, where a server keeps it so. A thought that did not come to
    its end makes the completion `truncated`.
    """
    thinks = request.sampling.thinking is not None and request.forced is None
    if not thinks or completion.thought is not None or completion.finish == "error":
        return completion
    parts = parted(completion.text, opened)
    if apart:  # no server says of a thought whether it came to its end: it did where something follows
        parts = parts._replace(thought=apart, whole=bool(parts.answer.strip()))
    watched = [place.model_copy(update={"at": place.at - parts.start}) for place in completion.watched if place.at >= parts.start]
    return completion.model_copy(
        update={
            "text": parts.answer, "thought": parts.thought, "watched": tuple(watched),
            "finish": completion.finish if parts.whole else "truncated",
        }
    )  # fmt: skip


def thought_of(request: Request, completion: Completion) -> str | None:
    """The thought that a record keeps: None where the model was not to think, whatever it did."""
    return None if request.sampling.thinking is None else completion.thought or ""


def in_quotes(text: str, mark: re.Match[str]) -> bool:
    """True if the text only mentions the mark: it stands between quotes, and the first quote ends nothing."""
    before, after = text[max(mark.start() - 2, 0) : mark.start()], text[mark.end() : mark.end() + 1]
    return before[-1:] in QUOTED and after in QUOTED and (before[-1:] in "“‘«" or not re.match(r"[\w.,;!?)\]]", before[:-1]))
