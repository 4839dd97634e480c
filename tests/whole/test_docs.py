"""The documentation describes what is."""

import ast
import json
import re
import shlex
import shutil
import sys
import tomllib
from pathlib import Path
from pkgutil import resolve_name
from typing import Literal, get_args, get_origin

import pytest
import typer

from selfreward.cli import app
from selfreward.errors import SelfRewardError
from selfreward.lab.defects.study import write_up
from selfreward.lab.defects.worlds import EASY, HARD
from selfreward.recipe import Recipe, SourceConfig, change_recipe, read_recipe
from selfreward.recipe.recipe import _table
from selfreward.records import Ranking
from selfreward.steps import assert_checkable, load_prompts, load_rankings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
OWN_MODEL = (ROOT / "docs" / "own-model.md").read_text(encoding="utf-8")


def test_the_file_tree_names_every_module_and_nothing_else():
    tree = README.split("    src/selfreward/\n")[1].split("\n\n")[0]
    named = {line.split()[0].rstrip("/") for line in tree.splitlines()}
    package = ROOT / "src" / "selfreward"
    there = {path.name for path in package.iterdir() if path.suffix == ".py" and path.name != "__init__.py"}
    there |= {path.name for path in package.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert named == there


def test_every_reason_for_which_a_row_is_dropped_is_told_on_the_page_that_warnings_point_to():
    steps = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src" / "selfreward" / "steps").glob("*.py"))
    rows = (ROOT / "src" / "selfreward" / "steps" / "sources.py").read_text(encoding="utf-8")
    reasons = {*re.findall(r'Unused\("(\w+)"', steps), *re.findall(r'reason="(\w+)"', rows)}
    assert {"unanswered", "bad_row", "over_limit"} < reasons and len(reasons) > 15
    assert sorted(reason for reason in reasons if f"`{reason}`" not in OWN_MODEL) == []


def test_the_readme_is_short():
    assert len(README.split()) < 900


def test_every_command_in_the_readme_exists():
    commands = typer.main.get_command(app).commands
    named = re.findall(r"^    selfreward (\w+)", README + OWN_MODEL, re.MULTILINE)
    assert named and set(named) <= set(commands)
    for target in re.findall(r"^    make (\w+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_every_file_that_a_page_links_to_is_there():
    for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")):
        for link in re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"


def test_the_command_line_reference_is_what_the_commands_say():
    sys.path.insert(0, str(ROOT / "scripts"))
    from cli_reference import PAGE, reference

    assert PAGE.read_text(encoding="utf-8") == reference(), "run python scripts/cli_reference.py"


@pytest.mark.parametrize("contest", ["M2 over M1", "M3 over M2", "M3 over SFT"])
def test_the_results_in_the_readme_are_those_of_the_study(contest):
    figures = json.loads((ROOT / "docs" / "results" / "micro.json").read_text())["arms"]["self"]["against"][contest]
    row = next(line for line in README.splitlines() if line.startswith(f"| {contest} |"))
    shown = [float(number) for number in re.findall(r"-?\d+\.\d+", row)]
    difference = figures["difference"]
    expected = [difference["value"], difference["low"], difference["high"], 100 * figures["wins"], 100 * figures["losses"]]
    assert shown[:5] == pytest.approx(expected, abs=0.051)


def test_what_the_study_shows_excludes_zero():
    arms = json.loads((ROOT / "docs" / "results" / "micro.json").read_text())["arms"]
    for contest in ("M2 over M1", "M3 over M2"):
        assert arms["self"]["against"][contest]["difference"]["low"] > 0


def recipe_field(dotted):
    """The pydantic field of a recipe that a dotted name means."""
    *sections, name = dotted.split(".")
    model = Recipe
    for section in sections:
        model = _table(model.model_fields[section].annotation)
    return next(field for known, field in model.model_fields.items() if name in (known, field.alias))


PAPER = (ROOT / "docs" / "paper.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in PAPER.splitlines() if line.startswith("| ")]


@pytest.mark.parametrize("row", [row for row in ROWS if "`" in row[-1]], ids=lambda row: row[1][:40])
def test_every_field_on_the_page_about_the_paper_exists_with_the_default_it_gives(row):
    for found in re.findall(r"`([^`]+)`", row[-1]):
        name, _, value = found.partition(" = ")
        field = recipe_field(name)
        if value:
            given = tomllib.loads(f"x = {value}")["x"]
            assert field.default == (tuple(given) if isinstance(given, list) else given), name


@pytest.mark.parametrize("row", [row for row in ROWS if len(row) == 4 and row[2].startswith("`")], ids=lambda row: row[2])
def test_all_code_on_the_page_about_the_paper_exists(row):
    for found in re.findall(r"`([^`]+)`", row[2]):
        assert resolve_name(f"selfreward.{found}")


def test_the_recipes_on_the_page_about_your_own_model_are_recipes(tmp_path):
    first, talk, drift, more = (tomllib.loads(block) for block in re.findall(r"```toml\n(.*?)```", OWN_MODEL, re.DOTALL))
    read = read_recipe({**first, **talk, **drift, **more}, "the page", tmp_path)
    assert (read.sft.answers, read.responses.system, read.judge.system) == (
        "all",
        "You are a careful assistant.",
        "You grade answers.",
    )
    assert read.drift.limits["people.pairwise_accuracy"].stop_below == 0.6
    assert read.servers["referee"].key_env and read.measure.judge in read.servers
    formats = set(re.findall(r"\| `(\w+)`", OWN_MODEL)) - {"format"}
    assert formats == set(get_args(SourceConfig.model_fields["format"].annotation))


def test_every_ranked_row_on_that_page_is_the_ranking_that_it_stands_for(tmp_path):
    rows = re.search(r"```json\n(.*?)```", OWN_MODEL, re.DOTALL)[1].splitlines()
    bird = Ranking(prompt="Name a bird.", responses=("The wren.", "A spoon."), ranks=(0, 1))
    for row in rows:
        (tmp_path / "row.jsonl").write_text(row)
        assert load_rankings(SourceConfig(path=str(tmp_path / "row.jsonl"), format="columns"), "rankings", 0) == ([bird], [])
    assert len(rows) == 5


GOES_WRONG = (ROOT / "docs" / "what-can-go-wrong.md").read_text(encoding="utf-8")
RESULTS = ROOT / "docs" / "results"
LAB = RESULTS / "loop-health.md"


@pytest.mark.parametrize("world", [EASY, HARD], ids=lambda world: world.name)
def test_the_laboratorys_page_is_what_its_records_say(tmp_path, world):
    if not (RESULTS / f"{world.stem}.runs.jsonl").exists():
        pytest.skip("this world has not been run")
    for records in RESULTS.glob(f"{world.stem}.*.jsonl"):
        shutil.copy(records, tmp_path)
    made = write_up(tmp_path, world)
    page = (RESULTS / f"{world.stem}.md").read_text(encoding="utf-8")
    assert made[f"{world.stem}.md"] == page, f"run selfreward lab docs/results --world {world.name} --minutes 0"
    drawn = {name: text for name, text in made.items() if name.endswith(".svg")}
    files = {*RESULTS.glob(f"{world.stem}*.svg")} - (set() if world == HARD else {*RESULTS.glob(f"{HARD.stem}*.svg")})
    assert drawn == {file.name: file.read_text(encoding="utf-8") for file in files}


def test_the_alarms_in_the_readme_are_those_of_the_laboratory():
    found = json.loads(LAB.with_suffix(".json").read_text())
    alarms, detection = found["false_alarms"]["any"], found["detection"]["first"]
    text = " ".join(README.split())
    assert f"of {alarms['of']} clean runs that no limit was fitted on, {alarms['found']} raised an alarm" in text
    assert f"fewer than {alarms['bound']:.1%} do" in text
    assert f"of {detection['of']} runs that planted defects harmed, {detection['found']} had raised one" in text
    assert (
        f"(more than {detection['bound']:.1%}), and {found['joint']['harmful']['first']['found']} by all figures together" in text
    )
    assert f"Of fresh seeds {found['fresh']['any']['found']} of {found['fresh']['any']['of']} raised one" in text


def test_what_can_go_wrong_quotes_the_laboratory():
    from selfreward.lab.defects.arms import CURES, CURES_ON_THE_WAY
    from selfreward.lab.defects.defects import DEFECTS

    quoted = [line[2:] for line in GOES_WRONG.splitlines() if line.startswith("> ")]
    said = [line.removeprefix("- ") for line in LAB.read_text(encoding="utf-8").splitlines()]
    assert set(quoted) <= set(said)
    strongest = {f"*{defect.name}*, strength {defect.strengths[-1]:g}" for defect in DEFECTS}
    cures = {f"*{cure}* moves the true score" for cure in CURES | CURES_ON_THE_WAY}
    run = {told for told in strongest | cures if any(line.startswith(told) for line in said)}
    assert all(sum(line.startswith(told) for line in quoted) == 1 for told in run)
    others = [line for line in quoted if not line.startswith((*strongest, *cures))]
    assert all(re.match(r"\*\*|\*[\w-]+\* (from M3 on|growing by \d)", line) for line in others)
    for picture in re.findall(r"\]\((results/[^)]+\.svg)\)", GOES_WRONG):
        assert (ROOT / "docs" / picture).is_file(), picture


def test_every_figure_and_field_in_what_can_go_wrong_exists():
    monitors = tomllib.loads((ROOT / "src" / "selfreward" / "reports" / "text" / "monitors.toml").read_text(encoding="utf-8"))
    prose = "\n".join(line for line in GOES_WRONG.splitlines() if not line.startswith("> "))
    named = [name.split(" = ")[0] for name in re.findall(r"`([a-z_]+\.[^`…]+)`", prose)]
    assert len(named) > 20
    for name in named:
        monitor, figure = name.split(".", 1)
        if monitor in monitors:
            assert re.sub(r"/.*", "/", figure) in monitors[monitor]["figures"], name
        else:
            assert name == "drift.jsonl" or recipe_field(name), name


CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
METHODS = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
CODE_OF_METHODS = METHODS.split("## The code of each method")[1].split("## ")[0]
PACKAGE = ROOT / "src" / "selfreward"
MAP = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (CONTRIBUTING + CODE_OF_METHODS).splitlines()
    if line.startswith("| ")
]


def test_every_path_in_contributing_and_for_a_method_exists():
    paths = re.findall(r"`((?:\w+/)*\w+\.(?:py|toml|html)|(?:\w+/)+)`", CONTRIBUTING + CODE_OF_METHODS)
    rooms = {path for path in paths if "/" in path}
    missing = [path for path in rooms if not (PACKAGE / path).exists() and not (ROOT / path).exists()]
    assert rooms and not [path for path in missing if not list(PACKAGE.glob(f"*/{path}"))]


@pytest.mark.parametrize("row", [row for row in MAP if ".py`" in row[1]], ids=lambda row: row[0])
def test_every_name_in_the_map_is_defined_in_a_module_of_its_row(row):
    spans = re.findall(r"`([^`]+)`", row[1])
    modules = [path for span in spans if span.endswith(".py") for path in PACKAGE.rglob(span)]
    modules += [path for span in spans if span.endswith("/") for path in (PACKAGE / span).glob("*.py")]
    code = "\n".join(path.read_text(encoding="utf-8") for path in modules)
    names = [re.sub(r"\(.*\)$|^\w+\.", "", span) for span in spans if not span.endswith(".py")]
    for name in (name for name in names if name.isidentifier()):
        assert re.search(rf"^\s*(?:def|class) {name}\b|^\s*{name}\b[^=\n]*[:=]", code, re.MULTILINE), f"{name} is not there"


def test_the_prompts_with_checks_on_the_page_about_your_own_model_can_be_checked(tmp_path):
    (rows,) = re.findall(r"```jsonl\n(.*?)```", OWN_MODEL, re.DOTALL)
    source = SourceConfig(path=str(tmp_path / "prompts.jsonl"))
    Path(source.path).write_text(rows)
    assert_checkable(source)
    prompts, dropped = load_prompts(source, "heldout_prompts", 0)
    assert all(prompt.checks for prompt in prompts) and len(prompts) == 3 and not dropped


def test_the_ranked_rows_on_the_page_about_your_own_model_are_read(tmp_path):
    from selfreward.steps import load_rankings

    (block,) = re.findall(r"```json\n(.*?)```", OWN_MODEL, re.DOTALL)
    rows = [line for line in block.splitlines() if "…" not in line]
    for row in rows:
        (tmp_path / "rows.jsonl").write_text(row)
        kept, dropped = load_rankings(SourceConfig(path=str(tmp_path / "rows.jsonl"), format="columns"), "rankings", 0)
        assert not dropped and kept[0].responses == ("The wren.", "A spoon.") and kept[0].ranks == (0, 1), row
    assert len(rows) >= 3


def test_the_page_of_fields_is_what_the_code_says():
    sys.path.insert(0, str(ROOT / "scripts"))
    from recipe_reference import PAGE, reference

    assert PAGE.read_text(encoding="utf-8") == reference(), "run python scripts/recipe_reference.py"


def test_the_page_of_fields_has_every_field_with_a_type_and_a_sentence():
    sys.path.insert(0, str(ROOT / "scripts"))
    from recipe_reference import fields, reference

    page = reference()
    parts = re.split(r"^## (.*)$", page, flags=re.MULTILINE)[1:]
    sections = {title.strip("[]"): text for title, text in zip(parts[::2], parts[1::2], strict=True)}
    same = set(re.findall(r"`\[([\w.]+)\]`", next(line for line in page.splitlines() if line.endswith("have the same fields."))))
    rows = {}
    for title, text in sections.items():
        for line in text.splitlines():
            if line.startswith("| `"):
                name, *cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
                rows[title, name.strip("`")] = cells
    for name in fields():
        section, _, field = name.rpartition(".")
        kind, default, _, sentence = rows["data.ift" if section in same else section or "At the top", field]
        assert kind and kind != "any value" and default and sentence, name
    known = {("judge", "samples"): "3.1", ("dpo", "beta"): "3.1", ("eft", "tries"): "open", ("pairs", "max_fluke"): ""}
    assert {name: rows[name][2] for name in known} == known


PAGES = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))}
ELSEWHERE = {"log.md", "cli.md", "recipe.md", "architectures.md", "templates.md", "paper.md"}
"""What was, pages that scripts write, and a page with tests of its own."""
PROSE = "\n".join(text for name, text in PAGES.items() if name not in ELSEWHERE)
SPANS = set(re.findall(r"`([^`\n]+)`", PROSE))
FIELD = re.compile(r"\w+(\.\w+)+(?<!\.jsonl)( = |$)")
TABLES = {name for name, field in Recipe.model_fields.items() if _table(field.annotation)}


