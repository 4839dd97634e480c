"""What `selfreward check` says: counts that a real run keeps to, sizes that are right, and everything that is wrong at once."""

import hashlib
import json
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from safetensors import safe_open
from test_probe import drawing
from test_server import Endpoint, judging, said
from transformers import AutoConfig, AutoModelForCausalLM
from typer.testing import CliRunner

from selfreward.checks import bill, check, memory, show
from selfreward.checks.amounts import Span, weigh
from selfreward.checks.bill import Placement, draw_up, gigabytes
from selfreward.checks.costs import TrainingStage, operations
from selfreward.checks.memory import Precision
from selfreward.checks.planning import plan
from selfreward.checks.reach import look_up, models_of
from selfreward.checks.shapes import Shape, adapter_parameters, shape_of, size_by_name
from selfreward.checks.tables import short
from selfreward.cli import app
from selfreward.engines import Device, find_device, matmul_rate, read_config
from selfreward.engines.fake import FakeModel
from selfreward.errors import SelfRewardError
from selfreward.measure import load_anchors
from selfreward.recipe import BackendConfig, LoRAConfig, TrainerConfig, load_recipe
from selfreward.records import Anchor, Baseline, to_line
from selfreward.reports import describe_status
from selfreward.steps import load_seed
from tinymodels import KINDS, make_model
from tinyrun import go, make_world, quiet, tree, write_by

LLAMA_2_70B = {
    "vocab_size": 32000, "hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80, "num_attention_heads": 64,
    "num_key_value_heads": 8, "max_position_embeddings": 4096,
}  # fmt: skip
PUBLISHED = {
    "Llama 2 70B": ("llama", LLAMA_2_70B, 68_976_648_192),
    "Llama 3 8B": (
        "llama",
        {"vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
         "num_attention_heads": 32, "num_key_value_heads": 8},
        8_030_261_248,
    ),
    "Qwen3 0.6B": (
        "qwen3",
        {"vocab_size": 151936, "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16,
         "num_key_value_heads": 8, "head_dim": 128, "tie_word_embeddings": True},
        596_049_920,
    ),
    "SmolLM2 135M": (
        "llama",
        {"vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
         "num_key_value_heads": 3, "tie_word_embeddings": True},
        134_515_008,
    ),
    "GPT-2": ("gpt2", {}, 124_439_808),
}  # fmt: skip
"""Name → architecture, settings, parameters as their makers count them."""
CPU = Device("cpu", "a processor", 10**12)
PLAIN = Precision(bfloat16=False, checkpointing=False, fused_attention=False)


@pytest.fixture(autouse=True)
def nowhere(monkeypatch, tmp_path):
    """No hub, no cache, and a matrix product that takes no time to measure."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(bill, "matmul_rate", lambda device, bfloat16, rows: 1e9)


# how large a model is


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_are_counted_as_they_stand_in_the_files(kind, tmp_path):
    folder = make_model(tmp_path, kind)
    with safe_open(folder / "model.safetensors", "pt") as weights:
        stored = sum(weights.get_tensor(name).numel() for name in weights.keys())  # noqa: SIM118
    assert shape_of(read_config(folder)).parameters == stored


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_of_known_models_are_the_published_ones(name):
    kind, settings, parameters = PUBLISHED[name]
    assert shape_of(AutoConfig.for_model(kind, **settings)).parameters == parameters


def test_the_shape_of_grouped_attention_by_hand():
    config = AutoConfig.for_model("llama", **LLAMA_2_70B)
    shape = shape_of(config)
    assert (shape.queries, shape.keys, shape.heads, shape.context) == (8192, 1024, 64, 4096)
    assert shape.linear == 80 * (2 * 8192 * 8192 + 2 * 8192 * 1024 + 3 * 8192 * 28672)


def test_the_parameters_of_adapters_by_hand(tmp_path):
    config = read_config(make_model(tmp_path, "llama"))  # hidden 32, keys 16, feed-forward 48, 2 layers
    attention = (32 + 32) + (32 + 16) + (32 + 16) + (32 + 32)
    assert adapter_parameters(config, LoRAConfig(rank=4)) == 2 * 4 * (attention + 3 * (32 + 48))
    assert adapter_parameters(config, LoRAConfig(rank=4, targets=("q_proj", "v_proj"))) == 2 * 4 * (64 + 48)
    with pytest.raises(SelfRewardError, match=r"^trainer\.lora\.targets: the model has no such module"):
        adapter_parameters(config, LoRAConfig(targets=("query",)))


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("meta-llama/Llama-2-70b-chat-hf", 70e9), ("Qwen/Qwen3-0.6B-Base", 0.6e9), ("HuggingFaceTB/SmolLM2-135M", 135e6),
        ("openai-community/gpt2", None), ("org/model-v2", None), ("70b/model", None), ("org/m7beta", None),
    ],
)  # fmt: skip
def test_a_name_tells_a_size_or_nothing(name, size):
    assert size_by_name(name) == size


# memory


def test_on_a_cpu_what_both_responses_of_a_pair_begin_with_is_computed_once(tmp_path):
    recipe = load_recipe(make_world(tmp_path), {"dpo.epochs": 3})
    stage = TrainingStage("M2/model", 10, recipe.dpo, Span(30, 40), 20)
    shape = Shape(parameters=100, linear=60, layers=2, hidden=4, vocabulary=10)
    needed = {cuda: operations(stage, shape, recipe, False, 1000, cuda).at_once for cuda in (True, False)}
    assert needed == {True: 8 * 100 * 3 * 10 * 2 * 30, False: 8 * 100 * 3 * 10 * (20 + 2 * 10)}


def held_by_autograd(config, sequences, tokens):
    """Bytes that a forward pass keeps for the backward one, weights and logits aside."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).train()
    weights = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = tensor
        return tensor

    ids = torch.randint(0, config.vocab_size, (sequences, tokens))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.base_model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("kind", ["llama", "qwen3", "gemma", "mistral", "gpt2"])
