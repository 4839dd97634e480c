"""Selection: traits counted by hand, S and R and their ratio, and score against length."""

import random
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from evidence import answer, evidence, made, recipe, values
from selfreward.errors import SelfRewardError
from selfreward.measure.monitors import candidates
from selfreward.measure.monitors.traits import figures, heritability, length_correlation
from selfreward.measure.monitors.verdicts import read_monitors
from selfreward.stats import TRAITS

# what is counted of one text


@pytest.mark.parametrize(
    ("trait", "text", "count"),
    [
        ("length", "", 0),
        ("length", "Two words, or (so) — no: five!", 6),
        ("length", "我喜欢茶", 4),
        ("sentences", "", 0),
        ("sentences", "amber 3", 1),
        ("sentences", 'One. Two? "Three!" And 3.5 is in the fourth.', 4),
        ("sentences", "A title\n\nA line\n...\n", 2),
        ("sentences", "我喜欢茶。你呢？", 2),
        ("list_items", "Two of them:\n- one\n  2. two\nand - none\n-none\n1999. none", 2),
        ("list_items", "* a\n• b\n3) c", 3),
        ("hedging", "Perhaps it seems so, I  think; it's unlikely. Mightily.", 4),
        ("exclamation", "Great! Really great!! 好！", 4),
        ("self_reference", "I like my tea as an AI does. i.e. mine, Germany's", 4),
        ("refusal", "I'm sorry, but I can't help with that.", 1),
        ("refusal", "I cannot.", 1),
        ("refusal", "I am not  able to.", 1),
        ("refusal", "You cannot. I can. I am sorry for your loss.", 0),
        ("distinct_2", "a b a b", 2 / 3),  # a b, b a, a b
        ("distinct_2", "a b c d", 1.0),
        ("distinct_2", "So SO so", 0.5),
        ("distinct_2", "one", None),
    ],
)
def test_a_trait_by_hand(trait, text, count):
    assert TRAITS[trait](text) == count


RUNS = (
    " ", "\n", "\t-", ".", "!", "'", '."', "1", "- ", "i ", "I am ", "it ", "not ", "a", "\u00a0", "\x00", "i'm sorry", "我",
    "\ud800",
)  # fmt: skip


@pytest.mark.parametrize("trait", TRAITS)
@pytest.mark.parametrize("run", RUNS)
def test_degenerate_text_is_counted_in_linear_time(trait, run):
    text = ("i" + run * 30_000 + "x")[:30_000]
    start = time.process_time()
    TRAITS[trait](text)
    assert time.process_time() - start < 1  # some milliseconds; what goes back over the run takes many seconds


# selection and response


def test_selection_response_and_their_ratio_by_hand():
    pairs = made([("a b c", 5), ("a", 1)], [("a b c d", 4), ("a b", 3), ("a b c", 3.5)], [("no pair", 2), ("at all here", 2)])
    now = [answer("p0", "a b c"), answer("p1", "a"), answer("p2", "unanswered before"), answer("p3", "x", finish="error")]
    before = [
        answer("p3", "a b", "m1"),
        answer("p1", "a", "m1"),
        answer("p0", "a b", "m1"),
        answer("p2", "", "m1", finish="error"),
    ]
    found = values(figures(evidence(made=pairs, answers=now), evidence(answers=before)))
    assert found["S/length"] == 2.0  # 3 - 1 and 4 - 2
    assert found["R/length"] == 0.5  # 3 - 2 and 1 - 1; p2 and p3 were answered by one of them alone
    assert found["R_over_S/length"] == 0.25
    assert found["S/distinct_2"] == 0.0  # of the second pair: "a" has no two words
    assert found["S/hedging"] == found["R/hedging"] == 0.0
    assert found["R_over_S/hedging"] is None  # 0 of 0


def test_answers_matched_by_position_would_be_caught():
    now, before = [answer("p0", "a b c"), answer("p1", "a")], [answer("p1", "a", "m1"), answer("p0", "a b", "m1")]
    found = figures(evidence(answers=now), evidence(answers=before))["R/length"]
    assert (found.low, found.value, found.high) == (0.0, 0.5, 1.0)
    by_position = [len(one.text.split()) - len(other.text.split()) for one, other in zip(now, before, strict=True)]
    assert sorted(by_position) == [-1, 2]  # the same mean, and an interval from -1 to 2


def test_the_interval_of_s_is_the_bootstrap_over_pairs():
    found = figures(evidence(made=made([("a b", 2), ("a", 1)], [("a", 2), ("a b", 1)])), None)["S/length"]
    assert (found.low, found.value, found.high) == (-1.0, 0.0, 1.0)


def corpus(rng, judge, prompts=120):
    """Candidates of random words, with an exclamation mark now and then, scored by `judge`."""

    def write():
        words = " ".join(rng.choices(["amber", "birch", "cedar", "maybe", "I"], k=rng.randint(2, 9)))
        return words + rng.choice(["", "!"])

    return made(*([(text, judge(text)) for text in [write() for _ in range(4)]] for _ in range(prompts)))


