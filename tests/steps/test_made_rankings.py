"""EFT without people: answers to changed prompts are ranked below IFT's own, by nobody."""

import json
import shutil

import pytest

from selfreward.checks.amounts import stand_in, weigh
from selfreward.checks.planning import plan
from selfreward.engines.fake import write_like_a_model
from selfreward.errors import SelfRewardError
from selfreward.recipe import load_recipe
from selfreward.records import Dropped, Example, Judgment, Prompt, Ranking, Response, read_jsonl, to_line
from selfreward.reports import export_run, write_report
from tinyrun import count_requests, go, make_world, quiet, tree, write_by

SELF = {"eft__by": "self", "sft__baseline": True, "eft__tries": 6}


@pytest.fixture
def world(tmp_path, monkeypatch):
    """The smallest run without EFT or rankings; prompt 0 comes back unchanged, 1 as a held-out one, 2's answer does not end."""
    quiet(monkeypatch)

    def write(request):
        asked = request.messages[-1].content
        if asked.startswith("Below is an instruction. Write another"):
            of = asked.split("<instruction>")[1].split("</instruction>")[0]
            return {"0": of.upper(), "1": "Name the birch number 1"}.get(of[-1], f"changed {of}"), "stop"
        if asked.startswith("changed"):
            return {"2": ("cut", "length"), "3": ("Amber 3", "stop")}.get(asked[-1], (f"worse {asked[-1]}", "stop"))
        return write_like_a_model(request)

    write_by(monkeypatch, write)
    recipe = make_world(tmp_path / "world")
    recipe.write_text(recipe.read_text().replace('eft = "eft.jsonl"\n', "").replace('heldout_rankings = "rankings.jsonl"\n', ""))
    return recipe


def of(run, name, kind):
    return read_jsonl(run / "seed" / f"{name}.jsonl", kind)


def test_an_answer_to_a_changed_prompt_is_below_the_one_that_people_gave_to_the_first(world, tmp_path):
    run = tmp_path / "run"
    go(world, run, **SELF)
    ift = of(run, "ift", Example)
    baseline = json.loads((run / "SFT" / "model.receipt.json").read_text())["fingerprint"]
    for name, count in (("changed_prompts", 6), ("worse_responses", 4)):
        made = of(run, name, Response)
        assert len(made) == count and {one.model for one in made} == {baseline}
    rankings = of(run, "rankings", Ranking)
    assert rankings == [
        Ranking(prompt=f"describe amber number {n}", responses=(f"amber {n}", f"worse {n}"), ranks=(0, 1)) for n in (4, 5)
    ]
    dropped = read_jsonl(run / "seed" / "rankings.dropped.jsonl", Dropped)
    reasons = ("the_same_prompt", "held_out", "not_answered", "the_same_answer")
    assert dropped == [Dropped(id=ift[n].id, stage="rankings", reason=reason) for n, reason in enumerate(reasons)]
    judged = {one.response_id for one in of(run, "eft_judgments", Judgment)}
    assert len(judged) == 4 and {one.kind for one in of(run, "eft", Example)} == {"eft"}


def test_prompts_are_drawn_and_the_others_counted(world, tmp_path):
    run = tmp_path / "run"
    examples = [Example(prompt=f"describe amber number {n}4", response=f"amber {n}", kind="ift", source="test") for n in range(8)]
    (world.parent / "ift.jsonl").write_text("".join(to_line(one) + "\n" for one in examples))
    go(world, run, **SELF, eft__prompts=5)
    assert len(of(run, "changed_prompts", Response)) == 5 == len(of(run, "rankings", Ranking))
    assert json.loads((run / "seed" / "rankings.receipt.json").read_text())["dropped"] == {"over_limit": 3}


def test_it_goes_on_where_it_was_killed_and_is_shown_and_exported(world, tmp_path, monkeypatch):
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        go(world, run, **SELF)
        expected = tree(run)
        for file in [
            *(run / "seed").glob("worse*"),
            *(run / "seed").glob("rankings*"),
            *(run / "seed").glob("eft*"),
            run / "M1",
            run / "M2",
        ]:
            shutil.rmtree(file) if file.is_dir() else file.unlink()
        asked = count_requests(patch)
        go(world, run, **SELF)
        assert tree(run) == expected and max(asked.values()) == 1
    page = write_report(run).read_text()
    assert "rankings of two that it made itself" in page
    export_run(run, tmp_path / "all")
    assert {"changed_prompts", "worse_responses", "rankings"} <= {path.name for path in (tmp_path / "all").iterdir()}


def test_the_bill_has_a_changed_prompt_and_its_answer_and_judgments_of_both(world):
    recipe = load_recipe(world, {"eft.by": "self", "sft.baseline": True, "eft.prompts": 3})
    material = weigh(stand_in(recipe), [Prompt(text="x", source="seed")], recipe, lambda texts: [*map(len, texts)], 4)
    lines = {stage.stage: stage for stage in plan(recipe, material)}
    assert lines["seed/changed_prompts"].requests == lines["seed/worse_responses"].requests == 3
    assert lines["seed/eft_judgments"].requests == 3 * 2 * 4 and material.eft == 6


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"eft.by": "self", "data.eft": "eft.jsonl"}, "leave out data.eft and data.rankings"),
        ({"eft.by": "self", "data.rankings": "rankings.jsonl"}, "leave out data.eft and data.rankings"),
        ({"eft.prompts": 3}, 'prompts and change work only with by = "self"'),
        ({"eft.by": "self", "eft.prompts": 0}, "at least 1"),
    ],
)
def test_what_does_not_go_with_it_is_refused_in_a_line(changes, reason, world):
    with pytest.raises(SelfRewardError) as refused:
        load_recipe(world, changes)
    assert reason in str(refused.value) and "\n" not in str(refused.value)


def test_without_a_baseline_nobody_makes_rankings(world, tmp_path):
    with pytest.raises(SelfRewardError, match="makes EFT of its own rankings, but is not trained"):
        go(world, tmp_path / "run", eft__by="self")
