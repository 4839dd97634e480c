"""Style held apart: whether the judge also tells better from worse where the worse answer has more of a trait.

These are the easy and the hard cells of RM-Bench's matrix (arXiv 2410.16184), on the user's own ranked responses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations

from selfreward.measure.monitors.base import Evidence, Figures
from selfreward.recipe import DriftConfig
from selfreward.records import Ranking
from selfreward.stats import Trait, difference_of_shares, intervals, known_traits
from selfreward.steps import ranked_responses

Cells = tuple[float, float, float, float]
"""Counts of one ranking: easy pairs in people's order, easy pairs, hard pairs in people's order, hard pairs. A tie is a half."""


def figures(now: Evidence, before: Evidence | None) -> Figures:
    """Shares, in people's order, of the pairs that they rank apart and that differ in a trait; intervals resample rankings.

    - `hard/<trait>`: where the worse response has more of the trait, 0 to 1;
    - `gap/<trait>`: that share where the better response has more of it, less `hard/<trait>`, −1 to 1. Near 0 the judge does not
      go by the trait; near 1 it goes by nothing else.

    A tie in score counts half, and a response without a score makes its pairs wrong, as in `reward_modeling`. None where there
    are no such pairs, and where no response has a score.
    """
    scores, readings = now.scores(now.ranking_judgments), Figures()
    for name, trait in known_traits(now.recipe.drift or DriftConfig()).items():
        cells = [_cells(ranking, scores, trait) for ranking in now.rankings] if scores else []
        hits, hard = [cell[2] for cell in cells], [cell[3] for cell in cells]
        readings[f"hard/{name}"] = intervals.ratio(hits, hard, *now.resampling)
        readings[f"gap/{name}"] = difference_of_shares(cells, *now.resampling)
    return readings


def _cells(ranking: Ranking, scores: Mapping[str, float], trait: Trait) -> Cells:
    pairs = list(_pairs(ranking, scores, trait))
    easy, hard = [right for more, right in pairs if more > 0], [right for more, right in pairs if more < 0]
    return sum(easy), len(easy), sum(hard), len(hard)


def _pairs(ranking: Ranking, scores: Mapping[str, float], trait: Trait) -> Iterator[tuple[float, float]]:
    """Pairs ranked apart that differ in the trait: the surplus of the better one, and 1, ½ or 0 by the judge."""
    ranked = zip(ranking.ranks, ranked_responses(ranking), strict=True)
    responses = [(rank, trait(response.text), scores.get(response.id)) for rank, response in ranked]
    for one, other in combinations(responses, 2):
        (rank, amount, score), (worse_rank, worse_amount, worse_score) = sorted((one, other), key=lambda item: item[0])
        if rank != worse_rank and amount is not None and worse_amount is not None and amount != worse_amount:
            yield amount - worse_amount, _right(score, worse_score)


def _right(better: float | None, worse: float | None) -> float:
    if better is None or worse is None:
        return 0.0
    return 0.5 if better == worse else float(better > worse)
