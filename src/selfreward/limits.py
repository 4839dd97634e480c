"""The table of a recipe that says how the loop is watched, and within what limits."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from selfreward.fields import IMPORT_PATH, Located, ModelName, Section
from selfreward.records import compiles

Ends = float | tuple[float, ...]
"""One for all models, or one each for M1, M2, …, the last of which holds for all later ones."""


def _trait(text: str) -> str:
    return text if re.fullmatch(IMPORT_PATH, text) else compiles(text)


class Limit(Section):
    """Where one figure of a monitor should lie. An end that is not given is open."""

    below: Ends | None = None
    """A figure below this is warned of."""
    above: Ends | None = None
    """A figure above this is warned of."""
    stop_below: Ends | None = None
    """A figure below this ends the run after its iteration."""
    stop_above: Ends | None = None
    """A figure above this ends the run after its iteration."""


class DriftConfig(Section):
    """Monitors: what is watched at every iteration. Nothing of it flows back into the loop, but that `stop` ends the run."""

    sample: int = Field(64, ge=1)
    """On so many of the held-out prompts' answers, and of the anchors, models are asked more for the monitors alone."""
    pool: int = Field(16, ge=1)
    """To so many held-out prompts M1 writes the frozen pool of candidates, which every later model judges too."""
    frozen: ModelName = "frozen"
    """The frozen judge whose scores are set beside the live one's: M1 (`frozen`), or a model outside the loop."""
    anchors: Located | None = None
    """A file of prompts with known answers (JSONL of Anchor), asked at every iteration and never trained on."""
    pass_mark: float = 4
    """A mean score from here on counts as the judge's approval."""
    traits: dict[str, Annotated[str, AfterValidator(_trait)]] = Field({})
    """Traits of your own beside the built-in ones: a regular expression (its matches are counted) or `package.module:name`, a
    function from an answer's text to a number."""
    limits: dict[str, Limit] = Field({})
    """Figure (`flukes.rate`, as drift.jsonl names it) → its limits."""
