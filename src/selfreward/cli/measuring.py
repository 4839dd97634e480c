"""Commands that measure: evaluate, compare, reproduce."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from selfreward.cli.application import FAILED, app, change, say, stopping, told

JudgeOption = Annotated[
    str | None, typer.Option(help="Who judges: a folder, RUN/M1, a hub id, package.module:name, or a server as URL#MODEL.")
]
KeyOption = Annotated[str | None, typer.Option(help="Environment variable with the server's key; none is sent without it.")]
RecipeOption = Annotated[Path | None, typer.Option(help="A recipe, for all that is not given; a run's model has its run's.")]
FolderOption = Annotated[Path | None, typer.Option("--folder", "-o", help="Where; evaluations/NAME beside the model by default.")]
NameOption = Annotated[str | None, typer.Option(help="What the evaluation is called.")]
FormatOption = Annotated[str | None, typer.Option(help="The rows of the file: records, oasst, messages, alpaca or columns.")]
ColumnOption = Annotated[list[str] | None, typer.Option(help="What the rows call a field, as prompt=instruction; repeatable.")]
SkipOption = Annotated[bool | None, typer.Option("--skip-bad-rows", help="Count and list rows that do not fit their format.")]
LabelsOption = Annotated[str | None, typer.Option(help="Break down by the labels in this file; judge: the judge gives them.")]
TemperatureOption = Annotated[float | None, typer.Option(help="Of the answers; mt-bench has its own for each category.")]
MaxTokensOption = Annotated[int | None, typer.Option(help="Longest answer.")]
SeedOption = Annotated[int | None, typer.Option(help="Every random choice follows from it.")]


@app.command()
@told
def evaluate(
    model: Annotated[str, typer.Argument(help="A model of a run (runs/demo/M3), a folder, a hub id, or a server as URL#MODEL.")],
    on: Annotated[str, typer.Option(help="alpaca-eval, mt-bench, reward-modeling or lm-eval; or a file that tells which.")],
    data: Annotated[
        Path | None,
        typer.Option(help="The file of the evaluation; for reward-modeling the rankings of a run's model by default."),
    ] = None,
    judge: JudgeOption = None,
    key_env: KeyOption = None,
    recipe: RecipeOption = None,
    folder: FolderOption = None,
    name: NameOption = None,
    labels: LabelsOption = None,
    template: Annotated[Path | None, typer.Option(help="The judge's prompt (alpaca-eval), or prompts (mt-bench).")] = None,
    baseline: Annotated[str | None, typer.Option(help="alpaca-eval: what the rows call the baseline's answer.")] = None,
    board: Annotated[Path | None, typer.Option(help="alpaca-eval: folder with what length control is fitted with.")] = None,
    rubric: Annotated[Path | None, typer.Option(help="reward-modeling: the judge's prompt.")] = None,
    pattern: Annotated[str | None, typer.Option(help="reward-modeling: where a verdict stands, a regular expression.")] = None,
    scale: Annotated[tuple[float, float] | None, typer.Option(help="reward-modeling: lowest and highest score.")] = None,
    samples: Annotated[int | None, typer.Option(help="reward-modeling: judgments of each response.")] = None,
    format: FormatOption = None,
    column: ColumnOption = None,
    skip_bad_rows: SkipOption = None,
    tasks: Annotated[str | None, typer.Option(help="lm-eval: tasks, with commas between; the paper's nine by default.")] = None,
    include_path: Annotated[Path | None, typer.Option(help="lm-eval: a folder with tasks of your own.")] = None,
    few_shot: Annotated[int | None, typer.Option(help="lm-eval: examples shown.")] = None,
    limit: Annotated[int | None, typer.Option(help="lm-eval: only so many items of each task.")] = None,
    chat_template: Annotated[bool | None, typer.Option("--chat-template", help="lm-eval: use the chat template.")] = None,
    temperature: TemperatureOption = None,
    max_tokens: MaxTokensOption = None,
    seed: SeedOption = None,
) -> None:
    """Evaluate any model; the result lands beside it. Killed, the same command goes on."""
    from selfreward.measure import find_kind

    kind, file = find_kind(on)
    valid = samples and (samples + 1) // 2
    _evaluate(
        model, kind, name or Path(on).stem, recipe, folder, judge, key_env,
        data=_source(data or file, format, column), skip_bad_rows=skip_bad_rows, labels=labels,
        template=template, baseline=baseline, board=board,
        grading={"rubric": rubric, "pattern": pattern, "scale": scale, "samples": samples, "min_valid": valid},
        tasks=tasks and tasks.split(","), include_path=include_path, few_shot=few_shot, limit=limit, chat_template=chat_template,
        responses={"temperature": temperature, "max_tokens": max_tokens}, seed=seed,
    )  # fmt: skip


@app.command()
@told
def compare(
    subjects: Annotated[list[str], typer.Argument(help="A model, as for evaluate, and the one it is compared with; or runs.")],
    on: Annotated[Path | None, typer.Option(help="The prompts; those that a run's model was measured on by default.")] = None,
    judge: JudgeOption = None,
    key_env: KeyOption = None,
    recipe: RecipeOption = None,
    folder: Annotated[
        Path | None, typer.Option("--folder", "-o", help="Where; evaluations/NAME beside the model by default, of runs here.")
    ] = None,
    name: NameOption = None,
    labels: LabelsOption = None,
    rubric: Annotated[Path | None, typer.Option(help="The judge's prompt, with {prompt}, {first} and {second}.")] = None,
    pattern: Annotated[str | None, typer.Option(help="Where a verdict stands, a regular expression.")] = None,
    format: FormatOption = None,
    column: ColumnOption = None,
    skip_bad_rows: SkipOption = None,
    temperature: TemperatureOption = None,
    max_tokens: MaxTokensOption = None,
    seed: SeedOption = None,
) -> None:
    """Two models' answers before a judge, in both orders: win, tie, lose. Or runs side by side."""
    from selfreward.measure import COMPARED, HELD_OUT, find_subject
    from selfreward.reports import are_runs

    options = {
        "--on": on, "--judge": judge, "--key-env": key_env, "--recipe": recipe, "--name": name, "--labels": labels,
        "--rubric": rubric, "--pattern": pattern, "--format": format, "--column": column, "--skip-bad-rows": skip_bad_rows,
        "--temperature": temperature, "--max-tokens": max_tokens, "--seed": seed,
    }  # fmt: skip
    if are_runs(subjects, [option for option, value in options.items() if value is not None]):
        _compare_runs(subjects, folder)
        return
    model, against = subjects
    called = f"{on.stem if on else HELD_OUT[COMPARED]}-against-{find_subject(against).label}"
    _evaluate(
        model, COMPARED, name or called, recipe, folder, judge, key_env,
        data=_source(on, format, column), skip_bad_rows=skip_bad_rows, labels=labels, against=against,
        pairwise={"rubric": rubric, "pattern": pattern},
        responses={"temperature": temperature, "max_tokens": max_tokens}, seed=seed,
    )  # fmt: skip


