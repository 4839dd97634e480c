"""What a run folder refuses, in one sentence with the way out, and that it then leaves every file as it was."""

import glob
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from selfreward.engines import fake
from selfreward.errors import SelfRewardError
from selfreward.records import fingerprint, write_whole
from selfreward.rundir import open_run
from selfreward.rundir.folder import Stage
from tinyrun import Killed, count_requests, go, make_world, quiet, tree


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    quiet(monkeypatch)
    return make_world(tmp_path / "world")


@pytest.fixture
def whole(recipe, tmp_path):
    """A finished run."""
    go(recipe, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def half(recipe, tmp_path, monkeypatch):
    """A run killed with one batch of M2/judgments answered; its last stage."""
    generate, batches = fake.FakeModel.generate, []

    def dying(self, batch):
        if (tmp_path / "run/M2/judgments.plan.json").exists():
            batches.append(batch)
        if len(batches) == 2:
            raise Killed
        return generate(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(fake.FakeModel, "generate", dying)
        with pytest.raises(Killed):
            go(recipe, tmp_path / "run")
    assert len((tmp_path / "run/M2/judgments.journal.jsonl").read_text().splitlines()) == 1
    return tmp_path / "run"


def refused(recipe, folder, **changes):
    """The error with which a run is refused; checks that no file was touched, and that nobody was asked anything."""
    before = tree(folder, logs=True)
    with pytest.MonkeyPatch.context() as patch:
        asked = count_requests(patch)
        with pytest.raises(SelfRewardError) as caught:
            go(recipe, folder, **changes)
    after = tree(folder, logs=True)
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    changed.discard("summary.json")  # has a test of its own
    assert all(name.startswith("logs/attempt_") and name not in before for name in changed), changed
    assert not asked and "\n" not in str(caught.value)
    return caught.value


def names_in(what):
    """The fields that an error says have changed, without what they were and are."""
    return re.sub(r": [^;)]* → [^;)]*", "", re.match(r"the recipe changed \((.*)\)", what)[1]).replace(";", ",")


def delete_what_it_says(error):
    """Do what the error says after `rm -r`, to the letter; returns the paths."""
    told = shlex.split(error.now.split("rm -r ")[1])
    named = [file for one in told for file in (glob.glob(one) if "*" in one else [one])]
    for name in named:
        shutil.rmtree(name) if Path(name).is_dir() else Path(name).unlink()
    return named


def test_a_second_process_is_refused_while_the_first_lives_and_let_in_when_it_is_killed(recipe, whole):
    lock = str(whole / ".lock")
    code = f"import fcntl; f = open({lock!r}, 'a'); fcntl.flock(f, fcntl.LOCK_EX); print('has it', flush=True); input()"
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"has it\n"
    before = tree(whole, logs=True)
    error = refused(recipe, whole)
    assert error.what == "another process is working in this run folder" and "another folder" in error.now
    assert tree(whole, logs=True) == before
    holder.kill()
    holder.wait()
    go(recipe, whole)


@pytest.mark.parametrize(
    ("changes", "stage", "fields"),
    [
        ({"judge__samples": 2}, "M0/heldout_judgments", "judge.samples"),
        ({"responses__temperature": 0.9, "seed": 3}, "M0/heldout_responses", "responses.temperature, seed"),
        ({"sft__learning_rate": 0.5}, "M1/model", "sft.learning_rate"),
        ({"prompts__per_iteration": 7}, "M2/proposed", "prompts.per_iteration"),
        ({"prompts__min_words": 5}, "M2/prompts", "prompts.min_words"),
        ({"dpo__beta": 0.2}, "M2/model", "dpo.beta"),
    ],
)
def test_a_changed_recipe_is_refused_on_a_finished_stage_and_goes_on_once_the_named_files_are_deleted(
    changes, stage, fields, recipe, whole, tmp_path
):
    error = refused(recipe, whole, **changes)
    assert error.where == stage and names_in(error.what) == fields
    assert str(refused(recipe, whole, **changes)) == str(error)
    delete_what_it_says(error)
    go(recipe, whole, **changes)
    go(recipe, tmp_path / "fresh", **changes)
    assert tree(whole) == tree(tmp_path / "fresh")


def test_a_refused_run_leaves_the_summary_of_all_models(recipe, whole):
    before = (whole / "summary.json").read_bytes()
    refused(recipe, whole, dpo__beta=0.2)
    assert (whole / "summary.json").read_bytes() == before


def test_only_what_came_after_the_change_is_to_be_deleted(recipe, whole):
    with pytest.raises(SelfRewardError) as caught:
        go(recipe, whole, dpo__beta=0.2)
    named = {str(Path(name).relative_to(whole)) for name in delete_what_it_says(caught.value)}
    assert {"M2/model", "M2/model.receipt.json", "M2/heldout_responses.jsonl", "M2/measured.json"} <= named
    assert not [name for name in named if not name.startswith("M2/")]
    assert not named & {"M2/pairs.jsonl", "M2/judgments.jsonl", "M2/pairs.receipt.json"}


def test_a_changed_recipe_is_refused_on_a_half_made_stage(recipe, half, tmp_path):
    error = refused(recipe, half, judge__max_tokens=7)
    assert error.where == "M0/heldout_judgments" and "(judge.max_tokens: 1024 → 7)" in error.what
    error = refused(recipe, half, pairs__policy="selfreward.steps.pairs:best_against_worst", responses__n=3)
    assert error.where == "M2/responses" and names_in(error.what) == "responses.n"
    named = delete_what_it_says(error)
    assert {Path(name).name for name in named} >= {"judgments.plan.json", "judgments.journal.jsonl", "responses.jsonl"}
    go(recipe, half, responses__n=3)
    go(recipe, tmp_path / "fresh", responses__n=3)
    assert tree(half) == tree(tmp_path / "fresh")


@pytest.mark.parametrize(
    "changes",
    [{"measure__bootstrap": 200}, {"keep_checkpoints": True}, {"sft__checkpoint_every": 7}, {"dpo__checkpoint_every": 7}],
)
def test_an_edit_that_changes_nothing_asked_refuses_nothing(changes, recipe, whole, monkeypatch):
    before, asked = tree(whole), count_requests(monkeypatch)
    go(recipe, whole, **changes)
    after = tree(whole)
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    assert not asked
    assert {Path(name).name for name in changed} <= {"config.json", "measured.json", "measured.receipt.json", "summary.json"}
    assert json.loads((whole / "config.json").read_text()) != json.loads((whole / "logs/attempt_1/config.json").read_text())


def test_an_edit_of_what_is_not_reached_yet_refuses_nothing(recipe, half, tmp_path):
    go(recipe, half, dpo__beta=0.2)
    go(recipe, tmp_path / "fresh", dpo__beta=0.2)
    assert tree(half) == tree(tmp_path / "fresh")


def flip(file):
    """Change one character in the middle of a file: a digit or a letter to another, so that JSON stays JSON."""
    content = bytearray(file.read_bytes())
    later = range(len(content) // 2, len(content))
    middle = next(at for at in later if chr(content[at]).isalnum() or file.suffix == ".safetensors")
    content[middle] = ord("1") if content[middle] == ord("0") else ord("0")
    file.write_bytes(content)


def damage(file, how):
    if how == "flipped":
        flip(file)
    elif how == "missing":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-1] if how == "cut" else b"")


DAMAGED = [
    *("M0/heldout_responses.jsonl", "M2/proposed.jsonl", "M2/judgments.jsonl", "M2/pairs.jsonl", "M2/prompts.dropped.jsonl"),
    *("M0/heldout_responses.receipt.json", "M2/judgments.receipt.json", "M2/model.receipt.json", "M2/pairs.receipt.json"),
    *("M1/model/model.safetensors", "M2/model/model.safetensors", "M1/truth.jsonl"),
]


@pytest.mark.parametrize("how", ["flipped", "cut", "emptied", "missing"])
@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_of_a_finished_stage_is_refused_and_made_again_once_the_named_files_are_deleted(name, how, recipe, whole):
    undisturbed, file = tree(whole), whole / name
    if how == "missing" and "receipt" in name and "model" not in name:
        pytest.skip("a stage without receipt is simply made again")
    damage(file, how)
    error = refused(recipe, whole)
    assert error.where in (str(file), str(whole / "M2" / "model"))
    delete_what_it_says(error)
    go(recipe, whole)
    assert tree(whole) == undisturbed


@pytest.mark.parametrize("name", ["M2/judgments.receipt.json", "config.json"])
def test_a_file_nested_without_end_is_named_by_whoever_reads_the_run(name, recipe, whole):
    (whole / name).write_text("[" * 100_000)
    with pytest.raises(SelfRewardError) as caught:
        list(open_run(whole)["M2"].judgments())
    assert caught.value.where == str(whole / name)
    assert refused(recipe, whole).where == str(whole / name)


def test_a_summary_nested_without_end_is_written_anew(recipe, whole):
    undisturbed = tree(whole)
    (whole / "summary.json").write_text("[" * 100_000)
    go(recipe, whole)
    assert tree(whole) == undisturbed


@pytest.mark.parametrize("name", ["M2/judgments.plan.json", "M2/judgments.journal.jsonl"])
def test_a_damaged_file_of_a_half_made_stage_is_refused_and_made_again(name, recipe, half, tmp_path):
    flip(half / name)
    error = refused(recipe, half)
    assert error.where == str(half / name)
    delete_what_it_says(error)
    go(recipe, half)
    go(recipe, tmp_path / "fresh")
    assert tree(half) == tree(tmp_path / "fresh")


@pytest.mark.parametrize("text", ["{", "[]", "null", "[" * 100_000], ids=["torn", "a list", "null", "endless"])
@pytest.mark.parametrize("name", ["config.json", "provenance.json"])
def test_a_damaged_config_is_refused_and_can_be_restored_from_the_logs(name, text, recipe, whole):
    (whole / name).write_text(text)
    error = refused(recipe, whole)
    assert error.where == str(whole / name) and str(whole / "logs") in error.now
    shutil.copy(whole / "logs" / "attempt_1" / name, whole / name)
    go(recipe, whole)


def test_a_changed_base_is_refused(recipe, whole):
    flip(recipe.parent / "base" / "model.safetensors")
    error = refused(recipe, whole)
    assert error.where == "M0/heldout_responses" and "its inputs changed" in error.what


def test_weights_that_change_while_the_run_is_open_are_not_trained_on(recipe, tmp_path, monkeypatch):
    choose = "selfreward.loop.pick_pairs"
    from selfreward.loop import pick_pairs

    monkeypatch.setattr(choose, lambda *given: flip(tmp_path / "run/M1/model/model.safetensors") or pick_pairs(*given))
    with pytest.raises(SelfRewardError, match="which M1 was"):
        go(recipe, tmp_path / "run")


def test_another_version_of_a_library_is_refused_by_name(recipe, whole, monkeypatch):
    from selfreward.rundir import folder, stages

    newer = {**folder.versions(), "trl": "99"}
    for module in (folder, stages):
        monkeypatch.setattr(module, "versions", lambda: newer)
    with pytest.raises(SelfRewardError, match=r"the recipe changed \(versions.trl: "):
        go(recipe, whole)


def test_a_missing_base_or_one_without_weights_is_refused_before_a_folder_is_made(recipe, tmp_path):
    with pytest.raises(SelfRewardError, match="is no folder and cannot be fetched from the hub"):
        go(recipe, tmp_path / "new", base="nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SelfRewardError, match=r"no \.safetensors weights"):
        go(recipe, tmp_path / "new", base=str(tmp_path / "empty"))
    assert not (tmp_path / "new").exists()


def test_a_file_in_the_place_of_the_run_folder_is_refused(recipe, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(SelfRewardError, match="cannot be a run folder"):
        go(recipe, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_path_with_a_space_in_it_can_be_pasted_from_the_error(recipe, tmp_path):
    go(recipe, tmp_path / "my run")
    with pytest.raises(SelfRewardError) as caught:
        go(recipe, tmp_path / "my run", dpo__beta=0.2)
    delete_what_it_says(caught.value)
    go(recipe, tmp_path / "my run", dpo__beta=0.2)


def test_attempts_are_numbered_on_even_where_old_ones_were_deleted(recipe, whole):
    go(recipe, whole)
    shutil.rmtree(whole / "logs" / "attempt_1")
    go(recipe, whole)
    assert {path.name for path in (whole / "logs").glob("attempt_*")} == {"attempt_2", "attempt_3"}


def test_checkpoints_are_removed_unless_the_recipe_keeps_them(recipe, tmp_path, monkeypatch):
    train = fake.FakeTrainer._train

    def with_checkpoint(self, *given):
        (given[5] / "checkpoint-1").mkdir(parents=True, exist_ok=True)
        (given[5] / "checkpoint-1" / "state").write_text("1")
        return train(self, *given)

    monkeypatch.setattr(fake.FakeTrainer, "_train", with_checkpoint)
    go(recipe, tmp_path / "lean")
    assert not list((tmp_path / "lean").rglob("checkpoint-1"))
    for _ in range(2):  # and made a second time, after the first was deleted by hand
        go(recipe, tmp_path / "kept", keep_checkpoints=True)
        assert len(list((tmp_path / "kept").glob("*/model.checkpoints/checkpoint-1/state"))) == 2
        shutil.rmtree(tmp_path / "kept" / "M2" / "model")
        (tmp_path / "kept" / "M2" / "model.receipt.json").unlink()


def test_write_whole_leaves_the_old_file_where_the_new_one_could_not_be_written(tmp_path, monkeypatch):
    write_whole(tmp_path / "a", "old")

    def full(handle):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "old"


def test_the_fingerprint_is_of_weights_and_tokenizer_and_not_of_the_folder(recipe, tmp_path):
    base = recipe.parent / "base"
    shutil.copytree(base, tmp_path / "copy")
    (tmp_path / "copy" / "README.md").write_text("mine")
    assert fingerprint(tmp_path / "copy") == fingerprint(base)
    (tmp_path / "copy" / "tokenizer.json").write_text("{}")
    assert fingerprint(tmp_path / "copy") != fingerprint(base)


@pytest.mark.parametrize("bug", ["the receipt before the file", "no temporary file"])
def test_these_tests_would_see(bug, recipe, whole, tmp_path, monkeypatch):
    """Planted bugs: each is seen as a run that cannot go on from a kill."""
    (whole / "M2" / "judgments.receipt.json").unlink()
    if bug == "no temporary file":
        monkeypatch.setattr("selfreward.rundir.folder.write_whole", lambda path, text: path.write_text("".join(text)[:-100]))
    else:
        monkeypatch.setattr(Stage, "write", lambda stage, path, records: stage.records)
        (whole / "M2" / "judgments.jsonl").write_text("")
    with pytest.raises((SelfRewardError, OSError)):
        for _ in range(2):
            go(recipe, whole)
