"""The order in which a model's weights lie in memory."""

from __future__ import annotations

from contextlib import suppress
from typing import TypeVar

import torch
from torch import Tensor
from transformers import PreTrainedModel

L = TypeVar("L", bound=torch.nn.Module)
PAYS = 1 << 16
"""Fewer weights than this are read so soon that what a call of oneDNN costs by itself, some ten microseconds, is more."""
OPS = ("_reorder_linear_weight", "_linear_pointwise")
"""Ops of torch that it keeps for its own compiler, and may rename."""


class Packed(torch.nn.Module):
    """A linear layer whose weights lie in oneDNN's order, in place of their own."""

    def __init__(self, linear: torch.nn.Linear) -> None:
        super().__init__()
        self.held, self.bias = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), None), linear.bias

    def forward(self, inputs: Tensor) -> Tensor:
        """The product of `inputs` [.., input] with the weights, and the bias: [.., output]."""
        outputs: Tensor = torch.ops.mkldnn._linear_pointwise(inputs, self.held, self.bias, "none", [], "")
        return outputs

    @property
    def weight(self) -> Tensor:
        """The weights [output, input] in their own order, put together anew at each call: some models ask for their dtype."""
        whole: Tensor = self.held.to_dense()
        return whole

    def unpacked(self) -> torch.nn.Linear:
        """The layer in whose place this one stands."""
        outputs, inputs = self.held.shape
        linear = torch.nn.Linear(inputs, outputs, bias=self.bias is not None, device="meta")
        linear.weight, linear.bias = torch.nn.Parameter(self.weight, requires_grad=False), self.bias
        return linear


@torch.inference_mode()
def pack(model: PreTrainedModel) -> None:
    """Put the weights of linear layers on a CPU into the order in which oneDNN reads them.

    It does so anyway, for each product anew. A product of 4 to 16 rows, as in a step of decoding, then takes about half the
    time, one of a thousand rows a tenth less.
    """
    known = torch.backends.mkldnn.is_available() and all(hasattr(torch.ops.mkldnn, op) for op in OPS)  # type: ignore[no-untyped-call]
    if model.device.type != "cpu" or not known:
        return
    for parent, name, child in _layers(model, torch.nn.Linear):
        if child.weight.numel() >= PAYS:
            with suppress(RuntimeError):  # numbers that oneDNN does not take on every CPU, as bfloat16 without AVX-512
                setattr(parent, name, Packed(child))


@torch.inference_mode()
def unpack(model: PreTrainedModel) -> None:
    """Put the linear layers of a model back as they were before `pack`."""
    packed = _layers(model, Packed)
    for parent, name, child in packed:
        setattr(parent, name, child.unpacked())
    if packed:
        model.tie_weights()


def _layers(model: PreTrainedModel, kind: type[L]) -> list[tuple[torch.nn.Module, str, L]]:
    """The layers of just this `kind`, each behind the module that has it and its name there."""
    return [(parent, name, child) for parent in model.modules() for name, child in parent.named_children() if type(child) is kind]
