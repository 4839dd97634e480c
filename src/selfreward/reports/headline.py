"""The headline of a run, in words computed from its figures and their intervals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from selfreward.errors import amount
from selfreward.records import Estimate, HeadToHead, Measured, Reading, RewardModeling, Severity, worst

MANY_UNSCORED = 0.1
"""Share of judgments without a score from which the page says that a model's own score rests on part of its answers."""

NO_JUDGE = 0.5
"""The share of judgments without a score from which a model is said to be no judge."""
COIN = 0.5
"""The share of verdicts that change with the order where a coin decides, so that a judge with as many follows the order."""
CHANCE = 0.05
"""The probability of a row of wins, or of losses, by a fair coin up to which it shows a difference."""
ALARM: dict[Severity, str] = {
    "ok": "", "warn": ", and a monitor warns", "back": ", and a model was left behind", "stop": ", and a monitor says stop",
}  # fmt: skip
BEFORE_THE_LOOP = ("M0", "SFT")
"""Models that the line through the loop's models leaves out."""


class Headline(NamedTuple):
    """A headline and the sentences below it."""

    title: str
    sentences: list[str]


def write_headline(models: Sequence[Measured], top: float, readings: Sequence[Reading] = ()) -> Headline:
    """The headline of the models measured so far; `top` is the highest possible score, `readings` are of these models."""
    loop = [model for model in models if model.name not in BEFORE_THE_LOOP]
    if not loop:
        so_far = f"Measured so far: {', '.join(m.name for m in models) or 'nothing'}."
        return Headline("Not known yet: M1 is yet to be measured", [so_far])
    first, last = loop[0], loop[-1]
    outside = [*_no_judges(last), *_by_order(last), *_steps(loop, _judges(loop))]
    true = [*_answers(first, last, top), *_steps(loop, ["truth"])]
    sentences = [*outside, *true, *_opinion(first, last), *_judging(first, last)]
    return Headline(_headline(first, last) + ALARM[worst(readings)], [sentence.replace("%", "\u00a0%") for sentence in sentences])


def change(before: Estimate, after: Estimate) -> str:
    """`better`, `worse`, or `unclear` where the intervals overlap."""
    if after.low > before.high:
        return "better"
    return "worse" if after.high < before.low else "unclear"


def contest_of(model: Measured, against: str, judge: str) -> HeadToHead | None:
    """The head-to-head of `model` and another by `judge`, where that was measured."""
    return next((contest for contest in model.head_to_head if (contest.against, contest.judge) == (against, judge)), None)


def _true(model: Measured) -> Estimate | None:
    return model.instruction_following.score if model.instruction_following else None


def _headline(first: Measured, last: Measured) -> str:
    """The answer to "is it better?": yes, no, or not known and the reason. The truth is asked before a judge from outside."""
    before, after = _true(first), _true(last)
    if not before or not after:
        return _verdict(last)
    if first is last:
        return f"Not known yet: {last.name} answers at {two_decimals(after.value)}; no iteration is measured"
    titles = {"better": "Yes: {} answers better than {}", "worse": "No: {} answers worse than {}"}
    unclear = "Not known: no clear difference between {1} and {0}"
    return titles.get(change(before, after), unclear).format(last.name, first.name)


def _outside(model: Measured) -> list[HeadToHead]:
    """Head-to-heads by a judge outside the loop; the SFT baseline, where it is a rival, comes last."""
    return [contest for contest in model.head_to_head if contest.judge not in ("truth", model.name)]


def _judges(loop: Sequence[Measured]) -> list[str]:
    """Judges outside the loop that can follow their rubric."""
    return list(dict.fromkeys(compared.judge for compared in _outside(loop[-1]) if can_judge(compared)))


def can_judge(compared: HeadToHead) -> bool:
    """True if a judge decided at least half of its judgments: a judge that decides less cannot follow its rubric."""
    return decided(compared) >= compared.unscored


def decided(compared: HeadToHead) -> int:
    """Prompts on which there is a verdict, a tie included."""
    return compared.wins + compared.ties + compared.losses


def no_judge(compared: HeadToHead) -> str:
    """The sentence on a judge that cannot follow its rubric."""
    prompts = amount(decided(compared) + compared.unscored, "prompt")
    return f"{compared.judge} is no judge of this: it gave a readable verdict on {decided(compared):,} of {prompts}"


def _no_judges(model: Measured) -> Iterator[str]:
    for compared in {compared.judge: compared for compared in _outside(model) if not can_judge(compared)}.values():
        yield f"{no_judge(compared)}."


def _by_order(model: Measured) -> Iterator[str]:
    """A sentence on each judge outside the loop whose verdicts follow the order of the answers as much as a coin would."""
    for judge, flips in {compared.judge: compared.position_flips for compared in _outside(model) if can_judge(compared)}.items():
        if flips is not None and flips >= COIN:
            yield (
                f"{judge} changed {flips:.0%} of its verdicts on {model.name} with the order of the answers, "
                "where a coin changes half: such a tie says nothing of the answers."
            )


def is_clear(compared: HeadToHead) -> bool:
    """True if more wins than losses, or fewer, are more than chance: the interval leaves out 0.

    Where all prompts went one way the bootstrap knows no other, and its interval has no width; a sign test decides then.
    """
    if not compared.net or compared.net.low <= 0 <= compared.net.high:
        return False
    return compared.net.low < compared.net.high or 2 * 0.5 ** decided(compared) <= CHANCE


