"""Long work says something, ends soon when it is asked to, and what was answered in the midst of a batch is not lost."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest
from rich.console import Console

from selfreward.engines.fake import FakeModel, FakeTrainer
from selfreward.engines.protocols import untold
from selfreward.engines.sampling.hf import HFModel
from selfreward.errors import OutOfMemory, Stopped
from selfreward.recipe import BackendConfig
from selfreward.records import Checkpoint, Message, Request, Sampling
from selfreward.rundir import RESPONSES, Progress, RunDir, Runner, progress
from selfreward.steps import Answering
from tinymodels import WORDS, make_model
from tinyrun import PYTHONPATH, Killed, go, make_world, quiet, tree

PAPER = Sampling(temperature=0.7, top_p=0.9, max_tokens=30)


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return HFModel(make_model(tmp_path_factory.mktemp("llama"), stops=WORDS[::6]), BackendConfig(device="cpu"))


@pytest.fixture
def base():
    return Checkpoint(name="M0", path="m0", fingerprint="f0")


def asked(base, prompts=6, samples=4):
    """Prompts of several lengths, with the likeliest first tokens, whose last bits hang on who is in the batch."""
    texts = [" ".join(WORDS[at : at + 2 + 3 * at]) for at in range(prompts)]
    return [
        Request(
            about=text, index=index, messages=(Message(role="user", content=text),), sampling=PAPER, seed=17 * at + index,
            model=base.fingerprint, top_logprobs=3,
        )
        for at, text in enumerate(texts)
        for index in range(samples)
    ]  # fmt: skip


def sample(folder, model, requests, base, console=None, stopping=lambda: False):
    rundir = RunDir(folder, {"seed": 1})
    try:
        shows = Progress(rundir.logs, stopping, console=console or Console(file=io.StringIO()))
        run = Runner(rundir, lambda checkpoint: model, FakeTrainer, shows)
        run["M1"].complete(RESPONSES, requests, base, Answering.read)
    finally:
        rundir.close()
    return {name: (folder / "M1" / name).read_bytes() for name in ("responses.jsonl", "responses.receipt.json")}


def journalled(folder):
    """(Number of its batch, ids of its requests) of each line of a journal."""
    file = folder / "M1" / "responses.journal.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    return [(line["number"], [one["request_id"] for one in line["completions"]]) for line in lines]


class Dies:
    """A real engine in front of which somebody stands who pulls the plug after so many tokens."""

    def __init__(self, engine, after, error=Killed):
        self.engine, self.after, self.error, self.batches_asked = engine, after, error, []
        self.tell, self.batches, self.prepare = untold, engine.batches, engine.prepare

    def generate(self, batch):
        self.batches_asked.append(len(batch))
        self.engine.tell = self._told
        yield from self.engine.generate(batch)

    def _told(self, tokens):
        self.after -= tokens
        self.tell(tokens)
        if self.after <= 0:
            raise self.error

    def close(self):
        self.engine.tell = untold


@pytest.mark.parametrize("after", [1, 30, 50, 62, 70])
def test_killed_inside_a_batch_the_answers_that_had_stopped_are_kept_and_all_bytes_are_those_of_an_undisturbed_run(
    after, tmp_path, llama, base
):
    requests = asked(base)
    [batch] = llama.batches(requests)
    whole = sample(tmp_path / "whole", Dies(llama, 10**6), requests, base)
    for death in range(3):  # again and again, each time a little later
        with suppress(Killed):
            sample(tmp_path / "run", Dies(llama, after + 3 * death), requests, base)
    lines = journalled(tmp_path / "run")
    kept = [one for _, ids in lines for one in ids]
    assert len(kept) == len(set(kept)) < len(requests) and kept
    again = Dies(llama, 10**6)
    assert sample(tmp_path / "run", again, requests, base) == whole
    assert again.batches_asked == [len(batch)]  # whole, for the last bits of the others hang on them


class Alone(FakeModel):
    """One batch of all; each answer depends on its own request. Dies after so many."""

    streams = True

    def __init__(self, after=99):
        super().__init__(lambda request: (f"word {request.seed}", "stop"))
        self.after, self.asked = after, []

    def batches(self, requests):
        return [list(range(len(requests)))]

    def generate(self, batch):
        for request in batch:
            if len(self.asked) == self.after:
                raise Killed
            self.asked.append(request.id)
            yield from super().generate([request])


def test_where_answers_do_not_hang_on_one_another_the_rest_of_a_batch_alone_is_asked_again(tmp_path, base):
    requests, died = asked(base), Alone(after=7)
    whole = sample(tmp_path / "whole", Alone(), requests, base)
    with pytest.raises(Killed):
        sample(tmp_path / "run", died, requests, base)
    again = Alone()
    assert sample(tmp_path / "run", again, requests, base) == whole
    assert sorted(died.asked + again.asked) == sorted(request.id for request in requests)


class Swells(Alone):
    """Runs out of memory in the midst of a batch of more than twelve; its answers hang on how many are asked."""

    streams = False

    def generate(self, batch):
        for number, request in enumerate(batch):
            if len(batch) > 12 and number == 5:
                raise OutOfMemory
            self._write = lambda request: (f"one of {len(batch)}", "stop")
            yield from FakeModel.generate(self, [request])


def test_of_a_batch_that_was_halved_nothing_stands_that_was_answered_before(tmp_path, base):
    found = sample(tmp_path / "run", Swells(), asked(base), base)
    texts = [json.loads(line)["text"] for line in found["responses.jsonl"].decode().splitlines()]
    assert texts == ["one of 12"] * 24


def test_asked_to_end_it_ends_at_the_next_token_and_keeps_what_had_stopped(tmp_path, llama, base):
    requests, tokens, whole = asked(base), [], sample(tmp_path / "whole", Dies(llama, 10**6), asked(base), base)

    class Counts(Dies):
        def _told(self, told):
            tokens.append(told)
            super()._told(told)

    with pytest.raises(Stopped):
        sample(tmp_path / "run", Counts(llama, 10**6), requests, base, stopping=lambda: len(tokens) >= 9)
    assert len(tokens) == 9 and journalled(tmp_path / "run")
    assert sample(tmp_path / "run", Dies(llama, 10**6), requests, base) == whole


# ——— what is said ———


@pytest.fixture
def hasty(monkeypatch):
    """A line every tenth of a second."""
    monkeypatch.setattr(progress, "EVERY", 0.1)
    monkeypatch.setattr(progress, "BEAT", 0.02)


class Slow(FakeModel):
    """Loads what prompts share, and draws tokens, slowly."""

    tell = staticmethod(untold)

    def prepare(self, requests):
        time.sleep(0.3)

    def generate(self, batch):
        for _ in range(5):
            time.sleep(0.1)
            self.tell(len(batch))
        yield from super().generate(batch)


@pytest.mark.parametrize("terminal", [False, True])
def test_inside_a_batch_something_is_said_with_tokens_and_an_end_in_sight(terminal, tmp_path, base, hasty):
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=150 if terminal else None, highlight=False)
    sample(tmp_path, Slow(), asked(base, 2, 4), base, console)
    assert "M1/responses: reading what 8 prompts share, 0 s so far" in out.getvalue()
    inside = [line for line in out.getvalue().replace("\r", "\n").splitlines() if " tokens/s" in line]
    assert inside and any("at most" in line and "left" in line for line in inside)
    if not terminal:
        assert any(line.startswith("M1/responses: 0 of 8 requests, ") for line in inside)
    assert json.loads((tmp_path / "logs" / "status.json").read_text())["tokens"] >= 40


def test_a_step_that_takes_long_is_said_to_take_long(tmp_path, hasty):
    out = io.StringIO()
    with Progress(tmp_path, console=Console(file=out)).stage("M2/model", 3, "steps"):
        time.sleep(0.35)
    assert out.getvalue().count("M2/model: 0 of 3 steps in 0.") >= 3


def test_while_an_engine_is_in_trouble_that_is_told_in_the_place_of_rates(tmp_path, base, hasty):
    class Gone(FakeModel):
        trouble = ""

        def generate(self, batch):
            first, *others = batch
            yield from super().generate([first])
            self.trouble = "http://judge (m) does not answer: no connection, 2 of 6 tries failed"
            time.sleep(0.5)
            self.trouble = ""
            yield from super().generate(others)

    said = io.StringIO()
    sample(tmp_path, Gone(), asked(base, 3, 2), base, Console(file=said, width=200))
    told = [line for line in said.getvalue().splitlines() if "does not answer" in line]
    assert told and all(line.endswith(" (http://judge (m) does not answer: no connection, 2 of 6 tries failed)") for line in told)
    assert all(line.startswith("M1/responses: 1 of 6 requests") for line in told) and "left" not in "".join(told)
    assert "does not answer" not in said.getvalue().splitlines()[-1]


def test_what_is_waited_for_may_change_and_be_told_more_often(tmp_path):
    said, tries = io.StringIO(), iter(range(1, 9))
    shows = Progress(tmp_path, console=Console(file=said))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(progress, "BEAT", 0.02)
        with shows.meanwhile(lambda: f"{next(tries)} of 6 tries failed", 0.1):
            time.sleep(0.35)
    assert [line[0] for line in said.getvalue().splitlines()][:2] == ["1", "2"]  # and not after ten seconds


def test_loading_weights_is_said(tmp_path, hasty):
    out = io.StringIO()
    shows = Progress(tmp_path, console=Console(file=out))
    with shows.meanwhile("M1: loading"):
        time.sleep(0.3)
    assert out.getvalue().startswith("M1: loading, 0 s so far\n")


@pytest.mark.parametrize(
    ("done", "drawn", "came", "left"),
    [
        (0, 0, 0, None),
        (0, 100, 0, (10 * 50 - 100) / 10),  # all as long as they may be, at 10 tokens a second
        (5, 100, 100, 5 * 20 / 10),  # those that are done had twenty each
        (5, 150, 100, (5 * 20 - 50) / 15),  # half of the rest is drawn
        (5, 500, 100, (5 * 20 - 90) / 50),  # the last are longer than the others: never less than a tenth
        (5, 0, 100, 5 * 20 / 10),  # an engine that tells of whole answers alone
    ],
)
def test_the_end_is_reckoned_by_tokens(done, drawn, came, left, tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    clock = progress._Clock("M2/judgments", 10, "requests", 0, 50)
    now[0] += 10
    clock.done, clock.drawn, clock.came = done, drawn, came
    assert clock.eta() == (left if left is None else pytest.approx(left))


# ——— processes that are asked to end ———

INSIDE_A_BATCH = """
import os, signal, threading, time
from selfreward.engines.fake import FakeModel
from selfreward.engines.protocols import untold
generate = FakeModel.generate
def slow(self, batch):
    answers = generate(self, batch)
    yield next(answers)
    print("begun", flush=True)
    for _ in range(600):
        time.sleep(0.1)
        {tell}
    yield from answers
