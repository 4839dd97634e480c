"""Progress: a model's answers against those of the model before, by its own judge, by one that stands still, and by the truth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from selfreward.measure.monitors.base import Evidence, Figures
from selfreward.measure.monitors.people import checked
from selfreward.records import Response
from selfreward.stats import intervals

Signs = dict[str, int]
"""Prompt id → 1 where the later answer is the better one, 0 for a tie, −1 where the earlier is."""


def figures(now: Evidence, before: Evidence | None) -> Figures:
    """Wins less losses of M_t's answers against those of the model it was made from, −1 to 1; intervals resample prompts.

    - `own`: by M_t's judge, on the held-out prompts where it scored both answers;
    - `frozen`: by the frozen judge, likewise, of the first `drift.sample`;
    - `flattered`: `own` − `frozen`, on the prompts that both judge: progress that only the judge that moves sees. Above 0 it is
      what the score gains beyond the answers (Goodhart's law);
    - `anchors`: on the prompts with known answers, where being right beats being wrong;
    - `truth`: on the held-out prompts, where the recipe names a truth (`measure.truth`).

    None for M1, and where nothing was judged on both sides.
    """
    if before is None:
        return dict.fromkeys(("own", "frozen", "flattered", "anchors", "truth"))
    live, frozen = now.scores(now.judgments), now.scores(now.frozen_judgments) | before.scores(before.frozen_judgments)
    own, still = (_signs(now.answers, before.answers, scores) for scores in (live, frozen))
    right = {
        answer.id: float(sheet[answer.prompt_id].right)
        for side in (now, before)
        for sheet in (checked(side.anchor_answers, side, {}),)
        for answer in side.anchor_answers
        if answer.prompt_id in sheet
    }
    contests = now.measured.head_to_head
    return {
        "own": intervals.mean([*own.values()], *now.resampling),
        "frozen": intervals.mean([*still.values()], *now.resampling),
        "flattered": intervals.mean([own[prompt] - still[prompt] for prompt in own if prompt in still], *now.resampling),
        "anchors": intervals.mean([*_signs(now.anchor_answers, before.anchor_answers, right).values()], *now.resampling),
        "truth": next((found.net for found in contests if (found.judge, found.against) == ("truth", before.name)), None),
    }


def _signs(later: Sequence[Response], earlier: Iterable[Response], scores: Mapping[str, float]) -> Signs:
    """The sign of the later answer's score less the earlier one's, for the prompts on which both have a score."""
    old = {answer.prompt_id: scores[answer.id] for answer in earlier if answer.id in scores}
    new = {answer.prompt_id: scores[answer.id] for answer in later if answer.id in scores}
    return {prompt: (new[prompt] > old[prompt]) - (new[prompt] < old[prompt]) for prompt in new if prompt in old}
