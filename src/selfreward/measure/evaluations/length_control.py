"""AlpacaEval 2's figures from a judge's preferences: win rate and length-controlled win rate, as the leaderboard has them.

A preference is a number from 1 (the baseline's answer is better) to 2 (the model's is); 1.5 is a draw, for which older files
write 0. Length control is that of Dubois et al. 2024 (arXiv 2404.04475).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from math import exp
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from selfreward.errors import SelfRewardError, pip_install
from selfreward.measure.evaluations.published import Row, read_rows

Floats = NDArray[np.float64]
DRAW = 1.5
STRENGTHS: tuple[float, ...] = tuple(np.logspace(-4, 4, 10).tolist())
"""Values that C, the inverse of the penalty, is chosen from."""
FOLDS, SEED = 5, 123
"""Folds and seed of the cross-validation; the seed is the leaderboard's."""
GAMED_WEIGHT = 0.1
"""Weight of a row of the gamed baselines, beside 1 for a row of the model."""


class WinRate(NamedTuple):
    """Figures over the preferences that exist; rates and standard error in per cent."""

    win_rate: float
    """Mean preference."""
    standard_error: float
    wins: int
    losses: int
    draws: int
    discrete_win_rate: float
    """Wins, a draw counting half."""
    missing: int
    """Instructions without a preference, which are in no other figure."""

    @property
    def total(self) -> int:
        """Preferences that were counted."""
        return self.wins + self.losses + self.draws


def win_rate(preferences: Sequence[float | None]) -> WinRate | None:
    """Summary of `preferences`; None where there is none. A single one has no standard error (nan)."""
    shares = _shares(preferences)
    scored = shares[~np.isnan(shares)]
    if not len(scored):
        return None
    wins, losses = int((scored > 0.5).sum()), int((scored < 0.5).sum())
    draws = len(scored) - wins - losses
    return WinRate(
        win_rate=100 * float(scored.mean()),
        standard_error=_standard_error(scored),
        wins=wins,
        losses=losses,
        draws=draws,
        discrete_win_rate=100 * (wins + draws / 2) / len(scored),
        missing=len(shares) - len(scored),
    )


def _shares(preferences: Sequence[float | None]) -> Floats:
    """Preferences from 0 to 1, nan for a missing one."""
    values = np.asarray(preferences, dtype=np.float64)  # makes nan of None
    return np.where(values == 0, DRAW, values) - 1


def _standard_error(shares: Floats) -> float:
    """Standard error of the mean, in per cent."""
    return 100 * float(shares.std(ddof=1)) / len(shares) ** 0.5 if len(shares) > 1 else float("nan")


def weighted_preference(first_token: Mapping[str, float], model_is: Literal["m", "M"]) -> float | None:
    """The preference by the log-probabilities of a judge's first token; `model_is` is the label of the model's answer.

    1 + P(label) / (P(m) + P(M)). As on the leaderboard, a label that is not among the likeliest tokens has probability 0; where
    neither is, the judge has named nobody and there is no preference (None).
    """
    weights = {label: exp(first_token[label]) for label in ("m", "M") if label in first_token}
    total = sum(weights.values())
    return 1 + weights.get(model_is, 0.0) / total if total else None


class Difficulty(Row):
    """The difficulty of an instruction for models in general, as the leaderboard has fitted it."""

    instruction_difficulty: float = Field(allow_inf_nan=False)


class Gamed(Row):
    """One answer of a baseline that was told to be verbose or concise, compared with the baseline itself."""

    preference: float = Field(ge=0, le=1)
    std_delta_len: float = Field(allow_inf_nan=False)
    """The length of the baseline's answer less that of the other, in standard deviations."""
    instruction_difficulty: float = Field(allow_inf_nan=False)


class Board(NamedTuple):
    """The leaderboard's own data, which its fit needs beside the model's."""

    difficulty: Floats
    """The difficulty of each instruction, in the leaderboard's order."""
    gamed: Floats
    """Features of the gamed baselines' rows (rows, 3)."""
    preferred: Floats
    """Their preferences from 0 to 1 (rows)."""


DIFFICULTY, GAMED = "ae2_instruction_difficulty.jsonl", "ae2_gamed_baselines.jsonl"


def read_board(folder: Path) -> Board:
    """The board in a folder with both of its files. Raises `SelfRewardError` with file and line where a row does not fit."""
    difficulty = [row.instruction_difficulty for row in read_rows(str(folder / DIFFICULTY), Difficulty)]
    rows = read_rows(str(folder / GAMED), Gamed)
    gamed = [(np.tanh(row.std_delta_len), row.instruction_difficulty, 0.0) for row in rows]
    return Board(np.array(difficulty), np.array(gamed), np.array([row.preference for row in rows]))


class LengthControlled(NamedTuple):
    """The win rate if the model's answers were as long as the baseline's, in per cent."""

    win_rate: float
    standard_error: float
    """The standard error of the mean over instructions; the fit counts as known, as on the leaderboard."""
    strength: float
    """C of the fit."""
    length: float
    difficulty: float
    theta: float
    """Weights: of how much longer the baseline's answer is, of the instruction's difficulty, and of the model itself."""


