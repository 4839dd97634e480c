"""Verdicts as judges of many tongues write them: each value worked out by hand from the rules of docs/parsing.md."""

import json
import time

import pytest
from pydantic import ValidationError

from selfreward.recipe import JudgeConfig, PairwiseConfig
from selfreward.records import Checkpoint, Completion, Prompt, Request, Response, Sampling, Watched
from selfreward.steps import Grader, PairwiseJudge, own_turn
from selfreward.steps.json_verdicts import read_json

MODEL = Checkpoint(name="M1", path="m1", fingerprint="f1")
PROMPT = Prompt(text="name a bird", source="seed")
ANSWER = Response(prompt_id=PROMPT.id, model="f1", index=0, text="a heron", finish="stop")
OTHER = Response(prompt_id=PROMPT.id, model="f1", index=1, text="a wren", finish="stop")
PAPERS, JSON = Grader(JudgeConfig()), Grader(JudgeConfig(form="json"))


def completion(request, text, finish="stop", watched=()):
    return Completion(request_id=request.id, text=text, finish=finish, prompt_tokens=1, completion_tokens=1, watched=watched)


def read(text, judge=PAPERS, finish="stop", watched=()):
    """The score, or the name of why there is none."""
    request = judge.plan([(PROMPT.text, ANSWER)], MODEL, seed=0)[0]
    judgment = judge.read(request, completion(request, text, finish, watched))
    assert judgment.rationale == text
    return judgment.outcome if judgment.score is None else judgment.score


