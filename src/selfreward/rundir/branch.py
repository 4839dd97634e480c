"""A run that continues from a model of another run by another recipe: the folders it takes over, and the recipe of each model."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from selfreward.errors import SelfRewardError
from selfreward.recipe import Recipe, changed_values, read_recipe, read_tree
from selfreward.records import (
    CHANGED,
    FOLDER,
    Measured,
    Record,
    content_id,
    made_beside,
    number,
    readable,
    undisturbed,
    write_whole,
)
from selfreward.rundir.layout import MEASURED, MODEL, SEED
from selfreward.rundir.reading import FolderReader

BRANCH, CONFIG, PROVENANCE = "branch.json", "config.json", "provenance.json"
GOES_ON = r"M[1-9][0-9]{0,5}"
"""A model that a run can go on from."""
LATER = ("prompts", "responses", "judge", "pairs", "judge_pairs", "dpo")
"""Fields of a recipe that may be others in a branch: they hold from its first model on."""
AT_ONCE = (
    *("branch", "iterations", "keep_checkpoints", "report_to", "backend", "servers"),
    *("drift.limits", "drift.baseline", "drift.false_alarms", "drift.on_alarm", "drift.also", "drift.pass_mark", "drift.traits"),
)
"""Fields that a branch may change for the whole folder: no record that something is made from depends on them."""
GIVE = "Give M1 or a later model of a run, such as runs/demo/M2"
BEFORE = ("seed", "M0", "SFT")
"""Folders before M1."""
LEFT_BEHIND = ("*.partial", "*.checkpoints", FOLDER)
"""Parts that a branch does not take over, for nothing is made from them."""


class Branch(Record):
    """The origin of a run: `branch.json`."""

    source: str
    """The name of the source run's folder."""
    model: str = Field(pattern=f"^{GOES_ON}$")
    """The last model that was taken over: M2."""
    fingerprint: str
    """Fingerprint of `model`."""
    recipe: dict[str, Any]
    """The source's recipe."""
    before: Branch | None = None
    """The origin of the source itself."""

    @property
    def number(self) -> int:
        """The t of `model`, M_t."""
        return number(self.model)

    @property
    def id(self) -> str:
        """The id by which the run's `config.json` names this file."""
        return content_id(self.model_dump(mode="json"))

    @property
    def taken(self) -> tuple[str, ...]:
        """The folders that were taken over, where the source had them."""
        return (*BEFORE, *(f"M{t}" for t in range(1, self.number + 1)))


def read_branch(run: Path) -> Branch | None:
    """The origin of the run in a folder; None for a run that began with M0.

    Raises `SelfRewardError` where `branch.json` has changed. An unsigned file, of a branch made before files were signed, is
    trusted where `config.json` names none.
    """
    file, kept, config_id = run / BRANCH, run / "logs" / BRANCH, _id_in(run / CONFIG, "branch")
    now = f"Restore it from {kept}, or branch again into another folder"
    if not file.exists():
        if config_id or kept.exists():
            says = CONFIG if config_id else f"logs/{BRANCH}"
            raise SelfRewardError(f"is missing, and {says} says that this run goes on from another", str(file), now)
        return None
    try:
        tree = json.loads(readable(file).read_text(encoding="utf-8"))
        signed = tree.pop("id", None)
        branch = Branch.model_validate(tree)
    except (ValueError, RecursionError, AttributeError) as error:
        raise SelfRewardError(CHANGED, str(file), now) from error
    if any(other != branch.id for other in (signed, config_id) if other is not None):
        raise SelfRewardError(CHANGED, str(file), now)
    return branch


def _id_in(file: Path, key: str) -> str | None:
    """The id of the branch that a file tells under `key`; readers of the whole file report a damaged one."""
    try:
        branch_id = json.loads(readable(file).read_text(encoding="utf-8")).get(key)
    except (OSError, ValueError, RecursionError, AttributeError):
        return None
    return branch_id if isinstance(branch_id, str) else None


