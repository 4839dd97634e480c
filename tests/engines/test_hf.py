"""Sampling with transformers: the same words as `generate()`, drawn as they should be, whoever else is in the batch."""

import functools
import gc
import json
import random
import weakref
from collections import Counter
from copy import deepcopy
from itertools import groupby

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from scipy import stats
from torch.nn.functional import scaled_dot_product_attention as sdpa
from transformers import AutoModelForCausalLM, AutoTokenizer

from selfreward.engines import completion_ids
from selfreward.engines.fake import FakeModel
from selfreward.engines.sampling import attention, drawing, hf, layout, plain, suited, tree
from selfreward.engines.sampling.hf import HFModel, draw
from selfreward.engines.sampling.plain import Way
from selfreward.engines.sampling.rows import in_place, moved
from selfreward.engines.sampling.sizes import token_bytes
from selfreward.engines.sampling.tree import Tree
from selfreward.errors import OutOfMemory, SelfRewardError
from selfreward.recipe import BackendConfig
from selfreward.records import Checkpoint, Message, Request, Sampling
from tinymodels import ASSISTANT, END, KINDS, OF_THEIR_OWN, USER, WORDS, make_model

CPU = BackendConfig(device="cpu")
GREEDY = Sampling(temperature=0, top_p=1, max_tokens=40)
PAPER = Sampling(temperature=0.7, top_p=0.9, max_tokens=12)
STOPS = WORDS[::6]
M0 = Checkpoint(name="M0", path="m0", fingerprint="f0")


def ask(text, index=0, sampling=GREEDY, seed=0):
    return Request.user_turn("about", index, text, sampling, M0, seed)


def words(count, seed):
    return " ".join(random.Random(seed).choices(WORDS, k=count))


def texts(engine, requests):
    engine.prepare(requests)
    answers = {completion.request_id: completion for completion in engine.generate(requests)}
    return [answers[request.id].text for request in requests]