def test_activations_are_what_autograd_holds_within_a_third(kind, dropout):
    size = {"vocab_size": 64, "hidden_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4, "attention_dropout": dropout}
    own = {"intermediate_size": 256, "num_key_value_heads": 2, "head_dim": 24}
    gpt2 = {"vocab_size": 64, "n_embd": 96, "n_layer": 4, "n_head": 4, "attn_pdrop": dropout}
    config = AutoConfig.for_model(kind, **(gpt2 if kind == "gpt2" else {**size, **own}))
    held = held_by_autograd(config, 2, 64)
    told = memory.training(shape_of(config), TrainerConfig(), 0, PLAIN, 128, 64, False, dropout)["activations"]
    assert 3 / 4 < told / held < 4 / 3


def test_full_fine_tuning_holds_sixteen_bytes_a_parameter_and_dpo_four_more_for_its_reference():
    shape = Shape(1_000_000)
    sft = memory.training(shape, TrainerConfig(), 0, PLAIN, 100, 100, False, 0.1)
    assert {name: size for name, size in sft.items() if size} == {"weights": 4e6, "gradients": 4e6, "optimizer": 8e6}
    assert memory.training(shape, TrainerConfig(), 0, PLAIN, 100, 100, True, 0.1)["reference"] == 4e6


def test_adapters_are_all_that_learns_and_the_model_without_them_is_the_reference():
    shape, trainer = Shape(1_000_000, linear=900_000), TrainerConfig(lora=LoRAConfig())
    parts = memory.training(shape, trainer, 10_000, PLAIN._replace(bfloat16=True), 0, 0, True, 0.0)
    assert parts["weights"] == 2 * 1_000_000 + 4 * 10_000 and parts["reference"] == 0
    assert (parts["gradients"], parts["optimizer"]) == (40_000, 80_000)
    small = TrainerConfig(lora=LoRAConfig(quantize="4bit"))
    weights = memory.training(shape, small, 10_000, PLAIN._replace(bfloat16=True), 0, 0, True, 0.0)["weights"]
    assert 2 * 100_000 + 0.5 * 900_000 + 40_000 < weights < 2 * 100_000 + 0.55 * 900_000 + 40_000


def test_computing_activations_twice_holds_one_layer_and_a_mark_for_each():
    shape = Shape(0, layers=10, hidden=8, intermediate=16, queries=8)
    layer = 4 * (4 * 16 + 4 * 8 + 5 * 8)
    every = memory.training(shape, TrainerConfig(), 0, PLAIN, 1, 1, False, 0.0)["activations"]
    once = memory.training(shape, TrainerConfig(), 0, PLAIN._replace(checkpointing=True), 1, 1, False, 0.0)["activations"]
    assert (every, once) == (10 * layer, 10 * 4 * 8 + layer)


def test_keys_and_values_are_what_a_cache_holds(tmp_path):
    folder = make_model(tmp_path, "llama")
    model = AutoModelForCausalLM.from_pretrained(folder)
    cache = model(torch.zeros(3, 20, dtype=torch.long), use_cache=True).past_key_values
    held = sum(part.nbytes for layer in cache.layers for part in (layer.keys, layer.values))
    told = memory.sampling(shape_of(model.config), BackendConfig(max_tokens_in_flight=60), False, 20, None)
    assert told["keys and values"] == held and told["weights"] == 4 * model.num_parameters()


# stages


def receipts(run):
    """Stage → receipt of everything that asked or trained."""
    found = {
        f"{path.parent.name}/{path.name.split('.')[0]}": json.loads(path.read_text()) for path in run.glob("*/*.receipt.json")
    }
    return {name: receipt for name, receipt in found.items() if {"completion_tokens", "steps"} & set(receipt)}


def planned(recipe, count, turn):
    """Stage → what is planned of it."""
    seed = load_seed(recipe)
    material = weigh(seed, [], recipe, count, turn, load_anchors(recipe, seed))
    return {stage.stage: stage for stage in plan(recipe, material)}


def words(texts):
    return [len(text.split()) for text in texts]


ANCHORS = [Anchor(prompt=f"which of {n} is a larch", answers=("larch",)) for n in range(3)]
WITHIN = {"prompts__max_tokens": 20, "responses__max_tokens": 9, "judge__max_tokens": 12}
"""What the fake model keeps to."""


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"iterations": 2, "sft__baseline": True},
        {"iterations": 3, "pairs__accumulate": True, "measure__judging": False},
        {"sft__on": "ift", "sft__epochs": 3, "sft__batch_size": 4, "sft__device_batch_size": 1},
        {"sft__on": "none"},
        {"judge__by": "frozen", "judge__samples": 5},
        {"iterations": 3, "dpo__confidence": "consistency", "judge__samples": "adaptive", "judge__min_valid": 1},
        {"iterations": 4, "dpo__confidence": "consistency", "judge__by": "previous"},
        {"judge__samples": "adaptive", "responses__n": 4},
        {"data__eft": None, "data__rankings": "more.jsonl", "sft__baseline": True, "sft__epochs": 2},
        {"data__eft": None, "data__rankings": "more.jsonl", "sft__baseline": True, "sft__on": "ift"},
        {"prompts__from": "own.jsonl", "prompts__per_iteration": 4},
        {"drift": {}, "iterations": 2},
        {"drift": {"sample": 2, "pool": 1, "anchors": "anchors.jsonl", "frozen": "test_check:Echo"}, "responses__n": 3},
    ],
)
def test_a_run_has_the_planned_stages_and_keeps_to_their_counts(changes, tmp_path, monkeypatch):
    quiet(monkeypatch)
    changes = {**WITHIN, **changes}
    path = make_world(tmp_path / "world")
    ranked = [
        {"prompt": f"tell of elms {n}", "responses": ["an elm", "the elms"], "ranks": [n % 2, 1 - n % 2]} for n in range(12)
    ]
    (tmp_path / "world" / "more.jsonl").write_text("".join(json.dumps(ranking) + "\n" for ranking in ranked))
    own = [{"text": f"ask of oaks {n}", "source": "seed"} for n in range(4)]
    (tmp_path / "world" / "own.jsonl").write_text("".join(json.dumps(prompt) + "\n" for prompt in own))
    (tmp_path / "world" / "anchors.jsonl").write_text("".join(to_line(anchor) + "\n" for anchor in ANCHORS))
    go(path, tmp_path / "run", **changes)
    stages = planned(load_recipe(path, {name.replace("__", "."): value for name, value in changes.items()}), words, 0)
    found = receipts(tmp_path / "run")
    assert set(found) == set(stages)
    for name, stage in stages.items():
        if isinstance(stage, TrainingStage):
            assert found[name]["steps"] <= stage.steps
        else:
            assert found[name]["records"] <= stage.requests
            assert found[name]["prompt_tokens"] <= stage.reads.most and found[name]["completion_tokens"] <= stage.writes.most
    exact = [name for name in found if "heldout" in name or "ranking" in name or name.endswith("proposed")]
    exact += [name for name in found if name.split("/")[1].startswith(("drift", "anchor"))]
    if changes.get("sft__on") in ("none", "ift"):  # M1 is the base or the baseline, and the same answers are judged once
        exact = [name for name in exact if not name.endswith("heldout_judgments")]
    assert exact and all(found[name]["records"] == stages[name].requests for name in exact)
    known = {"SFT/model", *(() if "data__rankings" in changes else ("M1/model",))}  # of EFT made from ranks less may be left
    assert all(found[name]["steps"] == stages[name].steps for name in known & set(found))


