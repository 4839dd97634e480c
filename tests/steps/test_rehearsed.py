"""A run that rehearses EFT in every DPO: what its trainer is given, what is told and billed; and no byte changes without it."""

import json
import shutil

import pytest

from selfreward.checks import check
from selfreward.checks.amounts import stand_in, weigh
from selfreward.checks.planning import plan
from selfreward.engines.fake import FakeTrainer
from selfreward.errors import SelfRewardError
from selfreward.recipe import load_recipe
from tinyrun import go, make_world, quiet, tree

EFT = [(f"grade number {n}", f"fine. Score: {n}") for n in range(3)]


@pytest.fixture
def world(tmp_path, monkeypatch):
    quiet(monkeypatch)
    return make_world(tmp_path / "world")


@pytest.fixture
def given(monkeypatch):
    """The rehearsed examples that every DPO was given, by the folder of its model."""
    found, plain = {}, FakeTrainer.dpo

    def dpo(self, pairs, start, reference, config, seed, work, advance, every=None, **beside):
        found[f"{work.parent.name}/{work.name.split('.')[0]}"] = beside
        return plain(self, pairs, start, reference, config, seed, work, advance, every, **beside)

    monkeypatch.setattr(FakeTrainer, "dpo", dpo)
    return found


def receipt(run, stage):
    return json.loads((run / f"{stage}.receipt.json").read_text())


def test_every_round_is_given_all_of_eft_and_its_receipt_tells_how_much_was_read(world, tmp_path, given):
    go(world, tmp_path / "run", iterations=2, dpo__rehearse=2, dpo__epochs=3)
    assert list(given.values()) == [{"rehearsed": EFT}] * 2
    for name in ("M2", "M3"):
        told = receipt(tmp_path / "run", f"{name}/model")
        assert told["rehearsed"] == 2 * told["steps"]


def test_a_judge_asked_by_a_system_prompt_rehearses_by_it(world, tmp_path, given):
    go(world, tmp_path / "run", dpo__rehearse=1, judge__system="Judge.")
    [beside] = given.values()
    assert [[turn.content for turn in asked] for asked, _ in beside["rehearsed"]] == [["Judge.", task] for task, _ in EFT]


def test_without_it_a_trainer_is_given_nothing_and_no_byte_of_a_run_changes(world, tmp_path, given):
    go(world, tmp_path / "run", dpo__rehearse=0)
    assert list(given.values()) == [{}]
    before = tree(tmp_path / "run")
    assert "rehearse" not in (tmp_path / "run" / "config.json").read_text()
    assert "rehearsed" not in receipt(tmp_path / "run", "M2/model")
    go(world, tmp_path / "run")
    assert tree(tmp_path / "run") == before


@pytest.mark.parametrize("change", [{"dpo__rehearse": 3}, {"dpo__rehearse_weight": 0.5}, {"dpo__rehearse": 0}])
def test_another_rehearsal_is_another_model_and_a_finished_run_refuses_it(change, world, tmp_path):
    go(world, tmp_path / "run", dpo__rehearse=2)
    go(world, tmp_path / "other", **{"dpo__rehearse": 2} | change)
    weights = [tmp_path / name / "M2" / "model" / "model.safetensors" for name in ("run", "other")]
    assert weights[0].read_bytes() != weights[1].read_bytes()
    with pytest.raises(SelfRewardError, match=r"dpo\.rehearse"):
        go(world, tmp_path / "run", **{"dpo__rehearse": 2} | change)


def test_other_examples_are_another_model(world, tmp_path, monkeypatch):
    """The key of a training is of what it rehearses: the same pairs with other examples are trained anew."""
    from selfreward.steps import Seed

    go(world, tmp_path / "run", dpo__rehearse=2)
    plain = Seed.examples
    monkeypatch.setattr(Seed, "examples", lambda self, on: plain(self, on)[::-1] if on == "eft" else plain(self, on))
    with pytest.raises(SelfRewardError):
        go(world, tmp_path / "run", dpo__rehearse=2)


def test_it_goes_on_where_it_was_killed(world, tmp_path):
    go(world, tmp_path / "run", iterations=2, dpo__rehearse=2)
    expected = tree(tmp_path / "run")
    for file in [*(tmp_path / "run" / "M3").glob("model*"), *(tmp_path / "run" / "M3").glob("held*")]:
        shutil.rmtree(file) if file.is_dir() else file.unlink()
    go(world, tmp_path / "run", iterations=2, dpo__rehearse=2)
    assert tree(tmp_path / "run") == expected


def test_the_model_ahead_only_answers_and_rehearses_nothing(world, tmp_path, given):
    go(world, tmp_path / "run", dpo__rehearse=2, pairs={"chosen_from": "ahead"}, responses__n=4, prompts__per_iteration=12)
    assert sorted(map(len, given.values())) == [0, 1]


def test_the_bill_has_the_tokens_that_are_rehearsed(world):
    recipe = load_recipe(world, {"dpo.rehearse": 5, "dpo.epochs": 2})
    material = weigh(stand_in(recipe), [], recipe, lambda texts: [*map(len, texts)], 4)
    stages = {stage.stage: stage for stage in plan(recipe, material)}
    plain = {stage.stage: stage for stage in plan(load_recipe(world, {"dpo.epochs": 2}), material)}
    more = stages["M2/model"].reads.likely - plain["M2/model"].reads.likely
    assert more == pytest.approx(stages["M2/model"].steps * 5 * material.graded.likely)
    assert stages["M2/model"].computed(False) - plain["M2/model"].computed(False) == pytest.approx(more)
    nothing = {stage.stage: stage for stage in plan(recipe, material._replace(eft=0))}
    assert nothing["M2/model"].reads == plain["M2/model"].reads


def test_check_warns_where_there_is_nothing_to_rehearse(world, tmp_path):
    def told(changes):
        found = check(load_recipe(world, {"dpo.rehearse": 1, **changes}), tmp_path).findings
        return [finding.level for finding in found if finding.where == "dpo.rehearse"]

    assert (told({}), told({"data.eft": None, "sft.on": "ift"})) == ([], ["warning"])


@pytest.mark.parametrize("changes", [{"dpo.rehearse": -1}, {"dpo.rehearse": 1, "dpo.rehearse_weight": 0}])
def test_what_means_nothing_is_refused(changes, world):
    with pytest.raises(SelfRewardError, match="greater than"):
        load_recipe(world, changes)
