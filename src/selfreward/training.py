"""SFT and DPO through TRL: token ids in, a transformers folder out. Resumes from the last checkpoint marked whole.

Tokens are made here, by the same code that makes a prompt for sampling, because TRL would cut what is too long, drop
what is all prompt, and never say so.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
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

from selfreward.backends import Advance
from selfreward.chat import completion_ids, prompt_ids
from selfreward.config import DPOConfig, SFTConfig
from selfreward.errors import SelfRewardError, Stopped
from selfreward.records import Message
from selfreward.rundir import sync_files, sync_folder

MARK = "whole"
"""A checkpoint with this file in it was written to its end and is safely on disk."""
IGNORE = -100
"""Label of a token that the loss passes over."""
NEVER_LOGGED = ("runtime", "per_second", "flos", "num_tokens", "train_loss")
"""Parts of the names of figures that differ from run to run, or are counted from the last resume only."""
DROPOUTS = ("attention_dropout", "hidden_dropout", "resid_pdrop", "embd_pdrop", "attn_pdrop", "resid_dropout", "embd_dropout")
"""What architectures call their dropout."""


class TRLTrainer:
    """Trains on the CPU, or on the device that there is, in bfloat16 with gradient checkpointing."""

    def __init__(self, keep_checkpoints: bool = False) -> None:
        self._keep = keep_checkpoints

    def sft(
        self, examples: Sequence[tuple[str, str]], start: Path, config: SFTConfig, seed: int, work: Path, advance: Advance
    ) -> Path:
        """Supervised fine-tuning; the loss is taken on the response and its end of turn alone."""
        tokenizer, model = _load(start, config.dropout)
        rows = [sft_row(tokenizer, prompt, response) for prompt, response in examples]
        _refuse_longer_than(model, start, [len(row["input_ids"]) for row in rows])
        settings = TRLSFTConfig(
            **_settings(config, seed, work), max_length=None, dataset_kwargs={"skip_prepare_dataset": True}, packing=False
        )
        trainer = SFTTrainer(
            model=model, args=settings, train_dataset=Dataset.from_list(rows), processing_class=tokenizer,
            callbacks=[_Safe(advance, self._keep)],
        )  # fmt: skip
        return _train(trainer, tokenizer, len(rows), work)

    def dpo(
        self, pairs: Sequence[tuple[str, str, str]], start: Path, reference: Path, config: DPOConfig, seed: int, work: Path,
        advance: Advance,
    ) -> Path:  # fmt: skip
        """DPO (Rafailov et al. 2023, eq. 7) against `reference`, loaded from its own folder: TRL would take M0 for M1."""
        tokenizer, model = _load(start, config.dropout)
        _, frozen = _load(reference, dropout=0.0)
        rows = [dpo_row(tokenizer, *pair) for pair in pairs]
        longest = [len(row["prompt_ids"]) + max(len(row["chosen_ids"]), len(row["rejected_ids"])) for row in rows]
        _refuse_longer_than(model, start, longest)
        weights = {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, config.nll_weight]} if config.nll_weight else {}
        settings = TRLDPOConfig(
            **_settings(config, seed, work), beta=config.beta, max_length=None, disable_dropout=config.dropout == 0, **weights
        )
        trainer = _PreparedDPOTrainer(
            model=model, ref_model=frozen, args=settings, train_dataset=Dataset.from_list(rows), processing_class=tokenizer,
            callbacks=[_Safe(advance, self._keep)],
        )  # fmt: skip
        return _train(trainer, tokenizer, len(rows), work)


class _PreparedDPOTrainer(DPOTrainer):
    """TRL's trainer on rows that hold token ids already."""

    def _prepare_dataset(self, dataset: Dataset, *_: object) -> Dataset:
        return dataset


class _Safe(TrainerCallback):
    """Tells of progress, marks checkpoints whole, and stops a training only where it can go on from."""

    def __init__(self, advance: Advance, keep: bool) -> None:
        self._advance, self._keep = advance, keep
        self._stop: Stopped | None = None

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._advance(state.global_step)  # what an earlier attempt did

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
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


def _load(path: Path, dropout: float) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    config = AutoConfig.from_pretrained(path, trust_remote_code=False)
    for name in DROPOUTS:  # read once, when the layers are made
        if hasattr(config, name):
            setattr(config, name, dropout)
    model = AutoModelForCausalLM.from_pretrained(
        path, config=config, dtype=torch.float32, trust_remote_code=False, use_safetensors=True
    )
    return tokenizer, model


def _settings(config: SFTConfig | DPOConfig, seed: int, work: Path) -> dict[str, Any]:
    cuda = torch.cuda.is_available()
    device_batch, accumulate = config.split
    return {
        "output_dir": str(work), "seed": seed, "data_seed": seed, "num_train_epochs": config.epochs,
        "per_device_train_batch_size": device_batch, "gradient_accumulation_steps": accumulate,
        "learning_rate": config.learning_rate, "lr_scheduler_type": "cosine_with_min_lr",
        "lr_scheduler_kwargs": {"min_lr": config.end_learning_rate}, "weight_decay": 0.0,
        "save_strategy": "steps", "save_steps": config.checkpoint_every, "logging_steps": 1, "logging_nan_inf_filter": False,
        "report_to": "none", "disable_tqdm": True, "use_cpu": not cuda, "bf16": cuda, "gradient_checkpointing": cuda,
        "dataloader_pin_memory": cuda,
    }  # fmt: skip


def _refuse_longer_than(model: PreTrainedModel, path: Path, lengths: list[int]) -> None:
    context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if context and max(lengths) > context:
        over = sum(length > context for length in lengths)
        what = f"reads {context} tokens at most, but {over} of {len(lengths)} examples are longer (up to {max(lengths)})"
        raise SelfRewardError(what, str(path), "Shorten or leave out those examples, or lower max_tokens")


def _train(trainer: Trainer, tokenizer: PreTrainedTokenizerBase, rows: int, work: Path) -> Path:
    """Train from the last whole checkpoint in `work`, or from the start; returns the folder that holds the result."""
    kept = len(trainer.get_train_dataloader().dataset)
    if kept != rows:
        raise AssertionError(f"the trainer kept {kept} of {rows} examples")
    trainer.remove_callback(PrinterCallback)  # what it prints is in metrics.jsonl
    trainer.train(resume_from_checkpoint=_last_whole(work))
    made = work / "made"
    trainer.accelerator.unwrap_model(trainer.model).save_pretrained(made)
    tokenizer.save_pretrained(made)
    lines = [{k: v for k, v in line.items() if not any(part in k for part in NEVER_LOGGED)} for line in trainer.state.log_history]
    (made / "metrics.jsonl").write_text("".join(json.dumps(line, sort_keys=True) + "\n" for line in lines))
    sync_files(made)
    return made


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
