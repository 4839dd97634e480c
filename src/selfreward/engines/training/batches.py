"""Batches of rows of like length, because the model also computes the padding."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

Lengths = tuple[int, ...]
"""Tokens of each sequence that an example puts through the model: one in SFT, two in DPO."""


def longest(examples: Sequence[Lengths]) -> int:
    """Tokens that the largest example puts through the model, each of its sequences padded to its longest."""
    return max(max(lengths) * len(lengths) for lengths in examples)


class Batches:
    """The order in which a training takes its examples, as a sampler: a function of lengths, sizes, seed and epoch.

    Each epoch has every example once. Every `step` is made of examples at random, so that what is learnt from together does
    not hang on length; its batches of `size`, which go through the model one by one, are of like length, the longest first,
    and padded to their longest sequence.
    """

    def __init__(self, examples: Sequence[Lengths], size: int, step: int, seed: int) -> None:
        self._examples, self._size, self._step, self._seed, self._epoch = examples, size, step, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Epochs count from 0."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._examples)

    def __iter__(self) -> Iterator[int]:
        return (at for batch in self.of(self._epoch) for at in batch)

    def of(self, epoch: int) -> list[list[int]]:
        """The batches of an epoch, as positions."""
        rng = random.Random(f"{self._seed} {epoch}")
        shuffled = rng.sample(range(len(self)), len(self))
        batches = []
        for start in range(0, len(shuffled), self._step):
            step = sorted(shuffled[start : start + self._step], key=lambda at: max(self._examples[at]), reverse=True)
            batches += [step[first : first + self._size] for first in range(0, len(step), self._size)]
        return batches

    def tokens(self, epochs: int) -> tuple[int, int]:
        """Tokens put through the model in so many epochs, padding included, and how many of these are padding."""
        padded = sum(self._padded(batch) for epoch in range(epochs) for batch in self.of(epoch))
        return padded, padded - epochs * sum(map(sum, self._examples))

    def _padded(self, batch: list[int]) -> int:
        examples = [self._examples[at] for at in batch]
        return max(map(max, examples)) * sum(map(len, examples))


def packed(examples: Sequence[Lengths], tokens: int) -> list[list[int]]:
    """Positions in batches of like length, longest first, none of more than `tokens` with its padding but for a single one."""
    batches: list[list[int]] = []
    room = 0
    for at in sorted(range(len(examples)), key=lambda at: max(examples[at]), reverse=True):
        if not batches or room < len(batches[-1]) + 1:
            batches.append([])
            room = tokens // (max(examples[at]) * len(examples[at]))
        batches[-1].append(at)
    return batches
