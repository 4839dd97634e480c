"""The forward pass of a training on a CPU: it reads a prompt once for both responses, and computes logits only for learnt words.

TRL asks a model for the log-probabilities of labels (`fused_lm_head`); this module computes the same numbers with less work. A
trial shows whether the numbers are the same for a model; where they are not, TRL's way stays.
"""

from __future__ import annotations

from types import MethodType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from selfreward.engines.sampling.plain import CANNOT
from selfreward.engines.sampling.sizes import head_size, widest
from selfreward.engines.sampling.suited import may_suit
from selfreward.engines.training.likelihood import Scores, score
from selfreward.engines.training.rows import IGNORE

USUAL = {"input_ids", "attention_mask", "labels", "use_cache"}
"""Arguments that TRL passes to a model of text alone."""
NEAR = 1e-4
"""The largest difference between the log-probabilities of two ways, as a share of the largest."""


class Twins(NamedTuple):
    """A batch, each sequence of its first half in a row with one of its second: what both begin with, and how each goes on."""

    ids: Tensor
    """[pairs, width]"""
    positions: Tensor
    """[pairs, width]"""
    sees: Tensor
    """[pairs, 1, token, token that it sees]"""
    places: Tensor
    """[sequences, length]: where each token of the batch is in `ids`, counted over all its rows."""


def twins(ids: Tensor, mask: Tensor) -> Twins | None:
    """The batch (`ids` and `mask` [sequences, length], padded at the end), each beginning once; None where it is odd."""
    if len(ids) % 2:
        return None
    at, real = torch.arange(ids.shape[1], device=ids.device), mask.bool()
    (one, other), (seen, too) = ids.chunk(2), real.chunk(2)
    before = ((one == other) & seen & too).int().cumprod(1).sum(1, keepdim=True)
    first, second = (mask.sum(1, keepdim=True) - before.repeat(2, 1)).chunk(2)
    columns = at + torch.cat([torch.zeros_like(first), first]) * (at >= before.repeat(2, 1))
    width = int((before + first + second).max())
    rows = width * torch.arange(len(one), device=ids.device).repeat(2)[:, None]
    places = rows + columns.clamp(max=width - 1)
    whole, positions = ids.new_zeros(len(one), width), ids.new_zeros(len(one), width)
    whole.view(-1)[places[real]] = ids[real]
    positions.view(-1)[places[real]] = at.expand_as(ids)[real]
    column = torch.arange(width, device=ids.device)
    part = (column >= before).int() + (column >= before + first).int()
    sees = ((part[:, None, :] == 0) | (part[:, None, :] == part[:, :, None])) & (column <= column[:, None])
    return Twins(whole, positions, sees[:, None], places)


def read_thriftily(adapted: Any, longest: int) -> None:
    """Make a model compute TRL's log-probabilities in this way, where a trial gives the same numbers.

    `adapted`: the model, with its adapters if it has any. `longest`: tokens of the longest sequence to come.
    """
    model: PreTrainedModel = getattr(adapted, "get_base_model", lambda: adapted)()
    if model.device.type != "cpu" or {parameter.dtype for parameter in model.parameters()} != {torch.float32}:
        return  # on GPUs TRL's own kernels do it
    theirs, training = model.forward, model.training
    model.eval()
    reader = Reader(model, longest)
    reader.try_out(theirs)
    model.train(training)
    if reader.suits:
        model.forward = MethodType(lambda _, *given, **named: reader(theirs, *given, **named), model)


class Reader:
    """The forward of a model in training."""

    suits = shares = False
    """`suits`: the log-probabilities come out right; `shares`: they also do with prompts read once."""

    def __init__(self, model: PreTrainedModel, longest: int) -> None:
        self.model = model
        outside = {id(part.weight) for part in (model.get_input_embeddings(), self._head) if part is not None}
        self._in_layers = sum(weight.numel() for weight in model.parameters() if id(weight) not in outside)
        config = model.config.get_text_config()
        self._in_heads = 2 * widest(config, "num_attention_heads") * head_size(config) * int(config.num_hidden_layers)
        window = widest(config, "sliding_window") or longest
        self._may_share = config._attn_implementation == "sdpa" and window >= longest and may_suit(model)

    @property
    def _head(self) -> Any:
        return self.model.get_output_embeddings()

    def __call__(self, theirs: Any, *given: Any, fused_lm_head: bool = False, **named: Any) -> Any:
        """Log-probabilities of `labels`, or whatever else a model is asked for (`theirs`)."""
        if not fused_lm_head or given or set(named) - USUAL or not {"input_ids", "attention_mask", "labels"} <= set(named):
            return theirs(*given, fused_lm_head=fused_lm_head, **named)
        ids, mask, labels = (named[name] for name in ("input_ids", "attention_mask", "labels"))
        together = twins(ids, mask) if self.shares else None
        apart = self._cost(ids, 1 if (mask == 0).any() else 1 / 2)
        return self.read(ids, mask, labels, together if together and self._cost(together.ids, 1) < apart else None)

    def read(self, ids: Tensor, mask: Tensor, labels: Tensor, together: Twins | None) -> ModelOutput:
        """Log-probabilities [sequence, token - 1] of `labels`, 0 where there is none, as TRL has them."""
        learnt = labels[:, 1:] != IGNORE
        if together:
            states = self._states(together.ids, together.sees, position_ids=together.positions)
            places = together.places
        else:
            states = self._states(ids, mask)
            places = torch.arange(ids.numel()).view_as(ids)
        hidden = states.flatten(0, 1).index_select(0, places[:, :-1][learnt])
        scores = score(hidden, self._head.weight, self._head.bias, labels[:, 1:][learnt])
        spread = [part.new_zeros(learnt.shape).masked_scatter(learnt, part) for part in scores]
        return ModelOutput(**dict(zip(Scores._fields, spread, strict=True)), label_mask=learnt)

    def _states(self, ids: Tensor, mask: Tensor, **more: Any) -> Tensor:
        """The last layer's states [sequence, token, size]."""
        states: Tensor = self.model.base_model(input_ids=ids, attention_mask=mask, use_cache=False, **more).last_hidden_state
        return states

    def _cost(self, ids: Tensor, seen: float) -> float:
        """Multiply-adds of reading `ids`; `seen`: the share of all pairs of tokens that attention goes over."""
        each: float = self._in_layers + ids.shape[1] * seen * self._in_heads
        return ids.numel() * each

    @torch.inference_mode()
    def try_out(self, theirs: Any) -> None:
        """Find out by a pair of short texts that begin alike which ways give TRL's numbers."""
        words = [at % self.model.config.get_text_config().vocab_size for at in range(100, 114)]
        ids = torch.tensor([[*words[:9], 0, 0], words[:4] + words[7:]])
        mask = torch.tensor([[1] * 9 + [0, 0], [1] * 11])
        labels = ids.masked_fill((mask == 0) | (torch.arange(11) < 4), IGNORE)
        expected = theirs(input_ids=ids, attention_mask=mask, labels=labels, use_cache=False, fused_lm_head=True).log_probs

        def near(together: Twins | None) -> bool:
            try:
                log_probs = self.read(ids, mask, labels, together).log_probs
            except CANNOT:
                return False
            return bool(((log_probs - expected).abs() <= NEAR * expected.abs().max()).all())

        self.shares = self._may_share and near(twins(ids, mask))
        self.suits = self.shares or near(None)
