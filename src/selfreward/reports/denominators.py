"""The numbers that a page's shares are of."""

from __future__ import annotations

from typing import NamedTuple

from selfreward.recipe import Recipe
from selfreward.records import in_pairs
from selfreward.rundir import HELDOUT_RESPONSES, RANKING_JUDGMENTS, TRUTH, FolderReader
from selfreward.stats import mean_scores


class Of(NamedTuple):
    """The numbers that the shares of one model are of."""

    answers: int
    """Held-out answers."""
    judgments: int
    """Judgments of held-out ranked responses."""
    perfect: int
    """The number of these responses whose mean score is the highest possible."""
    known: int
    """Pairs that it was trained on both of whose responses have a truth."""


def denominators(folder: FolderReader, recipe: Recipe) -> Of:
    """Counts from the records of a model. Goes over them once."""
    wanted = in_pairs(folder.pairs())
    true = {verdict.response_id for verdict in folder.records(TRUTH).about("response_id", wanted)} if wanted else set[str]()
    known = sum({pair.chosen_id, pair.rejected_id} <= true for pair in folder.pairs())
    judgments = folder.records(RANKING_JUDGMENTS)
    scores = mean_scores(judgments, recipe.judge.min_valid)
    perfect = sum(score == recipe.judge.scale[1] for score in scores.values())
    return Of(len(folder.records(HELDOUT_RESPONSES)), len(judgments), perfect, known)
