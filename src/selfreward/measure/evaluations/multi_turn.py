"""MT-Bench: a model answers two turns of each question, a judge grades each answer (paper, section 3.4)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import chain

from selfreward.measure.evaluations.base import Answered, Trial, counted, lengths
from selfreward.measure.evaluations.mt_bench import (
    GROUPS,
    RATING,
    SCALE,
    TEMPERATURES,
    Grade,
    JudgePrompt,
    Question,
    Turn,
    judge_messages,
    read_judge_prompts,
    read_questions,
    scores,
)
from selfreward.recipe import Located
from selfreward.records import (
    Checkpoint,
    Completion,
    Figure,
    Findings,
    Judgment,
    Message,
    Request,
    Response,
    Sampling,
    content_id,
    turns_of,
)
from selfreward.rundir import Part
from selfreward.stats import intervals
from selfreward.steps import Answering, read_judgment, read_score

TURNS: tuple[Turn, Turn] = (1, 2)
GRADING = Sampling(temperature=0.0, top_p=1.0, max_tokens=2048)
GRADES = Part("grades", "asks", Judgment)
Dialogue = tuple[Question, tuple[Response, ...]]
"""A question with the model's answers so far."""
Graded = Sequence[Sequence[Grade]]
"""The grades of each question, one for each turn that was answered."""


class MTBench(Answered):
    """MT-Bench. Answers are sampled at the benchmark's own temperatures, after the system prompt of `responses`, if any."""

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

    def find(self, trial: Trial) -> Findings:
        """The model answers two turns of each question, the judge grades each answer."""
        dialogues = self._answers(trial)
        turns = [(question, turn, answers) for question, answers in dialogues for turn, _ in zip(TURNS, answers, strict=False)]
        answered = [(question, turn, answers) for question, turn, answers in turns if answers[turn - 1].answered]
        plan = [self._grade(question, turn, answers, trial.judge) for question, turn, answers in answered]
        judgments = list(trial.at.complete(GRADES, plan, trial.judge, read_grade))
        score_of = {judgment.response_id: judgment.score for judgment in judgments}
        graded = [
            [Grade(question.category, turn, score_of.get(answer.id)) for turn, answer in zip(TURNS, answers, strict=False)]
            for question, answers in dialogues
        ]
        by_category = self._by_category(graded)
        return Findings(
            prompts_digest=content_id(*(question.model_dump() for question in self.questions)),
            rubric_digest=content_id(*(prompt.model_dump() for prompt in self.prompts.values())),
            figures=[*self._means(graded), *by_category, *lengths([answer for _, answers in dialogues for answer in answers])],
            outcomes=counted((judgment.outcome for judgment in judgments), len(TURNS) * len(dialogues) - len(answered)),
            note="Grades from 1 to 10; intervals resample questions. Comparable with published grades only by the same judge.",
            breakdown={"category": by_category},
            broken_down="grade",
        )

    def _answers(self, trial: Trial) -> list[Dialogue]:
        """Each question with the model's answers; with the first alone where that failed, for no turn can follow it."""
        first = self._answer(trial, 1, [(question, ()) for question in self.questions])
        pairs = list(zip(self.questions, first, strict=True))
        second = iter(self._answer(trial, 2, [(question, (answer,)) for question, answer in pairs if answer.answered]))
        return [(question, (answer, next(second)) if answer.answered else (answer,)) for question, answer in pairs]

    def _answer(self, trial: Trial, turn: Turn, dialogues: Sequence[Dialogue]) -> list[Response]:
        """The model's answers to one turn, after its answers to the turns before."""
        plan = [
            Request.asking(str(question.question_id), turn, messages, self._sampling(question), trial.model, self.seed)
            for question, answers in dialogues
            for messages in (turns_of(self.responses.frame(_dialogue(question, answers))),)
        ]
        return list(trial.at.complete(Part(f"turn_{turn}", "asks", Response), plan, trial.model, Answering.read))

    def _sampling(self, question: Question) -> Sampling:
        temperature = TEMPERATURES.get(question.category, 0.0)
        return self.responses.sampling.model_copy(update={"temperature": temperature, "top_p": 1.0})

    def _grade(self, question: Question, turn: Turn, answers: Sequence[Response], judge: Checkpoint) -> Request:
        texts = [answer.text for answer in answers[:turn]]
        messages = judge_messages(question, texts, turn, self.prompts)
        return Request.asking(answers[turn - 1].id, turn, messages, GRADING, judge, self.seed)

    def _means(self, graded: Graded) -> list[Figure]:
        """Mean grades: overall, by turn, and in the paper's two groups."""
        by_turn = {f"turn {turn}": [[g for g in grades if g.turn == turn] for grades in graded] for turn in TURNS}
        grades_of_all = [grade for grades in graded for grade in grades]
        counts = {
            name: sum(grade.category in categories and grade.score is not None for grade in grades_of_all)
            for name, categories in GROUPS.items()
        }
        groups = [Figure(name=name, value=value, n=counts[name]) for name, value in scores(grades_of_all).by_group.items()]
        return [*self._mean("overall", graded), *chain.from_iterable(map(self._mean, by_turn, by_turn.values())), *groups]

    def _by_category(self, graded: Graded) -> list[Figure]:
        parts: dict[str, list[Sequence[Grade]]] = {}
        for grades in graded:
            parts.setdefault(grades[0].category, []).append(grades)
        return list(chain.from_iterable(map(self._mean, parts, parts.values())))

    def _mean(self, name: str, graded: Graded) -> list[Figure]:
        """The mean grade; its interval resamples questions, for the two turns of one question are not independent."""
        scores = [[grade.score for grade in grades if grade.score is not None] for grades in graded]
        counts = [len(values) for values in scores]
        return Figure.of(name, intervals.ratio([sum(values) for values in scores], counts, *self.resampling), sum(counts))


def read_grade(request: Request, completion: Completion) -> Judgment:
    """One grade, or the name of its failure."""
    return read_judgment(request, completion, lambda text, _: read_score(text, RATING, SCALE), RATING)


def _dialogue(question: Question, answers: Sequence[Response]) -> tuple[Message, ...]:
    """The turns up to the one to answer."""
    questions = [Message(role="user", content=turn) for turn in question.turns]
    replies = [Message(role="assistant", content=answer.text) for answer in answers]
    return (*chain.from_iterable(zip(questions, replies, strict=False)), questions[len(replies)])
