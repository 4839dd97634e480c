"""Accuracy of a model as a judge, on responses that people ranked (paper, section 3.2 and table 4)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from scipy.stats import kendalltau

from selfreward.measure.axes import Judged, beside_ranks, correlation, perfect_that_are_best, reward_modeling
from selfreward.measure.evaluations.base import Settings, Trial, counted, some
from selfreward.recipe import JudgeConfig, SourceConfig
from selfreward.records import Figure, Findings, Ranking, RewardModeling, content_id, digest
from selfreward.rundir import JUDGMENTS, RANKINGS
from selfreward.steps import Grader, KeptAndDropped, load_rankings, ranked_responses


class Ranked(Settings):
    """Reward modelling, with the model itself as the judge."""

    data: SourceConfig
    """The ranked set."""
    skip_bad_rows: bool = False
    """Count and list rows that do not fit their format, where they would be an error."""
    grading: JudgeConfig = JudgeConfig()
    """The model's rubric and sampling as a judge."""

    @cached_property
    def rankings(self) -> KeptAndDropped[Ranking]:
        """The ranked set, and what was dropped."""
        return load_rankings(self.data, "rankings", self.seed, self.skip_bad_rows)

    @cached_property
    def grader(self) -> Grader:
        """The rubric and its parser."""
        return Grader(self.grading)

    def load(self) -> object:
        """Read the ranked set and the rubric."""
        return some(self.rankings, self.data), self.grader

    def find(self, trial: Trial) -> Findings:
        """The model judges every response."""
        rankings = trial.at.keep(RANKINGS, self.rankings)
        ranked = [(ranking, ranked_responses(ranking)) for ranking in rankings]
        items = [(ranking.asked, response) for ranking, responses in ranked for response in responses]
        judgments = list(trial.at.ask(JUDGMENTS, self.grader, items, trial.model))
        judged = beside_ranks(ranked, self.grader.mean_scores(judgments))
        unparsed = sum(judgment.score is None for judgment in judgments) / len(judgments)
        metrics = reward_modeling(judged, unparsed, *self.resampling, self.grading.scale[1])
        return Findings(
            prompts_digest=digest(rankings),
            rubric_digest=content_id(self.grader.rubric.text),
            figures=_figures(metrics, judged, len(judgments), self.grading.scale[1]),
            outcomes=counted((judgment.outcome for judgment in judgments), 0),
            note=f"Pairwise accuracy: {metrics.tie_rule}. Intervals resample rankings.",
        )


def _figures(metrics: RewardModeling, judged: Sequence[Judged], judgments: int, best: float) -> list[Figure]:
    """The paper's five metrics, and the accuracy of text length alone, each with its number of cases."""
    best_scores = sum(perfect_that_are_best(ranking, best)[1] for ranking in judged)
    correlated = sum(correlation(ranking, kendalltau) is not None for ranking in judged)
    return [
        *Figure.of("pairwise accuracy %", metrics.pairwise_accuracy, metrics.pairs, 100),
        *Figure.of("pairwise accuracy, ties wrong %", metrics.pairwise_accuracy_strict, metrics.pairs, 100),
        *Figure.of(f"{best:g}-best %", metrics.five_best, best_scores, 100),
        *Figure.of("exact match %", metrics.exact_match, metrics.rankings, 100),
        *Figure.of("Spearman", metrics.spearman, correlated),
        *Figure.of("Kendall tau-b", metrics.kendall, correlated),
        *Figure.of("pairwise accuracy of length alone %", metrics.length_baseline, metrics.pairs, 100),
        Figure(name="judgments without a score %", value=100 * metrics.unparsed, n=judgments),
    ]
