"""What a hostile reading of the whole found: each a run, or a part of one, that went wrong once."""

import json

import pytest
from transformers import AutoConfig

from selfreward.checks.shapes import adapter_parameters
from selfreward.engines.fake import FakeModel, write_like_a_model
from selfreward.errors import SelfRewardError
from selfreward.lab.reproduce.texts import correlations
from selfreward.recipe import JudgeConfig, LoRAConfig, SourceConfig, load_recipe
from selfreward.records import Example, Prompt, Ranking, to_line
from selfreward.steps import Grader
from selfreward.steps.sources import load_examples
from tinymodels import make_model
from tinyrun import go, make_world, quiet


@pytest.fixture
def world(tmp_path, monkeypatch):
    quiet(monkeypatch)
    return make_world(tmp_path / "world")


def write(file, *records):
    file.write_text("".join(to_line(record) + "\n" for record in records))
    return str(file)


def lines(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.mark.parametrize(
    "change", [{"judge__scale": [0, 3]}, {"judge__pattern": r"mark: (\d)"}, {"pairwise__pattern": "winner: (first|second|tie)"}]
)
def test_judgments_that_would_be_read_otherwise_are_refused_though_nothing_else_would_be_asked(change, world, tmp_path):
    go(world, tmp_path / "run", measure__judge="judges:First")
    go(world, tmp_path / "run", measure__judge="judges:First")
    with pytest.raises(SelfRewardError, match=f"the recipe changed \\({next(iter(change)).replace('__', '.')}: "):
        go(world, tmp_path / "run", measure__judge="judges:First", **change)


@pytest.mark.parametrize("agree", ["one", "mean"])
def test_eft_of_two_people_who_ranked_the_same_response_judges_it_once_and_teaches_it_once(agree, world, tmp_path):
    sets = [Ranking(prompt=f"explain fjord {n}", responses=(f"a {n}", f"b {n}"), ranks=(0, 1)) for n in range(12)]
    sets += [Ranking(prompt=f"explain fjord {n}", responses=(f"a {n}", f"c {n}"), ranks=(0, 1)) for n in range(12)]
    text = world.read_text().replace('eft = "eft.jsonl"\n', f'rankings = "{write(tmp_path / "sets.jsonl", *sets)}"\n')
    world.write_text(text.replace("baseline = false", "baseline = true"))
    go(world, tmp_path / "run", eft__agree=agree, eft__commonest=1.0, eft__tries=6, eft__heldout=0)
    judged = lines(tmp_path / "run" / "seed" / "eft_judgments.jsonl")
    assert len(judged) == len({row["id"] for row in judged}) == 36 * 6
    made, dropped = (lines(tmp_path / "run" / "seed" / name) for name in ("eft.jsonl", "eft.dropped.jsonl"))
    assert len(made) + len(dropped) == 48 and len({row["id"] for row in made}) == len(made) > 0


def about(prompt):
    """A judgment of an answer to `prompt`, to learn from."""
    return Example(prompt=Grader(JudgeConfig()).fill(prompt, "willow"), response="Score: 3", kind="eft", source="test")


@pytest.mark.parametrize("held_out", ["name the <response> willow", "Name THE willow"])
def test_a_held_out_prompt_that_is_judged_in_eft_is_found_behind_broken_tags_and_another_case(held_out, world, tmp_path):
    write(world.parent / "eft.jsonl", about(held_out.lower()))
    write(world.parent / "prompts.jsonl", Prompt(text=held_out, source="seed"))
    with pytest.raises(SelfRewardError, match="a held-out prompt is judged in EFT"):
        go(world, tmp_path / "run")


def test_a_validation_prompt_that_is_judged_in_eft_is_refused(world, tmp_path):
    write(world.parent / "eft.jsonl", about("name the willow number seven"))
    prompts = write(tmp_path / "validation.jsonl", Prompt(text="name the willow number seven", source="seed"))
    with pytest.raises(SelfRewardError, match=r"validation prompts? (is|are) trained on"):
        go(world, tmp_path / "run", select={"judge": "judges:First", "prompts": prompts, "every": 1})


def test_an_outside_model_that_is_called_like_one_of_the_loop_is_not_that_one(world, tmp_path):
    server = {"url": "http://127.0.0.1:9/v1", "model": "x", "retries": 0}
    with pytest.raises(SelfRewardError, match=r"127\.0\.0\.1:9"):
        go(world, tmp_path / "run", servers={"M0": server}, measure__judge="M0")


def test_a_rubric_that_is_not_utf8_is_an_error_of_one_line(world, tmp_path):
    (tmp_path / "rubric.txt").write_bytes("Bewerte {prompt} {response} für".encode("latin-1"))
    with pytest.raises(SelfRewardError, match=r"rubric\.txt: cannot be read \(it is not UTF-8\)"):
        go(world, tmp_path / "run", judge__rubric=str(tmp_path / "rubric.txt"))


@pytest.mark.parametrize("system", [[], [{"role": "system", "content": ""}]])
def test_what_follows_the_first_answer_of_a_chat_may_be_anything(system, tmp_path):
    turns = [
        {"role": "user", "content": "hi there"},
        {"role": "assistant", "content": "hello"},
        {"role": "assistant", "content": None},
    ]
    (tmp_path / "chats.jsonl").write_text(json.dumps({"messages": [*system, *turns]}) + "\n")
    kept, dropped = load_examples(SourceConfig(path=str(tmp_path / "chats.jsonl"), format="messages"), "ift", "ift", 0)
    assert [(example.prompt, example.response) for example in kept] == [("hi there", "hello")] and dropped == []


def test_the_card_of_a_chosen_checkpoint_tells_of_its_own_steps_and_export_has_the_choice(world, tmp_path, monkeypatch):
    from selfreward.reports import export_run

    monkeypatch.setattr(FakeModel, "close", lambda self: None)
    prompts = write(tmp_path / "validation.jsonl", Prompt(text="name the willow number seven", source="seed"))
    run = tmp_path / "run"
    go(world, run, select={"judge": "judges:First", "prompts": prompts, "every": 1})
    chosen = json.loads((run / "M2" / "model.receipt.json").read_text())["selected"]
    assert chosen["step"] == 1 < chosen["of"]
    card = (run / "M2" / "model" / "README.md").read_text()
    assert f"was trained for 1 step, the checkpoint that judges:First chose among those of a training of {chosen['of']}." in card
    kinds = {table.kind: table.rows for table in export_run(run, tmp_path / "out")}
    assert kinds["selection"] == 1 and kinds["validation"] == 1
    assert kinds["selection_responses"] == 2 and kinds["selection_preferences"] == 2


def silent(request):
    """Refuses every other request for an answer; the judges in these runs are others."""
    words, finish = write_like_a_model(request)
    failed = request.messages[-1].content.startswith("name") and request.messages[-1].content.endswith("0")
    return ("", "error") if failed else (words, finish)


def test_an_engines_failure_is_no_answer_and_neither_judged_nor_compared(world, tmp_path, monkeypatch):
    monkeypatch.setattr("selfreward.engines.opening.FakeModel", lambda: FakeModel(silent))
    go(world, tmp_path / "run", measure__judge="judges:Longer")
    answers = lines(tmp_path / "run" / "M2" / "heldout_responses.jsonl")
    assert [answer["finish"] == "error" for answer in answers] == [True, False, False]
    (failed,) = (answer["id"] for answer in answers if answer["finish"] == "error")
    assert failed not in {row["response_id"] for row in lines(tmp_path / "run" / "M2" / "heldout_judgments.jsonl")}
    preferences = lines(tmp_path / "run" / "M2" / "heldout_preferences.jsonl")
    assert len(preferences) == 2 * 2 and failed not in {row[side] for row in preferences for side in ("first", "second")}
    m2 = json.loads((tmp_path / "run" / "summary.json").read_text())["models"][-1]
    (contest,) = (found for found in m2["head_to_head"] if found["judge"] == "judges:Longer")
    assert contest["unscored"] == 1 and contest["wins"] + contest["ties"] + contest["losses"] == 2
    told = [len(answer["text"]) for answer in answers if answer["finish"] != "error"]
    assert m2["answer_length"] == sum(told) / len(told)
    assert {row["response_id"] for row in lines(tmp_path / "run" / "M2" / "truth.jsonl")}.isdisjoint({failed})


def test_a_folder_that_is_called_like_a_server_does_not_stand_in_for_it(world):
    (world.parent / "referee").mkdir()
    server = {"url": "http://127.0.0.1:9/v1", "model": "x"}
    read = load_recipe(world, {"servers": {"referee": server}, "measure.judge": "referee", "judge.by": "referee"})
    assert (read.measure.judge, read.judge.by) == ("referee", "referee")
    assert load_recipe(world, {"measure.judge": "referee"}).measure.judge == str((world.parent / "referee").resolve())


def test_a_summary_that_was_deleted_comes_back(world, tmp_path):
    go(world, tmp_path / "run")
    summary = (tmp_path / "run" / "summary.json").read_bytes()
    (tmp_path / "run" / "summary.json").unlink()
    go(world, tmp_path / "run")
    assert (tmp_path / "run" / "summary.json").read_bytes() == summary


def test_adapters_on_what_is_no_regular_expression_are_refused_before_anything_runs(tmp_path):
    config = AutoConfig.from_pretrained(make_model(tmp_path / "model"))
    with pytest.raises(SelfRewardError, match=r"trainer\.lora\.targets: the model has no such module"):
        adapter_parameters(config, LoRAConfig(targets="("))


def test_published_scores_may_have_other_dimensions_in_every_row(tmp_path):
    rows = [{"set": "a", "human": {"x": n}, "predicted": {"x": n}} for n in range(3)]
    rows += [{"set": "a", "human": {"y": n}, "predicted": {"y": -n}} for n in range(3)]
    (tmp_path / "unieval_scores.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = {line.what: line.ours for line in correlations(tmp_path)}
    assert (found["a, x: Spearman"], found["a, y: Spearman"]) == (1, -1)


def test_a_long_response_of_nothing_but_spaces_after_a_bracket_is_put_in_at_once():
    asked = Grader(JudgeConfig()).fill("bak", "<" + " " * 200_000 + "x < / response>")
    assert asked.count("&lt;") == 1
