"""Labels of a verdict in words: several side by side, one above the other, and others' words that look like one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from selfreward.steps.verdict_words import AND_WORDS, AROUND, BEFORE, LINE_END, NOT_JOINED, RANGE, SPACE

_GIVEN = (
    "tie|draw|win|victory|preference|advantage|lead|edge|toss|dead"
    "|clear|close|narrow|slight|marginal|strong|decisive|solid|convincing"
)
ARTICLE = re.compile(rf"(?<=a){SPACE}++[^\W\d_]|(?<=A){SPACE}++(?:{_GIVEN})(?![^\W\d_])")
"""The rest of a verdict that begins with an article and not with the label A: `a tie`, `A narrow win for B`."""
GOES_ON = re.compile(rf"[-‐‑](?=\w)|(?<=\d)[-–.,:/](?=\d)|{AROUND}[?？]")
"""The rest of a longer word or number that a label begins (`tie-breaker`, `1.5`), and a question."""
_REVISED = rf"(?:→|⇒|[-=]>){AROUND}(?:[^\W\d_]++{SPACE}++){{0,2}}"
_AGAINST = r"(?:versus|vs?\b\.?|[~∼～≈≃])"


class Labels:
    """The labels of a comparison: the first answer's, the second's, and a tie's."""

    def __init__(self, labels: Iterable[str]) -> None:
        names = [*labels]
        self._choice = re.compile(_choice(names), re.IGNORECASE)
        either = rf"(?:{'|'.join(map(_worded, names[:2]))}){NOT_JOINED}"
        self._ordered = re.compile(rf"(?<!\w)({either}){BEFORE}([>＞≻]+|[<＜≺]+){BEFORE}({either})", re.IGNORECASE)

    def named(self, text: str, start: int, end: int) -> str | None:
        """The label that a verdict at `start` to `end` of a text gives; None where it gives none.

        Of labels in order (`A > B`, `A < B`) the greater. None: a choice between several, an article, a part of a word.
        """
        for order in self._ordered.finditer(text):
            if order.start() < end and start < order.end():
                return order[1] if order[2][0] in ">＞≻" else order[3]
        if any(both.start() < end and start < both.end() for both in self._choice.finditer(text)):
            return None
        label = text[start:end]
        if (label in ("a", "A") and ARTICLE.match(text, end)) or GOES_ON.match(text, end):
            return None
        return label


def _worded(label: str) -> str:
    return r"\s+".join(map(re.escape, label.split()))


def _choice(labels: Sequence[str]) -> str:
    """A pattern for two labels or more side by side between which nothing is said; of the later ones the last word is enough."""
    label, ends = "|".join(map(_worded, labels)), "|".join(re.escape(label.split()[-1]) for label in labels)
    around = rf"(?:(?!{label}|{ends})(?:{AROUND[3:-3]}))*+"
    in_list = rf"[,;，、](?={around}(?:{label})(?:{SPACE}++(?:{label})|{around}(?:[,;，、/|]|{RANGE}|{LINE_END}|\Z)))"
    side_by_side = rf"(?:[/∕／|&]|[=＝≈]{{1,2}}|{RANGE}|{AND_WORDS}|{_AGAINST}|{_REVISED}|{in_list})"
    return rf"(?<!\w)(?:{label}){NOT_JOINED}(?:{around}{side_by_side}{around}(?:the\s+)?(?:{label}|{ends}){NOT_JOINED})+"
