"""Seed data: people's examples, and the held-out part for measuring. No prompt is in both."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Literal, NamedTuple, TypeVar

from selfreward.errors import SelfRewardError, amount
from selfreward.recipe import Recipe, SeedConfig, SourceConfig, held_by
from selfreward.records import (
    NO_FRAME,
    Asked,
    Conversed,
    Dropped,
    Example,
    Identified,
    Message,
    Prompt,
    Ranking,
    Response,
    last_turn,
    quoted,
    turns_of,
)
from selfreward.stats import plain
from selfreward.steps.gaps import Gap, why_none
from selfreward.steps.sources import KeptAndDropped, draw, load_examples, load_prompts, load_rankings

Key = tuple[str, ...]
"""The identity of a prompt: its turns, without case, spaces and the system turn."""
A = TypeVar("A", Example, Ranking)
R = TypeVar("R", bound=Identified)


class Seed(NamedTuple):
    """Everything that comes from people."""

    ift: Sequence[Example]
    eft: Sequence[Example]
    heldout_prompts: Sequence[Prompt]
    heldout_rankings: Sequence[Ranking]
    rankings: Sequence[Ranking] = ()
    """Ranked responses from which EFT is made, where no EFT is given."""
    dropped: Sequence[Dropped] = ()
    """Records that are in none of these; `stage` is the part that a record was meant for."""
    recipe: Recipe | None = None
    """The recipe that says how examples are asked, and which of their answers are trained."""

    @property
    def heldout(self) -> list[Prompt]:
        """Every prompt that is measured on; nothing may be trained on them."""
        return [*self.heldout_prompts, *map(_asked, self.heldout_rankings)]

    @property
    def prompts(self) -> list[Prompt]:
        """The prompts of the IFT examples, models for new ones; each once."""
        return list({prompt.id: prompt for prompt in map(_asked, self.ift)}.values())

    @property
    def parts(self) -> dict[str, tuple[Sequence[Identified], list[Dropped]]]:
        """Name of a stage in the run's seed folder → its records, and the dropped ones."""
        dropped = {drop.stage for drop in self.dropped}
        judged = ("rankings",) if self.rankings or "rankings" in dropped else ("eft",)
        judged_parts = () if self.recipe and self.recipe.eft.by == "self" else judged
        names = ("ift", *judged_parts, "heldout_prompts", "heldout_rankings")
        return {name: (getattr(self, name), [drop for drop in self.dropped if drop.stage == name]) for name in names}

    def examples(self, on: str) -> list[tuple[Asked, str]]:
        """(prompt, response) of the kinds that `on` names, as `sft.on` does; a prompt is as the model will be asked.

        Of a conversation the last answer, or every one, each after its own prompt, where `sft.answers` is `all`.
        """
        answering, judging = (self.recipe.responses.frame, self.recipe.judge.frame) if self.recipe else (NO_FRAME, NO_FRAME)
        trained = slice(0 if self.recipe and self.recipe.sft.answers == "all" else -1, None)
        ift = [(answering(asked), answer) for example in self.ift for asked, answer in answers_in(example)[trained]]
        eft = [(judging(example.asked), example.response) for example in self.eft]
        return [*(ift if "ift" in on else []), *(eft if "eft" in on else [])]


