"""Records of measuring models: intervals, both axes, one iteration of the loop, and the choice of a checkpoint."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from selfreward.records.base import Record
from selfreward.records.requests import Thoughtful


class Verdict(Record):
    """The truth about a response, from outside the loop. `points` by criterion; their sum is the true score."""

    response_id: str
    kind: str
    """The kind of task, for breaking results down."""
    points: dict[str, float]

    @property
    def score(self) -> float:
        """The true score."""
        return sum(self.points.values())


Side = Literal["a", "b", "tie", "none"]


class Comparison(Record):
    """Two models' answers to one prompt, side by side. `none`: one of them could not be scored."""

    prompt_id: str
    a: str
    b: str
    winner: Side


Place = Literal["first", "second", "tie"]


class Preference(Thoughtful):
    """A judge's verdict on two answers in one order. Only a `decided` one has a winner."""

    identity = ("prompt_id", "first", "second", "swapped", "judge", "rationale", "outcome", "winner")
    prompt_id: str
    first: str
    """Id of the response that was shown first."""
    second: str
    swapped: bool
    """True if the first response is side `b` of the comparison."""
    judge: str
    """Fingerprint of the judging model."""
    rationale: str
    """Everything that the judge wrote."""
    outcome: Literal["decided", "unparsed", "truncated", "error"]
    winner: Place | None = None

    @property
    def label(self) -> str:
        """The outcome."""
        return self.outcome

    @property
    def side(self) -> Side:
        """The winner, as a side of the comparison; `none` where nothing was decided."""
        if self.winner in (None, "tie"):
            return "tie" if self.winner else "none"
        return "a" if (self.winner == "first") != self.swapped else "b"

    @model_validator(mode="after")
    def _winner_if_decided(self) -> Preference:
        if (self.outcome == "decided") != (self.winner is not None):
            raise ValueError(f"outcome {self.outcome!r} does not go with winner {self.winner!r}")
        return self


class Estimate(Record):
    """A value and the ends of its 95 % interval."""

    value: float
    low: float
    high: float
    n: int | None = Field(None, exclude=True)
    """The number of cases behind it, where it was just computed; not written."""


class TrueScore(Record):
    """True scores of answers."""

    score: Estimate
    by_kind: dict[str, Estimate]
    """Mean by kind of task."""
    by_criterion: dict[str, float]
    """Mean points by criterion."""
    histogram: dict[str, int]
    """Answers by score."""


class Followed(Record):
    """Checks that programs made of answers, strictly: an answer passes one as it is."""

    prompts: Estimate | None
    """Share of the prompts of which an answer passes all; None where none is known."""
    instructions: Estimate | None
    """Share of the checks that are passed; intervals resample prompts."""
    by_kind: dict[str, Estimate]
    """The share of checks passed, by kind of check."""
    outcomes: dict[str, int]
    """Counts of checks that could be made, and of others by reason; `no_answer` counts requests that failed."""


class HeadToHead(Record):
    """Counts of prompts on which a model wins, ties and loses against `against`, by `judge`'s scores."""

    against: str
    judge: str
    """`truth`, the model whose own mean scores decide, or the judge outside the loop who compared the answers."""
    wins: int
    ties: int
    losses: int
    unscored: int
    """Prompts on which one of the two answers has no score."""
    net: Estimate | None
    """Share of wins minus share of losses, among the scored."""
    position_flips: float | None = None
    """Share of the prompts on which the judge's verdict changed with the order; None where answers were shown in one order."""


TIE_RULE = "a tie in score counts half; a response without a score makes its pairs wrong"


class RewardModeling(Record):
    """The paper's five metrics, on ranked responses. Means are over rankings; intervals resample rankings."""

    rankings: int
    pairs: int
    """Pairs of responses that people rank apart."""
    tie_rule: str = TIE_RULE
    pairwise_accuracy: Estimate | None
    """Share of those pairs in people's order, by the tie rule; None for a model that gave no score at all."""
    pairwise_accuracy_strict: Estimate | None
    """Pairwise accuracy with ties counted as wrong."""
    by_kind: dict[str, Estimate]
    """Pairwise accuracy by kind of task."""
    five_best: Estimate | None
    """Share of the responses with the best possible score, 5 in the paper, that people rank best."""
    exact_match: Estimate | None
    """Share of rankings whose whole order by score equals people's."""
    spearman: Estimate | None
    kendall: Estimate | None
    """Tau-b. Rankings in which either side is all ties have neither correlation."""
    length_baseline: Estimate | None
    """Pairwise accuracy of text length alone, where longer counts as better."""
    unparsed: float
    """Share of judgments without a valid score."""


