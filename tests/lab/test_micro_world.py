"""The micro world: tasks in words, what an answer to one is worth, and who answers how well."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfreward.lab.micro.truth import CRITERIA, check_criteria, judge, verdict, walk
from selfreward.lab.micro.world import (
    ANNOTATORS,
    CAREFUL,
    CARELESS,
    KIND_OF,
    STRAYS,
    TASK_KINDS,
    WEB,
    WORDS,
    Habits,
    Task,
    read_task,
    sample_task,
    write_answer,
)
from selfreward.recipe import JudgeConfig
from selfreward.steps import Grader

SEEDS = st.integers(0, 2**32)
KINDS = st.sampled_from(TASK_KINDS)
LIST = "list four jobs from a to z including nurse and baker"
SORT = "sort these four words from z to a: nurse pear dog hammer"
PICK = "pick the two animals from a to z in dog nurse cat hammer pear"


def task(seed, kind=None):
    return sample_task(random.Random(seed), kind)


def points(prompt, answer):
    """The points of an answer as a word: a letter for each criterion that is met."""
    _, met = verdict(prompt, answer)
    return "".join(name[0] for name in CRITERIA if met[name])


def test_the_three_kinds_of_task_as_the_module_words_them():
    assert read_task(LIST) == Task("list", 4, False, ("nurse", "baker"), "jobs")
    assert read_task(SORT) == Task("sort", 4, True, ("nurse", "pear", "dog", "hammer"))
    assert read_task(PICK) == Task("pick", 2, False, ("dog", "nurse", "cat", "hammer", "pear"), "animals")
    assert read_task(PICK).asked == {"dog", "cat"} == read_task(PICK).allowed


@given(SEEDS, KINDS)
def test_a_task_reads_back_from_its_words_and_can_be_solved(seed, kind):
    made = task(seed, kind)
    assert made.kind == kind and made.solvable
    assert read_task(made.text()) == made
    assert read_task(f"  {made.text().upper().replace(' ', '  ')} ") == made


@pytest.mark.parametrize(
    "text",
    [
        "",
        "list seven jobs from a to z including nurse",
        "list four jobs including nurse",
        "list four jobs from a to b including nurse",
        "list four jobs from a to z including",
        "sort these four words from z to a nurse pear",
        "pick the two animals from a to z",
        "please list four jobs from a to z including nurse",
        "list four jobs from a to z including nurse. Score: 5",
    ],
)
def test_words_that_are_no_task_of_the_family_have_no_truth(text):
    assert read_task(text) is None and verdict(text, "nurse baker") is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("list two jobs from a to z including nurse and baker and pilot", "more words than it wants"),
        ("list four jobs from a to z including nurse and dog", "a word of another kind"),
        ("list four planets from a to z including mars", "no such kind"),
        ("sort these four words from a to z: nurse pear", "fewer words than it says"),
        ("sort these three words from a to z: dog dog pear", "a word twice"),
        ("pick the three animals from a to z in dog nurse cat", "fewer than it wants"),
    ],
)
def test_a_task_that_contradicts_itself_is_known_to_be_unsolvable(text, why):
    assert not read_task(text).solvable, why


@pytest.mark.parametrize(
    ("prompt", "answer", "met"),
    [
        (LIST, "baker coach nurse pilot", "kuowc"),
        (LIST, "coach baker nurse pilot", "kuwc"),  # out of order
        (LIST, "baker coach pilot singer", "kuoc"),  # nurse was asked for
        (LIST, "baker nurse pilot", "kuow"),  # three of four
        (LIST, "baker coach nurse nurse", "kowc"),  # twice, which is no step back
        (LIST, "baker dog nurse pilot", "uowc"),  # a dog is no job
        (LIST, "dog", "uo"),
        (LIST, "zebra zebra apple", ""),
        (LIST, "", ""),
        (LIST, "   ", ""),
        (LIST, "Baker COACH nurse  pilot", "kuowc"),
        (LIST, "baker, coach, nurse, pilot", "uoc"),  # `baker,` is another word
        (LIST, "baker coach nurse pilot Score: 5", "uw"),  # its own score is two more words, of no kind and out of order
        (SORT, "pear nurse hammer dog", "kuowc"),
        (SORT, "dog hammer nurse pear", "kuwc"),
        (SORT, "pear nurse hammer", "kuo"),
        (SORT, "tiger pear nurse hammer dog", "uow"),
        (PICK, "cat dog", "kuowc"),
        (PICK, "dog cat", "kuwc"),
        (PICK, "cat lion", "uoc"),  # an animal, but not one of those given
    ],
)
def test_points_by_hand(prompt, answer, met):
    assert points(prompt, answer) == met


def test_a_verdict_is_on_the_scale_of_the_papers_rubric():
    kind, met = verdict(LIST, "baker coach nurse pilot")
    assert kind == "list" and tuple(met) == CRITERIA and sum(met.values()) == 5.0


@given(SEEDS, KINDS)
def test_a_careful_author_earns_every_point(seed, kind):
    made = task(seed, kind)
    assert all(check_criteria(made, write_answer(made, CAREFUL, random.Random(seed))).values())


HABITS = {
    "unsorted": {"order"},
    "forgetful": {"words"},
    "off_kind": {"kind"},
    "repeating": {"unique"},
    "miscounting": {"count"},
}


@pytest.mark.parametrize(("habit", "meant"), HABITS.items())
def test_each_bad_habit_costs_the_point_that_it_is_meant_to(habit, meant):
    bad = Habits(**{name: float(name == habit) for name in HABITS})
    rng = random.Random(0)
    lost = dict.fromkeys(CRITERIA, 0)
    for _ in range(300):
        made = sample_task(rng)
        for name, met in check_criteria(made, write_answer(made, bad, rng)).items():
            lost[name] += not met
    assert max(lost, key=lambda name: lost[name]) in meant and all(lost[name] > 150 for name in meant)


@given(SEEDS, KINDS, st.sampled_from([WEB, ANNOTATORS, CARELESS]))
def test_whatever_the_habits_an_answer_is_of_known_words_and_its_judgment_adds_up(seed, kind, habits):
    made = task(seed, kind)
    words = write_answer(made, habits, random.Random(seed))
    assert set(words) <= set(KIND_OF)
    total = sum(check_criteria(made, words).values())
    told = judge(made, words)
    assert told.startswith(walk(made, words)) and told.endswith(f" {total} score: {total}")
    assert sum(verdict(made.text(), " ".join(words))[1].values()) == total


@given(SEEDS)
def test_the_loops_parser_reads_a_faultless_judgment_as_the_truth(seed):
    made = task(seed)
    words = write_answer(made, CARELESS, random.Random(seed))
    assert Grader(JudgeConfig()).parse(judge(made, words)) == ("scored", sum(check_criteria(made, words).values()))
    assert Grader(JudgeConfig()).parse(judge(made, words, score=False)) == ("unparsed", None)
    assert Grader(JudgeConfig()).parse(judge(made, words, tally=False, score=False)) == ("unparsed", None)


def test_the_walk_says_at_each_word_what_is_wrong_with_it():
    made = read_task(LIST)
    assert walk(made, ["coach", "baker", "dog", "baker", "nurse"]) == (
        "coach fine baker asked back dog wrong baker again back nurse asked so"
    )
    assert judge(made, ["baker", "nurse"]) == (
        "baker asked nurse asked so kind yes 1 unique yes 2 order yes 3 words yes 4 count no 4 score: 4"
    )


@given(SEEDS, KINDS)
def test_what_the_walk_marks_is_what_the_criteria_count(seed, kind):
    made = task(seed, kind)
    words = write_answer(made, CARELESS, random.Random(seed + 1))
    said, met = walk(made, words).split(), check_criteria(made, words)
    if words:
        assert ("wrong" in said) != met["kind"]
        assert ("again" in said) != met["unique"]
        assert ("back" in said) != met["order"]
        assert (said.count("asked") == len(made.asked)) == met["words"]


def test_the_words_are_sixty_in_five_kinds_and_every_stray_is_of_another_kind():
    assert len(KIND_OF) == sum(map(len, WORDS.values())) == 60
    assert all(KIND_OF[stray] != kind for kind, stray in STRAYS.items()) and set(STRAYS) == set(WORDS)
    marks = {"fine", "wrong", "again", "asked", "back", "so", "yes", "no", "score", *CRITERIA}
    assert not marks & set(KIND_OF)  # no answer can be mistaken for a mark in the walk


def test_tasks_of_every_kind_come_up():
    rng = random.Random(0)
    assert {sample_task(rng).kind for _ in range(60)} == set(TASK_KINDS)
