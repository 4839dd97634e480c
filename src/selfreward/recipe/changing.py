"""Changes of a recipe, as trees of built-ins: fields set by name, tables merged, and in what two recipes differ."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from selfreward.errors import SelfRewardError
from selfreward.recipe.fields import spelt_now

R = TypeVar("R")


def written(value: Any) -> Any:
    """A value as a recipe has it: a function or class as `package.module:name`, a path as text."""
    if isinstance(value, Mapping):
        return {name: written(inner) for name, inner in value.items()}
    if callable(value):
        return f"{value.__module__}:{value.__qualname__}"
    return str(value) if isinstance(value, Path) else value


def changed_recipe(read: Callable[[dict[str, Any]], R], tree: dict[str, Any], changes: Mapping[str, Any]) -> R:
    """The recipe that `read` makes of `tree` with `changes` on top. Raises `SelfRewardError`, which names the change at fault."""
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
    for name, value in written(changes).items():
        if "." in name:
            set_field(tree, name.split("."), value)
        else:
            tree = merged(tree, {name: value})
    return tree


def merged(tree: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`changes` over `tree`, table by table."""
    both = {
        name: merged(tree[name], value)
        for name, value in changes.items()
        if isinstance(value, Mapping) and isinstance(tree.get(name), Mapping)
    }
    return {**tree, **changes, **both}


def set_field(tree: dict[str, Any], path: list[str], value: Any) -> None:
    """Set a field by its path, in tables made where they are missing. Raises `SelfRewardError` where one is no table."""
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
        if not isinstance(tree, dict):
            raise SelfRewardError(f"{name} is a field without fields", "--set", f"Set {name} itself, or another field")
    tree[path[-1]] = value


def changed_fields(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """The dotted names of fields in which two trees differ by more than the spelling of an earlier layout."""
    return list(changed_values(before, now))


def changed_values(before: dict[str, Any], now: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The values before and now, by the dotted names of `changed_fields`; None for a missing value."""
    old, new = _flat(before), _flat(now)
    names = sorted(old.keys() | new.keys())
    return {name: (old.get(name), new.get(name)) for name in names if spelt_now(old.get(name)) != spelt_now(new.get(name))}


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat
