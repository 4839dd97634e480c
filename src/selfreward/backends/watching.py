"""How likely the watched words were where one of them was drawn."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from selfreward.chat import decode
from selfreward.records import Watched


class Watcher:
    """Knows which tokens read as a watched word, white space around them aside."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._spelled: dict[tuple[str, ...], dict[str, list[int]]] = {}

    def look(self, words: tuple[str, ...], ids: list[int], logits: torch.Tensor) -> Watched | None:
        """What `logits` [token] gave each of `words`, where the last of `ids`, drawn from it, reads as one of them."""
        spelled = self.spellings(words)
        if not any(ids[-1] in tokens for tokens in spelled.values()):
            return None
        logprobs = torch.log_softmax(logits.double(), dim=-1)
        return self.read(words, ids, {token: float(logprobs[token]) for tokens in spelled.values() for token in tokens})

    def read(self, words: tuple[str, ...], ids: list[int], logprobs: Mapping[int, float]) -> Watched | None:
        """The same from the log-probabilities of the tokens that read as `words`."""
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
