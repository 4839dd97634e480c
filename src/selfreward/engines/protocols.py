"""Two protocols: a model that completes requests, and a trainer; and the batches that engines answer in."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from selfreward.errors import OutOfMemory, SelfRewardError, amount, raised
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
        """One completion for each request of one batch, in any order; the same batch gives the same completions.

        Raises `OutOfMemory` for a batch of more than one request that the device cannot hold.
        """

    def close(self) -> None:
        """Give the memory back."""


@runtime_checkable
class Streams(Protocol):
    """A model that is asked many batches at once, and gives their completions in any order as they come."""

    streams: bool


@runtime_checkable
class Spreads(Protocol):
    """A model that answers batches by number in several places at once."""

    def spread(self, asked: Mapping[int, Sequence[Request]]) -> Iterable[tuple[int, Iterable[Completion]]]:
        """The completions of each batch, as soon as it is whole."""


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
    """One line of a journal: the completions of one planned batch."""

    identity = ("number", "completions")
    number: int
    completions: tuple[Completion, ...]


def name_of(engine: object) -> str:
    """An engine as its errors name it: `mine:Terse`."""
    return f"{type(engine).__module__}:{type(engine).__qualname__}"


def plan_batches(engine: Model, requests: Sequence[Request]) -> list[list[int]]:
    """The batches that `engine` splits `requests` into. Raises `SelfRewardError` where one is in none of them or in two."""
    now = f"Let batches give lists of positions, each from 0 to {len(requests) - 1:,} once"
    try:
        planned = [[int(at) for at in batch] for batch in engine.batches(requests)]
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
            told = f"batches split {amount(len(requests), 'request')}, and position {places[0]} is {what}"
            raise SelfRewardError(told, name_of(engine), now)
    return planned


def answers(engine: Model, asked: Mapping[int, Sequence[Request]]) -> Iterator[Batch]:
    """The batches in `asked`, each as soon as it is whole. Raises `OutOfMemory` with the number of one that is too large.

    Raises `SelfRewardError` where an engine leaves a request without an answer, or answers one twice, or one that it was not
    asked.
    """
    done: set[int] = set()
    try:
        for batch in _batches(engine, asked):
            _assert_whole(engine, batch.completions, () if batch.number in done else asked.get(batch.number, ()))
            done.add(batch.number)
            yield batch
    except (SelfRewardError, OutOfMemory, OSError, MemoryError):
        raise
    except Exception as error:  # whatever may go wrong in another's code; in ours it is a bug, which keeps its traceback
        if type(engine).__module__.startswith("selfreward."):
            raise
        raise SelfRewardError(
            f"generate raised {raised(error)}", name_of(engine), "Put it right, then run the same command"
        ) from error
    if left := [request for number in asked.keys() - done for request in asked[number]]:
        _assert_whole(engine, (), left)


def _assert_whole(engine: Model, came: Sequence[Completion], asked: Sequence[Request]) -> None:
    """Raises `SelfRewardError` where `came` is not one completion of each request in `asked`."""
    times, wanted = Counter(completion.request_id for completion in came), Counter(request.id for request in asked)
    missing, extra = wanted - times, times - wanted
    if missing:
        what = f"left {missing.total():,} of {amount(len(asked), 'request')} without an answer"
    elif again := extra.keys() & wanted.keys():
        what = f"answered {len(again):,} of {amount(len(asked), 'request')} more than once"
    elif extra:
        what = f"answered {amount(extra.total(), 'request')} that it was not asked"
    else:
        return
    raise SelfRewardError(what, name_of(engine), "Let generate give one Completion for each request of its batch, with its id")


def _batches(engine: Model, asked: Mapping[int, Sequence[Request]]) -> Iterator[Batch]:
    if isinstance(engine, Spreads):
        yield from (_batch(engine, number, completions) for number, completions in engine.spread(asked))
        return
    if not (isinstance(engine, Streams) and engine.streams):
        for number, requests in asked.items():
            try:
                yield _batch(engine, number, engine.generate(requests))
            except OutOfMemory as error:
                error.batch = number
                raise
        return
    owing: dict[str, list[int]] = defaultdict(list)
    for number, requests in asked.items():
        for request in requests:  # the same request may be in several batches, as where two rivals answer alike
            owing[request.id].append(number)
    came: dict[int, list[Completion]] = defaultdict(list)
    for completion in _each(engine, engine.generate([request for requests in asked.values() for request in requests])):
        if not owing.get(completion.request_id):
            _assert_whole(engine, [completion], ())
        number = owing[completion.request_id].pop(0)
        came[number].append(completion)
        if len(came[number]) == len(asked[number]):
            yield Batch(number=number, completions=tuple(came.pop(number)))
    for number, some in came.items():
        _assert_whole(engine, some, asked[number])


def _batch(engine: object, number: int, completions: Iterable[Completion]) -> Batch:
    return Batch(number=number, completions=tuple(_each(engine, completions)))


def _each(engine: object, came: Any) -> Iterator[Completion]:
    """The completions that an engine gives. Raises `SelfRewardError` where they are something else."""
    now = "Let generate yield a Completion for each request of its batch"
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
    engine.prepare(requests)
    done: dict[str, Completion] = {}
    while owed:
        try:
            for batch in answers(engine, dict(owed)):
                done |= {completion.request_id: completion for completion in batch.completions}
                del owed[batch.number]
        except OutOfMemory as error:
            large, free = owed[error.batch], 1 + max(owed)
            half = (len(large) + 1) // 2
            owed |= {error.batch: large[:half], free: large[half:]}
    return done
