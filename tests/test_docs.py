"""The documentation describes what is."""

import json
import re
import sys
from pathlib import Path

import pytest
import typer

from selfreward.cli import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_file_tree_names_every_module_and_nothing_else():
    tree = README.split("    src/selfreward/\n")[1].split("\n\n")[0]
    named = {line.split()[0].rstrip("/") for line in tree.splitlines()}
    package = ROOT / "src" / "selfreward"
    there = {path.name for path in package.iterdir() if path.suffix == ".py" and path.name != "__init__.py"}
    there |= {path.name for path in package.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert named == there


def test_every_command_in_the_readme_exists_and_takes_what_it_is_given():
    commands = typer.main.get_command(app).commands
    for name in re.findall(r"^    selfreward (\w+)", README, re.MULTILINE):
        assert name in commands
    for target in re.findall(r"^    make (\w+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_every_file_that_a_page_links_to_is_there():
    for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")):
        for link in re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"


def test_the_command_line_reference_is_what_the_commands_say():
    sys.path.insert(0, str(ROOT / "scripts"))
    from cli_reference import PAGE, reference

    assert PAGE.read_text(encoding="utf-8") == reference(), "run python scripts/cli_reference.py"


@pytest.mark.parametrize("contest", ["M2 over M1", "M3 over M2", "M3 over SFT"])
def test_the_results_in_the_readme_are_those_of_the_study(contest):
    figures = json.loads((ROOT / "docs" / "results" / "micro.json").read_text())["arms"]["self"]["against"][contest]
    row = next(line for line in README.splitlines() if line.startswith(f"| {contest} |"))
    shown = [float(number) for number in re.findall(r"-?\d+\.\d+", row)]
    difference = figures["difference"]
    expected = [difference["value"], difference["low"], difference["high"], 100 * figures["wins"], 100 * figures["losses"]]
    assert shown[:5] == pytest.approx(expected, abs=0.051)


def test_what_the_study_shows_excludes_zero():
    arms = json.loads((ROOT / "docs" / "results" / "micro.json").read_text())["arms"]
    for contest in ("M2 over M1", "M3 over M2"):
        assert arms["self"]["against"][contest]["difference"]["low"] > 0
