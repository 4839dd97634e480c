"""Tables of a recipe: the steps of an iteration. The defaults are the paper's (section 2.2) wherever it states one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import ceil, floor
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from selfreward.recipe.fields import (
    AnsweringConfig,
    AskingConfig,
    ImportPath,
    Located,
    ModelName,
    Pattern,
    SamplingConfig,
    Section,
    Share,
    off,
)
from selfreward.records import catches

BEST_AGAINST_WORST = "selfreward.steps.pairs:best_against_worst"
ADAPTIVE = 3
"""The most samples of an adaptive judge: as many as the paper always draws."""


def _adaptive_or_a_number(samples: Any) -> Any:
    """Check the value here, for a union's error lists the complaints of all its kinds."""
    if samples != "adaptive" and not (isinstance(samples, int) and samples >= 1):
        raise ValueError('must be an integer of at least 1, or "adaptive"')
    return samples


def _one_or_several(by: Any) -> Any:
    """Check the value here, for a union's error lists the complaints of all its kinds."""
    if not isinstance(by, str) and not (isinstance(by, list | tuple) and all(isinstance(name, str) for name in by)):
        raise ValueError("must be a model, or a list of models")
    if not isinstance(by, str) and len(set(by)) < max(2, len(by)):
        raise ValueError("a list of judges must name at least two, each once")
    return by


Method = Literal["scores", "pairwise", "likelihood", "cream", "votes"]


def _balanced_or_a_number(penalty: Any) -> Any:
    """Check the value here, for a union's error lists the complaints of all its kinds."""
    if penalty != "balanced" and (isinstance(penalty, bool) or not isinstance(penalty, int | float) or penalty < 0):
        raise ValueError('must be a number of at least 0, or "balanced"')
    return penalty


LengthPenalty = Annotated[float | Literal["balanced"], BeforeValidator(_balanced_or_a_number)]
Judges = Annotated[ModelName | tuple[ModelName, ...], BeforeValidator(_one_or_several)]
Samples = Annotated[int | Literal["adaptive"], BeforeValidator(_adaptive_or_a_number)]


class PromptsConfig(SamplingConfig):
    """New prompts (paper, section 2.2 and appendix A.5; Self-Instruct's filters)."""

    temperature: float = Field(0.6, ge=0)
    """0 is greedy."""
    by: Literal["frozen", "current"] = "frozen"
    """The writer of new prompts: one named model for the whole run, or M_t."""
    frozen: ModelName | None = None
    """The model that `by = "frozen"` names; the base where it is not given."""
    source: Located | None = Field(None, alias="from")
    """A file of your own prompts (JSONL of Prompt), taken in turn instead of writing new ones."""
    per_iteration: int = Field(5000, ge=1)
    """Completions asked of the writer, or prompts taken from `from`, in each iteration."""
    shots_seed: int = Field(6, ge=0)
    """Seed prompts shown to the writer; with the next field's, 8 in all."""
    shots_self: int = Field(2, ge=0)
    """Prompts of earlier iterations shown; the first iteration shows seed prompts in their place."""
    max_rouge_l: Share = 0.7
    """A prompt nearer than this (ROUGE-L F) to a seed or an accepted prompt is dropped."""
    min_words: int = Field(4, ge=1)
    """Shorter prompts are dropped."""
    max_words: int = Field(150, ge=1)
    """Longer prompts are dropped."""
    ascii_only: bool = True
    """Drop prompts that start with a character outside ASCII. Turned off, for other languages, ROUGE counts words of any script.
    """
    unsuited: tuple[str, ...] = (
        "image", "images", "graph", "graphs", "picture", "pictures", "file", "files", "map", "maps", "draw", "plot", "go to",
    )  # fmt: skip
    """A prompt with one of these words is dropped: text alone cannot do it."""
    form: Pattern | None = None
    """A regular expression every prompt must match as a whole, ignoring case; for narrow families of tasks."""


class ResponsesConfig(AnsweringConfig):
    """Candidate responses."""

    n: int = Field(4, ge=2)
    """Candidates per prompt."""


