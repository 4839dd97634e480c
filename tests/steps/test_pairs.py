"""Pairs: best against worst, and every prompt that gives none is counted with its reason."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfreward.records import Pair, Prompt, Response, preference_texts
from selfreward.steps import best_against_worst, choose_pairs

PROMPTS = [Prompt(text=f"prompt {n}", source="self") for n in range(3)]


def candidates(scores, prompt=PROMPTS[0], finish=None, texts=None):
    """Candidates for a prompt and their scores by id; None leaves one unscored."""
    made = [
        Response(
            prompt_id=prompt.id,
            model="m",
            index=n,
            text=texts[n] if texts else f"answer {n}",
            finish=finish[n] if finish else "stop",
        )
        for n in range(len(scores))
    ]
    return made, {response.id: score for response, score in zip(made, scores, strict=True) if score is not None}


def indices(scores, **candidate_fields):
    """(index of the chosen, of the rejected), or the reason that there is no pair."""
    responses, known = candidates(scores, **candidate_fields)
    pairs, dropped = choose_pairs(PROMPTS[:1], responses, known, best_against_worst)
    index = {response.id: response.index for response in responses}
    return (index[pairs[0].chosen_id], index[pairs[0].rejected_id]) if pairs else dropped[0].reason


def test_the_best_mean_is_chosen_over_the_worst():
    assert indices([3, 5, 1, 4]) == (1, 2)
    assert indices([4.5, 4.75]) == (1, 0)


def test_a_pair_carries_its_scores_and_a_content_id():
    responses, scores = candidates([2, 5])
    pair = choose_pairs(PROMPTS[:1], responses, scores, best_against_worst)[0][0]
    assert (pair.chosen_score, pair.rejected_score, pair.prompt_id) == (5, 2, PROMPTS[0].id)
    assert pair.id == Pair(**pair.model_dump(exclude={"id"})).id


@pytest.mark.parametrize(
    ("scores", "reason"),
    [
        ([3, 3, 3, 3], "tie"),
        ([0, 0], "tie"),
        ([None, None, None, None], "fewer_than_two_scored"),
        ([None, 5, None, None], "fewer_than_two_scored"),
        ([], "fewer_than_two_scored"),
    ],
)
def test_a_prompt_without_a_preference_is_dropped_with_its_reason(scores, reason):
    assert indices(scores) == reason


def scored_alone_count(pair_of):
    """`pair_of` four candidates' scores takes the scored ones only, and never one against itself."""
    assert pair_of([None, 2, 5, None]) == (2, 1)
    assert pair_of([3, 3, 3, 3]) == "tie"
    assert pair_of([None, 4, 4, None]) == "tie"
    assert pair_of([None, None, None, None]) == "fewer_than_two_scored"


def test_an_unscored_candidate_is_neither_chosen_nor_rejected():
    scored_alone_count(indices)


def minus_one(scores):
    """Oxen: a failed parse is −1, and the least is rejected; ties are skipped."""
    numbers = [-1 if score is None else score for score in scores]
    best, worst = numbers.index(max(numbers)), numbers.index(min(numbers))
    return (best, worst) if numbers[best] > numbers[worst] else "tie"


def ties_kept(scores):
    """Schauppi: the first maximum against the first minimum, which may be the same one."""
    numbers = [-1 if score is None else score for score in scores]
    return numbers.index(max(numbers)), numbers.index(min(numbers))


def first_on_tie(scores):
    """TRL: None is 0, and of two equals the first is chosen."""
    numbers = [score or 0 for score in scores]
    best = numbers.index(max(numbers))
    return best, min((n for n in range(len(numbers)) if n != best), key=lambda n: numbers[n])


@pytest.mark.parametrize("planted", [minus_one, ties_kept, first_on_tie])
def test_pair_builders_of_others_would_be_caught(planted):
    assert planted([3, 5, 1, 4]) == (1, 2)  # where nothing is odd they agree with us
    with pytest.raises(AssertionError):
        scored_alone_count(planted)


def test_a_candidate_that_ran_out_of_length_is_never_chosen_but_may_be_rejected():
    assert indices([5, 4, 1], finish=["length", "stop", "stop"]) == (1, 2)
    assert indices([5, 4, 1], finish=["stop", "stop", "length"]) == (0, 2)
    assert indices([5, 1], finish=["length", "length"]) == "all_ran_out_of_length"
    assert indices([5, 1], finish=["length", "stop"]) == "tie"  # the one that may be chosen is the worst itself


def test_a_candidate_that_was_not_generated_takes_no_part_whatever_its_score():
    assert indices([5, 0, 3], finish=["stop", "error", "stop"]) == (0, 2)
    assert indices([3, 5], finish=["stop", "error"]) == "fewer_than_two_scored"


def test_the_same_text_with_two_scores_is_no_preference():
    assert indices([5, 1], texts=["same", "same"]) == "same_text"


