"""`judge.samples = "adaptive"`: who is asked again, that it is part of what K = 3 asks, and that all of it counts everywhere."""

import json
import re
from collections import Counter, defaultdict
from fractions import Fraction
from itertools import pairwise

import pytest

from selfreward.engines import fake
from selfreward.recipe import JudgeConfig
from selfreward.records import Judgment, Pair, Response, iter_jsonl
from selfreward.reports import describe_status, export_run, write_report
from selfreward.reports.browse import sample
from selfreward.rundir import FolderReader, open_run
from selfreward.steps import Grader
from selfreward.steps.judgments import undecided
from tinyrun import Moments, count_requests, go, make_world, quiet, tree

ADAPTIVE = Grader(JudgeConfig(samples="adaptive"))
ROUNDS = ("judgments", "judgments_2", "judgments_3")
BIG = {"responses__n": 4, "prompts__per_iteration": 24, "prompts__max_rouge_l": 1.0, "prompts__unsuited": []}


# who is undecided


def answers(**scores):
    """Answers a, b, … of one prompt, and their scores; a text of its own each, unless the name says otherwise: a_text."""
    found = {}
    for index, (name, score) in enumerate(scores.items()):
        letter, _, rest = name.partition("_")
        finish = "length" if rest == "long" else "error" if rest == "error" else "stop"
        text = letter if finish != "stop" else rest or letter
        found[letter] = Response(prompt_id="p", model="m", index=index, text=text, finish=finish), score
    return found


def asked_again(**scores):
    found = answers(**scores)
    known = {response.id: score for response, score in found.values() if score is not None}
    names = {response.id: letter for letter, (response, _) in found.items()}
    return "".join(sorted(names[one] for one in undecided([response for response, _ in found.values()], known)))


@pytest.mark.parametrize(
    ("scores", "again"),
    [
        ({"a": 5, "b": 3, "c": 1}, ""),
        ({"a": 5, "b": 5, "c": 1}, "ab"),  # which is best
        ({"a": 5, "b": 1, "c": 1}, "bc"),  # which is worst
        ({"a": 5, "b": 5, "c": 1, "d": 1}, "abcd"),
        ({"a": 5, "b": 3, "c": 3, "d": 1}, ""),  # a tie in the middle decides nothing
        ({"a": 3, "b": 3}, "ab"),
        ({"a": 4.5, "b": 4, "c": 1}, "ab"),
        ({"a": 4.5, "b": 3.99, "c": 1}, ""),
        ({"a": 5, "b": 2.5, "c": 2, "d": 1.5}, "cd"),  # from the end, and not from one to the next
        ({"a_same": 5, "b_same": 5, "c": 1}, ""),  # whichever it is reads the same
        ({"a_same": 5, "b_same": 5, "c": 5, "d": 1}, "abc"),
        ({"a": 5, "b": 3, "c": None}, "c"),
        ({"a": 5, "b": 5, "c": 1, "d": None}, "abd"),
        ({"a": None, "b": None}, "ab"),
        ({"a_long": 5, "b": 4, "c": 3, "d": 1}, ""),  # what ran out of length is never chosen
        ({"a_long": 5, "b": 4, "c": 4, "d": 1}, "bc"),
        ({"a": 5, "b_long": 1, "c": 1}, "bc"),  # but may be rejected
        ({"a": 5, "b": 1, "c_error": None}, ""),  # no answer
    ],
)
def test_what_may_still_be_best_or_worst_is_asked_again_and_nothing_else(scores, again):
    assert asked_again(**scores) == again


def test_prompts_are_decided_apart():
    first, second = (answers(a=5, b=3), answers(a=5, b=5))
    responses = [response.model_copy(update={"prompt_id": name}) for name, found in (("p", first), ("q", second))
                 for response, _ in found.values()]  # fmt: skip
    known = dict(zip([response.id for response in responses], [5, 3, 5, 5], strict=True))
    assert undecided(responses, known) == {responses[2].id, responses[3].id}


def said(*scores):
    return [
        Judgment(response_id="r", judge="j", sample=n, rationale="", outcome="unparsed" if s is None else "scored", score=s)
        for n, s in enumerate(scores)
    ]


