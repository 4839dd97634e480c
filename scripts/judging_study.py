"""What judging costs and what its pairs are worth, by the truth: `python scripts/judging_study.py [--seeds 0-4]`.

For each seed the micro recipe is run, and candidates that M1 and M2 answered in it are judged again in every way below.
All ways are given the same rationales: each request's is sampled once, and whoever asks the same is told the same. So ways
differ in what they draw of them and in how a score is read, and in nothing else. Writes docs/results/judging.json and .md;
what was run already is not run again.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from rich.console import Console

from selfreward.api import execute
from selfreward.engines import Model, load_checkpoint, open_model
from selfreward.engines.fake import FakeTrainer
from selfreward.lab.micro.study import publish, seeds_from
from selfreward.lab.micro.truth import verdict
from selfreward.recipe import Recipe, load_recipe, shipped_recipes
from selfreward.records import Completion, Prompt, Request, Response, iter_jsonl, to_line, write_whole
from selfreward.rundir import Progress, RunDir, Runner, open_run
from selfreward.steps import Grader, best_against_worst, choose_pairs, judge_candidates
from selfreward.steps.pairs import Policy, half_a_point_apart

ROOT = Path(__file__).parents[1]
JUDGING: dict[str, dict[str, Any]] = {
    "K = 3": {},
    "K = 2": {"samples": 2},
    "K = 1": {"samples": 1, "min_valid": 1},
    "adaptive": {"samples": "adaptive"},
    "K = 3, expected": {"read": "expected"},
    "K = 1, expected": {"read": "expected", "samples": 1, "min_valid": 1},
    "adaptive, expected": {"read": "expected", "samples": "adaptive"},
}
"""What is changed in `[judge]`."""
ALL, BASELINE, APART = "K = 3, expected", "K = 3", ", ½ apart"
"""What draws all there is; what the others are compared with; and with `half_a_point_apart` in `[pairs]`."""
WAYS = [name + policy for policy in ("", APART) for name in JUDGING]
ITERATIONS = {"M1": "M2", "M2": "M3"}
"""Who judges its own candidates → the folder of a run in which they are."""
COLUMNS = ("drawn", "written", "read", "pairs", "right", "equal", "wrong", "same")
RESAMPLES = 10_000


class Told:
    """An engine that knows the completion of every request by its seed."""

    def __init__(self, completions: dict[int, Completion]) -> None:
        self.completions = completions
        self.read: dict[int, int] = {}
        """Prompt tokens by request seed: a prompt is read once in a round, for the first of its samples."""

    def batches(self, requests: Sequence[Request]) -> list[list[int]]:
        """One; it is given all requests of a round."""
        first = {request.messages: request.seed for request in reversed(requests)}
        self.read |= {seed: self.completions[seed].prompt_tokens for seed in first.values()}
        return [list(range(len(requests)))]

    def prepare(self, requests: Sequence[Request]) -> None:
        """Nothing."""

    def generate(self, batch: Sequence[Request]) -> Iterator[Completion]:
        """What is known."""
        return (self.completions[request.seed].model_copy(update={"request_id": request.id}) for request in batch)

    def close(self) -> None:
        """Nothing."""


class Candidates:
    """What one model answered in one run to the first `count` prompts, and how it judged that."""

    def __init__(self, recipe: Recipe, run: Path, judge: str, count: int) -> None:
        folder = run / ITERATIONS[judge]
        self.recipe, self.file = recipe, folder.with_name(f"{folder.name}_answers.jsonl")
        self.model = load_checkpoint(judge, str(run / judge / "model"))
        self.prompts = list(islice(iter_jsonl(folder / "prompts.jsonl", Prompt), count))
        self.at = {prompt.id: row for row, prompt in enumerate(self.prompts)}
        self.responses = [one for one in iter_jsonl(folder / "responses.jsonl", Response) if one.prompt_id in self.at]
        texts = {prompt.id: prompt.text for prompt in self.prompts}
        self.asked = [(texts[response.prompt_id], response) for response in self.responses]
        truths = {response.id: verdict(text, response.text) for text, response in self.asked}
        self.true = {name: sum(found[1].values()) for name, found in truths.items() if found}

    def completions(self) -> dict[int, Completion]:
        """All that any way could draw, by the seed of the request."""
        plan = self._judge(JUDGING[ALL]).plan(self.asked, self.model, self.recipe.seed)
        known = iter_jsonl(self.file, Completion) if self.file.exists() else ()
        answers = {answer.request_id: answer for answer in known}
        if owed := [request for request in plan if request.id not in answers]:
            engine: Model = open_model(self.model, self.recipe.backend, {})
            batches = engine.batches(owed)
            engine.prepare(owed)
            answers |= {one.request_id: one for batch in batches for one in engine.generate([owed[at] for at in batch])}
            engine.close()
            write_whole(self.file, "".join(to_line(answer) + "\n" for answer in answers.values()))
        return {request.seed: answers[request.id] for request in plan}

    def _judge(self, changes: dict[str, Any]) -> Grader:
        return Grader(type(self.recipe.judge).model_validate(self.recipe.judge.model_dump() | changes))

    def judged(
        self, changes: dict[str, Any], completions: dict[int, Completion], folder: Path
    ) -> tuple[np.ndarray, dict[str, float]]:
        """[prompt, first three columns], and mean scores; by the loop's own code, in a run folder of its own."""
        told, rundir = Told(completions), RunDir(folder, {"seed": self.recipe.seed})
        run = Runner(rundir, lambda model: told, FakeTrainer, Progress(rundir.logs, console=Console(quiet=True)))
        judge = self._judge(changes)
        judgments = judge_candidates(run["way"], self.asked, judge, self.model)
        seeds = {(request.about, request.index): request.seed for request in judge.plan(self.asked, self.model, self.recipe.seed)}
        rundir.close()
        about = {response.id: self.at[response.prompt_id] for response in self.responses}
        rows = np.zeros((len(self.prompts), 3))
        for judgment in judgments:
            seed = seeds[judgment.response_id, judgment.sample]
            rows[about[judgment.response_id]] += (1, completions[seed].completion_tokens, told.read.get(seed, 0))
        return rows, judge.mean_scores(judgments)

    def paired(self, scores: dict[str, float], policy: Policy) -> tuple[np.ndarray, list[tuple[str, str] | None]]:
        """[prompt, next four columns], and the pair of each prompt."""
        pairs, _ = choose_pairs(self.prompts, self.responses, scores, policy)
        rows = np.zeros((len(self.prompts), 4))
        for pair in (pair for pair in pairs if {pair.chosen_id, pair.rejected_id} <= self.true.keys()):
            gap = self.true[pair.chosen_id] - self.true[pair.rejected_id]
            rows[self.at[pair.prompt_id]] = (1, gap > 0, gap == 0, gap < 0)
        found = {pair.prompt_id: (pair.chosen_id, pair.rejected_id) for pair in pairs}
        return rows, [found.get(prompt.id) for prompt in self.prompts]