def test_among_equals_the_content_id_decides_and_not_length_or_position():
    decided = []
    for n in range(40):
        texts = [f"{n} short", f"{n} much, much longer", f"{n} middling"]
        best, _ = indices([5, 5, 1], texts=texts)
        decided.append(best)
        responses, _ = candidates([5, 5, 1], texts=texts)
        assert responses[best].id == max(response.id for response in responses[:2])
    assert 10 < sum(decided) < 30  # neither always the first nor always the longer


@given(st.lists(st.none() | st.sampled_from([0, 1, 2.5, 4, 5]), max_size=6), st.data())
def test_the_order_of_candidates_does_not_show(scores, data):
    finish = data.draw(st.lists(st.sampled_from(["stop", "length", "error"]), min_size=len(scores), max_size=len(scores)))
    responses, known = candidates(scores, finish=finish)
    shuffled = data.draw(st.permutations(responses))
    assert choose_pairs(PROMPTS[:1], shuffled, known, best_against_worst) == choose_pairs(
        PROMPTS[:1], responses, known, best_against_worst
    )


def test_a_tie_broken_by_position_would_be_caught():
    def planted(prompt_id, group):  # max and min keep the first of equals
        best, worst = max(group, key=lambda s: s[0]), min(group, key=lambda s: s[0])
        return Pair(
            prompt_id=prompt_id, chosen_id=best[1].id, rejected_id=worst[1].id, chosen_score=best[0], rejected_score=worst[0]
        )

    responses, known = candidates([5, 5, 1])
    orders = [choose_pairs(PROMPTS[:1], order, known, planted)[0] for order in (responses, responses[::-1])]
    assert orders[0] != orders[1]


GROUPS = st.lists(st.lists(st.none() | st.integers(0, 5), max_size=5), min_size=3, max_size=3)


@given(GROUPS)
def test_every_prompt_gives_a_true_preference_or_a_reason(groups):
    made = [candidates(scores, prompt) for scores, prompt in zip(groups, PROMPTS, strict=True)]
    responses = [response for group, _ in made for response in group]
    known = {name: score for _, scores in made for name, score in scores.items()}
    pairs, dropped = choose_pairs(PROMPTS, responses, known, best_against_worst)
    assert sorted([*(p.prompt_id for p in pairs), *(d.id for d in dropped)]) == sorted(prompt.id for prompt in PROMPTS)
    owner = {response.id: response.prompt_id for response in responses}
    for pair in pairs:
        assert pair.chosen_id != pair.rejected_id
        assert owner[pair.chosen_id] == owner[pair.rejected_id] == pair.prompt_id
        own = [known[name] for name in known if owner[name] == pair.prompt_id]
        assert (pair.chosen_score, pair.rejected_score) == (max(own), min(own))
        assert known[pair.chosen_id] == pair.chosen_score > pair.rejected_score == known[pair.rejected_id]
    assert all(drop.stage == "pairs" and drop.reason for drop in dropped)


def every_prompt_is_looked_at(choose):
    """A tie at one prompt, and one that is missing, change nothing for the prompts after it."""
    first, last = candidates([1, 5], PROMPTS[0]), candidates([2, 4], PROMPTS[2])
    middle = candidates([3, 3], PROMPTS[1])
    with_tie = choose([*first[0], *middle[0], *last[0]], first[1] | middle[1] | last[1])
    without = choose([*first[0], *last[0]], first[1] | last[1])
    assert [(pair.prompt_id, pair.chosen_id) for pair in with_tie] == [
        (PROMPTS[0].id, first[0][1].id),
        (PROMPTS[2].id, last[0][1].id),
    ]
    assert with_tie == without


def test_a_tie_or_a_missing_group_costs_its_own_prompt_and_no_other():
    every_prompt_is_looked_at(lambda responses, scores: choose_pairs(PROMPTS, responses, scores, best_against_worst)[0])


def test_stopping_at_a_tie_and_pairing_prompts_by_position_would_be_caught():
    def stopping(responses, scores):  # lucidrains: `break` at the first pair of equals
        made = []
        for prompt in PROMPTS:
            pairs, dropped = choose_pairs([prompt], responses, scores, best_against_worst)
            if dropped:
                break
            made += pairs
        return made

    def zipped(responses, scores):  # CREAM: keys zipped with a list that has skipped some
        groups = {response.prompt_id: [] for response in responses}
        for response in responses:
            groups[response.prompt_id].append((scores[response.id], response))
        return [
            pair for prompt, group in zip(PROMPTS, groups.values(), strict=False)
            if isinstance(pair := best_against_worst(prompt.id, group), Pair)
        ]  # fmt: skip

    for planted in (stopping, zipped):
        with pytest.raises(AssertionError):
            every_prompt_is_looked_at(planted)


def test_training_gets_the_texts_of_prompt_chosen_and_rejected():
    responses, scores = candidates([1, 5, 3], texts=["bad", "good", "so so"])
    pairs, _ = choose_pairs(PROMPTS, responses, scores, best_against_worst)
    assert preference_texts(pairs, PROMPTS, responses) == [("prompt 0", "good", "bad")]
