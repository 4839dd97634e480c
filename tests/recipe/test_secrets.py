"""A secret in any field of a recipe, or in any argument, is refused before a folder is made, and neither shown nor written."""

import io
import json
import os
import sys
import tomllib
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
import typer

from selfreward.cli import app
from selfreward.errors import SelfRewardError, holds_secret, starred
from selfreward.measure import evaluate
from selfreward.recipe import Recipe, Section, load_recipe
from selfreward.reports import export_run
from tinyrun import go, make_world, quiet

MARK = "S3cretM4rk"
SECRETS = [
    f"https://user:{MARK}@host/v1", f"https://host/v1?api_key={MARK}", f"http://{MARK}@host/v1", f"user:{MARK}@host:8000/v1",
    f"https://user:{MARK}/with@slash@host/v1", f"hf://host/data.jsonl?{MARK}", f"https://user:{MARK} with spaces@host",
    f"https://host/v1#access_token={MARK}", f"https://host/v1;Key={MARK}", f"//user:{MARK}@host/v1",
]  # fmt: skip
PROGRAM = typer.main.get_command(app)


def parts(annotation):
    """The sections in a type that may be optional."""
    kinds = (annotation, *(part for kind in get_args(annotation) for part in (kind, *get_args(kind))))
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Section)), None)


def places(model, secret, path=()):
    """(dotted name, tree) for each field under a section, with the secret in its place, as a key where it is a table of names."""
    for name, field in model.model_fields.items():
        here = (*path, field.alias or name)
        kind, inner = get_origin(field.annotation) or field.annotation, parts(field.annotation)
        if kind is dict:
            yield nested(here, {secret: {} if inner else "x"})
            yield from places(inner, secret, (*here, "x")) if inner else [nested(here, {"x": secret})]
        elif inner:
            yield from places(inner, secret, here)
            yield nested(here, secret)
        else:
            yield nested(here, secret)
            yield nested(here, ["x", secret])


def nested(path, value):
    tree: Any = value
    for name in reversed(path):
        tree = {name: tree}
    return ".".join(path), tree


def merged(tree, other):
    return {
        **tree,
        **{k: merged(tree[k], v) if isinstance(tree.get(k), dict) and isinstance(v, dict) else v for k, v in other.items()},
    }


def written(folder):
    """Everything under a folder, names and contents, as bytes."""
    for path in Path(folder).rglob("*"):
        yield os.fsencode(path)
        if path.is_file():
            yield path.read_bytes()


def call(*given):
    """Exit code and all that a command printed; built once, for building it takes longer than a refusal."""
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said), pytest.raises(SystemExit) as ended:
        PROGRAM.main(list(map(str, given)))
    return ended.value.code, said.getvalue()


def assert_nowhere(said, folder):
    assert MARK not in said, said
    assert not [found for found in written(folder) if MARK.encode() in found]


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A recipe as a tree, and an empty folder to work in."""
    quiet(monkeypatch)
    recipe = make_world(tmp_path / "world")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tomllib.loads(recipe.read_text())


FIELDS = {name for name, _ in places(Recipe, "")}


def test_the_walk_reaches_every_kind_of_field():
    reached = {
        "base",
        "judge.by",
        "judge.pattern",
        "measure.judge",
        "prompts.frozen",
        "select.judge",
        "drift.frozen",
        "data.ift.path",
    }
    reached |= {"data.heldout_rankings.subset", "servers.x.url", "servers.x.model", "drift.traits", "drift.limits", "branch"}
    reached |= {"trainer.lora.targets", "cluster.address", "select.prompts.columns", "prompts.unsuited", "report_to", "seed"}
    assert reached <= FIELDS and len(FIELDS) > 150


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_in_any_field_of_a_recipe_is_refused_before_a_folder_is_made(secret, world, tmp_path):
    file = tmp_path / "world" / "recipe.json"
    for name, tree in places(Recipe, secret):
        file.write_text(json.dumps(merged(world, tree)))
        with pytest.raises(SelfRewardError, match="holds a password, or an address with a query") as caught:
            load_recipe(file)
        assert name.split(".")[0] in str(caught.value) and MARK not in str(caught.value), name


@pytest.mark.parametrize("command", ["run", "check"])
def test_commands_neither_show_nor_write_a_secret_of_a_recipe(command, world, tmp_path):
    file = tmp_path / "world" / "recipe.json"
    for name, tree in places(Recipe, SECRETS[0]):
        file.write_text(json.dumps(merged(world, tree)))
        code, said = call(command, file, "-o", "run")
        assert code == 1 and len(said.splitlines()) == 1, name
        assert_nowhere(said, tmp_path / "here")
        assert not Path("run").exists()


def commands(group, *path):
    """(words, command) for each command of the program, in groups of commands too."""
    for name, found in group.commands.items():
        yield from commands(found, *path, name) if hasattr(found, "commands") else [((*path, name), found)]


def arguments():
    """(command, its arguments) with a secret in each of its parameters in turn, and in the command's own place."""
    yield SECRETS[0], [SECRETS[0]]
    for words, found in commands(PROGRAM):
        command = " ".join(words)
        needed = ["x" for parameter in found.params if parameter.param_type_name == "argument" and parameter.required]
        for parameter in found.params:
            for secret in SECRETS if parameter.name == "judge" else SECRETS[:2]:
                if parameter.param_type_name == "argument":
                    yield f"{command} {parameter.name}", [*words, *needed[1:], secret]
                else:
                    yield f"{command} {parameter.name}", [*words, *needed, parameter.opts[0], secret]
                    yield f"{command} {parameter.name}", [*words, *needed, f"{parameter.opts[0]}={secret}"]