@pytest.mark.parametrize("span", sorted(span for span in SPANS if span.split(".")[0] in TABLES and FIELD.match(span)))
def test_every_field_that_a_page_names_takes_the_value_that_it_gives(span):
    name, _, text = span.partition(" = ")
    monitors = tomllib.loads((PACKAGE / "reports" / "text" / "monitors.toml").read_text(encoding="utf-8"))
    if name.split(".")[0] in monitors:
        return
    field = recipe_field(name)
    if text and get_origin(field.annotation) is Literal:
        assert tomllib.loads(f"x = {text}")["x"] in get_args(field.annotation)


def test_every_figure_of_a_monitor_that_a_page_names_is_one():
    monitors = tomllib.loads((PACKAGE / "reports" / "text" / "monitors.toml").read_text(encoding="utf-8"))
    named = [span.split(".", 1) for span in SPANS if re.fullmatch(r"[a-z]+\.[\w/]+", span)]
    named = [(monitor, figure) for monitor, figure in named if monitor in monitors]
    assert len(named) > 30
    assert not [name for name in named if re.sub(r"/.*", "/", name[1]) not in monitors[name[0]]["figures"]]


def commands():
    """Every command line on the pages, as words."""
    lines = re.findall(r"(?m)^ +(selfreward [^#\n]*)|`(selfreward \w[^`\n]*)`", PROSE)
    return sorted({(line or span).split(" -- ")[-1].strip() for line, span in lines})


