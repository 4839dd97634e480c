"""Errors of the operating system are one line with file and way out, a run goes on to the same bytes; side files stop nothing."""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from importlib import import_module
from pathlib import Path

import pytest
from safetensors.numpy import save_file
from typer.testing import CliRunner

from selfreward.cli import app
from selfreward.cli.system import KNOWN, system_error
from selfreward.engines import fake
from selfreward.records import write_whole
from selfreward.reports import export, export_run, write_report
from selfreward.rundir import open_run
from tinyrun import Killed, go, make_world, quiet, tree

CODES = [
    errno.EROFS, errno.EACCES, errno.EIO, errno.EFBIG, errno.EMFILE, errno.ENAMETOOLONG, errno.EISDIR, errno.ESTALE, errno.EBUSY,
    errno.ETIMEDOUT,
]  # fmt: skip


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    quiet(monkeypatch)
    return make_world(tmp_path / "world")


@pytest.fixture
def whole(recipe, tmp_path):
    """A finished run."""
    go(recipe, tmp_path / "run")
    return tmp_path / "run"


def command(*given):
    return CliRunner().invoke(app, list(map(str, given)))


def complaint(result):
    """The one line on stderr."""
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit), result.exception
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line


def failing(monkeypatch, code, allowed):
    """Let every fsync after the first `allowed` fail, as that is where a disk tells of what it could not do."""
    left = [allowed]

    def fsync(handle):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.parametrize("code", CODES)
def test_an_error_of_the_system_at_any_write_is_one_line_with_the_file_and_the_run_goes_on_to_the_same_bytes(
    code, recipe, whole, tmp_path, monkeypatch
):
    run, complaints = tmp_path / "again", []
    for allowed in range(3, 400, 29):
        with monkeypatch.context() as patch:
            failing(patch, code, allowed)
            result = command("run", recipe, "-o", run)
        if result.exit_code == 0:
            break
        complaints.append(complaint(result))
    assert len(complaints) > 2 and result.exit_code == 0
    what = KNOWN[code][0] if code in KNOWN else os.strerror(code)
    assert all(re.match(rf"error: ({re.escape(str(run))}\S*|run folder): {re.escape(what)}\. ", line) for line in complaints)
    assert sum(str(run) in line for line in complaints) >= len(complaints) - 2
    assert tree(run) == tree(whole)


@pytest.mark.parametrize("name", ["run", "status", "report", "export", "evaluate", "chat", "push", "check", "compare runs"])
@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO, errno.EMFILE])
def test_every_command_tells_of_an_error_of_the_system_in_one_line(name, code, recipe, whole, monkeypatch):
    rest = {
        "run": ["-o", whole],
        "evaluate": ["--on", "reward-modeling"],
        "push": ["me/it", "-y"],
        "compare runs": [whole.parent / "b"],
    }
    target = {"run": recipe, "check": recipe, "evaluate": whole / "M2", "chat": whole / "M2", "push": whole / "M2"}

    import_module("selfreward.cli.chat")  # transformers looks at files when it loads

    def refuse(*given, **named):
        raise OSError(code, os.strerror(code), "the file")

    for way in ("read_text", "exists", "is_file", "is_dir"):
        monkeypatch.setattr(Path, way, refuse)
    line = complaint(command(*name.split(), target.get(name, whole), *rest.get(name, [])))
    assert (KNOWN[code][0] in line and "the file" in line) or "cannot be read" in line, line


