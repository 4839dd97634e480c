"""Records of what a program can check in an answer: instructions that a prompt carries, and the outcome of checking one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from selfreward.records.base import Record, compiles

How = Literal["strict", "loose"]


class Instruction(Record):
    """Something that a program can check in an answer. Exactly one of `id`, `pattern` and `answer` is given."""

    id: str | None = Field(None, exclude_if=lambda value: value is None)
    """The name that IFEval or IFBench has for the kind of instruction: `length_constraints:number_words`."""
    kwargs: dict[str, Any] = Field({}, exclude_if=lambda value: not value)
    """Arguments of an `id`, as IFEval and IFBench have them."""
    pattern: Annotated[str | None, AfterValidator(lambda value: value if value is None else compiles(value))] = Field(
        None, exclude_if=lambda value: value is None
    )
    """A regular expression that the answer matches somewhere, ignoring case."""
    answer: str | None = Field(None, exclude_if=lambda value: value is None)
    """The known answer, with which the answer ends; case, white space, and marks at the end aside."""

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
        return self


class Check(Record):
    """One instruction checked in one answer. Only a `checked` one is known to hold or not."""

    response_id: str
    instruction: str
    """Its kind: `length_constraints:number_words`, `pattern` or `answer`."""
    outcome: Literal["checked", "unchecked"]
    strict: bool | None = None
    """Whether it holds in the answer as it is."""
    loose: bool | None = None
    """Whether it holds in the answer, or without its first line, its last, both, or its asterisks."""
    reason: str = ""
    """Of an unchecked one, what its checker lacks."""

    @property
    def label(self) -> str:
        """The outcome, with the reason of an unchecked one."""
        return f"unchecked ({self.reason})" if self.outcome == "unchecked" else self.outcome


def holds(checks: Sequence[Check], how: How) -> float | None:
    """Whether all of a prompt's instructions hold; None where none is known to fail and one is not known."""
    verdicts = [getattr(each, how) for each in checks]
    return 0.0 if False in verdicts else None if None in verdicts else 1.0


def share(checks: Sequence[Check]) -> float | None:
    """The share of a prompt's instructions that hold strictly; None where one is not known, or there is none."""
    verdicts = [each.strict for each in checks]
    return None if None in verdicts or not verdicts else sum(map(bool, verdicts)) / len(verdicts)
