"""The models that a recipe names: whether they can be loaded, and their properties before their weights are fetched.

Nothing is kept: settings and tokenizer of a model on the hub are fetched into a temporary folder.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from selfreward.checks.finding import Finding
from selfreward.checks.judged import EXAMPLE
from selfreward.checks.look import Looker, NamedModel
from selfreward.checks.served import FROZEN, meet
from selfreward.checks.shapes import Shape, size_by_name
from selfreward.engines import assert_opens, find_gguf, is_quantised, outside_model, weight_files
from selfreward.errors import SelfRewardError, first_line
from selfreward.recipe import HUB_ID, IMPORT_PATH, ROLES, BackendConfig, Recipe, field_of, imported
from selfreward.records import Example

SETTINGS = ("*.json", "tokenizer*", "*.jinja", "*.model", "*.txt")
"""Everything of a model's folder but its weights."""
IN_GGUF = "GGUF, converted as the run begins"
PATIENCE = 10
"""Seconds to wait for the hub."""


def models_of(recipe: Recipe) -> dict[str, tuple[str, ...]]:
    """The models that a recipe names, the base first, with the parts they play."""
    models = [(recipe.base, "M0")]
    if recipe.prompts.by == "frozen" and not recipe.prompts.source:
        models.append((recipe.prompts.frozen or recipe.base, "writer"))
    models += [(name, "judge") for name in recipe.judge.judges]
    if recipe.select:
        models.append((recipe.select.judge, "selects checkpoints"))
    if recipe.measure.judge:
        models.append((recipe.measure.judge, "measures"))
    if recipe.drift:
        models.append((recipe.drift.frozen, FROZEN))
    outside = [(name, part) for name, part in models if name not in ROLES]
    return {name: tuple(part for other, part in outside if other == name) for name, _ in outside}


def look_up(
    name: str, parts: tuple[str, ...], recipe: Recipe, looker: Looker | None = None, example: Example = EXAMPLE
) -> NamedModel:
    """Find the model `name`, which plays `parts`; `looker` looks at its files, and a judge's server judges `example`."""
    served = name in recipe.servers
    model = _served(name, parts, recipe, example) if served else _find(name, parts, recipe, looker or Looker())
    return model._replace(problems=(*model.problems, *_strange_turns(model)))


def _strange_turns(model: NamedModel) -> list[Finding]:
    """A warning where a model that others taught to talk has no chat template; a base model in a folder need not have one."""
    talks = "M0" not in model.parts or model.where == IN_GGUF
    if not talks or model.talk is None or model.talk.own:
        return []
    what = "has no chat template: conversations are written to it in selfreward's own, which it may never have seen"
    now = "Put the template it was taught (chat_template.jinja) into its folder"
    return [Finding("warning", model.name, what, now + ", of a GGUF file the one that `selfreward convert` writes")]


def _find(name: str, parts: tuple[str, ...], recipe: Recipe, looker: Looker) -> NamedModel:
    if re.fullmatch(IMPORT_PATH, name):
        return _of_yours(name, parts, field_of(recipe, name), elsewhere=bool(recipe.cluster and recipe.cluster.address))
    if recipe.backend.type == "fake":
        return NamedModel(name, parts, "the fake backend stands in for it")
    try:
        if gguf := find_gguf(name):
            return _in_gguf(gguf, NamedModel(name, parts, IN_GGUF), looker)
    except SelfRewardError as error:
        return NamedModel(name, parts, "GGUF", problems=(Finding.of(error),))
    if Path(name).is_dir():
        if recipe.backend.type == "vllm" and "M0" not in parts and is_quantised(Path(name)):
            return NamedModel(name, parts, "folder, quantised")
        return looker.look("folder", Path(name), NamedModel(name, parts, "folder"))
    if not HUB_ID.fullmatch(name):
        now = "Give a folder with a transformers model, a hub id, or a name under [servers]"
        return NamedModel(name, parts, "nowhere", problems=(Finding("error", name, "there is no such folder", now),))
    return _cached(name, parts, looker) or _on_hub(name, parts, looker)


