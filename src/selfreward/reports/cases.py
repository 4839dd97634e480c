"""The records behind the monitors' figures: pairs that may be flukes, flattered answers, pairs that breed a trait.

Files are gone over line by line; what is held is a number for each pair, or answer, and the texts of the few that are shown.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from markupsafe import escape

from selfreward.errors import SelfRewardError
from selfreward.recipe import Recipe
from selfreward.records import Judgment, Pair, Reading, Records, Response, in_pairs
from selfreward.reports.browse import shown_prompt
from selfreward.rundir import DRIFT_FROZEN, HELDOUT_JUDGMENTS, HELDOUT_PROMPTS, HELDOUT_RESPONSES, RunView
from selfreward.stats import TRAITS, Odds, Trait, furthest, known_traits, mean_scores, pair_outcomes, words

SHOWN = 10
"""Pairs, answers and traits on the page."""
PAIRS_OF_A_TRAIT = 3
MARKUP = 400
"""Bytes of markup around a text, roughly."""
SELECTION, WORD = "traits.S/", "lexicon.selected"


Told = tuple[str, Pair, str]
"""Iteration, a pair of it, and why it is shown in a few words."""


class Said(NamedTuple):
    """A response and a judge's judgments of it."""

    title: str
    part: str
    """`chosen`, `rejected` or nothing."""
    text: str
    score: float | None
    """Mean of the valid judgments; None of too few."""
    judgments: list[Judgment]
    thought: str | None = None


class Case(NamedTuple):
    """A pair or an answer to be looked at."""

    id: str
    told: str
    """Why it is shown, in a few words."""
    prompt: str
    said: list[Said]
    files: str
    """Where its records lie."""
    shown: bool = True
    """Whether its texts fit in the page."""

    @property
    def size(self) -> int:
        """Bytes it takes in the page, roughly."""
        texts = [self.prompt, *(one.text for one in self.said), *(j.rationale for one in self.said for j in one.judgments)]
        texts += [one.thought or "" for one in self.said] + [j.thought or "" for one in self.said for j in one.judgments]
        return sum(MARKUP + len(str(escape(text)).encode()) for text in texts)


class Bred(NamedTuple):
    """A trait, the reading of its selection differential, and the pairs of that iteration in which it differs most."""

    name: str
    reading: Reading
    cases: list[Case]


def doubtful_pairs(standing: RunView) -> list[Case]:
    """The pairs of all iterations that are likeliest to come out the other way round if they were judged again."""
    found = ((outcome.flipped, name, pair, outcome) for name in _made(standing) for pair, outcome in _outcomes(standing, name))
    worst = heapq.nlargest(SHOWN, found, key=lambda item: (item[0], item[1], item[2].id))
    told = [(name, pair, f"flips {_percent(odds.flipped)}, ties {_percent(odds.tie)}") for _, name, pair, odds in worst]
    return _cases(standing, told)


def flattered_answers(standing: RunView) -> list[Case]:
    """The answers of all models to which their own judge gives most above the frozen one; none that both score alike."""
    found = (flattered for model in standing.models.values() if model.watched for flattered in _gaps(standing, model.name))
    return [_answer(standing, *flattered) for flattered in heapq.nlargest(SHOWN, found)]


def bred_traits(standing: RunView) -> list[Bred]:
    """The traits whose selection differential is largest beside the half width of its interval, each at the model where it is."""
    hardest: dict[str, Reading] = {}
    for reading in standing.watched:
        if reading.monitor.startswith(SELECTION) and _force(reading) > 0:
            hardest[reading.monitor] = max(hardest.get(reading.monitor, reading), reading, key=_force)
    shown = sorted(hardest.values(), key=lambda reading: (-_force(reading), reading.monitor))[:SHOWN]
    found: dict[str, list[Told]] = {}
    for name in {reading.iteration for reading in shown}:
        found |= _bred(standing, name, [reading for reading in shown if reading.iteration == name])
    cases = iter(_cases(standing, [told for reading in shown for told in found.get(reading.monitor, [])]))
    of_each = [list(islice(cases, len(found.get(reading.monitor, [])))) for reading in shown]
    return [Bred(one.monitor.removeprefix(SELECTION), one, own) for one, own in zip(shown, of_each, strict=True)]


