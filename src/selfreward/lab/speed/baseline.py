"""Code as people write it: `generate()` with `num_return_sequences` in batches (b), or once a sample (c); then TRL's DPO."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from selfreward.engines.training.adapters import lora as adapters
from selfreward.lab.speed.ledger import Ledger
from selfreward.lab.speed.work import Work, best_and_worst, mean, score
from selfreward.recipe import LoRAConfig

Preference = tuple[str, str, str]
"""Prompt, chosen, rejected."""


class Generator:
    """A model and its tokenizer, asked by `generate()`."""

    def __init__(self, work: Work, ledger: Ledger) -> None:
        self.work, self.ledger = work, ledger
        self.tokenizer = AutoTokenizer.from_pretrained(work.model)
        self.model = AutoModelForCausalLM.from_pretrained(work.model, dtype=getattr(torch, work.dtype)).to(work.device).eval()
        ledger.count(self.model)

    def sample(self, prompts: Sequence[str], samples: int, tokens: int, chunk: int) -> list[list[str]]:
        """`samples` texts of `tokens` tokens for each prompt, by calls for `chunk` prompts each."""
        groups: list[list[str]] = []
        for at in range(0, len(prompts), chunk):
            texts = self._call(prompts[at : at + chunk], samples, tokens)
            groups += [texts[first : first + samples] for first in range(0, len(texts), samples)]
        return groups

    @torch.inference_mode()
    def _call(self, prompts: Sequence[str], samples: int, tokens: int) -> list[str]:
        turns = [[{"role": "user", "content": prompt}] for prompt in prompts]
        texts = self.tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        inputs = self.tokenizer(texts, return_tensors="pt", padding=True, padding_side="left", add_special_tokens=False)
        inputs = inputs.to(self.model.device)
        came = self.model.generate(
            input_ids=inputs.input_ids, attention_mask=inputs.attention_mask, do_sample=True, temperature=self.work.temperature,
            top_p=self.work.top_p, top_k=0, max_new_tokens=tokens, num_return_sequences=samples,
        )[:, inputs.input_ids.shape[1] :]  # fmt: skip
        ends = torch.tensor(self.model.generation_config.eos_token_id, device=came.device)  # one, or several
        ended = torch.isin(came, ends).cumsum(1) > 0  # what follows fills the texts up
        self.ledger.add_sampled(int((~ended).sum()))
        return list(self.tokenizer.batch_decode(came, skip_special_tokens=True))


def batched(work: Work, ledger: Ledger, folder: Path, train: bool) -> None:
    """Arm (b): one call for a chunk of prompts and all their samples."""
    with ledger.stage("candidates"):
        generator = Generator(work, ledger)
        prompts = work.texts()
        candidates = generator.sample(prompts, work.n, work.candidate_tokens, work.chunks[0])
    with ledger.stage("judging"):
        texts = list(judge_prompts(work, prompts, candidates))
        judgments = generator.sample(texts, work.k, work.judgment_tokens, work.chunks[1])
    with ledger.stage("dpo"):
        pairs = preferences(work, prompts, candidates, judgments)
        if train:
            train_dpo(work, generator, pairs, folder)


def one_by_one(work: Work, ledger: Ledger, folder: Path, train: bool) -> None:
    """Arm (c): a call for every sample."""
    with ledger.stage("candidates"):
        generator = Generator(work, ledger)
        prompts = work.texts()
        candidates = _each(generator, prompts, work.n, work.candidate_tokens)
    with ledger.stage("judging"):
        texts = list(judge_prompts(work, prompts, candidates))
        judgments = _each(generator, texts, work.k, work.judgment_tokens)
    with ledger.stage("dpo"):
        pairs = preferences(work, prompts, candidates, judgments)
        if train:
            train_dpo(work, generator, pairs, folder)


def _each(generator: Generator, prompts: Sequence[str], samples: int, tokens: int) -> list[list[str]]:
    samples_of = ([generator.sample([prompt], 1, tokens, 1)[0][0] for _ in range(samples)] for prompt in prompts)
    return list(samples_of)


def judge_prompts(work: Work, prompts: Sequence[str], candidates: Sequence[Sequence[str]]) -> Iterator[str]:
    """The judge's prompt for every candidate."""
    rubric = work.rubric()
    for prompt, responses in zip(prompts, candidates, strict=True):
        for response in responses:
            yield rubric.replace("{prompt}", prompt).replace("{response}", response)


def preferences(
    work: Work, prompts: Sequence[str], candidates: Sequence[Sequence[str]], judgments: Sequence[Sequence[str]]
) -> list[Preference]:
    """Each prompt's best candidate against its worst."""
    scores = [mean([score(text) for text in texts]) for texts in judgments]
    pairs = []
    for at, (prompt, responses) in enumerate(zip(prompts, candidates, strict=True)):
        scored = dict(zip(responses, scores[at * len(responses) :], strict=False))
        pairs.append((prompt, *best_and_worst(responses, scored)))
    return pairs


def train_dpo(work: Work, generator: Generator, pairs: Sequence[Preference], folder: Path) -> None:
    """DPO by TRL on the model that sampled, its reference log-probabilities computed before; nothing is saved."""
    from datasets import Dataset
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.dpo_trainer import DPOTrainer

    rows = [{"prompt": prompt, "chosen": f" {chosen}", "rejected": f" {rejected}"} for prompt, chosen, rejected in pairs]
    settings = DPOConfig(**trl_settings(work, folder), precompute_ref_log_probs=True, max_length=None)
    trainer = DPOTrainer(
        model=generator.model, args=settings, train_dataset=Dataset.from_list(rows), processing_class=generator.tokenizer,
        peft_config=adapters(LoRAConfig()) if work.lora else None,
    )  # fmt: skip
    trainer.train()
    if trainer.state.global_step != work.steps:
        raise AssertionError(f"{trainer.state.global_step} steps of DPO, not {work.steps}")


def trl_settings(work: Work, folder: Path) -> dict[str, Any]:
    """TRL's settings in every arm."""
    return {
        "output_dir": str(folder / "trl"), "per_device_train_batch_size": work.batch, "num_train_epochs": 1,
        "use_cpu": work.device == "cpu", "bf16": work.dtype == "bfloat16", "gradient_checkpointing": work.device != "cpu",
        "learning_rate": 1e-6, "report_to": "none", "save_strategy": "no", "disable_tqdm": True, "logging_steps": 1,
        "seed": work.seed,
    }  # fmt: skip
