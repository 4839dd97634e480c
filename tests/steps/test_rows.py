"""Rows as people have them: preferences, a row a response, text in parts, roles by any name, and text that is not whole."""

import bz2
import gzip
import json
import lzma

import pyarrow
import pytest
from pyarrow import parquet

from selfreward.errors import SelfRewardError
from selfreward.recipe import SourceConfig
from selfreward.records import Anchor, Message, Prompt, Ranking, read_jsonl
from selfreward.steps import load_prompts, load_rankings
from selfreward.steps.dialogues import ROLES, Turn
from selfreward.steps.sources import load_examples


def rows_in(folder, rows, shape="columns", name="rows.jsonl", **settings):
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return SourceConfig(path=str(folder / name), format=shape, **settings)


def rankings(given, **settings):
    kept, dropped = load_rankings(given, "rankings", 0, **settings)
    return kept, [drop.reason for drop in dropped]


def examples(given):
    kept, dropped = load_examples(given, "ift", "ift", 0)
    return [(one.prompt, one.response) for one in kept], [drop.reason for drop in dropped]


def turn(role, content):
    return {"role": role, "content": content}


ASKED, GOOD, BAD = turn("user", "Name a bird"), turn("assistant", "the heron"), turn("assistant", "a spoon")
SYSTEM, BEFORE = turn("system", "Be brief"), [turn("user", "Hi"), turn("assistant", "Hello")]
PLAIN = Ranking(prompt="Name a bird", responses=("the heron", "a spoon"), ranks=(0, 1))
AFTER = PLAIN.model_copy(update={"context": tuple(Message(**one) for one in BEFORE)})
PREFERENCES = {
    "strings": ({"prompt": "Name a bird", "chosen": "the heron", "rejected": "a spoon"}, PLAIN),
    "TRL, explicit prompt": ({"prompt": [ASKED], "chosen": [GOOD], "rejected": [BAD]}, PLAIN),
    "TRL, implicit prompt": ({"chosen": [ASKED, GOOD], "rejected": [ASKED, BAD]}, PLAIN),
    "UltraFeedback, binarized": (
        {
            "prompt": "Name a bird", "prompt_id": "ab12", "messages": [ASKED, GOOD], "score_chosen": 8.5,
            "chosen": [ASKED, GOOD], "rejected": [ASKED, BAD],
        },
        PLAIN,
    ),
    "a turn in no list": ({"prompt": "Name a bird", "chosen": GOOD, "rejected": BAD}, PLAIN),
    "turns before the prompt": ({"chosen": [*BEFORE, ASKED, GOOD], "rejected": [*BEFORE, ASKED, BAD]}, AFTER),
    "explicit turns before": ({"prompt": [*BEFORE, ASKED], "chosen": [GOOD], "rejected": [BAD]}, AFTER),
    "HH": (
        {
            "chosen": "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Name a bird\n\nAssistant: the heron",
            "rejected": "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Name a bird\n\nAssistant: a spoon",
        },
        AFTER,
    ),
    "HH with its prompt apart": (
        {
            "prompt": "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Name a bird\n\nAssistant:",
            "chosen": "the heron", "rejected": "a spoon",
        },
        AFTER,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PREFERENCES)
def test_a_chosen_and_a_rejected_answer_are_a_ranking_and_the_chosen_one_an_example(name, tmp_path):
    row, ranking = PREFERENCES[name]
    given = rows_in(tmp_path, [row])
    assert rankings(given) == ([ranking], [])
    assert examples(given) == ([("Name a bird", "the heron")], [])
    (prompt,), _ = load_prompts(given, "heldout_prompts", 0)
    assert (prompt.text, prompt.context) == (ranking.prompt, ranking.context)


def test_a_system_turn_stands_in_the_turns_or_in_a_column(tmp_path):
    own = {"chosen": [SYSTEM, ASKED, GOOD], "rejected": [SYSTEM, ASKED, BAD]}
    beside = {"prompt": "Name a fish", "system_prompt": "Be brief", "chosen": "the pike", "rejected": "a spoon"}
    kept, _ = rankings(rows_in(tmp_path, [own]))
    kept += rankings(rows_in(tmp_path, [beside], columns={"system": "system_prompt"}))[0]
    assert [one.context for one in kept] == [(Message(role="system", content="Be brief"),)] * 2


ODD = [
    ({"chosen": [ASKED, GOOD], "rejected": [turn("user", "Name a fish"), BAD]}, "prompts_differ"),
    ({"prompt": "Name a fish", "chosen": [ASKED, GOOD], "rejected": [ASKED, BAD]}, "prompts_differ"),
    ({"prompt": "Name a bird", "chosen": "the heron", "rejected": "the heron "}, "same_text"),
    ({"prompt": "Name a bird", "chosen": "the heron", "rejected": " "}, "one_response"),
    ({"chosen": [ASKED, GOOD, turn("user", "thanks")], "rejected": [ASKED, GOOD, turn("user", "no")]}, "unanswered"),
]


@pytest.mark.parametrize(("row", "reason"), ODD)
def test_what_is_no_preference_has_its_reason(row, reason, tmp_path):
    kept, dropped = rankings(rows_in(tmp_path, [row]))
    assert kept == [] and reason in dropped


def test_a_preference_without_a_prompt_is_an_error_that_names_what_is_missing(tmp_path):
    with pytest.raises(SelfRewardError, match=r"rows\.jsonl:1: .*prompt is missing, and chosen has no turns"):
        rankings(rows_in(tmp_path, [{"chosen": "the heron", "rejected": "a spoon"}]))


def test_a_row_a_response_becomes_one_ranking_of_each_prompt_in_the_order_of_the_rows(tmp_path):
    rows = [
        {"instruction": "Name a bird", "answer": "a spoon", "rating": 1},
        {"instruction": "Name a fish", "answer": "the pike", "rating": 4},
        {"instruction": "Name a bird", "answer": "the heron", "rating": 5},
        {"instruction": "Name a bird", "answer": "the crane", "rating": None},
    ]
    columns = {"prompt": "instruction", "response": "answer", "score": "rating"}
    kept, dropped = load_rankings(rows_in(tmp_path, rows, columns=columns), "rankings", 0)
    assert kept == [Ranking(prompt="Name a bird", responses=("a spoon", "the heron"), ranks=(1, 0))]
    assert [(drop.id, drop.reason) for drop in dropped] == [("rows.jsonl:1", "reply_unranked"), ("rows.jsonl:2", "one_response")]
    ranked = [{"prompt": "p", "response": text, "rank": rank} for text, rank in (("a", 3), ("b", 1), ("c", 2))]
    assert rankings(rows_in(tmp_path, ranked)) == ([Ranking(prompt="p", responses=("a", "b", "c"), ranks=(2, 0, 1))], [])


def test_responses_of_one_text_are_one_and_of_one_text_with_two_ranks_none(tmp_path):
    same = {"prompt": "p", "responses": ["a", "b", "a "], "ranks": [0, 1, 0]}
    torn = {"prompt": "q", "responses": ["a", "b", "a", "c"], "ranks": [0, 1, 3, 2]}
    kept, dropped = rankings(rows_in(tmp_path, [same, torn]))
    assert kept == [Ranking(prompt=p, responses=texts, ranks=(0, 1)) for p, texts in (("p", ("a", "b")), ("q", ("b", "c")))]
    assert dropped == ["reply_same_text"] * 3


def parts(*texts):
    return [{"type": "text", "text": text} for text in texts]


def test_content_in_parts_is_their_text_and_a_picture_has_its_reason(tmp_path):
    row = {"messages": [turn("user", parts("Name ", "a bird")), turn("assistant", parts("the heron"))]}
    picture = {"messages": [turn("user", [{"type": "image"}, *parts("what is it?")]), GOOD]}
    number = {"messages": [turn("user", 5), GOOD]}
    assert examples(rows_in(tmp_path, [row, picture], "messages")) == ([("Name a bird", "the heron")], ["not_text"])
    with pytest.raises(SelfRewardError, match=r"rows\.jsonl:1: messages\.0\.content: Input should be a valid string"):
        examples(rows_in(tmp_path, [number], "messages"))
    columns = {"prompt": parts("Name a bird"), "responses": [{"content": parts("a"), "score": 2}, [BAD]], "scores": [2, 1]}
    kept, dropped = rankings(rows_in(tmp_path, [columns | {"prompt": "Name a bird"}]))
    assert kept[0].responses == ("a", "a spoon") and not dropped
    answered = {"prompt": [turn("user", parts("Name a bird"))], "response": [GOOD]}
    assert examples(rows_in(tmp_path, [answered]))[0] == [("Name a bird", "the heron")]


NAMES = {
    "user": ("user", "User", "HUMAN", "Human:", "prompter", "customer", "<|user|>"),
    "assistant": (
        "assistant",
        "ASSISTANT",
        "gpt",
        "bot",
        "Model",
        "AI",
        "chatgpt",
        "ChatGPT-4",
        "gpt-3.5",
        "AI assistant",
        "Claude",
    ),
    "system": ("system", "System", "DEVELOPER", "system_prompt"),
    "tool": ("tool", "function", "Tool_Call", "observation", "ipython"),
}


@pytest.mark.parametrize(("role", "name"), [(role, name) for role in NAMES for name in NAMES[role]])
def test_roles_are_known_in_any_case_and_under_their_common_names(role, name):
    assert Turn.model_validate({"from": name, "value": "x"}).role == role and role in ROLES


def test_a_conversation_stands_under_any_of_its_usual_names(tmp_path):
    said = [{"from": "human", "value": "Name a bird", "content": None}, {"from": "gpt", "value": "the heron", "role": None}]
    for name in ("messages", "conversations", "conversation"):
        assert examples(rows_in(tmp_path, [{name: said, "id": "x1"}], "messages"))[0] == [("Name a bird", "the heron")]
    share_gpt = {"system": "Be brief", "conversations": said}
    (prompt,), _ = load_prompts(rows_in(tmp_path, [share_gpt], "messages"), "p", 0)
    assert prompt.context == (Message(role="system", content="Be brief"),)
    call = {"messages": [ASKED, {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}, GOOD]}
    assert examples(rows_in(tmp_path, [call], "messages")) == ([], ["tool_turn"])


def test_a_column_may_be_named_by_a_path(tmp_path):
    row = {"data": {"question": "Name a bird", "answers": {"best": "the heron"}}}
    columns = {"prompt": "data.question", "response": "data.answers.best"}
    assert examples(rows_in(tmp_path, [row], columns=columns))[0] == [("Name a bird", "the heron")]
    with pytest.raises(SelfRewardError, match=r"data\.text: the row has no such column \(its columns are data\)"):
        examples(rows_in(tmp_path, [{"data": {}}], columns={"prompt": "data.text"}))


ROW = {"prompt": "Name a bird", "response": "the heron"}


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.jsonl", json.dumps(ROW)), ("a.json", json.dumps([ROW])), ("a.csv", "prompt,response\nName a bird,the heron\n")],
)
def test_a_byte_order_mark_is_no_part_of_a_row(name, text, tmp_path):
    (tmp_path / name).write_text(text, encoding="utf-8-sig")
    assert examples(SourceConfig(path=str(tmp_path / name), format="columns"))[0] == [("Name a bird", "the heron")]
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text(Prompt(text="p", source="seed").model_dump_json(), encoding="utf-8-sig")
    assert read_jsonl(prompts, Prompt)[0].text == "p"


