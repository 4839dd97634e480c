"""The mean of the weights of several checkpoints of one training."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from selfreward.records import sync_files


def average(folders: Sequence[Path]) -> None:
    """Replace the weights of the model in the last of `folders` by the mean over all folders, checkpoints of one training.

    Sums are taken in float64, a tensor at a time; numbers that are no weights stay those of the last.
    """
    for file in sorted(folders[-1].glob("*.safetensors")):
        with ExitStack() as opened:
            files = [opened.enter_context(safe_open(folder / file.name, "pt")) for folder in folders]
            mean = {name: _mean([each.get_tensor(name) for each in files]) for name in files[-1].keys()}  # noqa: SIM118
            about = files[-1].metadata()
        partial = file.with_name(file.name + ".partial")
        save_file(mean, partial, about)
        partial.replace(file)
    sync_files(folders[-1])


def _mean(weights: Sequence[torch.Tensor]) -> torch.Tensor:
    last = weights[-1]
    if not last.is_floating_point():
        return last
    return (sum(weight.double() for weight in weights) / len(weights)).to(last.dtype)  # type: ignore[union-attr]
