"""Watching a run: ask the models for the records that monitors need beside the loop's own, read the monitors, and report."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from selfreward.errors import SelfRewardError
from selfreward.measure.measurer import Measurement
from selfreward.measure.monitors.base import Evidence
from selfreward.measure.monitors.joint import load_joint
from selfreward.measure.monitors.verdicts import read_monitors
from selfreward.recipe import DriftConfig, Recipe, held_by
from selfreward.records import (
    Anchor,
    Asked,
    Checkpoint,
    Iteration,
    Likelihood,
    Prompt,
    Reading,
    Response,
    Severity,
    describe,
    left_behind,
    quoted,
    read_jsonl,
    readable,
    worst,
)
from selfreward.rundir import (
    ANCHOR_JUDGMENTS,
    ANCHOR_RESPONSES,
    DRIFT,
    DRIFT_CANDIDATES,
    DRIFT_CUT,
    DRIFT_FROZEN,
    DRIFT_POOL,
    LIKELIHOOD_BEFORE,
    LIKELIHOOD_FIRST,
    LIKELIHOOD_OWN,
    ModelFolder,
)  # fmt: skip
from selfreward.stats import NO_SPACES, plain
from selfreward.steps import Answering, Cast, Grader, Likely, Seed, refuse_known

Items = list[tuple[Asked, Response]]
"""(prompt, response) each."""


class Watcher:
    """Watches the models of one run as they are made, M1 first. With `drift` left out of the recipe it does nothing."""

    def __init__(self, recipe: Recipe, seed: Seed, cast: Cast, after: Callable[[], None] = lambda: None) -> None:
        self.recipe, self.seed, self.cast, self.grader = recipe, seed, cast, Grader(recipe.judge)
        self.after = after
        """Called when a model is measured and watched."""
        self.config = recipe.drift
        self.anchors = load_anchors(recipe, seed)
        self.joint = load_joint(self.config) if self.config else None
        self.seen: list[tuple[Checkpoint, Evidence]] = []
        """The models watched so far, but those left behind."""
        self.readings: list[Reading] = []
        """The readings of the model watched last."""

    @property
    def prompts(self) -> list[Prompt]:
        """Prompts that the monitors alone ask, and that must never be trained on."""
        return [*map(_prompt, self.anchors)]

    def follow(self, recipe: Recipe) -> None:
        """Watch by `recipe` from now on; its `drift` is the same."""
        self.recipe, self.grader = recipe, Grader(recipe.judge)

    def watch(
        self, folder: ModelFolder, model: Checkpoint, measurement: Measurement, iteration: Iteration | None = None
    ) -> Severity:
        """Read every monitor of `model`, with its `measurement`; writes `drift.jsonl` into its folder."""
        if self.config:
            self._read(self.config, folder, model, measurement, iteration)
        self.after()
        return worst(self.readings)

    def _read(
        self, config: DriftConfig, folder: ModelFolder, model: Checkpoint, measurement: Measurement, iteration: Iteration | None
    ) -> None:
        now = self._evidence(config, folder, model, measurement, iteration)
        if self.joint and not self.seen and (misfit := self.joint.baseline.misfit(model.fingerprint)):
            folder.run.progress.say(f"drift.baseline: {misfit}")
        with folder.run.progress.meanwhile(f"{folder.name}: reading the monitors"):
            self.readings = read_monitors(now, self.seen[-1][1] if self.seen else None, config, self.joint)
        if not folder.run.dir.counted:
            self.readings = [reading.model_copy(update={"n": None}) for reading in self.readings]
        folder.restate(DRIFT, self.readings)
        folder.run.progress.say(f"{folder.name}: {describe(self.readings)}")
        if worst(self.readings) == "back":
            folder.run.progress.say(left_behind(folder.name, self.readings, self.seen[-1][0].name))
        else:
            self.seen.append((model, now))

    def _evidence(
        self, config: DriftConfig, folder: ModelFolder, model: Checkpoint, measurement: Measurement, iteration: Iteration | None
    ) -> Evidence:
        """All records about `model`. Each model is asked everything at once, for one is held in memory at a time."""
        prompts, answers = self.seed.heldout_prompts, measurement.answers
        answered = [(prompt.asked, answer) for prompt, answer in zip(prompts, answers, strict=True) if answer.answered]
        answered = answered[: config.sample]
        cut = [(asked, _cut(answer)) for asked, answer in answered]
        pool, own, others = self._pool(config, folder, model), self._anchored(folder, model), self._others()
        asked_of = {prompt.id: prompt.asked for prompt in (*prompts, *self.prompts)}
        pool_items, anchor_items = (
            [(asked_of[response.prompt_id], response) for response in responses] for responses in (pool, [*own, *others])
        )
        first, before = (self.seen[0][0], self.seen[-1][0]) if self.seen else (model, None)
        frozen = first if config.frozen == "frozen" else self.cast.outside(config.frozen)
        return Evidence(
            name=folder.name, recipe=self.recipe, measured=measurement.measured, prompts=prompts, answers=answers,
            judgments=measurement.judgments, rankings=self.seed.heldout_rankings, ranking_judgments=measurement.ranking_judgments,
            made=iteration, metrics=_metrics(model) if iteration else (),
            cut=[answer for _, answer in cut], cut_judgments=folder.ask(DRIFT_CUT, self.grader, cut, model),
            pool=pool, pool_judgments=folder.ask(DRIFT_POOL, self.grader, pool_items, model),
            anchors=self.anchors, anchor_answers=own, anchor_others=others,
            anchor_judgments=folder.ask(ANCHOR_JUDGMENTS, self.grader, anchor_items, model) if self.anchors else (),
            likelihoods=self._likelihoods(folder, answered, model, before),
            frozen_judgments=folder.ask(DRIFT_FROZEN, self.grader, answered, frozen),
        )  # fmt: skip

    def _pool(self, config: DriftConfig, folder: ModelFolder, model: Checkpoint) -> Sequence[Response]:
        """The frozen pool, which the first watched model makes."""
        if self.seen:
            return self.seen[0][1].pool
        prompts, candidates = self.seed.heldout_prompts[: config.pool], self.recipe.responses
        return list(folder.ask(DRIFT_CANDIDATES, Answering(candidates.sampling, candidates.n, candidates.frame), prompts, model))

    def _anchored(self, folder: ModelFolder, model: Checkpoint) -> Sequence[Response]:
        """The answers of `model` to the anchors' prompts."""
        if not self.anchors:
            return ()
        answering = self.recipe.responses
        return list(folder.ask(ANCHOR_RESPONSES, Answering(answering.sampling, frame=answering.frame), self.prompts, model))

    def _others(self) -> Sequence[Response]:
        """The first model's answers to the anchors' prompts, for a later one to judge beside its own."""
        return self.seen[0][1].anchor_answers if self.seen else ()

    def _likelihoods(
        self, folder: ModelFolder, items: Items, model: Checkpoint, before: Checkpoint | None
    ) -> dict[str, Sequence[Likelihood]]:
        """Likelihoods of the answers in `items` under the model itself, the model before it, and the first."""
        likelihood, own = Likely(self.recipe.responses.sampling, self.recipe.responses.frame), list(items)
        likelihoods: dict[str, Sequence[Likelihood]] = {"own": list(folder.ask(LIKELIHOOD_OWN, likelihood, own, model))}
        if before:
            likelihoods["before"] = list(folder.ask(LIKELIHOOD_BEFORE, likelihood, own, before))
            likelihoods["first"] = list(folder.ask(LIKELIHOOD_FIRST, likelihood, own, self.seen[0][0]))
        return likelihoods


