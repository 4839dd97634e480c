"""The models that a recipe names: whether they can be had, and what is known of them before their weights are.

Nothing is kept: of a model on the hub its settings and tokenizer are fetched, into a folder that goes again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from selfreward.checks.finding import Finding
from selfreward.checks.served import FROZEN, asked, findings
from selfreward.checks.shapes import Shape, read_config, shape_of, size_by_name
from selfreward.errors import SelfRewardError, first_line
from selfreward.recipe import HUB_ID, IMPORT_PATH, ROLES, BackendConfig, Recipe, imported

SETTINGS = ("*.json", "tokenizer*", "*.jinja", "*.model", "*.txt")
"""Everything of a model's folder but its weights."""
PATIENCE = 10
"""Seconds to wait for the hub."""


class Found(NamedTuple):
    """A model that a recipe names."""

    name: str
    parts: tuple[str, ...]
    """Its parts in the run: "M0", "writer", …"""
    where: str
    """Where it was found, in words."""
    shape: Shape | None = None
    """None of a server's model, and of one that cannot be had and whose name tells no size."""
    download: int = 0
    """Bytes of weights that are still to come from the hub."""
    stored: int = 4
    """Bytes of a parameter in its files."""
    config: Any = None
    """Its settings, as transformers reads them; None where they cannot be had."""
    tokenizer: Any = None
    problems: tuple[Finding, ...] = ()
    says: str = ""
    """Of a server, what it honours of a request and what not."""
    context: int | None = None
    """Of a server, the tokens that it reads and writes together, as it says."""


def models_of(recipe: Recipe) -> dict[str, tuple[str, ...]]:
    """The models that a recipe names, the base first, with the parts they play."""
    named = [(recipe.base, "M0")]
    if recipe.prompts.by == "frozen" and not recipe.prompts.source:
        named.append((recipe.prompts.frozen or recipe.base, "writer"))
    named += [(name, "judge") for name in recipe.judge.judges]
    if recipe.select:
        named.append((recipe.select.judge, "selects checkpoints"))
    if recipe.measure.judge:
        named.append((recipe.measure.judge, "measures"))
    if recipe.drift:
        named.append((recipe.drift.frozen, FROZEN))
    outside = [(name, part) for name, part in named if name not in ROLES]
    return {name: tuple(part for other, part in outside if other == name) for name, _ in outside}


def look_up(name: str, parts: tuple[str, ...], recipe: Recipe) -> Found:
    """Find the model `name`, which plays `parts`."""
    if recipe.backend.type == "fake" and name not in recipe.servers:
        return Found(name, parts, "the fake backend stands in for it")
    if name in recipe.servers:
        return _served(name, parts, recipe)
    if re.fullmatch(IMPORT_PATH, name):
        return _of_yours(name, parts)
    if Path(name).is_dir():
        return _in_folder(Path(name), Found(name, parts, "folder"))
    if not HUB_ID.fullmatch(name):
        now = "Give a folder with a transformers model, a hub id, or a name under [servers]"
        return Found(name, parts, "nowhere", problems=(Finding("error", name, "there is no such folder", now),))
    return _cached(name, parts) or _on_hub(name, parts)


def unshared(models: Sequence[Found], backend: BackendConfig) -> list[Finding]:
    """Which models cannot be sampled from as fast as others: those that hold more than keys and values of what they read."""
    what = "its layers are of their own kind: every sample holds a copy of what was kept of its prompt, more may be read again"
    now = "Allow more time and memory for judging; the run says in a line what is not shared"
    copied = [found.name for found in models if backend.type == "hf" and found.shape and found.shape.own_kind]
    return [Finding("warning", name, what, now) for name in copied]


def _served(name: str, parts: tuple[str, ...], recipe: Recipe) -> Found:
    """The model of a server, which is asked a few words: that its list has a model tells nothing of the key and the limits."""
    where = f"server {recipe.servers[name].url}"
    try:
        honours = asked(name, recipe, retries=0)
        problems = tuple(findings(name, parts, recipe, honours))
    except SelfRewardError as error:
        return Found(name, parts, where, problems=(Finding.of(error),))
    where = f"{where}, {'with' if honours.logprobs else 'without'} log-probs"
    return Found(name, parts, where, problems=problems, says=str(honours), context=honours.context)


