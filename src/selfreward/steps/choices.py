"""Rows of well-known data sets that give two answers and people's verdict on them, under names of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from selfreward.steps.dialogues import Unused

Ranks = tuple[int, int]
"""The ranks of the first and the second answer, 0 the best."""
FIRST, SECOND, TIE = (0, 1), (1, 0), (0, 0)
WINNER = {"model_a": FIRST, "model_b": SECOND, "a": FIRST, "b": SECOND, "tie": TIE, "tie (bothbad)": TIE, "both_bad": TIE}
STRENGTH = {str(number): FIRST if number < 0 else SECOND if number > 0 else TIE for number in range(-3, 4)}


class Choice(NamedTuple):
    """Names of columns, and what the values of the verdict mean."""

    prompt: str
    first: str
    second: str
    verdict: str
    ranks: Mapping[str, Ranks]

    def is_in(self, row: Mapping[str, Any]) -> bool:
        """True if a row has these columns; the prompt may have our name."""
        return {self.first, self.second, self.verdict} <= row.keys() and bool({self.prompt, "prompt"} & row.keys())


CHOICES = (
    Choice("history", "human_ref_A", "human_ref_B", "labels", {"1": FIRST, "0": SECOND}),  # Stanford's SHP
    Choice("context", "response1", "response2", "overall_preference", STRENGTH),  # HelpSteer3
    Choice("prompt", "response_0", "response_1", "better_response_id", {"0": FIRST, "1": SECOND}),  # PKU-SafeRLHF
    Choice("prompt", "response_a", "response_b", "winner", WINNER),  # Chatbot Arena, answers alone
)
TALKS = Choice("conversation_a", "conversation_a", "conversation_b", "winner", WINNER)
"""Chatbot Arena's conversations, which begin with the prompt."""
OURS = {"response", "responses", "chosen"}
"""Names of answers by which a row is read as it stands."""
SCORED = ("question", "answer_0", "answer_1", "score_0", "score_1")
"""WebGPT's comparisons."""


def as_ranked(row: Any) -> Any:
    """A row with a choice between two answers under our names; any other as it is. Raises `Unused` where nobody chose."""
    if not isinstance(row, dict) or OURS & row.keys():
        return row
    if TALKS.is_in(row):
        ranks = _ranks(row, TALKS)
        chosen, rejected = (TALKS.second, TALKS.first) if ranks == SECOND else (TALKS.first, TALKS.second)
        return {"chosen": row[chosen], "rejected": row[rejected], "status": "tie" if ranks == TIE else None}
    if {*SCORED} <= row.keys():
        prompt, *names = SCORED
        asked = row[prompt].get("full_text") if isinstance(row[prompt], dict) else row[prompt]
        return {"prompt": asked, "responses": [row[name] for name in names[:2]], "scores": [row[name] for name in names[2:]]}
    choice = next((choice for choice in CHOICES if choice.is_in(row)), None)
    if choice is None:
        return row
    prompt = row[choice.prompt if choice.prompt in row else "prompt"]
    return row | {"prompt": prompt, "responses": [row[choice.first], row[choice.second]], "ranks": [*_ranks(row, choice)]}


def _ranks(row: Mapping[str, Any], choice: Choice) -> Ranks:
    verdict = row[choice.verdict]
    known = choice.ranks.get(f"{verdict:g}" if isinstance(verdict, int | float) else str(verdict).strip().casefold())
    if known is None:
        raise Unused("unranked")
    return known
