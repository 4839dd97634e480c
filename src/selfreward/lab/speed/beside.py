"""Two sittings beside the arms: trainings alone against TRL's, and real weights against other engines; and their tables."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from selfreward.errors import amount, first_line
from selfreward.lab.speed import notes
from selfreward.lab.speed.earlier import measured_there
from selfreward.lab.speed.measure import alive, silently
from selfreward.lab.speed.served import Engine, Spoken, engines, spend_served
from selfreward.lab.speed.trainings import OF_KIND, PACKED, SORTS, spent

Say = Callable[[str], object]
Run = dict[str, Any]
SAMPLING = ("candidates", "judging")


def tried(call: Callable[[], Run]) -> Run:
    """Return what `call` finds; `died` with the reason where it raises, for the others go on."""
    try:
        return call()
    except Exception as error:  # other people's code raises what it likes
        return {"died": f"it raised {type(error).__name__}: {first_line(error)}"}


def learn(kind: str, lesson: Mapping[str, Any], earlier: str, repeats: int, apart: Callable[..., Run], say: Say) -> Iterator[Run]:
    """Costs of trainings of one kind by every trainer there is, in turn, `repeats` times. `earlier`: sources of another build."""
    for _ in range(repeats):
        for sort in OF_KIND[kind]:
            if sort == "earlier" and not earlier:
                continue
            given = {"sort": sort, "lesson": {**lesson, "kind": kind}}
            if sort == "earlier":
                found = tried(partial(apart, measured_there, Path(earlier), "training", given, pulse=alive(say, sort)))
            else:
                found = tried(partial(apart, silently, spent, given, pulse=alive(say, sort)))
            say(f"{kind}, {SORTS[sort]}: {found.get('died') or _seconds(found)}")
            yield {"sort": sort, **found}


def _seconds(found: Run) -> str:
    return f"{found['cpu']:.2f} s of processor, {found['wall']:.2f} s"


def sample(
    work: Spoken, named: tuple[str, tuple[str, ...], str], threads: int, apart: Callable[..., Run], say: Say
) -> Iterator[Run]:
    """Costs of candidates and judgments by every engine that `named` tells: llama.cpp's Python, its files, vLLM's Python."""
    for engine in engines(work.model, *named):
        found = tried(partial(apart, _sampled, work, engine, threads, pulse=alive(say, engine.title)))
        say(f"({engine.arm}) {engine.title}: {found.get('died') or _spent(found)}")
        yield {"arm": engine.arm, "title": engine.title, "dtype": engine.dtype, **found}


def _spent(found: Run) -> str:
    return ", ".join(f"{stage} {found['cpu'][stage]:.2f} s of processor" for stage in SAMPLING if stage in found["cpu"])


def _sampled(work: Spoken, engine: Engine, threads: int) -> Run:
    from dataclasses import replace

    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        asked = work if engine.python else replace(work, dtype=engine.dtype)
        return spend_served(asked, engine, threads, Path(folder) / "stage")


def trainings_section(part: Mapping[str, Any]) -> str:
    """The page's section of trainings alone."""
    lesson, machine = part["lesson"], part["machine"]
    head = (
        f"{lesson['rows']} examples in steps of {lesson['batch']}; prompts of {_bounds(lesson['prompt'])} tokens, responses of "
        f"{_bounds(lesson['response'])}; {part['shape']['parameters'] / 1e6:,.1f}M parameters with "
        f"{part['shape']['vocabulary']:,} words, {lesson['dtype']}; {notes.threads(machine['threads'])}{notes.load(part)}, "
        f"{part['date']}. With loading; ours and the earlier build write the model, TRL writes nothing. Packed rows have "
        f"{PACKED} tokens."
    )
    header = ["", "processor, s", "÷ ours", "wall, s", "peak, MB", "÷ ours", "steps", "loss of the first step"]
    blocks = [f"## {part['model']}: {part['kind'].upper()} alone, {lesson['rows']} examples", head]
    lived = {sort: [run for run in part["runs"] if run["sort"] == sort and "died" not in run] for sort in SORTS}
    ours = lived["ours"]
    lines = []
    for sort, runs in lived.items():
        if runs:
            cpu, peak = middle(runs, "cpu"), max(run["peak"] for run in runs)
            against = (
                [f"{cpu / middle(ours, 'cpu'):.2f}", f"{peak / max(run['peak'] for run in ours):.2f}"] if ours else ["–", "–"]
            )
            name = f"{SORTS[sort]} ({len(runs)} times)" if len(runs) > 1 else SORTS[sort]
            row = [name, f"{cpu:.2f}", against[0], f"{middle(runs, 'wall'):.2f}", f"{peak / 1e6:,.0f}", against[1]]
            lines.append([*row, str(runs[0]["steps"]), f"{runs[0]['loss']:.6f}"])
    died = [f"{SORTS[run['sort']]}: {run['died']}." for run in part["runs"] if "died" in run]
    return "\n\n".join([*blocks, notes.table(header, lines), *died])


