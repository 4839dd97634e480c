"""Published figures beside ours: the real ones, planted wrong ones, and files with other models in them."""

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from selfreward.cli import app
from selfreward.errors import SelfRewardError
from selfreward.lab.reproduce.figures import CHECKS, PublishedFigure, reproduce
from selfreward.lab.reproduce.lines import Line

FEW = ("NullModel", "text_davinci_001")
"""Of 26 models whose length is controlled in two ways each."""


def write(folder, name, *rows):
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def verdicts(found, what=""):
    return [line.verdict for line in found.lines if what in line.what]


# small files of our own

SEEDS = [{"instruction": "Name a bird."}, {"instruction": "Name a fish."}]
SCORED = [{"set": "ours", "human": {"fit": n}, "predicted": {"fit": n * n}} for n in range(4)]


def figure(**changes):
    return {
        "id": "seeds",
        "file": "self_instruct_seed_tasks",
        "metric": "seed tasks",
        "published": 2,
        "computed": 2,
        "tol": 0.0,
        **changes,
    }


def test_a_line_is_ok_within_its_tolerance_and_off_beyond_it():
    assert Line("f", "w", 1.02, 1.0, 0.03).verdict == "ok" and Line("f", "w", 1.04, 1.0, 0.03).verdict == "off"
    assert Line("f", "w", float("nan"), 1.0, 0.03).verdict == "off" and Line("f", "w", None, 1.0, 9).verdict == "off"
    assert Line("f", "w", 1.0).verdict == "-"


def test_what_is_there_is_computed_and_what_is_not_is_named(tmp_path):
    found = reproduce(write(tmp_path, "self_instruct_seed_tasks", *SEEDS))
    assert [(line.ours, line.verdict) for line in found.lines] == [(2, "-")] and found.off == 0
    assert len(found.skipped) == len(CHECKS) - 1
    assert "MT-Bench, agreement of people: there is no mtbench_human_votes" in found.skipped
    assert "skipped: MT-Bench, agreement" in str(found) and str(found).endswith(
        "1 figures: 0 ok, 0 off, 1 without a published value"
    )


def test_the_list_of_figures_says_what_was_published_or_computed_once(tmp_path):
    folder = write(tmp_path, "self_instruct_seed_tasks", *SEEDS)
    assert verdicts(reproduce(write(folder, "published_figures", figure()))) == ["ok"]
    assert verdicts(reproduce(write(folder, "published_figures", figure(published=3)))) == ["off"]
    assert verdicts(reproduce(write(folder, "published_figures", figure(published=None)))) == ["ok"]
    assert verdicts(reproduce(write(folder, "published_figures", figure(published=None, computed=3)))) == ["off"]
    assert verdicts(reproduce(write(folder, "published_figures", figure(published=3, tol=1)))) == ["ok"]


def test_a_published_figure_that_nothing_of_ours_answers_to_is_off_unless_its_file_is_not_there(tmp_path):
    folder = write(tmp_path, "self_instruct_seed_tasks", *SEEDS)
    write(folder, "published_figures", figure(), figure(id="seeds.again"), figure(id="other", file="not_there"))
    found = reproduce(folder)
    assert [(line.ours, line.verdict) for line in found.lines] == [(2, "ok"), (None, "off")]


def test_correlations_are_of_the_metric_with_people_and_not_with_their_reverse(tmp_path):
    found = {line.what: line.ours for line in reproduce(write(tmp_path, "unieval_scores", *SCORED)).lines}
    assert found["ours, fit: Spearman"] == pytest.approx(1) and found["ours, fit: Kendall tau-b"] == pytest.approx(1)
    assert found["ours, fit: Pearson"] == pytest.approx(
        15 / (5 * 49) ** 0.5
    )  # Σxy 15; Σx² 5, Σy² 49, about the means 3/2 and 7/2


