"""Seed data: what is held out is not trained on."""

import json
from collections import Counter

import pytest
from pydantic import ValidationError

from selfreward.errors import SelfRewardError
from selfreward.lab.micro.world import read_task
from selfreward.recipe import Recipe
from selfreward.records import Example, Prompt, Ranking, to_line
from selfreward.steps import Seed, load_seed, ranked_responses
from selfreward.steps.seed import known_by, learnt_from, plain

PROMPT = Prompt(text="three", source="seed")
RANKING = Ranking(prompt="name a bird", responses=("the heron", "a spoon"), ranks=(0, 1))
MICRO = {
    name: f"selfreward:lab/micro/seed/{name}.jsonl" for name in ("ift", "eft", "heldout_prompts", "heldout_rankings")
}  # fmt: skip


def example(prompt, response="yes", kind="ift"):
    return Example(prompt=prompt, response=response, kind=kind, source="test")


def held(text):
    return Prompt(text=text, source="seed")


def recipe(data, **sections):
    return Recipe.model_validate({"base": "base", "data": data, **sections})


def load(folder, ift=(), eft=(), prompts=(PROMPT,), rankings=(RANKING,), on="ift+eft", with_eft=True):
    """Write the four files and load them."""
    written = {"ift": ift, "eft": eft, "heldout_prompts": prompts, "heldout_rankings": rankings}
    for name, records in written.items():
        (folder / f"{name}.jsonl").write_text("".join(to_line(record) + "\n" for record in records), encoding="utf-8")
    paths = {name: str(folder / f"{name}.jsonl") for name in written if name != "eft" or with_eft}
    return load_seed(recipe(paths, sft={"on": on}))


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
    with pytest.raises(SelfRewardError, match="1 held-out prompt is trained on, 'two' first"):
        load(tmp_path, [example("one"), example("two")], EFT, [held("two"), held("three")])


def test_a_held_out_ranking_that_is_judged_in_eft_is_refused(tmp_path):
    leak = example("Review. User: name a bird Response: the heron", "Score: 5", "eft")
    with pytest.raises(SelfRewardError, match=r"eft\.jsonl: a held-out prompt is judged in EFT: 'name a bird'"):
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
        load_seed(recipe({name: str(tmp_path / f"{name}.jsonl") for name in MICRO}))


def test_ranked_responses_keep_peoples_order_and_are_told_apart():
    ranking = Ranking(prompt="p", responses=("same", "same", "other"), ranks=(0, 0, 1))
    responses = ranked_responses(ranking)
    assert [r.text for r in responses] == ["same", "same", "other"]
    assert len({r.id for r in responses}) == 3
    assert {r.prompt_id for r in responses} == {held("p").id}


def test_the_shipped_seed_is_small_and_of_the_size_it_says():
    seed = load_seed(recipe(MICRO))
    assert 0 < len(seed.ift) <= 200 and 0 < len(seed.eft) <= 800
    assert all(example.source == "micro world, standing for people" for example in (*seed.ift, *seed.eft))


def test_no_task_of_the_shipped_seed_stands_in_two_of_its_files():
    seed = load_seed(recipe(MICRO))
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


# splitting

NAMES = [f"Name a thing number {n}" for n in range(40)]


def ranking(prompt):
    return Ranking(prompt=prompt, responses=("good", "bad"), ranks=(0, 1))


def write(folder, **files):
    """Write records to `NAME.jsonl`; the paths by name."""
    for name, records in files.items():
        (folder / f"{name}.jsonl").write_text("".join(to_line(record) + "\n" for record in records), encoding="utf-8")
    return {name: str(folder / f"{name}.jsonl") for name in files}


def reasons(seed, stage):
    return Counter(drop.reason for drop in seed.dropped if drop.stage == stage)


def asked(records):
    return {plain(record.text if isinstance(record, Prompt) else record.prompt) for record in records}


def disjoint(seed):
    parts = [asked(part) for part in (seed.ift, seed.rankings, seed.heldout_prompts, seed.heldout_rankings)]
    return sum(map(len, parts)) == len(set.union(*parts))


