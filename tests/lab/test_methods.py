"""Many ways of learning side by side: figures by hand, and a small comparison from its runs to its page."""

import json
import shutil

import numpy as np
import pytest
from scipy import stats

from selfreward.lab.micro import compared, methods
from selfreward.lab.micro.compared import biases, compare, contest, difference, difference_of_shares, holm, read_whole
from selfreward.lab.micro.method_runs import judging, spent
from selfreward.lab.micro.methods import METHODS, WORLDS, Method, Study, arms, movers
from selfreward.lab.micro.methods_page import as_page
from selfreward.measure import Judged
from selfreward.measure import agreeing as by_the_measure
from selfreward.recipe import load_recipe, shipped_recipes
from tinyrun import make_world, quiet


def test_holm_by_hand():
    # Sorted .01 .02 .03 .04: times 4, 3, 2, 1 gives .04 .06 .06 .04, and none may be below a smaller one's.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0] and holm([0.2]) == [0.2] and holm([]) == []


def test_a_difference_is_paired_seed_by_seed_and_prompt_by_prompt():
    theirs = np.random.default_rng(0).normal(3, 1, (4, 50))
    found = difference(theirs + 0.25, theirs)
    assert found["low"] == pytest.approx(0.25) == found["high"] and found["p"] == pytest.approx(2 / 10_001)
    assert difference(theirs, theirs)["p"] == 1.0


def test_p_of_one_seed_is_that_of_a_test_over_its_prompts():
    ours = np.random.default_rng(3).normal(0.15, 1, (1, 200))
    theirs = np.zeros((1, 200))
    expected = stats.ttest_1samp(ours[0], 0).pvalue
    assert 0.005 < expected < 0.5
    assert difference(ours, theirs)["p"] == pytest.approx(expected, rel=0.25)


def test_seeds_that_differ_widen_the_interval():
    ours = np.zeros((4, 50)) + np.array([[1.0], [1.0], [-1.0], [0.0]])
    found = difference(ours, np.zeros((4, 50)))
    assert found["low"] < 0 < found["high"] and found["p"] > 0.05  # without seeds drawn anew it would be .25 for certain


def test_a_difference_of_shares_weighs_rankings_by_their_pairs():
    ours, theirs = np.array([[[6.0, 6.0], [1.0, 2.0]]]), np.array([[[3.0, 6.0], [2.0, 2.0]]])
    assert difference_of_shares(ours, theirs)["value"] == pytest.approx((7 - 5) / 8)


def agreeing(ranks, said):
    """(pairs in people's order, ties by half; pairs that people rank apart); a response without a score makes its pairs wrong."""
    right, pairs = 0.0, 0
    for at, (rank, score) in enumerate(zip(ranks, said, strict=True)):
        for other, against in zip(ranks[:at], said[:at], strict=True):
            if rank != other:
                pairs += 1
                if score is not None and against is not None:
                    right += 0.5 if score == against else (score > against) == (rank < other)
    return right, pairs


@pytest.mark.parametrize("said", [[3, 2, 1, 0], [1, 1, 1, 1], [0, None, 3, 3], [2, 2, 1, None]])
def test_pairs_are_counted_as_where_models_are_measured(said):
    ranks = [0, 1, 1, 2]
    assert agreeing(ranks, said) == by_the_measure(Judged("all", ranks, said, [1] * 4))


def test_biases_by_hand():
    rows = np.array([[0, 0, 4, 2.0, 3, 1, 1, 12], [0, 0, 4, 0.0, 1, 1, 5, 12]])
    assert biases(rows) == {"overrates": 0.25, "fives": 0.5, "true_fives": 0.25, "unread": 0.25}


def test_what_is_gained_by_form_is_left_out_where_all_judgments_are_read():
    def case(right, unread):
        return [right, 4, 4, 0, 0, 0, unread, 12]

    first = np.array([[case(3, 0), case(0, 2), case(2, 0)], [case(1, 0), case(4, 0), case(4, 0)]])
    last = np.array([[case(4, 0), case(4, 0), case(4, 1)], [case(2, 0), case(3, 0), case(0, 5)]])
    assert read_whole(first, last) == {"share": 3 / 6, "first": (3 + 1 + 4) / 12, "last": (4 + 2 + 3) / 12}
    nothing = last.copy()
    nothing[..., 6] = 1
    assert read_whole(first, nothing) == {"share": 0.0, "first": None, "last": None}


def test_tokens_are_those_of_the_iterations_and_none_of_what_is_measured(tmp_path):
    written = {
        "M1/heldout_responses": 1,
        "M1/model": 0,
        "M2/responses": 20,
        "M2/judgments": 300,
        "M2/heldout_judgments": 4000,
        "M2/model": 0,
        "M2/measured": 9,
    }
    for stage, tokens in written.items():
        (tmp_path / stage).mkdir(parents=True)
        (tmp_path / f"{stage}.receipt.json").write_text(json.dumps({"completion_tokens": tokens}))
        (tmp_path / stage / "metrics.jsonl").write_text('{"tokens": 1000, "padding": 0.25}\n{"step": 1}\n')
    assert spent(tmp_path) == {"sampled": 320, "trained": 750}
    (tmp_path / "M2/model/metrics.jsonl").write_text('{"tokens": 1000, "padding": 0.25, "rehearsed": 40}\n{"step": 1}\n')
    assert spent(tmp_path) == {"sampled": 320, "trained": 790}


