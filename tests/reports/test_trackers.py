"""What TensorBoard, W&B and trackio are told: every figure of the records, once, and nothing that leaves the machine unasked."""

import json
import math
import sqlite3
import sys
from collections import defaultdict
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from typer.testing import CliRunner

from selfreward.cli import app
from selfreward.errors import SelfRewardError
from selfreward.records import Reading, iter_jsonl
from selfreward.reports import trackers, tracking
from selfreward.reports.trackers import Curves, read_curves, write_curves
from tinyrun import go, make_world, quiet

TRAINED = [
    {"tokens": 1000, "padding": 0.1},
    {"step": 1, "loss": 0.5, "rewards/margins": 0.25, "epoch": 0.5, "name": "x"},
    {"step": 2, "loss": math.nan, "rewards/margins": 0.75, "epoch": 1.0},
]
CURVES = [
    Curves("loop", [(0, {"measured/true_score": 2.5}), (1, {"drift/a.b/c": -1.0})]),
    Curves("M1", [(3, {"training/loss": 0.5})]),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run, watched, whose M2 logged its training."""
    folder = tmp_path_factory.mktemp("trackers")
    with pytest.MonkeyPatch.context() as patch:
        quiet(patch)
        go(make_world(folder), folder / "run", iterations=2, sft__baseline=True, drift__sample=2, drift__pool=2)
    (folder / "run" / "M2" / "model" / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in TRAINED))
    return folder / "run"


# What there is to log


def test_the_loops_curves_are_what_was_measured_and_read_at_every_model(run):
    loop = read_curves(run)[0]
    assert loop.name == "loop" and [step for step, _ in loop.rows] == [0, 1, 2, 3]
    by_step = dict(loop.rows)
    models = {model["name"]: model for model in json.loads((run / "summary.json").read_text())["models"]}
    for step, name in enumerate(("M0", "M1", "M2", "M3")):
        assert by_step[step]["measured/true_score"] == models[name]["true_score"]
        assert by_step[step]["measured/self_score"] == models[name]["self_score"]["value"]
        assert by_step[step]["measured/pairwise_accuracy"] == models[name]["pairwise_accuracy"]
    assert by_step[1]["measured/SFT/true_score"] == models["SFT"]["true_score"]
    for step in (1, 2, 3):
        readings = iter_jsonl(run / f"M{step}" / "drift.jsonl", Reading)
        told = {f"drift/{one.monitor}": one.value for one in readings if one.value is not None}
        assert told and {key: value for key, value in by_step[step].items() if key.startswith("drift/")} == told


def test_a_trainings_curves_are_its_finite_numbers_by_step(run):
    (training,) = [curves for curves in read_curves(run) if curves.name == "M2"]
    assert training.rows == [
        (1, {"training/loss": 0.5, "training/rewards/margins": 0.25, "training/epoch": 0.5}),
        (2, {"training/rewards/margins": 0.75, "training/epoch": 1.0}),
    ]


def test_a_model_that_is_measured_and_not_yet_watched_waits(run, tmp_path):
    for name in ("summary.json", "M1/drift.receipt.json", "M1/drift.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((run / name).read_bytes())
    assert [step for step, _ in read_curves(tmp_path)[0].rows] == [0, 1]
    (tmp_path / "M1" / "drift.receipt.json").unlink()
    assert [step for step, _ in read_curves(tmp_path)[0].rows] == [0, 1, 2, 3], "nothing is waited for where nothing is watched"
    assert read_curves(tmp_path / "M1") == [Curves("loop", [])]


# TensorBoard and trackio, read back


def scalars(folder):
    """(curve, figure) → its (step, value), as TensorBoard's own reader finds them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util import tensor_util

    found = {}
    for curve in sorted(folder.iterdir()):
        events = EventAccumulator(str(curve))
        events.Reload()
        for tag in events.Tags()["tensors"]:
            values = [(one.step, float(tensor_util.make_ndarray(one.tensor_proto))) for one in events.Tensors(tag)]
            found[curve.name, tag] = values
    return found


def flat(curves):
    """The same of what was to be logged."""
    found = defaultdict(list)
    for name, rows in curves:
        for step, values in rows:
            for key, value in values.items():
                found[name, key].append((step, pytest.approx(value, rel=1e-6)))
    return found


def test_tensorboard_reads_back_every_figure_of_a_run_that_went_through_it_twice(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    quiet(monkeypatch)
    recipe, run = make_world(tmp_path), tmp_path / "run"
    settings = {"report_to": ["tensorboard"], "drift__sample": 2, "drift__pool": 2}
    go(recipe, run, iterations=1, **settings)
    assert scalars(run / "logs" / "tensorboard") == flat(read_curves(run))
    go(recipe, run, iterations=2, **settings)
    found = scalars(run / "logs" / "tensorboard")
    assert found == flat(read_curves(run)) and [step for step, _ in found["loop", "measured/true_score"]] == [0, 1, 2, 3]
    assert {path.name for path in (run / "logs").iterdir() if "tensorboard" in path.name} == {"tensorboard"}


def test_trackio_keeps_every_figure_in_the_run_folder_and_goes_nowhere_else(tmp_path, monkeypatch):
    pytest.importorskip("trackio")
    monkeypatch.setenv("TRACKIO_SPACE_ID", "somebody/elsewhere")
    monkeypatch.setenv("TRACKIO_SERVER_URL", "http://127.0.0.1:9/")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "elsewhere"))
    run, said = tmp_path / "run", []
    for length in (1, 2):
        monkeypatch.setattr(trackers, "read_curves", lambda folder, length=length: CURVES[:length])
        tracking(["trackio"], run, said.append)()
    assert said == [] and not (tmp_path / "elsewhere").exists()
    with sqlite3.connect(run / "logs" / "trackio" / "selfreward.db") as database:
        rows = database.execute("SELECT run_name, step, metrics FROM metrics").fetchall()
    logged = {(name, step, key, value) for name, step, metrics in rows for key, value in json.loads(metrics).items()}
    assert logged == {
        ("run/loop", 0, "measured/true_score", 2.5), ("run/loop", 1, "drift/a.b/c", -1.0), ("run/M1", 3, "training/loss", 0.5),
    }  # fmt: skip
    assert len(rows) == 3


