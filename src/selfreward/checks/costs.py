"""What a run will ask, write and train, stage by stage, worked out from its recipe and the size of its seed.

Counts are what a stage has if nothing is dropped on the way there: no more can come, and filters and ties leave fewer.
Lengths are `likely`, about as long as people's texts in the seed, and `most`, where everything runs to its limit.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from selfreward.checks.amounts import Material, Span
from selfreward.checks.shapes import Shape
from selfreward.recipe import ROLES, DPOConfig, Recipe, SamplingConfig, SFTConfig

JUDGMENT = 150
"""Likely tokens of a judgment: the rubrics ask for up to 100 words and a verdict."""


class Asking(NamedTuple):
    """A stage that asks a model."""

    stage: str
    by: str
    """The model as the recipe names it; the base stands for every model of the loop."""
    requests: int
    repeats: int
    """How many requests have one prompt."""
    prompt: Span
    """Tokens of one prompt."""
    completion: Span
    shared: float = 0
    """Tokens that every prompt begins with, a rubric's say."""
    forced: bool = False
    """Whether the completions are given, and only read."""

    @property
    def computed(self) -> float:
        """Prompt tokens that are computed: what all share once, each prompt once for all its samples."""
        return self.shared + self.requests / self.repeats * (self.prompt.likely - self.shared)

    @property
    def reads(self) -> Span:
        """Prompt tokens, a prompt as often as it is sent."""
        return self.prompt.times(self.requests)

    @property
    def writes(self) -> Span:
        """Completion tokens."""
        return self.completion.times(self.requests)

    @property
    def longest(self) -> float:
        """Tokens of the longest request and its completion."""
        return self.prompt.most + self.completion.most


class Training(NamedTuple):
    """A stage that trains."""

    stage: str
    examples: int
    config: SFTConfig | DPOConfig
    sequence: Span
    """Tokens of one sequence, of which a DPO pair has two."""

    @property
    def steps(self) -> int:
        """Optimizer steps."""
        return self.config.steps(self.examples)

    @property
    def sequences(self) -> int:
        """In one example."""
        return 2 if isinstance(self.config, DPOConfig) else 1

    @property
    def reads(self) -> Span:
        """Tokens trained on, all epochs."""
        return self.sequence.times(self.sequences * self.examples * self.config.epochs)

    def candidates(self, recipe: Recipe) -> int:
        """How many checkpoints there are to select from, the last step's among them."""
        return 1 + (self.steps - 1) // recipe.select.every if recipe.select and isinstance(self.config, DPOConfig) else 1


Stage = Asking | Training


def plan(recipe: Recipe, seed: Material) -> list[Stage]:
    """Every stage of a run that asks or trains, in the order in which they run."""
    return list(_Planner(recipe, seed).run())


