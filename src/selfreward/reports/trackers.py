"""The run's figures for TensorBoard, W&B and trackio, read from its records: a resumed run logs all of them, each once.

Each of these libraries writes in its own process. They start threads, redirect output and read their folder from the
environment at import; and a run continues where one of them fails.
"""

from __future__ import annotations

import json
import math
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from selfreward.errors import SelfRewardError, pip_install
from selfreward.records import number, readable
from selfreward.reports.headline import BEFORE_THE_LOOP
from selfreward.rundir import DRIFT, FolderReader

LOOP = "loop"
"""The curves whose steps are models: 0 for M0, 1 for M1 and for SFT beside it, 2 for M2, …"""
MEASURED = ("true_score", "self_score", "pairwise_accuracy")
PATIENCE = 300
"""The most seconds for a tracker, its network included."""


class Curves(NamedTuple):
    """Figures by step, ascending."""

    name: str
    """`loop`, or the model whose training log this is."""
    rows: list[tuple[int, dict[str, float]]]


def require_trackers(trackers: Sequence[str]) -> None:
    """Raises `SelfRewardError` where the library of one of `trackers` is not installed."""
    for name in trackers:
        if find_spec(name) is None:
            now = f"Leave it out, or: pip install {name} (all of them: {pip_install('tracking')})"
            raise SelfRewardError(f"{name} is not installed", "report_to", now)


def tracking(trackers: Sequence[str], run: Path, say: Callable[[str], None]) -> Callable[[], None]:
    """A function that logs all figures of `run` so far to each of `trackers`, whenever there is a new one."""
    logged: dict[str, list[Curves]] = {}

    def update() -> None:
        curves = read_curves(run) if trackers else []
        for name in trackers:
            if logged.get(name) != curves:
                failure = _log(name, run, curves)
                logged[name] = [] if failure else curves
                if failure:
                    say(f"{name}: nothing was logged ({failure}); the records are all there, and it is tried again")

    return update


def read_curves(run: Path) -> list[Curves]:
    """Curves of the models measured so far, the loop's first; in a watched run, of the models watched so far."""
    summary = run / "summary.json"
    models = json.loads(readable(summary).read_text(encoding="utf-8"))["models"] if summary.exists() else []
    if watched := [folder.name for folder in run.glob("M*") if FolderReader(folder).receipt(DRIFT.name)]:
        models = [model for model in models if model["name"] in (*BEFORE_THE_LOOP, *watched)]
    by_step: dict[int, dict[str, float]] = {}
    for model in models:
        by_step.setdefault(number(model["name"]), {}).update(_figures(run, model))
    trainings = [
        Curves(model["name"], _training(FolderReader(run / model["name"]).weights / "metrics.jsonl")) for model in models
    ]
    return [Curves(LOOP, sorted(by_step.items())), *(curves for curves in trainings if curves.rows)]


def _figures(run: Path, model: dict[str, Any]) -> dict[str, float]:
    """Measurements and readings of one model."""
    name, prefix = model["name"], "measured/SFT/" if model["name"] == "SFT" else "measured/"
    values = {key: model[key]["value"] if isinstance(model[key], dict) else model[key] for key in MEASURED}
    readings = FolderReader(run / name).records(DRIFT)
    readings_by_name = {f"drift/{reading.monitor}": reading.value for reading in readings if reading.value is not None}
    return {f"{prefix}{key}": value for key, value in values.items() if value is not None} | readings_by_name


def _training(file: Path) -> list[tuple[int, dict[str, float]]]:
    """A trainer's log, step by step; values that are not finite are left out."""
    lines = [json.loads(line) for line in readable(file).read_text().splitlines()] if file.exists() else []
    figures_by_step = {
        int(line["step"]): {f"training/{key}": float(line[key]) for key in _numbers(line)} for line in lines if "step" in line
    }
    return sorted(figures_by_step.items())


def _numbers(line: dict[str, Any]) -> list[str]:
    return [key for key, value in line.items() if key != "step" and isinstance(value, int | float) and math.isfinite(value)]


def _log(name: str, run: Path, curves: Sequence[Curves]) -> str:
    """Have a tracker write `curves`; returns the cause of a failure, or an empty text."""
    command = [sys.executable, "-m", "selfreward.reports.trackers", name, str(run)]
    env = {key: value for key, value in os.environ.items() if not key.startswith("TRACKIO_")}
    try:
        done = subprocess.run(
            command, input=json.dumps(curves), env=env, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no end after {PATIENCE} s"
    return (done.stderr.strip().splitlines() or ["no reason told"])[-1] if done.returncode else ""


def _tensorboard(run: Path, curves: Sequence[Curves]) -> None:
    from tensorboard.summary import Writer

    fresh = _fresh(run, "tensorboard")
    for name, rows in curves:
        writer = Writer(str(fresh / name))
        for step, values in rows:
            for key, value in values.items():
                writer.add_scalar(key, value, step)
        writer.close()
    _replace(run, "tensorboard", fresh)


def _trackio(run: Path, curves: Sequence[Curves]) -> None:
    """Write to a store in the run folder; without the variables that could redirect it, nothing leaves the machine."""
    fresh = _fresh(run, "trackio")
    os.environ["TRACKIO_DIR"] = str(fresh)
    import trackio

    for name, rows in curves:
        logged = trackio.init(
            project="selfreward", name=f"{run.name}/{name}", group=run.name, embed=False, auto_log_gpu=False, auto_log_cpu=False
        )
        for step, values in rows:
            logged.log(values, step=step)
        logged.finish()
    _replace(run, "trackio", fresh)


def _wandb(run: Path, curves: Sequence[Curves]) -> None:
    """Upload the steps that the server lacks; offline, write all steps anew."""
    import wandb

    mark = run / "logs" / "wandb.id"
    if not mark.exists():
        mark.write_text(secrets.token_hex(4))
    for name, rows in curves:
        own = f"{mark.read_text()}-{name}"
        for unsent in (run / "logs" / "wandb").glob(f"offline-run-*-{own}"):
            shutil.rmtree(unsent)
        logged = wandb.init(
            project="selfreward", group=run.name, name=f"{run.name}/{name}", id=own, resume="allow", dir=run / "logs",
            settings=wandb.Settings(console="off", disable_git=True, save_code=False),
        )  # fmt: skip
        for step, values in rows:
            if step >= logged.step:
                logged.log(values, step=step)
        logged.finish()


def _fresh(run: Path, name: str) -> Path:
    fresh = run / "logs" / f"{name}.partial"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    return fresh


def _replace(run: Path, name: str, fresh: Path) -> None:
    """Replace the folder `name` of the run by `fresh`."""
    now, before = run / "logs" / name, run / "logs" / f"{name}.before"
    shutil.rmtree(before, ignore_errors=True)
    if now.exists():
        now.rename(before)
    fresh.rename(now)
    shutil.rmtree(before, ignore_errors=True)


WRITERS = {"tensorboard": _tensorboard, "trackio": _trackio, "wandb": _wandb}


def write_curves(name: str, run: Path, curves: Sequence[Curves]) -> None:
    """Have one tracker write the `curves` of `run`, in this process."""
    WRITERS[name](run, curves)


if __name__ == "__main__":
    write_curves(sys.argv[1], Path(sys.argv[2]).resolve(), [Curves(*curves) for curves in json.load(sys.stdin)])
