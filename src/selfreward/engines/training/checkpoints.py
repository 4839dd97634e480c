"""Files that a training leaves: checkpoints that it can go on from, which of them are whole, and models."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from selfreward.engines.protocols import Advance
from selfreward.engines.soundness import assert_finite
from selfreward.engines.training.learner import Learner
from selfreward.engines.training.sharing import gathered
from selfreward.errors import SelfRewardError, Stopped
from selfreward.records import sync_files, sync_folder

MARK = "whole"
"""A checkpoint with this file in it was written to its end and is safely on disk."""


class Safe(TrainerCallback):
    """Tells of progress, marks checkpoints whole, and stops a training only where it can go on from.

    One that has run away ends with an error at the first step whose loss or gradient is not finite, before anything of it is
    written. After the steps in `due` it has the model written: before the checkpoint of that step is, so that
    whoever goes on from a checkpoint has every model up to it.
    """

    def __init__(
        self, advance: Advance, keep: bool, write: Callable[[Any, int], object] | None = None, due: Collection[int] = ()
    ) -> None:
        self._advance, self._keep, self._write, self._due = advance, keep, write, due
        self._stop: Stopped | None = None

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Report the steps of an earlier attempt."""
        self._advance(state.global_step)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Ask for a checkpoint where the run was asked to end; not after the last step, where the result is written."""
        if state.global_step == state.max_steps and not self._keep:
            control.should_save = False
        try:
            self._advance(1)
        except Stopped as stop:
            self._stop, control.should_save = stop, True

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict[str, Any] | None = None,
        model: Any = None, **_: Any,
    ) -> None:  # fmt: skip
        """Refuse a loss or gradient that is not finite, and write a model where one is due, before the step's checkpoint.

        All processes are told the same loss and gradient, so that all end. Raises `SelfRewardError`.
        """
        if "loss" not in (logs or {}):
            return
        _refuse_runaway(logs or {}, state)
        if self._write and state.global_step in self._due:
            self._write(model, state.global_step)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Mark the checkpoint, and let go of those before it unless all are kept."""
        processes = PartialState()
        processes.wait_for_everyone()  # each has written its part
        if processes.is_main_process:
            self._keep_whole(Path(str(args.output_dir)) / f"checkpoint-{state.global_step}")
        if self._stop:
            raise self._stop

    def _keep_whole(self, checkpoint: Path) -> None:
        _mark_whole(checkpoint)
        for older in set(checkpoint.parent.glob("checkpoint-*")) - {checkpoint}:
            if not self._keep:
                shutil.rmtree(older)


def _refuse_runaway(logs: dict[str, Any], state: TrainerState) -> None:
    for figure, name in (("loss", "loss"), ("grad_norm", "gradient norm")):
        if not math.isfinite(logs.get(figure, 0.0)):
            what = f"the {name} is {logs[figure]} at step {state.global_step} of {state.max_steps}, so no model was made"
            now = 'Lower the learning rate, or train in float32 (trainer.dtype = "float32"); run the same command in a new folder'
            raise SelfRewardError(what, "training", now)


def last_whole(work: Path) -> str | None:
    """The newest checkpoint marked whole; unmarked ones are torn and go."""
    checkpoints = sorted(work.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    for torn in [path for path in checkpoints if not (path / MARK).exists()]:
        shutil.rmtree(torn)
    shutil.rmtree(work / "made", ignore_errors=True)
    whole = [path for path in checkpoints if path.exists()]
    return str(whole[-1]) if whole else None


def _mark_whole(checkpoint: Path) -> None:
    """Make a checkpoint durable, then mark it."""
    sync_files(checkpoint)
    (checkpoint / MARK).touch()
    sync_folder(checkpoint)


def write_model(learner: Learner, trained: Any, folder: Path) -> Path:
    """Write a model so that its folder is there whole or not at all; of several processes the first does."""
    weights, processes = gathered(trained), PartialState()
    if processes.is_main_process:
        _write_whole(learner, trained, weights, folder)
    processes.wait_for_everyone()
    return folder


def _write_whole(learner: Learner, trained: Any, weights: dict[str, Any] | None, folder: Path) -> None:
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    with torch.random.fork_rng():  # libraries draw numbers for an adapter that they then load
        learner.write(trained, partial, weights)
    assert_finite(partial)
    sync_files(partial)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    sync_folder(folder.parent)
