"""Many small iterations: one schedule over the run, the optimizer carried on, every k-th model measured."""

import math

import pytest
from safetensors.numpy import load_file

from selfreward.errors import SelfRewardError
from selfreward.recipe import DPOConfig, load_recipe
from selfreward.reports import describe_status
from selfreward.rundir import open_run
from tinyrun import Killed, count_requests, go, kill_at, make_world, quiet, tree

SMALL = {
    "iterations": 4, "dpo__optimizer": "carried", "dpo__schedule": "run", "measure__every": 3,
    "responses__n": 4, "prompts__per_iteration": 12,
}  # fmt: skip


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    quiet(monkeypatch)
    return make_world(tmp_path / "world")


def test_every_third_model_and_the_last_are_measured_and_the_run_is_finished(recipe, tmp_path):
    go(recipe, tmp_path / "run", **SMALL)
    run = open_run(tmp_path / "run")
    assert [measured.name for measured in run.measured] == ["M0", "M1", "M4", "M5"]
    assert run.finished and run.status == "finished"
    assert "M3   made, and not measured" in describe_status(tmp_path / "run")
    assert [contest.against for contest in run.models["M5"].measured.head_to_head if contest.judge == "M5"] == ["M4"]
    assert not (tmp_path / "run" / "M3" / "heldout_responses.jsonl").exists()


def test_steps_add_up_over_the_iterations(recipe, tmp_path):
    go(recipe, tmp_path / "run", **SMALL)
    steps = [open_run(tmp_path / "run")[f"M{t}"].receipt("model")["steps"] for t in range(2, 6)]
    states = [load_file(tmp_path / "run" / f"M{t}" / "model.optimizer.safetensors")["steps"][0] for t in range(2, 6)]
    assert states == [sum(steps[: n + 1]) for n in range(4)] and min(steps) > 0


@pytest.mark.parametrize("change", ["dpo__optimizer", "dpo__schedule"])
def test_what_is_carried_changes_the_models_from_the_first_or_second_on(recipe, tmp_path, change):
    go(recipe, tmp_path / "run", **SMALL)
    go(recipe, tmp_path / "other", **{name: value for name, value in SMALL.items() if name != change})
    prints = [[open_run(tmp_path / run)[f"M{t}"].receipt("model")["digest"] for t in (2, 3)] for run in ("run", "other")]
    assert prints[0][1] != prints[1][1]


def test_killed_where_the_state_was_moved_and_the_model_was_not_a_run_ends_with_the_same_bytes(recipe, tmp_path, monkeypatch):
    go(recipe, tmp_path / "undisturbed", **SMALL)
    from selfreward.rundir.stages import ModelFolder

    for count in range(2, 5):
        run = tmp_path / f"killed-{count}"
        with monkeypatch.context() as patch, pytest.raises(Killed):
            kill_at(patch, count, [(ModelFolder, "_become")])
            go(recipe, run, **SMALL)
        go(recipe, run, **SMALL)
        assert tree(run) == tree(tmp_path / "undisturbed")


def test_a_state_that_was_edited_is_named(recipe, tmp_path):
    go(recipe, tmp_path / "run", **SMALL)
    state = tmp_path / "run" / "M3" / "model.optimizer.safetensors"
    state.write_bytes(state.read_bytes()[:-1] + b"\x07")
    with pytest.raises(SelfRewardError, match="optimizer"):
        go(recipe, tmp_path / "run", **SMALL)


def test_the_rates_of_a_run_are_one_cosine_in_parts():
    dpo = DPOConfig(learning_rate=9e-4, end_learning_rate=1e-4, schedule="run")
    parts = [dpo.of_iteration(t, 5) for t in range(2, 6)]
    cosine = [1e-4 + 8e-4 * (1 + math.cos(math.pi * share)) / 2 for share in (0, 0.25, 0.5, 0.75, 1)]
    assert [part.learning_rate for part in parts] == pytest.approx(cosine[:-1])
    assert [part.end_learning_rate for part in parts] == pytest.approx(cosine[1:])
    assert parts[1].learning_rate == pytest.approx(7.8284e-4, rel=1e-4)  # by hand: 1e-4 + 8e-4 · 0.85355
    assert DPOConfig().of_iteration(3, 5) == DPOConfig()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"trainer.lora": {}}, "leave out trainer.lora, or dpo.optimizer"),
        ({"select": {"judge": "some/model", "prompts": "validation.jsonl"}}, "dpo.optimizer uses the end of a training"),
        (
            {"cluster": {"trainers": 2}, "sft.batch_size": 2, "dpo.batch_size": 2},
            "dpo.optimizer is carried only in a single",
        ),
        ({"measure.every": 0}, "measure.every"),
    ],
)
def test_what_does_not_combine_is_refused(recipe, change, named):
    with pytest.raises(SelfRewardError, match=named):
        load_recipe(recipe, {"dpo.optimizer": "carried", **change})


def test_a_model_that_is_not_measured_asks_nothing_more(recipe, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        asked = count_requests(patch)
        go(recipe, tmp_path / "run", **SMALL)
    with monkeypatch.context() as patch:
        more = count_requests(patch)
        go(recipe, tmp_path / "each", **{**SMALL, "measure__every": 1})
    assert asked.total() < more.total()
