"""The arms side by side in one sitting, the control arm first and last; every figure is on disk as soon as it is there."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path
from statistics import fmean
from typing import Any

from selfreward.errors import SelfRewardError
from selfreward.lab.speed.earlier import measured_there
from selfreward.lab.speed.measure import ARMS, alive, apart, can_train, measured, missing
from selfreward.lab.speed.profiles import by_build
from selfreward.lab.speed.sitting import Sitting, assert_there
from selfreward.lab.speed.tables import page
from selfreward.lab.speed.work import Work
from selfreward.records import write_whole

Say = Callable[[str], object]
SHORT: dict[str, Any] = {
    "prompt_tokens": 32, "candidate_tokens": 32, "judgment_tokens": 32, "rubric_head": 256, "rubric_tail": 32, "batch": 16,
}  # fmt: skip
"""Lengths of a sweep, so that thousands of prompts end in minutes."""


class Figures:
    """The file with all that was measured, and the page made from it. A part measured again replaces what it was."""

    def __init__(self, out: Path, device: str) -> None:
        name = "gpu" if device.startswith("cuda") else "speed"
        self.file, self.page = out / f"{name}.json", out / f"{name}.md"
        out.mkdir(parents=True, exist_ok=True)
        self._found: dict[str, Any] = json.loads(self.file.read_text()) if self.file.exists() else {}

    def put(self, key: str, part: dict[str, Any]) -> None:
        """Keep `part` and write both files."""
        self._found[key] = part
        write_whole(self.file, json.dumps(self._found, indent=1) + "\n")
        write_whole(self.page, page(self._found))


def bench(sitting: Sitting, out: Path, folder: Path, say: Say) -> Path:
    """Measure what `sitting` says; models lie in `folder` meanwhile. Returns the page. Raises `SelfRewardError`."""
    unknown = [arm for arm in sitting.arms if arm not in ARMS]
    if unknown:
        raise SelfRewardError(f"there is no arm {unknown[0]!r}", "arms", f"Name some of {', '.join(ARMS)}")
    assert_there(sitting)
    figures = Figures(out, sitting.device)
    if sitting.overhead:
        _overhead(sitting, figures, say)
        return figures.page
    if sitting.real:
        _engines(sitting, figures, say)
        return figures.page
    known = facts(sitting, folder, say)
    work = Work(
        model=folder, vocabulary=known["shape"]["vocabulary"], prompts=sitting.prompts, device=sitting.device,
        judgment_tokens=sitting.judgment_tokens[0], dtype=sitting.dtype, seed=sitting.seed, lora=sitting.lora,
        dpo=sitting.dpo and sitting.judging and can_train(), judging=sitting.judging,
        earlier=str(Path(sitting.earlier).absolute()) if sitting.earlier else "",
    )  # fmt: skip
    if sitting.kinds:
        _trainers(sitting, work, known, figures, say)
    elif sitting.profile:
        key = f"profile {known['model']} {work.judgment_tokens} {work.prompts}"
        given = {**asdict(work), "model": str(work.model)}
        figures.put(key, {**known, "work": _asked(work), "builds": by_build(given, work.earlier, apart, say)})
    elif sitting.train:
        _utilisation(sitting, work, known, figures, say)
    elif sitting.sweep:
        _sweep(sitting, work, known, figures, say)
    else:
        for tokens in sitting.judgment_tokens if sitting.judging else sitting.judgment_tokens[:1]:
            _side_by_side(sitting, replace(work, judgment_tokens=tokens), known, figures, say)
    return figures.page


def facts(sitting: Sitting, folder: Path, say: Say) -> dict[str, Any]:
    """Make the model; what it is, what the machine is, and what the machine can do, each found in a process of its own."""
    from selfreward.lab.speed.rates import machine
    from selfreward.lab.speed.world import make_world

    making = alive(say, "making the model")
    shape = apart(make_world, folder, sitting.model, sitting.dtype, sitting.device, sitting.seed, pulse=making)
    return {
        "model": Path(sitting.model).name, "shape": shape._asdict(), "date": date.today().isoformat(),
        "machine": apart(machine, sitting.device), "rates": able(sitting, say),
    }  # fmt: skip


def able(sitting: Sitting, say: Say) -> dict[str, float]:
    """The machine's rates, measured now."""
    from selfreward.lab.speed.rates import rates

    speeds: dict[str, float] = apart(rates, sitting.device, sitting.dtype, pulse=alive(say, "rates of the machine"))
    return speeds


