"""Commands around a run: check, run, demo, status, report, chat."""

from __future__ import annotations

import gc
import os
import sys
import webbrowser
from pathlib import Path
from typing import Annotated, Any

import typer

from selfreward.cli.application import FAILED, GRACE, ChangesOption, RunArgument, app, changed, errors_in_a_line, say, stopping
from selfreward.errors import Alarm, SelfRewardError

RECIPE = "A recipe (TOML), or the name of one that comes with the package."
RecipeArgument = Annotated[Path, typer.Argument(help=RECIPE)]
OptionalRecipeArgument = Annotated[
    Path | None, typer.Argument(help=f"{RECIPE} Not given: the recipe of the run in --folder, or of --from.")
]
RunFolderOption = Annotated[Path | None, typer.Option("--folder", "-o", help="Run folder; runs/NAME of the recipe by default.")]
SkipBadRowsOption = Annotated[
    bool, typer.Option("--skip-bad-rows", help="Count and list seed rows that do not fit their format, instead of ending.")
]


@app.command(rich_help_panel="Run")
@errors_in_a_line
def run(
    recipe: OptionalRecipeArgument = None,
    folder: RunFolderOption = None,
    changes: ChangesOption = None,
    skip_bad_rows: SkipBadRowsOption = False,
    source: Annotated[
        Path | None,
        typer.Option("--from", help="A model of a run (runs/demo/M2): copy the run up to it into a folder, and go on there."),
    ] = None,
    grace: Annotated[
        float,
        typer.Option(min=0.1, help="Seconds between SIGTERM or Ctrl-C and ending in the middle of a training's step."),
    ] = GRACE,
) -> None:
    """Run a recipe from M0 to its last model, or go on with a run. Exit code 3: a monitor ended it."""
    from selfreward.api import branch
    from selfreward.recipe import load_recipe

    target = _target(recipe, folder, source)
    config = load_recipe(recipe or _begun(target, source), _changes(changes, skip_bad_rows))
    if source:
        branch(config, source, target)
    _run(config, target, grace)


def _target(recipe: Path | None, folder: Path | None, source: Path | None) -> Path:
    """The folder to run in."""
    if folder:
        return folder
    if source:
        raise SelfRewardError("a branch needs a folder of its own", "command line", "Give it with --folder")
    if recipe is None:
        now = "Give a recipe, or --folder with a run that was begun, or --from with a model of a run"
        raise SelfRewardError("no recipe is given", "command line", now)
    return _run_folder(recipe)


def _begun(target: Path, source: Path | None) -> Path:
    """The recipe of a run that was begun in `target`, or else of the one that it is to be branched from."""
    from selfreward.rundir import CONFIG, find_model, no_run

    run = find_model(source)[0] if source and not (target / CONFIG).exists() else target
    if not (run / CONFIG).is_file():
        raise no_run(run, "Give a recipe, or the folder of a run that was begun")
    return run / CONFIG


@app.command(rich_help_panel="Run")
@errors_in_a_line
def check(
    recipe: RecipeArgument,
    folder: RunFolderOption = None,
    changes: ChangesOption = None,
    skip_bad_rows: SkipBadRowsOption = False,
) -> None:
    """Show what a recipe loads, asks, trains and costs, and what is missing. Exit code 1: it cannot run."""
    gc.disable()  # imports make a million objects and no garbage: looking for some takes an eighth of the time
    try:
        from selfreward.checks import looker

        with looker() as eyes:  # begins to load before anything is loaded here
            from selfreward.checks import check, show
            from selfreward.recipe import load_recipe

            result = check(load_recipe(recipe, _changes(changes, skip_bad_rows)), folder or _run_folder(recipe), eyes)
        show(result)
    finally:
        gc.freeze()  # nor is there any when Python ends
        gc.enable()
    raise typer.Exit(0 if result.works else FAILED)


@app.command(rich_help_panel="Run")
@errors_in_a_line
def recipes(
    name: Annotated[str | None, typer.Argument(help="The recipe to print: selfreward recipes micro > my.toml")] = None,
) -> None:
    """List the recipes of the package, or print one to start your own from."""
    from selfreward.recipe import shipped_recipes

    shipped = shipped_recipes()
    if name and name not in shipped:
        raise SelfRewardError("there is no such recipe", name, f"There are {', '.join(shipped)}")
    for known, file in shipped.items():
        text = file.read_text(encoding="utf-8")
        if known == name:
            typer.echo(text, nl=False)
        elif name is None:
            say(f"{known:{2 + max(map(len, shipped))}}{text.splitlines()[0].removeprefix('# ')}")


def _run_folder(recipe: Path) -> Path:
    return Path("runs") / recipe.name.removesuffix(".toml")


@app.command(rich_help_panel="Run")
@errors_in_a_line
def demo(
    folder: Annotated[Path, typer.Option("--folder", "-o", help="Run folder.")] = Path("runs/demo"),
    seed: Annotated[int, typer.Option(help="The run's seed.")] = 0,
    browser: Annotated[bool, typer.Option(help="Open the page at the end, where there is a screen.")] = True,
) -> None:
    """Run the micro recipe: a small model teaches itself in a few minutes, on a CPU."""
    from selfreward.recipe import load_recipe, shipped_recipes

    _run(load_recipe(shipped_recipes()["micro"], {"seed": seed}), folder)
    if browser and _has_screen():
        webbrowser.open((folder / "report" / "index.html").resolve().as_uri())


def _has_screen() -> bool:
    screen = sys.platform in ("darwin", "win32") or "DISPLAY" in os.environ or "WAYLAND_DISPLAY" in os.environ
    return screen and sys.stdout.isatty()


def _run(recipe: Any, folder: Path, grace: float = GRACE) -> None:
    """Run, and show the result, also of a run that its monitors end."""
    from selfreward.api import execute
    from selfreward.reports import describe_end

    try:
        execute(recipe, folder, stopping(grace))
    except Alarm:
        say(describe_end(folder))
        raise
    say(describe_end(folder))


def _changes(changes: list[str] | None, skip_bad_rows: bool) -> dict[str, Any]:
    return changed(changes) | ({"data.skip_bad_rows": True} if skip_bad_rows else {})


@app.command(rich_help_panel="Run")
@errors_in_a_line
def report(folder: RunArgument) -> None:
    """Write the page of a run, finished or not, and print its path."""
    from selfreward.reports import write_report

    say(str(write_report(folder)))


@app.command(rich_help_panel="Run")
@errors_in_a_line
def status(folder: RunArgument) -> None:
    """Show the state of a run, also while it runs."""
    from selfreward.reports import describe_status

    say(describe_status(folder))


@app.command(rich_help_panel="Run")
@errors_in_a_line
def chat(
    model: Annotated[Path, typer.Argument(help="A model of a run (runs/demo/M3), or a folder with a model.")],
    temperature: Annotated[float, typer.Option(min=0.0, help="Sampling temperature; 0 is greedy.")] = 0.7,
    top_p: Annotated[float, typer.Option(min=0.0, max=1.0, help="Probability of the tokens to sample from.")] = 0.9,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 256,
    thinking: Annotated[int, typer.Option(min=0, help="Tokens to think in before each answer; 0: no thoughts.")] = 0,
    system: Annotated[str | None, typer.Option(help="A system prompt; by default the one of the model's run.")] = None,
) -> None:
    """Talk to a model; an empty line or Ctrl-D ends it."""
    from selfreward.cli.chat import converse

    converse(model, temperature, top_p, max_tokens, system, thinking)
