"""Selection: which traits the judge breeds, before the model shows them (the breeder's equation, R = h²·S).

The pairs in `now.made` trained M_t from M_{t−1}, so the S and the R of the same model belong together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import sqrt

import numpy as np

from selfreward.measure.monitors.base import Evidence, Figures
from selfreward.measure.monitors.candidates import every
from selfreward.recipe import DriftConfig
from selfreward.records import Estimate, sides
from selfreward.stats import Trait, intervals, known_traits, ranks

Z = 1.959963984540054
"""The 97.5 % quantile of the normal distribution; SciPy, which knows it too, takes a second to import."""
Texts = list[tuple[str, str]]
Scored = list[tuple[float, int]]
"""(mean score, words) of the candidates of one prompt."""


def figures(now: Evidence, before: Evidence | None) -> Figures:
    """For every trait its selection, its response and their ratio, and the correlation of score with length.

    - `S/<trait>`, selection differential: the trait of the chosen answer − of the rejected one, mean over the iteration's pairs
      (over every nth where there are more than 10,000; so with the prompts of the last figure);
    - `R/<trait>`, response: the trait of M_t's held-out answer − of M_{t−1}'s to the same prompt, mean over prompts;
    - `R_over_S/<trait>`, realised heritability: their ratio, None where S's interval contains 0;
    - `score_length`: Spearman's ρ between mean score and words among the candidates of a prompt, ties at their average rank,
      mean over the prompts where it is defined: neither all scores nor all lengths are equal.

    Units are the trait's own (`wording.TRAITS`, and the recipe's `drift.traits`, which override a built-in one of the same
    name). A text in which a trait is undefined leaves its pair, or prompt, out of that trait. All are None for M1. Raises
    `SelfRewardError` where a function of the user's fails.
    """
    selected, candidates = made(now)
    held_out = answered(now, before)
    rhos = [rho for group in candidates.values() if (rho := length_correlation(group)) is not None]
    readings: Figures = {"score_length": intervals.mean(rhos, *now.resampling)}
    for name, trait in known_traits(now.recipe.drift or DriftConfig()).items():
        bred, shown = differences(trait, selected), differences(trait, held_out)
        selection = intervals.mean(bred, *now.resampling)
        readings[f"S/{name}"] = selection
        readings[f"R/{name}"] = intervals.mean(shown, *now.resampling)
        clear = selection is not None and not selection.low <= 0 <= selection.high
        readings[f"R_over_S/{name}"] = heritability(bred, shown) if clear and shown else None
    return readings


def made(now: Evidence) -> tuple[Texts, Mapping[str, Scored]]:
    """(chosen, rejected) texts of the pairs that trained M_t, and the scored candidates by prompt; `AT_MOST` of each.

    Empty for M1.
    """
    read = now.candidates
    if now.made is None or read is None:
        return [], {}
    return sides(now.made.pairs[:: every(len(now.made.pairs))], read.texts), read.lengths


def answered(now: Evidence, before: Evidence | None) -> Texts:
    """(M_t's answer, M_{t−1}'s) to every held-out prompt that both have answered. Empty for M1."""
    earlier = {answer.prompt_id: answer.text for answer in before.answers if answer.answered} if before else {}
    return [(answer.text, earlier[answer.prompt_id]) for answer in now.answers if answer.answered and answer.prompt_id in earlier]


def differences(trait: Trait, texts: Iterable[tuple[str, str]]) -> list[float]:
    """The trait of the first text − of the second, for pairs in which both texts have it."""
    pairs = ((trait(first), trait(second)) for first, second in texts)
    return [first - second for first, second in pairs if first is not None and second is not None]


def length_correlation(group: Scored) -> float | None:
    """Spearman's ρ of one prompt's candidates; None where one side is all ties."""
    scores, lengths = (ranks.places(column) for column in zip(*group, strict=True))
    return ranks.spearman(scores, lengths) if len({*scores}) > 1 and len({*lengths}) > 1 else None


def heritability(bred: Sequence[float], shown: Sequence[float]) -> Estimate:
    """Mean of `shown` over mean of `bred`, which must not be 0; independent samples, interval by the delta method."""
    response, noise = _mean_and_variance(shown)
    selection, noise_below = _mean_and_variance(bred)
    value = response / selection
    reach = Z * sqrt(noise + value**2 * noise_below) / abs(selection)
    return Estimate(value=value, low=value - reach, high=value + reach)


def _mean_and_variance(values: Sequence[float]) -> tuple[float, float]:
    """The mean, and the bootstrap's variance of the mean."""
    return float(np.mean(values)), float(np.var(values)) / len(values)
