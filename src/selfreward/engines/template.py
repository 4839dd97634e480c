"""A chat template's way with answers, read off conversations of stand-ins that it is made to write.

A template is a program, and nothing but running it tells. Its finished conversation need not begin with its own prompt: a header
may stand before an answer that the prompt does not give (gpt-oss), an empty thought in the prompt alone (Gemma 4), an end only
before a next turn (Apertus, GLM). So an answer is looked for in two conversations, one that ends with it and one that goes on.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Literal, NamedTuple

from transformers import PreTrainedTokenizerBase

from selfreward.errors import SelfRewardError, first_line

SAME_DAY = "{%- macro strftime_now(form) %}26 Jul 2024{% endmacro %}{{ '' }}"
"""Goes before a template: one that writes the day (Llama 3.2's, SmolLM3's) would make a run differ from day to day."""
PROBE = "selfrewardprobe"
"""The beginning of every stand-in."""
SWITCHES = {
    False: {"enable_thinking": False, "thinking": False, "thinking_mode": "disabled", "thinking_budget": 0, "reasoning": False},
    True: {"enable_thinking": True, "thinking": True, "thinking_mode": "enabled", "thinking_budget": -1, "reasoning": True},
}
"""The variables by which templates are told whether the model is to think before it answers."""
FURTHER: dict[str, tuple[tuple[Any, Any], ...]] = {
    "reasoning_effort": (("no_think", "high"), ("none", "high"), ("none", "medium")),
    "thinking_mode": (("off", "on"), ("chat", "thinking"), ("no_think", "think")),
    "thinking_option": (("off", "on"),), "think": ((False, True),), "enable_reasoning": ((False, True),),
    "skip_reasoning": ((True, False),),
}  # fmt: skip
"""Variables with values, off and on, that are tried where those change nothing at the end of a prompt."""
OPENS = re.compile(r"(?i)[<\[](?!/|\|?end)[^<>\[\]/]*(?:think|thought|reason)[^<>\[\]/]*[>\]]\s*\Z|<\|channel>thought\s*\Z")
"""The end of a prompt that has begun a thought: `<think>`, `[THINK]`, `<|START_THINKING|>`, Gemma 4's."""
CLOSED = re.compile(r"(?i)[<\[](?:/|\|?end)[^<>\[\]]*(?:think|thought|reason)[^<>\[\]]*[>\]]|<channel\|>")
"""The close of a thought: `</think>`, `[/THINK]`, `<|END_THINKING|>`, Gemma 4's."""
CUT = re.compile(r"[<\[][^<>\[\]]*\Z")
"""A marker of which the end is missing."""
LISTED = re.compile(r"""["']text["']: ["']""")
"""A list of parts written as the list that it is, by a template that takes contents for strings."""

Thinking = Literal["none", "free", "switch", "open"]
System = Literal["kept", "prompt only", "dropped", "refused"]


class Thought(NamedTuple):
    """A chat template's way to ask for a thought before the answer, and to write one."""

    opened: bool
    """True if the template's prompt begins the thought."""
    opening: str
    """Text between that prompt and the thought, which the model writes."""
    closing: str
    """Text between the thought and the answer."""

    @property
    def marks(self) -> str:
        """Every mark of a thought that the model writes."""
        return self.opening + self.closing


USUAL = Thought(False, "<think>\n", "\n</think>\n\n")
"""The marks that most models put around thoughts, for templates that write none."""
RARER = (Thought(False, "<|inner_prefix|>", "<|inner_suffix|>"), Thought(False, "<|channel>thought\n", "\n<channel|>"))
"""Others, which templates name that write no `reasoning_content` (Apertus, Gemma 4)."""


@dataclass(frozen=True)
class Template:
    """A chat template's way to ask for an answer, with a thought before it and without, and to write both."""

    parts: bool
    """True if the template reads contents as lists of parts, not as strings."""
    switch: tuple[str, Any, Any] | None
    """A variable of `FURTHER`, its value off and on, that says whether to think; None where `SWITCHES` do, or nothing does."""
    tools: bool
    """True if the template fails without a list of tools and of documents; it is then given empty lists."""
    before: str
    """Text after the generation prompt, up to the answer, written by us where the model is not to think: a header (gpt-oss), the
    close of a thought."""
    lead: str
    """White space between the prompt and an answer: the answer begins with it."""
    tail: str
    """Text between an answer and its end, which is part of neither."""
    end: int
    """Id of the token that an answer ends with. Generation stops on it."""
    trims: bool
    """True if the template removes the white space around an answer."""
    thinking: Thinking
    """`none`: the template knows no thoughts; `free`: the model may begin one; `switch`: a variable decides; `open`: the prompt
    begins one."""
    system: System
    """The fate of a system turn; `prompt only`: it is written until the answer to it is there."""
    thought: Thought = USUAL
    """The template's way to ask for a thought, and to write one."""
    blank: bool = True
    """True if the template writes an empty answer, and does not refuse it."""


