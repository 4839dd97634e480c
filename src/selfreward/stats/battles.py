"""Battles of two judgments, asked in both orders, and the strengths that they show (Meta-Rewarding, arXiv 2407.19594)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from selfreward.records import MetaJudgment

Wins = Mapping[tuple[str, str], float]
"""(winner, loser) → what the wins of one over the other count."""
PRIOR = 1e-3
"""Weight of a pull of all strengths to 0: who never lost would be infinitely strong by likelihood alone."""
DIGITS = 4
"""Digits of a strength; finer differences come from rounding."""


def place_weights(battles: Iterable[MetaJudgment]) -> tuple[float, float]:
    """The weight of a win in the first place, and of a win in the second: the share of all wins in the other place.

    ½ each where nothing was decided.
    """
    wins = Counter(battle.winner for battle in battles)
    first, second = wins["first"], wins["second"]
    return (second / (first + second), first / (first + second)) if first + second else (0.5, 0.5)


def weighed_wins(battles: Iterable[MetaJudgment], weights: tuple[float, float]) -> dict[tuple[str, str], float]:
    """B[m, n] of the paper: the weight of the first place where m won in it, and that of the second where m won there."""
    wins: dict[tuple[str, str], float] = defaultdict(float)
    for battle in battles:
        if battle.winner:
            won = battle.winner == "first"
            wins[(battle.first, battle.second) if won else (battle.second, battle.first)] += weights[0 if won else 1]
    return dict(wins)


def agreed_wins(battles: Iterable[MetaJudgment]) -> dict[tuple[str, str], float]:
    """A win where both orders agree, half a win for either where they do not, nothing where one of them failed."""
    winners: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for battle in battles:
        if battle.winner:
            winners[tuple(sorted((battle.first, battle.second)))].append(getattr(battle, battle.winner))
    wins: dict[tuple[str, str], float] = defaultdict(float)
    for both, won in winners.items():
        if len(won) == 2:
            for winner in won:
                wins[winner, next(side for side in both if side != winner)] += 0.5
    return dict(wins)


def strengths(fighters: Sequence[str], wins: Wins) -> dict[str, float]:
    """Bradley–Terry strengths in logits: those that maximise Σ wins[m, n]·log σ(s_m − s_n), with mean 0.

    A weak normal prior (`PRIOR`) makes them finite and unique; who fought nobody has 0.
    """
    from scipy.optimize import minimize
    from scipy.special import expit

    at = {name: place for place, name in enumerate(fighters)}
    won = np.array([at[winner] for winner, _ in wins], dtype=np.int64)
    lost = np.array([at[loser] for _, loser in wins], dtype=np.int64)
    counts = np.array([*wins.values()], dtype=float)

    def loss(s: np.ndarray) -> tuple[float, np.ndarray]:
        margin = s[won] - s[lost]
        value = counts @ np.logaddexp(0, -margin) + PRIOR / 2 * s @ s
        push = counts * expit(-margin)
        slope = PRIOR * s
        np.subtract.at(slope, won, push)
        np.add.at(slope, lost, push)
        return float(value), slope

    logits = minimize(loss, np.zeros(len(fighters)), jac=True, method="BFGS", options={"gtol": 1e-8}).x
    return {name: round(float(logits[place]), DIGITS) + 0.0 for name, place in at.items()}
