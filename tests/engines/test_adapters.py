"""LoRA and QLoRA: what is saved is the start with the trained adapter added, and nobody's word is taken for it."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from families import make_family
from selfreward.engines.training import adapters, learner, planned, trl
from selfreward.engines.training.rows import dpo_row
from selfreward.engines.training.trl import TRLTrainer
from selfreward.errors import SelfRewardError, Stopped
from selfreward.recipe import DPOConfig, LoRAConfig, SFTConfig, TrainerConfig
from tinymodels import WORDS, make_model, make_tokenizer

EXAMPLES = [(f"bak {WORDS[n]}", " ".join(WORDS[n : n + 1 + n % 4])) for n in range(10)]
PAIRS = [(f"bak {WORDS[n]}", " ".join(WORDS[n : n + 1 + n % 4]), " ".join(WORDS[n + 9 : n + 11 + n % 3])) for n in range(10)]
STEPS = {
    "batch_size": 4,
    "device_batch_size": 4,
    "epochs": 2,
    "checkpoint_every": 2,
    "learning_rate": 1e-2,
    "end_learning_rate": 1e-3,
}
SIXTY_FOUR = {"hidden_size": 64, "intermediate_size": 64, "head_dim": 16}
WIDE = {"llama": SIXTY_FOUR, "gpt2": {"n_embd": 64}}
"""Wide enough for the blocks of 64 weights that share a scale in NF4."""
LORA = LoRAConfig(rank=4, alpha=6)
QLORA = LoRAConfig(rank=4, alpha=6, quantize="4bit")
BOTH = pytest.mark.parametrize("lora", [LORA, QLORA], ids=["lora", "qlora"])


class Killed(BaseException):
    """Where a process would have died."""


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    made = {kind: make_model(tmp_path_factory.mktemp(kind), kind, **wide) for kind, wide in WIDE.items()}
    return {**made, "qwen 2": make_family(tmp_path_factory.mktemp("qwen"), "qwen 2, a base", **SIXTY_FOUR)}


@pytest.fixture(scope="module")
def learned(bases, tmp_path_factory):
    """The model that an undisturbed training makes, each made once."""
    made = {}

    def of(train, lora=LORA, kind="llama"):
        key = train.__name__, lora.quantize, kind
        if key not in made:
            made[key] = train(bases[kind], tmp_path_factory.mktemp("learned"), lora)
        return made[key]

    return of


def sft(start, work, lora=LORA, advance=lambda steps: None, **changes):
    return TRLTrainer(config=TrainerConfig(lora=lora)).sft(EXAMPLES, start, SFTConfig(**STEPS | changes), 3, work, advance)


def dpo(start, work, lora=LORA, advance=lambda steps: None, **changes):
    trainer = TRLTrainer(config=TrainerConfig(lora=lora))
    return trainer.dpo(PAIRS, start, start, DPOConfig(**STEPS | changes), 3, work, advance)


def weights(folder, dtype="auto"):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).state_dict()


def losses(made):
    lines = [json.loads(line) for line in (made / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


def contents(made):
    return {str(file.relative_to(made)): file.read_bytes() for file in made.rglob("*") if file.is_file()}


def by_hand(start, made):
    """Start plus alpha / rank · B A, from the files."""
    result, saved = weights(start), load_file(made / "adapter" / "adapter_model.safetensors")
    found = {key.removeprefix("base_model.model.").removesuffix(".lora_A.weight") for key in saved if "lora_A" in key}
    for name in found:
        down, up = (saved[f"base_model.model.{name}.lora_{half}.weight"] for half in "AB")
        delta = 6 / 4 * (up @ down)
        weight = result[f"{name}.weight"]
        result[f"{name}.weight"] = weight + (delta if "transformer" not in name else delta.T)  # GPT-2 has [in, out]
    return result, found


@BOTH
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_what_is_saved_is_the_unquantised_start_and_the_adapter(kind, lora, bases, learned):
    start, made = bases[kind], learned(sft, lora, kind)
    expected, adapted = by_hand(start, made)
    assert len(adapted) == {"llama": 2 * 7, "gpt2": 2 * 4}[kind]
    saved, before = weights(made), weights(start)
    assert saved.keys() == expected.keys()
    for name, weight in saved.items():
        assert torch.allclose(weight, expected[name], atol=1e-6)
        changed = name.removesuffix(".weight") in adapted and name.endswith(".weight")
        assert torch.equal(weight, before[name]) != changed
    assert {"config.json", "model.safetensors", "tokenizer.json", "adapter/adapter_config.json"} <= contents(made).keys()


def test_others_load_the_adapter_onto_the_start_and_have_the_same_model(bases, learned):
    made, ids = learned(dpo), torch.tensor([[5, 6, 7, 8]])
    theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(bases["llama"]), made / "adapter")
    ours = AutoModelForCausalLM.from_pretrained(made)
    with torch.no_grad():
        assert torch.allclose(theirs(ids).logits, ours(ids).logits, atol=1e-4)


def test_nothing_that_is_saved_knows_where_it_was_made(bases, learned):
    made = learned(sft)
    for name, content in contents(made).items():
        assert not any(str(path).encode() in content for path in (made.parent, bases["llama"])), name
        assert name.endswith((".json", ".jsonl", ".jinja", ".safetensors"))
    settings = json.loads((made / "adapter" / "adapter_config.json").read_text())
    assert settings["target_modules"] == sorted(settings["target_modules"])
    assert json.loads((made / "config.json").read_text()) == json.loads((bases["llama"] / "config.json").read_text())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_weights_are_saved_in_the_precision_they_came_in(dtype, bases, tmp_path):
    start = tmp_path / "start"
    AutoModelForCausalLM.from_pretrained(bases["llama"], dtype=dtype).save_pretrained(start)
    make_tokenizer().save_pretrained(start)
    made = sft(start, tmp_path / "work")
    assert {weight.dtype for weight in weights(made).values()} == {dtype}
    assert {weight.dtype for weight in load_file(made / "adapter" / "adapter_model.safetensors").values()} == {torch.float32}


# ——— the reload is not taken on trust ———


def misnamed(made):
    """Rename the keys of a saved adapter, as a version of peft that saves other names than it loads would."""
    file = made / "adapter" / "adapter_model.safetensors"
    save_file({key.replace("base_model.model.", "base_model."): value for key, value in load_file(file).items()}, file)


def halved(made):
    file = made / "adapter" / "adapter_model.safetensors"
    save_file({key: value / 2 for key, value in load_file(file).items()}, file)


@pytest.mark.parametrize("wrong", [misnamed, halved])
def test_an_adapter_that_does_not_come_back_as_it_was_is_an_error(wrong, bases, tmp_path, monkeypatch):
    save = adapters.save_adapter
    monkeypatch.setattr(adapters, "save_adapter", lambda model, made: save(model, made) or wrong(made))
    with pytest.raises(SelfRewardError, match="read back and merged it gives other weights"):
        sft(bases["llama"], tmp_path / "work")


def test_peft_itself_would_not_have_noticed(bases, learned, tmp_path):
    made = Path(shutil.copytree(learned(sft), tmp_path / "made"))
    misnamed(made)
    start = AutoModelForCausalLM.from_pretrained(bases["llama"])
    with pytest.warns(UserWarning, match="missing adapter keys"):
        merged = PeftModel.from_pretrained(start, made / "adapter").merge_and_unload().state_dict()
    assert all(torch.equal(weight, merged[name]) for name, weight in weights(bases["llama"]).items())


def test_a_merge_that_forgets_the_adapter_is_an_error(bases, tmp_path, monkeypatch):
    monkeypatch.setattr(adapters, "merged", lambda model, start: AutoModelForCausalLM.from_pretrained(start))
    with pytest.raises(SelfRewardError, match="other weights"):
        sft(bases["llama"], tmp_path / "work")


# ——— DPO's reference ———


def log_prob(model, prompt, response):
    ids = torch.tensor([prompt + response])
    with torch.no_grad():
        likely = model(ids).logits[0].log_softmax(-1)
    return sum(likely[at - 1, ids[0, at]].item() for at in range(len(prompt), ids.shape[1]))


def references(monkeypatch, steps):
    """Collects (ids of prompt and chosen response, reference log-prob of it) of every row that is trained on."""
    seen = {}

    class Watched(trl.PlannedDPOTrainer):
        def training_step(self, model, inputs, *given, **named):
            chosen = inputs["input_ids"].chunk(2)[0], inputs["attention_mask"].bool().chunk(2)[0]
            for ids, mask, logp in zip(*chosen, inputs["ref_chosen_logps"], strict=True):
                seen.setdefault(tuple(ids[mask].tolist()), []).append(logp.item())
            steps.append(self.ref_model)
            return super().training_step(model, inputs, *given, **named)

    monkeypatch.setattr(trl, "PlannedDPOTrainer", Watched)
    return seen


@pytest.mark.parametrize("dropout", [0, 0.5])
def test_the_reference_is_the_start_model_without_its_adapter_and_without_dropout(dropout, bases, tmp_path, monkeypatch):
    start, steps = bases["gpt2"], []
    seen = references(monkeypatch, steps)
    dpo(start, tmp_path / "work", LORA.model_copy(update={"dropout": dropout}), dropout=dropout)
    model = AutoModelForCausalLM.from_pretrained(start).eval()
    tokenizer = make_tokenizer()
    rows = [dpo_row(tokenizer, *pair) for pair in PAIRS]
    expected = {(*r["prompt_ids"], *r["chosen_ids"]): log_prob(model, r["prompt_ids"], r["chosen_ids"]) for r in rows}
    assert seen.keys() == expected.keys()
    for ids, found in seen.items():  # in both epochs, the second after the adapter has learned
        assert found == pytest.approx([expected[ids]] * 2, rel=1e-4)
    assert steps == [None] * 6  # no second model is held


def test_quantised_the_reference_is_the_quantised_start(bases, tmp_path, monkeypatch):
    seen = references(monkeypatch, [])
    dpo(bases["llama"], tmp_path / "work", QLORA)
    model = AutoModelForCausalLM.from_pretrained(bases["llama"], **adapters.frozen(QLORA, torch.float32, "cpu"))
    adapters.keep_differentiable(model)
    row = dpo_row(make_tokenizer(), *PAIRS[3])
    expected = log_prob(model, row["prompt_ids"], row["chosen_ids"])
    assert seen[(*row["prompt_ids"], *row["chosen_ids"])] == pytest.approx([expected] * 2, rel=1e-4)


@pytest.mark.parametrize(("kind", "train"), [("llama", sft), ("qwen 2", dpo)])
def test_adapters_on_four_bits_learn_as_on_the_weights_that_those_stand_for(kind, train, bases, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(bases[kind], **adapters.frozen(QLORA, torch.float32, "cpu")).dequantize()
    model.save_pretrained(tmp_path / "plain")
    AutoTokenizer.from_pretrained(bases[kind]).save_pretrained(tmp_path / "plain")
    quantised = losses(train(bases[kind], tmp_path / "4bit", QLORA, dropout=0))
    plain = losses(train(tmp_path / "plain", tmp_path / "work", LORA, dropout=0))
    assert quantised == pytest.approx(plain, rel=0.01)
    assert abs(quantised[-1] - quantised[0]) > 0.1


def test_a_reference_other_than_the_start_is_loaded_on_its_own(bases, tmp_path, monkeypatch):
    other, steps = make_model(tmp_path / "other", seed=9, **WIDE["llama"]), []
    seen = references(monkeypatch, steps)
    trainer = TRLTrainer(config=TrainerConfig(lora=LORA))
    trainer.dpo(PAIRS, bases["llama"], other, DPOConfig(**STEPS), 3, tmp_path / "work", lambda steps: None)
    model, row = AutoModelForCausalLM.from_pretrained(other).eval(), dpo_row(make_tokenizer(), *PAIRS[3])
    expected = log_prob(model, row["prompt_ids"], row["chosen_ids"])
    assert seen[(*row["prompt_ids"], *row["chosen_ids"])] == pytest.approx([expected] * 2, rel=1e-4)
    assert steps == [None] * 6  # by now it is gone


# ——— killed, and gone on with ———


@pytest.mark.parametrize(("train", "lora"), [(sft, QLORA), (dpo, LORA)], ids=["qlora sft", "lora dpo"])
def test_killed_a_training_of_adapters_ends_with_the_same_bytes(train, lora, bases, learned, tmp_path):
    def dying(steps, left=[3]):  # noqa: B006
        left[0] -= steps
        if not left[0]:
            raise Killed

    with pytest.raises(Killed):
        train(bases["llama"], tmp_path / "work", lora, dying)
    assert [path.name for path in (tmp_path / "work").glob("checkpoint-*")] == ["checkpoint-2"]
    assert contents(train(bases["llama"], tmp_path / "work", lora)) == contents(learned(train, lora))


def test_asked_to_end_a_training_of_adapters_loses_no_step(bases, learned, tmp_path):
    told = []

    def stopping(steps, left=[3]):  # noqa: B006
        left[0] -= steps
        if not left[0]:
            raise Stopped("here")

    with pytest.raises(Stopped):
        sft(bases["llama"], tmp_path / "work", advance=stopping)
    assert contents(sft(bases["llama"], tmp_path / "work", advance=told.append)) == contents(learned(sft))
    assert told[0] == 3


def test_on_the_way_merged_models_are_left_that_change_nothing_of_the_training(bases, learned, tmp_path):
    trainer = TRLTrainer(config=TrainerConfig(lora=LORA))
    made = trainer.dpo(PAIRS, bases["llama"], bases["llama"], DPOConfig(**STEPS), 3, tmp_path, lambda steps: None, every=4)
    assert contents(made) == contents(learned(dpo))
    step = tmp_path / "step-4"
    assert [path.name for path in tmp_path.glob("step-*")] == ["step-4"] and contents(step).keys() == contents(made).keys()
    expected, _ = by_hand(bases["llama"], step)
    assert all(torch.allclose(weight, expected[name], atol=1e-6) for name, weight in weights(step).items())
    assert not torch.equal(weights(step)["model.layers.0.mlp.up_proj.weight"], weights(made)["model.layers.0.mlp.up_proj.weight"])


# ——— what the recipe asks and what there is ———


def test_while_training_frozen_weights_are_in_four_bits_and_adapters_in_float32(bases, tmp_path, monkeypatch):
    seen = []

    class Watched(trl.PlannedSFTTrainer):
        def training_step(self, model, *given, **named):
            learning = {p.dtype for p in model.parameters() if p.requires_grad}
            layer = model.get_base_model().model.layers[0].mlp.up_proj
            seen.append((learning, type(layer.base_layer).__name__, layer.base_layer.weight.quant_type))
            return super().training_step(model, *given, **named)

    monkeypatch.setattr(trl, "PlannedSFTTrainer", Watched)
    sft(bases["llama"], tmp_path / "work", QLORA)
    assert seen == [({torch.float32}, "Linear4bit", "nf4")] * 6


@pytest.mark.parametrize("train", [sft, dpo])
def test_adapters_have_a_dropout_of_their_own(train, bases, tmp_path, monkeypatch):
    seen = []

    class Watched(planned.Planned):
        def training_step(self, model, *given, **named):
            seen.append(model.get_base_model().model.layers[0].mlp.up_proj.lora_dropout["default"].p)
            return super().training_step(model, *given, **named)

    for name in ("PlannedSFTTrainer", "PlannedDPOTrainer"):
        monkeypatch.setattr(trl, name, type(name, (Watched, getattr(trl, name)), {}))
    train(bases["llama"], tmp_path / "work", LORA.model_copy(update={"dropout": 0.25}), dropout=0, epochs=1)
    assert set(seen) == {0.25}


def test_four_bits_without_bitsandbytes_say_what_to_install(bases, tmp_path, monkeypatch):
    monkeypatch.setattr(adapters, "find_spec", lambda name: None)
    with pytest.raises(SelfRewardError, match=r"trainer\.lora\.quantize: .*pip install .selfreward-lm\[qlora\]"):
        sft(bases["llama"], tmp_path / "work", QLORA)


@pytest.mark.parametrize("targets", [("no_such_layer",), ("embed_tokens",)], ids=str)
def test_layers_that_take_no_adapter_are_named(targets, bases, tmp_path):
    with pytest.raises(SelfRewardError, match=rf"adapters on .*{targets[0]}.*Change trainer\.lora\.targets"):
        sft(bases["llama"], tmp_path / "work", LORA.model_copy(update={"targets": targets}))


def test_only_the_layers_that_are_named_get_an_adapter(bases, tmp_path):
    made = sft(bases["llama"], tmp_path / "work", LORA.model_copy(update={"targets": ("q_proj", "v_proj")}))
    _, adapted = by_hand(bases["llama"], made)
    assert {name.split(".")[-1] for name in adapted} == {"q_proj", "v_proj"}


def trained(base, work, trainer):
    return TRLTrainer(config=trainer).sft(EXAMPLES, base, SFTConfig(**STEPS), 3, work, lambda steps: None)


def test_computing_activations_twice_changes_nothing(bases, learned, tmp_path):
    made = trained(bases["llama"], tmp_path / "work", TrainerConfig(gradient_checkpointing=True, lora=LORA))
    assert contents(made) == contents(learned(sft))


def test_activations_are_computed_twice_where_the_recipe_says_so(bases):
    for asked, found in ((None, torch.cuda.is_available()), (True, True), (False, False)):
        assert learner.Learner(bases["llama"], 0.1, TrainerConfig(gradient_checkpointing=asked)).recompute is found


def test_bfloat16_computes_in_bfloat16_and_learns_in_float32(bases, tmp_path, monkeypatch):
    seen = []

    class Watched(trl.PlannedSFTTrainer):
        def training_step(self, model, *given, **named):
            layer = model.model.layers[0].mlp.up_proj
            hook = layer.register_forward_hook(lambda module, given, out: seen.append((module.weight.dtype, out.dtype)))
            loss = super().training_step(model, *given, **named)
            hook.remove()
            return loss

    monkeypatch.setattr(trl, "PlannedSFTTrainer", Watched)
    made = trained(bases["llama"], tmp_path / "work", TrainerConfig(dtype="bfloat16"))
    assert set(seen) == {(torch.float32, torch.bfloat16)}
    assert {weight.dtype for weight in weights(made).values()} == {torch.float32}


def test_bfloat16_on_a_gpu_that_has_none_is_an_error_and_auto_does_without(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla T4")
    with pytest.raises(SelfRewardError, match=r"trainer\.dtype: bfloat16 is more than Tesla T4 can do"):
        learner.wants_bfloat16(TrainerConfig(dtype="bfloat16"))
    assert not learner.wants_bfloat16(TrainerConfig())
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    assert learner.wants_bfloat16(TrainerConfig()) and not learner.wants_bfloat16(TrainerConfig(dtype="float32"))


def test_a_model_that_cannot_compute_activations_twice_is_an_error_only_if_asked_to(bases, monkeypatch):
    kind = type(AutoModelForCausalLM.from_pretrained(bases["gpt2"]))
    monkeypatch.setattr(kind, "supports_gradient_checkpointing", False)
    with pytest.raises(SelfRewardError, match="GPT2LMHeadModel does not support gradient checkpointing"):
        learner.Learner(bases["gpt2"], 0.1, TrainerConfig(gradient_checkpointing=True))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    assert not learner._recomputes(TrainerConfig(), AutoModelForCausalLM.from_pretrained(bases["gpt2"]), bases["gpt2"])
