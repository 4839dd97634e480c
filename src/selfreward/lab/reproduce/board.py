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
"""Begins the name of a file with the annotations of one model."""
EXACT, WITH_THEIR_C, WITH_OUR_C = 1e-6, 0.02, 0.15
"""How near a figure is to come: where nothing is chosen, and where the penalty is theirs or ours."""
ROUNDING = 1e-9
"""Of the preferences in the files, which have ten digits."""


def _is_preference(value: float) -> float:
    if value != 0 and not 1 <= value <= 2:
        raise ValueError("a preference lies between 1 and 2, or is 0 for a draw")
    return value


Preference = Annotated[float, AfterValidator(_is_preference)]


class Published(Row):
    """A model's figures on the leaderboard; any may be missing."""

    win_rate: float | None = None
    standard_error: float | None = None
    discrete_win_rate: float | None = None
    avg_length: float | None = None
    """Without its decimals."""
    length_controlled_winrate: float | None = None
    lc_standard_error: float | None = None


class Entry(Published):
    """A row of the leaderboard."""

    model: str


class Refit(Row):
    """The settings that the leaderboard's length-controlled fit was found to have used."""

    best_C: float = Field(gt=0)


class Model(Row):
    """A model's preferences and lengths in characters, over the instructions that it has."""

    model: str
    row_to_index: list[Annotated[int, Field(ge=0)]] | None = None
    """The instruction of each row; None where it has them all."""
    preference: list[Preference | None]
    """None where the judge's is not known."""
    len_output: list[int]
    published: Published | None = None
    refit: Refit | None = None

    @model_validator(mode="after")
    def _same_length(self) -> Model:
        lengths = [len(column) for column in (self.preference, self.len_output, self.row_to_index) if column is not None]
        if not self.preference or any(one != other for one, other in pairwise(lengths)):
            raise ValueError("preference, len_output and row_to_index must have as many entries as each other, and some")
        return self


class Instruction(Row):
    """An instruction with the baseline's answer."""

    output_gpt4_1106_preview: str


class Annotation(Row):
    """A preference, where it is known, and the log-probabilities of the two labels that it comes from."""

    preference: Preference | None = None
    logprob_m: float | None = None
    logprob_M: float | None = None
    m_denotes: Literal["model", "baseline"] | None = None
    """None where the two answers were the same text and nobody was asked."""

    def follows(self) -> bool | None:
        """Whether our rule makes this preference of these log-probabilities; None where either is not known."""
        named = {"m": self.logprob_m, "M": self.logprob_M}
        known = {label: logprob for label, logprob in named.items() if logprob is not None}
        if self.preference is None or (self.m_denotes is not None and not known):
            return None
        ours = DRAW if self.m_denotes is None else weighted_preference(known, "m" if self.m_denotes == "model" else "M")
        return ours is not None and abs(ours - self.preference) < ROUNDING


def win_rates(folder: Path) -> Iterator[Line]:
    """Win rates and what else follows from preferences alone, model by model."""
    board = _leaderboard(folder)
    for model in read_rows(str(folder / f"{MODELS}.jsonl"), Model):
        found = win_rate(model.preference)
        unknown = sum(preference is None for preference in model.preference)
        if unknown:
            yield Line(MODELS, f"{model.model}: unknown preferences, in no figure", unknown)
        if found is None:
            continue
        yield from _beside(model, board, "win rate %", found.win_rate, "win_rate", EXACT)
        yield from _beside(model, board, "its standard error", found.standard_error, "standard_error", EXACT)
        yield from _beside(model, board, "discrete win rate %", found.discrete_win_rate, "discrete_win_rate", EXACT)
        if model.row_to_index is None:  # the leaderboard's mean is over answers that were not annotated as well
            length = floor(sum(model.len_output) / len(model.len_output))
            yield from _beside(model, board, "mean length, whole characters", length, "avg_length", 0)


def length_control(folder: Path) -> Iterator[Line]:
    """Length-controlled win rates, by the leaderboard's penalty where it is known, and by our own choice of one."""
    board, fit = _leaderboard(folder), read_board(folder)
    baseline = [len(row.output_gpt4_1106_preview) for row in read_rows(str(folder / f"{INSTRUCTIONS}.jsonl"), Instruction)]
    for model in read_rows(str(folder / f"{MODELS}.jsonl"), Model):
        if win_rate(model.preference) is None:
            continue
        lengths = _of_its_instructions(baseline, model)
        if model.refit:
            found = length_controlled(model.preference, model.len_output, lengths, fit, model.refit.best_C)
            what = f"length-controlled win rate %, C = {model.refit.best_C:.4g}"
            yield from _beside(model, board, what, found.win_rate, "length_controlled_winrate", WITH_THEIR_C)
            errors = _beside(model, board, "its standard error", found.standard_error, "lc_standard_error", EXACT)
            yield from (line for line in errors if line.published is not None)  # published for few
        found = length_controlled(model.preference, model.len_output, lengths, fit)
        what = f"the same, cross-validated C = {found.strength:.4g}"
        yield from _beside(model, board, what, found.win_rate, "length_controlled_winrate", WITH_OUR_C)


def preferences(folder: Path) -> Iterator[Line]:
    """Win rate and preferences of each model whose annotations are there."""
    board = _leaderboard(folder)
    for path in sorted(folder.glob(f"{ANNOTATIONS}*.jsonl")):
        rows = read_rows(str(path), Annotation)
        name = path.stem.removeprefix(ANNOTATIONS)
        found = win_rate([row.preference for row in rows])
        published = board[name].win_rate if name in board else None
        yield Line(path.stem, "win rate %", found and found.win_rate, published, EXACT, f"ae2.{name}.win_rate")
        follow = [row.follows() for row in rows]
        odd, unknown = follow.count(False), follow.count(None)
        if unknown:
            yield Line(path.stem, "rows without a preference or its log-probs, unknown", unknown)
        yield Line(path.stem, "preferences that do not follow from log-probs", odd, 0, 0, f"ae2.{name}.logprob")


def _leaderboard(folder: Path) -> dict[str, Published]:
    """Figures by model; none where the file is not there."""
    path = folder / f"{LEADERBOARD}.jsonl"
    return {row.model: row for row in read_rows(str(path), Entry)} if path.exists() else {}


def _beside(model: Model, board: dict[str, Published], what: str, ours: float, field: str, tolerance: float) -> Iterator[Line]:
    """Ours beside the figure that was published with the preferences and on the leaderboard, each once."""
    sources = [published for published in (model.published, board.get(model.model)) if published]
    values = [value for published in sources if (value := getattr(published, field)) is not None]
    for value in dict.fromkeys(values or [None]):
        yield Line(MODELS, f"{model.model}: {what}", ours, value, tolerance)


def _of_its_instructions(baseline: list[int], model: Model) -> list[int]:
    """The baseline's lengths, row by row of the model."""
    of = range(len(model.preference)) if model.row_to_index is None else model.row_to_index
    if max(of) >= len(baseline) or (model.row_to_index is None and len(of) != len(baseline)):
        what = f"{model.model} has rows for other instructions than the {len(baseline)} of {INSTRUCTIONS}"
        raise SelfRewardError(what, MODELS, "Say in row_to_index which instruction each row is about")
    return [baseline[index] for index in of]
