"""Several processes do what one does: the same records, the same training to float tolerance, whoever is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from picky import Patient, Picky
from selfreward.checks import check
from selfreward.engines import answers, heard, open_model
from selfreward.engines.machine import connect, gpus_each
from selfreward.engines.training import distributed
from selfreward.engines.training.batches import Batches
from selfreward.engines.training.distributed import DistributedTrainer
from selfreward.engines.training.learner import Learner
from selfreward.engines.training.sharing import Counted, Filled, examples_at, gathered
from selfreward.engines.training.trl import TRLTrainer
from selfreward.errors import OutOfMemory, SelfRewardError, Stopped
from selfreward.recipe import BackendConfig, ClusterConfig, DPOConfig, SFTConfig, TrainerConfig, load_recipe
from selfreward.records import Checkpoint, Message, Request, Response, Sampling, fingerprint
from selfreward.rundir import RESPONSES, Progress, RunDir, Runner
from tinymodels import WORDS, make_model, make_tokenizer, nudge
from tinyrun import PYTHONPATH, go, make_world, tree

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed: pip install 'selfreward-lm[ray]'")
TWO = ClusterConfig(samplers=2, trainers=2)


@pytest.fixture(scope="module")
def ray():
    """One Ray for all tests, of two processors, whose processes find the engines in this file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", PYTHONPATH)
        session = connect(TWO)
        yield session
        session.shutdown()