def bred(found):
    """Traits whose S is clear of 0, with its sign."""
    of_s = {name.removeprefix("S/"): figure for name, figure in found.items() if name.startswith("S/") and figure}
    return {name: figure.value > 0 for name, figure in of_s.items() if not figure.low <= 0 <= figure.high}


def test_a_judge_that_pays_for_exclamation_breeds_it_and_no_other_trait():
    rng = random.Random(0)
    found = figures(evidence(made=corpus(rng, lambda text: text.count("!") + rng.random())), None)
    assert bred(found) == {"exclamation": True}
    assert found["S/exclamation"].value > 0.8
    assert found["score_length"].low <= 0 <= found["score_length"].high


def test_a_judge_that_pays_for_brevity_breeds_short_answers():
    found = figures(evidence(made=corpus(random.Random(1), lambda text: -len(text.split()))), None)
    assert bred(found)["length"] is False
    assert found["score_length"].value == pytest.approx(-1)


def test_a_judge_of_noise_breeds_a_trait_no_more_often_than_an_interval_errs():
    rng, wrong, read = random.Random(0), 0, 0
    for _ in range(20):
        found = figures(evidence(made=corpus(rng, lambda text: rng.random(), prompts=40)), None)
        wrong += len(bred(found))
        read += sum(name.startswith("S/") and figure.low < figure.high for name, figure in found.items())
    assert read >= 100
    assert wrong <= read * 0.05 + 3 * (read * 0.05 * 0.95) ** 0.5


def test_a_trait_that_was_bred_and_shows_has_a_heritability_and_one_that_was_not_has_none():
    rng = random.Random(0)
    pairs = corpus(rng, lambda text: text.count("!") + rng.random())
    now = [answer(f"p{n}", "so" + "!" * (n % 2)) for n in range(40)]
    before = [answer(f"p{n}", "so", "m1") for n in range(40)]
    found = figures(evidence(made=pairs, answers=now), evidence(answers=before))
    assert found["R_over_S/exclamation"].value == pytest.approx(0.5 / found["S/exclamation"].value)
    assert found["R/length"].value == 0.0 and found["S/length"].low <= 0 <= found["S/length"].high
    assert found["R_over_S/length"] is None


def test_the_ratios_interval_by_hand():
    # S: 0 and 2, mean 1, variance of the mean 1 / 2; R: 1 and 1; 1.96 · √(0 + 1² · 1/2) / 1 = 1.386
    found = heritability([0, 2], [1, 1])
    assert (found.low, found.value, found.high) == pytest.approx((1 - 1.3859, 1, 1 + 1.3859), abs=1e-4)
    # R: 0 and 2 as well; 1.96 · √(1/2 + 1/2)
    assert heritability([0, 2], [0, 2]).high == pytest.approx(1 + 1.95996, abs=1e-5)
    # S of 2 and 2, R of 0 and 2: 1.96 · √(1/2) / 2
    assert heritability([2, 2], [0, 2]).high == pytest.approx(0.5 + 0.6930, abs=1e-4)


def test_the_ratios_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    found = [heritability(rng.normal(2, 3, 100), rng.normal(0.8, 2, 60)) for _ in range(1000)]
    covered = sum(one.low <= 0.4 <= one.high for one in found) / 1000
    assert abs(covered - 0.95) < 3 * (0.95 * 0.05 / 1000) ** 0.5


def test_m1_was_made_by_no_iteration_and_has_none_of_it():
    found = figures(evidence(answers=[answer("p0", "a b")]), None)
    assert set(found) == {"score_length"} | {f"{kind}/{trait}" for kind in ("S", "R", "R_over_S") for trait in TRAITS}
    assert set(found.values()) == {None}


class Once(list):
    """A file of records that may be gone over once."""

    gone = 0

    def __iter__(self):
        self.gone += 1
        assert self.gone == 1
        return super().__iter__()


def test_responses_and_judgments_are_gone_over_once_for_all_monitors():
    iteration = made([("a b", 2), ("a", 1)])
    once = iteration._replace(responses=Once(iteration.responses), judgments=Once(iteration.judgments))
    now = evidence(made=once, measured=SimpleNamespace(reward_modeling=None, loop=None, head_to_head=[]))
    readings = {reading.monitor: reading.value for reading in read_monitors(now, None, now.recipe.drift)}
    assert readings["traits.S/length"] == 1.0 and readings["health.mean"] == 1.5 and readings["lexicon.selected"] == 1.0
    assert once.responses.gone == once.judgments.gone == 1


# traits of the user's own


def with_traits(**traits):
    return evidence(recipe=recipe(traits=traits), made=made([("A canary, a CANARY", 3), ("no bird", 1)]))


