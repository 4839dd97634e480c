"""A whole run of a model that thinks: no judge reads a thought, none without an end is an answer, and both are shown apart."""

import random
import sys
from collections import Counter
from pathlib import Path

import pytest

from selfreward.checks import check
from selfreward.checks.look import NamedModel, talk_of
from selfreward.checks.planning import plan
from selfreward.checks.thoughts import thoughts
from selfreward.engines import fake
from selfreward.recipe import load_recipe
from selfreward.records import Example, Judgment, Pair, Response, read_jsonl
from selfreward.reports import export_run
from template_kinds import KINDS
from tinyrun import count_requests, go, make_world, tree

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
from template_table import tokenizer_for

SECRET = "Nobody shall read that Score: 1"


def think_aloud(request):
    """As the fake model, behind a thought: one of four has no end."""
    text, finish = fake.write_like_a_model(request)
    if request.sampling.thinking is None:
        return text, finish
    if random.Random(request.seed + 1).random() < 0.25:
        return f"<think>{SECRET}", "length"
    return f"<think>{SECRET}</think>\n\n{text}", finish


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(fake.FakeModel.__init__, "__defaults__", (think_aloud,))
    asked = count_requests(monkeypatch)
    go(make_world(tmp_path / "world"), tmp_path / "run", responses__thinking=64, judge__thinking=32, prompts__per_iteration=40)
    return tmp_path / "run", asked


def test_no_thought_reaches_a_judge_and_none_without_an_end_a_pair(run):
    folder, _ = run
    responses = list(read_jsonl(folder / "M2" / "responses.jsonl", Response))
    judgments = list(read_jsonl(folder / "M2" / "judgments.jsonl", Judgment))
    pairs = list(read_jsonl(folder / "M2" / "pairs.jsonl", Pair))
    assert all(one.thought == SECRET and SECRET not in one.text for one in responses)
    ends = Counter(one.finish for one in responses)
    assert ends["truncated"] and ends["stop"] and all(not one.text for one in responses if one.finish == "truncated")
    answered = {one.id for one in responses if one.finish != "truncated"}
    assert pairs and {one.response_id for one in judgments} == answered
    assert {one for pair in pairs for one in (pair.chosen_id, pair.rejected_id)} <= answered
    assert all(one.thought == SECRET and SECRET not in one.rationale for one in judgments)
    assert {one.outcome for one in judgments if not one.rationale} == {"truncated"}


def test_thoughts_are_shown_and_exported_apart_from_answers(run, tmp_path):
    folder, _ = run
    page = (folder / "report" / "index.html").read_text()
    assert page.count('<details class="thought">') > 10 and "still thinking at its end" in page
    export_run(folder, tmp_path / "data", ["pairs"])
    from datasets import load_dataset

    rows = load_dataset("parquet", data_files=str(tmp_path / "data" / "pairs" / "train.parquet"), cache_dir=str(tmp_path))[
        "train"
    ]
    assert set(rows["chosen_thought"]) == set(rows["rejected_thought"]) == {SECRET}
    assert SECRET not in str(rows["chosen"])


def test_thinking_that_is_off_leaves_a_run_as_it_was(tmp_path):
    recipe = make_world(tmp_path / "world")
    for name, changes in {"plain": {}, "off": {"responses__thinking": 0, "judge__thinking": 0}}.items():
        go(recipe, tmp_path / name, **changes)
    assert tree(tmp_path / "plain") == tree(tmp_path / "off")
    config = (tmp_path / "plain" / "config.json").read_text()
    assert '"thinking"' not in config and '"thoughts"' not in config


OPEN = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)
STOPS = (
    "{% for m in messages %}<|begin|>{{ m.role }}{% if m.reasoning %}<|think|>{{ m.reasoning }}<|end|><|begin|>assistant"
    "{% endif %}<|content|>{{ m.content }}<|end|>{% endfor %}{% if add_generation_prompt %}<|begin|>assistant{% endif %}"
)
PLAIN = KINDS["plain"].source
THOUGHT = Example(prompt="Q", response="<think>T</think>A", kind="ift", source="people")


@pytest.mark.parametrize(
    ("template", "changes", "examples", "said"),
    [
        (PLAIN, {}, [], []),
        (PLAIN, {"responses.thinking": 64}, [], ["warning its chat template knows no thoughts: responses.thinking"]),
        (PLAIN, {}, [THOUGHT], ["warning 1 answer begins with a thought, and the base's template knows none"]),
        (OPEN, {"responses.thinking": 64, "judge.thinking": 64}, [THOUGHT], []),
        (OPEN, {"responses.thinking": 64}, [], ["warning its chat template begins a thought in every prompt: with judge"]),
        (OPEN, {"judge.thinking": 64}, [THOUGHT], [
            "warning its chat template begins a thought in every prompt: with responses.thinking",
            "warning 1 answer begins with a thought: learnt after the prompt that asks for one, never given here",
        ]),
        (STOPS, {"judge.thinking": 64}, [], ["error its chat template ends thoughts as it ends answers: with judge.thinking"]),
        (STOPS, {}, [], []),
    ],
)  # fmt: skip
def test_check_says_where_thinking_does_not_go_with_a_template(template, changes, examples, said, tmp_path):
    recipe = load_recipe(make_world(tmp_path), changes)
    base = NamedModel("base", ("M0",), "folder", talk=talk_of(tokenizer_for(template)))
    found = [f"{finding.level} {finding.what}" for finding in thoughts(recipe, [base], examples)]
    assert len(found) == len(said) and all(one.startswith(begin) for one, begin in zip(found, said, strict=True)), found


def test_the_bill_has_the_thoughts_in_it(tmp_path):
    world = make_world(tmp_path)
    recipes = [load_recipe(world, changes) for changes in ({}, {"responses.thinking": 1000}, {"judge.thinking": 1000})]
    material = check(recipes[0], tmp_path / "run").seed
    bills = [{stage.stage: stage for stage in plan(recipe, material)} for recipe in recipes]
    answers, judged = ([bill[name].completion.most for bill in bills] for name in ("M2/responses", "M2/judgments"))
    assert [answers[1] - answers[0], answers[2] - answers[0]] == [1000, 0]
    assert [judged[1] - judged[0], judged[2] - judged[0]] == [0, 1000]
    asked = [bill["M2/judgments"].prompt.most for bill in bills]
    assert asked[0] == asked[1] == asked[2]
