"""Checks that prompts carry: by hand, on hostile text, and refused before a run where they cannot be made."""

import random
import time

import pytest

from selfreward.errors import SelfRewardError
from selfreward.recipe import SourceConfig
from selfreward.records import Anchor, Check, Instruction, Prompt, Response, share, to_line
from selfreward.steps import assert_checkable, check, check_all, fault_of, load_prompts


def answer(text, prompt_id="p", finish="stop"):
    return Response(prompt_id=prompt_id, model="m", index=0, text=text, finish=finish)


def checked(instruction, text):
    (one,) = check([instruction], "p", answer(text), 0)
    return one.strict if one.outcome == "checked" else one.reason


@pytest.mark.parametrize(("text", "held"), [
    ("42", True), ("So it is 42.", True), ("The answer is **42**", True), ("x =  42 !", True), ("42 apples", False),
    ("142", False), ("-42", False), ("3.42", False), ("1,42", False), ("", False), ("forty-two", False), (r"It is $42$.", True),
    (r"\(x = 42\)", True), (r"\[42\]", True), (r"\boxed{41}, no: \boxed{42}", True), (r"$\boxed{ 42 }$", True),
    (r"\boxed{\text{42}}", True), (r"\boxed{-42}", False), (r"-\boxed{42}", False), (r"\frac{1}{42}", False),
    (r"2^{42}", False), ("1/42", False), ("1 / 42", False), ("2^42", False), ("x_42", False), ("it is _42_", True),
    ("−42", False), ("3–42", False), ("答案是42。", True), ("答案是 42", True), ("42%", False), ("$42", True), ("- 42", True),
    ("1,142", False), ("f(x) = 42)", True), ("at 3:42", False), ("3 : 42", False), ("Answer 1: 42", True), ("√42", False),
    ("±42", False), ("5×42", False), ("5*42", False), ("10**42", False), ("5 + 42", False), ("5 x 42", False),
    (r"3\cdot 42", False),
    (r"\sqrt 42", False), ("≥42", False), ("≠ 42", False), ("x > 42", False), ("x<42", False), ("=> 42", True), ("→ 42", True),
    ("<b>42", True), ("x = 42", True), ("It is not 42.", False), ("It isn't **42**", False), ("不是42", True),
    ("why not? 42", True),
])  # fmt: skip
def test_a_known_answer_ends_the_text_as_a_word_of_its_own(text, held):
    assert checked(Instruction(answer="42"), text) is held


@pytest.mark.parametrize(("answer", "text", "held"), [
    ("1,234", "So 1234.", True), ("1234", "It costs $1,234.", True), ("1234567", r"1{,}234{,}567", True),
    ("234", "1,234", False), ("50%", r"about $50\%$", True), ("50%", "50 %", True), ("50%", "50", False),
    ("-5", "x = −5", True), ("(B)", "It is B.", True), ("$18", "18", True), (r"\frac{3}{5}", r"\boxed{\frac{3}{5}}", True),
    ("3/5", r"3/5", True), ("3/5", "13/5", False), ("北京", "首都是北京。", True), ("東京", "大阪", False),
    ("手机", "iPhone手机", True), ("café", "the cafe\u0301", True), ("!", "Go!", True), ("!", "Go.", False),
    ("[1, 2]", "[1, 2]", True), ("[1, 2)", "[1, 2]", False), ("(0,1]", "[0,1)", False), ("(0,1]", r"It is \((0, 1]\).", True),
    ("(1, 2)", "f(1,2)", False), ("(1,234)", "1234", True), ("5!", "5", False), ("5!", "It is 5!", True), ("5", "It is 5!", True),
    ("Yes!", "yes", True), ("2/3", "4 2/3", False), ("2/3", "x = 2/3", True), ("是", "不是", False), ("是", "答案：是。", True),
    ("valid", "not valid", False), ("valid", "That is valid.", True), ("[1, 2]", "[11, 2]", False),
    ("18 dollars", "It is 18  dollars", True),
])  # fmt: skip
def test_a_known_answer_is_the_same_in_other_marks_and_groups_of_digits(answer, text, held):
    assert checked(Instruction(answer=answer), text) is held


def test_case_and_white_space_of_a_known_answer_count_for_nothing():
    assert checked(Instruction(answer="New  York"), "I live in\nnew york.") is True


@pytest.mark.parametrize(("pattern", "text", "held"), [
    ("^dear", "Dear Sir", True), (r"\bsea\b", "by the SEA.", True), ("^dear", "Oh dear", False), ("a", "  \n", False),
])  # fmt: skip
def test_a_pattern_matches_somewhere_ignoring_case(pattern, text, held):
    assert checked(Instruction(pattern=pattern), text) is held


def test_a_pattern_that_goes_back_without_end_is_given_up_with_a_reason():
    started = time.monotonic()
    assert checked(Instruction(pattern=r"^(a|aa)+$"), "a" * 70 + "!") == "its pattern took more than 2 seconds"
    assert time.monotonic() - started < 20


