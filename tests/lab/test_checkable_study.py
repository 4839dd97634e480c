"""The study of a real model: shares by hand, and a small one on stand-ins, from its runs to its page."""

import json

import numpy as np
import pytest

from selfreward.lab.checkable import study
from selfreward.lab.checkable.study import Counts, share, shares, sum_up
from selfreward.lab.checkable.table import as_markdown
from tinyrun import make_world, quiet, write_by

SMALL = {
    "backend": {"type": "fake"}, "trainer": {}, "drift": None, "iterations": 1, "prompts.per_iteration": 6, "responses.n": 2,
    "measure.bootstrap": 100, "data.ift.limit": 4, "data.eft.limit": 4, "sft.epochs": 1, "dpo.epochs": 1,
}  # fmt: skip


def test_a_share_is_of_all_instructions_and_its_interval_that_of_units_drawn_whole():
    assert share(np.array([[1, 0]]), np.array([[1, 3]]))["value"] == 0.25
    # prompts of 1 of 1 and of 0 of 3: twice the first, both in either order, twice the second
    assert share(np.array([[1, 0]]), np.array([[1, 3]])) == {"value": 0.25, "low": 0.0, "high": 1.0}
    assert share(np.array([[2, 2], [1, 1]]), np.full((2, 2), 2))["low"] == 0.5


def test_prompts_count_where_all_is_followed_and_kinds_apart():
    ours = Counts(np.array([[2, 1, 0, 1]]), np.array([[2, 3, 1, 1]]), np.array([False, False, True, True]))
    theirs = ours._replace(followed=np.array([[1, 3, 0, 0]]))
    found = shares(ours)
    assert {kind: figures["instructions"]["value"] for kind, figures in found.items()} == {
        "all": pytest.approx(4 / 7), "seen": pytest.approx(3 / 5), "unseen": pytest.approx(1 / 2),
    }  # fmt: skip
    assert {kind: figures["prompts"]["value"] for kind, figures in found.items()} == {"all": 0.5, "seen": 0.5, "unseen": 0.5}
    over = shares(ours, theirs)
    assert over["all"]["instructions"]["value"] == 0 and over["seen"]["prompts"]["value"] == 0
    assert over["unseen"]["instructions"]["value"] == 0.5


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A study on stand-ins that answer in capitals with the second sample and as a judge like those better."""
    quiet(monkeypatch)

    def write(request):
        asked = request.messages[-1].content
        if "<response>" in asked:
            return f"1. so\nScore: {6 if 'ALL' in asked.split('<response>')[1] else 2}", "stop"
        return ("ALL IS WELL IN THE WORLD OF MEN", "stop") if request.index % 2 else ("the sea, of old", "stop")

    write_by(monkeypatch, write)
    make_world(tmp_path / "world")

    def run(arms):
        study.run_seed(0, tmp_path / "world" / "base", tmp_path / "out", arms, SMALL)
        return tmp_path / "out"

    return run


def test_a_study_names_what_was_not_run_and_goes_on_where_it_stopped(small, tmp_path):
    out = small(["self"])
    figures = {"changes": {}, **sum_up(out, [0], ["self", "checkers"])}
    assert figures["not run"] == ["checkers"] and figures["arms"]["self"]["finished"]
    model = figures["arms"]["self"]["models"]["M2"]
    assert model["followed"]["unseen"]["instructions"]["value"] == 0 < model["followed"]["seen"]["instructions"]["value"]
    assert model["self_score"] == 2 and model["pairs"] == 6 and figures["arms"]["self"]["over M1"]["M2"]["all"]
    page = as_markdown(json.loads(json.dumps(figures)))
    assert "**Not run:** checkers." in page and page.count("| self | M2 |") == 3
    receipts = [json.loads(file.read_text()) for file in (out / "seed_0" / "self").rglob("*.receipt.json")]
    assert figures["arms"]["self"]["tokens"]["written"] == sum(one.get("completion_tokens", 0) for one in receipts) > 0
    before = (out / "seed_0" / "self" / "M2" / "pairs.jsonl").stat().st_mtime_ns
    small(["self", "checkers", "sft"])
    assert (out / "seed_0" / "self" / "M2" / "pairs.jsonl").stat().st_mtime_ns == before
    whole = sum_up(out, [0], ["self", "checkers", "sft"])
    assert whole["not run"] == [] and set(whole["arms"]) == {"self", "checkers", "sft"}
    assert not (out / "seed_0" / "checkers" / "M2" / "judgments.jsonl").read_text()
