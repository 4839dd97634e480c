"""Results by category, complexity and expected length: labels given, labels asked of a judge, and what the page shows."""

import html
import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from judges import make_place
from selfreward.cli import app
from selfreward.errors import SelfRewardError
from selfreward.measure import read_rows
from selfreward.measure.evaluations.breakdown import CATEGORIES, LENGTHS, LabelRow, parse, read_label
from selfreward.records import Completion, Estimate, Measured, Request, Sampling, read_line, read_results
from selfreward.records.evaluated import RECEIPT
from selfreward.reports import write_report
from selfreward.reports.evaluations import read_tables
from selfreward.reports.headline import write_headline
from tinyrun import go, make_world

PROMPTS = ["code", "code it", "see Rome and Paris", "an odd one"]
"""Echo and Terse answer the first alike; of the others Echo's answer is the longer."""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty working folder with the prompts, and nothing asked yet."""
    return make_place(tmp_path, monkeypatch, PROMPTS)


def compare(a, b, *more):
    result = CliRunner().invoke(app, ["compare", "models", a, b, "--on", "prompts.jsonl", *more])
    assert result.exit_code == 0, result.output
    return json.loads(Path(result.stdout.splitlines()[-1]).read_text())


def bins(found, label):
    return [(bin["name"], bin["value"], bin["n"]) for bin in found["breakdown"][label]]


def test_a_judge_labels_the_prompts_and_one_it_has_no_known_label_for_is_counted_as_such():
    found = compare("judges:Echo", "judges:Terse", "--judge", "judges:Labeller", "--set", "labels=judge")
    assert bins(found, "category") == [("coding", 75, 2), ("travel and places", 100, 1), ("not labelled", 100, 1)]
    assert bins(found, "complexity") == [("1", 50, 1), ("2", 100, 1), ("4", 100, 1), ("not labelled", 100, 1)]
    assert bins(found, "expected_length") == [("one paragraph", pytest.approx(250 / 3), 3), ("not labelled", 100, 1)]
    receipt = json.loads(Path("evaluations/judges--Echo/prompts-against-judges--Terse/records/labels.receipt.json").read_text())
    assert receipt["outcomes"] == {"labelled": 3, "unparsed": 1}


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("Category: coding\nComplexity: 3\nLength: one paragraph", ("coding", 3, "one paragraph")),
        ("**Category:** Coding.\n- complexity: 10\nLENGTH : One Paragraph", ("coding", 10, "one paragraph")),
        ("Category: health\nComplexity: 3\nLength: a few words\nCategory: coding", ("coding", 3, "a few words")),
        ("Category: coding\nComplexity: 0\nLength: one paragraph", None),
        ("Category: coding\nComplexity: 11\nLength: one paragraph", None),
        ("Category: coding\nComplexity: 3.5\nLength: one paragraph", None),
        ("Category: cooking code\nComplexity: 3\nLength: one paragraph", None),
        ("Category: coding\nComplexity: 3\nLength: long", None),
        ("Category: coding\nComplexity: 3", None),
        ("", None),
    ],
)
def test_labels_are_read_whole_or_not_at_all(text, labels):
    assert parse(text) == labels


@pytest.mark.parametrize(("finish", "outcome"), [("stop", "labelled"), ("length", "truncated"), ("error", "error")])
def test_labels_cut_off_or_failed_have_that_for_a_name(finish, outcome):
    sampling = Sampling(temperature=0, top_p=1, max_tokens=9)
    request = Request(about="p", index=0, messages=(), sampling=sampling, seed=0, model="m")
    text = "Category: coding\nComplexity: 3\nLength: one paragraph"
    label = read_label(request, Completion(request_id=request.id, text=text, finish=finish, prompt_tokens=1, completion_tokens=1))
    assert label.outcome == label.label == outcome and (label.category is None) == (outcome != "labelled")


def test_there_are_twenty_categories_as_in_the_paper_and_all_can_be_read_back():
    assert len(set(CATEGORIES)) == 20
    for category in CATEGORIES:
        for length in LENGTHS:
            assert parse(f"Category: {category}\nComplexity: 1\nLength: {length}") == (category, 1, length)


@pytest.mark.parametrize("row", [{"category": "coding"}, {"instruction": "a", "complexity": 11}])
def test_a_row_of_labels_that_names_no_prompt_or_is_off_the_scale_is_refused_with_its_place(here, row):
    (here / "labels.jsonl").write_text(json.dumps({"prompt_id": "x", "category": "c"}) + "\n" + json.dumps(row) + "\n")
    with pytest.raises(SelfRewardError, match=r"labels\.jsonl:2: "):
        read_rows("labels.jsonl", LabelRow)


# on the page


@pytest.fixture
def run(here):
    """A finished run with an outside judge, two of whose models were compared with another, broken down."""
    made = here / "run"
    go(make_world(here / "world"), made, measure__judge="judges:First")
    for model in ("M1", "M2"):
        compare(f"run/{model}", "judges:Echo", "--judge", "judges:Labeller", "--set", "labels=judge", "--name", "against echo")
    return made


def fingerprints(run, *models):
    return {model: json.loads((run / model / "measured.json").read_text())["fingerprint"] for model in models}


def change(run, **fields):
    """Rewrite what M2's evaluation left; `settings` are merged."""
    file = run / "M2" / "evaluations" / "against echo" / "result.json"
    found = json.loads(file.read_text())
    file.write_text(json.dumps({**found, **fields, "settings": {**found["settings"], **fields.get("settings", {})}}))
    (file.parent / RECEIPT).unlink(missing_ok=True)


