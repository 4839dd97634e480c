"""A recipe: TOML in, one frozen tree out. Unknown fields are refused with the nearest known name."""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails

from selfreward.errors import SelfRewardError, without_preface
from selfreward.recipe.data import EFTConfig, SeedConfig
from selfreward.recipe.engines import BackendConfig, ClusterConfig, ServerConfig
from selfreward.recipe.fields import IMPORT_PATH, Located, Section, assert_open, off, spelt_now
from selfreward.recipe.iteration import JudgeConfig, PairsConfig, PromptsConfig, ResponsesConfig
from selfreward.recipe.measuring import CHECKS, DriftConfig, MeasureConfig, PairwiseConfig
from selfreward.recipe.training import DPOConfig, JudgePairsConfig, SelectConfig, SFTConfig, TrainerConfig
from selfreward.records import readable

OTHERWISE = 'a jury, judge.method and judge.checks = "score"'
"""Settings by which a candidate's score is no mean of one judge's."""


class Recipe(Section):
    """Everything a run depends on."""

    seed: int = Field(0, ge=0)
    """Every random choice follows from it."""
    base: Located
    """M0: a folder with a transformers causal language model, or a hub id."""
    iterations: int = Field(2, ge=1)
    """Rounds of DPO: 2 gives M2 and M3."""
    keep_checkpoints: bool = False
    """Keep the trainer's checkpoints, needed only for resuming."""
    data: SeedConfig
    """Seed data."""
    eft: EFTConfig = EFTConfig()
    """EFT from people's rankings."""
    sft: SFTConfig = SFTConfig()
    """The training from M0 to M1."""
    prompts: PromptsConfig = PromptsConfig()
    """New prompts."""
    responses: ResponsesConfig = ResponsesConfig()
    """Candidates."""
    judge: JudgeConfig = JudgeConfig()
    """Judgments."""
    pairs: PairsConfig = PairsConfig()
    """Preference pairs."""
    judge_pairs: JudgePairsConfig | None = off(None)
    """Pairs of judgments, by which judging is learnt too; off where not given."""
    dpo: DPOConfig = DPOConfig()
    """The training from M_t to M_{t+1}."""
    trainer: TrainerConfig = TrainerConfig()
    """The running of trainings."""
    select: SelectConfig | None = None
    """Checkpoint selection; off where not given."""
    pairwise: PairwiseConfig = PairwiseConfig()
    """The comparison of two answers, by `measure.judge` and `select.judge`."""
    measure: MeasureConfig = MeasureConfig()
    """Measurement."""
    drift: DriftConfig | None = None
    """Monitors; off where not given."""
    report_to: tuple[Literal["tensorboard", "trackio", "wandb"], ...] = ()
    """Trackers that are sent the run's figures after every model, beside its page."""
    backend: BackendConfig = BackendConfig()
    """Sampling engine."""
    servers: dict[str, ServerConfig] = Field({})
    """Endpoints by name."""
    branch: str | None = off(None)
    """The id of the `branch.json` of a run that goes on from another; the program writes it into the run's `config.json`."""
    cluster: ClusterConfig | None = None
    """Several processes, on this machine or on many; not given: everything is done in this process."""

    @property
    def makes_eft(self) -> bool:
        """True if the SFT baseline makes the EFT examples that M1 is trained on."""
        return "eft" in self.sft.on and (bool(self.data.rankings) or self.eft.by == "self")

    def measures(self, t: int) -> bool:
        """True if M_t is measured and watched."""
        return t == self.iterations + 1 or (t - 1) % self.measure.every == 0

    def judged_before(self, t: int) -> bool:
        """True if the model before their judge also judges the candidates behind M_t (`dpo.confidence`)."""
        first = 4 if self.judge.by == "previous" else 3  # up to then M1 is the judge, with none before it
        return self.dpo.confidence == "consistency" and self.judge.method == "scores" and t >= first

    @field_validator("pairs")
    @classmethod
    def _can_tell_flukes(cls, pairs: PairsConfig, info: ValidationInfo) -> PairsConfig:
        judge = info.data.get("judge")
        if pairs.temporal and judge and (not judge.averages or judge.samples == "adaptive"):
            fields = "judge.by, judge.method and judge.checks alone, and a number for judge.samples"
            raise ValueError(f"candidates of other models need the scores of one judge: leave {fields}")
        if pairs.max_fluke is None or "judge" not in info.data:
            return pairs
        if not info.data["judge"].averages:
            raise ValueError("max_fluke is computed from the noise of one judge's scores: leave out it, or " + OTHERWISE)
        if info.data["judge"].most == 1:
            raise ValueError("max_fluke is computed from several judgments of one response: judge.samples must be at least 2")
        return pairs

    @field_validator("eft")
    @classmethod
    def _of_one_source(cls, eft: EFTConfig, info: ValidationInfo) -> EFTConfig:
        data = info.data.get("data")
        if eft.by == "self" and data and (data.eft or data.rankings):
            raise ValueError(
                'by = "self" makes the rankings: leave out data.eft and data.rankings; for measuring, give heldout_rankings'
            )
        return eft

    def teaches_judging(self, t: int) -> bool:
        """True if M_t learns from pairs of judgments too."""
        return self.judge_pairs is not None and t - 1 <= (self.judge_pairs.rounds or t)

    @field_validator("judge_pairs")
    @classmethod
    def _are_its_own(cls, config: JudgePairsConfig | None, info: ValidationInfo) -> JudgePairsConfig | None:
        if config is None or config.by == "none" or "judge" not in info.data:
            return config
        judge, samples = info.data["judge"], config.samples or info.data["judge"].most
        if judge.by != "current" or not judge.averages:
            what = 'a model learns from its own judgments: judge.by must be "current", and judge.method "scores"'
            raise ValueError(f'{what}; leave out judge.checks = "score"' if judge.checks == "score" else what)
        if judge.samples == "adaptive":
            raise ValueError("all judgments of a response are compared: judge.samples must be a number")
        if samples < max(2, judge.most):
            raise ValueError(f"at least two judgments of a response must be compared, and all {judge.most} of them")
        return config

    @field_validator("measure")
    @classmethod
    def _has_checks(cls, measure: MeasureConfig, info: ValidationInfo) -> MeasureConfig:
        if measure.truth == CHECKS and "judge" in info.data and info.data["judge"].checks == "off":
            raise ValueError('truth = "checks" needs answers that are checked: set judge.checks to "measure"')
        return measure

    @field_validator("dpo")
    @classmethod
    def _has_an_earlier_judge(cls, dpo: DPOConfig, info: ValidationInfo) -> DPOConfig:
        if dpo.confidence != "consistency" or "judge" not in info.data or info.data["judge"].method == "cream":
            return dpo
        if "pairs" in info.data and info.data["pairs"].temporal:
            raise ValueError(
                'confidence = "consistency" ranks the candidates of one model: leave out it or the candidates of others'
            )
        if not info.data["judge"].averages:
            raise ValueError('confidence = "consistency" compares mean scores of one judge: leave out it, or ' + OTHERWISE)
        if info.data["judge"].by not in ("current", "previous"):
            raise ValueError(
                'confidence = "consistency" works only with judge.by = "current" or "previous": other judges do not change'
            )
        return dpo

    @field_validator("trainer", "select")
    @classmethod
    def _goes_with_dpo(cls, value: Any, info: ValidationInfo) -> Any:
        if value and "dpo" in info.data:
            info.data["dpo"].assert_goes_with(value)
        return value

    @field_validator("cluster")
    @classmethod
    def _can_be_shared(cls, cluster: ClusterConfig | None, info: ValidationInfo) -> ClusterConfig | None:
        if cluster and {"sft", "dpo", "trainer"} <= info.data.keys():
            for name in ("sft", "dpo"):
                info.data[name].split(cluster.trainers)
            if cluster.fsdp and info.data["trainer"].lora:
                raise ValueError("fsdp trains all weights: leave out either fsdp or trainer.lora")
            if cluster.trainers > 1 and info.data["dpo"].optimizer == "carried":
                raise ValueError("dpo.optimizer is carried only in a single process: leave out either dpo.optimizer or trainers")
        return cluster


