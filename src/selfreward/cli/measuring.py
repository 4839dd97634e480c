"""Commands that measure: evaluate, compare, reproduce."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from selfreward.cli.application import FAILED, app, changed, errors_in_a_line, named_first, say, stopping

MODEL = "A model of a run (runs/demo/M3), a folder, a hub id, or a server as URL#MODEL"
JudgeOption = Annotated[
    str | None, typer.Option(help="The judge: a folder, RUN/M1, a hub id, package.module:name, or a server as URL#MODEL.")
]
KeyOption = Annotated[str | None, typer.Option(help="Environment variable with the server's key; not given: no key is sent.")]
RecipeOption = Annotated[
    Path | None, typer.Option(help="A recipe for the settings that are not given; a run's model uses its run's recipe.")
]
FolderOption = Annotated[
    Path | None, typer.Option("--folder", "-o", help="Folder of the result; evaluations/NAME beside the model by default.")
]
NameOption = Annotated[str | None, typer.Option(help="The evaluation's name.")]
FieldsOption = Annotated[list[str] | None, typer.Option("--set", help="A field listed above, such as seed=1; repeatable.")]


@app.command(rich_help_panel="Measure")
@errors_in_a_line
def evaluate(
    model: Annotated[str, typer.Argument(help=f"{MODEL}.")],
    on: Annotated[str, typer.Option(help="One of the evaluations listed above, or a data file that shows which.")],
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
    """Evaluate any model; the result is written beside it. After a kill, the same command goes on.

    Fields of --set:

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
    arena-hard       baseline, template, judging.max_tokens,
                     responses.temperature, responses.max_tokens
    lm-eval          tasks=arc_easy,piqa, include_path, few_shot, limit,
                     batch_size, chat_template
    all              seed, bootstrap, backend.device, backend.dtype
    """  # noqa: D301
    from selfreward.measure import find_kind

    kind, file = find_kind(on)
    _evaluate(model, kind, name or Path(on).stem, recipe, folder, key_env, changes, data=data or file, judge=judge)


compare = typer.Typer(cls=named_first("models", "runs"), no_args_is_help=True, help="Compare two models, or runs side by side.")
app.add_typer(compare, name="compare", rich_help_panel="Measure")


@compare.command("models")
@errors_in_a_line
def compare_models(
    model: Annotated[str, typer.Argument(help=f"{MODEL}.")],
    against: Annotated[str, typer.Argument(help="The model to compare it with.")],
    data: Annotated[
        str | None, typer.Option("--data", "--on", help="The prompts; by default those on which a run's model was measured.")
    ] = None,
    judge: JudgeOption = None,
    changes: FieldsOption = None,
    recipe: RecipeOption = None,
    folder: FolderOption = None,
    name: NameOption = None,
    key_env: KeyOption = None,
) -> None:
    """Compare two models' answers before a judge, in both orders: win, tie, lose.

    Fields of --set:

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
@errors_in_a_line
def compare_runs(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, two or more, finished or under way.")],
    folder: Annotated[
        Path | None, typer.Option("--folder", "-o", help="Folder for a page of the comparison, compare.html.")
    ] = None,
) -> None:
    """Show runs side by side: differences of their recipes, both axes of every model, and all monitors."""
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
    from selfreward.recipe import merged, set_field
    from selfreward.reports import describe_result

    values: dict[str, Any] = {field: value for field, value in options.items() if value is not None}
    for field, value in changed(changes).items():
        if field.startswith("data.") and isinstance(values.get("data"), str):
            values["data"] = {"path": values["data"]}
        set_field(values, field, value)
    _imply(values)
    named = [values.get("judge"), model, values.get("against")]
    servers = name_servers([text for text in named if isinstance(text, str)], key_env)
    result, file = evaluate(model, kind, merged({"servers": servers}, values), name, recipe, folder, stopping())
    say(f"{describe_result(result)}\n{file}")


def _imply(values: dict[str, Any]) -> None:
    """Fill in settings that follow from others: named columns are a format, and half of the judgments asked for must be valid."""
    data, grading = values.get("data"), values.get("grading")
    if isinstance(data, dict) and "columns" in data:
        data.setdefault("format", "columns")
    if isinstance(grading, dict) and isinstance(samples := grading.get("samples"), int):
        grading.setdefault("min_valid", (samples + 1) // 2)


@app.command(rich_help_panel="Measure")
@errors_in_a_line
def reproduce(
    data_dir: Annotated[Path, typer.Argument(help="A folder with the published data, JSONL files of set names.")],
) -> None:
    """Compute published figures again, row by row. Exit code 1: a figure is outside its tolerance."""
    from selfreward.lab.reproduce.figures import reproduce as compute

    reproduction = compute(data_dir)
    say(str(reproduction))
    if reproduction.off:
        raise typer.Exit(FAILED)


@app.command(rich_help_panel="Measure")
@errors_in_a_line
def calibrate(
    runs: Annotated[
        list[Path],
        typer.Argument(help="Folders of finished runs that went well, of one recipe and different seeds; or one run, its own."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write, for drift.baseline of a recipe.")] = Path(
        "baseline.jsonl"
    ),
) -> None:
    """Make a baseline of clean runs, for one alarm over all figures and models with a known error rate.

    From one run, finished or not, the baseline is its own M1 and M2, and later models are compared with them. That asks no model
    anything; its error rate is what clean runs of the laboratory had, and no promise for another world.
    """
    from selfreward.errors import amount
    from selfreward.measure import own_baseline, shared_baseline
    from selfreward.records import to_line, write_whole
    from selfreward.rundir import open_run

    views = [open_run(run) for run in runs]
    baseline = own_baseline(views[0]) if len(views) == 1 else shared_baseline(views)
    write_whole(out, to_line(baseline) + "\n")
    own = f"its own M1 and M2, by {amount(len(baseline.furthest), 'clean run')} of the laboratory"
    source = own if len(views) == 1 else amount(len(runs), "run")
    say(f"{out}: false alarms in {baseline.finest:.1%} of clean runs or more (drift.false_alarms), from {source}")
