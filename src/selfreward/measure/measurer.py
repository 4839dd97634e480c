"""Measurement of every model: both axes, and the iteration that made it. The truth is imported here and nowhere before.

Nothing in this module returns anything to the loop: it writes records and `measured.json`, and `summary.json` of all.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import chain, islice
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

from selfreward.errors import SelfRewardError, amount, raised
from selfreward.measure import axes
from selfreward.recipe import Recipe, function_at
from selfreward.records import (
    Checkpoint,
    HeadToHead,
    Iteration,
    Judgment,
    LoopStats,
    Measured,
    Preference,
    Ranking,
    Response,
    RewardModeling,
    Verdict,
    number,
    write_whole,
)
from selfreward.rundir import (
    HELDOUT_JUDGMENTS,
    HELDOUT_PREFERENCES,
    HELDOUT_RESPONSES,
    MEASURED,
    MODEL,
    PAIRS,
    PROMPTS,
    RANKING_JUDGMENTS,
    TRUTH,
    ModelFolder,
    making,
    teaching,
)  # fmt: skip
from selfreward.stats import Tally, intervals
from selfreward.steps import Answering, Cast, Grader, PairwiseJudge, Seed, combine, flip_rate, of_preferences, ranked_responses

Truth = Callable[[str, str], tuple[str, dict[str, float]] | None]
"""(prompt, response) → (kind of task, points by criterion); None for a prompt that has no truth."""


class Taken(NamedTuple):
    """A measurement of one model, and the records behind it."""

    measured: Measured
    answers: list[Response]
    """The model's own, one to each held-out prompt."""
    judgments: Collection[Judgment]
    """The model's judgments of held-out answers: its own, and those of its rivals."""
    ranking_judgments: Collection[Judgment]
    """The model's judgments of the held-out ranked responses."""


