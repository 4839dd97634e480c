"""Only "would block" means taken; where a file system knows no flock a lease keeps others out, and lets them in again."""

import errno
import fcntl
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import selfreward
from selfreward.errors import SelfRewardError
from selfreward.recipe import load_recipe
from selfreward.records import LOCK, alone, is_held, lock_folder, locks, made_beside, undisturbed
from selfreward.reports import describe_status
from selfreward.rundir import branch_off
from tinyrun import go, make_world, quiet, tree

NO_FLOCK = [errno.ENOTSUP, errno.ENOSYS, errno.ENOLCK, errno.EINVAL]


@pytest.fixture
def no_flock(monkeypatch):
    """The file system of a Lustre that is mounted as by default."""

    def refuse(code):
        def flock(file, how):
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(fcntl, "flock", flock)

    refuse(errno.ENOSYS)
    return refuse


def leases(folder):
    return sorted(Path(folder).glob(f"{LOCK}-*"))


def plant(folder, host=None, pid=1, age=0.0):
    """A lease of another process."""
    folder.mkdir(exist_ok=True)
    facts = {"host": host or socket.gethostname(), "pid": pid, "at": time.time() - age}
    (folder / LOCK).touch()
    (folder / f"{LOCK}-elsewhere-1-00").write_text(json.dumps(facts))


