"""Records of an evaluation of one model: its figures and its result (`result.json`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from pydantic import Field

from selfreward.records.base import Record
from selfreward.records.jsonl import read_record
from selfreward.records.measured import Estimate

FOLDER, RESULT = "evaluations", "result.json"
"""The folder of evaluations beside a model, and the file of an evaluation's result."""


class Figure(Record):
    """A figure, the ends of its 95 % interval where it has one, and the number of its items."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    n: int

    @classmethod
    def of(cls, name: str, estimate: Estimate | None, n: int, times: float = 1.0) -> list[Self]:
        """`times` an estimate, as a figure; an empty list without an estimate."""
        if estimate is None:
            return []
        value, low, high = (times * end for end in (estimate.value, estimate.low, estimate.high))
        return [cls(name=name, value=value, low=low, high=high, n=n)]

    @property
    def estimate(self) -> Estimate:
        """The estimate to draw: a point where there is no interval."""
        low, high = (self.value if end is None else end for end in (self.low, self.high))
        return Estimate(value=self.value, low=low, high=high)


class Findings(Record):
    """The findings of an evaluation."""

    prompts_digest: str
    """A hash of the prompts."""
    rubric_digest: str = ""
    """A hash of the judge's prompt."""
    figures: list[Figure]
    outcomes: dict[str, int] = Field({})
    """Counts of the judge's answers by outcome; failed ones are in no figure. `no_answer` counts questions that it was not asked,
    for a model's answer had failed.
    """
    note: str
    """The figures that these may be compared with, and those that they may not."""
    breakdown: dict[str, list[Figure]] = Field({})
    """The figure that `broken_down` names, by category, complexity and expected length; each is named after its bin."""
    broken_down: str = ""


class Result(Findings):
    """A finished evaluation: `result.json`."""

    name: str
    kind: str
    model: str
    fingerprint: str
    judge: str | None
    judge_fingerprint: str | None
    against: str | None
    against_fingerprint: str | None
    settings: dict[str, Any]


def read_results(model: Path) -> Iterator[Result]:
    """The finished evaluations of the model in this folder (RUN/M3), by name."""
    for file in sorted((model / FOLDER).glob(f"*/{RESULT}")):
        yield read_record(file, Result)
