"""SFT and DPO as the papers have them, checked against sums done by hand; killed anywhere, training ends with the same bytes."""

import json
import math
import shutil
import weakref
from collections import Counter
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, load_file
from torch.nn.functional import logsigmoid
from transformers import AutoModelForCausalLM, AutoTokenizer

from selfreward.engines.training import trl
from selfreward.engines.training.checkpoints import MARK
from selfreward.engines.training.rows import IGNORE, dpo_row, sft_row
from selfreward.engines.training.trl import TRLTrainer
from selfreward.errors import SelfRewardError, Stopped
from selfreward.recipe import DPOConfig, SFTConfig
from selfreward.records import Reasoned, fingerprint
from tinymodels import WORDS, make_model, make_tokenizer, nudge

TOKENIZER = make_tokenizer()
EXAMPLES = [(f"bak {WORDS[n]}", " ".join(WORDS[n : n + 1 + n % 4])) for n in range(10)]
PAIRS = [(f"bak {WORDS[n]}", " ".join(WORDS[n : n + 1 + n % 4]), " ".join(WORDS[n + 9 : n + 11 + n % 3])) for n in range(10)]
RATES = {"learning_rate": 1e-3, "end_learning_rate": 1e-4, "dropout": 0}
SFT = SFTConfig(batch_size=4, device_batch_size=4, epochs=2, checkpoint_every=2, **RATES)
DPO = DPOConfig(batch_size=4, device_batch_size=4, epochs=2, checkpoint_every=2, **RATES)
ONE_STEP = {"batch_size": 10, "device_batch_size": 10, "epochs": 1}
FIRST = len(EXAMPLES)


class Killed(BaseException):
    """Where a process would have died."""


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("base"), initializer_range=0.1)


@pytest.fixture(scope="module")
def policy(base, tmp_path_factory):
    return nudge(base, tmp_path_factory.mktemp("policy"), seed=1)


def sft(start, work, config=SFT, examples=EXAMPLES, advance=lambda steps: None, keep=False):
    return TRLTrainer(keep).sft(examples, start, config, 3, work, advance)


def dpo(start, reference, work, config=DPO, pairs=PAIRS, advance=lambda steps: None):
    return TRLTrainer().dpo(pairs, start, reference, config, 3, work, advance)


def metrics(made):
    return [json.loads(line) for line in (made / "metrics.jsonl").read_text().splitlines()]


def steps_of(made):
    return [line for line in metrics(made) if "loss" in line]


def weights(folder):
    return AutoModelForCausalLM.from_pretrained(folder).state_dict()


def same(a, b):
    return all(torch.equal(weight, b[name]) for name, weight in a.items())


# ——— the sums by hand, and the ways to get them wrong ———


def log_probs(model, prompt, response):
    """Log-probability of each token of `response` after `prompt`."""
    ids = torch.tensor([prompt + response])
    with torch.no_grad():
        likely = model(ids).logits[0].log_softmax(-1)
    return torch.stack([likely[at - 1, ids[0, at]] for at in range(len(prompt), ids.shape[1])])


def dpo_loss_by_hand(policy, reference, beta=0.1):
    """Rafailov et al. 2023, equation 7."""
    policy, reference = (AutoModelForCausalLM.from_pretrained(path) for path in (policy, reference))
    losses = []
    for pair in PAIRS:
        row = dpo_row(TOKENIZER, *pair)
        chosen, rejected = (
            (log_probs(policy, row["prompt_ids"], row[side]) - log_probs(reference, row["prompt_ids"], row[side])).sum()
            for side in ("chosen_ids", "rejected_ids")
        )
        losses.append(-logsigmoid(beta * (chosen - rejected)))
    return torch.stack(losses).mean().item()


def nll_by_hand(model, texts):
    """Mean over all tokens of the responses in (prompt, response)."""
    model = AutoModelForCausalLM.from_pretrained(model)
    rows = [dpo_row(TOKENIZER, prompt, response, response) for prompt, response in texts]
    return -torch.cat([log_probs(model, row["prompt_ids"], row["chosen_ids"]) for row in rows]).mean().item()


def check_sft_loss(base, work):
    made = sft(base, work, SFT.model_copy(update=ONE_STEP))
    assert steps_of(made)[0]["loss"] == pytest.approx(nll_by_hand(base, EXAMPLES), rel=1e-4)


def check_dpo_loss(policy, reference, work):
    made = dpo(policy, reference, work, DPO.model_copy(update=ONE_STEP))
    assert steps_of(made)[0]["loss"] == pytest.approx(dpo_loss_by_hand(policy, reference), rel=1e-4)


def test_the_sft_loss_is_the_mean_over_the_tokens_of_the_responses_alone(base, tmp_path):
    check_sft_loss(base, tmp_path / "work")


@pytest.mark.parametrize("settings", ["TRLSFTConfig", "TRLDPOConfig"])
def test_of_several_gpus_that_one_process_sees_one_trains(settings, base, tmp_path, monkeypatch):
    made = getattr(trl, settings)

    def seeing_two(**given):
        found = made(**given)
        found._n_gpu = 2  # as transformers counts them where nothing is distributed
        return found

    monkeypatch.setattr(trl, settings, seeing_two)
    train = {"TRLSFTConfig": lambda: sft(base, tmp_path), "TRLDPOConfig": lambda: dpo(base, base, tmp_path)}[settings]
    assert steps_of(train())