def of_branch(recipe: Recipe, run: Path) -> Recipe:
    """`recipe` in the form of the `config.json` in `run`, which names the branch, if any that is signed."""
    return recipe.model_copy(update={"branch": _id_in(run / BRANCH, "id")})


def recipes(recipe: Recipe, branch: Branch | None) -> dict[int, Recipe]:
    """The recipes of a branch, by the t of the model from which each holds; that of t = 1 makes M0 and SFT, too.

    Raises `SelfRewardError` where `recipe` would change the models that were taken over.
    """
    if branch is None:
        return {1: recipe}
    source = read_recipe(branch.recipe, BRANCH, Path())
    _refuse(recipe, source, branch)
    before = {t: old for t, old in recipes(source, branch.before).items() if t <= branch.number}
    ours = {t: recipe.model_copy(update={name: getattr(old, name) for name in LATER}) for t, old in before.items()}
    return {**ours, branch.number + 1: recipe}


def recipe_of(model: str, by_start: Mapping[int, Recipe]) -> Recipe:
    """The recipe, of `recipes`, that makes and measures `model` ("M2", "SFT")."""
    return by_start[max(t for t in by_start if t <= max(1, number(model)))]


def _refuse(recipe: Recipe, source: Recipe, branch: Branch) -> None:
    old, new = (side.model_dump(mode="json", by_alias=True) for side in (source, recipe))
    free = (*LATER, *AT_ONCE)
    changes = changed_values(old, new)
    fixed = [name for name in changes if not any(f"{name}.".startswith(f"{may}.") for may in free)]
    if fixed:
        was, would_be = (json.dumps(value, ensure_ascii=False)[:60] for value in changes[fixed[0]])
        what = f"{branch.model} depends on it, so a branch cannot change it ({was} → {would_be})"
        raise SelfRewardError(what, fixed[0], "Leave it as it was, or start a run of its own with this recipe")
    if recipe.iterations < branch.number:
        what = f"the recipe ends at M{recipe.iterations + 1}, and {branch.model} is there"
        raise SelfRewardError(what, "iterations", f"Set it to {branch.number} at least")


