"""Words of models, servers, templates, files and run names steer no terminal: each is planted once, and shown as what it is."""

import json
import logging
import os
import re
import shutil
import threading
import unicodedata
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

import selfreward
from selfreward.checks.bill import Bill
from selfreward.checks.checker import Check
from selfreward.checks.finding import Finding
from selfreward.checks.reach import NamedModel
from selfreward.checks.tables import show
from selfreward.cli import app
from selfreward.cli import chat as chatting
from selfreward.errors import Alarm, SelfRewardError, terminal, visible
from selfreward.records import Completion, Figure, Result, lock_folder
from selfreward.reports import describe_result
from selfreward.reports.compare import RunComparison, show_comparison
from selfreward.rundir import Progress
from tinymodels import make_model
from tinyrun import go, make_world, quiet

STEERING = [
    *("\x1b[2J", "\x1b]0;title\x07", "\x9b31m", "\x9d0;x\x9c", "\x00", "\x07", "\x08", "\x7f", "\x85", "\r", "\x0b", "\x0c"),
    *("\u202e", "\u2066", "\u200f", "\u061c", "\u200b", "\u200d", "\u2060", "\ufeff", "\u00ad", "\u2028", "\u2029"),
    *("\U000e0041", "\ud800", "\udc9b"),
]
HOSTILE = "Yes" + "".join(STEERING) + "No"
NAME = "run" + "".join(text for text in STEERING if "\x00" not in text and "\ud800" not in text) + "end"
"""As a file system takes it."""


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    quiet(monkeypatch)
    return make_world(tmp_path / "world")


def command(*given):
    return CliRunner().invoke(app, list(map(str, given)))


