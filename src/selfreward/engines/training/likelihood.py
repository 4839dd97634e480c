"""Log-probabilities of given words, without the logits of a whole text.

A few rows of logits are held at a time, and made again for the backward pass where they are too many to keep. TRL has this
for GPUs. Elsewhere it scores every position, prompts and padding too, in tiles larger than any cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

HELD = 1 << 24
"""Logits held at a time: 64 MB in float32. A model's output matrix is read once for each such part."""
KEPT = 1 << 26
"""The most logits that are kept from the forward to the backward pass, 256 MB; of more, all are made again."""


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
        most, total, log_probs, entropy, mean = (hidden.new_empty(len(words)) for _ in range(5))
        top1 = torch.empty(len(words), dtype=torch.bool, device=hidden.device)
        keeps, kept = ctx.needs_input_grad[0] and len(words) * len(weight) <= KEPT, []
        room = None if keeps else _room(hidden, weight)
        for part, logits in _parts(hidden, weight, bias):
            own, most[part], mean[part] = logits.gather(1, words[part, None])[:, 0], logits.amax(1), logits.mean(1)
            top1[part] = own == most[part]
            shares = torch.exp(logits.sub_(most[part, None]), out=None if room is None else room[: len(logits)])
            total[part] = shares.sum(1)
            log_probs[part] = own - most[part] - total[part].log()
            entropy[part] = total[part].log() - logits.mul_(shares).sum(1) / total[part]
            if keeps:
                kept.append(shares)
        ctx.save_for_backward(hidden, weight, bias, words, most, total, *kept)
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(entropy, mean, top1)
        return log_probs, entropy, mean, top1

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, words, most, total, *kept = ctx.saved_tensors
        gradient, *_ = gradients
        if gradient is None:
            return (None,) * 4
        of_hidden = torch.empty_like(hidden)
        of_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        of_bias = torch.zeros_like(bias) if bias is not None and ctx.needs_input_grad[2] else None
        room = _room(hidden, weight) if kept else None
        for part, shares in _shares(hidden, weight, bias, most, kept):
            place = shares if room is None else room[: len(shares)]
            by_logits = torch.mul(shares, (-gradient[part] / total[part])[:, None], out=place)
            by_logits.scatter_add_(1, words[part, None], gradient[part, None])
            torch.mm(by_logits, weight, out=of_hidden[part])
            if of_weight is not None:
                of_weight.addmm_(by_logits.T, hidden[part])
            if of_bias is not None:
                of_bias += by_logits.sum(0)
        return of_hidden, of_weight, of_bias, None


def _shares(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, most: Tensor, kept: Sequence[Tensor]
) -> Iterator[tuple[slice, Tensor]]:
    """For a few words at a time, each word's probability as a multiple of the likeliest one's: those `kept`, or made again."""
    if kept:
        yield from zip(_slices(hidden, weight), kept, strict=True)
        return
    for part, logits in _parts(hidden, weight, bias):
        yield part, logits.sub_(most[part, None]).exp_()


def _parts(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Iterator[tuple[slice, Tensor]]:
    """The logits of a few words at a time, each in the place of those before."""
    room = _room(hidden, weight)
    for part in _slices(hidden, weight):
        logits = torch.mm(hidden[part], weight.T, out=room[: part.stop - part.start])
        yield part, logits if bias is None else logits.add_(bias)


def _slices(hidden: Tensor, weight: Tensor) -> Iterator[slice]:
    held = _held(weight)
    return (slice(start, min(start + held, len(hidden))) for start in range(0, len(hidden), held))


def _room(hidden: Tensor, weight: Tensor) -> Tensor:
    return hidden.new_empty(min(_held(weight), len(hidden)), len(weight))


def _held(weight: Tensor) -> int:
    """Words whose logits are held at a time."""
    return max(1, HELD // len(weight))
