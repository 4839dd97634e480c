"""Measurement of every model: both axes, and the iteration that made it. The truth is imported here and nowhere before.

Nothing in this module returns anything to the loop: it writes records and `measured.json`, and `summary.json` of all.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

from selfreward.errors import amount
from selfreward.measure import axes
from selfreward.measure.truth import by_checks, followed, load_truth
from selfreward.recipe import CHECKS, Recipe
from selfreward.records import (
    Check,
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
    ScoreOnly,
    Verdict,
    number,
    only,
    readable,
    write_whole,
)
from selfreward.rundir import (
    HELDOUT_CHECKS,
    HELDOUT_JUDGMENTS,
    HELDOUT_PREFERENCES,
    HELDOUT_RESPONSES,
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
from selfreward.steps import (
    Answering,
    Cast,
    Grader,
    PairwiseJudge,
    Seed,
    check_all,
    combine,
    flip_rate,
    of_preferences,
    ranked_responses,
)


class Measurement(NamedTuple):
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
        self.truth = load_truth(recipe)
        self.checked: dict[str, list[Check]] = {}
        """Checks by the id of an answer, where `judge.checks` is on."""
        self.done: list[Measured] = []
        self.signed: dict[str, str] = {}
        """Model → id of the receipt over its measurement."""
        self.answers: dict[str, list[Response]] = {}
        self.left: set[str] = set()

    def measure(self, folder: ModelFolder, model: Checkpoint, iteration: Iteration | None = None) -> Measurement:
        """Measure `model` in its folder, on held-out prompts and rankings; writes `measured.json` and `summary.json`."""
        answering = Answering(self.recipe.responses.sampling, frame=self.recipe.responses.frame)
        own = list(folder.ask(HELDOUT_RESPONSES, answering, self.seed.heldout_prompts, model))
        self.answers[folder.name] = own
        judgments = self._judge(folder, model)
        self._check(folder, own, iteration)
        verdicts = folder.keep(TRUTH, (self._verdicts(chain(own, iteration.responses if iteration else ()), iteration), []))
        for candidate in iteration.responses if iteration else ():
            self.checked.pop(candidate.id, None)
        ranked = self._judge_rankings(folder, model)
        measured = self._sum_up(folder, model, own, judgments, ranked, verdicts, iteration)
        self.done.append(measured)
        self._summarise()
        self.signed[folder.name] = folder.sum_up(measured, self.signed)
        return Measurement(measured, own, judgments, ranked)

    def follow(self, recipe: Recipe) -> None:
        """Measure by `recipe` from now on."""
        self.recipe, self.grader = recipe, Grader(recipe.judge)

    def leave(self, name: str) -> None:
        """Compare no later model with `name`."""
        self.left.add(name)

    def rivals(self, name: str) -> list[str]:
        """The models that `name` is compared with: the model before it that was not left behind, and the SFT baseline."""
        before = [measured.name for measured in self.done if measured.name not in self.left]
        return list(dict.fromkeys([*before[-1:], *(["SFT"] if "SFT" in before else [])]))

    def _judge(self, folder: ModelFolder, model: Checkpoint) -> Collection[Judgment]:
        if not self.recipe.measure.judging:
            return ()
        asked_of = {prompt.id: prompt.asked for prompt in self.seed.heldout_prompts}
        judged = [answer for name in (folder.name, *self.rivals(folder.name)) for answer in self.answers[name]]
        return folder.ask(HELDOUT_JUDGMENTS, self.grader, [(asked_of[answer.prompt_id], answer) for answer in judged], model)

    def _check(self, folder: ModelFolder, own: list[Response], iteration: Iteration | None) -> None:
        """Check the answers to prompts that carry checks."""
        if self.recipe.judge.checks == "off":
            return
        prompts = (*self.seed.heldout_prompts, *(iteration.prompts if iteration else ()))
        checked = check_all(prompts, chain(own, iteration.responses if iteration else ()), self.recipe.seed)
        folder.keep(HELDOUT_CHECKS, ([check for checks in checked.values() for check in checks], []))
        self.checked |= checked

    def _verdicts(self, responses: Iterable[Response], iteration: Iteration | None) -> list[Verdict]:
        if self.recipe.measure.truth == CHECKS:
            return by_checks(responses, self.checked, self.grader.config.scale)
        texts = {prompt.id: prompt.text for prompt in (*self.seed.heldout_prompts, *(iteration.prompts if iteration else []))}
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
        iteration: Iteration | None,
    ) -> Measured:
        own_ids = {answer.id for answer in own}
        tally, by_response = Tally(), {verdict.response_id: verdict for verdict in verdicts}
        scores = self.grader.mean_scores(tally.of(only(judgments, ScoreOnly), own_ids))
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
            score_histogram=tally.histogram, judgments=dict(sorted(tally.outcomes.items())),
            reward_modeling=judging,
            checks=followed(self.seed.heldout_prompts, own, self.checked, *self._resampling),
            loop=self.loop_stats(iteration, by_response, folder) if iteration else None,
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
        records = folder.ask(HELDOUT_PREFERENCES, self.pairwise, items, judge)
        if (why := of_preferences(records, "measure.judge")) and not any(record.winner for record in records):
            none = f"decided none of {amount(len(records), 'comparison')}"
            folder.run.progress.say(f"warning: {judge.name} {none}: {why.told}. {why.now}")
        preferences = iter(records)
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
        judged = axes.beside_ranks(ranked, self.grader.mean_scores(tally.of(only(judgments, ScoreOnly))), self._kind)
        return axes.reward_modeling(judged, tally.unscored, *self._resampling, self.grader.config.scale[1])

    def _kind(self, ranking: Ranking) -> str:
        true = self.truth(ranking.prompt, ranking.responses[0])
        return true[0] if true else "all"

    def loop_stats(self, iteration: Iteration, true: dict[str, Verdict], folder: ModelFolder) -> LoopStats:
        """Statistics of the iteration whose records are in `folder`, which are read once; `true`: verdicts by response id."""
        tally = Tally()
        scores = self.grader.mean_scores(tally.of(only(iteration.judgments, ScoreOnly)))
        true_scores = [
            (true[p.chosen_id].score, true[p.rejected_id].score)
            for p in iteration.pairs
            if {p.chosen_id, p.rejected_id} <= true.keys()
        ]
        characters, known, judged = 0, list[tuple[str, float]](), list[tuple[float, float]]()
        for response in iteration.responses:
            characters += len(response.text)
            if response.id in true:
                known.append((response.prompt_id, true[response.id].score))
                judged += [(scores[response.id], true[response.id].score)] if response.id in scores else []
        return LoopStats(
            proposals=iteration.proposals, prompts=len(iteration.prompts), dropped_prompts=folder.dropped(PROMPTS),
            well_formed=len({prompt for prompt, _ in known}) / len(iteration.prompts) if true else None,
            distinct_prompts=len({prompt.id for prompt in iteration.prompts}),
            responses=len(iteration.responses), response_length=characters / max(len(iteration.responses), 1),
            judgments=dict(sorted(tally.outcomes.items())), score_histogram=tally.histogram,
            pairs=len(iteration.pairs), dropped_pairs=folder.dropped(PAIRS),
            untrained_pairs=folder.receipt(MODEL).get("dropped", {}),
            self_score=intervals.mean([own for own, _ in judged] or list(scores.values()), *self._resampling),
            true_score=intervals.mean([t for _, t in judged or known], *self._resampling),
            pairs_right=_average([chosen > rejected for chosen, rejected in true_scores]) if true_scores else None,
            pairs_wrong=_average([chosen < rejected for chosen, rejected in true_scores]) if true_scores else None,
            further=_further(folder, self.recipe), position_flips=flip_rate(iteration.preferences), told=dict(iteration.told),
            chosen_true=_average([chosen for chosen, _ in true_scores]) if true_scores else None,
            rejected_true=_average([rejected for _, rejected in true_scores]) if true_scores else None,
        )  # fmt: skip

    def _summarise(self) -> None:
        """Write the measurements so far into the summary; a second pass over finished models does not change it."""
        summary = self.run / "summary.json"
        models = [measured.model_dump(mode="json") for measured in self.done]
        if _summed_up(summary)[: len(models)] != models:
            write_whole(summary, json.dumps({"models": models}, indent=1))


def _further(folder: ModelFolder, recipe: Recipe) -> dict[str, dict[str, int]]:
    """Counts of the stages of an iteration that the paper does not have, by their names."""
    parts = (*making(recipe, number(folder.name)), *teaching(recipe, number(folder.name)))
    receipts = {part.name: folder.receipt(part) for part in parts if not part.of_the_paper}
    return {name: _counts(facts) for name, facts in receipts.items() if facts}


def _counts(facts: Mapping[str, Any]) -> dict[str, int]:
    """The counts in a receipt: of answers by outcome, none where nothing was asked; of records kept and dropped, of steps."""
    if "outcomes" in facts:
        return dict(facts["outcomes"])
    return {**({"kept": facts["records"]} if "records" in facts else {"steps": facts["steps"]}), **facts["dropped"]}


def _summed_up(summary: Path) -> list[Any]:
    """The models in a summary; none where it is missing or damaged, for it can be made again from the models' records."""
    try:
        return list(json.loads(readable(summary).read_text(encoding="utf-8"))["models"])
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        return []


def _average(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
