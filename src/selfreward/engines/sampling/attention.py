"""Attention over some of the keys, and how several such parts are put together into attention over all of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

NEVER = -1e30
"""Added to the score of a key that is not to be seen; not infinite, so that a part may have none to be seen."""


def look(
    query: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None, cap: float | None, causal: bool = False
) -> tuple[Tensor, Tensor]:
    """Attend with `query` [row, head, q, size] to keys [row, key head, k, size]; also returns the logarithm of the weights' sum.

    It is [row, head, q, 1]; both are floats. `bias` [row, 1, q, k] is added to scores before the softmax, `cap` bounds
    them by a tanh, and where it is `causal`, which no bias may go with, a query sees the keys up to its own place.
    """
    if cap is None and query.device.type == "cpu":
        fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        mask = None if bias is None else bias.to(query.dtype)
        found, total = fused(query, keys, values, 0.0, causal, attn_mask=mask, scale=1.0)
        return found.float(), total[..., None].float()
    heads = query.shape[1]
    scores = (query @ repeated(keys, heads).mT).float()
    if cap is not None:
        scores = cap * torch.tanh(scores / cap)
    if causal:
        scores = scores + unseen(torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril())
    if bias is not None:
        scores = scores + bias
    top = scores.amax(-1, keepdim=True)
    weights = (scores - top).exp_()
    total = weights.sum(-1, keepdim=True)
    return (weights.to(values.dtype) @ repeated(values, heads)).float() / total, top + total.log()


def merged(parts: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Combine attention over several parts of the keys into attention over all keys, each part by its weight.

    The result takes the memory of the first part.
    """
    if len(parts) == 1:
        return parts[0][0]
    shares = torch.softmax(torch.stack([weight for _, weight in parts]), dim=0)
    whole = parts[0][0].mul_(shares[0])
    for (part, _), share in zip(parts[1:], shares[1:], strict=True):
        whole.addcmul_(part, share)
    return whole


def unseen(seen: Tensor) -> Tensor:
    """The bias to add to scores so that only keys that are `seen` count."""
    return torch.zeros_like(seen, dtype=torch.float32).masked_fill_(~seen, NEVER)


def repeated(states: Tensor, heads: int) -> Tensor:
    """Keys or values for each of so many query heads."""
    return states.repeat_interleave(heads // states.shape[1], dim=1) if states.shape[1] < heads else states