HALF = '{"prompt": "Name a \\ud83d bird", "response": "the heron"}'


def test_half_a_surrogate_pair_is_one_line_with_its_row(tmp_path):
    for name, text in (("a.jsonl", f"{json.dumps(ROW)}\n{HALF}\n"), ("a.json", f"[{json.dumps(ROW)}, {HALF}]")):
        (tmp_path / name).write_text(text)
        given = SourceConfig(path=str(tmp_path / name), format="columns")
        with pytest.raises(SelfRewardError) as caught:
            examples(given)
        assert caught.value.where.endswith(("a.jsonl:2", "a.json, row 2")) and "half a surrogate pair" in caught.value.what
        assert "prompt" in caught.value.what and "\n" not in str(caught.value)
        kept, dropped = load_examples(given, "ift", "ift", 0, skip_bad_rows=True)
        assert len(kept) == 1 and [drop.reason for drop in dropped] == ["bad_row"]
    broken = json.dumps([ROW]).encode()[:-1] + b", \xed\xa0\xbd]"
    (tmp_path / "a.json").write_bytes(broken)
    with pytest.raises(SelfRewardError, match=r"a\.json.*is not UTF-8 text"):
        examples(SourceConfig(path=str(tmp_path / "a.json"), format="columns"))


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
def test_bytes_that_are_no_text_are_told_with_their_line(name, tmp_path):
    lines = [b"prompt,response", b"p,r", b"p\xed\xa0\xbd,r"] if name == "a.csv" else [json.dumps(ROW).encode()] * 2 + [b"\xff"]
    (tmp_path / name).write_bytes(b"\n".join(lines))
    with pytest.raises(SelfRewardError, match=rf"{name}:3: is not UTF-8 text"):
        examples(SourceConfig(path=str(tmp_path / name), format="columns"))


