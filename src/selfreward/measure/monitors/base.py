"""Monitors: pure functions over the records of two iterations → figures, which limits turn into readings.

A monitor is a module here with a function `figures(now, before) → Figures`. It needs no truth; what it needs beside the loop's
own records (a frozen judge's scores, log-probabilities) was asked of a model before (`watch`), into records of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from selfreward.recipe import Recipe
from selfreward.records import Anchor, Estimate, Iteration, Judgment, Likelihood, Measured, Prompt, Ranking, Response
from selfreward.stats import mean_scores

Figures = dict[str, Estimate | None]
"""Name of a figure → its value and interval; None where there was nothing to read it from."""


class Evidence(NamedTuple):
    """All that is known of one model M_t when it is read. Collections may be large files: go over them once."""

    name: str
    """M1, M2, …"""
    recipe: Recipe
    measured: Measured
    prompts: Sequence[Prompt]
    """The held-out prompts."""
    answers: Sequence[Response]
    """M_t's own, one to each of them."""
    judgments: Collection[Judgment]
    """M_t's judgments of `answers`, and of its rivals' answers."""
    rankings: Sequence[Ranking]
    """Held-out responses as people rank them."""
    ranking_judgments: Collection[Judgment]
    """M_t's judgments of those (`seed.ranked_responses`)."""
    made: Iteration | None = None
    """The iteration that made M_t: M_{t−1}'s candidates, judged. None of M1."""
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
    """M_t's judgments of it."""
    likelihoods: Mapping[str, Sequence[Likelihood]] = {}
    """Of the first `drift.sample` of `answers`: to M_t (`own`), M_{t−1} (`before`) and M1 (`first`)."""
    anchors: Sequence[Anchor] = ()
    anchor_answers: Sequence[Response] = ()
    """M_t's own answers to the anchors' prompts."""
    anchor_others: Sequence[Response] = ()
    """M1's; none where M_t is M1."""
    anchor_judgments: Collection[Judgment] = ()
    """M_t's judgments of both."""

    @property
    def resampling(self) -> tuple[int, int]:
        """Resamples and seed of an interval, as `estimates` takes them."""
        return self.recipe.measure.bootstrap, self.recipe.seed

    def scores(self, judgments: Collection[Judgment]) -> dict[str, float]:
        """Mean score by response id, as the loop takes it."""
        return mean_scores(judgments, self.recipe.judge.min_valid)
