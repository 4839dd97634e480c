"""The machine: its device, its memory, and the Ray cluster that several processes live in."""

from __future__ import annotations

import logging
import os
import secrets
import sys
import time
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from selfreward.errors import SelfRewardError, amount, first_line, pip_install
from selfreward.recipe import ClusterConfig, TrainerConfig

WIDTH = 4096
"""Columns of the matrix in the speed measurement: larger than a processor's caches, as a model's matrices are."""
LONG = 0.05
"""Seconds to measure for; a product that takes longer is measured once."""


class Device(NamedTuple):
    """The device that holds a model."""

    type: str
    """"cuda" or "cpu", or another kind that torch knows."""
    name: str
    memory: int | None
    """Bytes in all, in use or not; None where nothing says."""


def find_device(wanted: str = "auto") -> Device:
    """The device that `backend.device` means here. Raises `SelfRewardError` where there is no such device."""
    import torch

    kind = ("cuda" if torch.cuda.is_available() else "cpu") if wanted == "auto" else wanted
    try:
        device = torch.device(kind)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        now = "Run it on a machine that has one, or set backend.device to a device of this machine"
        raise SelfRewardError(f"there is no device {kind!r} here ({first_line(error)})", "backend.device", now) from error
    if device.type == "cuda":
        about = torch.cuda.get_device_properties(device)
        return Device("cuda", about.name, about.total_memory)
    return Device(
        device.type, f"{device.type}, {torch.get_num_threads()} threads", memory_here() if device.type == "cpu" else None
    )


@cache
def matmul_rate(device: Device, bfloat16: bool, rows: int) -> float:
    """Operations a second in multiplying [rows, WIDTH] by [WIDTH, WIDTH], measured once: few rows tell how weights are read."""
    import torch

    right = _square(device.type, torch.bfloat16 if bfloat16 else torch.float32)
    left = torch.ones(rows, WIDTH, dtype=right.dtype, device=device.type)
    times: list[float] = []
    while sum(times) < LONG:
        start = time.perf_counter()
        number = float((left @ right)[0, 0])  # reading a number waits for the device
        times.append(time.perf_counter() - start)
        assert number == WIDTH
    return 2 * rows * WIDTH * WIDTH / sorted(times)[len(times) // 2]


def wants_bfloat16(trainer: TrainerConfig) -> bool:
    """True if the forward pass is in bfloat16: as the recipe says, or (`auto`) where a GPU supports it."""
    import torch

    cuda = torch.cuda.is_available()
    has = cuda and torch.cuda.is_bf16_supported(including_emulation=False)
    if trainer.dtype == "bfloat16" and cuda and not has:
        now = 'Set it to "float32" or "auto"'
        raise SelfRewardError(f"bfloat16 is more than {torch.cuda.get_device_name()} can do", "trainer.dtype", now)
    return bool(trainer.dtype == "bfloat16" or (trainer.dtype == "auto" and has))


@lru_cache(maxsize=1)
def _square(kind: str, dtype: Any) -> Any:
    import torch

    return torch.ones(WIDTH, WIDTH, dtype=dtype, device=kind)


STORE = 100 * 2**20
"""Bytes of shared memory that a Ray of our own takes for what is passed between processes; more goes to disk."""


def connect(cluster: ClusterConfig) -> Any:
    """The module `ray`, connected to the cluster. Raises `SelfRewardError` where there is none, or it cannot be had."""
    if not cluster.address:
        _keep_to_ourselves()
    ray = load_ray()
    if not ray.is_initialized():
        try:
            theirs = {"address": cluster.address, "logging_level": logging.ERROR}
            ray.init(**(theirs if cluster.address else _ours(cluster)), log_to_driver=False)
        except ConnectionError as error:
            now = "Start a cluster with `ray start --head` and give its address, or leave the address out to start one here"
            raise SelfRewardError(f"no Ray cluster answers ({first_line(error)})", "cluster.address", now) from error
    return ray


def load_ray() -> Any:
    """The module `ray`. Raises `SelfRewardError` where it is not installed."""
    try:
        import ray
    except ImportError as error:
        now = f'{pip_install("ray")}, or set it to "local"'
        raise SelfRewardError("needs ray, which is not installed", "cluster.type", now) from error
    return ray


def _keep_to_ourselves() -> None:
    """Keep a Ray that we start to this machine: no usage reports, and a token for callers, for its ports run code."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if "RAY_AUTH_MODE" not in os.environ and "ray" not in sys.modules:  # which reads it once, when it is imported
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))


def _ours(cluster: ClusterConfig) -> dict[str, Any]:
    return {
        "address": "local", "include_dashboard": False, "object_store_memory": STORE, "logging_level": logging.ERROR,
        "num_cpus": cluster.threads * max(cluster.samplers, cluster.trainers),
    }  # fmt: skip


def gpus_each(ray: Any, cluster: ClusterConfig, processes: int, wanted: int | None) -> int:
    """GPUs of each of so many processes; `wanted`: not given, one where the cluster has any.

    Raises `SelfRewardError` where the cluster has not enough: what waits for machines that do not come waits for ever.
    """
    there = ray.cluster_resources()
    each = wanted if wanted is not None else int(there.get("GPU", 0) > 0)
    for name, needed in (("GPU", each * processes), ("CPU", cluster.threads * processes)):
        if needed > there.get(name, 0):
            asked = f"{amount(processes, 'process', 'processes')} on {amount(needed, name)}"
            what = f"{asked}, but the cluster has {there.get(name, 0):g}"
            raise SelfRewardError(what, "cluster", "Ask for fewer, or start more machines first")
    return each


CONTAINER = Path("/sys/fs/cgroup/memory.max")
"""The file in which Linux states the memory limit of a container."""


def memory_here() -> int:
    """Bytes of memory of this machine, or of the container that this runs in."""
    everything = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = CONTAINER.read_text().strip() if CONTAINER.is_file() else "max"
    return min(everything, int(limit)) if limit.isdigit() else everything


OUT_OF_MEMORY = ("can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDA error: out of memory")
"""Texts of errors without a class of their own that say that memory ran out."""


def ran_out(error: Exception) -> bool:
    """True if the error says that memory ran out; torch has no class for it on a CPU, nor inside CUDA's libraries."""
    known = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"  # torch's, of any device
    return known or any(words in str(error) for words in OUT_OF_MEMORY)
