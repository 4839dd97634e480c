"""Flukes: how noisy the judge is, and how many of the pairs that the model learnt from would come out otherwise again."""

from __future__ import annotations

from collections import defaultdict

from selfreward import estimates
from selfreward.drift import Evidence, Figures
from selfreward.drift.spread import within
from selfreward.flukes import pair_outcomes


def figures(now: Evidence, before: Evidence | None) -> Figures:
    """Of the iteration that made M_t, were its candidates judged again as often as they were (`flukes.pair_outcomes`).

    - `rate`: probability that a pair is flipped, the rejected response then having the higher mean score; mean over the pairs,
      which the interval resamples, 0 to 1;
    - `tie_rate`: the same of a tie;
    - `noise`: standard deviation of a judgment's score around the mean of its response's, in points, pooled over the responses
      with two scores or more; the interval resamples prompts.

    All are None of M1, and where no response has two scores.
    """
    made = now.made
    if made is None:
        return dict.fromkeys(("rate", "tie_rate", "noise"))
    scores: dict[str, list[float]] = defaultdict(list)
    for judgment in made.judgments:
        if judgment.score is not None:
            scores[judgment.response_id].append(judgment.score)
    given = ((response.prompt_id, scores.get(response.id, ())) for response in made.responses)
    outcomes = pair_outcomes(made.pairs, made.responses, made.judgments, now.recipe.judge.min_valid).values()
    return {
        "rate": estimates.mean([outcome.flipped for outcome in outcomes], *now.resampling),
        "tie_rate": estimates.mean([outcome.tie for outcome in outcomes], *now.resampling),
        "noise": within(given, *now.resampling),
    }
