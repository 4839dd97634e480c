"""A check as tables: in colour on a terminal, as plain text elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from selfreward.checks.amounts import Material, Span
from selfreward.checks.bill import StageTime, called, gigabytes
from selfreward.checks.checker import Check
from selfreward.checks.costs import AskingStage, TrainingStage
from selfreward.checks.sources import Read
from selfreward.errors import amount, shown, terminal
from selfreward.measure import Joint
from selfreward.recipe import DriftConfig
from selfreward.rundir import WATCHING, duration

if TYPE_CHECKING:
    from rich.console import Console

PLAIN_WIDTH = 160
"""Columns where the output goes to a file or a pipe."""
HOW = (
    "Counts are what a stage has if nothing is dropped before it. Tokens: likely, with texts as long as people's in the seed, "
    "and at most. Time: operations (2 per weight and token read or written, 6 to 10 when training) by the speed at which this "
    "device multiplies matrices, measured just now. On a CPU a part of what the products take in float32 is added for attention, "
    "norms, the optimizer and drawing words, as it was with 135 million parameters: 0.3 when sampling, 0.8 when training."
)
UNLIMITED = (
    "no figure has a limit: figures are shown, and neither warn nor end the run. selfreward calibrate makes a baseline: of this "
    "run, once M2 is watched, at no price; or of {runs} clean runs of other seeds, at this run's price each"
)
ASKED_BY_MONITORS = {part.name for part in WATCHING}
COLOUR = {"error": "bold red", "warning": "yellow"}


def show(check: Check, console: Console | None = None) -> None:
    """Print `check`: what is wrong, errors first; then models, sources, stages, memory, disk; and last whether it can work."""
    console = console or terminal()
    if not console.is_terminal:
        console = terminal(file=console.file, width=PLAIN_WIDTH)
    for finding in check.findings:
        colour, line = COLOUR[finding.level], _plain(f"{finding.where}: {finding.what}. {finding.now}")
        console.print(f"[{colour}]{finding.level}[/]: {line}", soft_wrap=True)
    if check.findings:
        console.print()
    console.print(_models(check))
    if check.sources:
        console.print(_sources(check.sources))
    if check.seed:
        console.print(f"\n{_seed(check.seed, check.assumed)}")
    if check.drift:
        console.print(f"[bold]Monitors[/]  {_limits(check.drift, check.joint)}")
    if check.bill.lines:
        console.print(_stages(check.bill.lines), _memory(check), f"\n{_disk(check)}\n\n{HOW}", sep="\n")
    console.print()
    errors = amount(sum(finding.level == "error" for finding in check.findings), "error")
    works, fails = "Nothing found that would keep it from running.", f"This recipe cannot run as it is: {errors}, above."
    console.print(works if check.works else fails)


def _table(title: str, *columns: str, numbers: int = 0) -> Table:
    """An empty table without lines; the last `numbers` columns are ranged right."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for at, column in enumerate(columns):
        table.add_column(column, justify="right" if at >= len(columns) - numbers else "left", overflow="fold")
    return table


def _models(check: Check) -> Table:
    table = _table("Models", "model", "is", "found", "parameters", "reads", "to download", numbers=3)
    for model in check.models:
        shape = model.shape
        size = (f"{shape.parameters:,}" if shape.layers else f"{short(shape.parameters)} by its name") if shape else "?"
        reads = f"{shape.context:,}" if shape and shape.context else "?"
        download = gigabytes(model.download) if model.download else ""
        notes = "; ".join(filter(None, (model.where, model.says)))
        table.add_row(*map(_plain, (called(model.name), ", ".join(model.parts), notes, size, reads, download)))
    return table


def _sources(sources: Sequence[Read]) -> Table:
    table = _table("\nSources", "source", "file", "rows read", "kept", "dropped", numbers=0)
    for source in sources:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in source.dropped.items()) or "none"
        replies = ", ".join(f"{reason} {count:,}" for reason, count in source.replies.items())
        text = f"{reasons}; of kept rows, responses: {replies}" if replies else reasons
        table.add_row(*map(_plain, (source.field, called(source.path), f"{source.rows:,}", f"{source.kept:,}", text)))
    return table


def _seed(seed: Material, assumed: bool) -> str:
    eft = amount(seed.eft, "EFT example")
    eft = f"at most {eft}, from {amount(seed.to_rank, 'ranked response')}" if seed.to_rank else eft
    whence = "[yellow]assumed, for it cannot be read[/]: " if assumed else ""
    return (
        f"[bold]Seed[/]  {whence}{amount(seed.ift, 'IFT example')}, {eft}; "
        f"held out {amount(seed.heldout, 'prompt')} and {amount(seed.ranked, 'ranked response')}"
    )


