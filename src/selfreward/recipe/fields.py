"""What the tables of a recipe are made of: kinds of value, and the fields that several tables share."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo

from selfreward.errors import SelfRewardError, holds_secret
from selfreward.records import Sampling, compiles

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
MOVED_FILES = {"text/judge_alpaca": "measure/text/judge_alpaca", "text/judge_": "recipe/rubrics/judge_", "micro/": "lab/micro/"}
"""Beginnings of paths in the package → where those files are now. Recipes and run folders keep what was written into them."""
MOVED_MODULES = {"selfreward.pairs:": "selfreward.steps.pairs:", "selfreward.micro.": "selfreward.lab.micro."}
"""Modules of ours that recipes name → where they are now."""


def _resolve(path: str, info: ValidationInfo) -> str:
    if path.startswith(PACKAGED):
        return _packaged(path.removeprefix(PACKAGED))
    beside = Path(str((info.context or {}).get("folder", "."))) / path
    if beside.exists():
        return str(beside.resolve())
    _, in_package, rest = path.rpartition("/selfreward/")
    return _packaged(rest) if in_package and rest.startswith(tuple(MOVED_FILES)) else path


def _packaged(path: str) -> str:
    """A file of the installed package, by its path of today or of an earlier layout."""
    return str(files("selfreward").joinpath(_moved(path, MOVED_FILES)))


def _moved(name: str, moved: Mapping[str, str]) -> str:
    old = next((old for old in moved if name.startswith(old)), "")
    return moved[old] + name.removeprefix(old) if old else name


def _resolve_model(name: str, info: ValidationInfo) -> str:
    known = (*ROLES, *(info.context or {}).get("servers", ()))
    return name if name in known or re.fullmatch(IMPORT_PATH, name) else _resolve(name, info)


def _hide_unless(pattern: str) -> Callable[[Any], Any]:
    """What may be a secret becomes stars before it is refused, for the error shows what it refuses."""
    return lambda value: value if re.fullmatch(pattern, str(value)) else "********"


Located = Annotated[str, AfterValidator(_resolve)]
"""A path beside the recipe, `selfreward:` and a path in the package, or (for models) a hub id."""
ModelName = Annotated[str, AfterValidator(_resolve_model)]
"""A model outside the loop: a folder, a hub id, a name under `[servers]`, or `package.module:name` for one of yours."""
ImportPath = Annotated[str, Field(pattern=f"^{IMPORT_PATH}$"), AfterValidator(lambda path: _moved(path, MOVED_MODULES))]
"""`package.module:name`."""
Pattern = Annotated[str, AfterValidator(compiles)]
"""A regular expression."""
Address = Annotated[str, BeforeValidator(_hide_unless(ADDRESS)), Field(pattern=f"^{ADDRESS}$")]
"""Where an endpoint is; with a password in it, it is refused and not shown."""
EnvName = Annotated[str, BeforeValidator(_hide_unless(ENV_NAME)), Field(pattern=f"^{ENV_NAME}$")]
"""The name of an environment variable; a key in its place is refused and not shown."""
Share = Annotated[float, Field(ge=0, le=1)]


def secret_in(tree: Any, name: str = "") -> str | None:
    """The dotted name of the first value in a tree of built-ins that holds a password or a query; None where none does.

    A key that holds one is told of as a part of its table, for the key itself is not to be shown.
    """
    if isinstance(tree, Mapping):
        if any(holds_secret(str(key)) for key in tree):
            return name or "a name"
        return next(filter(None, (secret_in(value, f"{name}.{key}".lstrip(".")) for key, value in tree.items())), None)
    if isinstance(tree, list | tuple):
        return next(filter(None, (secret_in(value, name) for value in tree)), None)
    return name or "a value" if isinstance(tree, str | Path) and holds_secret(str(tree)) else None


def assert_open(tree: Mapping[str, Any], where: str) -> None:
    """Raises `SelfRewardError` where a value in `tree` holds a secret, for all are written into files that people share."""
    if name := secret_in(tree):
        what = f"{name} holds a password, or an address with a query, where keys stand"
        raise SelfRewardError(what, where, "Leave it out: a key is read from the variable that servers.NAME.key_env names")


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


def imported(path: str) -> Any:
    """What `package.module:name` names."""
    module, _, name = _moved(path, MOVED_MODULES).partition(":")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise SelfRewardError(f"cannot be imported ({error})", path, "Name it as package.module:name") from error
