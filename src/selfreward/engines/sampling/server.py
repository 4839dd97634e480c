"""Any OpenAI-compatible endpoint (vLLM, SGLang, llama.cpp, Ollama, `transformers serve`, a hosted one), as judge or as sampler.

One call a request, so many under way at once. What may pass, a busy server or no answer in time, is tried again after a growing
pause; when the tries are used up the run ends, so that a server that is down never becomes ten thousand failed judgments. A
request that fails for what it says, too long or not allowed say, while a greeting is answered, is an error of its own that
carries the server's reason, and ends nothing.

The key comes from the environment, goes to the endpoint alone and is cut out of everything that comes back.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import replace
from itertools import islice
from threading import Thread
from typing import Any

from selfreward.engines.protocols import Advance, unanswered, untold
from selfreward.engines.sampling.dialect import LLAMA_CPP, Dialect, is_llama_cpp, slot, window
from selfreward.engines.sampling.failures import TOO_LONG, Passing, Refused, failure, gave_up, where
from selfreward.engines.sampling.replies import BadReply, Reply, one_line, read_reply
from selfreward.errors import SelfRewardError, amount, pip_install
from selfreward.recipe import ServerConfig
from selfreward.records import Completion, Request

try:
    import openai

    from selfreward.engines.sampling.client import Pace, backoff, connections, open_client, read_key, stated_pause
except ImportError as error:
    raise SelfRewardError("needs the openai client", "a model under [servers]", pip_install("server")) from error

LOOK = 1.0
"""Seconds between two looks, while nothing comes, at whether to go on."""
PATIENCE = 10.0
"""Seconds to wait for the facts that a server states about itself."""
NONE_YET = 200
"""Requests, each failed for a reason of its own, after which the run ends if no request was answered."""
SECRET = 16
"""A key of fewer characters ("EMPTY") is a placeholder, and may be a word of an answer."""


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
        self._key = read_key(config)
        self._client = open_client(config, self._key)
        self._at_once = connections(config.concurrency)
        self.dialect, self._introduced = Dialect(), False
        self.tell: Advance = untold
        self.trouble = ""
        """The reason why nothing comes, in words, from a failed try to the next answer; empty where answers come."""
        # A loop in a thread of its own works inside a notebook's, and goes on while answers are written down.
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def introduce(self) -> None:
        """Ask the endpoint once for facts about itself, which may change the form of requests."""
        if not self._introduced:
            self.dialect = asyncio.run_coroutine_threadsafe(self._told(), self._loop).result()
        self._introduced = True

    def batches(self, requests: Sequence[Request]) -> list[list[int]]:
        """One batch for each request: each answer is kept at once, whatever becomes of the others."""
        return [[at] for at in range(len(requests))]

    def prepare(self, requests: Sequence[Request]) -> None:
        """Do nothing: shared prefixes are the endpoint's business."""

    def generate(self, batch: Sequence[Request]) -> Iterator[Completion]:
        """Completions as they come. Raises `SelfRewardError` when the server does not answer, or not us, or nothing.

        None where a text is to be forced, which endpoints cannot do: they are not asked.
        """
        yield from (unanswered(request) for request in batch if request.forced is not None)
        failed: list[Completion] | None = []
        for completion in self._completions([request for request in batch if request.forced is None]):
            if failed is None or completion.finish != "error":
                yield from (*(failed or ()), completion)
                failed = None
                continue
            failed.append(completion)
            if len(failed) >= NONE_YET:
                what = f"not one of the first {NONE_YET} requests was answered (the last: {completion.reason})"
                raise SelfRewardError(what, where(self.config), "Correct what it names, or name another server under [servers]")
        yield from failed or ()

    def choices(self, request: Request, n: int) -> int:
        """The number of answers that come where one call asks for `n`."""
        self.introduce()
        body = {**self.dialect.body(self.config, request), "n": n}
        try:
            reply = asyncio.run_coroutine_threadsafe(self._post(body), self._loop).result()
        except (Refused, Passing):
            return 0
        return len(reply.choices or ())

    def close(self) -> None:
        """Cancel the calls under way, and close the connections."""
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

    def _completions(self, requests: Sequence[Request]) -> Iterator[Completion]:
        """Yield the completions of `requests` as they come, with as many calls under way as are configured and possible."""
        if requests:
            self.introduce()
        left, under_way = iter(requests), set[Future[Completion]]()
        try:
            while True:
                free = self._at_once - len(under_way)
                under_way |= {asyncio.run_coroutine_threadsafe(self._answer(r), self._loop) for r in islice(left, free)}
                if not under_way:
                    return
                done, under_way = wait(under_way, LOOK, FIRST_COMPLETED)
                # Those that failed last: what was answered is kept.
                yield from (future.result() for future in sorted(done, key=lambda future: future.exception() is not None))
                self.tell(0)  # how many tokens are drawn, no server says before an answer is whole
        finally:
            for future in under_way:
                future.cancel()

    async def _told(self) -> Dialect:
        """The form of requests that fits the facts that the endpoint states; facts that it leaves out change nothing."""
        listed, model = await self._got("/models"), self.config.model
        if not is_llama_cpp(listed, model):
            return Dialect(context=window(listed, model))
        props = await self._got(f"{self.config.url.rstrip('/').removesuffix('/v1')}/props")
        return Dialect(more=LLAMA_CPP, context=slot(props) or window(listed, model))

    async def _got(self, path: str) -> Any:
        """The JSON that a GET returns; None where it returns none."""
        try:
            async with asyncio.timeout(min(PATIENCE, self.config.timeout)):
                alone = {"headers": {"Connection": "close"}}  # some hang up after an error, under the next call
                return json.loads(await self._client.get(path, cast_to=str, options=alone))
        except (TimeoutError, openai.OpenAIError, BadReply, ValueError, RecursionError):
            return None

    async def _answer(self, request: Request) -> Completion:
        """The completion of one request, after as many attempts as it takes."""
        failures: Counter[str] = Counter()
        words = ""
        for attempt in range(self.config.retries + 1):
            try:
                answer = await self._attempt(request, self.dialect)
                self.trouble = ""
                return answer
            except Passing as passing:
                failures[passing.what] += 1
                words, last = passing.words or words, passing
                tries = f"{attempt + 1} of {amount(self.config.retries + 1, 'try', 'tries')} failed"
                self.trouble = f"{where(self.config)} does not answer: {passing.what}, {tries}"
            if attempt < self.config.retries:
                await self._sleep(max(backoff(attempt), last.pause or 0))
        if not last.busy and await self._greeted(request):
            self.trouble = ""
            return unanswered(request, reason=one_line(str(last)))
        raise gave_up(self.config, failures, words)

    async def _attempt(self, request: Request, dialect: Dialect) -> Completion:
        body = dialect.body(self.config, request)
        try:
            reply = await self._post(body)
        except Refused as refusal:
            if other := dialect.suited(refusal.words, body):
                return await self._attempt(request, other)
            return await self._refused(request, body, refusal)
        if dialect.without - self.dialect.without or dialect.limit != self.dialect.limit:
            self.dialect = replace(self.dialect, limit=dialect.limit, without=self.dialect.without | dialect.without)
        return reply.completion(request, self._without_key)

    async def _refused(self, request: Request, body: Mapping[str, Any], refusal: Refused) -> Completion:
        """The answer to a request that was refused for its text: a shorter answer, or an error with the reason.

        The same call with a greeting for its text tells whether the text was the cause: a server that refuses a greeting refuses
        everything.
        """
        try:
            await self._post(self._greeting(body))
        except Refused as again:
            raise again.every from None
        if refusal.status in TOO_LONG and (shorter := await self._shorter(body)):
            return shorter.completion(request, self._without_key)
        return unanswered(request, reason=one_line(str(refusal)))

    async def _shorter(self, body: Mapping[str, Any]) -> Reply | None:
        """The answer in as many tokens as the context leaves beside the prompt; None where it does not leave one."""
        limit = self.dialect.limit if self.dialect.limit in body else "max_tokens"
        try:
            least = await self._post({**body, limit: 1})
        except Refused:
            return None
        left = (self.dialect.context or 0) - least.usage.prompt_tokens
        most = left if 0 < left < body[limit] and least.usage.prompt_tokens else body[limit] // 2
        while most > 1:
            try:
                return await self._post({**body, limit: most})
            except Refused:
                most //= 2
        return least

    def _greeting(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """A call of the same form whose text is a greeting, with an answer no longer than the context has room for."""
        bounds = {name: body[name] for name in ("max_tokens", "max_completion_tokens") if name in body}
        room = {name: min(most, max(1, (self.dialect.context or 2 * most) // 2)) for name, most in bounds.items()}
        return {**body, **room, "messages": [{**message, "content": "Hi"} for message in body["messages"]]}

    async def _greeted(self, request: Request) -> bool:
        """True if the server answers the call of `request` with a greeting for its text."""
        try:
            await self._post(self._greeting(self.dialect.body(self.config, request)))
        except (Refused, Passing):
            return False
        return True

    async def _post(self, body: Mapping[str, Any]) -> Reply:
        """One call, in its turn. Raises `Passing`, `Refused` or, where no other call would fare better, `SelfRewardError`."""
        await self._pace.turn()
        try:
            async with asyncio.timeout(self.config.timeout):
                return read_reply(await self._client.post("/chat/completions", body=body, cast_to=str))
        except TimeoutError:
            raise Passing(f"no answer in {self.config.timeout:g} s") from None
        except openai.APIStatusError as error:
            words = self._quoted(error.response.text)
            raise failure(self.config, error.status_code, words, stated_pause(error.response.headers)) from None
        except (openai.APIConnectionError, BadReply) as error:
            cause = error.__cause__ if isinstance(error.__cause__, BadReply) else error
            if isinstance(cause, BadReply):
                raise Passing("an answer that is no chat completion", self._quoted(str(cause)), busy=False) from None
            raise Passing("no connection", self._quoted(str(cause.__cause__ or cause))) from None

    def _quoted(self, text: str) -> str:
        """A server's words, fit to be shown: one short line, without the key."""
        return one_line(text.replace(self._key, "***") if self._key else text)

    def _without_key(self, text: str) -> str:
        """Generated text without the key, should the server say it."""
        return text.replace(self._key, "***") if len(self._key) >= SECRET else text
