"""Make the micro world's seed files: `python -m selfreward.lab.micro.seeds OUT`. They stand for people's work.

IFT answers come from annotators with habits of their own, EFT judgments from readers who miss nothing. The files were made
once, from one seed, and are shipped; after M1 the loop reads nothing from here.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path

from selfreward.lab.micro.base import JUDGE
from selfreward.lab.micro.truth import check_criteria, judge
from selfreward.lab.micro.world import (
    ANNOTATORS,
    CAREFUL,
    CARELESS,
    TASK_KINDS,
    WEB,
    Task,
    TaskKind,
    sample_task,
    with_slips,
    write_answer,
)
from selfreward.records import Anchor, Example, Prompt, Ranking, Record, write_whole

SEED = 20240118
IFT, EFT, PROMPTS, RANKINGS, RANKED, ANCHORS = 200, 800, 240, 120, 4, 40
SLIPS = 0.4
"""Share of the judged and ranked answers that also have slips."""
SOURCE = "micro world, standing for people"


class World:
    """Makes tasks, of each kind in turn, without repetition."""

    def __init__(self, rng: random.Random) -> None:
        self.rng, self._seen = rng, set[str]()

    def tasks(self, count: int, kinds: Sequence[TaskKind] = TASK_KINDS) -> list[Task]:
        """`count` new tasks of `kinds`."""
        tasks: list[Task] = []
        for kind in islice(cycle(kinds), count):
            task = sample_task(self.rng, kind)
            while task.text() in self._seen:
                task = sample_task(self.rng, kind)
            self._seen.add(task.text())
            tasks.append(task)
        return tasks

    def answer(self, task: Task) -> str:
        """An answer by an author with habits, or one without."""
        habits = self.rng.choice((WEB, ANNOTATORS, CAREFUL, CARELESS))
        words = write_answer(task, habits, self.rng)
        return " ".join(with_slips(words, self.rng) if self.rng.random() < SLIPS else words)

    def ranking(self, task: Task) -> Ranking:
        """Distinct answers, and people's ranks of them by the truth; not all ranks are equal."""
        while True:
            answers = [self.answer(task) for _ in range(RANKED)]
            scores = [sum(check_criteria(task, answer.split()).values()) for answer in answers]
            if len(set(answers)) == RANKED and len(set(scores)) > 1:
                best_first = sorted(set(scores), reverse=True)
                ranks = tuple(best_first.index(score) for score in scores)
                return Ranking(prompt=task.text(), responses=tuple(answers), ranks=ranks)


def make(out: Path) -> None:
    """Write ift, eft, heldout_prompts, heldout_rankings and anchors (JSONL) to `out`."""
    world = World(random.Random(SEED))
    ift = [
        Example(prompt=task.text(), response=" ".join(write_answer(task, ANNOTATORS, world.rng)), kind="ift", source=SOURCE)
        for task in world.tasks(IFT)
    ]
    eft = [judged(task, world.answer(task)) for task in world.tasks(EFT)]
    prompts = [Prompt(text=task.text(), source="seed") for task in world.tasks(PROMPTS)]
    rankings = [world.ranking(task) for task in world.tasks(RANKINGS)]
    anchors = [anchor(task) for task in world.tasks(ANCHORS, ("sort",))]  # of the kinds, the one with a single right answer
    out.mkdir(parents=True, exist_ok=True)
    files: dict[str, Sequence[Record]] = {
        "ift": ift, "eft": eft, "heldout_prompts": prompts, "heldout_rankings": rankings, "anchors": anchors,
    }  # fmt: skip
    for name, records in files.items():
        write_whole(out / f"{name}.jsonl", "".join(record.model_dump_json() + "\n" for record in records))


def judged(task: Task, answer: str) -> Example:
    """An answer, and its judgment by a reader who misses nothing."""
    prompt = JUDGE.format(prompt=task.text(), response=answer)
    return Example(prompt=prompt, response=judge(task, answer.split()), kind="eft", source=SOURCE)


def anchor(task: Task) -> Anchor:
    """A task of words to sort, and its one right answer."""
    return Anchor(prompt=task.text(), answers=(" ".join(sorted(task.given, reverse=task.descending)),))


if __name__ == "__main__":
    make(Path(sys.argv[1]))
