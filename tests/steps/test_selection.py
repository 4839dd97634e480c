"""The checkpoint that an outside judge prefers: the rule, the errors, and a run that is killed while it chooses."""

import json
import os
import re
import shutil
import tempfile
from pathlib import Path

import pytest

from selfreward import api as runs
from selfreward.engines import load_checkpoint, open_model
from selfreward.engines.fake import FakeModel, FakeTrainer
from selfreward.errors import SelfRewardError
from selfreward.recipe import DPOConfig, LoRAConfig, PairwiseConfig, TrainerConfig, load_recipe
from selfreward.records import (
    Checkpoint,
    Compared,
    Dropped,
    Measured,
    Prompt,
    Response,
    Sampling,
    fingerprint,
    read_jsonl,
    to_line,
)
from selfreward.reports import describe_status
from selfreward.rundir import MODEL, Progress, RunDir, Runner
from selfreward.rundir.trainings import TOO_LONG
from selfreward.steps import PairwiseJudge
from selfreward.steps.selection import Selector
from tinyrun import Killed, go, kill_at, make_world, quiet, tree

SAMPLING = Sampling(temperature=0.7, top_p=0.9, max_tokens=8)
PROMPTS = [Prompt(text=f"say {n}", source="seed") for n in range(4)]
JUDGE = Checkpoint(name="outsider", path="outsider", fingerprint="judge")
PAIRS = [("p", f"good {n}", f"bad {n}") for n in range(8)]


class Candidate(FakeModel):
    """Answers with the number of steps that it has learned."""

    def __init__(self, step):
        super().__init__(lambda request: (f"answer {step}", "stop"))


class Outsider(FakeModel):
    """Prefers the answer of the checkpoint that is better by `table`; `None` there: says nothing that can be read."""

    table = {2: 5, 4: 7, 6: 6, 8: 9}  # noqa: RUF012

    def __init__(self, table=None):
        super().__init__(lambda request: (self.verdict(request.messages[-1].content), "stop"))
        self.table = table or self.table

    def verdict(self, text):
        first, second = (self.table[int(step)] for step in re.findall(r"<(?:first|second)>answer (\d+)<", text))
        if first is None or second is None:
            return "I cannot tell"
        return f"Verdict: {'tie' if first == second else 'first' if first > second else 'second'}"


class Trail:
    """A folder in which checkpoints are chosen; which were asked."""

    def __init__(self, place, table):
        self.asked = []
        self.dir = RunDir(place / "run", {"seed": 1})

        def opened(checkpoint):
            self.asked.append(checkpoint.name)
            return Outsider(table) if checkpoint == JUDGE else Candidate(int(checkpoint.name))

        self.folder = Runner(self.dir, opened, FakeTrainer, Progress(self.dir.logs))["M2"]
        self.candidates = [(s, Checkpoint(name=str(s), path=place / str(s), fingerprint=f"f{s}")) for s in table]
        self.selector = Selector(2, PROMPTS, JUDGE, PairwiseJudge(PairwiseConfig()), SAMPLING)

    def choose(self):
        return self.selector.choose(self.folder, self.candidates)

    def compared(self):
        return read_jsonl(self.dir.path / "M2" / "selection.jsonl", Compared)


@pytest.fixture
def trail(tmp_path, monkeypatch):
    quiet(monkeypatch)
    return lambda table: Trail(tmp_path, table)


RULE = [
    ({2: 5, 4: 7, 6: 6, 8: 9}, 4, [(4, 2), (6, 4)]),  # better, then worse: what comes after is not looked at
    ({2: 5, 4: 6, 6: 7}, 6, [(4, 2), (6, 4)]),  # the end of the training is a checkpoint too
    ({2: 5, 4: 4, 6: 9}, 2, [(4, 2)]),
    ({2: 5, 4: 5, 6: 9}, 2, [(4, 2)]),  # no net win is no preference
    ({2: 5}, 2, []),
]