class Reader:
    """Reads off a chat template its way to ask and to answer, by having it write conversations of stand-ins."""

    ASK, ANSWER, GO_ON, SYSTEM, THOUGHT = (f"{PROBE}{at}x" for at in (91, 92, 93, 94, 95))

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self.form = self._form()
        self.form["switch"] = self.form["switch"] or self._switch()
        self.asked = self._write("u")
        both = (self._attempt("ua", prompt=False), self._attempt("uav"))
        self.answered = [text for text in both if text and text.count(self.ANSWER) == 1]

    def read(self) -> Template:
        """Read the template. Raises `SelfRewardError` where nothing ends an answer."""
        gap = self._gap()
        lead = gap if not gap.strip() else ""
        close = self._close()
        before = gap.removeprefix(lead) if close is None or CLOSED.search(gap) else close
        end, tail = self._end()
        return Template(
            **self.form, before=before, lead=lead, tail=tail, end=end, trims=self._trims(),
            thinking=self._thinking(close), system=self._system(), thought=self._thought(close),
            blank=self._attempt("uav", answer="") is not None,
        )  # fmt: skip

    def _form(self) -> dict[str, Any]:
        """The form of contents, tools and switch that the template takes: the first in which it writes all that is said."""
        forms = [
            {"parts": parts, "tools": tools, "switch": switch}
            for switch in (None, *self._further()) for parts in (False, True) for tools in (False, True)
        ]  # fmt: skip
        for turns in ("uav", "u"):
            for self.form in forms:
                written = self._attempt(turns)
                if written and not LISTED.search(written) and all(written.count(self._text(kind)) == 1 for kind in turns):
                    return self.form
        self.form = forms[0]
        self._write("u")
        raise bad_template(self.tokenizer, "does not write the text of every turn exactly once")

    def _switch(self) -> tuple[str, Any, Any] | None:
        """The first variable of `FURTHER` by which the end of a prompt changes; None where one of `SWITCHES` changes it."""
        off, on = self._attempt("u"), self._attempt("u", think=True)
        if self._behind(off) != self._behind(on):
            return None
        for switch in self._further():
            off, on = self._attempt("u", switch=switch), self._attempt("u", think=True, switch=switch)
            if off and on and self._behind(off) != self._behind(on):
                return switch
        return None

    def _further(self) -> list[tuple[str, Any, Any]]:
        source = self.tokenizer.get_chat_template()
        return [(name, *values) for name, pairs in FURTHER.items() if name in source for values in pairs]

    def _behind(self, prompt: str | None) -> str:
        return (prompt or "").partition(self.ASK)[2]

    def _text(self, kind: str) -> str:
        return {"u": self.ASK, "a": self.ANSWER, "v": self.GO_ON, "s": self.SYSTEM}[kind]

    def _write(self, kinds: str, *, prompt: bool = True, answer: str = ANSWER, **how: Any) -> str:
        """The text of turns of these kinds: s(ystem), u(ser), a(ssistant), and v, a user's second."""
        roles = {"u": "user", "a": "assistant", "v": "user", "s": "system"}
        turns = [(roles[kind], answer if kind == "a" else self._text(kind)) for kind in kinds]
        return write(self.tokenizer, turns, prompt=prompt, **self.form | how)

    def _attempt(self, kinds: str, **how: Any) -> str | None:
        """The text, or None where the template refuses."""
        try:
            return self._write(kinds, **how)
        except SelfRewardError:
            return None

    def _gap(self) -> str:
        """Text between the generation prompt and an answer, as conversations with an answer have it."""
        heads = [text.partition(self.ANSWER)[0] for text in self.answered]
        for head in heads:
            if head.startswith(self.asked):
                return head.removeprefix(self.asked)
        for head in heads:  # something stands in the prompt alone, an empty thought say
            alike = sum(1 for _ in takewhile(lambda signs: signs[0] == signs[1], zip(head, self.asked, strict=False)))
            gap = head[len(CUT.sub("", head[:alike])) :]
            if gap.strip() and not CLOSED.search(gap) and not OPENS.search(gap):
                if "".join(self.asked.split()).endswith("".join(gap.split())):
                    return ""  # the header that the prompt has, with other white space around it
                return gap[max(at for at in range(len(gap) + 1) if self.asked.endswith(gap[:at])) :]
        return ""

    def _close(self) -> str | None:
        """Text that closes the thought which the prompt has begun, as far as the answer; None where it has begun none."""
        written = self._attempt("ua", prompt=False, thought=self.THOUGHT) or ""
        before, _, after = written.partition(self.THOUGHT)
        close, answered, _ = after.partition(self.ANSWER)
        opening, prompt = OPENS.search(self.asked), self.asked.partition(self.ASK)[2]
        begun = self.asked.startswith(before.rstrip()) and not CLOSED.search(prompt) and close.strip() not in prompt
        if answered and begun:
            return close
        if opening is None:
            return None
        return _closing(opening[0])

    def _end(self) -> tuple[int, str]:
        """The token that ends an answer, and the text between the two."""
        marks = {at: str(token.content) for at, token in self.tokenizer.added_tokens_decoder.items()}
        for text in self.answered:
            after = text.partition(self.ANSWER)[2].partition(self.GO_ON)[0]
            end = next((token for token in encode(self.tokenizer, after) if token in marks), None)
            if end is not None:
                return end, after.partition(marks[end])[0]
        if self.tokenizer.eos_token_id is None:
            raise bad_template(self.tokenizer, "ends no answer with a token of its own, so that generation would not stop")
        return int(self.tokenizer.eos_token_id), ""

    def _trims(self) -> bool:
        padded = f" \t{self.ANSWER}\t "
        written = [self._attempt("ua", prompt=False, answer=padded), self._attempt("uav", answer=padded)]
        return not any(padded in text for text in written if text)

    def _thinking(self, close: str | None) -> Thinking:
        if close is not None:
            return "open"
        if (self._attempt("u", think=True) or self.asked) != self.asked or CLOSED.search(self.asked.partition(self.ASK)[2]):
            return "switch"
        knows = self.THOUGHT in (self._attempt("ua", prompt=False, thought=self.THOUGHT) or "")
        return "free" if knows or CLOSED.search(self.tokenizer.get_chat_template()) else "none"

    def _thought(self, close: str | None) -> Thought:
        """The thought marks in the template's own conversation with a thought, or at the end of its prompt for one."""
        asked = self._attempt("u", think=True) or self.asked
        how: dict[str, Any] = {"think": True, "thought": self.THOUGHT}
        for written in (self._attempt("ua", prompt=False, **how), self._attempt("uav", **how)):
            opening, thought, after = (written or "").removeprefix(asked).partition(self.THOUGHT)
            closing, answer, _ = after.partition(self.ANSWER)
            if thought and answer and (written or "").startswith(asked):
                return Thought(not opening.strip(), opening, closing)
        opened = OPENS.search(asked)
        mark = close if opened is None else _closing(opened[0])
        if mark is None:
            return self._named() or USUAL
        return Thought(True, "", mark if mark.strip() != mark else f"\n{mark}\n\n")

    def _named(self) -> Thought | None:
        """The marks of a thought that its source names, where they are others than the usual ones."""
        return next((marks for marks in RARER if marks.opening.strip() in self.tokenizer.get_chat_template()), None)

    def _system(self) -> System:
        prompt, finished = self._attempt("su"), self._attempt("sua", prompt=False)
        if prompt is None:
            return "refused"
        if self.SYSTEM not in prompt:
            return "dropped"
        return "prompt only" if finished is not None and self.SYSTEM not in finished else "kept"


