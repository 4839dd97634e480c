"""AlpacaEval 2: a model's answers beside a baseline's, before a judge whose first token's probabilities decide.

The judge is asked once, the two in an order drawn by the seed, to name the better of `m` and `M`. The preference is 1 plus
the probability of the model's letter among the two letters: 2 is a win for certain, 1 a loss.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cached_property
from importlib.resources import files
from math import isfinite
from pathlib import Path
from typing import Literal

from selfreward.errors import SelfRewardError
from selfreward.measure.evaluations.base import Trial, counted, lengths
from selfreward.measure.evaluations.breakdown import Labelled, break_down
from selfreward.measure.evaluations.length_control import (
    DRAW,
    Board,
    length_controlled,
    read_board,
    weighted_preference,
    win_rate,
)
from selfreward.measure.evaluations.published import Row, read_rows
from selfreward.recipe import Located
from selfreward.records import (
    Checkpoint,
    Completion,
    Figure,
    Findings,
    Message,
    Prompt,
    Request,
    Response,
    Sampled,
    Sampling,
    content_id,
    write_whole,
)
from selfreward.rundir import Part
from selfreward.stats import intervals
from selfreward.steps import Rubric

OWN_TEMPLATE = str(files("selfreward") / "measure" / "text" / "judge_alpaca.txt")
TURN = re.compile(r"<\|im_start\|>(system|user|assistant)\n(.*?)<\|im_end\|>", re.DOTALL)
"""A turn of the official template."""
ONE_TOKEN = Sampling(temperature=1.0, top_p=1.0, max_tokens=1)
TOP = 5
"""The number of likeliest first tokens that are asked for, as the board does."""
NOBODY = " No win rate: the judge preferred nobody on any prompt."
Letter = Literal["m", "M"]
AnnotationOutcome = Literal["preferred", "no_logprobs", "no_letter", "error"]


class Instruction(Row):
    """A prompt of the official file with the baseline's answer."""

    instruction: str
    dataset: str = ""
    output: str


class Annotation(Sampled):
    """A judge's preference for a model's answer over the baseline's. Only a `preferred` one, or a draw, has a preference."""

    identity = ("prompt_id", "response_id", "judge", "stands_for_model", "logprobs", "outcome", "preference")
    prompt_id: str
    response_id: str
    judge: str
    """Fingerprint of the judging model."""
    stands_for_model: Letter
    """`m`, the output that is shown first, or `M`."""
    logprobs: dict[str, float]
    """Log-probabilities of the two letters, where they are among the likeliest first tokens."""
    outcome: AnnotationOutcome
    preference: float | None = None

    @property
    def label(self) -> str:
        """The outcome."""
        return self.outcome


ANNOTATIONS = Part("annotations", "asks", Annotation)


class Template(Rubric):
    """A judge's prompt for two outputs, in one user turn or in the turns that it marks itself."""

    def __init__(self, path: str) -> None:
        super().__init__(path, ("instruction", "output_1", "output_2"), "template")
        self._turns = TURN.findall(self.text) or [("user", self.text)]

    def messages(self, **texts: str) -> tuple[Message, ...]:
        """The turns, each with its slots filled."""
        return tuple(Message(role=role, content=self.put_into(text, **texts).strip()) for role, text in self._turns)