def opened(folder):
    """An engine with packed weights, and beside it (`whole`) the same weights as transformers runs them by itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "PAYS", 1)
        engine = HFModel(folder, CPU)
    engine.whole = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    return engine


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return opened(make_model(tmp_path_factory.mktemp("llama"), stops=STOPS))


@pytest.fixture(scope="module", params=[*KINDS, *OF_THEIR_OWN])
def engine(request, tmp_path_factory):
    return opened(make_model(tmp_path_factory.mktemp(request.param), request.param, stops=STOPS))


PREFIX = words(14, 99)
UNLIKE = [words(count, count) for count in (3, 9, 17, 4, 30)]
ALIKE = [f"{PREFIX} {words(count, count)}" for count in (1, 6, 12, 3, 20)]


# ——— the same words as transformers' own generate() ———


@pytest.mark.parametrize("prompts", [UNLIKE, ALIKE, ALIKE[:1]], ids=["left padding", "shared prefix", "one prompt"])
def test_greedy_answers_are_those_of_generate_for_each_prompt_alone(engine, prompts):
    expected = []
    for prompt in prompts:
        ids = torch.tensor([engine._ids((Message(role="user", content=prompt),))])
        settings = {"do_sample": False, "max_new_tokens": 40, "pad_token_id": engine.tokenizer.pad_token_id}
        out = engine.whole.generate(ids, attention_mask=torch.ones_like(ids), **settings)[0, ids.shape[1] :].tolist()
        stopped = out[-1] in engine.stops
        expected.append((engine.tokenizer.decode(out[: len(out) - stopped]), "stop" if stopped else "length"))
    requests = [ask(prompt) for prompt in prompts]
    engine.prepare(requests)
    found = {completion.request_id: (completion.text, completion.finish) for completion in engine.generate(requests)}
    assert [found[request.id] for request in requests] == expected


@pytest.mark.parametrize("prompts", [UNLIKE, ALIKE], ids=["left padding", "shared prefix"])
def test_logits_are_those_of_a_plain_forward_whatever_was_cached_and_whoever_left(engine, prompts, monkeypatch):
    rng = np.random.default_rng(0)
    plain = [at for at in range(5, 55) if at not in engine.stops]
    lengths = [3, 50, 20, 34, 0, 35, 8, 50, 1, 44]
    forced = [[*rng.choice(plain, size=length).tolist(), min(engine.stops)] for length in lengths]
    live, seen = list(range(10)), [[] for _ in range(10)]

    def record(logits, uniforms, temperature, top_p):
        for row, at in zip(logits, live, strict=True):
            seen[at].append(row)
        drawn = [forced[at][len(seen[at]) - 1] for at in live]
        live[:] = [at for at, token in zip(live, drawn, strict=True) if token not in engine.stops]
        return torch.tensor(drawn)

    monkeypatch.setattr(hf, "draw", record)
    requests = [ask(prompt, index, Sampling(temperature=1, top_p=1, max_tokens=60)) for prompt in prompts for index in (0, 1)]
    engine.prepare(requests)
    answers = {answer.request_id: answer for answer in engine.generate(requests)}
    for request, drawn, logits in zip(requests, forced, seen, strict=True):
        assert answers[request.id].completion_tokens == len(drawn) - 1
        ids = torch.tensor([engine._ids(request.messages) + drawn[:-1]])
        with torch.no_grad():
            whole = engine.whole(ids, use_cache=False).logits[0, -len(drawn) :]
        torch.testing.assert_close(torch.stack(logits), whole, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("prompts", [UNLIKE, ALIKE], ids=["left padding", "shared prefix"])
def test_prompts_read_as_on_a_gpu_have_the_same_logits(engine, prompts, monkeypatch):
    """Where attention to trunk and branch is one call, and draws are found by sorting words."""
    if not engine.shares:
        pytest.skip("no tree")
    requests = [ask(prompt, index, PAPER) for prompt in prompts for index in range(2)]
    expected = texts(engine, requests)
    monkeypatch.setattr(Tree, "at_once", True)
    monkeypatch.setattr(drawing, "by_value", drawing.by_order)
    assert texts(engine, requests) == expected


@pytest.mark.parametrize("cap", [None, 2.0])
@pytest.mark.parametrize("kind", ["plain", "causal", "bias"])
def test_attention_and_its_weights_are_those_of_a_softmax_written_out(kind, cap):
    rng = np.random.default_rng(0)
    query, keys, values = (rng.normal(0, 1, (2, heads, 5, 8)).astype(np.float32) for heads in (4, 2, 2))
    seen = {"plain": np.ones((2, 1, 5, 5), bool), "bias": rng.random((2, 1, 5, 5)) < 0.7}.get(kind, np.tri(5, dtype=bool))
    scores = np.einsum("rhqd,rhkd->rhqk", query, keys.repeat(2, axis=1))
    scores = np.where(seen, scores if cap is None else cap * np.tanh(scores / cap), -1e30)
    total = np.log(np.exp(scores).sum(-1, keepdims=True))
    bias = attention.unseen(torch.from_numpy(seen)) if kind == "bias" else None
    found, weight = attention.look(*map(torch.from_numpy, (query, keys, values)), bias, cap, causal=kind == "causal")
    np.testing.assert_allclose(found, np.exp(scores - total) @ values.repeat(2, axis=1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(weight, total, rtol=1e-4, atol=1e-5)


def test_packed_weights_are_the_ones_that_were_read(llama):
    linear = {name: module for name, module in llama.whole.named_modules() if type(module) is torch.nn.Linear}
    packed = {name: module for name, module in llama.model.named_modules() if isinstance(module, layout.Packed)}
    assert linear
    assert packed.keys() == linear.keys()
    for name, module in packed.items():
        assert torch.equal(module.weight, linear[name].weight)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bias", [True, False])
def test_a_packed_layer_gives_what_the_layer_gave_for_any_number_of_rows(dtype, bias):
    linear = torch.nn.Linear(65, 129, bias=bias, dtype=dtype)
    packed = layout.Packed(linear)
    for rows in (0, 1, 4, 70):
        inputs = torch.randn(rows, 2, 65, dtype=dtype)
        with torch.inference_mode():
            torch.testing.assert_close(packed(inputs), linear(inputs))


def test_small_layers_stay_as_they_are(tmp_path):
    engine = HFModel(make_model(tmp_path, stops=STOPS), CPU)
    assert not any(isinstance(module, layout.Packed) for module in engine.model.modules())


def test_a_torch_that_cannot_pack_leaves_all_layers_as_they_are(tmp_path, monkeypatch):
    monkeypatch.setattr(layout, "PAYS", 1)
    monkeypatch.setattr(layout, "OPS", ("_linear_of_another_version",))
    engine = HFModel(make_model(tmp_path, stops=STOPS), CPU)
    assert not any(isinstance(module, layout.Packed) for module in engine.model.modules())


def test_a_model_that_the_tree_does_not_suit_has_its_own_layers_back(tmp_path, monkeypatch):
    folder = make_model(tmp_path, stops=STOPS)
    monkeypatch.setattr(layout, "PAYS", 1)
    seen = []
    monkeypatch.setattr(suited, "_near", lambda model, *logits: seen.append({*map(type, model.modules())}))
    model, own = (AutoModelForCausalLM.from_pretrained(folder) for _ in range(2))
    assert not suited.suits(model)
    assert layout.Packed in seen[0] and torch.nn.Linear not in seen[0]
    assert {name: type(module) for name, module in model.named_modules()} == {
        name: type(module) for name, module in own.named_modules()
    }
    assert all(torch.equal(*both) for both in zip(model.state_dict().values(), own.state_dict().values(), strict=True))
    assert (model.lm_head.weight is model.model.embed_tokens.weight) == model.config.tie_word_embeddings


def test_as_many_tokens_go_together_whether_layers_are_packed_or_not(tmp_path, monkeypatch):
    folder = make_model(tmp_path, stops=STOPS)
    plainly = HFModel(folder, CPU)
    monkeypatch.setattr(layout, "PAYS", 1)
    packed = HFModel(folder, CPU)
    assert any(isinstance(module, layout.Packed) for module in packed.model.modules())
    assert (packed.budget, packed.rows) == (plainly.budget, plainly.rows)


def test_a_layer_in_numbers_that_cannot_be_packed_stays_as_it_is(llama, monkeypatch):
    monkeypatch.setattr(layout, "PAYS", 1)
    model = AutoModelForCausalLM.from_config(deepcopy(llama.model.config), attn_implementation="eager").to(torch.float64)
    linear = model.lm_head
    layout.pack(model)
    assert model.lm_head is linear


def noted(monkeypatch, model, of):
    """A list to which `of` the ids of every pass of `model` is added."""
    read, forward = [], model.forward

    @functools.wraps(forward)  # engines look at its arguments
    def noting(**given):
        read.append(of(given["input_ids"]))
        return forward(**given)

    monkeypatch.setattr(model, "forward", noting)
    return read


def test_a_prompt_and_its_samples_are_read_once(llama, monkeypatch):
    read = noted(monkeypatch, llama.model, lambda ids: ids.shape)
    one = PAPER.model_copy(update={"max_tokens": 1})
    requests = [ask(prompt, index, one) for prompt in ALIKE for index in range(3)]
    llama.prepare(requests)
    for prompts in (ALIKE[:2], ALIKE[2:]):
        list(llama.generate([request for request in requests if request.messages[0].content in prompts]))
    assert read == [(1, 15), (2, 7), (3, 21)]


def test_samples_with_the_same_words_so_far_are_read_once(llama, monkeypatch):
    read = noted(monkeypatch, llama.model, torch.Tensor.tolist)
    drawn = {0: [7, 7, 7, 9], 1: [8, 8, 10, 12], 2: [13, 8, 14, 14], 3: [15, 15, 15, 15]}
    monkeypatch.setattr(hf, "draw", lambda logits, uniforms, *_: torch.tensor(drawn[len(read) - 2][: len(logits)]))
    assert not {7, 8, 9, 10, 12, 13, 14, 15} & llama.stops
    one = PAPER.model_copy(update={"max_tokens": 4})
    requests = [ask(prompt, index, one) for prompt in ALIKE[:2] for index in range(2)]
    llama.prepare(requests)
    answers = [answer.ids for answer in llama.generate(requests)]
    assert read[2:] == [[[7], [7], [9]], [[8], [10], [12]], [[13], [14], [14], [8]]]
    assert answers == [(7, 8, 13, 15), (7, 8, 8, 15), (7, 10, 14, 15), (9, 12, 14, 15)]


@pytest.mark.parametrize("kind", ["llama", next(iter(OF_THEIR_OWN))])
def test_a_closed_engine_is_out_of_memory_before_garbage_is_sought(kind, tmp_path):
    engine = HFModel(make_model(tmp_path, kind, stops=STOPS), CPU)
    gc.collect()
    gc.disable()
    try:
        texts(engine, [ask(prompt) for prompt in ALIKE])
        held = weakref.ref(engine.model), weakref.ref(engine._reader)
        engine.close()
        assert [kept() for kept in held] == [None, None]
    finally:
        gc.enable()


def test_texts_that_grow_keep_their_places_where_they_can():
    assert in_place([(0, 9), (1, 9), (2, 9)]) == [(0, 9), (1, 9), (2, 9)]
    assert in_place([(0, 9), (2, 8), (3, 7)]) == [(0, 9), (3, 7), (2, 8)]  # text 1 has ended: the last takes its place
    assert in_place([(1, 9), (1, 8), (0, 7), (2, 6)]) == [(0, 7), (1, 9), (2, 6), (1, 8)]  # text 1 goes on in two ways
    assert in_place([(5, 9)]) == [(5, 9)]


def test_rows_are_moved_in_memory_only_where_their_places_change():
    room = torch.arange(4.0)[:, None].expand(4, 3).clone()
    where = room.data_ptr()
    kept = moved(room, torch.tensor([0, 3, 2]))
    assert (kept[:, 0].tolist(), kept.data_ptr()) == ([0, 3, 2], where)
    assert moved(kept, torch.tensor([1, 0]))[:, 0].tolist() == [3, 0]  # two that change places
    assert moved(torch.arange(2.0)[:, None], torch.tensor([1, 0, 1]))[:, 0].tolist() == [1, 0, 1]


def test_a_batch_of_which_the_engine_was_not_told_is_answered_all_the_same(llama):
    llama.prepare([ask(prompt) for prompt in ALIKE])
    (answer,) = llama.generate([ask("bak del")])
    llama.prepare([])
    assert [answer] == list(llama.generate([ask("bak del")]))


def test_architectures_with_an_attention_of_their_own_go_by_copies_and_say_so_in_a_line(tmp_path):
    for kind in (*KINDS, *OF_THEIR_OWN):
        engine = HFModel(make_model(tmp_path / kind, kind), CPU)
        assert engine.shares == (kind in KINDS)
        assert engine.way == (None if engine.shares else Way(shares=True, together="all"))
        assert engine.unshared == ("" if engine.shares else f"its layers are of their own kind: {plain.HOLDS}")


@pytest.mark.parametrize("kind", ["mistral", "gemma2", "gpt2"])
@pytest.mark.parametrize("part", ["look", "merged", "unseen", "scaled_dot_product_attention"])
def test_an_attention_that_would_say_something_else_is_not_used(tmp_path, kind, part, monkeypatch):
    """Each part of the arithmetic broken in turn: the model's own attention is kept."""
    broken = {
        "look": lambda query, *rest, **more: attention.look(query * 1.1, *rest, **more),
        "merged": lambda found: sum(part for part, _ in found) / len(found),
        "unseen": lambda seen: torch.zeros(seen.shape),
        "scaled_dot_product_attention": lambda query, *rest, **more: sdpa(query * 1.1, *rest, **more),
    }
    monkeypatch.setattr(tree, part, broken[part])
    monkeypatch.setattr(Tree, "at_once", part == "scaled_dot_product_attention")
    engine = HFModel(make_model(tmp_path / kind, kind), CPU)
    if (kind, part) != ("gemma2", "scaled_dot_product_attention"):  # its capped scores take another way
        assert not engine.shares


