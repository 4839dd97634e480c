"""Drawing tokens, and the places where watched tokens were drawn."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from selfreward.engines.tokens import decode
from selfreward.records import Watched

LIKELIEST = 512
"""The words among which a GPU looks for a nucleus first. A vocabulary of more than twice as many is drawn from row by row on a
CPU, where sorting it costs more than a small model does."""


def draw(logits: Tensor, uniforms: Tensor, temperature: float, top_p: float) -> Tensor:
    """One token a row from `logits` [row, word], by inverting the distribution at `uniforms` [row] in [0, 1).

    The nucleus is the smallest set of the likeliest words with probability `top_p` at least, of equals the first; its words
    are laid out from the likeliest down. Temperature 0 is greedy.
    """
    if temperature == 0:
        return logits.argmax(-1)
    if logits.device.type == "cpu" and logits.shape[-1] > 2 * LIKELIEST:  # row by row, which caches hold
        rows = zip(logits, uniforms, strict=True)
        return torch.cat([by_bucket(likely(row, temperature), uniform, top_p) for row, uniform in rows])
    way = by_value if logits.device.type == "cpu" else by_order
    return way(likely(logits, temperature), uniforms.double(), top_p)


def likely(logits: Tensor, temperature: float) -> Tensor:
    """Probabilities of words [.., word]."""
    return torch.softmax(logits.double() / temperature, dim=-1)


def by_order(probabilities: Tensor, uniforms: Tensor, top_p: float) -> Tensor:
    """Draw from probabilities [row, word] by sorting the words, which is fast on GPUs."""
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
            values, order = values.gather(-1, order).sort(dim=-1, descending=True, stable=True)
            return values, words.gather(-1, order)
    return probabilities.sort(dim=-1, descending=True, stable=True)


def by_value(probabilities: Tensor, uniforms: Tensor, top_p: float) -> Tensor:
    """Draw the words that `by_order` would by sorting probabilities without their words, which is ten times as fast on a CPU."""
    values = -np.sort(-probabilities.numpy(), axis=-1)
    sums = torch.from_numpy(values).cumsum(-1).numpy()
    if np.isnan(sums[:, -1]).any():
        return by_order(probabilities, uniforms, top_p)
    sizes = np.maximum(np.count_nonzero(sums - values < top_p, axis=-1, keepdims=True), 1)
    most = uniforms.double().numpy()[:, None] * np.take_along_axis(sums, sizes - 1, axis=-1)
    places = np.minimum(np.count_nonzero(sums <= most, axis=-1, keepdims=True), sizes - 1)
    drawn = np.take_along_axis(values, places, axis=-1)
    rows, words = np.nonzero(probabilities.numpy() == drawn)
    nth = places - np.count_nonzero(values > drawn, axis=-1, keepdims=True)  # of the words that are as likely
    return torch.from_numpy(words[np.searchsorted(rows, np.arange(len(drawn))) + nth[:, 0]])


def by_bucket(probabilities: Tensor, uniform: Tensor, top_p: float) -> Tensor:
    """Draw from probabilities [word] the word [1] that `by_order` would, sorting only words as likely as the one that is sought.

    A bucket holds the words whose probabilities, as floats, have the same first sixteen bits: exponent and start of the fraction.
    """
    held = probabilities.numpy()
    if np.isnan(held[0]):  # then all are
        return by_order(probabilities[None], uniform[None], top_p)
    buckets = held.astype(np.float32).view(np.int32) >> 16
    buckets = buckets.max() - buckets
    sums = np.bincount(buckets, weights=held).cumsum()

    def reached(mass: float, side: Literal["left", "right"]) -> tuple[int, float]:
        """The word with which the likeliest reach `mass` (`right`: exceed it), and what they then have."""
        bucket = min(int(np.searchsorted(sums, mass, side)), len(sums) - 1)
        words = np.flatnonzero(buckets == bucket)
        words = words[np.argsort(-held[words], kind="stable")]
        so_far = held[words].cumsum() + (sums[bucket - 1] if bucket else 0.0)
        at = min(int(np.searchsorted(so_far, mass, side)), len(words) - 1)
        return int(words[at]), float(so_far[at])

    nucleus = reached(top_p, "left")[1]
    below = min(float(uniform) * nucleus, np.nextafter(nucleus, 0))  # rounding must not leave the nucleus
    return torch.tensor([reached(below, "right")[0]])


class Spellings:
    """Knows which tokens read as a watched word, white space around them aside."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._spelled: dict[tuple[str, ...], dict[str, list[int]]] = {}

    def look(self, words: tuple[str, ...], ids: list[int], logits: torch.Tensor) -> Watched | None:
        """Log-probabilities that `logits` [token] gave `words`, where the last of `ids`, drawn from it, reads as one of them."""
        spelled = self.spellings(words)
        if not any(ids[-1] in tokens for tokens in spelled.values()):
            return None
        logprobs = torch.log_softmax(logits.double(), dim=-1)
        return self.read(words, ids, {token: float(logprobs[token]) for tokens in spelled.values() for token in tokens})

    def read(self, words: tuple[str, ...], ids: list[int], logprobs: Mapping[int, float]) -> Watched | None:
        """Like `look`, from the log-probabilities of the tokens that read as `words`."""
        spelled = self.spellings(words)
        drawn = next((word for word, tokens in spelled.items() if ids[-1] in tokens), None)
        if drawn is None:
            return None
        text = decode(self._tokenizer, ids).rstrip()
        each = {word: np.logaddexp.reduce([logprobs[token] for token in tokens]) for word, tokens in spelled.items()}
        return Watched(at=len(text) - len(drawn), logprobs={word: float(logprob) for word, logprob in each.items()})

    def spellings(self, words: tuple[str, ...]) -> dict[str, list[int]]:
        """Word → its tokens, of those words that have one."""
        if words not in self._spelled:
            tokens_of = defaultdict(list)
            for token in range(len(self._tokenizer)):
                if (text := decode(self._tokenizer, [token]).strip()) in words:
                    tokens_of[text].append(token)
            self._spelled[words] = {word: tokens_of[word] for word in words if word in tokens_of}
        return self._spelled[words]
