"""What can be found out by one egress: port 25, the address that mail hosts see, its names."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from engine.dns.resolver import Resolver
from engine.dns.terms import LookupStatus
from engine.model import Dns
from engine.smtp.terms import DEFAULT_EGRESS, EgressConfig
from gateway.doctor import judge
from gateway.doctor.block_lists import BlockList, Listing, ListingState
from gateway.doctor.dns import look_up_listing, look_up_mail_domain, look_up_names
from gateway.doctor.facts import (
    WELL_KNOWN_DOMAINS,
    MailHost,
    NameRecords,
    PublicAddress,
    find_public_address,
)
from gateway.doctor.finding import Finding
from gateway.doctor.limits import with_timeout
from gateway.doctor.mail_hosts import greet_mail_host, outgoing_ip
from gateway.doctor.spf import SpfCheck, SpfResult, check_host
from gateway.settings.probe import EngineSettings


class EgressExamination:
    """The examination of one egress."""

    def __init__(
        self,
        engine: EngineSettings,
        egress: EgressConfig,
        resolver: Resolver,
        *,
        timeout_s: float,
        rng: random.Random,
        clock: Callable[[], float],
    ) -> None:
        self._engine = engine
        self._egress = egress
        self._identity = egress.identity
        self._resolver = resolver
        self._timeout_s = timeout_s
        self._rng = rng
        self._clock = clock

    async def run(
        self, given: PublicAddress, block_lists: Sequence[BlockList]
    ) -> tuple[list[MailHost], list[Finding]]:
        """The mail hosts that were greeted, and the findings. `given` may be empty."""
        answers = await asyncio.gather(
            *(with_timeout(self._timeout_s, self._greet(d), None) for d in WELL_KNOWN_DOMAINS)
        )
        hosts = [host for host in answers if host is not None]
        allow = self._engine.allow_private_networks
        ours = find_public_address(given, hosts, self._local_ip(given, hosts), allow)
        found = [
            *judge.egress_works(self._egress, hosts),
            judge.port_25(hosts, self._engine.smtp_port, self._egress),
            *judge.greetings(hosts),
            judge.public_address(ours),
            judge.helo_name(self._identity.helo),
            *await self._judge_names(ours, block_lists),
        ]
        return hosts, [about(self._egress, finding) for finding in found]

    async def _judge_names(
        self, ours: PublicAddress, block_lists: Sequence[BlockList]
    ) -> list[Finding]:
        """Findings about our names and our address, from DNS."""
        helo, sender = self._identity.helo, self._identity.sender
        # a list without IPv6 entries cannot list such an address
        queried = [entry for entry in block_lists if entry.ipv6 or ":" not in ours.ip]
        unreachable = Listing(ListingState.UNREACHABLE)
        resolver, timeout_s = self._resolver, self._timeout_s
        names, dns, spf, listings = await asyncio.gather(
            with_timeout(
                timeout_s,
                look_up_names(resolver, helo, ours.ip),
                NameRecords(LookupStatus.TIMEOUT, ptr_status=LookupStatus.TIMEOUT),
            ),
            with_timeout(timeout_s, look_up_mail_domain(resolver, sender, self._rng), Dns.TIMEOUT),
            with_timeout(
                timeout_s,
                self._check_spf(ours),
                SpfCheck(SpfResult.TEMPERROR, "no answer in time"),
            ),
            asyncio.gather(
                *(
                    with_timeout(timeout_s, look_up_listing(resolver, e, ours.ip), unreachable)
                    for e in queried
                )
            ),
        )
        domain = sender.rpartition("@")[2] or helo
        return [
            judge.helo_address(helo, names, ours),
            judge.ptr(helo, names, ours),
            judge.mail_from(sender, dns),
            judge.spf(domain, spf, ours),
            *(
                judge.block_list(entry, listing, ours)
                for entry, listing in zip(queried, listings, strict=True)
            ),
        ]

    def _local_ip(self, given: PublicAddress, hosts: Sequence[MailHost]) -> str:
        """The address that connections leave this machine from; empty for those of a proxy."""
        if self._egress.proxy is not None:
            return ""
        towards = given.ip or next((host.ip for host in hosts if host.ip), "")
        return self._egress.source_address or outgoing_ip(towards)

    async def _greet(self, domain: str) -> MailHost | None:
        return await greet_mail_host(
            domain,
            self._resolver,
            self._engine,
            self._egress,
            timeout_s=self._timeout_s,
            rng=self._rng,
            clock=self._clock,
        )

    async def _check_spf(self, ours: PublicAddress) -> SpfCheck | None:
        if not ours.ip:
            return None
        identity = self._identity
        return await check_host(
            self._resolver, ours.ip, identity.sender, identity.helo, self._clock
        )


def about(egress: EgressConfig, finding: Finding) -> Finding:
    """`finding`, with the name of its egress, if it is one that is configured."""
    if egress.name == DEFAULT_EGRESS:
        return finding
    advice = finding.advice
    for setting in ("helo", "mail_from"):
        advice = advice.replace(f"engine.{setting}", f"{setting} of this egress")
    return replace(finding, egress=egress.name, advice=advice)
