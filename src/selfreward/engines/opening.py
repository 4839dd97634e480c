"""Opening models and engines: from the name in a recipe to a checkpoint, and from a checkpoint to what samples or trains."""

from __future__ import annotations

import importlib
import logging
import re
import shlex
import warnings
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

from selfreward.engines.fake import FakeModel, FakeTrainer
from selfreward.engines.gguf import find_gguf
from selfreward.engines.machine import find_device
from selfreward.engines.protocols import Model, Trainer
from selfreward.engines.soundness import assert_finite, assert_sound, is_quantised
from selfreward.errors import SelfRewardError, first_line, raised
from selfreward.recipe import (
    HUB_ID,
    IMPORT_PATH,
    BackendConfig,
    ClusterConfig,
    Recipe,
    ServerConfig,
    assert_engine,
    engine_at,
    first_spelling,
    place_of,
)
from selfreward.records import WEIGHTS, Checkpoint, content_id, fingerprint, settings_of


def outside_model(name: str, servers: Mapping[str, ServerConfig]) -> Checkpoint:
    """The model that `name` means: one of `servers`, `package.module:name`, a folder or a hub id."""
    if name in servers:
        return Checkpoint(name=name, path=Path(name), fingerprint=content_id("server", *servers[name].identity))
    if re.fullmatch(IMPORT_PATH, name):
        return Checkpoint(name=name, path=Path(name), fingerprint=content_id(first_spelling(name)))
    return load_checkpoint(name, name)


def load_checkpoint(name: str, path: str) -> Checkpoint:
    """The model in a folder, or, where there is no such folder, on the hub, from which it is fetched once."""
    folder = Path(path)
    if gguf := find_gguf(path):
        now = f"Convert it once and name the folder: selfreward convert {shlex.quote(str(gguf))} FOLDER"
        raise SelfRewardError("is a GGUF file, and only a run's base is converted automatically", path, now)
    if not folder.is_dir():
        if not HUB_ID.fullmatch(path):
            now = f"Give {name} as a folder with a transformers model" + ", or by a name under [servers]" * (name != "M0")
            raise SelfRewardError("there is no such folder", path, now)
        folder = _fetch(name, path)
    return Checkpoint(name=name, path=folder, fingerprint=fingerprint(folder))


def assert_models(models: Iterable[Checkpoint], config: BackendConfig) -> dict[str, dict[str, str]]:
    """The fingerprint of each of `models` that is a folder, and the hash of each of its settings files, by the model's name.

    Raises `SelfRewardError` where one could not be sampled from by `config`, or M0 not be trained, before anything is asked.
    """
    known = {}
    for model in [model for model in models if model.path.is_dir()]:
        if config.type in ("hf", "vllm") and not (config.type == "vllm" and model.name != "M0" and is_quantised(model.path)):
            assert_sound(model.path)
            assert_finite(model.path)
        known[model.name] = {"fingerprint": model.fingerprint, **settings_of(model.path)}
    return known


def _fetch(name: str, hub_id: str) -> Path:
    """A model of the hub in the local cache: weights in safetensors, tokenizer and settings, never code."""
    from huggingface_hub import snapshot_download

    quiet_hub()
    try:
        wanted = [*WEIGHTS, "*.json", "tokenizer*", "*.model", "*.txt"]
        return Path(snapshot_download(hub_id, allow_patterns=wanted, ignore_patterns=["*/*"]))
    except Exception as error:  # the hub, the network and the cache have no error in common
        now = f"Give {name} as a folder with a transformers model, or download it where the hub can be reached"
        raise SelfRewardError(f"is no folder and cannot be fetched from the hub ({first_line(error)})", hub_id, now) from error


