"""Where a stage's time goes: that every operation has its kind, and that shares are of the whole."""

import re
from dataclasses import asdict
from pathlib import Path

import pytest
from typer.testing import CliRunner

import selfreward
from selfreward.cli import app
from selfreward.lab.speed import profiles
from selfreward.lab.speed.measure import apart
from selfreward.lab.speed.tables import page
from selfreward.lab.speed.work import Work
from selfreward.lab.speed.world import make_world

SOURCES = str(Path(selfreward.__path__[0]).parent)
LENGTHS = {"prompt_tokens": 5, "candidate_tokens": 4, "judgment_tokens": 3, "rubric_head": 40, "rubric_tail": 6, "batch": 2}


def test_operations_by_what_they_are_for():
    kinds = {
        "aten::mm": "products", "aten::addmm": "products", "mkldnn::_linear_pointwise": "products", "aten::bmm": "attention",
        "aten::_scaled_dot_product_flash_attention_for_cpu": "attention", "aten::_fused_adamw_": "optimizer",
        "Optimizer.step#AdamW.step": "optimizer", "aten::_log_softmax": "drawing", "aten::sort": "drawing",
        "aten::copy_": "moving", "aten::index_select": "moving", "aten::cat": "moving",
        "aten::mul": "other operations", "aten::rsqrt": "other operations",
    }  # fmt: skip
    assert {name: profiles.kind_of(name) for name in kinds} == kinds


def test_shares_by_hand():
    found = profiles.in_shares({"products": 1.0, "moving": 0.5, "other operations": 0.5}, 4.0)
    assert found["seconds"] == 4.0
    assert {kind: share for kind, share in found["shares"].items() if share} == {
        "products": 0.25, "moving": 0.125, "other operations": 0.125, "outside torch": 0.5,
    }  # fmt: skip


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    shape = make_world(folder, "tiny", "float32", "cpu")
    return {**asdict(Work(model=folder, vocabulary=shape.vocabulary, prompts=2, n=3, k=2, **LENGTHS)), "model": str(folder)}


def test_a_profile_of_this_build_and_of_another_has_each_stage_whole(work):
    found = profiles.by_build(work, SOURCES, apart, print)
    assert [*found] == ["selfreward", "selfreward, an earlier build"]
    for stages in found.values():
        assert [*stages] == ["candidates", "judging", "dpo"]
        for stage in stages.values():
            assert sum(stage["shares"].values()) == pytest.approx(1) and 0 < stage["shares"]["products"] < 1
        assert stages["dpo"]["shares"]["optimizer"] > 0


def test_the_command_writes_a_table(tmp_path):
    result = CliRunner().invoke(
        app, ["bench", "profile", "--model", "tiny", "--set", "prompts=1", "--set", "dpo=false", "--out", str(tmp_path)]
    )
    assert result.exit_code == 0, result.output
    text = (tmp_path / "speed.md").read_text()
    rows = re.findall(r"^\| (candidates|judging|dpo) \| selfreward \| .*%.*%", text, re.MULTILINE)
    assert rows == ["candidates", "judging", "dpo"] and "## tiny: where the time goes" in text


def test_the_page_has_the_builds_of_a_stage_beside_each_other():
    seen = profiles.in_shares({"products": 3.0}, 4.0)
    part = {
        "model": "m", "date": "2026-12-01", "machine": {"threads": 1, "cores": 2},
        "builds": {"old": {"dpo": seen}, "new": {"dpo": seen}},
        "work": {"prompts": 1, "n": 4, "k": 3, "judgment_tokens": 32, "dtype": "float32"},
    }  # fmt: skip
    text = page({"profile m": part})
    assert "| dpo | old | 4.0 | 75 % | 0 % |" in text and text.index("| dpo | old") < text.index("| dpo | new")
