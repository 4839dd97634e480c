"""A whole run from a GGUF file: converted once, and killed anywhere it goes on to the same bytes."""

import pytest

from selfreward.api import execute
from selfreward.engines import gguf as conversion
from selfreward.engines.fake import FakeModel
from selfreward.engines.sampling.hf import HFModel
from selfreward.engines.training.trl import TRLTrainer
from selfreward.recipe import load_recipe
from selfreward.records import Example, Prompt, to_line
from selfreward.rundir import conversion as of_run
from tinygguf import write_file
from tinyrun import Killed, kill_at, quiet, tree

RECIPE = """
base = "tiny.gguf"
iterations = 1
[data]
ift = "ift.jsonl"
heldout_prompts = "heldout.jsonl"
[sft]
on = "ift"
baseline = false
epochs = 1
batch_size = 4
[prompts]
from = "prompts.jsonl"
per_iteration = 3
[responses]
n = 4
temperature = 1.0
top_p = 1.0
max_tokens = 12
[judge]
by = "test_gguf_run:Judge"
samples = 1
min_valid = 1
[dpo]
batch_size = 1
[measure]
bootstrap = 100
judging = false
[backend]
device = "cpu"
"""
KILLS = [
    (of_run, "write_gguf"), (conversion, "assert_finite"), (of_run, "fingerprint"), (HFModel, "generate"), (TRLTrainer, "dpo"),
]  # fmt: skip
"""Before the file is read, when the folder is written, when it has its name, in sampling and in training."""


class Judge(FakeModel):
    """Prefers long answers."""

    def __init__(self):
        super().__init__(lambda request: (f"Score: {len(request.messages[-1].content) % 6}", "stop"))


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    write_file(folder / "tiny.gguf")
    seeds = [Example(prompt=f"ab{letter}", response=f"{letter}abc", kind="ift", source="test") for letter in "abcdef"]
    prompts = [Prompt(text=text, source="seed") for text in ("abba", "cab", "dead beef")]
    heldout = [Prompt(text="fade", source="seed")]
    for name, records in {"ift": seeds, "prompts": prompts, "heldout": heldout}.items():
        (folder / f"{name}.jsonl").write_text("".join(to_line(record) + "\n" for record in records))
    (folder / "recipe.toml").write_text(RECIPE)
    return folder / "recipe.toml"


def test_a_run_from_a_gguf_file_goes_to_its_last_model_and_a_killed_one_to_the_same_bytes(recipe, tmp_path, monkeypatch):
    quiet(monkeypatch)
    last = execute(load_recipe(recipe), tmp_path / "whole")
    assert last.name == "M2" and (tmp_path / "whole" / "seed" / "base" / "model.safetensors").is_file()
    for place in KILLS:
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
            kill_at(patch, 1, [place])
            execute(load_recipe(recipe), tmp_path / "killed")
    execute(load_recipe(recipe), tmp_path / "killed")
    assert tree(tmp_path / "killed") == tree(tmp_path / "whole")
