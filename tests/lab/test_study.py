"""The study: figures against sums done by hand, and a small one from its runs to its page."""

import json

import numpy as np
import pytest
from scipy import stats

from selfreward.lab.micro import study
from selfreward.lab.micro.study import as_markdown, contests, gain, interval, spread, sum_up, versus
from tinyrun import make_world, quiet


def test_an_interval_is_about_the_mean_of_all():
    found = interval(np.array([[1.0, 2.0], [3.0, 6.0]]))
    assert found["value"] == 3
    assert found["low"] >= 1 and found["high"] <= 6
    assert interval(np.full((3, 4), 2.5)) == {"value": 2.5, "low": 2.5, "high": 2.5}


def test_the_smallest_study_has_the_interval_that_one_counts_out_by_hand():
    # Two seeds, one prompt each: means 0, ½ and 1 with chances ¼, ½ and ¼.
    assert interval(np.array([[0.0], [1.0]])) == {"value": 0.5, "low": 0.0, "high": 1.0}


def test_with_one_seed_an_interval_is_that_of_the_bootstrap_over_prompts():
    scores = np.random.default_rng(1).normal(3, 1, 200)
    theirs = stats.bootstrap((scores,), np.mean, method="percentile", rng=np.random.default_rng(2)).confidence_interval
    found = interval(scores[None])
    assert (found["low"], found["high"]) == pytest.approx(tuple(theirs), abs=0.01)


def test_seeds_that_differ_widen_an_interval_as_the_theory_of_two_stages_says():
    rng = np.random.default_rng(3)
    by_seed = rng.normal(0, 1, (12, 1)) + rng.normal(0, 1, (12, 40))
    found = interval(by_seed)
    over_seeds = by_seed.mean(1).var() / 12
    over_prompts = by_seed.var(1).mean() / (12 * 40)
    assert found["high"] - found["low"] == pytest.approx(2 * 1.96 * np.sqrt(over_seeds + over_prompts), rel=0.1)
    one_pool = 2 * 1.96 * by_seed.std() / np.sqrt(by_seed.size)
    assert found["high"] - found["low"] > 2 * one_pool


def test_an_interval_is_the_same_every_time():
    by_seed = np.random.default_rng(4).normal(size=(3, 5))
    assert interval(by_seed) == interval(by_seed)


def test_versus_counts_wins_and_losses_prompt_by_prompt():
    ours, theirs = np.array([[5.0, 3.0], [2.0, 4.0]]), np.array([[4.0, 3.0], [3.0, 1.0]])
    found = versus(ours, theirs)
    assert (found["wins"], found["losses"]) == (0.5, 0.25)
    assert found["difference"]["value"] == 0.75


def test_gain_goes_from_m1_to_the_last_model():
    means = {"M0": 1.0, "SFT": 9.0, "M1": 3.0, "M2": 3.5, "M3": 4.25}
    assert gain({"true_score": {name: figure(mean) for name, mean in means.items()}}) == 1.25


def test_every_model_is_set_against_the_one_before_and_against_the_sft_baseline():
    assert contests(["M0", "SFT", "M1", "M2", "M3"]) == [("M2", "M1"), ("M3", "M2"), ("M1", "SFT"), ("M2", "SFT"), ("M3", "SFT")]
    assert contests(["M0", "M1", "M2"]) == [("M2", "M1")]


def test_a_figure_stands_with_its_interval():
    assert spread({"value": 1.25, "low": 1.0, "high": 1.5}) == "1.250 (1.000 to 1.500)"


def figure(value):
    return {"value": value, "low": value - 0.5, "high": value + 0.5}


