"""A picture of each defect for who has never heard of a monitor: what it did, and the figures by which it was to be seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from selfreward.reports import Scale, tag

WIDTH, HEIGHT, MIDDLE = 720.0, 230.0, 380.0
TOP, BOTTOM = 44.0, 30.0
SEEN = 2
"""Figures that are drawn of each defect, those that moved most."""
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #333 } .title { font-weight: 600 } .grid { stroke: #ddd }
.line { fill: none; stroke-width: 2 } .band { fill: #eee }
.true { stroke: #1b6ca8 } .said { stroke: #c2571a } .clean { stroke: #999; stroke-dasharray: 4 3 }
text.true { fill: #1b6ca8; stroke: none } text.said { fill: #c2571a; stroke: none } text.clean { fill: #777; stroke: none }
.b0 { fill: #6a4c93 } .b1 { fill: #b8a5d0 }
"""


def draw_pictures(figures: Mapping[str, Any]) -> dict[str, str]:
    """Name of an arm → its drawing, of every defect's strongest dose: from M1 on, on the way, and growing."""
    strongest = {(row["defect"], row["how"]): row for row in sorted(figures["defects"], key=lambda row: row["strength"])}
    return {row["arm"]: draw(row, figures["clean"]) for row in strongest.values()}


def draw(row: Mapping[str, Any], clean: Mapping[str, Any]) -> str:
    """The drawing of one row. Left: the true score, what the model says of itself, and clean runs; right: what moved most."""
    models = list(clean["true"])
    parts = [*_scores(row, clean, models), *_moved(row, models)]
    paper = tag("rect", width=WIDTH, height=HEIGHT, fill="white")
    return str(
        tag("svg", tag("style", Markup(STYLE)), paper, *parts, xmlns="http://www.w3.org/2000/svg", width=WIDTH, height=HEIGHT)
    )


def _scores(row: Mapping[str, Any], clean: Mapping[str, Any], models: Sequence[str]) -> Iterator[Markup]:
    x, y = Scale(0, max(1, len(models) - 1), 40, MIDDLE - 120), Scale(2, 5, HEIGHT - BOTTOM, TOP)
    yield _text(40, 20, "Points of 5, mean over runs", "title", "start")
    for value in (2, 3, 4, 5):
        yield tag("line", class_="grid", x1=x.start, x2=x.end, y1=y(value), y2=y(value))
        yield _text(x.start - 8, y(value) + 4, str(value), "tick", "end")
    for at, model in enumerate(models):
        yield _text(x(at), HEIGHT - 10, model, "tick", "middle")
    lines = {"clean": (clean["true"], "true, clean runs"), "true": (row["true"], "true"), "said": (row["said"], "says of itself")}
    places = _apart({kind: y(values[_last(values)]["mean"]) for kind, (values, _) in lines.items()})
    for kind, (values, words) in lines.items():
        points = [f"{x(at):.1f} {y(values[model]['mean']):.1f}" for at, model in enumerate(models) if model in values]
        yield tag("path", class_=f"line {kind}", d="M" + "L".join(points))
        yield _text(x.end + 8, places[kind] + 4, words, kind, "start")


def _last(values: Mapping[str, Any]) -> str:
    return list(values)[-1]


def _apart(places: Mapping[str, float]) -> dict[str, float]:
    """The labels' heights, pushed down where they would lie upon each other."""
    moved, floor = {}, 0.0
    for kind, place in sorted(places.items(), key=lambda item: item[1]):
        moved[kind] = floor = max(place, floor + 15)
    return moved


def _moved(row: Mapping[str, Any], models: Sequence[str]) -> Iterator[Markup]:
    series = dict(list(row["series"].items())[:SEEN])
    far = max((abs(value) for values in series.values() for value in values.values()), default=0.0)
    reach = max(3.0, far * 1.1)
    x, y = Scale(-0.5, len(models) - 0.5, MIDDLE + 30, WIDTH - 10), Scale(-reach, reach, HEIGHT - BOTTOM, TOP)
    yield _text(MIDDLE + 30, 20, "Standard deviations from clean runs", "title", "start")
    yield tag("rect", class_="band", x=x.start, width=x.end - x.start, y=y(2), height=y(-2) - y(2))
    for value in (-reach / 1.1, 0.0, reach / 1.1):
        yield tag("line", class_="grid", x1=x.start, x2=x.end, y1=y(value), y2=y(value))
        yield _text(x.start - 6, y(value) + 4, f"{value:+.0f}" if value else "0", "tick", "end")
    for at, model in enumerate(models):
        yield _text(x(at), HEIGHT - 10, model, "tick", "middle")
    for bar, (name, values) in enumerate(series.items()):
        yield _text(MIDDLE + 30 + 170 * bar, 36, name, f"b{bar}", "start")
        for at, model in enumerate(models):
            if model in values:
                top, foot = sorted((y(values[model]), y(0)))
                yield tag("rect", class_=f"b{bar}", x=x(at) - 18 + 18 * bar, width=16, y=top, height=foot - top)


def _text(x: float, y: float, words: str, kind: str, anchor: str) -> Markup:
    return tag("text", words, class_=kind, x=x, y=y, text_anchor=anchor)
