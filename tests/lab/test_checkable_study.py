"""The study of a real model: shares by hand, and a small one on stand-ins, from its runs to its records and its page."""

import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest

from selfreward.lab.checkable.figures import Counts, answered_again, counts, share, shares, sum_up
from selfreward.lab.checkable.runs import AGAIN, Again, Published, again, asked, clock, recorded, spent
from selfreward.lab.checkable.study import ARMS, OWN, Study, main, own_words
from selfreward.lab.checkable.table import as_markdown
from selfreward.lab.micro import study as micro_study
from selfreward.recipe import load_recipe
from selfreward.records import Check, Response, to_line
from tinyrun import make_world, quiet, write_by

SMALL = {
    "backend": {"type": "fake"}, "trainer": {}, "drift": None, "iterations": 1, "prompts.per_iteration": 6, "responses.n": 2,
    "measure.bootstrap": 100, "data.ift.limit": 4, "data.eft.limit": 4, "sft.epochs": 1, "dpo.epochs": 1,
}  # fmt: skip
ANSWER_AGAIN = Study.answer_again


def test_a_share_is_of_all_instructions_and_its_interval_that_of_units_drawn_whole():
    assert share(np.array([[1, 0]]), np.array([[1, 3]]))["value"] == 0.25
    # prompts of 1 of 1 and of 0 of 3: twice the first, both in either order, twice the second
    assert share(np.array([[1, 0]]), np.array([[1, 3]])) == {"value": 0.25, "low": 0.0, "high": 1.0}
    assert share(np.array([[2, 2], [1, 1]]), np.full((2, 2), 2))["low"] == 0.5


def test_prompts_count_where_all_is_followed_and_kinds_apart():
    unseen = np.array([False, False, True, True])
    ours = Counts(np.array([[2, 1, 0, 1]]), np.array([[2, 3, 1, 1]]), np.array([[1, 0, 0, 1]]), unseen, 1)
    theirs = ours._replace(followed=np.array([[1, 3, 0, 0]]), whole=np.array([[0, 1, 0, 0]]))
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
    """A study on stand-ins that answer in capitals with the second sample and as a judge like those better; each answers once."""
    quiet(monkeypatch)
    monkeypatch.setattr(Study, "answer_again", lambda *_: None)

    def write(request):
        asked_for = request.messages[-1].content
        if "<response>" in asked_for:
            return f"1. so\nScore: {6 if 'ALL' in asked_for.split('<response>')[1] else 2}", "stop"
        return ("ALL IS WELL IN THE WORLD OF MEN", "stop") if request.index % 2 else ("the sea, of old", "stop")

    write_by(monkeypatch, write)
    make_world(tmp_path / "world")

    def study(**changes):
        return Study(tmp_path / "world" / "base", tmp_path / "out", tmp_path / "kept.runs.jsonl", {**SMALL, **changes})

    return study


def page(study, seeds, arms):
    figures = json.loads(json.dumps({"changes": {}, **sum_up(study.done(), seeds, arms)}))
    return figures, as_markdown(figures)


def test_a_study_names_what_was_not_run_and_goes_on_where_it_stopped(small):
    study = small()
    study.run([0], ["self"])
    figures, text = page(study, [0], ["self", "checkers"])
    assert figures["not run"] == {"checkers": [0]} and figures["not finished"] == {}
    model = figures["arms"]["self"]["models"]["M2"]
    assert model["followed"]["unseen"]["instructions"]["value"] == 0 < model["followed"]["seen"]["instructions"]["value"]
    assert model["self_score"] == 2 and model["pairs"] == 6 and figures["arms"]["self"]["over M1"]["M2"]["all"]
    assert model["correlation"] is None  # it gives all alike
    assert "**Not run:** checkers, seed 0." in text and text.count("| self | M2 |") == 5
    run = study.out / "seed_0" / "self"
    receipts = [json.loads(file.read_text()) for file in run.rglob("*.receipt.json") if "evaluations" not in file.parts]
    written = sum(model["tokens"]["written"] for model in figures["arms"]["self"]["models"].values())
    assert written == sum(one.get("completion_tokens", 0) for one in receipts) > 0
    before = (run / "M2" / "pairs.jsonl").stat().st_mtime_ns
    small().run([0], ["self", "checkers", "sft"])
    assert (run / "M2" / "pairs.jsonl").stat().st_mtime_ns == before
    whole, _ = page(study, [0], ["self", "checkers", "sft"])
    assert whole["not run"] == {} and set(whole["arms"]) == {"self", "checkers", "sft"}
    assert not (run.with_name("checkers") / "M2" / "judgments.jsonl").read_text()


