"""The micro recipe over many seeds beside its controls: `python -m selfreward.lab.micro.study [--seeds 0-9] [--out runs/study]`.

Arms: `self` is the recipe as it ships; `shuffled` shuffles each prompt's scores, and must gain nothing; `truth` has the
truth for a judge, the ceiling; `sft` trains on the seed examples once more instead of on pairs. Arms of a seed share M0, SFT
and M1. Every run is an ordinary run folder, so the study continues where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import numpy as np

from selfreward.api import execute
from selfreward.lab.command import die_of_ctrl_c, obeyed
from selfreward.loop import self_reward
from selfreward.measure import Measurer, Watcher
from selfreward.recipe import Recipe, load_recipe, shipped_recipes
from selfreward.records import Checkpoint, Record, Response, Verdict, iter_jsonl, to_line, write_whole
from selfreward.rundir import Runner
from selfreward.steps import Cast, Seed

R = TypeVar("R", bound=Record)
QUIET = {"measure.judging": False, "drift": None}
ARMS: dict[str, dict[str, Any]] = {
    "self": {},
    "shuffled": {"pairs.policy": "selfreward.lab.micro.controls:shuffled", **QUIET},
    "truth": {"judge.by": "selfreward.lab.micro.controls:Oracle", **QUIET},
    "sft": QUIET,
}
SHARED = ("M0", "SFT", "M1")
RESAMPLES = 10_000


def more_sft(
    recipe: Recipe, seed: Seed, run: Runner, cast: Cast, measurer: Measurer, watcher: Watcher, turns: Mapping[int, Recipe]
) -> Checkpoint:
    """A loop with one more pass over the seed examples in place of each round of DPO, for about as many answers read."""
    model = self_reward(recipe.model_copy(update={"iterations": 0}), seed, run, cast, measurer, watcher, turns)
    once = recipe.sft.model_copy(update={"epochs": 1})
    for t in range(2, recipe.iterations + 2):
        trained = run[f"M{t}"].train_sft(seed.examples(recipe.sft.on), model, once, recipe.seed + t)
        model = cast.join(f"M{t}", trained)
        if recipe.measures(t):
            measurer.measure(run[f"M{t}"], model)
    return model


def run_seed(seed: int, recipe: Path, out: Path, arms: Sequence[str], threads: int) -> int:
    """Run all arms of one seed, one after another; returns the seed."""
    import torch

    torch.set_num_threads(threads)
    for arm in arms:
        run_arm(out / f"seed_{seed}" / arm, recipe, {"seed": seed, **ARMS[arm]})
    return seed


def run_arm(folder: Path, recipe: Path, changes: Mapping[str, Any]) -> None:
    """Run one arm in `folder`, named like the arm, or go on with it; what arms share comes from the arm `self` beside it."""
    shared = folder.with_name("self")
    if folder != shared and not folder.exists():
        partial = folder.with_name(f"{folder.name}.partial")  # copied whole or not at all
        shutil.rmtree(partial, ignore_errors=True)
        for name in SHARED:
            if (shared / name).exists():
                shutil.copytree(shared / name, partial / name)
        partial.rename(folder)
    execute(load_recipe(recipe, changes), folder, loop=more_sft if folder.name == "sft" else self_reward)


def heldout_scores(folder: Path) -> dict[str, list[float]]:
    """True scores of the held-out answers of each model of a run, in one order of prompts."""
    scores_by_model = {}
    for model in summary(folder):
        verdicts = {v.response_id: v.score for v in iter_jsonl(folder / model["name"] / "truth.jsonl", Verdict)}
        answers = iter_jsonl(folder / model["name"] / "heldout_responses.jsonl", Response)
        scores_by_model[model["name"]] = [verdicts[answer.id] for answer in answers]
    return scores_by_model


def interval(by_seed: np.ndarray) -> dict[str, float]:
    """Mean of [seed, prompt] with its 95 % interval: bootstrap over seeds, then over the prompts within each."""
    rng = np.random.default_rng(0)
    seeds, prompts = by_seed.shape
    means = []
    for _ in range(RESAMPLES):
        rows = by_seed[rng.integers(seeds, size=seeds)]
        means.append(np.take_along_axis(rows, rng.integers(prompts, size=rows.shape), axis=1).mean())
    low, high = np.quantile(means, [0.025, 0.975])
    return {"value": float(by_seed.mean()), "low": float(low), "high": float(high)}


def sum_up(out: Path, seeds: Sequence[int], arms: Sequence[str]) -> dict[str, Any]:
    """Every figure of the study."""
    figures: dict[str, Any] = {"seeds": list(seeds), "arms": {}, "judging": {}, "kinds": {}}
    for arm in arms:
        runs = [heldout_scores(out / f"seed_{seed}" / arm) for seed in seeds]
        names = list(runs[0])
        true = {name: np.array([run[name] for run in runs]) for name in names}
        figures["arms"][arm] = {
            "true_score": {name: interval(true[name]) for name in names},
            "against": {f"{a} over {b}": versus(true[a], true[b]) for a, b in contests(names)},
        }
    for models in zip(*(summary(out / f"seed_{seed}" / "self") for seed in seeds), strict=True):
        figures["kinds"][models[0]["name"]] = by_kind(models)
        accuracies = [model["pairwise_accuracy"] for model in models]
        if None not in accuracies:
            figures["judging"][models[0]["name"]] = interval(np.array(accuracies)[:, None])
    if {"self", "truth"} <= set(arms):
        figures["share_of_ceiling"] = gain(figures["arms"]["self"]) / gain(figures["arms"]["truth"])
    return figures


def summary(folder: Path) -> list[dict[str, Any]]:
    """The models of a run, from its summary."""
    models: list[dict[str, Any]] = json.loads((folder / "summary.json").read_text())["models"]
    return models


def by_kind(models: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Means over runs of one model's true score and pairwise accuracy, by kind of task."""
    scores = [model["instruction_following"]["by_kind"] for model in models]
    judged = [model["reward_modeling"]["by_kind"] for model in models if model["reward_modeling"]]
    return {
        kind: {
            "true_score": float(np.mean([score[kind]["value"] for score in scores])),
            **({"pairwise_accuracy": float(np.mean([j[kind]["value"] for j in judged]))} if judged and judged[0] else {}),
        }
        for kind in scores[0]
    }


