"""From Python: the same runs as by the command line, read back as tables; the page about it does what it says."""

from pathlib import Path

import pandas
import pytest
from typer.testing import CliRunner

import selfreward as sr
from selfreward.api import LOOP
from selfreward.cli import app
from selfreward.loop import self_reward
from selfreward.recipe import load_recipe
from snippets import code_blocks, code_cells, run_code
from tinyrun import go, make_world, quiet, tree

ROOT = Path(__file__).parents[2]


@pytest.fixture
def world(tmp_path, monkeypatch):
    """The recipe of the smallest run, in the current folder."""
    quiet(monkeypatch)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(Path(__file__).parent)
    return make_world(tmp_path).rename("my.toml")


@pytest.mark.parametrize("given", [{"judge.samples": 2, "dpo.beta": 0.3}, {"judge": {"samples": 2}, "dpo": {"beta": 0.3}}])
def test_a_run_from_python_is_the_run_of_the_command_line(world, given):
    run = sr.run("my.toml", "here", set=given)
    by_command = ["run", "my.toml", "-o", "there", "--set", "judge.samples=2", "--set", "dpo.beta=0.3"]
    told = CliRunner().invoke(app, by_command)
    assert told.exit_code == 0, told.output
    assert tree("here") == tree("there")
    assert run.status == "finished" and run.recipe.judge.samples == 2 and run.recipe.dpo.beta == 0.3
    assert run.recipe.judge.min_valid == 1  # from the file: the table was merged


def test_a_recipe_of_a_run_is_one_to_run_and_to_check(world):
    run = sr.run("my.toml", "here")
    again = sr.run(run.recipe, "there", set={"keep_checkpoints": False})
    assert tree("here") == tree("there") and again.recipe == run.recipe
    assert sr.check(run.recipe, set={"sft": {"epochs": 7}}).works
    missing = sr.check("my.toml", set={"data.ift": Path("nowhere.jsonl")})
    assert not missing.works and any("nowhere" in finding.where for finding in missing.findings)
    with pytest.raises(sr.SelfRewardError, match=r"judge\.samplez"):
        sr.run(run.recipe, "elsewhere", set={"judge": {"samplez": 3}})


def test_a_table_whose_names_have_dots_is_set_and_merged(world):
    drift = {"limits": {"flukes.rate": {"above": 0.2}}}
    recipe = load_recipe("my.toml", {"drift": drift})
    assert recipe.drift.limits["flukes.rate"].above == 0.2
    recipe = load_recipe("my.toml", {"drift": drift, "drift.sample": 3, "data.ift": {"path": "ift.jsonl", "limit": 2}})
    assert recipe.drift.sample == 3 and recipe.drift.limits and recipe.data.ift.limit == 2


def test_a_run_is_opened_while_it_is_under_way(world):
    stages = []

    def looking(*parts):
        stages.append(sr.open("here").status)
        return self_reward(*parts)

    run = sr.run("my.toml", "here", loop=looking)
    assert stages == ["running, before M0/heldout_responses"] and run.status == "finished"


def test_a_run_goes_on_from_a_model_of_another(world):
    run = sr.run("my.toml", "here")
    asked = []

    def watched(*parts):
        asked.append(len(parts))
        return self_reward(*parts)

    branch = sr.run(run.recipe, "there", start="here/M1", set={"judge.samples": 2}, loop=watched)
    assert asked == [len(LOOP)]  # a loop of one's own makes a branch too
    assert branch.status == "finished" and branch.models["M1"].measured == run.models["M1"].measured
    assert len(branch["M2"].judgments()) == 2 / 3 * len(run["M2"].judgments())


def test_an_alarm_ends_the_call(world):
    limits = {"flukes.rate": {"stop_above": -1}}
    with pytest.raises(sr.Alarm, match=r"flukes\.rate"):
        sr.run("my.toml", "here", set={"drift": {"sample": 2, "pool": 2, "limits": limits}})
    assert sr.open("here").ended.name == "M2"


