"""Figures of many ways of learning beside each other: both axes, the judge's biases, the price, and differences by seed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfreward.lab.micro.study import RESAMPLES, heldout_scores, summary, versus
from selfreward.measure import load_truth
from selfreward.records import Judgment, Ranking, iter_jsonl
from selfreward.rundir import MODEL, open_run, part_of
from selfreward.stats import mean_scores
from selfreward.steps import ranked_responses

Floats = NDArray[np.float64]
AXES = {"true": "true score", "judging": "pairwise accuracy"}
LEARNT = ("pairwise_accuracy", "five_best", "exact_match", "spearman", "kendall")
"""The paper's five figures of how well a model judges."""


def compare(out: Path, seeds: Sequence[int], arms: Sequence[str]) -> dict[str, Any]:
    """Every figure, of the arms and of the seeds that all of their runs have finished."""
    folders = {arm: {seed: out / f"seed_{seed}" / arm for seed in seeds} for arm in arms}
    done = {arm: {seed: run for seed, run in runs.items() if finished(run)} for arm, runs in folders.items()}
    plain = {seed: _last(run) for seed, run in done["self"].items()}
    figures = {arm: _arm(list(runs.values()), plain, list(runs)) for arm, runs in done.items() if runs and plain}
    tested = [arm for arm in figures if arm not in ("self", "truth", "shuffled", "sft")]
    for axis in AXES:
        adjusted = holm([figures[arm]["against_self"][axis]["p"] for arm in tested])
        for arm, p in zip(tested, adjusted, strict=True):
            figures[arm]["against_self"][axis]["p_holm"] = p
    return {"compared": len(tested), "arms": figures, "not_run": [arm for arm in arms if arm not in figures]}


def finished(run: Path) -> bool:
    """True if a run has measured its last model."""
    if not (run / "summary.json").exists():
        return False
    return bool(summary(run)[-1]["name"] == f"M{open_run(run).recipe.iterations + 1}")


def _last(run: Path) -> tuple[list[float], Floats]:
    """True scores of a run's last model, and its pairs [ranking, (right, pairs)]."""
    name = summary(run)[-1]["name"]
    return heldout_scores(run)[name], judging(run, name)[:, :2]


def _arm(runs: Sequence[Path], plain: Mapping[int, tuple[list[float], Floats]], seeds: Sequence[int]) -> dict[str, Any]:
    """The figures of one arm, and its differences from plain self-rewarding (`_last` by seed) on the seeds that both have run."""
    models = [summary(run) for run in runs]
    names = [model["name"] for model in models[0]]
    last, both = names[-1], [at for at, seed in enumerate(seeds) if seed in plain]
    true = [heldout_scores(run) for run in runs]
    judged = [{name: judging(run, name) for name in ("M1", last)} for run in runs]
    plain_true, plain_judged = zip(*(plain[seeds[at]] for at in both), strict=True)
    against = {
        "true": difference(np.array([true[at][last] for at in both]), np.array(plain_true)),
        "judging": difference_of_shares(np.array([judged[at][last][:, :2] for at in both]), np.array(plain_judged)),
    }
    rows = {name: np.array([scores[name] for scores in true]) for name in names}
    return {
        "seeds": list(seeds),
        "last": last,
        "true_score": {name: float(values.mean()) for name, values in rows.items()},
        "judging": {name: {figure: _mean(models, at, figure) for figure in LEARNT} for at, name in enumerate(names)},
        "true_gain": difference(rows[last], rows["M1"]),
        "judging_gain": difference_of_shares(
            np.array([of[last][:, :2] for of in judged]), np.array([of["M1"][:, :2] for of in judged])
        ),
        "against": {f"{a} over {b}": versus(rows[a], rows[b]) for a, b in _contests(names)},
        "against_self": against,
        "bias": biases(np.concatenate([of[last] for of in judged])),
        "spent": {kind: float(np.mean([spent(run)[kind] for run in runs])) for kind in ("sampled", "trained")},
    }


def _contests(names: Sequence[str]) -> list[tuple[str, str]]:
    made = [name for name in names if name not in ("M0", "SFT")]
    return [(made[1], "M1"), (made[-1], made[-2]), (made[-1], "M1"), *([(made[-1], "SFT")] if "SFT" in names else [])]


def _mean(models: Sequence[Sequence[Mapping[str, Any]]], at: int, figure: str) -> float | None:
    metrics = [run[at]["reward_modeling"] for run in models]
    values = [metric[figure]["value"] for metric in metrics if metric and metric[figure]]
    return float(np.mean(values)) if values else None


def judging(run: Path, name: str) -> Floats:
    """[ranking, (pairs rightly ordered, pairs, scored answers, Σ said − true, said 5, truly 5)] of a model."""
    recipe = open_run(run).recipe
    truth = load_truth(recipe)
    judgments = list(iter_jsonl(run / name / "ranking_judgments.jsonl", Judgment))
    scores = mean_scores(judgments, recipe.judge.min_valid)
    rows = []
    for ranking in iter_jsonl(run / "seed" / "heldout_rankings.jsonl", Ranking):
        responses = ranked_responses(ranking)
        said = [scores.get(response.id) for response in responses]
        points = [sum((truth(ranking.prompt, response.text) or ("", {}))[1].values()) for response in responses]
        right, pairs = agreeing(ranking.ranks, said)
        scored = [(score, true) for score, true in zip(said, points, strict=True) if score is not None]
        rows.append(
            [right, pairs, len(scored), sum(score - true for score, true in scored), sum(score == 5 for score, _ in scored),
             sum(true == 5 for _, true in scored)]
        )  # fmt: skip
    return np.array(rows, dtype=float)


def agreeing(ranks: Sequence[float], said: Sequence[float | None]) -> tuple[float, int]:
    """(pairs in people's order, ties by half; pairs that people rank apart); a response without a score makes its pairs wrong."""
    right, pairs = 0.0, 0
    for at, (rank, score) in enumerate(zip(ranks, said, strict=True)):
        for other, against in zip(ranks[:at], said[:at], strict=True):
            if rank != other:
                pairs += 1
                if score is not None and against is not None:
                    right += 0.5 if score == against else (score > against) == (rank < other)
    return right, pairs


def biases(rows: Floats) -> dict[str, float]:
    """The excess of a judge's scores over the true ones, in points, and its share of fives beside the true share."""
    _, _, answers, over, fives, truly = rows.sum(0)
    return {"overrates": float(over / answers), "fives": float(fives / answers), "true_fives": float(truly / answers)}


def spent(run: Path) -> dict[str, int]:
    """Tokens that a run's iterations sampled, by whatever model, and tokens that its trainings after M1 read, in all epochs."""
    sampled, trained = 0, 0.0
    for receipt in sorted(run.glob("*/*.receipt.json")):
        stage = receipt.name.removesuffix(".receipt.json")
        if receipt.parent.name in ("seed", "M0", "SFT", "M1") or stage == "measured" or part_of(stage).use in ("test", "hidden"):
            continue
        sampled += json.loads(receipt.read_text()).get("completion_tokens", 0)
        if part_of(stage) is MODEL or stage == "ahead":
            batches = json.loads((receipt.parent / stage / "metrics.jsonl").read_text().splitlines()[0])
            trained += batches.get("tokens", 0) * (1 - batches.get("padding", 0))
    return {"sampled": sampled, "trained": round(trained)}


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
