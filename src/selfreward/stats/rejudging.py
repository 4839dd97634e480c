"""Flukes: how likely each preference pair would come out otherwise if its two responses were judged again.

Three samples of a judge often agree, so what one response was given says little of the judge's noise, and best and worst of N
were picked for their luck as well as their worth. Both are learnt from all candidates of the iteration, by empirical Bayes: a
response has a law of its own, by which the judge grades it, drawn from one of a few families that are common to the iteration,
and a prompt is of one of a few classes in which the families are differently common. What is then known of a response given
its grades and its prompt's holds however it was picked, for it was picked by those grades alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, lru_cache, reduce
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from selfreward.records import Judgment, Pair, Response
from selfreward.stats.scores import Scores

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Floats = NDArray[np.float64]
CELLS = 11
"""Grades that are told apart, at most; finer ones are rounded."""
CLASSES = 8
"""Classes of prompts."""
LIKENESS = (1.0, 10.0, 100.0)
"""Concentrations of a family, a Dirichlet distribution: from responses that are each graded in their own way to all alike."""
STEPS = 100
"""Steps of expectation maximisation."""
SEEN_BEFORE = 0.3
"""Draws of every grade that every law starts from, so that none is ever impossible."""


class Odds(NamedTuple):
    """Probabilities of what a pair becomes when its responses are judged again as often as before; they sum to 1."""

    same: float
    """The chosen response has the higher mean score again."""
    tie: float
    flipped: float


def pair_outcomes(
    pairs: Sequence[Pair], responses: Iterable[Response], judgments: Iterable[Judgment], min_valid: int
) -> dict[str, Odds]:
    """The probable outcomes of judging again, by pair id; empty where no response has two scores and so no noise can be seen.

    `responses` and `judgments` are all those of the iteration that the pairs were chosen from; `min_valid` as in `mean_scores`.
    Scores on more than eleven grades (`judge.read = "expected"`) are rounded to eleven, and pairs that are then level count as
    `same`: differences so small lie between two responses far more often than between judgments of one.
    """
    prompts = {response.id: response.prompt_id for response in responses}
    return odds_of(pairs, prompts, Scores.of(judgments).valid(min_valid))


def odds_of(pairs: Sequence[Pair], prompts: Mapping[str, str], scored: Mapping[str, Sequence[float]]) -> dict[str, Odds]:
    """`pair_outcomes` of grouped judgments; `prompts`: response id → prompt id, `scored`: response id → its valid scores."""
    graded = _graded(prompts, scored)
    if not (graded.grades.sum(1) > 1).any():
        return {}
    fitted = _fit(graded)

    @cache
    def again(kind: int) -> Floats:
        return sums_again(graded.grades[kind], fitted, kind)

    @cache
    def outcomes(chosen: int, rejected: int) -> Floats:
        samples = graded.grades[[chosen, rejected]].sum(1)
        above, level, below = order_probabilities(again(chosen), again(rejected), *samples)
        return np.array([above, level, below] if graded.exact else [above + level, 0 * level, below])

    kinds = ((graded.kind[pair.chosen_id], graded.kind[pair.rejected_id], graded.prompt[pair.prompt_id]) for pair in pairs)
    probabilities = (outcomes(chosen, rejected) @ fitted.classes[prompt] for chosen, rejected, prompt in kinds)
    return {pair.id: Odds(*map(float, outcome)) for pair, outcome in zip(pairs, probabilities, strict=True)}


class _Graded(NamedTuple):
    """The scored responses. Those that were given the same grades are of one kind."""

    grades: Floats
    """The count of each grade (kinds × grades)."""
    kind: dict[str, int]
    """The kind of a response, by its id."""
    prompt: dict[str, int]
    """Row of `members` by prompt id."""
    members: csr_array[np.float64]
    """The number of a prompt's responses of each kind (prompts × kinds)."""
    exact: bool
    """True if grades are scores, and not rounded scores."""


