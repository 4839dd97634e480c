"""From a recipe and a folder to a finished run: put the parts together, run the loop, write the page."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from selfreward.checks import meet, models_of
from selfreward.engines import open_model, open_trainer
from selfreward.errors import Alarm
from selfreward.loop import self_reward
from selfreward.measure import Measurer, Watcher
from selfreward.recipe import Recipe
from selfreward.records import Checkpoint, Reading, phrase
from selfreward.reports import require_trackers, tracking, write_cards, write_report
from selfreward.rundir import MODEL, SEED, Progress, RunDir, Runner, models, of_branch, part_of, read_branch, recipes
from selfreward.steps import Cast, Seed, load_seed

Loop = Callable[[Recipe, Seed, Runner, Cast, Measurer, Watcher, Mapping[int, Recipe]], Checkpoint]
"""As `loop.self_reward`; the last argument holds the recipes of a branch, by the t of the model from which each holds."""


def execute(recipe: Recipe, folder: Path, stopping: Callable[[], bool] = lambda: False, loop: Loop = self_reward) -> Checkpoint:
    """Run `recipe` in `folder`, or go on with it; returns the last model.

    `stopping` tells whether the run was asked to end, which it does at its next safe point: `Stopped`. Raises `Alarm` where a
    monitor ended it, when all that it made is written.
    """
    require_trackers(recipe.report_to)
    held, recipe = recipes(recipe, read_branch(folder)), of_branch(recipe, folder)
    first = held.pop(1)
    seed, cast = load_seed(recipe), Cast(recipe)
    rundir = RunDir(folder, recipe.model_dump(mode="json", by_alias=True))
    try:
        progress = Progress(rundir.logs, stopping)
        opener = partial(open_model, config=recipe.backend, servers=recipe.servers, cluster=recipe.cluster)
        run = Runner(rundir, opener, partial(open_trainer, recipe), progress, recipe.trainer, recipe.cluster)
        if not run[models(recipe)[-1]].receipt(MODEL):
            for each in (first, *held.values()):
                meet(each, models_of(each), rundir.logs, progress.say)
        for name, part in seed.parts.items():
            run[SEED].keep(part_of(name), part)
        watcher = Watcher(first, seed, cast, tracking(recipe.report_to, folder, progress.say))
        model = loop(first, seed, run, cast, Measurer(first, seed, folder, cast), watcher, held)
        rundir.settle()
        write_report(folder)
        write_cards(folder)
        if recipe.drift and (broken := [reading for reading in watcher.readings if reading.verdict == "stop"]):
            raise _alarm(broken, watcher, folder)
        return model
    finally:
        rundir.close()


def _alarm(broken: list[Reading], watcher: Watcher, folder: Path) -> Alarm:
    """Which figures of the last model broke which limits, the last good model, and how to go on from there."""
    last, good = watcher.seen[-1][0], watcher.seen[-2:][0][0]
    told = f"The last good model is {good.name}" if good is not last else "It is the first that was watched"
    on = f"selfreward run --from {shlex.quote(str(folder / good.name))} --set FIELD=VALUE -o NEW"
    return Alarm(f"{folder}: {', '.join(map(phrase, broken))}. {told}: {good.path}. Go on from there with another recipe: {on}")
