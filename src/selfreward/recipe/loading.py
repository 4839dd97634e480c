"""A recipe from its file, with changes on top: fields set by name, tables merged; and which change is at fault where one is."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

from selfreward.errors import SelfRewardError
from selfreward.recipe.data import SourceConfig
from selfreward.recipe.fields import IMPORT_PATH, begun_with, look_in
from selfreward.recipe.recipe import Recipe, known_fields, read_recipe, read_tree, shipped_recipes

R = TypeVar("R")


def load_recipe(path: Path | str, changes: Mapping[str, Any] | None = None) -> Recipe:
    """The recipe in a file, or one that comes with the package, with `changes` on top. Raises `SelfRewardError`.

    `changes`: field → value. A dotted field (`dpo.beta`) is set whole, a table is merged into the recipe's.
    """
    path = Path(path)
    path = shipped_recipes().get(path.name.removesuffix(".toml"), path) if path.parent == Path() and not path.exists() else path
    tree = read_tree(path)
    look_in(*(begun_with(path.parent) if path.name == "config.json" else ()) or [path.parent])
    return changed_recipe(partial(read_recipe, where=str(path), folder=path.parent), tree, changes or {})


def change_recipe(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """`recipe` with `changes` on top, as for `load_recipe`. Raises `SelfRewardError`."""
    tree = recipe.model_dump(mode="json", by_alias=True)
    return changed_recipe(partial(read_recipe, where="recipe", folder=Path()), tree, changes)


def written(value: Any, where: str = "") -> Any:
    """A value as a recipe has it: a function or class as `package.module:name`, a path as text; `where`: its dotted field.

    Raises `SelfRewardError` for a function that no import path names.
    """
    if isinstance(value, Mapping):
        return {name: written(inner, f"{where}.{name}".lstrip(".")) for name, inner in value.items()}
    if callable(value):
        path = f"{getattr(value, '__module__', None)}:{getattr(value, '__qualname__', None)}"
        if not re.fullmatch(IMPORT_PATH, path) or not hasattr(value, "__qualname__"):
            what = f"is {value!r:.80}, which no import path names: lambdas, partials, methods and inner functions have none"
            raise SelfRewardError(what, where or "set", "Give a function or class by its def at the top of a module or notebook")
        return path
    return str(value) if isinstance(value, Path) else value


def changed_recipe(read: Callable[[dict[str, Any]], R], tree: dict[str, Any], changes: Mapping[str, Any]) -> R:
    """The recipe that `read` makes of `tree` with `changes` on top. Raises `SelfRewardError`, which names the change at fault."""
    changes = written(changes)
    try:
        return read(_changed(tree, changes))
    except SelfRewardError as error:
        if at_fault := _at_fault(read, tree, changes, error):
            what = error.what.removeprefix(f"{at_fault[0]}: ")
            raise SelfRewardError(what, " ".join(f"--set {name}" for name in at_fault), error.now) from error
        raise


def _at_fault(
    read: Callable[[dict[str, Any]], Any], tree: dict[str, Any], changes: Mapping[str, Any], fault: SelfRewardError
) -> list[str]:
    """The names of the changes without which there were no such `fault`; none where there is one without any of them."""

    def wrong_with(names: Iterable[str]) -> bool:
        try:
            read(_changed(tree, {name: changes[name] for name in names}))
        except SelfRewardError as error:
            return error.args == fault.args
        return False

    if wrong_with([]):
        return []
    return [name for name in changes if not wrong_with(other for other in changes if other != name)] or list(changes)


def _changed(tree: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    tree = copy.deepcopy(tree)
    for table, name in _sources():
        if isinstance(tree.get(table), dict) and isinstance(path := tree[table].get(name), str):
            tree[table][name] = {"path": path}
    for name, value in changes.items():
        if "." in name:
            set_field(tree, name, value)
        else:
            tree = merged(tree, {name: value})
    return tree


@cache
def _sources() -> list[tuple[str, str]]:
    """The fields that are sources of rows, for which a recipe may give a path alone: their table, their name."""
    fields = [(table, name) for table in known_fields([]) for name in known_fields([table])]
    return [field for field in fields if known_fields([*field]) == [*SourceConfig.model_fields]]


def merged(tree: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`changes` over `tree`, table by table."""
    both = {
        name: merged(tree[name], value)
        for name, value in changes.items()
        if isinstance(value, Mapping) and isinstance(tree.get(name), Mapping)
    }
    return {**tree, **changes, **both}


PART = re.compile(r'(?:^|\.)(?:"([^"]*)"(?=\.|$)|([^.]*))')
"""A part of a field's name. One that has dots itself stands in quotes, as in TOML: drift.limits."flukes.rate".above."""


def set_field(tree: dict[str, Any], field: str, value: Any) -> None:
    """Set a field by its dotted name, in tables made where they are missing. Raises `SelfRewardError` where one is no table."""
    path = [part[1] or part[2] for part in PART.finditer(field)]
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
        if not isinstance(tree, dict):
            raise SelfRewardError(f"{name} is a field without fields", "--set", f"Set {name} itself, or another field")
    tree[path[-1]] = value
