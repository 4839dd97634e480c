"""Every causal architecture of transformers: sampled from as `generate()` does, trained, and foreseen by `check`."""

import json
import math
import re
from pathlib import Path

import pytest
import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from architectures import CPU, KINDS, NOT_CAUSAL, OUT, SHARED, SIZE, TOGETHER, ask, make, row, settings, table, texts, verdict
from selfreward.checks.look import Looker, NamedModel
from selfreward.checks.reach import unshared
from selfreward.checks.shapes import shape_of
from selfreward.engines import load_tokenizer, read_config
from selfreward.engines.fake import FakeTrainer
from selfreward.engines.sampling import plain, states, suited
from selfreward.engines.sampling.hf import HFModel
from selfreward.engines.sampling.plain import WAYS, Way
from selfreward.engines.sampling.sizes import sees_ahead
from selfreward.engines.training.learner import with_dropout
from selfreward.engines.training.rows import dpo_row, sft_row
from selfreward.engines.training.trl import TRLTrainer
from selfreward.errors import SelfRewardError
from selfreward.recipe import BackendConfig, DPOConfig, SFTConfig
from selfreward.records import Checkpoint
from selfreward.rundir import Progress, RunDir, Runner

TABLE = Path(__file__).parents[2] / "docs" / "architectures.md"
CACHES = {
    "mamba": "states of the first kind of Mamba",
    "mamba2": "states of the second",
    "qwen3_5_text": "layers of linear attention among others",
    "falcon_h1": "both in every layer",
    "lfm2": "short convolutions",
    "recurrent_gemma": "states inside the model",
    "minimax": "a cache class of its own",
    "rwkv": "a list of tensors",
    "xlstm": "states without a cache class",
}
"""One architecture of each kind of cache."""
WAYS_TO_READ = ["llama", "bert", "bart", "zamba2", "xlnet"]
"""One of each way to read that is not among those: a tree, of two makes, like lengths, anew; and one that is refused."""
ONE_STEP = {"batch_size": 2, "device_batch_size": 2, "epochs": 1, "dropout": 0}
EXAMPLES = [("Name a bird.", "The wren."), ("x", "I think, a heron and more.")]
PAIRS = [("Name a bird.", "The wren.", "What? No."), ("x", "I think, a heron.", "y")]


def here_or_in_the_sweep(*here):
    """All architectures; those that are not `here` are gone over by `pytest -m architectures` alone."""
    return [pytest.param(kind, marks=() if kind in here else pytest.mark.architectures) for kind in KINDS]


# ——— all of them ———


@pytest.mark.parametrize("kind", here_or_in_the_sweep(*CACHES, *WAYS_TO_READ))
def test_an_architecture_answers_as_generate_does_or_is_left_out_with_a_reason_as_the_docs_say(kind):
    assert row(verdict(kind)) in TABLE.read_text(encoding="utf-8").splitlines()


@pytest.mark.architectures
def test_the_table_in_the_docs_is_what_was_found():
    """Written by the `table()` of tests/support/architectures.py into docs/architectures.md."""
    assert TABLE.read_text(encoding="utf-8") == table()


def test_the_docs_have_a_line_for_every_architecture_and_count_them():
    page = TABLE.read_text(encoding="utf-8")
    lines = [line for line in re.findall(r"^\| `(.+?)` \| (.+) \|$", page, re.MULTILINE) if line[0] != "model_type"]
    assert sorted(kind for kind, _ in lines) == KINDS
    assert {kind: said for kind, said in lines if said.count("|") == 0} == OUT
    works = len(lines) - len(OUT)
    assert f"Of the {len(KINDS)} causal architectures" in page and f"{works} are sampled from here" in page
    assert f"a tree** ({page.count(TOGETHER[None])} architectures)" in page
    assert f"from a copy ({page.count(f'| {SHARED[True]} |')}, with the trees" in page


# ——— one of each kind ———


@pytest.fixture(scope="module", params=CACHES)
def model(request, tmp_path_factory):
    """A folder, and the model in it."""
    folder = tmp_path_factory.mktemp(request.param)
    return folder, make(request.param, folder)


def log_prob(whole, ids, after):
    """Log-probability of the ids `after` others, by a plain forward pass over this text alone."""
    with torch.no_grad():
        logits = whole(input_ids=torch.tensor([ids + after]), use_cache=False).logits[0, len(ids) - 1 : -1].double()
    return float(torch.log_softmax(logits, dim=-1)[range(len(after)), after].sum())


def first_step(folder):
    return json.loads((folder / "metrics.jsonl").read_text().splitlines()[1])