# ——— draws ———


def nucleus(logits, temperature, top_p):
    """The distribution drawn from, worked out word by word."""
    likely = np.exp((logits - logits.max()) / temperature)
    likely /= likely.sum()
    kept, mass = [], 0.0
    for word in sorted(range(len(logits)), key=lambda word: (-likely[word], word)):
        if mass >= top_p:
            break
        kept.append(word)
        mass += likely[word]
    return np.array([likely[word] / mass if word in kept else 0.0 for word in range(len(logits))])


@pytest.mark.parametrize(("temperature", "top_p"), [(0.7, 0.9), (1.0, 1.0), (0.6, 0.9), (1.5, 0.5), (0.3, 0.95), (1.0, 0.01)])
def test_words_are_drawn_as_often_as_the_nucleus_says(temperature, top_p):
    rng = np.random.default_rng(7)
    logits, draws = rng.normal(0, 1.5, 14).astype(np.float32), 20_000
    drawn = draw(torch.tensor(logits).expand(draws, -1), torch.tensor(rng.random(draws)), temperature, top_p)
    counts, exact = np.bincount(drawn, minlength=14), nucleus(logits.astype(float), temperature, top_p)
    assert not counts[exact == 0].any()
    if (exact > 0).sum() > 1:
        assert stats.chisquare(counts[exact > 0], draws * exact[exact > 0]).pvalue > 1e-3
    else:
        assert counts.max() == draws


