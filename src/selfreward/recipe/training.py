"""Tables of a recipe: trainings. The defaults are those of the paper (arXiv 2401.10020, section 3) wherever it states one."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from selfreward.recipe.data import SourceConfig
from selfreward.recipe.fields import ROLES, Located, ModelName, Pattern, SamplingConfig, Section, Share, off

WISE = 0.15
"""Share of judge pairs above which NVIDIA's operators saw judges give one score to everything (NeMo-Aligner's documentation)."""
NO_MATTER = {"on", "baseline", "checkpoint_every"}
"""Fields of a training's section that change when it runs, and not its result."""


def _consistency_or_a_share(confidence: Any) -> Any:
    """Check the value here, for a union's error lists the complaints of all its kinds."""
    if confidence != "consistency" and not (isinstance(confidence, int | float) and 0 <= confidence <= 1):
        raise ValueError('must be a number from 0 to 1, or "consistency"')
    return confidence


PASS = 2048
"""Tokens of a forward pass on a CPU, padding included, where no number of examples is given."""
Confidence = Annotated[float | Literal["consistency"], BeforeValidator(_consistency_or_a_share)]
NOT_BY_PAIR = {
    "aot": "it sorts the pairs of a forward pass, so the result would depend on the division of a step into passes",
    "aot_unpaired": "it sorts the pairs of a forward pass, so the result would depend on the division of a step into passes",
    "sft": "it learns from no preference: dpo.nll_weight adds it to another loss",
}
"""Losses of TRL that this program does not offer, with the reason."""


def _of_single_pairs(loss: Any) -> Any:
    if isinstance(loss, str) and loss in NOT_BY_PAIR:
        raise ValueError(f"{loss} is left out: {NOT_BY_PAIR[loss]}")
    return loss


Loss = Annotated[
    Literal[
        "sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "apo_zero", "apo_down", "discopop",
        "sigmoid_norm",
    ],
    BeforeValidator(_of_single_pairs),
]  # fmt: skip


class BatchConfig(Section):
    """The division of examples (pairs, in DPO) into steps, and of a training into epochs."""

    epochs: int = Field(1, ge=1)
    """Passes over the examples; the paper does not say."""
    batch_size: int = Field(16, ge=1)
    """Examples per optimizer step."""
    device_batch_size: int | None = Field(None, ge=1)
    """Examples per forward pass; must divide `batch_size`. Those of a step are dealt out by length, so that smaller ones pad
    less. Not given: a quarter of the batch on CUDA, elsewhere as many as have 2,048 tokens if all are as long as the longest."""

    @model_validator(mode="after")
    def _splits_evenly(self) -> Self:
        if self.device_batch_size and self.batch_size % self.device_batch_size:
            raise ValueError(f"device_batch_size {self.device_batch_size} does not divide batch_size {self.batch_size}")
        return self

    def split(self, processes: int = 1, tokens: float | None = None) -> tuple[int, int]:
        """Examples per forward pass, and forward passes per step, in each of `processes` that share every batch.

        `tokens`: the length of the longest example, where it decides. Raises `ValueError` where the batch cannot be shared so.
        """
        share, rest = divmod(self.batch_size, processes)
        most = self.batch_size // 4 if tokens is None else int(PASS // tokens)
        sizes = [size for size in range(1, share + 1) if share % size == 0 and size <= max(self.device_batch_size or most, 1)]
        if rest or (self.device_batch_size and self.device_batch_size not in sizes):
            parts = f" in parts of {self.device_batch_size}" if self.device_batch_size else ""
            raise ValueError(f"batch_size {self.batch_size} cannot be shared evenly by {processes} processes{parts}")
        return max(sizes), share // max(sizes)

    def steps(self, examples: int) -> int:
        """Optimizer steps of a training on so many examples."""
        return math.ceil(examples / self.batch_size) * self.epochs


class LoRAConfig(Section):
    """Low-rank adapters instead of full fine-tuning; merged into the weights when a training ends."""

    rank: int = Field(16, ge=1)
    """Rank of the adapters."""
    alpha: int = Field(32, ge=1)
    """Adapters are scaled by alpha / rank."""
    dropout: Share = 0.05
    """Dropout on an adapter's input."""
    targets: str | tuple[str, ...] = "all-linear"
    """The modules that get an adapter, by peft's names."""
    quantize: Literal["no", "4bit"] = "no"
    """`4bit`: the frozen weights are in NF4 during training (QLoRA, bitsandbytes)."""


