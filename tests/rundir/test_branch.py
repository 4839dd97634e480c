"""A branch takes over whole models, untouched, and goes on from the last by another recipe."""

import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from test_rundir import damage
from typer.testing import CliRunner

from selfreward.api import execute
from selfreward.cli import app
from selfreward.engines import fake
from selfreward.errors import SelfRewardError
from selfreward.measure.monitors import verdicts
from selfreward.recipe import Recipe, load_recipe
from selfreward.records import Estimate, Judgment, read_jsonl
from selfreward.rundir import branch_off, read_branch, recipes
from selfreward.rundir.branch import AT_ONCE, LATER, recipe_of
from tinyrun import Killed, Moments, count_requests, go, make_world, quiet, tree

FIXED = ("seed", "base", "data", "eft", "sft", "trainer", "select", "pairwise", "measure", "drift", "cluster")
OWN = ("config.json", "branch.json", "summary.json")
"""What a branch has of its own beside its models."""


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    quiet(monkeypatch)
    file = make_world(tmp_path / "world")
    file.write_text(file.read_text().replace("iterations = 1", "iterations = 2") + "[drift]\nsample = 2\npool = 2\n")
    return file


@pytest.fixture
def whole(recipe, tmp_path):
    """A finished run, M1 to M3."""
    go(recipe, tmp_path / "run")
    return tmp_path / "run"


def branch(recipe, model, folder, **changes):
    """As `selfreward run --from`."""
    dotted = {name.replace("__", "."): value for name, value in changes.items()}
    branch_off(load_recipe(recipe, dotted), model, folder)
    return go(recipe, folder, **changes)


def command(*given):
    return CliRunner().invoke(app, ["run", *map(str, given)])


def models(folder, *names):
    """The files of these models, and of the seed."""
    return {name: digest for name, digest in tree(folder).items() if name.split("/")[0] in ("seed", *names)}


def assert_same_but_for_the_note(folder, straight):
    """A branch holds the bytes of a run of its own, but for `branch.json` and its id in `config.json`."""
    ours, theirs = tree(folder), tree(straight)
    config = json.loads((folder / "config.json").read_text())
    assert config.pop("branch") == json.loads((folder / "branch.json").read_text())["id"]
    assert config == json.loads((straight / "config.json").read_text())
    own = {"branch.json", "config.json"}
    assert ours.keys() - theirs.keys() == {"branch.json"}
    assert {name: digest for name, digest in ours.items() if name not in own} == {
        name: digest for name, digest in theirs.items() if name not in own
    }


def refused(recipe, model, folder, **changes):
    """The error with which a branch is refused; checks that it is one line, that nothing is left of it, and nothing changed."""
    place = folder.parent
    before = tree(place, logs=True)
    with pytest.raises(SelfRewardError) as caught:
        branch(recipe, model, folder, **changes)
    assert "\n" not in str(caught.value) and tree(place, logs=True) == before
    return caught.value


# what comes out


def test_a_branch_with_nothing_changed_makes_the_bytes_of_the_run_itself(recipe, whole, tmp_path):
    branch(recipe, whole / "M2", tmp_path / "new")
    assert_same_but_for_the_note(tmp_path / "new", whole)
    found = read_branch(tmp_path / "new")
    measured = json.loads((whole / "M2" / "measured.json").read_text())
    assert (found.source, found.model, found.fingerprint, found.before) == ("run", "M2", measured["fingerprint"], None)
    assert found.recipe == json.loads((whole / "config.json").read_text())


def test_a_changed_field_changes_what_comes_after_the_branch_and_leaves_what_was_taken_over(recipe, whole, tmp_path):
    before = tree(whole, logs=True)
    branch(recipe, whole / "M2", tmp_path / "new", dpo__beta=0.2)
    assert tree(whole, logs=True) == before
    taken = ("M0", "M1", "M2")
    assert models(tmp_path / "new", *taken) == models(whole, *taken)
    ours, theirs = tree(tmp_path / "new"), tree(whole)
    making = ("proposed", "prompts", "responses", "judgments", "pairs")
    assert all(ours[f"M3/{stage}.jsonl"] == theirs[f"M3/{stage}.jsonl"] for stage in making)
    assert ours["M3/model/model.safetensors"] != theirs["M3/model/model.safetensors"]
    summaries = [json.loads((folder / "summary.json").read_text())["models"] for folder in (tmp_path / "new", whole)]
    assert [model["name"] for model in summaries[0]] == [*taken, "M3"] and summaries[0][:3] == summaries[1][:3]
    assert {name.split("/")[0] for name in ours} == {*taken, "M3", "seed", "provenance.json", *OWN}
    cards = {name: (tmp_path / "new" / name / "model" / "README.md").read_text() for name in ("M2", "M3")}
    assert '"beta": 0.1,' in cards["M2"] and '"beta": 0.2,' in cards["M3"]