class JudgeConfig(AskingConfig):
    """LLM-as-a-Judge."""

    by: Judges = "current"
    """`current`: M_t judges itself; `frozen`: M1 does; `previous`: M_{t−1} does, and in the first iteration M1 itself; or a model
    outside the loop. A list is a jury: a candidate's score is the share of the others that it is placed above, mean of all."""
    method: Method = off("scores")
    """The source of candidates' scores: `scores` on the rubric's scale, or `pairwise` against each other by the rubric of
    `[pairwise]`, each pair in both orders: the share of the others that a candidate wins against, ties by half. `likelihood`
    (DICE): log π_t − log π_{t−1} of the answer, from M2 on; M1 gives scores. `cream`: log π_t − log π_1, and of M1 the mean of a
    token's log-probability. `votes` (ScPO): the share of its prompt's candidates that come to the same answer. These three ask no
    judge."""
    answer: Pattern | None = off(None)
    """With `votes`, the pattern that finds the answer in a response, ignoring case: one group, the last match. Not given: the
    whole text."""
    majority: Share = off(0.5)
    """With `votes`, the share that must come to the answer of a chosen response; prompts with less give no pair."""
    length_penalty: LengthPenalty = off(0.0)
    """With `likelihood`, the reduction for every character of an answer; `balanced`: the first at which chosen and rejected
    answers of an iteration are as long as each other, in steps of .001 up to 1."""
    agreement: Share = off(0.0)
    """With a jury, the share that must place the chosen response above the rejected one; pairs with less are dropped."""
    rubric: Located = "selfreward:recipe/rubrics/judge_additive.txt"
    """Prompt text with the slots {prompt} and {response}; not given, with `form = "json"`, a text that asks for JSON."""
    form: Literal["text", "json"] = off("text")
    """The form of a verdict: `text`, in which `pattern` finds it, or `field` of the last JSON object."""
    field: str = off("score")
    """The name of the score in a JSON object; servers that take a schema are sent one."""
    pattern: Pattern = r"score[\s*]*:[\s*]*(-?\d+(?:[.,]\d+)?)"
    """The pattern of a verdict, ignoring case; the last match wins. One group, the score."""
    scale: tuple[float, float] = (0, 5)
    """Lowest and highest score."""
    read: Literal["sampled", "expected"] = "sampled"
    """A judgment's score: the number that was `sampled`, or the `expected` one, weighted by how likely each point of the scale
    was there. EFT goes by the numbers in its texts."""
    samples: Samples = 3
    """Judgments per response, averaged. `adaptive`: one of every candidate, then more where best or worst is undecided, up to 3;
    held-out answers are always judged 3 times."""
    checks: Literal["off", "measure", "anchor", "score"] = off("off")
    """The use of what programs can check in answers to prompts that carry `checks`. `measure`: they are checked, and nothing is
    made of it. `anchor`: such prompts are watched and never trained on: held-out ones are anchors of `[drift]`, those of
    `prompts.from` are dropped. `score`: the share of its checks that a candidate passes, on the scale, is its score, and not the
    judge's."""
    min_valid: int = Field(2, ge=1)
    """A response with fewer valid judgments is unscored; of a response that was judged less often, all must be valid."""

    @property
    def most(self) -> int:
        """Judgments of one response, at most."""
        return ADAPTIVE if self.samples == "adaptive" else self.samples

    @property
    def judges(self) -> tuple[str, ...]:
        """All judges of the candidates: a single one, except with a jury."""
        return (self.by,) if isinstance(self.by, str) else self.by

    def method_for(self, t: int) -> Method:
        """The method by which the candidates for M_t get their scores; t is 2 at least."""
        return "scores" if self.method == "likelihood" and t == 2 else self.method

    @property
    def caught(self) -> list[str]:
        """Numbers on the scale that the group of `pattern` can catch."""
        return catches(self.pattern, _numbers(*self.scale))

    @property
    def averages(self) -> bool:
        """True if a candidate's score is the mean of one judge's judgments of it."""
        return self.method == "scores" and len(self.judges) == 1 and self.checks != "score"

    @property
    def rounds(self) -> tuple[str, ...]:
        """The stages by which candidates are judged, in their order: one a judge, or of an adaptive judge one a sample."""
        later = range(2, (self.most if self.samples == "adaptive" else len(self.judges)) + 1)
        return ("judgments", *(f"judgments_{number}" for number in later))

    @model_validator(mode="before")
    @classmethod
    def _rubric_of_the_form(cls, given: Any) -> Any:
        asked = isinstance(given, dict) and given.get("form") == "json" and "rubric" not in given
        return {**given, "rubric": "selfreward:recipe/rubrics/judge_json.txt"} if asked else given

    @model_validator(mode="after")
    def _can_expect(self) -> Self:
        if self.read == "expected" and self.form == "json":
            raise ValueError('read = "expected" needs form = "text": numbers in JSON are not watched')
        if self.read == "expected" and not {*self.scale} <= {*range(10)}:
            raise ValueError('read = "expected" needs a scale of single digits, 0 to 9: each point must be one token')
        return self

    @model_validator(mode="after")
    def _can_agree(self) -> Self:
        if len(self.judges) > 1 and self.samples == "adaptive":
            raise ValueError('samples = "adaptive" asks one judge again where it is undecided: give a jury a number of samples')
        if len(self.judges) == 1 and self.agreement:
            raise ValueError("agreement works only with a jury: name several judges in by, or leave it out")
        if self.method != "scores" and len(self.judges) > 1:
            raise ValueError(f'a jury gives scores: leave out method = "{self.method}", or name one judge in by')
        if self.method != "scores" and self.samples == "adaptive":
            raise ValueError(
                f'samples = "adaptive" is for scores: leave out method = "{self.method}", or give a number of samples'
            )
        if self.checks == "score" and (self.method != "scores" or len(self.judges) > 1 or self.samples == "adaptive"):
            raise ValueError('checks = "score" takes the place of one judge: leave out method, the jury and "adaptive"')
        if self.method in ("likelihood", "cream") and self.by != "current":
            raise ValueError(f'method = "{self.method}" asks the models of the loop: leave out by, or set it to "current"')
        if self.method == "votes" and self.by != "current":
            raise ValueError('method = "votes" asks no judge: leave out by')
        if self.method != "votes" and (self.answer is not None or self.majority != 0.5):
            raise ValueError('answer and majority work only with method = "votes"')
        if self.answer is not None and re.compile(self.answer).groups != 1:
            raise ValueError("answer must have one group, around the answer that is voted for")
        if self.length_penalty and self.method != "likelihood":
            raise ValueError(
                'length_penalty works only with method = "likelihood": leave it out, or set pairs.length_rho instead'
            )
        return self

    @model_validator(mode="after")
    def _can_score(self) -> Self:
        if re.compile(self.pattern).groups != 1:
            raise ValueError("pattern must have one group, the score")
        if self.scale[0] >= self.scale[1]:
            raise ValueError("scale must go from its lowest score to its highest")
        if not self.caught:
            raise ValueError(
                f"pattern can never give a score: its group catches no number from {self.scale[0]:g} to {self.scale[1]:g}"
            )
        if not self.field or self.field == "reasons" or (self.form == "text" and self.field != "score"):
            raise ValueError('field must be the name of the score in form = "json", and not "reasons", which come before it')
        if self.min_valid > self.most:
            raise ValueError("min_valid is more than samples, so no response would ever have a score")
        return self


