"""Against flukes and drift: pairs that are likely flukes are dropped, and the order of the others is trusted as far as it lasts.

A recipe asks for either; where it does not, nothing here changes what is trained on. Other cures are another choice of pairs
(`pairs.shortest_of_the_best`) or of the judge (`models.Cast.judge`).
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from statistics import fmean

from selfreward.judgments import Judge
from selfreward.models import Cast
from selfreward.recipe import DPOConfig, Recipe
from selfreward.records import Checkpoint, Dropped, Judgment, Made, Pair, Response
from selfreward.rundir import ModelFolder
from selfreward.stats import pair_outcomes, rank_consistency

Decided = tuple[list[Pair], list[Dropped]]
FLUKE = "likely_fluke"
"""Why a pair is dropped that judging again would too often turn round."""


def without_flukes(decided: Decided, responses: Iterable[Response], judgments: Iterable[Judgment], recipe: Recipe) -> Decided:
    """The pairs and what was dropped, where pairs that flip more likely than `pairs.max_fluke` are dropped too.

    `responses` and `judgments` are all those of the iteration. Where they do not tell how likely a pair flips, it stays.
    """
    limit, (pairs, dropped) = recipe.pairs.max_fluke, decided
    if limit is None:
        return decided
    outcomes = pair_outcomes(pairs, responses, judgments, recipe.judge.min_valid)
    flukes = {pair.id for pair in pairs if pair.id in outcomes and outcomes[pair.id].flipped > limit}
    told = [Dropped(id=pair.prompt_id, stage="pairs", reason=FLUKE) for pair in pairs if pair.id in flukes]
    return [pair for pair in pairs if pair.id not in flukes], [*dropped, *told]


def trusted(recipe: Recipe, made: Made, it: ModelFolder, model: Checkpoint, cast: Cast) -> DPOConfig:
    """How to train `model` on what it `made`: `[dpo]`, with a number for its confidence (CREAM, arXiv 2410.12735).

    Measured, it is (τ + 1) / 2 from 0 to 1, with τ the mean over prompts of Kendall's τ-b between the scores of the judge and of
    the model before it, which is asked in `judgments_before`. It is 1 where there is no model before, or no prompt has a τ. Pairs
    of earlier iterations that are trained on again are trusted as far.
    """
    if recipe.dpo.confidence != "consistency":
        return recipe.dpo
    earlier = cast.before(cast.judge(recipe.judge, model))
    taus = _taus(made, it, earlier, recipe) if earlier else []
    return recipe.dpo.model_copy(update={"confidence": (fmean(taus) + 1) / 2 if taus else 1.0})


def _taus(made: Made, it: ModelFolder, earlier: Checkpoint, recipe: Recipe) -> list[float]:
    """Kendall's τ-b of the prompts that have one, after `earlier` has judged all candidates as often as their judge at most."""
    judge, texts = Judge(recipe.judge), {prompt.id: prompt.text for prompt in made.prompts}
    plan = judge.plan(((texts[one.prompt_id], one) for one in made.responses), earlier, recipe.seed)
    before = it.stream("judgments_before", Judgment, plan, earlier, judge.read, judge.reading)
    groups = ([one.id for one in group] for _, group in groupby(made.responses, lambda response: response.prompt_id))
    return rank_consistency(groups, judge.mean_scores(made.judgments), judge.mean_scores(before))
