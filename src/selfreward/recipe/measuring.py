"""Tables of a recipe: the measurements of models, and the monitors with their limits."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import product
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator, model_validator

from selfreward.recipe.fields import (
    IMPORT_PATH,
    MOVED_MODULES,
    Located,
    ModelName,
    Pattern,
    Section,
    ThinkingConfig,
    moved,
    off,
)
from selfreward.records import catches, compiles


def _one_or_one_each(given: Any, read: ValidatorFunctionWrapHandler) -> Any:
    """Say in one sentence what is wrong, for a union's error lists the complaints of all its kinds."""
    try:
        return read(given)
    except ValidationError as error:
        raise ValueError("must be a finite number, or a list of them, one each for M1, M2, …") from error


Ends = Annotated[float | Annotated[tuple[float, ...], Field(min_length=1)], WrapValidator(_one_or_one_each)]
"""A number for all models, or one each for M1, M2, …, the last of which holds for all later models."""


def _trait(text: str) -> str:
    return text if re.fullmatch(IMPORT_PATH, text) else compiles(text)


class Limit(Section):
    """The range that a figure of a monitor should be in. An end that is not given is open."""

    below: Ends | None = None
    """A figure below this raises a warning."""
    above: Ends | None = None
    """A figure above this raises a warning."""
    stop_below: Ends | None = None
    """A figure below this ends the run after its iteration."""
    stop_above: Ends | None = None
    """A figure above this ends the run after its iteration."""

    @property
    def warns(self) -> bool:
        """True if it has an end outside which a figure raises a warning, and `on_alarm` has its effect."""
        return (self.below, self.above) != (None, None)

    def at(self, model: int) -> dict[str, float | None]:
        """The four ends by name, for M_`model`, from M1 on."""
        ends = {name: getattr(self, name) for name in Limit.model_fields}
        return {name: end[min(model, len(end)) - 1] if isinstance(end, tuple) else end for name, end in ends.items()}

    @property
    def fault(self) -> str | None:
        """The reason why no run may begin with it; None where there is none. Runs that have begun are read all the same."""
        ends = [getattr(self, name) for name in Limit.model_fields]
        if ends == [None] * len(ends):
            return "limits nothing"
        for model in range(1, 1 + max(len(end) if isinstance(end, tuple) else 1 for end in ends)):
            at = self.at(model)
            for low, high in product(("below", "stop_below"), ("above", "stop_above")):
                if (lowest := at[low]) is not None and (highest := at[high]) is not None and lowest > highest:
                    return f"{low} is {lowest:g} and {high} {highest:g}, so that at M{model} every value is outside"
        return None


class DriftConfig(Section):
    """Monitors, read at every iteration. Nothing flows back into the loop, except what alarms do by `on_alarm`."""

    sample: int = Field(64, ge=1)
    """Held-out prompts' answers, and anchors, about which models are asked more for the monitors alone."""
    pool: int = Field(16, ge=1)
    """Held-out prompts for which M1 writes the frozen pool of candidates, which every later model judges too."""
    frozen: ModelName = "frozen"
    """The frozen judge whose scores are set beside the live one's: M1 (`frozen`), or a model outside the loop."""
    anchors: Located | None = None
    """A file of prompts with known answers (JSONL of Anchor), asked at every iteration and never trained on."""
    pass_mark: float = 4
    """A mean score from here on counts as the judge's approval."""
    traits: dict[str, Annotated[str, AfterValidator(_trait)]] = Field({})
    """Traits of your own beside the built-in ones: a regular expression (its matches are counted) or `package.module:name`, a
    function from an answer's text to a number."""
    limits: dict[str, Limit] = Field({})
    """Figure (`flukes.rate`, as drift.jsonl names it) → its limits."""
    also: tuple[Literal["progress", "runaway", "style"], ...] = off(())
    """Monitors beside the eight that always read. `progress`: later answers against earlier ones. `runaway`: whether the judge's
    taste grows with what it breeds. `style`: whether it tells better from worse where the worse answer has more of a trait."""
    on_alarm: Literal["stop", "rollback"] | None = off(None)
    """The effect of `below`, `above` and the baseline's limit beside a warning. Not given: none. `stop`: they end the run, as
    `stop_below` and `stop_above` do. `rollback`: a model is left behind, and the next begins at the last without an alarm."""
    baseline: Located | None = off(None)
    """A file that `selfreward calibrate` made of clean runs: one alarm over all figures and models, `joint.distance`."""
    false_alarms: float = off(0.05, gt=0, lt=1)
    """Largest share of clean runs that may raise this alarm over a whole run, however many models are read."""


