"""Losses by TRL's names, weights of pairs, and the mean of checkpoints, each against sums done by hand."""

import math

import pytest
import torch
from safetensors.torch import load_file
from test_training import base, policy
from torch.nn.functional import logsigmoid, relu
from transformers import AutoModelForCausalLM

from selfreward.engines.training import trl
from selfreward.engines.training.rows import dpo_row
from selfreward.engines.training.trl import TRLTrainer
from selfreward.errors import SelfRewardError
from selfreward.recipe import DPOConfig, load_recipe
from selfreward.records import Pair, Prompt, Response, contrasts, read_line, to_line
from tinymodels import WORDS, make_tokenizer
from tinyrun import go, make_world, quiet

__all__ = ["base", "policy"]
TOKENIZER = make_tokenizer()
PAIRS = [(f"bak {WORDS[n]}", " ".join(WORDS[n : n + 1 + n % 4]), " ".join(WORDS[n + 9 : n + 11 + n % 3])) for n in range(6)]
ONE_STEP = {"batch_size": 6, "device_batch_size": 3, "learning_rate": 1e-3, "end_learning_rate": 1e-4, "dropout": 0}
BETA, EPSILON, TAU = 0.3, 0.2, 0.05


def ratios(policy, reference):
    """(log-ratio of chosen, of rejected, tokens of chosen, of rejected) of every pair; the first two can be learnt from."""
    model, frozen = (AutoModelForCausalLM.from_pretrained(path) for path in (policy, reference))
    found = []
    for pair in PAIRS:
        row, sides = dpo_row(TOKENIZER, *pair), []
        for side in ("chosen_ids", "rejected_ids"):
            ids = torch.tensor([row["prompt_ids"] + row[side]])
            answer = slice(len(row["prompt_ids"]) - 1, ids.shape[1] - 1)
            likely, before = (
                one(ids).logits[0, answer].log_softmax(-1).gather(1, ids[0, answer.start + 1 :, None]).sum()
                for one in (model, frozen)
            )
            sides.append(likely - before.detach())
        found.append((*sides, len(row["chosen_ids"]), len(row["rejected_ids"])))
    return model, found


def exo(margin):
    """KL(q ‖ p) of two outcomes, q = σ(margin), p = 1 − ε (Ji et al. 2024)."""
    q = torch.sigmoid(margin)
    return q * torch.log(q / (1 - EPSILON)) + (1 - q) * torch.log((1 - q) / EPSILON)


def discopop(margin):
    share = torch.sigmoid(margin / TAU)
    return (1 - share) * -logsigmoid(margin) + share * torch.exp(-margin)


BY_HAND = {
    "sigmoid": lambda c, r, nc, nr: -logsigmoid(BETA * (c - r)),
    "hinge": lambda c, r, nc, nr: relu(1 - BETA * (c - r)),
    "ipo": lambda c, r, nc, nr: (c / nc - r / nr - 1 / (2 * BETA)) ** 2,
    "exo_pair": lambda c, r, nc, nr: exo(BETA * (c - r)),
    "nca_pair": lambda c, r, nc, nr: -logsigmoid(BETA * c) - (logsigmoid(-BETA * c) + logsigmoid(-BETA * r)) / 2,
    "robust": lambda c, r, nc, nr: (
        (EPSILON * logsigmoid(BETA * (r - c)) - (1 - EPSILON) * logsigmoid(BETA * (c - r))) / (1 - 2 * EPSILON)
    ),
    "bco_pair": lambda c, r, nc, nr: -logsigmoid(BETA * c) - logsigmoid(-BETA * r),
    "sppo_hard": lambda c, r, nc, nr: (c - 1 / (2 * BETA)) ** 2 + (r + 1 / (2 * BETA)) ** 2,
    "apo_zero": lambda c, r, nc, nr: 1 - torch.sigmoid(BETA * c) + torch.sigmoid(BETA * r),
    "apo_down": lambda c, r, nc, nr: torch.sigmoid(BETA * c) + 1 - torch.sigmoid(BETA * (c - r)),
    "discopop": lambda c, r, nc, nr: discopop(BETA * (c - r)),
    "sigmoid_norm": lambda c, r, nc, nr: -logsigmoid(BETA * (c / nc - r / nr)),
}  # fmt: skip
SMOOTHED = ("exo_pair", "robust")


