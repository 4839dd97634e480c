"""One run of the laboratory, from a seed to its record."""

from __future__ import annotations

import gc
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, suppress
from importlib.resources import files
from pathlib import Path
from statistics import fmean
from typing import Any

from selfreward.api import execute
from selfreward.engines import load_checkpoint
from selfreward.errors import NoPairs
from selfreward.lab.defects.arms import PLANTED, Arm
from selfreward.lab.defects.defects import DEFECTS, planted
from selfreward.lab.micro.study import summary
from selfreward.lab.micro.truth import CRITERIA, verdict
from selfreward.loop import self_reward
from selfreward.measure import Measurer, Watcher
from selfreward.recipe import Recipe, load_recipe
from selfreward.records import Checkpoint, Prompt, Reading, Record, Response, iter_jsonl, read_jsonl
from selfreward.rundir import Part, Runner
from selfreward.steps import Answering, Cast, Seed

RECIPE = Path(str(files("selfreward") / "lab" / "defects" / "lab.toml"))
PROMPTS = Path(str(files("selfreward") / "lab" / "micro" / "seed" / "heldout_prompts.jsonl"))
"""The prompts that every model answers for its true score: all held-out ones, of which the recipe has a part judged."""
ANSWERS = 2
"""Answers to each of the prompts."""
DIGITS = 5
"""Decimals of a figure in the records."""


class Seen(Record):
    """One model of one run: its true score, its score of itself, and the readings of every monitor."""

    true_score: float
    """Mean over its answers to all held-out prompts, sampled without the defect."""
    self_score: float | None
    criteria: dict[str, float]
    """Mean points by criterion, by the truth."""
    traits: dict[str, float]
    """Mean over its answers of the trait that each defect would breed, by the defect's name."""
    pairs_right: float | None
    """Share of its training pairs whose chosen response is truly better."""
    pairs_wrong: float | None
    readings: dict[str, float | None]
    """Figure → value."""


class LabRun(Record):
    """The record of a run. `ended`: the reason why it has fewer models than planned, if it has."""

    arm: str
    seed: int
    models: dict[str, Seen]
    ended: str | None = None
    seconds: float
    """Seconds of one core, approximately; M1's training, which the runs of a seed share, is counted in the run that did it."""


def ready() -> None:
    """Import the training libraries and freeze the garbage collector's objects: TRL collects several times in every training."""
    import selfreward.engines.training.trl  # noqa: F401

    gc.freeze()


@contextmanager
def own_folder(folder: Path) -> Iterator[None]:
    """Work in `folder`, made where it is missing, on one thread and with the output in its log."""
    import torch

    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log").open("a") as log, redirect_stderr(log):
        yield


def run_arm(arm: Arm, seed: int, work: Path) -> LabRun:
    """Run one seed of an arm in a folder under `work`, or continue it, and remove the folder in the end."""
    folder, start, ended = work / arm.name / f"seed_{seed}", time.process_time(), None
    with own_folder(folder):
        _share_first(folder, work / "first" / f"seed_{seed}")
        try:
            execute(load_recipe(RECIPE, {"seed": seed, **arm.changes}), folder, loop=_Planting(arm))
        except NoPairs:  # a judge without opinions leaves none
            ended = "no usable pair"
    record = LabRun(
        arm=arm.name, seed=seed, ended=ended, seconds=round(time.process_time() - start, 1),
        models={model["name"]: _seen(folder, model) for model in summary(folder)},
    )  # fmt: skip
    if seed in PLANTED:
        _keep_first(folder, work / "first" / f"seed_{seed}")
    _remove(folder)
    return record


def _remove(folder: Path) -> None:
    """Remove a run's folder; killed meanwhile, none of it is left to go on with."""
    gone = folder.with_name(f"{folder.name}.gone")
    shutil.rmtree(gone, ignore_errors=True)
    folder.rename(gone)
    shutil.rmtree(gone)


class _Planting:
    """The loop with the arm's defect in its engines; then every model answers without it, for its true score."""

    def __init__(self, arm: Arm) -> None:
        self._arm = arm

    def __call__(
        self,
        recipe: Recipe,
        seed: Seed,
        run: Runner,
        cast: Cast,
        measurer: Measurer,
        watcher: Watcher,
        turns: Mapping[int, Recipe],
    ) -> Checkpoint:
        opens = run.open_model
        if self._arm.defect:
            run.open_model = planted(opens, self._arm.defect, self._arm.strength)
        try:
            return self_reward(recipe, seed, run, cast, measurer, watcher, turns)
        finally:
            run.unload()
            run.open_model = opens
            self._answer(recipe, run, [measured.name for measured in measurer.done])

    def _answer(self, recipe: Recipe, run: Runner, models: Sequence[str]) -> None:
        """Sample more answers than are judged: a true score costs an answer and no judgment."""
        for name in models:
            model = load_checkpoint(name, str(run.dir.path / name / "model"))
            answering = Answering(recipe.responses.sampling, ANSWERS, recipe.responses.frame)
            run[name].ask(Part("lab_responses", "asks", Response), answering, read_jsonl(PROMPTS, Prompt), model)


def _share_first(folder: Path, first: Path) -> None:
    """Give a run the M1 that another run of its seed has trained: no defect touches that training."""
    if first.exists() and not (folder / "M1" / "model").exists():
        shutil.copytree(first, folder / "M1", dirs_exist_ok=True)


def _keep_first(folder: Path, first: Path) -> None:
    """Keep a run's M1 for the next run of its seed, whole or not at all."""
    if not first.exists():
        partial = first.with_name(f"{first.name}.{folder.parent.name}")
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(folder / "M1" / "model", partial / "model")
        shutil.copy(folder / "M1" / "model.receipt.json", partial)
        with suppress(OSError):  # another arm's run of this seed was first
            partial.rename(first)


def _seen(folder: Path, model: Mapping[str, Any]) -> Seen:
    """One model of a finished run, from its summary and its records."""
    name, loop = model["name"], model["loop"] or {}
    prompts = {prompt.id: prompt.text for prompt in read_jsonl(PROMPTS, Prompt)}
    answers = read_jsonl(folder / name / "lab_responses.jsonl", Response)
    points = [true[1] for answer in answers if (true := verdict(prompts[answer.prompt_id], answer.text))]
    words = [answer.text.split() for answer in answers]
    readings = iter_jsonl(folder / name / "drift.jsonl", Reading)
    return Seen(
        true_score=_mean(sum(point_table.values()) for point_table in points),
        self_score=model["self_score"] and model["self_score"]["value"],
        criteria={criterion: _mean(point_table[criterion] for point_table in points) for criterion in CRITERIA},
        traits={defect.name: _mean(map(defect.trait, words)) for defect in DEFECTS if defect.trait},
        pairs_right=loop.get("pairs_right"), pairs_wrong=loop.get("pairs_wrong"),
        readings={r.monitor: None if r.value is None else round(r.value, DIGITS) for r in readings},
    )  # fmt: skip


def _mean(values: Iterable[float]) -> float:
    return round(fmean(values), DIGITS)
