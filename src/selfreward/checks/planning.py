"""Every stage that a run will ask or train, with its size, worked out from the recipe and the size of its seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from selfreward.checks.amounts import Material, Span
from selfreward.checks.costs import Asking, Stage, Training
from selfreward.recipe import ROLES, Recipe, SamplingConfig
from selfreward.records import number
from selfreward.rundir import (
    ANCHOR_JUDGMENTS,
    ANCHOR_RESPONSES,
    DRIFT_CANDIDATES,
    DRIFT_CUT,
    DRIFT_FROZEN,
    DRIFT_POOL,
    EFT_JUDGMENTS,
    HELDOUT_JUDGMENTS,
    HELDOUT_PREFERENCES,
    HELDOUT_RESPONSES,
    JUDGMENTS,
    JUDGMENTS_BEFORE,
    LIKELIHOOD_BEFORE,
    LIKELIHOOD_FIRST,
    LIKELIHOOD_OWN,
    M1,
    MODEL,
    PROPOSED,
    RANKING_JUDGMENTS,
    RESPONSES,
    SELECTION_PREFERENCES,
    SELECTION_RESPONSES,
    SFT,
    Due,
    Part,
    expected,
    models,
    part_of,
)

JUDGMENT = 150
"""Likely tokens of a judgment: the rubrics ask for up to 100 words and a verdict."""


def plan(recipe: Recipe, seed: Material) -> list[Stage]:
    """Every stage of a run that asks or trains, in the order in which they run."""
    return list(_Planner(recipe, seed).run())


class _Planner:
    """One run's stages in the order of `rundir.layout`, each with its size."""

    def __init__(self, recipe: Recipe, seed: Material) -> None:
        self.recipe, self.seed = recipe, seed
        self.base, self.samples = recipe.base, recipe.judge.most
        self.answer = _completion(recipe.responses, seed.answer.likely)
        self.written = self.answer.plus(recipe.responses.thinking)
        """Tokens of an answer and the thought before it, which no judge reads; the thought as long as it may be."""
        self.judgment = _completion(recipe.judge, JUDGMENT).plus(recipe.judge.thinking)
        self.comparison = _completion(recipe.pairwise, JUDGMENT).plus(recipe.pairwise.thinking)
        self.own = seed.prompt.plus(self.answer)
        """Tokens of a held-out prompt and its answer."""
        self.measured = models(recipe)

    def run(self) -> Iterator[Stage]:
        for due in expected(self.recipe):
            make = MAKING.get(part_of(due.part.name))
            if make and (stage := make(self, due)):
                yield stage

    def _trained(self, due: Due) -> Stage | None:
        """SFT on IFT, or on the mean and the longest of IFT and EFT; DPO on all pairs that there can be."""
        recipe, seed = self.recipe, self.seed
        if due.folder not in (SFT, M1):
            rounds = number(due.folder) - 1 if recipe.pairs.accumulate else 1
            pair = self._prompt.plus(self.written, seed.turn)
            return Training(str(due), recipe.prompts.per_iteration * rounds, recipe.dpo, pair)
        on = "ift" if due.folder == SFT else recipe.sft.on
        parts = [(seed.ift, seed.example)] * ("ift" in on) + [(seed.eft, seed.graded)] * ("eft" in on)
        examples = sum(count for count, _ in parts)
        likely = sum(count * span.likely for count, span in parts) / max(examples, 1)
        return Training(str(due), examples, recipe.sft, Span(likely, max(span.most for _, span in parts)))

    def _made_eft(self, due: Due) -> Stage | None:
        return self._judging(due, self.base, self.seed.to_rank, self.recipe.eft.tries, self.seed.ranked_pair)

    def _proposed(self, due: Due) -> Stage | None:
        prompts = self.recipe.prompts  # a writer goes on to the next task, and the next, up to its limit
        by = prompts.frozen if prompts.by == "frozen" and prompts.frozen else self.base
        limit = Span(prompts.max_tokens, prompts.max_tokens)
        return Asking(str(due), by, prompts.per_iteration, 1, self.seed.shots, limit)

    def _answered(self, due: Due) -> Stage | None:
        n = self.recipe.responses.n
        asked = self._prompt.plus(self.seed.turn)
        return Asking(str(due), self.base, self.recipe.prompts.per_iteration * n, n, asked, self.written)

    def _judged(self, due: Due) -> Stage | None:
        """Judgments of all candidates in every round, at most."""
        by = self.recipe.judge.by if self.recipe.judge.by not in ROLES else self.base
        samples = self.samples if len(self.recipe.judge.rounds) == 1 else 1
        return self._judging(due, by, self._candidates, samples, self._pair)

    def _judged_before(self, due: Due) -> Stage | None:
        return self._judging(due, self.base, self._candidates, self.samples, self._pair)

    def _selected(self, due: Due) -> Stage | None:
        """Answers of every checkpoint; the first that is not preferred to the one before it ends the comparing."""
        answers = self._checkpoints(due) * self.seed.validation
        asked = self.seed.prompt.plus(self.seed.turn)
        return Asking(str(due), self.base, answers, 1, asked, self.written) if self._checkpoints(due) > 1 else None

    def _preferred(self, due: Due) -> Stage | None:
        assert self.recipe.select
        pairs = (self._checkpoints(due) - 1) * self.seed.validation
        return self._comparing(due, self.recipe.select.judge, pairs) if pairs else None

    def _checkpoints(self, due: Due) -> int:
        training = self._trained(due)
        assert isinstance(training, Training)
        return training.candidates(self.recipe)

    def _held_out(self, due: Due) -> Stage | None:
        return Asking(str(due), self.base, self.seed.heldout, 1, self.seed.prompt.plus(self.seed.turn), self.written)

    def _own_judged(self, due: Due) -> Stage | None:
        return self._judging(due, self.base, (1 + self._rivals(due)) * self.seed.heldout, self.samples, self.own)

    def _ranked(self, due: Due) -> Stage | None:
        return self._judging(due, self.base, self.seed.ranked, self.samples, self.seed.ranked_pair)

    def _compared(self, due: Due) -> Stage | None:
        assert self.recipe.measure.judge
        pairs = self._rivals(due) * self.seed.heldout
        return self._comparing(due, self.recipe.measure.judge, pairs) if pairs else None

    def _pooled(self, due: Due) -> Stage | None:
        return Asking(
            str(due), self.base, self._pool, self.recipe.responses.n, self.seed.prompt.plus(self.seed.turn), self.written
        )

    def _anchored(self, due: Due) -> Stage | None:
        return Asking(str(due), self.base, self.seed.anchors, 1, self.seed.anchor.plus(self.seed.turn), self.written)

    def _anchors_judged(self, due: Due) -> Stage | None:
        """Judgments of a model's own answers, and of M1's."""
        answers = self.seed.anchors * (1 if due.folder == M1 else 2)
        return self._judging(due, self.base, answers, self.samples, self.seed.anchor.plus(self.answer))

    def _cut_judged(self, due: Due) -> Stage | None:
        half = self.seed.prompt.plus(self.answer.times(1 / 2), 1)
        return self._judging(due, self.base, self._sample, self.samples, half)

    def _pool_judged(self, due: Due) -> Stage | None:
        return self._judging(due, self.base, self._pool, self.samples, self.own)

    def _likely(self, due: Due) -> Stage | None:
        asked = self.seed.prompt.plus(self.seed.turn)
        return Asking(str(due), self.base, self._sample, 1, asked, self.written, forced=True)

    def _frozen(self, due: Due) -> Stage | None:
        assert self.recipe.drift
        by = self.base if self.recipe.drift.frozen in ROLES else self.recipe.drift.frozen
        return self._judging(due, by, self._sample, self.samples, self.own)

    def _comparing(self, due: Due, by: str, pairs: int) -> Asking:
        """Comparisons of pairs of answers, each in both orders."""
        compared = self.seed.prompt.plus(self.answer, self.answer, self.seed.pairwise)
        return Asking(str(due), by, 2 * pairs, 1, compared, self.comparison)

    def _judging(self, due: Due, by: str, answers: int, samples: int, pair: Span) -> Asking:
        """`samples` judgments of each answer; `pair`: tokens of a prompt and its answer."""
        rubric = self.seed.rubric
        return Asking(str(due), by, answers * samples, samples, pair.plus(rubric), self.judgment, rubric if answers else 0)

    def _rivals(self, due: Due) -> int:
        """How many models a model is compared with: the one before it, and the SFT baseline."""
        before = self.measured[: self.measured.index(due.folder)]
        return len({*before[-1:], *({SFT} & set(before))})

    @property
    def _prompt(self) -> Span:
        """Tokens of a prompt of an iteration."""
        if self.recipe.prompts.source:
            return self.seed.prompt
        limit = self.recipe.prompts.max_tokens
        return Span(min(self.seed.prompt.likely, limit), limit)

    @property
    def _pair(self) -> Span:
        return self._prompt.plus(self.answer)

    @property
    def _candidates(self) -> int:
        return self.recipe.prompts.per_iteration * self.recipe.responses.n

    @property
    def _sample(self) -> int:
        assert self.recipe.drift
        return min(self.recipe.drift.sample, self.seed.heldout)

    @property
    def _pool(self) -> int:
        assert self.recipe.drift
        return min(self.recipe.drift.pool, self.seed.heldout) * self.recipe.responses.n