def unshared(models: Sequence[NamedModel], backend: BackendConfig) -> list[Finding]:
    """The models that sample more slowly than others: they hold more than keys and values of their texts."""
    what = "its layers cannot share a prompt between samples: every sample holds a copy of it, and more may be read again"
    now = "Allow more time and memory for judging; the run prints a line about it"
    copied = [model.name for model in models if backend.type == "hf" and model.shape and model.shape.own_kind]
    return [Finding("warning", name, what, now) for name in copied]


def _served(name: str, parts: tuple[str, ...], recipe: Recipe, example: Example) -> NamedModel:
    """The model of a server, which is asked a few words: that its list has a model tells nothing of the key and the limits."""
    where = f"server {recipe.servers[name].url}"
    try:
        honours, problems = meet(name, parts, recipe, example, retries=0)
    except SelfRewardError as error:
        return NamedModel(name, parts, where, problems=(Finding.of(error),))
    where = f"{where}, {'with' if honours.logprobs else 'without'} log-probs"
    return NamedModel(name, parts, where, problems=tuple(problems), says=str(honours), context=honours.context)


def _of_yours(name: str, parts: tuple[str, ...], field: str, elsewhere: bool) -> NamedModel:
    """An engine of the user's own, which is tried, but not where it is opened on other machines."""
    try:
        imported(name, field) if elsewhere else assert_opens(name, field)
    except SelfRewardError as error:
        return NamedModel(name, parts, "your code", problems=(Finding.of(error),))
    return NamedModel(name, parts, "your code")


def _cached(name: str, parts: tuple[str, ...], looker: Looker) -> NamedModel | None:
    """The model in the hub's cache, if it is there whole; a run fetches what is not."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(name, local_files_only=True))
    except (LocalEntryNotFoundError, OSError):
        return None
    try:
        weight_files(folder)
    except SelfRewardError:
        return None
    return looker.look("folder", folder, NamedModel(name, parts, "in the hub's cache"))


def _on_hub(name: str, parts: tuple[str, ...], looker: Looker) -> NamedModel:
    from huggingface_hub import HfApi, snapshot_download

    try:
        files = HfApi().model_info(name, files_metadata=True, timeout=PATIENCE).siblings or []
        with TemporaryDirectory() as gone:
            folder = snapshot_download(name, local_dir=f"{gone}/model", cache_dir=f"{gone}/cache", allow_patterns=list(SETTINGS))
            model = looker.look("settings", Path(folder), NamedModel(name, parts, "on the hub"))
    except Exception as error:  # the hub, the network and the cache have no error in common
        return _out_of_reach(name, parts, error)
    sizes = [file.size or 0 for file in files if file.rfilename.endswith(".safetensors")]
    none = [] if sizes else [_no_weights(name)]
    return model._replace(download=sum(sizes), problems=(*none, *model.problems))


def _out_of_reach(name: str, parts: tuple[str, ...], error: Exception) -> NamedModel:
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    if isinstance(error, GatedRepoError):
        what, now = "is open only to users who accepted its licence", f"Accept it at huggingface.co/{name} and set HF_TOKEN"
    elif isinstance(error, RepositoryNotFoundError):
        what, now = "is no folder here and no model on the hub", "Correct the name; for a private model set HF_TOKEN"
    else:
        what = f"is no folder here and cannot be fetched from the hub ({first_line(error)})"
        now = "Give a folder with the model, or download it where the hub can be reached"
    size = size_by_name(name)
    shape = Shape(size) if size else None
    return NamedModel(name, parts, "cannot be reached", shape, problems=(Finding("error", name, what, now),))


def _in_gguf(file: Path, model: NamedModel, looker: Looker) -> NamedModel:
    if "M0" not in model.parts:
        outside_model(model.name, {})  # says why not
    return looker.look("gguf", file, model)


def _no_weights(name: str) -> Finding:
    return Finding(
        "error", name, "has no .safetensors weights", "Give a model with .safetensors weights; other files are never loaded"
    )
