"""Runs side by side: differences of their recipes, both axes of every model, and all monitors; as a page and as tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from markupsafe import Markup
from rich.markup import escape
from rich.table import Table

from selfreward.errors import SelfRewardError, shown, terminal
from selfreward.records import Estimate, Measured, Reading, number, write_whole
from selfreward.reports import charts
from selfreward.reports.charts import Mark
from selfreward.reports.headline import contest_of
from selfreward.reports.loop_health import Health, health_of, mark_of, meaning_of, title_of
from selfreward.reports.render import render
from selfreward.rundir import SFT, RunView, is_run, open_run

if TYPE_CHECKING:
    from rich.console import Console

PAGE = "compare.html"
COLOURS = 6
"""Number of the style sheet's classes r0, r1, …; further runs reuse them."""
PLAIN_WIDTH = 160
"""Columns of output to a file or a pipe."""
MISSING = "–"
SIGNS = {"ok": "", "warn": " !", "back": " !", "stop": " !!"}
Cells = list[tuple[str, str]]
"""(words, class) each."""


class ComparedRun(NamedTuple):
    """One of the compared runs."""

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
    """Related figures."""

    title: str
    models: list[str]
    figures: list[FigureRow]


class RunComparison(NamedTuple):
    """Runs side by side."""

    sides: list[ComparedRun]
    fields: dict[str, list[str]]
    """Field of the recipe → its value in each run; only fields that differ."""
    groups: list[Group]


def compare_runs(folders: Sequence[Path]) -> RunComparison:
    """Compare two or more runs. Raises `SelfRewardError`."""
    for folder in folders:
        if folder.is_dir() and not is_run(folder):
            raise SelfRewardError(
                "is no run", str(folder), "Give run folders, or compare two models: `selfreward compare models`"
            )
    if len({folder.resolve() for folder in folders}) < max(2, len(folders)):
        raise SelfRewardError("a run is compared with itself, or with nothing", "compare", "Give two runs or more, each once")
    standings = [open_run(folder) for folder in folders]
    names = _names(folders)
    sides = [
        ComparedRun(name, f"r{n % COLOURS}", run_view, health_of(run_view))
        for n, (name, run_view) in enumerate(zip(names, standings, strict=True))
    ]
    return RunComparison(sides, _differing(standings), [*_axes(sides), *_monitors(sides)])


def write_comparison(comparison: RunComparison, folder: Path) -> Path:
    """Write the page into `folder`; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / PAGE, render("compare.html", sides=comparison.sides, fields=comparison.fields, groups=comparison.groups))
    return folder / PAGE


def show_comparison(comparison: RunComparison, console: Console | None = None) -> None:
    """Print tables: recipe differences, then every figure, a line for each run; `!` is outside a limit, `!!` a stop."""
    console = console or terminal()
    if not console.is_terminal:
        console = terminal(file=console.file, width=PLAIN_WIDTH)
    sides, fields = comparison.sides, comparison.fields
    console.print(_table("Recipes", ["field", *(side.name for side in sides)], [[f, *v] for f, v in fields.items()]))
    for group in comparison.groups:
        rows = [
            [figure.title, side.name, *(words for words, _ in cells)]
            for figure in group.figures
            for side, cells in zip(sides, figure.rows, strict=True)
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
    """The folders' names, or their paths where two have the same name."""
    names = [folder.resolve().name for folder in folders]
    return names if len(set(names)) == len(names) else [str(folder) for folder in folders]


def _differing(standings: Sequence[RunView]) -> dict[str, list[str]]:
    flat = [dict(_flat(standing.recipe.model_dump(mode="json", by_alias=True, exclude_none=True))) for standing in standings]
    fields = dict.fromkeys(field for recipe in flat for field in recipe)
    values = {field: [recipe.get(field, MISSING) for recipe in flat] for field in fields}
    return {field: field_values for field, field_values in values.items() if len(set(field_values)) > 1}


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value if isinstance(value, str) else json.dumps(value)


def _axes(sides: Sequence[ComparedRun]) -> list[Group]:
    """Measurements, and head-to-heads against the model before, by the truth and by a judge outside the loop."""
    models = _in_order([model.name for side in sides for model in side.standing.measured])
    columns: dict[str, Callable[[RunView, int], Estimate | None]] = {
        "true score": lambda run, at: _true(run.measured[at]),
        "says of itself": lambda run, at: run.measured[at].self_score,
        "pairwise accuracy": lambda run, at: _accuracy(run.measured[at]),
        "wins less losses against the model before, by the truth": partial(_net, judged_by=lambda run: "truth"),
        "wins less losses against the model before, by the outside judge": partial(
            _net, judged_by=lambda run: run.recipe.measure.judge
        ),
    }
    figures = []
    for title, of in columns.items():
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
    judge = judged_by(run)
    contest = contest_of(models[at], run.rival(models[at].name), judge) if judge else None
    return contest.net if contest else None


def _monitors(sides: Sequence[ComparedRun]) -> list[Group]:
    """A group for each monitor, with the figures that any run has."""
    read = [{(item.monitor, item.iteration): item for item in side.standing.watched} for side in sides]
    with_values = dict.fromkeys(figure for by_model in read for (figure, _), item in by_model.items() if item.value is not None)
    models = _in_order([model for by_model in read for _, model in by_model])
    groups: dict[str, list[FigureRow]] = {}
    for figure in with_values:
        lines = [{model: by_model[figure, model] for model in models if (figure, model) in by_model} for by_model in read]
        groups.setdefault(figure.partition(".")[0], []).append(_figure(figure, sides, lines, models))
    return [Group(title_of(monitor), models, figures) for monitor, figures in groups.items()]


def _figure(figure: str, sides: Sequence[ComparedRun], lines: Sequence[Mapping[str, Reading]], models: list[str]) -> FigureRow:
    runs = zip(sides, lines, strict=True)
    marks = [{name: mark_of(reading, run.colour) for name, reading in line.items()} for run, line in runs]
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


def _overlaid(sides: Sequence[ComparedRun], lines: Sequence[Mapping[str, Mark]], models: Sequence[str]) -> Markup:
    """One chart of all runs, over the models that any of them has."""
    whole = [{model: line.get(model, Mark(None)) for model in models} for line in lines]
    return charts.monitor_chart([(side.name, line) for side, line in zip(sides, whole, strict=True)])


def _in_order(names: Sequence[str]) -> list[str]:
    """M0, SFT, M1, M2, …, without repetition."""
    return sorted(set(names), key=lambda name: 0.5 if name == SFT else number(name))


def _plain(text: str) -> str:
    """Text without markup."""
    return escape(shown(text))
