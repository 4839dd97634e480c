"""Votes: a response is as good as the share of its prompt's candidates that come to the same answer (ScPO, arXiv 2411.04109)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from itertools import groupby

from selfreward.recipe import JudgeConfig
from selfreward.records import Dropped, Response, Vote
from selfreward.steps.known_answers import form_of
from selfreward.steps.pairs import Decided

NO_MAJORITY = "no_majority"
"""The reason why a prompt has no pair though its candidates came to several answers."""


def count_votes(responses: Iterable[Response], config: JudgeConfig) -> tuple[list[Vote], list[Dropped]]:
    """The votes for each response's answer; responses without an answer, or that did not end, are dropped.

    Responses to a prompt stand together. Answers are compared in the form of `form_of`.
    """
    votes, dropped = [], []
    pattern = re.compile(config.answer, re.IGNORECASE) if config.answer else None
    for _, group in groupby(responses, lambda response: response.prompt_id):
        answers = [(response, _answer(response, pattern)) for response in group]
        count = Counter(answer for _, answer in answers if answer)
        for response, answer in answers:
            if answer:
                votes.append(Vote(response_id=response.id, answer=answer, votes=count[answer], of=len(answers)))
            else:
                reason = "no_answer" if response.finish == "stop" else "did_not_end"
                dropped.append(Dropped(id=response.id, stage="votes", reason=reason))
    return votes, dropped


def _answer(response: Response, pattern: re.Pattern[str] | None) -> str:
    """The answer in a response, in the form that is compared; empty where there is none."""
    if response.finish != "stop":
        return ""
    last = [*pattern.finditer(response.text)][-1:] if pattern else []
    text = (last[0][1] or "" if last else "") if pattern else response.text
    return form_of(text)


def by_majority(decided: Decided, majority: float) -> Decided:
    """The pairs whose chosen response has enough of the votes, each weighted by its lead; and the dropped ones."""
    pairs, dropped = decided
    kept = [pair for pair in pairs if pair.chosen_score >= majority]
    minorities = [Dropped(id=pair.prompt_id, stage="pairs", reason=NO_MAJORITY) for pair in pairs if pair.chosen_score < majority]
    return [pair.model_copy(update={"weight": pair.chosen_score - pair.rejected_score}) for pair in kept], [*dropped, *minorities]
