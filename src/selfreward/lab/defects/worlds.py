"""The worlds of the laboratory: the recipe of their runs, their truth, and the usual likelihood of an answer in them."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from selfreward.lab.micro import hard, truth

LAB = Path(str(files("selfreward") / "lab"))


class World(NamedTuple):
    """A micro world, with runs small enough for hundreds of them."""

    name: str
    """The shipped recipe that is made small here."""
    stem: str
    """Stem of the files: the page, its figures, its drawings, and the records behind them."""
    recipe: Path
    prompts: Path
    """The prompts that every model answers for its true score: all held-out ones, of which the recipe has a part judged."""
    verdict: Callable[[str, str], tuple[str, dict[str, float]] | None]
    """(prompt, answer) → (kind of task, points by criterion)."""
    usual: float
    """Mean of M1's log-probability per token over its own candidates, of a model made by another seed."""
    spread: float
    """Its standard deviation."""


EASY = World(
    "micro", "loop-health", LAB / "defects" / "lab.toml", LAB / "micro" / "seed" / "heldout_prompts.jsonl",
    truth.verdict, -0.67, 0.36,
)  # fmt: skip
HARD = World(
    "micro-hard", "loop-health-hard", LAB / "defects" / "lab-hard.toml", LAB / "micro" / "seed_hard" / "heldout_prompts.jsonl",
    hard.verdict, -0.76, 0.39,
)  # fmt: skip
WORLDS = {world.name: world for world in (EASY, HARD)}
