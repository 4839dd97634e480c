"""Pairs of judgments that teach a model to judge: by a meta-judge, by consensus, and by EFT replayed."""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from itertools import combinations
from statistics import fmean, pvariance
from typing import NamedTuple

from selfreward.engines import written_with
from selfreward.recipe import JudgePairsConfig, Recipe
from selfreward.records import (
    Answer,
    Asked,
    Checkpoint,
    Contrast,
    Dropped,
    Example,
    Iteration,
    JudgePair,
    Judgment,
    Reasoned,
    number,
)
from selfreward.rundir import EFT_REPLAYED, JUDGE_PAIRS, JUDGMENTS_ADDED, META_JUDGMENTS, ModelFolder
from selfreward.stats import agreed_wins, place_weights, strengths, weighed_wins
from selfreward.steps.eft import Replaying
from selfreward.steps.judgments import Grader
from selfreward.steps.meta_judgments import Battle, MetaJudge
from selfreward.steps.nothing import no_judge_pairs


class Lesson(NamedTuple):
    """A pair of judgments for training."""

    pair: JudgePair
    task: Asked
    """The judge's prompt."""
    chosen: Answer
    rejected: Answer


Lessons = tuple[list[Lesson], list[Dropped]]


def teach_judge(
    it: ModelFolder, iteration: Iteration, recipe: Recipe, examples: Sequence[Example], model: Checkpoint
) -> list[Contrast]:  # fmt: skip
    """The pairs of judgments that M_t learns from beside the pairs of `iteration`; none where [judge_pairs] is not given.

    `model` judges; `examples`: those of EFT, for replaying.
    """
    config, grader = recipe.judge_pairs, Grader(recipe.judge)
    if config is None or not recipe.teaches_judging(number(it.name)):
        return []
    lessons, dropped = _compared(it, iteration, config, grader, model) if config.by != "none" else ([], [])
    replayed = _replayed(it, examples, config, grader, model) if config.replay else ([], [])
    limited_pairs, left_out = limited([*lessons, *replayed[0]], len(iteration.pairs), config, f"{recipe.seed} {it.name}")
    it.keep(JUDGE_PAIRS, ([lesson.pair for lesson in limited_pairs], [*dropped, *replayed[1], *left_out]))
    if not limited_pairs:
        it.run.progress.say(no_judge_pairs(iteration, it, recipe))
    return [(recipe.judge.frame(lesson.task), lesson.chosen, lesson.rejected) for lesson in limited_pairs]


def _compared(it: ModelFolder, iteration: Iteration, config: JudgePairsConfig, grader: Grader, model: Checkpoint) -> Lessons:
    """The best judgment against the worst of each prompt's response that is judged most variously."""
    varied, dropped = most_varied(iteration)
    prompts = {prompt.id: prompt.asked for prompt in iteration.prompts}
    items = [(prompts[response.prompt_id], response) for response in iteration.responses if response.id in varied]
    tasks = {response.id: grader.fill(prompt, response.text) for prompt, response in items}
    judgments = [judgment for judgment in iteration.judgments if judgment.response_id in varied]
    if (config.samples or 0) > grader.config.most:
        more = Grader(grader.config, range(grader.config.most, config.samples or 0))
        judgments += it.ask(JUDGMENTS_ADDED, more, items, model)
    scored: dict[str, list[Judgment]] = {response: [] for response in tasks}
    for judgment in judgments:
        if judgment.score is not None:
            scored[judgment.response_id].append(judgment)
    worth = _by_battles(it, scored, tasks, config, grader, model) if config.by == "meta" else nearness(scored.values())
    decided = [best_against_worst_judgment(group, worth, config) for group in scored.values()]
    dropped += [lesson for lesson in decided if isinstance(lesson, Dropped)]
    pairs = [lesson for lesson in decided if isinstance(lesson, tuple)]
    return [_lesson(best, worst, worth, tasks[best.response_id], grader) for best, worst in pairs], dropped


def most_varied(iteration: Iteration) -> tuple[set[str], list[Dropped]]:
    """The response of each prompt whose scores vary most, the lowest id of several; and the reason where a prompt has none."""
    scores: dict[str, list[float]] = defaultdict(list)
    for judgment in iteration.judgments:
        if judgment.score is not None:
            scores[judgment.response_id].append(judgment.score)
    of_prompt: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for response in iteration.responses:
        if len(grades := scores.get(response.id, ())) > 1:
            of_prompt[response.prompt_id].append((-pvariance(grades), response.id))
    chosen, dropped = set(), []
    for prompt in iteration.prompts:
        variance, response_id = min(of_prompt[prompt.id], default=(None, ""))
        if variance:
            chosen.add(response_id)
        else:
            dropped.append(_dropped(prompt.id, "fewer_than_two_scored" if variance is None else "judged_alike"))
    return chosen, dropped


def _by_battles(
    it: ModelFolder, scored: Mapping[str, Sequence[Judgment]], tasks: Mapping[str, str], config: JudgePairsConfig,
    grader: Grader, model: Checkpoint,
) -> dict[str, float]:  # fmt: skip
    """Strengths by judgment id; judgments that read alike without their scores are not compared."""
    judge = MetaJudge(config, grader)
    battles = [
        Battle(tasks[response], a, b)
        for response, group in scored.items()
        for a, b in combinations(group, 2)
        if judge.reasons(a) != judge.reasons(b)
    ]
    verdicts = list(it.ask(META_JUDGMENTS, judge, battles, model))
    wins = weighed_wins(verdicts, place_weights(verdicts)) if config.orders == "weighed" else agreed_wins(verdicts)
    of = {judgment.id: response for response, group in scored.items() for judgment in group}
    won: dict[str, dict[tuple[str, str], float]] = defaultdict(dict)
    for both, count in wins.items():
        won[of[both[0]]][both] = count
    strength: dict[str, float] = {}
    for response, group in scored.items():
        strength |= strengths([judgment.id for judgment in group], won[response])
    return strength


