"""Who plays which part in a run: the base, the prompt writer, the judge; and how a part's engine is opened."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from selfreward.backends import Model, Trainer
from selfreward.backends.fake import FakeModel, FakeTrainer
from selfreward.cluster import ClusterConfig
from selfreward.config import Recipe
from selfreward.engines import BackendConfig, ServerConfig
from selfreward.errors import SelfRewardError, first_line
from selfreward.fields import HUB_ID, IMPORT_PATH
from selfreward.fingerprints import WEIGHTS, fingerprint
from selfreward.identified import content_id
from selfreward.iteration import JudgeConfig, PairsConfig, PromptsConfig
from selfreward.pairs import Policy, shortest_of_the_best
from selfreward.records import Checkpoint


class Cast:
    """The models of a run by the part they play."""

    def __init__(self, recipe: Recipe) -> None:
        self.base = load_checkpoint("M0", recipe.base)
        self._servers = recipe.servers
        self._members = {"M0": self.base}
        self._outside: dict[str, Checkpoint] = {}

    def join(self, name: str, model: Checkpoint) -> Checkpoint:
        """Let a model that was made take part under its name."""
        self._members[name] = model.model_copy(update={"name": name})
        return self._members[name]

    def writer(self, config: PromptsConfig, model: Checkpoint) -> Checkpoint:
        """Who writes new prompts."""
        if config.by == "current":
            return model
        return self.outside(config.frozen) if config.frozen else self.base

    def judge(self, config: JudgeConfig, model: Checkpoint) -> Checkpoint:
        """Who grades the candidates."""
        if config.by == "current":
            return model
        if config.by == "previous":
            return self.before(model) or model
        return self._members["M1"] if config.by == "frozen" else self.outside(config.by)

    def before(self, model: Checkpoint) -> Checkpoint | None:
        """The model one iteration before `model`; None before M1, for M0 was not taught to judge."""
        names = list(self._members)
        at = names.index(model.name) - 1
        return self._members[names[at]] if at else None

    def outside(self, name: str) -> Checkpoint:
        """A model from outside the loop, as the recipe names it; loaded or fetched once."""
        if name not in self._outside:
            self._outside[name] = outside_model(name, self._servers)
        return self._outside[name]

    def policy(self, config: PairsConfig) -> Policy:
        """How pairs are chosen."""
        if config.length_rho:
            return partial(shortest_of_the_best, rho=config.length_rho)
        policy: Policy = imported(config.policy)
        return policy


def outside_model(name: str, servers: Mapping[str, ServerConfig]) -> Checkpoint:
    """The model that `name` means: one of `servers`, `package.module:name`, a folder or a hub id."""
    if name in servers:
        return Checkpoint(name=name, path=Path(name), fingerprint=content_id("server", *servers[name].identity))
    if re.fullmatch(IMPORT_PATH, name):
        return Checkpoint(name=name, path=Path(name), fingerprint=content_id(name))
    return load_checkpoint(name, name)


def load_checkpoint(name: str, path: str) -> Checkpoint:
    """The model in a folder, or, where there is no such folder, on the hub, from which it is fetched once."""
    folder = Path(path)
    if not folder.is_dir():
        if not HUB_ID.fullmatch(path):
            raise SelfRewardError("there is no such folder", path, f"Give {name} as a folder with a transformers model")
        folder = _fetch(name, path)
    return Checkpoint(name=name, path=folder, fingerprint=fingerprint(folder))


def _fetch(name: str, hub_id: str) -> Path:
    """A model of the hub in the local cache: weights in safetensors, tokenizer and settings, never code."""
    from huggingface_hub import snapshot_download

    try:
        wanted = [*WEIGHTS, "*.json", "tokenizer*", "*.model", "*.txt"]
        return Path(snapshot_download(hub_id, allow_patterns=wanted, ignore_patterns=["*/*"]))
    except Exception as error:  # the hub, the network and the cache have no error in common
        now = f"Give {name} as a folder with a transformers model, or download it where the hub can be reached"
        raise SelfRewardError(f"is no folder and cannot be had from the hub ({first_line(error)})", hub_id, now) from error


def imported(path: str) -> Any:
    """What `package.module:name` names."""
    module, _, name = path.partition(":")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise SelfRewardError(f"cannot be imported ({error})", path, "Name it as package.module:name") from error


def open_model(
    model: Checkpoint, config: BackendConfig, servers: Mapping[str, ServerConfig], cluster: ClusterConfig | None = None
) -> Model:
    """The engine that completes requests to `model`; one on a cluster holds as many that are opened here as it has samplers.

    What somebody else serves takes many requests at once by itself, and is asked from here.
    """
    if server := {Path(name): server for name, server in servers.items()}.get(model.path):  # a URL is another as a path
        from selfreward.backends.server import ServerModel

        return ServerModel(server)
    if cluster and cluster.type == "ray":
        from selfreward.backends.ray import RayModel

        here = model.model_copy(update={"path": model.path.absolute()}) if model.path.is_dir() else model
        return RayModel(partial(open_model, here, config, servers), cluster)
    if re.fullmatch(IMPORT_PATH, str(model.path)):
        engine: Model = imported(str(model.path))()
        return engine
    if config.type == "fake":
        return FakeModel()
    quiet_libraries()
    if config.type == "vllm":
        from selfreward.backends.vllm import VLLMModel

        return VLLMModel(model.path, config)
    from selfreward.backends.hf import HFModel

    return HFModel(model.path, config)


def open_trainer(recipe: Recipe) -> Trainer:
    """The engine that trains."""
    if recipe.backend.type == "fake":
        return FakeTrainer()
    quiet_libraries()
    if recipe.cluster:
        from selfreward.distributed import DistributedTrainer

        return DistributedTrainer(recipe.keep_checkpoints, recipe.trainer, recipe.cluster)
    from selfreward.training import TRLTrainer

    return TRLTrainer(recipe.keep_checkpoints, recipe.trainer)


def quiet_libraries() -> None:
    """One progress bar is enough, and it is ours; what libraries deprecate among themselves is for us to read."""
    from transformers.utils import logging as of_transformers

    of_transformers.disable_progress_bar()
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