@pytest.fixture
def mine(monkeypatch):
    """A module of the user's."""

    def fails(text):
        raise KeyError("no such bird")

    functions = {
        "birds": lambda text: text.count("canary"), "fails": fails, "says": lambda text: "many", "nothing": lambda text: None,
        "endless": lambda text: float("inf"),
    }  # fmt: skip
    monkeypatch.setitem(sys.modules, "mine", SimpleNamespace(**functions))


def test_matches_of_the_users_regular_expression_are_counted_ignoring_case():
    found = values(figures(with_traits(canary="canary", length="[aeiou]"), None))
    assert found["S/canary"] == 2.0
    assert found["S/length"] == 6 - 2  # their own goes before ours of the same name


def test_the_users_function_is_asked(mine):
    assert figures(with_traits(birds="mine:birds"), None)["S/birds"].value == 1.0


@pytest.mark.parametrize(
    ("function", "what"),
    [
        ("fails", r"raised KeyError \('no such bird'\) at test_traits\.py:\d+ for 'A canary, a CANARY'"),
        ("says", "gave 'many' for 'A canary, a CANARY'"),
        ("nothing", "gave None for"),
        ("endless", "gave inf for 'A canary, a CANARY'"),
    ],
)
def test_a_function_that_gives_no_number_is_named_with_the_text(function, what, mine):
    with pytest.raises(SelfRewardError, match=rf"^drift\.traits\.song: {what}"):
        figures(with_traits(song=f"mine:{function}"), None)


def test_a_function_that_is_not_there_is_named(mine):
    with pytest.raises(SelfRewardError, match="mine:bees"):
        figures(with_traits(song="mine:bees"), None)


# score and length

GROUPS = st.lists(st.tuples(st.sampled_from([0, 1, 2.5, 4, 5]), st.integers(0, 5)), min_size=1, max_size=6)


def test_score_and_length_go_together_within_a_prompt_by_hand():
    groups = [[("a", 1), ("a b", 2), ("a b c", 3)], [("a b c", 1), ("a b", 2), ("a", 5)], [("a", 1), ("b", 2), ("a b", 3)]]
    # rho = 1 and -1; words 1 1 2 have the ranks 1.5 1.5 3, scores 1 2 3: rho = 1.5 / √(1.5 · 2) = 0.866
    assert figures(evidence(made=made(*groups)), None)["score_length"].value == pytest.approx((1 - 1 + 0.8660254) / 3)


def test_prompts_differ_in_length_and_score_and_still_nothing_goes_together_within_them():
    short, long = (
        [("a", 1), ("b c", 1), ("c", 2), ("d e", 2)],
        [("a b c d", 4), ("a b c d e", 4), ("b c d e", 5), ("f g h i j", 5)],
    )
    assert figures(evidence(made=made(short, long)), None)["score_length"].value == pytest.approx(0, abs=1e-12)
    pooled = [(score, len(text.split())) for text, score in short + long]
    assert length_correlation(pooled) == pytest.approx(0.8)  # over all prompts they do


def test_a_prompt_whose_scores_or_lengths_are_all_ties_and_an_unscored_candidate_take_no_part():
    ties = [[("a", 3), ("a b", 3)], [("a", 1), ("b", 2)], [("a", 4), ("a b", None)]]
    assert figures(evidence(made=made(*ties)), None)["score_length"] is None
    assert figures(evidence(made=made(*ties, [("a", 1), ("a b", 2)])), None)["score_length"].value == pytest.approx(1)


def test_of_very_many_pairs_and_prompts_every_nth_is_read(monkeypatch):
    groups = [[("a" + n * " b", 2), ("a", 1), ("a b c d e f g h i", 1.5 if n % 3 else 3)] for n in range(1, 8)]
    asked = [f"q{n}" for n in range(7)]
    whole = values(figures(evidence(made=made(*groups, prompts=asked)), None))
    monkeypatch.setattr(candidates, "AT_MOST", 3)
    some = values(figures(evidence(made=made(*groups, prompts=asked)), None))
    chosen = [8 if n % 3 == 0 else n for n in range(1, 8)]  # words more than the rejected one
    assert whole["S/length"] == pytest.approx(sum(chosen) / 7)
    assert some["S/length"] == pytest.approx((chosen[0] + chosen[3] + chosen[6]) / 3)
    rhos = [length_correlation([(score, len(text.split())) for text, score in group]) for group in groups]
    assert whole["score_length"] == pytest.approx(sum(rhos) / 7)
    assert some["score_length"] == pytest.approx((rhos[0] + rhos[3] + rhos[6]) / 3)


@given(GROUPS)
def test_a_correlation_is_scipys(group):
    scores, lengths = zip(*group, strict=True)
    if len(set(scores)) < 2 or len(set(lengths)) < 2:
        assert length_correlation(group) is None
    else:
        assert length_correlation(group) == pytest.approx(stats.spearmanr(scores, lengths).statistic)