def _of_yours(name: str, parts: tuple[str, ...]) -> Found:
    try:
        imported(name)
    except SelfRewardError as error:
        return Found(name, parts, "your code", problems=(Finding.of(error),))
    return Found(name, parts, "your code")


def _cached(name: str, parts: tuple[str, ...]) -> Found | None:
    """The model in the hub's cache, if it is there whole; a run fetches what is not."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(name, local_files_only=True))
    except (LocalEntryNotFoundError, OSError):
        return None
    return _in_folder(folder, Found(name, parts, "in the hub's cache")) if _weights(folder) and not _missing(folder) else None


def _on_hub(name: str, parts: tuple[str, ...]) -> Found:
    from huggingface_hub import HfApi, snapshot_download

    try:
        files = HfApi().model_info(name, files_metadata=True, timeout=PATIENCE).siblings or []
        with TemporaryDirectory() as gone:
            folder = snapshot_download(name, local_dir=f"{gone}/model", cache_dir=f"{gone}/cache", allow_patterns=list(SETTINGS))
            found = _read(Path(folder), Found(name, parts, "on the hub"))
    except Exception as error:  # the hub, the network and the cache have no error in common
        return _out_of_reach(name, parts, error)
    sizes = [file.size or 0 for file in files if file.rfilename.endswith(".safetensors")]
    none = [] if sizes else [_no_weights(name)]
    return found._replace(download=sum(sizes), problems=(*none, *found.problems))


def _out_of_reach(name: str, parts: tuple[str, ...], error: Exception) -> Found:
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    if isinstance(error, GatedRepoError):
        what, now = "is open only to those who accepted its licence", f"Accept it at huggingface.co/{name} and set HF_TOKEN"
    elif isinstance(error, RepositoryNotFoundError):
        what, now = "is no folder here and no model on the hub", "Put the name right; for a private model set HF_TOKEN"
    else:
        what = f"is no folder here and cannot be had from the hub ({first_line(error)})"
        now = "Give a folder with the model, or download it where the hub can be reached"
    size = size_by_name(name)
    shape = Shape(size) if size else None
    return Found(name, parts, "cannot be reached", shape, problems=(Finding("error", name, what, now),))


def _in_folder(folder: Path, found: Found) -> Found:
    """The model in a folder that has its weights as well."""
    problems = [] if _weights(folder) else [_no_weights(found.name)]
    if (missing := _missing(folder)) and not problems:
        what = f"lacks {len(missing)} of its files of weights, {missing[0]} first"
        problems.append(Finding("error", found.name, what, "Fetch it again"))
    read = _read(folder, found)
    return read._replace(problems=(*problems, *read.problems))


def _weights(folder: Path) -> list[Path]:
    return list(folder.glob("*.safetensors"))


def _missing(folder: Path) -> list[str]:
    """Files of weights that the index of a model in several files names and that are not there."""
    index = folder / "model.safetensors.index.json"
    named = set(json.loads(index.read_text())["weight_map"].values()) if index.is_file() else set()
    return sorted(name for name in named if not (folder / name).exists())


def _no_weights(name: str) -> Finding:
    return Finding("error", name, "has no .safetensors weights", "Give a model that has; others are never loaded")


def _read(folder: Path, found: Found) -> Found:
    """Settings and tokenizer in `folder`, and what is wrong with them."""
    from selfreward.engines import load_tokenizer

    try:
        config = read_config(folder)
        found = found._replace(config=config, shape=shape_of(config), stored=config.dtype.itemsize if config.dtype else 4)
        return found._replace(tokenizer=load_tokenizer(folder))
    except SelfRewardError as error:
        return found._replace(problems=(Finding.of(error)._replace(where=found.name),))
    except (OSError, ValueError, KeyError, ImportError) as error:
        what, now = f"its tokenizer cannot be read ({first_line(error)})", "Give a folder with its tokenizer too"
        return found._replace(problems=(Finding("error", found.name, what, now),))