def test_a_wrong_temperature_or_nucleus_would_be_noticed():
    rng = np.random.default_rng(7)
    logits = rng.normal(0, 1.5, 14).astype(np.float32)
    counts = np.bincount(draw(torch.tensor(logits).expand(20_000, -1), torch.tensor(rng.random(20_000)), 0.75, 0.9), minlength=14)
    exact = nucleus(logits.astype(float), 0.7, 0.9)
    assert stats.chisquare(counts[exact > 0], counts[exact > 0].sum() * exact[exact > 0] / exact.sum()).pvalue < 1e-3


@given(
    st.lists(st.sampled_from([0.0, 0.0, 1.0, 2.0, -3.0, 8.0, -50.0]), min_size=2, max_size=8),
    st.floats(0.1, 2),
    st.floats(0.01, 1),
    st.floats(0, 1, exclude_max=True),
)
@settings(max_examples=150, deadline=None)
def test_no_word_outside_the_nucleus_is_ever_drawn_ties_included(logits, temperature, top_p, uniform):
    drawn = draw(torch.tensor([logits]), torch.tensor([uniform], dtype=torch.float64), temperature, top_p).item()
    at_most = nucleus(np.array(logits), temperature, min(1.0, top_p + 1e-9))
    assert at_most[drawn] > 0


def test_among_words_equally_likely_at_the_edge_of_the_nucleus_the_first_is_in():
    logits = torch.zeros(1000, 4)
    drawn = draw(logits, torch.arange(1000, dtype=torch.float64) / 1000, 1.0, 0.5)
    assert Counter(drawn.tolist()) == {0: 500, 1: 500}


def test_the_ends_of_the_unit_interval_draw_the_first_and_the_last_word_of_the_nucleus():
    logits = torch.tensor([[0.0, 3.0, 1.0, -90.0]]).expand(2, -1)
    assert draw(logits, torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64), 1.0, 1.0).tolist() == [1, 0]
    assert draw(logits, torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64), 1.0, 0.9).tolist() == [1, 2]


@pytest.mark.parametrize("kind", ["peaked", "flat", "ties"])
@pytest.mark.parametrize("top_p", [0.1, 0.9, 0.999, 1.0])
def test_among_many_words_those_are_drawn_that_sorting_them_all_would_draw(kind, top_p):
    rng = np.random.default_rng(3)
    logits = {
        "peaked": rng.normal(0, 3, (64, 3000)), "flat": rng.normal(0, 0.01, (64, 3000)), "ties": rng.integers(0, 4, (64, 3000)),
    }[kind]  # fmt: skip
    uniforms = rng.random(64)
    drawn = draw(torch.tensor(logits), torch.tensor(uniforms), 0.7, top_p).tolist()
    for row, uniform, word in zip(logits, uniforms, drawn, strict=True):
        likely = np.exp((row - row.max()) / 0.7)
        order = np.lexsort((np.arange(len(row)), -likely))
        mass = np.cumsum(likely[order] / likely.sum())
        size = min(int(np.searchsorted(mass, top_p)) + 1, len(row))
        place = np.searchsorted(mass[:size], uniform * mass[size - 1], side="right")
        assert word in order[max(place - 1, 0) : place + 2]  # sums in another order may differ in the last bit
        assert likely[word] == pytest.approx(likely[order[min(place, size - 1)]], rel=0.02)


