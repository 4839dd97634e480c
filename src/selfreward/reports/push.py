"""Uploads of a model or an exported dataset to the Hugging Face Hub, only on command, and of listed files only."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Literal, NamedTuple

from selfreward.errors import SelfRewardError, amount, first_line, visible
from selfreward.records import readable
from selfreward.reports.card import CARD
from selfreward.rundir import check_model

MODEL_FILES = (
    CARD, "*.safetensors", "*.safetensors.index.json", "config.json", "generation_config.json", "tokenizer.json",
    "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt",
    "merges.txt", "chat_template.jinja",
)  # fmt: skip
"""Files of a transformers model, without the trainer's own beside it."""
DATASET_FILES = (CARD, "*/train.parquet", "*/test.parquet")
LOCAL_PATH = re.compile(r"(?:~|\w:)?[/\\][^/\\\n]+[/\\]")
"""Start of a path that is valid on one machine only."""


class Parcel(NamedTuple):
    """Files to upload, and their kind of repository."""

    kind: Literal["model", "dataset"]
    folder: Path
    files: list[str]
    """Paths relative to `folder`."""

    def __str__(self) -> str:
        sizes = [(self.folder / name).stat().st_size for name in self.files]
        listing = "\n".join(f"  {size:>15,} bytes  {visible(name)}" for name, size in zip(self.files, sizes, strict=True))
        return f"{self.kind} in {visible(str(self.folder))}: {amount(len(self.files), 'file')}, {sum(sizes):,} bytes\n{listing}"


def push_folder(target: Path, repo: str, public: bool, confirmed: Callable[[str], bool]) -> str | None:
    """Upload `target` to the repository `repo` ("name/of-it"), a private one unless `public`; returns its address.

    `confirmed` is shown the files and the repository, and decides; None where it says no, and then nothing is uploaded. The token
    is that of `hf auth login` or of HF_TOKEN. Raises `SelfRewardError` where there is nothing to upload, a settings file names a
    path of this machine, the repository is public and not meant to be, or the hub refuses.
    """
    parcel = pack(target)
    if not confirmed(f"{parcel}\nto the {'PUBLIC' if public else 'private'} {parcel.kind} repository {repo}"):
        return None
    try:
        return _send(parcel, repo, public)
    except SelfRewardError:
        raise
    except Exception as error:  # the hub, the network and a wrong name have no error in common
        why = first_line(error)
        now = "Log in with `hf auth login` or set HF_TOKEN to a token that may write there, and check the name"
        raise SelfRewardError(f"the upload failed, or is incomplete ({why})", repo, now) from error


def pack(target: Path) -> Parcel:
    """The parcel for a model's folder, a model of a run ("runs/x/M3"), or an export."""
    check_model(target)
    folder = target / "model" if (target / "model").is_dir() else target
    model, dataset = _present(folder, MODEL_FILES), _present(folder, DATASET_FILES)
    if any(name.endswith(".safetensors") for name in model):
        parcel = Parcel("model", folder, model)
    elif any(name.endswith(".parquet") for name in dataset):
        parcel = Parcel("dataset", folder, dataset)
    else:
        now = "Give a model of a run (runs/x/M3), a folder with a model, or one that `selfreward export` wrote"
        what = "holds neither a model nor an exported dataset" if target.exists() else "there is no such folder"
        raise SelfRewardError(what, str(target), now)
    if CARD not in parcel.files:
        now = (
            "Write a card: it says what this is and where it comes from. `selfreward export` writes one for every model of a run"
        )
        raise SelfRewardError(f"has no {CARD}", str(folder), now)
    for name in parcel.files:
        _refuse_paths(folder / name)
    return parcel


def _present(folder: Path, patterns: tuple[str, ...]) -> list[str]:
    """Regular files, no links, whose path under `folder` fits one of `patterns`."""
    files = (path for depth in ("*", "*/*") for path in folder.glob(depth) if path.is_file() and not path.is_symlink())
    names = (path.relative_to(folder).as_posix() for path in files)
    return sorted(name for name in names if any(fnmatch(name, p) and name.count("/") == p.count("/") for p in patterns))


def _refuse_paths(file: Path) -> None:
    """Raises `SelfRewardError` where a settings file names this machine's folders."""
    if file.suffix != ".json" or file.name in ("tokenizer.json", "vocab.json"):
        return
    for value in _strings(json.loads(readable(file).read_text(encoding="utf-8"))):
        if LOCAL_PATH.match(value):
            raise SelfRewardError(f"names the path {value} of this machine", str(file), "Remove it before publishing")


def _strings(tree: Any) -> Iterator[str]:
    """Every string value in a tree of JSON."""
    if isinstance(tree, str):
        yield tree
    elif isinstance(tree, dict | list):
        for part in tree.values() if isinstance(tree, dict) else tree:
            yield from _strings(part)


def _send(parcel: Parcel, repo: str, public: bool) -> str:
    from huggingface_hub import HfApi

    api = HfApi()
    address = api.create_repo(repo, repo_type=parcel.kind, private=not public, exist_ok=True)
    if not public and not api.repo_info(repo, repo_type=parcel.kind).private:
        now = "Make it private on the hub, or pass --public"
        raise SelfRewardError("the repository exists and is public; nothing was sent", repo, now)
    api.upload_folder(
        repo_id=repo, repo_type=parcel.kind, folder_path=parcel.folder, allow_patterns=parcel.files, commit_message="Upload"
    )
    return str(address)
