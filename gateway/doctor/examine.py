"""One examination: gathers all facts, and has them judged.

Facts that do not depend on each other are gathered concurrently, each with a time limit.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from engine.dns.reference import system_name_servers
from engine.dns.resolver import Resolver
from engine.dns.terms import LookupStatus, NameServer
from engine.model import Dns
from gateway.doctor import judge
from gateway.doctor.block_lists import BLOCK_LISTS, BlockList, Listing, ListingState
from gateway.doctor.dns import ask_server, look_up_listing, look_up_mail_domain, look_up_names
from gateway.doctor.facts import (
    WELL_KNOWN_DOMAINS,
    MailHost,
    NameRecords,
    PublicAddress,
    find_public_address,
)
from gateway.doctor.finding import Finding, Level, warn
from gateway.doctor.machine import (
    clock_behind_files_s,
    inspect_database,
    inspect_listen_address,
    inspect_refusals,
)
from gateway.doctor.mail_hosts import greet_mail_host, outgoing_ip
from gateway.doctor.refusals import judge_refusals
from gateway.doctor.spf import SpfCheck, SpfResult, check_host
from gateway.settings import Settings

TIMEOUT_S = 10.0
"""Time limit for each fact."""

Clock = Callable[[], float]
T = TypeVar("T")


async def examine(
    settings: Settings,
    *,
    ip: str = "",
    block_lists: Sequence[BlockList] = BLOCK_LISTS,
    timeout_s: float = TIMEOUT_S,
    rng: random.Random | None = None,
    clock: Clock = time.time,
) -> list[Finding]:
    """All findings, in the order in which they are worth reading.

    `ip` is our public address, if the caller knows it; `clock` is Unix time in seconds. Failures
    of DNS, mail hosts or the disk are findings, never exceptions.
    """
    examination = _Examination(settings, timeout_s, rng or random.SystemRandom(), clock)
    try:
        return await examination.run(ip, block_lists)
    finally:
        await examination.resolver.aclose()


class _Examination:
    """One examination."""

    def __init__(
        self, settings: Settings, timeout_s: float, rng: random.Random, clock: Clock
    ) -> None:
        engine = settings.engine
        self.settings = settings
        self.engine = engine
        self.timeout_s = timeout_s
        self.rng = rng
        self.clock = clock
        self.servers = tuple(map(NameServer.parse, engine.dns_servers)) or system_name_servers()
        self.resolver = Resolver(self.servers, timeout_s=timeout_s)

    async def run(self, ip: str, block_lists: Sequence[BlockList]) -> list[Finding]:
        url = self.settings.storage.full_url
        machine = asyncio.gather(
            self._with_timeout(inspect_database(url), None),
            self._with_timeout(inspect_listen_address(self.settings.server), None),
            self._with_timeout(inspect_refusals(url, self.clock()), None),
        )
        servers = await asyncio.gather(
            *(ask_server(server, self.timeout_s, self.rng) for server in self.servers)
        )
        found = [judge.dns_server(server) for server in servers]
        if any(server.status is LookupStatus.OK for server in servers):
            hosts, outside = await self._examine_network(ip, block_lists)
            found += outside
        else:
            hosts = []
            text = "no DNS server answers, so nothing outside this machine could be checked"
            found.append(warn("outside", "", text, "Fix DNS first, then run the doctor again."))
            found.append(judge.helo_name(self.engine.helo))
        database, listen, refusals = await machine
        found += judge_refusals(refusals) if refusals else [self._timed_out("refused")]
        found.append(judge.clock(hosts, clock_behind_files_s(url, self.clock())))
        found.append(judge.database(database) if database else self._timed_out("database"))
        found.append(judge.listen_address(listen) if listen else self._timed_out("listen"))
        return found

    async def _examine_network(
        self, ip: str, block_lists: Sequence[BlockList]
    ) -> tuple[list[MailHost], list[Finding]]:
        answers = await asyncio.gather(
            *(self._with_timeout(self._greet_mail_host(d), None) for d in WELL_KNOWN_DOMAINS)
        )
        hosts = [host for host in answers if host is not None]
        local = outgoing_ip(ip or next((host.ip for host in hosts if host.ip), ""))
        allow = self.engine.allow_private_networks
        ours = find_public_address(ip, hosts, local, allow)
        sender = self.engine.mail_from
        # a list without IPv6 entries cannot list such an address
        queried = [entry for entry in block_lists if entry.ipv6 or ":" not in ours.ip]
        unreachable = Listing(ListingState.UNREACHABLE)
        names, dns, spf, listings = await asyncio.gather(
            self._with_timeout(
                look_up_names(self.resolver, self.engine.helo, ours.ip),
                NameRecords(LookupStatus.TIMEOUT, ptr_status=LookupStatus.TIMEOUT),
            ),
            self._with_timeout(look_up_mail_domain(self.resolver, sender, self.rng), Dns.TIMEOUT),
            self._with_timeout(
                self._check_spf(ours), SpfCheck(SpfResult.TEMPERROR, "no answer in time")
            ),
            asyncio.gather(
                *(
                    self._with_timeout(look_up_listing(self.resolver, e, ours.ip), unreachable)
                    for e in queried
                )
            ),
        )
        domain = sender.rpartition("@")[2] or self.engine.helo
        found = [
            judge.port_25(hosts, self.engine.smtp_port),
            *judge.greetings(hosts),
            judge.public_address(ours),
            judge.helo_name(self.engine.helo),
            judge.helo_address(self.engine.helo, names, ours),
            judge.ptr(self.engine.helo, names, ours),
            judge.mail_from(sender, dns),
            judge.spf(domain, spf, ours),
        ]
        for entry, listing in zip(queried, listings, strict=True):
            found.append(judge.block_list(entry, listing, ours))
        return hosts, found

    async def _with_timeout(self, work: Awaitable[T], default: T) -> T:
        try:
            async with asyncio.timeout(self.timeout_s):
                return await work
        except TimeoutError:
            return default

    def _timed_out(self, check: str) -> Finding:
        text = f"not finished within {self.timeout_s:g} s"
        return Finding(
            check, "", Level.WARN, text, "Run the doctor again when the machine is less busy."
        )

    async def _greet_mail_host(self, domain: str) -> MailHost | None:
        return await greet_mail_host(
            domain,
            self.resolver,
            self.engine,
            timeout_s=self.timeout_s,
            rng=self.rng,
            clock=self.clock,
        )

    async def _check_spf(self, ours: PublicAddress) -> SpfCheck | None:
        if not ours.ip:
            return None
        engine = self.engine
        return await check_host(self.resolver, ours.ip, engine.mail_from, engine.helo, self.clock)
