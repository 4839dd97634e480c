"""Whoever reads a finished run is told of what was changed, is gone, or is another run's; what never ends is not waited for."""

import json
import os
import shutil

import pytest
from typer.testing import CliRunner

import selfreward as sr
from selfreward.cli import app
from selfreward.errors import SelfRewardError
from selfreward.records import read_signed, signed
from selfreward.rundir import FolderReader
from tinyrun import go, make_world, quiet, tree


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A finished run, and one with another seed."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        quiet(patch)
        recipe = make_world(folder / "world")
        go(recipe, folder / "run")
        assert CliRunner().invoke(app, ["evaluate", str(folder / "run" / "M2"), "--on", "reward-modeling"]).exit_code == 0
        go(recipe, folder / "other", seed=1)
        go(recipe, folder / "apart")
    return folder


@pytest.fixture
def run(made, tmp_path, monkeypatch):
    """A copy of the finished run, to be damaged."""
    quiet(monkeypatch)
    shutil.copytree(made / "run", tmp_path / "run")
    return tmp_path / "run"


READERS = {
    "status": lambda made, run: ["status", run],
    "report": lambda made, run: ["report", run],
    "export": lambda made, run: ["export", run],
    "compare": lambda made, run: ["compare", "runs", run, made / "apart"],
    "from": lambda made, run: ["run", made / "world" / "recipe.toml", "--from", run / "M2", "-o", run.parent / "branch"],
}


def told(made, run, reader):
    """The one line in which a reader says what is wrong."""
    result = CliRunner().invoke(app, list(map(str, READERS[reader](made, run))))
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit), (result.stdout, result.exception)
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    return line


def edited(run):
    file = run / "M1" / "measured.json"
    facts = json.loads(file.read_text())
    file.write_text(json.dumps({**facts, "true_score": 9.9}, indent=1))


def swapped(run):
    """Records with the receipt that goes with them, of another run."""
    for name in ("judgments.jsonl", "judgments.receipt.json"):
        shutil.copy(run.parent / "other" / "M2" / name, run / "M2" / name)


def another_measurement(run):
    for name in ("measured.json", "measured.receipt.json"):
        shutil.copy(run.parent / "other" / "M1" / name, run / "M1" / name)


def another_model(run):
    shutil.rmtree(run / "M1")
    shutil.copytree(run.parent / "other" / "M1", run / "M1")


def gone(folder, *names):
    return lambda run: [(run / folder / name).unlink() for name in names]


