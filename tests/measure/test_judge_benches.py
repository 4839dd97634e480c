"""JudgeBench and RM-Bench: by hand, and what length alone gets on the published files."""

import json
import os
from pathlib import Path

import pytest
from test_evaluate import evaluate, figures, here, write_rows

from selfreward.measure.evaluations.judge_bench import JudgeBench, Pair, Tried
from selfreward.measure.evaluations.rm_bench import CELLS, matrix_of

__all__ = ["here"]
PUBLISHED = Path(os.environ.get("SELFREWARD_REFERENCE_DATA", "."))


def pair(label="A>B", source="mmlu-pro-law", first="right", second="wrong"):
    return Pair(pair_id="p", source=source, question="q", response_A=first, response_B=second, label=label)


def row(number, first, second, label, source="livebench-math"):
    texts = {"question": f"q{number}", "response_A": first, "response_B": second}
    return {"pair_id": number, "source": source, "label": label, **texts}


# JudgeBench


@pytest.mark.parametrize(("sides", "both", "most", "turned"), [
    (("a", "a"), True, True, 0), (("a", "tie"), False, True, 1), (("tie", "a"), False, True, 1), (("a", "b"), False, False, 1),
    (("tie", "tie"), False, False, 0), (("b", "b"), False, False, 0), (("a", "none"), False, True, None),
    (("none", "none"), False, False, None),
])  # fmt: skip
def test_two_verdicts_by_the_published_rule(sides, both, most, turned):
    tried = Tried(pair("A>B"), sides)
    assert (tried.both, tried.most, tried.turned) == (both, most, turned)
    other = Tried(pair("B>A"), [{"a": "b", "b": "a"}.get(side, side) for side in sides])
    assert (other.both, other.most, other.turned) == (both, most, turned)


def test_a_judge_by_length_in_both_orders_is_right_where_the_longer_answer_is(here):
    rows = [row(1, "long answer", "short", "A>B"), row(2, "long answer", "short", "B>A")]
    rows += [row(3, "s", "longer", "B>A", "mmlu-pro-law"), row(4, "same", "size", "A>B", "mmlu-pro-law")]
    found, by_name = figures(evaluate("judges:Longer", write_rows(here / "pairs.jsonl", rows)))
    values = {name: figure["value"] for name, figure in by_name.items()}
    assert values["accuracy, as published %"] == values["right in both orders %"] == 50
    assert values["accuracy of length alone %"] == 50 and values["verdicts that change with the order %"] == 0
    assert {figure["name"]: figure["value"] for figure in found["breakdown"]["group"]} == {"knowledge": 50, "math": 50}
    assert found["kind"] == "judgebench" and found["outcomes"] == {"decided": 8}


def test_a_judge_that_always_says_first_is_never_right(here):
    rows = [row(number, "one", "two", label) for number, label in enumerate(("A>B", "B>A"))]
    _, by_name = figures(evaluate("judges:First", write_rows(here / "pairs.jsonl", rows)))
    assert by_name["accuracy, as published %"]["value"] == by_name["right in both orders %"]["value"] == 0
    assert by_name["verdicts that change with the order %"]["value"] == 100


def test_a_judge_without_verdicts_is_not_right_and_its_flips_are_not_known(here):
    found, by_name = figures(evaluate("judges:Mute", write_rows(here / "pairs.jsonl", [row(1, "one", "two", "A>B")])))
    assert by_name["accuracy, as published %"]["value"] == 0 and found["outcomes"] == {"unparsed": 2}
    assert "verdicts that change with the order %" not in by_name


def test_rows_of_equal_texts_are_asked_each(here):
    rows = [row(1, "longer", "s", "A>B"), row(1, "longer", "s", "B>A")]
    found, by_name = figures(evaluate("judges:Longer", write_rows(here / "pairs.jsonl", rows)))
    assert found["outcomes"] == {"decided": 4} and by_name["accuracy, as published %"]["value"] == 50


def test_length_alone_on_the_published_pairs(reference):
    bench = JudgeBench(data=str(PUBLISHED / "judgebench_gpt4o.jsonl"))
    assert len(bench.pairs) == 350
    assert round(100 * sum(Tried(one, ()).longer for one in bench.pairs) / 350, 1) == 46.0
    assert {one.group for one in bench.pairs} == {"knowledge", "reasoning", "math", "coding"}


# RM-Bench


def test_the_matrix_by_hand():
    matrix = matrix_of([1, 2, 3, 2, 2, None])
    assert matrix == [[0, 0, 0], [0.5, 0.5, 0], [1, 1, 0]]
    assert matrix_of([1, 2, 3, 2, 2, None], tie=0) == [[0, 0, 0], [0, 0, 0], [1, 1, 0]]
    assert {level: sum(matrix[i][j] for i, j in cells) for level, cells in CELLS.items()} == {
        "easy": 2.5,
        "normal": 0.5,
        "hard": 0,
    }
    assert sorted(cell for cells in CELLS.values() for cell in cells) == [(i, j) for i in range(3) for j in range(3)]


def test_a_judge_by_length_gains_where_style_helps_and_loses_where_it_misleads(here):
    rows = [{"prompt": "p", "chosen": ["a", "a b", "a b c"], "rejected": ["d", "d e", "d e f"]}]
    (here / "rm.json").write_text(json.dumps(rows))
    found, by_name = figures(evaluate("judges:Length", "rm.json", "--set", "grading.samples=1"))
    assert found["kind"] == "rm-bench"
    values = {name: figure["value"] for name, figure in by_name.items()}
    assert (values["easy %"], values["normal %"], values["hard %"]) == (100, 50, 0)
    assert (values["easy, ties wrong %"], values["normal, ties wrong %"], values["hard, ties wrong %"]) == (100, 0, 0)
    assert values["style gap, points"] == 100 and values["accuracy %"] == pytest.approx(50)
    assert values["judgments without a score %"] == 0 and found["outcomes"] == {"scored": 6}
    (cells,) = found["breakdown"].values()
    assert {cell["name"]: cell["value"] for cell in cells}["markdown against concise"] == 100 and len(cells) == 9


def test_rm_bench_is_broken_down_by_domain(here):
    six = {"chosen": ["a", "a b", "a b c"], "rejected": ["d", "d e", "d e f"]}
    long = {"chosen": ["a b c d"] * 3, "rejected": ["d", "d e", "d e f"]}
    rows = [{"prompt": "p", "domain": "math", **six}, {"prompt": "q", "domain": "chat", **long}, {"prompt": "r", **six}]
    (here / "rm.json").write_text(json.dumps(rows))
    found, by_name = figures(evaluate("judges:Length", "rm.json", "--set", "grading.samples=1"))
    domains = {cell["name"]: (cell["value"], cell["n"]) for cell in found["breakdown"]["domain"]}
    assert domains == {"chat": (100, 1), "math": (50, 1)}
    assert by_name["accuracy %"]["value"] == pytest.approx((50 + 100 + 50) / 3)


@pytest.mark.parametrize(("file", "hard", "normal", "easy"), [
    ("rmbench_chat.json", 2.6, 32.0, 81.1), ("rmbench_safety-refuse.json", 2.4, 15.9, 89.0),
])  # fmt: skip
def test_length_alone_on_the_published_prompts(here, reference, file, hard, normal, easy):
    more = ("--data", str(PUBLISHED / file), "--set", "grading.samples=1")
    _, by_name = figures(evaluate("judges:Length", "rm-bench", *more))
    values = {name: round(figure["value"], 1) for name, figure in by_name.items()}
    assert [values[f"{level} of length alone %"] for level in ("hard", "normal", "easy")] == [hard, normal, easy]
