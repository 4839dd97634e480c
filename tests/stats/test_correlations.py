"""Rank correlations in whole numbers, by hand and against scipy."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from selfreward.stats import kendall, spearman


def test_by_hand():
    assert kendall([0, 1, 2], [0, 1, 2]) == spearman([0, 1, 2], [5, 6, 9]) == 1.0
    assert kendall([0, 1], [1, 0]) == spearman([0, 1], [1, 0]) == -1.0
    # 0 1 2 against 1 0 2: one pair of three the other way round; ranks 1 and 2 are off by one each
    assert kendall([0, 1, 2], [1, 0, 2]) == 1 / 3
    assert spearman([0, 1, 2], [1, 0, 2]) == 0.5
    # 0 0 1 against 0 1 2: two pairs in order, one tied on one side; ranks 1.5 1.5 3 against 1 2 3
    assert kendall([0, 0, 1], [0, 1, 2]) == 2 / (2 * 3) ** 0.5
    assert spearman([0, 0, 1], [0, 1, 2]) == 1.5 / (1.5 * 2) ** 0.5


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(-3, 300)), min_size=2, max_size=40))
def test_they_are_scipys(pairs):
    one, other = zip(*pairs, strict=True)
    assume(len({*one}) > 1 and len({*other}) > 1)
    assert kendall(one, other) == pytest.approx(stats.kendalltau(one, other).statistic, abs=1e-14)
    assert spearman(one, other) == pytest.approx(stats.spearmanr(one, other).statistic, abs=1e-14)
