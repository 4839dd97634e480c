"""The command lines of studies: one line for what users can put right, and for Ctrl-C."""

import os
import signal
import subprocess
import sys
import time

import pytest

from selfreward.lab.command import obeyed
from selfreward.lab.micro.study import seeds_from


def test_a_study_of_a_base_that_is_not_there_ends_in_one_line(tmp_path):
    command = [sys.executable, "-m", "selfreward.lab.checkable.study", "nowhere", "--seeds", "0", "--out", "runs"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ") and "nowhere" in line and not list(tmp_path.rglob("M0"))


def test_ctrl_c_ends_a_study_in_one_line(capsys):
    def interrupted():
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit) as ended:
        obeyed(interrupted)
    signal.signal(signal.SIGINT, before)
    assert ended.value.code == 130
    assert capsys.readouterr().err == "stopped; the same command goes on from here\n"


def test_ctrl_c_ends_the_workers_of_a_study_too(tmp_path):
    command = [sys.executable, "-m", "selfreward.lab.micro.study", "--seeds", "0-1", "--workers", "2", "--out", str(tmp_path)]
    study = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, process_group=0)
    while len(list(tmp_path.glob("seed_*"))) < 2:
        assert study.poll() is None
        time.sleep(0.1)
    os.killpg(study.pid, signal.SIGINT)
    _, said = study.communicate(timeout=60)
    assert study.returncode == 130 and said.splitlines()[-1] == "stopped; the same command goes on from here"
    assert "Traceback" not in said


@pytest.mark.parametrize(("text", "seeds"), [("0-3", [0, 1, 2, 3]), ("7", [7]), ("2-2", [2])])
def test_seeds_are_a_range_or_one(text, seeds):
    assert list(seeds_from(text, pytest.fail)) == seeds


@pytest.mark.parametrize("text", ["", "x", "3-1", "1-2-3", "-1", "1-x"])
def test_what_is_no_range_of_seeds_is_told(text):
    class Told(Exception):
        pass

    def tell(line):
        raise Told(line)

    with pytest.raises(Told, match=f"--seeds {text} is no range of seeds"):
        seeds_from(text, tell)
