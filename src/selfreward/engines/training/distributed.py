"""A training shared by several processes, under Ray Train or started on this machine, seen from where the run is.

A process that dies ends the others; all are started again and go on from the last checkpoint marked whole.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

from selfreward.engines.machine import connect, gpus_each
from selfreward.engines.protocols import Advance
from selfreward.engines.training.job import Desk, Job
from selfreward.errors import SelfRewardError, Stopped
from selfreward.recipe import ClusterConfig, DPOConfig, SFTConfig, TrainerConfig
from selfreward.records import Asked, Contrast, write_whole

EVERY = 0.2
"""Seconds between two looks at how far a training is."""


class DistributedTrainer:
    """Trains in `cluster.trainers` processes; what they do is `worker.work`."""

    def __init__(self, keep_checkpoints: bool, config: TrainerConfig, cluster: ClusterConfig) -> None:
        self._keep, self._config, self._cluster = keep_checkpoints, config, cluster

    def fits(self, pairs: Sequence[Contrast], start: Path) -> list[bool]:
        """For each pair, True if the model in `start` can read the whole pair; only the tokenizer is loaded."""
        from selfreward.engines.training.trl import TRLTrainer

        return TRLTrainer(self._keep, self._config).fits(pairs, start)

    def sft(
        self, examples: Sequence[tuple[Asked, str]], start: Path, config: SFTConfig, seed: int, work: Path, advance: Advance
    ) -> Path:
        """Supervised fine-tuning."""
        return self._train(advance, start, work, method="sft", examples=examples, sft=config, seed=seed)

    def dpo(
        self, pairs: Sequence[Contrast], start: Path, reference: Path, config: DPOConfig, seed: int, work: Path,
        advance: Advance, every: int | None = None, rehearsed: Sequence[tuple[Asked, str]] = (),
    ) -> Path:  # fmt: skip
        """DPO against `reference`."""
        call = {"method": "dpo", "examples": pairs, "reference": reference.absolute(), "dpo": config, "seed": seed}
        call["rehearsed"] = rehearsed
        return self._train(advance, start, work, **call, every=every)

    def _train(self, advance: Advance, start: Path, work: Path, **call: Any) -> Path:
        """Run a training job with these arguments in all processes; returns the folder that holds the result."""
        job = Job(
            **call, start=start.absolute(), work=work.absolute(), keep_checkpoints=self._keep, trainer=self._config,
            cluster=self._cluster,
        )  # fmt: skip
        desk = job.desk
        desk.clear()
        write_whole(desk.job, job.model_dump_json())
        with _watched(desk, advance):
            {"ray": _under_ray, "local": _on_this_machine}[self._cluster.type](job)
        if desk.error:
            raise desk.error
        shutil.rmtree(desk.folder)
        desk.lock.unlink()
        return work / "made"


@contextmanager
def _watched(desk: Desk, advance: Advance) -> Iterator[None]:
    """Report the training's progress to `advance`, and the wish to stop to the training; raises `Stopped` when it has stopped."""
    ended, reported, stops = Event(), 0, list[Stopped]()

    def tell() -> None:
        nonlocal reported
        done = desk.done
        if done > reported and not stops:
            try:
                advance(done - reported)
            except Stopped as stop:
                stops.append(stop)
                desk.stop.touch()
            reported = done

    def watch() -> None:
        while not ended.wait(EVERY):
            tell()

    watcher = Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    except SelfRewardError:
        advance(0)  # raises where all processes, and not the run alone, were asked to end
        raise
    finally:
        ended.set()
        watcher.join()
    tell()
    if stops and desk.error is None:
        raise stops[0]


def _under_ray(job: Job) -> None:
    ray, cluster = connect(job.cluster), job.cluster
    from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchConfig, TorchTrainer

    from selfreward.engines.training.worker import work

    gpus = gpus_each(ray, cluster, cluster.trainers, None)
    trainer = TorchTrainer(
        work, train_loop_config={"job": str(job.desk.job)},
        torch_config=TorchConfig(backend="nccl" if gpus else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=cluster.trainers, use_gpu=bool(gpus), resources_per_worker={"CPU": cluster.threads, "GPU": gpus}
        ),
        run_config=RunConfig(
            name="training", storage_path=str(job.desk.ray), failure_config=FailureConfig(max_failures=cluster.retries)
        ),
    )  # fmt: skip
    interrupt = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit()
    except TrainingFailedError as error:
        if job.desk.error is None:
            raise _died(cluster, "Ray's logs (`ray logs`, or /tmp/ray/session_latest/logs)") from error
    finally:
        signal.signal(signal.SIGINT, interrupt)  # Ray put its own, which ends with this training


def _on_this_machine(job: Job) -> None:
    """Train on this machine; each attempt has a new launcher, because a launcher's own retry may wait for the dead."""
    for _ in range(job.cluster.retries + 1):
        if not _launched(job) or job.desk.error:
            return
    raise _died(job.cluster, str(job.desk.log))


def _launched(job: Job) -> int:
    """Run `accelerate launch`, without the settings that `accelerate config` may have left at home; returns its exit code."""
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(job.cluster.trainers),
        "--max-restarts", "0", "-m", "selfreward.engines.training.worker", str(job.desk.job),
    ]  # fmt: skip
    with job.desk.log.open("a") as log:
        # Their standard input ends when this process does, however it ends, and they end with it.
        launched = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True)
        try:
            return launched.wait()
        finally:
            launched.terminate()


def _died(cluster: ClusterConfig, log: str) -> SelfRewardError:
    what = f"a process of the training died, and so did the {cluster.retries} attempts after it"
    return SelfRewardError(what, log, "Look there for the cause; the same command goes on from the last whole checkpoint")
