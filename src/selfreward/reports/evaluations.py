"""Results of evaluations as lines and as tables, side by side where their conditions agree."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from selfreward.errors import shown
from selfreward.records import Estimate, Figure, Result, content_id, read_results
from selfreward.reports.charts import two

INDECISIVE = {"seed", "bootstrap", "backend", "servers", "batch_size", "skip_bad_rows"} | {
    "judge", "against", "by", "data", "baseline", "include_path", "rubric", "template",
}  # fmt: skip
"""Settings that do not part two results: how it was done; and names and paths, for fingerprints and digests stand for them."""


class Table(NamedTuple):
    """One evaluation: a row for each model, a column for each figure. Same judge, prompts and opponent throughout."""

    title: str
    kind: str
    judge: str | None
    against: str | None
    note: str
    columns: list[str]
    rows: dict[str, dict[str, Figure]]
    outcomes: dict[str, dict[str, int]]
    breakdown: dict[str, dict[str, dict[str, Estimate]]]
    """Label → model → bin → figure; a bin's name ends in how many prompts it has."""
    broken_down: str


def read_tables(run: Path, models: Mapping[str, str]) -> list[Table]:
    """Every finished evaluation of `models` (name → fingerprint), in their order; those of one name together where they compare.

    Left out are results of a model that has since been trained anew.
    """
    alike: dict[tuple[str, ...], dict[str, Result]] = defaultdict(dict)
    for model, fingerprint in models.items():
        for result in read_results(run / model):
            if result.fingerprint == fingerprint:
                alike[_key(result)][model] = result
    return [_table(results) for _, results in sorted(alike.items())]


def _key(result: Result) -> tuple[str, ...]:
    """Everything that two results must share to stand in one table."""
    asked = (result.judge_fingerprint, result.against_fingerprint, result.prompts_digest, result.rubric_digest)
    parts = (result.name, result.kind, *asked, content_id(_decisive(result.settings)), result.note)
    return tuple(part or "" for part in parts)


def _decisive(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings without those that two results may differ in and still compare, table by table."""
    told = {name: value for name, value in settings.items() if name not in INDECISIVE}
    return {name: _decisive(value) if isinstance(value, dict) else value for name, value in told.items()}


def _table(results: Mapping[str, Result]) -> Table:
    first = next(iter(results.values()))
    rows = {model: {figure.name: figure for figure in result.figures} for model, result in results.items()}
    labels = dict.fromkeys(label for result in results.values() for label in result.breakdown)
    return Table(
        title=first.name,
        kind=first.kind,
        judge=first.judge,
        against=first.against,
        note=first.note,
        columns=list(dict.fromkeys(name for figures in rows.values() for name in figures)),
        rows=rows,
        outcomes={model: result.outcomes for model, result in results.items()},
        breakdown={label: _bins(label, results) for label in labels},
        broken_down=first.broken_down,
    )


def _bins(label: str, results: Mapping[str, Result]) -> dict[str, dict[str, Estimate]]:
    found = {model: result.breakdown.get(label, []) for model, result in results.items()}
    sizes: dict[str, int] = defaultdict(int)
    for figures in found.values():
        for figure in figures:
            sizes[figure.name] = max(sizes[figure.name], figure.n)
    return {model: {f"{f.name} (n = {sizes[f.name]:,})": f.estimate for f in figures} for model, figures in found.items()}


def describe_result(result: Result) -> str:
    """The lines that `selfreward evaluate` prints."""
    by = f", judged by {result.judge}" if result.judge else ""
    against = f" against {result.against}" if result.against else ""
    failed = ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in result.outcomes.items())
    lines = [f"{result.name}: {result.model}{against}{by}", *(f"  {_spelt(figure)}" for figure in result.figures)]
    lines += [f"  answers of the judge: {failed}"] if failed else []
    return "\n".join(map(shown, [*lines, f"  {result.note}"]))


def _spelt(figure: Figure) -> str:
    interval = "" if figure.low is None or figure.high is None else f" ({two(figure.low)} to {two(figure.high)})"
    return f"{figure.name} {two(figure.value)}{interval}, n = {figure.n:,}"