def test_a_file_of_records_tells_the_line_of_bytes_that_are_no_text(tmp_path):
    line = Anchor(prompt="p", answers=("a",)).model_dump_json().encode()
    (tmp_path / "anchors.jsonl").write_bytes(line + b"\n" + line.replace(b'"p"', b'"\xff"'))
    with pytest.raises(SelfRewardError, match=r"anchors\.jsonl:2: is not UTF-8 text"):
        read_jsonl(tmp_path / "anchors.jsonl", Anchor)


def test_parquet_has_turns_and_preferences_too(tmp_path):
    rows = [{"chosen": [ASKED, GOOD], "rejected": [ASKED, BAD], "score_chosen": 2.0}]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    assert rankings(SourceConfig(path=str(tmp_path / "a.parquet"), format="columns")) == ([PLAIN], [])


IN_PARTS = [{"type": "text", "text": "Name a "}, {"type": "text", "text": "bird"}]


@pytest.mark.parametrize("prompt", [ASKED, IN_PARTS, [ASKED], "Name a bird"])
def test_a_prompt_is_a_text_its_parts_a_turn_or_turns(prompt, tmp_path):
    said = [{"type": "text", "text": "the heron"}]
    for row in (
        {"prompt": prompt, "chosen": said, "rejected": BAD},
        {"prompt": prompt, "responses": [said, "a spoon"], "ranks": [0, 1]},
    ):
        assert rankings(rows_in(tmp_path, [row])) == ([PLAIN], [])


