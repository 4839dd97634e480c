"""Recipes: the paper's defaults, nothing unknown, nothing that could not run, and a reason for every difference."""

import ast
import re
import tomllib
from pathlib import Path
from typing import get_args, get_origin

import pytest

import selfreward
from selfreward.errors import SelfRewardError
from selfreward.recipe import Recipe, Section, load_recipe, read_recipe, set_field, shipped_recipes
from selfreward.recipe.recipe import known_fields

PACKAGE = Path(selfreward.__path__[0])
SHIPPED = sorted([*(PACKAGE / "recipe" / "shipped").glob("*.toml"), *(PACKAGE.parents[1] / "recipes").glob("*.toml")])
MICRO = PACKAGE / "recipe" / "shipped" / "micro.toml"
NEEDED = {"ift": "ift.jsonl", "heldout_prompts": "prompts.jsonl", "heldout_rankings": "rankings.jsonl"}


def recipe(tmp_path, **sections):
    return read_recipe({"base": "org/model", "data": NEEDED, **sections}, "recipe.toml", tmp_path)


def fields(model=Recipe, path=()):
    """Every field of a recipe, as its dotted path."""
    for name, field in model.model_fields.items():
        here = (*path, field.alias or name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from fields(field.annotation, here)
        else:
            yield here
        for inner in get_args(field.annotation) if get_origin(field.annotation) is dict else ():
            if isinstance(inner, type) and issubclass(inner, Section):
                yield from fields(inner, (*here, "a.b"))


def put(path, value):
    """A recipe's tree with one field set."""
    tree = {"base": "org/model", "data": dict(NEEDED)}
    at = tree
    for name in path[:-1]:
        if not isinstance(at.get(name), dict):
            at[name] = {"path": at[name]} if name in at else {}
        at = at[name]
    at[path[-1]] = value
    return tree


@pytest.mark.parametrize(
    ("section", "papers"),
    [
        ("sft", {"learning_rate": 5.5e-6, "end_learning_rate": 1.1e-6, "batch_size": 16, "dropout": 0.1, "on": "ift+eft"}),
        ("dpo", {"learning_rate": 1e-6, "end_learning_rate": 1e-7, "batch_size": 16, "dropout": 0.1, "beta": 0.1}),
        ("dpo", {"nll_weight": 0.0}),
        ("prompts", {"temperature": 0.6, "top_p": 0.9, "by": "frozen", "shots_seed": 6, "shots_self": 2, "max_rouge_l": 0.7}),
        ("prompts", {"min_words": 4, "max_words": 150, "ascii_only": True, "form": None}),
        ("responses", {"n": 4, "temperature": 0.7, "top_p": 0.9}),
        ("judge", {"samples": 3, "temperature": 0.7, "top_p": 0.9, "scale": (0, 5), "by": "current", "min_valid": 2}),
        ("pairs", {"accumulate": False, "policy": "selfreward.steps.pairs:best_against_worst"}),
    ],
)
def test_the_papers_choices_are_the_defaults(tmp_path, section, papers):
    ours = getattr(recipe(tmp_path), section)
    assert {name: getattr(ours, name) for name in papers} == papers
    assert recipe(tmp_path).iterations == 2  # M2 and M3


def test_the_words_that_self_instruct_bans_are_the_default(tmp_path):
    banned = ["image", "images", "graph", "graphs", "picture", "pictures", "file", "files", "map", "maps", "draw", "plot"]
    assert set(recipe(tmp_path).prompts.unsuited) == {*banned, "go to"}


@pytest.mark.parametrize("path", list(fields()), ids=".".join)
def test_a_misspelt_field_is_refused_with_its_right_name(tmp_path, path):
    with pytest.raises(SelfRewardError, match=rf"Did you mean {path[-1]}\?"):
        read_recipe(put((*path[:-1], path[-1] + "z"), 1), "recipe.toml", tmp_path)


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("dpo.betta", "beta"),
        ("judge.sample", "samples"),
        ("sftt", "sft"),
        ("prompts.per_iter", "per_iteration"),
        ("pairs.acumulate", "accumulate"),
        ("iteration", "iterations"),
    ],
)
def test_an_unknown_field_is_refused_with_the_nearest_known_name(tmp_path, path, meant):
    with pytest.raises(SelfRewardError, match=rf"unknown field {re.escape(path)}\. Did you mean {meant}\?"):
        read_recipe(put(path.split("."), 1), "recipe.toml", tmp_path)


