"""System turns and earlier turns that a run would give to models whose chat templates have no place for them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from selfreward.checks.finding import Finding
from selfreward.checks.look import NamedModel
from selfreward.recipe import ROLES, Recipe
from selfreward.records import Conversed

LOST = {"refused": "refuses a system turn", "dropped": "drops a system turn"}
WAY_OUT = 'responses.system_role = "user"'


def system_turns(recipe: Recipe, asked: Iterable[Conversed], models: Sequence[NamedModel]) -> list[Finding]:
    """The models that cannot be given the system turns of the recipe and of what is `asked`; `models`: the base first."""
    findings = []
    for place in (_in_answering(recipe, asked), JUDGING if recipe.judge.system.strip() else ""):
        model = models[0] if place != JUDGING else _judge(recipe, models)
        if place and model.talk:
            findings += _finding(model.name, model.talk.system, place)
    return findings


def earlier_turns(asked: Iterable[Conversed], base: NamedModel) -> list[Finding]:
    """An error where the chat template of the base writes no earlier turns, and something that is `asked` has some."""
    number = sum(not record.stands_alone for record in asked)
    if not number or base.talk is None or not base.talk.earlier:
        return []
    what = f"{base.talk.earlier}, and {number:,} of the prompts have earlier turns"
    return [Finding("error", base.name, what, "Give it a template that writes whole conversations, or prompts of one turn")]


JUDGING = "judge.system"


def _in_answering(recipe: Recipe, asked: Iterable[Conversed]) -> str:
    """The origins of system turns before answers; empty where there are none, or none are given as system turns."""
    if recipe.responses.system_role == "user":
        return ""
    if recipe.responses.system.strip():
        return "responses.system"
    number = sum(bool(record.context) and record.context[0].role == "system" for record in asked)
    return f"{number:,} of the prompts" if number else ""


def _judge(recipe: Recipe, models: Sequence[NamedModel]) -> NamedModel:
    return next((model for model in models if model.name == recipe.judge.by and recipe.judge.by not in ROLES), models[0])


def _finding(name: str, fate: str, place: str) -> list[Finding]:
    if fate in LOST:
        now = (
            "Put its text into the rubric" if place == JUDGING else f"Set {WAY_OUT}: the text then stands before the user's first"
        )
        return [Finding("error", name, f"its chat template {LOST[fate]}, which {place} would be given as", now)]
    if fate == "prompt only":
        what = (
            f"its chat template drops a system turn ({place}) once the answer to it is there: here it is sampled and trained with"
        )
        now = f"Nothing need be done for this run; with {WAY_OUT} other programs will not lose the text either"
        return [Finding("warning", name, what, now)]
    return []