@pytest.mark.parametrize("line", commands())
def test_every_command_line_on_a_page_is_one_that_can_be_given(line):
    command, words = typer.main.get_command(app), shlex.split(line)[1:]
    while words and hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    options = {option for parameter in command.params for option in parameter.opts + parameter.secondary_opts}
    assert not [word for word in words if word.startswith("-") and word not in options]
    changes = [word.partition("=") for at, word in enumerate(words) if words[at - 1] == "--set"]
    if command.name in ("run", "check"):
        assert all(recipe_field(name) for name, _, _ in changes)


def test_every_extra_that_a_page_installs_is_one():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    named = set(re.findall(r"pip install '[^'\[]*\[(\w+)\]'", PROSE))
    assert named and named <= set(extras)


def test_every_place_that_a_page_links_to_is_a_heading():
    def headings(text):
        return {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in re.findall(r"(?m)^#+ (.*)$", text)}

    for name, text in PAGES.items():
        for page, place in re.findall(r"\]\(([\w./-]*)#([^)]+)\)", text):
            assert place in headings(PAGES[Path(page).name] if page else text), f"{name}: {page}#{place}"


def test_the_page_about_a_runs_files_names_every_part_and_figure():
    from selfreward.records import Measured, Reading
    from selfreward.records.measured import LoopStats
    from selfreward.rundir.layout import PARTS

    page = PAGES["summary.md"]
    words = set(re.findall(r"\w+", page))
    assert not {part.name for part in PARTS} - words
    tables = page.split("\n## ")
    drift, summary = (next(part for part in tables if part.startswith(title)) for title in ("What monitors read", "summary.json"))
    rows = re.findall(r"(?m)^\| ([^|]+) \|", drift.split("It follows from")[0])
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert named == set(Reading.model_fields) - {"id"}
    rows = dict(re.findall(r"(?m)^\| (`[^|]+) \| (.*) \|$", summary))
    named = {name for row in rows for name in re.findall(r"`(\w+)", row)}
    assert named == set(Measured.model_fields) - {"id"}
    assert set(LoopStats.model_fields) - {"id"} <= set(re.findall(r"`(\w+)`", rows["`loop`"]))


