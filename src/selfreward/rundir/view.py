"""A read-only view of a run folder, finished or under way, that does not disturb the process working in it."""

from __future__ import annotations

import json
import time
from functools import cached_property
from itertools import groupby
from pathlib import Path

from selfreward.errors import SelfRewardError
from selfreward.recipe import Recipe, begun_with, look_in, read_recipe
from selfreward.records import Measured, Reading, Records, ending, is_held, read_record
from selfreward.rundir.branch import no_run, read_branch, recipe_of, recipes
from selfreward.rundir.layout import DRIFT, MEASURED, PAIRS, SEED, Due, expected
from selfreward.rundir.reading import FolderReader
from selfreward.rundir.seen import Status, last_error, last_seen


class ModelView(FolderReader):
    """One model's folder: its planned parts in order, and the finished ones."""

    def __init__(self, run: Path, name: str, due: list[Due]) -> None:
        super().__init__(run / name)
        self.due = due
        self.done = [part for part in due if (run / f"{part}.receipt.json").exists()]

    @cached_property
    def measured(self) -> Measured | None:
        """The measurement of this model; None while it is not measured."""
        file = self.path / MEASURED
        return read_record(file, Measured) if file.exists() else None

    @cached_property
    def watched(self) -> list[Reading]:
        """The readings of this model, in memory."""
        return list(self.readings())

    def readings(self) -> Records[Reading]:
        """All readings of this model."""
        return self.records(DRIFT)

    @property
    def owed(self) -> list[Due]:
        """The missing parts of a model that is not measured yet, or not watched yet where it is to be."""
        watched = [part for part in self.due if part.part is DRIFT]
        whole = self.measured and all(part in self.done for part in watched)
        return [] if whole else [part for part in self.due if part not in self.done]


class RunView:
    """A run: its recipe, all its planned models, and its progress."""

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        self.folder, self.recipe = folder, recipe
        self.alive = is_held(folder / ".lock")
        """Whether a process works in the folder."""
        self.seen = last_seen(folder / "logs" / "status.json")
        """The last sign of life."""
        self.seed = FolderReader(folder / SEED)
        self.models = {name: ModelView(folder, name, due) for name, due in _by_model(recipe).items()}
        """By name, in the order in which they are made."""

    def __getitem__(self, name: str) -> FolderReader:
        """The folder "M2", or "seed". Raises `SelfRewardError` where the run has no such folder."""
        if name == SEED:
            return self.seed
        if name not in self.models:
            raise SelfRewardError(f"has no {name}", str(self.folder), f"It has {', '.join([SEED, *self.models])}")
        return self.models[name]

    def __repr__(self) -> str:
        return f"<run {self.folder}: {self.status}>"

    def recipe_of(self, model: str) -> Recipe:
        """The recipe that makes and measures a model: in a branch, the source's for the models that were taken over."""
        return recipe_of(model, recipes(self.recipe, read_branch(self.folder)))

    def readings(self) -> Records[Reading]:
        """All readings so far, of all models in order."""
        return sum((model.readings() for model in self.models.values()), Records([], Reading, 0))

    @property
    def watched(self) -> list[Reading]:
        """The readings of all models, in memory."""
        return [reading for model in self.models.values() for reading in model.watched]

    @property
    def measured(self) -> list[Measured]:
        """The measurements so far, in order."""
        return [model.measured for model in self.models.values() if model.measured]

    @property
    def finished(self) -> bool:
        """Whether every model is measured, and watched where it is to be."""
        return all(model.measured and not model.owed for model in self.models.values())

    @property
    def ended(self) -> ModelView | None:
        """The model at which a monitor's `stop` ended the run; None where none did."""
        return next((m for m in self.models.values() if any(reading.verdict == "stop" for reading in m.watched)), None)

    @property
    def iterations(self) -> list[str]:
        """Names of the models that an iteration of the loop makes."""
        return [name for name, model in self.models.items() if any(part.part is PAIRS for part in model.due)]

    @property
    def next_stage(self) -> str:
        """The first unfinished stage ("M2/judgments"); empty where there is none, or where a monitor ended the run."""
        return "" if self.ended else next((str(part) for model in self.models.values() for part in model.owed), "")

    @property
    def status(self) -> str:
        """One line: finished, or the stage under way, or where the run stopped, or the cause of its end."""
        if self.ended:
            return ending(self.ended.name, self.ended.watched)
        if self.finished and not self.alive:
            return "finished"
        stage, seen = self.next_stage, self.seen
        if seen is None or not _part_of(seen.stage, stage):
            progress = f"before {stage}" if stage else "at its end"
        else:
            progress = f"in {seen.stage}, {seen.done_of}" + (_left(seen) if self.alive else "")
        if self.alive:
            return f"running, {progress}"
        if error := last_error(self.folder / "logs"):
            return f"ended {progress} by an error, which the same command meets again until it is put right: {error}"
        return f"stopped {progress}; the same command goes on from here"


def open_run(folder: Path | str) -> RunView:
    """The run in `folder`, also while it runs. Raises `SelfRewardError` where the folder holds no run."""
    folder = Path(folder)
    config = folder / "config.json"
    if not config.is_file():
        raise no_run(folder, "Give the folder of a run, runs/demo say")
    try:
        if folders := begun_with(folder):
            look_in(*folders)
        return RunView(folder, read_recipe(json.loads(config.read_text()), str(config), folder))
    except (ValueError, RecursionError) as error:
        now = f"Restore it from the last attempt in {folder / 'logs'}"
        raise SelfRewardError("is not what this program wrote", str(config), now) from error


def _by_model(recipe: Recipe) -> dict[str, list[Due]]:
    """Every model of the run and its parts in order; EFT examples that the baseline makes belong to M1."""
    first, *rest = [list(group) for _, group in groupby(expected(recipe), lambda due: due.folder)]
    assert first[0].folder == SEED
    models: dict[str, list[Due]] = {}
    making_eft: list[Due] = []
    for group in rest:
        if group[0].folder == SEED:
            making_eft = group
        else:
            models[group[0].folder] = [*making_eft, *(due for due in group if not due.part.on_the_way)]
            making_eft = []
    return models


def _part_of(seen: str, stage: str) -> bool:
    """Whether a process in the stage `seen` works on `stage`: checkpoints are compared before a model is made."""
    return seen == stage or (stage.endswith("/model") and seen.startswith(f"{stage.removesuffix('model')}selection_"))


def _left(seen: Status) -> str:
    if seen.eta_s is None:
        return ""
    seconds = max(0.0, seen.eta_s - (time.time() - seen.at))
    return f", about {seconds:.0f} s left" if seconds < 90 else f", about {seconds / 60:.0f} min left"
