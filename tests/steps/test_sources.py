"""Rows of every shape become records, and every row that does not is counted with a reason."""

import gzip
import json
import logging
from collections import Counter

import pyarrow
import pytest
from pyarrow import parquet
from pydantic import ValidationError

from selfreward.errors import SelfRewardError
from selfreward.recipe import SourceConfig
from selfreward.records import Example, Message, Prompt, Ranking, to_line
from selfreward.steps import load_prompts, load_rankings
from selfreward.steps.sources import draw, load_examples


def message(text, role="assistant", **more):
    """A message as Open Assistant's export has it."""
    plain = {"message_id": text, "text": text, "role": role, "lang": "en", "review_count": 3, "review_result": True}
    return {**plain, "deleted": False, "rank": None, "synthetic": False, "replies": [], **more}


def tree(text, *replies, **more):
    prompt = message(text, "prompter", **{"replies": list(replies), **more})
    return {"message_tree_id": text, "tree_state": "ready_for_export", "prompt": prompt}


def ranked(*texts):
    """Replies, the best first."""
    return [message(text, rank=rank) for rank, text in enumerate(texts)]


def source(folder, rows, name="rows.jsonl", **settings):
    """A source of `rows`, in a JSONL file."""
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return SourceConfig(path=str(folder / name), **settings)


def examples(given, **settings):
    return load_examples(given, "ift", "ift", 0, **settings)


def rankings(given, **settings):
    return load_rankings(given, "rankings", 0, **settings)


def told(dropped):
    """(line, reason) of what was dropped."""
    return [(drop.id.split(":")[-1], drop.reason) for drop in dropped]


TREES = {
    "kept": tree("Name a bird", *ranked("the heron", "a spoon")),
    "language": tree("Nenne einen Vogel", *ranked("der Reiher"), lang="de"),
    "deleted": tree("Name a tree", *ranked("the oak"), deleted=True),
    "not_reviewed": tree("Name a fish", *ranked("the pike"), review_result=False),
    "not reviewed either": tree("Name a wine", *ranked("a red one"), review_result=None),
    "unanswered": tree("Name a ship"),
    "no replies at all": tree("Name a star", replies=None),
    "unranked": tree("Name a town", message("Ghent"), message("Bruges", rank=1)),
    "best is deleted": tree("Name a game", message("chess", rank=0, deleted=True), message("go", rank=1)),
    "best is not reviewed": tree("Name a song", message("la la", rank=0, review_result=None)),
    "empty": tree(" \n", *ranked("what?")),
    "best is empty": tree("Name a hat", *ranked("  ", "a bowler")),
    "repeated": tree("Name a bird", *ranked("the heron", "a fork")),
}
REASONS = {
    "not reviewed either": "not_reviewed",
    "no replies at all": "unanswered",
    "best is deleted": "deleted",
    "best is not reviewed": "not_reviewed",
    "best is empty": "empty",
}


def test_of_open_assistant_the_best_answer_to_a_first_turn_is_taken_and_every_other_tree_has_its_reason(tmp_path):
    kept, dropped = examples(source(tmp_path, TREES.values(), format="oasst", language="en"))
    assert kept == [Example(prompt="Name a bird", response="the heron", kind="ift", source="rows.jsonl")]
    assert told(dropped) == [(str(n), REASONS.get(name, name)) for n, name in enumerate(TREES, start=1) if name != "kept"]
    assert {drop.stage for drop in dropped} == {"ift"}
    assert len(kept) + len(dropped) == len(TREES)


def test_without_a_language_every_language_is_taken(tmp_path):
    kept, dropped = examples(source(tmp_path, TREES.values(), format="oasst"))
    assert [example.prompt for example in kept] == ["Name a bird", "Nenne einen Vogel"]
    assert "language" not in {drop.reason for drop in dropped}


