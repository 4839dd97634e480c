"""A training as a job for several processes, and the folder through which they and the run speak with each other.

It lies beside the checkpoints, which every process must see anyway.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from selfreward.errors import SelfRewardError
from selfreward.recipe import ClusterConfig, DPOConfig, SFTConfig, TrainerConfig
from selfreward.records import Answer, Asked, write_whole


class Job(BaseModel):
    """A call of a trainer, as a file that every process reads."""

    method: Literal["sft", "dpo"]
    examples: tuple[tuple[Asked | Answer | float, ...], ...]
    rehearsed: tuple[tuple[Asked, str], ...] = ()
    start: Path
    reference: Path | None = None
    sft: SFTConfig | None = None
    dpo: DPOConfig | None = None
    seed: int
    work: Path
    every: int | None = None
    keep_checkpoints: bool
    trainer: TrainerConfig
    cluster: ClusterConfig

    @property
    def desk(self) -> Desk:
        """The folder in which the processes and the run exchange messages."""
        return Desk(self.work / "job")


class Desk:
    """The folder through which a run and the processes of a training speak."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.job, self.steps, self.stop, self.failed = (folder / name for name in ("job.json", "steps", "stop", "failed.json"))
        self.log, self.ray, self.lock = folder / "log", folder / "ray", folder.with_name("lock")

    def clear(self) -> None:
        """Remove the messages of an earlier attempt."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)

    @property
    def done(self) -> int:
        """The number of finished steps, in this attempt or an earlier one."""
        return int(self.steps.read_text()) if self.steps.exists() else 0

    @done.setter
    def done(self, steps: int) -> None:
        partial = self.steps.with_suffix(".partial")
        partial.write_text(str(steps))
        partial.replace(self.steps)

    @property
    def error(self) -> SelfRewardError | None:
        """The error that the user has to put right before the training can go on."""
        return SelfRewardError(*json.loads(self.failed.read_text())) if self.failed.exists() else None

    @error.setter
    def error(self, error: SelfRewardError) -> None:
        write_whole(self.failed, json.dumps([error.what, error.where, error.now]))