def test_a_row_that_does_not_fit_is_an_error_with_file_and_line(tmp_path):
    with pytest.raises(SelfRewardError, match=r"self_instruct_seed_tasks.jsonl:2: instruction"):
        reproduce(write(tmp_path, "self_instruct_seed_tasks", SEEDS[0], {"text": "x"}))
    (tmp_path / "self_instruct_seed_tasks.jsonl").write_text('{"instruction": "x"}\n{"instruction": \n')
    with pytest.raises(SelfRewardError, match=r"self_instruct_seed_tasks.jsonl:2: is not JSON"):
        reproduce(tmp_path)


def test_a_folder_without_any_of_the_files_is_an_error(tmp_path):
    with pytest.raises(SelfRewardError, match="has none of the files"):
        reproduce(tmp_path)
    assert CliRunner().invoke(app, ["reproduce", str(tmp_path / "none")]).exit_code == 1


@pytest.mark.parametrize(("published", "code", "word"), [(2, 0, "ok"), (3, 1, "off")])
def test_the_command_prints_both_values_and_exits_by_the_verdict(tmp_path, published, code, word):
    write(write(tmp_path, "self_instruct_seed_tasks", *SEEDS), "published_figures", figure(published=published))
    done = CliRunner().invoke(app, ["reproduce", str(tmp_path)])
    assert done.exit_code == code
    assert done.output.splitlines()[1].split() == [
        "self_instruct_seed_tasks",
        "seed",
        "tasks",
        "2",
        str(published),
        "1e-09",
        word,
    ]


MODEL = {"model": "ours", "preference": [2, 1, 1.5], "len_output": [10, 20, 30]}


def test_a_model_that_nobody_has_published_stands_for_itself(tmp_path):
    found = reproduce(write(tmp_path, "ae2_compact_models", MODEL))
    assert {line.what: line.ours for line in found.lines}["ours: win rate %"] == 50
    assert set(verdicts(found)) == {"-"} and found.off == 0


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"preference": [2, 1]}, "as many entries"),
        ({"row_to_index": [0]}, "as many entries"),
        ({"preference": [2, 1, 2.5]}, "preference.2"),
        ({"preference": [2, 1, 0.5]}, "preference.2"),
        ({"len_output": [1, 2, "long"]}, "len_output.2"),
        ({"refit": {"best_C": 0}}, "refit.best_C"),
    ],
)
def test_a_model_whose_row_does_not_fit_is_an_error_that_names_the_field(tmp_path, changes, field):
    with pytest.raises(SelfRewardError, match=rf"ae2_compact_models.jsonl:2: .*{field}"):
        reproduce(write(tmp_path, "ae2_compact_models", MODEL, {**MODEL, **changes}))


def test_figures_of_the_model_and_of_the_leaderboard_are_both_held_to(tmp_path):
    folder = write(tmp_path, "ae2_compact_models", {**MODEL, "published": {"win_rate": 50}})
    assert verdicts(reproduce(write(folder, "ae2_leaderboard", {"model": "ours", "win_rate": 50})), ": win rate") == ["ok"]
    assert verdicts(reproduce(write(folder, "ae2_leaderboard", {"model": "ours", "win_rate": 51})), ": win rate") == ["ok", "off"]
    assert verdicts(reproduce(write(folder, "ae2_leaderboard", {"model": "else", "win_rate": 51})), ": win rate") == ["ok"]


@pytest.mark.parametrize("unknown", [[None], [None, None]])
def test_preferences_that_are_null_are_unknown_counted_and_in_no_figure(tmp_path, unknown):
    model = {"model": "ours", "preference": [2, *unknown, 1.5], "len_output": [9] * (2 + len(unknown))}
    lines = {line.what: line.ours for line in reproduce(write(tmp_path, "ae2_compact_models", model)).lines}
    assert lines["ours: unknown preferences, in no figure"] == len(unknown)
    assert lines["ours: win rate %"] == 75  # of 1 and 0.5
    only = {"model": "ours", "preference": unknown, "len_output": [9] * len(unknown)}
    assert [line.ours for line in reproduce(write(tmp_path, "ae2_compact_models", only)).lines] == [len(unknown)]


