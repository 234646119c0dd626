"""An httpx transport on aiohttp's connection pool, which never sends a request twice.

httpx-aiohttp translates requests and replies. Four things are corrected here:

- A failure before there is a connection raises `httpx.ConnectError` or `httpx.ProxyError`: nothing
  was sent. A later failure raises another `httpx.TransportError`.
- aiohttp resends a GET when the server disconnects, which a vendor may bill twice. This transport
  never does.
- What is received for a request is bounded (`gateway.upstreams.transport.reply_bounds`).
- Bytes that arrive while no request is in flight are no reply to the next request (RFC 9112 section
  9.2); the connection is closed.

Why aiohttp: docs/performance.md.
"""

from __future__ import annotations

import asyncio
import select
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakSet

import aiohttp
import certifi
import httpx
from aiohttp_socks import ProxyConnectionError, ProxyConnector, ProxyError, ProxyTimeoutError
from httpx_aiohttp import AiohttpTransport

from gateway.upstreams.transport.progress import Progress
from gateway.upstreams.transport.reply_bounds import (
    MAX_UNREAD_BYTES,
    BoundedReplies,
    TooMuchReceivedError,
    max_body_bytes,
)

if TYPE_CHECKING:
    from aiohttp.client_reqrep import ClientRequest
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

KEEP_ALIVE_S = 20.0
"""How long an idle connection is kept: servers and load balancers mostly keep theirs for longer,
so that a request is seldom sent into a connection that is just being closed."""
MAX_DISCARDED = 100
"""Consecutive connections with unsolicited bytes, after which the request fails."""
AUTO_HEADERS = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
"""Headers that aiohttp would add to a request without them."""
SOCKS_SCHEMES = frozenset({"socks5", "socks5h"})
SOCKS_PORT = 1080
PROXY_REFUSES = (
    aiohttp.ClientHttpProxyError,
    aiohttp.ClientProxyConnectionError,
    ProxyConnectionError,
    ProxyError,
    ProxyTimeoutError,
)
EXPECTED = (httpx.TransportError, aiohttp.ClientError, OSError, ValueError)
"""What sending and receiving may raise; anything else is a bug."""


@cache
def tls_context() -> ssl.SSLContext:
    """Trusts what the system trusts, and what Mozilla does where the system has nothing.

    One for the process, made when first needed: it takes 20 ms and changes nothing.
    """
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


_progress: ContextVar[Progress | None] = ContextVar("progress", default=None)
"""Of the request that the task sends: aiohttp does not pass it to `connect`."""


class ProxyFor(Protocol):
    """Chooses the URL of the proxy for a request; empty: none."""

    def __call__(self, url: httpx.URL, /) -> str: ...


def no_proxy(_: httpx.URL) -> str:
    return ""


class HttpTransport(httpx.AsyncBaseTransport):
    """Connections to any host, kept for `keep_alive_s`; 0 makes one for each request.

    It bounds neither requests at a time nor the time that a request takes.
    """

    def __init__(
        self,
        *,
        proxy_for: ProxyFor = no_proxy,
        keep_alive_s: float = KEEP_ALIVE_S,
        tls: Callable[[], ssl.SSLContext] = tls_context,
    ) -> None:
        self._proxy_for = proxy_for
        self._keep_alive_s = keep_alive_s
        self._tls = tls
        self._pools: dict[tuple[bool, str], AiohttpTransport] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        secure, proxy = request.url.scheme == "https", self._proxy_for(request.url)
        pool = self._pools.get((secure, proxy))
        if pool is None:
            pool = self._pools[secure, proxy] = self._open(secure, proxy)
        if pool.proxy is not None and not secure:
            # such a proxy reads the request; else it reads a CONNECT before it
            request.headers.update(pool.proxy.headers)
        progress: Progress = request.extensions.get("progress") or Progress()
        progress.connecting = True
        _progress.set(progress)
        max_body_bytes.set(request.extensions.get("max_body_bytes", MAX_UNREAD_BYTES))
        try:
            response = await pool.handle_async_request(request)
        except EXPECTED as exc:
            raise translated(exc) from exc
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = _Body(response.stream)
        return response

    async def aclose(self) -> None:
        for pool in self._pools.values():
            await pool.aclose()

    def _open(self, secure: bool, proxy: str) -> AiohttpTransport:
        """A pool for requests with or without TLS, which is not set up for those without."""
        url = httpx.URL(proxy) if proxy else None
        options: dict[str, Any] = {"limit": 0}
        if secure or (url is not None and url.scheme == "https"):
            options["ssl"] = self._tls()
        if self._keep_alive_s:
            options["keepalive_timeout"] = self._keep_alive_s
        else:
            options["force_close"] = True

        def session() -> aiohttp.ClientSession:
            connector: aiohttp.TCPConnector
            if url is not None and url.scheme in SOCKS_SCHEMES:
                connector = SocksPool(
                    url.host,
                    url.port or SOCKS_PORT,
                    username=url.username or None,
                    password=url.password or None,
                    **options,
                )
            else:
                connector = Pool(**options)
            made = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=AUTO_HEADERS,
            )
            # there is no public API; tests show that it works
            made._retry_connection = False
            return made

        return AiohttpTransport(
            client=session,
            verify=False,  # of a context that is not used: the session has its own
            proxy=None if url is None or url.scheme in SOCKS_SCHEMES else _http_proxy(url),
        )