def _closing(opening: str) -> str:
    """The mark that closes a thought, from the mark that opens it."""
    mark = opening.strip()
    named = {"<|channel>thought": "<channel|>"}.get(mark, f"{mark[0]}/{mark[1:]}")
    return mark.replace("START", "END") if "START" in mark else named


def encode(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Ids of rendered text; the template has already put special tokens where they belong."""
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def write(
    tokenizer: PreTrainedTokenizerBase, turns: Sequence[tuple[str, str]], *, prompt: bool, parts: bool, tools: bool,
    switch: tuple[str, Any, Any] | None = None, think: bool = False, thought: str | None = None,
) -> str:  # fmt: skip
    """The text that the template makes of (role, content). Raises `SelfRewardError` where it refuses."""
    messages = [{"role": role, "content": [{"type": "text", "text": text}] if parts else text} for role, text in turns]
    if thought is not None:
        messages[-1] |= {"reasoning_content": thought, "reasoning": thought}
    try:
        return str(
            tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=prompt, chat_template=SAME_DAY + tokenizer.get_chat_template(),
                tools=[] if tools else None, documents=[] if tools else None, **switches(think, switch),
            )
        )  # fmt: skip
    except Exception as error:  # a template is a program: it refuses a system turn, or stumbles in any way over what is not there
        raise bad_template(tokenizer, f"refuses a conversation ({first_line(error)})") from error


def switches(think: bool, switch: tuple[str, Any, Any] | None) -> dict[str, Any]:
    """The variables that tell a template whether to think."""
    return SWITCHES[think] | ({switch[0]: switch[1 + think]} if switch else {})


def bad_template(tokenizer: PreTrainedTokenizerBase, what: str) -> SelfRewardError:
    """The error for a chat template that does `what`."""
    now = "Put a chat template into the model's folder (chat_template.jinja) that can be used"
    return SelfRewardError(f"its chat template {what}", str(tokenizer.name_or_path), now)
