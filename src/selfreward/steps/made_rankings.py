"""Ranked responses without people: an answer to a changed instruction is a worse answer to the first (arXiv 2408.02666)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from selfreward.recipe import EFTConfig, Recipe
from selfreward.records import Checkpoint, Completion, Dropped, Example, Prompt, Ranking, Request, Response, Sampling
from selfreward.rundir import CHANGED_PROMPTS, RANKINGS, WORSE_RESPONSES, ModelFolder
from selfreward.stats import plain
from selfreward.steps.nothing import no_rankings
from selfreward.steps.responses import Answering
from selfreward.steps.rubrics import Rubric
from selfreward.steps.seed import Seed, known_by
from selfreward.steps.sources import draw


def load_change_rubric(config: EFTConfig) -> Rubric:
    """The prompt that asks for a changed instruction. Raises `SelfRewardError` where it cannot be read or lacks its slot."""
    return Rubric(config.change_rubric, ("prompt",), "eft.change")


class Changing(NamedTuple):
    """Asks a model to change instructions."""

    rubric: Rubric
    sampling: Sampling

    @property
    def reading(self) -> list[object]:
        """Empty: an instruction is what was sampled."""
        return []

    def plan(self, prompts: Iterable[Prompt], model: Checkpoint, seed: int) -> list[Request]:
        """A request for each prompt."""
        return [
            Request.user_turn(prompt.id, 0, self.rubric.fill(prompt=prompt.text), self.sampling, model, seed)
            for prompt in prompts
        ]

    @staticmethod
    def read(request: Request, completion: Completion) -> Response:
        """The changed instruction, as a response to the one it was made of."""
        return Answering.read(request, completion)


def rank_without_people(seed: Seed, recipe: Recipe, baseline: Checkpoint, folder: ModelFolder) -> list[Ranking]:
    """Rankings of two: IFT's answer to a prompt above `baseline`'s answer to the changed prompt."""
    drawn, unused = draw([record for record in seed.ift if record.stands_alone], recipe.eft.prompts, "rankings", recipe.seed)
    prompts = {record.id: Prompt(text=record.prompt, context=record.context, source="seed") for record in drawn}
    once = {prompt.id: prompt for prompt in prompts.values()}
    changing = Changing(load_change_rubric(recipe.eft), recipe.prompts.sampling)
    changed = {record.prompt_id: record for record in folder.ask(CHANGED_PROMPTS, changing, once.values(), baseline)}
    heldout = {known_by(prompt.asked) for prompt in seed.heldout}
    fit = {name: _unfit(record, once[name], heldout) for name, record in changed.items()}
    new = {name: Prompt(text=changed[name].text, source="self") for name, reason in fit.items() if not reason}
    answering = Answering(recipe.responses.sampling, frame=recipe.responses.frame)
    changed_prompts = {prompt.id: prompt for prompt in new.values()}
    worse = {record.prompt_id: record for record in folder.ask(WORSE_RESPONSES, answering, changed_prompts.values(), baseline)}
    decided = [(record, fit[prompts[record.id].id] or _ranked(record, worse[new[prompts[record.id].id].id])) for record in drawn]
    dropped = [Dropped(id=record.id, stage="rankings", reason=ranking) for record, ranking in decided if isinstance(ranking, str)]
    rankings = folder.keep(RANKINGS, ([ranking for _, ranking in decided if isinstance(ranking, Ranking)], [*unused, *dropped]))
    if not rankings:
        raise no_rankings(drawn, folder)
    return rankings


def _unfit(changed: Response, prompt: Prompt, heldout: set[tuple[str, ...]]) -> str:
    """The reason not to ask a changed instruction; empty where there is none."""
    if changed.finish != "stop" or not changed.text:
        return "not_changed"
    if plain(changed.text) == plain(prompt.text):
        return "the_same_prompt"
    return "held_out" if known_by(changed.text) in heldout else ""


def _ranked(example: Example, worse: Response) -> Ranking | str:
    if worse.finish != "stop":
        return "not_answered"
    if plain(worse.text) == plain(example.response):
        return "the_same_answer"
    texts: Sequence[str] = (example.response, worse.text)
    return Ranking(prompt=example.prompt, context=example.context, responses=tuple(texts), ranks=(0, 1))
