"""Commands of the laboratory: bench, lab."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from selfreward.cli.application import app, changed, errors_in_a_line, named_first, say
from selfreward.errors import SelfRewardError

ModelOption = Annotated[
    str, typer.Option("--model", "--shape", help="1m, 30m, 135m, qwen3-0.6b, llama3-8b, or a folder with a config.json.")
]
OutOption = Annotated[Path, typer.Option(help="Folder for speed.md and speed.json; gpu.md and gpu.json on CUDA.")]
DeviceOption = Annotated[str, typer.Option(help="cpu or cuda.")]
DtypeOption = Annotated[str, typer.Option(help="float32 or bfloat16.")]
LoraOption = Annotated[bool, typer.Option("--lora", help="Train adapters instead of all weights.")]
RepeatsOption = Annotated[int, typer.Option(min=1, help="Number of times to measure each.")]
SeedOption = Annotated[int, typer.Option(help="The seed of weights, prompts and samples.")]
WorkOption = Annotated[list[str] | None, typer.Option("--set", help="A field listed above, such as seed=1; repeatable.")]

LabWorld = Literal["micro", "micro-hard"]

bench = typer.Typer(
    cls=named_first("arms", "sweep", "training", "trainers", "engines", "overhead"), no_args_is_help=True,
    help="Measure speed on random weights, against common alternatives and the limit of the machine.",
)  # fmt: skip
app.add_typer(bench, name="bench", rich_help_panel="Laboratory")


@bench.command()
@errors_in_a_line
def arms(
    out: OutOption,
    arms: Annotated[str, typer.Argument(help="Arms to measure, separated by commas; the page describes each.")] = "a,b,c,d,a2,e",
    model: ModelOption = "1m",
    repeats: RepeatsOption = 3,
    device: DeviceOption = "cpu",
    dtype: DtypeOption = "float32",
    lora: LoraOption = False,
    changes: WorkOption = None,
) -> None:
    """Measure an iteration by every arm, side by side.

    Fields of --set, with the defaults:

    \b
    prompts=16                  prompts in the iteration
    judgment_tokens='[32,128]'  lengths of a judgment
    chunks='[1,4,16]'           prompts in one generate(), the best for b
    judging=true                judge the candidates
    dpo=true                    train on the pairs
    control=true                run one arm before and after all others too
    earlier='""'                the src folder of an earlier build, for o
    seed=0                      the seed of weights, prompts and samples
    """  # noqa: D301
    fields = _fields(changes, "prompts", "judgment_tokens", "chunks", "judging", "dpo", "control", "earlier", "seed")
    _bench(out, arms=tuple(arms.split(",")), model=model, repeats=repeats, device=device, dtype=dtype, lora=lora, **fields)


@bench.command()
@errors_in_a_line
def sweep(
    prompts: Annotated[str, typer.Argument(help="Numbers of prompts, such as 64,256,1024.")],
    out: OutOption,
    model: ModelOption = "1m",
    repeats: RepeatsOption = 3,
    device: DeviceOption = "cpu",
    dtype: DtypeOption = "float32",
    lora: LoraOption = False,
    dpo: Annotated[bool, typer.Option("--dpo/--no-dpo", help="Train on the pairs of an iteration.")] = True,
    seed: SeedOption = 0,
) -> None:
    """Measure our own cost of an iteration at several numbers of prompts."""
    _bench(
        out, sweep=_numbers("PROMPTS", prompts), model=model, repeats=repeats, device=device, dtype=dtype, lora=lora, dpo=dpo,
        seed=seed,
    )  # fmt: skip


@bench.command()
@errors_in_a_line
def training(
    out: OutOption,
    model: ModelOption = "1m",
    device: DeviceOption = "cpu",
    dtype: DtypeOption = "float32",
    lora: LoraOption = False,
    seed: SeedOption = 0,
) -> None:
    """Measure the utilisation of SFT and DPO."""
    _bench(out, train=True, model=model, device=device, dtype=dtype, lora=lora, seed=seed)


@bench.command()
@errors_in_a_line
def profile(out: OutOption, model: ModelOption = "1m", dtype: DtypeOption = "float32", changes: WorkOption = None) -> None:
    """Measure what takes the time of an iteration's stages, as shares, on a CPU.

    Fields of --set, with the defaults:

    \b
    prompts=16             prompts in the iteration
    judgment_tokens='[32]' the length of a judgment
    dpo=true               train on the pairs
    earlier='""'           the src folder of an earlier build, to measure too
    seed=0                 the seed of weights, prompts and samples
    """  # noqa: D301
    fields = {"judgment_tokens": [32], **_fields(changes, "prompts", "judgment_tokens", "dpo", "earlier", "seed")}
    _bench(out, profile=True, model=model, dtype=dtype, **fields)


@bench.command()
@errors_in_a_line
def trainers(
    out: OutOption,
    kinds: Annotated[str, typer.Argument(help="Trainings to measure, separated by commas.")] = "sft,dpo",
    model: ModelOption = "1m",
    repeats: RepeatsOption = 3,
    dtype: DtypeOption = "float32",
    changes: WorkOption = None,
) -> None:
    """Measure SFT and DPO alone, side by side with TRL's trainers, on a CPU.

    Fields of --set, with the defaults:

    \b
    rows=16             examples; pairs, in DPO
    batch=8             examples in a step
    prompt='[20,60]'    least and most tokens of a prompt
    response='[20,120]' least and most tokens of a response
    earlier='""'        the src folder of an earlier build, to measure too
    seed=0              the seed of weights and texts
    """  # noqa: D301
    fields = _fields(changes, "rows", "batch", "prompt", "response", "earlier", "seed")
    _bench(out, kinds=tuple(kinds.split(",")), model=model, repeats=repeats, dtype=dtype, **fields)


@bench.command()
@errors_in_a_line
def engines(
    model: Annotated[str, typer.Argument(help="A folder with a transformers model, whose own weights are sampled from.")],
    out: OutOption,
    changes: WorkOption = None,
) -> None:
    """Measure sampling on real weights, side by side with `generate()`, llama.cpp and vLLM, on a CPU.

    Fields of --set, with the defaults:

    \b
    prompts=16             prompts in the iteration
    n=4                    candidates of a prompt
    k=3                    judgments of a candidate
    judgment_tokens='[32]' the most tokens of a judgment
    judging=true           judge the candidates
    llama='""'             the Python of an environment with xllamacpp
    gguf='[]'              files of the model for it
    vllm='""'              the Python of an environment with vLLM
    seed=0                 the seed of prompts and samples
    """  # noqa: D301
    fields = {
        "judgment_tokens": [32],
        **_fields(changes, "prompts", "n", "k", "judgment_tokens", "judging", "llama", "gguf", "vllm", "seed"),
    }
    _bench(out, real=True, model=model, **fields)


@bench.command()
@errors_in_a_line
def overhead(
    recipe: Annotated[str, typer.Argument(help="The recipe to run.")],
    out: OutOption,
    earlier: Annotated[str, typer.Option(help="The src folder of an earlier build, to run it too.")] = "",
) -> None:
    """Measure the share of a run's time that is not the model's."""
    _bench(out, overhead=recipe, earlier=earlier)


def _bench(out: Path, **fields: Any) -> None:
    from selfreward.lab import bench, plan_sitting

    with tempfile.TemporaryDirectory() as folder:
        say(str(bench(plan_sitting(fields), out, Path(folder), say)))


def _fields(changes: list[str] | None, *known: str) -> dict[str, Any]:
    """The fields given by --set. Raises `SelfRewardError` for a field that does not exist here."""
    fields = changed(changes)
    if unknown := [name for name in fields if name not in known]:
        raise SelfRewardError(f"{unknown[0]} is no field here", "--set", f"Leave it out; the fields are {', '.join(known)}")
    return fields


def _numbers(where: str, text: str) -> tuple[int, ...]:
    """Positive whole numbers with commas between."""
    parts = [part.strip() for part in text.split(",")]
    wrong = [part for part in parts if not part.isdecimal() or int(part) < 1]
    if wrong:
        raise SelfRewardError(f"{wrong[0]!r} is no positive whole number", where, "Separate them with commas, such as 64,256")
    return tuple(map(int, parts))


@app.command(rich_help_panel="Laboratory")
@errors_in_a_line
def lab(
    out: Annotated[Path, typer.Argument(help="Folder for loop-health.md, .json and .svg, and the records behind them.")],
    work: Annotated[Path | None, typer.Option(help="Folder for runs under way; OUT/under-way by default.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Runs at a time, each on one thread.")] = 2,
    minutes: Annotated[float, typer.Option(min=0, help="Begin no run after this many minutes; 0 only rewrites the page.")] = 110,
    only: Annotated[
        list[str] | None, typer.Option(help="Only arms whose names begin with this, such as noise-0.75; repeatable.")
    ] = None,
    world: Annotated[LabWorld, typer.Option(help="The world; micro-hard's files are named loop-health-hard.")] = "micro",
) -> None:
    """Run the micro world with and without planted defects, and report what every monitor saw, and when.

    What was run before is in the records and is not run again; stopped or killed, the same command goes on.
    """
    from selfreward.lab import WORLDS, run_lab

    say(str(run_lab(out, work or out / "under-way", workers, minutes, only or [""], WORLDS[world])))