def test_a_recipe_that_let_unknown_fields_pass_would_be_caught():
    class Lax(Recipe, extra="ignore"):
        """pydantic's default."""

    assert Lax.model_validate(put(["bseed"], 1)).seed == 0  # silently the default: what the tests above must not see


def test_the_name_suggested_is_the_one_to_write_in_toml(tmp_path):
    assert "from" in known_fields(["prompts"]) and "source" not in known_fields(["prompts"])
    with pytest.raises(SelfRewardError, match=r"unknown field prompts\.source"):
        read_recipe(put(["prompts", "source"], "mine.jsonl"), "recipe.toml", tmp_path)
    assert recipe(tmp_path, prompts={"from": "mine.jsonl"}).prompts.source == "mine.jsonl"


@pytest.mark.parametrize(
    ("path", "value", "why"),
    [
        ("dpo.beta", 0, "greater than 0"),
        ("dpo.beta", "strong", "valid number"),
        ("dpo.learning_rate", float("inf"), "finite"),
        ("judge.temperature", float("nan"), "finite"),
        ("responses.n", 1, "greater than or equal to 2"),
        ("judge.pattern", "score: (", "not a regular expression"),
        ("judge.pattern", r"score: \d", "one group"),
        ("judge.pattern", r"(score): (\d)", "one group"),
        ("judge.scale", [5, 0], "lowest score to its highest"),
        ("judge.min_valid", 4, "no response would ever have a score"),
        ("judge.samples", 1, "no response would ever have a score"),
        ("prompts.form", "list (", "not a regular expression"),
        ("sft.device_batch_size", 5, "does not divide batch_size 16"),
        ("dpo.device_batch_size", 32, "does not divide batch_size 16"),
        ("pairs.policy", "pairs.best", "is no package.module:name"),
        ("sft", 3, r"sft: must be a table\. It is 3; its fields are epochs, batch_size, "),
        ("servers", 3, "servers: must be a table"),
        ("seed", -1, "greater than or equal to 0"),
        ("servers", {"s": {"url": "http://[::1", "model": "m"}}, "Invalid IPv6 URL"),
        ("servers", {"s": {"url": "http://h:99999/v1", "model": "m"}}, "Port out of range"),
    ],
)
def test_a_value_that_could_not_work_is_refused_before_anything_is_made(tmp_path, path, value, why):
    with pytest.raises(SelfRewardError, match=why) as refused:
        read_recipe(put(path.split("."), value), "recipe.toml", tmp_path)
    assert path.split(".")[0] in str(refused.value)


def test_a_required_field_that_is_missing_is_named(tmp_path):
    with pytest.raises(SelfRewardError, match=r"base: Field required\. Add it"):
        read_recipe({"data": NEEDED}, "recipe.toml", tmp_path)


