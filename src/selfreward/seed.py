"""Seed data: what people wrote to start from, and what is held out for measuring. Nothing is in both."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from selfreward.config import SeedConfig, SFTConfig
from selfreward.errors import SelfRewardError
from selfreward.records import Example, Prompt, Ranking, Response, read_jsonl


class Seed(NamedTuple):
    """Everything that comes from people."""

    ift: list[Example]
    eft: list[Example]
    heldout_prompts: list[Prompt]
    heldout_rankings: list[Ranking]

    @property
    def heldout(self) -> list[Prompt]:
        """Every prompt that is measured on, which nothing may be trained on."""
        return [*self.heldout_prompts, *(Prompt(text=ranking.prompt, source="seed") for ranking in self.heldout_rankings)]

    @property
    def prompts(self) -> list[Prompt]:
        """The prompts of the IFT examples, which new ones are modelled on; each once."""
        return list(
            {prompt.id: prompt for example in self.ift for prompt in (Prompt(text=example.prompt, source="seed"),)}.values()
        )

    def examples(self, on: str) -> list[tuple[str, str]]:
        """(prompt, response) of the kinds that `on` names, as `sft.on` does."""
        chosen = (self.ift if "ift" in on else []) + (self.eft if "eft" in on else [])
        return [(example.prompt, example.response) for example in chosen]


def load_seed(data: SeedConfig, sft: SFTConfig) -> Seed:
    """Read and check the seed files. Raises `SelfRewardError` naming what does not fit."""
    eft = read_jsonl(Path(data.eft), Example) if data.eft else []
    seed = Seed(
        ift=read_jsonl(Path(data.ift), Example),
        eft=eft,
        heldout_prompts=read_jsonl(Path(data.heldout_prompts), Prompt),
        heldout_rankings=read_jsonl(Path(data.heldout_rankings), Ranking),
    )
    if not seed.ift:
        raise SelfRewardError("has no examples", data.ift, "Give at least one: new prompts are modelled on them")
    if "eft" in sft.on and not eft:
        raise SelfRewardError(
            "sft.on asks for EFT but there are no EFT examples", data.eft or "data.eft", 'Add some, or set sft.on = "ift"'
        )
    _refuse_overlap(seed, data)
    return seed


def ranked_responses(ranking: Ranking) -> list[Response]:
    """The responses of a ranking as records, people's own."""
    prompt = Prompt(text=ranking.prompt, source="seed")
    return [
        Response(prompt_id=prompt.id, model="people", index=index, text=text, finish="stop")
        for index, text in enumerate(ranking.responses)
    ]


def _refuse_overlap(seed: Seed, data: SeedConfig) -> None:
    trained = {example.prompt for example in seed.ift}
    heldout = [prompt.text for prompt in seed.heldout]
    shared = sorted(trained.intersection(heldout))
    if shared:
        now = f"Take them out of {data.ift}"
        raise SelfRewardError(f"{len(shared)} held-out prompts are trained on, {shared[0]!r} first", data.heldout_prompts, now)
    judged = {response for ranking in seed.heldout_rankings for response in ranking.responses}
    for example in seed.eft:
        for ranking in seed.heldout_rankings:
            if ranking.prompt in example.prompt and any(
                text in example.prompt for text in judged.intersection(ranking.responses)
            ):
                now = f"Take it out of {data.eft}"
                raise SelfRewardError(f"a held-out ranking is judged in EFT: {ranking.prompt!r}", data.heldout_rankings, now)
