"""Everything that a recipe names, tried before a run's first token: packages, devices, code, models, keys and files.

`check` tells all that is found, and a run ends at the first error, before there is a folder. Servers are asked once, by `served`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from selfreward.checks.finding import Finding
from selfreward.checks.reach import look_up, models_of
from selfreward.checks.sources import BAD, Read, of_seed, read_of
from selfreward.engines import assert_openable, find_device, find_gguf, load_ray, outside_model, quiet_libraries
from selfreward.errors import BadRows, SelfRewardError, amount
from selfreward.measure import ALSO, JOINT, Joint, figure_names, load_anchors, load_joint, load_truth
from selfreward.recipe import (
    IMPORT_PATH,
    ROLES,
    WISE,
    ClusterConfig,
    JudgePairsConfig,
    Limit,
    LoRAConfig,
    Recipe,
    SourceConfig,
    dotted,
    field_of,
    function_at,
    held_by,
    misspelt,
)
from selfreward.records import Anchor, Checkpoint, Conversed, Prompt, content_id
from selfreward.reports import require_trackers
from selfreward.stats import known_traits
from selfreward.steps import (
    PUT_RIGHT,
    Grader,
    PairwiseJudge,
    Seed,
    assert_checkable,
    load_change_rubric,
    load_meta_rubric,
    load_validation,
    pair_policy,
    take_prompts,
)

T = TypeVar("T")
TRIED = "A birch is a tree."
"""An answer by which functions of the user's are tried."""
FEW = 8
"""Held-out prompts at most on which a truth is tried: it may know none of one."""