def _numbers(low: float, high: float) -> Iterator[str]:
    """Numbers on a scale in the ways that people write them; of a long scale the lowest and highest thousand."""
    whole = range(ceil(low), floor(high) + 1)
    decimals = ("", *(f"{point}{digits}" for point in ".," for digits in (*map(str, range(10)), "00", "25", "50", "75", "000")))
    for number in (*whole[:1000], *whole[1000:][-1000:]):
        for written in (f"{number}", f"{number:+}", f"{number:02}", f"{number:03}"):
            yield from (f"{written}{decimal}" for decimal in decimals if number < high or not decimal.strip("0.,"))
    yield from (f"{low:g}", f"{high:g}", f"{(low + high) / 2:g}")


class PairsConfig(Section):
    """The choice of preference pairs among scored candidates."""

    policy: ImportPath = BEST_AGAINST_WORST
    """The function that chooses the two responses of a pair."""
    accumulate: bool = False
    """Train on the pairs of all earlier iterations too."""
    max_fluke: Share | None = off(None)
    """Drop a pair if judging its responses again would turn it round with more than this probability."""
    length_rho: Share = off(0.0)
    """ρ of Meta-Rewarding's length rule (arXiv 2407.19594): the shortest of the responses whose scores lie within this share of
    the way from best to worst against the longest of those as near to the worst. 0: best against worst, whatever their length."""

    rejected_from: Literal["current", "M1"] = off("current")
    """`M1` (Temporal Self-Rewarding, arXiv 2508.06026): M1 answers each prompt too, and its worst response is rejected where the
    judge finds it worse than the worst of M_t."""
    chosen_from: Literal["current", "ahead"] = off("current")
    """`ahead` (the same paper): a model is trained on these pairs and answers each prompt too; its best response is chosen where
    the judge finds it better than the best of M_t. M_{t+1} is trained on the resulting pairs, from M_t as ever."""

    @property
    def temporal(self) -> bool:
        """True if models other than M_t have candidates too."""
        return self.rejected_from != "current" or self.chosen_from != "current"

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        if self.temporal and (self.length_rho or self.policy != BEST_AGAINST_WORST):
            raise ValueError("rejected_from and chosen_from have a rule of their own: leave them out, or policy and length_rho")
        if self.length_rho and self.policy != BEST_AGAINST_WORST:
            raise ValueError("length_rho changes what the built-in policy chooses: leave out length_rho, or policy")
        return self
