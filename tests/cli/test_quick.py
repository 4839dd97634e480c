"""Commands that people wait for import little: held by what is loaded, for seconds depend on the machine."""

import os
import subprocess
import sys

import pytest

from tinymodels import make_model
from tinyrun import go, make_world, quiet

MODELS = {"torch", "transformers", "trl", "peft", "bitsandbytes", "datasets", "accelerate"}
TRAINING = {"trl", "peft", "bitsandbytes", "datasets"}
FIGURES = {"numpy", "scipy", "pandas", "pyarrow"}
BARS = {"rich.progress", "rich.live"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A world with a real tiny base, and a run of it on the fake backend."""
    folder = tmp_path_factory.mktemp("quick")
    with pytest.MonkeyPatch.context() as patch:
        quiet(patch)
        go(make_world(folder), folder / "run")
    make_model(folder / "base", "llama")
    return folder


def loaded(folder, *arguments):
    """Modules that the command has loaded when it is done."""
    script = (
        "import sys\nfrom selfreward.cli import main\n"
        "try:\n    main()\nfinally:\n    print(*sys.modules, file=sys.stderr)"
    )  # fmt: skip
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize(
    ("command", "without"),
    [
        (["status", "run"], MODELS | FIGURES | BARS),
        (["recipes"], MODELS | FIGURES | BARS),
        (["evaluate", "--help"], MODELS | FIGURES | BARS),
        (["report", "run"], MODELS | {"scipy", "pandas"}),
        (["check", "recipe.toml"], TRAINING | {"scipy.stats"}),
        (["check", "recipe.toml", "--set", "base=base", "--set", "backend.type=hf"], TRAINING),
    ],
)  # fmt: skip
def test_a_command_loads_no_more_than_it_needs(command, without, folder):
    assert loaded(folder, *command) & without == set()


def test_what_is_loaded_would_be_seen(folder):
    assert {"torch", "rich.console"} <= loaded(folder, "check", "recipe.toml")


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs a second core")
def test_check_leaves_the_loading_of_transformers_to_another_process(folder):
    found = loaded(folder, "check", "recipe.toml", "--set", "base=base", "--set", "backend.type=hf")
    assert "torch" in found and not found & {"transformers", "tokenizers", "scipy"}