def limited(limit, value, *arguments):
    """A command in a process with a limit of the system; returns its exit code and what it said."""
    script = f"import resource; resource.setrlimit(resource.{limit}, ({value}, {value})); from selfreward.cli import main; main()"
    given = [sys.executable, "-c", script, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(given, capture_output=True, text=True, env=environment, check=False)
    return done.returncode, done.stderr.splitlines()[-1]


def test_a_file_larger_than_the_system_allows_is_one_line_and_goes_on_without_the_limit(recipe, whole, tmp_path):
    code, line = limited("RLIMIT_FSIZE", 2000, "run", recipe, "-o", tmp_path / "new")
    assert code == 1 and re.match(rf"error: {tmp_path}/new/\S+: it is larger than a file may be here\. Nothing written", line), (
        line
    )
    go(recipe, tmp_path / "new")
    assert tree(tmp_path / "new") == tree(whole)


def test_too_many_open_files_are_one_line(recipe, tmp_path):
    code, line = limited("RLIMIT_NOFILE", 3, "status", recipe)
    assert code == 1 and ("too many files are open" in line or "Too many open files" in line), line


@pytest.mark.parametrize("arguments", [("status",), ("report",), ("export",), ("check",), ("run",)])
def test_a_name_that_is_too_long_is_one_line(arguments, recipe):
    assert "ame" in (line := complaint(command(*arguments, "n" * 300))) and "too long" in line


class OutOfMemoryError(RuntimeError):
    """As torch names its own."""


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"
        ),
        OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
    ],
)
def test_memory_that_runs_out_in_a_training_is_one_line_with_what_to_lower_and_the_run_goes_on(error, recipe, whole, tmp_path):
    with pytest.MonkeyPatch.context() as patch:

        def train(*given):
            raise error

        patch.setattr(fake.FakeTrainer, "_train", train)
        line = complaint(command("run", recipe, "-o", tmp_path / "new"))
    assert line.startswith("error: memory: there is not enough (") and "device_batch_size" in line
    go(recipe, tmp_path / "new")
    assert tree(tmp_path / "new") == tree(whole)


def test_torch_says_that_memory_ran_out_in_words_that_are_known():
    import torch

    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert system_error(caught.value, "").where == "memory"


def test_what_libraries_written_in_other_languages_say_is_known(tmp_path):
    """safetensors writes in Rust, and names no file; Arrow in C++."""
    import pyarrow
    from pyarrow import parquet

    (tmp_path / "folder").mkdir()
    for error, write in [
        (Exception, lambda: save_file({}, tmp_path / "folder")),
        (OSError, lambda: parquet.write_table(pyarrow.table({"a": [1]}), tmp_path / "folder")),
    ]:
        with pytest.raises(error) as caught:
            write()
        known = system_error(caught.value, "run folder")
        assert known.what == KNOWN[errno.EISDIR][0], caught.value
    reason = RuntimeError("unable to write")
    reason.__cause__ = OSError(errno.EFBIG, "File too large", "weights")
    assert system_error(reason, "").where == "weights"


@pytest.mark.parametrize("code", [errno.ETIMEDOUT, errno.ENOTCONN, errno.ESHUTDOWN, errno.EUCLEAN, errno.EBADMSG])
def test_a_file_system_that_is_away_or_damaged_is_told_where_no_file_is_named(code):
    """ESHUTDOWN is what Lustre says to a client that it put out, to Python a broken pipe; the last two are XFS's and ext4's."""
    assert system_error(OSError(code, os.strerror(code)), "run folder").where == "run folder"


def test_a_current_folder_that_is_gone_is_one_line(tmp_path, monkeypatch):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    here.rmdir()
    with pytest.raises(FileNotFoundError) as caught:
        Path.cwd()
    assert system_error(caught.value, "run folder").where == "the current folder"


def test_a_bug_keeps_its_traceback():
    bug = KeyError("x")
    bug.__context__ = FileNotFoundError(errno.ENOENT, "No such file", "y")
    for error in (
        bug,
        ValueError("errno"),
        OSError("plain"),
        ConnectionRefusedError(errno.ECONNREFUSED, "refused"),
        BrokenPipeError(errno.EPIPE, ""),
    ):
        assert system_error(error, "") is None


