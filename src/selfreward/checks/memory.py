"""Estimated memory of training and sampling on one device, in bytes, by what it is for.

Weights, gradients and optimizer states follow from the count of parameters. Activations are counted layer by layer in the
manner of Korthikanti et al. 2022 (arXiv 2205.05198, section 4.1), for layers with a gated feed-forward and without the
fused kernels that hold less; what an allocator wastes is not in it.
"""

from __future__ import annotations

from typing import NamedTuple

from selfreward.checks.shapes import Shape
from selfreward.recipe import BackendConfig, TrainerConfig

ADAM = 8
"""Two moments of every trained parameter, in float32."""
HELD = 1 << 24
"""Logits that are held at a time on a CPU in float32, twice (`engines.training.likelihood`)."""
KEPT = 1 << 26
"""The most of them that are kept there from the forward to the backward pass."""
TILE = (4096, 32768)
"""Tokens and words of a tile of logits elsewhere, which TRL's kernels make."""
NF4 = 0.5 + 1 / 64 + 4 / (64 * 256)
"""Bytes of a parameter in 4 bits with its share of the scales, doubly quantised (Dettmers et al. 2023, arXiv 2305.14314)."""

PLENTY = 1 << 50
"""Bytes of a device of which nobody knows."""


class Precision(NamedTuple):
    """The precision of a training on the device at hand, with `auto` resolved."""

    bfloat16: bool
    checkpointing: bool
    """Activations are computed twice instead of held."""
    fused_attention: bool
    """Attention with dropout does not hold a number for each pair of tokens; it does on the CPU."""


def training(
    shape: Shape, trainer: TrainerConfig, adapters: int, precision: Precision, tokens: float, longest: float, reference: bool,
    dropout: float, cuda: bool = False,
) -> dict[str, float]:  # fmt: skip
    """Bytes held at the peak of a training step.

    `adapters`: parameters that LoRA adds, 0 without it. `tokens`: in one forward pass. `longest`: tokens of a sequence.
    `reference`: whether a frozen model stands beside, as in DPO; with adapters it is the model itself without them.
    """
    trained = adapters or shape.parameters
    weights, copies = 4.0 * shape.parameters, 2.0 * shape.linear if precision.bfloat16 else 0.0
    if trainer.lora:
        quantized = shape.linear if trainer.lora.quantize == "4bit" else 0
        weights = (2 if precision.bfloat16 else 4) * (shape.parameters - quantized) + NF4 * quantized + 4 * adapters
        copies = 0.0
    return {
        "weights": weights,
        "gradients": 4.0 * trained,
        "optimizer": float(ADAM * trained),
        "reference": 4.0 * shape.parameters if reference and not trainer.lora else 0.0,
        "copies in bfloat16": copies,
        "activations": tokens * _per_token(shape, precision, longest, dropout),
        "logits": _logits(shape, tokens, cuda or precision.bfloat16),
    }


SURE = ("weights", "gradients", "optimizer", "reference", "copies in bfloat16")
"""The parts that no setting but another model or adapters makes smaller."""


def _logits(shape: Shape, tokens: float, tiled: bool) -> float:
    """Bytes of the logits that are held at a time, by TRL in tiles, and of the gradient that the output matrix gets by them."""
    logits = tokens * shape.vocabulary
    held = min(logits, HELD)
    beside = logits if logits <= KEPT else held
    tiles = 4 * min(tokens, TILE[0]) * min(shape.vocabulary, TILE[1])
    return 4.0 * ((tiles if tiled else held + beside) + shape.vocabulary * shape.hidden)


def _per_token(shape: Shape, precision: Precision, longest: float, dropout: float) -> float:
    """Bytes of activations held for one token.

    A layer holds the feed-forward's four steps, queries and what they are matched with, the residual stream and both norms
    in their steps; in bfloat16 the norms stay float32, so a number takes 3 bytes on average.
    """
    numbers = 4 * shape.intermediate + 4 * shape.queries + 5 * shape.hidden
    scores = 12.0 * shape.heads * longest if dropout and not precision.fused_attention else 0.0
    layer = numbers * (3 if precision.bfloat16 else 4) + scores
    return shape.layers * 4 * shape.hidden + layer if precision.checkpointing else shape.layers * layer


def samples_in_bfloat16(backend: BackendConfig, cuda: bool) -> bool:
    """True if sampling computes in bfloat16, given `backend.dtype` and the device."""
    return backend.dtype == "bfloat16" or (backend.dtype == "auto" and cuda)


def in_flight(shape: Shape, backend: BackendConfig, cuda: bool, memory: int | None) -> int:
    """Tokens held at once on a device of so many bytes (None: nobody knows)."""
    size = 2 if samples_in_bfloat16(backend, cuda) else 4
    room = PLENTY if memory is None else memory - size * shape.parameters
    return backend.in_flight(max(room, 0), size * shape.kept or 1, cuda, shape.parameters)


def sampling(shape: Shape, backend: BackendConfig, cuda: bool, longest: float, memory: int | None) -> dict[str, float]:
    """Bytes held on a device of `memory` bytes at the peak of sampling.

    `longest`: tokens of the longest request, prompt and completion.
    """
    size = 2 if samples_in_bfloat16(backend, cuda) else 4
    if backend.type == "vllm":  # keys and values get what the weights leave, however little
        return {"weights": float(size * shape.parameters) / backend.tensor_parallel}
    capacity = in_flight(shape, backend, cuda, memory)
    tokens, rows = max(capacity, longest), max(1, capacity // max(longest, 1))
    return {
        "weights": float(size * shape.parameters),
        "keys and values": float(size * (tokens * shape.kept + rows * shape.state)),
        "reading the prompts": float(size * tokens * (4 * shape.hidden + 3 * shape.intermediate)),
        "drawing words": 48.0 * rows * shape.vocabulary,
    }
