"""Models that think: how they are asked to, where a thought ends and the answer begins, and what of the two is trained."""

import json
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from selfreward.engines.sampling.dialect import Dialect
from selfreward.engines.sampling.hf import HFModel
from selfreward.engines.sampling.replies import read_reply
from selfreward.engines.thoughts import parted, without_thought
from selfreward.engines.tokens import completion_ids, decode, load_tokenizer, prompt_ids, thought_length
from selfreward.engines.training.rows import IGNORE, Given, dpo_row, sft_row
from selfreward.errors import SelfRewardError
from selfreward.recipe import BackendConfig, ServerConfig
from selfreward.records import Completion, Message, Reasoned, Request, Sampling, Watched
from template_kinds import KINDS
from tinymodels import SMALL, SPECIAL, WORDS, make_model, make_tokenizer

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
from template_table import tokenizer_for

SWITCH = (  # as Qwen3's
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.reasoning_content %}<think>\n{{ m.reasoning_content }}\n</think>\n\n{% endif %}"
    "{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
OPEN = (  # as Qwen3-Thinking-2507's
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)
STOPS = (  # as Solar's
    "{% for m in messages %}<|begin|>{{ m.role }}{% if m.reasoning %}<|think|>{{ m.reasoning }}<|end|><|begin|>assistant"
    "{% endif %}<|content|>{{ m.content }}<|end|>{% endfor %}{% if add_generation_prompt %}<|begin|>assistant{% endif %}"
)
EFFORT = (  # as Hy3's, with the names of others in place of its own
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% set VARIABLE = VARIABLE if VARIABLE is defined else OFF %}"
    "{% if VARIABLE == ON %}<think:x>{% elif VARIABLE == OFF %}<think:x></think:x>{% else %}{{ raise_exception('no') }}"
    "{% endif %}{% endif %}"
)
NAMED = (  # as Apertus's
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.content is mapping %}<|inner_prefix|>{{ m.content.thoughts }}"
    "<|inner_suffix|>{% else %}{{ m.content }}{% endif %}<|im_end|>\n{% endfor %}{% if enable_thinking %}(think)\n{% endif %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
VARIABLES = [
    ("reasoning_effort", "'no_think'", "'high'"), ("reasoning_effort", "'none'", "'medium'"), ("thinking_mode", "'off'", "'on'"),
    ("thinking_mode", "'chat'", "'thinking'"), ("thinking_option", "'off'", "'on'"), ("think", "false", "true"),
    ("enable_reasoning", "false", "true"), ("thinking", "false", "true"), ("reasoning", "false", "true"),
]  # fmt: skip
ASKED = [Message(role="user", content="Q")]


