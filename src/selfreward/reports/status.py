"""The state of a run, in lines, for `selfreward status` and the page."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from itertools import takewhile
from pathlib import Path
from typing import Any

from selfreward.errors import amount, shown
from selfreward.records import HeadToHead, Measured, alarms, describe, unread
from selfreward.reports.headline import can_judge, decided, no_judge, of, write_headline
from selfreward.rundir import HELDOUT_RESPONSES, M0, SFT, ModelView, PlannedPart, RunView, open_run


def describe_status(folder: Path) -> str:
    """The lines that `selfreward status` prints. Raises `SelfRewardError` where `folder` holds no run."""
    run = open_run(folder)
    return "\n".join(
        map(shown, [f"{folder}: {run.status}", *(f"  {line}" for line in model_lines(run)), *without_value(run), *unchecked(run)])
    )


def describe_end(folder: Path) -> str:
    """A run's result in three lines: whether its last model is better than M1, with both axes; its monitors; its page."""
    run = open_run(folder)
    measured = {model.name: model for model in run.standing if model.name not in (M0, SFT)}
    ends = dict.fromkeys([*measured][:1] + [*measured][-1:])
    answer = write_headline(run.standing, run.recipe.judge.scale[1]).title
    axes = f"{answer}. " + "; ".join(f"{name}: {_axes(measured[name])}" for name in reversed(ends))
    watched = describe(run.watched) if run.recipe.drift else "not watched: a table [drift] lets monitors read every model"
    return "\n".join(map(shown, [axes, watched, str(folder / "report" / "index.html")]))


def model_lines(run: RunView) -> list[str]:
    """A line for each model: its headline figures, or its stages done and to do."""
    return [f"{name:<4} {_line(model)}" for name, model in run.models.items()]


def without_value(run: RunView) -> list[str]:
    """A line for each figure with limits of which the last model read has no value, with what it needs."""
    return [
        f"{reading.monitor} has limits, and could not be read at {reading.iteration}"
        + (f": it needs {need}" if (need := text_of(reading.monitor, "needs")) else "")
        for reading in unread(run.watched)
    ]


def text_of(figure: str, part: str) -> str:
    """The text about a figure in one part of its monitor's `monitors.toml`, one for all traits; empty where there is none."""
    monitor, _, name = figure.partition(".")
    kind, of_a_trait, _ = name.partition("/")
    return str(monitor_texts().get(monitor, {}).get(part, {}).get(kind + of_a_trait, ""))


@cache
def monitor_texts() -> dict[str, Any]:
    """Monitor → its texts."""
    return tomllib.loads((files("selfreward") / "reports" / "text" / "monitors.toml").read_text(encoding="utf-8"))


def unchecked(run: RunView) -> list[str]:
    """Lines on what no receipt covers: figures of an older build, and a recipe that no attempt at the run had."""
    names, now = ", ".join(run.unsigned), f"the same command as before, on {run.folder}, computes and signs them"
    return [
        *([f"Figures of {names} are as found: an older build wrote no receipts of measurements; {now}"] if names else []),
        *([] if run.knows_recipe else ["config.json is the recipe of no attempt in logs: one of them was edited"]),
    ]


def _line(model: ModelView) -> str:
    if not model.measured:
        return _stages(model)
    alarm = f"; {describe(model.watched)}" if alarms(model.watched) else ""
    return f"measured: {_axes(model.measured)}{alarm}{'; to do: watching' if model.owed else ''}"


def _axes(measured: Measured) -> str:
    outside = [compared for compared in measured.head_to_head if compared.judge not in ("truth", measured.name)]
    phrases = [
        *(_outside(compared) for compared in outside[-1:]),
        f"true score {measured.true_score:.2f}" if measured.true_score is not None else "no truth known",
        f"says {measured.self_score.value:.2f} of itself" if measured.self_score else "no score of its own",
        _accuracy(measured),
    ]
    return ", ".join(phrases)


def _outside(compared: HeadToHead) -> str:
    """The verdict of a judge outside the loop."""
    if not can_judge(compared):
        return no_judge(compared)
    net = 100 * (compared.wins - compared.losses) / decided(compared)
    says = f"{net:+.1f} points of 100" if net else "as many wins as losses"
    return f"{compared.judge} says {says} against {compared.against} ({of(decided(compared), compared.unscored)})"


def _accuracy(measured: Measured) -> str:
    if measured.pairwise_accuracy is None or measured.reward_modeling is None:
        return "no pairwise accuracy"
    return f"pairwise accuracy {measured.pairwise_accuracy:.1%} of {amount(measured.reward_modeling.pairs, 'pair')}"


def _stages(model: ModelView) -> str:
    if not model.done:
        return "to do"
    if not model.owed and not model.is_measured:
        return "made, and not measured: measure.every passes over it"
    making = takewhile(lambda planned: planned.part is not HELDOUT_RESPONSES, model.planned)
    to_do = [_called(model, planned) for planned in making if planned in model.owed] + ["measuring"] * model.is_measured
    return f"done: {', '.join(_called(model, planned) for planned in model.done)}; to do: {', '.join(to_do)}"


def _called(model: ModelView, planned: PlannedPart) -> str:
    return planned.part.name if planned.folder == model.name else str(planned)
