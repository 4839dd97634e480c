"""Figures of many ways of learning beside each other: both axes, the judge's biases, the price, and differences by seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np

from selfreward.lab.micro.method_runs import LEARNT, Floats, MethodModel, MethodRun
from selfreward.lab.micro.study import RESAMPLES, versus

AXES = {"true": "true score", "judging": "pairwise accuracy"}
BEST = 5
"""The highest true score."""
ENOUGH = 5
"""Seeds from which on a difference is tested: of fewer, so many resamples are one seed over and over that no p is right."""


def compare(runs: Sequence[MethodRun], arms: Sequence[str]) -> dict[str, Any]:
    """Every figure of the `arms`, from the records of one world, on the seeds that plain self-rewarding has, too."""
    done = {arm: {run.seed: run for run in runs if run.arm == arm} for arm in arms}
    plain = {seed: _last(run) for seed, run in done["self"].items()}
    paired = {arm: [run for seed, run in sorted(of.items()) if seed in plain] for arm, of in done.items()}
    figures = {arm: _arm(of, plain) for arm, of in paired.items() if of}
    ways = [arm for arm in figures if arm not in ("truth", "shuffled", "sft") and not arm.startswith("self")]
    tested = [arm for arm in ways if len(figures[arm]["seeds"]) >= ENOUGH]
    for axis in AXES:
        adjusted = holm([figures[arm]["against_self"][axis]["p"] for arm in tested])
        for arm, p in zip(tested, adjusted, strict=True):
            figures[arm]["against_self"][axis]["p_holm"] = p
    return {"compared": len(tested), "arms": figures, "not_run": [arm for arm in arms if arm not in figures]}


def _last(run: MethodRun) -> tuple[tuple[float, ...], Floats]:
    """True scores of a run's last model, and its pairs [ranking, (right, pairs)]."""
    return run.models[-1].true, _pairs(run.models[-1])


def _pairs(model: MethodModel) -> Floats:
    return np.array(model.judging)[:, :2]


def _arm(runs: Sequence[MethodRun], plain: Mapping[int, tuple[tuple[float, ...], Floats]]) -> dict[str, Any]:
    """The figures of one arm, and its differences from plain self-rewarding (`_last` by seed)."""
    names = [model.name for model in runs[0].models]
    last = names[-1]
    plain_true, plain_judged = zip(*(plain[run.seed] for run in runs), strict=True)
    rows = {name: np.array([run.of(name).true for run in runs]) for name in names}
    judged, first = (np.array([_pairs(run.of(name)) for run in runs]) for name in (last, "M1"))
    return {
        "seeds": [run.seed for run in runs],
        "last": last,
        "true_score": {name: float(values.mean()) for name, values in rows.items()},
        "judging": {name: {figure: _mean(runs, name, figure) for figure in LEARNT} for name in names},
        "true_gain": difference(rows[last], rows["M1"]),
        "judging_gain": difference_of_shares(judged, first),
        "read_whole": read_whole(*(np.array([run.of(name).judging for run in runs]) for name in ("M1", last))),
        "against": {f"{a} over {b}": contest(rows[a], rows[b]) for a, b in _contests(names)},
        "against_self": {
            "true": difference(rows[last], np.array(plain_true)),
            "judging": difference_of_shares(judged, np.array(plain_judged)),
        },
        "bias": {name: biases(np.concatenate([np.array(run.of(name).judging) for run in runs])) for name in ("M1", last)},
        "spent": {kind: float(np.mean([getattr(run, kind) for run in runs])) for kind in ("sampled", "trained")},
    }


def _contests(names: Sequence[str]) -> list[tuple[str, str]]:
    made = [name for name in names if name not in ("M0", "SFT")]
    return [(made[1], "M1"), (made[-1], made[-2]), (made[-1], "M1"), *([(made[-1], "SFT")] if "SFT" in names else [])]


def contest(ours: Floats, theirs: Floats) -> dict[str, Any]:
    """The figures of `versus`, and the share of all prompts on which neither model's answer can be bettered."""
    return {**versus(ours, theirs), "both_best": float(((ours == BEST) & (theirs == BEST)).mean())}


def _mean(runs: Sequence[MethodRun], name: str, figure: str) -> float | None:
    values = [value for run in runs if (value := run.of(name).learnt.get(figure)) is not None]
    return fmean(values) if values else None


def biases(rows: Floats) -> dict[str, float]:
    """The excess of a judge's scores over the true ones, in points; its share of fives, and the true one; the share unread."""
    _, _, answers, over, fives, truly, unread, judgments = rows.sum(0)
    return {
        "overrates": float(over / answers), "fives": float(fives / answers), "true_fives": float(truly / answers),
        "unread": float(unread / judgments),
    }  # fmt: skip


def read_whole(first: Floats, last: Floats) -> dict[str, float | None]:
    """Pairwise accuracy of two models on the rankings of which both models' judgments can all be read, and their share of all.

    [seed, ranking, the cases of `judging`] each. What a model gains here it does not gain by form.
    """
    both = (first[..., 6] == 0) & (last[..., 6] == 0)
    pairs = float(first[both][:, 1].sum())
    right = {"first": float(first[both][:, 0].sum()), "last": float(last[both][:, 0].sum())}
    return {"share": float(both.mean()), **{name: number / pairs if pairs else None for name, number in right.items()}}


def difference(ours: Floats, theirs: Floats) -> dict[str, float]:
    """Mean difference of two [seed, prompt], paired: 95 % interval and p by the bootstrap over seeds, then prompts."""
    return _tested((ours - theirs)[..., None], lambda rows: rows[..., 0].mean((0, 1)))


def difference_of_shares(ours: Floats, theirs: Floats) -> dict[str, float]:
    """The difference of shares, from [seed, ranking, (right, pairs)]; the pairs of both are the same."""
    both = np.stack([ours[..., 0] - theirs[..., 0], ours[..., 1]], axis=-1)
    return _tested(both, lambda rows: rows[..., 0].sum((0, 1)) / rows[..., 1].sum((0, 1)))


def _tested(rows: Floats, statistic: Callable[[Floats], Any]) -> dict[str, float]:
    """A statistic of [seed, unit, …] with its interval, and the two-sided p of its being 0."""
    rng = np.random.default_rng(0)
    seeds, units = rows.shape[:2]
    drawn = []
    for _ in range(RESAMPLES):
        some = rows[rng.integers(seeds, size=seeds)]
        at = rng.integers(units, size=(seeds, units))
        drawn.append(float(statistic(np.take_along_axis(some, at[..., None], axis=1))))
    low, high = np.quantile(drawn, [0.025, 0.975])
    beyond = min(sum(value <= 0 for value in drawn), sum(value >= 0 for value in drawn))
    return {
        "value": float(statistic(rows)), "low": float(low), "high": float(high),
        "p": min(1.0, 2 * (beyond + 1) / (RESAMPLES + 1)),
    }  # fmt: skip


def holm(ps: Sequence[float]) -> list[float]:
    """Each p adjusted for how many there are (Holm 1979): the k-th smallest of n times n − k + 1, none below a smaller one."""
    adjusted, highest = [0.0] * len(ps), 0.0
    for rank, at in enumerate(sorted(range(len(ps)), key=lambda at: ps[at])):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[at]))
        adjusted[at] = highest
    return adjusted
