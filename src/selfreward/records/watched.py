"""Records of watching the loop: readings, likelihoods, anchors; and descriptions of readings outside their limits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from math import ceil
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from selfreward.errors import amount
from selfreward.records.base import Record, compiles
from selfreward.records.measured import number
from selfreward.records.requests import Conversed, Sampled

Severity = Literal["ok", "warn", "stop"]


class Reading(Record):
    """One figure of one monitor, and its verdict."""

    monitor: str
    """Monitor and figure: `flukes.rate`."""
    iteration: str
    """The watched model: M1, M2, …"""
    value: float | None
    """None where there are no records to compute it from."""
    interval: tuple[float, float] | None
    """Ends of its 95 % interval."""
    limit: tuple[float | None, float | None] | None
    """Lowest and highest value that is `ok`; None where the figure has no limit."""
    verdict: Severity
    n: int | None = Field(None, exclude_if=lambda number: number is None)
    """How many cases the value is of; None where nothing tells, as in runs begun before this was kept."""
    behind: dict[str, float] | None = Field(None, exclude_if=lambda figures: figures is None)
    """Of the joint figure: the figures behind it, the furthest first → standard deviations from clean runs' mean."""


class Baseline(Record):
    """How clean runs read, for one alarm over all figures (`measure.monitors.joint`)."""

    usual: dict[str, dict[str, tuple[float, float]]]
    """Model → figure → mean and standard deviation over clean runs."""
    furthest: tuple[float, ...]
    """Of clean runs that `usual` is not taken from, the distance of the furthest model, largest first."""

    def limit(self, false_alarms: float) -> float | None:
        """The distance that a clean run passes with probability `false_alarms` at most; None where there are too few to say."""
        passed = int(false_alarms * (len(self.furthest) + 1) + 1e-9)
        return self.furthest[min(passed, len(self.furthest)) - 1] if passed else None

    @property
    def finest(self) -> float:
        """The lowest share of false alarms that so many runs can hold, rounded up to a thousandth."""
        return ceil(1000 / (len(self.furthest) + 1)) / 1000


class Likelihood(Sampled):
    """The likelihood of a response under a model."""

    identity = ("response_id", "model", "outcome", "logprob", "tokens")
    response_id: str
    model: str
    """Fingerprint of the model asked."""
    outcome: Literal["told", "untold"]
    """`untold` where the engine cannot give it, and where the answer is longer than the model's context."""
    logprob: float | None
    """Sum of natural log-probabilities over the answer's tokens with its end of turn, at temperature 1, before top-p."""
    tokens: int

    @property
    def label(self) -> str:
        """The outcome."""
        return self.outcome


class Anchor(Conversed):
    """A prompt with known right answers, for asking and never for training."""

    identity = ("prompt", "answers", "pattern")
    prompt: str
    answers: tuple[str, ...] = ()
    """Right answers, white space and case aside."""
    pattern: Annotated[str, AfterValidator(compiles)] | None = None
    """A regular expression that a right answer matches somewhere, ignoring case."""

    @model_validator(mode="after")
    def _checkable(self) -> Anchor:
        if not self.answers and self.pattern is None:
            raise ValueError("give answers, or a pattern that a right answer matches")
        return self

    def right(self, text: str) -> bool:
        """Whether `text` is a right answer."""
        plain = _plain(text)
        if any(plain == _plain(answer) for answer in self.answers):
            return True
        return self.pattern is not None and re.search(self.pattern, text, re.IGNORECASE) is not None


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


NAMED = 3
"""Figures that a summary names; the others are counted."""


def alarms(readings: Sequence[Reading]) -> list[Reading]:
    """The readings with a verdict of `warn` or `stop`: `stop` first, then the latest model's, else in order."""
    outside = [reading for reading in readings if reading.verdict != "ok"]
    return sorted(outside, key=lambda reading: (reading.verdict != "stop", -number(reading.iteration)))


def describe(readings: Sequence[Reading]) -> str:
    """One line on the readings of one model or several; each figure counts once, by its gravest reading."""
    read = {reading.monitor for reading in readings if reading.value is not None}
    limited = {reading.monitor for reading in readings if reading.value is not None and reading.limit}
    outside: dict[str, Reading] = {}
    for reading in alarms(readings):
        outside.setdefault(reading.monitor, reading)
    if not outside:
        unlimited = 'none has a limit, so nothing can warn: set one, as drift.limits."flukes.rate".above = 0.2'
        within = f"of {len(limited)} with limits none lies outside" if limited else unlimited
        return f"{amount(len(read), 'figure')} watched, {within}" if read else "no figure could be read yet"
    phrases = [phrase(reading) for reading in outside.values()]
    more = f" and {len(phrases) - NAMED} more" if len(phrases) > NAMED else ""
    outside_of = "its limits" if len(outside) == 1 else "their limits"
    return f"{len(outside)} of {amount(len(read), 'figure')} outside {outside_of}: {', '.join(phrases[:NAMED])}{more}"


def phrase(reading: Reading) -> str:
    """The figure, the model, the value and the passed limit: `flukes.rate at M3 (0.41, above 0.2: stop)`."""
    value, (low, high) = reading.value or 0.0, reading.limit or (None, None)
    passed = f"below {low:g}" if low is not None and value < low else f"above {high:g}"
    stop = ": stop" if reading.verdict == "stop" else ""
    return f"{reading.monitor} at {reading.iteration} ({value:.3g}, {passed}{stop})"


def ending(model: str, readings: Sequence[Reading]) -> str:
    """The end of a run at `model`, whose `readings` say `stop`: the cause, and the last model before it."""
    why = ", ".join(phrase(reading) for reading in readings if reading.verdict == "stop")
    good = f"the last good model is M{number(model) - 1}" if model != "M1" else "it is the first that was watched"
    return f"ended by its monitors at {model}: {why}; {good}"


def worst(readings: Iterable[Reading]) -> Severity:
    """The gravest verdict of all."""
    verdicts: tuple[Severity, ...] = ("ok", "warn", "stop")
    return max((reading.verdict for reading in readings), key=verdicts.index, default="ok")
