"""`check` names the models whose chat templates have no place for the system turns of a run, and the way out works."""

import json

import pytest

from selfreward.checks import bill, check
from selfreward.checks.look import NamedModel, talk_of
from selfreward.checks.turns import earlier_turns, system_turns
from selfreward.engines import completion_ids, load_tokenizer, prompt_ids, system_turn
from selfreward.errors import SelfRewardError
from selfreward.recipe import Recipe, load_recipe
from selfreward.records import Frame, Message, Prompt, turns_of
from tinymodels import make_model, make_tokenizer
from tinyrun import make_world

TURNS = (
    "{% for m in messages %}{% if m.role == 'assistant' %}<|assistant|> {{ m.content }} <|end|> "
    "{% elif m.role == 'user' %}<|user|> {{ m.content }} {% else %}SYSTEM{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
TEMPLATES = {
    "kept": TURNS.replace("SYSTEM", "<|end|> {{ m.content }} <|end|> "),
    "refused": TURNS.replace("SYSTEM", "{{ raise_exception('System role not supported') }}"),
    "dropped": TURNS.replace("SYSTEM", ""),
    "prompt only": TURNS.replace("SYSTEM", "{% if messages[-1].role == 'user' %}<|end|> {{ m.content }} <|end|> {% endif %}"),
}
LEVELS = {"kept": [], "refused": ["error"], "dropped": ["error"], "prompt only": ["warning"]}
ASKED = [
    {"role": "system", "content": "bak"},
    {"role": "user", "content": "del fim gon"},
    {"role": "assistant", "content": "lut"},
]


@pytest.fixture(params=TEMPLATES)
def base(request, tmp_path):
    """(fate of a system turn, folder of a model with such a template)."""
    make_model(tmp_path / "base", max_position_embeddings=4096)
    make_tokenizer(TEMPLATES[request.param]).save_pretrained(tmp_path / "base")
    return request.param, tmp_path / "base"


def told(base, asked=(), **changes):
    """(levels, words) of what is found about system turns."""
    recipe = Recipe.model_validate({"base": "b", "data": {"ift": "i"}, **changes})
    found = system_turns(recipe, asked, [NamedModel("b", ("M0",), "folder", talk=talk_of(load_tokenizer(base)))])
    return [one.level for one in found], " ".join(f"{one.what} {one.now}" for one in found)


def test_system_turns_of_the_recipe_and_of_the_data_are_held_against_the_template(base):
    fate, folder = base
    assert system_turn(load_tokenizer(folder)) == fate
    assert told(folder) == ([], "")
    levels, words = told(folder, responses={"system": "bak"})
    assert levels == LEVELS[fate] and ("responses.system" in words) == bool(levels)
    asked = [
        Prompt(text="del", source="seed"),
        Prompt(text="fim", source="seed", context=(Message(role="system", content="bak"),)),
    ]
    levels, words = told(folder, asked)
    assert levels == LEVELS[fate] and ("1 of the prompts" in words) == bool(levels)
    assert told(folder, asked, responses={"system": "bak", "system_role": "user"})[0] == []
    levels, words = told(folder, judge={"system": "bak"})
    assert levels == LEVELS[fate] and ("rubric" in words) == (fate in ("refused", "dropped"))


def test_a_template_that_writes_the_last_turn_alone_is_told_of_where_prompts_have_earlier_ones(tmp_path):
    make_model(tmp_path / "base")
    make_tokenizer("<|user|> {{ messages[-1].content }} {% if add_generation_prompt %}<|assistant|>{% endif %}").save_pretrained(
        tmp_path / "base"
    )
    base = NamedModel("b", ("M0",), "folder", talk=talk_of(load_tokenizer(tmp_path / "base")))
    alone = Prompt(text="del", source="seed")
    before = (Message(role="user", content="bak"), Message(role="assistant", content="fim"))
    assert earlier_turns([alone], base) == []
    (found,) = earlier_turns([alone, alone.model_copy(update={"context": before})], base)
    assert found.level == "error" and "1 of the prompts have earlier turns" in found.what
    whole = base._replace(talk=talk_of(make_tokenizer()))
    assert earlier_turns([alone.model_copy(update={"context": before})], whole) == []


def test_check_finds_them_before_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(bill, "matmul_rate", lambda device, bfloat16, rows: 1e9)
    make_model(tmp_path / "base", max_position_embeddings=4096)
    make_tokenizer(TEMPLATES["refused"]).save_pretrained(tmp_path / "base")
    (tmp_path / "chats.jsonl").write_text(json.dumps({"messages": ASKED}) + "\n" + json.dumps({"messages": ASKED[1:]}))
    chats = {"data.ift": {"path": str(tmp_path / "chats.jsonl"), "format": "messages"}, "base": str(tmp_path / "base")}
    world = make_world(tmp_path / "world")
    for more, works in (({}, False), ({"responses.system_role": "user"}, True)):
        checked = check(load_recipe(world, {**chats, "backend.type": "hf", **more}), tmp_path / "run")
        assert checked.works == works and any("refuses a system turn" in one.what for one in checked.findings) != works


def test_before_the_first_user_turn_the_text_stands_under_every_template(base):
    _, folder = base
    tokenizer = load_tokenizer(folder)
    asked = tuple(Message(**turn) for turn in ASKED[:2])
    given = turns_of(Frame(role="user")(asked))
    assert prompt_ids(tokenizer, given) == tokenizer("<|user|> bak del fim gon <|assistant|>")["input_ids"]
    assert completion_ids(tokenizer, given, "lut") == tokenizer("lut <|end|>")["input_ids"]


def test_a_system_turn_that_a_template_would_lose_is_never_sampled_nor_trained_without_it(base):
    fate, folder = base
    tokenizer, asked = load_tokenizer(folder), [Message(**turn) for turn in ASKED[:2]]
    if fate in ("refused", "dropped"):
        with pytest.raises(SelfRewardError, match="its chat template"):
            prompt_ids(tokenizer, asked)
    else:
        assert tokenizer.convert_tokens_to_ids("bak") in prompt_ids(tokenizer, asked)
