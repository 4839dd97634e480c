"""A run folder → HTML pages that stand alone: no script, no network, every text of a model escaped."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from markupsafe import Markup

from selfreward.errors import SelfRewardError
from selfreward.records import LOCK, REPLY, Estimate, HeadToHead, Measured, alone, readable, write_whole
from selfreward.reports import charts
from selfreward.reports.browse import denominators, sample
from selfreward.reports.charts import Axis
from selfreward.reports.evaluations import Table, read_tables
from selfreward.reports.headline import NO_JUDGE, can_judge, contest_of, decided, no_judge, two_decimals, write_headline
from selfreward.reports.loop_health import health_of, write_health
from selfreward.reports.render import render
from selfreward.reports.status import model_lines, unchecked
from selfreward.rundir import IFT, M1, FolderReader, RunView, open_run

T = TypeVar("T")
DRILLDOWN = 2_200_000
"""The most bytes of samples to browse, over all iterations; with the rest the page stays below 3 MB."""
SHARES = Axis(0.0, 1.0, charts.percent, charts.percent)
STEPS_DRAWN = 160
"""The most points of a training curve; further ones are averaged."""
CURVES = {
    "loss": {"plain": "loss"},
    "reward margin": {"plain": "rewards/margins"},
    "reward accuracy": {"plain": "rewards/accuracies"},
    "log-probability": {"right": "logps/chosen", "wrong": "logps/rejected"},
}
"""Title of a chart → class of a line → key in `metrics.jsonl`."""


SEEDS = {
    "ift": "IFT examples",
    "rankings": "ranked sets, to make EFT of",
    "eft": "EFT examples",
    "heldout_prompts": "held-out prompts",
    "heldout_rankings": "held-out ranked sets",
}
"""Stage of the seed folder → its records in words."""


class SeedPart(NamedTuple):
    """One kind of seed data: counts of the records that came in and were kept, and of the others by reason."""

    title: str
    kept: int
    dropped: dict[str, int]
    replies: dict[str, int]
    """Counts of single responses left out of ranked sets that are kept, by reason."""

    @property
    def came_in(self) -> int:
        """Kept and dropped records."""
        return self.kept + sum(self.dropped.values())


class TrainingCurves(NamedTuple):
    """The training curves of one model."""

    name: str
    steps: int
    charts: list[tuple[str, Markup]]
    padding: float | None
    """Share of the tokens put through the model, where it is told."""
    tokens: int
    """All of these tokens."""


class Multiple(NamedTuple):
    """A small chart and its title."""

    title: str
    chart: Markup


class Rival(NamedTuple):
    """A model to compare with, and both counts."""

    name: str
    truth: HeadToHead | None
    own: HeadToHead | None


def write_report(folder: Path) -> Path:
    """Write the pages of the run in `folder`, finished or under way; returns the path of the first."""
    standing = open_run(folder)
    page = folder / "report" / "index.html"
    page.parent.mkdir(exist_ok=True)
    with alone(page.parent / LOCK):
        write_health(standing, page.parent)
        write_whole(page, _render(standing))
    return page


def _render(standing: RunView) -> str:
    models, recipe = standing.measured, standing.recipe
    budget = DRILLDOWN // max(1, len(standing.iterations))
    samples = [sample(standing[name], standing.recipe_of(name).judge, budget) for name in standing.iterations]
    torn: list[str] = []
    curves = [_curves(model, torn) for model in standing.models.values()]
    seeds = _seeds(standing.seed, torn)
    return render(
        "report.html",
        run=standing.folder.resolve().name, recipe=recipe, models=models, top=recipe.judge.scale[1],
        judging=any(model.reward_modeling for model in models),
        headline=write_headline(standing.standing, recipe.judge.scale[1], standing.watched), health=health_of(standing),
        ended=standing.ended,
        truth=any(m.instruction_following for m in models), own=any(m.self_score or m.judgments for m in models),
        unfinished="" if standing.finished and not standing.ended else standing.status, lines=model_lines(standing),
        rivals={model.name: _rivals(model, standing) for model in models}, **_charts(models, recipe.judge.scale),
        curves=[item for item in curves if item], samples=[item for item in samples if item],
        actors=_actors(standing), seeds=seeds, torn=torn, unchecked=unchecked(standing),
        stand_in="seed/ift.receipt.json" not in torn and _stand_in(standing.seed),
        compared=_compared(models, recipe.measure.judge), evaluations=_evaluations(standing),
        of={model.name: denominators(standing[model.name], standing.recipe_of(model.name)) for model in models},
        can_judge=can_judge, no_judge=no_judge, decided=decided, no_share=NO_JUDGE,
    )  # fmt: skip


def _charts(models: Sequence[Measured], scale: tuple[float, float]) -> dict[str, Any]:
    """Every chart over the models, by its name in the template."""
    following = {model.name: model.instruction_following for model in models}
    by_kind = {name: score.by_kind if score else {} for name, score in following.items()}
    points = {name: score.by_criterion if score else {} for name, score in following.items()}
    exact = {name: {c: Estimate(value=v, low=v, high=v) for c, v in values.items()} for name, values in points.items()}
    judged = {model.name: model.reward_modeling.by_kind if model.reward_modeling else {} for model in models}
    most = max((value for values in points.values() for value in values.values()), default=1.0)
    return {
        "figures": _figures(models, scale) if models else {},
        "kinds": _multiples(by_kind, Axis(*scale, charts.one_decimal, charts.short)),
        "judged_kinds": _multiples(judged, SHARES),
        "checked_kinds": _multiples({m.name: m.checks.by_kind if m.checks else {} for m in models}, SHARES),
        "criteria": _multiples(exact, Axis(0.0, max(1.0, most), two_decimals, charts.short)),
        "histograms": _histograms(models, scale),
    }


def _figures(models: Sequence[Measured], scale: tuple[float, float]) -> dict[str, Markup]:
    """`true`, `accuracy` and `beside`, where they were measured."""
    true = {model.name: _true(model) for model in models}
    own = {model.name: model.self_score for model in models}
    figures = {"beside": charts.beside(true, own, scale)}
    if any(true.values()):
        figures["true"] = charts.over_models(true, Axis(*scale, two_decimals, charts.short), charts.FIGURE)
    if judging := [model.reward_modeling for model in models if model.reward_modeling]:
        accuracy = {m.name: m.reward_modeling.pairwise_accuracy if m.reward_modeling else None for m in models}
        figures["accuracy"] = _accuracy(accuracy, judging[0].length_baseline)
    return figures


def _accuracy(accuracy: Mapping[str, Estimate | None], length: Estimate | None) -> Markup:
    """Pairwise accuracy over the models, from a round share below all values up to 1."""
    lowest = min((estimate.low for estimate in (*accuracy.values(), length) if estimate), default=0.4)
    axis = Axis(min(0.4, math.floor(lowest * 10) / 10), 1.0, charts.percent, charts.percent)
    return charts.over_models(accuracy, axis, charts.FIGURE, ("by length alone", length) if length else None)


def _true(model: Measured) -> Estimate | None:
    return model.instruction_following.score if model.instruction_following else None


def _rivals(model: Measured, standing: RunView) -> dict[str, Rival | None]:
    """The model before `model` and the SFT baseline; None where they were not compared."""
    names = {"previous": standing.rival(model.name), "baseline": "SFT"}
    compared = {contest.against for contest in model.head_to_head}
    return {
        part: Rival(name, contest_of(model, name, "truth"), contest_of(model, name, model.name)) if name in compared else None
        for part, name in names.items()
    }


def _compared(models: Sequence[Measured], judge: str | None) -> list[tuple[str, HeadToHead]]:
    """Figures of the judge outside the loop, by model."""
    return [(model.name, contest) for model in models for contest in model.head_to_head if contest.judge == judge]


def _evaluations(standing: RunView) -> list[tuple[Table, dict[str, list[Multiple]]]]:
    """Tables of the evaluations, each with a small chart for every bin of its breakdown."""
    tables = read_tables(standing.folder, {model.name: model.fingerprint for model in standing.measured})
    return [(table, {by: _multiples(bins, _axis(bins)) for by, bins in table.breakdown.items()}) for table in tables]


def _axis(figures: Mapping[str, Mapping[str, Estimate]]) -> Axis:
    """An axis from 0 to 10, or to 100 where values exceed 10."""
    top = max((estimate.high for bins in figures.values() for estimate in bins.values()), default=0.0)
    return Axis(0.0, 10.0 if top <= 10 else 100.0, charts.one_decimal, charts.short)


def _multiples(parts_of: Mapping[str, Mapping[str, Estimate]], axis: Axis) -> list[Multiple]:
    """A chart over the models for each part of the breakdown `parts_of` (model → part → figure)."""
    parts = dict.fromkeys(part for figures in parts_of.values() for part in figures)
    values_by_part = {part: {name: figures.get(part) for name, figures in parts_of.items()} for part in parts}
    return [Multiple(part, charts.over_models(values, axis, charts.SMALL)) for part, values in values_by_part.items()]


def _histograms(models: Sequence[Measured], scale: tuple[float, float]) -> list[Multiple]:
    true = {m.name: _shares(m.instruction_following.histogram, scale) for m in models if m.instruction_following}
    own = {model.name: _shares(model.score_histogram, scale) for model in models}
    top = max((share for shares in (*true.values(), *own.values()) for share in shares), default=1.0) or 1.0
    bins = _bins(scale)
    counts = {
        model.name: (
            sum(model.instruction_following.histogram.values()) if model.instruction_following else 0,
            sum(model.score_histogram.values()),
        )
        for model in models
    }
    return [Multiple(name, charts.histogram(bins, true.get(name), own[name], top, counts[name])) for name in own]


def _bins(scale: tuple[float, float]) -> list[str]:
    width = _width(scale)
    return [f"{scale[0] + width * n:g}" for n in range(math.floor((scale[1] - scale[0]) / width) + 1)]


def _width(scale: tuple[float, float]) -> float:
    """One point, or the width that makes about ten bins."""
    return float(max(1, math.ceil((scale[1] - scale[0]) / 10)))


def _shares(histogram: Mapping[str, int], scale: tuple[float, float]) -> list[float]:
    bins, total = [0] * len(_bins(scale)), sum(histogram.values()) or 1
    for score, count in histogram.items():
        bins[min(len(bins) - 1, max(0, round((float(score) - scale[0]) / _width(scale))))] += count
    return [count / total for count in bins]


def _whole(name: str, read: Callable[[], T], torn: list[str]) -> T | None:
    """The result of `read` on the file `name` of a run; None where it is damaged, and then `torn` names it."""
    try:
        return read()
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError, SelfRewardError):
        torn.append(name)
        return None


def _seeds(seed: FolderReader, torn: list[str]) -> list[SeedPart]:
    """Counts in the receipts of the run's seed folder; empty for a run older than such receipts."""
    parts = [_whole(f"seed/{name}.receipt.json", partial(_seed_part, seed, name), torn) for name in SEEDS]
    return [part for part in parts if part]


