"""Scores without a judge's words: the likelihood of an answer by a model, against its likelihood by an earlier one.

DICE (arXiv 2406.09760) and CREAM (arXiv 2410.12735) use different earlier models.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from statistics import fmean
from typing import NamedTuple

from selfreward.records import NO_FRAME, Asked, Checkpoint, Completion, Frame, Likelihood, Request, Response, Sampling, turns_of

STEPS = 1000
"""Number of steps from 0 to 1 in the search for the weight of length, as in DICE's code."""


class Likely(NamedTuple):
    """Asks a model for the likelihood of an answer to its prompt."""

    sampling: Sampling
    frame: Frame = NO_FRAME

    @property
    def reading(self) -> list[object]:
        """Empty: a likelihood needs no parsing."""
        return []

    def plan(self, items: Iterable[tuple[Asked, Response]], model: Checkpoint, seed: int) -> list[Request]:
        """A request for each (prompt, answer), with the answer, and the thought that it was sampled with, forced on the model."""
        return [
            Request.asking(
                answer.id,
                0,
                turns_of(self.frame(asked)),
                self.sampling,
                model,
                seed,
                forced=answer.text,
                forced_thought=answer.thought,
            )
            for asked, answer in items
        ]

    @staticmethod
    def read(request: Request, completion: Completion) -> Likelihood:
        """The likelihood of the forced answer; `untold` where the engine cannot give it."""
        known = completion.finish == "stop" and completion.logprob is not None
        return Likelihood(
            response_id=request.about, model=request.model, outcome="told" if known else "untold",
            logprob=completion.logprob if known else None, tokens=completion.completion_tokens + 1,
        )  # fmt: skip


def log_ratios(ours: Iterable[Likelihood], theirs: Iterable[Likelihood]) -> dict[str, float]:
    """Log π(y | x) − log π′(y | x), in nats, by response id, for answers with a likelihood by both models."""
    earlier = {likelihood.response_id: likelihood.logprob for likelihood in theirs if likelihood.logprob is not None}
    return {
        likelihood.response_id: likelihood.logprob - earlier[likelihood.response_id]
        for likelihood in ours
        if likelihood.logprob is not None and likelihood.response_id in earlier
    }


def per_token(likelihoods: Iterable[Likelihood]) -> dict[str, float]:
    """Mean log-probability of a token of each answer, in nats, by response id."""
    return {
        likelihood.response_id: likelihood.logprob / likelihood.tokens
        for likelihood in likelihoods
        if likelihood.logprob is not None
    }


def without_length(
    rewards: Mapping[str, float], responses: Iterable[Response], penalty: float | None
) -> tuple[dict[str, float], float]:  # fmt: skip
    """The rewards less `penalty` for every character of the answer, and the penalty; None: the one that balances lengths."""
    groups = [
        [(rewards[response.id], len(response.text), response.id) for response in group if response.id in rewards]
        for _, group in groupby(responses, lambda response: response.prompt_id)
    ]
    weight = balancing(groups) if penalty is None else penalty
    return {name: reward - weight * length for group in groups for reward, length, name in group}, weight


def balancing(groups: Sequence[Sequence[tuple[float, int, str]]]) -> float:
    """The weight of length, from 0 to 1, at which chosen and rejected answers are first as long as each other, by DICE's search.

    `groups`: (reward, characters, id) of each prompt's answers. Weights are tried in steps of a thousandth, up to the last before
    the mean difference in length, whatever its sign, grows.
    """
    several = [group for group in groups if len(group) > 1]
    if not several:
        return 0.0
    before = _difference(several, 0.0)
    for step in range(1, STEPS + 1):
        now = _difference(several, step / STEPS)
        if now > before:
            return (step - 1) / STEPS
        before = now
    return 1.0


def _difference(groups: Sequence[Sequence[tuple[float, int, str]]], weight: float) -> float:
    """|mean length of the chosen − of the rejected|, the highest and lowest reward of each group less `weight` a character."""
    differences = []
    for group in groups:
        ranked = sorted((reward - weight * length, name, length) for reward, length, name in group)
        differences.append(ranked[-1][2] - ranked[0][2])
    return abs(fmean(differences))