class _Planner:
    """One run's stages, as `loop.self_reward` goes through them."""

    def __init__(self, recipe: Recipe, seed: Material) -> None:
        self.recipe, self.seed = recipe, seed
        self.answer = _completion(recipe.responses, seed.answer.likely)
        self.judgment = _completion(recipe.judge, JUDGMENT)
        self.measured: list[str] = []

    def run(self) -> Iterator[Stage]:
        recipe, seed = self.recipe, self.seed
        if recipe.measure.base:
            yield from self._measure("M0")
        if recipe.sft.baseline:
            yield Training("SFT/model", seed.ift, recipe.sft, seed.example)
            yield from self._measure("SFT")
            if seed.to_rank and "eft" in recipe.sft.on:
                yield self._judging("seed/eft_judgments", recipe.base, seed.to_rank, recipe.eft.tries, seed.ranked_pair)
        if recipe.sft.on != "none":
            yield self._first("M1/model")
        yield from self._measure("M1")
        yield from self._watch("M1")
        for t in range(2, recipe.iterations + 2):
            yield from self._iterate(t, f"M{t}")
            yield from self._measure(f"M{t}")
            yield from self._watch(f"M{t}")

    def _first(self, stage: str) -> Training:
        """From M0 to M1: the mean and the longest of IFT and EFT."""
        on, seed = self.recipe.sft.on, self.seed
        parts = [(seed.ift, seed.example)] * ("ift" in on) + [(seed.eft, seed.graded)] * ("eft" in on)
        examples = sum(count for count, _ in parts)
        likely = sum(count * span.likely for count, span in parts) / max(examples, 1)
        return Training(stage, examples, self.recipe.sft, Span(likely, max(span.most for _, span in parts)))

    def _iterate(self, t: int, name: str) -> Iterator[Stage]:
        recipe, seed = self.recipe, self.seed
        prompts, text = recipe.prompts.per_iteration, seed.prompt
        if not recipe.prompts.source:
            limit = recipe.prompts.max_tokens  # a writer goes on to the next task, and the next, up to it
            yield Asking(f"{name}/proposed", self._writer, prompts, 1, seed.shots, Span(limit, limit))
            text = Span(min(seed.prompt.likely, limit), limit)
        answers = prompts * recipe.responses.n
        yield Asking(f"{name}/responses", self.recipe.base, answers, recipe.responses.n, text.plus(seed.turn), self.answer)
        pair = text.plus(self.answer)
        samples = recipe.judge.most if len(recipe.judge.rounds) == 1 else 1
        for stage in recipe.judge.rounds:  # all of them in every round, at most
            yield self._judging(f"{name}/{stage}", self._grader, answers, samples, pair)
        if recipe.judged_before(t):
            yield self._judging(f"{name}/judgments_before", recipe.base, answers, recipe.judge.most, pair)
        pairs = prompts * (t - 1 if recipe.pairs.accumulate else 1)
        training = Training(f"{name}/model", pairs, recipe.dpo, pair.plus(seed.turn))
        yield training
        yield from self._select(name, training)

    def _select(self, name: str, training: Training) -> Iterator[Stage]:
        """Every checkpoint compared with the one before it; the first that is not preferred ends it."""
        recipe, seed = self.recipe, self.seed
        candidates = training.candidates(recipe)
        if recipe.select and candidates > 1:
            answers = candidates * seed.validation
            yield Asking(f"{name}/selection_responses", recipe.base, answers, 1, seed.prompt.plus(seed.turn), self.answer)
            yield self._comparing(f"{name}/selection_preferences", recipe.select.judge, (candidates - 1) * seed.validation)

    def _comparing(self, stage: str, by: str, pairs: int) -> Asking:
        """Pairs of answers, each in both orders."""
        compared = self.seed.prompt.plus(self.answer, self.answer, self.seed.pairwise)
        return Asking(stage, by, 2 * pairs, 1, compared, _completion(self.recipe.pairwise, JUDGMENT))

    def _measure(self, name: str) -> Iterator[Stage]:
        recipe, seed = self.recipe, self.seed
        rivals = len({*self.measured[-1:], *({"SFT"} & set(self.measured))})
        yield Asking(f"{name}/heldout_responses", self.recipe.base, seed.heldout, 1, seed.prompt.plus(seed.turn), self.answer)
        if recipe.measure.judging:
            own, samples = seed.prompt.plus(self.answer), recipe.judge.most
            yield self._judging(f"{name}/heldout_judgments", self.recipe.base, (1 + rivals) * seed.heldout, samples, own)
            yield self._judging(f"{name}/ranking_judgments", self.recipe.base, seed.ranked, samples, seed.ranked_pair)
        if recipe.measure.judge and rivals:
            yield self._comparing(f"{name}/heldout_preferences", recipe.measure.judge, rivals * seed.heldout)
        self.measured.append(name)

    def _watch(self, name: str) -> Iterator[Stage]:
        """What the monitors want of a model, as `drift.watch` asks for it."""
        recipe, seed, base, drift, first = self.recipe, self.seed, self.recipe.base, self.recipe.drift, name == "M1"
        if drift is None:
            return
        sample, pool = min(drift.sample, seed.heldout), min(drift.pool, seed.heldout) * recipe.responses.n
        asked, own, samples = seed.prompt.plus(seed.turn), seed.prompt.plus(self.answer), recipe.judge.most
        if first:
            yield Asking(f"{name}/drift_candidates", base, pool, recipe.responses.n, asked, self.answer)
        if seed.anchors:
            yield Asking(f"{name}/anchor_responses", base, seed.anchors, 1, seed.anchor.plus(seed.turn), self.answer)
        yield self._judging(f"{name}/drift_cut", base, sample, samples, seed.prompt.plus(self.answer.times(1 / 2), 1))
        yield self._judging(f"{name}/drift_pool", base, pool, samples, own)
        if seed.anchors:
            answers = seed.anchors * (1 if first else 2)  # M1's too
            yield self._judging(f"{name}/anchor_judgments", base, answers, samples, seed.anchor.plus(self.answer))
        for part in ("own",) if first else ("own", "before", "first"):
            yield Asking(f"{name}/drift_likelihood_{part}", base, sample, 1, asked, self.answer, forced=True)
        frozen = base if drift.frozen in ROLES else drift.frozen
        yield self._judging(f"{name}/drift_frozen", frozen, sample, samples, own)

    def _judging(self, stage: str, by: str, answers: int, samples: int, pair: Span) -> Asking:
        """`samples` judgments of each answer; `pair`: tokens of a prompt and its answer."""
        rubric = self.seed.rubric
        return Asking(stage, by, answers * samples, samples, pair.plus(rubric), self.judgment, rubric if answers else 0)

    @property
    def _writer(self) -> str:
        prompts = self.recipe.prompts
        return prompts.frozen if prompts.by == "frozen" and prompts.frozen else self.recipe.base

    @property
    def _grader(self) -> str:
        return self.recipe.judge.by if self.recipe.judge.by not in ROLES else self.recipe.base


def _completion(sampling: SamplingConfig, likely: float) -> Span:
    return Span(min(likely, sampling.max_tokens), sampling.max_tokens)


class Operations(NamedTuple):
    """Floating-point operations of a stage."""

    at_once: float
    """In products of large matrices: reading prompts, training."""
    by_word: float
    """In products with a few rows, a word of each text at a time."""
    rows: int
    """How many texts are written side by side."""


def operations(stage: Stage, shape: Shape, recipe: Recipe, checkpointing: bool, tokens: int) -> Operations:
    """Those of a stage as it is likely to be, done by a model of `shape`, attention's own left out; `tokens`: held at once.

    A weight is used for two operations per token forward and four backward (Kaplan et al. 2020, arXiv 2001.08361, section
    2.1); frozen, for two fewer. Checkpointing goes forward twice, DPO once more through the reference.
    """
    weights = shape.linear + shape.vocabulary * shape.hidden if shape.layers else shape.parameters
    if isinstance(stage, Training):
        each = (4 if recipe.trainer.lora else 6) + 2 * checkpointing + 2 * isinstance(stage.config, DPOConfig)
        return Operations(each * weights * stage.reads.likely, 0.0, 1)
    if stage.forced:
        return Operations(2 * weights * (stage.computed + stage.writes.likely), 0.0, 1)
    room = tokens // ((stage.prompt.likely - stage.shared) / stage.repeats + stage.completion.most)
    rows = int(max(1, min(room, stage.requests)))
    return Operations(2 * weights * stage.computed, 2 * weights * stage.writes.likely, rows)
