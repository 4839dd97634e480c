"""The connection to an endpoint: the key, what leaves this machine, how fast calls begin, and how large a body may be.

Nothing that an endpoint sends is unpacked or held beyond a bound, and no pause that it asks for is longer than one.
"""

from __future__ import annotations

import os
import random
import re
import resource
import time
import zlib
from collections.abc import Awaitable, Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import openai

from selfreward.engines.sampling.replies import BadReply
from selfreward.errors import SelfRewardError
from selfreward.recipe import ServerConfig

LONGEST_PAUSE = 600.0
"""Seconds; a server that asks for more is tried again all the same."""
LARGEST_BODY = 64 * 2**20
"""Bytes of an answer, as it comes and unpacked; twenty log-probabilities of each of 4,096 tokens take some 10 MB."""
HELD = 1000
"""Connections that the client holds at once."""
RESERVED = 64
"""Files that a process keeps open beside its connections."""
OF_THE_NETWORK = {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"}
"""Variables of the environment by which a client finds its way: proxies, and whose certificates it trusts."""
HEADERS = {"host", "connection", "accept", "accept-encoding", "content-type", "content-length", "user-agent", "authorization"}
"""Headers that a request carries: none about this machine, nor an organisation that was set for another endpoint."""


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
        except (ValueError, TypeError, IndexError, OverflowError):  # dates that no calendar has, of any length
            return None
    return min(seconds, LONGEST_PAUSE) if seconds >= 0 else None


def connections(wanted: int) -> int:
    """The number of connections, `wanted` at most, that the client and this process's limit of open files allow at once."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return min(wanted, HELD, HELD if files == resource.RLIM_INFINITY else max(1, files - RESERVED))


def too_many(config: ServerConfig) -> str:
    """A sentence where the endpoint is to get more requests at once than this process holds connections; else empty."""
    limit = connections(config.concurrency)
    said = f"concurrency is {config.concurrency:,}, and this process holds {limit:,} connections: no more requests run at once"
    return said if limit < config.concurrency else ""


def read_key(config: ServerConfig) -> str:
    """The key of the endpoint; empty where the endpoint needs none."""
    if config.key_env is None:
        return ""
    key = os.environ.get(config.key_env, "").strip()
    if not re.fullmatch(r"[!-~]+", key):
        what = f"the environment variable {config.key_env} {'holds no key' if key else 'is not set'}"
        raise SelfRewardError(what, config.url, f"Set {config.key_env} to the key of this endpoint")
    return key


def open_client(config: ServerConfig, key: str) -> Any:
    """Open the client, which takes proxies and certificates from the environment, and neither a key nor anything else.

    Raises `SelfRewardError` where the variables for those cannot be used.
    """

    async def ours_alone(request: Any) -> None:
        for name in set(request.headers) - HEADERS:
            del request.headers[name]
        request.headers["accept-encoding"] = "gzip"
        if not key:
            request.headers.pop("authorization", None)

    try:  # A redirect is not followed: the key is for this address.
        http = _Bounded(event_hooks={"request": [ours_alone]}, timeout=None, follow_redirects=False)
    except Exception as error:  # httpx reads these variables; its errors have nothing in common, and may quote a password
        named = sorted(name for name, value in os.environ.items() if value and name.upper() in OF_THE_NETWORK)
        if not named:
            raise
        what = f"no connection can be opened with what {', '.join(named)} say ({type(error).__name__})"
        raise SelfRewardError(what, config.url, "Correct or unset them in the environment") from error
    headers = {"Authorization": f"Bearer {key}"}
    return openai.AsyncOpenAI(
        base_url=config.url, api_key=key or "none", default_headers=headers, max_retries=0, http_client=http
    )


class _Bounded(openai.DefaultAsyncHttpxClient):
    """Reads no body further than `LARGEST_BODY`, and unpacks it no further. Raises `BadReply`."""

    async def send(self, request: Any, *, stream: bool = False, **how: Any) -> Any:
        """The response to `request`, its body read and unpacked."""
        response = await super().send(request, stream=True, **how)
        try:
            body = bytearray()
            async for part in response.aiter_raw():
                body += part
                if len(body) > LARGEST_BODY:
                    raise BadReply(f"an answer of more than {LARGEST_BODY:,} bytes")
        finally:
            await response.aclose()
        packed = response.headers.pop("content-encoding", "")
        response.headers.pop("transfer-encoding", None)
        response.headers["content-length"] = str(len(content := unpacked(bytes(body), packed)))
        # Whatever it says: of Python's codecs some unpack, and some fail.
        response.headers["content-type"] = f"{response.headers.get('content-type', '').partition(';')[0]}; charset=utf-8"
        return type(response)(response.status_code, headers=response.headers, content=content, request=request)


def unpacked(body: bytes, encoding: str) -> bytes:
    """`body` as it was before it was sent, up to `LARGEST_BODY`. Raises `BadReply`."""
    if encoding.strip().lower() in ("", "identity"):
        return body
    if encoding.strip().lower() not in ("gzip", "x-gzip"):
        raise BadReply(f"an answer packed as {encoding}, which was not asked for")
    unpacking = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        content = unpacking.decompress(body, LARGEST_BODY + 1)
    except zlib.error as error:
        raise BadReply(f"an answer that is not packed as it says ({error})") from error
    if len(content) > LARGEST_BODY:
        raise BadReply(f"an answer of more than {LARGEST_BODY:,} bytes unpacked")
    if not unpacking.eof:
        raise BadReply("an answer that broke off")
    return content
