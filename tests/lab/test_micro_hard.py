"""The harder micro world: criteria that hang together, people who overlook faults at stated rates, and its seed files."""

import random
from collections import Counter
from itertools import pairwise, permutations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfreward.lab import micro
from selfreward.lab.micro import hard, seeds, truth, world
from selfreward.lab.micro.base import JUDGE
from selfreward.lab.micro.controls import ASKED, HardOracle
from selfreward.recipe import load_recipe, shipped_recipes
from selfreward.records import Anchor, Example, Message, Prompt, Ranking, Request, Sampling, read_jsonl

SHIPPED = Path(micro.__file__).parent / "seed_hard"
LIST = "list five jobs from a to z including nurse and baker and pilot"
SORT = "sort these four words from z to a: nurse pear dog hammer"
PICK = "pick the three animals from a to z in dog nurse cat hammer pear goat"


def points(prompt, answer):
    """The points of an answer as a word: a letter for each criterion that is met."""
    _, met = hard.verdict(prompt, answer)
    return "".join(name[0] for name in truth.CRITERIA if met[name])


@pytest.mark.parametrize(
    ("prompt", "answer", "met"),
    [
        (LIST, "baker coach nurse pilot singer", "kuowc"),
        (LIST, "coach baker nurse pilot singer", "kuwc"),  # out of order
        (LIST, "baker nurse nurse pilot singer", "kwc"),  # said twice, so in no order either
        (LIST, "baker dog nurse pilot singer", "uow"),  # five words, of which one is no job: four jobs
        (LIST, "baker nurse pilot", "kuow"),
        (LIST, "dog", "uo"),
        (LIST, "", ""),
        (SORT, "pear nurse hammer dog", "kuowc"),
        (SORT, "pear nurse hammer hammer", "kc"),
        (SORT, "pear nurse hammer cat", "uo"),
        (PICK, "cat dog goat", "kuowc"),
        (PICK, "cat lion dog", "u"),  # as many as asked, but a lion was not given
    ],
)
def test_points_by_hand(prompt, answer, met):
    assert points(prompt, answer) == met


@pytest.mark.parametrize("text", ["", "what is a quark", "sort these three words from a to z: dog dog pear"])
def test_what_is_no_task_that_can_be_solved_has_no_truth(text):
    assert hard.verdict(text, "dog") is None


@given(st.integers(0, 2**32), st.sampled_from(world.TASK_KINDS))
def test_tasks_are_longer_can_be_solved_and_read_back_from_their_words(seed, kind):
    task = hard.sample_task(random.Random(seed), kind)
    assert task.solvable and world.read_task(task.text()) == task
    assert task.size in {"list": [6], "sort": [4, 5], "pick": [4]}[kind]
    assert len(task.given) in {"list": [3, 4], "sort": [task.size], "pick": [7, 8]}[kind]
    assert all(hard.check_criteria(task, world.write_answer(task, world.CAREFUL, random.Random(seed))).values())


class Fixed:
    """A source of chance that gives out the numbers that it is told."""

    def __init__(self, *numbers):
        self.numbers = list(numbers)

    def random(self):
        return self.numbers.pop(0)

    def choice(self, options):
        return options[-1]


def test_what_people_overlook_is_missing_from_their_notes_and_their_verdicts():
    task = world.read_task(LIST)
    words = ["coach", "baker", "dog", "baker"]
    assert truth.mark(task, words) == [[], ["asked", "back"], ["wrong"], ["again", "back"]]
    # asked, back of the second word; wrong of the third; again, back of the fourth; the count.
    asked, fault, below = hard.ASKED_OVERLOOKED, hard.OVERLOOKED, 1e-9
    noticed = Fixed(asked, fault, fault, fault, fault, 1.0)  # each number at its limit: nothing is overlooked
    assert hard.judge_as_people(task, words, noticed) == hard.judge(task, words)
    assert not noticed.numbers
    overlooked = Fixed(asked, fault - below, fault - below, fault - below, fault, hard.MISCOUNTED * 4 - below)
    assert hard.judge_as_people(task, words, overlooked) == (
        "coach fine baker asked dog fine baker back so kind yes 1 unique yes 2 order no 2 words no 2 count yes 3 score: 3"
    )
    assert hard.judge_as_people(task, words, Fixed(asked - below, *[1.0] * 5)).startswith("coach fine baker back dog wrong")


def test_people_err_as_often_as_is_stated():
    """Six words, each of which deserves one mark."""
    task, rng, runs = world.read_task("sort these three words from a to z: dog egg coach"), random.Random(1), 4000
    words = ["apple", "bread", "cat", "coach", "drill", "eagle"]
    marks = truth.mark(task, words)
    assert marks == [["wrong"], ["wrong"], ["wrong"], ["asked"], ["wrong"], ["wrong"]]
    fine = Counter()
    for _ in range(runs):
        said = hard.judge_as_people(task, words, rng).split()
        fine.update(word for word, mark in pairwise(said) if mark == "fine")
    for word in words:
        rate = hard.ASKED_OVERLOOKED if word == "coach" else hard.OVERLOOKED
        assert fine[word] / runs == pytest.approx(rate, abs=4 * (rate * (1 - rate) / runs) ** 0.5)


