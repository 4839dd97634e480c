"""Drawing tokens, and the places where watched tokens were drawn."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from selfreward.engines.tokens import decode
from selfreward.records import Watched

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
            found = defaultdict(list)
            for token in range(len(self._tokenizer)):
                if (text := decode(self._tokenizer, [token]).strip()) in words:
                    found[text].append(token)
            self._spelled[words] = {word: found[word] for word in words if word in found}
        return self._spelled[words]
