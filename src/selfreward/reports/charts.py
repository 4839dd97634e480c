"""Charts as inline SVG. All text in them is escaped; colours are classes of the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from markupsafe import Markup

from selfreward.records import Estimate
from selfreward.reports.headline import BEFORE_THE_LOOP, two_decimals

Show = Callable[[float], str]
"""Formats a number."""
Curve = tuple[str, Sequence[tuple[float, float]]]
"""(class, points)."""


class Scale(NamedTuple):
    """Values `low`…`high` on pixels `start`…`end`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The pixel of `value`, clipped to the ends."""
        span = (self.high - self.low) or 1.0
        share = min(1.0, max(0.0, (value - self.low) / span))
        return self.start + share * (self.end - self.start)


class Frame(NamedTuple):
    """Size and margins of a chart in pixels, at its intended size."""

    width: float
    height: float
    left: float
    top: float = 16
    right: float = 10
    bottom: float = 22


class Axis(NamedTuple):
    """The range of shown values, and the formats of values and ticks."""

    low: float
    high: float
    show: Show
    tick: Show


class Mark(NamedTuple):
    """A figure of one model, and its limits."""

    estimate: Estimate | None
    kind: str = "free"
    """Class of its colour."""
    limit: tuple[float | None, float | None] | None = None
    """The range that it should lie in."""


FIGURE = Frame(width=400, height=260, left=42, top=22)
SMALL = Frame(width=196, height=124, left=34)
CURVE = Frame(width=240, height=150, left=40)
WATCHED = Frame(width=230, height=132, left=46, top=12)


def tag(name: str, *inside: str, **attributes: object) -> Markup:
    """An element. Text and attributes are escaped; `class_` and `text_anchor` give class and text-anchor."""
    written = [Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), _plain(value)) for key, value in attributes.items()]
    return Markup("<{0}{1}>{2}</{0}>").format(name, Markup("").join(written), Markup("").join(inside))


def over_models(
    values: Mapping[str, Estimate | None], axis: Axis, frame: Frame, baseline: tuple[str, Estimate] | None = None
) -> Markup:
    """A point with its interval for each model, the loop's models joined; `baseline`: a dashed line and its name."""
    y, show = Scale(axis.low, axis.high, frame.height - frame.bottom, frame.top), axis.show
    names = list(values)
    column = (frame.width - frame.left - frame.right) / max(1, len(names))
    at = {name: frame.left + column * (number + 0.5) for number, name in enumerate(names)}
    estimates = {name: estimate for name, estimate in values.items() if estimate}
    loop = [(at[name], y(estimate.value)) for name, estimate in estimates.items() if name not in BEFORE_THE_LOOP]
    labelled = _spread(names, frame)
    marks = [_whisker(name, at[name], y, estimate, show, name in labelled) for name, estimate in estimates.items()]
    labels = [_below(at[name], frame, name) for name in labelled]
    line = [_baseline(*baseline, y, frame, show)] if baseline else []
    return _svg(frame, _spoken(estimates, show), *_grid(y, frame, axis.tick), *line, _path("true", loop), *marks, *labels)


def beside(true: Mapping[str, Estimate | None], own: Mapping[str, Estimate | None], domain: tuple[float, float]) -> Markup:
    """A row for each model: its true score and its score of itself, joined."""
    row = 40.0
    frame = Frame(width=400, height=row * len(own) + 30, left=44, top=4, right=30)
    x = Scale(*domain, frame.left + 26, frame.width - frame.right)
    rows = [_dumbbell(name, row * (n + 0.5), x, true.get(name), own[name]) for n, name in enumerate(own)]
    lines = [tag("line", class_="grid", x1=x(t), x2=x(t), y1=frame.top, y2=frame.height - 24) for t in ticks(*domain)]
    labels = [_below(x(t), frame, f"{t:g}") for t in ticks(*domain)]
    spoken = f"true: {_spoken(true, two_decimals)}. says of itself: {_spoken(own, two_decimals)}"
    return _svg(frame, spoken, *lines, *rows, *labels)


def histogram(bins: Sequence[str], true: Sequence[float] | None, own: Sequence[float], top: float, of: tuple[int, int]) -> Markup:
    """Shares by score: the true ones filled, what the model says of itself outlined; `top` is the highest share drawn.

    `of`: how many scores the true shares, and the model's own, are of.
    """
    frame = SMALL._replace(left=4, right=4)
    y = Scale(0, top, frame.height - frame.bottom, frame.top)
    column = (frame.width - frame.left - frame.right) / len(bins)
    parts = [("true", true or [], 0.08, of[0]), ("own", own, 0.5, of[1])]
    bars = [
        _bar(kind, frame.left + column * (n + start), column * 0.38, y, share, f"{bins[n]}: {share:.0%} of {count:,}")
        for kind, shares, start, count in parts
        for n, share in enumerate(shares)
    ]
    labels = [_below(frame.left + column * (n + 0.5), frame, name) for n, name in enumerate(bins)]
    floor = tag("line", class_="axis", x1=frame.left, x2=frame.width - frame.right, y1=y(0), y2=y(0))
    return _svg(frame, f"shares by score {', '.join(bins)}", *bars, floor, *labels)


