"""Records of watching the loop: readings, likelihoods, anchors, checks; and descriptions of readings outside their limits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field, FiniteFloat, model_validator
from pydantic_core import from_json

from selfreward.errors import amount
from selfreward.records.base import Record, compiles
from selfreward.records.measured import number
from selfreward.records.requests import Conversed, Sampled

Severity = Literal["ok", "warn", "back", "stop"]
"""Verdicts from light to grave: within the limits, warned of, left behind (`drift.on_alarm = "rollback"`), the run's end."""


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
    """The number of cases behind the value; None where it is not known, as in runs begun before this was kept."""
    behind: dict[str, float] | None = Field(None, exclude_if=lambda figures: figures is None)
    """The figures behind the joint figure, the furthest first → their distances in spreads of the baseline."""

    @property
    def half(self) -> float | None:
        """Half the width of its interval; None where it has none."""
        return (self.interval[1] - self.interval[0]) / 2 if self.interval else None


def _largest_first(distances: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(sorted(distances, reverse=True))


class Baseline(Record):
    """The readings of clean runs, or of the run's own first models, for one alarm over all figures (`measure.monitors.joint`)."""

    usual: dict[str, dict[str, tuple[FiniteFloat, Annotated[FiniteFloat, Field(gt=0)]]]]
    """Model → figure → its usual value and spread: mean and standard deviation over clean runs."""
    own: bool = Field(False, exclude_if=lambda own: not own)
    """Usual values are the run's own, and spreads half the widths of their intervals; that of a model's own adds to each."""
    of: tuple[str, ...] = Field((), exclude_if=lambda of: not of)
    """Fingerprints of the M1s of all runs that it is made of; empty where they are not known, or tell no runs apart."""
    furthest: Annotated[tuple[Annotated[FiniteFloat, Field(ge=0)], ...], AfterValidator(_largest_first)] = Field(min_length=1)
    """The distance of the furthest model of each clean run that `usual` is not taken from, largest first."""

    def misfit(self, first: str) -> str | None:
        """The reason why it is none for the run whose M1 has the fingerprint `first`; None where there is none, or none known."""
        if not self.of or self.own == (first in self.of):
            return None
        if self.own:
            return "the baseline is another run's M1 and M2: selfreward calibrate on this run's folder makes this run's own"
        return "this run is among those that the baseline is made of, and lies nearer to it than a new one: no alarm clears it"

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


How = Literal["strict", "loose"]


def _meant(kwargs: Any) -> Any:
    """Arguments without the empty ones, which tables have for those of other kinds; whole numbers, which tables keep as 3.0."""
    if not isinstance(kwargs, dict):
        return {} if kwargs is None else kwargs
    given = {name: value for name, value in kwargs.items() if value is not None and value == value}
    return {name: int(value) if isinstance(value, float) and value.is_integer() else value for name, value in given.items()}


class Instruction(Record):
    """Something that a program can check in an answer. Exactly one of `id`, `pattern` and `answer` is given."""

    id: str | None = Field(None, exclude_if=lambda value: value is None)
    """The name that IFEval or IFBench has for the kind of instruction: `length_constraints:number_words`."""
    kwargs: Annotated[dict[str, Any], BeforeValidator(_meant)] = Field({}, exclude_if=lambda value: not value)
    """Arguments of an `id`, as IFEval and IFBench have them."""
    pattern: Annotated[str | None, AfterValidator(lambda value: value if value is None else compiles(value))] = Field(
        None, exclude_if=lambda value: value is None
    )
    """A regular expression that the answer matches somewhere, ignoring case."""
    answer: str | None = Field(None, exclude_if=lambda value: value is None)
    """The known answer, with which the answer ends; case, white space, marks around it, TeX boxes and groups of digits aside."""

    @property
    def name(self) -> str:
        """Its kind, as checks are counted by."""
        return self.id or ("pattern" if self.pattern is not None else "answer")

    @model_validator(mode="after")
    def _of_one_sort(self) -> Instruction:
        if sum(value is not None for value in (self.id, self.pattern, self.answer)) != 1:
            raise ValueError("give one of id, pattern and answer")
        if self.kwargs and self.id is None:
            raise ValueError("kwargs are the arguments of an id")
        if self.answer is not None and not self.answer.strip():
            raise ValueError("answer is empty")
        if self.pattern == "":
            raise ValueError("pattern is empty, and matches every answer")
        return self


def _given(checks: Any) -> Any:
    """The checks of a prompt, which a table's cell has as JSON; none where it is empty."""
    if isinstance(checks, str):
        return from_json(checks) if checks.strip() else ()
    return () if checks is None else checks


Checks = Annotated[tuple[Instruction, ...], BeforeValidator(_given), Field(exclude_if=lambda checks: not checks)]
"""The checks of a prompt; left out of a line where there are none, and null in tables."""


class Check(Record):
    """One instruction checked in one answer. Only a `checked` one is known to hold or not."""

    response_id: str
    instruction: str
    """Its kind: `length_constraints:number_words`, `pattern` or `answer`."""
    outcome: Literal["checked", "unchecked"]
    strict: bool | None = None
    """True if the instruction holds in the answer as it is."""
    loose: bool | None = None
    """True if the instruction holds in the answer, or without its first line, its last, both, or its asterisks."""
    reason: str = ""
    """The package, data or time that the checker of an unchecked instruction lacks."""

    @property
    def label(self) -> str:
        """The outcome, with the reason of an unchecked one."""
        return f"unchecked ({self.reason})" if self.outcome == "unchecked" else self.outcome


def holds(checks: Sequence[Check], how: How) -> float | None:
    """1 if all of a prompt's instructions hold, else 0; None where one is not known.

    Also where another is known to fail: else prompts with an unknown one would count in a mean only where they fail.
    """
    verdicts = [getattr(each, how) for each in checks]
    return None if None in verdicts else float(all(verdicts))


def share(checks: Sequence[Check]) -> float | None:
    """The share of a prompt's instructions that hold strictly; None where one is not known, or there is none."""
    verdicts = [each.strict for each in checks]
    return None if None in verdicts or not verdicts else sum(map(bool, verdicts)) / len(verdicts)


class Anchor(Conversed):
    """A prompt with known right answers, for asking and never for training."""

    identity = ("prompt", "answers", "pattern")
    prompt: str
    answers: tuple[str, ...] = ()
    """Right answers, white space and case aside."""
    pattern: Annotated[str, AfterValidator(compiles)] | None = None
    """A regular expression that a right answer matches somewhere, ignoring case."""
    checks: Checks = ()
    """Checks that a right answer passes, all of them (`judge.checks`)."""

    @property
    def added_identity(self) -> list[object]:
        """The turns before and the checks, where there are any."""
        return [*super().added_identity, *([self.checks] if self.checks else [])]

    @model_validator(mode="after")
    def _checkable(self) -> Anchor:
        if not self.answers and self.pattern is None and not self.checks:
            raise ValueError("give answers, or a pattern that a right answer matches")
        return self

    def names(self, text: str) -> bool:
        """True if `text` is one of `answers`."""
        return any(_plain(text) == _plain(answer) for answer in self.answers)

    @property
    def checked(self) -> tuple[Instruction, ...]:
        """The checks of an answer that is not one of `answers`."""
        return self.checks or (() if self.pattern is None else (Instruction(pattern=self.pattern),))


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


NAMED = 3
"""Figures that a summary names; the others are counted."""


def alarms(readings: Sequence[Reading]) -> list[Reading]:
    """The readings outside their limits: those with `stop` first, then the latest model's, else in order."""
    outside = [reading for reading in readings if reading.verdict != "ok"]
    return sorted(outside, key=lambda reading: (reading.verdict != "stop", -number(reading.iteration)))


def unread(readings: Sequence[Reading]) -> list[Reading]:
    """The figures of the last model read that have limits and no value, so that nothing is known of them."""
    last = max((number(reading.iteration) for reading in readings), default=0)
    return [reading for reading in readings if number(reading.iteration) == last and reading.limit and reading.value is None]


def describe(readings: Sequence[Reading]) -> str:
    """One line on the readings of one model or several; each figure counts once, by its gravest reading."""
    read = {reading.monitor for reading in readings if reading.value is not None}
    limited = {reading.monitor for reading in readings if reading.value is not None and reading.limit}
    outside: dict[str, Reading] = {}
    for reading in alarms(readings):
        outside.setdefault(reading.monitor, reading)
    unknown = unread(readings)
    more = (
        f", and {_names([each.monitor for each in unknown])} with limits could not be read at {unknown[0].iteration}"
        if unknown
        else ""
    )
    if not outside:
        unlimited = 'none has a limit, so no monitor can warn: set a limit, such as drift.limits."flukes.rate".above = 0.2'
        unlimited = "none that could be read has a limit" if any(reading.limit for reading in readings) else unlimited
        within = f"of {len(limited)} with limits none is outside" if limited else unlimited
        return f"{amount(len(read), 'figure')} watched, {within}{more}" if read else "no figure could be read yet"
    outside_of = "its limits" if len(outside) == 1 else "their limits"
    named = _names([*map(phrase, outside.values())])
    return f"{len(outside)} of {amount(len(read), 'figure')} outside {outside_of}: {named}{more}"


def _names(names: Sequence[str]) -> str:
    """The first names, and how many there are more."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more}"


def phrase(reading: Reading) -> str:
    """The figure, the model, the value and the passed limit: `flukes.rate at M3 (0.41, above 0.2: stop)`."""
    value, (low, high) = reading.value or 0.0, reading.limit or (None, None)
    passed = f"below {low:g}" if low is not None and value < low else f"above {high:g}"
    stop = {"stop": ": stop", "back": ": left behind"}.get(reading.verdict, "")
    return f"{reading.monitor} at {reading.iteration} ({value:.3g}, {passed}{stop})"


def ending(model: str, readings: Sequence[Reading], good: str | None) -> str:
    """The end of a run at `model`, whose `readings` say `stop`: the cause, and the last `good` model, if there is one."""
    why = ", ".join(phrase(reading) for reading in readings if reading.verdict == "stop")
    told = f"the last good model is {good}" if good else "it is the first model that was watched"
    return f"ended by its monitors at {model}: {why}; {told}"


def left_behind(model: str, readings: Sequence[Reading], good: str) -> str:
    """The line on a `model` whose `readings` say `back`: the cause, and the model that the next iteration begins at."""
    why = ", ".join(phrase(reading) for reading in readings if reading.verdict == "back")
    return f"{model} is left behind, and the loop goes back to {good}: {why}"


def worst(readings: Iterable[Reading]) -> Severity:
    """The gravest verdict of all."""
    return max((reading.verdict for reading in readings), key=get_args(Severity).index, default="ok")
