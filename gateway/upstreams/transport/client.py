"""Sends requests to upstreams: where they go, and nothing that knows a dialect.

Neither requests nor URLs are ever logged, since most vendors take their key in the query.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote, urlsplit

import httpx

from adapters.contract.dialect import Dialect
from adapters.contract.upstream import (
    Fault,
    FaultKind,
    UpstreamReply,
    UpstreamRequest,
    request_url,
)
from gateway.observability.redaction import SecretList
from gateway.upstreams.transport.body import BadBodyError, read_body
from gateway.upstreams.transport.progress import Progress

MAX_SINGLE_REPLY_BYTES = 256 * 1024
"""Of a reply to a single verification; a longer one is not the vendor's."""
ALWAYS_SENT = {"user-agent": "veriplex", "accept": "*/*", "accept-encoding": "gzip"}
PROXY_WANTS_CREDENTIALS = 407
REDACT_IN_THREAD_BYTES = 16 * 1024
"""A longer body is searched for secrets in a thread."""

FAULTS: Mapping[type[httpx.TransportError], FaultKind] = {
    # no connection: nothing was sent
    httpx.ConnectError: FaultKind.UNREACHABLE,
    httpx.ConnectTimeout: FaultKind.UNREACHABLE,
    httpx.PoolTimeout: FaultKind.UNREACHABLE,
    httpx.ProxyError: FaultKind.UNREACHABLE,
    # a request that cannot be written, or a reply that cannot be read
    httpx.UnsupportedProtocol: FaultKind.GARBAGE,
    httpx.LocalProtocolError: FaultKind.GARBAGE,
    httpx.RemoteProtocolError: FaultKind.GARBAGE,
    httpx.ReadTimeout: FaultKind.TIMED_OUT,
    httpx.WriteTimeout: FaultKind.TIMED_OUT,
}
"""The others mean that the connection broke."""


@dataclass(frozen=True, slots=True)
class UpstreamLocation:
    """Where an upstream is: its base URL as the settings have it, in its dialect."""

    dialect: Dialect
    base_url: str
    """Ends where the vendor's documentation ends it, without a slash."""

    @property
    def url_without_credentials(self) -> str:
        """The base URL as it may be shown."""
        return _without_credentials(self.base_url)[0]

    @property
    def authorization(self) -> str:
        """The header for a name and a password in the base URL; empty if there are none."""
        return _without_credentials(self.base_url)[1]

    def url_for(self, request: UpstreamRequest) -> str:
        """The whole URL of a request, without credentials."""
        base_url = self.url_without_credentials
        upstream = self.dialect.upstream
        other_hosts = upstream.other_hosts if upstream else {}
        return request_url(request, base_url, self.dialect.base_path, other_hosts)


@lru_cache(256)
def _without_credentials(url: str) -> tuple[str, str]:
    """The URL without a name and a password, and the header that they stand for."""
    parts = urlsplit(url)
    credentials, at, host = parts.netloc.rpartition("@")
    if not at:
        return url, ""
    name, _, password = credentials.partition(":")
    pair = f"{unquote(name)}:{unquote(password)}"
    return parts._replace(netloc=host).geturl(), f"Basic {b64encode(pair.encode()).decode()}"


class UpstreamClient:
    """Sends one upstream's requests; the caller bounds how many at a time."""

    def __init__(
        self,
        transport: httpx.AsyncBaseTransport,
        *,
        clock: Callable[[], float],
        secrets: SecretList | None = None,
    ) -> None:
        """`clock` is Unix time in seconds; `secrets` are cut out of every reply."""
        # not through httpx.AsyncClient: its redirects, cookies and hooks are not wanted, and cost
        # half as much as the whole call (docs/performance.md)
        self._transport = transport
        self._clock = clock
        self._secrets = secrets or SecretList()

    async def send(
        self,
        location: UpstreamLocation,
        request: UpstreamRequest,
        *,
        connect_timeout_s: float,
        timeout_s: float,
        max_body_bytes: int = MAX_SINGLE_REPLY_BYTES,
    ) -> UpstreamReply | Fault:
        """The whole reply, within `timeout_s`, or why there is none. Never follows a redirect.

        A vendor's error may repeat the key that it was sent; nothing that is read in the reply,
        recorded or shown holds one.
        """
        progress = Progress()
        try:
            async with asyncio.timeout(timeout_s):
                http_request = _http_request(
                    location, request, connect_timeout_s, progress, max_body_bytes
                )
                return await self._exchange(http_request, max_body_bytes)
        except TimeoutError:
            never_sent = progress.connecting
            kind = FaultKind.UNREACHABLE if never_sent else FaultKind.TIMED_OUT
            return Fault(kind, "TimeoutError")
        except httpx.TransportError as exc:
            kind = FAULTS.get(type(exc), FaultKind.BROKEN)
            return Fault(kind, str(exc) or type(exc).__name__)
        except (httpx.InvalidURL, ValueError) as exc:
            return Fault(FaultKind.GARBAGE, type(exc).__name__)

    async def _exchange(self, request: httpx.Request, max_body_bytes: int) -> UpstreamReply | Fault:
        response = await self._transport.handle_async_request(request)
        headers = {
            name.decode("latin-1").lower(): value.decode("utf-8", "surrogateescape")
            for name, value in response.headers.raw
        }
        try:
            assert isinstance(response.stream, httpx.AsyncByteStream)
            body = await read_body(
                response.stream,
                content_encoding=headers.get("content-encoding", ""),
                max_bytes=max_body_bytes,
            )
        except BadBodyError as exc:
            return Fault(FaultKind.GARBAGE, str(exc), response.status_code)
        finally:
            await response.aclose()
        if response.status_code == PROXY_WANTS_CREDENTIALS:
            return Fault(FaultKind.UNREACHABLE, "the proxy answered 407", response.status_code)
        return UpstreamReply(response.status_code, headers, await self._redact(body), self._clock())

    async def _redact(self, body: bytes) -> bytes:
        if len(body) > REDACT_IN_THREAD_BYTES:
            return await asyncio.to_thread(self._secrets.redact_bytes, body)
        return self._secrets.redact_bytes(body)

    async def aclose(self) -> None:
        await self._transport.aclose()


def _http_request(
    location: UpstreamLocation,
    request: UpstreamRequest,
    connect_timeout_s: float,
    progress: Progress,
    max_body_bytes: int,
) -> httpx.Request:
    """The request as httpx has it. Raises httpx.InvalidURL, ValueError."""
    headers = {**ALWAYS_SENT, **request.headers}
    url = location.url_for(request)
    own_server = not request.link or _is_of_server(url, location.url_without_credentials)
    if own_server and "authorization" not in headers and (authorization := location.authorization):
        headers["authorization"] = authorization
    return httpx.Request(
        request.method,
        url,
        headers=headers,
        content=request.body or None,
        # the time-out of aiohttp that covers the whole connect
        extensions={
            "timeout": {"pool": connect_timeout_s},
            "progress": progress,
            "max_body_bytes": max_body_bytes,
        },
    )


def _is_of_server(url: str, base_url: str) -> bool:
    return urlsplit(url)[:2] == urlsplit(base_url)[:2]