def test_rows_without_log_probs_are_unknown_and_not_wrong(tmp_path):
    row = {"preference": 2, "logprob_m": 0.0, "m_denotes": "model"}
    wrong, blind = {**row, "preference": 1}, {"preference": 2, "m_denotes": "model"}
    null, draw = {**row, "preference": None}, {"preference": 1.5, "m_denotes": None}
    found = reproduce(write(tmp_path, "ae2_ann_ours", row, wrong, blind, null, draw)).lines
    assert {line.what: line.ours for line in found} == {
        "win rate %": 62.5,  # of 1, 0, 1 and 0.5
        "rows without a preference or its log-probs, unknown": 2,
        "preferences that do not follow from log-probs": 1,
    }


def test_a_judge_without_a_label_of_some_pairs_is_held_to_the_others(tmp_path):
    people = {"annotator1": 1, "annotator2": 1, "annotator3": 2}
    rows = [{**people, "gpt35_result": label} for label in (1, 2, None)]
    lines = {line.what: line.ours for line in reproduce(write(tmp_path, "pandalm_testset", *rows)).lines}
    assert lines["share of majorities that gpt35 finds"] == 0.5 and lines["gpt35: unknown labels, in no figure"] == 1


def test_questions_may_have_ids_that_are_no_numbers(tmp_path):
    questions = [{"question_id": name, "category": "writing", "turns": ["a", "b"]} for name in ("81_DE", 82)]
    grade = {"turn": 1, "model": "ours", "judgment": "[[7]]", "score": 7}
    folder = write(tmp_path, "mtbench_questions", *questions)
    write(folder, "mtbench_judgments_single", *({**grade, "question_id": name} for name in ("81_DE", "82", 82)))
    vote = {"model_a": "x", "model_b": "y", "turn": 1, "winner": "model_a"}
    votes = [{**vote, "question_id": name, "judge": who} for name in ("81_DE", 82) for who in ("expert_0", "expert_1")]
    write(folder, "mtbench_human_votes", *votes)
    lines = {line.what: line.ours for line in reproduce(folder).lines}
    assert lines["ours: score"] == 7 and lines["turn 1, agreement of 2 pairs of votes"] == 1


# what was published


@pytest.fixture
def copied(reference, tmp_path):
    """Copies of some published files, with some rows changed: `copied(names, file=change of a row)`."""
    source = Path(os.environ["SELFREWARD_REFERENCE_DATA"])

    def copy(*names, **changes):
        for name in names:
            rows = reference(name) if name in changes else []
            if rows:
                write(tmp_path, name, *(changes[name](row) for row in rows))
            else:
                (tmp_path / f"{name}.jsonl").write_bytes((source / f"{name}.jsonl").read_bytes())
        return tmp_path

    return copy


BOARD = ("ae2_instructions", "ae2_gamed_baselines", "ae2_instruction_difficulty", "ae2_leaderboard")
REST = (
    "published_figures", "ae2_ann_alpaca-7b", "ae2_ann_claude-2", "ae2_ann_text_davinci_001", "mtbench_questions",
    "mtbench_judgments_single", "mtbench_human_votes", "pandalm_testset", "judge_outputs", "oasst_ranked_trees", "unieval_scores",
    "self_instruct_seed_tasks", "rougeL_pairs", "rougeL_pipeline",
)  # fmt: skip


def test_everything_published_is_reproduced_and_another_model_goes_along(copied, reference):
    models = {row["model"]: row for row in reference("ae2_compact_models")}
    other = {name: models["NullModel"][name] for name in ("preference", "len_output")} | {"model": "not on the board"}
    folder = write(copied(*BOARD, *REST), "ae2_compact_models", *(models[name] for name in FEW), other)
    found = reproduce(folder)
    assert [line for line in found.lines if line.verdict == "off"] == [] and found.skipped == []
    listed = {PublishedFigure(**row).id for row in reference("published_figures")}
    assert len(listed) == 22 and listed <= {line.id for line in found.lines if line.verdict == "ok"}
    controlled = [line for line in found.lines if line.what.startswith("NullModel: ") and "C =" in line.what]
    assert [line.tolerance for line in controlled] == [0.02, 0.15]
    beside = [line for line in found.lines if line.what.startswith("not on the board: ")]
    assert len(beside) == 5 and {line.verdict for line in beside} == {"-"}


