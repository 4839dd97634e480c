"""Model cards: the page beside a model when it leaves the run, with its origin, its data and its measurements."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup

from selfreward.errors import SelfRewardError
from selfreward.recipe import HUB_ID, NO_MATTER, Recipe
from selfreward.records import LOCK, HeadToHead, Measured, alarms, alone, describe, number, phrase, readable, write_whole
from selfreward.reports.render import render_card
from selfreward.rundir import EFT, EFT_JUDGMENTS, IFT, MODEL, RANKINGS, SEED, FolderReader, RunView, making, open_run, teaching

CARD = "README.md"
SETTINGS = ("seed", "sft", "eft", "prompts", "responses", "judge", "pairs", "dpo", "trainer", "select")
"""Tables of a recipe that determine a model's training."""


class StageCount(NamedTuple):
    """Counts of one stage."""

    stage: str
    records: int
    reasons: dict[str, int]
    """Judgments and responses by outcome, or dropped records by reason."""


class Ancestor(NamedTuple):
    """A model on the way from the base."""

    name: str
    fingerprint: str
    how: str


def write_cards(run: Path) -> list[Path]:
    """Write a card into the folder of every model that the run in `run` has trained and measured; returns them.

    The same run gives the same cards. Receipts do not cover cards.
    """
    standing = open_run(run)
    trained = [model for model in standing.models.values() if model.measured and model.weights.is_dir()]
    for model in trained:
        model.check_weights()
    return [_write(model.weights / CARD, _model_card(standing, model.measured)) for model in trained if model.measured]


def without_folders(value: Any) -> Any:
    """A recipe's value without the folders of the machine it was used on."""
    if isinstance(value, dict):
        return {name: without_folders(part) for name, part in value.items()}
    if isinstance(value, list):
        return [without_folders(part) for part in value]
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


METHODS = {
    "pairwise": "The candidates for {model} were compared two at a time, in both orders, by {judge}: a score is a share of wins.",
    "likelihood": "The candidates for {model} are scored by their log-likelihood ratio, {by} over the model before it.",
    "cream": "The candidates for {model} are scored by their log-likelihood ratio, {by} over M1.",
    "cream of M1": "The candidates for {model} are scored by the mean log-probability of their tokens by M1.",
    "votes": "The candidates for {model} are scored by the share of a prompt's candidates that came to the same answer.",
}
"""Ways of scoring in which no judge grades by a rubric."""


def scored_how(recipe: Recipe, model: str, by: str) -> str:
    """The method that scored the candidates of `by` for `model`; empty where a judge graded them by the rubric."""
    method = recipe.judge.method_for(number(by) + 1)
    text = METHODS.get(f"{method} of {by}") or METHODS.get(method, "")
    return text.format(model=model, judge=judge_of(recipe), by=by)


def judge_of(recipe: Recipe) -> str:
    """The judge of a run's candidates, in words."""
    phrases = {
        "current": "the model itself, as it was before each iteration",
        "frozen": "M1, throughout",
        "previous": "the model one iteration before the answering model",
    }
    names = [phrases.get(name) or str(without_folders(name)) for name in recipe.judge.judges]
    return names[0] if len(names) == 1 else f"a jury of {len(names)} ({'; '.join(names)})"


def _counts(folder: FolderReader, stages: Iterable[str]) -> list[StageCount]:
    """Counts of the finished stages among `stages` in one folder of a run, in order."""
    receipts = [(stage, receipt) for stage in stages if (receipt := folder.receipt(stage))]
    return [StageCount(stage, facts["records"], facts.get("outcomes") or facts.get("dropped") or {}) for stage, facts in receipts]


def _write(file: Path, text: str) -> Path:
    if not file.exists() or readable(file).read_bytes() != text.encode():
        logs = file.parents[2] / "logs"
        logs.mkdir(exist_ok=True)
        with alone(logs / LOCK):  # a run that ends and an export both write cards
            write_whole(file, text)
    return file


