"""Reading prompts and growing samples with a model's own cache and attention, whatever they are.

No padding is ever read: a recurrent layer would take it for text. Prompts of one length are read together, and go on from a
copy of what all begin with; then their caches are put together, where the model reads them right so, and apart otherwise.
"""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from selfreward.engines.sampling.states import States, joined, tensors
from selfreward.engines.sampling.tree import CACHES, Unsuited, cache_name


class Way(NamedTuple):
    """One way to read a model."""

    shares: bool
    """True if the common first tokens of all prompts are read once, and their cache is copied."""
    together: Literal["all", "alike", "none", "anew"]
    """The samples that grow together: all, those whose prompts have one length, or none; `anew` reads whole texts without a cache
    for every token."""

    def unshared(self) -> str:
        """A line: tensors that are held or computed more often than they need be."""
        less = "for every token the whole text is read again" if self.together == "anew" else HOLDS
        own = [
            less,
            SAYS[self.together],
            "" if self.shares else "the prompts' common beginning is read again for every prompt",
        ]
        return f"its layers are of their own kind: {', '.join(filter(None, own))}"


HOLDS = "every sample holds a copy of its prompt's cache"
SAYS = {
    "all": "", "anew": "", "alike": "samples grow together only where their prompts are of one length",
    "none": "samples are written one by one",
}  # fmt: skip
WAYS = (
    Way(True, "all"), Way(False, "all"), Way(True, "alike"), Way(False, "alike"), Way(True, "none"), Way(False, "none"),
    Way(False, "anew"),
)  # fmt: skip
"""All ways, the best first."""


CANNOT = (
    Unsuited, AssertionError, AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError,
)  # fmt: skip
"""Errors of models that are read in a way of which they know nothing."""


class _Part:
    """Rows that are read together, and the number of leading tokens in their cache that belong to other rows."""

    def __init__(self, states: States, read: int, missing: Tensor | None = None) -> None:
        self.states, self.read, self.missing = states, read, missing

    def selected(self, rows: Tensor) -> _Part:
        return _Part(self.states.selected(rows), self.read, None if self.missing is None else self.missing[rows])


class Plain:
    """The interface of `tree.Tree`, for architectures that a tree does not suit."""

    def __init__(self, model: PreTrainedModel, way: Way) -> None:
        self.model, self.device, self.way = model, model.device, way
        self.trunk = 0
        self._knows = inspect.signature(model.forward).parameters
        self._cache_name = cache_name(model)
        self._planted: _Part | None = None
        self._parts: list[_Part] = []
        self._rows: list[Tensor] = []  # which samples, or prompts, each part has

    def plant(self, ids: list[int]) -> None:
        """Read the common beginning of all prompts."""
        part = self._begun(1)
        self._read(part, torch.tensor([ids], device=self.device))
        self._planted, self.trunk = part, len(ids)

    def branch(self, rests: Sequence[list[int]]) -> Tensor:
        """Read prompts from where the trunk ends; returns their last logits [prompt, word]."""
        self.prune()
        alike: dict[tuple[int, int], list[int]] = defaultdict(list)
        for at, rest in enumerate(rests):
            alike[len(rest), at if self.way.together == "none" else 0].append(at)
        logits: dict[int, Tensor] = {}
        for places in alike.values():
            part = self._begun(len(places))
            read = self._read(part, torch.tensor([rests[at] for at in places], device=self.device))
            logits |= dict(zip(places, read, strict=True))
            self._parts.append(part)
            self._rows.append(torch.tensor(places, device=self.device))
        return torch.stack([logits[at] for at in range(len(rests))])

    def fan(self, branches: Tensor) -> None:
        """Begin samples: row i goes on from prompt `branches[i]`."""
        self.keep(branches)
        if self.way.together == "all" and len(self._parts) > 1:
            longest = max(part.read for part in self._parts)
            missing = [torch.full_like(rows, longest - part.read) for part, rows in zip(self._parts, self._rows, strict=True)]
            self._parts = [_Part(joined([part.states for part in self._parts]), longest, torch.cat(missing))]
            self._rows = [torch.cat(self._rows)]

    def _apart(self) -> None:
        split = [(part, at, row) for part, rows in zip(self._parts, self._rows, strict=True) for at, row in enumerate(rows)]
        self._parts = [part.selected(torch.tensor([at], device=self.device)) for part, at, _ in split]
        self._rows = [row[None] for _, _, row in split]

    def grow(self, tokens: Tensor) -> Tensor:
        """Append one token [row] to every sample; returns the logits [row, word] after it."""
        logits = [self._read(part, tokens[rows, None]) for part, rows in zip(self._parts, self._rows, strict=True)]
        return torch.cat(logits)[torch.cat(self._rows).argsort()]

    def keep(self, rows: Tensor) -> None:
        """Go on with these samples alone; one that is named twice goes on as two."""
        parts, places = [], []
        for part, held in zip(self._parts, self._rows, strict=True):
            new, old = (rows[:, None] == held).nonzero(as_tuple=True)
            if len(new):
                parts.append(part.selected(old))
                places.append(new)
        self._parts, self._rows = parts, places
        if self.way.together == "none":
            self._apart()

    def prune(self) -> None:
        """Drop everything but the trunk."""
        self._parts, self._rows = [], []

    def states(self) -> States:
        """The cache of the rows that were read last."""
        return self._parts[-1].states

    def _begun(self, rows: int) -> _Part:
        """Rows that have read the trunk, each with a cache of its own."""
        if self._planted:
            return self._planted.selected(torch.zeros(rows, dtype=torch.long, device=self.device))
        if self.way.together == "anew":
            return _Part(States(self.model, torch.zeros(rows, 0, dtype=torch.long, device=self.device), rows), 0)
        own = self._cache_name != "state" and self.model._supports_default_dynamic_cache()
        return _Part(States(self.model, DynamicCache(config=self.model.config) if own else None, rows), 0)

    def _read(self, part: _Part, ids: Tensor) -> Tensor:
        if self.way.together == "anew":
            part.states.cache = torch.cat([part.states.cache, ids], dim=1)
            return self._forward(input_ids=part.states.cache, use_cache=False)[0]
        arguments: dict[str, Any] = {"input_ids": ids, "use_cache": True, self._cache_name or CACHES[0]: part.states.cache}
        part.read += ids.shape[1]
        at = torch.arange(part.read, device=self.device)
        missing = torch.zeros(len(ids), dtype=torch.long, device=self.device) if part.missing is None else part.missing
        arguments["position_ids"] = (at - missing[:, None])[:, -ids.shape[1] :]  # some count on from another layer's cache
        if part.missing is not None and part.states.attends():
            arguments["attention_mask"] = (at >= missing[:, None]).long()
        part.states.enter()
        logits, cache = self._forward(**arguments)
        part.states.leave(cache)
        return logits

    def _forward(self, **given: Any) -> tuple[Tensor, Any]:
        """The logits [row, word] of the last token, and the cache where the model returns one."""
        out = self.model(**{name: value for name, value in given.items() if name in self._knows}, **self._only_last())
        return out.logits[:, -1].float(), next((out[name] for name in CACHES if out.get(name) is not None), None)

    def _only_last(self) -> dict[str, int]:
        return {"logits_to_keep": 1} if "logits_to_keep" in self._knows else {}


@torch.inference_mode()
def shortest(model: PreTrainedModel, way: Way) -> list[Tensor]:
    """The tensors kept of a text of one token: the part of a row that does not grow, such as states of recurrent layers."""
    reader = Plain(model, way)
    reader.branch([[0]])
    return tensors(reader.states().cache)
