"""What a DPO rehearses: which examples, the loss and gradient of a step by hand; killed anywhere, the same bytes."""

import json
from collections import Counter

import pytest
import torch
from safetensors.torch import load_file
from test_losses import BETA, PAIRS, assert_near, ratios, train
from test_training import base, policy
from torch.nn.functional import logsigmoid
from transformers import AutoModelForCausalLM

from selfreward.engines.training import rehearsal
from selfreward.engines.training.distributed import DistributedTrainer
from selfreward.engines.training.rehearsal import Rehearsal
from selfreward.engines.training.rows import sft_row
from selfreward.engines.training.trl import TRLTrainer
from selfreward.errors import SelfRewardError
from selfreward.recipe import ClusterConfig, DPOConfig, TrainerConfig
from tinymodels import WORDS, make_model, make_tokenizer

__all__ = ["base", "policy"]
TOKENIZER = make_tokenizer()
EFT = [(f"kol {WORDS[n]} {WORDS[n + 1]}"[: 6 + 4 * n], " ".join(WORDS[n : n + 2 + n % 3])) for n in range(5)]
STEPS = {"batch_size": 2, "device_batch_size": 2, "epochs": 2, "checkpoint_every": 2, "learning_rate": 1e-3, "dropout": 0}


def dpo(start, work, trainer=None, examples=EFT, advance=lambda steps: None, **changes):
    config = DPOConfig(**STEPS | {"end_learning_rate": 1e-4, "beta": BETA} | changes)
    given = {"rehearsed": examples} if examples else {}
    work.mkdir(exist_ok=True, parents=True)
    return (trainer or TRLTrainer()).dpo(PAIRS, start, start, config, 3, work, advance, **given)


def by_hand(model, examples):
    """The mean negative log-likelihood of all tokens of the answers."""
    likely, count = 0, 0
    for prompt, answer in examples:
        row = sft_row(TOKENIZER, prompt, answer)
        ids, begin = torch.tensor([row["input_ids"]]), sum(label < 0 for label in row["labels"])
        words = model(ids).logits[0, begin - 1 : -1].log_softmax(-1).gather(1, ids[0, begin:, None])
        likely, count = likely + words.sum(), count + len(words)
    return -likely / count


@pytest.mark.parametrize(("number", "weight"), [(1, 1.0), (4, 0.5), (5, 2.0)])
def test_the_loss_of_a_step_and_its_gradient_are_those_by_hand(number, weight, policy, base, tmp_path, monkeypatch):
    told, gradient = rehearsing(number, weight, policy, base, tmp_path, monkeypatch)
    model, found = ratios(policy, base)
    read = [EFT[at] for at in order(number)]
    loss = torch.stack([-logsigmoid(BETA * (chosen - rejected)) for chosen, rejected, *_ in found]).mean()
    loss = loss + weight * by_hand(model, read)
    loss.backward()
    assert told == pytest.approx(loss.item(), rel=1e-4)
    assert_near(gradient, {name: part.grad for name, part in model.named_parameters()})


def order(number):
    """The places in EFT of the first examples."""
    rows = [{"input_ids": [at]} for at in range(len(EFT))]
    return [row["input_ids"][0] for row in Rehearsal(rows, number, 1.0, 3).of(0)]


def rehearsing(number, weight, policy, base, work, monkeypatch):
    """As `train` of the losses has it: one step in two passes."""
    plain = TRLTrainer.dpo
    with_eft = lambda self, *given, **named: plain(self, *given, rehearsed=EFT, **named)  # noqa: E731
    monkeypatch.setattr(TRLTrainer, "dpo", with_eft)
    return train(policy, base, work / "work", monkeypatch, rehearse=number, rehearse_weight=weight)


@pytest.mark.parametrize(
    "bug",
    [
        {"learnt": lambda row: len(row["labels"])},  # the prompt's tokens counted
        {"learnt": lambda row: 1},  # sums in place of means
        {"IGNORE": 0},  # padding learnt
    ],
)
def test_a_wrong_sum_would_be_noticed(bug, policy, base, tmp_path, monkeypatch):
    for name, wrong in bug.items():
        monkeypatch.setattr(rehearsal, name, wrong)
    with pytest.raises(AssertionError):
        test_the_loss_of_a_step_and_its_gradient_are_those_by_hand(4, 0.5, policy, base, tmp_path, monkeypatch)


def test_an_example_that_is_read_in_every_pass_would_be_noticed(policy, base, tmp_path, monkeypatch):
    plain = Rehearsal.loss
    twice = lambda self, model, step, forward, *more: plain(self, model, step, (0, 1), *more)  # noqa: E731
    monkeypatch.setattr(Rehearsal, "loss", twice)
    with pytest.raises(AssertionError):
        test_the_loss_of_a_step_and_its_gradient_are_those_by_hand(4, 0.5, policy, base, tmp_path, monkeypatch)


