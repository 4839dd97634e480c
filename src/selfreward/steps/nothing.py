"""The reason why a stage yields nothing: the commonest one, an example of it, and the field of the recipe that decides it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable

from selfreward.errors import NoPairs, SelfRewardError, amount, cut_short
from selfreward.recipe import BEST_AGAINST_WORST, ROLES, Recipe
from selfreward.records import (
    Dropped,
    Example,
    Identified,
    Iteration,
    Judgment,
    Likelihood,
    MetaJudgment,
    Proposal,
    iter_jsonl,
)
from selfreward.rundir import JUDGE_PAIRS, LIKELIHOODS, META_JUDGMENTS, PAIRS, PROMPTS, PROPOSED, RANKINGS, VOTES, ModelFolder
from selfreward.steps.reasons import (
    EFT_FIELDS,
    LESSON_FIELDS,
    LIKELIHOOD_FIELDS,
    PAIR_FIELDS,
    PROMPT_FIELDS,
    RANKING_FIELDS,
    TIE_FIELDS,
    VOTE_FIELDS,
    Reason,
    commonest,
    counted,
    example_of,
    of_judgments,
    of_preferences,
    of_texts,
    sentences,
)

READING = ("judge.pattern", "judge.form", "judge.field", "judge.max_tokens")
"""Fields by which a judge's verdict is found in what it wrote."""
UNLEARNT = "; or the judge has learnt too little: give more EFT (data.eft, data.rankings), or raise sft.epochs"
"""The other way out where the judge is a model of the loop."""
GOING_ON = ". After the change the same command continues, or first names the records of the run to delete"
"""The fate of records that were made by the recipe before it was changed."""


def require_pairs(iteration: Iteration, it: ModelFolder, recipe: Recipe) -> None:
    """Raises `NoPairs` where `iteration` has nothing to train on, with the stage at fault and the reason."""
    if iteration.pairs:
        return
    if not iteration.prompts:
        error = _no_prompts(iteration, it)
    elif not any(response.answered for response in iteration.responses):
        error = _no_answers(iteration, it, recipe)
    else:
        error = _no_pairs(iteration, it, recipe)
    raise NoPairs(error.what, error.where, error.now + GOING_ON)


def _no_prompts(iteration: Iteration, it: ModelFolder) -> NoPairs:
    reasons, ids = _dropped(it, PROMPTS.name)
    worst = commonest(reasons) if reasons else ""
    example = _first(iter_jsonl(it.path / f"{PROPOSED.name}.jsonl", Proposal), ids.get(worst), lambda p: p.text)
    told = Reason(counted(reasons), example_of(worst, example), PROMPT_FIELDS.get(worst, "prompts.by"))
    of = f"the {iteration.proposals:,} that the writer wrote"
    what = sentences(f"no usable pair (no prompts: {told.counts or 'none came'}) of {of}", told.example)
    return NoPairs(what + _failed(it, PROPOSED.name), str(it.path / f"{PROMPTS.name}.dropped.jsonl"), told.now)


def _no_answers(iteration: Iteration, it: ModelFolder, recipe: Recipe) -> NoPairs:
    what = f"none of {amount(len(iteration.responses), 'request')} for responses was answered{_failed(it, 'responses')}"
    return NoPairs(what, str(it.path / "responses.jsonl"), "Correct what it names, such as base or backend in the recipe")


def _no_pairs(iteration: Iteration, it: ModelFolder, recipe: Recipe) -> NoPairs:
    reasons, ids = _dropped(it, PAIRS.name)
    worst = commonest(reasons)
    if worst == "fewer_than_two_scored" and (unscored := _unscored(iteration, it, recipe)):
        what, stage, why = unscored
        what = f"no usable pair ({counted(reasons)}), for {what}: {why.told}{_failed(it, stage)}"
        unlearnt = UNLEARNT if why.field in READING and recipe.judge.by in ROLES else ""
        return NoPairs(what, str(it.path / f"{stage}.jsonl"), why.now + unlearnt)
    field = PAIR_FIELDS.get(worst, "pairs.policy" if recipe.pairs.policy != BEST_AGAINST_WORST else "judge.samples")
    if field == "judge.samples":
        alike = len({judgment.score for judgment in iteration.judgments} - {None}) < 2  # and more of them would be no different
        by_judgments = "judge.rubric" if recipe.judge.read == "expected" or alike else field
        field = TIE_FIELDS.get(_method(iteration, recipe), by_judgments)
    example = _first(iteration.prompts, ids.get(worst), lambda prompt: prompt.text)
    told = Reason(counted(reasons), f"{worst}, for example: the answers to {cut_short(example)}", field)
    what = sentences(f"no usable pair ({told.counts})", _few_prompts(iteration, it), told.example)
    return NoPairs(what, str(it.path / f"{PAIRS.name}.dropped.jsonl"), told.now)


