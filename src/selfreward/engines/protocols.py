"""Two protocols: a model that completes requests, and a trainer; and the batches that engines answer in."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import index
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from selfreward.engines.blame import answering_for, name_of
from selfreward.errors import OutOfMemory, SelfRewardError, amount, raised
from selfreward.recipe import DPOConfig, SFTConfig
from selfreward.records import Asked, Completion, Contrast, Identified, Request

OPTIMIZER, OPTIMIZER_BEFORE = "optimizer.safetensors", "optimizer_before.safetensors"
"""Files in a training's folder: the optimizer's state that it ends with, and that of the training before it."""
Advance = Callable[[int], None]
"""Called with how many more units of work are done. Raises `Stopped` where the run was asked to end."""


class Model(Protocol):
    """A language model that completes requests."""

    def batches(self, requests: Sequence[Request]) -> list[list[int]]:
        """Split `requests` into batches of positions: a function of the requests alone, with each position once."""

    def prepare(self, requests: Sequence[Request]) -> None:
        """Learn of all requests of a stage before its first batch, so that their common beginning is computed once."""

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
        """True if the model is one that streams."""


@runtime_checkable
class Tells(Protocol):
    """A model that says, while it answers, how many tokens it has drawn since it last said so."""

    tell: Advance
    """Called at least once a second, as far as its arithmetic allows."""


@runtime_checkable
class Spreads(Protocol):
    """A model that answers batches by number in several places at once."""

    def spread(self, numbered: Mapping[int, Sequence[Request]]) -> Iterable[tuple[int, Completion]]:
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
        advance: Advance, every: int | None = None, rehearsed: Sequence[tuple[Asked, str]] = (),
    ) -> Path:  # fmt: skip
        """Train on (prompt, chosen, rejected), answers as text or as sampled ids; returns as `sft` does.

        Beside it, in `work/step-N`, lie such folders of the model as it was after every N-th step, the last step excepted.
        With `config.optimizer = "carried"` it begins with the optimizer's state in `work/OPTIMIZER_BEFORE`, where there is such
        a file, and leaves its own in `work/OPTIMIZER`. Every step also learns `config.rehearse` of the (prompt, response)
        `rehearsed`, which is not given where there are none.
        """

    def fits(self, pairs: Sequence[Contrast], start: Path) -> list[bool]:
        """For each pair, True if the model in `start` can read the whole pair."""


def unanswered(request: Request, prompt_tokens: int = 0, reason: str | None = None) -> Completion:
    """The error for a request that its engine cannot do; the engine never answers something else instead."""
    return Completion(
        request_id=request.id, text="", finish="error", prompt_tokens=prompt_tokens, completion_tokens=0, reason=reason
    )


def likeliest(tokens: Iterable[tuple[str, float]]) -> dict[str, float]:
    """`Completion.first_token` of (text, log-probability): tokens that read the same are one, as likely as they are together.

    Whoever reads them goes by the text, and a tokenizer may spell one text in two ways. What cannot be drawn is left out.
    """
    import numpy as np

    likely: dict[str, float] = {}
    for text, logprob in tokens:
        if np.isfinite(logprob):
            likely[text] = float(np.logaddexp(likely.get(text, -np.inf), logprob))
    return likely


class Batch(Identified):
    """One line of a journal: completions of one planned batch, all of them or those that came together."""

    identity = ("number", "completions")
    number: int
    completions: tuple[Completion, ...]


def untold(tokens: int) -> None:
    """The default of `Tells.tell`, where nobody listens."""


@contextmanager
def heard(engine: Model, tell: Advance) -> Iterator[None]:
    """Have `engine` report its tokens to `tell` inside this context, if it is an engine that reports tokens."""
    if not isinstance(engine, Tells):
        yield
        return
    engine.tell = tell
    try:
        yield
    finally:
        engine.tell = untold


def trouble_of(engine: Model) -> str:
    """The reason why no answer comes from `engine`, in words; empty where it knows of none, or tells none."""
    return str(getattr(engine, "trouble", ""))


def streams(engine: Model) -> bool:
    """True if a completion of `engine` depends on its own request alone."""
    return isinstance(engine, Streams) and engine.streams


def plan_batches(engine: Model, requests: Sequence[Request]) -> list[list[int]]:
    """Split `requests` into the engine's batches. Raises `SelfRewardError` where a request is in no batch or in two."""
    now = f"Make batches return lists of positions, each from 0 to {len(requests) - 1:,} once"
    with answering_for(engine, "batches"):
        given = engine.batches(requests)
        try:
            planned = [[index(at) for at in batch] for batch in given]
        except TypeError as error:
            raise SelfRewardError(f"batches gave no lists of positions, {raised(error)}", name_of(engine), now) from error
    count = Counter(at for batch in planned for at in batch)
    wrong = {
        "missing": [at for at in range(len(requests)) if at not in count],
        "there more than once": [at for at, times in count.items() if times > 1],
        "of no request": [at for at in count if not 0 <= at < len(requests)],
    }
    for what, places in wrong.items():
        if places:
            what_is_wrong = f"batches split {amount(len(requests), 'request')}, and position {places[0]} is {what}"
            raise SelfRewardError(what_is_wrong, name_of(engine), now)
    return planned


