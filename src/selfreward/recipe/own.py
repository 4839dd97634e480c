"""Code of the user's own, which a recipe names by import path: where it is looked for, and how it may be called.

Modules are looked for where Python looks, then in the recipe's folder, then in the current one. A name that stands for two
files is refused: neither wins in silence.
"""

from __future__ import annotations

import difflib
import inspect
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from selfreward.errors import SelfRewardError, raised
from selfreward.recipe.fields import MOVED_MODULES, moved

_ours: list[str] = []
"""Folders at the end of `sys.path` that this module put there."""
_recipes: list[Path] = []
"""The folder of the recipe read last."""


def look_in(folder: Path) -> None:
    """Let import paths see the modules in `folder`, that of a recipe; the folder of one read before is no longer seen."""
    _recipes[:] = [folder.absolute()]


def imported(path: str) -> Any:
    """The object that `package.module:name` names. Raises `SelfRewardError`."""
    module, _, name = moved(path, MOVED_MODULES).partition(":")
    folders = _see()
    try:
        loaded = import_module(module)
    except Exception as error:  # the module is another's code, and may raise anything
        looked = f"Looked for where Python looks, then in {' and in '.join(folders) or 'no other folder'}"
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
    folders = list(dict.fromkeys(str(folder) for folder in (*_recipes, Path.cwd())))
    _ours[:] = [folder for folder in folders if folder not in sys.path]
    sys.path.extend(_ours)
    return folders


def _refuse_two(path: str, name: str, folders: list[str]) -> None:
    """Raises `SelfRewardError` where module `name` was loaded from elsewhere, and `folders` have another of that name."""
    loaded, there = getattr(sys.modules.get(name), "__file__", None), PathFinder.find_spec(name, folders)
    if name == __package__.partition(".")[0] or not loaded or there is None or not there.origin:
        return
    if Path(loaded).resolve() != Path(there.origin).resolve():
        now = f"Rename one of them, or stand in another folder: {loaded} was loaded"
        raise SelfRewardError(f"{name} is {loaded} and also {there.origin}", path, now)


def assert_takes(function: Any, where: str, *arguments: str) -> None:
    """Raises `SelfRewardError` where `function` cannot be called with so many `arguments`, which are named as they are meant."""
    called = f"({', '.join(arguments)})"
    if not callable(function):
        what = f"is {article(type(function).__name__)}, where a function of {called} is expected"
        raise SelfRewardError(what, where, "Name a function")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # of some built-in functions nothing tells
        return
    try:
        signature.bind(*arguments)
    except TypeError as error:
        what = f"takes {signature}, and is called with {called}"
        raise SelfRewardError(what, where, f"Let it take {amount_of(arguments)}") from error


def amount_of(arguments: tuple[str, ...]) -> str:
    """`no arguments`, or the arguments in words."""
    return f"{len(arguments)}: {', '.join(arguments)}" if arguments else "no arguments"


def article(noun: str) -> str:
    """A noun with its article."""
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"


def function_at(path: str, where: str, *arguments: str) -> Callable[..., Any]:
    """The function that `path` names, for calls with `arguments`. Raises `SelfRewardError` where it is none, or takes others."""
    function: Callable[..., Any] = imported(path)
    assert_takes(function, f"{where} ({path})", *arguments)
    return function


ENGINE = {"batches": ("requests",), "prepare": ("requests",), "generate": ("batch",), "close": ()}
"""Methods of an engine, and the arguments of each."""


def engine_at(path: str) -> Callable[[], Any]:
    """The class, or function without arguments, that makes an engine. Raises `SelfRewardError` where it is none."""
    made: Any = imported(path)
    assert_takes(made, path)
    if isinstance(made, type):
        assert_engine(made, path, ("self",))
    return made  # type: ignore[no-any-return]


def assert_engine(engine: Any, path: str, first: tuple[str, ...] = ()) -> None:
    """Raises `SelfRewardError` where `engine` lacks a method of one; `first`: arguments that come before a method's own."""
    if missing := [name for name in ENGINE if not callable(getattr(engine, name, None))]:
        name = engine.__name__ if isinstance(engine, type) else type(engine).__name__
        what = f"{name} has no {' and no '.join(missing)}, and an engine has {', '.join(ENGINE)}"
        raise SelfRewardError(what, path, "Add what is missing (docs/python.md shows a whole one)")
    for name, arguments in ENGINE.items():
        assert_takes(getattr(engine, name), f"{path}, {name}", *first, *arguments)
