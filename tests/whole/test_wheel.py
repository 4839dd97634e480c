"""What is installed from a wheel is the whole program: nothing is left in the checkout that it needs."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest

import selfreward
from selfreward.errors import DISTRIBUTION, pip_install
from selfreward.rundir import versions

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.egg-info")


def run(*command, folder, **named):
    """Output of a command that succeeds, in an environment that knows no path to the checkout."""
    outside = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    command = list(map(str, command))
    done = subprocess.run(command, cwd=folder, env=outside, capture_output=True, text=True, check=False, timeout=900, **named)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy: a build leaves folders behind, which the next would pack."""
    place = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT / "src", place / "tree" / "src", ignore=LEFT_OUT)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, place / "tree")
    offline = ("--no-deps", "--no-index", "--no-build-isolation", "--quiet")
    run(sys.executable, "-m", "pip", "wheel", *offline, "--wheel-dir", place, place / "tree", folder=place)
    return next(place.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The folder of commands of a fresh environment: the wheel, and the libraries of the environment that runs this."""
    venv = tmp_path_factory.mktemp("venv")
    run(sys.executable, "-m", "venv", "--without-pip", venv, folder=venv)
    python = venv / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", "--quiet", wheel, folder=venv)
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", folder=venv).strip())
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")  # whose own .pth files are not read: no checkout
    return venv / "bin"


def test_the_wheel_has_every_file_of_the_package_and_nothing_else(wheel):
    package = ROOT / "src" / "selfreward"
    files = (path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert packed == {str(path.relative_to(package.parent)) for path in files}
    assert {"selfreward/lab/defects/lab.toml", "selfreward/recipe/__init__.pyi", "selfreward/py.typed"} <= packed


def test_the_wheel_is_called_as_hints_and_versions_say(wheel):
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = PathDistribution(zipfile.Path(archive, f"{name.removesuffix('METADATA')}")).metadata
    assert (metadata["Name"], metadata["Version"]) == (DISTRIBUTION, selfreward.__version__)
    assert versions()["selfreward"] == selfreward.__version__
    extras = set(metadata.get_all("Provides-Extra"))
    hints = re.findall(
        r"pip_install\(.(\w+).\)", "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    )
    assert len(hints) > 6 and set(hints) <= extras


def test_it_runs_from_an_empty_folder(installed, tmp_path):
    command, python = installed / "selfreward", installed / "python"
    where = run(python, "-c", "import selfreward; print(selfreward.__file__)", folder=tmp_path).strip()
    assert Path(where).is_relative_to(installed.parent)
    assert "micro" in run(command, "recipes", folder=tmp_path)
    assert "--only" in run(command, "lab", "--help", folder=tmp_path)
    limits = {"ift": 16, "eft": 16, "heldout_prompts": 3, "heldout_rankings": 3}
    changes = {
        **{f"data.{name}": {"path": f"selfreward:lab/micro/seed/{name}.jsonl", "limit": n} for name, n in limits.items()},
        **{"iterations": 1, "sft.epochs": 1, "sft.baseline": False, "dpo.epochs": 1, "prompts.per_iteration": 6},
        **{"judge.by": "selfreward.lab.micro.controls:Oracle", "drift.sample": 2, "drift.pool": 2},
        **{"measure.base": False, "measure.bootstrap": 100},
    }
    given = [part for name, value in changes.items() for part in ("--set", f"{name}={json.dumps(value)}")]
    run(command, "check", "micro", *given, folder=tmp_path)
    run(command, "run", "micro", *given, folder=tmp_path)
    made = tmp_path / "runs" / "micro"
    assert (made / "M2" / "model" / "model.safetensors").exists() and (made / "report" / "index.html").exists()
    assert "M2" in run(command, "status", made, folder=tmp_path)


def test_the_recipe_of_the_laboratory_is_there_and_names_files_that_are_there(installed, tmp_path):
    script = (
        "from selfreward.lab.defects.worlds import EASY, HARD; from selfreward.recipe import load_recipe\n"
        "from pathlib import Path\n"
        "load_recipe(HARD.recipe); recipe = load_recipe(EASY.recipe); print(EASY.recipe)\n"
        "named = (recipe.base, recipe.data.ift.path, recipe.judge.rubric, recipe.drift.anchors)\n"
        "assert all(Path(path).exists() for path in named)"
    )
    path = run(installed / "python", "-c", script, folder=tmp_path).strip()
    assert Path(path).is_relative_to(installed.parent)


def texts():
    """Everything that tells people how to install something."""
    for part in ("src/selfreward", "docs", "scripts", "tests"):
        yield from (path for path in (ROOT / part).rglob("*") if path.suffix in (".py", ".md", ".toml", ".sh", ".html", ".txt"))
    yield from (ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "Makefile", "pyproject.toml"))


SOMEBODY_ELSES = re.compile(
    r"""selfreward\[|\b(?:install|uvx?|pipx|add)\b[^\n;&|`]*[\s'"]selfreward(?=$|[\s'"`=<>~!,.)])""", re.M
)
"""Names PyPI's `selfreward` as something to be installed, with extras or without."""


def test_nothing_tells_anybody_to_install_the_package_of_somebody_else():
    read = {str(path): path.read_text(encoding="utf-8") for path in texts() if path != Path(__file__)}
    wrong = [(name, found[0]) for name, text in read.items() for found in SOMEBODY_ELSES.finditer(text)]
    assert wrong == []


@pytest.mark.parametrize(
    "text",
    ["pip install selfreward", "pip install 'selfreward[ray]'", 'Install "selfreward[qlora]"', "uv add -q selfreward==0.1"],
)
def test_a_text_that_did_would_be_caught(text):
    assert SOMEBODY_ELSES.search(text) and not SOMEBODY_ELSES.search(text.replace("selfreward", DISTRIBUTION))


def test_every_extra_that_a_hint_may_name_is_one_of_ours():
    assert PROJECT["name"] == DISTRIBUTION and pip_install("ray") == "pip install 'selfreward-lm[ray]'"
