"""A run that goes on from a model of another run by another recipe: what it takes over, and which recipe holds when."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfreward.errors import SelfRewardError
from selfreward.recipe import Recipe, changed_fields, read_recipe, read_tree
from selfreward.records import (
    CHANGED,
    FOLDER,
    LOCK,
    Measured,
    Record,
    differing,
    lock_folder,
    read_line,
    read_signed,
    sync_files,
    sync_folder,
    undisturbed,
    write_whole,
)

BRANCH, CONFIG, PROVENANCE, MEASURED = "branch.json", "config.json", "provenance.json", "measured.json"
LATER = ("prompts", "responses", "judge", "pairs", "dpo")
"""Fields of a recipe that may be others in a branch: they hold from its first model on."""
AT_ONCE = (
    *("iterations", "keep_checkpoints", "report_to", "backend", "servers"),
    *("drift.limits", "drift.pass_mark", "drift.traits"),
)
"""Fields that may be others and hold for the whole folder: no record that something is made from depends on them."""
GIVE = "Give M1 or a later one of a run, as runs/demo/M2"
LEFT_BEHIND = ("*.partial", "*.checkpoints", FOLDER)
"""Nothing that comes after a model is made from these."""


class Branch(Record):
    """`branch.json`: where a run comes from."""

    source: str
    """The folder of the run that it was branched from, its name alone."""
    model: str
    """The last model that was taken over: M2."""
    fingerprint: str
    """That model's."""
    recipe: dict[str, Any]
    """The source's."""
    before: Branch | None = None
    """Where the source itself comes from."""

    @property
    def number(self) -> int:
        """The t of its M_t."""
        return int(self.model[1:])


def read_branch(run: Path) -> Branch | None:
    """Where the run in a folder comes from; None where it began with M0."""
    file = run / BRANCH
    return read_line(file.read_text(encoding="utf-8"), Branch, str(file)) if file.exists() else None


def recipes(recipe: Recipe, branch: Branch | None) -> dict[int, Recipe]:
    """The recipe that holds from M_t on, by t; by the first of them, with t = 1, M0 and SFT are made too.

    Raises `SelfRewardError` where `recipe` cannot be that of such a branch, for what was taken over would be another.
    """
    if branch is None:
        return {1: recipe}
    source = read_recipe(branch.recipe, BRANCH, Path())
    _refuse(recipe, source, branch)
    taken = {t: held for t, held in recipes(source, branch.before).items() if t <= branch.number}
    ours = {t: recipe.model_copy(update={name: getattr(held, name) for name in LATER}) for t, held in taken.items()}
    return {**ours, branch.number + 1: recipe}


def recipe_of(model: str, held: Mapping[int, Recipe]) -> Recipe:
    """The one of `recipes` by which `model` ("M2", "SFT") is made and measured."""
    number = max(1, int(model[1:])) if model[1:].isdecimal() else 1
    return held[max(t for t in held if t <= number)]


def _refuse(recipe: Recipe, source: Recipe, branch: Branch) -> None:
    old, new = (one.model_dump(mode="json", by_alias=True) for one in (source, recipe))
    free = (*LATER, *AT_ONCE)
    fixed = [name for name in changed_fields(old, new) if not any(f"{name}.".startswith(f"{may}.") for may in free)]
    if fixed:
        what = f"{branch.model} was made or is measured by it, so a branch cannot change it"
        raise SelfRewardError(what, fixed[0], "Leave it as it was, or start a run of its own with this recipe")
    if recipe.iterations < branch.number:
        what = f"the recipe ends at M{recipe.iterations + 1}, and {branch.model} is there"
        raise SelfRewardError(what, "iterations", f"Set it to {branch.number} at least")


def is_run(folder: Path) -> bool:
    """Whether `folder` is that of a run: its config.json is a recipe, and no model's settings."""
    try:
        return "base" in json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def no_run(folder: Path, now: str) -> SelfRewardError:
    """The error for a folder that is no run's, or that is not there."""
    what = f"is no run folder: it has no {CONFIG}" if folder.is_dir() else "there is no such folder"
    return SelfRewardError(what, str(folder), now)


