"""Scores of an iteration's candidates, by the method that the recipe names (paper, section 2.2, step 3), and doubtful pairs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import combinations, groupby
from typing import Any, NamedTuple

from selfreward.recipe import Recipe
from selfreward.records import Asked, Checkpoint, Judgment, Likelihood, Preference, Prompt, Records, Response, number, share
from selfreward.rundir import (
    CHECKS,
    JUDGMENTS,
    LIKELIHOODS,
    LIKELIHOODS_BEFORE,
    LIKELIHOODS_M1,
    PREFERENCES,
    VOTES,
    ModelFolder,
    Part,
)
from selfreward.stats import mean_places
from selfreward.steps.cast import Cast
from selfreward.steps.checkers import check_all
from selfreward.steps.judgments import Grader, ask_candidates
from selfreward.steps.likelihoods import Likely, log_ratios, per_token, without_length
from selfreward.steps.pairs import Decided, without_dissent, without_flukes
from selfreward.steps.pairwise import PairwiseJudge, win_shares
from selfreward.steps.votes import by_majority, count_votes

Candidates = Sequence[tuple[Asked, Response]]
"""Pairs of (prompt, response), those of one prompt next to each other."""


class Judged(NamedTuple):
    """All judgments of an iteration's candidates."""

    judgments: Collection[Judgment]
    scores: Mapping[str, float]
    """Scores by response id, without responses that could not be scored."""
    preferences: Collection[Preference] = ()
    """Comparisons of candidates with each other."""
    opinions: Sequence[Mapping[str, float]] = ()
    """Each judge's scores by response id, with a jury."""
    averages: bool = True
    """True if the scores are the means of `judgments`."""

    before: Mapping[str, float] | None = None
    """The scores that the previous model would give, where they are known."""
    told: Mapping[str, float] = {}
    """Figures of the scoring method itself."""

    @property
    def beside(self) -> dict[str, Any]:
        """Everything beside the judgments in an iteration's record."""
        scores = None if self.averages else self.scores
        return {"scores": scores, "scores_before": self.before, "preferences": self.preferences, "told": self.told}


def judge_candidates(
    it: ModelFolder, prompts: Sequence[Prompt], responses: Records[Response], recipe: Recipe, model: Checkpoint, cast: Cast
) -> Judged:  # fmt: skip
    """Score all `responses` to `prompts`, which `model` gave, in the way that the recipe names."""
    method, by = recipe.judge.method_for(number(model.name) + 1), cast.judges(recipe.judge, model)
    if method == "pairwise":
        return _by_comparing(it, prompts, responses, recipe, by[0])
    grader, texts = Grader(recipe.judge), {prompt.id: prompt.asked for prompt in prompts}
    candidates = [(texts[response.prompt_id], response) for response in responses]
    if method == "votes":
        votes = it.keep(VOTES, count_votes(responses, recipe.judge))
        return Judged((), {vote.response_id: vote.votes / vote.of for vote in votes}, averages=False)
    if method != "scores":
        return (_by_likelihood if method == "likelihood" else _by_cream)(it, candidates, recipe, model, cast)
    if recipe.judge.checks == "score":
        return _by_checks(it, prompts, candidates, grader, by[0], recipe.seed)
    if len(by) == 1:
        judgments = ask_candidates(it, candidates, grader, by[0])
        return Judged(judgments, grader.mean_scores(judgments))
    return _by_jury(it, candidates, grader, by)


def _by_checks(
    it: ModelFolder, prompts: Sequence[Prompt], candidates: Candidates, grader: Grader, by: Checkpoint, seed: int
) -> Judged:
    """Candidates of prompts that carry checks by the share that they pass, on the scale; the judge is asked about all others.

    A candidate of which something could not be checked has no score; the reason is in its check.
    """
    checked = check_all(prompts, (response for _, response in candidates if response.answered), seed)
    it.keep(CHECKS, ([check for of_answer in checked.values() for check in of_answer], []))
    low, high = grader.config.scale
    scores = {name: low + passed * (high - low) for name, checks in checked.items() if (passed := share(checks)) is not None}
    carrying = {prompt.id for prompt in prompts if prompt.checks}
    judgments = ask_candidates(it, [item for item in candidates if item[1].prompt_id not in carrying], grader, by)
    return Judged(judgments, {**grader.mean_scores(judgments), **scores}, averages=False)


