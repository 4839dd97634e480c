"""Arena-Hard: labels and win rates by hand, both published shapes of rows, and what is refused."""

import pytest
from test_evaluate import complaint, evaluate, figures, here, write_rows

import judges
from selfreward.measure.evaluations.arena_hard import Game, read_game
from selfreward.measure.evaluations.evaluate import find_kind
from selfreward.records import Completion, Request, Sampling

__all__ = ["here"]


def game(verdict, swapped=False):
    return Game(
        prompt_id="p", response_id="r", swapped=swapped, judge="j", rationale="", verdict=verdict,
        outcome="decided" if verdict else "unparsed",
    )  # fmt: skip


@pytest.mark.parametrize(("verdict", "as_b", "as_a"), [
    ("A>>B", (0, 3), (3, 3)), ("A>B", (0, 1), (1, 1)), ("A=B", (0.5, 1), (0.5, 1)), ("B>A", (1, 1), (0, 1)),
    ("B>>A", (3, 3), (0, 3)), (None, (0, 0), (0, 0)),
])  # fmt: skip
def test_what_a_verdict_counts_for_the_model_in_either_place(verdict, as_b, as_a):
    assert (game(verdict).counts, game(verdict, swapped=True).counts) == (as_b, as_a)


@pytest.mark.parametrize(("text", "label"), [
    ("[[A>>B]]", "A>>B"), ("[[ a>b ]]", "A>B"), ("[[B<<A]]", "A>>B"), ("[[A<B]]", "B>A"), ("[[B=A]]", "A=B"),
    ("[[A>B]] or rather [[B>A]]", "B>A"), ("A>B", "unparsed"), ("[[A]]", "unparsed"), ("[[C>A]]", "unparsed"),
    ("[[A>B]]\nUser: and now?\nAssistant: [[B>A]]", "A>B"), ("My answer:\n\nUser: Hello\nBot: Hi\n\n[[B>A]]", "B>A"),
    ("Antwort: 42.\nInstruction: Heat the pan.\n[[A>B]]", "A>B"), ("My answer<|im_end|>\n[[A>B]]", "unparsed"),
])  # fmt: skip
def test_the_last_label_of_the_judges_own_turn_counts(text, label):
    request = Request(
        about="p r", index=0, messages=({"role": "user", "content": "q"},), seed=0, model="j",
        sampling=Sampling(temperature=0, top_p=1, max_tokens=9),
    )  # fmt: skip
    said = Completion(request_id=request.id, text=text, finish="stop", prompt_tokens=1, completion_tokens=1)
    assert read_game(request, said).label == label
    if text.count("[[") == 2 and label == "B>A":
        assert read_game(request, said, unanimous=True).label == "unparsed"


def place(here, answers, asked):
    """Files of prompts and of a baseline's answers, of version 2.0."""
    rows = [{"uid": str(n), "subcategory": "hard" if n else "easy", "prompt": text} for n, text in enumerate(asked)]
    said = [
        {"uid": str(n), "messages": [{}, {"role": "assistant", "content": {"answer": text}}]} for n, text in enumerate(answers)
    ]
    files = write_rows(here / "question.jsonl", rows), write_rows(here / "baseline.jsonl", said)
    return ("arena-hard", "--data", files[0], "--set", f"baseline={files[1]}", "--judge", "judges:Arena")


def test_a_win_rate_by_hand_with_much_better_three_times_and_intervals_over_prompts(here):
    # the model echoes the prompt: longer by 1, by 12, as long, shorter by 2
    asked = ["abcdef", "abcdefghijklmno", "abc", "ab"]
    found, by_name = figures(evaluate("judges:Echo", *place(here, ["abcde", "abc", "xyz", "abcd"], asked)))
    rate = by_name["win rate %"]
    assert rate["value"] == pytest.approx(100 * (2 + 6 + 1 + 0) / (2 + 6 + 2 + 2)) and rate["n"] == 4
    assert rate["low"] < rate["value"] < rate["high"] and by_name["verdicts that change with the order %"]["value"] == 0
    assert found["outcomes"] == {"decided": 8} and found["kind"] == "arena-hard"
    bins = {figure["name"]: figure["value"] for figure in found["breakdown"]["category"]}
    assert bins == {"easy": 100, "hard": pytest.approx(100 * 7 / 10)}


