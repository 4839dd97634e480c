"""Durable files: atomic writes, and fingerprints of files and models."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selfreward.errors import Outdated, SelfRewardError
from selfreward.records.base import content_id

WEIGHTS = ("*.safetensors", "tokenizer.json", "chat_template.jinja")
SETTINGS = ("*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken", "additional_chat_templates/*")
"""Every other file of a model's folder that decides what it says: architecture, tokenizer, templates, generation settings."""
INDEX = "model.safetensors.index.json"
"""Tensor → file, of weights in several files."""
Known = Mapping[str, Mapping[str, str]]
"""Models by name: of each its `fingerprint`, and the hash of every file of its settings."""
NO_FILES = {stat.S_ISFIFO: "a pipe", stat.S_ISSOCK: "a socket", stat.S_ISCHR: "a device", stat.S_ISBLK: "a device"}
CHANGED = "was changed or damaged since it was written"


class NoFile(OSError):
    """Something stands where a file should be that never ends, or for whose text its reader would wait."""

    def __init__(self, kind: str, path: Path) -> None:
        super().__init__(errno.EINVAL, f"{kind} stands where a file should be", str(path))


def readable(path: Path) -> Path:
    """`path`, to be read. Raises `NoFile` for a pipe, a socket and a device."""
    mode = path.stat().st_mode
    if kind := next((kind for is_one, kind in NO_FILES.items() if is_one(mode)), None):
        raise NoFile(kind, path)
    return path


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    with readable(path).open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def fingerprint(model: Path, hashes: Mapping[Path, str] = {}) -> str:
    """16 hexadecimal digits over a model's weights and tokenizer. Raises `SelfRewardError` where there are none.

    `hashes`: those of files that were read just now.
    """
    files = sorted({file for pattern in WEIGHTS for file in model.glob(pattern)} | _elsewhere(model))
    if not any(file.suffix == ".safetensors" for file in files):
        raise SelfRewardError("has no .safetensors weights", str(model), "Give a folder with a transformers model")
    total = hashlib.sha256()
    for file in files:
        total.update(f"{file.name} {hashes.get(file) or file_hash(file)}\n".encode())
    return total.hexdigest()[:16]


def listed_weights(model: Path) -> dict[str, str]:
    """Tensor → file, as a model's folder lists them. Raises `ValueError` or `OSError` where there is no such list."""
    tree = json.loads(readable(model / INDEX).read_text(encoding="utf-8"))
    listed = tree.get("weight_map") if isinstance(tree, dict) else None
    if not isinstance(listed, dict) or not listed or not all(isinstance(name, str) for name in listed.values()):
        raise ValueError("no weight_map")
    return listed


def _elsewhere(model: Path) -> set[Path]:
    """Files of weights that are listed and lie deeper in a model's folder."""
    try:
        files = {model / name for name in listed_weights(model).values()}
    except (OSError, ValueError, RecursionError):
        return set()
    return {file for file in files if file.parent != model and file.is_file()}


def settings_of(model: Path) -> dict[str, str]:
    """File → hash of the files that decide what a model says and are not in its fingerprint, by their paths in its folder."""
    every = {file for pattern in SETTINGS for file in model.glob(pattern) if file.is_file()}
    covered = {file for pattern in WEIGHTS for file in model.glob(pattern)}
    return {file.relative_to(model).as_posix(): file_hash(file)[:16] for file in sorted(every - covered)}


def same_models(now: Known, before: Known, run: Path) -> dict[str, Mapping[str, str]]:
    """The models of a run: those of `before`, of which an older build kept none, and those that are new.

    Raises `Outdated` where one has other settings than before; one with other weights is told of by what was made from it.
    """
    for name, files in now.items():
        then = before.get(name, {})
        changed = sorted(file for file in files.keys() | then.keys() if files.get(file) != then.get(file))
        if changed and then.get("fingerprint") == files.get("fingerprint"):
            what = f"is no longer the model that this began with: {', '.join(changed)} changed, in its folder"
            raise Outdated(what, name, f"Undo the change, or give this another folder than {run}")
    return {**before, **now}


def differing(folder: Path, hashes: Mapping[str, str]) -> tuple[Path, str] | None:
    """The first file in `folder` whose hash is not that in `hashes` (by name), and its fault in words."""
    for name, expected in hashes.items():
        file = folder / name
        if not file.exists() or file_hash(file) != expected:
            return file, CHANGED if file.exists() else "is missing"
    return None


def read_signed(path: Path) -> dict[str, Any] | None:
    """The facts in a file that holds their hash as `id`; None where the hash does not match.

    Raises `ValueError` where the file holds no facts.
    """
    try:
        facts: dict[str, Any] = json.loads(readable(path).read_text())
        return facts if facts.pop("id") == content_id(facts) else None
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("no facts with an id") from error


def signed(facts: Mapping[str, Any]) -> str:
    """The text of a file that holds `facts` and their hash."""
    return json.dumps({"id": content_id(facts), **facts}, indent=1)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Add `path` to errors of the operating system that name no file, such as those of writing."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def write_whole(path: Path, text: str | Iterable[str]) -> None:
    """Write a file, its text at once or in parts, atomically and durably."""
    partial = path.with_name(path.name + ".partial")
    with naming(partial), partial.open("w", encoding="utf-8") as file:
        file.writelines([text] if isinstance(text, str) else text)
        file.flush()
        os.fsync(file.fileno())
    try:
        partial.replace(path)
    except OSError as error:  # a folder stands there, say
        partial.unlink(missing_ok=True)
        error.filename = str(path)
        raise
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        with naming(path):
            os.fsync(handle)
    finally:
        os.close(handle)


def sync_files(folder: Path) -> None:
    """Make everything in a folder durable, or one file."""
    for path in (*folder.rglob("*"), folder):
        sync_folder(path) if path.is_dir() else _sync_file(path)


def _sync_file(path: Path) -> None:
    with naming(path), readable(path).open("rb") as opened:
        os.fsync(opened.fileno())
