"""A key-value cache in the shape of a stage's requests, and the attention that reads it.

What all prompts of a stage begin with (a rubric, a few-shot header) is the trunk: computed and held once. Each prompt
is a branch: computed and held once for all its samples. Only what a sample has written is its own. A token's attention is
taken over the three apart and put together again by their weights, which is the same sum in another order.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any
from weakref import proxy

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel
from transformers.cache_utils import Cache, CacheLayerMixin

from selfreward.engines.sampling.attention import look, merged, repeated, unseen
from selfreward.engines.sampling.rows import moved

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
            self._rooms = tuple(moved(room, rows) for room in self._rooms)
            self.parts["own"] = (self._rooms[0][..., :length, :], self._rooms[1][..., :length, :])
        elif part in self.parts:
            keys, values = self.parts[part]
            self.parts[part] = (keys[rows], values[rows])

    def forget(self) -> None:
        """Drop everything but the trunk."""
        self.parts, self._rooms = {name: part for name, part in self.parts.items() if name == "trunk"}, ()

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Do nothing: there is nothing to set up before there are keys."""

    def get_seq_length(self) -> int:
        """Tokens of the longest row."""
        return self.tree.length

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """The sizes that transformers asks for; no mask is made, for the tree knows who sees whom."""
        return self.tree.length + query_length, 0

    def get_max_length(self) -> int:
        """None: there is no longest length."""
        return -1


