"""Votes: the share of a prompt's candidates that come to the same answer, and pairs with the weight by which they lead."""

import json
import shutil

import pytest

from selfreward.checks import check
from selfreward.checks.amounts import stand_in, weigh
from selfreward.checks.planning import plan
from selfreward.engines.fake import FakeTrainer, write_like_a_model
from selfreward.errors import SelfRewardError
from selfreward.recipe import JudgeConfig, load_recipe
from selfreward.records import Dropped, Pair, Response, Vote, read_jsonl
from selfreward.reports import export_run, write_report
from selfreward.steps.votes import by_majority, count_votes
from tinyrun import go, make_world, quiet, tree, write_by

ANSWER = r"answer is (\S+)"
VOTES = {"judge__method": "votes", "judge__answer": ANSWER, "responses__n": 8, "prompts__per_iteration": 12}


def said(*texts, prompt="p", finish="stop"):
    return [Response(prompt_id=prompt, model="m", index=n, text=text, finish=finish) for n, text in enumerate(texts)]


@pytest.fixture
def world(tmp_path, monkeypatch):
    """The smallest run, whose models come to one of four answers, the low ones oftener, or to none."""
    quiet(monkeypatch)

    def write(request):
        asked = request.messages[-1].content
        if asked.startswith("Come up with"):
            return write_like_a_model(request)
        told = request.seed % 7
        return (f"word {request.seed % 100}, so the answer is {told % 3}." if told < 6 else "no idea"), "stop"

    write_by(monkeypatch, write)
    return make_world(tmp_path / "world")


def test_a_response_has_the_votes_of_all_that_come_to_the_same_and_the_last_answer_counts():
    group = said(
        "The answer is 3", "first the answer is 4, no: The Answer is **3**.", "answer is 1,000", "so answer is 1000", "none"
    )
    ended = said("answer is 3", finish="length", prompt="p")
    votes, dropped = count_votes([*group, *ended, *said("answer is 3", prompt="q")], JudgeConfig(method="votes", answer=ANSWER))
    assert [(one.answer, one.votes, one.of) for one in votes] == [
        ("3", 2, 6),
        ("3", 2, 6),
        ("1000", 2, 6),
        ("1000", 2, 6),
        ("3", 1, 1),
    ]
    assert [(one.id, one.reason) for one in dropped] == [(group[4].id, "no_answer"), (ended[0].id, "did_not_end")]


def test_without_a_pattern_the_whole_response_is_the_answer():
    votes, _ = count_votes(said("Amber  Birch.", "amber birch", "birch amber", ""), JudgeConfig(method="votes"))
    assert [(one.answer, one.votes, one.of) for one in votes] == [("amber birch", 2, 4)] * 2 + [("birch amber", 1, 4)]


@pytest.mark.parametrize("same", [
    (".5", "0.5", "0.50", "$.50"), ("5", "5.0", "“5”", "[5]", r"\(5\)", r"\boxed{5}", "5?", "+5", "5 !"), ("x = 5", "x=5"),
    ("1 000", "1,000", "1000"), ("−5", "-5"), ("(0, 1]", "(0,1]"), ("“Yes”", "yes!"), ("50%", "50 %"), ("100",), ("0", "0.0"),
])  # fmt: skip
def test_one_answer_in_several_forms_has_one_vote_for_each(same):
    votes, _ = count_votes(said(*same, "another"), JudgeConfig(method="votes"))
    assert [one.votes for one in votes] == [len(same)] * len(same) + [1]


def test_answers_that_differ_have_votes_of_their_own():
    texts = (".5", "5", "5!", "-5", "50", "50%", "(0, 1]", "[0, 1)", "1 2", "12", "1/2", "x", "0")
    votes, _ = count_votes(said(*texts), JudgeConfig(method="votes"))
    assert [one.votes for one in votes] == [1] * len(texts)


def test_a_number_keeps_its_comma_where_it_separates_no_thousands():
    votes, _ = count_votes(said("1,5", "15", "1,500,000", "1500000"), JudgeConfig(method="votes"))
    assert [one.answer for one in votes] == ["1,5", "15", "1500000", "1500000"]


