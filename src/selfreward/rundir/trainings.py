"""Parts of a training stage beside the trainer: its dependencies, the pairs left out, and its checkpoints."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from selfreward.engines import OPTIMIZER, OPTIMIZER_BEFORE, Advance, Trainer, name_of
from selfreward.errors import SelfRewardError, amount
from selfreward.recipe import ClusterConfig, DPOConfig, TrainerConfig
from selfreward.records import (
    Asked,
    Checkpoint,
    Contrast,
    Dropped,
    Prompt,
    fingerprint,
    is_blank,
    is_encoded_anew,
    last_turn,
    sync_files,
    sync_folder,
)
from selfreward.rundir.folder import ADAPTERS, RunDir, Stage, versions
from selfreward.rundir.layout import MODEL

TOO_LONG = "longer_than_the_model_reads"
BLANK = "an_empty_answer_that_the_template_refuses"
"""The reason why a chosen pair is not trained on."""


class Training(NamedTuple):
    """A training that is ready to begin, and counts of the pairs left out, by reason."""

    steps: int
    train: Callable[[Advance], Path]
    dropped: Mapping[str, int]
    told: Mapping[str, Any] = {}
    """Further facts for its receipt."""
    carries: bool = False
    """True if the optimizer's state is kept for the training after it."""


class Chooser(Protocol):
    """Chooses among the checkpoints of one training."""

    @property
    def judge(self) -> Checkpoint:
        """The model that compares the checkpoints."""

    @property
    def every(self) -> int:
        """Steps between checkpoints."""

    @property
    def identity(self) -> list[object]:
        """Everything beside the checkpoints that the choice depends on."""

    def choose(self, folder: Any, candidates: Sequence[tuple[int, Checkpoint]]) -> int:
        """The step of the chosen one of `candidates`, (step, checkpoint) in training order; its questions go into `folder`."""


def decisive(config: TrainerConfig, cluster: ClusterConfig | None = None) -> dict[str, Any]:
    """The fields of `[trainer]` that change a trained model, with the versions of the libraries that only adapters need.

    Several processes add up in another order, and each draws its own dropout.
    """
    settings = config.model_dump(mode="json", exclude={"gradient_checkpointing"})
    shared = {"processes": cluster.trainers, "fsdp": cluster.fsdp} if cluster and cluster.trainers > 1 else {}
    return {**settings, "versions": versions(ADAPTERS) if config.lora else {}, **shared}


def asked_which_fit(trainer: Trainer, pairs: Sequence[Contrast], start: Checkpoint) -> Sequence[bool]:
    """For each of `pairs`, True if the trainer can read it whole from `start`.

    Raises `SelfRewardError` where answers are missing.
    """
    fits: Any = trainer.fits(pairs, start.path)
    if not isinstance(fits, Sequence) or len(fits) != len(pairs):
        came = amount(len(fits), "answer") if isinstance(fits, Sequence) else f"{fits!r:.80}"
        what = f"fits gave {came} for {amount(len(pairs), 'pair')}"
        raise SelfRewardError(what, name_of(trainer), "Make it return a list with True or False for each pair")
    return fits


def model_in(trained: Any, trainer: Trainer) -> Path:
    """The folder that a training left. Raises `SelfRewardError` where there is none, or no model in it."""
    if not isinstance(trained, Path):
        what = f"gave {trained!r:.80}, where the folder of the trained model is expected"
        raise SelfRewardError(what, name_of(trainer), "Make sft and dpo return the folder that they wrote, a Path")
    if not list(trained.glob("*.safetensors")):
        raise SelfRewardError(f"left no weights in {trained}", name_of(trainer), "Make it write them as .safetensors")
    return trained