@pytest.mark.parametrize("top_p", [0.01, 0.5, 0.9, 0.999, 1.0])
@pytest.mark.parametrize("words", [40, 3000])
def test_words_drawn_by_their_probabilities_alone_are_those_that_sorting_the_words_would_draw(words, top_p):
    rng = np.random.default_rng(5)
    for logits in (rng.normal(0, 1, (64, words)), rng.integers(0, 3, (64, words)), np.full((64, words), 1.0)):
        uniforms = torch.tensor([0.0, 1 - 2**-53, *rng.random(62)])
        given = torch.tensor(logits, dtype=torch.float32)
        expected = drawing.by_order(drawing.likely(given, 0.7), uniforms, top_p)
        assert draw(given, uniforms, 0.7, top_p).tolist() == expected.tolist()


def test_among_many_words_a_sum_that_is_reached_exactly_is_in_the_nucleus_and_behind_it_the_next_word_is_drawn():
    """Sums of powers of two have no rounding, so every side of a comparison is told apart."""
    flat = torch.full((4096,), 2.0**-12, dtype=torch.float64)
    for place in (0, 1, 7, 2047):  # half of the words are the nucleus of one half
        uniform = torch.tensor(place / 2048, dtype=torch.float64)
        assert drawing.by_bucket(flat, uniform, 0.5).tolist() == [place]
    last = torch.tensor(1 - 2.0**-53, dtype=torch.float64)
    assert drawing.by_bucket(flat, last, 0.5).tolist() == [2047]
    peaked = torch.full((4097,), 2.0**-13, dtype=torch.float64)
    peaked[5] = 0.5  # a bucket of its own, with the whole nucleus of one half in it
    assert drawing.by_bucket(peaked, last, 0.5).tolist() == [5]
    for uniform, word in ((0.5 - 2.0**-54, 5), (0.5, 0), (0.5 + 2.0**-13, 1), (0.5 + 5 * 2.0**-13, 6)):
        assert drawing.by_bucket(peaked, torch.tensor(uniform, dtype=torch.float64), 1.0).tolist() == [word]
        assert drawing.by_order(peaked[None], torch.tensor([uniform], dtype=torch.float64), 1.0).tolist() == [word]


def test_at_temperature_zero_the_likeliest_word_is_drawn_whatever_the_nucleus():
    logits = torch.tensor([[0.0, 3.0, 1.0], [5.0, 5.0, 1.0]])
    assert draw(logits, torch.tensor([0.99, 0.99]), 0, 0.1).tolist() == [1, 0]


def test_the_samples_of_a_prompt_are_spread_as_the_model_says(llama):
    one = Sampling(temperature=1.5, top_p=0.9, max_tokens=1)
    requests = [ask("bak del", index, one) for index in range(800)]
    found = Counter(texts(llama, requests))
    with torch.no_grad():
        logits = llama.whole(torch.tensor([llama._ids(requests[0].messages)])).logits[0, -1].double().numpy()
    exact, stopped = nucleus(logits, 1.5, 0.9), sorted(llama.stops)
    names = llama.tokenizer.convert_ids_to_tokens(range(len(exact)))
    expected = {"": exact[stopped].sum(), **{names[at]: p for at, p in enumerate(exact) if at not in stopped}}
    expected = {word: 800 * p for word, p in expected.items() if p}
    assert found.keys() <= expected.keys()
    assert len(expected) > 5 and min(expected.values()) > 3
    assert stats.chisquare([found[word] for word in expected], list(expected.values())).pvalue > 1e-3


# ——— nobody depends on the neighbours ———


def test_an_answer_is_the_same_alone_and_among_others(engine):
    requests = [ask(prompt, index, PAPER) for prompt in (*UNLIKE, *ALIKE) for index in range(3)]
    together = texts(engine, requests)
    alone = [texts(engine, [request])[0] for request in requests]
    backwards = texts(engine, requests[::-1])[::-1]
    assert together == alone == backwards


def test_a_request_draws_by_its_own_seed(llama):
    several = texts(llama, [ask("bak", index, PAPER) for index in range(8)])
    assert len(set(several)) > 4
    another_run = texts(llama, [ask("bak", index, PAPER, seed=1) for index in range(8)])
    assert another_run != several


def test_the_same_batch_twice_and_in_a_model_opened_anew_gives_the_same_completions(engine):
    requests = [ask(prompt, index, PAPER) for prompt in ALIKE for index in range(2)]
    first = list(engine.generate(requests))
    assert list(engine.generate(requests)) == first
    assert list(HFModel(engine.model.name_or_path, CPU).generate(requests)) == first


# ——— how an answer ends ———


def test_an_answer_that_fills_max_tokens_ran_out_of_length_and_one_that_stops_did_not(llama):
    for limit in (1, 2, 5, 40):
        sampling = PAPER.model_copy(update={"max_tokens": limit})
        for answer in llama.generate([ask(prompt, index, sampling) for prompt in UNLIKE for index in range(9)]):
            assert len(answer.text.split()) == answer.completion_tokens
            assert answer.completion_tokens == limit if answer.finish == "length" else answer.completion_tokens < limit


