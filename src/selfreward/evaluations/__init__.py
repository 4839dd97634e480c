"""Evaluations of one model: what all kinds share, and what they leave (`result.json`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

from pydantic import Field

from selfreward.charts import two
from selfreward.engines import BackendConfig, ServerConfig
from selfreward.errors import SelfRewardError
from selfreward.estimates import Estimate
from selfreward.fields import ModelName, SamplingConfig, Section
from selfreward.identified import Identified, Record
from selfreward.jsonl import read_line
from selfreward.records import Checkpoint, Prompt, Response
from selfreward.responses import plan_responses, read_response
from selfreward.sections import SourceConfig
from selfreward.sources import Kept
from selfreward.stages import Folder

T = TypeVar("T", bound=Identified)
FOLDER, RESULT = "evaluations", "result.json"
"""Beside a model, a folder for each evaluation, with its result."""


class Figure(Record):
    """A figure, the ends of its 95 % interval where it has one, and of how many items it is."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    n: int

    @classmethod
    def of(cls, name: str, estimate: Estimate | None, n: int, times: float = 1.0) -> list[Self]:
        """`times` an estimate as a figure; an empty list where there is no estimate."""
        if estimate is None:
            return []
        value, low, high = (times * end for end in (estimate.value, estimate.low, estimate.high))
        return [cls(name=name, value=value, low=low, high=high, n=n)]

    @property
    def estimate(self) -> Estimate:
        """For drawing: a point where there is no interval."""
        low, high = (self.value if end is None else end for end in (self.low, self.high))
        return Estimate(value=self.value, low=low, high=high)

    def __str__(self) -> str:
        interval = "" if self.low is None or self.high is None else f" ({two(self.low)} to {two(self.high)})"
        return f"{self.name} {two(self.value)}{interval}, n = {self.n:,}"


class Found(Record):
    """What an evaluation finds."""

    prompts_digest: str
    """A hash of the prompts."""
    rubric_digest: str = ""
    """A hash of the judge's prompt."""
    figures: list[Figure]
    outcomes: dict[str, int] = Field({})
    """What became of the judge's answers, by name; a failed one is in no figure. `no_answer`: not asked, for a model's answer
    had failed."""
    note: str
    """What the figures may be compared with, and what not."""
    breakdown: dict[str, list[Figure]] = Field({})
    """What `broken_down` names by category, complexity and expected length; each figure is named after its bin."""
    broken_down: str = ""


class Result(Found):
    """A finished evaluation: `result.json`."""

    name: str
    kind: str
    model: str
    fingerprint: str
    judge: str | None
    judge_fingerprint: str | None
    against: str | None
    against_fingerprint: str | None
    settings: dict[str, Any]


class Trial(NamedTuple):
    """Who takes part in an evaluation, and where its work is done."""

    at: Folder
    path: Path
    model: Checkpoint
    judge: Checkpoint
    """The model itself where nobody else was to judge."""
    rival: Checkpoint
    """The model itself where it is compared with nobody."""

    def answers(self, stage: str, prompts: Sequence[Prompt], asked: Answered, model: Checkpoint) -> list[Response]:
        """One answer of `model` to each prompt, in their order."""
        plan = plan_responses(prompts, 1, asked.responses.sampling, model, asked.seed)
        return self.at.sample(stage, Response, plan, model, read_response)


class Settings(Section):
    """What every kind of evaluation is asked with."""

    seed: int = 0
    """Every random choice follows from it."""
    bootstrap: int = Field(1000, ge=100)
    """Resamples behind every interval."""
    backend: BackendConfig = BackendConfig()
    """What samples text."""
    servers: dict[str, ServerConfig] = Field({})
    """Endpoints by name."""

    @property
    def resampling(self) -> tuple[int, int]:
        """Resamples and seed of the bootstrap."""
        return self.bootstrap, self.seed

    def load(self) -> object:
        """Read, and return, what it is made from, before anything is asked. Raises `SelfRewardError`."""
        raise NotImplementedError

    def find(self, trial: Trial) -> Found:
        """Do it, or go on with it."""
        raise NotImplementedError


class Answered(Settings):
    """What those are asked with whose model answers prompts, for a judge to look at."""

    judge: ModelName
    """Who judges."""
    responses: SamplingConfig = SamplingConfig()
    """How the answers are sampled."""


def some(loaded: Kept[T], source: SourceConfig) -> Kept[T]:
    """What was loaded. Raises `SelfRewardError` where nothing is left to ask."""
    if not loaded[0]:
        raise SelfRewardError("has nothing to evaluate on", source.path, "Give a file with at least one row that is used")
    return loaded


def counted(outcomes: Iterable[str], unanswered: int) -> dict[str, int]:
    """The judge's answers by outcome, with the questions that it was not asked because a model's answer failed."""
    return dict(sorted((Counter(outcomes) + Counter(no_answer=unanswered)).items()))


def lengths(answers: Sequence[Response], whose: str = "") -> list[Figure]:
    """Mean length in characters of the answers that came, and the share of all that did not come to their own end."""
    told = {
        f"{whose}mean length, characters": [float(len(answer.text)) for answer in answers if answer.answered],
        f"{whose}answers cut off or failed %": [100.0 * (answer.finish != "stop") for answer in answers],
    }
    return [Figure(name=name, value=sum(values) / len(values), n=len(values)) for name, values in told.items() if values]


def read_results(model: Path) -> Iterator[Result]:
    """The finished evaluations of the model with this folder (RUN/M3), by name."""
    for file in sorted((model / FOLDER).glob(f"*/{RESULT}")):
        yield read_line(file.read_text(encoding="utf-8"), Result, str(file))


def describe(result: Result) -> str:
    """What `selfreward evaluate` prints."""
    by = f", judged by {result.judge}" if result.judge else ""
    against = f" against {result.against}" if result.against else ""
    failed = ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in result.outcomes.items())
    lines = [f"{result.name}: {result.model}{against}{by}", *(f"  {figure}" for figure in result.figures)]
    return "\n".join([*lines, *([f"  answers of the judge: {failed}"] if failed else []), f"  {result.note}"])