def _graded(prompts: Mapping[str, str], scored: Mapping[str, Sequence[float]]) -> _Graded:
    from scipy.sparse import csr_array

    low, step, exact = scale({score for given in scored.values() for score in given})

    @lru_cache
    def as_grades(*given: float) -> tuple[int, ...]:
        return tuple(sorted(round((score - low) / step) for score in given))

    kinds: dict[tuple[int, ...], int] = {}
    kind: dict[str, int] = {}
    prompt: dict[str, int] = {}
    rows, columns = [], []
    for response_id, prompt_id in prompts.items():
        if given := scored.get(response_id):
            kind[response_id] = kinds.setdefault(as_grades(*given), len(kinds))
            rows.append(prompt.setdefault(prompt_id, len(prompt)))
            columns.append(kind[response_id])
    best = max((grades[-1] for grades in kinds), default=0)
    counts = np.array([np.bincount(grades, minlength=best + 1) for grades in kinds], dtype=float).reshape(-1, best + 1)
    members: csr_array[np.float64] = csr_array((np.ones(len(rows)), (rows, columns)), shape=(len(prompt), len(kinds)))
    return _Graded(counts, kind, prompt, members, exact)


def scale(scores: set[float]) -> tuple[float, float, bool]:
    """The lowest score, the step from one grade to the next, and whether every score is a grade."""
    low, high = min(scores, default=0.0), max(scores, default=0.0)
    halves = [2 * (score - low) for score in scores]
    if all(half.is_integer() for half in halves):
        step = math.gcd(*map(int, halves)) / 2 or 1.0
        if high - low <= step * (CELLS - 1):
            return low, step, True
    return low, (high - low) / (CELLS - 1), False


class Fitted(NamedTuple):
    """A model of judging, fitted to one iteration."""

    families: Floats
    """Parameters of the Dirichlet distributions (families × grades)."""
    posterior: Floats
    """The probability that a response of a kind is of each family (classes × kinds × families)."""
    classes: Floats
    """The probability that a prompt is of each class (prompts × classes)."""


def _fit(graded: _Graded) -> Fitted:
    """Expectation maximisation from families about each grade, a narrow and a wide one, and from prompts by their mean."""
    grades, members = graded.grades, graded.members
    more = (grades > np.arange(grades.max())[:, None, None]).astype(float)
    classes, families = _first_classes(grades, members), _families(_first_laws(grades.shape[1]))
    common = np.full((classes.shape[1], len(families)), 1 / len(families))
    likely = likelihood(more, families)
    for _ in range(STEPS):
        expected = np.asarray(members.T @ classes).T / (common @ likely.T)
        families = _families(mean_laws(more, families, likely * (expected.T @ common)))
        common = _shares(common * (expected @ likely))
        likely = likelihood(more, families)
        classes = _classes(members, common @ likely.T, classes.mean(0))
    return Fitted(families, _shares(common[:, None, :] * likely), classes)


def _first_laws(grades: int) -> Floats:
    near = np.eye(grades) + (np.eye(grades, k=1) + np.eye(grades, k=-1)) / 2
    wide = _shares(near) @ _shares(near)
    return 0.9 * np.vstack([np.eye(grades), wide]) + 0.1 / grades


def _first_classes(grades: Floats, members: csr_array[np.float64]) -> Floats:
    level = grades @ np.arange(grades.shape[1]) / grades.sum(1)
    means = np.asarray(members @ level) / np.asarray(members @ np.ones(len(level)))
    means = means.round(9)  # equal ones are, whatever order they were summed in
    first = np.searchsorted(np.sort(means), means) * CLASSES // len(means)
    classes: Floats = 0.9 * np.eye(CLASSES)[first] + 0.1 / CLASSES
    return classes


def _families(laws: Floats) -> Floats:
    """Every law with every likeness, laws outermost."""
    families: Floats = laws[:, None, :] * np.array(LIKENESS)[None, :, None]
    return families.reshape(-1, laws.shape[1])


