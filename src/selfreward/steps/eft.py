"""EFT as in the paper (section 3.1): the SFT baseline judges ranked responses, and is believed where it agrees with people."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from fractions import Fraction
from math import floor, fsum
from typing import NamedTuple

from selfreward.recipe import EFTConfig, Recipe
from selfreward.records import Checkpoint, Completion, Dropped, Example, Judgment, Ranking, Request, turns_of
from selfreward.rundir import EFT, EFT_JUDGMENTS, ModelFolder
from selfreward.steps.judgments import Grader
from selfreward.steps.made_rankings import rank_without_people
from selfreward.steps.nothing import no_eft
from selfreward.steps.seed import Seed, ranked_responses


class Replaying(NamedTuple):
    """Asks a model to judge what EFT's examples judge."""

    grader: Grader
    samples: int

    @property
    def reading(self) -> list[object]:
        """Everything beside the model's text that a judgment depends on."""
        return self.grader.reading

    def plan(self, examples: Iterable[Example], model: Checkpoint, seed: int) -> list[Request]:
        """`samples` requests for each example, next to each other."""
        config = self.grader.config
        return [
            Request.asking(example.id, sample, turns, config.sampling, model, seed)
            for example in examples
            for turns in (turns_of(config.frame(example.asked)),)
            for sample in range(self.samples)
        ]

    def read(self, request: Request, completion: Completion) -> Judgment:
        """One opinion; its `response_id` is the id of the example."""
        return self.grader.read(request, completion)


def make_eft(seed: Seed, recipe: Recipe, baseline: Checkpoint, folder: ModelFolder) -> Seed:
    """`seed` with the EFT examples that `baseline` makes of its ranked sets, or of sets that it makes itself.

    Raises `SelfRewardError` where it makes none.
    """
    if recipe.eft.by == "self":
        seed = seed._replace(rankings=rank_without_people(seed, recipe, baseline, folder))
    # What is learnt is the number in the text, so that it is this number that must agree.
    grader = Grader(recipe.judge.model_copy(update={"samples": recipe.eft.tries, "read": "sampled"}))
    items = [(ranking.asked, response) for ranking in seed.rankings for response in ranked_responses(ranking)]
    judgments = folder.ask(EFT_JUDGMENTS, grader, items, baseline)
    eft = folder.keep(EFT, choose_eft(seed.rankings, judgments, grader, recipe.eft, recipe.seed))
    if not eft:
        raise no_eft(judgments, folder, recipe)
    return seed._replace(eft=eft)


def choose_eft(
    rankings: Sequence[Ranking], judgments: Iterable[Judgment], grader: Grader, config: EFTConfig, seed: int
) -> tuple[list[Example], list[Dropped]]:
    """A judgment of each response, as an example, of the sets that `judgments` rank as people do; why there is none of others.

    Of what is kept the commonest score, and no other, is thinned out to `config.commonest`; which go follows from `seed`.
    """
    tries: dict[str, list[Judgment]] = defaultdict(list)
    for judgment in sorted(judgments, key=lambda judgment: judgment.sample):
        tries[judgment.response_id].append(judgment)
    examples: dict[str, tuple[Judgment, Example]] = {}
    dropped: list[Dropped] = []
    for ranking in rankings:
        responses = ranked_responses(ranking)
        targets = AGREE[config.agree](ranking.ranks, [tries[response.id] for response in responses])
        if isinstance(targets, str):
            dropped += [_dropped(response.id, targets) for response in responses]
            continue
        for response, target in zip(responses, targets, strict=True):
            example = _example(grader, grader.fill(ranking.asked, response.text), target)
            if example.id in examples:  # two people ranked the same response
                dropped.append(_dropped(response.id, "repeated"))
            else:
                examples[example.id] = target, example
    pairs = list(examples.values())
    gone = _too_common([target.score for target, _ in pairs], config.commonest, seed)
    dropped += [_dropped(pairs[at][0].response_id, "thinned") for at in sorted(gone)]
    return [example for at, (_, example) in enumerate(pairs) if at not in gone], dropped


def one_try(ranks: Sequence[int], tries: Sequence[Sequence[Judgment]]) -> list[Judgment] | str:
    """The first try that ranks all responses as people do, with a valid judgment of each; or what the best try lacked.

    `tries[i][k]` is judgment k of response i. Judgments are sampled apart, so that a try is a row of equal k by agreement
    only; picking each response's judgment freely would find people's order in noise.
    """
    misses = {"unparsed"}
    for judgments in zip(*tries, strict=True):
        scores = [judgment.score for judgment in judgments if judgment.score is not None]
        if len(scores) < len(judgments):
            continue
        if (outcome := compared(ranks, scores)) == "agrees":
            return list(judgments)
        misses.add(outcome)
    return next(miss for miss in ("tied", "disagrees", "all_tied", "unparsed") if miss in misses)


def mean_of_tries(ranks: Sequence[int], tries: Sequence[Sequence[Judgment]]) -> list[Judgment] | str:
    """The judgment of each response nearest its mean, the first of two, if the means rank as people do; else the failure."""
    scored = [[(judgment.score, judgment) for judgment in judgments if judgment.score is not None] for judgments in tries]
    if not all(scored):
        return "unparsed"
    means = [fsum(score for score, _ in valid) / len(valid) for valid in scored]
    if (outcome := compared(ranks, means)) != "agrees":
        return outcome
    nearest = [min(valid, key=lambda pair: abs(pair[0] - mean)) for valid, mean in zip(scored, means, strict=True)]
    if compared(ranks, [score for score, _ in nearest]) == "disagrees":
        return "targets_disagree"
    return [judgment for _, judgment in nearest]


AGREE = {"one": one_try, "mean": mean_of_tries}


def compared(ranks: Sequence[int], scores: Sequence[float]) -> str:
    """`agrees`, `disagrees` or, at best, `tied`: the order of `scores` against people's order of responses ranked apart.

    Responses that people rank the same may have any scores. `all_tied`: people rank none apart, so that there is no order.
    """
    pairs = [(a, b) for a in range(len(ranks)) for b in range(len(ranks)) if ranks[a] < ranks[b]]
    if not pairs:
        return "all_tied"
    least = min(scores[better] - scores[worse] for better, worse in pairs)
    return "agrees" if least > 0 else "tied" if least == 0 else "disagrees"


def _example(grader: Grader, prompt: str, target: Judgment) -> Example:
    """An example: the judge's prompt, and its own turn as the response to learn, behind its thought if it has one."""
    text = grader.own_turn(target.rationale).strip()
    text = f"<think>\n{target.thought}\n</think>\n\n{text}" if target.thought else text
    return Example(prompt=prompt, response=text, kind="eft", source="the SFT baseline, agreeing with people")


def _too_common(scores: Sequence[float | None], share: float, seed: int) -> set[int]:
    """The `scores` to drop so that the commonest (the lowest of several) is at most `share` of the rest."""
    if not scores:
        return set()
    counts = Counter(scores)
    commonest = max(counts, key=lambda score: (counts[score], -(score or 0)))
    places = [at for at, score in enumerate(scores) if score == commonest]
    exact = Fraction(str(share))
    most = len(places) if share == 1 else floor(exact * (len(scores) - len(places)) / (1 - exact))
    return set(random.Random(f"{seed} eft").sample(places, max(0, len(places) - most)))


def _dropped(response: str, reason: str) -> Dropped:
    return Dropped(id=response, stage="eft", reason=reason)
