"""Checkpoint selection (paper, section 3.1): while M_t learns, each checkpoint is compared with the one before it.

Answers to held-out validation prompts are compared pairwise, in both orders, by a judge from outside the loop. The rule:
begin with the first checkpoint and go on to the next for as long as the judge prefers it, with more wins than losses,
to the one before; the first that it does not prefer ends the search, and the one before it is the model. The end of the
training is a checkpoint like the others. The paper does not say what follows from the comparisons; this is our choice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from selfreward.config import Recipe
from selfreward.errors import SelfRewardError
from selfreward.identified import Record
from selfreward.jsonl import digest
from selfreward.models import Cast
from selfreward.pairwise import PairwiseJudge, Preference, combine, flip_rate
from selfreward.records import Checkpoint, Prompt, Response, Sampling
from selfreward.responses import plan_responses, read_response
from selfreward.seed import Seed, refuse_known
from selfreward.sources import load_prompts
from selfreward.stages import Folder


class Selected(Record):
    """Which checkpoint of its training a model is."""

    step: int
    of: int
    """Steps of the whole training."""
    judge: str
    """Who chose."""


class Compared(Record):
    """A checkpoint against the one before it, prompt by prompt."""

    step: int
    against: int
    wins: int
    ties: int
    losses: int
    undecided: int
    """Prompts on which a judgment failed in either order."""
    position_flips: float | None
    """Share of the prompts decided in both orders on which the verdict went with the place."""

    @property
    def preferred(self) -> bool:
        """Whether the judge prefers it."""
        return self.wins > self.losses


class Selector(NamedTuple):
    """What checkpoints are chosen by."""

    every: int
    prompts: list[Prompt]
    judge: Checkpoint
    pairwise: PairwiseJudge
    sampling: Sampling
    seed: int

    @property
    def identity(self) -> list[object]:
        """What the choice depends on beside the checkpoints."""
        how = [self.pairwise.rubric.text, *self.pairwise.reading, self.pairwise.config.sampling.model_dump()]
        return [self.every, digest(self.prompts), self.judge.fingerprint, *how, self.sampling.model_dump()]

    def choose(self, folder: Folder, candidates: Sequence[tuple[int, Checkpoint]]) -> int:
        """The step of the checkpoint that the rule gives, of (step, checkpoint) in the order of training.

        Leaves `selection.jsonl`, a line for each comparison. Raises `SelfRewardError` where the judge decides nothing.
        """
        chosen, answers = candidates[0][0], self._answer(folder, *candidates[0]) if len(candidates) > 1 else []
        comparisons = []
        for step, candidate in candidates[1:]:
            before, answers = answers, self._answer(folder, step, candidate)
            comparisons.append(self._compare(folder, step, chosen, answers, before))
            if not comparisons[-1].preferred:
                break
            chosen = step
        folder.keep("selection", (comparisons, []))
        return chosen

    def _answer(self, folder: Folder, step: int, model: Checkpoint) -> list[Response]:
        asked = plan_responses(self.prompts, 1, self.sampling, model, self.seed)
        return folder.sample(f"selection_responses_{step}", Response, asked, model, read_response)

    def _compare(self, folder: Folder, step: int, against: int, ours: Sequence[Response], theirs: Sequence[Response]) -> Compared:
        name = f"selection_preferences_{step}"
        plan = self.pairwise.plan(zip(self.prompts, ours, theirs, strict=True), self.judge, self.seed)
        preferences = folder.sample(name, Preference, plan, self.judge, self.pairwise.read, self.pairwise.reading)
        count = Counter(comparison.winner for comparison in combine(preferences))
        if count["none"] == len(self.prompts):
            failures = ", ".join(f"{name} {n}" for name, n in sorted(Counter(p.label for p in preferences).items()))
            now = f"Put it right, then delete {name}.jsonl and {name}.receipt.json in {folder.run.dir.path / folder.name}"
            raise SelfRewardError(f"decided nothing on {len(self.prompts)} prompts ({failures})", self.judge.name, now)
        return Compared(
            step=step, against=against, wins=count["a"], ties=count["tie"], losses=count["b"], undecided=count["none"],
            position_flips=flip_rate(preferences),
        )  # fmt: skip


def load_selector(recipe: Recipe, seed: Seed, cast: Cast, folder: Folder) -> Selector | None:
    """What `[select]` asks for; None where it is not given. Leaves its prompts, and what was dropped of them, in `folder`.

    Raises `SelfRewardError` where the judge also measures, or where the prompts are trained or measured on.
    """
    config = recipe.select
    if config is None:
        return None
    judge = cast.outside(config.judge)
    if recipe.measure.judge and cast.outside(recipe.measure.judge).fingerprint == judge.fingerprint:
        what, now = "is the model that measures too, and would measure what it has chosen itself", "Name another"
        raise SelfRewardError(what, f"select.judge ({config.judge})", now)
    found = load_prompts(config.prompts, "validation", recipe.seed, recipe.data.skip_bad_rows)
    prompts = folder.keep("validation", found)
    if not prompts:
        raise SelfRewardError("has no prompts", config.prompts.path, "Give at least one: checkpoints are compared on them")
    refuse_known(prompts, "validation prompts", config.prompts.path, seed)
    pairwise = PairwiseJudge(recipe.pairwise)
    return Selector(config.every, prompts, judge, pairwise, recipe.responses.sampling, recipe.seed)
