"""The checkable world: what follows an instruction follows it by the checkers, judgments by hand, and the seeds that ship."""

import random
import re
from importlib.resources import files
from pathlib import Path

import pytest

from selfreward.lab.checkable.kinds import SEEN, UNSEEN
from selfreward.lab.checkable.seeds import ERRORS, World, draw, verdicts_on
from selfreward.lab.checkable.seeds import SEED as SEED_OF_ALL
from selfreward.lab.checkable.world import APART, BEST, Rule, Task, judgment, sample_task, varied
from selfreward.recipe import load_recipe
from selfreward.records import Example, Prompt, Ranking, read_jsonl
from selfreward.steps import Grader, known_checkers

TEXT = "The sea is wide, and old. It gives us fish and a lot of joy. People like it, for it is blue."
SEED = Path(str(files("selfreward") / "lab" / "checkable" / "seed"))
KINDS = {kind.id: kind for kind in (*SEEN, *UNSEEN)}


def rows(name, kind):
    return read_jsonl(SEED / f"{name}.jsonl", kind)


@pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
def test_a_text_is_changed_into_one_that_follows_an_instruction_and_into_one_that_does_not(kind):
    rng = random.Random(kind.id)
    for _ in range(40):
        arguments = kind.draw(rng)
        task = Task("p", (Rule(kind, arguments),))
        assert verdicts_on(task, kind.follow(TEXT, arguments, rng)) == [True]
        assert verdicts_on(task, kind.breach(TEXT, arguments, rng)) == [False]


def test_a_task_names_its_instructions_in_its_words_and_as_checks():
    rng = random.Random(0)
    for task in (sample_task(rng) for _ in range(50)):
        asked = [check.id for check in task.prompt.checks]
        assert asked == [kind.id for kind, _ in task.rules] and len(set(asked)) == len(asked) <= 3
        assert not any(len(apart & set(asked)) > 1 for apart in APART)
        for _, arguments in task.rules:
            for word in (arguments.get("keywords") or arguments.get("forbidden_words") or [])[:2]:
                assert re.search(rf"\b{word}\b", task.text)


def test_a_judgment_walks_through_the_instructions_and_ends_in_their_share():
    task = Task(
        "p", (Rule(KINDS["punctuation:no_comma"], {}), Rule(KINDS["startend:end_checker"], {"end_phrase": "That is all."}))
    )
    said = judgment(task, "It is wide, and old. That is all.", [False, True])
    assert said == (
        '1. no commas: "wide," has one, no\n2. ends with "That is all.": the last words are "old. That is all.", yes\nScore: 3'
    )
    assert judgment(task, "x", [True, True]).endswith(f"Score: {BEST}") and judgment(task, "x", [False] * 2).endswith("Score: 0")


@pytest.mark.parametrize(
    ("kind", "arguments", "text", "says"),
    [
        ("change_case:english_lowercase", {}, "the sea. Blue Sea", '"Blue" has a capital'),
        ("change_case:english_lowercase", {}, "the sea, 7", "no capital"),
        ("change_case:english_capital", {}, "THE 7 seas", '"seas" has a small letter'),
        ("change_case:english_capital", {}, "THE 7", "no small letter"),
        ("startend:quotation", {}, '"The sea\nis blue"', 'from "The to blue"'),
        ("startend:quotation", {}, " ", "from  to "),
        ("keywords:existence", {"keywords": ["sea", "owl"]}, "A deep\nSea, and a seal", 'sea: "deep Sea, and", owl: none'),
        ("keywords:forbidden_words", {"forbidden_words": ["the", "is"]}, "The end", 'the: "The end", is: none'),
        ("length_constraints:number_words", {"num_words": 15}, "one, two three", "3 words"),
        ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* The sea\n- it\n* *", "1 The, 2 it, 3 -"),
        ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "The * sea", "no bullet"),
    ],
)  # fmt: skip
def test_a_careful_readers_remark_quotes_what_it_goes_by(kind, arguments, text, says):
    assert KINDS[kind].note(text, arguments) == says