def assert_harmless(text, *shown):
    """Nothing but lines and columns in `text` steers a terminal, and `shown` is in it."""
    wrong = [repr(c) for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") and c not in "\n\t"]
    assert not wrong, wrong
    text.encode()  # and it can be printed
    for words in shown:
        assert words in text, text


def test_each_is_shown_as_its_escape_and_all_else_as_it_is():
    assert visible("\x1b[31m\x9b\u202e\u200b\u2028\ud800\n\t\r\U000e0041") == (
        r"\x1b[31m\x9b\u202e\u200b\u2028\ud800\n\t\r\U000e0041"
    )
    plain = "Größe 大きさ 한국어 עברית العربية é ñ — „quoted“ 'x' \"y\" \\n 😀 \u00a0\u3000 C:\\x"
    assert visible(plain) == plain and visible("a\n\tb\r", keep="\n\t") == "a\n\tb\\r"


def test_an_answer_in_a_chat(monkeypatch, capsys):
    class Answering:
        def __init__(self, *given):
            pass

        def generate(self, requests):
            yield Completion(request_id="x", text=f"a\n\tb{HOSTILE}", finish="stop", prompt_tokens=1, completion_tokens=1)

    lines = iter(["hello", ""])
    monkeypatch.setattr(chatting, "_open", Answering)
    monkeypatch.setattr(chatting, "find_model", lambda path: path)
    monkeypatch.setattr(chatting, "assert_finite", lambda path: None)
    monkeypatch.setattr(chatting, "_ask", lambda: next(lines))
    chatting.converse(Path("x"), 1.0, 1.0, 5)
    assert_harmless(capsys.readouterr().out, "a\n\tbYes\\x1b[2J", r"\u202e", r"\x9b31m")


@pytest.mark.parametrize("typed", ["\ud83d", UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")])
def test_what_is_typed_and_no_text_is_one_line(typed, monkeypatch):
    def ask(prompt):
        if isinstance(typed, Exception):
            raise typed
        return typed

    monkeypatch.setattr("builtins.input", ask)
    with pytest.raises(SelfRewardError, match="the input is not UTF-8"):
        chatting._ask()


def test_a_chat_is_under_the_system_prompt_that_is_given(monkeypatch, capsys):
    asked = []

    class Answering:
        def generate(self, requests):
            asked.extend(requests)
            yield Completion(request_id="x", text="a", finish="stop", prompt_tokens=1, completion_tokens=1)

    lines = iter(["hello", "and", ""])
    monkeypatch.setattr(chatting, "_open", lambda path: Answering())
    monkeypatch.setattr(chatting, "find_model", lambda path: path)
    monkeypatch.setattr(chatting, "assert_finite", lambda path: None)
    monkeypatch.setattr(chatting, "_ask", lambda: next(lines))
    chatting.converse(Path("x"), 1.0, 1.0, 5, system="Be brief")
    assert [[turn.role for turn in request.messages] for request in asked] == [
        ["system", "user"], ["system", "user", "assistant", "user"],
    ]  # fmt: skip
    assert asked[1].messages[0].content == "Be brief"


def test_an_error_and_an_alarm_and_what_a_wrong_argument_is_told(recipe, monkeypatch):
    error = str(SelfRewardError(HOSTILE + "\nerror: all is well", HOSTILE, HOSTILE))
    assert "\n" not in error
    assert_harmless(error, r"\nerror: all is well")

    def alarm(*given):
        raise Alarm(HOSTILE)

    monkeypatch.setattr("selfreward.cli.running._run", alarm)
    assert_harmless(command("run", recipe).stderr, r"alarm: Yes\x1b[2J")
    for given in (("status", "x", NAME), (NAME,), ("status", f"--{NAME}"), ("chat", "x", "--temperature", NAME)):
        result = command(*given)
        assert result.exit_code == 2
        assert_harmless(result.stderr)


def test_a_progress_line_and_its_stage(tmp_path):
    out = StringIO()
    progress = Progress(tmp_path, console=Console(file=out, width=400))
    progress.say(HOSTILE)
    with progress.stage(HOSTILE, 2, HOSTILE) as advance:
        advance(2)
    assert_harmless(out.getvalue(), r"Yes\x1b[2J")


@pytest.mark.parametrize("line", ["nosuch:star: cannot", "noimp:x:", "[bold]no:warning:[/nonsense]"])
def test_a_colon_before_a_name_stays_a_colon_wherever_a_text_is_shown(line, tmp_path):
    out = StringIO()
    Progress(tmp_path, console=Console(file=out, width=400)).say(line)
    model = NamedModel(line, (line,), line, says=line)
    show(Check([model], None, False, Bill([], [], {}), 1, [Finding("error", line, line, line)]), terminal(file=out))
    show_comparison(RunComparison([], {line: []}, []), terminal(file=out))
    assert out.getvalue().count(line) == 1 + 3 + 4 + 1 and not set("⭐❌⚠") & set(out.getvalue()), out.getvalue()


def test_a_console_of_rich_is_made_in_one_place():
    source = Path(selfreward.__file__).parent
    made = [file.name for file in source.rglob("*.py") if re.search(r"\bConsole\(", file.read_text())]
    assert made == ["errors.py"]


def test_a_bar_on_a_terminal(tmp_path):
    out = StringIO()
    progress = Progress(tmp_path, console=Console(file=out, width=400, force_terminal=True))
    with progress.stage(f"[bold]{HOSTILE}[/nonsense]", 2, "requests") as advance:
        advance(2)
    assert "\x1b[2J" not in out.getvalue() and "\x9b" not in out.getvalue() and "\u202e" not in out.getvalue()


def test_the_status_of_a_run_with_such_a_name_and_such_traits(recipe, tmp_path):
    run = tmp_path / NAME
    drift = {"traits": {HOSTILE.replace("\ud800", "").replace("\udc9b", ""): "a"}, "sample": 2, "pool": 2}
    limits = {f"traits.S/{name}": {"above": -9.0} for name in drift["traits"]}
    go(recipe, run, iterations=2, drift={**drift, "limits": limits})
    assert_harmless(command("status", run).stdout, r"run\x1b[2J")
    shutil.rmtree(run / "M3")
    for name in ("measured.json", "measured.receipt.json"):
        (run / "M2" / name).unlink()
    seen = {
        "stage": "M2/judgments",
        "done": 1,
        "total": 2,
        "unit": HOSTILE[: HOSTILE.index("\ud800")],
        "eta_s": None,
        "at": 0,
        "pid": 1,
    }
    (run / "M2" / "judgments.receipt.json").unlink()
    (run / "logs" / "status.json").write_text(json.dumps(seen))
    assert_harmless(command("status", run).stdout, r"1 of 2 Yes\x1b[2J")
    for name in ("report", "export"):
        assert_harmless(command(name, run).output, r"run\x1b[2J")
    assert_harmless(command("run", recipe, "-o", run, "--set", "seed=5").output)


def test_runs_with_such_names_side_by_side(recipe, tmp_path):
    for name in ("a", "b"):
        go(recipe, tmp_path / (NAME + name), responses__n=2 + (name == "b"))
    assert_harmless(
        command("compare", "runs", tmp_path / (NAME + "a"), tmp_path / (NAME + "b"), "-o", tmp_path).output, r"run\x1b[2J"
    )


def test_a_check_of_models_with_such_names(recipe, tmp_path):
    (recipe.parent / "base").rename(recipe.parent / NAME)
    result = command("check", recipe, "-o", tmp_path / "run", "--set", f"base={NAME}", "--set", f"judge.by={NAME}")
    assert_harmless(result.output, r"\x1b[2J")


@pytest.mark.parametrize(
    "text", [f'[dpo]\n"{HOSTILE[:3]}\\u001b[2J\\u202e" = 1\n', 'base = "\\u001b[2J\\u202e"\n[data]\nift = "x.jsonl"\n']
)
def test_a_recipe_with_such_words(text, tmp_path):
    (tmp_path / "recipe.toml").write_text(text)
    result = command("run", tmp_path / "recipe.toml", "-o", tmp_path / "run")
    assert result.exit_code == 1
    assert_harmless(result.stderr, "error: ")


def test_a_file_of_seeds_with_such_words_and_such_a_name(recipe, tmp_path):
    file = recipe.parent / f"{NAME}.jsonl"
    file.write_text(json.dumps({"prompt": "a", "response": "b", "kind": "ift", "source": "x", HOSTILE[:60]: 1}) + "\n")
    result = command("run", recipe, "-o", tmp_path / "run", "--set", f"data.ift={file}")
    assert_harmless(result.stderr, r"run\x1b[2J", ":1: ")


class Serving(BaseHTTPRequestHandler):
    """A server that says such words when it refuses."""

    def do_POST(self):
        body = f"{HOSTILE} {HOSTILE}".encode("utf-8", "ignore")
        self.send_response(400)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *given):
        pass


def test_what_a_server_says(recipe, tmp_path):
    server = HTTPServer(("127.0.0.1", 0), Serving)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = {"url": f"http://127.0.0.1:{server.server_port}/v1", "model": "x", "retries": 0}
    given = ("--set", f"servers={json.dumps({'them': endpoint})}", "--set", "judge.by=them")
    result = command("run", recipe, "-o", tmp_path / "run", *given)
    server.shutdown()
    assert result.exit_code == 1, result.output
    assert_harmless(result.output, "the server refuses every request (Yes")


def test_what_a_chat_template_says(tmp_path, monkeypatch):
    model = make_model(tmp_path / "model")
    words = HOSTILE.encode("utf-8", "ignore").decode()
    template = "{{ raise_exception(" + json.dumps(words) + ") }}"
    for file in model.glob("chat_template*"):
        file.unlink()
    config = json.loads((model / "tokenizer_config.json").read_text())
    (model / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": template}))
    monkeypatch.setattr(chatting, "_ask", lambda: "hello")
    result = command("chat", model)
    assert result.exit_code == 1 and result.stderr.startswith("error: "), repr(result.exception)
    assert_harmless(result.output, r"Yes\x1b[2J")


def test_what_is_logged(tmp_path, monkeypatch, caplog):
    import fcntl

    def unknown(*given):
        raise OSError(38, os.strerror(38))

    monkeypatch.setattr(fcntl, "flock", unknown)
    with caplog.at_level(logging.WARNING):
        lock_folder(tmp_path / NAME).close()
    (line,) = caplog.messages
    assert_harmless(line, r"run\x1b[2J")


def test_what_an_evaluation_found():
    found = Result(
        prompts_digest="", figures=[Figure(name=HOSTILE, value=1.0, n=1)], outcomes={HOSTILE: 1}, note=HOSTILE, name=HOSTILE,
        kind="x", model=HOSTILE, fingerprint="", judge=HOSTILE, judge_fingerprint="", against=HOSTILE, against_fingerprint="",
        settings={},
    )  # fmt: skip
    assert_harmless(describe_result(found), r"Yes\x1b[2J")
    assert len(describe_result(found).splitlines()) == 4


def test_what_is_to_be_sent(tmp_path):
    folder = tmp_path / NAME
    (folder / "pairs\n\x1b[2Jfake").mkdir(parents=True)
    (folder / "pairs\n\x1b[2Jfake" / "train.parquet").write_text("x")
    (folder / "README.md").write_text("x")
    result = CliRunner().invoke(app, ["push", str(folder), "me/it"], input="n\n")
    assert_harmless(result.output, r"pairs\n\x1b[2Jfake/train.parquet", r"run\x1b[2J")
