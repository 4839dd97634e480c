"""Head-to-head: `compare`, and inside a run. Judges follow rules, so that every figure is worked out by hand."""

import json
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

from judges import ASKED, Scripted, make_place
from selfreward.cli import app
from selfreward.engines.fake import FakeModel, write_like_a_model
from selfreward.records import Prompt, content_id, to_line
from selfreward.reports import describe_status
from tinyrun import go, make_world, tree

PROMPTS = ["one", "one two", "one two three", "four words are here"]
"""Echo and Terse answer the first alike; of the others Echo's answer is the longer."""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty working folder, and nothing asked yet."""
    return make_place(tmp_path, monkeypatch, PROMPTS)


def compare(*more, a="judges:Echo", b="judges:Terse", judge="judges:Longer"):
    return CliRunner().invoke(
        app, ["compare", "models", a, b, "--on", "prompts.jsonl", *(["--judge", judge] if judge else []), *more]
    )


def figures(result):
    """Name → figure of the result that the command names in its last line."""
    assert result.exit_code == 0, result.output
    found = json.loads(Path(result.stdout.splitlines()[-1]).read_text())
    return found, {figure["name"]: figure for figure in found["figures"]}


def test_wins_ties_and_losses_are_counted_over_both_orders():
    found, by_name = figures(compare())
    assert (by_name["wins %"]["value"], by_name["ties %"]["value"], by_name["losses %"]["value"]) == (75, 25, 0)
    assert by_name["wins less losses, points"]["value"] == 75
    assert by_name["wins %"]["n"] == 4 and by_name["wins %"]["low"] < 75 < by_name["wins %"]["high"]
    assert by_name["verdicts that change with the order %"]["value"] == 0
    assert by_name["mean length, characters"]["value"] == (3 + 7 + 13 + 19) / 4
    assert by_name["the rival's mean length, characters"]["value"] == (3 + 3 + 3 + 4) / 4
    assert found["outcomes"] == {"decided": 8}
    assert (found["model"], found["against"], found["judge"]) == ("judges:Echo", "judges:Terse", "judges:Longer")


def test_seen_from_the_other_side_the_wins_are_losses():
    _, by_name = figures(compare(a="judges:Terse", b="judges:Echo"))
    assert (by_name["wins %"]["value"], by_name["ties %"]["value"], by_name["losses %"]["value"]) == (0, 25, 75)


def test_a_judge_that_always_says_first_gives_nothing_but_ties_and_is_seen_to_flip():
    _, by_name = figures(compare(judge="judges:First"))
    assert (by_name["wins %"]["value"], by_name["ties %"]["value"], by_name["losses %"]["value"]) == (0, 100, 0)
    assert by_name["verdicts that change with the order %"]["value"] == 100


def test_a_judge_that_says_nothing_readable_gives_no_figure_and_is_counted():
    found, by_name = figures(compare(judge="judges:Mute"))
    assert "wins %" not in by_name and found["outcomes"] == {"unparsed": 8}


def test_an_answer_that_failed_is_neither_lost_nor_won_nor_asked_about(tmp_path):
    texts = ["one two", "three fail", "four five six"]
    (tmp_path / "prompts.jsonl").write_text("".join(to_line(Prompt(text=text, source="seed")) + "\n" for text in texts))
    labels = [{"instruction": text, "category": text.split()[0]} for text in texts]
    (tmp_path / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in labels))
    for a, b, won, whose in (
        ("judges:Failing", "judges:Terse", "wins %", ""),
        ("judges:Terse", "judges:Failing", "losses %", "the rival's "),
    ):
        found, by_name = figures(compare("--set", "labels=labels.jsonl", a=a, b=b))
        assert (by_name[won]["value"], by_name[won]["n"]) == (100, 2)
        assert found["outcomes"] == {"decided": 4, "no_answer": 2}
        length = by_name[f"{whose}mean length, characters"]
        assert (length["value"], length["n"]) == ((len(texts[0]) + len(texts[2])) / 2, 2)
        assert by_name[f"{whose}answers cut off or failed %"]["value"] == pytest.approx(100 / 3)
        assert {bin["name"] for bin in found["breakdown"]["category"]} == {"one", "four"}  # no value slid to another prompt


def test_a_model_that_judges_itself_is_said_to():
    found, _ = figures(compare(a="judges:Mute", judge="judges:Mute"))
    assert "The judge is the model itself" in found["note"]
    assert "The judge is the rival itself." in figures(compare(b="judges:First", judge="judges:First"))[0]["note"]
    assert "itself" not in figures(compare())[0]["note"]


def test_models_of_a_run_are_compared_and_judge_by_default_on_what_their_run_held_out(tmp_path):
    go(make_world(tmp_path / "world"), tmp_path / "run")
    tell = CliRunner().invoke(app, ["compare", "models", "run/M2", "run/M1", "--judge", "judges:First"])
    found, by_name = figures(tell)
    seed = tmp_path / "run" / "seed"
    assert by_name["wins %"]["n"] == 3 and found["settings"]["data"]["path"] == str(seed / "heldout_prompts.jsonl")
    assert Path(tell.stdout.splitlines()[-1]) == Path("run/M2/evaluations/heldout_prompts-against-M1/result.json")
    found, _ = figures(CliRunner().invoke(app, ["evaluate", "run/M2", "--on", "reward-modeling"]))
    assert (
        found["settings"]["data"]["path"] == str(seed / "heldout_rankings.jsonl") and sum(found["outcomes"].values()) == 2 * 2 * 3
    )
    outside = CliRunner().invoke(app, ["compare", "models", "judges:Echo", "run/M1", "--judge", "judges:First"])
    assert outside.exit_code == 1 and "data is missing" in outside.output


def test_a_prompt_that_stands_there_twice_is_asked_once_and_counted(tmp_path):
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text(prompts.read_text() + prompts.read_text().splitlines()[1] + "\n")
    _, by_name = figures(compare())
    assert by_name["wins %"]["n"] == 4
    records = tmp_path / "evaluations/judges--Echo/prompts-against-judges--Terse/records"
    assert json.loads((records / "prompts.dropped.jsonl").read_text())["reason"] == "repeated"


def test_a_judge_of_ones_own_making_is_read_by_its_own_pattern(tmp_path):
    (tmp_path / "own.txt").write_text("{prompt}\n<first>{first}</first> <second>{second}</second>\nVerdict?")
    _, by_name = figures(compare("--set", "pairwise.rubric=own.txt", "--set", r"pairwise.pattern=verdict: (\w+)"))
    assert by_name["wins %"]["value"] == 75


def test_labels_break_the_result_down(tmp_path):
    rows = [{"instruction": text, "category": "short" if n < 2 else "long", "complexity": n} for n, text in enumerate(PROMPTS)]
    rows[0] |= {"complexity": 10}
    (tmp_path / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:3]))
    found, _ = figures(compare("--set", "labels=labels.jsonl"))
    bins = {name: [(bin["name"], bin["value"], bin["n"]) for bin in bins] for name, bins in found["breakdown"].items()}
    assert bins == {  # a win counts whole and a tie half
        "category": [("short", 75, 2), ("long", 100, 1), ("not labelled", 100, 1)],
        "complexity": [("1", 100, 1), ("2", 100, 1), ("10", 50, 1), ("not labelled", 100, 1)],
    }


# where it lies, and going on


def test_the_result_lies_beside_the_model_with_what_it_was_made_from(tmp_path):
    recipe = make_world(tmp_path / "world")
    go(recipe, tmp_path / "run")
    result = compare(a="run/M2", b="run/M1/model")
    found, _ = figures(result)
    home = tmp_path / "run" / "M2" / "evaluations" / "prompts-against-M1"
    assert result.stdout.splitlines()[-1] == "run/M2/evaluations/prompts-against-M1/result.json"
    assert found["fingerprint"] == json.loads((tmp_path / "run/M2/measured.json").read_text())["fingerprint"]
    assert found["against_fingerprint"] == json.loads((tmp_path / "run/M1/measured.json").read_text())["fingerprint"]
    assert (found["model"], found["against"]) == ("M2", "M1")
    assert found["settings"]["backend"]["type"] == "fake" and found["settings"]["bootstrap"] == 100  # as the run has it
    config = json.loads((home / "config.json").read_text())
    assert (config["model"], config["on"]) == ("run/M2", "head-to-head")
    assert (home / "provenance.json").exists()
    before = tree(tmp_path / "run")
    assert go(recipe, tmp_path / "run") and tree(tmp_path / "run") == before  # the run does not mind


def test_killed_anywhere_it_goes_on_and_asks_nothing_twice(tmp_path, monkeypatch):
    figures(compare("-o", "whole"))
    asked = dict(ASKED)
    assert len(asked) == 4 + 4 + 8
    for limit in range(1, 16):
        folder = f"killed-{limit}"
        ASKED.clear()
        monkeypatch.setattr(Scripted, "limit", limit)
        assert compare("-o", folder).exit_code != 0 and not (tmp_path / folder / "result.json").exists()
        monkeypatch.setattr(Scripted, "limit", None)
        figures(compare("-o", folder))
        assert dict(ASKED) == asked and set(ASKED.values()) == {1}
        assert tree(folder) == tree("whole")


def test_another_judge_in_the_same_folder_is_refused_and_what_it_would_delete_is_named():
    figures(compare("-o", "here"))
    result = compare("-o", "here", judge="judges:First")
    assert (
        result.exit_code == 1
        and "the recipe changed (judge: " in result.stderr
        and "rm -r here/records/preferences.*" in result.stderr
        and "Give this evaluation a folder of its own with --name" in result.stderr
    )
    assert compare("--name", "second", judge="judges:First").exit_code == 0


@pytest.mark.parametrize(
    ("more", "given", "says"),
    [
        ([], {"judge": None}, "judge is missing. Give it with --judge"),
        ([], {"judge": "http://localhost:1/v1"}, "is no server. Name a server as URL#MODEL"),
        (["--key-env", "KEY"], {}, "is no server"),
        ([], {"judge": "http://me:hidden@localhost:1/v1#m"}, "an argument holds a password"),
        ([], {"b": "http://localhost:1/v1"}, "is no server. Name a server as URL#MODEL"),
        ([], {"a": "http://me:hidden@localhost:1/v1#m"}, "an argument holds a password"),
        ([], {"judge": "http://me:hidden@localhost:1/v1"}, "an argument holds a password"),
        (["--set", "labels=nowhere.jsonl"], {}, "nowhere.jsonl: cannot be read"),
        ([], {"a": "nowhere/at/all"}, "nowhere/at/all: there is no such folder"),
        (["--set", "data.columns.prompt=nothing"], {}, "prompts.jsonl:1: nothing"),
        (["--set", "pairwise.pattern=("], {}, "head-to-head: pairwise.pattern: not a regular expression"),
        (["--set", "board=x"], {}, "head-to-head: board is no field of it. Leave it out; its fields are seed, bootstrap, "),
        (["--set", "pairwise.samples=1"], {}, "pairwise.samples is no field of it. Leave it out; its fields are temperature, "),
    ],
)
def test_what_cannot_be_is_refused_in_one_line_and_leaves_nothing(tmp_path, more, given, says):
    result = compare(*more, **given)
    assert result.exit_code == 1 and says in result.stderr and len(result.stderr.splitlines()) == 1
    assert "hidden" not in result.output
    assert not (tmp_path / "evaluations").exists()


@pytest.mark.parametrize("given", [{"a": "run"}, {"b": "run"}, {"judge": "run"}])
def test_a_run_is_no_model(tmp_path, given):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text('{"base": "x"}')
    line = compare(**given).stderr.replace(f"{tmp_path}/", "")
    assert line == "error: run: is a run, and no model. Name a model of it: run/M1; or `selfreward compare runs`\n"


# inside a run


def measured(run, name):
    return json.loads((run / name / "measured.json").read_text())


def test_a_judge_outside_the_loop_compares_every_model_with_its_rivals_in_both_orders(tmp_path, monkeypatch):
    recipe = make_world(tmp_path / "world")
    run = tmp_path / "run"
    monkeypatch.setattr("selfreward.engines.opening.FakeModel", lambda: FakeModel(write_by_model))
    go(recipe, run, measure__judge="judges:Longer", sft__baseline=True)
    seen = Counter()
    for name, rivals in {"M0": [], "SFT": ["M0"], "M1": ["SFT"], "M2": ["M1", "SFT"]}.items():
        found = [entry for entry in measured(run, name)["head_to_head"] if entry["judge"] == "judges:Longer"]
        assert [entry["against"] for entry in found] == rivals
        for entry in found:
            assert (entry["wins"], entry["losses"]) == longer_answers(run, name, entry["against"])
            seen.update(wins=entry["wins"], losses=entry["losses"])
            assert entry["unscored"] == 0 and entry["position_flips"] == 0
    assert sum(ASKED.values()) == 2 * 3 * 4 and set(ASKED.values()) == {1}
    assert seen["wins"] and seen["losses"]  # or nothing was shown
    asked = dict(ASKED)
    go(recipe, run, measure__judge="judges:Longer", sft__baseline=True)
    assert dict(ASKED) == asked


def write_by_model(request):
    """The fake model's text with as many words more as its fingerprint says."""
    text, finish = write_like_a_model(request)
    answering = request.messages[0].content.startswith("name the birch")
    return text + " more" * (int(content_id(request.model, request.about), 16) % 7 * answering), finish


