"""A result by category, complexity and expected length of the prompts (paper, appendix A.6, figures 4 and 11)."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.resources import files
from typing import Literal, NamedTuple

from pydantic import Field, model_validator

from selfreward.measure.evaluations.base import Answered, Trial
from selfreward.measure.evaluations.published import Row, read_rows
from selfreward.recipe import Located
from selfreward.records import Completion, Figure, Prompt, Request, Sampled, Sampling
from selfreward.rundir import Part
from selfreward.stats import intervals
from selfreward.steps import Rubric, own_words

BY_JUDGE = "judge"
"""Value of `labels` that has the judge label the prompts."""
DIMENSIONS = ("category", "complexity", "expected_length")
CATEGORIES = (
    "science and engineering", "mathematics and logic", "coding", "health", "law and government", "business and finance",
    "education", "history and society", "language and translation", "creative writing", "editing and rewriting",
    "summarising and extracting", "entertainment and arts", "food and cooking", "travel and places", "sport and games",
    "relationships and advice", "daily life and crafts", "technology and products", "other",
)  # fmt: skip
"""Twenty categories, as many as in the paper, whose labeller makes them up."""
LENGTHS = ("a few words", "1 to 3 sentences", "one paragraph", "several paragraphs", "a page or more")
NOT_LABELLED = "not labelled"
NAMES = ("category", "complexity", "length")
"""Names of the labels in the judge's answer."""
LINE = r"^[\s*#-]*{}[ \t*]*:[ \t*]*(.+?)[ \t*.]*$"
SHORT = Sampling(temperature=0.0, top_p=1.0, max_tokens=64)


class LabelRow(Row):
    """Labels of one prompt, which is named by its text or its id; the result is broken down by those that are given."""

    instruction: str | None = None
    prompt_id: str | None = None
    category: str | None = None
    complexity: int | None = Field(None, ge=1, le=10)
    expected_length: str | None = None

    @model_validator(mode="after")
    def _names_its_prompt(self) -> LabelRow:
        if self.instruction is None and self.prompt_id is None:
            raise ValueError("needs instruction or prompt_id")
        return self

    @property
    def about(self) -> str:
        """The prompt's id."""
        return self.prompt_id or Prompt(text=self.instruction or "", source="seed").id


class Labelled(Answered):
    """Settings of evaluations whose result can be broken down."""

    labels: Located | None = None
    """Labels of the prompts, to break the result down by: a file, or `judge`, who then labels them."""

    @cached_property
    def labels_given(self) -> dict[str, LabelRow]:
        """The file's labels of the prompts, by prompt id."""
        by_file = self.labels is not None and self.labels != BY_JUDGE
        return {row.about: row for row in read_rows(str(self.labels), LabelRow)} if by_file else {}


class Label(Sampled):
    """A judge's labels of a prompt. Only a `labelled` record has labels, and then all three."""

    identity = ("prompt_id", "judge", "rationale", "outcome")
    prompt_id: str
    judge: str
    """Fingerprint of the judging model."""
    rationale: str
    """Everything that the judge wrote."""
    outcome: Literal["labelled", "unparsed", "truncated", "error"]
    category: str | None = None
    complexity: int | None = None
    expected_length: str | None = None

    @property
    def label(self) -> str:
        """The outcome."""
        return self.outcome


def break_down(
    trial: Trial, settings: Labelled, prompts: Sequence[Prompt], values: Sequence[float | None]
) -> dict[str, list[Figure]]:
    """The mean of `values`, one for each prompt, by each label that is known; empty without labels."""
    if settings.labels is None:
        return {}
    labels = _ask(trial, settings, prompts) if settings.labels == BY_JUDGE else settings.labels_given
    return {
        dimension: figures
        for dimension in DIMENSIONS
        if (figures := _bins(dimension, labels, prompts, values, settings.resampling))
    }


def read_label(request: Request, completion: Completion) -> Label:
    """Three labels, or the name of their failure."""
    text, _, failure = own_words(completion)
    labels = None if failure else parse(text)
    outcome = failure or ("labelled" if labels else "unparsed")
    fields = labels._asdict() if labels else {}
    return Label(prompt_id=request.about, judge=request.model, rationale=completion.text, outcome=outcome, **fields)


LABELS = Part("labels", "asks", Label)


class Labels(NamedTuple):
    """The labels of one prompt."""

    category: str
    complexity: int
    expected_length: str


def parse(text: str) -> Labels | None:
    """The last of each label in a judge's own text; None where one is missing or is not one of the offered values."""
    values = {name: re.findall(LINE.format(name), text, re.IGNORECASE | re.MULTILINE) for name in NAMES}
    if not all(values.values()):
        return None
    category, complexity, length = (values[name][-1].lower() for name in NAMES)
    fits = category in CATEGORIES and re.fullmatch("10|[1-9]", complexity) and length in LENGTHS
    return Labels(category, int(complexity), length) if fits else None


def _ask(trial: Trial, settings: Labelled, prompts: Sequence[Prompt]) -> dict[str, Label]:
    rubric = Rubric(
        str(files("selfreward") / "measure" / "text" / "judge_labels.txt"), ("prompt", "categories", "lengths"), "labels"
    )
    texts = {"categories": ", ".join(CATEGORIES), "lengths": ", ".join(LENGTHS)}
    plan = [
        Request.user_turn(prompt.id, 0, rubric.fill(prompt=prompt.asked, **texts), SHORT, trial.judge, settings.seed)
        for prompt in prompts
    ]
    return {label.prompt_id: label for label in trial.at.complete(LABELS, plan, trial.judge, read_label)}


def _bins(
    dimension: str, labels: Mapping[str, Label | LabelRow], prompts: Sequence[Prompt], values: Sequence[float | None],
    resampling: tuple[int, int],
) -> list[Figure]:  # fmt: skip
    """A figure for each bin, in per cent; prompts without this label have a bin of their own. Empty where no prompt has it."""
    bins: dict[str, list[float]] = defaultdict(list)
    for prompt, value in zip(prompts, values, strict=True):
        label = getattr(labels.get(prompt.id), dimension, None)
        if value is not None:
            bins[NOT_LABELLED if label is None else str(label)].append(value)
    if set(bins) <= {NOT_LABELLED}:
        return []
    return [
        figure
        for name in sorted(bins, key=lambda name: _place(dimension, name, len(bins[name])))
        for figure in Figure.of(name, intervals.mean(bins[name], *resampling), len(bins[name]), 100)
    ]


def _place(dimension: str, name: str, count: int) -> tuple[int, int, str]:
    """Sort key: lengths and complexities in their own order, categories by size, unlabelled last."""
    order = {"complexity": int(name) if name.isdigit() else 0, "category": -count}
    index = LENGTHS.index(name) if name in LENGTHS else order.get(dimension, len(LENGTHS))
    return name == NOT_LABELLED, index, name
