"""Judgments and responses with a few of their fields, as `only` reads them from files by the million."""

from __future__ import annotations

from selfreward.records.base import Record
from selfreward.records.made import Judgment, Outcome


class ScoreOnly(Record, extra="ignore"):
    """A `Judgment` without its words."""

    response_id: str
    outcome: Outcome
    score: float | None = None


Scored = Judgment | ScoreOnly
"""A judgment whose score counts."""


class TextOnly(Record, extra="ignore"):
    """A `Response` without how it was sampled."""

    id: str
    prompt_id: str
    text: str
