"""A model is everything that decides what it says: its settings too, for a run that goes on, and for whoever reads its models."""

import json
import shutil

import pytest
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

from selfreward.cli import app
from selfreward.errors import Outdated, SelfRewardError
from selfreward.measure import find_subject
from selfreward.records import settings_of
from selfreward.reports import write_cards
from selfreward.reports.push import pack
from selfreward.rundir import check_model
from tinyrun import go, make_world, quiet, tree

SETTINGS = {
    "config.json": '{"rope_theta": 10000}',
    "generation_config.json": '{"eos_token_id": 2}',
    "tokenizer_config.json": '{"chat_template": "{{ messages }}"}',
    "special_tokens_map.json": "{}",
    "added_tokens.json": "{}",
    "chat_template.json": "{}",
    "model.safetensors.index.json": '{"weight_map": {"weight": "model.safetensors"}}',
    "tokenizer.model": "pieces",
    "merges.txt": "a b",
    "additional_chat_templates/tool_use.jinja": "{{ tools }}",
}


@pytest.fixture
def world(tmp_path, monkeypatch):
    quiet(monkeypatch)
    recipe = make_world(tmp_path / "world")
    for name, text in SETTINGS.items():
        file = tmp_path / "world" / "base" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    return recipe


@pytest.mark.parametrize("name", SETTINGS)
def test_a_base_with_other_settings_than_a_run_began_with_is_another_model(name, world, tmp_path):
    run, file = tmp_path / "run", tmp_path / "world" / "base" / name
    go(world, run)
    before = tree(run)
    file.write_text(file.read_text() + " ")
    with pytest.raises(Outdated) as caught:
        go(world, run)
    assert str(caught.value).startswith(f"M0: is no longer the model that this began with: {name} changed, in its folder. Undo")
    assert tree(run) == before
    file.write_text(SETTINGS[name])
    go(world, run)
    assert tree(run) == {**tree(run), **{path: value for path, value in before.items() if path != "provenance.json"}}


def test_a_file_that_was_added_or_lost_is_a_change_and_one_that_nothing_reads_is_none(world, tmp_path):
    run, base = tmp_path / "run", tmp_path / "world" / "base"
    go(world, run)
    (base / "README.md").write_text("words")
    go(world, run)
    (base / "adapter_config.json").write_text("{}")
    with pytest.raises(Outdated, match=r"adapter_config\.json changed"):
        go(world, run)
    (base / "adapter_config.json").unlink()
    (base / "generation_config.json").unlink()
    with pytest.raises(Outdated, match=r"generation_config\.json changed"):
        go(world, run)


def test_a_run_of_a_build_that_kept_none_goes_on_and_keeps_them_from_then_on(world, tmp_path):
    run, base = tmp_path / "run", tmp_path / "world" / "base"
    go(world, run)
    provenance = json.loads((run / "provenance.json").read_text())
    assert provenance["models"]["M0"].items() >= settings_of(base).items()
    del provenance["models"]
    (run / "provenance.json").write_text(json.dumps(provenance))
    (base / "config.json").write_text("{}")
    go(world, run)
    (base / "config.json").write_text(SETTINGS["config.json"])
    with pytest.raises(Outdated, match=r"config\.json changed"):
        go(world, run)


def test_a_base_that_moved_is_the_same_model(world, tmp_path):
    run = tmp_path / "run"
    go(world, run)
    shutil.move(tmp_path / "world" / "base", tmp_path / "moved")
    go(world, run, base=str(tmp_path / "moved"))


# ——— readers of a run's models ———


def flip(model):
    weights = load_file(model / "model.safetensors")
    save_file({name: value + 1 for name, value in weights.items()}, model / "model.safetensors")


DAMAGE = {
    "weights": (flip, "was changed or damaged since it was written"),
    "settings added": (lambda model: (model / "adapter_config.json").write_text("{}"), "was added since the model was written"),
    "template added": (lambda model: (model / "chat_template.jinja").write_text("{{ 1 }}"), "was changed or damaged"),
    "lost": (shutil.rmtree, "is missing"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_model_that_is_not_as_it_was_written_is_neither_evaluated_nor_carded_pushed_or_asked(damage, world, tmp_path):
    run = tmp_path / "run"
    go(world, run)
    spoil, says = DAMAGE[damage]
    model = run / "M2" / "model"
    readers = {
        "check": lambda: check_model(run / "M2"),
        "evaluate": lambda: find_subject(str(run / "M2")),
        "compare": lambda: find_subject(str(model)),
        "push": lambda: pack(run / "M2"),
        "push model": lambda: pack(model),
        "cards": lambda: write_cards(run),
    }
    for name, read in readers.items():
        if name != "cards":
            read()
    spoil(model)
    for name, read in readers.items():
        if damage == "lost" and name in ("compare", "cards", "push model"):
            continue
        with pytest.raises(SelfRewardError, match=says):
            read()
    if damage != "lost":
        (model / "config.json").exists() or (model / "config.json").write_text("{}")
        told = CliRunner().invoke(app, ["chat", str(run / "M2")])
        assert told.exit_code == 1 and told.output.startswith("error: ")