def test_of_open_assistant_a_ranking_has_the_fit_replies_and_what_is_left_out_of_it_is_counted(tmp_path):
    best, worst = message("the heron", rank=1), message("a spoon", rank=4)
    unfit = [message("gone", rank=0, deleted=True), message("spam", rank=2, review_result=False), message(" ", rank=3)]
    rows = [
        tree("Name a bird", worst, *unfit, message("nobody ranked it"), best),
        tree("Name a fish", *ranked("the pike")),
        tree("Name a town", message("Ghent"), message("Bruges")),
        tree("Name a game", message("chess", rank=0), message("go", rank=0)),
        tree("Name a ship"),
        tree("Name a song", message("la", rank=0, deleted=True), message("lo", rank=1, deleted=True)),
    ]
    kept, dropped = rankings(source(tmp_path, rows, format="oasst"))
    assert kept == [Ranking(prompt="Name a bird", responses=("a spoon", "the heron"), ranks=(1, 0))]
    replies = [drop for drop in dropped if drop.reason.startswith("reply_")]
    sets = [drop for drop in dropped if drop not in replies]
    assert told(sets) == [("2", "one_response"), ("3", "unranked"), ("4", "all_tied"), ("5", "unanswered"), ("6", "one_response")]
    assert [r.reason for r in replies] == ["reply_deleted", "reply_not_reviewed", "reply_empty", "reply_unranked"]
    assert {reply.id for reply in replies} == {"rows.jsonl:1"}
    assert len(kept) + len(sets) == len(rows)


def chat(*turns):
    return {"messages": [{"role": role, "content": text} for role, text in turns]}


CHATS = {
    "two exchanges": chat(("user", "Name a bird"), ("assistant", "the heron"), ("user", "another"), ("assistant", "the crane")),
    "an empty system turn": chat(("system", " "), ("user", "Name a fish"), ("assistant", "the pike")),
    "a system turn": chat(("system", "Speak like a pirate"), ("user", "Name a ship"), ("assistant", "arr")),
    "assistant_first": chat(("assistant", "Hello"), ("user", "Name a hat"), ("assistant", "a bowler")),
    "unanswered": chat(("user", "Name a tree")),
    "two_user_turns": chat(("user", "Name a star"), ("user", "please"), ("assistant", "Vega")),
    "two_assistant_turns": chat(("user", "Name a star"), ("assistant", "Vega"), ("assistant", "Deneb")),
    "no_user_turn": chat(),
    "no user turn either": chat(("system", "Be brief"), ("assistant", "Hello")),
    "empty": chat(("user", " "), ("assistant", "what?")),
    "an empty answer": chat(("user", "Name a hat"), ("assistant", "")),
    "an empty turn within": chat(("user", "Name a hat"), ("assistant", ""), ("user", "well?"), ("assistant", "a bowler")),
    "late_system_turn": chat(("user", "Name a hat"), ("system", "Be brief"), ("assistant", "a bowler")),
    "tool_turn": chat(("user", "Name a hat"), ("tool", "{}"), ("assistant", "a bowler")),
    "unknown_role": chat(("user", "Name a hat"), ("narrator", "He thinks."), ("assistant", "a bowler")),
    "silence at the end": chat(("user", "Name a game"), ("assistant", "go"), ("user", ""), ("assistant", None)),
    "a question at the end": chat(("user", "Name a wine"), ("assistant", "a red one"), ("user", "and a white one")),
}
BY_REASON = {
    "no user turn either": "no_user_turn", "an empty answer": "empty", "an empty turn within": "empty",
    "a question at the end": "unanswered",
}  # fmt: skip
WHOLE = {"two exchanges", "an empty system turn", "a system turn", "silence at the end"}
PIRATE = (Message(role="system", content="Speak like a pirate"),)


def test_of_a_chat_the_last_answer_is_taken_after_all_that_was_said_before_and_odd_orders_have_their_reasons(tmp_path):
    kept, dropped = examples(source(tmp_path, CHATS.values(), format="messages"))
    assert [(one.prompt, one.response, [turn.role for turn in one.context]) for one in kept] == [
        ("another", "the crane", ["user", "assistant"]), ("Name a fish", "the pike", []), ("Name a ship", "arr", ["system"]),
        ("Name a game", "go", []),
    ]  # fmt: skip
    assert kept[0].context[1] == Message(role="assistant", content="the heron") and kept[2].context == PIRATE
    lines = {str(n): name for n, name in enumerate(CHATS, start=1) if name not in WHOLE}
    assert told(dropped) == [(line, BY_REASON.get(name, name)) for line, name in lines.items()]


def test_a_chat_that_ends_with_the_user_is_a_prompt(tmp_path):
    kept, _ = load_prompts(source(tmp_path, CHATS.values(), format="messages"), "p", 0)
    prompts = {prompt.text: [turn.content for turn in prompt.context] for prompt in kept}
    assert prompts["Name a tree"] == [] and prompts["and a white one"] == ["Name a wine", "a red one"]
    assert prompts["another"] == ["Name a bird", "the heron"] and prompts["Name a ship"] == ["Speak like a pirate"]


