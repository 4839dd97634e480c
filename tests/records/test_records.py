"""Records: content ids, one line of JSON each, and nothing that contradicts itself."""

import hashlib
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from selfreward.errors import SelfRewardError
from selfreward.records import (
    Checkpoint,
    Comparison,
    Completion,
    Dropped,
    Example,
    Judgment,
    Message,
    Pair,
    Prompt,
    Proposal,
    Ranking,
    Request,
    Response,
    Sampling,
    Verdict,
    content_id,
    digest,
    iter_about,
    iter_jsonl,
    read_jsonl,
    read_line,
    to_line,
)

TEXT = st.text(max_size=40)
COUNT = st.integers(0, 10**6)
SCORE = st.floats(allow_nan=False, allow_infinity=False)
FINISH = st.sampled_from(["stop", "length", "error"])
RESPONSE = st.builds(Response, prompt_id=TEXT, model=TEXT, index=COUNT, text=TEXT, finish=FINISH)
RECORDS = st.one_of(
    st.builds(Example, prompt=TEXT, response=TEXT, kind=st.sampled_from(["ift", "eft"]), source=TEXT),
    st.builds(Prompt, text=TEXT, source=st.sampled_from(["seed", "self"])),
    st.lists(st.tuples(TEXT, COUNT)).map(
        lambda ranked: Ranking(prompt="p", responses=tuple(r for r, _ in ranked), ranks=tuple(n for _, n in ranked))
    ),
    st.builds(
        Request,
        about=TEXT,
        index=COUNT,
        messages=st.lists(st.builds(Message, role=st.just("user"), content=TEXT)).map(tuple),
        sampling=st.builds(Sampling, temperature=SCORE, top_p=SCORE, max_tokens=COUNT),
        seed=st.integers(0, 2**64 - 1),
        model=TEXT,
    ),
    st.builds(Completion, request_id=TEXT, text=TEXT, finish=FINISH, prompt_tokens=COUNT, completion_tokens=COUNT),
    st.builds(Proposal, request_id=TEXT, text=TEXT, finish=FINISH),
    RESPONSE,
    st.builds(
        Judgment, response_id=TEXT, judge=TEXT, sample=COUNT, rationale=TEXT, outcome=st.just("scored"), score=SCORE
    ),
    st.builds(
        Judgment, response_id=TEXT, judge=TEXT, sample=COUNT, rationale=TEXT, outcome=st.sampled_from(["unparsed", "off_scale"])
    ),
    st.builds(Dropped, id=TEXT, stage=TEXT, reason=TEXT),
    st.builds(Verdict, response_id=TEXT, kind=TEXT, points=st.dictionaries(TEXT, SCORE)),
    st.builds(Comparison, prompt_id=TEXT, a=TEXT, b=TEXT, winner=st.sampled_from(["a", "b", "tie", "none"])),
)  # fmt: skip


def judgment(outcome, score):
    return Judgment(response_id="r", judge="j", sample=0, rationale="", outcome=outcome, score=score)


def test_a_content_id_is_the_beginning_of_a_sha256_over_the_identity_as_json():
    by_hand = hashlib.sha256('["Prompt",["zwölf Wörter"]]'.encode()).hexdigest()[:16]
    assert Prompt(text="zwölf Wörter", source="seed").id == by_hand


def test_the_same_text_is_the_same_prompt_wherever_it_came_from():
    assert Prompt(text="a", source="seed").id == Prompt(text="a", source="self").id
    assert Prompt(text="a", source="seed").id != Prompt(text="a ", source="seed").id


def test_identity_is_not_blurred_by_where_one_field_ends_and_the_next_begins():
    one = Example(prompt="ab", response="c", kind="ift", source="s")
    other = Example(prompt="a", response="bc", kind="ift", source="s")
    assert one.id != other.id


def test_candidates_of_the_same_text_are_told_apart_by_their_index():
    first, second = (Response(prompt_id="p", model="m", index=n, text="same", finish="stop") for n in (0, 1))
    assert first.id != second.id


@given(RECORDS)
def test_a_record_is_one_line_of_json_and_comes_back_with_its_id(record):
    line = to_line(record)
    again = read_line(line, type(record), "here")
    assert "\n" not in line and "\r" not in line
    assert again == record and to_line(again) == line
    assert getattr(again, "id", None) == getattr(record, "id", None)


@given(st.lists(RESPONSE, max_size=5))
def test_a_file_comes_back_whatever_line_ends_the_texts_contain(tmp_path_factory, responses):
    path = tmp_path_factory.mktemp("records") / "responses.jsonl"
    path.write_text("".join(to_line(response) + "\n" for response in responses), encoding="utf-8")
    assert read_jsonl(path, Response) == responses


def test_a_file_split_at_every_line_end_that_unicode_knows_would_be_caught():
    record = Response(prompt_id="p", model="m", index=0, text="one\u2028two\x85three", finish="stop")
    assert read_line(to_line(record), Response, "here") == record
    assert len(to_line(record).splitlines()) == 3  # what reading with str.splitlines makes of this one line


def test_a_changed_copy_has_the_id_of_what_it_then_is():
    prompt = Prompt(text="before", source="seed")
    cached = prompt.id
    assert prompt.model_copy(update={"text": "after"}).id == Prompt(text="after", source="seed").id
    planted = BaseModel.model_copy(prompt, update={"text": "after"})  # pydantic's own copy takes the cached id along
    assert planted.id == cached


