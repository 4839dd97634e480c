"""Code of the user's own: where an import path is looked for, and the one sentence that tells what does not fit."""

import sys

import pytest

from selfreward.api import execute
from selfreward.checks import assert_ready
from selfreward.errors import SelfRewardError, Stopped
from selfreward.measure import find_subject
from selfreward.recipe import engine_at, function_at, imported, load_recipe, look_in
from selfreward.rundir import open_run
from tinyrun import go, make_world, quiet


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch, tmp_path):
    """An empty current folder, and neither a path nor a module left behind."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(sys, "path", [*sys.path])
    known = {*sys.modules}
    yield
    for name in {*sys.modules} - known:
        del sys.modules[name]


def complaint(work, *arguments):
    with pytest.raises(SelfRewardError) as caught:
        work(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_module_is_found_beside_the_recipe_and_where_one_stands(tmp_path):
    recipe = make_world(tmp_path / "world")
    (tmp_path / "world" / "beside_recipe.py").write_text("def policy(prompt_id, scored): return 'beside'\n")
    (tmp_path / "here" / "where_i_stand.py").write_text("import beside_recipe\ndef policy(prompt_id, scored): return 'here'\n")
    load_recipe(recipe)
    assert imported("beside_recipe:policy")("", []) == "beside" and imported("where_i_stand:policy")("", []) == "here"
    assert sys.path[-2:] == [str(tmp_path / "world"), str(tmp_path / "here")], "what is installed comes first"


def test_of_two_modules_of_one_name_the_recipes_is_taken_and_one_loaded_before_is_not_taken_in_silence(tmp_path):
    for folder in ("one", "two", "here"):
        recipe = make_world(tmp_path / folder)
        (tmp_path / folder / "mine.py").write_text(f"def where(): return {folder!r}\n")
    load_recipe(tmp_path / "one" / recipe.name)
    assert imported("mine:where")() == "one"
    load_recipe(tmp_path / "two" / recipe.name)
    told = complaint(imported, "mine:where")
    assert f"mine is {tmp_path}/one/mine.py and also {tmp_path}/two/mine.py" in told and "Rename one of them" in told


def test_a_module_that_is_nowhere_or_raises_says_where_it_was_looked_for_and_what_was_raised(tmp_path):
    load_recipe(make_world(tmp_path / "world"))
    told = complaint(imported, "no_such_module_at_all:policy")
    assert "No module named 'no_such_module_at_all'" in told and f"{tmp_path}/world and in {tmp_path}/here" in told
    (tmp_path / "here" / "broken.py").write_text("x = 1\ny = x +\n")
    told = complaint(imported, "broken:policy", "pairs.policy")
    assert told == (
        "pairs.policy (broken:policy): cannot be imported: broken was found, and raised "
        "SyntaxError (invalid syntax (broken.py, line 2)) at broken.py:2. Correct that"
    )
    (tmp_path / "here" / "fails.py").write_text("x = 1\nraise KeyError('k')\n")
    assert "KeyError ('k') at fails.py:2. Correct that" in complaint(imported, "fails:policy")
    (tmp_path / "here" / "leaves.py").write_text("import sys\nsys.exit(3)\n")
    assert "leaves was found, and raised SystemExit (3) at leaves.py:2. Correct that" in complaint(imported, "leaves:policy")
    (tmp_path / "here" / "misspelt.py").write_text("def clear_winner(prompt_id, scored): return 'x'\n")
    assert "Did you mean misspelt:clear_winner?" in complaint(imported, "misspelt:clear_winer")


def test_what_a_module_imports_and_is_not_installed_is_told_from_a_module_that_is_nowhere(tmp_path):
    (tmp_path / "here" / "needy.py").write_text("x = 1\n\nimport notinstalled_abc.inner\n")
    assert complaint(imported, "needy:x", "judge.by") == (
        "judge.by (needy:x): cannot be imported: needy was found, and raised ModuleNotFoundError "
        "(No module named 'notinstalled_abc') at needy.py:3. Install notinstalled_abc where selfreward is installed, "
        "or import another"
    )
    (tmp_path / "here" / "parcel").mkdir()
    (tmp_path / "here" / "parcel" / "inside.py").write_text("from os import no_such_name\n")
    told = complaint(imported, "parcel.inside:x")
    assert "parcel.inside was found, and raised ImportError (cannot import name 'no_such_name' from 'os'" in told
    assert "at inside.py:1. Correct that" in told and "Name it as" not in told
    assert "No module named 'parcel.missing'). Name it as" in complaint(imported, "parcel.missing:x")


@pytest.mark.parametrize(
    "field", ["judge__by", "measure__judge", "pairs__policy", "measure__truth", "prompts__frozen", "drift__traits"]
)
def test_each_field_that_names_code_is_named_where_it_cannot_be_imported(field, tmp_path):
    path = "nowhere_at_all:it"
    value = {"mine": path} if field == "drift__traits" else path
    more = {"prompts__by": "frozen"} if field == "prompts__frozen" else {}
    recipe = load_recipe(
        make_world(tmp_path / "world"), {name.replace("__", "."): each for name, each in (more | {field: value}).items()}
    )
    name = field.replace("__", ".") + (".mine" if field == "drift__traits" else "")
    assert complaint(assert_ready, recipe).startswith(f"{name} ({path}): cannot be imported (No module named")


def test_a_function_that_takes_other_arguments_is_told_what_it_is_called_with(tmp_path):
    (tmp_path / "here" / "given.py").write_text(
        "NUMBER = 3\ndef one(prompt): ...\ndef any_(*all): ...\ndef spare(a, b, c=1): ...\n"
    )
    told = complaint(function_at, "given:one", "pairs.policy", "prompt_id", "scored")
    assert (
        told
        == "pairs.policy (given:one): takes (prompt), and is called with (prompt_id, scored). Make it take 2: prompt_id, scored"
    )
    assert "is an int, where a function of (text) is expected" in complaint(function_at, "given:NUMBER", "drift.traits.x", "text")
    for fine in ("any_", "spare"):
        function_at(f"given:{fine}", "pairs.policy", "prompt_id", "scored")


ENGINE = """
class Whole:
    def batches(self, requests): ...
    def prepare(self, requests): ...
    def generate(self, batch): ...
    def close(self): ...
