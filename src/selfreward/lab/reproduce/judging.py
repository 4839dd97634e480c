"""Verdicts of people and judges: their agreement, and the reading of a judge's text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from selfreward.errors import SelfRewardError
from selfreward.lab.reproduce.agreement import Vote, accuracy, between_people, kappa, majority
from selfreward.lab.reproduce.lines import Line
from selfreward.measure import Grade, Question, Row, Scores, read_rating, read_rows, scores
from selfreward.recipe import JudgeConfig
from selfreward.steps import own_turn, read_score

PANDALM, VOTES, QUESTIONS, GRADED = "pandalm_testset", "mtbench_human_votes", "mtbench_questions", "mtbench_judgments_single"
OUTPUTS = "judge_outputs"
VOTED_ON = {"alpaca-13b", "claude-v1", "gpt-3.5-turbo", "gpt-4", "llama-13b", "vicuna-13b-v1.2"}
"""The models in the MT-Bench paper's figures of agreement."""
AGREEMENT = {(1, True): 0.63, (1, False): 0.81}
"""Published agreement between people, by (turn, ties count)."""
TWO_DIGITS = 0.005
"""The largest rounding error of a figure published with two digits."""
NO_GRADE = -1
"""The grade that MT-Bench writes for an unreadable text."""
ECHO = re.compile(r"\A\s*<\|im_end\|>\s*(?:<\|im_start\|>assistant\s)?")
"""The end of the prompt, with which the published texts of the additive rubric begin."""


class LabelledPair(Row):
    """Labels of a pair of answers by three annotators and two judges: 1 or 2 is better, 0 neither."""

    annotator1: Literal[0, 1, 2]
    annotator2: Literal[0, 1, 2]
    annotator3: Literal[0, 1, 2]
    gpt35_result: int | str | None = None
    """A label, `Tie`, or the judge's own words where it named neither."""
    pandalm7b_result: int | str | None = None

    @property
    def people(self) -> tuple[int, int, int]:
        """The annotators' labels."""
        return self.annotator1, self.annotator2, self.annotator3


class GradedText(Row):
    """A judge's text on one answer, and its authors' reading of the grade."""

    question_id: int | str
    turn: Literal[1, 2]
    model: str
    judgment: str
    score: float


class Output(Row):
    """A judge's text, in one of several styles, and its authors' reading of the verdict."""

    style: str
    text: str
    expected: Any = None


def pandalm(folder: Path) -> Iterator[Line]:
    """People's majorities and agreement, and two judges compared with them."""
    rows = read_rows(str(folder / f"{PANDALM}.jsonl"), LabelledPair)
    agreed = [majority(row.people) for row in rows]
    counts = Counter(agreed)
    for label in (0, 1, 2):
        yield Line(PANDALM, f"majority says {label}", counts[label], id=f"pandalm.majority.{label}")
    columns = list(zip(*(row.people for row in rows), strict=True))
    for a, b in ((1, 2), (1, 3), (2, 3)):
        value = kappa(columns[a - 1], columns[b - 1])
        yield Line(PANDALM, f"kappa of annotators {a} and {b}", value, id=f"pandalm.kappa{a}{b}")
    for name, labels in (
        ("gpt35", [row.gpt35_result for row in rows]),
        ("pandalm7b", [row.pandalm7b_result for row in rows]),
    ):
        labelled = [(_label(label), truth) for label, truth in zip(labels, agreed, strict=True) if label is not None]
        if labelled and len(labelled) < len(labels):
            yield Line(PANDALM, f"{name}: unknown labels, in no figure", len(labels) - len(labelled))
        if labelled:
            value = accuracy(*zip(*labelled, strict=True))
            yield Line(PANDALM, f"share of majorities that {name} finds", value, id=f"pandalm.{name}.acc")


def _label(text: int | str) -> int:
    """A judge's label; -1 where it named nobody, which is always wrong."""
    return {"0": 0, "1": 1, "2": 2, "tie": 0}.get(str(text).lower(), -1)


def human_votes(folder: Path) -> Iterator[Line]:
    """Agreement between people on MT-Bench."""
    votes = read_rows(str(folder / f"{VOTES}.jsonl"), Vote)
    published = AGREEMENT if {name for vote in votes for name in vote.pair} == VOTED_ON else {}
    for turn in (1, 2):
        for ties in (True, False):
            agreement = between_people(votes, turn, ties)
            what = f"turn {turn}, agreement of {agreement.pairs} pairs of votes{'' if ties else ' without ties'}"
            yield Line(VOTES, what, agreement.share, published.get((turn, ties)), TWO_DIGITS)


def mt_bench_grades(folder: Path) -> Iterator[Line]:
    """MT-Bench scores of each model from the judge's texts, beside those from its authors' reading of the grades."""
    category = {str(row.question_id): row.category for row in read_rows(str(folder / f"{QUESTIONS}.jsonl"), Question)}
    rows = read_rows(str(folder / f"{GRADED}.jsonl"), GradedText)
    unknown = [row.question_id for row in rows if str(row.question_id) not in category]
    if unknown:
        raise SelfRewardError(f"grades question {unknown[0]}, which is not in {QUESTIONS}", GRADED, "Give the file it belongs to")
    for model in dict.fromkeys(row.model for row in rows):
        own = [row for row in rows if row.model == model]
        theirs = [None if row.score == NO_GRADE else row.score for row in own]
        ours = [read_rating(row.judgment)[1] for row in own]
        differ = sum(our_grade != their_grade for our_grade, their_grade in zip(ours, theirs, strict=True))
        yield Line(GRADED, f"{model}: grades read differently", differ, 0)
        tables = [_scores(own, grades, category) for grades in (ours, theirs)]
        for name, score in _named(tables[0]).items():
            yield Line(GRADED, f"{model}: {name}", score, _named(tables[1]).get(name), 1e-9)


def _scores(rows: Sequence[GradedText], grades: Sequence[float | None], category: dict[str, str]) -> Scores:
    return scores([Grade(category[str(row.question_id)], row.turn, grade) for row, grade in zip(rows, grades, strict=True)])


def _named(means: Scores) -> dict[str, float]:
    """All means by name."""
    overall = {} if means.overall is None else {"score": means.overall}
    by_turn = {f"score, turn {turn}": score for turn, score in sorted(means.by_turn.items())}
    return overall | by_turn | {f"score, {name}": score for name, score in (means.by_category | means.by_group).items()}


def judge_outputs(folder: Path) -> Iterator[Line]:
    """Counts of the scores that we read as the texts' authors do; `docs/parsing.md` lists the others one by one."""
    rows = read_rows(str(folder / f"{OUTPUTS}.jsonl"), Output)
    for style in dict.fromkeys(row.style for row in rows):
        pairs = [(_read(row), row.expected) for row in rows if row.style == style and _is_score(row)]
        if pairs:
            yield Line(OUTPUTS, f"{style}: {len(pairs)} scores, read differently", sum(ours != theirs for ours, theirs in pairs))


def _is_score(row: Output) -> bool:
    return row.style.startswith(("additive_5pt", "mtbench"))


def _read(row: Output) -> float | None:
    if row.style.startswith("mtbench"):
        return read_rating(row.text)[1]
    judge = JudgeConfig()
    pattern = re.compile(judge.pattern, re.IGNORECASE)
    return read_score(own_turn(ECHO.sub("", row.text), pattern), pattern, judge.scale)[1]
