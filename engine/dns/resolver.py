"""DNS questions and their answers: asks, caches, and tells the ways of failing apart.

Speaks to recursive or authoritative servers over UDP with EDNS (RFC 6891) and falls back to
TCP for truncated answers (RFC 7766). Answers are kept for their TTL, negative ones for that
of the SOA (RFC 2308 section 5), failures for a few seconds (RFC 9520).
"""

from __future__ import annotations

import asyncio
import ipaddress
import random
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from engine.cache import SingleFlight, TtlCache
from engine.dns import reference as dns_reference
from engine.dns import wire as dns_wire
from engine.dns.reference import Unreadable
from engine.dns.terms import (
    FAILURE_TTL_S,
    MAX_NEGATIVE_TTL_S,
    MAX_TTL_S,
    Kind,
    Outcome,
    Question,
    Status,
)
from engine.dns.udp import Reply, UdpServer

__all__ = ["Answer", "Kind", "Resolver", "Server", "Status", "system_servers"]

MAX_CNAMES = 8
CACHE_SIZE = 100_000
OVER_TCP_S = 300
"""How long a server that answered over TCP alone is asked over TCP at once."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What DNS said to one question."""

    name: str
    kind: Kind
    status: Status
    records: tuple[str, ...] = ()
    """As in `Outcome`."""
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
    return tuple(Server(host, port) for host, port in dns_reference.system_servers())


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
        rng: random.Random | None = None,
    ) -> None:
        """`rng` makes the ids of messages; by default the system's, which cannot be foretold."""
        rng = rng or random.SystemRandom()
        self._servers = tuple(servers)
        self._udp = {server: UdpServer(server.host, server.port, rng) for server in servers}
        self._attempt_timeout_s = attempt_timeout_s
        self._timeout_s = timeout_s
        self._cache: TtlCache[tuple[str, Kind], Answer] = TtlCache(CACHE_SIZE, clock)
        self._clock = clock
        self._over_tcp_until: dict[Server, float] = {}
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
            target = dns_wire.to_wire(name) or dns_reference.to_wire(name)
        except Unreadable:
            # Such a name cannot exist.
            return Answer(name, kind, Status.NXDOMAIN, ttl_s=MAX_NEGATIVE_TTL_S)
        ttl_s = MAX_TTL_S
        for _ in range(MAX_CNAMES):
            found = await self._question(Question(target, kind))
            ttl_s = min(ttl_s, found.ttl_s)
            if found.status is not Status.NODATA or found.end == target:
                return Answer(name, kind, found.status, found.records, ttl_s)
            target = found.end
        return Answer(name, kind, Status.SERVFAIL, ttl_s=FAILURE_TTL_S)

    async def _question(self, question: Question) -> Outcome:
        worst = Status.TIMEOUT
        for usual in _ROUNDS:
            for server in self._servers:
                transport = _TCP if self._is_over_tcp(server) else usual
                try:
                    outcome = await self._exchange(question, server, transport)
                except TimeoutError:
                    continue
                except (Unreadable, OSError, EOFError):
                    worst = Status.SERVFAIL
                    continue
                if usual == _TCP:
                    # UDP was tried first and had no answer: spare the next questions the wait.
                    self._over_tcp_until[server] = self._clock() + OVER_TCP_S
                if outcome.status.definite:
                    return outcome
                worst = outcome.status
            if worst is not Status.TIMEOUT:
                break  # every server was asked and at least one spoke: asking again is no use
        return Outcome.failed(worst, question)

    def _is_over_tcp(self, server: Server) -> bool:
        until = self._over_tcp_until.get(server)
        return until is not None and self._clock() < until

    async def _exchange(self, question: Question, server: Server, transport: str) -> Outcome:
        """What `server` says; TimeoutError, Unreadable, OSError, EOFError."""
        reply = await self._send(question, server, transport)
        if not isinstance(reply, Outcome) and dns_reference.refuses_edns(reply):
            reply = await self._send(question, server, transport, edns=False)
        return reply if isinstance(reply, Outcome) else dns_reference.outcome(reply, question)

    async def _send(
        self, question: Question, server: Server, transport: str, *, edns: bool = True
    ) -> Reply:
        """One exchange, moved to TCP if the answer did not fit."""
        if transport == _UDP:
            async with asyncio.timeout(self._attempt_timeout_s):
                reply = await self._udp[server].ask(question, edns=edns)
            if isinstance(reply, Outcome) or not dns_reference.is_truncated(reply):
                return reply
        async with asyncio.timeout(self._attempt_timeout_s):
            return await dns_reference.ask_over_tcp(question, server.host, server.port, edns=edns)
