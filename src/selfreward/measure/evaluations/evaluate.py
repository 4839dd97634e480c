"""Evaluate any model on a benchmark, or against another model, and write the result with its settings beside the model."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from pydantic import ValidationError

from selfreward.engines import assert_models, assert_openable, assert_opens, open_model, outside_model
from selfreward.errors import Outdated, SelfRewardError
from selfreward.measure.evaluations.alpaca_eval import AlpacaEval
from selfreward.measure.evaluations.arena_hard import ArenaHard
from selfreward.measure.evaluations.base import Settings, Trial
from selfreward.measure.evaluations.checkable import Checkable
from selfreward.measure.evaluations.head_to_head import Contest
from selfreward.measure.evaluations.judge_bench import JudgeBench
from selfreward.measure.evaluations.lm_eval import Harness
from selfreward.measure.evaluations.multi_turn import MTBench
from selfreward.measure.evaluations.published import first_row
from selfreward.measure.evaluations.reward_modeling import Ranked
from selfreward.measure.evaluations.rm_bench import StyleBench
from selfreward.measure.evaluations.subjects import COMPARED, Subject, find_subject, held_out
from selfreward.recipe import AnsweringConfig, Recipe, assert_open, in_words, known_fields, load_recipe, merged
from selfreward.records import RESULT, Checkpoint, Findings, Result, readable, write_result
from selfreward.rundir import CONFIG, Progress, RunDir, Runner
from selfreward.steps import in_cell

KINDS: dict[str, type[Settings]] = {
    "alpaca-eval": AlpacaEval,
    "mt-bench": MTBench,
    "reward-modeling": Ranked,
    COMPARED: Contest,
    "ifeval": Checkable,
    "ifbench": Checkable,
    "judgebench": JudgeBench,
    "rm-bench": StyleBench,
    "arena-hard": ArenaHard,
    "lm-eval": Harness,
}
SIGNS = {
    "turns": "mt-bench", "responses": "reward-modeling", "response_A": "judgebench", "instruction_id_list": "ifeval",
    "chosen": "reward-modeling", "instruction": "alpaca-eval",
}  # fmt: skip
"""A field in the rows of a file, and the evaluation that such a file is for."""
IFEVAL = {
    "keywords", "language", "length_constraints", "detectable_content", "detectable_format", "combination", "startend",
    "change_case", "punctuation",
}  # fmt: skip
"""Groups of IFEval's instructions; IFBench's have others."""
PARTS = ("judge", "against")
RECORDS = "records"
"""Folder of an evaluation's stages."""
JUDGING = ("grading", "pairwise")
"""Settings of judging."""
VERDICT = 256
"""Tokens of a judgment at most where nobody says: the rubrics ask for a hundred words."""


