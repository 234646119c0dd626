"""The probe: verifies addresses by DNS and SMTP of our own.

It collects the evidence (lists, the mail route and policies in DNS, the mail hosts' replies), and
has it judged and scored.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import time
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from engine.address.domains import registrable_domain
from engine.address.lists import is_disposable_host
from engine.address.offline import offline_evidence
from engine.bulk.calls import BulkProbe
from engine.dns.mx import resolve_route
from engine.dns.policies import has_dmarc, has_spf
from engine.dns.reference import system_name_servers
from engine.dns.resolver import Resolver
from engine.dns.terms import MailRoute, NameServer
from engine.model import (
    Address,
    Checks,
    Dns,
    Evidence,
    Step,
    Verification,
    VerificationStream,
)
from engine.sharing import UNSHARED, SharedState
from engine.smtp.context import (
    CatchAllCache,
    Deadline,
    ProbeContext,
    ProbeLimits,
)
from engine.smtp.dialogue import tls_context
from engine.smtp.egress import Egress, EgressSet
from engine.smtp.inquiry import Inquiry
from engine.smtp.providers import provider_of
from engine.smtp.reply import compile_rules
from engine.smtp.terms import EgressConfig, EgressStrategy, Identity
from engine.verification import verification_from_evidence

UNREACHABLE_SHARE = 0.8
"""Of the wait before a batch's first retry: so long a domain counts as unreachable."""
POLICY_GRACE_S = 2.0
"""How long SPF and DMARC look-ups may take once the mail hosts have replied."""


@dataclass(frozen=True, slots=True)
class ProbeConfig:
    """How the probe introduces itself, which servers it asks, and its limits."""

    helo: str = "localhost"
    """A name that resolves to our IP address, and that the address's PTR record names."""
    mail_from: str = ""
    """MAIL FROM; empty for the null sender."""
    dns_servers: tuple[str, ...] = ()
    """`host:port` each; empty for those of /etc/resolv.conf."""
    smtp_port: int = 25
    allow_private_networks: bool = False
    """Whether loopback, private and other special addresses may be connected to."""
    connect_timeout_s: float = 5.0
    command_timeout_s: float = 10.0
    """For the banner and for each reply."""
    deadline_s: float = 30.0
    """For a whole verification."""
    connections_per_host: int = 4
    """At a time, for each operator of mail hosts."""
    recipients_per_connection: int = 100
    greylist_retries_s: tuple[float, ...] = (5, 60, 300)
    """Waits before a greylisted address is asked about again, within the deadline."""
    egresses: tuple[EgressConfig, ...] = ()
    """The ways out to mail hosts; empty for one as the fields above say."""
    egress_strategy: EgressStrategy = EgressStrategy.WEIGHTED

    @property
    def effective_egresses(self) -> tuple[EgressConfig, ...]:
        """`egresses`, or the only one if there are none."""
        identity = Identity(self.helo, self.mail_from)
        only = EgressConfig(identity, connections_per_host=self.connections_per_host)
        return self.egresses or (only,)


