"""Every record of a run: frozen, with a content id, one JSON object a line."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from selfreward.identified import Identified, Record, content_id


class Example(Identified):
    """One supervised example: IFT (follow an instruction) or EFT (judge a response)."""

    identity = ("prompt", "response", "kind")
    prompt: str
    response: str
    kind: Literal["ift", "eft"]
    source: str


class Prompt(Identified):
    """An instruction. Two prompts of the same text are the same prompt."""

    identity = ("text",)
    text: str
    source: Literal["seed", "self"]


class Ranking(Identified):
    """Responses to one prompt as people rank them: `ranks[i]` is the rank of `responses[i]`, 0 the best, ties allowed."""

    identity = ("prompt", "responses", "ranks")
    prompt: str
    responses: tuple[str, ...]
    ranks: tuple[int, ...]

    @model_validator(mode="after")
    def _same_length(self) -> Self:
        if len(self.responses) != len(self.ranks):
            raise ValueError(f"{len(self.responses)} responses but {len(self.ranks)} ranks")
        return self


class Message(Record):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


class Sampling(Record):
    """How a completion is sampled. Every field is always sent: engines fill gaps with defaults of their own."""

    temperature: float
    top_p: float
    max_tokens: int


class Request(Identified):
    """One completion asked of a model: `about` is the id of the record it concerns, `index` which of its samples."""

    identity = ("about", "index", "messages", "sampling", "seed", "model", "top_logprobs", "watch", "forced")
    about: str
    index: int
    messages: tuple[Message, ...]
    sampling: Sampling
    seed: int
    model: str
    """Fingerprint of the model asked."""
    top_logprobs: int = 0
    """Log-probabilities of so many likeliest first tokens are asked for as well."""
    watch: tuple[str, ...] = ()
    """Texts of single tokens, a scale's numbers say: how likely each was is asked for wherever one of them is drawn."""
    forced: str | None = None
    """The answer that is to be given, to the end of its turn: nothing is sampled, and how likely it was is told."""

    @classmethod
    def asking(
        cls,
        about: str,
        index: int,
        messages: tuple[Message, ...],
        sampling: Sampling,
        model: Checkpoint,
        run_seed: int,
        top_logprobs: int = 0,
        watch: tuple[str, ...] = (),
        forced: str | None = None,
    ) -> Request:
        """A request whose seed follows from the run's and from what it asks, and is its own."""
        seed = int(content_id("seed", run_seed, about, index, *(message.content for message in messages)), 16)
        return cls(
            about=about, index=index, messages=messages, sampling=sampling, seed=seed, model=model.fingerprint,
            top_logprobs=top_logprobs, watch=watch, forced=forced,
        )  # fmt: skip

    @classmethod
    def user_turn(
        cls, about: str, index: int, text: str, sampling: Sampling, model: Checkpoint, run_seed: int, watch: tuple[str, ...] = ()
    ) -> Request:
        """The same of one user turn."""
        return cls.asking(about, index, (Message(role="user", content=text),), sampling, model, run_seed, watch=watch)


Finish = Literal["stop", "length", "error"]


class Watched(Record):
    """A place where one of `Request.watch` was drawn, and how likely each of them was there."""

    at: int
    """Where in the completion's text the drawn token begins, in characters; white space before it is passed over."""
    logprobs: dict[str, float]
    """Natural log-probabilities of the watched texts at temperature 1, before top-p; of tokens that read the same together."""


def _unset() -> Any:
    """A field that is written down only where it is set: records from before it have the ids that they had."""
    return Field(None, exclude_if=lambda value: value is None)


class Completion(Record):
    """What came back for a request. `text` holds generated text alone, without the end of turn."""

    request_id: str
    text: str
    finish: Finish
    prompt_tokens: int
    completion_tokens: int
    first_token: dict[str, float] | None = None
    """The likeliest first tokens with their log-probabilities, natural, before temperature; None where not asked for."""
    watched: tuple[Watched, ...] = ()
    """Every place where one of `Request.watch` was drawn, in the text's order."""
    logprob: float | None = None
    """Of a forced text with its end of turn, the sum of its tokens' natural log-probabilities at temperature 1, before top-p."""
    reason: str | None = _unset()
    """Why there is no answer, in a line, where `finish` is `error` and the engine knows."""
    thought: str | None = _unset()
    """What a thinking model wrote before its answer, where the engine keeps the two apart; never part of `text`."""
    ids: tuple[int, ...] | None = _unset()
    """The sampled tokens' ids in the model's own vocabulary, where the engine gives them."""


class Sampled(Identified):
    """A record that was read from a completion."""

    @property
    def label(self) -> str:
        """What became of it, in a word, for counting."""
        raise NotImplementedError


class Proposal(Sampled):
    """What the prompt writer wrote, before any filter."""

    identity = ("request_id", "text")
    request_id: str
    text: str
    finish: Finish

    @property
    def label(self) -> str:
        """How it ended."""
        return self.finish


class Response(Sampled):
    """A candidate answer to a prompt; `index` tells the N candidates apart."""

    identity = ("prompt_id", "model", "index", "text", "finish")
    prompt_id: str
    model: str
    index: int
    text: str
    finish: Finish

    @property
    def label(self) -> str:
        """How it ended."""
        return self.finish

    @property
    def answered(self) -> bool:
        """Whether there is an answer; an engine's failure is none, and not an empty one."""
        return self.finish != "error"


Outcome = Literal["scored", "unparsed", "off_scale", "no_logprobs", "truncated", "error"]


class Judgment(Sampled):
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
    """What is true of a response, from outside the loop. `points` by criterion; their sum is the true score."""

    response_id: str
    kind: str
    """The kind of task, for breaking results down."""
    points: dict[str, float]

    @property
    def score(self) -> float:
        """The true score."""
        return sum(self.points.values())


class Checkpoint(Record):
    """A model on disk. `fingerprint` is a hash of its weights and tokenizer; `parent` that of what it was trained from."""

    name: str
    path: Path
    fingerprint: str
    parent: str | None = None


Side = Literal["a", "b", "tie", "none"]


class Comparison(Record):
    """Two models' answers to one prompt, side by side. `none`: one of them could not be scored."""

    prompt_id: str
    a: str
    b: str
    winner: Side

    def swap(self) -> Comparison:
        """The same comparison seen from the other side."""
        winner: dict[Side, Side] = {"a": "b", "b": "a"}
        return Comparison(prompt_id=self.prompt_id, a=self.b, b=self.a, winner=winner.get(self.winner, self.winner))
