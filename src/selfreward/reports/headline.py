"""The headline of a run, in words computed from its figures and their intervals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from selfreward.records import Estimate, HeadToHead, Measured, Reading, Severity, worst
from selfreward.reports.charts import BEFORE_THE_LOOP, two_decimals

MANY_UNSCORED = 0.1
"""Share of judgments without a score from which the page says that a model's own score rests on part of its answers."""

ALARM: dict[Severity, str] = {"ok": "", "warn": ", and a monitor warns", "stop": ", and a monitor says stop"}


class Headline(NamedTuple):
    """A headline and the sentences below it."""

    title: str
    sentences: list[str]


def write_headline(models: Sequence[Measured], top: float, readings: Sequence[Reading] = ()) -> Headline:
    """The headline of the models measured so far; `top` is the highest possible score, `readings` are of these models."""
    loop = [model for model in models if model.name not in BEFORE_THE_LOOP]
    if not loop:
        return Headline("M1 is yet to be measured", [f"Measured so far: {', '.join(m.name for m in models) or 'nothing'}."])
    first, last = loop[0], loop[-1]
    sentences = [*_answers(first, last, top), *_steps(loop), *_opinion(first, last), *_judging(first, last)]
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
    before, after = _true(first), _true(last)
    if not before or not after:
        compared = _outside(last)
        return _verdict(last, compared[-1]) if compared else f"What {last.name} says of itself; no truth known"
    if first is last:
        return f"{last.name} answers at {two_decimals(after.value)}; no iteration is measured yet"
    kind = change(before, after)
    if kind == "unclear":
        return f"No clear difference between {first.name} and {last.name}"
    return f"{last.name} answers {kind} than {first.name}"


def _outside(model: Measured) -> list[HeadToHead]:
    """Head-to-heads by a judge outside the loop; the SFT baseline, where it is a rival, comes last."""
    return [contest for contest in model.head_to_head if contest.judge not in ("truth", model.name)]


def _verdict(model: Measured, contest: HeadToHead) -> str:
    net, between = contest.net, f"{model.name} and {contest.against}, says {contest.judge}"
    if not net or net.low <= 0 <= net.high:
        return f"No clear difference between {between}"
    return f"{model.name} answers {'better' if net.low > 0 else 'worse'} than {contest.against}, says {contest.judge}"


def _answers(first: Measured, last: Measured, top: float) -> Iterator[str]:
    before, after = _true(first), _true(last)
    if not before or not after:
        alone = "nothing outside the models says what their answers are worth, so what follows is opinion"
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


def _steps(loop: Sequence[Measured]) -> Iterator[str]:
    for judge in dict.fromkeys(["truth", *(contest.judge for contest in _outside(loop[-1]))]):
        pairs = [(after, contest_of(after, before.name, judge)) for before, after in pairwise(loop)]
        matches = [_match(model, contest) for model, contest in pairs if contest]
        if (baseline := contest_of(loop[-1], "SFT", judge)) and len(loop) > 1:
            matches.append(_match(loop[-1], baseline))
        if matches:
            yield f"Head to head by {'the truth' if judge == 'truth' else judge}, {'; '.join(matches)}."


def _match(model: Measured, contest: HeadToHead) -> str:
    scored = contest.wins + contest.ties + contest.losses
    if not scored or not contest.net:
        return f"{model.name} and {contest.against} cannot be compared"
    unclear = " (no clear difference)" if contest.net.low <= 0 <= contest.net.high else ""
    shares = f"wins {100 * contest.wins / scored:.1f}% and loses {100 * contest.losses / scored:.1f}%"
    return f"{model.name} {shares} against {contest.against}{unclear}"


def _opinion(first: Measured, last: Measured) -> Iterator[str]:
    own, before = last.self_score, first.self_score
    if not own:
        if last.judgments:
            yield f"{last.name} gives its own answers no valid score."
        return
    earlier = f"; {first.name} said {two_decimals(before.value)}{_gap(first)}" if before and first is not last else ""
    yield f"{last.name} says {two_decimals(own.value)} of itself{_gap(last)}{earlier}."
    lost = 1 - last.judgments.get("scored", 0) / (sum(last.judgments.values()) or 1)
    if lost >= MANY_UNSCORED:
        yield f"That opinion rests on part of its judgments: {lost:.0%} of them gave no valid score."


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
    sentence = f"As a judge, {last.name} puts {after.value:.1%} of the held-out pairs in the order people gave"
    if before and first is not last:
        words = {"better": "a clear gain", "worse": "a clear loss"}.get(change(before, after), "no clear change")
        sentence += f", {first.name} {before.value:.1%}: {words}"
    length = last.reward_modeling.length_baseline
    yield sentence + (f". Text length alone would get {length.value:.1%}." if length else ".")


def _interval(estimate: Estimate) -> str:
    return f"{two_decimals(estimate.low)}–{two_decimals(estimate.high)}"
