"""vLLM as a sampler: what it is told and how its answers are read, with a stand-in; and, marked `vllm`, the real engine.

The real one has an environment of its own: scripts/vllm_env.sh && .venv-vllm/bin/python -m pytest -m vllm
"""

import importlib
import importlib.util
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import stats
from transformers import AutoModelForCausalLM

from selfreward.checks import check, memory
from selfreward.checks.shapes import Shape
from selfreward.engines import completion_ids, load_checkpoint, load_tokenizer, open_model, prompt_ids
from selfreward.engines.fake import FakeTrainer
from selfreward.engines.sampling.leash import MARK
from selfreward.errors import SelfRewardError
from selfreward.recipe import BackendConfig, load_recipe
from selfreward.records import Checkpoint, Message, Request, Sampling
from selfreward.rundir import RESPONSES, Progress, RunDir, Runner
from selfreward.steps import Answering, Likely
from tinymodels import END, WORDS, make_model, nudge
from tinyrun import Killed, make_world

VLLM = BackendConfig(type="vllm")
GREEDY = Sampling(temperature=0, top_p=1, max_tokens=10)
PAPER = Sampling(temperature=0.7, top_p=0.9, max_tokens=12)
STOPS = WORDS[::6]
M0 = Checkpoint(name="M0", path="m0", fingerprint="f0")
TINY = {"head_dim": 32, "max_position_embeddings": 512, "stops": STOPS}
"""vLLM's attention on a CPU knows no smaller heads, and caches blocks of 128 tokens."""


def ask(text, index=0, sampling=PAPER, **changes):
    return Request.user_turn("about", index, text, sampling, M0, 0).model_copy(update=changes)


def words(count, seed):
    return " ".join(random.Random(seed).choices(WORDS, k=count))


# ——— what vLLM is told, and how its answers are read ———


class Engine:
    """In vLLM's place: finishes the last request in its hands at every step, in a way that `play` decides."""

    def __init__(self, args):
        self.args, self.hands, self.told, self.read, self.most, self.mixed, self.aborted = args, {}, [], [], 0, False, []
        self.play = lambda prompt, seed: ([prompt[1]], "length")
        self.vllm_config = SimpleNamespace(
            model_config=SimpleNamespace(max_model_len=20), scheduler_config=SimpleNamespace(max_num_seqs=2)
        )
        self.up = True
        self.engine_core = SimpleNamespace(shutdown=lambda: setattr(self, "up", False))
        assert os.environ[MARK]

    @classmethod
    def from_engine_args(cls, args, context, enable_multiprocessing):
        assert context == "offline"  # by which vLLM sets how much it does at once
        assert enable_multiprocessing, "what is held in this process is not given back when it ends"
        return cls(args)

    def add_request(self, name, prompt, params):
        assert name not in self.hands
        self.hands[name] = prompt["prompt_token_ids"], params
        self.told.append(params)
        self.read.append(prompt["prompt_token_ids"])
        self.most = max(self.most, len(self.hands))
        self.mixed |= len({(frozenset(params), params.get("logprobs")) for _, params in self.hands.values()}) > 1

    def step(self):
        name, (prompt, params) = self.hands.popitem()
        ids, finish = self.play(prompt, params["seed"])
        answer = SimpleNamespace(token_ids=ids, finish_reason=finish, logprobs=None)
        likely = [None, *({token: SimpleNamespace(logprob=-at / 4)} for at, token in enumerate(prompt[1:], 1))]
        given = {"prompt_token_ids": prompt, "prompt_logprobs": likely if "prompt_logprobs" in params else None}
        return [SimpleNamespace(request_id=name, finished=True, outputs=[answer], **given)]

    def abort_request(self, names):
        self.aborted += names


class Dead(Exception):
    """In the place of vLLM's own."""


def params(**given):
    if given["temperature"] > 2:
        raise ValueError("temperature must be in [0, 2]")
    return given


