"""Imports point downward only, heavy libraries stay where they belong, and the loop never sees the truth."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import selfreward
from selfreward.steps import best_against_worst
from tinyrun import go, make_world

PACKAGE = Path(selfreward.__path__[0])
ROOMS = [
    ["errors"],
    ["records"],
    ["recipe"],
    ["engines", "stats"],
    ["rundir"],
    ["reports", "steps"],
    ["measure"],
    ["checks", "loop"],
    ["api"],
    ["lab"],
    ["cli"],
]
"""From the floor up. A module imports from its own room and from lower floors."""
HEAVY = {"torch", "transformers", "trl", "accelerate", "datasets", "tokenizers", "peft", "bitsandbytes", "vllm", "ray"}
MAY_BE_HEAVY = (
    "engines.template", "engines.tokens", "engines.sampling.", "engines.training.", "lab.micro.base", "lab.speed.world",
    "lab.speed.ledger", "lab.speed.rates", "lab.speed.baseline", "lab.speed.peers",
)  # fmt: skip
MAY_KNOW_THE_MICRO_WORLD = ("lab.", "cli.laboratory")


def modules():
    """Name → syntax tree of every module of the package."""
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").strip(".")
        yield name, ast.parse(path.read_text(encoding="utf-8"))


def imports(tree, at_load=False):
    """Dotted names that a module imports; `at_load` leaves out what only a function imports."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif not (at_load and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)):
            yield from imports(node, at_load)


MODULES = dict(modules())
FLOOR = {room: floor for floor, rooms in enumerate(ROOMS) for room in rooms}


def room(name):
    """The room of a module, or the module itself where it has none."""
    return name.split(".")[0]


def faces():
    """(room, name) → the module of ours that defines what the face of a room exports under this name."""
    for stub in PACKAGE.glob("*/__init__.pyi"):
        for node in ast.parse(stub.read_text(encoding="utf-8")).body:
            yield from (((stub.parent.name, alias.name), f"{stub.parent.name}.{node.module}") for alias in node.names)


FACES = dict(faces())


def ours(tree, at_load=False):
    """Modules of ours that a module imports; a name of a room's face counts as the module that defines it."""
    for name in imports(tree, at_load):
        parts = name.split(".")[1:] if name.startswith("selfreward.") else []
        candidates = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
        known = next((known for known in candidates if known in MODULES), None)
        yield from [FACES.get(tuple(parts), known)] if known else []


def upward(trees):
    """(module, import that stays neither in its room nor points to a lower floor)."""
    arrows = [(name, used) for name, tree in trees.items() for used in ours(tree) if room(name) != room(used)]
    return [(name, used) for name, used in arrows if FLOOR.get(room(used), 99) >= FLOOR[room(name)]]


def reached(start):
    """Every module of ours that `start` may load, at once or later."""
    known, waiting = set(), [start]
    while waiting:
        if (name := waiting.pop()) not in known:
            known.add(name)
            waiting += ours(MODULES[name])
    return known


def in_a_circle(trees):
    """Modules that import themselves by way of others, when they load."""
    arrows = {name: set(ours(tree, at_load=True)) - {name} for name, tree in trees.items()}
    while free := [name for name, used in arrows.items() if not used & arrows.keys()]:
        arrows = {name: used for name, used in arrows.items() if name not in free}
    return sorted(arrows)


def test_every_entry_of_the_package_is_a_room_with_its_floor():
    entries = {path.name.removesuffix(".py") for path in PACKAGE.iterdir() if path.name not in ("__pycache__", "__init__.py")}
    assert entries == set(FLOOR) | {"py.typed"} and len(entries) + 1 <= 16 and len(ROOMS) <= 12


def test_imports_stay_in_their_room_or_point_downward():
    assert upward(MODULES | {"": ast.parse("")}) == []


def test_no_module_imports_itself_by_way_of_others():
    assert in_a_circle(MODULES) == []
    planted = {"a": ast.parse("import selfreward.records.jsonl"), "records.jsonl": ast.parse("import selfreward.errors")}
    assert in_a_circle(planted) == []
    planted["records.jsonl"] = ast.parse("from selfreward.records import to_line\nimport selfreward.records.base")
    planted["records.base"] = ast.parse("from selfreward.records import to_line")
    assert in_a_circle(planted) == ["a", "records.base", "records.jsonl"]


def test_between_rooms_modules_import_the_face():
    """A module of another room is imported by path only where it is heavy, and so stays out of the face."""
    by_path = {
        (name, used) for name, tree in MODULES.items() for used in set(imports(tree)) if used.startswith("selfreward.")
        and room(used.removeprefix("selfreward.")) != room(name) and used.count(".") > 2
    }  # fmt: skip
    allowed = ("selfreward.engines.sampling.", "selfreward.engines.training.", "selfreward.lab.", "selfreward.measure.")
    assert {arrow for arrow in by_path if not arrow[1].startswith(allowed)} == set()


def test_a_face_exports_no_name_that_is_also_a_module_of_its_room():
    assert [(house, name) for house, name in FACES if f"{house}.{name}" in MODULES] == []
    assert all(len(stub.read_text().splitlines()) <= 40 for stub in PACKAGE.glob("*/__init__.pyi"))


@pytest.mark.parametrize(("start", "most"), [("reports.status", 24), ("reports.page", 37)])
def test_what_people_look_at_needs_little_of_the_package(start, most):
    assert len(reached(start)) <= most, sorted(reached(start))


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("records.made", "from selfreward.recipe import Recipe"),
        ("rundir.stages", "from selfreward import loop"),
        ("stats.scores", "def late():\n    import selfreward.rundir.stages"),
        ("stats.ranks", "from selfreward.engines import Model"),
        ("loop", "from selfreward.lab.micro.truth import verdict"),
    ],
)
def test_an_import_that_points_upward_would_be_caught(module, line):
    assert [name for name, _ in upward({module: ast.parse(line)})] == [module]


def heavy(trees):
    """Modules that load a heavy library where they should not."""
    return [name for name, tree in trees.items() if {used.split(".")[0] for used in imports(tree, at_load=True)} & HEAVY]


def test_nothing_but_training_chat_and_the_engines_loads_torch():
    assert [name for name in heavy(MODULES) if not f"{name}.".startswith(MAY_BE_HEAVY)] == []
    assert heavy({"pairs": ast.parse("if True:\n    import torch.nn as nn")}) == ["pairs"]


def test_the_whole_loop_and_the_command_line_load_without_torch():
    modules = "selfreward.cli, selfreward.api, selfreward.loop, selfreward.reports.page, selfreward.lab.micro.truth"
    script = f"import sys, {modules}; sys.exit(' '.join(sorted({HEAVY!r} & set(sys.modules))) or 0)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (loaded.returncode, loaded.stderr) == (0, "")


def knows_the_micro_world(trees):
    """Modules that import the micro world, or name it in a string that could be imported."""
    found = []
    for name, tree in trees.items():
        strings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
        named = any(text.startswith("selfreward.lab.micro") for text in strings)
        if named or any(used.startswith("selfreward.lab.micro") for used in imports(tree)):
            found.append(name)
    return found


def test_only_the_laboratory_knows_the_micro_world():
    knowing = [name for name in knows_the_micro_world(MODULES) if not f"{name}.".startswith(MAY_KNOW_THE_MICRO_WORLD)]
    assert set(knowing) <= {"recipe.fields"}  # where names of earlier layouts are looked up


@pytest.mark.parametrize("line", ["from selfreward.lab.micro import truth", 'import_module("selfreward.lab.micro.truth")'])
def test_a_loop_that_knows_the_micro_world_would_be_caught(line):
    assert knows_the_micro_world({"loop": ast.parse(line)}) == ["loop"]


# what runs

TRUTH = "selfreward.lab.micro.truth"


def verdict(prompt, response):
    """A truth that has an opinion of everything; it needs the micro world to be there."""
    from selfreward.lab.micro.truth import CRITERIA

    return "any", {name: float(len(response) % (n + 2) == 0) for n, name in enumerate(CRITERIA)}


def peeking(prompt_id, group):
    """A policy that goes by the truth where it can be had."""
    try:
        from selfreward.lab.micro import truth  # noqa: F401
    except ImportError:
        return best_against_worst(prompt_id, group)
    return best_against_worst(prompt_id, sorted(group, key=lambda scored: (scored[0], scored[1].id))[:-1])


MADE_BY_THE_LOOP = ("proposed", "prompts", "responses", "judgments", "pairs")


def made_by_the_loop(run):
    """Path → bytes of everything that the loop makes."""
    records = [path for name in MADE_BY_THE_LOOP for path in run.glob(f"M*/{name}*.jsonl")]
    weights = [path for path in run.glob("*/model/*") if path.name != "README.md"]  # which tells what was measured
    return {str(path.relative_to(run)): path.read_bytes() for path in (*records, *weights)}


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Two runs of the loop on the fake backend: with a truth to measure by, and with none that could be imported."""

    monkeypatch.setattr(os, "fsync", lambda handle: None)  # a power cut is not what is tried here

    def make(name, **changes):
        recipe = make_world(tmp_path / name)
        settings = {"iterations": 2, "sft__baseline": True, "responses__n": 4, "prompts__per_iteration": 12, **changes}
        go(recipe, tmp_path / name / "with", measure__truth="test_layers:verdict", **settings)
        recipe.write_text(recipe.read_text().replace('truth = "tinyrun:truth"\n', ""))
        with monkeypatch.context() as patch:
            for loaded in [module for module in sys.modules if module.startswith("selfreward.lab.micro")]:
                patch.delitem(sys.modules, loaded)
            patch.setitem(sys.modules, "selfreward.lab.micro", None)
            patch.setitem(sys.modules, TRUTH, None)
            with pytest.raises(ImportError):
                verdict("", "")
            go(recipe, tmp_path / name / "without", **settings)
        return tmp_path / name / "with", tmp_path / name / "without"

    return make


def test_the_loop_makes_the_same_bytes_whether_or_not_there_is_a_truth(runs):
    with_truth, without = runs("honest")
    made = made_by_the_loop(with_truth)
    assert {f"{m}/{name}.jsonl" for m in ("M2", "M3") for name in MADE_BY_THE_LOOP} <= set(made)
    assert {f"{m}/model/model.safetensors" for m in ("SFT", "M1", "M2", "M3")} <= set(made)
    assert made == made_by_the_loop(without)
    assert (with_truth / "M3" / "truth.jsonl").read_bytes() and not (without / "M3" / "truth.jsonl").read_bytes()


def test_a_loop_that_peeked_at_the_truth_would_be_caught(runs):
    with_truth, without = (made_by_the_loop(run) for run in runs("peeking", pairs__policy="test_layers:peeking"))
    differ = {name for name in with_truth | without if with_truth.get(name) != without.get(name)}
    assert "M2/pairs.jsonl" in differ and "M2/model/model.safetensors" in differ
    assert "M2/judgments.jsonl" not in differ
