"""Flukes: probabilities worked by hand, and predicted flips against judges who really judge again."""

from collections import Counter
from fractions import Fraction
from functools import cache
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import norm

from evidence import answer, evidence
from selfreward.measure.monitors.flukes import figures
from selfreward.records import Iteration, Judgment, Prompt
from selfreward.stats import Bin, mean_scores, pair_outcomes, rejudging, reliability, spread_within
from selfreward.stats.rejudging import Fitted, likelihood, mean_laws, order_probabilities, scale, sums_again
from selfreward.steps import best_against_worst, choose_pairs

# by hand


def test_how_likely_grades_are_of_a_family():
    # Of a Dirichlet(1, 1): 0, then 1, then 1 again is 1/2 · 1/3 · 2/4. Of a Dirichlet(2, 4): 2/6 · 4/7 · 5/8.
    more = (np.array([[1, 2]]) > np.arange(2)[:, None, None]).astype(float)
    assert likelihood(more, np.array([[1.0, 1.0], [2.0, 4.0]]))[0] == pytest.approx([1 / 12, 5 / 42])


def test_kinds_of_different_numbers_of_judgments_have_likelihoods_of_their_own():
    more = (np.array([[1, 2], [0, 1], [2, 0]]) > np.arange(2)[:, None, None]).astype(float)
    found = likelihood(more, np.array([[1.0, 3.0]]))[:, 0]
    assert found == pytest.approx([1 / 4 * 3 / 5 * 4 / 6, 3 / 4, 1 / 4 * 2 / 5])


def test_a_law_is_the_mean_of_what_was_drawn_from_it():
    # Grade 1 twice from a Dirichlet(1, 1): the second time it was drawn again with probability 1/2, and else it repeated itself.
    more = (np.array([[1, 2]]) > np.arange(2)[:, None, None]).astype(float)
    families = np.array([[1.0, 1.0], [10.0, 10.0], [100.0, 100.0]])
    found = mean_laws(more, families, np.array([[1.0, 0.0, 0.0]]))
    assert found.tolist() == [pytest.approx([1.3 / 3.1, 1.8 / 3.1])]


def test_fresh_grades_of_a_response_that_was_graded_before():
    # Two judgments of grade 1 make a Dirichlet(1, 1) a Dirichlet(1, 3): 1/4 · 2/5, 2 · 1/4 · 3/5, 3/4 · 4/5.
    fitted = Fitted(np.array([[1.0, 1.0]]), np.ones((1, 1, 1)), np.ones((1, 1)))
    assert sums_again(np.array([0.0, 2.0]), fitted, 0)[0] == pytest.approx([0.1, 0.3, 0.6])


def rising(start, times):
    found = Fraction(1)
    for step in range(times):
        found *= start + step
    return found


def test_fresh_grades_are_those_of_an_enumeration():
    families, posterior = [[1, 2, 3, 1], [4, 1, 1, 2]], [[Fraction(1, 3), Fraction(2, 3)], [Fraction(1), Fraction(0)]]
    given = [1, 0, 2, 0]
    expected = [[Fraction(0)] * 10 for _ in posterior]
    for grades in product(range(4), repeat=3):
        for shares, sums in zip(posterior, expected, strict=True):
            for family, share in zip(families, shares, strict=True):
                known = [a + n for a, n in zip(family, given, strict=True)]
                counts = Counter(grades)
                chance = np.prod([rising(known[grade], counts[grade]) for grade in range(4)]) / rising(sum(known), 3)
                sums[sum(grades)] += share * chance
    told = np.array(posterior, dtype=float)[:, None, :]
    fitted = Fitted(np.array(families, dtype=float), told, np.ones((1, 2)))
    assert sums_again(np.array(given, dtype=float), fitted, 0) == pytest.approx(np.array(expected, dtype=float))


def test_two_means_are_compared_outcome_by_outcome():
    chosen, rejected = np.array([[0.1, 0.3, 0.6]]), np.array([[0.6, 0.3, 0.1]])
    # above: 0.3 · 0.6 + 0.6 · 0.9; level: 0.06 + 0.09 + 0.06; below: 0.1 · 0.4 + 0.3 · 0.1
    assert order_probabilities(chosen, rejected, 2, 2)[:, 0] == pytest.approx([0.72, 0.21, 0.07])


def test_means_of_one_judgment_and_of_two_are_compared_as_means():
    once, twice = np.array([[1 / 4, 3 / 4]]), np.array([[1 / 2, 1 / 4, 1 / 4]])  # means 0, 1 and 0, 1/2, 1
    assert order_probabilities(once, twice, 1, 2)[:, 0] == pytest.approx([9 / 16, 5 / 16, 2 / 16])