def test_a_line_whose_contents_were_edited_is_refused_naming_file_and_line(tmp_path):
    path = tmp_path / "prompts.jsonl"
    lines = [to_line(Prompt(text=text, source="seed")) for text in ("one", "two")]
    path.write_text(lines[0] + "\n" + lines[1].replace('"two"', '"2"') + "\n")
    with pytest.raises(SelfRewardError, match=rf"{re.escape(str(path))}:2: .*the line was changed"):
        read_jsonl(path, Prompt)


def test_a_line_without_an_id_is_given_its_own():
    assert read_line('{"text": "a", "source": "seed"}', Prompt, "here").id == Prompt(text="a", source="seed").id


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ('{"text": "a", "source": "seed", "sauce": 1}', "sauce"),
        ('{"source": "seed"}', "text"),
        ('{"text": "a", "source": "web"}', "source"),
        ('{"text": "a", "source": "se', "Invalid JSON"),
        ("", "Invalid JSON"),
        ("[]", "Prompt"),
        ('{"text": "\\ud800", "source": "seed"}', "Invalid JSON"),
    ],
)
def test_a_line_that_does_not_fit_is_an_error_that_names_the_field(line, named):
    with pytest.raises(SelfRewardError, match=named):
        read_line(line, Prompt, "here")


def test_a_file_may_begin_with_a_mark_of_its_encoding_and_the_line_that_is_not_utf_8_is_named(tmp_path):
    file, line = tmp_path / "prompts.jsonl", to_line(Prompt(text="Wörter", source="seed")) + "\r\n"
    file.write_bytes(line.encode("utf-8-sig") + line.encode())
    assert [prompt.text for prompt in iter_jsonl(file, Prompt)] == ["Wörter", "Wörter"]
    file.write_bytes(line.encode() + line.encode("latin-1") + line.encode())
    for read in (iter_jsonl(file, Prompt), iter_about(file, Prompt, "text", {"none"})):
        with pytest.raises(SelfRewardError, match=r"prompts\.jsonl:2: is not UTF-8 text\. Save it as UTF-8"):
            list(read)


def test_a_missing_file_and_one_that_is_not_utf_8_are_errors_for_the_user(tmp_path):
    with pytest.raises(SelfRewardError, match="No such file"):
        list(iter_jsonl(tmp_path / "none.jsonl", Prompt))
    (tmp_path / "latin.jsonl").write_bytes('{"text": "Wörter"}\n'.encode("latin-1"))
    with pytest.raises(SelfRewardError, match="not UTF-8"):
        list(iter_jsonl(tmp_path / "latin.jsonl", Prompt))


@pytest.mark.parametrize("outcome", ["unparsed", "off_scale", "truncated", "error"])
@pytest.mark.parametrize("number", [-1, 0, float("nan")])
def test_a_failed_judgment_is_never_a_number(outcome, number):
    assert judgment(outcome, None).score is None
    with pytest.raises(ValidationError, match="does not go with"):
        judgment(outcome, number)


def test_a_scored_judgment_has_a_score():
    assert judgment("scored", 0.0).score == 0.0
    with pytest.raises(ValidationError, match="does not go with"):
        judgment("scored", None)


@pytest.mark.parametrize(
    ("chosen", "rejected", "scores"),
    [("a", "a", (5, 1)), ("a", "b", (3, 3)), ("a", "b", (1, 5)), ("a", "b", (float("nan"), 1)), ("a", "b", (1, float("nan")))],
)
def test_a_pair_that_prefers_nothing_cannot_be_written_down(chosen, rejected, scores):
    with pytest.raises(ValidationError, match="higher score"):
        Pair(prompt_id="p", chosen_id=chosen, rejected_id=rejected, chosen_score=scores[0], rejected_score=scores[1])


def test_a_ranking_has_a_rank_for_every_response():
    with pytest.raises(ValidationError, match=r"2 responses but 1 rank\b"):
        Ranking(prompt="p", responses=("a", "b"), ranks=(0,))


def test_every_request_has_a_seed_of_its_own_that_follows_from_the_runs():
    def seed(about="r", index=0, text="t", run=0):
        model, sampling = Checkpoint(name="M1", path="m", fingerprint="f"), Sampling(temperature=0.7, top_p=0.9, max_tokens=8)
        return Request.user_turn(about, index, text, sampling, model, run).seed

    others = [seed(about="s"), seed(index=1), seed(text="u"), seed(run=1)]
    assert seed() == seed() and len({seed(), *others}) == 5
    assert all(0 <= one < 2**64 for one in others)


def test_records_are_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        Prompt(text="a", source="seed").text = "b"


def test_a_digest_depends_on_every_record_and_on_their_order():
    one, two = Prompt(text="1", source="seed"), Prompt(text="2", source="seed")
    assert len({digest([]), digest([one]), digest([one, two]), digest([two, one])}) == 4


@given(st.recursive(st.none() | st.booleans() | COUNT | TEXT, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner)))
def test_a_content_id_does_not_depend_on_the_order_of_keys(value):
    shuffled = json.loads(json.dumps(value), object_pairs_hook=lambda pairs: dict(reversed(pairs)))
    assert content_id(value) == content_id(shuffled)
