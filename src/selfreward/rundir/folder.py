"""A run folder: the only module that knows its paths.

A finished stage has `<stage>.jsonl` and `<stage>.receipt.json`; one under way has `<stage>.plan.json` and
`<stage>.journal.jsonl`. The receipt is written last, after its files are durable, so a stage with a receipt is whole.
A digest covers everything that a stage is made from: a stage continues with the same digest, and refuses another.
"""

from __future__ import annotations

import json
import platform
import shlex
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from selfreward import __version__
from selfreward.errors import Outdated, SelfRewardError, starred
from selfreward.recipe import LOOKED_IN, changed_fields, looked_in
from selfreward.records import (
    CHANGED,
    Known,
    Record,
    differing,
    file_hash,
    lock_folder,
    read_signed,
    readable,
    same_models,
    signed,
    sync_folder,
    to_line,
    write_whole,
)
from selfreward.rundir.branch import BRANCH, read_branch
from selfreward.rundir.changes import as_it_was, changes_told, remove
from selfreward.rundir.layout import MEASURED, MODEL, WATCHING
from selfreward.rundir.seen import ENDED, attempts

LIBRARIES = ("selfreward", "torch", "transformers", "trl", "accelerate", "tokenizers")
MODELS = "models"
"""The key in `provenance.json` under which the settings of models from outside stand."""
COUNTED = "counted"
"""The key in `provenance.json` of a run whose readings tell their number of cases; runs begun before go on without it."""
ADAPTERS = ("peft", "bitsandbytes")
"""Libraries that matter only for training adapters."""


@cache
def versions(names: tuple[str, ...] = LIBRARIES) -> dict[str, str]:
    """Versions of the libraries that determine the result of training, this package's among them."""
    versions_by_name = {}
    for name in names:
        try:
            versions_by_name[name] = __version__ if name == "selfreward" else version(name)
        except PackageNotFoundError:
            continue
    return versions_by_name


