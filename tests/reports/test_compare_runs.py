"""Runs side by side: what differs, the figures of all models, verdicts; and `compare`'s refusals, one line each."""

import json
import re
import shutil
from pathlib import Path

import pytest
from test_report import HOSTILE, Page, make_run
from typer.testing import CliRunner

from receipts import rewrite
from selfreward.cli import app
from selfreward.errors import SelfRewardError
from selfreward.records import Reading, iter_jsonl
from selfreward.reports import compare_runs, write_comparison
from tinyrun import quiet

NETS = {
    "wins less losses against the model before, by the truth": "truth",
    "wins less losses against the model before, by the outside judge": "judges:First",
}
"""Figure → judge whose head-to-head it shows."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs that differ in β, one of them watched and one model longer; all texts are hostile."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        quiet(patch)
        watching = {"drift__sample": 2, "drift__pool": 2, "drift__traits": {HOSTILE: "x"}}
        made = [
            make_run(folder / "a", iterations=1, measure__judge="judges:First"),
            make_run(folder / "b", measure__judge="judges:First", dpo__beta=0.2, **watching),
        ]
    for run, name in zip(made, ("[bold]plain", "watched"), strict=True):
        run.rename(folder / name)
    return folder / "[bold]plain", folder / "watched"


def compare(*arguments):
    return CliRunner().invoke(app, ["compare", "runs", *map(str, arguments)])


def complaint(result):
    """The one line on stderr."""
    assert result.exit_code == 1 and result.stdout == "", result.output
    (line,) = result.stderr.splitlines()
    return line


def plant(run, name, *planted):
    """Let these readings stand first in a model's drift.jsonl."""
    file = run / name / "drift.jsonl"
    rewrite(file, [*planted, *iter_jsonl(file, Reading)])


def reading(value, model, verdict):
    return Reading(
        monitor="flukes.planted", iteration=model, value=value, interval=(value, value), limit=(None, 1), verdict=verdict
    )


def group(found, title):
    return next(one for one in found.groups if one.title == title)


def test_only_fields_that_differ_are_told_and_what_one_lacks_is_a_dash(runs):
    fields = compare_runs(runs).fields
    assert fields["dpo.beta"] == ["0.1", "0.2"] and fields["iterations"] == ["1", "2"] and fields["drift.sample"] == ["–", "2"]
    assert (
        "judge.samples" not in fields and "prompts.unsuited" not in fields and not any("null" in told for told in fields.values())
    )


def test_the_axes_are_those_of_the_summaries(runs):
    axes = group(compare_runs(runs), "Both axes")
    assert axes.models == ["M0", "SFT", "M1", "M2", "M3"]
    by_title = {figure.title: figure.rows for figure in axes.figures}
    for at, run in enumerate(runs):
        models = {model["name"]: model for model in json.loads((run / "summary.json").read_text())["models"]}
        true = [f"{models[name]['true_score']:.3g}" if name in models else "–" for name in axes.models]
        assert [words.split()[0] for words, _ in by_title["true score"][at]] == true
        net = {found["judge"]: found["net"] for found in models["M2"]["head_to_head"] if found["against"] == "M1"}
        for title, judge in NETS.items():
            told = by_title[title][at][axes.models.index("M2")][0].split()[0].replace("−", "-")
            assert float(told) == pytest.approx(net[judge]["value"], abs=0.005)
        assert by_title["pairwise accuracy"][at][2][0] != "–" and by_title["says of itself"][at][2][0] != "–"
    assert [words for words, _ in by_title["true score"][0]][-1] == "–"


def test_monitors_stand_side_by_side_with_their_verdicts(runs, tmp_path):
    sides = [tmp_path / "one", tmp_path / "two"]
    for side, values in zip(sides, ((0.5, 2.5), (0.25, 1.5)), strict=True):
        shutil.copytree(runs[1], side)
        plant(side, "M1", reading(values[0], "M1", "ok"))
        plant(side, "M2", reading(values[1], "M2", "stop" if values[1] > 2 else "warn"))
    found = compare_runs(sides)
    figure = group(found, "Flukes").figures[0]
    assert figure.title == "flukes.planted"
    assert figure.rows == [[("0.5", "ok"), ("2.5 !!", "stop"), ("–", "")], [("0.25", "ok"), ("1.5 !", "warn"), ("–", "")]]
    assert re.findall(r'class="dot (\w+)"', figure.chart) == ["r0", "r0", "r1", "r1"]
    page = Page(write_comparison(found, tmp_path))
    assert ["flukes.planted", "one", "0.5", "2.5 !!", "–"] in page.rows and ["", "two", "0.25", "1.5 !", "–"] in page.rows
    assert "a monitor ended it at M2" in "".join(page.text)


