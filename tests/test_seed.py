"""Seed data: what is held out is not trained on."""

import pytest

from selfreward.config import SeedConfig, SFTConfig
from selfreward.errors import SelfRewardError
from selfreward.micro.world import read_task
from selfreward.records import Example, Prompt, Ranking, to_line
from selfreward.seed import Seed, load_seed, ranked_responses

RANKING = Ranking(prompt="name a bird", responses=("the heron", "a spoon"), ranks=(0, 1))
MICRO = {
    name: f"selfreward:micro/seed/{name}.jsonl" for name in ("ift", "eft", "heldout_prompts", "heldout_rankings")
}  # fmt: skip


def example(prompt, response="yes", kind="ift"):
    return Example(prompt=prompt, response=response, kind=kind, source="test")


def held(text):
    return Prompt(text=text, source="seed")


def load(folder, ift=(), eft=(), prompts=(), rankings=(RANKING,), on="ift+eft", with_eft=True):
    """Write the four files and load them."""
    written = {"ift": ift, "eft": eft, "heldout_prompts": prompts, "heldout_rankings": rankings}
    for name, records in written.items():
        (folder / f"{name}.jsonl").write_text("".join(to_line(record) + "\n" for record in records), encoding="utf-8")
    paths = {name: str(folder / f"{name}.jsonl") for name in written if name != "eft" or with_eft}
    return load_seed(SeedConfig(**paths), SFTConfig(on=on))


EFT = [example("Review. User: name a fish. Response: a pike", "it fits. Score: 5", "eft")]


def test_the_four_files_come_back_as_they_were_written(tmp_path):
    seed = load(tmp_path, [example("one"), example("two")], EFT, [held("three")])
    assert [e.prompt for e in seed.ift] == ["one", "two"]
    assert seed.eft == EFT and seed.heldout_prompts == [held("three")] and seed.heldout_rankings == [RANKING]


def test_each_prompt_is_shown_once_however_many_answers_it_has():
    seed = Seed([example("one"), example("two"), example("one", "no")], [], [], [])
    assert [prompt.text for prompt in seed.prompts] == ["one", "two"]
    assert {prompt.source for prompt in seed.prompts} == {"seed"}


@pytest.mark.parametrize(
    ("on", "kinds"), [("ift+eft", ["ift", "ift", "eft"]), ("ift", ["ift", "ift"]), ("eft", ["eft"]), ("none", [])]
)
def test_m1_is_trained_on_what_the_recipe_says(on, kinds):
    seed = Seed([example("ift", "1"), example("ift", "2")], [example("eft", "3", "eft")], [], [])
    assert [prompt for prompt, _ in seed.examples(on)] == kinds


def test_a_held_out_prompt_that_is_trained_on_is_refused(tmp_path):
    with pytest.raises(SelfRewardError, match="1 held-out prompts are trained on, 'two' first"):
        load(tmp_path, [example("one"), example("two")], EFT, [held("two"), held("three")])


def test_a_held_out_ranking_that_is_judged_in_eft_is_refused(tmp_path):
    leak = example("Review. User: name a bird Response: the heron", "Score: 5", "eft")
    with pytest.raises(SelfRewardError, match="a held-out ranking is judged in EFT: 'name a bird'"):
        load(tmp_path, [example("one")], [*EFT, leak], [held("three")])


def test_a_seed_without_instructions_is_refused(tmp_path):
    with pytest.raises(SelfRewardError, match="has no examples"):
        load(tmp_path, [], EFT)


@pytest.mark.parametrize("with_eft", [True, False])
def test_eft_that_is_asked_for_must_be_there_and_otherwise_need_not(tmp_path, with_eft):
    with pytest.raises(SelfRewardError, match="asks for EFT but there are no EFT examples"):
        load(tmp_path, [example("one")], [], with_eft=with_eft)
    assert load(tmp_path, [example("one")], [], on="ift", with_eft=with_eft).eft == []


def test_a_broken_line_of_a_users_file_is_named(tmp_path):
    load(tmp_path, [example("one")], EFT)
    with (tmp_path / "ift.jsonl").open("a") as out:
        out.write('{"prompt": "two", "response": "x", "kind": "ift"}\n')
    with pytest.raises(SelfRewardError, match=r"ift\.jsonl:2: source: Field required"):
        load_seed(SeedConfig(**{name: str(tmp_path / f"{name}.jsonl") for name in MICRO}), SFTConfig())


def test_ranked_responses_keep_peoples_order_and_are_told_apart():
    ranking = Ranking(prompt="p", responses=("same", "same", "other"), ranks=(0, 0, 1))
    responses = ranked_responses(ranking)
    assert [r.text for r in responses] == ["same", "same", "other"]
    assert len({r.id for r in responses}) == 3
    assert {r.prompt_id for r in responses} == {held("p").id}


def test_the_shipped_seed_is_small_and_of_the_size_it_says():
    seed = load_seed(SeedConfig(**MICRO), SFTConfig())
    assert 0 < len(seed.ift) <= 200 and 0 < len(seed.eft) <= 800
    assert all(example.source == "micro world, standing for people" for example in (*seed.ift, *seed.eft))


def test_no_task_of_the_shipped_seed_stands_in_two_of_its_files():
    seed = load_seed(SeedConfig(**MICRO), SFTConfig())
    files = [
        {example.prompt for example in seed.ift},
        {tasks_in(example.prompt) for example in seed.eft},
        {prompt.text for prompt in seed.heldout_prompts},
        {ranking.prompt for ranking in seed.heldout_rankings},
    ]
    assert sum(len(tasks) for tasks in files) == len(set.union(*files))


def tasks_in(prompt):
    """The task that an EFT example judges an answer to: the line of its prompt that words one."""
    lines = [line.removeprefix("user: ") for line in prompt.splitlines()]
    return next(line for line in lines if read_task(line))