class RunDir:
    """An open run folder, locked against other processes while this object is open."""

    def __init__(self, path: Path, recipe: dict[str, Any], models: Known | None = None) -> None:
        """`models`: of each model from outside its fingerprint, and the hash of every file of its settings."""
        self.path, self.recipe, self.logs, self._models = path, recipe, path / "logs", dict(models or {})
        self._lock = lock_folder(path)
        self.visited: list[Stage] = []
        self.taken: tuple[str, ...] = ()
        self._settled, self._waiting = False, list[Callable[[], object]]()
        try:
            self.taken = branch.taken if (branch := read_branch(path)) else ()
            self.now = {**recipe, "versions": versions()}
            self.before = self._before() or self.now
            self.counted = bool(self.before.pop(COUNTED, True))
            self._models = same_models(self._models, self.before.pop(MODELS, {}), path)
            self._attempt = self._new_attempt()
            if self.before is self.now:
                self.settle()
        except BaseException:
            self.close()
            raise

    def stage(self, folder: str, name: str) -> Stage:
        """The stage `name` of `folder` ("M2", "judgments")."""
        stage = Stage(self, self.path / folder, name)
        self.visited.append(stage)
        return stage

    def settle(self) -> None:
        """Make this attempt's recipe the run's, before any work by it; a refused recipe never gets here."""
        if not self._settled:
            for name in ("provenance.json", "config.json"):
                write_whole(self.path / name, (self._attempt / name).read_text())
        self._settled = True
        waiting, self._waiting = self._waiting, []
        for work in waiting:
            work()

    def once_settled(self, work: Callable[[], object]) -> None:
        """Do `work`, which changes finished files, once this attempt's recipe is the run's: now, or when it becomes so."""
        self._waiting.append(work)
        if self._settled:
            self.settle()

    def ended_by(self, error: SelfRewardError) -> None:
        """Note the error that ends this attempt: the same command would end the same way, and whoever asks is told so."""
        with suppress(OSError):  # the error itself is told in any case
            write_whole(self._attempt / ENDED, f"{error}\n")

    def assert_held(self) -> None:
        """Raises `SelfRewardError` where another process took the folder over meanwhile."""
        self._lock.assert_held(self.path)

    def close(self) -> None:
        """Release the folder."""
        self._lock.close()

    def _before(self) -> dict[str, Any]:
        """Recipe and library versions of earlier attempts; empty in a new folder."""
        file = self.path / "config.json"
        try:
            if not file.exists():
                return {}
            recipe = dict(json.loads(readable(file).read_text()).items())
            file = self.path / "provenance.json"
            provenance = json.loads(readable(file).read_text())
            known = {MODELS: dict(provenance.get(MODELS, {})), COUNTED: provenance.get(COUNTED, False)}
            return {**recipe, "versions": provenance["libraries"], **known}
        except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
            now = f"Restore it from the last attempt in {self.logs}"
            raise SelfRewardError("is not what this program wrote", str(file), now) from error

    def _new_attempt(self) -> Path:
        attempt = self.logs / f"attempt_{1 + max(attempts(self.logs), default=0)}"
        attempt.mkdir(parents=True)
        provenance: dict[str, Any] = {
            "python": sys.version,
            "platform": platform.platform(),
            "argv": [starred(argument) for argument in sys.argv],
            "libraries": versions(),
            LOOKED_IN: looked_in(),
        }
        provenance |= {MODELS: self._models} if self._models else {}
        provenance |= {COUNTED: True} if self.counted else {}
        write_whole(attempt / "provenance.json", json.dumps(provenance, indent=1))
        write_whole(attempt / "config.json", json.dumps(self.recipe, indent=1))
        return attempt

    def refuse(self, stage: Stage) -> Outdated:
        """The error for a stage that was made, or begun, from other inputs than now."""
        changed = changed_fields(self.before, self.now)
        why = f"the recipe changed ({changes_told(self.before, self.now)})" if changed else "its inputs changed"
        keep = {file for visited in self.visited[:-1] for file in visited.files()}
        ours = (entry for entry in self._made() if entry.folder.name not in self.taken)
        stages = [entry for entry in ours if entry.watching or not stage.watching]
        later = {file for entry in stages for file in entry.files()} - keep
        measured = {file.parent / MEASURED for file in later if not stage.watching}
        later |= {file for file in measured if file.exists()}
        now = f"Give this run a new folder; or undo the change{as_it_was(self.path, changed)}"
        if stage.folder.name in self.taken:
            now += f": {stage} was taken over from another run (see {BRANCH}) and is not made again here"
        else:
            now += f"; or delete what no longer holds: {remove(later)}"
        return Outdated(f"{why}, so the records here would not be the ones asked for", str(stage), now)

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
        self.optimizer = folder / f"{name}.optimizer.safetensors"
        self.work = folder / f"{name}.partial"
        self.checkpoints = folder / f"{name}.checkpoints"

    def __str__(self) -> str:
        return f"{self.folder.name}/{self.name}"

    @property
    def watching(self) -> bool:
        """True if only monitors read it."""
        return any(part.covers(self.name) for part in WATCHING)

    def files(self) -> list[Path]:
        """Files of this stage that are on disk."""
        logs = (self.records, self.dropped, self.plan, self.journal, self.receipt)
        folders = (self.model, self.optimizer, self.work, self.checkpoints)
        return [file for file in (*logs, *folders) if file.exists()]

    def finished(self, digest: str) -> dict[str, Any] | None:
        """The receipt, if the stage is whole and undamaged. Raises `Outdated` if it was made from other inputs."""
        if not self.receipt.exists():
            return None
        receipt = self.load(self.receipt)
        if receipt["digest"] != digest:
            raise self.run.refuse(self)
        self._look_over(receipt)
        self._tidy()  # killed between the receipt and this
        return receipt

    def outdated(self, digest: str) -> bool:
        """True if the stage is whole and undamaged, and made from other inputs."""
        if not self.receipt.exists() or (receipt := self.load(self.receipt))["digest"] == digest:
            return False
        self._look_over(receipt)
        return True

    def reopen(self) -> None:
        """Make a finished stage unfinished, so that it is made again; nothing may have been made from it yet."""
        if self.receipt.exists():
            self.receipt.unlink()
            sync_folder(self.folder)  # no receipt may vouch for what is written next

    def _look_over(self, receipt: dict[str, Any]) -> None:
        if wrong := differing(self.folder, receipt["files"]):
            raise self.damaged(*wrong)

    def begun(self, digest: str) -> dict[str, Any] | None:
        """The plan of a stage under way. Raises `Outdated` if it was begun from other inputs."""
        if not self.plan.exists():
            return None
        plan = self.load(self.plan)
        if plan["digest"] != digest:
            raise self.run.refuse(self)
        return plan

    def begin(self, digest: str, **plan: object) -> None:
        """Record the digest of this stage's inputs, before anything is made."""
        if self.model.exists():
            raise self.damaged(self.model, "has no receipt, so its inputs are unknown")
        if self.name == MODEL.name and self.folder.name in self.run.taken:
            raise self.damaged(self.model, "is missing")
        self.make_folder()
        self._save(self.plan, digest=digest, **plan)

    def finish(self, digest: str, files: Iterable[Path] | Mapping[Path, str], **facts: object) -> None:
        """Write the receipt. `files`, perhaps with their hashes, must be durable already; plan and journal are removed."""
        hashes = files if isinstance(files, Mapping) else {file: file_hash(file) for file in files}
        named = {str(file.relative_to(self.folder)): found for file, found in hashes.items()}
        self._save(self.receipt, digest=digest, files=named, **facts)
        self._tidy()

    def damaged(self, file: Path, what: str) -> SelfRewardError:
        """The error for a file of this stage that is not as it was left, with what to delete to make the stage again."""
        now = f"Restore it, or have {self} made again: rm -r {shlex.join(sorted(map(str, self.files())))}"
        if self.folder.name in self.run.taken:
            now = f"It was taken over from another run (see {BRANCH}): restore it from there, or branch again into another folder"
        return SelfRewardError(what, str(file), now)

    def _tidy(self) -> None:
        """Remove the files that only an unfinished stage needs."""
        if self.work.exists() and self.run.recipe.get("keep_checkpoints"):
            shutil.rmtree(self.checkpoints, ignore_errors=True)
            self.work.replace(self.checkpoints)
        shutil.rmtree(self.work, ignore_errors=True)
        self.journal.unlink(missing_ok=True)
        self.plan.unlink(missing_ok=True)

    def make_folder(self) -> None:
        """Make the folder of this stage, before any work in it."""
        self.run.assert_held()
        self.run.settle()
        self.folder.mkdir(parents=True, exist_ok=True)
        sync_folder(self.folder.parent)

    def write(self, path: Path, records: Iterable[Record]) -> Path:
        """Write records to a file of this stage."""
        self.make_folder()
        write_whole(path, (to_line(record) + "\n" for record in records))
        return path

    def _save(self, path: Path, **facts: object) -> None:
        self.run.assert_held()
        write_whole(path, signed(facts))

    def load(self, path: Path) -> dict[str, Any]:
        """The facts in a signed file of this stage. Raises `SelfRewardError` where it is damaged."""
        try:
            loaded = read_signed(path)
        except (ValueError, RecursionError) as error:
            raise self.damaged(path, "is not what this program wrote") from error
        if loaded is None:
            raise self.damaged(path, CHANGED)
        return loaded
