"""Records of an evaluation of one model: its figures and its result (`result.json`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from pydantic import Field

from selfreward.errors import SelfRewardError
from selfreward.records.base import Record
from selfreward.records.files import CHANGED, differing, file_hash, read_signed, signed, write_whole
from selfreward.records.jsonl import read_record
from selfreward.records.measured import Estimate

FOLDER, RESULT, RECEIPT = "evaluations", "result.json", "result.receipt.json"
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


def write_result(folder: Path, result: Result) -> Path:
    """Write a result, and a receipt over it last; returns the result's file."""
    file, receipt = folder / RESULT, folder / RECEIPT
    receipt.unlink(missing_ok=True)
    write_whole(file, result.model_dump_json(indent=1))
    write_whole(receipt, signed({"files": {RESULT: file_hash(file)}}))
    return file


def read_results(model: Path) -> Iterator[Result]:
    """The finished evaluations of the model in this folder (RUN/M3), by name.

    Raises `SelfRewardError` where one differs from its receipt, which older builds did not write.
    """
    for file in sorted((model / FOLDER).glob(f"*/{RESULT}")):
        receipt = file.with_name(RECEIPT)
        if receipt.exists() and not _vouches(receipt):
            raise SelfRewardError(CHANGED, str(file), "The same `selfreward evaluate` as before computes it again")
        yield read_record(file, Result)


def _vouches(receipt: Path) -> bool:
    """True if a receipt is as it was written, and so is what it covers."""
    try:
        facts = read_signed(receipt)
    except (OSError, ValueError, RecursionError):
        return False
    return facts is not None and differing(receipt.parent, facts["files"]) is None
