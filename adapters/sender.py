"""Sends requests to upstreams: httpx requests over aiohttp's connections, nothing else.

The transport is called directly: `httpx.AsyncClient` around it costs as much again as the
request itself, for cookies, redirects and authentication that no vendor here has. Requests
and URLs are never logged, since most vendors take their key in the query.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from adapters.dialect import Dialect
from adapters.upstream import Fault, FaultKind, UpstreamReply, UpstreamRequest

MAX_BODY_BYTES = 256 * 1024
"""Of a reply to a single verification; a longer one is none of the vendor's."""
KEEP_ALIVE_S = 20.0
"""How long an idle connection is kept: shorter than servers and balancers mostly keep theirs,
so that a request is seldom sent into one that is just being closed."""
USER_AGENT = "veriplex"

NEVER_SENT = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ClientConnectorDNSError,
)
"""What aiohttp raises before a byte of the request has left."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an upstream is: its base URL as the settings have it, in its dialect."""

    dialect: Dialect
    base_url: str
    """Ends where the vendor's documentation ends it, without a slash."""

    def url(self, request: UpstreamRequest) -> str:
        """The whole URL of a request."""
        base_path = self.dialect.base_path
        if request.path.startswith(base_path):
            start = self.base_url + request.path[len(base_path) :]
        else:
            start = self._root(request.path) + request.path
        return f"{start}?{urlencode(request.query)}" if request.query else start

    def _root(self, path: str) -> str:
        """What stands before the vendor's own paths; at the vendor's, perhaps another host."""
        root = self.base_url.removesuffix(self.dialect.base_path)
        upstream = self.dialect.upstream
        others = upstream.other_hosts.get(urlsplit(root).hostname or "", {}) if upstream else {}
        host = next((host for prefix, host in others.items() if path.startswith(prefix)), None)
        return root if host is None else f"https://{host}"


class Sender:
    """Connections to one upstream. Made by `open`, ended by `aclose`."""

    def __init__(self, transport: httpx.AsyncBaseTransport, clock: Callable[[], float]) -> None:
        self._transport = transport
        self._clock = clock

    @classmethod
    def open(
        cls, *, connections: int, clock: Callable[[], float], tls: ssl.SSLContext | None = None
    ) -> Sender:
        """At most so many connections; `clock` is Unix time in seconds."""
        context = tls or httpx.create_ssl_context(trust_env=False)

        def session() -> aiohttp.ClientSession:
            made = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=connections, keepalive_timeout=KEEP_ALIVE_S, ssl=context
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
            # on its own it repeats a GET whose connection broke, which bills it twice
            made._retry_connection = False
            return made

        transport = AiohttpTransport(client=session, verify=context)
        return cls(transport, clock)

    async def send(
        self, place: Place, request: UpstreamRequest, *, connect_s: float, timeout_s: float
    ) -> UpstreamReply | Fault:
        """The whole reply, within `timeout_s`, or why there is none. Never follows a redirect."""
        wire = httpx.Request(
            request.method,
            place.url(request),
            headers={"user-agent": USER_AGENT, "accept": "*/*", **request.headers},
            content=request.body or None,
            extensions={"timeout": {"connect": connect_s, "pool": connect_s}},
        )
        try:
            async with asyncio.timeout(timeout_s):
                reply = await self._transport.handle_async_request(wire)
                try:
                    body = await _whole(reply)
                finally:
                    await reply.aclose()
        except TimeoutError:
            return Fault(FaultKind.TIMED_OUT, f"no answer within {timeout_s:.1f} s")
        except (httpx.TransportError, aiohttp.ClientError, OSError, ValueError) as exc:
            return _fault(exc)
        if body is None:
            return Fault(FaultKind.GARBAGE, "the reply is too long", reply.status_code)
        headers = {name.lower(): value for name, value in reply.headers.items()}
        return UpstreamReply(reply.status_code, headers, body, self._clock())

    async def aclose(self) -> None:
        await self._transport.aclose()


async def _whole(reply: httpx.Response) -> bytes | None:
    """The decoded body; None if it is longer than it may be."""
    chunks: list[bytes] = []
    size = 0
    async for chunk in reply.aiter_bytes():
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            return None
        chunks.append(chunk)
    return b"".join(chunks)


def _fault(exc: Exception) -> Fault:
    """What an exception of the transport says; the cause tells what httpx's names do not.

    Its words may hold the URL, and so the key: the kind of the exception has to do.
    """
    cause = exc.__cause__ or exc
    name = type(cause).__name__
    if isinstance(cause, NEVER_SENT) or isinstance(exc, httpx.ConnectError):
        return Fault(FaultKind.UNREACHABLE, name)
    if isinstance(cause, TimeoutError | httpx.TimeoutException):
        return Fault(FaultKind.TIMED_OUT, name)
    if isinstance(cause, aiohttp.ClientResponseError | httpx.DecodingError | ValueError):
        return Fault(FaultKind.GARBAGE, name)
    return Fault(FaultKind.BROKEN, name)