JURY = {"judge.by": ["current", "frozen"]}
METHOD_SECTIONS = {
    "A jury": JURY,
    "Candidates compared with each other": {"judge.method": "pairwise"},
    "Learning to judge: pairs of judgments": {"judge_pairs": {}},
    "Scores by likelihood": {"judge.method": "likelihood"},
    "Votes": {"judge.method": "votes"},
    "Candidates of an earlier and a later model": {"pairs.rejected_from": "M1"},
}
BESIDE_A_METHOD = {
    "a jury|judges other than|`judge.by`": JURY,
    "judges other than|`judge.by`": {"judge.by": "frozen"},
    "`judge.method`": {"judge.method": "pairwise"},
    '`judge.samples = "adaptive"`': {"judge.samples": "adaptive"},
    '`judge.checks = "score"`': {"judge.checks": "score"},
    "`pairs.max_fluke`": {"pairs.max_fluke": 0.2},
    "`pairs.policy`": {"pairs.policy": "mine:policy"},
    "`pairs.length_rho`": {"pairs.length_rho": 0.3},
    '`dpo.confidence = "consistency"`': {"dpo.confidence": "consistency"},
    r"`\[judge_pairs]` but for replay": {"judge_pairs": {}},
}
"""The words of a sentence that begins with "Refused with" → settings that they mean."""


