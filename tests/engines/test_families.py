"""What models of each family are trained on, token by token, against what their own format says; and what it leaves alone."""

import itertools
import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from families import FAMILIES, family_tokenizer, make_family
from selfreward.engines import load_tokenizer, prompt_ids
from selfreward.engines.sampling.hf import HFModel
from selfreward.engines.tokens import DEFAULT_TEMPLATE, _render, end_of_turn
from selfreward.engines.training import trl
from selfreward.engines.training.rows import IGNORE, dpo_row, sft_row
from selfreward.engines.training.trl import TRLTrainer
from selfreward.errors import SelfRewardError
from selfreward.recipe import BackendConfig, DPOConfig, SFTConfig
from selfreward.records import Message

FAMILY = pytest.mark.parametrize("name", FAMILIES)
TEXTS = [
    ("Name a bird.", "The wren."),
    ("What is the answer?\nTell me!", "I think: a heron,\n\nor 2 of them — é, ☃."),
    ("x", ""),
    ("[INST] User: <|im_end|> </s>", "### User:\n<|endoftext|> <end_of_turn>[/INST] <|eot_id|>done"),
    ("Name a bird.", "The wren.</think>The thrush."),
    ("</think>", "<think></think>The wren.</think>"),
    ("<tool_response> hello </tool_response>", "The wren."),
]
PAIRS = [("Name a bird.", "The wren.", "What?"), ("x", "y", "I think it is a heron,\n\nor two.")]
ONE_STEP = {"batch_size": 2, "device_batch_size": 2, "epochs": 1}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {name: make_family(tmp_path_factory.mktemp("family"), name) for name in FAMILIES}


def broken(family, text):
    """`text` with the family's special tokens broken up, by hand."""
    for token in family.special:
        text = text.replace(token, token[0] + " " + token[1:])
    return text


def expected(name, prompt, response):
    """Ids, and whether each is trained on, by where its characters lie in the text as the family writes it."""
    family = FAMILIES[name]
    trimmed = (lambda text: text.strip()) if "strip()" in str(family.template) or "trim" in str(family.template) else str
    before = family.before.replace("{p}", trimmed(broken(family, prompt)))
    after = family.after.replace("{r}", trimmed(broken(family, response)))
    found = family_tokenizer(family)._tokenizer.encode(before + after, add_special_tokens=False)
    return found.ids, [start >= len(before) for start, _ in found.offsets]


@FAMILY
@pytest.mark.parametrize("text", TEXTS, ids=["plain", "odd", "empty", "hostile", "think", "thought", "tool"])
def test_the_answer_and_its_end_are_trained_on_and_nothing_else(name, text, folders):
    row = sft_row(load_tokenizer(folders[name]), *text)
    ids, trained = expected(name, *text)
    assert row["input_ids"] == ids
    assert row["labels"] == [token if mark else IGNORE for token, mark in zip(ids, trained, strict=True)]


ORDINARY = ["The wren.", "", " \n ", "\n\nThe wren. ", "  a\n\n\tb é\u3000", "wren wren", "selfrewardprobe"]


@FAMILY
def test_ordinary_text_is_written_byte_for_byte_as_the_template_writes_it(name, folders):
    tokenizer = load_tokenizer(folders[name])
    for first, second in itertools.product(ORDINARY, repeat=2):
        turns = [("user", first), ("assistant", second), ("user", first + second), ("assistant", second)]
        for count in (1, 2, 3, 4):
            messages = [Message(role=role, content=text) for role, text in turns[:count]]
            plain = [message.model_dump() for message in messages]
            prompt = count % 2 == 1
            written = tokenizer.apply_chat_template(plain, tokenize=False, add_generation_prompt=prompt, enable_thinking=False)
            assert _render(tokenizer, messages, prompt=prompt) == written


@FAMILY
def test_a_special_token_that_is_only_spelt_out_stays_text(name, folders):
    tokenizer, special = load_tokenizer(folders[name]), set(FAMILIES[name].special) - {"<unk>"}
    forged = "".join(special)
    row = sft_row(tokenizer, forged, forged)
    honest = sft_row(tokenizer, "x", "x")
    count = [sum(token in special for token in tokenizer.convert_ids_to_tokens(made["input_ids"])) for made in (row, honest)]
    assert count[0] == count[1]


@FAMILY
def test_sampling_reads_what_training_reads_and_stops_where_training_ends(name, folders):
    engine, tokenizer = HFModel(folders[name], BackendConfig(device="cpu")), load_tokenizer(folders[name])
    row, messages = dpo_row(tokenizer, *PAIRS[1]), [Message(role="user", content=PAIRS[1][0])]
    assert engine._ids(tuple(messages)) == row["prompt_ids"] == prompt_ids(tokenizer, messages)
    for side in ("chosen_ids", "rejected_ids"):
        assert row[side][-1] in engine.stops
        assert not engine.stops.intersection(row[side][:-1])
    assert (
        tokenizer.convert_ids_to_tokens(end_of_turn(tokenizer)) == FAMILIES[name].after.removeprefix("{r}").split("}")[-1].strip()
    )


@pytest.mark.parametrize("name", ["qwen 2, a base", "gpt 2"])
def test_an_answer_whose_first_characters_join_the_prompts_last_begins_as_generation_would(name, folders):
    tokenizer = load_tokenizer(folders[name])
    prompt = prompt_ids(tokenizer, [Message(role="user", content="x")])
    joined = tokenizer.encode(tokenizer.decode(prompt) + "\n\nThe wren.", add_special_tokens=False)
    assert joined[: len(prompt)] != prompt  # "\n" and "\n\n" are other tokens than "\n\n\n"
    row = sft_row(tokenizer, "x", "\n\nThe wren.")
    assert row["input_ids"][: row["labels"].count(IGNORE)] == prompt
    assert tokenizer.decode([label for label in row["labels"] if label != IGNORE][:-1]) == "\n\nThe wren."