@pytest.mark.parametrize(
    ("text", "opened", "thought", "answer", "whole"),
    [
        ("<think>a</think>b", False, "a", "b", True),
        ("\n<think>\na\n</think>\n\nb", False, "a", "\n\nb", True),
        ("a</think>b", True, "a", "b", True),
        ("a</think>b", False, "a", "b", True),  # its opening stood in a server's prompt
        ("<think>a</think>b", True, "a", "b", True),
        ("<think></think>b", False, "", "b", True),
        ("b", False, "", "b", True),
        ("a", True, "a", "", False),
        ("<think>a, so Score: 1", False, "a, so Score: 1", "", False),
        ("<think>a<think>c</think>b", False, "a<think>c", "b", True),
        ("<think>a</think><think>c</think>b", False, "a</think><think>c", "b", True),
        ("<think>a</think><think>c", False, "a</think><think>c", "", False),
        ("<think>I close with `</think>`.</think>b", False, "I close with `</think>`.", "b", True),
        ('<think>He says "hi"</think>"Hi"', False, 'He says "hi"', '"Hi"', True),
        ("b <think>c</think> d", False, "", "b <think>c</think> d", True),
        ("<think>a</think>Put <reasoning>c</reasoning> there.", False, "a", "Put <reasoning>c</reasoning> there.", True),
        ("Wrap it in `<think>`.", False, "", "Wrap it in `<think>`.", True),
        ("[THINK]a[/THINK]b", False, "a", "b", True),
        ("◁think▷a◁/think▷b", False, "a", "b", True),
        ("<|START_THINKING|>a<|END_THINKING|><|START_RESPONSE|>b", False, "a", "b", True),
        ("<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>b", False, "a", "b", True),
        ("<|channel>thought\na<channel|>b", False, "a", "b", True),
        (" to=self<|message|>a<|eom|><|start|>assistant to=user<|message|>b", False, "a", "b", True),
        ("<seed:think>a</seed:think>b", False, "a", "b", True),
        ("<think:opensource>a</think:opensource>b", False, "a", "b", True),
        ("<think_fast>a</think_fast>b", False, "a", "b", True),
        ("<longcat_think>a</longcat_think>b", False, "a", "b", True),
        ("<reflection>a</reflection>b", False, "a", "b", True),
        ("<cot>a</cot>b", False, "a", "b", True),
        ("<reasoning>a</reasoning>b", False, "a", "b", True),
        ("<inner_monologue>a</inner_monologue>b", False, "a", "b", True),
        ("<|inner_prefix|>a<|inner_suffix|>b", False, "a", "b", True),
        ("<unused94>thought\na<unused95>b", False, "a", "b", True),
        ("<|inner_prefix|>a", False, "a", "", False),
        ("a<|inner_suffix|>b", True, "a", "b", True),
        ("<no_think>a", False, "", "<no_think>a", True),
        ("<cottage>a</cottage>b", False, "", "<cottage>a</cottage>b", True),
        ("", True, "", "", False),
        ("", False, "", "", True),
    ],
)
def test_a_thought_stands_before_the_answer_and_ends_where_it_is_closed(text, opened, thought, answer, whole):
    said = parted(text, opened)
    assert (said.thought, said.answer, said.whole) == (thought, answer, whole)
    assert text[said.start :] == said.answer


@pytest.mark.parametrize(
    ("source", "off", "on", "after"),
    [
        (SWITCH, "assistant\n<think>\n\n</think>\n\n", "assistant\n", "<think>\nT\n</think>\n\nA<|im_end|>"),
        (OPEN, "assistant\n<think>\n</think>", "assistant\n<think>\n", "T\n</think>\n\nA<|im_end|>"),
        (KINDS["plain"].source, "assistant\n", "assistant\n", "<think>\nT\n</think>\n\nA<|im_end|>"),
    ],
)
def test_a_model_is_told_to_think_or_not_to_and_what_it_writes_is_trained_after_the_prompt_of_its_kind(source, off, on, after):
    tokenizer = tokenizer_for(source)
    assert decode(tokenizer, prompt_ids(tokenizer, ASKED)).endswith(off)
    assert decode(tokenizer, prompt_ids(tokenizer, ASKED, True)).endswith(on)
    ids = completion_ids(tokenizer, ASKED, "A", "T")
    assert decode(tokenizer, ids) == after
    assert decode(tokenizer, ids[: thought_length(tokenizer, ids)]) == after.partition("</think>")[0] + "</think>"


@pytest.mark.parametrize(("variable", "off", "on"), VARIABLES)
def test_a_model_is_told_by_whichever_variable_its_template_has(variable, off, on):
    tokenizer = tokenizer_for(EFFORT.replace("VARIABLE", variable).replace("OFF", off).replace("ON", on))
    assert decode(tokenizer, prompt_ids(tokenizer, ASKED)).endswith("assistant\n<think:x></think:x>")
    assert decode(tokenizer, prompt_ids(tokenizer, ASKED, True)).endswith("assistant\n<think:x>")
    assert decode(tokenizer, completion_ids(tokenizer, ASKED, "A", "T")).startswith("T\n</think:x>\n\nA")


def test_a_thought_is_written_in_the_marks_that_the_template_names():
    tokenizer = tokenizer_for(NAMED)
    assert decode(tokenizer, completion_ids(tokenizer, ASKED, "A", "T")) == "<|inner_prefix|>T<|inner_suffix|>A<|im_end|>"
    assert decode(tokenizer, prompt_ids(tokenizer, ASKED, True)).endswith("(think)\n<|im_start|>assistant\n")


