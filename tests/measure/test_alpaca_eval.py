"""AlpacaEval 2's figures: by hand, against another optimiser, and against the leaderboard."""

import json
import math
import os
import sys
from math import log
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from selfreward.errors import SelfRewardError
from selfreward.measure import DIFFICULTY, GAMED, length_controlled, read_board, weighted_preference, win_rate
from selfreward.measure.evaluations.length_control import STRENGTHS, Board

# win rates


def test_win_rates_by_hand():
    found = win_rate([2, 1, 1.5, None])
    assert (found.wins, found.losses, found.draws, found.missing, found.total) == (1, 1, 1, 1, 3)
    assert found.win_rate == found.discrete_win_rate == 50
    assert found.standard_error == pytest.approx(100 * 0.5 / math.sqrt(3))  # shares 1, 0 and 1/2: variance 1/4 by n - 1


def test_a_preference_counts_by_how_sure_it_is_and_in_the_discrete_rate_by_its_side():
    found = win_rate([1.9, 1.1, 1.6])
    assert found.win_rate == pytest.approx(100 * 1.6 / 3)
    assert found.discrete_win_rate == pytest.approx(100 * 2 / 3)


def test_zero_is_how_older_files_write_a_draw():
    assert win_rate([0, 2]) == win_rate([1.5, 2])


def test_what_is_missing_is_no_loss():
    assert win_rate([2, None, None]).win_rate == 100
    assert win_rate([None]) is None and win_rate([]) is None


def test_one_preference_has_no_standard_error():
    assert math.isnan(win_rate([2]).standard_error)


# preferences from log-probabilities

TOKENS = {"m": log(0.6), "M": log(0.2), "Both": log(0.1)}


def test_a_preference_is_the_probability_of_the_models_label_among_the_two():
    assert weighted_preference(TOKENS, "m") == pytest.approx(1.75)  # 0.6 of 0.8; the third token has no part in it
    assert weighted_preference(TOKENS, "M") == pytest.approx(1.25)


def test_a_label_that_is_not_among_the_likeliest_has_no_probability_and_two_that_are_not_leave_no_preference():
    assert weighted_preference({"M": -0.1, "The": -3.0}, "m") == 1
    assert weighted_preference({"M": -0.1}, "M") == 2
    assert weighted_preference({"The": -0.1}, "m") is None and weighted_preference({}, "M") is None


def test_labels_too_unlikely_to_tell_apart_leave_no_preference():
    assert weighted_preference({"m": -1e4, "M": -1e4}, "m") is None


@given(st.dictionaries(st.sampled_from(["m", "M", " m", "a"]), st.floats(-50, 0)))
def test_what_one_side_gains_the_other_loses(tokens):
    one, other = weighted_preference(tokens, "m"), weighted_preference(tokens, "M")
    assert (one is None) == (other is None) == ("m" not in tokens and "M" not in tokens)
    assert one is None or one + other == pytest.approx(3)


@pytest.mark.parametrize("model", ["claude-2", "alpaca-7b", "text_davinci_001"])
def test_every_preference_on_the_leaderboard_follows_from_its_log_probabilities(reference, model):
    rows = [row for row in reference(f"ae2_ann_{model}") if row["m_denotes"]]
    differ = []
    for row in rows:
        tokens = {label: row[f"logprob_{label}"] for label in ("m", "M") if row[f"logprob_{label}"] is not None}
        ours = weighted_preference(tokens, "m" if row["m_denotes"] == "model" else "M")
        differ += [row["index"]] if abs(ours - row["preference"]) > 1e-9 else []
    assert len(rows) >= 800 and differ == []


# length control


def small_board(n, seed=0):
    """A board of `n` instructions with one gamed baseline."""
    rng = np.random.default_rng(seed)
    gamed = np.column_stack([np.tanh(rng.normal(size=n)), rng.normal(size=n), np.zeros(n)])
    return Board(rng.normal(size=n), gamed, rng.uniform(size=n))


def model_on(n, seed=1):
    """(preferences, lengths, lengths of the baseline) of a model that lacks two preferences."""
    rng = np.random.default_rng(seed)
    preferences = [*(1 + rng.uniform(size=n - 2)).tolist(), None, None]
    return preferences, rng.integers(100, 900, n).tolist(), rng.integers(100, 900, n).tolist()


def by_another_optimiser(preferences, lengths, baseline, board, strength):
    """Weights and length-controlled win rate, from the objective as it is written down."""
    delta = np.subtract(baseline, lengths)
    own = np.column_stack([np.tanh(delta / np.std(delta, ddof=1)), board.difficulty[: len(delta)], np.ones(len(delta))])
    known = np.array([p is not None for p in preferences])
    x = np.vstack([board.gamed, own[known]])
    y = np.concatenate([board.preferred, [p - 1 for p in preferences if p is not None]])
    weights = np.concatenate([np.full(len(board.gamed), 0.1), np.ones(known.sum())])

    def objective(halves):  # plus and minus parts of β, so that |β| has a derivative
        z = x @ (halves[:3] - halves[3:])
        return halves.sum() + strength * (weights * (np.logaddexp(0, z) - y * z)).sum()

    found = minimize(objective, np.full(6, 0.1), bounds=[(0, None)] * 6, options={"ftol": 1e-14, "gtol": 1e-9, "maxiter": 2000})
    beta = found.x[:3] - found.x[3:]
    return beta, 100 * np.mean(1 / (1 + np.exp(-(own[:, 1:] @ beta[1:]))))


