"""Preference pairs: best against worst of each prompt (paper, section 2.2), and cures: flukes dropped, trust in the order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import groupby
from statistics import fmean

from selfreward.errors import SelfRewardError, raised
from selfreward.recipe import BEST_AGAINST_WORST, DPOConfig, PairsConfig, Recipe, function_at
from selfreward.records import Checkpoint, Dropped, Iteration, Judgment, Pair, Prompt, Response, number
from selfreward.rundir import JUDGMENTS_BEFORE, ModelFolder
from selfreward.stats import pair_outcomes, rank_consistency
from selfreward.steps.cast import Cast
from selfreward.steps.judgments import Grader

Scored = tuple[float, Response]
Policy = Callable[[str, list[Scored]], "Pair | str"]
"""(prompt id, its scored candidates, two at least) → the pair, or the reason against having one."""
TOO_FEW = "fewer_than_two_scored"


def choose_pairs(
    prompts: Iterable[Prompt], responses: Iterable[Response], scores: Mapping[str, float], policy: Policy
) -> tuple[list[Pair], list[Dropped]]:
    """One pair for each prompt, by `policy`; prompts without a pair, with the reason.

    `scores`: mean score by response id; a response that is not in it could not be scored and takes no part, nor does one that was
    not generated at all: no failure of an engine is learned from. Responses to a prompt stand together in `responses`, as they
    were planned, and only so many are in memory at once. Raises `ValueError` where they do not.
    """
    decided: dict[str, Pair | str] = {}
    for prompt_id, candidates in groupby(responses, lambda response: response.prompt_id):
        if prompt_id in decided:
            raise ValueError(f"the responses to prompt {prompt_id} do not stand together")
        group = [(scores[response.id], response) for response in candidates if response.id in scores and response.answered]
        decided[prompt_id] = policy(prompt_id, group) if len(group) >= 2 else TOO_FEW
    pairs, dropped = [], []
    for prompt in prompts:
        decision = decided.get(prompt.id, TOO_FEW)
        if isinstance(decision, Pair):
            pairs.append(decision)
        else:
            dropped.append(Dropped(id=prompt.id, stage="pairs", reason=decision))
    return pairs, dropped


def pair_policy(config: PairsConfig) -> Policy:
    """The function by which `config` chooses pairs. Raises `SelfRewardError` where it cannot be imported."""
    if config.length_rho:
        return partial(shortest_of_the_best, rho=config.length_rho)
    policy = function_at(config.policy, "pairs.policy", "prompt_id", "scored")
    return policy if config.policy == BEST_AGAINST_WORST else partial(_asked, policy, config.policy)


def _asked(policy: Policy, path: str, prompt_id: str, group: list[Scored]) -> Pair | str:
    """The decision of a user's own policy. Raises `SelfRewardError` where it is neither a pair of the candidates nor a reason."""
    now = "Make it return a Pair of two of its candidates with their scores, chosen the higher, or a text with the reason against"
    try:
        decision = policy(prompt_id, list(group))
    except Exception as error:  # the user's code may raise anything
        raise SelfRewardError(f"raised {raised(error)} for prompt {prompt_id}", f"pairs.policy ({path})", now) from error
    if isinstance(decision, str) and decision:
        return decision
    came: str | None = f"{decision!r:.80}"
    if isinstance(decision, Pair):
        scores = {response.id: score for score, response in group}
        came = _strange(decision, prompt_id, scores) or _false_scores(decision, policy, scores)
        if came is None:
            return decision
    raise SelfRewardError(f"gave {came} for prompt {prompt_id}", f"pairs.policy ({path})", now)


def _strange(pair: Pair, prompt_id: str, scores: Mapping[str, float]) -> str | None:
    """A pair of others than the candidates in `scores`, in words; None for one of two of them."""
    if pair.prompt_id != prompt_id:
        return f"a Pair of another prompt ({pair.prompt_id:.40})"
    strange = [name for name in (pair.chosen_id, pair.rejected_id) if name not in scores]
    return f"a Pair of other responses ({strange[0]:.40} is none of its {len(scores)} candidates)" if strange else None


def _false_scores(pair: Pair, policy: Policy, scores: Mapping[str, float]) -> str | None:
    """Scores of a pair that are not those that its policy was given, in words; None where they are, and for a control of ours.

    Controls that ship may give their candidates other scores: it is what they are for.
    """
    if (policy.__module__ or "").startswith("selfreward."):
        return None
    given, true = (pair.chosen_score, pair.rejected_score), (scores[pair.chosen_id], scores[pair.rejected_id])
    if given == true and given[0] > given[1]:
        return None
    named = "a Pair with the scores {:g} (chosen) and {:g} (rejected), where its candidates have {:g} and {:g}"
    return named.format(*given, *true)


def best_against_worst(prompt_id: str, group: list[Scored]) -> Pair | str:
    """Highest mean score against lowest. The content id breaks ties: never position, never length.

    An answer that ran out of length is never chosen.
    """
    whole = [scored for scored in group if scored[1].finish == "stop"]
    if not whole:
        return "all_ran_out_of_length"
    best = max(whole, key=lambda scored: (scored[0], scored[1].id))
    worst = min(group, key=lambda scored: (scored[0], scored[1].id))
    return preference(prompt_id, best, worst)


ROUNDING = 1e-9
"""Points by which a score that lies on a border may seem to lie beyond it: means of three judgments are thirds."""


