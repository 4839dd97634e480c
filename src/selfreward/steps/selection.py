"""Checkpoint selection (paper, section 3.1): while M_t learns, each checkpoint is compared with the one before it.

Answers to held-out validation prompts are compared pairwise, in both orders, by a judge from outside the loop. The rule: begin
with the first checkpoint and go on to the next for as long as the judge prefers it, with more wins than losses, to the one
before; the first that it does not prefer ends the search, and the one before it is the model. The end of the training is a
checkpoint like the others. The paper does not say how the comparisons decide; this rule is our choice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from selfreward.errors import SelfRewardError, amount
from selfreward.recipe import Recipe, held_by
from selfreward.records import NO_FRAME, Checkpoint, Compared, Frame, Prompt, Response, Sampling, digest
from selfreward.rundir import SELECTION, SELECTION_PREFERENCES, SELECTION_RESPONSES, VALIDATION, ModelFolder
from selfreward.steps.cast import Cast
from selfreward.steps.gaps import why_none
from selfreward.steps.pairwise import PairwiseJudge, combine, flip_rate
from selfreward.steps.reasons import of_preferences
from selfreward.steps.responses import Answering
from selfreward.steps.seed import Seed, refuse_known
from selfreward.steps.sources import KeptAndDropped, load_prompts


class Selector(NamedTuple):
    """A rule that chooses one of several checkpoints."""

    every: int
    prompts: list[Prompt]
    judge: Checkpoint
    pairwise: PairwiseJudge
    sampling: Sampling
    frame: Frame = NO_FRAME

    @property
    def identity(self) -> list[object]:
        """Everything beside the checkpoints that the choice depends on."""
        how = [self.pairwise.rubric.text, *self.pairwise.reading, self.pairwise.config.sampling.model_dump()]
        framed = [] if self.frame == NO_FRAME else [list(self.frame)]
        return [self.every, digest(self.prompts), self.judge.fingerprint, *how, self.sampling.model_dump(), *framed]

    def choose(self, folder: ModelFolder, candidates: Sequence[tuple[int, Checkpoint]]) -> int:
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
        folder.keep(SELECTION, (comparisons, []))
        return chosen

    def _answer(self, folder: ModelFolder, step: int, model: Checkpoint) -> list[Response]:
        return list(folder.ask(SELECTION_RESPONSES.at(step), Answering(self.sampling, frame=self.frame), self.prompts, model))

    def _compare(
        self, folder: ModelFolder, step: int, against: int, ours: Sequence[Response], theirs: Sequence[Response]
    ) -> Compared:
        part = SELECTION_PREFERENCES.at(step)
        preferences = list(folder.ask(part, self.pairwise, zip(self.prompts, ours, theirs, strict=True), self.judge))
        count = Counter(comparison.winner for comparison in combine(preferences))
        if count["none"] == len(self.prompts):
            why = of_preferences(preferences, "select.judge")
            now = f"{why.now if why else 'Correct it'}. Then delete {part.name}.* in {folder.path}"
            what = f"decided nothing on {amount(len(self.prompts), 'prompt')}{f' ({why.counts}). {why.example}' if why else ''}"
            raise SelfRewardError(what, self.judge.name, now)
        return Compared(
            step=step, against=against, wins=count["a"], ties=count["tie"], losses=count["b"], undecided=count["none"],
            position_flips=flip_rate(preferences),
        )  # fmt: skip


def load_selector(recipe: Recipe, seed: Seed, cast: Cast, folder: ModelFolder) -> Selector | None:
    """The chooser that `[select]` asks for; None where it is not given. Leaves its prompts, and those dropped, in `folder`.

    Raises `SelfRewardError` as `load_validation` does.
    """
    loaded = load_validation(recipe, seed, cast.outside)
    if recipe.select is None or loaded is None:
        return None
    prompts, judge = folder.keep(VALIDATION, loaded), cast.outside(recipe.select.judge)
    answering = recipe.responses
    return Selector(recipe.select.every, prompts, judge, PairwiseJudge(recipe.pairwise), answering.sampling, answering.frame)


def load_validation(recipe: Recipe, seed: Seed, outside: Callable[[str], Checkpoint]) -> KeptAndDropped[Prompt] | None:
    """The prompts that checkpoints are compared on, and those dropped; None where `[select]` is not given.

    `outside` finds the model that a name in a recipe means. Raises `SelfRewardError` where the judge also measures, or where
    the prompts are trained or measured on.
    """
    config = recipe.select
    if config is None:
        return None
    if recipe.measure.judge and outside(recipe.measure.judge).fingerprint == outside(config.judge).fingerprint:
        what, now = "also measures the models, and would measure its own choice", "Name another"
        raise SelfRewardError(what, f"select.judge ({config.judge})", now)
    with held_by("select.prompts", config.prompts.path):
        prompts, dropped = load_prompts(config.prompts, "validation", recipe.seed, recipe.data.skip_bad_rows)
    if not prompts:
        now = "Give at least one prompt, to compare checkpoints on"
        raise why_none(dropped, "select.prompts").error("has no prompts", config.prompts.path, now)
    refuse_known(prompts, "validation prompts", config.prompts.path, seed)
    return prompts, dropped