def _few_prompts(iteration: Iteration, it: ModelFolder) -> str:
    """The reason why there were few prompts, where most proposals were dropped; empty where they were not."""
    if 2 * len(iteration.prompts) >= iteration.proposals:
        return ""
    reasons, _ = _dropped(it, PROMPTS.name)
    asked = f"{len(iteration.prompts):,} of {amount(iteration.proposals, 'proposal')} of the writer"
    return f"Only {asked} came to be asked ({counted(reasons)})"


def _unscored(iteration: Iteration, it: ModelFolder, recipe: Recipe) -> tuple[str, str, Reason] | None:
    """The thing that came to nothing, its stage, and the reason, where candidates have no score by the recipe's method."""
    method = _method(iteration, recipe)
    if method == "scores":
        many = "too few judgments" if any(judgment.score is not None for judgment in iteration.judgments) else "no judgment"
        reason, what, stage = of_judgments(iteration.judgments, recipe), f"{many} could be read", "judgments"
    elif method == "pairwise":
        many = "too few comparisons" if any(preference.winner for preference in iteration.preferences) else "no comparison"
        reason, what, stage = of_preferences(iteration.preferences, "judge.by"), f"{many} could be read", "preferences"
    elif method == "votes":
        reason, what, stage = _of_votes(iteration, it), "too few responses come to an answer", VOTES.name
    else:
        reason, what, stage = _of_likelihoods(iteration, it), "too few responses have a likelihood", LIKELIHOODS.name
    return (what, stage, reason) if reason else None


def _method(iteration: Iteration, recipe: Recipe) -> str:
    """The method by which the candidates were scored: means of judgments are M1's candidates' with every method but CREAM."""
    return "scores" if iteration.scores is None else recipe.judge.method


def _of_votes(iteration: Iteration, it: ModelFolder) -> Reason | None:
    reasons, ids = _dropped(it, VOTES.name)
    if not reasons:
        return None
    worst = commonest(reasons)
    example = _first(iteration.responses, ids[worst], lambda response: response.text)
    return Reason(counted(reasons), example_of(worst, example), VOTE_FIELDS[worst])


def _of_likelihoods(iteration: Iteration, it: ModelFolder) -> Reason | None:
    """A response that did not end has no likelihood, and one that the engine tells none of has none either."""
    cut = [response.text for response in iteration.responses if response.finish != "stop"]
    asked = iter_jsonl(it.path / f"{LIKELIHOODS.name}.jsonl", Likelihood)
    untold = [likelihood.response_id for likelihood in asked if likelihood.outcome == "untold"]
    reasons = {name: count for name, count in (("did_not_end", len(cut)), ("untold", len(untold))) if count}
    if not reasons:
        return None
    worst = commonest(reasons)
    example = cut[0] if worst == "did_not_end" else _first(iteration.responses, untold[0], lambda response: response.text)
    return Reason(counted(reasons), example_of(worst, example), LIKELIHOOD_FIELDS[worst])


