"""`judge.read = "expected"`: the score to be expected at the verdict, by hand, and never a number where it cannot be known."""

import re
from math import log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfreward.engines.fake import FakeModel
from selfreward.recipe import JudgeConfig
from selfreward.records import Checkpoint, Completion, Judgment, Response, Watched, iter_jsonl
from selfreward.steps import Grader, best_against_worst
from selfreward.steps.pairs import half_a_point_apart
from tinyrun import go, make_world, quiet

MODEL = Checkpoint(name="M1", path="m1", fingerprint="f1")
ANSWER = ("name a bird", Response(prompt_id="p", model="f1", index=0, text="a heron", finish="stop"))
SAMPLED, EXPECTED = Grader(JudgeConfig()), Grader(JudgeConfig(read="expected"))


def place(at, **shares):
    """A place in a text and how likely each point was there, as p3=0.2."""
    return Watched(at=at, logprobs={name[1:]: log(share) for name, share in shares.items()})


def read(text, *watched, finish="stop", judge=EXPECTED):
    request = judge.plan([ANSWER], MODEL, seed=0)[0]
    told = Completion(request_id=request.id, text=text, finish=finish, prompt_tokens=1, completion_tokens=1, watched=watched)
    judgment = judge.read(request, told)
    return judgment.outcome, judgment.score


def test_the_expected_score_is_the_mean_over_the_scale_after_what_is_off_it_is_left_out():
    text = "It fits. Score: 4"
    # 0.2 · 3 + 0.5 · 4 + 0.1 · 5 = 3.1, of the 0.8 that the points of the scale have together.
    assert read(text, place(16, p3=0.2, p4=0.5, p5=0.1)) == ("scored", pytest.approx(3.1 / 0.8, rel=1e-12))
    assert read(text, place(16, p3=0.2, p4=0.5, p5=0.1), judge=SAMPLED) == ("scored", 4)
    assert read(text, place(16, p4=1e-30)) == ("scored", 4)


def test_a_score_far_from_the_sampled_one_and_of_tiny_probabilities_is_found_all_the_same():
    logprobs = {"0": -800.0 + log(3), "4": -800.0}
    assert read("Score: 4", Watched(at=7, logprobs=logprobs)) == ("scored", pytest.approx(1.0))


@given(st.dictionaries(st.sampled_from("012345"), st.floats(0.001, 1), min_size=1))
def test_an_expected_score_lies_among_the_points_that_were_possible(shares):
    drawn = max(shares)
    outcome, score = read(f"Score: {drawn}", Watched(at=7, logprobs={point: log(share) for point, share in shares.items()}))
    by_hand = sum(int(point) * share for point, share in shares.items()) / sum(shares.values())
    assert outcome == "scored" and score == pytest.approx(by_hand)
    assert int(min(shares)) - 1e-9 <= score <= int(drawn) + 1e-9


def test_only_the_place_of_the_last_verdict_counts():
    text = "It has 3 of 5 points. Score: 2. No, Score: 4"
    places = [place(7, p3=1.0), place(12, p5=1.0), place(29, p2=1.0), place(43, p4=0.75, p5=0.25)]
    assert [text[one.at] for one in places] == ["3", "5", "2", "4"]
    assert read(text, *places) == ("scored", pytest.approx(4.25))
    assert read(text, *places[:3]) == ("no_logprobs", None)


@pytest.mark.parametrize(
    ("text", "watched"),
    [
        ("Score: 4.5", [place(7, p4=1.0)]),  # a number, but of several tokens
        ("Score: 4.5", [place(7, p4=0.5), place(9, p5=1.0)]),
        ("Score: 04", [place(8, p4=1.0)]),
        ("Score: 4", []),  # part of a token (":4"), or an engine that gives none
        ("Score: 4", [place(6, p4=1.0)]),
        ("Score: 4", [place(7, p3=1.0)]),  # told of another token than the text has
    ],
)
def test_a_verdict_that_is_not_one_token_with_probabilities_is_named_and_no_number(text, watched):
    assert read(text, *watched) == ("no_logprobs", None)
    assert read(text, *watched, judge=SAMPLED)[0] == "scored"