def evaluate(
    model: str,
    kind: str,
    changes: Mapping[str, Any],
    name: str,
    recipe: Path | None = None,
    folder: Path | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> tuple[Result, Path]:
    """Evaluate `model`, or continue its evaluation; returns the result and its file.

    `changes` are fields of the kind's settings; the others come from `recipe`, or from the run that made the model, as do
    the data where that run held some out. `folder` is the working folder, in place of `evaluations/NAME` beside the model.
    """
    subject = find_subject(model)
    path, usual = folder or subject.home / name, recipe or subject.recipe
    changed = _in_columns(kind, merged(held_out(subject, kind), changes))
    settings = read_settings(kind, usual, changed)
    if bounds := {} if usual else _verdicts(kind, changes, path):
        settings = read_settings(kind, usual, merged(bounds, changed))
    settings.load()
    evaluated = _checkpoint(subject, settings)
    names = settings.model_dump(include=set(PARTS))
    others = {part: _checkpoint(find_subject(other), settings) for part, other in names.items()}
    progress = Progress(path / "logs", stopping)
    lines = _assert_reachable([evaluated, *others.values()], settings, progress, finished=(path / RESULT).exists())
    models = assert_models([evaluated, *others.values()], settings.backend)
    rundir = RunDir(path, {"model": model, "on": kind, **settings.model_dump(mode="json", exclude_none=True)}, models)
    try:
        opener = partial(open_model, config=settings.backend, servers=settings.servers)
        run = Runner(rundir, opener, _no_training, progress)
        for line in dict.fromkeys(lines):
            run.progress.say(line)
        for table, longest in ((table, bound["max_tokens"]) for table, bound in bounds.items()):
            run.progress.say(f"{name}: a judgment has {longest:,} tokens at most; --set {table}.max_tokens= sets another number")
        trial = Trial(run[RECORDS], path, evaluated, *(others.get(part, evaluated) for part in PARTS))
        findings = _found(settings, trial)
        result = _result(name, kind, settings, evaluated, others, findings)
        rundir.settle()
        return result, write_result(path, result)
    finally:
        rundir.close()


def _in_columns(kind: str, changes: Mapping[str, Any]) -> Mapping[str, Any]:
    """`changes`, with the format of ranked rows where none is given and the first row shows that it is not this program's."""
    data = changes.get("data")
    data = {"path": data} if isinstance(data, str) else data
    if kind != "reward-modeling" or not isinstance(data, Mapping) or "format" in data or not Path(data.get("path", "")).is_file():
        return changes
    with suppress(SelfRewardError):  # which is told where all rows are read
        if (fields := first_row(data["path"])) and "ranks" not in fields:
            return {**changes, "data": {**data, "format": "columns"}}
    return changes


def _verdicts(kind: str, changes: Mapping[str, Any], path: Path) -> dict[str, dict[str, int]]:
    """Lengths of judgments where `changes` does not set them: those with which the evaluation in `path` began."""
    try:
        begun = json.loads(readable(path / CONFIG).read_text(encoding="utf-8"))
        before = {table: begun[table]["max_tokens"] for table in JUDGING if table in begun}
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        before = {}
    tables = (table for table in JUDGING if table in KINDS[kind].model_fields)
    return {
        table: {"max_tokens": before.get(table, VERDICT)} for table in tables if "max_tokens" not in (changes.get(table) or {})
    }


def _assert_reachable(models: Sequence[Checkpoint], settings: Settings, progress: Progress, finished: bool) -> list[str]:
    """Lines to say about the servers among `models`, each asked once where anything is to be asked; `progress` tells of waiting.

    Raises `SelfRewardError` where one of `models` cannot be opened, or does not answer.
    """
    said = []
    for model in models:
        assert_openable(str(model.path), settings.backend, settings.servers)
        if not finished and str(model.path) not in settings.servers:
            assert_opens(str(model.path))
        if not finished and (served := {Path(name): name for name in settings.servers}.get(model.path)):
            from selfreward.engines.sampling.client import too_many
            from selfreward.engines.sampling.probe import assert_answers
            from selfreward.engines.sampling.server import ServerModel

            config = settings.servers[served]
            said += [f"{served}: {line}"] if (line := too_many(config)) else []
            with closing(ServerModel(config)) as engine, progress.waiting_for(engine, config.url):
                assert_answers(engine, model)
    return said


def _found(settings: Settings, trial: Trial) -> Findings:
    """The findings of `settings`. Where the folder has another evaluation of this name, the error says how to keep both."""
    try:
        return settings.find(trial)
    except Outdated as error:
        now = f"Give this evaluation a folder of its own with --name, and both are kept. Or: {error.now}"
        raise SelfRewardError(error.what, str(trial.path / error.where), now) from error


def find_kind(on: str) -> tuple[str, str | None]:
    """The evaluation that `--on` means, and the file where it means one. Raises `SelfRewardError`."""
    evaluations = [kind for kind in KINDS if kind != COMPARED]
    if on in evaluations:
        return on, None
    now = f"Name the evaluation ({', '.join(evaluations)}), and its file with --data"
    try:
        fields = first_row(on) if Path(on).is_file() else {}
    except SelfRewardError as error:
        raise SelfRewardError(f"does not show its evaluation: {error.what}", error.where, now) from error
    kind = next((SIGNS[sign] for sign in SIGNS if sign in fields), None)
    if kind is None:
        says = f"its rows have none of {', '.join(SIGNS)}" if fields else "is no file and no evaluation"
        raise SelfRewardError(says, on, now)
    return _of_two(kind, fields), on


def _of_two(kind: str, fields: Mapping[str, Any]) -> str:
    """The evaluation of a row's `fields`, where another has fields by the same names."""
    first = {name: next(iter(value), None) for name, value in fields.items() if isinstance(value, list)}
    if kind == "reward-modeling" and isinstance(first.get("chosen"), str):
        return "rm-bench"  # texts, where others have turns
    if kind == "mt-bench" and isinstance(first.get("turns"), dict):
        return "arena-hard"
    asked = in_cell(fields.get("instruction_id_list"))
    groups = {str(name).partition(":")[0] for name in asked} if isinstance(asked, list) else set()
    return "ifbench" if kind == "ifeval" and groups and not groups & IFEVAL else kind


def read_settings(kind: str, recipe: Path | None, changes: Mapping[str, Any]) -> Settings:
    """The settings of an evaluation of `kind`, from the tables of a recipe and the `changes` to them."""
    assert_open(changes, f"--on {kind}")
    tables = _tables(load_recipe(recipe)) if recipe else {}
    defaults = {name: table for name, table in tables.items() if name in KINDS[kind].model_fields and table is not None}
    try:
        return KINDS[kind].model_validate(merged(defaults, changes))
    except ValidationError as error:
        raise _wrong_setting(kind, error.errors(include_url=False)[0]) from error


def _wrong_setting(kind: str, first: Any) -> SelfRewardError:
    """The error for a field that is wrong, with the way to give it."""
    path = [part for part in first["loc"] if isinstance(part, str)]
    field, option = ".".join(path), f"--{path[0]}" if path in (["data"], ["judge"]) else f"--set {'.'.join(path)}="
    if first["type"] == "extra_forbidden":
        fields = ", ".join(known_fields(path[:-1], KINDS[kind]))
        return SelfRewardError(f"{field} is no field of it", kind, f"Leave it out; its fields are {fields}")
    if first["type"] == "missing":
        return SelfRewardError(f"{field} is missing", kind, f"Give it with {option.rstrip('=')}")
    what = f"{field}: {in_words(first)}"
    if isinstance(first["input"], dict):
        return SelfRewardError(what, kind, f"Change one of {', '.join(first['input'])}")
    default = _default(KINDS[kind], path)
    now = "change it" if default is None else f"give it as in {option}{shlex.quote(json.dumps(default))}"
    return SelfRewardError(what, kind, f"It is {first['input']!r}; {now}")


def _default(kind: type[Settings], path: Sequence[str]) -> Any:
    """The default of a field as JSON values; None where it has none."""
    fields: Any = kind.model_construct().model_dump(mode="json")
    for name in path:
        fields = fields.get(name) if isinstance(fields, dict) else None
    return fields


def _tables(recipe: Recipe) -> dict[str, Any]:
    """A recipe's tables about measuring, by the names of the settings."""
    return {
        "seed": recipe.seed,
        "bootstrap": recipe.measure.bootstrap,
        "judge": recipe.measure.judge,
        "responses": recipe.responses.model_dump(include=set(AnsweringConfig.model_fields)),
        "grading": recipe.judge.model_dump(),
        "pairwise": recipe.pairwise.model_dump(),
        "backend": recipe.backend.model_dump(),
        "servers": {name: server.model_dump() for name, server in recipe.servers.items()},
    }


def _checkpoint(subject: Subject, settings: Settings) -> Checkpoint:
    """The checkpoint to load, under the name that users know it by."""
    return outside_model(subject.source, settings.servers).model_copy(update={"name": subject.name})


def _result(
    name: str, kind: str, settings: Settings, model: Checkpoint, others: Mapping[str, Checkpoint], findings: Findings
) -> Result:
    judge, rival = others.get("judge"), others.get("against")
    return Result(
        **dict(findings) | {"note": findings.note + _independence(model, judge, rival)},
        name=name, kind=kind, model=model.name, fingerprint=model.fingerprint,
        judge=judge.name if judge else None, judge_fingerprint=judge.fingerprint if judge else None,
        against=rival.name if rival else None, against_fingerprint=rival.fingerprint if rival else None,
        settings=settings.model_dump(mode="json", exclude_none=True),
    )  # fmt: skip


def _independence(model: Checkpoint, judge: Checkpoint | None, rival: Checkpoint | None) -> str:
    if judge is None:
        return ""
    if judge.fingerprint == model.fingerprint:
        return " The judge is the model itself: this is its opinion of itself."
    return " The judge is the rival itself." if rival and judge.fingerprint == rival.fingerprint else ""


def _no_training() -> NoReturn:
    raise AssertionError("an evaluation trains nothing")
