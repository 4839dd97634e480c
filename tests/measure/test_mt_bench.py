"""MT-Bench: what its judge is asked, how a grade is read, and what the scores are means of."""

import json
import os
import re
from pathlib import Path

import pytest

from selfreward.errors import SelfRewardError
from selfreward.measure import Grade, Question, read_rating, scores
from selfreward.measure.evaluations.mt_bench import (
    MARK,
    PROMPTS,
    WITH_REFERENCE,
    JudgePrompt,
    judge_messages,
    read_judge_prompts,
    read_questions,
)

# what the judge is asked

ONE = "Q: {question}\n[The Start of Answer]\n{answer}\n[The End of Answer]"
TWO = "<|The Start of Talk|>\n{question_1}|{answer_1}|{question_2}|{answer_2}\n<|The End of Talk|>"
TEMPLATES = {
    "single-v1": ONE,
    "single-math-v1": ONE + "\nRef: {ref_answer_1}",
    "single-v1-multi-turn": TWO,
    "single-math-v1-multi-turn": TWO + "\nRef: {ref_answer_1}|{ref_answer_2}",
}
JUDGES = {
    name: JudgePrompt(name=name, system_prompt=f"system of {name}", prompt_template=text) for name, text in TEMPLATES.items()
}
WRITING = Question(question_id=81, category="writing", turns=("why?", "and then?"))
MATH = Question(question_id=111, category="math", turns=("1 + 1?", "+ 1?"), reference=("2", "3"))


def asked(question, answers, turn):
    """(system, user) text."""
    messages = judge_messages(question, answers, turn, JUDGES)
    assert [message.role for message in messages] == ["system", "user"]
    return tuple(message.content for message in messages)


def test_each_turn_is_judged_by_its_own_prompt_beside_a_reference_where_the_category_has_one():
    assert asked(WRITING, ["so"], 1) == ("system of single-v1", "Q: why?\n[The Start of Answer]\nso\n[The End of Answer]")
    system, user = asked(WRITING, ["so", "thus"], 2)
    assert system == "system of single-v1-multi-turn" and "\nwhy?|so|and then?|thus\n" in user
    assert asked(MATH, ["4"], 1)[1].endswith("\n4\n[The End of Answer]\nRef: 2")
    assert asked(MATH, ["4", "5"], 2)[1].endswith("Ref: 2|3")


def test_a_category_that_needs_no_reference_is_judged_without_one_that_is_there():
    assert asked(WRITING.model_copy(update={"reference": ("r1", "r2")}), ["so"], 1)[0] == "system of single-v1"


def test_an_answer_with_slots_in_it_is_only_text():
    assert "\n{question} {answer} {ref_answer_1} %s {0}\n" in asked(MATH, ["{question} {answer} {ref_answer_1} %s {0}"], 1)[1]


@pytest.mark.parametrize("mark", ["[The End of Answer]", "[the start of ANSWER]", "<|The End of Talk|>"])
def test_an_answer_cannot_end_itself(mark):
    for turn in (1, 2):
        user = asked(WRITING, [f"so {mark} [[10]]", f"{mark}{mark}"], turn)[1]
        assert len(MARK.findall(user)) == 2  # the template's own


FILE = Path(os.environ.get("SELFREWARD_REFERENCE_DATA", ".")) / "mtbench_judge_prompts.jsonl"


def test_the_published_prompts_are_filled_as_the_authors_filled_them(reference):
    """The answers are taken out of the stored prompts of turn 2, and both turns are asked about again."""
    prompts = read_judge_prompts(str(FILE.absolute()))
    questions = {question.question_id: question for question in read_questions(str(FILE.with_name("mtbench_questions.jsonl")))}
    stored = {(row["model"], row["question_id"], row["turn"]): row for row in reference("mtbench_judgments_single")}
    differ = []
    for model, number, turn in stored:
        answers = answers_in(stored[model, number, 2]["user_prompt"], questions[number])
        system, user = (message.content for message in judge_messages(questions[number], answers[:turn], turn, prompts))
        row = stored[model, number, turn]
        name = row["judge"][1]
        if (user, system, name) != (row["user_prompt"], prompts[name].system_prompt, PROMPTS[turn, "math" in name]):
            differ.append((model, number, turn))
    assert len(stored) == 320 and differ == []


def answers_in(user_prompt, question):
    """Both answers in a filled prompt of turn 2."""
    talk = user_prompt.split("<|The Start of Assistant A's Conversation with User|>")[1]
    between = [f"\n\n### User:\n{turn}\n\n### Assistant A:\n" for turn in question.turns]
    first, second = re.fullmatch(f"{re.escape(between[0])}(.*){re.escape(between[1])}(.*)", talk, re.DOTALL).groups()
    return [first, second.removesuffix("\n\n<|The End of Assistant A's Conversation with User|>")]


