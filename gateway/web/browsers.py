"""Keeps web pages from driving a server of the user's own machine or network.

A browser sends a page's requests to any server that it can reach, so that a page may try what its
author could not. Two things give such a request away: its `Origin` or `Sec-Fetch-Site` names
another site; or, if the page's own name leads to our address (DNS rebinding), its `Host` does.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping
from urllib.parse import urlsplit

ANY_HOST = "*"
OWN_SITES = ("same-origin", "none")
"""Values of `Sec-Fetch-Site` for our own pages, and for an address that the user typed."""

FOREIGN_HOST = (
    "This server does not answer here under this Host: add its name to server.allowed_hosts, or set"
    " server.public_url."
)
FOREIGN_PAGE = "A page of another site may not call this."


class BrowserGuard:
    """Tells the requests that pages of other sites make."""

    def __init__(self, url: Callable[[], str], allowed_hosts: Iterable[str] = ()) -> None:
        """`url` is that of the server; its host is allowed, as are those of the loopback.

        In `allowed_hosts`, `*` is any host.
        """
        self._url = url
        self._allowed_hosts = frozenset(host.lower() for host in allowed_hosts)

    def refusal(self, headers: Mapping[str, str]) -> str:
        """Why a request is refused; empty if it is not. Names of headers are in lower case."""
        if not self._is_allowed(headers.get("host", "")):
            return FOREIGN_HOST
        return FOREIGN_PAGE if self.is_foreign(headers) else ""

    def knows_host(self, host: str) -> bool:
        """Whether requests may come under this `Host`."""
        return self._is_allowed(host)

    def is_foreign(self, headers: Mapping[str, str]) -> bool:
        """Whether a request says that a page of another site makes it."""
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        if site is not None and site.lower() not in OWN_SITES:
            return True
        return origin is not None and not self._is_own(origin.lower(), headers.get("host", ""))

    def _is_own(self, origin: str, host: str) -> bool:
        scheme, _, authority = origin.partition("://")
        if scheme not in ("http", "https") or not self._is_allowed(authority):
            return False
        # a proxy in front may have put its own Host in
        return authority in (host.lower(), urlsplit(self._url().lower()).netloc)

    def _is_allowed(self, authority: str) -> bool:
        """Whether the server may be called by a host, with or without a port."""
        host = _host_of(authority)
        if not host:
            return False
        return (
            ANY_HOST in self._allowed_hosts
            or host in self._allowed_hosts
            or host == _host_of(urlsplit(self._url()).netloc)
            or is_loopback(host)
        )


def _host_of(authority: str) -> str:
    """The host in lower case, without its port and a final dot; empty if there is none."""
    try:
        parts = urlsplit(f"//{authority}")
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return ""
    is_host = parts.netloc == authority and "@" not in authority
    return host.removesuffix(".") if is_host else ""


def is_loopback(host: str) -> bool:
    """Whether a name or an address is of the machine itself."""
    if host == "localhost" or host.endswith(".localhost"):  # RFC 6761 section 6.3
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
