"""Two answers to one prompt, side by side before a judge, in both orders (paper, section 3.1).

Judges favour a place. So each comparison is asked twice, either answer first once; where the two verdicts disagree it
is a tie, and where one of them failed there is no verdict at all.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from functools import reduce
from itertools import combinations, groupby

from selfreward.engines import thought_of, without_thought
from selfreward.recipe import FIRST_SECOND_TIE, PairwiseConfig, label_name
from selfreward.records import Checkpoint, Comparison, Completion, Place, Preference, Prompt, Request, Response, Side
from selfreward.steps.labels import Labels
from selfreward.steps.parsing import PLAIN, compiled, last_verdict
from selfreward.steps.rubrics import Rubric, own_words
from selfreward.steps.witnesses import refuse_unreadable

MARKED = r"[\s*(\[\"'“]*"
"""The marks before a label in patterns that are made of labels. A label's own bracket is not to be taken for one of them."""
PLACES: tuple[Place, Place, Place] = ("first", "second", "tie")


class PairwiseJudge:
    """A rubric and a parser for comparing two answers."""

    def __init__(self, config: PairwiseConfig) -> None:
        self.config = config
        self.rubric = Rubric(config.rubric, ("prompt", "first", "second"), "pairwise.rubric")
        plain = all(re.match(r"\w", label) for label in config.labels)
        pattern = reduce(_with_room, config.labels, config.pattern)
        self._verdict = compiled(pattern.replace(MARKED, PLAIN) if plain else pattern)
        names = map(label_name, config.labels)
        self._places: dict[str, Place] = dict(zip(names, PLACES, strict=True))
        self._labels = Labels(map(label_name, config.labels))
        for place, caught in zip(PLACES, config.caught, strict=False):
            self._refuse_unreadable(place, caught)

    def _refuse_unreadable(self, place: Place, caught: list[str]) -> None:
        refuse_unreadable(self._verdict, caught, lambda text: self.parse(text) == place, "pairwise.pattern")

    @property
    def reading(self) -> list[object]:
        """Everything beside the judge's text that a verdict depends on."""
        labels = [] if self.config.labels == FIRST_SECOND_TIE else [list(self.config.labels)]
        return [self.config.pattern, *labels]

    def plan(self, items: Iterable[tuple[Prompt, Response, Response]], model: Checkpoint, seed: int) -> list[Request]:
        """Two requests for each (prompt, a, b), next to each other: a first, then b first."""
        return [
            self._ask(prompt, first, second, index, model, seed)
            for prompt, a, b in items
            for index, (first, second) in enumerate([(a, b), (b, a)])
        ]

    def _ask(self, prompt: Prompt, first: Response, second: Response, index: int, model: Checkpoint, seed: int) -> Request:
        about = f"{prompt.id} {first.id} {second.id}"
        text = self.rubric.fill(prompt=prompt.asked, first=first.text, second=second.text)
        return Request.user_turn(about, index, text, self.config.sampling, model, seed)

    def read(self, request: Request, completion: Completion) -> Preference:
        """One verdict, or the name of the failure."""
        prompt_id, first, second = request.about.split()
        completion = without_thought(completion, request)
        own, _, failure = own_words(completion, self._verdict)
        winner = None if failure else self.parse(own)
        return Preference(
            prompt_id=prompt_id,
            first=first,
            second=second,
            swapped=request.index == 1,
            judge=request.model,
            rationale=completion.text,
            thought=thought_of(request, completion),
            outcome=failure or ("decided" if winner else "unparsed"),
            winner=winner,
        )

    def parse(self, text: str) -> Place | None:
        """The last verdict in a judge's own text; None where there is none, one of no place, or a choice (`first or second`)."""
        match = last_verdict(text, self._verdict)
        label = self._labels.named(text, *match.span(1)) if match and match[1] else None
        return self._places.get(label_name(label)) if label else None


def _with_room(pattern: str, label: str) -> str:
    """The pattern, in which a label with brackets of its own may have spaces within them: `[[ A ]]`."""
    bracketed = re.fullmatch(r"(\W++)(.*\w)(\W++)", label.strip())
    return pattern.replace(re.escape(label), r"\s*".join(map(re.escape, bracketed.groups()))) if bracketed else pattern


def combine(preferences: Iterable[Preference]) -> list[Comparison]:
    """Both orders of each comparison as one: disagreement is a tie, and `none` where a verdict is missing."""
    return [
        Comparison(prompt_id=prompt_id, a=a, b=b, winner=_agreed(sides)) for (prompt_id, a, b), sides in _both_orders(preferences)
    ]


def win_shares(preferences: Iterable[Preference], responses: Iterable[Response], min_valid: int) -> dict[str, float]:
    """Share of its comparisons with the others to its prompt that a response wins, 0 to 1, ties by half, by response id.

    Responses to a prompt stand together in `responses`; those that read the same are level, asked about or not. Comparisons that
    were not decided do not count; a response of fewer than `min_valid` has no share, unless it has fewer rivals, all decided.
    """
    winners = {(verdict.a, verdict.b): verdict.winner for verdict in combine(preferences)}
    won: dict[str, list[float]] = defaultdict(list)
    rivals: Counter[str] = Counter()
    for _, group in groupby(responses, lambda response: response.prompt_id):
        for a, b in combinations([response for response in group if response.answered], 2):
            rivals.update((a.id, b.id))
            winner = "tie" if a.text == b.text else winners.get((a.id, b.id), "none")
            if winner != "none":
                won[a.id].append({"a": 1.0, "b": 0.0, "tie": 0.5}[winner])
                won[b.id].append(1 - won[a.id][-1])
    return {name: sum(points) / len(points) for name, points in won.items() if len(points) >= min(min_valid, rivals[name])}


def flip_rate(preferences: Iterable[Preference]) -> float | None:
    """Share of the comparisons decided in both orders whose verdict changes with the order; None of none."""
    decided = [sides for _, sides in _both_orders(preferences) if len(sides) == 2 and "none" not in sides]
    return sum(sides[0] != sides[1] for sides in decided) / len(decided) if decided else None


def _both_orders(preferences: Iterable[Preference]) -> list[tuple[tuple[str, str, str], list[Side]]]:
    """(prompt id, a, b) and the winning side in each order that was asked, in the order of their first occurrence."""
    sides: dict[tuple[str, str, str], dict[bool, Side]] = {}
    for preference in preferences:
        a, b = (preference.second, preference.first) if preference.swapped else (preference.first, preference.second)
        sides.setdefault((preference.prompt_id, a, b), {})[preference.swapped] = preference.side
    return [(key, list(by_order.values())) for key, by_order in sides.items()]


def _agreed(sides: list[Side]) -> Side:
    if len(sides) < 2 or "none" in sides:
        return "none"
    return sides[0] if sides[0] == sides[1] else "tie"
