"""Every way of learning on one budget: `python -m selfreward.lab.micro.methods [--world micro-hard] [--seeds 0-9]`.

The methods of docs/methods.md beside plain self-rewarding and its controls, from one M1 for each seed. Each writes as many
prompts as bring its tokens, sampled and trained, near those of plain self-rewarding. Other fields are those of the world's recipe
or the method's own defaults, but for `TERM`, `LESSONS` and `REHEARSAL`, which were tuned on seeds from 100 on. Every run is an
ordinary run folder, and a finished one leaves a record, so that the command goes on where it was stopped, with the folders or
without.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from selfreward.lab.command import obeyed
from selfreward.lab.micro.compared import compare
from selfreward.lab.micro.method_runs import MethodRun, recipe_hash, recorded
from selfreward.lab.micro.methods_page import as_page
from selfreward.lab.micro.study import arms_from, keep, publish, read_kept, run_arm, seeds_from
from selfreward.recipe import Recipe, load_recipe, shipped_recipes

ORACLES = {
    "selfreward.lab.micro.truth:verdict": "selfreward.lab.micro.controls:Oracle",
    "selfreward.lab.micro.hard:verdict": "selfreward.lab.micro.controls:HardOracle",
}
"""A world's truth → the judge without fault that goes by it."""


WORLDS: dict[str, tuple[str, dict[str, Any]]] = {
    "micro-hard": ("micro-hard", {}),
    "micro": ("micro", {}),
    "learnt-out": ("micro-hard", {"sft.epochs": 9}),
}
"""Name → recipe, and the changes that all arms have. In `learnt-out` M1 has read the seed three times as often."""


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


TERM: dict[str, Any] = {"dpo.nll_weight": 2.0}
"""A likelihood term. Two judgments of an answer share almost all of their words, and DPO alone unlearns what they share."""
LESSONS: dict[str, Any] = {**TERM, "judge_pairs.share": 0.5}
REHEARSAL: dict[str, Any] = {"dpo.rehearse": 4, "dpo.rehearse_weight": 2.0}
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
    Method("nll", TERM),
    Method("consensus+nll", {**LESSONS, "judge_pairs.by": "consensus", "judge_pairs.samples": 8}, 0.72),
    Method("replay+nll", {**LESSONS, "judge_pairs.by": "none", "judge_pairs.replay": 2}, 0.85),
    Method("rehearse", {**REHEARSAL, "measure.every": 1}, 0.9),
    Method("temporal", {"pairs.rejected_from": "M1", "pairs.chosen_from": "ahead"}, 0.42),
    Method("temporal-past", {"pairs.rejected_from": "M1"}, 0.72),
    Method("likelihood", {"judge.method": "likelihood"}, 1.5),
    Method("cream", {"judge.method": "cream", "dpo.confidence": "consistency"}, 2.85),
    Method("consistency", {"dpo.confidence": "consistency"}, 0.74),
    Method("votes", {"judge.method": "votes", "responses.n": 8}, 4.5),
    Method("jury", {"judge.by": ["current", "previous"]}, 0.59),
    Method("jury-agreeing", {"judge.by": ["current", "previous"], "judge.agreement": 1.0}, 0.59),
    Method("average", {"dpo.average": 3}),
    Method("semi-online", SEMI_ONLINE, 0.2),
    *(Method(loss, {"dpo.loss": loss, **needed}) for loss, needed in LOSSES.items()),
]


def movers(recipe: Recipe) -> list[Method]:
    """Plain self-rewarding with one number changed, whatever it costs: what moves the shares of prompts won and lost."""
    dpo = recipe.dpo
    return [
        Method("self-prompts", {}, 3.0),
        Method("self-candidates", {"responses.n": 2 * recipe.responses.n}),
        Method("self-epochs", {"dpo.epochs": 2 * dpo.epochs}),
        Method("self-beta", {"dpo.beta": dpo.beta / 2}),
        Method("self-rate", {"dpo.learning_rate": 2 * dpo.learning_rate, "dpo.end_learning_rate": 2 * dpo.end_learning_rate}),
        Method("self-rounds", {"iterations": 2 * recipe.iterations}),
    ]