# side files


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"\0" * 50, b"", b"[]", b"{", None])
def test_a_damaged_status_stops_no_command(content, recipe, whole):
    file = whole / "logs" / "status.json"
    file.unlink()
    file.mkdir() if content is None else file.write_bytes(content)
    for name in ("status", "report", "export"):
        assert command(name, whole).exit_code == 0
    assert command("run", "-o", whole).exit_code == 0


@pytest.mark.parametrize("content", [b"\0" * 90, b"\xff", b"{", b"[]", b'{"models": 5}', None])
def test_a_damaged_summary_is_written_anew(content, recipe, whole):
    before = (whole / "summary.json").read_bytes()
    (whole / "summary.json").unlink() if content is None else (whole / "summary.json").write_bytes(content)
    assert command("run", "-o", whole).exit_code == 0
    assert (whole / "summary.json").read_bytes() == before


@pytest.mark.parametrize("content", [b"\xff", b"\0" * 90, b'{"step": 1, "loss": 0.', b"5\n", b'{"step": "x", "loss": 1}\n'])
def test_metrics_that_are_torn_are_named_on_the_page_and_left_out(content, whole, monkeypatch):
    (whole / "M2" / "model" / "metrics.jsonl").write_bytes(content)
    assert command("report", whole).exit_code == 0
    page = (whole / "report" / "index.html").read_text()
    assert "<b>Left out of this page</b>, for they are damaged: M2/model/metrics.jsonl." in page


@pytest.mark.parametrize("content", [b"\xff", b"{", b"[]", b'{"id": "0", "dropped": {}, "records": 1}', b"{}"])
def test_receipts_of_the_seed_that_are_torn_are_named_on_the_page_and_left_out(content, whole):
    (whole / "seed" / "ift.receipt.json").write_bytes(content)
    assert command("report", whole).exit_code == 0
    page = (whole / "report" / "index.html").read_text()
    assert "damaged: seed/ift.receipt.json." in page and "EFT examples" in page


def test_two_reports_at_once_do_not_collide(whole, monkeypatch):
    write_report(whole)
    before = {file.name: re.sub(r"\d+\.\d+ s", "", file.read_text()) for file in (whole / "report").glob("*.html")}
    failures = []

    def report():
        try:
            for _ in range(5):
                write_report(whole)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=report) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert not failures
    assert {file.name for file in (whole / "report").iterdir()} - {".lock"} == set(before)


def test_reports_that_did_not_wait_would_be_caught(whole, monkeypatch):
    """Both write beside the same page: who renames second finds nothing."""
    turn = threading.Barrier(2, timeout=20)
    failures = []
    replace = Path.replace

    def together(self, target):
        turn.wait()
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", together)

    def write():
        try:
            write_whole(whole / "page", "x")
        except OSError as error:
            failures.append(error)

    threads = [threading.Thread(target=write) for _ in range(2)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len(failures) == 1


@pytest.mark.parametrize("after", range(1, 7))
def test_an_export_that_is_killed_can_be_repeated_and_leaves_nothing_half(after, whole, tmp_path, monkeypatch):
    export_run(whole, tmp_path / "straight")
    real, written = export._write, []

    def dying(*given):
        if len(written) == after:
            raise Killed
        written.append(given)
        return real(*given)

    with monkeypatch.context() as patch:
        patch.setattr(export, "_write", dying)
        with pytest.raises(Killed):
            export_run(whole, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert command("export", whole, "--to", tmp_path / "out").exit_code == 0
    assert tree(tmp_path / "out") == tree(tmp_path / "straight")
    assert not (tmp_path / "out.partial").exists() and not (tmp_path / "out" / ".lock").exists()


def test_an_export_that_fails_leaves_nothing(whole, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        failing(patch, errno.EIO, 2)
        line = complaint(command("export", whole, "--to", tmp_path / "out"))
    assert "input/output error" in line
    assert not list(tmp_path.glob("out*"))
    shutil.rmtree(whole / "report", ignore_errors=True)
    assert json.loads((whole / "config.json").read_text()) and open_run(whole).finished
