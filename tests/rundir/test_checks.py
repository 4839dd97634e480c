"""Whole runs whose prompts carry checks: measured, as anchors, as scores; killed; and refused before anything is paid."""

import json

import pandas
import pytest

from selfreward.checks import check
from selfreward.checks.planning import plan
from selfreward.errors import SelfRewardError
from selfreward.recipe import load_recipe
from selfreward.records import Check, Instruction, Judgment, Pair, Prompt, Response, iter_jsonl, to_line
from selfreward.reports import export_run, write_report
from tinyrun import go, make_world, tree, write_by

COMMA, WORD = Instruction(id="punctuation:no_comma"), Instruction(pattern="birch")
WORDS = Instruction(id="length_constraints:number_words", kwargs={"num_words": 9, "relation": "less than"})
SAID = ("birch", "a birch, tall", "an oak", "an oak, tall")
"""Texts that pass both checks, the second, the first, none."""


def world(folder, own=True):
    """A world whose held-out prompts, and prompts of the user's own, carry two checks; its recipe."""
    recipe = make_world(folder)
    heldout = [Prompt(text=f"name the birch number {n}", source="seed", checks=(COMMA, WORD)) for n in range(3)]
    mine = [Prompt(text=f"tell of tree number {n}", source="seed", checks=(COMMA, WORD, WORDS)[:: 1 + n % 2]) for n in range(5)]
    mine.append(Prompt(text="tell of a stone", source="seed"))
    for name, records in {"prompts": heldout, "own": mine}.items():
        (folder / f"{name}.jsonl").write_text("".join(to_line(record) + "\n" for record in records))
    if own:
        recipe.write_text(recipe.read_text().replace("[prompts]", '[prompts]\nfrom = "own.jsonl"'))
    return recipe


def speak(monkeypatch):
    """Let every model answer by the number of the sample, and as a judge like oaks best."""

    def write(request):
        asked = request.messages[-1].content
        if "Score" in asked:
            return f"so. Score: {4 if 'oak' in asked else 1}", "stop"
        return SAID[request.index * 2 % 4], "stop"

    write_by(monkeypatch, write)


@pytest.fixture
def run(tmp_path, monkeypatch):
    speak(monkeypatch)
    recipe = world(tmp_path / "world")

    def begin(name="run", **changes):
        go(recipe, tmp_path / name, **changes)
        return tmp_path / name

    return begin


def records(folder, name, kind):
    return list(iter_jsonl(folder / f"{name}.jsonl", kind))


def test_checks_that_score_decide_the_pairs_and_the_judge_is_asked_about_no_other_prompt(run):
    m2 = run(judge__checks="score", judge__scale=[0, 4], measure__truth="checks") / "M2"
    said = {response.id: response for response in records(m2, "responses", Response)}
    pairs = records(m2, "pairs", Pair)
    told = [(said[p.chosen_id].text, said[p.rejected_id].text, p.chosen_score, p.rejected_score) for p in pairs]
    assert told == [("birch", "an oak", 4, pytest.approx(8 / 3))] * 3 + [("an oak", "birch", 4, 1)]
    # of the two other trees both answers pass all
    loop = json.loads((m2 / "measured.json").read_text())["loop"]
    assert loop["true_score"]["value"] == pytest.approx((3 * (4 + 8 / 3) + 2 * 2 * 4) / 10)
    stone = {response.id for response in said.values()} - {c.response_id for c in records(m2, "checks", Check)}
    assert {judgment.response_id for judgment in records(m2, "judgments", Judgment)} == stone and len(stone) == 2


def test_measured_checks_flow_nowhere_and_are_the_truth_where_that_is_asked(run):
    off = run("off", measure__truth="tinyrun:truth")
    on = run("on", judge__checks="measure", measure__truth="checks")
    for name in ("responses", "judgments", "pairs"):
        assert (off / "M2" / f"{name}.jsonl").read_bytes() == (on / "M2" / f"{name}.jsonl").read_bytes()
    assert not list(off.rglob("*checks*"))
    measured = json.loads((on / "M2" / "measured.json").read_text())
    assert measured["checks"]["prompts"]["value"] == measured["checks"]["instructions"]["value"] == 1
    assert measured["checks"]["outcomes"] == {"checked": 6} and set(measured["checks"]["by_kind"]) == {COMMA.id, "pattern"}
    assert measured["true_score"] == 5 and measured["loop"]["true_score"]["value"] == pytest.approx(5 * (3 * 5 / 6 + 2 * 1) / 5)
    assert "checks" not in json.loads((off / "M2" / "measured.json").read_text())


def test_a_thought_without_an_end_is_in_the_figures_and_a_failed_request_is_counted(run, tmp_path, monkeypatch):
    def write(request):
        asked = request.messages[-1].content
        if "Score" in asked:
            return "<think>so</think> Score: 3", "stop"
        ended = "number 0" in asked or "tree" in asked
        return ("", "error") if "number 1" in asked and "birch" in asked else (f"<think>so{'</think> birch' * ended}", "stop")

    write_by(monkeypatch, write)
    with pytest.raises(SelfRewardError):  # all candidates read alike: no pairs; M1 is measured by then
        run("thinks", judge__checks="measure", measure__truth="checks", responses__thinking=9, judge__thinking=9)
    measured = json.loads((tmp_path / "thinks" / "M1" / "measured.json").read_text())
    found = measured["checks"]
    assert found["prompts"]["value"] == found["instructions"]["value"] == 0.5
    assert found["outcomes"] == {"checked": 4, "no_answer": 1} and measured["true_score"] == 2.5