def test_a_recipe_that_is_missing_or_not_toml_is_an_error_for_the_user(tmp_path):
    with pytest.raises(SelfRewardError, match="No such file"):
        load_recipe(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("base = \nseed = 1")
    with pytest.raises(SelfRewardError, match=r"not TOML .*line 1"):
        load_recipe(tmp_path / "bad.toml")


def test_all_unknown_fields_are_told_at_once_and_before_what_is_missing_for_their_sake(tmp_path):
    (tmp_path / "bad.toml").write_text('base = "b"\njudgin = 3\n[dat]\nift = "i"\n[judge]\nsample = 2\n')
    with pytest.raises(SelfRewardError) as error:
        load_recipe(tmp_path / "bad.toml")
    assert error.value.what == "unknown fields judge.sample, judgin, dat"
    assert error.value.now == "judge.sample: did you mean samples?; judgin: did you mean judge?; dat: did you mean data?"


def test_changes_from_the_command_line_lie_on_top():
    changed = load_recipe(MICRO, {"seed": 7, "dpo.beta": 0.2, "pairs.accumulate": True})
    assert (changed.seed, changed.dpo.beta, changed.pairs.accumulate) == (7, 0.2, True)
    with pytest.raises(SelfRewardError, match=r"unknown field dpo\.betta"):
        load_recipe(MICRO, {"dpo.betta": 0.2})


@pytest.mark.parametrize("changes", [{"data.ift.limit": 48}, {"data": {"ift": {"limit": 48}}}])
def test_a_field_of_a_source_can_be_set_where_the_recipe_gives_its_path_alone(changes, tmp_path):
    alone = tmp_path / "alone.toml"
    alone.write_text('base = "org/model"\n[data]\nift = "ift.jsonl"\n[select]\njudge = "org/j"\nprompts = "p.jsonl"\n')
    changed = load_recipe(alone, changes | {"select.prompts.limit": 3})
    assert (changed.data.ift.path, changed.data.ift.limit) == ("ift.jsonl", 48)
    assert changed.select and (changed.select.prompts.path, changed.select.prompts.limit) == ("p.jsonl", 3)
    assert load_recipe(alone, {"data.ift": "other.jsonl"}).data.ift.path == "other.jsonl"
    with pytest.raises(SelfRewardError, match="base is a field without fields"):
        load_recipe(alone, {"base.path": "x"})


@pytest.mark.parametrize("path", ["base.path", "iterations.count", "dpo.beta.final"])
def test_a_change_inside_a_plain_field_is_an_error_for_the_user(path):
    with pytest.raises(SelfRewardError):
        load_recipe(MICRO, {path: 1})


def test_paths_are_taken_from_the_recipes_folder_or_the_package_and_hub_ids_are_left_alone(tmp_path):
    (tmp_path / "ift.jsonl").touch()
    read = recipe(tmp_path)
    assert read.data.ift.path == str((tmp_path / "ift.jsonl").resolve())
    assert read.base == "org/model"
    assert Path(read.judge.rubric) == PACKAGE / "recipe" / "rubrics" / "judge_additive.txt"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_every_shipped_recipe_parses(path):
    load_recipe(path)


def unexplained(text):
    """Fields of a recipe that differ from the default on a line that gives no reason, nor the line above it."""
    tree, section, found, reason = tomllib.loads(text), (), [], False
    for line in text.splitlines():
        bare = re.sub(r"'''.*?'''|\"[^\"]*\"|'[^']*'", "''", line)
        above, reason = reason, line.startswith("#")
        if header := re.fullmatch(r"\[([\w.]+)\]\s*(#.*)?", bare):
            section = tuple(header[1].split("."))
        if not (field := re.match(r"(\w+)\s*=", bare)):
            continue
        at, value, required = Recipe, tree, False
        for name in (*section, field[1]):
            value = value[name]
            if get_origin(at) is dict:  # `name` is one of the user's own
                at = table(at)
                continue
            known = next(known for n, known in at.model_fields.items() if name in (n, known.alias))
            at, required = known.annotation, required or known.is_required()
            at = at if get_origin(at) is dict else table(at)
        differs = not required and value != known.get_default()
        if differs and "#" not in bare and not above:
            found.append(".".join((*section, field[1])))
    return found


def table(annotation):
    """The section in a field's type."""
    return next((kind for kind in (annotation, *get_args(annotation)) if hasattr(kind, "model_fields")), annotation)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_where_a_shipped_recipe_differs_from_the_defaults_the_line_says_why(path):
    assert unexplained(path.read_text(encoding="utf-8")) == []


def test_a_difference_without_a_reason_would_be_caught():
    told = 'base = "b"\n[dpo]\nbeta = 0.1\nlearning_rate = 1e-4  # small model\n[prompts]\nunsuited = []\n'
    assert unexplained(told) == ["prompts.unsuited"]
    assert unexplained(told.replace("  # small model", "")) == ["dpo.learning_rate", "prompts.unsuited"]
    assert unexplained(told.replace("unsuited", "# a reason\nunsuited")) == []


def unread(names, sources):
    """Those of `names` that no source reads as an attribute."""
    trees = [ast.parse(source) for source in sources]
    return names - {node.attr for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


def test_no_field_of_a_recipe_is_a_knob_that_nobody_reads():
    names = {{"from": "source"}.get(path[-1], path[-1]) for path in fields()}
    sources = [path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")]
    assert unread(names, sources) == set()
    assert unread({"reference_model_name"}, sources) == {"reference_model_name"}  # tinker-cookbook's: declared, used nowhere


CONSISTENT = {"judge.by": "org/referee", "dpo.confidence": "consistency"}


@pytest.mark.parametrize(
    ("text", "changes", "where"),
    [
        ("", {"seed": 1, "dpo.beta": -1}, "--set dpo.beta"),
        ("", {"dpo": {"beta": -1}, "seed": 1}, "--set dpo"),
        ("", {"seed": 1, **CONSISTENT}, "--set judge.by --set dpo.confidence"),  # either alone is right
        ("", {"iterations": 0, "dpo.beta": -1}, "--set iterations"),  # the first, as in a file
        ("", {"base.name": "x"}, "--set base.name"),
        ("iterations = 0", {"seed": 1}, "{file}"),
        ("iterations = 0", {"iterations": -1}, "--set iterations"),  # which is not mended by the file
        ("iterations = 0", {"dpo.beta": -1}, "{file}"),
    ],
)
def test_a_change_that_cannot_be_is_told_as_a_fault_of_the_change_and_not_of_the_file(text, changes, where, tmp_path):
    file = tmp_path / "recipe.toml"
    file.write_text(f'base = "org/model"\n{text}\n[data]\nift = "ift.jsonl"\n')
    with pytest.raises(SelfRewardError) as caught:
        load_recipe(file, changes)
    assert caught.value.where == where.format(file=file)
    assert not text or load_recipe(file, {"iterations": 2})


def test_a_name_with_dots_stands_in_quotes():
    recipe = load_recipe(shipped_recipes()["micro"], {'drift.limits."flukes.rate".above': 0.2})
    assert recipe.drift.limits["flukes.rate"].above == 0.2
    quoted = r'unknown field drift\.limits\.flukes\.rate\. A figure stands in double quotes: drift\.limits\."flukes\.rate"'
    with pytest.raises(SelfRewardError, match=quoted):
        load_recipe(shipped_recipes()["micro"], {"drift.limits.flukes.rate.above": 0.2})
    with pytest.raises(SelfRewardError, match=r"flukes\.rate\"\.abov\. Did you mean above\?"):
        load_recipe(shipped_recipes()["micro"], {'drift.limits."flukes.rate".abov': 0.2})


def test_a_list_of_ends_has_an_end():
    said = r"\.above: must be a finite number, or a list of them, one each for M1, M2, …\. It is \[\]; change it"
    with pytest.raises(SelfRewardError, match=said):
        read_recipe({"base": "b", "data": NEEDED, "drift": {"limits": {"flukes.rate": {"above": []}}}}, "recipe.toml", Path())


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        ({}, "limits nothing"),
        ({"below": None, "stop_above": None}, "limits nothing"),
        ({"below": 0.2, "above": 0.1}, "below is 0.2 and above 0.1, so that at M1 every value is outside"),
        ({"below": 0, "stop_above": -1}, "below is 0 and stop_above -1"),
        ({"stop_below": 1, "above": 0}, "stop_below is 1 and above 0"),
        ({"stop_below": 1, "stop_above": 0}, "stop_below is 1 and stop_above 0"),
        ({"below": [0, 0, 3], "above": [1, 2]}, "below is 3 and above 2, so that at M3 "),
    ],
)
def test_a_limit_that_leaves_no_range_or_limits_nothing_is_read_and_has_a_fault(limit, said):
    assert limited(limit).fault.startswith(said)


def limited(limit):
    tree = {"base": "b", "data": NEEDED, "drift": {"limits": {"flukes.rate": limit}}}
    return read_recipe(tree, "recipe.toml", Path()).drift.limits["flukes.rate"]


def test_a_limit_is_a_table_of_ends():
    said = r'recipe.toml: drift\.limits\."flukes\.rate": must be a table\. It is 0\.2; its fields are below, above'
    with pytest.raises(SelfRewardError, match=said):
        limited(0.2)


@pytest.mark.parametrize(
    "limit", [{"below": 0, "above": 0}, {"below": [0, 3], "above": [1, 4]}, {"below": 0.1, "stop_below": 0.2}]
)
def test_a_limit_that_leaves_a_range_is_taken(limit):
    assert limited(limit).at(2)["below"] in (0, 3, 0.1)
    assert limited(limit).fault is None


@pytest.mark.parametrize("value", [[], {"no": 1}, "x", 3.5, [{}], True])
def test_a_wrong_value_of_any_field_is_told_under_the_name_that_a_recipe_has_for_it(value):
    for path in fields():
        try:
            read_recipe(put(path, value), "recipe.toml", Path())
        except SelfRewardError as error:
            assert not re.search(r"instance of|valid tuple|\.(float|int|str|tuple)\b|\[key\]", str(error)), error


@pytest.mark.parametrize(
    ("field", "tree"),
    [
        ("a.b", {"a": {"b": 1}}),
        ('a."b.c"', {"a": {"b.c": 1}}),
        ('servers."http://h:1/v1#m".url', {"servers": {"http://h:1/v1#m": {"url": 1}}}),
        ('"a.b"', {"a.b": 1}),
        ("a..b", {"a": {"": {"b": 1}}}),
        ('a."b', {"a": {'"b': 1}}),
    ],
)
def test_fields_are_set_by_their_dotted_names(field, tree):
    made = {}
    set_field(made, field, 1)
    assert made == tree
