"""The figures of the checkable study, from the records of its runs alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from selfreward.lab.checkable.runs import AGAIN, CheckableModel, CheckableRun
from selfreward.lab.micro.method_runs import Floats
from selfreward.lab.micro.study import RESAMPLES, SHARED
from selfreward.measure import Judged, correlation

KINDS = ("all", "seen", "unseen")
Figure = dict[str, float]
"""`value` and the ends of its 95 % interval, `low` and `high`."""
Values = Sequence[float | None]


class Counts(NamedTuple):
    """Instructions that the held-out answers of a model follow, [run, prompt]."""

    followed: Floats
    given: Floats
    whole: Floats
    """Answers that follow all of their prompt's instructions."""
    unseen: np.ndarray
    """True for prompts whose instructions are of kinds that no seed asks for."""
    answers: int
    """Answers to a prompt."""


def counts(models: Sequence[CheckableModel], again: bool) -> Counts:
    """The counts of models of several runs, whose held-out prompts are the same; `again`: with their further answers."""
    followed, given, unseen = np.moveaxis(np.array([model.checks for model in models], dtype=float), 2, 0)
    first = Counts(followed, given, (followed == given).astype(float), unseen[0].astype(bool), 1)
    if not again:
        return first
    more = [model.again for model in models if model.again]
    followed, whole = followed + [one.followed for one in more], first.whole + [one.whole for one in more]
    return first._replace(followed=followed, given=given * (1 + AGAIN), whole=whole, answers=1 + AGAIN)


def answered_again(models: Sequence[CheckableModel]) -> bool:
    """True if all of the models have further answers."""
    return all(model.again for model in models)


def share(parts: Floats, wholes: Floats) -> Figure:
    """Sum of `parts` over sum of `wholes`, [run, prompt], with its 95 % interval: bootstrap over runs, then over prompts."""
    rng, (runs, prompts) = np.random.default_rng(0), parts.shape
    rows = rng.integers(runs, size=(RESAMPLES, runs))
    columns = rng.integers(prompts, size=(RESAMPLES, prompts))
    drawn = [values[rows[:, :, None], columns[:, None, :]].sum((1, 2)) for values in (parts, wholes)]
    low, high = np.quantile(drawn[0] / drawn[1], [0.025, 0.975])
    return {"value": float(parts.sum() / wholes.sum()), "low": float(low), "high": float(high)}


def shares(ours: Counts, theirs: Counts | None = None) -> dict[str, dict[str, Figure]]:
    """Instructions and prompts followed, by kinds of instruction; less those of `theirs` where given."""
    whole = ours.whole - (0 if theirs is None else theirs.whole)
    followed = ours.followed - (0 if theirs is None else theirs.followed)
    figures: dict[str, dict[str, Figure]] = {}
    for kind, chosen in zip(KINDS, (np.full_like(ours.unseen, True), ~ours.unseen, ours.unseen), strict=True):
        if chosen.any():
            instructions = share(followed[:, chosen], ours.given[:, chosen])
            prompts = share(whole[:, chosen], np.full_like(whole[:, chosen], ours.answers))
            figures[kind] = {"instructions": instructions, "prompts": prompts}
    return figures


def sum_up(runs: Sequence[CheckableRun], seeds: Sequence[int], arms: Sequence[str]) -> dict[str, Any]:
    """Every figure of the study, each model's over the runs that have made it."""
    chosen = {arm: [run for run in runs if run.arm == arm and run.seed in seeds] for arm in arms}
    made = {arm: {run.seed for run in of_arm} for arm, of_arm in chosen.items()}
    figures: dict[str, Any] = {
        "seeds": list(seeds),
        "not run": {arm: missing for arm in arms if (missing := [seed for seed in seeds if seed not in made[arm]])},
        "not finished": {arm: open_ for arm in arms if (open_ := [run.seed for run in chosen[arm] if not run.finished])},
        "arms": {arm: _arm(of_arm) for arm, of_arm in chosen.items() if of_arm},
    }
    return {**figures, "share of the ceiling": _of_the_ceiling(figures["arms"])}


def _arm(runs: Sequence[CheckableRun]) -> dict[str, Any]:
    names = dict.fromkeys(model.name for run in runs for model in run.models)
    made = {name: [(run, model) for run in runs if (model := run.of(name))] for name in sorted(names, key=_order)}
    return {
        "models": {name: _told([model for _, model in pairs]) for name, pairs in made.items()},
        "over M1": dict(_over_m1(made)),
        "ifeval": dict(_ifeval(made)),
    }


