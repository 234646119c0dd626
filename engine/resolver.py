"""DNS questions and their answers: asks, caches, and tells the ways of failing apart.

Speaks to recursive or authoritative servers over UDP with EDNS (RFC 6891) and falls back to
TCP for truncated answers (RFC 7766). Answers are kept for their TTL, negative ones for that
of the SOA (RFC 2308 section 5), failures for a few seconds (RFC 9520). The one place where
dnspython's exceptions are known.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.resolver

from engine.cache import SingleFlight, TtlCache

MAX_TTL_S = 86_400
MAX_NEGATIVE_TTL_S = 10_800
"""RFC 2308 section 5: one to three hours are sensible limits for negative answers."""
FAILURE_TTL_S = 5
"""RFC 9520 section 3.2: failures must be cached, one second to five minutes."""
MAX_CNAMES = 8
EDNS_PAYLOAD = 1232
"""Octets: what crosses any network unfragmented (DNS flag day 2020)."""
CACHE_SIZE = 100_000
OVER_TCP_S = 300
"""How long a server that answered over TCP alone is asked over TCP at once."""


class Kind(StrEnum):
    """The record types that the engine asks for."""

    A = "A"
    AAAA = "AAAA"
    MX = "MX"
    TXT = "TXT"
    PTR = "PTR"


class Status(StrEnum):
    """How a question came out."""

    OK = "ok"
    NODATA = "nodata"
    NXDOMAIN = "nxdomain"
    SERVFAIL = "servfail"  # also lame delegations, endless aliases and unreadable answers
    REFUSED = "refused"
    TIMEOUT = "timeout"

    @property
    def definite(self) -> bool:
        """Whether DNS answered the question, if only with no."""
        return self in _DEFINITE


_DEFINITE = frozenset({Status.OK, Status.NODATA, Status.NXDOMAIN})


@dataclass(frozen=True, slots=True)
class Answer:
    """What DNS said to one question."""

    name: str
    kind: Kind
    status: Status
    records: tuple[str, ...] = ()
    """Addresses for A and AAAA, `preference exchange.` for MX, joined strings for TXT."""
    ttl_s: int = 0


@dataclass(frozen=True, slots=True)
class Server:
    """A DNS server: an IP address and a port."""

    host: str
    port: int = 53

    @classmethod
    def parse(cls, text: str) -> Server:
        """Read `1.2.3.4`, `1.2.3.4:5353`, `::1` or `[::1]:53`; ValueError for anything else."""
        found = _HOST_AND_PORT.fullmatch(text.strip())
        host, port = (found[1] or found[2], int(found[3] or 53)) if found else (text.strip(), 53)
        if not 0 < port < 65536:
            raise ValueError(f"not a port: {text!r}")
        return cls(str(ipaddress.ip_address(host)), port)


_HOST_AND_PORT = re.compile(r"(?:\[([^\]]+)\]|([^:\[\]]+))(?::([0-9]{1,5}))?")


def system_servers() -> tuple[Server, ...]:
    """The servers that /etc/resolv.conf names; this machine when it cannot be read."""
    try:
        resolver = dns.resolver.Resolver()
    except dns.resolver.NoResolverConfiguration:
        return (Server("127.0.0.1"),)
    return tuple(Server(str(host), resolver.port) for host in resolver.nameservers)


_UDP, _TCP = "udp", "tcp"
_ROUNDS = (_UDP, _TCP, _UDP)
"""TCP in the middle: what a lost packet or a filter on UDP keeps away often passes there."""


class Resolver:
    """Asks `servers` in turn, up to three times, until one gives a definite answer."""

    def __init__(
        self,
        servers: Sequence[Server],
        *,
        attempt_timeout_s: float = 2.0,
        timeout_s: float = 6.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._servers = tuple(servers)
        self._attempt_timeout_s = attempt_timeout_s
        self._timeout_s = timeout_s
        self._cache: TtlCache[tuple[str, Kind], Answer] = TtlCache(CACHE_SIZE, clock)
        self._over_tcp: TtlCache[Server, bool] = TtlCache(100, clock)
        self._flights: SingleFlight[tuple[str, Kind], Answer] = SingleFlight()

    async def ask(self, name: str, kind: Kind) -> Answer:
        """The answer for `name`, from the cache if it is still good. Never raises for a name."""
        key = (name.lower().rstrip("."), kind)
        known = self._cache.get(key)
        if known is not None:
            return known
        return await self._flights.run(key, lambda: self._ask_anew(*key))

    def recall(self, name: str, kind: Kind) -> Answer | None:
        """The answer for `name` if it is in the cache and still good."""
        return self._cache.get((name.lower().rstrip("."), kind))

    async def aclose(self) -> None:
        """Drop the questions in flight."""
        await self._flights.aclose()

    async def _ask_anew(self, name: str, kind: Kind) -> Answer:
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await self._follow(name, kind)
        except TimeoutError:
            answer = Answer(name, kind, Status.TIMEOUT, ttl_s=FAILURE_TTL_S)
        self._cache.put((name, kind), answer, answer.ttl_s)
        return answer

    async def _follow(self, name: str, kind: Kind) -> Answer:
        """Ask, and ask again for the end of an alias that the server did not follow itself."""
        try:
            target = dns.name.from_text(name)
        except (dns.exception.DNSException, UnicodeError):
            # Labels over 63 octets and the like: such a name cannot exist.
            return Answer(name, kind, Status.NXDOMAIN, ttl_s=MAX_NEGATIVE_TTL_S)
        ttl_s = MAX_TTL_S
        for _ in range(MAX_CNAMES):
            status, records, step_ttl_s, end = await self._question(target, kind)
            ttl_s = min(ttl_s, step_ttl_s)
            if status is not Status.NODATA or end == target:
                return Answer(name, kind, status, records, ttl_s)
            target = end
        return Answer(name, kind, Status.SERVFAIL, ttl_s=FAILURE_TTL_S)

    async def _question(
        self, target: dns.name.Name, kind: Kind
    ) -> tuple[Status, tuple[str, ...], int, dns.name.Name]:
        worst = Status.TIMEOUT
        for usual in _ROUNDS:
            for server in self._servers:
                transport = _TCP if self._over_tcp.get(server) else usual
                try:
                    response = await self._exchange(target, kind, server, transport)
                    outcome = _read(response, kind)
                except TimeoutError:
                    continue
                except (dns.exception.DNSException, OSError, EOFError):
                    worst = Status.SERVFAIL
                    continue
                if usual == _TCP:
                    # UDP was tried first and had no answer: spare the next questions the wait.
                    self._over_tcp.put(server, True, OVER_TCP_S)
                if outcome[0].definite:
                    return outcome
                worst = outcome[0]
            if worst is not Status.TIMEOUT:
                break  # every server was asked and at least one spoke: asking again is no use
        return worst, (), FAILURE_TTL_S, target

    async def _exchange(
        self, target: dns.name.Name, kind: Kind, server: Server, transport: str
    ) -> dns.message.Message:
        query = dns.message.make_query(
            target, dns.rdatatype.from_text(kind), use_edns=0, payload=EDNS_PAYLOAD
        )
        response = await self._send(query, server, transport)
        if response.rcode() in _NO_EDNS:
            query.use_edns(False)
            response = await self._send(query, server, transport)
        return response

    async def _send(
        self, query: dns.message.Message, server: Server, transport: str
    ) -> dns.message.Message:
        """One exchange, moved to TCP if the answer did not fit; TimeoutError."""
        try:
            async with asyncio.timeout(self._attempt_timeout_s):
                if transport == _TCP:
                    return await dns.asyncquery.tcp(query, server.host, port=server.port)
                response = await dns.asyncquery.udp(
                    query,
                    server.host,
                    port=server.port,
                    ignore_unexpected=True,
                    ignore_errors=True,
                )
                if not response.flags & dns.flags.TC:
                    return response
            async with asyncio.timeout(self._attempt_timeout_s):
                return await dns.asyncquery.tcp(query, server.host, port=server.port)
        except dns.exception.Timeout as exc:
            raise TimeoutError from exc


_NO_EDNS = frozenset({dns.rcode.FORMERR, dns.rcode.NOTIMP, dns.rcode.BADVERS})
_FAILURES = {dns.rcode.REFUSED: Status.REFUSED}
_Outcome = tuple[Status, tuple[str, ...], int, dns.name.Name]


def _read(response: dns.message.Message, kind: Kind) -> _Outcome:
    """Status, records, TTL and the name at the end of the aliases."""
    rcode = response.rcode()
    asked = response.question[0].name if response.question else dns.name.root
    if rcode not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        return _FAILURES.get(rcode, Status.SERVFAIL), (), FAILURE_TTL_S, asked
    if not isinstance(response, dns.message.QueryMessage):
        return Status.SERVFAIL, (), FAILURE_TTL_S, asked
    chain = response.resolve_chaining()
    end = chain.canonical_name
    if chain.answer is not None:
        records = tuple(_text(record, kind) for record in chain.answer)
        return Status.OK, records, min(chain.minimum_ttl, MAX_TTL_S), end
    ttl_s = min(chain.minimum_ttl, MAX_NEGATIVE_TTL_S) if _has_soa(response) else 0
    if rcode == dns.rcode.NXDOMAIN:
        return Status.NXDOMAIN, (), ttl_s, end
    if end == asked and _is_referral(response):
        return Status.SERVFAIL, (), FAILURE_TTL_S, asked
    return Status.NODATA, (), ttl_s if end == asked else min(chain.minimum_ttl, MAX_TTL_S), end


def _has_soa(response: dns.message.Message) -> bool:
    return any(rrset.rdtype == dns.rdatatype.SOA for rrset in response.authority)


def _is_referral(response: dns.message.Message) -> bool:
    """RFC 2308 section 2.2: name servers without an SOA say "ask them", not "no such data"."""
    kinds = {rrset.rdtype for rrset in response.authority}
    return dns.rdatatype.NS in kinds and dns.rdatatype.SOA not in kinds


def _text(record: dns.rdata.Rdata, kind: Kind) -> str:
    if kind is Kind.TXT:
        strings: tuple[bytes, ...] = record.strings  # type: ignore[attr-defined]
        return b"".join(strings).decode("utf-8", "replace")
    return record.to_text()
