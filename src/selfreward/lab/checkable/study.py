"""The recipe smollm2-checkable beside its controls: `python -m selfreward.lab.checkable.study BASE [--seeds 0-2] [--arms self]`.

Arms: `self` is the recipe; `shuffled` shuffles each prompt's scores, and must gain nothing; `checkers` has the checkers for a
judge, the ceiling; `sft` trains on the seed examples once more instead of on pairs. Arms of a seed share M0, SFT and M1. Every
run is an ordinary run folder: killed, the same command goes on. The page is of what there is; what was not run is named.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from selfreward.lab.checkable.kinds import UNSEEN
from selfreward.lab.checkable.table import as_markdown
from selfreward.lab.micro.study import QUIET, publish, run_arm, seeds_from
from selfreward.recipe import shipped_recipes
from selfreward.records import Check, Measured, Prompt, Response, iter_jsonl
from selfreward.rundir import HELDOUT_CHECKS, HELDOUT_PROMPTS, HELDOUT_RESPONSES, SEED, open_run

ARMS: dict[str, dict[str, Any]] = {
    "self": {},
    "shuffled": {"pairs.policy": "selfreward.lab.micro.controls:shuffled", **QUIET},
    "checkers": {"judge.checks": "score", **QUIET},
    "sft": QUIET,
}
RESAMPLES = 10_000
KINDS = ("all", "seen", "unseen")
HELD_OUT = {kind.id for kind in UNSEEN}


class Counts(NamedTuple):
    """Instructions that each held-out answer of a model follows, [run, prompt]."""

    followed: np.ndarray
    given: np.ndarray
    unseen: np.ndarray
    """True for prompts whose instructions are of kinds that no seed asks for."""


def run_seed(seed: int, base: Path, out: Path, arms: Sequence[str], changes: dict[str, Any]) -> None:
    """Run all arms of one seed, one after another."""
    recipe = shipped_recipes()["smollm2-checkable"]
    for arm in arms:
        run_arm(out / f"seed_{seed}" / arm, recipe, {"base": str(base), "seed": seed, **changes, **ARMS[arm]})


def counts(folders: Sequence[Path], model: str) -> Counts:
    """The checks of a model's held-out answers in each of several runs, whose held-out prompts are the same."""
    rows = [list(_counted(folder, model)) for folder in folders]
    followed, given, unseen = np.moveaxis(np.array(rows), 2, 0)
    return Counts(followed, given, unseen[0].astype(bool))


def _counted(folder: Path, model: str) -> Iterator[tuple[int, int, bool]]:
    passed: dict[str, list[bool]] = {}
    for check in iter_jsonl(folder / model / f"{HELDOUT_CHECKS.name}.jsonl", Check):
        passed.setdefault(check.response_id, []).append(bool(check.strict))
    prompts = {prompt.id: prompt for prompt in iter_jsonl(folder / SEED / f"{HELDOUT_PROMPTS.name}.jsonl", Prompt)}
    for answer in iter_jsonl(folder / model / f"{HELDOUT_RESPONSES.name}.jsonl", Response):
        checks = prompts[answer.prompt_id].checks
        yield sum(passed.get(answer.id, ())), len(checks), any(check.id in HELD_OUT for check in checks)


def share(parts: np.ndarray, wholes: np.ndarray) -> dict[str, float]:
    """Sum of `parts` over sum of `wholes`, [run, prompt], with its 95 % interval: bootstrap over runs, then over prompts."""
    rng, (runs, prompts) = np.random.default_rng(0), parts.shape
    rows = rng.integers(runs, size=(RESAMPLES, runs))
    columns = rng.integers(prompts, size=(RESAMPLES, prompts))
    drawn = [values[rows[:, :, None], columns[:, None, :]].sum((1, 2)) for values in (parts, wholes)]
    low, high = np.quantile(drawn[0] / drawn[1], [0.025, 0.975])
    return {"value": float(parts.sum() / wholes.sum()), "low": float(low), "high": float(high)}


