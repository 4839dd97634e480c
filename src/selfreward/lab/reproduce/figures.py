"""Published figures, computed again from data that others have published by the code that measures our own models.

A folder has the data in files of set names, each JSONL; the files may hold other models than the published ones. A figure
that nobody has published has nothing to be compared with.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from selfreward.errors import SelfRewardError
from selfreward.lab.reproduce import board, judging, texts
from selfreward.lab.reproduce.lines import Line
from selfreward.measure import DIFFICULTY, GAMED, Row, read_rows

FIGURES = "published_figures"
LAST_DIGITS = 1e-9
"""The largest difference that counts as equal where the list of figures asks for equality."""


class Computation(NamedTuple):
    """A figure computed from some files."""

    of: str
    needs: tuple[str, ...]
    """Names of the files, without `.jsonl`; `*` is any name."""
    lines: Callable[[Path], Iterator[Line]]


CHECKS = (
    Computation("AlpacaEval 2, win rates", (board.MODELS,), board.win_rates),
    Computation(
        "AlpacaEval 2, length-controlled win rates",
        (board.MODELS, board.INSTRUCTIONS, Path(DIFFICULTY).stem, Path(GAMED).stem),
        board.length_control,
    ),
    Computation("AlpacaEval 2, preferences", (f"{board.ANNOTATIONS}*",), board.preferences),
    Computation("MT-Bench, grades", (judging.GRADED, judging.QUESTIONS), judging.mt_bench_grades),
    Computation("MT-Bench, agreement of people", (judging.VOTES,), judging.human_votes),
    Computation("PandaLM, agreement", (judging.PANDALM,), judging.pandalm),
    Computation("judges' texts", (judging.OUTPUTS,), judging.judge_outputs),
    Computation("reward modelling by length", (texts.RANKED,), texts.length_baseline),
    Computation("correlation with people", (texts.SCORED,), texts.correlations),
    Computation("Self-Instruct, seeds", (texts.SEEDS,), texts.seed_tasks),
    Computation("Self-Instruct, ROUGE-L", (texts.PAIRS,), texts.rouge_pairs),
    Computation("Self-Instruct, decisions", (texts.PIPELINE,), texts.rouge_pipeline),
)


class PublishedFigure(Row):
    """A row of the list of published figures."""

    id: str
    file: str
    metric: str
    computed: float | None = None
    """A value computed once by others' code, which stands in where nothing was published."""
    published: float | None = None
    tol: float


class Reproduction(NamedTuple):
    """Our figures beside the published ones, and those that could not be computed for lack of files."""

    lines: list[Line]
    skipped: list[str]

    @property
    def off(self) -> int:
        """Lines outside their tolerance."""
        return sum(line.verdict == "off" for line in self.lines)

    def __str__(self) -> str:
        """An aligned table, the skipped figures, and the counts."""
        head = ("file", "figure", "ours", "published", "tolerance", "")
        rows = [head, *(_cells(line) for line in self.lines)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
        table = [
            "  ".join(
                cell.rjust(width) if 2 <= n <= 4 else cell.ljust(width)
                for n, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        ]
        count = Counter(line.verdict for line in self.lines)
        total = f"{len(self.lines)} figures: {count['ok']} ok, {count['off']} off, {count['-']} without a published value"
        return "\n".join([*(line.rstrip() for line in table), *(f"skipped: {text}" for text in self.skipped), total])


def _cells(line: Line) -> tuple[str, ...]:
    ours, published = ("-" if value is None else f"{value:.10g}" for value in (line.ours, line.published))
    return line.file, line.what, ours, published, "-" if line.published is None else f"{line.tolerance:g}", line.verdict


def reproduce(folder: Path) -> Reproduction:
    """Compute every figure that the files in `folder` allow.

    Raises `SelfRewardError` where a file is malformed, with file and line, and where there is no file at all.
    """
    missing = {check: [name for name in check.needs if not any(folder.glob(f"{name}.jsonl"))] for check in CHECKS}
    if all(missing.values()):
        raise SelfRewardError(
            "has none of the files that figures are reproduced from",
            str(folder),
            f"Give a folder with {CHECKS[0].needs[0]}.jsonl, say",
        )
    lines = [line for check in CHECKS if not missing[check] for line in check.lines(folder)]
    skipped = [f"{check.of}: there is no {', '.join(names)}" for check, names in missing.items() if names]
    path = folder / f"{FIGURES}.jsonl"
    figures = read_rows(str(path), PublishedFigure) if path.exists() else []
    return Reproduction(_listed(lines, figures, folder), skipped)


def _listed(lines: list[Line], figures: list[PublishedFigure], folder: Path) -> list[Line]:
    """The lines with the values in the list of figures; a figure of a file that is there and that we lack is off."""
    figures_by_id = {figure.id: figure for figure in figures}
    ours = {line.id for line in lines}
    lacking = [figure for figure in figures if figure.id not in ours and (folder / f"{figure.file}.jsonl").exists()]
    return [_with(line, figures_by_id[line.id]) if line.id in figures_by_id else line for line in lines] + [
        _with(Line(figure.file, f"{figure.metric} ({figure.id})", None), figure) for figure in lacking
    ]


def _with(line: Line, figure: PublishedFigure) -> Line:
    published = figure.computed if figure.published is None else figure.published
    return line._replace(published=published, tolerance=max(figure.tol, LAST_DIGITS))
