"""SFT and DPO alone, by this build's trainer, an earlier one's, and TRL's trainers as people use them.

The functions for this build and the earlier one are the same text, run where one or the other is imported: `earlier.py` runs this
file too. So all that it asks of either is `TRLTrainer`, its settings, and the packages beside it.
"""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SORTS = {
    "ours": "selfreward", "earlier": "selfreward, an earlier build", "trl": "TRL", "packed": "TRL with packing",
}  # fmt: skip
OF_KIND = {"sft": ("ours", "earlier", "trl", "packed"), "dpo": ("ours", "earlier", "trl")}
PACKED = 512
"""Tokens of a packed row."""
WARM = {"rows": 2, "batch": 2, "prompt": (4, 6), "response": (4, 6)}
"""A training done once before one is measured: libraries load half of themselves at their first use."""


def examples(lesson: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """(prompt, response), or (prompt, chosen, rejected), of random words, so many tokens each as the lesson allows."""
    rng = random.Random(lesson["seed"])

    def text(bounds: tuple[int, int]) -> str:
        return " ".join(f"w{rng.randrange(3, lesson['vocabulary'])}" for _ in range(rng.randint(*bounds)))

    sides = 1 if lesson["kind"] == "sft" else 2
    return [(text(lesson["prompt"]), *(text(lesson["response"]) for _ in range(sides))) for _ in range(lesson["rows"])]


def spent(given: Mapping[str, Any]) -> dict[str, Any]:
    """Costs of one training. `given`: `sort`, one of `SORTS`; `lesson`, its fields; both after a short training of that sort."""
    run = _ours if given["sort"] in ("ours", "earlier") else _trl
    for lesson in ({**given["lesson"], **WARM}, given["lesson"]):
        with tempfile.TemporaryDirectory() as folder:
            rows = examples(lesson)
            since = time.perf_counter(), time.process_time()
            lines = run(lesson, rows, Path(folder), given["sort"] == "packed")
            took = time.perf_counter() - since[0], time.process_time() - since[1]
    losses = [line["loss"] for line in lines if "loss" in line]
    return {"wall": took[0], "cpu": took[1], "peak": _peak(), "steps": len(losses), "loss": losses[0]}


def _peak() -> int:
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


def _ours(lesson: Mapping[str, Any], rows: list[Any], folder: Path, packed: bool) -> list[dict[str, Any]]:
    """The trainer that runs use, with loading, checkpoints and the model that it writes."""
    from selfreward.engines.training.trl import TRLTrainer
    from selfreward.recipe import DPOConfig, SFTConfig, TrainerConfig

    trainer = TRLTrainer(config=TrainerConfig.model_validate({"dtype": lesson["dtype"]}))
    start, more = Path(lesson["model"]), (lesson["seed"], folder, lambda steps: None)
    fields = {"batch_size": lesson["batch"], "dropout": 0.0, "learning_rate": 1e-6, "end_learning_rate": 0.0}
    if lesson["kind"] == "sft":
        made = trainer.sft(rows, start, SFTConfig(epochs=1, **fields), *more)
    else:
        made = trainer.dpo(rows, start, start, DPOConfig(epochs=1, **fields), *more)
    return [json.loads(line) for line in (made / "metrics.jsonl").read_text().splitlines()]


def _trl(lesson: Mapping[str, Any], rows: list[Any], folder: Path, packed: bool) -> list[dict[str, Any]]:
    """TRL's trainer on the same tokens, loss on responses alone; nothing is written."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

    model = AutoModelForCausalLM.from_pretrained(lesson["model"], dtype=getattr(torch, "float32"))  # noqa: B009
    names = ("prompt", "completion") if lesson["kind"] == "sft" else ("prompt", "chosen", "rejected")
    data = Dataset.from_list([dict(zip(names, (row[0], *(f" {text}" for text in row[1:])), strict=True)) for row in rows])
    settings = {
        "output_dir": str(folder), "num_train_epochs": 1, "use_cpu": True, "bf16": lesson["dtype"] == "bfloat16",
        "per_device_train_batch_size": lesson["batch"], "gradient_checkpointing": False, "learning_rate": 1e-6,
        "report_to": "none", "save_strategy": "no", "disable_tqdm": True, "logging_steps": 1, "seed": lesson["seed"],
    }  # fmt: skip
    if lesson["kind"] == "sft":
        rows_of = {"packing": True, "max_length": PACKED, **_in_one_step(lesson)} if packed else {"max_length": None}
        kind, asked = SFTTrainer, SFTConfig(**{**settings, **rows_of}, completion_only_loss=True)
    else:
        kind, asked = DPOTrainer, DPOConfig(**settings, precompute_ref_log_probs=True, max_length=None)
    tokenizer = AutoTokenizer.from_pretrained(lesson["model"])
    tokenizer.chat_template = None
    trainer = kind(model=model, args=asked, train_dataset=data, processing_class=tokenizer)
    trainer.train()
    lines: list[dict[str, Any]] = trainer.state.log_history
    return lines


def _in_one_step(lesson: Mapping[str, Any]) -> dict[str, Any]:
    """Packed rows of about as many tokens as a step of whole examples has."""
    tokens = lesson["batch"] * (sum(lesson["prompt"]) + sum(lesson["response"]) + 2) / 2
    return {"per_device_train_batch_size": max(1, round(tokens / PACKED))}