class Selected(Record):
    """The checkpoint of its training that became the model."""

    step: int
    of: int
    """Steps of the whole training."""
    judge: str
    """The judge that chose."""


class Compared(Record):
    """A checkpoint against the one before it, prompt by prompt."""

    step: int
    against: int
    wins: int
    ties: int
    losses: int
    undecided: int
    """Prompts on which a judgment failed in either order."""
    position_flips: float | None
    """Share of the prompts decided in both orders on which the verdict followed the position."""

    @property
    def preferred(self) -> bool:
        """True if the judge prefers this checkpoint."""
        return self.wins > self.losses


class LoopStats(Record):
    """Statistics of one iteration of the loop, before its model was trained."""

    proposals: int
    prompts: int
    dropped_prompts: dict[str, int]
    well_formed: float | None
    """Share of the kept prompts that have a truth."""
    distinct_prompts: int
    responses: int
    response_length: float
    """Mean length in characters."""
    judgments: dict[str, int]
    """Counts by outcome."""
    score_histogram: dict[str, int]
    """Valid judgments by score, to two decimals."""
    pairs: int
    dropped_pairs: dict[str, int]
    untrained_pairs: dict[str, int] = {}  # noqa: RUF012
    """Counts of chosen pairs, also of earlier iterations, that were not trained on, by reason."""
    self_score: Estimate | None
    """Mean of the candidates' mean scores."""
    true_score: Estimate | None
    """Mean true score of the same candidates; where none of them has one, of all that have."""
    further: dict[str, dict[str, int]] = Field({}, exclude_if=lambda stages: not stages)
    """Stages beside those of the paper that the model was made by, with their counts by outcome, or of records and by reason."""
    told: dict[str, float] = Field({}, exclude_if=lambda told: not told)
    """Figures that a way of scoring found for itself."""
    position_flips: float | None = Field(None, exclude_if=lambda share: share is None)
    """Share of comparisons between candidates whose verdict changed with the order."""
    pairs_right: float | None
    """Share of pairs whose chosen response is truly better."""
    pairs_wrong: float | None
    """Share of pairs whose chosen response is truly worse; the rest are truly equal."""
    chosen_true: float | None
    rejected_true: float | None


class Measured(Record):
    """All measurements of one model."""

    name: str
    fingerprint: str
    parent: str | None
    true_score: float | None
    pairwise_accuracy: float | None
    instruction_following: TrueScore | None
    self_score: Estimate | None
    """Mean score that the model gives its own held-out answers."""
    head_to_head: list[HeadToHead]
    answer_length: float
    """Mean length of its held-out answers, in characters."""
    ran_out_of_length: float
    """Share of its held-out answers."""
    distinct_answers: float
    """Distinct held-out answers, as a share of all."""
    score_histogram: dict[str, int]
    """Valid judgments of its own held-out answers by score, to two decimals."""
    judgments: dict[str, int]
    """Judgments of its own held-out answers by outcome."""
    reward_modeling: RewardModeling | None
    """None where `measure.judging` is off, or no ranked responses are held out."""
    checks: Followed | None = Field(None, exclude_if=lambda checks: checks is None)
    """Checks of its held-out answers; None where no prompt carries any, or nothing is checked."""
    loop: LoopStats | None = None
    """The iteration that made it; None for models that no iteration made."""
    selected: Selected | None = None
    """The chosen checkpoint; None where `[select]` is off, or the model was not trained by DPO."""


def number(model: str) -> int:
    """The t of M_t; 1 for the SFT baseline, which comes right before M1."""
    return 1 if model == "SFT" else int(model.removeprefix("M"))