def test_a_thought_that_was_not_written_is_trained_as_none():
    tokenizer = tokenizer_for(OPEN)
    assert decode(tokenizer, completion_ids(tokenizer, ASKED, "A", "")) == "</think>A<|im_end|>"
    assert thought_length(tokenizer_for(SWITCH), completion_ids(tokenizer_for(SWITCH), ASKED, "A", "")) == 0


def test_a_template_that_ends_thoughts_as_it_ends_answers_is_refused_only_where_thoughts_are_asked_for():
    tokenizer = tokenizer_for(STOPS)
    assert prompt_ids(tokenizer, ASKED)
    with pytest.raises(SelfRewardError, match=r"ends thoughts with <\|end\|> as it ends answers.*Set thinking to 0"):
        prompt_ids(tokenizer, ASKED, True)


@pytest.mark.parametrize("source", [SWITCH, OPEN])
def test_peoples_answers_with_a_thought_are_learnt_after_the_prompt_that_asks_for_one(source):
    tokenizer = tokenizer_for(source)
    row = sft_row(tokenizer, "Q", "<think>T</think> A")
    prompt = prompt_ids(tokenizer, ASKED, True)
    assert row["input_ids"] == prompt + completion_ids(tokenizer, ASKED, "A", "T")
    assert row["labels"] == [IGNORE] * len(prompt) + row["input_ids"][len(prompt) :]
    for answer in ("A", "Close it with </think> and go on.", "A <think>T</think>", "<think>T"):
        plain = sft_row(tokenizer, "Q", answer)
        assert plain["input_ids"] == prompt_ids(tokenizer, ASKED) + completion_ids(tokenizer, ASKED, answer)


def test_a_thought_is_a_part_of_the_answer_where_the_template_knows_none():
    tokenizer = tokenizer_for(KINDS["plain"].source)
    assert decode(tokenizer, sft_row(tokenizer, "Q", "<think>T</think> A")["input_ids"]).endswith("<think>T</think> A<|im_end|>")


def test_pairs_are_made_of_sampled_thoughts_and_answers_after_the_prompt_that_asked_for_them():
    tokenizer = tokenizer_for(SWITCH)
    sampled = completion_ids(tokenizer, ASKED, "A", "T")
    chosen, rejected = Reasoned(thought="T", text="A", ids=tuple(sampled)), Reasoned(thought="", text="B")
    row = dpo_row(tokenizer, "Q", chosen, rejected)
    assert row == {
        "prompt_ids": prompt_ids(tokenizer, ASKED, True), "chosen_ids": sampled,
        "rejected_ids": completion_ids(tokenizer, ASKED, "B", ""),
    }  # fmt: skip
    given = dpo_row(tokenizer, "Q", chosen, rejected, given=True)
    assert (given["chosen_given"], given["rejected_given"]) == (len("<think>\nT\n</think>") - len("<think></think>") + 2, 0)


def test_what_is_given_is_passed_over_in_the_loss():
    def collate(rows):
        longest = max(len(row["prompt_ids"]) + len(row[side]) for row in rows for side in ("chosen_ids", "rejected_ids"))
        mask = [[0] * len(r["prompt_ids"]) + [1] * len(r[s]) for s in ("chosen_ids", "rejected_ids") for r in rows]
        return {"completion_mask": torch.tensor([line + [0] * (longest - len(line)) for line in mask])}

    rows = [
        {"prompt_ids": [1], "chosen_ids": [2, 3, 4], "rejected_ids": [5], "chosen_given": 2, "rejected_given": 0},
        {"prompt_ids": [1, 1], "chosen_ids": [2], "rejected_ids": [5, 6], "chosen_given": 0, "rejected_given": 1},
    ]
    assert Given(collate)(rows)["completion_mask"].tolist() == [[0, 0, 0, 1], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]]
    plain = [{name: ids for name, ids in row.items() if "given" not in name} for row in rows]
    assert Given(collate)(plain)["completion_mask"].tolist() == collate(plain)["completion_mask"].tolist()