def test_chats_may_have_other_names_for_what_is_in_them(tmp_path):
    rows = [{"talk": [{"from": "human", "value": "Name a bird"}, {"who": "gpt", "value": "the heron"}]}]
    rows[0]["talk"][1]["from"] = "gpt"
    kept, _ = examples(source(tmp_path, rows, format="messages", columns={"messages": "talk"}))
    assert (kept[0].prompt, kept[0].response) == ("Name a bird", "the heron")
    rows = [{"messages": [{"who": "user", "said": "Name a bird"}, {"who": "bot", "said": "the heron"}]}]
    kept, _ = examples(source(tmp_path, rows, format="messages", columns={"role": "who", "content": "said"}))
    assert (kept[0].prompt, kept[0].response) == ("Name a bird", "the heron")


ALPACA = [
    {"instruction": "Sort the words.", "input": "pear fig", "output": "fig pear"},
    {"instruction": "Name a bird", "input": "", "output": "the heron"},
    {"instruction": "Name a fish", "input": None, "output": None},
    {"instruction": "Name a tree", "input": None, "output": ""},
]


def write_json(path):
    path.write_text(json.dumps(ALPACA, indent=1))


def write_parquet(path):
    parquet.write_table(pyarrow.Table.from_pylist(ALPACA), path, row_group_size=2)


def write_jsonl(path):
    path.write_text("\n\n".join(map(json.dumps, ALPACA)))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("name", "write", "places"),
    [("a.json", write_json, [", row 3", ", row 4"]), ("a.parquet", write_parquet, [", row 3", ", row 4"]),
     ("a.jsonl", write_jsonl, [":5", ":7"])],
)  # fmt: skip
def test_every_container_gives_the_same_records_packed_or_not(name, write, places, packed, tmp_path):
    write(tmp_path / name)
    path = tmp_path / f"{name}.gz" if packed else tmp_path / name
    if packed:
        path.write_bytes(gzip.compress((tmp_path / name).read_bytes()))
    kept, dropped = examples(SourceConfig(path=str(path), format="alpaca"))
    assert [(e.prompt, e.response) for e in kept] == [("Sort the words.\n\npear fig", "fig pear"), ("Name a bird", "the heron")]
    assert [(drop.id, drop.reason) for drop in dropped] == [
        (path.name + places[0], "unanswered"), (path.name + places[1], "empty"),
    ]  # fmt: skip


COLUMNS = [
    ({"prompt": "p", "responses": ["a", "b", "c"], "ranks": [2, 1, 2]}, {}, (1, 0, 1)),
    ({"prompt": "p", "responses": ["a", "b", "c"], "scores": [0.25, 1.0, 0.5]}, {}, (2, 0, 1)),
    ({"prompt": "p", "responses": ["a", "b", "c"], "quality": [1, 5, 5]}, {"scores": "quality"}, (1, 0, 0)),
    ({"q": "p", "responses": [{"text": t, "rank": n} for n, t in enumerate("abc")]}, {"prompt": "q"}, (0, 1, 2)),
    (
        {"text": "p", "said": [{"text": t, "overall": n} for n, t in enumerate("abc")]},
        {"prompt": "text", "responses": "said", "score": "overall"},
        (2, 1, 0),
    ),
    (
        {
            "prompt": [{"role": "prompter", "text": "p"}],
            "responses": [{"content": t, "score": 1 - n} for n, t in enumerate("abc")],
        },
        {},
        (0, 1, 2),
    ),
]


@pytest.mark.parametrize(("row", "columns", "ranks"), COLUMNS)
def test_ranks_and_scores_stand_in_a_column_or_in_the_responses_under_any_name(row, columns, ranks, tmp_path):
    given = source(tmp_path, [row], format="columns", columns=columns)
    kept, dropped = rankings(given)
    assert kept == [Ranking(prompt="p", responses=("a", "b", "c"), ranks=ranks)] and not dropped
    assert examples(given)[0][0].response == "abc"[ranks.index(0)]
    assert load_prompts(given, "heldout_prompts", 0)[0] == [Prompt(text="p", source="seed")]


def test_a_named_column_with_one_answer_is_an_example_and_responses_nobody_scored_are_left_out(tmp_path):
    row = {"question": "p", "answer": "yes", "responses": ["no", "never"], "scores": [None, None]}
    kept, _ = examples(source(tmp_path, [row], format="columns", columns={"prompt": "question", "response": "answer"}))
    assert (kept[0].prompt, kept[0].response) == ("p", "yes")
    row = {"prompt": "p", "responses": ["a", "b", "c"], "scores": [0.1, None, 0.9]}
    kept, dropped = rankings(source(tmp_path, [row, row | {"scores": [None, None, 1]}], format="columns"))
    assert kept == [Ranking(prompt="p", responses=("a", "c"), ranks=(1, 0))]
    assert told(dropped) == [("1", "reply_unranked"), ("2", "unranked")]