def gain(figures: dict[str, Any]) -> float:
    """True score from M1 to the last model of an arm."""
    means = [score["value"] for name, score in figures["true_score"].items() if name not in ("M0", "SFT")]
    return float(means[-1] - means[0])


def contests(names: Sequence[str]) -> list[tuple[str, str]]:
    """The pairs of models to compare."""
    iterates = [name for name in names if name not in ("M0", "SFT")]
    return [*zip(iterates[1:], iterates, strict=False), *((name, "SFT") for name in iterates if "SFT" in names)]


def versus(ours: np.ndarray, theirs: np.ndarray) -> dict[str, Any]:
    """Difference in true score, and shares of prompts won and lost; both arguments are [seed, prompt]."""
    return {
        "difference": interval(ours - theirs),
        "wins": float((ours > theirs).mean()),
        "losses": float((ours < theirs).mean()),
    }


INTRODUCTION = """# The micro recipe over seeds

`python -m selfreward.lab.micro.study --seeds {first}-{last}`: {runs} runs of each arm. `self` is the recipe as it ships;
`shuffled` deals each prompt's scores out anew among its candidates; `truth` has the truth for a judge, which is the ceiling;
`sft` reads the seed examples once more in place of each round of DPO. All scores are by the truth. Intervals are 95 %, by
{resamples:,} bootstrap resamples of seeds and then of prompts; wins and losses are shares of all prompts of all runs.
"""


def as_markdown(figures: dict[str, Any]) -> str:
    """The figures as a page."""
    seeds = figures["seeds"]
    intro = INTRODUCTION.format(first=seeds[0], last=seeds[-1], runs=len(seeds), resamples=RESAMPLES)
    lines = [intro, *_arms(figures["arms"]), ""]
    if "share_of_ceiling" in figures:
        lines += [f"Share of the ceiling's gain from M1 to the last model: {figures['share_of_ceiling']:.0%}.", ""]
    lines += ["| judge | pairwise accuracy (95 %, ties half) |", "|---|---|"]
    lines += [f"| {name} | {spread(accuracy)} |" for name, accuracy in figures["judging"].items()]
    lines += ["", "| model | kind of task | true score | pairwise accuracy |", "|---|---|---|---|"]
    for name, kinds in figures["kinds"].items():
        for kind, means in kinds.items():
            accuracy = f"{means['pairwise_accuracy']:.3f}" if "pairwise_accuracy" in means else "–"
            lines.append(f"| {name} | {kind} | {means['true_score']:.2f} | {accuracy} |")
    return "\n".join(lines) + "\n"