def _limits(drift: DriftConfig, joint: Joint | None) -> str:
    """The number of figures with limits, the alarms by all figures together, and their consequences, in words."""
    together = f"all figures together {_alarms(drift, joint)}"
    if not drift.limits:
        return together + _on_alarm(drift) if drift.baseline else UNLIMITED.format(runs=2 * ceil(1 / drift.false_alarms - 1))
    stops = sum((limit.stop_below, limit.stop_above) != (None, None) for limit in drift.limits.values())
    have = "has" if len(drift.limits) == 1 else "have"
    ends = f"{amount(len(drift.limits), 'figure')} {have} limits, and {stops or 'none'} can end the run"
    return ends + (f"; {together}" if drift.baseline else "") + _on_alarm(drift)


def _alarms(drift: DriftConfig, joint: Joint | None) -> str:
    """The share of false alarms by all figures together, as far as the baseline can promise it."""
    if joint is None:
        return "raise no alarm, for the baseline cannot be used"
    if joint.baseline.own:
        of = f"{drift.false_alarms:.1%} of the laboratory's clean runs passed at most, no promise here"
        return f"are held against the M1 and M2 of the run that the baseline is made of, at a limit that {of}"
    return f"raise an alarm in at most {drift.false_alarms:.1%} of runs like the baseline's"


def _on_alarm(drift: DriftConfig) -> str:
    told = {"stop": "any alarm ends the run", "rollback": "a model with an alarm is left behind, whose iteration is then lost"}
    return f"; {told[drift.on_alarm]}" if drift.on_alarm else ""


def _stages(lines: Sequence[StageTime]) -> Table:
    table = _table(
        "\nStages", "stage", "by", "requests", "tokens read", "at most", "written", "at most", "steps", "time", numbers=7
    )
    for stage, seconds in lines:
        time = "?" if seconds is None else duration(seconds)
        if isinstance(stage, TrainingStage):
            table.add_row(stage.stage, "", "", *_tokens(stage.reads), "", "", f"{stage.steps:,}", time)
        else:
            table.add_row(
                stage.stage,
                _plain(called(stage.by)),
                f"{stage.requests:,}",
                *_tokens(stage.reads),
                *_tokens(stage.writes),
                "",
                time,
            )
    if watching := [line for line in lines if line.stage.stage.rpartition("/")[2] in ASKED_BY_MONITORS]:
        table.add_row(*_sum("of these the monitors", watching))
    table.add_row(*_sum("all", lines), style="bold")
    return table


def _sum(name: str, lines: Sequence[StageTime]) -> tuple[str, ...]:
    """The cells of a row that sums up stages."""
    times = [seconds for _, seconds in lines if seconds is not None]
    stages = [stage for stage, _ in lines if isinstance(stage, AskingStage)]
    steps = sum(stage.steps for stage, _ in lines if isinstance(stage, TrainingStage))
    written = sum(stage.writes.likely for stage in stages), sum(stage.writes.most for stage in stages)
    requests = f"{sum(stage.requests for stage in stages):,}"
    total = f"{duration(sum(times))}{'' if len(times) == len(lines) else ' and more'}"
    return name, "", requests, "", "", *map(short, written), f"{steps:,}" if steps else "", total


def _tokens(span: Span) -> tuple[str, str]:
    return short(span.likely), short(span.most)


def _memory(check: Check) -> Table:
    table = _table("\nMemory at the peak", "for", "on", "needs", "has", "of it", numbers=0)
    for need in check.bill.needs:
        parts = ", ".join(f"{name} {gigabytes(size)}" for name, size in need.parts.items() if size)
        has = gigabytes(need.device.memory) if need.device.memory else "?"
        table.add_row(*map(_plain, (need.what, need.device.name, gigabytes(need.total), has, parts)))
    return table


def _disk(check: Check) -> str:
    parts = ", ".join(f"{name} {gigabytes(size)}" for name, size in check.bill.disk.items() if size)
    return f"[bold]Disk[/]  {gigabytes(sum(check.bill.disk.values()))} of {gigabytes(check.free)} free: {parts}"


def short(number: float) -> str:
    """A number in three digits: 950, 12.3 k, 4.56 M."""
    for factor, unit in ((1e12, " T"), (1e9, " B"), (1e6, " M"), (1e3, " k")):
        if number >= factor:
            return f"{number / factor:.3g}{unit}"
    return f"{number:.0f}"


def _plain(text: str) -> str:
    """Text that is no markup."""
    return escape(shown(text))
