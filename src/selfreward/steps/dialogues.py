"""Conversations in rows of other people's data: roles under any of their usual names, and turns in the right order."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from selfreward.records import Message

Role = Literal["system", "user", "assistant", "tool"]
ROLES: dict[Role, str] = {
    "system": "system|developer|sys|systemprompt|systemmessage",
    "user": "user|human|prompter|person|customer|client|questioner|asker|instruction|question|query|input|usermessage",
    "assistant": r"(?:ai|helpful|virtual)*assistant|(?:chat)?gpt[\dox]*|bot|chatbot|model|ai|aimodel|llm|bard|claude|gemini|bing"
    "|agent|answer|response|output",
    "tool": r"tools?|functions?|(?:tool|function)(?:call|calls|result|results|response|output)|observation|ipython|environment",
}
"""Names of roles, in small letters alone."""
SAID = ("content", "text", "value", "message", "parts")
"""Names of the field with a turn's text."""
NAMED = ("role", "from", "speaker", "sender", "author", "type")
"""Names of whose turn it is."""
THOUGHTS = ("thinking", "redacted_thinking", "reasoning")
"""Types of a part that is a thought."""
CALLS = {"functionCall", "functionResponse", "function_call", "function_response"}
FILES = {"inlineData", "inline_data", "fileData", "file_data"}
"""Names of what Gemini's parts have that are no text."""
TURNS = re.compile(r"\s*\[\s*\{\s*[\"']")
"""The beginning of a list of turns as JSON, or as Python shows it."""
SHOWN = re.compile(rf"\s*\[\s*\{{\s*'(?:{'|'.join((*NAMED, *SAID))})'\s*:")
"""The beginning of turns as Python or numpy shows them; numpy leaves out the commas between them."""
HH = re.compile(r"(?:\A|\n\n)\s*(Human|Assistant):[ \t]*")
"""A turn in a conversation that is written as one text, as Anthropic's HH is."""


class Unused(Exception):
    """A row that fits its format and is not wanted; its text is the reason."""


class Row(BaseModel):
    """A row, or an object in one; its other fields are ignored."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)


def in_text(content: Any) -> Any:
    """Content in parts, or an object that has them, as one text, without thoughts. Raises `Unused` where a part is not text."""
    if isinstance(content, dict) and isinstance(content.get("parts"), list):
        content = content["parts"]
    if not isinstance(content, list):
        return content
    parts = [{"text": part} if isinstance(part, str) else part for part in content]
    if not all(isinstance(part, dict) for part in parts):
        return content
    parts = [part for part in parts if not (part.get("thought") or part.get("type") in THOUGHTS)]
    if any(part.keys() & CALLS for part in parts):
        raise Unused("tool_turn")
    if any(part.keys() & FILES or part.get("type", "text") not in ("text", "input_text", "output_text") for part in parts):
        raise Unused("not_text")
    texts = [part["text"] for part in parts if isinstance(part.get("text"), str)]
    return "".join(texts) if len(texts) == len(parts) else content


Text = Annotated[str, BeforeValidator(in_text)]
"""A text, which may come as a list of text parts."""


class Turn(Row):
    """One turn of a conversation, by whichever names are usual."""

    name: str = Field(validation_alias=AliasChoices(*NAMED))
    content: Text = Field(validation_alias=AliasChoices(*SAID))
    weight: Any = None
    """Zero for an answer that is not to be learnt, in OpenAI's rows."""
    train: Any = None
    """False for one, in axolotl's."""

    @model_validator(mode="before")
    @classmethod
    def _as_said(cls, value: Any) -> Any:
        """Read missing content as an empty text; a call of a tool is no text at all."""
        if not isinstance(value, dict):
            return value
        if value.get("tool_calls") or value.get("function_call"):
            raise Unused("tool_turn")
        fields = {name: part for name, part in value.items() if part is not None}
        silent = [name for name in SAID if name in value]
        return fields | {silent[0]: ""} if silent and not any(name in fields for name in SAID) else fields

    @property
    def role(self) -> Role:
        """The role of the speaker. Raises `Unused` where the name is nobody's, or a tool's."""
        name = re.sub(r"[\W_]+", "", self.name.casefold())
        role = next((role for role, names in ROLES.items() if re.fullmatch(names, name)), None)
        if role is None:
            raise Unused("unknown_role")
        return role

    @property
    def unlearnt(self) -> bool:
        """True if its row says that the turn is not to be learnt."""
        return self.weight == 0 or self.train is False

    @property
    def silent(self) -> bool:
        """True if the turn is empty."""
        return not self.content.strip()


