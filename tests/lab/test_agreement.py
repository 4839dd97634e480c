"""Agreement between annotators: by hand, as scikit-learn has it, and as published."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from selfreward.lab.reproduce.agreement import Vote, accuracy, between_people, kappa, majority


@pytest.mark.parametrize(
    ("labels", "agreed"),
    [([1, 1, 2], 1), ([2, 1, 1], 1), ([0, 1, 2], None), ([1, 1, 2, 2], None), ([1, 1, 2, 0], None), ([3], 3), ([], None)],
)
def test_a_majority_is_more_than_half(labels, agreed):
    assert majority(labels) == agreed


def test_accuracy_and_kappa_by_hand():
    one, other = [1, 1, 1, 2, 2], [1, 1, 2, 2, 1]
    assert accuracy(one, other) == 3 / 5
    assert kappa(one, other) == pytest.approx((0.6 - 0.52) / (1 - 0.52))  # by chance 3/5·3/5 + 2/5·2/5
    assert kappa([1, 2], [1, 2]) == 1 and kappa([1, 2], [2, 1]) == -1
    assert kappa([1, 1], [1, 1]) is None


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30))
def test_kappa_is_scikit_learns(pairs):
    one, other = zip(*pairs, strict=True)
    ours = kappa(one, other)
    if ours is None:
        assert len(set(one)) == len(set(other)) == 1  # where theirs is not a number
    else:
        assert ours == pytest.approx(cohen_kappa_score(one, other), abs=1e-12)


def test_published_majorities_and_kappas_are_reproduced(reference):
    rows = reference("pandalm_testset")
    people = [[row[f"annotator{n}"] for row in rows] for n in (1, 2, 3)]
    agreed = [majority(labels) for labels in zip(*people, strict=True)]
    assert [agreed.count(label) for label in (0, 1, 2)] == [105, 422, 472]
    kappas = [kappa(people[a], people[b]) for a, b in ((0, 1), (0, 2), (1, 2))]
    assert kappas == pytest.approx([0.85, 0.88, 0.86], abs=0.0051)


# votes


def vote(winner, judge="expert_0", a="x", b="y", question=1, turn=1):
    return Vote(judge=judge, model_a=a, model_b=b, question_id=question, turn=turn, winner=winner)


def test_all_pairs_of_votes_on_the_same_answers_count():
    votes = [vote("model_a"), vote("model_a", "expert_1"), vote("tie", "expert_2")]
    assert between_people(votes, 1) == (1, 3)
    assert between_people(votes, 1, ties=False) == (1, 1)
    assert between_people(votes, 1).share == pytest.approx(1 / 3)


def test_votes_with_the_models_the_other_way_round_are_turned_round():
    assert between_people([vote("model_a"), vote("model_b", a="y", b="x")], 1) == (1, 1)
    assert between_people([vote("model_a"), vote("model_a", a="y", b="x")], 1) == (0, 1)


def test_an_inconsistent_tie_is_a_tie():
    assert between_people([vote("tie"), vote("tie (inconsistent)")], 1) == (1, 1)


def test_votes_on_other_answers_and_by_others_are_not_compared():
    others = [vote("model_a", question=2), vote("model_a", turn=2), vote("model_a", b="z"), vote("model_a", "author_0")]
    found = between_people([vote("model_a"), *others], 1)
    assert found == (0, 0) and found.share is None


def test_published_agreement_is_reproduced(reference):
    votes = [Vote(**row) for row in reference("mtbench_human_votes")]
    assert between_people(votes, 1).share == pytest.approx(0.63, abs=0.005)
    assert between_people(votes, 1, ties=False).share == pytest.approx(0.81, abs=0.005)


def test_counting_the_authors_as_well_would_be_caught(reference):
    votes = [Vote(**row) for row in reference("mtbench_human_votes")]
    assert abs(between_people(votes, 1, judges="").share - 0.63) > 0.005
