"""The laboratory's curves as one SVG drawing that stands alone: a panel for each defect, a line for each strength."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from selfreward.lab.defects.defects import DEFECTS
from selfreward.reports import Scale, tag

WIDTH, HEIGHT, COLUMNS = 230.0, 170.0, 4
LEFT, RIGHT, TOP, BOTTOM = 30.0, 12.0, 26.0, 24.0
STYLE = """
text { font: 11px system-ui, sans-serif; fill: #333 } .title { font-weight: 600 } .grid { stroke: #ddd }
.line { fill: none; stroke-width: 1.6 } .true { stroke: #1b6ca8 } .said { stroke: #c2571a; stroke-dasharray: 4 3 }
.clean { stroke: #999 } .s0 { opacity: .4 } .s1 { opacity: .7 } .s2 { opacity: 1 }
"""


def draw_curves(figures: Mapping[str, Any]) -> str:
    """The drawing. Blue: the true score; orange, dashed: the model's score of itself; grey: clean runs; darker is stronger."""
    planted = [row for row in figures["defects"] if not row["how"]]
    rows = [[row for row in planted if row["defect"] == defect.name] for defect in DEFECTS]
    lines = -(-(len(DEFECTS) + 1) // COLUMNS)
    panels = [_panel(0, "clean", [figures["clean"]], figures)]
    panels += [_panel(at, defect.name, rows[at - 1], figures) for at, defect in enumerate(DEFECTS, start=1)]
    width, height = WIDTH * COLUMNS, HEIGHT * lines
    paper = tag("rect", width=width, height=height, fill="white")
    return str(
        tag("svg", tag("style", Markup(STYLE)), paper, *panels, xmlns="http://www.w3.org/2000/svg", width=width, height=height)
    )


def _panel(at: int, title: str, rows: Sequence[Mapping[str, Any]], figures: Mapping[str, Any]) -> Markup:
    models = list(figures["clean"]["true"])
    x_left, top = WIDTH * (at % COLUMNS), HEIGHT * (at // COLUMNS)
    x = Scale(0, max(1, len(models) - 1), x_left + LEFT, x_left + WIDTH - RIGHT)
    y = Scale(0, 5, top + HEIGHT - BOTTOM, top + TOP)
    curves = [_line("true clean", figures["clean"]["true"], models, x, y)]
    weak_first = sorted(rows, key=lambda row: row.get("strength", 0))
    for shade, row in enumerate(weak_first, start=0 if len(rows) > 1 else 2):
        curves += [_line(f"{part} s{shade}", row[part], models, x, y) for part in ("true", "said")]
    return tag("g", _text(x_left + LEFT, top + 16, title, "title", "start"), *_axes(models, x, y), *curves)


def _axes(models: Sequence[str], x: Scale, y: Scale) -> Iterator[Markup]:
    for value in range(6):
        yield tag("line", class_="grid", x1=x.start, x2=x.end, y1=y(value), y2=y(value))
        yield _text(x.start - 6, y(value) + 4, str(value), "tick", "end")
    for at, model in enumerate(models):
        yield _text(x(at), y.start + 16, model, "tick", "middle")


def _line(kind: str, values: Mapping[str, Mapping[str, float]], models: Sequence[str], x: Scale, y: Scale) -> Markup:
    points = [f"{x(at):.1f} {y(values[model]['mean']):.1f}" for at, model in enumerate(models) if model in values]
    return tag("path", class_=f"line {kind}", d="M" + "L".join(points)) if points else Markup("")


def _text(x: float, y: float, words: str, kind: str, anchor: str) -> Markup:
    return tag("text", words, class_=kind, x=x, y=y, text_anchor=anchor)
