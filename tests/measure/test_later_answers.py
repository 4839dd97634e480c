"""Later answers against earlier ones: wins and losses by hand, and a judge that comes to flatter itself."""

from types import SimpleNamespace

import pytest

from evidence import answer, evidence, judged, values
from selfreward.measure.monitors.progress import figures
from selfreward.records import Anchor, Estimate, HeadToHead

PROMPTS = [f"q{n}" for n in range(4)]


def two(live, frozen, truth=None):
    """M2 and M1 on four prompts: for each the (M2's, M1's) score by the live judge, and by the frozen one."""
    new, old = ([answer(prompt, f"{model} says", model) for prompt in PROMPTS] for model in ("m2", "m1"))
    contest = HeadToHead(against="M1", judge="truth", wins=1, ties=0, losses=0, unscored=0, net=truth)
    now = evidence(
        answers=new, measured=SimpleNamespace(head_to_head=[contest]),
        judgments=[j for a, b, (x, y) in zip(new, old, live, strict=True) for j in (*judged(a, x), *judged(b, y))],
        frozen_judgments=[j for a, (x, _) in zip(new, frozen, strict=True) for j in judged(a, x, judge="m1")],
    )  # fmt: skip
    before = evidence(
        name="M1", answers=old,
        frozen_judgments=[j for b, (_, y) in zip(old, frozen, strict=True) for j in judged(b, y, judge="m1")],
    )  # fmt: skip
    return now, before


def test_wins_less_losses_by_hand():
    live = [(5, 3), (4, 4), (2, 3), (5, None)]  # a win, a tie, a loss, one unscored: 0 of 3
    frozen = [(5, 3), (3, 4), (2, 3), (4, 3)]  # two wins and two losses
    found = values(figures(*two(live, frozen, Estimate(value=0.25, low=0, high=0.5))))
    assert found == {"own": 0, "frozen": 0, "flattered": pytest.approx((0 + 1 + 0) / 3), "anchors": None, "truth": 0.25}


def test_a_judge_that_flatters_its_own_new_answers_shows_and_real_progress_does_not():
    flattering = figures(*two([(5, 3)] * 4, [(3, 3)] * 4))
    assert (flattering["own"].value, flattering["frozen"].value, flattering["flattered"].low) == (1, 0, 1)
    real = figures(*two([(5, 3)] * 4, [(5, 3)] * 4))
    assert (real["own"].value, real["flattered"].value) == (1, 0)


def test_known_answers_count_where_one_is_right_and_the_other_wrong():
    anchors = [Anchor(prompt=f"p{n}", answers=("yes",)) for n in range(3)]
    from selfreward.records import Prompt

    ids = [Prompt(text=anchor.prompt, source="seed").id for anchor in anchors]
    side = lambda texts, model: [answer(i, text, model) for i, text in zip(ids, texts, strict=True)]  # noqa: E731
    now = evidence(anchors=anchors, anchor_answers=side(["yes", "yes", "no"], "m2"), measured=SimpleNamespace(head_to_head=[]))
    before = evidence(name="M1", anchors=anchors, anchor_answers=side(["no", "yes", "yes"], "m1"))
    assert figures(now, before)["anchors"].value == 0
    worse = before._replace(anchor_answers=side(["no", "no", "no"], "m1"))
    assert figures(now, worse)["anchors"].value == pytest.approx(2 / 3)


def test_the_first_model_has_none_before_it():
    assert set(values(figures(evidence(name="M1"), None)).values()) == {None}