CHECKS = "checks"
Truth = Annotated[str, Field(pattern=f"^({CHECKS}|{IMPORT_PATH})$"), AfterValidator(lambda path: moved(path, MOVED_MODULES))]

FIRST_SECOND_TIE = ("first", "second", "tie")


def label_name(label: str) -> str:
    """A verdict's word without case and without the marks around it."""
    return " ".join(label.casefold().strip(" \t\n*_()[]{}\"'“”‘’`.,:;!（）【】：。").split())


def _pattern_for(labels: Sequence[str]) -> str:
    ordered = sorted((label.strip() for label in labels), key=len, reverse=True)
    words = "|".join(r"\s+".join(map(re.escape, label.split())) for label in ordered)
    bracketed = all(re.fullmatch(r"\W.*\W", label) for label in ordered)
    return f"({words})" if bracketed else rf"verdict[\s*]*:[\s*(\[\"'“]*({words})(?!\w)"


class PairwiseConfig(ThinkingConfig):
    """The comparison of two answers by a judge, always in both orders: disagreement is a tie (paper, section 3.1)."""

    rubric: Located = "selfreward:recipe/rubrics/judge_pairwise.txt"
    """Prompt text with the slots {prompt}, {first} and {second}."""
    pattern: Pattern = r"verdict[\s*]*:[\s*]*(first|second|tie)\b"
    """The pattern of a verdict, ignoring case; the last match wins. One group, one of the `labels`. Not given, but labels given:
    the labels in this form, or, where they have brackets of their own (`[[A]]`), alone."""
    labels: tuple[str, str, str] = off(FIRST_SECOND_TIE)
    """The rubric's names for the first answer, the second and a tie; case, and brackets or quotes around them, change nothing."""
    temperature: float = Field(0.0, ge=0)
    """0 is greedy."""

    @model_validator(mode="after")
    def _one_group(self) -> Self:
        if re.compile(self.pattern).groups != 1:
            raise ValueError("pattern must have one group, the verdict")
        return self

    @model_validator(mode="before")
    @classmethod
    def _pattern_of_labels(cls, given: Any) -> Any:
        labels = given.get("labels") if isinstance(given, dict) and "pattern" not in given else None
        if isinstance(labels, list | tuple) and labels and all(isinstance(label, str) for label in labels):
            return {**given, "pattern": _pattern_for(labels)}
        return given

    @property
    def caught(self) -> list[list[str]]:
        """The ways to write the first label, and the second, that the group of `pattern` can catch."""
        names = [(label, label_name(label)) for label in self.labels[:2]]
        return [catches(self.pattern, (label, name, f"[[{name}]]", f"[{name}]", f"({name})")) for label, name in names]

    @model_validator(mode="after")
    def _can_decide(self) -> Self:
        names = [label_name(label) for label in self.labels]
        if len({*names}) < 3 or not all(names):
            raise ValueError(f"labels must be three that differ, but for brackets and case: {', '.join(self.labels)}")
        for label, caught in zip(self.labels, self.caught, strict=False):
            if not caught:
                raise ValueError(f"pattern can never name {label!r}: its group does not catch it (labels says what it may be)")
        return self


class MeasureConfig(Section):
    """Measurements of every model; nothing of them flows back into the loop."""

    truth: Truth | None = None
    """The world's truth, where it has one: a function (prompt, response) → (kind of task, points by criterion), or None. Or
    `checks`: the share of its checks that an answer passes, for prompts that carry some (`judge.checks`)."""
    judge: ModelName | None = None
    """The judge that compares every model's held-out answers with its rivals', pairwise; no judge where not given."""
    base: bool = True
    """Measure M0 too."""
    judging: bool = True
    """Measure judging too; off: measure only instruction following."""
    bootstrap: int = Field(1000, ge=100)
    """Number of resamples for every interval."""
    every: int = off(1, ge=1)
    """Iterations from one model that is measured and watched to the next; M1 and the last model always are."""
