"""The requirements of a recipe, checked before anything runs: all that is wrong at once, and the costs.

No weights are read, and nothing is written but what `datasets` keeps of a dataset that it fetched. A run that was found to
work can still fail; what stands here as an error cannot work.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

from selfreward.checks.amounts import LETTERS, Count, Material, stand_in, usual_prompts, weigh
from selfreward.checks.bill import Bill, Place, draw_up, out_of_context, overdrawn
from selfreward.checks.finding import Finding
from selfreward.checks.memory import Precision
from selfreward.checks.reach import Found, look_up, models_of, unshared
from selfreward.checks.turns import system_turns
from selfreward.engines import find_device, load_ray, outside_model, quiet_hub, quiet_libraries
from selfreward.errors import SelfRewardError
from selfreward.measure import JOINT, MONITORS, load_anchors, load_joint
from selfreward.recipe import ROLES, ClusterConfig, DriftConfig, LoRAConfig, Recipe, imported
from selfreward.records import Anchor, Checkpoint, Message, Prompt, Record, content_id, read_jsonl
from selfreward.reports import require_trackers
from selfreward.stats import known_traits
from selfreward.steps import Grader, PairwiseJudge, Seed, load_seed, load_validation, take_prompts

T = TypeVar("T")
R = TypeVar("R", bound=Record)
TURN = 16
"""Tokens of a chat template around a turn, for when no tokenizer is at hand."""


class Check(NamedTuple):
    """Everything that was found out about a recipe."""

    models: list[Found]
    seed: Material | None
    """None where nothing could be worked out."""
    assumed: bool
    """Whether the seed could not be read, and one of usual size stands for it."""
    bill: Bill
    free: int
    """Bytes free where the run folder will be."""
    findings: list[Finding]
    drift: DriftConfig | None = None
    """The `[drift]` table, where there is one."""

    @property
    def works(self) -> bool:
        """Whether there is no error."""
        return not any(finding.level == "error" for finding in self.findings)


def check(recipe: Recipe, folder: Path) -> Check:
    """Check `recipe`, to be run in `folder`."""
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    quiet_hub()
    quiet_libraries()
    return _Checker(recipe, folder).check()


class _Checker:
    """Gathers findings instead of ending at the first."""

    def __init__(self, recipe: Recipe, folder: Path) -> None:
        self.recipe = recipe
        self.findings: list[Finding] = []
        self.models = [look_up(name, parts, recipe) for name, parts in models_of(recipe).items()]
        self.findings += [problem for found in self.models for problem in found.problems]
        self.findings += unshared(self.models, recipe.backend)
        self.free = shutil.disk_usage(next(path for path in (folder, *folder.resolve().parents) if path.exists())).free

    def check(self) -> Check:
        """Everything, costs last."""
        seed = self.attempt(partial(load_seed, self.recipe))
        known = seed or stand_in(self.recipe)
        validation = self._selection(known)
        self._parts(seed)
        anchors = self._watching(known)
        self.findings += self.attempt(partial(self._system_turns, seed, validation, anchors)) or []
        material = self._weigh(known, validation, anchors)
        place = self.attempt(self._place)
        bill = Bill([], [], {})
        if material and place:
            bill = self.attempt(partial(draw_up, self.recipe, self.models, material, place)) or bill
            self.findings += overdrawn(bill, self.free)
            self.findings += out_of_context(bill, self.models, exact=seed is not None and not seed.rankings)
        return Check(self.models, material, seed is None, bill, self.free, self.findings, self.recipe.drift)

    def attempt(self, work: Callable[[], T]) -> T | None:
        """The result of `work`, or None and a finding."""
        try:
            return work()
        except SelfRewardError as error:
            if (finding := Finding.of(error)) not in self.findings:
                self.findings.append(finding)
            return None

    def _parts(self, seed: Seed | None) -> None:
        """Checks everything that a recipe names beside models and seed."""
        recipe = self.recipe
        self.attempt(partial(imported, recipe.pairs.policy))
        if recipe.measure.truth:
            self.attempt(partial(imported, recipe.measure.truth))
        if recipe.measure.judge in ROLES:
            now = "Name a model from outside: a folder, a hub id, or one of [servers]"
            self.findings.append(Finding("error", "measure.judge", f"{recipe.measure.judge!r} is a part in the loop", now))
        self.attempt(partial(require_trackers, recipe.report_to))
        if recipe.backend.type == "vllm":
            self.attempt(partial(imported, "selfreward.engines.sampling.vllm:VLLMModel"))
        if recipe.cluster:
            self._cluster(recipe.cluster)
        if recipe.trainer.lora:
            self.attempt(partial(_quantizing, recipe.trainer.lora))
        for t in range(2, recipe.iterations + 2):
            if recipe.prompts.source:
                self.attempt(partial(take_prompts, recipe.prompts, t, seed.heldout if seed else []))

    def _system_turns(self, seed: Seed | None, validation: Sequence[Prompt], anchors: Sequence[Anchor]) -> list[Finding]:
        """System turns of all that the loop's models answer."""
        source = self.recipe.prompts.source
        own = read_jsonl(Path(source), Prompt) if source else []
        given = (*seed.ift, *seed.heldout_prompts) if seed else ()
        return system_turns(self.recipe, (*given, *validation, *anchors, *own), self.models)

    def _cluster(self, cluster: ClusterConfig) -> None:
        """Whether there are the means to run in several processes; machines are asked for when the run begins."""
        if cluster.type == "ray":
            self.attempt(load_ray)
        if cluster.fsdp and not cluster.address and find_device().type != "cuda":
            what = "shards over GPUs alone: here every process will hold the whole model (DDP)"
            self.findings.append(Finding("warning", "cluster.fsdp", what, "Leave it out, or run where there are GPUs"))

    def _selection(self, seed: Seed) -> list[Prompt]:
        """The prompts that checkpoints are compared on."""
        recipe = self.recipe
        if not recipe.select:
            return []
        loaded = self.attempt(partial(load_validation, recipe, seed, self._named))
        return loaded[0] if loaded else usual_prompts(recipe.select.prompts.limit or 253)

    def _named(self, name: str) -> Checkpoint:
        """The model outside the loop that `name` means; none is loaded or fetched."""
        if name in self.recipe.servers:
            return outside_model(name, self.recipe.servers)
        return Checkpoint(name=name, path=Path(name), fingerprint=content_id(name))

    def _watching(self, seed: Seed) -> list[Anchor]:
        """The anchors that monitors ask; finds what else of `[drift]` cannot work."""
        drift = self.recipe.drift
        if drift is None:
            return []
        self.attempt(partial(known_traits, drift))
        joint = self.attempt(partial(load_joint, drift))
        if drift.frozen in set(ROLES) - {"frozen"}:
            now = "Set it to frozen, or to a model from outside: a folder, a hub id, or one of [servers]"
            self.findings.append(Finding("error", "drift.frozen", f"{drift.frozen!r} is no judge that stays as it is", now))
        for name in drift.limits:
            if name.split(".")[0] not in MONITORS and not (joint and name == JOINT):
                now = f"A figure is named as in drift.jsonl; the monitors are {', '.join(MONITORS)}"
                self.findings.append(Finding("error", f"drift.limits.{name}", "no monitor reads such a figure", now))
        return self.attempt(partial(load_anchors, drift, seed)) or []

    def _weigh(self, seed: Seed, validation: list[Prompt], anchors: list[Anchor]) -> Material | None:
        """The seed in tokens of the base, where the rubrics can be read."""
        judges = (self.attempt(partial(Grader, self.recipe.judge)), self.attempt(partial(PairwiseJudge, self.recipe.pairwise)))
        count, turn = self.attempt(self._counting) or (_guess, TURN)
        return weigh(seed, validation, self.recipe, count, turn, anchors) if all(judges) else None

    def _counting(self) -> tuple[Count, int]:
        """How many tokens a text has, and the chat template around a turn. Raises `SelfRewardError` where that does not work."""
        from selfreward.engines import completion_ids, encode, neutral, prompt_ids

        tokenizer = self.models[0].tokenizer
        if tokenizer is None:
            return _guess, TURN
        greeting = [Message(role="user", content="Hi")]
        around = len(prompt_ids(tokenizer, greeting)) + len(completion_ids(tokenizer, greeting, "Hi"))
        return lambda text: len(encode(tokenizer, neutral(tokenizer, text))), around

    def _place(self) -> Place:
        """The devices at hand, also where the recipe asks for another."""
        from selfreward.engines.training.learner import wants_bfloat16

        training = find_device()
        sampling = self.attempt(partial(find_device, self.recipe.backend.device)) or training
        cuda, trainer = training.type == "cuda", self.recipe.trainer
        recompute = cuda if trainer.gradient_checkpointing is None else trainer.gradient_checkpointing
        return Place(sampling, training, Precision(wants_bfloat16(trainer), recompute, fused_attention=cuda))


def _quantizing(lora: LoRAConfig) -> None:
    """Raises `SelfRewardError` where what holds weights in 4 bits is not installed."""
    import torch

    from selfreward.engines.training.adapters import frozen

    frozen(lora, torch.float32, "cpu")


def _guess(text: str) -> int:
    return len(text) // LETTERS + 1
