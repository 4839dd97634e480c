"""The records behind figures: pairs that may be flukes, flattered answers, pairs that breed a trait.

Files are read line by line; memory holds a number for each pair, or answer, and the few texts that are shown.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from markupsafe import escape

from selfreward.errors import SelfRewardError
from selfreward.recipe import Recipe
from selfreward.records import Judgment, Pair, Reading, Records, Response, in_pairs, sides
from selfreward.reports.browse import shown_prompt
from selfreward.rundir import (
    CHECKS,
    DRIFT_FROZEN,
    HELDOUT_JUDGMENTS,
    HELDOUT_PROMPTS,
    HELDOUT_RESPONSES,
    JUDGMENTS,
    LIKELIHOODS,
    LIKELIHOODS_BEFORE,
    LIKELIHOODS_M1,
    PREFERENCES,
    VOTES,
    Part,
    RunView,
)
from selfreward.stats import TRAITS, Odds, Trait, furthest, known_traits, mean_scores, pair_outcomes, words

SHOWN = 10
"""The most pairs, answers and traits on the page."""
PAIRS_OF_A_TRAIT = 3
SCORED_BY: tuple[Part[Any], ...] = (JUDGMENTS, PREFERENCES, LIKELIHOODS, LIKELIHOODS_BEFORE, LIKELIHOODS_M1, VOTES, CHECKS)
"""The stages that candidates are scored by, of which an iteration has some."""
MARKUP = 400
"""Approximate bytes of markup around a text."""
SELECTION, WORD = "traits.S/", "lexicon.selected"


ShownPair = tuple[str, Pair, str]
"""(iteration, pair, reason for showing it in a few words)."""


class JudgedText(NamedTuple):
    """A response and a judge's judgments of it."""

    title: str
    part: str
    """`chosen`, `rejected` or empty."""
    text: str
    score: float | None
    """Mean of the valid judgments; None where there are too few."""
    judgments: list[Judgment]
    thought: str | None = None


class Case(NamedTuple):
    """A pair or an answer to look at."""

    id: str
    reason: str
    """The reason for showing it, in a few words."""
    prompt: str
    texts: list[JudgedText]
    files: str
    """The files with its records."""
    shown: bool = True
    """True if its texts fit in the page."""

    @property
    def size(self) -> int:
        """Approximate bytes in the page."""
        texts = [self.prompt, *(item.text for item in self.texts), *(j.rationale for item in self.texts for j in item.judgments)]
        texts += [item.thought or "" for item in self.texts] + [j.thought or "" for item in self.texts for j in item.judgments]
        return sum(MARKUP + len(str(escape(text)).encode()) for text in texts)


class Bred(NamedTuple):
    """A trait, the reading of its selection differential, and the pairs of that iteration in which it differs most."""

    name: str
    reading: Reading
    cases: list[Case]


def doubtful_pairs(standing: RunView) -> list[Case]:
    """The pairs of all iterations with the highest probability of being flipped by a second judging."""
    pairs = ((outcome.flipped, name, pair, outcome) for name in _made(standing) for pair, outcome in _outcomes(standing, name))
    worst = heapq.nlargest(SHOWN, pairs, key=lambda item: (item[0], item[1], item[2].id))
    cases = [(name, pair, f"flips {_percent(odds.flipped)}, ties {_percent(odds.tie)}") for _, name, pair, odds in worst]
    return _cases(standing, cases)


def flattered_answers(standing: RunView) -> list[Case]:
    """The answers of all models that their own judge scores highest above the frozen one; only those above."""
    gaps = (gap for model in standing.models.values() if model.watched for gap in _gaps(standing, model.name))
    return [_answer(standing, *gap) for gap in heapq.nlargest(SHOWN, gaps)]


def bred_traits(standing: RunView) -> list[Bred]:
    """The traits whose selection differential is largest relative to its interval, each at the model where it is."""
    hardest: dict[str, Reading] = {}
    for reading in standing.watched:
        if reading.monitor.startswith(SELECTION) and _force(reading) > 0:
            hardest[reading.monitor] = max(hardest.get(reading.monitor, reading), reading, key=_force)
    readings = sorted(hardest.values(), key=lambda reading: (-_force(reading), reading.monitor))[:SHOWN]
    pairs_by_figure: dict[str, list[ShownPair]] = {}
    for name in {reading.iteration for reading in readings}:
        pairs_by_figure |= _bred(standing, name, [reading for reading in readings if reading.iteration == name])
    cases = iter(_cases(standing, [case for reading in readings for case in pairs_by_figure.get(reading.monitor, [])]))
    of_each = [list(islice(cases, len(pairs_by_figure.get(reading.monitor, [])))) for reading in readings]
    return [Bred(reading.monitor.removeprefix(SELECTION), reading, own) for reading, own in zip(readings, of_each, strict=True)]


