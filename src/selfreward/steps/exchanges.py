"""Exchanges: a user's request, the answers to it, and people's ranks of the answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from selfreward.records import Instruction, Message
from selfreward.steps.dialogues import Unused

P = TypeVar("P")


class Answer(NamedTuple):
    """One answer: its rank among the others, 0 the best, None where nobody ranked it; and the reason against it, if any."""

    text: str
    rank: float | None = 0
    against: str = ""

    @property
    def unfit(self) -> str:
        """The reason not to use the answer; empty where there is none."""
        return self.against or ("" if self.text.strip() else "empty")


class Exchange(NamedTuple):
    """A user's turn, the turns before it, and the answers to it."""

    prompt: str
    answers: Sequence[Answer]
    context: tuple[Message, ...] = ()
    """A system turn or none, then exchanges."""
    partial: bool = False
    """True if other rows may have further answers to it."""
    untrained: tuple[int, ...] = ()
    """Numbers, from 0, of the answers in `context` that are not to be learnt."""
    checks: tuple[Instruction, ...] = ()
    """Checks that a program can make of an answer."""

    @property
    def asked(self) -> tuple[object, str]:
        """The user's turn and the turns before it."""
        return self.context, self.prompt

    def best(self) -> str:
        """The answer of rank 0, the first where several share it. Raises `Unused` where there is none to use."""
        if not self.answers:
            raise Unused("unanswered")
        best = next((answer for answer in self.answers if answer.rank == 0), None)
        if best is None:
            raise Unused("unranked")
        if best.unfit:
            raise Unused(best.unfit)
        return best.text

    def ranked(self) -> tuple[list[tuple[str, int]], list[str]]:
        """(text, rank) of two answers or more, and the reasons for leaving others out. Raises `Unused` where it cannot be."""
        answers = without_doubles(self.answers)
        fit = [(answer.text, answer.rank) for answer in answers if answer.rank is not None and not answer.unfit]
        if not answers:
            raise Unused("unanswered")
        if len(fit) < 2:
            reasons = ["unranked" for answer in answers if answer.rank is None] + [
                SAME for other in answers if other.against == SAME
            ]
            raise Unused(next(iter(reasons), "one_response"))
        order = sorted({rank for _, rank in fit})
        if len(order) == 1:
            raise Unused("all_tied")
        left_out = [answer.unfit or "unranked" for answer in answers if answer.unfit or answer.rank is None]
        return [(text, order.index(rank)) for text, rank in fit], left_out


SAME = "same_text"
"""The reason against an answer that reads as an earlier one does; against all equal answers where their ranks differ."""


def without_doubles(answers: Sequence[Answer]) -> list[Answer]:
    """The answers, with `SAME` as the reason against duplicates."""
    ranks: dict[str, list[float | None]] = {}
    for answer in answers:
        ranks.setdefault(answer.text.strip(), []).append(answer.rank)
    counts, marked = Counter[str](), list[Answer]()
    for answer in answers:
        text = answer.text.strip()
        double = counts[text] > 0 or len(set(ranks[text])) > 1
        marked.append(answer._replace(against=answer.unfit or SAME) if double else answer)
        counts[text] += 1
    return marked


def gathered(rows: Iterable[tuple[P, Exchange]]) -> Iterator[tuple[P, Exchange]]:
    """(place, exchange) as they come; the partial ones after all others, put together by what is asked, in the first's place."""
    together: dict[object, tuple[P, Exchange]] = {}
    for place, exchange in rows:
        if not exchange.partial:
            yield place, exchange
            continue
        first, merged = together.get(exchange.asked, (place, exchange._replace(answers=())))
        together[exchange.asked] = first, merged._replace(answers=[*merged.answers, *exchange.answers])
    yield from together.values()
