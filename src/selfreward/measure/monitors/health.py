"""Score health: whether the judge's scores still tell candidates apart, and whether verdicts depend on the order of answers."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from math import fsum
from typing import NamedTuple

from selfreward.measure.monitors.base import Evidence, Figures
from selfreward.measure.monitors.candidates import Candidates, read_responses
from selfreward.records import Estimate, HeadToHead, Iteration
from selfreward.stats import intervals, spread_within

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
    judged = _judged(read, judge.min_valid, judge.scale[1] - NEAR_THE_TOP)
    means = list(judged.means.values())
    return {
        "mean": intervals.ratio([fsum(group) for group in means], [len(group) for group in means], *resampling),
        "top": _share(judged.top, judged.scored, *resampling),
        "unscored": _share(judged.asked - judged.scored, judged.asked, *resampling),
        **(_made(judged, iteration, *resampling) if iteration else dict.fromkeys(("ties", "yield", "gap", "spread"))),
        "position_flips": _position_flips(now.measured.head_to_head, *resampling),
    }


class _Judged(NamedTuple):
    """Counts and scores by prompt id."""

    asked: Counter[str]
    """All judgments."""
    scored: Counter[str]
    """Judgments with a score."""
    top: Counter[str]
    """Judgments with the best score."""
    means: dict[str, list[float]]
    """The mean scores of the responses that have one."""


def _judged(read: Candidates, min_valid: int, top: float) -> _Judged:
    """Count the judgments of the responses, others left out, in the order of the judgments, by which intervals are drawn."""
    counts = _Judged(Counter(), Counter(), Counter(), defaultdict(list))
    for response_id, judged in read.scores.judged.items():
        if prompt := read.prompts.get(response_id):
            given = read.scores.given.get(response_id, ())
            counts.asked[prompt] += judged
            counts.scored[prompt] += len(given)
            counts.top[prompt] += sum(score > top for score in given)
    for response_id, score in read.scores.means(min_valid).items():
        if prompt := read.prompts.get(response_id):
            counts.means[prompt].append(score)
    return counts


def _made(judged: _Judged, iteration: Iteration, resamples: int, seed: int) -> Figures:
    """Figures that only candidates and pairs have."""
    several = [group for group in judged.means.values() if len(group) > 1]
    paired = Counter(pair.prompt_id for pair in iteration.pairs)
    gaps = [pair.chosen_score - pair.rejected_score for pair in iteration.pairs]
    return {
        "ties": intervals.mean([len(set(group)) == 1 for group in several], resamples, seed),
        "yield": intervals.mean([paired[prompt.id] for prompt in iteration.prompts], resamples, seed),
        "gap": intervals.mean(gaps, resamples, seed),
        "spread": spread_within(judged.means.items(), resamples, seed),
    }


def _share(parts: Counter[str], wholes: Counter[str], resamples: int, seed: int) -> Estimate | None:
    return intervals.ratio([parts[unit] for unit in wholes], list(wholes.values()), resamples, seed)


def _position_flips(comparisons: Iterable[HeadToHead], resamples: int, seed: int) -> Estimate | None:
    """The share of flips over all rivals, from the share and the number of comparisons that were kept for each."""
    flips: list[bool] = []
    for contest in comparisons:
        if contest.position_flips is not None:
            decided = contest.wins + contest.ties + contest.losses
            flipped = round(contest.position_flips * decided)
            flips += [True] * flipped + [False] * (decided - flipped)
    return intervals.mean(flips, resamples, seed)