def load_anchors(recipe: Recipe, seed: Seed) -> list[Anchor]:
    """The first `sample` anchors: those of the file, and the held-out prompts that carry checks where these are anchors.

    Raises `SelfRewardError` where the file is malformed or empty, or has a prompt twice, or one that `seed` has too.
    """
    config, checked = recipe.drift, _checked(recipe, seed) if recipe.judge.checks == "anchor" else []
    if config is None or config.anchors is None:
        return checked[: config.sample] if config else []
    with held_by("drift.anchors", config.anchors):
        anchors = read_jsonl(Path(config.anchors), Anchor)
    if not anchors:
        now = "Give prompts with known answers, or leave drift.anchors out; docs/own-model.md shows a line"
        raise SelfRewardError("has no anchors", config.anchors, now)
    repeated = [prompt for prompt, count in Counter(plain(quoted(anchor.asked)) for anchor in anchors).items() if count > 1]
    if repeated:
        raise SelfRewardError(f"has {repeated[0]!r} more than once", config.anchors, "Leave one")
    refuse_known(map(_prompt, anchors), "anchors", config.anchors, seed)
    return [*anchors, *checked][: config.sample]


def _checked(recipe: Recipe, seed: Seed) -> list[Anchor]:
    """The held-out prompts that carry checks, as anchors. Raises `SelfRewardError` where there are none, or nobody watches."""
    where, measure = "judge.checks", 'or set judge.checks to "measure"'
    if recipe.drift is None:
        raise SelfRewardError('is "anchor", but no monitor watches', where, f"Add a [drift] table, {measure}")
    carrying = [prompt for prompt in seed.heldout_prompts if prompt.checks]
    if not carrying:
        now = f"Give data.heldout_prompts with checks, {measure}"
        raise SelfRewardError('is "anchor", but no held-out prompt carries a check', where, now)
    return [Anchor(prompt=prompt.text, context=prompt.context, checks=prompt.checks) for prompt in carrying]


def _prompt(anchor: Anchor) -> Prompt:
    return Prompt(text=anchor.prompt, context=anchor.context, source="seed")


def _cut(answer: Response) -> Response:
    """The answer's first half, in words, as a response of its own; in characters where words stand without spaces."""
    if NO_SPACES.search(answer.text):
        return answer.model_copy(update={"text": answer.text[: (len(answer.text) + 1) // 2]})
    words = answer.text.split()
    return answer.model_copy(update={"text": " ".join(words[: (len(words) + 1) // 2])})


def _metrics(model: Checkpoint) -> list[dict[str, Any]]:
    file = model.path / "metrics.jsonl"
    return [json.loads(line) for line in readable(file).read_text().splitlines()] if file.exists() else []
