"""A run from Python: run a recipe, check it, evaluate what it made. `import selfreward` has all of it, and reads runs back."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from selfreward.checks import Check, ask_servers, assert_ready, meet_own, models_of, usual_example
from selfreward.checks import check as check_recipe
from selfreward.engines import assert_models, find_gguf, open_model, open_trainer
from selfreward.errors import Alarm, OutOfMemory, SelfRewardError, Stopped, raised, theirs
from selfreward.loop import self_reward
from selfreward.measure import COMPARED, Measurer, Watcher, find_kind, name_servers
from selfreward.measure import evaluate as evaluate_model
from selfreward.recipe import Recipe, assert_returns, assert_takes, change_recipe, load_recipe, merged, written
from selfreward.records import Checkpoint, Reading, Result, phrase
from selfreward.reports import tracking, write_cards, write_report
from selfreward.rundir import (
    M0,
    MODEL,
    SEED,
    Progress,
    RunDir,
    Runner,
    RunView,
    branch_off,
    convert_base,
    models,
    of_branch,
    open_run,
    part_of,
    read_branch,
    recipes,
)  # fmt: skip
from selfreward.steps import Cast, Seed, load_seed

Loop = Callable[[Recipe, Seed, Runner, Cast, Measurer, Watcher, Mapping[int, Recipe]], Checkpoint]
"""A loop with the arguments of `loop.self_reward`; the last one holds a branch's recipes by the t of the first model of each."""


LOOP = ("recipe", "seed", "run", "cast", "measurer", "watcher", "turns")
"""The arguments of a loop."""


def run(
    recipe: Recipe | Path | str, folder: Path | str, *, set: Mapping[str, Any] | None = None, start: Path | str | None = None,
    loop: Loop = self_reward,
) -> RunView:  # fmt: skip
    """Run a recipe in `folder`, or go on with it, and return the finished run.

    `recipe`: a file, the name of one that comes with the package, or a `Recipe`, of another run say. `set`: fields that are
    others, dotted (`{"dpo.beta": 0.2}`) or in tables (`{"dpo": {"beta": 0.2}}`); a function or class stands for its import path.
    `start`: a model of another run (RUN/M2) to go on from; what that run made up to it is copied. `loop`: another algorithm.
    Raises `Alarm` where a monitor ended the run, and `SelfRewardError`.
    """
    changed, folder = _read(recipe, set), Path(folder)
    if start:
        branch(changed, Path(start), folder)
    execute(changed, folder, loop=loop)
    return open_run(folder)


def check(recipe: Recipe | Path | str, folder: Path | str = "runs", *, set: Mapping[str, Any] | None = None) -> Check:
    """Find out what a recipe, to be run in `folder`, needs and costs, and what is missing (`findings`); nothing is run."""
    return check_recipe(_read(recipe, set), Path(folder))


def evaluate(
    model: Path | str, on: Path | str, *, recipe: Path | str | None = None, folder: Path | str | None = None,
    name: str | None = None, key_env: str | None = None, **fields: Any,
) -> Result:  # fmt: skip
    """Evaluate a model, or go on with it, and return its figures.

    `model`: RUN/M3, a folder with a transformers model, a hub id, or URL#MODEL. `on`: an evaluation that docs/cli.md lists,
    head-to-head, or a file that tells which. `fields`: `data`, `judge`, `against` and the others of the evaluation, as
    docs/cli.md has them; what is not given is as in `recipe`, or in that of the run that made the model. It is done in `folder`,
    by default `evaluations/NAME` beside the model. Raises `SelfRewardError`.
    """
    kind, file = (on, None) if on == COMPARED else find_kind(str(on))
    values = written({"data": file, **fields} if file else fields)
    named = [str(model), *(values[part] for part in ("judge", "against") if part in values)]
    values = merged({"servers": name_servers(named, key_env)}, values)
    recipe, folder = Path(recipe) if recipe else None, Path(folder) if folder else None
    return evaluate_model(str(model), str(kind), values, name or Path(on).stem, recipe, folder)[0]


def branch(recipe: Recipe, start: Path, folder: Path) -> None:
    """Take over into `folder` what made `start`, a model of another run, to go on by `recipe`, if all is there that it names."""
    assert_ready(recipe)
    meet_own(recipe, models_of(recipe))
    branch_off(recipe, start, folder)


def _read(recipe: Recipe | Path | str, changes: Mapping[str, Any] | None) -> Recipe:
    return change_recipe(recipe, changes or {}) if isinstance(recipe, Recipe) else load_recipe(recipe, changes)


