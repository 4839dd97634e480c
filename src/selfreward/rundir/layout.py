"""Everything that a run consists of: its folders, the parts of each in the order of `loop.py`, and the records of a part.

A part is one stage of a folder, such as "judgments" of "M2". All code that makes, counts, reads, exports or shows a part
looks it up here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from selfreward.recipe import Recipe
from selfreward.records import (
    Check,
    Compared,
    Dropped,
    Example,
    JudgePair,
    Judgment,
    Likelihood,
    MetaJudgment,
    Pair,
    Preference,
    Prompt,
    Proposal,
    Ranking,
    Reading,
    Record,
    Response,
    Verdict,
    Vote,
)  # fmt: skip

R = TypeVar("R", bound=Record)
Form = Literal["asks", "decides", "trains"]
Use = Literal["train", "test", "hidden"]
"""The use of a part's records: making models (`train`) or measuring them (`test`); `hidden` parts are never exported."""


class Part(NamedTuple, Generic[R]):
    """One kind of stage, and the type of its records."""

    name: str
    form: Form
    record: type[R]
    use: Use = "train"
    several: bool = False
    """True if a folder has one for each round or step: `name_2`, `name_400`."""
    on_the_way: bool = False
    """True if it is made while a model is trained, and belongs to that training."""

    @property
    def of_the_paper(self) -> bool:
        """True if the iterations of every run, or of most runs, have it."""
        return self.name in ("responses", "judgments") or any(
            part.covers(self.name) for part in (PROPOSED, PROMPTS, JUDGMENTS, PAIRS)
        )

    def at(self, which: object) -> Part[R]:
        """The part of one round or step."""
        return self._replace(name=f"{self.name}_{which}", several=False)

    def named(self, name: str) -> Part[R]:
        """The part as a stage with this name, such as "judgments_2"."""
        return self._replace(name=name, several=False)

    def covers(self, stage: str) -> bool:
        """True if a stage with this name is this part, or one of its rounds or steps."""
        number = stage.removeprefix(f"{self.name}_")
        return stage == self.name or (self.several and number != stage and number.isdecimal())


SEED, M0, SFT, M1 = "seed", "M0", "SFT", "M1"
"""Folders of a run: the seed, the base, the baseline, and the first model that judges; M2, M3, … follow."""

IFT = Part("ift", "decides", Example)
EFT = Part("eft", "decides", Example)
RANKINGS = Part("rankings", "decides", Ranking)
HELDOUT_PROMPTS = Part("heldout_prompts", "decides", Prompt, "test")
HELDOUT_RANKINGS = Part("heldout_rankings", "decides", Ranking, "test")
VALIDATION = Part("validation", "decides", Prompt)
CHANGED_PROMPTS = Part("changed_prompts", "asks", Response)
WORSE_RESPONSES = Part("worse_responses", "asks", Response)
EFT_JUDGMENTS = Part("eft_judgments", "asks", Judgment)

PROPOSED = Part("proposed", "asks", Proposal)
PROMPTS = Part("prompts", "decides", Prompt)
RESPONSES = Part("responses", "asks", Response, several=True)
JUDGMENTS = Part("judgments", "asks", Judgment, several=True)
PREFERENCES = Part("preferences", "asks", Preference)
VOTES = Part("votes", "decides", Vote)
CHECKS = Part("checks", "decides", Check)
"""Checks of candidates, where they give the scores."""
LIKELIHOODS = Part("likelihoods", "asks", Likelihood)
LIKELIHOODS_BEFORE = Part("likelihoods_before", "asks", Likelihood)
LIKELIHOODS_M1 = Part("likelihoods_m1", "asks", Likelihood)
PAIRS_AHEAD = Part("pairs_ahead", "decides", Pair)
AHEAD: Part[Dropped] = Part("ahead", "trains", Dropped)
"""A model whose candidates are looked at and which is then done with."""
PAIRS = Part("pairs", "decides", Pair)
JUDGMENTS_ADDED = Part("judgments_added", "asks", Judgment)
META_JUDGMENTS = Part("meta_judgments", "asks", MetaJudgment)
EFT_REPLAYED = Part("eft_replayed", "asks", Judgment)
JUDGE_PAIRS = Part("judge_pairs", "decides", JudgePair)
JUDGMENTS_BEFORE = Part("judgments_before", "asks", Judgment)
SELECTION_RESPONSES = Part("selection_responses", "asks", Response, several=True, on_the_way=True)
SELECTION_PREFERENCES = Part("selection_preferences", "asks", Preference, several=True, on_the_way=True)
SELECTION = Part("selection", "decides", Compared, on_the_way=True)
MODEL: Part[Dropped] = Part("model", "trains", Dropped)
"""A trained model; its records are the pairs left out of training."""