def dead():
    """The id of a process that has ended."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


@pytest.mark.parametrize("code", NO_FLOCK)
def test_a_run_on_a_file_system_without_flock_is_done_under_a_lease_and_says_so_in_one_line(
    code, tmp_path, no_flock, caplog, monkeypatch
):
    quiet(monkeypatch)
    recipe, run = make_world(tmp_path / "world"), tmp_path / "run"
    go(recipe, tmp_path / "as_usual")
    no_flock(code)
    caplog.clear()
    go(recipe, run)
    (line,) = [record.getMessage() for record in caplog.records if record.name.startswith("selfreward")]
    assert line.startswith(f"{run}: the file system has no flock, so a lease keeps others out")
    assert describe_status(run).splitlines()[0] == f"{run}: finished" and not leases(run)
    config = {"provenance.json"}
    assert {k: v for k, v in tree(run).items() if k not in config} == {
        k: v for k, v in tree(tmp_path / "as_usual").items() if k not in config
    }


@pytest.mark.parametrize("code", [errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES])
def test_would_block_is_taken(code, tmp_path, no_flock):
    no_flock(code)
    with pytest.raises(SelfRewardError, match="another process is working in this run folder"):
        lock_folder(tmp_path)
    (tmp_path / LOCK).touch()
    assert is_held(tmp_path / LOCK) and not leases(tmp_path)


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE])
def test_any_other_error_of_the_lock_is_neither(code, tmp_path, no_flock):
    no_flock(code)
    for work in (lock_folder, lambda folder: is_held(folder / LOCK)):
        with pytest.raises(OSError) as caught:
            work(tmp_path)
        assert caught.value.errno == code


def test_a_second_process_is_refused_while_the_lease_is_held_and_its_holder_is_named(tmp_path, no_flock):
    held = lock_folder(tmp_path)
    assert is_held(tmp_path / LOCK)
    with pytest.raises(SelfRewardError, match=rf"another process is working in this run folder \(process {os.getpid()} on "):
        lock_folder(tmp_path)
    with pytest.raises(SelfRewardError, match=r"a process is working in it \(process "), undisturbed(tmp_path):
        pass
    assert len(leases(tmp_path)) == 1
    held.close()
    assert not is_held(tmp_path / LOCK)
    with undisturbed(tmp_path), pytest.raises(SelfRewardError):
        lock_folder(tmp_path)
    lock_folder(tmp_path).close()
    assert not leases(tmp_path)


@pytest.mark.parametrize("flock", [True, False])
def test_whose_lease_is_respected(flock, tmp_path, monkeypatch, request):
    if not flock:
        request.getfixturevalue("no_flock")
    for number, (lease, respected) in enumerate(
        [
            ({"host": "elsewhere", "age": 1}, True),
            ({"host": "elsewhere", "age": locks.STALE - 5}, True),
            ({"host": "elsewhere", "age": locks.STALE + 5}, False),
            ({"pid": os.getppid(), "age": 1}, True),
            ({"pid": os.getppid(), "age": locks.STALE + 5}, False),  # another process that was given the number
            ({"pid": dead(), "age": 1}, False),
        ]
    ):
        folder = tmp_path / str(number)
        plant(folder, **lease)
        assert is_held(folder / LOCK) == respected, lease
        if respected:
            with pytest.raises(SelfRewardError, match="another process is working"):
                lock_folder(folder)
            assert len(leases(folder)) == 1
        else:
            lock_folder(folder).close()
            assert len(leases(folder)) == flock  # who holds a lease of its own removes what is nobody's


def test_a_lease_that_is_not_written_yet_counts_from_when_it_was_made(tmp_path, no_flock):
    lease = tmp_path / f"{LOCK}-elsewhere-1-00"
    (tmp_path / LOCK).touch()
    lease.touch()
    assert is_held(tmp_path / LOCK)
    os.utime(lease, (0, 0))
    assert not is_held(tmp_path / LOCK)


def test_of_many_that_begin_at_once_at_most_one_gets_in(tmp_path, no_flock):
    inside, most, together = [], [], threading.Barrier(8)

    def begin():
        together.wait()
        try:
            held = lock_folder(tmp_path)
        except SelfRewardError:
            return
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.02)
        inside.pop()
        held.close()

    for _ in range(10):
        threads = [threading.Thread(target=begin) for _ in range(8)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
    assert set(most) <= {1} and not leases(tmp_path)


def test_a_lease_is_refreshed_and_goes_along_where_its_folder_is_renamed(tmp_path, no_flock, monkeypatch):
    monkeypatch.setattr(locks, "REFRESHED", 0.01)
    held = lock_folder(tmp_path / "a")
    (tmp_path / "a").rename(tmp_path / "b")
    (lease,) = leases(tmp_path / "b")
    first = json.loads(lease.read_text())["at"]
    until = time.monotonic() + 10
    while json.loads(lease.read_text() or '{"at": 0}')["at"] <= first:
        assert time.monotonic() < until
        time.sleep(0.005)
    held.close()
    assert not leases(tmp_path / "b")


def test_who_slept_past_its_lease_writes_nothing_more(tmp_path, no_flock, monkeypatch):
    quiet(monkeypatch)
    recipe, run = make_world(tmp_path / "world"), tmp_path / "run"
    from selfreward.loop import pick_pairs

    def sleeping(*given):
        for lease in leases(run):
            facts = json.loads(lease.read_text())
            lease.write_text(json.dumps({**facts, "at": facts["at"] - locks.STALE}))
        assert not is_held(run / LOCK)
        others.append(lock_folder(run))
        return pick_pairs(*given)

    others = []
    monkeypatch.setattr("selfreward.loop.pick_pairs", sleeping)
    with pytest.raises(SelfRewardError, match="did not refresh its lease for 5 min, and another process works here now"):
        go(recipe, run)
    assert not (run / "M2" / "pairs.jsonl").exists() and len(leases(run)) == 1
    others[0].close()
    monkeypatch.undo()
    quiet(monkeypatch)
    go(recipe, run)


def test_a_branch_is_made_where_there_is_no_flock(tmp_path, no_flock, monkeypatch):
    quiet(monkeypatch)
    recipe = make_world(tmp_path / "world")
    go(recipe, tmp_path / "run")
    branch_off(load_recipe(recipe, {"iterations": 2}), tmp_path / "run" / "M2", tmp_path / "new")
    go(recipe, tmp_path / "new", iterations=2)
    assert not leases(tmp_path / "run") and not leases(tmp_path / "new")


def test_a_run_that_cannot_be_written_to_is_branched_without_a_lease_unless_somebody_holds_one(tmp_path, no_flock, monkeypatch):
    def read_only(lock):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    (tmp_path / LOCK).touch()
    monkeypatch.setattr(locks, "Leased", read_only)
    with undisturbed(tmp_path):
        assert not leases(tmp_path)
    plant(tmp_path, host="elsewhere")
    with pytest.raises(SelfRewardError, match="process 1 on elsewhere"), undisturbed(tmp_path):
        pass


@pytest.mark.parametrize("flock", [True, False])
def test_who_must_be_alone_waits_for_the_other(flock, tmp_path, monkeypatch, request):
    if not flock:
        request.getfixturevalue("no_flock")
    monkeypatch.setattr(locks, "LOOK", 0.01)
    order = []

    def second():
        with alone(tmp_path / "lock"):
            order.append("second")

    with alone(tmp_path / "lock"):
        waiting = threading.Thread(target=second)
        waiting.start()
        time.sleep(0.1)
        order.append("first")
    waiting.join()
    assert order == ["first", "second"]


def test_flock_is_asked_in_one_module_alone():
    package = Path(selfreward.__path__[0])
    assert [file.stem for file in package.rglob("*.py") if "fcntl" in file.read_text(encoding="utf-8")] == ["locks"]


@pytest.mark.parametrize("put", ["a folder", "a link"])
def test_what_no_killed_attempt_left_is_not_removed_for_a_new_folder(put, tmp_path):
    mine = tmp_path / ("new.partial" if put == "a folder" else "elsewhere")
    mine.mkdir()
    (mine / "precious").touch()
    if put == "a link":
        (mine / LOCK).touch()  # a run of its own
        (tmp_path / "new.partial").symlink_to(mine)
    with pytest.raises(SelfRewardError, match="no killed attempt left it"), made_beside(tmp_path / "new"):
        pass
    assert (mine / "precious").exists() and not (tmp_path / "new").exists()


def test_what_a_killed_attempt_left_is_removed_for_a_new_folder(tmp_path):
    left = tmp_path / "new.partial"
    left.mkdir()
    for name in (LOCK, "half"):
        (left / name).touch()
    with made_beside(tmp_path / "new") as folder:
        (folder / "whole").touch()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["whole"]
