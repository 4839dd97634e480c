"""IFEval and IFBench: a model's answers to prompts whose instructions a program checks."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Any

from pydantic import AliasChoices, BeforeValidator, Field, model_validator

from selfreward.errors import SelfRewardError
from selfreward.measure.evaluations.base import Settings, Trial, lengths
from selfreward.measure.evaluations.published import Row, read_rows
from selfreward.recipe import AnsweringConfig, Located
from selfreward.records import Check, Figure, Findings, How, Instruction, Prompt, Response, digest, holds
from selfreward.rundir import CHECKS, Part
from selfreward.steps import NO_DATA, Answering, check, fault_of, in_cell

CELL = BeforeValidator(in_cell)
"""A value that tables keep as text."""
Given = Annotated[dict[str, Any] | None, CELL]
"""The arguments of an instruction."""
UNCHECKED = "Unchecked instructions are in no figure, nor a prompt with one in the prompts': not comparable as it is."
COMPARABLE = "Comparable with published figures of the same file."
HOWS: tuple[How, How] = ("strict", "loose")


class Task(Row):
    """A row of either published file: a prompt, and what a program checks of the answer."""

    prompt: str
    kinds: Annotated[tuple[str, ...], CELL] = Field(validation_alias=AliasChoices("instruction_id_list"))
    """The instructions in it, each the kind of one."""
    arguments: Annotated[tuple[Given, ...], CELL] = Field(validation_alias=AliasChoices("kwargs"))
    """Arguments of each instruction; those that are null are not its."""

    @property
    def instructions(self) -> list[Instruction]:
        """The checks of its answer."""
        return [
            Instruction.model_validate({"id": kind, "kwargs": given})
            for kind, given in zip(self.kinds, self.arguments, strict=True)
        ]

    @model_validator(mode="after")
    def _known(self) -> Task:
        if len(self.kinds) != len(self.arguments):
            raise ValueError(f"{len(self.kinds)} instructions and arguments of {len(self.arguments)}")
        if not self.kinds:
            raise ValueError("no instruction to check")
        return self


class Checkable(Settings):
    """IFEval or IFBench, whichever the file is."""

    data: Located
    """The published prompts."""
    responses: AnsweringConfig = AnsweringConfig(temperature=0, max_tokens=1280)
    """The framing and sampling of the answers; greedy by default."""

    @cached_property
    def tasks(self) -> list[Task]:
        """The prompts, in order."""
        return read_rows(self.data, Task)

    def load(self) -> object:
        """Read the prompts. Raises `SelfRewardError` where an instruction cannot be checked."""
        for number, task in enumerate(self.tasks, start=1):
            for at, instruction in enumerate(task.instructions, start=1):
                if fault := fault_of(instruction):
                    raise SelfRewardError(f"instruction {at}: {fault[0]}", f"{self.data}, row {number}", fault[1])
        return self.tasks

    def find(self, trial: Trial) -> Findings:
        """The model answers, programs check."""
        prompts = [Prompt(text=task.prompt, source="seed") for task in self.tasks]
        part = Part("responses", "asks", Response)
        answering = Answering(self.responses.sampling, frame=self.responses.frame)
        answers = list(trial.at.ask(part, answering, prompts, trial.model))
        checked = [
            [] if answer.finish == "error" else check(task.instructions, task.prompt, answer, self.seed)
            for task, answer in zip(self.tasks, answers, strict=True)
        ]
        trial.at.keep(CHECKS, ([result for of_prompt in checked for result in of_prompt], []))
        every = [result for of_prompt in checked for result in of_prompt]
        outcomes = Counter(result.label for result in every)
        outcomes["no_answer"] = sum(answer.finish == "error" for answer in answers)
        return Findings(
            prompts_digest=digest(prompts),
            figures=[*self._figures(checked, every), *lengths(answers)],
            outcomes=dict(sorted((+outcomes).items())),
            note="Checked by if-verifiable; an empty answer, and a thought without an end, follows nothing. "
            + (UNCHECKED if any(result.outcome == "unchecked" for result in every) else COMPARABLE)
            + (f" {NO_DATA}." if any("NLTK" in name for name in outcomes) else ""),
            breakdown={"instruction": self._by_kind(every)},
            broken_down="instructions followed, strict %",
        )  # fmt: skip

    def _figures(self, checked: Sequence[Sequence[Check]], every: Sequence[Check]) -> list[Figure]:
        """Prompts of which all instructions hold, and instructions that hold."""
        prompts = {how: [holds(of_prompt, how) for of_prompt in checked if of_prompt] for how in HOWS}
        single = {how: [getattr(result, how) for result in every] for how in HOWS}
        return [
            figure
            for name, values in (("prompts", prompts), ("instructions", single))
            for how in HOWS
            for figure in self._known(f"{name} followed, {how} %", values[how])
        ]

    def _by_kind(self, every: Sequence[Check]) -> list[Figure]:
        kinds: dict[str, list[bool | None]] = defaultdict(list)
        for result in every:
            kinds[result.instruction].append(result.strict)
        return [figure for kind, values in sorted(kinds.items()) for figure in self._known(kind, values)]

    def _known(self, name: str, values: Sequence[float | None]) -> list[Figure]:
        return self.share(name, [value for value in values if value is not None])