class Tree(Cache):
    """Reads prompts and grows samples with `model`, which must use the attention called `NAME`."""

    def __init__(self, model: PreTrainedModel) -> None:
        itself: Any = proxy(self)  # weak: a tree that is done with takes its keys, values and model out of memory at once
        super().__init__(layer_class_to_replicate=lambda: Layer(itself))
        self.model, self.device, self._called = model, model.device, cache_name(model) or CACHES[0]
        self.growing, self.trunk, self.own = "trunk", 0, 0
        self.real = torch.ones(1, 0, dtype=torch.bool, device=self.device)
        self._at = torch.zeros(1, 0, dtype=torch.long, device=self.device)
        self._masks: dict[object, Tensor | None] = {}

    @property
    def at_once(self) -> bool:
        """True where prompts are read by one call of attention: on GPUs, whose call tells no weights to merge by."""
        return str(self.device.type) != "cpu"

    @property
    def length(self) -> int:
        """Tokens read by the longest row."""
        return self.trunk + self.real.shape[1] + self.own

    def plant(self, ids: list[int]) -> None:
        """Read the common beginning of all prompts."""
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
        """Append one token [row] to every sample; returns the logits [row, word] after it."""
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
        """Drop everything but the trunk."""
        self.real, self.own, self._masks = self.real[:1, :0], 0, {}
        for layer in self.layers:
            layer.forget()

    def _group(self) -> None:
        """Put samples of one prompt next to each other, so that its keys are read once for all of them."""
        order = self._of.argsort(stable=True)
        counts = self._of.bincount(minlength=len(self.real))
        rank = torch.arange(len(order), device=self.device) - (counts.cumsum(0) - counts)[self._of[order]]
        most = int(counts.max())
        self._place = torch.empty_like(order)
        self._place[order] = self._of[order] * most + rank
        self._slots = torch.zeros(len(counts) * most, dtype=torch.long, device=self.device)
        self._slots[self._place] = torch.arange(len(order), device=self.device)
        self._in_order = len(order) == len(self._slots) and bool((order.diff() == 1).all())

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
        window = None if window is not None and window >= self.length else window
        if self.growing == "own":
            found = [self._from_own(layer, query, window, cap), self._from_branch(layer, query, window, cap)]
        elif self.at_once and cap is None:
            return self._from_all(layer, query, window)
        else:
            bias = self._bias(window, 0)
            found = [look(query, *layer.parts[self.growing], bias, cap, causal=bias is None)]
        if self.trunk:
            found.append(self._from_trunk(layer, query, window, cap))
        return merged([(part.reshape(query.shape), weight.reshape(*query.shape[:-1], 1)) for part, weight in found]).to(
            query.dtype
        )

    def _from_all(self, layer: Layer, query: Tensor, window: int | None) -> Tensor:
        keys, values = layer.parts[self.growing]
        if self.trunk:
            trunk = (part.expand(len(query), -1, -1, -1) for part in layer.parts["trunk"])
            keys, values = (torch.cat(both, dim=-2) for both in zip(trunk, (keys, values), strict=True))
        bias, heads = self._bias(window, self.trunk), query.shape[1]
        keys, values, mask = repeated(keys, heads), repeated(values, heads), None if bias is None else bias.to(query.dtype)
        attention: Tensor = scaled_dot_product_attention(query, keys, values, mask, is_causal=bias is None, scale=1.0)
        return attention

    def _bias(self, window: int | None, trunk: int) -> Tensor | None:
        """The bias [prompt, 1, token, key] over the trunk's last `trunk` keys and the branch's.

        None where it hides only later tokens.
        """
        if ("prompts", window) not in self._masks:
            alike = window is None and not trunk and bool(self.real.all())
            self._masks["prompts", window] = None if alike else self._make_bias(window, trunk)
        return self._masks["prompts", window]

    def _make_bias(self, window: int | None, trunk: int) -> Tensor:
        before = torch.arange(self.trunk - trunk, self.trunk, device=self.device)[None].expand(len(self._at), -1)
        at = torch.cat([before, self._at], dim=1)
        real = torch.cat([torch.ones_like(before, dtype=torch.bool), self.real], dim=1)
        seen = (at[:, None] <= self._at[..., None]) & real[:, None]
        if window is not None:
            seen &= at[:, None] > self._at[..., None] - window
        seen |= ~seen.any(-1, keepdim=True)  # padding sees anything, so that it is a number; nobody sees padding
        return unseen(seen[:, None])

    def _from_own(self, layer: Layer, query: Tensor, window: int | None, cap: float | None) -> tuple[Tensor, Tensor]:
        keys, values = layer.parts["own"] if window is None else (part[..., -window:, :] for part in layer.parts["own"])
        return look(query.reshape(len(query), keys.shape[1], -1, query.shape[-1]), keys, values, None, cap)

    def _from_branch(self, layer: Layer, query: Tensor, window: int | None, cap: float | None) -> tuple[Tensor, Tensor]:
        keys, values = layer.parts["branch"]
        prompts, shared, _, size = keys.shape
        query = query if self._in_order else query[self._slots]
        grouped = query.view(prompts, -1, shared, query.shape[1] // shared, size).transpose(1, 2)
        samples, groups = grouped.shape[2:4]  # of [prompt, head, sample, group, size]
        parts = look(grouped.reshape(prompts, shared, -1, size), keys, values, self._branch_bias(window, samples, groups), cap)
        apart = (part.view(prompts, shared, samples, groups, -1).transpose(1, 2).flatten(0, 1) for part in parts)
        return tuple(part if self._in_order else part[self._place] for part in apart)  # type: ignore[return-value]

    def _branch_bias(self, window: int | None, samples: int, groups: int) -> Tensor | None:
        """The bias over the branch's keys [prompt, 1, sample and group, token]; None where it hides none."""
        if ("branch", window) not in self._masks:
            seen = self.real[:, None].expand(-1, samples, -1)
            if window is not None:
                now = (self._own_at + self.own - 1)[self._slots].view(len(self.real), samples, 1)
                seen = seen & (self._at[:, None] > now - window)
            hidden = None if bool(seen.all()) else unseen(seen.repeat_interleave(groups, dim=1)[:, None])
            self._masks["branch", window] = hidden
        return self._masks["branch", window]

    def _from_trunk(self, layer: Layer, query: Tensor, window: int | None, cap: float | None) -> tuple[Tensor, Tensor]:
        """Attend to the trunk, with the queries of all rows as if they were one long text's."""
        keys, values = layer.parts["trunk"]
        rows, shared, size = len(query), keys.shape[1], query.shape[-1]
        bias = self._trunk_bias(window)
        if bias is not None and self.growing == "branch":  # which would be a large one if it were a text's
            return look(query, keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1), bias, cap)
        if bias is not None:
            bias = bias.repeat_interleave(query.shape[1] // shared, dim=0).transpose(0, 2)
        flat = query.reshape(rows, shared, -1, size).transpose(0, 1).reshape(1, shared, -1, size)
        apart = (part.view(shared, rows, -1, part.shape[-1]).transpose(0, 1) for part in look(flat, keys, values, bias, cap))
        return tuple(apart)  # type: ignore[return-value]

    def _trunk_bias(self, window: int | None) -> Tensor | None:
        """The bias over the trunk's keys [row, 1, token, token of the trunk]; None where it hides none."""
        if window is not None and ("trunk", window) not in self._masks:
            now = (self._own_at + self.own - 1)[:, None] if self.growing == "own" else self._at
            seen = torch.arange(self.trunk, device=self.device) > now[..., None] - window
            self._masks["trunk", window] = unseen(seen[:, None])
        return self._masks.get(("trunk", window))


def attend(
    module: torch.nn.Module, query: Tensor, key: Any, value: Any, attention_mask: Tensor | None, scaling: float | None = None,
    dropout: float = 0.0, sliding_window: int | None = None, softcap: float | None = None, **others: Any,
) -> tuple[Tensor, None]:  # fmt: skip
    """Attention as transformers calls it; `key` is the `Layer` that `Layer.update` gave the model in place of keys."""
    more = sorted(name for name, value in others.items() if value is not None and name not in HARMLESS)
    if more or not isinstance(key, Layer):
        raise Unsuited(", ".join(more) or "keys of its own")
    scaled = query * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    return key.tree.attend(key, scaled, sliding_window, softcap).transpose(1, 2), None


AttentionInterface.register(NAME, attend)