def test_every_example_comes_as_often_as_any_other_or_once_more_in_an_order_that_changes():
    rows = [{"input_ids": [at] * (at + 1), "labels": [at]} for at in range(7)]
    steps = [[len(row["input_ids"]) - 1 for row in Rehearsal(rows, 3, 1.0, 3).of(step)] for step in range(7)]
    flat = [at for step in steps for at in step]
    assert all(sorted(flat[start : start + 7]) == [*range(7)] for start in (0, 7, 14))
    assert flat[:7] != flat[7:14] != flat[14:] and flat[:7] != [*range(7)]
    assert Counter(flat[:10]).most_common(1)[0][1] == 2
    assert [len(row["input_ids"]) - 1 for row in Rehearsal(rows, 3, 1.0, 4).of(0)] != steps[0]
    assert Rehearsal(rows, 3, 1.0, 3).tokens(2) == sum(at + 1 for at in flat[:6])


def test_what_is_off_changes_no_byte(base, tmp_path):
    plain = dpo(base, tmp_path / "plain", examples=())
    assert (
        bytes_of(dpo(base, tmp_path / "off"))
        == bytes_of(dpo(base, tmp_path / "none", examples=(), rehearse=2))
        == bytes_of(plain)
    )
    assert bytes_of(dpo(base, tmp_path / "on", rehearse=2)) != bytes_of(plain)
    assert DPOConfig(rehearse=0, rehearse_weight=1.0).decisive == DPOConfig().decisive != DPOConfig(rehearse=1).decisive


def bytes_of(made):
    return [(made / name).read_bytes() for name in ("model.safetensors", "metrics.jsonl")]


@pytest.mark.parametrize("kill", [1, 3, 4])
def test_a_training_killed_anywhere_ends_with_the_same_bytes(kill, base, tmp_path):
    class Killed(BaseException):
        pass

    done = []

    def dying(steps):
        done.append(steps)
        if sum(done) == kill:
            raise Killed

    once = dpo(base, tmp_path / "once", rehearse=3)
    with pytest.raises(Killed):
        dpo(base, tmp_path / "killed", rehearse=3, advance=dying)
    assert bytes_of(dpo(base, tmp_path / "killed", rehearse=3)) == bytes_of(once)


def test_the_tokens_that_are_rehearsed_are_told(base, tmp_path):
    plain, made = (
        json.loads((dpo(base, tmp_path / str(number), rehearse=number) / "metrics.jsonl").read_text().splitlines()[0])
        for number in (0, 5)
    )
    every = sum(len(sft_row(TOKENIZER, *example)["input_ids"]) for example in EFT)
    assert made == {**plain, "rehearsed": 6 * every}  # six steps with five of five examples


def test_an_example_that_the_model_cannot_read_whole_is_refused(tmp_path):
    short = make_model(tmp_path / "short", max_position_embeddings=24)
    with pytest.raises(SelfRewardError, match="reads 24 tokens at most, but of 7 examples 1 would not fit"):
        dpo(short, tmp_path / "work", examples=[(" ".join(WORDS[:30]), "bak")], rehearse=1)


@pytest.mark.parametrize("number", [1, 4])
def test_two_processes_rehearse_what_one_does(number, tmp_path):
    start = make_model(tmp_path / "base", initializer_range=0.1)
    shared = DistributedTrainer(False, TrainerConfig(), ClusterConfig(type="local", trainers=2))
    given = {"batch_size": 4, "device_batch_size": 1, "epochs": 1, "rehearse": number}
    made, alone = (dpo(start, tmp_path / name, trainer, **given) for name, trainer in (("two", shared), ("one", None)))
    several, one, before = (load_file(folder / "model.safetensors") for folder in (made, alone, start))
    assert max((one[name] - before[name]).abs().max() for name in one) > 1e-3
    for name in one:
        torch.testing.assert_close(several[name], one[name], rtol=1e-4, atol=1e-5)


def test_adapters_rehearse_too(base, tmp_path):
    trainer = TRLTrainer(config=TrainerConfig(lora={"rank": 2, "dropout": 0}))
    plain, made = (dpo(base, tmp_path / str(number), trainer, rehearse=number, learning_rate=1e-2) for number in (0, 4))
    model, before = (AutoModelForCausalLM.from_pretrained(folder) for folder in (made, plain))
    assert by_hand(model, EFT) < by_hand(before, EFT)
