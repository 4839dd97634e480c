"""Against people, and against known answers: whether the judge still tells good answers from bad, and whom it favours."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from selfreward.measure.monitors.base import Evidence, Figures
from selfreward.recipe import DriftConfig
from selfreward.records import Anchor, Estimate, Prompt, Response
from selfreward.stats import difference_of_shares, distance_skewness, intervals
from selfreward.steps import check, ranked_responses


class Checked(NamedTuple):
    """An answer of known worth, and the judge's mean score; None where it has none."""

    right: bool
    score: float | None


Sides = tuple[Sequence[Checked], Sequence[Checked]]
"""The two kinds of answers to one ranking, or anchor, that are compared."""


def figures(now: Evidence, before: Evidence | None) -> Figures:
    """M_t's judging and answering where people or a known answer decide; intervals resample rankings, or anchors.

    - `pairwise_accuracy`, `five_best`, `exact_match`, `spearman`, `kendall`: the paper's, as in `reward_modeling`;
    - `informedness`: TPR − FPR on people's rankings, −1 to 1. A response is approved by a mean score of `drift.pass_mark` or
      more, and not without a score; positive are the responses ranked best of their set, negative all others;
    - `anchor_accuracy`: share of M_t's own answers to the anchors that are right;
    - `anchor_informedness`: TPR − FPR on M_t's and M1's answers to the anchors, where right ones are positive;
    - `self_bias`: mean over M_t's own scored answers of the score, scaled to 0 to 1, − rightness (0 or 1), and
      `self_bias_skewness`, the distance skewness of these differences around 0 (arXiv 2402.11436);
    - `self_preference`: the share of M_t's right answers that it approves − the share of M1's right ones, −1 to 1 (equal
      opportunity: arXiv 2410.21819); None for M1.

    None where there is nothing to judge, where the judge scored none of it, and where a share would have no cases.
    """
    return {**_metrics(now), "informedness": _approved_more(_ranked(now), now), **_anchored(now)}


def _metrics(now: Evidence) -> Figures:
    judging, names = now.measured.reward_modeling, ("pairwise_accuracy", "five_best", "exact_match", "spearman", "kendall")
    return {name: getattr(judging, name) if judging else None for name in names}


def _ranked(now: Evidence) -> list[Sides]:
    """For every ranking, the responses that people rank best, and the rest."""
    scores = now.scores(now.ranking_judgments)
    sides = []
    for ranking in now.rankings:
        judged = [
            Checked(rank == min(ranking.ranks), scores.get(response.id))
            for rank, response in zip(ranking.ranks, ranked_responses(ranking), strict=True)
        ]
        sides.append(_right_and_wrong(judged))
    return sides


def _right_and_wrong(answers: Sequence[Checked]) -> Sides:
    return [answer for answer in answers if answer.right], [answer for answer in answers if not answer.right]


def _anchored(now: Evidence) -> Figures:
    scores, (low, high) = now.scores(now.anchor_judgments), now.recipe.judge.scale
    own, others = (checked(answers, now, scores) for answers in (now.anchor_answers, now.anchor_others))
    biases = [(answer.score - low) / (high - low) - answer.right for answer in own.values() if answer.score is not None]
    both = [[[side[prompt_id]] if prompt_id in side else [] for side in (own, others)] for prompt_id in own | others]
    return {
        "anchor_accuracy": intervals.mean([answer.right for answer in own.values()], *now.resampling),
        "anchor_informedness": _approved_more([_right_and_wrong(mine + theirs) for mine, theirs in both], now),
        "self_bias": intervals.mean(biases, *now.resampling),
        "self_bias_skewness": distance_skewness(biases, *now.resampling),
        "self_preference": _approved_more(
            [(_right_and_wrong(mine)[0], _right_and_wrong(theirs)[0]) for mine, theirs in both], now
        ),
    }


def checked(answers: Iterable[Response], now: Evidence, scores: Mapping[str, float]) -> dict[str, Checked]:
    """The answers to `now`'s anchors that did not fail, by prompt id; one is right that any anchor with its prompt calls right.

    An answer that no anchor calls right and that could not be checked by some is left out.
    """
    by_prompt: dict[str, list[Anchor]] = defaultdict(list)
    for anchor in now.anchors:
        by_prompt[Prompt(text=anchor.prompt, context=anchor.context, source="seed").id].append(anchor)
    sheet: dict[str, Checked] = {}
    for answer in answers:
        rights = (
            [_right(anchor, answer, now.recipe.seed) for anchor in by_prompt[answer.prompt_id]] if answer.answered else [None]
        )
        if any(rights) or None not in rights:
            sheet[answer.prompt_id] = Checked(any(rights), scores.get(answer.id))
    return sheet


def _right(anchor: Anchor, answer: Response, seed: int) -> bool | None:
    """True if an answer is right by an anchor; None where a program could not check it."""
    if anchor.names(answer.text) or not anchor.checked:
        return anchor.names(answer.text)
    verdicts = [each.strict for each in check(anchor.checked, anchor.prompt, answer, seed)]
    return False if False in verdicts else None if None in verdicts else True


def _approved_more(units: Sequence[Sides], now: Evidence) -> Estimate | None:
    """Approved share of the first sides − approved share of the second sides; units are resampled whole."""
    mark = (now.recipe.drift or DriftConfig()).pass_mark
    if all(answer.score is None for sides in units for side in sides for answer in side):
        return None
    counts = [(*_approvals(first, mark), *_approvals(second, mark)) for first, second in units]
    return difference_of_shares(counts, *now.resampling)


def _approvals(answers: Sequence[Checked], mark: float) -> tuple[int, int]:
    """(approved answers, all answers); an answer without a score is not approved."""
    return sum(answer.score is not None and answer.score >= mark for answer in answers), len(answers)
