"""Examples that every step of a DPO reads beside its pairs, and learns by their likelihood, so that they are not unlearnt."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from selfreward.engines.training.rows import IGNORE

Row = dict[str, list[int]]


class Rehearsal:
    """The examples of each step, and their loss.

    They come in an order without end, in which every example has come as often as any other, or once more. It is a function of
    the seed, so that a step has the same ones wherever a training goes on.
    """

    def __init__(self, rows: Sequence[Row], each: int, weight: float, seed: int) -> None:
        """`rows`: ids and labels of the examples; a step reads `each` of them, and their mean loss counts `weight`."""
        self.rows, self._each, self._weight, self._seed = rows, each, weight, seed

    @property
    def longest(self) -> int:
        """Tokens of the longest example."""
        return max(len(row["input_ids"]) for row in self.rows)

    def of(self, step: int) -> list[Row]:
        """The examples of a step, counted from 0."""
        return [self.rows[self._place(at)] for at in range(step * self._each, (step + 1) * self._each)]

    def _place(self, at: int) -> int:
        times, within = divmod(at, len(self.rows))
        return _shuffled(len(self.rows), f"{self._seed} rehearsal {times}")[within]

    def tokens(self, steps: int) -> int:
        """Tokens of the examples that so many steps read, without padding."""
        return sum(len(row["input_ids"]) for step in range(steps) for row in self.of(step))

    def loss(
        self, model: Any, step: int, forward: tuple[int, int], share: tuple[int, int], device: torch.device
    ) -> Tensor | float:  # fmt: skip
        """The part of one forward pass in its step's loss: the mean negative log-likelihood of all answers' tokens, weighed.

        `forward`: which pass it is, and of how many; `share`: which process, and of how many, that each take the mean. Where one
        process has an example, all read one, because they must go forward together.
        """
        examples, (which, passes), (rank, processes) = self.of(step), forward, share
        everyones = examples[which::passes]
        if not everyones:
            return 0.0
        mine = everyones[rank::processes]
        log_probs = model(**batch(mine or everyones[:1], device), use_cache=False, fused_lm_head=True).log_probs
        counted = self._weight * processes / sum(map(learnt, examples)) if mine else 0.0
        loss: Tensor = -counted * log_probs.sum()
        return loss


@lru_cache(maxsize=2)
def _shuffled(number: int, seed: str) -> list[int]:
    return random.Random(seed).sample(range(number), number)


def learnt(row: Row) -> int:
    """Tokens of an example that the loss is taken on."""
    return sum(label != IGNORE for label in row["labels"])


def batch(rows: Sequence[Row], device: torch.device) -> dict[str, Tensor]:
    """The rows as tensors [row, token], padded at the end."""
    ids, labels = ([torch.tensor(row[name]) for row in rows] for name in ("input_ids", "labels"))
    return {
        "input_ids": pad_sequence(ids, batch_first=True).to(device),
        "attention_mask": pad_sequence([torch.ones_like(row) for row in ids], batch_first=True).to(device),
        "labels": pad_sequence(labels, batch_first=True, padding_value=IGNORE).to(device),
    }
