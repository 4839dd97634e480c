"""SFT and DPO through TRL: token ids in, a transformers folder out. Resumes from the last checkpoint marked whole.

Tokens are made by us (`rows`) because TRL would cut what is too long, drop what is all prompt, and never say so.
"""

from __future__ import annotations

import copy
import json
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, disable_progress_bars
from transformers import AutoConfig, PreTrainedModel, PrinterCallback, Trainer
from trl.trainer.dpo_config import DPOConfig as TRLDPOConfig
from trl.trainer.sft_config import SFTConfig as TRLSFTConfig

from selfreward.engines.protocols import Advance
from selfreward.engines.soundness import assert_sound
from selfreward.engines.tokens import load_tokenizer, template
from selfreward.engines.training.adapters import lora, refuse_head, train_in_float32
from selfreward.engines.training.averaging import average
from selfreward.engines.training.batches import Batches, Lengths, longest
from selfreward.engines.training.checkpoints import Safe, last_whole, write_model
from selfreward.engines.training.continued import Carried
from selfreward.engines.training.learner import Learner, context, let_go, load_weights, with_dropout
from selfreward.engines.training.planned import PlannedDPOTrainer, PlannedSFTTrainer
from selfreward.engines.training.reading import read_thriftily
from selfreward.engines.training.rehearsal import Rehearsal
from selfreward.engines.training.rows import IGNORE, dpo_row, dpo_rows, pair_lengths, sft_row
from selfreward.engines.training.sharing import Counted
from selfreward.errors import SelfRewardError, amount, first_line
from selfreward.recipe import ClusterConfig, DPOConfig, SFTConfig, TrainerConfig
from selfreward.records import Asked, Contrast, is_blank, write_whole

RECOMPUTE = "activation_checkpointing" if hasattr(TRLSFTConfig, "activation_checkpointing") else "gradient_checkpointing"
"""The argument's name in transformers since 5.20, or before."""
NEVER_LOGGED = ("runtime", "per_second", "flos", "num_tokens", "train_loss")
"""Parts of the names of figures that differ from run to run, or are counted from the last resume only."""


class TRLTrainer:
    """Trains on the CPU or on GPUs; by default in bfloat16 with gradient checkpointing on the latter.

    In each of `cluster.trainers` processes (`worker.work`) it does its share.
    """

    def __init__(
        self, keep_checkpoints: bool = False, config: TrainerConfig | None = None, cluster: ClusterConfig | None = None
    ) -> None:
        self._keep, self._config, self._cluster = keep_checkpoints, config or TrainerConfig(), cluster or ClusterConfig()
        os.environ.setdefault("TQDM_DISABLE", "1")  # one bar is enough, and it is ours
        disable_progress_bars()

    def fits(self, pairs: Sequence[Contrast], start: Path) -> list[bool]:
        """For each pair, True if `start` can read both responses with their ends, and its chat template can write them."""
        assert_sound(start)
        tokenizer, longest = load_tokenizer(start), context(start) or math.inf
        return [
            max(pair_lengths(dpo_row(tokenizer, *pair[:3]))) <= longest
            and (template(tokenizer).blank or not any(map(is_blank, pair[1:3])))
            for pair in pairs
        ]

    def sft(
        self, examples: Sequence[tuple[Asked, str]], start: Path, config: SFTConfig, seed: int, work: Path, advance: Advance
    ) -> Path:
        """Supervised fine-tuning; the loss is taken on the response and its end of turn alone."""
        learner = Learner(start, config.dropout, self._config)
        rows = [sft_row(learner.tokenizer, prompt, response) for prompt, response in examples]
        lengths = [(len(row["input_ids"]),) for row in rows]
        _refuse_longer_than(context(start), start, lengths)
        blank = {**rows[0], "labels": [IGNORE] * len(rows[0]["labels"])}
        settings = TRLSFTConfig(
            **_settings(config, learner, seed, work, self._cluster, lengths),
            max_length=None,
            dataset_kwargs={"skip_prepare_dataset": True},
            packing=False,
        )
        safe = Safe(advance, self._keep)
        trainer = _made(PlannedSFTTrainer, learner, args=settings, train_dataset=self._dataset(rows, blank), callbacks=[safe])
        read_thriftily(trainer.model, max(map(max, lengths)))
        return _train(trainer, learner, lengths, config, work)

    def dpo(
        self, pairs: Sequence[Contrast], start: Path, reference: Path, config: DPOConfig, seed: int, work: Path,
        advance: Advance, every: int | None = None, rehearsed: Sequence[tuple[Asked, str]] = (),
    ) -> Path:  # fmt: skip
        """DPO (Rafailov et al. 2023, eq. 7) against `reference`, which has its say before the first step and is then let go.

        One that is the start model is not loaded twice: it is the model in training, with its adapters off if it has any.
        Another one is loaded from its own folder: TRL would take M0 for M1. `rehearsed`: examples for `config.rehearse`.
        """
        learner = Learner(start, config.dropout, self._config)
        rows = dpo_rows(learner.tokenizer, pairs, given=config.thoughts == "given")
        lengths = [pair_lengths(row) for row in rows]
        rehearsal = _rehearsal(learner, rehearsed, config, seed)
        _refuse_longer_than(context(start), start, [*lengths, *([(rehearsal.longest,)] if rehearsal else [])])
        averaged = config.averaged(len(pairs))
        blank = {**rows[0], "chosen_ids": [], "rejected_ids": []}
        settings = TRLDPOConfig(
            **_settings(config, learner, seed, work, self._cluster, lengths),
            beta=config.beta, max_length=None, precompute_ref_log_probs=True,
            disable_dropout=config.dropout == 0 and learner.lora is None,  # adapters have a dropout of their own
            **loss(config),
        )  # fmt: skip
        alone = reference == start and not settings.fsdp  # under FSDP TRL would load one that it is not given
        due = range(every, averaged[-1], every) if every else averaged[:-1]
        safe = Safe(advance, self._keep, lambda model, step: write_model(learner, model, work / f"step-{step}"), due)
        trainer = _made(
            PlannedDPOTrainer, learner, ref_model=None if alone else _frozen(reference), args=settings,
            train_dataset=self._dataset(rows, blank), callbacks=[safe], rehearsal=rehearsal,
        )  # fmt: skip
        if not alone:
            trainer.ref_model = None
            trainer.accelerator.free_memory()  # accelerate holds every model that it prepared
        if config.optimizer == "carried":
            trainer.add_callback(Carried(work))
        trainer.data_collator = Counted(trainer.data_collator)
        folder = _train(trainer, learner, lengths, config, work)
        with trainer.accelerator.main_process_first():
            if len(averaged) > 1 and trainer.accelerator.is_main_process:
                average([*(work / f"step-{step}" for step in averaged[:-1]), folder])
        return folder

    def _dataset(self, rows: list[dict[str, list[int]]], blank: dict[str, list[int]]) -> Dataset:
        return Dataset.from_list([*rows, blank] if self._cluster.trainers > 1 else rows)


