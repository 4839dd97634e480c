"""One iteration's work, the same for every arm: prompts, lengths, the judge's prompt, and the stand-in for a score."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from pathlib import Path
from zlib import crc32

from selfreward.records import Pair
from selfreward.steps import Scored

FIRST_WORD = 3
"""The first ordinary word of the vocabulary, after the special ones: unknown, padding, end of turn."""
TOP_SCORE = 5.0


@dataclass(frozen=True)
class Work:
    """Work for an arm. Lengths are in tokens; a word is a token."""

    model: Path
    """A folder that `world.make_world` made."""
    vocabulary: int
    prompts: int = 16
    n: int = 4
    k: int = 3
    prompt_tokens: int = 56
    candidate_tokens: int = 48
    judgment_tokens: int = 32
    rubric_head: int = 1260
    """Tokens of the judge's prompt before the prompt and the response: the same for all judgments."""
    rubric_tail: int = 206
    """Tokens after them; with a prompt of 56 and a response of 48 tokens, 1,570 in all."""
    batch: int = 4
    """Pairs in a step of DPO."""
    temperature: float = 0.7
    top_p: float = 0.9
    device: str = "cpu"
    dtype: str = "float32"
    seed: int = 0
    dpo: bool = True
    """True if the iteration trains on the pairs."""
    judging: bool = True
    """True if the candidates are judged; if not, nothing is trained either."""
    lora: bool = False
    """DPO by adapters, in place of all weights."""
    earlier: str = ""
    """The folder with the sources of another build, for arm (o)."""
    chunks: tuple[int, int] = (4, 4)
    """Prompts in one call of `generate()`, for candidates and for judging; ours plans its own batches."""

    @property
    def last(self) -> str:
        """The last stage; one whose pairs are not trained on still chooses them under the name of `dpo`."""
        return "dpo" if self.judging else "candidates"

    @property
    def judge_tokens(self) -> int:
        """Length of a judge's prompt."""
        return self.rubric_head + self.prompt_tokens + self.candidate_tokens + self.rubric_tail

    @property
    def steps(self) -> int:
        """Steps of DPO: every prompt gives a pair."""
        return -(-self.prompts // self.batch)

    def texts(self) -> list[str]:
        """The prompts; no two are the same."""
        rng = random.Random(self.seed)
        return [self._words(rng, self.prompt_tokens) for _ in range(self.prompts)]

    def rubric(self) -> str:
        """The judge's prompt, with its slots."""
        rng = random.Random("rubric")
        return f"{self._words(rng, self.rubric_head)} {{prompt}} {{response}} {self._words(rng, self.rubric_tail)}"

    def _words(self, rng: random.Random, count: int) -> str:
        return " ".join(f"w{rng.randrange(FIRST_WORD, self.vocabulary)}" for _ in range(count))


def score(judgment: str) -> float:
    """Stands in for the score in a judgment, 0 to 5: a random model writes none."""
    return crc32(judgment.encode()) / 2**32 * TOP_SCORE


def mean(scores: Sequence[float]) -> float:
    """The mean, summed exactly."""
    return fsum(scores) / len(scores)


def best_and_worst(responses: Sequence[str], scores: Mapping[str, float]) -> tuple[str, str]:
    """The responses of one prompt with the highest and the lowest score."""
    return max(responses, key=scores.__getitem__), min(responses, key=scores.__getitem__)


def by_score(prompt_id: str, group: list[Scored]) -> Pair | str:
    """A pair policy for the bench: all its answers end for their length, and the built-in policy never prefers those."""
    worst, best = (pick(group, key=lambda scored: scored[0]) for pick in (min, max))
    if worst[0] == best[0]:
        return "tie"
    return Pair(prompt_id=prompt_id, chosen_id=best[1].id, rejected_id=worst[1].id, chosen_score=best[0], rejected_score=worst[0])
