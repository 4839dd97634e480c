"""Comparisons of two responses, asked in both orders: what came of each, and what a response wins of its own."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import combinations, groupby

from selfreward.records import Comparison, Preference, Response, Side


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
    winners = {(one.a, one.b): one.winner for one in combine(preferences)}
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
    """(prompt id, a, b) and the winning side by each order that there is, in the order in which they first occur."""
    sides: dict[tuple[str, str, str], dict[bool, Side]] = {}
    for given in preferences:
        a, b = (given.second, given.first) if given.swapped else (given.first, given.second)
        sides.setdefault((given.prompt_id, a, b), {})[given.swapped] = given.side
    return [(key, list(by_order.values())) for key, by_order in sides.items()]


def _agreed(sides: list[Side]) -> Side:
    if len(sides) < 2 or "none" in sides:
        return "none"
    return sides[0] if sides[0] == sides[1] else "tie"