class Trial:
    """Tries one thing after another, and gathers what is wrong instead of ending at the first."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.findings: list[Finding] = []
        self.sources: list[Read] = []
        self.joint: Joint | None = None

    def attempt(self, work: Callable[[], T]) -> T | None:
        """The result of `work`, or None and a finding."""
        try:
            return work()
        except SelfRewardError as error:
            self.add(Finding.of(error))
            return None

    def attempt_rows(self, work: Callable[[Recipe], T]) -> T | None:
        """Like `attempt`, for work that reads rows: where some are bad, the result is that of the others, beside the finding."""
        try:
            return work(self.recipe)
        except BadRows as error:
            self.add(Finding.of(error))
        except SelfRewardError as error:
            self.add(Finding.of(error))
            return None
        data = self.recipe.data.model_copy(update={"skip_bad_rows": True})
        with suppress(SelfRewardError):  # of what the bad rows leave: there may be nothing without them
            return work(self.recipe.model_copy(update={"data": data}))
        return None

    def add(self, finding: Finding) -> None:
        """Take in a finding; one that is known already changes nothing."""
        if finding not in self.findings:
            self.findings.append(finding)

    def names(self) -> None:
        """Try what needs neither data nor weights: code by import path, packages, devices, keys, rubrics, names of figures."""
        recipe = self.recipe
        for name in models_of(recipe):
            self.attempt(partial(assert_openable, name, recipe.backend, recipe.servers, recipe.cluster, field_of(recipe, name)))
        self.attempt(partial(pair_policy, recipe.pairs))
        self.attempt(partial(load_truth, recipe))
        self.attempt(partial(Grader, recipe.judge))
        self.attempt(partial(PairwiseJudge, recipe.pairwise))
        if recipe.measure.judge in ROLES:
            now = "Name a model from outside: a folder, a hub id, or one of [servers]"
            self.add(Finding("error", "measure.judge", f"{recipe.measure.judge!r} is a role in the loop", now))
        self.attempt(partial(require_trackers, recipe.report_to))
        if recipe.eft.by == "self":
            self.attempt(partial(load_change_rubric, recipe.eft))
        if recipe.judge_pairs:
            self._judge_pairs(recipe.judge_pairs)
        self._material()
        if recipe.cluster:
            self._cluster(recipe.cluster)
        if recipe.trainer.lora and recipe.backend.type != "fake":
            self.attempt(partial(_quantizing, recipe.trainer.lora))
        self._monitors()

    def data(self, seed: Seed) -> tuple[list[Prompt] | None, list[Anchor]]:
        """Try what is read beside `seed`: prompts of the user's own, validation prompts (returned), anchors (returned)."""
        recipe = self.recipe
        self._checks()
        loaded = self.attempt_rows(lambda read: load_validation(read, seed, self._named))
        if loaded and recipe.select:
            self.read(read_of("select.prompts", recipe.select.prompts, len(loaded[0]), loaded[1]))
        validation = loaded[0] if loaded else None
        self._truth(seed)
        anchors = self.attempt(partial(load_anchors, recipe, seed)) or []
        own = self._own_prompts([*seed.heldout, *(validation or []), *anchors])
        known = seed.recipe is not None  # and no stand-in for a seed that could not be read
        if known and recipe.measure.judging and not seed.heldout_rankings and recipe.judge.by in ROLES:
            what = "no ranked answers are held out: nothing will measure how well each model judges, by which it is trained"
            now = "Give answers that people ranked, or set measure.judging to false"
            self.add(Finding("warning", "data.heldout_rankings", what, now))
        if known and recipe.judge.checks in ("measure", "score") and not any(p.checks for p in (*seed.heldout_prompts, *own)):
            what = f"is {recipe.judge.checks!r}, but no prompt carries a check, so that it changes nothing"
            now = "Give data.heldout_prompts or prompts.from with checks, or leave it out"
            self.add(Finding("warning", "judge.checks", what, now))
        return validation, anchors

    def _truth(self, seed: Seed) -> None:
        """Try the truth on the first held-out prompt that has one, of a few."""
        if seed.recipe is None or (truth := self.attempt(partial(load_truth, self.recipe))) is None:
            return
        self.attempt(lambda: next((True for prompt in seed.heldout_prompts[:FEW] if truth(prompt.text, TRIED)), None))

    def read(self, source: Read) -> None:
        """Take in what a source gave. Bad rows that are not to be left out are an error, told once of a file."""
        self.sources.append(source)
        if source.bad and not self.recipe.data.skip_bad_rows:
            if not any(finding.where.startswith(source.path) for finding in self.findings):
                what = f"{amount(source.dropped[BAD], 'row')} cannot be read; {source.bad} is the first"
                self.add(Finding("error", source.path, what, PUT_RIGHT))
        elif source.warning:
            self.add(source.warning)

    def _own_prompts(self, apart: Sequence[Conversed]) -> list[Prompt]:
        """Try the prompts that `prompts.from` names, for every model, and return those taken; none `apart` is trained on."""
        recipe = self.recipe
        if recipe.prompts.source is None:
            return []
        anchors = recipe.judge.checks == "anchor"
        turns = range(2, recipe.iterations + 2)
        taken = [self.attempt(partial(take_prompts, recipe.prompts, t, apart, anchors)) for t in turns]
        known = [prompts for prompts in taken if prompts]
        kept, dropped = [prompt for some, _ in known for prompt in some], [drop for _, gone in known for drop in gone]
        if known:
            self.read(read_of("prompts.from", SourceConfig(path=recipe.prompts.source), len(kept), dropped))
        return kept

    def _checks(self) -> None:
        """Try what prompts say that programs check, where anything is made of it."""
        recipe, made = self.recipe, self.recipe.judge.checks != "off"
        anchors, own = recipe.drift and recipe.drift.anchors, recipe.prompts.source if made else None
        sources = {field: SourceConfig(path=file) for field, file in (("drift.anchors", anchors), ("prompts.from", own)) if file}
        if made and recipe.data.heldout_prompts:
            sources["data.heldout_prompts"] = recipe.data.heldout_prompts
        for field, source in sources.items():
            self.attempt(partial(_checkable, field, source))

    def _named(self, name: str) -> Checkpoint:
        """The model outside the loop that `name` means; none is loaded or fetched."""
        if name in self.recipe.servers:
            return outside_model(name, self.recipe.servers)
        return Checkpoint(name=name, path=Path(name), fingerprint=content_id(name))

    def _judge_pairs(self, config: JudgePairsConfig) -> None:
        """Check that judging can be learnt as the recipe says."""
        self.attempt(partial(load_meta_rubric, config))
        if config.share > WISE:
            what = f"is {config.share:g}: with more than {WISE:g} of all pairs, judges were seen to give everything one score"
            self.add(Finding("warning", "judge_pairs.share", what, f"Set it to {WISE:g} or less, or watch health.top"))
        if not self.recipe.dpo.nll_weight:
            what = "is 0: two judgments of one answer share most of their words, and DPO alone was seen to unlearn those"
            self.add(Finding("warning", "dpo.nll_weight", what, "Set it to 2, say, or watch health.unscored"))
        if config.replay and not self.recipe.data.eft and not self.recipe.makes_eft:
            self.add(Finding("warning", "judge_pairs.replay", "there is no EFT to replay", "Give data.eft or data.rankings"))

    def _material(self) -> None:
        """Check that there is something to rehearse, and that one answer can have more votes than another."""
        if self.recipe.dpo.rehearse and not self.recipe.data.eft and not self.recipe.makes_eft:
            self.add(Finding("warning", "dpo.rehearse", "there is no EFT to rehearse", "Give data.eft or data.rankings"))
        if self.recipe.judge.method == "votes" and self.recipe.responses.n < 3:
            what = "is 2: their answers have one vote each, or are the same, so that votes give no pair"
            self.add(Finding("warning", "responses.n", what, "Set it to 8, say"))

    def _cluster(self, cluster: ClusterConfig) -> None:
        """Check that several processes can run; a cluster's machines are asked for when the run begins."""
        if cluster.type == "ray":
            self.attempt(load_ray)
        if cluster.fsdp and not cluster.address and find_device().type != "cuda":
            what = "shards over GPUs only: here every process will hold the whole model (DDP)"
            self.add(Finding("warning", "cluster.fsdp", what, "Leave it out, or run where there are GPUs"))

    def _monitors(self) -> None:
        """Find the fields of `[drift]` that cannot work, beside the anchors."""
        if (drift := self.recipe.drift) is None:
            return
        traits = self.attempt(partial(known_traits, drift)) or {}
        for name, path in drift.traits.items():
            if re.fullmatch(IMPORT_PATH, path):
                if self.attempt(partial(function_at, path, f"drift.traits.{name}", "text")) and name in traits:
                    self.attempt(partial(traits[name], TRIED))
            elif meant := misspelt(path):
                what = f"{path!r} is a regular expression as it stands, and reads like a function in a module that is there"
                now = f"Write {meant} for the function, or {path.replace('.', chr(92) + '.')} for the words"
                self.add(Finding("error", f"drift.traits.{name}", what, now))
        if drift.frozen in set(ROLES) - {"frozen"}:
            now = "Set it to frozen, or to a model from outside: a folder, a hub id, or one of [servers]"
            self.add(Finding("error", "drift.frozen", f"{drift.frozen!r} is a judge that changes during the run", now))
        self.joint = self.attempt(partial(load_joint, drift))
        known = figure_names(self.recipe)
        for name, limit in drift.limits.items():
            where = dotted(["drift", "limits", name])
            if name not in known:
                self.add(Finding("error", where, "no monitor has this figure", _to_have(name, known)))
            if limit.fault:
                self.add(Finding("error", where, limit.fault, f"Change it (its ends are {', '.join(Limit.model_fields)})"))
        if drift.on_alarm and not drift.baseline and not any(limit.warns for limit in drift.limits.values()):
            now = 'Set a limit, such as drift.limits."flukes.rate".above = 0.2, or drift.baseline; or leave it out'
            what = f"is {drift.on_alarm!r}, but there is no baseline, and no figure has a limit below or above: it does nothing"
            self.add(Finding("warning", "drift.on_alarm", what, now))