def page(run):
    return re.sub(r"\s+", " ", html.unescape(write_report(run).read_text()))


def test_the_models_of_a_run_stand_in_one_table_of_their_evaluation(run):
    (table,) = read_tables(run, fingerprints(run, "M0", "M1", "M2"))
    assert (table.title, table.judge, table.against) == ("against echo", "judges:Labeller", "judges:Echo")
    assert list(table.rows) == ["M1", "M2"] and table.columns[0] == "wins %"
    assert table.rows["M2"]["wins %"].n == 4
    assert set(table.breakdown["category"]["M2"]) == {"coding (n = 2)", "travel and places (n = 1)", "not labelled (n = 1)"}


@pytest.mark.parametrize(
    "fields",
    [
        {"judge_fingerprint": "another"},
        {"settings": {"few_shot": 5}},
        {"settings": {"limit": 10}},
        {"settings": {"chat_template": True}},
        {"settings": {"responses": {"temperature": 0.1, "top_p": 0.9, "max_tokens": 1024}}},
        {"settings": {"grading": {"samples": 1}}},
    ],
)
def test_results_by_another_judge_or_asked_for_otherwise_stand_in_a_table_of_their_own(run, fields):
    change(run, **fields)
    assert sorted([list(table.rows) for table in read_tables(run, fingerprints(run, "M1", "M2"))]) == [["M1"], ["M2"]]


def test_seed_machine_and_paths_part_no_two_results(run):
    (settings,) = [result.settings for result in read_results(run / "M2")]
    rubric = {**settings["pairwise"], "rubric": "/elsewhere/same.txt"}
    change(
        run, settings={"seed": 9, "bootstrap": 100, "backend": {"dtype": "float32"}, "data": {"path": "x"}, "pairwise": rubric}
    )
    (table,) = read_tables(run, fingerprints(run, "M1", "M2"))
    assert list(table.rows) == ["M1", "M2"]


def test_results_of_a_model_that_has_been_trained_anew_since_are_not_shown_as_its_own(run):
    change(run, fingerprint="as it was")
    (table,) = read_tables(run, fingerprints(run, "M1", "M2"))
    assert list(table.rows) == ["M1"]
    change(run, note="of a model that is no more")
    assert "of a model that is no more" not in page(run)


