"""Score health: figures worked by hand, and what must and must not move them."""

from types import SimpleNamespace

import pytest

from evidence import answer, evidence, judged, recipe, values
from selfreward.measure.monitors.health import figures
from selfreward.records import HeadToHead, Iteration, Prompt
from selfreward.stats import mean_scores
from selfreward.steps import best_against_worst, choose_pairs

FAILED = None
CANDIDATES = ("ties", "yield", "gap", "spread")


def iteration(*groups):
    """Each group the candidates of one prompt, each of them its judgments' scores."""
    prompts = [Prompt(text=f"prompt {n}", source="self") for n in range(len(groups))]
    responses, judgments = [], []
    for prompt, group in zip(prompts, groups, strict=True):
        for index, scores in enumerate(group):
            responses.append(answer(prompt.id, f"{index}", "m1", index))
            judgments += judged(responses[-1], *scores, judge="m1")
    pairs, _ = choose_pairs(prompts, responses, mean_scores(judgments, 2), best_against_worst)
    return Iteration(0, prompts, responses, judgments, pairs)


def read(*groups, compared=(), **known):
    measured = SimpleNamespace(head_to_head=list(compared))
    return figures(evidence(made=iteration(*groups) if groups else None, measured=measured, **known), None)


GROUPS = [
    [(5, 5, 5), (3, 3, 3), (4, 4, 4)],
    [(5, 5, 4), (2, 2, FAILED)],
    [(1, 1, 1), (1, 1, 1)],
    [(3, FAILED, FAILED), (0, 0, 0)],
]


def test_every_figure_by_hand():
    found = values(read(*GROUPS))
    means = [5, 3, 4, 14 / 3, 2, 1, 1, 0]  # the last prompt's first candidate has one score of three, and no mean
    assert found["mean"] == pytest.approx(sum(means) / 8)
    assert found["top"] == 5 / (9 + 5 + 6 + 4)
    assert found["unscored"] == 3 / (9 + 6 + 6 + 6)
    assert found["ties"] == 1 / 3  # of the three prompts with two means
    assert found["yield"] == 2 / 4
    assert found["gap"] == pytest.approx((2 + 8 / 3) / 2)
    # 5, 3, 4 lie 2 squares about 4 on two degrees; 14/3 and 2 lie 2 · (4/3)² on one; 1 and 1 none on one
    assert found["spread"] == pytest.approx(((2 + 32 / 9) / 4) ** 0.5)
    assert found["position_flips"] is None


def test_intervals_resample_prompts():
    alike = read(*[[(5, 5, 5), (3, 3, 3)]] * 10)
    assert all((alike[name].low, alike[name].high) == (alike[name].value,) * 2 for name in ("mean", "top", "gap", "spread"))
    apart = read(*[[(5, 5, 5), (5, 5, 5)]] * 5, *[[(3, 3, 3), (3, 3, 3)]] * 5)
    assert apart["mean"].low < 4 - 0.4 and apart["mean"].high > 4 + 0.4 and apart["spread"].value == 0


SOUND = [[(5, 5, 5), (3, 3, 3)], [(4, 4, 4), (2, 2, 3)], [(3, 3, 3), (1, 1, 1)]] * 10
MOVES = {
    "a judge that gives a point more": (lambda score: min(score + 1, 5), {"mean", "top", "spread", "gap"}),
    "a judge that always gives 4": (lambda score: 4, {"mean", "top", "ties", "yield", "gap", "spread"}),
    "a judge that nobody can read": (lambda score: FAILED, {"mean", "top", "unscored", "ties", "yield", "gap", "spread"}),
}


@pytest.mark.parametrize("what", MOVES)
def test_what_moves_and_what_does_not(what):
    change, moved = MOVES[what]
    sound = values(read(*SOUND))
    planted = values(read(*([tuple(change(score) for score in scores) for scores in group] for group in SOUND)))
    assert {name for name in sound if sound[name] != pytest.approx(planted[name])} == moved


def test_one_judgment_more_that_failed_moves_nothing_but_the_share_of_failures():
    sound, planted = values(read(*SOUND)), values(read(*([(*scores, FAILED) for scores in group] for group in SOUND)))
    assert (sound.pop("unscored"), planted.pop("unscored")) == (0, 1 / 4)
    assert sound == pytest.approx(planted)


def test_expected_scores_are_at_the_top_within_half_a_point():
    assert read([(4.98, 4.51), (4.5, 4.49)])["top"].value == 2 / 4
    assert read([(4.98, 4.51), (4.5, 4.49)], recipe=with_scale(0, 10))["top"].value == 0


def with_scale(low, high):
    known = recipe()
    return known.model_copy(update={"judge": known.judge.model_copy(update={"scale": (low, high)})})


def test_of_m1_its_own_answers_are_read_and_not_its_rivals():
    own, rivals = [answer(f"p{n}", "own", "m1") for n in range(3)], [answer(f"p{n}", "other", "m0") for n in range(3)]
    scores = [(5, 5, 4), (3, FAILED, 3), (1, FAILED, FAILED)]
    said = [judgment for one, given in zip(own, scores, strict=True) for judgment in judged(one, *given)]
    said += [judgment for one in rivals for judgment in judged(one, 0, 0, FAILED)]
    found = values(read(answers=own, judgments=said, name="M1"))
    assert found.pop("mean") == pytest.approx((14 / 3 + 3) / 2)
    assert (found.pop("top"), found.pop("unscored")) == (2 / 6, 3 / 9)
    assert found == dict.fromkeys((*CANDIDATES, "position_flips"))


def test_of_a_model_that_judges_nothing_nothing_is_read():
    assert set(values(read(answers=[answer("p", "own")])).values()) == {None}


def compared(against, judge, flips, wins=0, ties=0, losses=0, unscored=0):
    counts = {"wins": wins, "ties": ties, "losses": losses, "unscored": unscored}
    return HeadToHead(against=against, judge=judge, net=None, position_flips=flips, **counts)


def test_position_flips_are_those_of_all_comparisons_in_both_orders():
    rivals = [
        compared("M1", "truth", None, wins=50),
        compared("M1", "outside", 2 / 6, wins=3, ties=2, losses=1, unscored=4),
        compared("SFT", "outside", 0.0, wins=2, losses=2),
    ]
    found = read(*SOUND, compared=rivals)["position_flips"]
    assert found.value == 2 / 10 and 0 <= found.low < found.value < found.high < 0.6
    steady = [one.model_copy(update={"position_flips": one.position_flips and 0.0}) for one in rivals]
    assert read(*SOUND, compared=steady)["position_flips"].value == 0
    assert read(*SOUND, compared=rivals[:1])["position_flips"] is None
