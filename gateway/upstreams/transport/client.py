"""Sends requests to upstreams: where they go, and nothing that knows a dialect.

Neither requests nor URLs are ever logged, since most vendors take their key in the query.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass

import certifi

from adapters.contract.dialect import Dialect
from adapters.contract.upstream import Fault, UpstreamReply, UpstreamRequest, request_url
from gateway.upstreams.transport.connections import ConnectionPool

MAX_SINGLE_REPLY_BYTES = 256 * 1024
"""Of a reply to a single verification; a longer one is none of the vendor's."""


def tls_context() -> ssl.SSLContext:
    """Trusts what the system trusts, and what Mozilla does where the system has nothing."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


@dataclass(frozen=True, slots=True)
class UpstreamLocation:
    """Where an upstream is: its base URL as the settings have it, in its dialect."""

    dialect: Dialect
    base_url: str
    """Ends where the vendor's documentation ends it, without a slash."""

    def url_for(self, request: UpstreamRequest) -> str:
        """The whole URL of a request."""
        upstream = self.dialect.upstream
        other_hosts = upstream.other_hosts if upstream else {}
        return request_url(request, self.base_url, self.dialect.base_path, other_hosts)


class UpstreamClient:
    """Connections to one upstream. Made by `open`, ended by `aclose`."""

    def __init__(self, connections: ConnectionPool) -> None:
        self._connections = connections

    @classmethod
    def open(
        cls, *, max_connections: int, clock: Callable[[], float], tls: ssl.SSLContext | None = None
    ) -> UpstreamClient:
        """At most so many connections; `clock` is Unix time in seconds."""
        return cls(ConnectionPool(max_connections, clock=clock, tls=tls))

    async def send(
        self,
        location: UpstreamLocation,
        request: UpstreamRequest,
        *,
        connect_timeout_s: float,
        timeout_s: float,
        max_body_bytes: int = MAX_SINGLE_REPLY_BYTES,
    ) -> UpstreamReply | Fault:
        """The whole reply, within `timeout_s`, or why there is none. Never follows a redirect."""
        return await self._connections.request(
            request.method,
            location.url_for(request),
            request.headers,
            request.body,
            connect_timeout_s=connect_timeout_s,
            timeout_s=timeout_s,
            max_body_bytes=max_body_bytes,
        )

    async def aclose(self) -> None:
        await self._connections.aclose()
