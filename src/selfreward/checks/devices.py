"""The device that is here: its memory, and how fast it multiplies matrices, measured in a second."""

from __future__ import annotations

import time
from typing import NamedTuple

from selfreward.engines import memory_here
from selfreward.errors import SelfRewardError, first_line

WIDTH = 4096
"""Of the matrix that is multiplied by: larger than a processor's caches, as a model's are."""
LONG = 0.25
"""Seconds to measure for."""


class Device(NamedTuple):
    """Where a model is held."""

    type: str
    """"cuda" or "cpu", or another kind that torch knows."""
    name: str
    memory: int | None
    """Bytes in all, in use or not; None where nothing says."""


def find_device(asked: str = "auto") -> Device:
    """What `backend.device` means here. Raises `SelfRewardError` where there is no such device."""
    import torch

    kind = ("cuda" if torch.cuda.is_available() else "cpu") if asked == "auto" else asked
    try:
        device = torch.device(kind)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        now = "Run it where there is one, or set backend.device to one that is here"
        raise SelfRewardError(f"there is no device {kind!r} here ({first_line(error)})", "backend.device", now) from error
    if device.type == "cuda":
        about = torch.cuda.get_device_properties(device)
        return Device("cuda", about.name, about.total_memory)
    return Device(
        device.type, f"{device.type}, {torch.get_num_threads()} threads", memory_here() if device.type == "cpu" else None
    )


def matmul_rate(device: Device, bfloat16: bool, rows: int) -> float:
    """Operations a second in multiplying [rows, WIDTH] by [WIDTH, WIDTH]: few rows show how fast weights are read."""
    import torch

    dtype = torch.bfloat16 if bfloat16 else torch.float32
    left = torch.ones(rows, WIDTH, dtype=dtype, device=device.type)
    right = torch.ones(WIDTH, WIDTH, dtype=dtype, device=device.type)
    times: list[float] = []
    while sum(times) < LONG or len(times) < 3:
        start = time.perf_counter()
        number = float((left @ right)[0, 0])  # reading a number waits for the device
        times.append(time.perf_counter() - start)
        assert number == WIDTH
    return 2 * rows * WIDTH * WIDTH / sorted(times)[len(times) // 2]