def load_seed(recipe: Recipe) -> Seed:
    """Read, split and check the seed data. Raises `SelfRewardError` naming what does not fit.

    What is held out and not given is split off by prompt, drawn by the run's seed: prompts from IFT, rankings from the ranked
    sets. The sets are split before any is judged: people's ranks need no filter, and sets on which the SFT baseline agrees
    with them would measure its easy cases. What EFT is made of has no prompt in common with IFT (paper, section 3.1).
    """
    data, split = recipe.data, _Split(recipe)
    ift, eft = split.examples("ift"), split.examples("eft")
    heldout_prompts, heldout_rankings = split.prompts("heldout_prompts"), split.rankings("heldout_rankings")
    if not data.heldout_prompts:
        heldout_prompts = split.off(ift, data.heldout, "heldout_prompts")
        ift = split.without(heldout_prompts, ift, "ift", "held_out")
        eft = split.unjudged(heldout_prompts, eft)
    ift = split.limited(ift, "ift")
    rankings = split.unlearnt(ift, split.rankings("rankings"))
    rankings = split.without([*heldout_prompts, *map(_asked, heldout_rankings)], rankings, "rankings", "measured_on")
    rankings = split.limited(rankings, "rankings")
    if data.rankings and not data.heldout_rankings:
        ranked_sets = rankings
        apart = split.off(ranked_sets, round(recipe.eft.heldout * len(_keys(ranked_sets))), "heldout_rankings")
        rankings = split.without(apart, ranked_sets, "rankings", "held_out")
        trained_on = {ranking.id for ranking in rankings}
        heldout_rankings = [ranking for ranking in ranked_sets if ranking.id not in trained_on]
    seed = Seed(ift, eft, heldout_prompts, heldout_rankings, rankings, split.dropped, recipe)
    _refuse_gaps(seed, recipe, split.texts)
    _refuse_overlap(seed, data)
    return seed


def ranked_responses(ranking: Ranking) -> list[Response]:
    """The responses of a ranking as records, people's own."""
    prompt = _asked(ranking)
    return [
        Response(prompt_id=prompt.id, model="people", index=index, text=text, finish="stop")
        for index, text in enumerate(ranking.responses)
    ]


def refuse_known(prompts: Iterable[Prompt], called: str, where: str, seed: Seed) -> None:
    """Raises `SelfRewardError` where some of `prompts`, which are `called` so, are trained or measured on."""
    prompts, learnt = list(prompts), _keys(seed.rankings).union(*map(learnt_from, seed.ift))
    is_judged = _judged_in(seed.eft)
    judged = {known_by(prompt.asked) for prompt in prompts if is_judged(prompt.asked, ())}
    for what_for, keys in (("trained", learnt | judged), ("measured", _keys(seed.heldout))):
        if shared := [prompt.text for prompt in prompts if known_by(prompt.asked) in keys]:
            what = amount(len(shared), f"{called[:-1]} is {what_for} on", f"{called} are {what_for} on")
            raise SelfRewardError(f"{what}, {shared[0]!r} first", where, "Take them out")


def known_by(asked: Asked) -> Key:
    """The identity of a prompt: a question is the same one under another system prompt."""
    return tuple(plain(turn.content) for turn in turns_of(asked) if turn.role != "system")


def answers_in(example: Example) -> list[tuple[Asked, str]]:
    """(prompt, answer) of every answer of the assistant in a conversation that may be trained, in its order."""
    turns = (*turns_of(example.asked), Message(role="assistant", content=example.response))
    places = enumerate(at for at, turn in enumerate(turns) if turn.role == "assistant")
    return [(turns[:at] if at > 1 else turns[0].content, turns[at].content) for n, at in places if n not in example.untrained]


def learnt_from(record: Conversed) -> list[Key]:
    """The prompts that a model learns to answer, or reads answered: of a conversation the earlier ones too."""
    key = known_by(record.asked)
    return [key[: at + 1] for at in range(0, len(key), 2)]


def _asked(record: Example | Ranking) -> Prompt:
    return Prompt(text=record.prompt, context=record.context, source="seed")


def _keys(records: Iterable[Conversed]) -> set[Key]:
    return {known_by(record.asked) for record in records}


