"""Runaway: whether the judge comes to like a trait the more, the more of it the answers have (as in Fisher's runaway selection).

The candidates of the frozen pool never change, so a change of the judge's preference there is the judge's own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import fsum
from statistics import fmean

from selfreward.measure.monitors.base import Evidence, Figures
from selfreward.measure.monitors.traits import answered, differences, heritability
from selfreward.recipe import DriftConfig
from selfreward.records import Estimate
from selfreward.stats import intervals, known_traits

Amounts = dict[str, list[tuple[str, float]]]
"""Prompt id → (response id, trait) of the frozen pool's candidates that have the trait."""


def figures(now: Evidence, before: Evidence | None) -> Figures:
    """For every trait the judge's preference for it, and how fast that moves with the answers.

    - `preference/<trait>`: points of M_t's mean score per unit of the trait, between the frozen pool's candidates to one prompt
      (least squares on differences from the prompt's mean); intervals resample prompts;
    - `slope/<trait>`: `preference` − that of the model before, per unit by which the mean held-out answer moved. Where preference
      and slope have one sign, each step towards the trait makes the judge ask for a larger one: the loop feeds itself. At
      0, or against the preference, it does not. None for M1, and where the interval of the answers' move contains 0; interval
      by the delta method.

    None where all candidates of every prompt have the same of the trait, or none is scored.
    """
    readings: Figures = {}
    scores, earlier = now.scores(now.pool_judgments), before.scores(before.pool_judgments) if before else {}
    held_out = answered(now, before)
    for name, trait in known_traits(now.recipe.drift or DriftConfig()).items():
        amounts: Amounts = defaultdict(list)
        for response in now.pool:
            if (amount := trait(response.text)) is not None:
                amounts[response.prompt_id].append((response.id, amount))
        products, squares = _products(amounts, scores)
        readings[f"preference/{name}"] = intervals.ratio(products, squares, *now.resampling)
        moved = differences(trait, held_out)
        shift = intervals.mean(moved, *now.resampling)
        clear = shift is not None and not shift.low <= 0 <= shift.high
        readings[f"slope/{name}"] = _slope(amounts, scores, earlier, moved) if clear else None
    return readings


def _products(amounts: Amounts, scores: Mapping[str, float]) -> tuple[list[float], list[float]]:
    """For each prompt, the sum of trait times score and of trait squared, both as differences from the prompt's mean."""
    products, squares = [], []
    for group in amounts.values():
        scored = [(amount, scores[response_id]) for response_id, amount in group if response_id in scores]
        centre = fmean(amount for amount, _ in scored) if scored else 0.0
        products.append(fsum((amount - centre) * score for amount, score in scored))
        squares.append(fsum((amount - centre) ** 2 for amount, _ in scored))
    return products, squares


def _slope(
    amounts: Amounts, scores: Mapping[str, float], earlier: Mapping[str, float], moved: Sequence[float]
) -> Estimate | None:  # fmt: skip
    """Change of the preference over change of the trait; on the candidates that both judges have scored."""
    change = {response_id: scores[response_id] - earlier[response_id] for response_id in scores if response_id in earlier}
    products, squares = _products(amounts, change)
    per_prompt = fsum(squares) / len(squares) if squares else 0.0
    return heritability(moved, [product / per_prompt for product in products]) if per_prompt else None
