"""Runs side by side: where their recipes differ, both axes of every model, and all monitors; as a page and as tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from selfreward.errors import SelfRewardError, shown
from selfreward.records import Estimate, Measured, Reading, number, write_whole
from selfreward.reports import charts
from selfreward.reports.charts import Mark
from selfreward.reports.headline import contest_of
from selfreward.reports.loop_health import Health, health_of, mark_of, meaning_of, title_of
from selfreward.reports.render import render
from selfreward.rundir import SFT, RunView, open_run

PAGE = "compare.html"
COLOURS = 6
"""Classes r0, r1, … that the style sheet tells apart; more runs begin anew."""
PLAIN_WIDTH = 160
"""Columns where the output goes to a file or a pipe."""
MISSING = "–"
SIGNS = {"ok": "", "warn": " !", "stop": " !!"}
Cells = list[tuple[str, str]]
"""(words, class) each."""


class Side(NamedTuple):
    """One of the runs."""

    name: str
    colour: str
    standing: RunView
    health: Health


class FigureRow(NamedTuple):
    """One figure in all runs."""

    title: str
    meaning: str
    chart: Markup
    rows: list[Cells]
    """For each run, its value for each model."""


class Group(NamedTuple):
    """Figures that belong together."""

    title: str
    models: list[str]
    figures: list[FigureRow]


class Comparison(NamedTuple):
    """Runs side by side."""

    sides: list[Side]
    fields: dict[str, list[str]]
    """Field of the recipe → its value in each run; only where they differ."""
    groups: list[Group]


def are_runs(subjects: Sequence[str], options: Sequence[str]) -> bool:
    """Whether all that is to be compared are runs, and not two models. Raises `SelfRewardError` where it is neither.

    `options` were given and have a meaning for models alone.
    """
    runs = [subject for subject in subjects if _is_run(Path(subject))]
    if not runs and len(subjects) == 2:
        return False
    models = [subject for subject in subjects if subject not in runs]
    if runs and models:
        now = f"Compare runs with runs, or name a model of the run: {Path(runs[0]) / 'M1'}"
        raise SelfRewardError(f"is no run, and {runs[0]} is one", models[0], now)
    if models:
        raise SelfRewardError(f"{len(models)} models", "compare", "Give two models, or two runs or more")
    if options:
        raise SelfRewardError("means nothing where runs are compared", options[0], "Leave it out, or compare two models")
    return True


def _is_run(folder: Path) -> bool:
    """Whether `folder` is that of a run: its config.json is a recipe, and no model's settings."""
    try:
        return "base" in json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False


def compare_runs(folders: Sequence[Path]) -> Comparison:
    """Read runs, two or more. Raises `SelfRewardError`."""
    if len({folder.resolve() for folder in folders}) < max(2, len(folders)):
        raise SelfRewardError("a run is compared with itself, or with nothing", "compare", "Give two runs or more, each once")
    standings = [open_run(folder) for folder in folders]
    names = _names(folders)
    sides = [
        Side(name, f"r{n % COLOURS}", found, health_of(found))
        for n, (name, found) in enumerate(zip(names, standings, strict=True))
    ]
    return Comparison(sides, _differing(standings), [*_axes(sides), *_monitors(sides)])


def write_comparison(found: Comparison, folder: Path) -> Path:
    """Write the page into `folder`; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / PAGE, render("compare.html", sides=found.sides, fields=found.fields, groups=found.groups))
    return folder / PAGE


def show_comparison(found: Comparison, console: Console | None = None) -> None:
    """Print tables: what differs, then every figure, a line for each run; `!` is outside a limit, `!!` a stop."""
    console = console or Console(highlight=False)
    if not console.is_terminal:
        console = Console(file=console.file, width=PLAIN_WIDTH, highlight=False)
    console.print(_table("Recipes", ["field", *(side.name for side in found.sides)], [[f, *v] for f, v in found.fields.items()]))
    for group in found.groups:
        rows = [
            [figure.title, side.name, *(words for words, _ in cells)]
            for figure in group.figures
            for side, cells in zip(found.sides, figure.rows, strict=True)
            if any(words != MISSING for words, _ in cells)
        ]
        console.print(_table(group.title, ["figure", "run", *group.models], rows))


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(title=_plain(title), title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(_plain(column), overflow="fold")
    for row in rows:
        table.add_row(*map(_plain, row))
    return table


def _names(folders: Sequence[Path]) -> list[str]:
    """The folders' names, or their paths where two are called alike."""
    names = [folder.resolve().name for folder in folders]
    return names if len(set(names)) == len(names) else [str(folder) for folder in folders]


