"""IFEval and IFBench: verdicts as IFBench's own checkers recorded them, what cannot be checked, and figures by hand."""

import json
import socket
from collections import Counter

import pandas
import pytest
from test_evaluate import complaint, evaluate, figures, here, write_rows

from selfreward.measure.evaluations.checkable import Task
from selfreward.records import Check, Instruction, Response, holds
from selfreward.steps import check, known_checkers

__all__ = ["here"]


def answer(text):
    return Response(prompt_id="p", model="m", index=0, text=text, finish="stop")


def checked(kind, text, prompt="p", **arguments):
    (verdict,) = check([Instruction(id=kind, kwargs=arguments)], prompt, answer(text), 0)
    return verdict.outcome, verdict.strict, verdict.loose


def row(prompt, *instructions):
    return {
        "key": 1, "prompt": prompt, "instruction_id_list": [kind for kind, _ in instructions],
        "kwargs": [{"num_bullets": None, **arguments} for _, arguments in instructions],
    }  # fmt: skip


def test_the_two_lists_of_instructions_are_whole_and_share_none():
    assert len(known_checkers()) == 25 + 58


def test_every_recorded_verdict_of_ifbench_that_can_be_checked_here_is_the_recorded_one(reference):
    said = {sample["prompt"]: sample["response"] for sample in reference("ifbench_sample_outputs")}
    tasks = {prompt["prompt"]: prompt for prompt in reference("ifbench_prompts")}
    counts, others = Counter(), []
    for recorded in reference("ifbench_sample_results"):
        if recorded["prompt"] not in tasks:  # four prompts have since been worded otherwise
            counts["reworded"] += 1
            continue
        task = Task.model_validate(tasks[recorded["prompt"]])
        verdicts = check(task.instructions, task.prompt, answer(said[task.prompt]), 0)
        for verdict, strict, loose in zip(verdicts, recorded["strict"], recorded["loose"], strict=True):
            counts[verdict.outcome] += 1
            if verdict.outcome == "checked" and (verdict.strict, verdict.loose) != (strict, loose):
                others.append((verdict.instruction, recorded["prompt"]))
            assert verdict.outcome == "checked" or verdict.reason == "NLTK's data"
    assert others == [] and counts["reworded"] == 4 and counts["checked"] + counts["unchecked"] == 331
    assert counts["checked"] >= 200  # all but six with NLTK's sentences, all with its parts of speech


def test_an_empty_answer_follows_nothing_though_the_library_has_no_verdict_on_it():
    assert checked("punctuation:no_comma", " \n") == ("checked", False, False)
    assert checked("punctuation:no_comma", "no such thing") == ("checked", True, True)


def test_loosely_an_instruction_may_hold_without_the_first_line():
    assert checked("change_case:english_lowercase", "Here You Are:\nthe quick brown fox jumps over the lazy dog") == (
        "checked", False, True,
    )  # fmt: skip


def test_what_is_drawn_comes_from_the_seed_and_the_language_detector_too():
    texts = ["Guten Tag, das ist ein Satz.", "to be or not", "la la la no si"]
    for text in texts:
        assert len({checked("language:response_language", text, language="de") for _ in range(5)}) == 1
    assert len({checked("keywords:letter_frequency", "some letters are here") for _ in range(5)}) == 1