def middle(runs: Sequence[Mapping[str, Any]], name: str) -> float:
    """The median of a figure over runs."""
    return median(float(run[name]) for run in runs)


def _bounds(bounds: Sequence[int]) -> str:
    return f"{bounds[0]}" if bounds[0] == bounds[1] else f"{bounds[0]} to {bounds[1]}"


def pace(run: Mapping[str, Any], stage: str, clock: str = "cpu") -> float:
    """Tokens that a run sampled in a second of a clock."""
    return float(run["sampled"][stage] / run[clock][stage])


def sampled(part: Mapping[str, Any]) -> tuple[str, ...]:
    """The stages in which engines sampled."""
    return SAMPLING if part["work"]["judging"] else SAMPLING[:1]


def engines_section(part: Mapping[str, Any]) -> str:
    """The page's section of engines beside each other on real weights."""
    work, stages = part["work"], sampled(part)
    judged = (
        f", K = {work['k']} judgments of up to {work['judgment_tokens']}; a judge's prompt is the paper's rubric after the same "
        "page of examples"
    )
    head = (
        f"{part['model']} itself, prompts of the checkable world's seed ({work['prompts']}), N = {work['n']} candidates of up to "
        f"{work['candidate_tokens']} tokens{judged if work['judging'] else ''}. All are ended as the model ends them. "
        f"{notes.threads(part['threads'])} each{notes.load(part)}, "
        f"{part['date']}. Loading the model is in the candidates of (a) and (b), loading a server's is not; prefix caches are "
        f"on. `generate()` takes {work['chunks'][0]} prompts a call. A server's seconds are its own and those of what asks it; "
        f"where it has more tokens in a second of wall than in one of the processor, it ran on more than one core. "
        f"{', '.join(f'{name} {number}' for name, number in part['packages'].items())}."
    )
    columns = ("tokens", "a processor second", "a second of wall", "÷ (a) float32")
    header = ["", *(f"{stage}: {name}" if name == "tokens" else name for stage in stages for name in columns)]
    lived = [run for run in part["runs"] if "died" not in run]
    base = next((run for run in lived if run["arm"] == "a" and run["dtype"] == "float32"), None)
    lines = []
    for run in lived:
        cells = [f"({run['arm']}) {run['title']}"]
        for stage in stages:
            cells += [f"{run['sampled'][stage]:,}", f"{pace(run, stage):.1f}", f"{pace(run, stage, 'wall'):.1f}"]
            cells.append(f"{pace(run, stage) / pace(base, stage):.2f}" if base else "–")
        lines.append([*cells, f"{run['peak'] / 1e6:,.0f}"])
    died = [f"({run['arm']}) {run['title']}: {run['died']}." for run in part["runs"] if "died" in run]
    title = f"## {part['model']}: engines beside each other, {amount(work['prompts'], 'prompt')}"
    return "\n\n".join([title, head, notes.table([*header, "peak, MB"], lines), *died])
