"""A stage that yields nothing ends the run with the commonest reason, an example of it, and the field that decides it."""

import itertools
import json
import re
import shlex

import pytest

from selfreward.engines.fake import FakeModel
from selfreward.errors import SHORT, NoPairs, SelfRewardError, cut_short
from selfreward.records import Ranking, to_line
from selfreward.reports import describe_status
from selfreward.steps.nothing import GOING_ON, UNLEARNT
from selfreward.steps.reasons import commonest, counted
from tinyrun import go, make_world, quiet


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    quiet(monkeypatch)
    return make_world(tmp_path)


def write(monkeypatch, by):
    """Let models write as `by` says of a request's last turn; None: as they do by themselves."""
    fake = FakeModel()

    def text(request):
        return by(request.messages[-1].content) or fake._write(request)

    monkeypatch.setattr("selfreward.engines.opening.FakeModel", lambda: FakeModel(text))


def judging(text, finish="stop"):
    """Models that judge so."""
    return lambda asked: (text, finish) if "score" in asked.lower() else None


def proposing(text, finish="stop"):
    """Models that write such prompts."""
    return lambda asked: (text, finish) if asked.startswith("Come up") else None


def comparing(text, finish="stop"):
    """Models that compare so."""
    return lambda asked: (text, finish) if "verdict" in asked.lower() else None


def answering(text, finish="stop"):
    """Models that answer so."""
    return lambda asked: None if asked.startswith("Come up") or "score" in asked.lower() else (text, finish)


@pytest.mark.parametrize(
    ("by", "change", "says", "field"),
    [
        (proposing("tell me a tale of two birch trees"), {"prompts__form": "sum up .*"},
         r"no prompts: malformed 6\) of the 6 that the writer wrote\. malformed, for example: “tell me a tale of two birch",
         "prompts.form"),
        (proposing("too short"), {}, r"no prompts: too_short 6\).*for example: “too short”", "prompts.min_words"),
        (proposing("a tale of two birch trees that goes on", "length"), {}, "ran_on 6", "prompts.max_tokens"),
        (judging("I like it a lot.\x1b[2J"), {}, r"fewer_than_two_scored \d\), for no judgment could be read: unparsed \d+\. "
         r"unparsed, for example: the judge wrote “I like it a lot\.\\x1b\[2J”", "judge.pattern"),
        (judging("Score: 9"), {}, "off_scale, for example: the judge wrote “Score: 9”", "judge.scale"),
        (judging("Let me think. Score", "length"), {}, "truncated, for example", "judge.max_tokens"),
        (judging("no object here"), {"judge__form": "json"}, "the judge wrote “no object here”", "judge.field"),
        (judging("Score: 3"), {}, r"no usable pair \(tie \d\)\. tie, for example: the answers to “Describe ", "judge.rubric"),
        (answering("the same words"), {}, "same_text|tie", None),
        (answering("words without an end", "length"), {}, "all_ran_out_of_length", "responses.max_tokens"),
        (comparing("I cannot say."), {"judge__method": "pairwise"}, r"for no comparison could be read: unparsed \d+\. unparsed, "
         r"for example: the judge wrote “I cannot say\.”", "pairwise.pattern"),
        (comparing("", "error"), {"judge__method": "pairwise"}, r"no comparison could be read: error \d+$", "judge.by"),
        (comparing("Verdict: first"), {"judge__method": "pairwise"}, r"tie, for example: the answers to “", "pairwise.rubric"),
        (answering("It is four."), {"judge__method": "votes", "judge__answer": r"answer: (\d+)"},
         r"too few responses come to an answer: no_answer \d+\. no_answer, for example: “It is four\.”", "judge.answer"),
        (answering("It is four."), {"judge__method": "votes"}, r"tie \d\)\. tie, for example: the", "responses.temperature"),
        (answering("It is", "length"), {"judge__method": "cream"},
         r"too few responses have a likelihood: did_not_end \d+\. did_not_end, for example: “It is”", "responses.max_tokens"),
        (proposing("", "error"), {}, r"no prompts: writer_failed 6\) of the 6 that the writer wrote$", "prompts.by"),
        (answering("", "error"), {}, r"none of \d+ requests for responses was answered", None),
    ],
    ids=lambda value: value if isinstance(value, str) and "." in value and " " not in value else None,
)  # fmt: skip
def test_the_reason_the_example_and_the_field(by, change, says, field, recipe, tmp_path, monkeypatch):
    write(monkeypatch, by)
    with pytest.raises(NoPairs) as caught:
        go(recipe, tmp_path / "run", **change)
    assert re.search(says, caught.value.what) and not caught.value.what.endswith(". ")
    assert field is None or caught.value.now.startswith(f"{field} decides it: ")
    assert caught.value.now.endswith(GOING_ON)
    assert "\n" not in str(caught.value) and "\x1b" not in str(caught.value)
    assert f"{tmp_path}/run/M2/" in caught.value.where