def _order(name: str) -> tuple[int, str]:
    """The place of a model among M0, SFT, M1, M2, …."""
    return (SHARED.index(name) if name in SHARED else len(SHARED), name)


Made = Mapping[str, Sequence[tuple[CheckableRun, CheckableModel]]]


def _over_m1(made: Made) -> Iterator[tuple[str, Any]]:
    for name, pairs in made.items():
        if name not in SHARED:
            models, firsts = [model for _, model in pairs], [first for run, _ in pairs if (first := run.of("M1"))]
            if len(firsts) == len(pairs):
                again = answered_again([*models, *firsts])
                ours, theirs = (counts(side, again) for side in (models, firsts))
                yield name, {**shares(ours, theirs), "answers": ours.answers}


def _ifeval(made: Made) -> Iterator[tuple[str, Any]]:
    """Each model's shares of IFEval's instructions and prompts, of the runs whose models answered them."""
    for name, pairs in made.items():
        if answered := [model.ifeval for _, model in pairs if model.ifeval]:
            checks = np.array([found.checks for found in answered], dtype=float)
            followed, given = np.moveaxis(checks[:, checks[..., 1].any(0)], 2, 0)
            yield (
                name,
                {
                    "runs": len(answered),
                    "max_tokens": sorted({found.max_tokens for found in answered}),
                    "instructions": share(followed, given),
                    "prompts": share(((followed == given) & (given > 0)).astype(float), (given > 0).astype(float)),
                },
            )


def _told(models: Sequence[CheckableModel]) -> dict[str, Any]:
    """One model's figures over its runs: shares with intervals, others as means; None where one is unknown."""
    judged, followed = [model for model in models if model.judging], counts(models, answered_again(models))
    return {
        "runs": len(models),
        "answers": followed.answers,
        "followed": shares(followed),
        "true_score": _mean(models, lambda model: _average(model.true)),
        "self_score": _mean(models, lambda model: _average(model.own)),
        "correlation": _mean(models, _correlation),
        "pairwise_accuracy": _pairs([model.judging for model in judged]),
        "length_alone": _pairs([model.by_length for model in judged]),
        "scored": _mean(models, _scored),
        "answer_length": _mean(models, lambda model: model.answer_length),
        "ran_out_of_length": _mean(models, lambda model: model.ran_out_of_length),
        **{name: _mean(models, lambda model: model.loop.get(name)) for name in ("pairs", "pairs_right", "pairs_wrong")},  # noqa: B023
        "readings": _readings(models),
        "tokens": {kind: sum(model.tokens[kind] for model in models) for kind in models[0].tokens},
        "hours": sum(model.seconds for model in models) / 3600,
    }


def _pairs(rankings: Sequence[Sequence[tuple[float, int]]]) -> Figure | None:
    if not rankings:
        return None
    right, pairs = np.moveaxis(np.array(rankings, dtype=float), 2, 0)
    return share(right, pairs)


def _scored(model: CheckableModel) -> float | None:
    judged = sum(model.judgments.values())
    return model.judgments.get("scored", 0) / judged if judged else None


def _correlation(model: CheckableModel) -> float | None:
    """Spearman's ρ of a model's own scores with the truth; None where it gives none, or all alike."""
    from scipy.stats import spearmanr

    known = [(own, true) for own, true in zip(model.own, model.true, strict=True) if own is not None and true is not None]
    return correlation(Judged("", [-true for _, true in known], [own for own, _ in known], ()), spearmanr)


def _readings(models: Sequence[CheckableModel]) -> dict[str, float]:
    """Means of the monitors' figures that all runs have."""
    names = [name for name in models[0].readings if all(name in model.readings for model in models)]
    return {name: float(np.mean([model.readings[name] for model in models])) for name in names}


def _average(values: Values) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _mean(models: Sequence[CheckableModel], of: Callable[[CheckableModel], float | None]) -> float | None:
    values = [of(model) for model in models]
    return None if None in values else _average(values)


def _of_the_ceiling(arms: Mapping[str, Any]) -> float | None:
    """The gain of `self` from M1 to the last model that both have, by that of `checkers`; None where the latter gains nothing."""
    ours, ceiling = (arms.get(arm, {}).get("over M1", {}) for arm in ("self", "checkers"))
    if not (both := sorted(set(ours) & set(ceiling), key=_order)):
        return None
    gained, possible = (over[both[-1]]["all"]["instructions"]["value"] for over in (ours, ceiling))
    return float(gained / possible) if possible > 0 else None