def test_what_could_not_be_checked_has_no_score_and_is_counted_with_its_reason(run, tmp_path):
    slow = Prompt(text="name the slow one", source="seed", checks=(Instruction(pattern="^(a|aa|a)+$"),))
    (tmp_path / "world" / "prompts.jsonl").write_text(to_line(slow) + "\n")
    SLOW = "a" * 70 + "!"
    import selfreward.engines.fake as fake

    fake.FakeModel.__init__ = lambda self: setattr(self, "_write", lambda request: (SLOW, "stop"))
    with pytest.raises(SelfRewardError):  # all candidates read alike: no pairs; M1 is measured by then
        run("slow", judge__checks="measure", measure__truth="checks")
    measured = json.loads((tmp_path / "slow" / "M1" / "measured.json").read_text())
    assert measured["checks"]["outcomes"] == {"unchecked (its pattern took more than 2 seconds)": 1}
    assert measured["true_score"] is None and measured["checks"]["instructions"] is None


def test_anchors_are_watched_and_never_trained_on(run):
    folder = run(judge__checks="anchor", drift={"sample": 2})
    assert [response.prompt_id for response in records(folder / "M2", "responses", Response)].count(
        Prompt(text="tell of a stone", source="seed").id
    ) == 2
    assert len(records(folder / "M2", "responses", Response)) == 2
    assert len(records(folder / "M2", "anchor_responses", Response)) == 2
    figures = {row["monitor"]: row["value"] for row in map(json.loads, (folder / "M2" / "drift.jsonl").open())}
    assert figures["people.anchor_accuracy"] == 1


def test_a_run_with_checks_that_was_killed_ends_with_the_same_bytes(run, tmp_path, monkeypatch):
    whole = tree(run(judge__checks="score", measure__truth="checks"))
    from selfreward.rundir import ModelFolder

    keep, calls = ModelFolder.keep, []

    def dying(self, part, decided):
        calls.append(part.name)
        if len(calls) in (5, 11):
            raise KeyboardInterrupt
        return keep(self, part, decided)

    monkeypatch.setattr(ModelFolder, "keep", dying)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run("killed", judge__checks="score", measure__truth="checks")
    assert tree(run("killed", judge__checks="score", measure__truth="checks")) == whole


@pytest.mark.parametrize("name", ["prompts", "own"])
def test_a_check_that_cannot_be_made_is_refused_before_there_is_a_folder(run, tmp_path, name):
    file = tmp_path / "world" / f"{name}.jsonl"
    lines = file.read_text().splitlines()
    lines[1] = lines[1].replace("no_comma", "no_dash")
    file.write_text("\n".join(lines) + "\n")
    with pytest.raises(SelfRewardError, match=f"{name}.jsonl:2: checks.0.id: no checker knows 'punctuation:no_dash'"):
        run(judge__checks="measure")
    assert not (tmp_path / "run").exists()
    found = check(load_recipe(tmp_path / "world" / "recipe.toml", {"judge.checks": "measure"}), tmp_path / "run").findings
    assert any("checks.0.id" in finding.what for finding in found)
    run("off")  # nobody asks


@pytest.mark.parametrize(("changes", "complaint"), [
    ({"measure__truth": "checks"}, 'truth = "checks" needs answers that are checked'),
    ({"judge__checks": "anchor"}, 'judge.checks: is "anchor", but no monitor watches'),
    ({"judge__checks": "score", "judge__method": "votes"}, 'checks = "score" takes the place of one judge'),
    ({"judge__checks": "score", "pairs__max_fluke": 0.1}, "leave out it, or a jury, judge.method and judge.checks = .score."),
    ({"judge__checks": "score", "judge_pairs": {}}, "learns from its own judgments: .*; leave out judge.checks = .score."),
])  # fmt: skip
def test_a_recipe_in_which_checks_mean_nothing_is_refused(run, changes, complaint):
    with pytest.raises(SelfRewardError, match=complaint):
        run(**changes)


def test_the_bill_counts_no_judgment_of_prompts_that_programs_score(tmp_path):
    recipe = world(tmp_path / "world")

    def judgments(**changes):
        changed = load_recipe(recipe, changes)
        stages = plan(changed, check(changed, tmp_path / "run").seed)
        return next(stage.requests for stage in stages if stage.stage == "M2/judgments")

    assert judgments() == 6 * 2 * 3
    assert judgments(**{"judge.checks": "score"}) == 1 * 2 * 3


def test_checks_are_exported_with_the_arguments_that_each_has(run, tmp_path):
    folder = run(judge__checks="measure", measure__truth="checks")
    export_run(folder, tmp_path / "export", ["prompts", "heldout_prompts", "heldout_checks"])
    asked = pandas.read_parquet(tmp_path / "export" / "prompts").set_index("text")["checks"]
    assert [check["id"] for check in asked["tell of tree number 0"]] == [COMMA.id, None, WORDS.id]
    assert asked["tell of tree number 0"][2]["kwargs"]["num_words"] == 9 and asked["tell of a stone"] is None
    checks = pandas.read_parquet(tmp_path / "export" / "heldout_checks")
    assert set(checks["iteration"]) == {"M0", "M1", "M2"} and checks["strict"].notna().all()


def test_the_page_has_the_checks_of_every_model_and_of_each_candidate(run):
    folder = run(judge__checks="measure", measure__truth="checks")
    page = write_report(folder).read_text()
    assert "Checks by programs" in page and "Checks passed by kind" in page and "punctuation:no comma: passed" in page
    assert "pattern: failed" in page
    assert "Checks by programs" not in write_report(run("off")).read_text()