def shortest_of_the_best(prompt_id: str, group: list[Scored], rho: float) -> Pair | str:
    """The shortest of the good responses against the longest of the bad: Meta-Rewarding's length rule (arXiv 2407.19594).

    Good are scores within `rho` (0 to 1) of the way down from the highest to the lowest, bad those within as much of the way up.
    Length is in characters, and among equals the content id decides. An answer that ran out of length is never chosen, and the
    highest score is that of another.
    """
    whole = [scored for scored in group if scored[1].finish == "stop"]
    if not whole:
        return "all_ran_out_of_length"
    highest, lowest = max(score for score, _ in whole), min(score for score, _ in group)
    near = rho * (highest - lowest) + ROUNDING
    good, bad = ([s for s in whole if s[0] >= highest - near], [s for s in group if s[0] <= lowest + near])
    best = min(good, key=lambda scored: (len(scored[1].text), scored[1].id))
    worst = max(bad, key=lambda scored: (len(scored[1].text), scored[1].id))
    return preference(prompt_id, best, worst)


def preference(prompt_id: str, best: Scored, worst: Scored) -> Pair | str:
    """The pair of the two, or the reason why they are none."""
    if best[0] <= worst[0]:
        return "tie"
    if best[1].text == worst[1].text:
        return "same_text"
    return Pair(prompt_id=prompt_id, chosen_id=best[1].id, rejected_id=worst[1].id, chosen_score=best[0], rejected_score=worst[0])


def half_a_point_apart(prompt_id: str, group: list[Scored]) -> Pair | str:
    """Like `best_against_worst`, but no pair of means less than half a point apart: expected scores are never equal."""
    decision = best_against_worst(prompt_id, group)
    return decision if isinstance(decision, str) or decision.chosen_score - decision.rejected_score >= 0.5 else "too_near"


Decided = tuple[list[Pair], list[Dropped]]
DISSENT = "jury_disagrees"
"""The reason to drop a pair that too few judges of a jury would have."""
FLUKE = "likely_fluke"
"""The reason to drop a pair that judging again would too often turn round."""


def without_flukes(decided: Decided, responses: Iterable[Response], judgments: Iterable[Judgment], recipe: Recipe) -> Decided:
    """The pairs and what was dropped, where pairs that flip more likely than `pairs.max_fluke` are dropped too.

    `responses` and `judgments` are all those of the iteration. Where they do not tell how likely a pair flips, it stays.
    """
    limit, (pairs, dropped) = recipe.pairs.max_fluke, decided
    if limit is None:
        return decided
    outcomes = pair_outcomes(pairs, responses, judgments, recipe.judge.min_valid)
    flukes = {pair.id for pair in pairs if pair.id in outcomes and outcomes[pair.id].flipped > limit}
    losses = [Dropped(id=pair.prompt_id, stage="pairs", reason=FLUKE) for pair in pairs if pair.id in flukes]
    return [pair for pair in pairs if pair.id not in flukes], [*dropped, *losses]


def without_dissent(decided: Decided, opinions: Sequence[Mapping[str, float]], agreement: float) -> Decided:
    """The pairs and what was dropped, where pairs that a smaller share of a jury than `agreement` would have are dropped too.

    `opinions`: each judge's scores by response id.
    """
    pairs, dropped = decided
    if not agreement:
        return decided
    backed = {pair.id: fmean(scores[pair.chosen_id] > scores[pair.rejected_id] for scores in opinions) for pair in pairs}
    dropped_pairs = [Dropped(id=pair.prompt_id, stage="pairs", reason=DISSENT) for pair in pairs if backed[pair.id] < agreement]
    return [pair for pair in pairs if backed[pair.id] >= agreement], [*dropped, *dropped_pairs]


def trusted(recipe: Recipe, iteration: Iteration, it: ModelFolder, model: Checkpoint, cast: Cast) -> DPOConfig:
    """The settings for training `model` on `iteration`: this iteration's learning rates, and a number for `confidence`.

    Measured (CREAM, arXiv 2410.12735), it is (τ + 1) / 2 from 0 to 1, with τ the mean over prompts of Kendall's τ-b between the
    scores of the judge and of the model before it, which is asked in `judgments_before`, or between the likelihoods that CREAM
    ranks by. It is 1 where there is no model before, or no prompt has a τ. Pairs of earlier iterations that are trained on again
    are trusted as far.
    """
    dpo = recipe.dpo.of_iteration(number(it.name), recipe.iterations + 1)
    if dpo.confidence != "consistency":
        return dpo
    if iteration.scores is not None:
        taus = rank_consistency(_groups(iteration.responses), iteration.scores, iteration.scores_before or {})
    else:
        earlier = cast.before(cast.judge(recipe.judge, model))
        taus = _taus(iteration, it, earlier, recipe) if earlier else []
    return dpo.model_copy(update={"confidence": (fmean(taus) + 1) / 2 if taus else 1.0})


def _taus(iteration: Iteration, it: ModelFolder, earlier: Checkpoint, recipe: Recipe) -> list[float]:
    """Kendall's τ-b of the prompts that have one; `earlier` judges all candidates first, at most as often as their judge."""
    grader, texts = Grader(recipe.judge), {prompt.id: prompt.asked for prompt in iteration.prompts}
    items = ((texts[response.prompt_id], response) for response in iteration.responses)
    before = it.ask(JUDGMENTS_BEFORE, grader, items, earlier)
    return rank_consistency(_groups(iteration.responses), grader.mean_scores(iteration.judgments), grader.mean_scores(before))


def _groups(responses: Iterable[Response]) -> list[list[str]]:
    return [[response.id for response in group] for _, group in groupby(responses, lambda response: response.prompt_id)]
