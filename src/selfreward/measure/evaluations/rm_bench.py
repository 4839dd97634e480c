"""RM-Bench: right and wrong answers in three styles each, to part style and substance (Liu et al. 2024, arXiv 2410.16184).

The model under evaluation is the judge and scores all six answers of a prompt alone. A cell of the 3 × 3 matrix is the share of
prompts on which the right answer in one style scores above the wrong answer in another. Equal scores count half, or are wrong, as
they are in the published figures: on a scale of six points the two differ by far.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property
from itertools import chain
from statistics import fmean

from pydantic import AliasChoices, Field

from selfreward.measure.evaluations.base import Settings, Trial, counted, given
from selfreward.measure.evaluations.published import Row, read_rows
from selfreward.recipe import JudgeConfig, Located
from selfreward.records import Figure, Findings, Prompt, content_id, digest
from selfreward.rundir import JUDGMENTS
from selfreward.steps import Grader

STYLES = ("concise", "detailed", "markdown")
"""The styles of the answers of a row, in its order."""
Matrix = list[list[float]]
"""[right answer's style, wrong answer's style]: 1 where the right one scores higher, 0 where not; for equal scores as asked."""
CELLS = {
    "easy": [(1, 0), (2, 0), (2, 1)],
    "normal": [(0, 0), (1, 1), (2, 2)],
    "hard": [(0, 1), (0, 2), (1, 2)],
}
"""Cells of the matrix: the right answer in the richer style, in the same, in the plainer one."""


class Case(Row):
    """A row of the published file: a prompt, and right and wrong answers, one of each style."""

    prompt: str
    chosen: tuple[str, str, str]
    rejected: tuple[str, str, str]
    domain: str | None = Field(None, validation_alias=AliasChoices("domain", "subset"))
    """Chat, code, mathematics or safety; in a file of one domain, the set that the prompt is from."""


class StyleBench(Settings):
    """RM-Bench, with the model itself as the judge."""

    data: Located
    """The published rows."""
    grading: JudgeConfig = JudgeConfig()
    """The model's rubric and sampling as a judge."""

    @cached_property
    def cases(self) -> list[Case]:
        """The rows, in order."""
        return read_rows(self.data, Case)

    @cached_property
    def grader(self) -> Grader:
        """The rubric and its parser."""
        return Grader(self.grading)

    def load(self) -> object:
        """Read rows and rubric."""
        return self.cases, self.grader

    def find(self, trial: Trial) -> Findings:
        """The model scores every answer."""
        prompts = [Prompt(text=case.prompt, source="seed") for case in self.cases]
        answers = [
            given(number, prompt, (*case.chosen, *case.rejected))
            for number, (prompt, case) in enumerate(zip(prompts, self.cases, strict=True))
        ]
        items = [(case.prompt, answer) for case, six in zip(self.cases, answers, strict=True) for answer in six]
        judgments = list(trial.at.ask(JUDGMENTS, self.grader, items, trial.model))
        scores = self.grader.mean_scores(judgments)
        unscored = sum(judgment.score is None for judgment in judgments)
        scored = [[scores.get(answer.id) for answer in six] for six in answers]
        lengths = [[float(len(answer.text)) for answer in six] for six in answers]
        matrices = list(map(matrix_of, scored))
        return Findings(
            prompts_digest=digest(prompts),
            rubric_digest=content_id(self.grader.rubric.text),
            figures=[
                *self._levels(scored), *self._levels(scored, ", ties wrong", tie=0.0), *self._levels(lengths, " of length alone"),
                Figure(name="judgments without a score %", value=100 * unscored / len(judgments), n=len(judgments)),
            ],
            outcomes=counted((judgment.outcome for judgment in judgments), 0),
            note="A tie in score counts half; published figures have ties wrong. A comparison that lacks a score is wrong. "
            "Intervals resample prompts.",
            breakdown={
                "right answer's style against the wrong one's": self._cells(matrices),
                **({"domain": domains} if (domains := self._domains(matrices)) else {}),
            },
            broken_down="accuracy %",
        )  # fmt: skip

    def _levels(self, scored: Sequence[Sequence[float | None]], of: str = "", tie: float = 0.5) -> list[Figure]:
        """Accuracy where style helps, where it is equal, where it misleads; their mean; and the first less the last."""
        matrices = [matrix_of(six, tie) for six in scored]
        shares = {level: [_share(matrix, cells) for matrix in matrices] for level, cells in CELLS.items()}
        gaps = [easy - hard for easy, hard in zip(shares["easy"], shares["hard"], strict=True)]
        whole = [sum(values) / len(values) for values in zip(*shares.values(), strict=True)]
        figures = {f"{level}{of} %": values for level, values in shares.items()}
        figures |= {f"accuracy{of} %": whole, f"style gap{of}, points": gaps}
        return [figure for name, values in figures.items() for figure in self.share(name, values)]

    def _domains(self, matrices: Sequence[Matrix]) -> list[Figure]:
        """Accuracy on the prompts of each domain, over the whole matrix."""
        parts: dict[str, list[float]] = defaultdict(list)
        for case, matrix in zip(self.cases, matrices, strict=True):
            if case.domain:
                parts[case.domain].append(fmean(chain(*matrix)))
        return [figure for domain, values in sorted(parts.items()) for figure in self.share(domain, values)]

    def _cells(self, matrices: Sequence[Matrix]) -> list[Figure]:
        return [
            figure
            for i, right in enumerate(STYLES)
            for j, wrong in enumerate(STYLES)
            for figure in self.share(f"{right} against {wrong}", [matrix[i][j] for matrix in matrices])
        ]


def matrix_of(scores: Sequence[float | None], tie: float = 0.5) -> Matrix:
    """Matrix of one prompt, from the scores of its right answers and then its wrong ones, by style."""
    return [[_higher(right, wrong, tie) for wrong in scores[len(STYLES) :]] for right in scores[: len(STYLES)]]


def _higher(right: float | None, wrong: float | None, tie: float) -> float:
    if right is None or wrong is None:
        return 0.0
    return tie if right == wrong else float(right > wrong)


def _share(matrix: Matrix, cells: Sequence[tuple[int, int]]) -> float:
    return sum(matrix[i][j] for i, j in cells) / len(cells)
