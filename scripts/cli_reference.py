"""Write docs/cli.md: what every command says of itself. `python scripts/cli_reference.py` after changing the command line."""

from __future__ import annotations

from pathlib import Path

import typer
from typer.testing import CliRunner

from selfreward.cli import app

PAGE = Path(__file__).parent.parent / "docs" / "cli.md"
ENVIRONMENT = {"COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1", "TERMINAL_WIDTH": "100"}


def reference() -> str:
    """The page: each command's `--help`."""
    command = typer.main.get_command(app)
    names = sorted(command.commands)  # type: ignore[attr-defined]
    parts = ["# Command line\n"]
    for name in ("", *names):
        shown = CliRunner().invoke(app, [*filter(None, [name]), "--help"], env=ENVIRONMENT, prog_name="selfreward").output
        text = "\n".join(line.rstrip() for line in shown.strip().splitlines())
        parts.append(f"## selfreward {name}".rstrip() + f"\n\n```\n{text}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
