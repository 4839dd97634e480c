"""Attention over some of the keys, and how several such parts are put together into attention over all of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

NEVER = -1e30
"""Added to the score of a key that is not to be seen; not infinite, so that a part may have none to be seen."""


def look(query: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None, cap: float | None) -> tuple[Tensor, Tensor]:
    """Attention of `query` [.., q, size] over keys [.., k, size], and the logarithm of the weights' sum [.., q, 1]; floats."""
    scores = (query @ keys.mT).float()
    if cap is not None:
        scores = cap * torch.tanh(scores / cap)
    if bias is not None:
        scores = scores + bias
    top = scores.amax(-1, keepdim=True)
    weights = (scores - top).exp_()
    total = weights.sum(-1, keepdim=True)
    return (weights.to(values.dtype) @ values).float() / total, top + total.log()


def merged(found: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Combine attention over several parts of the keys into attention over all keys, each part by its weight."""
    shares = torch.softmax(torch.stack([weight for _, weight in found]), dim=0)
    return (torch.stack([part for part, _ in found]) * shares).sum(0)


def unseen(seen: Tensor) -> Tensor:
    """The bias to add to scores so that only keys that are `seen` count."""
    return torch.zeros_like(seen, dtype=torch.float32).masked_fill_(~seen, NEVER)


def repeated(states: Tensor, heads: int) -> Tensor:
    """Keys or values for each of so many query heads."""
    return states.repeat_interleave(heads // states.shape[1], dim=1) if states.shape[1] < heads else states
