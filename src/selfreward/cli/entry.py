"""The entry point: the application with all its commands, in the order in which help lists them."""

from __future__ import annotations

from selfreward.cli import running  # isort: skip
from selfreward.cli import measuring, publishing, laboratory  # isort: skip
from selfreward.cli.application import app

__all__ = ["app", "laboratory", "main", "measuring", "publishing", "running"]


def main() -> None:
    """Run the command line."""
    app()