class _Split:
    """Reads the sources of a recipe and takes them apart; what is dropped on the way gathers in `dropped`."""

    def __init__(self, recipe: Recipe) -> None:
        self._data, self._seed = recipe.data, recipe.seed
        self.dropped: list[Dropped] = []
        self.texts: dict[str, str] = {}  # prompts of what belongs to another part, by id

    def examples(self, name: Literal["ift", "eft"]) -> list[Example]:
        return self._read(name, partial(load_examples, kind=name))

    def prompts(self, name: str) -> list[Prompt]:
        return self._read(name, load_prompts)

    def rankings(self, name: str) -> list[Ranking]:
        return self._read(name, load_rankings)

    def _read(self, name: str, load: Callable[..., KeptAndDropped[R]]) -> list[R]:
        """The records of a source, none where it is not given. IFT and ranked sets are limited when they have been split."""
        source: SourceConfig | None = getattr(self._data, name)
        if source is None:
            return []
        if name in ("ift", "rankings"):
            source = source.model_copy(update={"limit": None})
        with held_by(f"data.{name}", source.path):
            kept, dropped = load(source, stage=name, seed=self._seed, skip_bad_rows=self._data.skip_bad_rows)
        self.dropped += dropped
        return kept

    def limited(self, records: Sequence[R], name: str) -> list[R]:
        """The records within the limit of the source with this name."""
        source: SourceConfig | None = getattr(self._data, name)
        kept, dropped = draw(records, source.limit if source else None, name, self._seed)
        self.dropped += dropped
        return kept

    def off(self, records: Sequence[Example | Ranking], count: int, name: str) -> list[Prompt]:
        """`count` of the prompts of `records`, drawn by the run's seed; all where there are not as many."""
        once = {known_by(prompt.asked): prompt for prompt in map(_asked, records)}
        return draw(list(once.values()), count, name, self._seed)[0]

    def without(self, prompts: Iterable[Prompt], records: Sequence[A], stage: str, reason: str) -> list[A]:
        """The records about none of `prompts`, neither in their last turn nor in an earlier one."""
        keys = _keys(prompts)
        return self._part(records, lambda record: not keys.isdisjoint(learnt_from(record)), stage, reason)

    def unlearnt(self, ift: Sequence[Example], rankings: Sequence[Ranking]) -> list[Ranking]:
        """The rankings of prompts that no IFT example teaches to answer, as its last turn or as an earlier one."""
        learnt = set[Key]().union(*map(learnt_from, ift))
        return self._part(rankings, lambda ranking: known_by(ranking.asked) in learnt, "rankings", "in_ift")

    def unjudged(self, prompts: Sequence[Prompt], eft: Sequence[Example]) -> list[Example]:
        """The EFT examples that judge an answer to none of `prompts`."""
        return self._part(eft, lambda example: any(judges(example, prompt.asked) for prompt in prompts), "eft", "held_out")

    def _part(self, records: Sequence[A], leaves: Callable[[A], bool], stage: str, reason: str) -> list[A]:
        gone = [leaves(record) for record in records]
        apart = [record for record, leaving in zip(records, gone, strict=True) if leaving]
        self.texts |= {record.id: record.prompt for record in apart}
        self.dropped += [Dropped(id=record.id, stage=stage, reason=reason) for record in apart]
        return [record for record, leaving in zip(records, gone, strict=True) if not leaving]


def judges(example: Example, prompt: Asked, responses: Sequence[str] = ()) -> bool:
    """True if an EFT example, by any rubric, is about `prompt`: it has the prompt beside one of `responses`, or on its own.

    "On its own" means between a label, a tag, a quote or a line's end on either side, for a short prompt is part of many texts.
    """
    needle, text = _as_filled(quoted(prompt)), _as_filled(example.prompt)
    if needle not in text:
        return False
    alone = rf"(?:^|[\n:>\"'“])[ \t]*{re.escape(needle)}[ \t]*(?:$|[\n<\"'”])"
    return any(_as_filled(response) in text for response in responses) or re.search(alone, text) is not None


def _judged_in(eft: Sequence[Example]) -> Callable[[Asked, Sequence[str]], bool]:
    """A test whether an example of `eft` is about a prompt, beside one of its responses or on its own (`judges`)."""
    texts = "\n".join(_as_filled(example.prompt) for example in eft)  # most prompts are in none, which one search tells

    def is_judged(prompt: Asked, responses: Sequence[str]) -> bool:
        return _as_filled(quoted(prompt)) in texts and any(judges(example, prompt, responses) for example in eft)

    return is_judged


