"""Watching a run: ask the models what the monitors need beside the loop's own records, read them, and say how it stands."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from selfreward.errors import SelfRewardError
from selfreward.measure.measurer import Measurer
from selfreward.measure.monitors.base import Evidence
from selfreward.measure.monitors.verdicts import read_monitors
from selfreward.recipe import DriftConfig, Recipe
from selfreward.records import (
    Anchor,
    Checkpoint,
    Completion,
    Judgment,
    Likelihood,
    Made,
    Message,
    Prompt,
    Reading,
    Request,
    Response,
    Severity,
    describe,
    read_jsonl,
    worst,
)
from selfreward.rundir import ModelFolder
from selfreward.stats import plain
from selfreward.steps import Cast, Judge, Seed, plan_responses, read_response, refuse_known

Asked = list[tuple[str, Response]]
"""(prompt text, response) each."""


class Watcher:
    """Watches the models of one run as they are made, M1 first. With `drift` left out of the recipe it does nothing."""

    def __init__(self, recipe: Recipe, seed: Seed, judge: Judge, cast: Cast, after: Callable[[], None] = lambda: None) -> None:
        self.recipe, self.seed, self.judge, self.cast = recipe, seed, judge, cast
        self.after = after
        """Called when a model is measured and watched."""
        self.config = recipe.drift
        self.anchors = load_anchors(self.config, seed)
        self.seen: list[tuple[Checkpoint, Evidence]] = []
        self.readings: list[Reading] = []
        """Of the last model watched."""

    @property
    def prompts(self) -> list[Prompt]:
        """What is asked of the models by the monitors alone and must never be trained on."""
        return [*map(_prompt, self.anchors)]

    def follow(self, recipe: Recipe) -> None:
        """Watch by `recipe` from now on; its `drift` is the same."""
        self.recipe, self.judge = recipe, Judge(recipe.judge)

    def watch(self, folder: ModelFolder, model: Checkpoint, measurer: Measurer, made: Made | None = None) -> Severity:
        """Read every monitor of `model`, which `measurer` has just measured; writes `drift.jsonl` into its folder."""
        if self.config:
            self._read(self.config, folder, model, measurer, made)
        self.after()
        return worst(self.readings)

    def _read(self, config: DriftConfig, folder: ModelFolder, model: Checkpoint, measurer: Measurer, made: Made | None) -> None:
        now = self._evidence(config, folder, model, measurer, made)
        self.readings = read_monitors(now, self.seen[-1][1] if self.seen else None, config.limits)
        self.seen.append((model, now))
        folder.restate("drift", self.readings)
        folder.run.progress.say(f"{folder.name}: {describe(self.readings)}")

    def _evidence(
        self, config: DriftConfig, folder: ModelFolder, model: Checkpoint, measurer: Measurer, made: Made | None
    ) -> Evidence:
        """All that is known of `model`. Every model is asked all at once, for one is held in memory at a time."""
        prompts, answers = self.seed.heldout_prompts, measurer.answers[folder.name]
        asked = [(prompt.text, answer) for prompt, answer in zip(prompts, answers, strict=True) if answer.answered]
        asked = asked[: config.sample]
        cut = [(text, _cut(answer)) for text, answer in asked]
        pool, own, others = self._pool(config, folder, model), self._anchored(folder, model), self._others()
        texts = {prompt.id: prompt.text for prompt in (*prompts, *self.prompts)}
        of_pool, of_anchors = ([(texts[one.prompt_id], one) for one in found] for found in (pool, [*own, *others]))
        first, before = (self.seen[0][0], self.seen[-1][0]) if self.seen else (model, None)
        frozen = first if config.frozen == "frozen" else self.cast.outside(config.frozen)
        return Evidence(
            name=folder.name, recipe=self.recipe, measured=measurer.done[-1], prompts=prompts, answers=answers,
            judgments=measurer.judgments, rankings=self.seed.heldout_rankings, ranking_judgments=measurer.ranking_judgments,
            made=made, metrics=_metrics(model) if made else (),
            cut=[answer for _, answer in cut], cut_judgments=self._judge(folder, "drift_cut", cut, model),
            pool=pool, pool_judgments=self._judge(folder, "drift_pool", of_pool, model),
            anchors=self.anchors, anchor_answers=own, anchor_others=others,
            anchor_judgments=self._judge(folder, "anchor_judgments", of_anchors, model) if self.anchors else (),
            likelihoods=self._likelihoods(folder, asked, {"own": model, "before": before, "first": first if before else None}),
            frozen_judgments=self._judge(folder, "drift_frozen", asked, frozen),
        )  # fmt: skip

    def _pool(self, config: DriftConfig, folder: ModelFolder, model: Checkpoint) -> Sequence[Response]:
        """The frozen pool: made by the first model that is watched."""
        if self.seen:
            return self.seen[0][1].pool
        asked, candidates = self.seed.heldout_prompts[: config.pool], self.recipe.responses
        plan = plan_responses(asked, candidates.n, candidates.sampling, model, self.recipe.seed)
        return folder.sample("drift_candidates", Response, plan, model, read_response)

    def _anchored(self, folder: ModelFolder, model: Checkpoint) -> Sequence[Response]:
        """The answers of `model` to the anchors' prompts."""
        if not self.anchors:
            return ()
        plan = plan_responses(self.prompts, 1, self.recipe.responses.sampling, model, self.recipe.seed)
        return folder.sample("anchor_responses", Response, plan, model, read_response)

    def _others(self) -> Sequence[Response]:
        """The first model's answers to the anchors' prompts, for a later one to judge beside its own."""
        return self.seen[0][1].anchor_answers if self.seen else ()

    def _judge(self, folder: ModelFolder, stage: str, asked: Asked, by: Checkpoint) -> Collection[Judgment]:
        plan = self.judge.plan(asked, by, self.recipe.seed)
        return folder.stream(stage, Judgment, plan, by, self.judge.read, self.judge.reading)

    def _likelihoods(
        self, folder: ModelFolder, asked: Asked, by: Mapping[str, Checkpoint | None]
    ) -> dict[str, Sequence[Likelihood]]:
        """How likely each of the models `by` part finds the responses in `asked`."""
        found: dict[str, Sequence[Likelihood]] = {}
        for part, model in by.items():
            if model is not None:
                sampling, seed = self.recipe.responses.sampling, self.recipe.seed
                plan = [
                    Request.asking(one.id, 0, (Message(role="user", content=text),), sampling, model, seed, forced=one.text)
                    for text, one in asked
                ]
                found[part] = folder.sample(f"drift_likelihood_{part}", Likelihood, plan, model, read_likelihood)
        return found


