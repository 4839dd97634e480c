"""Caches of any kind, row by row: keys and values, the states of recurrent layers, or what else a model keeps of a text.

transformers has one class for each kind, some without a way to select rows and none to put two together. All hold tensors
whose first dimension is the row, so a cache is copied by going through what it holds.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import PretrainedConfig, PreTrainedModel
from transformers.cache_utils import CacheLayerMixin

UNDERSTOOD = {
    "DummyLayer", "DynamicLayer", "DynamicSlidingWindowLayer", "LinearAttentionLayer", "LinearAttentionAndFullAttentionLayer",
    "LinearAttentionAndSlidingWindowAttentionLayer",
}  # fmt: skip
"""Layers of a cache in which a token's place matters only by its distance. Others compress or choose by the absolute place,
which a short trial would not show."""
INSIDE = ("conv1d_state", "recurrent_states")
"""Attributes in which RecurrentGemma's layers keep their states, outside of the cache."""


class States:
    """The cache that `model` keeps of some rows of a text."""

    def __init__(self, model: PreTrainedModel, cache: Any, rows: int) -> None:
        self._model, self.cache, self.rows = model, cache, rows
        self._inside: list[Tensor | None] = [None] * len(_inside(model))

    def enter(self) -> None:
        """Make the model go on from here."""
        for (module, name), value in zip(_inside(self._model), self._inside, strict=True):
            setattr(module, name, value)

    def leave(self, cache: Any) -> None:
        """Take in `cache`, which the model gave back, and what it keeps in its layers."""
        self.cache = self.cache if cache is None else cache
        self._inside = [getattr(module, name) for module, name in _inside(self._model)]
        for module, name in _inside(self._model):
            setattr(module, name, None)

    def selected(self, rows: Tensor) -> States:
        """A copy for `rows`, which may name a row several times."""
        taken = States(self._model, _mapped(partial(_taken, rows=rows, of=self.rows), [self.cache]), len(rows))
        taken._inside = _mapped(partial(_taken, rows=rows, of=self.rows), [self._inside])
        return taken

    def attends(self) -> bool:
        """True if there are keys, some of which may have to be masked."""
        return any(isinstance(layer, CacheLayerMixin) for layer in getattr(self.cache, "layers", ()))

    def understood(self) -> bool:
        """True if all layers are of kinds that use only the distance between tokens, not their absolute places."""
        return all(type(layer).__name__ in UNDERSTOOD for layer in getattr(self.cache, "layers", ()))


def joined(states: Sequence[States]) -> States:
    """The rows of all `states` together: shorter keys and values are filled up at their beginning, with zeros."""
    if len(states) == 1:
        return states[0]
    stacked = partial(_stacked, rows=[part.rows for part in states])
    whole = States(states[0]._model, _mapped(stacked, [part.cache for part in states]), sum(part.rows for part in states))
    whole._inside = _mapped(stacked, [part._inside for part in states])
    return whole


def tensors(cache: Any) -> list[Tensor]:
    """All tensors that a cache holds."""
    held: list[Tensor] = []
    _mapped(lambda alike: held.append(alike[0]) or alike[0], [cache])  # type: ignore[func-returns-value]
    return held


def _inside(model: PreTrainedModel) -> list[tuple[torch.nn.Module, str]]:
    return [(module, name) for module in model.modules() for name in INSIDE if name in vars(module)]


def _taken(alike: Sequence[Tensor], rows: Tensor, of: int) -> Tensor:
    (tensor,) = alike
    return tensor[rows] if tensor.ndim and len(tensor) == of else tensor.clone()


def _stacked(alike: Sequence[Tensor], rows: Sequence[int]) -> Tensor:
    if not all(tensor.ndim and len(tensor) == count for tensor, count in zip(alike, rows, strict=True)):
        return alike[0].clone()
    longest = [max(sizes) for sizes in zip(*(tensor.shape[1:] for tensor in alike), strict=True)]
    return torch.cat([_filled(tensor, longest) for tensor in alike])


def _filled(tensor: Tensor, sizes: Sequence[int]) -> Tensor:
    """`tensor` with zeros before each of its dimensions but the first, to `sizes`."""
    missing = [size - have for size, have in zip(sizes, tensor.shape[1:], strict=True)]
    return pad(tensor, [side for more in reversed(missing) for side in (more, 0)]) if any(missing) else tensor


def _mapped(change: Callable[[Sequence[Tensor]], Tensor], alike: Sequence[Any]) -> Any:
    """A copy of the first of several things that are built alike, with `change` of their tensors in the place of each."""
    first = alike[0]
    if isinstance(first, Tensor):
        return change(alike)
    if isinstance(first, bool | int):
        return max(alike)
    if isinstance(first, dict):
        return type(first)({key: _mapped(change, [other[key] for other in alike]) for key in first})
    if isinstance(first, list | tuple):
        return type(first)(_mapped(change, parts) for parts in zip(*alike, strict=True))
    if type(first).__module__.startswith("transformers.") and not isinstance(first, PretrainedConfig | type):
        changed = copy.copy(first)
        vars(changed).update(_mapped(change, [vars(other) for other in alike]))
        return changed
    return first