def test_an_answer_holds_neither_its_end_nor_anything_of_its_prompt(llama):
    requests = [ask(PREFIX, index, PAPER) for index in range(60)]
    ended = Counter()
    for answer in llama.generate(requests):
        ended[answer.finish] += 1
        assert not set(answer.text.split()) & {*STOPS, END}
        assert PREFIX not in answer.text
        assert answer.prompt_tokens == 16
    assert ended["stop"] and ended["length"]


def force(monkeypatch, engine, tokens):
    ids = iter(engine.tokenizer.convert_tokens_to_ids(tokens))
    monkeypatch.setattr(hf, "draw", lambda logits, *_: torch.full((len(logits),), next(ids)))


def test_a_role_marker_that_the_model_writes_stays_in_the_text_so_that_a_forged_turn_can_be_cut_off(llama, monkeypatch):
    force(monkeypatch, llama, ["bal", USER, "del", ASSISTANT, "fim", END])
    (answer,) = llama.generate([ask("bak")])
    assert (answer.text, answer.finish) == (f"bal {USER} del {ASSISTANT} fim", "stop")


def test_a_prompt_that_leaves_no_room_for_an_answer_is_an_error_and_disturbs_nobody(llama):
    fits, full, over = ask(words(125, 1)), ask(words(126, 1)), ask(words(300, 1))
    answers = {answer.request_id: answer for answer in llama.generate([over, fits, full, ask("bak")])}
    assert [answers[request.id].finish for request in (full, over)] == ["error", "error"]
    assert answers[over.id].text == "" and answers[over.id].prompt_tokens == 302
    assert answers[fits.id].completion_tokens <= 1 and answers[fits.id].finish in ("length", "stop")
    assert texts(llama, [ask("bak")]) == [answers[ask("bak").id].text]
    assert [answer.finish for answer in llama.generate([over])] == ["error"]


# ——— the likeliest first words ———


def asked_for_words(text, count, index=0, sampling=PAPER):
    return Request.asking("about", index, (Message(role="user", content=text),), sampling, M0, 0, count)


def test_first_words_come_with_the_log_probabilities_of_a_plain_forward_whatever_the_temperature(engine):
    counts = [0, 1, 5, 1000]
    sampled = [PAPER, PAPER.model_copy(update={"temperature": 1.6, "top_p": 0.1})]
    for sampling in sampled:
        requests = [asked_for_words(prompt, count, sampling=sampling) for prompt in ALIKE for count in counts]
        answers = {answer.request_id: answer.first_token for answer in engine.generate(requests)}
        for request in requests:
            with torch.no_grad():
                logits = engine.whole(torch.tensor([engine._ids(request.messages)]), use_cache=False).logits[0, -1].double()
            exact = (logits - logits.exp().sum().log()).tolist()
            named = dict(zip(engine.tokenizer.convert_ids_to_tokens(range(len(exact))), exact, strict=True))
            likeliest = sorted(named, key=named.get, reverse=True)[: request.top_logprobs]
            found = answers[request.id]
            assert found == (pytest.approx({word: named[word] for word in likeliest}, abs=2e-3) if likeliest else None)


def test_the_first_words_asked_for_change_nothing_of_an_answer(llama):
    plain = texts(llama, [ask(prompt, index, PAPER) for prompt in ALIKE for index in range(3)])
    assert texts(llama, [asked_for_words(prompt, 4, index) for prompt in ALIKE for index in range(3)]) == plain


def test_an_answer_that_stops_at_once_has_first_words_too(llama, monkeypatch):
    force(monkeypatch, llama, [END])
    (answer,) = llama.generate([asked_for_words("bak", 3)])
    assert (answer.text, answer.finish, len(answer.first_token)) == ("", "stop", 3)


def test_first_words_that_read_the_same_are_one_and_impossible_ones_are_left_out(llama, monkeypatch):
    monkeypatch.setattr(llama.tokenizer, "decode", lambda ids, **how: f"word {ids[0] % 2}")
    logits = torch.full((6,), -torch.inf)
    logits[:3] = torch.log(torch.tensor([0.5, 0.3, 0.2]))
    assert llama._first_token(logits, 6) == pytest.approx({"word 0": np.log(0.7), "word 1": np.log(0.3)})
    assert llama._first_token(logits, 1) == pytest.approx({"word 0": np.log(0.5)})


def forcing(text, answer, index=0, sampling=PAPER):
    return ask(text, index, sampling).model_copy(update={"forced": answer})


def plainly(engine, request):
    """Log-probability of a forced answer with its end of turn, by a plain forward over the whole conversation."""
    before = engine._ids(request.messages)
    after = completion_ids(engine.tokenizer, request.messages, request.forced)
    with torch.inference_mode():
        logits = engine.whole(torch.tensor([before + after])).logits[0, len(before) - 1 : -1].double()
    return float(torch.log_softmax(logits, dim=-1)[range(len(after)), after].sum()), after


