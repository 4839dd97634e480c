"""Code of the user's own, which a recipe names by import path: it is loaded, and checked that it can be called."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from pydantic import BaseModel

from selfreward.errors import SelfRewardError
from selfreward.recipe.fields import imported, place_of, see


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
        raise SelfRewardError(what, where, f"Make it take {amount_of(arguments)}") from error


def amount_of(arguments: tuple[str, ...]) -> str:
    """`no arguments`, or the arguments in words."""
    return f"{len(arguments)}: {', '.join(arguments)}" if arguments else "no arguments"


def article(noun: str) -> str:
    """A noun with its article."""
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"


LATER = {
    inspect.iscoroutinefunction: "an async function", inspect.isgeneratorfunction: "a generator",
    inspect.isasyncgenfunction: "an async generator",
}  # fmt: skip
"""Functions that give their values only to callers that await them or iterate."""


def function_at(path: str, where: str, *arguments: str) -> Callable[..., Any]:
    """The function that `path` names, for calls with `arguments`. Raises `SelfRewardError` where it is none, or takes others."""
    function: Callable[..., Any] = imported(path, where)
    assert_takes(function, f"{where} ({path})", *arguments)
    assert_returns(function, f"{where} ({path})")
    return function


def assert_returns(function: Any, where: str, iterates: bool = False) -> None:
    """Raises `SelfRewardError` where a call of `function` gives no value, but something to await or to iterate over.

    `iterates`: whether its caller iterates, so that it may be a generator.
    """
    called = function, type(function).__call__
    for is_one, kind in LATER.items():
        if any(map(is_one, called)) and not (iterates and is_one is inspect.isgeneratorfunction):
            raise SelfRewardError(f"is {kind}, which gives no value when called", where, "Make it return a value")


def _is_module(name: str) -> bool:
    """True if there is a module `name`, which is not loaded for it; the packages that it is in are."""
    see()
    try:
        return name in sys.modules or getattr(find_spec(name), "origin", None) is not None  # a mere folder has no origin
    except Exception:  # a package is another's code, and may raise anything
        return False


def misspelt(text: str) -> str | None:
    """`mine:vowels` for the text `mine.vowels`, where there is a module `mine` beside Python's own; None for other texts."""
    if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)+", text) or text.partition(".")[0] in sys.stdlib_module_names:
        return None
    module, _, name = text.rpartition(".")
    return f"{module}:{name}" if _is_module(module) else None


ENGINE = {"batches": ("requests",), "prepare": ("requests",), "generate": ("batch",), "close": ()}
"""Methods of an engine, and the arguments of each."""


def field_of(recipe: BaseModel, value: str) -> str:
    """The dotted name of the first field of `recipe` that is `value`, or a list with it; empty where none is."""

    def found(tree: Any, name: str) -> str:
        if isinstance(tree, dict):
            return next(filter(None, (found(part, f"{name}.{key}") for key, part in tree.items())), "")
        return name if tree == value or (isinstance(tree, list) and value in tree) else ""

    return found(recipe.model_dump(mode="json", by_alias=True), "").removeprefix(".")


@contextmanager
def held_by(field: str, path: str) -> Iterator[None]:
    """Names the field of the recipe that holds `path` in an error about that file as a whole."""
    try:
        yield
    except SelfRewardError as error:
        if error.where != path:
            raise
        raise SelfRewardError(error.what, place_of(path, field), error.now) from error


def engine_at(path: str, field: str = "") -> Callable[[], Any]:
    """The class, or function without arguments, that makes an engine. Raises `SelfRewardError` where it is none.

    `field`: of the recipe, which holds the path.
    """
    factory: Any = imported(path, field)
    where = place_of(path, field)
    assert_takes(factory, where)
    if isinstance(factory, type):
        assert_engine(factory, where, ("self",))
    return factory  # type: ignore[no-any-return]


def assert_engine(engine: Any, path: str, first: tuple[str, ...] = ()) -> None:
    """Raises `SelfRewardError` where `engine` lacks a method of one; `first`: arguments that come before a method's own."""
    if missing := [name for name in ENGINE if not callable(getattr(engine, name, None))]:
        name = engine.__name__ if isinstance(engine, type) else type(engine).__name__
        what = f"{name} has no {' and no '.join(missing)}, and an engine has {', '.join(ENGINE)}"
        raise SelfRewardError(what, path, "Add what is missing (docs/python.md shows a whole engine)")
    for name, arguments in ENGINE.items():
        assert_takes(getattr(engine, name), f"{path}, {name}", *first, *arguments)
        assert_returns(getattr(engine, name), f"{path}, {name}", iterates=name in ("batches", "generate"))
