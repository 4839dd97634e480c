"""The record of a run of the checkable study: all that its page needs, model by model, so that the folder may go."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from selfreward.lab.checkable.kinds import UNSEEN
from selfreward.lab.micro.study import SHARED
from selfreward.measure import Judged, agreeing
from selfreward.recipe import Recipe
from selfreward.records import (
    FOLDER,
    Measured,
    Prompt,
    Ranking,
    Record,
    Response,
    content_id,
    file_hash,
    iter_jsonl,
)
from selfreward.rundir import (
    CHECKS,
    HELDOUT_CHECKS,
    HELDOUT_JUDGMENTS,
    HELDOUT_PROMPTS,
    HELDOUT_RESPONSES,
    RANKING_JUDGMENTS,
    RESPONSES,
    SEED,
    TRUTH,
    Part,
    RunView,
    open_run,
)
from selfreward.stats import mean_scores
from selfreward.steps import ranked_responses

HELD_OUT = {kind.id for kind in UNSEEN}
IFEVAL = Path(FOLDER) / "ifeval"
"""The folder, in a model's, of its evaluation on IFEval's prompts, if there was one."""
AGAIN = 4
"""Answers to every held-out prompt that a model gives beside the run's own, for figures that hang less on chance."""
DIGITS = 4
"""Decimals of a figure in the records."""


class Published(Record):
    """A model's answers to IFEval's prompts."""

    max_tokens: int
    """Tokens of an answer at most."""
    checks: tuple[tuple[int, int], ...]
    """(instructions followed, instructions) of each prompt, strictly; (0, 0) where there is no answer."""


class Again(Record):
    """Further answers of a model to the held-out prompts."""

    followed: tuple[int, ...]
    """Instructions that the `AGAIN` answers to each prompt follow, strictly, all together."""
    whole: tuple[int, ...]
    """The number of answers to each prompt that follow all instructions."""


class CheckableModel(Record):
    """One model of a run."""

    name: str
    fingerprint: str
    checks: tuple[tuple[int, int, bool], ...]
    """(instructions followed, instructions, kinds that no seed asks for) of each held-out answer, strictly, by prompt."""
    true: tuple[float | None, ...]
    """The truth about each of these answers."""
    own: tuple[float | None, ...]
    """The model's own score of each; None where no judgment of it has one."""
    judging: tuple[tuple[float, int], ...] = ()
    """(pairs in the ranks' order, pairs) of each held-out ranking; empty where judging was not measured."""
    by_length: tuple[tuple[float, int], ...] = ()
    """Pairs rightly ordered by length alone, where longer is better."""
    judgments: dict[str, int]
    """Judgments of its own held-out answers by outcome."""
    answer_length: float
    """Mean, in characters."""
    ran_out_of_length: float
    """Share of the answers."""
    loop: dict[str, float | None] = {}  # noqa: RUF012
    """Pairs that it was trained on, the shares of them whose chosen answer is truly better and worse; for M2, M3, …"""
    readings: dict[str, float] = {}  # noqa: RUF012
    """Figure of a monitor → value, of those that have one."""
    tokens: dict[str, int]
    """Tokens that were read, written and trained on for this model, measuring it included."""
    seconds: float
    """Seconds by the clock in which its files were made, pauses between attempts left out."""
    ifeval: Published | None = None
    again: Again | None = None


class CheckableRun(Record):
    """A run, finished or as far as it is."""

    arm: str
    seed: int
    recipe: str
    """`asked` of its recipe; a run of another recipe is owed anew."""
    models: tuple[CheckableModel, ...]
    finished: bool

    def of(self, name: str) -> CheckableModel | None:
        """The model of this name, if the run has made it."""
        return next((model for model in self.models if model.name == name), None)


def asked(recipe: Recipe) -> str:
    """A hash of what a recipe has done, whatever its seed and wherever its files lie: they stand for what is in them."""
    told = _content(recipe)
    return content_id({name: value for name, value in told.items() if name not in ("seed", "base")})