DAMAGE = {
    "edited figures": (edited, "M1/measured.json: was changed or damaged"),
    "no figures": (gone("M1", "measured.json"), "M1/measured.json: is missing"),
    "no records and no receipt of them": (
        gone("M2", "judgments.jsonl", "judgments.receipt.json"),
        "M2/judgments.receipt.json: is missing, and M2 was measured after it was made",
    ),
    "no seed": (lambda run: shutil.rmtree(run / "seed"), "seed: is missing, and M0 was measured after it was made"),
    "no model between": (lambda run: shutil.rmtree(run / "M1"), "M1: is missing, and M2 was measured after it was made"),
    "another run's records": (swapped, "M2/judgments.receipt.json: is another than when M2 was measured"),
    "another run's figures": (another_measurement, "is another than when M"),
    "another run's model": (another_model, "is another than when M"),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("damage", DAMAGE)
def test_every_reader_names_it_and_the_same_command_mends_it(damage, reader, made, run):
    shutil.copytree(made / "other", run.parent / "other")
    work, says = DAMAGE[damage]
    work(run)
    line = told(made, run, reader)
    assert says in line or (reader == "from" and "M1: is not finished: it has no measured.json" in line)
    if reader == "status" and "another" not in damage:
        go(made / "world" / "recipe.toml", run)
        assert {name: digest for name, digest in tree(run).items() if "evaluations" not in name} == tree(made / "apart")


@pytest.mark.parametrize("reader", ["report", "export", "from"])
def test_one_judgment_forty_times_is_told_by_whoever_reads_judgments(reader, made, run):
    file = run / "M2" / "judgments.jsonl"
    file.write_text(file.read_text().splitlines(keepends=True)[0] * 40)
    assert "M2/judgments.jsonl: was changed or damaged" in told(made, run, reader)


def test_a_run_that_works_is_read_as_far_as_it_is_whole(made, run):
    """It may be making M1 again just now."""
    shutil.rmtree(run / "M1")
    lock = sr.records.lock_folder(run)
    try:
        result = CliRunner().invoke(app, ["status", str(run)])
        assert result.exit_code == 0 and "M1   to do" in result.stdout
    finally:
        lock.close()
    assert "M1: is missing" in told(made, run, "status")


def test_from_python_what_is_gone_is_told_too_and_no_empty_list(run):
    gone("M2", "judgments.jsonl", "judgments.receipt.json")(run)
    with pytest.raises(SelfRewardError, match=r"judgments\.receipt\.json: is missing"):
        sr.open(run)["M2"].judgments()


def test_a_receipt_over_figures_names_all_that_they_were_made_from_and_all_models_before(run):
    facts = read_signed(run / "M2" / "measured.receipt.json")
    receipts = {file.name.removesuffix(".receipt.json") for file in (run / "M2").glob("*.receipt.json")} - {"measured"}
    seeds = {file.name.removesuffix(".receipt.json") for file in (run / "seed").glob("*.receipt.json")}
    parts = {f"M2/{name}" for name in receipts} | {f"seed/{name}" for name in seeds}
    assert facts["made_from"].keys() == parts | {"M0/measured", "M1/measured"}


def test_figures_without_a_receipt_are_told_and_signed_by_the_same_command(made, run):
    for file in run.glob("*/measured.receipt.json"):
        file.unlink()
    edited(run)
    result = CliRunner().invoke(app, ["status", str(run)])
    assert result.exit_code == 0 and "Figures of M0, M1, M2 are as found" in result.stdout
    go(made / "world" / "recipe.toml", run)
    assert (run / "M1" / "measured.json").read_bytes() == (made / "run" / "M1" / "measured.json").read_bytes()
    assert "as found" not in CliRunner().invoke(app, ["status", str(run)]).stdout


def test_a_recipe_that_was_edited_is_told_and_a_damaged_log_of_another_attempt_is_not(made, run):
    def lines():
        result = CliRunner().invoke(app, ["status", str(run)])
        assert result.exit_code == 0
        return result.stdout

    go(made / "world" / "recipe.toml", run, measure__bootstrap=200)
    (run / "logs" / "attempt_1" / "config.json").write_bytes(b"\0")
    assert "of no attempt" not in lines()
    config = run / "config.json"
    config.write_text(config.read_text().replace('"bootstrap": 200', '"bootstrap": 300'))
    assert "config.json is the recipe of no attempt in logs" in lines()
    shutil.rmtree(run / "logs")
    assert "of no attempt" not in lines()


def test_a_recipe_that_is_refused_leaves_figures_and_receipts_as_they_are(made, run):
    """Another number of resamples alone changes figures; beside a change that is refused it changes nothing."""
    before = tree(run)
    with pytest.raises(SelfRewardError, match=r"dpo\.beta"):
        go(made / "world" / "recipe.toml", run, measure__bootstrap=200, dpo__beta=0.2)
    after = tree(run)
    assert {name for name in before if before[name] != after[name]} <= {"summary.json"}
    go(made / "world" / "recipe.toml", run, measure__bootstrap=200)
    assert CliRunner().invoke(app, ["status", str(run)]).exit_code == 0
    assert all(FolderReader(run / name).measured for name in ("M0", "M1", "M2"))


# evaluations


def test_an_edited_result_of_an_evaluation_is_not_shown(made, run):
    file = run / "M2" / "evaluations" / "reward-modeling" / "result.json"
    file.write_text(file.read_text().replace('"value": 1', '"value": 2'))
    assert "result.json: was changed or damaged" in told(made, run, "report")
    assert CliRunner().invoke(app, ["evaluate", str(run / "M2"), "--on", "reward-modeling"]).exit_code == 0
    assert CliRunner().invoke(app, ["report", str(run)]).exit_code == 0


def test_held_out_records_that_were_changed_are_not_evaluated_on(run):
    file = run / "seed" / "heldout_rankings.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:1]))
    result = CliRunner().invoke(app, ["evaluate", str(run / "M2"), "--on", "reward-modeling", "-o", str(run.parent / "new")])
    assert result.exit_code == 1 and "heldout_rankings.jsonl: was changed or damaged" in result.stderr


@pytest.mark.parametrize("way", ["RUN/M2", "RUN/M2/model", "a link", "here"])
@pytest.mark.parametrize("damage", ["weights", "receipt", "another's"])
def test_weights_are_looked_over_by_whatever_way_they_are_named(way, damage, made, run, monkeypatch):
    if damage == "weights":
        file = run / "M2" / "model" / "model.safetensors"
        file.write_bytes(file.read_bytes()[:-1] + b"\1")
    elif damage == "receipt":
        (run / "M2" / "model.receipt.json").unlink()
    else:
        shutil.rmtree(run / "M2" / "model")
        shutil.copytree(made / "other" / "M2" / "model", run / "M2" / "model")
        shutil.copy(made / "other" / "M2" / "model.receipt.json", run / "M2")
    (run.parent / "link").symlink_to(run / "M2" / "model")
    monkeypatch.chdir(run / "M2" / "model" if way == "here" else run.parent)
    named = {"RUN/M2": run / "M2", "RUN/M2/model": run / "M2" / "model", "a link": run.parent / "link", "here": "."}[way]
    result = CliRunner().invoke(app, ["push", str(named), "me/it", "-y"])
    assert result.exit_code == 1 and result.stderr.startswith("error: ") and "hub" not in result.stderr, result.stderr


# what is no file


def pipe(file):
    file.unlink(missing_ok=True)
    os.mkfifo(file)


def device(file):
    file.unlink(missing_ok=True)
    file.symlink_to("/dev/zero")


READ = [
    (name, reader)
    for name in ("config.json", "provenance.json", "M2/pairs.jsonl", "M2/pairs.receipt.json", "M1/measured.json")
    for reader in READERS
    if (name, reader)
    not in {(other, name) for name in ("status", "compare") for other in ("provenance.json", "M2/pairs.jsonl")}
    | {("provenance.json", "report")}
]
"""Files, and the readers of each."""


@pytest.mark.parametrize(("name", "reader"), READ)
@pytest.mark.parametrize("put", [pipe, device])
def test_a_pipe_or_a_device_in_the_place_of_a_file_is_one_line(put, name, reader, made, run):
    put(run / name)
    assert told(made, run, reader)


@pytest.mark.parametrize("put", [pipe, device])
@pytest.mark.parametrize("name", ["logs/status.json", "summary.json"])
def test_in_the_place_of_a_side_file_it_stops_no_command(name, put, made, run):
    put(run / name)
    for given in (["status", run], ["report", run], ["run", made / "world" / "recipe.toml", "-o", run]):
        result = CliRunner().invoke(app, list(map(str, given)))
        assert result.exit_code == 0, result.output


@pytest.mark.parametrize("put", [pipe, device])
@pytest.mark.parametrize("name", ["recipe.toml", "ift.jsonl", "prompts.jsonl", "base/model.safetensors", ".lock", "branch.json"])
def test_among_what_a_run_begins_with_it_is_one_line(name, put, made, tmp_path, monkeypatch):
    quiet(monkeypatch)
    recipe = make_world(tmp_path)
    (tmp_path / "run").mkdir()
    put(tmp_path / "run" / name if name in (".lock", "branch.json") else tmp_path / name)
    result = CliRunner().invoke(app, ["run", str(recipe), "-o", str(tmp_path / "run")])
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit), (result.exception, result.output)
    assert sum(line.startswith("error: ") for line in result.stderr.splitlines()) == 1


def test_a_signed_file_is_read_back_and_an_edited_one_is_not(tmp_path):
    (tmp_path / "a.json").write_text(signed({"files": {"b": "c"}}))
    assert read_signed(tmp_path / "a.json") == {"files": {"b": "c"}}
    (tmp_path / "a.json").write_text(signed({"files": {"b": "c"}}).replace('"c"', '"d"'))
    assert read_signed(tmp_path / "a.json") is None
