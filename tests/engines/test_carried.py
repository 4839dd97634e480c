"""Files of a model that no training changes come out of it as they went in, and a training that runs away makes no model."""

import json
import shutil

import pytest
from tokenizers import AddedToken, normalizers
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from selfreward.checks.shapes import adapter_parameters
from selfreward.engines import assert_finite, read_config
from selfreward.engines.training.planned import PlannedDPOTrainer, PlannedSFTTrainer
from selfreward.engines.training.trl import TRLTrainer
from selfreward.errors import SelfRewardError
from selfreward.recipe import DPOConfig, LoRAConfig, SFTConfig, TrainerConfig
from tinymodels import WORDS, make_model

EXAMPLES = [(f"bak {WORDS[n]}", WORDS[n + 1]) for n in range(8)]
PAIRS = [(f"bak {WORDS[n]}", WORDS[n + 1], WORDS[n + 2]) for n in range(8)]
STEPS = {
    "batch_size": 4,
    "device_batch_size": 4,
    "epochs": 2,
    "checkpoint_every": 1,
    "learning_rate": 1e-3,
    "end_learning_rate": 1e-4,
}


@pytest.fixture
def folder(tmp_path):
    return make_model(tmp_path / "base")


def sft(start, work, lora=None, advance=lambda steps: None, **changes):
    return TRLTrainer(config=TrainerConfig(lora=lora)).sft(EXAMPLES, start, SFTConfig(**STEPS | changes), 3, work, advance)


def dpo(start, work, lora=None, every=None, **changes):
    trainer = TRLTrainer(config=TrainerConfig(lora=lora))
    return trainer.dpo(PAIRS, start, start, DPOConfig(**STEPS | changes), 3, work, lambda steps: None, every)


@pytest.mark.parametrize("lora", [None, LoRAConfig(rank=2)], ids=["all weights", "lora"])
@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 0.7, "do_sample": False, "eos_token_id": 4},
        {"top_p": 3, "eos_token_id": [4, 7], "homemade": [1]},
    ],
    ids=["temperature", "top_p"],
)
def test_generation_settings_that_transformers_would_not_save_come_back_to_the_byte(settings, lora, folder, tmp_path):
    text = json.dumps(settings, indent=4) + "\n\n"
    (folder / "generation_config.json").write_text(text)
    with pytest.raises(ValueError):  # by itself
        model = AutoModelForCausalLM.from_pretrained(folder)
        model.generation_config.pad_token_id = 1
        model.save_pretrained(tmp_path / "itself")
    made = sft(folder, tmp_path / "work", lora, epochs=1)
    assert (made / "generation_config.json").read_text() == text
    again = dpo(made, tmp_path / "dpo", lora, epochs=1)
    assert (again / "generation_config.json").read_text() == text


def test_a_stop_that_is_missing_is_added_and_nothing_else_changed(folder, tmp_path):
    settings = {"temperature": 0.7, "do_sample": False, "eos_token_id": 9}
    (folder / "generation_config.json").write_text(json.dumps(settings))
    made = sft(folder, tmp_path / "work")
    assert json.loads((made / "generation_config.json").read_text()) == {**settings, "eos_token_id": [9, 4]}


def test_a_model_without_generation_settings_gets_those_that_transformers_makes_up(folder, tmp_path):
    (folder / "generation_config.json").unlink()
    made = sft(folder, tmp_path / "work")
    assert GenerationConfig.from_pretrained(made).eos_token_id == 4