@pytest.fixture(autouse=True)
def one_thread():
    """The equality is of equal thread counts; the actors have one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def below(what, process=None):
    """Processes under this one whose command line has `what` in it."""
    return [child for child in (process or psutil.Process()).children(recursive=True) if what in " ".join(cmdline(child))]


def cmdline(process):
    try:
        return process.cmdline()
    except psutil.Error:
        return []


# ——— sampling ———


def read_response(request, completion):
    return Response(
        prompt_id=request.about, index=request.index, model=request.model, text=completion.text, finish=completion.finish
    )


def asked(model, prompts=40):
    """Two samples of each of so many prompts, of all lengths, and a budget of tokens that makes many batches."""
    words = [" ".join(WORDS[at : at + 2 + at % 11]) for at in range(prompts)]
    draw = Sampling(temperature=1.0, top_p=0.95, max_tokens=12)
    return [
        Request(about=f"p{at}", index=n, messages=(Message(role="user", content=text),), sampling=draw, seed=2 * at + n,
                model=model.fingerprint)
        for at, text in enumerate(words) for n in range(2)
    ]  # fmt: skip


def sampled(folder, model, cluster, stopping=lambda: False):
    """The bytes of a stage that asks `model`, in `folder`."""
    opener = partial(open_model, config=BackendConfig(device="cpu", max_tokens_in_flight=150), servers={}, cluster=cluster)
    rundir = RunDir(folder, {})
    run = Runner(rundir, opener, lambda: None, Progress(rundir.logs, stopping))
    try:
        run["M2"].complete(RESPONSES, asked(model), model, read_response)
    finally:
        run.unload()
        rundir.close()
    return tree(folder)


@needs_ray
def test_two_actors_one_of_them_killed_give_the_records_of_one_process(ray, tmp_path):
    made = make_model(tmp_path / "base")
    model = Checkpoint(name="M1", path=made, fingerprint=fingerprint(made))
    killed, answered = [], []

    def kill():
        answered.append(1)
        if len(answered) == 3:
            actor = below("ray::Sampler")[0]
            actor.send_signal(signal.SIGKILL)
            killed.append(actor.pid)
        return False

    several = sampled(tmp_path / "several", model, TWO, kill)
    assert len(killed) == 1 and len(answered) >= 6
    assert several == sampled(tmp_path / "one", model, None)
    until(lambda: not below("ray::Sampler"))  # their devices are free


def numbered(count, odd=None):
    """Requests that are told by their index; one says "pippin"."""
    draw = Sampling(temperature=1.0, top_p=1.0, max_tokens=4)
    return [
        Request(about="p", index=n, messages=(Message(role="user", content="pippin" if n == odd else "plum"),), sampling=draw,
                seed=n, model="m")
        for n in range(count)
    ]  # fmt: skip


def batched(model, requests):
    return {number: [requests[at] for at in batch] for number, batch in enumerate(model.batches(requests))}


@needs_ray
def test_a_batch_too_large_is_told_by_its_number_when_the_others_have_come(ray):
    model, requests, come = fanned_out(Picky), numbered(40, odd=17), []
    model.prepare(requests)
    with pytest.raises(OutOfMemory, match="of 8") as error:
        come.extend(model.spread(batched(model, requests)))  # which keeps what came before the error
    assert error.value.batch == 2
    numbers = {number for number, _ in come}
    assert {0, 1} <= numbers and 2 not in numbers and len(numbers) <= 4
    assert {completion.text.split()[1] for _, completion in come} == {"40"}  # each actor was told of all
    model.close()


@needs_ray
def test_an_engine_that_puts_requests_together_gets_many_batches_at_once(ray):
    model, requests = fanned_out(Picky, streams=True), numbered(40)
    come = {(number, int(completion.text.split()[0])) for number, completion in model.spread(batched(model, requests))}
    assert come == {(number, 8 * number + at) for number in range(5) for at in range(8)}
    assert {c.request_id for c in model.generate(requests[:3])} == {r.id for r in requests[:3]}
    model.close()


@needs_ray
def test_tokens_and_answers_are_told_in_the_midst_of_a_batch(ray):
    model, requests, told, come = fanned_out(Patient), numbered(4), [], []
    with heard(model, told.append):
        for number, completion in answers(model, {7: requests}):
            come.append((number, completion.request_id))
            if len(set(come)) < len(requests):
                assert completion.text == "early"
    assert set(come) == {(7, request.id) for request in requests} and len(come) > len(requests)  # early, and when all were there
    assert 2 <= sum(told) <= 4
    model.close()


@needs_ray
def test_what_a_user_can_put_right_comes_out_of_an_actor_as_itself(ray):
    model = fanned_out(Picky, unreadable=True)
    with pytest.raises(SelfRewardError, match=r"^somewhere: cannot be loaded\. Give another$"):
        model.batches(numbered(3))
    model.close()


def fanned_out(engine, **given):
    from selfreward.engines.sampling.ray import RayModel

    return RayModel(partial(engine, **given), TWO)


KILLED_AT_THE_SIXTH_ANSWER = """
import os, signal
from selfreward.engines.sampling.ray import RayModel
result, calls = RayModel._result, []
def dying(self, reference):
    calls.append(1)
    if len(calls) == 6:
        os.kill(os.getpid(), signal.SIGKILL)
    return result(self, reference)
RayModel._result = dying
"""


@needs_ray
def test_a_run_on_ray_killed_and_begun_again_ends_with_the_bytes_of_a_run_without(tmp_path):
    recipe = make_world(tmp_path)
    go(recipe, tmp_path / "plain")
    command = ["run", str(recipe), "-o", str(tmp_path / "run"), "--set", "cluster.samplers=2"]
    for before in (KILLED_AT_THE_SIXTH_ANSWER, ""):
        code = f"{before}\nfrom selfreward.cli import app\napp({command!r})"
        ran = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": PYTHONPATH}, stderr=subprocess.PIPE)
        told = ran.communicate(timeout=120)[1].decode()
        assert ran.returncode == (-signal.SIGKILL if before else 0), told
        ends = time.monotonic() + 30
        while left := [process for process in psutil.process_iter() if f"_{ran.pid}/" in " ".join(cmdline(process))]:
            assert time.monotonic() < ends, left
            time.sleep(0.1)
    run, plain = tree(tmp_path / "run"), tree(tmp_path / "plain")
    assert run.pop("config.json") != plain.pop("config.json") and run.pop("provenance.json") and plain.pop("provenance.json")
    assert run == plain


# ——— training ———

TEXTS = [tuple(" ".join(WORDS[at * k % 30 : at * k % 30 + 2 + at % 5]) for k in (3, 5, 7)) for at in range(1, 22)]
"""21 pairs: six steps of four with one left over, so that at an epoch's end one process has nothing to read."""
RATES = {"learning_rate": 1e-3, "end_learning_rate": 1e-4, "batch_size": 4, "epochs": 2, "dropout": 0, "checkpoint_every": 2}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """M1, and beside it another model for a reference."""
    folder = tmp_path_factory.mktemp("models")
    nudge(make_model(folder / "base"), folder / "reference")
    return folder / "base"


