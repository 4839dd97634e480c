"""Log-probabilities of given words, without the logits of a whole text.

A few rows of logits are held at a time, and made again for the backward pass. TRL has the same for GPUs. Elsewhere it scores
every position, prompts and padding too, in tiles larger than any cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

HELD = 1 << 24
"""Logits held at a time: 64 MB in float32. A model's output matrix is read once for each such part."""


class Scores(NamedTuple):
    """Scores of each word, [words], in float32; only the first has a gradient."""

    log_probs: Tensor
    entropy: Tensor
    """The entropy of the distribution that the word was taken from."""
    mean_logits: Tensor
    is_top1: Tensor
    """True if no other word was likelier."""


def score(hidden: Tensor, weight: Tensor, bias: Tensor | None, words: Tensor) -> Scores:
    """Scores of `words` [words] after `hidden` [words, size], by an output layer `weight` [vocabulary, size], `bias`."""
    return Scores(*_Score.apply(hidden, weight, bias, words))  # type: ignore[no-untyped-call]


class _Score(torch.autograd.Function):
    """The gradient of a word's log-probability by its logits is 1 at the word, less the probabilities."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, words: Tensor) -> tuple[Tensor, ...]:
        totals, log_probs, entropy, mean = (hidden.new_empty(len(words)) for _ in range(4))
        top1 = torch.empty(len(words), dtype=torch.bool, device=hidden.device)
        room = _room(hidden, weight)
        for part, logits in _parts(hidden, weight, bias):
            own, (most, likeliest) = logits.gather(1, words[part, None])[:, 0], logits.max(1, keepdim=True)
            mean[part] = logits.mean(1)
            shares = torch.exp(logits.sub_(most), out=room[: len(logits)])
            total = shares.sum(1)
            totals[part] = total.log() + most[:, 0]
            log_probs[part] = own - totals[part]
            entropy[part] = total.log() - torch.linalg.vecdot(shares, logits) / total
            top1[part] = likeliest[:, 0] == words[part]
        ctx.save_for_backward(hidden, weight, bias, words, totals)
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(entropy, mean, top1)
        return log_probs, entropy, mean, top1

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, words, totals = ctx.saved_tensors
        gradient, *_ = gradients
        if gradient is None:
            return (None,) * 4
        of_hidden = torch.empty_like(hidden)
        of_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        of_bias = torch.zeros_like(bias) if bias is not None and ctx.needs_input_grad[2] else None
        for part, logits in _parts(hidden, weight, bias):
            by_logits = logits.sub_(totals[part, None]).exp_().mul_(-gradient[part, None])
            by_logits.scatter_add_(1, words[part, None], gradient[part, None])
            torch.mm(by_logits, weight, out=of_hidden[part])
            if of_weight is not None:
                of_weight.addmm_(by_logits.T, hidden[part])
            if of_bias is not None:
                of_bias += by_logits.sum(0)
        return of_hidden, of_weight, of_bias, None


def _parts(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Iterator[tuple[slice, Tensor]]:
    """The logits of a few words at a time, each in the place of those before."""
    room = _room(hidden, weight)
    for start in range(0, len(hidden), max(len(room), 1)):
        part = slice(start, min(start + len(room), len(hidden)))
        logits = torch.mm(hidden[part], weight.T, out=room[: part.stop - start])
        yield part, logits if bias is None else logits.add_(bias)


def _room(hidden: Tensor, weight: Tensor) -> Tensor:
    return hidden.new_empty(min(max(1, HELD // len(weight)), len(hidden)), len(weight))