def at(name, **path):
    """A change of every row: a nested field, `outer__inner`, to a value or to what is added to it."""

    def change(row):
        row = json.loads(json.dumps(row))
        for dotted, value in path.items():
            *outer, last = dotted.split("__")
            inner = row
            for key in outer:
                inner = inner[key]
            inner[last] = value(inner[last])
        return row

    return {name: change}


@pytest.mark.parametrize(
    ("names", "change"),
    [
        (["ae2_compact_models"], at("ae2_compact_models", published__win_rate=lambda rate: rate + 1e-5)),
        (["ae2_compact_models"], at("ae2_compact_models", published__standard_error=lambda error: error + 1e-5)),
        (["ae2_compact_models", "ae2_leaderboard"], at("ae2_leaderboard", avg_length=lambda length: length + 1)),
        (["ae2_ann_claude-2"], at("ae2_ann_claude-2", preference=lambda preference: min(preference + 1e-6, 2))),
        (["mtbench_judgments_single", "mtbench_questions"], at("mtbench_judgments_single", score=lambda score: score - 1)),
        (["mtbench_human_votes"], at("mtbench_human_votes", winner=lambda winner: "tie")),
        (["pandalm_testset", "published_figures"], at("published_figures", published=lambda value: value and value + 0.02)),
        (["pandalm_testset", "published_figures"], at("pandalm_testset", gpt35_result=lambda label: 1)),
        (["oasst_ranked_trees", "published_figures"], at("published_figures", computed=lambda value: value + 1e-6)),
        (["unieval_scores"], at("unieval_scores", human__consistency=lambda score: round(score))),
        (["rougeL_pairs"], at("rougeL_pairs", rougeL_f=lambda f: f + 1e-11)),
        (["rougeL_pipeline"], at("rougeL_pipeline", instruction=lambda text: " ".join(text.split()[:3]))),
        (["rougeL_pipeline"], at("rougeL_pipeline", max_rougeL=lambda f: f + 0.01)),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else None,
)  # fmt: skip
def test_what_is_not_as_published_is_off(copied, names, change):
    found = reproduce(copied(*names, **change))
    assert found.off > 0


def test_votes_on_other_models_are_not_held_to_the_papers_figures(copied):
    folder = copied(
        "mtbench_human_votes", **at("mtbench_human_votes", model_a=lambda name: f"{name}-2", winner=lambda winner: "tie")
    )
    assert set(verdicts(reproduce(folder))) == {"-"}


def test_grades_of_a_question_that_is_not_there_are_an_error(copied):
    folder = copied(
        "mtbench_judgments_single", "mtbench_questions", **at("mtbench_questions", question_id=lambda number: number + 1)
    )
    with pytest.raises(SelfRewardError, match="grades question 81, which is not in mtbench_questions"):
        reproduce(folder)


def test_a_model_with_rows_for_other_instructions_than_there_are_is_an_error(copied):
    folder = write(copied(*BOARD), "ae2_compact_models", MODEL)
    with pytest.raises(SelfRewardError, match="ours has rows for other instructions than the 805"):
        reproduce(folder)
    assert len(reproduce(write(folder, "ae2_compact_models", {**MODEL, "row_to_index": [5, 6, 7]})).lines) == 4


def test_length_controlled_win_rates_are_held_to_two_tolerances(copied, reference):
    planted = at("ae2_leaderboard", length_controlled_winrate=lambda rate: rate + 0.05)
    model = next(row for row in reference("ae2_compact_models") if row["model"] == "NullModel")
    found = reproduce(write(copied(*BOARD, **planted), "ae2_compact_models", model))
    assert verdicts(found, "length-controlled win rate") == ["ok", "off"]  # with its row's own figure, and the leaderboard's
    assert verdicts(found, "cross-validated") == ["ok", "ok"]
