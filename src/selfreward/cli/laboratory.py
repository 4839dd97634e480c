"""Commands of the laboratory: bench, lab."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from selfreward.cli.application import app, say, told
from selfreward.errors import SelfRewardError


@app.command()
@told
def bench(
    model: Annotated[
        str, typer.Option("--model", "--shape", help="1m, 30m, qwen3-0.6b, llama3-8b, or a folder with a config.json.")
    ] = "1m",
    prompts: Annotated[int, typer.Option(min=1, help="Prompts in the iteration.")] = 16,
    judgment_tokens: Annotated[str, typer.Option(help="Lengths of a judgment, with commas between.")] = "32,128",
    arms: Annotated[str, typer.Option(help="Which ways to do it; the page tells what each is.")] = "a,b,c,d,a2,e",
    repeats: Annotated[int, typer.Option(min=1, help="Times that each arm runs.")] = 3,
    chunks: Annotated[str, typer.Option(help="Prompts in one generate(), of which arm b takes the best.")] = "1,4,16",
    sweep: Annotated[str, typer.Option(help="In place of the arms, our cost at these numbers of prompts, as 64,256.")] = "",
    train: Annotated[bool, typer.Option("--train", help="In place of the arms, the utilisation of SFT and DPO.")] = False,
    overhead: Annotated[str, typer.Option(help="In place of the arms, what is not the model in a run of this recipe.")] = "",
    lora: Annotated[bool, typer.Option("--lora", help="Train adapters instead of all weights.")] = False,
    dpo: Annotated[bool, typer.Option("--dpo/--no-dpo", help="Whether the arms train on their pairs.")] = True,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    dtype: Annotated[str, typer.Option(help="float32 or bfloat16.")] = "float32",
    seed: Annotated[int, typer.Option(help="Of weights, prompts and samples.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder for speed.md and speed.json; gpu.md and gpu.json on CUDA.")] = Path("bench"),
) -> None:
    """Measure an iteration on random weights beside what people would use instead, and the floor of the machine."""
    from selfreward.lab import Sitting
    from selfreward.lab import bench as measure

    sitting = Sitting(
        model=model, prompts=prompts, judgment_tokens=_numbers("--judgment-tokens", judgment_tokens), arms=tuple(arms.split(",")),
        repeats=repeats, chunks=_numbers("--chunks", chunks), sweep=_numbers("--sweep", sweep), train=train, lora=lora,
        dpo=dpo, overhead=overhead, device=device, dtype=dtype, seed=seed,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        say(str(measure(sitting, out, Path(folder), say)))


def _numbers(option: str, text: str) -> tuple[int, ...]:
    """Positive whole numbers with commas between; none of an empty text."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    wrong = [part for part in parts if not part.isdecimal() or int(part) < 1]
    if wrong:
        raise SelfRewardError(f"{wrong[0]!r} is no positive whole number", option, "Write them with commas between, as 32,128")
    return tuple(map(int, parts))


OutOption = Annotated[Path, typer.Option(help="Folder for loop-health.md, .json and .svg, and the records behind them.")]
OnlyOption = Annotated[list[str] | None, typer.Option(help="Only arms whose names begin so, as noise-0.75; repeatable.")]


@app.command()
@told
def lab(
    out: OutOption = Path("docs/results"),
    work: Annotated[Path, typer.Option(help="Folder for runs under way.")] = Path("runs/lab"),
    workers: Annotated[int, typer.Option(min=1, help="Runs at a time, each on one thread.")] = 2,
    minutes: Annotated[float, typer.Option(min=0, help="Begin no run after so many; 0 only makes the page anew.")] = 110,
    only: OnlyOption = None,
) -> None:
    """Run the micro world with and without planted defects, and report what every monitor saw, and when.

    What was run before is in the records and is not run again; stopped or killed, the same command goes on.
    """
    from selfreward.lab import run_lab

    say(str(run_lab(out, work, workers, minutes, only or [""])))
