"""A look at a model in a process of its own finds what a look here finds, and an end of that process costs time alone."""

import subprocess
import sys
from contextlib import ExitStack

import pytest

from selfreward.checks import looker
from selfreward.checks.look import Looker, NamedModel, Scout
from selfreward.errors import SelfRewardError
from selfreward.recipe import LoRAConfig
from tinymodels import make_model

WORDS = ["bak del", "", "fim <eos> bak", "a text that no token has"]


@pytest.fixture(scope="module")
def begun():
    """A scout, and its process."""
    started, real = [], subprocess.Popen
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.setattr("selfreward.checks.scout._cores", lambda: 2)
        patch.setattr(subprocess, "Popen", lambda *given, **more: started.append(real(*given, **more)) or started[-1])
        with pytest.MonkeyPatch.context() as before:
            before.delitem(sys.modules, "transformers", raising=False)
            scout = stack.enter_context(looker())
        yield scout, started[0]
        assert started[0].poll() is None or started[0].returncode < 0
    assert started[0].poll() is not None  # nothing goes on behind


def outcome(question, *given):
    try:
        return question(*given)
    except SelfRewardError as error:
        return type(error), error.what, error.where, error.now


def asked(seer, folder):
    """All that is asked about the model in `folder`."""
    model = NamedModel("base", ("M0",), "folder")
    loras = (LoRAConfig(targets="all-linear"), LoRAConfig(targets=["nowhere"]))
    return [
        outcome(seer.look, "folder", folder, model), outcome(seer.look, "settings", folder, model),
        outcome(seer.look, "gguf", folder / "config.json", model), outcome(seer.count, "base", WORDS),
        *(outcome(seer.adapters, "base", lora) for lora in loras),
    ]  # fmt: skip


def test_another_process_finds_what_is_found_here_and_goes_on_after_errors(begun, tmp_path):
    scout, process = begun
    assert isinstance(scout, Scout)
    whole, torn = make_model(tmp_path / "whole", "llama"), make_model(tmp_path / "torn", "llama", intermediate_size=40)
    (torn / "config.json").write_text((whole / "config.json").read_text())
    answers = {folder: asked(scout, folder) for folder in (whole, torn)}
    assert process.poll() is None and answers == {folder: asked(Looker(), folder) for folder in (whole, torn)}
    seen, _, gguf, counts, adapters, nowhere = answers[whole]
    assert not seen.problems and seen.shape.parameters > 0 and seen.talk.around > 0 and counts[1] == 0 and adapters > 0
    assert gguf[0] is SelfRewardError and nowhere[2] == "trainer.lora.targets"
    assert "by its config.json" in answers[torn][0].problems[0].what and not answers[torn][1].problems


def test_where_that_process_has_ended_the_look_is_taken_here(begun, tmp_path):
    scout, process = begun
    folder = make_model(tmp_path / "base", "llama")
    found = scout.look("folder", folder, NamedModel("base", ("M0",), "folder"))
    counts = scout.count("base", WORDS)
    process.kill()
    assert scout.count("base", WORDS) == counts  # by the tokenizer of a look that was taken there
    assert scout.look("folder", folder, NamedModel("base", ("M0",), "folder")) == found