def _compare_runs(runs: list[str], folder: Path | None) -> None:
    from selfreward.reports import compare_runs, show_comparison, write_comparison

    found = compare_runs([Path(run) for run in runs])
    show_comparison(found)
    say(str(write_comparison(found, folder or Path())))


def _evaluate(
    model: str, kind: str, name: str, recipe: Path | None, folder: Path | None, judge: str | None, key_env: str | None,
    **fields: Any,
) -> None:  # fmt: skip
    from selfreward.measure import evaluate, name_servers
    from selfreward.reports import describe_result

    servers = name_servers([name for name in (judge, model, fields.get("against")) if name], key_env)
    given = _given({**fields, "judge": judge, "servers": servers})
    result, file = evaluate(model, kind, given, name, recipe, folder, stopping())
    say(f"{describe_result(result)}\n{file}")


def _given(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields that were given; paths as text."""
    found = {name: _given(value) if isinstance(value, dict) else value for name, value in fields.items()}
    return {name: str(value) if isinstance(value, Path) else value for name, value in found.items() if value not in (None, {})}


def _source(file: Path | str | None, format: str | None, columns: list[str] | None) -> dict[str, Any] | Path | str | None:
    """A file, and what shape its rows have where that was told."""
    if file is None or not (format or columns):
        return file
    return {"path": str(file), "format": format or "columns", "columns": dict(change(text) for text in columns or [])}


@app.command()
@told
def reproduce(
    data_dir: Annotated[Path, typer.Argument(help="A folder with the published data, JSONL files of set names.")],
) -> None:
    """Compute published figures again, row by row; exit code 1 if one is out of its tolerance."""
    from selfreward.lab.reproduce.figures import reproduce as compute

    found = compute(data_dir)
    say(str(found))
    if found.off:
        raise typer.Exit(FAILED)
