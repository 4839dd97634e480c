"""Flukes: how likely each preference pair would come out the other way round if its responses were judged again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from selfreward.judgments import mean_scores
from selfreward.records import Judgment, Pair, Response

Floats = NDArray[np.float64]
CLASSES = 8
ROUNDS = 200


class Outcome(NamedTuple):
    """What judging a pair's responses again, as often as before, would make of it; probabilities that sum to 1."""

    same: float
    """The chosen response's mean score is the higher one again."""
    tie: float
    flipped: float


def pair_outcomes(
    pairs: Sequence[Pair], responses: Iterable[Response], judgments: Iterable[Judgment], min_valid: int
) -> dict[str, Outcome]:
    """The outcomes of judging again, by pair id.

    `responses` and `judgments` are all those of the iteration, of which much is learnt about any one pair.
    """
    scores: dict[str, list[float]] = {}
    valid = mean_scores(_gathered(judgments, scores), min_valid)
    kept = [(response.id, response.prompt_id) for response in responses if response.id in valid]
    if not any(len(scores[one]) > 1 for one, _ in kept):
        return {}
    prompts: dict[str, int] = {}
    types: dict[tuple[int, ...], int] = {}
    low, step, cells = _grid([score for one, _ in kept for score in scores[one]])
    which, where = {}, []
    for one, prompt in kept:
        kind = tuple(sorted(round((score - low) / step) for score in scores[one]))
        which[one] = types.setdefault(kind, len(types))
        where.append((prompts.setdefault(prompt, len(prompts)), which[one]))
    at = np.array(where)
    ones = np.ones(len(at))
    members = csr_array((ones, (at[:, 0], at[:, 1])), shape=(len(prompts), len(types)))
    counts = np.array([np.bincount(kind, minlength=cells) for kind in types], dtype=float)
    laws = _laws(counts, np.asarray(members.sum(0)))
    likelihood = np.exp(counts @ np.log(laws).T)
    weights, share = _fitted(members, likelihood, counts)
    return _outcomes(pairs, which, prompts, counts, laws, likelihood, weights, share)


def _gathered(judgments: Iterable[Judgment], scores: dict[str, list[float]]) -> Iterator[Judgment]:
    for judgment in judgments:
        if judgment.score is not None:
            scores.setdefault(judgment.response_id, []).append(judgment.score)
        yield judgment


def _grid(scores: Sequence[float]) -> tuple[float, float, int]:
    low, high = min(scores), max(scores)
    step = 1.0 if all(score == round(score) for score in scores) else 0.25
    return low, step, round((high - low) / step) + 1


def _laws(counts: Floats, often: Floats) -> Floats:
    cells = counts.shape[1]
    sizes = counts.sum(1)
    several = sizes > 1
    together = np.zeros((cells, cells))
    for count, size, times in zip(counts[several], sizes[several], often[several], strict=True):
        together += times * (np.outer(count, count) - np.diag(count)) / (size - 1)
    together += 1e-9 * np.eye(cells)
    again = together / together.sum(1, keepdims=True)
    shares = counts / sizes[:, None]
    mixed = [shares @ ((1 - part) * np.eye(cells) + part * again) for part in (0.0, 0.1, 0.5, 1.0)]
    laws = np.vstack([*mixed, shares @ again @ again])
    return np.asarray((1 - 1e-4) * laws + 1e-4 / cells)


def _fitted(members: csr_array, likelihood: Floats, counts: Floats) -> tuple[Floats, Floats]:
    prompts, classes = members.shape[0], min(CLASSES, 1 + members.shape[0] // 50)
    levels = counts @ np.arange(counts.shape[1]) / counts.sum(1)
    means = (members @ levels) / np.asarray(members.sum(1))
    first = np.argsort(np.argsort(means, kind="stable"), kind="stable") * classes // prompts
    share = np.full((prompts, classes), 0.1 / classes)
    share[np.arange(prompts), first] += 0.9
    weights = np.full((classes, likelihood.shape[1]), 1 / likelihood.shape[1])
    for _ in range(ROUNDS):
        expected = (members.T @ share).T
        weights = weights * ((expected / (weights @ likelihood.T)) @ likelihood)
        weights /= weights.sum(1, keepdims=True)
        logs = members @ np.log(weights @ likelihood.T).T + np.log(share.mean(0) + 1e-300)
        share = np.exp(logs - logs.max(1, keepdims=True))
        share /= share.sum(1, keepdims=True)
    return weights, share


def _outcomes(
    pairs: Sequence[Pair], which: Mapping[str, int], prompts: Mapping[str, int], counts: Floats, laws: Floats, likelihood: Floats,
    weights: Floats, share: Floats,
) -> dict[str, Outcome]:  # fmt: skip
    posterior = weights[:, None, :] * likelihood[None]
    posterior /= posterior.sum(2, keepdims=True)
    sizes = counts.sum(1).astype(int)
    found: dict[str, Outcome] = {}
    means: dict[int, tuple[Floats, Floats]] = {}
    for size in sorted(set(sizes)):
        length = size * (counts.shape[1] - 1) + 1
        sums = np.fft.irfft(np.fft.rfft(laws, 2 * length, axis=1) ** size, 2 * length, axis=1)[:, :length].clip(0)
        means[int(size)] = (np.arange(length) / size, posterior @ sums)
    cache: dict[tuple[int, int], Floats] = {}
    for pair in pairs:
        best, worst = which[pair.chosen_id], which[pair.rejected_id]
        if (best, worst) not in cache:
            (a, p), (b, q) = means[int(sizes[best])], means[int(sizes[worst])]
            apart = np.subtract.outer(a, b)
            signs = np.where(np.abs(apart) < 1e-9, 0, np.sign(apart))
            cache[best, worst] = np.array([np.einsum("gs,st,gt->g", p[:, best], signs == k, q[:, worst]) for k in (1, 0, -1)])
        same, tie, flipped = cache[best, worst] @ share[prompts[pair.prompt_id]]
        total = same + tie + flipped
        found[pair.id] = Outcome(float(same / total), float(tie / total), float(flipped / total))
    return found