def test_the_page_has_a_row_for_every_contest_and_one_for_a_model_without():
    row = {"difference": figure(1.0), "wins": 0.5, "losses": 0.125}
    found = {
        "seeds": [0],
        "arms": {"self": {"true_score": {"M0": figure(1), "M1": figure(2), "M2": figure(3)}, "against": {"M2 over M1": row}}},
        "judging": {"M1": figure(0.75)},
        "kinds": {"M0": {"task": {"true_score": 2.5}}, "M1": {"task": {"true_score": 3.25, "pairwise_accuracy": 0.875}}},
        "share_of_ceiling": 0.5,
    }
    lines = as_markdown(found).splitlines()
    tables = [line for line in lines if line.startswith("|")]
    assert {line.count("|") for line in tables[:5]} == {8}
    assert {line.count("|") for line in tables[5:8]} == {3} and {line.count("|") for line in tables[8:]} == {5}
    assert "| self | M2 | 3.000 (2.500 to 3.500) | M1 | 1.000 (0.500 to 1.500) | 50.0% | 12.5% |" in lines
    assert "| self | M0 | 1.000 (0.500 to 1.500) | – | – | – | – |" in lines
    assert "| M1 | 0.750 (0.250 to 1.250) |" in lines
    assert any(line.startswith("Share of the ceiling") and line.endswith("50%.") for line in lines)
    assert lines[-2:] == ["| M0 | task | 2.50 | – |", "| M1 | task | 3.25 | 0.875 |"]


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    quiet(monkeypatch)
    monkeypatch.setattr(study, "RESAMPLES", 50)
    path = make_world(tmp_path / "world")
    path.write_text(path.read_text().replace("baseline = false", "baseline = true"))
    return path


ARMS = ["self", "shuffled", "sft"]


def test_a_small_study_goes_from_its_runs_to_its_page(recipe, tmp_path):
    out = tmp_path / "study"
    for seed in (3, 4):
        assert study.run_seed(seed, recipe, out, ARMS, threads=1) == seed
    found = sum_up(out, [3, 4], ARMS)
    assert list(found["arms"]) == ARMS and list(found["arms"]["self"]["true_score"]) == ["M0", "SFT", "M1", "M2"]
    for arm in ARMS:
        true = [study.heldout_scores(out / f"seed_{seed}" / arm) for seed in (3, 4)]
        assert found["arms"][arm]["true_score"]["M2"]["value"] == pytest.approx(np.mean([run["M2"] for run in true]))
        for name in ("M0", "SFT", "M1"):  # made once, for all arms of a seed
            assert found["arms"][arm]["true_score"][name] == found["arms"]["self"]["true_score"][name]
    assert list(found["judging"]) == ["M0", "SFT", "M1", "M2"]
    assert "share_of_ceiling" not in found
    assert json.loads(json.dumps(found)) == found
    assert as_markdown(found).count("| sft |") == 5


def test_a_study_that_was_stopped_goes_on_and_does_nothing_twice(recipe, tmp_path, monkeypatch):
    out, opened = tmp_path / "study", []
    study.run_seed(0, recipe, out, ARMS, threads=1)
    before = records(out)
    monkeypatch.setattr("selfreward.engines.fake.FakeModel.generate", lambda *_: opened.append(1))
    study.run_seed(0, recipe, out, ARMS, threads=1)
    assert not opened
    assert records(out) == before


def test_a_study_killed_while_it_copies_what_arms_share_copies_it_again(recipe, tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    copytree = study.shutil.copytree

    def dying(source, target, *rest, **named):
        if str(target).endswith("model"):
            raise Killed
        return copytree(source, target, *rest, **named)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(study.shutil, "copytree", dying)
        study.run_seed(0, recipe, tmp_path / "study", ["self", "shuffled"], threads=1)
    assert list((tmp_path / "study" / "seed_0").rglob("SFT"))
    study.run_seed(0, recipe, tmp_path / "study", ["self", "shuffled"], threads=1)
    study.run_seed(0, recipe, tmp_path / "undisturbed", ["self", "shuffled"], threads=1)
    assert records(tmp_path / "study") == records(tmp_path / "undisturbed")


def records(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*.jsonl")}