def open_model(
    model: Checkpoint, config: BackendConfig, servers: Mapping[str, ServerConfig], cluster: ClusterConfig | None = None
) -> Model:
    """The engine that completes requests to `model`; one on a cluster holds as many that are opened here as it has samplers.

    What somebody else serves takes many requests at once by itself, and is asked from here.
    """
    if server := {Path(name): server for name, server in servers.items()}.get(model.path):  # a URL is another as a path
        from selfreward.engines.sampling.server import ServerModel

        return ServerModel(server)
    if cluster and cluster.type == "ray":
        from selfreward.engines.sampling.ray import RayModel

        here = model.model_copy(update={"path": model.path.absolute()}) if model.path.is_dir() else model
        return RayModel(partial(open_model, here, config, servers), cluster)
    if re.fullmatch(IMPORT_PATH, str(model.path)):
        return _own(str(model.path))
    if config.type == "fake":
        return FakeModel()
    quiet_libraries()
    if config.type == "vllm":
        from selfreward.engines.sampling.vllm import VLLMModel

        return VLLMModel(model.path, config)
    from selfreward.engines.sampling.hf import HFModel

    return HFModel(model.path, config)


def _own(path: str, field: str = "") -> Model:
    """An engine of the user's own. Raises `SelfRewardError` where it cannot be opened, or is none."""
    make, where = engine_at(path, field), place_of(path, field)
    try:
        engine: Model = make()
    except (SelfRewardError, MemoryError):
        raise
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        now = "Correct that, and make it open without arguments"
        raise SelfRewardError(f"cannot be opened: raised {raised(error)}", where, now) from error
    assert_engine(engine, where)
    return engine


def assert_opens(name: str, field: str = "") -> None:
    """Open the model `name`, which `field` of the recipe holds, and close it, where it is an engine of the user's own.

    Raises `SelfRewardError`.
    """
    if not re.fullmatch(IMPORT_PATH, name):
        return
    engine = _own(name, field)
    try:
        engine.close()
    except Exception as error:  # the user's code may raise anything
        raise SelfRewardError(f"cannot be closed: raised {raised(error)}", place_of(name, field), "Put that right") from error


def assert_openable(
    name: str,
    config: BackendConfig,
    servers: Mapping[str, ServerConfig],
    cluster: ClusterConfig | None = None,
    field: str = "",
) -> None:
    """Raises `SelfRewardError` where no engine for the model `name` can be opened: a package, device, key or code is missing.

    `field`: of the recipe, which holds the name.
    Nothing is opened, no server is asked, and a cluster of other machines is taken to have what is missing here.
    """
    if name in servers:
        importlib.import_module("selfreward.engines.sampling.server")  # tells what to install where the client is missing
        from selfreward.engines.sampling.client import read_key

        read_key(servers[name])
    elif re.fullmatch(IMPORT_PATH, name):
        engine_at(name, field)
    elif config.type == "vllm":
        importlib.import_module("selfreward.engines.sampling.vllm")
    elif config.type == "hf" and not (cluster and cluster.address):
        find_device(config.device)


def open_trainer(recipe: Recipe) -> Trainer:
    """The engine that trains."""
    if recipe.backend.type == "fake":
        return FakeTrainer()
    quiet_libraries()
    if recipe.cluster:
        from selfreward.engines.training.distributed import DistributedTrainer

        return DistributedTrainer(recipe.keep_checkpoints, recipe.trainer, recipe.cluster)
    from selfreward.engines.training.trl import TRLTrainer

    return TRLTrainer(recipe.keep_checkpoints, recipe.trainer)


def quiet_hub() -> None:
    """Silence the hub's messages about retries; a lasting failure becomes an error of one line."""
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)


def quiet_libraries() -> None:
    """Silence the progress bars and deprecation warnings of libraries; the run shows a progress bar of its own."""
    from transformers.utils import logging as of_transformers

    of_transformers.disable_progress_bar()
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    logging.getLogger("transformers.trainer_utils").setLevel(logging.ERROR)  # tells that tokens were aligned, as they are here
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(torch|transformers|trl|peft|accelerate)\b")
