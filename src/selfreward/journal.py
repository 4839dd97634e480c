"""The journal of an asking stage: what was answered, a batch a line, so that nothing is asked twice."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from selfreward.backends import Model
from selfreward.errors import OutOfMemory, SelfRewardError
from selfreward.identified import Identified
from selfreward.jsonl import read_line
from selfreward.records import Completion, Request
from selfreward.rundir import Stage


class Batch(Identified):
    """One line of a journal: the completions of one planned batch."""

    identity = ("number", "completions")
    number: int
    completions: tuple[Completion, ...]


def answers(engine: Model, asked: Mapping[int, Sequence[Request]]) -> Iterator[Batch]:
    """The batches in `asked`, each as soon as it is whole. Raises `OutOfMemory` with the number of one that is too large."""
    if spread := getattr(engine, "spread", None):
        yield from (Batch(number=number, completions=tuple(completions)) for number, completions in spread(asked))
        return
    if not getattr(engine, "streams", False):
        for number, requests in asked.items():
            try:
                yield Batch(number=number, completions=tuple(engine.generate(requests)))
            except OutOfMemory as error:
                error.batch = number
                raise
        return
    number_of = {request.id: number for number, requests in asked.items() for request in requests}
    came: dict[int, list[Completion]] = defaultdict(list)
    for completion in engine.generate([request for requests in asked.values() for request in requests]):
        number = number_of[completion.request_id]
        came[number].append(completion)
        if len(came[number]) == len(asked[number]):
            yield Batch(number=number, completions=tuple(came.pop(number)))


def halved(batches: Sequence[list[int]], number: int) -> list[list[int]]:
    """The plan with one batch in two: the first half in its place, the second at the end, so that all others keep theirs."""
    batch = batches[number]
    half = (len(batch) + 1) // 2
    return [*batches[:number], batch[:half], *batches[number + 1 :], batch[half:]]


def read_journal(stage: Stage, planned: Sequence[set[str]]) -> dict[int, Batch]:
    """The answered batches; a torn last line is cut off and owed again, any other bad line is an error.

    `planned`: the ids of each batch's requests.
    """
    if not stage.journal.exists():
        return {}
    content = stage.journal.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with stage.journal.open("r+b") as journal:
            journal.truncate(whole)
    done = {}
    for at, line in enumerate(content[:whole].split(b"\n")[:-1], start=1):
        try:
            batch = read_line(line.decode(errors="replace"), Batch, f"{stage.journal}:{at}")
        except SelfRewardError as error:
            raise stage.damaged(stage.journal, f"line {at} is not what this program wrote ({error.what})") from error
        answered = {completion.request_id for completion in batch.completions}
        if batch.number >= len(planned) or answered != planned[batch.number]:
            raise stage.damaged(stage.journal, f"holds answers to other requests than these (line {at})")
        done[batch.number] = batch
    return done


def usage(completions: Iterable[Completion]) -> dict[str, int]:
    """Tokens read and written, together."""
    read, written = zip(*((c.prompt_tokens, c.completion_tokens) for c in completions), strict=True) if completions else ((), ())
    return {"prompt_tokens": sum(read), "completion_tokens": sum(written)}


def reasons(completions: Iterable[Completion]) -> dict[str, int]:
    """Why requests were not answered, where the engine says it, with how often; the commonest first."""
    return dict(Counter(completion.reason for completion in completions if completion.reason).most_common())