# W&B


class Server:
    """What W&B would have been told, by run id; stands in for the module."""

    def __init__(self, offline=False):
        self.runs, self.asked, self.offline = defaultdict(list), [], offline
        self.module = ModuleType("wandb")
        self.module.init, self.module.Settings = self.init, lambda **given: given

    def init(self, **given):
        self.asked.append(given)
        history = self.runs[given["id"]]
        step = 1 + history[-1][0] if history and not self.offline else 0
        return SimpleNamespace(step=step, log=lambda values, step: history.append((step, values)), finish=lambda: None)


def test_wandb_is_sent_a_step_once_however_often_the_run_is_gone_over(tmp_path, monkeypatch):
    server = Server()
    monkeypatch.setitem(sys.modules, "wandb", server.module)
    (tmp_path / "logs").mkdir()
    write_curves("wandb", tmp_path, CURVES[:1])
    write_curves("wandb", tmp_path, CURVES)
    write_curves("wandb", tmp_path, CURVES)
    own = (tmp_path / "logs" / "wandb.id").read_text()
    assert dict(server.runs) == {f"{own}-loop": CURVES[0].rows, f"{own}-M1": CURVES[1].rows}
    assert {(given["group"], given["resume"], given["dir"]) for given in server.asked} == {
        (tmp_path.name, "allow", tmp_path / "logs")
    }
    assert all(given["settings"]["console"] == "off" for given in server.asked)


def test_two_runs_of_one_recipe_are_two_runs_to_wandb(tmp_path, monkeypatch):
    server = Server()
    monkeypatch.setitem(sys.modules, "wandb", server.module)
    for name in ("one", "two"):
        (tmp_path / name / "logs").mkdir(parents=True)
        write_curves("wandb", tmp_path / name, CURVES[:1])
    assert len(server.runs) == 2


