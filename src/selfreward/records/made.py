"""Records of making models: examples, prompts, responses, judgments, pairs. Each is frozen, with a content id."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Literal, NamedTuple, Self

from pydantic import Field, model_validator

from selfreward.errors import amount
from selfreward.records.base import Identified, Record
from selfreward.records.measured import Preference
from selfreward.records.requests import Asked, Conversed, Finish, Ids, Sampled, Thoughtful
from selfreward.records.watched import Checks


class Reasoned(Record):
    """An answer of a model that was to think before it: to be trained on after the prompt that asks for a thought."""

    thought: str
    text: str
    ids: Ids = None
    """Ids of both, as they were sampled."""


Answer = str | tuple[int, ...] | Reasoned
"""An answer to be trained on: its text, or its ids as they were sampled (`Response.ids`), or with a thought before it."""


def is_blank(answer: Answer) -> bool:
    """True if an answer is empty; of sampled ids, if they are only the end."""
    content = answer.text if isinstance(answer, Reasoned) else answer
    return not content.strip() if isinstance(content, str) else len(content) <= 1


def is_encoded_anew(answer: Answer) -> bool:
    """True if an answer's ids are made from its text, because the sampled ids are not known."""
    return answer.ids is None if isinstance(answer, Reasoned) else isinstance(answer, str)


Contrast = tuple[Asked, Answer, Answer] | tuple[Asked, Answer, Answer, float]
"""A prompt as a model is given it, what to learn from, what to learn away from, and the pair's weight where it is not 1."""


class Example(Conversed):
    """One supervised example: IFT (follow an instruction) or EFT (judge a response)."""

    identity, newer = ("prompt", "response", "kind"), ("context", "untrained")
    prompt: str
    response: str
    kind: Literal["ift", "eft"]
    source: str
    untrained: tuple[int, ...] = Field((), exclude_if=lambda numbers: not numbers)
    """Numbers, from 0, of the assistant's earlier answers that are never trained: their row gives them no weight."""


class Prompt(Conversed):
    """An instruction, or the user's turn with which a conversation ends. Two of the same texts are the same prompt."""

    identity = ("text",)
    last = "text"
    text: str
    source: Literal["seed", "self"]
    checks: Checks = ()
    """Checks that a program can make of an answer (`judge.checks`)."""


class Ranking(Conversed):
    """Responses to one prompt as people rank them: `ranks[i]` is the rank of `responses[i]`, 0 the best, ties allowed."""

    identity = ("prompt", "responses", "ranks")
    prompt: str
    responses: tuple[str, ...]
    ranks: tuple[int, ...]

    @model_validator(mode="after")
    def _same_length(self) -> Self:
        if len(self.responses) != len(self.ranks):
            raise ValueError(f"{amount(len(self.responses), 'response')} but {amount(len(self.ranks), 'rank')}")
        return self


class Proposal(Sampled):
    """A text of the prompt writer, before any filter."""

    identity = ("request_id", "text")
    request_id: str
    text: str
    finish: Finish

    @property
    def label(self) -> str:
        """The outcome."""
        return self.finish


class Response(Thoughtful):
    """A candidate answer to a prompt; `index` tells the N candidates apart."""

    identity = ("prompt_id", "model", "index", "text", "finish")
    prompt_id: str
    model: str
    index: int
    text: str
    finish: Finish
    ids: Ids = None
    """The sampled ids, which training takes, a thought's among them: encoded again, the text may give others."""

    @property
    def label(self) -> str:
        """The outcome."""
        return self.finish

    @property
    def answered(self) -> bool:
        """True if there is an answer; an engine's failure and a thought without an end have none, not an empty one."""
        return self.finish not in ("error", "truncated")

    @property
    def answer(self) -> Answer:
        """The answer for training."""
        if self.thought is not None:
            return Reasoned(thought=self.thought, text=self.text, ids=self.ids)
        return self.text if self.ids is None else self.ids


