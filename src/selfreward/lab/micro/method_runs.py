"""The record of one run of a way of learning: all that the page needs, so that a run's folder may go."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfreward.lab.micro.study import heldout_scores, summary
from selfreward.measure import Judged, agreeing, load_truth
from selfreward.recipe import SourceConfig, load_recipe
from selfreward.records import Judgment, Ranking, Record, content_id, file_hash, iter_jsonl
from selfreward.rundir import MODEL, open_run, part_of
from selfreward.stats import mean_scores
from selfreward.steps import ranked_responses

Floats = NDArray[np.float64]
LEARNT = ("pairwise_accuracy", "five_best", "exact_match", "spearman", "kendall")
"""The paper's five figures of how well a model judges."""


class MethodModel(Record):
    """One model of a run: how well it follows, and how well it judges."""

    name: str
    true: tuple[float, ...]
    """True score of each held-out answer, in the order of the prompts."""
    judging: tuple[tuple[float, ...], ...] = ()
    """The cases of `judging`, for M1 and the last model; empty for others."""
    learnt: dict[str, float | None]
    """`LEARNT` → value."""


class MethodRun(Record):
    """One finished run."""

    arm: str
    seed: int
    recipe: str
    """Hash of the recipe and of the files of its data; a run of another recipe is run again."""
    models: tuple[MethodModel, ...]
    sampled: int
    """Tokens that its iterations sampled."""
    trained: int
    """Tokens that its trainings after M1 read, in all epochs."""

    def of(self, name: str) -> MethodModel:
        """The model of this name."""
        return next(model for model in self.models if model.name == name)


def recipe_hash(file: Path, changes: Mapping[str, Any]) -> str:
    """A hash of a recipe's file, of the changes to it, and of the files of its data."""
    data = load_recipe(file).data
    sources = [source.path for _, source in data if isinstance(source, SourceConfig)]
    return content_id(file.read_text(encoding="utf-8"), dict(changes), [file_hash(Path(path)) for path in sources])


def recorded(run: Path, seed: int, recipe: str) -> MethodRun:
    """The record of a finished run in the folder `run`, which is named as its arm; `recipe` is the hash."""
    scores, models = heldout_scores(run), summary(run)
    last = models[-1]["name"]
    return MethodRun(
        arm=run.name, seed=seed, recipe=recipe,
        models=tuple(
            MethodModel(
                name=model["name"], true=tuple(scores[model["name"]]), learnt=_learnt(model),
                judging=tuple(map(tuple, judging(run, model["name"]).tolist())) if model["name"] in ("M1", last) else (),
            )
            for model in models
        ),
        **spent(run),
    )  # fmt: skip


def _learnt(model: dict[str, Any]) -> dict[str, float | None]:
    metrics = model["reward_modeling"] or {}
    return {figure: metrics[figure]["value"] if metrics.get(figure) else None for figure in LEARNT}


def judging(run: Path, name: str) -> Floats:
    """[ranking, (pairs rightly ordered, pairs, scored answers, Σ said − true, said 5, truly 5, unread, judgments)] of a model."""
    recipe = open_run(run).recipe
    truth = load_truth(recipe)
    judgments = list(iter_jsonl(run / name / "ranking_judgments.jsonl", Judgment))
    failed = dict.fromkeys((judgment.response_id for judgment in judgments), 0)
    for judgment in judgments:
        failed[judgment.response_id] += judgment.score is None
    scores = mean_scores(judgments, recipe.judge.min_valid)
    rows = []
    for ranking in iter_jsonl(run / "seed" / "heldout_rankings.jsonl", Ranking):
        responses = ranked_responses(ranking)
        said = [scores.get(response.id) for response in responses]
        points = [sum((truth(ranking.prompt, response.text) or ("", {}))[1].values()) for response in responses]
        right, pairs = agreeing(Judged("", ranking.ranks, said, ()))
        scored = [(score, true) for score, true in zip(said, points, strict=True) if score is not None]
        rows.append(
            [right, pairs, len(scored), round(sum(score - true for score, true in scored), 9),
             sum(score == 5 for score, _ in scored), sum(true == 5 for _, true in scored),
             sum(failed.get(response.id, 0) for response in responses), recipe.judge.most * len(responses)]
        )  # fmt: skip
    return np.array(rows, dtype=float)


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
            trained += batches.get("tokens", 0) * (1 - batches.get("padding", 0)) + batches.get("rehearsed", 0)
    return {"sampled": sampled, "trained": round(trained)}