def test_how_likely_a_forced_answer_is_is_what_a_plain_forward_says_whatever_the_temperature(engine):
    # Of several lengths, words that end a turn among them, one of them twice and for two prompts.
    answers = [words(1, 5), f"{STOPS[0]} {words(5, 1)}", words(9, 2), f"{words(3, 3)} {STOPS[1]} {words(2, 4)}"]
    requests = [forcing(prompt, answer, n) for prompt in ALIKE[:2] for n, answer in enumerate([*answers, answers[0]])]
    engine.prepare(requests)
    told = {one.request_id: one for batch in engine.batches(requests) for one in engine.generate([requests[at] for at in batch])}
    for request in requests:
        expected, tokens = plainly(engine, request)
        found = told[request.id]
        assert found.logprob == pytest.approx(expected, abs=1e-3)
        assert (found.finish, found.completion_tokens) == ("stop", len(tokens) - 1)
        assert found.text == engine.tokenizer.decode(tokens[:-1])


def test_forced_and_sampled_requests_are_never_of_one_batch_and_a_sampled_answer_has_no_likelihood(llama):
    requests = [*(ask(text) for text in UNLIKE), *(forcing(text, words(3, 1), sampling=GREEDY) for text in UNLIKE)]
    for batch in llama.batches(requests):
        assert len({requests[at].forced is None for at in batch}) == 1
    (sampled,) = llama.generate(requests[:1])
    assert sampled.logprob is None


def test_an_answer_that_does_not_fit_in_what_the_model_reads_is_told_no_likelihood(llama):
    longest = forcing(words(5, 1), words(3 * llama.context, 2))
    (found,) = llama.generate([longest])
    assert (found.finish, found.logprob) == ("length", None)


def test_a_model_without_a_model_gives_first_words_too():
    (answer,) = FakeModel(lambda request: ("m is better", "stop")).generate([asked_for_words("which?", 3)])
    assert next(iter(answer.first_token)) == "m" and len(answer.first_token) == 3
    assert list(answer.first_token.values()) == pytest.approx(np.log([1 / 2, 1 / 4, 1 / 8]))
    assert next(iter(FakeModel().generate([asked_for_words("which?", 0)]))).first_token is None


# ——— watched words ———


def watching(text, words, index=0, sampling=PAPER):
    return ask(text, index, sampling).model_copy(update={"watch": words})


def test_where_a_watched_word_is_drawn_all_of_them_come_with_the_log_probabilities_of_a_plain_forward(llama):
    words = WORDS[1:30:3]
    loose = PAPER.model_copy(update={"temperature": 1.3, "top_p": 0.8})
    requests = [watching(prompt, words, index, loose) for prompt in ALIKE for index in range(16)]
    answers = {answer.request_id: answer for answer in llama.generate(requests)}
    seen = 0
    for request in requests:
        answer = answers[request.id]
        written = answer.text.split()
        places = [at for at, word in enumerate(written) if word in words]
        assert [answer.text[found.at :].split()[0] for found in answer.watched] == [written[at] for at in places]
        ids = llama._ids(request.messages) + llama.tokenizer.convert_tokens_to_ids(written)
        with torch.no_grad():
            logits = llama.whole(torch.tensor([ids]), use_cache=False).logits[0].double()
        for found, at in zip(answer.watched, places, strict=True):
            exact = torch.log_softmax(logits[len(ids) - len(written) + at - 1], dim=-1)
            tokens = llama.tokenizer.convert_tokens_to_ids(list(words))
            assert found.logprobs == pytest.approx(dict(zip(words, exact[tokens].tolist(), strict=True)), abs=3e-3)
            seen += 1
    assert seen > 10


def test_watching_changes_nothing_of_an_answer(llama):
    plain = texts(llama, [ask(prompt, index, PAPER) for prompt in ALIKE for index in range(3)])
    requests = [watching(prompt, WORDS[:9], index) for prompt in ALIKE for index in range(3)]
    assert texts(llama, requests) == plain


# ——— memory ———


def test_a_batch_that_is_too_large_says_so_and_one_request_that_is_fails_as_it_does(llama, monkeypatch):
    grow = Tree.grow

    def cramped(self, tokens):
        if len(tokens) > 2:
            raise torch.OutOfMemoryError("no room")
        return grow(self, tokens)

    requests = [ask(prompt, index) for prompt in ALIKE for index in range(2)]
    expected = texts(llama, requests[:2])
    monkeypatch.setattr(Tree, "grow", cramped)
    llama.prepare(requests)
    with pytest.raises(OutOfMemory, match="10 requests at once are more than cpu can hold"):
        list(llama.generate(requests))
    assert llama._reader.layers[0].parts.keys() == {"trunk"}
    assert texts(llama, requests[:2]) == expected
    monkeypatch.setattr(Tree, "grow", lambda self, tokens: torch.empty(1 << 60))
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        list(llama.generate(requests[:1]))
    with pytest.raises(OutOfMemory):
        list(llama.generate(requests[:2]))
    monkeypatch.setattr(Tree, "grow", lambda self, tokens: torch.ones(2) @ torch.ones(3))
    with pytest.raises(RuntimeError, match="size"):
        list(llama.generate(requests))