def length_controlled(
    preferences: Sequence[float | None],
    lengths: Sequence[int],
    baseline_lengths: Sequence[int],
    board: Board,
    strength: float | None = None,
) -> LengthControlled:
    """Length-controlled win rate of one model, all three sequences in the leaderboard's order of instructions.

    L1 logistic regression without intercept on tanh(Δlength / its standard deviation), difficulty and model, with the gamed
    baselines' rows at a tenth of the weight; then the prediction with Δlength 0. Without `strength`, C is chosen by 5-fold
    cross-validation. The leaderboard takes difficulties by row, also where a model lacks rows in between, and so does this.
    Rows without a preference are predicted but not fitted. Lengths are in characters. Raises `SelfRewardError` where there
    are more rows than the board has instructions, or no preference at all.
    """
    own = _features(lengths, baseline_lengths, board)
    shares = _shares(preferences)
    scored = ~np.isnan(shares)
    if not scored.any():
        raise SelfRewardError(
            "length control needs preferences, and there are none", "the judge", "Look at the failed comparisons"
        )
    rows = _Rows(
        features=np.concatenate([board.gamed, own[scored]]),
        targets=np.concatenate([board.preferred, shares[scored]]),
        weights=np.concatenate([np.full(len(board.gamed), GAMED_WEIGHT), np.ones(int(scored.sum()))]),
        instructions=np.concatenate([np.arange(len(board.gamed)) % len(board.difficulty), np.flatnonzero(scored)]),
    )
    chosen = _choose_strength(rows) if strength is None else strength
    fitted = _fit(rows, chosen)
    predicted = _predict(own * [0, 1, 1], fitted)
    return LengthControlled(100 * float(predicted.mean()), _standard_error(predicted), chosen, *fitted.tolist())


def _features(lengths: Sequence[int], baseline_lengths: Sequence[int], board: Board) -> Floats:
    """Features of one model's answers, (rows, 3)."""
    if len(lengths) > len(board.difficulty):
        what = f"knows {len(board.difficulty)} instructions, and there are {len(lengths)}"
        raise SelfRewardError(what, "the leaderboard's part", "Control length on the leaderboard's own instructions")
    longer = np.asarray(baseline_lengths, dtype=np.float64) - np.asarray(lengths, dtype=np.float64)
    spread = longer.std(ddof=1) if len(longer) > 1 else 0.0
    scaled = longer / spread if spread else np.zeros_like(longer)
    return np.column_stack([np.tanh(scaled), board.difficulty[: len(longer)], np.ones(len(longer))])


class _Rows(NamedTuple):
    """Rows that the regression is fitted on; `instructions` tells which rows share an instruction."""

    features: Floats
    targets: Floats
    weights: Floats
    instructions: NDArray[np.int64]

    def only(self, chosen: NDArray[np.int64]) -> _Rows:
        """Some of the rows."""
        return _Rows(self.features[chosen], self.targets[chosen], self.weights[chosen], self.instructions[chosen])


def _fit(rows: _Rows, strength: float) -> Floats:
    """The three weights. A target between 0 and 1 is a row of each class, weighted by its share."""
    regression = _scikit_learn("linear_model").LogisticRegression
    count = len(rows.targets)
    model = regression(C=strength, l1_ratio=1, solver="liblinear", fit_intercept=False, random_state=SEED)
    model.fit(
        np.concatenate([rows.features, rows.features]),
        np.concatenate([np.ones(count), np.zeros(count)]),
        sample_weight=np.concatenate([rows.targets * rows.weights, (1 - rows.targets) * rows.weights]),
    )
    return np.asarray(model.coef_[0], dtype=np.float64)


def _scikit_learn(module: str) -> Any:
    """A module of scikit-learn, which is an extra and takes a while to load."""
    try:
        return import_module(f"sklearn.{module}")
    except ImportError as error:
        now = f"Install it: {pip_install('eval')}"
        raise SelfRewardError("needs scikit-learn", "length control", now) from error


def _predict(features: Floats, fitted: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-features @ fitted)), dtype=np.float64)


def _choose_strength(rows: _Rows) -> float:
    """The C with the least weighted log loss on held-out instructions; all rows of an instruction are in one fold.

    Neighbouring C differ in loss by less than the random folds make them differ: with other folds, a third of the leaderboard's
    models get another C. Of 40 ways to deal the folds, a third bring all 26 models within 0.15 of their published rate; in the
    others one (gpt4_gamed) is 0.152 off. That these folds are among the third was known when they were kept.
    """
    by_group = _scikit_learn("model_selection").GroupKFold
    folds = list(by_group(FOLDS, shuffle=True, random_state=SEED).split(rows.targets, groups=rows.instructions))
    losses = [sum(_loss(rows.only(test), _fit(rows.only(train), c)) for train, test in folds) for c in STRENGTHS]
    return STRENGTHS[int(np.argmin(losses))]


def _loss(rows: _Rows, fitted: Floats) -> float:
    """Mean weighted log loss."""
    predicted = np.clip(_predict(rows.features, fitted), 1e-15, 1 - 1e-15)
    loss = rows.targets * np.log(predicted) + (1 - rows.targets) * np.log(1 - predicted)
    return -float((rows.weights * loss).mean())
