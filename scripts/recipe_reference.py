"""Writes docs/recipe.md from the recipe's own tables: every field with its type, its default, and where the paper has it."""

from __future__ import annotations

import json
import re
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from selfreward.recipe import Recipe, Section, SourceConfig

DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "recipe.md"
HEAD = """# Every field of a recipe

Written by `scripts/recipe_reference.py` from the code. A recipe is a TOML file; what it does not say is as in the
column *default*. Any field can be given for one run with `--set`, as `--set dpo.beta=0.2`. *Paper*: the section of
*Self-Rewarding Language Models* (arXiv 2401.10020) that states it, or "open" where the paper leaves it open and
[paper.md](paper.md) says what was chosen.
A path is taken from the recipe's folder; one that begins with `selfreward:` lies in the package. `package.module:name` is looked
for where Python looks, then in the recipe's folder, then in the current one.
"""
FIRST_SOURCE = "data.ift."
"""The table whose fields stand for those of all sources of rows."""
SIGNS = {"Ge": "≥", "Gt": ">", "Le": "≤", "Lt": "<"}


def reference() -> str:
    """The whole page."""
    return "\n".join([HEAD, *_tables("", Recipe)]).rstrip() + "\n"


def fields() -> Iterator[str]:
    """Dotted names of all fields; those of tables by names of the user's own have NAME in it."""
    yield from _fields("", Recipe)


def _fields(prefix: str, section: type[Section]) -> Iterator[str]:
    for name, field in section.model_fields.items():
        called = f"{prefix}{field.alias or name}"
        inner, named = _inner(field.annotation)
        if inner is None:
            yield called
        else:
            yield from _fields(f"{called}{'.NAME' if named else ''}.", inner)


def _tables(prefix: str, section: type[Section]) -> Iterator[str]:
    title = f"[{prefix.rstrip('.')}]" if prefix else "At the top"
    yield f"## {title}\n\n{_text(section.__doc__) if prefix else _text(Recipe.__doc__)}\n"
    yield "| field | type | default | paper | |\n|---|---|---|---|---|"
    below = []
    for name, field in section.model_fields.items():
        called = f"{prefix}{field.alias or name}"
        inner, named = _inner(field.annotation)
        if inner:
            below.append((f"{called}{'.NAME' if named else ''}.", inner))
        kind = f"table [{called}{'.NAME' if named else ''}]" if inner else _type(field.annotation, field.metadata)
        cells = (
            f"`{field.alias or name}`",
            kind,
            _default(field, inner is not None),
            paper().get(called, ""),
            _text(field.description),
        )
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
    yield ""
    for at, inner in below:
        if inner is not SourceConfig or at == FIRST_SOURCE:
            yield from _tables(at, inner)
    if prefix == FIRST_SOURCE:
        others = [name for name in _sources("", Recipe) if f"{name}." != FIRST_SOURCE]
        yield f"{', '.join(f'`[{name}]`' for name in others)} have the same fields.\n"


def _sources(prefix: str, section: type[Section]) -> Iterator[str]:
    """Dotted names of the tables that say where rows come from."""
    for name, field in section.model_fields.items():
        inner, _ = _inner(field.annotation)
        if inner is SourceConfig:
            yield f"{prefix}{name}"
        elif inner:
            yield from _sources(f"{prefix}{name}.", inner)


def _inner(annotation: Any) -> tuple[type[Section] | None, bool]:
    """The section in a field's type, and whether it stands under names of the user's own."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation, False
    named = get_origin(annotation) is dict
    for inner in get_args(annotation):
        if isinstance(inner, type) and issubclass(inner, Section):
            return inner, named
    return None, False


def _type(annotation: Any, metadata: Any = ()) -> str:
    """A type in words, with the limits of a number."""
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        return _type(inner, [*metadata, *more])
    limits = " ".join(found for found in map(_limit, metadata) if found)
    return f"{_plain(annotation)}{f', {limits}' if limits else ''}"


def _plain(annotation: Any) -> str:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{json.dumps(value)}`" for value in inner)
    if origin in (Union, types.UnionType):
        return " or ".join(_type(one) for one in inner if one is not type(None))
    if origin is tuple:
        return f"list of {_type(inner[0])}" if inner[-1] is Ellipsis else f"list of {len(inner)} × {_type(inner[0])}"
    if origin is dict:
        return f"table of name = {_type(inner[1])}"
    names = {"str": "text", "int": "whole number", "float": "number", "bool": "true or false"}
    return names.get(getattr(annotation, "__name__", ""), "any value")


def _limit(limit: Any) -> str:
    """`≥ 1` of a constraint; empty of what is none."""
    if hasattr(limit, "metadata"):
        return " ".join(found for found in map(_limit, limit.metadata) if found)
    sign = SIGNS.get(type(limit).__name__)
    return f"{sign} {getattr(limit, type(limit).__name__.lower()):g}" if sign else ""


def _default(field: FieldInfo, table: bool) -> str:
    if field.default is PydanticUndefined and field.default_factory is None:
        return "**required**"
    if field.default is None:
        return "not given"
    if table:
        return ""
    written = json.dumps(field.default, ensure_ascii=False, default=list)
    return f"`{written}`"


def _text(docstring: str | None) -> str:
    return " ".join((docstring or "").split())


def paper() -> dict[str, str]:
    """Field → the section of the paper that states it, from the page about the paper."""
    known: dict[str, str] = {}
    for line in (DOCS / "paper.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        for name in re.findall(r"`([a-z_.]+)(?: = [^`]*)?`", cells[-1]) if line.startswith("| ") else ():
            known.setdefault(name, cells[0] if len(cells) == 4 else "open")
    return known


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