def favoured_words(standing: RunView) -> list[Bred]:
    """The word that a judge favours or shuns most, at the model where it is furthest from chance, and pairs that have it so."""
    read = [reading for reading in standing.watched if reading.monitor == WORD and reading.value]
    if not read:
        return []
    reading = max(read, key=lambda one: abs(one.value or 0))
    folder = standing[reading.iteration]
    pairs = list(folder.pairs())
    texts = {response.id: response.text for response in folder.responses().about("id", in_pairs(pairs))}
    word, _ = furthest((texts[pair.chosen_id], texts[pair.rejected_id]) for pair in pairs)
    has = {one: word in words(text) for one, text in texts.items()}
    with_it, without = ("chosen", "rejected") if (reading.value or 0) > 0 else ("rejected", "chosen")
    found = [pair for pair in pairs if has[getattr(pair, f"{with_it}_id")] and not has[getattr(pair, f"{without}_id")]]
    told = [(reading.iteration, pair, f"only the {with_it} has “{word}”") for pair in found[:PAIRS_OF_A_TRAIT]]
    return [Bred(word, reading, _cases(standing, told))]


def fitting(cases: Iterable[Case], budget: int) -> list[Case]:
    """All of `cases`; those that no longer fit in `budget` bytes without their texts."""
    kept = []
    for case in cases:
        fits = case.size <= budget
        budget -= case.size if fits else 0
        kept.append(case if fits else case._replace(shown=False, prompt="", said=[]))
    return kept


def _made(standing: RunView) -> list[str]:
    """The iterations whose model was read."""
    return [name for name in standing.iterations if standing.models[name].watched]


def _outcomes(standing: RunView, name: str) -> Iterator[tuple[Pair, Odds]]:
    folder, judge = standing[name], standing.recipe_of(name).judge
    if not judge.averages:
        return iter(())
    pairs = list(folder.pairs())
    outcomes = pair_outcomes(pairs, folder.responses(), folder.judgments(), judge.min_valid)
    return ((pair, outcomes[pair.id]) for pair in pairs if pair.id in outcomes)


def _cases(standing: RunView, pairs: Sequence[Told]) -> list[Case]:
    """The pairs with their prompts, responses and judgments, in their order; an iteration's files are gone over once."""
    names = dict.fromkeys(name for name, _, _ in pairs)
    found = {name: _gathered(standing, name, [pair for at, pair, _ in pairs if at == name]) for name in names}
    return [_case(name, pair, told, *found[name], standing.recipe_of(name)) for name, pair, told in pairs]


def _gathered(
    standing: RunView, name: str, pairs: Sequence[Pair]
) -> tuple[dict[str, str], dict[str, Response], dict[str, list[Judgment]]]:
    """Texts of the prompts, the responses and the judgments, by id."""
    folder, wanted = standing[name], in_pairs(pairs)
    prompts = folder.prompts().about("id", {pair.prompt_id for pair in pairs})
    responses = folder.responses().about("id", wanted)
    found = ({prompt.id: shown_prompt(prompt) for prompt in prompts}, {response.id: response for response in responses})
    return *found, _judged(folder.judgments(), wanted)


def _judged(judgments: Records[Judgment], wanted: Collection[str]) -> dict[str, list[Judgment]]:
    """The judgments of the responses that are wanted, by response id."""
    by_response: dict[str, list[Judgment]] = defaultdict(list)
    for judgment in judgments.about("response_id", wanted):
        by_response[judgment.response_id].append(judgment)
    return by_response


def _case(
    name: str, pair: Pair, told: str, prompts: Mapping[str, str], responses: Mapping[str, Response],
    judged: Mapping[str, list[Judgment]], recipe: Recipe,
) -> Case:  # fmt: skip
    said = [
        Said(part, part, responses[one].text, score, judged.get(one, []), responses[one].thought)
        for part, one, score in (
            ("chosen", pair.chosen_id, pair.chosen_score),
            ("rejected", pair.rejected_id, pair.rejected_score),
        )
    ]
    rounds = ", ".join(f"{name}/{stage}.jsonl" for stage in recipe.judge.rounds)
    files = f"{name}/pairs.jsonl; responses {pair.chosen_id} and {pair.rejected_id} in {name}/responses.jsonl; {rounds}"
    return Case(pair.id, f"{name}: {told}", prompts[pair.prompt_id], said, files)