class Half:
    def prepare(self, requests): ...
    def generate(self, batch): ...
class Wrong(Whole):
    def generate(self): ...
class Asks(Whole):
    def __init__(self, name): ...
"""


def test_an_engine_is_looked_over_before_it_is_opened(tmp_path):
    (tmp_path / "here" / "engines_of_mine.py").write_text(ENGINE)
    assert engine_at("engines_of_mine:Whole").__name__ == "Whole"
    told = complaint(engine_at, "engines_of_mine:Half")
    assert "Half has no batches and no close, and an engine has batches, prepare, generate, close" in told
    assert "engines_of_mine:Wrong, generate: takes (self), and is called with (self, batch)" in complaint(
        engine_at, "engines_of_mine:Wrong"
    )
    assert "takes (name), and is called with ()" in complaint(engine_at, "engines_of_mine:Asks")


def test_a_run_sees_the_folders_that_it_began_with_when_it_goes_on_is_opened_or_evaluated_from_elsewhere(tmp_path, monkeypatch):
    quiet(monkeypatch)
    recipe = make_world(tmp_path / "world")
    (tmp_path / "world" / "seen_from_afar.py").write_text(
        "from selfreward.steps.pairs import best_against_worst as choose\ndef truth(p, r): return 'task', {'x': 1.0}\n"
        "def vowels(text): return float(len(text))\n"
    )
    (tmp_path / "here" / "stood_here.py").write_text("from seen_from_afar import choose\n")
    changes = {"pairs__policy": "stood_here:choose", "measure__truth": "seen_from_afar:truth"}
    changes["drift"] = {"traits": {"vowels": "seen_from_afar:vowels"}, "sample": 2, "pool": 1}
    with pytest.raises(Stopped):
        go(recipe, tmp_path / "run", stopping=lambda: True, **changes)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for work in (
        lambda: execute(load_recipe(tmp_path / "run" / "config.json"), tmp_path / "run"),
        lambda: open_run(tmp_path / "run").recipe and imported("seen_from_afar:vowels"),
        lambda: load_recipe(find_subject(str(tmp_path / "run" / "M2")).recipe) and imported("stood_here:choose"),
    ):
        for name in ("seen_from_afar", "stood_here"):
            sys.modules.pop(name, None)
        look_in()
        work()
    assert "vowels" in (tmp_path / "run" / "M2" / "drift.jsonl").read_text()
