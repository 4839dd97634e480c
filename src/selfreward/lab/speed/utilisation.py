"""The utilisation of the machine's matrix arithmetic by SFT and DPO, through the trainer that runs use."""

from __future__ import annotations

import random
import tempfile
import time
from pathlib import Path
from typing import Any

from selfreward.engines import quiet_libraries
from selfreward.lab.speed.work import FIRST_WORD, Work
from selfreward.recipe import DPOConfig, LoRAConfig, SFTConfig, TrainerConfig

KINDS = ("sft", "dpo")
STEPS = 6
"""The first one, in which libraries and devices still make ready, is not counted."""
PROMPT, RESPONSE = 128, 896
"""Tokens; with the end of turn, a row is 1,025 long and none is padded."""


def utilisation(kind: str, work: Work, lora: bool) -> dict[str, Any]:
    """Tokens that a training reads after its first step, and the seconds that it took.

    A token is counted once, though DPO's reference reads it too; a pair has the tokens of both its rows.
    """
    from selfreward.engines.training.trl import TRLTrainer
    from selfreward.lab.speed.ledger import peak_memory

    quiet_libraries()
    adapters = LoRAConfig() if lora else None
    trainer = TRLTrainer(config=TrainerConfig.model_validate({"dtype": work.dtype, "lora": adapters}))
    ends: list[float] = []

    def advance(steps: int) -> None:
        if steps:
            _wait(work.device)
            ends.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        if kind == "sft":
            examples = [(_words(work, at, PROMPT), _words(work, -at, RESPONSE)) for at in range(work.batch * STEPS)]
            sft = SFTConfig(batch_size=work.batch, epochs=1, dropout=0.0)
            trainer.sft(examples, work.model, sft, work.seed, Path(folder), advance)
        else:
            texts = range(work.batch * STEPS)
            pairs = [(_words(work, at, PROMPT), _words(work, -at, RESPONSE), _words(work, f"{at}r", RESPONSE)) for at in texts]
            dpo = DPOConfig(batch_size=work.batch, dropout=0.0)
            trainer.dpo(pairs, work.model, work.model, dpo, work.seed, Path(folder), advance)
    rows = (STEPS - 1) * work.batch * (1 if kind == "sft" else 2)
    tokens = rows * (PROMPT + RESPONSE + 1)
    return {
        "kind": kind, "tokens": tokens, "seconds": ends[-1] - ends[0], "peak": peak_memory(), "device_peak": _peak(work.device),
    }  # fmt: skip


def share(parameters: int, tokens: int, seconds: float, multiply_adds: float) -> float:
    """Model-FLOP utilisation: 6 floating-point operations a parameter and token, over what the machine does in that time."""
    return 6 * parameters * tokens / (seconds * 2 * multiply_adds)


def _words(work: Work, seed: object, count: int) -> str:
    rng = random.Random(str(seed))
    return " ".join(f"w{rng.randrange(FIRST_WORD, work.vocabulary)}" for _ in range(count))


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize()


def _peak(device: str) -> int:
    import torch

    return torch.cuda.max_memory_allocated() if device.startswith("cuda") else 0
