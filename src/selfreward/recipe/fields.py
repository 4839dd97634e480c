"""Building blocks of a recipe's tables: kinds of value, and the fields that several tables share."""

from __future__ import annotations

import difflib
import json
import re
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo

from selfreward.errors import STARS, SelfRewardError, holds_secret, raised
from selfreward.records import Frame, Sampling, compiles, readable

PACKAGED = "selfreward:"
"""A path that begins so lies inside the installed package."""
ROLES = ("current", "frozen", "previous")
"""Judges by their part in the loop: M_t itself, M1, or M_{t−1}."""
HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
"""The hub's name for a model or a dataset: `organisation/name`."""
IMPORT_PATH = r"[\w.]+:\w+"
"""`package.module:name`."""
ADDRESS = r"https?://[^\s@?#]+"
"""An endpoint's address, with neither user and password nor a query."""
ENV_NAME = r"[A-Z_][A-Z0-9_]*"
"""An environment variable's name in capitals alone; keys are never written so."""
SECRET_NAME = re.compile(
    r"(.*[_-])?((api|access|auth|secret|private|subscription)[_-]?(key|token)|passwd|password|secret|authorization)"
    r"|key|token|hf_token",
    re.IGNORECASE,
)
"""Names of fields that hold a secret; not `eos_token` nor `prompt_cache_key`."""
KEY = re.compile(r"(?i)\b(bearer|basic)\s+[\w.+/=-]{16}|\b(sk|gsk|pk|xai)[-_][\w-]{16}|\bhf_\w{16}")
"""Beginnings of keys."""
MOVED_FILES = {
    **{f"text/judge_{name}": f"measure/text/judge_{name}" for name in ("alpaca", "labels")},
    **{"text/judge_": "recipe/rubrics/judge_", "micro/": "lab/micro/"},
}
"""Beginnings of paths in the package → where those files are now. Recipes and run folders keep what was written into them."""
MOVED_MODULES = {"selfreward.pairs:": "selfreward.steps.pairs:", "selfreward.micro.": "selfreward.lab.micro."}
"""Modules of ours that recipes name → where they are now."""


def _resolve(path: str, info: ValidationInfo) -> str:
    if path.startswith(PACKAGED):
        return in_package(path)
    beside = Path(str((info.context or {}).get("folder", "."))) / path
    if beside.exists():
        return str(beside.resolve())
    return _where_now(path)


def _where_now(path: str) -> str:
    """The path of today for a file of the package under an earlier layout, wherever it was installed; any other path as it is."""
    _, in_package, rest = path.rpartition("/selfreward/")
    now = packaged(rest) if in_package and rest.startswith(tuple(MOVED_FILES)) else path
    return now if Path(now).exists() else path


def packaged(path: str) -> str:
    """A file of the installed package, by its path of today or of an earlier layout."""
    return str(files("selfreward").joinpath(moved(path, MOVED_FILES)))


def in_package(name: str) -> str:
    """The file that `selfreward:` and a path in the package mean; any other name as it is."""
    return packaged(name.removeprefix(PACKAGED)) if name.startswith(PACKAGED) else name


def moved(name: str, places: Mapping[str, str]) -> str:
    """`name`, where it begins as one of `places` does, with the place of today."""
    old = next((old for old in places if name.startswith(old)), "")
    return places[old] + name.removeprefix(old) if old else name


def _resolve_model(name: str, info: ValidationInfo) -> str:
    names = (*ROLES, *(info.context or {}).get("servers", ()))
    return name if name in names or re.fullmatch(IMPORT_PATH, name) else _resolve(name, info)


def _hide_unless(pattern: str) -> Callable[[Any], Any]:
    """Star a value that may be a secret before it is refused, for the error shows what it refuses."""
    return lambda value: value if re.fullmatch(pattern, str(value)) else STARS


