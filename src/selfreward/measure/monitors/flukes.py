"""Flukes: the judge's noise, and the share of the training pairs whose order a second judging would turn."""

from __future__ import annotations

from selfreward.measure.monitors.base import Evidence, Figures
from selfreward.stats import intervals, odds_of, spread_within


def figures(now: Evidence, before: Evidence | None) -> Figures:
    """Estimates for the iteration that made M_t, were its candidates judged again as often as before (`rejudging.pair_outcomes`).

    - `rate`: probability that a pair is flipped, so that the rejected response has the higher mean score; mean over the pairs,
      which the interval resamples, 0 to 1;
    - `tie_rate`: probability of a tie, mean over the pairs;
    - `noise`: standard deviation of a judgment's score around the mean of its response's, in points, pooled over the responses
      with two scores or more; the interval resamples prompts.

    All are None for M1, where no response has two scores, and where scores are no means of judgments (those of a jury).
    """
    iteration = now.made
    if iteration is None or iteration.scores is not None:
        return dict.fromkeys(("rate", "tie_rate", "noise"))
    read = now.candidates
    assert read is not None
    outcomes = odds_of(iteration.pairs, read.prompts, read.valid).values()
    probabilities = [outcome.flipped for outcome in outcomes], [outcome.tie for outcome in outcomes]
    rate, tie_rate = intervals.ratios([*map(intervals.per_unit, probabilities)], *now.resampling)
    groups = ((prompt, read.scores.given.get(response, ())) for response, prompt in read.prompts.items())
    return {
        "rate": rate,
        "tie_rate": tie_rate,
        "noise": spread_within(groups, *now.resampling),
    }
