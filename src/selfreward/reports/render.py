"""Rendering for all pages: templates that escape all text, one style sheet, and a policy against script and network."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from importlib.resources import files
from itertools import groupby
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from selfreward.errors import amount, visible
from selfreward.reports import charts
from selfreward.reports.headline import two_decimals

JOINERS = "\u200c\u200d"
FENCE = re.compile(r"\s*(`{3,}|~{3,})")
ROW = re.compile(r"\s*(\|.*\||\+[-=+]+\+)\s*")
"""A row of a table, as Markdown has it or drawn."""


def render(template: str, **values: Any) -> str:
    """A page from a template of `text/`; all `values` are escaped, except `Markup`."""
    style = (files("selfreward") / "reports" / "text" / "report.css").read_text(encoding="utf-8")
    policy = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return _written(_environment().get_template(template).render(style=Markup(style), style_hash=policy, **values))


def _written(text: str) -> str:
    """`text` for a file: what would reorder it or hide, in a model's words or a run's name, becomes its escape.

    Joiners stay: scripts and emoji need them, and they move nothing.
    """
    return visible(text, keep=f"\n\t{JOINERS}")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("selfreward", "reports/text"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    filters: dict[str, Callable[..., str]] = {
        "two": two_decimals,
        "pc": lambda share: f"{100 * share:.1f}",
        "words": lambda name: name.replace("_", " "),
        "n": lambda count: f"{count:,}",
        "points": lambda score: f"{score:.3g}",
        "short": charts.short,
        "count": _count,
        "said": said,
    }
    environment.filters |= filters
    environment.globals |= {"stacked": charts.stacked, "amount": amount}
    return environment


def said(text: str) -> Markup:
    """A model's words, all of them: fenced code and rows of tables keep their lines, and are scrolled where they are too wide."""
    lines = text.splitlines(keepends=True)
    parts = groupby(zip(_laid_out(lines), lines, strict=True), lambda pair: pair[0])
    texts = ((wide, escape("".join(line for _, line in pairs))) for wide, pairs in parts)
    block = Markup('<span class="wide" tabindex="0">{}</span>')
    return Markup().join(block.format(part) if wide else part for wide, part in texts)


def _laid_out(lines: Iterable[str]) -> Iterator[bool]:
    """True for each line that spaces lay out: code from its fence to the one that closes it, or the end, and rows of tables."""
    fence = ""
    for line in lines:
        found = FENCE.match(line)
        yield bool(fence or found or ROW.fullmatch(line))
        if found and not fence:
            fence = found[1]
        elif found and found[1].startswith(fence) and not line[found.end() :].strip():
            fence = ""


def _count(reasons: Mapping[str, int]) -> str:
    """Reasons with their counts, most frequent first."""
    ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{reason.replace('_', ' ')} {count:,}" for reason, count in ordered) or "none"


MARKUP = re.compile(r"([\\`*_{}\[\]|#~!$])")


def render_card(template: str, **values: Any) -> str:
    """A card from a file of `text/`; all values are text and become neither Markdown nor HTML."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_as_text)
    environment.globals["amount"] = amount
    source = (files("selfreward") / "reports" / "text" / template).read_text(encoding="utf-8")
    return _written(environment.from_string(source).render(**values)) + "\n"


def _as_text(value: Any) -> Markup:
    """One line in which every character that Markdown or HTML could interpret is escaped."""
    if isinstance(value, Markup):
        return value
    plain = MARKUP.sub(r"\\\1", re.sub(r"\s+", " ", str(value)))
    return Markup(plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))
