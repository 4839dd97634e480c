"""The command line: errors are one line with a way out and exit code 1; a full disk and SIGTERM are not tracebacks."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from selfreward.cli import app
from selfreward.cli.application import changed
from selfreward.engines import fake
from selfreward.errors import amount
from selfreward.steps import load_seed
from tinyrun import go, make_world, quiet, tree


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    quiet(monkeypatch)
    return make_world(tmp_path / "world")


@pytest.fixture(autouse=True)
def same_handler():
    """A command leaves the handlers of signals as they were."""
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    yield
    assert before == [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]


def run(recipe, folder, *more):
    return CliRunner().invoke(app, ["run", str(recipe), "-o", str(folder), *more])


def complaint(result):
    """The one line on stderr."""
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit), result.exception
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ") and result.stdout == ""
    return line


def test_a_run_ends_with_its_result_in_three_lines(recipe, tmp_path):
    result = run(recipe, tmp_path / "run", "--set", "dpo.beta=0.2", "--set", "judge.by=current")
    assert result.exit_code == 0 and len(result.stdout.splitlines()) == 3
    axes, watched, page = result.stdout.splitlines()
    by_name = {name: json.loads((tmp_path / "run" / name / "measured.json").read_text()) for name in ("M1", "M2")}
    own, right = (by_name["M2"][axis] for axis in ("instruction_following", "reward_modeling"))
    answer, _, axes = axes.partition(". ")
    assert answer == "Not known: no clear difference between M1 and M2"
    assert axes.startswith(f"M2: true score {own['score']['value']:.2f}, says ") and "; M1: true score " in axes
    assert f"pairwise accuracy {right['pairwise_accuracy']['value']:.1%} of {right['pairs']} pairs; M1" in axes
    assert watched == "not watched: a table [drift] lets monitors read every model"
    assert page == f"{tmp_path}/run/report/index.html"
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["dpo"]["beta"] == 0.2 and config["judge"]["by"] == "current"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("dpo.betta=0.2", r"--set dpo\.betta: unknown field dpo\.betta\. Did you mean beta\?$"),
        ("iteration=3", r"unknown field iteration\. Did you mean iterations\?$"),
        ("dpo.beta=-1", r"error: --set dpo\.beta: Input should be greater than 0\. It is -1; change it$"),
        (
            "judge.scale=[5, 1]",
            r"--set judge\.scale: judge: scale must go from .* Change one of ([a-z_]+, )*scale[a-z_, ]*$",
        ),
        ("measure.truth=mine", r"--set measure\.truth: is no package\.module:name\. It is 'mine'; change it$"),
        ("judge.samples=many", r"judge\.samples: .*integer.*It is 'many'"),
        ("=3", r"--set =3 has no name\. Write it as --set FIELD=3$"),
        ('data.ift={path = "x"', r'--set data\.ift: {path = "x" is no table\. Write it as a recipe does'),
        ("dpo.beta", r"--set dpo\.beta has no value\. Write it as --set dpo\.beta=VALUE$"),
        ("base=/nowhere", r"/nowhere: there is no such folder\. Give M0 as a folder with a transformers model$"),
        ("judge.rubric=/nowhere", r"/nowhere: cannot be read \(No such file or directory\)\. Set judge\.rubric to a text file$"),
        ("data.ift=/nowhere", r"data\.ift \(/nowhere\): cannot be read \(No such file or directory\)\. Give a file that exists$"),
        ("pairs.policy=selfreward.steps.pairs:nothing", r"steps\.pairs:nothing\): cannot be imported .*Name it as package"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused_in_one_line_before_a_model_is_asked(change, says, recipe, tmp_path):
    line = complaint(run(recipe, tmp_path / "run", "--set", change))
    assert re.search(says, line), line
    if "policy" not in change:
        assert not (tmp_path / "run").exists()


def test_a_value_is_json_or_as_in_a_recipe_or_text():
    said = ["a=0.2", "b=mine:f", 'c={"path": "x"}', 'd={path = "x", limit = 3}', "e=['x', 'y']", "f={2}[a-z]+", "g=x = 1"]
    assert changed(said) == {
        "a": 0.2, "b": "mine:f", "c": {"path": "x"}, "d": {"path": "x", "limit": 3}, "e": ["x", "y"],
        "f": "{2}[a-z]+", "g": "x = 1",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, r"cannot be read \(No such file"), (b"base = ", "is not TOML"), (b"\xff", "is not TOML"),
        (b"base = 1\n", "base: Input should be a valid string"),
    ],
)  # fmt: skip
def test_a_recipe_that_cannot_be_read_is_one_line(content, says, tmp_path):
    path = tmp_path / "recipe.toml"
    if content is not None:
        path.write_bytes(content)
    assert re.search(f"{re.escape(str(path))}: {says}", complaint(run(path, tmp_path / "run")))


@pytest.mark.parametrize(
    ("name", "line", "says"),
    [
        ("ift", '{"prompt": "a", "response": "b", "kind": "ift"}', "ift.jsonl:3: source: Field required (its columns are "),
        ("ift", '{"prompt": "a", "response": 5, "kind": "ift", "source": ""}', "ift.jsonl:3: response: Input should be a valid"),
        ("eft", '{"prompt": "a"', "eft.jsonl:3: not JSON (EOF while"),
        ("prompts", '{"text": "a", "source": "seed", "colour": 1}', "prompts.jsonl:3: colour: Extra inputs are not permitted."),
        ("rankings", '{"prompt": "a", "responses": ["b"], "ranks": [0, 1]}', "rankings.jsonl:3: Ranking: 1 resp"),
        ("prompts", b"\xff\xfe", "prompts.jsonl:3: is not UTF-8 text."),
    ],
)  # fmt: skip
def test_a_bad_line_of_a_seed_file_is_named_by_file_line_and_field(name, line, says, recipe, tmp_path):
    file = recipe.parent / f"{name}.jsonl"
    lines = file.read_bytes().splitlines()
    file.write_bytes(b"\n".join([*lines[:2], line if isinstance(line, bytes) else line.encode(), *lines[2:]]) + b"\n")
    assert f"error: {recipe.parent}/{says}" in complaint(run(recipe, tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_changed_recipe_is_one_line_and_its_command_pasted_into_a_shell_lets_the_run_go_on(recipe, tmp_path):
    assert run(recipe, tmp_path / "run").exit_code == 0
    line = complaint(run(recipe, tmp_path / "run", "--set", "prompts.max_words=140", "--set", "dpo.beta=0.2"))
    assert line.startswith("error: M2/model: the recipe changed (dpo.beta: 0.1 → 0.2; prompts.max_words: 150 → 140), so ")
    subprocess.run(line.split("no longer holds: ")[1], shell=True, check=True)
    assert run(recipe, tmp_path / "run", "--set", "prompts.max_words=140", "--set", "dpo.beta=0.2").exit_code == 0


def test_no_usable_pair_is_one_line(recipe, tmp_path):
    line = complaint(run(recipe, tmp_path / "run", "--set", "judge.pattern=nothing: (\\d)"))
    assert "M2/judgments.jsonl: no usable pair (fewer_than_two_scored " in line and "judge.pattern decides it" in line


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_at_any_batch_ends_the_run_with_its_code_and_one_line(number, code, recipe, tmp_path, monkeypatch):
    generate, calls = fake.FakeModel.generate, []

    def asking(self, batch):
        calls.append(len(batch))
        if len(calls) % 4 == 0:
            os.kill(os.getpid(), number)
        return generate(self, batch)

    monkeypatch.setattr(fake.FakeModel, "generate", asking)
    codes: list[int] = []
    while not codes or codes[-1] == code:
        result = run(recipe, tmp_path / "run")
        codes.append(result.exit_code)
        if result.exit_code == code:
            assert re.fullmatch(r"stopped in M\d/\w+ at a safe point; the same command goes on from here\n", result.stderr)
    assert codes[-1] == 0 and len(codes) > 4
    monkeypatch.setattr(fake.FakeModel, "generate", generate)
    go(recipe, tmp_path / "undisturbed")
    assert tree(tmp_path / "run") == tree(tmp_path / "undisturbed")


def test_a_second_ctrl_c_ends_the_run_at_once_and_it_goes_on_all_the_same(recipe, tmp_path, monkeypatch):
    def impatient(self, batch):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("went on")

    with monkeypatch.context() as patch:
        patch.setattr(fake.FakeModel, "generate", impatient)
        result = run(recipe, tmp_path / "run")
    assert (result.exit_code, result.stderr, result.stdout) == (130, "stopped; the same command goes on from here\n", "")
    assert run(recipe, tmp_path / "run").exit_code == 0
    go(recipe, tmp_path / "undisturbed")
    assert tree(tmp_path / "run") == tree(tmp_path / "undisturbed")


INTERRUPTED = {
    "selfreward.reports.write_report": ["report", "run"],
    "selfreward.reports.describe_status": ["status", "run"],
    "selfreward.reports.export_run": ["export", "run"],
    "selfreward.reports.push_folder": ["push", "run/M1", "me/it"],
    "selfreward.reports.compare_runs": ["compare", "runs", "a", "b"],
    "selfreward.measure.find_kind": ["evaluate", "run/M1", "--on", "reward-modeling"],
    "selfreward.measure.find_subject": ["compare", "models", "a", "b"],
    "selfreward.rundir.open_run": ["calibrate", "run"],
    "selfreward.engines.convert_gguf": ["convert", "model.gguf", "here"],
    "selfreward.checks.check": ["check", "micro"],
    "selfreward.lab.run_lab": ["lab", "here"],
    "selfreward.lab.bench": ["bench", "arms", "a", "--out", "here"],
    "selfreward.lab.reproduce.figures.reproduce": ["reproduce", "here"],
    "selfreward.cli.chat.converse": ["chat", "run/M1"],
    "selfreward.recipe.shipped_recipes": ["recipes"],
    "selfreward.recipe.load_recipe": ["run", "micro"],
    "selfreward.api.execute": ["demo", "-o", "here"],
}
"""What a command calls → the command."""


def words(command, before=()):
    """Every command, as the words that call it."""
    if not hasattr(command, "commands"):
        return {before}
    return {found for name, part in command.commands.items() for found in words(part, (*before, name))}


def test_ctrl_c_ends_every_command_with_one_line_and_130(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for target, command in INTERRUPTED.items():
        with monkeypatch.context() as patch:
            patch.setattr(target, lambda *given, **more: os.kill(os.getpid(), signal.SIGINT) or time.sleep(9))
            if target == "selfreward.api.execute":
                patch.setattr(target, lambda *given: os.kill(os.getpid(), signal.SIGINT) or os.kill(os.getpid(), signal.SIGINT))
            result = CliRunner().invoke(app, command)
        assert result.exit_code == 130 and result.stderr.startswith("stopped"), (command, result.output, result.exception)
        assert len(result.stderr.splitlines()) == 1
    tried = {tuple(command) for command in INTERRUPTED.values()}
    bench = {
        ("bench", way) for way in ("sweep", "training", "profile", "trainers", "engines", "overhead")
    }  # which are one piece of code
    assert [
        name for name in words(typer.main.get_command(app)) - bench if not any(one[: len(name)] == name for one in tried)
    ] == []


def test_ctrl_c_at_a_question_sends_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr("selfreward.reports.push_folder", lambda *given: given[-1]("what it is"))
    monkeypatch.setattr("typer.confirm", lambda text: (_ for _ in ()).throw(typer.Abort()))
    result = CliRunner().invoke(app, ["push", str(tmp_path), "me/it"])
    assert (result.exit_code, result.stderr) == (130, "stopped\n")


@pytest.mark.parametrize(
    "command",
    [["status"], ["report"], ["export"], ["chat"], ["compare", "runs", "other"], ["run", "--from", "no/M2", "-o", "n", "micro"]],
)  # fmt: skip
def test_a_folder_that_is_not_there_is_said_not_to_be_there(command, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    line = complaint(CliRunner().invoke(app, command if "--from" in command else [*command, "no"]))
    assert ": there is no such folder. " in line and "config.json" not in line
    assert not list(tmp_path.iterdir())


def test_a_file_in_the_place_of_a_run_is_said_to_be_one(tmp_path):
    (tmp_path / "notes.md").write_text("")
    for command in (["status"], ["report"], ["export"]):
        assert "is a file, and no run folder" in complaint(CliRunner().invoke(app, [*command, str(tmp_path / "notes.md")]))


def test_the_laboratory_asks_where_to_write(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for command in (
        ["lab"],
        ["bench", "arms"],
        ["bench", "training"],
        ["bench", "profile"],
        ["bench", "sweep", "4"],
        ["bench", "overhead", "micro"],
    ):
        assert CliRunner().invoke(app, command).exit_code == 2
    assert not list(tmp_path.iterdir())
    asked = []
    monkeypatch.setattr("selfreward.lab.run_lab", lambda *given: asked.append(given[:2]) or given[0])
    assert CliRunner().invoke(app, ["lab", "there"]).exit_code == 0
    assert asked == [(Path("there"), Path("there/under-way"))]


def test_sigterm_before_the_first_stage_is_not_lost(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr("selfreward.api.load_seed", lambda *given: os.kill(os.getpid(), signal.SIGTERM) or load_seed(*given))
    assert run(recipe, tmp_path / "run").exit_code == 143


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_up_at_any_write_is_one_line_and_with_room_made_the_run_goes_on(code, recipe, tmp_path, monkeypatch):
    go(recipe, tmp_path / "undisturbed")
    complaints, room = [], 3
    while True:
        left = [room]

        def full(handle, left=left):
            left[0] -= 1
            if left[0] < 0:
                raise OSError(code, os.strerror(code))

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            result = run(recipe, tmp_path / "run")
        if result.exit_code == 0:
            break
        complaints.append(complaint(result))
        room += 7
    assert len(complaints) > 5
    says = "the disk is full. Nothing written before is lost: make room, then run the same command"
    assert all(line.endswith(says) for line in complaints)
    assert tree(tmp_path / "run") == tree(tmp_path / "undisturbed")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MiB, where mounting is allowed."""
    at = tmp_path / "small"
    at.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(at)], capture_output=True, check=False)
    if made.returncode:
        pytest.skip(f"cannot mount a small file system: {made.stderr.decode().strip()}")
    yield at
    subprocess.run(["umount", str(at)], check=True)


