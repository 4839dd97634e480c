"""The tables of a recipe. The defaults are the paper's (arXiv 2401.10020, sections 2 and 3) wherever it states one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from selfreward.fields import (
    ROLES,
    BatchConfig,
    ImportPath,
    Located,
    ModelName,
    Pattern,
    SamplingConfig,
    Section,
    Share,
    catches,
    off,
)


def _consistency_or_a_share(confidence: Any) -> Any:
    """Checked here, for a union tells what each of its kinds would have liked."""
    if confidence != "consistency" and not (isinstance(confidence, int | float) and 0 <= confidence <= 1):
        raise ValueError('must be a number from 0 to 1, or "consistency"')
    return confidence


Confidence = Annotated[float | Literal["consistency"], BeforeValidator(_consistency_or_a_share)]
ColumnName = Literal[
    "prompt", "response", "responses", "ranks", "scores", "text", "rank", "score", "messages", "role", "content",
    "instruction", "input", "output",
]  # fmt: skip


class SourceConfig(Section):
    """Where rows come from, and what shape they have. A path alone stands for `{ path = … }`."""

    path: Located
    """A file (.jsonl, .json, .parquet; also .gz), or a dataset by hub id or folder, read through `datasets`."""
    format: Literal["records", "oasst", "messages", "alpaca", "columns"] = "records"
    """Rows as this program writes them; Open Assistant message trees; chat `messages`; Alpaca's fields; or named `columns`."""
    columns: dict[ColumnName, str] = Field({})
    """Our name for a column, or for a part of an object in it → the rows' own, where that is another."""
    subset: str | None = None
    """Of a dataset, the configuration."""
    split: str = "train"
    """Of a dataset, the split."""
    language: str | None = None
    """Open Assistant: only trees in this language (`en` in the paper)."""
    limit: int | None = Field(None, ge=1)
    """At most so many, drawn by the run's seed; 3,200 IFT examples in the paper. Of IFT and `rankings`, so many of what is left
    when prompts that are measured on, and for `rankings` those of IFT, are taken out."""

    @model_validator(mode="before")
    @classmethod
    def _path_alone(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _of_use(self) -> Self:
        if self.language and self.format != "oasst":
            raise ValueError('language is for format = "oasst" alone: other rows do not tell theirs')
        if self.columns and self.format in ("records", "oasst"):
            raise ValueError(f"columns have no meaning for {self.format}, whose names are fixed")
        return self


class SeedConfig(Section):
    """Seed data: people's examples, and what is held out for measuring."""

    ift: SourceConfig
    """Examples of following instructions."""
    eft: SourceConfig | None = None
    """Examples of judging, ready made."""
    rankings: SourceConfig | None = None
    """Responses ranked by people, from which the SFT baseline makes EFT and its held-out part (`[eft]`)."""
    heldout_prompts: SourceConfig | None = None
    """Prompts on which instruction following is measured; never trained on. Not given: split from `ift`."""
    heldout_rankings: SourceConfig | None = None
    """Responses ranked by people, on which judging is measured. Not given: split from `rankings`."""
    heldout: int = Field(256, ge=1)
    """How many prompts are split from `ift` where `heldout_prompts` is not given; the paper tests on 256."""
    skip_bad_rows: bool = False
    """Count and list rows that do not fit their format, where they would be an error."""

    @model_validator(mode="after")
    def _one_eft(self) -> Self:
        if self.eft and self.rankings:
            raise ValueError("give eft or rankings, of which it is made, and not both; to measure on, give heldout_rankings")
        return self


class EFTConfig(Section):
    """How EFT is made of people's rankings (paper, section 2.1 and 3.1)."""

    tries: int = Field(4, ge=1)
    """Judgments that the SFT baseline writes of each response; the paper does not say."""
    agree: Literal["one", "mean"] = "one"
    """What must rank a prompt's responses as people did: `one` of the tries as a whole, or the `mean` of all."""
    commonest: Share = 0.4
    """The commonest score is thinned out to at most this share of the examples; the paper does not say."""
    heldout: Share = 0.25
    """Share of the ranked prompts kept for measuring where `data.heldout_rankings` is not given; 541 of 2,171 responses in
    the paper."""


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
    """What M1 is trained on. `none`: M1 is the model that the run starts from."""
    baseline: bool = True
    """Also train the SFT baseline (IFT only), which later models are compared with."""
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
    """How far the order of the pairs is trusted: C in the loss C·L(chosen, rejected) + (1 − C)·L(rejected, chosen) (CREAM, arXiv
    2410.12735). 1 is DPO. `consistency`: in each iteration (τ + 1) / 2, with τ the mean of Kendall's τ-b between the rankings of
    its candidates by their judge and by the model before that one; 1 while there is no model before, as for M2."""
    dropout: Share = 0.1
    """Where the architecture has dropout."""
    checkpoint_every: int = Field(200, ge=1)
    """Steps between checkpoints to resume from."""


FIRST_SECOND_TIE = ("first", "second", "tie")


def label_name(label: str) -> str:
    """A verdict's word without case and without what stands around it."""
    return " ".join(label.casefold().strip(" \t\n*_()[]{}\"'“”‘’`.,:;!（）【】：。").split())


def _pattern_for(labels: Sequence[str]) -> str:
    ordered = sorted((label.strip() for label in labels), key=len, reverse=True)
    words = "|".join(r"\s+".join(map(re.escape, label.split())) for label in ordered)
    bracketed = all(re.fullmatch(r"\W.*\W", label) for label in ordered)
    return f"({words})" if bracketed else rf"verdict[\s*]*:[\s*(\[\"'“]*({words})(?!\w)"


class PairwiseConfig(SamplingConfig):
    """How a judge compares two answers, always in both orders: where they disagree it is a tie (paper, section 3.1)."""

    rubric: Located = "selfreward:text/judge_pairwise.txt"
    """Prompt text with the slots {prompt}, {first} and {second}."""
    pattern: Pattern = r"verdict[\s*]*:[\s*]*(first|second|tie)\b"
    """Where a verdict stands, ignoring case; the last match wins. One group, one of the `labels`. Not given and labels are: the
    labels in this form, or, where they bring brackets of their own (`[[A]]`), alone."""
    labels: tuple[str, str, str] = off(FIRST_SECOND_TIE)
    """How the rubric names the first answer, the second and a tie; case, and brackets or quotes around it, change nothing."""
    temperature: float = Field(0.0, ge=0)
    """0 is greedy."""

    @model_validator(mode="after")
    def _one_group(self) -> Self:
        if re.compile(self.pattern).groups != 1:
            raise ValueError("pattern must have one group, the verdict")
        return self

    @model_validator(mode="before")
    @classmethod
    def _pattern_of_labels(cls, given: Any) -> Any:
        labels = given.get("labels") if isinstance(given, dict) and "pattern" not in given else None
        if isinstance(labels, list | tuple) and labels and all(isinstance(label, str) for label in labels):
            return {**given, "pattern": _pattern_for(labels)}
        return given

    @model_validator(mode="after")
    def _can_decide(self) -> Self:
        names = [label_name(label) for label in self.labels]
        if len({*names}) < 3 or not all(names):
            raise ValueError(f"labels must be three that differ, but for brackets and case: {', '.join(self.labels)}")
        for label, name in zip(self.labels[:2], names, strict=False):
            written = (label, name, f"[[{name}]]", f"[{name}]", f"({name})")
            if not catches(self.pattern, written):
                raise ValueError(f"pattern can never name {label!r}: its group does not catch it (labels says what it may be)")
        return self


class SelectConfig(Section):
    """Checkpoint selection: while a DPO training runs, each checkpoint is compared with the one before it (paper, 3.1)."""

    judge: ModelName
    """Who compares; neither the model in training nor the judge that measures."""
    prompts: SourceConfig
    """Held-out validation prompts; 253 in the paper."""
    every: int = Field(200, ge=1)
    """Steps from one checkpoint to the next."""

    @model_validator(mode="after")
    def _from_outside(self) -> Self:
        if self.judge in ROLES:
            raise ValueError(f"judge cannot be {self.judge!r}: a model of the loop must not choose among its own checkpoints")
        return self


class MeasureConfig(Section):
    """What is measured of every model; nothing of it flows back into the loop."""

    truth: ImportPath | None = None
    """Where the world has a truth: a function (prompt, response) → (kind of task, points by criterion), or None."""
    judge: ModelName | None = None
    """Who compares every model's held-out answers with its rivals', pairwise; no one where not given."""
    base: bool = True
    """Measure M0 too."""
    judging: bool = True
    """Measure judging too; off, only instruction following is."""
    bootstrap: int = Field(1000, ge=100)
    """Resamples behind every interval."""
