"""The share of an iteration's time that is not the model's, on a recipe as it is run."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfreward import loop
from selfreward.api import execute
from selfreward.lab.speed.ledger import Ledger
from selfreward.measure import Measurer, Watcher
from selfreward.recipe import Recipe, load_recipe
from selfreward.records import Checkpoint
from selfreward.rundir import ModelFolder, Runner
from selfreward.steps import Cast, Seed


def overhead(path: str) -> dict[str, Any]:
    """Run a recipe; seconds of its iterations, DPO included, and the share that was neither in an engine nor in the trainer."""
    ledger = Ledger("cpu")
    ledger.book(loop, "iterate", "iterations")
    ledger.book(ModelFolder, "train_dpo", "iterations")

    def timed(
        recipe: Recipe, seed: Seed, run: Runner, cast: Cast, measurer: Measurer, watcher: Watcher, turns: Mapping[int, Recipe]
    ) -> Checkpoint:
        opens, trains = run.open_model, run.open_trainer
        run.open_model = lambda model: ledger.time_inside(ledger.timed(opens)(model), "prepare", "generate")
        run.open_trainer = lambda: ledger.time_inside(trains(), "sft", "dpo")
        with ledger.stage("the rest"):
            return loop.self_reward(recipe, seed, run, cast, measurer, watcher, turns)

    with tempfile.TemporaryDirectory() as folder:
        execute(load_recipe(Path(path)), Path(folder) / "run", loop=timed)
    took, inside = ledger.wall["iterations"], ledger.inside["iterations"]
    return {"seconds": took, "processor": ledger.cpu["iterations"], "inside": inside, "outside": 1 - inside / took}