HELDOUT_RESPONSES = Part("heldout_responses", "asks", Response, "test")
HELDOUT_JUDGMENTS = Part("heldout_judgments", "asks", Judgment, "test")
TRUTH = Part("truth", "decides", Verdict, "test")
RANKING_JUDGMENTS = Part("ranking_judgments", "asks", Judgment, "test")
HELDOUT_PREFERENCES = Part("heldout_preferences", "asks", Preference, "test")
HELDOUT_CHECKS = Part("heldout_checks", "decides", Check, "test")
"""Checks of held-out answers and of candidates, for measurement."""

DRIFT_CANDIDATES = Part("drift_candidates", "asks", Response, "hidden")
ANCHOR_RESPONSES = Part("anchor_responses", "asks", Response, "hidden")
DRIFT_CUT = Part("drift_cut", "asks", Judgment, "hidden")
DRIFT_POOL = Part("drift_pool", "asks", Judgment, "hidden")
ANCHOR_JUDGMENTS = Part("anchor_judgments", "asks", Judgment, "hidden")
LIKELIHOOD_OWN = Part("drift_likelihood_own", "asks", Likelihood, "hidden")
LIKELIHOOD_BEFORE = Part("drift_likelihood_before", "asks", Likelihood, "hidden")
LIKELIHOOD_FIRST = Part("drift_likelihood_first", "asks", Likelihood, "hidden")
DRIFT_FROZEN = Part("drift_frozen", "asks", Judgment, "hidden")
DRIFT = Part("drift", "decides", Reading, "test")

Parts = tuple[Part[Any], ...]
PARTS: Parts = tuple(value for value in vars().values() if isinstance(value, Part))
WATCHING: Parts = tuple(part for part in PARTS if part.use == "hidden" or part is DRIFT)
"""Parts that only monitors read: the loop makes nothing from them."""
FILES = ("config.json", "provenance.json", "summary.json", "branch.json", ".lock")
"""Files of a run beside its folders."""
BESIDE = ("logs", "report")
"""Folders of a run from which nothing is made."""
BASE = "base"
"""A stage of the seed's folder that a run has whose base is a GGUF file: that model as a folder."""
MEASUREMENT = "measured"
"""The name of the receipt over a model's measurement, which names the receipts of all that it was made from."""
MEASURED = f"{MEASUREMENT}.json"
"""A file in every model's folder that belongs to no stage."""


class PlannedPart(NamedTuple):
    """A planned part of a run."""

    folder: str
    part: Part[Any]

    def __str__(self) -> str:
        return f"{self.folder}/{self.part.name}"


def expected(recipe: Recipe) -> list[PlannedPart]:
    """Every part of the run that `recipe` asks for, in the loop's order."""
    return [PlannedPart(folder, part) for folder, parts in _in_order(recipe) for part in parts]


def models(recipe: Recipe) -> list[str]:
    """Names of the models that a run makes or measures, in order."""
    return list(dict.fromkeys(planned.folder for planned in expected(recipe) if planned.folder != SEED))


def part_of(stage: str) -> Part[Any]:
    """The part that a stage with this name is. Raises `KeyError` where a run has none."""
    part = next((part for part in PARTS if part.covers(stage)), None)
    if part is None:
        raise KeyError(stage)
    return part


def _in_order(recipe: Recipe) -> Iterator[tuple[str, Parts]]:
    by_itself = recipe.eft.by == "self"
    judged = () if by_itself else (RANKINGS if recipe.data.rankings else EFT,)
    yield SEED, (IFT, *judged, HELDOUT_PROMPTS, HELDOUT_RANKINGS)
    yield SEED, (VALIDATION,) if recipe.select else ()
    if recipe.measure.base:
        yield M0, _measuring(recipe)
    if recipe.sft.baseline:
        yield SFT, (MODEL, *_measuring(recipe))
        made_rankings = (CHANGED_PROMPTS, WORSE_RESPONSES, RANKINGS) if by_itself else ()
        yield SEED, (*made_rankings, EFT_JUDGMENTS, EFT) if recipe.makes_eft else ()
    yield M1, () if recipe.sft.on == "none" else (MODEL,)
    yield M1, (*_measuring(recipe), *_watching(recipe, first=True))
    for t in range(2, recipe.iterations + 2):
        before = (JUDGMENTS_BEFORE,) if recipe.judged_before(t) else ()
        yield (
            f"M{t}",
            (
                *making(recipe, t),
                *teaching(recipe, t),
                *before,
                *_training(recipe),
                *((*_measuring(recipe), *_watching(recipe, first=False)) if recipe.measures(t) else ()),
            ),
        )


