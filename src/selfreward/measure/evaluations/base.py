"""Evaluations of one model: settings, sampling and figures that all kinds share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from pydantic import Field

from selfreward.recipe import AnsweringConfig, BackendConfig, ModelName, Section, ServerConfig, SourceConfig
from selfreward.records import Checkpoint, Figure, Findings, Identified, Prompt, Response
from selfreward.rundir import ModelFolder, Part
from selfreward.stats import intervals
from selfreward.steps import Answering, KeptAndDropped, why_none

T = TypeVar("T", bound=Identified)


class Trial(NamedTuple):
    """The models of an evaluation, and the folder where its work is done."""

    at: ModelFolder
    path: Path
    model: Checkpoint
    judge: Checkpoint
    """The model itself where no other judge was named."""
    rival: Checkpoint
    """The model itself where it has no rival."""

    def answers(self, stage: str, prompts: Sequence[Prompt], settings: Answered, model: Checkpoint) -> list[Response]:
        """One answer of `model` to each prompt, in order."""
        part = Part(stage, "asks", Response)
        return list(self.at.ask(part, Answering(settings.responses.sampling, frame=settings.responses.frame), prompts, model))


class Settings(Section):
    """Settings of every kind of evaluation."""

    seed: int = 0
    """The seed of every random choice."""
    bootstrap: int = Field(1000, ge=100)
    """Resamples behind every interval."""
    backend: BackendConfig = BackendConfig()
    """The engine that samples text."""
    servers: dict[str, ServerConfig] = Field({})
    """Endpoints by name."""

    @property
    def resampling(self) -> tuple[int, int]:
        """Resamples and seed of the bootstrap."""
        return self.bootstrap, self.seed

    def load(self) -> object:
        """Read and return the evaluation's data, before any model is asked. Raises `SelfRewardError`."""
        raise NotImplementedError

    def find(self, trial: Trial) -> Findings:
        """Run the evaluation, or continue it."""
        raise NotImplementedError

    def share(self, name: str, values: Sequence[float]) -> list[Figure]:
        """The mean of `values` in per cent, with its interval; an empty list without values."""
        return Figure.of(name, intervals.mean(values, *self.resampling), len(values), 100)


class Answered(Settings):
    """Settings of evaluations in which the model answers prompts and a judge looks at the answers."""

    judge: ModelName
    """The judge."""
    responses: AnsweringConfig = AnsweringConfig()
    """The framing and sampling of the answers."""


def some(loaded: KeptAndDropped[T], source: SourceConfig) -> KeptAndDropped[T]:
    """`loaded` as it is. Raises `SelfRewardError` where nothing is left to ask."""
    if not loaded[0]:
        now = "Give a file with at least one usable row"
        raise why_none(loaded[1], "data").error("has nothing to evaluate on", source.path, now)
    return loaded


def counted(outcomes: Iterable[str], unanswered: int) -> dict[str, int]:
    """The judge's answers by outcome, and `no_answer`: the questions that it was not asked because a model's answer failed."""
    return dict(sorted((Counter(outcomes) + Counter(no_answer=unanswered)).items()))


def given(row: int, prompt: Prompt, texts: Sequence[str]) -> list[Response]:
    """The answers that a published row gives to `prompt`; the row's number tells rows of equal texts apart."""
    return [
        Response(prompt_id=prompt.id, model="given", index=len(texts) * row + at, text=text, finish="stop")
        for at, text in enumerate(texts)
    ]


def lengths(answers: Sequence[Response], whose: str = "") -> list[Figure]:
    """Mean length in characters of the answers that did not fail, and the share of all answers that were cut off or failed."""
    columns = {
        f"{whose}mean length, characters": [float(len(answer.text)) for answer in answers if answer.answered],
        f"{whose}answers cut off or failed %": [100.0 * (answer.finish != "stop") for answer in answers],
    }
    return [Figure(name=name, value=sum(values) / len(values), n=len(values)) for name, values in columns.items() if values]