@pytest.mark.parametrize("kind", [param for param in here_or_in_the_sweep("qwen3_5_text") if param.values[0] in CACHES])
def test_it_is_trained_on_padded_batches_as_on_each_text_alone_and_told_the_likelihood_of_a_text(kind, tmp_path):
    folder = tmp_path / "begin"
    whole = make(kind, folder)
    tokenizer = load_tokenizer(folder)
    rows = [sft_row(tokenizer, *example) for example in EXAMPLES]
    split = [sum(label == -100 for label in row["labels"]) for row in rows]
    losses = [-log_prob(whole, row["input_ids"][:at], row["input_ids"][at:]) for row, at in zip(rows, split, strict=True)]
    tokens = sum(len(row["input_ids"]) - at for row, at in zip(rows, split, strict=True))
    sft = TRLTrainer().sft(EXAMPLES, folder, SFTConfig(**ONE_STEP), 0, tmp_path / "sft", lambda _: None)
    assert first_step(sft)["loss"] == pytest.approx(sum(losses) / tokens, rel=1e-4)

    dpo = TRLTrainer().dpo(PAIRS, sft, sft, DPOConfig(**ONE_STEP), 0, tmp_path / "dpo", lambda _: None)
    trained = AutoModelForCausalLM.from_pretrained(sft).eval()
    chosen = [dpo_row(tokenizer, *pair) for pair in PAIRS]
    expected = [log_prob(trained, row["prompt_ids"], row["chosen_ids"]) for row in chosen]
    assert first_step(dpo)["loss"] == pytest.approx(math.log(2), abs=1e-4)  # the policy is its reference still
    assert first_step(dpo)["logps/chosen"] == pytest.approx(sum(expected) / 2, rel=1e-4)

    engine, last = HFModel(dpo, CPU), AutoModelForCausalLM.from_pretrained(dpo).eval()
    forced = [ask(prompt).model_copy(update={"forced": answer}) for prompt, answer, _ in PAIRS]
    engine.prepare(forced)
    told = {answer.request_id: answer.logprob for answer in engine.generate(forced)}
    found = [log_prob(last, row["prompt_ids"], row["chosen_ids"]) for row in chosen]
    assert [told[request.id] for request in forced] == pytest.approx(found, abs=2e-3)


def test_its_size_is_known_without_its_weights(model):
    folder, whole = model
    shape = shape_of(read_config(folder))
    assert shape.own_kind and shape.parameters == sum(weight.numel() for weight in whole.parameters())
    held = sum(tensor.numel() for tensor in plain.shortest(whole, Way(False, "none")))
    assert shape.state == held > 0


def test_an_answer_goes_on_from_a_copy_and_leaves_what_all_begin_with_as_it_was(model):
    engine = HFModel(model[0], CPU)
    requests = [ask(prompt) for prompt in ("Name a bird.", "x", "Name a bird and a song.")]
    first = texts(engine, requests)
    engine.prepare(requests)
    assert bool(engine._reader.trunk) == engine.way.shares
    again = [next(iter(engine.generate([request]))).text for request in (*requests, *requests[::-1])]
    assert again == [*first, *first[::-1]]


def test_as_many_rows_go_together_as_their_states_leave_room_for(model, monkeypatch):
    folder, whole = model
    one = sum(tensor.nbytes for tensor in plain.shortest(whole, Way(False, "none")))
    monkeypatch.setattr("selfreward.engines.sampling.hf._room", lambda model: 2 * 3 * one + 1)  # half of it for what is read
    engine = HFModel(folder, CPU)
    engine.budget = 1 << 20
    assert max(map(len, engine.batches([ask("x", index) for index in range(7)]))) == 3


# ——— how a way is found ———


def test_a_way_that_would_say_something_else_is_not_taken(tmp_path, monkeypatch):
    """Each part of the copying broken in turn: what hangs on it is not used."""
    model = make("qwen3_5_text", tmp_path)
    assert suited.way_of(model) == Way(True, "all")
    selected, joined = states.States.selected, plain.joined

    def forgetful(self, rows):
        taken = selected(self, rows)
        for layer in getattr(taken.cache, "layers", ()):
            for state in getattr(layer, "recurrent_states", {}).values():
                if state is not None:
                    state.zero_()
        return taken

    monkeypatch.setattr(states.States, "selected", forgetful)
    assert suited.way_of(model) == Way(False, "anew")
    monkeypatch.setattr(states.States, "selected", selected)
    monkeypatch.setattr(plain, "joined", lambda parts: joined(parts[::-1]))
    assert suited.way_of(model) == Way(True, "alike")
    monkeypatch.setattr(plain, "joined", joined)
    monkeypatch.setattr(states, "UNDERSTOOD", {"DynamicLayer"})
    assert suited.way_of(model) == Way(False, "alike")


