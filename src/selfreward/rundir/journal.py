"""The journal of an asking stage: what was answered, a batch a line, so that nothing is asked twice."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from selfreward.engines import Batch, Model, answers, plan_batches
from selfreward.errors import OutOfMemory, SelfRewardError
from selfreward.records import Completion, Request, Sampled, read_line, to_line
from selfreward.rundir.folder import Stage
from selfreward.rundir.progress import Progress

S = TypeVar("S", bound=Sampled)


def completed(
    stage: Stage, key: str, requests: Sequence[Request], load: Callable[[], Model], progress: Progress
) -> dict[str, Completion]:
    """A completion of each request, by request id: those in the stage's journal, and those that the engine still owes."""
    plan = stage.begun(key)
    if plan is None:
        plan = {"batches": plan_batches(load(), requests) if requests else []}
        stage.begin(key, **plan)
    batches: list[list[int]] = plan["batches"]
    done = read_journal(stage, [{requests[at].id for at in batch} for batch in batches])
    answered = sum(len(batches[number]) for number in done)
    with (
        progress.stage(str(stage), len(requests), "requests", answered) as advance,
        stage.journal.open("a", encoding="utf-8") as journal,
    ):
        if len(done) < len(batches):
            load().prepare(requests)
        while len(done) < len(batches):
            owed = {number: [requests[at] for at in batch] for number, batch in enumerate(batches) if number not in done}
            try:
                for batch in answers(load(), owed):
                    journal.write(to_line(batch) + "\n")
                    journal.flush()
                    os.fsync(journal.fileno())
                    done[batch.number] = batch
                    advance(len(batch.completions))
            except OutOfMemory as error:
                batches = halved(batches, error.batch)
                stage.begin(key, batches=batches)
    return {completion.request_id: completion for batch in done.values() for completion in batch.completions}


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


def counted(records: Iterable[S], outcomes: Counter[str]) -> Iterator[S]:
    """The records, none of them held; `outcomes` has counted their labels when all have gone by."""
    for record in records:
        outcomes[record.label] += 1
        yield record