FakeModel.generate, FakeModel.tell = slow, staticmethod(untold)
"""
IN_A_STEP = """
import time
from selfreward.engines.fake import FakeTrainer
def slow(self, *given):
    print("begun", flush=True)
    time.sleep(60)
FakeTrainer._train = slow
"""
ENDINGS = {
    "at the next token": (INSIDE_A_BATCH.format(tell="self.tell(8)"), "M0/heldout_responses at a safe point"),
    "of an engine that tells nothing": (INSIDE_A_BATCH.format(tell="pass"), "stopped;"),
    "in a long step": (IN_A_STEP, "stopped;"),
}


@pytest.mark.parametrize(
    ("where", "number"), [*((where, signal.SIGTERM) for where in ENDINGS), ("at the next token", signal.SIGINT)]
)
def test_a_process_that_is_asked_to_end_does_so_within_its_grace_says_so_and_goes_on(where, number, tmp_path, monkeypatch):
    quiet(monkeypatch)
    recipe, (before, says) = make_world(tmp_path / "world"), ENDINGS[where]
    arguments = ["run", str(recipe), "-o", str(tmp_path / "run"), "--grace", "0.5"]
    hears = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)"  # also as a job in the background
    code = f"{hears}\n{before}\nfrom selfreward.cli import app\napp({arguments!r})"
    environment = {**os.environ, "PYTHONPATH": PYTHONPATH}
    process = subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "begun\n"
    asked_at = time.monotonic()
    process.send_signal(number)
    _, told = process.communicate(timeout=30)
    assert time.monotonic() - asked_at < 10  # not the minute that it had before it
    assert process.returncode == 128 + number
    assert "ending at the next safe point, in 0.5 s at the latest" in told
    assert says in told.splitlines()[-1] and told.splitlines()[-1].endswith("the same command goes on from here")
    assert "Traceback" not in told
    go(recipe, tmp_path / "other")
    go(recipe, tmp_path / "run")
    assert {**tree(tmp_path / "run"), "provenance.json": ""} == {**tree(tmp_path / "other"), "provenance.json": ""}