@pytest.mark.parametrize(
    ("scores", "mean"),
    [
        ([4], 4),
        ([4, 5], 4.5),
        ([None], None),
        ([4, None], None),  # one of two: asked a third time
        ([4, None, 5], 4.5),
        ([4, None, None], None),
        ([4, 5, 3], 4),
    ],
)
def test_asked_less_often_than_min_valid_all_must_be_valid(scores, mean):
    assert ADAPTIVE.mean_scores(said(*scores)) == ({} if mean is None else {"r": mean})


def test_the_recipe_says_adaptive_and_no_other_word():
    config = JudgeConfig(samples="adaptive")
    assert (config.most, config.rounds) == (3, ROUNDS)
    assert (JudgeConfig(samples=5).most, JudgeConfig(samples=5).rounds) == (5, ("judgments",))
    for wrong in ("often", 0, 1.5, None):
        with pytest.raises(ValueError, match='integer of at least 1, or "adaptive"'):
            JudgeConfig(samples=wrong)
    with pytest.raises(ValueError, match="no response would ever have a score"):
        JudgeConfig(samples="adaptive", min_valid=4)


# a whole run


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The same run with K = 3 and adaptive, and how often each asked what."""
    where, asked = tmp_path_factory.mktemp("runs"), {}
    recipe = make_world(where / "world")
    for name, samples in (("three", 3), ("adaptive", "adaptive")):
        with pytest.MonkeyPatch.context() as patch:
            quiet(patch)
            asked[name] = count_requests(patch)
            go(recipe, where / name, judge__samples=samples, judge__min_valid=2, **BIG)
    return where, asked


def judgments(run, *stages):
    return [one for stage in stages for one in iter_jsonl(run / "M2" / f"{stage}.jsonl", Judgment)]


def test_what_is_drawn_is_part_of_what_three_of_each_would_have_drawn(runs):
    where, asked = runs
    three, drawn = judgments(where / "three", "judgments"), judgments(where / "adaptive", *ROUNDS)
    assert {one.id for one in drawn} < {one.id for one in three}
    assert len({one.id for one in drawn}) == len(drawn)
    assert not [one for one, times in asked["adaptive"].items() if times > 1]
    everyone = {one.id for one in iter_jsonl(where / "adaptive/M2/responses.jsonl", Response) if one.answered}
    for number, stage in enumerate(ROUNDS):
        found = judgments(where / "adaptive", stage)
        assert {one.sample for one in found} == {number}
        assert 0 < len(found) < len(everyone) or (number == 0 and {one.response_id for one in found} == everyone)


def test_those_that_are_asked_again_are_those_that_were_undecided(runs):
    run = runs[0] / "adaptive"
    groups = defaultdict(list)
    for response in iter_jsonl(run / "M2" / "responses.jsonl", Response):
        groups[response.prompt_id].append(response)
    heard = defaultdict(list)
    for stage, following in pairwise(ROUNDS):
        for judgment in judgments(run, stage):
            heard[judgment.response_id].append(judgment.score)
        again = {judgment.response_id for judgment in judgments(run, following)}
        due = set()
        for group in groups.values():
            mean = {}
            for response in group:
                valid = [Fraction(score) for score in heard[response.id] if score is not None]
                if len(valid) < min(2, len(heard[response.id])):
                    due.add(response.id)
                elif valid:
                    mean[response.id] = sum(valid) / len(valid)
            for wanted, among in (
                (max, [response for response in group if response.id in mean and response.finish == "stop"]),
                (min, [response for response in group if response.id in mean]),
            ):
                end = wanted((mean[response.id] for response in among), default=0)
                rivals = [response for response in among if abs(mean[response.id] - end) <= Fraction(1, 2)]
                due |= {response.id for response in rivals} if len({response.text for response in rivals}) > 1 else set()
        assert again == due and due


def test_pairs_are_made_of_all_rounds_together(runs):
    run = runs[0] / "adaptive"
    scores = ADAPTIVE.mean_scores(judgments(run, *ROUNDS))
    pairs = list(iter_jsonl(run / "M2" / "pairs.jsonl", Pair))
    assert pairs and all((scores[p.chosen_id], scores[p.rejected_id]) == (p.chosen_score, p.rejected_score) for p in pairs)
    first_alone = ADAPTIVE.mean_scores(judgments(run, "judgments"))
    assert any(first_alone.get(pair.chosen_id) != pair.chosen_score for pair in pairs)


def test_what_is_measured_is_judged_three_times(runs):
    for stage in ("M1/heldout_judgments", "M1/ranking_judgments"):
        three, adaptive = ((runs[0] / name / f"{stage}.jsonl").read_bytes() for name in ("three", "adaptive"))
        assert three == adaptive


def test_everything_that_tells_of_judgments_tells_of_all_rounds(runs, tmp_path):
    run = runs[0] / "adaptive"
    every = judgments(run, *ROUNDS)
    outcomes = Counter(judgment.outcome for judgment in every)
    (loop,) = [m["loop"] for m in json.loads((run / "summary.json").read_text())["models"] if m["loop"]]
    assert loop["judgments"] == outcomes
    assert sum(loop["score_histogram"].values()) == outcomes["scored"]
    shown = sample(FolderReader(run / "M2"), JudgeConfig(samples="adaptive"), 10**7)
    read = [j for browsed in shown.browsed for candidate in browsed.candidates for j in candidate.judgments]
    assert len(shown.browsed) == shown.prompts and Counter(j.id for j in read) == Counter(j.id for j in every)
    assert all(b.pair.chosen_score in {c.score for c in b.candidates} for b in shown.browsed if b.pair)
    words = " ".join(re.sub(r"<[^>]+>", " ", write_report(run).read_text()).split())
    assert "a judgment a response, up to 3 where best or worst is undecided" in words
    (table,) = export_run(run, tmp_path / "dataset", ["judgments"])
    assert table.rows == len(every)
    card = (run / "M2" / "model" / "README.md").read_text()
    assert "a judgment of each, and up to 3 where best or worst was undecided" in card
    for stage in ROUNDS:
        assert re.search(rf"{stage}\b".replace("_", r"\\?_"), card)


def test_where_a_run_stands_has_a_place_for_every_round(runs):
    run = runs[0] / "adaptive"
    m2 = open_run(run).models["M2"]
    names = [planned.part.name for planned in m2.planned]
    assert names[2:7] == ["responses", *ROUNDS, "pairs"] and m2.done == m2.planned and not m2.owed
    assert describe_status(run).splitlines()[0].endswith("finished")


def test_killed_at_any_moment_of_its_judging_a_run_ends_with_the_same_bytes(tmp_path, monkeypatch):
    quiet(monkeypatch)
    recipe, settings = make_world(tmp_path / "world"), {"judge__samples": "adaptive", "judge__min_valid": 2, "responses__n": 3}
    with monkeypatch.context() as patch:
        requests = count_requests(patch)
        go(recipe, tmp_path / "undisturbed", **settings)
    undisturbed = tree(tmp_path / "undisturbed")
    with monkeypatch.context() as patch:
        moments = Moments(patch, tmp_path / "run", tmp_path / "copies")
        keep, folder = moments.keep, tmp_path / "run" / "M2"
        judging = lambda: (folder / "responses.receipt.json").exists() and not (folder / "pairs.jsonl").exists()  # noqa: E731
        moments.keep = lambda what: keep(what) if judging() else None
        go(recipe, tmp_path / "run", **settings)
    assert tree(tmp_path / "run") == undisturbed
    rounds = [{stage for stage in ROUNDS if (at / "killed/M2" / f"{stage}.plan.json").exists()} for _, at, _ in moments.kept]
    assert {frozenset({stage}) for stage in ROUNDS} <= {frozenset(found) for found in rounds}
    for what, at, before in moments.kept:
        with monkeypatch.context() as patch:
            asked = count_requests(patch)
            go(recipe, at / "killed", **settings)
        assert tree(at / "killed") == undisturbed, what
        assert (before + asked).keys() == requests.keys()
        assert (before + asked - requests).total() <= (fake.BATCH if what == "asking" else 0), what