def making(recipe: Recipe, t: int) -> Parts:
    """The parts that the pairs for M_t are made of (paper, section 2.2)."""
    return (
        *(() if recipe.prompts.source else (PROPOSED,)),
        PROMPTS,
        RESPONSES.named("responses"),
        *_judging(recipe, t),
        *_around(recipe, t),
        PAIRS,
    )


def teaching(recipe: Recipe, t: int) -> Parts:
    """The parts that pairs of judgments are made of, for M_t."""
    config = recipe.judge_pairs
    if config is None or not recipe.teaches_judging(t):
        return ()
    compares = config.by != "none"
    added = (JUDGMENTS_ADDED,) if compares and (config.samples or 0) > recipe.judge.most else ()
    meta, replayed = (META_JUDGMENTS,) if config.by == "meta" else (), (EFT_REPLAYED,) if config.replay else ()
    return (*added, *meta, *replayed, JUDGE_PAIRS)


def of_model(which: Literal["M1", "ahead"]) -> tuple[Part[Response], Part[Judgment]]:
    """The candidates of another model than M_t, and the judgments of them."""
    number = {"M1": 2, "ahead": 3}[which]
    return RESPONSES.at(number), JUDGMENTS.at(number)


def _around(recipe: Recipe, t: int) -> Parts:
    """The parts of candidates of other models, for M_t; M1's own are no other's."""
    first = of_model("M1") if recipe.pairs.rejected_from == "M1" and t > 2 else ()
    return (*first, *((PAIRS_AHEAD, AHEAD, *of_model("ahead")) if recipe.pairs.chosen_from == "ahead" else ()))


def _judging(recipe: Recipe, t: int) -> Parts:
    """The parts that the candidates for M_t get their scores from."""
    method = recipe.judge.method_for(t)
    if method == "pairwise":
        return (PREFERENCES,)
    if method == "votes":
        return (VOTES,)
    if method == "likelihood":
        return (LIKELIHOODS, LIKELIHOODS_BEFORE)
    if method == "cream":
        first = (LIKELIHOODS_M1,) if t > 2 else ()
        return (LIKELIHOODS, *first, *((LIKELIHOODS_BEFORE,) if t > 3 and recipe.dpo.confidence == "consistency" else ()))
    checked = (CHECKS,) if recipe.judge.checks == "score" else ()
    return (*checked, *(JUDGMENTS.named(name) for name in recipe.judge.rounds))


def _training(recipe: Recipe) -> Parts:
    return (SELECTION_RESPONSES, SELECTION_PREFERENCES, SELECTION, MODEL) if recipe.select else (MODEL,)


def _measuring(recipe: Recipe) -> Parts:
    comparing = (HELDOUT_PREFERENCES,) if recipe.measure.judge else ()
    truth = (TRUTH,) if recipe.judge.checks == "off" else (HELDOUT_CHECKS, TRUTH)
    if not recipe.measure.judging:
        return (HELDOUT_RESPONSES, *truth, *comparing)
    return (HELDOUT_RESPONSES, HELDOUT_JUDGMENTS, *truth, RANKING_JUDGMENTS, *comparing)


def _watching(recipe: Recipe, first: bool) -> Parts:
    """The parts that monitors read; the `first` watched model makes the frozen pool."""
    if recipe.drift is None:
        return ()
    anchors = recipe.drift.anchors or recipe.judge.checks == "anchor"
    answering, judging = ((ANCHOR_RESPONSES,), (ANCHOR_JUDGMENTS,)) if anchors else ((), ())
    pool, likely = ((DRIFT_CANDIDATES,), ()) if first else ((), (LIKELIHOOD_BEFORE, LIKELIHOOD_FIRST))
    return (*pool, *answering, DRIFT_CUT, DRIFT_POOL, *judging, LIKELIHOOD_OWN, *likely, DRIFT_FROZEN, DRIFT)
