"""Tables of a recipe: trainings. The defaults are those of the paper (arXiv 2401.10020, section 3) wherever it states one."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from selfreward.recipe.data import SourceConfig
from selfreward.recipe.fields import ROLES, ModelName, Section, Share, off

NO_MATTER = {"on", "baseline", "checkpoint_every"}
"""Fields of a training's section that decide when it is done, and not what it gives."""


def _consistency_or_a_share(confidence: Any) -> Any:
    """Checked here, for a union tells what each of its kinds would have liked."""
    if confidence != "consistency" and not (isinstance(confidence, int | float) and 0 <= confidence <= 1):
        raise ValueError('must be a number from 0 to 1, or "consistency"')
    return confidence


Confidence = Annotated[float | Literal["consistency"], BeforeValidator(_consistency_or_a_share)]


class BatchConfig(Section):
    """How examples (pairs, in DPO) make up a step, and steps a training."""

    epochs: int = Field(1, ge=1)
    """Passes over the examples; the paper does not say."""
    batch_size: int = Field(16, ge=1)
    """Examples per optimizer step."""
    device_batch_size: int | None = Field(None, ge=1)
    """Examples per forward pass; must divide `batch_size`. Those of a step are dealt out by length, so that smaller ones pad
    less. Not given: a quarter of the batch."""

    @model_validator(mode="after")
    def _splits_evenly(self) -> Self:
        if self.device_batch_size and self.batch_size % self.device_batch_size:
            raise ValueError(f"device_batch_size {self.device_batch_size} does not divide batch_size {self.batch_size}")
        return self

    @property
    def split(self) -> tuple[int, int]:
        """Examples per forward pass, and forward passes per step."""
        sizes = [size for size in range(1, self.batch_size // 4 + 1) if self.batch_size % size == 0]
        device_batch = self.device_batch_size or max(sizes, default=1)
        return device_batch, self.batch_size // device_batch

    def shared(self, processes: int) -> tuple[int, int]:
        """As `split`, for each of `processes` that share every batch. Raises `ValueError` where they cannot."""
        share, rest = divmod(self.batch_size, processes)
        sizes = [size for size in range(1, self.split[0] + 1) if share % size == 0]
        if rest or (self.device_batch_size and self.device_batch_size not in sizes):
            parts = f" in parts of {self.device_batch_size}" if self.device_batch_size else ""
            raise ValueError(f"batch_size {self.batch_size} cannot be shared evenly by {processes} processes{parts}")
        return max(sizes), share // max(sizes)

    def steps(self, examples: int) -> int:
        """Optimizer steps of a training on so many examples."""
        device_batch, accumulate = self.split
        return math.ceil(math.ceil(examples / device_batch) / accumulate) * self.epochs


class LoRAConfig(Section):
    """Low-rank adapters instead of full fine-tuning; merged into the weights when a training ends."""

    rank: int = Field(16, ge=1)
    """Rank of the adapters."""
    alpha: int = Field(32, ge=1)
    """Adapters are scaled by alpha / rank."""
    dropout: Share = 0.05
    """Dropout on an adapter's input."""
    targets: str | tuple[str, ...] = "all-linear"
    """Which modules get an adapter, as peft names them."""
    quantize: Literal["no", "4bit"] = "no"
    """`4bit`: the frozen weights are held in NF4 while training (QLoRA, bitsandbytes)."""


class TrainerConfig(Section):
    """How a training runs, whatever it trains."""

    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Arithmetic of the forward pass. `auto`: bfloat16 where the device has it; weights and optimizer stay float32."""
    gradient_checkpointing: bool | None = None
    """Compute activations twice to hold less of them; not given: on CUDA only."""
    lora: LoRAConfig | None = None
    """Train adapters instead of all weights."""


class SFTConfig(BatchConfig):
    """Supervised fine-tuning of the base: the SFT baseline on IFT, M1 on what `on` says."""

    on: Literal["ift+eft", "ift", "eft", "none"] = "ift+eft"
    """The data that M1 is trained on. `none`: M1 is the model that the run starts from."""
    baseline: bool = True
    """Also train the SFT baseline (IFT only), which later models are compared with."""
    answers: Literal["last", "all"] = off("last")
    """Of a conversation, the answers that are trained: the `last`, or `all` of the assistant, each after its own prompt."""
    learning_rate: float = Field(5.5e-6, gt=0)
    """Peak learning rate."""
    end_learning_rate: float = Field(1.1e-6, ge=0)
    """Learning rate at the last step of the cosine."""
    epochs: int = Field(3, ge=1)
    """Passes over the examples; the paper does not say."""
    dropout: Share = 0.1
    """Where the architecture has dropout."""
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
    confidence: Confidence = off(1.0)
    """Trust in the order of the pairs: C in the loss C·L(chosen, rejected) + (1 − C)·L(rejected, chosen) (CREAM, arXiv
    2410.12735). 1 is DPO. `consistency`: in each iteration (τ + 1) / 2, with τ the mean of Kendall's τ-b between the rankings of
    its candidates by their judge and by the model before that one; 1 while there is no model before, as for M2."""
    thoughts: Literal["trained", "given"] = off("trained")
    """Where `responses.thinking` is on. `trained`: thought and answer are learnt together, as in Thought Preference Optimization
    (arXiv 2410.10630). `given`: the answer alone, after the thought that it was sampled with, which the loss passes over. It is
    not trained without its thought: such an answer was never sampled, and is not how the model is asked. Two answers of a pair
    then have two contexts, so that the normaliser of DPO's derivation does not cancel: the loss is DPO's, its optimum is not."""
    dropout: Share = 0.1
    """Where the architecture has dropout."""
    checkpoint_every: int = Field(200, ge=1)
    """Steps between checkpoints to resume from."""


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
