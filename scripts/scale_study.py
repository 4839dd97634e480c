"""A million judgments, and what the program does with them: `python scripts/scale_study.py`.

Writes a run folder with one iteration of so many judgments, in the program's own records with their receipts, and goes over it
step by step, each step in a process of its own. Then 100,000 prompts against each other, planning and asking on the fake
backend, and whole runs on it of 64 to 4,096 prompts. Writes docs/results/scale.json and scale.md: records for a second of CPU
time, and the most memory that each step held; with `--only`, the lines of some steps anew.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from types import ModuleType
from typing import Any

from rich.console import Console

from selfreward import loop
from selfreward.api import execute
from selfreward.engines.fake import FakeModel, FakeTrainer
from selfreward.measure import Measurer, reward_modeling
from selfreward.measure.axes import beside_ranks
from selfreward.measure.monitors import flukes, health, lexicon, traits
from selfreward.measure.monitors.base import Evidence
from selfreward.recipe import Recipe, load_recipe
from selfreward.records import (
    Checkpoint,
    Iteration,
    Judgment,
    Measured,
    Pair,
    Prompt,
    Ranking,
    Record,
    Records,
    Request,
    Response,
    iter_jsonl,
    preference_texts,
    write_whole,
)
from selfreward.reports import describe_status, write_report
from selfreward.rundir import JUDGMENTS, Progress, RunDir, Runner
from selfreward.stats import Novelty
from selfreward.steps import Cast, Grader, Seed, best_against_worst, choose_pairs, load_seed

ROOT = Path(__file__).parents[1]
MICRO = ROOT / "src" / "selfreward" / "recipe" / "shipped" / "micro.toml"
N, K = 4, 3
MODEL = "0123456789abcdef"
WORDS = [
    f"{a}{b}{c}" for a in ("ba", "ce", "di", "fo", "gu") for b in ("la", "me", "ni", "ro", "su") for c in ("t", "n", "rk", "sh")
]
AT_ONCE = 512
"""Requests in a batch of the fake engine: the shipped one takes eight, and every batch is synced to disk."""


def recipe(per_iteration: int = 1000) -> Recipe:
    """The micro recipe on the fake backend, with the paper's rubric and no truth."""
    changes = {
        "backend.type": "fake",
        "iterations": 1,
        "prompts.per_iteration": per_iteration,
        "judge.rubric": "selfreward:recipe/rubrics/judge_additive.txt",
        "prompts.form": None,
    }
    return load_recipe(MICRO, {**changes, "measure.truth": None})


