"""Batches of like length: every example once an epoch, in random order, with padding counted as it is by hand."""

import json
import random
from itertools import pairwise
from pathlib import Path
from statistics import pstdev

import pytest

import selfreward
from selfreward.engines import load_tokenizer
from selfreward.engines.training import batches
from selfreward.engines.training.batches import Batches, packed
from selfreward.engines.training.rows import dpo_row, pair_lengths, sft_row
from selfreward.recipe import DPOConfig, load_recipe
from tinymodels import make_tokenizer

PACKAGE = Path(selfreward.__path__[0])
TOKENIZER = make_tokenizer()
MANY = [(random.Random(n).randrange(5, 100),) for n in range(1000)]


def longest(examples, batch):
    return max(max(examples[at]) for at in batch)


def test_padding_is_what_it_is_by_hand():
    sft = Batches([(3,), (5,), (2,), (4,)], 2, 4, seed=0)  # 5 4 | 3 2: padded to 5 5 | 3 3
    assert sft.tokens(1) == (16, 2) and sft.tokens(3) == (48, 6)
    dpo = Batches([(3, 5), (8, 8), (9, 2), (4, 4)], 2, 4, seed=0)  # 9 2 8 8 | 3 5 4 4: four times 9, four times 5
    assert dpo.tokens(1) == (56, 13)
    assert Batches([(3,), (5,)], 4, 4, seed=0).tokens(1) == (10, 2)
    assert Batches([(3, 5)], 4, 4, seed=0).tokens(2) == (20, 4)


def test_batches_that_are_not_of_like_length_pad_more():
    found = [Batches(MANY, size, 16, seed=0).tokens(3) for size in (16, 4, 1)]
    assert {tokens - padding for tokens, padding in found} == {3 * sum(length for (length,) in MANY)}
    shares = [padding / tokens for tokens, padding in found]
    assert shares[0] > 0.3 and shares[1] < shares[0] / 2 and shares[2] == 0


@pytest.mark.parametrize(
    ("examples", "size", "step"), [(1000, 4, 16), (1000, 1, 8), (37, 4, 8), (3, 8, 8), (64, 16, 16), (65, 4, 16)]
)
def test_an_epoch_has_every_example_once_and_full_batches_but_for_the_last(examples, size, step):
    batches = Batches([MANY[n % 1000] for n in range(examples)], size, step, seed=0)
    for epoch in range(2):
        batches.set_epoch(epoch)
        parts = batches.of(epoch)
        assert sorted(batches) == list(range(examples)) and len(batches) == examples
        assert list(batches) == [at for part in parts for at in part]
        assert [len(part) for part in parts] == [size] * (examples // size) + [examples % size] * (examples % size > 0)


def test_a_step_is_of_random_lengths_and_its_batches_of_like_ones_longest_first():
    parts = Batches(MANY, 4, 16, seed=0).of(0)
    means = []
    for start in range(0, 248, 4):
        lengths = [[MANY[at][0] for at in part] for part in parts[start : start + 4]]
        assert all(min(first) >= max(second) for first, second in pairwise(lengths))
        means.append(sum(map(sum, lengths)) / 16)
    spread = pstdev(means) / (pstdev(length for (length,) in MANY) / 4)  # of means of 16 drawn at random: 1
    assert 0.7 < spread < 1.3
    first, second = means[: len(means) // 2], means[len(means) // 2 :]
    assert abs(sum(first) / len(first) - sum(second) / len(second)) < 6  # of lengths of 5 to 100


def test_the_order_is_that_of_its_seed_and_epoch_alone():
    first = Batches(MANY, 4, 16, seed=0)
    assert first.of(1) == Batches(MANY, 4, 16, seed=0).of(1) != first.of(0) != Batches(MANY, 4, 16, seed=1).of(0)


def test_how_a_step_is_cut_up_changes_nothing_of_what_is_in_it():
    steps = [
        [
            sorted(at for part in parts for at in part)
            for parts in zip(*[iter(Batches(MANY, size, 8, seed=3).of(1))] * (8 // size), strict=True)
        ]
        for size in (1, 2, 4, 8)
    ]
    assert steps[0] == steps[1] == steps[2] == steps[3] and len(steps[0]) == 125


def test_batches_within_a_number_of_tokens():
    examples = [(3, 5), (2, 2), (9, 1), (5, 5), (1, 2)]
    assert packed(examples, 20) == [[2], [0, 3], [1, 4]]
    assert packed(examples, 1) == [[2], [0], [3], [1], [4]]
    assert packed(examples, 1000) == [[2, 0, 3, 1, 4]]
    assert packed([(4,), (2,), (7,)], 8) == [[2], [0, 1]]


def seed_examples(*names):
    rows = [json.loads(line) for name in names for line in (PACKAGE / "lab" / "micro" / "seed" / f"{name}.jsonl").open()]
    return [(row["prompt"], row["response"]) for row in rows]


@pytest.mark.parametrize("names", [("ift",), ("ift", "eft")], ids=" ".join)
def test_what_is_padded_in_sft_on_the_micro_seed_is_under_a_tenth(names):
    recipe = load_recipe(PACKAGE / "recipe" / "shipped" / "micro.toml")
    tokenizer = load_tokenizer(PACKAGE / "lab" / "micro" / "base_model")
    lengths = [(len(sft_row(tokenizer, *example)["input_ids"]),) for example in seed_examples(*names)]
    sizes = recipe.sft.split()[0], recipe.sft.batch_size
    (tokens, padding), (at_once, more) = (Batches(lengths, size, sizes[1], 0).tokens(recipe.sft.epochs) for size in sizes)
    assert padding / tokens < 0.1 < more / at_once


def test_a_pair_is_as_long_as_its_prompt_with_either_response():
    row = dpo_row(TOKENIZER, "bak del", "bak", "bak del fim")
    prompt = len(row["prompt_ids"])
    assert pair_lengths(row) == (prompt + 2, prompt + 4)


@pytest.mark.parametrize(
    ("tokens", "given", "split"),
    [(None, None, (4, 4)), (512, None, (4, 4)), (1024, None, (2, 8)), (700, None, (2, 8)), (5000, None, (1, 16)),
     (10, None, (16, 1)), (5000, 8, (8, 2))],
)  # fmt: skip
def test_where_it_is_not_said_a_pass_has_as_many_examples_as_have_2048_tokens(tokens, given, split):
    assert DPOConfig(batch_size=16, device_batch_size=given).split(tokens=tokens) == split


def test_the_examples_of_a_pass_are_counted_by_the_one_that_is_largest_with_its_padding():
    assert batches.longest([(5, 9), (12, 3), (10, 11)]) == 24 and batches.longest([(5,), (9,)]) == 9