def test_turns_before_the_answers_are_their_prompt(tmp_path):
    turns = [{"role": role, "text": role} for role in ("prompter", "assistant", "prompter")]
    rows = [{"prompt": turns[:n], "responses": ["a", "b"], "ranks": [0, 1]} for n in (0, 1, 2, 3)]
    kept, dropped = rankings(source(tmp_path, rows, format="columns"))
    assert [(ranking.prompt, len(ranking.context)) for ranking in kept] == [("prompter", 0), ("prompter", 2)]
    assert told(dropped) == [("1", "no_user_turn"), ("3", "ends_with_an_answer")]


RECORD = Example(prompt="p", response="r", kind="ift", source="test")
BAD_ROWS = [
    ("oasst", {}, tree("p", message(5)), "prompt.replies.0.text: Input should be a valid string"),
    ("oasst", {}, {"prompt": {"role": "prompter"}}, "prompt.text: Field required"),
    ("messages", {}, {"messages": [{"role": "user"}]}, "messages.0.content: Field required"),
    ("messages", {"messages": "talk"}, {"talk": "hello"}, "talk: Input should be a valid list"),
    ("messages", {}, {"messages": "[torn"}, "messages: Input should be a valid list"),
    ("alpaca", {}, {"output": "r"}, "instruction: Field required"),
    ("alpaca", {}, [1, 2], "Example: Input should be a valid dictionary"),
    (
        "columns",
        {"prompt": "question"},
        {"prompt": "p", "response": "r"},
        "question: the row has no such column (its columns are prompt, response)",
    ),
    ("columns", {"prompt": "question"}, {"question": 5, "response": "r"}, "question: Input should be a valid list"),
    ("columns", {}, {"prompt": "p", "note": 1}, "responses: Field required (its columns are prompt, note)"),
    ("columns", {}, {"prompt": "p", "responses": ["a", "b"], "ranks": [0]}, "2 responses but 1 ranks"),
    ("columns", {}, {"prompt": "p", "responses": ["a", "b"], "scores": [0, "much"]}, "scores.1: Input should be a valid number"),
    ("records", {}, {"prompt": "p", "response": "r", "kind": "ift"}, "source: Field required"),
    ("records", {}, json.loads(to_line(RECORD)) | {"response": "changed"}, "id is"),
    ("columns", {}, "{broken", "not JSON (key must be a string at line 1 column 2)"),
    ("columns", {}, '{"prompt": "\\ud800", "response": "r"}', "prompt: holds half a surrogate pair"),
]


PAIR = {"question": "q", "good": "a", "bad": "b"}


@pytest.mark.parametrize(("load", "names"), [
    (load_rankings, 'columns = { prompt = "question", chosen = "good", rejected = "bad" }'),
    (load_examples, 'columns = { prompt = "question", response = "answer" }'),
    (load_prompts, 'columns = { prompt = "question" }'),
])  # fmt: skip
@pytest.mark.parametrize("shape", ["columns", "records"])
def test_the_columns_that_a_source_needs_are_told_and_no_row_is_offered_to_be_left_out_where_none_can_be_read(
    load, names, shape, tmp_path
):
    more = {"kind": "ift"} if load is load_examples else {}
    given = source(tmp_path, [PAIR, PAIR], format=shape)
    with pytest.raises(SelfRewardError) as error:
        load(given, stage="s", seed=0, **more)
    assert names in error.value.now and "skip" not in error.value.now
    fit = {"prompt": "p", "response": "r"} if load is not load_rankings else {"prompt": "p", "chosen": "a", "rejected": "b"}
    if shape == "columns":
        with pytest.raises(SelfRewardError) as error:
            load(source(tmp_path, [PAIR, PAIR, fit], format=shape), stage="s", seed=0, **more)
        assert names in error.value.now and "skip" in error.value.now and error.value.where.endswith(":1")


