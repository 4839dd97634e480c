"""The policy: likelihoods, displacement and diversity, with numbers worked by hand and with planted collapse."""

import random
from types import SimpleNamespace

import pytest

from evidence import answer, evidence, made, recipe, values
from selfreward.measure.monitors.policy import figures
from selfreward.records import Estimate, Likelihood

# likelihoods


def told(*found):
    """Likelihoods of r0, r1, …: (log-probability, tokens), or None where it could not be told."""
    return [
        Likelihood(response_id=f"r{n}", model="m", outcome=outcome, logprob=logprob, tokens=tokens)
        for n, one in enumerate(found)
        for outcome, logprob, tokens in (("told", *one) if one else ("untold", None, 1),)
    ]


def test_log_ratios_and_entropy_by_hand():
    own, first = told((-2.0, 2), (-4.0, 4), (-9.0, 9)), told((-5.0, 2), (-5.0, 4), None)
    found = values(figures(evidence(likelihoods={"own": own, "first": first, "before": own}), None))
    assert found["kl_first"] == 2.0  # 3 and 1; of the third M1 could not tell
    assert found["kl_before"] == 0.0
    assert found["entropy"] == 1.0  # 15 nats, 15 tokens
    assert found["untold"] == pytest.approx(1 / 9)


def test_likelihoods_are_matched_by_response_and_not_by_place():
    own, first = told((-2.0, 2), (-4.0, 4)), told((-3.0, 2), (-5.0, 4))[::-1]
    found = figures(evidence(likelihoods={"own": own, "first": first}), None)["kl_first"]
    assert (found.low, found.value, found.high) == (1.0, 1.0, 1.0)  # by place it were -1 to 3


def test_entropy_is_by_token_and_not_by_answer():
    found = figures(evidence(likelihoods={"own": told((-1.0, 1), (-18.0, 9))}), None)["entropy"]
    assert found.value == 1.9  # 19 / 10, and not (1 + 2) / 2


def test_an_engine_that_cannot_tell_leaves_nothing_but_that():
    found = values(figures(evidence(likelihoods={"own": told(None), "before": told(None)}), None))
    assert found["untold"] == 1.0
    assert found["kl_first"] is found["kl_before"] is found["entropy"] is None


def test_m1_has_nothing_to_be_set_beside():
    found = values(figures(evidence(name="M1", likelihoods={"own": told((-2.0, 2))}), None))
    assert found["entropy"] == 1.0
    assert found["kl_first"] is found["kl_before"] is found["displacement"] is found["prompts_not_novel"] is None


# displacement


def logged(chosen, rejected, beta=0.1):
    """A training's log: the change of both log-probabilities against the reference at every step, pairs apart of all levels."""
    rng = random.Random(0)
    steps = [
        {
            "step": n, "rewards/chosen": beta * up, "rewards/rejected": beta * down,
            "logps/chosen": -rng.randint(5, 500), "logps/rejected": -rng.randint(5, 500),
        }
        for n, (up, down) in enumerate(zip(chosen, rejected, strict=True), start=1)
    ]  # fmt: skip
    return [{"tokens": 9, "padding": 0.5}, *steps, {"step": len(steps), "epoch": 1.0}]


def read(chosen, rejected):
    return figures(evidence(metrics=logged(chosen, rejected)), None)


def test_changes_of_both_log_probabilities_by_hand():
    # 20 steps: two at either end; chosen from (0 + 0) / 2 to (-2 - 4) / 2, rejected from (0 - 1) / 2 to (-6 - 7) / 2
    found = read([0, 0, *[9] * 16, -2, -4], [0, -1, *[9] * 16, -6, -7])
    assert {name: found[name].value for name in ("chosen_logp", "rejected_logp", "displacement")} == {
        "chosen_logp": pytest.approx(-3), "rejected_logp": pytest.approx(-6), "displacement": pytest.approx(3)
    }  # fmt: skip
    assert (found["displacement"].low, found["displacement"].high) == pytest.approx((2, 4))


@pytest.mark.parametrize(
    ("chosen", "rejected", "displacement"),
    [
        ([0, -1, -5], [0, -3, -9], 5),  # both fell
        ([0, 1, 2], [0, -3, -9], -2),  # as it should be
        ([0, 1, 2], [0, 2, 7], -7),  # both rose
        ([0, -1, -2], [0, 1, 1], -1),  # only the chosen fell: wrong, and another matter
    ],
)
def test_displacement_is_above_zero_where_both_fell_and_nowhere_else(chosen, rejected, displacement):
    assert read(chosen, rejected)["displacement"].value == pytest.approx(displacement)


