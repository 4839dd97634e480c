"""A key-value cache in the shape of a stage's requests, and the attention that reads it.

What all prompts of a stage begin with (a rubric, a few-shot header) is the trunk: computed and held once. Each prompt
is a branch: computed and held once for all its samples. Only a sample's own words are its own. A token's attention is
taken over the three apart and put together again by their weights, which is the same sum in another order.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel
from transformers.cache_utils import Cache, CacheLayerMixin

from selfreward.engines.sampling.attention import look, merged, repeated, unseen

NAME = "selfreward_tree"
"""The name under which transformers knows this attention."""
ROOM = 32
"""Tokens that a growing part is lengthened by: copying it for every single one costs more than the model does."""
HARMLESS = {"position_ids", "cache_position", "use_cache", "is_causal", "output_attentions", "output_hidden_states"}
"""Arguments of an attention that change nothing of what it computes here."""


CACHES = ("cache", "past_key_values", "cache_params", "state")
"""Names of a model's cache, as an argument and in its output: the first from transformers 5.24 on."""


def cache_name(model: PreTrainedModel) -> str | None:
    """The argument by which a model is given its cache; None where it takes none."""
    known = inspect.signature(model.forward).parameters
    return next((name for name in CACHES if name in known), None)


class Unsuited(Exception):
    """A model's attention is more than keys, values, a scale, a window and a cap."""