ONE_EACH = "Make generate yield one Completion for each request of its batch, with its id"


def answers(engine: Model, numbered: Mapping[int, Sequence[Request]]) -> Iterator[tuple[int, Completion]]:
    """(number of its batch, completion) of all batches in `numbered`, each as soon as it is there, perhaps some of them twice.

    Raises `OutOfMemory` with the number of a batch that is too large, and `SelfRewardError` where an engine leaves a request
    without an answer, or answers one twice, or one that it was not asked.
    """
    came: dict[int, set[str]] = {number: set() for number in numbered}
    with answering_for(engine, "generate"):
        for number, completion in _pieces(engine, numbered):
            came[number].add(completion.request_id)
            yield number, completion
    for number, batch in numbered.items():
        if left := sum(request.id not in came[number] for request in batch):
            raise SelfRewardError(_left(left, batch), name_of(engine), ONE_EACH)


def _left(missing: int, requests: Sequence[Request]) -> str:
    return f"left {missing:,} of {amount(len(requests), 'request')} without an answer"


def _assert_whole(engine: Model, completions: Sequence[Completion], requests: Sequence[Request]) -> None:
    """Raises `SelfRewardError` where `completions` is not one completion of each request in `requests`."""
    times, wanted = Counter(completion.request_id for completion in completions), Counter(request.id for request in requests)
    missing, extra = wanted - times, times - wanted
    if missing:
        what = _left(missing.total(), requests)
    elif again := extra.keys() & wanted.keys():
        what = f"answered {len(again):,} of {amount(len(requests), 'request')} more than once"
    elif extra:
        what = f"answered {amount(extra.total(), 'request')} that it was not asked"
    else:
        return
    raise SelfRewardError(what, name_of(engine), ONE_EACH)


def _pieces(engine: Model, numbered: Mapping[int, Sequence[Request]]) -> Iterator[tuple[int, Completion]]:
    if isinstance(engine, Spreads):
        yield from engine.spread(numbered)
    elif streams(engine):
        yield from _streamed(engine, numbered)
    else:
        for number, requests in numbered.items():
            try:
                yield from ((number, completion) for completion in _of_batch(engine, requests))
            except OutOfMemory as error:
                error.batch = number
                raise


def _of_batch(engine: Model, requests: Sequence[Request]) -> Iterator[Completion]:
    """Yield the engine's completions of one batch as they come; the end of the batch shows whether any is missing or extra."""
    wanted, came = Counter(request.id for request in requests), list[Completion]()
    for completion in _each(engine, engine.generate(requests)):
        came.append(completion)
        if wanted[completion.request_id] > 0:
            wanted[completion.request_id] -= 1
            yield completion
    _assert_whole(engine, came, requests)


def _streamed(engine: Model, numbered: Mapping[int, Sequence[Request]]) -> Iterator[tuple[int, Completion]]:
    owing: dict[str, list[int]] = defaultdict(list)
    for number, requests in numbered.items():
        for request in requests:  # the same request may be in several batches, as where two rivals answer alike
            owing[request.id].append(number)
    for completion in _each(engine, engine.generate([request for requests in numbered.values() for request in requests])):
        if not owing.get(completion.request_id):
            _assert_whole(engine, [completion], ())
        yield owing[completion.request_id].pop(0), completion


def _each(engine: object, came: Any) -> Iterator[Completion]:
    """The completions that an engine gives. Raises `SelfRewardError` where they are something else."""
    now = "Make generate yield a Completion for each request of its batch"
    if not isinstance(came, Iterable):
        raise SelfRewardError(f"generate gave {came!r:.80}, where completions are expected", name_of(engine), now)
    for completion in came:
        if not isinstance(completion, Completion):
            raise SelfRewardError(f"generate gave {completion!r:.80}, where a Completion is expected", name_of(engine), now)
        yield completion


def completions(engine: Model, requests: Sequence[Request]) -> dict[str, Completion]:
    """A completion of each request, by request id; a batch that is too large is asked in halves.

    Runs keep a journal instead (`rundir.journal`): this is for requests that nothing resumes.
    """
    if not requests:
        return {}
    owed = {number: [requests[at] for at in batch] for number, batch in enumerate(plan_batches(engine, requests))}
    with answering_for(engine, "prepare"):
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