@pytest.fixture
def stand_in(monkeypatch):
    """The backend's module with `Engine` for vLLM."""
    parts = {
        "vllm": {"EngineArgs": dict, "LLMEngine": Engine, "SamplingParams": params},
        "vllm.inputs": {},
        "vllm.inputs.engine": {"tokens_input": lambda ids: {"prompt_token_ids": ids}},
        "vllm.platforms": {"current_platform": SimpleNamespace(device_type="cuda")},
        "vllm.sampling_params": {"RequestOutputKind": SimpleNamespace(FINAL_ONLY="final")},
        "vllm.usage": {}, "vllm.usage.usage_lib": {"UsageContext": SimpleNamespace(LLM_CLASS="offline")},
        "vllm.v1": {}, "vllm.v1.engine": {}, "vllm.v1.engine.exceptions": {"EngineDeadError": Dead},
    }  # fmt: skip
    for name, held in parts.items():
        module = ModuleType(name)
        module.__dict__.update(held)
        monkeypatch.setitem(sys.modules, name, module)
    return reimported(monkeypatch)


def reimported(monkeypatch):
    name = "selfreward.engines.sampling.vllm"
    monkeypatch.setitem(sys.modules, name, None)  # to be put back as it was
    del sys.modules[name]
    return importlib.import_module(name)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("tiny"), **TINY)


@pytest.fixture
def model(stand_in, tiny):
    model = stand_in.VLLMModel(tiny, VLLM)
    yield model
    if model._engine:
        model.close()


def test_the_engine_is_set_up_without_anything_of_the_models_own_settings_or_code(stand_in, tiny):
    spread = VLLM.model_copy(update={"tensor_parallel": 4})
    assert stand_in.VLLMModel(tiny, spread)._engine.args == {
        "model": str(tiny), "skip_tokenizer_init": True, "trust_remote_code": False, "load_format": "safetensors",
        "use_tqdm_on_load": False, "dtype": "bfloat16", "tensor_parallel_size": 4, "max_model_len": -1,
        "generation_config": "vllm", "enable_prefix_caching": True, "logprobs_mode": "raw_logprobs", "max_logprobs": -1,
        "enable_chunked_prefill": None, "seed": 0, "disable_log_stats": True,
    }  # fmt: skip
    whole = VLLM.model_copy(update={"dtype": "float32"})
    assert stand_in.VLLMModel(tiny, whole)._engine.args["dtype"] == "float32"
    stand_in.current_platform.device_type = "cpu"
    assert stand_in.VLLMModel(tiny, VLLM)._engine.args["dtype"] == "float32"


def test_a_forced_text_is_read_with_its_end_as_a_part_of_the_prompt_and_told_how_likely_it_is(model, tiny):
    forced, asked = ask("bak bal", forced="bam bak"), ask("bak bal")
    found = {one.request_id: one for one in model.generate([forced, asked])}
    tokenizer = load_tokenizer(tiny)
    before, after = (make(tokenizer, forced.messages, *more) for make, more in ((prompt_ids, ()), (completion_ids, ("bam bak",))))
    assert len(after) == 3 and model._engine.read == [before + after, before]
    first = len(before)  # place n of the stand-in is told a log-probability of -n/4
    answer = found[forced.id]
    assert answer.logprob == -(first + first + 1 + first + 2) / 4
    assert (answer.text, answer.finish, answer.prompt_tokens, answer.completion_tokens) == ("bam bak", "stop", first, 2)
    likelihood = Likely.read(forced, answer)
    assert (likelihood.outcome, likelihood.tokens) == ("told", 3)
    assert found[asked.id].logprob is None
    sent = model._engine.told[0]
    assert (sent["prompt_logprobs"], sent["max_tokens"], sent.get("logprobs")) == (0, 1, None)
    assert not model._engine.mixed


def test_a_forced_text_that_is_not_read_to_its_end_has_no_likelihood(model):
    long, ended = ask("bak bal", forced=words(30, 1)), ask("bak bal", forced="bam")
    model._engine.play = lambda prompt, seed: ([6], "abort")
    for request, answer in zip([long, ended], model.generate([long, ended]), strict=True):
        assert (answer.request_id, answer.finish, answer.logprob) == (request.id, "error", None)
        assert Likely.read(request, answer).outcome == "untold"
    assert len(model._engine.told) == 1


