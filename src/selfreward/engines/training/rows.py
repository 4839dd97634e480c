"""Training examples as token ids, made by the same code that makes a prompt for sampling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from selfreward.engines.tokens import completion_ids, prompt_ids
from selfreward.engines.training.batches import Lengths
from selfreward.records import Answer, Asked, Contrast, turns_of

IGNORE = -100
"""Label of a token that the loss passes over."""


def sft_row(tokenizer: PreTrainedTokenizerBase, prompt: Asked, response: str) -> dict[str, list[int]]:
    """Ids of a conversation, and labels that pass over the prompt."""
    messages = turns_of(prompt)
    before, after = prompt_ids(tokenizer, messages), completion_ids(tokenizer, messages, response)
    return {"input_ids": before + after, "labels": [IGNORE] * len(before) + after}


def dpo_row(tokenizer: PreTrainedTokenizerBase, prompt: Asked, chosen: Answer, rejected: Answer) -> dict[str, list[int]]:
    """Ids of a prompt and of its two responses: the sampled ones as they are, texts as people's answers."""
    messages = turns_of(prompt)
    chosen_ids, rejected_ids = (
        completion_ids(tokenizer, messages, response) if isinstance(response, str) else list(response)
        for response in (chosen, rejected)
    )
    return {"prompt_ids": prompt_ids(tokenizer, messages), "chosen_ids": chosen_ids, "rejected_ids": rejected_ids}


def dpo_rows(tokenizer: PreTrainedTokenizerBase, pairs: Sequence[Contrast]) -> list[dict[str, Any]]:
    """The ids of all pairs; with the `weight` of each where some have one."""
    rows: list[dict[str, Any]] = [dpo_row(tokenizer, pair[0], pair[1], pair[2]) for pair in pairs]
    weights = [pair[3] if len(pair) > 3 else 1.0 for pair in pairs]
    return rows if set(weights) <= {1.0} else [{**row, "weight": weight} for row, weight in zip(rows, weights, strict=True)]


def pair_lengths(row: dict[str, list[int]]) -> Lengths:
    """Tokens of a pair's prompt with its chosen and with its rejected response."""
    chosen, rejected = (len(row["prompt_ids"]) + len(row[side]) for side in ("chosen_ids", "rejected_ids"))
    return chosen, rejected