def arms(recipe: Recipe, all_have: Mapping[str, Any] = MappingProxyType({}), moved: bool = False) -> Iterator[Method]:
    """The compared arms, with the number of prompts of each; plain self-rewarding first, for the others begin from its M1.

    `recipe` has the changes that `all_have`; the `movers` are among them if `moved`. Of methods but `rehearse` M1 and the last
    model alone are measured, for that takes as long as an iteration.
    """
    rounds = recipe.iterations
    for method in (*controls(recipe), *METHODS, *(movers(recipe) if moved else ())):
        prompts = round(recipe.prompts.per_iteration * method.prompts)
        seldom = {} if method.name.startswith("self") else {"measure.every": rounds}
        fields = {**all_have, **seldom, **method.changes, "drift": None, "measure.base": False, "prompts.per_iteration": prompts}
        yield method._replace(changes=fields)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", default="micro-hard", choices=WORLDS)
    parser.add_argument("--seeds", default="0-9", help="first and last seed")
    parser.add_argument("--only", help="arms, with commas between; `self` is always among them")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no run after so many; 0 only makes the page")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/methods"))
    parser.add_argument(
        "--results", type=Path, help="write RESULTS.md, RESULTS.json and the records of all runs, RESULTS.runs.jsonl"
    )
    arguments = parser.parse_args()
    world, changes = WORLDS[arguments.world]
    recipe, out = shipped_recipes()[world], arguments.out / arguments.world
    compared = list(arms(load_recipe(recipe, changes), changes, moved=arguments.world == "micro"))
    study = Study(recipe, compared, out, (arguments.results or out).with_suffix(".runs.jsonl"))
    named = arms_from(arguments.only, study.names, parser.error) if arguments.only else study.names
    study.run(seeds_from(arguments.seeds, parser.error), named, arguments.minutes, arguments.threads)
    figures = compare(study.done(), study.names)
    publish(figures, as_page(arguments.world, figures), arguments.results)


@dataclass(frozen=True)
class Study:
    """The arms of one world, their runs in `out`, and the records of finished runs."""

    recipe: Path
    methods: Sequence[Method]
    out: Path
    records: Path

    @property
    def names(self) -> list[str]:
        """The names of the arms."""
        return [arm.name for arm in self.methods]

    @cached_property
    def hashes(self) -> dict[str, str]:
        """Arm → the hash of its recipe."""
        return {arm.name: recipe_hash(self.recipe, arm.changes) for arm in self.methods}

    def done(self) -> list[MethodRun]:
        """The records of the runs of today's recipes."""
        return [run for run in read_kept(self.records, MethodRun) if self.hashes.get(run.arm) == run.recipe]

    def run(self, seeds: Sequence[int], named: Sequence[str], minutes: float, threads: int) -> None:
        """Make the missing runs of one seed, then those of the next, and begin none when `minutes` are over.

        Plain self-rewarding comes first, and again where its folder is gone: the others of its seed begin from its M1.
        """
        import torch

        torch.set_num_threads(threads)
        began, done = time.monotonic(), {(run.arm, run.seed) for run in self.done()}
        for seed in seeds:
            owed = [arm for arm in self.methods if arm.name in (*named, "self") and (arm.name, seed) not in done]
            if owed and owed[0].name != "self" and not (self.out / f"seed_{seed}" / "self").exists():
                owed.insert(0, self.methods[0])
            for arm in owed:
                if time.monotonic() - began < 60 * minutes:
                    self.run_one(arm, seed, keeping=(arm.name, seed) not in done)

    def run_one(self, arm: Method, seed: int, keeping: bool) -> None:
        """Run an arm, or go on with it, and keep its record, if `keeping`."""
        folder = self.out / f"seed_{seed}" / arm.name
        run_arm(folder, self.recipe, {"seed": seed, **arm.changes})
        if keeping:
            keep(recorded(folder, seed, self.hashes[arm.name]), self.records)


if __name__ == "__main__":
    obeyed(main)
