"""Score health: whether the judge still gives scores that tell candidates apart, and the same in whatever order it sees them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from math import fsum
from typing import NamedTuple

from selfreward.measure.monitors.base import Evidence, Figures
from selfreward.records import Estimate, HeadToHead, Iteration, Judgment, Response
from selfreward.stats import intervals, mean_scores, spread_within

NEAR_THE_TOP = 0.5
"""Points: a score that is less than this below the best one there is counts as it, which expected scores never quite reach."""


def figures(now: Evidence, before: Evidence | None) -> Figures:
    """Of M_{t−1}'s candidates and pairs, by which M_t was made; of M1, of its own held-out answers, what these can tell.

    Intervals resample prompts. What has no mean score, as the loop takes it, is neither a candidate's nor a pair's.

    - `mean`: mean score of the candidates, in points;
    - `top`: share of the scores that are the best there is, or less than half a point below;
    - `unscored`: share of the judgments that have no score;
    - `ties`: share of the prompts whose candidates, two at least, all have the same mean score, so that no choice of pairs could
      tell them apart. None of M1, as the next three;
    - `yield`: pairs per prompt, 0 to 1;
    - `gap`: mean score of the chosen response − of the rejected one, mean over pairs;
    - `spread`: standard deviation of the mean scores of a prompt's candidates, pooled over prompts;
    - `position_flips`: share of the comparisons by `measure.judge` whose verdict changed with the order of the two answers, over
      all rivals; None where it compared nothing.
    """
    made, resampling = now.made, now.resampling
    judged = _judged(now, *((made.responses, made.judgments) if made else (now.answers, now.judgments)))
    means = list(judged.means.values())
    return {
        "mean": intervals.ratio([fsum(group) for group in means], [len(group) for group in means], *resampling),
        "top": _share(judged.top, judged.scored, *resampling),
        "unscored": _share(judged.asked - judged.scored, judged.asked, *resampling),
        **(_made(judged, made, *resampling) if made else dict.fromkeys(("ties", "yield", "gap", "spread"))),
        "position_flips": _position_flips(now.measured.head_to_head, *resampling),
    }


class _Judged(NamedTuple):
    """By prompt id."""

    asked: Counter[str]
    """Judgments."""
    scored: Counter[str]
    """Judgments with a score."""
    top: Counter[str]
    """Judgments with the best score."""
    means: dict[str, list[float]]
    """The mean scores of the responses that have one."""


def _judged(now: Evidence, responses: Iterable[Response], judgments: Iterable[Judgment]) -> _Judged:
    """Counts of the judgments of `responses`; both collections are gone over once, judgments of other responses left out."""
    prompts = {response.id: response.prompt_id for response in responses}
    found = _Judged(Counter(), Counter(), Counter(), defaultdict(list))
    top = now.recipe.judge.scale[1] - NEAR_THE_TOP

    def counted() -> Iterator[Judgment]:
        for judgment in judgments:
            if prompt := prompts.get(judgment.response_id):
                found.asked[prompt] += 1
                found.scored[prompt] += judgment.score is not None
                found.top[prompt] += judgment.score is not None and judgment.score > top
                yield judgment

    for response_id, score in mean_scores(counted(), now.recipe.judge.min_valid).items():
        found.means[prompts[response_id]].append(score)
    return found


def _made(judged: _Judged, made: Iteration, resamples: int, seed: int) -> Figures:
    """Figures that only candidates and pairs have."""
    several = [group for group in judged.means.values() if len(group) > 1]
    paired = Counter(pair.prompt_id for pair in made.pairs)
    gaps = [pair.chosen_score - pair.rejected_score for pair in made.pairs]
    return {
        "ties": intervals.mean([len(set(group)) == 1 for group in several], resamples, seed),
        "yield": intervals.mean([paired[prompt.id] for prompt in made.prompts], resamples, seed),
        "gap": intervals.mean(gaps, resamples, seed),
        "spread": spread_within(judged.means.items(), resamples, seed),
    }


def _share(parts: Counter[str], wholes: Counter[str], resamples: int, seed: int) -> Estimate | None:
    return intervals.ratio([parts[unit] for unit in wholes], list(wholes.values()), resamples, seed)


def _position_flips(comparisons: Iterable[HeadToHead], resamples: int, seed: int) -> Estimate | None:
    """The share of flips over all of them, of which only share and number were kept."""
    flips: list[bool] = []
    for found in comparisons:
        if found.position_flips is not None:
            decided = found.wins + found.ties + found.losses
            flipped = round(found.position_flips * decided)
            flips += [True] * flipped + [False] * (decided - flipped)
    return intervals.mean(flips, resamples, seed)