def _http_proxy(url: httpx.URL) -> httpx.Proxy:
    headers = {}
    if url.userinfo:
        pair = f"{url.username}:{url.password}".encode()
        headers["Proxy-Authorization"] = f"Basic {b64encode(pair).decode()}"
    return httpx.Proxy(url.copy_with(username=None, password=None), headers=headers)


class NotConnectedError(aiohttp.ClientConnectionError):
    """There is no connection, so that nothing was sent. The text says why in a word."""


class ProxyRefusedError(NotConnectedError):
    """The proxy made no connection."""


def _is_readable(connection: Connection) -> bool:
    """Whether the server has sent anything on an idle connection, or has closed it.

    The event loop may not have noticed yet. A request on it would be lost, and not sent again.
    """
    descriptor = connection.transport.get_extra_info("socket") if connection.transport else None
    if descriptor is None or not hasattr(select, "poll"):
        return False
    poll = select.poll()
    poll.register(descriptor.fileno(), select.POLLIN)
    return bool(poll.poll(0))


class _KeptSafely(aiohttp.TCPConnector):
    """Marks failures before there was a connection, and discards connections with unread bytes."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # there is no public API; tests show that it works
        factory: partial[Any] = partial(BoundedReplies, loop=self._loop)
        self._factory = factory
        self._used: WeakSet[asyncio.Protocol] = WeakSet()
        """Those of connections that had a request."""

    async def connect(
        self, req: ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        for _ in range(MAX_DISCARDED):
            try:
                connection = await super().connect(req, traces, timeout)
            except PROXY_REFUSES as exc:
                raise ProxyRefusedError(_word(exc)) from exc
            except (aiohttp.ClientError, OSError, ValueError) as exc:
                raise NotConnectedError(_word(exc)) from exc
            if self._is_usable(connection):
                if (progress := _progress.get()) is not None:
                    progress.connecting = False
                return connection
            connection.close()
        raise NotConnectedError("unsolicited bytes")

    def _is_usable(self, connection: Connection) -> bool:
        protocol = connection.protocol
        if protocol is None:
            return True
        if protocol in self._used and _is_readable(connection):
            return False
        self._used.add(protocol)
        return not protocol.should_close


class Pool(_KeptSafely, aiohttp.TCPConnector):
    """Connections to servers, or to HTTP proxies."""


class SocksPool(_KeptSafely, ProxyConnector):
    """Connections through a SOCKS proxy, which resolves the names."""


class _Body(httpx.AsyncByteStream):
    """A reply's body, whose errors are httpx's."""

    def __init__(self, stream: httpx.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._stream:
                yield piece
        except EXPECTED as exc:
            raise translated(exc) from exc

    async def aclose(self) -> None:
        await self._stream.aclose()


def translated(exc: Exception) -> httpx.TransportError:
    """The error as httpx has it. No text of aiohttp's is repeated: there are URLs in it."""
    cause = exc.__cause__ if isinstance(exc, httpx.TransportError) else exc
    match cause:
        case ProxyRefusedError():
            return httpx.ProxyError(str(cause))
        case NotConnectedError():
            return httpx.ConnectError(str(cause))
        case aiohttp.ServerTimeoutError():
            return httpx.ReadTimeout(_word(cause))
        case TooMuchReceivedError():
            return httpx.RemoteProtocolError(str(cause))
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientPayloadError():
            return httpx.ReadError("closed")
        case aiohttp.ClientConnectionError() | OSError():
            return httpx.ReadError(_word(cause))
        case ValueError():  # aiohttp.InvalidURL, too
            return httpx.LocalProtocolError(_word(cause))
    return httpx.RemoteProtocolError("no HTTP")


def _word(exc: BaseException) -> str:
    """The kind of the error beneath; of a proxy's refusal, its status or code."""
    match exc:
        case aiohttp.ClientHttpProxyError():
            return f"the proxy answered {exc.status}"
        case ProxyError() if exc.error_code is not None:
            return f"the proxy answered {exc.error_code}"
        case aiohttp.ClientConnectorError() if exc.__cause__ is not None:
            return type(exc.__cause__).__name__
    return type(exc).__name__