def test_the_page_shows_evaluations_with_judge_interval_and_number_and_a_chart_for_each_bin(run):
    (result,) = read_results(run / "M2")
    shown = page(run)
    section = shown[shown.index('<section id="evaluations">') : shown.index('<section id="parts">')]
    assert "<small>head-to-head, against judges:Echo, judged by judges:Labeller</small>" in section
    figure = result.figures[0]
    assert (figure.low, figure.high, figure.n) == (figure.value, figure.value, 4)  # which a bootstrap makes of four wins
    assert re.search(rf'{figure.value:.2f} <span class="interval">all 4 alike: no interval</span>', section)
    assert result.note in section and "decided 8" in section
    charts = 3 + 3 + 2  # bins by category, by complexity (two words, one, four, and none) and by expected length
    assert "By expected length: wins, a tie counting half, %" in section
    assert section.count("<svg") >= charts and "<h4>travel and places (n = 1)</h4>" in section


def test_the_page_shows_the_head_to_head_of_the_judge_outside_the_loop(run):
    shown = page(run)
    assert "The verdicts of judges:First, a judge outside the loop" in shown
    assert "<tr><th>M2</th><td>M1</td><td>" in shown
    row = r"<th>M2</th><td>M1</td>.*?0\.0 / 100\.0 / 0\.0.*?<td>0\.0 .*?<td>100\.0 <span[^>]*>of \d+</span></td></tr>"
    assert re.search(row, shown)


def test_a_run_without_evaluations_has_no_such_section(here):
    go(make_world(here / "world"), here / "plain")
    assert 'id="evaluations"' not in page(here / "plain") and "#evaluations" not in page(here / "plain")


def test_hostile_names_and_notes_of_an_evaluation_stay_text(run):
    file = run / "M2" / "evaluations" / "against echo" / "result.json"
    found = json.loads(file.read_text())
    evil = "<script>alert(1)</script>"
    found |= {"name": evil, "judge": evil, "note": evil, "judge_fingerprint": "x"}
    found["breakdown"]["category"][0]["name"] = found["figures"][0]["name"] = evil
    file.write_text(json.dumps(found))
    (file.parent / RECEIPT).unlink(missing_ok=True)
    assert "<script" not in write_report(run).read_text()


# what it claims in words


def models_without_truth(here, **changes):
    """What was measured of the models of a run without a truth."""
    recipe = make_world(here / "world")
    recipe.write_text(recipe.read_text().replace('truth = "tinyrun:truth"\n', ""))
    go(recipe, here / "run", sft__baseline=True, **changes)
    return [read_line((here / "run" / name / "measured.json").read_text(), Measured, name) for name in ("M0", "SFT", "M1", "M2")]


def by_judge(models, wins, losses, low, high):
    """The headline where M2 wins and loses so often against both rivals, by the same judge."""
    net = Estimate(value=(low + high) / 2, low=low, high=high)
    last = models[-1]
    changed = [
        found.model_copy(update={"wins": wins, "ties": 0, "losses": losses, "net": net})
        if found.judge == "judges:First"
        else found
        for found in last.head_to_head
    ]
    return write_headline([*models[:-1], last.model_copy(update={"head_to_head": changed})], 5)


@pytest.mark.parametrize(
    ("low", "high", "title"),
    [
        (0.1, 0.4, "Yes: M2 answers better than SFT, says judges:First"),
        (-0.4, -0.1, "No: M2 answers worse than SFT, says judges:First"),
        (-0.1, 0.1, "Not known: no clear difference between M2 and SFT, says judges:First"),
    ],
)
def test_without_a_truth_the_judge_outside_the_loop_has_the_headline_by_name_and_interval(here, low, high, title):
    found = by_judge(models_without_truth(here, measure__judge="judges:First"), 2, 1, low, high)
    assert found.title == title and "nothing outside the models" not in " ".join(found.sentences)
    assert "Head to head by judges:First, M2 wins 66.7\u00a0% and loses 33.3\u00a0% of 3 prompts against M1" in " ".join(
        found.sentences
    )


def test_without_truth_and_judge_the_headline_claims_nothing(here):
    found = write_headline(models_without_truth(here), 5)
    assert (
        found.title == "Not known: only the models themselves have judged the answers"
        and "nothing outside the models measures" in found.sentences[0]
    )
