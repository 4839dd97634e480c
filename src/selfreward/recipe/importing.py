"""Code of the user's own, named by import path: the folders that are searched, and the loading."""

from __future__ import annotations

import difflib
import json
import sys
from importlib import import_module
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from selfreward.errors import SelfRewardError, raised
from selfreward.recipe.fields import MOVED_MODULES, moved

_recipes: list[Path] = []
"""The folder of the recipe read last, or the folders that its run was begun with; import paths are searched there too."""
LOOKED_IN = "looked_in"
"""The key in a run's `provenance.json` of the folders that were searched for import paths."""


def look_in(*folders: Path) -> None:
    """Make import paths see the modules in `folders`, such as a recipe's; folders given before are no longer seen.

    Python's own path is searched first, then these folders, then the current folder. A name that means two files is refused:
    neither is chosen silently.
    """
    _recipes[:] = [folder.absolute() for folder in folders]


def looked_in() -> list[str]:
    """The folders that are searched for import paths after Python's own path: the recipe's, then the current one."""
    return list(dict.fromkeys(str(folder) for folder in (*_recipes, Path.cwd())))


def begun_with(run: Path) -> list[Path]:
    """The folders that a run searched for import paths; none where `run` is no run's folder, or does not tell."""
    try:
        known = json.loads((run / "provenance.json").read_text(encoding="utf-8"))[LOOKED_IN]
        return [Path(folder) for folder in known]
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        return []


_ours: list[str] = []
"""Folders at the end of `sys.path` that this module put there."""


def imported(path: str) -> Any:
    """The object that `package.module:name` names. Raises `SelfRewardError`."""
    module, _, name = moved(path, MOVED_MODULES).partition(":")
    folders = _see()
    try:
        loaded = import_module(module)
    except Exception as error:  # the module is another's code, and may raise anything
        looked = f"Searched: Python's own path, then {' and in '.join(folders) or 'no other folder'}"
        now = f"Name it as package.module:name. {looked}"
        why = error if isinstance(error, ImportError) else raised(error)
        raise SelfRewardError(f"cannot be imported ({why})", path, now) from error
    _refuse_two(path, module.partition(".")[0], folders)
    if not hasattr(loaded, name):
        near = difflib.get_close_matches(name, vars(loaded), n=1)
        now = f"Did you mean {module}:{near[0]}?" if near else "Name it as package.module:name"
        has_none = f"{getattr(loaded, '__file__', None) or module} has no {name}"
        raise SelfRewardError(f"cannot be imported ({has_none})", path, now)
    return getattr(loaded, name)


def _see() -> list[str]:
    """Put the recipe's folder and the current one at the end of `sys.path`; returns them."""
    for folder in _ours:
        if folder in sys.path:
            sys.path.remove(folder)
    folders = looked_in()
    _ours[:] = [folder for folder in folders if folder not in sys.path]
    sys.path.extend(_ours)
    return folders


def _refuse_two(path: str, name: str, folders: list[str]) -> None:
    """Raises `SelfRewardError` where module `name` was loaded from elsewhere, and `folders` have another of that name."""
    loaded, there = getattr(sys.modules.get(name), "__file__", None), PathFinder.find_spec(name, folders)
    if name == __package__.partition(".")[0] or not loaded or there is None or not there.origin:
        return
    if Path(loaded).resolve() != Path(there.origin).resolve():
        now = f"Rename one of them, or run from another folder: {loaded} was loaded"
        raise SelfRewardError(f"{name} is {loaded} and also {there.origin}", path, now)