def said(rng: random.Random, characters: int) -> str:
    """So many characters of words, quotes and lines, about."""
    return "\n".join(f'"{" ".join(rng.choices(WORDS, k=10))}" é' for _ in range(characters // 60))


def prompts(count: int) -> Iterator[Prompt]:
    """Prompts that all differ."""
    rng = random.Random(0)
    return (Prompt(text=f"task {at}: {said(rng, 60)}", source="self") for at in range(count))


def responses(of: Iterator[Prompt]) -> Iterator[Response]:
    """N candidates each."""
    rng = random.Random(1)
    for prompt in of:
        for index in range(N):
            yield Response(prompt_id=prompt.id, model=MODEL, index=index, text=said(rng, rng.randint(300, 900)), finish="stop")


def judgments(of: Iterator[Response]) -> Iterator[Judgment]:
    """K judgments each; one in twenty cannot be read."""
    rng = random.Random(2)
    for response in of:
        for sample in range(K):
            score = None if rng.random() < 0.05 else float(rng.randrange(6))
            outcome = "unparsed" if score is None else "scored"
            text = f"{said(rng, 420)}\nScore: {score}"
            yield Judgment(response_id=response.id, judge=MODEL, sample=sample, rationale=text, outcome=outcome, score=score)


def write_run(folder: Path, count: int) -> None:
    """A run folder in which one iteration has its records, of `count` prompts."""
    run = RunDir(folder, recipe().model_dump(mode="json", by_alias=True))
    parts: dict[str, tuple[int, Callable[[], Iterable[Record]]]] = {
        "prompts": (count, lambda: prompts(count)),
        "responses": (N * count, lambda: responses(prompts(count))),
        "judgments": (N * K * count, lambda: judgments(responses(prompts(count)))),
    }
    for name, (records, made) in parts.items():
        _finish(run, name, made(), records)
    pairs = decided(folder, count)[0]
    _finish(run, "pairs", pairs, len(pairs))
    run.close()


def _finish(run: RunDir, name: str, made: Iterable[Record], records: int) -> None:
    stage = run.stage("M2", name)
    stage.write(stage.records, made)
    stage.finish(name, [stage.records], records=records)


def held(folder: Path, count: int) -> tuple[list[Prompt], Records[Response], Records[Judgment]]:
    """What the loop holds of an iteration."""
    at = folder / "M2"
    asked = list(Records([at / "prompts.jsonl"], Prompt, count))
    return (
        asked,
        Records([at / "responses.jsonl"], Response, N * count),
        Records([at / "judgments.jsonl"], Judgment, N * K * count),
    )


def decided(folder: Path, count: int) -> tuple[list[Pair], list[Prompt], Records[Response]]:
    """The pairs, and what they are of."""
    asked, said, judged = held(folder, count)
    return choose_pairs(asked, said, Grader(recipe().judge).mean_scores(judged), best_against_worst)[0], asked, said


def read(folder: Path, count: int) -> None:
    """Every id checked, as of a file that nothing is known of."""
    assert sum(1 for _ in iter_jsonl(folder / "M2" / "judgments.jsonl", Judgment)) == N * K * count


def read_verified(folder: Path, count: int) -> None:
    """As of a finished stage, whose files' hashes were checked."""
    assert sum(1 for _ in held(folder, count)[2]) == N * K * count


def pairs(folder: Path, count: int) -> None:
    """Judgments → mean scores → pairs → texts to train on."""
    made, asked, said = decided(folder, count)
    assert len(preference_texts(made, asked, said)) == len(made) > count / 2


def metrics(folder: Path, count: int) -> None:
    """What is measured of the iteration."""
    asked, said, judged = held(folder, count)
    made = Iteration(count, asked, said, judged, list(iter_jsonl(folder / "M2" / "pairs.jsonl", Pair)))
    conf, run = recipe(), run_in(folder)
    measurer = Measurer(conf, load_seed(conf), folder, Cast(conf))
    (folder / "M2" / "prompts.dropped.jsonl").touch()
    (folder / "M2" / "pairs.dropped.jsonl").touch()
    stats = measurer.loop_stats(made, {}, run["M2"])
    assert sum(stats.judgments.values()) == N * K * count and stats.self_score
    run.dir.close()


def judging(folder: Path, count: int) -> None:
    """Agreement with people: as many ranked sets as there are prompts, and a thousand resamples."""
    rng, (_, said, judged) = random.Random(3), held(folder, count)
    scores = Grader(recipe().judge).mean_scores(judged)
    ranked = (
        (Ranking(prompt=prompt, responses=("a", "b", "c", "d"), ranks=tuple(rng.randrange(N) for _ in range(N))), list(group))
        for prompt, group in groupby(said, lambda response: response.prompt_id)
    )
    assert reward_modeling(beside_ranks(ranked, scores), 0.0, 1000, 0).rankings == count


def evidence(folder: Path, count: int) -> Evidence:
    """The evidence about the iteration that the monitors read."""
    pairs = list(Records([folder / "M2" / "pairs.jsonl"], Pair, 0))
    return Evidence(
        name="M2", recipe=recipe(), measured=Measured.model_construct(head_to_head=[]), prompts=[], answers=[], judgments=(),
        rankings=[], ranking_judgments=(), made=Iteration(count, *held(folder, count), pairs),
    )  # fmt: skip


def read_by(monitor: ModuleType, told: str, folder: Path, count: int) -> None:
    """Let one monitor read the iteration; it must have found the figure `told`."""
    assert monitor.figures(evidence(folder, count), None)[told]


def score_health(folder: Path, count: int) -> None:
    """The monitor of scores: level, ties, yield, gap."""
    read_by(health, "ties", folder, count)


def fluke_rate(folder: Path, count: int) -> None:
    """The monitor of flukes: how likely every pair would come out otherwise."""
    read_by(flukes, "rate", folder, count)


def selection(folder: Path, count: int) -> None:
    """The monitor of traits, which reads the wording of 10,000 pairs at most."""
    read_by(traits, "score_length", folder, count)


def single_words(folder: Path, count: int) -> None:
    """The monitor of words: the one that the judge's choice favours most."""
    read_by(lexicon, "selected", folder, count)


def monitors(folder: Path, count: int) -> None:
    """These four in one process, as in a run: one pass over the responses and one over the judgments."""
    now = evidence(folder, count)
    now = now._replace(read=now.candidates)
    for monitor, told in ((health, "ties"), (flukes, "rate"), (traits, "score_length"), (lexicon, "selected")):
        assert monitor.figures(now, None)[told]


def report(folder: Path, count: int) -> None:
    """The page and the status."""
    assert write_report(folder).stat().st_size < 3_000_000 and describe_status(folder)


def everything(folder: Path, count: int) -> None:
    """All of these in one process, one after the other."""
    for step in (pairs, metrics, judging, monitors, report):
        step(folder, count)


def novelty(folder: Path, count: int) -> None:
    """Prompts of 8 to 30 words of 2,000, of which the rarer are rarer as in any language; every tenth is near to another."""
    rng, seen = random.Random(4), list[str]()
    words, weights = [f"w{n}" for n in range(2000)], [1 / (n + 10) for n in range(2000)]
    near = Novelty([], 0.7)
    for at in range(count):
        text = rng.choices(words, weights, k=rng.randint(8, 30))
        if at % 10 == 9:
            text = seen[rng.randrange(len(seen))].split()
            text[rng.randrange(len(text))] = "other"
        seen.append(" ".join(text))
    kept = sum(near.add(text) for text in seen)
    assert 0.5 * count < kept < count


def long_judgment(request: Request) -> tuple[str, str]:
    """A judgment of a length that is met."""
    return f"{said(random.Random(request.seed), 420)}\nScore: {request.seed % 6}", "stop"


class Fast(FakeModel):
    """The fake engine in larger batches."""

    def batches(self, requests: Any) -> list[list[int]]:
        """Batches of `AT_ONCE`, in order."""
        return [list(range(at, min(at + AT_ONCE, len(requests)))) for at in range(0, len(requests), AT_ONCE)]


def run_in(folder: Path) -> Runner:
    """The folder as a run at work."""
    rundir = RunDir(folder, recipe().model_dump(mode="json", by_alias=True))
    quiet = Progress(rundir.logs, console=Console(file=open(os.devnull, "w")))  # noqa: SIM115
    return Runner(rundir, lambda model: Fast(long_judgment), FakeTrainer, quiet)


def asking(folder: Path, count: int) -> None:
    """Judging planned, asked of the fake engine, written and read back."""
    run, judge, model = run_in(folder), Grader(recipe().judge), Cast(recipe()).base
    asked = [(prompt.text, response) for prompt in prompts(count) for response in responses(iter([prompt]))]
    made = run["M3"].ask(JUDGMENTS, judge, asked, model)
    assert len(judge.mean_scores(made)) == N * count
    run.dir.close()


def iteration(folder: Path, count: int) -> dict[str, float]:
    """A whole run of one iteration by the fake engine, whose own time is in it: M1 and M2 measured and watched, and the pages."""
    since, real, marks = time.process_time(), loop.iterate, list[float]()

    def timed(*given: Any) -> Any:
        marks.append(time.process_time())
        made = real(*given)
        marks.append(time.process_time())
        return made

    def fast(conf: Recipe, seed: Seed, run: Runner, *rest: Any) -> Checkpoint:
        run.open_model = lambda model: Fast()
        return loop.self_reward(conf, seed, run, *rest)

    loop.iterate = timed
    try:
        execute(recipe(count), folder, loop=fast)
    finally:
        loop.iterate = real
    began, ended = marks
    return {"start_s": began - since, "pairs_s": ended - began}


Step = Callable[[Path, int], object]
STEPS: tuple[Step, ...] = (
    read, read_verified, pairs, metrics, judging, score_health, fluke_rate, selection, single_words, monitors, report, everything,
)  # fmt: skip


def measured(step: str, folder: Path, count: int, records: int) -> dict[str, Any]:
    """CPU and wall seconds and peak memory of one step in a fresh process."""
    command = [sys.executable, __file__, "--step", step, "--folder", str(folder), "--prompts", str(count)]
    told = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    found = json.loads(told.stdout.splitlines()[-1])
    now = {"date": datetime.now(UTC).date().isoformat(), "load": os.getloadavg()[1]}
    line = {"step": step, "records": records, **found, "records_per_s": records / found["cpu_s"], **now}
    print(json.dumps(line), flush=True)
    return line


def alone(step: str, folder: Path, count: int) -> None:
    """Do one step and tell what it took, the imports apart."""
    wall, cpu = time.perf_counter(), time.process_time()
    told = globals()[step](folder, count) or {}
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({**told, "cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall, "peak_bytes": used}))


def page(found: dict[str, Any]) -> str:
    """The results as Markdown."""
    rows = [
        f"| {line['step'].replace('_', ' ')} | {line['records']:,} | {line['records_per_s']:,.0f} | {line['cpu_s']:.1f} | "
        f"{line['peak_bytes'] / 1e9:.2f} | {line['date']} | {'–' if line['load'] is None else round(line['load'])} |"
        for line in found["steps"]
    ]
    told = {name.replace("_", " "): (globals()[name].__doc__ or "").strip() for name in (line["step"] for line in found["steps"])}
    return "\n".join(
        [
            "# Records at scale", "",
            f"Made by `python scripts/scale_study.py`, {found['machine']}. One iteration of"
            f" {found['prompts']:,} prompts, N = {N}, K = {K}: {found['prompts'] * N * K:,} judgments of some 420 characters."
            " Each step ran in a process of its own; seconds are CPU seconds of one core, memory is the most that the process"
            " held, Python and libraries included.", "",
            "| step | records | records a second | s | peak GB | on | load |", "|---|---|---|---|---|---|---|", *rows, "",
            *(f"- *{name}*: {words}" for name, words in told.items()),
            "- A record is a judgment; of *novelty* and *iteration* a prompt, of *asking* a request. Responses and prompts that"
            " are read on the way are not counted. A load above the number of cores makes CPU seconds longer: caches and cores"
            " are shared.", "",
            "## The cost of a prompt", "",
            f"*iteration*, N = {N}, K = {K}. The start-up is all before the first prompt is written: the seed, M0, the SFT"
            " baseline and M1, each measured. Prompts to pairs is `loop.iterate`. The rest is M2, measured and watched, and the"
            " pages.", "",
            "| prompts | start-up, s | to pairs, ms a prompt | against the first | the rest, s | each further prompt, ms |"
            "\n|---|---|---|---|---|---|",
            *per_prompt([line for line in found["steps"] if line["step"] == "iteration"]), "",
        ]
    )  # fmt: skip


def per_prompt(lines: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Rows of the cost of a prompt by the number of prompts."""
    for line, before in zip(lines, [None, *lines], strict=False):
        each, first = line["pairs_s"] / line["records"], lines[0]["pairs_s"] / lines[0]["records"]
        more = (line["cpu_s"] - before["cpu_s"]) / (line["records"] - before["records"]) if before else None
        yield (
            f"| {line['records']:,} | {line['start_s']:.2f} | {1000 * each:.2f} | {each / first - 1:+.0%} | "
            f"{line['cpu_s'] - line['start_s'] - line['pairs_s']:.2f} | {'–' if more is None else f'{1000 * more:.2f}'} |"
        )


def main() -> None:
    """Write the folder, take the steps, write the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--prompts", type=int, default=83_334, help="prompts of the iteration; twelve judgments each")
    parser.add_argument("--novel", type=int, default=100_000, help="prompts against each other")
    parser.add_argument("--asked", type=int, nargs="*", default=[2_084, 8_334], help="prompts planned for and asked about")
    parser.add_argument("--iterated", type=int, nargs="*", default=[64, 256, 1024, 4096], help="prompts of whole runs")
    parser.add_argument("--only", nargs="*", help="steps to take; the lines of others stay as they are")
    parser.add_argument("--results", type=Path, default=ROOT / "docs" / "results" / "scale")
    parser.add_argument("--folder", type=Path, help="where the run folder is, or is to be; not given: a temporary one")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step:
        alone(given.step, given.folder, given.prompts)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder, total = given.folder or Path(temporary) / "run", given.prompts * N * K
        if not (folder / "M2" / "pairs.receipt.json").exists():
            write_run(folder, given.prompts)
        tasks = [(step.__name__, folder, given.prompts, total) for step in STEPS]
        tasks.append(("novelty", folder, given.novel, given.novel))
        tasks += [("asking", Path(temporary) / f"asked{count}", count, count * N * K) for count in given.asked]
        tasks += [("iteration", Path(temporary) / f"iterated{count}", count, count) for count in given.iterated]
        before = json.loads(given.results.with_suffix(".json").read_text()) if given.only else {"steps": []}
        once = {"date": before.get("date"), "load": None}  # of older results, in which all lines have one date
        known = {(line["step"], line["records"]): {**once, **line} for line in before["steps"] if line["step"] not in given.only}
        lines = [known.get((step, records)) or measured(step, at, count, records) for step, at, count, records in tasks]
    machine = f"{os.cpu_count()} cores, Python {sys.version.split()[0]}"
    found = {"machine": machine, "prompts": given.prompts, "steps": lines}
    write_whole(given.results.with_suffix(".json"), json.dumps(found, indent=1))
    write_whole(given.results.with_suffix(".md"), page(found))


if __name__ == "__main__":
    main()
