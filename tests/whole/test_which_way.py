"""The page that helps to choose among ways of learning: from the study's figures alone, with every method on it."""

import copy
import json
import re
from pathlib import Path

from selfreward.lab.micro.methods import METHODS
from which_way import CONTROLS, FIGURES, LEARNT, PAGE, WAYS, _anchor, both_rise, page

ROOT = Path(__file__).parents[2]
HEADINGS = re.findall(r"(?m)^## (.+)$", (ROOT / "docs" / "methods.md").read_text(encoding="utf-8"))
STUDY, LEARNT_OUT = (json.loads(file.read_text(encoding="utf-8")) for file in (FIGURES, LEARNT))


def test_the_page_is_what_the_study_gives():
    assert PAGE.read_text(encoding="utf-8") == page(STUDY, LEARNT_OUT), "run python scripts/which_way.py"


def test_every_arm_of_the_study_and_every_section_on_methods_is_on_the_page_once():
    named = [arm for way in WAYS for arm in way.arms]
    assert sorted(named) == sorted(["self", *(method.name for method in METHODS)]) and not set(named) & set(CONTROLS)
    assert {way.section for way in WAYS} - {""} == set(HEADINGS) - {"The code of each method"}


def test_an_m1_that_had_learnt_everything_has_its_figures():
    learnt = copy.deepcopy(LEARNT_OUT)
    learnt["arms"] = {"rehearse": {**learnt["arms"]["rehearse"], "judging_gain": {"value": 0.005, "low": -0.01, "high": 0.02}}}
    line = next(line for line in page(STUDY, learnt).split("\n") if "learnt out" in line)
    assert "`rehearse`, 5 seeds: answers" in line and "judging +0.005 (-0.010 to +0.020)." in line


def test_its_links_lead_to_headings():
    anchors = re.findall(r"methods\.md#([\w-]+)", PAGE.read_text(encoding="utf-8"))
    assert len(anchors) == len(WAYS) - 1 and set(anchors) <= {_anchor(heading) for heading in HEADINGS}


def test_figures_are_those_of_the_arm_and_what_was_not_run_is_said_so():
    figures = copy.deepcopy(STUDY)
    figures["arms"]["nll"]["judging_gain"] = {"value": 0.123, "low": -0.04, "high": 0.2}
    figures["arms"].pop("consensus")
    told = page(figures, LEARNT_OUT).split("## A likelihood term")[1].split("\n## ")
    assert "judging +0.123 (-0.040 to +0.200)" in told[0]
    assert "Not run yet" in told[1] and "`consensus`" in told[1].split("Not run yet")[1].split("\n")[0]


def test_a_method_is_said_to_lift_both_axes_where_both_intervals_are_above_zero_and_nowhere_else():
    figures = copy.deepcopy(STUDY)
    for name, arm in figures["arms"].items():
        arm["judging_gain"] = {"value": 0.1, "low": 0.05 if name in ("nll", "sft") else 0.0, "high": 0.2}
    assert [name for name, arm in figures["arms"].items() if both_rise(arm)] == ["nll"]
    told = page(figures, LEARNT_OUT)
    assert "Both axes rise, by intervals without zero, for `nll`:" in told and "got worse" not in told
    few = copy.deepcopy(figures)
    few["arms"]["nll"]["seeds"] = [0, 1, 2]
    assert "No method that has been run lifts both axes" in page(few, LEARNT_OUT)  # three seeds tell too little of seeds
    figures["arms"]["nll"]["true_gain"]["low"] = -0.01
    assert "No method that has been run lifts both axes" in page(figures, LEARNT_OUT)
