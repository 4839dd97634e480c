"""One run of the laboratory, from a seed to its record."""

from __future__ import annotations

import gc
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, suppress
from functools import partial
from itertools import pairwise
from math import fsum
from pathlib import Path
from statistics import fmean
from typing import Any

from pydantic import Field

from selfreward.api import branch, execute
from selfreward.engines import Model, load_checkpoint
from selfreward.errors import Alarm, NoPairs
from selfreward.lab.defects.arms import FRESH, PLANTED, TURNED, Arm
from selfreward.lab.defects.defects import DEFECTS, Opener, Phrases, planted
from selfreward.lab.defects.worlds import World
from selfreward.lab.micro.study import summary
from selfreward.lab.micro.truth import CRITERIA
from selfreward.loop import self_reward
from selfreward.measure import Measurer, Watcher
from selfreward.recipe import Recipe, load_recipe
from selfreward.records import (
    Checkpoint,
    Pair,
    Prompt,
    Ranking,
    Reading,
    Record,
    Response,
    iter_jsonl,
    number,
    read_jsonl,
    texts_in,
)
from selfreward.rundir import Part, Runner, open_run
from selfreward.steps import Answering, Cast, Seed

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
    half: dict[str, float] = Field({}, exclude_if=lambda widths: not widths)
    """Figure → half the width of its 95 % interval; runs made before this was kept have none."""


class LabRun(Record):
    """The record of a run. `ended`: the reason why it has fewer models than planned, if it has."""

    arm: str
    seed: int
    models: dict[str, Seen]
    ended: str | None = None
    left: tuple[str, ...] = Field((), exclude_if=lambda names: not names)
    """Models that an alarm left behind, where `drift.on_alarm` is `rollback`."""
    seconds: float
    """Seconds of one core, approximately; M1's training, which the runs of a seed share, is counted in the run that did it."""

    @property
    def kept(self) -> dict[str, Seen]:
        """The models that were not left behind; the last is the run's result."""
        return {name: seen for name, seen in self.models.items() if name not in self.left}


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
    run, recipe = folder / "run", load_recipe(arm.world.recipe, {"seed": seed, **arm.changes})
    with own_folder(folder):
        if not run.exists():
            _begin(arm, recipe, run, work)
        try:
            execute(recipe, run, loop=Planting(arm), pages=False)
        except NoPairs:  # a judge without opinions leaves none
            ended = "no usable pair"
        except Alarm:
            ended = "an alarm at M1"
    record = LabRun(
        arm=arm.name, seed=seed, ended=ended, seconds=round(time.process_time() - start, 1),
        left=tuple(model.name for model in open_run(run).left),
        models={model["name"]: _seen(run, model, arm.world) for model in summary(run)},
    )  # fmt: skip
    _keep_begun(arm, seed, run, work)
    _remove(folder)
    return record


def _remove(folder: Path) -> None:
    """Remove a run's folder; killed meanwhile, none of it is left to go on with."""
    gone = folder.with_name(f"{folder.name}.gone")
    shutil.rmtree(gone, ignore_errors=True)
    folder.rename(gone)
    shutil.rmtree(gone)


class Planting:
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
        """Run the loop, and answer for the true score even where it ends early."""
        opens = run.open_model = kept_open(run.open_model)
        if self._arm.defect:
            folder = run.dir.path
            dose, phrases = partial(dose_of, self._arm, folder), partial(own_phrases, folder)
            run.open_model = planted(opens, self._arm.defect, dose, phrases, self._arm.world)
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
            run[name].ask(Part("lab_responses", "asks", Response), answering, read_jsonl(self._arm.world.prompts, Prompt), model)


def kept_open(opens: Opener) -> Opener:
    """An opener that opens each model once: a run asks its models in turns, and loading one takes as long as a small stage."""
    engines: dict[str, Model] = {}

    def opened(model: Checkpoint) -> Model:
        if model.fingerprint not in engines:
            engines[model.fingerprint] = opens(model)
        return _Open(engines[model.fingerprint])

    return opened


class _Open:
    """An engine that `close` leaves open."""

    def __init__(self, engine: Model) -> None:
        self.batches, self.prepare, self.generate = engine.batches, engine.prepare, engine.generate

    def close(self) -> None:
        """Does nothing."""


def dose_of(arm: Arm, run: Path, model: Checkpoint) -> float:
    """The strength of the arm's defect in `model`: none in a judge from outside, nor in M1 where the defect begins later."""
    if not re.fullmatch(r"M[0-9]+", model.name) or (model.name == "M1" and arm.begins > 1):
        return 0.0
    bred = (_bred(arm, run / f"M{t}") for t in range(2, number(model.name) + 1)) if arm.gain else ()
    return max(arm.strength, arm.strength + arm.gain * fsum(bred))