def test_texts_in_a_list_are_no_parts_of_a_prompt(tmp_path):
    for prompt in (["Name a bird", "Name a fish"], [{"text": "Name a bird"}], 5, None):
        with pytest.raises(SelfRewardError, match="prompt"):
            rankings(rows_in(tmp_path, [{"prompt": prompt, "chosen": "a", "rejected": "b"}] if prompt else [{"prompt": prompt}]))


def test_a_system_turn_that_only_the_prompt_has_is_kept(tmp_path):
    row = {"prompt": [SYSTEM, ASKED], "chosen": [ASKED, GOOD], "rejected": [ASKED, BAD]}
    assert rankings(rows_in(tmp_path, [row])) == ([PLAIN.model_copy(update={"context": (Message(**SYSTEM),)})], [])


def test_an_error_about_a_column_names_the_columns_that_are_there(tmp_path):
    rated = {"q": "Name a bird", "response": "the heron", "reward": 3}
    for row, columns, message in (
        ({"q": "Name a bird", "chosen": "a", "rejected": "b"}, {}, r"its columns are q, chosen, rejected"),
        (rated, {"prompt": "q", "score": "rating"}, r"rating: the row has no such column \(its columns are q, response, reward"),
    ):
        with pytest.raises(SelfRewardError, match=message):
            rankings(rows_in(tmp_path, [row], columns=columns))


def test_cells_of_a_csv_file_hold_turns_as_json_and_an_empty_rating_is_none(tmp_path):
    chosen, rejected = (json.dumps([one]).replace('"', '""') for one in (GOOD, BAD))
    (tmp_path / "a.csv").write_text(f'prompt,chosen,rejected\nName a bird,"{chosen}","{rejected}"\n')
    (tmp_path / "b.csv").write_text(
        "prompt,response,score\nName a bird,the heron,2\nName a bird,an owl,\nName a bird,a spoon,1\n"
    )
    (tmp_path / "c.csv").write_text('prompt,response\n"[{""a"": 1}]",one\n')
    assert rankings(SourceConfig(path=str(tmp_path / "a.csv"), format="columns")) == ([PLAIN], [])
    assert rankings(SourceConfig(path=str(tmp_path / "b.csv"), format="columns")) == ([PLAIN], ["reply_unranked"])
    assert examples(SourceConfig(path=str(tmp_path / "c.csv"), format="columns")) == ([('[{"a": 1}]', "one")], [])


def test_lines_of_json_under_the_name_of_one_list_are_rows_and_one_object_is_none(tmp_path):
    rows = [{"prompt": "a", "response": "b"}, {"prompt": "c", "response": "d"}]
    assert examples(rows_in(tmp_path, rows, name="rows.json"))[0] == [("a", "b"), ("c", "d")]
    with pytest.raises(SelfRewardError, match=r"name the file \.jsonl"):
        examples(rows_in(tmp_path, rows[:1], name="rows.json"))


def test_half_a_surrogate_pair_in_a_name_is_told_too(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"prompt": "a", "response": "b", "\\ud83d": 1}\n')
    with pytest.raises(SelfRewardError, match="a name in it: holds half a surrogate pair"):
        examples(SourceConfig(path=str(tmp_path / "a.jsonl"), format="columns"))


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_json_that_is_too_deep_is_one_line(name, tmp_path):
    row = '{"prompt": "a", "response": "b", "more": ' + "[" * 100_000 + "]" * 100_000 + "}"
    (tmp_path / name).write_text(row if name == "a.jsonl" else f"[{row}]")
    with pytest.raises(SelfRewardError, match=r"not JSON|cannot be read"):
        examples(SourceConfig(path=str(tmp_path / name), format="columns"))


def test_half_a_surrogate_pair_in_a_cell_of_turns_is_told_with_its_place(tmp_path):
    (tmp_path / "a.csv").write_text('prompt,response\n"[{""role"": ""user"", ""content"": ""\\ud83d""}]",b\n')
    with pytest.raises(SelfRewardError, match=r"row 1: prompt\.0\.content: holds half a surrogate pair"):
        examples(SourceConfig(path=str(tmp_path / "a.csv"), format="columns"))


def test_a_list_of_turns_that_is_null_gives_way_to_one_under_another_name(tmp_path):
    row = {"messages": None, "conversations": [ASKED, GOOD]}
    assert examples(rows_in(tmp_path, [row], "messages")) == ([("Name a bird", "the heron")], [])


BY = {"messages": [{"rank": 0}, {"rank": 1}], "columns": [{"score": 5}, {"score": "1.5"}]}


@pytest.mark.parametrize("shape", BY)
def test_conversations_with_a_rank_or_score_each_are_a_ranking(shape, tmp_path):
    good, bad = BY[shape]
    rows = [{"messages": [ASKED, GOOD], **good}, {"conversations": [ASKED, BAD], **bad}]
    assert rankings(rows_in(tmp_path, rows, shape)) == ([PLAIN], [])
    assert examples(rows_in(tmp_path, rows, shape))[0] == [("Name a bird", "the heron"), ("Name a bird", "a spoon")]


