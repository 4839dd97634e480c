"""The learner: a model loaded for training, and written as a normal transformers folder when it has learned.

A training changes weights and nothing else. What it needs of the settings meanwhile (dropout, a padding token) is put
back; only where generation stops may be added to, by the token that the model is taught to end its turns with.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, PretrainedConfig, PreTrainedModel

from selfreward.engines.machine import wants_bfloat16
from selfreward.engines.sampling.sizes import SEES_AHEAD, sees_ahead
from selfreward.engines.soundness import assert_sound
from selfreward.engines.tokens import end_of_turn, load_tokenizer
from selfreward.engines.training import adapters
from selfreward.engines.training.carried import carry_generation, carry_tokenizer
from selfreward.errors import SelfRewardError
from selfreward.recipe import TrainerConfig

DROPOUTS = (
    "attention_dropout", "attn_pdrop", "attention_probs_dropout_prob", "hidden_dropout", "hidden_dropout_prob", "dropout",
    "resid_pdrop", "residual_dropout", "resid_dropout", "embd_pdrop", "emb_pdrop", "embed_dropout", "embedding_dropout",
    "activation_dropout", "local_attention_probs_dropout_prob", "lsh_attention_probs_dropout_prob",
)  # fmt: skip
"""Names of dropout in configs. An architecture that has none of these fields has no dropout."""


class Learner:
    """A model in training: its tokenizer, its weights as they are trained, and the settings it came with."""

    def __init__(self, path: Path, dropout: float, trainer: TrainerConfig) -> None:
        """Load what is in `path`. Raises `SelfRewardError` where this device or model cannot do what `trainer` asks."""
        assert_sound(path)
        self.path, self.lora = path, trainer.lora
        self.bfloat16 = wants_bfloat16(trainer)
        self.tokenizer = load_tokenizer(path)
        self._config = AutoConfig.from_pretrained(path, trust_remote_code=False)
        self.model = load_weights(path, with_dropout(self._config, dropout), **self._held())
        if sees_ahead(self.model):
            raise SelfRewardError(f"it {SEES_AHEAD}", str(path), "Give a causal language model")
        adapters.keep_differentiable(self.model)
        self._generation = self.model.generation_config
        self.model.generation_config = GenerationConfig()  # settings as they come may be none that transformers saves
        self.recompute = _recomputes(trainer, self.model, path)

    def _held(self) -> dict[str, Any]:
        """The precision of the weights in memory: frozen ones in that of the arithmetic, trained ones in float32."""
        if self.lora is None:
            return {"dtype": torch.float32}
        device = "cuda" if torch.cuda.is_available() else "cpu"
        return adapters.frozen(self.lora, torch.bfloat16 if self.bfloat16 else torch.float32, device)

    def write(self, trained: Any, folder: Path, weights: dict[str, torch.Tensor] | None = None) -> None:
        """Write `trained`, this model after some steps, into `folder`, with its tokenizer.

        `weights`: all of them, where `trained` holds only a part of each. Adapters are merged into the weights in the
        precision in which those came, and checked; other weights are float32.
        """
        if self.lora is None:
            self._write_model(trained, folder, weights)
        else:
            self._write_model(adapters.merged(trained, self.path), folder)
            adapters.save_adapter(trained, folder)
            adapters.assert_reload(self.path, folder)
        carry_tokenizer(self.tokenizer, self.path, folder)
        carry_generation(self._generation, self.path, folder, end_of_turn(self.tokenizer))

    def _write_model(self, model: PreTrainedModel, folder: Path, weights: dict[str, torch.Tensor] | None = None) -> None:
        in_training = model.config, model.generation_config
        model.config, model.generation_config = copy.deepcopy(self._config), GenerationConfig()
        model.save_pretrained(folder, state_dict=weights)
        model.config, model.generation_config = in_training


def load_weights(path: Path, config: PretrainedConfig, **held: Any) -> PreTrainedModel:
    """The model in a folder, with the settings in `config`. Raises `SelfRewardError` where it is not sound."""
    assert_sound(path)
    return AutoModelForCausalLM.from_pretrained(path, config=config, trust_remote_code=False, use_safetensors=True, **held)


def let_go(model: torch.nn.Module) -> None:
    """Free a model's weights, if they are not on a GPU: parts of a trainer refer to each other, and would keep them for long."""
    for weight in model.parameters():
        if weight.device.type == "cpu":
            weight.data = weight.data.new_empty(0)


def with_dropout(config: PretrainedConfig, dropout: float) -> PretrainedConfig:
    """A copy of a model's settings to train with: every dropout that it has is `dropout`, and outputs have names."""
    changed = copy.deepcopy(config)
    changed.return_dict = True
    for name in DROPOUTS:  # read once, when the layers are made
        if hasattr(changed, name):
            setattr(changed, name, dropout)
    return changed


def context(path: Path) -> int | None:
    """The number of tokens that the model in a folder can read; None where its settings do not say."""
    config = AutoConfig.from_pretrained(path, trust_remote_code=False)
    return getattr(config.get_text_config(), "max_position_embeddings", None)


def _recomputes(trainer: TrainerConfig, model: PreTrainedModel, path: Path) -> bool:
    """True if activations are computed again for the backward pass."""
    wanted, able = trainer.gradient_checkpointing, bool(model.supports_gradient_checkpointing)
    if wanted and not able:
        now = "Set trainer.gradient_checkpointing to false"
        raise SelfRewardError(f"{type(model).__name__} does not support gradient checkpointing", str(path), now)
    return able and torch.cuda.is_available() if wanted is None else wanted
