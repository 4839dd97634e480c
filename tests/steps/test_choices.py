"""Rows of well-known data sets, inputs beside named columns, turns that are not to be learnt, and packed files."""

import io
import json

import pyarrow
import pytest
from pyarrow import ipc

from selfreward.errors import SelfRewardError
from selfreward.recipe import Recipe, SourceConfig
from selfreward.steps import load_rankings
from selfreward.steps.seed import Seed
from selfreward.steps.sources import load_examples

P, G, B = "Name a bird", "the heron", "a spoon"
ROW = {"prompt": P, "response": G}


def user(text):
    return {"role": "user", "content": text}


def said(text, **more):
    return {"role": "assistant", "content": text, **more}


def source(folder, data, name="rows.jsonl", **more):
    rows = "".join(json.dumps(row) + "\n" for row in data) if isinstance(data, list) else data
    (folder / name).write_bytes(rows if isinstance(rows, bytes) else rows.encode())
    return SourceConfig(path=str(folder / name), **{"format": "columns", **more})


def ranked(given):
    kept, dropped = load_rankings(given, "rankings", 0)
    return [(one.prompt, dict(zip(one.responses, one.ranks, strict=True))) for one in kept], [drop.reason for drop in dropped]


def learnt(given):
    kept, dropped = load_examples(given, "ift", "ift", 0)
    return [(one.prompt, one.response) for one in kept], [drop.reason for drop in dropped]


SETS = {
    "WebGPT": {"question": {"full_text": P, "id": "7"}, "answer_0": B, "answer_1": G, "score_0": -0.5, "score_1": 0.5},
    "SHP, the first": {"history": P, "human_ref_A": G, "human_ref_B": B, "labels": 1},
    "SHP, the second": {"history": P, "human_ref_A": B, "human_ref_B": G, "labels": 0},
    "HelpSteer3, the first": {"context": [user(P)], "response1": G, "response2": B, "overall_preference": -2},
    "HelpSteer3, the second": {"context": [user(P)], "response1": B, "response2": G, "overall_preference": 3},
    "PKU-SafeRLHF": {"prompt": P, "response_0": B, "response_1": G, "better_response_id": 1},
    "Chatbot Arena": {"conversation_a": [user(P), said(B)], "conversation_b": [user(P), said(G)], "winner": "model_b"},
    "Chatbot Arena, answers": {"prompt": P, "response_a": G, "response_b": B, "winner": "model_a"},
}
UNDECIDED = {
    "all_tied": [
        {"context": [user(P)], "response1": B, "response2": G, "overall_preference": 0},
        {"conversation_a": [user(P), said(B)], "conversation_b": [user(P), said(G)], "winner": "tie (bothbad)"},
    ],
    "unranked": [
        {"context": [user(P)], "response1": B, "response2": G, "overall_preference": None},
        {"prompt": P, "response_a": G, "response_b": B, "winner": "nobody"},
    ],
}


@pytest.mark.parametrize("name", SETS)
def test_the_better_of_two_answers_is_known_by_the_names_of_its_data_set(name, tmp_path):
    given = source(tmp_path, [SETS[name]])
    assert ranked(given) == ([(P, {G: 0, B: 1})], [])
    assert learnt(given) == ([(P, G)], [])


def test_in_a_table_a_verdict_is_text(tmp_path):
    cells = f"history,human_ref_A,human_ref_B,labels\n{P},{G},{B},1\n"
    assert ranked(source(tmp_path, cells, "rows.csv")) == ([(P, {G: 0, B: 1})], [])


@pytest.mark.parametrize("reason", UNDECIDED)
def test_two_answers_of_which_none_was_chosen_are_left_out(reason, tmp_path):
    assert ranked(source(tmp_path, UNDECIDED[reason])) == ([], [reason] * 2)


@pytest.mark.parametrize("name", ["input", "context"])
def test_what_stands_below_an_instruction_is_part_of_the_prompt(name, tmp_path):
    row = {"instruction": "Translate", name: "Hund", "output": "dog"}
    named = {"prompt": "instruction", "response": "output"}
    assert learnt(source(tmp_path, [row], columns=named))[0] == [("Translate\n\nHund", "dog")]
    assert learnt(source(tmp_path, [row | {name: " "}], columns=named))[0] == [("Translate", "dog")]
    assert learnt(source(tmp_path, [row], columns={"prompt": "instruction", "response": name}))[0] == [("Translate", "Hund")]


def test_a_system_prompt_that_is_null_leaves_room_for_the_one_under_another_name(tmp_path):
    for given in ({"system": None, "system_prompt": "Be brief"}, {"system": "Be brief", "system_prompt": None}):
        for shape, row in (("columns", ROW), ("messages", {"messages": [user(P), said(G)]}),
                           ("alpaca", {"instruction": P, "output": G})):  # fmt: skip
            (one,), _ = load_examples(source(tmp_path, [row | given], format=shape), "ift", "ift", 0)
            assert [turn.content for turn in one.context] == ["Be brief"]


@pytest.mark.parametrize("sign", [{"weight": 0}, {"train": False}])
def test_an_earlier_answer_without_weight_is_read_and_never_trained(sign, tmp_path):
    row = {"messages": [user("Hi"), said("Yo", **sign), user("And?"), said("So", weight=1), user(P), said(G)]}
    kept, _ = load_examples(source(tmp_path, [row], format="messages"), "ift", "ift", 0)
    recipe = Recipe.model_validate({"base": "b", "data": {"ift": "i"}, "sft": {"answers": "all"}})
    assert [answer for _, answer in Seed(kept, (), (), (), recipe=recipe).examples("ift")] == ["So", G]
    plain, _ = load_examples(source(tmp_path, [{"messages": [user(P), said(G)]}], format="messages"), "ift", "ift", 0)
    assert "untrained" not in plain[0].model_dump() and kept[0].model_dump()["untrained"] == (0,)
    whole = [user("Hi"), said("Yo"), user("And?"), said("So"), user(P), said(G)]
    other, _ = load_examples(source(tmp_path, [{"messages": whole}], format="messages"), "ift", "ift", 0)
    assert other[0].id != kept[0].id


@pytest.mark.parametrize("text", [f'{{"data": [{json.dumps(ROW)}]}}\n', f'{{"version": 1, "rows": [{json.dumps(ROW)}]}}'])
def test_an_object_around_all_rows_may_be_one_line(text, tmp_path):
    assert learnt(source(tmp_path, text)) == ([(P, G)], [])
    assert learnt(source(tmp_path, text, "rows.json")) == ([(P, G)], [])


def test_turns_in_a_column_of_such_a_name_are_a_row(tmp_path):
    rows = [{"data": [user(P), said(G)]}]
    assert learnt(source(tmp_path, rows, columns={"messages": "data"})) == ([(P, G)], [])


def arrow(kind):
    table, written = pyarrow.Table.from_pylist([ROW]), io.BytesIO()
    with kind(written, table.schema) as writer:
        writer.write_table(table)
    return written.getvalue()


FILES = {
    "file.arrow": arrow(ipc.new_file), "stream.arrow": arrow(ipc.new_stream), "file.feather": arrow(ipc.new_file),
    "rows.jsonl.zst": pyarrow.Codec("zstd").compress(json.dumps(ROW).encode(), asbytes=True),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_arrow_and_zstd_are_read_and_torn_ones_told(name, tmp_path):
    assert learnt(source(tmp_path, FILES[name], name)) == ([(P, G)], [])
    with pytest.raises(SelfRewardError, match="cannot be read"):
        learnt(source(tmp_path, FILES[name][:10] + b"torn", name))
