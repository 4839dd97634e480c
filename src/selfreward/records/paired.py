"""The texts of preference pairs, from the records that they name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from selfreward.records.made import Contrast, Pair, Prompt, Response
from selfreward.records.requests import NO_FRAME, Asked, Frame

T = TypeVar("T")


def in_pairs(pairs: Iterable[Pair]) -> set[str]:
    """Ids of the responses that are in one of `pairs`."""
    return {response_id for pair in pairs for response_id in (pair.chosen_id, pair.rejected_id)}


def sides(pairs: Iterable[Pair], by_id: Mapping[str, T]) -> list[tuple[T, T]]:
    """(chosen, rejected) of each of `pairs`, such as their texts, from what is known `by_id` of the responses."""
    return [(by_id[pair.chosen_id], by_id[pair.rejected_id]) for pair in pairs]


def texts_in(pairs: Iterable[Pair], responses: Iterable[Response]) -> dict[str, str]:
    """Text by id of those of `responses` that are in one of `pairs`."""
    wanted = in_pairs(pairs)
    return {response.id: response.text for response in responses if response.id in wanted}


def preference_texts(
    pairs: Sequence[Pair], prompts: Iterable[Prompt], responses: Iterable[Response]
) -> list[tuple[Asked, str, str]]:
    """(prompt, chosen, rejected) as text, for training."""
    prompt_of, texts = {prompt.id: prompt.asked for prompt in prompts}, texts_in(pairs, responses)
    return [(prompt_of[pair.prompt_id], *both) for pair, both in zip(pairs, sides(pairs, texts), strict=True)]


def contrasts(
    pairs: Sequence[Pair], prompts: Iterable[Prompt], responses: Iterable[Response], frame: Frame = NO_FRAME
) -> list[Contrast]:
    """(prompt, chosen, rejected) for training: the sampled ids of responses for which they are known, the text of others.

    `frame`: how the prompts were asked when the responses were sampled. A pair of another weight than 1 has it beside them.
    """
    prompt_of, wanted = {prompt.id: frame(prompt.asked) for prompt in prompts}, in_pairs(pairs)
    answers = {response.id: response.answer for response in responses if response.id in wanted}
    texts = [(prompt_of[pair.prompt_id], *both) for pair, both in zip(pairs, sides(pairs, answers), strict=True)]
    return [text if pair.weight == 1 else (*text, pair.weight) for pair, text in zip(pairs, texts, strict=True)]
