"""Killed anywhere, a run goes on and ends with the bytes of one that nobody disturbed, and asks nothing twice."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from selfreward.engines import fake
from selfreward.errors import Stopped
from tinyrun import PYTHONPATH, Killed, Moments, count_requests, go, kill_at, make_world, quiet, tree


@pytest.fixture
def memory(tmp_path):
    """A folder in memory where there is one: these tests write thousands of files."""
    where = tempfile.mkdtemp(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else tmp_path)
    yield Path(where)
    shutil.rmtree(where)


@pytest.fixture
def world(memory, monkeypatch):
    """(recipe, files of an undisturbed run, requests that it asked)."""
    quiet(monkeypatch)
    recipe = make_world(memory / "world")
    with monkeypatch.context() as patch:
        asked = count_requests(patch)
        go(recipe, memory / "undisturbed")
    return recipe, tree(memory / "undisturbed"), asked


@pytest.fixture
def moments(world, memory, monkeypatch):
    """Every state of the folder in the course of a run."""
    with monkeypatch.context() as patch:
        moments = Moments(patch, memory / "run", memory / "copies")
        go(world[0], memory / "run")
    assert tree(memory / "run") == world[1]
    return moments


def test_killed_at_any_moment_a_run_ends_with_the_same_bytes_and_asks_again_only_the_batch_under_way(
    moments, world, memory, monkeypatch
):
    recipe, undisturbed, requests = world
    kinds = {what for what, _, _ in moments.kept}
    assert len(moments.kept) > 150
    assert {"asking", "training", "before fsync", "after replace", "after rename", "after unlink", "after rmtree"} <= kinds
    for what, at, before in moments.kept:
        with monkeypatch.context() as patch:
            asked = count_requests(patch)
            go(recipe, at / "killed")
        assert tree(at / "killed") == undisturbed, what
        twice = before + asked - requests
        assert (before + asked).keys() == requests.keys()
        assert twice.total() <= (fake.BATCH if what == "asking" else 0) and set(twice.values()) <= {1}, what


def test_after_a_power_cut_that_loses_all_that_was_not_synced_a_run_ends_with_the_same_bytes(moments, world):
    recipe, undisturbed, _ = world
    cuts = [at / "cut" for what, at, _ in moments.kept if what.startswith("after")]
    assert len(cuts) > 50
    for cut in cuts:
        go(recipe, cut)
        assert tree(cut) == undisturbed


PLACES = [(os, "fsync"), (Path, "replace"), (Path, "rename"), (Path, "unlink"), (fake.FakeModel, "generate")]
"""Changes of files, and questions: where a run is killed."""


@pytest.mark.parametrize("every", [13, 20])
def test_a_run_killed_over_and_over_still_comes_to_its_end_with_the_same_bytes(every, world, memory, monkeypatch):
    recipe, undisturbed, _ = world
    for attempt in range(100):
        try:
            with monkeypatch.context() as patch:
                kill_at(patch, every * (attempt + 1), PLACES)  # going over what is done takes longer and longer
                go(recipe, memory / "run")
            break
        except Killed:
            continue
    assert attempt >= 5
    assert tree(memory / "run") == undisturbed


def run_in_a_process(recipe, folder, before):
    """`selfreward run` in a process of its own, which executes `before` first."""
    code = f"{before}\nfrom selfreward.cli import app\napp(['run', {str(recipe)!r}, '-o', {str(folder)!r}])"
    environment = {**os.environ, "PYTHONPATH": PYTHONPATH}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120, check=False)


AT_THE_FIFTH_BATCH = """
import os, signal
from selfreward.engines.fake import FakeModel
generate, calls = FakeModel.generate, []
def dying(self, batch):
    calls.append(1)
    if len(calls) == 5:
        os.kill(os.getpid(), signal.{signal})
    return generate(self, batch)
FakeModel.generate = dying
"""
IN_TRAINING = """
import os, signal
from selfreward.engines import fake
def dying(tensors, file):
    open(file, "w").write("half")
    os.kill(os.getpid(), signal.SIGKILL)
fake.save_file = dying
"""


@pytest.mark.parametrize("before", [AT_THE_FIFTH_BATCH.format(signal="SIGKILL"), IN_TRAINING])
def test_a_process_that_was_really_killed_leaves_a_run_that_goes_on(before, world, memory):
    recipe, undisturbed, _ = world
    killed = run_in_a_process(recipe, memory / "run", before)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert 0 < len(tree(memory / "run")) < len(undisturbed)
    go(recipe, memory / "run")
    mine = {name: digest for name, digest in tree(memory / "run").items() if name != "provenance.json"}
    assert mine == {name: digest for name, digest in undisturbed.items() if name != "provenance.json"}


def test_sigterm_ends_a_process_with_143_and_one_line_and_the_run_goes_on(world, memory):
    recipe, undisturbed, _ = world
    stopped = run_in_a_process(recipe, memory / "run", AT_THE_FIFTH_BATCH.format(signal="SIGTERM"))
    assert stopped.returncode == 143
    says = "stopped in M0/ranking_judgments at a safe point; the same command goes on from here"
    assert stopped.stderr.splitlines()[-1] == says
    assert "Traceback" not in stopped.stderr
    go(recipe, memory / "run")
    assert {**tree(memory / "run"), "provenance.json": ""} == {**undisturbed, "provenance.json": ""}


def test_asked_to_end_at_any_safe_point_a_run_ends_there_and_loses_no_answer(world, memory, monkeypatch):
    recipe, undisturbed, requests = world
    asked, stops = count_requests(monkeypatch), set()
    for _ in range(30):
        answers = iter([False] * 4 + [True] * 100)
        try:
            go(recipe, memory / "run", stopping=lambda: next(answers))  # noqa: B023
            break
        except Stopped as stop:
            stops.add(str(stop))
    assert tree(memory / "run") == undisturbed
    assert asked == requests
    assert len(stops) > 2
