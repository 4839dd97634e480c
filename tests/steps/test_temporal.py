"""Candidates of M1 and of a model ahead: the worst of the past against the best of the future, judged by the model itself."""

import json
import shutil

import pytest

from selfreward.checks.amounts import stand_in, weigh
from selfreward.checks.planning import plan
from selfreward.engines.fake import FakeTrainer
from selfreward.errors import SelfRewardError
from selfreward.recipe import load_recipe
from selfreward.records import Judgment, Pair, Prompt, Response, read_jsonl
from selfreward.reports import export_run, write_report
from selfreward.rundir import DRIFT, open_run
from selfreward.stats import mean_scores
from selfreward.steps.temporal import across
from tinyrun import count_requests, go, make_world, quiet, tree, write_apart

BOTH = {
    "pairs": {"rejected_from": "M1", "chosen_from": "ahead"},
    "responses__n": 4,
    "prompts__per_iteration": 12,
    "iterations": 2,
}


@pytest.fixture
def world(tmp_path, monkeypatch):
    """The smallest run's recipe, whose models have words of their own."""
    quiet(monkeypatch)
    write_apart(monkeypatch)
    return make_world(tmp_path / "world")


PROMPT = Prompt(text="p", source="self")


def group(model, *scores, finish="stop"):
    return {
        PROMPT.id: [
            (score, Response(prompt_id=PROMPT.id, model=model, index=n, text=f"{model} {n}", finish=finish))
            for n, score in enumerate(scores)
        ]
    }


OWN = group("m", 3, 4, 2)


@pytest.mark.parametrize(
    ("first", "ahead", "chosen", "rejected"),
    [
        ({}, {}, ("m", 4), ("m", 2)),
        (group("f", 1, 5), {}, ("m", 4), ("f", 1)),  # M1's worst is worse; its best is nobody's
        (group("f", 2, 3), {}, ("m", 4), ("m", 2)),  # as bad is not worse
        ({}, group("a", 5, 0), ("a", 5), ("m", 2)),  # the best ahead is better; its worst is nobody's
        ({}, group("a", 4, 4), ("m", 4), ("m", 2)),  # as good is not better
        (group("f", 0), group("a", 5), ("a", 5), ("f", 0)),
        ({}, group("a", 5, finish="length"), ("m", 4), ("m", 2)),  # what ran out of length is never chosen
    ],
)
def test_the_worst_of_the_past_is_rejected_and_the_best_of_the_future_chosen_where_they_are_further_out(
    first, ahead, chosen, rejected
):
    ((pair,), dropped) = across([PROMPT], OWN, first, ahead)
    known = {response.id: response.model for one in (OWN, first, ahead) for _, response in one.get(PROMPT.id, ())}
    assert not dropped
    assert (known[pair.chosen_id], pair.chosen_score) == chosen and (known[pair.rejected_id], pair.rejected_score) == rejected


@pytest.mark.parametrize(
    ("own", "first", "reason"),
    [
        (group("m", 3, 3), {}, "tie"),
        (group("m", 3), group("f", 1), "fewer_than_two_scored"),
        (group("m", 3, 4, finish="length"), group("f", 1), "all_ran_out_of_length"),
        ({}, {}, "fewer_than_two_scored"),
    ],
)
def test_a_prompt_without_a_pair_has_the_reason(own, first, reason):
    pairs, (dropped,) = across([PROMPT], own, first, {})
    assert pairs == [] and (dropped.id, dropped.stage, dropped.reason) == (PROMPT.id, "pairs", reason)
    assert across([PROMPT], group("m", 3, 3), group("f", 1), {})[0]  # the past breaks a tie


def of(folder, name, kind):
    return read_jsonl(folder / f"{name}.jsonl", kind)


def by_model(folder, number=""):
    """Scored candidates by prompt id, of the stage `responses` or one of its rounds."""
    scores = mean_scores(of(folder, f"judgments{number}", Judgment), 1)
    groups = {}
    for response in of(folder, f"responses{number}", Response):
        if response.id in scores:
            groups.setdefault(response.prompt_id, []).append((scores[response.id], response))
    return groups