def test_conversations_without_a_rank_are_no_ranking(tmp_path):
    with pytest.raises(SelfRewardError, match=r"rank and score are missing.*its columns are messages, id"):
        rankings(rows_in(tmp_path, [{"messages": [ASKED, GOOD], "id": 1}], "messages"))


def test_alpaca_without_an_output_is_a_prompt_and_no_example(tmp_path):
    rows = [{"instruction": "Name a bird", "input": ""}, {"instruction": "Name a", "context": "fish", "response": "the pike"}]
    given = rows_in(tmp_path, rows, "alpaca")
    assert examples(given) == ([("Name a\n\nfish", "the pike")], ["unanswered"])
    assert [one.text for one in load_prompts(given, "p", 0)[0]] == ["Name a bird", "Name a\n\nfish"]


LINE = json.dumps({"messages": [ASKED, GOOD]}).encode() + b"\n"
FILES = {
    "a.ndjson": LINE, "a.JSONL": LINE, "a.jl": LINE, "a.jsonlines": LINE, "a.json": LINE + LINE.replace(b"bird", b"fish"),
    "a.JSON": b"[" + LINE + b"]", "a.jsonl.gz": gzip.compress(LINE), "A.NDJSON.GZ": gzip.compress(LINE),
    "a.jsonl.bz2": bz2.compress(LINE), "a.jsonl.xz": lzma.compress(LINE),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_container_is_known_by_its_name_in_any_case(name, tmp_path):
    (tmp_path / name).write_bytes(FILES[name])
    assert examples(SourceConfig(path=str(tmp_path / name), format="messages"))[0][0] == ("Name a bird", "the heron")


@pytest.mark.parametrize("name", ["a.tsv", "A.TSV"])
def test_tabs_part_cells_and_commas_do_not(name, tmp_path):
    (tmp_path / name).write_text("prompt\tresponse\nName a bird\tthe heron, grey\n")
    assert examples(SourceConfig(path=str(tmp_path / name), format="columns"))[0] == [("Name a bird", "the heron, grey")]


@pytest.mark.parametrize("packed", [bz2.compress(LINE)[:-6], lzma.compress(LINE)[:-6], b"no such thing"])
def test_a_torn_file_is_one_line(packed, tmp_path):
    for name in ("a.jsonl.bz2", "a.jsonl.xz", "a.jsonl.gz"):
        (tmp_path / name).write_bytes(packed)
        with pytest.raises(SelfRewardError, match=rf"{name}: cannot be read"):
            examples(SourceConfig(path=str(tmp_path / name), format="messages"))


def gemini(role, *parts):
    return {"role": role, "parts": [{"text": part} if isinstance(part, str) else part for part in parts]}


def test_geminis_contents_are_turns(tmp_path):
    said = [gemini("user", "Name ", "a bird"), gemini("model", {"text": "hm", "thought": True}, "the heron")]
    row = {"systemInstruction": {"role": "system", "parts": [{"text": "Be brief"}]}, "contents": said}
    (prompt,), _ = load_prompts(rows_in(tmp_path, [row], "messages"), "p", 0)
    assert (prompt.text, prompt.context) == ("Name a bird", (Message(**SYSTEM),))
    picture = {"contents": [gemini("user", {"inlineData": {"mimeType": "image/png", "data": ""}}, "what?"), said[1]]}
    call = {"contents": [said[0], gemini("model", {"functionCall": {"name": "find"}}), said[0], said[1]]}
    given = rows_in(tmp_path, [row, picture, call], "messages")
    assert examples(given) == ([("Name a bird", "the heron")], ["not_text", "tool_turn"])


TURNS = {
    "sender": [{"sender": "user", "text": "Name a bird"}, {"sender": "bot", "text": "the heron"}],
    "author": [{"author": "user", "message": "Name a bird"}, {"author": "assistant", "message": "the heron"}],
    "type": [{"type": "human", "content": "Name a bird"}, {"type": "ai", "content": "the heron"}],
    "a thought in parts": [
        ASKED,
        turn("assistant", [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "the heron"}]),
    ],
}


@pytest.mark.parametrize("name", TURNS)
def test_turns_are_read_by_further_names(name, tmp_path):
    for row in ({"messages": TURNS[name]}, {"dialog": TURNS[name]}, {"chat": json.dumps(TURNS[name])}, TURNS[name]):
        assert examples(rows_in(tmp_path, [row], "messages"))[0] == [("Name a bird", "the heron")]


ROW, OTHER = {"prompt": "Name a bird", "response": "the heron"}, {"prompt": "Name a fish", "response": "the pike"}
BOTH = [("Name a bird", "the heron"), ("Name a fish", "the pike")]


def written(folder, name, text, shape="columns", **settings):
    (folder / name).write_text(text, encoding="utf-8")
    return SourceConfig(path=str(folder / name), format=shape, **settings)