def inverted(tokenizer, prompt, response):
    row = sft_row(tokenizer, prompt, response)
    flipped = [token if label == IGNORE else IGNORE for token, label in zip(row["input_ids"], row["labels"], strict=True)]
    return {**row, "labels": flipped}


def everything(tokenizer, prompt, response):
    row = sft_row(tokenizer, prompt, response)
    return {**row, "labels": row["input_ids"]}


@pytest.mark.parametrize("wrong", [inverted, everything])
def test_an_inverted_or_missing_mask_would_be_noticed(wrong, base, tmp_path, monkeypatch):
    monkeypatch.setattr(trl, "sft_row", wrong)
    with pytest.raises(AssertionError):
        check_sft_loss(base, tmp_path / "work")


def test_the_dpo_loss_is_that_of_the_paper(policy, base, tmp_path):
    assert abs(dpo_loss_by_hand(policy, base) - math.log(2)) > 0.01
    check_dpo_loss(policy, base, tmp_path / "work")


THOUGHT = {
    pair: tuple(Reasoned(thought=" ".join(WORDS[at : at + 1 + at % 3]), text=answer) for answer in pair[1:])
    for at, pair in enumerate(PAIRS)
}
"""The same pairs, of a model that was to think: two thoughts, and an answer after each."""


@pytest.mark.parametrize("thoughts", ["trained", "given"])
def test_the_loss_is_that_of_thought_and_answer_or_of_the_answer_after_its_own_thought(thoughts, policy, base, tmp_path):
    pairs = [(pair[0], *sides) for pair, sides in THOUGHT.items()]
    made = dpo(
        policy, base, tmp_path / "work", DPO.model_copy(update={**ONE_STEP, "thoughts": thoughts, "nll_weight": 0.5}), pairs
    )
    models, losses, chosen = [AutoModelForCausalLM.from_pretrained(path) for path in (policy, base)], [], []
    for prompt, *sides in pairs:
        ratios = []
        for side in sides:
            before = TOKENIZER(f"<|user|> {prompt} <|assistant|>")["input_ids"]
            thought = TOKENIZER(f"<think> {side.thought} </think>")["input_ids"]
            told = [log_probs(model, before, thought + TOKENIZER(f"{side.text} <|end|>")["input_ids"]) for model in models]
            trained = [likely[len(thought) if thoughts == "given" else 0 :] for likely in told]
            ratios.append(trained[0].sum() - trained[1].sum())
            chosen += [trained[0]] if side is sides[0] else []
        losses.append(-logsigmoid(0.1 * (ratios[0] - ratios[1])))
    likelihood = -torch.cat(chosen).mean()
    assert steps_of(made)[0]["loss"] == pytest.approx((torch.stack(losses).mean() + 0.5 * likelihood).item(), rel=1e-4)


class Planted(trl.PlannedDPOTrainer):
    """DPO with a peer's mistake: log-probs of the token that is read, or their mean, or no reference."""

    shift, mean, referenced = 1, False, True

    def _sums(self, model, inputs):
        likely = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits.log_softmax(-1)
        shift = self.shift
        likely = likely[:, : likely.shape[1] - shift].gather(-1, inputs["input_ids"][:, shift:, None])[..., 0]
        mask = inputs["completion_mask"][:, shift:]
        sums = (likely * mask).sum(1)
        return (sums / mask.sum(1) if self.mean else sums).chunk(2)

    def compute_ref_log_probs(self, model, inputs):
        return self._sums(model, inputs)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        chosen, rejected = self._sums(model, inputs)
        reference = (inputs["ref_chosen_logps"], inputs["ref_rejected_logps"]) if self.referenced else (0, 0)
        return -logsigmoid(self.beta * (chosen - reference[0] - rejected + reference[1])).mean()


def plant(monkeypatch, **mistake):
    monkeypatch.setattr(trl, "PlannedDPOTrainer", type("Planted", (Planted,), mistake))


def test_the_planted_trainer_without_a_mistake_passes_the_same_check(policy, base, tmp_path, monkeypatch):
    plant(monkeypatch)
    check_dpo_loss(policy, base, tmp_path / "work")


@pytest.mark.parametrize("mistake", [{"shift": 0}, {"mean": True}, {"referenced": False}], ids=str)
def test_log_probs_not_shifted_or_averaged_or_without_a_reference_would_be_noticed(mistake, policy, base, tmp_path, monkeypatch):
    plant(monkeypatch, **mistake)
    with pytest.raises(AssertionError):
        check_dpo_loss(policy, base, tmp_path / "work")


def check_reference_is_the_policy(model, work):
    """With M_t as policy and reference the first loss is log 2, and both answers are as likely by either."""
    first = steps_of(dpo(model, model, work, DPO.model_copy(update=ONE_STEP)))[0]
    assert first["loss"] == pytest.approx(math.log(2), rel=1e-5)
    assert first["rewards/margins"] == pytest.approx(0, abs=1e-5)


def test_the_reference_is_the_model_of_this_iteration(policy, tmp_path):
    check_reference_is_the_policy(policy, tmp_path / "work")


class Trapped(trl.PlannedDPOTrainer):
    """TRL's way for a model in memory: the reference is loaded from where its config says it once came from."""

    base = None

    def __init__(self, model, ref_model, **settings):
        super().__init__(model=model, ref_model=AutoModelForCausalLM.from_pretrained(self.base), **settings)


