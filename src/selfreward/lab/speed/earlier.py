"""Another build of selfreward, measured by its own code in a process of its own: arm (o), and the old side of a training.

This file is also run as a program, by a Python that finds the other build first, and so imports nothing but the standard library
at its top.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


def is_there(source: str) -> bool:
    """True if a build that can be measured has its package in the folder `source`; without one, this build would be found."""
    return (Path(source) / "selfreward" / "lab" / "speed" / "ours.py").is_file()


def measured_there(source: Path, kind: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `kind` (a name of `KINDS`) finds with the build whose package lies in the folder `source`.

    Raises `SelfRewardError` with the last line that the other process wrote where it ended without a result.
    """
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "found.json"
        command = [sys.executable, "-P", __file__, kind, str(result), json.dumps(given)]
        ended = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(source)}, capture_output=True, text=True)
        if not result.exists():
            from selfreward.errors import SelfRewardError

            last = (ended.stderr.strip().splitlines() or [f"exit status {ended.returncode}"])[-1]
            raise SelfRewardError(f"{kind}: {last}", str(source), "Name the src folder of a build that can do it")
        found: dict[str, Any] = json.loads(result.read_text())
        return found


def arm(given: Mapping[str, Any]) -> dict[str, Any]:
    """Costs of the other build's own arm (a); `given`: fields of a work, of which it may know fewer, and the last stage."""
    from dataclasses import fields
    from importlib import import_module
    from inspect import signature

    measure, ours, ledger, work = (
        import_module(f"selfreward.lab.speed.{name}") for name in ("measure", "ours", "ledger", "work")
    )
    known = {field.name for field in fields(work.Work)}
    asked = work.Work(**{**{name: value for name, value in given.items() if name in known}, "model": Path(given["model"])})
    with tempfile.TemporaryDirectory() as folder, _ending_after(given["last"], ours, ledger.Ledger):
        rest = [Path(folder) / "stage"] if len(signature(measure._spend).parameters) > 2 else []
        found: dict[str, Any] = measure._spend("ours:selfreward", asked, *rest)
    return found


@contextmanager
def _ending_after(last: str, ours: Any, ledger: Any) -> Iterator[None]:
    """Have the arm end where the stage after `last` would begin; the stages are in the order in which the ledger names them."""

    class Enough(Exception):
        """The stages that were asked for are over."""

    stages = ("candidates", "judging", "dpo")
    over = stages[stages.index(last) + 1 :]
    stage, run = ledger.stage, ours.selfreward

    def until(self: Any, name: str) -> Any:
        if name in over:
            raise Enough
        return stage(self, name)

    def ended(*given: Any) -> None:
        with suppress(Enough):
            run(*given)

    ledger.stage, ours.selfreward = until, ended
    try:
        yield
    finally:
        ledger.stage, ours.selfreward = stage, run


def by_this_text(file: str, call: str) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """The `call` of a file of this build, run where the other one is imported."""

    def run(given: Mapping[str, Any]) -> dict[str, Any]:
        import runpy

        found: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name(file)))[call](given)
        return found

    return run


def iterations(given: Mapping[str, Any]) -> dict[str, Any]:
    """Seconds of the iterations of a recipe, whose path is `recipe`, by the other build's own code, and of the processor."""
    from importlib import import_module

    overhead: Any = import_module("selfreward.lab.speed.overhead")
    kept: list[Any] = []

    class Kept(overhead.Ledger):
        """A ledger that is still at hand when the other build is done with it."""

        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            kept.append(self)

    overhead.Ledger = Kept
    found: dict[str, Any] = overhead.overhead(given["recipe"])
    return {**found, "processor": kept[0].cpu["iterations"]}


KINDS = {
    "arm": arm, "iterations": iterations,
    "training": by_this_text("trainings.py", "spent"), "profile": by_this_text("profiles.py", "shares"),
}  # fmt: skip

if __name__ == "__main__":
    name, file, fields_given = sys.argv[1:]
    figures = json.dumps(KINDS[name](json.loads(fields_given)))
    Path(file).write_text(figures)