def test_every_sampling_field_is_sent_and_the_prompt_as_our_own_tokens(model, tiny):
    request = ask("bak bal", seed=2**64 - 1)
    prompts = []
    model._engine.play = lambda prompt, seed: prompts.append(prompt) or ([6], "length")
    list(model.generate([request]))
    tokenizer = load_tokenizer(tiny)
    assert prompts == [prompt_ids(tokenizer, request.messages)]
    assert model._engine.told == [
        {
            "n": 1, "temperature": 0.7, "top_p": 0.9, "top_k": 0, "min_p": 0.0, "presence_penalty": 0.0, "frequency_penalty": 0.0,
            "repetition_penalty": 1.0, "max_tokens": 12, "min_tokens": 0, "seed": 2**63 - 1, "ignore_eos": True,
            "stop_token_ids": sorted(tokenizer.convert_tokens_to_ids([END, *STOPS])), "detokenize": False,
            "output_kind": "final", "logprobs": None,
        }
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("ids", "said", "text", "finish"),
    [
        ([6, 7, 4], "stop", "bal bam", "stop"),
        ([4], "stop", "", "stop"),
        ([6, 2, 7], "length", "bal <|user|> bam", "length"),
        ([6], "abort", "bal", "error"),
        ([6], "repetition", "bal", "error"),
    ],
)
def test_an_answer_ends_as_vllm_says_without_the_token_that_ended_it(model, ids, said, text, finish):
    model._engine.play = lambda prompt, seed: (ids, said)
    (answer,) = model.generate([ask("bak bal")])
    assert (answer.text, answer.finish, answer.prompt_tokens) == (text, finish, 4)
    assert answer.completion_tokens == len(ids) - (said == "stop")


def test_a_context_that_is_nearly_full_shortens_the_answer_and_a_full_one_is_an_error(model):
    asked = [ask(words(count, count)) for count in (16, 17, 18, 40)]  # and two tokens of the template
    found = {answer.request_id: answer for answer in model.generate(asked)}
    assert [found[request.id].finish for request in asked] == ["length", "length", "error", "error"]
    assert [told["max_tokens"] for told in model._engine.told] == [2, 1]
    assert (found[asked[2].id].text, found[asked[2].id].prompt_tokens, found[asked[2].id].completion_tokens) == ("", 20, 0)


def test_any_number_of_requests_goes_through_few_hands_and_all_come_back(model):
    asked = [ask(words(3, 1), index) for index in range(50)] + [ask(words(40, 1), index) for index in range(9)]
    random.Random(0).shuffle(asked)
    answers = Counter(answer.request_id for answer in model.generate(asked))
    assert answers == Counter(request.id for request in asked)
    assert model._engine.most == 4 and not model._engine.hands
    assert sorted(map(tuple, model.batches(asked))) == [(at,) for at in range(59)]


def test_those_that_ask_for_different_log_probabilities_are_never_under_way_together(model):
    wishes = [{}, {"top_logprobs": 2}, {"watch": ("bak",)}, {"watch": ("bak",), "top_logprobs": 2}]
    asked = [ask(words(3, 1), index, **wish) for wish in wishes for index in range(3)]
    assert len(list(model.generate(asked))) == 12 and not model._engine.mixed
    told = [{name: given[name] for name in ("logprobs", "logprob_token_ids") if name in given} for given in model._engine.told]
    assert told[::3] == [{"logprobs": None}, {"logprobs": 2}, {"logprob_token_ids": [5]}, {"logprobs": -1}]


def test_who_stops_listening_has_what_is_under_way_broken_off(model):
    answers = model.generate([ask(words(3, 1), index) for index in range(3)])
    next(answers)
    answers.close()
    assert len(model._engine.aborted) == 2
    engine, answers = model._engine, model.generate([ask("bak", index) for index in range(3)])
    next(answers)
    model.close()
    answers.close()
    assert not engine.up and len(engine.aborted) == 2


