"""Runs of the build before the package had rooms go on with this one: their folders are in begun_before/, made by its make.py."""

import json
import re
import shutil
import tarfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from selfreward.cli import app
from selfreward.engines import outside_model
from selfreward.recipe import JudgeConfig, imported
from selfreward.records import content_id, file_hash
from selfreward.rundir import folder as run_folder
from tinyrun import count_requests, quiet

BEFORE = Path(__file__).parent / "begun_before"
SPELT_NOW = {
    "selfreward:text/judge_additive.txt": "selfreward:recipe/rubrics/judge_additive.txt",
    "selfreward:micro/": "selfreward:lab/micro/",
    "selfreward.micro.": "selfreward.lab.micro.",
    "selfreward.pairs:": "selfreward.steps.pairs:",
}
BRANCHED = [
    part
    for change in (
        *("judge.by=selfreward.micro.controls:Oracle", "judge.rubric=selfreward:micro/judge.txt", "dpo.confidence=1.0"),
        *("prompts.from=tasks.jsonl", "prompts.per_iteration=4", "responses.n=4"),
    )
    for part in ("--set", change)
]
"""As make.py has it."""
DIGITS = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")
OWN = ("config.json", "provenance.json", "branch.json")
"""Files that name folders of a machine."""
ADDED = "measured.receipt.json"
"""A file that the build of then did not write."""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with the world and the runs, and the versions of libraries that they were made with."""
    shutil.copytree(BEFORE / "world", tmp_path / "world")
    with tarfile.open(BEFORE / "runs.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    for file in (*tmp_path.glob("*/config.json"), *tmp_path.glob("*/branch.json")):
        file.write_text(file.read_text().replace("/nowhere/world", str(tmp_path / "world")))
    quiet(monkeypatch)
    libraries = json.loads((tmp_path / "whole" / "provenance.json").read_text())["libraries"]
    for module in ("folder", "stages", "trainings"):
        installed = lambda names=run_folder.LIBRARIES: {name: libraries[name] for name in names if name in libraries}  # noqa: E731
        monkeypatch.setattr(f"selfreward.rundir.{module}.versions", installed)
    monkeypatch.syspath_prepend(BEFORE)
    return tmp_path


def go(*given):
    result = CliRunner().invoke(app, ["run", *map(str, given)])
    assert result.exit_code == 0, result.output


def records(run):
    """Path → bytes of every file that names no folder of a machine and was written then; logs, pages and cards are left out."""
    files = [path for path in run.rglob("*") if path.is_file() and path.name not in (".lock", "README.md", ADDED, *OWN)]
    named = {str(path.relative_to(run)): _alike(path) for path in files if path.name != "drift.receipt.json"}
    return {name: data for name, data in named.items() if name.split("/")[0] not in ("logs", "report")}


def _alike(path):
    """The bytes of a file; of figures of monitors, which other processors sum in another order, all but the last digits."""
    if path.name != "drift.jsonl":
        return path.read_bytes()
    return DIGITS.sub(lambda number: f"{float(number[0]):.12g}", path.read_text()).encode()


def respelt(text):
    for before, now in SPELT_NOW.items():
        text = text.replace(before, now)
    return text


def test_a_run_killed_while_it_judged_ends_with_the_bytes_of_the_build_that_began_it(place, monkeypatch):
    whole, begun = records(place / "whole"), records(place / "begun")
    journal, missing = begun["M3/judgments.journal.jsonl"], whole.keys() - begun.keys()
    assert journal and {"M3/judgments.jsonl", "M3/pairs.jsonl", "M3/model/model.safetensors", "M3/measured.json"} <= missing
    asked = count_requests(monkeypatch)
    go(place / "world" / "recipe.toml", "--folder", place / "begun")
    assert records(place / "begun") == whole
    answered = {completion["request_id"] for line in journal.splitlines() for completion in json.loads(line)["completions"]}
    assert asked and not answered & asked.keys()


def test_it_goes_on_by_the_recipe_that_it_keeps_with_paths_into_a_package_of_then(place):
    kept = (place / "begun" / "config.json").read_text()
    for path in ("text/judge_additive.txt", "text/judge_pairwise.txt", "micro/seed/ift.jsonl", "micro/seed/anchors.jsonl"):
        assert f'"/nowhere/site-packages/selfreward/{path}"' in kept
    go("--folder", place / "begun")
    assert records(place / "begun") == records(place / "whole")


def test_it_goes_on_by_a_recipe_that_spells_our_names_as_now(place, monkeypatch):
    """Names stand in what was measured, as the recipe spells them; everything that is asked or trained stays as it was."""
    recipe = place / "world" / "recipe.toml"
    recipe.write_text(respelt(recipe.read_text()))
    assert all(before not in recipe.read_text() for before in SPELT_NOW)
    go(recipe, "--folder", place / "begun")
    assert {name: respelt(data.decode()) for name, data in records(place / "begun").items()} == {
        name: respelt(data.decode()) for name, data in records(place / "whole").items()
    }
    asked = count_requests(monkeypatch)
    go(recipe, "--folder", place / "branch", *BRANCHED)
    assert not asked


@pytest.mark.parametrize("name", ["whole", "branch"])
def test_a_finished_run_stays_as_it_is_and_asks_nothing(name, place, monkeypatch):
    before, asked = records(place / name), count_requests(monkeypatch)
    go(place / "world" / "recipe.toml", "--folder", place / name, *(BRANCHED if name == "branch" else ()))
    assert records(place / name) == before and not asked


def test_a_branch_of_it_makes_the_bytes_that_the_build_made_that_began_it(place):
    go(place / "world" / "recipe.toml", "--from", place / "whole" / "M2", "--folder", place / "new", *BRANCHED)
    assert records(place / "new") == records(place / "branch")


def test_a_branch_may_spell_names_as_now_where_nothing_may_be_changed(place):
    changes = {"measure.judge": "selfreward.lab.micro.controls:Oracle", "dpo.beta": 0.2}
    given = [part for name, value in changes.items() for part in ("--set", f"{name}={value}")]
    go(place / "world" / "recipe.toml", "--from", place / "whole" / "M2", "--folder", place / "new", *given)


def test_a_recipe_that_changed_is_refused_for_what_changed_and_not_for_how_it_is_spelt_now(place):
    recipe = place / "world" / "recipe.toml"
    recipe.write_text(respelt(recipe.read_text()))
    result = CliRunner().invoke(app, ["run", str(recipe), "--folder", str(place / "begun"), "--set", "responses.n=4"])
    assert result.exit_code == 1 and "the recipe changed (responses.n: " in result.stderr


def test_its_page_and_its_status_are_shown_and_say_that_no_receipt_covers_its_figures(place):
    for command in ("report", "status"):
        result = CliRunner().invoke(app, [command, str(place / "begun")])
        assert result.exit_code == 0, result.output
    page = (place / "begun" / "report" / "index.html").read_text()
    assert "Figures of M0, SFT, M1, M2 are as found" in result.stdout and "Figures of M0, SFT, M1, M2 are as found" in page
    go("--folder", place / "begun")
    result = CliRunner().invoke(app, ["status", str(place / "begun")])
    assert "are as found" not in result.stdout and {file.parent.name for file in (place / "begun").glob(f"*/{ADDED}")} == {
        *("M0", "SFT", "M1", "M2", "M3")
    }


def test_a_model_that_is_gone_from_it_is_named(place):
    shutil.rmtree(place / "whole" / "M1")
    for command in ("report", "status"):
        result = CliRunner().invoke(app, [command, str(place / "whole")])
        assert result.exit_code == 1 and "M1: is missing, and M2 was made after it" in result.stderr


# how things were spelt


@pytest.mark.parametrize(("path", "digest"), json.loads((BEFORE / "packaged.json").read_text()).items())
def test_a_file_of_the_package_is_found_by_its_path_of_then(path, digest):
    for spelling in (f"selfreward:{path}", f"/nowhere/site-packages/selfreward/{path}", f"/srv/selfreward/src/selfreward/{path}"):
        assert file_hash(Path(JudgeConfig(rubric=spelling).rubric)) == digest


@pytest.mark.parametrize(
    "path", ["/nowhere/selfreward/micro/mine.jsonl", "/nowhere/micro/judge.txt", "/nowhere/selfreward/loop.py"]
)
def test_a_path_of_yours_that_only_looks_like_ours_is_left_alone(path):
    assert JudgeConfig(rubric=path).rubric == path


@pytest.mark.parametrize(
    ("then", "now"),
    [
        ("selfreward.pairs:best_against_worst", "selfreward.steps.pairs:best_against_worst"),
        ("selfreward.pairs:half_a_point_apart", "selfreward.steps.pairs:half_a_point_apart"),
        ("selfreward.micro.truth:verdict", "selfreward.lab.micro.truth:verdict"),
        ("selfreward.micro.controls:shuffled", "selfreward.lab.micro.controls:shuffled"),
        ("selfreward.micro.controls:Oracle", "selfreward.lab.micro.controls:Oracle"),
    ],
)
def test_what_recipes_import_is_found_by_its_name_of_then_and_hashed_as_then_by_either(then, now):
    assert imported(then) is imported(now)
    assert outside_model(then, {}).fingerprint == outside_model(now, {}).fingerprint == content_id(then)
