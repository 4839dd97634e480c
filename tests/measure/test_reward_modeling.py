"""Axis 2: judging against people's ranks, by hand and against scipy."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from selfreward.measure import Judged, correlation, reward_modeling
from selfreward.measure.axes import agreeing, perfect_that_are_best, same_order
from selfreward.records.measured import TIE_RULE

DRAWS = (200, 0)


def judged(ranks, scores, kind="k", lengths=None):
    return Judged(kind, ranks, scores, lengths or [0] * len(ranks))


def measure(*rankings, unparsed=0.0):
    return reward_modeling(rankings, unparsed, *DRAWS)


def test_pairs_in_peoples_order_by_hand():
    # ranks 0 1 1 2: five pairs apart; scores 5 3 3 4: 0>1, 0>1, 0>2 right, 1<2 and 1<2 wrong
    assert agreeing(judged([0, 1, 1, 2], [5, 3, 3, 4])) == (3.0, 5)
    # scores 4 4 1 1: 0 = 1 tie, 0 > 2 right, 0 > 3 right, 1 > 3 right, 2 = 3 tie; 1 and 2 are ranked alike
    assert agreeing(judged([0, 1, 1, 2], [4, 4, 1, 1])) == (4.0, 5)
    assert agreeing(judged([0, 1, 1, 2], [4, 4, 1, 1]), tie=0.0) == (3.0, 5)


def test_the_order_in_which_responses_are_listed_does_not_matter():
    assert agreeing(judged([2, 0, 1], [1, 5, 3])) == agreeing(judged([0, 1, 2], [5, 3, 1])) == (3.0, 3)


def test_responses_that_people_rank_alike_are_no_pair():
    assert agreeing(judged([0, 0, 0], [5, 1, 2])) == (0.0, 0)


def test_a_response_without_a_score_makes_its_pairs_wrong_and_not_ties():
    assert agreeing(judged([0, 1, 2], [None, 3, 1])) == (1.0, 3)
    assert agreeing(judged([0, 1], [None, None])) == (0.0, 1)
    assert agreeing(judged([0, 1], [1, None])) == (0.0, 1)


def test_a_failed_score_as_a_number_would_be_caught():
    ranking = judged([0, 1, 2], [4, 2, None])
    for number in (-1, 0):  # Oxen, schauppi; TRL
        planted = ranking._replace(scores=[number if score is None else score for score in ranking.scores])
        assert agreeing(planted) == (3.0, 3) != agreeing(ranking)


def test_half_for_ties_and_none_for_ties_are_both_given_and_the_rule_is_named():
    found = measure(judged([0, 1], [3, 3]), judged([0, 1], [5, 1]), judged([0, 1], [1, 5]))
    assert found.pairwise_accuracy.value == 0.5 and found.pairwise_accuracy_strict.value == pytest.approx(1 / 3)
    assert found.tie_rule == TIE_RULE and "half" in TIE_RULE


def test_accuracy_is_over_pairs_and_not_over_rankings():
    found = measure(judged([0, 1], [5, 1]), judged([0, 1, 2], [1, 2, 3]))
    assert (found.pairs, found.rankings) == (4, 2)
    assert found.pairwise_accuracy.value == 0.25  # 1 of 4, not the mean of 1 and 0


def test_five_best_is_of_the_responses_scored_five_the_share_that_people_rank_best():
    assert perfect_that_are_best(judged([0, 0, 1], [5, 5, 5])) == (2.0, 3)
    assert perfect_that_are_best(judged([1, 2], [5, 4.67])) == (1.0, 1)  # the best rank there is, whatever its number
    assert measure(judged([0, 1], [5, 5]), judged([0, 1], [3, 5])).five_best.value == pytest.approx(1 / 3)
    assert measure(judged([0, 1], [4, 3])).five_best is None


def test_an_exact_match_has_ties_where_people_have_them_and_nowhere_else():
    assert same_order(judged([0, 1, 1], [5, 2, 2]))
    assert not same_order(judged([0, 1, 1], [5, 2, 3]))
    assert not same_order(judged([0, 1, 2], [5, 2, 2]))
    assert not same_order(judged([0, 1], [5, None]))
    assert measure(judged([0, 1], [5, 1]), judged([0, 1], [5, None])).exact_match.value == 0.5


def test_correlations_by_hand():
    assert correlation(judged([0, 1, 2], [5, 3, 1]), stats.spearmanr) == pytest.approx(1)
    assert correlation(judged([0, 1, 2], [1, 3, 5]), stats.kendalltau) == pytest.approx(-1)
    # ranks 1 2 3 against scores in order 2 1 3: Spearman 1 - 6·2 / (3·8), Kendall (2 - 1) / 3
    assert correlation(judged([0, 1, 2], [4, 5, 1]), stats.spearmanr) == pytest.approx(0.5)
    assert correlation(judged([0, 1, 2], [4, 5, 1]), stats.kendalltau) == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("ranks", "scores"),
    [([0, 1], [3, 3]), ([0, 0], [1, 5]), ([0, 1], [None, 5]), ([0, 1], [None, None]), ([0, 1, 2], [None, 2, 2]), ([], [])],
)
def test_where_one_side_is_all_ties_there_is_no_correlation_and_no_nan(ranks, scores):
    assert correlation(judged(ranks, scores), stats.spearmanr) is None
    found = measure(judged(ranks, scores))
    assert found.spearman is None and found.kendall is None
    assert "nan" not in found.model_dump_json().lower()


RANKING = st.lists(st.tuples(st.integers(0, 4), st.none() | st.sampled_from([0, 1, 2.5, 4, 5])), min_size=2, max_size=7)


@given(RANKING)
def test_correlations_are_scipys_over_the_scored_responses(pairs):
    ranking = judged([rank for rank, _ in pairs], [score for _, score in pairs])
    scored = [(-rank, score) for rank, score in pairs if score is not None]
    if len({rank for rank, _ in scored}) < 2 or len({score for _, score in scored}) < 2:
        return
    goodness, scores = zip(*scored, strict=True)
    assert correlation(ranking, stats.spearmanr) == pytest.approx(stats.spearmanr(goodness, scores).statistic)
    assert correlation(ranking, stats.kendalltau) == pytest.approx(stats.kendalltau(goodness, scores).statistic)
    found = measure(ranking)
    assert found.spearman.value == pytest.approx(stats.spearmanr(goodness, scores).statistic, abs=1e-14)
    assert found.kendall.value == pytest.approx(stats.kendalltau(goodness, scores).statistic, abs=1e-14)


def test_of_several_rankings_the_mean_is_over_those_that_have_a_correlation_each_as_often_as_it_is_there():
    one, other, tied = judged([0, 1, 2], [5, 3, 1]), judged([0, 1, 2], [4, 5, 1]), judged([0, 1], [3, 3])
    found = measure(one, other, tied, other)
    assert found.spearman.value == pytest.approx((1 + 0.5 + 0.5) / 3)
    assert found.kendall.value == pytest.approx((1 + 1 / 3 + 1 / 3) / 3)


@given(RANKING)
def test_agreement_and_kendall_count_the_same_pairs(pairs):
    ranking = judged([rank for rank, _ in pairs], [score or 0 for _, score in pairs])
    right, apart = agreeing(ranking)
    signs = [(pairs[one][0] < pairs[two][0]) - (pairs[one][0] > pairs[two][0]) for one, two in combinations(range(len(pairs)), 2)]
    moves = [
        (ranking.scores[one] > ranking.scores[two]) - (ranking.scores[one] < ranking.scores[two])
        for one, two in combinations(range(len(pairs)), 2)
    ]
    assert apart == sum(sign != 0 for sign in signs)
    assert 2 * right - apart == sum(sign * move for sign, move in zip(signs, moves, strict=True))  # concordant less discordant


@given(RANKING)
def test_shuffling_responses_together_with_ranks_changes_no_metric(pairs):
    def metrics(listed):
        found = measure(judged([rank for rank, _ in listed], [score for _, score in listed]))
        return found.model_dump(exclude={"spearman", "kendall"})

    assert metrics(pairs) == metrics(pairs[::-1])


def test_a_skipped_score_shifts_no_other_and_a_shift_would_be_caught():
    by_name = {"a": None, "b": 5, "c": 1}
    assert perfect_that_are_best(judged([0, 1, 2], list(by_name.values()))) == (0.0, 1)
    planted = [score for score in by_name.values() if score is not None]  # CREAM: keys zipped with what was not skipped
    assert perfect_that_are_best(judged([0, 1, 2], [*planted, None])) == (1.0, 1)  # b's 5 has become a's
    for measured in (perfect_that_are_best, lambda ranking: correlation(ranking, stats.spearmanr)):
        with pytest.raises(ValueError, match="zip"):
            measured(judged([0, 1, 2], planted))  # a list that is too short is an error, not a shift


def test_an_accuracy_is_broken_down_by_kind_and_has_an_interval():
    found = measure(judged([0, 1], [5, 1], "list"), judged([0, 1], [1, 5], "list"), judged([0, 1], [5, 1], "sort"))
    assert {kind: estimate.value for kind, estimate in found.by_kind.items()} == {"list": 0.5, "sort": 1.0}
    assert found.pairwise_accuracy.low <= found.pairwise_accuracy.value <= found.pairwise_accuracy.high


def test_a_model_without_a_single_score_has_no_accuracy_rather_than_a_bad_one():
    found = measure(judged([0, 1], [None, None]), judged([0, 1, 2], [None] * 3), unparsed=1.0)
    assert found.pairwise_accuracy is None and found.pairwise_accuracy_strict is None
    assert found.by_kind == {} and found.five_best is None and found.unparsed == 1.0
    assert found.exact_match.value == 0.0 and found.length_baseline is not None


def test_no_ranking_at_all_gives_nothing():
    found = measure()
    assert (found.rankings, found.pairs) == (0, 0)
    assert found.pairwise_accuracy is None and found.exact_match is None and found.length_baseline is None


def test_the_length_baseline_ranks_longer_texts_first():
    found = measure(judged([0, 1, 2], [None, None, None], lengths=[9, 9, 30]))
    assert found.length_baseline.value == pytest.approx(0.5 / 3)  # one tie in three pairs


# published data


def test_text_length_alone_ranks_published_human_rankings_as_often_as_is_known(reference):
    sets = [row["responses"] for row in reference("oasst_ranked_trees")]
    rankings = [
        judged([answer["rank"] for answer in answers], [len(answer["text"]) for answer in answers],
               lengths=[len(answer["text"]) for answer in answers])
        for answers in sets
    ]  # fmt: skip
    figures = {
        figure["id"].rpartition(".")[2]: figure["computed"]
        for figure in reference("published_figures")
        if figure["id"].startswith("rm.oasst_ranked_trees.length")
    }
    found = measure(*rankings)
    assert (found.rankings, found.pairs) == (211, 751) == (figures["groups"], figures["pairs"])
    assert found.length_baseline.value == pytest.approx(0.696, abs=5e-4)
    assert found.pairwise_accuracy.value == pytest.approx(figures["pair_acc_half"], abs=1e-12)
    assert found.pairwise_accuracy_strict.value == pytest.approx(figures["pair_acc_strict"], abs=1e-12)
    assert found.exact_match.value == pytest.approx(figures["exact"], abs=1e-12)
    assert found.spearman.value == pytest.approx(figures["spearman"], abs=1e-12)
    assert found.kendall.value == pytest.approx(figures["kendall"], abs=1e-12)


def test_published_scores_correlate_through_us_as_scipy_says(reference):
    rows = reference("unieval_scores")
    human, predicted = ([row[side]["consistency"] for row in rows] for side in ("human", "predicted"))
    ranking = judged([-value for value in human], predicted)  # a rank is better the lower it is
    assert len(rows) == 235
    assert correlation(ranking, stats.spearmanr) == pytest.approx(stats.spearmanr(human, predicted).statistic, abs=1e-12)
    assert correlation(ranking, stats.kendalltau) == pytest.approx(stats.kendalltau(human, predicted).statistic, abs=1e-12)