@pytest.mark.parametrize(("table", "chosen", "looked_at"), RULE, ids=str)
def test_checkpoints_are_gone_through_for_as_long_as_the_next_is_preferred(table, chosen, looked_at, trail):
    found = trail(table)
    assert found.choose() == chosen
    assert [(each.step, each.against) for each in found.compared()] == looked_at
    asked = {name for name in found.asked if name != "outsider"}
    assert asked == {str(step) for step, _ in looked_at} | {str(step) for _, step in looked_at}
    assert found.choose() == chosen


def test_each_comparison_is_counted_prompt_by_prompt(trail):
    found = trail({2: 5, 4: 7, 6: 6})
    found.choose()
    first, second = found.compared()
    fields = {"ties": 0, "undecided": 0, "position_flips": 0.0}
    assert first == Compared(step=4, against=2, wins=4, losses=0, **fields)
    assert second == Compared(step=6, against=4, wins=0, losses=4, **fields)


def test_a_judge_that_goes_by_the_place_prefers_nothing(trail, monkeypatch):
    monkeypatch.setattr(Outsider, "verdict", lambda self, text: "Verdict: first")
    found = trail({2: 5, 4: 7})
    assert found.choose() == 2
    assert found.compared() == [Compared(step=4, against=2, wins=0, ties=4, losses=0, undecided=0, position_flips=1.0)]


def test_a_judge_that_decides_nothing_is_an_error_that_says_what_to_delete(trail):
    with pytest.raises(SelfRewardError, match=r"outsider: decided nothing on 4 prompts \(unparsed 8\)") as caught:
        trail({2: None, 4: 7}).choose()
    assert "selection_preferences_4.* in " in caught.value.now