def test_varied_texts_follow_about_half_of_what_is_asked():
    rng, held = random.Random(1), []
    for _ in range(200):
        task = sample_task(rng)
        held += verdicts_on(task, varied(task, TEXT, rng))
    assert 0.35 < sum(held) / len(held) < 0.65


def test_no_seed_asks_for_a_kind_that_is_held_out_and_held_out_prompts_do():
    unseen = {kind.id for kind in UNSEEN}
    asked = {check.id for prompt in rows("prompts", Prompt) for check in prompt.checks}
    assert asked == {kind.id for kind in SEEN} and not asked & unseen
    heldout = [{check.id for check in prompt.checks} for prompt in rows("heldout_prompts", Prompt)]
    assert sum(kinds <= unseen for kinds in heldout) == sum(bool(kinds & unseen) for kinds in heldout) == len(heldout) // 3
    assert set().union(*heldout) <= set(known_checkers())


def test_no_prompt_is_in_two_seeds():
    texts = [prompt.text for name in ("prompts", "heldout_prompts") for prompt in rows(name, Prompt)]
    texts += [ranking.prompt for ranking in rows("heldout_rankings", Ranking)]
    texts += {example.prompt for example in rows("ift", Example)}
    assert len(texts) == len(set(texts))


def test_the_seeds_are_those_that_the_script_draws():
    drawn = draw(World(random.Random(SEED_OF_ALL)))
    assert [task.prompt for task in drawn.prompts] == rows("prompts", Prompt)
    assert [task.prompt for task in drawn.heldout] == rows("heldout_prompts", Prompt)
    by_text = {task.text: task for task in (*drawn.ift, *drawn.judged)}
    examples = rows("ift", Example)
    assert sum(example.prompt in {task.text for task in drawn.ift} for example in examples) == 31
    for example in examples:
        assert all(verdicts_on(by_text[example.prompt], example.response))
    for ranking in rows("heldout_rankings", Ranking):
        task = next(task for task in drawn.ranked if task.text == ranking.prompt)
        followed = [-sum(verdicts_on(task, text)) for text in ranking.responses]
        assert [sorted(set(followed)).index(count) for count in followed] == list(ranking.ranks)


def test_verdicts_in_eft_are_the_checkers_but_for_the_errors_that_are_stated():
    tasks, wrong, all_ = draw(World(random.Random(SEED_OF_ALL))).judged, 0, 0
    for example in rows("eft", Example):
        task = next(task for task in tasks if f"<task> {task.text.replace('<', '&lt;')} </task>" in example.prompt)
        text = example.prompt.split("<response> ", 1)[1].removesuffix(" </response>")
        said = re.findall(r", (yes|no)$", example.response, re.MULTILINE)
        held = verdicts_on(task, text)
        assert judgment(task, text, [one == "yes" for one in said]) == example.response
        wrong, all_ = wrong + sum((one == "yes") != true for one, true in zip(said, held, strict=True)), all_ + len(held)
    assert 0.01 < wrong / all_ < 0.05


def test_judgments_in_eft_are_read_and_err_about_as_often_as_is_said():
    grader = Grader(load_recipe("smollm2-checkable").judge)
    verdicts = []
    for example in rows("eft", Example):
        outcome, score = grader.parse(example.response)
        said = re.findall(r", (yes|no)$", example.response, re.MULTILINE)
        assert outcome == "scored" and score == BEST * said.count("yes") // len(said)
        verdicts += said
    assert len(verdicts) > 400 and 0.35 < verdicts.count("yes") / len(verdicts) < 0.65 and ERRORS == 0.03


def test_rankings_are_ranked_apart():
    assert all(len(set(ranking.ranks)) > 1 and min(ranking.ranks) == 0 for ranking in rows("heldout_rankings", Ranking))