def conversation(turns: Sequence[Turn], system: str | None = None) -> tuple[Message, ...]:
    """The turns: a system turn or none, then user and assistant in turn, the user first. Raises `Unused` where they are others.

    System turns in a row, and `system` before them, are one. Turns that say nothing are left out at the end, but for an empty
    answer to what the user said.
    """
    roles = [turn.role for turn in turns]
    if "tool" in roles:
        raise Unused("tool_turn")
    first = next((at for at, role in enumerate(roles) if role != "system"), len(roles))
    spoken = list(zip(roles[first:], turns[first:], strict=True))
    while spoken and spoken[-1][1].silent and not _unanswered(spoken):
        spoken.pop()
    if "user" in roles and not spoken:
        raise Unused("empty")
    _refuse_disorder([role for role, _ in spoken])
    if any(turn.silent for at, (_, turn) in enumerate(spoken) if at < len(spoken) - 1):
        raise Unused("empty")
    system_texts = dict.fromkeys(
        text.strip() for text in (system or "", *(turn.content for turn in turns[:first])) if text.strip()
    )
    before = [Message(role="system", content="\n\n".join(system_texts))] if system_texts else []
    return (*before, *(Message.model_validate({"role": role, "content": turn.content}) for role, turn in spoken))


def _unanswered(spoken: Sequence[tuple[Role, Turn]]) -> bool:
    """True if the last turn, which is empty, is the answer to the user's last turn."""
    before = spoken[-2] if len(spoken) > 1 else None
    return spoken[-1][0] == "assistant" and before is not None and before[0] == "user" and not before[1].silent


def _refuse_disorder(roles: Sequence[Role]) -> None:
    """Raises `Unused` where these are not the user's and the assistant's in turn, the user's first."""
    if "user" not in roles:
        raise Unused("no_user_turn")
    if "system" in roles:
        raise Unused("late_system_turn")
    if roles[0] == "assistant":
        raise Unused("assistant_first")
    twice = next((role for role, after in pairwise(roles) if role == after), None)
    if twice:
        raise Unused(f"two_{twice}_turns")


def whole_text(value: Any) -> Any:
    """Parts that name their type and stand where turns may stand, as one text; anything else as it is. Raises `Unused`."""
    parts = value if isinstance(value, list) else []
    typed = all(isinstance(part, dict) and "type" in part and not {"role", "from", "speaker"} & part.keys() for part in parts)
    return in_text(value) if parts and typed else value


def as_asked(value: Any) -> Any:
    """A text, also in parts, or a turn alone, as turns; turns as they are."""
    text = whole_text(value)
    return [{"role": "user", "content": text}] if isinstance(text, str) else [value] if isinstance(value, dict) else value


def as_listed(text: str) -> Any:
    """The list of turns that a text is as JSON or as Python shows it, as in a cell of a table; any other text as it is.

    Raises `ValueError` where turns are shown so that they cannot be read.
    """
    begin = TURNS.match(text)
    if not begin:
        return text
    try:
        turns = ast.literal_eval(text.strip()) if begin[0].endswith("'") else json.loads(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
        if SHOWN.match(text) and text.rstrip().endswith("]"):
            raise ValueError("turns as numpy shows them, which no program can read: write them as JSON (json.dumps)") from error
        return text
    return turns if all(isinstance(turn, dict) and turn.keys() & {*NAMED} for turn in turns) else text


def as_exchanged(value: Any) -> Any:
    """Texts of the user and the assistant in turn (LIMA), or a list of input and output (Capybara), as turns."""
    parts = value if isinstance(value, list) else []
    if parts and all(isinstance(part, str) for part in parts):
        return [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(parts)]
    if parts and all(isinstance(part, dict) and part.keys() == {"input", "output"} for part in parts):
        roles = (("user", "input"), ("assistant", "output"))
        return [{"role": role, "content": part[name]} for part in parts for role, name in roles]
    return value


def as_dialogue(value: Any) -> Any:
    """The turns that a text is written in, where an Assistant's is among them; anything else as it is."""
    return as_turns(value) if isinstance(value, str) and any(match[1] == "Assistant" for match in HH.finditer(value)) else value


def as_turns(value: Any) -> Any:
    """A text as one turn of the user, or as the turns that it is written in, the first Human's; turns as they are."""
    if not isinstance(value, str):
        return value
    if not re.match(r"\s*Human:", value):
        return [{"role": "user", "content": value}]
    parts = HH.split(value)[1:]
    return [{"role": role, "content": text.strip()} for role, text in zip(parts[::2], parts[1::2], strict=True)]


def in_cell(value: Any) -> Any:
    """The value that a text in a table's cell shows, as JSON or as Python has it: None of an empty cell; any other as it is."""
    if not isinstance(value, str):
        return value
    for read in (json.loads, ast.literal_eval):
        with suppress(ValueError, SyntaxError, RecursionError, MemoryError):
            return read(value.strip())
    return value if value.strip() else None
