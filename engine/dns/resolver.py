"""DNS questions and their answers: asks, caches, and tells the ways of failing apart.

Speaks to recursive or authoritative servers over UDP with EDNS (RFC 6891) and falls back to
TCP for truncated answers (RFC 7766). Answers are kept for their TTL, negative ones for that
of the SOA (RFC 2308 section 5), failures for a few seconds (RFC 9520).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence

from engine.cache import SingleFlight, TtlCache
from engine.dns import reference as dns_reference
from engine.dns import wire as dns_wire
from engine.dns.terms import (
    FAILURE_TTL_S,
    MAX_NEGATIVE_TTL_S,
    MAX_TTL_S,
    DnsAnswer,
    DnsFormatError,
    DnsQuestion,
    LookupStatus,
    NameServer,
    ParsedResponse,
    RecordType,
)
from engine.dns.udp import UdpClient, UdpResponse

MAX_CNAMES = 8
CACHE_SIZE = 100_000
PREFER_TCP_FOR_S = 300
"""How long a server that answered over TCP alone is asked over TCP at once."""


_UDP, _TCP = "udp", "tcp"
_TRANSPORT_ROUNDS = (_UDP, _TCP, _UDP)
"""TCP in the middle: what a lost packet or a filter on UDP keeps away often passes there."""


class Resolver:
    """Asks `servers` in turn, up to three times, until one gives a definite answer."""

    def __init__(
        self,
        servers: Sequence[NameServer],
        *,
        attempt_timeout_s: float = 2.0,
        timeout_s: float = 6.0,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        """`rng` makes the ids of messages; by default the system's, which cannot be foretold."""
        rng = rng or random.SystemRandom()
        self._servers = tuple(servers)
        self._udp = {server: UdpClient(server.host, server.port, rng) for server in servers}
        self._attempt_timeout_s = attempt_timeout_s
        self._timeout_s = timeout_s
        self._cache: TtlCache[tuple[str, RecordType], DnsAnswer] = TtlCache(CACHE_SIZE, clock)
        self._clock = clock
        self._prefer_tcp_until: dict[NameServer, float] = {}
        self._flights: SingleFlight[tuple[str, RecordType], DnsAnswer] = SingleFlight()

    async def resolve(self, name: str, record_type: RecordType) -> DnsAnswer:
        """The answer for `name`, from the cache if it is still good. Never raises for a name."""
        key = (name.lower().rstrip("."), record_type)
        known = self._cache.get(key)
        if known is not None:
            return known
        return await self._flights.run(key, lambda: self._resolve_uncached(*key))

    def get_cached(self, name: str, record_type: RecordType) -> DnsAnswer | None:
        """The answer for `name` if it is in the cache and still good."""
        return self._cache.get((name.lower().rstrip("."), record_type))

    async def aclose(self) -> None:
        """Drop the questions in flight."""
        await self._flights.aclose()

    async def _resolve_uncached(self, name: str, record_type: RecordType) -> DnsAnswer:
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await self._follow_aliases(name, record_type)
        except TimeoutError:
            answer = DnsAnswer(name, record_type, LookupStatus.TIMEOUT, ttl_s=FAILURE_TTL_S)
        self._cache.put((name, record_type), answer, answer.ttl_s)
        return answer

    async def _follow_aliases(self, name: str, record_type: RecordType) -> DnsAnswer:
        """Ask, and ask again for the end of an alias that the server did not follow itself."""
        try:
            target = dns_wire.encode_name(name) or dns_reference.encode_name(name)
        except DnsFormatError:
            # Such a name cannot exist.
            return DnsAnswer(name, record_type, LookupStatus.NXDOMAIN, ttl_s=MAX_NEGATIVE_TTL_S)
        ttl_s = MAX_TTL_S
        for _ in range(MAX_CNAMES):
            found = await self._query_servers(DnsQuestion(target, record_type))
            ttl_s = min(ttl_s, found.ttl_s)
            if found.status is not LookupStatus.NODATA or found.canonical_name == target:
                return DnsAnswer(name, record_type, found.status, found.records, ttl_s)
            target = found.canonical_name
        return DnsAnswer(name, record_type, LookupStatus.SERVFAIL, ttl_s=FAILURE_TTL_S)

    async def _query_servers(self, question: DnsQuestion) -> ParsedResponse:
        worst = LookupStatus.TIMEOUT
        for usual in _TRANSPORT_ROUNDS:
            for server in self._servers:
                transport = _TCP if self._prefers_tcp(server) else usual
                try:
                    outcome = await self._query_server(question, server, transport)
                except TimeoutError:
                    continue
                except (DnsFormatError, OSError, EOFError):
                    worst = LookupStatus.SERVFAIL
                    continue
                if usual == _TCP:
                    # UDP was tried first and had no answer: spare the next questions the wait.
                    self._prefer_tcp_until[server] = self._clock() + PREFER_TCP_FOR_S
                if outcome.status.definite:
                    return outcome
                worst = outcome.status
            if worst is not LookupStatus.TIMEOUT:
                break  # every server was asked and at least one spoke: asking again is no use
        return ParsedResponse.failed(worst, question)

    def _prefers_tcp(self, server: NameServer) -> bool:
        until = self._prefer_tcp_until.get(server)
        return until is not None and self._clock() < until

    async def _query_server(
        self, question: DnsQuestion, server: NameServer, transport: str
    ) -> ParsedResponse:
        """What `server` says; TimeoutError, Unreadable, OSError, EOFError."""
        reply = await self._send(question, server, transport)
        if not isinstance(reply, ParsedResponse) and dns_reference.refuses_edns(reply):
            reply = await self._send(question, server, transport, edns=False)
        return (
            reply if isinstance(reply, ParsedResponse) else dns_reference.interpret(reply, question)
        )

    async def _send(
        self, question: DnsQuestion, server: NameServer, transport: str, *, edns: bool = True
    ) -> UdpResponse:
        """One exchange, moved to TCP if the answer did not fit."""
        if transport == _UDP:
            async with asyncio.timeout(self._attempt_timeout_s):
                reply = await self._udp[server].query(question, edns=edns)
            if isinstance(reply, ParsedResponse) or not dns_reference.is_truncated(reply):
                return reply
        async with asyncio.timeout(self._attempt_timeout_s):
            return await dns_reference.query_tcp(question, server.host, server.port, edns=edns)
