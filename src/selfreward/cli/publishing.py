"""Commands that take results away: export, push."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from selfreward.cli.application import RunArgument, app, errors_in_a_line, say


@app.command(rich_help_panel="Share")
@errors_in_a_line
def export(
    folder: RunArgument,
    what: Annotated[list[str] | None, typer.Option(help="Only these records (pairs, responses, …); repeatable.")] = None,
    to: Annotated[Path | None, typer.Option(help="Folder to write; RUN/export by default.")] = None,
) -> None:
    """Write a run's records as a dataset for `datasets`, and a card beside each of its models."""
    from selfreward.reports import KINDS, export_run, write_cards

    target = to or folder / "export"
    for table in export_run(folder, target, what or KINDS):
        say(f"{target / table.file}: {table.rows:,} {table.kind}")
    for card in write_cards(folder):
        say(str(card))


@app.command(rich_help_panel="Share")
@errors_in_a_line
def convert(
    file: Annotated[Path, typer.Argument(help="A GGUF file.")],
    folder: Annotated[Path, typer.Argument(help="Folder to write; it must not exist yet.")],
) -> None:
    """Convert a GGUF file into a transformers folder: dequantised, with its chat template and stop tokens."""
    from selfreward.engines import convert_gguf

    convert_gguf(file, folder)
    say(f"{folder}: weights in float32, tokenizer, chat template")


@app.command(rich_help_panel="Share")
@errors_in_a_line
def push(
    target: Annotated[Path, typer.Argument(help="A model of a run (runs/demo/M3), a folder with a model, or an export.")],
    repo: Annotated[str, typer.Argument(help="The repository: you/its-name.")],
    public: Annotated[bool, typer.Option("--public/--private", help="Visibility of a new repository.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Send without asking.")] = False,
) -> None:
    """Show what would be sent, then send a model or an exported dataset to the Hugging Face Hub."""
    from selfreward.reports import push_folder

    def confirmed(what: str) -> bool:
        say(what)
        return yes or typer.confirm("Send this?")

    say(push_folder(target, repo, public, confirmed) or "Nothing was sent.")