def test_people_miscount_as_often_as_is_stated():
    task, rng, runs = world.read_task(SORT), random.Random(2), 4000
    wrong = sum("count no" in hard.judge_as_people(task, ["pear", "nurse", "hammer", "dog"], rng) for _ in range(runs))
    rate = 4 * hard.MISCOUNTED
    assert wrong / runs == pytest.approx(rate, abs=4 * (rate * (1 - rate) / runs) ** 0.5)


def test_an_empty_answer_earns_nothing_from_people_either():
    assert hard.judge_as_people(world.read_task(SORT), [], random.Random(0)).endswith("count no 0 score: 0")


@pytest.mark.parametrize("answer", ["baker nurse nurse pilot singer", "Baker dog", "baker coach nurse pilot singer", ""])
def test_its_oracle_judges_by_its_truth(answer):
    sampling = Sampling(temperature=0, top_p=1, max_tokens=64)
    messages = (Message(role="user", content=JUDGE.format(prompt=LIST, response=answer)),)
    request = Request(about="a", index=0, messages=messages, sampling=sampling, seed=0, model="m")
    (completion,) = HardOracle().generate([request])
    assert completion.text.endswith(f"score: {sum(hard.verdict(LIST, answer)[1].values()):.0f}")


# ——— what ships ———


def test_the_seed_files_that_ship_are_the_ones_that_the_script_makes(tmp_path):
    seeds.make(tmp_path, seeds.KINDS["micro-hard"])
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {
        file.name: file.read_bytes() for file in SHIPPED.iterdir()
    }
    assert sum(file.stat().st_size for file in SHIPPED.iterdir()) < 400_000


def test_no_task_stands_in_two_places_and_all_are_of_this_world():
    tasks = [example.prompt for example in read_jsonl(SHIPPED / "ift.jsonl", Example)]
    tasks += [ASKED.fullmatch(example.prompt)[1] for example in read_jsonl(SHIPPED / "eft.jsonl", Example)]
    tasks += [prompt.text for prompt in read_jsonl(SHIPPED / "heldout_prompts.jsonl", Prompt)]
    tasks += [ranking.prompt for ranking in read_jsonl(SHIPPED / "heldout_rankings.jsonl", Ranking)]
    tasks += [anchor.prompt for anchor in read_jsonl(SHIPPED / "anchors.jsonl", Anchor)]
    assert len(set(tasks)) == len(tasks) and all(world.read_task(task).solvable for task in tasks)
    assert {world.read_task(task).kind for task in tasks} == set(world.TASK_KINDS)


def test_rankings_are_right():
    for ranking in read_jsonl(SHIPPED / "heldout_rankings.jsonl", Ranking):
        scores = [-sum(hard.verdict(ranking.prompt, answer)[1].values()) for answer in ranking.responses]
        assert [sorted(set(scores)).index(score) for score in scores] == list(ranking.ranks)


STATED = {"kind": 0.96, "unique": 0.94, "order": 0.94, "words": 0.97, "count": 0.94, "score": 0.78}
"""Share of people's verdicts in EFT that are right, and of their scores."""


def test_peoples_judgments_are_right_as_often_as_is_stated():
    right, judged = Counter(), read_jsonl(SHIPPED / "eft.jsonl", Example)
    for example in judged:
        _, met = hard.verdict(*ASKED.fullmatch(example.prompt).groups())
        right.update(name for name, holds in met.items() if f"{name} {'yes' if holds else 'no'} " in example.response)
        right["score"] += example.response.endswith(f"score: {sum(met.values()):.0f}")
    assert {name: count / len(judged) for name, count in right.items()} == pytest.approx(STATED, abs=0.005)


def test_an_anchor_has_one_right_answer():
    for anchor in read_jsonl(SHIPPED / "anchors.jsonl", Anchor)[:10]:
        task = world.read_task(anchor.prompt)
        right = [tried for tried in permutations(task.given) if all(hard.check_criteria(task, tried).values())]
        assert [" ".join(tried) for tried in right] == list(anchor.answers)


def test_its_recipe_names_its_files_its_truth_and_nothing_of_the_easy_world():
    recipe = load_recipe(shipped_recipes()["micro-hard"])
    easy = load_recipe(shipped_recipes()["micro"])
    assert recipe.measure.truth == "selfreward.lab.micro.hard:verdict" and recipe.base == easy.base
    assert Path(recipe.data.ift.path).parent == Path(recipe.drift.anchors).parent == SHIPPED