def test_a_secret_in_any_argument_of_any_command_is_refused_and_neither_shown_nor_written(world, tmp_path):
    tried = set()
    for name, given in arguments():
        code, said = call(*given)
        assert code == 1 and said.startswith("error: command line: an argument holds a password"), name
        assert_nowhere(said, tmp_path / "here")
        tried.add(name)
    assert {
        "run folder",
        "run changes",
        "evaluate judge",
        "compare models against",
        "compare runs runs",
        "bench arms changes",
        "push repo",
        "chat model",
        "lab out",
    } <= tried
    assert not list((tmp_path / "here").iterdir())


def test_arguments_of_a_program_that_runs_a_recipe_are_starred_where_they_are_recorded(world, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["mine.py", *(secret for secret in SECRETS if " " not in secret), "--port=8000"])
    go(tmp_path / "world" / "recipe.toml", tmp_path / "here" / "run")
    assert not [found for found in written(tmp_path / "here") if MARK.encode() in found]
    argv = json.loads(Path("run/provenance.json").read_text())["argv"]
    assert argv[0] == "mine.py" and argv[-1] == "--port=8000" and argv[1] == "https://********@host/v1"


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("field", ["judge", "against", "data", "labels"])
def test_an_evaluation_from_python_refuses_a_secret_before_a_folder_is_made(field, secret, world, tmp_path):
    go(tmp_path / "world" / "recipe.toml", tmp_path / "run")
    given = {"judge": "current", "against": str(tmp_path / "run" / "M1"), "data": "x", field: secret}
    with pytest.raises(SelfRewardError) as caught:
        evaluate(str(tmp_path / "run" / "M2"), "head-to-head", given, "mine")
    assert MARK not in str(caught.value)
    assert not [found for found in written(tmp_path) if MARK.encode() in found]


def test_no_folder_is_made_whose_name_holds_a_secret(world, tmp_path):
    recipe, run = tmp_path / "world" / "recipe.toml", tmp_path / "run"
    go(recipe, run)
    for make in (
        lambda: go(recipe, Path(SECRETS[0])),
        lambda: evaluate(str(run / "M2"), "reward-modeling", {}, SECRETS[0]),
        lambda: evaluate(str(run / "M2"), "reward-modeling", {}, "mine", folder=Path(SECRETS[1])),
        lambda: export_run(run, Path(SECRETS[0])),
    ):
        with pytest.raises(SelfRewardError, match="its name holds a password") as caught:
            make()
        assert_nowhere(str(caught.value), tmp_path)


def test_a_run_of_before_with_a_secret_in_it_is_refused_with_the_field_and_the_secret_is_not_shown(world, tmp_path):
    go(tmp_path / "world" / "recipe.toml", Path("run"))
    config = json.loads(Path("run/config.json").read_text())
    Path("run/config.json").write_text(json.dumps({**config, "base": SECRETS[0]}))
    for command in ("status", "report", "export"):
        code, said = call(command, "run")
        assert code == 1 and "base holds a password" in said and MARK not in said


def test_a_recipe_that_let_secrets_pass_would_be_caught(world, tmp_path, monkeypatch):
    monkeypatch.setattr("selfreward.recipe.fields.holds_secret", lambda value: False)
    server = {"url": "http://127.0.0.1:9/v1", "model": SECRETS[0]}
    go(tmp_path / "world" / "recipe.toml", Path("run"), servers={"x": server})
    assert [found for found in written(tmp_path / "here") if MARK.encode() in found]


@pytest.mark.parametrize(
    "odd",
    [
        f"host:8000/v1?api_key={MARK}", f"host/v1?token={MARK}", f"https://host/v1#model?key={MARK}", f"https://host/v1&key={MARK}",
        f"user:p@{MARK}@host",
    ],
)  # fmt: skip
def test_a_key_behind_another_sign_or_an_address_without_its_scheme_is_a_secret_too(odd):
    assert holds_secret(odd) and MARK not in starred(f"cannot reach '{odd}', sorry")


@pytest.mark.parametrize(
    "harmless",
    [
        "http://localhost:8000/v1#org/model@2024", "http://[::1]:8000/v1#m@x", "package.module:name", "org/model", "/a/b:c@d",
        r"https?://\S+", r"score[\s*]*:[\s*]*(-?\d+(?:[.,]\d+)?)", "auto", "a@b.org", "10:30", "http://host/v1", "C:\\models\\x",
        "https://host/data.jsonl?", "judge.max_tokens=64", "what/is?tokens", "a/b?monkey",
        r"(?:\s?key=|x)/?token=(\d)", '{"url": "http://h:1/v1", "model": "m@1"}',
    ],
)  # fmt: skip
def test_what_is_no_secret_is_neither_refused_nor_starred(harmless):
    assert not holds_secret(harmless) and starred(f"see '{harmless}', please") == f"see '{harmless}', please"
