"""What a person sees of long work: plain lines in a file, a bar on a terminal, and logs/status.json."""

import io
import json
import os

import pytest
from rich.console import Console

from selfreward.errors import Stopped
from selfreward.rundir import Progress, Status, duration, progress


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when the test says so."""
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])

    def wait(seconds):
        now[0] += seconds

    return wait


def shown(tmp_path, terminal=False, **settings):
    console = Console(file=io.StringIO(), force_terminal=terminal, width=100 if terminal else None, highlight=False)
    return Progress(tmp_path, console=console, **settings), console.file


def status(tmp_path):
    return json.loads((tmp_path / "status.json").read_text())


def test_in_a_file_progress_is_plain_whole_lines(tmp_path, clock):
    shows, out = shown(tmp_path)
    with shows.stage("M3/a_stage_with_a_name_so_long_that_eighty_columns_do_not_hold_its_line", 4000, "requests") as advance:
        for _ in range(4):
            clock(10)
            advance(1000)
    lines = out.getvalue().splitlines()
    assert not [c for c in out.getvalue() if ord(c) < 32 and c != "\n"]
    assert len(lines) == 4 and all(line.startswith("M3/a_stage") and line.endswith(")") for line in lines)
    assert lines[0].endswith("1,000 of 4,000 requests in 10.0 s (100 requests/s, 30 s left)")
    assert lines[-1].endswith("4,000 of 4,000 requests in 40.0 s (100 requests/s)")


def test_what_is_slow_says_how_long_each_takes_and_the_rest_in_a_unit_that_suits_it(tmp_path, clock):
    shows, out = shown(tmp_path)
    with shows.stage("M2/model", 300, "steps") as advance:
        clock(46)
        advance(2)
    assert "2 of 300 steps in 46.0 s (23.0 s each, 114 min left)" in out.getvalue()
    assert [duration(seconds) for seconds in (59, 600, 7300, 3e6)] == ["59 s", "10 min", "2 h", "35 days"]


def test_plain_lines_are_not_more_often_than_every_ten_seconds(tmp_path, clock):
    shows, out = shown(tmp_path)
    with shows.stage("M1/model", 50, "steps") as advance:
        for _ in range(50):
            clock(1)
            advance(1)
    assert len(out.getvalue().splitlines()) == 4 + 1


@pytest.mark.parametrize("seconds", [1, 10, 25])
def test_the_last_line_is_said_once(seconds, tmp_path, clock):
    shows, out = shown(tmp_path)
    with shows.stage("M1/model", 3, "steps") as advance:
        for _ in range(3):
            clock(seconds)
            advance(1)
    assert sum("3 of 3 steps" in line for line in out.getvalue().splitlines()) == 1


def test_brackets_in_a_name_are_not_markup(tmp_path, clock):
    shows, out = shown(tmp_path)
    shows.say("[red]M1[/red] [0, 1]")
    assert out.getvalue() == "[red]M1[/red] [0, 1]\n"


def test_on_a_terminal_there_is_a_bar(tmp_path, clock):
    shows, out = shown(tmp_path, terminal=True)
    with shows.stage("M2/judgments", 8, "requests") as advance:
        advance(4)
    text = out.getvalue()
    assert "\x1b[" in text and "━" in text and "M2/judgments" in text and "/8" in text


def test_rate_and_eta_come_from_this_runs_own_work_only(tmp_path, clock):
    shows, out = shown(tmp_path)
    with shows.stage("M2/judgments", 1000, "requests", done=900) as advance:
        assert status(tmp_path)["eta_s"] is None
        clock(20)
        advance(20)
        assert status(tmp_path)["eta_s"] == pytest.approx(80.0)
    assert "920 of 1,000 requests in 20.0 s (1.0 requests/s, 80 s left)" in out.getvalue()


def left(tmp_path, clock, tokens, drawn, seconds):
    """(the seconds that are left of 6 requests when some of so many tokens are done and `drawn` tokens in all, the line)."""
    shows, out = shown(tmp_path)
    with shows.stage("M2/judgments", 6, "requests", longest=64) as work:
        clock(seconds)
        work.drew(drawn)
        for each in tokens:
            work.came(each)
        eta = work._clock.eta()
    return eta, out.getvalue()


def test_requests_that_have_outlived_the_others_are_not_thought_to_be_done(tmp_path, clock):
    """Lengths 10, 10, 10, 50: mean 20, variance 300, which is .75 of 20²; two that have drawn 120 need 2 × 20 × .75 more."""
    eta, line = left(tmp_path, clock, (10, 10, 10, 50), drawn=200, seconds=20)
    assert eta == pytest.approx(30 / 10) and "4 of 6 requests, 200 tokens" in line and ", 3 s left)" in line


def test_requests_of_one_length_are_done_when_they_have_drawn_it(tmp_path, clock):
    assert left(tmp_path, clock, (20,) * 4, drawn=110, seconds=11)[0] == pytest.approx((40 - 30) / 10)
    assert left(tmp_path, clock, (20,) * 4, drawn=120, seconds=12)[0] == pytest.approx(0.1 * 40 / 10)


def test_as_long_as_one_request_is_owed_there_are_never_0_seconds_left(tmp_path, clock):
    _, line = left(tmp_path, clock, (20,) * 5, drawn=1000, seconds=0.5)
    assert "5 of 6 requests" in line and ", 1 s left)" in line
    assert "left" not in left(tmp_path, clock, (20,) * 6, drawn=1000, seconds=0.5)[1]


def test_before_anything_is_done_no_rate_is_claimed(tmp_path, clock):
    shows, out = shown(tmp_path)
    with shows.stage("SFT/model", 2, "steps"):
        clock(15)
    assert out.getvalue() == "SFT/model: 0 of 2 steps in 15.0 s\n"


def test_the_status_file_says_what_is_done_by_whom_and_when(tmp_path, clock):
    shows, _ = shown(tmp_path)
    with shows.stage("M2/judgments", 10, "requests", done=2) as advance:
        assert status(tmp_path)["done"] == 2
        clock(11)
        advance(3)
        found = status(tmp_path)
        assert found.pop("at") == pytest.approx(progress.time.time(), abs=60)
        assert found == {
            "stage": "M2/judgments", "done": 5, "total": 10, "unit": "requests",
            "eta_s": pytest.approx(5 / (3 / 11)), "pid": os.getpid(),
        }  # fmt: skip
        advance(5)
    assert status(tmp_path)["done"] == 10 and [path.name for path in tmp_path.iterdir()] == ["status.json"]


def test_asked_to_end_it_raises_after_the_work_done_was_counted(tmp_path, clock):
    asked = []
    shows, _ = shown(tmp_path, stopping=lambda: bool(asked))
    with pytest.raises(Stopped, match="M1/model"), shows.stage("M1/model", 10, "steps") as advance:
        advance(1)
        asked.append(True)
        advance(1)
        pytest.fail("went on")


def test_a_stage_of_nothing_is_shown_too(tmp_path, clock):
    shows, out = shown(tmp_path)
    with shows.stage("M2/responses", 0, "requests"):
        pass
    assert out.getvalue() == "M2/responses: no requests\n"


def test_one_is_not_called_several(tmp_path, clock):
    shows, out = shown(tmp_path)
    with shows.stage("M2/model", 1, "steps") as advance:
        clock(5)
        advance(1)
    assert out.getvalue().startswith("M2/model: 1 of 1 step in 5.0 s")
    seen = Status(stage="M2/model", done=0, total=0, unit="steps", eta_s=None, at=0, pid=1)
    assert (seen.done_of, seen.model_copy(update={"total": 1200, "done": 1}).done_of) == ("no steps", "1 of 1,200 steps")
