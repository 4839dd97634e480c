"""The least that a stage must compute and move, whoever does it: multiply-adds and bytes, and the seconds they take here.

Counted once is what need be computed once: the judge's constant prefix, each prompt in it for all its candidates, each
candidate for all its judgments, each sampled token. Bytes are those of
a stage decoded all at once: the weights are read at every step, a prefix's keys and values once a step for all that share
it. No machine is that good; what is within a few times of it wastes little.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from selfreward.lab.speed.work import Work

ADAM = 7
"""Numbers that AdamW moves for each weight in a step: reads it, its gradient and two moments, writes all but the gradient."""
BYTES = {"float32": 4, "bfloat16": 2}


class Shape(NamedTuple):
    """The sizes that decide the arithmetic of a decoder with gated feed-forward layers."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head: int
    between: int
    vocabulary: int
    parameters: int

    @classmethod
    def of(cls, config: Mapping[str, Any], parameters: int) -> Shape:
        """The shape that a model's settings tell."""
        heads = config["num_attention_heads"]
        return cls(
            hidden=config["hidden_size"], layers=config["num_hidden_layers"], heads=heads,
            kv_heads=config.get("num_key_value_heads") or heads,
            head=config.get("head_dim") or config["hidden_size"] // heads,
            between=config["intermediate_size"], vocabulary=config["vocab_size"], parameters=parameters,
        )  # fmt: skip

    @property
    def token(self) -> int:
        """Multiply-adds of one token through all layers, without what it reads of others and without its logits."""
        attention = 2 * self.hidden * self.head * (self.heads + self.kv_heads)
        return self.layers * (attention + 3 * self.hidden * self.between)

    @property
    def logits(self) -> int:
        """Multiply-adds of one token's logits."""
        return self.hidden * self.vocabulary

    def attended(self, before: int, tokens: int) -> int:
        """Multiply-adds of attention for `tokens` in a row with `before` tokens in front of them."""
        pairs = tokens * before + tokens * (tokens + 1) // 2
        return self.layers * 2 * self.heads * self.head * pairs

    def read(self, before: int, tokens: int) -> int:
        """Multiply-adds of `tokens` in a row with `before` tokens in front of them, without logits."""
        return tokens * self.token + self.attended(before, tokens)

    @property
    def cached(self) -> int:
        """Numbers kept of one token: its keys and values."""
        return 2 * self.layers * self.kv_heads * self.head


class Need(NamedTuple):
    """The work that a stage cannot do without."""

    multiply_adds: int
    bytes: int

    def seconds(self, rates: Mapping[str, float]) -> float:
        """The time of whichever takes longer, at `rates` (multiply-adds and bytes in a second)."""
        return max(self.multiply_adds / rates["multiply_adds"], self.bytes / rates["bytes"])


class Asked(NamedTuple):
    """Sampling of one stage: a tree of texts that go on from one another, and samples that go on from the last of them."""

    texts: tuple[tuple[int, int], ...]
    """For each level from the root: the number of different texts, and the tokens of each."""
    samples: int
    """In all."""
    tokens: int
    """Tokens of each sample."""

    def need(self, shape: Shape, width: int) -> Need:
        """Seconds that this work takes; `width`: bytes of a number."""
        before, held, adds, fed = 0, 0, 0, self.tokens - 1
        for count, tokens in self.texts:
            adds += count * shape.read(before, tokens)
            before, held = before + tokens, held + count * tokens
        ends = self.texts[-1][0]  # a logit for each is what its samples begin with
        adds += self.samples * shape.read(before, fed) + (ends + self.samples * fed) * shape.logits
        own = fed * (fed + 1) // 2  # tokens of its own that a sample reads, over its steps
        numbers = (1 + fed) * shape.parameters + shape.cached * ((1 + fed) * held + self.samples * (fed + own))
        return Need(adds, numbers * width)


def candidates(work: Work) -> Asked:
    """Work of sampling the candidates: N go on from each prompt."""
    return Asked(((work.prompts, work.prompt_tokens),), work.prompts * work.n, work.candidate_tokens)


def judging(work: Work) -> Asked:
    """Work of judging: from one rubric go on the prompts, from each prompt its candidates, from each candidate K judgments."""
    judged = work.prompts * work.n
    ends = (judged, work.candidate_tokens + work.rubric_tail)
    return Asked(((1, work.rubric_head), (work.prompts, work.prompt_tokens), ends), judged * work.k, work.judgment_tokens)


def dpo(work: Work, shape: Shape) -> Need:
    """Work of DPO: two responses after one prompt, forward in the reference, forward and backward in the policy.

    With adapters the frozen weights have no gradient and are not updated, and what the adapters themselves take is nothing.
    """
    answer = work.candidate_tokens + 1  # and the end of turn
    once = shape.read(0, work.prompt_tokens) + 2 * (shape.read(work.prompt_tokens, answer) + answer * shape.logits)
    passes, read = (3, 2) if work.lora else (4, 3 + ADAM)
    moved = (work.steps * read + 1) * shape.parameters
    return Need(passes * work.prompts * once, moved * (BYTES[work.dtype] if work.lora else BYTES["float32"]))


def needs(work: Work, shape: Shape) -> dict[str, Need]:
    """The floor of each stage, in seconds."""
    width = BYTES[work.dtype]
    return {
        "candidates": candidates(work).need(shape, width),
        "judging": judging(work).need(shape, width),
        "dpo": dpo(work, shape),
    }