@pytest.mark.parametrize(
    ("scores", "found"),
    [
        ({0, 3, 5}, (0, 1, True)),
        ({1, 4.5, 5}, (1, 0.5, True)),
        ({10, 30, 100}, (10, 10, True)),
        ({0, 1, 100}, (0, 10, False)),
        ({0.02, 2.97, 5.02}, (0.02, 0.5, False)),
        ({3}, (3, 1, True)),
    ],
)
def test_the_step_from_one_grade_to_the_next(scores, found):
    low, step, exact = scale(set(map(float, scores)))
    assert (low, pytest.approx(step), exact) == found


def test_reliability_is_counted_bin_by_bin():
    found = reliability([0.0, 0.05, 0.1, 0.3, 1.0, 0.25], [0, 1, 1, 0, 1, 0.5], [0, 0.1, 0.2, 0.3, 1.0])
    assert found == [
        Bin(0, 0.1, 2, pytest.approx(0.025), 0.5),
        Bin(0.1, 0.2, 1, 0.1, 1.0),
        Bin(0.2, 0.3, 1, 0.25, 0.5),
        Bin(0.3, 1.0, 2, pytest.approx(0.65), 0.5),
    ]


# judges who judge again


def levels(rng, prompts):
    """What four candidates to each prompt are worth: prompts differ, and candidates differ within them."""
    return np.clip(rng.normal(3.2, 1.1, (prompts, 1)) + rng.normal(0, 0.9, (prompts, 4)), 0, 5)


def careless(rng, prompts):
    """The worse the answer, the less sure the judge."""
    worth = levels(rng, prompts)
    error = 0.2 + 0.2 * (5 - worth)
    return lambda times: np.clip(np.rint(worth[..., None] + error[..., None] * rng.standard_normal((*worth.shape, times))), 0, 5)


def moody(rng, prompts):
    """Mostly right, sometimes far off: errors by Student's t with two degrees of freedom."""
    worth = levels(rng, prompts)
    return lambda times: np.clip(np.rint(worth[..., None] + 0.4 * rng.standard_t(2, (*worth.shape, times))), 0, 5)


def steady(rng, prompts):
    """Always says the same, but for one answer in twelve, of which it has two opinions, sometimes two points apart."""
    worth = np.rint(levels(rng, prompts))
    other = np.clip(worth + rng.choice([-2, -1, 1, 2], worth.shape), 0, 5)
    doubt = np.where(rng.random(worth.shape) < 1 / 12, rng.beta(1, 2.5, worth.shape), 0)
    return lambda times: np.where(rng.random((*worth.shape, times)) < doubt[..., None], other[..., None], worth[..., None])


def drunk(rng, prompts):
    """Four times in ten it says anything at all."""
    worth = np.rint(levels(rng, prompts))[..., None]

    def grade(times):
        shape = (*worth.shape[:2], times)
        return np.where(rng.random(shape) < 0.4, rng.integers(0, 6, shape), worth)

    return grade


def iteration(scores):
    """Prompts, responses, judgments and pairs of `scores`, [prompts, candidates, samples]; not a number is a failed judgment."""
    prompts = [Prompt(text=f"prompt {n}", source="self") for n in range(len(scores))]
    responses = [[answer(prompt.id, f"{n}", index=n) for n in range(scores.shape[1])] for prompt in prompts]
    judgments = [
        Judgment.model_construct(response_id=one.id, score=None if score != score else float(score))
        for group, given in zip(responses, scores, strict=True)
        for one, samples in zip(group, given, strict=True)
        for score in samples
    ]
    flat = [one for group in responses for one in group]
    pairs, _ = choose_pairs(prompts, flat, mean_scores(judgments, 2), best_against_worst)
    return Iteration(0, prompts, flat, judgments, pairs)