def load_anchors(config: DriftConfig | None, seed: Seed) -> list[Anchor]:
    """The anchors that are asked: the first `sample` of the file.

    Raises `SelfRewardError` where it is not what it should be, or where it has a prompt twice, or one that `seed` has too.
    """
    if config is None or config.anchors is None:
        return []
    anchors = read_jsonl(Path(config.anchors), Anchor)
    repeated = [prompt for prompt, count in Counter(plain(anchor.prompt) for anchor in anchors).items() if count > 1]
    if repeated:
        raise SelfRewardError(f"has {repeated[0]!r} more than once", config.anchors, "Leave one")
    refuse_known(map(_prompt, anchors), "anchors", config.anchors, seed)
    return anchors[: config.sample]


def _prompt(anchor: Anchor) -> Prompt:
    return Prompt(text=anchor.prompt, source="seed")


def _cut(answer: Response) -> Response:
    """The answer's first half, in words, as a response of its own."""
    words = answer.text.split()
    return answer.model_copy(update={"text": " ".join(words[: (len(words) + 1) // 2])})


def _metrics(model: Checkpoint) -> list[dict[str, Any]]:
    file = model.path / "metrics.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def read_likelihood(request: Request, completion: Completion) -> Likelihood:
    """What a model told of the answer that it was made to give."""
    told = completion.finish == "stop" and completion.logprob is not None
    return Likelihood(
        response_id=request.about, model=request.model, outcome="told" if told else "untold",
        logprob=completion.logprob if told else None, tokens=completion.completion_tokens + 1,
    )  # fmt: skip
