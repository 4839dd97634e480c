"""The command that plants defects in the micro world and reports who saw them: lab."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from selfreward.commands import app, told

OutOption = Annotated[Path, typer.Option(help="Folder for loop-health.md, .json and .svg, and the records behind them.")]
OnlyOption = Annotated[list[str] | None, typer.Option(help="Only arms whose names begin so, as noise-0.75; repeatable.")]


@app.command()
@told
def lab(
    out: OutOption = Path("docs/results"),
    work: Annotated[Path, typer.Option(help="Folder for runs under way.")] = Path("runs/lab"),
    workers: Annotated[int, typer.Option(min=1, help="Runs at a time, each on one thread.")] = 2,
    minutes: Annotated[float, typer.Option(min=0, help="Begin no run after so many; 0 only makes the page anew.")] = 110,
    only: OnlyOption = None,
) -> None:
    """Run the micro world with and without planted defects, and report what every monitor saw, and when.

    What was run before is in the records and is not run again; stopped or killed, the same command goes on.
    """
    from selfreward.lab import run_lab

    typer.echo(str(run_lab(out, work, workers, minutes, only or [""])))