class AlpacaEval(Labelled):
    """AlpacaEval 2."""

    data: Located
    """Prompts in the official shape, with the baseline's answers."""
    baseline: str = "output"
    """The rows' name for the baseline's answer."""
    template: Located = "selfreward:measure/text/judge_alpaca.txt"
    """The judge's prompt, with the slots {instruction}, {output_1} and {output_2}."""
    board: Located | None = None
    """Folder with the difficulties and the gamed baselines that length control is fitted with."""

    @cached_property
    def instructions(self) -> list[Instruction]:
        """The prompts beside the baseline's answers."""
        return read_rows(self.data, Instruction, {"output": self.baseline})

    @cached_property
    def rubric(self) -> Template:
        """The judge's prompt."""
        return Template(self.template)

    @cached_property
    def fitted(self) -> Board | None:
        """The board that length control is fitted with."""
        return read_board(Path(self.board)) if self.board else None

    def load(self) -> object:
        """Read prompts, template, board and labels."""
        prompts = len(self.instructions)
        if self.fitted and len(self.fitted.difficulty) != prompts:
            what = f"knows {len(self.fitted.difficulty)} instructions in their order, and {self.data} has {prompts}"
            raise SelfRewardError(what, str(self.board), "Leave board out, or give the board's own instructions")
        return self.rubric, self.labels_given

    def find(self, trial: Trial) -> Findings:
        """The model answers, the judge annotates."""
        prompts = [Prompt(text=row.instruction, source="seed") for row in self.instructions]
        answers = trial.answers("responses", prompts, self, trial.model)
        self._write_outputs(trial, answers)
        plan = self._plan(prompts, answers, trial.judge)
        annotations = list(trial.at.complete(ANNOTATIONS, plan, trial.judge, read_annotation))
        preferences = self._preferences(answers, annotations)
        failed = sum(not answer.answered for answer in answers)
        same = len(answers) - len(annotations) - failed
        return Findings(
            prompts_digest=content_id(*(row.model_dump() for row in self.instructions)),
            rubric_digest=content_id(self.rubric.text),
            figures=[*self._win_rates(preferences), *self._length_controlled(preferences, answers), *lengths(answers)],
            outcomes=counted((annotation.outcome for annotation in annotations), failed) | ({"same_text": same} if same else {}),
            note=self._note() + ("" if any(preferences) else NOBODY),
            breakdown=break_down(trial, self, prompts, [None if p is None else p - 1 for p in preferences]),
            broken_down="win rate %",
        )

    def _preferences(self, answers: Sequence[Response], annotations: Sequence[Annotation]) -> list[float | None]:
        """For each prompt the judge's preference, a draw where the texts are equal, None where the model's answer failed.

        Where the judge preferred nobody on any prompt, the draws alone would make a win rate of one half that no judge gave: then
        all are None.
        """
        remaining = iter(annotations)
        preferences = [
            next(remaining).preference if _to_ask(answer, row) else DRAW if answer.answered else None
            for answer, row in zip(answers, self.instructions, strict=True)
        ]
        nobody = None in preferences and not any(annotation.outcome == "preferred" for annotation in annotations)
        return [None] * len(preferences) if nobody else preferences

    def _win_rates(self, preferences: Sequence[float | None]) -> list[Figure]:
        """Win rates over the prompts that have a preference."""
        rates = win_rate(preferences)
        if rates is None:
            return []
        mean = intervals.mean([p - 1 for p in preferences if p is not None], *self.resampling)
        values = {"its standard error": rates.standard_error, "win rate, all or nothing %": rates.discrete_win_rate}
        return [
            *Figure.of("win rate %", mean, rates.total, 100),
            *(Figure(name=name, value=number, n=rates.total) for name, number in values.items() if isfinite(number)),
        ]

    def _length_controlled(self, preferences: Sequence[float | None], answers: Sequence[Response]) -> list[Figure]:
        """The win rate at the baseline's lengths, where there is a board to fit it with."""
        if self.fitted is None or win_rate(preferences) is None:
            return []
        theirs = [len(row.output) for row in self.instructions]
        ours = [len(answer.text) if answer.answered else size for answer, size in zip(answers, theirs, strict=True)]
        fit = length_controlled(preferences, ours, theirs, self.fitted)
        side, n = 1.96 * fit.standard_error, len(preferences)
        low, high = fit.win_rate - side, fit.win_rate + side
        return [Figure(name="length-controlled win rate %", value=fit.win_rate, low=low, high=high, n=n)]

    def _note(self) -> str:
        """The note on comparability with other figures."""
        if self.template == OWN_TEMPLATE:
            return "The judge's prompt is this program's own: not comparable with the board. Set template to the official one."
        return "Comparable with the board only by the board's own judge and template, on its 805 prompts."

    def _plan(self, prompts: Sequence[Prompt], answers: Sequence[Response], judge: Checkpoint) -> list[Request]:
        """A request for each prompt whose two answers differ."""
        rows = zip(prompts, answers, self.instructions, strict=True)
        return [self._ask(prompt, answer, row, judge) for prompt, answer, row in rows if _to_ask(answer, row)]

    def _ask(self, prompt: Prompt, answer: Response, row: Instruction, judge: Checkpoint) -> Request:
        second = int(content_id("order", self.seed, prompt.id), 16) % 2
        outputs = (row.output, answer.text) if second else (answer.text, row.output)
        turns = self.rubric.messages(instruction=row.instruction, output_1=outputs[0], output_2=outputs[1])
        return Request.asking(f"{prompt.id} {answer.id}", second, turns, ONE_TOKEN, judge, self.seed, TOP)

    def _write_outputs(self, trial: Trial, answers: Sequence[Response]) -> None:
        """The model's answers as the official JSON, `outputs.json`."""
        rows = [
            {"dataset": row.dataset, "instruction": row.instruction, "output": answer.text, "generator": trial.model.name}
            for row, answer in zip(self.instructions, answers, strict=True)
            if answer.answered
        ]
        write_whole(trial.path / "outputs.json", json.dumps(rows, indent=1, ensure_ascii=False))


def _to_ask(answer: Response, row: Instruction) -> bool:
    return answer.answered and answer.text != row.output


def read_annotation(request: Request, completion: Completion) -> Annotation:
    """One preference, or the name of its failure."""
    prompt_id, response_id = request.about.split()
    letter: Letter = "M" if request.index else "m"
    tokens = completion.first_token or {}
    logprobs = {token: tokens[token] for token in ("m", "M") if token in tokens}
    preference = None if completion.finish == "error" else weighted_preference(tokens, letter)
    return Annotation(
        prompt_id=prompt_id,
        response_id=response_id,
        judge=request.model,
        stands_for_model=letter,
        logprobs=logprobs,
        outcome=_outcome(completion, preference),
        preference=preference,
    )


def _outcome(completion: Completion, preference: float | None) -> AnnotationOutcome:
    if completion.finish == "error":
        return "error"
    if completion.first_token is None:
        return "no_logprobs"
    return "no_letter" if preference is None else "preferred"
