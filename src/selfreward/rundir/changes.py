"""A recipe that changed under a run: which fields, how to go on as it was, and what to delete to go on as it is now."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from selfreward.recipe import changed_values
from selfreward.rundir.branch import is_run

SHOWN, LONG = 6, 60
"""Changed fields that an error names, and characters of each value."""


def changes_told(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Old → new of the fields that changed: `dpo.beta: 0.1 → 0.2`."""
    changed = changed_values(before, now)
    named = [f"{name}: {_value(old)} → {_value(new)}" for name, (old, new) in list(changed.items())[:SHOWN]]
    return "; ".join([*named, *([f"and {len(changed) - SHOWN} more"] if len(changed) > SHOWN else [])])


def _value(value: Any) -> str:
    written = json.dumps(value, ensure_ascii=False)
    return "not given" if value is None else written if len(written) <= LONG else f"{written[:LONG]}…"


def as_it_was(run: Path, changed: list[str]) -> str:
    """The way to undo a change of a run's recipe, in brackets; empty where no field changed, and for an evaluation."""
    if not is_run(run):
        return ""
    libraries = [name for name in changed if name.startswith("versions.")]
    ways = ["install the versions it was begun with"] if libraries else []
    ways += [f"to go on unchanged: selfreward run -o {shlex.quote(str(run))}"] if len(libraries) < len(changed) else []
    return f" ({', '.join(ways)})" if ways else ""


def remove(files: Iterable[Path]) -> str:
    """The command that deletes `files`: by folder where all in it goes, else by stage where all of it does."""
    gone, named = set(files), list[str]()
    for folder in sorted({file.parent for file in gone}):
        inside = {file for file in gone if file.parent == folder}
        if inside == set(folder.iterdir()):
            named.append(shlex.quote(str(folder)))
        else:
            named += [path for stage in sorted({_stage(file) for file in inside}) for path in _of_stage(folder, stage, inside)]
    return f"rm -r {' '.join(named)}"


def _stage(file: Path) -> str:
    return file.name.partition(".")[0]


def _of_stage(folder: Path, stage: str, inside: set[Path]) -> list[str]:
    """The files of a stage as a shell takes them."""
    named = {file for file in inside if file.name == stage}
    dotted = {file for file in inside if _stage(file) == stage} - named
    whole = len(dotted) > 1 and set(folder.glob(f"{stage}.*")) == dotted
    paths = [f"{shlex.quote(str(folder / stage))}.*"] if whole else sorted(shlex.quote(str(file)) for file in dotted)
    return [*(shlex.quote(str(file)) for file in named), *paths]