def _arms(arms: dict[str, Any]) -> list[str]:
    head = "| arm | model | true score of 5 (95 %) | against | difference (95 %) | wins | losses |"
    lines = [head, "|---|---|---|---|---|---|---|"]
    for arm, figures in arms.items():
        for name, score in figures["true_score"].items():
            rows = {k: v for k, v in figures["against"].items() if k.startswith(f"{name} ")} or {f"{name} over –": None}
            for contest, row in rows.items():
                rest = f"{spread(row['difference'])} | {row['wins']:.1%} | {row['losses']:.1%}" if row else "– | – | –"
                lines.append(f"| {arm} | {name} | {spread(score)} | {contest.split(' over ')[1]} | {rest} |")
    return lines


def spread(figure: Mapping[str, float]) -> str:
    """A figure and its interval."""
    return f"{figure['value']:.3f} ({figure['low']:.3f} to {figure['high']:.3f})"


def seeds_from(text: str, error: Callable[[str], NoReturn]) -> range:
    """The seeds from first to last: `0-9`, or one alone; anything else is told by `error`, argparse's."""
    first, _, last = text.partition("-")
    if not (first.isdecimal() and (last or first).isdecimal() and int(first) <= int(last or first)):
        error(f"--seeds {text} is no range of seeds such as 0-9")
    return range(int(first), int(last or first) + 1)


def arms_from(text: str, known: Collection[str], error: Callable[[str], NoReturn]) -> list[str]:
    """The arms with commas between, of a study that has those `known`; an unknown one is told by `error`, argparse's."""
    named = text.split(",")
    if unknown := set(named) - set(known):
        error(f"no arm is called {min(unknown)}; there are {', '.join(known)}")
    return named


def publish(figures: Mapping[str, Any], page: str, results: Path | None) -> None:
    """Print a study's page; write it to RESULTS.md, and the figures to RESULTS.json, where `results` is given."""
    print(page)
    if results:
        write_whole(results.with_suffix(".json"), json.dumps(figures, indent=1))
        write_whole(results.with_suffix(".md"), page)


def read_kept(records: Path, kind: type[R]) -> list[R]:
    """The kept records; empty where there is no file yet. A last line that was cut off is left out, to be run again."""
    if not records.exists():
        return []
    whole = records.read_bytes().rfind(b"\n") + 1
    with records.open("r+b") as file:
        file.truncate(whole)
    return list(iter_jsonl(records, kind))


def keep(record: Record, records: Path) -> None:
    """Append a record durably."""
    with records.open("a", encoding="utf-8") as file:
        file.write(to_line(record) + "\n")
        file.flush()
        os.fsync(file.fileno())


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", type=Path, default=shipped_recipes()["micro"])
    parser.add_argument("--seeds", default="0-9", help="first and last seed")
    parser.add_argument("--arms", default=",".join(ARMS))
    parser.add_argument("--out", type=Path, default=Path("runs/study"))
    parser.add_argument("--workers", type=int, default=2, help="runs at a time, each on threads of its own")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--results", type=Path, help="write RESULTS.md and RESULTS.json")
    arguments = parser.parse_args()
    seeds, arms = seeds_from(arguments.seeds, parser.error), arms_from(arguments.arms, ARMS, parser.error)
    work = partial(run_seed, recipe=arguments.recipe, out=arguments.out, arms=arms, threads=arguments.threads)
    with ProcessPoolExecutor(arguments.workers, mp_context=get_context("spawn"), initializer=die_of_ctrl_c) as pool:
        for seed in pool.map(work, seeds):
            print(f"seed {seed} is done", flush=True)
    figures = sum_up(arguments.out, seeds, arms)
    publish(figures, as_markdown(figures), arguments.results)


if __name__ == "__main__":
    obeyed(main)