LISTS_OF_ROWS = {
    "a list over several lines": json.dumps([ROW, OTHER], indent=2),
    "a list on one line": json.dumps([ROW, OTHER]),
    "objects over several lines": json.dumps(ROW, indent=2) + "\n" + json.dumps(OTHER, indent=2),
    "an object around the list": json.dumps({"version": "1", "data": [ROW, OTHER], "note": None}, indent=2),
}


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json"])
@pytest.mark.parametrize("text", LISTS_OF_ROWS.values(), ids=LISTS_OF_ROWS)
def test_rows_lie_in_a_list_or_over_several_lines_under_either_name(name, text, tmp_path):
    assert examples(written(tmp_path, name, text)) == (BOTH, [])


def test_a_list_of_rows_is_packed_too(tmp_path):
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress(json.dumps([ROW, OTHER], indent=2).encode()))
    assert examples(SourceConfig(path=str(tmp_path / "rows.jsonl.gz"), format="columns")) == (BOTH, [])


def test_one_conversation_a_line_is_a_row_and_a_list_of_them_is_rows(tmp_path):
    turns = [ASKED, GOOD]
    assert examples(written(tmp_path, "a.jsonl", json.dumps(turns), "messages")) == (BOTH[:1], [])
    assert examples(written(tmp_path, "b.jsonl", json.dumps([{"messages": turns}]), "messages")) == (BOTH[:1], [])


def test_of_several_lists_in_an_object_none_is_guessed_and_texts_are_no_rows(tmp_path):
    with pytest.raises(SelfRewardError, match="an object of train, test, and not a list of rows; keep the list alone"):
        examples(written(tmp_path, "rows.json", json.dumps({"train": [ROW], "test": [OTHER]})))
    with pytest.raises(SelfRewardError, match=r"rows.json, row 1: a text, where a row must be an object"):
        examples(written(tmp_path, "rows.json", '["Name a bird"]'))


def test_a_broken_first_line_is_told_with_its_number(tmp_path):
    for text in ('{"prompt": "Name a bird",\n', json.dumps(ROW) + ",\n" + json.dumps(OTHER)):
        with pytest.raises(SelfRewardError, match=r"rows.jsonl:1: not JSON"):
            examples(written(tmp_path, "rows.jsonl", text))


@pytest.mark.parametrize("first", ["prompt;response\n", "sep=;\nprompt;response\n", '"prompt";"response"\n'])
def test_a_semicolon_parts_cells_where_the_header_has_no_comma(first, tmp_path):
    given = written(tmp_path, "rows.csv", first + 'Name a bird;"a heron; grey, tall"\n')
    assert examples(given) == ([("Name a bird", "a heron; grey, tall")], [])
    assert examples(written(tmp_path, "tabs.csv", "prompt\tresponse\nName a bird\tthe heron\n")) == (BOTH[:1], [])
    assert examples(written(tmp_path, "commas.csv", '"prompt","response"\nName a bird,a; b\n')) == ([("Name a bird", "a; b")], [])


def test_two_columns_of_one_name_are_an_error_and_columns_without_a_name_none(tmp_path):
    with pytest.raises(SelfRewardError, match="two columns have the name 'response'"):
        examples(written(tmp_path, "rows.csv", "prompt,response,response\nName a bird,the heron,a spoon\n"))
    assert examples(written(tmp_path, "rows.csv", "prompt,response,,\nName a bird,the heron,,\n")) == (BOTH[:1], [])


def test_turns_in_a_cell_may_be_as_python_shows_them(tmp_path):
    text = f'prompt,chosen,rejected\nName a bird,"{[ASKED, GOOD]}","{[ASKED, BAD]}"\n'
    assert rankings(written(tmp_path, "rows.csv", text)) == ([PLAIN], [])


def test_turns_as_numpy_shows_them_are_no_answer_and_code_is_one(tmp_path):
    for cell in (f"[{ASKED}\n {GOOD}]", f"[{ASKED}, array([{GOOD}], dtype=object)]"):
        with pytest.raises(SelfRewardError, match="row 1: turns as numpy shows them"):
            rankings(written(tmp_path, "rows.csv", f'prompt,chosen,rejected\nName a bird,"{cell}",a spoon\n'))
    code = "[{'role': 'user'} for _ in range(2)] makes two"
    assert examples(written(tmp_path, "code.csv", f'prompt,response\nName a bird,"{code}"\n')) == ([("Name a bird", code)], [])


def test_a_blank_line_before_the_names_of_columns_is_none(tmp_path):
    assert examples(written(tmp_path, "rows.csv", "\nprompt,response\nName a bird,the heron\n")) == (BOTH[:1], [])


def test_responses_and_scores_in_cells_are_lists(tmp_path):
    text = 'prompt,responses,scores\nName a bird,"[""the heron"", ""a spoon""]","[5, 1]"\n'
    assert rankings(written(tmp_path, "rows.csv", text)) == ([PLAIN], [])


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.parquet", "rows.csv"])
def test_a_pointer_of_git_lfs_is_named_as_one(name, tmp_path):
    with pytest.raises(SelfRewardError, match=r"is a pointer of Git LFS, and not the data\. Fetch the data: git lfs pull"):
        examples(written(tmp_path, name, "version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 3\n"))


