"""The page "Is the loop healthy?": every monitor's figures over the models, and the records behind them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup

from selfreward.errors import amount
from selfreward.records import Estimate, Reading, alarms, describe, unread, worst, write_whole
from selfreward.reports import charts
from selfreward.reports.cases import Bred, bred_traits, doubtful_pairs, favoured_words, fitting, flattered_answers
from selfreward.reports.charts import Mark
from selfreward.reports.render import render
from selfreward.reports.status import monitor_texts, text_of
from selfreward.rundir import RunView

PAGE = "health.html"
TEXTS = 500_000
"""Bytes of each of the four parts with records; with the curves the page stays below 3 MB."""
UNWATCHED = "Not known: nothing watched this loop"
TO_COME = "Not known yet: no model has been read"
ANSWER = {"free": "Not known", "ok": "Yes", "warn": "No", "back": "No", "stop": "No"}
"""The answer to "is the loop healthy?", by the severity of its monitors."""
OUTSIDE = ("warn", "back", "stop")
"""The verdicts on what is outside its limits."""
SHOWN = 3
"""Curves of a monitor that are shown beside those outside their limits; the rest is folded."""


class Health(NamedTuple):
    """The state of a run by its monitors, in a line, and the class of its colour."""

    line: str
    kind: str


class FigureCurve(NamedTuple):
    """One figure over the models."""

    name: str
    latest: Reading
    kind: str
    """Class of the colour of its gravest reading."""
    chart: Markup
    meaning: str
    unit: str
    """The unit of its value."""
    of: str
    """The number of cases behind the latest reading, `818 pairs`; empty where it is not known."""
    moved: float
    """The distance that it moved over the models, in half widths of its interval."""
    remedy: str
    """The remedy; empty where it is within its limits, on the good side of 0, or no remedy is known."""


class Monitor(NamedTuple):
    """The curves of one monitor."""

    name: str
    title: str
    meaning: str
    curves: list[FigureCurve]
    """The curves: those outside their limits first, then those that moved most."""

    @property
    def shown(self) -> list[FigureCurve]:
        """The curves that are seen at once."""
        return [curve for at, curve in enumerate(self.curves) if at < SHOWN or curve.kind in OUTSIDE]

    @property
    def folded(self) -> list[FigureCurve]:
        """The others."""
        return self.curves[len(self.shown) :]


def write_health(standing: RunView, folder: Path) -> Path:
    """Write the page of a run into `folder`; returns its path."""
    write_whole(folder / PAGE, _render(standing))
    return folder / PAGE


def health_of(standing: RunView) -> Health:
    """The state of the run by its monitors."""
    if not standing.watched:
        return Health(TO_COME if standing.recipe.drift else UNWATCHED, "free")
    kind = _kind(standing.watched)
    kind = "free" if kind == "ok" and unread(standing.watched) else kind
    names = [model.name for model in standing.left]
    left = f"{' and '.join(names)} {'was' if len(names) == 1 else 'were'} left behind; " if names else ""
    return Health(f"{ANSWER[kind]}: {left}{describe(standing.watched)}", kind)


def title_of(monitor: str) -> str:
    """The title of a monitor."""
    return str(monitor_texts().get(monitor, {}).get("title", monitor))


def meaning_of(figure: str) -> str:
    """The meaning of a figure (`traits.S/length`), in a sentence."""
    trait = figure.partition("/")[2]
    text = text_of(figure, "figures") or "A figure of this monitor."
    return text.replace("{trait}", monitor_texts()["wording"]["names"].get(trait, f"“{trait}”"))


def unit_of(figure: str) -> str:
    """The unit of a figure (`traits.S/length`); empty where it has none that is known."""
    trait = figure.partition("/")[2]
    return text_of(figure, "units").replace("{unit}", monitor_texts()["wording"]["units"].get(trait, f"of “{trait}”"))


def remedy_of(latest: Reading) -> str:
    """The remedy for a figure outside its limits, or clearly on the wrong side of 0 where it has one; else empty."""
    low, high = latest.interval or (0.0, 0.0)
    turned = {"below": high < 0, "above": low > 0}.get(text_of(latest.monitor, "turns"), False)
    return text_of(latest.monitor, "remedies") if turned or latest.verdict in OUTSIDE else ""


def cases_of(reading: Reading) -> str:
    """The number of cases behind a reading, in words (`818 pairs`); empty where it is not known, or there are none."""
    case = text_of(reading.monitor, "cases")
    return amount(reading.n, case) if case and reading.n else ""


def draw_monitors(readings: Iterable[Reading]) -> list[Monitor]:
    """The curves of all figures that have a value, by monitor, in order of first appearance."""
    by_figure: dict[str, list[Reading]] = {}
    for reading in readings:
        by_figure.setdefault(reading.monitor, []).append(reading)
    by_monitor: dict[str, list[list[Reading]]] = {}
    for figure, series in by_figure.items():
        if any(reading.value is not None for reading in series):
            by_monitor.setdefault(figure.partition(".")[0], []).append(series)
    return [_monitor(name, figures) for name, figures in by_monitor.items()]


def mark_of(reading: Reading, kind: str) -> Mark:
    """A reading as a mark of a chart."""
    if reading.value is None or reading.interval is None:
        return Mark(None, kind, reading.limit)
    low, high = reading.interval
    return Mark(Estimate(value=reading.value, low=low, high=high), kind, reading.limit)


def _render(standing: RunView) -> str:
    return render(
        "health.html",
        run=standing.folder.resolve().name, health=health_of(standing), drift=standing.recipe.drift,
        alarms=alarms(standing.watched), monitors=draw_monitors(standing.watched), ended=standing.ended, cases=cases_of,
        left=[(model.name, standing.rival(model.name)) for model in standing.left], before=standing.rival,
        records={
            "flukes": fitting(doubtful_pairs(standing), TEXTS),
            "flattery": fitting(flattered_answers(standing), TEXTS),
            "traits": _fitting(bred_traits(standing), TEXTS),
            "lexicon": _fitting(favoured_words(standing), TEXTS),
        },
    )  # fmt: skip


def _fitting(traits: Iterable[Bred], budget: int) -> list[Bred]:
    """All of them, with as many pairs as fit."""
    kept = []
    for bred in traits:
        cases = fitting(bred.cases, budget)
        budget -= sum(case.size for case in cases if case.shown)
        kept.append(bred._replace(cases=cases))
    return kept


def _monitor(name: str, figures: Sequence[Sequence[Reading]]) -> Monitor:
    meaning = monitor_texts().get(name, {}).get("meaning", "")
    ordered = sorted(map(_curve, figures), key=lambda curve: (curve.kind not in OUTSIDE, -curve.moved))
    return Monitor(name, title_of(name), meaning, ordered)


def _curve(readings: Sequence[Reading]) -> FigureCurve:
    figure = readings[0].monitor
    latest = next(reading for reading in reversed(readings) if reading.value is not None)
    chart = charts.monitor_chart([("", {reading.iteration: mark_of(reading, _kind([reading])) for reading in readings})])
    return FigureCurve(
        figure.partition(".")[2], latest, _kind(readings), chart, meaning_of(figure), unit_of(figure), cases_of(latest),
        moved(readings), remedy_of(latest),
    )  # fmt: skip


def moved(readings: Sequence[Reading]) -> float:
    """The distance of a figure's lowest value from its highest, in mean half widths of its interval; inf where it has none."""
    values = [reading.value for reading in readings if reading.value is not None]
    widths = [high - low for reading in readings if reading.interval for low, high in [reading.interval]]
    span, half = max(values, default=0.0) - min(values, default=0.0), sum(widths) / (2 * len(widths) or 1)
    return span / half if half else float("inf") if span else 0.0


def _kind(readings: Sequence[Reading]) -> str:
    """The gravest verdict, or `free` without limits, and where no figure that has limits could be read."""
    return worst(readings) if any(reading.limit and reading.value is not None for reading in readings) else "free"