def test_a_count_too_low_would_be_caught(tmp_path, monkeypatch):
    quiet(monkeypatch)
    path = make_world(tmp_path / "world")
    go(path, tmp_path / "run", **WITHIN)
    few = planned(load_recipe(path, {"prompts.per_iteration": 1, "judge.samples": 1}), words, 0)
    found = receipts(tmp_path / "run")
    assert found["M2/judgments"]["records"] > few["M2/judgments"].requests
    assert found["M2/judgments"]["prompt_tokens"] > few["M2/judgments"].reads.most


def test_pairs_of_all_prompts_make_the_planned_steps_of_dpo(tmp_path, monkeypatch):
    quiet(monkeypatch)
    path, judged = make_world(tmp_path / "world"), iter(range(10**6))

    def write(request):
        if request.messages[-1].content.startswith("Come up with"):
            return " ".join(hashlib.sha256(str(request.seed).encode()).hexdigest()[n : n + 6] for n in range(0, 48, 6)), "stop"
        return f"as it is. Score: {next(judged) % 6}", "stop"

    write_by(monkeypatch, write)
    settings = {"iterations": 2, "dpo__batch_size": 4, "dpo__epochs": 2, "judge__samples": 1, "prompts__unsuited": []}
    go(path, tmp_path / "run", **settings)
    stages = planned(load_recipe(path, {name.replace("__", "."): value for name, value in settings.items()}), words, 0)
    steps = {name: receipt["steps"] for name, receipt in receipts(tmp_path / "run").items() if "steps" in receipt}
    assert steps["M2/model"] == 2 * 2  # 6 pairs, 4 at a time, twice
    assert steps == {name: stage.steps for name, stage in stages.items() if isinstance(stage, TrainingStage)}


# time


def test_time_is_operations_by_speed(tmp_path):
    folder = make_model(tmp_path / "base", "llama")
    path = make_world(tmp_path / "world")
    recipe = load_recipe(path, {"backend.type": "hf", "base": str(folder), "backend.max_tokens_in_flight": 10_000})
    models = [look_up(name, parts, recipe) for name, parts in models_of(recipe).items()]
    material = weigh(load_seed(recipe), [], recipe, words, 0)
    place = Placement(CPU, CPU, PLAIN)
    lines = {line.stage.stage: line for line in draw_up(recipe, models, material, place).lines}
    weights = 15360 + 55 * 32  # two layers and the output head
    sft, dpo, judging = (lines[name].stage for name in ("M1/model", "M2/model", "M2/judgments"))
    assert lines["M1/model"].seconds == pytest.approx((1 + 0.8) * 6 * weights * sft.reads.likely / 1e9)
    prompt = lines["M2/responses"].stage.prompt.likely - material.turn  # which both responses of a pair go on from
    computed = dpo.reads.likely - prompt * dpo.examples * recipe.dpo.epochs
    assert prompt > 0 and lines["M2/model"].seconds == pytest.approx((1 + 0.8) * 8 * weights * computed / 1e9)
    each = judging.prompt.likely - material.rubric
    read_once = material.rubric + each * judging.requests / recipe.judge.samples
    assert lines["M2/judgments"].seconds == pytest.approx((1 + 0.3) * 2 * weights * (read_once + judging.writes.likely) / 1e9)


def test_what_is_done_beside_products_is_no_faster_in_bfloat16_and_is_counted_on_a_cpu_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(bill, "matmul_rate", lambda device, bfloat16, rows: 4e9 if bfloat16 else 1e9)
    folder = make_model(tmp_path / "base", "llama")
    path, fields = make_world(tmp_path / "world"), {"backend.type": "hf", "base": str(folder)}
    recipes = {dtype: load_recipe(path, {**fields, "backend.dtype": dtype}) for dtype in ("float32", "bfloat16")}
    models = [look_up(name, parts, recipes["float32"]) for name, parts in models_of(recipes["float32"]).items()]
    material = weigh(load_seed(recipes["float32"]), [], recipes["float32"], words, 0)

    def seconds(device, dtype):
        place = Placement(device, device, PLAIN._replace(bfloat16=dtype == "bfloat16"))
        lines = {line.stage.stage: line.seconds for line in draw_up(recipes[dtype], models, material, place).lines}
        return lines["M1/model"], lines["M2/judgments"]

    (train, judge), (train_half, judge_half) = seconds(CPU, "float32"), seconds(CPU, "bfloat16")
    assert train_half / train == pytest.approx((1 / 4 + 0.8) / 1.8) and judge_half / judge == pytest.approx((1 / 4 + 0.3) / 1.3)
    gpu = Device("cuda", "a GPU", 10**12)
    assert [half / single for half, single in zip(seconds(gpu, "bfloat16"), seconds(gpu, "float32"), strict=True)] == [0.25] * 2


def test_speed_is_measured_and_few_rows_are_slower_than_many():
    device = find_device("cpu")
    few, many = (matmul_rate(device, False, rows) for rows in (1, 256))
    assert 1e7 < few < many


# models


def of(tmp_path, **changes):
    """A recipe on a real tiny base, and the check of it."""
    base = tmp_path / "base"
    if not base.exists():
        make_model(base, "llama", max_position_embeddings=4096)
    dotted = {"base": str(base), "backend.type": "hf", **{name.replace("__", "."): value for name, value in changes.items()}}
    path = tmp_path / "world" / "recipe.toml"
    return check(load_recipe(path if path.exists() else make_world(tmp_path / "world"), dotted), tmp_path / "run")


def complaints(checked, level="error"):
    return [f"{finding.where}: {finding.what}" for finding in checked.findings if finding.level == level]


def test_a_recipe_that_works_has_no_findings_and_nothing_is_written(tmp_path):
    of(tmp_path)
    before = tree(tmp_path, logs=True)
    checked = of(tmp_path)
    assert checked.works and checked.findings == [] and not checked.assumed
    assert tree(tmp_path, logs=True) == before


def test_everything_that_is_wrong_is_said_at_once(tmp_path, monkeypatch):
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    monkeypatch.setattr("selfreward.reports.trackers.find_spec", lambda name: None)
    servers = {"referee": {"url": "http://127.0.0.1:9/v1", "model": "m", "key_env": "NO_SUCH_KEY"}}
    checked = of(
        tmp_path, data__ift="none.jsonl", judge__rubric="none.txt", measure__truth="nowhere:truth", servers=servers,
        measure__judge="referee", prompts__by="frozen", prompts__frozen="org/Writer-1.5B",
        pairs__policy="selfreward.steps.pairs:none",
        judge__by="tests.nobody:Judge", backend__device="cuda" if not torch.cuda.is_available() else "nowhere",
        report_to=["trackio"],
    )  # fmt: skip
    found = "\n".join(complaints(checked))
    for part in (
        "none.jsonl): cannot be read", "none.txt: cannot be read", "measure.truth (nowhere:truth): cannot be imported",
        "NO_SUCH_KEY is not set",
        "org/Writer-1.5B: is no folder here and cannot be fetched from",
        "pairs.policy (selfreward.steps.pairs:none): cannot be imported",
        "judge.by (tests.nobody:Judge): cannot be imported", "there is no device", "trackio is not installed",
    ):  # fmt: skip
        assert part in found
    assert not checked.works and len(checked.findings) == 9


