"""Reading prompts and growing samples with a model's own cache and attention, whatever they are: only prompts are shared."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel


class Plain:
    """What `tree.Tree` does, for architectures that it does not suit."""

    trunk = 0

    def __init__(self, model: PreTrainedModel) -> None:
        self.model, self.device = model, model.device

    def plant(self, ids: list[int]) -> None:
        """Nothing: every prompt is read whole."""

    def branch(self, rests: Sequence[list[int]]) -> Tensor:
        """Read prompts; returns their last logits [prompt, word]."""
        longest = max(map(len, rests))
        self._cache = DynamicCache(config=self.model.config)
        ids = torch.tensor([[0] * (longest - len(rest)) + rest for rest in rests], device=self.device)
        self._mask = torch.tensor([[0] * (longest - len(rest)) + [1] * len(rest) for rest in rests], device=self.device)
        return self._read(ids)

    def fan(self, branches: Tensor) -> None:
        """Begin samples: row i goes on from prompt `branches[i]`."""
        self.keep(branches)

    def grow(self, tokens: Tensor) -> Tensor:
        """One more token [row] for every sample; returns the logits [row, word] after it."""
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(tokens), 1)], dim=1)
        return self._read(tokens[:, None])

    def keep(self, rows: Tensor) -> None:
        """Go on with these samples alone."""
        self._cache.batch_select_indices(rows)
        self._mask = self._mask[rows]

    def prune(self) -> None:
        """Let everything go."""
        self._cache, self._mask = DynamicCache(), torch.empty(0, dtype=torch.long)

    def _read(self, ids: Tensor) -> Tensor:
        positions = (self._mask.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        out = self.model(
            input_ids=ids, attention_mask=self._mask, position_ids=positions, past_key_values=self._cache, use_cache=True,
            logits_to_keep=1,
        )  # fmt: skip
        logits: Tensor = out.logits[:, -1]
        return logits.float()
