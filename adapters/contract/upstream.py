"""A vendor as a source: queries to it and its results, as plain values.

query --build--> HTTP request --send--> HTTP reply --parse--> result, pending or a fault
   (dialect, pure)        (gateway.upstreams.transport)      (dialect, pure)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar
from urllib.parse import quote_plus, urlsplit

from adapters.contract.json_values import parse_json
from engine.model import Address, Checks, Evidence, Reason, Verdict


class FaultKind(StrEnum):
    """Why an upstream gave no result. A fault never becomes a verdict."""

    UNREACHABLE = "unreachable"
    """No connection: the request was not sent, so that it may be sent again."""
    BUSY = "busy"
    """Not sent, since its limit of concurrent requests or its rate is reached."""
    TIMED_OUT = "timed_out"
    """Sent, and no complete reply in time."""
    BROKEN = "broken"
    """Sent, and the connection was closed before the end of the reply."""
    GARBAGE = "garbage"
    """A reply that is not one of the vendor's."""
    SERVER_ERROR = "server_error"
    PENDING = "pending"
    """The vendor was still working on it when the time was over."""
    TOO_FAST = "too_fast"
    NO_CREDITS = "no_credits"
    DEAD_KEY = "dead_key"
    BANNED = "banned"
    """The vendor refuses our account or our IP address with any key."""
    REFUSED = "refused"
    """The vendor refuses this request; it may serve others."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why there is no result."""

    kind: FaultKind
    detail: str = ""
    """The vendor's error text, shortened."""
    status: int | None = None
    """Of the HTTP reply; None without a reply."""
    retry_after_s: float | None = None
    """How long the vendor asks to wait."""
    ask_balance: bool = False
    """Whether the vendor has the same reply for a refused key and for an account without credits.
    The balance then shows which it is; `kind` is for when the balance cannot be read."""


@dataclass(frozen=True, slots=True)
class Pending:
    """Not ready: the same request, sent again later, gets the result."""

    retry_after_s: float = 1.0


@dataclass(frozen=True, slots=True)
class UpstreamResult:
    """An upstream's result for an address. A fact that its API does not report is not known."""

    verdict: Verdict
    reason: Reason
    evidence: Evidence
    score: int | None = None
    """None if the dialect has no score."""
    verified_at: datetime | None = None
    """None if the dialect does not report it; then it is the present time."""


@dataclass(frozen=True, slots=True)
class UpstreamQuery:
    """A query to an upstream."""

    address: Address
    checks: Checks = Checks()
    refresh: bool = False
    """Whether the vendor shall bypass its own cache, if its API has a parameter for that."""
    wait_s: float = 30.0
    """How long the verification may take."""


@dataclass(frozen=True, slots=True)
class UpstreamRequest:
    """One HTTP request to a vendor."""

    method: str
    path: str
    """The vendor's path, `Dialect.base_path` included."""
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    is_billed: bool = True
    """Whether the vendor charges for it: then it is not sent again if it may have arrived."""
    link: str = ""
    """The whole URL instead of path and query: a link that an earlier reply named. The dialect puts
    no key into such a request. See `link_url`."""

    @property
    def json(self) -> Any:
        """The body as JSON; None if it is not JSON."""
        return _json(self.body)


def request_url(
    request: UpstreamRequest,
    base_url: str,
    base_path: str,
    other_hosts: Mapping[str, Mapping[str, str]],
) -> str:
    """The whole URL of a request to an upstream at `base_url`. Raises ValueError.

    `base_url` ends where the vendor's documentation ends it, with `base_path` and without a slash.
    Another server with the vendor's API under a prefix (`http://host/kickbox/v2`) has all of the
    vendor's paths below that prefix. `other_hosts` is `Upstream.other_hosts`: it applies to the
    vendor's own host, and before `base_path`, since two hosts may have the same.
    """
    if request.link:
        return link_url(request.link, base_url)
    path = request.path
    elsewhere = other_hosts.get(urlsplit(base_url).hostname or "", {}) if other_hosts else {}
    other_host = next((host for prefix, host in elsewhere.items() if path.startswith(prefix)), "")
    if other_host:
        start = f"https://{other_host}{path}"
    elif f"{path}/".startswith(f"{base_path}/"):
        start = base_url + path[len(base_path) :]
    else:
        start = base_url.removesuffix(base_path) + path
    if not request.query:
        return start
    pairs = [f"{_quote(name)}={_quote(value)}" for name, value in request.query.items()]
    return f"{start}?{'&'.join(pairs)}"