def test_a_run_asks_the_past_and_the_future_and_trains_from_the_present(world, tmp_path, monkeypatch):
    seen, dpo = [], FakeTrainer.dpo
    monkeypatch.setattr(
        FakeTrainer, "dpo", lambda s, pairs, start, *given: seen.append((pairs, start)) or dpo(s, pairs, start, *given)
    )
    run = tmp_path / "run"
    go(world, run, **BOTH)
    receipt = lambda name, stage: json.loads((run / name / f"{stage}.receipt.json").read_text())  # noqa: E731
    assert not (run / "M2" / "responses_2.jsonl").exists() and (run / "M2" / "responses_3.jsonl").exists()
    folder = run / "M3"
    m1, m2, ahead = receipt("M1", "model"), receipt("M2", "model"), receipt("M3", "ahead")
    answered = [{one.model for one in of(folder, f"responses{n}", Response)} for n in ("", "_2", "_3")]
    assert answered == [{one["fingerprint"]} for one in (m2, m1, ahead)]
    assert all({one.judge for one in of(folder, f"judgments{n}", Judgment)} == {m2["fingerprint"]} for n in ("", "_2", "_3"))
    assert ahead["start"] == receipt("M3", "model")["start"] == m2["fingerprint"] != ahead["fingerprint"]
    prompts, groups = of(folder, "prompts", Prompt), [by_model(folder, number) for number in ("", "_2", "_3")]
    before, pairs = across(prompts, *groups[:2], {}), across(prompts, *groups)
    assert of(folder, "pairs_ahead", Pair) == before[0] and of(folder, "pairs", Pair) == pairs[0] != before[0]
    assert [len(learnt) for learnt, _ in seen[2:]] == [len(before[0]), len(pairs[0])]
    assert {start.parent.name for _, start in seen[2:]} == {"M2"}
    told = json.loads((folder / "measured.json").read_text())["loop"]["told"]
    own = {response.id for one in groups[0].values() for _, response in one}
    assert told["rejected of another model"] == sum(pair.rejected_id not in own for pair in pairs[0]) / len(pairs[0]) > 0
    assert told["chosen of another model"] == sum(pair.chosen_id not in own for pair in pairs[0]) / len(pairs[0]) > 0


@pytest.mark.parametrize("stages", [("responses_2", "judgments_2"), ("ahead", "responses_3", "judgments_3"), ("judgments_3",)])
def test_it_goes_on_where_it_was_killed(stages, world, tmp_path, monkeypatch):
    run = tmp_path / "run"
    go(world, run, **BOTH, drift__sample=2)
    expected = tree(run)
    for file in (run / "M3").iterdir():
        if file.name.split(".")[0] in (*stages, "pairs", "model", "truth", "measured") or file.name.startswith(
            ("held", "rank", "drift")
        ):
            shutil.rmtree(file) if file.is_dir() else file.unlink()
    asked = count_requests(monkeypatch)
    go(world, run, **BOTH, drift__sample=2)
    assert tree(run) == expected and max(asked.values()) == 1


def test_it_is_shown_exported_and_read_with_all_candidates(world, tmp_path, monkeypatch):
    run = tmp_path / "run"
    go(world, run, **BOTH, drift__sample=2)
    monkeypatch.undo()
    page = write_report(run).read_text()
    assert "rejected of another model" in page and "pairs ahead" in page
    folder = open_run(run)["M3"]
    assert len(folder.responses()) == 3 * len(of(run / "M3", "responses", Response))
    export_run(run, tmp_path / "all")
    assert (tmp_path / "all" / "pairs_ahead").exists() and not (tmp_path / "all" / "ahead").exists()
    (values,) = [one.value for one in folder.records(DRIFT) if one.monitor == "flukes.rate"]
    assert values is not None


def test_the_bill_has_both_models_candidates_and_two_trainings(world):
    recipe = load_recipe(world, {"pairs.rejected_from": "M1", "pairs.chosen_from": "ahead", "iterations": 2, "responses.n": 4})
    lines = {
        stage.stage: stage for stage in plan(recipe, weigh(stand_in(recipe), [], recipe, lambda texts: [*map(len, texts)], 4))
    }
    for number in ("", "_2", "_3"):
        assert lines[f"M3/responses{number}"].requests == 24 and lines[f"M3/judgments{number}"].requests == 72
    assert "M2/responses_2" not in lines and lines["M3/ahead"].examples == lines["M3/model"].examples == 6


def test_it_combines_with_pairs_of_judgments_another_loss_and_averages_and_eft_without_people(world, tmp_path):
    world.write_text(world.read_text().replace('eft = "eft.jsonl"\n', ""))
    together = {
        **BOTH, "judge_pairs": {"by": "meta", "share": 0.5, "commonest": 1, "replay": 1}, "dpo__loss": "ipo", "dpo__average": 2,
        "dpo__checkpoint_every": 2, "eft__by": "self", "sft__baseline": True, "eft__tries": 8,
    }  # fmt: skip
    run = tmp_path / "run"
    go(world, run, **together)
    left = {path.name.removesuffix(".receipt.json") for path in (run / "M3").glob("*.receipt.json")}
    assert {"responses_2", "responses_3", "ahead", "meta_judgments", "eft_replayed", "judge_pairs"} <= left
    receipt = json.loads((run / "M3" / "model.receipt.json").read_text())
    assert receipt["loss"] == "ipo" and len(receipt["averaged"]) == 2
    before = tree(run)
    go(world, run, **together)
    assert tree(run) == before


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"pairs.length_rho": 0.3}, "have a rule of their own"),
        ({"judge.by": ["current", "frozen"]}, "need the scores of one judge"),
        ({"judge.method": "votes"}, "need the scores of one judge"),
        ({"judge.checks": "score"}, "leave judge.by, judge.method and judge.checks alone"),
        ({"judge.samples": "adaptive"}, "a number for judge.samples"),
        ({"dpo.confidence": "consistency"}, "ranks the candidates of one model"),
    ],
)
def test_what_does_not_go_with_it_is_refused_in_a_line(changes, reason, world):
    with pytest.raises(SelfRewardError) as refused:
        load_recipe(world, {"pairs.rejected_from": "M1", **changes})
    assert reason in str(refused.value) and "\n" not in str(refused.value)
