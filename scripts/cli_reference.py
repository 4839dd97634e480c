"""Write docs/cli.md: what every command says of itself. `python scripts/cli_reference.py` after changing the command line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from typer.testing import CliRunner

from selfreward.cli import app

PAGE = Path(__file__).parent.parent / "docs" / "cli.md"
ENVIRONMENT = {"COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1", "TERMINAL_WIDTH": "100"}


def reference() -> str:
    """The page: each command's `--help`."""
    parts = ["# Command line\n"]
    for words in commands(typer.main.get_command(app)):
        shown = CliRunner().invoke(app, [*words, "--help"], env=ENVIRONMENT, prog_name="selfreward").output
        text = "\n".join(line.rstrip() for line in shown.strip().splitlines())
        parts.append(f"## {' '.join(('selfreward', *words))}\n\n```\n{text}\n```\n")
    return "\n".join(parts)


def commands(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of every command, those of a group after it, by name."""
    yield words
    for name, part in sorted(getattr(command, "commands", {}).items()):
        yield from commands(part, (*words, name))


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