def _asked(work: Work) -> dict[str, Any]:
    """The work as it stands in the file: no path of this machine."""
    return {name: value for name, value in asdict(work).items() if name not in ("model", "earlier")}


def _side_by_side(sitting: Sitting, work: Work, known: dict[str, Any], figures: Figures, say: Say) -> None:
    runs: list[dict[str, Any]] = []
    key = f"arms {known['model']} {work.judgment_tokens} {work.prompts} {''.join(sitting.arms)}"
    left = ((" no-judging", not work.judging), (" no-dpo", work.judging and not work.dpo), (" lora", work.lora))
    key += "".join(word for word, applies in left if applies)
    why = {arm: missing(arm, work) for arm in sitting.arms}
    left_out = list(filter(None, why.values())) + ([NO_TRAINING] if sitting.dpo and not can_train() else [])
    for line in left_out:
        say(line)
    arms = [arm for arm in sitting.arms if not why[arm]]
    if not arms:
        raise SelfRewardError("no arm is left to measure", "arms", f"Name others of {', '.join(ARMS)}")

    def run(arm: str, role: str) -> dict[str, Any]:
        seconds = measured(arm, work, say)
        runs.append({"arm": arm, "role": role, **seconds})
        say(f"{known['model']}, judgments of {work.judgment_tokens}: ({arm}) {role}: {_spent(seconds)}")
        keep({})
        return seconds

    def keep(more: dict[str, Any]) -> None:
        figures.put(key, {**known, "work": _asked(work), "arms": arms, "left_out": left_out, "runs": runs, **more})

    tried = {}
    work = replace(work, chunks=(sitting.chunks[0],) * 2)
    for chunk in sitting.chunks if {"b", "e"} & set(arms) and len(sitting.chunks) > 1 else ():
        work = replace(work, chunks=(chunk, chunk))
        tried[chunk] = run("b", f"chunk {chunk}")
    if tried:
        work = replace(work, chunks=(best_chunk(tried, "candidates"), best_chunk(tried, "judging")))
    control = "b" if "b" in arms else arms[0]
    if sitting.control:
        run(control, "control first")
    for number in range(sitting.repeats):
        for arm in arms:
            run(arm, f"repeat {number + 1}")
    if sitting.control:
        run(control, "control last")
    ends = [known["rates"], able(sitting, say)]  # a shared machine is not the same from minute to minute
    keep({"rates": {name: fmean(end[name] for end in ends) for name in ends[0]}, "ends": ends})


NO_TRAINING = "DPO is left out of every arm: there is no trl or no datasets. pip install trl datasets"


def best_chunk(tried: dict[int, dict[str, Any]], stage: str) -> int:
    """The chunk at which a stage took the least time; one that died is out, and where all did, it is the smallest."""
    lived = {chunk: seconds["wall"].get(stage, 0.0) for chunk, seconds in tried.items() if "wall" in seconds}
    return min(lived or tried, key=lambda chunk: lived.get(chunk, chunk))


def _spent(run: dict[str, Any]) -> str:
    if "died" in run:
        return str(run["died"])
    stages = ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in run["wall"].items())
    return f"{sum(run['wall'].values()):.2f} s ({stages}), {sum(run['cpu'].values()):.2f} s of processor"