@pytest.mark.parametrize("names", [("score_chosen", "score_rejected"), ("chosen_score", "rejected_score")])
def test_a_preference_has_the_scores_that_stand_beside_it(names, tmp_path):
    pair = {"prompt": "Name a bird", "chosen": "the heron", "rejected": "a spoon"}
    better, tie, worse, unsaid = ({**pair, **dict(zip(names, s, strict=True))} for s in ((8, 2), (5, 5.0), (2, "8"), ("N/A", 5)))
    assert rankings(rows_in(tmp_path, [better])) == ([PLAIN], [])
    assert rankings(rows_in(tmp_path, [tie])) == ([], ["all_tied"])
    assert rankings(rows_in(tmp_path, [worse])) == ([], ["scores_disagree"])
    assert rankings(rows_in(tmp_path, [unsaid])) == ([PLAIN], [])
    assert rankings(rows_in(tmp_path, [{**better, "status": "tie"}, {**better, "status": "unchanged"}])) == (
        [PLAIN],
        ["all_tied"],
    )


def test_a_prompt_written_as_a_conversation_is_its_turns(tmp_path):
    nectar = {"prompt": "\n\nHuman: Name a bird\n\nAssistant: ", "responses": ["the heron", "a spoon"], "ranks": [1.0, 2.0]}
    assert rankings(rows_in(tmp_path, [nectar])) == ([PLAIN], [])
    said = {"prompt": "Human: rights of whom?", "response": "the heron"}
    assert examples(rows_in(tmp_path, [said])) == ([("Human: rights of whom?", "the heron")], [])


def test_the_prompt_of_two_answers_stands_in_a_list_of_turns_beside_them(tmp_path):
    sharegpt = {"from": "human", "value": "Name a bird"}
    row = {"conversations": [sharegpt], "chosen": {"from": "gpt", "value": "the heron"}, "rejected": BAD}
    assert rankings(rows_in(tmp_path, [row])) == ([PLAIN], [])
    full = {"conversation": [{"input": "?", "output": "!"}], "chosen": [ASKED, GOOD], "rejected": [ASKED, BAD]}
    assert rankings(rows_in(tmp_path, [full])) == ([PLAIN], [])


def test_an_empty_score_is_none_and_a_response_that_is_null_is_left_out(tmp_path):
    row = {"prompt": "Name a bird", "responses": ["the heron", None, "a fork", "a spoon"], "scores": ["5", 4, " ", "1"]}
    assert rankings(rows_in(tmp_path, [row])) == ([PLAIN], ["reply_empty", "reply_unranked"])
    inside = {"prompt": "Name a bird", "responses": [{"text": "the heron", "score": "5"}, {"text": "x", "score": ""}]}
    inside["responses"].append({"text": "a spoon", "score": "1"})
    assert rankings(rows_in(tmp_path, [inside])) == ([PLAIN], ["reply_unranked"])
    assert rankings(rows_in(tmp_path, [{"prompt": "p", "chosen": None, "rejected": "a spoon"}])) == ([], ["one_response"])


def test_a_row_a_response_without_rank_and_score_is_an_error_that_names_the_columns(tmp_path):
    with pytest.raises(SelfRewardError, match=r"rank and score are missing.*\(its columns are prompt, response, helpfulness\)"):
        rankings(rows_in(tmp_path, [{**ROW, "helpfulness": 4}]))


def test_limas_texts_in_turn_and_capybaras_pairs_are_turns_and_mt_benchs_questions_are_not(tmp_path):
    texts = ["Hi", "Hello", "Name a bird", "the heron"]
    pairs = [{"input": "Hi", "output": "Hello"}, {"input": "Name a bird", "output": "the heron"}]
    for row in ({"conversations": texts}, {"conversation": pairs}):
        (kept,), _ = load_examples(rows_in(tmp_path, [row], "messages"), "ift", "ift", 0)
        assert (kept.context, kept.prompt, kept.response) == (AFTER.context, "Name a bird", "the heron")
    with pytest.raises(SelfRewardError, match=r"turns\.0"):
        examples(rows_in(tmp_path, [{"turns": texts[:2]}], "messages"))


def test_earlier_turns_and_system_prompts_of_other_names_are_kept(tmp_path):
    history = {"instruction": "Name a bird", "output": "the heron", "history": [["Hi", "Hello"]], "system_prompt": "Be brief"}
    (kept,), _ = load_examples(rows_in(tmp_path, [history], "alpaca"), "ift", "ift", 0)
    assert [turn.content for turn in kept.context] == ["Be brief", "Hi", "Hello"]
    hermes = {"system_prompt": "Be brief", "messages": [ASKED, GOOD]}
    (kept,), _ = load_examples(rows_in(tmp_path, [hermes], "messages"), "ift", "ift", 0)
    assert kept.context == (Message(**SYSTEM),)


