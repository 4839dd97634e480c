"""Shares of a stage's time: torch's operations by what they are for, and all that is outside of them.

For this build and an earlier one by the same text: `earlier.py` runs this file too, and so its top imports no package.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

KINDS = {
    "products": r"(?:^|_)(?:add)?mm$|linear",
    "attention": r"attention|bmm$",
    "optimizer": r"foreach|fused|optimizer",
    "drawing": r"softmax|sort|multinomial|cumsum|topk|bincount|histc|exponential|uniform|random",
    "moving": r"copy|^cat$|^index|gather|scatter|clone|fill|zero",
}
"""Kind → the names of its operations, as a pattern; the first that fits counts. *Drawing* has the loss's softmax too."""
REST, OUTSIDE = "other operations", "outside torch"
WARM = {"prompts": 1, "candidate_tokens": 4, "judgment_tokens": 4, "rubric_head": 32}
"""An iteration done once before: libraries load half of themselves at their first use."""


def kind_of(operation: str) -> str:
    """The kind of an operation of torch, by its name (`aten::addmm`)."""
    name = operation.rpartition("::")[2].lower()
    return next((kind for kind, pattern in KINDS.items() if re.search(pattern, name)), REST)


def shares(given: Mapping[str, Any]) -> dict[str, Any]:
    """Stage → its seconds of the clock and the share of each kind; `given`: fields of a work, of which a build may know fewer."""
    from dataclasses import fields

    from torch.profiler import ProfilerActivity, profile

    from selfreward.lab.speed.ledger import Ledger
    from selfreward.lab.speed.ours import selfreward
    from selfreward.lab.speed.work import Work

    class Profiled(Ledger):
        """A ledger that also keeps what every stage's operations took by themselves."""

        @contextmanager
        def stage(self, name: str) -> Iterator[None]:
            """Book and profile the block."""
            with super().stage(name), profile(activities=[ProfilerActivity.CPU]) as seen:
                since = time.perf_counter()
                yield
                seconds = time.perf_counter() - since
            took = Counter[str]()
            for each in seen.key_averages():
                took[kind_of(each.key)] += each.self_cpu_time_total / 1e6
            found[name] = in_shares(took, seconds)

    found: dict[str, Any] = {}
    known = {field.name for field in fields(Work)}
    asked = {**{name: value for name, value in given.items() if name in known}, "model": Path(given["model"])}
    for fields_asked in ({**asked, **WARM}, asked):
        work = Work(**fields_asked)
        with tempfile.TemporaryDirectory() as folder:
            selfreward(work, Profiled("cpu"), Path(folder), work.dpo)
    return found


def in_shares(took: Mapping[str, float], seconds: float) -> dict[str, Any]:
    """The seconds of a stage, and the share of them that each kind `took`."""
    inside = {kind: took.get(kind, 0.0) / seconds for kind in (*KINDS, REST)}
    return {"seconds": seconds, "shares": {**inside, OUTSIDE: max(0.0, 1 - sum(inside.values()))}}


def by_build(work: Mapping[str, Any], earlier: str, apart: Callable[..., Any], say: Callable[[str], object]) -> dict[str, Any]:
    """`shares` of this build, and of the earlier one whose sources lie in the folder `earlier`, if it is named."""
    from selfreward.lab.speed.earlier import measured_there
    from selfreward.lab.speed.measure import alive, silently

    found = {"selfreward": apart(silently, shares, work, pulse=alive(say, "a profile"))}
    if earlier:
        pulse = alive(say, "a profile of the earlier build")
        found["selfreward, an earlier build"] = apart(measured_there, Path(earlier), "profile", work, pulse=pulse)
    return found


def section(part: Mapping[str, Any]) -> str:
    """The page's section of a profile."""
    from selfreward.errors import amount
    from selfreward.lab.speed import notes

    work, kinds = part["work"], [*KINDS, REST, OUTSIDE]
    rows = [
        [stage, build, f"{seen['seconds']:.1f}", *(f"{100 * seen['shares'][kind]:.0f} %" for kind in kinds)]
        for stage in next(iter(part["builds"].values()))
        for build, seen in ((build, stages[stage]) for build, stages in part["builds"].items())
    ]
    threads = notes.threads(part["machine"]["threads"])
    conditions = (
        f"{amount(work['prompts'], 'prompt')}, N = {work['n']}, K = {work['k']}, judgments of {work['judgment_tokens']} tokens, "
        f"{work['dtype']}; {threads}{notes.load(part)}, {part['date']}."
    )
    header = ["stage", "build", "wall, s", *kinds]
    return f"## {part['model']}: where the time goes\n\n{conditions} {notes.PROFILE}\n\n{notes.table(header, rows)}"
