"""The check of chat templates against `thinking`: models that are to think must be able to, and others must not think."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from selfreward.checks.finding import Finding
from selfreward.checks.look import NamedModel, Talk
from selfreward.errors import amount
from selfreward.recipe import ROLES, Recipe
from selfreward.records import Example


def thoughts(recipe: Recipe, models: Sequence[NamedModel], examples: Iterable[Example]) -> list[Finding]:
    """Findings where the chat templates of `models` (base first) or people's `examples` contradict the recipe's `thinking`."""
    findings = [finding for place in _places(recipe, models) for finding in _of_template(*place)]
    return [*findings, *_of_examples(recipe, models[0], examples)]


def _places(recipe: Recipe, models: Sequence[NamedModel]) -> list[tuple[str, int, str, Talk]]:
    """(the recipe's table, its budget, the name of the model that is asked by it, its way) where its chat template is at hand."""
    named = {model.name: model for model in models}
    judges = dict.fromkeys("" if by in ROLES else by for by in recipe.judge.judges)
    places = [("responses", recipe.responses.thinking, models[0])]
    places += [("judge", recipe.judge.thinking, named.get(by, models[0])) for by in judges]
    comparing = [recipe.measure.judge, recipe.select.judge if recipe.select else None]
    places += [("pairwise", recipe.pairwise.thinking, named[name]) for name in dict.fromkeys(comparing) if name in named]
    return [(place, budget, model.name, model.talk) for place, budget, model in places if model.talk]


def _of_template(place: str, budget: int, name: str, talk: Talk) -> Iterator[Finding]:
    way, field = talk.thinking, f"{place}.thinking"
    if budget and talk.stops_within:
        what = f"its chat template ends thoughts as it ends answers: with {field} = {budget:,} there would be no answer"
        yield Finding("error", name, what, f"Set {field} to 0")
    elif budget and way == "none":
        what = (
            f"its chat template knows no thoughts: {field} = {budget:,} is only more room for the answer, unless the model thinks"
        )
        yield Finding(
            "warning", name, f"{what} by what it has learnt (<think>…</think>)", f"Set {field} to 0, or train it to think"
        )
    elif not budget and way == "open":
        what = (
            f"its chat template begins a thought in every prompt: with {field} = 0 it is closed at once, empty, as this model was"
        )
        yield Finding("warning", name, f"{what} hardly taught", f"Set {field} to the tokens that a thought may take")
    elif not budget and way == "free":
        what = f"its chat template cannot tell it not to think: with {field} = 0 a thought that it begins is part of its answer"
        yield Finding("warning", name, what, f"Set {field} to the tokens that a thought may take")


BEGIN = ("answer begins with a thought", "answers begin with a thought")


def _of_examples(recipe: Recipe, base: NamedModel, examples: Iterable[Example]) -> Iterator[Finding]:
    from selfreward.engines import written_with

    thought = sum(example.kind == "ift" and written_with(example.response) is not None for example in examples)
    if not thought or base.talk is None:
        return
    if base.talk.thinking == "none":
        what = f"{amount(thought, *BEGIN)}, and the base's template knows none: it is learnt as answer text"
        yield Finding("warning", "data.ift", what, "Remove the thoughts, or give the model a chat template that knows them")
    elif not recipe.responses.thinking:
        what = f"{amount(thought, *BEGIN)}: learnt after the prompt that asks for one, never given here"
        yield Finding("warning", "data.ift", what, "Set responses.thinking, or take the thoughts off")