@pytest.mark.parametrize("words", ["CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling", "CUDA error: out of memory"])
def test_what_a_library_of_cudas_could_not_have_is_memory_too(words, llama, monkeypatch):
    def cramped(self, tokens):
        raise RuntimeError(words)

    monkeypatch.setattr(Tree, "grow", cramped)
    requests = [ask(prompt, 0) for prompt in ALIKE[:2]]
    llama.prepare(requests)
    with pytest.raises(OutOfMemory):
        list(llama.generate(requests))


def test_by_itself_the_budget_is_what_there_is_room_for(llama):
    assert token_bytes(llama.model) == 2 * 2 * 2 * 8 * 4  # keys and values, layers, heads, their size, bytes
    config = BackendConfig()
    assert config.in_flight(room=1e6, token=256, cuda=False) == 1_000_000 // 2 // 256
    assert config.in_flight(room=1e12, token=256, cuda=False) == 32768
    assert config.in_flight(room=1e12, token=256, cuda=True) == 131072
    assert config.in_flight(room=10, token=256, cuda=True) == 1
    assert BackendConfig(max_tokens_in_flight=7).in_flight(room=1, token=256, cuda=True) == 7


# ——— the plan of batches ———


def plan_of(engine, budget, requests):
    engine = HFModel(engine.model.name_or_path, BackendConfig(device="cpu", max_tokens_in_flight=budget))
    return engine.batches(requests)


REQUESTS = [
    ask(words(count, count), index, sampling)
    for count in (30, 3, 12, 7, 3, 25, 9)
    for index in range(4)
    for sampling in (PAPER, GREEDY)
]


@pytest.mark.parametrize("budget", [1, 100, 300, 32768])
def test_a_plan_has_every_request_once_in_batches_of_one_sampling_within_the_budget(llama, budget):
    plan = plan_of(llama, budget, REQUESTS)
    assert sorted(at for batch in plan for at in batch) == list(range(len(REQUESTS)))
    for batch in plan:
        assert len({REQUESTS[at].sampling for at in batch}) == 1
        prompts = [len(llama._ids(messages)) for messages in {REQUESTS[at].messages for at in batch}]
        held = len(prompts) * max(prompts) + len(batch) * REQUESTS[batch[0]].sampling.max_tokens
        assert len(batch) == 1 or held <= budget
    assert len(plan) == (len(REQUESTS) if budget == 1 else len(plan))


@pytest.mark.parametrize("budget", [100, 300, 32768])
def test_in_a_plan_the_samples_of_a_prompt_stand_together(llama, budget):
    order = [(REQUESTS[at].sampling, REQUESTS[at].messages) for batch in plan_of(llama, budget, REQUESTS) for at in batch]
    runs = [key for key, _ in groupby(order)]
    assert len(runs) == len(set(runs))


def test_a_plan_follows_from_the_requests_alone(llama):
    plan = plan_of(llama, 300, REQUESTS)
    list(llama.generate([REQUESTS[0]]))
    assert plan_of(llama, 300, REQUESTS) == plan
    shuffled = list(range(len(REQUESTS)))
    random.Random(0).shuffle(shuffled)
    sizes = [len(batch) for batch in plan_of(llama, 300, [REQUESTS[at] for at in shuffled])]
    assert sizes == [len(batch) for batch in plan]


# ——— what cannot be loaded ———


@pytest.fixture
def folder(llama, tmp_path):
    return make_model(tmp_path / "model")


def refused(folder):
    with pytest.raises(SelfRewardError) as caught:
        HFModel(folder, CPU)
    assert caught.value.where == str(folder)
    return caught.value.what


def test_a_model_that_is_not_there_is_refused(tmp_path):
    assert "cannot be loaded" in refused(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
@pytest.mark.parametrize("content", [None, b"", b"half of it", b"{}"])
def test_a_model_with_a_missing_or_broken_file_is_refused(folder, name, content):
    if content is None:
        (folder / name).unlink()
        if name == "tokenizer.json":
            (folder / "tokenizer_config.json").unlink()
    else:
        (folder / name).write_bytes(content)
    assert "cannot be loaded" in refused(folder)


def test_a_torn_weights_file_is_refused(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert "cannot be loaded" in refused(folder)


def test_a_folder_with_pickled_weights_alone_is_refused_unread(folder):
    weights = load_file(folder / "model.safetensors")
    torch.save(weights, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert "cannot be loaded" in refused(folder)


def test_weights_that_do_not_fill_the_model_are_refused_and_not_made_up(folder):
    weights = load_file(folder / "model.safetensors")
    adapter = {name.replace("model.", "base_model.model.model."): weight for name, weight in weights.items()}
    save_file(adapter, folder / "model.safetensors", {"format": "pt"})
    assert "cannot be loaded" in refused(folder)


def test_weights_of_another_shape_are_refused(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 64}))
    assert "cannot be loaded" in refused(folder)


def test_a_model_is_read_as_it_was_saved(llama):
    saved = AutoModelForCausalLM.from_pretrained(llama.model.name_or_path).state_dict()
    assert all(torch.equal(weight, saved[name]) for name, weight in llama.model.state_dict().items())
    assert AutoTokenizer.from_pretrained(llama.model.name_or_path).get_vocab() == llama.tokenizer.get_vocab()
    assert not llama.model.training