def test_a_reference_that_is_silently_m0_would_be_noticed(policy, base, tmp_path, monkeypatch):
    monkeypatch.setattr(trl, "PlannedDPOTrainer", type("Trapped", (Trapped,), {"base": base}))
    with pytest.raises(AssertionError):
        check_reference_is_the_policy(policy, tmp_path / "work")


# ——— the reference has its say once ———


def seen_references(monkeypatch):
    """Row of ids → the reference's log-prob of its response, each time that it is trained on."""
    seen = {}

    class Watched(trl.PlannedDPOTrainer):
        def training_step(self, model, inputs, *given, **named):
            logps = torch.cat([inputs["ref_chosen_logps"], inputs["ref_rejected_logps"]])
            for ids, mask, logp in zip(inputs["input_ids"], inputs["attention_mask"].bool(), logps, strict=True):
                seen.setdefault(tuple(ids[mask].tolist()), []).append(logp.item())
            return super().training_step(model, inputs, *given, **named)

    monkeypatch.setattr(trl, "PlannedDPOTrainer", Watched)
    return seen


def by_hand(reference):
    """The same, from the folder of the reference, one response at a time."""
    model = AutoModelForCausalLM.from_pretrained(reference, attention_dropout=0).eval()
    rows = [dpo_row(TOKENIZER, *pair) for pair in PAIRS]
    sides = [(row["prompt_ids"], row[side]) for row in rows for side in ("chosen_ids", "rejected_ids")]
    return {(*prompt, *response): log_probs(model, prompt, response).sum().item() for prompt, response in sides}


def in_training(learner):
    """As a loader would leave it that does not turn dropout off."""
    learner.model.train()
    return learner


@pytest.mark.parametrize("itself", [True, False], ids=["the start", "another model"])
def test_the_references_log_probs_are_its_own_in_every_epoch_and_without_dropout(itself, policy, base, tmp_path, monkeypatch):
    reference, seen = policy if itself else base, seen_references(monkeypatch)
    load = trl.Learner
    monkeypatch.setattr(trl, "Learner", lambda *given: in_training(load(*given)))
    files = {file: file.read_bytes() for folder in (policy, base) for file in folder.iterdir()}
    made = dpo(policy, reference, tmp_path / "work", DPO.model_copy(update={"dropout": 0.5, "device_batch_size": 2}))
    assert {ids: pytest.approx([logp] * 2, rel=1e-5) for ids, logp in by_hand(reference).items()} == seen
    assert {file: file.read_bytes() for folder in (policy, base) for file in folder.iterdir()} == files
    assert not same(weights(made), weights(policy))
    other = by_hand(base if itself else policy)
    assert max(abs(other[ids] - found[0]) for ids, found in seen.items()) > 0.01