def refused(settings):
    """True if a recipe cannot have these settings."""
    try:
        change_recipe(Recipe.model_validate({"base": "b", "data": {"ift": "i", "eft": "e"}}), settings)
    except SelfRewardError:
        return True
    return False


@pytest.mark.parametrize("title", METHOD_SECTIONS)
def test_what_a_method_is_said_to_be_refused_with_it_is_and_nothing_else_is(title):
    section = METHODS.split(f"\n## {title}\n")[1].split("\n## ")[0]
    sentence = " ".join(section.split()).split("Refused with ")[1]
    mine = METHOD_SECTIONS[title]
    others = {name: settings for name, settings in BESIDE_A_METHOD.items() if not settings.keys() & mine.keys()}
    said = {name for name in others if re.search(name, sentence)}
    assert not refused(mine) and said
    assert {name for name, settings in others.items() if refused(mine | settings)} == said


def test_numbers_that_a_page_quotes_are_those_of_the_code():
    from selfreward.checks.memory import HELD, KEPT
    from selfreward.engines.sampling import client, probe, server
    from selfreward.records import locks
    from selfreward.steps import checkers, witnesses

    quoted = {
        "cluster.md": [f"refreshed every {locks.REFRESHED:g} seconds", f"when {locks.STALE / 60:g} minutes pass"],
        "engines.md": [f"{HELD / 1e6:.1f} million of them at a time", f"more than {KEPT / 1e6:.1f} million"],
        "own-model.md": [
            f"first {checkers.READ:,} characters of an answer for two seconds",
            f"the first `drift.sample` ({recipe_field('drift.sample').default})",
            f"{recipe_field('data.heldout').default} prompts of `ift`",
        ],
        "parsing.md": [f"some {witnesses.TRIES} of them"],
        "servers.md": [
            f"at most {probe.TOKENS} tokens", f"first {server.NONE_YET} requests", f"({client.HELD:,}, or what",
            f"more than {client.LARGEST_BODY / 2**20:g} MB",
        ],
    }  # fmt: skip
    assert (checkers.SECONDS, client.LONGEST_PAUSE) == (2, 600)  # "two seconds", "ten minutes"
    for page, phrases in quoted.items():
        assert not [phrase for phrase in phrases if phrase not in " ".join(PAGES[page].split())]


