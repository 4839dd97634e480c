"""More processes than one: the table of a recipe that asks for them, and the Ray that they live in."""

from __future__ import annotations

import logging
import os
import secrets
import sys
from typing import Any

from selfreward.errors import SelfRewardError, first_line
from selfreward.recipe import ClusterConfig

STORE = 100 * 2**20
"""Bytes of shared memory that a Ray of our own takes for what is passed between processes; more goes to disk."""


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