def execute(
    recipe: Recipe, folder: Path, stopping: Callable[[], bool] = lambda: False, loop: Loop = self_reward, pages: bool = True
) -> Checkpoint:
    """Run `recipe` in `folder`, or go on with it; returns the last model.

    `stopping` tells whether the run was asked to end, which it does at its next safe point: `Stopped`. `pages`: whether the
    report and the models' cards are written. Raises `Alarm` where a monitor ended it, when all that it made is written.
    """
    assert_takes(loop, _name(loop), *LOOP)
    assert_returns(loop, _name(loop))
    held, recipe = recipes(recipe, read_branch(folder)), of_branch(recipe, folder)
    first = held.pop(1)
    seed = load_seed(recipe)
    findings = assert_ready(recipe, seed)
    cast = Cast(recipe)
    measurer = Measurer(first, seed, folder, cast)  # reads the rubrics: one that is not there leaves no folder behind
    if not (folder / models(recipe)[-1] / f"{MODEL.name}.receipt.json").exists():
        for each in (first, *held.values()):
            meet_own(each, models_of(each))
    outside = [cast.outside(name) for each in (first, *held.values()) for name in models_of(each) if name != each.base]
    if (gguf := find_gguf(recipe.base)) is None:
        outside.insert(0, cast.base)
    rundir = RunDir(folder, recipe.model_dump(mode="json", by_alias=True), assert_models(outside, recipe.backend))
    try:
        progress = Progress(rundir.logs, stopping)
        opener = partial(open_model, config=recipe.backend, servers=recipe.servers, cluster=recipe.cluster)
        for line in findings:
            progress.say(line)
        run = Runner(rundir, opener, partial(open_trainer, recipe), progress, recipe.trainer, recipe.cluster)
        if not run[models(recipe)[-1]].receipt(MODEL):
            for each in (first, *held.values()):
                ask_servers(each, models_of(each), rundir.logs, progress, usual_example(seed))
        if gguf:
            cast.join(M0, convert_base(run, gguf))
        for name, part in seed.parts.items():
            run[SEED].keep(part_of(name), part)
        watcher = Watcher(first, seed, cast, tracking(recipe.report_to, folder, progress.say))
        model = _last_model(loop, _called(loop, first, seed, run, cast, measurer, watcher, held))
        rundir.settle()
        if pages:
            write_report(folder)
            write_cards(folder)
        if recipe.drift and (broken := [reading for reading in watcher.readings if reading.verdict == "stop"]):
            raise _alarm(broken, watcher, folder)
        return model
    except SelfRewardError as error:
        rundir.ended_by(error)
        raise
    finally:
        rundir.close()


def _name(loop: Any) -> str:
    if not callable(loop):
        return "loop"
    named = loop if hasattr(loop, "__qualname__") else getattr(loop, "func", type(loop))
    return f"{getattr(named, '__module__', None)}:{getattr(named, '__qualname__', type(named).__qualname__)}"


def _called(loop: Loop, *arguments: Any) -> Any:
    """The result of the loop. Raises `SelfRewardError` for what a line of the user's own raised; in ours it is a bug."""
    try:
        return loop(*arguments)
    except (SelfRewardError, Alarm, Stopped, OutOfMemory, MemoryError):
        raise
    except Exception as error:  # the user's code may raise anything
        if loop is self_reward or not theirs(error):
            raise
        now = "Correct it, then run the same command: what is finished is kept"
        raise SelfRewardError(f"raised {raised(error)}", _name(loop), now) from error


def _last_model(loop: Loop, returned: Any) -> Checkpoint:
    if not isinstance(returned, Checkpoint):
        what = f"gave {returned!r:.80}, where the last model is expected"
        raise SelfRewardError(what, _name(loop), "Make it return the Checkpoint that train_dpo or train_sft gave")
    return returned


def _alarm(broken: list[Reading], watcher: Watcher, folder: Path) -> Alarm:
    """The error where a monitor ended the run: its figures and their limits, the last good model, and the ways to go on."""
    last, good = watcher.seen[-1][0], watcher.seen[-2:][0][0]
    last_good = f"The last good model is {good.name}" if good is not last else "It is the first model that was watched"
    on = f"selfreward run --from {shlex.quote(str(folder / good.name))} --set FIELD=VALUE -o NEW"
    return Alarm(
        f"{folder}: {', '.join(map(phrase, broken))}. {last_good}: {good.path}. Go on from there with another recipe: {on}"
    )