def test_a_template_that_writes_the_day_writes_the_same_every_day(folders):
    tokenizer = load_tokenizer(folders["llama 3"])
    tokenizer.chat_template = "{{ strftime_now('%d %b %Y') }}" + tokenizer.chat_template
    assert tokenizer.decode(prompt_ids(tokenizer, [Message(role="user", content="x")])).startswith("26 Jul 2024")


def test_a_tokenizer_with_neither_template_nor_end_of_text_is_refused(tmp_path):
    make_family(tmp_path, "gpt 2")
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings | {"eos_token": None}))
    with pytest.raises(SelfRewardError, match="neither a chat template nor an end of text"):
        load_tokenizer(tmp_path)


# ——— what reaches the optimizer, and what comes out ———


class Seen:
    """The first batch of a training as its model gets it, and how far two passes over it in training differ."""

    def __init__(self, monkeypatch, name):
        self.batch = self.spread = None
        seen = self

        class Watched(getattr(trl, name)):
            def training_step(self, model, inputs, *given, **named):
                seen.batch = {key: value.clone() for key, value in inputs.items() if isinstance(value, torch.Tensor)}
                model.train()
                given_ids = {key: inputs[key] for key in ("input_ids", "attention_mask")}
                once, again = (model(**given_ids).logits.detach() for _ in range(2))
                seen.spread = (once - again).abs().max().item()
                return super().training_step(model, inputs, *given, **named)

        monkeypatch.setattr(trl, name, Watched)


def train(kind, folder, work, dropout=0.1):
    if kind == "sft":
        config = SFTConfig(**ONE_STEP, dropout=dropout, learning_rate=1e-2)
        return TRLTrainer().sft([pair[:2] for pair in PAIRS], folder, config, 3, work, lambda steps: None)
    config = DPOConfig(**ONE_STEP, dropout=dropout, learning_rate=1e-2)
    return TRLTrainer().dpo(PAIRS, folder, folder, config, 3, work, lambda steps: None)


@FAMILY
def test_a_batch_of_sft_has_the_labels_that_the_format_says(name, folders, tmp_path, monkeypatch):
    seen = Seen(monkeypatch, "PlannedSFTTrainer")
    train("sft", folders[name], tmp_path / "work")
    assert rows(seen.batch, seen.batch["labels"] != IGNORE) == sorted(expected(name, *pair[:2]) for pair in PAIRS)
    trained = seen.batch["labels"] != IGNORE
    assert torch.equal(seen.batch["labels"][trained], seen.batch["input_ids"][trained])
    assert seen.spread > 0


@FAMILY
def test_a_batch_of_dpo_is_split_into_prompt_and_answer_as_the_format_says(name, folders, tmp_path, monkeypatch):
    seen = Seen(monkeypatch, "PlannedDPOTrainer")
    train("dpo", folders[name], tmp_path / "work")
    both = [expected(name, prompt, answer) for prompt, *answers in PAIRS for answer in answers]
    assert rows(seen.batch, seen.batch["completion_mask"].bool()) == sorted(both)
    assert seen.spread > 0


def rows(batch, trained):
    """(ids, whether each is trained on) of a batch's rows without their padding, on which nothing is trained."""
    found = []
    for ids, here, marks in zip(batch["input_ids"], batch["attention_mask"].bool(), trained, strict=True):
        assert not marks[~here].any()
        found.append((ids[here].tolist(), marks[here].tolist()))
    return sorted(found)


@pytest.mark.parametrize("kind", ["sft", "dpo"])
def test_without_dropout_two_passes_are_the_same(kind, folders, tmp_path, monkeypatch):
    seen = Seen(monkeypatch, {"sft": "PlannedSFTTrainer", "dpo": "PlannedDPOTrainer"}[kind])
    train(kind, folders["phi"], tmp_path / "work", dropout=0)
    assert seen.spread == 0


@FAMILY
def test_a_checkpoint_differs_from_its_start_in_weights_and_where_it_may_stop_alone(name, folders, tmp_path):
    made, start = train("sft", folders[name], tmp_path / "work"), folders[name]
    own = {"chat_template": DEFAULT_TEMPLATE.read_text()} if FAMILIES[name].template is None else {}
    first, last = (AutoTokenizer.from_pretrained(path) for path in (start, made))
    assert last.chat_template == own.get("chat_template", first.chat_template)
    assert (made / "chat_template.jinja").read_text() == last.chat_template
    assert first.get_vocab() == last.get_vocab() and first.special_tokens_map == last.special_tokens_map
    assert json.loads((made / "config.json").read_text()) == json.loads((start / "config.json").read_text())
    stops = AutoModelForCausalLM.from_pretrained(made).generation_config.eos_token_id
    published = last.convert_tokens_to_ids(list(FAMILIES[name].stops))
    assert set(stops if isinstance(stops, list) else [stops]) == {*published, end_of_turn(last)}
    assert not same_weights(start, made)


def same_weights(first, second):
    both = [AutoModelForCausalLM.from_pretrained(path).state_dict() for path in (first, second)]
    return all(torch.equal(weight, both[1][name]) for name, weight in both[0].items())