def _gaps(standing: RunView, name: str) -> Iterator[tuple[float, str, str]]:
    """(live − frozen mean score, model, response id) of every answer that both judges scored and the live one higher."""
    folder, valid = standing[name], standing.recipe_of(name).judge.min_valid
    if not standing.recipe.measure.judging:
        return iter(())
    frozen = mean_scores(folder.records(DRIFT_FROZEN), valid)
    live = mean_scores(folder.records(HELDOUT_JUDGMENTS).about("response_id", frozen), valid)
    return ((live[one] - frozen[one], name, one) for one in live if live[one] > frozen[one])


def _answer(standing: RunView, gap: float, name: str, response_id: str) -> Case:
    folder, valid = standing[name], standing.recipe_of(name).judge.min_valid
    (answer,) = folder.records(HELDOUT_RESPONSES).about("id", {response_id})
    (prompt,) = standing.seed.records(HELDOUT_PROMPTS).about("id", {answer.prompt_id})
    said = []
    for title, shown, part in (("its own judge", True, HELDOUT_JUDGMENTS), ("the frozen judge", False, DRIFT_FROZEN)):
        judgments, text = _judged(folder.records(part), {response_id})[response_id], answer.text if shown else ""
        score = mean_scores(judgments, valid).get(response_id)
        said.append(Said(title, "", text, score, judgments, answer.thought if shown else None))
    files = f"{name}/heldout_responses.jsonl; {name}/heldout_judgments.jsonl; {name}/drift_frozen.jsonl"
    return Case(response_id, f"{name}: {gap:.3g} above the frozen judge", shown_prompt(prompt), said, files)


def _force(reading: Reading) -> float:
    """|S| beside the half width of its interval."""
    if not reading.value or not reading.interval:
        return 0.0
    half = (reading.interval[1] - reading.interval[0]) / 2
    return abs(reading.value) / half if half else float("inf")


def _bred(standing: RunView, name: str, readings: Sequence[Reading]) -> dict[str, list[Told]]:
    """Figure → the pairs of one iteration that differ most, the way that the judge prefers; its responses are gone over once."""
    folder, known = standing[name], _traits(standing.recipe)
    traits = {one: known[trait] for one in readings if (trait := one.monitor.removeprefix(SELECTION)) in known}
    pairs = list(folder.pairs())
    values: dict[str, list[float | None]] = {}
    for response in folder.responses().about("id", in_pairs(pairs)):
        values[response.id] = [count(response.text) for count in traits.values()]
    return {one.monitor: _furthest_apart(one, pairs, values, at) for at, one in enumerate(traits)}


def _traits(recipe: Recipe) -> Mapping[str, Trait]:
    """The traits that can be counted here; the built-in ones alone where a function of the user's is not to be had."""
    try:
        return known_traits(recipe.drift) if recipe.drift else TRAITS
    except SelfRewardError:
        return TRAITS


def _furthest_apart(reading: Reading, pairs: Sequence[Pair], values: Mapping[str, Sequence[float | None]], at: int) -> list[Told]:
    """The pairs whose values of the trait `at` differ most, with the sign of `reading`."""
    sign = 1 if (reading.value or 0) > 0 else -1
    found = [
        (sign * (chosen - rejected), pair, f"{chosen:.3g} against {rejected:.3g}")
        for pair in pairs
        if (chosen := values[pair.chosen_id][at]) is not None and (rejected := values[pair.rejected_id][at]) is not None
    ]
    most = [one for one in heapq.nlargest(PAIRS_OF_A_TRAIT, found, key=lambda item: (item[0], item[1].id)) if one[0] > 0]
    return [(reading.iteration, pair, f"{reading.monitor.removeprefix(SELECTION)} {words}") for _, pair, words in most]


def _percent(share: float) -> str:
    return f"{100 * share:.0f}\u00a0%"
