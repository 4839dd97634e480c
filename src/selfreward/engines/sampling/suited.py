"""Whether an architecture's attention is one that a `Tree` can take the place of, found out by trying."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PreTrainedModel

from selfreward.engines.sampling.tree import NAME, Tree, Unsuited

KNOWN_LAYERS = {"full_attention", "sliding_attention"}
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.1, torch.float16: 0.02}
"""Of the largest logit, how far this attention and a model's own may lie apart."""


@torch.inference_mode()
def suits(model: PreTrainedModel) -> bool:
    """Let `model` use this attention from now on, if it then says the same of a short text; whether it does."""
    text, own = model.config.get_text_config(), model.config._attn_implementation
    if not model._supports_attention_backend or set(getattr(text, "layer_types", None) or ()) - KNOWN_LAYERS:
        return False
    ids = [at % text.vocab_size for at in range(100, 112)]
    expected = model(input_ids=torch.tensor([ids], device=model.device), use_cache=False).logits[0, -1].float()
    try:
        model.set_attn_implementation(NAME)
        found = _probed(model, ids)
    except (Unsuited, AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError):
        found = torch.full_like(expected, torch.nan)
    near = TOLERANCE[model.dtype] * expected.abs().max()
    suited = bool(((found - expected).abs() <= near).all())
    if not suited:
        model.set_attn_implementation(own)
    return suited


def _probed(model: PreTrainedModel, ids: list[int]) -> Tensor:
    """The logits after `ids`, a third of them each in trunk, branch and own words, beside a shorter prompt."""
    third = len(ids) // 3
    tree = Tree(model)
    tree.plant(ids[:third])
    tree.branch([ids[third : third + 1], ids[third:-third]])
    tree.fan(torch.tensor([1, 0, 1], device=model.device))
    for token in ids[-third:]:
        logits = tree.grow(torch.tensor([token] * 3, device=model.device))
    return logits[2]
