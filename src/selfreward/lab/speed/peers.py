"""Other people's implementations, from PyPI: self-rewarding-lm-pytorch (d) and TRL's experimental OnlineDPO (e)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch

from selfreward.lab.speed.baseline import Generator, judge_prompts, trl_settings
from selfreward.lab.speed.ledger import Ledger
from selfreward.lab.speed.work import Work, mean, score


class Logits(torch.nn.Module):
    """A model as self-rewarding-lm-pytorch wants it: ids in, logits out, no cache."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Logits [row, token, word]."""
        logits: torch.Tensor = self.model(input_ids=ids, use_cache=False).logits
        return logits


class Texts(torch.utils.data.Dataset[str]):
    """The prompts as it wants them."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts

    def __len__(self) -> int:
        return len(self._texts)

    def __getitem__(self, at: int) -> str:
        return self._texts[at]


def lucidrains(work: Work, ledger: Ledger, folder: Path, train: bool) -> None:
    """Arm (d): self-rewarding-lm-pytorch, with the arguments overridden without which it never ends."""
    from self_rewarding_lm_pytorch import self_rewarding_lm_pytorch as theirs

    with ledger.stage("candidates"):
        generator = Generator(work, ledger)
        trainer = _their_trainer(theirs, work, generator, folder)
        (_, stage), *_ = trainer.trainers
        ledger.book(stage.dataset_generator, "forward", "candidates")
        ledger.book(stage.dataset_generator, "generate_reward", "judging")
    with ledger.stage("dpo"), _counting_samples(theirs, ledger):
        trainer(overwrite_checkpoints=True)


@contextmanager
def _counting_samples(theirs: Any, ledger: Ledger) -> Iterator[None]:
    """Count the tokens that it samples; it fills every row up to one length."""
    sample = theirs.sample

    def counting(model: Any, prompts: torch.Tensor, seq_len: int, **named: Any) -> Any:
        ledger.add_sampled(len(prompts) * (seq_len - prompts.shape[-1]))
        return sample(model, prompts=prompts, seq_len=seq_len, **named)

    theirs.sample = counting
    yield
    theirs.sample = sample


def _their_trainer(theirs: Any, work: Work, generator: Generator, folder: Path) -> Any:
    config = theirs.SelfRewardDPOConfig(
        prompt_dataset=Texts(work.texts()), num_generated_preference_pairs=work.prompts, num_train_steps=work.steps,
        max_seq_len=work.prompt_tokens + work.candidate_tokens, is_valid_reward_pair=lambda best, worst: True,
        gen_temperature=work.temperature, eval_temperature=work.temperature, gen_filter_kwargs={"thres": work.top_p},
        eval_filter_kwargs={"thres": work.top_p}, dropout=0.0,
        trainer_kwargs={"num_train_steps": work.steps, "batch_size": min(work.batch, work.prompts), "grad_accum_steps": 1},
        reward_generator_kwargs={
            "num_candidate_responses": work.n, "num_evals_to_average": work.k, "batch_size": work.prompts,
            "generate_reward_max_seq_len": work.judge_tokens + work.prompt_tokens + work.judgment_tokens,
            "data_folder": str(folder / "theirs"),
        },
    )  # fmt: skip
    rubric = work.rubric().replace("{", "{{ ").replace("}", " }}")
    return theirs.SelfRewardingTrainer(
        Logits(generator.model), finetune_configs=[config], pad_id=-1,
        tokenizer_encode=lambda text: torch.tensor(generator.tokenizer(text)["input_ids"]),
        tokenizer_decode=lambda ids: str(generator.tokenizer.decode(ids)),
        self_reward_prompt_config=theirs.RewardConfig(prompt_template=rubric, parse_reward=score, auto_dedent=False),
        accelerate_kwargs={"cpu": work.device == "cpu"}, checkpoints_folder=str(folder / "checkpoints"),
    )  # fmt: skip


def online_dpo(work: Work, ledger: Ledger, folder: Path, train: bool) -> None:
    """Arm (e): TRL's OnlineDPO, which samples two candidates of each prompt, with the model as its own judge."""
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    from datasets import Dataset
    from trl.experimental.online_dpo import OnlineDPOConfig, OnlineDPOTrainer

    with ledger.stage("dpo"):
        generator = Generator(work, ledger)
        settings = OnlineDPOConfig(
            **trl_settings(work, folder), max_new_tokens=work.candidate_tokens,
            max_length=work.prompt_tokens + work.candidate_tokens, temperature=work.temperature, top_p=work.top_p, top_k=0,
        )  # fmt: skip
        trainer = OnlineDPOTrainer(
            model=generator.model, reward_funcs=partial(_judged, work, ledger, generator), args=settings,
            train_dataset=Dataset.from_list([{"prompt": text} for text in work.texts()]), processing_class=generator.tokenizer,
        )  # fmt: skip
        ledger.book(trainer, "_generate", "candidates")
        ledger.sampled["candidates"] = work.prompts * work.n * work.candidate_tokens
        trainer.train()


def _judged(
    work: Work, ledger: Ledger, generator: Generator, prompts: list[str], completions: list[str], **_: object
) -> list[float]:
    """The mean score of K judgments by the model in training."""
    with ledger.stage("judging"):
        questions = list(judge_prompts(work, prompts, [[completion] for completion in completions]))
        judgments = generator.sample(questions, work.k, work.judgment_tokens, work.chunks[1])
        return [mean([score(text) for text in texts]) for texts in judgments]
