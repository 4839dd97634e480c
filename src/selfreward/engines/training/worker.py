"""One of the processes that share a training: the same trainer as on one device, under torch.distributed."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from threading import Thread
from typing import cast

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list

from selfreward.engines.training.job import Desk, Job
from selfreward.engines.training.trl import TRLTrainer
from selfreward.errors import SelfRewardError, Stopped
from selfreward.records import Asked, Contrast, alone


def work(config: dict[str, str]) -> None:
    """Do the part of a training that is this process's. `config["job"]`: where the job is written down."""
    job = Job.model_validate_json(Path(config["job"]).read_text())
    torch.set_num_threads(job.cluster.threads)
    if job.desk.error:  # another process found out, and this one was started again
        return
    with _alone(job.desk):
        try:
            _train(job)
        except Stopped:
            return
        except SelfRewardError as error:
            job.desk.error = error


def _train(job: Job) -> None:
    trainer, advance = TRLTrainer(job.keep_checkpoints, job.trainer, job.cluster), Teller(job.desk)
    if job.sft:
        examples = cast("list[tuple[Asked, str]]", job.examples)
        trainer.sft(examples, job.start, job.sft, job.seed, job.work, advance)
    elif job.dpo and job.reference:
        pairs = cast("list[Contrast]", job.examples)
        trainer.dpo(pairs, job.start, job.reference, job.dpo, job.seed, job.work, advance, job.every, job.rehearsed)


class Teller:
    """Tells the run how far the training is, and all processes at the same step that they are to stop."""

    def __init__(self, desk: Desk) -> None:
        self._desk, self._done = desk, 0

    def __call__(self, units: int) -> None:
        """Count steps as done. Raises `Stopped` in every process, or in none."""
        self._done += units
        first = PartialState().is_main_process
        if first:
            self._desk.done = self._done
        [stop] = broadcast_object_list([first and self._desk.stop.exists()])
        if stop:
            raise Stopped("training")


@contextmanager
def _alone(desk: Desk) -> Iterator[None]:
    """Make the first process wait until no other process, such as one of a killed run, writes in the training's folder."""
    with alone(desk.lock) if int(os.environ["RANK"]) == 0 else nullcontext():
        yield


def _end_with_the_run() -> None:
    """Standard input is a pipe from the run: it ends when the run does, killed or not."""
    os.read(sys.stdin.fileno(), 1)
    os._exit(0)


if __name__ == "__main__":
    Thread(target=_end_with_the_run, daemon=True).start()
    work({"job": sys.argv[1]})
