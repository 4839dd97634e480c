"""The comparison of speeds: that every arm does the same work, that what is counted is what was computed, the floor, the page."""

import json
import math
import os
import re
import shutil
import sys
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

import selfreward
from selfreward import loop
from selfreward.cli import app
from selfreward.engines import fake, load_tokenizer, prompt_ids
from selfreward.errors import SelfRewardError
from selfreward.lab.speed import baseline, beside, compare, measure, ours, peers, rates, served, targets, trainings
from selfreward.lab.speed.floor import Asked, Need, Shape, candidates, dpo, judging
from selfreward.lab.speed.ledger import Enough, Ledger
from selfreward.lab.speed.measure import apart, missing
from selfreward.lab.speed.overhead import overhead
from selfreward.lab.speed.sitting import Sitting, plan_sitting
from selfreward.lab.speed.tables import page
from selfreward.lab.speed.utilisation import share
from selfreward.lab.speed.work import Work, by_score, score
from selfreward.lab.speed.world import make_tokenizer, make_world, never_ends, settings
from selfreward.records import Message, Response
from selfreward.rundir import ModelFolder
from tinyrun import make_world as make_run

SMALL = {
    "prompts": 2, "n": 3, "k": 2, "prompt_tokens": 5, "candidate_tokens": 4, "judgment_tokens": 3, "rubric_head": 40,
    "rubric_tail": 6, "batch": 2,
}  # fmt: skip
"""A judge's prompt has 40 + 5 + 4 + 6 = 55 tokens, 15 of its own; 6 candidates, 12 judgments."""
READ_BY_ALL = {"candidates decode": 6 * 3, "judging decode": 12 * 2}
"""Every sampled token but the last of each sample is read, one at a time."""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    shape = make_world(folder, "tiny", "float32", "cpu")
    return Work(model=folder, vocabulary=shape.vocabulary, **SMALL)


def spent(arm, work, folder, train=False):
    ledger = Ledger("cpu")
    arm(work, ledger, folder, train)
    return ledger.found()


def words(text):
    return [word for word in text.split() if "{" not in word]


# the work


def test_a_judges_prompt_has_the_papers_length_in_tokens(world):
    work = replace(Work(model=world.model, vocabulary=world.vocabulary), prompts=2)
    tokenizer = load_tokenizer(work.model)
    first, second = (
        prompt_ids(tokenizer, [Message(role="user", content=asked)])
        for asked in baseline.judge_prompts(work, work.texts(), [[" ".join(["w3"] * 48)], [" ".join(["w4"] * 48)]])
    )
    assert len(first) == len(second) == work.judge_tokens == 1570
    assert first[:1260] == second[:1260] and first[1260:1316] != second[1260:1316] and first[-206:] == second[-206:]
    assert tokenizer.unk_token_id not in first


def test_what_is_decoded_encodes_to_as_many_tokens_again():
    tokenizer = make_tokenizer(40)
    ids = [3, 39, 17, 17]
    assert tokenizer(tokenizer.decode(ids), add_special_tokens=False)["input_ids"] == ids


@pytest.mark.parametrize("tied", [False, True])
def test_no_turn_ever_ends(tied):
    config = settings("tiny")
    config.tie_word_embeddings = tied
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)

    @torch.no_grad()
    def likeliest_special():
        """Of the special tokens' probability, the largest after any word, in any place of a long text."""
        ids = torch.randint(3, config.vocab_size, (4, 60), generator=torch.Generator().manual_seed(1))
        return float(model(input_ids=ids).logits.softmax(-1)[..., :3].sum(-1).max())

    assert likeliest_special() > 0.01  # as random weights have it
    never_ends(model)
    assert likeliest_special() < 1e-9


def test_a_shape_that_is_none_is_told():
    with pytest.raises(SelfRewardError, match="is no shape of a model"):
        settings("70b")


def test_a_folders_config_tells_a_shape(world):
    assert settings(str(world.model)).hidden_size == 32


def test_the_stand_in_is_the_same_for_every_arm_and_pairs_come_of_it():
    assert score("123456789") == 5 * 0xCBF43926 / 2**32  # the check value of the CRC's definition
    told = [Response(prompt_id="p", model="m", index=at, text=f"w{at}", finish="length") for at in range(3)]
    pair = by_score("p", list(zip([2.0, 4.5, 1.0], told, strict=True)))
    assert (pair.chosen_id, pair.rejected_id) == (told[1].id, told[2].id)
    assert by_score("p", list(zip([2.0, 2.0], told, strict=False))) == "tie"


# what the arms compute, counted


def test_ours_reads_the_rubric_once_and_each_prompt_once(world, tmp_path):
    found = spent(ours.selfreward, world, tmp_path)
    read = {"candidates prefill": 2 * 5, "judging prefill": 40 + 6 * 15}
    assert found["tokens"] == {**read, **READ_BY_ALL}


@pytest.mark.parametrize("arm", [baseline.batched, baseline.one_by_one])
def test_generate_reads_every_prompt_for_every_sample(arm, world, tmp_path):
    found = spent(arm, world, tmp_path)
    assert found["tokens"] == {"candidates prefill": 6 * 5, "judging prefill": 12 * 55, **READ_BY_ALL}