def test_records_outlive_folders_and_are_of_what_the_measurements_say(small):
    study = small()
    study.run([0, 1], ["self"])
    measured = json.loads((study.out / "seed_1" / "self" / "M2" / "measured.json").read_text())
    kept = {run.seed: run for run in study.done()}
    model = kept[1].of("M2")
    judged = measured["reward_modeling"]
    for rows, figure in ((model.judging, "pairwise_accuracy"), (model.by_length, "length_baseline")):
        assert sum(right for right, _ in rows) / sum(pairs for _, pairs in rows) == pytest.approx(judged[figure]["value"])
    followed = sum(followed for followed, _, _ in model.checks) / sum(given for _, given, _ in model.checks)
    assert followed == pytest.approx(measured["checks"]["instructions"]["value"])
    assert np.mean(model.true) == pytest.approx(measured["true_score"])
    assert np.mean(model.own) == pytest.approx(measured["self_score"]["value"])
    before = page(study, [0, 1], ["self"])
    shutil.rmtree(study.out)
    anew = small()
    anew.run([0, 1], ["self"])  # nothing is owed
    assert not study.out.exists() and page(anew, [0, 1], ["self"]) == before
    assert before[0]["arms"]["self"]["models"]["M2"]["runs"] == 2


def test_another_recipe_is_owed_anew_and_another_place_of_the_files_is_none(small, tmp_path):
    study = small()
    study.run([0], ["self"])
    assert small().done() and not small(**{"responses.n": 3}).done()
    moved = shutil.copytree(tmp_path / "world", tmp_path / "elsewhere")
    here, there = (load_recipe(folder / "recipe.toml", {"seed": 1}) for folder in (tmp_path / "world", moved))
    assert here != there and asked(here) == asked(there) == asked(load_recipe(moved / "recipe.toml", {"seed": 2}))
    rubric = shutil.copy(here.pairwise.rubric, moved)  # a default is a file of the package, and lies with it
    assert asked(load_recipe(moved / "recipe.toml", {"pairwise.rubric": str(rubric)})) == asked(here)
    assert asked(load_recipe(moved / "recipe.toml", {"pairwise.rubric": str(moved / "ift.jsonl")})) != asked(here)
    with (moved / "ift.jsonl").open("a") as file:
        file.write((moved / "ift.jsonl").read_text().splitlines()[0] + "\n")
    assert asked(load_recipe(moved / "recipe.toml")) != asked(here)


def test_arms_differ_by_their_recipes_alone_where_they_do(small):
    recipes = small().recipes
    assert set(recipes) == set(ARMS) and len(set(recipes.values())) == len(ARMS)


def test_a_run_under_way_is_recorded_as_far_as_it_is_and_a_record_that_has_more_stays(small):
    study = small()
    study.run([0], ["self"])
    run, whole = study.out / "seed_0" / "self", study.records.read_text()
    shutil.rmtree(run / "M2")
    study.look()
    assert study.records.read_text() == whole
    study.records.unlink()
    study.look()
    figures, text = page(study, [0], ["self"])
    assert list(figures["arms"]["self"]["models"]) == ["M0", "SFT", "M1"] and figures["not finished"] == {"self": [0]}
    assert "**Not finished:** self, seed 0;" in text and figures["arms"]["self"]["over M1"] == {}
    study.run([0], ["self"])
    made = json.loads(whole), json.loads(study.records.read_text())
    for record in made:
        for model in record["models"]:
            del model["seconds"]
    assert made[0] == made[1]


def test_the_answers_to_ifeval_are_in_the_record_and_on_the_page(small):
    study = small()
    study.run([0], ["self"])
    folder = study.out / "seed_0" / "self" / "M2" / "evaluations" / "ifeval"
    (folder / "records").mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps({"settings": {"responses": {"max_tokens": 7}}}))
    answers = [Response(prompt_id=str(n), model="M2", index=0, text="so", finish="stop") for n in range(3)]
    checks = [(answers[0].id, True), (answers[0].id, False), (answers[1].id, True)]
    rows = [Check(response_id=answer, instruction="k", outcome="checked", strict=so, loose=so) for answer, so in checks]
    (folder / "records" / "responses.jsonl").write_text("".join(to_line(answer) + "\n" for answer in answers))
    (folder / "records" / "checks.jsonl").write_text("".join(to_line(row) + "\n" for row in rows))
    study.look()
    [run] = study.done()
    assert run.of("M2").ifeval == Published(max_tokens=7, checks=((1, 2), (1, 1), (0, 0))) and run.of("M1").ifeval is None
    figures, text = page(study, [0], ["self"])
    found = figures["arms"]["self"]["ifeval"]["M2"]
    assert found["instructions"]["value"] == pytest.approx(2 / 3) and found["prompts"]["value"] == 0.5
    assert "| self | M2 | 1 | 7 | 66.7 (50.0 to 100.0) | 50.0 (0.0 to 100.0) |" in text


def test_the_models_of_self_answer_ifeval_once_and_the_base_that_seeds_share_for_one_of_them(small, tmp_path):
    file = tmp_path / "ifeval.jsonl"
    asked = {"key": 1, "prompt": "Say it.", "instruction_id_list": ["change_case:english_capital"], "kwargs": [{}]}
    file.write_text(json.dumps(asked) + "\n")
    study = replace(small(), ifeval=file)
    for _ in range(2):
        study.run([0, 1], ["self", "checkers"])
    found = {(run.arm, run.seed): [model.name for model in run.models if model.ifeval] for run in study.done()}
    assert found == {
        ("self", 0): ["M0", "SFT", "M1", "M2"], ("self", 1): ["SFT", "M1", "M2"], ("checkers", 0): [], ("checkers", 1): [],
    }  # fmt: skip
    assert study.done()[0].of("M2").ifeval == Published(max_tokens=256, checks=((0, 1),))
    settings = study.out / "seed_0" / "self" / "M2" / "evaluations" / "ifeval" / "result.json"
    assert json.loads(settings.read_text())["settings"]["responses"]["temperature"] == 0