def no_judge_pairs(iteration: Iteration, it: ModelFolder, recipe: Recipe) -> str:
    """A line on an iteration that teaches no judging though it was to: why, an example, and the field that decides it."""
    reasons, ids = _dropped(it, JUDGE_PAIRS.name)
    if not reasons:
        return f"{it.name}/{JUDGE_PAIRS.name}: no pair of judgments to learn from, for none was compared"
    worst, why = commonest(reasons), None
    if worst == "fewer_than_two_scored":
        why = of_judgments(iteration.judgments, recipe)
    elif worst == "same_strength":
        why = _of_battles(it)
    if why is None:
        example = _first([*iteration.prompts, *iteration.responses], ids[worst], lambda one: one.text)  # an id of either
        why = Reason("", example_of(worst, example), LESSON_FIELDS.get(worst, "judge_pairs.by"))
    what = f"no pair of judgments to learn from ({counted(reasons)})"
    return f"{it.name}/{JUDGE_PAIRS.name}: {sentences(what, why.counts, why.example)}. {why.now}"


def _of_battles(it: ModelFolder) -> Reason | None:
    said = list(iter_jsonl(it.path / f"{META_JUDGMENTS.name}.jsonl", MetaJudgment))
    fields = {"unparsed": "judge_pairs.pattern", "truncated": "judge_pairs.max_tokens", "error": "judge_pairs.by"}
    none_decided = all(one.outcome != "decided" for one in said)
    return of_texts(said, "decided", fields, "the meta-judge wrote") if none_decided else None


def no_rankings(examples: Iterable[Example], it: ModelFolder) -> SelfRewardError:
    """The error where the SFT baseline makes no ranking of the answers in IFT's `examples`."""
    reasons, ids = _dropped(it, RANKINGS.name)
    worst = commonest(reasons) if reasons else ""
    field = RANKING_FIELDS.get(worst, "eft.prompts")
    told = Reason(counted(reasons), example_of(worst, _first(examples, ids.get(worst), lambda one: one.prompt)), field)
    what = sentences(f"the SFT baseline made no ranking ({told.counts})", told.example)
    return SelfRewardError(what, str(it.path / f"{RANKINGS.name}.dropped.jsonl"), told.now + GOING_ON)


NO_EFT = '; or do without EFT: sft.on = "ift"' + GOING_ON
"""The way out for a base that is too weak a judge to make EFT."""


def no_eft(judgments: Collection[Judgment], it: ModelFolder, recipe: Recipe) -> SelfRewardError:
    """The error where the SFT baseline makes no EFT example from people's rankings."""
    reasons, _ = _dropped(it, "eft")
    worst = commonest(reasons) if reasons else "unparsed"
    unread = of_judgments(judgments, recipe) if worst == "unparsed" else None
    if unread:
        what = f"no EFT example could be made ({counted(reasons)}): of its judgments {unread.told}"
        return SelfRewardError(what + _failed(it, "eft_judgments"), str(it.path / "eft_judgments.jsonl"), unread.now + NO_EFT)
    told = Reason(counted(reasons), _first_judged(judgments), EFT_FIELDS.get(worst, "data.rankings"))
    what = sentences(f"the SFT baseline agrees with people on no ranked set ({told.counts})", told.example)
    return SelfRewardError(what, str(it.path / "eft_judgments.jsonl"), told.now + NO_EFT)


def _first_judged(judgments: Iterable[Judgment]) -> str:
    first = next((judgment for judgment in judgments if judgment.score is not None), None)
    return f"One judgment, for example: {cut_short(first.rationale)}" if first else ""


def _dropped(it: ModelFolder, stage: str) -> tuple[Counter[str], dict[str, str]]:
    """The count of each reason in a finished stage, and the id of a record that was dropped for it."""
    reasons, ids = Counter[str](), dict[str, str]()
    for drop in iter_jsonl(it.path / f"{stage}.dropped.jsonl", Dropped):
        reasons[drop.reason] += 1
        ids.setdefault(drop.reason, drop.id)
    return reasons, ids


def _first(records: Iterable[Identified], wanted: str | None, text: Callable[..., str]) -> str:
    """The text of the record with this id."""
    return next((text(record) for record in records if record.id == wanted), "")


def _failed(it: ModelFolder, stage: str) -> str:
    """The commonest reason that an engine gave for failing in a stage, in words; empty where it gave none."""
    reasons = it.facts(stage).get("failed", {})
    return f"; most requests failed with: {cut_short(commonest(reasons))}" if reasons else ""