def _rehearsal(
    learner: Learner, examples: Sequence[tuple[Asked, str]], config: DPOConfig, seed: int
) -> Rehearsal | None:  # fmt: skip
    """The examples that a DPO rehearses; None where the recipe wants none, or there is none."""
    if not (config.rehearse and examples):
        return None
    rows = [sft_row(learner.tokenizer, prompt, response) for prompt, response in examples]
    return Rehearsal(rows, config.rehearse, config.rehearse_weight, seed)


def _frozen(path: Path) -> PreTrainedModel:
    """A reference: all float32 and without dropout."""
    config = AutoConfig.from_pretrained(path, trust_remote_code=False)
    return load_weights(path, with_dropout(config, 0.0), dtype=torch.float32)


def _made(kind: type[Trainer], learner: Learner, **parts: Any) -> Any:
    """A trainer of `learner`. It gets a tokenizer of its own: TRL gives one without padding its end of text to pad with."""
    parts["args"]._n_gpu = min(parts["args"].n_gpu, 1)  # more than one in a process means nn.DataParallel, which TRL refuses
    if learner.lora is not None:
        refuse_head(learner.model, learner.lora)
        parts["peft_config"] = lora(learner.lora)
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


def loss(config: DPOConfig) -> dict[str, Any]:
    """The loss of the recipe, and the chosen response's likelihood, as TRL has them.

    That of `sigmoid` is C·L(chosen, rejected) + (1 − C)·L(rejected, chosen). TRL's sigmoid loss is L and passes over label
    smoothing. Its robust loss at ε = −(1 − C)/(2C − 1) is this sum, but has no value at C = 1/2 and an ε that TRL warns of. At
    ε = 1/4 it is (3·L(chosen, rejected) − L(rejected, chosen)) / 2, hence the weights.
    """
    if config.loss != "sigmoid":
        added = {"sft": config.nll_weight} if config.nll_weight else {}
        parts = {config.loss: 1.0, **added}
        return {"loss_type": list(parts), "loss_weights": list(parts.values()), "label_smoothing": config.label_smoothing}
    confidence = float(config.confidence)
    parts = {"sigmoid": 3 - 2 * confidence, "robust": -2 * (1 - confidence), "sft": config.nll_weight}
    used = {name: weight for name, weight in parts.items() if weight}
    return {"loss_type": list(used), "loss_weights": list(used.values()), "label_smoothing": 0.25}