def test_what_wandb_only_wrote_down_is_written_anew(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", Server(offline=True).module)
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "wandb.id").write_text("abcd")
    stale = [logs / "wandb" / f"offline-run-20260101_000000-abcd-{name}" for name in ("loop", "M1", "M9")]
    for folder in stale:
        folder.mkdir(parents=True)
    write_curves("wandb", tmp_path, CURVES)
    assert [folder.exists() for folder in stale] == [False, False, True]


def test_the_real_wandb_writes_offline_what_the_stand_in_is_told(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setattr(trackers, "read_curves", lambda folder: CURVES)
    (tmp_path / "logs").mkdir()
    for _ in range(2):
        said = []
        tracking(["wandb"], tmp_path, said.append)()
        assert said == []
    found = sorted(
        folder.name.split("-", 3)[-1].split("-", 1)[-1] for folder in (tmp_path / "logs" / "wandb").glob("offline-run-*")
    )
    assert found == ["M1", "loop"]


# What goes wrong


def test_a_library_that_is_missing_is_one_line_before_anything_is_made(tmp_path, monkeypatch):
    quiet(monkeypatch)
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    recipe, run = make_world(tmp_path), tmp_path / "run"
    told = CliRunner().invoke(app, ["run", str(recipe), "-o", str(run), "--set", 'report_to=["tensorboard"]'])
    assert told.exit_code == 1 and not run.exists()
    assert told.stderr == (
        "error: report_to: tensorboard is not installed. Leave it out, or: pip install tensorboard (all of them: pip install "
        "'selfreward-lm[tracking]')\n"
    )


def test_a_tracker_that_is_not_known_is_refused(tmp_path):
    with pytest.raises(SelfRewardError, match=r"report_to\.0: Input should be 'tensorboard', 'trackio' or 'wandb'"):
        go(make_world(tmp_path), tmp_path / "run", report_to=["mlflow"])


def test_a_tracker_that_fails_is_told_of_and_tried_again_and_the_run_goes_on(tmp_path, monkeypatch):
    broken = tmp_path / "broken"
    (broken / "wandb").mkdir(parents=True)
    (broken / "wandb" / "__init__.py").write_text("raise RuntimeError('no key')")
    monkeypatch.setenv("PYTHONPATH", str(broken))
    quiet(monkeypatch)
    monkeypatch.setattr(trackers, "find_spec", lambda name: name)
    said = []
    monkeypatch.setattr("selfreward.rundir.progress.Progress.say", lambda self, text: said.append(text))
    go(make_world(tmp_path), tmp_path / "run", report_to=["wandb"])
    told = [text for text in said if text.startswith("wandb")]
    assert told == ["wandb: nothing was logged (RuntimeError: no key); the records are all there, and it is tried again"] * 2
    assert (tmp_path / "run" / "M2" / "measured.json").exists()


def test_a_tracker_that_does_not_end_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(trackers, "PATIENCE", 0.01)
    monkeypatch.setattr(trackers, "read_curves", lambda folder: CURVES)
    said = []
    tracking(["tensorboard"], tmp_path, said.append)()
    assert said == ["tensorboard: nothing was logged (no end after 0.01 s); the records are all there, and it is tried again"]


def test_nothing_is_logged_twice_where_nothing_is_new_and_nothing_at_all_unasked(tmp_path, monkeypatch):
    logged, known = [], [CURVES[:1]]
    monkeypatch.setattr(trackers, "_log", lambda name, run, curves: logged.append((name, len(curves))) or "")
    monkeypatch.setattr(trackers, "read_curves", lambda folder: known[0])
    update = tracking(["tensorboard", "trackio"], Path("run"), print)
    update()
    update()
    known[0] = CURVES
    update()
    assert logged == [("tensorboard", 1), ("trackio", 1), ("tensorboard", 2), ("trackio", 2)]
    tracking([], tmp_path, print)()
    assert len(logged) == 4 and list(tmp_path.iterdir()) == []
