"""The two engines a loop needs, as protocols. A user's own is named by import path; `fake` is one of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol

from selfreward.config import DPOConfig, SFTConfig
from selfreward.records import Completion, Request

Advance = Callable[[int], None]
"""Called with how many more units of work are done. Raises `Stopped` where the run was asked to end."""


class Model(Protocol):
    """A language model that completes requests."""

    def batches(self, requests: Sequence[Request]) -> list[list[int]]:
        """How `requests` are split, as positions: a function of the requests alone, each position once."""

    def generate(self, batch: Sequence[Request]) -> Iterable[Completion]:
        """One completion for each request of one batch, in any order; the same batch gives the same completions."""

    def close(self) -> None:
        """Give the memory back."""


class Trainer(Protocol):
    """Fine-tunes a checkpoint. Work left in `work` by a killed call is gone on from; times go nowhere."""

    def sft(
        self, examples: Sequence[tuple[str, str]], start: Path, config: SFTConfig, seed: int, work: Path, advance: Advance
    ) -> Path:
        """Train on (prompt, response); returns the folder with model and `metrics.jsonl`."""

    def dpo(
        self, pairs: Sequence[tuple[str, str, str]], start: Path, reference: Path, config: DPOConfig, seed: int, work: Path,
        advance: Advance,
    ) -> Path:  # fmt: skip
        """Train on (prompt, chosen, rejected); returns the folder with model and `metrics.jsonl`."""