def test_the_variables_of_chat_templates_on_the_page_are_those_that_are_tried():
    tree = ast.parse((PACKAGE / "engines" / "template.py").read_text(encoding="utf-8"))
    given = {node.target.id if isinstance(node, ast.AnnAssign) else node.targets[0].id: node.value
             for node in tree.body if isinstance(node, ast.Assign | ast.AnnAssign)}  # fmt: skip
    page = OWN_MODEL.split("**How a model is asked**")[1].split("\n- **")[0]
    always, in_turn = page.split("these are tried in turn")
    assert all(f"`{name}`" in always for name in ast.literal_eval(given["SWITCHES"])[True])
    for name, pairs in ast.literal_eval(given["FURTHER"]).items():
        after = in_turn.split(f"`{name}`")[1]
        assert all(f"`{value}`" in after for pair in pairs for value in pair if isinstance(value, str)), name


def test_the_other_figures_in_the_readme_are_those_of_the_studies():
    study = json.loads((ROOT / "docs" / "results" / "micro.json").read_text())
    score = {f"{arm} {model}": one["value"] for arm, told in study["arms"].items() for model, one in told["true_score"].items()}
    text = " ".join(README.split())
    assert f"M1 scores {score['self M1']:.2f} of 5, M3 {score['self M3']:.2f}" in text
    assert f"M3 scores {score['shuffled M3']:.2f}, with more SFT {score['sft M3']:.2f}" in text
    assert f"with the truth for a judge {score['truth M3']:.2f}" in text
    assert f"M1 already orders {study['judging']['M1']['value']:.1%}" in text


LORA = {"trainer.lora": {}}
SELECT = {"select": {"judge": "j", "prompts": "p.jsonl"}}


@pytest.mark.parametrize(
    ("settings", "cannot_be"),
    [
        ({"dpo.loss": "aot"}, True),
        ({"dpo.loss": "aot_unpaired"}, True),
        ({"dpo.loss": "sft"}, True),
        ({"dpo.label_smoothing": 0.1}, True),
        ({"dpo.label_smoothing": 0.1, "dpo.loss": "exo_pair"}, False),
        ({"dpo.label_smoothing": 0.1, "dpo.loss": "robust"}, False),
        ({"dpo.confidence": 0.9}, False),
        ({"dpo.confidence": 0.9, "dpo.loss": "hinge"}, True),
        ({"dpo.average": 2}, False),
        ({"dpo.average": 2, **LORA}, True),
        ({"dpo.average": 2, **SELECT}, True),
        ({"dpo.optimizer": "carried"}, False),
        ({"dpo.optimizer": "carried", **LORA}, True),
        ({"dpo.optimizer": "carried", **SELECT}, True),
        ({"dpo.optimizer": "carried", "cluster": {"type": "local", "trainers": 2}}, True),
    ],
)
def test_what_the_sections_on_losses_and_small_iterations_say_is_refused(settings, cannot_be):
    assert refused(settings) == cannot_be


def test_the_losses_on_the_page_are_those_of_the_recipe():
    sentence = METHODS.split("by TRL's name: ")[1].split(". ")[0]
    assert set(re.findall(r"`(\w+)`", sentence)) == set(get_args(recipe_field("dpo.loss").annotation))