def is_run(folder: Path) -> bool:
    """True if `folder` holds a run: its config.json is a recipe, and not a model's settings."""
    try:
        return "base" in json.loads(readable(folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, TypeError):
        return False


def no_run(folder: Path, now: str) -> SelfRewardError:
    """The error for a folder that is missing or holds no run."""
    missing = "is a file, and no run folder" if folder.is_file() else "there is no such folder"
    return SelfRewardError(f"is no run folder: it has no {CONFIG}" if folder.is_dir() else missing, str(folder), now)


def find_model(path: Path) -> tuple[Path, str]:
    """The folder of a run and the name of its model, from RUN/M2. Raises `SelfRewardError`."""
    folder = path.parent if path.name == "model" else path
    if not re.fullmatch(GOES_ON, folder.name):
        raise SelfRewardError("is no model that a run can go on from", str(path), GIVE)
    return folder.parent, folder.name


def branch_off(recipe: Recipe, model: Path, folder: Path) -> None:
    """Take over a run into `folder` up to and including its `model` (RUN/M2), to continue by `recipe`: atomically.

    Does nothing where that was done before. Raises `SelfRewardError` where the recipe or the folder cannot continue the run, and
    where the run is under way, has no such model yet, is damaged, or has changed since.
    """
    run, name = find_model(model)
    if there := read_branch(folder):
        _assert_the_same(there, run, name, folder)
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SelfRewardError("is not empty", str(folder), "Give the branch a folder of its own")
    if not (run / CONFIG).is_file():
        raise no_run(run, GIVE)
    with undisturbed(run):
        if not (run / name / MEASURED).exists():
            raise _unfinished(run, name)
        names = [part for part in BEFORE if (run / part).is_dir()] + [f"M{t}" for t in range(1, number(name) + 1)]
        for part in names:
            _look_over(FolderReader(run / part))
        branch = _branch_of(run, name)
        recipes(recipe, branch)
        _take_over(run, names, branch, recipe, folder)


def _unfinished(run: Path, name: str) -> SelfRewardError:
    """The error for a model that the run has not begun, or not finished."""
    if (run / name).is_dir():
        return SelfRewardError(f"is not finished: it has no {MEASURED}", str(run / name), FolderReader(run / name).restore)
    finished = sorted((path.parent.name for path in run.glob(f"M[1-9]*/{MEASURED}")), key=number)
    now = f"Give {' or '.join(finished)}" if finished else f"Let the run make it: selfreward run -o {shlex.quote(str(run))}"
    return SelfRewardError("there is no such model", str(run / name), now)


def _assert_the_same(branch: Branch, run: Path, name: str, folder: Path) -> None:
    """Raises `SelfRewardError` where a branch comes from another model than `name` of `run`, if that still exists."""
    now = f"Give this branch another folder, or go on with the branch there: selfreward run -o {shlex.quote(str(folder))}"
    if (branch.source, branch.model) != (run.resolve().name, name):
        raise SelfRewardError(f"comes from {branch.source}/{branch.model}", str(folder), now)
    if (run / name / MEASURED).exists() and (weights := _measured(run / name, under_way=True).fingerprint) != branch.fingerprint:
        what = f"comes from {branch.source}/{name} as it was, {branch.fingerprint}; it is {weights} now"
        raise SelfRewardError(what, str(folder), now)


def _look_over(folder: FolderReader) -> None:
    """Raises `SelfRewardError` where a file in the folder of a model, or of the seed, differs from its receipt.

    Raises `OSError` where a pipe, a socket or a device is in it, or a link to nowhere, which cannot be copied.
    """
    if folder.name != SEED and not (folder.path / MEASURED).exists():
        raise SelfRewardError(f"is not finished: it has no {MEASURED}", str(folder.path), folder.restore)
    if folder.weights.exists() and folder.receipt(MODEL.name) is None:
        raise SelfRewardError("has no receipt, so its inputs are unknown", str(folder.weights), folder.restore)
    for stage in folder.stages():
        folder.whole(stage)
    for file in folder.path.rglob("*"):
        readable(file)


def _branch_of(run: Path, model: str) -> Branch:
    """The origin of a new branch."""
    tree, before = read_tree(run / CONFIG), read_branch(run)
    fingerprint = _measured(run / model).fingerprint
    return Branch(source=run.resolve().name, model=model, fingerprint=fingerprint, recipe=tree, before=before)


def _measured(folder: Path, under_way: bool = False) -> Measured:
    measured = FolderReader(folder, under_way).measured
    assert measured is not None  # there is such a file
    return measured


def _take_over(run: Path, names: list[str], branch: Branch, recipe: Recipe, folder: Path) -> None:
    provenance = _provenance(run / PROVENANCE)
    signed = json.dumps({"id": branch.id, **branch.model_dump(mode="json")}, indent=1)
    config = recipe.model_copy(update={"branch": branch.id}).model_dump(mode="json", by_alias=True)
    with made_beside(folder) as partial:
        for name in names:
            shutil.copytree(run / name, partial / name, ignore=shutil.ignore_patterns(*LEFT_BEHIND))
        (partial / "logs").mkdir()
        write_whole(partial / PROVENANCE, provenance)
        write_whole(partial / CONFIG, json.dumps(config, indent=1))
        for file in (partial / "logs" / BRANCH, partial / BRANCH):
            write_whole(file, signed)


def _provenance(file: Path) -> str:
    """The text of a run's provenance. Raises `SelfRewardError` where it does not name the libraries."""
    try:
        text = readable(file).read_text(encoding="utf-8")
        json.loads(text)["libraries"]
    except (OSError, ValueError, RecursionError, KeyError, TypeError) as error:
        what = "is not what this program wrote" if file.exists() else "is missing"
        raise SelfRewardError(what, str(file), f"Restore it from the last attempt in {file.parent / 'logs'}") from error
    return text
