"""Flattery: the live judge beside the frozen one, and beside itself on half an answer."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence import answer, evidence, judged, values
from selfreward.measure.monitors.flattery import figures
from selfreward.stats import distance_skewness

DRAWS = (200, 0)


def both(live, frozen, model="m2", **more):
    """A model's answers to p0, p1, …, each with the live judge's score and the frozen one's; None: not judged."""
    answers = [answer(f"p{n}", f"a{n}", model) for n in range(len(live))]
    mine, theirs = (
        [judgment for one, score in zip(answers, scores, strict=True) if score is not None for judgment in judged(one, score)]
        for scores in (live, frozen)
    )
    rivals = [judgment for n in range(len(live)) for judgment in judged(answer(f"p{n}", f"a{n}", "rival"), 0)]
    return evidence(answers=answers, judgments=rivals + mine, frozen_judgments=theirs, **more)


def test_gap_and_trend_by_hand():
    now, before = both([5, 4, 5, 3], [3, 4, 4, None]), both([3, 2, None, 3], [3, 1, 3, 3], "m1")
    found = values(figures(now, before))
    assert found["gap"] == 1.0  # 2, 0 and 1; the fourth was not shown to the frozen judge
    assert found["trend"] == 0.5  # of p0 from 0 to 2, of p1 from 1 to 0; of p2 and p3 one of the two is not known
    # before 0, 1 and 0: apart 4 times 1; together 4 times 1 and the diagonal's 2
    third = pytest.approx(1 / 3)
    assert values(figures(before, None)) == {"gap": third, "trend": None, "skewness": third, "cut_drop": None}


def test_a_judgment_that_could_not_be_read_is_no_score():
    one = answer("p0", "a")
    now = evidence(answers=[one], judgments=judged(one, None, None, 5), frozen_judgments=judged(one, 3, 3, 3))
    assert figures(now, None)["gap"] is None  # the recipe asks for two that are valid


def test_a_judge_that_pays_itself_a_point_is_seen_and_one_that_errs_as_often_either_way_is_not():
    rng = random.Random(0)
    frozen = [rng.choice([1, 2, 3, 4]) for _ in range(80)]
    flattering = figures(both([score + 1 for score in frozen], frozen), None)
    assert flattering["gap"].low == flattering["skewness"].value == 1.0
    noisy = figures(both([score + (-1) ** n for n, score in enumerate(frozen)], frozen), None)
    assert noisy["gap"].low < 0 < noisy["gap"].high
    assert noisy["skewness"].value == 0.0


def test_m1_beside_itself_has_no_gap_and_no_skewness():
    found = values(figures(both([3, 4], [3, 4]), None))
    assert (found["gap"], found["skewness"]) == (0.0, None)


def test_the_gap_resamples_answers_and_not_judges():
    found = figures(both([5, 1], [4, 0]), None)["gap"]
    assert (found.low, found.value, found.high) == (1.0, 1.0, 1.0)  # unpaired it were anything from -3 to 5


def test_without_a_frozen_judge_there_is_nothing():
    assert set(figures(evidence(answers=[answer("p0", "a")]), None).values()) == {None}


# half an answer


def halved(drops):
    """Answers that a judge gives 4, and `4 − drop` when they are cut; a drop of None: of one word, not cut."""
    answers = [answer(f"p{n}", "one" if drop is None else "one two") for n, drop in enumerate(drops)]
    cut = [one.model_copy(update={"text": "one"}) for one in answers]
    of_cut = [judgment for half, drop in zip(cut, drops, strict=True) for judgment in judged(half, 4 - (drop or 0))]
    judgments = [judgment for one in answers for judgment in judged(one, 4)]
    return evidence(answers=answers, judgments=judgments, cut=cut[::-1], cut_judgments=of_cut)


def test_the_drop_by_hand_leaves_out_what_could_not_be_cut():
    assert figures(halved([3, 1, None]), None)["cut_drop"].value == 2.0


def test_a_judge_that_does_not_read_to_the_end_is_seen():
    found = figures(halved([0] * 9), None)["cut_drop"]
    assert (found.low, found.value, found.high) == (0.0, 0.0, 0.0)
    assert figures(halved([2] * 9), None)["cut_drop"].low == 2.0


def test_an_answer_with_no_score_before_or_after_is_left_out():
    now = halved([3, 1])
    assert figures(now._replace(judgments=now.judgments[:1]), None)["cut_drop"].value == 3.0
    assert figures(now._replace(cut_judgments=now.cut_judgments[1:]), None)["cut_drop"].value == 1.0


# distance skewness


@pytest.mark.parametrize(
    ("values", "skewness"),
    [
        ([1, 1, 1], 1.0),
        ([-2, -2], 1.0),
        ([3], 1.0),
        ([1, -1], 0.0),
        ([0, 2], 0.5),  # apart 2 + 2, together 0 + 4 + 2 + 2
        ([0, 1, -1], 0.0),
        ([1, 1, -1], 0.2),  # apart 4 times 2; together 2 times 2 and the diagonal's 3 times 2
    ],
)
def test_distance_skewness_by_hand(values, skewness):
    assert distance_skewness(values, *DRAWS).value == pytest.approx(skewness)


@pytest.mark.parametrize("values", [[], [0], [0, 0, 0]])
def test_where_nothing_differs_from_zero_it_is_undefined(values):
    assert distance_skewness(values, *DRAWS) is None


HALVES = st.lists(st.integers(-10, 10).map(lambda half: half / 2), min_size=1, max_size=12).filter(any)


@given(HALVES)
def test_distance_skewness_is_the_formula_and_does_not_change_with_sign_scale_and_order(values):
    apart = sum(abs(one - other) for one in values for other in values)
    together = sum(abs(one + other) for one in values for other in values)
    found = distance_skewness(values, *DRAWS).value
    assert found == pytest.approx(1 - apart / together)
    assert -1e-12 <= found <= 1
    assert distance_skewness([-3 * value for value in values[::-1]], *DRAWS).value == pytest.approx(found)


def test_its_interval_is_the_bootstrap_over_answers():
    found = distance_skewness([2, 0], *DRAWS)  # resamples: 2 2 → 1, 2 0 → 1/2, 0 0 → undefined and left out
    assert (found.low, found.value, found.high) == (0.5, 0.5, 1.0)
