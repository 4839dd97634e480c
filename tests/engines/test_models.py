"""Models by whatever name a recipe gives them."""

import os
import subprocess
import sys
from fnmatch import fnmatch

import huggingface_hub
import pytest

from selfreward.engines import load_checkpoint, outside_model
from selfreward.errors import SelfRewardError
from selfreward.recipe import ServerConfig
from selfreward.records import fingerprint
from tinymodels import make_model

SHA = "0123456789abcdef0123456789abcdef01234567"


def test_a_model_of_the_hub_is_taken_from_the_local_cache_without_a_network(tmp_path):
    repo = tmp_path / "models--org--tiny"
    made = make_model(repo / "snapshots" / SHA)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(SHA)
    code = "from selfreward.steps.cast import load_checkpoint as l; m = l('M0', 'org/tiny'); print(m.path, m.fingerprint)"
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert told.stdout.split() == [str(made), fingerprint(made)]


def test_of_a_model_on_the_hub_no_code_and_no_pickle_is_fetched(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **how: asked.append(how) or make_model(tmp_path / "m"))
    load_checkpoint("M0", "org/tiny")
    (how,) = asked
    wanted = ["model-00001-of-00002.safetensors", "model.safetensors.index.json", "config.json", "tokenizer.model", "merges.txt"]
    wanted += ["chat_template.jinja", "tokenizer_config.json"]
    unwanted = ["pytorch_model.bin", "modeling_tiny.py", "training_args.bin", "x.pt", "original/model.safetensors"]

    def fetched(file):
        allowed, ignored = (any(fnmatch(file, p) for p in how[f"{kind}_patterns"]) for kind in ("allow", "ignore"))
        return allowed and not ignored

    assert [file for file in (*wanted, *unwanted) if fetched(file)] == wanted


def test_what_is_no_folder_and_cannot_be_had_is_one_line(monkeypatch):
    def unreachable(*_, **__):
        raise OSError("no route\nand a long story")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(
        SelfRewardError, match=r"^org/tiny: is no folder and cannot be fetched from the hub \(no route\)\. Give M0"
    ):
        load_checkpoint("M0", "org/tiny")
    with pytest.raises(SelfRewardError, match="there is no such folder"):
        load_checkpoint("M0", "/no/such/folder")
    with pytest.raises(SelfRewardError, match=r"or by a name under \[servers\]$"):
        load_checkpoint("judge", "gpt-5.2:mini")


def test_a_server_is_told_from_another_by_address_and_model_and_by_nothing_else():
    servers = {
        "a": ServerConfig(url="http://localhost:1/v1", model="m"),
        "same": ServerConfig(url="http://localhost:1/v1", model="m", concurrency=1, key_env="KEY"),
        "other": ServerConfig(url="http://localhost:1/v1", model="n"),
        "elsewhere": ServerConfig(url="http://localhost:2/v1", model="m"),
    }
    found = {name: outside_model(name, servers).fingerprint for name in servers}
    assert found["a"] == found["same"] and len(set(found.values())) == 3
