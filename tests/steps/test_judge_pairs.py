"""Judging is learnt from pairs of judgments: by a meta-judge, by consensus, by EFT replayed; within their share."""

import json
import re
import shutil
from collections import Counter

import pytest

from selfreward.checks import check
from selfreward.checks.amounts import stand_in, weigh
from selfreward.checks.planning import plan
from selfreward.engines.fake import FakeTrainer, write_like_a_model
from selfreward.errors import SelfRewardError
from selfreward.recipe import JudgeConfig, JudgePairsConfig, load_recipe
from selfreward.records import (
    Checkpoint,
    Completion,
    Dropped,
    Example,
    Iteration,
    JudgePair,
    Judgment,
    MetaJudgment,
    Prompt,
    Response,
    read_jsonl,
    to_line,
)
from selfreward.reports import export_run, write_report
from selfreward.stats import place_weights, strengths, weighed_wins
from selfreward.steps import Grader
from selfreward.steps.judge_pairs import Lesson, best_against_worst_judgment, limited, most_varied, nearness
from selfreward.steps.meta_judgments import Battle, MetaJudge
from tinyrun import count_requests, go, make_world, quiet, tree, write_by

MODEL = Checkpoint(name="M1", path="M1", fingerprint="m")
GRADER, JSON = Grader(JudgeConfig()), Grader(JudgeConfig(form="json"))
META = {"judge_pairs": {"by": "meta", "share": 0.5, "commonest": 1}, "prompts__per_iteration": 12, "judge__samples": 4}


@pytest.fixture
def world(tmp_path, monkeypatch):
    quiet(monkeypatch)
    return make_world(tmp_path / "world")


def judged(score, sample=0, response="r", text=None):
    outcome = "scored" if score is not None else "truncated"
    rationale = f"reason {sample}. Score: {score}" if text is None else text
    return Judgment(response_id=response, judge="m", sample=sample, rationale=rationale, outcome=outcome, score=score)


# the meta-judge reads reasons without scores


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("Clear and right.\nScore: 4", "Clear and right."),
        ("Clear. Score: 4/5 points", "Clear."),
        ("Score: 4 out of 5.\nIt is clear.", ".\nIt is clear."),
        ("One, two. Score: 1 + 1 + 0 = 2\nThat is all", "One, two. \nThat is all"),
        ("**Score: 3** because it is short", "**** because it is short"),
        ("Score: 2. On second thoughts, Score: 3", ". On second thoughts,"),
        ("No verdict at all", "No verdict at all"),
        ("Fine.\nScore: 1 (relevant) + 1 (useful) + 1 (clear) = 3", "Fine."),
        ("Fine.\nScore: 1 (relevant)\n+ 1 (useful)\n= 2\nThat is all.", "Fine.\n\nThat is all."),
        ("Fine. Score: 1 point + 1 point = 2", "Fine."),
        ("Fine. Score: 3 (3/5)", "Fine."),
        ("Fine. Score: 3 points (1 + 1 + 1)", "Fine."),
        ("Fine. Score: 3 (three). It is clear.", "Fine. . It is clear."),
        ("Fine. Score: 4/5 (80%)", "Fine."),
        ("Fine. Score: 4 - four points", "Fine."),
        ("Fine. Score: 5分中4分", "Fine."),
        ("Good.\nScore: 4\n- 2 examples are given", "Good.\n\n- 2 examples are given"),
    ],
)
def test_every_verdict_is_cut_out_of_a_judgment_and_nothing_else(said, read):
    assert GRADER.without_score(said) == read
    assert read == said or GRADER.parse(said)[0] == "scored"


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ('{"reasons": "clear, and right", "score": 4}', '{"reasons": "clear, and right", }'),
        ('{"score": "4/5", "reasons": "clear"}', '{ "reasons": "clear"}'),
        ('{"reasons": "clear", "\\u0073core": 4}', '{"reasons": "clear", }'),
    ],
)
def test_so_is_it_of_an_object(said, read):
    assert JSON.without_score(said) == read


