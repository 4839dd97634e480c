"""Every shipped recipe's whole path, on a tiny random model of the same architecture in the place of its own.

Everything else stays as the recipe has it, but counts and lengths. A random model writes no "Score: 4", so `judge.pattern`
takes a digit, of which its vocabulary has many, for the score: nothing in the path is left out or played by somebody else.
"""

import gzip
import json
import random
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest
from test_check import PUBLISHED as KNOWN_MODELS
from test_check import receipts
from test_server import Endpoint, said
from typer.testing import CliRunner

import tinymodels
from selfreward.api import execute
from selfreward.checks import bill, check
from selfreward.checks.costs import TrainingStage
from selfreward.cli import app
from selfreward.engines import Device
from selfreward.engines.training.learner import context
from selfreward.recipe import load_recipe, shipped_recipes
from tinymodels import make_model

TREES = "2023-04-12_oasst_ready.trees.jsonl.gz"
WHERE = f"data.ift ({TREES})"
SMALL = {
    "data.ift.limit": 6, "data.rankings.limit": 8, "data.heldout": 2,
    "prompts.per_iteration": 12, "prompts.max_tokens": 24, "prompts.min_words": 2,
    "responses.max_tokens": 24, "judge.max_tokens": 64, "judge.pattern": r"(?<!\S)([0-5])(?!\S)", "measure.bootstrap": 100,
    "sft.learning_rate": 1e-4, "iterations": 1,
}  # fmt: skip
READY_MADE = {
    **{name: value for name, value in SMALL.items() if name not in ("data.rankings.limit", "data.heldout")},
    "data.eft.limit": 4, "data.heldout_prompts.limit": 3, "data.heldout_rankings.limit": 2,
}  # fmt: skip
"""Of a recipe whose EFT comes ready made."""
ROOM = {"max_position_embeddings": 4096, "initializer_range": 0.02}
"""For the rubric; and every word about as likely, so that there are digits and ends."""
KIND = {"llama2-70b": "llama", "llama3-8b": "llama", "qwen3-0.6b": "qwen3", "smollm2-135m": "llama", "smollm2-checkable": "llama"}


@pytest.fixture(autouse=True)
def words(monkeypatch):
    """A vocabulary that is half digits; and a matrix product that takes no time to measure, a disk none to write to."""
    monkeypatch.setattr(tinymodels, "WORDS", tuple("012345") + tinymodels.WORDS[:6])
    monkeypatch.setattr(bill, "matmul_rate", lambda device, bfloat16, rows: 1e9)
    monkeypatch.setattr("os.fsync", lambda handle: None)