def test_what_is_not_given_is_split_off_by_prompt_and_everything_adds_up(tmp_path):
    ift = [example(name, answer) for name in NAMES for answer in ("yes", "no")]
    sets = (
        [ranking(f"  {name.upper()}") for name in NAMES[30:]]
        + [ranking(f"Rank {n}") for n in range(20)]
        + [Ranking(prompt="rank 3", responses=("x", "y"), ranks=(1, 0))]
    )
    data = write(tmp_path, ift=ift, rankings=sets)
    seed = load_seed(recipe({**data, "heldout": 10}, eft={"heldout": 0.25}))
    assert len(seed.heldout_prompts) == 10 and asked(seed.heldout_prompts) < asked(ift)
    assert len(seed.ift) == 60 and reasons(seed, "ift") == {"held_out": 20}
    gone = reasons(seed, "rankings")
    assert gone["in_ift"] + gone["measured_on"] == 10 and gone["held_out"] == len(seed.heldout_rankings)
    assert len(seed.rankings) + gone.total() == len(sets)
    assert len(asked(seed.heldout_rankings)) == 5 and len(asked(seed.rankings)) == 15
    assert disjoint(seed)


def test_a_split_follows_from_the_seed_and_two_answers_to_a_prompt_stay_together(tmp_path):
    ift = [example(name, answer) for name in NAMES for answer in ("yes", "no")]
    data = {**write(tmp_path, ift=ift, rankings=[ranking(f"Rank {n}") for n in range(40)]), "heldout": 10}
    seeds = [load_seed(recipe(data, seed=number)) for number in (0, 0, 1)]
    assert seeds[0] == seeds[1]
    assert asked(seeds[0].heldout_prompts) != asked(seeds[2].heldout_prompts)
    assert asked(seeds[0].heldout_rankings) != asked(seeds[2].heldout_rankings)


def test_the_limit_is_what_is_trained_on_after_what_is_held_out(tmp_path):
    data = write(tmp_path, ift=[example(name) for name in NAMES], rankings=[ranking(name) for name in NAMES])
    seed = load_seed(recipe({**data, "heldout": 5, "ift": {"path": data["ift"], "limit": 12}}))
    assert (len(seed.ift), len(seed.heldout_prompts)) == (12, 5)
    assert reasons(seed, "ift") == {"held_out": 5, "over_limit": 23}
    assert reasons(seed, "rankings") == {"in_ift": 12, "measured_on": 5, "held_out": 6}  # a quarter of 23
    assert len(seed.rankings) == 17 and disjoint(seed)
    limited = {
        **data,
        "heldout": 5,
        "ift": {"path": data["ift"], "limit": 12},
        "rankings": {"path": data["rankings"], "limit": 8},
    }
    seed = load_seed(recipe(limited))
    assert (len(seed.rankings), len(seed.heldout_rankings)) == (6, 2) and reasons(seed, "rankings")["over_limit"] == 15


def test_held_out_rankings_that_are_given_are_not_split_and_leave_no_set_about_the_same_prompt(tmp_path):
    data = write(
        tmp_path, ift=[example("one")], rankings=[ranking(name) for name in NAMES], heldout_prompts=[held(NAMES[0])],
        heldout_rankings=[ranking(NAMES[1]), ranking(NAMES[2].lower())],
    )  # fmt: skip
    seed = load_seed(recipe(data))
    assert len(seed.heldout_rankings) == 2 and len(seed.rankings) == 37
    assert reasons(seed, "rankings") == {"measured_on": 3}


def test_ready_made_eft_about_a_prompt_that_is_split_off_is_dropped_and_about_one_that_is_given_is_refused(tmp_path):
    judged = [example(f"Review.\nUser: {name}\n<response>yes</response>", f"{name}. Score: 4", "eft") for name in NAMES]
    data = write(tmp_path, ift=[example(name) for name in NAMES], eft=judged)
    seed = load_seed(recipe({**data, "heldout": 10}))
    assert reasons(seed, "eft") == {"held_out": 10} and len(seed.eft) == 30
    assert not any(f"User: {prompt.text}\n" in e.prompt for e in seed.eft for prompt in seed.heldout_prompts)
    data |= write(tmp_path, ift=[example("one")], heldout_prompts=[held(NAMES[7])])
    with pytest.raises(SelfRewardError, match=r"eft\.jsonl: a held-out prompt is judged in EFT: 'Name a thing number 7'"):
        load_seed(recipe(data))