def read_tree(path: Path) -> dict[str, Any]:
    """The contents of a recipe's file, TOML, or of the JSON that a run keeps of it. Raises `SelfRewardError`."""
    language, loads = ("JSON", json.loads) if path.suffix == ".json" else ("TOML", tomllib.loads)
    try:
        tree: dict[str, Any] = loads(readable(path).read_text(encoding="utf-8"))
        return tree
    except OSError as error:
        now = f"Give the path of a recipe, or the name of one that comes with the package: {', '.join(shipped_recipes())}"
        raise SelfRewardError(f"cannot be read ({error.strerror})", str(path), now) from error
    except (ValueError, RecursionError) as error:
        raise SelfRewardError(f"is not {language} ({error})", str(path), "Correct that line") from error


def shipped_recipes() -> dict[str, Path]:
    """Name → file of the recipes that come with the package."""
    shipped = Path(str(files("selfreward") / "recipe" / "shipped")).glob("*.toml")
    return dict(sorted((path.stem, path) for path in shipped))


def read_recipe(tree: dict[str, Any], where: str, folder: Path) -> Recipe:
    """The recipe in a tree of built-ins; paths in it are taken from `folder`. Raises `SelfRewardError`."""
    if not isinstance(tree, dict):
        raise SelfRewardError("is no table of fields", where, "Give a recipe, or restore the file")
    assert_open(tree, where)
    try:
        servers = tree.get("servers")
        named = tuple(servers) if isinstance(servers, dict) else ()
        return Recipe.model_validate(tree, context={"folder": str(folder), "servers": named})
    except ValidationError as error:
        faults = error.errors(include_url=False)
        if unknown := [[str(part) for part in fault["loc"]] for fault in faults if fault["type"] == "extra_forbidden"]:
            raise _unknown(unknown, where) from error
        raise _fault(faults[0], where) from error


