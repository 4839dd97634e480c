"""A recipe: TOML in, one frozen tree out. Unknown fields are refused with the nearest known name.

The defaults are the paper's (arXiv 2401.10020, sections 2 and 3) wherever the paper states one.
"""

from __future__ import annotations

import difflib
import math
import re
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, model_validator

from selfreward.errors import SelfRewardError
from selfreward.records import Sampling

PACKAGED = "selfreward:"
"""A path that begins so lies inside the installed package."""


def _resolve(path: str, info: ValidationInfo) -> str:
    if path.startswith(PACKAGED):
        return str(files("selfreward").joinpath(path.removeprefix(PACKAGED)))
    beside = Path(str((info.context or {}).get("folder", "."))) / path
    return str(beside.resolve()) if beside.exists() else path


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"not a regular expression ({error})") from error
    return pattern


Located = Annotated[str, AfterValidator(_resolve)]
"""A path beside the recipe, `selfreward:` and a path in the package, or (for models) a hub id."""
ImportPath = Annotated[str, Field(pattern=r"^[\w.]+:\w+$")]
"""`package.module:name`."""
Pattern = Annotated[str, AfterValidator(_compiles)]
"""A regular expression."""
Share = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A table of a recipe."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


class SeedConfig(Section):
    """Seed data: people's examples, and what is held out for measuring."""

    ift: Located
    """Examples of following instructions (JSONL of Example)."""
    eft: Located | None = None
    """Examples of judging (JSONL of Example)."""
    heldout_prompts: Located
    """Prompts on which instruction following is measured (JSONL of Prompt); never trained on."""
    heldout_rankings: Located
    """Responses ranked by people, on which judging is measured (JSONL of Ranking)."""


class SamplingConfig(Section):
    """How text is sampled."""

    temperature: float = Field(0.7, ge=0)
    """0 is greedy."""
    top_p: float = Field(0.9, gt=0, le=1)
    """Nucleus: the smallest set of tokens with this much probability."""
    max_tokens: int = Field(1024, ge=1)
    """Longest completion, in tokens."""

    @property
    def sampling(self) -> Sampling:
        """The three together, as a request carries them."""
        return Sampling(temperature=self.temperature, top_p=self.top_p, max_tokens=self.max_tokens)


class BatchConfig(Section):
    """How examples (pairs, in DPO) make up a step, and steps a training."""

    epochs: int = Field(1, ge=1)
    """Passes over the examples; the paper does not say."""
    batch_size: int = Field(16, ge=1)
    """Examples per optimizer step."""
    device_batch_size: int | None = Field(None, ge=1)
    """Examples per forward pass where the batch does not fit in memory at once; must divide `batch_size`."""

    @model_validator(mode="after")
    def _splits_evenly(self) -> Self:
        if self.device_batch_size and self.batch_size % self.device_batch_size:
            raise ValueError(f"device_batch_size {self.device_batch_size} does not divide batch_size {self.batch_size}")
        return self

    @property
    def split(self) -> tuple[int, int]:
        """Examples per forward pass, and forward passes per step."""
        device_batch = self.device_batch_size or self.batch_size
        return device_batch, self.batch_size // device_batch

    def steps(self, examples: int) -> int:
        """Optimizer steps of a training on so many examples."""
        device_batch, accumulate = self.split
        return math.ceil(math.ceil(examples / device_batch) / accumulate) * self.epochs


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
    frozen: Located | None = None
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
    """Drop what starts with a character outside ASCII; turn off for other languages."""
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

    by: str = "current"
    """`current`: M_t judges itself; `frozen`: M1 does; `package.module:name`: a Model of yours."""
    rubric: Located = "selfreward:text/judge_additive.txt"
    """Prompt text with the slots {prompt} and {response}."""
    pattern: Pattern = r"score[\s*]*:[\s*]*(-?\d+(?:[.,]\d+)?)"
    """Where a verdict stands, ignoring case; the last match wins. One group, the score."""
    scale: tuple[float, float] = (0, 5)
    """Lowest and highest score."""
    samples: int = Field(3, ge=1)
    """Judgments per response, averaged."""
    min_valid: int = Field(2, ge=1)
    """Fewer valid ones leave a response unscored."""

    @model_validator(mode="after")
    def _can_score(self) -> Self:
        if re.compile(self.pattern).groups != 1:
            raise ValueError("pattern must have one group, the score")
        if self.scale[0] >= self.scale[1]:
            raise ValueError("scale must go from its lowest score to its highest")
        if self.min_valid > self.samples:
            raise ValueError("min_valid is more than samples, so that nothing would ever have a score")
        return self