def test_records_come_as_tables(world):
    run = sr.run("my.toml", "here")
    pairs = run["M2"].pairs()
    frame = pairs.to_pandas()
    assert isinstance(frame, pandas.DataFrame) and len(frame) == len(pairs) > 0
    assert frame.to_dict("records")[0] == next(iter(pairs)).model_dump()
    assert pairs.to_dataset()[0] == next(iter(pairs)).model_dump()
    drops = run["M2"].dropped("pairs").to_pandas()
    assert len(drops) + len(pairs) == len(run["M2"].prompts())
    with pytest.raises(sr.SelfRewardError, match="has no M7"):
        run["M7"]


def test_an_evaluation_from_python_is_that_of_the_command_line(world, tmp_path):
    sr.run("my.toml", "here")
    result = sr.evaluate("here/M2", on="reward-modeling", folder="by_python", grading={"samples": 2}, seed=3)
    assert result.settings["grading"]["samples"] == 2 and result.settings["grading"]["min_valid"] == 1
    assert isinstance(result, sr.Result) and result.figures and (tmp_path / "by_python" / "result.json").is_file()
    rival = sr.evaluate("here/M2", on="head-to-head", against="here/M1", judge="here/M1", name="rivals")
    assert (rival.against, rival.judge) == ("M1", "M1")
    assert (tmp_path / "here" / "M2" / "evaluations" / "rivals" / "result.json").is_file()
    own = sr.evaluate("here/M2", on=Path("rankings.jsonl"))
    assert (own.kind, own.name) == ("reward-modeling", "rankings")


def test_the_code_on_the_page_runs(world, monkeypatch, capsys):
    blocks = [block for block in code_blocks(ROOT / "docs" / "python.md") if "GRPOTrainer" not in block]
    names = run_code(blocks, monkeypatch, "docs/python.md", "mine")
    policy = sr.open("runs/clear")["M2"]
    assert sr.open("runs/clear").recipe.pairs.policy == "mine:clear_winner"
    assert all(pair.chosen_score - pair.rejected_score >= 1 for pair in policy.pairs())
    assert "no_clear_winner" in {drop.reason for drop in policy.dropped("pairs")}
    judgments = list(sr.open("runs/terse")["M2"].judgments())
    words = {response.id: len(response.text.split()) for response in sr.open("runs/terse")["M2"].responses()}
    assert judgments and all(judgment.score == min(5, words[judgment.response_id]) for judgment in judgments)
    assert {model.measured.true_score is not None for model in sr.open("runs/true").models.values()} == {True}
    watched = {reading.monitor for reading in sr.open("runs/traits").readings()}
    assert {"traits.S/vowels", "traits.S/questions"} <= watched
    best = names["run"]
    assert best.status == "finished" and best["M2"].weights.is_dir()
    assert capsys.readouterr().out


def test_what_is_of_your_own_on_the_page_takes_ten_lines():
    parts = [part for block in code_blocks(ROOT / "docs" / "python.md") for part in block.split("\n\n")]
    own = [part for part in parts if part.startswith(("def ", "class "))]
    assert len(own) == 5
    for part in own:
        head, *body = [line for line in part.splitlines() if '"""' not in line]
        assert len(body) <= 10, head


@pytest.mark.parametrize("notebook", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_the_cells_of_a_notebook_run(world, tmp_path, monkeypatch, notebook, capsys):
    make_world(tmp_path / "notebooks").rename(tmp_path / "notebooks" / "micro")  # which comes before the recipe that ships
    monkeypatch.chdir(tmp_path / "notebooks")
    if notebook.stem == "look_at_a_run":
        go(Path("micro"), Path("../runs/demo"), drift__sample=2, drift__pool=2)
    run_code(code_cells(notebook), monkeypatch, notebook.name)
    assert "M2" in capsys.readouterr().out or notebook.stem == "vary_the_loop"