def _content(value: Any) -> Any:
    """A value as JSON: of a table the fields that differ from their defaults, of a file a hash of what is in it."""
    if isinstance(value, BaseModel):
        told = {name: _content(one) for name, one in value}
        return {name: one for name, one in told.items() if one != _content(_default(value, name))}
    if isinstance(value, dict):
        return {name: _content(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_content(one) for one in value]
    is_file = isinstance(value, str) and Path(value).is_absolute() and Path(value).is_file()
    return file_hash(Path(value)) if is_file else value


def _default(table: BaseModel, name: str) -> Any:
    return type(table).model_fields[name].get_default(call_default_factory=True, validated_data={})


def recorded(folder: Path, seed: int) -> CheckableRun:
    """The record of the run in `folder`, which is named as its arm: of all models that are measured."""
    view = open_run(folder)
    seconds = clock(folder, list(view.models))
    return CheckableRun(
        arm=folder.name, seed=seed, recipe=asked(view.recipe), finished=view.finished,
        models=tuple(_model(view, measured, seconds[measured.name]) for measured in view.measured),
    )  # fmt: skip


def _model(view: RunView, measured: Measured, seconds: float) -> CheckableModel:
    folder = view.folder / measured.name
    answers = list(_records(folder, HELDOUT_RESPONSES))
    true = {verdict.response_id: verdict.score for verdict in _records(folder, TRUTH)}
    own = mean_scores(_records(folder, HELDOUT_JUDGMENTS), view.recipe.judge.min_valid)
    readings = {r.monitor: round(r.value, DIGITS) for r in view.models[measured.name].watched if r.value is not None}
    loop = measured.loop.model_dump(include={"pairs", "pairs_right", "pairs_wrong"}) if measured.loop else {}
    return CheckableModel(
        name=measured.name, fingerprint=measured.fingerprint, checks=tuple(followed(view.folder, folder, answers)),
        true=tuple(true.get(answer.id) for answer in answers), own=tuple(own.get(answer.id) for answer in answers),
        judging=tuple(judging(view, folder)) if measured.reward_modeling else (),
        by_length=tuple(by_length(view)) if measured.reward_modeling else (),
        judgments=measured.judgments, answer_length=measured.answer_length, ran_out_of_length=measured.ran_out_of_length,
        loop=loop, readings=readings, tokens=spent(folder), seconds=round(seconds, 1), ifeval=_published(folder / IFEVAL),
        again=_again(again(folder), [answer.prompt_id for answer in answers]),
    )  # fmt: skip


def _records(folder: Path, part: Part[Any]) -> Iterator[Any]:
    file = folder / f"{part.name}.jsonl"
    return iter_jsonl(file, part.record) if file.exists() else iter(())


def followed(run: Path, folder: Path, answers: Iterable[Response]) -> Iterator[tuple[int, int, bool]]:
    """(instructions followed, instructions, kinds that no seed asks for) of each held-out answer; unchecked: not followed."""
    passed: Counter[str] = Counter()
    for check in _records(folder, HELDOUT_CHECKS):
        passed[check.response_id] += bool(check.strict)
    prompts: dict[str, Prompt] = {prompt.id: prompt for prompt in _records(run / SEED, HELDOUT_PROMPTS)}
    for answer in answers:
        checks = prompts[answer.prompt_id].checks
        yield passed[answer.id], len(checks), any(check.id in HELD_OUT for check in checks)


def judging(view: RunView, folder: Path) -> Iterator[tuple[float, int]]:
    """(pairs in the ranks' order, pairs) of each held-out ranking by the judgments in `folder`; ties by half."""
    scores = mean_scores(_records(folder, RANKING_JUDGMENTS), view.recipe.judge.min_valid)
    for ranking in _rankings(view):
        yield agreeing(Judged("", ranking.ranks, [scores.get(response.id) for response in ranked_responses(ranking)], ()))


def by_length(view: RunView) -> Iterator[tuple[float, int]]:
    """Pairs rightly ordered where a longer text is better."""
    for ranking in _rankings(view):
        yield agreeing(Judged("", ranking.ranks, [len(text) for text in ranking.responses], ()))


def _rankings(view: RunView) -> Iterator[Ranking]:
    return iter_jsonl(view.folder / SEED / "heldout_rankings.jsonl", Ranking)


def spent(folder: Path) -> dict[str, int]:
    """Tokens that were read and written by the requests of a model's folder, and that its training read, padding left out."""
    receipts = [json.loads(file.read_text()) for file in sorted(folder.glob("*.receipt.json"))]
    trained = [json.loads(file.read_text().split("\n", 1)[0]) for file in sorted(folder.glob("*/metrics.jsonl"))]
    return {
        "read": sum(receipt.get("prompt_tokens", 0) for receipt in receipts),
        "written": sum(receipt.get("completion_tokens", 0) for receipt in receipts),
        "trained on": round(sum(first.get("tokens", 0) * (1 - first.get("padding", 0)) for first in trained)),
    }


def clock(run: Path, models: Iterable[str]) -> dict[str, float]:
    """Seconds that each model of a run took, by the times of its files: from file to file, but to none that begins an attempt."""
    made = [(file.stat().st_mtime, name) for name in models for file in _written(run / name)]
    begun = [(file.stat().st_mtime, "") for file in (run / "logs").glob("attempt_*/provenance.json")]
    seconds: dict[str, float] = dict.fromkeys(models, 0.0)
    for (before, _), (at, name) in pairwise(sorted([*made, *begun])):
        if name:
            seconds[name] += at - before
    return seconds


def _written(folder: Path) -> list[Path]:
    return [*folder.glob("*.json*"), *folder.glob("*/metrics.jsonl")]


def _published(folder: Path) -> Published | None:
    """The checks of an evaluation on IFEval's prompts, in the order of its answers; None where it is not finished."""
    if not (folder / "result.json").exists():
        return None
    settings = json.loads((folder / "result.json").read_text())["settings"]
    rows = ((sum(passed), len(passed)) for _, passed in _checked(folder))
    return Published(max_tokens=settings["responses"]["max_tokens"], checks=tuple(rows))


def _checked(folder: Path) -> list[tuple[str, list[bool]]]:
    """(prompt id, instructions that hold) of each answer in an evaluation's folder, in order; an empty list where none came."""
    rows: dict[str, tuple[str, list[bool]]] = {}
    for answer in _records(folder / "records", RESPONSES):
        rows[answer.id] = answer.prompt_id, []
    for check in _records(folder / "records", CHECKS):
        rows[check.response_id][1].append(bool(check.strict))
    return list(rows.values())


def again(model: Path) -> list[Path]:
    """The folders of a model's further answers, in its own; of a model that arms share, in that of the run of `self`."""
    owner = model.parent.with_name("self") / model.name if model.name in SHARED else model
    return [owner / FOLDER / f"again_{number}" for number in range(1, AGAIN + 1)]


def _again(folders: Sequence[Path], prompts: Sequence[str]) -> Again | None:
    """The further answers in `folders` to the prompts of these ids; None where not all of them are there."""
    if not all((folder / "result.json").exists() for folder in folders):
        return None
    followed, whole = Counter[str](), Counter[str]()
    for folder in folders:
        for prompt, passed in _checked(folder):
            followed[prompt] += sum(passed)
            whole[prompt] += bool(passed) and all(passed)
    return Again(followed=tuple(followed[prompt] for prompt in prompts), whole=tuple(whole[prompt] for prompt in prompts))
