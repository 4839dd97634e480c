"""Battles of judgments: what a win counts, and the strengths of Bradley and Terry, by hand."""

import math

import pytest

from selfreward.records import MetaJudgment
from selfreward.stats import agreed_wins, place_weights, strengths, weighed_wins


def battle(first, second, winner, swapped=False):
    outcome = "decided" if winner else "unparsed"
    return MetaJudgment(
        response_id="r", first=first, second=second, swapped=swapped, judge="j", rationale="", outcome=outcome, winner=winner
    )


BATTLES = [
    battle("a", "b", "first"), battle("b", "a", "second", True),  # a wins both
    battle("a", "c", "first"), battle("c", "a", "first", True),  # the place wins
    battle("b", "c", "first"), battle("c", "b", None, True),  # one order failed
]  # fmt: skip


def test_a_win_counts_by_how_seldom_its_place_wins():
    assert place_weights(BATTLES) == (1 / 5, 4 / 5)  # the first place won 4 of 5
    assert place_weights([battle("a", "b", None)]) == (0.5, 0.5)
    assert weighed_wins(BATTLES, (0.2, 0.8)) == {("a", "b"): 0.2 + 0.8, ("a", "c"): 0.2, ("c", "a"): 0.2, ("b", "c"): 0.2}


def test_agreeing_orders_are_a_win_others_half_a_win_for_either_and_one_order_alone_is_none():
    assert agreed_wins(BATTLES) == {("a", "b"): 1.0, ("a", "c"): 0.5, ("c", "a"): 0.5}


def test_strengths_of_two_are_the_logit_of_the_share_that_is_won():
    found = strengths(["a", "b"], {("a", "b"): 300.0, ("b", "a"): 100.0})
    assert found["a"] - found["b"] == pytest.approx(math.log(3), abs=1e-3)
    assert found["a"] + found["b"] == pytest.approx(0, abs=1e-3)


def test_strengths_of_three_solve_the_equations_of_likelihood():
    """At the maximum each wins as much as its strength says: Σ wins[m, ·] = Σ (wins[m, n] + wins[n, m])·σ(s_m − s_n)."""
    wins = {("a", "b"): 60.0, ("b", "a"): 20.0, ("b", "c"): 50.0, ("c", "b"): 30.0, ("c", "a"): 10.0, ("a", "c"): 70.0}
    found = strengths(["a", "b", "c"], wins)
    for one in "abc":
        won = sum(count for (winner, _), count in wins.items() if winner == one)
        met = {other: wins[one, other] + wins[other, one] for other in "abc" if other != one}
        due = sum(count / (1 + math.exp(found[other] - found[one])) for other, count in met.items())
        assert won == pytest.approx(due, abs=0.02)
    assert found["a"] > found["b"] > found["c"]


def test_who_never_lost_is_strongest_and_finite_and_who_fought_nobody_is_in_the_middle():
    found = strengths(["a", "b", "c"], {("a", "b"): 1.0})
    assert 1 < found["a"] < 20 and found["b"] == -found["a"] and found["c"] == 0
    assert strengths(["a", "b"], {}) == {"a": 0.0, "b": 0.0}
    assert strengths(["a", "b"], {("a", "b"): 0.5, ("b", "a"): 0.5}) == {"a": 0.0, "b": 0.0}