def trees(number, seed=0):
    """Message trees as Open Assistant exports them, two ranked replies each."""
    rng = random.Random(seed)

    def text(count):
        return " ".join(rng.choices(tinymodels.WORDS, k=count))

    for at in range(number):
        about = {"lang": "en", "review_result": True, "deleted": False}
        replies = [{"text": text(6), "role": "assistant", "rank": rank, "replies": [], **about} for rank in (0, 1)]
        prompt = {"text": f"{at} {text(8)}", "role": "prompter", "replies": replies, **about}
        yield {"message_tree_id": str(at), "tree_state": "ready_for_export", "prompt": prompt}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with the seed file that the recipes name, the validation prompts, and a model in the place of every other."""
    monkeypatch.chdir(tmp_path)
    with gzip.open(TREES, "wt") as file:
        file.writelines(json.dumps(tree) + "\n" for tree in trees(24))
    validation = tmp_path / "no_robots"
    validation.mkdir()
    turns = [{"role": "user", "content": "bak bal bam"}, {"role": "assistant", "content": "ban"}]
    (validation / "test.jsonl").write_text("".join(json.dumps({"messages": turns}) + "\n" for _ in range(3)))
    return tmp_path


@pytest.fixture
def endpoint():
    """A server for the writers and judges that a recipe asks outside."""
    found, rng = Endpoint(), random.Random(0)

    def play(number, body, headers):
        asked = body["messages"][-1]["content"]
        if asked.startswith("Come up with"):
            return said(" ".join(rng.choices(tinymodels.WORDS, k=6)))
        return said(f"So be it. Verdict: {rng.choice(('first', 'second', 'tie'))}")

    found.play = play
    yield found
    found.server.shutdown()
    found.server.server_close()


def in_its_place(name, place, endpoint):
    """The recipe with what a tiny model needs, and nothing else, changed."""
    recipe = load_recipe(shipped_recipes()[name])
    small = READY_MADE if recipe.data.eft else SMALL
    changes = {**small, "base": str(make_model(place / "base", KIND[name], **ROOM)), "backend.device": "cpu"}
    if recipe.prompts.frozen and recipe.prompts.frozen not in recipe.servers:
        changes["prompts.frozen"] = str(make_model(place / "writer", KIND[name], seed=1, **ROOM))
    for server in recipe.servers:
        changes |= {f"servers.{server}.url": endpoint.url}
    if recipe.select:
        changes |= {"select.prompts.path": str(place / "no_robots"), "select.every": 1}
    return load_recipe(shipped_recipes()[name], changes)


def added_up(receipts):
    """Stage → its counts, the stages of a selection as one, without those that had nothing to ask."""
    found = {}
    for name, receipt in receipts.items():
        counts = Counter(
            {key: receipt[key] for key in ("steps", "records", "prompt_tokens", "completion_tokens") if key in receipt}
        )
        if sum(counts.values()):
            found.setdefault(re.sub(r"_\d+$", "", name), Counter()).update(counts)
    return found


@pytest.mark.parametrize("name", KIND)
def test_the_path_of_a_recipe_from_check_to_m2(name, place, endpoint, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-Plant3d-0123456789abcdef")
    recipe, run = in_its_place(name, place, endpoint), place / "run"
    checked = check(recipe, run)
    assert checked.works, checked.findings
    model = execute(recipe, run)
    told, found = {line.stage.stage: line.stage for line in checked.bill.lines}, added_up(receipts(run))
    assert set(found) == set(told)
    for stage, receipt in found.items():
        if isinstance(told[stage], TrainingStage):
            assert 0 < receipt["steps"] <= told[stage].steps
        else:
            assert 0 < receipt["records"] <= told[stage].requests
            assert receipt["completion_tokens"] <= told[stage].writes.most
            if told[stage].by not in recipe.servers:
                assert receipt["prompt_tokens"] <= told[stage].reads.most
    assert model.name == "M2" and context(model.path) == 4096
    summary = json.loads((run / "summary.json").read_text())
    assert [measured["name"] for measured in summary["models"]] == ["M0", "SFT", "M1", "M2"]


PUBLISHED = {
    "base": "meta-llama/Llama-2-70b-hf", "iterations": 2,
    "data.ift.limit": 3200, "data.ift.language": "en", "data.ift.format": "oasst",
    "data.rankings.language": "en", "data.heldout": 256, "sft.on": "ift+eft", "sft.learning_rate": 5.5e-6,
    "sft.end_learning_rate": 1.1e-6, "sft.batch_size": 16, "sft.dropout": 0.1, "sft.baseline": True,
    "prompts.by": "frozen", "prompts.frozen": "meta-llama/Llama-2-70b-chat-hf", "prompts.shots_seed": 6, "prompts.shots_self": 2,
    "prompts.temperature": 0.6, "prompts.top_p": 0.9, "responses.n": 4, "responses.temperature": 0.7, "responses.top_p": 0.9,
    "judge.by": "current", "judge.samples": 3, "judge.temperature": 0.7, "judge.top_p": 0.9, "judge.scale": (0, 5),
    "pairs.accumulate": False, "dpo.beta": 0.1, "dpo.learning_rate": 1e-6, "dpo.end_learning_rate": 1e-7, "dpo.batch_size": 16,
    "dpo.dropout": 0.1, "dpo.nll_weight": 0.0, "select.every": 200, "select.prompts.limit": 253, "trainer.lora": None,
}  # fmt: skip
"""The paper, sections 2 and 3.1."""


def test_the_papers_recipe_has_every_published_choice():
    recipe = load_recipe(Path("llama2-70b"))
    for dotted, value in PUBLISHED.items():
        at = recipe
        for name in dotted.split("."):
            at = getattr(at, name)
        assert at == value, dotted
    assert recipe.measure.judge in recipe.servers and recipe.select.judge in recipe.servers
    assert recipe.measure.judge != recipe.select.judge


def test_of_the_papers_recipe_check_says_that_it_fits_on_no_device(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for module in ("checks.checker", "engines.opening"):
        monkeypatch.setattr(
            f"selfreward.{module}.find_device", lambda asked="auto": Device("cuda", "the largest GPU", 288 * 10**9)
        )
    recipe = load_recipe(Path("llama2-70b"), {"select": None, "measure.judge": None})
    errors = {finding.where: finding.what for finding in check(recipe, tmp_path).findings if finding.level == "error"}
    assert errors["SFT on the largest GPU"].startswith("needs 1,120.0 GB before any text is in it (weights 280.0 GB")
    assert errors["DPO on the largest GPU"].startswith("needs 1,400.0 GB")
    assert errors[WHERE].startswith("cannot be read") and "cannot be fetched from the hub" in errors[recipe.base]


@pytest.mark.parametrize(("name", "memory"), [("llama3-8b", 80e9), ("qwen3-0.6b", 24e9), ("smollm2-135m", 16e9)])
def test_the_other_recipes_fit_on_the_device_that_they_name(name, memory, tmp_path, monkeypatch):
    """With a seed of usual size."""
    monkeypatch.chdir(tmp_path)
    shapes = {"llama3-8b": "Llama 3 8B", "qwen3-0.6b": "Qwen3 0.6B", "smollm2-135m": "SmolLM2 135M"}
    kind, settings, _ = KNOWN_MODELS[shapes[name]]
    folder = make_model(tmp_path / "base", kind, **ROOM)
    config = json.loads((folder / "config.json").read_text())
    real = {"head_dim": 128 if name == "llama3-8b" else 64, "max_position_embeddings": 32768, "dtype": "bfloat16", **settings}
    (folder / "config.json").write_text(json.dumps({key: value for key, value in config.items() if key != "layer_types"} | real))
    monkeypatch.setattr("shutil.disk_usage", lambda path: shutil._ntuple_diskusage(10**12, 0, 10**12))
    kind = "cpu" if name == "smollm2-135m" else "cuda"
    for module in ("checks.checker", "engines.opening"):
        monkeypatch.setattr(f"selfreward.{module}.find_device", lambda asked="auto": Device(kind, "it", int(memory)))
    monkeypatch.setattr("selfreward.checks.checker.wants_bfloat16", lambda trainer: kind == "cuda")
    monkeypatch.setattr("selfreward.checks.look.assert_sound", lambda folder: None)  # its weights are not of that size
    changes = {"base": str(folder), "prompts.by": "current", "measure.judge": None}
    checked = check(load_recipe(Path(name), changes), tmp_path)
    assert [finding.where for finding in checked.findings] == [WHERE]
    assert {need.what for need in checked.bill.needs} == {"SFT", "DPO", "sampling …/base"}


# by name


def test_recipes_are_listed_with_what_they_are_and_printed_to_start_from(tmp_path):
    listed = CliRunner().invoke(app, ["recipes"]).output.splitlines()
    assert [line.split()[0] for line in listed] == sorted([*KIND, "micro", "micro-hard"])
    assert all(len(line.split()) > 5 for line in listed)
    printed = CliRunner().invoke(app, ["recipes", "qwen3-0.6b"]).output
    (tmp_path / "mine.toml").write_text(printed)
    assert load_recipe(tmp_path / "mine.toml") == load_recipe(Path("qwen3-0.6b"))
    wrong = CliRunner().invoke(app, ["recipes", "qwen"])
    assert wrong.exit_code == 1 and "There are llama2-70b, llama3-8b, micro" in wrong.stderr


def test_a_shipped_recipe_is_named_and_a_file_of_yours_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_recipe(Path("micro")) == load_recipe(Path("micro.toml")) == load_recipe(shipped_recipes()["micro"])
    Path("micro.toml").write_text(shipped_recipes()["micro"].read_text() + "\n[pairs]\naccumulate = true")
    assert load_recipe(Path("micro.toml")).pairs.accumulate and not load_recipe(Path("micro")).pairs.accumulate
    result = CliRunner().invoke(app, ["check", "nothing"])
    assert (
        result.exit_code == 1 and "nothing: cannot be read" in result.stderr and "llama2-70b, llama3-8b, micro" in result.stderr
    )
