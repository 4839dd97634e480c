"""Every stage that a run will ask or train, with its size, worked out from the recipe and the size of its seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from selfreward.checks.amounts import Material, Span
from selfreward.checks.costs import AskingStage, Stage, TrainingStage
from selfreward.recipe import ROLES, Recipe, SamplingConfig
from selfreward.records import number
from selfreward.rundir import (
    AHEAD,
    ANCHOR_JUDGMENTS,
    ANCHOR_RESPONSES,
    CHANGED_PROMPTS,
    DRIFT_CANDIDATES,
    DRIFT_CUT,
    DRIFT_FROZEN,
    DRIFT_POOL,
    EFT_JUDGMENTS,
    EFT_REPLAYED,
    HELDOUT_JUDGMENTS,
    HELDOUT_PREFERENCES,
    HELDOUT_RESPONSES,
    JUDGMENTS,
    JUDGMENTS_ADDED,
    JUDGMENTS_BEFORE,
    LIKELIHOOD_BEFORE,
    LIKELIHOOD_FIRST,
    LIKELIHOOD_OWN,
    LIKELIHOODS,
    LIKELIHOODS_BEFORE,
    LIKELIHOODS_M1,
    M1,
    META_JUDGMENTS,
    MODEL,
    PREFERENCES,
    PROPOSED,
    RANKING_JUDGMENTS,
    RESPONSES,
    SELECTION_PREFERENCES,
    SELECTION_RESPONSES,
    SFT,
    WORSE_RESPONSES,
    Part,
    PlannedPart,
    expected,
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
        self.measured = [planned.folder for planned in expected(recipe) if planned.part is HELDOUT_RESPONSES]

    def run(self) -> Iterator[Stage]:
        for planned in expected(self.recipe):
            make = MAKING.get(part_of(planned.part.name))
            if make and (stage := make(self, planned)):
                yield stage

    def _trained(self, planned: PlannedPart) -> Stage | None:
        """SFT on IFT, or on the mean and the longest of IFT and EFT; DPO on all pairs that there can be."""
        recipe, seed = self.recipe, self.seed
        if planned.folder not in (SFT, M1):
            t, all_before = number(planned.folder), recipe.pairs.accumulate and planned.part is MODEL
            rounds = range(2 if all_before else t, t + 1)
            pairs, prompt = recipe.prompts.per_iteration * len(rounds), self._prompt.likely
            sequence = self._prompt.plus(self.written, seed.turn)
            if planned.part is MODEL and (taught := sum(map(recipe.teaches_judging, rounds))):
                pairs, sequence, prompt = self._with_judgments(pairs, taught, sequence)
            number_rehearsed = recipe.dpo.rehearse if planned.part is MODEL and seed.eft else 0
            return TrainingStage(str(planned), pairs, recipe.dpo, sequence, prompt, seed.graded.times(number_rehearsed))
        on = "ift" if planned.folder == SFT else recipe.sft.on
        parts = [(seed.ift, seed.example)] * ("ift" in on) + [(seed.eft, seed.graded)] * ("eft" in on)
        examples = sum(count for count, _ in parts)
        likely = sum(count * span.likely for count, span in parts) / max(examples, 1)
        return TrainingStage(str(planned), examples, recipe.sft, Span(likely, max(span.most for _, span in parts)))

    def _with_judgments(self, pairs: int, rounds: int, sequence: Span) -> tuple[int, Span, float]:
        """Pairs, and the tokens of a sequence and of its prompt, with as many pairs of judgments as `rounds` may add."""
        assert self.recipe.judge_pairs
        config, each = self.recipe.judge_pairs, self.recipe.prompts.per_iteration
        candidates = each * (config.by != "none") + self.seed.eft * bool(config.replay)
        added = rounds * config.room(candidates, each)
        asked = self._pair.plus(self.seed.rubric)
        judged = asked.plus(self.judgment, self.seed.turn)
        likely = (pairs * sequence.likely + added * judged.likely) / (pairs + added)
        prompt = (pairs * self._prompt.likely + added * asked.likely) / (pairs + added)
        return pairs + added, Span(likely, max(sequence.most, judged.most)), prompt

    def _made_eft(self, planned: PlannedPart) -> Stage | None:
        return self._judging(planned, self.base, self.seed.to_rank, self.recipe.eft.tries, self.seed.ranked_pair)

    def _changed(self, planned: PlannedPart) -> Stage | None:
        """A changed prompt for each ranking of two; the text that asks for it is about as long as the rubric for comparing."""
        prompt = self.seed.prompt.plus(self.seed.pairwise)
        written = Span(self.seed.prompt.likely, self.recipe.prompts.max_tokens)
        return AskingStage(str(planned), self.base, self.seed.to_rank // 2, 1, prompt, written)

    def _worse(self, planned: PlannedPart) -> Stage | None:
        return AskingStage(str(planned), self.base, self.seed.to_rank // 2, 1, self.seed.prompt.plus(self.seed.turn), self.answer)

    def _proposed(self, planned: PlannedPart) -> Stage | None:
        prompts = self.recipe.prompts  # a writer goes on to the next task, and the next, up to its limit
        by = prompts.frozen if prompts.by == "frozen" and prompts.frozen else self.base
        limit = Span(prompts.max_tokens, prompts.max_tokens)
        return AskingStage(str(planned), by, prompts.per_iteration, 1, self.seed.shots, limit)

    def _answered(self, planned: PlannedPart) -> Stage | None:
        n = self.recipe.responses.n
        prompt = self._prompt.plus(self.seed.turn)
        return AskingStage(str(planned), self.base, self.recipe.prompts.per_iteration * n, n, prompt, self.written)

    def _judged(self, planned: PlannedPart) -> Stage | None:
        """Judgments of all candidates in every round, at most."""
        judge = self.recipe.judge
        named = judge.judges[judge.rounds.index(planned.part.name)] if len(judge.judges) > 1 else judge.judges[0]
        by, samples = self.base if named in ROLES else named, 1 if judge.samples == "adaptive" else self.samples
        return self._judging(planned, by, round(self._candidates * self.seed.judged), samples, self._pair)

    def _candidates_compared(self, planned: PlannedPart) -> Stage | None:
        """Each candidate against each other one to its prompt."""
        named, n = self.recipe.judge.judges[0], self.recipe.responses.n
        pairs = self.recipe.prompts.per_iteration * n * (n - 1) // 2
        compared = self._prompt.plus(self.answer, self.answer, self.seed.pairwise)
        return self._comparing(planned, self.base if named in ROLES else named, pairs, compared)

    def _candidates_likely(self, planned: PlannedPart) -> Stage | None:
        prompt = self._prompt.plus(self.seed.turn)
        return AskingStage(str(planned), self.base, self._candidates, 1, prompt, self.answer, forced=True)

    def _judged_before(self, planned: PlannedPart) -> Stage | None:
        return self._judging(planned, self.base, self._candidates, self.samples, self._pair)

    def _judged_more(self, planned: PlannedPart) -> Stage | None:
        """Further judgments of one response of each prompt."""
        assert self.recipe.judge_pairs
        more = (self.recipe.judge_pairs.samples or 0) - self.samples
        return self._judging(planned, self.base, self.recipe.prompts.per_iteration, more, self._pair)

    def _meta_judged(self, planned: PlannedPart) -> Stage | None:
        """Each judgment of one response of each prompt against each other one, in both orders, at most."""
        assert self.recipe.judge_pairs
        config = self.recipe.judge_pairs
        k = config.samples or self.samples
        prompt = self._pair.plus(self.seed.rubric, self.judgment, self.judgment, self.seed.meta)
        requests = self.recipe.prompts.per_iteration * k * (k - 1)
        return AskingStage(str(planned), self.base, requests, 1, prompt, _completion(config, JUDGMENT))

    def _replayed(self, planned: PlannedPart) -> Stage | None:
        assert self.recipe.judge_pairs
        prompt = Span(max(self.seed.graded.likely - self.judgment.likely, 0), self.seed.graded.most)
        samples = self.recipe.judge_pairs.replay
        return AskingStage(str(planned), self.base, self.seed.eft * samples, samples, prompt, self.judgment)

    def _selected(self, planned: PlannedPart) -> Stage | None:
        """Answers of every checkpoint; the first that is not preferred to the one before it ends the comparing."""
        answers = self._checkpoints(planned) * self.seed.validation
        prompt = self.seed.prompt.plus(self.seed.turn)
        return AskingStage(str(planned), self.base, answers, 1, prompt, self.written) if self._checkpoints(planned) > 1 else None

    def _preferred(self, planned: PlannedPart) -> Stage | None:
        assert self.recipe.select
        pairs = (self._checkpoints(planned) - 1) * self.seed.validation
        return self._comparing(planned, self.recipe.select.judge, pairs) if pairs else None

    def _checkpoints(self, planned: PlannedPart) -> int:
        training = self._trained(planned)
        assert isinstance(training, TrainingStage)
        return training.candidates(self.recipe)

    def _held_out(self, planned: PlannedPart) -> Stage | None:
        return AskingStage(str(planned), self.base, self.seed.heldout, 1, self.seed.prompt.plus(self.seed.turn), self.written)

    def _own_judged(self, planned: PlannedPart) -> Stage | None:
        return self._judging(planned, self.base, (1 + self._rivals(planned)) * self.seed.heldout, self.samples, self.own)

    def _ranked(self, planned: PlannedPart) -> Stage | None:
        return self._judging(planned, self.base, self.seed.ranked, self.samples, self.seed.ranked_pair)

    def _compared(self, planned: PlannedPart) -> Stage | None:
        assert self.recipe.measure.judge
        pairs = self._rivals(planned) * self.seed.heldout
        return self._comparing(planned, self.recipe.measure.judge, pairs) if pairs else None

    def _pooled(self, planned: PlannedPart) -> Stage | None:
        return AskingStage(
            str(planned), self.base, self._pool, self.recipe.responses.n, self.seed.prompt.plus(self.seed.turn), self.written
        )

    def _anchored(self, planned: PlannedPart) -> Stage | None:
        return AskingStage(str(planned), self.base, self.seed.anchors, 1, self.seed.anchor.plus(self.seed.turn), self.written)

    def _anchors_judged(self, planned: PlannedPart) -> Stage | None:
        """Judgments of a model's own answers, and of M1's."""
        answers = self.seed.anchors * (1 if planned.folder == M1 else 2)
        return self._judging(planned, self.base, answers, self.samples, self.seed.anchor.plus(self.answer))

    def _cut_judged(self, planned: PlannedPart) -> Stage | None:
        half = self.seed.prompt.plus(self.answer.times(1 / 2), 1)
        return self._judging(planned, self.base, self._sample, self.samples, half)

    def _pool_judged(self, planned: PlannedPart) -> Stage | None:
        return self._judging(planned, self.base, self._pool, self.samples, self.own)

    def _likely(self, planned: PlannedPart) -> Stage | None:
        prompt = self.seed.prompt.plus(self.seed.turn)
        return AskingStage(str(planned), self.base, self._sample, 1, prompt, self.written, forced=True)

    def _frozen(self, planned: PlannedPart) -> Stage | None:
        assert self.recipe.drift
        by = self.base if self.recipe.drift.frozen in ROLES else self.recipe.drift.frozen
        return self._judging(planned, by, self._sample, self.samples, self.own)

    def _comparing(self, planned: PlannedPart, by: str, pairs: int, compared: Span | None = None) -> AskingStage:
        """Comparisons of pairs of answers, each in both orders; `compared`: tokens of one, if not of a held-out prompt's."""
        compared = compared or self.seed.prompt.plus(self.answer, self.answer, self.seed.pairwise)
        return AskingStage(str(planned), by, 2 * pairs, 1, compared, self.comparison)

    def _judging(self, planned: PlannedPart, by: str, answers: int, samples: int, pair: Span) -> AskingStage:
        """`samples` judgments of each answer; `pair`: tokens of a prompt and its answer."""
        rubric = self.seed.rubric
        return AskingStage(
            str(planned), by, answers * samples, samples, pair.plus(rubric), self.judgment, rubric if answers else 0
        )

    def _rivals(self, planned: PlannedPart) -> int:
        """The number of models that a model is compared with: the model before it, and the SFT baseline."""
        before = self.measured[: self.measured.index(planned.folder)]
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


Making = Callable[[_Planner, PlannedPart], Stage | None]
MAKING: dict[Part[Any], Making] = {
    MODEL: _Planner._trained, AHEAD: _Planner._trained, CHANGED_PROMPTS: _Planner._changed, WORSE_RESPONSES: _Planner._worse,
    EFT_JUDGMENTS: _Planner._made_eft, PROPOSED: _Planner._proposed,
    RESPONSES: _Planner._answered, JUDGMENTS: _Planner._judged, PREFERENCES: _Planner._candidates_compared,
    LIKELIHOODS: _Planner._candidates_likely, LIKELIHOODS_BEFORE: _Planner._candidates_likely,
    LIKELIHOODS_M1: _Planner._candidates_likely,
    JUDGMENTS_ADDED: _Planner._judged_more, META_JUDGMENTS: _Planner._meta_judged, EFT_REPLAYED: _Planner._replayed,
    JUDGMENTS_BEFORE: _Planner._judged_before,
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