def request(thinking=8, **more):
    sampling = Sampling(temperature=1.0, top_p=1.0, max_tokens=8, thinking=thinking)
    return Request(about="p", index=0, messages=tuple(ASKED), sampling=sampling, seed=1, model="m", **more)


def completion(asked, text, finish="stop", **more):
    return Completion(request_id=asked.id, text=text, finish=finish, prompt_tokens=1, completion_tokens=1, **more)


def test_places_that_are_watched_are_places_in_the_answer():
    asked = request()
    seen = (Watched(at=9, logprobs={"1": -1.0}), Watched(at=26, logprobs={"4": -2.0}))
    heard = without_thought(completion(asked, "<think>..1..</think>Score: 4", watched=seen), asked)
    assert (heard.text, heard.thought, heard.watched) == ("Score: 4", "..1..", (Watched(at=7 - 1, logprobs={"4": -2.0}),))


@pytest.mark.parametrize("finish", ["stop", "length"])
def test_a_thought_without_an_end_is_no_answer_however_it_ended(finish):
    asked = request()
    assert without_thought(completion(asked, "<think>Score: 1", finish), asked).finish == "truncated"
    assert without_thought(completion(asked, "Score: 1", finish), asked, opened=True).finish == "truncated"
    assert without_thought(completion(asked, "", finish), asked, apart="Score: 1").finish == "truncated"
    assert without_thought(completion(asked, "b", finish), asked, apart="Score: 1").finish == finish


def test_what_was_not_told_to_think_is_left_as_it_was_written():
    asked = request(thinking=None)
    written = completion(asked, "<think>a</think>b")
    assert without_thought(written, asked) is written
    failed = completion(request(), "", "error")
    assert without_thought(failed, request()) is failed


def test_ids_of_requests_that_ask_for_no_thought_stay_as_they_were():
    assert request(thinking=None).id == "19eec214733a6e0a"
    assert request(thinking=None).sampling.model_dump() == {"temperature": 1.0, "top_p": 1.0, "max_tokens": 8}
    assert len({request(thinking=None).id, request().id, request(forced="A").id, request(forced="A", forced_thought="").id}) == 4


BEGIN, CLOSE = WORDS[:2]
SPOKEN = (
    "{% for m in messages %}{% if m.role == 'assistant' %}<|assistant|> {{ m.content }} <|end|> "
    "{% else %}<|user|> {{ m.content }} {% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>"
    "{% if enable_thinking %} <think>{% endif %}{% endif %}"
)


@pytest.fixture(scope="module")
def thinker(tmp_path_factory):
    """A model of random weights whose words for `<think>` and `</think>` are as likely as any other."""
    folder = make_model(tmp_path_factory.mktemp("thinker"), **(SMALL | {"initializer_range": 0.1}))
    tokenizer = make_tokenizer(SPOKEN)
    text = (folder / "tokenizer.json").read_text().replace(f'"{BEGIN}"', '"<think>"').replace(f'"{CLOSE}"', '"</think>"')
    tokenizer.save_pretrained(folder)
    (folder / "tokenizer.json").write_text(text)
    return folder


def test_a_model_thinks_within_its_budget_and_what_was_sampled_is_kept_to_the_token(thinker):
    engine, tokenizer = HFModel(thinker, BackendConfig(device="cpu")), load_tokenizer(thinker)
    sampling = Sampling(temperature=1.0, top_p=1.0, max_tokens=12, thinking=30)
    messages = (Message(role="user", content=" ".join(WORDS[5:9])),)
    asked = [Request(about="p", index=n, messages=messages, sampling=sampling, seed=n, model="m") for n in range(48)]
    end = tokenizer.convert_tokens_to_ids("<|end|>")
    kinds = set()
    for one in engine.generate(asked):
        words = tokenizer.convert_ids_to_tokens(one.ids)
        stopped = one.ids[-1] == end
        assert len(words) <= 42 + stopped and (stopped or len(words) == 42)
        words = words[: len(words) - stopped]
        if "<think>" in words or words.count("</think>") > 1:
            continue  # of which the rule is tested above
        if "</think>" in words:
            assert one.text.split() == words[words.index("</think>") + 1 :] and one.finish == ("stop" if stopped else "length")
            assert one.thought.split() == words[: words.index("</think>")]
        else:
            assert (one.text, one.finish, one.thought.split()) == ("", "truncated", words)
        kinds.add((one.finish, "</think>" in words))
    assert {finish for finish, _ in kinds} >= {"stop", "truncated"}
    prompt = tokenizer.convert_ids_to_tokens(prompt_ids(tokenizer, messages, True))
    assert prompt[-1] == "<think>" and tokenizer.convert_ids_to_tokens(prompt_ids(tokenizer, messages))[-1] != "<think>"