def test_the_reference_reads_every_pair_once_in_inference_mode_and_more_at_once_than_a_training(policy, tmp_path, monkeypatch):
    calls = []

    class Watched(trl.PlannedDPOTrainer):
        def compute_ref_log_probs(self, model, inputs):
            assert not model.training and torch.is_inference_mode_enabled()
            calls.append(len(inputs["input_ids"]) // 2)
            return super().compute_ref_log_probs(model, inputs)

    monkeypatch.setattr(trl, "PlannedDPOTrainer", Watched)
    dpo(policy, policy, tmp_path / "work", DPO.model_copy(update={"dropout": 0.5, "device_batch_size": 1}))
    assert sum(calls) == len(PAIRS) and len(calls) <= 3


def test_before_training_begins_the_reference_is_gone_from_memory(policy, base, tmp_path, monkeypatch):
    loaded, alive, frozen = [], [], trl._frozen

    def watched(path):
        model = frozen(path)
        loaded.append(weakref.ref(model))
        return model

    class Watched(trl.PlannedDPOTrainer):
        def training_step(self, *given, **named):
            alive.append([reference() for reference in loaded])
            return super().training_step(*given, **named)

    monkeypatch.setattr(trl, "_frozen", watched)
    monkeypatch.setattr(trl, "PlannedDPOTrainer", Watched)
    dpo(policy, base, tmp_path / "another")
    assert alive == [[None]] * 6
    dpo(policy, policy, tmp_path / "itself")
    assert len(loaded) == 1  # the model in training is its own reference


@pytest.mark.parametrize("kind", ["SFT", "DPO"])
def test_a_model_is_written_without_optimizer_and_gradients_and_gone_from_memory_after(kind, base, tmp_path, monkeypatch):
    trainers, beside, write = [], [], trl.write_model
    name = f"Planned{kind}Trainer"

    class Watched(getattr(trl, name)):
        def train(self, *given, **named):
            trainers.append(self)
            return super().train(*given, **named)

    def watched(learner, trained, folder):
        gradients = [weight for weight in trained.parameters() if weight.grad is not None]
        beside.append((len(trainers[0].optimizer.state), len(gradients), sum(weight.numel() for weight in trained.parameters())))
        return write(learner, trained, folder)

    monkeypatch.setattr(trl, name, Watched)
    monkeypatch.setattr(trl, "write_model", watched)
    made = sft(base, tmp_path) if kind == "SFT" else dpo(base, base, tmp_path)
    assert beside == [(0, 0, sum(weight.numel() for weight in AutoModelForCausalLM.from_pretrained(made).parameters()))]
    assert sum(weight.numel() for weight in trainers[0].model.parameters()) == 0


def test_a_training_that_is_gone_on_with_does_not_ask_its_reference_again(base, tmp_path, monkeypatch, undisturbed):
    expected = undisturbed(train_dpo_here)
    with pytest.raises(Killed):
        train_dpo_here(base, tmp_path, Dying(3, Killed()))
    monkeypatch.setattr(trl.PlannedDPOTrainer, "compute_ref_log_probs", None)
    assert contents(train_dpo_here(base, tmp_path)) == expected


def test_killed_while_the_reference_is_asked_a_training_asks_it_again(base, tmp_path, monkeypatch, undisturbed):
    def dying(file, text):
        file.with_name(file.name + ".partial").write_text(text[:10])
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(trl, "write_whole", dying)
        train_dpo_here(base, tmp_path)
    assert contents(train_dpo_here(base, tmp_path)) == undisturbed(train_dpo_here)


def test_dpo_makes_chosen_answers_likelier_by_the_reference(policy, tmp_path):
    assert steps_of(dpo(policy, policy, tmp_path / "work"))[-1]["rewards/margins"] > 0


def test_with_a_weight_the_likelihood_of_the_chosen_answer_is_added(policy, base, tmp_path):
    made = dpo(policy, base, tmp_path / "work", DPO.model_copy(update={**ONE_STEP, "nll_weight": 0.5, "beta": 0.3}))
    nll = nll_by_hand(policy, [(prompt, chosen) for prompt, chosen, _ in PAIRS])
    assert steps_of(made)[0]["loss"] == pytest.approx(dpo_loss_by_hand(policy, base, 0.3) + 0.5 * nll, rel=1e-4)


# ——— the order of the pairs trusted in part ———


def trusted_by_hand(policy, reference, confidence, nll_weight):
    """Loss and gradient of C·L(w, l) + (1 − C)·L(l, w), and the chosen response's likelihood (L: equation 7)."""
    model, frozen = (AutoModelForCausalLM.from_pretrained(path) for path in (policy, reference))
    losses, chosen_tokens = [], []
    for pair in PAIRS:
        row, ratios = dpo_row(TOKENIZER, *pair), []
        for side in ("chosen_ids", "rejected_ids"):
            ids = torch.tensor([row["prompt_ids"] + row[side]])
            answer = slice(len(row["prompt_ids"]) - 1, ids.shape[1] - 1)
            likely, by_frozen = (
                one(ids).logits[0, answer].log_softmax(-1).gather(1, ids[0, answer.start + 1 :, None])[:, 0]
                for one in (model, frozen)
            )
            ratios.append(likely.sum() - by_frozen.sum().detach())
            chosen_tokens += [likely] if side == "chosen_ids" else []
        margin = DPO.beta * (ratios[0] - ratios[1])
        losses.append(-confidence * torch.log(torch.sigmoid(margin)) - (1 - confidence) * torch.log(torch.sigmoid(-margin)))
    loss = torch.stack(losses).mean() - nll_weight * torch.cat(chosen_tokens).mean()
    loss.backward()
    return loss.item(), {name: weight.grad for name, weight in model.named_parameters()}


def check_trusted(policy, reference, work, monkeypatch, confidence, nll_weight=0.0, **changes):
    gradients = []

    class Watched(trl.PlannedDPOTrainer):
        def training_step(self, model, *given, **named):
            loss = super().training_step(model, *given, **named)
            gradients.append({name: weight.grad.clone() for name, weight in model.named_parameters()})
            return loss

    monkeypatch.setattr(trl, "PlannedDPOTrainer", Watched)
    config = DPO.model_copy(update={**ONE_STEP, "confidence": confidence, "nll_weight": nll_weight, **changes})
    made = dpo(policy, reference, work, config)
    loss, by_hand = trusted_by_hand(policy, reference, confidence, nll_weight)
    found = gradients[-1]  # of the whole step: it adds up over passes
    assert steps_of(made)[0]["loss"] == pytest.approx(loss, rel=1e-4)
    assert found.keys() == by_hand.keys()
    off = torch.cat([(found[name] - by_hand[name]).flatten() for name in found]).norm()
    assert off / torch.cat([weight.flatten() for weight in by_hand.values()]).norm() < 1e-4
    return made


@pytest.mark.parametrize(("confidence", "nll_weight"), [(1.0, 0), (0.8, 0), (0.5, 0), (0.501, 0), (0.2, 0), (0.8, 0.5), (0.0, 0)])
def test_loss_and_gradient_are_those_of_both_orders_as_far_as_each_is_trusted(
    confidence, nll_weight, policy, base, tmp_path, monkeypatch
):
    made = check_trusted(policy, base, tmp_path / "work", monkeypatch, confidence, nll_weight)
    assert metrics(made)[0].get("confidence", 1.0) == confidence


@pytest.mark.parametrize("size", [1, 2])
def test_the_likelihood_of_the_chosen_does_not_hang_on_how_a_step_is_cut_into_passes(size, policy, base, tmp_path, monkeypatch):
    check_trusted(policy, base, tmp_path / "work", monkeypatch, 0.8, 0.5, device_batch_size=size)


def robust(config):
    """The same loss in the form that has no value at C = 1/2."""
    confidence = config.confidence
    return {"loss_type": ["robust"], "label_smoothing": -(1 - confidence) / (2 * confidence - 1)}


@pytest.mark.parametrize("confidence", [0.8, 0.501, 0.2])
def test_it_is_trls_robust_loss_with_a_label_smoothing_below_zero_or_above_one(confidence, policy, base, tmp_path, monkeypatch):
    monkeypatch.setattr(trl, "loss", robust)
    check_trusted(policy, base, tmp_path / "work", monkeypatch, confidence)


def smoothed(config):
    """What TRL's sigmoid loss passes over."""
    return {"loss_type": ["sigmoid"], "label_smoothing": 1 - config.confidence}


@pytest.mark.parametrize("planted", [smoothed, lambda config, ours=trl.loss: {**ours(config), "label_smoothing": 0.2}])
def test_a_label_smoothing_that_does_nothing_or_another_one_would_be_noticed(planted, policy, base, tmp_path, monkeypatch):
    monkeypatch.setattr(trl, "loss", planted)
    with pytest.raises(AssertionError):
        check_trusted(policy, base, tmp_path / "work", monkeypatch, 0.8)


def test_trusted_whole_the_order_is_learnt_by_the_plain_loss_and_nothing_tells_of_it(base, tmp_path):
    plain = {"loss_type": ["sigmoid"], "loss_weights": [1.0]}
    assert {name: trl.loss(DPO)[name] for name in plain} == plain
    assert "confidence" not in DPO.model_dump() and "confidence" not in metrics(dpo(base, base, tmp_path / "work"))[0]


def test_learning_makes_answers_likelier_and_chosen_ones_likelier_than_rejected(base, tmp_path):
    made = sft(base, tmp_path / "sft")
    assert nll_by_hand(made, EXAMPLES) < nll_by_hand(base, EXAMPLES) - 0.1
    better = dpo(made, made, tmp_path / "dpo")
    assert dpo_loss_by_hand(better, made) < math.log(2) - 0.01


# ——— every example, once an epoch ———


def watch_rows(monkeypatch, name, seen):
    class Watched(getattr(trl, name)):
        def training_step(self, model, inputs, *given, **named):
            padded = zip(inputs["input_ids"], inputs["attention_mask"], strict=True)
            seen.update(tuple(row[mask.bool()].tolist()) for row, mask in padded)
            return super().training_step(model, inputs, *given, **named)

    monkeypatch.setattr(trl, name, Watched)


@pytest.mark.parametrize("kind", ["sft", "dpo"])
@pytest.mark.parametrize("device_batch", [4, 2])
def test_the_padding_that_is_told_of_is_what_the_model_was_given(kind, device_batch, base, tmp_path, monkeypatch):
    name, given = {"sft": "PlannedSFTTrainer", "dpo": "PlannedDPOTrainer"}[kind], []

    class Watched(getattr(trl, name)):
        def training_step(self, model, inputs, *rest, **named):
            given.append((inputs["attention_mask"].numel(), inputs["attention_mask"].sum().item()))
            return super().training_step(model, inputs, *rest, **named)

    monkeypatch.setattr(trl, name, Watched)
    if kind == "sft":
        made = sft(base, tmp_path / "work", SFT.model_copy(update={"device_batch_size": device_batch}))
    else:
        made = dpo(base, base, tmp_path / "work", DPO.model_copy(update={"device_batch_size": device_batch}))
    tokens, real = (sum(column) for column in zip(*given, strict=True))
    assert metrics(made)[0] == {"tokens": tokens, "padding": (tokens - real) / tokens} and tokens > real


LONG = " ".join(WORDS[n % 50] for n in range(1100))
"""A prompt that fills TRL's own `max_length`: it would drop the pair, or cut it, and not say so."""


def test_the_optimizer_sees_every_pair_whole_in_every_epoch(tmp_path, monkeypatch):
    model, seen = make_model(tmp_path / "model", max_position_embeddings=1200), Counter()
    watch_rows(monkeypatch, "PlannedDPOTrainer", seen)
    pairs = [*PAIRS, (LONG, "bak", "del fim")]
    dpo(model, model, tmp_path / "work", DPO.model_copy(update={"device_batch_size": 1}), pairs)
    rows = [dpo_row(TOKENIZER, *pair) for pair in pairs] * 2
    assert seen == Counter(tuple(row["prompt_ids"] + row[side]) for row in rows for side in ("chosen_ids", "rejected_ids"))


def test_the_optimizer_sees_every_example_whole_in_every_epoch(tmp_path, monkeypatch):
    model, seen = make_model(tmp_path / "model", max_position_embeddings=1200), Counter()
    watch_rows(monkeypatch, "PlannedSFTTrainer", seen)
    examples = [*EXAMPLES, (LONG, "bak")]
    sft(model, tmp_path / "work", SFT.model_copy(update={"device_batch_size": 1}), examples)
    assert seen == Counter(tuple(sft_row(TOKENIZER, *example)["input_ids"]) for example in examples * 2)


def test_a_trainer_that_drops_examples_is_stopped(base, tmp_path, monkeypatch):
    monkeypatch.setattr(trl.PlannedDPOTrainer, "_prepare_dataset", lambda self, dataset, *_: dataset.select(range(7)))
    with pytest.raises(AssertionError, match="kept 7 of 10"):
        dpo(base, base, tmp_path / "work")


def test_an_example_longer_than_the_model_reads_is_refused_with_counts(base, tmp_path):
    fits, over = " ".join(WORDS[:50] * 2 + WORDS[:23]), " ".join(WORDS[:50] * 2 + WORDS[:25])
    with pytest.raises(SelfRewardError, match=r"reads 128 tokens at most, but of 4 examples 2 would not fit \(up to 131\)"):
        sft(base, tmp_path / "work", examples=[("bak", "del"), (fits, "bak bak"), (over, "bak"), (over, "bak bak bak")])
    with pytest.raises(SelfRewardError, match=r"but of 2 examples 1 would not fit \(up to 129\)"):
        dpo(base, base, tmp_path / "work", pairs=[(fits, "bak", "bak bak bak"), ("bak", fits, "bak")])


def test_pairs_that_fit_are_told_from_pairs_of_which_one_response_does_not(base):
    fits, over = " ".join(WORDS[:50] * 2 + WORDS[:23]), " ".join(WORDS[:50] * 2 + WORDS[:24])
    pairs = [(fits, "bak bak", "bak"), (over, "bak", "bak bak"), (over, "bak", "bak"), ("bak", fits, over)]
    assert TRLTrainer().fits(pairs, base) == [True, False, True, True]  # two of the 128 tokens head the turns, one ends


def test_a_pair_with_an_empty_answer_is_left_out_only_where_the_template_refuses_one(base, tmp_path):
    end = TOKENIZER.eos_token_id
    empty = [("bak", (end,), "bal"), ("bak", "bam", " "), ("bak", Reasoned(thought="bal", text=""), "bam")]
    pairs = [*empty, ("bak", "bam", (5, end)), ("bak", "bam", Reasoned(thought="", text="bal"))]
    assert TRLTrainer().fits(pairs, base) == [True] * 5
    strict = shutil.copytree(base, tmp_path / "strict")
    refusing = "{% for m in messages %}{% if not m.content %}{{ raise_exception('empty') }}{% endif %}{% endfor %}"
    make_tokenizer(refusing + TOKENIZER.chat_template).save_pretrained(strict)
    assert TRLTrainer().fits(pairs, strict) == [False, False, False, True, True]
    assert dpo(strict, strict, tmp_path / "work", DPO.model_copy(update=ONE_STEP), pairs[3:]).exists()


@pytest.mark.parametrize(("examples", "device_batch"), [(10, None), (10, 2), (9, 1), (1, 2)])
def test_a_training_takes_the_steps_that_were_announced(base, tmp_path, examples, device_batch):
    config, told = SFT.model_copy(update={"device_batch_size": device_batch}), []
    made = sft(base, tmp_path / "work", config, EXAMPLES[:examples], told.append)
    announced = config.steps(examples)
    assert announced == math.ceil(examples / 4) * 2 == sum(told) == len(steps_of(made))


def test_a_batch_read_in_parts_gives_the_same_steps(base, tmp_path):
    whole, parts = (DPO.model_copy(update={"batch_size": 8, "device_batch_size": device_batch}) for device_batch in (8, 2))
    first = steps_of(dpo(base, base, tmp_path / "whole", whole, PAIRS[:8]))
    again = steps_of(dpo(base, base, tmp_path / "parts", parts, PAIRS[:8]))
    assert [line["loss"] for line in again] == pytest.approx([line["loss"] for line in first], rel=1e-4)
    assert again[1]["loss"] < again[0]["loss"] - 1e-3


# ——— settings that reach the optimizer ———


def test_the_learning_rate_falls_along_a_cosine_and_is_at_its_end_at_the_last_step(base, tmp_path):
    rates = [line["learning_rate"] for line in steps_of(sft(base, tmp_path / "work", SFT.model_copy(update={"epochs": 3})))]
    middle, half = (1e-3 + 1e-4) / 2, (1e-3 - 1e-4) / 2
    by_hand = {0: 1e-3, 2: middle + half * math.sqrt(0.5), 4: middle, 6: middle - half * math.sqrt(0.5), 8: 1e-4}
    assert len(rates) == 9 and rates == sorted(rates, reverse=True)
    assert {step: rates[step] for step in by_hand} == pytest.approx(by_hand)


PAPERS = {"sft": (SFTConfig(), 5.5e-6, 1.1e-6), "dpo": (DPOConfig(), 1e-6, 1e-7)}


@pytest.mark.parametrize("kind", PAPERS)
def test_by_default_the_rates_are_those_of_the_paper_at_both_ends(kind, base, tmp_path):
    config, first, last = PAPERS[kind]
    config = config.model_copy(update={"batch_size": 5, "device_batch_size": 5, "epochs": 2})
    made = sft(base, tmp_path, config) if kind == "sft" else dpo(base, base, tmp_path, config)
    rates = [line["learning_rate"] for line in steps_of(made)]
    assert len(rates) == 4 and [rates[0], rates[-1]] == pytest.approx([first, last])
    assert rates[1] == pytest.approx(last + (first - last) * 0.75)  # a third of the way: (1 + cos 60°) / 2


GPT_2 = {"kind": "gpt2", "resid_pdrop": 0.5, "embd_pdrop": 0.5, "attn_pdrop": 0.5}
LLAMA = {"attention_dropout": 0.5}


def first_loss(train, model, work, dropout):
    return steps_of(train(model, work, {**ONE_STEP, "dropout": dropout}))[0]["loss"]


def train_sft(model, work, changes):
    return sft(model, work, SFT.model_copy(update=changes))


def train_dpo(model, work, changes):
    return dpo(model, model, work, DPO.model_copy(update=changes))


@pytest.mark.parametrize("train", [train_sft, train_dpo])
@pytest.mark.parametrize("shape", [GPT_2, LLAMA], ids=["gpt2", "llama"])
def test_dropout_is_what_the_recipe_says_whatever_the_model_came_with(train, shape, tmp_path):
    with_dropout = make_model(tmp_path / "with", **shape)
    without = make_model(tmp_path / "without", **{name: 0 if "drop" in name else value for name, value in shape.items()})
    off = [first_loss(train, model, tmp_path / f"off {model.name}", 0) for model in (with_dropout, without)]
    on = [first_loss(train, model, tmp_path / f"on {model.name}", 0.3) for model in (with_dropout, without)]
    assert off[0] == off[1] == pytest.approx(math.log(2) if train is train_dpo else nll_by_hand(without, EXAMPLES), rel=1e-4)
    assert on[0] == on[1]
    assert abs(on[0] - off[0]) > 1e-4


# ——— what comes out ———


def test_the_result_is_a_model_its_tokenizer_and_its_metrics_and_no_pickle(base, tmp_path):
    for made in (sft(base, tmp_path / "sft"), dpo(base, base, tmp_path / "dpo")):
        names = {file.name for file in made.iterdir()}
        assert {"config.json", "model.safetensors", "tokenizer.json", "metrics.jsonl", "chat_template.jinja"} <= names
        assert all(name.endswith((".json", ".safetensors", ".jsonl", ".jinja")) for name in names)
        config = (made / "config.json").read_text() + (made / "tokenizer_config.json").read_text()
        assert str(tmp_path) not in config and str(base) not in config


def test_metrics_hold_no_times_and_nothing_that_another_run_would_not_repeat(base, tmp_path):
    for name, train in {"sft": sft, "dpo": lambda start, work: dpo(start, start, work)}.items():
        made, again = train(base, tmp_path / name), train(base, tmp_path / f"{name} again")
        assert (made / "metrics.jsonl").read_bytes() == (again / "metrics.jsonl").read_bytes()
        assert (made / "model.safetensors").read_bytes() == (again / "model.safetensors").read_bytes()
        assert {"loss", "learning_rate", "grad_norm", "step"} <= steps_of(made)[0].keys()
        found = {key for line in metrics(made) for key in line}
        assert not [key for key in found if "time" in key or "second" in key or "flos" in key]


def test_a_model_read_and_saved_again_has_the_same_fingerprint(base, tmp_path):
    made = sft(base, tmp_path / "work")
    assert fingerprint(made) != fingerprint(base)
    AutoModelForCausalLM.from_pretrained(made).save_pretrained(tmp_path / "again")
    AutoTokenizer.from_pretrained(made).save_pretrained(tmp_path / "again")
    assert fingerprint(tmp_path / "again") == fingerprint(made)


def test_training_changes_neither_tokenizer_nor_template_nor_where_generation_stops(base, tmp_path):
    stops = make_model(tmp_path / "stops", stops=WORDS[:2])
    for dropout in (0, 0.1):
        made = dpo(stops, stops, tmp_path / f"work {dropout}", DPO.model_copy(update={**ONE_STEP, "dropout": dropout}))
        first, last = (AutoTokenizer.from_pretrained(path) for path in (stops, made))
        assert first.get_vocab() == last.get_vocab() and first.chat_template == last.chat_template
        assert AutoModelForCausalLM.from_pretrained(made).generation_config.eos_token_id == [4, 5, 6]


# ——— killed, and gone on with ———


class Dying:
    """Raises `error` at step `at` of an attempt; counts the steps."""

    def __init__(self, at, error):
        self.left, self.error = at, error

    def __call__(self, steps):
        self.left -= steps
        if steps and self.left <= 0:
            raise self.error


def train_sft_here(base, work, advance=lambda steps: None):
    return sft(base, work, SFT.model_copy(update={"dropout": 0.1}), advance=advance)


def train_dpo_here(base, work, advance=lambda steps: None):
    return dpo(base, base, work, DPO.model_copy(update={"dropout": 0.1, "device_batch_size": 2}), advance=advance)


TRAININGS = pytest.mark.parametrize("train", [train_sft_here, train_dpo_here], ids=["sft", "dpo"])


@pytest.fixture(scope="module")
def undisturbed(base, tmp_path_factory):
    made = {}

    def of(train):
        if train not in made:
            made[train] = contents(train(base, tmp_path_factory.mktemp("undisturbed")))
        return made[train]

    return of


def contents(made):
    return {file.name: file.read_bytes() for file in made.iterdir()}


def checkpoints(work):
    return sorted(path.name for path in work.glob("checkpoint-*"))


@TRAININGS
@pytest.mark.parametrize("at", [1, 3, 6])
def test_killed_at_a_step_a_training_ends_with_the_same_bytes(train, at, base, tmp_path, undisturbed):
    with pytest.raises(Killed):
        train(base, tmp_path, Dying(at, Killed()))
    assert checkpoints(tmp_path) == ([f"checkpoint-{(at - 1) // 2 * 2}"] if at > 2 else [])
    told = []
    assert contents(train(base, tmp_path, told.append)) == undisturbed(train)
    assert told[0] == (at - 1) // 2 * 2
    assert sum(told) == 6


@TRAININGS
def test_a_torn_checkpoint_is_passed_over(train, base, tmp_path, undisturbed):
    with pytest.raises(Killed):
        train(base, tmp_path, Dying(5, Killed()))
    shutil.copytree(tmp_path / "checkpoint-4", tmp_path / "checkpoint-6")
    (tmp_path / "checkpoint-6" / MARK).unlink()
    (tmp_path / "checkpoint-6" / "optimizer.pt").write_bytes(b"half")
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "model.safetensors").write_bytes(b"half")
    assert contents(train(base, tmp_path)) == undisturbed(train)


