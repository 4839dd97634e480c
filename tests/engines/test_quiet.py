"""Nothing leaves the machine unasked: libraries that report to their makers are kept from it."""

import json
import os
import subprocess
import sys

from tinymodels import make_model
from tinyrun import PYTHONPATH

WATCHED = """
import json, sys
looked_up = []
sys.addaudithook(lambda name, given: looked_up.append(str(given[0])) if name == "socket.getaddrinfo" else None)
"""
TRAINING = """
from pathlib import Path
from selfreward.engines.training.trl import TRLTrainer
from selfreward.recipe import DPOConfig, SFTConfig
base, work = map(Path, sys.argv[1:])
once = {"batch_size": 2, "epochs": 1, "dropout": 0}
made = TRLTrainer().sft([("bak del", "fim"), ("fim", "bak")], base, SFTConfig(**once), 0, work / "sft", lambda steps: None)
pairs = [("bak del", "fim", "bak"), ("fim", "bak", "del")]
TRLTrainer().dpo(pairs, made, base, DPOConfig(**once), 0, work / "dpo", lambda steps: None)
"""
OPENING = """
import selfreward
from datasets import load_dataset
load_dataset("json", data_files=sys.argv[1], split="train", cache_dir=sys.argv[2])
"""
REPORTING = """
from huggingface_hub.utils import send_telemetry
send_telemetry("training")
"""
AT_THE_END = """
from huggingface_hub.utils import _telemetry
_telemetry._TELEMETRY_QUEUE.join()
print(json.dumps(looked_up))
"""


def hosts(code, *arguments):
    """The names that a process looks up, in an environment that asks no library to be silent."""
    silent = ("CI", "HF_HUB_OFFLINE", "HF_HUB_DISABLE_TELEMETRY", "DISABLE_TELEMETRY", "DO_NOT_TRACK")
    environment = {name: value for name, value in os.environ.items() if name not in silent}
    environment |= {"PYTHONPATH": PYTHONPATH, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", WATCHED + code + AT_THE_END, *map(str, arguments)]
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    return json.loads(told.splitlines()[-1])


def test_no_training_reports_to_anybody(tmp_path):
    assert hosts(TRAINING, make_model(tmp_path / "base"), tmp_path) == []


def test_no_training_reports_where_the_libraries_were_imported_first(tmp_path):
    assert hosts("import huggingface_hub, trl, datasets\n" + TRAINING, make_model(tmp_path / "base"), tmp_path) == []


def test_no_opening_of_a_file_is_counted(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"prompt": "bak"}\n')
    assert hosts(OPENING, tmp_path / "rows.jsonl", tmp_path / "cache") == []


def test_a_report_would_be_seen():
    assert hosts(REPORTING)