def study(seed: int, recipe: Path, out: Path, count: int) -> dict[str, dict[str, np.ndarray]]:
    """Judge → way → [prompt, column] of one seed."""
    import torch

    torch.set_num_threads(1)
    run = out / f"seed_{seed}"
    read = load_recipe(recipe, {"seed": seed, "measure.judging": False, "sft.baseline": False})
    if not ((run / "config.json").exists() and open_run(run).finished):
        execute(read, run)
    found: dict[str, dict[str, np.ndarray]] = {}
    for judge in ITERATIONS:
        candidates = Candidates(read, run, judge, count)
        found[judge] = _ways(candidates)
        print(f"seed {seed}: {judge} is done", flush=True)
    return found


def _ways(candidates: Candidates) -> dict[str, np.ndarray]:
    """Way → [prompt, column]."""
    completions, usual, found = candidates.completions(), None, {}
    for name, changes in JUDGING.items():
        with TemporaryDirectory() as folder:
            spent, scores = candidates.judged(changes, completions, Path(folder))
        for policy in (best_against_worst, half_a_point_apart):
            worth, pairs = candidates.paired(scores, policy)
            usual = usual or pairs
            same = [pair == other for pair, other in zip(pairs, usual, strict=True)]
            found[name + APART * (policy is half_a_point_apart)] = np.column_stack([spent, worth, same])
    return {way: found[way] for way in WAYS}


def sum_up(by_seed: Sequence[dict[str, np.ndarray]]) -> dict[str, dict[str, Any]]:
    """Way → its figures over seeds, from way → [prompt, column] of each seed."""
    ways = list(by_seed[0])
    rows = [np.stack([seed[way] for way in ways]) for seed in by_seed]  # [way, prompt, column] of each seed
    rng = np.random.default_rng(0)
    resampled = np.array([_drawn(rows, rng) for _ in range(RESAMPLES)])
    whole, drawn = _figures(sum(seed.sum(1) for seed in rows)), _figures(resampled)
    base = ways.index(BASELINE)
    found: dict[str, dict[str, Any]] = {}
    for at, way in enumerate(ways):
        found[way] = {name: float(values[at]) for name, values in whole.items()}
        for name in SHARES:
            spread, value = drawn[name], whole[name]
            found[way][f"{name}_interval"] = _ends(spread[:, at])
            found[way][f"{name}_against"] = float(value[at] - value[base])
            found[way][f"{name}_against_interval"] = _ends(spread[:, at] - spread[:, base])
    return found


SHARES = ("right", "wrong")