def test_a_memory_that_is_lost_is_noticed_however_coarse_the_arithmetic(tmp_path, monkeypatch):
    model = make("mamba", tmp_path)  # when it goes on with more than one token, its states are lost
    monkeypatch.setitem(suited.TOLERANCE, torch.float32, 1e6)
    assert not suited.way_of(model).shares


def test_a_line_says_what_is_held_or_read_more_often_than_it_need_be():
    begin = f"its layers are of their own kind: {plain.HOLDS}"
    alike = "samples grow together only where their prompts are of one length"
    assert Way(True, "all").unshared() == begin
    assert Way(False, "alike").unshared() == f"{begin}, {alike}, the prompts' common beginning is read again for every prompt"
    assert "copy" not in Way(False, "anew").unshared()
    assert len({way.unshared() for way in WAYS}) == len(WAYS)


def test_a_run_says_what_is_not_shared_as_it_loads_a_model_and_nothing_of_one_that_shares(tmp_path):
    said = []
    for kind in ("mamba2", "llama"):
        make(kind, tmp_path / kind)
        progress = Progress(tmp_path)
        progress.say = said.append
        Runner(RunDir(tmp_path, {}), lambda model: HFModel(model.path, CPU), FakeTrainer, progress).load(
            Checkpoint(name="M1", path=tmp_path / kind, fingerprint=kind)
        )
    assert said == [f"M1: its layers are of their own kind: {plain.HOLDS}"]


# ——— before a run ———


def foreseen(folder):
    """What `check` finds out about the model in a folder."""
    return Looker().look("folder", folder, NamedModel(str(folder), ("M0",), "folder"))


def test_check_warns_of_layers_of_their_own_kind_where_they_are_sampled_from_here(tmp_path):
    for kind in ("lfm2", "llama"):
        make(kind, tmp_path / kind)
    models = [foreseen(tmp_path / kind) for kind in ("lfm2", "llama")]
    (finding,) = unshared(models, BackendConfig())
    assert (finding.level, finding.where) == ("warning", str(tmp_path / "lfm2"))
    assert not unshared(models, BackendConfig(type="vllm"))


@pytest.mark.parametrize("kind", ["bert", "xlnet"])
def test_a_model_that_sees_what_comes_after_a_token_is_refused_by_check_engine_and_training(kind, tmp_path, monkeypatch):
    monkeypatch.setitem(SIZE, "is_decoder", False)
    whole = make(kind, tmp_path)
    assert sees_ahead(whole)
    (problem,) = foreseen(tmp_path).problems
    assert problem.level == "error" and NOT_CAUSAL in problem.what
    for refused in (
        lambda: HFModel(tmp_path, CPU),
        lambda: TRLTrainer().sft(EXAMPLES, tmp_path, SFTConfig(**ONE_STEP), 0, tmp_path / "sft", lambda _: None),
    ):
        with pytest.raises(SelfRewardError, match=NOT_CAUSAL):
            refused()


@pytest.mark.architectures
def test_every_model_that_writes_here_is_let_pass_by_check():
    """Which see ahead is told by their settings; here by what the engine found."""
    for kind in KINDS:
        if kind not in OUT or OUT[kind] == NOT_CAUSAL:
            with torch.device("meta"):
                assert sees_ahead(AutoModelForCausalLM.from_config(settings(kind, 323))) == (OUT.get(kind) == NOT_CAUSAL), kind


def test_a_model_that_transformers_cannot_build_here_is_one_line_of_check(tmp_path):
    config = settings("reformer", 323)
    config.is_decoder = False  # transformers asserts
    config.save_pretrained(tmp_path)
    with pytest.raises(SelfRewardError, match="transformers cannot make a reformer"):
        shape_of(read_config(tmp_path))


def test_every_dropout_of_a_causal_architecture_is_set():
    # of classifiers, which no training makes
    heads = {"classifier_dropout", "classifier_dropout_prob", "summary_first_dropout", "summary_last_dropout"}
    configs = {kind: with_dropout(CONFIG_MAPPING[kind](), 0.0).to_dict() for kind in KINDS if kind not in OUT}
    left = {(kind, name) for kind, fields in configs.items() for name, value in fields.items() if "drop" in str(name) and value}
    assert {(kind, name) for kind, name in left if name not in heads} == set()