def test_adapters_that_could_not_be_trained_are_errors(tmp_path, monkeypatch):
    monkeypatch.setattr("selfreward.engines.training.adapters.find_spec", lambda name: None)
    found = of(tmp_path, trainer__lora={"targets": ["query"], "quantize": "4bit"}).findings
    assert [finding.where for finding in found] == ["trainer.lora.quantize", "trainer.lora.targets"]
    assert "selfreward-lm[qlora]" in found[0].now and "the model has no such module" in found[1].what


def test_a_client_that_is_not_installed_is_named_with_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)
    monkeypatch.delitem(sys.modules, "selfreward.engines.sampling.server")
    servers = {"referee": {"url": "http://127.0.0.1:9/v1", "model": "m"}}
    (finding,) = of(tmp_path, servers=servers, measure__judge="referee").findings
    assert finding.what == "needs the openai client" and finding.now == "pip install 'selfreward-lm[server]'"


VALIDATION = {"path": "validation.jsonl"}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"measure__judge": "frozen"}, "measure.judge: 'frozen' is a role in the loop"),
        (
            {"select": {"judge": "test_check:Echo", "prompts": VALIDATION}, "measure__judge": "test_check:Echo"},
            "select.judge (test_check:Echo): also measures the models, and would measure its own choice",
        ),
        (
            {"select": {"judge": "test_check:Echo", "prompts": {"path": "prompts.jsonl"}}},
            "prompts.jsonl: 3 validation prompts are measured on, 'name the birch number 0' first",
        ),
        (
            {"select": {"judge": "test_check:Echo", "prompts": {"path": "none.jsonl"}}},
            "select.prompts (none.jsonl): cannot be read",
        ),
    ],
)
def test_a_judge_or_validation_prompts_that_could_not_be_taken_are_an_error(changes, says, tmp_path):
    of(tmp_path)
    (tmp_path / "world" / "validation.jsonl").write_text(json.dumps({"text": "Say why", "source": "seed"}) + "\n")
    (error,) = complaints(of(tmp_path, **changes))
    assert says in error


class Echo(FakeModel):
    """A judge of one's own."""


def watched(tmp_path, *lines, **drift):
    """The check of a recipe with monitors, and with anchors where there are `lines`."""
    of(tmp_path)
    if lines:
        (tmp_path / "world" / "anchors.jsonl").write_text("".join(f"{line}\n" for line in lines))
        drift["anchors"] = "anchors.jsonl"
    return of(tmp_path, drift=drift)


def test_what_the_monitors_ask_is_in_the_bill_and_summed_up(tmp_path, capsys):
    checked = watched(tmp_path, *map(to_line, ANCHORS), sample=2, pool=1, frozen="test_check:Echo")
    stages = {line.stage.stage: line for line in checked.bill.lines}
    assert checked.works and "frozen judge" in {found.name: found.parts for found in checked.models}["test_check:Echo"]
    m1 = {
        "drift_candidates": 2, "anchor_responses": 2, "drift_cut": 6, "drift_pool": 6, "anchor_judgments": 6,
        "drift_likelihood_own": 2, "drift_frozen": 6,
    }  # fmt: skip
    m2 = {**m1, "anchor_judgments": 12, "drift_likelihood_before": 2, "drift_likelihood_first": 2}
    del m2["drift_candidates"]
    for name, expected in (("M1", m1), ("M2", m2)):
        mine = {stage.split("/")[1]: line.stage for stage, line in stages.items() if stage.startswith(name)}
        assert {at: one.requests for at, one in mine.items() if at.startswith(("drift", "anchor"))} == expected
    show(checked)
    (summed,) = (line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("of these the monitors"))
    assert summed[4] == str(sum(m1.values()) + sum(m2.values()))
    forced, read = stages["M1/drift_likelihood_own"], stages["M2/responses"]
    per_token = forced.seconds / (forced.stage.reads.likely + forced.stage.writes.likely)
    assert forced.stage.forced and not read.stage.forced
    assert per_token == pytest.approx((1 + 0.3) * 2 * (15360 + 55 * 32) / 1e9)  # all of it at once, as a prompt


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (['{"prompt": "which is a larch"}'], "anchors.jsonl:1: Anchor: give answers, or a pattern that a right"),
        ([to_line(ANCHORS[0]), '{"prompt": "what", "pattern": "("}'], "anchors.jsonl:2: pattern: not a regular"),
        ([to_line(ANCHORS[0]), '{"prompt": 3, "answers": ["three"]}'], "anchors.jsonl:2: prompt: Input should be a valid string"),
        ([to_line(ANCHORS[0])] * 2, "anchors.jsonl: has 'which of 0 is a larch' more than once"),
        (
            ['{"prompt": "describe amber NUMBER 2", "answers": ["2"]}'],
            "1 anchor is trained on, 'describe amber NUMBER 2' first",
        ),
        (['{"prompt": "grade number 1", "answers": ["1"]}'], "1 anchor is trained on, 'grade number 1' first"),
        (['{"prompt": "name the birch number 1", "answers": ["1"]}'], "1 anchor is measured on, 'name the birch number 1'"),
        (['{"prompt": "name cedar 1", "answers": ["1"]}'], "1 anchor is measured on, 'name cedar 1' first"),
    ],
)
def test_anchors_that_could_not_be_asked_are_an_error_also_of_a_run(lines, says, tmp_path):
    checked = watched(tmp_path, *lines)
    (error,) = complaints(checked)
    assert says in error and not checked.works
    with pytest.raises(SelfRewardError, match=re.escape(says.split(": ")[-1])):
        go(tmp_path / "world" / "recipe.toml", tmp_path / "run", drift={"anchors": "anchors.jsonl"})


def test_what_else_of_the_monitors_could_not_work_is_said_at_once(tmp_path, monkeypatch):
    limits = {"fluke.rate": {"above": 1}, "policy.kl_first": {"above": 1}}
    checked = watched(tmp_path, '{"prompt": 3}', frozen="current", traits={"own": "nowhere:own"}, limits=limits)
    assert [finding.where.split("/")[-1] for finding in checked.findings] == [
        "drift.traits.own (nowhere:own)", "drift.frozen", 'drift.limits."fluke.rate"', "anchors.jsonl:1",
    ]  # fmt: skip