def test_a_training_without_any_whole_checkpoint_starts_again(base, tmp_path, undisturbed):
    with pytest.raises(Killed):
        train_sft_here(base, tmp_path, Dying(4, Killed()))
    (tmp_path / "checkpoint-2" / MARK).unlink()
    told = []
    assert contents(train_sft_here(base, tmp_path, told.append)) == undisturbed(train_sft_here)
    assert told == [0, 1, 1, 1, 1, 1, 1]


def test_killed_between_a_checkpoint_and_its_mark_the_one_before_counts(base, tmp_path, monkeypatch, undisturbed):
    def dying(folder):
        if folder.name == "checkpoint-4":
            raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr("selfreward.engines.training.checkpoints.sync_files", dying)
        train_sft_here(base, tmp_path)
    assert checkpoints(tmp_path) == ["checkpoint-2", "checkpoint-4"]
    told = []
    assert contents(train_sft_here(base, tmp_path, told.append)) == undisturbed(train_sft_here)
    assert told[0] == 2


def test_killed_while_the_result_is_written_it_is_written_again(base, tmp_path, monkeypatch, undisturbed):
    def dying(folder):
        if folder.name == "made.partial":
            raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr("selfreward.engines.training.checkpoints.sync_files", dying)
        train_sft_here(base, tmp_path)
    assert (tmp_path / "made.partial").exists() and not (tmp_path / "made").exists()
    assert contents(train_sft_here(base, tmp_path)) == undisturbed(train_sft_here)