@cache
def rejudged(judge, prompts=3000, again=20):
    """Of the pairs chosen by three judgments: the iteration, and the shares of `again` times that the pair flips, and ties."""
    rng = np.random.default_rng(11)
    grade = judge(rng, prompts)
    made = iteration(grade(3))
    at = {response.id: (n // 4, n % 4) for n, response in enumerate(made.responses)}
    chosen, rejected = (np.array([at[getattr(pair, side)] for pair in made.pairs]).T for side in ("chosen_id", "rejected_id"))
    flipped, tied = np.zeros(len(made.pairs)), np.zeros(len(made.pairs))
    for _ in range(again):
        sums = grade(3).sum(2)
        apart = sums[tuple(chosen)] - sums[tuple(rejected)]
        flipped += (apart < 0) / again
        tied += (apart == 0) / again
    return made, flipped, tied


def outcomes(made):
    found = pair_outcomes(made.pairs, made.responses, made.judgments, 2)
    return [found[pair.id] for pair in made.pairs]


EDGES = [0, 0.1, 0.2, 0.3, 0.4, 1]


def beyond(predicted, observed, fewest=300):
    """Bins of so many pairs in which prediction and observation are more than 3 points apart, beyond three standard errors."""
    errors = np.asarray(predicted) - observed
    found = []
    for low, high, n, told, seen in reliability(predicted, observed, EDGES):
        inside = (np.asarray(predicted) >= low) & (np.asarray(predicted) < high)
        if n >= fewest and abs(told - seen) > 0.03 + 3 * errors[inside].std() / np.sqrt(n):
            found.append((low, n, round(told, 3), round(seen, 3)))
    return found


JUDGES = [careless, moody, steady, drunk]
"""None of them makes its errors as the model of `flukes` has them."""


@pytest.mark.parametrize("judge", JUDGES)
def test_predicted_flips_are_those_that_happen(judge):
    made, flipped, tied = rejudged(judge)
    told = outcomes(made)
    assert np.sum(told, 1) == pytest.approx(1)
    assert beyond([outcome.flipped for outcome in told], flipped) == []
    assert beyond([outcome.tie for outcome in told], tied) == []


def test_there_are_bins_to_go_wrong_in():
    made, flipped, _ = rejudged(drunk)
    bins = reliability([outcome.flipped for outcome in outcomes(made)], flipped, EDGES)
    assert [one.low for one in bins if one.n >= 300] == [0.1, 0.2, 0.3]


def taken_at_their_word(made):
    """What anybody would do first: each response is worth its mean, and the noise is the pooled one, normal."""
    scores = {}
    for judgment in made.judgments:
        scores.setdefault(judgment.response_id, []).append(judgment.score)
    noise = np.sqrt(np.mean([np.var(given, ddof=1) for given in scores.values()]) * 2 / 3)
    return [norm.cdf((pair.rejected_score - pair.chosen_score) / noise) for pair in made.pairs]


@pytest.mark.parametrize("judge", [moody, drunk])
def test_means_taken_at_their_word_promise_too_much(judge):
    made, flipped, _ = rejudged(judge)
    assert beyond(taken_at_their_word(made), flipped)


def test_one_class_of_prompts_for_all_would_be_caught(monkeypatch):
    made, flipped, _ = rejudged(drunk)
    monkeypatch.setattr(rejudging, "CLASSES", 1)
    assert beyond([outcome.flipped for outcome in outcomes(made)], flipped)


# what it goes by


def first_outcome(*groups):
    """The outcome of the first prompt's pair; each group is one prompt's, a tuple of scores for each candidate."""
    made = iteration(np.array(groups, dtype=float))
    return outcomes(made)[0]


QUIET = [((5, 5, 5), (3, 3, 3)), ((4, 4, 4), (2, 2, 2)), ((3, 3, 3), (1, 1, 1))] * 20
NOISY = [((5, 3, 4), (3, 2, 4)), ((4, 2, 3), (2, 4, 1)), ((3, 1, 5), (1, 3, 2))] * 20


def test_agreement_among_three_says_little_of_a_judge_who_is_noisy_elsewhere():
    pair = ((4, 4, 4), (3, 3, 3))
    calm, restless = first_outcome(pair, *QUIET), first_outcome(pair, *NOISY)
    assert calm.flipped < restless.flipped / 5 and restless.same < calm.same


def test_a_wider_gap_flips_less():
    narrow, wide = (first_outcome(((4, 4, 4), low), *NOISY) for low in ((3, 4, 3), (1, 0, 1)))
    assert wide.flipped < narrow.flipped / 2


def test_pairs_of_a_judge_that_throws_dice_flip_as_often_as_not():
    rng = np.random.default_rng(5)
    told = outcomes(iteration(rng.integers(0, 6, (400, 4, 3)).astype(float)))
    assert abs(np.mean([outcome.flipped - outcome.same for outcome in told])) < 0.1


def test_the_same_scores_a_point_higher_flip_as_often():
    lower, higher = (first_outcome(*(np.array(NOISY) + shift)) for shift in (-1, 0))
    assert lower == pytest.approx(higher)


def test_the_order_of_records_is_nothing():
    made = iteration(np.random.default_rng(6).integers(0, 6, (40, 3, 3)).astype(float))
    turned = pair_outcomes(made.pairs, made.responses[::-1], iter(made.judgments[::-1]), 1)
    assert outcomes(made) == [pytest.approx(turned[pair.id]) for pair in made.pairs]


def test_one_judgment_each_tells_no_noise():
    made = iteration(np.array([[[5], [3]], [[4], [1]]], dtype=float))
    assert len(made.pairs) == 2 and pair_outcomes(made.pairs, made.responses, made.judgments, 1) == {}


def test_a_failed_judgment_is_not_judged_again():
    holes = np.array([*NOISY, ((4, 5, np.nan), (3, np.nan, 4))], dtype=float)
    made = iteration(holes)
    without = [judgment for judgment in made.judgments if judgment.score is not None]
    assert outcomes(made) == [pytest.approx(one) for one in outcomes(made._replace(judgments=without))]


def test_a_response_without_a_mean_score_takes_no_part():
    groups = np.array([*NOISY, ((4, np.nan, np.nan), (3, 3, 4))], dtype=float)
    made = iteration(groups)
    pairs = [pair for pair in made.pairs if pair.prompt_id != made.prompts[-1].id]
    found = pair_outcomes(pairs, made.responses, made.judgments, 2)
    lone = [response for response in made.responses if response.id != made.responses[-2].id]
    assert found == {name: pytest.approx(one) for name, one in pair_outcomes(pairs, lone, made.judgments, 2).items()}
    assert found != pair_outcomes(pairs, made.responses, made.judgments, 1)


def test_expected_scores_are_rounded_and_what_is_level_then_is_the_same_again():
    sharp = [((4.98, 4.98, 4.98), (3.01, 3.01, 3.01)), ((2.02, 2.02, 2.02), (0.03, 0.03, 0.03))] * 20
    near = first_outcome(((3.04, 3.04, 3.04), (3.01, 3.01, 3.01)), *sharp)
    assert near.tie == 0 and near.flipped < 0.05
    restless = first_outcome(((3.04, 3.04, 3.04), (3.01, 3.01, 3.01)), *(np.array(NOISY) + 0.01))
    assert restless.tie == 0 and restless.flipped > 0.2


# the monitor


def watched(scores):
    return figures(evidence(made=iteration(np.array(scores, dtype=float)), measured=SimpleNamespace()), None)


def test_the_figures_are_means_over_pairs():
    made = iteration(np.array(NOISY, dtype=float))
    told = outcomes(made)
    found = figures(evidence(made=made), None)
    assert found["rate"].value == pytest.approx(sum(outcome.flipped for outcome in told) / len(told))
    assert found["tie_rate"].value == pytest.approx(sum(outcome.tie for outcome in told) / len(told))
    assert found["rate"].low < found["rate"].value < found["rate"].high


def test_the_rate_rises_with_noise_and_not_with_the_level():
    quiet, noisy, higher = watched(QUIET), watched(NOISY), watched(np.array(NOISY) + 1)
    assert quiet["rate"].high < 0.02 < 0.1 < noisy["rate"].low
    assert higher["rate"].value == pytest.approx(noisy["rate"].value)
    assert higher["noise"].value == pytest.approx(noisy["noise"].value)


def test_noise_by_hand():
    # 2, 2, 3 lie 2/3 of a square about their mean and 5, 5, 5 none: 2/3 over 4 degrees of freedom. One judgment has no degree.
    found = watched([[(2, 2, 3), (5, 5, 5)], [(1, np.nan, np.nan), (4, np.nan, np.nan)]])
    assert found["noise"].value == pytest.approx((2 / 3 / 4) ** 0.5)


def test_noise_within_groups_is_resampled_by_unit():
    found = spread_within([("a", [0, 2]), ("a", [1]), ("b", [3, 3])], 200, 0)
    assert (found.value, found.low, found.high) == (1.0, 0.0, pytest.approx(2**0.5))
    assert spread_within([("a", [1.0])], 200, 0) is None and spread_within([], 200, 0) is None


def test_nothing_is_read_of_m1_nor_where_no_response_has_two_scores():
    nothing = {"rate": None, "tie_rate": None, "noise": None}
    assert figures(evidence(), None) == nothing
    assert watched([[(2,), (5,)], [(1,), (4,)]]) == nothing
