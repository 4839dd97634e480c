"""The optimizer's state, carried from one training to the next (semi-online DPO, arXiv 2506.21495)."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from selfreward.engines.protocols import OPTIMIZER, OPTIMIZER_BEFORE
from selfreward.errors import SelfRewardError


class Carried(TrainerCallback):
    """Gives the optimizer the state that the training before ended with, and writes its own at the end, both in `work`.

    A training that resumes has its state from its own checkpoint.
    """

    def __init__(self, work: Path) -> None:
        self._before, self._after = work / OPTIMIZER_BEFORE, work / OPTIMIZER

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None, optimizer: Any = None,
        **_: Any,
    ) -> None:  # fmt: skip
        """Load the carried state before the first step only. Raises `SelfRewardError` where the state is another model's."""
        if state.global_step == 0 and self._before.exists():
            _restore(optimizer, model, self._before)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None, optimizer: Any = None,
        **_: Any,
    ) -> None:  # fmt: skip
        """Save the state after the last step."""
        tensors = {
            f"{key}/{name}": value.contiguous()
            for name, parameter in model.named_parameters()
            for key, value in optimizer.state[parameter].items()
        }
        save_file(tensors, self._after)


def _restore(optimizer: Any, model: torch.nn.Module, file: Path) -> None:
    """Load what is in `file` as torch loads a state dict, which knows where each tensor belongs."""
    named, learns = dict(model.named_parameters()), [one for group in optimizer.param_groups for one in group["params"]]
    places = {id(parameter): place for place, parameter in enumerate(learns)}
    states: dict[int, dict[str, torch.Tensor]] = defaultdict(dict)
    for entry, value in load_file(file).items():
        key, name = entry.split("/", 1)
        parameter = named.get(name)
        if parameter is None or value.shape not in ((), parameter.shape):
            raise SelfRewardError(f"has {entry}, which is not of this model", str(file), "Start the run in a new folder")
        states[places[id(parameter)]][key] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": dict(states)})
