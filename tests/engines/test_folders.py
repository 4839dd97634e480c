"""Model folders with something wrong: sampler, trainer and `check` say so in the same line, before anything is done with them."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken
from transformers import AutoTokenizer

from selfreward.checks.reach import look_up
from selfreward.engines import assert_finite, assert_sound, weight_files
from selfreward.engines.sampling.hf import HFModel
from selfreward.engines.training.trl import TRLTrainer
from selfreward.errors import SelfRewardError
from selfreward.recipe import BackendConfig, Recipe, SFTConfig
from selfreward.records import Checkpoint, Request, Sampling, fingerprint
from tinymodels import END, PAD, WORDS, make_model

WEIGHTS, INDEX, CONFIG = "model.safetensors", "model.safetensors.index.json", "config.json"
CHECKPOINT = Checkpoint(name="m", path="m", fingerprint="f")
UP = "model.layers.0.mlp.up_proj.weight"


def reweigh(folder, change):
    weights = load_file(folder / WEIGHTS)
    change(weights)
    save_file(weights, folder / WEIGHTS, {"format": "pt"})


def settle(folder, file=CONFIG, **changes):
    known = json.loads((folder / file).read_text()) if (folder / file).exists() else {}
    (folder / file).write_text(json.dumps({**known, **changes}))


def settle_templates(folder, **templates):
    (folder / "chat_template.jinja").unlink()
    named = [{"name": name, "template": template} for name, template in templates.items()]
    settle(folder, "tokenizer_config.json", chat_template=named)


def shard(folder, names=("one.safetensors", "two.safetensors"), **index):
    """The weights in two files and their list, in which `index` changes entries."""
    weights = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    keys = sorted(weights)
    where = {key: names[at % 2] for at, key in enumerate(keys)}
    for name in names:
        save_file({key: weights[key] for key in keys if where[key] == name}, folder / name, {"format": "pt"})
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": {**where, **index}}))


def outside(folder):
    shard(folder)
    moved = folder.parent / "elsewhere.safetensors"
    (folder / "two.safetensors").rename(moved)
    return moved


def absolute(folder):
    moved = outside(folder)
    where = json.loads((folder / INDEX).read_text())["weight_map"]
    settle(folder, INDEX, weight_map={key: str(moved) if name == "two.safetensors" else name for key, name in where.items()})


def upwards(folder):
    moved = outside(folder)
    where = json.loads((folder / INDEX).read_text())["weight_map"]
    up = {key: f"../{moved.name}" if name == "two.safetensors" else name for key, name in where.items()}
    settle(folder, INDEX, weight_map=up)


def linked(folder):
    (folder / "two.safetensors").symlink_to(outside(folder))


def pickled(folder):
    shard(folder, names=("one.safetensors", "two.bin"))


def twice(folder):
    whole = (folder / WEIGHTS).read_bytes()
    shard(folder)
    (folder / WEIGHTS).write_bytes(whole)


def reweigh_shard(folder, name, more):
    save_file({**load_file(folder / name), **more}, folder / name, {"format": "pt"})


def empty_vocabulary(folder):
    tree = json.loads((folder / "tokenizer.json").read_text())
    tree["model"]["vocab"] = {}
    (folder / "tokenizer.json").write_text(json.dumps(tree))


def lose(folder, key):
    shard(folder)
    reweighed = load_file(folder / "two.safetensors")
    reweighed.pop(next(iter(sorted(reweighed))))
    save_file(reweighed, folder / "two.safetensors", {"format": "pt"})


def add_tokens(folder, *tokens, special=False):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([AddedToken(token, special=special) for token in tokens])
    tokenizer.save_pretrained(folder)


def without_ends(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.eos_token = tokenizer.pad_token = None
    tokenizer.save_pretrained(folder)


def torn(folder):
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-100])


def more_rows(folder, number):
    grown = ("model.embed_tokens.weight", "lm_head.weight")
    reweigh(folder, lambda w: w.update({name: torch.cat([w[name], torch.zeros(number, 32)]) for name in grown}))


def kept_in(kind):
    def change(weights):
        weights[UP] = weights[UP].to(kind)

    return change


def spoilt(value):
    def change(weights):
        weights[UP][3, 5] = value

    return change


FAULTS = {
    "no weights": (lambda folder: (folder / WEIGHTS).unlink(), "has no .safetensors weights"),
    "pickles alone": (
        lambda folder: (folder / WEIGHTS).rename(folder / "pytorch_model.bin"),
        "has no .safetensors weights; pytorch_model.bin is of a kind that may run code when it is read",
    ),
    "misnamed": (
        lambda folder: (folder / WEIGHTS).rename(folder / "weights.safetensors"),
        "has weights under another name (weights.safetensors)",
    ),
    "a list lost": (lambda folder: (shard(folder), (folder / INDEX).unlink()), "has weights under another name (one."),
    "gguf beside nothing": (
        lambda folder: ((folder / WEIGHTS).unlink(), (folder / "a.gguf").touch(), (folder / "b.gguf").touch()),
        "a.gguf",
    ),
    "torn": (torn, "model.safetensors is no whole safetensors file"),
    "empty": (lambda folder: (folder / WEIGHTS).write_bytes(b""), "model.safetensors is no whole safetensors file"),
    "lfs": (
        lambda folder: (folder / WEIGHTS).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
        "model.safetensors is a Git LFS pointer",
    ),
    "shard lost": (
        lambda folder: (shard(folder), (folder / "two.safetensors").unlink()),
        "lacks 1 of its weight files, two.safetensors first",
    ),
    "tensor lost from a shard": (lambda folder: lose(folder, UP), "two.safetensors lacks 1 tensor that"),
    "no list": (lambda folder: (folder / INDEX).write_text('{"metadata": {}}'), f"{INDEX} is no list of tensors"),
    "broken list": (lambda folder: (folder / INDEX).write_text("{"), f"{INDEX} is no list of tensors"),
    "numbers for files": (lambda folder: settle(folder, INDEX, weight_map={"a": 1}), "is no list of tensors"),
    "no metadata": (
        lambda folder: (shard(folder), (folder / INDEX).write_text((folder / INDEX).read_text().replace("metadata", "about"))),
        f"{INDEX} has no metadata",
    ),
    "two stories": (twice, "libraries do not agree which to load"),
    "absolute": (absolute, "takes weights from outside the folder"),
    "upwards": (upwards, "takes weights from outside the folder"),
    "linked": (linked, "takes weights from outside the folder"),
    "a pickle in the list": (pickled, "names two.bin, which is no safetensors file"),
    "weights of another file": (
        lambda folder: settle(folder, transformers_weights="other.safetensors"),
        "config.json has weights taken from other.safetensors",
    ),
    "tensor missing": (lambda folder: reweigh(folder, lambda w: w.pop(UP)), f"its weights lack {UP} of a llama"),
    "tensor misnamed": (
        lambda folder: reweigh(folder, lambda w: w.update(bogus=w.pop(UP))),
        f"its weights lack {UP} of a llama, and have bogus",
    ),
    "tensor unknown": (
        lambda folder: reweigh(folder, lambda w: w.update({"model.layers.0.mlp.gate2.weight": w[UP].clone()})),
        "its weights have model.layers.0.mlp.gate2.weight, which a llama does not have",
    ),
    "another shape": (lambda folder: settle(folder, intermediate_size=64), "is 32 × 48, and 32 × 64 by its config"),
    "another vocabulary": (lambda folder: settle(folder, vocab_size=99), "is 55 × 32, and 99 × 32 by its config"),
    "float8": (
        lambda folder: reweigh(folder, kept_in(torch.float8_e4m3fn)),
        f"model.safetensors holds {UP} in F8_E4M3, a precision that cannot be trained",
    ),
    "adapter beside": (
        lambda folder: settle(folder, "adapter_config.json", base_model_name_or_path="/other", peft_type="LORA"),
        "has an adapter (adapter_config.json) beside its weights",
    ),
    "adapter alone": (
        lambda folder: (
            settle(folder, "adapter_config.json", base_model_name_or_path="org/base", peft_type="LORA"),
            (folder / WEIGHTS).rename(folder / "adapter_model.safetensors"),
        ),
        "is an adapter (LoRA) and no model: it belongs on org/base",
    ),
    "bitsandbytes": (
        lambda folder: settle(folder, quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True}),
        "its weights are quantised already (bitsandbytes, 4 bits)",
    ),
    "gptq": (
        lambda folder: settle(folder, quantization_config={"quant_method": "gptq", "bits": 4}),
        "its weights are quantised already (gptq, 4 bits)",
    ),
    "mlx": (lambda folder: settle(folder, quantization={"group_size": 64, "bits": 8}), "quantised already (8 bits)"),
    "config lost": (lambda folder: (folder / CONFIG).unlink(), "its config.json is no model that transformers knows"),
    "config broken": (lambda folder: (folder / CONFIG).write_text('{"model_type": "lla'), "config.json is no JSON"),
    "config a list": (lambda folder: (folder / CONFIG).write_text("[1]"), "config.json is no table of settings"),
    "unknown kind": (
        lambda folder: settle(folder, model_type="homemade"),
        "its config.json is no model that transformers knows",
    ),
    "code of its own": (
        lambda folder: settle(folder, model_type="homemade", auto_map={"AutoConfig": "code.Homemade"}),
        "it needs code that comes with the model (auto_map), which is never run",
    ),
    "encoder and decoder": (lambda folder: settle(folder, model_type="t5"), "t5"),
    "vectors": (lambda folder: (folder / "modules.json").write_text("[]"), "gives vectors and no text (modules.json)"),
    "negative context": (
        lambda folder: settle(folder, max_position_embeddings=-1),
        "its config.json says max_position_embeddings = -1, which makes no sense",
    ),
    "no layers": (lambda folder: settle(folder, num_hidden_layers=0), "num_hidden_layers = 0, which makes no sense"),
    "dtype": (lambda folder: settle(folder, dtype="float8_e4m3fn"), "float8_e4m3fn"),
    "no heads": (lambda folder: settle(folder, num_attention_heads=0), "num_attention_heads = 0, which makes no sense"),
    "heads of no size": (lambda folder: settle(folder, head_dim=0), "head_dim = 0, which makes no sense"),
    "not a number": (lambda folder: settle(folder, rms_norm_eps=float("nan")), "rms_norm_eps = nan, which makes no sense"),
    "dropout": (lambda folder: settle(folder, attention_dropout=5), "attention_dropout = 5, which makes no sense"),
    "positions stretched by less than nothing": (
        lambda folder: settle(folder, rope_parameters={"rope_type": "linear", "factor": -2, "rope_theta": 1e4}),
        "rope_parameters.factor = -2, which makes no sense",
    ),
    "a part that is no table": (lambda folder: settle(folder, text_config="x"), "text_config = 'x', which makes no sense"),
    "list without end": (lambda folder: (folder / INDEX).write_text("[" * 100_000), f"{INDEX} is no list of tensors"),
    "in two files": (
        lambda folder: (shard(folder), reweigh_shard(folder, "two.safetensors", load_file(folder / "one.safetensors"))),
        "two.safetensors has lm_head.weight, which is in one.safetensors too",
    ),
    "whole numbers": (lambda folder: reweigh(folder, kept_in(torch.int8)), f"model.safetensors holds {UP} in I8, a precision"),
    "a pad that is nothing": (lambda folder: settle(folder, "tokenizer_config.json", pad_token=""), "pad_token = '', which"),
    "an end that is nothing": (lambda folder: settle(folder, "tokenizer_config.json", eos_token=""), "eos_token = '', which"),
    "a letter beyond": (
        lambda folder: add_tokens(folder, "a", special=True),  # too short to be broken up
        "its tokenizer has 1 token (a, id 55) beyond its 55 embeddings",
    ),
    "no words": (empty_vocabulary, "its tokenizer cannot be read"),
    "tokenizer lost": (
        lambda folder: ((folder / "tokenizer.json").unlink(), (folder / "tokenizer_config.json").unlink()),
        "tokenizer",
    ),
    "templates without a default": (
        lambda folder: settle_templates(folder, rag="x", tools="y"),
        "its tokenizer has the chat templates rag, tools, and no default",
    ),
    "heads that do not share the size": (lambda folder: settle(folder, num_attention_heads=5), "not a multiple of the number of"),
    "tokenizer broken": (lambda folder: (folder / "tokenizer.json").write_text("{"), "its tokenizer cannot be read"),
    "tokens beyond": (
        lambda folder: add_tokens(folder, "newword", "another"),
        "its tokenizer has 2 tokens (newword, id 55 first) beyond its 55 embeddings",
    ),
    "an end beyond": (
        lambda folder: (
            add_tokens(folder, "<|eot|>", special=True),
            (folder / "chat_template.jinja").write_text((folder / "chat_template.jinja").read_text().replace(END, "<|eot|>")),
        ),
        "its tokenizer has 1 token (<|eot|>, id 55) beyond its 55 embeddings",
    ),
    "no pad, no end": (without_ends, "its tokenizer has neither a padding token nor an end of text"),
    "an end that is none": (
        lambda folder: settle(folder, "generation_config.json", eos_token_id="</s>"),
        "generation_config.json says eos_token_id = '</s>'",
    ),
    "an end beyond the embeddings": (
        lambda folder: settle(folder, "generation_config.json", eos_token_id=[4, 99999]),
        "generation_config.json says eos_token_id = [4, 99999], which is no token's id",
    ),
    "generation settings broken": (
        lambda folder: (folder / "generation_config.json").write_text("{"),
        "generation_config.json is no JSON",
    ),
    "generation settings without sense": (
        lambda folder: settle(folder, "generation_config.json", max_new_tokens=-3),
        "`max_new_tokens` must be greater than 0",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("made"))


@pytest.fixture
def folder(made, tmp_path):
    return shutil.copytree(made, tmp_path / "model")


def line(call, *given):
    with pytest.raises(SelfRewardError) as caught:
        call(*given)
    assert "\n" not in str(caught.value)
    return caught.value


def checked(folder):
    return look_up(str(folder), ("M0",), Recipe(base=str(folder), data={"ift": {"path": "x"}}))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_line_and_the_same_to_sampler_trainer_and_check(fault, folder, tmp_path):
    spoil, says = FAULTS[fault]
    spoil(folder)
    sampler = line(HFModel, folder, BackendConfig(device="cpu"))
    assert says in sampler.what and sampler.where == str(folder)
    trainer = TRLTrainer()
    pairs, work = [("bak", "dek", "fik")], tmp_path / "work"
    for call in (
        lambda: trainer.fits(pairs, folder),
        lambda: trainer.sft([("bak", "dek")], folder, SFTConfig(), 0, work, lambda steps: None),
    ):
        assert str(line(call)) == str(sampler)
    if fault != "gguf beside nothing":
        problems = checked(folder).problems
        assert problems and says in problems[0].what + problems[0].where


def test_nothing_is_wrong_with_a_folder_as_it_was_saved(folder):
    assert_sound(folder)
    assert_finite(folder)
    assert checked(folder).problems == ()
    (file,) = weight_files(folder)
    assert file == folder / WEIGHTS and weight_files(folder)[file][UP] == ("F32", [48, 32])


@pytest.mark.parametrize(
    "harmless",
    [
        lambda folder: shard(folder),
        lambda folder: add_tokens(folder, "<image>", special=True),  # Gemma 3 has such a one beyond its embeddings
        lambda folder: reweigh(folder, lambda w: w.update({"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)})),
        lambda folder: (folder / "consolidated.safetensors").write_bytes(b"the maker's own format"),
        lambda folder: settle(folder, auto_map={"AutoConfig": "code.Homemade"}),  # llama has code in transformers
        lambda folder: reweigh(folder, lambda w: w.update({name: each.bfloat16() for name, each in w.items()})),
        lambda folder: settle(folder, "generation_config.json", temperature=0.7, do_sample=False),
        lambda folder: (shard(folder), save_file({"x": torch.zeros(1)}, folder / "three.safetensors")),
        lambda folder: settle(folder, rope_scaling={"type": "linear", "factor": 2.0}),
        lambda folder: settle(folder, "tokenizer_config.json", pad_token=END),
        lambda folder: settle(folder, "generation_config.json", eos_token_id=[1, 4], pad_token_id=1),
        lambda folder: (more_rows(folder, 9), settle(folder, vocab_size=64)),
        lambda folder: (
            (folder / "additional_chat_templates").mkdir(),
            (folder / "additional_chat_templates" / "rag.jinja").write_text("x"),
        ),
        lambda folder: settle(folder, tie_word_embeddings=True),  # and a head of its own, which transformers then keeps
        lambda folder: (folder / "pytorch_model.bin").write_bytes(b"never read"),
    ],
    ids=[
        "in two files", "a token that nothing writes", "old buffers", "another format", "code", "bfloat16", "temperature",
        "a file that no list names", "rotation by its old name", "pad is end", "pad among the ends", "rows that pad",
        "more templates",
        "tied by name alone", "a pickle beside",
    ],
)  # fmt: skip
def test_these_are_no_faults(harmless, folder):
    harmless(folder)
    assert_sound(folder)
    assert checked(folder).problems == ()


@pytest.mark.parametrize(
    "settings", [{"return_dict": False}, {"torchscript": True}, {"output_attentions": True, "use_cache": False}]
)
def test_settings_of_how_outputs_are_given_change_nothing(settings, folder, tmp_path):
    request = Request.user_turn("a", 0, "bak dek", Sampling(temperature=1.0, top_p=1.0, max_tokens=9), CHECKPOINT, 1)
    said, trained = [], []
    for work in ("as it came", "settled"):
        engine = HFModel(folder, BackendConfig(device="cpu"))
        engine.prepare([request])
        said += [completion.text for completion in engine.generate([request])]
        made = TRLTrainer().sft([("bak", "dek")] * 4, folder, SFTConfig(epochs=1), 0, tmp_path / work, lambda steps: None)
        trained.append(load_file(made / WEIGHTS))
        settle(folder, **settings)
    assert said[0] == said[1] and all(torch.equal(weight, trained[1][name]) for name, weight in trained[0].items())


def test_an_output_head_that_is_tied_may_be_stored_or_left_out(tmp_path):
    folder = make_model(tmp_path / "tied", "qwen2", tie_word_embeddings=True)
    assert "lm_head.weight" not in load_file(folder / WEIGHTS)
    assert_sound(folder)
    reweigh(folder, lambda w: w.update({"lm_head.weight": w["model.embed_tokens.weight"].clone()}))
    assert_sound(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float16])
def test_weights_that_are_not_finite_are_found_wherever_they_are(value, kind, folder, monkeypatch):
    reweigh(folder, lambda w: w.update({name: each.to(kind) for name, each in w.items()}))
    assert_finite(folder)
    reweigh(folder, spoilt(value))
    monkeypatch.setattr("selfreward.engines.soundness.HELD", 100)
    says = f"model.safetensors holds numbers that are not finite (NaN or infinity) in {UP}"
    assert line(assert_finite, folder).what == says
    (problem,) = checked(folder).problems
    assert problem.what == says and problem.where == str(folder)


def test_what_was_found_of_a_folder_holds_until_a_file_changes(folder, monkeypatch):
    read = []
    monkeypatch.setattr("selfreward.engines.soundness.read_config", lambda path: read.append(path) or 1 / 0)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            assert_sound(folder)
    monkeypatch.undo()
    assert_sound(folder)
    monkeypatch.setattr("selfreward.engines.soundness.read_config", lambda path: read.append(path) or 1 / 0)
    assert_sound(folder)
    assert len(read) == 2
    settle(folder, hidden_act="gelu")
    with pytest.raises(ZeroDivisionError):
        assert_sound(folder)


def test_a_folder_of_the_hubs_cache_links_to_where_its_files_are(made, tmp_path):
    repo = tmp_path / "models--org--tiny"
    folder, blobs = repo / "snapshots" / "0123", repo / "blobs"
    folder.mkdir(parents=True)
    blobs.mkdir()
    for at, file in enumerate(made.iterdir()):
        shutil.copy(file, blobs / str(at))
        (folder / file.name).symlink_to(f"../../blobs/{at}")
    assert_sound(folder)
    secret = shutil.copy(made / WEIGHTS, tmp_path / "secret")
    (folder / WEIGHTS).unlink()
    (folder / WEIGHTS).symlink_to(secret)
    assert "takes weights from outside" in line(assert_sound, folder).what


def test_a_folder_that_is_itself_a_link_is_a_folder(made, tmp_path):
    (tmp_path / "link").symlink_to(made)
    assert_sound(tmp_path / "link")


def test_weights_that_are_listed_deeper_in_a_folder_are_in_its_fingerprint(folder):
    (folder / "deep").mkdir()
    shard(folder, names=("one.safetensors", "deep/two.safetensors"))
    assert_sound(folder)
    before = fingerprint(folder)
    weights = load_file(folder / "deep" / "two.safetensors")
    save_file({name: each + 1 for name, each in weights.items()}, folder / "deep" / "two.safetensors", {"format": "pt"})
    assert fingerprint(folder) != before


def test_the_words_of_these_tests_are_the_models(made):
    assert len(WORDS) + 5 == 55 and AutoTokenizer.from_pretrained(made).pad_token == PAD
