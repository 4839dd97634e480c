"""From a recipe and a folder to a finished run: put the parts together, run the loop, write the page."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from selfreward.config import Recipe
from selfreward.judgments import Judge
from selfreward.loop import self_reward
from selfreward.measure import Measurer
from selfreward.models import Cast, open_model, open_trainer
from selfreward.progress import Progress
from selfreward.records import Checkpoint
from selfreward.report import write_report
from selfreward.rundir import RunDir
from selfreward.seed import load_seed
from selfreward.stages import Run


def execute(recipe: Recipe, folder: Path, on_stop: Callable[[Callable[[], None]], None]) -> Checkpoint:
    """Run `recipe` in `folder`, or go on with it; returns the last model.

    `on_stop` is given a function that asks the run to end at its next safe point, which raises `Stopped`.
    """
    seed, judge, cast = load_seed(recipe.data, recipe.sft), Judge(recipe.judge), Cast(recipe)
    rundir = RunDir(folder, recipe.model_dump(mode="json", by_alias=True))
    try:
        progress = Progress(rundir.logs)
        on_stop(progress.stop)
        run = Run(rundir, partial(open_model, config=recipe.backend), open_trainer(recipe), progress)
        model = self_reward(recipe, seed, run, cast, Measurer(recipe, seed, judge, folder))
        write_report(folder)
        return model
    finally:
        rundir.close()