def find_model(path: Path) -> tuple[Path, str]:
    """The folder of a run and the name of its model, as `--from` names them: RUN/M2. Raises `SelfRewardError`."""
    made = path.parent if path.name == "model" else path
    if not (made.name.startswith("M") and made.name[1:].isdecimal() and int(made.name[1:])):
        raise SelfRewardError("is no model that a run can go on from", str(path), GIVE)
    return made.parent, made.name


def branch_off(recipe: Recipe, model: Path, folder: Path) -> None:
    """Take over into `folder` a run up to and with its `model` (RUN/M2), to go on from there by `recipe`: whole, or not at all.

    Where that was done before nothing is. Raises `SelfRewardError` where the recipe or the folder is not one to go on with, and
    where the run is under way, not so far, or damaged.
    """
    run, name = find_model(model)
    if there := read_branch(folder):
        if (there.source, there.model) != (run.resolve().name, name):
            raise SelfRewardError(f"comes from {there.source}/{there.model}", str(folder), "Give this branch another folder")
        return
    if folder.is_dir() and any(folder.iterdir()):
        raise SelfRewardError("is not empty", str(folder), "Give the branch a folder of its own")
    if not (run / CONFIG).is_file():
        raise no_run(run, GIVE)
    with undisturbed(run):
        names = [part for part in ("seed", "M0", "SFT") if (run / part).is_dir()]
        names += [f"M{t}" for t in range(1, int(name[1:]) + 1)]
        for part in names:
            _look_over(run / part, f"Let the same command as before go on with {run}: it tells what to restore or to delete")
        branch = _branch_of(run, name)
        recipes(recipe, branch)
        _take_over(run, names, branch, recipe, folder)


def _look_over(folder: Path, now: str) -> None:
    """Raises `SelfRewardError` where what a model's folder, or the seed's, has to hold is not as it was written."""
    receipts = {receipt.name.split(".")[0]: receipt for receipt in sorted(folder.glob("*.receipt.json"))}
    if folder.name != "seed" and not (folder / MEASURED).exists():
        raise SelfRewardError(f"is not finished: it has no {MEASURED}", str(folder), now)
    if (folder / "model").exists() and "model" not in receipts:
        raise SelfRewardError("has no receipt, so nothing says what it was made from", str(folder / "model"), now)
    for receipt in receipts.values():
        try:
            facts = read_signed(receipt)
        except ValueError:
            facts = None
        if wrong := (receipt, CHANGED) if facts is None else differing(folder, facts["files"]):
            raise SelfRewardError(wrong[1], str(wrong[0]), now)


def _branch_of(run: Path, model: str) -> Branch:
    """What is to be known in a branch of where it comes from."""
    file = run / model / MEASURED
    measured = read_line(file.read_text(encoding="utf-8"), Measured, str(file))
    tree, before = read_tree(run / CONFIG), read_branch(run)
    return Branch(source=run.resolve().name, model=model, fingerprint=measured.fingerprint, recipe=tree, before=before)


def _take_over(run: Path, names: list[str], branch: Branch, recipe: Recipe, folder: Path) -> None:
    partial = folder.with_name(f"{folder.name}.partial")
    lock = lock_folder(partial)
    try:
        for left in partial.iterdir():  # by an attempt that was killed
            if left.is_dir():
                shutil.rmtree(left)
            elif left.name != LOCK:
                left.unlink()
        for name in names:
            shutil.copytree(run / name, partial / name, ignore=shutil.ignore_patterns(*LEFT_BEHIND))
        shutil.copy(run / PROVENANCE, partial)
        write_whole(partial / CONFIG, json.dumps(recipe.model_dump(mode="json", by_alias=True), indent=1))
        write_whole(partial / BRANCH, branch.model_dump_json(indent=1))
        sync_files(partial)
        partial.rename(folder)
        sync_folder(folder.parent)
    except OSError:  # the disk is full, say, and has better uses for what is left
        shutil.rmtree(partial, ignore_errors=True)
        raise
    finally:
        lock.close()