def test_a_disk_that_is_really_full_is_one_line_and_with_room_made_the_run_goes_on(recipe, tmp_path, small_disk):
    go(recipe, tmp_path / "undisturbed")
    ballast, complaints = small_disk / "ballast", []
    for free in range(12, 2048, 16):
        ballast.unlink(missing_ok=True)
        taken = max(0, shutil.disk_usage(small_disk).free - free * 1024)
        ballast.write_bytes(b"x" * taken)
        result = run(recipe, small_disk / "run")
        if result.exit_code == 0:
            break
        complaints.append(complaint(result))
    ballast.unlink()
    assert run(recipe, small_disk / "run").exit_code == 0
    assert len(complaints) > 3 and all(": the disk is full. " in line for line in complaints)
    assert tree(small_disk / "run") == tree(tmp_path / "undisturbed")


def test_a_bug_keeps_its_traceback(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr("selfreward.api.load_seed", lambda *given: 1 / 0)
    assert isinstance(run(recipe, tmp_path / "run").exception, ZeroDivisionError)


def test_help_names_the_commands():
    text = CliRunner().invoke(app, ["--help"]).stdout
    assert all(name in text for name in ("demo", "run", "status", "report", "chat"))


def test_a_count_agrees_with_its_noun():
    counted = [amount(n, "try", "tries") for n in (0, 1, 2)] + [amount(1000, "step")]
    assert counted == ["no tries", "1 try", "2 tries", "1,000 steps"]


@pytest.mark.parametrize(
    "command",
    ["status R", "report R", "export R", "compare runs R other", "run -o R", "run --from R/M2 -o X",
     "evaluate R/M3 --on rm-bench",
     "evaluate R/SFT --on reward-modeling", "chat R/M3"],
)  # fmt: skip
def test_a_folder_that_is_not_there_is_said_not_to_be_there_and_nothing_is_written(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, command.replace("R", "nosuch").split())
    assert result.exit_code == 1
    assert re.fullmatch(r"error: nosuch(/\w+)?: there is no such folder\. Give .+\n", result.output), result.output
    assert not list(tmp_path.iterdir())
