"""AlpacaEval 2, from the annotations behind its leaderboard."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from math import floor
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from selfreward.errors import SelfRewardError
from selfreward.lab.reproduce.lines import Line
from selfreward.measure import DRAW, Row, length_controlled, read_board, read_rows, weighted_preference, win_rate

MODELS, LEADERBOARD, INSTRUCTIONS = "ae2_compact_models", "ae2_leaderboard", "ae2_instructions"
ANNOTATIONS = "ae2_ann_"
"""Prefix of the files with the annotations of one model."""
EXACT, WITH_THEIR_C, WITH_OUR_C = 1e-6, 0.02, 0.15
"""Tolerances: where nothing is chosen, and where the penalty is theirs or ours."""
ROUNDING = 1e-9
"""Error of the preferences in the files, which have ten digits."""


def _is_preference(value: float) -> float:
    if value != 0 and not 1 <= value <= 2:
        raise ValueError("a preference lies between 1 and 2, or is 0 for a draw")
    return value


ValidPreference = Annotated[float, AfterValidator(_is_preference)]


class Published(Row):
    """A model's figures on the leaderboard; any may be missing."""

    win_rate: float | None = None
    standard_error: float | None = None
    discrete_win_rate: float | None = None
    avg_length: float | None = None
    """An integer: the leaderboard drops the decimals."""
    length_controlled_winrate: float | None = None
    lc_standard_error: float | None = None


class Entry(Published):
    """A row of the leaderboard."""

    model: str


class Refit(Row):
    """The settings that the leaderboard's length-controlled fit was found to have used."""

    best_C: float = Field(gt=0)


class ModelRow(Row):
    """A model's preferences and lengths in characters, over the instructions that it answered."""

    model: str
    row_to_index: list[Annotated[int, Field(ge=0)]] | None = None
    """The instruction of each row; None where it answered all."""
    preference: list[ValidPreference | None]
    """None where the judge's preference is unknown."""
    len_output: list[int]
    published: Published | None = None
    refit: Refit | None = None

    @model_validator(mode="after")
    def _same_length(self) -> ModelRow:
        lengths = [len(column) for column in (self.preference, self.len_output, self.row_to_index) if column is not None]
        if not self.preference or any(first != second for first, second in pairwise(lengths)):
            raise ValueError("preference, len_output and row_to_index must have as many entries as each other, and some")
        return self


class InstructionRow(Row):
    """An instruction with the baseline's answer."""

    output_gpt4_1106_preview: str


class AnnotationRow(Row):
    """A preference, where it is known, and the log-probabilities of the two labels behind it."""

    preference: ValidPreference | None = None
    logprob_m: float | None = None
    logprob_M: float | None = None
    m_denotes: Literal["model", "baseline"] | None = None
    """None where the two answers were equal texts and the judge was not asked."""

    def follows(self) -> bool | None:
        """True if our rule gives this preference for these log-probabilities; None where either is unknown."""
        logprobs = {"m": self.logprob_m, "M": self.logprob_M}
        known = {label: logprob for label, logprob in logprobs.items() if logprob is not None}
        if self.preference is None or (self.m_denotes is not None and not known):
            return None
        ours = DRAW if self.m_denotes is None else weighted_preference(known, "m" if self.m_denotes == "model" else "M")
        return ours is not None and abs(ours - self.preference) < ROUNDING


def win_rates(folder: Path) -> Iterator[Line]:
    """Win rates and the other figures that need preferences alone, model by model."""
    board = _leaderboard(folder)
    for model in read_rows(str(folder / f"{MODELS}.jsonl"), ModelRow):
        rates = win_rate(model.preference)
        unknown = sum(preference is None for preference in model.preference)
        if unknown:
            yield Line(MODELS, f"{model.model}: unknown preferences, in no figure", unknown)
        if rates is None:
            continue
        yield from _beside(model, board, "win rate %", rates.win_rate, "win_rate", EXACT)
        yield from _beside(model, board, "its standard error", rates.standard_error, "standard_error", EXACT)
        yield from _beside(model, board, "discrete win rate %", rates.discrete_win_rate, "discrete_win_rate", EXACT)
        if model.row_to_index is None:  # the leaderboard's mean is over answers that were not annotated as well
            length = floor(sum(model.len_output) / len(model.len_output))
            yield from _beside(model, board, "mean length, whole characters", length, "avg_length", 0)


