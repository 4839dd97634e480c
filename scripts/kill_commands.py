"""Commands around a run, killed by SIGKILL at a chance change of a file, over and over, and then left to end.

    python scripts/kill_commands.py --kills 200

The world is the smallest whole run on the fake engine (tests/support/tinyrun.py): what is tried is the code around the engines.
A killed command is given again until it ends; then every file must be as one undisturbed command leaves it. Pieces that are
finished are in WORK/kills.jsonl and are not done again. `lab, in its runs` owes a run of the micro world on the real engine, by a
recipe that is smaller still; it is killed at a chance moment, with its processes.
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from selfreward.rundir import versions  # noqa: E402
from tinyrun import PYTHONPATH, make_world  # noqa: E402

CHILD = """
import os, signal, sys
folder, fatal, count = sys.argv[1], int(sys.argv[2]), 0
CHANGES = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.link"}
def hook(event, given):
    global count
    if event not in CHANGES or not str(given[0]).startswith(folder):
        return
    if event == "open" and not given[2] & (os.O_WRONLY | os.O_RDWR):
        return
    count += 1
    if count == fatal:
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
import atexit
atexit.register(lambda: print(count, file=sys.stderr))
from selfreward.cli import main
sys.argv = ["selfreward", *sys.argv[3:]]
main()
"""
"""Runs a command, and dies just before change number `fatal` of what is below `folder`; 0: never."""
SKIPPED = {"logs", ".lock", "provenance.json", "status.json"}
"""Names of files that differ from attempt to attempt."""
SECONDS = re.compile(rb'"(?:seconds|hours)": ?[0-9.]+')
"""What a run of the laboratory took."""
SMALLER = {
    "limit = 150": "limit = 40", "limit = 48 }": "limit = 6 }", "limit = 12 }": "limit = 2 }", "epochs = 4": "epochs = 1",
    "iterations = 3 ": "iterations = 1 ", "per_iteration = 48": "per_iteration = 12", "sample = 16": "sample = 3",
    "pool = 6": "pool = 2",
}  # fmt: skip
"""Changes to the laboratory's recipe."""


class Command(NamedTuple):
    """A command, and the files that it is to leave."""

    name: str
    prepare: Callable[[Path], None]
    """Puts into an empty folder what there is before the command."""
    arguments: Callable[[Path], list[str]]
    package: Path | None = None
    """The package of a command that is killed at a chance moment, with its processes."""


IN_RUNS = "lab, in its runs"
OWED = "canary-2"
"""An arm of the laboratory that has all its runs, of which one is taken away."""


def smaller(package: Path) -> Path:
    """A copy of the package in the folder `package`, with a smaller recipe of the laboratory."""
    if not package.exists():
        shutil.copytree(ROOT / "src", package)
        recipe = package / "selfreward" / "lab" / "defects" / "lab.toml"
        text = recipe.read_text()
        for old, new in SMALLER.items():
            text = text.replace(old, new)
        recipe.write_text(text)
    return package


