"""The search by trial for a way to read a model: by a `Tree`, by copies of its own cache, or whole again for every token."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from selfreward.engines.sampling.layout import pack, unpack
from selfreward.engines.sampling.plain import CANNOT, WAYS, Plain, Way
from selfreward.engines.sampling.tree import NAME, Tree, Unsuited

KNOWN_LAYERS = {"full_attention", "sliding_attention"}
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.1, torch.float16: 0.02}
"""The largest difference between this attention's logits and the model's own, as a share of the largest logit."""

ROUNDING = {torch.float32: 1e-4, torch.bfloat16: 8e-3, torch.float16: 1e-3}
"""The least error of logits by rounding alone, relative to their norm."""


@torch.inference_mode()
def suits(model: PreTrainedModel) -> bool:
    """Switch `model` to this attention and to packed layers if a short text then gets the same logits; True if it switched."""
    if not may_suit(model):
        return False
    own = model.config._attn_implementation
    ids = _probe(model, 12)
    expected = _plainly(model, ids)[-1]
    try:
        model.set_attn_implementation(NAME)
        pack(model)
        suited = _near(model, _probed(model, ids), expected)
    except CANNOT:
        suited = False
    if not suited:
        model.set_attn_implementation(own)
        unpack(model)
    return suited


def may_suit(model: PreTrainedModel) -> bool:
    """True if this attention is worth trying; for a model without weights nothing more can be known."""
    layers = getattr(model.config.get_text_config(), "layer_types", None) or ()
    return bool(model._supports_attention_backend) and not set(layers) - KNOWN_LAYERS


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


@torch.inference_mode()
def way_of(model: PreTrainedModel) -> Way | None:
    """The best way to read a model that no `Tree` suits; None where it sees what comes after a token, so that none can do."""
    ids = _probe(model, 18)
    shared, after = ids[:4], ids[-4:]
    texts = [ids[:5], ids[:9], ids[:13]]  # of different lengths, all of which begin alike
    if not _near(model, _plainly(model, texts[2])[: len(texts[1])], _plainly(model, texts[1])):
        return None
    expected = [_plainly(model, text + after)[len(text) - 1 :] for text in texts]

    def found(way: Way) -> list[Tensor]:
        try:
            return _grown(model, way, texts, shared, after)
        except CANNOT:
            return [torch.full_like(logits, torch.inf) for logits in expected]

    # In coarse arithmetic a state that is lost may look like rounding, which differs from model to model: so it is measured,
    # where nothing is copied but a prompt's own states.
    most = 2 * max(_distance(found(Way(False, "none")), expected), ROUNDING[model.dtype])
    for way in WAYS[:-1]:
        logits = found(way)
        if _distance(logits, expected) <= most and all(_near(model, *both) for both in zip(logits, expected, strict=True)):
            return way
    return WAYS[-1]


def _grown(model: PreTrainedModel, way: Way, texts: Sequence[list[int]], shared: list[int], after: list[int]) -> list[Tensor]:
    """The logits [token, word] after each of `texts` and after each token that follows it."""
    reader = Plain(model, way)
    if way.shares:
        reader.plant(shared)
    rows = torch.tensor([2, 0, 1, 1], device=model.device)
    seen = [reader.branch([text[reader.trunk :] for text in texts])[rows]]
    reader.fan(rows)
    seen.append(reader.grow(torch.full_like(rows, after[0])))
    stay = torch.tensor([1, 3, 0], device=model.device)  # one leaves; those that stay are in the order of `texts`
    reader.keep(stay)
    seen = [logits[stay] for logits in seen]
    seen += [reader.grow(torch.full_like(stay, token)) for token in after[1:]]
    if (way.shares or way.together == "all") and not reader.states().understood():
        raise Unsuited("a cache of its own kind")
    return list(torch.stack(seen, dim=1))


def _plainly(model: PreTrainedModel, ids: list[int]) -> Tensor:
    """The logits [token, word] of a text that is read at once."""
    logits: Tensor = model(input_ids=torch.tensor([ids], device=model.device), use_cache=False).logits[0]
    return logits.float()


def _distance(logits: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """The distance of two logits, relative to their norm."""
    return float((torch.cat(list(logits)) - torch.cat(list(expected))).norm() / torch.cat(list(expected)).norm())


def _near(model: PreTrainedModel, logits: Tensor, expected: Tensor) -> bool:
    return bool(((logits - expected).abs() <= TOLERANCE[model.dtype] * expected.abs().max()).all())


def _probe(model: PreTrainedModel, count: int) -> list[int]:
    """A short text."""
    return [at % model.config.get_text_config().vocab_size for at in range(100, 100 + count)]