def likelihood(more: Floats, families: Floats) -> Floats:
    """The probability of each kind's grades, one after the other, for a response of each family (kinds × families).

    `more[j]`: the grades that a kind was given more than j times (kinds × grades).
    """
    samples = more.sum((0, 2))
    logs = np.sum([graded @ np.log(families + j).T for j, graded in enumerate(more)], axis=0)
    for j in range(int(samples.max())):
        logs -= np.multiply.outer(samples > j, np.log(families.sum(1) + j))
    return np.asarray(np.exp(logs))


def mean_laws(more: Floats, families: Floats, responses: Floats) -> Floats:
    """The mean law of the families that share it, given how many `responses` of each kind are of each family.

    A grade that a family gives for the j-th time comes from its law with probability α / (α + j), and else repeats itself.
    """
    draws = np.sum([responses.T @ graded * families / (families + j) for j, graded in enumerate(more)], axis=0)
    laws = draws.reshape(-1, len(LIKENESS), families.shape[1]).sum(1) + SEEN_BEFORE
    return _shares(laws)


def _classes(members: csr_array[np.float64], mixed: Floats, before: Floats) -> Floats:
    """The probability that each prompt is of each class.

    `mixed`: the probability of a kind in each class, `before`: the shares of the classes before.
    """
    logs = np.asarray(members @ np.log(mixed).T) + np.log(before + np.finfo(float).tiny)
    highest = reduce(np.maximum, logs.T)  # over rows as short as these, `max` takes five times as long
    return _shares(np.exp(logs - highest[:, None]))


def _shares(parts: Floats) -> Floats:
    return np.asarray(parts / parts.sum(-1, keepdims=True))


def sums_again(grades: Floats, fitted: Fitted, kind: int) -> Floats:
    """The probability of each sum of as many fresh grades, for a response that was given `grades` (classes × sums)."""
    samples, best = int(grades.sum()), len(grades) - 1
    posterior = fitted.families + grades
    law = np.zeros((samples + 1, samples * best + 1, len(posterior)))
    law[0, 0] = 1  # by fresh grades so far and their sum
    for grade in range(len(grades)):
        longer = np.zeros_like(law)
        weight = np.ones(len(posterior))
        for times in range(samples + 1):
            longer[times:, times * grade :] += weight * law[: samples + 1 - times, : samples * best + 1 - times * grade]
            weight = weight * (posterior[:, grade] + times) / (times + 1)
        law = longer
    total = posterior.sum(1)
    orders = np.prod([(total + j) / (j + 1) for j in range(samples)], axis=0)
    return np.asarray(fitted.posterior[:, kind] @ (law[samples] / orders).T)


def order_probabilities(chosen: Floats, rejected: Floats, chosen_samples: float, rejected_samples: float) -> Floats:
    """The probability that the chosen response's mean is above, level with and below the rejected one's (3 × classes)."""
    sums = np.arange(chosen.shape[1]) * rejected_samples, np.arange(rejected.shape[1]) * chosen_samples
    signs = np.sign(np.subtract.outer(*sums))
    return np.array([np.einsum("cs,ct,st->c", chosen, rejected, signs == sign, optimize=True) for sign in (1, 0, -1)])


class Bin(NamedTuple):
    """Predictions that lie close together, beside what came of them."""

    low: float
    high: float
    n: int
    predicted: float
    """Mean prediction."""
    observed: float
    """Share of those for which it came true."""


def reliability(predicted: Sequence[float], observed: Sequence[float], edges: Sequence[float]) -> list[Bin]:
    """Predicted probabilities against what was observed (1 or 0, or a share of several times), bin by bin.

    A bin reaches from one of the rising `edges` up to the next, which only the last one includes. Empty bins are left out, and
    predictions beyond the edges.
    """
    predictions, outcomes = np.asarray(predicted, dtype=float), np.asarray(observed, dtype=float)
    bins = []
    for low, high in pairwise(edges):
        inside = (predictions >= low) & ((predictions <= high) if high == edges[-1] else (predictions < high))
        if inside.any():
            bins.append(Bin(low, high, int(inside.sum()), float(predictions[inside].mean()), float(outcomes[inside].mean())))
    return bins
