"""Records of watching the loop: what a monitor read, how likely a model found a text, and questions with known answers."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, model_validator

from selfreward.fields import compiles
from selfreward.identified import Identified, Record
from selfreward.records import Completion, Request, Sampled

Verdict = Literal["ok", "warn", "stop"]


class Reading(Record):
    """One figure of one monitor, and whether it lies where it should."""

    monitor: str
    """`flukes.rate`: the module that reads it, and which of its figures."""
    iteration: str
    """The model that was read: M1, M2, …"""
    value: float | None
    """None where there was nothing to read it from."""
    interval: tuple[float, float] | None
    """Ends of its 95 % interval."""
    limit: tuple[float | None, float | None] | None
    """Below the first or above the second the verdict is no longer `ok`; None where nothing is expected of the figure."""
    verdict: Verdict


class Likelihood(Sampled):
    """How likely a model finds a response as the answer to its prompt."""

    identity = ("response_id", "model", "outcome", "logprob", "tokens")
    response_id: str
    model: str
    """Fingerprint of the model asked."""
    outcome: Literal["told", "untold"]
    """`untold` by engines that cannot tell, and of answers longer than the model reads."""
    logprob: float | None
    """Sum over the answer's tokens with its end of turn: natural, at temperature 1, before top-p."""
    tokens: int

    @property
    def label(self) -> str:
        """The outcome."""
        return self.outcome


def read_likelihood(request: Request, completion: Completion) -> Likelihood:
    """What a model told of the answer that it was made to give."""
    told = completion.finish == "stop" and completion.logprob is not None
    return Likelihood(
        response_id=request.about, model=request.model, outcome="told" if told else "untold",
        logprob=completion.logprob if told else None, tokens=completion.completion_tokens + 1,
    )  # fmt: skip


class Anchor(Identified):
    """A prompt whose right answers are known. It is asked, and never trained on."""

    identity = ("prompt", "answers", "pattern")
    prompt: str
    answers: tuple[str, ...] = ()
    """Right answers as they would be written, white space and case aside."""
    pattern: Annotated[str, AfterValidator(compiles)] | None = None
    """A regular expression that a right answer matches somewhere, ignoring case."""

    @model_validator(mode="after")
    def _checkable(self) -> Anchor:
        if not self.answers and self.pattern is None:
            raise ValueError("give answers, or a pattern that a right answer matches")
        return self

    def right(self, text: str) -> bool:
        """Whether `text` is a right answer."""
        said = _plain(text)
        if any(said == _plain(answer) for answer in self.answers):
            return True
        return self.pattern is not None and re.search(self.pattern, text, re.IGNORECASE) is not None


def _plain(text: str) -> str:
    return " ".join(text.lower().split())