def test_a_held_out_prompt_inside_a_longer_one_is_not_the_one_that_is_judged(tmp_path):
    judged = [example("Review the answer to what a person asked.\nUser: ask me what a person is\n<response>", "Score: 4", "eft")]
    data = write(tmp_path, ift=[example("one")], eft=judged, heldout_prompts=[held("what a person"), held("ask me")])
    assert load_seed(recipe(data)).eft == judged


def test_a_held_out_ranking_that_is_trained_on_is_refused_but_for_case_and_space(tmp_path):
    data = write(tmp_path, ift=[example("Name  a BIRD\n")], heldout_prompts=[held("x")], heldout_rankings=[RANKING])
    with pytest.raises(SelfRewardError, match=r"heldout_rankings\.jsonl: 1 held-out prompt is trained on, 'name a bird' first"):
        load_seed(recipe(data, sft={"on": "ift"}))


@pytest.mark.parametrize(
    ("files", "sections", "says"),
    [
        (
            {"ift": [example(n) for n in NAMES[:6]]},
            {"sft": {"on": "ift"}},
            r"ift\.jsonl: has no examples \(held_out 6; held_out, for example: “.+”\)\. data\.heldout decides it: lower it",
        ),
        ({"ift": [example("one")], "heldout_prompts": []}, {"sft": {"on": "ift"}}, r"heldout_prompts\.jsonl: has no prompts"),
        (
            {"ift": [example("one")], "heldout_prompts": [held("two")], "rankings": [ranking("one"), ranking("two")]},
            {},
            r"rankings\.jsonl: has no ranked set to make EFT of \(in_ift 1, measured_on 1; in_ift, for example: “one”\)",
        ),
        (
            {"ift": [example("one")], "heldout_prompts": [held("two")], "rankings": [ranking("one")]},
            {"sft": {"on": "ift"}},
            r"rankings\.jsonl: has no ranked set to measure judging on \(in_ift 1; in_ift, for example: “one”\)",
        ),
        (
            {"ift": [example("one")], "heldout_prompts": [held("two")], "heldout_rankings": []},
            {"sft": {"on": "ift"}},
            r"has no ranked set to measure judging on\. Give at least one ranked set, or leave data\.heldout_rankings out",
        ),
        (
            {"ift": [example("one")], "heldout_prompts": [held("two")], "rankings": [ranking(n) for n in NAMES]},
            {"sft": {"baseline": False}},
            r"sft\.baseline: the SFT baseline makes EFT of data\.rankings, but is not trained",
        ),
        (
            {"ift": [example("one")], "heldout_prompts": [held("two")], "rankings": [ranking(n) for n in NAMES]},
            {"eft": {"heldout": 1.0}},
            r"has no ranked set to make EFT of \(held_out 40; .+eft\.heldout decides it: lower it",
        ),
    ],
)
def test_a_seed_that_lacks_what_the_recipe_needs_is_refused_with_the_reasons(files, sections, says, tmp_path):
    with pytest.raises(SelfRewardError, match=says):
        load_seed(recipe(write(tmp_path, **files), **sections))