class Measurer:
    """Measures models one after another, each against the one before it and the SFT baseline."""

    def __init__(self, recipe: Recipe, seed: Seed, run: Path, cast: Cast) -> None:
        self.recipe, self.seed, self.run, self.cast = recipe, seed, run, cast
        self.grader = Grader(recipe.judge)
        self.pairwise = PairwiseJudge(recipe.pairwise)
        self.truth: Truth = load_truth(recipe.measure.truth) if recipe.measure.truth else lambda prompt, response: None
        self.done: list[Measured] = []
        self.answers: dict[str, list[Response]] = {}

    def measure(self, folder: ModelFolder, model: Checkpoint, made: Iteration | None = None) -> Taken:
        """Measure `model` in its folder, on held-out prompts and rankings; writes `measured.json` and `summary.json`."""
        answering = Answering(self.recipe.responses.sampling, frame=self.recipe.responses.frame)
        own = list(folder.ask(HELDOUT_RESPONSES, answering, self.seed.heldout_prompts, model))
        self.answers[folder.name] = own
        judgments = self._judge(folder, model)
        verdicts = folder.keep(TRUTH, (self._verdicts(chain(own, made.responses if made else ()), made), []))
        ranked = self._judge_rankings(folder, model)
        measured = self._sum_up(folder, model, own, judgments, ranked, verdicts, made)
        self.done.append(measured)
        self._write(folder.path / MEASURED, measured.model_dump_json(indent=1))
        return Taken(measured, own, judgments, ranked)

    def follow(self, recipe: Recipe) -> None:
        """Measure by `recipe` from now on."""
        self.recipe, self.grader = recipe, Grader(recipe.judge)

    def rivals(self, name: str) -> list[str]:
        """The models that `name` is compared with: the model before it, and the SFT baseline."""
        before = [measured.name for measured in self.done]
        return list(dict.fromkeys([*before[-1:], *(["SFT"] if "SFT" in before else [])]))

    def _judge(self, folder: ModelFolder, model: Checkpoint) -> Collection[Judgment]:
        if not self.recipe.measure.judging:
            return ()
        asked_of = {prompt.id: prompt.asked for prompt in self.seed.heldout_prompts}
        judged = [answer for name in (folder.name, *self.rivals(folder.name)) for answer in self.answers[name]]
        return folder.ask(HELDOUT_JUDGMENTS, self.grader, [(asked_of[answer.prompt_id], answer) for answer in judged], model)

    def _verdicts(self, responses: Iterable[Response], made: Iteration | None) -> list[Verdict]:
        texts = {prompt.id: prompt.text for prompt in (*self.seed.heldout_prompts, *(made.prompts if made else []))}
        truths = ((response, self.truth(texts[response.prompt_id], response.text)) for response in responses if response.answered)
        return [Verdict(response_id=response.id, kind=true[0], points=true[1]) for response, true in truths if true]

    def _sum_up(
        self,
        folder: ModelFolder,
        model: Checkpoint,
        own: list[Response],
        judgments: Iterable[Judgment],
        ranked: Collection[Judgment],
        verdicts: list[Verdict],
        made: Iteration | None,
    ) -> Measured:
        own_ids = {answer.id for answer in own}
        tally, by_response = Tally(), {verdict.response_id: verdict for verdict in verdicts}
        scores = self.grader.mean_scores(tally.of(judgments, own_ids))
        following = axes.true_score([by_response[a.id] for a in own if a.id in by_response], *self._resampling)
        judging = self._reward_modeling(ranked)
        return Measured(
            name=folder.name, fingerprint=model.fingerprint, parent=model.parent,
            true_score=following.score.value if following else None,
            pairwise_accuracy=judging.pairwise_accuracy.value if judging and judging.pairwise_accuracy else None,
            instruction_following=following,
            self_score=intervals.mean([scores[a.id] for a in own if a.id in scores], *self._resampling),
            head_to_head=[*self._head_to_head(folder.name, own, scores), *self._compared(folder, own)],
            answer_length=_average([len(a.text) for a in own if a.answered]),
            ran_out_of_length=_average([a.finish in ("length", "truncated") for a in own]),
            distinct_answers=len({a.text for a in own}) / len(own),
            score_histogram=tally.histogram, judgments=_ordered(tally.outcomes),
            reward_modeling=judging,
            loop=self.loop_stats(made, by_response, folder) if made else None,
            selected=folder.receipt(MODEL).get("selected"),
        )  # fmt: skip

    @property
    def _resampling(self) -> tuple[int, int]:
        return self.recipe.measure.bootstrap, self.recipe.seed

    def _head_to_head(self, name: str, own: list[Response], scores: dict[str, float]) -> list[HeadToHead]:
        results = []
        for rival in self.rivals(name):
            theirs = self.answers[rival]
            truths = {v.response_id: v.score for v in self._verdicts([*own, *theirs], None)}
            for judge, points in (("truth", truths), (name, scores)):
                if points:
                    comparisons = axes.compare_scores(own, theirs, points)
                    results.append(axes.head_to_head(comparisons, rival, judge, *self._resampling))
        return results

    def _compared(self, folder: ModelFolder, own: list[Response]) -> list[HeadToHead]:
        """Contests by a judge outside the loop, who sees both answers in both orders (paper, section 3.1)."""
        if not self.recipe.measure.judge:
            return []
        judge, prompts = self.cast.outside(self.recipe.measure.judge), self.seed.heldout_prompts
        groups = {
            rival: [item for item in zip(prompts, own, self.answers[rival], strict=True) if item[1].answered and item[2].answered]
            for rival in self.rivals(folder.name)
        }
        items = [item for group in groups.values() for item in group]
        asked = folder.ask(HELDOUT_PREFERENCES, self.pairwise, items, judge)
        if (why := of_preferences(asked, "measure.judge")) and not any(preference.winner for preference in asked):
            none = f"decided none of {amount(len(asked), 'comparison')}"
            folder.run.progress.say(f"warning: {judge.name} {none}: {why.told}. {why.now}")
        preferences = iter(asked)
        return [self._contest(rival, judge.name, list(islice(preferences, 2 * len(group)))) for rival, group in groups.items()]

    def _contest(self, rival: str, judge: str, preferences: Sequence[Preference]) -> HeadToHead:
        result = axes.head_to_head(combine(preferences), rival, judge, *self._resampling)
        unanswered = len(self.seed.heldout_prompts) - len(preferences) // 2
        return result.model_copy(update={"unscored": result.unscored + unanswered, "position_flips": flip_rate(preferences)})

    def _judge_rankings(self, folder: ModelFolder, model: Checkpoint) -> Collection[Judgment]:
        """Judgments of the held-out ranked responses."""
        if not self.recipe.measure.judging:
            return ()
        rankings = self.seed.heldout_rankings
        items = [(ranking.asked, response) for ranking in rankings for response in ranked_responses(ranking)]
        return folder.ask(RANKING_JUDGMENTS, self.grader, items, model)

    def _reward_modeling(self, judgments: Collection[Judgment]) -> RewardModeling | None:
        ranked = [(ranking, ranked_responses(ranking)) for ranking in self.seed.heldout_rankings]
        if not ranked or not self.recipe.measure.judging:
            return None
        tally = Tally()
        judged = axes.beside_ranks(ranked, self.grader.mean_scores(tally.of(judgments)), self._kind)
        return axes.reward_modeling(judged, tally.unscored, *self._resampling, self.grader.config.scale[1])

    def _kind(self, ranking: Ranking) -> str:
        true = self.truth(ranking.prompt, ranking.responses[0])
        return true[0] if true else "all"

    def loop_stats(self, made: Iteration, true: dict[str, Verdict], folder: ModelFolder) -> LoopStats:
        """Statistics of the iteration whose records are in `folder`, which are read once; `true`: verdicts by response id."""
        tally = Tally()
        scores = self.grader.mean_scores(tally.of(made.judgments))
        true_scores = [
            (true[p.chosen_id].score, true[p.rejected_id].score)
            for p in made.pairs
            if {p.chosen_id, p.rejected_id} <= true.keys()
        ]
        characters, with_truth, judged = 0, set(), []
        for response in made.responses:
            characters += len(response.text)
            if response.id in true:
                with_truth.add(response.prompt_id)
                judged += [(scores[response.id], true[response.id].score)] if response.id in scores else []
        return LoopStats(
            proposals=made.proposals, prompts=len(made.prompts), dropped_prompts=folder.dropped(PROMPTS),
            well_formed=len(with_truth) / len(made.prompts) if true else None,
            distinct_prompts=len({prompt.id for prompt in made.prompts}),
            responses=len(made.responses), response_length=characters / len(made.responses) if made.responses else 0.0,
            judgments=_ordered(tally.outcomes), score_histogram=tally.histogram,
            pairs=len(made.pairs), dropped_pairs=folder.dropped(PAIRS),
            untrained_pairs=folder.receipt(MODEL).get("dropped", {}),
            self_score=intervals.mean([own for own, _ in judged] or list(scores.values()), *self._resampling),
            true_score=intervals.mean([t for _, t in judged], *self._resampling),
            pairs_right=_average([chosen > rejected for chosen, rejected in true_scores]) if true_scores else None,
            pairs_wrong=_average([chosen < rejected for chosen, rejected in true_scores]) if true_scores else None,
            further=_further(folder, self.recipe), position_flips=flip_rate(made.preferences), told=dict(made.told),
            chosen_true=_average([chosen for chosen, _ in true_scores]) if true_scores else None,
            rejected_true=_average([rejected for _, rejected in true_scores]) if true_scores else None,
        )  # fmt: skip

    def _write(self, file: Path, text: str) -> None:
        """Write new results, the summary first; a second pass over finished models changes neither file."""
        summary = self.run / "summary.json"
        models = [measured.model_dump(mode="json") for measured in self.done]
        if _summed_up(summary)[: len(models)] == models and file.exists() and file.read_bytes() == text.encode():
            return
        write_whole(summary, json.dumps({"models": models}, indent=1))
        write_whole(file, text)