NUMBERS = {
    "Score: 4\n\nJustification for the score:\n\n1. It is relevant.": 4,
    "Score: 4\n\nJustification for the score:\n1) It is relevant.\n2) It is clear.": 4,
    "Score: 4\n\nReasons for this score:\n\n* 1 point for relevance": 4,
    "Score: 4\n\nHow I got this score:\n\n3 points are for form.": 4,
    "Score: 4\n\nJustification for the score: 1. It is relevant. 2. It is clear.": 4,
    "Score: 4\n\nJustification for the score: 1) It is relevant.\n2) It is clear.": 4,
    "Score:\n\n**4**": 4,
    "Score:\n4/5": 4,
    "Score:\n4.": 4,
    "Score:\n4 points": 4,
    "Score:\r\n4\r\n": 4,
    "Score: 2 at first.\nScore:\n3-4": "unparsed",
    "Score: 1 (relevance) + 1 (coverage) + 1 (use) = 3": 3,
    "Score: 1 (relevance) + 1 (coverage) + 1 (use)": "unparsed",
    "Score: 1 point for relevance + 1 point for coverage = 2 points": 2,
    "Score: 1 point for relevance + 1 point for coverage": "unparsed",
    "Score: 1 (relevance)\n+ 1 (coverage)\n+ 1 (use)\n= 3": 3,
    "Score: 1 (relevance)\n+ 1 (coverage)": "unparsed",
    "Score: 1+1+1+0+0 = **3**/5": 3,
    "Score: 1 + 1 = 2/10": "off_scale",
    "Score: 2 + 2 + 2 = 6": "off_scale",
    "Score: 1 + 1 + 1 = 4": "unparsed",
    "Score: 1 + 1 = 2 + 1": "unparsed",
    "Score: 5 - 1 = 4": 4,
    "Score: 5 − 1 (an error) = 4": 4,
    "Score: 5 - 1": "unparsed",
    "Score: 0,5 + 1 = 1,5": 1.5,
    "Score: 1 plus 1 equals 2": 2,
    "Score: 1＋1＝2": 2,
    "Score: 1 + 1 + 1 → 3": 3,
    "Score: 4 (1 + 1 + 1 + 1)": 4,
    "Score: 4 (1 for relevance, 3 for depth)": 4,
    "Score: 1 (relevance), 1 (coverage), 1 (use)": "unparsed",
    "Score: 1 for relevance, 1 for coverage": "unparsed",
    "Score: 4 von 10": "off_scale",
    "Score: 4 (max. 10)": "off_scale",
    "Score: 4 sur 10": "off_scale",
    "Score: 4 de 10": "off_scale",
    "Score: 4 out of 10": "off_scale",
    "Score: 4/10": "off_scale",
    "Score: 4 из 10": "off_scale",
    "Score: 10点中4点": "off_scale",
    "Score: 10分中的4分": "off_scale",
    "Score: 4分（满分10分）": "off_scale",
    "Score: 4点（10点満点）": "off_scale",
    "Score: 4, 满分10分": "off_scale",
    "Score: 5点中4点": 4,
    "Score: 5点満点中4点": 4,
    "Score: 4分（满分5分）": 4,
    "Score: 10점 만점에 4점": "off_scale",
    "Score: 5점 만점에 4점": 4,
    "Score: 4점 (10점 만점)": "off_scale",
    "Score: 10 में से 4": "off_scale",
    "Score: 5 में से 4": 4,
    "Score: 4 من 10": "off_scale",
    "Score: 4 من أصل 10": "off_scale",
    "Score: 4 su 10": "off_scale",
    "Score: 4 em 10": "off_scale",
    "Score: 4 dari 10": "off_scale",
    "Score: 10 üzerinden 4": "off_scale",
    "Score: 4 trên 10": "off_scale",
    "Score: 4 van de 10": "off_scale",
    "Score: 4 of 5": 4,
    "Score: 4 von 5": 4,
    "Score: 4 sur 5": 4,
    "Score: 4 de 5 estrellas": 4,
    "Score: 4 из 5": 4,
    "Score: 4 Punkte von 10": "off_scale",
    "Score: 4 Punkte von maximal 10": "off_scale",
    "Score: 4 von möglichen 10 Punkten": "off_scale",
    "Score: 4 балла из 10": "off_scale",
    "Score: 4 étoiles sur 10": "off_scale",
    "Score: 4 estrellas de un máximo de 10": "off_scale",
    "Score: 4 pontos de 10": "off_scale",
    "Score: 4 auf einer Skala von 1 bis 10": "off_scale",
    "Score: 4 on a scale of 1 to 10": "off_scale",
    "Score: 4 on a scale of 0-5": 4,
    "Score: 4 on a 10-point scale": "off_scale",
    "Score: 4 sur une échelle de 1 à 10": "off_scale",
    "Score: 4 en una escala de 1 a 10": "off_scale",
    "Score: 4 по шкале от 1 до 10": "off_scale",
    "Score: 4 (scale: 1-10)": "off_scale",
    "Score: 4 (1-10)": "off_scale",
    "Score: 4 (0–5)": 4,
    "Score: 4 auf einer 10-Punkte-Skala": "off_scale",
    "Score: 4 по 10-балльной шкале": "off_scale",
    "Score: 4分（10分制）": "off_scale",
    "Score: 4 (maximum: 10)": "off_scale",
    "Score: 4 (10 max)": "off_scale",
    "Score: 4 (max 5)": 4,
    "Score: 4 (макс. 10)": "off_scale",
    "Score: 4 (máx. 10)": "off_scale",
    "Score: 4 (maximum 10 points)": "off_scale",
    "Score: 4 out of ten": "off_scale",
    "Score: 4 von zehn": "off_scale",
    "Score: 4 out of five": 4,
    "Score: 4 sur dix": "off_scale",
    "Score: 4 из десяти": "off_scale",
    "Score: 4%": "off_scale",
    "Score: 80 %": "off_scale",
    "Score: 4 percent": "off_scale",
    "Score: 4 Prozent": "off_scale",
    "Score: 4％": "off_scale",
    "Score: 4 pour cent": "off_scale",
    "Score: 3 bis 4": "unparsed",
    "Score: 3 to 4": "unparsed",
    "Score: 3-4": "unparsed",
    "Score: 3 à 4": "unparsed",
    "Score: entre 3 y 4": "unparsed",
    "Score: 3～4": "unparsed",
    "Score: 3〜4": "unparsed",
    "Score: 3 a 4": "unparsed",
    "Score: 3 oder 4": "unparsed",
    "Score: 3 ou 4": "unparsed",
    "Score: 3 o 4": "unparsed",
    "Score: 3 или 4": "unparsed",
    "Score: от 3 до 4": "unparsed",
    "Score: 3 до 4": "unparsed",
    "Score: 3到4": "unparsed",
    "Score: 3至4分": "unparsed",
    "Score: 3分到4分": "unparsed",
    "Score: 3か4": "unparsed",
    "Score: 3点から4点": "unparsed",
    "Score: 3에서 4": "unparsed",
    "Score: 3 또는 4": "unparsed",
    "Score: 3 से 4": "unparsed",
    "Score: 3 إلى 4": "unparsed",
    "Score: 3 sampai 4": "unparsed",
    "Score: 3 tot 4": "unparsed",
    "Score: 3 veya 4": "unparsed",
    "Score: 3 points to 4 points": "unparsed",
    "Score: 3 Punkte bis 4 Punkte": "unparsed",
    "Score: 3, maybe 4": "unparsed",
    "Score: 3 or even 4": "unparsed",
    "Score: 3 to four": "unparsed",
    "Score: 3 or a 4": "unparsed",
    "Score: 4 : 5": "unparsed",
    "Score: 4: 5": "unparsed",
    "Score: 4 ：5": "unparsed",
    "Score: 4 and a half": "unparsed",
    "Score: 4 et demi": "unparsed",
    "Score: 4 y media": "unparsed",
    "Score: 4 с половиной": "unparsed",
    "Score: 4点半": "unparsed",
    "Score: 4 point 5": "unparsed",
    "Score: 4点5分": "unparsed",
    "Score: 4 Komma 5": "unparsed",
    "Score: 4+": "unparsed",
    "Score: 4th": "unparsed",
    "Score: 4 (a 2-star answer would name none)": 4,
    "Score: 4 on an average of the criteria": 4,
    "Score: 4 over 2 paragraphs": 4,
    "Score: 4 do 5": "unparsed",
    "Score: 4\n\nReason for the score:\n\n1) a": 4,
    "Score: 4\n\nReason for the score:\n\n1. 2 birds": 4,
    "Score: 1 [relevance] + 1 [coverage] = 2": 2,
    "Score: 4 - 1 = 3/5": 3,
    "Score: 2 + 1.5 = 3.5 out of 5": 3.5,
    "Score: 3 = 1 + 1 + 1": 3,
    "Score: 3 (vielleicht 4)": "unparsed",
    "Score: 3 bis 4 von 5": "unparsed",
    "Score: 3/5 bis 4/5": "unparsed",
    "Score: 4 (10 being the best)": "off_scale",
    "Score: 4 (5 is the maximum)": 4,
    "Score: ４／１０": "off_scale",
    "Score: 4分/10分": "off_scale",
    "Score: 4⭐ / 5": 4,
    "Score: 4 or so": 4,
    "Score: 4 to be fair": 4,
    "Score: 3 y 4": "unparsed",
    "Score: 3 и 4": "unparsed",
    "Score: 3 e 4": "unparsed",
    "Score: 1 for relevance plus 1 for coverage makes 2": 2,
    "Score: 4º": "unparsed",
    "Score: 4/5/2024": "unparsed",
    "Score: 4 times 2": "unparsed",
    "Score: 4 x 2": "unparsed",
    "Score: ４": 4,
    "Score: 4,5": 4.5,
    "Score: 4,5 von 5": 4.5,
    "Score: ٤": 4,
    "Score: 4.5/5": 4.5,
    "Score: 4.5/10": "off_scale",
    "Score: -1": "off_scale",
    "Score: −1": "unparsed",
    "Score: **4**": 4,
    "**Score: 4**": 4,
    "Score: 4 because of 10 errors": 4,
    "Score: 4 points. 3 for form": 4,
    "Score: 4 Punkte, weil es hilft": 4,
    "Score: 4 de manera clara": 4,
    "Score: 4 a good answer": 4,
    "Score: 4 - one of the best": 4,
    "Score: 4 et rien d'autre": 4,
    "Score: 4 (maximum clarity)": 4,
    "Score: 4, a 5-star answer": 4,
    "Score: 4分": 4,
    "Score: 4点": 4,
    "Score: 4 out of 5 points possible": 4,
    "Score: 4, 一方で短い": 4,
    "Score: 4 on relevance": 4,
    "Score: 4 over all": 4,
    "Score: 4 for clarity and depth": 4,
    "Score: 4 (excellent), with 2 minor flaws": 4,
    "Score: 4 because it names 3 birds": 4,
    "Score: 4 since A+ style": 4,
}
THOUGHTS = {
    "<think>So far Score: 1": "truncated",
    "<think>So far Score: 1</think>Score: 4": 4,
    "<think>\nUser: said\n</think>\nScore: 4": 4,
    "So far Score: 1</think>Score: 4": 4,
    "hm\nUser: said Score: 1\n</think>Score: 4": 4,
    "<think>Score: 1</think>": "unparsed",
    "<think>a<|im_end|> b</think>Score: 4": 4,
    "Score: 2<|im_end|>\n<|im_start|>assistant\n<think>x</think>Score: 5": 2,
    "Score: 2\nUser: x\n<think>x</think>Score: 5": 2,
    "<think>a</think>Score: 1</think>Score: 4": 4,
    "<thinking>Score: 1</thinking>Score: 4": 4,
    "[THINK]Score: 1[/THINK]Score: 4": 4,
    "Score: 4 <think>or Score: 1": "truncated",
    "<THINK>Score: 1</THINK>Score: 4": 4,
    "<|channel|>analysis<|message|>Score: 1<|end|><|start|>assistant<|channel|>final<|message|>Score: 4": 4,
    "◁think▷Score: 1◁/think▷Score: 4": 4,
    "<think>a<|im_end|>\n<|im_start|>user\n<think>b</think>Score: 5": "truncated",
    "The tag `<think>` is open. Score: 3": 3,
    "<think></think>\n\nAssistant: Score: 4": 4,
    "<think>x</think>Score: 4\nUser: y\nScore: 5": 4,
}
ROLES = {
    "Gut. Score: 2\nAntwort: ja\nScore: 5": 2,
    "好。Score: 2\n回答：好\nScore: 5": 2,
    "Score: 2\nRéponse : oui\nScore: 5": 2,
    "Score: 2\n用户：再来\nScore: 5": 2,
    "Score: 2\nОтвет: да\nScore: 5": 2,
    "回答：好。Score: 4": 4,
    "\n\n回答：好。Score: 4": 4,
    "Score: 2\nBenutzer: x\nScore: 5": 2,
    "Score: 2\nユーザー：x\nScore: 5": 2,
    "- Antwort: gut\nScore: 4": 4,
    "Die Antwort: gut.\nScore: 4": 4,
    "Let me go over it.\n\n### User:\nname a bird\n\n### Assistant:\na heron\n\nIt fits. Score: 4": 4,
    "Over it:\n### User: asks for a bird\n### Assistant: names one\nScore: 4": 4,
    "It fits.\n### User: and?\n### Assistant: Score: 5": "unparsed",
    "Score: 2\n### User: and?\nScore: 5": 2,
    "Hm.\n> User: a bird\n> Assistant: a heron\n\nScore: 4": 4,
    "Hm.\n```\nUser: a bird\nAssistant: a heron\n```\nScore: 4": 4,
    "It ends with `<|im_end|>`, odd. Score: 3": 3,
    "It fits.\n### Assistant:\nScore: 5": "unparsed",
}