@pytest.mark.parametrize(
    ("rows", "source", "says"),
    [
        ([{"messages": [{"role": "user", "content": "a"}, {"role": "tool", "content": "b"}]}] * 2, {"format": "messages"},
         r"has no examples \(tool_turn 2; tool_turn, for example: chats\.jsonl:1\)\. data\.ift\.path decides it: give rows that"),
        ([{"messages": [{"role": "user", "content": "a"}]}], {"format": "messages"},
         r"\(unanswered 1; unanswered, for example: chats\.jsonl:1\)\. data\.ift\.columns decides it: name the columns"),
        ([{"prompt": {"text": "a", "role": "prompter", "lang": "de", "review_result": True}}],
         {"format": "oasst", "language": "en"}, r"\(language 1; .+chats\.jsonl:1\)\. data\.ift\.language decides it: name one"),
        ([], {"format": "messages"}, r"chats\.jsonl: has no examples\. Give at least one"),
    ],
    ids=["rows", "columns", "language", "empty"],
)  # fmt: skip
def test_rows_of_which_none_is_used_are_told_with_the_first_and_the_field_that_decides_it(rows, source, says, tmp_path):
    data = write(tmp_path, heldout_prompts=[held("two")])
    (tmp_path / "chats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(SelfRewardError, match=says):
        load_seed(recipe({**data, "ift": {"path": str(tmp_path / "chats.jsonl"), **source}}, sft={"on": "ift"}))


def test_held_out_rankings_of_which_none_is_used_are_told_with_the_first_row_and_the_field(tmp_path):
    data = write(tmp_path, ift=[example("one")], heldout_prompts=[held("two")], rankings=[ranking("three")])
    rows = [{"prompt": "four", "responses": ["a", "b"]}, {"prompt": "five", "responses": ["a"], "ranks": [0]}] * 2
    (tmp_path / "sets.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:3]))
    data["heldout_rankings"] = {"path": str(tmp_path / "sets.jsonl"), "format": "columns"}
    says = r"has no ranked set to measure judging on \(one_response 1, unranked 2; unranked, for example: sets\.jsonl:1\)"
    with pytest.raises(SelfRewardError, match=says + r"\. data\.heldout_rankings\.columns decides it: name the column with"):
        load_seed(recipe(data))
    assert not load_seed(recipe(data, measure={"judging": False})).heldout_rankings  # which asks for none


def test_eft_is_given_or_made_and_not_both():
    with pytest.raises(ValidationError, match="give either eft or rankings"):
        recipe({"ift": "a.jsonl", "eft": "b.jsonl", "rankings": "c.jsonl"})


def test_bad_rows_of_any_source_are_skipped_and_counted_where_the_recipe_says_so(tmp_path):
    data = write(tmp_path, ift=[example(name) for name in NAMES], rankings=[ranking(f"Rank {n}") for n in range(8)])
    for path in data.values():
        with open(path, "a") as out:
            out.write("{}\n")
    with pytest.raises(SelfRewardError, match=r"ift\.jsonl:41: prompt: Field required\. .*--skip-bad-rows"):
        load_seed(recipe({**data, "heldout": 5}))
    seed = load_seed(recipe({**data, "heldout": 5, "skip_bad_rows": True}))
    bad = [(drop.id, drop.stage) for drop in seed.dropped if drop.reason == "bad_row"]
    assert bad == [("ift.jsonl:41", "ift"), ("rankings.jsonl:9", "rankings")]


def test_the_published_sets_give_ift_eft_and_both_held_out_parts(reference, tmp_path):
    rows = [json.dumps(row) for row in reference("oasst_ranked_trees")]
    (tmp_path / "trees.jsonl").write_text("\n".join(rows), encoding="utf-8")
    trees = {"path": str(tmp_path / "trees.jsonl"), "format": "columns", "columns": {"prompt": "context"}}
    seed = load_seed(recipe({"ift": {**trees, "limit": 20}, "rankings": trees, "heldout": 9}))
    assert (len(seed.ift), len(seed.heldout_prompts)) == (20, 9) and disjoint(seed)
    assert reasons(seed, "ift") == {"held_out": 18, "over_limit": 173}  # 9 prompts, and 9 conversations that go on from one
    assert reasons(seed, "rankings") == {"in_ift": 28, "measured_on": 18, "held_out": 55}
    assert (len(seed.rankings), len(seed.heldout_rankings)) == (110, 55)  # a quarter of 165, and what goes on from one of it
    measured = {known_by(prompt.asked) for prompt in seed.heldout}
    assert not any(key in measured for record in (*seed.ift, *seed.rankings) for key in learnt_from(record))