def link_url(link: str, base_url: str) -> str:
    """The link, if a vendor's reply may send us there. Raises ValueError.

    Allowed are the base URL's own server, and public hosts by name with https: a reply must not
    lead into the network that we are in.
    """
    parts, base = urlsplit(link), urlsplit(base_url)
    if (parts.scheme, parts.netloc) == (base.scheme, base.netloc):
        return link
    _, dot, top_level = (parts.hostname or "").rstrip(".").rpartition(".")
    # a number, in any notation, is an address
    is_public_name = bool(dot) and top_level[:1].isalpha()
    if parts.scheme != "https" or "@" in parts.netloc or not is_public_name:
        raise ValueError("a link that may not be followed")
    return link


_quote = lru_cache(1024)(quote_plus)
"""Cached, since most names and values of a query are the same in each request."""


@dataclass(frozen=True, slots=True)
class UpstreamReply:
    """One complete HTTP reply of a vendor."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    received_at: float
    """Unix time in seconds."""

    @property
    def json(self) -> Any:
        """The body as JSON; None if it is not JSON."""
        return _json(self.body)

    @property
    def json_object(self) -> dict[str, Any]:
        """The body as a JSON object; empty if it is not one."""
        value = self.json
        return value if isinstance(value, dict) else {}

    @property
    def retry_after_s(self) -> float | None:
        """`Retry-After` in either form (RFC 9110 section 10.2.3), else `ratelimit-reset`.

        The latter is a number of seconds in the IETF's draft, and a Unix time at some vendors.
        """
        after = self.headers.get("retry-after", "").strip()
        if after.isdecimal():
            return float(after[:9])
        if after:
            try:
                return max(parsedate_to_datetime(after).timestamp() - self.received_at, 0.0)
            except (ValueError, OverflowError):
                pass
        reset = self.headers.get("ratelimit-reset", "").strip()
        if not reset.isdecimal():
            return None
        moment = float(reset[:12])
        return max(moment - self.received_at, 0.0) if moment > self.received_at / 2 else moment


def _json(body: bytes) -> Any:
    try:
        return parse_json(body)
    except ValueError:
        return None


P = ParamSpec("P")
Out = TypeVar("Out", covariant=True)


@dataclass(frozen=True, slots=True)
class Call(Generic[P, Out]):
    """How one kind of request to a vendor is built, and its reply parsed. Pure.

    A `Call[[UpstreamQuery], Pending]` builds a request from a key and a query, and parses the reply
    with the same query into a `Pending` or a `Fault`.
    """

    build: Callable[Concatenate[str, P], UpstreamRequest]
    """Its first argument is the key."""
    parse: Callable[Concatenate[UpstreamReply, P], Out | Fault]
    """Its first argument is the reply."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """A vendor as a source: its calls, and what else an upstream needs to know of it. Pure."""

    verify: Call[[UpstreamQuery], UpstreamResult | Pending]
    balance: Call[[], int] | None = None
    """An unbilled request for the verifications left, which also shows whether the key is valid;
    None if the vendor has none."""
    health: UpstreamRequest | None = None
    """An unbilled request without a key, for a vendor without `balance`."""
    other_hosts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """By the host of the base URL: path prefixes that the vendor serves from another host, and that
    host. The first matching prefix counts."""
    default_retry_after_s: float = 1.0
    """The pause after a 429 without a time."""
    usual_answer_s: float = 5.0
    """How long an answer may take by the vendor's documentation without anything being wrong. The
    vendor is always waited for as long, however quick it was so far."""
    free_verdicts: frozenset[Verdict] = frozenset()
    """Verdicts of single verifications that the vendor does not charge for."""
    always_reports: frozenset[str] = frozenset()
    """Fields of `Evidence` that every result reports, so that an empty one means no. The others are
    added from our lists and DNS."""
