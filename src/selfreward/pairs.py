"""Preference pairs from scored candidates (paper, section 2.2, step 4). Pure: the same scores give the same pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby

from selfreward.records import Dropped, Pair, Preference, Prompt, Response

Scored = tuple[float, Response]
Policy = Callable[[str, list[Scored]], "Pair | str"]
"""(prompt id, its scored candidates, two at least) → the pair, or the reason against having one."""
TOO_FEW = "fewer_than_two_scored"


def choose_pairs(
    prompts: Iterable[Prompt], responses: Iterable[Response], scores: Mapping[str, float], policy: Policy
) -> tuple[list[Pair], list[Dropped]]:
    """One pair for each prompt that `policy` finds one for; every other prompt, with the reason.

    `scores`: mean score by response id; a response that is not in it could not be scored and takes no part, nor does
    one that was not generated at all: no failure of an engine is learned from. Responses to a prompt stand together in
    `responses`, as they were planned, and only so many are in memory at once. Raises `ValueError` where they do not.
    """
    decided: dict[str, Pair | str] = {}
    for prompt_id, candidates in groupby(responses, lambda response: response.prompt_id):
        if prompt_id in decided:
            raise ValueError(f"the responses to prompt {prompt_id} do not stand together")
        group = [(scores[response.id], response) for response in candidates if response.id in scores and response.answered]
        decided[prompt_id] = policy(prompt_id, group) if len(group) >= 2 else TOO_FEW
    pairs, dropped = [], []
    for prompt in prompts:
        made = decided.get(prompt.id, TOO_FEW)
        if isinstance(made, Pair):
            pairs.append(made)
        else:
            dropped.append(Dropped(id=prompt.id, stage="pairs", reason=made))
    return pairs, dropped


def best_against_worst(prompt_id: str, group: list[Scored]) -> Pair | str:
    """Highest mean score against lowest. Among equals the content id decides: never position, never length.

    An answer that ran out of length is never chosen.
    """
    whole = [scored for scored in group if scored[1].finish == "stop"]
    if not whole:
        return "all_ran_out_of_length"
    best = max(whole, key=lambda scored: (scored[0], scored[1].id))
    worst = min(group, key=lambda scored: (scored[0], scored[1].id))
    return _preference(prompt_id, best, worst)


def shortest_of_the_best(prompt_id: str, group: list[Scored], rho: float) -> Pair | str:
    """The shortest of the good responses against the longest of the bad: Meta-Rewarding's length rule (arXiv 2407.19594).

    Good are scores within `rho` (0 to 1) of the way down from the highest to the lowest, bad those within as much of the way up.
    Length is in characters, and among equals the content id decides. An answer that ran out of length is never chosen, and the
    highest score is that of another.
    """
    whole = [scored for scored in group if scored[1].finish == "stop"]
    if not whole:
        return "all_ran_out_of_length"
    highest, lowest = max(score for score, _ in whole), min(score for score, _ in group)
    near = rho * (highest - lowest)
    good, bad = ([s for s in whole if s[0] >= highest - near], [s for s in group if s[0] <= lowest + near])
    best = min(good, key=lambda scored: (len(scored[1].text), scored[1].id))
    worst = max(bad, key=lambda scored: (len(scored[1].text), scored[1].id))
    return _preference(prompt_id, best, worst)


def _preference(prompt_id: str, best: Scored, worst: Scored) -> Pair | str:
    """The pair of the two, or why they are none."""
    if best[0] <= worst[0]:
        return "tie"
    if best[1].text == worst[1].text:
        return "same_text"
    return Pair(prompt_id=prompt_id, chosen_id=best[1].id, rejected_id=worst[1].id, chosen_score=best[0], rejected_score=worst[0])


def half_a_point_apart(prompt_id: str, group: list[Scored]) -> Pair | str:
    """As `best_against_worst`, but no pair where the two are less than half a point apart: expected scores are never equal."""
    made = best_against_worst(prompt_id, group)
    return made if isinstance(made, str) or made.chosen_score - made.rejected_score >= 0.5 else "too_near"


def in_pairs(pairs: Iterable[Pair]) -> set[str]:
    """Ids of the responses that are in one of `pairs`."""
    return {one for pair in pairs for one in (pair.chosen_id, pair.rejected_id)}


def texts_in(pairs: Iterable[Pair], responses: Iterable[Response]) -> dict[str, str]:
    """Text by id of those of `responses` that are in one of `pairs`."""
    wanted = in_pairs(pairs)
    return {response.id: response.text for response in responses if response.id in wanted}


def preference_texts(
    pairs: Sequence[Pair], prompts: Iterable[Prompt], responses: Iterable[Response]
) -> list[tuple[str, str, str]]:
    """(prompt, chosen, rejected) as text, for training."""
    asked = {prompt.id: prompt.text for prompt in prompts}
    said = texts_in(pairs, responses)
    return [(asked[pair.prompt_id], said[pair.chosen_id], said[pair.rejected_id]) for pair in pairs]


def preferences_of(pairs: Sequence[Pair], prompts: Iterable[Prompt], responses: Iterable[Response]) -> list[Preference]:
    """(prompt, chosen, rejected) for training: of responses whose sampled ids are known those, of others the text."""
    asked, wanted = {prompt.id: prompt.text for prompt in prompts}, in_pairs(pairs)
    said = {one.id: one.text if one.ids is None else one.ids for one in responses if one.id in wanted}
    return [(asked[pair.prompt_id], said[pair.chosen_id], said[pair.rejected_id]) for pair in pairs]
