"""Pairs of an iteration, and candidates of an earlier and a later model for them (Temporal Self-Rewarding, arXiv 2508.06026).

As the policy improves, so do its worst responses, and there is ever less between chosen and rejected. So the rejected response
may be M1's, and the chosen one that of a model that was trained a step ahead and is then done with; M_t's judge judges all.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple, cast

from selfreward.recipe import Recipe
from selfreward.records import Checkpoint, Dropped, Judgment, Pair, Prompt, Records, Response, contrasts, number
from selfreward.rundir import AHEAD, PAIRS_AHEAD, ModelFolder, of_model
from selfreward.steps.cast import Cast
from selfreward.steps.judging import Judged
from selfreward.steps.judgments import Grader
from selfreward.steps.pairs import TOO_FEW, Decided, Scored, choose_pairs, pair_policy, preference
from selfreward.steps.responses import Answering

Groups = Mapping[str, Sequence[Scored]]
"""Scored candidates by prompt id."""


class Chosen(NamedTuple):
    """The pairs of an iteration, and all candidates and judgments that they were chosen from."""

    decided: Decided
    responses: Records[Response]
    judged: Judged


class Another(NamedTuple):
    """The candidates of a model other than M_t."""

    responses: Records[Response]
    judgments: Records[Judgment]
    groups: Groups


def pick_pairs(
    it: ModelFolder, prompts: Sequence[Prompt], responses: Records[Response], judged: Judged, recipe: Recipe, model: Checkpoint,
    members: Cast,
) -> Chosen:  # fmt: skip
    """The pairs that the recipe's policy chooses among the candidates of `model`, or among those of other models too."""
    if not recipe.pairs.temporal:
        return Chosen(choose_pairs(prompts, responses, judged.scores, pair_policy(recipe.pairs)), responses, judged)
    own = scored(responses, judged.scores)
    others: dict[str, Another] = {}

    def ask(which: Literal["M1", "ahead"], who: Checkpoint) -> Groups:
        others[which] = _asked(it, which, prompts, recipe, who, members.judge(recipe.judge, model))
        return others[which].groups

    first = ask("M1", members.first) if recipe.pairs.rejected_from == "M1" and members.before(model) else {}
    decided = across(prompts, own, first, {})
    if recipe.pairs.chosen_from == "ahead" and decided[0]:
        known = responses if "M1" not in others else responses + others["M1"].responses
        trained = _ahead(it, prompts, known, decided, recipe, model)
        decided = across(prompts, own, first, ask("ahead", trained))
    return Chosen(decided, *_together(responses, judged, list(others.values()), decided[0]))


def across(prompts: Iterable[Prompt], own: Groups, first: Groups, ahead: Groups) -> Decided:
    """Best against worst of `own`, but the worst of `first` where that is worse, and the best of `ahead` where that is better."""
    decisions = {prompt.id: _pair(prompt.id, *(group.get(prompt.id, ()) for group in (own, first, ahead))) for prompt in prompts}
    dropped = [
        Dropped(id=name, stage="pairs", reason=decision) for name, decision in decisions.items() if isinstance(decision, str)
    ]
    return [decision for decision in decisions.values() if isinstance(decision, Pair)], dropped


def _pair(prompt_id: str, own: Sequence[Scored], first: Sequence[Scored], ahead: Sequence[Scored]) -> Pair | str:
    whole = [candidate for candidate in own if candidate[1].finish == "stop"]
    if len(own) < 2:
        return TOO_FEW
    if not whole:
        return "all_ran_out_of_length"
    best = _first_of(
        [max(whole, key=_order), *_end(max, [candidate for candidate in ahead if candidate[1].finish == "stop"])],
        lambda a, b: a > b,
    )
    worst = _first_of([min(own, key=_order), *_end(min, first)], lambda a, b: a < b)
    return preference(prompt_id, best, worst)


def _order(candidate: Scored) -> tuple[float, str]:
    return candidate[0], candidate[1].id


def _end(end: Callable[..., Scored], group: Sequence[Scored]) -> list[Scored]:
    return [end(group, key=_order)] if group else []


def _first_of(candidates: Sequence[Scored], beats: Callable[[float, float], bool]) -> Scored:
    """The first, or the second where there is one and its score `beats` the other's."""
    return candidates[-1] if beats(candidates[-1][0], candidates[0][0]) else candidates[0]


def scored(responses: Iterable[Response], scores: Mapping[str, float]) -> Groups:
    """The candidates that have a score, by prompt id."""
    groups: dict[str, list[Scored]] = defaultdict(list)
    for response in responses:
        if response.id in scores and response.answered:
            groups[response.prompt_id].append((scores[response.id], response))
    return groups


def _asked(
    it: ModelFolder, which: Literal["M1", "ahead"], prompts: Sequence[Prompt], recipe: Recipe, who: Checkpoint, judge: Checkpoint
) -> Another:  # fmt: skip
    answering, grader, (answers, opinions) = (
        Answering(recipe.responses.sampling, recipe.responses.n, recipe.responses.frame),
        Grader(recipe.judge),
        of_model(which),
    )
    responses, texts = it.ask(answers, answering, prompts, by=who), {prompt.id: prompt.asked for prompt in prompts}
    judgments = it.ask(opinions, grader, [(texts[response.prompt_id], response) for response in responses], by=judge)
    return Another(responses, judgments, scored(responses, grader.mean_scores(judgments)))


def _ahead(
    it: ModelFolder, prompts: Sequence[Prompt], responses: Records[Response], decided: Decided, recipe: Recipe, model: Checkpoint
) -> Checkpoint:  # fmt: skip
    """A model trained as M_t would be, on the pairs that are known so far; it only answers, and rehearses no judging."""
    pairs = it.keep(PAIRS_AHEAD, decided)
    dpo = recipe.dpo.of_iteration(number(it.name), recipe.iterations + 1).model_copy(update={"rehearse": 0})
    learnt = contrasts(pairs, prompts, responses, recipe.responses.frame)
    return it.train_dpo(learnt, model, model, dpo, recipe.seed, part=AHEAD)


def _together(
    responses: Records[Response], judged: Judged, others: Sequence[Another], pairs: Sequence[Pair]
) -> tuple[Records[Response], Judged]:  # fmt: skip
    """All candidates and judgments, with the shares of pairs whose rejected is M1's and whose chosen is of the model ahead."""
    judgments, own = cast("Records[Judgment]", judged.judgments), {response.id for response in responses}
    for other in others:
        responses, judgments = responses + other.responses, judgments + other.judgments
    shares = {
        "rejected of another model": sum(pair.rejected_id not in own for pair in pairs) / max(len(pairs), 1),
        "chosen of another model": sum(pair.chosen_id not in own for pair in pairs) / max(len(pairs), 1),
    }
    return responses, judged._replace(judgments=judgments, told=shares)