def favoured_words(standing: RunView) -> list[Bred]:
    """The word that a judge favours or shuns most, at the model where it is furthest from chance, and pairs that show it."""
    readings = [reading for reading in standing.watched if reading.monitor == WORD and reading.value]
    if not readings:
        return []
    reading = max(readings, key=lambda reading: abs(reading.value or 0))
    folder = standing[reading.iteration]
    pairs = list(folder.pairs())
    texts = {response.id: response.text for response in folder.responses().about("id", in_pairs(pairs))}
    word, _ = furthest(sides(pairs, texts))
    has = {name: word in words(text) for name, text in texts.items()}
    with_it, without = ("chosen", "rejected") if (reading.value or 0) > 0 else ("rejected", "chosen")
    differing = [pair for pair in pairs if has[getattr(pair, f"{with_it}_id")] and not has[getattr(pair, f"{without}_id")]]
    cases = [(reading.iteration, pair, f"only the {with_it} has “{word}”") for pair in differing[:PAIRS_OF_A_TRAIT]]
    return [Bred(word, reading, _cases(standing, cases))]


def fitting(cases: Iterable[Case], budget: int) -> list[Case]:
    """All of `cases`; those beyond `budget` bytes without their texts."""
    fitting_cases = []
    for case in cases:
        fits = case.size <= budget
        budget -= case.size if fits else 0
        fitting_cases.append(case if fits else case._replace(shown=False, prompt="", texts=[]))
    return fitting_cases


def _made(standing: RunView) -> list[str]:
    """The iterations whose model was watched."""
    return [name for name in standing.iterations if standing.models[name].watched]


def _outcomes(standing: RunView, name: str) -> Iterator[tuple[Pair, Odds]]:
    folder, judge = standing[name], standing.recipe_of(name).judge
    if not judge.averages:
        return iter(())
    pairs = list(folder.pairs())
    outcomes = pair_outcomes(pairs, folder.responses(), folder.judgments(), judge.min_valid)
    return ((pair, outcomes[pair.id]) for pair in pairs if pair.id in outcomes)


def _cases(standing: RunView, pairs: Sequence[ShownPair]) -> list[Case]:
    """The pairs with their prompts, responses and judgments, in order; each iteration's files are read once."""
    names = dict.fromkeys(name for name, _, _ in pairs)
    records = {name: _gathered(standing, name, [pair for at, pair, _ in pairs if at == name]) for name in names}
    return [_case(name, pair, reason, records[name]) for name, pair, reason in pairs]


class _Gathered(NamedTuple):
    """Records of an iteration, by id."""

    prompts: dict[str, str]
    responses: dict[str, Response]
    judgments: dict[str, list[Judgment]]
    files: dict[str, str]
    """Response id → the file with it."""
    scored_in: list[str]
    """The files with what the responses were scored by."""


def _gathered(standing: RunView, name: str, pairs: Sequence[Pair]) -> _Gathered:
    folder, response_ids = standing[name], in_pairs(pairs)
    prompts = folder.prompts().about("id", {pair.prompt_id for pair in pairs})
    responses, files = dict[str, Response](), dict[str, str]()
    for file in folder.responses().files:
        found = {response.id: response for response in Records([file], Response, 0).about("id", response_ids)}
        responses, files = responses | found, files | dict.fromkeys(found, file.name)
    judged, scored_in = _judged(folder.judgments(), response_ids), [f.name for p in SCORED_BY for f in folder.records(p).files]
    return _Gathered({prompt.id: shown_prompt(prompt) for prompt in prompts}, responses, judged, files, scored_in)


def _judged(judgments: Records[Judgment], response_ids: Collection[str]) -> dict[str, list[Judgment]]:
    """Judgments by response id, of these responses."""
    by_response: dict[str, list[Judgment]] = defaultdict(list)
    for judgment in judgments.about("response_id", response_ids):
        by_response[judgment.response_id].append(judgment)
    return by_response


