"""The requirements of a recipe, checked before anything runs: all that is wrong at once, and the costs.

No weights are read, and nothing is written but what `datasets` keeps of a dataset that it fetched. A run that was found to
work can still fail; what stands here as an error cannot work.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from selfreward.checks.amounts import LETTERS, Count, Material, stand_in, usual_prompts, weigh
from selfreward.checks.bill import Bill, Placement, draw_up, out_of_context, overdrawn, quicker
from selfreward.checks.finding import Finding
from selfreward.checks.judged import usual_example
from selfreward.checks.look import Looker, NamedModel
from selfreward.checks.memory import Precision
from selfreward.checks.named import Trial
from selfreward.checks.reach import look_up, models_of, unshared
from selfreward.checks.sources import Read, of_seed
from selfreward.checks.thoughts import thoughts
from selfreward.checks.turns import earlier_turns, system_turns
from selfreward.engines import find_device, quiet_hub, wants_bfloat16
from selfreward.measure import Joint
from selfreward.recipe import DriftConfig, Recipe
from selfreward.records import Anchor, Example, Prompt, read_jsonl
from selfreward.steps import Seed, load_seed

TURN = 16
"""Tokens of a chat template around a turn, for when no tokenizer is at hand."""


class Check(NamedTuple):
    """The findings and costs of a recipe."""

    models: list[NamedModel]
    seed: Material | None
    """None where it could not be computed."""
    assumed: bool
    """True if the seed could not be read, so that a seed of usual size stands in."""
    bill: Bill
    free: int
    """Free bytes where the run folder will be."""
    findings: list[Finding]
    drift: DriftConfig | None = None
    """The `[drift]` table, where there is one."""
    joint: Joint | None = None
    """Its baseline, where there is one that can be used."""
    sources: Sequence[Read] = ()
    """Counts of the rows that were read, kept and dropped, by source."""

    @property
    def works(self) -> bool:
        """True if there is no error."""
        return not any(finding.level == "error" for finding in self.findings)


def check(recipe: Recipe, folder: Path, looker: Looker | None = None) -> Check:
    """Check `recipe`, to be run in `folder`; `looker` looks at its models."""
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    quiet_hub()
    return _Checker(recipe, folder, looker or Looker()).check()


class _Checker(Trial):
    """Tries everything, and draws up the bill."""

    def __init__(self, recipe: Recipe, folder: Path, looker: Looker) -> None:
        super().__init__(recipe)
        self.looker = looker
        self.models: list[NamedModel] = []
        self.free = shutil.disk_usage(next(path for path in (folder, *folder.resolve().parents) if path.exists())).free

    def check(self) -> Check:
        """Everything, costs last. The models come late, for another process may be loading what it looks at them with."""
        self.names()
        seed = self.attempt_rows(load_seed)
        for source in of_seed(seed, self.recipe) if seed else ():
            self.read(source)
        known = seed or stand_in(self.recipe)
        validation, anchors = self.data(known)
        if validation is None and self.recipe.select:
            validation = usual_prompts(self.recipe.select.prompts.limit or 253)
        place = self.attempt(self._place)
        self._look(usual_example(seed))
        self.findings += self.attempt(partial(self._turns, seed, validation or [], anchors)) or []
        self.findings += self.attempt(partial(thoughts, self.recipe, self.models, seed.ift if seed else ())) or []
        material = self._weigh(known, validation or [], anchors)
        bill = self._bill(material, place) if material and place else Bill([], [], {})
        if bill.lines:
            self.findings += [*overdrawn(bill, self.free), *quicker(bill)]
            too_long = out_of_context(bill, self.models, exact=seed is not None and not seed.rankings)
            self.findings += [found for found in too_long if seed or found.level == "error"]  # an assumed seed has no texts
        self.findings.sort(key=lambda finding: finding.level != "error")
        drift, joint = self.recipe.drift, self.joint
        return Check(self.models, material, seed is None, bill, self.free, self.findings, drift, joint, self.sources)

    def _look(self, example: Example) -> None:
        """Look at the models. What is found of them is told first."""
        others, self.findings = self.findings, []
        self.models = [look_up(name, parts, self.recipe, self.looker, example) for name, parts in models_of(self.recipe).items()]
        for problem in (problem for model in self.models for problem in model.problems):
            self.add(problem)
        self.findings += unshared(self.models, self.recipe.backend)
        for finding in others:
            self.add(finding)

    def _bill(self, material: Material, place: Placement) -> Bill:
        """The costs; none where adapters cannot be added to the base."""
        lora, base = self.recipe.trainer.lora, self.models[0].name
        adapters = self.attempt(partial(self.looker.adapters, base, lora)) if lora else 0
        if adapters is None:
            return Bill([], [], {})
        return self.attempt(partial(draw_up, self.recipe, self.models, material, place, adapters)) or Bill([], [], {})

    def _turns(self, seed: Seed | None, validation: Sequence[Prompt], anchors: Sequence[Anchor]) -> list[Finding]:
        """System turns and earlier turns of all that the loop's models answer."""
        source = self.recipe.prompts.source
        own = read_jsonl(Path(source), Prompt) if source else []
        examples = (*seed.ift, *seed.heldout_prompts) if seed else ()
        asked = (*examples, *validation, *anchors, *own)
        return [*system_turns(self.recipe, asked, self.models), *earlier_turns(asked, self.models[0])]

    def _weigh(self, seed: Seed, validation: list[Prompt], anchors: list[Anchor]) -> Material | None:
        """The seed in tokens of the base, where the rubrics can be read."""
        count, turn = self._counting()
        return self.attempt(partial(weigh, seed, validation, self.recipe, count, turn, anchors))

    def _counting(self) -> tuple[Count, int]:
        """A counter of texts' tokens, and the tokens of the chat template around a turn."""
        base = self.models[0]
        if base.talk is None:
            return _guess, TURN
        return lambda texts: self.looker.count(base.name, list(texts)), base.talk.around

    def _place(self) -> Placement:
        """The devices at hand, also where the recipe asks for another."""
        training = find_device()
        sampling = self.attempt(partial(find_device, self.recipe.backend.device)) or training
        cuda, trainer = training.type == "cuda", self.recipe.trainer
        recompute = cuda if trainer.gradient_checkpointing is None else trainer.gradient_checkpointing
        return Placement(sampling, training, Precision(wants_bfloat16(trainer), recompute, fused_attention=cuda))


def _guess(texts: Iterable[str]) -> list[int]:
    return [len(text) // LETTERS + 1 for text in texts]
