"""Rows of a batch while they are completed, and their places in memory."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from selfreward.records import Finish, Request, Watched


@dataclass
class Row:
    """One request while it is being completed."""

    request: Request
    prompt_tokens: int
    limit: int
    uniforms: np.ndarray
    forced: list[int] | None = None
    """The tokens to draw, whatever the model's probabilities."""
    logprob: float = 0.0
    """The log-probability of the tokens of `forced` so far."""
    ids: list[int] = field(default_factory=list)
    finish: Finish = "length"
    first_token: dict[str, float] | None = None
    watched: list[Watched] = field(default_factory=list)
    stop: list[int] = field(default_factory=list)
    """The token that ended the row, if a token did."""


def in_place(grown: Collection[tuple[int, int]]) -> list[tuple[int, int]]:
    """Order texts that have grown, (text, token) each, so that as many as possible keep the place of the text they go on from."""
    placed = {text: longer for longer in reversed([*grown]) if (text := longer[0]) < len(grown)}
    others = iter(longer for longer in grown if placed.get(longer[0]) != longer)
    return [placed.get(place) or next(others) for place in range(len(grown))]


def moved(room: Tensor, rows: Tensor) -> Tensor:
    """The `rows` of `room`; those that stay in their places are not copied."""
    if len(rows) > len(room):
        return room[rows]
    new = (rows != torch.arange(len(rows), device=rows.device)).nonzero()[:, 0]
    room[new] = room[rows[new]]
    return room[: len(rows)]