def test_judges_answers_and_monitors_follow_the_recipe_that_holds_for_their_model(recipe, whole, tmp_path):
    branch(recipe, whole / "M2", tmp_path / "new", judge__samples=1, responses__n=3, prompts__per_iteration=4)
    assert models(tmp_path / "new", "M0", "M1", "M2") == models(whole, "M0", "M1", "M2")
    for stage, (taken, later) in {"judgments": (3, 1), "heldout_judgments": (3, 1), "drift_pool": (3, 1)}.items():
        for name, samples in (("M2", taken), ("M3", later)):
            found = read_jsonl(tmp_path / "new" / name / f"{stage}.jsonl", Judgment)
            assert {judgment.sample for judgment in found} == set(range(samples)), (stage, name)
    count = {
        name: len((tmp_path / "new" / "M3" / f"{name}.jsonl").read_text().splitlines())
        for name in ("proposed", "prompts", "responses")
    }
    assert count["proposed"] == 4 and count["responses"] == 3 * count["prompts"]


def test_the_pages_show_each_model_by_the_recipe_that_made_it(recipe, whole, tmp_path, monkeypatch):
    monkeypatch.undo()  # with the pages
    branch(recipe, whole / "M2", tmp_path / "new", judge__samples="adaptive", judge__by="frozen")
    health, index = ((tmp_path / "new" / "report" / f"{name}.html").read_text() for name in ("health", "index"))
    assert "M2/judgments.jsonl" in health and "M2/judgments_2" not in health
    assert "M1 says of itself" in index and "M1 says" in index.replace("M1 says of itself", "") and "M2 says" not in index


def test_pairs_of_the_models_taken_over_are_trained_on_where_the_branch_wants_them(recipe, tmp_path):
    go(recipe, tmp_path / "straight", pairs__accumulate=True)
    go(recipe, tmp_path / "run")
    branch(recipe, tmp_path / "run" / "M2", tmp_path / "new", pairs__accumulate=True)
    ours, straight = (models(tmp_path / folder, "M2", "M3") for folder in ("new", "straight"))
    cards = {"M2/model/README.md", "M3/model/README.md"}  # tell that M2 was trained without the field
    assert {name for name in ours | straight if ours.get(name) != straight.get(name)} == cards


def test_a_branch_goes_further_than_the_run_and_ends_as_if_the_run_had(recipe, whole, tmp_path):
    go(recipe, tmp_path / "straight", iterations=3)
    branch(recipe, whole / "M3", tmp_path / "new", iterations=3)
    assert_same_but_for_the_note(tmp_path / "new", tmp_path / "straight")


def test_a_branch_can_be_branched_and_every_model_keeps_the_recipe_by_which_it_was_made(recipe, whole, tmp_path):
    branch(recipe, whole / "M2", tmp_path / "one", dpo__beta=0.2)
    branch(recipe, tmp_path / "one" / "M3", tmp_path / "two", dpo__beta=0.3, judge__samples=2, iterations=3)
    taken = ("M0", "M1", "M2", "M3")
    assert models(tmp_path / "two", *taken) == models(tmp_path / "one", *taken)
    found = read_branch(tmp_path / "two")
    assert (found.source, found.model, found.before) == ("one", "M3", read_branch(tmp_path / "one"))
    held = recipes(load_recipe(tmp_path / "two" / "config.json"), found)
    betas = {name: recipe_of(name, held).dpo.beta for name in ("M0", "SFT", "M1", "M2", "M3", "M4")}
    assert betas == {"M0": 0.1, "SFT": 0.1, "M1": 0.1, "M2": 0.1, "M3": 0.2, "M4": 0.3}
    branch(recipe, tmp_path / "two" / "M1", tmp_path / "three", dpo__beta=0.4)  # before its source was branched itself
    assert models(tmp_path / "three", "M0", "M1") == models(whole, "M0", "M1")
    held = recipes(load_recipe(tmp_path / "three" / "config.json"), read_branch(tmp_path / "three"))
    assert {t: recipe.dpo.beta for t, recipe in held.items()} == {1: 0.1, 2: 0.4}


