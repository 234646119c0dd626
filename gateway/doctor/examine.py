"""One examination: gathers all facts, and has them judged.

Facts that do not depend on each other are gathered concurrently, each with a time limit.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Callable, Sequence

from engine.dns.reference import system_name_servers
from engine.dns.resolver import Resolver
from engine.dns.terms import LookupStatus, NameServer
from engine.smtp.terms import EgressConfig
from gateway.doctor import judge
from gateway.doctor.block_lists import BLOCK_LISTS, BlockList
from gateway.doctor.dns import ask_server
from gateway.doctor.egress import EgressExamination, about
from gateway.doctor.facts import MailHost, PublicAddress
from gateway.doctor.finding import Finding, Level, warn
from gateway.doctor.limits import with_timeout
from gateway.doctor.machine import (
    clock_behind_files_s,
    inspect_database,
    inspect_listen_address,
    inspect_refusals,
)
from gateway.doctor.postgres import examine_postgres
from gateway.doctor.refusals import judge_refusals
from gateway.doctor.shared import examine_shared
from gateway.settings import Settings
from gateway.settings.egress import probe_config

TIMEOUT_S = 10.0
"""Time limit for each fact."""

Clock = Callable[[], float]


async def examine(
    settings: Settings,
    *,
    ip: str = "",
    egress: str = "",
    block_lists: Sequence[BlockList] = BLOCK_LISTS,
    timeout_s: float = TIMEOUT_S,
    rng: random.Random | None = None,
    clock: Clock = time.time,
) -> list[Finding]:
    """All findings, in the order in which they are worth reading.

    `ip` is our public address, if the caller knows it; `egress` names the only one to examine.
    `clock` is Unix time in seconds. Failures of DNS, mail hosts or the disk are findings, never
    exceptions. Raises UnknownEgress.
    """
    config = probe_config(settings, only=egress)
    rng = rng or random.SystemRandom()
    egresses = config.effective_egresses
    examination = _Examination(settings, egresses, timeout_s, rng, clock)
    try:
        return await examination.run(ip, egress, block_lists)
    finally:
        await examination.resolver.aclose()


class _Examination:
    """One examination."""

    def __init__(
        self,
        settings: Settings,
        egresses: Sequence[EgressConfig],
        timeout_s: float,
        rng: random.Random,
        clock: Clock,
    ) -> None:
        engine = settings.engine
        self.egresses = egresses
        self.public_addresses: defaultdict[str, PublicAddress] = defaultdict(PublicAddress)
        for one in settings.egress:
            if one.public_address:
                source = "given in the settings"
                self.public_addresses[one.name] = PublicAddress(one.public_address, source)
        self.settings = settings
        self.engine = engine
        self.timeout_s = timeout_s
        self.rng = rng
        self.clock = clock
        self.servers = tuple(map(NameServer.parse, engine.dns_servers)) or system_name_servers()
        self.resolver = Resolver(self.servers, timeout_s=timeout_s)

    async def run(self, ip: str, only: str, block_lists: Sequence[BlockList]) -> list[Finding]:
        url = self.settings.storage.full_url
        machine = asyncio.gather(
            with_timeout(self.timeout_s, inspect_database(url), None),
            with_timeout(self.timeout_s, inspect_listen_address(self.settings.server), None),
            with_timeout(self.timeout_s, inspect_refusals(url, self.clock()), None),
            with_timeout(self.timeout_s, examine_shared(self.settings.shared), None),
            with_timeout(self.timeout_s, examine_postgres(self.settings), None),
        )
        servers = await asyncio.gather(
            *(ask_server(server, self.timeout_s, self.rng) for server in self.servers)
        )
        found = [judge.dns_server(server) for server in servers]
        if any(server.status is LookupStatus.OK for server in servers):
            given = PublicAddress(ip, "given with --ip") if ip else PublicAddress()
            hosts, outside = await self._examine_network(given, block_lists)
            found += outside
        else:
            hosts = []
            text = "no DNS server answers, so nothing outside this machine could be checked"
            found.append(warn("outside", "", text, "Fix DNS first, then run the doctor again."))
            found += [
                about(egress, judge.helo_name(egress.identity.helo)) for egress in self.egresses
            ]
        database, listen, refusals, shared, postgres = await machine
        if refusals:
            found += judge_refusals(refusals.of_egress(only) if only else refusals)
        else:
            found.append(self._timed_out("refused"))
        found.append(judge.clock(hosts, clock_behind_files_s(url, self.clock())))
        found.append(judge.database(database) if database else self._timed_out("database"))
        found += [self._timed_out("postgres")] if postgres is None else postgres
        found += [self._timed_out("shared")] if shared is None else shared
        found.append(judge.listen_address(listen) if listen else self._timed_out("listen"))
        return found

    async def _examine_network(
        self, given: PublicAddress, block_lists: Sequence[BlockList]
    ) -> tuple[list[MailHost], list[Finding]]:
        """What can be found out by each egress, in the order of the settings."""
        examined = await asyncio.gather(
            *(
                EgressExamination(
                    self.engine,
                    egress,
                    self.resolver,
                    timeout_s=self.timeout_s,
                    rng=self.rng,
                    clock=self.clock,
                ).run(given if given.ip else self.public_addresses[egress.name], block_lists)
                for egress in self.egresses
            )
        )
        hosts = [host for found, _ in examined for host in found]
        return hosts, [finding for _, found in examined for finding in found]

    def _timed_out(self, check: str) -> Finding:
        text = f"not finished within {self.timeout_s:g} s"
        return Finding(
            check, "", Level.WARN, text, "Run the doctor again when the machine is less busy."
        )
