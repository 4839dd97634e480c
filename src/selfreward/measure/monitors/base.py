"""Monitors: pure functions over the records of two iterations → figures, which limits turn into readings.

A monitor is a module here with a function `figures(now, before) → Figures`. It needs no truth. `watch` has asked a model for
everything that a monitor needs beside the loop's own records (a frozen judge's scores, log-probabilities), into separate files.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from selfreward.measure.monitors.candidates import Candidates, read_candidates
from selfreward.recipe import Recipe
from selfreward.records import Anchor, Estimate, Iteration, Judgment, Likelihood, Measured, Prompt, Ranking, Response
from selfreward.stats import mean_scores

Figures = dict[str, Estimate | None]
"""Name of a figure → its value and interval; None where there are no records to compute it from."""


class Evidence(NamedTuple):
    """All records about one model M_t that monitors read. Collections may be large files: iterate over them once."""

    name: str
    """M1, M2, …"""
    recipe: Recipe
    measured: Measured
    prompts: Sequence[Prompt]
    """The held-out prompts."""
    answers: Sequence[Response]
    """M_t's own answers, one to each of `prompts`."""
    judgments: Collection[Judgment]
    """M_t's judgments of `answers`, and of its rivals' answers."""
    rankings: Sequence[Ranking]
    """Held-out responses as people rank them."""
    ranking_judgments: Collection[Judgment]
    """M_t's judgments of the responses in `rankings` (`seed.ranked_responses`)."""
    made: Iteration | None = None
    """The iteration that made M_t: M_{t−1}'s candidates, judged. None for M1."""
    metrics: Sequence[Mapping[str, Any]] = ()
    """The log of M_t's training (`model/metrics.jsonl`)."""
    frozen_judgments: Collection[Judgment] = ()
    """The frozen judge's judgments of the first `drift.sample` of `answers`."""
    cut: Sequence[Response] = ()
    """The first `drift.sample` of `answers`, each cut to the first half of its words."""
    cut_judgments: Collection[Judgment] = ()
    """M_t's judgments of `cut`."""
    pool: Sequence[Response] = ()
    """The frozen pool: M1's candidates, `responses.n` to each of `drift.pool` held-out prompts."""
    pool_judgments: Collection[Judgment] = ()
    """M_t's judgments of `pool`."""
    likelihoods: Mapping[str, Sequence[Likelihood]] = {}
    """Likelihoods of the first `drift.sample` of `answers` under M_t (`own`), M_{t−1} (`before`) and M1 (`first`)."""
    anchors: Sequence[Anchor] = ()
    anchor_answers: Sequence[Response] = ()
    """M_t's own answers to the anchors' prompts."""
    anchor_others: Sequence[Response] = ()
    """M1's answers to the anchors' prompts; empty where M_t is M1."""
    anchor_judgments: Collection[Judgment] = ()
    """M_t's judgments of `anchor_answers` and `anchor_others`."""

    read: Candidates | None = None
    """The candidates of `made`, where they have been read."""

    @property
    def candidates(self) -> Candidates | None:
        """The candidates of `made`, read where they have not been; None for M1."""
        return self.read or (self.made and read_candidates(self.made, self.recipe.judge.min_valid))

    @property
    def resampling(self) -> tuple[int, int]:
        """Resamples and seed of an interval, in the order of `stats.intervals`."""
        return self.recipe.measure.bootstrap, self.recipe.seed

    def scores(self, judgments: Collection[Judgment]) -> dict[str, float]:
        """Mean score by response id, by the loop's own rule."""
        return mean_scores(judgments, self.recipe.judge.min_valid)
