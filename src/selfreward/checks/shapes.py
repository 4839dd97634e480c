"""The size of a model without its weights: parameters are counted on transformers' own classes, with no memory behind them."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from selfreward.engines import GIVE
from selfreward.engines.sampling.sizes import SEES_AHEAD, head_size, keys, sees_ahead, widest
from selfreward.errors import SelfRewardError, first_line
from selfreward.recipe import LoRAConfig

SIZE_IN_NAME = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)([bm])(?![a-z\d])", re.IGNORECASE)
"""`8B`, `0.6B`, `135M` as a part of a model's name."""


class Shape(NamedTuple):
    """The shape that a model's costs depend on. Of a model known by its name alone only `parameters` is more than 0."""

    parameters: int
    """Each counted once, however often it is used."""
    linear: int = 0
    """Parameters in linear layers without the output head: 4-bit loading shrinks these."""
    layers: int = 0
    hidden: int = 0
    intermediate: int = 0
    """Width of the feed-forward layer."""
    heads: int = 0
    queries: int = 0
    """Numbers in one token's queries: heads × head size."""
    keys: int = 0
    """Numbers in one token's keys in a layer that has them, and again in its values."""
    vocabulary: int = 0
    context: int | None = None
    """Longest conversation in tokens; None where nothing says."""
    kept: int = 0
    """Numbers that all layers keep of one token, in keys and values."""
    state: int = 0
    """Numbers that they keep of a text however long it is: the states of recurrent layers."""
    own_kind: bool = False
    """True if the samples of a prompt cannot share everything that its layers read."""


def shape_of(config: Any) -> Shape:
    """The shape of the model that `config`, settings as transformers reads them, describes."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    from selfreward.engines.sampling.suited import may_suit

    model = _without_memory(config)
    head = model.get_output_embeddings()
    linear = [part for part in model.modules() if isinstance(part, nn.Linear | Conv1D) and part is not head]
    text = config.get_text_config()
    heads, own_kind = widest(text, "num_attention_heads"), not may_suit(model)
    return Shape(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        linear=sum(part.weight.numel() for part in linear),
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        intermediate=widest(text, "intermediate_size", "n_inner") or 4 * text.hidden_size,
        heads=heads,
        queries=heads * head_size(text),
        keys=widest(text, "num_key_value_heads", "num_attention_heads") * head_size(text),
        vocabulary=text.vocab_size,
        context=getattr(text, "max_position_embeddings", None),
        kept=2 * keys(text),
        state=_state(model) if own_kind else 0,
        own_kind=own_kind,
    )


def _state(model: Any) -> int:
    """Numbers that a row holds however short it is, in recurrent layers; 0 where its code needs weights to run."""
    from selfreward.engines.sampling.plain import CANNOT, Way, shortest

    try:
        return sum(tensor.numel() for tensor in shortest(model.bfloat16().eval(), Way(False, "none")))
    except CANNOT:
        return 0


def adapter_parameters(config: Any, lora: LoRAConfig) -> int:
    """The number of parameters in the adapters that peft adds to such a model. Raises `SelfRewardError` where it adds none."""
    from peft import get_peft_model

    from selfreward.engines.training import adapters

    try:
        model = _without_memory(config)
        adapters.refuse_head(model, lora)
        adapted = get_peft_model(model, adapters.lora(lora))
    except (ValueError, re.error) as error:
        now = "Name modules that this architecture has, or `all-linear`"
        raise SelfRewardError(f"the model has no such module ({first_line(error)})", "trainer.lora.targets", now) from error
    trained: int = adapted.get_nb_trainable_parameters()[0]
    return trained


def size_by_name(name: str) -> int | None:
    """Parameters as a name tells them ("Llama-2-70b-hf": 70 billion), or None."""
    match = SIZE_IN_NAME.search(name.rsplit("/", maxsplit=1)[-1].replace("-", " ").replace("_", " "))
    return round(float(match[1]) * {"b": 1e9, "m": 1e6}[match[2].lower()]) if match else None


def _without_memory(config: Any) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except ValueError as error:
        raise SelfRewardError(f"{config.model_type} is no causal language model of transformers", "base", GIVE) from error
    except Exception as error:  # transformers may raise anything
        what = f"transformers cannot make a {config.model_type} of its config.json ({first_line(error)})"
        raise SelfRewardError(what, "base", GIVE) from error
    if sees_ahead(model):
        raise SelfRewardError(f"this {config.model_type} {SEES_AHEAD}", "base", "Give a causal language model")
    return model
