"""Kill real runs of the micro recipe at random moments and compare what they end with: `python scripts/kill_study.py`.

One run is left alone. Then chains of runs are killed with SIGKILL again and again, in every stage, in training, while a
checkpoint is written, while starting, and each is gone on with until it is whole. Every record file, receipt, measured.json,
summary.json and model file must be what the undisturbed run has. Writes docs/results/kills.json and kills.md. With `--minutes` it
can be done in pieces: chains that ended are in WORK/chains.jsonl, and the same command goes on with the others.

Where a kill fell is read from the folder it left behind, not from where it was aimed. The recipe is the shipped one,
with fewer prompts, frequent checkpoints and small batches, so that there is much to interrupt; `--set` changes it further.
`run --from`, `evaluate`, `compare`, `export`, `report` and `lab` are killed by scripts/kill_commands.py.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from selfreward.errors import amount
from selfreward.recipe import load_recipe
from selfreward.rundir import versions

ROOT = Path(__file__).parents[1]
MICRO = ROOT / "src" / "selfreward" / "recipe" / "shipped" / "micro.toml"
SMALLER = {
    "prompts.per_iteration": 60, "sft.checkpoint_every": 5, "dpo.checkpoint_every": 1, "dpo.batch_size": 8,
    "measure.bootstrap": 100, "drift.sample": 16, "drift.pool": 4, "backend.max_tokens_in_flight": 4096,
}  # fmt: skip
LINES = {"ift": 100, "eft": 100, "heldout_prompts": 24, "heldout_rankings": 12}
"""How many lines of these seed files are used."""
PER_CHAIN = 20
"""The most kills of one run."""
NOT_COMPARED = ("logs", "report", ".lock", "provenance.json")
IN_TRAINING, IN_CHECKPOINT = 0.25, 0.05
"""Shares of all kills that must fall there: 50 and 10 of 200."""


@dataclass(frozen=True)
class Target:
    """Where a kill is aimed: a stage, and what of it."""

    order: int
    stage: str
    what: str
    """`stage`, `checkpoint`, or `start`."""


@dataclass(frozen=True)
class Kill:
    """Where a kill fell."""

    chain: int
    stage: str
    phase: str
    """`starting`, `asking`, `training`, `checkpoint`, or `between` stages."""
    after_s: float
    """Seconds since the process started."""


@dataclass
class Chain:
    """One run folder, killed until its targets are used up, and then left to end."""

    number: int
    kills: list[Kill] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)
    exit_code: int = 0
    seconds: float = 0.0
    """Wall time of the chain, pauses before its kills included."""


class Study:
    """The runs of one recipe."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.work: Path = arguments.work
        self.work.mkdir(parents=True, exist_ok=True)
        if not (self.work / "src").exists():
            shutil.copytree(ROOT / "src", self.work / "src")  # all runs are of the same code, whatever is edited meanwhile
        self.changes = {**SMALLER, **_changes(arguments.set)}
        self.changes |= self._shorter_seed_files(arguments.recipe)
        self.recipe, self.threads = arguments.recipe, arguments.threads
        self._lock = threading.Lock()
        self.kills = 0

    def _shorter_seed_files(self, recipe: Path) -> dict[str, str]:
        data = load_recipe(recipe, self.changes).data
        short = {}
        for name, lines in LINES.items():
            if f"data.{name}" not in self.changes:
                file = self.work / f"{name}.jsonl"
                file.write_text("".join(Path(getattr(data, name).path).read_text().splitlines(keepends=True)[:lines]))
                short[f"data.{name}"] = str(file.resolve())
        return short

    def start(self, folder: Path) -> subprocess.Popen[bytes]:
        """Start `selfreward run` on `folder`."""
        command = [sys.executable, "-c", "from selfreward.cli import main; main()", "run", str(self.recipe), "-o", str(folder)]
        for name, value in self.changes.items():
            command += ["--set", f"{name}={json.dumps(value)}"]
        threads = {"OMP_NUM_THREADS": str(self.threads), "MKL_NUM_THREADS": str(self.threads), "TOKENIZERS_PARALLELISM": "false"}
        environment = {**os.environ, **threads, "PYTHONPATH": str((self.work / "src").resolve())}
        with (self.work / f"{folder.name}.log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    def undisturbed(self) -> tuple[dict[str, float], int]:
        """Run once alone, if that was not done before; returns seconds by stage, in order, and the exit code."""
        record, folder = self.work / "undisturbed.json", self.work / "undisturbed"
        if not record.exists():
            shutil.rmtree(folder, ignore_errors=True)
            record.write_text(json.dumps(self._alone(folder)))
        seconds, exit_code = json.loads(record.read_text())
        return seconds, exit_code

    def _alone(self, folder: Path) -> tuple[dict[str, float], int]:
        running, began = self.start(folder), time.monotonic()
        entered: dict[str, float] = {}
        while running.poll() is None:
            if (stage := _stage_of(folder, running.pid)) and stage not in entered:
                entered[stage] = time.monotonic()
                self.say(f"undisturbed run: {stage}")
            time.sleep(0.01)
        ends = [*list(entered.values())[1:], time.monotonic()]
        self.say(f"undisturbed run: exit code {running.returncode} after {time.monotonic() - began:.0f} s")
        return {stage: end - start for (stage, start), end in zip(entered.items(), ends, strict=True)}, running.returncode

    def chain(self, number: int, targets: list[Target], seconds: dict[str, float], rng: random.Random) -> Chain:
        """Kill a run at each of `targets`, then let it end and compare."""
        folder, chain, first = self.work / f"chain_{number}", Chain(number), time.monotonic()
        shutil.rmtree(folder, ignore_errors=True)
        for target in targets:
            if (folder / f"{target.stage}.receipt.json").exists():
                continue  # an earlier kill came late
            running, began = self.start(folder), time.monotonic()
            if wait_for(target, folder, running, seconds.get(target.stage, 1.0), rng):
                running.kill()
            if running.wait() != -9:
                break  # it ended before it could be killed
            chain.kills.append(Kill(number, *where(folder, running.pid), round(time.monotonic() - began, 2)))
            self._count(chain.kills[-1])
        chain.exit_code = self.start(folder).wait()
        chain.differing = differing(self.work / "undisturbed", folder)
        chain.seconds = round(time.monotonic() - first, 1)
        self.say(f"chain {number}: killed {len(chain.kills)} times, {len(chain.differing)} files differ")
        with self._lock, (self.work / "chains.jsonl").open("a") as record:
            record.write(json.dumps(asdict(chain)) + "\n")
        return chain

    def ended(self) -> list[Chain]:
        """The chains of earlier attempts at this study, in order."""
        record = self.work / "chains.jsonl"
        lines = [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []
        chains = [Chain(**{**line, "kills": [Kill(**kill) for kill in line["kills"]]}) for line in lines]
        return sorted(chains, key=lambda chain: chain.number)

    def _count(self, kill: Kill) -> None:
        with self._lock:
            self.kills += 1
            self.say(f"kill {self.kills}: chain {kill.chain}, {kill.stage or '-'}, {kill.phase}, after {kill.after_s:.1f} s")

    def say(self, text: str) -> None:
        """One line of progress."""
        print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def _stage_of(folder: Path, pid: int) -> str | None:
    """The stage that process `pid` is in, by the run's status file; None before its first."""
    try:
        status = json.loads((folder / "logs" / "status.json").read_text())
    except (OSError, ValueError):
        return None
    return str(status["stage"]) if status["pid"] == pid else None


def _torn_checkpoint(work: Path) -> bool:
    """Whether there is a checkpoint that is not marked whole."""
    return any(not (checkpoint / "whole").exists() for checkpoint in work.glob("checkpoint-*"))


def wait_for(target: Target, folder: Path, running: subprocess.Popen[bytes], seconds: float, rng: random.Random) -> bool:
    """Wait until `running` is where it is to be killed; False where it has gone by or ended."""
    if target.what == "start":
        return not _ended_within(running, rng.uniform(0.0, 8.0))
    work, torn_before = folder / f"{target.stage}.partial", _torn_checkpoint(folder / f"{target.stage}.partial")
    while running.poll() is None:
        stage = _stage_of(folder, running.pid)
        if (folder / f"{target.stage}.receipt.json").exists():
            return True  # gone by just now: here is as good as anywhere
        if stage == target.stage and target.what == "stage":
            return not _ended_within(running, rng.uniform(0.0, seconds))
        if stage == target.stage:
            torn = _torn_checkpoint(work)
            if torn and not torn_before:
                time.sleep(rng.uniform(0.0, 0.02))
                return True
            torn_before = torn_before and torn
        time.sleep(0.001 if stage == target.stage else 0.02)
    return False


def _ended_within(running: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        running.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def where(folder: Path, pid: int) -> tuple[str, str]:
    """(stage, phase) in which process `pid` died, by what it left on disk."""
    stage = _stage_of(folder, pid)
    if stage is None:
        return "", "starting"
    if not (folder / f"{stage}.plan.json").exists() or (folder / f"{stage}.receipt.json").exists():
        return stage, "between"
    if not stage.endswith("/model"):
        return stage, "asking"
    return stage, "checkpoint" if _torn_checkpoint(folder / f"{stage}.partial") else "training"


def files(folder: Path) -> Iterator[tuple[str, str]]:
    """(path, hash) of what is compared."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and name.parts[0] not in NOT_COMPARED:
            yield str(name), hashlib.sha256(path.read_bytes()).hexdigest()


def differing(one: Path, other: Path) -> list[str]:
    """Files that are not the same in both folders, or only in one."""
    a, b = dict(files(one)), dict(files(other))
    return sorted(name for name in a.keys() | b.keys() if a.get(name) != b.get(name))


def aims(stages: list[str], count: int, rng: random.Random) -> list[Target]:
    """`count` targets for one chain, in the order in which its run comes by them."""
    every = [Target(-1, "", "start")] * 2
    for order, stage in enumerate(stages):
        model = stage.endswith("/model")
        every += [Target(order, stage, "stage")] * (4 if model else 1)
        every += [Target(order, stage, "checkpoint")] * (2 if model else 0)
    chosen = rng.sample(every, min(count, len(every)))
    return sorted(chosen, key=lambda target: target.order)


def enough(kills: list[Kill], wanted: int) -> bool:
    """Whether kills are as many as asked for, and enough of them where it matters."""
    phases = Counter(kill.phase for kill in kills)
    training = phases["training"] + phases["checkpoint"]
    return (
        len(kills) >= wanted
        and training >= math.ceil(IN_TRAINING * wanted)
        and phases["checkpoint"] >= math.ceil(IN_CHECKPOINT * wanted)
    )


def run_study(arguments: argparse.Namespace) -> dict[str, Any]:
    """All of it; returns the results."""
    study, began = Study(arguments), time.monotonic()
    seconds, exit_code = study.undisturbed()
    chains = study.ended()
    per_chain = max(1, min(PER_CHAIN, math.ceil(arguments.kills / arguments.workers)))
    while not enough([kill for chain in chains for kill in chain.kills], arguments.kills):
        if time.monotonic() - began > 60 * arguments.minutes:
            break
        numbers = range(len(chains) + 1, len(chains) + 1 + arguments.workers)
        with ThreadPoolExecutor(arguments.workers) as pool:
            rngs = [(number, random.Random(f"{arguments.seed} {number}")) for number in numbers]
            work = [pool.submit(study.chain, n, aims(list(seconds), per_chain, rng), seconds, rng) for n, rng in rngs]
        chains += [future.result() for future in work]
    differs = sum(len(chain.differing) + (chain.exit_code != exit_code) for chain in chains)
    return {
        "recipe": arguments.recipe.name,
        "changes": {name: value for name, value in study.changes.items() if "/" not in str(value)},
        "seed": arguments.seed, "threads": arguments.threads, "workers": arguments.workers, "versions": versions(),
        "minutes": arguments.minutes if math.isfinite(arguments.minutes) else None,
        "undisturbed": {"exit_code": exit_code, "stages": list(seconds), "seconds": round(sum(seconds.values()), 1)},
        "files_compared": len(dict(files(study.work / "undisturbed"))), "differing": differs,
        **counts([kill for chain in chains for kill in chain.kills]), "chains": [asdict(chain) for chain in chains],
    }  # fmt: skip


def counts(kills: list[Kill]) -> dict[str, Any]:
    """Kills by phase, and by stage and phase."""
    phases = Counter(kill.phase for kill in kills)
    by_stage: dict[str, Counter[str]] = {}
    for kill in kills:
        by_stage.setdefault(kill.stage or "(starting)", Counter())[kill.phase] += 1
    return {
        "kills": len(kills), "in_training": phases["training"] + phases["checkpoint"],
        "in_checkpoint_write": phases["checkpoint"], "phases": dict(phases),
        "by_stage": {stage: dict(found) for stage, found in by_stage.items()},
    }  # fmt: skip


def table(results: dict[str, Any]) -> str:
    """The results as a page of Markdown."""
    phases = ["starting", "asking", "training", "checkpoint", "between"]
    order = {stage: at for at, stage in enumerate(results["undisturbed"]["stages"])}
    rows = sorted(results["by_stage"].items(), key=lambda item: order.get(item[0], -1))
    cells = [[stage, *(str(count.get(phase, "")) for phase in phases)] for stage, count in rows]
    minutes = f" --minutes {results['minutes']:g}" if results["minutes"] else ""
    spent = (sum(chain["seconds"] for chain in results["chains"]) / results["workers"] + results["undisturbed"]["seconds"]) / 60
    cells.append(["**all**", *(f"**{results['phases'].get(phase, 0)}**" for phase in phases)])
    lines = [
        "# Killed and gone on with", "",
        f"`python scripts/kill_study.py --kills {results['wanted']} --seed {results['seed']} --workers {results['workers']}"
        f"{minutes}`: {results['kills']} SIGKILLs in "
        f"{len(results['chains'])} runs of {results['recipe']}, {results['in_training']} of them in training, "
        f"{results['in_checkpoint_write']} while a checkpoint was written. Of {results['files_compared']} files in each run "
        f"(records, receipts, measurements, weights), **{results['differing']} differ** from the undisturbed run.", "",
        f"Changes to the recipe: {', '.join(f'`{name} = {value}`' for name, value in results['changes'].items())}; "
        f"{', '.join(f'{lines} lines of {name}' for name, lines in LINES.items())}. It took {spent:.0f} minutes, "
        f"{amount(results['workers'], 'run')} at a time, {amount(results['threads'], 'thread')} each.", "",
        "| stage | " + " | ".join(phases) + " |", "|---|" + "--:|" * len(phases),
        *("| " + " | ".join(row) + " |" for row in cells), "",
        "`between`: after one stage's receipt and before the next stage asks (pure stages, measuring, loading).", "",
    ]  # fmt: skip
    return "\n".join(lines)


def _changes(texts: list[str]) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            changes[name] = json.loads(value)
        except ValueError:
            changes[name] = value
    return changes


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", type=Path, default=MICRO)
    parser.add_argument("--set", action="append", default=[], help="a field of the recipe, as prompts.per_iteration=60")
    parser.add_argument("--kills", type=int, default=200, help="how many at least")
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin no chain after so many")
    parser.add_argument("--workers", type=int, default=2, help="runs at a time")
    parser.add_argument("--threads", type=int, default=1, help="of each run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "kills", help="where the runs go")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results", help="where kills.json and kills.md go")
    arguments = parser.parse_args()
    results = {"wanted": arguments.kills, **run_study(arguments)}
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "kills.json").write_text(json.dumps(results, indent=1) + "\n")
    (arguments.out / "kills.md").write_text(table(results))
    print(table(results))
    sys.exit(bool(results["differing"]))


if __name__ == "__main__":
    main()