@pytest.mark.parametrize("text", NUMBERS)
def test_a_number_is_read_as_the_rules_say_in_any_language(text):
    assert read(text) == NUMBERS[text]


@pytest.mark.parametrize("text", THOUGHTS)
def test_a_verdict_is_sought_behind_the_last_closed_thought_and_never_in_one(text):
    assert read(text) == THOUGHTS[text]


@pytest.mark.parametrize("text", ROLES)
def test_roles_in_other_languages_end_a_turn_and_roles_that_are_quoted_end_none(text):
    assert read(text) == ROLES[text]


def test_a_scale_of_ten_or_a_hundred_is_named_in_the_same_words():
    ten = Grader(JudgeConfig(scale=(0, 10)))
    hundred = Grader(JudgeConfig(scale=(0, 100)))
    assert [
        read(text, ten) for text in ("Score: 4 von 10", "Score: 10点中4点", "Score: 4 (max. 10)", "Score: 10점 만점에 4점")
    ] == [4] * 4
    assert [read(text, ten) for text in ("Score: 4/5", "Score: 4 von 5", "Score: 5点中4点")] == ["off_scale"] * 3
    assert [read(text, hundred) for text in ("Score: 80%", "Score: 80 Prozent", "Score: 80/100")] == [80] * 3


def test_there_is_one_zero():
    assert str(read("Score: -0")) == "0.0"