def _further(folder: ModelFolder, recipe: Recipe) -> dict[str, dict[str, int]]:
    """Counts of the stages of an iteration that the paper does not have, by their names."""
    parts = (*making(recipe, number(folder.name)), *teaching(recipe, number(folder.name)))
    receipts = {part.name: folder.receipt(part) for part in parts if not part.of_the_paper}
    return {name: _counts(facts) for name, facts in receipts.items() if facts}


def _counts(facts: Mapping[str, Any]) -> dict[str, int]:
    """The counts in a receipt: of answers by outcome, of records kept and dropped, of a training's steps."""
    return facts.get("outcomes") or {
        **({"kept": facts["records"]} if "records" in facts else {"steps": facts["steps"]}),
        **facts["dropped"],
    }


def load_truth(path: str) -> Truth:
    """The function that `measure.truth` names. Raises `SelfRewardError` where there is none; what it gives is looked over."""
    function = function_at(path, "measure.truth", "prompt", "response")
    where, now = f"measure.truth ({path})", "Let it give (kind of task, {criterion: points}), or None where there is no truth"

    def truth(prompt: str, response: str) -> tuple[str, dict[str, float]] | None:
        try:
            told = function(prompt, response)
        except Exception as error:  # whatever may go wrong in another's code
            raise SelfRewardError(f"raised {raised(error)} for the prompt {prompt[:80]!r}", where, now) from error
        if told is None:
            return None
        try:
            kind, points = told
            told = kind, {str(criterion): float(point) for criterion, point in points.items()}
        except (TypeError, ValueError, AttributeError) as error:
            raise SelfRewardError(f"gave {told!r:.80} for the prompt {prompt[:80]!r}", where, now) from error
        if not isinstance(kind, str) or not all(map(isfinite, told[1].values())):
            raise SelfRewardError(f"gave {told!r:.80} for the prompt {prompt[:80]!r}", where, now)
        return told

    return truth


def _summed_up(summary: Path) -> list[Any]:
    """The models in a summary; none where it is missing or damaged, for it can be made again from the models' records."""
    try:
        return list(json.loads(summary.read_text(encoding="utf-8"))["models"])
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        return []


def _average(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _ordered(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items()))