def _model_card(standing: RunView, model: Measured) -> str:
    recipe, run = standing.recipe_of(model.name), standing.folder
    line = list(_lineage(standing, model))
    receipt, readings = standing[model.name].receipt(MODEL.name) or {}, standing.models[model.name].watched
    eft = (RANKINGS.name, EFT_JUDGMENTS.name, EFT.name) if "eft" in _trained_on(model, recipe) else ()
    parts = (*making(recipe, number(model.name)), *teaching(recipe, number(model.name)))
    made_of = (IFT.name, *eft, *(part.name for part in parts if part.form != "trains"))
    return render_card(
        "model_card.md",
        model=model, lineage=line, unsigned=model.name in standing.unsigned,
        steps=model.selected.step if model.selected else receipt["steps"],
        base=str(without_folders(recipe.base)),
        hub_base=Markup(recipe.base) if HUB_ID.fullmatch(recipe.base) and not Path(recipe.base).exists() else None,
        counts={name: _counts(standing[name], made_of) for name in (SEED, *(ancestor.name for ancestor in line))},
        judge=judge_of(recipe), scored=scored_how(recipe, model.name, standing.before(model.name)) if model.loop else "",
        shown=without_folders, rubric=Path(recipe.judge.rubric).name, recipe=recipe,
        watched=describe(readings) if readings else "", alarms=[phrase(reading) for reading in alarms(readings)],
        truth=recipe.measure.truth, outside=[m for m in model.head_to_head if m.judge != model.name],
        own=[match for match in model.head_to_head if match.judge == model.name], share=_share,
        settings=_settings(recipe), versions=_libraries(run),
    )  # fmt: skip


def _libraries(run: Path) -> dict[str, str]:
    """Name → version of the libraries that the run was made with."""
    file = run / "provenance.json"
    try:
        return dict(json.loads(readable(file).read_text(encoding="utf-8"))["libraries"])
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        now = f"Restore it from the last attempt in {run / 'logs'}"
        raise SelfRewardError("is not what this program wrote", str(file), now) from error


def _lineage(standing: RunView, model: Measured) -> Iterator[Ancestor]:
    """The models from the base to `model`."""
    by_fingerprint = {ancestor.fingerprint: ancestor for ancestor in reversed(standing.measured)}
    parent = by_fingerprint.get(model.parent or "")
    if parent:
        yield from _lineage(standing, parent)
    yield Ancestor(model.name, model.fingerprint, _how(model, parent, standing.recipe_of(model.name)))


def _how(model: Measured, parent: Measured | None, recipe: Recipe) -> str:
    if model.parent is None:
        return "the base"
    start = parent.name if parent else model.parent
    if model.loop:
        pairs = "the pairs of all iterations up to this one" if recipe.pairs.accumulate else "its own pairs"
        return f"DPO of {start} on {pairs}, with {start} as the reference"
    return f"supervised fine-tuning of {start} on {_trained_on(model, recipe).replace('+', ' and ')}"


def _trained_on(model: Measured, recipe: Recipe) -> str:
    """The kinds of people's examples that the line of `model` was fine-tuned on."""
    return "ift" if model.name == "SFT" else recipe.sft.on


def _share(match: HeadToHead, part: int) -> str:
    """Percentage of the prompts on which both answers have a verdict."""
    scored = match.wins + match.ties + match.losses
    return f"{100 * part / scored:.1f}" if scored else "–"


def _settings(recipe: Recipe) -> Mapping[str, str]:
    """Table of the recipe → its settings on one line."""
    tree = without_folders(
        recipe.model_dump(mode="json", by_alias=True, include=set(SETTINGS), exclude={"sft": NO_MATTER, "dpo": NO_MATTER})
    )
    return {name: json.dumps(tree[name], ensure_ascii=False) for name in SETTINGS if tree.get(name) is not None}
