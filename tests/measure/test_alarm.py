"""A monitor that says `stop` ends the run after its iteration: exit code 3, in words, and no other figure does."""

import json
import shutil
from pathlib import Path

import pytest
from test_rundir import damage, delete_what_it_says, refused
from typer.testing import CliRunner

from selfreward.cli import app
from selfreward.errors import Alarm
from selfreward.measure.monitors import verdicts
from selfreward.records import Estimate, Reading, read_jsonl
from selfreward.reports import write_report
from selfreward.rundir import JUDGMENTS, LIKELIHOOD_BEFORE, LIKELIHOODS, PAIRS, PROMPTS, RESPONSES, open_run
from selfreward.stats import mean_scores
from tinyrun import Moments, count_requests, go, make_world, quiet, tree

FIGURES = {"M1": 0.1, "M2": 0.2, "M3": 0.3, "M4": 0.4, "M5": 0.5}
STOP_AT_M2 = {"planted.rise": {"stop_above": 0.15}}
NEVER = {"planted.rise": {"above": 0.5, "stop_above": 0.9}}


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A recipe with monitors of which one is known beforehand: `planted.rise` is 0.1 of M1, 0.2 of M2, 0.3 of M3."""
    quiet(monkeypatch)
    monitors = {"planted": lambda now, before: {"rise": figure(FIGURES[now.name]), "none": None}}
    monkeypatch.setattr(verdicts, "MONITORS", monitors)
    recipe = make_world(tmp_path / "world")
    recipe.write_text(recipe.read_text().replace("iterations = 1", "iterations = 2") + "[drift]\nsample = 2\npool = 2\n")
    return recipe


def figure(value):
    return Estimate(value=value, low=value, high=value)


def run(recipe, folder, *more):
    return CliRunner().invoke(app, ["run", str(recipe), "-o", str(folder), *more])


def limits(found):
    return "--set", f"drift.limits={json.dumps(found)}"


def readings(folder):
    return {path.parent.name: read_jsonl(path, Reading) for path in sorted(folder.glob("*/drift.jsonl"))}


def test_a_stop_ends_the_run_after_its_iteration_with_code_3_and_one_line_that_says_how_to_go_on(world, tmp_path):
    result = run(world, tmp_path / "run", *limits({**STOP_AT_M2, "planted.none": {"stop_below": 1.0}}))
    assert result.exit_code == 3 and len(result.stdout.splitlines()) == 3 and "stop" in result.stdout
    line = result.stderr.splitlines()[-1]
    good = tmp_path / "run" / "M1"
    assert line == (
        f"alarm: {tmp_path}/run: planted.rise at M2 (0.2, above 0.15: stop). The last good model is M1: {good}/model. "
        f"Go on from there with another recipe: selfreward run --from {good} --set FIELD=VALUE -o NEW"
    )
    assert {path.name for path in (tmp_path / "run").glob("M*")} == {"M0", "M1", "M2"}
    assert [[r.verdict for r in found] for found in readings(tmp_path / "run").values()] == [["ok", "ok"], ["stop", "ok"]]
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert [model["name"] for model in summary["models"]] == ["M0", "M1", "M2"]
    assert (tmp_path / "run" / "M2" / "model" / "README.md").exists()


def test_all_figures_that_stop_are_named_with_the_end_that_they_broke_and_no_other(world, tmp_path, monkeypatch):
    found = {"a": figure(-2.0), "b": figure(3.5), "c": figure(1.0), "d": figure(1.0)}
    monkeypatch.setattr(verdicts, "MONITORS", {"planted": lambda now, before: found})
    ends = {
        "planted.a": {"stop_below": -1.0, "stop_above": 1.0}, "planted.b": {"below": 0.0, "stop_above": (4.0, 3.0)},
        "planted.c": {"stop_below": 1.0, "stop_above": 1.0}, "planted.d": {"above": 0.5},
    }  # fmt: skip
    first = r"run: planted\.a at M1 \(-2, below -1: stop\)\. It is the first model that was watched: .*run/M1/model\."
    with pytest.raises(Alarm, match=first):
        go(world, tmp_path / "run", drift__limits=ends)
    del ends["planted.a"]
    with pytest.raises(Alarm, match=r"run: planted\.b at M2 \(3\.5, above 3: stop\)\. The last good model is M1: "):
        go(world, tmp_path / "run", drift__limits=ends)


def test_a_warning_ends_nothing(world, tmp_path):
    go(world, tmp_path / "run", drift__limits={"planted.rise": {"above": 0.15, "stop_above": 0.9}})
    assert [found[0].verdict for found in readings(tmp_path / "run").values()] == ["ok", "warn", "warn"]


def test_where_two_limits_are_set_it_is_the_one_that_was_passed_that_is_told(world, tmp_path):
    both = {"above": 0.15, "below": 0.12, "stop_above": 0.25}
    with pytest.raises(Alarm, match=r"planted\.rise at M3 \(0\.3, above 0\.25: stop\)"):
        go(world, tmp_path / "run", drift__limits={"planted.rise": both})
    found = readings(tmp_path / "run")
    assert [found[name][0].limit for name in ("M1", "M2", "M3")] == [(0.12, 0.15), (0.12, 0.15), (0.12, 0.25)]


def test_a_stop_at_the_last_model_is_an_alarm_too(world, tmp_path):
    told = r"run: planted\.rise at M3 \(0\.3, above 0\.25: stop\)\. The last good model is M2: .*run/M2/model\."
    with pytest.raises(Alarm, match=told):
        go(world, tmp_path / "run", drift__limits={"planted.rise": {"stop_above": 0.25}})


def test_the_same_command_ends_the_same_way_and_asks_nothing_again(world, tmp_path, monkeypatch):
    first = run(world, tmp_path / "run", *limits(STOP_AT_M2))
    before, asked = tree(tmp_path / "run"), count_requests(monkeypatch)
    again = run(world, tmp_path / "run", *limits(STOP_AT_M2))
    assert again.exit_code == first.exit_code == 3
    assert again.stderr.splitlines()[-1] == first.stderr.splitlines()[-1]
    assert not asked and tree(tmp_path / "run") == {**before, "provenance.json": tree(tmp_path / "run")["provenance.json"]}


# limits changed


def test_with_its_limits_raised_a_run_goes_on_where_it_was_stopped_and_ends_as_one_that_never_was(world, tmp_path, monkeypatch):
    go(world, tmp_path / "straight", drift__limits=NEVER)
    with pytest.raises(Alarm):
        go(world, tmp_path / "run", drift__limits=STOP_AT_M2)
    asked = count_requests(monkeypatch)
    go(world, tmp_path / "run", drift__limits=NEVER)
    assert tree(tmp_path / "run") == tree(tmp_path / "straight")
    assert set(asked.values()) == {1}  # of M3 alone


def test_with_its_limits_lowered_a_finished_run_asks_nothing_and_tells_where_it_would_have_stopped(world, tmp_path, monkeypatch):
    go(world, tmp_path / "run", drift__limits=NEVER)
    before, asked = tree(tmp_path / "run"), count_requests(monkeypatch)
    with pytest.raises(Alarm, match=r"run: planted\.rise at M2 "):
        go(world, tmp_path / "run", drift__limits=STOP_AT_M2)
    after = tree(tmp_path / "run")
    changed = {name for name in before | after if before.get(name) != after.get(name)}
    rewritten = {f"M{t}/drift.{kind}" for t in (1, 2) for kind in ("jsonl", "receipt.json")}
    assert not asked and changed == {"config.json", "M2/model/README.md", *rewritten}  # M2's card tells of the alarm


def test_limits_may_change_at_any_moment_even_while_their_change_is_written_down(world, tmp_path, monkeypatch):
    monkeypatch.setattr("selfreward.api.write_cards", lambda folder: [])  # a second a run, and no part of this
    go(world, tmp_path / "straight", iterations=1, drift__limits=NEVER)
    go(world, tmp_path / "run", iterations=1, drift__limits={"planted.rise": {"above": 0.1}})
    with monkeypatch.context() as patch:
        moments = Moments(patch, tmp_path / "run", tmp_path / "copies")
        before = [file for file in (tmp_path / "run").rglob("*") if file.is_file()]
        moments.durable = {file.stat().st_ino: file.read_bytes() for file in before}
        go(world, tmp_path / "run", iterations=1, drift__limits=NEVER)
    assert {"after unlink", "before fsync", "after replace"} <= {what for what, _, _ in moments.kept}
    for what, at, _ in moments.kept:
        for copy in ["killed"] + ["cut"] * (what in ("after unlink", "after replace")):
            go(world, at / copy, iterations=1, drift__limits=NEVER)
            assert tree(at / copy) == tree(tmp_path / "straight"), (what, copy)


def test_a_recipe_that_is_refused_for_another_field_leaves_the_readings_as_they_were(world, tmp_path):
    go(world, tmp_path / "run", drift__limits=NEVER)
    error = refused(world, tmp_path / "run", drift__limits={"planted.rise": {"above": 0.1}}, dpo__beta=0.2)
    assert error.where == "M2/model" and "dpo.beta" in error.what


@pytest.mark.parametrize("how", ["flipped", "missing"])
@pytest.mark.parametrize("given", [{}, {"drift__limits": {"planted.rise": {"above": 0.1}}}])
def test_a_damaged_file_of_readings_is_refused_whether_or_not_the_limits_changed(how, given, world, tmp_path):
    go(world, tmp_path / "run", iterations=1)
    go(world, tmp_path / "straight", iterations=1, **given)
    damage(tmp_path / "run" / "M2" / "drift.jsonl", how)
    error = refused(world, tmp_path / "run", iterations=1, **given)
    assert error.where == str(tmp_path / "run" / "M2" / "drift.jsonl")
    assert {Path(name).name for name in delete_what_it_says(error)} <= {"drift.jsonl", "drift.receipt.json"}
    go(world, tmp_path / "run", iterations=1, **given)
    assert tree(tmp_path / "run") == tree(tmp_path / "straight")


def test_what_the_monitors_are_asked_on_may_be_changed_without_losing_a_model(world, tmp_path):
    go(world, tmp_path / "run")
    error = refused(world, tmp_path / "run", drift__sample=1)
    assert error.where == "M1/drift_cut" and "drift.sample" in error.what
    named = {Path(name).relative_to(tmp_path / "run").as_posix() for name in delete_what_it_says(error)}
    assert {"M1/drift_cut.jsonl", "M3/drift_frozen.receipt.json"} <= named
    assert not [name for name in named if not name.split("/")[1].startswith(("drift", "anchor"))]
    go(world, tmp_path / "run", drift__sample=1)
    go(world, tmp_path / "straight", drift__sample=1)
    assert tree(tmp_path / "run") == tree(tmp_path / "straight")


# drift.on_alarm

AT_M2 = {"planted.rise": {"above": (1.0, 0.15, 0.9)}}
BACK = {"drift__limits": AT_M2, "drift__on_alarm": "rollback"}


def test_on_alarm_stop_ends_a_run_at_a_limit_that_only_warns_else(world, tmp_path):
    with pytest.raises(Alarm, match=r"run: planted\.rise at M2 \(0\.2, above 0\.15: stop\)\. The last good model is M1: "):
        go(world, tmp_path / "run", drift__limits=AT_M2, drift__on_alarm="stop")
    assert {path.name for path in (tmp_path / "run").glob("M*")} == {"M0", "M1", "M2"}
    go(world, tmp_path / "run", drift__limits=AT_M2)  # as always: a warning, and on
    assert [found[0].verdict for found in readings(tmp_path / "run").values()] == ["ok", "warn", "ok"]


def test_rollback_leaves_the_model_behind_and_makes_the_next_one_from_the_last_good_one(world, tmp_path):
    go(world, tmp_path / "run", **BACK)
    run = open_run(tmp_path / "run")
    made = {name: run.models[name].measured for name in ("M1", "M2", "M3")}
    assert [found[0].verdict for found in readings(tmp_path / "run").values()] == ["ok", "back", "ok"]
    assert made["M3"].parent == made["M2"].parent == made["M1"].fingerprint
    asked = {part: {record.model for record in run["M3"].records(part)} for part in (RESPONSES, LIKELIHOOD_BEFORE)}
    assert asked == {RESPONSES: {made["M1"].fingerprint}, LIKELIHOOD_BEFORE: {made["M1"].fingerprint}}
    assert {judgment.judge for judgment in run["M3"].records(JUDGMENTS)} == {made["M1"].fingerprint}
    assert {contest.against for contest in made["M3"].head_to_head} == {"M1"}
    assert run.before("M3") == "M1" and [measured.name for measured in run.standing] == ["M0", "M1", "M3"]


def test_after_a_rollback_the_previous_judge_is_no_model_that_was_left_behind(world, tmp_path):
    ends = {"planted.rise": {"above": (1.0, 1.0, 0.25, 1.0)}}
    go(world, tmp_path / "run", iterations=4, judge__by="previous", drift__limits=ends, drift__on_alarm="rollback")
    run = open_run(tmp_path / "run")
    assert [model.name for model in run.left] == ["M3"]
    judged = {name: {judgment.judge for judgment in run[name].records(JUDGMENTS)} for name in ("M4", "M5")}
    assert judged == {"M4": {run.models["M1"].measured.fingerprint}, "M5": {run.models["M2"].measured.fingerprint}}


def test_after_a_rollback_no_prompt_is_asked_again_and_no_pair_of_the_model_left_behind_is_learnt_from(world, tmp_path):
    go(world, tmp_path / "run", pairs__accumulate=True, **BACK)
    run = open_run(tmp_path / "run")
    second, third = ({prompt.id for prompt in run[name].records(PROMPTS)} for name in ("M2", "M3"))
    assert not second & third
    steps = {name: len(list(run[name].records(PAIRS))) for name in ("M2", "M3")}
    go(world, tmp_path / "alone", **BACK)  # M3 is taught by its own pairs alone, accumulated or not
    assert open_run(tmp_path / "alone").models["M3"].measured.fingerprint == run.models["M3"].measured.fingerprint
    assert all(steps.values())


def test_the_page_the_status_and_the_end_say_that_a_model_was_left_behind(world, tmp_path):
    answer = run(world, tmp_path / "run", *limits(AT_M2), "--set", 'drift.on_alarm="rollback"')
    assert answer.exit_code == 0, answer.output
    told = "M2 is left behind, and the loop goes back to M1: planted.rise at M2 (0.2, above 0.15: left behind)"
    status = CliRunner().invoke(app, ["status", str(tmp_path / "run")]).stdout
    assert f"finished; {told}" in status
    write_report(tmp_path / "run")
    page = (tmp_path / "run" / "report" / "health.html").read_text()
    assert "No: M2 was left behind" in page and "made from M1" in page
    assert "and a model was left behind" in (tmp_path / "run" / "report" / "index.html").read_text()


def test_where_the_last_model_is_left_behind_too_the_result_is_the_last_good_one(world, tmp_path):
    go(world, tmp_path / "run", drift__limits={"planted.rise": {"above": 0.15}}, drift__on_alarm="rollback")
    found = open_run(tmp_path / "run")
    assert [model.name for model in found.left] == ["M2", "M3"] and found.standing[-1].name == "M1"
    assert "M3 is left behind, and the loop goes back to M1" in found.status


def test_a_model_that_was_not_watched_is_no_good_one_to_go_back_to(world, tmp_path):
    ends = {"planted.rise": {"above": (1.0, 1.0, 0.25, 0.9)}}
    go(world, tmp_path / "run", iterations=3, measure__every=2, drift__limits=ends, drift__on_alarm="rollback")
    found = open_run(tmp_path / "run")
    assert [found.models[name].is_measured for name in ("M2", "M3", "M4")] == [False, True, True]
    assert [model.name for model in found.left] == ["M2", "M3"]
    assert found.models["M4"].measured.parent == found.models["M1"].measured.fingerprint
    assert "M3 is left behind, and the loop goes back to M1" in found.status


def test_after_a_rollback_to_m1_its_candidates_have_scores_and_no_likelihoods(world, tmp_path):
    go(world, tmp_path / "run", judge__method="likelihood", **BACK)
    run = open_run(tmp_path / "run")
    grades = mean_scores(run["M3"].records(JUDGMENTS), 1)
    pairs = list(run["M3"].pairs())
    assert not run["M3"].records(LIKELIHOODS) and pairs
    assert all((pair.chosen_score, pair.rejected_score) == (grades[pair.chosen_id], grades[pair.rejected_id]) for pair in pairs)
    assert run.status.startswith("finished; M2 is left behind")


@pytest.mark.parametrize("changes", [{"judge__method": "likelihood"}, {"pairs__rejected_from": "M1"}], ids=["scored", "temporal"])
def test_a_run_is_finished_though_a_model_that_nobody_measures_was_made_from_m1_again(changes, world, tmp_path):
    ends = {"planted.rise": {"above": (1.0, 1.0, 0.25, 0.9, 0.9)}}
    more = {"iterations": 4, "measure__every": 2, "drift__limits": ends, "drift__on_alarm": "rollback"}
    go(world, tmp_path / "run", **more, **changes)
    run = open_run(tmp_path / "run")
    assert run.finished and not run.next_stage and run.status.startswith("finished; M3 is left behind")
    for file in (tmp_path / "run" / "M4").glob("model*"):
        shutil.rmtree(file) if file.is_dir() else file.unlink()
    assert not open_run(tmp_path / "run").finished


def test_before_m1_there_is_nothing_to_go_back_to(world, tmp_path):
    with pytest.raises(Alarm, match=r"planted\.rise at M1 \(0\.1, above 0\.05: stop\)\. It is the first model that was watched"):
        go(world, tmp_path / "run", drift__limits={"planted.rise": {"above": 0.05}}, drift__on_alarm="rollback")


def test_a_stop_limit_ends_the_run_under_rollback_and_names_the_last_model_that_was_not_left_behind(world, tmp_path):
    ends = {"planted.rise": {"above": 0.15, "stop_above": 0.25}}
    told = r"planted\.rise at M3 \(0\.3, above 0\.25: stop\)\. The last good model is M1: "
    with pytest.raises(Alarm, match=told):
        go(world, tmp_path / "run", drift__limits=ends, drift__on_alarm="rollback")
    assert "the last good model is M1" in open_run(tmp_path / "run").status


def test_a_run_that_rolls_back_is_the_same_wherever_it_was_killed(world, tmp_path, monkeypatch):
    monkeypatch.setattr("selfreward.api.write_cards", lambda folder: [])  # a second a run, and no part of this
    monkeypatch.setattr("selfreward.api.write_report", lambda folder: None)
    go(world, tmp_path / "straight", **BACK)
    with monkeypatch.context() as patch:
        moments = Moments(patch, tmp_path / "run", tmp_path / "copies")
        go(world, tmp_path / "run", **BACK)
    around = [at for at, (_, copy, _) in enumerate(moments.kept) if (copy / "killed" / "M2" / "measured.json").exists()]
    assert len(around) > 40
    for at in around[::9]:
        for copy in ("killed", "cut"):
            go(world, moments.kept[at][1] / copy, **BACK)
            assert tree(moments.kept[at][1] / copy) == tree(tmp_path / "straight"), (at, copy)


def test_a_finished_run_that_is_told_to_roll_back_after_all_refuses_the_models_made_from_what_it_leaves_behind(world, tmp_path):
    go(world, tmp_path / "run", drift__limits=AT_M2)
    error = refused(world, tmp_path / "run", **BACK)
    assert error.where.startswith("M3/")
    delete_what_it_says(error)