def stacked(parts: Sequence[tuple[str, str, float]], width: float, height: float, of: int) -> Markup:
    """One bar of (class, name, count) parts, by share; `of`: how many there are in all."""
    total, left, bars = sum(count for *_, count in parts) or 1.0, 0.0, []
    for kind, name, count in parts:
        share = count / total
        words = f"{name}: {share:.1%} of {of:,}"
        bars.append(tag("rect", tag("title", words), class_=kind, x=left * width, y=0, width=share * width, height=height))
        left += share
    spoken = ", ".join(f"{name} {count:g}" for _, name, count in parts)
    return _svg(Frame(width, height, 0), spoken, *bars, preserveAspectRatio="none")


def curves(lines: Sequence[Curve]) -> Markup:
    """Lines over training steps."""
    points = [point for _, line in lines for point in line]
    low, high = min(y for _, y in points), max(y for _, y in points)
    grid = ticks(low, high, 4)
    y = Scale(min(low, grid[0]), max(high, grid[-1]), CURVE.height - CURVE.bottom, CURVE.top)
    x = Scale(min(x for x, _ in points), max(x for x, _ in points), CURVE.left, CURVE.width - CURVE.right)
    paths = [_path(kind, [(x(step), y(value)) for step, value in line]) for kind, line in lines]
    ends = [_below(x(step), CURVE, f"{step:,.0f}", anchor) for step, anchor in ((x.low, "start"), (x.high, "end"))]
    return _svg(CURVE, f"from {low:g} to {high:g}", *_grid(y, CURVE, short, 4), *paths, *ends)


def monitor_chart(lines: Sequence[tuple[str, Mapping[str, Mark]]]) -> Markup:
    """Named lines of marks over models: a point with its interval each, and limits as dashed steps; lines stand side by side."""
    marks = [mark for _, line in lines for mark in line.values()]
    low, high = _reach(marks)
    y = Scale(low, high, WATCHED.height - WATCHED.bottom, WATCHED.top)
    names = list(dict.fromkeys(name for _, line in lines for name in line))
    column = (WATCHED.width - WATCHED.left - WATCHED.right) / max(1, len(names))
    x_left = {name: WATCHED.left + column * number for number, name in enumerate(names)}
    elements = []
    for number, (title, line) in enumerate(lines):
        inside = column * (number + 1) / (len(lines) + 1)
        at = {name: (x_left[name] + inside, mark) for name, mark in line.items()}
        elements += [_line_of(title, at, y), *(_limits(x_left[name], column, y, mark.limit) for name, mark in line.items())]
    labels = [_below(x_left[name] + column / 2, WATCHED, name) for name in _spread(names, WATCHED)]
    spoken = "; ".join(f"{title} {_spoken({name: mark.estimate for name, mark in line.items()}, short)}" for title, line in lines)
    return _svg(WATCHED, spoken.strip(), *_grid(y, WATCHED, short, 4), *elements, *labels)


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round values inside `low`…`high`, approximately `about` of them."""
    raw = (high - low) / about if high > low else 1.0
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * nice for nice in (1, 2, 2.5, 5, 10) if size * nice >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(step * n, 10) for n in range(first, last + 1)] or [low]


def one_decimal(value: float) -> str:
    """One decimal, with a real minus."""
    return f"{value:.1f}".replace("-", "−")


def short(value: float) -> str:
    """The fewest digits that suffice, with a real minus."""
    return f"{value + 0.0:.3g}".replace("-", "−")  # never one before a zero


def percent(value: float) -> str:
    """A share in whole per cent."""
    return f"{value:.0%}".replace("%", "\u00a0%")


def _plain(value: object) -> str:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)


def _svg(frame: Frame, spoken: str, *inside: str, **attributes: object) -> Markup:
    box = f"0 0 {frame.width:g} {frame.height:g}"
    size = {"width": frame.width, "height": frame.height}
    return tag("svg", *inside, viewBox=box, **size, role="img", aria_label=spoken, **attributes)


def _text(x: float, y: float, words: str, kind: str = "tick", anchor: str = "middle") -> Markup:
    return tag("text", words, class_=kind, x=x, y=y, text_anchor=anchor)


def _reach(marks: Sequence[Mark]) -> tuple[float, float]:
    """A range that holds everything to be drawn."""
    ends = [end for mark in marks if mark.estimate for end in (mark.estimate.low, mark.estimate.high)]
    ends += [end for mark in marks for end in mark.limit or () if end is not None]
    low, high = min(ends, default=0.0), max(ends, default=1.0)
    margin = 0.08 * (high - low) or 0.1 * abs(high) or 1.0
    return low - margin, high + margin


def _line_of(title: str, at: Mapping[str, tuple[float, Mark]], y: Scale) -> Markup:
    """One line with its points; `at`: the position of each model's mark."""
    estimates = [(name, x, mark, mark.estimate) for name, (x, mark) in at.items() if mark.estimate]
    kind = estimates[0][2].kind if title and estimates else "plain"
    points = [_point(f"{title} {name}".strip(), x, y, estimate, mark.kind) for name, x, mark, estimate in estimates]
    loop = [(x, y(estimate.value)) for name, x, _, estimate in estimates if name not in BEFORE_THE_LOOP]
    return tag("g", _path(kind, loop), *points)