@lru_cache(4096)  # every prompt is looked for in every example
def _as_filled(text: str) -> str:
    """A text without case, and with its tags broken as they are when it is put into a rubric."""
    return text.replace("&lt;", "<").strip().lower()


def _refuse_gaps(seed: Seed, recipe: Recipe, texts: Mapping[str, str]) -> None:
    """Raises `SelfRewardError` where something is missing that the recipe needs. `texts`: prompts of dropped records by id."""
    data, needs_eft = recipe.data, "eft" in recipe.sft.on

    def gap(name: str) -> Gap:
        return why_none((drop for drop in seed.dropped if drop.stage == name), f"data.{name}", texts)

    if not seed.ift:
        now = "Give at least one example: new prompts are modelled on examples. Held out are data.heldout prompts"
        raise gap("ift").error("has no examples", data.ift.path, now)
    if not seed.heldout_prompts:
        now = "Give at least one prompt: following instructions is measured on these prompts"
        raise gap("heldout_prompts").error("has no prompts", _path(data.heldout_prompts), now)
    to_measure = "heldout_rankings" if data.heldout_rankings else "" if needs_eft else "rankings"
    ranked = seed.heldout_rankings if data.heldout_rankings else [*seed.heldout_rankings, *seed.rankings]
    if (source := getattr(data, to_measure, None)) and recipe.measure.judging and not ranked:
        now = f"Give at least one ranked set, or leave data.{to_measure} out: judging is measured on them"
        raise gap(to_measure).error("has no ranked set to measure judging on", source.path, now)
    if not recipe.prompts.source and not any(example.stands_alone for example in seed.ift):
        now = "Add examples of a first turn, which new prompts are modelled on, or give prompts of your own with prompts.from"
        raise SelfRewardError("every prompt in it is a later turn of a conversation", data.ift.path, now)
    if recipe.makes_eft and not recipe.sft.baseline:
        of, now = "data.rankings" if data.rankings else "its own rankings", "Set sft.baseline = true, or give ready-made EFT"
        raise SelfRewardError(f"the SFT baseline makes EFT of {of}, but is not trained", "sft.baseline", now)
    if needs_eft and not recipe.makes_eft and not seed.eft:
        now = 'Add some, or rankings to make them of, or set sft.on = "ift"'
        raise gap("eft").error("sft.on asks for EFT but there are no EFT examples", _path(data.eft, "data.eft"), now)
    if needs_eft and data.rankings and not seed.rankings:
        now = "Give more ranked sets, or leave some for EFT with data.ift.limit and eft.heldout"
        raise gap("rankings").error("has no ranked set to make EFT of", data.rankings.path, now)


def _refuse_overlap(seed: Seed, data: SeedConfig) -> None:
    """Raises `SelfRewardError` where the user's own files train on records that are also measured on."""
    trained = set[Key]().union(*map(learnt_from, seed.ift))
    for source, prompts in (
        (data.heldout_prompts, seed.heldout_prompts),
        (data.heldout_rankings, map(_asked, seed.heldout_rankings)),
    ):
        if shared := sorted(prompt.text for prompt in prompts if known_by(prompt.asked) in trained):
            what = amount(len(shared), "held-out prompt is trained on", "held-out prompts are trained on")
            raise SelfRewardError(f"{what}, {shared[0]!r} first", _path(source), f"Take them out of {data.ift.path}")
    is_judged = _judged_in(seed.eft)
    measured: list[tuple[Asked, tuple[str, ...]]] = [(prompt.asked, ()) for prompt in seed.heldout_prompts]
    for prompt, responses in [*measured, *((ranking.asked, ranking.responses) for ranking in seed.heldout_rankings)]:
        if is_judged(prompt, responses):
            what = f"a held-out prompt is judged in EFT: {last_turn(prompt)[1]!r}"
            raise SelfRewardError(what, _path(data.eft), "Remove it from EFT, or from the held-out prompts")


def _path(source: SourceConfig | None, otherwise: str = "data") -> str:
    return source.path if source else otherwise