@pytest.mark.parametrize(("majority", "kept"), [(0.0, [0, 1, 2]), (0.5, [0, 1]), (0.51, [0]), (1.0, [])])
def test_a_pair_needs_its_share_of_the_votes_and_weighs_what_it_leads_by(majority, kept):
    pairs = [
        Pair(prompt_id=f"p{n}", chosen_id="c", rejected_id="r", chosen_score=chosen, rejected_score=rejected)
        for n, (chosen, rejected) in enumerate([(0.75, 0.25), (0.5, 0.125), (0.375, 0.25)])
    ]
    found, dropped = by_majority((pairs, []), majority)
    assert [(pair.prompt_id, pair.weight) for pair in found] == [(f"p{n}", [0.5, 0.375, 0.125][n]) for n in kept]
    assert dropped == [Dropped(id=f"p{n}", stage="pairs", reason="no_majority") for n in range(3) if n not in kept]


def test_a_run_learns_the_commonest_answer_against_the_rarest_by_its_lead(world, tmp_path, monkeypatch):
    seen, dpo = [], FakeTrainer.dpo
    monkeypatch.setattr(FakeTrainer, "dpo", lambda self, pairs, *given: seen.append(pairs) or dpo(self, pairs, *given))
    run = tmp_path / "run"
    go(world, run, **VOTES, judge__majority=0.375)
    folder = run / "M2"
    assert not list(folder.glob("judgments*"))
    votes = {vote.response_id: vote for vote in read_jsonl(folder / "votes.jsonl", Vote)}
    responses = read_jsonl(folder / "responses.jsonl", Response)
    pairs = read_jsonl(folder / "pairs.jsonl", Pair)
    assert pairs and len(votes) < len(responses)
    for pair in pairs:
        group = [votes[one.id].votes / 8 for one in responses if one.prompt_id == pair.prompt_id and one.id in votes]
        assert (pair.chosen_score, pair.rejected_score) == (max(group), min(group)) and pair.chosen_score >= 0.375
        assert pair.weight == pair.chosen_score - pair.rejected_score
        assert votes[pair.chosen_id].answer != votes[pair.rejected_id].answer
    assert [learnt[3] for learnt in seen[0]] == [pair.weight for pair in pairs]
    counted = json.loads((folder / "measured.json").read_text())["loop"]["further"]["votes"]
    assert counted == {"kept": len(votes), "no_answer": len(responses) - len(votes)}


def test_it_goes_on_where_it_was_killed_and_is_shown_and_exported(world, tmp_path, monkeypatch):
    run = tmp_path / "run"
    go(world, run, **VOTES, judge__majority=0.25, drift__sample=2)
    expected = tree(run)
    for file in (run / "M2").iterdir():
        if file.name.startswith(("votes", "pairs", "model", "held", "truth", "rank", "measured", "drift")):
            shutil.rmtree(file) if file.is_dir() else file.unlink()
    go(world, run, **VOTES, judge__majority=0.25, drift__sample=2)
    assert tree(run) == expected
    monkeypatch.undo()
    page = write_report(run).read_text()
    assert "come to" in page and "no answer" in page
    export_run(run, tmp_path / "all")
    from datasets import load_dataset

    rows = load_dataset("parquet", data_files=str(tmp_path / "all" / "pairs" / "train.parquet"), cache_dir=tmp_path / "cache")[
        "train"
    ]
    assert rows["weight"] == [pair.weight for pair in read_jsonl(run / "M2" / "pairs.jsonl", Pair)]


def test_the_bill_has_no_judgment_of_a_candidate(world):
    recipe = load_recipe(world, {"judge.method": "votes"})
    lines = [stage.stage for stage in plan(recipe, weigh(stand_in(recipe), [], recipe, lambda texts: [*map(len, texts)], 4))]
    assert [line for line in lines if line.startswith("M2/")][:3] == ["M2/proposed", "M2/responses", "M2/model"]


@pytest.mark.parametrize(("n", "told"), [(2, ["warning"]), (3, [])])
def test_check_warns_of_two_candidates_of_which_neither_can_have_more_votes(n, told, world, tmp_path):
    found = check(load_recipe(world, {"judge.method": "votes", "responses.n": n}), tmp_path).findings
    assert [finding.level for finding in found if finding.where == "responses.n"] == told


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"judge.by": "frozen"}, "asks no judge"),
        ({"judge.answer": "answer is .+"}, "answer must have one group"),
        ({"judge.method": "scores", "judge.majority": 0.7}, 'work only with method = "votes"'),
        ({"pairs.max_fluke": 0.2}, "max_fluke is computed from the noise"),
        ({"judge_pairs.by": "consensus"}, 'judge.method "scores"'),
    ],
)
def test_what_does_not_go_with_it_is_refused_in_a_line(changes, reason, world):
    with pytest.raises(SelfRewardError) as refused:
        load_recipe(world, {"judge.method": "votes", **changes})
    assert reason in str(refused.value) and "\n" not in str(refused.value)
