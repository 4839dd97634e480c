"""The recipe smollm2-checkable beside its controls: `python -m selfreward.lab.checkable.study BASE [--seeds 0-2] [--arms self]`.

Arms: `self` is the recipe; `shuffled` shuffles each prompt's scores, and must gain nothing; `checkers` has the checkers for a
judge, the ceiling; `sft` trains on the seed examples once more, for about what both rounds cost. Arms of a seed share M0, SFT and
M1. Every run is an ordinary run folder, and leaves a record of what is finished of it, so that the command goes on where it was
stopped, with the folders or without. The page is of the records; what was not run is named.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from selfreward.api import evaluate
from selfreward.lab.checkable.figures import sum_up
from selfreward.lab.checkable.runs import CheckableModel, CheckableRun, again, asked, recorded
from selfreward.lab.checkable.table import as_markdown
from selfreward.lab.command import obeyed
from selfreward.lab.micro.study import QUIET, SHARED, arms_from, publish, read_kept, run_arm, seeds_from
from selfreward.recipe import load_recipe, shipped_recipes
from selfreward.records import Prompt, iter_jsonl, to_line, write_whole
from selfreward.rundir import SEED, open_run

ARMS: dict[str, dict[str, Any]] = {
    "self": {},
    "shuffled": {"pairs.policy": "selfreward.lab.micro.controls:shuffled", **QUIET},
    "checkers": {"judge.checks": "score", **QUIET},
    "sft": {"iterations": 1, **QUIET},
}

ANSWERS: dict[str, Any] = {"responses": {"temperature": 0, "max_tokens": 256}}
"""Settings of the answers to IFEval's prompts."""

OWN = "\n## What was seen\n"
"""The heading of what people write at the end of the page; it stays when the page is made anew."""


@dataclass(frozen=True)
class Study:
    """The runs of a study in `out`, and their records."""

    base: Path
    out: Path
    records: Path
    changes: Mapping[str, Any]
    ifeval: Path | None = None
    """IFEval's published prompts, which the models of the arm `self` then answer too."""

    def fields(self, arm: str) -> dict[str, Any]:
        """The changes of an arm to the recipe."""
        return {"base": str(self.base), **self.changes, **ARMS[arm]}

    @cached_property
    def recipes(self) -> dict[str, str]:
        """Arm → the hash of its recipe as it is today."""
        recipe = shipped_recipes()["smollm2-checkable"]
        return {arm: asked(load_recipe(recipe, self.fields(arm))) for arm in ARMS}

    def done(self) -> list[CheckableRun]:
        """The records of runs by today's recipes."""
        return [run for run in read_kept(self.records, CheckableRun) if run.recipe == self.recipes.get(run.arm)]

    def run(self, seeds: Sequence[int], arms: Sequence[str]) -> None:
        """Make the runs that are missing, or go on with them; those of one seed, then those of the next."""
        finished = {(run.arm, run.seed) for run in self.done() if run.finished}
        for seed in seeds:
            for arm in arms:
                if (arm, seed) not in finished:
                    folder = self._folder(seed, arm)
                    run_arm(folder, shipped_recipes()["smollm2-checkable"], {"seed": seed, **self.fields(arm)})
                    self.keep(recorded(folder, seed))
                self.answer_again(seed, arm)
            if self.ifeval and "self" in arms:
                self.answer_ifeval(seed)

    def answer_again(self, seed: int, arm: str) -> None:
        """Have the models of a run answer the held-out prompts more often, or go on with it; those that arms share, in `self`."""
        folder = self._folder(seed, arm)
        owed = [one for one in self._made(seed, arm) if not one.again and (arm == "self" or one.name not in SHARED)]
        fields: dict[str, Any] = {"data": str(_as_ifeval(folder)), "responses": _sampling(folder)} if owed else {}
        for model in owed:
            for number, into in enumerate(again(folder / model.name), start=1):
                evaluate(folder / model.name, "ifeval", name=into.name, seed=number, **fields)
            self.keep(recorded(folder, seed))

    def answer_ifeval(self, seed: int) -> None:
        """Have the models of a seed answer IFEval's prompts, or go on with it; the base, which seeds share, once."""
        folder = self._folder(seed, "self")
        known = {"M0"} if any((base := run.of("M0")) and base.ifeval for run in self.done()) else set[str]()
        for model in self._made(seed, "self"):
            if not model.ifeval and model.name not in known:
                evaluate(folder / model.name, "ifeval", data=str(self.ifeval), **ANSWERS)
                self.keep(recorded(folder, seed))

    def keep(self, run: CheckableRun) -> None:
        """Keep a record in place of the one that there was of this arm and seed, unless that one has more models."""
        kept = {(one.arm, one.seed): one for one in read_kept(self.records, CheckableRun)}
        before = kept.get((run.arm, run.seed))
        if before and before.recipe == run.recipe and len(before.models) > len(run.models):
            return
        kept[run.arm, run.seed] = run
        in_order = sorted(kept.values(), key=lambda one: (one.seed, list(ARMS).index(one.arm)))
        write_whole(self.records, "".join(to_line(one) + "\n" for one in in_order))

    def look(self) -> None:
        """Keep a record of every run in `out` as far as it is, begun by whatever process; of those of today's recipes."""
        for folder, seed in self._folders():
            run = recorded(folder, seed)
            if run.recipe == self.recipes[run.arm] and run.models:
                self.keep(run)

    def _folder(self, seed: int, arm: str) -> Path:
        return self.out / f"seed_{seed}" / arm

    def _made(self, seed: int, arm: str) -> tuple[CheckableModel, ...]:
        """The models of a run that is recorded, and whose folder is still there."""
        runs = self.done() if self._folder(seed, arm).exists() else ()
        return next((run.models for run in runs if (run.arm, run.seed) == (arm, seed)), ())

    def _folders(self) -> Iterator[tuple[Path, int]]:
        for folder in sorted(self.out.glob("seed_*/*")):
            if folder.name in ARMS and (folder / "config.json").exists():
                yield folder, int(folder.parent.name.removeprefix("seed_"))


