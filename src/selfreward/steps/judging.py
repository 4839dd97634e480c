"""Scores of an iteration's candidates, in the way that the recipe names (paper, section 2.2, step 3), and pairs in doubt."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import combinations, groupby
from typing import NamedTuple

from selfreward.recipe import Recipe
from selfreward.records import Checkpoint, Judgment, Preference, Prompt, Records, Response
from selfreward.rundir import JUDGMENTS, PREFERENCES, ModelFolder
from selfreward.stats import mean_places, win_shares
from selfreward.steps.judgments import Grader, ask_candidates
from selfreward.steps.pairs import Decided, without_dissent, without_flukes
from selfreward.steps.pairwise import PairwiseJudge

Candidates = Sequence[tuple[str, Response]]
"""(prompt text, response) each, those of one prompt next to each other."""


class Judged(NamedTuple):
    """Everything that was said of an iteration's candidates."""

    judgments: Collection[Judgment]
    scores: Mapping[str, float]
    """By response id; what could not be scored is not in it."""
    preferences: Collection[Preference] = ()
    """Of candidates that were compared with each other."""
    opinions: Sequence[Mapping[str, float]] = ()
    """Of a jury, each judge's scores by response id."""
    averages: bool = True
    """Whether the scores are the means of `judgments`."""

    @property
    def other_scores(self) -> Mapping[str, float] | None:
        """The scores, where they are no means of judgments."""
        return None if self.averages else self.scores


def judge_candidates(
    it: ModelFolder, prompts: Sequence[Prompt], responses: Records[Response], recipe: Recipe, by: Sequence[Checkpoint]
) -> Judged:  # fmt: skip
    """Score all `responses` to `prompts`; `by`: the judges, of which there are several in a jury."""
    if recipe.judge.method == "pairwise":
        return _by_comparing(it, prompts, responses, recipe, by[0])
    grader, texts = Grader(recipe.judge), {prompt.id: prompt.text for prompt in prompts}
    candidates = [(texts[response.prompt_id], response) for response in responses]
    if len(by) == 1:
        judgments = ask_candidates(it, candidates, grader, by[0])
        return Judged(judgments, grader.mean_scores(judgments))
    return _by_jury(it, candidates, grader, by)


def _by_jury(it: ModelFolder, candidates: Candidates, grader: Grader, by: Sequence[Checkpoint]) -> Judged:
    """Each judge in a stage of its own; a candidate has the mean of its places, and none where a judge gave it no score."""
    rounds = zip(grader.config.rounds, by, strict=True)
    said = [it.ask(JUDGMENTS.named(stage), grader, candidates, judge) for stage, judge in rounds]
    opinions = [grader.mean_scores(judgments) for judgments in said]
    places = mean_places(groups(response for _, response in candidates), opinions)
    return Judged(sum(said, Records([], Judgment, 0)), places, opinions=opinions, averages=False)


def _by_comparing(
    it: ModelFolder, prompts: Sequence[Prompt], responses: Records[Response], recipe: Recipe, by: Checkpoint
) -> Judged:  # fmt: skip
    """Each candidate against each other one to its prompt; those that read the same are level and not asked about."""
    asked = {prompt.id: prompt for prompt in prompts}
    pairs = [pair for _, group in groupby(responses, _prompt_of) for pair in combinations(filter(_answered, group), 2)]
    items = [(asked[a.prompt_id], a, b) for a, b in pairs if a.text != b.text]
    preferences = it.ask(PREFERENCES, PairwiseJudge(recipe.pairwise), items, by)
    return Judged((), win_shares(preferences, responses, recipe.judge.min_valid), preferences, averages=False)


def groups(responses: Iterable[Response]) -> list[list[str]]:
    """Ids of the responses to each prompt."""
    return [[one.id for one in group] for _, group in groupby(responses, _prompt_of)]


def _prompt_of(response: Response) -> str:
    return response.prompt_id


def _answered(response: Response) -> bool:
    return response.answered


def without_doubt(decided: Decided, responses: Iterable[Response], judged: Judged, recipe: Recipe) -> Decided:
    """The pairs and what was dropped, where pairs that flip too likely, or that too few of a jury would have, are dropped too."""
    decided = without_flukes(decided, responses, judged.judgments, recipe)
    return without_dissent(decided, judged.opinions, recipe.judge.agreement)