def _sweep(sitting: Sitting, work: Work, known: dict[str, Any], figures: Figures, say: Say) -> None:
    short = replace(work, **SHORT)
    key = f"sweep {known['model']}" + ("" if work.dpo else " without dpo")
    runs: list[dict[str, Any]] = []
    for number in range(sitting.repeats):
        for prompts in sitting.sweep:
            sized = replace(short, prompts=prompts)
            runs.append({"prompts": prompts, "role": f"repeat {number + 1}", **measured("a", sized, say)})
            say(f"{prompts} prompts: {_spent(runs[-1])}")
            figures.put(key, {**known, "work": _asked(short), "runs": runs})


def _overhead(sitting: Sitting, figures: Figures, say: Say) -> None:
    from selfreward.lab.speed.overhead import overhead

    path = Path(sitting.overhead)
    shares: dict[str, Any] = {}
    if sitting.earlier:
        given = {"recipe": str(path.absolute()) if path.exists() else sitting.overhead}  # a name is of the build's own recipe
        pulse = alive(say, "a run of the recipe by the earlier build")
        shares["earlier"] = apart(measured_there, Path(sitting.earlier).absolute(), "iterations", given, pulse=pulse)
    shares |= apart(overhead, sitting.overhead, pulse=alive(say, "a run of the recipe"))
    name = Path(sitting.overhead).stem
    figures.put(f"overhead {name}", {"recipe": name, "date": date.today().isoformat(), **shares})
    say(f"{name}: {100 * shares['outside']:.2f} % of its iterations' time is neither engine nor trainer")


def _trainers(sitting: Sitting, work: Work, known: dict[str, Any], figures: Figures, say: Say) -> None:
    from selfreward.lab.speed.beside import learn

    names = ("rows", "batch", "prompt", "response", "dtype", "seed")
    lesson = {**{name: getattr(sitting, name) for name in names}, "model": str(work.model), "vocabulary": work.vocabulary}
    for kind in sitting.kinds:
        about = {**known, "kind": kind, "lesson": {**lesson, "model": known["model"]}, "runs": []}
        for found in learn(kind, lesson, work.earlier, sitting.repeats, apart, say):
            about["runs"].append(found)
            figures.put(f"trainers {known['model']} {kind} {sitting.rows} {sitting.response[1]}", about)


def _engines(sitting: Sitting, figures: Figures, say: Say) -> None:
    from selfreward.lab.speed.beside import sample
    from selfreward.lab.speed.rates import machine, packages
    from selfreward.lab.speed.served import Spoken

    about = apart(machine, sitting.device, pulse=alive(say, "the machine"))
    work = Spoken(
        model=Path(sitting.model).absolute(), vocabulary=0, prompts=sitting.prompts, judgment_tokens=sitting.judgment_tokens[0],
        seed=sitting.seed, dpo=False, judging=sitting.judging, n=sitting.n, k=sitting.k,
    )  # fmt: skip
    asked = {
        name: str(Path(python).absolute()) if python else ""
        for name, python in (("llama", sitting.llama), ("vllm", sitting.vllm))
    }
    named = (asked["llama"], tuple(str(Path(file).absolute()) for file in sitting.gguf), asked["vllm"])
    there = {"model": Path(sitting.model).name, "date": date.today().isoformat(), "machine": about, "threads": about["threads"]}
    part = {**there, "packages": packages(asked["llama"], asked["vllm"]), "work": _asked(work), "runs": []}
    key = f"engines {there['model']} {work.prompts} {work.n} {work.k} {work.judgment_tokens}" + " no-judging" * (not work.judging)
    for found in sample(work, named, about["threads"], apart, say):
        part["runs"].append(found)
        figures.put(key, part)


def _utilisation(sitting: Sitting, work: Work, known: dict[str, Any], figures: Figures, say: Say) -> None:
    from selfreward.lab.speed.utilisation import KINDS, utilisation

    runs: Sequence[dict[str, Any]] = [apart(utilisation, kind, work, sitting.lora, pulse=alive(say, kind)) for kind in KINDS]
    for found in runs:
        say(f"{found['kind']}: {found['tokens'] / found['seconds']:,.0f} tokens a second")
    figures.put(f"training {known['model']} {'lora' if sitting.lora else 'all'}", {**known, "lora": sitting.lora, "runs": runs})