def train(policy, base, work, monkeypatch, pairs=PAIRS, **changes):
    """(loss that was told, gradient of the step) of one step in two passes."""
    gradients, losses = [], []

    class Watched(trl.PlannedDPOTrainer):
        def training_step(self, model, *given, **named):
            losses.append(super().training_step(model, *given, **named).item())
            gradients.append({name: weight.grad.clone() for name, weight in model.named_parameters()})
            return torch.tensor(losses[-1])

    monkeypatch.setattr(trl, "PlannedDPOTrainer", Watched)
    config = DPOConfig(**{**ONE_STEP, "beta": BETA, **changes})
    TRLTrainer().dpo(pairs, policy, base, config, 3, work, lambda steps: None)
    return sum(losses), gradients[-1]


def assert_near(found, by_hand):
    off = torch.cat([(found[name] - by_hand[name]).flatten() for name in found]).norm()
    assert off / torch.cat([weight.flatten() for weight in by_hand.values()]).norm() < 2e-4


@pytest.mark.parametrize("loss", BY_HAND)
def test_a_loss_by_trls_name_is_that_of_its_paper_in_value_and_gradient(loss, policy, base, tmp_path, monkeypatch):
    smoothing = {"label_smoothing": EPSILON} if loss in SMOOTHED else {}
    told, gradient = train(policy, base, tmp_path / "work", monkeypatch, loss=loss, **smoothing)
    model, found = ratios(policy, base)
    mean = torch.stack([BY_HAND[loss](*pair) for pair in found]).mean()
    mean.backward()
    assert told == pytest.approx(mean.item(), rel=1e-4)
    assert_near(gradient, {name: weight.grad for name, weight in model.named_parameters()})


def test_every_loss_that_trl_has_is_offered_or_left_out_with_a_reason():
    from trl.trainer.dpo_config import DPOConfig as Theirs

    named = set(__import__("re").findall(r"'(\w+)'", Theirs.__dataclass_fields__["loss_type"].metadata["help"]))
    assert named == {*BY_HAND, "aot", "aot_unpaired", "sft"}


WEIGHTS = (1.0, 0.25, 1.0, 2.0, 0.5, 1.0)


@pytest.mark.parametrize(("loss", "nll_weight"), [("sigmoid", 0.0), ("sppo_hard", 0.0), ("sigmoid", 0.5)])
def test_a_pair_is_learnt_from_by_its_weight(loss, nll_weight, policy, base, tmp_path, monkeypatch):
    pairs = [(*pair, weight) if weight != 1 else pair for pair, weight in zip(PAIRS, WEIGHTS, strict=True)]
    _, gradient = train(policy, base, tmp_path / "work", monkeypatch, pairs, loss=loss, nll_weight=nll_weight)
    model, found = ratios(policy, base)
    losses = [weight * BY_HAND[loss](*pair) for pair, weight in zip(found, WEIGHTS, strict=True)]
    likely = [weight * chosen for (chosen, *_), weight in zip(found, WEIGHTS, strict=True)]
    whole = sum(losses) / len(losses) - nll_weight * sum(likely) / sum(pair[2] for pair in found)
    whole.backward()
    assert_near(gradient, {name: weight.grad for name, weight in model.named_parameters()})


def test_a_weight_that_is_passed_over_would_be_noticed(policy, base, tmp_path, monkeypatch):
    monkeypatch.setattr("selfreward.engines.training.planned.Weighed", lambda model, weights: model)
    with pytest.raises(AssertionError):
        test_a_pair_is_learnt_from_by_its_weight("sigmoid", 0.0, policy, base, tmp_path, monkeypatch)


def test_a_pair_of_weight_1_is_what_it_was_and_another_weight_is_another_pair():
    plain = Pair(prompt_id="p", chosen_id="a", rejected_id="b", chosen_score=2, rejected_score=1)
    same, other = (plain.model_copy(update={"weight": weight}) for weight in (1.0, 0.5))
    assert to_line(same) == to_line(plain) and same.id == plain.id != other.id
    assert read_line(to_line(other), Pair, "here") == other
    prompt = Prompt(text="x", source="self")
    sides = [Response(prompt_id=prompt.id, model="m", index=n, text=text, finish="stop") for n, text in enumerate("ab")]
    pair = plain.model_copy(update={"prompt_id": prompt.id, "chosen_id": sides[0].id, "rejected_id": sides[1].id})
    both = [pair, pair.model_copy(update={"weight": 0.5})]
    assert contrasts(both, [prompt], sides) == [("x", "a", "b"), ("x", "a", "b", 0.5)]


# the mean of the last checkpoints

AVERAGED = {"batch_size": 2, "device_batch_size": 2, "epochs": 2, "checkpoint_every": 2, "average": 2, "beta": BETA}
TAKEN = {"learning_rate": 1e-3, "end_learning_rate": 1e-4, "dropout": 0}