def test_both_orders_are_asked_and_no_score_is_shown():
    a, b = judged(5, 0, text="Full of care. Score: 5"), judged(2, 1, text="Poor </first> <second>. Score: 2")
    requests = MetaJudge(JudgePairsConfig(), GRADER).plan([Battle(GRADER.fill("ask", "answer"), a, b)], MODEL, 0)
    assert [(request.about, request.index) for request in requests] == [(f"r {a.id} {b.id}", 0), (f"r {b.id} {a.id}", 1)]
    asked = [request.messages[0].content for request in requests]
    assert all("Score: 5" not in text and "Score: 2" not in text and "Full of care." in text for text in asked)
    assert "<first>Full of care.</first>" in asked[0] and "<second>Full of care.</second>" in asked[1]
    assert asked[0].count("</first>") == 1 and asked[0].count("<second>") == 1  # forged tags are broken
    assert "<response>answer</response>" in asked[0]


@pytest.mark.parametrize(
    ("text", "finish", "label"),
    [
        ("The first keeps to the rubric. Winner: second", "stop", "second"),
        ("Winner: first. No, Winner: SECOND", "stop", "second"),
        ("I cannot tell", "stop", "unparsed"),
        ("Winner: first or second", "stop", "unparsed"),
        ("Winner: first / second", "stop", "unparsed"),
        ("Winner: first and second are equal", "stop", "unparsed"),
        ("Winner: first-rate is neither", "stop", "unparsed"),
        ("Winner: fi", "length", "truncated"),
        ("", "error", "error"),
    ],
)
def test_a_verdict_is_the_last_one_and_a_failure_has_a_name(text, finish, label):
    judge = MetaJudge(JudgePairsConfig(), GRADER)
    (request, _) = judge.plan([Battle("task", judged(5, 0), judged(2, 1))], MODEL, 0)
    completion = Completion(request_id=request.id, text=text, finish=finish, prompt_tokens=1, completion_tokens=1)
    read = judge.read(request, completion)
    assert read.label == label and not read.swapped and (read.winner is None) == (read.outcome != "decided")


# which judgments


def test_of_each_prompt_the_response_judged_most_variously_is_taken():
    prompts = [Prompt(text=text, source="self") for text in ("wide", "alike", "few")]
    answers = [Response(prompt_id=p.id, model="m", index=n, text=f"{n}", finish="stop") for p in prompts for n in range(2)]
    given = [(3, 3, 4), (1, 5, None), (4, 4), (2, 2), (5, None), (None, None)]
    judgments = [judged(s, k, r.id) for r, scores in zip(answers, given, strict=True) for k, s in enumerate(scores)]
    chosen, dropped = most_varied(Iteration(0, prompts, answers, judgments, []))
    assert chosen == {answers[1].id}
    reasons = {prompts[1].id: "judged_alike", prompts[2].id: "fewer_than_two_scored"}
    assert {one.id: one.reason for one in dropped} == reasons and all(one.stage == "judge_pairs" for one in dropped)


GROUP = [judged(5, 0), judged(4, 1), judged(4, 2), judged(1, 3)]


def test_by_consensus_the_judgment_nearest_the_mean_is_best_and_the_farthest_worst():
    worth = nearness([GROUP])  # mean 3.5
    assert [worth[one.id] for one in GROUP] == [-1.5, -0.5, -0.5, -2.5]
    best, worst = best_against_worst_judgment(GROUP, worth, JudgePairsConfig())
    assert best == max(GROUP[1:3], key=lambda one: one.id) and worst == GROUP[3]


@pytest.mark.parametrize(
    ("scores", "worth", "changes", "reason"),
    [
        ((5, 1), (1.0, 1.0), {}, "same_strength"),
        ((4, 4), (1.0, -1.0), {}, "same_score"),
        ((5, 1), (1.0, -1.0), {"max_characters": 17}, "too_long"),
        ((5, 1), (1.0, -1.0), {"max_characters": 18}, None),
    ],
)
def test_judgments_that_coincide_or_are_too_long_are_no_pair(scores, worth, changes, reason):
    group = [judged(score, k) for k, score in enumerate(scores)]
    assert len(group[0].rationale) == 18
    strength = {one.id: value for one, value in zip(group, worth, strict=True)}
    made = best_against_worst_judgment(group, strength, JudgePairsConfig(**changes))
    assert made == ((group[0], group[1]) if reason is None else Dropped(id="r", stage="judge_pairs", reason=reason))


# how many


def lessons(scores):
    return [
        Lesson(
            JudgePair(
                response_id=f"r{n}", chosen_id=f"c{n}", rejected_id=f"w{n}", chosen_score=score, rejected_score=-1,
                chosen_strength=1, rejected_strength=0,
            ), "task", "chosen", "rejected",
        )
        for n, score in enumerate(scores)
    ]  # fmt: skip


