"""The harder micro world, `micro-hard`: longer tasks, criteria that hang together, few judgments, and people who overlook faults.

Tasks are of the same three kinds, for the same base. An answer is in order only if no word of it is said twice, and of the
right count only if every word is of the kind: whoever overlooks one fault misjudges two criteria. People's judgments, from
which M1 learns to judge, overlook faults, and conclude from what they noticed. They notice most: where overlooking is likelier
than not, a judge's samples agree in their mistakes, and nothing but the truth could teach it better.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from selfreward.lab.micro import truth
from selfreward.lab.micro.world import KIND_OF, TASK_KINDS, WORDS, Habits, Task, TaskKind

OVERLOOKED, ASKED_OVERLOOKED = 0.15, 0.02
"""Probability that people overlook a fault, and that they overlook a word that was asked for."""
ANNOTATORS = Habits(unsorted=0.33, forgetful=0.22, off_kind=0.22, repeating=0.22, miscounting=0.22)
MISCOUNTED = 0.03
"""For every word of an answer, how likely people count one too many or too few."""


def sample_task(rng: random.Random, kind: TaskKind | None = None) -> Task:
    """A solvable task of `kind` or of any: a list of six, three or four of them asked for; four or five to sort; four to pick."""
    if kind is None:
        return sample_task(rng, rng.choice(TASK_KINDS))
    descending = rng.random() < 0.5
    if kind == "sort":
        size = rng.randint(4, 5)
        return Task(kind, size, descending, tuple(rng.sample(sorted(KIND_OF), size)))
    of = rng.choice(sorted(WORDS))
    if kind == "list":
        return Task(kind, 6, descending, tuple(rng.sample(WORDS[of], rng.randint(3, 4))), of)
    size = 4
    others = [word for word in KIND_OF if KIND_OF[word] != of]
    words = rng.sample(WORDS[of], size) + rng.sample(others, rng.randint(3, 4))
    rng.shuffle(words)
    return Task(kind, size, descending, tuple(words), of)


def check_criteria(task: Task, words: Sequence[str]) -> dict[str, bool]:
    """For each criterion, True if the answer `words` meets it."""
    return hang_together(truth.check_criteria(task, words))


def hang_together(met: Mapping[str, bool]) -> dict[str, bool]:
    """The criteria, where `order` needs `unique` and `count` needs `kind`."""
    return {**met, "order": met["order"] and met["unique"], "count": met["count"] and met["kind"]}


def verdict(prompt: str, response: str) -> tuple[str, dict[str, float]] | None:
    """(kind of task, points by criterion) of a response; None where `prompt` words no solvable task."""
    return truth.points(prompt, response, check_criteria)


def judge(task: Task, words: Sequence[str]) -> str:
    """The judgment of a judge without fault."""
    return truth.conclude(truth.walk(task, words), check_criteria(task, words))


def judge_as_people(task: Task, words: Sequence[str], rng: random.Random) -> str:
    """The judgment of a person: marks are overlooked, words miscounted, and the verdicts follow from what was noticed."""
    overlooked = {"asked": ASKED_OVERLOOKED}
    marks = [[mark for mark in said if rng.random() >= overlooked.get(mark, OVERLOOKED)] for said in truth.mark(task, words)]
    counted = len(words) + (rng.choice((-1, 1)) if rng.random() < MISCOUNTED * len(words) else 0)
    return truth.conclude(truth.note(words, marks), _conclusions(task, marks, counted))


def _conclusions(task: Task, marks: Sequence[Sequence[str]], counted: int) -> dict[str, bool]:
    noticed = [mark for said in marks for mark in said]
    if not marks:
        return dict.fromkeys(truth.CRITERIA, False)
    return hang_together(
        {
            "kind": "wrong" not in noticed,
            "unique": "again" not in noticed,
            "order": "back" not in noticed,
            "words": noticed.count("asked") == len(task.asked),
            "count": counted == task.size,
        }
    )