def shares(ours: Counts, theirs: Counts | None = None) -> dict[str, dict[str, dict[str, float]]]:
    """Instructions and prompts followed, by kinds of instruction; less those of `theirs` where given."""
    whole = (ours.followed == ours.given).astype(int) - (0 if theirs is None else (theirs.followed == theirs.given))
    followed = ours.followed - (0 if theirs is None else theirs.followed)
    figures: dict[str, dict[str, dict[str, float]]] = {}
    for kind, chosen in zip(KINDS, (np.full_like(ours.unseen, True), ~ours.unseen, ours.unseen), strict=True):
        if chosen.any():
            instructions = share(followed[:, chosen], ours.given[:, chosen])
            prompts = share(whole[:, chosen], np.ones_like(whole[:, chosen]))
            figures[kind] = {"instructions": instructions, "prompts": prompts}
    return figures


def sum_up(out: Path, seeds: Sequence[int], arms: Sequence[str]) -> dict[str, Any]:
    """Every figure of the study, of the models that all seeds of an arm have."""
    figures: dict[str, Any] = {"seeds": list(seeds), "arms": {}, "not run": []}
    for arm in arms:
        folders = [folder for seed in seeds if (folder := out / f"seed_{seed}" / arm).exists()]
        if len(folders) < len(seeds):
            figures["not run"].append(arm)
            continue
        views = [open_run(folder) for folder in folders]
        measured = [{model.name: model for model in view.measured} for view in views]
        names = [name for name in measured[0] if all(name in of_run for of_run in measured)]
        counted = {name: counts(folders, name) for name in names}
        figures["arms"][arm] = {
            "models": {name: {"followed": shares(counted[name]), **_told([of[name] for of in measured])} for name in names},
            "over M1": {name: shares(counted[name], counted["M1"]) for name in names if name not in ("M0", "SFT", "M1")},
            "tokens": _tokens(folders),
            "finished": all(view.finished for view in views),
        }
    return figures


def _tokens(folders: Sequence[Path]) -> dict[str, int]:
    """Tokens that models read and wrote, and tokens that trainings put through them, in all runs together."""
    receipts = [json.loads(file.read_text()) for folder in folders for file in folder.rglob("*.receipt.json")]
    trainings = [file for folder in folders for file in folder.rglob("model/metrics.jsonl")]
    return {
        "read": sum(receipt.get("prompt_tokens", 0) for receipt in receipts),
        "written": sum(receipt.get("completion_tokens", 0) for receipt in receipts),
        "trained on": sum(json.loads(file.read_text().split("\n", 1)[0]).get("tokens", 0) for file in trainings),
    }


def _told(models: Sequence[Measured]) -> dict[str, Any]:
    """Measurements of one model, as means over the runs; None where one is unknown."""
    judging = [model.reward_modeling for model in models if model.reward_modeling]
    loops = [model.loop for model in models if model.loop]
    judged = [sum(model.judgments.values()) for model in models]
    return {
        "true_score": _mean([model.true_score for model in models]),
        "self_score": _mean([model.self_score.value if model.self_score else None for model in models]),
        "pairwise_accuracy": _mean([found.pairwise_accuracy.value if found.pairwise_accuracy else None for found in judging]),
        "length_alone": _mean([found.length_baseline.value if found.length_baseline else None for found in judging]),
        "scored": _mean([model.judgments.get("scored", 0) / all_ for model, all_ in zip(models, judged, strict=True) if all_]),
        "answer_length": _mean([model.answer_length for model in models]),
        "ran_out_of_length": _mean([model.ran_out_of_length for model in models]),
        **{name: _mean([getattr(loop, name) for loop in loops]) for name in ("pairs", "pairs_right", "pairs_wrong")},
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None


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
    parser.add_argument("--set", action="append", default=[], dest="changes", help="a field of the recipe, as dpo.beta=0.2")
    parser.add_argument("--results", type=Path, help="write RESULTS.md and RESULTS.json")
    parser.add_argument("--only-page", action="store_true", help="run nothing: make the page of what there is")
    arguments = parser.parse_args()
    seeds, arms = seeds_from(arguments.seeds), arguments.arms.split(",")
    changes = dict(_change(*given.partition("=")) for given in arguments.changes)
    if not arguments.only_page:
        for seed in seeds:
            run_seed(seed, arguments.base, arguments.out, arms, changes)
    figures = {"changes": changes, **sum_up(arguments.out, seeds, arms)}
    publish(figures, as_markdown(figures), arguments.results)


if __name__ == "__main__":
    main()