def _differing(standings: Sequence[RunView]) -> dict[str, list[str]]:
    flat = [dict(_flat(standing.recipe.model_dump(mode="json", by_alias=True, exclude_none=True))) for standing in standings]
    fields = dict.fromkeys(field for recipe in flat for field in recipe)
    values = {field: [recipe.get(field, MISSING) for recipe in flat] for field in fields}
    return {field: told for field, told in values.items() if len(set(told)) > 1}


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value if isinstance(value, str) else json.dumps(value)


def _axes(sides: Sequence[Side]) -> list[Group]:
    """Measurements; of head-to-heads those against the model before, by the truth and by a judge outside the loop."""
    models = _in_order([model.name for side in sides for model in side.standing.measured])
    told: dict[str, Callable[[RunView, int], Estimate | None]] = {
        "true score": lambda run, at: _true(run.measured[at]),
        "says of itself": lambda run, at: run.measured[at].self_score,
        "pairwise accuracy": lambda run, at: _accuracy(run.measured[at]),
        "wins less losses against the model before, by the truth": partial(_net, judged_by=lambda run: "truth"),
        "the same, by the judge outside": partial(_net, judged_by=lambda run: run.recipe.measure.judge),
    }
    figures = []
    for title, of in told.items():
        lines = [{m.name: of(side.standing, at) for at, m in enumerate(side.standing.measured)} for side in sides]
        if any(estimate for line in lines for estimate in line.values()):
            marks = [
                {name: Mark(value, side.colour) for name, value in line.items()} for side, line in zip(sides, lines, strict=True)
            ]
            rows = [[(_value(line.get(name)), "") for name in models] for line in lines]
            figures.append(FigureRow(title, "", _overlaid(sides, marks, models), rows))
    return [Group("Both axes", models, figures)] if figures else []


def _true(model: Measured) -> Estimate | None:
    return model.instruction_following.score if model.instruction_following else None


def _accuracy(model: Measured) -> Estimate | None:
    return model.reward_modeling.pairwise_accuracy if model.reward_modeling else None


def _net(run: RunView, at: int, judged_by: Callable[[RunView], str | None]) -> Estimate | None:
    """Wins less losses of a model against the one before it."""
    models: Sequence[Measured] = run.measured
    judge, before = judged_by(run), models[at - 1].name if at else ""
    found = contest_of(models[at], before, judge) if judge else None
    return found.net if found else None


def _monitors(sides: Sequence[Side]) -> list[Group]:
    """A group for each monitor, of the figures that were read in any run."""
    read = [{(one.monitor, one.iteration): one for one in side.standing.watched} for side in sides]
    known = dict.fromkeys(figure for found in read for (figure, _), one in found.items() if one.value is not None)
    models = _in_order([model for found in read for _, model in found])
    groups: dict[str, list[FigureRow]] = {}
    for figure in known:
        lines = [{model: found[figure, model] for model in models if (figure, model) in found} for found in read]
        groups.setdefault(figure.partition(".")[0], []).append(_figure(figure, sides, lines, models))
    return [Group(title_of(monitor), models, figures) for monitor, figures in groups.items()]


def _figure(figure: str, sides: Sequence[Side], lines: Sequence[Mapping[str, Reading]], models: Sequence[str]) -> FigureRow:
    marks = [{name: mark_of(one, side.colour) for name, one in line.items()} for side, line in zip(sides, lines, strict=True)]
    rows = [[_cell(line.get(model)) for model in models] for line in lines]
    return FigureRow(figure, meaning_of(figure), _overlaid(sides, marks, models), rows)


def _cell(reading: Reading | None) -> tuple[str, str]:
    if reading is None or reading.value is None:
        return MISSING, ""
    return charts.short(reading.value) + SIGNS[reading.verdict], reading.verdict


def _value(estimate: Estimate | None) -> str:
    return (
        f"{charts.short(estimate.value)} ({charts.short(estimate.low)} to {charts.short(estimate.high)})" if estimate else MISSING
    )


def _overlaid(sides: Sequence[Side], lines: Sequence[Mapping[str, Mark]], models: Sequence[str]) -> Markup:
    """One chart of all runs, over the models that any of them has."""
    whole = [{model: line.get(model, Mark(None)) for model in models} for line in lines]
    return charts.watched([(side.name, line) for side, line in zip(sides, whole, strict=True)])


def _in_order(names: Sequence[str]) -> list[str]:
    """M0, SFT, M1, M2, …, each once."""
    return sorted(set(names), key=lambda name: 0.5 if name == SFT else number(name))


def _plain(text: str) -> str:
    """Text that is no markup."""
    return escape(shown(text))