def test_the_command_prints_tables_and_writes_the_page_where_it_is_told(runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = compare(*runs)
    assert told.exit_code == 0 and not any(tmp_path.iterdir()), "unasked it writes nothing"
    lines = [line.split() for line in told.stdout.splitlines()]
    assert ["field", "[bold]plain", "watched"] in lines and ["dpo.beta", "0.1", "0.2"] in lines
    rows = [line for line in lines if line[:1] == ["policy.distinct_answers"]]
    assert [row[1] for row in rows] == ["watched"] and len(rows[0]) == 2 + 3, "a run that was not watched has no row of dashes"
    assert compare(*runs, "--folder", "there").stdout.splitlines()[-1] == "there/compare.html"


def test_hostile_words_stay_words_and_the_page_asks_no_network(runs, tmp_path):
    page = write_comparison(compare_runs([*runs, changed(runs[1], tmp_path)]), tmp_path)
    found = Page(page)
    assert not {"script", "img", "link", "bold"} & set(found.tags) and found.open == []
    assert HOSTILE in "".join(found.text) and "[bold]plain" in "".join(found.text)
    assert not re.search(r"https?://|@import|url\(", page.read_text())
    assert not [name for name, _ in found.attributes if name in ("href", "src") or name.startswith("on")]


def changed(run, folder):
    """A copy of a run whose recipe has another hostile field."""
    shutil.copytree(run, folder / "third")
    config = json.loads((folder / "third" / "config.json").read_text())
    (folder / "third" / "config.json").write_text(json.dumps(config | {"seed": 7, "report_to": []}))
    return folder / "third"


def test_runs_of_one_name_go_by_their_paths(runs, tmp_path):
    (tmp_path / "x").mkdir()
    twin = tmp_path / "x" / "watched"
    shutil.copytree(runs[1], twin)
    assert [side.name for side in compare_runs([runs[1], twin]).sides] == [str(runs[1]), str(twin)]


def test_a_run_that_only_began_has_nothing_to_show_yet(runs, tmp_path):
    (tmp_path / "new").mkdir()
    shutil.copy(runs[0] / "config.json", tmp_path / "new")
    found = compare_runs([tmp_path / "new", tmp_path / "new" / ".." / ".." / runs[0]])
    assert group(found, "Both axes").figures[0].rows[0] == [("–", "")] * 4
    assert "not finished" in "".join(Page(write_comparison(found, tmp_path)).text)


# Refusals


def test_a_run_beside_a_model_or_beside_itself_is_refused_in_one_line(runs):
    one, other = map(str, runs)
    assert complaint(compare(one, f"{other}/M1")) == (
        f"error: {other}/M1: is no run. Give run folders, or compare two models: `selfreward compare models`"
    )
    assert complaint(compare(one, "nowhere")).startswith("error: nowhere: there is no such folder. Give the folder of a run")
    for given in ((one,), (one, one)):
        assert "compare: a run is compared with itself, or with nothing. Give two runs or more" in complaint(compare(*given))
    named = CliRunner().invoke(app, ["compare", one, other], prog_name="selfreward")
    ways = "Write selfreward compare models …, or selfreward compare runs …"
    assert complaint(named) == f"error: selfreward compare: {one} is not one of its commands. {ways}"
    with pytest.raises(SelfRewardError, match="compared with itself"):
        compare_runs([runs[0], runs[0] / ".." / runs[0].name])


def test_the_folder_of_a_model_is_no_run(runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("model").mkdir()
    Path("model/config.json").write_text('{"model_type": "llama"}')
    assert "model: is no run" in complaint(compare("model", runs[0]))
