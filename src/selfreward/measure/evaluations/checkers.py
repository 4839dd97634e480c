"""Instructions that a program can check, by the library if-verifiable: IFEval's 25 kinds and IFBench's 58.

IFEval: Zhou et al. 2023, arXiv 2311.07911. IFBench: Pyatkin et al. 2025, arXiv 2507.02833. Some checkers read sentences and parts
of speech with NLTK's data, some ask a language detector, some draw what their arguments leave open; here nothing is downloaded,
and what is drawn comes from the seed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, Literal

from pydantic import AliasChoices, Field, model_validator

from selfreward.errors import SelfRewardError, first_line, pip_install
from selfreward.measure.evaluations.published import Row
from selfreward.records import Record, Response

NO_DATA = "Give it NLTK's data (python -m nltk.downloader punkt punkt_tab stopwords averaged_perceptron_tagger_eng)"


class Task(Row):
    """A row of either published file: a prompt, and what a program checks of the answer."""

    prompt: str
    kinds: tuple[str, ...] = Field(validation_alias=AliasChoices("instruction_id_list"))
    """The instructions in it, each the kind of one."""
    arguments: tuple[dict[str, Any], ...] = Field(validation_alias=AliasChoices("kwargs"))
    """Arguments of each instruction; those that are null are not its."""

    @model_validator(mode="after")
    def _known(self) -> Task:
        if len(self.kinds) != len(self.arguments):
            raise ValueError(f"{len(self.kinds)} instructions and arguments of {len(self.arguments)}")
        if not self.kinds:
            raise ValueError("no instruction to check")
        return self


class Check(Record):
    """One instruction checked in one answer. Only a `checked` one is known to hold or not."""

    response_id: str
    instruction: str
    """Its kind: `length_constraints:number_words`."""
    outcome: Literal["checked", "unchecked"]
    strict: bool | None = None
    """True if the instruction holds in the answer as it is."""
    loose: bool | None = None
    """True if the instruction holds in the answer, or without its first line, its last, both, or its asterisks."""
    reason: str = ""
    """The package or data that the checker of an unchecked instruction lacks."""


@cache
def checkers() -> Mapping[str, Any]:
    """Kind of instruction → its checker. Raises `SelfRewardError` where the library is missing."""
    try:
        with _nothing_downloaded():
            import langdetect
            from if_verifiable.ifbench.instructions_registry import INSTRUCTION_DICT as IFBENCH
            from if_verifiable.ifeval.instructions_registry import INSTRUCTION_DICT as IFEVAL
    except ImportError as error:
        what = f"needs the library if-verifiable ({error})"
        raise SelfRewardError(what, "ifeval", f"Install it: {pip_install('eval')}") from error
    langdetect.DetectorFactory.seed = 0
    return {**IFEVAL, **IFBENCH}


@contextmanager
def _nothing_downloaded() -> Iterator[None]:
    """Keep NLTK from fetching data, which it does as soon as it is imported."""
    import nltk

    download, nltk.download = nltk.download, lambda *_, **__: False
    try:
        yield
    finally:
        nltk.download = download


def check(task: Task, answer: Response, seed: int) -> list[Check]:
    """Every instruction of a task in one answer. An empty answer follows none, though the library has no verdict on it."""
    return [
        _checked(kind, arguments, task.prompt, answer, seed) for kind, arguments in zip(task.kinds, task.arguments, strict=True)
    ]


def _checked(kind: str, arguments: Mapping[str, Any], prompt: str, answer: Response, seed: int) -> Check:
    from if_verifiable.common import evaluate_instructions

    if not answer.text.strip():
        return Check(response_id=answer.id, instruction=kind, outcome="checked", strict=False, loose=False)
    random.seed(f"{seed} {kind} {prompt}")
    try:
        with _nothing_downloaded():
            verdicts, _ = evaluate_instructions(answer.text, [kind], [dict(arguments)], prompt, dict(checkers()))
    except Exception as error:  # a checker is a program of its own: it may lack data, or stumble over an answer
        reason = "NLTK's data" if isinstance(error, LookupError) and "nltk" in str(error).lower() else _named(error)
        return Check(response_id=answer.id, instruction=kind, outcome="unchecked", reason=reason)
    holds = verdicts[0] if verdicts else None
    strict, loose = (holds.strict_pass, holds.loose_pass) if holds else (False, False)
    return Check(response_id=answer.id, instruction=kind, outcome="checked", strict=strict, loose=loose)


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {first_line(error)}"


def holds(checks: Sequence[Check], how: Literal["strict", "loose"]) -> float | None:
    """True if all of a prompt's instructions hold; None where none is known to fail and one is unknown."""
    verdicts = [getattr(each, how) for each in checks]
    return 0.0 if False in verdicts else None if None in verdicts else 1.0
