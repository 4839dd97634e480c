"""Seeds, novelty, and rankings by a score: length against people, and a published metric against people."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pydantic import Field
from scipy import stats

from selfreward.lab.reproduce.lines import Line
from selfreward.measure import Judged, Row, correlation, read_rows, reward_modeling
from selfreward.stats import Novelty, plain

SEEDS, PAIRS, PIPELINE = "self_instruct_seed_tasks", "rougeL_pairs", "rougeL_pipeline"
RANKED, SCORED = "oasst_ranked_trees", "unieval_scores"
LIMIT = 0.7
"""Self-Instruct's limit of ROUGE-L F, above which a text is not new."""
CORRELATIONS: dict[str, tuple[Callable[..., Any], float]] = {
    "Pearson": (stats.pearsonr, 0.682),
    "Spearman": (stats.spearmanr, 0.662),
    "Kendall tau-b": (stats.kendalltau, 0.532),
}
"""With what UniEval's paper gives for QAGS-CNN/DM (Zhong et al. 2022, arXiv 2210.07197, table 3)."""
THREE_DIGITS = 0.0005


class SeedTask(Row):
    """A task of Self-Instruct."""

    instruction: str


class RougePair(Row):
    """Two texts and their ROUGE-L F."""

    a: str
    b: str
    rougeL_f: float


class Accepted(Row):
    """An instruction that a Self-Instruct run kept, and its ROUGE-L F with the nearest before it."""

    instruction: str
    max_rougeL: float


class RankedAnswer(Row):
    """An answer and its rank among the others, 0 the best."""

    text: str
    rank: int


class RankedSet(Row):
    """Answers to one prompt that people ranked."""

    responses: list[RankedAnswer] = Field(min_length=1)


class ScoredText(Row):
    """A text's scores by people and by a metric, by dimension."""

    set: str
    human: dict[str, float]
    predicted: dict[str, float]


def seed_tasks(folder: Path) -> Iterator[Line]:
    """The number of seed tasks."""
    yield Line(SEEDS, "seed tasks", len(read_rows(str(folder / f"{SEEDS}.jsonl"), SeedTask)), id="seeds")


def rouge_pairs(folder: Path) -> Iterator[Line]:
    """Recorded values of ROUGE-L F."""
    rows = read_rows(str(folder / f"{PAIRS}.jsonl"), RougePair)
    off = [abs(Novelty([row.a], 0.0).nearest(row.b) - row.rougeL_f) for row in rows]
    yield Line(PAIRS, f"largest difference in ROUGE-L F of {len(rows):,} pairs", max(off), 0, 1e-12)


def rouge_pipeline(folder: Path) -> Iterator[Line]:
    """A recorded run of Self-Instruct, decision by decision; repeated texts are left out, for the run decided once."""
    rows = read_rows(str(folder / f"{PIPELINE}.jsonl"), Accepted)
    near, texts, refused = Novelty([], LIMIT), set[str](), 0
    for row in rows:
        if plain(row.instruction) not in texts:
            refused += not near.add(row.instruction)
        texts.add(plain(row.instruction))
    yield Line(PIPELINE, f"of {len(texts):,} that a run kept, not new to us", refused, 0)
    above = sum(row.max_rougeL > LIMIT for row in rows)
    yield Line(PIPELINE, f"recorded maxima above {LIMIT}", above, 0)


def length_baseline(folder: Path) -> Iterator[Line]:
    """The metrics of reward modelling with text length as the score; equal lengths are a tie."""
    sets = [row.responses for row in read_rows(str(folder / f"{RANKED}.jsonl"), RankedSet)]
    lengths = [[len(answer.text) for answer in answers] for answers in sets]
    judged = [Judged("all", [a.rank for a in answers], own, own) for answers, own in zip(sets, lengths, strict=True)]
    metrics = reward_modeling(judged, unparsed=0.0, resamples=1, seed=0)
    estimates = {
        "pair_acc_half": metrics.pairwise_accuracy, "pair_acc_strict": metrics.pairwise_accuracy_strict,
        "exact": metrics.exact_match, "spearman": metrics.spearman, "kendall": metrics.kendall,
    }  # fmt: skip
    figures: dict[str, float | None] = {name: estimate.value if estimate else None for name, estimate in estimates.items()}
    figures |= {
        "groups": metrics.rankings,
        "pairs": metrics.pairs,
        "groups_corr": sum(correlation(ranking, stats.kendalltau) is not None for ranking in judged),
        "top_is_best": sum(longest_is_best(ranking) for ranking in judged) / len(judged),
    }
    for name, value in figures.items():
        yield Line(RANKED, f"length alone: {name}", value, id=f"rm.{RANKED}.length.{name}")


def longest_is_best(ranking: Judged) -> bool:
    """True if people rank the longest response best, the first of several equally long."""
    return ranking.ranks[ranking.lengths.index(max(ranking.lengths))] == min(ranking.ranks)


def correlations(folder: Path) -> Iterator[Line]:
    """Correlations of a metric's scores with people's, over the texts of a set."""
    rows = read_rows(str(folder / f"{SCORED}.jsonl"), ScoredText)
    for name in dict.fromkeys(row.set for row in rows):
        own = [row for row in rows if row.set == name]
        for dimension in dict.fromkeys(dimension for row in own for dimension in row.human):
            judged = [row for row in own if dimension in row.human]
            scores = [row.predicted.get(dimension) for row in judged]
            people = [-row.human[dimension] for row in judged]  # as ranks, which are the better the lower they are
            for measure, (by, paper) in CORRELATIONS.items():
                value = correlation(Judged(name, people, scores, []), by)
                published = paper if (name, dimension) == ("qags_cnndm", "consistency") else None
                yield Line(SCORED, f"{name}, {dimension}: {measure}", value, published, THREE_DIGITS)