def test_nothing_is_asked_of_any_network(monkeypatch):
    def refuse(*_):
        raise AssertionError("a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert checked("words:start_verb", "Run fast. Jump.")[0] in ("checked", "unchecked")


@pytest.mark.parametrize(("verdicts", "whole"), [
    ((True, True), 1.0), ((True, False), 0.0), ((True, None), None), ((False, None), None), ((None,), None),
    ((False, False), 0.0),
])  # fmt: skip
def test_a_prompt_of_which_something_is_not_known_is_followed_by_nobody_knows(verdicts, whole):
    checks = [
        Check(response_id="r", instruction="i", outcome="unchecked" if v is None else "checked", strict=v) for v in verdicts
    ]
    assert holds(checks, "strict") == whole


def test_figures_by_hand(here):
    rows = [
        row(
            "no comma here",
            ("punctuation:no_comma", {}),
            ("length_constraints:number_words", {"relation": "at least", "num_words": 3}),
        ),
        row(
            "one, two",
            ("punctuation:no_comma", {}),
            ("length_constraints:number_words", {"relation": "less than", "num_words": 9}),
        ),
        row("fail now", ("punctuation:no_comma", {})),
    ]
    found, by_name = figures(evaluate("judges:Failing", write_rows(here / "asked.jsonl", rows)))
    values = {name: figure["value"] for name, figure in by_name.items()}
    assert values["prompts followed, strict %"] == 50 and by_name["prompts followed, strict %"]["n"] == 2
    assert values["instructions followed, strict %"] == values["instructions followed, loose %"] == 75
    assert found["outcomes"] == {"checked": 4, "no_answer": 1} and found["kind"] == "ifeval"
    assert {bin["name"]: bin["value"] for bin in found["breakdown"]["instruction"]} == {
        "length_constraints:number_words": 100, "punctuation:no_comma": 50,
    }  # fmt: skip


def test_prompts_with_an_unchecked_instruction_are_in_no_figure_of_prompts_and_the_note_compares_nothing(here, monkeypatch):
    def lacking(self, text):
        raise LookupError("no nltk data")

    monkeypatch.setattr(known_checkers()["length_constraints:number_sentences"], "check_following", lacking)
    sentences = ("length_constraints:number_sentences", {"relation": "at least", "num_sentences": 1})
    both = [row(text, ("punctuation:no_comma", {}), sentences) for text in ("a b", "a, b", "c d", "c, d")]
    file = write_rows(here / "asked.jsonl", [*both, row("e f", ("punctuation:no_comma", {}))])
    found, by_name = figures(evaluate("judges:Echo", file))
    prompts, single = (by_name[f"{name} followed, strict %"] for name in ("prompts", "instructions"))
    assert (prompts["value"], prompts["n"], single["value"], single["n"]) == (100, 1, 60, 5)
    assert "not comparable" in found["note"] and "Comparable" not in found["note"] and "nltk.downloader" in found["note"]


def test_rows_as_tables_keep_them(here):
    rows = [
        {**row("a b c", ("punctuation:no_comma", {})), "kwargs": [None]},
        row("d e f", ("length_constraints:number_words", {"relation": "at least", "num_words": 3.0, "N": float("nan")})),
    ]
    found, by_name = figures(evaluate("judges:Echo", write_rows(here / "asked.jsonl", rows)))
    assert by_name["instructions followed, strict %"]["value"] == 100 and found["outcomes"] == {"checked": 2}
    cells = [{name: part if isinstance(part, str) else json.dumps(part) for name, part in each.items()} for each in rows]
    pandas.DataFrame(cells).to_csv(here / "asked.csv")
    again, _ = figures(evaluate("judges:Echo", str(here / "asked.csv")))
    assert again["figures"] == found["figures"]


def test_ifbench_is_told_from_ifeval_by_its_instructions(here):
    asked = [row("One? Two? Three?", ("count:numbers", {"N": 0}))]
    found, _ = figures(evaluate("judges:Echo", write_rows(here / "asked.jsonl", asked)))
    assert found["kind"] == "ifbench"


@pytest.mark.parametrize("name", ["a.parquet", "a.json", "a.jsonl", "a"])
def test_a_file_is_read_as_it_was_saved(here, name):
    rows = [row("a, b", ("punctuation:no_comma", {})), row("a b", ("punctuation:no_comma", {"num_bullets": None}))]
    path = here / name
    if name == "a.parquet":
        pandas.DataFrame(rows).to_parquet(path)
    elif name == "a.json":
        path.write_text(json.dumps({"rows": rows}, indent=1))
    else:
        path.write_text("\ufeff" + "\n".join(json.dumps(each) for each in rows), encoding="utf-8")
    found, by_name = figures(evaluate("judges:Echo", str(path)))
    assert found["kind"] == "ifeval" and by_name["instructions followed, strict %"]["value"] == 50


def test_a_thought_without_an_end_follows_nothing_and_a_failure_is_in_no_figure(here):
    asked = ["none here", "<think> and no end", "<think>a, b</think> none here", "fail"]
    file = write_rows(here / "asked.jsonl", [row(text, ("punctuation:no_comma", {})) for text in asked])
    found, by_name = figures(evaluate("judges:Failing", file, "--set", "responses.thinking=20"))
    rate = by_name["prompts followed, strict %"]
    assert (rate["value"], rate["n"]) == (pytest.approx(200 / 3), 3) and found["outcomes"] == {"checked": 3, "no_answer": 1}


def test_rows_that_cannot_be_checked_are_refused_before_anything_is_asked(here):
    unknown = write_rows(here / "unknown.jsonl", [row("p", ("punctuation:no_comma", {})), row("p", ("made:up", {}))])
    assert "unknown.jsonl, row 2: instruction 1: id: no checker knows 'made:up'" in complaint(evaluate("judges:Echo", unknown))
    open_ = row("p", ("punctuation:no_comma", {}), ("length_constraints:number_words", {"num_words": 3}))
    said = complaint(evaluate("judges:Echo", write_rows(here / "open.jsonl", [open_])))
    assert "open.jsonl, row 1: instruction 2: kwargs: length_constraints:number_words lacks relation" in said
    short = write_rows(here / "short.jsonl", [{"prompt": "p", "instruction_id_list": ["a", "b"], "kwargs": [{}]}])
    assert "2 instructions and arguments of 1" in complaint(evaluate("judges:Echo", short))