def test_a_number_of_one_that_is_no_list_is_a_score():
    assert read("Score: 1. It is off the point.") == 1
    assert read("Score: 1. Of 2 birds it names none.") == 1


def test_an_expected_score_is_that_of_the_place_behind_the_thought_and_of_a_sums_total():
    judge = Grader(JudgeConfig(read="expected"))
    even = {"3": -1.0, "4": -1.0}
    thought = "<think>Score: 1</think>"
    watched = [Watched(at=14, logprobs={"1": 0.0}), Watched(at=len(thought) + 7, logprobs=even)]
    assert read(f"{thought}Score: 3", judge, watched=watched) == 3.5
    assert read("Score: 2 + 1 = 3", judge, watched=[Watched(at=7, logprobs={"2": 0.0}), Watched(at=15, logprobs=even)]) == 3.5


def test_a_verdict_in_a_text_that_ran_out_behind_a_thought_is_truncated_and_one_before_a_forged_turn_is_not():
    assert read("<think>x</think>Score: 4", finish="length") == "truncated"
    assert read("<think>x</think>Score: 4<|im_end|>\nand", finish="length") == 4
    assert read("<think>x</think>Score: 4", finish="error") == "error"


def test_what_is_learnt_of_a_judgment_is_its_own_turn_without_the_thought():
    assert PAPERS.own_turn("<think>Score: 1</think>It fits. Score: 4\nUser: and?") == "It fits. Score: 4"
    walk = "Over it:\n### User: a bird\n### Assistant: a heron\nScore: 4"
    assert PAPERS.own_turn(walk) == walk and own_turn(walk) == "Over it:"  # a writer of prompts quotes nothing


