"""A step shared by several processes: no example twice, and each with the same weight whoever reads it.

accelerate fills the last step of an epoch up with examples of its first, which would count twice; and a mean of each process's
mean would give the examples of a smaller share more weight than the others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import pad_across_processes
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.fsdp import FSDPModule

from selfreward.engines.training.batches import Batches

Row = Mapping[str, Any]


class Filled:
    """The order of a training's examples, with as many blanks at an epoch's end as make it whole rounds of all processes.

    The blank is the row after the last. One process needs none: its last batch is a smaller one. `epoch` tells which one it
    is, from 0: where several processes go on in the middle of one, accelerate does not tell a sampler.
    """

    def __init__(self, order: Batches, device_batch: int, processes: int, epoch: Callable[[], int]) -> None:
        self._order, self._round, self._epoch = order, device_batch * processes if processes > 1 else 1, epoch

    def __len__(self) -> int:
        return -(-len(self._order) // self._round) * self._round

    def __iter__(self) -> Iterator[int]:
        self._order.set_epoch(self._epoch())
        yield from self._order
        yield from [len(self._order)] * (len(self) - len(self._order))


class Counted:
    """A collator of pairs that leaves blanks out and counts the others; a batch of blanks alone keeps one, and has 0 pairs."""

    def __init__(self, collate: Callable[[Sequence[Row]], dict[str, Any]]) -> None:
        self._collate = collate

    def __call__(self, rows: Sequence[Row]) -> dict[str, Any]:
        """The batch, as tensors, its `pairs`, and their `weights` where they have any."""
        pairs = [row for row in rows if row["chosen_ids"]]
        examples = pairs or rows[:1]
        weights = {"weights": torch.tensor([row["weight"] for row in examples])} if "weight" in rows[0] else {}
        return {**self._collate(examples), "pairs": len(pairs), **weights}


def examples_at(step: int, examples: int, batch: int) -> int:
    """The number of examples in a training's `step`, counted from 0: `batch`, or the rest at an epoch's end."""
    within_epoch = step % -(-examples // batch)
    return min(batch, examples - within_epoch * batch)


@contextmanager
def uneven(accelerator: Accelerator, mine: int) -> Iterator[None]:
    """Gather per-process tensors of unequal length; this process contributes its first `mine` rows."""
    gather: Callable[[torch.Tensor], torch.Tensor] = accelerator.gather

    def gather_all(figures: torch.Tensor) -> torch.Tensor:
        if not figures.dim():
            return gather(figures)
        everyones = gather(pad_across_processes(figures[:mine], pad_index=math.nan))
        return everyones[~everyones.isnan()]

    accelerator.gather = gather_all
    try:
        yield
    finally:
        accelerator.gather = gather


def gathered(model: Any) -> dict[str, Any] | None:
    """In the first process, all weights of a sharded model; every process must call this.

    None for a model that is not sharded.
    """
    if not isinstance(model, FSDPModule) or not isinstance(model, torch.nn.Module):
        return None
    whole: dict[str, Any] = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    return whole