def test_failures_and_missing_verdicts_are_counted_and_in_no_figure(here):
    found, by_name = figures(evaluate("judges:Failing", *place(here, ["a", "b", "c"], ["longer", "fail", "mute"])))
    assert found["outcomes"] == {"decided": 2, "no_answer": 1, "unparsed": 2}
    assert by_name["win rate %"]["value"] == 100 and by_name["win rate %"]["n"] == 1


def test_rows_of_one_text_are_played_each_and_an_empty_baseline_loses(here):
    # echoed: longer than the first by 2 (both orders won), shorter than the second by 11 (much lost), longer than nothing by 3
    found, by_name = figures(evaluate("judges:Echo", *place(here, ["a", "abcdefghijklmn", ""], ["abc", "abc", "abc"])))
    assert found["outcomes"] == {"decided": 6} and by_name["win rate %"]["value"] == 100 * (2 + 0 + 2) / (2 + 6 + 2)
    flips = by_name["verdicts that change with the order %"]
    assert (flips["value"], flips["n"]) == (0, 3)
    assert {figure["name"]: figure["value"] for figure in found["breakdown"]["category"]} == {"easy": 100, "hard": 25}


def test_answers_of_two_models_in_one_file_are_refused(here):
    given = place(here, ["a", "b"], ["abc", "abcd"])
    baseline = here / "baseline.jsonl"
    baseline.write_text(baseline.read_text() * 2)
    line = complaint(evaluate("judges:Echo", *given))
    assert "baseline.jsonl: has several answers to '0'. Give the answers of one model, one to each prompt" in line


def test_rows_of_version_01_are_read_too(here):
    rows = [{"question_id": "q", "cluster": "c", "turns": [{"content": "abc"}]}]
    said = [{"question_id": "q", "choices": [{"index": 0, "turns": [{"content": "abcdefghijklmnop", "token_len": 1}]}]}]
    files = write_rows(here / "question.jsonl", rows), write_rows(here / "baseline.jsonl", said)
    more = ("--data", files[0], "--set", f"baseline={files[1]}", "--judge", "judges:Arena")
    found, by_name = figures(evaluate("judges:Echo", "arena-hard", *more))
    # the judge's own answer has the label A>>B: in one order its verdict, too, in the other another one, which is then no verdict
    assert found["outcomes"] == {"decided": 1, "unparsed": 1} and by_name["win rate %"]["value"] == 0
    assert find_kind(files[0]) == ("arena-hard", files[0])


def test_in_version_2_a_prompt_counts_where_both_orders_have_a_verdict(here, monkeypatch):
    say = judges.Arena.say
    monkeypatch.setattr(judges.Arena, "say", lambda self, asked: "hm" if "<answer_a>ab</" in asked else say(self, asked))
    # the first is won in both orders; the second, where the model's answer comes second, and nobody knows otherwise
    found, by_name = figures(evaluate("judges:Echo", *place(here, ["a", "a"], ["abc", "ab"])))
    assert found["outcomes"] == {"decided": 3, "unparsed": 1} and by_name["win rate %"]["n"] == 1


def test_a_prompt_without_the_baselines_answer_is_refused_before_anything_is_asked(here):
    assert "baseline.jsonl: has no answer to '1'" in complaint(evaluate("judges:Echo", *place(here, ["a"], ["one", "two"])))
    write_rows(here / "baseline.jsonl", [{"uid": "0", "messages": []}, {"uid": "1", "answer": "a"}])
    more = ("--data", str(here / "question.jsonl"), "--set", f"baseline={here / 'baseline.jsonl'}", "--judge", "judges:Arena")
    assert "baseline.jsonl:1: answer: Field required" in complaint(evaluate("judges:Echo", "arena-hard", *more))
