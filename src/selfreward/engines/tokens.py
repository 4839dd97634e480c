"""Conversations as tokens: the one place where sampling and training turn messages into ids, so that they agree.

Text in messages is somebody's or some model's words and never markup: special tokens spelt out in it are broken up, and
the template never sees it. It writes stand-ins, so that what it cuts out of a text (`</think>`) or reads in one stays as said.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from jinja2 import TemplateError
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from selfreward.errors import SelfRewardError
from selfreward.records import Message

DEFAULT_TEMPLATE = files("selfreward") / "engines" / "chat_template.jinja"
"""The template of models that come without one."""
SAME_DAY = "{%- macro strftime_now(form) %}26 Jul 2024{% endmacro %}{{ '' }}"
"""Goes before a template: one that writes the day (Llama 3.2's, SmolLM3's) would make a run differ from day to day."""
PROBE = "selfrewardprobe"
STAND_IN = re.compile(rf"{PROBE}(\d+)x")
"""A word for the text of the turn with this number, while the template writes."""


def load_tokenizer(path: Path) -> PreTrainedTokenizerBase:
    """The tokenizer in a folder; one without a chat template is given the default, which is saved with it from then on.

    Raises `SelfRewardError` where nothing ends an answer.
    """
    tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    if not tokenizer.chat_template:
        if tokenizer.eos_token is None:
            now = "Name an eos_token in its tokenizer_config.json, or put a chat template beside it"
            raise SelfRewardError("its tokenizer has neither a chat template nor an end of text", str(path), now)
        tokenizer.chat_template = DEFAULT_TEMPLATE.read_text(encoding="utf-8")
    end_of_turn(tokenizer)
    return tokenizer


def end_of_turn(tokenizer: PreTrainedTokenizerBase) -> int:
    """Id of the special token that the template ends an answer with: the last one trained on, and generation stops on it.

    It need not be the tokenizer's end of text (Qwen's base models, Gemma, Phi). Raises `SelfRewardError` where there is none.
    """
    messages = [Message(role=role, content=PROBE) for role in ("user", "assistant")]
    special = {tokenizer.convert_tokens_to_ids(token) for token in _special(tokenizer)}
    after = encode(tokenizer, _render(tokenizer, messages, prompt=False).rpartition(PROBE)[2])
    end = next((token for token in after if token in special), None)
    if end is None:
        raise _bad_template(tokenizer, "ends no answer with a special token, so that generation would not stop")
    return end


def prompt_ids(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> list[int]:
    """The ids a model sees before it answers `messages`."""
    return encode(tokenizer, _render(tokenizer, messages, prompt=True))


def completion_ids(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], response: str) -> list[int]:
    """The ids of `response` as the answer to `messages`, after `prompt_ids` of them, up to and with the end of turn.

    Raises `SelfRewardError` where the template does not continue its own prompt, or does not end this turn.
    """
    before = _render(tokenizer, messages, prompt=True)
    whole = _render(tokenizer, [*messages, Message(role="assistant", content=response)], prompt=False)
    if not whole.startswith(before):
        raise _bad_template(tokenizer, "writes a prompt that is not the beginning of its own conversation")
    ids, end = _continuation(tokenizer, before, whole), end_of_turn(tokenizer)
    if end not in ids:
        raise _bad_template(tokenizer, f"does not end every answer with {tokenizer.convert_ids_to_tokens(end)!r}")
    return ids[: len(ids) - ids[::-1].index(end)]


def _continuation(tokenizer: PreTrainedTokenizerBase, before: str, whole: str) -> list[int]:
    """The ids that `whole` has after those of `before`."""
    first, every = encode(tokenizer, before), encode(tokenizer, whole)
    if every[: len(first)] == first:
        return every[len(first) :]
    # The tokenizer joins characters across the seam, as generation, which starts from `first`, never does.
    return encode(tokenizer, whole[len(before) :])


def encode(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Ids of rendered text; the template has already put special tokens where they belong."""
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def neutral(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """`text` with every special token that it spells out broken by a space, so that it encodes as plain text."""
    for token in _special(tokenizer):
        text = text.replace(token, f"{token[0]} {token[1:]}")
    return text


def _special(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Every special token; `all_special_tokens` leaves out those without a role (`<|start_header_id|>` of Llama 3)."""
    added = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    return sorted(added.union(tokenizer.all_special_tokens))


def _render(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], *, prompt: bool) -> str:
    """The conversation as text. Models that would think aloud first are told not to: judged and trained on is the answer."""
    texts = [neutral(tokenizer, message.content) for message in messages]
    turns = [{"role": turn.role, "content": _hidden(texts[at], at)} for at, turn in enumerate(messages)]
    template = SAME_DAY + tokenizer.get_chat_template()
    try:
        written = str(
            tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=prompt, chat_template=template, enable_thinking=False
            )
        )
    except TemplateError as error:  # some know no system turn, say
        raise _bad_template(tokenizer, f"refuses a conversation ({error})") from error
    if sorted(map(int, STAND_IN.findall(written))) != [at for at, text in enumerate(texts) if text.strip()]:
        raise _bad_template(tokenizer, "does not write what every turn says exactly once")
    return STAND_IN.sub(lambda place: texts[int(place[1])].strip(), written)


def _hidden(text: str, at: int) -> str:
    """A stand-in for what `text` says. The white space around it stays: it is the template that keeps or trims it."""
    said = text.strip()
    return text.replace(said, f"{PROBE}{at}x", 1) if said else text


def _bad_template(tokenizer: PreTrainedTokenizerBase, what: str) -> SelfRewardError:
    now = "Put a chat template into the model's folder (chat_template.jinja) that does"
    return SelfRewardError(f"its chat template {what}", str(tokenizer.name_or_path), now)