@pytest.mark.parametrize(
    ("average", "every", "pairs", "steps"),
    [(1, 2, 6, [6]), (2, 2, 6, [4, 6]), (3, 2, 6, [2, 4, 6]), (9, 2, 6, [2, 4, 6]), (2, 4, 6, [4, 6]), (3, 7, 6, [6])],
)
def test_the_last_checkpoints_are_those_before_the_end_and_the_end(average, every, pairs, steps):
    assert DPOConfig(**{**AVERAGED, "average": average, "checkpoint_every": every}).averaged(pairs) == steps


def test_the_model_is_the_mean_of_the_last_checkpoints_wherever_the_training_was_killed(base, tmp_path):
    def once(work, average=2, advance=lambda steps: None):
        config = DPOConfig(**{**AVERAGED, **TAKEN, "average": average})
        return TRLTrainer(keep_checkpoints=True).dpo(PAIRS, base, base, config, 3, work, advance)

    end = load_file(once(tmp_path / "plain", average=1) / "model.safetensors")
    made = load_file(once(tmp_path / "mean") / "model.safetensors")
    before = load_file(tmp_path / "mean" / "step-4" / "model.safetensors")
    assert not (tmp_path / "mean" / "step-2").exists()
    for name, weight in made.items():
        assert torch.allclose(weight, (end[name] + before[name]) / 2, atol=1e-7)
    assert any(not torch.equal(made[name], end[name]) for name in made)

    class Killed(BaseException):
        pass

    done = []

    def dying(steps):
        done.append(steps)
        if sum(done) == 5:
            raise Killed

    with pytest.raises(Killed):
        once(tmp_path / "killed", advance=dying)
    again = once(tmp_path / "killed") / "model.safetensors"
    assert again.read_bytes() == (tmp_path / "mean" / "made" / "model.safetensors").read_bytes()


def test_a_receipt_tells_the_loss_and_the_steps_that_were_averaged(tmp_path, monkeypatch):
    import json

    quiet(monkeypatch)
    world = make_world(tmp_path / "world")
    go(world, tmp_path / "plain")
    go(world, tmp_path / "other", dpo__loss="ipo", dpo__average=2, dpo__checkpoint_every=2)
    plain, other = (json.loads((tmp_path / name / "M2" / "model.receipt.json").read_text()) for name in ("plain", "other"))
    assert not {"loss", "averaged"} & plain.keys()
    last = other["steps"]
    assert other["loss"] == "ipo" and other["averaged"] == [last - 1 if last % 2 else last - 2, last]


def test_where_checkpoints_are_averaged_another_distance_is_another_model(tmp_path, monkeypatch):
    quiet(monkeypatch)
    world = make_world(tmp_path / "world")
    go(world, tmp_path / "plain")
    go(world, tmp_path / "plain", dpo__checkpoint_every=3)
    go(world, tmp_path / "mean", dpo__average=2)
    with pytest.raises(SelfRewardError, match=r"dpo\.checkpoint_every"):
        go(world, tmp_path / "mean", dpo__average=2, dpo__checkpoint_every=3)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"dpo.loss": "aot"}, "sorts the pairs of a forward pass"),
        ({"dpo.loss": "sft"}, "dpo.nll_weight adds it"),
        ({"dpo.loss": "exo_pair"}, "exo_pair needs a label_smoothing above 0"),
        ({"dpo.loss": "ipo", "dpo.label_smoothing": 0.1}, "label_smoothing works only with exo_pair and robust"),
        ({"dpo.label_smoothing": 0.1}, "sigmoid ignores it"),
        ({"dpo.loss": "robust", "dpo.label_smoothing": 0.5}, "below 0.5"),
        ({"dpo.loss": "ipo", "dpo.confidence": 0.8}, 'confidence works only with loss = "sigmoid"'),
        ({"dpo.loss": "ipo", "dpo.confidence": "consistency"}, 'confidence works only with loss = "sigmoid"'),
        ({"dpo.average": 0}, "at least 1"),
        ({"dpo.average": 2, "trainer.lora": {}}, "leave out trainer.lora, or dpo.average"),
        ({"dpo.average": 2, "select": {"judge": "tinyrun:truth", "prompts": "p.jsonl"}}, "leave out select, or dpo.average"),
    ],
)
def test_what_does_not_go_together_is_refused_in_a_line(changes, reason, tmp_path):
    with pytest.raises(SelfRewardError) as refused:
        load_recipe(make_world(tmp_path), changes)
    assert reason in str(refused.value) and "\n" not in str(refused.value)


def test_the_plain_loss_is_not_written_down():
    assert not {"loss", "label_smoothing", "average"} & DPOConfig().model_dump().keys()
    assert math.isclose(DPOConfig().decisive["beta"], 0.1) and "checkpoint_every" not in DPOConfig().decisive
