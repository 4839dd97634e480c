"""The studies of kills and of damage, small: that they see what they are to see."""

import importlib
import json
import sys
from pathlib import Path

import pytest

from tinyrun import quiet

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    yield importlib.import_module
    for name in ("kill_commands", "damage_study", "scale_study"):
        sys.modules.pop(name, None)


def test_a_command_that_is_killed_and_given_again_leaves_the_files_of_an_undisturbed_one(script, tmp_path):
    kills = script("kill_commands")
    done = kills.study(tmp_path, 1, ["evaluate"], seed=3)  # whose receipt is over a file that names its place
    assert sum(one["kills"] for one in done) == 1 and not any(one["differing"] or one["exit_code"] for one in done)
    assert done[0]["changes"] > 20
    assert "| `evaluate` |" in kills.table(done) and "**0 files differ**" in kills.table(done)
    assert kills.study(tmp_path, 1, ["evaluate"], seed=3) == done  # from what is written down
    assert len((tmp_path / "kills.jsonl").read_text().splitlines()) == len(done)
    wrong = [{**done[0], "differing": ["M2/pairs.jsonl"]}]
    assert "**1 files differ**" in kills.table(wrong)


def test_two_folders_differ_where_a_file_does_and_not_where_an_attempt_does(script, tmp_path):
    kills = script("kill_commands")
    for name in ("a", "b"):
        (tmp_path / name / "logs").mkdir(parents=True)
        (tmp_path / name / "logs" / "status.json").write_text(name)
    assert kills.differing(tmp_path / "a", tmp_path / "b") == []
    (tmp_path / "b" / "pairs.jsonl").write_text("")
    assert kills.differing(tmp_path / "a", tmp_path / "b") == ["pairs.jsonl"]


def test_damage_is_noticed_and_mended_as_told_or_mended_by_itself_and_what_is_not_shows(script, tmp_path, monkeypatch):
    damage = script("damage_study")
    quiet(monkeypatch)
    world = damage.World(tmp_path)
    whole = damage.tree(world.states["finished"])

    def outcome(state, file, how, whole=whole):
        return damage.case(world, state, file, how, whole)

    noticed = outcome("finished", "M2/judgments.jsonl", "a byte flipped")
    assert noticed["run"] == "noticed, same bytes as told" and "judgments.jsonl" in noticed["said"]
    assert noticed["export"] == "one line" and noticed["status"] == "does it"
    assert outcome("finished", "M2/measured.json", "missing")["run"] == "same bytes"
    no_text = outcome("finished", "M2/measured.json", "wrong UTF-8")  # ended with a traceback when the study was first run
    assert no_text["run"] == "same bytes" and no_text["status"] == no_text["report"] == "one line"
    assert outcome("finished", "provenance.json", "truncated")["export"] == "one line"
    assert outcome("finished", "summary.json", damage.OTHER)["run"] == "same bytes"  # was taken for this run's
    another = outcome("finished", "M1/heldout_judgments.receipt.json", damage.OTHER)  # whose way out is an rm with patterns
    assert another["run"] == "noticed, same bytes as told" and ".*" in another["said"]
    assert outcome("finished", "summary.json", "a folder")["run"] == "noticed, same bytes as told"  # left a summary.json.partial
    [journal] = [str(path.relative_to(world.states["under way"])) for path in world.states["under way"].rglob("*.journal.jsonl")]
    assert outcome("under way", journal, "truncated")["run"] == "same bytes"
    assert outcome("under way", journal, "a byte flipped")["run"] == "noticed, same bytes as told"
    assert outcome("finished", "M2/measured.json", "missing", {**whole, "M9": "x"})["run"] == "WRONG BYTES"
    assert "M2/judgments.jsonl" not in damage.table([{**noticed, "seconds": 1.0}])


def test_every_file_of_a_run_has_a_kind(script):
    kind_of = script("damage_study").kind_of
    assert kind_of("M2/judgments.jsonl") == kind_of("seed/ift.jsonl") == "records"
    assert kind_of("M2/model/model.safetensors") == "model" and kind_of("M2/pairs.dropped.jsonl") == "dropped records"
    assert kind_of("config.json") == "config.json" and kind_of("logs/attempt_1/config.json") == "recipe of an attempt"


def test_every_step_at_scale_reads_what_the_program_writes(script, tmp_path):
    scale = script("scale_study")
    folder = tmp_path / "run"
    scale.write_run(folder, 40)
    for step in scale.STEPS:
        step(folder, 40)
    scale.novelty(folder, 200)
    scale.asking(tmp_path / "asked", 3)
    assert all(seconds > 0 for seconds in scale.iteration(tmp_path / "iterated", 4).values())


def test_the_cost_of_a_prompt_is_of_what_grows_with_the_prompts(script):
    runs = ((10, 0.1, 3.0), (30, 0.33, 3.5))
    lines = [{"records": n, "start_s": 2.0, "pairs_s": pairs, "cpu_s": cpu} for n, pairs, cpu in runs]
    assert list(script("scale_study").per_prompt(lines)) == [
        "| 10 | 2.00 | 10.00 | +0% | 0.90 | – |",
        "| 30 | 2.00 | 11.00 | +10% | 1.17 | 25.00 |",
    ]


def test_lines_of_steps_that_are_not_taken_again_stay(script, tmp_path, monkeypatch):
    scale, results = script("scale_study"), tmp_path / "scale"
    taken = []

    def measured(step, folder, count, records):
        taken.append(step)
        took = {"cpu_s": 4.0, "start_s": 1.0, "pairs_s": 2.0, "wall_s": 9.0, "peak_bytes": 10**9}
        return {"step": step, "records": records, **took, "records_per_s": records / 4, "date": str(len(taken)), "load": 1.0}

    monkeypatch.setattr(scale, "measured", measured)
    monkeypatch.setattr(scale, "write_run", lambda folder, count: None)
    given = ["scale_study.py", "--results", str(results)]
    monkeypatch.setattr(sys, "argv", given)
    scale.main()
    before, taken[:] = json.loads(results.with_suffix(".json").read_text()), []
    monkeypatch.setattr(sys, "argv", [*given, "--only", "monitors", "iteration"])
    scale.main()
    after = json.loads(results.with_suffix(".json").read_text())
    assert taken == ["monitors"] + ["iteration"] * 4
    pairs = list(zip(before["steps"], after["steps"], strict=True))
    assert [old for old, new in pairs if old == new] == [old for old, _ in pairs if old["step"] not in ("monitors", "iteration")]
    assert "| monitors | 1,000,008 | 250,002 | 4.0 | 1.00 | 1 | 1 |" in results.with_suffix(".md").read_text()
    older = [{name: value for name, value in line.items() if name not in ("date", "load")} for line in before["steps"]]
    results.with_suffix(".json").write_text(json.dumps({"date": "2026-10-30", "steps": older}))
    scale.main()
    assert "| report | 1,000,008 | 250,002 | 4.0 | 1.00 | 2026-10-30 | – |" in results.with_suffix(".md").read_text()
