"""Sampling fanned out over Ray actors, each with a whole model.

Whole planned batches go to whichever actor is free, so that a batch is composed, and its arithmetic goes, as in one process
with as many threads. An actor that dies is started again by Ray and asked the same again; what a stage's requests share is then
computed anew, because whatever is asked comes with a reference to them.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from typing import Any, TypeVar

from selfreward.engines.machine import connect, gpus_each
from selfreward.engines.protocols import Advance, Model, answers, heard, streams, untold
from selfreward.errors import OutOfMemory, SelfRewardError, first_line
from selfreward.recipe import ClusterConfig
from selfreward.records import Completion, Request

T = TypeVar("T")
LOAD = 2048
"""Batches that an engine which puts requests together itself is asked at once."""
LOOK = 1.0
"""Seconds between two tellings of tokens and answers of a batch that is not whole."""
Came = list[tuple[int, Completion]]
"""Pairs of (number of a batch, completion)."""


class Ear:
    """An actor that collects, during batches, the number of tokens drawn and the completions answered."""

    def __init__(self) -> None:
        self._told: tuple[int, Came] = (0, [])

    def tell(self, tokens: int, came: Came) -> None:
        """Add to the report."""
        self._told = (self._told[0] + tokens, [*self._told[1], *came])

    def take(self) -> tuple[int, Came]:
        """The report since the last call."""
        report, self._told = self._told, (0, [])
        return report


class Whisper:
    """Reports tokens and answers to an `Ear`, once a second at most, so that reports do not slow the sampling down."""

    def __init__(self, ear: Any) -> None:
        self._ear, self._tokens, self._came, self._last = ear, 0, Came(), time.monotonic()

    def tokens(self, tokens: int) -> None:
        """Count these tokens as drawn."""
        self._tokens += tokens
        if time.monotonic() - self._last >= LOOK:
            self._ear.tell.remote(self._tokens, self._came)
            self._tokens, self._came, self._last = 0, [], time.monotonic()

    def answer(self, number: int, completion: Completion) -> None:
        """Add one answer."""
        self._came.append((number, completion))


class Sampler:
    """An actor: one engine, opened with the first question, so that no error is one of starting an actor.

    Errors of ours come back as what they are, not raised, in the wrapping that Ray would put them in.
    """

    def __init__(self, open_engine: Callable[[], Model], threads: int, ear: Any) -> None:
        self._open, self._threads, self._ear, self._prepared = open_engine, threads, ear, ""

    @cached_property
    def engine(self) -> Model:
        """The engine, on as many threads as every other."""
        engine = self._open()
        if torch := sys.modules.get("torch"):  # else it needs none
            torch.set_num_threads(self._threads)
        return engine

    def streams(self) -> bool | Exception:
        """True if batches may be asked together."""
        return _told(lambda: streams(self.engine))

    def batches(self, requests: Sequence[Request]) -> list[list[int]] | Exception:
        """The engine's plan."""
        return _told(lambda: self.engine.batches(requests))

    def answer(self, numbered: Mapping[int, Sequence[Request]], stage: Sequence[Any]) -> Came | Exception:
        """The completions of batches; `stage`: in Ray's keeping, all requests of their stage, or nothing."""
        return _told(lambda: self._answer(numbered, stage))

    def _answer(self, numbered: Mapping[int, Sequence[Request]], stage: Sequence[Any]) -> Came:
        import ray

        if stage and stage[0].hex() != self._prepared:
            self.engine.prepare(ray.get(stage[0]))
            self._prepared = stage[0].hex()
        whisper, came = Whisper(self._ear), Came()
        with heard(self.engine, whisper.tokens):
            for number, completion in answers(self.engine, numbered):
                whisper.answer(number, completion)
                came.append((number, completion))
        return came


def _told(work: Callable[[], T]) -> T | Exception:
    try:
        return work()
    except (SelfRewardError, OutOfMemory) as error:
        return error


class RayModel:
    """A model held by `cluster.samplers` actors, each of which opens it with `open_engine`."""

    def __init__(self, open_engine: Callable[[], Model], cluster: ClusterConfig) -> None:
        self._ray, self._cluster = connect(cluster), cluster
        actor = self._ray.remote(Sampler).options(
            num_cpus=cluster.threads, num_gpus=gpus_each(self._ray, cluster, cluster.samplers, cluster.gpus),
            max_restarts=cluster.retries, max_task_retries=cluster.retries, scheduling_strategy="SPREAD",
        )  # fmt: skip
        self.tell: Advance = untold
        endless = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1}
        self._ear = self._ray.remote(Ear).options(**endless).remote()
        self._actors = [actor.remote(open_engine, cluster.threads, self._ear) for _ in range(cluster.samplers)]
        self._stage: list[Any] = []

    @cached_property
    def streams(self) -> bool:
        """True if batches may be asked together."""
        return bool(self._result(self._actors[0].streams.remote()))

    def batches(self, requests: Sequence[Request]) -> list[list[int]]:
        """The plan of a single engine; every actor's would be the same."""
        plan: list[list[int]] = self._result(self._actors[0].batches.remote(list(requests)))
        return plan

    def prepare(self, requests: Sequence[Request]) -> None:
        """Have every actor compute what `requests` share, each before its next batch."""
        self._stage = [self._ray.put(list(requests))]

    def generate(self, batch: Sequence[Request]) -> list[Completion]:
        """One batch."""
        return list({completion.request_id: completion for _, completion in self.spread({0: batch})}.values())

    def spread(self, numbered: Mapping[int, Sequence[Request]]) -> Iterator[tuple[int, Completion]]:
        """Completions as they come, perhaps twice. An error is raised when what is under way has come too: it is kept."""
        together = min(LOAD, -(-len(numbered) // len(self._actors))) if self.streams else 1
        free, left, failed = list(self._actors), iter(numbered.items()), list[Exception]()
        under_way: dict[Any, Any] = {}
        expected = {(number, request.id) for number, batch in numbered.items() for request in batch}
        while True:
            while free and not failed and (load := dict(islice(left, together))):
                actor = free.pop()
                under_way[actor.answer.remote(load, self._stage)] = actor
            if not under_way:
                break
            come, _ = self._ray.wait(list(under_way), timeout=LOOK)
            tokens, early = self._ray.get(self._ear.take.remote())
            yield from ((number, answer) for number, answer in early if (number, answer.request_id) in expected)  # not of before
            for each in come:
                free.append(under_way.pop(each))
                try:
                    yield from self._result(each)
                except (SelfRewardError, OutOfMemory) as error:
                    failed.append(error)
            self.tell(tokens)
        if failed:
            raise failed[0]

    def _result(self, reference: Any) -> Any:
        try:
            result = self._ray.get(reference)
        except self._ray.exceptions.RayActorError as error:
            times = self._cluster.retries
            what = f"a process that samples died, and so did the {times} started in its place ({first_line(error)})"
            now = "Nothing answered is lost: look into Ray's logs, for memory above all, then run the same command"
            raise SelfRewardError(what, "cluster", now) from error
        if isinstance(result, Exception):
            raise result
        return result

    def close(self) -> None:
        """End the actors, so that their devices are free."""
        for actor in (*self._actors, self._ear):
            self._ray.kill(actor)