def test_a_pattern_sees_the_first_twenty_thousand_characters():
    assert checked(Instruction(pattern="end"), " " * 19_996 + "xend") is True
    assert checked(Instruction(pattern="end"), "x" * 19_998 + "end") is False


def test_what_a_checker_draws_leaves_all_other_chance_as_it_was():
    random.seed(5)
    expected = random.random()
    random.seed(5)
    checked(Instruction(id="keywords:letter_frequency"), "some letters")
    assert random.random() == expected


def test_answers_are_checked_whose_prompt_carries_checks_and_that_did_not_fail():
    carrying = Prompt(text="Say it.", source="seed", checks=(Instruction(pattern="a"), Instruction(answer="b")))
    plain = Prompt(text="Say more.", source="seed")
    one, failed, other = answer("a", carrying.id), answer("", carrying.id, "error"), answer("a", plain.id)
    found = check_all([carrying, plain], [one, failed, other], 0)
    assert [(c.instruction, c.strict) for c in found[one.id]] == [("pattern", True), ("answer", False)]
    assert set(found) == {one.id} and share(found[one.id]) == 0.5


@pytest.mark.parametrize(("text", "comma", "known"), [
    ("<think>a, b</think> 42", True, True), ("<think>so it is 42", False, False), ("<think>42</think> no idea", True, False),
    ("I think: a, b </think> 42", False, True), ("use `<think>`, then 42", False, True),
])  # fmt: skip
def test_every_kind_of_check_sees_one_text_without_the_thought_that_it_begins_with(text, comma, known):
    checks = Instruction(id="punctuation:no_comma"), Instruction(pattern="42"), Instruction(answer="42")
    assert [checked(instruction, text) for instruction in checks] == [comma, known, known]


def test_a_thought_without_an_end_follows_nothing():
    carrying = Prompt(text="Say it.", source="seed", checks=(Instruction(id="punctuation:no_comma"), Instruction(pattern="a?")))
    unended = answer("", carrying.id, "truncated")
    assert [(c.outcome, c.strict) for c in check_all([carrying], [unended], 0)[unended.id]] == [("checked", False)] * 2


def test_a_share_is_known_where_every_check_is():
    def made(*verdicts):
        return [Check(response_id="r", instruction="i", outcome="checked", strict=verdict) for verdict in verdicts]

    assert share(made(True, False, True, True)) == 0.75
    assert share([*made(False), Check(response_id="r", instruction="i", outcome="unchecked", reason="x")]) is None
    assert share([]) is None


def test_checks_change_no_id_of_a_prompt_and_no_line_without_them():
    plain = Prompt(text="Say it.", source="seed")
    carrying = Prompt(text="Say it.", source="seed", checks=(Instruction(id="punctuation:no_comma"),))
    assert carrying.id == plain.id and "checks" not in to_line(plain)
    assert '"checks":[{"id":"punctuation:no_comma"}]' in to_line(carrying)
    assert Anchor(prompt="p", answers=("a",)).id == "c99286038fd33963"  # as before there were checks


@pytest.mark.parametrize(("given", "complaint"), [
    ({"id": "punctuation:no_coma"}, "checks.0.id: no checker knows 'punctuation:no_coma'. Did you mean punctuation:no_comma"),
    ({"id": "length_constraints:number_words", "kwargs": {"words": 3}},
     "checks.0.kwargs: length_constraints:number_words takes no 'words'. It takes num_words, relation"),
    ({"id": "length_constraints:number_words", "kwargs": {"num_words": "many", "relation": "less than"}},
     "checks.0.kwargs: length_constraints:number_words cannot work with"),
    ({"id": "length_constraints:number_words", "kwargs": {"num_words": 3, "relation": "around"}}, "checks.0.kwargs: length"),
    ({"id": "keywords:existence", "kwargs": {"keywords": 3}}, "checks.0.kwargs: keywords:existence cannot work with"),
    ({"id": "keywords:existence", "kwargs": {"keywords": "sea"}},
     "checks.0.kwargs: keywords:existence cannot work with {'keywords': 'sea'} (keywords must be a list). Put them right"),
    ({"id": "length_constraints:number_words", "kwargs": {"num_words": 3}},
     "checks.0.kwargs: length_constraints:number_words lacks relation. Give what the prompt asks for"),
    ({"id": "length_constraints:number_sentences"}, "checks.0.kwargs: length_constraints:number_sentences lacks num_sentences"),
    ({"id": "count:person_names", "kwargs": {"N": -1}},
     "checks.0.kwargs: count:person_names cannot work with {'N': -1} (out of range). Put them right"),
    ({"id": "ratio:stop_words", "kwargs": {"percentage": 101}}, "checks.0.kwargs: ratio:stop_words cannot work with {"),
    ({"id": "count:word_count_range", "kwargs": {"min_words": 9, "max_words": 8}}, "checks.0.kwargs: count:word_count"),
    ({"id": "words:keywords_specific_position", "kwargs": {"keyword": "a", "n": 0, "m": 1}}, "checks.0.kwargs: words:"),
    ({"id": "language:response_language", "kwargs": {"language": "German"}},
     "checks.0.kwargs: language:response_language cannot work with {'language': 'German'} (it knows no 'German'). Put them"),
])  # fmt: skip
def test_a_check_that_cannot_be_made_is_refused_with_its_line_and_field(tmp_path, given, complaint):
    file = tmp_path / "prompts.jsonl"
    good = Prompt(text="Say it.", source="seed", checks=(Instruction(id="punctuation:no_comma"),))
    bad = Prompt(text="Say more.", source="seed", checks=(Instruction.model_validate(given),))
    file.write_text(to_line(good) + "\n" + to_line(bad) + "\n")
    with pytest.raises(SelfRewardError) as error:
        assert_checkable(SourceConfig(path=str(file)))
    assert str(error.value).startswith(f"{file}:2: {complaint}") and "\n" not in str(error.value)


