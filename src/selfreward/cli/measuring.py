"""Commands that measure: evaluate, compare, reproduce."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from selfreward.cli.application import FAILED, app, changed, named_first, say, stopping, told

MODEL = "A model of a run (runs/demo/M3), a folder, a hub id, or a server as URL#MODEL"
JudgeOption = Annotated[
    str | None, typer.Option(help="Who judges: a folder, RUN/M1, a hub id, package.module:name, or a server as URL#MODEL.")
]
KeyOption = Annotated[str | None, typer.Option(help="Environment variable with the server's key; none is sent without it.")]
RecipeOption = Annotated[Path | None, typer.Option(help="A recipe, for all that is not given; a run's model has its run's.")]
FolderOption = Annotated[Path | None, typer.Option("--folder", "-o", help="Where; evaluations/NAME beside the model by default.")]
NameOption = Annotated[str | None, typer.Option(help="What the evaluation is called.")]
FieldsOption = Annotated[list[str] | None, typer.Option("--set", help="A field listed above, as seed=1; repeatable.")]


@app.command()
@told
def evaluate(
    model: Annotated[str, typer.Argument(help=f"{MODEL}.")],
    on: Annotated[str, typer.Option(help="One of the evaluations listed below, or a file that tells which.")],
    data: Annotated[
        str | None, typer.Option(help="The evaluation's file; for reward-modeling the rankings of a run's model by default.")
    ] = None,
    judge: JudgeOption = None,
    changes: FieldsOption = None,
    recipe: RecipeOption = None,
    folder: FolderOption = None,
    name: NameOption = None,
    key_env: KeyOption = None,
) -> None:
    """Evaluate any model; the result lands beside it. Killed, the same command goes on.

    What --set may set:

    \b
    alpaca-eval      template, baseline, board, labels, responses.temperature,
                     responses.max_tokens, responses.system
    mt-bench         template, responses.max_tokens
    reward-modeling  grading.rubric, grading.pattern, grading.scale='[1, 10]',
                     grading.samples, data.format, data.columns.prompt,
                     data.limit, skip_bad_rows
    ifeval           responses.temperature, responses.max_tokens
    ifbench          responses.temperature, responses.max_tokens
    judgebench       pairwise.rubric, pairwise.pattern, pairwise.labels
    rm-bench         grading.rubric, grading.pattern, grading.scale='[1, 10]',
                     grading.samples
    lm-eval          tasks=arc_easy,piqa, include_path, few_shot, limit,
                     batch_size, chat_template
    all              seed, bootstrap, backend.device, backend.dtype
    """  # noqa: D301
    from selfreward.measure import find_kind

    kind, file = find_kind(on)
    _evaluate(model, kind, name or Path(on).stem, recipe, folder, key_env, changes, data=data or file, judge=judge)


compare = typer.Typer(cls=named_first("models", "runs"), no_args_is_help=True, help="Compare two models, or runs side by side.")
app.add_typer(compare, name="compare")


@compare.command("models")
@told
def compare_models(
    model: Annotated[str, typer.Argument(help=f"{MODEL}.")],
    against: Annotated[str, typer.Argument(help="The one it is compared with.")],
    data: Annotated[
        str | None, typer.Option("--data", "--on", help="The prompts; those that a run's model was measured on by default.")
    ] = None,
    judge: JudgeOption = None,
    changes: FieldsOption = None,
    recipe: RecipeOption = None,
    folder: FolderOption = None,
    name: NameOption = None,
    key_env: KeyOption = None,
) -> None:
    """Two models' answers before a judge, in both orders: win, tie, lose.

    What --set may set:

    \b
    pairwise.rubric, pairwise.pattern, labels, responses.temperature,
    responses.max_tokens, responses.system, data.format,
    data.columns.prompt, data.limit, skip_bad_rows, seed, bootstrap,
    backend.device, backend.dtype
    """  # noqa: D301
    from selfreward.measure import COMPARED, HELD_OUT, find_subject

    called = f"{Path(data).stem if data else HELD_OUT[COMPARED]}-against-{find_subject(against).label}"
    _evaluate(model, COMPARED, name or called, recipe, folder, key_env, changes, data=data, judge=judge, against=against)


@compare.command("runs")
@told
def compare_runs(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, two or more, finished or under way.")],
    folder: Annotated[Path | None, typer.Option("--folder", "-o", help="Write a page there too, compare.html.")] = None,
) -> None:
    """Runs side by side: where their recipes differ, both axes of every model, and all monitors."""
    from selfreward.reports import compare_runs, show_comparison, write_comparison

    comparison = compare_runs(runs)
    show_comparison(comparison)
    if folder:
        say(str(write_comparison(comparison, folder)))


def _evaluate(
    model: str, kind: str, name: str, recipe: Path | None, folder: Path | None, key_env: str | None, changes: list[str] | None,
    **options: str | None,
) -> None:  # fmt: skip
    from selfreward.measure import evaluate, name_servers
    from selfreward.recipe import set_field
    from selfreward.reports import describe_result

    given: dict[str, Any] = {field: value for field, value in options.items() if value is not None}
    for field, value in changed(changes).items():
        if field.startswith("data.") and isinstance(given.get("data"), str):
            given["data"] = {"path": given["data"]}
        set_field(given, field.split("."), value)
    _imply(given)
    named = [given.get("judge"), model, given.get("against")]
    servers = name_servers([one for one in named if isinstance(one, str)], key_env)
    result, file = evaluate(model, kind, {**given, "servers": servers}, name, recipe, folder, stopping())
    say(f"{describe_result(result)}\n{file}")


def _imply(given: dict[str, Any]) -> None:
    """Put in what follows from what is given: named columns are a format, and of the judgments asked for half must be valid."""
    data, grading = given.get("data"), given.get("grading")
    if isinstance(data, dict) and "columns" in data:
        data.setdefault("format", "columns")
    if isinstance(grading, dict) and isinstance(samples := grading.get("samples"), int):
        grading.setdefault("min_valid", (samples + 1) // 2)


@app.command()
@told
def reproduce(
    data_dir: Annotated[Path, typer.Argument(help="A folder with the published data, JSONL files of set names.")],
) -> None:
    """Compute published figures again, row by row; exit code 1 if one is out of its tolerance."""
    from selfreward.lab.reproduce.figures import reproduce as compute

    reproduction = compute(data_dir)
    say(str(reproduction))
    if reproduction.off:
        raise typer.Exit(FAILED)


@app.command()
@told
def calibrate(
    runs: Annotated[
        list[Path], typer.Argument(help="Folders of finished runs that went well, of one recipe and different seeds.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The file, for drift.baseline of a recipe.")] = Path("baseline.jsonl"),
) -> None:
    """Make a baseline of clean runs: one alarm over all figures and models, with the error rate that so many runs can hold."""
    from selfreward.errors import amount
    from selfreward.measure import calibrate, figures_of
    from selfreward.records import to_line, write_whole
    from selfreward.rundir import open_run

    baseline = calibrate([figures_of(open_run(run)) for run in runs])
    write_whole(out, to_line(baseline) + "\n")
    held = f"false alarms in {baseline.finest:.1%} of clean runs or more (drift.false_alarms)"
    say(f"{out}: {held}, from {amount(len(runs), 'run')}")