@pytest.mark.parametrize(
    ("text", "says", "field"),
    [
        ("It is fine.", r"no EFT example could be made \(unparsed \d+\): of its judgments unparsed \d+\. unparsed, for example: "
         r"the judge wrote “It is fine\.”", "judge.pattern"),
        ("Score: 3", r"agrees with people on no ranked set \(tied \d+\)\. One judgment, for example: “Score: 3”", "eft.tries"),
    ],
)  # fmt: skip
def test_no_eft_at_all(text, says, field, recipe, tmp_path, monkeypatch):
    write(monkeypatch, judging(text))
    sets = [Ranking(prompt=f"list the elm number {n}", responses=("elm", "an elm tree"), ranks=(1, 0)) for n in range(4)]
    (tmp_path / "ranked.jsonl").write_text("".join(to_line(one) + "\n" for one in sets))
    changes = {"data__eft": None, "data__rankings": str(tmp_path / "ranked.jsonl"), "sft__baseline": True}
    with pytest.raises(SelfRewardError, match=says) as caught:
        go(recipe, tmp_path / "run", **changes)
    assert caught.value.now.startswith(f"{field} decides it: ")
    assert caught.value.now.endswith('without EFT: sft.on = "ift"' + GOING_ON)
    with pytest.raises(NoPairs):  # it goes on to where a judgment is needed
        go(recipe, tmp_path / "run", **changes, sft__on="ift")


def test_a_baseline_that_makes_no_ranking_is_told_with_the_prompt_and_the_field(recipe, tmp_path, monkeypatch):
    write(monkeypatch, answering("words without an end", "length"))
    with pytest.raises(
        SelfRewardError, match=r"made no ranking \(not_changed 6\)\. not_changed, for example: “describe"
    ) as caught:
        go(recipe, tmp_path / "run", data__eft=None, eft__by="self", sft__baseline=True)
    assert caught.value.now.startswith("prompts.max_tokens decides it: ")


def test_ties_of_a_judge_with_several_scores_are_told_by_their_number_and_one_of_the_loop_may_have_learnt_too_little(
    recipe, tmp_path, monkeypatch
):
    scores = itertools.cycle((2, 4))
    write(monkeypatch, lambda asked: (f"Score: {next(scores)}", "stop") if "score" in asked.lower() else None)
    with pytest.raises(NoPairs, match=r"tie \d") as caught:
        go(recipe, tmp_path / "run", judge__samples=2)
    assert caught.value.now.startswith("judge.samples decides it: raise it") and "responses.n" in caught.value.now
    write(monkeypatch, judging("I like it."))
    for by, learns in (("current", True), ("judges:Mute", False)):
        with pytest.raises(NoPairs, match="unparsed") as caught:
            go(recipe, tmp_path / by.replace(":", "-"), judge__by=by)
        assert (UNLEARNT in caught.value.now) is learns


def test_an_iteration_that_teaches_no_judging_says_why(recipe, tmp_path, monkeypatch, capsys):
    write(monkeypatch, comparing("no winner"))
    monkeypatch.setattr("selfreward.rundir.progress.Progress.say", lambda self, line: print(line))
    go(recipe, tmp_path / "run", judge_pairs={"by": "meta", "max_characters": 1})
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "judge_pairs" in line)
    assert line.startswith("M2/judge_pairs: no pair of judgments to learn from (")
    assert ", for example: " in line and " decides it: " in line


