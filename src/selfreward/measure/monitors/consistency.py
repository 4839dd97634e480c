"""Rank consistency: whether M_t's judge and M_{t−1}'s order the same frozen candidates alike."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from selfreward.measure.monitors.base import Evidence, Figures
from selfreward.stats import intervals, rank_consistency


def figures(now: Evidence, before: Evidence | None) -> Figures:
    """Agreement of the mean scores that M_t and M_{t−1} give the frozen pool; intervals resample prompts. None for M1.

    - `kendall`: Kendall's τ-b, −1 to 1, mean over the prompts where it is defined: neither judge scores all candidates alike;
    - `consistency`: (τ + 1) / 2, 0 to 1, over the same prompts (C of CREAM, arXiv 2410.12735);
    - `top`: agreement on the best candidates, 0 to 1: responses that both judges put first ÷ responses that either does, ties
      included; mean over prompts with at least two responses that both have scored.
    """
    if before is None:
        return dict.fromkeys(("kendall", "consistency", "top"))
    ours, theirs = now.scores(now.pool_judgments), before.scores(before.pool_judgments)
    pool: dict[str, list[str]] = defaultdict(list)
    for response in now.pool:
        pool[response.prompt_id].append(response.id)
    taus = rank_consistency(pool.values(), ours, theirs)
    return {
        "kendall": intervals.mean(taus, *now.resampling),
        "consistency": intervals.mean([(tau + 1) / 2 for tau in taus], *now.resampling),
        "top": intervals.mean(top_agreement(pool.values(), ours, theirs), *now.resampling),
    }


def top_agreement(groups: Iterable[Sequence[str]], ours: Mapping[str, float], theirs: Mapping[str, float]) -> list[float]:
    """For each group of response ids, |A ∩ B| / |A ∪ B| of the responses A that `ours` and B that `theirs` put first, with ties.

    Only responses that both have scored count; a group with fewer than two of them is left out.
    """
    shared = ([name for name in group if name in ours and name in theirs] for group in groups)
    firsts = ((_first(group, ours), _first(group, theirs)) for group in shared if len(group) > 1)
    return [len(a & b) / len(a | b) for a, b in firsts]


def _first(group: Sequence[str], scores: Mapping[str, float]) -> set[str]:
    best = max(scores[name] for name in group)
    return {name for name in group if scores[name] == best}