def commands(world: Path) -> list[Command]:
    """List the commands that are killed; `world` has the recipe, and a whole run."""
    recipe, run = world / "recipe.toml", world / "run"

    def copied(at: Path) -> None:
        shutil.copytree(run, at / "run", symlinks=True)

    def nothing(at: Path) -> None:
        at.mkdir(parents=True, exist_ok=True)

    def records(at: Path) -> None:
        at.mkdir(parents=True, exist_ok=True)
        for file in (ROOT / "docs" / "results").glob("loop-health.*.jsonl"):
            shutil.copy(file, at)

    def owing(at: Path) -> None:
        records(at)
        file = at / "loop-health.runs.jsonl"
        lines = file.read_text().splitlines(keepends=True)
        lines.remove(next(line for line in reversed(lines) if json.loads(line)["arm"] == OWED))
        file.write_text("".join(lines))

    branch = ["run", str(recipe), "--from", str(run / "M1"), "--set", "dpo.beta=0.2"]

    def contest(at: Path) -> list[str]:
        models = [str(at / "run" / name) for name in ("M2", "M1")]
        return ["compare", "models", *models, "--judge", models[1]]

    return [
        Command("run", nothing, lambda at: ["run", str(recipe), "-o", str(at / "run")]),
        Command("run --from", nothing, lambda at: [*branch, "-o", str(at / "branch")]),
        Command("evaluate", copied, lambda at: ["evaluate", str(at / "run" / "M2"), "--on", "reward-modeling"]),
        Command("compare models", copied, contest),
        Command("export", copied, lambda at: ["export", str(at / "run"), "--to", str(at / "export")]),
        Command("report", copied, lambda at: ["report", str(at / "run")]),
        Command("lab", records, lambda at: ["lab", str(at), "--minutes", "0"]),
        Command(IN_RUNS, owing, lambda at: ["lab", str(at), "--only", OWED, "--workers", "1"], world.parent / "src"),
    ]  # fmt: skip


def attempt(command: Command, at: Path, fatal: int) -> tuple[int, int, str]:
    """(exit code, changes counted, what it said) of one attempt below `at`, killed before change number `fatal`.

    Of a command that is killed at a moment, tenths of seconds stand for changes.
    """
    if command.package:
        return momentary(command, at, fatal / 10)
    given = [sys.executable, "-c", CHILD, str(at), str(fatal), *command.arguments(at)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([PYTHONPATH, os.environ.get("PYTHONPATH", "")])}
    ended = subprocess.run(given, capture_output=True, text=True, env=environment, timeout=900, check=False)
    last = (ended.stderr.splitlines() or [""])[-1]
    return ended.returncode, int(last) if last.isdigit() else 0, ended.stderr


def momentary(command: Command, at: Path, seconds: float) -> tuple[int, int, str]:
    """Like `attempt`, killed with its processes after so many `seconds`; 0: never."""
    given = [sys.executable, "-c", "from selfreward.cli import main; main()", *command.arguments(at)]
    environment = {**os.environ, "PYTHONPATH": str(smaller(command.package)), "OMP_NUM_THREADS": "1"}
    began, said = time.monotonic(), at / "logs"
    said.mkdir(exist_ok=True)
    with (said / "said").open("w") as file:
        running = subprocess.Popen(given, stdout=file, stderr=file, env=environment, start_new_session=True)
        try:
            running.wait(seconds or 900)
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()
    return running.returncode, int(10 * (time.monotonic() - began)), (said / "said").read_text()


