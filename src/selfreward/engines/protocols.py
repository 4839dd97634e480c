"""Two protocols: a model that completes requests, and a trainer; and the batches that engines answer in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, runtime_checkable

from selfreward.errors import OutOfMemory
from selfreward.recipe import DPOConfig, SFTConfig
from selfreward.records import Asked, Completion, Contrast, Identified, Request

Advance = Callable[[int], None]
"""Called with how many more units of work are done. Raises `Stopped` where the run was asked to end."""


class Model(Protocol):
    """A language model that completes requests."""

    def batches(self, requests: Sequence[Request]) -> list[list[int]]:
        """How `requests` are split, as positions: a function of the requests alone, each position once."""

    def prepare(self, requests: Sequence[Request]) -> None:
        """Told of all of a stage's requests before its first batch, so that what they share may be computed once."""

    def generate(self, batch: Sequence[Request]) -> Iterable[Completion]:
        """One completion for each request of one batch, in any order, each as soon as it is there; the same batch gives the same.

        Raises `OutOfMemory` for a batch of more than one request that the device cannot hold.
        """

    def close(self) -> None:
        """Give the memory back."""


@runtime_checkable
class Streams(Protocol):
    """A model that is asked many batches at once, and gives their completions in any order as they come.

    A completion depends on its own request: of a batch that was answered in part, only the others are asked again.
    """

    @property
    def streams(self) -> bool:
        """Whether it is such a model."""


@runtime_checkable
class Tells(Protocol):
    """A model that says, while it answers, how many tokens it has drawn since it last said so."""

    tell: Advance
    """Called at least once a second, as far as its arithmetic allows."""


@runtime_checkable
class Spreads(Protocol):
    """A model that answers batches by number in several places at once."""

    def spread(self, asked: Mapping[int, Sequence[Request]]) -> Iterable[tuple[int, Completion]]:
        """(number of its batch, completion) as they come, perhaps some of them twice."""


@runtime_checkable
class Unshared(Protocol):
    """A model that says what it computes or holds more often than it need."""

    @property
    def unshared(self) -> str:
        """A line; empty where there is nothing to say."""


class Trainer(Protocol):
    """Fine-tunes a checkpoint. Work left in `work` by a killed call is gone on from; times go nowhere."""

    def sft(
        self, examples: Sequence[tuple[Asked, str]], start: Path, config: SFTConfig, seed: int, work: Path, advance: Advance
    ) -> Path:
        """Train on (prompt, response); returns the folder with model and `metrics.jsonl`."""

    def dpo(
        self, pairs: Sequence[Contrast], start: Path, reference: Path, config: DPOConfig, seed: int, work: Path,
        advance: Advance, every: int | None = None,
    ) -> Path:  # fmt: skip
        """Train on (prompt, chosen, rejected), answers as text or as sampled ids; returns as `sft` does.

        Beside it, in `work/step-N`, lie such folders of the model as it was after every N-th step, the last step excepted.
        """

    def fits(self, pairs: Sequence[Contrast], start: Path) -> list[bool]:
        """Which pairs the model in `start` can read whole."""


def unanswered(request: Request, prompt_tokens: int = 0, reason: str | None = None) -> Completion:
    """A request that its engine cannot do: an error that the request is, and never an answer to something else."""
    return Completion(
        request_id=request.id, text="", finish="error", prompt_tokens=prompt_tokens, completion_tokens=0, reason=reason
    )


def likeliest(tokens: Iterable[tuple[str, float]]) -> dict[str, float]:
    """`Completion.first_token` of (text, log-probability): tokens that read the same are one, as likely as they are together.

    Whoever reads them goes by the text, and a tokenizer may spell one text in two ways. What cannot be drawn is left out.
    """
    import numpy as np

    found: dict[str, float] = {}
    for text, logprob in tokens:
        if np.isfinite(logprob):
            found[text] = float(np.logaddexp(found.get(text, -np.inf), logprob))
    return found


class Batch(Identified):
    """One line of a journal: completions of one planned batch, all of them or those that came together."""

    identity = ("number", "completions")
    number: int
    completions: tuple[Completion, ...]


def untold(tokens: int) -> None:
    """The `Tells.tell` of a model that nobody listens to."""


@contextmanager
def heard(engine: Model, tell: Advance) -> Iterator[None]:
    """Have `engine` tell its tokens to `tell` meanwhile, if it is one that does."""
    if not isinstance(engine, Tells):
        yield
        return
    engine.tell = tell
    try:
        yield
    finally:
        engine.tell = untold


def streams(engine: Model) -> bool:
    """Whether a completion of `engine` depends on its own request alone."""
    return isinstance(engine, Streams) and engine.streams


def answers(engine: Model, asked: Mapping[int, Sequence[Request]]) -> Iterator[tuple[int, Completion]]:
    """(number of its batch, completion) of all batches in `asked`, each as soon as it is there, perhaps some of them twice.

    Raises `OutOfMemory` with the number of a batch that is too large.
    """
    if isinstance(engine, Spreads):
        yield from engine.spread(asked)
        return
    if streams(engine):
        number_of = {request.id: number for number, requests in asked.items() for request in requests}
        together = [request for requests in asked.values() for request in requests]
        yield from ((number_of[completion.request_id], completion) for completion in engine.generate(together))
        return
    for number, requests in asked.items():
        try:
            yield from ((number, completion) for completion in engine.generate(requests))
        except OutOfMemory as error:
            error.batch = number
            raise


def completions(engine: Model, requests: Sequence[Request]) -> dict[str, Completion]:
    """A completion of each request, by request id; a batch that is too large is asked in halves.

    Runs keep a journal instead (`rundir.journal`): this is for requests that nothing resumes.
    """
    if not requests:
        return {}
    owed = {number: [requests[at] for at in batch] for number, batch in enumerate(engine.batches(requests))}
    engine.prepare(requests)
    done: dict[str, Completion] = {}
    while owed:
        try:
            for _, completion in answers(engine, owed):
                done[completion.request_id] = completion
            return done
        except OutOfMemory as error:
            large, free = owed[error.batch], 1 + max(owed)
            half = (len(large) + 1) // 2
            whole = {number for number, batch in owed.items() if all(request.id in done for request in batch)} - {error.batch}
            owed = {number: batch for number, batch in owed.items() if number not in whole}
            owed |= {error.batch: large[:half], free: large[half:]}
    return done