def without_secrets(value: Any, name: str = "") -> Any:
    """`value` (of JSON) with stars for every part of it that may be a secret, by the name that it has or by its form."""
    if SECRET_NAME.fullmatch(name) or (isinstance(value, str) and (KEY.search(value) or holds_secret(value))):
        return STARS
    if isinstance(value, dict):
        return {str(key): without_secrets(part, str(key)) for key, part in value.items()}
    return [without_secrets(part) for part in value] if isinstance(value, list) else value


Located = Annotated[str, AfterValidator(_resolve)]
"""A path beside the recipe, `selfreward:` and a path in the package, or (for models) a hub id."""
ModelName = Annotated[str, AfterValidator(_resolve_model)]
"""A model outside the loop: a folder, a hub id, a name under `[servers]`, or `package.module:name` for one of yours."""
ImportPath = Annotated[str, Field(pattern=f"^{IMPORT_PATH}$"), AfterValidator(lambda path: moved(path, MOVED_MODULES))]
"""`package.module:name`."""
Pattern = Annotated[str, AfterValidator(compiles)]
"""A regular expression."""
Address = Annotated[str, BeforeValidator(_hide_unless(ADDRESS)), Field(pattern=f"^{ADDRESS}$")]
"""The address of an endpoint; one with a password in it is refused and not shown."""
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
        what = f"{name} holds a password, or an address with a query, which may hold a key"
        raise SelfRewardError(what, where, "Leave it out: a key is read from the variable that servers.NAME.key_env names")


def off(value: Any, **bounds: Any) -> Any:
    """A field that is off at `value`, its default, and is not written then, so that digests stay those of before the field."""
    return Field(value, exclude_if=lambda given: bool(given == value), **bounds)


class Section(BaseModel):
    """A table of a recipe."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


class SamplingConfig(Section):
    """The sampling of text."""

    temperature: float = Field(0.7, ge=0)
    """0 is greedy."""
    top_p: float = Field(0.9, gt=0, le=1)
    """Nucleus: the smallest set of tokens with this much probability."""
    max_tokens: int = Field(1024, ge=1)
    """Longest completion, in tokens."""

    @property
    def sampling(self) -> Sampling:
        """The three fields together, for a request."""
        return Sampling(temperature=self.temperature, top_p=self.top_p, max_tokens=self.max_tokens)


class ThinkingConfig(SamplingConfig):
    """The sampling of text from a model that may think before it answers."""

    thinking: int = off(0, ge=0)
    """Tokens for a thought before the answer, beside `max_tokens`; 0: the model is told not to think. The answer may use the
    tokens that the thought leaves; a thought that is not closed within all of them is `truncated`."""

    @property
    def sampling(self) -> Sampling:
        """The four fields together, for a request."""
        plain = super().sampling
        return plain.model_copy(update={"thinking": self.thinking}) if self.thinking else plain


class AskingConfig(ThinkingConfig):
    """The framing of what a model is asked, and the sampling of its text."""

    system: str = off("")
    """A system prompt before everything that is asked. A prompt that has a system turn of its own keeps that one alone."""

    @property
    def frame(self) -> Frame:
        """The framing of a prompt for the model."""
        return Frame(self.system)


class AnsweringConfig(AskingConfig):
    """The framing of prompts for answers, and the sampling of answers."""

    system_role: Literal["system", "user"] = off("system")
    """The place of system turns: `system`, or (`user`) before the first user turn, for chat templates that refuse them."""

    @property
    def frame(self) -> Frame:
        """The framing of a prompt for the model."""
        return Frame(self.system, self.system_role)


def first_spelling(path: str) -> str:
    """`package.module:name` as run folders of the earlier layout spell it: records are known by its hash."""
    return moved(path, {now: before for before, now in MOVED_MODULES.items()})


def spelt_now(value: Any) -> Any:
    """A value in a recipe as this layout spells it: paths in the package, and import paths of ours."""
    return moved(_where_now(value), MOVED_MODULES) if isinstance(value, str) else value


_recipes: list[Path] = []
"""The folder of the recipe read last, or the folders that its run was begun with; import paths are searched there too."""
LOOKED_IN = "looked_in"
"""The key in a run's `provenance.json` of the folders that were searched for import paths."""


