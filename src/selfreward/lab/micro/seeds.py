"""Make the seed files of a micro world: `python -m selfreward.lab.micro.seeds OUT [micro-hard]`. They stand for people's work.

IFT answers come from annotators with habits of their own, EFT judgments from readers who miss nothing, or in `micro-hard` from
readers who overlook faults; rankings are right in both. The files were made once, from one seed, and are shipped; after M1 the
loop reads nothing from here.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

from selfreward.lab.command import obeyed
from selfreward.lab.micro import hard
from selfreward.lab.micro.base import JUDGE
from selfreward.lab.micro.truth import check_criteria, judge
from selfreward.lab.micro.world import (
    ANNOTATORS,
    CAREFUL,
    CARELESS,
    TASK_KINDS,
    WEB,
    Habits,
    Task,
    TaskKind,
    sample_task,
    with_slips,
    write_answer,
)
from selfreward.records import Anchor, Example, Prompt, Ranking, Record, write_whole

IFT, PROMPTS, RANKINGS, RANKED, ANCHORS = 200, 240, 120, 4, 40
SOURCE = "micro world, standing for people"


@dataclass(frozen=True)
class Kind:
    """A kind of world: its tasks, its criteria, and the way its people answer and judge."""

    seed: int
    eft: int
    """Number of answers that people judged."""
    sample: Callable[[random.Random, TaskKind], Task]
    check: Callable[[Task, Sequence[str]], dict[str, bool]]
    judge: Callable[[Task, Sequence[str], random.Random], str]
    annotators: Habits
    """The habits of those whose answers are IFT."""
    authors: tuple[Habits, ...]
    """The habits of those whose answers are judged and ranked."""
    slips: float
    """Share of these answers that also have slips."""


MIXED = (WEB, ANNOTATORS, CAREFUL, CARELESS)
EASY = Kind(20240118, 800, sample_task, check_criteria, lambda task, words, _: judge(task, words), ANNOTATORS, MIXED, 0.4)
HARD = Kind(20240120, 112, hard.sample_task, hard.check_criteria, hard.judge_as_people, hard.ANNOTATORS, (WEB, ANNOTATORS), 0.25)
KINDS = {"micro": EASY, "micro-hard": HARD}


class World:
    """Makes tasks, of each kind in turn, without repetition."""

    def __init__(self, kind: Kind) -> None:
        self.kind, self.rng, self._seen = kind, random.Random(kind.seed), set[str]()

    def tasks(self, count: int, kinds: Sequence[TaskKind] = TASK_KINDS) -> list[Task]:
        """`count` new tasks of `kinds`."""
        tasks: list[Task] = []
        for kind in islice(cycle(kinds), count):
            task = self.kind.sample(self.rng, kind)
            while task.text() in self._seen:
                task = self.kind.sample(self.rng, kind)
            self._seen.add(task.text())
            tasks.append(task)
        return tasks

    def answer(self, task: Task) -> str:
        """An answer by an author with habits or, in the easy world, without."""
        words = write_answer(task, self.rng.choice(self.kind.authors), self.rng)
        return " ".join(with_slips(words, self.rng) if self.rng.random() < self.kind.slips else words)

    def ranking(self, task: Task) -> Ranking:
        """Distinct answers, and people's ranks of them by the truth; not all ranks are equal."""
        while True:
            answers = [self.answer(task) for _ in range(RANKED)]
            scores = [sum(self.kind.check(task, answer.split()).values()) for answer in answers]
            if len(set(answers)) == RANKED and len(set(scores)) > 1:
                best_first = sorted(set(scores), reverse=True)
                ranks = tuple(best_first.index(score) for score in scores)
                return Ranking(prompt=task.text(), responses=tuple(answers), ranks=ranks)

    def judged(self, task: Task) -> Example:
        """An answer, and a person's judgment of it."""
        answer = self.answer(task)
        prompt = JUDGE.format(prompt=task.text(), response=answer)
        return Example(prompt=prompt, response=self.kind.judge(task, answer.split(), self.rng), kind="eft", source=SOURCE)

    def answered(self, task: Task) -> Example:
        """A task, and an annotator's answer to it."""
        response = " ".join(write_answer(task, self.kind.annotators, self.rng))
        return Example(prompt=task.text(), response=response, kind="ift", source=SOURCE)


def make(out: Path, kind: Kind = EASY) -> None:
    """Write ift, eft, heldout_prompts, heldout_rankings and anchors (JSONL) to `out`."""
    world = World(kind)
    files: dict[str, Sequence[Record]] = {
        "ift": [world.answered(task) for task in world.tasks(IFT)],
        "eft": [world.judged(task) for task in world.tasks(kind.eft)],
        "heldout_prompts": [Prompt(text=task.text(), source="seed") for task in world.tasks(PROMPTS)],
        "heldout_rankings": [world.ranking(task) for task in world.tasks(RANKINGS)],
        # Of the kinds of task, the one with a single right answer.
        "anchors": [anchor(task) for task in world.tasks(ANCHORS, ("sort",))],
    }
    out.mkdir(parents=True, exist_ok=True)
    for name, records in files.items():
        write_whole(out / f"{name}.jsonl", "".join(record.model_dump_json() + "\n" for record in records))


def anchor(task: Task) -> Anchor:
    """A task of words to sort, and its one right answer."""
    return Anchor(prompt=task.text(), answers=(" ".join(sorted(task.given, reverse=task.descending)),))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("world", choices=KINDS, nargs="?", default="micro")
    arguments = parser.parse_args()
    make(arguments.out, KINDS[arguments.world])


if __name__ == "__main__":
    obeyed(main)