def test_a_forced_answer_is_as_likely_as_its_tokens_behind_its_own_thought(thinker):
    engine, tokenizer = HFModel(thinker, BackendConfig(device="cpu")), load_tokenizer(thinker)
    messages, answer, thought = (Message(role="user", content=WORDS[5]),), WORDS[6], WORDS[7]
    sampling = Sampling(temperature=1.0, top_p=1.0, max_tokens=12, thinking=30)
    asked = Request(
        about="p", index=0, messages=messages, sampling=sampling, seed=1, model="m", forced=answer, forced_thought=thought
    )
    told = next(iter(engine.generate([asked])))
    before, after = prompt_ids(tokenizer, messages, True), completion_ids(tokenizer, messages, answer, thought)
    assert tokenizer.convert_ids_to_tokens(after) == [thought, "</think>", answer, SPECIAL[-1]]
    logits = AutoModelForCausalLM.from_pretrained(thinker)(torch.tensor([before + after])).logits[0].log_softmax(-1)
    assert told.logprob == pytest.approx(
        sum(logits[len(before) + at - 1, token].item() for at, token in enumerate(after)), abs=1e-4
    )


@pytest.mark.parametrize(
    ("message", "finish", "heard"),
    [
        ({"content": "Score: 4", "reasoning_content": "T"}, "stop", ("Score: 4", "T", "stop")),
        ({"content": "Score: 4", "reasoning": "T"}, "length", ("Score: 4", "T", "length")),
        ({"content": [{"type": "thinking", "thinking": "T"}, {"type": "text", "text": "B"}]}, "stop", ("B", "T", "stop")),
        ({"content": "<think>T</think>Score: 4"}, "stop", ("Score: 4", "T", "stop")),
        ({"content": "T</think>\n\nScore: 4"}, "stop", ("\n\nScore: 4", "T", "stop")),
        ({"content": "Score: 4"}, "stop", ("Score: 4", "", "stop")),
        ({"content": "<think>Score: 4"}, "length", ("", "Score: 4", "truncated")),
        ({"content": None, "reasoning_content": "Score: 4"}, "length", ("", "Score: 4", "truncated")),
        ({"content": "", "reasoning_content": "Score: 4"}, "stop", ("", "Score: 4", "truncated")),
    ],
)
def test_a_server_may_keep_thoughts_apart_or_leave_them_in_the_answer(message, finish, heard):
    body = json.dumps({"choices": [{"message": message, "finish_reason": finish}]})
    one = read_reply(body).completion(request(), str)
    assert (one.text, one.thought, one.finish) == heard


def test_a_server_is_told_to_think_and_has_room_for_it_and_what_your_extra_says_comes_first():
    config = ServerConfig(url="http://localhost/v1", model="m")
    body = Dialect().body(config, request(thinking=100))
    assert body["max_tokens"] == 108 and body["chat_template_kwargs"] == {"enable_thinking": True, "thinking": True}
    plain = Dialect().body(config, request(thinking=None))
    assert plain["max_tokens"] == 8 and "chat_template_kwargs" not in plain
    own = config.model_copy(update={"extra": {"chat_template_kwargs": {"reasoning_effort": "high"}}})
    assert Dialect().body(own, request())["chat_template_kwargs"] == {"reasoning_effort": "high"}
    other = Dialect().suited("Unrecognized request argument supplied: chat_template_kwargs", body)
    assert "chat_template_kwargs" not in other.body(config, request())
