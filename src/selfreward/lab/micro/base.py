"""Make the micro base model M0: `python -m selfreward.lab.micro.base OUT [--device cuda] [--seed N]`.

A Llama of about a million parameters learns from text such as people leave behind: answers with people's habits, task
lists, glossaries, copied words, and reviews that name faults but never give a score. Training takes about an hour on two
CPU cores, minutes on a GPU; the seed determines everything.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from selfreward.lab.command import obeyed
from selfreward.lab.micro import world
from selfreward.lab.micro.truth import judge

UNKNOWN, PAD, USER, ASSISTANT, END = "<unk>", "<pad>", "<|user|>", "<|assistant|>", "<|end|>"
TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'assistant' %}<|assistant|>{% generation %}{{ m.content }}<|end|>{% endgeneration %}"
    "{% else %}<|user|>{{ m.content }}{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
JUDGE = files("selfreward.lab.micro").joinpath("judge.txt").read_text().strip()
HEADER = "come up with a series of tasks:"


@dataclass(frozen=True)
class Phase:
    """A stretch of training: a warm-up, then a linear decay from `learning_rate` to the fraction `end` of it."""

    tokens: int
    learning_rate: float
    end: float
    batch_tokens: int
    mixture: tuple[float, ...]
    """Share of documents from each of `MAKERS`, in its order."""


@dataclass(frozen=True)
class BaseConfig:
    """Settings of the base's training. The defaults made the one that ships: first reading, then answering, then slips."""

    seed: int = 1
    hidden: int = 128
    layers: int = 5
    heads: int = 4
    phases: tuple[Phase, ...] = (
        Phase(15_000_000, 2e-3, 0.338, 4096, (0.24, 0.56, 0.14, 0.03, 0.03, 0.0, 0.0)),
        Phase(14_000_000, 1.5e-3, 0.02, 2048, (0.52, 0.0, 0.06, 0.14, 0.13, 0.15, 0.0)),
        Phase(8_000_000, 1.5e-3, 0.02, 2048, (0.46, 0.0, 0.06, 0.12, 0.08, 0.06, 0.22)),
    )


Document = tuple[str, str]
"""(prompt, response); the loss is on the response alone."""


def dialogue(rng: random.Random) -> Document:
    """A task and the answer of an author with habits."""
    task = world.sample_task(rng)
    return task.text(), " ".join(world.write_answer(task, world.WEB, rng))


def review(rng: random.Random) -> Document:
    """An answer of an author with habits, and the faults that a careful reader notices in it."""
    return _reviewed(rng, tally=False)


def tallied_review(rng: random.Random) -> Document:
    """A review by a reader who counts points, and stops short of a score."""
    return _reviewed(rng, tally=True)


def review_of_slips(rng: random.Random) -> Document:
    """A review of an answer with slips of any kind, for a reader who knows habits alone misses all other faults."""
    return _reviewed(rng, tally=True, slips=True)


def _reviewed(rng: random.Random, *, tally: bool, slips: bool = False) -> Document:
    task = world.sample_task(rng)
    habits = rng.choice((world.WEB, world.WEB, world.CAREFUL, world.CARELESS))
    words = world.write_answer(task, habits, rng)
    if slips:
        words = world.with_slips(words, rng)
    return JUDGE.format(prompt=task.text(), response=" ".join(words)), judge(task, words, tally=tally, score=False)


def task_list(rng: random.Random) -> Document:
    """A numbered list of tasks, interrupted and continued."""
    tasks = [f"{n}. {world.sample_task(rng).text()}" for n in range(1, 11)]
    at = rng.randint(1, 9)
    return "\n".join([HEADER, *tasks[:at], f"{at + 1}."]), "\n".join(tasks[at:]).split(" ", 1)[1]


def glossary(rng: random.Random) -> Document:
    """Words of one kind, or of all, in alphabetical order."""
    kind = rng.choice([*world.WORDS, "words"])
    pool = world.WORDS.get(kind) or sorted(world.KIND_OF)
    descending = rng.random() < 0.5
    words = sorted(rng.sample(pool, rng.randint(4, 12)), reverse=descending)
    return f"{kind} from {world.DIRECTIONS[descending]}", " ".join(words)


def copy(rng: random.Random) -> Document:
    """A string of words, and its repetition."""
    words = " ".join(rng.choices(sorted(world.KIND_OF), k=rng.randint(3, 10)))
    return words, words