def sft(trainer, base, work, advance=lambda steps: None):
    work.mkdir(exist_ok=True)
    return trainer.sft([pair[:2] for pair in TEXTS], base, SFTConfig(**RATES), 1, work, advance)


def dpo(trainer, base, work, advance=lambda steps: None):
    work.mkdir(exist_ok=True)
    return trainer.dpo(TEXTS, base, base.with_name("reference"), DPOConfig(**RATES, beta=0.5), 1, work, advance)


def shared(**cluster):
    return DistributedTrainer(False, TrainerConfig(), ClusterConfig(trainers=2, **cluster))


def lines(made):
    return [json.loads(line) for line in (made / "metrics.jsonl").read_text().splitlines()]


def assert_same_training(made, alone, start):
    """Losses and weights as in one process, to float tolerance, every step once; and it moved by much more than that."""
    several, one, before = (load_file(folder / "model.safetensors") for folder in (made, alone, start))
    assert max((one[name] - before[name]).abs().max() for name in one) > 5e-3
    for name in one:
        torch.testing.assert_close(several[name], one[name], rtol=1e-4, atol=1e-5)
    (about, *theirs), (_, *ours) = lines(made), lines(alone)
    assert (about["processes"], about["held_in"]) == (2, "DistributedDataParallel")
    assert [line["step"] for line in theirs] == [line["step"] for line in ours]
    # TRL's others are means of the forward passes' means, and hang on how a step is split.
    for figure in {"loss", "rewards/margins", "rewards/accuracies", "logps/chosen"} & set(ours[0]):
        told, expected = ([line[figure] for line in found if figure in line] for found in (theirs, ours))
        assert told == pytest.approx(expected, rel=1e-3, abs=1e-4), figure


def kill_at(step, what, killed):
    """Kills a process with `what` in its command line as soon as `step` steps are done."""

    def advance(steps):
        advance.steps += steps
        if advance.steps >= step and not killed:
            worker = below(what)[-1]
            worker.send_signal(signal.SIGKILL)
            killed.append(worker.pid)

    advance.steps = 0
    return advance


def until(what, seconds=300):
    """What `what` gives, once it gives something."""
    ends = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < ends
        time.sleep(0.005)
    return found


