"""Who plays which part in a run: the base, the prompt writer, the judge; and how a part's engine is opened."""

from __future__ import annotations

import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

from selfreward.backends import Model, Trainer
from selfreward.backends.fake import FakeModel, FakeTrainer
from selfreward.config import BackendConfig, JudgeConfig, PairsConfig, PromptsConfig, Recipe
from selfreward.errors import SelfRewardError
from selfreward.pairs import Policy
from selfreward.records import Checkpoint, content_id
from selfreward.rundir import fingerprint


class Cast:
    """The models of a run by the part they play."""

    def __init__(self, recipe: Recipe) -> None:
        self.base = load_checkpoint("M0", recipe.base)
        self._members = {"M0": self.base}

    def join(self, name: str, model: Checkpoint) -> Checkpoint:
        """Let a model that was made take part under its name."""
        self._members[name] = model.model_copy(update={"name": name})
        return self._members[name]

    def writer(self, config: PromptsConfig, model: Checkpoint) -> Checkpoint:
        """Who writes new prompts."""
        if config.by == "current":
            return model
        return load_checkpoint("frozen", config.frozen) if config.frozen else self.base

    def judge(self, config: JudgeConfig, model: Checkpoint) -> Checkpoint:
        """Who grades the candidates."""
        if config.by == "current":
            return model
        if config.by == "frozen":
            return self._members["M1"]
        return Checkpoint(name=config.by, path=Path(config.by), fingerprint=content_id(config.by))

    def policy(self, config: PairsConfig) -> Policy:
        """How pairs are chosen."""
        policy: Policy = imported(config.policy)
        return policy


def load_checkpoint(name: str, path: str) -> Checkpoint:
    """The model in a folder."""
    folder = Path(path)
    if not folder.is_dir():
        raise SelfRewardError("there is no such folder", path, f"Give {name} as a folder with a transformers model")
    return Checkpoint(name=name, path=folder, fingerprint=fingerprint(folder))


def imported(path: str) -> Any:
    """What `package.module:name` names."""
    module, _, name = path.partition(":")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise SelfRewardError(f"cannot be imported ({error})", path, "Name it as package.module:name") from error


def open_model(model: Checkpoint, config: BackendConfig) -> Model:
    """The engine that completes requests to `model`."""
    if ":" in model.path.name:
        engine: Model = imported(str(model.path))()
        return engine
    if config.type == "fake":
        return FakeModel()
    _quiet_libraries()
    from selfreward.backends.hf import HFModel

    return HFModel(model.path, config)


def open_trainer(recipe: Recipe) -> Trainer:
    """The engine that trains."""
    if recipe.backend.type == "fake":
        return FakeTrainer()
    _quiet_libraries()
    from selfreward.training import TRLTrainer

    return TRLTrainer(recipe.keep_checkpoints)


def _quiet_libraries() -> None:
    """One progress bar is enough, and it is ours; what libraries deprecate among themselves is for us to read."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