def longer_answers(run, name, rival):
    """(prompts on which `name` has the longer answer, on which the rival has)."""
    texts = [[len(json.loads(line)["text"]) for line in (run / m / "heldout_responses.jsonl").open()] for m in (name, rival)]
    return sum(a > b for a, b in zip(*texts, strict=True)), sum(a < b for a, b in zip(*texts, strict=True))


def test_who_always_says_first_ties_everything_inside_a_run_too(tmp_path):
    run = tmp_path / "run"
    go(make_world(tmp_path / "world"), run, measure__judge="judges:First")
    (found,) = [entry for entry in measured(run, "M2")["head_to_head"] if entry["judge"] == "judges:First"]
    assert (found["wins"], found["ties"], found["losses"], found["position_flips"]) == (0, 3, 0, 1.0)


def test_without_such_a_judge_nothing_is_asked_and_nothing_written(tmp_path):
    run = tmp_path / "run"
    go(make_world(tmp_path / "world"), run)
    assert not list(run.glob("*/heldout_preferences*")) and not ASKED


def test_a_run_killed_while_its_answers_are_compared_says_so_and_goes_on_to_the_same_bytes(tmp_path, monkeypatch):
    recipe = make_world(tmp_path / "world")
    go(recipe, tmp_path / "whole", measure__judge="judges:Longer")
    asked = dict(ASKED)
    for limit in (1, 6, 7, len(asked) - 1):
        ASKED.clear()
        monkeypatch.setattr(Scripted, "limit", limit)
        run = tmp_path / f"killed-{limit}"
        with pytest.raises(KeyboardInterrupt):
            go(recipe, run, measure__judge="judges:Longer")
        assert "heldout_preferences" in describe_status(run)
        monkeypatch.setattr(Scripted, "limit", None)
        go(recipe, run, measure__judge="judges:Longer")
        assert dict(ASKED) == asked and tree(run) == tree(tmp_path / "whole")
