"""Calibration of fluke probabilities: pairs judged again with fresh seeds, by judges of little and of much noise."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from selfreward.api import execute
from selfreward.lab.defects.arms import PLANTED
from selfreward.lab.defects.defects import DEFECTS, planted
from selfreward.lab.defects.runs import DIGITS, own_folder
from selfreward.lab.defects.worlds import EASY
from selfreward.loop import iterate
from selfreward.measure import Measurer, Watcher
from selfreward.recipe import Recipe, load_recipe
from selfreward.records import Checkpoint, Judgment, Record, in_pairs
from selfreward.rundir import Part, Runner
from selfreward.stats import Bin, pair_outcomes, reliability
from selfreward.steps import Cast, Grader, Seed

SEEDS = PLANTED[:8]
NOISE = (0.0, 0.25, 0.5)
"""Shares of the grades that are drawn at random."""
PROMPTS = 600
EDGES = (0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 1)
"""Edges of the bins of predictions."""
SURE = 1000
"""Pairs that a bin needs for its share to be known to within 3 points."""


class Rejudged(Record):
    """The pairs of one iteration, with predicted and observed outcomes of a second judging."""

    noise: float
    seed: int
    flipped: tuple[float, ...]
    """Predicted probabilities that the pair is flipped."""
    outcome: tuple[int, ...]
    """Observed outcomes: 1 in the same order, 0 a tie, −1 flipped."""


def bins(rejudged: Sequence[Rejudged]) -> list[Bin]:
    """Predicted and observed flips over all pairs."""
    flips = [(flipped, outcome < 0) for run in rejudged for flipped, outcome in zip(run.flipped, run.outcome, strict=True)]
    return reliability([flipped for flipped, _ in flips], [flip for _, flip in flips], EDGES)


def rejudge(noise: float, seed: int, work: Path) -> Rejudged:
    """The pairs of one iteration by a judge with this share of random grades, judged twice."""
    folder, again = work / f"rejudged-{noise:g}" / f"seed_{seed}", _Again(noise)
    with own_folder(folder):
        execute(load_recipe(EASY.recipe, {"seed": seed, "prompts.per_iteration": PROMPTS}), folder, loop=again)
    shutil.rmtree(folder)
    return Rejudged(noise=noise, seed=seed, flipped=again.flipped, outcome=again.outcome)


class _Again:
    """Makes M1 and its first iteration up to the pairs, then judges these once more with other seeds."""

    flipped: tuple[float, ...]
    outcome: tuple[int, ...]

    def __init__(self, noise: float) -> None:
        self._defect, self._noise = next(defect for defect in DEFECTS if defect.name == "noise"), noise

    def __call__(
        self, recipe: Recipe, seed: Seed, run: Runner, cast: Cast, measurer: Measurer, watcher: Watcher, turns: object
    ) -> Checkpoint:
        run.open_model = planted(run.open_model, self._defect, lambda model: self._noise, lambda model: frozenset(), EASY)
        model = cast.join("M1", run["M1"].train_sft(seed.examples(recipe.sft.on), cast.base, recipe.sft, recipe.seed))
        iteration, _ = iterate(2, model, recipe, seed, [], run["M2"], cast)
        grader, texts = Grader(recipe.judge), {prompt.id: prompt.asked for prompt in iteration.prompts}
        ids = in_pairs(iteration.pairs)
        items = [(texts[response.prompt_id], response) for response in iteration.responses if response.id in ids]
        plan = grader.plan(items, model, recipe.seed + 1)
        again = run["M2"].complete(Part("judged_again", "asks", Judgment), plan, model, grader.read, grader.reading)
        scores = grader.mean_scores(again)
        predicted = pair_outcomes(iteration.pairs, iteration.responses, iteration.judgments, recipe.judge.min_valid)
        rejudged = [pair for pair in iteration.pairs if {pair.chosen_id, pair.rejected_id} <= scores.keys()]
        distances = [scores[pair.chosen_id] - scores[pair.rejected_id] for pair in rejudged]
        self.flipped = tuple(round(predicted[pair.id].flipped, DIGITS) for pair in rejudged)
        self.outcome = tuple((distance > 0) - (distance < 0) for distance in distances)
        return model