def _case(name: str, pair: Pair, reason: str, of: _Gathered) -> Case:
    texts = [
        JudgedText(part, part, of.responses[answer].text, score, of.judgments.get(answer, []), of.responses[answer].thought)
        for part, answer, score in (
            ("chosen", pair.chosen_id, pair.chosen_score),
            ("rejected", pair.rejected_id, pair.rejected_score),
        )
    ]
    first, second = (f" in {name}/{of.files[answer]}" for answer in (pair.chosen_id, pair.rejected_id))
    answers = f"responses {pair.chosen_id}{first if first != second else ''} and {pair.rejected_id}{second}"
    scored = ", ".join(f"{name}/{file}" for file in of.scored_in)
    files = "; ".join(filter(None, (f"{name}/pairs.jsonl", answers, scored)))
    return Case(pair.id, f"{name}: {reason}", of.prompts[pair.prompt_id], texts, files)


def _gaps(standing: RunView, name: str) -> Iterator[tuple[float, str, str]]:
    """(live − frozen mean score, model, response id) of every answer that the live judge scored higher than the frozen one."""
    folder, valid = standing[name], standing.recipe_of(name).judge.min_valid
    if not standing.recipe.measure.judging:
        return iter(())
    by_frozen = folder.records(DRIFT_FROZEN)
    frozen = mean_scores(by_frozen, valid)
    live = mean_scores(folder.records(HELDOUT_JUDGMENTS).about("response_id", frozen), valid)
    return ((live[answer] - frozen[answer], name, answer) for answer in live if live[answer] > frozen[answer])


def _answer(standing: RunView, gap: float, name: str, response_id: str) -> Case:
    folder, valid = standing[name], standing.recipe_of(name).judge.min_valid
    (answer,) = folder.records(HELDOUT_RESPONSES).about("id", {response_id})
    (prompt,) = standing.seed.records(HELDOUT_PROMPTS).about("id", {answer.prompt_id})
    texts = []
    for title, own, part in (("its own judge", True, HELDOUT_JUDGMENTS), ("the frozen judge", False, DRIFT_FROZEN)):
        judgments, text = _judged(folder.records(part), {response_id})[response_id], answer.text if own else ""
        score = mean_scores(judgments, valid).get(response_id)
        texts.append(JudgedText(title, "", text, score, judgments, answer.thought if own else None))
    files = f"{name}/heldout_responses.jsonl; {name}/heldout_judgments.jsonl; {name}/drift_frozen.jsonl"
    return Case(response_id, f"{name}: {gap:.3g} above the frozen judge", shown_prompt(prompt), texts, files)


def _force(reading: Reading) -> float:
    """|S| relative to the half width of its interval."""
    if not reading.value or reading.half is None:
        return 0.0
    return abs(reading.value) / reading.half if reading.half else float("inf")


def _bred(standing: RunView, name: str, readings: Sequence[Reading]) -> dict[str, list[ShownPair]]:
    """Figure → the pairs of one iteration that differ most in the direction of the judge's preference; reads responses once."""
    folder, counters = standing[name], _traits(standing.recipe)
    traits = {reading: counters[trait] for reading in readings if (trait := reading.monitor.removeprefix(SELECTION)) in counters}
    pairs = list(folder.pairs())
    values: dict[str, list[float | None]] = {}
    for response in folder.responses().about("id", in_pairs(pairs)):
        values[response.id] = [count(response.text) for count in traits.values()]
    return {reading.monitor: _furthest_apart(reading, pairs, values, at) for at, reading in enumerate(traits)}


def _traits(recipe: Recipe) -> Mapping[str, Trait]:
    """The traits that can be computed here; only the built-in ones where a function of the user's cannot be imported."""
    try:
        return known_traits(recipe.drift) if recipe.drift else TRAITS
    except SelfRewardError:
        return TRAITS


def _furthest_apart(
    reading: Reading, pairs: Sequence[Pair], values: Mapping[str, Sequence[float | None]], at: int
) -> list[ShownPair]:
    """The pairs that differ most in the trait `at`, with the sign of `reading`."""
    sign = 1 if (reading.value or 0) > 0 else -1
    differences = [
        (sign * (chosen - rejected), pair, f"{chosen:.3g} against {rejected:.3g}")
        for pair in pairs
        if (chosen := values[pair.chosen_id][at]) is not None and (rejected := values[pair.rejected_id][at]) is not None
    ]
    most = heapq.nlargest(PAIRS_OF_A_TRAIT, differences, key=lambda item: (item[0], item[1].id))
    return [
        (reading.iteration, pair, f"{reading.monitor.removeprefix(SELECTION)} {words}") for size, pair, words in most if size > 0
    ]


def _percent(share: float) -> str:
    return f"{100 * share:.0f}\u00a0%"
