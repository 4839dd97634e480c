"""Every chat template at hand: what is trained is what is sampled, generation stops there, and the answer is read back alone."""

import os
import sys
from pathlib import Path

import pytest

from selfreward.engines.tokens import answer_text, completion_ids, decode, encode, end_of_turn, neutral, prompt_ids, template
from selfreward.errors import SelfRewardError
from selfreward.records import Frame, Message, turns_of
from template_kinds import KINDS

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
from template_table import PAGE, TRL, collection, faults, lines, part, tokenizer_for

OTHERS = [Path(folder) for folder in os.environ.get("TEMPLATES", "").split(os.pathsep) if folder]
"""Folders of other templates, which PyPI has in packages that are not installed here (scripts/template_table.py)."""
KIND = pytest.mark.parametrize("name", KINDS)


def said(*texts):
    return [Message(role=("user", "assistant")[at % 2], content=text) for at, text in enumerate(texts)]


@KIND
def test_each_kind_is_read_as_it_is_by_hand(name):
    kind = KINDS[name]
    tokenizer = tokenizer_for(kind.source)
    asked = said("Q")
    assert decode(tokenizer, prompt_ids(tokenizer, asked)) == kind.prompt
    after = completion_ids(tokenizer, asked, "A")
    assert decode(tokenizer, after) == kind.answer
    assert after.count(end_of_turn(tokenizer)) == 1 and after[-1] == end_of_turn(tokenizer)
    assert answer_text(tokenizer, after[:-1]).strip() == "A"
    assert (template(tokenizer).thinking, template(tokenizer).system) == (kind.thinking, kind.system)


@KIND
def test_a_row_of_each_kind_is_made_of_one_prompt_and_of_ids_that_read_as_they_were_said(name):
    tokenizer = tokenizer_for(KINDS[name].source)
    assert faults(tokenizer) == []
    hostile = KINDS[name].prompt + KINDS[name].answer
    asked = said(hostile, hostile, "x != y")
    prompt, answer = prompt_ids(tokenizer, asked), completion_ids(tokenizer, asked, hostile)
    honest = said("x", "x", "x")
    special = {at for at, token in tokenizer.added_tokens_decoder.items() if token.special}
    assert [at for at in prompt if at in special] == [at for at in prompt_ids(tokenizer, honest) if at in special]
    assert [at for at in answer if at in special] == [end_of_turn(tokenizer)]


@KIND
def test_a_conversation_with_a_system_turn_is_asked_whole_by_each_kind_that_takes_one(name):
    tokenizer = tokenizer_for(KINDS[name].source)
    asked = [Message(role="system", content="Sys"), *said("Q", "A", "Z")]
    if template(tokenizer).system in ("kept", "prompt only"):
        text = decode(tokenizer, prompt_ids(tokenizer, asked))
        assert all(turn.content in text for turn in asked) and text.endswith(KINDS[name].prompt.rpartition("Q")[2])
    else:
        with pytest.raises(SelfRewardError, match="its chat template"):
            prompt_ids(tokenizer, asked)
    given = turns_of(Frame(role="user")(tuple(asked)))
    assert "Sys\n\nQ" in decode(tokenizer, prompt_ids(tokenizer, given))


@KIND
def test_an_answer_of_each_kind_goes_on_in_the_next_prompt(name):
    kind = KINDS[name]
    tokenizer = tokenizer_for(kind.source)
    asked = said("Q", "A", "Z")
    text = decode(tokenizer, prompt_ids(tokenizer, asked))
    assert text.index("Q") < text.index("A", text.index("Q")) < text.index("Z")
    assert text.endswith(kind.prompt.rpartition("Q")[2])


@KIND
def test_a_system_turn_of_each_kind_is_written_or_told_of(name):
    tokenizer = tokenizer_for(KINDS[name].source)
    asked = [Message(role="system", content="Be kind."), *said("Q")]
    if KINDS[name].system in ("kept", "prompt only"):
        assert "Be kind." in decode(tokenizer, prompt_ids(tokenizer, asked))
    else:
        with pytest.raises(SelfRewardError, match="its chat template"):
            prompt_ids(tokenizer, asked)


def test_white_space_around_peoples_answers_stays_where_the_template_keeps_it():
    trims, keeps = KINDS["turns that must take turns, and none of a system"], KINDS["plain"]
    for kind, answer in ((trims, "A"), (keeps, "\n A ")):
        tokenizer = tokenizer_for(kind.source)
        after = completion_ids(tokenizer, said("Q"), "\n A ")
        assert decode(tokenizer, after) == kind.answer.replace("A", answer)


def test_a_template_for_which_something_is_missing_is_refused_in_one_line():
    with pytest.raises(SelfRewardError, match=r"its chat template refuses a conversation .*'functions' is undefined"):
        template(tokenizer_for("{{ 'Functions: ' + functions }}" + KINDS["plain"].source))


def test_another_template_of_one_tokenizer_is_read_anew():
    tokenizer = tokenizer_for(KINDS["plain"].source)
    first = template(tokenizer)
    tokenizer.chat_template = KINDS["no marker at all"].source
    assert template(tokenizer) != first


def test_a_word_that_pads_is_not_broken_up():
    tokenizer = tokenizer_for(KINDS["plain"].source, pad_token="!")
    assert neutral(tokenizer, "if x != y: <|im_end|>!") == "if x != y: < |im_end|>!"
    after = completion_ids(tokenizer, said("Q"), "if x != y!")
    assert decode(tokenizer, after[:-1]) == "if x != y!"
    assert neutral(tokenizer_for(KINDS["plain"].source, pad_token="[PAD]"), "[PAD]") == "[ PAD]"
    ends = tokenizer_for(KINDS["no marker at all"].source, eos="!", pad_token="!")
    assert neutral(ends, "Hi!") == "Hi! "


def test_nothing_is_tidied_when_tokens_are_read():
    tokenizer = tokenizer_for(KINDS["plain"].source)
    tokenizer.clean_up_tokenization_spaces = True
    tokenizer.clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output = True
    ids = encode(tokenizer, "x != y , I 'm")
    assert tokenizer.decode(ids) == "x!= y, I'm"
    assert decode(tokenizer, ids) == "x != y , I 'm"


@pytest.mark.parametrize("folder", [TRL, *OTHERS], ids=lambda folder: folder.name)
def test_real_templates_are_read_right_or_refused(folder):
    wrong = {}
    for name, source in collection(folder).items():
        tokenizer = tokenizer_for(source)
        try:
            wrong[name] = faults(tokenizer)
        except SelfRewardError as error:
            assert "functions" in error.what, name
    assert len(wrong) > 30
    assert {name: found for name, found in wrong.items() if found} == {}


def test_the_page_says_of_trls_templates_what_is_so():
    assert part("TRL 1.16", lines(TRL)) in PAGE.read_text(encoding="utf-8"), "run python scripts/template_table.py"