# JSON

OBJECTS = {
    '{"score": 4}': 4,
    '{"reasons": "it fits", "score": 4.5}': 4.5,
    'Here it is:\n```json\n{"score": 4}\n```\nThat is all.': 4,
    '{"score": 1}\nNo:\n{"score": 4}': 4,
    '{"Score": 4}': 4,
    '{"score": "4"}': 4,
    '{"score": " 4/5"}': 4,
    '{"score": "4 von 5"}': 4,
    '{"score": "4/10"}': "off_scale",
    '{"score": "3-4"}': "unparsed",
    '{"score": "1 + 1 = 2"}': 2,
    '{"score": "good"}': "unparsed",
    '{"score": "about 4"}': "unparsed",
    '{"score": 9}': "off_scale",
    '{"score": -1}': "off_scale",
    '{"score": 1e400}': "off_scale",
    '{"score": NaN}': "unparsed",
    '{"score": Infinity}': "unparsed",
    '{"score": true}': "unparsed",
    '{"score": null}': "unparsed",
    '{"score": [4]}': "unparsed",
    '{"score": {"score": 4}}': "unparsed",
    '{"result": {"score": 4}}': "unparsed",
    '{"example": {"score": 1}, "score": 4}': 4,
    '{"example": {"score": 1}, "score": 4,}': "unparsed",
    '{"score": 4,}': "unparsed",
    '{"score": 1} {"score": 4,}': "unparsed",
    '{"score": 4,} Once more: {"score": 3}': 3,
    "{'score': 4}": "unparsed",
    "{\"score\": 1}\n{'score': 4}": "unparsed",
    '{"score": 1}\n{score: 4}': "unparsed",
    '{"score": 4, "score": 1}': "unparsed",
    '{"score": 4, "Score": 1}': "unparsed",
    '{"score": 4': "unparsed",
    '{"score": 4} {"note": "done"}': "unparsed",
    '{"reasons": "I first wrote {\\"score\\": 1}", "score": 4}': 4,
    'The set {a, b} fits. {"score": 4} So \\boxed{4}.': 4,
    '{{"score": 4}}': 4,
    '[{"score": 1}, {"score": 4}]': 4,
    "Score: 4": "unparsed",
    "": "unparsed",
    "{}": "unparsed",
    '<think>{"score": 1}</think>{"score": 4}': 4,
    '<think>{"score": 1}': "truncated",
    '{"score": 4}\nUser: and?\n{"score": 5}': 4,
    '{"score": 4}<|im_end|>{"score": 5}': 4,
    '{"score": ' + "9" * 5000 + "}": "unparsed",
}