class ProbeEngine:
    """Verifies addresses. Made by `open`, closed by `aclose`."""

    def __init__(
        self,
        context: ProbeContext,
        *,
        deadline_s: float,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        recipients_per_connection: int = 100,
    ) -> None:
        self._context = context
        self._deadline_s = deadline_s
        self._now = now
        self._recipients_per_connection = recipients_per_connection
        self._bulk: BulkProbe | None = None

    @classmethod
    def open(
        cls,
        config: ProbeConfig,
        *,
        rng: random.Random | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        shared: SharedState = UNSHARED,
    ) -> ProbeEngine:
        """Make an engine; ValueError if a DNS server in `config` is not an address.

        `shared` is what it shares with other processes.
        """
        compile_rules()
        rng = rng or random.SystemRandom()
        servers = (
            tuple(NameServer.parse(text) for text in config.dns_servers) or system_name_servers()
        )
        limits = ProbeLimits(
            port=config.smtp_port,
            allow_private_networks=config.allow_private_networks,
            connect_timeout_s=config.connect_timeout_s,
            command_timeout_s=config.command_timeout_s,
            greylist_pauses_s=tuple(config.greylist_retries_s),
        )
        context = ProbeContext(
            egresses=EgressSet(
                [Egress(one, clock, now, shared) for one in config.effective_egresses],
                config.egress_strategy,
                clock,
            ),
            limits=limits,
            resolver=Resolver(servers, clock=clock),
            rng=rng,
            tls=tls_context(),
            clock=clock,
            now=now,
            catch_all_cache=CatchAllCache(clock, shared.notes),
        )
        return cls(
            context,
            deadline_s=config.deadline_s,
            now=now,
            recipients_per_connection=config.recipients_per_connection,
        )

    @property
    def egresses(self) -> EgressSet:
        """The ways out to mail hosts, and what was learnt of each."""
        return self._context.egresses

    async def verify(
        self, address: Address, checks: Checks = Checks(), deadline_s: float | None = None
    ) -> Verification:
        """Verify `address` within `deadline_s` seconds (default: the configured deadline).

        Never raises for what an address, DNS or a mail server does.
        """
        # Before the clock starts: the first calls read lists, in which the network has no part.
        evidence = offline_evidence(address)
        if address.valid:
            registrable_domain(address.ascii_domain)
        started = self._context.clock()
        transcript = _Transcript(self._context.clock)
        control_deferred = False
        if address.valid and (checks.dns or checks.smtp):
            limit_s = self._deadline_s if deadline_s is None else deadline_s
            deadline = Deadline(limit_s, self._context.clock)
            evidence, control_deferred = await self._collect_evidence(
                address, evidence, checks, deadline, transcript
            )
        evidence = replace(evidence, transcript=tuple(transcript.steps))
        return verification_from_evidence(
            address,
            evidence,
            checks,
            verified_at=self._now(),
            duration_s=self._context.clock() - started,
            control_deferred=control_deferred,
        )

    def verify_many(
        self, addresses: Iterable[Address], checks: Checks = Checks()
    ) -> VerificationStream:
        """Verify a list, however long; its verifications come in any order.

        They are those of `verify`, with three exceptions: a greylisted address is not waited
        for, the names of people are not guessed, and there is no transcript. Addresses of one
        domain are best kept together.

        At most `engine.bulk.calls.MAX_IN_FLIGHT_PER_CALL` addresses are read ahead of the
        results taken, so a slow consumer slows the engine. A consumer that may stop early
        closes the stream (`contextlib.aclosing`). Only a bug is raised, at the end; the
        addresses without a result by then are left out.
        """
        if self._bulk is None:
            limits = replace(self._context.limits, greylist_pauses_s=(), bulk=True)
            context = replace(self._context, limits=limits)
            first_retry_s = min(self._context.limits.greylist_pauses_s, default=math.inf)
            self._bulk = BulkProbe(
                context,
                ProbeEngine(context, deadline_s=self._deadline_s, now=self._now),
                now=self._now,
                recipients_per_connection=self._recipients_per_connection,
                unreachable_for_s=UNREACHABLE_SHARE * first_retry_s,
            )
        return self._bulk.verify_many(addresses, checks)

    async def aclose(self) -> None:
        """Close the connections that are still open; no verification should be running."""
        if self._bulk is not None:
            await self._bulk.aclose()
        await self._context.pending_quits.aclose()
        await self._context.resolver.aclose()

    async def _collect_evidence(
        self,
        address: Address,
        evidence: Evidence,
        checks: Checks,
        deadline: Deadline,
        transcript: _Transcript,
    ) -> tuple[Evidence, bool]:
        """The evidence, and whether the control was refused for now."""
        control_deferred = False
        domain = address.ascii_domain
        policies = (
            asyncio.ensure_future(self._look_up_policies(domain)) if checks.policies else None
        )
        try:
            route = await self._resolve_route(domain, deadline)
            transcript.add_route(domain, route)
            evidence = replace(
                evidence,
                dns=route.dns,
                mx=route.hosts,
                provider=next(filter(None, (provider_of(mx.host) for mx in route.hosts)), None),
                disposable=evidence.disposable
                or any(is_disposable_host(mx.host) for mx in route.hosts),
            )
            if checks.smtp and route.dns.can_receive:
                inquiry = Inquiry(
                    self._context,
                    address,
                    route,
                    catch_all=checks.catch_all,
                    deadline=deadline,
                    trace=transcript.add,
                )
                result = await inquiry.run()
                evidence = result.merged_into(evidence)
                control_deferred = result.control_deferred
            if policies is not None:
                grace_s = min(POLICY_GRACE_S, max(deadline.left_s, 0.05))
                done, _ = await asyncio.wait({policies}, timeout=grace_s)
                if done:
                    spf, dmarc = policies.result()
                    evidence = replace(evidence, spf=spf, dmarc=dmarc)
            return evidence, control_deferred
        finally:
            if policies is not None:
                policies.cancel()
                await asyncio.gather(policies, return_exceptions=True)

    async def _resolve_route(self, domain: str, deadline: Deadline) -> MailRoute:
        try:
            async with asyncio.timeout(deadline.left_s):
                return await resolve_route(
                    self._context.resolver,
                    domain,
                    self._context.rng,
                    counts_local=self._context.limits.allow_private_networks,
                )
        except TimeoutError:
            return MailRoute(Dns.TIMEOUT)

    async def _look_up_policies(self, domain: str) -> tuple[bool | None, bool | None]:
        resolver = self._context.resolver
        spf, dmarc = await asyncio.gather(has_spf(resolver, domain), has_dmarc(resolver, domain))
        return spf, dmarc


class _Transcript:
    """Collects the lines of `Evidence.transcript`."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._started = clock()
        self.steps: list[Step] = []

    def add(self, who: str, what: str) -> None:
        at_ms = round((self._clock() - self._started) * 1000)
        step = Step(at_ms, who, what[:MAX_STEP_CHARACTERS])
        self.steps.append(step)
        watcher = _watcher.get()
        if watcher is not None:
            watcher(step)

    def add_route(self, domain: str, route: MailRoute) -> None:
        hosts = ", ".join(f"{mx.preference} {mx.host}" for mx in route.hosts[:5])
        more = f" and {len(route.hosts) - 5} more" if len(route.hosts) > 5 else ""
        self.add(
            "dns", f"MX of {domain}: {hosts}{more}" if hosts else f"MX of {domain}: {route.dns}"
        )


_watcher: ContextVar[Callable[[Step], None] | None] = ContextVar("watcher", default=None)


@contextlib.contextmanager
def watching(on_step: Callable[[Step], None]) -> Iterator[None]:
    """Have `on_step` called for each line of the transcripts of verifications that begin inside,
    also in tasks that are made inside, as soon as there is one."""
    token = _watcher.set(on_step)
    try:
        yield
    finally:
        _watcher.reset(token)


MAX_STEP_CHARACTERS = 1_000
"""Characters of one transcript line."""