@pytest.mark.parametrize(("shape", "columns", "bad", "says"), BAD_ROWS)
def test_a_row_that_breaks_its_format_is_an_error_naming_line_and_field_or_is_skipped_and_listed(
    shape, columns, bad, says, tmp_path
):
    given = source(tmp_path, [None, None], format=shape, columns=columns)
    good = {
        "oasst": TREES["kept"], "messages": chat(("user", "p"), ("assistant", "r")), "alpaca": ALPACA[1],
        "columns": {"prompt": "p", "response": "r"}, "records": json.loads(to_line(RECORD)),
    }[shape]  # fmt: skip
    good = {columns.get(name, name): value for name, value in good.items()}
    lines = [json.dumps(good), bad if isinstance(bad, str) else json.dumps(bad)]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    with pytest.raises(SelfRewardError) as error:
        examples(given)
    assert error.value.where == f"{tmp_path}/rows.jsonl:2" and says in error.value.what
    assert "--skip-bad-rows" in error.value.now
    kept, dropped = examples(given, skip_bad_rows=True)
    assert len(kept) == 1
    assert [(drop.id, drop.stage, drop.reason) for drop in dropped] == [("rows.jsonl:2", "ift", "bad_row")]


def test_our_own_records_are_taken_as_they_stand_twice_where_they_stand_twice(tmp_path):
    kept, dropped = examples(source(tmp_path, [json.loads(to_line(RECORD))] * 2))
    assert kept == [RECORD, RECORD] and not dropped


