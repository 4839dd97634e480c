"""Axis 1: true scores and head-to-head, with numbers worked by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from judges import swapped
from selfreward.measure.axes import compare_scores, head_to_head, true_score
from selfreward.records import Comparison, Response, Verdict
from selfreward.stats import intervals

DRAWS = (200, 0)
"""Resamples and seed of the bootstrap."""


def answers(model, count=3):
    return [Response(prompt_id=f"p{n}", model=model, index=0, text=model, finish="stop") for n in range(count)]


def verdict(kind, **points):
    return Verdict(response_id="r", kind=kind, points=points)


def comparisons(winners):
    return [Comparison(prompt_id=f"p{n}", a=f"a{n}", b=f"b{n}", winner=winner) for n, winner in enumerate(winners)]


def test_a_true_score_is_broken_down_by_kind_by_criterion_and_by_score():
    found = true_score(
        [verdict("list", order=1, count=1), verdict("list", order=0, count=1), verdict("sort", order=0, count=0)], *DRAWS
    )
    assert found.score.value == 1.0  # (2 + 1 + 0) / 3
    assert {kind: estimate.value for kind, estimate in found.by_kind.items()} == {"list": 1.5, "sort": 0.0}
    assert found.by_criterion == {"order": pytest.approx(1 / 3), "count": pytest.approx(2 / 3)}
    assert found.histogram == {"0": 1, "1": 1, "2": 1}


def test_no_verdict_gives_no_score_rather_than_zero():
    assert true_score([], *DRAWS) is None


def test_two_models_are_compared_prompt_by_prompt_and_an_unscored_answer_is_neither_win_nor_loss():
    ours, theirs = answers("m2", 4), answers("m1", 4)
    scores = dict(zip([r.id for r in ours], [5, 3, 2, None], strict=True)) | dict(
        zip([r.id for r in theirs], [4, 3, 4, 1], strict=True)
    )
    known = {name: score for name, score in scores.items() if score is not None}
    assert [c.winner for c in compare_scores(ours, theirs, known)] == ["a", "tie", "b", "none"]


def pairs_by_prompt(matched):
    """Answers stay beside the answers to the same prompt where one is missing."""
    ours, theirs = answers("m2"), answers("m1")
    scores = {response.id: n + 2 * (response.model == "m2") for n in range(3) for response in (ours[n], theirs[n])}
    found = matched(ours, [theirs[0], theirs[2]], scores)
    assert [(c.prompt_id, c.b) for c in found] == [("p0", theirs[0].id), ("p2", theirs[2].id)]


def test_a_missing_answer_does_not_shift_the_others():
    pairs_by_prompt(compare_scores)
    pairs_by_prompt(lambda ours, theirs, scores: compare_scores(ours[::-1], theirs, scores)[::-1])


def test_answers_matched_by_position_would_be_caught():
    def planted(ours, theirs, scores):  # tinker, CREAM: zip by index
        return [Comparison(prompt_id=a.prompt_id, a=a.id, b=b.id, winner="tie") for a, b in zip(ours, theirs, strict=False)]

    with pytest.raises(AssertionError):
        pairs_by_prompt(planted)


def test_seen_from_the_other_side_every_comparison_is_swapped():
    ours, theirs = answers("m2"), answers("m1")
    scores = {ours[0].id: 1, theirs[0].id: 2, ours[1].id: 3, theirs[1].id: 3}
    assert [swapped(c) for c in compare_scores(ours, theirs, scores)] == compare_scores(theirs, ours, scores)


def test_wins_ties_losses_and_the_unscored_are_counted_apart():
    found = head_to_head(comparisons(["a"] * 5 + ["tie"] * 2 + ["b"] * 3 + ["none"]), "M1", "truth", *DRAWS)
    assert (found.wins, found.ties, found.losses, found.unscored) == (5, 2, 3, 1)
    assert (found.against, found.judge) == ("M1", "truth")
    assert found.net.value == pytest.approx(0.2)  # (5 - 3) / 10: the unscored prompt is in neither
    assert found.net.low <= 0.2 <= found.net.high


def test_an_unreadable_verdict_counted_as_a_tie_would_be_caught():
    with_none = head_to_head(comparisons(["a", "none"]), "M1", "truth", *DRAWS)
    planted = head_to_head(comparisons(["a", "tie"]), "M1", "truth", *DRAWS)  # tinker-cookbook: warning and 0.0
    assert (with_none.net.value, planted.net.value) == (1.0, 0.5)


def test_nothing_comparable_has_no_margin():
    assert head_to_head(comparisons(["none", "none"]), "M1", "truth", *DRAWS).net is None
    assert head_to_head([], "M1", "truth", *DRAWS).net is None


# the interval


def test_an_interval_is_that_of_the_percentile_bootstrap_over_units():
    values = [0.0, 1.0, 1.0, 2.0, 5.0]
    found = intervals.mean(values, 1000, 3)
    rng = np.random.default_rng(3)
    means = [np.mean([values[n] for n in row]) for row in rng.integers(5, size=(1000, 5))]
    assert found.value == pytest.approx(1.8)
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(means, [2.5, 97.5])))


def test_a_ratio_weighs_units_by_their_wholes():
    assert intervals.ratio([1, 0], [1, 9], *DRAWS).value == pytest.approx(0.1)  # not the mean of 1 and 0
    assert intervals.ratio([0, 0], [0, 0], *DRAWS) is None
    assert intervals.mean([], *DRAWS) is None


def test_units_without_a_whole_leave_the_interval_finite():
    found = intervals.ratio([1, 0, 0], [1, 0, 0], *DRAWS)  # most resamples miss the only unit that counts
    assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=12), st.integers(0, 3))
def test_an_interval_holds_its_value_and_lies_within_the_data(values, seed):
    found = intervals.mean(values, 200, seed)
    assert min(values) - 1e-9 <= found.low <= found.high <= max(values) + 1e-9
    assert found == intervals.mean(values, 200, seed)


def test_over_many_samples_the_interval_holds_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    held = 0
    for n in range(300):
        found = intervals.mean(list(rng.normal(1.0, 2.0, size=60)), 200, n)
        held += found.low <= 1.0 <= found.high
    assert 0.90 <= held / 300 <= 0.98