Outcome = Literal["scored", "unparsed", "off_scale", "no_logprobs", "truncated", "error"]


class Judgment(Thoughtful):
    """One sample of a judge's opinion of a response. Only a `scored` one has a score."""

    identity = ("response_id", "judge", "sample", "rationale", "outcome", "score")
    response_id: str
    judge: str
    """Fingerprint of the judging model."""
    sample: int
    rationale: str
    """Everything that the judge wrote."""
    outcome: Outcome
    score: float | None = None

    @property
    def label(self) -> str:
        """The outcome."""
        return self.outcome

    @model_validator(mode="after")
    def _score_if_scored(self) -> Self:
        if (self.outcome == "scored") != (self.score is not None):
            raise ValueError(f"outcome {self.outcome!r} does not go with score {self.score!r}")
        return self


class Vote(Identified):
    """The answer that a response comes to, and the number of its prompt's candidates that come to the same answer."""

    identity = ("response_id", "answer", "votes", "of")
    response_id: str
    answer: str
    """In the form in which answers are compared."""
    votes: int
    of: int
    """Candidates of the prompt, those without an answer among them."""


class Pair(Identified):
    """A preference: for one prompt, the response to learn from and the one to learn away from."""

    identity = ("prompt_id", "chosen_id", "rejected_id", "chosen_score", "rejected_score")
    prompt_id: str
    chosen_id: str
    rejected_id: str
    chosen_score: float
    rejected_score: float
    weight: float = Field(1.0, gt=0, exclude_if=lambda weight: weight == 1)
    """Weight of its loss in a training, beside other pairs."""

    @property
    def added_identity(self) -> list[object]:
        """The weight, where it is another than all pairs have."""
        return [] if self.weight == 1 else [self.weight]

    @model_validator(mode="after")
    def _best_first(self) -> Self:
        if self.chosen_id == self.rejected_id or not self.chosen_score > self.rejected_score:
            raise ValueError("chosen and rejected must be different responses, chosen with the higher score")
        return self


class Dropped(Record):
    """Something a stage did not keep, and why."""

    id: str
    stage: str
    reason: str


class MetaJudgment(Thoughtful):
    """A meta-judge's verdict on two judgments of one response in one order. Only a `decided` one has a winner."""

    identity = ("response_id", "first", "second", "swapped", "judge", "rationale", "outcome", "winner")
    response_id: str
    first: str
    """Id of the judgment that was shown first."""
    second: str
    swapped: bool
    """True if this is the second order in which the two are shown."""
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
        "response_id", "chosen_id", "rejected_id", "chosen_score", "rejected_score", "chosen_strength", "rejected_strength",
    )  # fmt: skip
    response_id: str
    """Id of the response judged; of an EFT example its own id."""
    chosen_id: str
    rejected_id: str
    chosen_score: float
    """The score that the judgment gives."""
    rejected_score: float
    chosen_strength: float
    """The reason for the choice as a number: strength in logits from a meta-judge's battles, else nearness to the right score."""
    rejected_strength: float

    @model_validator(mode="after")
    def _stronger_first(self) -> Self:
        if self.chosen_score == self.rejected_score or not self.chosen_strength > self.rejected_strength:
            raise ValueError("chosen must be stronger than rejected, and give another score")
        return self


class Iteration(NamedTuple):
    """The records of the iteration that made a model."""

    proposals: int
    prompts: Sequence[Prompt]
    responses: Collection[Response]
    judgments: Collection[Judgment]
    pairs: Sequence[Pair]
    scores: Mapping[str, float] | None = None
    """Scores of the candidates by id, where they are no means of `judgments`."""
    scores_before: Mapping[str, float] | None = None
    """Scores of the candidates by id, as the previous model would give them, where they are known."""
    preferences: Collection[Preference] = ()
    """Comparisons of candidates with each other."""
    told: Mapping[str, float] = {}
    """Figures that the way of scoring found for itself."""
