"""DPO in several parts with the optimizer's state carried on is one DPO: the same weights as a training that nobody cut."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from selfreward.engines import OPTIMIZER, OPTIMIZER_BEFORE
from selfreward.engines.training.trl import TRLTrainer
from selfreward.errors import SelfRewardError, Stopped
from selfreward.recipe import DPOConfig
from tinymodels import WORDS, make_model

PAIRS = [(f"bak {WORDS[n]}", " ".join(WORDS[n : n + 1 + n % 4]), " ".join(WORDS[n + 9 : n + 11 + n % 3])) for n in range(6)]
DPO = DPOConfig(
    batch_size=6, device_batch_size=6, epochs=2, checkpoint_every=1, dropout=0, learning_rate=1e-3, end_learning_rate=1e-3,
    optimizer="carried",
)  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("base"), initializer_range=0.1)


def dpo(start, reference, work, config=DPO, advance=lambda steps: None):
    return TRLTrainer().dpo(PAIRS, start, reference, config, 3, work, advance)


def go_on(first, start, reference, work, **how):
    """A second training in `work`, after the one in the folder `first`."""
    work.mkdir()
    (work / OPTIMIZER_BEFORE).symlink_to(first / OPTIMIZER)
    return dpo(start, reference, work, **how)


def distance(left, right):
    left, right = (AutoModelForCausalLM.from_pretrained(folder).state_dict() for folder in (left, right))
    return max((weight - right[name]).abs().max().item() for name, weight in left.items())


def test_two_trainings_with_the_state_carried_are_one_twice_as_long(base, tmp_path):
    whole = dpo(base, base, tmp_path / "whole", DPO.model_copy(update={"epochs": 4}))
    half = dpo(base, base, tmp_path / "half")
    carried = go_on(tmp_path / "half", half, base, tmp_path / "carried")
    fresh = dpo(half, base, tmp_path / "fresh")
    assert distance(whole, carried) < 1e-6 < 1e-4 < distance(whole, fresh)


def test_the_state_is_adams_moments_and_its_steps_of_every_weight(base, tmp_path):
    dpo(base, base, tmp_path / "half")
    state = load_file(tmp_path / "half" / OPTIMIZER)
    names = {name for name, _ in AutoModelForCausalLM.from_pretrained(base).named_parameters()}
    assert state.keys() == {f"{key}/{name}" for key in ("step", "exp_avg", "exp_avg_sq") for name in names}
    assert {state[f"step/{name}"].item() for name in names} == {2}


def test_a_second_training_stopped_halfway_ends_with_the_same_bytes(base, tmp_path):
    half = dpo(base, base, tmp_path / "half")
    undisturbed = go_on(tmp_path / "half", half, half, tmp_path / "undisturbed")

    def stop_after_one(steps, done=[0]):  # noqa: B006 (counts over calls)
        done[0] += steps
        if done[0] == 1:
            raise Stopped("training")

    with pytest.raises(Stopped):
        go_on(tmp_path / "half", half, half, tmp_path / "stopped", advance=stop_after_one)
    made = dpo(half, half, tmp_path / "stopped")
    assert (made / "model.safetensors").read_bytes() == (undisturbed / "model.safetensors").read_bytes()
    assert (tmp_path / "stopped" / OPTIMIZER).read_bytes() == (tmp_path / "undisturbed" / OPTIMIZER).read_bytes()


def test_the_state_of_another_model_is_refused(base, tmp_path):
    (tmp_path / "other").mkdir()
    save_file({"exp_avg/lm_head.bias": torch.zeros(3)}, tmp_path / "other" / OPTIMIZER)
    with pytest.raises(SelfRewardError, match=r"exp_avg/lm_head\.bias, which is not of this model"):
        go_on(tmp_path / "other", base, base, tmp_path / "work")


def test_a_fresh_optimizer_leaves_no_state(base, tmp_path):
    dpo(base, base, tmp_path / "work", DPO.model_copy(update={"optimizer": "fresh"}))
    assert not (tmp_path / "work" / OPTIMIZER).exists()
