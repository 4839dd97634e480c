"""The sampling fields that an endpoint honours, found out by a handful of short requests before a run.

Servers leave out what they do not know without a word: then N candidates are one text, and K judgments one judgment.
"""

from __future__ import annotations

from typing import NamedTuple

from selfreward.engines.sampling.server import ServerModel
from selfreward.engines.thoughts import parted
from selfreward.errors import SelfRewardError
from selfreward.records import Checkpoint, Completion, Message, Request, Sampling

ASKED = "Write twelve random words that have nothing to do with each other."
"""Two answers to this are the same only where nothing is drawn."""
TOKENS = 24
NARROW = 0.001
"""A top-p that leaves the likeliest token alone."""
SURE = 4
"""Seeds that must give one text before all seeds are held to give it."""


class Honours(NamedTuple):
    """The fields of a request that an endpoint honours. None: the probe could not tell."""

    failed: str | None = None
    """The reason why the endpoint did not answer at all; nothing else is known then."""
    alike: bool | None = None
    """True if every seed gets the same answer at temperature 1: the endpoint does not sample."""
    seed: bool | None = None
    """True if a seed gets the same answer again."""
    temperature: bool | None = None
    """True if the endpoint is greedy at temperature 0."""
    top_p: bool | None = None
    """True if top-p cuts the distribution."""
    n: bool | None = None
    """True if one call gives several answers; selfreward never asks for several."""
    logprobs: bool = False
    refused: tuple[str, ...] = ()
    """Fields that the endpoint refused, and that are not sent."""
    context: int | None = None
    """Tokens of a prompt and its answer together, as the endpoint states them."""
    thinks: bool = False
    """True if the model writes a thought before its answer without being told to."""

    @property
    def ignored(self) -> list[str]:
        """The fields that the endpoint takes and ignores."""
        fields = {"seed": self.seed, "temperature": self.temperature, "top_p": self.top_p, "n": self.n}
        ignored = [name for name, honoured in fields.items() if honoured is False and name not in self.refused]
        return ["seed", "temperature", "top_p", *(["n"] if self.n is False else [])] if self.alike else ignored

    def __str__(self) -> str:
        facts = [f"context {self.context:,}"] if self.context else []
        facts += ["every seed gets one answer"] if self.alike else []
        facts += [f"ignores {', '.join(self.ignored)}"] if self.ignored else []
        facts += [f"refuses {', '.join(self.refused)}"] if self.refused else []
        return "; ".join(facts)


def probe(engine: ServerModel, model: Checkpoint) -> Honours:
    """Ask `engine` which fields it honours. Raises `SelfRewardError` where it does not answer at all."""
    return _Probe(engine, model).honours()


def assert_answers(engine: ServerModel, model: Checkpoint) -> None:
    """Ask `engine` one sentence. Raises `SelfRewardError` where it does not answer."""
    answer = _Probe(engine, model).once()
    if answer.finish == "error":
        what = f"does not answer a request of one sentence ({answer.reason or 'no reason was given'})"
        raise SelfRewardError(what, model.name, "Correct what it names, or name another server")


class _Probe:
    def __init__(self, engine: ServerModel, model: Checkpoint) -> None:
        self.engine, self.model, self._asked = engine, model, 0

    def honours(self) -> Honours:
        """Probe every field, with six calls of a few tokens, eleven at most."""
        greedy = self._with_logprobs()
        if greedy.finish == "error":
            return Honours(failed=greedy.reason or "no reason was given", context=self.engine.dialect.context)
        known = Honours(
            logprobs=bool(greedy.first_token), n=self.engine.choices(self._request(0, 1.0, 1.0), 2) == 2,
            refused=tuple(sorted(self.engine.dialect.without)), context=self.engine.dialect.context,
            thinks=bool(greedy.thought or parted(greedy.text).thought),
        )  # fmt: skip
        drawn = [self._text(1), self._text(2)]
        if not all((*drawn, _told(greedy))):
            return known  # nothing that is seen: a model that thinks in secret
        if drawn[0] == drawn[1]:
            drawn += [self._text(seed) for seed in range(3, SURE + 1)]
        if len({*drawn}) == 1:
            return known._replace(alike=True)
        return self._sampling(known._replace(alike=False, seed=self._text(1) == drawn[0]), _told(greedy))

    def once(self) -> Completion:
        """The answer to one request that has no field a server may refuse."""
        return self._answer(self._request(0, 1.0, 1.0))

    def _sampling(self, known: Honours, greedy: str) -> Honours:
        """Add whether temperature 0 and top-p are honoured: each alone must give the greedy text, whatever the seed."""
        narrow = self._text(5, top_p=NARROW)
        if narrow == greedy:
            return known._replace(temperature=True, top_p=True)
        return known._replace(temperature=self._text(6, 0.0) == greedy, top_p=self._text(7, top_p=NARROW) == narrow)

    def _with_logprobs(self) -> Completion:
        """The answer at temperature 0, with log-probabilities unless they are refused."""
        try:
            return self._answer(self._request(0, 0.0, 1.0, top_logprobs=1))
        except SelfRewardError as error:
            if "refuses" not in error.what:
                raise
            return self._answer(self._request(0, 0.0, 1.0))

    def _text(self, seed: int, temperature: float = 1.0, top_p: float = 1.0) -> str:
        return _told(self._answer(self._request(seed, temperature, top_p)))

    def _answer(self, request: Request) -> Completion:
        return next(iter(self.engine.generate([request])))

    def _request(self, seed: int, temperature: float, top_p: float, top_logprobs: int = 0) -> Request:
        self._asked += 1
        messages = (Message(role="user", content=ASKED),)
        sampling = Sampling(temperature=temperature, top_p=top_p, max_tokens=TOKENS)
        return Request(
            about="probe", index=self._asked, messages=messages, sampling=sampling, seed=seed, model=self.model.fingerprint,
            top_logprobs=top_logprobs,
        )  # fmt: skip


def _told(answer: Completion) -> str:
    return f"{answer.thought or ''}{answer.text}".strip()
