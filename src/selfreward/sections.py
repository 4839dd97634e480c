"""The tables of a recipe. The defaults are the paper's (arXiv 2401.10020, sections 2 and 3) wherever it states one."""

from __future__ import annotations

import re
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
)

ADAPTIVE = 3
"""The most samples of an adaptive judge: as many as the paper always draws."""


def _adaptive_or_a_number(samples: Any) -> Any:
    """Checked here, for a union tells what each of its kinds would have liked."""
    if samples != "adaptive" and not (isinstance(samples, int) and samples >= 1):
        raise ValueError('must be an integer, 1 at least, or "adaptive"')
    return samples


Samples = Annotated[int | Literal["adaptive"], BeforeValidator(_adaptive_or_a_number)]
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
    dropout: Share = 0.1
    """Where the architecture has dropout."""
    checkpoint_every: int = Field(200, ge=1)
    """Steps between checkpoints to resume from."""


class PromptsConfig(SamplingConfig):
    """New prompts (paper, section 2.2 and appendix A.5; Self-Instruct's filters)."""

    temperature: float = Field(0.6, ge=0)
    """0 is greedy."""
    by: Literal["frozen", "current"] = "frozen"
    """Who writes them: one named model for the whole run, or M_t."""
    frozen: ModelName | None = None
    """The model that `by = "frozen"` names; the base where it is not given."""
    source: Located | None = Field(None, alias="from")
    """A file of your own prompts (JSONL of Prompt), taken in turn instead of writing new ones."""
    per_iteration: int = Field(5000, ge=1)
    """How many completions are asked of the writer, or prompts taken from `from`, in each iteration."""
    shots_seed: int = Field(6, ge=0)
    """Seed prompts shown to the writer; with the next field's, 8 in all."""
    shots_self: int = Field(2, ge=0)
    """Prompts of earlier iterations shown; the first iteration shows seed prompts in their place."""
    max_rouge_l: Share = 0.7
    """A prompt nearer than this (ROUGE-L F) to a seed or an accepted prompt is dropped."""
    min_words: int = Field(4, ge=1)
    """Shorter ones are dropped."""
    max_words: int = Field(150, ge=1)
    """Longer ones are dropped."""
    ascii_only: bool = True
    """Drop what starts with a character outside ASCII. Turned off, for other languages, ROUGE counts words of any script."""
    unsuited: tuple[str, ...] = (
        "image", "images", "graph", "graphs", "picture", "pictures", "file", "files", "map", "maps", "draw", "plot", "go to",
    )  # fmt: skip
    """A prompt with one of these words is dropped: text alone cannot do it."""
    form: Pattern | None = None
    """A regular expression every prompt must match as a whole, ignoring case; for narrow families of tasks."""


class ResponsesConfig(SamplingConfig):
    """Candidate responses."""

    n: int = Field(4, ge=2)
    """Candidates per prompt."""


class JudgeConfig(SamplingConfig):
    """LLM-as-a-Judge."""

    by: ModelName = "current"
    """`current`: M_t judges itself; `frozen`: M1 does; or a model outside the loop."""
    rubric: Located = "selfreward:text/judge_additive.txt"
    """Prompt text with the slots {prompt} and {response}."""
    pattern: Pattern = r"score[\s*]*:[\s*]*(-?\d+(?:[.,]\d+)?)"
    """Where a verdict stands, ignoring case; the last match wins. One group, the score."""
    scale: tuple[float, float] = (0, 5)
    """Lowest and highest score."""
    read: Literal["sampled", "expected"] = "sampled"
    """A judgment's score: the number that was `sampled`, or the one `expected` in its place, by how likely each point of the
    scale was there. EFT goes by the numbers in its texts."""
    samples: Samples = 3
    """Judgments per response, averaged. `adaptive`: one of every candidate, then more where best or worst is undecided, up to
    3; what is measured is always judged 3 times."""
    min_valid: int = Field(2, ge=1)
    """Fewer valid ones leave a response unscored; of a response that was asked for less often, all must be valid."""

    @property
    def most(self) -> int:
        """Judgments of one response, at most."""
        return ADAPTIVE if self.samples == "adaptive" else self.samples

    @property
    def rounds(self) -> tuple[str, ...]:
        """The stages by which candidates are judged, in their order."""
        later = range(2, self.most + 1) if self.samples == "adaptive" else ()
        return ("judgments", *(f"judgments_{number}" for number in later))

    @model_validator(mode="after")
    def _can_expect(self) -> Self:
        if self.read == "expected" and not {*self.scale} <= {*range(10)}:
            raise ValueError('read = "expected" needs a scale of single digits, 0 to 9: each point must be one token')
        return self

    @model_validator(mode="after")
    def _can_score(self) -> Self:
        if re.compile(self.pattern).groups != 1:
            raise ValueError("pattern must have one group, the score")
        if self.scale[0] >= self.scale[1]:
            raise ValueError("scale must go from its lowest score to its highest")
        if self.min_valid > self.most:
            raise ValueError("min_valid is more than samples, so that nothing would ever have a score")
        return self


class PairsConfig(Section):
    """From scored candidates to preference pairs."""

    policy: ImportPath = "selfreward.pairs:best_against_worst"
    """How the two responses of a pair are chosen."""
    accumulate: bool = False
    """Train on the pairs of all earlier iterations too."""


class PairwiseConfig(SamplingConfig):
    """How a judge compares two answers, always in both orders: where they disagree it is a tie (paper, section 3.1)."""

    rubric: Located = "selfreward:text/judge_pairwise.txt"
    """Prompt text with the slots {prompt}, {first} and {second}."""
    pattern: Pattern = r"verdict[\s*]*:[\s*]*(first|second|tie)\b"
    """Where a verdict stands, ignoring case; the last match wins. One group: `first`, `second` or `tie`."""
    temperature: float = Field(0.0, ge=0)
    """0 is greedy."""

    @model_validator(mode="after")
    def _one_group(self) -> Self:
        if re.compile(self.pattern).groups != 1:
            raise ValueError("pattern must have one group, the verdict")
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
    judging: bool = True
    """Measure judging too; off, only instruction following is."""
    bootstrap: int = Field(1000, ge=100)
    """Resamples behind every interval."""
