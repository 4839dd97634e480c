"""Score health: whether the judge's scores still tell candidates apart, and whether verdicts depend on the order of answers."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from math import fsum
from typing import NamedTuple

from selfreward.measure.monitors.base import Evidence, Figures
from selfreward.measure.monitors.candidates import Candidates, read_responses
from selfreward.records import Estimate, HeadToHead, Iteration
from selfreward.stats import intervals, means, spread_within

NEAR_THE_TOP = 0.5
"""Points below the best score within which a score counts as the best, for expected scores never quite reach it."""


def figures(now: Evidence, before: Evidence | None) -> Figures:
    """Figures of M_{t−1}'s candidates and pairs, which made M_t; for M1, of its own held-out answers.

    Intervals resample prompts. Responses without a mean score, by the loop's own rule, are left out of candidates and pairs.

    - `mean`: mean score of the candidates, in points;
    - `top`: share of the scores that are the best possible, or less than half a point below;
    - `unscored`: share of the judgments without a score;
    - `ties`: share of the prompts whose candidates, at least two, all have the same mean score, so that no choice of pairs could
      tell them apart. This and the next three are None for M1;
    - `yield`: pairs per prompt, 0 to 1;
    - `gap`: mean score of the chosen response − of the rejected one, mean over pairs;
    - `spread`: standard deviation of the mean scores of a prompt's candidates, pooled over prompts;
    - `position_flips`: share of the comparisons by `measure.judge` whose verdict changed with the order of the two answers, over
      all rivals; None where there were no comparisons.
    """
    iteration, resampling, judge = now.made, now.resampling, now.recipe.judge
    read = now.candidates or read_responses(now.answers, now.judgments, judge.min_valid)
    judged = _judged(read)
    top = judge.scale[1] - NEAR_THE_TOP
    shares: dict[str, intervals.Share] = {
        "mean": ([fsum(group) for group in judged.means.values()], [len(group) for group in judged.means.values()]),
        "top": ([sum(score > top for score in given) for given in judged.given.values()], [*map(len, judged.given.values())]),
        "unscored": ([asked - len(judged.given[prompt]) for prompt, asked in judged.asked.items()], [*judged.asked.values()]),
        **(_made(judged, iteration) if iteration else dict.fromkeys(("ties", "yield", "gap"), ((), ()))),
    }
    return {
        **dict(zip(shares, intervals.ratios([*shares.values()], *resampling), strict=True)),
        "spread": spread_within(judged.means.items(), *resampling) if iteration else None,
        "position_flips": _position_flips(now.measured.head_to_head, *resampling),
    }


class _Judged(NamedTuple):
    """Judgments by prompt id, in their order, by which intervals are drawn."""

    asked: Counter[str]
    """Counts of them."""
    given: dict[str, list[float]]
    """The scores of those that have one."""
    means: dict[str, list[float]]
    """The mean scores of the responses that have one."""


def _judged(read: Candidates) -> _Judged:
    """Group the judgments of the responses; others are left out."""
    judged = _Judged(Counter(), defaultdict(list), defaultdict(list))
    for response_id, asked in read.scores.judged.items():
        if prompt := read.prompts.get(response_id):
            judged.asked[prompt] += asked
            judged.given[prompt] += read.scores.given.get(response_id, ())
    for response_id, score in means(read.valid).items():
        if prompt := read.prompts.get(response_id):
            judged.means[prompt].append(score)
    return judged


def _made(judged: _Judged, iteration: Iteration) -> dict[str, intervals.Share]:
    """Shares that only candidates and pairs have."""
    paired = Counter(pair.prompt_id for pair in iteration.pairs)
    return {
        "ties": intervals.per_unit([len(set(group)) == 1 for group in judged.means.values() if len(group) > 1]),
        "yield": intervals.per_unit([paired[prompt.id] for prompt in iteration.prompts]),
        "gap": intervals.per_unit([pair.chosen_score - pair.rejected_score for pair in iteration.pairs]),
    }


def _position_flips(comparisons: Iterable[HeadToHead], resamples: int, seed: int) -> Estimate | None:
    """The share of flips over all rivals, from the share and the number of comparisons that were kept for each."""
    flips: list[bool] = []
    for contest in comparisons:
        if contest.position_flips is not None:
            decided = contest.wins + contest.ties + contest.losses
            flipped = round(contest.position_flips * decided)
            flips += [True] * flipped + [False] * (decided - flipped)
    return intervals.mean(flips, resamples, seed)