Making = Callable[[_Planner, Due], Stage | None]
MAKING: dict[Part[Any], Making] = {
    MODEL: _Planner._trained, EFT_JUDGMENTS: _Planner._made_eft, PROPOSED: _Planner._proposed,
    RESPONSES: _Planner._answered, JUDGMENTS: _Planner._judged, JUDGMENTS_BEFORE: _Planner._judged_before,
    SELECTION_RESPONSES: _Planner._selected, SELECTION_PREFERENCES: _Planner._preferred,
    HELDOUT_RESPONSES: _Planner._held_out, HELDOUT_JUDGMENTS: _Planner._own_judged, RANKING_JUDGMENTS: _Planner._ranked,
    HELDOUT_PREFERENCES: _Planner._compared, DRIFT_CANDIDATES: _Planner._pooled, ANCHOR_RESPONSES: _Planner._anchored,
    ANCHOR_JUDGMENTS: _Planner._anchors_judged, DRIFT_CUT: _Planner._cut_judged, DRIFT_POOL: _Planner._pool_judged,
    LIKELIHOOD_OWN: _Planner._likely, LIKELIHOOD_BEFORE: _Planner._likely, LIKELIHOOD_FIRST: _Planner._likely,
    DRIFT_FROZEN: _Planner._frozen,
}  # fmt: skip
"""Parts of a run that ask a model or train one → their size."""


def _completion(sampling: SamplingConfig, likely: float) -> Span:
    return Span(min(likely, sampling.max_tokens), sampling.max_tokens)
