"""Against people and known answers: approval and rightness counted by hand, with planted favouritism."""

import random
from types import SimpleNamespace

import numpy as np
import pytest

from evidence import answer, evidence, judged, recipe, values
from selfreward.measure import reward_modeling
from selfreward.measure.axes import beside_ranks
from selfreward.measure.monitors.people import figures
from selfreward.records import Anchor, Instruction, Prompt, Ranking
from selfreward.stats import difference_of_shares
from selfreward.steps import ranked_responses

DRAWS = (200, 0)
OF_ANCHORS = {"anchor_accuracy", "anchor_informedness", "self_bias", "self_bias_skewness", "self_preference"}
METRICS = {"pairwise_accuracy", "five_best", "exact_match", "spearman", "kendall"}

# people's rankings


def ranked(*sets, **more):
    """Ranked sets: for each the (rank, score) of its responses; a score of None could not be read."""
    rankings = [
        Ranking(prompt=f"q{n}", responses=tuple(f"a{i}" for i in range(len(one))), ranks=tuple(rank for rank, _ in one))
        for n, one in enumerate(sets)
    ]
    judgments = [
        judgment
        for ranking, one in zip(rankings, sets, strict=True)
        for response, (_, score) in zip(ranked_responses(ranking), one, strict=True)
        for judgment in judged(response, score)
    ]
    return evidence(rankings=rankings, ranking_judgments=judgments, **more)


def test_informedness_by_hand():
    # best: 4 approved, 3 not, 5 approved, one unscored: 2 of 4; the rest: 4 approved, 1, 3, 2 not, one unscored: 1 of 5
    found = figures(ranked([(0, 4), (1, 4), (2, 1)], [(0, 3), (0, 5), (1, 3), (1, None)], [(1, 2), (0, None)]), None)
    assert found["informedness"].value == pytest.approx(2 / 4 - 1 / 5)


def test_the_pass_mark_is_the_recipes():
    sets = [(0, 3), (1, 2)], [(0, 5), (1, 4)]
    assert figures(ranked(*sets, recipe=recipe(pass_mark=3)), None)["informedness"].value == 0.5
    assert figures(ranked(*sets, recipe=recipe(pass_mark=5)), None)["informedness"].value == 0.5
    assert figures(ranked(*sets), None)["informedness"].value == 0.0  # 4: the second set's both


@pytest.mark.parametrize(
    ("judge", "value"),
    [
        (lambda rank: 5 if rank == 0 else 1, 1.0),
        (lambda rank: 1 if rank == 0 else 5, -1.0),
        (lambda rank: 5, 0.0),
        (lambda rank: 1, 0.0),
    ],
)
def test_a_judge_that_knows_one_that_has_it_backwards_and_two_that_do_not_look(judge, value):
    sets = [[(rank, judge(rank)) for rank in (0, 1, 2)] for _ in range(20)]
    found = figures(ranked(*sets), None)["informedness"]
    assert (found.low, found.value, found.high) == (value, value, value)


def test_a_judge_that_approves_more_and_more_of_all_loses_informedness_though_its_order_stays_peoples():
    strict = figures(ranked(*[[(0, 4), (1, 2), (2, 1)]] * 9), None)["informedness"]
    lenient = figures(ranked(*[[(0, 5), (1, 4.5), (2, 4)]] * 9), None)["informedness"]
    assert (strict.value, lenient.value) == (1.0, 0.0)


def test_a_judge_without_a_single_score_has_no_informedness_rather_than_none_at_all_of_it():
    assert figures(ranked([(0, None), (1, None)]), None)["informedness"] is None
    assert figures(ranked([(0, 4), (0, 5)]), None)["informedness"] is None  # people found no response worse
    assert figures(evidence(), None)["informedness"] is None