def test_from_a_model_without_an_sft_of_its_own_and_without_m0(recipe, tmp_path):
    given = {"sft__on": "none", "measure__base": False}
    go(recipe, tmp_path / "run", **given)
    branch(recipe, tmp_path / "run" / "M1", tmp_path / "new", **given)
    assert_same_but_for_the_note(tmp_path / "new", tmp_path / "run")


# what may change


def test_every_field_of_a_recipe_either_stays_or_holds_at_once_or_from_the_branch_on():
    at_once = {name.split(".")[0] for name in AT_ONCE}
    assert {*FIXED, *LATER, *at_once} == set(Recipe.model_fields)
    assert not {*FIXED} & {*LATER} and {*FIXED} & at_once == {"drift"}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"seed": 1}, "seed"),
        ({"data__heldout": 7}, "data.heldout"),
        ({"data__skip_bad_rows": True}, "data.skip_bad_rows"),
        ({"sft__learning_rate": 0.5, "dpo__beta": 0.2}, "sft.learning_rate"),
        ({"eft__tries": 3}, "eft.tries"),
        ({"measure__bootstrap": 101}, "measure.bootstrap"),
        ({"pairwise__max_tokens": 9}, "pairwise.max_tokens"),
        ({"trainer__lora": {}}, "trainer.lora"),
        ({"drift__sample": 1}, "drift.sample"),
        ({"drift": None}, "drift"),
    ],
)
def test_what_came_before_cannot_be_changed_and_the_field_is_named(changes, field, recipe, whole, tmp_path):
    error = refused(recipe, whole / "M2", tmp_path / "new", **changes)
    assert error.where.startswith(field) and "M2 depends on it" in error.what


def test_a_branch_that_would_make_nothing_is_refused(recipe, whole, tmp_path):
    error = refused(recipe, whole / "M3", tmp_path / "new")
    assert (error.where, error.what) == ("iterations", "the recipe ends at M3, and M3 is there")
    assert error.now == "Set it to 3 at least"
    go(recipe, tmp_path / "more", iterations=3)


def test_limits_hold_for_the_whole_folder(recipe, whole, tmp_path, monkeypatch):
    loose = {"policy.untold": {"above": 2.0}}
    asked = count_requests(monkeypatch)
    branch(recipe, whole / "M2", tmp_path / "new", drift__limits=loose)
    assert not [name for name in asked if asked[name] > 1]
    changed = {name for name, digest in models(whole, "M0", "M1", "M2").items() if tree(tmp_path / "new")[name] != digest}
    rewritten = {f"M{t}/drift.{kind}" for t in (1, 2) for kind in ("jsonl", "receipt.json")}
    assert changed - {f"M{t}/model/README.md" for t in (1, 2)} == rewritten  # and cards, which tell of limits


# what is refused


def test_a_run_that_is_under_way_is_not_branched(recipe, whole, tmp_path):
    lock = str(whole / ".lock")
    code = f"import fcntl; f = open({lock!r}, 'a'); fcntl.flock(f, fcntl.LOCK_EX); print('has it', flush=True); input()"
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"has it\n"
    error = refused(recipe, whole / "M2", tmp_path / "new")
    assert (error.what, error.where) == ("a process is working in it", str(whole))
    holder.kill()
    holder.wait()
    branch(recipe, whole / "M2", tmp_path / "new")


@pytest.mark.parametrize("how", ["flipped", "missing"])
@pytest.mark.parametrize(
    "name",
    ["M2/model/model.safetensors", "M1/model/model.safetensors", "M2/judgments.jsonl", "M2/model.receipt.json", "seed/ift.jsonl"],
)
def test_a_damaged_model_is_not_branched(name, how, recipe, whole, tmp_path):
    damage(whole / name, how)
    error = refused(recipe, whole / "M2", tmp_path / "new")
    assert error.where in (str(whole / name), str(whole / "M2" / "model")) and str(whole) in error.now