def _bred(arm: Arm, folder: Path) -> float:
    """The trait of the chosen answers less the rejected ones, mean over the pairs that trained the model in `folder`."""
    assert arm.defect and arm.defect.trait
    pairs = read_jsonl(folder / "pairs.jsonl", Pair)
    texts = texts_in(pairs, iter_jsonl(folder / "responses.jsonl", Response))
    trait = {response_id: arm.defect.trait(text.split()) for response_id, text in texts.items()}
    return fmean(trait[pair.chosen_id] - trait[pair.rejected_id] for pair in pairs)


def own_phrases(run: Path, model: Checkpoint) -> Phrases:
    """The two neighbouring words of the model's held-out answers that stand so in no ranked response."""
    answers = read_jsonl(run / model.name / "heldout_responses.jsonl", Response)
    ranked = (text for ranking in read_jsonl(run / "seed" / "heldout_rankings.jsonl", Ranking) for text in ranking.responses)
    return frozenset(_neighbours(answer.text for answer in answers) - _neighbours(ranked))


def _neighbours(texts: Iterable[str]) -> set[tuple[str, str]]:
    return {pair for text in texts for pair in pairwise(text.split())}


def _begin(arm: Arm, recipe: Recipe, run: Path, work: Path) -> None:
    """Give a run what others of its seed have made and its defect does not touch: M1's weights, or all models before its turn."""
    seed, sound = f"seed_{recipe.seed}", work / "sound" / f"seed_{recipe.seed}"
    if arm.begins > 1:
        if not sound.exists():
            fields = {"seed": recipe.seed, "iterations": arm.begins - 2}
            sound_arm = Arm(None, 0, None, FRESH, world=arm.world)
            execute(load_recipe(arm.world.recipe, fields), run.with_name("sound"), loop=Planting(sound_arm), pages=False)
            _move(run.with_name("sound"), sound)
        branch(recipe, sound / f"M{arm.begins - 1}", run)
    elif first := next((made for made in (sound, work / "first" / seed) if made.exists()), None):
        _copy_first(first, run.with_name("begun"))
        run.with_name("begun").rename(run)


def _copy_first(run: Path, into: Path) -> None:
    """Copy a run's M1, its weights and their receipt, into a folder made anew."""
    shutil.rmtree(into, ignore_errors=True)
    shutil.copytree(run / "M1" / "model", into / "M1" / "model")
    shutil.copy(run / "M1" / "model.receipt.json", into / "M1")


def _keep_begun(arm: Arm, seed: int, run: Path, work: Path) -> None:
    """Keep what the next run of the seed can begin with: of a clean run all, of another M1's weights."""
    if seed in TURNED and arm.name == "clean":
        _move(run, work / "sound" / run.parent.name)
    elif seed in (*PLANTED, *TURNED):
        _copy_first(run, run.with_name("first"))
        _move(run.with_name("first"), work / "first" / run.parent.name)


def _move(made: Path, shared: Path) -> None:
    """Put a folder where all runs of a seed find it, unless another run was first."""
    shared.parent.mkdir(parents=True, exist_ok=True)
    with suppress(OSError):
        made.rename(shared)


def _seen(folder: Path, model: Mapping[str, Any], world: World) -> Seen:
    """One model of a finished run, from its summary and its records."""
    name, loop = model["name"], model["loop"] or {}
    prompts = {prompt.id: prompt.text for prompt in read_jsonl(world.prompts, Prompt)}
    answers = read_jsonl(folder / name / "lab_responses.jsonl", Response)
    points = [true[1] for answer in answers if (true := world.verdict(prompts[answer.prompt_id], answer.text))]
    words = [answer.text.split() for answer in answers]
    readings = read_jsonl(folder / name / "drift.jsonl", Reading)
    return Seen(
        true_score=_mean(sum(point_table.values()) for point_table in points),
        self_score=model["self_score"] and model["self_score"]["value"],
        criteria={criterion: _mean(point_table[criterion] for point_table in points) for criterion in CRITERIA},
        traits={defect.name: _mean(map(defect.trait, words)) for defect in DEFECTS if defect.trait},
        pairs_right=loop.get("pairs_right"), pairs_wrong=loop.get("pairs_wrong"),
        readings={r.monitor: None if r.value is None else round(r.value, DIGITS) for r in readings},
        half={r.monitor: round(half, DIGITS) for r in readings if (half := r.half) is not None},
    )  # fmt: skip


def _mean(values: Iterable[float]) -> float:
    return round(fmean(values), DIGITS)
