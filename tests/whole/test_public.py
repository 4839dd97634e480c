"""The public names: of the package, and of each room's face. One that comes or goes is meant to."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import selfreward as sr

ROOT = Path(sr.__path__[0])
PUBLIC = """
Alarm Anchor Completion Dropped Example Graded Judge Judgment Measured Pair Preference Prompt Ranking Reading Recipe Request
Response Result RunView SelfRewardError Verdict check evaluate open run
"""
FACES = Path(__file__).with_name("faces.txt")
"""Every name that a room shows to others, a line each; `python tests/whole/test_public.py` writes it anew."""


def shown():
    """(room, name) of every face."""
    for stub in sorted(ROOT.glob("*/__init__.pyi")):
        for node in ast.parse(stub.read_text(encoding="utf-8")).body:
            yield from ((stub.parent.name, alias.asname) for alias in node.names)


def test_the_names_of_the_package():
    assert sr.__all__ == PUBLIC.split() and set(sr.__all__) <= set(dir(sr))
    for name in sr.__all__:
        assert callable(getattr(sr, name)), name
        assert getattr(sr, name) is getattr(sr, name)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        sr.nothing  # noqa: B018


def test_what_type_checkers_are_told_is_what_there_is():
    tree = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    told = {alias.asname or alias.name: (node.module, alias.name) for node in block.body for alias in node.names}
    assert sorted(told) == sr.__all__
    for name, (module, defined) in told.items():
        assert getattr(sr, name) is getattr(import_module(module), defined)


def test_importing_it_loads_the_standard_library_alone():
    script = "import sys, selfreward; print(*sys.modules)"
    with_it = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    without = [sys.executable, "-c", script.replace(", selfreward", "")]
    loaded = set(with_it) - set(subprocess.run(without, capture_output=True, text=True, check=True).stdout.split())
    assert {name.split(".")[0] for name in loaded} - sys.stdlib_module_names == {"selfreward"}
    assert {name for name in loaded if name.startswith("selfreward")} == {"selfreward"}


def test_the_names_of_the_rooms():
    pinned, now = set(FACES.read_text(encoding="utf-8").split()), {f"{room}.{name}" for room, name in shown()}
    assert (sorted(now - pinned), sorted(pinned - now)) == ([], []), "come, gone: run python tests/whole/test_public.py"
    for room, name in shown():
        assert hasattr(import_module(f"selfreward.{room}"), name), (room, name)


if __name__ == "__main__":
    FACES.write_text("".join(f"{room}.{name}\n" for room, name in sorted(shown())), encoding="utf-8")