def _as_ifeval(run: Path) -> Path:
    """The held-out prompts of a run in a file as IFEval has one, beside the run's own."""
    rows = [
        {
            "prompt": prompt.text,
            "instruction_id_list": [check.id for check in prompt.checks],
            "kwargs": [check.kwargs for check in prompt.checks],
        }
        for prompt in iter_jsonl(run / SEED / "heldout_prompts.jsonl", Prompt)
    ]
    file = run.with_name("heldout_as_ifeval.jsonl")
    write_whole(file, "".join(json.dumps(row) + "\n" for row in rows))
    return file


def _sampling(run: Path) -> dict[str, Any]:
    """The sampling of the answers of a run's models."""
    return open_run(run).recipe.responses.model_dump(include={"temperature", "top_p", "max_tokens"})


def own_words(results: Path | None) -> str:
    """The text from the heading `OWN` on in the page that there is; empty without one."""
    page = results.with_suffix(".md") if results else None
    _, heading, words = page.read_text(encoding="utf-8").partition(OWN) if page and page.exists() else ("", "", "")
    return heading + words


def _change(name: str, _: str, value: str) -> tuple[str, Any]:
    """A field and its value: JSON where it is, else text."""
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path, help="SmolLM2-135M-Instruct, as a GGUF file or a folder")
    parser.add_argument("--seeds", default="0-2", help="first and last seed")
    parser.add_argument("--arms", default=",".join(ARMS))
    parser.add_argument("--out", type=Path, default=Path("runs/real-model"))
    parser.add_argument("--ifeval", type=Path, help="IFEval's prompts (input_data.jsonl), for the models of `self` to answer")
    parser.add_argument("--set", action="append", default=[], dest="changes", help="a field of the recipe, as dpo.beta=0.2")
    parser.add_argument("--results", type=Path, help="write RESULTS.md, RESULTS.json and the records, RESULTS.runs.jsonl")
    parser.add_argument("--only-page", action="store_true", help="run nothing: record what there is, and make the page")
    arguments = parser.parse_args()
    seeds, arms = seeds_from(arguments.seeds, parser.error), arms_from(arguments.arms, ARMS, parser.error)
    changes = dict(_change(*given.partition("=")) for given in arguments.changes)
    records = (arguments.results or arguments.out).with_suffix(".runs.jsonl")
    study = Study(arguments.base, arguments.out, records, changes, arguments.ifeval)
    if not arguments.only_page:
        study.run(seeds, arms)
    study.look()
    figures = {"changes": changes, **sum_up(study.done(), seeds, arms)}
    publish(figures, as_markdown(figures) + own_words(arguments.results), arguments.results)


if __name__ == "__main__":
    obeyed(main)