@pytest.mark.parametrize(("letter", "text", "held"), [
    ("#", "# a\n## b", True), ("#", "# y y y y", False), ("!", "Go! Go! Go!", True), ("!", "yyyy", False), ("Y", "yYy", True),
])  # fmt: skip
def test_a_mark_is_counted_like_a_letter_where_the_published_checker_draws_one(letter, text, held):
    kwargs = {"letter": letter, "let_frequency": 3, "let_relation": "at least"}
    assert checked(Instruction(id="keywords:letter_frequency", kwargs=kwargs), text) is held


@pytest.mark.parametrize(("start", "text", "held"), [(0, "The walls are", True), (1, "walls are", True), (0, "walls are", False)])
def test_a_span_may_begin_with_the_first_word(start, text, held):
    kwargs = {"prompt_to_repeat": "The walls are solid.", "n_start": start, "n_end": 3}
    assert checked(Instruction(id="repeat:repeat_span", kwargs=kwargs), text) is held


def test_no_argument_of_a_published_prompt_is_refused(reference):
    for name in ("ifeval_prompts", "ifbench_prompts"):
        for row in reference(name):
            for kind, kwargs in zip(row["instruction_id_list"], row["kwargs"], strict=True):
                assert fault_of(Instruction(id=kind, kwargs=kwargs)) is None, (kind, kwargs)


def test_empty_arguments_are_other_kinds_and_whole_numbers_are_whole():
    table = {"nth_paragraph": 1.0, "num_paragraphs": 2.0, "first_word": "a", "N": float("nan"), "keyword": None}
    given = Instruction(id="length_constraints:nth_paragraph_first_word", kwargs=table)
    assert given.kwargs == {"nth_paragraph": 1, "num_paragraphs": 2, "first_word": "a"} and fault_of(given) is None
    assert checked(given, "A b.\n\nC d.") is True
    assert Instruction.model_validate({"id": None, "kwargs": {"N": None}, "pattern": "a", "answer": None}).kwargs == {}
    assert Instruction.model_validate({"id": "punctuation:no_comma", "kwargs": None}).kwargs == {}
    assert Prompt.model_validate({"text": "Say it.", "source": "seed", "checks": None}).checks == ()


@pytest.mark.parametrize("checks", ['"all"', '[{"id": 3}]', '[{"pattern": "("}]', "[{}]", "[3]", "{", "null"])
def test_malformed_rows_are_left_to_whoever_loads_the_file(tmp_path, checks):
    file = tmp_path / "prompts.jsonl"
    file.write_text(f'{{"text": "Say it.", "source": "seed", "checks": {checks}}}\n[1]\n')
    assert_checkable(SourceConfig(path=str(file)))


@pytest.mark.parametrize(("checks", "complaint"), [
    ('[{"pattern": "("}]', "prompts.jsonl:1: checks.0.pattern: not a regular expression"),
    ('[{"id": "a", "answer": "b"}]', "prompts.jsonl:1: checks.0: give one of id, pattern and answer"),
    ('[{"answer": " "}]', "checks.0: answer is empty"),
    ('[{"pattern": ""}]', "checks.0: pattern is empty, and matches every"), ('[{"ids": "a"}]', "prompts.jsonl:1: checks.0.ids"),
])  # fmt: skip
def test_a_malformed_check_is_refused_with_its_line_and_field_when_it_is_loaded(tmp_path, checks, complaint):
    file = tmp_path / "prompts.jsonl"
    file.write_text(f'{{"text": "Say it.", "source": "seed", "checks": {checks}}}\n')
    with pytest.raises(SelfRewardError) as error:
        load_prompts(SourceConfig(path=str(file)), "heldout_prompts", 0)
    assert complaint in str(error.value) and "\n" not in str(error.value)