def test_further_answers_count_beside_the_runs_own_where_all_that_is_compared_has_them(small, monkeypatch):
    monkeypatch.setattr(Study, "answer_again", ANSWER_AGAIN)
    study = small()
    study.run([0], ["self", "checkers"])
    runs = {run.arm: run for run in study.done()}
    assert [bool(model.again) for model in runs["self"].models] == [True] * 4
    assert [bool(model.again) for model in runs["checkers"].models] == [True] * 4  # the first three are those of `self`
    shutil.rmtree(study.out / "seed_0" / "checkers" / "M1" / "evaluations")
    assert recorded(study.out / "seed_0" / "checkers", 0).of("M1").again == runs["self"].of("M1").again
    model = runs["self"].of("M2")
    first = [followed for followed, _, _ in model.checks]
    assert list(model.again.followed) == [AGAIN * followed for followed in first] and any(first)  # the stand-in answers alike
    assert list(model.again.whole) == [AGAIN * (followed == given) for followed, given, _ in model.checks]
    other = model.model_copy(update={"again": Again(followed=(0,) * len(first), whole=(0,) * len(first))})
    found = counts([model, other], True)
    assert found.answers == 1 + AGAIN and found.followed.tolist() == [[5 * n for n in first], first]
    assert (found.given == 5 * np.array([given for _, given, _ in model.checks])).all()
    assert not answered_again([model, model.model_copy(update={"again": None})])
    assert counts([model, other], False).followed.tolist() == [first, first]
    figures, text = page(study, [0], ["self", "checkers"])
    assert figures["arms"]["self"]["models"]["M2"]["answers"] == 5 == figures["arms"]["checkers"]["over M1"]["M2"]["answers"]
    assert "| checkers | M2 | 1 | 5 |" in text
    for number, folder in enumerate(again(study.out / "seed_0" / "self" / "M2"), start=1):  # each is drawn anew
        settings = json.loads((folder / "result.json").read_text())["settings"]
        assert settings["seed"] == number and settings["responses"]["temperature"] == 0.7


def test_the_clock_leaves_out_pauses_between_attempts(tmp_path):
    made = {
        "logs/attempt_1/provenance.json": 100, "M0/heldout_responses.jsonl": 110, "M0/measured.json": 130,
        "M1/model/metrics.jsonl": 170, "logs/attempt_2/provenance.json": 1000, "M1/measured.json": 1005,
    }  # fmt: skip
    for name, at in made.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (at, at))
    assert clock(tmp_path, ["M0", "M1"]) == {"M0": 30.0, "M1": 45.0}


def test_tokens_of_a_model_are_those_of_its_receipts_and_of_its_training_without_padding(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "a.receipt.json").write_text('{"prompt_tokens": 5, "completion_tokens": 2}')
    (tmp_path / "b.receipt.json").write_text('{"records": 1}')
    (tmp_path / "model" / "metrics.jsonl").write_text('{"tokens": 40, "padding": 0.25}\n{"loss": 1}\n')
    assert spent(tmp_path) == {"read": 5, "written": 2, "trained on": 30}


def test_an_arm_that_there_is_not_is_named(monkeypatch, capsys):
    for command in (main, micro_study.main):
        monkeypatch.setattr("sys.argv", ["study", *(["base"] if command is main else []), "--arms", "self,sfft"])
        with pytest.raises(SystemExit):
            command()
        assert "no arm is called sfft; there are self, shuffled" in capsys.readouterr().err


def test_what_people_wrote_below_the_tables_stays_and_the_tables_are_made_anew(small, tmp_path, monkeypatch, capsys):
    small().run([0], ["self"])
    results = tmp_path / "page"
    results.with_suffix(".md").write_text(f"old tables\n{OWN}\nIt gains nothing.\n")
    changes = [part for name, value in SMALL.items() for part in ("--set", f"{name}={json.dumps(value)}")]
    given = [str(tmp_path / "world" / "base"), "--seeds", "0-0", "--out", str(tmp_path / "out"), "--results", str(results)]
    for _ in range(2):
        monkeypatch.setattr("sys.argv", ["study", *given, "--only-page", *changes])
        main()
        text = results.with_suffix(".md").read_text()
        assert "old tables" not in text and "| self | M2 |" in text and text.endswith(f"|\n{OWN}\nIt gains nothing.\n")
    assert own_words(None) == own_words(tmp_path / "none") == ""
    assert "It gains nothing." in capsys.readouterr().out
    assert len(results.with_suffix(".runs.jsonl").read_text().splitlines()) == 1
