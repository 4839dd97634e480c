"""The width of a model's layers and the size of their caches, from its settings alone, for any architecture."""

from __future__ import annotations

from typing import Any

KEYLESS = {"linear_attention", "conv", "mamba", "recurrent", "moe", "mlp"}
"""Layers that keep no keys and values: recurrent ones have a state of one size, others nothing."""


CAUSAL_ANYWAY = {"gpt_neox", "gpt_neox_japanese"}
"""Architectures that are causal whatever `is_decoder` says."""
NEVER_CAUSAL = {"cpmant", "prophetnet", "xlnet"}
SEES_AHEAD = "sees the tokens after each token, so it cannot generate text"


def sees_ahead(model: Any) -> bool:
    """True if `model`, with weights or without, is made to see the tokens that come after a token (an encoder, as BERT is)."""
    config = model.config
    encodes = getattr(config, "is_decoder", True) is False and config.model_type not in CAUSAL_ANYWAY
    return encodes or config.model_type in NEVER_CAUSAL or getattr(config, "causal", True) is False


def widest(config: Any, *names: str) -> int:
    """The largest value, over all layers, of the first of these settings that a model's `config` has; 0 where it has none."""
    for name in names:
        values = [getattr(layer, name, None) or 0 for layer in _layers(config)]
        if most := max((max(value) if isinstance(value, list | tuple) else value for value in values), default=0):
            return int(most)
    return 0


def keys(config: Any) -> int:
    """Numbers in one token's keys in all layers together, and again in its values."""
    layers = _layers(config)
    types = getattr(config, "layer_types", None) or getattr(config, "layers_block_type", None) or [""] * len(layers)
    return sum(_keys(layer) for layer, kind in zip(layers, types, strict=False) if kind not in KEYLESS)


def token_bytes(model: Any) -> int:
    """Bytes of one token's keys and values in all layers; 1 where no layer keeps any."""
    return 2 * keys(model.config.get_text_config()) * int(model.dtype.itemsize) or 1


def head_size(config: Any) -> int:
    """Numbers in one head's query."""
    return widest(config, "head_dim") or widest(config, "hidden_size") // max(widest(config, "num_attention_heads"), 1)


def _layers(config: Any) -> list[Any]:
    """The settings of each layer; most architectures have one kind alone."""
    return list(getattr(config, "per_layer_config", None) or [config] * int(config.num_hidden_layers))


def _keys(layer: Any) -> int:
    heads = getattr(layer, "num_attention_heads", None) or 0
    size = getattr(layer, "head_dim", None) or layer.hidden_size // max(heads, 1)
    return int((getattr(layer, "num_key_value_heads", None) or heads) * size)
