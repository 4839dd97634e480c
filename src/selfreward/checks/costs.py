"""Sizes of stages that ask and train, and their operations.

Counts are those of a run in which nothing is dropped, the most there can be; filters and ties leave fewer. Lengths are
`likely`, about as long as people's texts in the seed, and `most`, where everything runs to its limit.
"""

from __future__ import annotations

from typing import NamedTuple

from selfreward.checks.amounts import Span
from selfreward.checks.shapes import Shape
from selfreward.recipe import DPOConfig, Recipe, SFTConfig


class AskingStage(NamedTuple):
    """A stage that asks a model."""

    stage: str
    by: str
    """The model as the recipe names it; the base stands for every model of the loop."""
    requests: int
    repeats: int
    """Requests with the same prompt."""
    prompt: Span
    """Tokens of one prompt."""
    completion: Span
    shared: float = 0
    """Tokens that every prompt begins with, such as a rubric's."""
    forced: bool = False
    """True if the completions are given, and only read."""

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


class TrainingStage(NamedTuple):
    """A stage that trains."""

    stage: str
    examples: int
    config: SFTConfig | DPOConfig
    sequence: Span
    """Tokens of one sequence, of which a DPO pair has two."""
    twice: float = 0
    """Tokens that both sequences of a pair begin with."""
    rehearsed: Span = Span(0, 0)
    """Tokens of the examples that a step of DPO rehearses."""

    @property
    def steps(self) -> int:
        """Optimizer steps."""
        return self.config.steps(self.examples)

    @property
    def sequences(self) -> int:
        """Sequences in one example."""
        return 2 if isinstance(self.config, DPOConfig) else 1

    @property
    def reads(self) -> Span:
        """Tokens trained on, all epochs."""
        return self.sequence.times(self.sequences * self.examples * self.config.epochs).plus(self.rehearsed.times(self.steps))

    def computed(self, cuda: bool) -> float:
        """Tokens that are computed in all epochs; on a CPU both sequences of a pair go on from one beginning."""
        return self.reads.likely - (0 if cuda else self.twice * self.examples * self.config.epochs)

    def candidates(self, recipe: Recipe) -> int:
        """The number of checkpoints to select from, or to average, with the last step's."""
        if not isinstance(self.config, DPOConfig):
            return 1
        return 1 + (self.steps - 1) // recipe.select.every if recipe.select else len(self.config.averaged(self.examples))


Stage = AskingStage | TrainingStage


class Operations(NamedTuple):
    """Floating-point operations of a stage."""

    at_once: float
    """Operations in products of large matrices: reading prompts, training."""
    by_word: float
    """Operations in products with a few rows: one token of each text at a time."""
    rows: int
    """The number of texts written side by side."""


def operations(stage: Stage, shape: Shape, recipe: Recipe, checkpointing: bool, tokens: int, cuda: bool) -> Operations:
    """Operations of a stage of likely size by a model of `shape`, attention's own left out; `tokens`: held at once.

    `cuda`: whether trainings are on a GPU.

    A weight is used for two operations per token forward and four backward (Kaplan et al. 2020, arXiv 2001.08361, section
    2.1); frozen, for two fewer. Checkpointing goes forward twice, DPO once more through the reference.
    """
    weights = shape.linear + shape.vocabulary * shape.hidden if shape.layers else shape.parameters
    if isinstance(stage, TrainingStage):
        per_weight = (4 if recipe.trainer.lora else 6) + 2 * checkpointing + 2 * isinstance(stage.config, DPOConfig)
        return Operations(per_weight * weights * stage.computed(cuda), 0.0, 1)
    if stage.forced:
        return Operations(2 * weights * (stage.computed + stage.writes.likely), 0.0, 1)
    room = tokens // ((stage.prompt.likely - stage.shared) / stage.repeats + stage.completion.most)
    rows = int(max(1, min(room, stage.requests)))
    return Operations(2 * weights * stage.computed, 2 * weights * stage.writes.likely, rows)
