"""A plan of measurements: what is measured, on which model, by which arms."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import PositiveInt, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from selfreward.errors import SelfRewardError
from selfreward.lab.speed.earlier import is_there
from selfreward.lab.speed.measure import ARMS


@dataclass(frozen=True)
class Sitting:
    """A plan of measurements."""

    model: str = "1m"
    """A shape's name, or a folder with a config.json that tells one."""
    prompts: PositiveInt = 16
    judgment_tokens: tuple[PositiveInt, ...] = (32, 128)
    arms: tuple[str, ...] = tuple(ARMS)
    repeats: PositiveInt = 3
    chunks: tuple[PositiveInt, ...] = (1, 4, 16)
    """Prompts in a call of `generate()`: tried once each, the best one for each stage is arm (b)'s."""
    sweep: tuple[PositiveInt, ...] = ()
    """Numbers of prompts at which arm (a)'s cost is taken, in place of the arms."""
    train: bool = False
    """Utilisation of SFT and DPO, in place of the arms."""
    lora: bool = False
    """Train adapters instead of all weights."""
    dpo: bool = True
    """True if the arms train on their pairs."""
    judging: bool = True
    """True if the arms judge their candidates; if not, they end there."""
    control: bool = True
    """True if one arm runs before and after all others too."""
    earlier: str = ""
    """The folder with the sources of another build, for arm (o)."""
    kinds: tuple[Literal["sft", "dpo"], ...] = ()
    """Trainings to measure alone, beside TRL's, in place of the arms."""
    rows: PositiveInt = 16
    """Examples of such a training; pairs, in DPO."""
    batch: PositiveInt = 8
    prompt: tuple[PositiveInt, PositiveInt] = (20, 60)
    """Least and most tokens of a prompt."""
    response: tuple[PositiveInt, PositiveInt] = (20, 120)
    """Least and most tokens of a response."""
    n: PositiveInt = 4
    """Candidates of a prompt, on real weights."""
    k: PositiveInt = 3
    """Judgments of a candidate, on real weights."""
    real: bool = False
    """True if `model` is a folder whose own weights are sampled from, by several engines, in place of the arms."""
    llama: str = ""
    """The Python of an environment with xllamacpp."""
    gguf: tuple[str, ...] = ()
    """Files of the model for llama.cpp."""
    vllm: str = ""
    """The Python of an environment with vLLM."""
    profile: bool = False
    """True for the shares of what takes the time of each stage, in place of the arms."""
    overhead: str = ""
    """A recipe, of which the share of time that is not the model is measured, in place of the arms."""
    device: Literal["cpu", "cuda"] = "cpu"
    dtype: Literal["float32", "bfloat16"] = "float32"
    seed: int = 0


ELSEWHERE = {
    "device": "Give --device cpu or cuda", "dtype": "Give --dtype float32 or bfloat16", "kinds": "Name sft, dpo or both, sft,dpo",
}  # fmt: skip
"""Fields that are no --set, and the step for a wrong one."""


def plan_sitting(fields: Mapping[str, Any]) -> Sitting:
    """The sitting with `fields`. Raises `SelfRewardError` where one has a value that it cannot have."""
    try:
        return TypeAdapter(Sitting).validate_python(dict(fields))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0])
        now = ELSEWHERE.get(name) or f"Give it as in --set {name}={shlex.quote(json.dumps(getattr(Sitting(), name)))}"
        raise SelfRewardError(f"{first['msg']}, and not {first['input']!r}", name, now) from error


def assert_there(sitting: Sitting) -> None:
    """Raise `SelfRewardError` where a folder that `sitting` names is not what it is to be."""
    if sitting.earlier and not is_there(sitting.earlier):
        what = "no package selfreward with benches is there"
        raise SelfRewardError(what, sitting.earlier, "Give earlier the src folder of a checkout")
    if sitting.real and not (Path(sitting.model) / "config.json").is_file():
        raise SelfRewardError("has no config.json", sitting.model, "Give a folder with a transformers model")