def look_in(*folders: Path) -> None:
    """Make import paths see the modules in `folders`, such as a recipe's; folders given before are no longer seen.

    Python's own path is searched first, then these folders, then the current folder. A name that was loaded before from
    a file elsewhere, and is one of theirs too, is refused: neither is chosen silently.
    """
    _recipes[:] = [folder.absolute() for folder in folders]


def looked_in() -> list[str]:
    """The folders that are searched for import paths after Python's own path: the recipe's, then the current one."""
    return list(dict.fromkeys(str(folder) for folder in (*_recipes, Path.cwd())))


def begun_with(run: Path) -> list[Path]:
    """The folders that a run searched for import paths; none where `run` is no run's folder, or does not tell."""
    try:
        known = json.loads(readable(run / "provenance.json").read_text(encoding="utf-8"))[LOOKED_IN]
        return [Path(folder) for folder in known]
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        return []


_ours: list[str] = []
"""Folders at the end of `sys.path` that this module put there."""


def imported(path: str, field: str = "") -> Any:
    """The object that `package.module:name`, which `field` of the recipe holds, names. Raises `SelfRewardError`."""
    where = place_of(path, field)
    module, _, name = moved(path, MOVED_MODULES).partition(":")
    folders = see()
    try:
        loaded = import_module(module)
    except (Exception, SystemExit) as error:  # the module is another's code, and may raise anything
        raise _not_imported(error, module, where, folders) from error
    _refuse_two(where, module.partition(".")[0], folders)
    if not hasattr(loaded, name):
        near = difflib.get_close_matches(name, vars(loaded), n=1)
        now = f"Did you mean {module}:{near[0]}?" if near else "Name it as package.module:name"
        has_none = f"{getattr(loaded, '__file__', None) or module} has no {name}"
        raise SelfRewardError(f"cannot be imported ({has_none})", where, now)
    return getattr(loaded, name)


def place_of(path: str, field: str) -> str:
    """An import path as the place of an error, with the field of the recipe that holds it, where that is known."""
    return f"{field} ({path})" if field else path


def _not_imported(error: BaseException, module: str, where: str, folders: list[str]) -> SelfRewardError:
    """An error that tells a module that is nowhere from one that was found and raised."""
    missing = (error.name or "") if isinstance(error, ModuleNotFoundError) else ""
    if missing and f"{module}.".startswith(f"{missing}."):
        looked = f"Searched: Python's own path, then {' and in '.join(folders) or 'no other folder'}"
        return SelfRewardError(f"cannot be imported ({error})", where, f"Name it as package.module:name. {looked}")
    now = f"Install {missing.partition('.')[0]} where selfreward is installed, or import another" if missing else "Correct that"
    return SelfRewardError(f"cannot be imported: {module} was found, and raised {raised(error)}", where, now)


def see() -> list[str]:
    """Put the recipe's folder and the current one at the end of `sys.path`; returns them."""
    for folder in _ours:
        if folder in sys.path:
            sys.path.remove(folder)
    folders = looked_in()
    _ours[:] = [folder for folder in folders if folder not in sys.path]
    sys.path.extend(_ours)
    return folders


def _refuse_two(where: str, name: str, folders: list[str]) -> None:
    """Raises `SelfRewardError` where module `name` was loaded from elsewhere, and `folders` have another of that name."""
    loaded, there = getattr(sys.modules.get(name), "__file__", None), PathFinder.find_spec(name, folders)
    if name == __package__.partition(".")[0] or not loaded or there is None or not there.origin:
        return
    if Path(loaded).resolve() != Path(there.origin).resolve():
        now = f"Rename one of them, or run from another folder: {loaded} was loaded"
        raise SelfRewardError(f"{name} is {loaded} and also {there.origin}", where, now)