def _seed_part(seed: FolderReader, name: str) -> SeedPart | None:
    if (receipt := seed.receipt(name)) is None:
        return None
    replies = {reason.removeprefix(REPLY): n for reason, n in receipt["dropped"].items() if reason.startswith(REPLY)}
    dropped = {reason: n for reason, n in receipt["dropped"].items() if not reason.startswith(REPLY)}
    return SeedPart(SEEDS[name], receipt["records"], dropped, replies)


def _curves(folder: FolderReader, torn: list[str]) -> TrainingCurves | None:
    """Curves of a model's training log; None where there is nothing to draw."""
    file = folder.weights / "metrics.jsonl"
    return _whole(f"{folder.name}/model/{file.name}", partial(_drawn, folder.name, file), torn) if file.exists() else None


def _drawn(name: str, file: Path) -> TrainingCurves | None:
    logged: list[dict[str, Any]] = [json.loads(line) for line in readable(file).read_text(encoding="utf-8").splitlines()]
    titled = []
    for title, keys in CURVES.items():
        lines = [(kind, line) for kind, key in keys.items() if (line := _line(logged, key))]
        titled += [(title, charts.curves(lines))] if lines else []
    steps = max((int(line.get("step", 0)) for line in logged), default=0)
    return TrainingCurves(name, steps, titled, logged[0].get("padding"), logged[0].get("tokens", 0)) if titled else None