def nearness(groups: Iterable[Sequence[Judgment]]) -> dict[str, float]:
    """Minus the distance of each judgment's score from the mean of its group, by judgment id."""
    means = [(group, fmean(judgment.score or 0 for judgment in group)) for group in groups if group]
    return {judgment.id: round(-abs((judgment.score or 0) - mean), 9) for group, mean in means for judgment in group}


def best_against_worst_judgment(
    group: Sequence[Judgment], worth: Mapping[str, float], config: JudgePairsConfig
) -> tuple[Judgment, Judgment] | Dropped:  # fmt: skip
    """The strongest judgment of a response and the weakest, or the reason why they are no pair. The content id breaks ties."""
    best = max(group, key=lambda judgment: (worth[judgment.id], judgment.id))
    worst = min(group, key=lambda judgment: (worth[judgment.id], judgment.id))
    if worth[best.id] == worth[worst.id]:
        return _dropped(best.response_id, "same_strength")
    if best.score == worst.score:
        return _dropped(best.response_id, "same_score")
    if config.max_characters and len(best.rationale) > config.max_characters:
        return _dropped(best.response_id, "too_long")
    return best, worst


def _lesson(best: Judgment, worst: Judgment, worth: Mapping[str, float], task: str, grader: Grader) -> Lesson:
    pair = JudgePair(
        response_id=best.response_id, chosen_id=best.id, rejected_id=worst.id, chosen_score=best.score or 0.0,
        rejected_score=worst.score or 0.0, chosen_strength=worth[best.id], rejected_strength=worth[worst.id],
    )  # fmt: skip
    return Lesson(pair, task, _answer(best, grader), _answer(worst, grader))


def _answer(judgment: Judgment, grader: Grader) -> Answer:
    """A judge's own turn for training, after its thought if it had one."""
    own = grader.own_turn(judgment.rationale).strip()
    return own if judgment.thought is None else Reasoned(thought=judgment.thought, text=own)


def _replayed(
    it: ModelFolder, examples: Sequence[Example], config: JudgePairsConfig, grader: Grader, model: Checkpoint
) -> Lessons:  # fmt: skip
    """EFT's judgment against M_t's own judgment farthest from its score, for every example that M_t misjudges."""
    right = {example.id: example for example in examples}
    misjudged: dict[str, list[tuple[float, Judgment]]] = defaultdict(list)
    targets = {name: grader.parse(grader.own_turn(example.response))[1] for name, example in right.items()}
    for judgment in it.ask(EFT_REPLAYED, Replaying(grader, config.replay), examples, model):
        target = targets[judgment.response_id]
        if judgment.score is not None and target is not None and judgment.score != target:
            misjudged[judgment.response_id].append((abs(judgment.score - target), judgment))
    lessons = []
    for name, wrong in misjudged.items():
        off, worst = max(wrong, key=lambda candidate: (candidate[0], candidate[1].id))
        pair = JudgePair(
            response_id=name, chosen_id=name, rejected_id=worst.id, chosen_score=targets[name] or 0.0,
            rejected_score=worst.score or 0.0, chosen_strength=0.0, rejected_strength=-off,
        )  # fmt: skip
        lessons.append(Lesson(pair, right[name].asked, *_right_and_wrong(right[name].response, worst, grader)))
    return lessons, [_dropped(name, "never_wrong") for name in right if name not in misjudged]


def _right_and_wrong(right: str, wrong: Judgment, grader: Grader) -> tuple[Answer, Answer]:
    """EFT's judgment and one of M_t for training: after their thoughts where M_t was to think and EFT does, else without any."""
    said = written_with(right) if wrong.thought is not None else None
    if said is None:
        return right, grader.own_turn(wrong.rationale).strip()
    return Reasoned(thought=said.thought, text=said.answer.strip()), _answer(wrong, grader)


def limited(lessons: Sequence[Lesson], actor_pairs: int, config: JudgePairsConfig, seed: str) -> Lessons:
    """The pairs within `config.share` of all pairs, no score of a chosen judgment above `config.commonest`; drawn by `seed`.

    They are as many as both limits allow. `thinned` are those whose score is at its limit, `over_share` the others.
    """
    scores, room = [lesson.pair.chosen_score for lesson in lessons], config.room(len(lessons), actor_pairs)
    most = _largest(scores, room, Fraction(str(config.commonest)))
    order = random.Random(f"{seed} judge pairs").sample(range(len(lessons)), len(lessons))
    kept, counts = set[int](), Counter[float]()
    for at in order:
        if len(kept) < most.all and counts[scores[at]] < most.each:
            kept.add(at)
            counts[scores[at]] += 1
    dropped = [
        _dropped(lesson.pair.response_id, "thinned" if room and counts[score] == most.each else "over_share")
        for at, (lesson, score) in enumerate(zip(lessons, scores, strict=True))
        if at not in kept
    ]
    return [lesson for at, lesson in enumerate(lessons) if at in kept], dropped


class Most(NamedTuple):
    """The most judge pairs."""

    all: int
    each: int
    """The most of one score."""


def _largest(scores: Sequence[float], room: int, share: Fraction) -> Most:
    """The most of the `scores` within `room`, no score more than `share` of them."""
    counts = Counter(scores).values()
    sizes = (Most(size, math.floor(share * size)) for size in range(min(room, len(scores)), 0, -1))
    return next((most for most in sizes if sum(min(count, most.each) for count in counts) >= most.all), Most(0, 0))


def _dropped(name: str, reason: str) -> Dropped:
    return Dropped(id=name, stage="judge_pairs", reason=reason)
