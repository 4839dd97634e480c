"""Tables of a recipe: measuring models, and watching the loop within limits."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator

from selfreward.recipe.fields import IMPORT_PATH, ImportPath, Located, ModelName, Pattern, Section, ThinkingConfig, catches, off
from selfreward.records import compiles

Ends = float | tuple[float, ...]
"""One for all models, or one each for M1, M2, …, the last of which holds for all later ones."""


def _trait(text: str) -> str:
    return text if re.fullmatch(IMPORT_PATH, text) else compiles(text)


class Limit(Section):
    """Where one figure of a monitor should lie. An end that is not given is open."""

    below: Ends | None = None
    """A figure below this is warned of."""
    above: Ends | None = None
    """A figure above this is warned of."""
    stop_below: Ends | None = None
    """A figure below this ends the run after its iteration."""
    stop_above: Ends | None = None
    """A figure above this ends the run after its iteration."""


class DriftConfig(Section):
    """Monitors: what is watched at every iteration. Nothing of it flows back into the loop, but that `stop` ends the run."""

    sample: int = Field(64, ge=1)
    """On so many of the held-out prompts' answers, and of the anchors, models are asked more for the monitors alone."""
    pool: int = Field(16, ge=1)
    """To so many held-out prompts M1 writes the frozen pool of candidates, which every later model judges too."""
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
    baseline: Located | None = off(None)
    """A file that `selfreward calibrate` made of clean runs: one alarm over all figures and models, `joint.distance`."""
    false_alarms: float = off(0.05, gt=0, lt=1)
    """At most this share of clean runs raises that alarm, however often one looks."""


FIRST_SECOND_TIE = ("first", "second", "tie")


def label_name(label: str) -> str:
    """A verdict's word without case and without what stands around it."""
    return " ".join(label.casefold().strip(" \t\n*_()[]{}\"'“”‘’`.,:;!（）【】：。").split())


def _pattern_for(labels: Sequence[str]) -> str:
    ordered = sorted((label.strip() for label in labels), key=len, reverse=True)
    words = "|".join(r"\s+".join(map(re.escape, label.split())) for label in ordered)
    bracketed = all(re.fullmatch(r"\W.*\W", label) for label in ordered)
    return f"({words})" if bracketed else rf"verdict[\s*]*:[\s*(\[\"'“]*({words})(?!\w)"


class PairwiseConfig(ThinkingConfig):
    """How a judge compares two answers, always in both orders: where they disagree it is a tie (paper, section 3.1)."""

    rubric: Located = "selfreward:recipe/rubrics/judge_pairwise.txt"
    """Prompt text with the slots {prompt}, {first} and {second}."""
    pattern: Pattern = r"verdict[\s*]*:[\s*]*(first|second|tie)\b"
    """Where a verdict stands, ignoring case; the last match wins. One group, one of the `labels`. Not given and labels are: the
    labels in this form, or, where they bring brackets of their own (`[[A]]`), alone."""
    labels: tuple[str, str, str] = off(FIRST_SECOND_TIE)
    """How the rubric names the first answer, the second and a tie; case, and brackets or quotes around it, change nothing."""
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

    truth: ImportPath | None = None
    """Where the world has a truth: a function (prompt, response) → (kind of task, points by criterion), or None."""
    judge: ModelName | None = None
    """The judge that compares every model's held-out answers with its rivals', pairwise; no judge where not given."""
    base: bool = True
    """Measure M0 too."""
    judging: bool = True
    """Measure judging too; off, only instruction following is."""
    bootstrap: int = Field(1000, ge=100)
    """Resamples behind every interval."""
