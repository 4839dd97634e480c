"""Drawing the next word from logits."""

from __future__ import annotations

import torch
from torch import Tensor

LIKELIEST = 512
"""A nucleus is looked for among so many words first; sorting a whole vocabulary costs more than a small model does."""


def draw(logits: Tensor, uniforms: Tensor, temperature: float, top_p: float) -> Tensor:
    """One token a row from `logits` [row, word], by inverting the distribution at `uniforms` [row] in [0, 1).

    The nucleus is the smallest set of the likeliest words with probability `top_p` at least, of equals the first; its words
    are laid out from the likeliest down. Temperature 0 is greedy.
    """
    if temperature == 0:
        return logits.argmax(-1)
    probabilities = torch.softmax(logits.double() / temperature, dim=-1)
    values, words = _likeliest(probabilities, top_p)
    mass = values.masked_fill(values.cumsum(-1) - values >= top_p, 0.0).cumsum(-1)
    place = torch.searchsorted(mass, (uniforms.double() * mass[:, -1])[:, None], right=True)
    return words.gather(-1, place.clamp(max=words.shape[-1] - 1))[:, 0]


def _likeliest(probabilities: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    """Probabilities and words [row, word], the likeliest first, of equals the first: all, or so many that the nucleus is in."""
    if top_p < 1 and probabilities.shape[-1] > 2 * LIKELIEST:
        values, words = probabilities.topk(LIKELIEST, dim=-1)
        # Words as likely as the last one found may be missing: only what is likelier is sure to be all there.
        if ((values * (values > values[:, -1:])).sum(-1) >= top_p).all():
            words, order = words.sort(dim=-1)
            values, by_value = values.gather(-1, order).sort(dim=-1, descending=True, stable=True)
            return values, words.gather(-1, by_value)
    return probabilities.sort(dim=-1, descending=True, stable=True)
