"""Make the seeds of the checkable world: `python -m selfreward.lab.checkable.seeds BASE OUT`. They stand for people's work.

BASE is SmolLM2-135M-Instruct as a folder. IFT answers are the base's own: the best of four by the checkers, which are few, and
those to some of the tasks that EFT judges, mended by a program until they follow every instruction. EFT judgments walk through
the instructions one by one; they are written by a program that knows what the checkers say, and errs in `ERRORS` of its verdicts,
as people do. The files were made once, from one seed, and are shipped; after M1 the loop is told nothing by a checker.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from selfreward.engines import completions, open_model
from selfreward.lab.checkable.kinds import SEEN, UNSEEN, Kind
from selfreward.lab.checkable.world import SIZES, Task, followed, judgment, sample_task, varied
from selfreward.lab.command import obeyed
from selfreward.recipe import BackendConfig
from selfreward.records import Checkpoint, Example, Ranking, Record, Request, Response, Sampling, to_line, write_whole
from selfreward.steps import Rubric, check

SEED = 20240118
IFT, JUDGED, MENDED, PROMPTS, HELDOUT, RANKED = 200, 500, 280, 384, (120, 60), (40, 20)
"""Tasks for IFT, for EFT, of these for IFT too, and for the iterations; held-out prompts and rankings of seen and of unseen
kinds."""
BEST_OF, OTHERS = 4, 2
"""Answers of the base to a task of IFT, and to each other one; of those as many are changed as are kept."""
ERRORS = 0.03
"""Share of the verdicts in EFT that are wrong."""
SAMPLING = Sampling(temperature=0.7, top_p=0.9, max_tokens=64)
SOURCE = "checkable world, standing for people"
JUDGE = Path(__file__).with_name("judge.txt")
Answers = Mapping[str, Sequence[Response]]
"""The base's answers by the prompt's id."""


class World:
    """Makes tasks without repetition, and verdicts on answers."""

    def __init__(self, rng: random.Random) -> None:
        self.rng, self._seen = rng, set[str]()

    def tasks(self, count: int, kinds: Sequence[Kind] = SEEN, sizes: Sequence[int] = SIZES) -> list[Task]:
        """`count` new tasks with instructions of `kinds`."""
        tasks: list[Task] = []
        while len(tasks) < count:
            task = sample_task(self.rng, kinds, sizes)
            if task.text not in self._seen:
                tasks.append(task)
                self._seen.add(task.text)
        return tasks

    def texts(self, task: Task, answers: Answers) -> list[str]:
        """The base's answers, and changes of them, each once."""
        own = [answer.text for answer in answers[task.prompt.id]]
        return list(dict.fromkeys([*own, *(varied(task, text, self.rng) for text in own)]))

    def judged(self, task: Task, text: str) -> Example:
        """A text and its judgment by a reader who sometimes errs."""
        verdicts = [held != (self.rng.random() < ERRORS) for held in verdicts_on(task, text)]
        asked = Rubric(str(JUDGE), ("prompt", "response"), "judge.rubric").fill(prompt=task.text, response=text)
        return Example(prompt=asked, response=judgment(task, text, verdicts), kind="eft", source=SOURCE)

    def ranking(self, task: Task, answers: Answers) -> Ranking | None:
        """The texts to a task, ranked by how many instructions they follow; None where all follow as many."""
        texts = self.texts(task, answers)
        followed = [sum(verdicts_on(task, text)) for text in texts]
        best_first = sorted(set(followed), reverse=True)
        ranks = tuple(best_first.index(count) for count in followed)
        return Ranking(prompt=task.text, responses=tuple(texts), ranks=ranks) if len(best_first) > 1 else None


def verdicts_on(task: Task, text: str) -> list[bool]:
    """True for each instruction of a task that a text follows, by the checkers."""
    answer = Response(prompt_id=task.prompt.id, model="", index=0, text=text, finish="stop")
    return [bool(checked.strict) for checked in check(task.prompt.checks, task.text, answer, SEED)]


def answers_of(base: Path, tasks: Sequence[tuple[Task, int]]) -> dict[str, list[Response]]:
    """Sample the given number of the base's answers to each task."""
    model = Checkpoint(name="M0", path=base, fingerprint="", parent=None)
    requests = [
        Request.user_turn(task.prompt.id, index, task.text, SAMPLING, model, SEED)
        for task, count in tasks
        for index in range(count)
    ]
    engine = open_model(model, BackendConfig(device="cpu", dtype="bfloat16"), {}, None)
    said = completions(engine, requests)
    engine.close()
    answers: dict[str, list[Response]] = {task.prompt.id: [] for task, _ in tasks}
    for request in requests:
        text, finish = said[request.id].text, said[request.id].finish
        answers[request.about].append(
            Response(prompt_id=request.about, model="M0", index=request.index, text=text, finish=finish)
        )
    return answers


def best(task: Task, answers: Answers) -> Example | None:
    """The first answer that came to an end and follows every instruction; None where none does."""
    good = (answer for answer in answers[task.prompt.id] if answer.finish == "stop" and all(verdicts_on(task, answer.text)))
    answer = next(good, None)
    return Example(prompt=task.text, response=answer.text, kind="ift", source=SOURCE) if answer else None


class Drawn(NamedTuple):
    """All tasks, by their use."""

    ift: list[Task]
    judged: list[Task]
    prompts: list[Task]
    heldout: list[Task]
    ranked: list[Task]


def draw(world: World) -> Drawn:
    """Draw the tasks; those of unseen kinds come last in what is held out."""
    ift, judged, prompts = world.tasks(IFT), world.tasks(JUDGED), world.tasks(PROMPTS)
    heldout = [*world.tasks(HELDOUT[0]), *world.tasks(HELDOUT[1], UNSEEN, (1, 1, 2))]
    return Drawn(ift, judged, prompts, heldout, [*world.tasks(RANKED[0]), *world.tasks(RANKED[1], UNSEEN, (1, 1, 2))])


def mended(task: Task, answers: Answers) -> list[Example]:
    """The base's answers, changed to follow every instruction; those that still do not are left out."""
    rng = random.Random(task.text)
    texts = dict.fromkeys(followed(task, answer.text, rng) for answer in answers[task.prompt.id])
    return [Example(prompt=task.text, response=text, kind="ift", source=SOURCE) for text in texts if all(verdicts_on(task, text))]


def make(base: Path, out: Path) -> None:
    """Write ift, eft, prompts, heldout_prompts and heldout_rankings (JSONL) to `out`."""
    world = World(random.Random(SEED))
    ift, judged, prompts, heldout, ranked = draw(world)
    answers = answers_of(base, [*((task, BEST_OF) for task in ift), *((task, OTHERS) for task in (*judged, *ranked))])
    files: dict[str, Sequence[Record | None]] = {
        "ift": [*(best(task, answers) for task in ift), *(one for task in judged[:MENDED] for one in mended(task, answers))],
        "eft": [world.judged(task, text) for task in judged for text in world.texts(task, answers)],
        "prompts": [task.prompt for task in prompts],
        "heldout_prompts": [task.prompt for task in heldout],
        "heldout_rankings": [world.ranking(task, answers) for task in ranked],
    }
    out.mkdir(parents=True, exist_ok=True)
    for name, records in files.items():
        write_whole(out / f"{name}.jsonl", "".join(to_line(record) + "\n" for record in records if record))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    make(arguments.base, arguments.out)


if __name__ == "__main__":
    obeyed(main)