def test_rows_with_one_answer_are_no_rankings(tmp_path):
    with pytest.raises(SelfRewardError, match="one answer each, and no ranks"):
        rankings(source(tmp_path, [], format="alpaca"))


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("missing.jsonl", None, r"missing.jsonl: cannot be read \(No such file or directory\)"),
        ("torn.jsonl.gz", gzip.compress(b'{"prompt": "p", "response": "r"}\n' * 99, mtime=0)[:-20], "cannot be read"),
        ("plain.jsonl.gz", b'{"prompt": "p"}', "cannot be read"),
        ("latin.jsonl", b"\xff\xfe", "is not UTF-8 text"),
        ("object.json", b'{"data": []}', "not a list of rows"),
        ("broken.json", b"[1, 2", "cannot be read"),
        ("text.parquet", b"no parquet at all", "cannot be read"),
        ("rows.xlsx", b"a,b", "is of a kind that cannot be read"),
        ("open.csv", b'prompt,response\n"p,r\n', "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(name, content, says, tmp_path):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    for skip in (False, True):
        with pytest.raises(SelfRewardError, match=says):
            examples(SourceConfig(path=str(tmp_path / name), format="columns"), skip_bad_rows=skip)


@pytest.mark.parametrize("name", ["rows.csv", "rows.csv.gz"])
def test_csv_is_read_as_spreadsheets_write_it(name, tmp_path):
    long = "r" * 200_000
    text = f'\ufeffask,answer,note\r\n"two ""lines"",\nsaid",yes,\r\n\r\nq, s ,"5"\r\nt,{long},\r\n'.encode()
    (tmp_path / name).write_bytes(gzip.compress(text, mtime=0) if name.endswith(".gz") else text)
    given = SourceConfig(path=str(tmp_path / name), format="columns", columns={"prompt": "ask", "response": "answer"})
    kept, dropped = examples(given)
    assert [example.prompt for example in kept] == ['two "lines",\nsaid', "q", "t"] and not dropped
    assert kept[0].response == "yes" and kept[1].response.strip() == "s" and kept[2].response == long


def test_a_row_of_csv_with_other_cells_than_the_first_is_an_error_or_is_skipped_and_listed(tmp_path):
    file = tmp_path / "rows.csv"
    file.write_text("instruction,input,output\nask,,answer\nan, unquoted, comma, here\nshort,\n")
    given = SourceConfig(path=str(file), format="alpaca")
    with pytest.raises(
        SelfRewardError,
        match=r"rows\.csv, row 2: 4 cells, and the first row names 3; 2 rows of this source .* the first\. Correct it",
    ):
        examples(given)
    kept, dropped = examples(given, skip_bad_rows=True)
    assert [example.response for example in kept] == ["answer"]
    assert [(drop.id, drop.reason) for drop in dropped] == [("rows.csv, row 2", "bad_row"), ("rows.csv, row 3", "bad_row")]


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """`datasets` with a cache of its own and without a network."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return datasets


def test_a_folder_with_a_dataset_is_read_split_by_split(tmp_path, cached):
    folder = tmp_path / "data"
    folder.mkdir()
    for split in ("train", "test"):
        source(folder, [{"q": f"{split} {n}", "a": "yes"} for n in range(3)], f"{split}.jsonl")
    given = SourceConfig(path=str(folder), format="columns", columns={"prompt": "q", "response": "a"}, split="test")
    assert [example.prompt for example in examples(given)[0]] == ["test 0", "test 1", "test 2"]
    assert examples(given.model_copy(update={"split": "train"}))[0][0].prompt == "train 0"
    with pytest.raises(SelfRewardError, match=r"data: cannot be loaded as a dataset .*nowhere"):
        examples(given.model_copy(update={"split": "nowhere"}))


def test_a_dataset_that_the_hub_does_not_have_is_one_line_and_nothing_is_said_of_tries(cached, monkeypatch, caplog):
    def unreachable(*given, **more):
        logging.getLogger("huggingface_hub.utils._http").warning("Retrying in 1s [Retry 1/5].")
        raise ConnectionError("Dataset 'org/nothing'\ndoesn't exist")

    monkeypatch.setattr(cached, "load_dataset", unreachable)
    monkeypatch.setattr(logging.getLogger("huggingface_hub"), "level", logging.WARNING)
    with pytest.raises(SelfRewardError) as caught:
        examples(SourceConfig(path="org/nothing", format="alpaca"))
    assert "org/nothing: cannot be loaded as a dataset (Dataset 'org/nothing' doesn't exist). Give" in str(caught.value)
    assert caplog.records == [] and "\n" not in str(caught.value)


def test_a_dataset_that_was_saved_to_disk_is_read_too(tmp_path, cached):
    made = cached.Dataset.from_list([{"prompt": "p", "response": "r"}, {"prompt": "q", "response": ""}])
    made.save_to_disk(tmp_path / "one")
    cached.DatasetDict({"train": made}).save_to_disk(tmp_path / "several")
    for name in ("one", "several"):
        kept, dropped = examples(SourceConfig(path=str(tmp_path / name), format="columns"))
        assert [example.prompt for example in kept] == ["p"]
        assert [(drop.id, drop.reason) for drop in dropped] == [(f"{name}, row 2", "empty")]


def test_a_dataset_that_cannot_be_reached_is_an_error_to_read(cached):
    with pytest.raises(SelfRewardError, match=r"^nobody/nothing: cannot be loaded as a dataset \(.*\)\. Give a folder"):
        examples(SourceConfig(path="nobody/nothing", format="columns"))
    with pytest.raises(SelfRewardError, match="cannot be read"):
        examples(SourceConfig(path="/nowhere/at/all", format="columns"))


def test_a_limit_draws_by_the_seed_and_counts_the_rest(tmp_path):
    rows = [{"prompt": f"number {n}", "response": "r"} for n in range(50)]
    given = source(tmp_path, rows, format="columns", limit=8)
    drawn = [load_examples(given, "ift", "ift", seed) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    kept, dropped = drawn[0]
    assert len(kept) == 8 and Counter(drop.reason for drop in dropped) == {"over_limit": 42}
    assert kept == sorted(kept, key=lambda example: int(example.prompt.split()[1]))
    assert draw(kept, 8, "ift", 5) == (kept, []) == draw(kept, None, "ift", 5)
    assert draw(kept, 0, "ift", 5)[0] == []


@pytest.mark.parametrize(
    "settings",
    [
        {"format": "alpaca", "language": "en"},
        {"columns": {"prompt": "q"}},
        {"format": "oasst", "columns": {"prompt": "q"}},
        {"format": "columns", "columns": {"promt": "q"}},
    ],
)
def test_a_setting_that_its_format_has_no_use_for_is_refused(settings):
    with pytest.raises(ValidationError):
        SourceConfig(path="rows.jsonl", **settings)


def test_the_published_sets_are_211_conversations_and_rank_638_responses(reference, tmp_path):
    rows = reference("oasst_ranked_trees")
    given = source(tmp_path, rows, format="columns", columns={"prompt": "context"})
    kept, dropped = rankings(given)
    assert len(rows) == 211 == len(kept) and not dropped
    assert Counter(1 + len(ranking.context) for ranking in kept) == {1: 99, 3: 110, 5: 2}
    assert sum(len(ranking.responses) for ranking in kept) == 638
    best = [min(row["responses"], key=lambda r: r["rank"])["text"] for row in rows]
    assert [example.response for example in examples(given)[0]] == best
    for row, ranking in zip(rows, kept, strict=True):
        said = [turn.content for turn in ranking.context] + [ranking.prompt]
        assert said == [turn["text"] for turn in row["context"]]
