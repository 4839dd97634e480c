"""MT-Bench: two-turn questions, each answer graded alone from 1 to 10 (Zheng et al. 2023, arXiv 2306.05685).

The user gives the questions and the judge's prompts, as files of the published shape; none of them is in the package.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from math import fsum
from typing import Any, Literal, NamedTuple

from pydantic import AliasChoices, Field

from selfreward.errors import SelfRewardError
from selfreward.measure.evaluations.published import Row, read_rows
from selfreward.records import Message, Outcome
from selfreward.steps import own_turn, read_score

Turn = Literal[1, 2]
RATING = re.compile(r"\[\[(\d+(?:\.\d+)?)\]\]")
"""The judge's verdict."""
SCALE = (1.0, 10.0)
WITH_REFERENCE = ("math", "reasoning", "coding")
"""Categories whose judge sees reference answers."""
TEMPERATURES = {"writing": 0.7, "roleplay": 0.7, "stem": 0.1, "humanities": 0.1}
"""The benchmark's own temperatures, by category; other categories are answered greedily."""
GROUPS = {
    "math, coding, reasoning": ("math", "coding", "reasoning"),
    "the other five": ("humanities", "extraction", "stem", "roleplay", "writing"),
}
"""Groups of the categories in the self-rewarding paper (table 2)."""
PROMPTS: dict[tuple[Turn, bool], str] = {
    (1, False): "single-v1", (1, True): "single-math-v1",
    (2, False): "single-v1-multi-turn", (2, True): "single-math-v1-multi-turn",
}  # fmt: skip
"""(turn, with reference) → the published name of the judge's prompt."""
SLOT = re.compile(r"\{(question|answer|question_1|answer_1|question_2|answer_2|ref_answer_1|ref_answer_2)\}")
MARK = re.compile(r"\[The (?:Start|End) of [^\]\n]*\]|<\|The (?:Start|End) of [^|\n]*\|>", re.IGNORECASE)
"""The marks by which the judge's prompts set answers off."""


class Question(Row):
    """A question of the published file."""

    question_id: int | str
    category: str
    turns: tuple[str, str]
    reference: tuple[str, str] | None = Field(None, validation_alias=AliasChoices("reference", "reference_gpt4"))
    """Reference answers to both turns, for the judge to compare with."""


class JudgePrompt(Row):
    """A row of the published file of judge prompts."""

    name: str
    system_prompt: str
    prompt_template: str


def read_questions(path: str) -> list[Question]:
    """The questions of a file. Raises `SelfRewardError` where a row is malformed or lacks a reference that its category needs."""
    questions = read_rows(path, Question)
    bare = [question for question in questions if question.category in WITH_REFERENCE and question.reference is None]
    if bare:
        now = "Add `reference`, a list of two answers, to its row"
        raise SelfRewardError(f"question {bare[0].question_id} ({bare[0].category}) has no reference", path, now)
    return questions


def read_judge_prompts(path: str) -> dict[str, JudgePrompt]:
    """The judge's prompts by name. Raises `SelfRewardError` where one of the four prompts of single grading is missing."""
    prompts = {row.name: row for row in read_rows(path, JudgePrompt)}
    missing = [name for name in PROMPTS.values() if name not in prompts]
    if missing:
        raise SelfRewardError(f"has no prompt {missing[0]}", path, "Give the published file of judge prompts")
    return prompts


def judge_messages(
    question: Question, answers: Sequence[str], turn: Turn, prompts: Mapping[str, JudgePrompt]
) -> tuple[Message, Message]:
    """The messages to the judge of one turn: system and user.

    `answers` are the model's, to turn 1 or to both. They are hostile: slots are filled in one pass, and marks that would end
    an answer are broken inside them.
    """
    prompt = prompts[PROMPTS[turn, question.category in WITH_REFERENCE]]
    texts = _numbered("answer", [MARK.sub(lambda mark: mark[0][0] + " " + mark[0][1:], answer) for answer in answers])
    texts |= _numbered("question", question.turns) | _numbered("ref_answer", question.reference or ())
    texts |= {"question": texts["question_1"], "answer": texts["answer_1"]}  # what templates of one turn call them
    user = SLOT.sub(lambda slot: texts[slot[1]], prompt.prompt_template)
    return Message(role="system", content=prompt.system_prompt), Message(role="user", content=user)


def _numbered(name: str, texts: Sequence[str]) -> dict[str, str]:
    """The texts by slot, numbered from 1."""
    return {f"{name}_{number}": text for number, text in enumerate(texts, start=1)}


def read_rating(text: str) -> tuple[Outcome, float | None]:
    """The last `[[n]]` in a judge's own turn, or the name of its failure (`unparsed`, `off_scale`).

    FastChat takes the first, or a bare `[n]` where there is none; on published judgments the two rules agree.
    """
    return read_score(own_turn(text, RATING), RATING, SCALE)


class Grade(NamedTuple):
    """The grade of one answer; its score is None where the judge gave none."""

    category: str
    turn: int
    score: float | None


class Scores(NamedTuple):
    """Mean grades over the graded answers."""

    overall: float | None
    by_turn: dict[int, float]
    by_category: dict[str, float]
    by_group: dict[str, float]
    """Mean over the group's categories with equal weights; a group that lacks a category has no mean."""
    missing: int
    """Answers without a grade, which are in no mean."""


def scores(grades: Sequence[Grade]) -> Scores:
    """Summary of the grades of one model."""
    graded = [grade for grade in grades if grade.score is not None]
    by_category = _means(graded, lambda grade: grade.category)
    by_group = {
        group: fsum(by_category[name] for name in names) / len(names)
        for group, names in GROUPS.items()
        if all(name in by_category for name in names)
    }
    return Scores(
        overall=_means(graded, lambda grade: None).get(None),
        by_turn=_means(graded, lambda grade: grade.turn),
        by_category=by_category,
        by_group=by_group,
        missing=len(grades) - len(graded),
    )


def _means(graded: Sequence[Grade], key: Callable[[Grade], Any]) -> dict[Any, float]:
    """Mean grade by the `key` of its answer, in order of first appearance."""
    scores_by_key: dict[Any, list[float]] = {}
    for grade in graded:
        scores_by_key.setdefault(key(grade), []).append(grade.score or 0.0)
    return {name: fsum(values) / len(values) for name, values in scores_by_key.items()}
