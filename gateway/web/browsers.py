"""Keeps web pages away from Veriplex's own API.

A page in a browser on the same machine can send requests to a local server: as a form of another
site (CSRF), and as a page of its own name, which its DNS server lets resolve to this machine (DNS
rebinding). The sandbox's control API needs no key, so such requests are refused by what a page
cannot choose: `Origin`, `Sec-Fetch-Site`, `Host`, and the content types that it may send without
asking first (the CORS-safelisted ones of the Fetch standard).
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers

OWN_SITES = frozenset({"same-origin", "none"})
"""`Sec-Fetch-Site` of a page of this server, and of an address that a person typed in."""


def refusal_of(headers: Headers, *, has_body: bool, own_url: str) -> tuple[int, str] | None:
    """The status and the reason for refusing a request; None if it may be served.

    `own_url` is the URL by which clients reach the server, with the name that it may have in
    `Host` beside IP addresses and local names.
    """
    host = headers.get("host", "")
    if not _is_own_host(host, own_url):
        return 403, "The Host of this request is not this server's; see server.public_url."
    site = headers.get("sec-fetch-site")
    origin = headers.get("origin")
    if (site is not None and site not in OWN_SITES) or (
        origin is not None and _netloc(origin) != host.lower()
    ):
        return 403, "Pages of other sites may not use this API."
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if has_body and media_type != "application/json":
        return 415, "Send a JSON body with `Content-Type: application/json`."
    return None


def _is_own_host(host: str, own_url: str) -> bool:
    """Whether no other party can have chosen the name: it is an IP address, a name without a dot
    (`localhost`, a container's), one below `localhost` (RFC 6761), or that of `own_url`."""
    name = _hostname(f"//{host}")
    if name is None:
        return False
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return "." not in name or name.endswith(".localhost") or name == _hostname(own_url)
    return True


def _hostname(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def _netloc(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None
