"""A read-only view of a run folder, finished or under way, that does not disturb the process working in it."""

from __future__ import annotations

import json
import time
from functools import cached_property
from itertools import groupby, pairwise
from pathlib import Path

from selfreward.errors import SelfRewardError
from selfreward.recipe import Recipe, begun_with, look_in, read_recipe
from selfreward.records import Measured, Reading, Records, ending, file_hash, is_held, left_behind, readable, worst
from selfreward.rundir.branch import no_run, read_branch, recipe_of, recipes
from selfreward.rundir.layout import DRIFT, HELDOUT_RESPONSES, M1, MEASURED, MODEL, PAIRS, SEED, PlannedPart, expected
from selfreward.rundir.reading import FolderReader
from selfreward.rundir.seen import Status, attempts, last_error, last_seen


class ModelView(FolderReader):
    """One model's folder: its planned parts in order, and the finished ones."""

    def __init__(self, run: Path, name: str, planned: list[PlannedPart], under_way: bool = False) -> None:
        super().__init__(run / name, under_way)
        self.planned = planned
        self.done = [part for part in planned if (run / f"{part}.receipt.json").exists()]

    @cached_property
    def watched(self) -> list[Reading]:
        """The readings of this model, in memory."""
        return list(self.readings())

    def readings(self) -> Records[Reading]:
        """All readings of this model."""
        return self.records(DRIFT)

    @property
    def owed(self) -> list[PlannedPart]:
        """The missing parts of a model that is not whole yet: made, and measured and watched where it is to be."""
        last = [part for part in self.planned if part.part is (DRIFT if self.is_measured else MODEL)]
        whole = (self.measured or not self.is_measured) and all(part in self.done for part in last)
        return [] if whole else [part for part in self.planned if part not in self.done]

    @property
    def is_measured(self) -> bool:
        """True if the recipe has this model measured."""
        return any(part.part is HELDOUT_RESPONSES for part in self.planned)


class RunView:
    """A run: its recipe, all its planned models, and its progress."""

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        self.folder, self.recipe = folder, recipe
        self.alive = is_held(folder / ".lock")
        """True if a process works in the folder."""
        self.seen = last_seen(folder / "logs" / "status.json")
        """The last sign of life."""
        self.seed = FolderReader(folder / SEED)
        self.models = {name: ModelView(folder, name, planned, self.alive) for name, planned in _by_model(recipe).items()}
        """Models by name, in the order in which they are made."""

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
    def unsigned(self) -> list[str]:
        """Names of the measured models whose figures no receipt covers: an older build wrote none."""
        return [model.name for model in self.models.values() if model.measured and not model.signed]

    @property
    def knows_recipe(self) -> bool:
        """True if `config.json` is the recipe of an attempt in `logs`, or no attempt is there to tell."""
        logs = self.folder / "logs"
        kept = {_hash(logs / f"attempt_{n}" / "config.json") for n in attempts(logs)} - {None}
        return not kept or _hash(self.folder / "config.json") in kept

    @property
    def finished(self) -> bool:
        """True if every model is made, and measured and watched where the recipe says so."""
        return all(not model.owed and (model.measured or not model.is_measured) for model in self.models.values())

    @property
    def ended(self) -> ModelView | None:
        """The model at which a monitor's `stop` ended the run; None where none did."""
        return next((m for m in self.models.values() if any(reading.verdict == "stop" for reading in m.watched)), None)

    @cached_property
    def left(self) -> list[ModelView]:
        """The models that an alarm left behind (`drift.on_alarm = "rollback"`), and those made unwatched on the way to it."""
        left: list[ModelView] = []
        unwatched: list[ModelView] = []
        for model in (self.models[name] for name in self.iterations):
            unwatched.append(model)
            if model.watched:
                left += unwatched if worst(model.watched) == "back" else []
                unwatched = []
        return left

    @property
    def standing(self) -> list[Measured]:
        """The measurements so far, in order, but those of models left behind."""
        left = {model.name for model in self.left}
        return [measured for measured in self.measured if measured.name not in left]

    def before(self, model: str) -> str:
        """The last model before `model` that was not left behind: of M2, M3, … the one it is made from; or empty."""
        left, names = {behind.name for behind in self.left}, [*self.models]
        return next((name for name in reversed(names[: names.index(model)]) if name not in left), "")

    def rival(self, model: str) -> str:
        """The last model before `model` that was measured and not left behind, with which it is compared; or empty."""
        name = self.before(model)
        return name if not name or self.models[name].is_measured else self.rival(name)

    @property
    def iterations(self) -> list[str]:
        """Names of the models that an iteration of the loop makes."""
        return [name for name, model in self.models.items() if any(part.part is PAIRS for part in model.planned)]

    @property
    def next_stage(self) -> str:
        """The first unfinished stage ("M2/judgments"); empty where there is none, or where a monitor ended the run."""
        return "" if self.ended else next((str(part) for model in self.models.values() for part in model.owed), "")

    @property
    def status(self) -> str:
        """One line: finished, or the stage under way, or where the run stopped, or the cause of its end."""
        if self.ended:
            name = self.ended.name
            return ending(name, self.ended.watched, None if name == M1 else self.rival(name))
        if self.finished and not self.alive:
            alarmed = [model for model in self.left if model.watched]
            return "; ".join(["finished", *(left_behind(m.name, m.watched, self.rival(m.name)) for m in alarmed)])
        stage, seen = self.next_stage, self.seen
        if seen is None or not _part_of(seen.stage, stage):
            progress = f"before {stage}" if stage else "at its end"
        else:
            progress = f"in {seen.stage}, {seen.done_of}" + (_left(seen) if self.alive else "")
        if self.alive:
            return f"running, {progress}"
        if error := last_error(self.folder / "logs"):
            return f"ended {progress} by an error, which the same command meets again until it is corrected: {error}"
        return f"stopped {progress}; the same command goes on from here"