def test_the_papers_metrics_are_those_that_were_measured():
    now = ranked([(0, 5), (1, 4), (2, 4)], [(0, 1), (1, 2)])
    beside = beside_ranks([(one, ranked_responses(one)) for one in now.rankings], now.scores(now.ranking_judgments))
    measured = reward_modeling(beside, 0.0, *DRAWS)
    found = figures(now._replace(measured=SimpleNamespace(reward_modeling=measured)), None)
    assert {name: found[name] for name in METRICS} == {name: getattr(measured, name) for name in METRICS}
    assert found["pairwise_accuracy"].value == pytest.approx(2.5 / 4)


def test_where_judging_is_not_measured_there_is_nothing():
    found = figures(evidence(), None)
    assert set(found) == METRICS | OF_ANCHORS | {"informedness"}
    assert set(found.values()) == {None}


# anchors


def anchored(own, others=(), **more):
    """Anchors with the answers to them, (right, score) each; None: not answered, a score of None: could not be read."""
    anchors = [Anchor(prompt=f"what is {n}", answers=(f"{n}",)) for n in range(max(len(own), len(others)))]
    sides, judgments = [], []
    for model, found in (("m2", own), ("m1", others)):
        answers = []
        for n, one in enumerate(found):
            text, finish = ("", "error") if one is None else (f" {n}" if one[0] else "wrong", "stop")
            answers.append(answer(Prompt(text=f"what is {n}", source="seed").id, text, model, finish=finish))
            judgments += judged(answers[-1], one[1]) if one else []
        sides.append(answers)
    return evidence(anchors=anchors, anchor_answers=sides[0], anchor_others=sides[1], anchor_judgments=judgments, **more)


def test_all_figures_of_anchors_by_hand():
    own = [(True, 5), (True, 2), (False, 4), (False, 0), (True, None), None]
    others = [(True, 4), (False, 4), (True, 4), (True, 1), None, (False, 1)]
    found = values(figures(anchored(own, others), None))
    assert found["anchor_accuracy"] == 3 / 5
    # right: 5 4 4 approved, 2 none 1 not: 3 of 6; wrong: 4 4 approved, 0 1 not: 2 of 4; of its own 1 of 3 and 1 of 2
    assert found["anchor_informedness"] == pytest.approx(3 / 6 - 2 / 4)
    # 5/5 - 1, 2/5 - 1, 4/5 - 0, 0/5 - 0
    assert found["self_bias"] == pytest.approx((0 - 0.6 + 0.8 + 0) / 4)
    # 0 -.6 .8 0; apart 2 · (.6 + .8 + 0 + 1.4 + .6 + .8), together 2 · (.6 + .8 + 0 + .2 + .6 + .8) + 1.2 + 1.6
    assert found["self_bias_skewness"] == pytest.approx(1 - 8.4 / 8.8)
    assert found["self_preference"] == pytest.approx(1 / 3 - 2 / 3)  # own right: 5 of 5 2 none; M1's right: 4 4 of 4 4 1


def test_a_judge_that_approves_its_own_right_answers_alone_is_seen_and_an_even_one_is_not():
    rng = random.Random(0)
    rights = [rng.random() < 0.7 for _ in range(60)]
    partial = figures(anchored([(right, 5) for right in rights], [(right, 1) for right in rights[::-1]]), None)
    assert partial["self_preference"].low == 1.0
    even = figures(anchored([(right, 4 + right) for right in rights], [(right, 4 + right) for right in rights[::-1]]), None)
    assert (even["self_preference"].low, even["self_preference"].high) == (0.0, 0.0)


def test_a_judge_that_is_right_to_approve_its_own_answers_more_often_does_not_prefer_itself():
    own, others = [(True, 5)] * 9 + [(False, 1)], [(True, 5)] + [(False, 1)] * 9
    found = values(figures(anchored(own, others), None))
    assert (found["self_preference"], found["anchor_informedness"]) == (0.0, 1.0)  # demographic parity were 0.8 off


