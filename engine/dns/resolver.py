"""A caching DNS resolver that distinguishes the ways in which a lookup fails.

It queries recursive or authoritative servers over UDP with EDNS (RFC 6891), without it where a
server ignores such queries (RFC 6891 section 6.2.2), and over TCP where a response is truncated
(RFC 7766). Answers are cached for their TTL, negative ones for that of the
SOA record (RFC 2308 section 5), failures for a few seconds (RFC 9520).
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Callable, Sequence
from functools import partial

from engine.cache import SharedCalls, TtlCache
from engine.dns import reference as dns_reference
from engine.dns import tcp as dns_tcp
from engine.dns import wire as dns_wire
from engine.dns.reference import Response
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
from engine.dns.udp import UdpClient

MAX_CNAMES = 8
"""Questions for one name, each for the end of a CNAME chain that the response did not follow."""
CACHE_BYTES = 40 * 1024 * 1024
"""About 60,000 answers of ordinary domains; few of a domain with thousands of records."""
PREFER_TCP_FOR_S = 300
"""How long a server is asked over TCP first after it answered over TCP and not over UDP."""
WITHOUT_EDNS_FOR_S = 300
"""How long a server is asked without EDNS after it answered only so."""


_POLICY = re.compile(r"v\s*=\s*(?:spf1|dmarc1)", re.IGNORECASE)
"""Nothing else is looked for in TXT records, of which a domain may have 60 kB."""
_UDP, _TCP = "udp", "tcp"
_ROUNDS = ((_UDP, True), (_TCP, True), (_UDP, False))
"""The transport, and whether with EDNS. TCP comes second because it often works where UDP packets
are lost or filtered. EDNS is left out at last: some filters drop every packet with it."""


class Resolver:
    """Asks the servers in turn, in up to three rounds, until one gives a definite answer."""

    def __init__(
        self,
        servers: Sequence[NameServer],
        *,
        attempt_timeout_s: float = 2.0,
        timeout_s: float = 6.0,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        """`rng` draws the ids of messages; the default is the system's unpredictable source."""
        rng = rng or random.SystemRandom()
        self._servers = tuple(servers)
        self._rng = rng
        self._udp = {server: UdpClient(server.host, server.port, rng) for server in servers}
        self._attempt_timeout_s = attempt_timeout_s
        self._timeout_s = timeout_s
        self._cache: TtlCache[tuple[str, RecordType], DnsAnswer] = TtlCache(
            cache_bytes, clock, size_of=_size_in_memory
        )
        self._clock = clock
        self._prefer_tcp_until: dict[NameServer, float] = {}
        self._without_edns_until: dict[NameServer, float] = {}
        self._with_edns: set[NameServer] = set()
        """Servers that answered a question with EDNS; if they do not, a packet was lost."""
        self._shared_calls: SharedCalls[tuple[str, RecordType], DnsAnswer] = SharedCalls()

    async def resolve(self, name: str, record_type: RecordType) -> DnsAnswer:
        """The answer for `name`, from the cache if it has not expired.

        Of TXT records it has those of SPF and DMARC alone. Never raises, whatever the name: an
        invalid one gets NXDOMAIN.
        """
        key = (name.lower().rstrip("."), record_type)
        cached = self._cache.get(key)
        if cached is not None:
            return cached
        return await self._shared_calls.run(key, lambda: self._resolve_uncached(*key))

    def get_cached(self, name: str, record_type: RecordType) -> DnsAnswer | None:
        """The answer for `name` if it is in the cache and has not expired."""
        return self._cache.get((name.lower().rstrip("."), record_type))

    async def aclose(self) -> None:
        """Cancel the questions in flight."""
        await self._shared_calls.aclose()

    async def _resolve_uncached(self, name: str, record_type: RecordType) -> DnsAnswer:
        give_up_at = asyncio.get_running_loop().time() + self._timeout_s
        try:
            answer = await self._follow_aliases(name, record_type, give_up_at)
        except TimeoutError:
            answer = DnsAnswer(name, record_type, LookupStatus.TIMEOUT, ttl_s=FAILURE_TTL_S)
        self._cache.put((name, record_type), answer, answer.ttl_s)
        return answer

    async def _follow_aliases(
        self, name: str, record_type: RecordType, give_up_at: float
    ) -> DnsAnswer:
        """Ask for `name`, and then for the end of each CNAME chain that the server left open.

        Raises TimeoutError at `give_up_at`, a time of the event loop.
        """
        try:
            target = dns_wire.encode_name(name) or dns_reference.encode_name(name)
        except DnsFormatError:
            return DnsAnswer(name, record_type, LookupStatus.NXDOMAIN, ttl_s=MAX_NEGATIVE_TTL_S)
        ttl_s = MAX_TTL_S
        for _ in range(MAX_CNAMES):
            response = await self._query_servers(DnsQuestion(target, record_type), give_up_at)
            ttl_s = min(ttl_s, response.ttl_s)
            if response.status is not LookupStatus.NODATA or response.canonical_name == target:
                records = response.records
                if record_type is RecordType.TXT:
                    records = tuple(text for text in records if _POLICY.match(text))
                return DnsAnswer(name, record_type, response.status, records, ttl_s)
            target = response.canonical_name
        return DnsAnswer(name, record_type, LookupStatus.SERVFAIL, ttl_s=FAILURE_TTL_S)

    async def _query_servers(self, question: DnsQuestion, give_up_at: float) -> ParsedResponse:
        """The first definite response; without one, the failure of the last server to respond.

        Raises TimeoutError at `give_up_at`.
        """
        loop = asyncio.get_running_loop()
        failure = LookupStatus.TIMEOUT
        for round_transport, round_edns in _ROUNDS:
            for server in self._servers:
                transport = _TCP if self._prefers_tcp(server) else round_transport
                edns = round_edns and not self._is_asked_without_edns(server)
                left_s = give_up_at - loop.time()
                if left_s <= 0:
                    raise TimeoutError
                try:
                    response = await self._query_server(
                        question,
                        server,
                        transport,
                        edns=edns,
                        timeout_s=min(left_s, self._attempt_timeout_s),
                    )
                except TimeoutError:
                    continue
                except (DnsFormatError, OSError, EOFError) as exc:
                    if transport == _UDP or not isinstance(exc, OSError):
                        failure = LookupStatus.SERVFAIL  # else it has no TCP, which shows nothing
                    continue
                if edns:
                    self._with_edns.add(server)
                elif server not in self._with_edns:
                    self._without_edns_until[server] = self._clock() + WITHOUT_EDNS_FOR_S
                if round_transport == _TCP:
                    # UDP got no answer in the round before: the next questions go over TCP at once.
                    self._prefer_tcp_until[server] = self._clock() + PREFER_TCP_FOR_S
                if response.status.definite:
                    return response
                failure = response.status
            if failure is not LookupStatus.TIMEOUT:
                break  # A server responded; another round would bring the same.
        return ParsedResponse.failed(failure, question)

    def _prefers_tcp(self, server: NameServer) -> bool:
        until = self._prefer_tcp_until.get(server)
        return until is not None and self._clock() < until

    def _is_asked_without_edns(self, server: NameServer) -> bool:
        until = self._without_edns_until.get(server)
        return until is not None and self._clock() < until

    async def _query_server(
        self,
        question: DnsQuestion,
        server: NameServer,
        transport: str,
        *,
        edns: bool,
        timeout_s: float,
    ) -> ParsedResponse:
        """Raises TimeoutError, DnsFormatError, OSError and EOFError."""
        send = partial(self._send, question, server, transport, timeout_s=timeout_s)
        response = await send(edns=edns)
        if not isinstance(response, ParsedResponse) and dns_reference.refuses_edns(response):
            response = await send(edns=False)
        if isinstance(response, ParsedResponse):
            return response
        return dns_reference.interpret(response, question)

    async def _send(
        self,
        question: DnsQuestion,
        server: NameServer,
        transport: str,
        *,
        edns: bool,
        timeout_s: float,
    ) -> Response:
        """Exchange one query and response, over TCP if the UDP response is truncated.

        `timeout_s` bounds each of the two.
        """
        if transport == _UDP:
            response = await self._udp[server].query(question, edns=edns, timeout_s=timeout_s)
            if not dns_reference.is_truncated(response):
                return response
        async with asyncio.timeout(timeout_s):
            return await dns_tcp.query(question, server, self._rng, edns=edns)


def _size_in_memory(answer: DnsAnswer) -> int:
    """Bytes that an answer takes in the cache, about."""
    return 450 + 2 * len(answer.name) + sum(70 + len(record) for record in answer.records)
