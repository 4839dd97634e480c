"""Rank consistency: tau and agreement at the top by hand, ties on either side included, and what must and must not move them."""

from itertools import product

import pytest

from evidence import answer, evidence, judged, values
from selfreward.measure.monitors.consistency import figures, top_agreement
from selfreward.stats import rank_consistency


def taus(ours, theirs):
    """Of one prompt's candidates, by their scores; None is no score."""
    names = [f"r{n}" for n in range(len(ours))]
    return rank_consistency([names], *(known(names, scores) for scores in (ours, theirs)))


def tops(ours, theirs):
    names = [f"r{n}" for n in range(len(ours))]
    return top_agreement([names], *(known(names, scores) for scores in (ours, theirs)))


def known(names, scores):
    return {name: score for name, score in zip(names, scores, strict=True) if score is not None}


@pytest.mark.parametrize(
    ("ours", "theirs", "tau"),
    [
        ([1, 2, 3, 4], [1, 2, 3, 4], 1),
        ([1, 2, 3, 4], [4, 3, 2, 1], -1),
        ([1, 2, 3, 4], [0, 1, 3.5, 3], 4 / 6),  # one of six pairs the other way round
        ([5, 5, 3], [5, 4, 3], 2 / 6**0.5),  # two pairs alike, one tied by one side: 2 / √(2 · 3)
        ([5, 5, 3], [3, 4, 4], -1 / 2),  # one pair against, one tied by either side: 1 / √(2 · 2), less than 0
        ([1, 2, None, 9], [1, 2, 7, None], 1),  # of what both have scored
    ],
)
def test_tau_b_by_hand(ours, theirs, tau):
    assert taus(ours, theirs) == [pytest.approx(tau)]
    assert taus(theirs, ours) == [pytest.approx(tau)]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [([3, 3, 3], [1, 2, 3]), ([3, 3], [2, 2]), ([1, 2, None], [1, 1, 2]), ([1, None], [1, 2]), ([], [])],
)
def test_where_one_side_has_nothing_but_ties_there_is_no_tau(ours, theirs):
    assert taus(ours, theirs) == taus(theirs, ours) == []


def by_pairs(a, b):
    """Tau-b as it is defined."""
    signs = [[(x > y) - (x < y) for x, y in product(side, side)] for side in (a, b)]
    above, below = sum(x * y for x, y in zip(*signs, strict=True)), [sum(x * x for x in side) for side in signs]
    return above / (below[0] * below[1]) ** 0.5 if all(below) else None


def test_tau_is_that_of_the_definition_for_all_scores_of_three_candidates():
    for a, b in product(product(range(3), repeat=3), repeat=2):
        expected = by_pairs(a, b)
        assert taus(a, b) == ([] if expected is None else [pytest.approx(expected)])


@pytest.mark.parametrize(
    ("ours", "theirs", "agreement"),
    [
        ([5, 3, 1], [4, 2, 3], 1),
        ([5, 3, 1], [2, 4, 3], 0),
        ([5, 5, 1], [4, 2, 3], 1 / 2),
        ([5, 5, 1], [1, 4, 4], 1 / 3),
        ([5, 5, 5], [4, 4, 4], 1),
        ([5, 5, 5], [4, 3, 3], 1 / 3),  # a judge who no longer tells anything apart does not agree
        ([None, 3, 1], [5, 4, 3], 1),  # of what both have scored
    ],
)
def test_agreement_at_the_top_by_hand(ours, theirs, agreement):
    assert tops(ours, theirs) == tops(theirs, ours) == [pytest.approx(agreement)]


def test_of_one_candidate_nobody_can_disagree_and_it_is_left_out():
    assert tops([5, None], [4, 3]) == tops([], []) == []


# the monitor

POOL = {f"p{n}": [answer(f"p{n}", f"{index}", "m1", index) for index in range(3)] for n in range(4)}


def judges(*scores, k=3):
    """A model that gives the candidates of each prompt these scores, k times."""
    pool = [one for group in POOL.values() for one in group]
    flat = [score for group in scores for score in group]
    said = [judgment for one, score in zip(pool, flat, strict=True) for judgment in judged(one, *[score] * k)]
    return evidence(pool=pool, pool_judgments=said)


EARLIER = judges((5, 3, 1), (4, 4, 2), (1, 2, 3), (3, 3, 3))
ALIKE = ["kendall", "consistency", "top"]


def test_figures_by_hand():
    found = values(figures(judges((5, 3, 1), (4, 4, 2), (3, 2, 1), (3, 3, 4)), EARLIER))
    assert found["kendall"] == pytest.approx((1 + 1 - 1) / 3)  # the last prompt was all ties
    assert found["consistency"] == pytest.approx((1 + 1 + 0) / 3)
    assert found["top"] == pytest.approx((1 + 1 + 0 + 1 / 3) / 4)


def test_a_judge_that_orders_as_before_does_not_move_them_however_high_it_scores():
    same = values(figures(judges((4, 1, 0), (5, 5, 4), (0, 4, 5), (1, 1, 1)), EARLIER))
    assert same == pytest.approx(dict.fromkeys(ALIKE, 1))


def test_a_judge_that_turned_round_moves_them_all():
    turned = figures(judges((1, 3, 5), (2, 2, 4), (3, 2, 1), (3, 3, 3)), EARLIER)
    assert turned["kendall"].value == -1 and turned["consistency"].value == 0
    assert turned["top"].value == pytest.approx(1 / 4) and turned["kendall"].high == -1


def test_the_interval_resamples_prompts():
    found = figures(judges((5, 3, 1), (4, 4, 2), (3, 2, 1), (3, 3, 3)), EARLIER)
    assert found["kendall"].low == -1 and found["kendall"].high == 1


def test_of_a_candidate_without_a_score_nothing_is_said():
    found = figures(judges((5, 3, None), (4, 4, None), (1, 2, None), (3, 3, None)), EARLIER)
    assert found["kendall"].value == 1 and found["top"].value == 1


def test_nothing_is_read_of_m1_nor_of_a_judge_that_tells_nothing_apart():
    assert figures(EARLIER, None) == dict.fromkeys(ALIKE)
    level = figures(judges(*[(4, 4, 4)] * 4), EARLIER)
    assert level["kendall"] is None and level["consistency"] is None
    assert level["top"].value == pytest.approx((1 / 3 + 2 / 3 + 1 / 3 + 1) / 4)
