"""SFT and DPO through TRL: token ids in, a transformers folder out. Resumes from the last checkpoint marked whole.

Tokens are made here, by the same code that makes a prompt for sampling, because TRL would cut what is too long, drop
what is all prompt, and never say so.
"""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, disable_progress_bars
from transformers import (
    AutoConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from trl.trainer.dpo_config import DPOConfig as TRLDPOConfig
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.sft_config import SFTConfig as TRLSFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from selfreward.adapters import lora, train_in_float32
from selfreward.backends import Advance
from selfreward.chat import completion_ids, load_tokenizer, prompt_ids
from selfreward.errors import SelfRewardError, Stopped, first_line
from selfreward.learner import Learner, context, load_weights, with_dropout
from selfreward.records import Message
from selfreward.rundir import sync_files, sync_folder, write_whole
from selfreward.sections import DPOConfig, SFTConfig, TrainerConfig

MARK = "whole"
"""A checkpoint with this file in it was written to its end and is safely on disk."""
IGNORE = -100
"""Label of a token that the loss passes over."""
NEVER_LOGGED = ("runtime", "per_second", "flos", "num_tokens", "train_loss")
"""Parts of the names of figures that differ from run to run, or are counted from the last resume only."""


class TRLTrainer:
    """Trains on the CPU or on the one GPU that there is; by default in bfloat16 with gradient checkpointing on the latter."""

    def __init__(self, keep_checkpoints: bool = False, config: TrainerConfig | None = None) -> None:
        self._keep, self._config = keep_checkpoints, config or TrainerConfig()
        os.environ.setdefault("TQDM_DISABLE", "1")  # one bar is enough, and it is ours
        disable_progress_bars()

    def fits(self, pairs: Sequence[tuple[str, str, str]], start: Path) -> list[bool]:
        """Which pairs the model in `start` can read whole, both responses with their ends."""
        tokenizer, longest = load_tokenizer(start), context(start)
        return [longest is None or _pair_length(dpo_row(tokenizer, *pair)) <= longest for pair in pairs]

    def sft(
        self, examples: Sequence[tuple[str, str]], start: Path, config: SFTConfig, seed: int, work: Path, advance: Advance
    ) -> Path:
        """Supervised fine-tuning; the loss is taken on the response and its end of turn alone."""
        learner = Learner(start, config.dropout, self._config)
        rows = [sft_row(learner.tokenizer, prompt, response) for prompt, response in examples]
        _refuse_longer_than(context(start), start, [len(row["input_ids"]) for row in rows])
        settings = TRLSFTConfig(
            **_settings(config, learner, seed, work),
            max_length=None,
            dataset_kwargs={"skip_prepare_dataset": True},
            packing=False,
        )
        safe = _Safe(advance, self._keep)
        trainer = _made(_EndingSFTTrainer, learner, args=settings, train_dataset=Dataset.from_list(rows), callbacks=[safe])
        return _train(trainer, learner, len(rows), work)

    def dpo(
        self, pairs: Sequence[tuple[str, str, str]], start: Path, reference: Path, config: DPOConfig, seed: int, work: Path,
        advance: Advance, every: int | None = None,
    ) -> Path:  # fmt: skip
        """DPO (Rafailov et al. 2023, eq. 7) against `reference`, loaded from its own folder: TRL would take M0 for M1.

        With adapters the reference is the start model with its adapters off, read before training and without dropout.
        """
        learner = Learner(start, config.dropout, self._config)
        rows = [dpo_row(learner.tokenizer, *pair) for pair in pairs]
        _refuse_longer_than(context(start), start, [_pair_length(row) for row in rows])
        adapted = learner.lora is not None and reference == start
        weights = {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, config.nll_weight]} if config.nll_weight else {}
        settings = TRLDPOConfig(
            **_settings(config, learner, seed, work), beta=config.beta, max_length=None, precompute_ref_log_probs=adapted,
            disable_dropout=config.dropout == 0 and learner.lora is None,  # adapters have a dropout of their own
            **weights,
        )  # fmt: skip
        safe = _Safe(advance, self._keep, lambda model, step: _write(learner, model, work / f"step-{step}"), every)
        trainer = _made(
            _PreparedDPOTrainer, learner, ref_model=None if adapted else _frozen(reference), args=settings,
            train_dataset=Dataset.from_list(rows), callbacks=[safe],
        )  # fmt: skip
        return _train(trainer, learner, len(rows), work)


class _Ending(Trainer):
    """The cosine of the learning rate ends at the last step, not one after it."""

    def create_scheduler(self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None) -> Any:
        return super().create_scheduler(max(num_training_steps - 1, 1), optimizer)


class _EndingSFTTrainer(_Ending, SFTTrainer):
    """TRL's trainer to the last step's rate."""


class _PreparedDPOTrainer(_Ending, DPOTrainer):
    """The same for DPO, on rows that hold token ids already."""

    def _prepare_dataset(self, dataset: Dataset, *_: object) -> Dataset:
        return dataset


class _Safe(TrainerCallback):
    """Tells of progress, marks checkpoints whole, and stops a training only where it can go on from.

    After `every` steps, but not after the last, it has the model written: before the checkpoint of that step is, so that
    whoever goes on from a checkpoint has every model up to it.
    """

    def __init__(
        self, advance: Advance, keep: bool, write: Callable[[Any, int], object] | None = None, every: int | None = None
    ) -> None:
        self._advance, self._keep, self._write, self._every = advance, keep, write, every
        self._stop: Stopped | None = None

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._advance(state.global_step)  # what an earlier attempt did

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None, **_: Any
    ) -> None:
        if self._write and self._every and state.global_step % self._every == 0 and state.global_step < state.max_steps:
            self._write(model, state.global_step)
        try:
            self._advance(1)
        except Stopped as stop:
            self._stop, control.should_save = stop, True

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        checkpoint = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        _mark_whole(checkpoint)
        for older in set(checkpoint.parent.glob("checkpoint-*")) - {checkpoint}:
            if not self._keep:
                shutil.rmtree(older)
        if self._stop:
            raise self._stop


