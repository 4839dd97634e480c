"""The table of targets: each with the figures that bear on it, as ratios of processor seconds side by side.

Only what was measured is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from selfreward.errors import amount
from selfreward.lab.speed import notes
from selfreward.lab.speed.beside import middle, pace, sampled
from selfreward.lab.speed.floor import Shape, needs
from selfreward.lab.speed.work import Work

Part = Mapping[str, Any]
MANY = 1000
"""Judged answers of a part that tells of the memory that judging takes."""
LONG = 512
"""Tokens of a prompt with its response, at the most, that make a DPO one of long rows."""


GENERATE = {"candidates": 2.0, "judging": 15.0}
"""Times that a stage is to be as fast as by `generate()`."""


class Target(NamedTuple):
    """A figure beside its aim."""

    name: str
    aim: float
    found: float
    least: bool = True
    """True if the figure is to be at least the aim, else at most."""

    @property
    def bound(self) -> str:
        """The aim in words."""
        return f"{'at least' if self.least else 'at most'} {self.aim:g}"

    @property
    def met(self) -> bool:
        """True if the figure meets its aim as it is shown."""
        return round(self.found, 2) >= self.aim if self.least else round(self.found, 2) <= self.aim


def section(parts: Mapping[str, Part]) -> str:
    """The page's table of targets; empty where nothing measured bears on one."""
    found = [target for key, part in parts.items() if (kind := key.split()[0]) in FOUND for target in FOUND[kind](part)]
    if not found:
        return ""
    lines = [[each.name, each.bound, f"{each.found:.2f}", "met" if each.met else "**missed**"] for each in found]
    return f"## Targets\n\n{notes.TARGETS}\n\n{notes.table(['', 'aim', 'found', ''], lines)}"


def _arms(part: Part) -> Iterator[Target]:
    work, spent = part["work"], _spent(part)
    if "a" not in spent:
        return
    names = _names(part, "judging" in spent["a"])
    if "b" in spent:
        yield Target(f"{names['candidates']}: generate() ÷ ours", GENERATE["candidates"], _ratio(spent, "b", "candidates"))
    if "judging" in spent["a"]:
        yield from _judged(part, spent, names)
    if part["machine"]["threads"] == 1:  # processor seconds are then those that the floor counts
        floors = needs(Work(**{**work, "model": None, "chunks": tuple(work["chunks"])}), Shape(**part["shape"]))
        for stage, most in (("candidates", 2.5), ("judging", 1.8)):
            if stage in spent["a"] and (stage == "judging" or work["prompts"] >= 16):
                found = spent["a"][stage] / floors[stage].seconds(part["rates"])
                yield Target(f"{names[stage]}: ours ÷ floor", most, found, least=False)


def _names(part: Part, judged: bool) -> dict[str, str]:
    """A name for each stage that no other sitting's has: candidates are sampled before judgments of any length."""
    what, tokens = f"{part['model']}, {amount(part['work']['prompts'], 'prompt')}", part["work"]["judgment_tokens"]
    alone = f"candidates, {what}"
    return {
        "candidates": f"{alone}, before judgments of {tokens} tokens" if judged else alone,
        "judging": f"judging, {tokens} tokens, {what}",
        "iteration": f"iteration, judgments of {tokens} tokens, {what}",
    }


def _judged(part: Part, spent: Mapping[str, Mapping[str, float]], names: Mapping[str, str]) -> Iterator[Target]:
    length = names["judging"]
    if "o" in spent:
        yield Target(f"{length}: earlier build ÷ ours", 2.5, _ratio(spent, "o", "judging"))
        whole = {arm: sum(stages.values()) for arm, stages in spent.items()}
        if part["work"]["dpo"]:
            yield Target(f"{names['iteration']}: earlier build ÷ ours", 2.0, whole["o"] / whole["a"])
        if part["work"]["prompts"] * part["work"]["n"] >= MANY:
            peaks = {arm: max(run["peak"] for run in _lived(part, arm)) for arm in ("a", "o")}
            yield Target(f"memory, {length}: ours ÷ earlier build", 1.0, peaks["a"] / peaks["o"], least=False)
    if "b" in spent:
        yield Target(f"{length}: generate() ÷ ours", GENERATE["judging"], _ratio(spent, "b", "judging"))


def _lived(part: Part, arm: str) -> list[Mapping[str, Any]]:
    return [run for run in part["runs"] if run["arm"] == arm and run["role"].startswith("repeat") and "died" not in run]


def _spent(part: Part) -> dict[str, dict[str, float]]:
    """Processor seconds of each stage, the median of the repeats, by arm."""
    lived = {arm: _lived(part, arm) for arm in part["arms"]}
    return {
        arm: {stage: middle([run["cpu"] for run in runs], stage) for stage in runs[0]["cpu"]}
        for arm, runs in lived.items()
        if runs
    }


def _ratio(spent: Mapping[str, Mapping[str, float]], arm: str, stage: str) -> float:
    return spent[arm][stage] / spent["a"][stage]


def _trainers(part: Part) -> Iterator[Target]:
    lived: dict[str, Sequence[Mapping[str, Any]]] = {}
    for run in part["runs"]:
        if "died" not in run:
            lived[run["sort"]] = [*lived.get(run["sort"], ()), run]
    if "ours" not in lived:
        return
    most = part["lesson"]["prompt"][1] + part["lesson"]["response"][1] + 1
    what = f"{part['kind'].upper()}, {part['model']}, {part['lesson']['rows']} examples of up to {most} tokens"
    theirs = [middle(lived[sort], "cpu") for sort in ("trl", "packed") if sort in lived]
    if theirs:
        yield Target(f"{what}: TRL at its best ÷ ours", 1.5, min(theirs) / middle(lived["ours"], "cpu"))
    if "earlier" in lived and part["kind"] == "dpo" and most >= LONG:
        peaks = {sort: max(run["peak"] for run in lived[sort]) for sort in ("ours", "earlier")}
        yield Target(f"memory, {what}: ours ÷ earlier build", 0.6, peaks["ours"] / peaks["earlier"], least=False)


def _engines(part: Part) -> Iterator[Target]:
    lived = [run for run in part["runs"] if "died" not in run]
    ours = {run["dtype"]: run for run in lived if run["arm"] == "a"}
    what = f"real weights, {amount(part['work']['prompts'], 'prompt')}"
    for run in (run for run in lived if run["arm"] != "a" and "float32" in ours):
        mine = run["dtype"] if run["dtype"] in ours else "float32"
        for stage in sampled(part):
            name = f"{stage}, {what}: ours in {mine} ÷ ({run['arm']}) {run['title']}"
            yield Target(name, GENERATE[stage] if run["arm"] == "b" else 1.0, pace(ours[mine], stage) / pace(run, stage))


def _overhead(part: Part) -> Iterator[Target]:
    if "earlier" in part:
        found = part["earlier"]["processor"] / part["processor"]
        yield Target(f"iterations of the recipe {part['recipe']}: earlier build ÷ ours", 2.0, found)


FOUND: dict[str, Callable[[Part], Iterator[Target]]] = {
    "arms": _arms,
    "trainers": _trainers,
    "engines": _engines,
    "overhead": _overhead,
}
