"""How far two judges rank the same candidates alike, prompt by prompt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from selfreward.correlations import kendall, places


def rank_consistency(groups: Iterable[Sequence[str]], ours: Mapping[str, float], theirs: Mapping[str, float]) -> list[float]:
    """Kendall's tau-b (−1 to 1) between two judges' scores of each group of response ids, one prompt's candidates say.

    Of a group the responses that both have scored count. A group in which either side has nothing but ties, or fewer than two
    responses, has no tau and is left out.
    """
    found = []
    for group in groups:
        both = [(ours[one], theirs[one]) for one in group if one in ours and one in theirs]
        a, b = places([score for score, _ in both]), places([score for _, score in both])
        if len(set(a)) > 1 and len(set(b)) > 1:
            found.append(kendall(a, b))
    return found