def _verdict(model: Measured) -> str:
    compared = _outside(model)
    if not compared:
        return "Not known: only the models themselves have judged the answers"
    last, net = compared[-1], compared[-1].net
    if not can_judge(last):
        return f"Not known: {no_judge(last)}"
    if not net or not is_clear(last):
        return f"Not known: no clear difference between {model.name} and {last.against}, says {last.judge}"
    title = "Yes: {} answers better than {}, says {}" if net.low > 0 else "No: {} answers worse than {}, says {}"
    return title.format(model.name, last.against, last.judge)


def _answers(first: Measured, last: Measured, top: float) -> Iterator[str]:
    before, after = _true(first), _true(last)
    if not before or not after:
        alone = "nothing outside the models measures their answers, so the rest is opinion"
        yield f"No truth known: {'a judge outside the loop compares the answers' if _outside(last) else alone}."
    elif first is last:
        yield f"By the truth, {last.name} answers at {two_decimals(after.value)} of {top:g} ({_interval(after)})."
    elif (kind := change(before, after)) == "unclear":
        yield (
            f"By the truth, {last.name} is not shown to answer better or worse than {first.name}: {two_decimals(before.value)} → "
            f"{two_decimals(after.value)} of {top:g}, and the 95% intervals overlap ({_interval(before)} and {_interval(after)})."
        )
    else:
        yield (
            f"By the truth, {last.name} answers {kind} than {first.name}: {two_decimals(before.value)} → "
            f"{two_decimals(after.value)} of {top:g} (95% intervals {_interval(before)} and {_interval(after)})."
        )


def _steps(loop: Sequence[Measured], judges: Sequence[str]) -> Iterator[str]:
    for judge in judges:
        pairs = [(after, contest_of(after, before.name, judge)) for before, after in pairwise(loop)]
        matches = [_match(model, contest) for model, contest in pairs if contest]
        if (baseline := contest_of(loop[-1], "SFT", judge)) and len(loop) > 1:
            matches.append(_match(loop[-1], baseline))
        if matches:
            yield f"Head to head by {'the truth' if judge == 'truth' else judge}, {'; '.join(matches)}."


def _match(model: Measured, compared: HeadToHead) -> str:
    scored = decided(compared)
    if not scored or not compared.net:
        return f"{model.name} and {compared.against} cannot be compared"
    unclear = "" if is_clear(compared) else " (no clear difference)"
    wins, losses = 100 * compared.wins / scored, 100 * compared.losses / scored
    shares = f"wins {wins:.1f}% and loses {losses:.1f}% of {of(scored, compared.unscored)}"
    return f"{model.name} {shares} against {compared.against}{unclear}"


def of(known: int, unknown: int) -> str:
    """The base of a share: `250 prompts`, or `250 of 256 prompts` where nothing is known of some."""
    return f"{known:,} of {amount(known + unknown, 'prompt')}" if unknown else amount(known, "prompt")


def _opinion(first: Measured, last: Measured) -> Iterator[str]:
    own, before = last.self_score, first.self_score
    if not own:
        if last.judgments:
            yield f"{last.name} gives its own answers no valid score."
        return
    earlier = f"; {first.name} said {two_decimals(before.value)}{_gap(first)}" if before and first is not last else ""
    yield f"{last.name} says {two_decimals(own.value)} of itself{_gap(last)}{earlier}."
    total = sum(last.judgments.values())
    lost = 1 - last.judgments.get("scored", 0) / (total or 1)
    if lost > NO_JUDGE:
        yield f"It is no judge: {lost:.0%} of {amount(total, 'judgment')} gave no valid score, so that its opinion says little."
    elif lost >= MANY_UNSCORED:
        yield f"That opinion rests on part of its judgments: {lost:.0%} of {total:,} gave no valid score."


def _gap(model: Measured) -> str:
    if model.true_score is None or not model.self_score:
        return ""
    gap = model.self_score.value - model.true_score
    side = "above" if gap > 0 else "below"
    return f", {two_decimals(abs(gap))} {side} the truth" if abs(gap) >= 0.005 else ", which is the truth"


def _judging(first: Measured, last: Measured) -> Iterator[str]:
    if not first.reward_modeling or not last.reward_modeling:
        yield "How well it judges was not measured."
        return
    before, after = first.reward_modeling.pairwise_accuracy, last.reward_modeling.pairwise_accuracy
    if not after:
        yield f"As a judge of ranked answers, {last.name} gives no valid score."
        return
    judging = last.reward_modeling
    if judging.unparsed > NO_JUDGE:
        lost = f"{judging.unparsed:.0%} of its judgments of {of_rankings(judging)}"
        yield f"{last.name} is no judge, for it cannot follow its rubric: {lost} have no score."
    sentence = f"As a judge, {last.name} puts {after.value:.1%} of {judging.pairs:,} held-out pairs in the order people gave"
    if before and first is not last:
        words = {"better": "a clear gain", "worse": "a clear loss"}.get(change(before, after), "no clear change")
        sentence += f", {first.name} {before.value:.1%}: {words}"
    length = last.reward_modeling.length_baseline
    yield sentence + (f". Text length alone would get {length.value:.1%}." if length else ".")


def of_rankings(judging: RewardModeling) -> str:
    """The rankings behind a measurement of judging."""
    return amount(judging.rankings, "held-out ranking")


def _interval(estimate: Estimate) -> str:
    return f"{two_decimals(estimate.low)}–{two_decimals(estimate.high)}"


def two_decimals(value: float) -> str:
    """Two decimals, with a real minus."""
    return f"{value:.2f}".replace("-", "−")
