"""Training examples as token ids, made by the same code that makes a prompt for sampling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from selfreward.engines.thoughts import written_with
from selfreward.engines.tokens import completion_ids, prompt_ids, template, thought_length
from selfreward.engines.training.batches import Lengths
from selfreward.records import Answer, Asked, Contrast, Message, Reasoned, turns_of

IGNORE = -100
"""Label of a token that the loss passes over."""
GIVEN = ("chosen_given", "rejected_given")
"""Columns of pairs: how many first ids of each response are given, so that the loss passes over them."""


def sft_row(tokenizer: PreTrainedTokenizerBase, prompt: Asked, response: str) -> dict[str, list[int]]:
    """Ids of a conversation, and labels that pass over the prompt.

    A response that begins with a thought (`<think>…</think>`) is one to the prompt that asks for thoughts, in the marks of a
    template that knows any; where the template knows none, its thought is a part of the answer.
    """
    messages = turns_of(prompt)
    parts = None if template(tokenizer).thinking == "none" else written_with(response)
    answer, thought = (parts.answer.lstrip(), parts.thought) if parts else (response, None)
    before, after = prompt_ids(tokenizer, messages, thought is not None), completion_ids(tokenizer, messages, answer, thought)
    return {"input_ids": before + after, "labels": [IGNORE] * len(before) + after}


def dpo_row(
    tokenizer: PreTrainedTokenizerBase, prompt: Asked, chosen: Answer, rejected: Answer, given: bool = False
) -> dict[str, Any]:
    """Ids of a prompt and of its two responses: the sampled ones as they are, texts as people's answers.

    The prompt asks for thoughts where the responses were sampled so. `given`: the loss is to pass over these thoughts.
    """
    messages = turns_of(prompt)
    thinks = isinstance(chosen, Reasoned) or isinstance(rejected, Reasoned)
    sides = [_response_ids(tokenizer, messages, response) for response in (chosen, rejected)]
    row = {"prompt_ids": prompt_ids(tokenizer, messages, thinks), "chosen_ids": sides[0], "rejected_ids": sides[1]}
    if not given:
        return row
    return row | {name: thought_length(tokenizer, ids) if thinks else 0 for name, ids in zip(GIVEN, sides, strict=True)}


def dpo_rows(tokenizer: PreTrainedTokenizerBase, pairs: Sequence[Contrast], given: bool = False) -> list[dict[str, Any]]:
    """The ids of all pairs, as `dpo_row` has them; with the `weight` of each where some have one."""
    rows = [dpo_row(tokenizer, pair[0], pair[1], pair[2], given) for pair in pairs]
    weights = [pair[3] if len(pair) > 3 else 1.0 for pair in pairs]
    return rows if set(weights) <= {1.0} else [{**row, "weight": weight} for row, weight in zip(rows, weights, strict=True)]


def _response_ids(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], response: Answer) -> list[int]:
    if isinstance(response, str):
        return completion_ids(tokenizer, messages, response)
    if not isinstance(response, Reasoned):
        return [*response]
    return completion_ids(tokenizer, messages, response.text, response.thought) if response.ids is None else [*response.ids]


def pair_lengths(row: dict[str, Any]) -> Lengths:
    """Tokens of a pair's prompt with its chosen and with its rejected response."""
    chosen, rejected = (len(row["prompt_ids"]) + len(row[side]) for side in ("chosen_ids", "rejected_ids"))
    return chosen, rejected


class Given:
    """A collator of pairs that counts what is given of each response as a part of its prompt."""

    def __init__(self, collate: Callable[[Sequence[Any]], dict[str, Any]]) -> None:
        self._collate = collate

    def __call__(self, rows: Sequence[Any]) -> dict[str, Any]:
        """The batch, as tensors: all chosen, then all rejected."""
        batch = self._collate(rows)
        for at, (name, row) in enumerate((name, row) for name in GIVEN for row in rows):
            begin = len(row["prompt_ids"])
            batch["completion_mask"][at, begin : begin + row.get(name, 0)] = 0
        return batch
