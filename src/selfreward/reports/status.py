"""Where a run stands, in lines, for `selfreward status` and the page."""

from __future__ import annotations

from itertools import takewhile
from pathlib import Path

from selfreward.errors import shown
from selfreward.records import Measured, alarms, describe
from selfreward.rundir import HELDOUT_RESPONSES, Due, ModelView, RunView, open_run


def describe_status(folder: Path) -> str:
    """The lines that `selfreward status` prints. Raises `SelfRewardError` where `folder` is no run folder."""
    run = open_run(folder)
    return "\n".join(map(shown, [f"{folder}: {run.status}", *(f"  {line}" for line in model_lines(run))]))


def model_lines(run: RunView) -> list[str]:
    """A line for each model: its headline figures, or its stages done and to do."""
    return [f"{name:<4} {_line(model)}" for name, model in run.models.items()]


def _line(model: ModelView) -> str:
    if not model.measured:
        return _stages(model)
    alarm = f"; {describe(model.watched)}" if alarms(model.watched) else ""
    return f"{_figures(model.measured)}{alarm}{'; to do: watching' if model.owed else ''}"


def _figures(measured: Measured) -> str:
    told = [
        f"true score {measured.true_score:.2f}" if measured.true_score is not None else "no truth known",
        f"says {measured.self_score.value:.2f} of itself" if measured.self_score else "no score of its own",
        f"pairwise accuracy {measured.pairwise_accuracy:.1%}"
        if measured.pairwise_accuracy is not None
        else "no pairwise accuracy",
    ]
    return f"measured: {', '.join(told)}"


def _stages(model: ModelView) -> str:
    if not model.done:
        return "to do"
    making = takewhile(lambda due: due.part is not HELDOUT_RESPONSES, model.due)
    to_do = [_called(model, due) for due in making if due in model.owed] + ["measuring"]
    return f"done: {', '.join(_called(model, due) for due in model.done)}; to do: {', '.join(to_do)}"


def _called(model: ModelView, due: Due) -> str:
    return due.part.name if due.folder == model.name else str(due)