def test_self_bias_moves_with_the_score_and_not_with_the_truth():
    honest = figures(anchored([(n % 2 == 0, 5 if n % 2 == 0 else 0) for n in range(20)]), None)
    assert (honest["self_bias"].value, honest["self_bias_skewness"]) == (0.0, None)
    boasting = figures(anchored([(n % 2 == 0, 5) for n in range(20)]), None)
    assert boasting["self_bias"].value == 0.5 and boasting["self_bias"].low > 0
    assert boasting["anchor_accuracy"].value == honest["anchor_accuracy"].value == 0.5


def test_scores_are_brought_to_the_scale_that_the_judge_was_given():
    ten = recipe().model_copy(update={"judge": recipe().judge.model_copy(update={"scale": (1, 10)})})
    assert figures(anchored([(False, 1), (False, 10)], recipe=ten), None)["self_bias"].value == 0.5


def test_m1_has_no_other_to_prefer_itself_to():
    found = figures(anchored([(True, 5), (False, 1)]), None)
    assert found["self_preference"] is None
    assert found["anchor_informedness"].value == 1.0


@pytest.mark.parametrize(("own", "others"), [([(True, 5)], [(False, 5)]), ([(False, 5)], [(True, 5)])])
def test_where_one_of_them_has_no_right_answer_there_is_no_preference(own, others):
    assert figures(anchored(own, others), None)["self_preference"] is None


def test_answers_that_nobody_judged_are_right_or_wrong_all_the_same():
    found = values(figures(anchored([(True, 5), (False, 5)])._replace(anchor_judgments=()), None))
    assert {name for name in OF_ANCHORS if found[name] is not None} == {"anchor_accuracy"}


def test_two_anchors_with_one_prompt_are_one_question_with_the_answers_of_both():
    known = [Anchor(prompt="q", answers=("a",)), Anchor(prompt="q", pattern="^b")]
    asked = Prompt(text="q", source="seed").id
    for text, right in (("A", 1.0), ("be", 1.0), ("c", 0.0)):
        now = evidence(anchors=known, anchor_answers=[answer(asked, text)] * 2)
        assert figures(now, None)["anchor_accuracy"].value == right


def test_anchors_with_checks_are_right_where_all_hold_and_left_out_where_nobody_knows():
    slow, text = "^(a|aa)+$", "a" * 70 + "!"
    known = [Anchor(prompt="q", checks=(Instruction(id="punctuation:no_comma"), Instruction(answer="4")))]
    asked = Prompt(text="q", source="seed").id

    def accuracy(anchors, said):
        found = figures(evidence(anchors=anchors, anchor_answers=[answer(asked, said)]), None)["anchor_accuracy"]
        return found and found.value

    assert (accuracy(known, "it is 4"), accuracy(known, "so, 4")) == (1, 0)
    assert accuracy([Anchor(prompt="q", checks=(Instruction(pattern=slow),))], text) is None
    assert accuracy([Anchor(prompt="q", pattern=slow)], text) is None


# the interval


def test_the_interval_of_a_difference_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(250):
        good, bad = rng.random((100, 2)) < 0.8, rng.random((100, 4)) < 0.3
        found = difference_of_shares([(one.sum(), 2, other.sum(), 4) for one, other in zip(good, bad, strict=True)], 200, seed)
        covered += found.low <= 0.5 <= found.high
    assert abs(covered / 250 - 0.95) < 3 * (0.95 * 0.05 / 250) ** 0.5


def test_units_are_resampled_whole():
    found = difference_of_shares([(1, 1, 0, 1)] * 4 + [(0, 1, 1, 1)] * 4, *DRAWS)
    alone = difference_of_shares([(1, 1, 0, 0), (0, 0, 0, 1)] * 4 + [(0, 1, 0, 0), (0, 0, 1, 1)] * 4, *DRAWS)
    assert found.value == alone.value == 0.0
    assert found.high - found.low > alone.high - alone.low  # taken apart, what goes together would seem to even out


def test_resamples_in_which_a_share_is_one_of_nothing_are_left_out():
    found = difference_of_shares([(1, 1, 0, 0), (0, 0, 0, 1)], *DRAWS)
    assert (found.low, found.value, found.high) == (1.0, 1.0, 1.0)