def test_damage_after_the_model_is_no_matter(recipe, whole, tmp_path):
    damage(whole / "M3" / "model" / "model.safetensors", "flipped")
    branch(recipe, whole / "M2", tmp_path / "new")


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("run/M4", "M4: there is no such model. Give M1 or M2 or M3"),
        ("run/M0", "is no model that a run can go on from. Give M1 or a later model"),
        ("run/SFT", "is no model that a run can go on from"),
        ("run", "is no model that a run can go on from"),
        ("world/M2", "world: is no run folder: it has no config.json"),
    ],
)
def test_what_is_no_finished_model_of_a_run_is_refused(model, says, recipe, whole, tmp_path):
    assert says in str(refused(recipe, tmp_path / model, tmp_path / "new"))


def test_a_folder_that_is_in_use_is_refused(recipe, whole, tmp_path):
    assert refused(recipe, whole / "M2", whole).what == "is not empty"
    branch(recipe, whole / "M2", tmp_path / "new")
    assert refused(recipe, whole / "M1", tmp_path / "new").what == "comes from run/M2"
    (tmp_path / "empty").mkdir()
    branch(recipe, whole / "M2", tmp_path / "empty")


# the command line


def test_the_command_branches_with_the_runs_own_recipe_and_the_same_command_goes_on(recipe, whole, tmp_path, monkeypatch):
    new = tmp_path / "new"
    given = ("--from", whole / "M2", "--set", "dpo.beta=0.2", "-o", new)
    first = command(*given)
    assert (first.exit_code, first.stdout.splitlines()[-1]) == (0, f"{new}/report/index.html"), first.stderr
    before, asked = tree(new), count_requests(monkeypatch)
    shutil.rmtree(whole)  # what was taken over is all that is needed
    for again in (given, (recipe, *given), ("-o", new), (recipe, "--set", "dpo.beta=0.2", "-o", new)):
        assert command(*again).exit_code == 0
        assert tree(new) == {**before, "provenance.json": tree(new)["provenance.json"]}
    assert not asked
    go(recipe, tmp_path / "run")
    branch(recipe, tmp_path / "run" / "M2", tmp_path / "same", dpo__beta=0.2)
    assert {**tree(tmp_path / "same"), "provenance.json": ""} == {**before, "provenance.json": ""}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            (),
            "command line: no recipe is given. Give a recipe, or --folder with a run that was begun, or --from with a model",
        ),
        (("--from", "run/M2"), "command line: a branch needs a folder of its own. Give it with --folder"),
        (("-o", "nowhere"), "nowhere: there is no such folder. Give a recipe, or the folder of a run that was begun"),
        (("--from", "run/M2", "-o", "new", "--set", "sft.epochs=2"), "sft.epochs: M2 depends on it, so"),
    ],
)
def test_what_the_command_lacks_is_said_in_one_line(given, says, recipe, whole, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = command(*given)
    assert result.exit_code == 1 and result.stderr.splitlines()[-1].startswith(f"error: {says}"), result.stderr
    assert not (tmp_path / "new").exists()


def test_from_an_alarm_the_command_that_it_names_goes_on(recipe, tmp_path, monkeypatch):
    figures = {"M1": 0.1, "M2": 0.2, "M3": 0.3}
    read = {"planted": lambda now, before: {"rise": Estimate(value=figures[now.name], low=0.0, high=1.0)}}
    monkeypatch.setattr(verdicts, "MONITORS", read)
    stopped = command(recipe, "-o", tmp_path / "run", "--set", 'drift.limits={"planted.rise": {"stop_above": 0.25}}')
    assert stopped.exit_code == 3
    program, run, *given = shlex.split(stopped.stderr.splitlines()[-1].split("another recipe: ")[1])
    assert (program, run) == ("selfreward", "run")
    figures["M3"] = 0.2  # as it comes out by the other recipe
    result = command(*given[:-4], "--set", "dpo.beta=0.2", "-o", tmp_path / "new")
    assert result.exit_code == 0, result.stderr
    assert models(tmp_path / "new", "M0", "M1", "M2") == models(tmp_path / "run", "M0", "M1", "M2")


# killed


@pytest.fixture
def place(recipe, tmp_path):
    """A folder with a small run in it, to be copied at every moment."""
    go(recipe, tmp_path / "place" / "run", drift=None, iterations=1, measure__base=False)
    shutil.rmtree(tmp_path / "place" / "run" / "M2")
    return tmp_path / "place"


def moments_of_copying(place, recipe, copies, monkeypatch):
    """Every state of `place` while a branch is taken over, files half written among them."""
    with monkeypatch.context() as patch:
        moments, copyfile, own = Moments(patch, place, copies), shutil.copyfile, []
        moments.durable = {file.stat().st_ino: file.read_bytes() for file in place.rglob("*") if file.is_file()}

        def keep(what):
            own.append(what)  # copying the folder copies files as well
            moments.keep(what)
            own.pop()

        def copying(source, target, **named):
            if own or "copies" in str(target):
                return copyfile(source, target, **named)
            Path(target).write_bytes(Path(source).read_bytes()[: Path(source).stat().st_size // 2])
            keep("half copied")
            copyfile(source, target, **named)
            keep("copied")
            return target

        patch.setattr(shutil, "copyfile", copying)
        branch_off(recipe, place / "run" / "M1", place / "new")
    return moments


def test_killed_at_any_moment_of_copying_nothing_is_left_half_and_the_same_command_goes_on(recipe, place, tmp_path, monkeypatch):
    wanted = load_recipe(recipe, {"dpo.beta": 0.2, "drift": None, "iterations": 1, "measure.base": False})
    run, source = tree(place / "run", logs=True), place / "run"
    moments = moments_of_copying(place, wanted, tmp_path / "copies", monkeypatch)
    undisturbed = tree(place / "new")
    kinds = {what for what, _, _ in moments.kept}
    assert {"half copied", "copied", "before fsync", "after rename"} <= kinds and len(moments.kept) > 50
    for what, at, _ in moments.kept:
        for copy in (at / "killed", at / "cut"):
            assert tree(copy / "run", logs=True) == run, what
            assert not (copy / "new").exists() or tree(copy / "new") == undisturbed, what
            branch_off(wanted, copy / source.name / "M1", copy / "new")
            assert tree(copy / "new") == undisturbed, what
            assert {path.name for path in copy.iterdir()} == {"run", "new"}, what


def test_killed_in_its_own_models_a_branch_goes_on_by_its_folder_alone(recipe, whole, tmp_path, monkeypatch):
    branch(recipe, whole / "M2", tmp_path / "undisturbed", dpo__beta=0.2)
    generate, batches = fake.FakeModel.generate, []

    def dying(self, batch):
        batches.append(batch)
        if len(batches) % 4 == 0:
            raise Killed
        return generate(self, batch)

    given = {"dpo.beta": 0.2}
    branch_off(load_recipe(recipe, given), whole / "M2", tmp_path / "new")
    with monkeypatch.context() as patch:
        patch.setattr(fake.FakeModel, "generate", dying)
        for _ in range(50):
            try:
                execute(load_recipe(tmp_path / "new" / "config.json"), tmp_path / "new")
                break
            except Killed:
                continue
    assert len(batches) > 8
    assert tree(tmp_path / "new") == tree(tmp_path / "undisturbed")


def test_a_full_disk_leaves_nothing_of_a_branch(recipe, whole, tmp_path, monkeypatch):
    def full(source, target, **named):
        raise OSError(28, os.strerror(28), str(target))

    monkeypatch.setattr(shutil, "copyfile", full)
    result = command("--from", whole / "M2", "--set", "dpo.beta=0.2", "-o", tmp_path / "new")
    assert result.exit_code == 1 and "the disk is full" in result.stderr.splitlines()[-1]
    assert {path.name for path in tmp_path.iterdir()} == {"world", "run"}


# what a branch promises


def made(recipe, whole, tmp_path):
    """A finished branch from M2, made by the command line."""
    result = command("--from", whole / "M2", "--set", "dpo.beta=0.2", "-o", tmp_path / "new")
    assert result.exit_code == 0, result.output
    return tmp_path / "new"


def edited(file, change):
    tree = json.loads(file.read_text())
    change(tree)
    file.write_text(json.dumps(tree))


EDITS = {
    "deleted": lambda file: file.unlink(),
    "cut": lambda file: file.write_bytes(file.read_bytes()[:-20]),
    "not UTF-8": lambda file: file.write_bytes(b"\xff\xfe" + file.read_bytes()),
    "a number": lambda file: file.write_text("5"),
    "another model": lambda file: edited(file, lambda tree: tree.update(model="M1")),
    "no model": lambda file: edited(file, lambda tree: tree.update(model="Mx")),
    "another recipe": lambda file: edited(file, lambda tree: tree["recipe"]["dpo"].update(beta=0.3)),
    "unsigned": lambda file: edited(file, lambda tree: tree.pop("id") and tree.update(model="M1")),
    "another id": lambda file: edited(file, lambda tree: tree.update(id=["0" * 16])),
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_branch_json_that_was_deleted_or_edited_is_named_as_the_cause_and_comes_back_from_the_logs(
    edit, recipe, whole, tmp_path
):
    new = made(recipe, whole, tmp_path)
    before = tree(new)
    EDITS[edit](new / "branch.json")
    for given in (("run", "-o", new), ("run", "--from", whole / "M2", "-o", new), ("report", new)):
        result = CliRunner().invoke(app, list(map(str, given)))
        assert result.exit_code == 1 and result.stderr.startswith(f"error: {new}/branch.json: "), result.stderr
        assert "rm -r" not in result.stderr and f"Restore it from {new}/logs/branch.json" in result.stderr
    shutil.copy(new / "logs" / "branch.json", new / "branch.json")
    assert command("-o", new, "--set", "dpo.beta=0.2").exit_code == 0
    assert {**tree(new), "provenance.json": ""} == {**before, "provenance.json": ""}


def test_a_branch_of_before_without_signature_and_note_goes_on_and_no_digest_or_id_changed(recipe, whole, tmp_path):
    new = made(recipe, whole, tmp_path)
    shutil.rmtree(new / "M3")
    shutil.rmtree(new / "logs")
    for name, note in (("branch.json", "id"), ("config.json", "branch")):
        edited(new / name, lambda tree, note=note: tree.pop(note))
    assert command("-o", new).exit_code == 0
    assert "branch" not in json.loads((new / "config.json").read_text())
    again = tmp_path / "again"
    assert command("--from", whole / "M2", "--set", "dpo.beta=0.2", "-o", again).exit_code == 0
    assert models(new, "M1", "M2", "M3") == models(again, "M1", "M2", "M3")


@pytest.mark.parametrize("change", ["sft.learning_rate=0.5", "judge.samples=2", "prompts.min_words=3", "dpo.beta=0.3", "base"])
def test_no_advice_deletes_what_was_taken_over(change, recipe, whole, tmp_path):
    new = made(recipe, whole, tmp_path)
    (new / "M2" / "of_an_older_version.plan.json").write_text("{}")  # which this one does not visit
    if change == "base":
        damage(recipe.parent / "base" / "model.safetensors", "flipped")
    result = command("-o", new, *(("--set", change) if "=" in change else ()))
    assert result.exit_code == 1 and "Traceback" not in result.stderr
    named = shlex.split(result.stderr.partition("rm -r ")[2])
    assert all(Path(name).is_relative_to(new / "M3") for name in named)
    assert bool(named) == (change.split(".")[0] in ("judge", "prompts", "dpo"))


@pytest.mark.parametrize("name", ["M2/judgments.jsonl", "M1/model/model.safetensors", "M2/model.receipt.json", "seed/ift.jsonl"])
def test_what_was_taken_over_and_is_damaged_is_to_be_restored_and_not_deleted(name, recipe, whole, tmp_path):
    new = made(recipe, whole, tmp_path)
    before = tree(new)
    damage(new / name, "flipped")
    result = command("-o", new)
    assert result.exit_code == 1 and f"{new / name}: " in result.stderr and "rm -r" not in result.stderr
    assert "taken over from another run (see branch.json): restore it from there" in result.stderr
    shutil.copy(whole / name, new / name)
    assert command("-o", new).exit_code == 0 and tree(new)[name] == before[name]


def test_a_source_that_was_made_anew_since_is_noticed(recipe, whole, tmp_path):
    new = made(recipe, whole, tmp_path)
    shutil.rmtree(whole)
    go(recipe, whole, sft__learning_rate=0.5)
    again = command("--from", whole / "M2", "-o", new)
    assert again.exit_code == 1 and "comes from run/M2 as it was, " in again.stderr
    assert f"go on with the branch there: selfreward run -o {new}" in again.stderr
    assert command("-o", new).exit_code == 0


@pytest.mark.parametrize("name", ["M9", "M0", "M-1", "M٣", "M²", "M" + "9" * 5000, "Mx", "M1.5", "M02"])
def test_a_model_that_a_run_does_not_have_is_one_line(name, recipe, whole, tmp_path):
    result = command("--from", whole / name, "-o", tmp_path / "new")
    assert result.exit_code == 1 and result.stderr.startswith("error: ") and len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("content", [None, b"", b"{}", b"\xff", b"[]"])
def test_a_source_without_a_provenance_is_one_line_with_the_way_out(content, recipe, whole, tmp_path):
    (whole / "provenance.json").unlink()
    if content is not None:
        (whole / "provenance.json").write_bytes(content)
    result = command("--from", whole / "M2", "-o", tmp_path / "new")
    assert result.exit_code == 1 and result.stderr.startswith(f"error: {whole}/provenance.json: is ")
    shutil.copy(whole / "logs" / "attempt_1" / "provenance.json", whole)
    assert command("--from", whole / "M2", "-o", tmp_path / "new", "--set", "dpo.beta=0.2").exit_code == 0


@pytest.mark.parametrize("there", [True, False])
def test_links_lead_to_the_folders_that_are_meant(there, recipe, whole, tmp_path):
    straight = made(recipe, whole, tmp_path)
    if there:
        (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "target")
    (tmp_path / "latest").symlink_to(whole)
    (whole / "M2").rename(tmp_path / "moved")
    (whole / "M2").symlink_to(tmp_path / "moved")
    result = command("--from", tmp_path / "latest" / "M2", "--set", "dpo.beta=0.2", "-o", tmp_path / "link")
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "link").is_symlink()
    assert {**tree(tmp_path / "target"), "provenance.json": ""} == {**tree(straight), "provenance.json": ""}


def test_a_link_to_nowhere_in_the_source_is_one_line_and_nothing_is_left(recipe, whole, tmp_path):
    (whole / "M2" / "notes").symlink_to(tmp_path / "nowhere")
    result = command("--from", whole / "M2", "-o", tmp_path / "new")
    assert result.exit_code == 1 and result.stderr.startswith(f"error: {whole}/M2/notes: is not there.")
    assert {path.name for path in tmp_path.iterdir()} == {"world", "run"}


@pytest.mark.parametrize("way", ["recipe", "--from"])
def test_a_branch_without_its_config_writes_one_that_names_it_again(way, recipe, whole, tmp_path):
    new = made(recipe, whole, tmp_path)
    before = tree(new)
    (new / "config.json").unlink()
    given = (recipe,) if way == "recipe" else ("--from", whole / "M2")
    assert command(*given, "--set", "dpo.beta=0.2", "-o", new).exit_code == 0
    assert tree(new)["config.json"] == before["config.json"]


def test_a_branch_that_lost_both_notes_is_known_by_its_logs_and_nothing_taken_over_is_to_be_deleted(recipe, whole, tmp_path):
    new = made(recipe, whole, tmp_path)
    for name in ("branch.json", "config.json"):
        (new / name).unlink()
    result = command(recipe, "--set", "dpo.beta=0.2", "-o", new)
    assert result.exit_code == 1 and "rm -r" not in result.stderr
    assert f"error: {new}/branch.json: is missing, and logs/branch.json says that this run goes on from another" in result.stderr


def test_a_model_that_was_taken_over_is_not_trained_again_where_it_is_gone(recipe, whole, tmp_path):
    new = made(recipe, whole, tmp_path)
    shutil.rmtree(new / "M2")
    result = command("-o", new)
    assert result.exit_code == 1 and f"error: {new}/M2/model: is missing. It was taken over from another run" in result.stderr
    shutil.rmtree(new / "M2")  # the stages before it, made again meanwhile
    shutil.copytree(whole / "M2", new / "M2")
    assert command("-o", new).exit_code == 0


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_what_cannot_be_copied_from_the_source_is_one_line_and_nothing_is_left(kind, recipe, whole, tmp_path, monkeypatch):
    if kind == "pipe":
        os.mkfifo(whole / "M2" / "odd")
    else:
        monkeypatch.chdir(whole / "M2")  # the path of a socket is short
        with socket.socket(socket.AF_UNIX) as odd:
            odd.bind("odd")
    result = command("--from", whole / "M2", "-o", tmp_path / "new")
    assert f"error: {whole}/M2/odd: a {kind} stands where a file should be" in result.stderr and not result.exception.__cause__
    assert {path.name for path in tmp_path.iterdir()} == {"world", "run"}


def test_the_place_of_a_branch_may_be_taken_by_a_file_or_lead_round_in_a_circle(recipe, whole, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "link")
    for name, says in {"file": "is not empty", "link": "its links go round in a circle"}.items():
        result = command("--from", whole / "M2", "-o", tmp_path / name)
        assert result.exit_code == 1 and result.stderr.startswith(f"error: {tmp_path / name}: {says}"), result.stderr