def _by_jury(it: ModelFolder, candidates: Candidates, grader: Grader, by: Sequence[Checkpoint]) -> Judged:
    """Each judge asks in a stage of its own; a candidate has the mean of its places, and none where a judge gave it no score."""
    rounds = zip(grader.config.rounds, by, strict=True)
    by_judge = [it.ask(JUDGMENTS.named(stage), grader, candidates, judge) for stage, judge in rounds]
    opinions = [grader.mean_scores(judgments) for judgments in by_judge]
    places = mean_places(groups(response for _, response in candidates), opinions)
    return Judged(sum(by_judge, Records([], Judgment, 0)), places, opinions=opinions, averages=False)


def _by_comparing(
    it: ModelFolder, prompts: Sequence[Prompt], responses: Records[Response], recipe: Recipe, by: Checkpoint
) -> Judged:  # fmt: skip
    """Compare each candidate with every other one to its prompt; candidates with the same text are level and not compared."""
    prompt_of = {prompt.id: prompt for prompt in prompts}
    pairs = [pair for _, group in groupby(responses, _prompt_of) for pair in combinations(filter(_answered, group), 2)]
    items = [(prompt_of[a.prompt_id], a, b) for a, b in pairs if a.text != b.text]
    preferences = it.ask(PREFERENCES, PairwiseJudge(recipe.pairwise), items, by)
    return Judged((), win_shares(preferences, responses, recipe.judge.min_valid), preferences, averages=False)


def _by_likelihood(it: ModelFolder, candidates: Candidates, recipe: Recipe, model: Checkpoint, cast: Cast) -> Judged:
    """Log π_t − log π_{t−1}, less the penalty of length (DICE); answers that did not end have no score."""
    earlier, penalty = cast.before(model), recipe.judge.length_penalty
    assert earlier, "M1 gives scores"
    likelihoods = _likelihoods(it, candidates, recipe, {LIKELIHOODS: model, LIKELIHOODS_BEFORE: earlier})
    rewards = log_ratios(likelihoods[LIKELIHOODS], likelihoods[LIKELIHOODS_BEFORE])
    answers = [response for _, response in candidates]
    scores, weight = without_length(rewards, answers, None if penalty == "balanced" else penalty)
    return Judged((), scores, averages=False, told={"length penalty": weight} if penalty else {})


def _by_cream(it: ModelFolder, candidates: Candidates, recipe: Recipe, model: Checkpoint, cast: Cast) -> Judged:
    """Log π_t − log π_1, and for M1 its mean log-probability of a token (CREAM); also the same for the model before."""
    first, before = cast.first, cast.before(model)
    if before is None:
        return Judged((), per_token(_likelihoods(it, candidates, recipe, {LIKELIHOODS: model})[LIKELIHOODS]), averages=False)
    models = {LIKELIHOODS: model, LIKELIHOODS_M1: first}
    if before.name != first.name and recipe.dpo.confidence == "consistency":
        models[LIKELIHOODS_BEFORE] = before
    likelihoods = _likelihoods(it, candidates, recipe, models)
    of_first = likelihoods[LIKELIHOODS_M1]
    earlier = log_ratios(likelihoods[LIKELIHOODS_BEFORE], of_first) if LIKELIHOODS_BEFORE in likelihoods else None
    earlier = per_token(of_first) if before.name == first.name else earlier
    return Judged((), log_ratios(likelihoods[LIKELIHOODS], of_first), averages=False, before=earlier)


def _likelihoods(
    it: ModelFolder, candidates: Candidates, recipe: Recipe, models: Mapping[Part[Likelihood], Checkpoint]
) -> dict[Part[Likelihood], Records[Likelihood]]:  # fmt: skip
    """The likelihoods of the finished candidates, from each model in `models`, in its part."""
    whole = [(prompt, response) for prompt, response in candidates if response.finish == "stop"]
    return {
        part: it.ask(part, Likely(recipe.responses.sampling, recipe.responses.frame), whole, by) for part, by in models.items()
    }


def groups(responses: Iterable[Response]) -> list[list[str]]:
    """Ids of the responses to each prompt."""
    return [[response.id for response in group] for _, group in groupby(responses, _prompt_of)]


def _prompt_of(response: Response) -> str:
    return response.prompt_id


def _answered(response: Response) -> bool:
    return response.answered


def without_doubt(decided: Decided, responses: Iterable[Response], judged: Judged, recipe: Recipe) -> Decided:
    """The pairs and the dropped ones; pairs that flip too likely, or that too few of a jury would have, are dropped too."""
    if recipe.judge.method == "votes":
        decided = by_majority(decided, recipe.judge.majority)
    decided = without_flukes(decided, responses, judged.judgments, recipe)
    return without_dissent(decided, judged.opinions, recipe.judge.agreement)
