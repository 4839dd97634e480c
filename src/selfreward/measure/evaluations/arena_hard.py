"""Arena-Hard: hard prompts, a baseline's answers, and a judge of five labels in both orders (Li et al. 2024, arXiv 2406.11939).

The judge writes its own answer first, compares, and ends in one of [[A>>B]], [[A>B]], [[A=B]], [[B>A]], [[B>>A]]. As published, a
verdict counts once, `much better` three times, a tie half for either; the win rate is the mean over all that counts. In version
2.0 the last of several labels counts, and a prompt only if both orders have one; in version 0.1 labels that differ are no
verdict, and one order counts by itself. Intervals resample prompts. The user gives the published prompts and the baseline's
answers.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property, partial
from itertools import islice
from typing import Any, Literal

from pydantic import AliasChoices, Field, model_validator

from selfreward.errors import SelfRewardError
from selfreward.measure.evaluations.base import Answered, Trial, counted, lengths
from selfreward.measure.evaluations.published import Row, read_rows
from selfreward.recipe import Located, SamplingConfig
from selfreward.records import Checkpoint, Completion, Figure, Findings, Prompt, Request, Response, Sampled, content_id, digest
from selfreward.rundir import Part
from selfreward.stats import intervals
from selfreward.steps import Rubric, own_words

VERDICT = re.compile(r"\[\[\s*(A>>B|A>B|A=B|B=A|B>A|B>>A|A<B|A<<B|B<A|B<<A)\s*\]\]", re.IGNORECASE)
MUCH = 3
"""The weight of `much better`; any other verdict counts once."""


class Question(Row):
    """A row of the published prompts, of version 0.1 (`turns`) or 2.0 (`prompt`)."""

    uid: str = Field(validation_alias=AliasChoices("uid", "question_id"))
    category: str = Field("", validation_alias=AliasChoices("subcategory", "category"))
    prompt: str
    version_01: bool = False

    @model_validator(mode="before")
    @classmethod
    def _of_one_turn(cls, row: Any) -> Any:
        said = None if _inside(row, "prompt") else _inside(_inside(row, "turns"), 0)
        if not isinstance(said, dict):
            return row
        return {**row, "prompt": said.get("content"), "version_01": True}


class Baseline(Row):
    """A row of a model's published answers, of version 0.1 (`choices`) or 2.0 (`messages`)."""

    uid: str = Field(validation_alias=AliasChoices("uid", "question_id"))
    answer: str

    @model_validator(mode="before")
    @classmethod
    def _last_turn(cls, row: Any) -> Any:
        turns = _inside(row, "messages") or _inside(_inside(_inside(row, "choices"), 0), "turns")
        said = _inside(_inside(turns, -1), "content")
        answer = said["answer"] if isinstance(said, dict) and "answer" in said else said
        return row if answer is None or "answer" in row else {**row, "answer": answer}


def _inside(value: Any, name: str | int) -> Any:
    try:
        return value[name]
    except (TypeError, KeyError, IndexError):
        return None


class Game(Sampled):
    """A judge's verdict on the two answers to a prompt in one order. Only a `decided` one has a label."""

    identity = ("prompt_id", "response_id", "swapped", "judge", "rationale", "outcome", "verdict")
    prompt_id: str
    response_id: str
    """The model's answer: B, or with `swapped` A."""
    swapped: bool
    judge: str
    """Fingerprint of the judging model."""
    rationale: str
    outcome: Literal["decided", "unparsed", "truncated", "error"]
    verdict: str | None = None
    """`A>>B`, `A>B`, `A=B`, `B>A` or `B>>A`."""

    @property
    def label(self) -> str:
        """The verdict, or what is wrong with it."""
        return self.verdict or self.outcome

    @property
    def counts(self) -> tuple[float, int]:
        """(what of it counts for the model, what counts); nothing where nothing was decided."""
        if self.verdict is None:
            return 0.0, 0
        weight = MUCH if ">>" in self.verdict else 1
        better = self.verdict[0] == ("A" if self.swapped else "B")
        return (weight / 2 if "=" in self.verdict else weight * better), weight


GAMES = Part("games", "asks", Game)