TOLD = {"model_type": "must be a table", "dict_type": "must be a table", "tuple_type": "must be a list"}
"""Kinds of pydantic's errors whose own words are Python's."""


def in_words(fault: ErrorDetails) -> str:
    """The fault of a value of a recipe, in plain words."""
    if IMPORT_PATH in str(fault.get("ctx", {}).get("pattern")):
        return "is no package.module:name"
    return TOLD.get(fault["type"]) or without_preface(fault["msg"])


def dotted(parts: Iterable[str]) -> str:
    """A field's dotted name from its parts, where those that TOML wants in quotes have them: `drift.limits."flukes.rate"`."""
    return ".".join(part if re.fullmatch(r"[\w-]+", part) else f'"{part}"' for part in parts)


def _fault(first: ErrorDetails, where: str) -> SelfRewardError:
    """The error that tells one fault of a value, and what to do."""
    field = [str(part) for part in first["loc"] if part != "[key]"]
    given, fields = first["input"], known_fields(field)
    if first["type"] == "missing":
        now = "Add it"
    elif isinstance(given, dict) and given:
        now = f"Change one of {', '.join(given)}"
    else:
        now = f"It is {given!r}; " + (f"its fields are {', '.join(fields)}" if fields else "change it")
    return SelfRewardError(f"{dotted(field)}: {in_words(first)}", where, now)


def _unknown(fields: list[list[str]], where: str) -> SelfRewardError:
    """The error that tells all unknown `fields`, given as parts of their names, and the known ones that come nearest."""
    near = [difflib.get_close_matches(field[-1], known_fields(field[:-1]), n=1, cutoff=0) for field in fields]
    names = [dotted(field) for field in fields]
    if len(names) == 1:
        return SelfRewardError(f"unknown field {names[0]}", where, _way_out(fields[0], near[0]))
    ways = [f"{name}: {f'did you mean {meant[0]}?' if meant else 'take it out'}" for name, meant in zip(names, near, strict=True)]
    return SelfRewardError(f"unknown fields {', '.join(names)}", where, "; ".join(ways))


def _way_out(field: list[str], near: list[str]) -> str:
    """The way out of an unknown field. The name of a figure has a dot in it."""
    if field[:2] == ["drift", "limits"] and len(field) == 4 and "." not in field[2]:
        figure = f"{field[2]}.{field[3]}".replace("'", "")
        return f'A figure stands in double quotes: drift.limits."{figure}"'
    return f"Did you mean {near[0]}?" if near else "Take it out"


def known_fields(section: list[str], model: Any = Recipe) -> list[str]:
    """The names that may stand in a section of `model`; none where it is no table, or one of names of your own."""
    kind: Any = model
    for name in section:
        table = _table(kind)
        fields = table.model_fields if table else {}
        named = get_args(kind)[1] if get_origin(kind) is dict else None
        kind = next((field.annotation for n, field in fields.items() if name in (n, field.alias)), named)
    table = _table(kind)
    return [field.alias or name for name, field in table.model_fields.items()] if table else []


def _table(annotation: Any) -> type[BaseModel] | None:
    """The section in a field's type, which may be optional; None where sections stand in it under names of your own."""
    kinds = () if get_origin(annotation) is dict else (annotation, *get_args(annotation))
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


def changed_fields(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """The dotted names of fields in which two trees differ by more than the spelling of an earlier layout."""
    return list(changed_values(before, now))


def changed_values(before: dict[str, Any], now: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The values before and now, by the dotted names of `changed_fields`; None for a missing value."""
    old, new = _flat(before), _flat(now)
    names = sorted(old.keys() | new.keys())
    return {name: (old.get(name), new.get(name)) for name in names if spelt_now(old.get(name)) != spelt_now(new.get(name))}


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat
