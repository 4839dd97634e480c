"""Imports point downward only, heavy libraries stay where they belong, and the loop never sees the truth."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tinyrun import go, make_world

import selfreward
from selfreward.pairs import best_against_worst
from selfreward.records import Pair

PACKAGE = Path(selfreward.__path__[0])
LAYERS = [
    ["errors", "checks"],
    ["identified"],
    ["records"],
    ["jsonl"],
    ["fields", "fingerprints", "estimates", "parsing", "novelty", "batching", "evaluations.rows", "reproduce.lines"],
    ["sections", "iteration", "engines", "cluster", "sharing", "limits", "readings"],
    ["config", "alarms"],
    ["rundir", "chat", "adapters", "backends", "rubrics", "exchanges", "correlations"],
    ["sources", "backends.sizes"],
    ["seed", "prompts", "responses", "judgments", "pairs", "learner", "rows", "backends.replies", "backends.leash", "job"],
    ["flukes", "ranks", "checkpoints", "planned", "backends.attention", "backends.draw", "backends.states", "backends.watching"],
    ["backends.tree"],
    ["backends.plain"],
    ["backends.suited"],
    ["training", "backends.fake", "backends.hf", "backends.vllm", "backends.server", "progress", "journal", "trainings"],
    ["worker", "backends.ray"],
    ["distributed"],
    ["instruction_following", "reward_modeling", "charts", "drilldown", "chatting", "pairwise"],
    ["alpaca_eval", "mt_bench", "agreement", "pages", "trackers"],
    ["models", "stages", "reproduce.board", "reproduce.judging", "reproduce.texts"],
    ["selection", "rounds"],
    ["measure", "eft", "reproduce", "evaluations"],
    ["evaluations.breakdown", "evaluations.ranked", "evaluations.harness", "evaluations.multi_turn", "evaluations.tables"],
    ["evaluations.contest", "evaluations.alpaca"],
    ["branch", "cures", "drift", "drift.bootstrap", "drift.spread", "drift.wording"],
    ["drift.flukes", "drift.flattery", "drift.consistency", "drift.people", "drift.health", "drift.traits", "drift.policy"],
    ["drift.lexicon"],
    ["drift.verdicts"],
    ["drift.watch"],
    ["loop", "standing", "headline", "checks.shapes", "checks.devices", "checks.amounts"],
    ["behind", "card", "checks.memory", "checks.costs", "checks.reach"],
    ["health_page"],
    ["report", "compare_runs"],
    ["run", "evaluate", "export", "push", "checks.bill"],
    ["check"],
    ["checks.tables"],
    ["bench", "bench.work", "bench.ledger", "bench.rates", "bench.notes"],
    ["bench.floor", "bench.baseline", "bench.ours", "bench.utilisation", "bench.measure", "bench.overhead"],
    ["bench.world", "bench.peers", "bench.tables"],
    ["bench.compare"],
    ["commands"],
    ["commands.running", "commands.measuring", "commands.sharing", "commands.benching", "commands.laboratory"],
    ["cli"],
]
"""From the floor up. A module imports from lower layers only; a new module is given its place here."""
HEAVY = {"torch", "transformers", "trl", "accelerate", "datasets", "tokenizers", "peft", "bitsandbytes", "vllm", "ray"}
MAY_BE_HEAVY = {
    "backends.attention", "backends.draw", "backends.plain", "backends.watching", "backends.states", "backends.tree",
    "backends.suited",
    "training", "planned", "rows", "sharing", "worker", "checkpoints", "learner", "adapters", "chat", "backends.hf",
    "backends.vllm", "backends.server", "backends.ray", "micro.base", "bench.world", "bench.ledger", "bench.rates",
    "bench.baseline", "bench.peers",
}  # fmt: skip
MAY_KNOW_THE_MICRO_WORLD = {"measure", "commands.laboratory"}
"""Outside the micro world: what measures, and nothing else."""


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
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}


def ours(tree, at_load=False):
    """Modules of ours that a module imports."""
    for name in imports(tree, at_load):
        parts = name.split(".")[1:] if name.startswith("selfreward.") else []
        candidates = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
        yield from [known for known in candidates if known in MODULES][:1]


def upward(trees):
    """(module, what it imports from its own layer or a higher one)."""
    found = [(name, used) for name, tree in trees.items() for used in ours(tree) if RANK.get(used, 99) >= RANK[name]]
    return [(name, used) for name, used in found if not (used.startswith("micro.") and name in MAY_KNOW_THE_MICRO_WORLD)]


def outside_the_micro_world():
    return {name: tree for name, tree in MODULES.items() if name and name.split(".")[0] != "micro"}


def test_every_module_has_its_place():
    assert set(outside_the_micro_world()) == set(RANK)


def test_imports_point_downward_only():
    assert upward(outside_the_micro_world()) == []


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("records", "from selfreward.config import Recipe"),
        ("stages", "from selfreward import loop"),
        ("judgments", "def late():\n    import selfreward.stages"),
        ("pairs", "from selfreward.judgments import Judge"),
        ("loop", "from selfreward.micro.truth import verdict"),
    ],
)
def test_an_import_that_points_upward_would_be_caught(module, line):
    assert [name for name, _ in upward({module: ast.parse(line)})] == [module]


def heavy(trees):
    """Modules that load a heavy library where they should not."""
    return [name for name, tree in trees.items() if {used.split(".")[0] for used in imports(tree, at_load=True)} & HEAVY]


def test_nothing_but_training_chat_and_the_engines_loads_torch():
    assert set(heavy(MODULES)) <= MAY_BE_HEAVY
    assert heavy({"pairs": ast.parse("if True:\n    import torch.nn as nn")}) == ["pairs"]


def test_the_whole_loop_and_the_command_line_load_without_torch():
    modules = "selfreward.cli, selfreward.run, selfreward.loop, selfreward.report, selfreward.micro.truth"
    script = f"import sys, {modules}; sys.exit(' '.join(sorted({HEAVY!r} & set(sys.modules))) or 0)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (loaded.returncode, loaded.stderr) == (0, "")


def knows_the_micro_world(trees):
    """Modules that import the micro world, or name it in a string that could be imported."""
    found = []
    for name, tree in trees.items():
        strings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
        named = any(text.startswith("selfreward.micro") for text in strings)
        if named or any(used.startswith("selfreward.micro") for used in imports(tree)):
            found.append(name)
    return found


def test_only_measurement_and_the_micro_world_itself_know_the_micro_world():
    assert set(knows_the_micro_world(outside_the_micro_world())) <= MAY_KNOW_THE_MICRO_WORLD


@pytest.mark.parametrize("line", ["from selfreward.micro import truth", 'import_module("selfreward.micro.truth")'])
def test_a_loop_that_knows_the_micro_world_would_be_caught(line):
    assert knows_the_micro_world({"loop": ast.parse(line)}) == ["loop"]


# what runs

TRUTH = "selfreward.micro.truth"


def verdict(prompt, response):
    """A truth that has an opinion of everything; it needs the micro world to be there."""
    from selfreward.micro.truth import CRITERIA

    return "any", {name: float(len(response) % (n + 2) == 0) for n, name in enumerate(CRITERIA)}


def peeking(prompt_id, group):
    """A policy that goes by the truth where it can be had."""
    try:
        from selfreward.micro import truth  # noqa: F401
    except ImportError:
        return best_against_worst(prompt_id, group)
    found = best_against_worst(prompt_id, [(5 - score, response) for score, response in group])
    return found if isinstance(found, Pair) else "tie"


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
            for loaded in [module for module in sys.modules if module.startswith("selfreward.micro")]:
                patch.delitem(sys.modules, loaded)
            patch.setitem(sys.modules, "selfreward.micro", None)
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