@pytest.mark.parametrize("world", WORLDS)
def test_every_arm_is_a_recipe_that_can_be_run(world):
    world, changes = WORLDS[world]
    recipe = load_recipe(shipped_recipes()[world], changes)
    found = list(arms(recipe, changes, moved=True))
    assert [arm.name for arm in found][:4] == ["self", "truth", "shuffled", "sft"]
    assert len({arm.name for arm in found}) == len(found) == len(METHODS) + len(movers(recipe)) + 4
    assert [arm.name for arm in arms(recipe)] == [arm.name for arm in found][: -len(movers(recipe))]
    for arm in found:
        changed = load_recipe(shipped_recipes()[world], dict(arm.changes))
        assert changed.sft == recipe.sft and changed.data == recipe.data and not changed.drift
    oracle = found[1].changes["judge.by"]
    assert oracle.endswith("HardOracle") == (world == "micro-hard")


def test_a_contest_by_hand():
    found = contest(np.array([[5.0, 5, 3, 2]]), np.array([[5.0, 4, 3, 4]]))
    assert [found[name] for name in ("wins", "losses", "both_best")] == [1 / 4, 1 / 4, 1 / 4]


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    quiet(monkeypatch)
    monkeypatch.setattr(compared, "RESAMPLES", 50)
    return make_world(tmp_path / "world")


SMALL = [Method("self"), Method("sft"), Method("ipo", {"dpo.loss": "ipo"}), Method("hinge", {"dpo.loss": "hinge"})]


def make_study(recipe, folder, methods=SMALL):
    return Study(recipe, methods, folder / "out", folder / "kept.runs.jsonl")


def test_a_small_comparison_goes_from_its_runs_to_its_page(recipe, tmp_path, monkeypatch):
    study = make_study(recipe, tmp_path)
    study.run([3, 4], ["sft", "ipo"], minutes=10, threads=1)
    few = compare(study.done(), study.names)
    assert few["compared"] == 0 and "p_holm" not in few["arms"]["ipo"]["against_self"]["true"]  # of two seeds no p is right
    assert "paired by seed and prompt; no method has the 5 seeds that a p takes. Tokens" in as_page("micro", few)
    monkeypatch.setattr(compared, "ENOUGH", 2)
    found = compare(study.done(), study.names)
    assert found["not_run"] == ["hinge"] and found["compared"] == 1
    assert found["arms"]["self"]["against_self"]["true"]["value"] == 0
    for axis in ("true", "judging"):
        assert found["arms"]["ipo"]["against_self"][axis]["p_holm"] == found["arms"]["ipo"]["against_self"][axis]["p"]
    measured = found["arms"]["self"]["judging"]["M2"]["pairwise_accuracy"]
    rows = np.stack([judging(study.out / f"seed_{seed}" / "self", "M2") for seed in (3, 4)])
    assert measured == pytest.approx(rows[..., 0].sum() / rows[..., 1].sum())
    assert json.loads(json.dumps(found)) == found
    page = as_page("micro", found)
    assert page.count("| ipo |") == 4 and "Not run yet: hinge." in page and "too narrow" in page
    assert "p, of the 1 method with 5 seeds or more, is corrected" in page
    of_one_m1 = {path.read_bytes() for path in (study.out / "seed_3").glob("*/M1/model/model.safetensors")}
    assert len(of_one_m1) == 1


def test_records_outlive_their_folders_and_another_recipe_is_run_anew(recipe, tmp_path):
    study = make_study(recipe, tmp_path, SMALL[:2])
    study.run([0], ["self"], minutes=10, threads=1)
    kept = study.records.read_bytes()
    shutil.rmtree(study.out)
    study.run([0], ["self"], minutes=10, threads=1)
    assert not study.out.exists() and study.records.read_bytes() == kept
    study.run([0], ["sft"], minutes=10, threads=1)  # begins from an M1 that is made again, and kept once
    assert [run.arm for run in study.done()] == ["self", "sft"]
    other = make_study(recipe, tmp_path, [Method("self", {"dpo.beta": 0.7})])
    assert other.done() == [] and compare(other.done(), other.names)["arms"] == {}


def test_without_time_nothing_is_run_and_the_page_says_so(recipe, tmp_path):
    study = make_study(recipe, tmp_path)
    study.run([0], study.names, minutes=0, threads=1)
    assert not study.out.exists()
    assert "No run is finished yet." in as_page("micro", compare(study.done(), study.names))


@pytest.mark.parametrize(("wrong", "told"), [(("--world", "nothing"), "micro-hard"), (("--only", "self,ippo"), "called ippo")])
def test_the_command_names_what_there_is_not(wrong, told, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["methods", *wrong])
    with pytest.raises(SystemExit):
        methods.main()
    assert told in capsys.readouterr().err