# ——— in a run ———


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A recipe that selects; its training has four steps."""
    quiet(monkeypatch)

    def opened(model, config, servers, **_):
        trained = re.search(r"step-(\d+)$", str(model.path))
        return Candidate(int(trained[1])) if trained else open_model(model, config, servers)

    monkeypatch.setattr(runs, "open_model", opened)
    where = Path(tempfile.mkdtemp(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else tmp_path))
    recipe = make_world(where / "world")
    (recipe.parent / "validation.jsonl").write_text("".join(to_line(prompt) + "\n" for prompt in PROMPTS))
    select = '[select]\njudge = "test_selection:Outsider"\nprompts = "validation.jsonl"\nevery = 2\n'
    recipe.write_text(recipe.read_text() + select)
    yield recipe
    shutil.rmtree(where)


EIGHT_STEPS = {"dpo__epochs": 2, "prompts__per_iteration": 8, "sft__on": "ift", "measure__judging": False}


@pytest.fixture
def chosen(world):
    """The folder of a run whose training has eight steps at least, and what the judge thinks of each checkpoint."""
    run = world.parent / "run"
    Outsider.table = dict.fromkeys(range(100), 0) | {2: 1, 4: 2}
    go(world, run, **EIGHT_STEPS)
    return run


def receipt(run):
    return json.loads((run / "M2" / "model.receipt.json").read_text())


def test_the_model_is_the_chosen_checkpoint_and_the_others_are_gone(chosen):
    found = receipt(chosen)
    steps = found["steps"]
    assert steps >= 6
    assert list(found["candidates"]) == [str(step) for step in (*range(2, steps, 2), steps)]
    assert found["selected"] == {"step": 4, "of": steps, "judge": "test_selection:Outsider"}
    assert fingerprint(chosen / "M2" / "model") == found["fingerprint"] == found["candidates"]["4"]
    assert len(set(found["candidates"].values())) == len(found["candidates"])
    assert not list((chosen / "M2").glob("*partial*")) and not list(chosen.rglob("step-*"))
    assert [each.step for each in read_jsonl(chosen / "M2" / "selection.jsonl", Compared)] == [4, 6]
    assert {response.text for response in read_jsonl(chosen / "M2" / "selection_responses_2.jsonl", Response)} == {"answer 2"}


def test_the_summary_and_the_page_say_which_checkpoint_it_is(chosen, monkeypatch):
    monkeypatch.undo()
    models = {model["name"]: model for model in json.loads((chosen / "summary.json").read_text())["models"]}
    assert models["M2"]["selected"] == receipt(chosen)["selected"] and models["M1"]["selected"] is None
    assert Measured.model_validate(models["M2"]).selected.step == 4
    from selfreward.reports import write_report

    page = re.sub(r"<[^>]*>|\s+", " ", (write_report(chosen)).read_text())
    assert f"M2 is the checkpoint at step 4 of {receipt(chosen)['steps']}, the one that test_selection:Outsider chose" in page


def test_going_over_it_again_asks_nothing_and_a_changed_record_is_noticed(chosen, world, monkeypatch):
    before = tree(chosen)
    monkeypatch.setattr(FakeModel, "generate", lambda *_: pytest.fail("asked again"))
    go(world, chosen, **EIGHT_STEPS)
    assert tree(chosen) == before
    (chosen / "M2" / "selection_preferences_6.jsonl").write_text("")
    with pytest.raises(SelfRewardError, match="was changed or damaged"):
        go(world, chosen, **EIGHT_STEPS)


@pytest.mark.parametrize(
    "changes",
    [{"select__every": 3}, {"pairwise__pattern": "choice: (first|second|tie)"}, {"trainer__lora": {"rank": 4}}],
    ids=lambda changes: next(iter(changes)),
)
def test_another_way_to_choose_or_to_train_refuses_the_model(changes, chosen, world):
    with pytest.raises(SelfRewardError, match="recipe changed") as caught:
        go(world, chosen, **EIGHT_STEPS, **changes)
    assert next(iter(changes)).replace("__", ".") in caught.value.what
    go(world, chosen, **EIGHT_STEPS, trainer__gradient_checkpointing=True)


PLACES = [(Path, "replace"), (Path, "rename"), (shutil, "rmtree"), (FakeModel, "generate")]
"""Changes of files, and questions: where a run is killed."""


def test_killed_anywhere_while_it_trains_and_chooses_a_run_ends_with_the_same_bytes(chosen, world, monkeypatch):
    undisturbed, begun = tree(chosen), world.parent / "begun"
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(FakeTrainer, "dpo", lambda *given: (_ for _ in ()).throw(Killed()))
        go(world, begun, **EIGHT_STEPS)
    seen = set()
    for count in range(1, 200, 2):
        copy = world.parent / f"killed {count}"
        shutil.copytree(begun, copy)
        try:
            with monkeypatch.context() as patch:
                kill_at(patch, count, PLACES)
                go(world, copy, **EIGHT_STEPS)
        except Killed:
            seen.add(frozenset(path.name for path in (copy / "M2").iterdir() if "selection" in path.name or "model" in path.name))
            assert str(copy) in describe_status(copy)
            go(world, copy, **EIGHT_STEPS)
            assert tree(copy) == undisturbed, count
            shutil.rmtree(copy)
        else:
            break
    assert count > 50 and len(seen) > 12


def test_status_shows_where_the_choice_stands(world, monkeypatch):
    run = world.parent / "run"
    monkeypatch.setattr(Outsider, "generate", lambda *_: (_ for _ in ()).throw(Killed()))
    with pytest.raises(Killed):
        go(world, run, **EIGHT_STEPS)
    assert "stopped in M2/selection_preferences_4, 0 of 8 requests" in describe_status(run)


def test_new_prompts_that_repeat_a_validation_prompt_are_held_out(world):
    own, run = world.parent / "own.jsonl", world.parent / "run"
    texts = [PROMPTS[1].text, *(f"tell me of thing number {n}" for n in range(6))]
    own.write_text("".join(to_line(Prompt(text=text, source="seed")) + "\n" for text in texts))
    Outsider.table = dict.fromkeys(range(100), 0)
    go(world, run, **EIGHT_STEPS, prompts__from=str(own))
    dropped = read_jsonl(run / "M2" / "prompts.dropped.jsonl", Dropped)
    assert [(drop.id, drop.reason) for drop in dropped] == [(PROMPTS[1].id, "held_out")]


# ——— what is refused ———


@pytest.mark.parametrize("judge", ["current", "frozen"])
def test_a_model_of_the_loop_cannot_choose(judge, world):
    with pytest.raises(SelfRewardError, match="must not choose among its own checkpoints"):
        load_recipe(world, {"select.judge": judge})


def test_who_measures_cannot_choose_under_any_name(world):
    base = world.parent / "base"
    (world.parent / "alias").symlink_to(base)
    for judge, measures in [("test_selection:Outsider",) * 2, (str(base), str(world.parent / "alias"))]:
        with pytest.raises(SelfRewardError, match="would measure its own choice"):
            go(world, world.parent / "run", select__judge=judge, measure__judge=measures)
    assert not (world.parent / "run" / "M0").exists()


@pytest.mark.parametrize(
    ("text", "what"),
    [("Describe  amber number 3", "is trained on"), ("name the birch number 1", "is measured on"), (None, "has no prompts")],
)
def test_validation_prompts_are_neither_trained_nor_measured_on(text, what, world):
    prompts = [Prompt(text=text, source="seed")] if text else []
    (world.parent / "validation.jsonl").write_text("".join(to_line(prompt) + "\n" for prompt in prompts))
    with pytest.raises(SelfRewardError, match=what):
        go(world, world.parent / "run")


# ——— pairs that the model cannot read ———


class ShortSighted(FakeTrainer):
    """Reads no prompt of more than two words; what it was trained on."""

    def __init__(self):
        self.seen = []

    def fits(self, pairs, start):
        return [len(prompt.split()) <= 2 for prompt, _, _ in pairs]

    def dpo(self, pairs, *given):
        self.seen.append(list(pairs))
        return super().dpo(pairs, *given)


@pytest.fixture
def short_sighted(tmp_path, monkeypatch):
    quiet(monkeypatch)
    make_world(tmp_path / "world")
    base = load_checkpoint("M0", str(tmp_path / "world" / "base"))
    trainer, folder = ShortSighted(), RunDir(tmp_path / "run", {})
    return Runner(folder, None, lambda: trainer, Progress(folder.logs))["M2"], base, trainer


def test_pairs_that_cannot_be_read_whole_are_counted_listed_and_not_trained_on(short_sighted):
    folder, base, trainer = short_sighted
    long = [("a prompt too long", "good", "bad"), ("another prompt too long", "good", "bad")]
    folder.train_dpo([PAIRS[0], long[0], PAIRS[1], long[1]], base, base, DPOConfig(batch_size=1), 0)
    assert trainer.seen == [[PAIRS[0], PAIRS[1]]]
    assert folder.receipt(MODEL)["dropped"] == {TOO_LONG: 2} == folder.dropped(MODEL)
    assert folder.receipt(MODEL)["steps"] == 2
    dropped = read_jsonl(folder.run.dir.path / "M2" / "model.dropped.jsonl", Dropped)
    assert [drop.id for drop in dropped] == [Prompt(text=prompt, source="seed").id for prompt, _, _ in long]


def test_without_any_pair_that_can_be_read_there_is_no_training(short_sighted):
    folder, base, trainer = short_sighted
    with pytest.raises(SelfRewardError, match="can read none of 2 pairs whole"):
        folder.train_dpo([("a prompt too long", "good", "bad")] * 2, base, base, DPOConfig(), 0)
    assert trainer.seen == []


@pytest.mark.parametrize(
    "trainer", [TrainerConfig(dtype="float32"), TrainerConfig(lora=LoRAConfig()), TrainerConfig(lora=LoRAConfig(rank=4))], ids=str
)
def test_what_trains_otherwise_is_another_training(trainer, tmp_path, monkeypatch):
    quiet(monkeypatch)
    make_world(tmp_path / "world")
    base = load_checkpoint("M0", str(tmp_path / "world" / "base"))
    folder = RunDir(tmp_path / "run", {})
    made = Runner(folder, None, FakeTrainer, Progress(folder.logs))["M2"].train_dpo(PAIRS, base, base, DPOConfig(), 0)
    twice = TrainerConfig(gradient_checkpointing=True)
    assert (
        Runner(folder, None, FakeTrainer, Progress(folder.logs), twice)["M2"].train_dpo(PAIRS, base, base, DPOConfig(), 0) == made
    )
    with pytest.raises(SelfRewardError, match="would not be the ones asked for"):
        Runner(folder, None, FakeTrainer, Progress(folder.logs), trainer)["M2"].train_dpo(PAIRS, base, base, DPOConfig(), 0)