def test_a_misspelt_figure_of_a_limit_is_told_with_its_name_and_no_run_begins(tmp_path, monkeypatch):
    names = ("policy.kl_firts", "flukes.rat", "traits.S/lenght", "traits.R/own", "flukes.rate", "no.such")
    limits = {name: {"above": 1} for name in names}
    checked = watched(tmp_path, limits=limits, traits={"own": "nowhere:own"})
    assert [(finding.where, finding.now) for finding in checked.findings if "limits" in finding.where] == [
        ('drift.limits."policy.kl_firts"', "Did you mean policy.kl_first?"),
        ('drift.limits."flukes.rat"', "Did you mean flukes.rate?"),
        ('drift.limits."traits.S/lenght"', "Did you mean traits.S/length?"),
        (
            'drift.limits."no.such"',
            "A figure is named as in drift.jsonl; the monitors are flukes, flattery, consistency, people, health, traits, "
            "lexicon, policy",
        ),
    ]
    quiet(monkeypatch)
    with pytest.raises(
        SelfRewardError, match=r'drift\.limits\."policy\.kl_firts": no monitor .* Did you mean policy\.kl_first\?'
    ):
        go(make_world(tmp_path / "own"), tmp_path / "run", drift={"limits": {"policy.kl_firts": {"above": 1}}})
    assert not (tmp_path / "run").exists()


def test_no_run_begins_with_a_limit_that_leaves_no_range_and_one_that_has_begun_is_read(tmp_path, monkeypatch):
    limits = {"flukes.rate": {"below": 1, "above": 0}, "flukes.noise": {}}
    found = {finding.where: finding for finding in watched(tmp_path, limits=limits).findings if "limits" in finding.where}
    assert found['drift.limits."flukes.rate"'].what == "below is 1 and above 0, so that at M1 every value is outside"
    assert found['drift.limits."flukes.noise"'].what == "limits nothing" and "stop_above" in str(found)
    quiet(monkeypatch)
    recipe = make_world(tmp_path / "own")
    with pytest.raises(SelfRewardError, match=r'drift\.limits\."flukes\.rate": below is 1 and above 0'):
        go(recipe, tmp_path / "run", drift={"limits": limits})
    go(recipe, tmp_path / "run", drift={"sample": 2, "pool": 2})
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    config["drift"]["limits"] = limits
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    assert describe_status(tmp_path / "run").startswith(f"{tmp_path / 'run'}: finished")


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        (
            {},
            "no figure has a limit: figures are shown, and neither warn nor end the run. selfreward calibrate makes a baseline: "
            "of this run, once M2 is watched, at no price; or of 38 clean runs of other seeds, at this run's price each",
        ),
        (
            {"policy.kl_first": {"above": 1, "stop_above": 2}, "flukes.rate": {"above": 1}, "people.kendall": {"stop_below": 0}},
            "3 figures have limits, and 2 can end the run",
        ),
    ],
)
def test_whether_anything_can_alarm_is_told_in_a_line(limits, says, tmp_path, capsys):
    show(watched(tmp_path, limits=limits))
    assert f"Monitors {says} " in " ".join(capsys.readouterr().out.split())
    show(of(tmp_path))
    assert "Monitors" not in capsys.readouterr().out


def test_what_a_baseline_promises_depends_on_whose_it_is(tmp_path, capsys):
    file, usual = tmp_path / "baseline.jsonl", {"M3": {"flukes.rate": (0.1, 0.1)}}

    def told(**fields):
        file.write_text(to_line(Baseline(usual=usual, **fields)) + "\n")
        show(watched(tmp_path, baseline=str(file)))
        return " ".join(capsys.readouterr().out.split())

    assert "raise an alarm in at most 5.0% of runs like the baseline's" in told(furthest=(1.0,) * 19)
    assert "passed at most, no promise here" in told(furthest=(1.0,) * 19, own=True)
    assert "raise no alarm, for the baseline cannot be used" in told(furthest=(1.0,) * 9)


def test_an_effect_of_alarms_without_anything_that_can_alarm_is_warned_of(tmp_path):
    for limits in ({}, {"flukes.rate": {"stop_above": 1}}):
        warned = complaints(watched(tmp_path, on_alarm="stop", limits=limits), "warning")
        assert any("drift.on_alarm: is 'stop'" in text for text in warned), limits
    alarming = complaints(watched(tmp_path, on_alarm="stop", limits={"flukes.rate": {"above": 1}}), "warning")
    assert not any("drift.on_alarm" in text for text in alarming)


def test_a_figure_of_a_monitor_that_is_off_is_told_how_it_is_had(tmp_path):
    checked = watched(tmp_path, limits={"progress.frozen": {"below": 0}, "joint.distance": {"above": 3}})
    progress, joint = (finding.now for finding in checked.findings if finding.level == "error")
    assert progress == 'Add "progress" to drift.also' and "drift.baseline names a file" in joint


def test_no_engine_that_a_recipe_can_name_is_said_to_leave_the_monitors_without_likelihoods(tmp_path):
    of(tmp_path)
    for backend in ("hf", "vllm", "fake"):
        assert not [text for text in complaints(of(tmp_path, drift={}, backend__type=backend), "warning") if "likely" in text]


def test_a_selection_compares_every_checkpoint_with_the_one_before_in_both_orders(tmp_path):
    of(tmp_path)
    (tmp_path / "world" / "validation.jsonl").write_text(json.dumps({"text": "Say why", "source": "seed"}) + "\n")
    checked = of(tmp_path, select={"judge": "test_check:Echo", "prompts": VALIDATION, "every": 2}, dpo__batch_size=1)
    stages = {line.stage.stage: line.stage for line in checked.bill.lines}
    assert stages["M2/model"].steps == 6  # so that there are checkpoints at 2, 4 and 6
    assert stages["M2/selection_responses"].requests == 3
    preferences = stages["M2/selection_preferences"]
    assert (preferences.requests, preferences.by) == (4, "test_check:Echo")
    assert checked.bill.disk["candidates"] == 2 * 4 * checked.models[0].shape.parameters


def test_what_cannot_be_reached_is_sized_by_its_name_and_the_seed_assumed(tmp_path):
    checked = of(tmp_path, base="meta-llama/Llama-2-70b-hf", data__ift="none.jsonl")
    assert checked.models[0].shape == Shape(70_000_000_000) and checked.assumed
    sft = next(line.stage for line in checked.bill.lines if line.stage.stage == "M1/model")
    assert sft.examples == 3200 + 1630


