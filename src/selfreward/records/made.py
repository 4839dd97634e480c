"""Records of making models: examples, prompts, responses, judgments, pairs. Each is frozen, with a content id."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Literal, NamedTuple, Self

from pydantic import model_validator

from selfreward.errors import amount
from selfreward.records.base import Identified, Record
from selfreward.records.requests import Finish, Ids, Sampled, Thoughtful
from selfreward.records.turns import NO_FRAME, Asked, Conversed, Frame


class Reasoned(Record):
    """An answer of a model that was to think before it: to be trained on after the prompt that asks for a thought."""

    thought: str
    text: str
    ids: Ids = None
    """Of both, as they were sampled."""


Answer = str | tuple[int, ...] | Reasoned
"""An answer to be trained on: its text, or its ids as they were sampled (`Response.ids`), or with a thought before it."""
Contrast = tuple[Asked, Answer, Answer]
"""A prompt as the model is given it, the answer to learn from, and the answer to learn away from."""


class Example(Conversed):
    """One supervised example: IFT (follow an instruction) or EFT (judge a response)."""

    identity = ("prompt", "response", "kind")
    prompt: str
    response: str
    kind: Literal["ift", "eft"]
    source: str


class Prompt(Conversed):
    """An instruction, or the user's turn with which a conversation ends. Two of the same texts are the same prompt."""

    identity = ("text",)
    last = "text"
    text: str
    source: Literal["seed", "self"]


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
        """How it ended."""
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
        """How it ended."""
        return self.finish

    @property
    def answered(self) -> bool:
        """Whether there is an answer; an engine's failure and a thought without an end are none, and not empty ones."""
        return self.finish not in ("error", "truncated")

    @property
    def answer(self) -> Answer:
        """As it is trained on."""
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


class Pair(Identified):
    """A preference: for one prompt, the response to learn from and the one to learn away from."""

    identity = ("prompt_id", "chosen_id", "rejected_id", "chosen_score", "rejected_score")
    prompt_id: str
    chosen_id: str
    rejected_id: str
    chosen_score: float
    rejected_score: float

    @model_validator(mode="after")
    def _best_first(self) -> Self:
        if self.chosen_id == self.rejected_id or not self.chosen_score > self.rejected_score:
            raise ValueError("chosen must be another response than rejected, with a higher score")
        return self


class Dropped(Record):
    """Something a stage did not keep, and why."""

    id: str
    stage: str
    reason: str


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

    def swap(self) -> Comparison:
        """Swap the sides of this comparison."""
        winner: dict[Side, Side] = {"a": "b", "b": "a"}
        return Comparison(prompt_id=self.prompt_id, a=self.b, b=self.a, winner=winner.get(self.winner, self.winner))


Place = Literal["first", "second", "tie"]


class Preference(Thoughtful):
    """A judge's verdict on two answers in one order. Only a `decided` one has a winner."""

    identity = ("prompt_id", "first", "second", "swapped", "judge", "rationale", "outcome", "winner")
    prompt_id: str
    first: str
    """Id of the response that was shown first."""
    second: str
    swapped: bool
    """Whether the first response is side `b` of the comparison."""
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


class Iteration(NamedTuple):
    """The records of the iteration that made a model."""

    proposals: int
    prompts: Sequence[Prompt]
    responses: Collection[Response]
    judgments: Collection[Judgment]
    pairs: Sequence[Pair]


def in_pairs(pairs: Iterable[Pair]) -> set[str]:
    """Ids of the responses that are in one of `pairs`."""
    return {one for pair in pairs for one in (pair.chosen_id, pair.rejected_id)}


def texts_in(pairs: Iterable[Pair], responses: Iterable[Response]) -> dict[str, str]:
    """Text by id of those of `responses` that are in one of `pairs`."""
    wanted = in_pairs(pairs)
    return {response.id: response.text for response in responses if response.id in wanted}


def preference_texts(
    pairs: Sequence[Pair], prompts: Iterable[Prompt], responses: Iterable[Response]
) -> list[tuple[Asked, str, str]]:
    """(prompt, chosen, rejected) as text, for training."""
    prompt_of = {prompt.id: prompt.asked for prompt in prompts}
    said = texts_in(pairs, responses)
    return [(prompt_of[pair.prompt_id], said[pair.chosen_id], said[pair.rejected_id]) for pair in pairs]


def contrasts(
    pairs: Sequence[Pair], prompts: Iterable[Prompt], responses: Iterable[Response], frame: Frame = NO_FRAME
) -> list[Contrast]:
    """(prompt, chosen, rejected) for training: the sampled ids of responses for which they are known, the text of others.

    `frame`: how the prompts were asked when the responses were sampled.
    """
    prompt_of, wanted = {prompt.id: frame(prompt.asked) for prompt in prompts}, in_pairs(pairs)
    said = {one.id: one.answer for one in responses if one.id in wanted}
    return [(prompt_of[pair.prompt_id], said[pair.chosen_id], said[pair.rejected_id]) for pair in pairs]


REPLY = "reply_"
"""Begins the reasons for leaving single responses out of a ranked set that is kept."""