def _drawn(rows: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Sums [way, column] over a sample of seeds, and of prompts within each; the same prompts for every way."""
    total = np.zeros((rows[0].shape[0], rows[0].shape[2]))
    for at in rng.integers(len(rows), size=len(rows)):
        prompts = rows[at].shape[1]
        weights = np.bincount(rng.integers(prompts, size=prompts), minlength=prompts)
        total += np.einsum("wpc,p->wc", rows[at], weights)
    return total


def _figures(sums: np.ndarray) -> dict[str, np.ndarray]:
    """Figures [… way] of sums [… way, column]: amounts relative to the baseline's, pairs as shares of the way's own."""
    column = dict(zip(COLUMNS, np.moveaxis(sums, -1, 0), strict=True))
    base = WAYS.index(BASELINE)
    amounts = {name: column[name] / column[name][..., base, None] for name in ("drawn", "written", "read")}
    shares = {name: column[name] / column["pairs"] for name in ("right", "equal", "wrong")}
    return {**amounts, "pairs": column["pairs"], "right_pairs": column["right"], **shares, "same": column["same"]}


def _ends(values: np.ndarray) -> list[float]:
    return [float(end) for end in np.quantile(values, [0.025, 0.975])]


PAGE = """# What judging costs, and what its pairs are worth

`python scripts/judging_study.py --seeds {first}-{last}`: the micro recipe (N = 4) over {runs} seeds. What M1, and then M2,
answered to the first {count} prompts of its iteration is judged by it in each way: K judgments of each; `adaptive`, which is
`judge.samples = "adaptive"`; and `expected`, which is `judge.read = "expected"`. `½ apart` has
`pairs.policy = "selfreward.steps.pairs:half_a_point_apart"`. All ways are given the same rationales, so that they differ in
what they draw of them and what they make of it.

Pairs are held against the truth, which the loop never sees: the chosen answer is truly better (right), equal, or worse (wrong);
the few on prompts that word no task have no truth and are not counted. Judgments, tokens written in them and prompt tokens read,
a prompt once in a round for all samples drawn in it, are given against K = 3. Same: prompts with the same pair as K = 3, or none
in both. 95 % intervals are those of {resamples:,} bootstrap resamples of seeds and then of prompts, the same for every way.
The rule by which an adaptive judge asks again was chosen on another seed, 100.
"""


def as_markdown(found: dict[str, Any]) -> str:
    """The figures as a page."""
    seeds = found["seeds"]
    lines = [PAGE.format(first=seeds[0], last=seeds[-1], runs=len(seeds), count=found["first"], resamples=RESAMPLES)]
    for judge, ways in found["judges"].items():
        names = "way judgments written read pairs right_pairs right_(95_%) equal wrong_(95_%) right,_against_K_=_3 same"
        head = " | ".join(["", *(name.replace("_", " ") for name in names.split()), ""]).strip()
        lines += [f"## {judge} judges its own candidates, {found['prompts'][judge]:,} prompts", "", head, "|---" * 11 + "|"]
        lines += [_row(way, figures, found["prompts"][judge]) for way, figures in ways.items()] + [""]
    return "\n".join(lines)


def _row(way: str, told: dict[str, Any], prompts: int) -> str:
    right, wrong = (_with_ends(told[name], told[f"{name}_interval"]) for name in SHARES)
    against = _with_ends(told["right_against"], told["right_against_interval"], "+")
    amounts = " | ".join(f"{told[name]:.2f}" for name in ("drawn", "written", "read"))
    pairs = f"{told['pairs']:,.0f} | {told['right_pairs']:,.0f}"
    against = "–" if way == BASELINE else against
    return f"| {way} | {amounts} | {pairs} | {right} | {told['equal']:.1%} | {wrong} | {against} | {told['same'] / prompts:.1%} |"


def _with_ends(value: float, ends: Sequence[float], sign: str = "") -> str:
    return f"{100 * value:{sign}.2f} % ({100 * ends[0]:{sign}.2f} to {100 * ends[1]:{sign}.2f})"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", type=Path, default=shipped_recipes()["micro"])
    parser.add_argument("--seeds", default="0-4", help="first and last seed")
    parser.add_argument("--out", type=Path, default=Path("runs/judging"))
    parser.add_argument("--prompts", type=int, default=500, help="of each model's prompts, so many are judged")
    parser.add_argument("--workers", type=int, default=2, help="seeds at a time")
    parser.add_argument("--results", type=Path, default=ROOT / "docs" / "results" / "judging")
    arguments = parser.parse_args()
    seeds = list(seeds_from(arguments.seeds))
    work = partial(study, recipe=arguments.recipe, out=arguments.out, count=arguments.prompts)
    with ProcessPoolExecutor(arguments.workers, mp_context=get_context("spawn")) as pool:
        by_seed = list(pool.map(work, seeds))
    found: dict[str, Any] = {"seeds": seeds, "first": arguments.prompts, "resamples": RESAMPLES, "judges": {}, "prompts": {}}
    for judge in ITERATIONS:
        found["prompts"][judge] = sum(len(seed[judge][BASELINE]) for seed in by_seed)
        found["judges"][judge] = sum_up([seed[judge] for seed in by_seed])
    publish(found, as_markdown(found), arguments.results)


if __name__ == "__main__":
    main()
