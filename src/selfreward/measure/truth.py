"""The truth about answers, from outside the loop: a function of the user's, or what programs check in them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import isfinite

from selfreward.errors import SelfRewardError, amount, raised
from selfreward.recipe import CHECKS, Recipe, function_at
from selfreward.records import Check, Estimate, Followed, Prompt, Response, Verdict, holds, share
from selfreward.stats import intervals

Truth = Callable[[str, str], tuple[str, dict[str, float]] | None]
"""(prompt, response) → (kind of task, points by criterion); None for a prompt that has no truth."""


NEARLY = 1e-9
"""Points beyond the range that are the rounding of a sum: 5 / 13 added thirteen times is a little over 5."""


def load_truth(recipe: Recipe) -> Truth:
    """The function that `measure.truth` names. Raises `SelfRewardError` where there is none; what it gives is looked over."""
    path = recipe.measure.truth
    if path is None or path == CHECKS:
        return lambda prompt, response: None
    function = function_at(path, "measure.truth", "prompt", "response")
    low, high = true_range(recipe)
    where, now = f"measure.truth ({path})", "Make it return (kind of task, {criterion: points}), or None where there is no truth"

    def truth(prompt: str, response: str) -> tuple[str, dict[str, float]] | None:
        try:
            answer = function(prompt, response)
        except Exception as error:  # the user's code may raise anything
            raise SelfRewardError(f"raised {raised(error)} for the prompt {prompt[:80]!r}", where, now) from error
        if answer is None:
            return None
        try:
            kind, points = answer
            texts = any(isinstance(point, str | bytes) for point in points.values())
            answered = kind, {str(criterion): float(point) for criterion, point in points.items()}
        except (TypeError, ValueError, AttributeError) as error:
            raise SelfRewardError(f"gave {answer!r:.80} for the prompt {prompt[:80]!r}", where, now) from error
        if not isinstance(kind, str) or not points or texts or not all(map(isfinite, answered[1].values())):
            raise SelfRewardError(f"gave {answer!r:.80} for the prompt {prompt[:80]!r}", where, now)
        score = sum(answered[1].values())
        if not low - NEARLY <= score <= high + NEARLY:
            what = f"gave {score:g} points in all for the prompt {prompt[:80]!r}, where a true score is from {low:g} to {high:g}"
            raise SelfRewardError(what, where, "Scale its points, or set judge.scale to the range of both")
        return answered

    return truth


def true_range(recipe: Recipe) -> tuple[float, float]:
    """The least and the highest true score: 0 and 5, or the ends of the judge's scale where it goes further."""
    low, high = recipe.judge.scale
    return min(0.0, low), max(5.0, high)


def by_checks(
    responses: Iterable[Response], checked: Mapping[str, Sequence[Check]], scale: tuple[float, float]
) -> list[Verdict]:  # fmt: skip
    """The share of its checks that each response passes, on the judge's `scale`; none where one could not be made."""
    low, high = scale
    shares = ((response.id, share(checked.get(response.id, ()))) for response in responses)
    return [
        Verdict(
            response_id=name, kind=amount(len(checked[name]), "instruction"), points={"followed": low + passed * (high - low)}
        )
        for name, passed in shares
        if passed is not None
    ]


def followed(
    prompts: Iterable[Prompt], answers: Sequence[Response], checked: Mapping[str, Sequence[Check]], resamples: int, seed: int
) -> Followed | None:
    """Summary of the checks of each of the `answers`, by response id; None where nothing is checked."""
    made = [checked[answer.id] for answer in answers if answer.id in checked]
    if not made:
        return None
    carrying = {prompt.id for prompt in prompts if prompt.checks}
    failed = sum(answer.prompt_id in carrying and answer.id not in checked for answer in answers)
    whole = [held for checks in made if (held := holds(checks, "strict")) is not None]
    every = [[check for check in checks if check.strict is not None] for checks in made]
    kinds: dict[str, list[Sequence[Check]]] = defaultdict(list)
    for checks in every:
        for name in {check.instruction for check in checks}:
            kinds[name].append([check for check in checks if check.instruction == name])
    by_kind = {name: _passed(kinds[name], resamples, seed) for name in sorted(kinds)}
    return Followed(
        prompts=intervals.mean(whole, resamples, seed),
        instructions=_passed(every, resamples, seed),
        by_kind={name: estimate for name, estimate in by_kind.items() if estimate},
        outcomes=dict(sorted((Counter(check.label for checks in made for check in checks) + Counter(no_answer=failed)).items())),
    )


def _passed(answers: Sequence[Sequence[Check]], resamples: int, seed: int) -> Estimate | None:
    return intervals.ratio([sum(bool(c.strict) for c in checks) for checks in answers], [*map(len, answers)], resamples, seed)
