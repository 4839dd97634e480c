"""Failed calls to an endpoint: those that may pass, those of one request alone, and those that all would have."""

from __future__ import annotations

from collections import Counter

from selfreward.errors import SelfRewardError, amount
from selfreward.recipe import ServerConfig

BUSY = {408, 409, 425, 429, 503, 504, 529}
"""Statuses of a server with no room or no time now. They and any other from 500 on may pass."""
REFUSALS = {400, 403, 404, 406, 413, 422, 451}
"""Statuses that may be about one request or about everything that we ask."""
TOO_LONG = {400, 413, 422}
"""Statuses of a request that may have too many tokens."""


class Passing(Exception):
    """An attempt failed in a way that may pass: `what` in a word, what the server said, the pause it asked for in seconds.

    `busy`: it says nothing about the request.
    """

    def __init__(self, what: str, words: str = "", pause: float | None = None, busy: bool = True) -> None:
        super().__init__(what)
        self.what, self.words, self.pause, self.busy = what, words, pause, busy

    def __str__(self) -> str:
        return f"{self.what}: {self.words}" if self.words else self.what


class Refused(Exception):
    """The server answered with one of `REFUSALS`; `every` is the error where it answers so whatever it is asked."""

    def __init__(self, status: int, words: str, every: SelfRewardError) -> None:
        super().__init__(f"status {status}: {words}")
        self.status, self.words, self.every = status, words, every


def failure(config: ServerConfig, status: int, words: str, pause: float | None) -> Exception:
    """The exception for an answer with `status`, 300 or more, in `words`; `pause` is what it asks for, in seconds."""
    if status in BUSY or status >= 500:
        return Passing(f"status {status}", words, pause, busy=status in BUSY)
    every = none_answered(config, status, words)
    return Refused(status, words, every) if status in REFUSALS else every


def none_answered(config: ServerConfig, status: int, words: str) -> SelfRewardError:
    """The error where every request is answered with `status`."""
    what, now = f"the server answers {status} ({words})", "Check url, up to and with /v1, and model under [servers]"
    if status in TOO_LONG:
        what = f"the server refuses every request ({words})"
        now = "Correct what it names: the model or the sampling in the recipe, or the server"
    if status in (401, 403):
        what = f"the server does not accept the key in {config.key_env} ({status}: {words})"
        now = f"Set {config.key_env} to a key that may use this model"
        if not config.key_env:
            what = f"the server requires a key ({status}: {words})"
            now = "Give key_env under [servers], the name of the environment variable that holds the key"
    return SelfRewardError(what, where(config), now)


def gave_up(config: ServerConfig, failures: Counter[str], words: str) -> SelfRewardError:
    """The error where all tries failed; `failures` counts them by kind."""
    how = ", ".join(f"{count} × {what}" for what, count in failures.most_common())
    quoted = f"; it said: {words}" if words else ""
    now = "Make sure that the server is up, or send it less at once (concurrency, requests_per_minute); the same command goes on"
    return SelfRewardError(f"no completion in {amount(failures.total(), 'try', 'tries')} ({how}{quoted})", where(config), now)


def where(config: ServerConfig) -> str:
    """An endpoint's name in errors."""
    return f"{config.url} ({config.model})"
