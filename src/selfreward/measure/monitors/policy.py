"""The policy: its distance from earlier models, the log-probabilities that training pushed down, and the variety of its texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import fsum, isfinite, nan

import numpy as np

from selfreward.measure.monitors.base import Evidence, Figures
from selfreward.records import Estimate, Likelihood
from selfreward.stats import Floats, bigrams, intervals, resampled

SHARE = 10
"""A training's start and its end are a tenth of its logged steps each, one at least."""


def figures(now: Evidence, before: Evidence | None) -> Figures:
    """Distances in nats, shares 0 to 1; intervals resample answers, prompts or logged steps.

    - `kl_first`, `kl_before`: log p_t(y|x) − log p(y|x) under M1, and under M_{t−1}, mean over M_t's own held-out answers y. The
      answers are sampled at the recipe's temperature and top-p and the log-probabilities are those at temperature 1, so this
      is how much likelier M_t's answers have become and not the exact KL divergence; it can be below 0;
    - `entropy`: −log p_t of these answers per token, again at temperature 1;
    - `untold`: share of the likelihoods asked for that the engine could not give;
    - `chosen_logp`, `rejected_logp`: change of the log-probability of the chosen and the rejected answers in training;
    - `displacement`: the smaller of the two falls, above 0 where both fell, which leaves probability to answers that nobody saw
      (likelihood displacement: Razin et al., arXiv 2410.08847);
    - `distinct_answers`: share of distinct answers to the held-out prompts; `distinct_2`: share of distinct pairs of neighbouring
      words in them; `prompts_distinct_2`: that share in the iteration's prompts, which falls with their number as well;
    - `prompts_not_novel`: share of the proposals that were dropped because they were too near to an earlier prompt.

    None where the model was not asked, not trained on pairs, or made without proposals.
    """
    own = _told(now, "own")
    answers = [answer.text for answer in now.answers if answer.answered]
    untold = [likelihood.outcome == "untold" for part in now.likelihoods.values() for likelihood in part]
    return {
        "kl_first": _log_ratio(now, "first"),
        "kl_before": _log_ratio(now, "before"),
        "entropy": intervals.ratio([-logprob for logprob, _ in own.values()], [n for _, n in own.values()], *now.resampling),
        "untold": intervals.mean(untold, *now.resampling),
        **_displacement(now),
        "distinct_answers": _distinct([[text] for text in answers], now),
        "distinct_2": _distinct([bigrams(text) for text in answers], now),
        "prompts_distinct_2": _distinct([bigrams(prompt.text) for prompt in now.made.prompts] if now.made else [], now),
        "prompts_not_novel": _not_novel(now),
    }


def _told(now: Evidence, part: str) -> dict[str, tuple[float, int]]:
    """(log-probability, tokens) by response id, where the engine of the model in `part` could give them."""
    items: Sequence[Likelihood] = now.likelihoods.get(part, ())
    return {item.response_id: (item.logprob, item.tokens) for item in items if item.logprob is not None}


def _log_ratio(now: Evidence, part: str) -> Estimate | None:
    own, other = _told(now, "own"), _told(now, part)
    return intervals.mean([own[name][0] - other[name][0] for name in own if name in other], *now.resampling)


def _displacement(now: Evidence) -> Figures:
    """The change of both log-probabilities over the training. With one logged step at either end the interval has no width."""
    chosen, rejected = (_changes(now, f"rewards/{side}") for side in ("chosen", "rejected"))

    def smaller_fall(times: Floats) -> Floats:
        falls: Floats = np.minimum(-(times @ np.asarray(chosen)), -(times @ np.asarray(rejected)))
        return falls / len(chosen)

    return {
        "chosen_logp": intervals.mean(chosen, *now.resampling),
        "rejected_logp": intervals.mean(rejected, *now.resampling),
        "displacement": resampled(smaller_fall, len(chosen), *now.resampling),
    }


def _changes(now: Evidence, key: str) -> list[float]:
    """End − start of a log-probability, for the logged steps that make up either end.

    Every step logs other pairs, so the compared value is their log-probability relative to the model that training started from:
    DPO's implicit reward over β. Dropout lowers it at both ends alike. A single step has no change.
    """
    values = [line[key] / now.recipe.dpo.beta for line in now.metrics if isfinite(line.get(key, nan))]
    if len(values) < 2:
        return []
    ends = max(1, len(values) // SHARE)
    return [end - start for start, end in zip(values[:ends], values[-ends:], strict=True)]


def _distinct(parts: Sequence[Sequence[object]], now: Evidence) -> Estimate | None:
    """Share of distinct parts; each text is a sequence of parts.

    A part that occurs n times counts as 1/n each time, so that the sum is the number of distinct ones. A resample that counted
    them anew would find its own repetitions.
    """
    times = Counter(part for text in parts for part in text)
    return intervals.ratio([fsum(1 / times[part] for part in text) for text in parts], [len(t) for t in parts], *now.resampling)


def _not_novel(now: Evidence) -> Estimate | None:
    loop = now.measured.loop
    if loop is None:
        return None
    near = loop.dropped_prompts.get("not_novel", 0)
    return intervals.mean([1.0] * near + [0.0] * (loop.proposals - near), *now.resampling)