class TrainerConfig(Section):
    """The running of a training, whatever it trains."""

    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Arithmetic of the forward pass. `auto`: bfloat16 where the device supports it; weights and optimizer stay float32."""
    gradient_checkpointing: bool | None = None
    """Compute activations twice to hold less of them; not given: on CUDA only."""
    lora: LoRAConfig | None = None
    """Train adapters instead of all weights."""


class SFTConfig(BatchConfig):
    """Supervised fine-tuning of the base: the SFT baseline on IFT, M1 on the data that `on` names."""

    on: Literal["ift+eft", "ift", "eft", "none"] = "ift+eft"
    """The data that M1 is trained on. `none`: M1 is the model that the run starts from."""
    baseline: bool = True
    """Also train the SFT baseline (IFT only), which later models are compared with."""
    answers: Literal["last", "all"] = off("last")
    """The answers of a conversation that are trained: the `last`, or `all` of the assistant's, each after its own prompt."""
    learning_rate: float = Field(5.5e-6, gt=0)
    """Peak learning rate."""
    end_learning_rate: float = Field(1.1e-6, ge=0)
    """Learning rate at the last step of the cosine."""
    epochs: int = Field(3, ge=1)
    """Passes over the examples; the paper does not say."""
    dropout: Share = 0.1
    """Dropout in an architecture that has any."""
    checkpoint_every: int = Field(200, ge=1)
    """Steps between checkpoints to resume from."""


class DPOConfig(BatchConfig):
    """Direct preference optimization of M_t, with M_t itself as the frozen reference."""

    beta: float = Field(0.1, gt=0)
    """Strength of the pull towards the reference."""
    learning_rate: float = Field(1e-6, gt=0)
    """Peak learning rate."""
    end_learning_rate: float = Field(1e-7, ge=0)
    """Learning rate at the last step."""
    nll_weight: float = Field(0.0, ge=0)
    """Weight of the negative log-likelihood of the chosen response beside the DPO loss."""
    loss: Loss = off("sigmoid")
    """The loss of a pair, as TRL names it and computes it: `sigmoid` is DPO, `sppo_hard` SPPO's with certain wins."""
    label_smoothing: Share = off(0.0)
    """ε of `exo_pair` and `robust`: the share of pairs that are thought to be the wrong way round."""
    average: int = off(1)
    """Number of last checkpoints, the end of the training among them, whose mean weights are the trained model; they are
    `checkpoint_every` steps apart. 1: the end alone."""
    confidence: Confidence = off(1.0)
    """Trust in the order of the pairs: C in the loss C·L(chosen, rejected) + (1 − C)·L(rejected, chosen) (CREAM, arXiv
    2410.12735). 1 is DPO. `consistency`: in each iteration (τ + 1) / 2, with τ the mean of Kendall's τ-b between the rankings of
    its candidates by their judge and by the model before that one; 1 while there is no model before, as for M2."""
    thoughts: Literal["trained", "given"] = off("trained")
    """The learning of thoughts where `responses.thinking` is on. `trained`: thought and answer are learnt together, as in Thought
    Preference Optimization (arXiv 2410.10630). `given`: only the answer is learnt, after its sampled thought, which the loss
    passes over. The answer is not trained without its thought: such an answer was never sampled, and the model is never asked so.
    Two answers of a pair then have two contexts, so that the normaliser of DPO's derivation does not cancel: the loss is DPO's,
    its optimum is not."""
    rehearse: int = off(0, ge=0)
    """Examples of EFT that each step reads beside its pairs and learns as SFT does, so that judging is not unlearnt."""
    rehearse_weight: float = off(1.0, gt=0)
    """Weight of their negative log-likelihood, the mean over their tokens, beside the loss of the pairs."""
    dropout: Share = 0.1
    """Dropout in an architecture that has any."""
    checkpoint_every: int = Field(200, ge=1)
    """Steps between checkpoints to resume from."""
    schedule: Literal["iteration", "run"] = off("iteration")
    """The learning rate falls from `learning_rate` to `end_learning_rate` in each `iteration`, or once over the whole `run`: a
    training begins at the rate at which the one before it ended. With both rates alike it stays as it is."""
    optimizer: Literal["fresh", "carried"] = off("fresh")
    """`carried`: each training but the first goes on with the state of AdamW (both moments and the step) that the one before
    it ended with, as one training in several parts would (semi-online DPO, arXiv 2506.21495)."""

    def of_iteration(self, t: int, last: int) -> DPOConfig:
        """The settings that train M_t in a run to M_`last`: with `schedule = "run"`, its part of the one cosine."""
        if self.schedule == "iteration":
            return self
        begin, end = (self._rate((at - 2) / (last - 1)) for at in (t, t + 1))
        return self.model_copy(update={"learning_rate": begin, "end_learning_rate": end})

    def _rate(self, share: float) -> float:
        """The learning rate after this share of the run's trainings."""
        fall = self.learning_rate - self.end_learning_rate
        return self.end_learning_rate + fall * (1 + math.cos(math.pi * share)) / 2

    def assert_goes_with(self, other: TrainerConfig | SelectConfig) -> None:
        """Raises `ValueError` where these settings cannot be combined with `other`."""
        needs = {"dpo.average": self.average > 1, "dpo.optimizer": self.optimizer == "carried"}
        name = next((name for name, wanted in needs.items() if wanted), None)
        if name and isinstance(other, SelectConfig):
            raise ValueError(f"{name} uses the end of a training, and select another checkpoint: leave out select, or {name}")
        if name and isinstance(other, TrainerConfig) and other.lora:
            raise ValueError(f"{name} needs whole weights, and adapters are made anew: leave out trainer.lora, or {name}")

    @property
    def decisive(self) -> dict[str, Any]:
        """The fields that change the trained model, as JSON values; where checkpoints are averaged, their times count too."""
        unimportant = NO_MATTER - {"checkpoint_every"} if self.average > 1 else NO_MATTER
        return self.model_dump(mode="json", exclude=unimportant)

    def averaged(self, pairs: int) -> list[int]:
        """The steps of a training on so many pairs whose weights are averaged, the last one at the end."""
        last = self.steps(pairs)
        return [*range(self.checkpoint_every, last, self.checkpoint_every), last][-self.average :]

    @model_validator(mode="after")
    def _takes_what_the_loss_takes(self) -> Self:
        if self.average < 1:
            raise ValueError("average counts checkpoints: it must be at least 1")
        if self.confidence != 1 and self.loss != "sigmoid":
            raise ValueError(f'confidence works only with loss = "sigmoid": leave out either confidence or loss = "{self.loss}"')
        if self.loss == "exo_pair" and not self.label_smoothing:
            raise ValueError("exo_pair needs a label_smoothing above 0, as TRL does; its paper recommends 0.001")
        if self.label_smoothing and self.loss not in ("exo_pair", "robust"):
            raise ValueError(f"label_smoothing works only with exo_pair and robust: {self.loss} ignores it")
        if self.label_smoothing >= 0.5:
            raise ValueError("label_smoothing must be below 0.5: from 0.5 on the pairs say the opposite, or nothing")
        return self