@pytest.mark.parametrize("text", OBJECTS, ids=lambda text: text[:40])
def test_the_last_object_of_the_own_turn_is_the_verdict(text):
    assert read(text, JSON) == OBJECTS[text]


def test_the_field_is_the_recipes_and_the_schema_has_it_and_the_scale():
    judge = Grader(JudgeConfig(form="json", field="rating", scale=(1, 10)))
    assert read('{"score": 4, "rating": 10}', judge) == 10 and read('{"rating": 0}', judge) == "off_scale"
    request = judge.plan([(PROMPT.text, ANSWER)], MODEL, seed=0)[0]
    told = json.loads(request.json_schema)
    assert told["properties"]["rating"] == {"type": "number", "minimum": 1, "maximum": 10}
    assert [*told["properties"]] == told["required"] == ["reasons", "rating"]  # reasons first: a score follows from them
    assert told["additionalProperties"] is False


def test_a_request_without_a_schema_keeps_the_id_and_the_line_that_it_had_and_one_with_a_schema_has_its_own():
    sampling = Sampling(temperature=0.7, top_p=0.9, max_tokens=64)
    old = Request.user_turn("r", 0, "judge this", sampling, MODEL, 0)
    new = Request.user_turn("r", 0, "judge this", sampling, MODEL, 0, json_schema="{}")
    assert old.id == "66aa54ba9d899fe7"  # as before there was the field
    assert "json_schema" not in old.model_dump() and new.id != old.id and new.model_dump()["json_schema"] == "{}"
    assert Request.model_validate(new.model_dump()) == new
    assert PAPERS.plan([(PROMPT.text, ANSWER)], MODEL, seed=0)[0].json_schema is None


def test_the_form_is_text_where_nothing_is_said_and_then_it_is_written_down_nowhere():
    assert {"form", "field"} & JudgeConfig().model_dump().keys() == set()
    assert PAPERS.reading == [JudgeConfig().pattern, 0, 5, "sampled"] and JSON.reading[4:] == ["json", "score"]