@pytest.mark.parametrize(
    ("text", "finish", "outcome"),
    [
        ("Score: 9", "stop", "off_scale"),
        ("Score: 4/10", "stop", "off_scale"),
        ("Score: 4-5", "stop", "unparsed"),
        ("no verdict", "stop", "unparsed"),
        ("Score: 4", "length", "truncated"),
        ("<|im_end|>\nScore: 4", "stop", "unparsed"),
        ("Score: 4", "error", "error"),
    ],
)
def test_what_no_sampled_score_can_be_read_from_no_expected_one_can(text, finish, outcome):
    everywhere = [place(at, p4=1.0, p9=1.0) for at in range(len(text))]
    assert read(text, *everywhere, finish=finish) == (outcome, None)


def test_the_engine_is_asked_to_watch_the_scale_and_draws_from_the_same_seeds():
    plain, watching = SAMPLED.plan([ANSWER], MODEL, seed=0), EXPECTED.plan([ANSWER], MODEL, seed=0)
    assert {request.watch for request in plain} == {()}
    assert {request.watch for request in watching} == {("0", "1", "2", "3", "4", "5")}
    assert [(r.seed, r.messages, r.sampling) for r in plain] == [(r.seed, r.messages, r.sampling) for r in watching]
    assert not {request.id for request in plain} & {request.id for request in watching}
    assert Grader(JudgeConfig(read="expected", scale=(1, 3))).plan([ANSWER], MODEL, seed=0)[0].watch == ("1", "2", "3")
    assert SAMPLED.reading != EXPECTED.reading


@pytest.mark.parametrize("scale", [(1, 10), (-1, 1), (0, 4.5), (0, 100)])
def test_a_scale_whose_points_are_not_single_digits_is_refused(scale):
    with pytest.raises(ValueError, match="single digits"):
        JudgeConfig(read="expected", scale=scale)
    JudgeConfig(scale=scale)


def test_the_fake_engine_watches_every_place_where_a_watched_word_stands():
    request = EXPECTED.plan([ANSWER], MODEL, seed=0)[0]
    (told,) = FakeModel(lambda asked: ("3 of 5 words. Score: 4", "stop")).generate([request])
    assert [told.text[one.at] for one in told.watched] == ["3", "5", "4"]
    assert all(set(one.logprobs) == set(request.watch) for one in told.watched)
    assert [max(one.logprobs, key=one.logprobs.get) for one in told.watched] == ["3", "5", "4"]
    assert Completion.model_validate_json(told.model_dump_json()) == told


def test_a_whole_run_reads_expected_scores_wherever_the_judge_is_asked(tmp_path, monkeypatch):
    quiet(monkeypatch)
    recipe = make_world(tmp_path / "world")
    go(recipe, tmp_path / "sampled")
    go(recipe, tmp_path / "expected", judge__read="expected")
    for stage in ("M0/heldout_judgments", "M0/ranking_judgments", "M1/ranking_judgments", "M2/judgments"):
        sampled, expected = (list(iter_jsonl(tmp_path / run / f"{stage}.jsonl", Judgment)) for run in ("sampled", "expected"))
        assert [judgment.rationale for judgment in sampled] == [judgment.rationale for judgment in expected]
        assert [judgment.outcome for judgment in sampled] == [judgment.outcome for judgment in expected]
        scored = [judgment.score for judgment in expected if judgment.score is not None]
        assert scored and all(0 < score < 5 and score % 1 for score in scored)  # half of it was for other points
    summary = (tmp_path / "expected" / "summary.json").read_text()
    assert max(map(len, re.findall(r'"(\d\.?\d*)": \d', summary))) <= 4  # a histogram has a key for each hundredth at most


def test_a_policy_leaves_out_pairs_that_only_expected_scores_would_make():
    group = [(4.0, answer(0)), (3.6, answer(1))]
    assert best_against_worst("p", group).chosen_score == 4 and half_a_point_apart("p", group) == "too_near"
    apart = [*group, (3.5, answer(2))]
    assert half_a_point_apart("p", apart) == best_against_worst("p", apart)
    assert half_a_point_apart("p", [(4.0, answer(0)), (4.0, answer(1))]) == "tie"


def answer(index):
    return Response(prompt_id="p", model="f1", index=index, text=f"text {index}", finish="stop")
