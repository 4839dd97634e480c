"""Responses with their scores as monitors read them: one pass over the responses, and one over the judgments, for all figures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from selfreward.records import Iteration, Judgment, Pair, Response, TextOnly, in_pairs, only
from selfreward.stats import Scores, means, words

AT_MOST = 10_000
"""Pairs, and prompts with candidates, whose wording is read: of more, every nth. No interval needs to be narrower."""


class Candidates(NamedTuple):
    """Prompts, scores, texts and lengths of responses that may be too many to hold in memory with their texts."""

    prompts: dict[str, str]
    """Response id → prompt id, in the order of the responses."""
    scores: Scores
    """Scores of all judgments, also of those that are about no response here."""
    valid: dict[str, list[float]]
    """`scores` of the responses that have enough of them by the rule of the loop."""
    means: Mapping[str, float]
    """Mean score by response id, by the rule of the loop, or the scores that the loop had from elsewhere."""
    texts: dict[str, str]
    """Text by response id, of the responses in a pair."""
    lengths: dict[str, list[tuple[float, int]]]
    """Prompt id → (mean score, words) of its scored candidates, of `AT_MOST` prompts."""


def every(count: int) -> int:
    """The n of "every nth of so many" that takes at most `AT_MOST`."""
    return max(1, -(-count // AT_MOST))


def read_candidates(made: Iteration, min_valid: int) -> Candidates:
    """The candidates of an iteration; `min_valid` as in `stats.mean_scores`."""
    return read_responses(made.responses, made.judgments, min_valid, made.scores, made.pairs, len(made.prompts))


def read_responses(
    responses: Iterable[Response], judgments: Iterable[Judgment], min_valid: int,
    known: Mapping[str, float] | None = None, pairs: Sequence[Pair] = (), prompts: int = 0,
) -> Candidates:  # fmt: skip
    """Read each collection once; `known`: scores that are no means of the judgments, `prompts`: how many there are."""
    scores = Scores.of(judgments)
    valid = scores.valid(min_valid)
    read = Candidates({}, scores, valid, means(valid) if known is None else known, {}, defaultdict(list))
    paired, step, order = in_pairs(pairs), every(prompts), dict[str, int]()
    for response in only(responses, TextOnly):
        read.prompts[response.id] = response.prompt_id
        if response.id in paired:
            read.texts[response.id] = response.text
        if response.id in read.means and not order.setdefault(response.prompt_id, len(order)) % step:
            read.lengths[response.prompt_id].append((read.means[response.id], len(words(response.text))))
    return read
