"""Training examples as token ids, made by the same code that makes a prompt for sampling."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

from selfreward.engines.tokens import completion_ids, prompt_ids
from selfreward.engines.training.batches import Lengths
from selfreward.records import Answer, Asked, turns_of

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


def pair_lengths(row: dict[str, list[int]]) -> Lengths:
    """Tokens of a pair's prompt with its chosen and with its rejected response."""
    chosen, rejected = (len(row["prompt_ids"]) + len(row[side]) for side in ("chosen_ids", "rejected_ids"))
    return chosen, rejected
