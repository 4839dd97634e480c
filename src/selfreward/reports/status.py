"""Where a run stands, in lines, for `selfreward status` and the page."""

from __future__ import annotations

import time
from pathlib import Path

from selfreward.records import Measured, alarms, describe, ending
from selfreward.rundir import ANSWERING, ModelStanding, RunView, Status, open_run


def describe_status(folder: Path) -> str:
    """What `selfreward status` prints. Raises `SelfRewardError` where `folder` is no run folder."""
    standing = open_run(folder)
    return "\n".join([f"{folder}: {where(standing, time.time())}", *(f"  {line}" for line in model_lines(standing))])


def describe_end(folder: Path) -> str:
    """A run's result in three lines: both axes of its last model and of M1, what its monitors say, and the path of its page."""
    standing = open_run(folder)
    models = {model.name: model for model in standing.measured if model.name not in ("M0", "SFT")}
    ends = dict.fromkeys([*models][:1] + [*models][-1:])
    axes = "; ".join(f"{name}: {_axes(models[name])}" for name in reversed(ends))
    watched = (
        describe(standing.readings) if standing.recipe.drift else "not watched: a table [drift] lets monitors read every model"
    )
    return f"{axes}\n{watched}\n{folder / 'report' / 'index.html'}"


def where(standing: RunView, now: float) -> str:
    """In one line: finished, or what is under way at `now` (seconds since 1970), or where it stopped, or what ended it."""
    if standing.ended:
        return ending(standing.ended.name, standing.ended.readings)
    if standing.finished and not standing.alive:
        return "finished"
    stage, status = standing.next_stage, standing.status
    if status is None or not _part_of(status.stage, stage):
        progress = f"before {stage}" if stage else "at its end"
    else:
        progress = f"in {status.stage}, {status.done_of}" + _left(standing, status, now)
    return f"running, {progress}" if standing.alive else f"stopped {progress}; the same command goes on from here"


def _part_of(seen: str, stage: str) -> bool:
    """Whether who works on `stage` is seen in `seen`: checkpoints are chosen by stages of their own before a model is made."""
    return seen == stage or (stage.endswith("/model") and seen.startswith(f"{stage.removesuffix('model')}selection_"))


def model_lines(standing: RunView) -> list[str]:
    """A line for each model: its headline figures, or its stages done and to do."""
    return [f"{model.name:<4} {_line(model)}" for model in standing.models]


def _line(model: ModelStanding) -> str:
    if not model.measured:
        return _stages(model)
    alarm = f"; {describe(model.readings)}" if alarms(model.readings) else ""
    return f"measured: {_axes(model.measured)}{alarm}{'; to do: watching' if model.owed else ''}"


def _left(standing: RunView, status: Status, now: float) -> str:
    if not standing.alive or status.eta_s is None:
        return ""
    seconds = max(0.0, status.eta_s - (now - status.at))
    return f", about {seconds:.0f} s left" if seconds < 90 else f", about {seconds / 60:.0f} min left"


def _axes(measured: Measured) -> str:
    said = [
        f"true score {measured.true_score:.2f}" if measured.true_score is not None else "no truth known",
        f"says {measured.self_score.value:.2f} of itself" if measured.self_score else "no score of its own",
        f"pairwise accuracy {measured.pairwise_accuracy:.1%}"
        if measured.pairwise_accuracy is not None
        else "no pairwise accuracy",
    ]
    return ", ".join(said)


def _stages(model: ModelStanding) -> str:
    if not model.done:
        return "to do"
    making = model.stages[: model.stages.index(ANSWERING[0])]
    to_do = [stage for stage in making if stage in model.owed] + ["measuring"]
    return f"done: {', '.join(model.done)}; to do: {', '.join(to_do)}"
