"""More processes than one: the table of a recipe that asks for them, and the Ray that they live in."""

from __future__ import annotations

import logging
import os
import secrets
import sys
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from selfreward.errors import SelfRewardError, first_line
from selfreward.fields import Section

STORE = 100 * 2**20
"""Bytes of shared memory that a Ray of our own takes for what is passed between processes; more goes to disk."""


class ClusterConfig(Section):
    """Processes that share the sampling of a stage, and processes that share a training."""

    type: Literal["ray", "local"] = "ray"
    """`ray`: on any number of machines, or on this one; `local`: a training's processes on this machine, without Ray."""
    address: str | None = Field(None, pattern=r"^(auto|[\w.\-\[\]:]+:\d+)$")
    """The Ray cluster to join, as HOST:PORT or `auto`; not given: a Ray of its own on this machine, which ends with the run."""
    samplers: int = Field(1, ge=1)
    """Processes that sample, each with a whole model; their number changes no record."""
    trainers: int = Field(1, ge=1)
    """Processes that share each training, with a GPU each where there are any; their number changes its last bits."""
    gpus: int | None = Field(None, ge=0)
    """GPUs of each process that samples; not given: one where the cluster has any."""
    threads: int = Field(1, ge=1)
    """CPU threads of each process, of one machine or another: they decide the last bits of its arithmetic."""
    retries: int = Field(3, ge=0)
    """How often a process that died is replaced: each that samples, for one model; those of a training together."""
    fsdp: bool = False
    """Shard a training's weights, gradients and optimizer over its processes (FSDP2); without GPUs each holds all (DDP)."""

    @model_validator(mode="after")
    def _of_use(self) -> Self:
        if self.type == "local" and (self.address or self.samplers > 1 or self.gpus is not None):
            raise ValueError('address, samplers and gpus are for type = "ray": without it only trainings are shared')
        return self


def connect(cluster: ClusterConfig) -> Any:
    """The module `ray`, connected to the cluster. Raises `SelfRewardError` where there is none, or it cannot be had."""
    if not cluster.address:
        _keep_to_ourselves()
    ray = load_ray()
    if not ray.is_initialized():
        try:
            ray.init(**(_theirs(cluster.address) if cluster.address else _ours(cluster)), log_to_driver=False)
        except ConnectionError as error:
            now = "Start one with `ray start --head`, give its address, or leave it out and have one started here"
            raise SelfRewardError(f"no Ray cluster answers ({first_line(error)})", "cluster.address", now) from error
    return ray


def load_ray() -> Any:
    """The module `ray`. Raises `SelfRewardError` where it is not installed."""
    try:
        import ray
    except ImportError as error:
        now = "pip install 'selfreward[ray]', or set it to \"local\""
        raise SelfRewardError("needs ray, which is not installed", "cluster.type", now) from error
    return ray


def _theirs(address: str) -> dict[str, Any]:
    return {"address": address, "logging_level": logging.ERROR}


def _keep_to_ourselves() -> None:
    """A Ray of our own reports to nobody, and asks who comes for a token: its ports are open to the network, and run code."""
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
            what = f"{processes} processes need {needed} {name}s, but the cluster has {there.get(name, 0):g}"
            raise SelfRewardError(what, "cluster", "Ask for fewer, or start more machines first")
    return each
