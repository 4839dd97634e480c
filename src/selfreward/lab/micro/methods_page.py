"""The page of many ways of learning beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from selfreward.errors import amount
from selfreward.lab.micro.compared import ENOUGH
from selfreward.lab.micro.method_runs import LEARNT
from selfreward.lab.micro.study import RESAMPLES, spread

INTRODUCTION = """# Every way of learning, on one budget: the world `{world}`

`python -m selfreward.lab.micro.methods --world {world}`. All arms of a seed go on from one M1; what each method is, and what
it costs, is in [methods.md](../methods.md). β, learning rate and epochs are those of plain self-rewarding. The arms with `nll`
have a likelihood term of weight 2, and half of their pairs teach to judge: these numbers were found in twelve runs of the loop on
seeds from 100 on, in variants of the world. `rehearse` reads 4 examples in a step with weight 2, the best of three tried on seed
100 (8 with weight 1, 8 with 4). Nothing of the other arms was tuned. Scores are by the truth, of 5; pairwise accuracy is on
held-out rankings, ties by half, and a pair with an answer whose judgments cannot be read is wrong. Intervals are 95 %, by
{resamples:,} bootstrap resamples of seeds, then of prompts or rankings{few}. Δ is the difference of the last model from that of
plain self-rewarding, paired by seed and prompt; {p}. Tokens,
sampled and trained after M1, are in % of those of plain self-rewarding.
"""
LEARNT_OUT = """It is `micro-hard` with 9 epochs of SFT in place of 3: M1 has learnt all that EFT teaches, and what judging gains
after that is not what M1 had still to read.
"""
P = "p, of the {compared} with {enough} seeds or more, is corrected for so many (Holm), on each axis by itself"
NO_P = "no method has the {enough} seeds that a p takes"
FEW = "; with fewer than {enough} seeds they are too narrow, for so few cannot tell how much seeds differ"
FOLLOWING = ["method", "seeds", "tokens", "M1", "last model", "gain", "of the ceiling", "Δ", "p"]
JUDGING = ["method", "M1", "last model", "gain", "of the ceiling", "Δ", "p"]
OTHERS = ["5 that are best", "exact order", "Spearman", "Kendall", "overrates", "fives (true)", "unread, M1 → last", "where read"]
WON_AND_LOST = """## Won and lost, by the truth, of all prompts

The paper has, by GPT-4: M2 over M1 55.5 % won and 11.7 % lost, M3 over M2 47.7 and 12.5, M3 over SFT 62.5 and 9.8. Where both
answers have all 5 points nothing can be won. Arms named `self-…` are plain self-rewarding with one number changed, outside of the
budget: three times the prompts, twice the candidates, epochs, learning rate or rounds, half of β."""
OTHER_FIGURES = """The last model's other figures, and its biases on ranked answers. *Where read*: pairwise accuracy,
M1 → last model, on the rankings of which all judgments of both can be read (their share of all); no form is learnt there:"""
Arm = Mapping[str, Any]


def as_page(world: str, figures: Mapping[str, Any]) -> str:
    """The figures as a page."""
    arms: Mapping[str, Arm] = figures["arms"]
    fewest = min((len(arm["seeds"]) for arm in arms.values()), default=0)
    few = FEW.format(enough=ENOUGH) if fewest < ENOUGH else ""
    compared = figures["compared"]
    p = (P if compared else NO_P).format(compared=amount(compared, "method"), enough=ENOUGH)
    lines = [INTRODUCTION.format(world=world, few=few, p=p, resamples=RESAMPLES)]
    if world == "learnt-out":
        lines += [LEARNT_OUT]
    if not arms:
        return "\n".join([*lines, "No run is finished yet.", ""])
    following = [[name, *_run(arm, arms["self"]), *_following(arm, arms.get("truth"))] for name, arm in arms.items()]
    lines += ["## Following: true score, of 5", "", "The ceiling is what `truth` gains.", "", *_table(FOLLOWING, following)]
    contests = [[name, *row] for name, arm in arms.items() for row in _contests(arm)]
    lines += ["", WON_AND_LOST, "", *_table(["method", "models", "won", "lost", "tied", "tied at 5"], contests)]
    judging = [[name, *_judging(arm)] for name, arm in arms.items()]
    lines += ["", "## Judging: pairwise accuracy", "", "The ceiling is all that M1 has wrong.", "", *_table(JUDGING, judging)]
    others = [[name, *_others(arm)] for name, arm in arms.items()]
    lines += ["", OTHER_FIGURES, "", *_table(["method", *OTHERS], others)]
    if figures["not_run"]:
        lines += ["", f"Not run yet: {', '.join(figures['not_run'])}."]
    return "\n".join([*lines, ""])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def _run(arm: Arm, plain: Arm) -> list[str]:
    share = sum(arm["spent"].values()) / sum(plain["spent"].values())
    return [str(len(arm["seeds"])), f"{share:.0%}"]


def _following(arm: Arm, ceiling: Arm | None) -> list[str]:
    scores = [f"{arm['true_score'][name]:.2f}" for name in ("M1", arm["last"])]
    return [*scores, *_gained(arm["true_gain"], ceiling["true_gain"]["value"] if ceiling else 0), *_against(arm, "true")]


def _contests(arm: Arm) -> list[list[str]]:
    shares = {
        name: [row["wins"], row["losses"], 1 - row["wins"] - row["losses"], row["both_best"]]
        for name, row in arm["against"].items()
    }
    return [[name, *(f"{100 * share:.1f} %" for share in of)] for name, of in shares.items()]


def _judging(arm: Arm) -> list[str]:
    accuracies = [arm["judging"][name]["pairwise_accuracy"] for name in ("M1", arm["last"])]
    figures = [f"{accuracy:.3f}" for accuracy in accuracies]
    return [*figures, *_gained(arm["judging_gain"], 1 - accuracies[0]), *_against(arm, "judging")]


def _gained(gain: Mapping[str, float], ceiling: float) -> list[str]:
    return [spread(gain), f"{gain['value'] / ceiling:.0%}" if ceiling > 0 else "–"]


def _against(arm: Arm, axis: str) -> list[str]:
    figure = arm["against_self"][axis]
    difference = spread(figure) if figure["low"] < figure["high"] else "–"  # plain self-rewarding from itself
    return [difference, f"{figure['p_holm']:.3f}" if "p_holm" in figure else "–"]


def _others(arm: Arm) -> list[str]:
    last, first, bias = arm["judging"][arm["last"]], arm["bias"]["M1"], arm["bias"][arm["last"]]
    figures = ["–" if last[name] is None else f"{last[name]:.3f}" for name in LEARNT[1:]]
    fives, unread = f"{bias['fives']:.0%} ({bias['true_fives']:.0%})", f"{first['unread']:.1%} → {bias['unread']:.1%}"
    return [*figures, f"{bias['overrates']:+.2f}", fives, unread, _where_read(arm["read_whole"])]


def _where_read(read: Mapping[str, float | None]) -> str:
    shares = " → ".join("–" if read[name] is None else f"{read[name]:.3f}" for name in ("first", "last"))
    return f"{shares} ({read['share']:.0%})"
