"""Damages each kind of file of a run in each of thirteen ways, and tells what notices it and whether the advice mends it.

    python scripts/damage_study.py

The world is the smallest whole run on the fake engine (tests/support/tinyrun.py), finished, and stopped in the midst of a stage.
Each case damages one file of a copy. `run` must come to the same bytes by itself, or name the file in one line, and come to them
when that line's advice was followed: its `rm`, or the file put back. `export`, `report` and `status` must do what they do of the
whole run, or end with one line. Cases that are finished are in WORK/damage.jsonl and are not done again.
"""

import argparse
import ctypes
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from rich.console import Console  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from selfreward.cli import app  # noqa: E402
from selfreward.engines import fake  # noqa: E402
from selfreward.rundir import progress, versions  # noqa: E402
from tinyrun import Killed, make_world  # noqa: E402

KINDS = (
    (r"\.receipt\.json$", "receipt"), (r"\.plan\.json$", "plan"), (r"\.journal\.jsonl$", "journal"),
    (r"\.dropped\.jsonl$", "dropped records"), (r"/evaluations/.*result\.json$", "result.json"), (r"/model/", "model"),
    (r"^logs/attempt", "recipe of an attempt"), (r"^logs/", "status and other logs"), (r"^report/", "page"),
    (r"drift\.jsonl$", "readings of monitors"), (r"\.jsonl$", "records"), (r"/README\.md$", "card"),
)  # fmt: skip
"""Pattern of a path → kind of file; the first that matches. Any other file is a kind of its own."""
EACH = 3
"""Files of one kind that are damaged at most."""
GONE = "moved away"
NOT_COMPARED = {"logs", "report", ".lock", "provenance.json", GONE}
PR_CAPBSET_DROP, OVERRIDES = 24, (1, 2)
"""A root that may override permissions would not notice that a file has none."""


def kind_of(name: str) -> str:
    """The kind of a file, by its path in the run."""
    return next((kind for pattern, kind in KINDS if re.search(pattern, name)), Path(name).name)


# ——— damages: each changes a file, or says False where it would change nothing ———


def _lines(change: Callable[[list[bytes]], list[bytes]], least: int) -> Callable[[Path], bool]:
    def damage(file: Path) -> bool:
        lines = file.read_bytes().splitlines(keepends=True)
        if len(lines) < least or file.suffix not in (".json", ".jsonl", ".html", ".md", ".toml"):
            return False
        return _bytes(lambda _: b"".join(change(lines)))(file)

    return damage


def _bytes(change: Callable[[bytes], bytes]) -> Callable[[Path], bool]:
    def damage(file: Path) -> bool:
        before = file.read_bytes()
        after = change(before)
        file.write_bytes(after)
        return before != after

    return damage


def _flipped(content: bytes) -> bytes:
    at = len(content) // 2
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :] if content else content


def _folder(file: Path) -> bool:
    file.unlink()
    file.mkdir()
    return True


def _unreadable(file: Path) -> bool:
    file.chmod(0)
    return True


def _symlink(file: Path) -> bool:
    """A link that leads nowhere: what it led to is gone."""
    file.unlink()
    file.symlink_to(file.with_name(GONE))
    return True


def _missing(file: Path) -> bool:
    file.unlink()
    return True