def test_bad_rows_are_an_error_that_counts_them_and_the_bill_is_for_the_others(tmp_path, capsys):
    whole = of(tmp_path)
    rows = (tmp_path / "world" / "ift.jsonl").read_text().splitlines()
    bad = ["{'prompt': broken", *rows[:-2], '["no row"]', '{"prompt": 3}']
    (tmp_path / "world" / "spoilt.jsonl").write_text("\n".join(bad))
    checked = of(tmp_path, data__ift="spoilt.jsonl")
    (told,) = [finding for finding in checked.findings if finding.level == "error"]
    assert told.where.endswith("spoilt.jsonl:1") and "3 rows of this source cannot be read, and this is the first" in told.what
    assert "--skip-bad-rows" in told.now and not checked.works and not checked.assumed
    (source,) = [source for source in checked.sources if source.field == "data.ift"]
    assert (source.rows, source.dropped["bad_row"]) == (len(rows) + 1, 3)
    assert checked.seed.ift == whole.seed.ift - 2 and complaints(checked, "warning") == []
    left_out = of(tmp_path, data__ift="spoilt.jsonl", data__skip_bad_rows=True)
    assert left_out.works and left_out.seed == checked.seed
    (tmp_path / "world" / "rankings.jsonl").open("a").write("{}\n{}\n")
    first, second = [finding for finding in of(tmp_path, data__ift="spoilt.jsonl").findings if finding.level == "error"]
    assert first == told and "2 rows cannot be read; rankings.jsonl:" in second.what
    (tmp_path / "world" / "spoilt.jsonl").write_text("broken\n")
    alone = of(tmp_path, data__ift="spoilt.jsonl")
    assert alone.assumed and len(complaints(alone)) == 1  # nothing is left to bill


def test_lengths_of_an_assumed_seed_are_no_warning(tmp_path):
    make_model(tmp_path / "base", "llama", max_position_embeddings=128)
    rubric = tmp_path / "short.txt"
    rubric.write_text("{prompt} {response}")
    checked = of(tmp_path, data__ift="none.jsonl", judge__rubric=str(rubric))
    assert checked.assumed and complaints(checked, "warning") == []


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda base: (base / "model.safetensors").unlink(), "has no .safetensors weights"),
        (lambda base: (base / "model.safetensors").rename(base / "pytorch_model.bin"), "has no .safetensors weights"),
        (
            lambda base: (base / "model.safetensors.index.json").write_text(
                json.dumps({"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}})
            ),
            "lacks 1 of its weight files, model-2.safetensors first",
        ),
        (lambda base: (base / "tokenizer.json").unlink(), "its tokenizer cannot be read"),
        (lambda base: (base / "config.json").unlink(), "its config.json is no model that transformers knows"),
        (
            lambda base: (base / "config.json").write_text(
                json.dumps({"model_type": "homemade", "auto_map": {"AutoConfig": "code.HomemadeConfig"}})
            ),
            "its config.json is no model that transformers knows",
        ),
        (
            lambda base: (base / "config.json").write_text(
                json.dumps({"model_type": "qwen3", "layer_types": ["full_attention"]})
            ),
            "its config.json is no model that transformers knows",
        ),
        (lambda base: (base / "config.json").write_text(json.dumps({"model_type": "t5"})), "is no causal language model"),
    ],
)
def test_a_base_that_could_not_be_loaded_is_an_error(spoil, says, tmp_path):
    of(tmp_path)
    spoil(tmp_path / "base")
    (error,) = complaints(of(tmp_path))
    assert error.startswith(str(tmp_path / "base")) and says in error


def test_prompts_longer_than_the_base_reads_are_an_error_and_long_texts_a_warning(tmp_path):
    make_model(tmp_path / "base", "llama", max_position_embeddings=128)
    (error,) = complaints(of(tmp_path))
    assert "prompts of M0/heldout_judgments have some" in error and "it reads 128" in error
    rubric = tmp_path / "short.txt"
    rubric.write_text("Grade {prompt} {response}")
    checked = of(tmp_path, judge__rubric=str(rubric))
    (warning,) = complaints(checked, "warning")
    assert checked.works and "may come to" in warning and "it reads 128: longer ones fail" in warning


def test_examples_longer_than_the_base_reads_are_an_error_as_they_are_in_training(tmp_path):
    of(tmp_path)
    with (tmp_path / "world" / "eft.jsonl").open("a") as file:
        file.write(json.dumps({"prompt": "word " * 5000, "response": "Score: 3", "kind": "eft", "source": "test"}) + "\n")
    (error,) = complaints(of(tmp_path))
    assert error.startswith("M1/model: examples have up to 5,0") and "training refuses them" in error


# memory and disk


def test_what_surely_does_not_fit_is_an_error_with_the_numbers_and_what_may_not_a_warning(tmp_path, monkeypatch):
    folder = make_model(tmp_path / "base", "llama", max_position_embeddings=4096)
    config = json.loads((folder / "config.json").read_text()) | LLAMA_2_70B | {"vocab_size": 32000, "head_dim": 128}
    (folder / "config.json").write_text(json.dumps(config))  # the weights are never looked into
    monkeypatch.setattr("selfreward.checks.checker.find_device", lambda asked="auto": Device("cuda", "a GPU", 80 * 10**9))
    found = complaints(of(tmp_path))
    parts = "weights 275.9 GB, gradients 275.9 GB, optimizer 551.8 GB"
    assert f"SFT on a GPU: needs 1,103.6 GB before any text is in it ({parts}), and there are 80.0 GB" in found
    assert any(error.startswith("DPO on a GPU: needs 1,379.5 GB") for error in found)
    assert any(error.startswith("sampling …/base on a GPU: needs 138.0 GB") for error in found)
    assert any(error.startswith("disk: needs") for error in found)


def test_a_device_that_is_not_here_is_an_error_and_the_bill_is_for_the_one_that_is(tmp_path):
    checked = of(tmp_path, backend__device="nowhere")
    assert complaints(checked)[0].startswith("backend.device: there is no device 'nowhere' here")
    assert {need.device for need in checked.bill.needs} == {find_device()}


def test_a_batch_too_large_is_a_warning(tmp_path, monkeypatch):
    of(tmp_path)
    monkeypatch.setattr(
        "selfreward.checks.checker.find_device", lambda asked="auto": Device("cpu", "a small machine", 40_000_000)
    )
    checked = of(tmp_path)
    found = {f"{finding.where}: {finding.now}" for finding in checked.findings}
    assert (
        checked.works
        and "DPO on a small machine: Lower dpo.device_batch_size, or set trainer.gradient_checkpointing = true" in found
    )