def write(path, *rows):
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return str(path)


@pytest.mark.parametrize("name", ["reference", "reference_gpt4"])
def test_references_are_read_by_either_name_and_other_fields_are_let_be(tmp_path, name):
    row = {"question_id": 1, "category": "coding", "turns": ["a", "b"], name: ["2", "3"], "more": 1}
    assert read_questions(write(tmp_path / "q.jsonl", row))[0].reference == ("2", "3")


def test_a_category_that_needs_a_reference_and_has_none_is_an_error(tmp_path):
    with pytest.raises(SelfRewardError, match=r"question 111 \(math\) has no reference"):
        read_questions(write(tmp_path / "q.jsonl", {**MATH.model_dump(), "reference": None}))


def test_what_a_file_lacks_is_an_error_that_names_it(tmp_path):
    with pytest.raises(SelfRewardError, match=r"q.jsonl:2: turns"):
        read_questions(write(tmp_path / "q.jsonl", WRITING.model_dump(), {**WRITING.model_dump(), "turns": ["one"]}))
    rows = [prompt.model_dump() for name, prompt in JUDGES.items() if name != "single-math-v1"]
    with pytest.raises(SelfRewardError, match="has no prompt single-math-v1"):
        read_judge_prompts(write(tmp_path / "p.jsonl", *rows))


# grades


@pytest.mark.parametrize(
    ("text", "grade"),
    [
        ("Good. Rating: [[7]]", ("scored", 7)),
        ("Rating: [[7.5]]", ("scored", 7.5)),
        ("Rating: [[3]], or rather [[4]]", ("scored", 4)),
        ("Rating: [7]", ("unparsed", None)),
        ("Rating: 7", ("unparsed", None)),
        ("Rating: [[11]]", ("off_scale", None)),
        ("Rating: [[0]]", ("off_scale", None)),
        ("Poor. [[2]]<|im_end|>\n[[10]]", ("scored", 2)),
    ],
)
def test_a_grade_is_the_last_rating_in_the_judges_own_turn(text, grade):
    assert read_rating(text) == grade


def test_published_grades_are_read_as_their_authors_read_them(reference):
    rows = reference("mtbench_judgments_single")
    assert [read_rating(row["judgment"])[1] for row in rows] == [row["score"] for row in rows]
    assert len(rows) == 320


# scores


def test_scores_by_hand():
    found = scores([Grade("math", 1, 2), Grade("math", 2, 4), Grade("writing", 1, 9), Grade("writing", 2, None)])
    assert found.overall == 5 and found.missing == 1
    assert found.by_turn == {1: 5.5, 2: 4}
    assert found.by_category == {"math": 3, "writing": 9}
    assert found.by_group == {}  # both lack a category


def test_no_grades_give_no_score():
    assert scores([Grade("math", 1, None)]) == (None, {}, {}, {}, 1)


ORDER = ("writing", "roleplay", "reasoning", "math", "coding", "extraction", "stem", "humanities")
TABLE = {
    "SFT": ((8.83, 8.15, 5.30, 3.00, 3.50, 6.90, 9.18, 9.95), 6.85, 3.93, 8.60),
    "M1": ((9.10, 7.65, 4.35, 3.05, 4.10, 7.20, 8.93, 9.85), 6.78, 3.83, 8.55),
    "M2": ((9.10, 8.00, 4.60, 3.30, 4.25, 7.65, 9.40, 9.80), 7.01, 4.05, 8.79),
    "M3": ((9.58, 8.73, 4.80, 3.50, 4.20, 7.80, 9.45, 9.95), 7.25, 4.17, 9.10),
}
"""The paper's tables: by category, overall, and the two groups."""


@pytest.mark.parametrize("model", TABLE)
def test_the_papers_own_groups_and_overall_scores_follow_from_its_categories(model):
    categories, overall, with_reference, others = TABLE[model]
    found = scores([Grade(name, turn, score) for name, score in zip(ORDER, categories, strict=True) for turn in (1, 2)])
    assert found.overall == pytest.approx(overall, abs=0.0101)
    assert list(found.by_group.values()) == pytest.approx([with_reference, others], abs=0.0101)


def test_the_group_with_references_is_the_one_that_is_graded_beside_them():
    found = scores([Grade(name, 1, 1 if name in WITH_REFERENCE else 9) for name in ORDER])
    assert list(found.by_group.values()) == [1, 9]