def test_the_arms_sample_the_same_number_of_tokens(world, tmp_path):
    for arm in (ours.selfreward, baseline.batched, baseline.one_by_one):
        assert spent(arm, world, tmp_path)["sampled"] == {"candidates": 6 * 4, "judging": 12 * 3}


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("filling", ["eos_token_id", "pad_token_id"])
def test_what_generate_fills_an_ended_text_up_with_is_not_sampled(filling, several, world, monkeypatch):
    ledger = Ledger("cpu")
    generator = baseline.Generator(world, ledger)
    end, fill = generator.tokenizer.eos_token_id, getattr(generator.tokenizer, filling)
    if several:
        monkeypatch.setattr(generator.model.generation_config, "eos_token_id", [end, 9])
    came = torch.tensor([[3, 4, 5, 6, 9 if several else end, fill], [3, 4, 5, 6, 7, 8]])
    monkeypatch.setattr(generator.model, "generate", lambda **given: came)
    with ledger.stage("candidates"):
        generator.sample(["w3 w4", "w5 w6"], 1, 4, 2)
    assert ledger.sampled == {"candidates": 2 + 4}


def test_chunks_change_calls_and_not_work(world, tmp_path):
    calls = []
    generate = AutoModelForCausalLM.from_pretrained(world.model).__class__.generate

    def counting(model, **given):
        calls.append(given["input_ids"].shape[0])
        return generate(model, **given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("transformers.LlamaForCausalLM.generate", counting)
        spent(baseline.batched, replace(world, chunks=(2, 4)), tmp_path)
    assert calls == [2, 4, 2]  # two prompts at once; six judge's prompts by four


def test_every_arm_takes_the_same_steps_of_dpo(world, tmp_path):
    spent(ours.selfreward, world, tmp_path, train=True)
    found = spent(baseline.batched, world, tmp_path, train=True)  # raises where they are not `work.steps`
    receipt = json.loads((tmp_path / "run" / "M2" / "model.receipt.json").read_text())
    assert receipt["steps"] == world.steps == 1
    assert found["tokens"]["dpo prefill"] == 2 * 2 * 2 * (5 + 4 + 1)  # policy and reference, two pairs, two rows each


def test_adapters_are_trained_where_they_are_asked_for(world, tmp_path):
    work = replace(world, lora=True)
    spent(baseline.batched, work, tmp_path, train=True)
    spent(ours.selfreward, work, tmp_path, train=True)
    assert (tmp_path / "run" / "M2" / "model" / "adapter").is_dir()


def test_onlinedpo_samples_two_for_each_prompt(world, tmp_path):
    found = spent(peers.online_dpo, replace(world, n=2), tmp_path, train=True)
    assert found["sampled"] == {"candidates": 2 * 2 * 4, "judging": 2 * 2 * 2 * 3}
    assert (found["tokens"]["judging prefill"], found["tokens"]["candidates decode"]) == (8 * 55, 4 * 3)
    assert min(found["wall"][stage] for stage in ("candidates", "judging", "dpo")) > 0


@pytest.mark.skipif(find_spec("self_rewarding_lm_pytorch") is None, reason="pip install 'selfreward-lm[bench]'")
def test_their_arm_ends_and_reads_all_again_for_every_token(world, tmp_path):
    found = spent(peers.lucidrains, world, tmp_path, train=True)
    assert found["sampled"] == {"candidates": 6 * 4, "judging": 12 * 3}
    read = sum(60 + at for at in (1, 2, 3))  # the judge's prompt holds the prompt's five tokens twice
    assert found["tokens"]["judging prefill"] == 12 * read
    assert found["tokens"]["candidates prefill"] == 6 * sum(5 + at for at in (1, 2, 3, 4))


@pytest.mark.parametrize("arm", [ours.selfreward, baseline.batched, baseline.one_by_one])
def test_an_arm_may_end_with_its_candidates(arm, world, tmp_path):
    ledger = Ledger("cpu", last="candidates")
    with pytest.raises(Enough):
        arm(replace(world, judging=False), ledger, tmp_path, True)
    assert set(ledger.wall) == {"candidates"} == set(ledger.found()["sampled"])


# another build

SOURCES = str(Path(selfreward.__path__[0]).parent)


@pytest.mark.parametrize(("judging", "stages"), [(True, {"candidates", "judging", "dpo"}), (False, {"candidates"})])
def test_another_build_is_measured_by_its_own_code(judging, stages, world):
    work = replace(world, judging=judging, dpo=False, earlier=SOURCES)
    found = measure.measured("o", work, print)
    assert set(found["cpu"]) == stages
    here = measure.measured("a", work, print)
    assert found["tokens"] == here["tokens"] and found["sampled"] == here["sampled"]


def test_another_build_is_asked_with_the_fields_that_it_knows(world, tmp_path):
    older = tmp_path / "src"
    shutil.copytree(Path(SOURCES) / "selfreward", older / "selfreward", ignore=shutil.ignore_patterns("__pycache__"))
    module = older / "selfreward" / "lab" / "speed" / "work.py"
    module.write_text(module.read_text().replace("    earlier: str = ", "    another: str = "))
    found = measure.measured("o", replace(world, dpo=False, earlier=str(older)), print)
    assert found["sampled"] == {"candidates": 6 * 4, "judging": 12 * 3}


def test_another_build_that_raises_is_a_row(world, tmp_path):
    (tmp_path / "selfreward" / "lab" / "speed").mkdir(parents=True)
    (tmp_path / "selfreward" / "__init__.py").touch()
    for room in ("lab", "lab/speed"):
        (tmp_path / "selfreward" / room / "__init__.py").touch()
    (tmp_path / "selfreward" / "lab" / "speed" / "measure.py").write_text("raise KeyError('no such thing')")
    found = measure.measured("o", replace(world, earlier=str(tmp_path)), print)
    assert "KeyError: 'no such thing'" in found["died"] and str(tmp_path) in found["died"]


def test_an_earlier_build_runs_a_recipe_by_name_and_one_that_cannot_ends_in_a_line_before_ours_has_run(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(compare, "apart", lambda call, *given, **rest: asked.append((call.__name__, *given)) or call(*given))
    file = tmp_path / "own.toml"
    speed = tmp_path / "selfreward" / "lab" / "speed"
    speed.mkdir(parents=True)
    for empty in (file, tmp_path / "selfreward" / "__init__.py", speed / "ours.py"):
        empty.touch()
    for recipe, given in (("micro", "micro"), (str(file), str(file))):
        with pytest.raises(SelfRewardError, match=r"iterations: .*No module named 'selfreward\.lab"):
            compare.bench(Sitting(overhead=recipe, earlier=str(tmp_path)), tmp_path / "out", tmp_path, print)
        assert asked.pop() == ("measured_there", tmp_path, "iterations", {"recipe": given}) and not asked


@pytest.mark.parametrize("way", [{"kinds": ("sft",)}, {"overhead": "micro"}, {"profile": True}, {"arms": ("a", "o")}])
def test_a_folder_without_a_package_is_refused_and_this_build_is_not_measured_in_its_place(way, tmp_path):
    with pytest.raises(SelfRewardError, match="no package selfreward with benches is there") as told:
        compare.bench(Sitting(earlier=str(tmp_path), model="tiny", **way), tmp_path / "out", tmp_path, print)
    assert told.value.where == str(tmp_path) and not (tmp_path / "out").exists()


def test_what_cannot_be_measured_at_all_is_said_at_once(tmp_path):
    with pytest.raises(SelfRewardError, match=r"has no config\.json"):
        compare.bench(Sitting(real=True, model=str(tmp_path)), tmp_path / "out", tmp_path, print)
    with pytest.raises(SelfRewardError, match="no arm is left to measure"):
        compare.bench(Sitting(arms=("o",), model="tiny"), tmp_path / "out", tmp_path / "world", print)
    for wrong, now in (
        ({"device": "gpu"}, "--device cpu or cuda"),
        ({"dtype": "int8"}, "--dtype"),
        ({"kinds": ("ppo",)}, "sft, dpo"),
    ):
        with pytest.raises(SelfRewardError) as told:
            plan_sitting(wrong)
        assert now in told.value.now


def test_without_its_sources_another_build_is_left_out(world, tmp_path):
    assert "no folder of its sources was given" in missing("o", world)
    assert "no folder" in missing("o", replace(world, earlier=str(tmp_path)))
    assert not missing("o", replace(world, earlier=SOURCES))


# trainings alone


@pytest.mark.parametrize("kind", ["sft", "dpo"])
def test_every_trainer_learns_the_same_tokens_by_the_same_loss(kind, world):
    lesson = {
        "kind": kind, "model": str(world.model), "vocabulary": world.vocabulary, "rows": 6, "batch": 6, "prompt": (5, 9),
        "response": (6, 12), "dtype": "float32", "seed": 0,
    }  # fmt: skip
    found = {sort: trainings.spent({"sort": sort, "lesson": lesson}) for sort in trainings.OF_KIND[kind] if sort != "earlier"}
    assert {each["steps"] for each in found.values()} == {1}
    losses = [each["loss"] for each in found.values()]
    assert losses == pytest.approx([losses[0]] * len(losses), rel=1e-5)
    if kind == "sft":  # the mean over responses and their ends, by transformers itself
        assert losses[0] == pytest.approx(loss_by_hand(lesson), rel=1e-5)
    else:
        assert losses[0] == pytest.approx(math.log(2), rel=1e-5)


def test_a_sitting_of_trainings_says_what_each_took_and_nothing_that_a_trainer_prints(world, capfd):
    lesson = {
        "model": str(world.model), "vocabulary": world.vocabulary, "rows": 2, "batch": 2, "prompt": (5, 9), "response": (6, 12),
        "dtype": "float32", "seed": 0,
    }  # fmt: skip
    said = []
    found = list(beside.learn("dpo", lesson, "", 1, apart, said.append))
    assert [run["sort"] for run in found] == ["ours", "trl"] and not any("died" in run for run in found)
    assert [line.split(":")[0] for line in said if "processor" in line] == ["dpo, selfreward", "dpo, TRL"]
    assert capfd.readouterr() == ("", "")


def loss_by_hand(lesson):
    tokenizer, model = load_tokenizer(Path(lesson["model"])), AutoModelForCausalLM.from_pretrained(lesson["model"])
    total, count = 0.0, 0
    for prompt, response in trainings.examples(lesson):
        before, after = tokenizer(prompt)["input_ids"], [*tokenizer(response)["input_ids"], tokenizer.eos_token_id]
        with torch.no_grad():
            told = model(input_ids=torch.tensor([before + after])).logits[0].log_softmax(-1)
        total -= sum(float(told[len(before) + at - 1, word]) for at, word in enumerate(after))
        count += len(after)
    return total / count


def test_a_packed_step_has_as_many_tokens_as_one_of_whole_examples():
    lesson = {"batch": 16, "prompt": (20, 60), "response": (20, 120)}
    assert trainings._in_one_step(lesson) == {"per_device_train_batch_size": 3}  # 16 · (40 + 70 + 1) of 512


# engines


def test_the_engines_are_those_that_the_user_named(tmp_path):
    named = served.engines(tmp_path, "", ("x.gguf",), "")
    assert [(each.arm, each.dtype) for each in named] == [("a", "float32"), ("a", "bfloat16"), ("b", "float32")]
    named = served.engines(tmp_path, "/l/python", ("/x/f32.gguf", "/x/q4.gguf"), "/v/python")
    assert [(each.arm, each.title) for each in named[3:5]] == [("f", "llama.cpp, f32.gguf"), ("f", "llama.cpp, q4.gguf")]
    assert [(each.arm, each.python, each.file) for each in named[5:]] == [("g", "/v/python", str(tmp_path))] * 2


def test_a_server_that_does_not_begin_is_told_with_its_last_words(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    engine = served.Engine("f", "llama.cpp", python=sys.executable, file="x.gguf")
    monkeypatch.setattr(served, "LLAMA", "raise SystemExit('no room at all')")
    with pytest.raises(SelfRewardError, match="does not serve the model: no room at all"), served.serving(engine, 1):
        pass


def test_a_server_serves_until_its_block_ends_and_its_children_are_counted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    busy = (
        "import sys, subprocess, http.server\n"
        "work = 'import time\\nwhile time.process_time() < .6: pass\\ntime.sleep(600)'\n"
        "child = subprocess.Popen([sys.executable, '-c', work])\n"
        "class Told(http.server.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        "        self.send_response(200), self.end_headers(), self.wfile.write(b'{}')\n"
        "http.server.HTTPServer(('127.0.0.1', int(sys.argv[2])), Told).serve_forever()\n"
    )
    monkeypatch.setattr(served, "LLAMA", busy)
    engine = served.Engine("f", "llama.cpp", python=sys.executable, file="x.gguf")
    with served.serving(engine, 1) as server:
        until = time.monotonic() + 60
        while served.seconds(server.pid) < 0.6 and time.monotonic() < until:
            time.sleep(0.1)
        assert served.seconds(server.pid) >= 0.6 and served.memory(server.pid) > 1e6
        (child,) = {int(folder.name) for folder in served._tree(server.pid)} - {server.pid}
        assert server.config.concurrency == served.SLOTS
        os.kill(child, 9)
    assert not Path(f"/proc/{server.pid}").exists()


def test_real_work_is_in_words_and_its_judges_prompts_begin_alike(tmp_path):
    work = served.Spoken(model=tmp_path, vocabulary=0, prompts=3)
    assert len(set(work.texts())) == 3 and work.texts() == work.texts()
    assert work.rubric().count("{prompt}") == work.rubric().count("{response}") == 1
    assert work.rubric().index("{prompt}") > served.BEFORE
    assert replace(work, seed=1).rubric()[:2000] != work.rubric()[:2000]  # a server's cache is not warm for what is measured


# the ledger


def test_time_within_a_stage_within_a_stage_is_booked_once(monkeypatch):
    now = iter([(0, 0), (1, 10), (3, 30), (6, 60), (10, 100)])
    monkeypatch.setattr(Ledger, "_now", lambda ledger: next(now))
    ledger = Ledger("cpu")
    with ledger.stage("dpo"), ledger.stage("judging"):
        pass
    assert ledger.wall == {"dpo": 2 + 4, "judging": 3} and ledger.cpu == {"dpo": 20 + 40, "judging": 30}


# the floor


def test_the_machine_moves_bytes_as_fast_as_it_copies_or_reads_whichever_is_faster(monkeypatch):
    monkeypatch.setitem(rates.COPIED, "cpu", 1000)
    for copying, reading, best in ((4.0, 1.0, 1000.0), (1.0, 4.0, 2000.0)):
        took = iter([1.0, copying, reading])
        monkeypatch.setattr(rates, "_best", lambda call, kind, took=took: next(took))
        assert rates.rates("cpu", "float32")["bytes"] == best


SHAPE = Shape(hidden=8, layers=2, heads=2, kv_heads=1, head=4, between=16, vocabulary=10, parameters=1000)


def test_the_multiply_adds_of_a_token_by_hand():
    # a layer: q and o of 8 by 8, k and v of 8 by 4, and three of 8 by 16
    assert SHAPE.token == 2 * (64 + 64 + 32 + 32 + 3 * 128)
    assert SHAPE.logits == 80 and SHAPE.cached == 2 * 2 * 4
    # three tokens after two others attend to 3, 4 and 5: scores and sums, two heads of 4, two layers
    assert SHAPE.attended(2, 3) == 2 * (2 * 2 * 4) * (3 + 4 + 5)


def test_the_tokens_of_a_shape_cost_what_torch_counts(world):
    from torch.utils.flop_counter import FlopCounterMode

    model = AutoModelForCausalLM.from_pretrained(world.model, attn_implementation="eager")
    shape = Shape(**json.loads((world.model / "shape.json").read_text()))
    with FlopCounterMode(display=False) as counted:
        model(input_ids=torch.full((1, 7), 3), logits_to_keep=1)
    full = shape.read(0, 7) + shape.logits + shape.layers * 2 * shape.heads * shape.head * 7 * 6 // 2  # the masked half too
    assert counted.get_total_flops() == 2 * full
    assert shape.parameters == sum(weights.numel() for weights in model.parameters())


def test_what_sampling_needs_by_hand():
    asked = Asked(((1, 5), (2, 3)), samples=4, tokens=3)
    adds = SHAPE.read(0, 5) + 2 * SHAPE.read(5, 3) + 4 * SHAPE.read(8, 2) + (2 + 4 * 2) * SHAPE.logits
    held = 5 + 2 * 3
    # three passes read the weights; the texts are written once and read twice; a sample writes 2 tokens and reads 1, then 2
    numbers = 3 * 1000 + 16 * (3 * held + 4 * (2 + 3))
    assert asked.need(SHAPE, 4) == Need(adds, 4 * numbers)


def test_what_a_stage_asks_is_a_tree(world):
    assert candidates(world) == Asked(((2, 5),), 6, 4)
    assert judging(world) == Asked(((1, 40), (2, 5), (6, 10)), 12, 3)


def test_what_dpo_needs_by_hand(world):
    need = dpo(world, SHAPE)
    forward = SHAPE.read(0, 5) + 2 * (SHAPE.read(5, 5) + 5 * SHAPE.logits)
    assert need == Need(4 * 2 * forward, 4 * (1000 * 10 + 1000))


def test_the_floor_is_whichever_takes_longer():
    assert Need(100, 10).seconds({"multiply_adds": 50, "bytes": 10}) == 2
    assert Need(100, 10).seconds({"multiply_adds": 50, "bytes": 2}) == 5


def test_utilisation_is_six_operations_a_parameter_and_token():
    assert share(1000, 50, 2.0, 300_000) == pytest.approx(6 * 1000 * 50 / (2 * 2 * 300_000))


# the page

WORK = {**compare._asked(Work(model="x", vocabulary=10)), "chunks": [4, 1]}
KNOWN = {
    "model": "1m", "shape": SHAPE._asdict(), "date": "2026-01-01", "rates": {"multiply_adds": 2e9, "bytes": 1e9},
    "machine": {"processor": "an abacus", "cores": 2, "threads": 1, "versions": {"torch": "2.13"}},
}  # fmt: skip


def run(arm, role, candidates, judging, dpo, prefill=100, **more):
    wall = {"candidates": candidates, "judging": judging, "dpo": dpo}
    tokens = {"candidates prefill": 10, "judging prefill": prefill}
    inside = {stage: 0.9 * seconds for stage, seconds in wall.items()}
    return {
        "arm": arm, "role": role, "wall": wall, "cpu": {stage: 2 * seconds for stage, seconds in wall.items()}, "inside": inside,
        "tokens": tokens, "sampled": {"candidates": 500, "judging": 300}, "device_peak": {}, "peak": 7e8, **more,
    }  # fmt: skip


def arms_part():
    runs = [
        run("b", "chunk 1", 9, 9, 9), run("b", "control first", 1, 10, 1, 1500), run("a", "repeat 1", 1, 2, 1),
        run("b", "repeat 1", 2, 10, 2, 1500), run("a2", "repeat 1", 1, 1, 1), run("e", "repeat 1", 2, 2, 2, 300),
        run("a", "repeat 2", 1, 4, 1), run("a", "repeat 3", 1, 3, 1), {"arm": "d", "role": "repeat 1", "died": "it was killed"},
        run("b", "control last", 1, 12, 2, 1500),
    ]  # fmt: skip
    return {**KNOWN, "work": WORK, "arms": ["a", "b", "d", "a2", "e"], "left_out": ["no trl"], "runs": runs}


def rows(text, start):
    lines = [line for line in text.splitlines() if line.startswith(f"| ({start})")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_the_page_has_medians_and_ratios_against_ours():
    text = page({"arms 1m 32": arms_part()})
    wall, processor, tokens = rows(text, "a")
    assert wall[1:] == ["1.00", "3.00", "1.00", "5.00", "4.00 to 6.00", "1.00", "1.00", "1.00", "1.00", "700"]
    wall, processor, tokens = rows(text, "b")
    assert wall[1:] == ["2.00", "10.00", "2.00", "14.00", "14.00 to 14.00", "2.00", "3.33", "2.00", "2.80", "700"]
    assert processor[1:5] == ["4.00", "20.00", "4.00", "28.00"] and processor[9] == "2.80"
    assert tokens[-1] == "15.0"
    assert "(b) took 12.00 s before all others and 15.00 s after them, +25 %" in text
    assert "10.0 % is neither engine nor trainer" in text and "DPO is 20 % of it" in text
    assert "no trl" in text and "(d) repeat 1: it was killed." in text


def test_two_candidates_never_stand_beside_four():
    text = page({"arms 1m 32": arms_part()})
    four, two = text.split("N = 2. Seconds")
    assert "N = 4. Seconds" in four and not rows(four, "e") and not rows(four, "a2")
    assert rows(two, "e")[0][7] == "2.00" and not rows(two, "b")  # judging, against ours at N = 2


def test_the_page_sets_the_floor_beside_ours():
    line = next(line for line in page({"arms 1m 32": arms_part()}).splitlines() if line.startswith("| judging |"))
    need = judging(Work(model="x", vocabulary=10)).need(SHAPE, 4)
    floor = max(need.multiply_adds / 2e9, need.bytes / 1e9)
    _, adds, moved, least, took, times, speed, theirs = [cell.strip() for cell in line.strip("|").split("|")]
    assert (adds, moved) == (f"{need.multiply_adds / 1e9:,.2f}", f"{need.bytes / 1e9:,.2f}")
    assert (least, took, times, speed) == (f"{floor:.3f}", "6.00", f"{6 / floor:.1f}", "50")  # of one thread's processor seconds
    assert theirs == "15"
    two = {**arms_part(), "machine": {**KNOWN["machine"], "threads": 2}}
    line = next(line for line in page({"arms 1m 32": two}).splitlines() if line.startswith("| judging |"))
    assert line.split("|")[5].strip() == "3.00"  # of the clock


def test_the_page_tells_what_the_machine_could_do_before_and_after():
    ends = [{"multiply_adds": 1e9, "bytes": 1e9}, {"multiply_adds": 3e9, "bytes": 1e9}]
    text = page({"arms 1m 32": {**arms_part(), "ends": ends}})
    assert "does 2.0 billion multiply-adds and 1.0 GB a second: 1.0 billion before the arms, 3.0 after them" in text


def test_the_page_tells_what_is_wrong_with_an_arm_that_ran():
    text = page({"arms 1m 32": arms_part()})
    assert "wrong work" in text and "N = 2 and nowhere else" in text and "re-creates" not in text


def test_the_page_of_a_sweep_compares_the_cost_of_a_prompt():
    runs = [{**run("a", "repeat 1", 1, 2, 1), "prompts": 4}, {**run("a", "repeat 1", 2, 4, 3), "prompts": 8}]
    text = page({"sweep 1m": {**KNOWN, "work": WORK, "runs": runs}})
    assert "| 4 | 2000.00 | 1000.00 | +0 % | – |" in text and "| 8 | 2250.00 | 1125.00 | +12 % | 2500.00 |" in text
    assert "| dpo |" in text and "without DPO" not in text
    text = page({"sweep 1m without dpo": {**KNOWN, "work": {**WORK, "dpo": False}, "runs": runs}})
    assert "without DPO" in text and "dpo |" not in text


def test_the_page_tells_how_busy_the_machine_was():
    busy = {**arms_part(), "machine": {**KNOWN["machine"], "load": 9.04}}
    assert "thread, a load of 9.0 before it began (more than its cores: read processor seconds" in page({"arms 1m 32": busy})
    assert "a load of" not in page({"arms 1m 32": arms_part()})  # of one measured before this was kept


def test_the_page_of_a_training_tells_its_utilisation():
    run = {"kind": "sft", "tokens": 1000, "seconds": 2.0, "peak": 1e9, "device_peak": 0}
    text = page({"training 1m all": {**KNOWN, "lora": False, "runs": [run]}})
    assert "| SFT | 1,000 | 2.00 | 500 | 0.1 % | 1,000 |" in text  # 6e6 operations of 8e9


def trainers_part():
    sorts = (("ours", 10.0, 5e8), ("earlier", 25.0, 1e9), ("trl", 30.0, 2e9), ("packed", 14.0, 2e9))
    runs = [{"sort": sort, "cpu": cpu, "wall": 2 * cpu, "peak": peak, "steps": 2, "loss": 1.5} for sort, cpu, peak in sorts]
    lesson = {"rows": 16, "batch": 8, "prompt": [128, 128], "response": [383, 383], "dtype": "float32"}
    return {**KNOWN, "kind": "sft", "lesson": lesson, "runs": [*runs, {"sort": "trl", "died": "it raised"}]}


def test_the_page_of_trainings_alone_has_ratios_and_first_losses():
    text = page({"trainers 1m sft 16 383": trainers_part()})
    assert "| selfreward, an earlier build | 25.00 | 2.50 | 50.00 | 1,000 | 2.00 | 2 | 1.500000 |" in text
    assert "| TRL | 30.00 | 3.00 | 60.00 | 2,000 | 4.00 | 2 | 1.500000 |" in text and "TRL: it raised." in text


def engines_part():
    def of(arm, title, dtype, candidates, judging):
        cpu = {"candidates": candidates, "judging": judging}
        sampled = {"candidates": 100, "judging": 300}
        return {"arm": arm, "title": title, "dtype": dtype, "cpu": cpu, "wall": cpu, "sampled": sampled, "peak": 1e9}

    runs = [
        of("a", "ours", "float32", 10, 30), of("a", "ours16", "bfloat16", 20, 20), of("b", "generate()", "float32", 15, 450),
        of("f", "q4", "as in the file", 5, 60), of("g", "vLLM16", "bfloat16", 40, 10),
        {"arm": "g", "title": "vLLM, float32", "dtype": "float32", "died": "it raised"},
    ]  # fmt: skip
    return {**KNOWN, "threads": 1, "packages": {"xllamacpp": "1"}, "work": {**WORK, "judging": True}, "runs": runs}


def test_the_page_of_engines_has_tokens_a_processor_second():
    text = page({"engines x 2 32": engines_part()})
    assert "| (f) q4 | 100 | 20.0 | 20.0 | 2.00 | 300 | 5.0 | 5.0 | 0.50 | 1,000 |" in text
    assert "(g) vLLM, float32: it raised." in text and "xllamacpp 1." in text


def test_engines_that_judged_nothing_have_no_columns_of_judging_and_no_target():
    whole = engines_part()
    runs = [{**run, "cpu": {"candidates": 5.0}} for run in whole["runs"]]
    part = {**whole, "work": {**whole["work"], "judging": False}, "runs": runs}
    assert "judg" not in page({"engines x 2 32 no-judging": part}).split("engines beside each other")[1]
    assert all(target.name.startswith("candidates") for target in targets._engines(part))


def test_targets_are_held_against_processor_seconds():
    found = {each.name: each for each in targets._trainers(trainers_part())}
    (only,) = found.values()  # packing is TRL at its best, and SFT has no target of memory
    assert (only.found, only.met) == (1.4, False)
    dpo = {**trainers_part(), "kind": "dpo"}
    time, memory = targets._trainers(dpo)
    assert memory.found == 0.5 and memory.met and not memory.least
    shorter = {**dpo, "lesson": {**dpo["lesson"], "response": [20, 120]}}
    assert [each.name for each in targets._trainers(shorter)] != [time.name], "two sittings have one name"
    engines = list(targets._engines(engines_part()))
    generate, file, numbers = ([(each.found, each.met) for each in engines[at : at + 2]] for at in (0, 2, 4))
    assert generate == [(1.5, False), (15.0, True)]  # it is to be beaten by more than a server is
    assert file == [(0.5, False), (2.0, True)]  # by ours in float32
    assert numbers == [(2.0, True), (0.5, False)]  # by ours in the same type of number
    arms = [each for each in targets._arms(arms_part()) if "floor" not in each.name]
    assert [(each.found, each.met) for each in arms] == [(2.0, True), (pytest.approx(10 / 3), False)]


def test_no_two_targets_have_one_name():
    part = {**arms_part(), "machine": {**KNOWN["machine"], "threads": 1}}
    longer = {**part, "work": {**part["work"], "judgment_tokens": 128}}
    names = [each.name for sitting in (part, longer) for each in targets._arms(sitting)]
    assert len(names) == len(set(names)) == 8


def test_the_floor_is_a_target_where_one_thread_ran():
    with_floor = {**arms_part(), "machine": {**KNOWN["machine"], "threads": 1}}
    assert not [
        each for each in targets._arms({**with_floor, "machine": {**KNOWN["machine"], "threads": 2}}) if "floor" in each.name
    ]
    found = {each.name: each for each in targets._arms(with_floor) if "floor" in each.name}
    floor = judging(Work(model="x", vocabulary=10)).need(SHAPE, 4).seconds(KNOWN["rates"])
    assert [each.found for each in found.values() if each.name.startswith("judging")] == [pytest.approx(6.0 / floor)]


def test_an_earlier_build_is_beside_ours_in_targets_and_table():
    part = arms_part()
    part = {**part, "arms": [*part["arms"], "o"], "runs": [*part["runs"], run("o", "repeat 1", 2, 9, 1)]}
    found = {each.name.split(":")[0]: each.found for each in targets._arms(part) if "earlier" in each.name}
    iteration = "iteration, judgments of 32 tokens, 1m, 16 prompts"
    assert found == {"judging, 32 tokens, 1m, 16 prompts": 3.0, iteration: pytest.approx(12 / 5)}
    assert rows(page({"arms 1m 32": part}), "o")[0][7] == "3.00"


def test_what_is_superseded_comes_last_and_meets_no_target():
    text = page({"arms old": {**arms_part(), "superseded": True}, "engines x 2 32": engines_part()})
    assert text.index("engines beside each other") < text.index("# Of an earlier build") < text.index("## 1m, judgments")
    assert "generate() ÷ ours" not in text.split("## 1m, judgments")[0]


def test_candidates_alone_have_a_table_of_their_own():
    runs = []
    for arm, took in (("a", 1), ("b", 3)):
        alone = {"candidates": took}
        runs.append({**run(arm, "repeat 1", took, 0, 0), "cpu": alone, "wall": alone})
    text = page(
        {"arms 1m": {**KNOWN, "work": {**WORK, "judging": False, "dpo": False}, "arms": ["a", "b"], "left_out": [], "runs": runs}}
    )
    assert "## 1m, candidates alone, 16 prompts" in text and "| judging |" not in text
    assert rows(text, "b")[0][1:] == ["3.00", "3.00", "3.00 to 3.00", "3.00", "3.00", "700"]


# the sitting


def test_the_share_that_is_not_the_model_is_of_the_iterations_alone(tmp_path, monkeypatch):
    recipe, waits = make_run(tmp_path), {"generate": 0.002, "_train": 0.3}
    for owner, name in ((fake.FakeModel, "generate"), (fake.FakeTrainer, "_train")):
        real = getattr(owner, name)
        slow = lambda *given, real=real, name=name: [time.sleep(waits[name]), real(*given)][1]  # noqa: E731
        monkeypatch.setattr(owner, name, slow)
    monkeypatch.setattr(loop, "iterate", loop.iterate)  # what is booked is put back when the test ends
    monkeypatch.setattr(ModelFolder, "train_dpo", ModelFolder.train_dpo)
    found = overhead(str(recipe))
    assert 0.3 < found["inside"] < 0.6  # one training of two: that of M1 is no part of an iteration
    assert found["inside"] < found["seconds"]
    assert found["outside"] == pytest.approx(1 - found["inside"] / found["seconds"])


@pytest.fixture
def sat(monkeypatch, tmp_path):
    """A sitting with invented figures: what was asked of which arm, in order."""
    asked = []

    def measured(arm, work, say):
        asked.append((arm, work.chunks))
        first, second = work.chunks
        return run(arm, "", 1 + abs(first - 4), 10 + abs(second - 16), 1)

    monkeypatch.setattr(compare, "facts", lambda sitting, folder, say: KNOWN)
    monkeypatch.setattr(compare, "able", lambda sitting, say: {"multiply_adds": 4e9, "bytes": 2e9})
    monkeypatch.setattr(compare, "measured", measured)
    monkeypatch.setattr(compare, "missing", lambda arm, work: "")

    def sit(**given):
        sitting = Sitting(judgment_tokens=(32,), repeats=1, **given)
        return compare.bench(sitting, tmp_path / "out", tmp_path, lambda line: None), asked

    return sit


def test_the_baseline_has_its_best_chunk_and_the_control_is_first_and_last(sat):
    page, asked = sat(arms=("a", "b"))
    assert asked[:3] == [("b", (1, 1)), ("b", (4, 4)), ("b", (16, 16))]
    assert asked[3:] == [("b", (4, 16)), ("a", (4, 16)), ("b", (4, 16)), ("b", (4, 16))]
    assert "4 prompts a call for candidates and 16 for judging" in page.read_text()


def test_one_chunk_is_not_tried_and_the_control_may_be_left_out(sat):
    _, asked = sat(arms=("a", "b"), chunks=(8,), control=False)
    assert asked == [("a", (8, 8)), ("b", (8, 8))]


def test_what_the_machine_can_do_is_measured_before_and_after(sat):
    page, _ = sat(arms=("a",))
    (part,) = json.loads(page.with_suffix(".json").read_text()).values()
    assert part["rates"] == {"multiply_adds": 3e9, "bytes": 1.5e9} and [end["bytes"] for end in part["ends"]] == [1e9, 2e9]


def test_parts_measured_at_another_time_stay_on_the_page(sat):
    sat(arms=("a",))
    page, _ = sat(sweep=(4, 8))
    assert "judgments of 32 tokens" in page.read_text() and "cost by the number of prompts" in page.read_text()
    assert len(json.loads(page.with_suffix(".json").read_text())) == 2


def test_an_arm_without_its_package_is_left_out_in_a_line(world, monkeypatch):
    monkeypatch.setattr(measure, "find_spec", lambda name: None)
    assert missing("d", world) == (
        "(d) self-rewarding-lm-pytorch 0.2.12 is left out: there is no self_rewarding_lm_pytorch. "
        "pip install 'selfreward-lm[bench]'"
    )
    assert not missing("a", world) and not measure.can_train()


@pytest.mark.parametrize("work", [{"dpo": False}, {"lora": True}])
def test_a_peer_that_trains_all_weights_in_any_case_is_not_set_beside_less_work(work, world, monkeypatch):
    monkeypatch.setattr(measure, "find_spec", lambda name: name)
    told = [missing(arm, replace(world, **work)) for arm in ("a", "b", "c", "d", "a2", "e")]
    assert [text[:3] for text in told if text] == ["(d)", "(e)"]
    assert not any(missing(arm, world) for arm in ("d", "e"))


def test_a_sitting_without_training_stands_beside_the_whole_one(sat):
    sat(arms=("a",))
    page, _ = sat(arms=("a",), dpo=False)
    titles = [line for line in page.read_text().splitlines() if line.startswith("## ") and "judgments" in line]
    assert len(titles) == 2 and titles[1] == titles[0] + ", without DPO"


def test_an_arm_that_is_killed_is_told_and_the_others_go_on(world, monkeypatch):
    monkeypatch.setattr(measure, "apart", lambda *given, pulse: apart(os._exit, 9))
    assert "ended from outside" in measure.measured("a", world, print)["died"]


def test_an_arm_that_raises_is_told_and_the_others_go_on(world, monkeypatch):
    monkeypatch.setitem(measure.ARMS, "b", measure.ARMS["b"]._replace(call="work:mean"))  # it takes one argument
    assert "it raised TypeError: mean() takes" in measure.measured("b", world, print)["died"]


def test_where_no_chunk_could_be_tried_the_smallest_is_taken_and_the_sitting_goes_on():
    assert compare.best_chunk({4: {"died": "it raised"}, 2: {"died": "it raised"}}, "judging") == 2
    assert compare.best_chunk({1: {"died": "it raised"}, 2: {"wall": {"judging": 9.0}}}, "judging") == 2


def test_an_arm_tells_that_it_lives_and_what_it_does(world, monkeypatch):
    monkeypatch.setattr(measure, "PULSE", 0.2)
    told = []
    measure.measured("b", world, told.append)
    stages = {line.split(") ")[1].split(",")[0] for line in told}
    assert "getting ready" in stages and stages <= {"getting ready", "candidates", "judging", "dpo"} and len(told) > 5


def test_the_command_refuses_what_is_no_number():
    result = CliRunner().invoke(app, ["bench", "sweep", "64,many", "--out", "nowhere"])
    assert result.exit_code == 1 and re.search(r"PROMPTS: 'many' is no positive whole number", result.output)


@pytest.mark.parametrize(
    ("field", "says"),
    [
        ("prompts=many", r"error: prompts: .*valid integer.*, and not 'many'\. Give it as in --set prompts=16$"),
        ("chunks=[0]", r"error: chunks: .*greater than 0, and not 0\. Give it as in --set chunks='\[1, 4, 16\]'$"),
        (
            "sweep=[64]",
            r"error: --set: sweep is no field here\. Leave it out; the fields are prompts, judgment_tokens, chunks, judging",
        ),
    ],
)
def test_a_field_of_the_work_is_refused_in_one_line_that_says_how_it_is_given(field, says, tmp_path):
    result = CliRunner().invoke(app, ["bench", "arms", "a", "--out", str(tmp_path / "out"), "--set", field])
    assert result.exit_code == 1 and re.search(says, result.stderr.strip()), result.output
    assert not (tmp_path / "out").exists()


def test_a_way_of_measuring_is_named_first():
    result = CliRunner().invoke(app, ["bench", "a,b", "--out", "nowhere"], prog_name="selfreward")
    assert (
        result.exit_code == 1
        and "selfreward bench: a,b is not one of its commands. Write selfreward bench arms …" in result.stderr
    )


def test_what_the_help_says_of_the_fields_are_their_defaults():
    profiled = CliRunner().invoke(app, ["bench", "profile", "--help"], env={"COLUMNS": "120"}).output
    assert all(f" {line} " in profiled for line in ("prompts=16", "judgment_tokens='[32]'", "dpo=true", "seed=0"))
    text = CliRunner().invoke(app, ["bench", "arms", "--help"], env={"COLUMNS": "120"}).output
    fields = dict(re.findall(r"^\W*(prompts|judgment_tokens|chunks|judging|dpo|control|earlier|seed)=(\S+)", text, re.MULTILINE))
    assert len(fields) == 8
    assert {name: json.loads(value.strip("'")) for name, value in fields.items()} == {
        name: json.loads(json.dumps(getattr(Sitting(), name))) for name in fields
    }
