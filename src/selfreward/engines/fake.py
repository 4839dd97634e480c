"""A model and a trainer without a model: everything follows from a request's seed or a training's inputs. For tests."""

from __future__ import annotations

import json
import math
import random
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from selfreward.engines.protocols import OPTIMIZER, OPTIMIZER_BEFORE, Advance
from selfreward.recipe import DPOConfig, SFTConfig
from selfreward.records import Asked, Completion, Contrast, Request, Watched, content_id

WORDS = [
    "amber",
    "birch",
    "cedar",
    "delta",
    "ember",
    "fjord",
    "grove",
    "haven",
    "inlet",
    "juniper",
    "kelp",
    "lagoon",
    "meadow",
    "north",
    "orchard",
    "pebble",
]
BATCH = 8


def write_like_a_model(request: Request) -> tuple[str, str]:
    """(text, finish): a task if asked for tasks, a judgment if asked for a score, a few words otherwise; some go wrong."""
    rng, prompt = random.Random(request.seed), request.messages[-1].content
    words = " ".join(rng.choices(WORDS, k=rng.randint(3, 9)))
    if re.search(r"verdict: first", prompt, re.IGNORECASE):
        return f"{words}. {rng.choice(['Verdict: first', 'Verdict: second', 'Verdict: tie', 'who knows'])}", "stop"
    if re.search(r"winner: first", prompt, re.IGNORECASE):
        return f"{words}. {rng.choice(['Winner: first', 'Winner: second', 'who knows'])}", "stop"
    if prompt.startswith("Come up with"):
        return f"describe {words}\n10. {words}", "stop"
    if re.search(r"score", prompt, re.IGNORECASE):
        verdict = rng.choice([*(f"Score: {n}" for n in range(6)), "Score: 9", "no verdict"])
        return f"{words}. {verdict}", rng.choice(["stop"] * 15 + ["length"])
    return words, rng.choice(["stop"] * 15 + ["length"])


def first_token(request: Request, text: str) -> dict[str, float] | None:
    """The `count` likeliest tokens: first the one that `text` begins with, each next one half as likely as the one before."""
    begin = text.split(maxsplit=1)[:1]
    others = random.Random(request.seed).sample(WORDS, k=len(WORDS))
    tokens = list(dict.fromkeys([*begin, *others]))[: request.top_logprobs]
    return {token: -(at + 1) * math.log(2) for at, token in enumerate(tokens)} or None


def watched(request: Request, text: str) -> tuple[Watched, ...]:
    """The watched words in `text`, each with the log-probabilities of all watched words: the drawn word is likeliest."""
    places = []
    for word in re.finditer(r"\S+", text):
        if word[0] in request.watch:
            others = random.Random(request.seed + word.start()).sample(request.watch, k=len(request.watch))
            order = dict.fromkeys([word[0], *others])
            places.append(Watched(at=word.start(), logprobs={other: -(n + 1) * math.log(2) for n, other in enumerate(order)}))
    return tuple(places)


def forced_logprob(request: Request) -> float:
    """A log-probability for the words of `forced`; another model finds the same text more or less likely."""
    per_word = random.Random(f"{request.model} {request.forced}").uniform(0.5, 2.5)
    return -per_word * (1 + len((request.forced or "").split()))


class FakeModel:
    """Completes requests by a function of the request."""

    def __init__(self, write: Callable[[Request], tuple[str, str]] = write_like_a_model) -> None:
        self._write = write

    def batches(self, requests: Sequence[Request]) -> list[list[int]]:
        """Batches of eight, in order."""
        return [list(range(start, min(start + BATCH, len(requests)))) for start in range(0, len(requests), BATCH)]

    def prepare(self, requests: Sequence[Request]) -> None:
        """Do nothing: requests share nothing here."""

    def generate(self, batch: Sequence[Request]) -> Iterator[Completion]:
        """Complete the last request first, so that nothing depends on the order of arrival."""
        for request in reversed(batch):
            text, finish = self._write(request) if request.forced is None else (request.forced, "stop")
            yield Completion.model_validate(
                {
                    "request_id": request.id, "text": text, "finish": finish,
                    "prompt_tokens": len(request.messages[-1].content.split()), "completion_tokens": len(text.split()),
                    "first_token": first_token(request, text), "watched": watched(request, text),
                    "logprob": None if request.forced is None else forced_logprob(request),
                }
            )  # fmt: skip

    def close(self) -> None:
        """Do nothing: there is no memory to free."""


class FakeTrainer:
    """Leaves a checkpoint whose weights are a hash of what it was trained on, and from what."""

    def sft(
        self, examples: Sequence[tuple[Asked, str]], start: Path, config: SFTConfig, seed: int, work: Path, advance: Advance
    ) -> Path:
        """Hash the examples."""
        return self._train(config.steps(len(examples)), [*examples], start, config, seed, work, advance)

    def dpo(
        self, pairs: Sequence[Contrast], start: Path, reference: Path, config: DPOConfig, seed: int, work: Path,
        advance: Advance, every: int | None = None, rehearsed: Sequence[tuple[Asked, str]] = (),
    ) -> Path:  # fmt: skip
        """Hash the pairs, and what is rehearsed."""
        inputs, steps = [str(reference.name), *pairs, *rehearsed], config.steps(len(pairs))
        folder = self._train(steps, inputs, start, config, seed, work, advance)
        for step in range(every or steps, steps, every or steps):
            shutil.copytree(folder, work / f"step-{step}", dirs_exist_ok=True)
            weight = np.full(1, step % 256, dtype=np.uint8)
            save_file({"weight": weight}, work / f"step-{step}" / "model.safetensors")
        if config.optimizer == "carried":
            before = work / OPTIMIZER_BEFORE
            total = int(load_file(before)["steps"][0]) if before.exists() else 0
            save_file({"steps": np.array([total + steps])}, work / OPTIMIZER)
        return folder

    def fits(self, pairs: Sequence[Contrast], start: Path) -> list[bool]:
        """Every pair fits."""
        return [True] * len(pairs)

    def _train(
        self, steps: int, inputs: Sequence[object], start: Path, config: SFTConfig | DPOConfig, seed: int, work: Path,
        advance: Advance,
    ) -> Path:  # fmt: skip
        folder = work / "made"
        folder.mkdir(parents=True, exist_ok=True)
        for _ in range(steps):
            advance(1)
        parent = (start / "model.safetensors").read_bytes().hex()
        digits = content_id(inputs, config.model_dump(mode="json"), seed, parent)
        save_file({"weight": np.array([int(digit, 16) for digit in digits], dtype=np.uint8)}, folder / "model.safetensors")
        (folder / "metrics.jsonl").write_text(json.dumps({"step": steps}) + "\n")
        return folder