class PairsConfig(Section):
    """From scored candidates to preference pairs."""

    policy: ImportPath = "selfreward.pairs:best_against_worst"
    """How the two responses of a pair are chosen."""
    accumulate: bool = False
    """Train on the pairs of all earlier iterations too."""


class MeasureConfig(Section):
    """What is measured of every model; nothing of it flows back into the loop."""

    truth: ImportPath | None = None
    """Where the world has a truth: a function (prompt, response) → (kind of task, points by criterion), or None."""
    judging: bool = True
    """Measure judging too; off, only instruction following is."""
    bootstrap: int = Field(1000, ge=100)
    """Resamples behind every interval."""


class BackendConfig(Section):
    """What samples text."""

    type: Literal["hf", "fake"] = "hf"
    """`hf`: transformers on one device; `fake`: no model at all, for tests."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda`, …"""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """`auto`: bfloat16 on CUDA, float32 elsewhere."""
    max_tokens_in_flight: int = Field(32768, ge=1)
    """Tokens (prompt and longest completion) held in one batch."""


class Recipe(Section):
    """Everything a run depends on."""

    seed: int = 0
    """Every random choice follows from it."""
    base: Located
    """M0: a folder with a transformers causal language model, or a hub id."""
    iterations: int = Field(2, ge=1)
    """Rounds of DPO: 2 gives M2 and M3."""
    keep_checkpoints: bool = False
    """Keep the trainer's checkpoints, needed only for resuming."""
    data: SeedConfig
    """Seed data."""
    sft: SFTConfig = SFTConfig()
    """From M0 to M1."""
    prompts: PromptsConfig = PromptsConfig()
    """New prompts."""
    responses: ResponsesConfig = ResponsesConfig()
    """Candidates."""
    judge: JudgeConfig = JudgeConfig()
    """Judgments."""
    pairs: PairsConfig = PairsConfig()
    """Preference pairs."""
    dpo: DPOConfig = DPOConfig()
    """From M_t to M_{t+1}."""
    measure: MeasureConfig = MeasureConfig()
    """Measurement."""
    backend: BackendConfig = BackendConfig()
    """Sampling engine."""


def load_recipe(path: Path, changes: dict[str, Any] | None = None) -> Recipe:
    """The recipe in a TOML file, with `changes` (dotted field → value) on top. Raises `SelfRewardError`."""
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SelfRewardError(f"cannot be read ({error.strerror})", str(path), "Give the path of a recipe") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SelfRewardError(f"is not TOML ({error})", str(path), "Put that line right") from error
    for dotted, value in (changes or {}).items():
        _set(tree, dotted.split("."), value)
    return read_recipe(tree, str(path), path.parent)


def read_recipe(tree: dict[str, Any], where: str, folder: Path) -> Recipe:
    """The recipe in a tree of built-ins; paths in it are taken from `folder`."""
    try:
        return Recipe.model_validate(tree, context={"folder": str(folder)})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        loc = [str(part) for part in first["loc"]]
        if first["type"] == "extra_forbidden":
            near = difflib.get_close_matches(loc[-1], known_fields(loc[:-1]), n=1, cutoff=0)
            raise SelfRewardError(f"unknown field {'.'.join(loc)}", where, f"Did you mean {near[0]}?") from error
        now = f"It is {first['input']!r}; change it" if first["type"] != "missing" else "Add it"
        raise SelfRewardError(f"{'.'.join(loc)}: {first['msg']}", where, now) from error


def known_fields(section: list[str]) -> list[str]:
    """The names that may stand in a section."""
    model: type[BaseModel] = Recipe
    for name in section:
        model = next(f.annotation for n, f in model.model_fields.items() if name in (n, f.alias))  # type: ignore[assignment]
    return [field.alias or name for name, field in model.model_fields.items()]


def _set(tree: dict[str, Any], path: list[str], value: Any) -> None:
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
        if not isinstance(tree, dict):
            raise SelfRewardError(f"{name} is a field and has none of its own", "--set", f"Set {name} itself, or another field")
    tree[path[-1]] = value