def _point(name: str, x: float, y: Scale, estimate: Estimate, kind: str) -> Markup:
    words = f"{name}: {short(estimate.value)} ({short(estimate.low)} to {short(estimate.high)})"
    bar = tag("line", class_=f"whisker {kind}", x1=x, x2=x, y1=y(estimate.low), y2=y(estimate.high))
    return tag("g", tag("title", words), bar, tag("circle", class_=f"dot {kind}", cx=x, cy=y(estimate.value), r=3.5))


def _limits(x_left: float, width: float, y: Scale, limit: tuple[float | None, float | None] | None) -> Markup:
    ends = [y(end) for end in limit or () if end is not None]
    return Markup("").join(tag("line", class_="limit", x1=x_left, x2=x_left + width, y1=end, y2=end) for end in ends)


def _below(x: float, frame: Frame, words: str, anchor: str = "middle") -> Markup:
    return _text(x, frame.height - 6, words, anchor=anchor)


def _grid(y: Scale, frame: Frame, show: Show, about: int = 5) -> Iterator[Markup]:
    for value in ticks(y.low, y.high, about if frame.height > 130 else 2):
        yield tag("line", class_="grid", x1=frame.left, x2=frame.width - frame.right, y1=y(value), y2=y(value))
        yield _text(frame.left - 6, y(value) + 3.5, show(value), anchor="end")


def _baseline(name: str, estimate: Estimate, y: Scale, frame: Frame, show: Show) -> Markup:
    at, right = y(estimate.value), frame.width - frame.right
    line = tag("line", class_="baseline", x1=frame.left, x2=right, y1=at, y2=at)
    return tag("g", line, _text(right, at + 14, f"{name}, {show(estimate.value)}", "note", "end"))


def _path(kind: str, points: Sequence[tuple[float, float]]) -> Markup:
    return tag("path", class_=f"line {kind}", d="M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)) if points else Markup("")


def _whisker(name: str, x: float, y: Scale, estimate: Estimate, show: Show, labelled: bool) -> Markup:
    words = f"{name}: {show(estimate.value)} ({show(estimate.low)} to {show(estimate.high)})"
    bar = tag("line", class_="whisker true", x1=x, x2=x, y1=y(estimate.low), y2=y(estimate.high))
    dot = tag("circle", class_="dot true", cx=x, cy=y(estimate.value), r=3.5)
    above = min(y(estimate.value) - 3, y(estimate.high)) - 5
    label = [_text(x, above, show(estimate.value), "value")] if labelled else []
    return tag("g", tag("title", words), bar, dot, *label)


def _dumbbell(name: str, y: float, x: Scale, true: Estimate | None, own: Estimate | None) -> Markup:
    both = [(kind, estimate) for kind, estimate in (("true", true), ("own", own)) if estimate]
    ordered = sorted(both, key=lambda pair: pair[1].value)
    joins = [tag("line", class_="join", x1=x(a.value), x2=x(b.value), y1=y, y2=y) for (_, a), (_, b) in pairwise(ordered)]
    marks = []
    for n, (kind, estimate) in enumerate(ordered):
        is_left = n == 0 and len(ordered) == 2
        end = x(estimate.low) - 8 if is_left else x(estimate.high) + 8
        marks.append(tag("line", class_=f"whisker {kind}", x1=x(estimate.low), x2=x(estimate.high), y1=y, y2=y))
        marks.append(tag("circle", class_=f"dot {kind}", cx=x(estimate.value), cy=y, r=5.0))
        marks.append(_text(end, y + 4, two_decimals(estimate.value), f"value {kind}", "end" if is_left else "start"))
    return tag("g", _text(0, y + 4, name, "name", "start"), *joins, *marks)


def _bar(kind: str, x: float, width: float, y: Scale, share: float, words: str) -> Markup:
    if not share:
        return Markup("")
    return tag("rect", tag("title", words), class_=f"bar {kind}", x=x, width=width, y=y(share), height=y(0) - y(share))


def _spread(names: Sequence[str], frame: Frame) -> list[str]:
    """The names that fit below the chart, the last among them."""
    step = math.ceil(len(names) * 30 / (frame.width - frame.left)) or 1
    return list(names[::-1][::step])


def _spoken(values: Mapping[str, Estimate | None], show: Show) -> str:
    return ", ".join(f"{name} {show(estimate.value)}" for name, estimate in values.items() if estimate)