def length_control(folder: Path) -> Iterator[Line]:
    """Length-controlled win rates, by the leaderboard's penalty where it is known, and by our own choice of one."""
    board, fit = _leaderboard(folder), read_board(folder)
    baseline = [len(row.output_gpt4_1106_preview) for row in read_rows(str(folder / f"{INSTRUCTIONS}.jsonl"), InstructionRow)]
    for model in read_rows(str(folder / f"{MODELS}.jsonl"), ModelRow):
        if win_rate(model.preference) is None:
            continue
        lengths = _of_its_instructions(baseline, model)
        if model.refit:
            fitted = length_controlled(model.preference, model.len_output, lengths, fit, model.refit.best_C)
            what = f"length-controlled win rate %, C = {model.refit.best_C:.4g}"
            yield from _beside(model, board, what, fitted.win_rate, "length_controlled_winrate", WITH_THEIR_C)
            errors = _beside(model, board, "its standard error", fitted.standard_error, "lc_standard_error", EXACT)
            yield from (line for line in errors if line.published is not None)  # published for few
        fitted = length_controlled(model.preference, model.len_output, lengths, fit)
        what = f"the same, cross-validated C = {fitted.strength:.4g}"
        yield from _beside(model, board, what, fitted.win_rate, "length_controlled_winrate", WITH_OUR_C)


def preferences(folder: Path) -> Iterator[Line]:
    """Win rate and preferences of each model with a file of annotations."""
    board = _leaderboard(folder)
    for path in sorted(folder.glob(f"{ANNOTATIONS}*.jsonl")):
        rows = read_rows(str(path), AnnotationRow)
        name = path.stem.removeprefix(ANNOTATIONS)
        rates = win_rate([row.preference for row in rows])
        published = board[name].win_rate if name in board else None
        yield Line(path.stem, "win rate %", rates and rates.win_rate, published, EXACT, f"ae2.{name}.win_rate")
        follow = [row.follows() for row in rows]
        odd, unknown = follow.count(False), follow.count(None)
        if unknown:
            yield Line(path.stem, "rows without a preference or its log-probs, unknown", unknown)
        yield Line(path.stem, "preferences that do not follow from log-probs", odd, 0, 0, f"ae2.{name}.logprob")


def _leaderboard(folder: Path) -> dict[str, Published]:
    """Figures by model; empty where the file is missing."""
    path = folder / f"{LEADERBOARD}.jsonl"
    return {row.model: row for row in read_rows(str(path), Entry)} if path.exists() else {}


def _beside(model: ModelRow, board: dict[str, Published], what: str, ours: float, field: str, tolerance: float) -> Iterator[Line]:
    """Ours beside the figure that was published with the preferences and on the leaderboard, one line each."""
    sources = [published for published in (model.published, board.get(model.model)) if published]
    values = [value for published in sources if (value := getattr(published, field)) is not None]
    for value in dict.fromkeys(values or [None]):
        yield Line(MODELS, f"{model.model}: {what}", ours, value, tolerance)


def _of_its_instructions(baseline: list[int], model: ModelRow) -> list[int]:
    """The baseline's lengths, one for each row of the model."""
    of = range(len(model.preference)) if model.row_to_index is None else model.row_to_index
    if max(of) >= len(baseline) or (model.row_to_index is None and len(of) != len(baseline)):
        what = f"{model.model} has rows for other instructions than the {len(baseline)} of {INSTRUCTIONS}"
        raise SelfRewardError(what, MODELS, "Say in row_to_index which instruction each row is about")
    return [baseline[index] for index in of]
