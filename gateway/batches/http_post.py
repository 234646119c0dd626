"""Posts webhooks over HTTP.

The receiver's name is resolved here, and the address that was checked is the one that is dialled: a
name that resolves differently the second time cannot lead into a private network.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable, Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy
from importlib.metadata import version
from typing import Any

import httpx

from adapters.contract.batch_rules import is_200
from engine.dns.targets import may_serve_metadata

TIMEOUT_S = 30.0
"""For one attempt in all."""


NO_HEADERS: Mapping[str, str] = {}
MAX_HEADERS = 50
MAX_HEADER_CHARACTERS = 4_000
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,200}")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*")
_CONNECTION_HEADERS = frozenset(
    {
        "host", "content-length", "transfer-encoding", "connection", "keep-alive", "te", "trailer",
        "upgrade", "expect", "proxy-authorization", "proxy-connection",
    }
)  # fmt: skip
"""Those that say where the body ends, or are about the connection (RFC 9110 section 7.6.1)."""


def allowed_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers that a client may add to its webhooks, by names in lower case."""
    allowed = {}
    for name, value in list(headers.items())[:MAX_HEADERS]:
        lower = name.lower()
        if (
            _HEADER_NAME.fullmatch(name)
            and lower not in _CONNECTION_HEADERS
            and len(value) <= MAX_HEADER_CHARACTERS
            and _HEADER_VALUE.fullmatch(value)
        ):
            allowed[lower] = value.strip()
    return allowed


class HttpWebhookPost:
    """`PostWebhook` over HTTP, to those addresses that `may_dial` allows."""

    def __init__(
        self,
        transport: httpx.AsyncBaseTransport,
        *,
        may_dial: Callable[[str], bool],
        refusal: str,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """`refusal` is returned for a receiver that has no allowed address.

        Link-local addresses and those of cloud metadata are never allowed.
        """
        self._may_dial = may_dial
        self._refusal = refusal
        self._timeout_s = timeout_s
        headers = {"Content-Type": "application/json"}
        self._client = guarded_client(transport, timeout_s, headers)

    async def aclose(self) -> None:
        await self._client.aclose()

    async def __call__(
        self,
        url: str,
        body: bytes,
        *,
        headers: Mapping[str, str] = NO_HEADERS,
        is_accepted: Callable[[int], bool] = is_200,
    ) -> str:
        try:
            async with asyncio.timeout(self._timeout_s):
                status = await self._send(httpx.URL(url), body, allowed_headers(headers))
        except (OSError, UnicodeError, httpx.InvalidURL, httpx.HTTPError) as exc:
            return failure_of(exc)
        if status is None:
            return self._refusal
        return "" if is_accepted(status) else f"HTTP {status}"

    async def _send(self, url: httpx.URL, body: bytes, headers: Mapping[str, str]) -> int | None:
        """The status of the reply; None if the receiver has no allowed address."""
        address = await resolve_allowed(url, self._may_dial)
        if address is None:
            return None
        request = guarded_request(self._client, "POST", url, address, content=body, headers=headers)
        reply = await self._client.send(request, auth=basic_auth(url), stream=True)
        await reply.aclose()
        return reply.status_code


def guarded_client(
    transport: httpx.AsyncBaseTransport, timeout_s: float, headers: Mapping[str, str]
) -> httpx.AsyncClient:
    """A client for `guarded_request`, with these headers in each request."""
    return httpx.AsyncClient(
        transport=transport,
        timeout=timeout_s,
        follow_redirects=False,  # each has another address to check
        trust_env=False,  # a proxy would resolve the name itself
        # rejected: servers of different owners may share an address, and so their cookies
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        headers={"User-Agent": f"veriplex/{version('veriplex')}", **headers},
    )


async def resolve_allowed(url: httpx.URL, may_dial: Callable[[str], bool]) -> str | None:
    """The address to dial for a URL; None if none may be dialled. Raises OSError."""
    loop = asyncio.get_running_loop()
    port = url.port or (443 if url.scheme == "https" else 80)
    found = await loop.getaddrinfo(url.host, port, type=socket.SOCK_STREAM)
    addresses = (str(sockaddr[0]) for *_, sockaddr in found)
    allowed = (a for a in addresses if may_dial(a) and not may_serve_metadata(a))
    return next(allowed, None)


def guarded_request(
    client: httpx.AsyncClient, method: str, url: httpx.URL, address: str, **content: Any
) -> httpx.Request:
    """A request for a URL that goes to an address that was resolved before."""
    headers = {**content.pop("headers", {}), "Host": url.netloc.decode("ascii")}
    return client.build_request(
        method,
        # without a name and a password, for which there is a header: aiohttp refuses both
        url.copy_with(host=address, username=None, password=None),
        headers=headers,
        # TLS names and verifies the server, not its address
        extensions={"sni_hostname": url.raw_host.decode("ascii")},
        **content,
    )


def basic_auth(url: httpx.URL) -> httpx.BasicAuth | None:
    """What the name and the password in a URL stand for."""
    return httpx.BasicAuth(url.username, url.password) if url.userinfo else None


def failure_of(exc: Exception) -> str:
    """What went wrong on the way to a URL, without any part of the URL, which may be secret."""
    if isinstance(exc, TimeoutError):
        return "timed out"
    if isinstance(exc, httpx.InvalidURL | UnicodeError):
        return f"{type(exc).__name__}: the URL cannot be used"
    if isinstance(exc, OSError):
        return f"{type(exc).__name__}: {exc.strerror or exc.errno}"
    return f"{type(exc).__name__}: {exc}"
