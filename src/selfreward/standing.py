"""Where a run stands, read from its folder without disturbing who works in it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import NamedTuple

from selfreward.branch import read_branch, recipe_of, recipes
from selfreward.errors import SelfRewardError
from selfreward.recipe import Recipe, read_recipe
from selfreward.records import Measured, Reading, Record, alarms, describe, ending, is_held, read_jsonl, read_line

ANSWERING = ("heldout_responses", "truth")
COMPARING = "heldout_preferences"
MEASURING = ("heldout_responses", "heldout_judgments", "truth", "ranking_judgments", COMPARING)
MAKING_EFT = ("seed/eft_judgments", "seed/eft")
"""Stages of another folder that M1 waits for, where EFT does not come ready made."""


WATCHED = "drift"
"""The last stage of a model that monitors read."""


class Status(Record):
    """`logs/status.json`: the stage that a process was last seen in."""

    stage: str
    done: int
    total: int
    unit: str
    eta_s: float | None
    at: float
    """Seconds since 1970 when it was written."""
    pid: int


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


class Standing(NamedTuple):
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


def read_standing(folder: Path) -> Standing:
    """Where the run in `folder` stands. Raises `SelfRewardError` where it is no run folder."""
    config, status = folder / "config.json", folder / "logs" / "status.json"
    if not config.is_file():
        raise SelfRewardError("is no run folder: it has no config.json", str(folder), "Give the folder of a run, runs/demo say")
    try:
        recipe = read_recipe(json.loads(config.read_text()), str(config), folder)
    except ValueError as error:
        now = f"Restore it from the last attempt in {folder / 'logs'}"
        raise SelfRewardError("is not what this program wrote", str(config), now) from error
    return Standing(
        folder=folder,
        recipe=recipe,
        models=tuple(_read_model(folder, name, stages) for name, stages in _expected(recipe).items()),
        alive=is_held(folder / ".lock"),
        status=_last_seen(status),
    )


def describe_status(folder: Path) -> str:
    """What `selfreward status` prints. Raises `SelfRewardError` where `folder` is no run folder."""
    standing = read_standing(folder)
    return "\n".join([f"{folder}: {where(standing, time.time())}", *(f"  {line}" for line in model_lines(standing))])


def where(standing: Standing, now: float) -> str:
    """In one line: finished, or what is under way at `now` (seconds since 1970), or where it stopped, or what ended it."""
    if standing.ended:
        return ending(standing.ended.name, standing.ended.readings)
    if standing.finished and not standing.alive:
        return "finished"
    stage, status = standing.next_stage, standing.status
    if status is None or not _part_of(status.stage, stage):
        progress = f"before {stage}" if stage else "at its end"
    else:
        progress = f"in {status.stage}, {status.done:,} of {status.total:,} {status.unit}" + _left(standing, status, now)
    return f"running, {progress}" if standing.alive else f"stopped {progress}; the same command goes on from here"


def _part_of(seen: str, stage: str) -> bool:
    """Whether who works on `stage` is seen in `seen`: checkpoints are chosen by stages of their own before a model is made."""
    return seen == stage or (stage.endswith("/model") and seen.startswith(f"{stage.removesuffix('model')}selection_"))


def model_lines(standing: Standing) -> list[str]:
    """A line for each model: its headline figures, or its stages done and to do."""
    return [f"{model.name:<4} {_line(model)}" for model in standing.models]


def _line(model: ModelStanding) -> str:
    if not model.measured:
        return _stages(model)
    alarm = f"; {describe(model.readings)}" if alarms(model.readings) else ""
    return f"{_figures(model.measured)}{alarm}{'; to do: watching' if model.owed else ''}"


def _left(standing: Standing, status: Status, now: float) -> str:
    if not standing.alive or status.eta_s is None:
        return ""
    seconds = max(0.0, status.eta_s - (now - status.at))
    return f", about {seconds:.0f} s left" if seconds < 90 else f", about {seconds / 60:.0f} min left"


def _figures(measured: Measured) -> str:
    told = [
        f"true score {measured.true_score:.2f}" if measured.true_score is not None else "no truth known",
        f"says {measured.self_score.value:.2f} of itself" if measured.self_score else "no score of its own",
        f"pairwise accuracy {measured.pairwise_accuracy:.1%}"
        if measured.pairwise_accuracy is not None
        else "no pairwise accuracy",
    ]
    return f"measured: {', '.join(told)}"


def _stages(model: ModelStanding) -> str:
    if not model.done:
        return "to do"
    making = model.stages[: model.stages.index(ANSWERING[0])]
    to_do = [stage for stage in making if stage in model.owed] + ["measuring"]
    return f"done: {', '.join(model.done)}; to do: {', '.join(to_do)}"


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