def fitting_pairs(pairs: Sequence[Contrast], fits: Sequence[bool], start: Checkpoint) -> tuple[list[Contrast], list[Dropped]]:
    """The pairs that fit into the context of `start`, and the others by their prompt. Raises `SelfRewardError` if none fits."""
    fitting = [pair for pair, whole in zip(pairs, fits, strict=True) if whole]
    left_out = [pair for pair, whole in zip(pairs, fits, strict=True) if not whole]
    if not fitting:
        what = f"can read none of {amount(len(pairs), 'pair')} whole: all are longer than its context, or have an empty answer"
        raise SelfRewardError(what, str(start.path), "Lower responses.max_tokens, or give shorter prompts")
    reasons = [BLANK if any(map(is_blank, pair[1:3])) else TOO_LONG for pair in left_out]
    return fitting, [
        Dropped(id=_prompt(pair[0]).id, stage="model", reason=why) for pair, why in zip(left_out, reasons, strict=True)
    ]


def encoded_anew(pairs: Sequence[Contrast]) -> str:
    """A line about the answers in `pairs` whose sampled ids are not known; empty where all are."""
    sides = [side for pair in pairs for side in pair[1:3]]
    anew = sum(map(is_encoded_anew, sides))
    return f"{anew:,} of {amount(len(sides), 'answer')} came without sampled ids: trained as the text encodes" if anew else ""


def _prompt(asked: Asked) -> Prompt:
    """The prompt that a model was given, a recipe's system prompt and all."""
    context, text = last_turn(asked)
    return Prompt(text=text, context=context, source="self")


def optimizer_of(run: RunDir, model: Checkpoint, config: DPOConfig) -> list[Path]:
    """The file with the optimizer's state that the training of `model` ended with; none where none was kept, or is asked for."""
    optimizer = Stage(run, run.path / model.name, MODEL.name).optimizer
    return [optimizer] if config.optimizer == "carried" and optimizer.exists() else []


def hand_on(states: Sequence[Path], work: Path) -> None:
    """Put the optimizer's state in the one file of `states` where a training in `work` looks for it."""
    for state in states:
        work.mkdir(parents=True, exist_ok=True)
        (work / OPTIMIZER_BEFORE).unlink(missing_ok=True)
        (work / OPTIMIZER_BEFORE).symlink_to(os.path.relpath(state, work))


def keep_optimizer(stage: Stage, trainer: Trainer) -> None:
    """Move the optimizer's state from a training's folder into this stage's. Raises `SelfRewardError` where there is none."""
    if not (left := stage.work / OPTIMIZER).exists():
        what = f'left no {OPTIMIZER} in {stage.work}, which dpo.optimizer = "carried" needs'
        raise SelfRewardError(what, name_of(trainer), "Make dpo write it, or leave out dpo.optimizer")
    sync_files(left)
    left.replace(stage.optimizer)
    sync_folder(stage.folder)


def at_step(stage: Stage, step: int) -> Path:
    """The trainer's folder for the model after `step` steps."""
    return stage.work / f"step-{step}"


def settled(stage: Stage) -> dict[str, str]:
    """Make the checkpoints of a training durable; returns their fingerprints by step, in order of training."""
    steps = sorted(int(folder.name.split("-")[1]) for folder in stage.work.glob("step-*") if not folder.suffix)
    for step in steps:
        sync_files(at_step(stage, step))
    sync_folder(stage.work)
    return {str(step): fingerprint(at_step(stage, step)) for step in steps}


def on_the_way(stage: Stage, fingerprints: Mapping[str, str], start: Checkpoint) -> list[tuple[int, Checkpoint]]:
    """(step, checkpoint) of the checkpoints of a training, in order."""
    checkpoints = []
    for step, weights in fingerprints.items():
        name, path = f"{stage.folder.name} at step {step}", at_step(stage, int(step))
        checkpoints.append((int(step), Checkpoint(name=name, path=path, fingerprint=weights, parent=start.fingerprint)))
    return checkpoints


def assert_unchanged(model: Checkpoint) -> None:
    """Raises `SelfRewardError` where the weights on disk are not those of `model`."""
    if (weights := fingerprint(model.path)) != model.fingerprint:
        now = "Something wrote to it while the run was open; restore it or start a new run"
        raise SelfRewardError(f"is {weights}, not {model.fingerprint}, which {model.name} was", str(model.path), now)