A_RUN = """
import sys
from pathlib import Path
from test_cluster import sft, shared
sft(shared(type="local"), Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_without_ray_a_run_killed_in_training_and_then_a_worker_killed_cost_no_step(base, tmp_path, monkeypatch):
    monkeypatch.setattr(distributed, "EVERY", 0.005)
    work, killed = tmp_path / "work", []
    command, path = [sys.executable, "-c", A_RUN, str(base), str(work)], {**os.environ, "PYTHONPATH": PYTHONPATH}
    run = psutil.Popen(command, env=path, stderr=subprocess.DEVNULL)
    try:
        until(lambda: steps_done(work) >= 3)
        workers = below("selfreward.engines.training.worker", run)
    finally:
        run.kill()
    assert run.wait() == -signal.SIGKILL and len(workers) >= 2
    until(lambda: not any(worker.is_running() for worker in workers))  # they end with the run
    assert not (work / "made").exists() and list(work.glob("checkpoint-*/whole"))
    told = kill_at(8, "selfreward.engines.training.worker", killed)
    made = sft(shared(type="local"), base, work, told)
    assert len(killed) == 1 and told.steps == 12
    assert_same_training(made, sft(TRLTrainer(), base, tmp_path / "alone"), base)


def steps_done(work):
    file = work / "job" / "steps"
    return int(file.read_text()) if file.exists() else 0


@needs_ray
def test_under_ray_a_worker_killed_and_a_run_asked_to_end_cost_no_step(ray, base, tmp_path, monkeypatch):
    monkeypatch.setattr(distributed, "EVERY", 0.005)
    work, killed = tmp_path / "work", []
    kill = kill_at(3, "ray::RayTrainWorker", killed)

    def until_the_ninth(steps):
        kill(steps)
        if kill.steps >= 9:
            raise Stopped("M2/model")

    with pytest.raises(Stopped, match="M2/model"):
        dpo(shared(fsdp=True), base, work, until_the_ninth)  # without GPUs that is DDP, as the metrics say
    assert len(killed) == 1 and not (work / "made").exists() and list(work.glob("checkpoint-*/whole"))
    made = dpo(shared(fsdp=True), base, work)
    assert_same_training(made, dpo(TRLTrainer(), base, tmp_path / "alone"), base)


RUNS_AWAY = r"^training: the loss is (nan|inf) at step 1 of 12, so no model was made\."


def run_away(base, folder):
    """A model whose logits overflow float32, though every weight is finite."""
    model = AutoModelForCausalLM.from_pretrained(base)
    model.lm_head.weight.data *= 1e38 / model.lm_head.weight.abs().max()
    model.save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


def test_a_loss_that_is_not_finite_ends_a_training_in_processes_of_their_own_too(base, tmp_path):
    start, work = run_away(base, tmp_path / "away"), tmp_path / "work"
    with pytest.raises(SelfRewardError, match=RUNS_AWAY):
        sft(shared(type="local", retries=0), start, work)
    assert not (work / "made").exists() and not list(work.glob("checkpoint-*"))


@needs_ray
def test_a_loss_that_is_not_finite_ends_a_training_under_ray_too(ray, base, tmp_path):
    start, work = run_away(base, tmp_path / "away"), tmp_path / "work"
    with pytest.raises(SelfRewardError, match=RUNS_AWAY):
        sft(shared(retries=0), start, work)
    assert not (work / "made").exists() and not list(work.glob("checkpoint-*"))


def test_what_a_user_can_put_right_comes_out_of_a_worker_as_itself(tmp_path):
    start = make_model(tmp_path / "base", max_position_embeddings=4)
    with pytest.raises(SelfRewardError, match="reads 4 tokens at most") as error:
        sft(shared(type="local", retries=0), start, tmp_path / "work")
    assert error.value.where == str(start)


# ——— what a share is ———


def test_the_last_round_of_an_epoch_is_filled_with_blanks_and_no_example_comes_twice():
    order = Batches([(3,)] * 13, 4, 8, seed=1)
    epoch = [0]
    several, one = Filled(order, 2, 3, lambda: epoch[0]), Filled(order, 4, 1, lambda: epoch[0])
    assert list(one) == list(order) and len(one) == 13
    assert list(several) == [*order, 13, 13, 13, 13, 13] and len(several) == 18
    first, epoch[0] = list(several), 1
    assert list(several) != first and sorted(list(several)[:13]) == list(range(13))


@pytest.mark.parametrize(("step", "examples"), [(0, 8), (1, 5), (2, 8), (3, 5)])
def test_thirteen_examples_are_steps_of_eight_and_five(step, examples):
    assert examples_at(step, 13, 8) == examples


def test_a_batch_counts_its_pairs_and_leaves_blanks_out():
    pair, blank = {"chosen_ids": [1], "n": 1}, {"chosen_ids": [], "n": 0}
    collate = Counted(lambda rows: {"rows": [row["n"] for row in rows]})
    assert collate([pair, pair, blank]) == {"rows": [1, 1], "pairs": 2}
    assert collate([blank, blank]) == {"rows": [0], "pairs": 0}


def test_a_sharded_model_is_written_whole(base, tmp_path):
    from torch.distributed.fsdp import fully_shard

    learner = Learner(base, 0.0, TrainerConfig())
    assert gathered(learner.model) is None
    rendezvous = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=rendezvous, rank=0, world_size=1)
    try:
        model = fully_shard(learner.model)
        assert isinstance(next(model.parameters()), torch.distributed.tensor.DTensor)
        learner.write(model, tmp_path / "made", gathered(model))
    finally:
        torch.distributed.destroy_process_group()
    made, before = (load_file(folder / "model.safetensors") for folder in (tmp_path / "made", base))
    assert made.keys() == before.keys() and all(torch.equal(made[name], before[name]) for name in before)


# ——— the table of a recipe ———


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"cluster.trainers": 3}, "batch_size 16 cannot be shared evenly by 3 processes"),
        ({"cluster.trainers": 8, "dpo.device_batch_size": 4}, "by 8 processes in parts of 4"),
        ({"cluster.type": "local", "cluster.samplers": 2}, "only trainings are shared"),
        ({"cluster.address": "ray://head:10001"}, "cluster.address"),
        ({"cluster.fsdp": True, "trainer.lora.rank": 8}, "leave out either fsdp or trainer.lora"),
    ],
)
def test_a_cluster_that_could_not_work_is_refused(changes, why):
    with pytest.raises(SelfRewardError, match=why):
        load_recipe(Path("micro"), changes)


@pytest.mark.parametrize(
    ("cluster", "wanted", "each"), [({"GPU": 4, "CPU": 8}, None, 1), ({"GPU": 4, "CPU": 8}, 2, 2), ({"CPU": 2}, None, 0)]
)
def test_a_process_has_a_gpu_where_there_are_any(cluster, wanted, each):
    assert gpus_each(Resources(cluster), TWO, 2, wanted) == each


@pytest.mark.parametrize(
    ("cluster", "needed"), [({"GPU": 1, "CPU": 8}, "2 GPUs, but the cluster has 1"), ({"CPU": 1}, "2 CPUs, but")]
)
def test_what_a_cluster_does_not_have_is_not_waited_for(cluster, needed):
    with pytest.raises(SelfRewardError, match=needed):
        gpus_each(Resources(cluster), TWO, 2, None)


class Resources(dict):
    """What Ray says of a cluster."""

    def cluster_resources(self):
        return self


def test_the_number_of_trainers_is_what_a_training_is_known_by_and_that_of_samplers_is_not(tmp_path):
    recipe = make_world(tmp_path)
    recipe.write_text(recipe.read_text().replace("batch_size = 1", "batch_size = 4"))
    local = {"cluster__type": "local"}
    go(recipe, tmp_path / "run", cluster__trainers=2, **local)
    assert json.loads((tmp_path / "run" / "M2" / "model.receipt.json").read_text())["processes"] == 2
    go(recipe, tmp_path / "run", cluster__trainers=2, cluster__retries=1, cluster__threads=2, **local)
    with pytest.raises(SelfRewardError, match=r"the recipe changed \(.*cluster\.trainers"):
        go(recipe, tmp_path / "run", cluster__trainers=4, **local)


def test_without_ray_a_run_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(
        SelfRewardError, match=r"cluster\.type: needs ray, which is not installed\. pip install 'selfreward-lm\[ray\]'"
    ):
        connect(ClusterConfig())


def test_check_tells_what_a_cluster_would_lack(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    recipe = load_recipe(make_world(tmp_path), {"cluster.fsdp": True})
    found = {finding.where: (finding.level, finding.what) for finding in check(recipe, tmp_path / "run").findings}
    assert found["cluster.type"] == ("error", "needs ray, which is not installed")
    if not torch.cuda.is_available():
        assert found["cluster.fsdp"][0] == "warning" and "(DDP)" in found["cluster.fsdp"][1]