class SelectConfig(Section):
    """Checkpoint selection: while a DPO training runs, each checkpoint is compared with the one before it (paper, 3.1)."""

    judge: ModelName
    """The judge that compares; neither the model in training nor the judge that measures."""
    prompts: SourceConfig
    """Held-out validation prompts; 253 in the paper."""
    every: int = Field(200, ge=1)
    """Steps from one checkpoint to the next."""

    @model_validator(mode="after")
    def _from_outside(self) -> Self:
        if self.judge in ROLES:
            raise ValueError(f"judge cannot be {self.judge!r}: a model of the loop must not choose among its own checkpoints")
        return self


class JudgePairsConfig(SamplingConfig):
    """Pairs of judgments that the model learns from, in one DPO with its answers (Meta-Rewarding, arXiv 2407.19594).

    Each prompt gives the response whose judgments vary most. The sampling is that of the meta-judge.
    """

    by: Literal["meta", "consensus", "none"] = "meta"
    """The source of the better judgment of a response: `meta`, the judgment that M_t as its own meta-judge finds stronger than
    the others in battles of two; `consensus`, the judgment nearest the mean of all scores, against the farthest. `none`: only
    `replay`."""
    samples: int | None = Field(None, ge=2)
    """Judgments of the response that are compared; those above `judge.samples` are asked for it alone. Not given:
    `judge.samples`."""
    rubric: Located = "selfreward:recipe/rubrics/judge_meta.txt"
    """Prompt text of the meta-judge with the slots {task}, {first} and {second}; scores are cut out of the judgments."""
    pattern: Pattern = r"winner[\s*]*:[\s*]*(first|second)\b"
    """The pattern of the meta-judge's verdict, ignoring case; the last match wins. One group, `first` or `second`."""
    orders: Literal["weighed", "agreeing"] = "weighed"
    """The count of the two orders of a battle. `weighed`: each win by how seldom its place wins; `agreeing`: one win where both
    orders agree, half a win for either where they do not."""
    share: Share = WISE
    """Judge pairs are at most this share of all pairs; above .15 judges were seen to give one score to everything."""
    commonest: Share = 0.4
    """No score of a chosen judgment may be more than this share of the judge pairs."""
    max_characters: int | None = Field(None, ge=1)
    """Pairs whose chosen judgment is longer are dropped; 1,100 and 1,000 in the paper's two rounds."""
    rounds: int | None = Field(None, ge=1)
    """First iterations that teach the judge; 2 of 4 in the paper. Not given: all."""
    replay: int = Field(0, ge=0)
    """Times that M_t judges each of EFT's examples in each iteration; the loss moves away from judgments with another score than
    EFT's."""

    def room(self, candidates: int, pairs: int) -> int:
        """The most of so many pairs of judgments that `share` allows beside so many pairs of answers."""
        share = Fraction(str(self.share))
        return candidates if share == 1 else min(candidates, math.floor(share * pairs / (1 - share)))

    @model_validator(mode="after")
    def _means_something(self) -> Self:
        if re.compile(self.pattern).groups != 1:
            raise ValueError("pattern must have one group, the verdict")
        if self.by == "none" and not self.replay:
            raise ValueError('by = "none" needs replay, which alone teaches the judge then')
        if not self.share:
            raise ValueError("share must be above 0; to train on answers alone, leave out [judge_pairs]")
        return self