def test_a_judge_that_answers_in_json_is_asked_for_it():
    assert '"score"' in JSON.rubric.text and "Score:" not in JSON.rubric.text
    assert JudgeConfig.model_validate(JudgeConfig(form="json").model_dump()) == JudgeConfig(form="json")


# what can never be understood


@pytest.mark.parametrize(
    "pattern",
    ["(nothing)", "score: (good|bad)", r"(?!score: (\d))", r"score: (\d/5)", r"score: (1[1-9])", r"score: ([A-E])", "score:()"],
)
def test_a_pattern_whose_group_is_never_a_number_of_the_scale_is_refused(pattern):
    with pytest.raises(ValidationError, match="pattern can never give a score"):
        JudgeConfig(pattern=pattern)


@pytest.mark.parametrize(
    "pattern",
    [r"score: (\d)", r"(?P<n>\d\.\d\d)", r"[(](\d)[)]", r"(?x) score: \s (\d+) # (the score)", r"((?<=: )\d)",
     r"score:(\d)?", r"\((\S+)\)", r"(?:a|b)(?=x)?([1-3],5)"],
)  # fmt: skip
def test_a_pattern_that_may_give_a_score_is_taken(pattern):
    assert JudgeConfig(pattern=pattern).pattern == pattern


def test_what_can_be_understood_depends_on_the_scale():
    assert JudgeConfig(pattern=r"score: (1\d)", scale=(0, 10)).scale == (0, 10)
    with pytest.raises(ValidationError, match="no number from 0 to 9"):
        JudgeConfig(pattern=r"score: (1\d)", scale=(0, 9))


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"pattern": r"\[\[([ABC])\]\]"}, "can never name 'first'"),
        ({"pattern": "verdict: (first)"}, "can never name 'second'"),
        ({"pattern": r"(?!(first|second))"}, "can never name 'first'"),
        ({"labels": ("A", "[a]", "C")}, "three that differ"),
        ({"labels": ("A", "B", "**")}, "three that differ"),
        ({"labels": ("A", "B")}, "labels"),
    ],
)
def test_labels_and_patterns_of_which_nothing_can_come_are_refused(fields, why):
    with pytest.raises(ValidationError, match=why):
        PairwiseConfig(**fields)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"form": "json", "read": "expected"}, 'needs form = "text"'),
        ({"field": "rating"}, 'form = "json"'),
        ({"form": "json", "field": ""}, "field must be"),
        ({"form": "json", "field": "reasons"}, "field must be"),
    ],
)
def test_fields_that_nothing_reads_are_refused(fields, why):
    with pytest.raises(ValidationError, match=why):
        JudgeConfig(**fields)


# labels

ABC = ("[[A]]", "[[B]]", "[[C]]")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"labels": ABC}, ["So [[A]]", "[[a]] no, [[B]]", "[[C]]", "A"]),
        ({"labels": ("A", "B", "C"), "pattern": r"\[\[([ABC])\]\]"}, ["[[A]]", "[[B]]", "[[C]]", "[[D]]"]),
        ({"labels": ABC, "pattern": r"\[\[(\w)\]\]"}, ["[[A]]", "[[b]]", "[[C]]", "[[D]]"]),
        (
            {"labels": ("Response A", "Response B", "Tie")},
            ["Verdict: Response A", "**Verdict:** [response  B]", "verdict: tie.", "Verdict: Response AB"],
        ),
        (
            {"labels": ("Assistant 1", "Assistant 2", "neither")},
            ["Verdict: **Assistant 1**", "Verdict: assistant 2", "Verdict: Neither", "Verdict: Assistant 12"],
        ),
        ({"labels": ("答案一", "答案二", "平局")}, ["Verdict: 答案一", "Verdict: 答案二", "Verdict: 平局", "Verdict: 答案"]),
        ({"labels": ("[[A>B]]", "[[B>A]]", "[[A=B]]")}, ["[[A>B]]", "[[B>A]]", "[[A=B]]", "[[A>>B]]"]),
        ({}, ["Verdict: first", "Verdict: second", "Verdict: tie", "Verdict: third"]),
        (
            {},
            [
                "Verdict: first\n\nReasons for the verdict:\n\nSecond, it rhymes.",
                "Verdict:\nSecond\n",
                "Verdict:\n**tie**",
                "Verdict:\nFirst, it",
            ],
        ),
    ],
)  # fmt: skip
def test_three_labels_of_your_own_name_the_first_the_second_and_a_tie(fields, said):
    judge = PairwiseJudge(PairwiseConfig(**fields))
    request = judge.plan([(PROMPT, ANSWER, OTHER)], MODEL, seed=0)[0]
    assert [judge.read(request, completion(request, text)).winner for text in said] == ["first", "second", "tie", None]