def test_an_engine_that_ends_is_told_of_after_what_was_answered(model, tiny):
    def play(prompt, seed):
        if len(model._engine.hands) < 2:
            raise Dead
        return [6], "length"

    model._engine.play = play
    answers = model.generate([ask("bak", index) for index in range(4)])
    assert len([next(answers), next(answers)]) == 2
    with pytest.raises(SelfRewardError, match="vLLM's engine has ended") as caught:
        next(answers)
    assert caught.value.where == str(tiny)


def test_sampling_that_vllm_refuses_is_an_error_to_read(model):
    with pytest.raises(SelfRewardError, match=r"vLLM refuses a request \(temperature must be in \[0, 2\]\)"):
        list(model.generate([ask("bak", sampling=Sampling(temperature=3, top_p=1, max_tokens=4))]))


def test_what_cannot_be_opened_says_why(stand_in, tiny, tmp_path, monkeypatch):
    with pytest.raises(SelfRewardError, match="this vLLM is built for 'cuda', not 'cpu'"):
        stand_in.VLLMModel(tiny, VLLM.model_copy(update={"device": "cpu"}))
    with pytest.raises(SelfRewardError, match="cannot be loaded by vLLM") as caught:
        stand_in.VLLMModel(tmp_path, VLLM)
    assert caught.value.where == str(tmp_path)
    monkeypatch.setattr(Engine, "from_engine_args", lambda *_, **__: 1 / 0)
    with pytest.raises(SelfRewardError, match=r"cannot be loaded by vLLM \(division by zero\)"):
        stand_in.VLLMModel(tiny, VLLM)