def sft_row(tokenizer: PreTrainedTokenizerBase, prompt: str, response: str) -> dict[str, list[int]]:
    """Ids of a conversation, and labels that pass over the prompt."""
    messages = [Message(role="user", content=prompt)]
    before, after = prompt_ids(tokenizer, messages), completion_ids(tokenizer, messages, response)
    return {"input_ids": before + after, "labels": [IGNORE] * len(before) + after}


def dpo_row(tokenizer: PreTrainedTokenizerBase, prompt: str, chosen: str, rejected: str) -> dict[str, list[int]]:
    """Ids of a prompt and of its two responses."""
    messages = [Message(role="user", content=prompt)]
    chosen_ids, rejected_ids = (completion_ids(tokenizer, messages, response) for response in (chosen, rejected))
    return {"prompt_ids": prompt_ids(tokenizer, messages), "chosen_ids": chosen_ids, "rejected_ids": rejected_ids}


def _pair_length(row: dict[str, list[int]]) -> int:
    return len(row["prompt_ids"]) + max(len(row["chosen_ids"]), len(row["rejected_ids"]))


def _frozen(path: Path) -> PreTrainedModel:
    """A reference: all float32 and without dropout."""
    config = AutoConfig.from_pretrained(path, trust_remote_code=False)
    return load_weights(path, with_dropout(config, 0.0), dtype=torch.float32)


def _made(kind: type[Trainer], learner: Learner, **parts: Any) -> Any:
    """A trainer of `learner`. It gets a tokenizer of its own: TRL gives one without padding its end of text to pad with."""
    if learner.lora is not None:
        parts["peft_config"] = lora(learner.lora)
    learner.model.eval()  # log-probs of the reference are computed while the trainer is made
    try:
        trainer = kind(model=learner.model, processing_class=copy.deepcopy(learner.tokenizer), **parts)
        if learner.lora is not None:
            train_in_float32(trainer.model)
        return trainer
    except (ValueError, re.error) as error:
        if learner.lora is None:
            raise
        what = f"cannot take adapters on {learner.lora.targets!r} ({first_line(error)})"
        raise SelfRewardError(what, str(learner.path), "Change trainer.lora.targets") from error


def _settings(config: SFTConfig | DPOConfig, learner: Learner, seed: int, work: Path) -> dict[str, Any]:
    cuda = torch.cuda.is_available()
    device_batch, accumulate = config.split
    return {
        "output_dir": str(work), "seed": seed, "data_seed": seed, "num_train_epochs": config.epochs,
        "per_device_train_batch_size": device_batch, "gradient_accumulation_steps": accumulate,
        "learning_rate": config.learning_rate, "lr_scheduler_type": "cosine_with_min_lr",
        "lr_scheduler_kwargs": {"min_lr": config.end_learning_rate}, "weight_decay": 0.0,
        "save_strategy": "steps", "save_steps": config.checkpoint_every, "logging_steps": 1, "logging_nan_inf_filter": False,
        "report_to": "none", "disable_tqdm": True, "use_cpu": not cuda, "bf16": learner.bfloat16,
        "activation_checkpointing": learner.recompute, "dataloader_pin_memory": cuda,
    }  # fmt: skip


def _refuse_longer_than(context: int | None, path: Path, lengths: list[int]) -> None:
    if context and max(lengths) > context:
        over = sum(length > context for length in lengths)
        what = f"reads {context} tokens at most, but {over} of {len(lengths)} examples are longer (up to {max(lengths)})"
        raise SelfRewardError(what, str(path), "Shorten or leave out those examples, or lower max_tokens")


def _train(trainer: Any, learner: Learner, rows: int, work: Path) -> Path:
    """Train from the last whole checkpoint in `work`, or from the start; returns the folder that holds the result."""
    kept = len(trainer.get_train_dataloader().dataset)
    if kept != rows:
        raise AssertionError(f"the trainer kept {kept} of {rows} examples")
    trainer.remove_callback(PrinterCallback)  # what it prints is in metrics.jsonl
    trainer.train(resume_from_checkpoint=_last_whole(work))
    trained = trainer.accelerator.unwrap_model(trainer.model)
    made = _write(learner, trained, work / "made")
    lines = [{k: v for k, v in line.items() if not any(part in k for part in NEVER_LOGGED)} for line in trainer.state.log_history]
    text = "".join(json.dumps(line, sort_keys=True) + "\n" for line in lines)
    for folder in (made, *work.glob("step-*")):
        write_whole(folder / "metrics.jsonl", text)
    return made


def _write(learner: Learner, trained: Any, folder: Path) -> Path:
    """Write a model so that its folder is there whole or not at all."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    with torch.random.fork_rng():  # libraries draw numbers for an adapter that they then load
        learner.write(trained, partial)
    sync_files(partial)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    sync_folder(folder.parent)
    return folder


def _last_whole(work: Path) -> str | None:
    """The newest checkpoint marked whole; unmarked ones are torn and go."""
    found = sorted(work.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    for torn in [path for path in found if not (path / MARK).exists()]:
        shutil.rmtree(torn)
    shutil.rmtree(work / "made", ignore_errors=True)
    whole = [path for path in found if path.exists()]
    return str(whole[-1]) if whole else None


def _mark_whole(checkpoint: Path) -> None:
    """Make a checkpoint durable, then mark it."""
    sync_files(checkpoint)
    (checkpoint / MARK).touch()
    sync_folder(checkpoint)