def open_run(folder: Path | str) -> RunView:
    """The run in `folder`, also while it runs. Raises `SelfRewardError` where the folder holds no run."""
    folder = Path(folder)
    config = folder / "config.json"
    if not config.is_file():
        raise no_run(folder, "Give the folder of a run, such as runs/demo")
    try:
        if folders := begun_with(folder):
            look_in(*folders)
        run = RunView(folder, read_recipe(json.loads(readable(config).read_text()), str(config), folder))
    except (ValueError, RecursionError) as error:
        now = f"Restore it from the last attempt in {folder / 'logs'}"
        raise SelfRewardError("is not what this program wrote", str(config), now) from error
    _assert_no_gap(run)
    return run


def _assert_no_gap(run: RunView) -> None:
    """Raises `SelfRewardError` where a model is not measured and one after it is, by an older build, whose receipts name none."""
    models = [] if run.alive else [model for model in run.models.values() if model.is_measured]
    for model, later in pairwise(models):
        measured, after = ((each.path / MEASURED).exists() for each in (model, later))
        if after and not measured and not later.signed:
            what = f"is missing, and {later.name} was made after it"
            raise SelfRewardError(what, str(model.path / MEASURED if model.path.is_dir() else model.path), model.restore)


def _hash(file: Path) -> str | None:
    """The hash of a file; None where it cannot be read."""
    try:
        return file_hash(file)
    except OSError:
        return None


def _by_model(recipe: Recipe) -> dict[str, list[PlannedPart]]:
    """Every model of the run and its parts in order; EFT examples that the baseline makes belong to M1."""
    first, *rest = [list(group) for _, group in groupby(expected(recipe), lambda planned: planned.folder)]
    assert first[0].folder == SEED
    models: dict[str, list[PlannedPart]] = {}
    making_eft: list[PlannedPart] = []
    for group in rest:
        if group[0].folder == SEED:
            making_eft = group
        else:
            models[group[0].folder] = [*making_eft, *(planned for planned in group if not planned.part.on_the_way)]
            making_eft = []
    return models


def _part_of(seen: str, stage: str) -> bool:
    """True if a process in the stage `seen` works on `stage`: checkpoints are compared before a model is made."""
    return seen == stage or (stage.endswith("/model") and seen.startswith(f"{stage.removesuffix('model')}selection_"))


def _left(seen: Status) -> str:
    if seen.eta_s is None:
        return ""
    seconds = max(1.0, seen.eta_s - (time.time() - seen.at))
    return f", about {seconds:.0f} s left" if seconds < 90 else f", about {seconds / 60:.0f} min left"
