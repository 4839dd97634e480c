"""The command line: thin calls into the package."""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
import webbrowser
from collections.abc import Callable
from functools import wraps
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import typer

from selfreward.errors import SelfRewardError, Stopped

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="A language model that improves itself by judging its own answers.",
    pretty_exceptions_enable=False,
)  # fmt: skip
STOPPED, FAILED = 143, 1
"""Exit codes: asked to end and can go on; something for the user to put right."""
RunArgument = Annotated[Path, typer.Argument(help="A run folder.")]


def _told(command: Callable[..., None]) -> Callable[..., None]:
    """Show the errors that users can put right as one line."""

    @wraps(command)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except SelfRewardError as error:
            _end(f"error: {error}", FAILED)
        except Stopped as stop:
            _end(f"stopped in {stop} at a safe point; the same command goes on from here", STOPPED)
        except Exception as error:
            if not _disk_is_full(error):
                raise
            now = "Nothing written before is lost: make room, then run the same command"
            _end(f"error: {getattr(error, 'filename', None) or 'run folder'}: the disk is full. {now}", FAILED)

    return wrapper


def _disk_is_full(error: Exception) -> bool:
    """Whether that is what went wrong; libraries that write weights say so in words of their own."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return any(sign in str(error) for sign in ("No space left on device", "PytorchStreamWriter failed"))


def _end(text: str, code: int) -> None:
    typer.echo(text, err=True)
    raise typer.Exit(code)


@app.command()
@_told
def run(
    recipe: Annotated[Path, typer.Argument(help="A recipe (TOML).")],
    folder: Annotated[Path | None, typer.Option("--folder", "-o", help="Run folder; runs/NAME of the recipe by default.")] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="A field of the recipe, as dpo.beta=0.2; repeatable.")
    ] = None,
) -> None:
    """Run a recipe from M0 to its last model; on a folder that was begun, go on."""
    from selfreward.config import load_recipe

    target = folder or Path("runs") / recipe.stem
    _run(load_recipe(recipe, dict(_change(text) for text in changes or [])), target)
    typer.echo(str(target / "report" / "index.html"))


@app.command()
@_told
def demo(
    folder: Annotated[Path, typer.Option("--folder", "-o", help="Run folder.")] = Path("runs/demo"),
    seed: Annotated[int, typer.Option(help="The run's seed.")] = 0,
    browser: Annotated[bool, typer.Option(help="Open the page at the end, where there is a screen.")] = True,
) -> None:
    """Run the micro recipe: a small model teaches itself in a few minutes, on a CPU."""
    from selfreward.config import load_recipe

    _run(load_recipe(Path(str(files("selfreward") / "recipes" / "micro.toml")), {"seed": seed}), folder)
    page = (folder / "report" / "index.html").resolve()
    typer.echo(f"The page: {page}")
    if browser and _has_screen():
        webbrowser.open(page.as_uri())


def _has_screen() -> bool:
    screen = sys.platform in ("darwin", "win32") or "DISPLAY" in os.environ or "WAYLAND_DISPLAY" in os.environ
    return screen and sys.stdout.isatty()


def _run(recipe: Any, folder: Path) -> None:
    from selfreward.run import execute

    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
    execute(recipe, folder, stopping=lambda: bool(asked))


def _change(text: str) -> tuple[str, Any]:
    name, found, value = text.partition("=")
    if not found:
        raise SelfRewardError(f"--set {text} has no value", "command line", "Write it as --set dpo.beta=0.2")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


@app.command()
@_told
def report(folder: RunArgument) -> None:
    """Write the page of a run, also of one under way, and print its path."""
    from selfreward.report import write_report

    typer.echo(str(write_report(folder)))


@app.command()
@_told
def status(folder: RunArgument) -> None:
    """Tell where a run stands, also while it runs."""
    from selfreward.report import describe_status

    typer.echo(describe_status(folder))


@app.command()
@_told
def chat(
    model: Annotated[Path, typer.Argument(help="A model of a run (runs/demo/M3), or a folder with a model.")],
    temperature: Annotated[float, typer.Option(min=0.0)] = 0.7,
    top_p: Annotated[float, typer.Option(min=0.0, max=1.0)] = 0.9,
    max_tokens: Annotated[int, typer.Option(min=1)] = 256,
) -> None:
    """Talk to a model; an empty line or Ctrl-D ends it."""
    from selfreward.chatting import converse

    converse(model, temperature, top_p, max_tokens)


def main() -> None:
    """Entry point."""
    app()