@pytest.mark.parametrize("strength", [0.05, 1.0, 100.0])
def test_the_fit_is_the_minimum_of_the_objective(strength):
    board, given = small_board(60), model_on(60)
    found = length_controlled(*given, board, strength)
    beta, rate = by_another_optimiser(*given, board, strength)
    assert (found.length, found.difficulty, found.theta) == pytest.approx(beta, abs=2e-3)
    assert found.win_rate == pytest.approx(rate, abs=0.05) and found.strength == strength


def test_a_model_that_is_nothing_but_long_wins_half_when_length_is_controlled():
    n = 200
    board = small_board(n)._replace(difficulty=np.zeros(n))
    lengths, baseline = [900, 100] * (n // 2), [500] * n
    preferences = [1.9, 1.1] * (n // 2)
    found = length_controlled(preferences, lengths, baseline, board, 100.0)
    assert found.win_rate == pytest.approx(50, abs=0.5) and found.length < -1
    shifted = length_controlled([1.9, 1.5] * (n // 2), lengths, baseline, board, 100.0)
    assert shifted.win_rate > 65  # here it is better as well


def test_answers_as_long_as_the_baselines_leave_nothing_to_control():
    found = length_controlled([1.5] * 40, [300] * 40, [300] * 40, small_board(40), 1e-4)
    assert (found.win_rate, found.theta, found.standard_error) == (50, 0, 0)


def test_the_penalty_that_is_chosen_is_one_of_ten_and_the_same_each_time():
    board, given = small_board(60), model_on(60)
    found = length_controlled(*given, board)
    assert found.strength in STRENGTHS and len(STRENGTHS) == 10 and (STRENGTHS[0], STRENGTHS[-1]) == (1e-4, 1e4)
    assert found == length_controlled(*given, board) == length_controlled(*given, board, found.strength)


def test_more_answers_than_the_board_has_instructions_are_refused_and_so_are_answers_nobody_judged():
    with pytest.raises(SelfRewardError, match="knows 40 instructions, and there are 41"):
        length_controlled([1.5] * 41, [1] * 41, [1] * 41, small_board(40))
    with pytest.raises(SelfRewardError, match="needs preferences"):
        length_controlled([None] * 40, [1] * 40, [1] * 40, small_board(40))


def test_without_scikit_learn_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(SelfRewardError, match=r"selfreward-lm\[eval\]"):
        length_controlled(*model_on(20), small_board(20), 1.0)


def test_a_board_that_does_not_fit_is_an_error_with_file_and_line(tmp_path):
    (tmp_path / DIFFICULTY).write_text('{"index": 0, "instruction_difficulty": 0.5}\n')
    good = {"preference": 0.5, "std_delta_len": 1.0, "instruction_difficulty": 0.5}
    (tmp_path / GAMED).write_text("\n".join(json.dumps(row) for row in (good, {**good, "preference": 1.5})))
    with pytest.raises(SelfRewardError, match=rf"{GAMED}:2: preference: "):
        read_board(tmp_path)


@pytest.fixture
def leaderboard(reference):
    """The published models by name, the board, and the baseline's lengths."""
    models = {row["model"]: row for row in reference("ae2_compact_models")}
    baseline = [len(row["output_gpt4_1106_preview"]) for row in reference("ae2_instructions")]
    return models, read_board(Path(os.environ["SELFREWARD_REFERENCE_DATA"])), baseline


def controlled(model, board, baseline, strength=None):
    rows = model["row_to_index"] or range(len(baseline))
    return length_controlled(model["preference"], model["len_output"], [baseline[n] for n in rows], board, strength)


def test_published_win_rates_are_reproduced(leaderboard):
    for model in leaderboard[0].values():
        found, published = win_rate(model["preference"]), model["published"]
        assert found.win_rate == pytest.approx(published["win_rate"], abs=1e-6)
        assert found.standard_error == pytest.approx(published["standard_error"], abs=1e-6)
        counts = (found.wins, found.losses, found.draws, found.total)
        assert counts == tuple(published[name] for name in ("n_wins", "n_wins_base", "n_draws", "n_total"))


def test_published_length_controlled_win_rates_are_reproduced_with_their_penalty(leaderboard):
    models, board, baseline = leaderboard
    errors = 0
    for model in models.values():
        found, published = controlled(model, board, baseline, model["refit"]["best_C"]), model["published"]
        assert found.win_rate == pytest.approx(published["length_controlled_winrate"], abs=1e-6), model["model"]
        if published["lc_standard_error"] is not None:
            errors += 1
            assert found.standard_error == pytest.approx(published["lc_standard_error"], abs=1e-6)
    assert (len(models), errors) == (26, 5)


def test_difficulties_by_instruction_instead_of_by_row_would_be_caught(leaderboard):
    models, board, baseline = leaderboard
    model = models["text_davinci_001"]  # lacks two instructions
    planted = board._replace(difficulty=board.difficulty[model["row_to_index"]])
    published = model["published"]["length_controlled_winrate"]
    assert abs(controlled(model, planted, baseline, model["refit"]["best_C"]).win_rate - published) > 0.02
    assert abs(controlled(model, board, baseline, model["refit"]["best_C"]).win_rate - published) < 1e-6


@pytest.mark.parametrize("name", ["claude-2", "gpt4_gamed", "NullModel", "text_davinci_001"])
def test_published_length_controlled_win_rates_are_reproduced_with_a_penalty_of_our_own_choice(leaderboard, name):
    models, board, baseline = leaderboard
    found = controlled(models[name], board, baseline)
    assert found.win_rate == pytest.approx(models[name]["published"]["length_controlled_winrate"], abs=0.15)