@TRAININGS
@pytest.mark.parametrize("at", [1, 6])
def test_asked_to_end_a_training_saves_where_it_is_and_loses_no_step(train, at, base, tmp_path, undisturbed):
    with pytest.raises(Stopped):
        train(base, tmp_path, Dying(at, Stopped("here")))
    assert checkpoints(tmp_path) == [f"checkpoint-{at}"]
    assert (tmp_path / f"checkpoint-{at}" / MARK).exists()
    told = []
    assert contents(train(base, tmp_path, told.append)) == undisturbed(train)
    assert told[0] == at and sum(told) == 6


def test_only_the_last_checkpoint_stays_unless_all_are_to_be_kept(base, tmp_path):
    sft(base, tmp_path / "last")
    sft(base, tmp_path / "all", keep=True)
    assert checkpoints(tmp_path / "last") == ["checkpoint-4"]  # after the last step, the model itself is written
    assert checkpoints(tmp_path / "all") == ["checkpoint-2", "checkpoint-4", "checkpoint-6"]
    assert all(Path(path, MARK).exists() for path in tmp_path.glob("*/checkpoint-*"))


# ——— models on the way, to choose among ———


def candidates(work):
    return {path.name: contents(path) for path in sorted(work.glob("step-*"))}


def train_to_choose(base, work, advance=lambda steps: None):
    config = DPO.model_copy(update={"dropout": 0.1})
    return TRLTrainer().dpo(PAIRS, base, base, config, 3, work, advance, every=2)