@pytest.mark.parametrize("several", [False, True], ids=["a template in tokenizer_config.json", "several templates"])
def test_tokenizer_files_come_back_to_the_byte(several, folder, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": [AddedToken("<|tool|>", special=True)]})
    tokenizer.save_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.resize_token_embeddings(len(tokenizer))
    model.save_pretrained(folder)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    template = (folder / "chat_template.jinja").read_text()
    (folder / "special_tokens_map.json").write_text('{"eos_token": "<|end|>",   "pad_token": "<pad>"}')
    (folder / "added_tokens.json").write_text('{"<|tool|>":  55}')
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=7))
    if several:
        (folder / "additional_chat_templates").mkdir()
        (folder / "additional_chat_templates" / "tool_use.jinja").write_text(template)
    else:
        (folder / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": template}, indent=7))
        (folder / "chat_template.jinja").unlink()
    made = dpo(sft(folder, tmp_path / "sft"), tmp_path / "dpo")
    names = ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"]
    more = ["chat_template.jinja", "additional_chat_templates/tool_use.jinja"]
    for name in [*names, *(more if several else [])]:
        assert (made / name).read_bytes() == (folder / name).read_bytes(), name
    assert (made / "chat_template.jinja").exists() == several
    first, last = (AutoTokenizer.from_pretrained(path) for path in (folder, made))
    assert first.chat_template == last.chat_template and first.backend_tokenizer.to_str() == last.backend_tokenizer.to_str()


def test_a_tokenizer_that_was_mended_as_it_was_loaded_is_saved_as_it_was_used(folder, tmp_path, monkeypatch):
    """transformers mends Mistral's by the version in config.json, which is another one once a model is saved."""
    from selfreward.engines import tokens

    def mended(path, **given):
        tokenizer = AutoTokenizer.from_pretrained(path, **given)
        if path == folder:
            tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
        return tokenizer

    monkeypatch.setattr(tokens, "AutoTokenizer", type("Auto", (), {"from_pretrained": staticmethod(mended)}))
    made = sft(folder, tmp_path / "work")
    assert AutoTokenizer.from_pretrained(made)("BAK")["input_ids"] == AutoTokenizer.from_pretrained(folder)("bak")["input_ids"]


# ——— a training that runs away ———


def runs_away(monkeypatch, kind, at, value=float("nan"), gradient=False):
    """Let the loss of a trainer, or a gradient alone, be `value` from step `at` on."""
    real = kind.compute_loss

    def compute(self, model, inputs, *given, **named):
        loss = real(self, model, inputs, *given, **named)
        if self.state.global_step + 1 < at:
            return loss
        if gradient:
            weight = next(parameter for parameter in model.parameters() if parameter.requires_grad)
            weight.register_hook(lambda grad: grad * value)
            return loss
        return loss * value

    monkeypatch.setattr(kind, "compute_loss", compute)


@pytest.mark.parametrize("lora", [None, LoRAConfig(rank=2)], ids=["all weights", "lora"])
@pytest.mark.parametrize(("train", "kind"), [(sft, PlannedSFTTrainer), (dpo, PlannedDPOTrainer)], ids=["sft", "dpo"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_ends_the_training_at_its_step(value, train, kind, lora, folder, tmp_path, monkeypatch):
    work = tmp_path / "work"
    runs_away(monkeypatch, kind, 3, value)
    with pytest.raises(SelfRewardError, match=r"^training: the loss is (nan|inf) at step 3 of 4, so no model was made\. Lower"):
        train(folder, work, lora)
    assert not (work / "made").exists()
    assert sorted(path.name for path in work.glob("checkpoint-*")) == ["checkpoint-2"]


def test_a_gradient_that_is_not_finite_ends_it_too(folder, tmp_path, monkeypatch):
    runs_away(monkeypatch, PlannedSFTTrainer, 2, gradient=True)
    with pytest.raises(SelfRewardError, match="the gradient norm is nan at step 2 of 4"):
        sft(folder, tmp_path / "work")


def test_no_model_on_the_way_is_written_of_a_step_that_ran_away(folder, tmp_path, monkeypatch):
    runs_away(monkeypatch, PlannedDPOTrainer, 2)
    with pytest.raises(SelfRewardError, match="at step 2 of 4"):
        dpo(folder, tmp_path / "work", every=1)
    assert [path.name for path in (tmp_path / "work").glob("step-*")] == ["step-1"]
    assert_finite(tmp_path / "work" / "step-1")


def test_weights_that_ran_away_in_the_last_step_become_no_model(folder, tmp_path):
    def spoil(steps):
        if steps:
            spoil.done += steps
            if spoil.done == 4:
                spoil.weights.data[0] = float("nan")

    spoil.done = 0
    real = TRLTrainer.sft
    from selfreward.engines.training import trl

    made = trl.Learner.__init__

    def init(self, *given):
        made(self, *given)
        spoil.weights = next(self.model.parameters())

    trl.Learner.__init__ = init
    try:
        with pytest.raises(SelfRewardError, match="holds numbers that are not finite"):
            real(TRLTrainer(), EXAMPLES, folder, SFTConfig(**STEPS), 3, tmp_path / "work", spoil)
    finally:
        trl.Learner.__init__ = made
    assert not (tmp_path / "work" / "made").exists()


# ——— adapters on weights that are tied ———


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("targets", [("q_proj", "lm_head"), ".*(lm_head|v_proj)"])
@pytest.mark.parametrize("train", [sft, dpo])
def test_an_adapter_on_the_output_head_is_refused_by_trainer_and_check(train, targets, tied, tmp_path):
    folder = make_model(tmp_path / "model", "qwen2", tie_word_embeddings=tied)
    lora = LoRAConfig(rank=2, targets=targets)
    for call in (lambda: train(folder, tmp_path / "work", lora), lambda: adapter_parameters(read_config(folder), lora)):
        with pytest.raises(SelfRewardError, match=r"^trainer\.lora\.targets: puts an adapter on lm_head, the weights of the"):
            call()


def test_an_adapter_on_word_embeddings_that_are_tied_is_refused_too(tmp_path):
    folder = make_model(tmp_path / "model", "qwen2", tie_word_embeddings=True)
    with pytest.raises(SelfRewardError, match="embed_tokens, the weights of the output head, tied to the word embeddings"):
        adapter_parameters(read_config(folder), LoRAConfig(rank=2, targets=("embed_tokens",)))


def test_all_linear_leaves_a_tied_head_alone(tmp_path):
    folder = make_model(tmp_path / "tied", "qwen2", tie_word_embeddings=True)
    made = sft(folder, tmp_path / "work", LoRAConfig(rank=2, targets="all-linear"))
    shutil.rmtree(tmp_path / "work" / "made" / "adapter")
    assert_finite(made)
