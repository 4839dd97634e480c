"""The page of measurements: medians over the repeats, and every ratio against selfreward on the same work."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from statistics import median
from typing import Any

from selfreward.errors import amount
from selfreward.lab.speed import beside, notes, profiles, targets
from selfreward.lab.speed.floor import BYTES, Need, Shape, needs
from selfreward.lab.speed.measure import ARMS
from selfreward.lab.speed.utilisation import share
from selfreward.lab.speed.work import Work

STAGES = ("candidates", "judging", "dpo")
CLOCKS = {"wall": "wall", "cpu": "processor, all threads"}
Part = Mapping[str, Any]
Runs = Sequence[Mapping[str, Any]]


def page(parts: Mapping[str, Part]) -> str:
    """The whole page. `parts`: parts by key, of which the first word tells the kind; `superseded` ones come last."""
    of_kind: dict[str, Callable[[Part], str]] = {
        "arms": _arms, "sweep": _sweep, "training": _training, "overhead": _overhead, "trainers": beside.trainings_section,
        "engines": beside.engines_section, "profile": profiles.section,
    }  # fmt: skip
    before = {key: part for key, part in parts.items() if part.get("superseded")}
    now = {key: part for key, part in parts.items() if key not in before}
    sections, old = ([of_kind[key.split()[0]](part) for key, part in kept.items()] for kept in (now, before))
    found = [targets.section(now), *sections, *([notes.SUPERSEDED, *old] if old else []), notes.tail(parts)]
    return "\n\n".join([notes.HEAD, *filter(None, found)]) + "\n"


class Spent:
    """Costs of one arm: medians over the runs of it that lived."""

    def __init__(self, runs: Runs) -> None:
        self.runs = [run for run in runs if "died" not in run]

    def of(self, clock: str, stage: str) -> float:
        """Seconds of a stage, by `wall` or `cpu`."""
        return median(float(run[clock].get(stage, 0.0)) for run in self.runs)

    def total(self, clock: str) -> float:
        """Seconds of the whole: the median of the totals, not the total of the medians."""
        return median(self.totals(clock))

    def totals(self, clock: str) -> list[float]:
        """Seconds of each run."""
        return [sum(run[clock].values()) for run in self.runs]

    def tokens(self, name: str) -> int:
        """Tokens computed; the same in every run."""
        return int(self.runs[0]["tokens"].get(name, 0))

    def sampled(self, stage: str) -> int:
        """Tokens sampled."""
        return int(self.runs[0]["sampled"].get(stage, 0))

    @property
    def peak(self) -> int:
        """Bytes of memory at the most: of the process, or of the device where there is one."""
        return max(max(run["device_peak"].values(), default=0) or run["peak"] for run in self.runs)


def _spent(part: Part) -> dict[str, Spent]:
    """The arms that lived, in the order in which they ran."""
    repeats = [run for run in part["runs"] if run["role"].startswith("repeat")]
    by_arm = {arm: Spent([run for run in repeats if run["arm"] == arm]) for arm in part["arms"]}
    return {arm: spent for arm, spent in by_arm.items() if spent.runs}


def _arms(part: Part) -> str:
    work, spent = part["work"], _spent(part)
    title = f"## {part['model']}, judgments of {work['judgment_tokens']} tokens, {amount(work['prompts'], 'prompt')}"
    title = title if _judged(work) else f"## {part['model']}, candidates alone, {amount(work['prompts'], 'prompt')}"
    title += "" if work["dpo"] or not _judged(work) else ", without DPO"
    title += ", DPO by LoRA" if work["lora"] and work["dpo"] else ""
    blocks = [title, _conditions(part)]
    for n, base in ((work["n"], "a"), (2, "a2")):
        rows = {arm: spent[arm] for arm in spent if (ARMS[arm].n or work["n"]) == n and (ARMS[arm].n is None) == (base == "a")}
        if rows:
            repeats = len(next(iter(rows.values())).runs)
            blocks += [
                f"N = {n}. Seconds, medians of {repeats}:",
                *(_seconds(rows, base, clock, _stages(work)) for clock in CLOCKS),
                _tokens(rows, base, _stages(work)),
            ]
    if "a" in spent:
        blocks += [_floors(part, spent), _left_over(part["work"], spent["a"])]
    blocks += [_control(part), *part["left_out"], *_died(part)]
    return "\n\n".join(block for block in blocks if block)


def _judged(work: Mapping[str, Any]) -> bool:
    """True if the candidates were judged, as they always were in parts measured before one could ask for less."""
    return bool(work.get("judging", True))


def _stages(work: Mapping[str, Any]) -> tuple[str, ...]:
    return STAGES[: 1 + _judged(work) + bool(work["dpo"])]


def _conditions(part: Part) -> str:
    work, machine, shape = part["work"], part["machine"], part["shape"]
    first = f"{shape['parameters'] / 1e6:,.1f}M parameters, {work['dtype']}; {machine.get('device', machine['processor'])}"
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    lengths = f"Prompts of {work['prompt_tokens']} tokens, candidates of {work['candidate_tokens']}"
    calls = f"`generate()` takes {amount(work['chunks'][0], 'prompt')} a call"
    if _judged(work):
        read = Work(**_with_model(work)).judge_tokens
        judged = f"judge's prompt {read:,}, of which {work['rubric_head']:,} constant before the rest"
        lengths = f"K = {work['k']}, {lengths[0].lower()}{lengths[1:]}; {judged}"
        calls += f" for candidates and {work['chunks'][1]} for judging"
    room = f"{machine['cores']} cores, {notes.threads(machine['threads'])}{notes.load(part)}"
    return f"{first}, {room}; {versions}; {part['date']}. {lengths}. {calls}."


def _with_model(work: Mapping[str, Any]) -> dict[str, Any]:
    return {**work, "model": None, "chunks": tuple(work["chunks"])}


def _seconds(rows: Mapping[str, Spent], base: str, clock: str, stages: Sequence[str]) -> str:
    header = [CLOCKS[clock], *stages, "total", "least to most", *(f"{name} ÷ ours" for name in (*stages, "total")), "peak, MB"]
    ours, lines = rows.get(base), []
    for arm, spent in rows.items():
        took = [*(spent.of(clock, stage) for stage in stages), spent.total(clock)]
        least = [*(ours.of(clock, stage) for stage in stages), ours.total(clock)] if ours else [0.0] * len(took)
        ratios = [f"{theirs / mine:.2f}" if mine else "–" for theirs, mine in zip(took, least, strict=True)]
        ranges = f"{min(spent.totals(clock)):.2f} to {max(spent.totals(clock)):.2f}"
        peak = f"{spent.peak / 1e6:,.0f}"
        lines.append([f"({arm}) {ARMS[arm].title}", *(f"{seconds:.2f}" for seconds in took), ranges, *ratios, peak])
    return notes.table(header, lines)


def _tokens(rows: Mapping[str, Spent], base: str, stages: Sequence[str]) -> str:
    sampling = [stage for stage in stages if stage != "dpo"]
    named = (f"{stage}: {kind}" if kind == "read" else kind for stage in sampling for kind in ("read", "one by one", "sampled"))
    header = ["tokens, counted", *named, f"{sampling[-1]} read ÷ ours"]
    lines = []
    for arm, spent in rows.items():
        counts = [
            count
            for stage in sampling
            for count in (spent.tokens(f"{stage} prefill"), spent.tokens(f"{stage} decode"), spent.sampled(stage))
        ]
        ours = rows[base].tokens(f"{sampling[-1]} prefill") if base in rows else 0
        against = f"{spent.tokens(f'{sampling[-1]} prefill') / ours:.1f}" if ours else "–"
        lines.append([f"({arm})", *(f"{count:,}" for count in counts), against])
    return notes.table(header, lines)


def _floors(part: Part, spent: Mapping[str, Spent]) -> str:
    shape, rates = Shape(**part["shape"]), part["rates"]
    floors = needs(Work(**_with_model(part["work"])), shape)
    clock = "cpu" if part["machine"]["threads"] == 1 else "wall"  # one thread's processor seconds do not tell of other work
    lines = [_floor(stage, floors[stage], spent, rates, clock) for stage in _stages(part["work"])]
    able = f"{rates['multiply_adds'] / 1e9:,.1f} billion multiply-adds and {rates['bytes'] / 1e9:,.1f} GB a second"
    if ends := part.get("ends"):
        before, after = (f"{end['multiply_adds'] / 1e9:,.1f}" for end in ends)
        able += f": {before} billion before the arms, {after} after them, of which the floor takes the mean"
    header = [
        "floor",
        "multiply-adds, billions",
        "GB",
        "seconds",
        f"(a), {CLOCKS[clock]}",
        "(a) ÷ floor",
        "(a), tokens sampled a second",
        "(b), the same",
    ]
    return f"The machine does {able} ({BYTES[part['work']['dtype']]} bytes a number).\n\n{notes.table(header, lines)}"


def _floor(stage: str, need: Need, spent: Mapping[str, Spent], rates: Mapping[str, float], clock: str) -> list[str]:
    least, took = need.seconds(rates), spent["a"].of(clock, stage)
    pace = [_pace(spent[arm], stage, clock) if arm in spent else "–" for arm in ("a", "b")]
    return [
        stage, f"{need.multiply_adds / 1e9:,.2f}", f"{need.bytes / 1e9:,.2f}", f"{least:.3f}", f"{took:.2f}",
        f"{took / least:.1f}", *pace,
    ]  # fmt: skip


def _pace(spent: Spent, stage: str, clock: str) -> str:
    """Tokens sampled in a second of a clock."""
    return f"{spent.sampled(stage) / spent.of(clock, stage):,.0f}" if spent.sampled(stage) else "–"


def _left_over(work: Mapping[str, Any], ours: Spent) -> str:
    """The share of arm (a)'s time that is not the model's, and DPO's part of that."""
    rest = median(1 - sum(run["inside"].values()) / sum(run["wall"].values()) for run in ours.runs)
    lines = [notes.LEFT.format(rest=100 * rest)]
    if work["dpo"]:
        share = 100 * ours.of("cpu", "dpo") / ours.total("cpu")
        lines.append(notes.DPO.format(share=share, steps=-(-work["prompts"] // work["batch"])))
    return " ".join(lines)


def _control(part: Part) -> str:
    first, last = (next((run for run in part["runs"] if run["role"] == f"control {when}"), None) for when in ("first", "last"))
    if not first or not last or "died" in first or "died" in last:
        return ""
    before, after = (sum(run["wall"].values()) for run in (first, last))
    change = f"{100 * (after / before - 1):+.0f} %"
    return f"Control: ({first['arm']}) took {before:.2f} s before all others and {after:.2f} s after them, {change}."


def _died(part: Part) -> list[str]:
    return [f"({run['arm']}) {run['role']}: {run['died']}." for run in part["runs"] if "died" in run]


def _sweep(part: Part) -> str:
    work = part["work"]
    stages = _stages(work)
    by_count: dict[int, list[Mapping[str, Any]]] = {}
    for run in part["runs"]:
        by_count.setdefault(run["prompts"], []).append(run)
    spent = {count: Spent(runs) for count, runs in by_count.items()}
    costs = {count: each.total("cpu") / count for count, each in spent.items() if each.runs}
    first, more = next(iter(costs.values())), _more({count: spent[count].total("cpu") for count in costs})
    lines = [
        [f"{count:,}", f"{1000 * cost:.2f}", f"{1000 * spent[count].total('wall') / count:.2f}",
         f"{100 * (cost / first - 1):+.0f} %", more[count],
         *(f"{1000 * spent[count].of('cpu', stage) / count:.2f}" for stage in stages), f"{spent[count].peak / 1e6:,.0f}"]
        for count, cost in costs.items()
    ]  # fmt: skip
    header = [
        "prompts",
        "processor, ms a prompt",
        "wall, ms a prompt",
        "against the first",
        "each further prompt",
        *stages,
        "peak, MB",
    ]
    lengths = (
        f"(a) alone{'' if work['dpo'] else ', up to the pairs, without DPO'}; prompts, candidates and judgments of "
        f"{work['prompt_tokens']}, {work['candidate_tokens']} and {work['judgment_tokens']} tokens, "
        f"{work['rubric_head'] + work['rubric_tail']} of rubric{notes.load(part)}, {part['date']}."
    )
    return f"## {part['model']}: cost by the number of prompts\n\n{lengths}\n\n{notes.table(header, lines)}"


def _more(totals: Mapping[int, float]) -> dict[int, str]:
    """Cost in ms of each prompt beyond the row before, free of the costs that do not depend on the number of prompts."""
    counts = list(totals)
    more = {count: f"{1000 * (totals[count] - totals[before]) / (count - before):.2f}" for before, count in pairwise(counts)}
    return {counts[0]: "–", **more}


def _training(part: Part) -> str:
    parameters, rate = part["shape"]["parameters"], part["rates"]["multiply_adds"]
    lines = [
        [run["kind"].upper(), f"{run['tokens']:,}", f"{run['seconds']:.2f}", f"{run['tokens'] / run['seconds']:,.0f}",
         f"{100 * share(parameters, run['tokens'], run['seconds'], rate):.1f} %",
         f"{(run['device_peak'] or run['peak']) / 1e6:,.0f}"]
        for run in part["runs"]
    ]  # fmt: skip
    header = ["training", "tokens", "seconds", "tokens a second", "model-FLOP utilisation", "peak, MB"]
    what = "LoRA on all linear layers, merged at the end" if part["lora"] else "all weights"
    return f"## {part['model']}: training, {what}\n\n{notes.UTILISATION} {part['date']}.\n\n{notes.table(header, lines)}"


def _overhead(part: Part) -> str:
    share = f"{100 * part['outside']:.2f} % of the {part['seconds']:.1f} s of its iterations are neither engine nor trainer"
    told = f"## {part['recipe']}: what is not the model\n\n{notes.OVERHEAD} {share}; {part['date']}."
    if before := part.get("earlier"):
        told += (
            f" Processor: {part['processor']:.1f} s; by the earlier build {before['processor']:.1f} s, of which "
            f"{100 * before['outside']:.2f} % of the wall were neither."
        )
    return told