def files(folder: Path) -> Iterator[tuple[str, str]]:
    """(path, hash) of what is compared."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and not SKIPPED & set(name.parts):
            yield str(name), sha256(SECONDS.sub(b"", path.read_bytes())).hexdigest()


def differing(one: Path, other: Path) -> list[str]:
    """Files that are not the same in both folders, or only in one."""
    a, b = dict(files(one)), dict(files(other))
    return sorted(name for name in a.keys() | b.keys() if a.get(name) != b.get(name))


def undisturbed(command: Command, at: Path) -> int:
    """Give the command once; returns how many changes it made."""
    command.prepare(at)
    code, changes, said = attempt(command, at, 0)
    if code:
        raise SystemExit(f"{command.name}, undisturbed, ended with {code}:\n{said}")
    return changes


def chain(command: Command, whole: Path, at: Path, changes: int, most: int, rng: random.Random) -> dict[str, Any]:
    """Kill a command up to `most` times, let it end, and compare."""
    command.prepare(at)
    began, kills, code, said = time.monotonic(), 0, -signal.SIGKILL, ""
    while kills < most and code == -signal.SIGKILL:
        code, _, said = attempt(command, at, rng.randint(1, changes))
        kills += code == -signal.SIGKILL
    if code == -signal.SIGKILL:
        code, _, said = attempt(command, at, 0)
    different = differing(whole, at)
    told = {"exit_code": code, "differing": different, "said": "" if code == 0 else said[-2000:]}
    return {"command": command.name, "kills": kills, **told, "seconds": round(time.monotonic() - began, 1)}


def study(work: Path, kills: int, names: list[str], seed: int) -> list[dict[str, Any]]:
    """All chains, of as many commands as `names` has, until there are so many kills; those of earlier attempts counted."""
    world, record = work / "world", work / "kills.jsonl"
    if not (world / "run" / "summary.json").exists():
        shutil.rmtree(world, ignore_errors=True)
        recipe = make_world(world)
        attempt(Command("", lambda at: None, lambda at: ["run", str(recipe), "-o", str(world / "run")]), world, 0)
    chosen = [command for command in commands(world) if command.name in names]
    done = [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []
    for command in chosen:
        place, changes = work / command.name.replace(" ", "_"), 0
        whole, at = place / "undisturbed", place / "at"  # files and their receipts name the place: all are made in one
        share = -(-kills // len(chosen))
        while (had := sum(one["kills"] for one in done if one["command"] == command.name)) < share:
            if not changes:
                for folder in (whole, at):
                    shutil.rmtree(folder, ignore_errors=True)
                changes = undisturbed(command, at)
                at.rename(whole)
            number = sum(one["command"] == command.name for one in done)
            rng = random.Random(f"{seed} {command.name} {number}")
            done.append({**chain(command, whole, at, changes, min(5, share - had), rng), "changes": changes})
            with record.open("a") as file:
                file.write(json.dumps(done[-1]) + "\n")
            print(time.strftime("%H:%M:%S"), json.dumps(done[-1])[:200], flush=True)
            if done[-1]["differing"] or done[-1]["exit_code"]:
                shutil.copytree(at, place / f"chain_{number}", symlinks=True)
            shutil.rmtree(at)
    return [one for one in done if one["command"] in names]


def table(done: list[dict[str, Any]]) -> str:
    """The chains by command, as Markdown."""
    rows = []
    for name in dict.fromkeys(one["command"] for one in done):
        mine = [one for one in done if one["command"] == name]
        differ = sum(len(one["differing"]) + bool(one["exit_code"]) for one in mine)
        cells = (
            len(mine),
            sum(one["kills"] for one in mine),
            "–" if name == IN_RUNS else mine[-1]["changes"],
            differ,
            round(sum(one["seconds"] for one in mine)),
        )
        rows.append(f"| `{name}` | " + " | ".join(map(str, cells)) + " |")
    total = Counter()
    for one in done:
        total.update(kills=one["kills"], differ=len(one["differing"]) + bool(one["exit_code"]), seconds=one["seconds"])
    known = any(one["command"] == IN_RUNS for one in done)
    momentary = f", and for `{IN_RUNS}` at a chance moment of a run of the micro world" * known
    lines = [
        "# Commands around a run, killed and given again", "",
        f"`python scripts/kill_commands.py`: {total['kills']} SIGKILLs on the fake engine, each just before a chance change of a "
        f"file{momentary}. **{total['differ']} files differ** from those of a command "
        "that nobody disturbed (a command that does not end counts as one). It took "
        f"{total['seconds'] / 60:.0f} minutes, one process at a time.", "",
        "| command | chains | kills | changes of files in one | differ | seconds |", "|---|--:|--:|--:|--:|--:|", *rows, "",
    ]  # fmt: skip
    return "\n".join(lines)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="how many in all")
    names = [command.name for command in commands(Path())]
    parser.add_argument("--only", action="append", choices=names, help="only this command; repeatable")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "kill_commands")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results", help="where kill-commands.json and .md go")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    done = study(given.work.resolve(), given.kills, given.only or names, given.seed)
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "kill-commands.json").write_text(json.dumps({"versions": versions(), "chains": done}, indent=1) + "\n")
    (given.out / "kill-commands.md").write_text(table(done))
    sys.exit(any(one["differing"] or one["exit_code"] for one in done))


if __name__ == "__main__":
    main()