def test_after_no_pairs_a_change_continues_or_names_what_to_delete_as_was_said(recipe, tmp_path, monkeypatch):
    write(monkeypatch, judging("I like it. Mark 4"))
    with pytest.raises(NoPairs, match="names the records of the run to delete"):
        go(recipe, tmp_path / "run")
    asked_before = (tmp_path / "run/M2/judgments.jsonl").read_text()
    rubric = tmp_path / "other.txt"
    rubric.write_text("Score this: {prompt} {response}")
    with pytest.raises(SelfRewardError, match=r"or delete what no longer holds: rm -r .*run/M2"):
        go(recipe, tmp_path / "run", judge__rubric=str(rubric))
    assert (tmp_path / "run/M2/judgments.jsonl").read_text() == asked_before


def test_status_does_not_promise_that_the_same_command_goes_on_where_it_would_end_the_same_way(recipe, tmp_path, monkeypatch):
    write(monkeypatch, judging("I like it."))
    with pytest.raises(NoPairs):
        go(recipe, tmp_path / "run")
    first = describe_status(tmp_path / "run").splitlines()[0]
    assert "goes on" not in first and "ended before M2/model by an error, which the same command meets again" in first
    assert "judge.pattern decides it" in first
    with pytest.raises(NoPairs):
        go(recipe, tmp_path / "run")
    (last,) = sorted((tmp_path / "run" / "logs").glob("attempt_2/error.txt"))
    last.unlink()  # as of an attempt that was killed
    assert "the same command goes on from here" in describe_status(tmp_path / "run").splitlines()[0]


def test_a_changed_recipe_is_told_from_what_to_what_with_the_way_back_and_the_folders_to_delete(recipe, tmp_path):
    go(recipe, tmp_path / "run", iterations=2, prompts__per_iteration=12, prompts__max_rouge_l=1.0)
    with pytest.raises(SelfRewardError) as caught:
        go(recipe, tmp_path / "run", iterations=2, prompts__per_iteration=9, prompts__max_rouge_l=1.0, dpo__beta=0.2)
    assert "(dpo.beta: 0.1 → 0.2; prompts.per_iteration: 12 → 9)" in caught.value.what
    assert f"to go on unchanged: selfreward run -o {tmp_path}/run" in caught.value.now
    assert shlex.split(caught.value.now.split("rm -r ")[1]) == [str(tmp_path / "run" / "M2"), str(tmp_path / "run" / "M3")]


def test_a_text_is_quoted_on_one_line_with_its_end_where_a_verdict_stands():
    assert cut_short("a\n b\x1b[1m") == "“a b\\x1b[1m”"
    quoted = cut_short("begins " + "x " * 400 + "Score: 9")
    assert quoted.startswith("“begins x x") and quoted.endswith("x x Score: 9”") and len(quoted) < SHORT + 10
    assert counted({"b": 1, "a": 1, "c": 3}) == "c 3, a 1, b 1" and commonest({"b": 2, "a": 2, "c": 1}) == "a"


def test_a_judge_outside_the_loop_that_decides_nothing_is_said_to_be_none(recipe, tmp_path, monkeypatch, capsys):
    fake = FakeModel()
    text = lambda request: ("I cannot choose.", "stop") if "Verdict" in request.messages[-1].content else fake._write(request)  # noqa: E731
    monkeypatch.setattr("selfreward.engines.opening.FakeModel", lambda: FakeModel(text))
    monkeypatch.setattr("selfreward.rundir.progress.Progress.say", lambda self, line: print(line))
    go(recipe, tmp_path / "run", measure__judge=str(tmp_path / "base"), measure__truth=None)
    said = capsys.readouterr().out
    assert "decided none of" in said and "“I cannot choose.”" in said and "pairwise.pattern decides it" in said
    status = describe_status(tmp_path / "run")
    assert "is no judge of this: it gave a readable verdict on 0 of 3 prompts" in status
    found = json.loads((tmp_path / "run" / "M2" / "measured.json").read_text())["head_to_head"]
    assert any(one["unscored"] == 3 for one in found)