def _line(logged: Sequence[dict[str, Any]], key: str) -> list[tuple[float, float]]:
    """(step, value), averaged into at most `STEPS_DRAWN` points; values that are not finite are left out."""
    lines = [line for line in logged if "step" in line and math.isfinite(line.get(key, math.nan))]
    points = [(float(line["step"]), float(line[key])) for line in lines]
    size = math.ceil(len(points) / STEPS_DRAWN) or 1
    groups = [points[at : at + size] for at in range(0, len(points), size)]
    return [(group[-1][0], sum(value for _, value in group) / len(group)) for group in groups]


def _actors(standing: RunView) -> dict[str, dict[str, str]]:
    """The models that answer and judge in each iteration, and whether a model judges itself."""
    actors = {}
    for name in standing.iterations:
        judges, before = standing.recipe_of(name).judge.judges, standing.before(name)
        answering = {"current": before, "frozen": M1, "previous": M1 if before == M1 else standing.before(before)}
        grader = " and ".join(answering.get(judge, judge) for judge in judges)
        says = f"{grader} says of itself" if grader == before else f"{grader} says"
        actors[name] = {"answers": before, "judges": grader, "says": says}
    return actors


def _stand_in(seed: FolderReader) -> bool:
    """True if the sources of the seed examples are the micro world's."""
    return any(example.source.startswith("micro world") for example in seed.records(IFT))
