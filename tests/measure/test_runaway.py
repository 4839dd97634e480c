"""Judge drift per unit of trait drift: slopes by hand and by least squares, and a judge that runs away beside others."""

import random

import numpy as np
import pytest

from evidence import answer, evidence, judged
from selfreward.measure.monitors.runaway import figures

POOL = [answer(f"q{n}", "w " * words, "m1", index) for n in range(30) for index, words in enumerate((1 + n % 3, 3, 6, 7))]


def model(name, taste, length, seed=0, held=60):
    """A model whose judge pays `taste` points a word, and whose answers have about `length` words; the pool is the same."""
    rng = random.Random(seed)
    worth = {response.id: random.Random(response.id).gauss(0, 1) for response in POOL}
    judgments = [j for r in POOL for j in judged(r, worth[r.id] + taste * len(r.text.split()), judge=name)]
    answers = [answer(f"h{n}", "w " * max(1, round(rng.gauss(length, 0.7))), name) for n in range(held)]
    return evidence(name=name, pool=POOL, pool_judgments=judgments, answers=answers)


def test_the_preference_is_the_least_squares_slope_within_prompts():
    now = model("M2", 0.4, 5)
    scores = now.scores(now.pool_judgments)
    x = np.array([len(response.text.split()) for response in POOL], float)
    design = np.column_stack([x, *[[response.prompt_id == f"q{n}" for response in POOL] for n in range(30)]]).astype(float)
    oracle = np.linalg.lstsq(design, np.array([scores[response.id] for response in POOL]), rcond=None)[0][0]
    assert figures(now, None)["preference/length"].value == pytest.approx(oracle)


def test_the_slope_by_hand():
    """Preference from 0.1 to 0.4 while answers went from 4 words to 6: 0.15 a word."""
    fixed = lambda name, taste, words: model(name, taste, 4)._replace(  # noqa: E731
        answers=[answer(f"h{n}", "w " * (words + n % 2), name) for n in range(20)]
    )
    found = figures(fixed("M2", 0.4, 6), fixed("M1", 0.1, 4))
    assert found["slope/length"].value == pytest.approx(0.15)
    assert found["slope/refusal"] is None and found["preference/refusal"] is None


@pytest.mark.parametrize(("tastes", "lengths", "fires"), [
    ((0.1, 0.5), (4, 6), True),  # it likes length, answers grew, and it likes length more: it feeds itself
    ((0.5, 0.5), (4, 6), False),  # it likes length as before
    ((0.5, 0.1), (4, 6), False),  # it turns against it
])  # fmt: skip
def test_a_judge_that_feeds_itself_fires_and_others_do_not(tastes, lengths, fires):
    found = figures(model("M2", tastes[1], lengths[1], seed=1), model("M1", tastes[0], lengths[0]))
    assert (found["preference/length"].low > 0) is True or tastes[1] < 0.2
    assert (found["slope/length"].low > 0.05) is fires


def test_answers_that_did_not_move_give_no_slope():
    assert figures(model("M2", 0.9, 5), model("M1", 0.1, 5))["slope/length"] is None
    assert figures(model("M1", 0.9, 5), None)["slope/length"] is None
