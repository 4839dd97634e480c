"""The study of what judging costs: its sums by hand, and that its ways are given the same rationales."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
import judging_study
from judging_study import BASELINE, COLUMNS, WAYS, Told, as_markdown, sum_up
from selfreward.records import Checkpoint, Completion, Request, Sampling


def prompts(*rows):
    """[prompt, column] of (drawn, written, read, pairs, right, equal, wrong, same)."""
    return np.array(rows, dtype=float)


THREE = prompts((12, 120, 400, 1, 1, 0, 0, 1), (12, 120, 400, 1, 0, 0, 1, 1), (12, 60, 200, 0, 0, 0, 0, 1))
LESS = prompts((4, 40, 400, 1, 1, 0, 0, 1), (6, 50, 500, 0, 0, 0, 0, 0), (8, 60, 600, 1, 0, 1, 0, 0))


def test_figures_are_ratios_of_sums_over_all_prompts_of_all_seeds(monkeypatch):
    monkeypatch.setattr(judging_study, "RESAMPLES", 200)
    seeds = [{way: THREE if way == BASELINE else LESS for way in WAYS}, dict.fromkeys(WAYS, THREE)]
    found = sum_up(seeds)
    usual, other = found[BASELINE], found["adaptive"]
    assert (usual["drawn"], usual["pairs"], usual["right"], usual["wrong"], usual["same"]) == (1, 4, 0.5, 0.5, 6)
    assert other["drawn"] == pytest.approx((18 + 36) / 72) and other["written"] == pytest.approx((150 + 300) / 600)
    assert other["read"] == pytest.approx((1500 + 1000) / 2000)
    assert (other["pairs"], other["right_pairs"], other["equal"], other["wrong"]) == (4, 2, 0.25, 0.25)
    assert other["right_against"] == 0 and other["wrong_against"] == -0.25 and usual["wrong_against_interval"] == [0, 0]
    assert other["wrong_interval"][0] <= other["wrong"] <= other["wrong_interval"][1]
    page = as_markdown({"seeds": [0, 1], "first": 3, "judges": {"M1": found}, "prompts": {"M1": 6}})
    assert "| adaptive | 0.75 | 0.75 | 1.25 | 4 | 2 |" in page and page.count("| 66.7% |") == len(WAYS) - 1


def test_equal_ways_differ_by_nothing_in_any_resample(monkeypatch):
    monkeypatch.setattr(judging_study, "RESAMPLES", 50)
    found = sum_up([dict.fromkeys(WAYS, THREE), dict.fromkeys(WAYS, THREE[::-1])])
    assert all(figures["right_against_interval"] == [0, 0] for figures in found.values())
    assert len(COLUMNS) == THREE.shape[1]


def test_every_way_is_told_the_same_and_a_prompt_is_read_once_in_a_round():
    model, sampling = Checkpoint(name="m", path="m", fingerprint="f"), Sampling(temperature=1, top_p=1, max_tokens=4)
    asked = [Request.user_turn("r", index, "good?", sampling, model, 0, watch) for watch in ((), ("1",)) for index in (0, 1)]
    told = Told({
        request.seed: Completion(request_id="x", text=str(n), finish="stop", prompt_tokens=7, completion_tokens=1)
        for n, request in enumerate(asked[:2])
    })  # fmt: skip
    assert [answer.text for answer in told.generate(asked)] == ["0", "1", "0", "1"]
    assert [answer.request_id for answer in told.generate(asked)] == [request.id for request in asked]
    told.batches(asked[:2])
    assert sum(told.read.values()) == 7 and told.read.get(asked[0].seed) == 7
