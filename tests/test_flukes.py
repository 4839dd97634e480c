"""Flukes."""

from selfreward.flukes import pair_outcomes
from selfreward.records import Judgment, Pair, Response


def judged(prompt, index, *scores):
    response = Response(prompt_id=prompt, model="m", index=index, text=f"{index}", finish="stop")
    said = [
        Judgment(response_id=response.id, judge="j", sample=k, rationale="", outcome="scored", score=s)
        for k, s in enumerate(scores)
    ]
    return response, said


def test_a_judge_that_always_says_the_same_makes_no_flukes():
    candidates = [judged("p", 0, 5, 5, 5), judged("p", 1, 1, 1, 1)]
    (best, _), (worst, _) = candidates
    pair = Pair(prompt_id="p", chosen_id=best.id, rejected_id=worst.id, chosen_score=5, rejected_score=1)
    found = pair_outcomes([pair], [best, worst], [one for _, said in candidates for one in said], 2)
    assert found[pair.id].same > 0.99 and abs(sum(found[pair.id]) - 1) < 1e-9