class ArenaHard(Answered):
    """Arena-Hard, versions 0.1 and 2.0."""

    data: Located
    """The published prompts."""
    baseline: Located
    """The published answers of the model that is compared with."""
    template: Located = "selfreward:measure/text/judge_arena.txt"
    """The judge's prompt, with the slots {prompt}, {answer_a} and {answer_b}."""
    judging: SamplingConfig = SamplingConfig(temperature=0, max_tokens=4096)
    """The sampling of the judge; greedy, as published."""

    @cached_property
    def questions(self) -> list[Question]:
        """The prompts, in order."""
        return read_rows(self.data, Question)

    @cached_property
    def answers(self) -> dict[str, str]:
        """The baseline's answers by the id of the prompt. Raises `SelfRewardError` where a prompt has several."""
        rows = read_rows(self.baseline, Baseline)
        answers = {row.uid: row.answer for row in rows}
        if repeated := [uid for uid, count in Counter(row.uid for row in rows).items() if count > 1]:
            what = f"has several answers to {repeated[0]!r}"
            raise SelfRewardError(what, self.baseline, "Give the answers of one model, one to each prompt")
        return answers

    @cached_property
    def rubric(self) -> Rubric:
        """The judge's prompt."""
        return Rubric(self.template, ("prompt", "answer_a", "answer_b"), "template")

    def load(self) -> object:
        """Read prompts, answers and template. Raises `SelfRewardError` where a prompt has no answer of the baseline's."""
        missing = [row.uid for row in self.questions if row.uid not in self.answers]
        if missing:
            what = f"has no answer to {missing[0]!r}, nor to {len(missing) - 1} other prompts of {self.data}"
            raise SelfRewardError(what, self.baseline, "Give the answers to all of them")
        return self.rubric

    def find(self, trial: Trial) -> Findings:
        """The model answers, the judge compares in both orders."""
        prompts = [Prompt(text=row.prompt, source="seed") for row in self.questions]
        said = trial.answers("responses", prompts, self, trial.model)
        early = any(row.version_01 for row in self.questions)
        reading = partial(read_game, unanimous=early)
        games = list(trial.at.complete(GAMES, self._plan(prompts, said, trial.judge), trial.judge, reading))
        in_turn = iter(games)
        pairs = [[*islice(in_turn, 2)] if answer.answered else [] for answer in said]
        played = [pair if early or all(game.verdict for game in pair) else [] for pair in pairs]
        own = self.template == type(self).model_fields["template"].default
        return Findings(
            prompts_digest=digest(prompts),
            rubric_digest=content_id(self.rubric.text),
            figures=[*self._win_rate("win rate %", played), *self._flips(played), *lengths(said)],
            outcomes=counted((game.outcome for game in games), sum(not answer.answered for answer in said)),
            note="Scored as published. " + (OWN if own else "Comparable with the board by its own judge and template alone."),
            breakdown={"category": self._by_category(played)},
            broken_down="win rate %",
        )

    def _plan(self, prompts: Sequence[Prompt], said: Sequence[Response], judge: Checkpoint) -> list[Request]:
        """Two requests for each answer that did not fail: the baseline's first, then the model's first."""
        plan = []
        for row, prompt, answer in zip(self.questions, prompts, said, strict=True):
            both = (self.answers[row.uid], answer.text)
            for index, (a, b) in enumerate((both, both[::-1]) if answer.answered else ()):
                text = self.rubric.fill(prompt=prompt.text, answer_a=a, answer_b=b)
                plan.append(Request.user_turn(f"{prompt.id} {answer.id}", index, text, self.judging.sampling, judge, self.seed))
        return plan

    def _win_rate(self, name: str, played: Iterable[Sequence[Game]]) -> list[Figure]:
        counts = [tuple(map(sum, zip(*(game.counts for game in games), strict=True))) for games in played if games]
        known = [(won, all_) for won, all_ in counts if all_]
        won, all_ = zip(*known, strict=True) if known else ((), ())
        return Figure.of(name, intervals.ratio(won, all_, *self.resampling) if known else None, len(known), 100)

    def _flips(self, played: Iterable[Sequence[Game]]) -> list[Figure]:
        """Share of the prompts decided in both orders on which the better answer changed with the order."""
        decided = [[game.counts for game in games] for games in played if len(games) == 2 and all(g.verdict for g in games)]
        turned = [float((2 * first[0] > first[1]) != (2 * second[0] > second[1])) for first, second in decided]
        return self.share("verdicts that change with the order %", turned)

    def _by_category(self, played: Sequence[Sequence[Game]]) -> list[Figure]:
        categories = sorted({row.category for row in self.questions} - {""})
        rows = [*zip(self.questions, played, strict=True)]
        return [
            figure
            for category in categories
            for figure in self._win_rate(category, [games for row, games in rows if row.category == category])
        ]


OWN = "The judge's prompt is this program's own: not comparable with the board. Set template to the official one."


def read_game(request: Request, completion: Completion, unanimous: bool = False) -> Game:
    """The last verdict in a judge's own turn, or the name of what is wrong with it; `unanimous`: where it gives no other one."""
    prompt_id, response_id = request.about.split()
    own, _, failure = own_words(completion, VERDICT, answers=True)
    labels = [] if failure else [*map(_canonical, VERDICT.findall(own))]
    one = labels and not (unanimous and len({*labels}) > 1)
    return Game(
        prompt_id=prompt_id,
        response_id=response_id,
        swapped=request.index == 1,
        judge=request.model,
        rationale=completion.text,
        outcome=failure or ("decided" if one else "unparsed"),
        verdict=labels[-1] if one else None,
    )


def _canonical(label: str) -> str:
    """A label with the better answer first; of a tie `A=B`."""
    label = label.upper()
    if "=" in label:
        return "A=B"
    return label[-1] + label[1:-1].replace("<", ">") + label[0] if "<" in label else label