def test_without_vllm_the_error_says_what_to_install(tiny, monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    monkeypatch.delitem(sys.modules, "selfreward.engines.sampling.vllm", raising=False)
    with pytest.raises(SelfRewardError) as caught:
        open_model(M0.model_copy(update={"path": tiny}), VLLM, {})
    assert (caught.value.what, caught.value.now) == ("vllm is not installed", "pip install 'selfreward-lm[vllm]'")


@pytest.mark.parametrize(
    ("settings", "wrong"),
    [
        ({"backend.type": "hf", "backend.tensor_parallel": 2}, "tensor_parallel works only with"),
        ({"backend.type": "vllm", "backend.max_tokens_in_flight": 4096}, "max_tokens_in_flight cannot be set with"),
        ({"backend.type": "vllm", "backend.tensor_parallel": 0}, "greater than or equal to 1"),
    ],
    ids=str,
)
def test_settings_of_the_other_engine_are_refused(tmp_path, settings, wrong):
    recipe = make_world(tmp_path)
    assert load_recipe(recipe, {"backend.type": "vllm", "backend.tensor_parallel": 2}).backend.tensor_parallel == 2
    with pytest.raises(SelfRewardError, match=wrong):
        load_recipe(recipe, settings)


def test_a_check_counts_a_models_share_on_each_device_and_says_what_is_not_installed(tmp_path, monkeypatch):
    spread = VLLM.model_copy(update={"tensor_parallel": 4})
    assert memory.sampling(Shape(8_000_000_000), spread, cuda=True, longest=4096, memory=None) == {"weights": 4e9}
    monkeypatch.setitem(sys.modules, "vllm", None)
    monkeypatch.delitem(sys.modules, "selfreward.engines.sampling.vllm", raising=False)
    found = check(load_recipe(make_world(tmp_path), {"backend.type": "vllm"}), tmp_path / "run").findings
    assert ("vllm is not installed", "pip install 'selfreward-lm[vllm]'") in {(finding.what, finding.now) for finding in found}


def running():
    """Process → its parent, of all that have not ended."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent, *_ = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if state != "Z":
            found[int(stat.parent.name)] = int(parent)
    return found


def processes(of):
    """Processes that descend from `of`."""
    parents, found, new = running(), set(), {of}
    while new := {pid for pid, parent in parents.items() if parent in new} - found:
        found |= new
    return found


def gone(pids, within=120):
    """Whether all of `pids` end within so many seconds."""
    end = time.monotonic() + within
    while time.monotonic() < end and pids & set(running()):
        time.sleep(0.2)
    return not pids & set(running())


LEASHED = """
import subprocess, sys
from selfreward.engines.sampling.leash import Leash
early = sys.argv[1] == "killed early"
stay = "time.sleep(600)" if early else "input()"  # the latter ends by itself when this process does
child = "import subprocess, time; print(subprocess.Popen(['sleep', '600'], env={}).pid, flush=True); " + stay
leash = Leash()
free = subprocess.Popen(["sleep", "600"])
with leash.on():
    start = [sys.executable, "-c", child]
    quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    held = subprocess.Popen(start, stdin=subprocess.PIPE, start_new_session=True, **quiet)
    pids = free.pid, held.pid, int(held.stdout.readline()), leash._watch.pid
    if early:
        print(*pids, flush=True)
        input()
print(*pids, flush=True)
input()
leash.end()
print("ended", held.wait(), flush=True)
input()
"""


@pytest.mark.parametrize("how", ["told", "killed", "killed early"])
def test_what_is_on_the_leash_ends_when_told_or_with_the_process_that_holds_it_and_nothing_else_does(how):
    start = [sys.executable, "-c", LEASHED, how]
    held_by = subprocess.Popen(start, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    free, *leashed = map(int, held_by.stdout.readline().split())
    try:
        assert {free, *leashed} <= set(running())
        if how == "told":
            held_by.stdin.write("\n")
            held_by.stdin.flush()
            assert held_by.stdout.readline() == f"ended {-signal.SIGKILL}\n"
        else:
            held_by.kill()
        assert gone(set(leashed)) and free in running()
    finally:
        for pid in {held_by.pid, free, *leashed} & set(running()):
            os.kill(pid, signal.SIGKILL)
        held_by.communicate()


# ——— the real engine ———

HERE = importlib.util.find_spec("vllm") is not None
REAL = [pytest.mark.vllm, pytest.mark.skipif(not HERE, reason="scripts/vllm_env.sh sets up where vLLM is")]


def real(test):
    for mark in REAL:
        test = mark(test)
    return test


@pytest.fixture(scope="module")
def opened():
    """Opens real engines, without compiling: that takes longer than all that is asked of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
        from selfreward.engines.sampling import vllm as ours

        patch.setattr(ours, "EngineArgs", partial(ours.EngineArgs, enforce_eager=True))
        engines = []

        def open_engine(folder):
            engines.append(ours.VLLMModel(folder, VLLM))
            return engines[-1]

        yield open_engine
        for engine in engines:
            if engine._engine:
                engine.close()


@pytest.fixture(scope="module")
def engine(opened, tiny):
    engine = opened(tiny)
    engine.whole = AutoModelForCausalLM.from_pretrained(tiny).eval()
    return engine


def generated(whole, engine, text):
    """What transformers' own generate() says to `text`, greedily, and how it ends."""
    ids = torch.tensor([prompt_ids(engine._tokenizer, (Message(role="user", content=text),))])
    settings = {"do_sample": False, "max_new_tokens": GREEDY.max_tokens, "pad_token_id": 1}
    out = whole.generate(ids, attention_mask=torch.ones_like(ids), **settings)[0, ids.shape[1] :].tolist()
    stopped = out[-1] in engine._stops
    return engine._tokenizer.decode(out[: len(out) - stopped]), "stop" if stopped else "length"


def answers(engine, asked):
    found = {answer.request_id: answer for answer in engine.generate(asked)}
    assert len(found) == len(asked)
    return [found[request.id] for request in asked]


@real
def test_greedy_answers_are_those_of_generate_token_by_token(engine):
    alike = [f"{words(300, 9)} {words(count, count)}" for count in (2, 5, 9)]
    prompts = [words(count, count) for count in (1, 3, 9, 17, 60, 200, 333)] + alike
    found = answers(engine, [ask(prompt, sampling=GREEDY) for prompt in prompts])
    assert [(answer.text, answer.finish) for answer in found] == [generated(engine.whole, engine, prompt) for prompt in prompts]
    assert {answer.finish for answer in found} == {"stop", "length"}


@real
def test_the_context_is_used_to_its_end_and_a_longer_prompt_is_an_error(engine):
    found = answers(engine, [ask(words(count, count), sampling=GREEDY) for count in (509, 510, 700)])
    assert [(answer.finish, answer.prompt_tokens) for answer in found[1:]] == [("error", 512), ("error", 702)]
    assert found[0].prompt_tokens == 511 and found[0].completion_tokens <= 1 and found[0].finish != "error"


@real
def test_a_requests_own_seed_decides_whoever_else_is_asked(engine):
    asked = [ask(words(5, 7), index) for index in range(40)]
    crowd = answers(engine, asked)
    assert len({answer.text for answer in crowd}) > 20
    alone = [answers(engine, [request])[0] for request in asked[:8]]
    assert alone == crowd[:8]
    near, far = ([ask(words(5, 7), 0, seed=base + seed) for seed in range(20)] for base in (0, 2**63))
    said = [answer.text for answer in answers(engine, near)]
    assert len(set(said)) > 10 and said == [answer.text for answer in answers(engine, far)]


def nucleus(logits, temperature, top_p):
    """The distribution drawn from, worked out word by word."""
    likely = np.exp(logits / temperature - np.max(logits / temperature))
    likely /= likely.sum()
    kept, mass = np.zeros_like(likely), 0.0
    for word in np.argsort(-likely):
        if mass < top_p:
            kept[word] = likely[word]
            mass += likely[word]
    return kept / kept.sum()


def last_logits(engine, ids):
    with torch.no_grad():
        return engine.whole(torch.tensor([ids])).logits[0, -1].double().numpy()


@real
def test_more_prompts_than_one_step_can_read_are_answered_as_each_is_alone(engine):
    tokens = engine._engine.vllm_config.scheduler_config.max_num_batched_tokens
    asked = [ask(words(300, count), count) for count in range(2 * tokens // 300)]
    crowd = answers(engine, asked)
    assert [answers(engine, [request])[0] for request in asked[-3:]] == crowd[-3:]


@real
def test_words_are_drawn_as_often_as_they_are_likely(engine):
    one = Sampling(temperature=0.7, top_p=0.9, max_tokens=1)
    drawn = Counter(answer.text for answer in answers(engine, [ask(words(5, 7), index, one) for index in range(2000)]))
    expected = Counter()
    for token, share in enumerate(nucleus(last_logits(engine, engine._ids(ask(words(5, 7)).messages)), 0.7, 0.9)):
        if share:
            expected["" if token in engine._stops else engine._tokenizer.decode([token])] += 2000 * share
    assert set(drawn) <= set(expected) and len(expected) > 3
    assert stats.chisquare([drawn[text] for text in expected], [*expected.values()]).pvalue > 1e-4


@real
def test_log_probabilities_are_those_of_a_plain_forward_before_temperature(engine):
    tokenizer, watch = engine._tokenizer, ("bak", "gop", "got", "luz", "no such word")
    for top in (0, 3):
        asked = [ask(words(5, 7), index, top_logprobs=top, watch=watch) for index in range(40)]
        found, seen = answers(engine, asked), 0
        for request, answer in zip(asked, found, strict=True):
            prompt, said = engine._ids(request.messages), tokenizer.convert_tokens_to_ids(answer.text.split())
            spoken = answer.text.split()
            places = [at for at, word in enumerate(spoken) if word in watch]
            assert [note.at for note in answer.watched] == [len(" ".join([*spoken[:at], ""])) for at in places]
            for at, note in zip(places, answer.watched, strict=True):
                logprobs = torch.log_softmax(torch.tensor(last_logits(engine, prompt + said[:at])), -1)
                expected = {word: logprobs[tokenizer.convert_tokens_to_ids(word)].item() for word in watch[:4]}
                assert note.logprobs == pytest.approx(expected, abs=1e-4)
                seen += 1
        assert seen > 10
        assert {len(answer.first_token or ()) for answer in found} == {top}


@real
def test_how_likely_a_forced_answer_is_is_what_a_plain_forward_says_and_sampling_beside_it_is_as_ever(engine):
    said = [words(1, 5), f"{STOPS[0]} {words(5, 1)}", words(200, 2), words(9, 3), words(9, 3)]
    forced = [ask(words(count, 7), n, forced=answer) for count in (3, 150) for n, answer in enumerate(said)]
    asked = [ask(words(5, 7), index) for index in range(4)]
    alone = answers(engine, asked)
    found = answers(engine, [*forced[:3], *asked, *forced[3:]])
    assert found[3:7] == alone
    for request, answer in zip(forced, [*found[:3], *found[7:]], strict=True):
        before, after = engine._ids(request.messages), completion_ids(engine._tokenizer, request.messages, request.forced)
        with torch.no_grad():
            logits = engine.whole(torch.tensor([before + after])).logits[0, len(before) - 1 : -1].double()
        expected = torch.log_softmax(logits, dim=-1)[range(len(after)), after].sum().item()
        assert answer.logprob == pytest.approx(expected, abs=1e-3)
        assert (answer.finish, answer.completion_tokens) == ("stop", len(after) - 1)
        assert answer.text == engine._tokenizer.decode(after[:-1])


@real
def test_first_tokens_are_the_likeliest_whatever_was_drawn(engine):
    asked = [ask(words(5, 7), index, top_logprobs=3) for index in range(20)]
    logprobs = torch.log_softmax(torch.tensor(last_logits(engine, engine._ids(asked[0].messages))), -1)
    values, tokens = logprobs.topk(3)
    expected = {engine._tokenizer.decode([token]): value for token, value in zip(tokens.tolist(), values.tolist(), strict=True)}
    found = answers(engine, asked)
    assert any(answer.text.split()[:1] != [next(iter(expected))] for answer in found)
    assert all(answer.first_token == pytest.approx(expected, abs=1e-4) for answer in found)


@pytest.fixture
def cached(engine, monkeypatch):
    """Prompt tokens that were found computed, of each answer since."""
    found, step = [], engine._engine.step

    def stepping():
        outputs = step()
        found.extend(output.num_cached_tokens for output in outputs if output.finished)
        return outputs

    monkeypatch.setattr(engine._engine, "step", stepping)
    return found


@real
def test_what_prompts_begin_with_alike_is_computed_once(engine, cached):
    rubric = words(300, 1234)
    asked = [ask(f"{rubric} {words(20, prompt)}", sample) for prompt in range(5) for sample in range(3)]
    answers(engine, asked)
    blocks = 128 * (301 // 128)  # vLLM caches whole blocks
    assert sorted(cached) == [0] + [blocks] * 14


@real
def test_n_would_share_no_more_than_requests_of_their_own_do_and_take_their_seeds_away(engine, cached):
    from vllm.inputs.engine import tokens_input

    asked = [ask(words(300, 4321), index, seed=70 + index) for index in range(3)]
    params = engine._params(asked[0], 100)
    params.n = 3
    engine._engine.add_request("n", tokens_input(engine._ids(asked[0].messages)), params)
    outputs = []
    while engine._engine.has_unfinished_requests():
        outputs += engine._engine.step()
    ends = engine._stops
    texts = [engine._tokenizer.decode([t for t in one.token_ids if t not in ends]) for one in outputs[0].outputs]
    assert [answer.text for answer in answers(engine, asked)] == texts and len(set(texts)) > 1
    assert cached[1:] == [256] * 3


@real
def test_a_stage_that_is_killed_asks_nothing_twice_that_was_answered(engine, tmp_path, monkeypatch):
    base = load_checkpoint("M0", engine._where)
    asked = [Request.user_turn("about", index, words(5, 7), PAPER, base, 0) for index in range(30)]
    told, generate = [], type(engine).generate

    def dying(model, batch):
        told.append([request.id for request in batch])
        for number, answer in enumerate(generate(model, batch)):
            if len(told) == 1 and number == 11:
                raise Killed
            yield answer

    monkeypatch.setattr(type(engine), "generate", dying)
    monkeypatch.setattr(type(engine), "close", lambda model: None)

    def sample():
        folder = RunDir(tmp_path / "run", {"seed": 1})
        try:
            run = Runner(folder, lambda checkpoint: engine, FakeTrainer, Progress(folder.logs))
            return list(run["M1"].complete(RESPONSES, asked, base, Answering.read))
        finally:
            folder.close()

    with pytest.raises(Killed):
        sample()
    journal = (tmp_path / "run" / "M1" / "responses.journal.jsonl").read_bytes()
    assert journal.count(b"\n") == 11
    assert not engine._engine.has_unfinished_requests()
    whole = sample()
    kept = {answer["request_id"] for line in journal.splitlines() for answer in json.loads(line)["completions"]}
    assert set(told[1]) == {request.id for request in asked} - kept
    assert [record.text for record in whole] == [answer.text for answer in generate_all(generate, engine, asked)]


def generate_all(generate, engine, asked):
    found = {answer.request_id: answer for answer in generate(engine, asked)}
    return [found[request.id] for request in asked]


@real
def test_an_engine_that_is_closed_leaves_no_process_and_the_next_has_the_next_weights(engine, opened, tmp_path):
    asked = [ask(words(count, count), sampling=GREEDY) for count in (3, 9, 17, 60)]
    before, others = [answer.text for answer in answers(engine, asked)], processes(os.getpid())
    following = opened(nudge(engine._where, tmp_path / "next"))
    whole = AutoModelForCausalLM.from_pretrained(tmp_path / "next").eval()
    after = [answer.text for answer in answers(following, asked)]
    own = processes(os.getpid()) - others
    following.close()
    assert own and gone(own)
    assert after == [generated(whole, following, request.messages[0].content)[0] for request in asked] != before


RUN = """
from functools import partial

if __name__ == "__main__":
    from selfreward.engines.sampling import vllm
    from selfreward.cli import main

    vllm.EngineArgs = partial(vllm.EngineArgs, enforce_eager=True)
    main()
"""
FEW = {"ift": 200, "eft": 800, "heldout_prompts": 4, "heldout_rankings": 2}


@pytest.fixture
def started(tmp_path):
    """Starts `selfreward run` on the micro recipe with the vllm backend, cut down to where its judge still gives scores."""
    import selfreward.lab.micro

    seed = Path(selfreward.lab.micro.__file__).parent / "seed"
    for name, rows in FEW.items():
        lines = (seed / f"{name}.jsonl").read_text().splitlines(keepends=True)
        (tmp_path / f"{name}.jsonl").write_text("".join(lines[:rows]))
    small = {
        "iterations": 1, "prompts.per_iteration": 16, "sft.baseline": "false", "sft.epochs": 2, "dpo.epochs": 1,
        "measure.judging": "false", "backend.type": "vllm", "backend.device": "auto",
        **{f"data.{name}": tmp_path / f"{name}.jsonl" for name in FEW},
    }  # fmt: skip
    (tmp_path / "go.py").write_text(RUN)
    settings = [part for name, value in small.items() for part in ("--set", f"{name}={value}")]
    command = [sys.executable, str(tmp_path / "go.py"), "run", "micro", "--folder", str(tmp_path / "run"), *settings]
    return lambda: subprocess.Popen(command, cwd=tmp_path, env={**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1"})


@real
def test_a_run_samples_with_vllm_trains_and_samples_again_and_a_kill_leaves_no_engine_behind(started, tmp_path):
    run, journal = started(), tmp_path / "run" / "M2" / "judgments.journal.jsonl"
    while run.poll() is None and not (journal.exists() and journal.read_bytes().count(b"\n") > 3):
        time.sleep(0.05)
    own = processes(run.pid)
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert own and gone(own)
    kept = journal.read_bytes() if journal.exists() else b""
    kept = kept[: kept.rfind(b"\n") + 1]
    assert kept.count(b"\n") > 3
    assert started().wait() == 0
    receipt = json.loads((tmp_path / "run" / "M2" / "model.receipt.json").read_text())
    assert receipt["steps"] > 0 and (tmp_path / "run" / "summary.json").exists()
    lines = [json.loads(line) for line in (tmp_path / "run" / "M2" / "judgments.jsonl").read_text().splitlines()]
    texts = Counter(line["rationale"] for line in lines)
    assert not Counter(answer["text"] for line in kept.splitlines() for answer in json.loads(line)["completions"]) - texts