class Layer(CacheLayerMixin):
    """One layer's keys and values [.., heads, tokens, head size]."""

    is_sliding = False

    def __init__(self, tree: Tree) -> None:
        super().__init__()
        self.tree = tree
        self.parts: dict[str, tuple[Tensor, Tensor]] = {}
        self._rooms: tuple[Tensor, ...] = ()

    def update(self, key_states: Tensor, value_states: Tensor, *_: object, **__: object) -> tuple[Any, Any]:
        """Take in new keys and values. Models pass what is returned on to their attention unseen: this layer."""
        self.is_initialized = True
        # Models hand on views of [.., token, head, size], which every product with them would copy again.
        whole = (key_states.contiguous(), value_states.contiguous())
        self.parts[self.tree.growing] = self._appended(whole) if self.tree.growing == "own" else whole
        return self, self

    def _appended(self, new: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        start = self.parts["own"][0].shape[-2] if "own" in self.parts else 0
        if not start or start == self._rooms[0].shape[-2]:
            old = self.parts.get("own", tuple(part[..., :0, :] for part in new))
            more = (part.new_empty(*part.shape[:-2], ROOM, part.shape[-1]) for part in new)
            self._rooms = tuple(torch.cat(both, dim=-2) for both in zip(old, more, strict=True))
        for room, part in zip(self._rooms, new, strict=True):
            room[..., start, :] = part[..., 0, :]
        keys, values = (room[..., : start + 1, :] for room in self._rooms)
        return keys, values

    def select(self, part: str, rows: Tensor) -> None:
        """Keep `rows` of a part."""
        if part == "own" and self._rooms:
            length = self.parts["own"][0].shape[-2]
            self._rooms = tuple(room[rows] for room in self._rooms)
            self.parts["own"] = (self._rooms[0][..., :length, :], self._rooms[1][..., :length, :])
        elif part in self.parts:
            keys, values = self.parts[part]
            self.parts[part] = (keys[rows], values[rows])

    def forget(self) -> None:
        """Let everything go but the trunk."""
        self.parts, self._rooms = {name: part for name, part in self.parts.items() if name == "trunk"}, ()

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing is set up before there are keys."""

    def get_seq_length(self) -> int:
        """Tokens of the longest row."""
        return self.tree.length

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """No mask is made: the tree knows who sees whom."""
        return self.tree.length + query_length, 0

    def get_max_length(self) -> int:
        """None."""
        return -1


class Tree(Cache):
    """Reads prompts and grows samples with `model`, which must use the attention called `NAME`."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__(layer_class_to_replicate=lambda: Layer(self))
        self.model, self.device, self._called = model, model.device, cache_name(model) or CACHES[0]
        self.growing, self.trunk, self.own = "trunk", 0, 0
        self.real = torch.ones(1, 0, dtype=torch.bool, device=self.device)
        self._at = torch.zeros(1, 0, dtype=torch.long, device=self.device)
        self._masks: dict[object, Tensor] = {}

    @property
    def length(self) -> int:
        """Tokens read by the longest row."""
        return self.trunk + self.real.shape[1] + self.own

    def plant(self, ids: list[int]) -> None:
        """Read what all prompts begin with."""
        self._at = torch.arange(len(ids), device=self.device)[None]
        self.real = torch.ones_like(self._at, dtype=torch.bool)
        self._read("trunk", torch.tensor([ids], device=self.device), self._at)
        self.trunk = len(ids)
        self.prune()

    def branch(self, rests: Sequence[list[int]]) -> Tensor:
        """Read prompts from where the trunk ends; returns their last logits [prompt, word]."""
        self.prune()
        longest = max(map(len, rests))
        pads = torch.tensor([longest - len(rest) for rest in rests], device=self.device)
        at = torch.arange(longest, device=self.device)
        self.real = at >= pads[:, None]
        ids = torch.tensor([[0] * (longest - len(rest)) + rest for rest in rests], device=self.device)
        self._at = self.trunk + (at - pads[:, None]).clamp(min=0)
        return self._read("branch", ids, self._at)

    def fan(self, branches: Tensor) -> None:
        """Begin samples: row i goes on from prompt `branches[i]`."""
        self._of, self._own_at = branches, self._at[branches, -1] + 1
        self._group()

    def grow(self, tokens: Tensor) -> Tensor:
        """One more token [row] for every sample; returns the logits [row, word] after it."""
        self.own += 1
        return self._read("own", tokens[:, None], self._own_at[:, None] + self.own - 1)

    def keep(self, rows: Tensor) -> None:
        """Go on with these samples alone."""
        self._of, self._own_at = self._of[rows], self._own_at[rows]
        self._select("own", rows)
        alive, of = torch.unique(self._of, return_inverse=True)
        if 2 * len(alive) <= len(self.real):
            self._select("branch", alive)
            self.real, self._at, self._of = self.real[alive], self._at[alive], of
        self._group()

    def prune(self) -> None:
        """Let everything go but the trunk."""
        self.real, self.own, self._masks = self.real[:1, :0], 0, {}
        for layer in self.layers:
            layer.forget()

    def _group(self) -> None:
        """Samples of one prompt next to each other, so that its keys are read once for all of them."""
        order = self._of.argsort(stable=True)
        counts = self._of.bincount(minlength=len(self.real))
        rank = torch.arange(len(order), device=self.device) - (counts.cumsum(0) - counts)[self._of[order]]
        most = int(counts.max())
        self._place = torch.empty_like(order)
        self._place[order] = self._of[order] * most + rank
        self._slots = torch.zeros(len(counts) * most, dtype=torch.long, device=self.device)
        self._slots[self._place] = torch.arange(len(order), device=self.device)

    def _read(self, part: str, ids: Tensor, positions: Tensor) -> Tensor:
        self.growing, self._masks = part, {}
        out = self.model(input_ids=ids, position_ids=positions, use_cache=True, logits_to_keep=1, **{self._called: self})
        logits: Tensor = out.logits[:, -1]
        return logits.float()

    def _select(self, part: str, rows: Tensor) -> None:
        for layer in self.layers:
            layer.select(part, rows)

    # ——— attention ———

    def attend(self, layer: Layer, query: Tensor, window: int | None, cap: float | None) -> Tensor:
        """Attention of scaled `query` [row, head, token, size] to all that its row has read; the same shape."""
        if self.growing == "own":
            return self._attend_own(layer, query, window, cap)
        heads = query.shape[1]
        keys, values = (repeated(torch.cat(parts, dim=-2), heads) for parts in zip(*self._whole(layer), strict=True))
        bias = self._bias(window)
        if cap is not None:
            return look(query, keys, values, bias, cap)[0].to(query.dtype)
        mask = None if bias is None else bias.to(query.dtype)
        attention: Tensor = scaled_dot_product_attention(query, keys, values, mask, is_causal=bias is None, scale=1.0)
        return attention

    def _whole(self, layer: Layer) -> list[tuple[Tensor, Tensor]]:
        """Keys and values of a row of prompts: trunk and branch."""
        new = layer.parts[self.growing]
        if self.growing == "trunk" or not self.trunk:
            return [new]
        keys, values = (part.expand(len(new[0]), -1, -1, -1) for part in layer.parts["trunk"])
        return [(keys, values), new]

    def _bias(self, window: int | None) -> Tensor | None:
        """The keys that a query does not see [prompt, 1, token, token of trunk and branch]; None where only later ones."""
        if window is None and (self.growing == "trunk" or (not self.trunk and bool(self.real.all()))):
            return None
        if window not in self._masks:
            self._masks[window] = self._make_bias(window)
        return self._masks[window]

    def _make_bias(self, window: int | None) -> Tensor:
        trunk = torch.arange(self.trunk, device=self.device)[None].expand(len(self._at), -1)
        at = torch.cat([trunk, self._at], dim=1)
        real = torch.cat([torch.ones_like(trunk, dtype=torch.bool), self.real], dim=1)
        seen = (at[:, None] <= self._at[..., None]) & real[:, None]
        if window is not None:
            seen &= at[:, None] > self._at[..., None] - window
        seen |= ~seen.any(-1, keepdim=True)  # padding sees anything, so that it is a number; nobody sees padding
        return unseen(seen[:, None])

    def _attend_own(self, layer: Layer, query: Tensor, window: int | None, cap: float | None) -> Tensor:
        rows, heads, _, size = query.shape
        shared = layer.parts["branch"][0].shape[1]
        groups = heads // shared
        query = query.view(rows, shared, groups, size)
        found = [self._from_own(layer, query, window, cap), self._from_branch(layer, query, window, cap)]
        if self.trunk:
            found.append(self._from_trunk(layer, query, window, cap))
        return merged(found).to(query.dtype).view(rows, heads, 1, -1)

    def _from_own(self, layer: Layer, query: Tensor, window: int | None, cap: float | None) -> tuple[Tensor, Tensor]:
        keys, values = layer.parts["own"] if window is None else (part[..., -window:, :] for part in layer.parts["own"])
        return look(query, keys, values, None, cap)

    def _from_branch(self, layer: Layer, query: Tensor, window: int | None, cap: float | None) -> tuple[Tensor, Tensor]:
        keys, values = layer.parts["branch"]
        prompts, shared, _, size = keys.shape
        grouped = query[self._slots].view(prompts, -1, *query.shape[1:]).transpose(1, 2)  # [prompt, head, sample, group, size]
        samples, groups = grouped.shape[2:4]
        found = look(grouped.reshape(prompts, shared, -1, size), keys, values, self._branch_bias(window, samples, groups), cap)
        apart = (part.view(prompts, shared, samples, groups, -1).transpose(1, 2).flatten(0, 1) for part in found)
        return tuple(part[self._place] for part in apart)  # type: ignore[return-value]

    def _branch_bias(self, window: int | None, samples: int, groups: int) -> Tensor:
        """[prompt, 1, sample and group, token]."""
        if ("branch", window) not in self._masks:
            seen = self.real[:, None].expand(-1, samples, -1)
            if window is not None:
                now = (self._own_at + self.own - 1)[self._slots].view(len(self.real), samples, 1)
                seen = seen & (self._at[:, None] > now - window)
            self._masks["branch", window] = unseen(seen.repeat_interleave(groups, dim=1)[:, None])
        return self._masks["branch", window]

    def _from_trunk(self, layer: Layer, query: Tensor, window: int | None, cap: float | None) -> tuple[Tensor, Tensor]:
        keys, values = (part[0] for part in layer.parts["trunk"])
        rows, shared, groups, size = query.shape
        flat = query.transpose(0, 1).reshape(shared, rows * groups, size)
        bias = self._trunk_bias(window, groups) if window is not None else None
        return tuple(  # type: ignore[return-value]
            part.view(shared, rows, groups, -1).transpose(0, 1) for part in look(flat, keys, values, bias, cap)
        )

    def _trunk_bias(self, window: int, groups: int) -> Tensor:
        """[row and group, token]."""
        if ("trunk", window) not in self._masks:
            now = self._own_at + self.own - 1
            seen = torch.arange(self.trunk, device=self.device) > now[:, None] - window
            self._masks["trunk", window] = unseen(seen.repeat_interleave(groups, dim=0))
        return self._masks["trunk", window]


def attend(
    module: torch.nn.Module, query: Tensor, key: Any, value: Any, attention_mask: Tensor | None, scaling: float | None = None,
    dropout: float = 0.0, sliding_window: int | None = None, softcap: float | None = None, **others: Any,
) -> tuple[Tensor, None]:  # fmt: skip
    """Attention as transformers calls it; `key` is the `Layer` that `Layer.update` gave the model in place of keys."""
    more = sorted(name for name, given in others.items() if given is not None and name not in HARMLESS)
    if more or not isinstance(key, Layer):
        raise Unsuited(", ".join(more) or "keys of its own")
    scaled = query * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    return key.tree.attend(key, scaled, sliding_window, softcap).transpose(1, 2), None


AttentionInterface.register(NAME, attend)
