"""Single words: counted by hand, named where they are planted, and quiet where they are not."""

import random

import pytest

from evidence import answer, evidence, made, values
from selfreward.measure.monitors.lexicon import figures
from selfreward.stats import furthest


def test_a_word_by_hand():
    # cat: ahead in three pairs, behind in one: (3 - 1) / √4 = 1. dog: behind in two of two: -2 / √2.
    pairs = [("a cat", "a dog"), ("the cat", "the"), ("cat", ""), ("", "Cat dog")]
    word, z = furthest(pairs)
    assert word == "dog" and z.value == pytest.approx(-(2**0.5))
    assert (z.low, z.high) == pytest.approx((z.value - 1.96, z.value + 1.96))
    assert furthest([*pairs, ("cat", ""), ("cat", "")])[1].value == pytest.approx(4 / 6**0.5)


def test_a_word_in_both_or_said_twice_counts_once_or_not_at_all():
    assert furthest([("cat cat", "")])[1].value == 1
    assert furthest([("cat", "cat")]) == ("", None)
    assert furthest([]) == ("", None)


WORDS = [f"word{chr(97 + n)}" for n in range(26)]


def texts(rng, favoured=""):
    """(score, text) of two candidates: words at random, the favoured one better whatever else it says."""
    said = [" ".join(rng.sample(WORDS, 4)) for _ in range(2)]
    scores = [float(favoured in text.split()) for text in said] if favoured else [0.0, 0.0]
    first, second = scores if scores[0] != scores[1] else (1.0, 0.0)
    return [(said[0], first), (said[1], second)]


def test_a_word_that_the_judge_favours_is_told_and_without_one_nothing_stands_out_that_far():
    quiet = []
    for seed in range(30):
        rng = random.Random(seed)
        quiet.append(abs(values(figures(evidence(made=made(*(texts(rng) for _ in range(100)))), None))["selected"]))
    rng = random.Random(99)
    favoured = evidence(made=made(*(texts(rng, "wordg") for _ in range(100))))
    assert values(figures(favoured, None))["selected"] > max(quiet)


def test_what_the_answers_gained_is_told_against_the_model_before_and_of_m1_nothing():
    before = evidence(name="M1", answers=[answer(f"p{n}", "dog", "m1") for n in range(9)])
    now = evidence(answers=[answer(f"p{n}", "dog cat") for n in range(9)])
    assert values(figures(now, before)) == {"selected": None, "shown": pytest.approx(3)}
    assert values(figures(before, None)) == {"selected": None, "shown": None}
