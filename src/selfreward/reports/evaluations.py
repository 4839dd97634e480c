"""Results of evaluations as lines and as tables, side by side where their conditions agree."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from selfreward.errors import amount, shown
from selfreward.records import Estimate, Figure, Result, content_id, read_results
from selfreward.reports.headline import NO_JUDGE, two_decimals

INDECISIVE = {"seed", "bootstrap", "backend", "servers", "batch_size", "skip_bad_rows"} | {
    "judge", "against", "by", "data", "baseline", "include_path", "rubric", "template",
}  # fmt: skip
"""Settings in which comparable results may differ: the means, names and paths; fingerprints and digests are compared instead."""


class Table(NamedTuple):
    """One evaluation: a row for each model, a column for each figure. All with the same judge, prompts and opponent."""

    title: str
    kind: str
    judge: str | None
    against: str | None
    note: str
    columns: list[str]
    rows: dict[str, dict[str, Figure]]
    outcomes: dict[str, dict[str, int]]
    no_judges: list[str]
    """Sentences on judges of which most answers gave no verdict."""
    breakdown: dict[str, dict[str, dict[str, Estimate]]]
    """Label → model → bin → figure; a bin's name ends with the number of its prompts."""
    broken_down: str


def read_tables(run: Path, models: Mapping[str, str]) -> list[Table]:
    """Every finished evaluation of `models` (name → fingerprint), in order; comparable ones of the same name share a table.

    Results of a model that has since been trained anew are left out.
    """
    alike: dict[tuple[str, ...], dict[str, Result]] = defaultdict(dict)
    for model, fingerprint in models.items():
        for result in read_results(run / model):
            if result.fingerprint == fingerprint:
                alike[_key(result)][model] = result
    return [_table(results) for _, results in sorted(alike.items())]


def _key(result: Result) -> tuple[str, ...]:
    """Everything that results in one table must have in common."""
    identities = (result.judge_fingerprint, result.against_fingerprint, result.prompts_digest, result.rubric_digest)
    parts = (result.name, result.kind, *identities, content_id(_decisive(result.settings)), result.note)
    return tuple(part or "" for part in parts)


def _decisive(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings without those in which comparable results may differ, table by table."""
    compared = {name: value for name, value in settings.items() if name not in INDECISIVE}
    return {name: _decisive(value) if isinstance(value, dict) else value for name, value in compared.items()}


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
        no_judges=[none for model, result in results.items() if (none := no_judge(result.judge or model, result.outcomes))],
        breakdown={label: _bins(label, results) for label in labels},
        broken_down=first.broken_down,
    )


def _bins(label: str, results: Mapping[str, Result]) -> dict[str, dict[str, Estimate]]:
    by_model = {model: result.breakdown.get(label, []) for model, result in results.items()}
    sizes: dict[str, int] = defaultdict(int)
    for figures in by_model.values():
        for figure in figures:
            sizes[figure.name] = max(sizes[figure.name], figure.n)
    return {model: {f"{f.name} (n = {sizes[f.name]:,})": f.estimate for f in rows} for model, rows in by_model.items()}


WHY = {
    "unparsed": "no verdict stands where its pattern looks for one", "off_scale": "the score is beyond the scale",
    "truncated": "the text was cut at max_tokens", "error": "the request failed", "no_logprobs": "no log-probabilities were told",
}  # fmt: skip
"""Outcome of a judgment or comparison that gave nothing → what that means."""


def no_judge(who: str, outcomes: Mapping[str, int]) -> str:
    """The sentence on a judge of which most answers gave no verdict, by their `outcomes`; empty where most did."""
    lost = {name: count for name, count in outcomes.items() if name in WHY}
    asked = sum(lost.values()) + sum(outcomes.get(name, 0) for name in ("scored", "decided"))
    if not asked or sum(lost.values()) <= NO_JUDGE * asked:
        return ""
    worst = max(lost, key=lambda name: lost[name])
    told = f"{sum(lost.values()):,} of {amount(asked, 'answer')} gave no verdict that can be read"
    return f"{who} is no judge of this: {told}, most of them {worst} ({WHY[worst]}), so that its figures say little"


def describe_result(result: Result) -> str:
    """The lines that `selfreward evaluate` prints."""
    by = f", judged by {result.judge}" if result.judge else ""
    against = f" against {result.against}" if result.against else ""
    failed = ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in result.outcomes.items())
    lines = [f"{result.name}: {result.model}{against}{by}", *(f"  {_spelt(figure)}" for figure in result.figures)]
    lines += [f"  answers of the judge: {failed}"] if failed else []
    lines += [f"  {none}"] if (none := no_judge(result.judge or result.model, result.outcomes)) else []
    return "\n".join(map(shown, [*lines, f"  {result.note}"]))


def _spelt(figure: Figure) -> str:
    ends = () if figure.low is None or figure.high is None else (figure.low, figure.high)
    interval = f" ({' to '.join(map(two_decimals, ends))})" if ends else ""
    return f"{figure.name} {two_decimals(figure.value)}{interval}, n = {figure.n:,}"
