"""Any OpenAI-compatible endpoint (vLLM, SGLang, llama.cpp, Ollama, `transformers serve`, a hosted one), as judge or as sampler.

One call a request, so many under way at once. What may pass, a busy server or no answer in time, is tried again after a growing
pause; when the tries are used up the run ends, so that a server that is down never becomes ten thousand failed judgments. A
request that is refused for what it says, a prompt too long say, is an error of its own and ends nothing.

The key comes from the environment, goes to the endpoint alone and is cut out of everything that comes back.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from email.utils import parsedate_to_datetime
from itertools import islice
from threading import Thread
from typing import Any

from selfreward.engines.protocols import unanswered
from selfreward.engines.sampling.replies import BadReply, Reply, read_reply
from selfreward.errors import SelfRewardError, amount
from selfreward.recipe import ServerConfig
from selfreward.records import Completion, Request

try:
    import openai
except ImportError as error:
    raise SelfRewardError("needs the openai client", "a model under [servers]", "pip install 'selfreward[server]'") from error

MAY_PASS = {408, 409, 429}
"""Statuses after which the same request may go through, as after any from 500 on."""
REFUSALS = {400, 413, 422}
"""Statuses that may be about one request or about everything that we ask."""
LONGEST_PAUSE = 600.0
"""Seconds; a server that asks for more is tried again all the same."""
MOST_LIKELY = 20
"""The likeliest tokens of a place that are asked for where some are watched: no server lists more without being told to."""
SECRET = 16
"""A key of fewer characters ("EMPTY") is a placeholder, and may be a word of an answer."""
HEADERS = {"host", "connection", "accept", "accept-encoding", "content-type", "content-length", "user-agent", "authorization"}
"""What a request carries: not what the client finds out about this machine, nor organisations set for another endpoint."""


class _Passing(Exception):
    """An attempt failed in a way that may pass: `what` in a word, what the server said, the pause it asked for in seconds."""

    def __init__(self, what: str, words: str = "", pause: float | None = None) -> None:
        super().__init__(what)
        self.what, self.words, self.pause = what, words, pause


class _Refused(Exception):
    """The server answered with one of `REFUSALS`."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(status)
        self.status, self.words = status, words


class Pace:
    """Lets calls begin evenly spaced, `per_minute` of them at most."""

    def __init__(self, per_minute: int | None, sleep: Callable[[float], Awaitable[None]], clock: Callable[[], float]) -> None:
        self._gap, self._sleep, self._clock = 60 / per_minute if per_minute else 0.0, sleep, clock
        self._free = clock()

    async def turn(self) -> None:
        """Wait for one's turn, first come, first served."""
        now = self._clock()
        begin = max(now, self._free)
        self._free = begin + self._gap
        if begin > now:
            await self._sleep(begin - now)