def test_dropout_that_lowers_every_step_is_no_displacement():
    assert read([-3] * 30, [-3] * 30)["displacement"].value == pytest.approx(0)


def test_pairs_of_other_lengths_at_the_end_are_no_displacement_and_log_probs_as_logged_would_be():
    metrics = logged([0] * 10, [0] * 10)
    metrics[1] |= {"logps/chosen": -10, "logps/rejected": -10}
    metrics[10] |= {"logps/chosen": -90, "logps/rejected": -95}
    assert figures(evidence(metrics=metrics), None)["displacement"].value == pytest.approx(0)
    fell = [metrics[1][f"logps/{side}"] - metrics[10][f"logps/{side}"] for side in ("chosen", "rejected")]
    assert min(fell) == 80


def test_a_reward_is_a_log_probability_times_beta():
    half = recipe().model_copy(update={"dpo": recipe().dpo.model_copy(update={"beta": 0.5})})
    found = figures(evidence(recipe=half, metrics=logged([0, -4], [0, -6], beta=0.5)), None)
    assert found["displacement"].value == pytest.approx(4)


@pytest.mark.parametrize("metrics", [[], [{"step": 3}], logged([], []), logged([-5], [-5]), logged([float("nan")] * 9, [1] * 9)])
def test_where_too_little_is_logged_there_is_no_change(metrics):
    found = values(figures(evidence(metrics=metrics), None))
    assert found["chosen_logp"] is None and found["displacement"] is None


# diversity


def answered(*texts):
    return evidence(answers=[answer(f"p{n}", text) for n, text in enumerate(texts)])


def test_distinct_answers_and_bigrams_by_hand():
    found = values(figures(answered("a b c", "a b c", "D e"), None))
    assert found["distinct_answers"] == pytest.approx(2 / 3)
    assert found["distinct_2"] == pytest.approx(3 / 5)  # a b, b c, d e of five


def test_a_collapsed_model_and_a_diverse_one():
    collapsed = values(figures(answered(*["i do not know"] * 20), None))
    assert (collapsed["distinct_answers"], collapsed["distinct_2"]) == (pytest.approx(1 / 20), pytest.approx(3 / 60))
    diverse = values(figures(answered(*(f"a{n} b{n} c{n}" for n in range(20))), None))
    assert (diverse["distinct_answers"], diverse["distinct_2"]) == (1.0, 1.0)


def test_an_interval_does_not_take_its_own_repetitions_for_the_models():
    found = figures(answered(*(f"a{n} b{n} c{n}" for n in range(20))), None)
    assert found["distinct_answers"] == Estimate(value=1, low=1, high=1, n=20)
    assert found["distinct_2"] == Estimate(value=1, low=1, high=1, n=40)  # pairs of neighbouring words, two an answer
    mixed = figures(answered(*["i do not know"] * 10, *(f"a{n} b{n}" for n in range(10))), None)["distinct_answers"]
    assert mixed.value == pytest.approx(11 / 20)
    assert mixed.low < mixed.value < mixed.high


def test_a_failure_of_the_engine_is_no_answer():
    now = evidence(answers=[answer("p0", "a b"), answer("p1", "", finish="error"), answer("p2", "", finish="error")])
    assert figures(now, None)["distinct_answers"].value == 1.0


def test_no_answer_has_two_words():
    assert figures(answered("yes", "no"), None)["distinct_2"] is None


def test_the_prompts_of_the_iteration_and_what_was_dropped_as_too_near():
    loop = SimpleNamespace(proposals=10, dropped_prompts={"not_novel": 3, "too_short": 4})
    now = evidence(made=made(prompts=["list two foods", "list two jobs"]), measured=SimpleNamespace(loop=loop))
    found = values(figures(now, None))
    assert found["prompts_distinct_2"] == pytest.approx(3 / 4)
    assert found["prompts_not_novel"] == pytest.approx(0.3)


def test_prompts_from_a_file_were_not_proposed():
    loop = SimpleNamespace(proposals=0, dropped_prompts={"repeated": 3})
    assert figures(evidence(measured=SimpleNamespace(loop=loop)), None)["prompts_not_novel"] is None