def assert_ready(recipe: Recipe, seed: Seed | None = None) -> list[str]:
    """Try all that `recipe` names, and fetch its models from the hub; returns what was read of each source, and the warnings.

    `seed`: not given, what is read beside it is not tried. Raises `SelfRewardError` where something is missing that the run would
    end at.
    """
    trial = Trial(recipe)
    trial.names()
    if seed is not None:
        for source in of_seed(seed, recipe):
            trial.read(source)
        trial.data(seed)
    for name, parts in models_of(recipe).items():
        if recipe.backend.type == "fake" or name in recipe.servers or re.fullmatch(IMPORT_PATH, name):
            continue
        gguf = trial.attempt(partial(find_gguf, name)) if name == recipe.base else None
        if gguf is None and trial.attempt(partial(outside_model, name, recipe.servers)) is None:
            continue
        for problem in look_up(name, parts, recipe).problems:
            trial.add(problem)
    errors = [finding for finding in trial.findings if finding.level == "error"]
    if errors:
        more = f"; and {amount(len(errors) - 1, 'more error')}, which `selfreward check` tells" if len(errors) > 1 else ""
        raise SelfRewardError(errors[0].what, errors[0].where, errors[0].now + more)
    return [*map(str, trial.sources), *map(str, trial.findings)]


def _to_have(figure: str, known: Sequence[str]) -> str:
    """The step that makes a run read a figure that is none of the `known` ones."""
    monitors = dict.fromkeys(name.partition(".")[0] for name in known)
    if figure == JOINT:
        return "It is read where drift.baseline names a file of selfreward calibrate"
    if (monitor := figure.partition(".")[0]) in ALSO and monitor not in monitors:
        return f'Add "{monitor}" to drift.also'
    if near := difflib.get_close_matches(figure, known, n=1):
        return f"Did you mean {near[0]}?"
    return f"A figure is named as in drift.jsonl; the monitors are {', '.join(monitors)}"


def _checkable(field: str, source: SourceConfig) -> None:
    with held_by(field, source.path):
        assert_checkable(source)


def _quantizing(lora: LoRAConfig) -> None:
    """Raises `SelfRewardError` where what holds weights in 4 bits is not installed."""
    import torch

    from selfreward.engines.training.adapters import frozen

    quiet_libraries()
    frozen(lora, torch.float32, "cpu")