def test_what_lies_on_the_disk_after_a_training_is_what_was_told(tmp_path):
    from selfreward.engines.training.trl import TRLTrainer

    base = make_model(tmp_path / "base", "llama", hidden_size=128, intermediate_size=512)
    recipe = load_recipe(make_world(tmp_path / "world"), {"base": str(base), "backend.type": "hf"})
    models = [look_up(name, parts, recipe) for name, parts in models_of(recipe).items()]
    told = draw_up(recipe, models, weigh(load_seed(recipe), [], recipe, words, 0), Placement(CPU, CPU, PLAIN)).disk
    made = TRLTrainer(keep_checkpoints=True).sft([("bak", "del")] * 4, base, recipe.sft, 0, tmp_path / "work", lambda steps: None)
    checkpoint = next((tmp_path / "work").glob("checkpoint-*"))
    states = sum(file.stat().st_size for name in ("*.safetensors", "optimizer.pt") for file in checkpoint.glob(name))
    assert (made / "model.safetensors").stat().st_size == pytest.approx(told["models"] / 2, rel=0.05)  # M1 and M2
    assert states == pytest.approx(told["checkpoints"] / 2, rel=0.05)


# servers and the hub


@pytest.fixture
def endpoint():
    found = Endpoint()
    yield found
    found.server.shutdown()
    found.server.server_close()


KEY = "sk-Plant3d-0123456789abcdef"


def judged_by(tmp_path, endpoint):
    servers = {"referee": {"url": endpoint.url, "model": "m", "key_env": "REFEREE_KEY"}}
    return of(tmp_path, servers=servers, measure__judge="referee")


def test_a_server_is_asked_a_few_words_and_whether_it_gives_log_probs(tmp_path, endpoint, monkeypatch):
    monkeypatch.setenv("REFEREE_KEY", KEY)
    endpoint.script(said("fine"))
    checked = judged_by(tmp_path, endpoint)
    assert checked.works and checked.models[1].where == f"server {endpoint.url}, without log-probs"
    probes = [call for call in endpoint.calls if not judging(call)]
    assert len(probes) <= 9 and all(call["max_tokens"] <= 24 for call in probes) and len(endpoint.calls) == len(probes) + 1
    assert "every seed gets one answer" in checked.models[1].says
    endpoint.script(said("fine", logprobs={"content": [{"top_logprobs": [{"token": "fine", "logprob": -0.1}]}]}))
    assert judged_by(tmp_path, endpoint).models[1].where.endswith("with log-probs")
    endpoint.play = lambda number, body, headers: (400, {}, {"error": "no logprobs here"}) if "logprobs" in body else said()
    checked = judged_by(tmp_path, endpoint)
    assert checked.works and checked.models[1].where.endswith("without log-probs")


def test_a_judge_whose_expected_scores_are_wanted_must_give_log_probs(tmp_path, endpoint):
    servers = {"referee": {"url": endpoint.url, "model": "m"}}
    endpoint.play = lambda number, body, headers: drawing(body, ("logprobs",))
    frozen = {"drift": {"frozen": "referee"}, "judge__read": "expected"}
    assert "referee: gives no log-probabilities" in complaints(of(tmp_path, servers=servers, **frozen))[0]
    (error,) = complaints(of(tmp_path, servers=servers, judge__by="referee", judge__read="expected"))
    assert 'referee: gives no log-probabilities, which judge.read = "expected" needs' in error
    assert of(tmp_path, servers=servers, judge__by="referee").works
    assert of(tmp_path, servers=servers, measure__judge="referee", judge__read="expected").works  # no grades
    endpoint.play = lambda number, body, headers: drawing(body)
    assert of(tmp_path, servers=servers, judge__by="referee", judge__read="expected").works


def test_a_judge_that_answers_every_seed_alike_is_an_error_where_several_judgments_are_wanted(tmp_path, endpoint):
    servers = {"referee": {"url": endpoint.url, "model": "m"}}
    endpoint.script(said("fine"))
    (error,) = complaints(of(tmp_path, servers=servers, judge__by="referee"))
    assert "referee: gives every seed the same answer: the 3 judgments of a response are one judgment" in error
    assert of(tmp_path, servers=servers, judge__by="referee", judge__samples=1).works


def test_a_prompt_that_a_server_cannot_read_is_said_by_the_context_that_it_states(tmp_path, endpoint):
    endpoint.listed = {"data": [{"id": "m", "max_model_len": 20}]}
    endpoint.play = lambda number, body, headers: drawing(body)
    servers = {"referee": {"url": endpoint.url, "model": "m"}}
    found = of(tmp_path, servers=servers, judge__by="referee")
    assert found.models[1].context == 20 and "and it reads 20" in complaints(found)[0]


def test_a_server_that_refuses_the_key_is_an_error_without_the_key(tmp_path, endpoint, monkeypatch):
    monkeypatch.setenv("REFEREE_KEY", KEY)
    endpoint.script((401, {}, {"error": f"bad key {KEY}"}))
    checked = judged_by(tmp_path, endpoint)
    (error,) = complaints(checked)
    assert "does not accept the key in REFEREE_KEY" in error and KEY not in str(checked)


def test_a_server_with_a_pace_takes_the_time_that_it_sets(tmp_path, endpoint):
    servers = {"referee": {"url": endpoint.url, "model": "m", "requests_per_minute": 300}}
    checked = of(tmp_path, servers=servers, measure__judge="referee", sft__baseline=True)
    times = {line.stage.stage: line.seconds for line in checked.bill.lines}
    assert times["M1/heldout_preferences"] == 2 * 3 / 300 * 60  # three prompts against one rival, in both orders


def test_a_server_that_is_down_is_an_error_at_once(tmp_path, endpoint, monkeypatch):
    monkeypatch.setenv("REFEREE_KEY", KEY)
    endpoint.script((503, {}, {"error": "starting"}))
    (error,) = complaints(judged_by(tmp_path, endpoint))
    assert "no completion in 1 try" in error and len(endpoint.calls) == 1


class Hub:
    """A hub that has the models in `folder` as organisation/name, and remembers what was asked of it."""

    def __init__(self, folder):
        self.folder, self.asked, hub = folder, [], self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self, body=True):
                path = self.path.split("?")[0]
                if body:
                    hub.asked.append(path)
                status, headers, content = hub.answer(path)
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content if body else b"")

            def do_HEAD(self):
                self.do_GET(body=False)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, path):
        """(status, headers, body)"""
        if found := re.match(r"/api/models/(\w+/[\w-]+)", path):
            if found[1] == "org/gated":
                return 403, {"X-Error-Code": "GatedRepo"}, b""
            folder = self.folder / found[1]
            if not folder.is_dir():
                return 404, {"X-Error-Code": "RepoNotFound"}, b""
            files = [{"rfilename": file.name, "size": file.stat().st_size} for file in folder.iterdir()]
            if "/tree/" in path:
                listed = [{"type": "file", "path": file["rfilename"], "size": file["size"], "oid": "0" * 40} for file in files]
                return 200, {"Content-Type": "application/json"}, json.dumps(listed).encode()
            about = {"id": found[1], "sha": "0" * 40, "siblings": files, "tags": [], "private": False, "downloads": 0}
            return 200, {"Content-Type": "application/json"}, json.dumps(about).encode()
        if found := re.match(r"/(\w+/[\w-]+)/resolve/\w+/(.+)", path):
            content = (self.folder / found[1] / found[2]).read_bytes()
            return 200, {"X-Repo-Commit": "0" * 40, "ETag": hashlib.sha256(content).hexdigest()}, content
        return 404, {}, b""