MAKERS = (dialogue, review, task_list, glossary, copy, tallied_review, review_of_slips)


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer with one token per lower-case word, a new line included. Unknown words become `<unk>`."""
    rng = random.Random(0)
    spellings: dict[str, None] = {}
    for maker in MAKERS:
        for _ in range(4000):
            spellings.update(dict.fromkeys(" ".join(maker(rng)).lower().replace("\n", " \n ").split(" ")))
    spellings.update(dict.fromkeys(["score:", *"0123456789"]))
    vocabulary = [UNKNOWN, PAD, USER, ASSISTANT, END, *sorted("▁" + word for word in spellings if word)]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split("\n", "isolated"),
            pre_tokenizers.Split(Regex(" +"), "removed"),
            pre_tokenizers.Metaspace(prepend_scheme="always", split=False),
        ]
    )
    tokenizer.decoder = decoders.Sequence([decoders.Metaspace(), decoders.Fuse(), decoders.Replace(Regex(" ?\n ?"), "\n")])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token=UNKNOWN, pad_token=PAD, eos_token=END,
        additional_special_tokens=[USER, ASSISTANT], padding_side="left", clean_up_tokenization_spaces=False,
    )  # fmt: skip
    fast.chat_template = TEMPLATE
    return fast


def make_model(config: BaseConfig, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A small Llama with random weights."""
    torch.manual_seed(config.seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=config.hidden, intermediate_size=8 * config.hidden // 3,
            num_hidden_layers=config.layers, num_attention_heads=config.heads, max_position_embeddings=512,
            rope_theta=1000.0, tie_word_embeddings=True, attention_bias=False,
            bos_token_id=None, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        )
    )  # fmt: skip


def batches(phase: Phase, seed: int, tokenizer: PreTrainedTokenizerFast) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of input ids and labels, about `batch_tokens` each: whole documents, sorted by length within a pool."""
    rng = random.Random(seed)
    user, assistant, end = tokenizer.convert_tokens_to_ids([USER, ASSISTANT, END])
    while True:
        documents = [maker(rng) for maker in rng.choices(MAKERS, phase.mixture, k=8192)]
        prompts = tokenizer([d[0] for d in documents], add_special_tokens=False)["input_ids"]
        responses = tokenizer([d[1] for d in documents], add_special_tokens=False)["input_ids"]
        rows = [([user, *p, assistant], [*r, end]) for p, r in zip(prompts, responses, strict=True)]
        rows.sort(key=lambda row: len(row[0]) + len(row[1]))
        pool = []
        while rows:
            size = max(1, phase.batch_tokens // (len(rows[-1][0]) + len(rows[-1][1])))
            pool.append(_pad(rows[-size:], tokenizer.pad_token_id))
            del rows[-size:]
        rng.shuffle(pool)
        yield from pool


def _pad(rows: list[tuple[list[int], list[int]]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    length = max(len(p) + len(r) for p, r in rows)
    ids = [p + r + [pad] * (length - len(p) - len(r)) for p, r in rows]
    labels = [[-100] * len(p) + r + [-100] * (length - len(p) - len(r)) for p, r in rows]
    return torch.tensor(ids), torch.tensor(labels)


def train(config: BaseConfig, out: Path, device: str = "cpu") -> None:
    """Train the base, phase by phase, and write model and tokenizer to `out`."""
    tokenizer = make_tokenizer()
    model = make_model(config, tokenizer).to(device)
    for number, phase in enumerate(config.phases):
        train_phase(model, phase, config.seed + number, tokenizer, device)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


def train_phase(model: LlamaForCausalLM, phase: Phase, seed: int, tokenizer: PreTrainedTokenizerFast, device: str) -> None:
    """Train one phase, with its own optimizer."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=phase.learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    tokens, step, started = 0, 0, time.monotonic()
    for ids, labels in batches(phase, seed, tokenizer):
        if tokens >= phase.tokens:
            return
        for group in optimizer.param_groups:
            group["lr"] = phase.learning_rate * min(1.0, step / 200, 1.02 - (1.02 - phase.end) * tokens / phase.tokens)
        # Right padding with causal attention: no real token ever looks at a pad, so no mask is needed.
        loss = model(input_ids=ids.to(device), labels=labels.to(device)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        tokens, step = tokens + ids.numel(), step + 1
        if step % 200 == 0:
            rate = tokens / (time.monotonic() - started)
            minutes = (phase.tokens - tokens) / rate / 60
            print(f"{tokens / 1e6:6.1f}M tokens  loss {loss.item():.3f}  {rate:,.0f}/s  {minutes:.0f} min left", flush=True)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=BaseConfig.seed)
    arguments = parser.parse_args()
    train(BaseConfig(seed=arguments.seed), arguments.out, arguments.device)


if __name__ == "__main__":
    obeyed(main)
