"""What the tables of a recipe are made of: kinds of value, and the fields that several tables share."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, model_validator

from selfreward.records import Sampling

PACKAGED = "selfreward:"
"""A path that begins so lies inside the installed package."""
ROLES = ("current", "frozen", "previous")
"""Who a judge may be by its part in the loop: M_t itself, M1, or M_{t−1}."""
HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
"""What the hub calls a model or a dataset: `organisation/name`."""
IMPORT_PATH = r"[\w.]+:\w+"
"""`package.module:name`."""
ADDRESS = r"https?://[^\s@?#]+"
"""Of an endpoint, with neither user and password nor a query."""
ENV_NAME = r"[A-Z_][A-Z0-9_]*"
"""In capitals alone, as keys never are."""


def _resolve(path: str, info: ValidationInfo) -> str:
    if path.startswith(PACKAGED):
        return str(files("selfreward").joinpath(path.removeprefix(PACKAGED)))
    beside = Path(str((info.context or {}).get("folder", "."))) / path
    return str(beside.resolve()) if beside.exists() else path


def _resolve_model(name: str, info: ValidationInfo) -> str:
    known = (*ROLES, *(info.context or {}).get("servers", ()))
    return name if name in known or re.fullmatch(IMPORT_PATH, name) else _resolve(name, info)


def compiles(pattern: str) -> str:
    """`pattern`, if it is a regular expression. Raises `ValueError`."""
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"not a regular expression ({error})") from error
    return pattern


GROUPED = re.compile(
    r"\\.|\[\^?\]?(?:\\.|[^\]\\])*+\]|(?P<negative>\(\?<?!)|(?P<group>\((?:\?P<|(?!\?)))|(?P<other>\()|(?P<close>\))", re.DOTALL
)
"""A piece of a regular expression that matters to where its groups are."""
HANGS_ON_MORE = re.compile(r"\(\?(?:<?[=!]|\(|P=)|\\[1-9B]")
"""What makes a group match or not by what stands around it."""


def catches(pattern: str, texts: Iterable[str]) -> list[str]:
    """Those of `texts` that the first group of `pattern` can catch, ignoring case; all of them where that cannot be told."""
    opened: list[tuple[str, int]] = []
    for piece in GROUPED.finditer(pattern):
        if piece.lastgroup == "close" and opened:
            kind, start = opened.pop()
            if kind == "group" and not any(outer == "group" for outer, _ in opened):
                never = any(outer == "negative" for outer, _ in opened)
                return [] if never else _caught(pattern[start : piece.end()], re.compile(pattern).flags, texts)
        elif piece.lastgroup:
            opened.append((piece.lastgroup, piece.start()))
    return list(texts)


def _caught(group: str, flags: int, texts: Iterable[str]) -> list[str]:
    if HANGS_ON_MORE.search(group):
        return list(texts)
    alone = re.compile(group, flags | re.IGNORECASE)
    return [text for text in texts if alone.fullmatch(text)]


def _hide_unless(pattern: str) -> Callable[[Any], Any]:
    """What may be a secret becomes stars before it is refused, for the error shows what it refuses."""
    return lambda value: value if re.fullmatch(pattern, str(value)) else "********"


Located = Annotated[str, AfterValidator(_resolve)]
"""A path beside the recipe, `selfreward:` and a path in the package, or (for models) a hub id."""
ModelName = Annotated[str, AfterValidator(_resolve_model)]
"""A model outside the loop: a folder, a hub id, a name under `[servers]`, or `package.module:name` for one of yours."""
ImportPath = Annotated[str, Field(pattern=f"^{IMPORT_PATH}$")]
"""`package.module:name`."""
Pattern = Annotated[str, AfterValidator(compiles)]
"""A regular expression."""
Address = Annotated[str, BeforeValidator(_hide_unless(ADDRESS)), Field(pattern=f"^{ADDRESS}$")]
"""Where an endpoint is; with a password in it, it is refused and not shown."""
EnvName = Annotated[str, BeforeValidator(_hide_unless(ENV_NAME)), Field(pattern=f"^{ENV_NAME}$")]
"""The name of an environment variable; a key in its place is refused and not shown."""
Share = Annotated[float, Field(ge=0, le=1)]


def off(value: Any) -> Any:
    """A field that is off at `value`, its default, and is not written down then: digests stay what they were without it."""
    return Field(value, exclude_if=lambda given: bool(given == value))


class Section(BaseModel):
    """A table of a recipe."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


class SamplingConfig(Section):
    """How text is sampled."""

    temperature: float = Field(0.7, ge=0)
    """0 is greedy."""
    top_p: float = Field(0.9, gt=0, le=1)
    """Nucleus: the smallest set of tokens with this much probability."""
    max_tokens: int = Field(1024, ge=1)
    """Longest completion, in tokens."""

    @property
    def sampling(self) -> Sampling:
        """The three together, as a request carries them."""
        return Sampling(temperature=self.temperature, top_p=self.top_p, max_tokens=self.max_tokens)


class BatchConfig(Section):
    """How examples (pairs, in DPO) make up a step, and steps a training."""

    epochs: int = Field(1, ge=1)
    """Passes over the examples; the paper does not say."""
    batch_size: int = Field(16, ge=1)
    """Examples per optimizer step."""
    device_batch_size: int | None = Field(None, ge=1)
    """Examples per forward pass; must divide `batch_size`. Those of a step are dealt out by length, so that smaller ones pad
    less. Not given: a quarter of the batch."""

    @model_validator(mode="after")
    def _splits_evenly(self) -> Self:
        if self.device_batch_size and self.batch_size % self.device_batch_size:
            raise ValueError(f"device_batch_size {self.device_batch_size} does not divide batch_size {self.batch_size}")
        return self

    @property
    def split(self) -> tuple[int, int]:
        """Examples per forward pass, and forward passes per step."""
        sizes = [size for size in range(1, self.batch_size // 4 + 1) if self.batch_size % size == 0]
        device_batch = self.device_batch_size or max(sizes, default=1)
        return device_batch, self.batch_size // device_batch

    def shared(self, processes: int) -> tuple[int, int]:
        """The same for each of `processes`, which share every batch. Raises `ValueError` where they cannot."""
        share, rest = divmod(self.batch_size, processes)
        sizes = [size for size in range(1, self.split[0] + 1) if share % size == 0]
        if rest or (self.device_batch_size and self.device_batch_size not in sizes):
            parts = f" in parts of {self.device_batch_size}" if self.device_batch_size else ""
            raise ValueError(f"batch_size {self.batch_size} cannot be shared evenly by {processes} processes{parts}")
        return max(sizes), share // max(sizes)

    def steps(self, examples: int) -> int:
        """Optimizer steps of a training on so many examples."""
        device_batch, accumulate = self.split
        return math.ceil(math.ceil(examples / device_batch) / accumulate) * self.epochs
