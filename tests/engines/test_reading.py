"""Log-probabilities worked out with less are those of the whole logits, and so is what they teach."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM
from trl.trainer.utils import add_fused_lm_head

from selfreward.checks import memory
from selfreward.engines.training import likelihood, reading
from selfreward.engines.training.likelihood import score
from selfreward.engines.training.reading import read_thriftily, twins
from selfreward.engines.training.rows import IGNORE

PROMPTS = [[11, 12, 13], [14, 15, 16, 17, 18], [19]]
CHOSEN = [[21, 22, 23, 24], [25], [26, 27]]
REJECTED = [[31], [32, 33, 34], [21, 35]]


def batch(chosen=CHOSEN, rejected=REJECTED, others=PROMPTS):
    """Ids, mask and labels [6, longest], padded at the end."""
    rows = [*zip(PROMPTS, chosen, strict=True), *zip(others, rejected, strict=True)]
    longest = max(len(prompt + response) for prompt, response in rows)
    pad = lambda row, filler: row + [filler] * (longest - len(row))  # noqa: E731
    ids = torch.tensor([pad(prompt + response, 1) for prompt, response in rows])
    labels = torch.tensor([pad([IGNORE] * len(prompt) + response, IGNORE) for prompt, response in rows])
    mask = torch.tensor([pad([1] * len(prompt + response), 0) for prompt, response in rows])
    return ids, mask, labels


def made(kind, **more):
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        kind, vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4, head_dim=8,
        num_key_value_heads=2, max_position_embeddings=64, initializer_range=0.2, **more,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config)
    add_fused_lm_head(model, outputs=("log_probs", "entropy", "mean_logits", "is_top1"))
    return model


def asked(model, ids, mask, labels):
    """What TRL is given, and the gradient of a weighted sum of it."""
    weights = torch.rand(ids.shape[0], ids.shape[1] - 1, generator=torch.Generator().manual_seed(3))
    model.zero_grad()
    scores = model(input_ids=ids, attention_mask=mask, labels=labels, use_cache=False, fused_lm_head=True)
    (scores.log_probs * weights).sum().backward()
    return scores, {name: weight.grad.clone() for name, weight in model.named_parameters()}


def by_hand(model, ids, mask, labels):
    """The log-probability of each label, of a plain forward of each row alone."""
    found = torch.zeros(ids.shape[0], ids.shape[1] - 1)
    for row, (tokens, kept, wanted) in enumerate(zip(ids, mask.bool(), labels, strict=True)):
        logits = model(input_ids=tokens[kept][None]).logits[0].log_softmax(-1)
        for at, label in enumerate(wanted[1:]):
            if label != IGNORE:
                found[row, at] = logits[at, label]
    return found


@pytest.fixture
def calls(monkeypatch):
    """The number of tokens that each reading put through a model."""
    seen, states = [], reading.Reader._states
    monkeypatch.setattr(
        reading.Reader, "_states", lambda self, ids, *a, **k: (seen.append(ids.numel()), states(self, ids, *a, **k))[1]
    )
    return seen


@pytest.mark.parametrize(
    ("kind", "more"),
    [("llama", {}), ("llama", {"tie_word_embeddings": True}), ("qwen3", {}), ("mistral", {"sliding_window": 32}), ("gemma", {})],
    ids=["llama", "llama, tied", "qwen3", "mistral", "gemma"],
)
def test_log_probs_and_gradient_are_those_of_trl_with_every_prompt_read_once(kind, more, calls):
    model, given = made(kind, **more), batch()
    expected, gradient = asked(model, *given)
    read_thriftily(model, 8)
    calls.clear()
    found, learnt = asked(model, *given)
    assert calls == [3 * 9]  # the longest pair: 5 + 1 + 3 tokens, in place of 6 rows of 8
    for name in ("log_probs", "entropy", "mean_logits"):
        assert torch.allclose(found[name], expected[name], atol=2e-5), name
    assert torch.equal(found["is_top1"], expected["is_top1"]) and torch.equal(found["label_mask"], expected["label_mask"])
    assert torch.allclose(found["log_probs"], by_hand(model, *given), atol=2e-5)
    for name, of_weight in gradient.items():
        assert torch.allclose(learnt[name], of_weight, atol=1e-4 * max(1.0, of_weight.abs().max().item())), name


@pytest.mark.parametrize("kept", [7 * 64 - 1, 7 * 64], ids=["made again", "kept"])
@pytest.mark.parametrize("held", [64, 3 * 64, 1 << 24])
def test_scores_do_not_hang_on_how_many_logits_are_held_or_kept(held, kept, monkeypatch):
    monkeypatch.setattr(likelihood, "HELD", held)
    monkeypatch.setattr(likelihood, "KEPT", kept)
    products, multiply = [], torch.mm
    monkeypatch.setattr(torch, "mm", lambda *given, **named: (products.append(named["out"].shape), multiply(*given, **named))[1])
    torch.manual_seed(1)
    hidden, weight, bias = (torch.randn(*size, dtype=torch.float64, requires_grad=True) for size in ((7, 5), (64, 5), (64,)))
    words = torch.tensor([3, 63, 0, 3, 9, 10, 11])
    assert torch.autograd.gradcheck(lambda *given: score(*given, words).log_probs, (hidden, weight, bias))
    logits = hidden @ weight.T + bias
    likely = logits.log_softmax(-1)
    found = score(hidden, weight, bias, words)
    assert torch.allclose(found.log_probs, likely[range(7), words])
    assert torch.allclose(found.entropy, -(likely.exp() * likely).sum(-1))
    assert torch.allclose(found.mean_logits, logits.mean(-1)) and torch.equal(found.is_top1, logits.argmax(-1) == words)
    products.clear()
    found.log_probs.sum().backward()
    assert sum(rows for rows, width in products if width == 64) == (0 if kept == 7 * 64 else 7)  # logits made again


def test_nothing_is_kept_where_nothing_is_learnt(monkeypatch):
    weight = torch.randn(64, 5, requires_grad=True)
    found: list[object] = []
    monkeypatch.setattr(likelihood, "_room", lambda *given, make=likelihood._room: found.append(0) or make(*given))
    with torch.no_grad():
        score(torch.randn(7, 5), weight, None, torch.arange(7))
    assert len(found) == 2  # one part of logits and one of their exponents, whatever the length


def test_each_response_sees_its_prompt_and_itself_and_nothing_else():
    together = twins(*batch()[:2])
    assert together.ids[0].tolist() == [11, 12, 13, 21, 22, 23, 24, 31, 0]
    assert together.positions[0].tolist() == [0, 1, 2, 3, 4, 5, 6, 3, 0]
    seen = [row.nonzero().flatten().tolist() for row in together.sees[0, 0]]
    assert seen[2] == [0, 1, 2] and seen[4] == [0, 1, 2, 3, 4] and seen[7] == [0, 1, 2, 7]
    assert together.places[3, :4].tolist() == [0, 1, 2, 7]


def test_rows_that_do_not_begin_alike_are_read_apart(calls):
    model, given = made("llama"), batch([[21], [22], [23]], [[31], [32], [33]], [[50, 12, 13], [51, 15, 16, 17, 18], [52]])
    expected, _ = asked(model, *given)
    read_thriftily(model, 8)
    calls.clear()
    assert torch.allclose(asked(model, *given)[0].log_probs, expected.log_probs, atol=2e-5)
    assert calls == [6 * 6]


def test_what_is_shared_is_what_is_the_same_whether_or_not_it_is_learnt(calls):
    """Thoughts that are given stand before a response and are not learnt; responses may begin alike."""
    model, (ids, mask, labels) = made("llama"), batch(others=[[11, 12, 14], PROMPTS[1], [19, 26]])
    labels = labels.clone()
    labels[0, 3] = labels[4, 5] = IGNORE
    expected, gradient = asked(model, ids, mask, labels)
    read_thriftily(model, 8)
    calls.clear()
    found, learnt = asked(model, ids, mask, labels)
    assert torch.allclose(found.log_probs, expected.log_probs, atol=2e-5) and calls[0] < ids.numel()
    for name, of_weight in gradient.items():
        assert torch.allclose(learnt[name], of_weight, atol=1e-4 * max(1.0, of_weight.abs().max().item())), name


def test_a_pair_whose_responses_are_long_is_read_apart_where_attention_would_cost_more(calls):
    model = made("llama")
    given = batch(chosen=[[20 + at % 20 for at in range(28)]] * 3, rejected=[[40 + at % 20 for at in range(28)]] * 3)
    read_thriftily(model, 40)
    reader = next(
        cell.cell_contents for cell in model.forward.__func__.__closure__ if isinstance(cell.cell_contents, reading.Reader)
    )
    reader._in_layers = 1  # a model that is attention alone
    calls.clear()
    asked(model, *given)
    assert calls == [given[0].numel()]


@pytest.mark.parametrize(
    ("kind", "more", "why"),
    [
        ("gemma2", {"final_logit_softcapping": 2.0}, "its logits are bent"),
        ("granite", {"logits_scaling": 3.0}, "its logits are scaled"),
    ],
)
def test_a_model_of_which_it_does_not_say_the_same_stays_as_trl_has_it(kind, more, why):
    model = made(kind, **more)
    theirs = model.forward
    read_thriftily(model, 8)
    assert model.forward == theirs, why


def test_beyond_a_sliding_window_prompts_are_read_for_each_response(calls):
    model, given = made("mistral", sliding_window=4), batch()
    expected, _ = asked(model, *given)
    read_thriftily(model, 8)
    calls.clear()
    assert torch.allclose(asked(model, *given)[0].log_probs, expected.log_probs, atol=2e-5)
    assert calls == [6 * 8]


def test_a_model_in_another_precision_stays_as_trl_has_it():
    model = made("llama").bfloat16()
    theirs = model.forward
    read_thriftily(model, 8)
    assert model.forward == theirs


def test_the_memory_that_is_told_of_is_that_of_the_logits_that_are_held():
    assert memory.HELD == likelihood.HELD and memory.KEPT == likelihood.KEPT
