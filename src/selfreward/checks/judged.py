"""One real judgment of an outside judge, in `check` and before a run's first token: read as the run would read it.

A judge whose answers say nothing that the recipe reads would be found out only when M1 is trained and all candidates are judged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from selfreward.checks.finding import Finding
from selfreward.errors import cut_short
from selfreward.recipe import Recipe
from selfreward.records import Checkpoint, Completion, Example, Judgment, Preference, Prompt, Request, Response
from selfreward.steps import Grader, PairwiseJudge, Reason, Seed, of_judgments, of_preferences

if TYPE_CHECKING:
    from selfreward.engines.sampling.server import ServerModel

EXAMPLE = Example(
    prompt="What is the capital of France?", response="The capital of France is Paris.", kind="ift", source="built in"
)
"""Judged where there is no seed."""
OTHER = "I do not know."
"""The answer that an example's is compared with."""
COMPARING = {"measures": "measure.judge", "selects checkpoints": "select.judge"}
"""Part that compares two answers → the field that names the model."""


def usual_example(seed: Seed | None) -> Example:
    """The IFT example of `seed` that is as long as half of them."""
    if not seed or not seed.ift:
        return EXAMPLE
    return sorted(seed.ift, key=lambda example: len(example.prompt) + len(example.response))[len(seed.ift) // 2]


def unread(
    name: str, parts: Sequence[str], recipe: Recipe, engine: ServerModel, model: Checkpoint, example: Example
) -> Iterator[Finding]:
    """Warnings where one judgment or comparison by `engine`, the server `name` in its `parts`, has nothing that can be read.

    Of either kind one is asked, about `example`. Raises `SelfRewardError` where the server does not answer.
    """
    compares = [COMPARING[part] for part in parts if part in COMPARING]
    grades = [part for part in parts if part not in (*COMPARING, "writer", "M0")]
    if recipe.judge.method == "pairwise" and "judge" in grades:
        compares.append("judge.by")
        grades.remove("judge")
    prompt = Prompt(text=example.prompt, context=example.context, source="seed")
    answer, other = (
        Response(prompt_id=prompt.id, model="people", index=at, text=text, finish="stop")
        for at, text in enumerate((example.response, OTHER))
    )
    if grades:
        grader = Grader(recipe.judge, [0])
        asked, said = _asked(engine, grader.plan([(prompt.asked, answer)], model, recipe.seed))
        judgment = grader.read(asked, said)
        yield from _warned(name, judgment, of_judgments([judgment], recipe), said, "no score")
    if compares:
        judge = PairwiseJudge(recipe.pairwise)
        asked, said = _asked(engine, judge.plan([(prompt, answer, other)], model, recipe.seed))
        preference = judge.read(asked, said)
        yield from _warned(name, preference, of_preferences([preference], compares[0]), said, "no verdict")


def _asked(engine: ServerModel, plan: Sequence[Request]) -> tuple[Request, Completion]:
    """The first request of a plan, and the answer to it."""
    return plan[0], next(iter(engine.generate(plan[:1])))


def _warned(
    name: str, said: Judgment | Preference, reason: Reason | None, completion: Completion, nothing: str
) -> Iterator[Finding]:
    if reason:
        why = completion.reason or f"the judge wrote {cut_short(said.rationale)}"
        what = f"{nothing} can be read in a judgment that it was asked for ({said.label}): {why}"
        yield Finding("warning", name, what, reason.now)
