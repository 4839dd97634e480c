"""A run folder read back, finished or under way, without disturbing the process that works in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from selfreward.errors import SelfRewardError
from selfreward.recipe import Recipe, read_recipe
from selfreward.records import Measured, Reading, is_held, read_jsonl, read_line
from selfreward.rundir.branch import no_run, read_branch, recipe_of, recipes
from selfreward.rundir.progress import Status

ANSWERING = ("heldout_responses", "truth")
COMPARING = "heldout_preferences"
MEASURING = ("heldout_responses", "heldout_judgments", "truth", "ranking_judgments", COMPARING)
MAKING_EFT = ("seed/eft_judgments", "seed/eft")
"""Stages of another folder that M1 waits for, where EFT does not come ready made."""


WATCHED = "drift"
"""The last stage of a model that monitors read."""


class ModelStanding(NamedTuple):
    """One model's folder: its stages in order, those that are done, and what was measured and read in the end."""

    name: str
    stages: tuple[str, ...]
    done: tuple[str, ...]
    measured: Measured | None
    readings: tuple[Reading, ...] = ()

    @property
    def owed(self) -> tuple[str, ...]:
        """Stages without a receipt, of a model that is not measured, or not watched where it is to be."""
        whole = self.measured and (WATCHED not in self.stages or WATCHED in self.done)
        return () if whole else tuple(stage for stage in self.stages if stage not in self.done)


class RunView(NamedTuple):
    """A run: its recipe, every model that it will have, and who works on it."""

    folder: Path
    recipe: Recipe
    models: tuple[ModelStanding, ...]
    alive: bool
    """Whether a process holds the folder."""
    status: Status | None

    def recipe_of(self, model: str) -> Recipe:
        """The recipe by which a model is made and measured: in a branch, of what was taken over, as its source had it."""
        return recipe_of(model, recipes(self.recipe, read_branch(self.folder)))

    @property
    def measured(self) -> list[Measured]:
        """The models measured so far, in order."""
        return [model.measured for model in self.models if model.measured]

    @property
    def readings(self) -> list[Reading]:
        """What the monitors read so far, of all models in order."""
        return [reading for model in self.models for reading in model.readings]

    @property
    def finished(self) -> bool:
        """Whether every model is measured, and watched where it is to be."""
        return all(model.measured and not model.owed for model in self.models)

    @property
    def ended(self) -> ModelStanding | None:
        """The model at which a monitor's `stop` ended the run; None where none did."""
        return next((model for model in self.models if any(one.verdict == "stop" for one in model.readings)), None)

    @property
    def iterations(self) -> list[str]:
        """Names of the models that an iteration of the loop makes."""
        return [model.name for model in self.models if "pairs" in model.stages]

    @property
    def next_stage(self) -> str:
        """The first stage that is not done ("M2/judgments"), empty where all are, or where a monitor ended the run."""
        if self.ended:
            return ""
        return next((_path(model.name, stage) for model in self.models for stage in model.owed), "")


def open_run(folder: Path) -> RunView:
    """Where the run in `folder` stands. Raises `SelfRewardError` where it is no run folder."""
    config, status = folder / "config.json", folder / "logs" / "status.json"
    if not config.is_file():
        raise no_run(folder, "Give the folder of a run, runs/demo say")
    try:
        recipe = read_recipe(json.loads(config.read_text()), str(config), folder)
    except ValueError as error:
        now = f"Restore it from the last attempt in {folder / 'logs'}"
        raise SelfRewardError("is not what this program wrote", str(config), now) from error
    return RunView(
        folder=folder,
        recipe=recipe,
        models=tuple(_read_model(folder, name, stages) for name, stages in _expected(recipe).items()),
        alive=is_held(folder / ".lock"),
        status=_last_seen(status),
    )


def _expected(recipe: Recipe) -> dict[str, tuple[str, ...]]:
    """Every model of the run and the stages that lead to it, in the order of `loop.py`."""
    measuring = MEASURING[:-1] if recipe.measure.judging else ANSWERING
    measuring = (*measuring, COMPARING) if recipe.measure.judge else measuring
    baseline = {"SFT": ("model", *measuring)} if recipe.sft.baseline else {}
    making_eft = MAKING_EFT if recipe.data.rankings and "eft" in recipe.sft.on else ()
    tuned = () if recipe.sft.on == "none" else (*making_eft, "model")
    first = (*tuned, *measuring, *_watching(recipe, first=True))
    writing = () if recipe.prompts.source else ("proposed",)
    making = (*writing, "prompts", "responses", *recipe.judge.rounds, "pairs")
    watching = _watching(recipe, first=False)
    before = {t: ("judgments_before",) for t in range(2, recipe.iterations + 2) if recipe.judged_before(t)}
    later = {f"M{t}": (*making, *before.get(t, ()), "model", *measuring, *watching) for t in range(2, recipe.iterations + 2)}
    base = {"M0": measuring} if recipe.measure.base else {}
    return {**base, **baseline, "M1": first, **later}


def _watching(recipe: Recipe, first: bool) -> tuple[str, ...]:
    """The stages by which a model is watched, in the order of `drift/watch.py`; the `first` one writes the frozen pool."""
    if recipe.drift is None:
        return ()
    pool, others = (("drift_candidates",), ()) if first else ((), ("drift_likelihood_before", "drift_likelihood_first"))
    answering, judging = (("anchor_responses",), ("anchor_judgments",)) if recipe.drift.anchors else ((), ())
    asked = (*pool, *answering, "drift_cut", "drift_pool", *judging, "drift_likelihood_own", *others)
    return (*asked, "drift_frozen", WATCHED)


def _path(model: str, stage: str) -> str:
    return stage if "/" in stage else f"{model}/{stage}"


def _read_model(run: Path, name: str, stages: tuple[str, ...]) -> ModelStanding:
    done = tuple(stage for stage in stages if (run / f"{_path(name, stage)}.receipt.json").exists())
    file = run / name / "measured.json"
    measured = read_line(file.read_text(), Measured, str(file)) if file.exists() else None
    readings = tuple(read_jsonl(run / name / f"{WATCHED}.jsonl", Reading)) if WATCHED in done else ()
    return ModelStanding(name, stages, done, measured, readings)


def _last_seen(file: Path) -> Status | None:
    """What a process last told of itself; None where a power cut left nothing of it, for nobody waits for this file."""
    try:
        return read_line(file.read_text(), Status, str(file)) if file.exists() else None
    except SelfRewardError:
        return None