@pytest.fixture(scope="module")
def on_the_way(base, tmp_path_factory):
    work = tmp_path_factory.mktemp("on the way")
    return contents(train_to_choose(base, work)), candidates(work)


def test_every_few_steps_but_the_last_a_whole_model_is_left(base, tmp_path, on_the_way):
    made, found = on_the_way
    assert list(found) == ["step-2", "step-4"]
    assert all(each.keys() == made.keys() for each in found.values())
    assert all(each["metrics.jsonl"] == made["metrics.jsonl"] for each in found.values())
    with pytest.raises(Stopped):
        train_to_choose(base, tmp_path, Dying(4, Stopped("here")))
    saved = load_file(tmp_path / "checkpoint-4" / "model.safetensors")
    assert same(saved, load(found["step-4"]["model.safetensors"]))
    assert not same(saved, load(made["model.safetensors"])) and not same(saved, load(found["step-2"]["model.safetensors"]))


def test_models_on_the_way_change_nothing_of_the_training(base, tmp_path, on_the_way):
    assert contents(train_to_choose(base, tmp_path)) == on_the_way[0]
    config = DPO.model_copy(update={"dropout": 0.1})
    assert contents(dpo(base, base, tmp_path / "plain", config)) == on_the_way[0]


@pytest.mark.parametrize("at", [3, 4, 5])
def test_killed_a_training_leaves_the_same_models_on_the_way(at, base, tmp_path, on_the_way):
    with pytest.raises(Killed):
        train_to_choose(base, tmp_path, Dying(at, Killed()))
    (tmp_path / "step-4.partial").mkdir(exist_ok=True)
    assert contents(train_to_choose(base, tmp_path)) == on_the_way[0]
    assert {name: found for name, found in candidates(tmp_path).items() if "." not in name} == on_the_way[1]