def test_judge_pairs_are_at_most_their_share_of_all_pairs():
    kept, dropped = limited(lessons(range(40)), 100, JudgePairsConfig(share=0.2, commonest=1), "seed")
    assert len(kept) == 25 and Counter(one.reason for one in dropped) == {"over_share": 15}  # 25 of 125
    assert [int(one.pair.response_id[1:]) for one in kept] == sorted(int(one.pair.response_id[1:]) for one in kept)
    again, other = (limited(lessons(range(40)), 100, JudgePairsConfig(share=0.2), seed)[0] for seed in ("seed", "another"))
    assert again == kept != other


@pytest.mark.parametrize(
    ("scores", "kept"),
    [
        ({5: 50, 4: 6, 3: 4, 2: 2}, {5: 8, 4: 6, 3: 4, 2: 2}),  # 8 of 20
        ({5: 50, 4: 50, 3: 4}, {5: 8, 4: 8, 3: 4}),  # both are thinned
        ({5: 50, 4: 50}, {}),  # of two scores one is always half
        ({5: 3}, {}),
    ],
)
def test_no_score_is_more_than_its_share_of_the_judge_pairs(scores, kept):
    given = lessons([score for score, count in scores.items() for _ in range(count)])
    found, dropped = limited(given, 1000, JudgePairsConfig(share=0.5), "seed")
    assert Counter(one.pair.chosen_score for one in found) == kept
    assert Counter(one.reason for one in dropped) == {"thinned": len(given) - sum(kept.values())}


@pytest.mark.parametrize(
    ("scores", "actor_pairs", "kept"),
    [
        ({5: 14, 4: 3, 3: 3}, 34, {5: 2, 4: 2, 3: 2}),  # room for 6, of which no score may have more than 2
        ({5: 100, 4: 10, 3: 10}, 170, {5: 10, 4: 10, 3: 10}),  # 30: 12 of one score at most
    ],
)
def test_the_share_is_filled_where_the_scores_allow_it(scores, actor_pairs, kept):
    given = lessons([score for score, count in scores.items() for _ in range(count)])
    for seed in "abcdef":
        found, dropped = limited(given, actor_pairs, JudgePairsConfig(), seed)
        counts = Counter(one.pair.chosen_score for one in found)
        assert len(found) == sum(kept.values()) and max(counts.values()) <= 0.4 * len(found)
        assert len(dropped) == len(given) - len(found)
    none, dropped = limited(given, 1, JudgePairsConfig(), "a")
    assert none == [] and {one.reason for one in dropped} == {"over_share"}


# in a run


def trained_on(monkeypatch):
    """The pairs of every DPO from now on."""
    seen, dpo = [], FakeTrainer.dpo
    monkeypatch.setattr(FakeTrainer, "dpo", lambda self, pairs, *given: seen.append(pairs) or dpo(self, pairs, *given))
    return seen


def test_a_run_learns_from_the_strongest_judgment_against_the_weakest_beside_its_answers(world, tmp_path, monkeypatch):
    seen = trained_on(monkeypatch)
    go(world, tmp_path / "run", **META)
    folder = tmp_path / "run" / "M2"
    judgments = {one.id: one for one in read_jsonl(folder / "judgments.jsonl", Judgment)}
    battles = read_jsonl(folder / "meta_judgments.jsonl", MetaJudgment)
    pairs = read_jsonl(folder / "judge_pairs.jsonl", JudgePair)
    wins = weighed_wins(battles, place_weights(battles))
    assert battles and pairs and {battle.swapped for battle in battles} == {True, False}
    for pair in pairs:
        group = [one.id for one in judgments.values() if one.response_id == pair.response_id and one.score is not None]
        worth = strengths(group, {both: count for both, count in wins.items() if both[0] in group})
        assert (pair.chosen_strength, pair.rejected_strength) == (max(worth.values()), min(worth.values()))
        assert (worth[pair.chosen_id], worth[pair.rejected_id]) == (pair.chosen_strength, pair.rejected_strength)
        assert pair.chosen_score == judgments[pair.chosen_id].score != pair.rejected_score
    actor = (folder / "pairs.jsonl").read_text().count("\n")
    (learnt,) = seen
    assert len(learnt) == actor + len(pairs) and len(pairs) <= actor
    texts = {pair.response_id: pair for pair in pairs}
    for (task, chosen, rejected), pair in zip(learnt[actor:], pairs, strict=True):
        assert "Score: <total points>" in task and pair.response_id in texts
        assert (chosen, rejected) == tuple(judgments[one].rationale.strip() for one in (pair.chosen_id, pair.rejected_id))
    loop = json.loads((folder / "measured.json").read_text())["loop"]["further"]
    assert sum(loop["meta_judgments"].values()) == len(battles) and loop["judge_pairs"]["kept"] == len(pairs)