def test_a_quoted_role_before_a_pairwise_verdict_does_not_hide_it_nor_does_a_thought():
    judge = PairwiseJudge(PairwiseConfig(labels=ABC))
    request = judge.plan([(PROMPT, ANSWER, OTHER)], MODEL, seed=0)[0]
    walk = "Over it:\n\n### User:\nname a bird\n\n### Assistant A:\na heron\n\nIt fits. [[A]]"
    assert judge.read(request, completion(request, walk)).winner == "first"
    assert judge.read(request, completion(request, f"<think>\nUser: [[B]]\n</think>{walk}\n\n### User:\n[[B]]")).winner == "first"
    assert judge.read(request, completion(request, "<think>[[B]]")).outcome == "truncated"


def test_labels_are_part_of_how_a_verdict_is_read_and_of_nothing_where_they_are_the_usual():
    assert PairwiseJudge(PairwiseConfig()).reading == [PairwiseConfig().pattern] and "labels" not in PairwiseConfig().model_dump()
    assert PairwiseJudge(PairwiseConfig(labels=ABC)).reading[1] == [*ABC]
    assert PairwiseConfig.model_validate(PairwiseConfig(labels=ABC).model_dump()) == PairwiseConfig(labels=ABC)


# hostile lengths

LONG = 100_000
RUNS = [
    "1 ", "1. ", "1, ", "+ 1 ", "(a) + 1 ", "(a", "a ", "of the ", "scale of ", "max ", "to a ", "maybe ", "score:\n1. a ",
    "score: ", "\n### User:", "\n> User: Score: 4 ", "\n```\nUser:", "<think>", "</think>", "<think></think>",
    "\nUser:</think>", "`<|a|>`", "<|", '{"', '{"score":', '{"score": 4}', '{"score": 4,}', "{ score ", '\\"', "for a 1 ",
    "[(", "\n", "分", "満点", "\nantwort ",
]  # fmt: skip


@pytest.mark.parametrize("run", RUNS)
def test_hostile_text_without_end_is_read_in_time_that_grows_with_its_length(run):
    """Four times the text in less than 10 times the time: linear is 4, quadratic 16."""
    taken = []
    for length in (LONG // 4, LONG):
        text = ("Score: 1 " + run * (length // len(run)))[:length]
        taken.append(min(_seconds(text) for _ in range(2)))
    assert taken[1] < 10 * max(taken[0], 0.02)


def _seconds(text):
    began = time.process_time()
    read(text)
    read_json(own_turn(text), "score", (0, 5))
    return time.process_time() - began


@pytest.mark.parametrize("run", ['{"score": 4,}', '{"score": 4}', "{'score': 4} "])
def test_any_number_of_objects_broken_or_not_is_read_in_time_that_grows_with_their_number(run):
    """Four times the objects in less than 10 times the time, at a length where an error that counts lines would show."""
    taken = []
    for count in (8_000, 32_000):
        began = time.process_time()
        read_json(run * count, "score", (0, 5))
        taken.append(time.process_time() - began)
    assert taken[1] < 10 * max(taken[0], 0.02)