class ServerModel:
    """A model behind an endpoint. `sleep` (seconds) and `clock` (seconds) are there for tests to stand in for time."""

    streams = True
    """An answer depends on nothing but its request: batches may be asked together, each kept as it comes."""

    def __init__(
        self,
        config: ServerConfig,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.config, self._sleep, self._pace = config, sleep, Pace(config.requests_per_minute, sleep, clock)
        self._where = f"{config.url} ({config.model})"
        self._key = _key(config)
        self._client = _client(config, self._key)
        self._limit, self._seeded = "max_tokens", True
        # A loop in a thread of its own works inside a notebook's, and goes on while answers are written down.
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def batches(self, requests: Sequence[Request]) -> list[list[int]]:
        """Each on its own: what is answered is kept at once, whatever becomes of the others."""
        return [[at] for at in range(len(requests))]

    def prepare(self, requests: Sequence[Request]) -> None:
        """What requests share is the endpoint's business."""

    def generate(self, batch: Sequence[Request]) -> Iterator[Completion]:
        """Completions as they come. Raises `SelfRewardError` when the server does not answer, or not us.

        None where a text is to be forced, which endpoints cannot do: they are not asked.
        """
        yield from (unanswered(request) for request in batch if request.forced is not None)
        left, under_way = (request for request in batch if request.forced is None), set[Future[Completion]]()
        try:
            while True:
                free = self.config.concurrency - len(under_way)
                under_way |= {asyncio.run_coroutine_threadsafe(self._answer(r), self._loop) for r in islice(left, free)}
                if not under_way:
                    return
                done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                # Those that failed last: what was answered is kept.
                yield from (future.result() for future in sorted(done, key=lambda future: future.exception() is not None))
        finally:
            for future in under_way:
                future.cancel()

    def close(self) -> None:
        """Break off what is under way, and hang up."""
        asyncio.run_coroutine_threadsafe(self._hang_up(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _hang_up(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._client.close()

    async def _answer(self, request: Request) -> Completion:
        """The completion of one request, however many attempts it takes."""
        failures: Counter[str] = Counter()
        words = ""
        for attempt in range(self.config.retries + 1):
            try:
                return await self._attempt(request)
            except _Passing as passing:
                failures[passing.what] += 1
                words = passing.words or words
                pause = backoff(attempt) if passing.pause is None else passing.pause
            if attempt < self.config.retries:
                await self._sleep(pause)
        raise self._gave_up(failures, words)

    async def _attempt(self, request: Request) -> Completion:
        body = self._body(request)
        try:
            reply = await self._post(body)
        except _Refused as refusal:
            if self._adapted(refusal.words, body):
                return await self._attempt(request)
            return await self._refused(request, body)
        return reply.completion(request, self._without_key)

    def _body(self, request: Request) -> dict[str, Any]:
        """The call. Never `n`, which some servers ignore without a word."""
        body = {
            "model": self.config.model,
            "messages": [message.model_dump() for message in request.messages],
            "temperature": request.sampling.temperature,
            "top_p": request.sampling.top_p,
            self._limit: request.sampling.max_tokens,
        }
        if self._seeded:
            body["seed"] = request.seed % 2**31  # the widest that every server takes
        if likely := max(request.top_logprobs, MOST_LIKELY * bool(request.watch)):
            body |= {"logprobs": True, "top_logprobs": likely}
        return body

    def _adapted(self, words: str, body: Mapping[str, Any]) -> bool:
        """Whether the refusal is of a field that has another name here, or that can be done without; kept to from now on."""
        if "max_completion_tokens" in words and "max_tokens" in body:
            self._limit = "max_completion_tokens"
            return True
        if re.search(r"\bseed\b", words) and "seed" in body:
            self._seeded = False
            return True
        return False

    async def _refused(self, request: Request, body: Mapping[str, Any]) -> Completion:
        """The error that a request is which was refused for what it says.

        Whether it was, the same call with nothing in it tells: if that is refused too, everything would be.
        """
        try:
            await self._post({**body, "messages": [{**message, "content": "Hi"} for message in body["messages"]]})
        except _Refused as refusal:
            now = "Put right what it names: the model or the sampling in the recipe, or the server"
            raise SelfRewardError(f"the server refuses every request ({refusal.words})", self._where, now) from None
        return unanswered(request)

    async def _post(self, body: Mapping[str, Any]) -> Reply:
        """One call, in its turn. Raises `_Passing`, `_Refused` or, where no other call would fare better, `SelfRewardError`."""
        await self._pace.turn()
        try:
            async with asyncio.timeout(self.config.timeout):
                return read_reply(await self._client.post("/chat/completions", body=body, cast_to=str))
        except TimeoutError:
            raise _Passing(f"no answer in {self.config.timeout:g} s") from None
        except openai.APIStatusError as error:
            raise self._failed(error) from None
        except openai.APIConnectionError as error:
            raise _Passing("no connection", self._quoted(str(error.__cause__ or error))) from None
        except BadReply as error:
            raise _Passing("an answer that is no chat completion", self._quoted(str(error))) from None

    def _failed(self, error: Any) -> Exception:
        """What an answer with a status of 300 or more (`openai.APIStatusError`) means."""
        status, words = error.status_code, self._quoted(error.response.text)
        if status in MAY_PASS or status >= 500:
            return _Passing(f"status {status}", words, stated_pause(error.response.headers))
        if status in REFUSALS:
            return _Refused(status, words)
        what, now = f"the server answers {status} ({words})", "Check url, up to and with /v1, and model under [servers]"
        if status in (401, 403):
            what = f"the server does not accept the key in {self.config.key_env} ({status}: {words})"
            now = f"Set {self.config.key_env} to a key that may use this model"
            if not self.config.key_env:
                what = f"the server wants a key ({status}: {words})"
                now = "Give key_env under [servers], the name of the environment variable that holds the key"
        return SelfRewardError(what, self._where, now)

    def _gave_up(self, failures: Counter[str], words: str) -> SelfRewardError:
        how = ", ".join(f"{count} × {what}" for what, count in failures.most_common())
        said = f"; it said: {words}" if words else ""
        now = "See that the server is up, or ask less of it at once (concurrency, requests_per_minute); the same command goes on"
        return SelfRewardError(f"no completion in {amount(failures.total(), 'try', 'tries')} ({how}{said})", self._where, now)

    def _quoted(self, text: str) -> str:
        """A server's words, fit to be shown: one short line, without the key."""
        text = text.replace(self._key, "***") if self._key else text
        line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        return line if len(line) <= 300 else f"{line[:300]}…"

    def _without_key(self, text: str) -> str:
        """Generated text without the key, should the server say it."""
        return text.replace(self._key, "***") if len(self._key) >= SECRET else text


def backoff(attempt: int) -> float:
    """Seconds to wait after attempt 0, 1, …: about 1, 2, 4 and so on up to 60, spread so that not all come back at once."""
    return random.uniform(0.5, 1) * min(2.0 ** min(attempt, 6), 60)


def stated_pause(headers: Mapping[str, str]) -> float | None:
    """The seconds that `Retry-After` states, or lasts until its date; None where there is no such thing."""
    stated = headers.get("retry-after", "")
    try:
        seconds = float(stated)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(stated).timestamp() - time.time()
        except ValueError:
            return None
    return min(seconds, LONGEST_PAUSE) if seconds >= 0 else None


def _key(config: ServerConfig) -> str:
    """The key, or nothing where the endpoint has none."""
    if config.key_env is None:
        return ""
    key = os.environ.get(config.key_env, "").strip()
    if not re.fullmatch(r"[!-~]+", key):
        what = f"the environment variable {config.key_env} {'holds no key' if key else 'is not set'}"
        raise SelfRewardError(what, config.url, f"Set {config.key_env} to the key of this endpoint")
    return key


def _client(config: ServerConfig, key: str) -> Any:
    """The client, which sends what is ours alone: it would take a key and more from the environment."""

    async def ours_alone(request: Any) -> None:
        for name in set(request.headers) - HEADERS:
            del request.headers[name]
        if not key:
            request.headers.pop("authorization", None)

    # A redirect is not followed: the key is for this address.
    http = openai.DefaultAsyncHttpxClient(event_hooks={"request": [ours_alone]}, timeout=None, follow_redirects=False)
    headers = {"Authorization": f"Bearer {key}"}
    return openai.AsyncOpenAI(
        base_url=config.url, api_key=key or "none", default_headers=headers, max_retries=0, http_client=http
    )