def _settings(
    config: SFTConfig | DPOConfig, learner: Learner, seed: int, work: Path, cluster: ClusterConfig, examples: Sequence[Lengths]
) -> dict[str, Any]:
    cuda = torch.cuda.is_available()
    device_batch, accumulate = config.split(cluster.trainers, None if cuda else longest(examples))
    sharded = cluster.fsdp and cluster.trainers > 1 and cuda  # elsewhere accelerate would run DDP and not say so
    wrapped = {"version": 2, "reshard_after_forward": True, RECOMPUTE: learner.recompute}
    return {
        "output_dir": str(work), "seed": seed, "data_seed": seed, "num_train_epochs": config.epochs,
        "per_device_train_batch_size": device_batch, "gradient_accumulation_steps": accumulate,
        "learning_rate": config.learning_rate, "lr_scheduler_type": "cosine_with_min_lr",
        "lr_scheduler_kwargs": {"min_lr": config.end_learning_rate}, "weight_decay": 0.0,
        "save_strategy": "steps", "save_steps": config.checkpoint_every, "logging_steps": 1, "logging_nan_inf_filter": False,
        "report_to": "none", "disable_tqdm": True, "use_cpu": not cuda, "bf16": learner.bfloat16,
        RECOMPUTE: learner.recompute and not sharded, "dataloader_pin_memory": cuda,
        **({"fsdp": True, "fsdp_config": wrapped} if sharded else {}),
    }  # fmt: skip


def _refuse_longer_than(context: int | None, path: Path, examples: Sequence[Lengths]) -> None:
    lengths = [max(example) for example in examples]
    if context and max(lengths) > context:
        over = sum(length > context for length in lengths)
        of = f"of {amount(len(lengths), 'example')} {over} would not fit (up to {max(lengths)})"
        what = f"reads {context} tokens at most, but {of}"
        raise SelfRewardError(what, str(path), "Shorten or leave out those examples, or lower max_tokens")


def _train(trainer: Any, learner: Learner, examples: Sequence[Lengths], config: SFTConfig | DPOConfig, work: Path) -> Path:
    """Train from the last whole checkpoint in `work`, or from the start; returns the folder that holds the result."""
    batches = Batches(examples, trainer.args.per_device_train_batch_size, config.batch_size, trainer.args.seed)
    trainer.batches, trainer.batch_size = batches, config.batch_size
    examples_kept = len(trainer.get_train_dataloader().dataset) - (trainer.accelerator.num_processes > 1)  # with a blank
    if examples_kept != len(batches):
        raise AssertionError(f"the trainer kept {examples_kept} of {len(batches)} examples")
    trainer.remove_callback(PrinterCallback)  # what it prints is in metrics.jsonl
    with trainer.accelerator.main_process_first():
        checkpoint = last_whole(work)
    trainer.train(resume_from_checkpoint=checkpoint)
    _forget(trainer.optimizer)
    trained = trainer.accelerator.unwrap_model(trainer.model)
    result = write_model(learner, trained, work / "made")
    let_go(trained)
    settings = config.model_dump(include={"confidence", "loss", "average"})
    about = {**_read(trainer, config.steps(len(examples))), **_shared(trainer), **settings}
    text = "".join(json.dumps(line, sort_keys=True) + "\n" for line in (about, *_logged(trainer)))
    if trainer.accelerator.is_main_process:
        for folder in (result, *work.glob("step-*")):
            write_whole(folder / "metrics.jsonl", text)
    return result


def _forget(optimizer: Any) -> None:
    """Free what only a further step would need, before the model is written and its file read."""
    optimizer.zero_grad()
    optimizer.state.clear()


def _read(trainer: Any, steps: int) -> dict[str, float]:
    """The planned number of tokens in the batches of all epochs, and the share of padding among them; and those rehearsed beside.

    A prompt counts twice in a pair, though both responses may be read after it once.
    """
    tokens, padding = trainer.batches.tokens(int(trainer.args.num_train_epochs))
    rehearsal: Rehearsal | None = getattr(trainer, "rehearsal", None)
    return {"tokens": tokens, "padding": padding / tokens} | ({"rehearsed": rehearsal.tokens(steps)} if rehearsal else {})


def _shared(trainer: Any) -> dict[str, Any]:
    """The number of processes that shared the training, and the wrapper that held the model; empty for a single process."""
    processes = trainer.accelerator.num_processes
    return {"processes": processes, "held_in": type(trainer.model_wrapped).__name__} if processes > 1 else {}


def _logged(trainer: Any) -> list[dict[str, Any]]:
    return [{k: v for k, v in line.items() if not any(part in k for part in NEVER_LOGGED)} for line in trainer.state.log_history]
