"""Every way of learning on one budget: `python -m selfreward.lab.micro.methods [--world micro-hard] [--seeds 0-9]`.

The methods of docs/methods.md beside plain self-rewarding and its controls, from one M1 for each seed. Each writes as many
prompts as bring its tokens, sampled and trained, near those of plain self-rewarding. Nothing but that number was set for any of
them: other fields are those of the world's recipe, or the method's own defaults. Every run is an ordinary run folder, so that
the command goes on where it was stopped, and its page has the runs that are finished.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from selfreward.lab.micro.compared import compare
from selfreward.lab.micro.methods_page import as_page
from selfreward.lab.micro.study import publish, run_arm, seeds_from
from selfreward.recipe import Recipe, load_recipe, shipped_recipes

ORACLES = {
    "selfreward.lab.micro.truth:verdict": "selfreward.lab.micro.controls:Oracle",
    "selfreward.lab.micro.hard:verdict": "selfreward.lab.micro.controls:HardOracle",
}
"""A world's truth → the judge without fault that goes by it."""


class Method(NamedTuple):
    """A way of learning: its changes to the recipe, and its prompts for every prompt of plain self-rewarding."""

    name: str
    changes: Mapping[str, Any] = MappingProxyType({})
    prompts: float = 1.0


def controls(recipe: Recipe) -> list[Method]:
    """Plain self-rewarding, the ceiling, the floor and more of the same."""
    return [
        Method("self"),
        Method("truth", {"judge.by": ORACLES[str(recipe.measure.truth)]}),
        Method("shuffled", {"pairs.policy": "selfreward.lab.micro.controls:shuffled"}),
        Method("sft"),
    ]


LOSSES: dict[str, dict[str, Any]] = {
    **{loss: {} for loss in ("ipo", "sigmoid_norm", "hinge", "apo_zero", "sppo_hard")},
    "exo_pair": {"dpo.label_smoothing": 0.001},
    "robust": {"dpo.label_smoothing": 0.1},
}
"""Loss → what it needs besides, as its paper or TRL has it."""
SEMI_ONLINE = {"iterations": 10, "measure.every": 10, "dpo.schedule": "run", "dpo.optimizer": "carried"}
METHODS = [
    Method("consensus", {"judge_pairs.by": "consensus"}, 0.88),
    Method("replay", {"judge_pairs.by": "none", "judge_pairs.replay": 1}, 0.85),
    Method("consensus+replay", {"judge_pairs.by": "consensus", "judge_pairs.replay": 1}, 0.85),
    Method("temporal", {"pairs.rejected_from": "M1", "pairs.chosen_from": "ahead"}, 0.42),
    Method("temporal-past", {"pairs.rejected_from": "M1"}, 0.72),
    Method("likelihood", {"judge.method": "likelihood"}, 1.5),
    Method("cream", {"judge.method": "cream", "dpo.confidence": "consistency"}, 3.3),
    Method("consistency", {"dpo.confidence": "consistency"}, 0.74),
    Method("votes", {"judge.method": "votes", "responses.n": 8}, 2.95),
    Method("jury", {"judge.by": ["current", "previous"]}, 0.59),
    Method("jury-agreeing", {"judge.by": ["current", "previous"], "judge.agreement": 1.0}, 0.59),
    Method("average", {"dpo.average": 3}),
    Method("semi-online", SEMI_ONLINE, 0.2),
    *(Method(loss, {"dpo.loss": loss, **needed}) for loss, needed in LOSSES.items()),
]


def arms(recipe: Recipe) -> Iterator[Method]:
    """The compared arms, with the number of prompts of each; plain self-rewarding first, for the others begin from its M1.

    Of the others M1 and the last model alone are measured, for that takes as long as an iteration.
    """
    rounds = recipe.iterations
    for method in (*controls(recipe), *METHODS):
        prompts = round(recipe.prompts.per_iteration * method.prompts)
        seldom = {} if method.name == "self" else {"measure.every": rounds}
        fields = {**seldom, **method.changes, "drift": None, "measure.base": False, "prompts.per_iteration": prompts}
        yield method._replace(changes=fields)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", default="micro-hard", choices=("micro", "micro-hard"))
    parser.add_argument("--seeds", default="0-9", help="first and last seed")
    parser.add_argument("--only", help="arms, with commas between; `self` is always among them")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no run after so many; 0 only makes the page")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/methods"))
    parser.add_argument("--results", type=Path, help="write RESULTS.md and RESULTS.json")
    arguments = parser.parse_args()
    recipe = shipped_recipes()[arguments.world]
    seeds, out = seeds_from(arguments.seeds), arguments.out / arguments.world
    compared = list(arms(load_recipe(recipe)))
    named = arguments.only.split(",") if arguments.only else [arm.name for arm in compared]
    if unknown := set(named) - {arm.name for arm in compared}:
        parser.error(f"no arm is called {min(unknown)}; there are {', '.join(arm.name for arm in compared)}")
    chosen = [arm for arm in compared if arm.name in ("self", *named)]
    run_all(recipe, seeds, chosen, out, arguments.minutes, arguments.threads)
    figures = compare(out, seeds, [arm.name for arm in chosen])
    publish(figures, as_page(arguments.world, figures), arguments.results)


def run_all(recipe: Path, seeds: Sequence[int], chosen: Sequence[Method], out: Path, minutes: float, threads: int) -> None:
    """Run all arms of one seed, then those of the next, and begin none when `minutes` are over."""
    import torch

    torch.set_num_threads(threads)
    began = time.monotonic()
    for seed in seeds:
        for arm in chosen:
            if time.monotonic() - began < 60 * minutes:
                run_arm(out / f"seed_{seed}" / arm.name, recipe, {"seed": seed, **arm.changes})


if __name__ == "__main__":
    main()
