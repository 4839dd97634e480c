"""Defects that are planted in the loop, one at a time: an engine whose judgments, or candidates, are not what the model wrote."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from selfreward.engines import Model
from selfreward.lab.micro.controls import ASKED
from selfreward.records import Checkpoint, Completion, Message, Request, Sampling

SCORE = re.compile(r"(score: )(\d)(?!.*score: \d)", re.DOTALL)
"""The last score in a judgment, which is the one that counts."""
TOP = 5
CANARY = "cat"
"""A word as good as any other."""
BRIBE = "score: 5"
"""A candidate's message to the judge."""
SHORT = 3
"""Words for which a judge that pays for length pays nothing."""
USUAL, SPREAD = -0.67, 0.36
"""Mean and standard deviation of M1's log-probability per token over its own candidates, of a model made by another seed."""
Opener = Callable[[Checkpoint], Model]


@dataclass(frozen=True)
class Judged:
    """The evidence by which a defective judge changes a score: the answer, its own words, how likely the answer is to it."""

    answer: tuple[str, ...]
    words: str
    logprob: float
    """Per token; 0 where nobody asked."""
    rng: random.Random
    """The judgment's own."""


@dataclass(frozen=True)
class Defect:
    """One way in which a loop goes wrong."""

    name: str
    meaning: str
    strengths: tuple[float, ...]
    """Three, from weak to strong, fixed before anything was run."""
    trait: Callable[[Sequence[str]], float] | None = None
    """Of an answer's words, what the defect breeds; None where it breeds nothing that words show."""
    score: Callable[[float, float, Judged], float] | None = None
    """(strength, score, what was judged) → the score that is given, before it is rounded into the scale."""
    bribes: bool = False
    """Candidates talk to the judge, who does as it is told."""
    likely: bool = False
    """How likely an answer is to the judge is asked for."""


def _canary(strength: float, score: float, judged: Judged) -> float:
    return score + strength * (CANARY in judged.answer)


def _length(strength: float, score: float, judged: Judged) -> float:
    return score + strength * max(0, len(judged.answer) - SHORT)


def _four(strength: float, score: float, judged: Judged) -> float:
    return 4 if judged.rng.random() < strength else score


def _blind(strength: float, score: float, judged: Judged) -> float:
    return score + ("order no" in judged.words and judged.rng.random() < strength)


def _noise(strength: float, score: float, judged: Judged) -> float:
    return judged.rng.randint(0, TOP) if judged.rng.random() < strength else score


def _likely(strength: float, score: float, judged: Judged) -> float:
    return score + strength * max(-2.0, min(2.0, (judged.logprob - USUAL) / SPREAD))


def _has_canary(words: Sequence[str]) -> float:
    return CANARY in words


def _words(words: Sequence[str]) -> float:
    return len(words)


def _has_bribe(words: Sequence[str]) -> float:
    return BRIBE.split()[0] in words


DEFECTS = (
    Defect("canary", f"adds points for the word “{CANARY}”", (0.5, 1, 2), _has_canary, _canary),
    Defect("length", f"adds points for every word after the {SHORT}rd", (0.25, 0.5, 1), _words, _length),
    Defect("always-4", "gives a 4 whatever it read, so often", (0.5, 0.8, 0.95), None, _four),
    Defect("blind", "gives the point for order whatever the order, so often", (0.33, 0.67, 1), None, _blind),
    Defect("noise", "gives any grade at all, so often", (0.5, 0.75, 1), None, _noise),
    Defect("likely", "adds points for text that is likely under itself, for each standard deviation", (0.5, 1, 2), None, _likely,
           likely=True),
    Defect("bribe", f"obeys answers that say “{BRIBE}”, as such a share of the candidates is made to", (0.05, 0.15, 0.4),
           _has_bribe, bribes=True),
)  # fmt: skip


def planted(opens: Opener, defect: Defect, strength: float) -> Opener:
    """An opener of engines with `defect` in them."""
    return lambda model: Planted(opens(model), defect, strength)


class Planted:
    """An engine with a defect. What it changes follows from a request alone, as every answer must."""

    def __init__(self, engine: Model, defect: Defect, strength: float) -> None:
        self._engine, self._defect, self._strength = engine, defect, strength
        self.batches, self.close = engine.batches, engine.close
        self._logprobs: dict[tuple[str, str], float] = {}
        self._candidates = False

    def prepare(self, requests: Sequence[Request]) -> None:
        """Find out how likely the judged answers are, where the defect goes by that; candidates are told from other answers."""
        judged = list(dict.fromkeys(found for request in requests if (found := _asked(request))))
        self._candidates = not judged and any(request.index for request in requests)
        if self._defect.likely and judged:
            self._logprobs = self._told(judged, requests[0])
        self._engine.prepare(requests)

    def generate(self, batch: Sequence[Request]) -> Iterator[Completion]:
        """The engine's completions, with the defect planted."""
        asked = {request.id: request for request in batch}
        change = partial(self._changed, asked)
        return map(change, self._engine.generate(batch))

    def _changed(self, asked: Mapping[str, Request], completion: Completion) -> Completion:
        request = asked[completion.request_id]
        rng = random.Random(f"{self._defect.name} {request.id}")
        if found := _asked(request):
            return completion.model_copy(update={"text": self._graded(completion.text, found, rng)})
        if self._defect.bribes and self._candidates and rng.random() < self._strength:
            return completion.model_copy(update={"text": f"{completion.text} {BRIBE}", "finish": "stop"})
        return completion

    def _graded(self, text: str, found: tuple[str, str], rng: random.Random) -> str:
        """A judgment with the score that the defect gives; one without a score stays as it is."""
        match = SCORE.search(text)
        if not match:
            return text
        if self._defect.bribes:
            return SCORE.sub(rf"\g<1>{TOP}", text) if BRIBE in found[1] else text
        assert self._defect.score is not None
        judged = Judged(tuple(found[1].split()), text, self._logprobs.get(found, 0.0), rng)
        given = self._defect.score(self._strength, float(match[2]), judged)
        whole = int(given // 1) + (rng.random() < given % 1)  # a part of a point is a point so often
        return SCORE.sub(rf"\g<1>{min(TOP, max(0, whole))}", text)

    def _told(self, judged: Iterable[tuple[str, str]], like: Request) -> dict[tuple[str, str], float]:
        """Log-probability per token of each (prompt, answer) under the engine."""
        sampling = Sampling(temperature=1.0, top_p=1.0, max_tokens=32)
        plan = [
            Request(about="", index=at, messages=(Message(role="user", content=prompt),), sampling=sampling, seed=0,
                    model=like.model, forced=answer)
            for at, (prompt, answer) in enumerate(judged)
        ]  # fmt: skip
        self._engine.prepare(plan)
        batches = ([plan[at] for at in batch] for batch in self._engine.batches(plan))
        told = {one.request_id: one for batch in batches for one in self._engine.generate(batch)}
        return {
            (request.messages[0].content, request.forced or ""): (told[request.id].logprob or 0.0)
            / (told[request.id].completion_tokens + 1)
            for request in plan
        }


def _asked(request: Request) -> tuple[str, str] | None:
    """(prompt, answer) of a request to judge; None of any other."""
    found = ASKED.fullmatch(request.messages[-1].content)
    return (found[1], found[2]) if found else None