def test_it_goes_on_where_it_was_killed_and_is_shown_and_exported(world, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        more = {**META, "judge_pairs": {**META["judge_pairs"], "samples": 5, "replay": 2}}
        go(world, tmp_path / "run", **more)
        expected = tree(tmp_path / "run")
        for file in (tmp_path / "run" / "M2").iterdir():
            if file.name.startswith(("judgments_added", "meta", "eft", "judge_pairs", "model", "held", "truth", "rank", "meas")):
                shutil.rmtree(file) if file.is_dir() else file.unlink()
        asked = count_requests(patch)
        go(world, tmp_path / "run", **more)
        assert tree(tmp_path / "run") == expected and max(asked.values()) == 1
    monkeypatch.undo()
    page = write_report(tmp_path / "run").read_text()
    assert "meta judgments" in page and "judge pairs" in page and "eft replayed" in page
    told = re.findall(r"the judge is taught judgment (\w+) \(\d\) over judgment (\w+) \(\d\)", page)
    told += re.findall(r"meta-judge, judgment (\w+) before (\w+):", page)
    learnt = {(pair.chosen_id, pair.rejected_id) for pair in read_jsonl(tmp_path / "run" / "M2" / "judge_pairs.jsonl", JudgePair)}
    assert learnt & {*told} and len({*told}) > len(learnt & {*told})
    assert all(f", judgment {name}</span>" in page for both in told for name in both)
    export_run(tmp_path / "run", tmp_path / "all")
    assert {"meta_judgments", "judge_pairs", "judgments_added", "eft_replayed"} <= {
        path.name for path in (tmp_path / "all").iterdir()
    }


def test_more_judgments_are_asked_of_the_one_response_alone_and_all_meet_in_both_orders(world, tmp_path):
    go(world, tmp_path / "run", **{**META, "judge_pairs": {**META["judge_pairs"], "samples": 6}})
    folder = tmp_path / "run" / "M2"
    added = read_jsonl(folder / "judgments_added.jsonl", Judgment)
    assert {one.sample for one in added} == {4, 5} and Counter(Counter(one.response_id for one in added).values()).keys() == {2}
    scored = Counter()
    for one in [*read_jsonl(folder / "judgments.jsonl", Judgment), *added]:
        if one.response_id in {each.response_id for each in added} and one.score is not None:
            scored[one.response_id] += 1
    battles = Counter(one.response_id for one in read_jsonl(folder / "meta_judgments.jsonl", MetaJudgment))
    assert all(battles[name] <= k * (k - 1) for name, k in scored.items())
    assert sum(battles[name] == k * (k - 1) for name, k in scored.items()) > len(scored) / 2


@pytest.mark.parametrize("table", [{"by": "meta"}, {"by": "consensus", "samples": 5}], ids=["meta", "consensus"])
def test_a_run_whose_judgments_never_differ_goes_on_without_judge_pairs(table, world, tmp_path, monkeypatch):
    def write(request):
        asked = request.messages[-1].content
        if "Score" in asked:
            return f"Fine. Score: {sum(map(ord, asked)) % 5}", "stop"
        return write_like_a_model(request)

    write_by(monkeypatch, write)
    go(world, tmp_path / "run", judge_pairs=table, prompts__per_iteration=12)
    further = json.loads((tmp_path / "run" / "M2" / "measured.json").read_text())["loop"]["further"]
    assert further["judge_pairs"]["kept"] == 0 and sum(further["judge_pairs"].values()) > 0
    assert {} in further.values()  # a stage that asked for nothing


def test_only_the_first_rounds_teach_the_judge(world, tmp_path, monkeypatch):
    seen = trained_on(monkeypatch)
    consensus = {"by": "consensus", "share": 0.5, "commonest": 1, "rounds": 1}
    go(world, tmp_path / "run", iterations=2, judge_pairs=consensus, prompts__per_iteration=12)
    assert (tmp_path / "run" / "M2" / "judge_pairs.jsonl").exists() and not (
        tmp_path / "run" / "M3" / "judge_pairs.jsonl"
    ).exists()
    assert not list((tmp_path / "run").glob("*/meta*"))
    assert [sum("Score: <total" in pair[0] for pair in pairs) > 0 for pairs in seen] == [True, False]


def test_eft_is_replayed_against_what_the_model_misjudges_most(world, tmp_path, monkeypatch):
    seen, graded = trained_on(monkeypatch), world.parent / "eft.jsonl"
    told = [Example(prompt=f"score number {n}", response=f"fine. Score: {n}", kind="eft", source="test") for n in range(3)]
    graded.write_text("".join(to_line(example) + "\n" for example in told))
    go(world, tmp_path / "run", judge_pairs={"by": "none", "replay": 3, "share": 0.9, "commonest": 1})
    folder = tmp_path / "run" / "M2"
    examples = {one.id: one for one in told}
    said = read_jsonl(folder / "eft_replayed.jsonl", Judgment)
    assert Counter(one.response_id for one in said) == dict.fromkeys(examples, 3)
    pairs = read_jsonl(folder / "judge_pairs.jsonl", JudgePair)
    for pair in pairs:
        target = GRADER.parse(examples[pair.response_id].response)[1]
        wrong = [
            abs(one.score - target) for one in said if one.response_id == pair.response_id and one.score not in (None, target)
        ]
        assert pair.chosen_score == target and abs(pair.rejected_score - target) == max(wrong) == -pair.rejected_strength
    learnt = [pair for pair in seen[0] if pair[0].startswith("score number")]
    assert pairs and [pair[:2] for pair in learnt] == [
        (examples[p.response_id].prompt, examples[p.response_id].response) for p in pairs
    ]


@pytest.mark.parametrize("thought", ["It is short. Score: 9", ""], ids=["EFT thinks", "EFT does not"])
def test_thoughts_are_replayed_on_both_sides_or_on_neither(thought, world, tmp_path, monkeypatch):
    seen = trained_on(monkeypatch)
    before = f"<think>\n{thought}\n</think>\n\n" if thought else ""
    told = Example(prompt="score this", response=f"{before}fine. Score: 5", kind="eft", source="test")
    own = [Prompt(text=f"tell of the larch number {n}", source="self") for n in range(6)]
    for name, records in (("eft", [told]), ("own", own)):
        (world.parent / f"{name}.jsonl").write_text("".join(to_line(record) + "\n" for record in records))

    def write(request):
        reason = "<think>Hm.</think>" if request.sampling.thinking else ""
        return f"{reason}Some words of my own. Score: {request.seed % 5}", "stop"

    write_by(monkeypatch, write)
    replay = {"by": "none", "replay": 3, "share": 0.9, "commonest": 1}
    go(world, tmp_path / "run", judge_pairs=replay, judge__thinking=20, prompts__from=str(world.parent / "own.jsonl"))
    (_, chosen, rejected) = next(pair for pair in seen[0] if pair[0] == "score this")
    if thought:
        assert (chosen.thought, chosen.text) == (thought, "fine. Score: 5") and rejected.thought == "Hm."
        rejected = rejected.text
    else:
        assert chosen == told.response
    assert rejected.startswith("Some words of my own. Score: ")


def test_a_branch_may_begin_to_teach_the_judge_and_to_stop(world, tmp_path, monkeypatch):
    from selfreward.api import run

    table = {"by": "consensus", "share": 0.5, "commonest": 1}
    go(world, tmp_path / "plain", prompts__per_iteration=12)
    began = run(
        world,
        tmp_path / "began",
        set={"prompts.per_iteration": 12, "judge_pairs": table, "iterations": 2},
        start=tmp_path / "plain" / "M2",
    )
    assert began.finished and (tmp_path / "began" / "M3" / "judge_pairs.jsonl").exists()
    assert not (tmp_path / "began" / "M2" / "judge_pairs.jsonl").exists()
    ended = run(world, tmp_path / "ended", set={"prompts.per_iteration": 12, "iterations": 3}, start=tmp_path / "began" / "M3")
    assert ended.finished and (tmp_path / "ended" / "M3" / "judge_pairs.jsonl").exists()
    assert not (tmp_path / "ended" / "M4" / "judge_pairs.jsonl").exists()


def test_without_the_table_nothing_is_taught_and_nothing_written_down(world, tmp_path):
    recipe = load_recipe(world)
    assert "judge_pairs" not in recipe.model_dump() and not recipe.teaches_judging(2)


def test_the_bill_has_battles_added_judgments_and_longer_pairs(world):
    recipe = load_recipe(world, {"judge_pairs": {"samples": 5, "replay": 2}, "judge.samples": 3})
    material = weigh(stand_in(recipe), [], recipe, lambda texts: [*map(len, texts)], 4)
    lines = {stage.stage: stage for stage in plan(recipe, material)}
    assert lines["M2/meta_judgments"].requests == 6 * 5 * 4 and lines["M2/judgments_added"].requests == 6 * 2
    assert lines["M2/eft_replayed"].requests == material.eft * 2
    assert lines["M2/model"].examples == 6 + 1  # .15 of 7
    plain = {stage.stage: stage for stage in plan(load_recipe(world), material)}
    assert lines["M2/model"].sequence.most > plain["M2/model"].sequence.most


def test_the_bill_counts_the_judge_pairs_of_all_rounds_that_are_trained_on_again(world, tmp_path, monkeypatch):
    table = {"by": "consensus", "share": 0.3, "commonest": 1, "rounds": 2}
    kept = {"iterations": 3, "pairs__accumulate": True, "pairs__chosen_from": "ahead", "prompts__per_iteration": 7}
    changes = {name.replace("__", "."): value for name, value in kept.items()}
    recipe = load_recipe(world, {**changes, "judge_pairs": table})
    material = weigh(stand_in(recipe), [], recipe, lambda texts: [*map(len, texts)], 4)
    planned = {stage.stage: stage.examples for stage in plan(recipe, material) if stage.stage.endswith(("model", "ahead"))}
    by_hand = {"M2/model": 7 + 3, "M3/model": 14 + 6, "M4/model": 21 + 6}  # 3 of 10 are .3
    assert planned == {"M1/model": material.ift + material.eft, **by_hand, "M2/ahead": 7, "M3/ahead": 7, "M4/ahead": 7}
    seen = trained_on(monkeypatch)
    go(world, tmp_path / "run", judge_pairs=table, **kept)
    trained = dict(zip([f"M{t}/{name}" for t in (2, 3, 4) for name in ("ahead", "model")], map(len, seen), strict=True))
    assert all(trained[name] <= planned[name] for name in trained) and trained["M4/model"] > trained["M2/model"] + 7


@pytest.mark.parametrize(
    ("field", "fine", "warned"), [("judge_pairs.share", 0.15, 0.2), ("dpo.nll_weight", 0.1, 0)], ids=["one score", "no form"]
)
def test_check_warns_of_what_made_judges_worse(world, tmp_path, field, fine, warned):
    def told(value):
        found = check(load_recipe(world, {"judge_pairs.by": "consensus", field: value}), tmp_path).findings
        return [finding.level for finding in found if finding.where == field]

    assert (told(fine), told(warned)) == ([], ["warning"])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"judge_pairs.by": "none"}, "needs replay"),
        ({"judge_pairs.share": 0}, "share must be above 0"),
        ({"judge_pairs.pattern": "winner"}, "one group"),
        ({"judge_pairs.by": "meta", "judge.by": "frozen"}, 'judge.by must be "current"'),
        ({"judge_pairs.by": "meta", "judge.by": ["current", "frozen"]}, 'judge.by must be "current"'),
        ({"judge_pairs.by": "meta", "judge.checks": "score"}, 'leave out judge.checks = "score"'),
        ({"judge_pairs.by": "consensus", "judge.method": "pairwise"}, 'judge.method "scores"'),
        ({"judge_pairs.by": "meta", "judge.samples": "adaptive"}, "judge.samples must be a number"),
        ({"judge_pairs.samples": 2, "judge.samples": 3}, "must be compared, and all 3 of them"),
        (
            {"judge_pairs.by": "meta", "judge.samples": 1, "judge.min_valid": 1},
            "at least two judgments of a response must be compared",
        ),
    ],
)
def test_what_cannot_teach_a_judge_is_refused_in_a_line(changes, reason, world):
    with pytest.raises(SelfRewardError) as refused:
        load_recipe(world, changes)
    assert reason in str(refused.value) and "\n" not in str(refused.value)
