"""The command line: thin calls into the package."""

from __future__ import annotations

# In the order in which help lists them.
from selfreward.commands import app, running  # isort: skip
from selfreward.commands import measuring, sharing  # isort: skip
from selfreward.commands import benching, laboratory  # isort: skip

__all__ = ["app", "benching", "laboratory", "main", "measuring", "running", "sharing"]


def main() -> None:
    """Entry point."""
    app()
