"""Records of learning to judge: what a meta-judge says of two judgments, and pairs of judgments."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from selfreward.records.base import Identified
from selfreward.records.requests import Sampled


class MetaJudgment(Sampled):
    """A meta-judge's verdict on two judgments of one response in one order. Only a `decided` one has a winner."""

    identity = ("response_id", "first", "second", "swapped", "judge", "rationale", "outcome", "winner")
    response_id: str
    first: str
    """Id of the judgment that was shown first."""
    second: str
    swapped: bool
    """Whether it is the second time that the two are shown."""
    judge: str
    """Fingerprint of the meta-judge."""
    rationale: str
    """Everything that it wrote."""
    outcome: Literal["decided", "unparsed", "truncated", "error"]
    winner: Literal["first", "second"] | None = None

    @property
    def label(self) -> str:
        """The place that won, or what is wrong with it."""
        return self.winner or self.outcome

    @model_validator(mode="after")
    def _winner_if_decided(self) -> Self:
        if (self.outcome == "decided") != (self.winner is not None):
            raise ValueError(f"outcome {self.outcome!r} does not go with winner {self.winner!r}")
        return self


class JudgePair(Identified):
    """A preference between two judgments of one response: the one to learn from and the one to learn away from."""

    identity = (
        "response_id",
        "chosen_id",
        "rejected_id",
        "chosen_score",
        "rejected_score",
        "chosen_strength",
        "rejected_strength",
    )
    response_id: str
    """Of the response judged; of an EFT example its own id."""
    chosen_id: str
    rejected_id: str
    chosen_score: float
    """The score that the judgment gives."""
    rejected_score: float
    chosen_strength: float
    """What it was chosen by: of a meta-judge's battles its strength in logits, else how near it is to the score to be given."""
    rejected_strength: float

    @model_validator(mode="after")
    def _stronger_first(self) -> Self:
        if self.chosen_score == self.rejected_score or not self.chosen_strength > self.rejected_strength:
            raise ValueError("chosen must be stronger than rejected, and give another score")
        return self
