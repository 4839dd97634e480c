"""Style held apart: cells by hand, and judges that go by length or by worth."""

import random

import pytest

from evidence import evidence, judged
from selfreward.measure.monitors.style import figures
from selfreward.records import Ranking
from selfreward.steps import ranked_responses


def ranked(*sets):
    """For each ranking the (rank, text, score) of its responses."""
    rankings = [
        Ranking(prompt=f"q{n}", responses=tuple(text for _, text, _ in one), ranks=tuple(rank for rank, _, _ in one))
        for n, one in enumerate(sets)
    ]
    judgments = [
        judgment
        for ranking, one in zip(rankings, sets, strict=True)
        for response, (_, _, score) in zip(ranked_responses(ranking), one, strict=True)
        for judgment in judged(response, score)
    ]
    return evidence(rankings=rankings, ranking_judgments=judgments)


def test_cells_by_hand():
    # Easy, the better is longer: right. Hard: a tie (½), a wrong one, one without a score (wrong). Equal in length: in no cell.
    found = figures(ranked(
        [(0, "a b c", 5), (1, "a", 3)], [(0, "a", 3), (1, "a b", 3)], [(1, "a b c", 4), (0, "a b", 2)],
        [(0, "a", 5), (1, "a b", None)], [(0, "b", 1), (1, "c", 5)],
    ), None)  # fmt: skip
    assert found["hard/length"].value == pytest.approx(0.5 / 3)
    assert found["gap/length"].value == pytest.approx(1 - 0.5 / 3)
    assert found["gap/refusal"] is None


def test_people_who_rank_two_alike_make_no_pair_and_without_scores_nothing_is_known():
    assert figures(ranked([(0, "a", 5), (0, "a b", 3)]), None)["hard/length"] is None
    assert figures(ranked([(0, "a", None), (1, "a b", None)]), None)["hard/length"] is None


@pytest.mark.parametrize(("by", "low", "high"), [("length", 0.95, 1), ("worth", -0.05, 0.05), ("both", 0.2, 0.9)])
def test_a_judge_that_goes_by_length_shows_and_one_that_goes_by_worth_does_not(by, low, high):
    rng, sets = random.Random(0), []
    for _ in range(300):
        words = rng.sample(range(1, 20), 3)
        score = {"length": lambda rank, n: n / 4, "worth": lambda rank, n: 5 - rank, "both": lambda rank, n: 2 - rank + n / 8}[by]
        sets.append([(rank, "w " * n, score(rank, n)) for rank, n in enumerate(words)])
    assert low <= figures(ranked(*sets), None)["gap/length"].value <= high
