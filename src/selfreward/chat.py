"""Conversations as tokens: the one place where sampling and training turn messages into ids, so that they agree.

Text in messages is somebody's or some model's words and never markup: special tokens spelt out in it are broken up.
"""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from selfreward.errors import SelfRewardError
from selfreward.records import Message


def prompt_ids(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> list[int]:
    """The ids a model sees before it answers `messages`."""
    return encode(tokenizer, _render(tokenizer, messages, prompt=True))


def completion_ids(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], response: str) -> list[int]:
    """The ids of `response` as the answer to `messages`, up to and with the end of turn that generation stops on.

    Raises `SelfRewardError` where the template does not continue its own prompt, or ends no turn.
    """
    before = _render(tokenizer, messages, prompt=True)
    whole = _render(tokenizer, [*messages, Message(role="assistant", content=response)], prompt=False)
    if not whole.startswith(before):
        raise _bad_template(tokenizer, "writes a prompt that is not the beginning of its own conversation")
    ids = encode(tokenizer, whole[len(before) :])
    ends = [at for at, token in enumerate(ids) if token == tokenizer.eos_token_id]
    if not ends:
        raise _bad_template(tokenizer, f"does not end an answer with {tokenizer.eos_token!r}, on which generation stops")
    return ids[: ends[-1] + 1]


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
    if not tokenizer.chat_template:
        raise _bad_template(tokenizer, "is missing")
    turns = [{"role": message.role, "content": neutral(tokenizer, message.content)} for message in messages]
    return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=prompt))


def _bad_template(tokenizer: PreTrainedTokenizerBase, what: str) -> SelfRewardError:
    now = "Put a chat template into the model's folder (chat_template.jinja) that does"
    return SelfRewardError(f"its chat template {what}", str(tokenizer.name_or_path), now)