@pytest.fixture
def hub(tmp_path, monkeypatch):
    found = Hub(tmp_path / "hub")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", found.url)
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", found.url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    yield found
    found.server.shutdown()
    found.server.server_close()


def test_a_model_of_the_hub_is_known_without_its_weights(hub, tmp_path):
    folder = make_model(tmp_path / "hub" / "org" / "tiny", "qwen3", max_position_embeddings=4096)
    checked = of(tmp_path, base="org/tiny")
    base = checked.models[0]
    assert checked.works and base.where == "on the hub" and base.talk is not None
    assert base.shape == shape_of(read_config(folder)) and base.download == (folder / "model.safetensors").stat().st_size
    assert any(path.endswith("config.json") for path in hub.asked)
    assert not any("safetensors" in path for path in hub.asked)
    assert not (tmp_path / "cache").exists()


def test_a_model_of_the_hub_without_safetensors_is_an_error(hub, tmp_path):
    folder = make_model(tmp_path / "hub" / "org" / "tiny", "llama", max_position_embeddings=4096)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert complaints(of(tmp_path, base="org/tiny")) == ["org/tiny: has no .safetensors weights"]


def test_a_model_in_the_cache_is_found_there_with_no_hub_and_half_a_model_is_not(hub, tmp_path, monkeypatch):
    from huggingface_hub import snapshot_download

    make_model(tmp_path / "hub" / "org" / "tiny", "llama", max_position_embeddings=4096)
    half = snapshot_download("org/tiny", cache_dir=tmp_path / "cache", ignore_patterns="*.safetensors")
    assert of(tmp_path, base="org/tiny").models[0].where == "on the hub"
    assert snapshot_download("org/tiny", cache_dir=tmp_path / "cache") == half
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    checked = of(tmp_path, base="org/tiny")
    assert checked.works and checked.models[0].where == "in the hub's cache" and checked.models[0].download == 0


@pytest.mark.parametrize(
    ("name", "says"),
    [("org/gated", "is open only to users who accepted its licence"), ("org/none", "is no folder here and no model on the hub")],
)
def test_a_model_that_the_hub_does_not_give_is_an_error_that_says_why(name, says, hub, tmp_path):
    assert complaints(of(tmp_path, base=name)) == [f"{name}: {says}"]


# the command


def test_the_command_prints_plain_tables_and_exits_0(tmp_path, monkeypatch):
    of(tmp_path)
    monkeypatch.chdir(tmp_path)
    recipe, base = tmp_path / "world" / "recipe.toml", tmp_path / "base"
    result = CliRunner().invoke(app, ["check", str(recipe), "--set", "backend.type=hf", "--set", f"base={base}"])
    assert result.exit_code == 0, result.output
    rows = {line.split()[0]: line.split() for line in result.output.splitlines() if line.strip()}
    assert rows["M2/judgments"][1:3] == ["…/base", "36"]  # 6 prompts, 2 answers, 3 judgments
    assert rows["M1/model"][-3] == "3" and rows["…/base"][1:4] == ["M0", "folder", f"{shape_of(read_config(base)).parameters:,}"]
    assert "6 IFT examples, 3 EFT examples; held out 3 prompts and 4 ranked responses" in result.output
    assert "\x1b" not in result.output and not (tmp_path / "runs").exists()
    assert result.output.rstrip().endswith("Nothing found that would keep it from running.")


def test_the_command_exits_1_and_names_every_error(tmp_path):
    recipe = make_world(tmp_path)
    changes = ["--set", "data.ift=none.jsonl", "--set", "measure.truth=nowhere:truth"]
    result = CliRunner().invoke(app, ["check", str(recipe), *changes])
    assert result.exit_code == 1
    errors = [line for line in result.output.splitlines() if line.startswith("error: ")]
    assert len(errors) == 2 and all(
        part in "".join(errors) for part in ("none.jsonl): cannot be read", "nowhere:truth): cannot be")
    )
    assert "This recipe cannot run as it is: 2 errors, above." in result.output


def test_markup_in_a_name_is_only_text(tmp_path):
    result = CliRunner().invoke(app, ["check", str(make_world(tmp_path)), "--set", "data.ift=[bold]no[/bold].jsonl"])
    assert "error: data.ift ([bold]no[/bold].jsonl): cannot be read" in result.output


def test_numbers_as_they_are_shown():
    assert [short(number) for number in (7, 999.6, 12_340, 1.5e6, 68.98e9)] == ["7", "1000", "12.3 k", "1.5 M", "69 B"]
    assert [gigabytes(size) for size in (1.6e7, 1.2e9)] == ["16.0 MB", "1.2 GB"]


# bfloat16 on a processor


@pytest.mark.parametrize(
    ("rates", "changes", "says"),
    [
        ((2e3, 10e3), {}, "five times as fast"),
        ((2e3, 2.8e3), {}, None),  # less than one and a half times as fast
        ((2e9, 10e9), {}, None),  # seconds in all
        ((2e3, 10e3), {"backend__dtype": "bfloat16"}, None),
    ],
)
def test_a_processor_that_is_much_faster_in_bfloat16_is_told(rates, changes, says, tmp_path, monkeypatch):
    monkeypatch.setattr(bill, "matmul_rate", lambda device, bfloat16, rows: rates[bfloat16])
    checked = of(tmp_path, **changes)
    found = [text for text in complaints(checked, "warning") if text.startswith("backend.dtype")]
    if says is None:
        assert found == []
        return
    asked = [line.seconds for line in checked.bill.lines if not isinstance(line.stage, TrainingStage)]
    half = sum(asked) * (1 / 5 + 0.3) / (1 + 0.3)  # what is done beside products takes 0.3 of them in float32, in either
    assert checked.bill.halved == pytest.approx((sum(asked), half))
    now, then = (f"{seconds / 60:,.0f}" for seconds in (sum(asked), half))
    assert found == [f"backend.dtype: sampling in float32 may take {now} minutes, and {then} in bfloat16 on this processor"]
