"""From a recipe and a folder to a finished run: put the parts together, run the loop, write the page."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from selfreward.card import write_cards
from selfreward.config import Recipe
from selfreward.drift.watch import Watcher
from selfreward.judgments import Judge
from selfreward.loop import self_reward
from selfreward.measure import Measurer
from selfreward.models import Cast, open_model, open_trainer
from selfreward.progress import Progress
from selfreward.records import Checkpoint
from selfreward.report import write_report
from selfreward.rundir import RunDir
from selfreward.seed import Seed, load_seed
from selfreward.stages import Run

Loop = Callable[[Recipe, Seed, Run, Cast, Measurer, Watcher], Checkpoint]


def execute(recipe: Recipe, folder: Path, stopping: Callable[[], bool] = lambda: False, loop: Loop = self_reward) -> Checkpoint:
    """Run `recipe` in `folder`, or go on with it; returns the last model.

    `stopping` tells whether the run was asked to end, which it does at its next safe point: `Stopped`.
    """
    seed, judge, cast = load_seed(recipe), Judge(recipe.judge), Cast(recipe)
    rundir = RunDir(folder, recipe.model_dump(mode="json", by_alias=True))
    try:
        progress = Progress(rundir.logs, stopping)
        opener = partial(open_model, config=recipe.backend, servers=recipe.servers, cluster=recipe.cluster)
        run = Run(rundir, opener, partial(open_trainer, recipe), progress, recipe.trainer, recipe.cluster)
        for name, part in seed.parts.items():
            run["seed"].keep(name, part)
        watcher = Watcher(recipe, seed, judge, cast)
        model = loop(recipe, seed, run, cast, Measurer(recipe, seed, judge, folder, cast), watcher)
        rundir.settle()
        write_report(folder)
        write_cards(folder)
        return model
    finally:
        rundir.close()
