"""A run folder: the only module that knows its paths.

A stage that is finished leaves `<stage>.jsonl` and `<stage>.receipt.json`; one under way leaves `<stage>.plan.json` and
`<stage>.journal.jsonl`. A receipt is written last, after its files are safely on disk, so what it calls whole is whole.
What a stage is made from goes into a digest: the same digest is gone on with, another one is refused.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import shutil
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TextIO, TypeVar

from selfreward.errors import SelfRewardError
from selfreward.records import Record, read_jsonl, to_line

R = TypeVar("R", bound=Record)
LIBRARIES = ("selfreward", "torch", "transformers", "trl", "accelerate", "tokenizers")
WEIGHTS = ("*.safetensors", "tokenizer.json", "chat_template.jinja")


def write_whole(path: Path, text: str) -> None:
    """Write a file so that it is there whole or not at all, and stays there when the power goes."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    partial.replace(path)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(path, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def fingerprint(model: Path) -> str:
    """16 hexadecimal digits over a model's weights and tokenizer. Raises `SelfRewardError` where there are none."""
    found = sorted(file for pattern in WEIGHTS for file in model.glob(pattern))
    if not any(file.suffix == ".safetensors" for file in found):
        raise SelfRewardError("has no .safetensors weights", str(model), "Give a folder with a transformers model")
    total = hashlib.sha256()
    for file in found:
        total.update(f"{file.name} {file_hash(file)}\n".encode())
    return total.hexdigest()[:16]


def versions() -> dict[str, str]:
    """Versions of the libraries that decide what a training gives."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


class RunDir:
    """An open run folder, locked against a second process for as long as this one lives."""

    def __init__(self, path: Path, recipe: dict[str, Any]) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._lock = self._take_lock()
        self.visited: list[Stage] = []
        self.before = json.loads(self._read("config.json") or "{}")
        self.recipe = recipe
        self.logs = self._new_attempt()
        write_whole(path / "config.json", json.dumps(recipe, indent=1))

    def stage(self, folder: str, name: str) -> Stage:
        """The stage `name` of `folder` ("M2", "judgments")."""
        stage = Stage(self, self.path / folder, name)
        self.visited.append(stage)
        return stage

    def close(self) -> None:
        """Let another process have the folder."""
        self._lock.close()

    def _take_lock(self) -> TextIO:
        lock = (self.path / ".lock").open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.close()
            now = "Wait for it (`selfreward status` shows where it is), or give this run another folder"
            raise SelfRewardError("another process is working in this run folder", str(self.path), now) from error
        return lock

    def _new_attempt(self) -> Path:
        logs = self.path / "logs"
        number = 1 + len(list(logs.glob("attempt_*")))
        attempt = logs / f"attempt_{number}"
        attempt.mkdir(parents=True)
        provenance = {"python": sys.version, "platform": platform.platform(), "argv": sys.argv, "libraries": versions()}
        write_whole(attempt / "provenance.json", json.dumps(provenance, indent=1))
        write_whole(attempt / "config.json", json.dumps(self.recipe, indent=1))
        shutil.copyfile(attempt / "provenance.json", self.path / "provenance.json")
        return logs

    def _read(self, name: str) -> str | None:
        file = self.path / name
        return file.read_text() if file.exists() else None

    def refuse(self, stage: Stage) -> SelfRewardError:
        """The error for a stage that was made, or begun, from something else than it would be made from now."""
        old, new = _flat(self.before), _flat(self.recipe)
        changed = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
        why = f"the recipe changed ({', '.join(changed)})" if changed else "what it is made from changed"
        keep = {file for visited in self.visited[:-1] for file in visited.files()}
        later = sorted({file for made in self._made() for file in made.files()} - keep)
        names = " ".join(str(file) for file in later)
        now = f"Give this run a new folder, or undo the change, or delete what no longer holds: rm -r {names}"
        return SelfRewardError(f"{why}, so the records here would not be the ones asked for", str(stage), now)

    def _made(self) -> list[Stage]:
        marks = [*self.path.glob("*/*.receipt.json"), *self.path.glob("*/*.plan.json")]
        return [Stage(self, mark.parent, mark.name.split(".")[0]) for mark in marks]


class Stage:
    """The files of one stage."""

    def __init__(self, run: RunDir, folder: Path, name: str) -> None:
        self.run, self.folder, self.name = run, folder, name
        self.records = folder / f"{name}.jsonl"
        self.dropped = folder / f"{name}.dropped.jsonl"
        self.plan = folder / f"{name}.plan.json"
        self.journal = folder / f"{name}.journal.jsonl"
        self.receipt = folder / f"{name}.receipt.json"
        self.model = folder / name
        self.work = folder / f"{name}.partial"

    def __str__(self) -> str:
        return f"{self.folder.name}/{self.name}"

    def files(self) -> list[Path]:
        """What is on disk of this stage."""
        every = (self.records, self.dropped, self.plan, self.journal, self.receipt, self.model, self.work)
        return [file for file in every if file.exists()]

    def finished(self, digest: str) -> dict[str, Any] | None:
        """The receipt, if the stage is whole and undamaged; an error if it was made from something else."""
        if not self.receipt.exists():
            return None
        receipt = self._load(self.receipt)
        if receipt["digest"] != digest:
            raise self.run.refuse(self)
        for name, expected in receipt["files"].items():
            file = self.folder / name
            if not file.exists() or file_hash(file) != expected:
                what = "was changed or damaged since it was written" if file.exists() else "is missing"
                now = f"Restore it, or delete {self.receipt} and all that was made after it to make it again"
                raise SelfRewardError(what, str(file), now)
        return receipt

    def begun(self, digest: str) -> dict[str, Any] | None:
        """The plan of a stage under way; an error if it was begun from something else."""
        if not self.plan.exists():
            return None
        plan = self._load(self.plan)
        if plan["digest"] != digest:
            raise self.run.refuse(self)
        return plan

    def begin(self, digest: str, **plan: object) -> None:
        """Write down what this stage is made from, before anything is made."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(self.plan, json.dumps({"digest": digest, **plan}))

    def finish(self, digest: str, files: Iterable[Path], **facts: object) -> None:
        """Call the stage whole. `files` must be on disk already; its plan and journal go."""
        hashes = {str(file.relative_to(self.folder)): file_hash(file) for file in files}
        write_whole(self.receipt, json.dumps({"digest": digest, "files": hashes, **facts}, indent=1))
        self.tidy()

    def tidy(self) -> None:
        """Remove what only an unfinished stage needs."""
        self.plan.unlink(missing_ok=True)
        self.journal.unlink(missing_ok=True)
        if self.work.exists() and self.run.recipe.get("keep_checkpoints"):
            self.work.replace(self.folder / "checkpoints")
        shutil.rmtree(self.work, ignore_errors=True)

    def write(self, path: Path, records: Iterable[Record]) -> Path:
        """Write records to a file of this stage."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, "".join(to_line(record) + "\n" for record in records))
        return path

    def read(self, kind: type[R]) -> list[R]:
        """The records of the finished stage."""
        return read_jsonl(self.records, kind)

    def _load(self, path: Path) -> dict[str, Any]:
        try:
            loaded: dict[str, Any] = json.loads(path.read_text())
            loaded["digest"]
        except (ValueError, KeyError, TypeError) as error:
            now = f"Delete it and the other {self.name}.* files beside it; the stage is then made again"
            raise SelfRewardError("is not a receipt that this program wrote", str(path), now) from error
        return loaded


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for name, value in tree.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat
