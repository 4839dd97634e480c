"""Tables of a recipe: the engines that sample text, here, behind an endpoint, or on a cluster."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, JsonValue, field_validator, model_validator

from selfreward.errors import STARS
from selfreward.recipe.fields import Address, EnvName, Section, off, without_secrets

FOR_TOKENS = 0.5
"""Share of the memory beside the weights that keys and values may take; the rest is for computing with them."""
ENOUGH_TOKENS = {"cpu": 32768, "cuda": 131072}
"""Tokens at once above which nothing gets faster."""
UNDER_WAY = {"cpu": 6e12, "cuda": float("inf")}
"""Products of a weight and a token in a batch that nobody bounded, some minutes of two processors: what is under way when a run
is ended or killed is lost. A GPU fills its memory in less time than that."""
LEAST = 2048
"""Tokens that a batch may have however large the model is."""
SAID_ELSEWHERE = {
    *("model", "messages", "prompt", "temperature", "top_p", "max_tokens", "max_completion_tokens", "seed"),
    *("n", "stream", "logprobs", "top_logprobs"),
}
"""Fields of a request's body that other fields of the recipe decide, or that would change how an answer is read."""


class BackendConfig(Section):
    """The engine that samples text."""

    type: Literal["hf", "vllm", "fake"] = "hf"
    """`hf`: transformers on one device; `vllm`: vLLM in processes of its own; `fake`: no model at all, for tests."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda`, …"""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """`auto`: bfloat16 on CUDA, float32 elsewhere."""
    max_tokens_in_flight: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Tokens (prompts and longest completions, shared ones counted once) held in one batch, the most that a run loses when it is
    ended or killed; `auto`: as many as there is room for and, on a CPU, as take it some minutes."""
    tensor_parallel: int = Field(1, ge=1)
    """`vllm`: devices of this machine to spread a model over."""

    @model_validator(mode="after")
    def _of_use(self) -> Self:
        if self.type != "vllm" and self.tensor_parallel != 1:
            raise ValueError('tensor_parallel works only with type = "vllm"')
        if self.type == "vllm" and self.max_tokens_in_flight != "auto":
            raise ValueError('max_tokens_in_flight cannot be set with type = "vllm", which fills the memory by itself')
        return self

    def in_flight(self, room: float, token: float, cuda: bool, weights: int = 0) -> int:
        """Tokens to hold at once, with `room` bytes beside the weights and `token` bytes for a token's keys and values.

        `weights`: the model's number of them.
        """
        if self.max_tokens_in_flight != "auto":
            return self.max_tokens_in_flight
        kind = "cuda" if cuda else "cpu"
        in_time = max(LEAST, UNDER_WAY[kind] / max(1, 2 * weights))
        return max(1, int(min(room * FOR_TOKENS / token, ENOUGH_TOKENS[kind], in_time)))


class ServerConfig(Section):
    """An OpenAI-compatible endpoint that serves one model, for use under its name wherever a recipe names a model."""

    url: Address
    """Up to and with `/v1`; without a password or a query, for it stands in the run's files."""
    model: str
    """The endpoint's name for the model."""
    key_env: EnvName | None = None
    """Name, in capitals, of the environment variable that holds the key; not given: no key is sent."""
    concurrency: int = Field(8, ge=1)
    """Requests under way at once."""
    requests_per_minute: int | None = Field(None, ge=1)
    """Most requests begun in a minute."""
    timeout: float = Field(120, gt=0)
    """Seconds to wait for one answer."""
    retries: int = Field(5, ge=0)
    """Times that a request is sent again after an error that may pass, each time after a longer pause."""
    extra: dict[str, JsonValue] = off({})
    """More fields of every request's body, for what this server alone understands: `{top_k = 0, min_p = 0.0}`. They stand in the
    run's files and are part of what the judge or writer is: another `extra` is another model."""

    @field_validator("url")
    @classmethod
    def _parts(cls, url: str) -> str:
        """Refuse an address whose host and port cannot be told apart: clients raise unexpected errors for it."""
        if not urlsplit(url).hostname or urlsplit(url).port == 0:
            raise ValueError("names no host")
        return url

    @field_validator("extra")
    @classmethod
    def _adds(cls, extra: dict[str, JsonValue]) -> dict[str, JsonValue]:
        if clashes := sorted(SAID_ELSEWHERE & extra.keys()):
            raise ValueError(f"{clashes[0]} is decided by other fields of the recipe")
        if STARS in json.dumps(extra):
            raise ValueError("may hold a key or a password, which would be in the run's files; name a key's variable in key_env")
        return extra

    _starred = field_validator("extra", mode="before")(without_secrets)
    """Runs before `_adds`, though declared after it, so that an error shows stars."""

    @property
    def identity(self) -> list[Any]:
        """The values that tell this server's model from another."""
        return [self.url, self.model, *([self.extra] if self.extra else [])]


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
    """Times that a dead process is replaced: each sampling process, for one model; the processes of a training together."""
    fsdp: bool = False
    """Shard a training's weights, gradients and optimizer over its processes (FSDP2); without GPUs each holds all (DDP)."""

    @model_validator(mode="after")
    def _of_use(self) -> Self:
        if self.type == "local" and (self.address or self.samplers > 1 or self.gpus is not None):
            raise ValueError('address, samplers and gpus work only with type = "ray": otherwise only trainings are shared')
        return self