DAMAGES: dict[str, Callable[[Path], bool]] = {
    "truncated": _bytes(lambda content: content[: len(content) // 2]),
    "empty": _bytes(lambda content: b""),
    "a byte flipped": _bytes(_flipped),
    "NULs": _bytes(lambda content: bytes(len(content))),
    "a line doubled": _lines(lambda lines: [*lines[:1], *lines], 2),
    "a line cut out": _lines(lambda lines: lines[:-2] + lines[-1:], 2),
    "lines swapped": _lines(lambda lines: [lines[1], lines[0], *lines[2:]], 2),
    "wrong UTF-8": _bytes(lambda content: content[: len(content) // 2] + b"\xff\xfe" + content[len(content) // 2 :]),
    "a folder": _folder,
    "no permission": _unreadable,
    "a dead link": _symlink,
    "missing": _missing,
}
OTHER = "another run's"
"""The thirteenth kind: the file of this name in a run with another seed."""


# ——— the world ———


def selfreward(*given: object) -> tuple[int, str, bool]:
    """(exit code, what it said on stderr, whether it ended with a traceback)."""
    result = CliRunner().invoke(app, list(map(str, given)))
    traceback = result.exception is not None and not isinstance(result.exception, SystemExit)
    return result.exit_code, result.stderr if not traceback else repr(result.exception), traceback


class World:
    """Runs to be damaged: finished, under way, and one with another seed."""

    def __init__(self, work: Path) -> None:
        self.folder, self.recipe = work / "world", work / "world" / "recipe.toml"
        shutil.rmtree(self.folder, ignore_errors=True)
        make_world(self.folder)
        self.at = work / "case" / "run"
        """Where runs are made and damaged: paths in them are the same."""
        shutil.rmtree(self.at.parent, ignore_errors=True)
        self.states: dict[str, Path] = {}
        self._make("other", "--set", "seed=1")
        self._make("finished")
        self._stop("under way", 12)

    def _make(self, name: str, *more: str) -> None:
        code, said, _ = selfreward("run", self.recipe, "-o", self.at, *more)
        code += selfreward("evaluate", self.at / "M2", "--on", "reward-modeling")[0]
        if code:
            raise SystemExit(f"the run cannot be made: {said}")
        self._keep(name)

    def _stop(self, name: str, batches: int) -> None:
        generate, asked = fake.FakeModel.generate, [0]

        def dying(model: Any, batch: Any) -> Any:
            asked[0] += 1
            if asked[0] > batches and any(file.stat().st_size for file in self.at.rglob("*.journal.jsonl")):
                raise Killed
            return generate(model, batch)

        fake.FakeModel.generate = dying  # type: ignore[method-assign]
        try:
            selfreward("run", self.recipe, "-o", self.at)
        except Killed:
            pass
        finally:
            fake.FakeModel.generate = generate  # type: ignore[method-assign]
        self._keep(name)

    def _keep(self, name: str) -> None:
        self.states[name] = self.folder / name
        self.at.rename(self.states[name])

    def lay(self, name: str) -> None:
        """A fresh copy of a state, in the place where runs are."""
        for path in (self.at, *self.at.rglob("*")) if self.at.exists() else ():
            if path.is_file() and not path.is_symlink():
                path.chmod(0o644)
        shutil.rmtree(self.at.parent, ignore_errors=True)
        shutil.copytree(self.states[name], self.at, symlinks=True)


def tree(folder: Path) -> dict[str, str]:
    """Path → hash of what is compared; evaluations and cards are made by other commands."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and not {*NOT_COMPARED, "evaluations", "README.md"} & set(name.parts):
            found[str(name)] = sha256(path.read_bytes()).hexdigest()
    return found


def targets(state: Path) -> Iterator[str]:
    """The files of a state that are damaged: of each kind the first few that a seed chooses."""
    by_kind = defaultdict(list)
    for path in sorted(state.rglob("*")):
        if path.is_file():
            by_kind[kind_of(str(path.relative_to(state)))].append(str(path.relative_to(state)))
    for kind, names in by_kind.items():
        yield from random.Random(kind).sample(names, min(EACH, len(names)))


# ——— one case ———


def case(world: World, state: str, name: str, damage: str, whole: dict[str, str]) -> dict[str, Any] | None:
    """Tell what a damaged file does to `run`, and to the commands that read; None where the damage changes nothing."""
    found = {"state": state, "file": name, "kind": kind_of(name), "damage": damage}
    if not _damaged(world, state, name, damage):
        return None
    outcome, said = _run(world, state, name, whole)
    readers = {}
    for command in (["status"], ["report"], ["export", "--to", str(world.at.parent / "export")]):
        _damaged(world, state, name, damage)
        code, words, traceback = selfreward(command[0], world.at, *command[1:])
        readers[command[0]] = (
            "traceback" if traceback else "does it" if code == 0 else "one line" if _one_line(words) else "unclear"
        )
        if traceback:
            said = f"{said} | {command[0]}: {words}"
    return {**found, "run": outcome, "said": said[:600], **readers}


def _damaged(world: World, state: str, name: str, damage: str) -> bool:
    world.lay(state)
    file = world.at / name
    if damage != OTHER:
        return DAMAGES[damage](file)
    other = world.states["other"] / name
    if not other.is_file() or other.read_bytes() == file.read_bytes():
        return False
    shutil.copy(other, file)
    return True


def _one_line(words: str) -> bool:
    return sum(line.startswith(("error: ", "alarm: ")) for line in words.splitlines()) == 1


def _run(world: World, state: str, name: str, whole: dict[str, str]) -> tuple[str, str]:
    """(what became of it, what `run` said first)."""
    first = ""
    for attempt in range(6):
        code, words, traceback = selfreward("run", world.recipe, "-o", world.at)
        said = next((line for line in words.splitlines() if line.startswith("error: ")), words)
        first = first or (said if code else "")
        if traceback:
            return "traceback", first
        if code == 0:
            same = tree(world.at) == whole
            return ("same bytes" if attempt == 0 else "noticed, same bytes as told") if same else "WRONG BYTES", first
        if attempt == 0 and Path(name).name not in said and Path(name).name.split(".")[0] not in said:
            return "names another file", first
        if advice := re.search(r"rm -r ((?:'[^']*'|[^\s;])+(?: (?:'[^']*'|/[^\s;]+))*)", said):
            subprocess.run(["sh", "-c", advice[0].rstrip(".")], stdin=subprocess.DEVNULL, capture_output=True, check=False)
        else:
            _restore(world, state, name)
    return "no way out", first


def _restore(world: World, state: str, name: str) -> None:
    file = world.at / name
    if file.is_dir() and not file.is_symlink():
        shutil.rmtree(file)
    elif file.is_symlink() or file.exists():
        file.unlink()
    shutil.copy(world.states[state] / name, file)


def study(work: Path, minutes: float, only: str = "") -> list[dict[str, Any]]:
    """All cases whose file has `only` in its name, until the minutes are over; those of earlier attempts are not done again."""
    os.fsync = lambda handle: None  # nobody pulls a plug here
    progress._stderr = lambda: Console(file=open(os.devnull, "w"))  # noqa: SIM115
    world, record, began = World(work), work / "damage.jsonl", time.monotonic()
    whole = tree(world.states["finished"])
    done = [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []
    known = {(one["state"], one["file"], one["damage"]) for one in done}
    for state in ("finished", "under way"):
        for name in targets(world.states[state]):
            for damage in (*DAMAGES, OTHER):
                if only not in name or (state, name, damage) in known or time.monotonic() - began > 60 * minutes:
                    continue
                start = time.monotonic()
                if found := case(world, state, name, damage, whole):
                    done.append({**found, "seconds": round(time.monotonic() - start, 2)})
                    with record.open("a") as file:
                        file.write(json.dumps(done[-1]) + "\n")
    return done


GOOD = ("same bytes", "noticed, same bytes as told")


def table(done: list[dict[str, Any]]) -> str:
    """The cases by kind of file and by damage, as Markdown."""
    bad = [one for one in done if one["run"] not in GOOD or {"traceback", "unclear"} & set(one.values())]
    seconds, files = sum(one["seconds"] for one in done), len({(one["state"], one["file"]) for one in done})
    kinds = len({one["damage"] for one in done})
    lines = [
        "# Damaged files", "",
        f"`python scripts/damage_study.py`: {len(done)} cases, {kinds} kinds of damage to {files} files of a run on the fake "
        f"engine, finished and under way; {seconds / 60:.0f} minutes. **{len(bad)} went otherwise than they should.**", "",
        "`run` comes to the bytes of an undisturbed run by itself, or names the file in one line and does so when its advice was "
        "followed:", "",
    ]  # fmt: skip
    outcomes = [*GOOD, *sorted({one["run"] for one in done} - {*GOOD})]
    for heading in ("kind", "damage"):
        lines += [f"| {heading} | " + " | ".join(outcomes) + " |", "|---|" + "--:|" * len(outcomes)]
        for value in dict.fromkeys(one[heading] for one in done):
            counts = Counter(one["run"] for one in done if one[heading] == value)
            lines.append(f"| {value} | " + " | ".join(str(counts[outcome] or "") for outcome in outcomes) + " |")
        lines.append("")
    readers = [*dict.fromkeys(one[command] for one in done for command in ("status", "report", "export"))]
    lines += ["| command on the damaged run | " + " | ".join(readers) + " |", "|---|" + "--:|" * len(readers)]
    for command in ("status", "report", "export"):
        counts = Counter(one[command] for one in done)
        lines.append(f"| {command} | " + " | ".join(str(counts[outcome] or "") for outcome in readers) + " |")
    lines += ["", *(f"- {one['file']} ({one['state']}), {one['damage']}: {one['run']}; {one['said']}" for one in bad), ""]
    return "\n".join(lines)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "damage")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results", help="where damage.json and damage.md go")
    parser.add_argument("--minutes", type=float, default=60, help="begin no case after so many")
    parser.add_argument("--only", default="", help="only files with this in their path")
    given = parser.parse_args()
    if os.geteuid() == 0 and "SELFREWARD_NO_OVERRIDE" not in os.environ:
        for capability in OVERRIDES:
            ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "SELFREWARD_NO_OVERRIDE": "1"})
    given.work.mkdir(parents=True, exist_ok=True)
    done = study(given.work.resolve(), given.minutes, given.only)
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "damage.json").write_text(json.dumps({"versions": versions(), "cases": done}, indent=1) + "\n")
    (given.out / "damage.md").write_text(table(done))


if __name__ == "__main__":
    main()
