"""MT-Bench: a model answers two turns of each question, a judge grades each answer (paper, section 3.4)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from itertools import chain

from selfreward import estimates
from selfreward.evaluations import Answered, Figure, Found, Trial, lengths
from selfreward.fields import Located
from selfreward.mt_bench import (
    TEMPERATURES,
    Grade,
    JudgePrompt,
    Question,
    Turn,
    judge_messages,
    read_judge_prompts,
    read_questions,
    read_rating,
    scores,
)
from selfreward.records import Checkpoint, Completion, Judgment, Message, Request, Response, Sampling, content_id
from selfreward.responses import read_response
from selfreward.rubrics import own_words

TURNS: tuple[Turn, Turn] = (1, 2)
GRADING = Sampling(temperature=0.0, top_p=1.0, max_tokens=2048)


class MTBench(Answered):
    """MT-Bench. Answers are sampled at the benchmark's own temperatures; of `responses` only the longest answer counts."""

    data: Located
    """The published questions, with references where a category needs them."""
    template: Located
    """The published judge prompts."""

    @cached_property
    def questions(self) -> list[Question]:
        """The questions."""
        return read_questions(self.data)

    @cached_property
    def prompts(self) -> dict[str, JudgePrompt]:
        """The judge's prompts by name."""
        return read_judge_prompts(self.template)

    def load(self) -> object:
        """Read questions and judge prompts."""
        return self.questions, self.prompts

    def find(self, trial: Trial) -> Found:
        """Two turns of answers, a grade for each."""
        first = self._answer(trial, 1, [()] * len(self.questions))
        answers = list(zip(first, self._answer(trial, 2, [(answer,) for answer in first]), strict=True))
        asked = [(question, turn, given) for question, given in zip(self.questions, answers, strict=True) for turn in TURNS]
        plan = [self._grade(question, turn, given, trial.judge) for question, turn, given in asked]
        judgments = trial.at.sample("grades", Judgment, plan, trial.judge, read_grade)
        grades = [Grade(question.category, turn, j.score) for (question, turn, _), j in zip(asked, judgments, strict=True)]
        by_category = self._by_category(grades)
        return Found(
            prompts_digest=content_id(*(question.model_dump() for question in self.questions)),
            rubric_digest=content_id(*(prompt.model_dump() for prompt in self.prompts.values())),
            figures=[*self._means(grades), *by_category, *lengths(list(chain.from_iterable(answers)))],
            outcomes=dict(sorted(Counter(judgment.outcome for judgment in judgments).items())),
            note="Grades from 1 to 10; intervals resample answers. Comparable with published ones only by the same judge.",
            breakdown={"category": by_category},
            broken_down="grade",
        )

    def _answer(self, trial: Trial, turn: Turn, before: Sequence[tuple[Response, ...]]) -> list[Response]:
        """The model's answers to one turn, after its answers to those before."""
        plan = [
            Request.asking(
                str(question.question_id), turn, _dialogue(question, given), self._sampling(question), trial.model, self.seed
            )
            for question, given in zip(self.questions, before, strict=True)
        ]
        return trial.at.sample(f"turn_{turn}", Response, plan, trial.model, read_response)

    def _sampling(self, question: Question) -> Sampling:
        return Sampling(temperature=TEMPERATURES.get(question.category, 0.0), top_p=1.0, max_tokens=self.responses.max_tokens)

    def _grade(self, question: Question, turn: Turn, answers: Sequence[Response], judge: Checkpoint) -> Request:
        texts = [answer.text for answer in answers[:turn]]
        messages = judge_messages(question, texts, turn, self.prompts)
        return Request.asking(answers[turn - 1].id, turn, messages, GRADING, judge, self.seed)

    def _means(self, grades: Sequence[Grade]) -> list[Figure]:
        """Overall, by turn, and in the paper's two groups."""
        parts = {"overall": grades, **{f"turn {turn}": [grade for grade in grades if grade.turn == turn] for turn in TURNS}}
        known = sum(grade.score is not None for grade in grades)
        groups = [Figure(name=name, value=value, n=known) for name, value in scores(grades).by_group.items()]
        return [*chain.from_iterable(self._mean(name, part) for name, part in parts.items()), *groups]

    def _by_category(self, grades: Sequence[Grade]) -> list[Figure]:
        categories = dict.fromkeys(grade.category for grade in grades)
        parts = {name: [grade for grade in grades if grade.category == name] for name in categories}
        return list(chain.from_iterable(self._mean(name, part) for name, part in parts.items()))

    def _mean(self, name: str, grades: Sequence[Grade]) -> list[Figure]:
        known = [grade.score for grade in grades if grade.score is not None]
        return Figure.of(name, estimates.mean(known, *self.resampling), len(known))


def read_grade(request: Request, completion: Completion) -> Judgment:
    """One grade, or the name of what is wrong with it."""
    own, failure = own_words(completion)
    outcome, score = (failure, None) if failure else read_rating(own)
    return Judgment(
        response_id=request.about,
        judge=request.model,
        sample=request.index,
        rationale=completion.text,
        outcome=outcome,
        score=score,
    )


def _dialogue(question: Question, answers: Sequence[Response]) -> tuple[Message, ...]:
    """The turns up to the one that is asked."""
    asked = [Message(role="user", content=turn) for turn in question.turns]
    given = [Message(role="assistant", content=answer.text) for answer in answers]
    return (*chain.from_iterable(zip(asked, given, strict=False)), asked[len(given)])
