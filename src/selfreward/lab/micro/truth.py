"""The truth of the micro world: five criteria of an answer, checked by a program.

Measurement imports this; the loop never does (`tests/whole/test_layers.py` holds that).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

from selfreward.lab.micro.world import Task, read_task

CRITERIA = ("kind", "unique", "order", "words", "count")
"""Criteria worth one point each, in the judge's order."""


def check_criteria(task: Task, words: Sequence[str]) -> dict[str, bool]:
    """For each criterion, True if the answer `words` meets it. An answer without a word meets none."""
    if not words:
        return dict.fromkeys(CRITERIA, False)
    return {
        "kind": set(words) <= task.allowed,
        "unique": len(set(words)) == len(words),
        "order": not any(task.is_back(before, word) for before, word in pairwise(words)),
        "words": task.asked <= set(words),
        "count": len(words) == task.size,
    }


def mark(task: Task, words: Sequence[str]) -> list[list[str]]:
    """The marks of a reader who misses nothing, for each word: `wrong`, `again` or `asked`, `back`; none where it is fine."""
    return [_marks(task, words[:at], word) for at, word in enumerate(words)]


def walk(task: Task, words: Sequence[str]) -> str:
    """The notes of a judge without fault: on each word, and then on the whole, before any point is given."""
    return note(words, mark(task, words))


def note(words: Sequence[str], marks: Sequence[Sequence[str]]) -> str:
    """Notes on `words` by their `marks`."""
    return " ".join([*(" ".join((word, *(said or ["fine"]))) for word, said in zip(words, marks, strict=True)), "so"])


def judge(task: Task, words: Sequence[str], *, tally: bool = True, score: bool = True) -> str:
    """The judgment of a judge without fault; without `score` it has the points alone, without `tally` not even these."""
    return conclude(walk(task, words), check_criteria(task, words), tally=tally, score=score)


def conclude(notes: str, met: Mapping[str, bool], *, tally: bool = True, score: bool = True) -> str:
    """A judgment: the notes, the verdict on each criterion, and the score."""
    points, verdicts = 0, []
    for name, holds in met.items():
        points += holds
        verdicts.append(f"{name} {'yes' if holds else 'no'}" + f" {points}" * tally)
    return " ".join([notes, *verdicts]) + f" score: {points}" * score


def _marks(task: Task, before: Sequence[str], word: str) -> list[str]:
    marks = [] if word in task.allowed else ["wrong"]
    if word in before:
        marks.append("again")
    elif word in task.asked:
        marks.append("asked")
    if before and task.is_back(before[-1], word):
        marks.append("back")
    return marks


def verdict(prompt: str, response: str) -> tuple[str, dict[str, float]] | None:
    """(kind of task, points by criterion) of a response; None where `prompt` words no solvable task."""
    return points(prompt, response, check_criteria)


def points(
    prompt: str, response: str, check: Callable[[Task, Sequence[str]], dict[str, bool]]
) -> tuple[str, dict[str, float]] | None:
    """`verdict` by other criteria."""
    task = read_task(prompt)
    if task is None or not task.solvable:
        return None
    return task.kind, {name: float(met) for name, met in check(task, response.lower().split()).items()}