def test_an_answer_of_weight_zero_is_not_learnt(tmp_path):
    unlearnt, learnt = ({"messages": [ASKED, {**GOOD, "weight": weight}]} for weight in (0, 1))
    assert examples(rows_in(tmp_path, [unlearnt, learnt], "messages")) == (BOTH[:1], ["weight_zero"])


@pytest.mark.parametrize("shape", ["records", "messages", "alpaca", "columns"])
def test_a_missing_column_is_told_with_the_setting_that_names_it(shape, tmp_path):
    row = {"user": "Name a bird", "assistant": "the heron"}
    with pytest.raises(SelfRewardError, match=r"its columns are user, assistant\)\. (Give the|Say which column).*columns"):
        examples(rows_in(tmp_path, [row], shape))
    named = rows_in(tmp_path, [row], columns={"prompt": "user", "response": "assistant"})
    assert examples(named) == (BOTH[:1], [])


NO_COMMA = {"id": "punctuation:no_comma"}
BULLETS = {"id": "detectable_format:number_bullet_lists", "kwargs": {"num_bullets": 3}}
AS_IFEVAL = {"instruction_id_list": [NO_COMMA["id"], BULLETS["id"]], "kwargs": [None, {"num_bullets": 3.0, "num_words": None}]}


@pytest.mark.parametrize(("shape", "row"), [
    ("messages", {"messages": [ASKED], "checks": [NO_COMMA, BULLETS]}),
    ("alpaca", {"instruction": "Name a bird", "checks": [NO_COMMA, BULLETS]}),
    ("columns", {"prompt": "Name a bird", "checks": [NO_COMMA, BULLETS]}),
    ("columns", {"key": 1, "prompt": "Name a bird", **AS_IFEVAL}),
    ("columns", {"prompt": "Name a bird", "checks": None, **AS_IFEVAL}),
    ("messages", {"messages": [ASKED, GOOD], **AS_IFEVAL}),
    ("columns", {"prompt": "Name a bird", **{name: json.dumps(part) for name, part in AS_IFEVAL.items()}}),
    ("columns", {"prompt": "Name a bird", **{name: str(part) for name, part in AS_IFEVAL.items()}, "checks": ""}),
    ("columns", {"prompt": "Name a bird", **AS_IFEVAL, "kwargs": ["", '{"num_bullets": 3}'], "checks": []}),
    ("alpaca", {"instruction": "Name a bird", "checks": json.dumps([NO_COMMA, BULLETS])}),
])  # fmt: skip
def test_prompts_of_every_format_carry_their_checks_and_ifevals_own_lists_of_them(tmp_path, shape, row):
    (prompt,), dropped = load_prompts(rows_in(tmp_path, [row], shape), "heldout_prompts", 0)
    assert (prompt.text, dropped) == ("Name a bird", [])
    assert [check.model_dump() for check in prompt.checks] == [NO_COMMA, BULLETS]


def test_checks_are_read_from_cells_of_a_table_and_kinds_without_arguments_are_kept(tmp_path):
    kinds = json.dumps([NO_COMMA["id"]]).replace('"', '""')
    file = tmp_path / "rows.csv"
    file.write_text(f'prompt,instruction_id_list,kwargs,checks\na,"{kinds}",,\nb,,,\nc,{NO_COMMA["id"]},,\n')
    with pytest.raises(SelfRewardError, match=r"row 3.*instruction_id_list and kwargs are no lists"):
        load_prompts(SourceConfig(path=str(file), format="columns"), "heldout_prompts", 0)
    file.write_text("\n".join(file.read_text().splitlines()[:3]))
    prompts, _ = load_prompts(SourceConfig(path=str(file), format="columns"), "heldout_prompts", 0)
    assert [[check.id for check in prompt.checks] for prompt in prompts] == [[NO_COMMA["id"]], []]
    file.write_text(f'text,source,checks\na,seed,"{json.dumps([NO_COMMA]).replace(chr(34), chr(34) * 2)}"\nb,seed,\n')
    prompts, _ = load_prompts(SourceConfig(path=str(file)), "heldout_prompts", 0)
    assert [[check.id for check in prompt.checks] for prompt in prompts] == [[NO_COMMA["id"]], []]


def test_a_check_that_is_none_is_named_by_its_line_and_field_in_every_format(tmp_path):
    rows = [{"messages": [ASKED]}, {"messages": [ASKED], "checks": [{"id": "a", "answer": "b"}]}]
    with pytest.raises(SelfRewardError, match=r"checks\.0.*give one of id, pattern and answer") as told:
        load_prompts(rows_in(tmp_path, rows, "messages"), "heldout_prompts", 0)
    assert told.value.where.endswith("rows.jsonl:2")
    assert rankings(rows_in(tmp_path, [{"prompt": "Hi", "chosen": "a", "rejected": "b", "checks": 3}]))[1] == []
