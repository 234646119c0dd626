"""Many addresses at once: grouped by domain, domains by mail host, connections kept.

What a mail host says of a mailbox in so many words is taken from the kept connection
(`engine.bulk.host_pool`); whatever else happens is asked again by the single path, one address at a
time, so that both give the same answers. A greylisted address is handed back as such at once:
whoever keeps a list asks again later.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import islice
from typing import NamedTuple, Protocol

from engine.address import lists
from engine.address.offline import with_list_evidence
from engine.bulk.host_pool import RECONNECT_PAUSES_S, HostPool
from engine.bulk.transaction import ConnectionInfo, DomainGroup, PendingAddress
from engine.cache import TtlCache
from engine.dns.mx import resolve_addresses, resolve_route
from engine.dns.policies import has_dmarc, has_spf
from engine.dns.targets import is_global
from engine.dns.terms import MailRoute
from engine.model import (
    Address,
    Checks,
    Dns,
    Evidence,
    Meaning,
    Reason,
    Smtp,
    Stage,
    Verification,
    VerificationStream,
)
from engine.smtp.catch_all import accepts_all, compare_with_control, control_local_part
from engine.smtp.context import CATCH_ALL_CACHE_SIZE, CATCH_ALL_TTL_S, ProbeContext
from engine.smtp.inquiry import InquiryResult
from engine.smtp.meanings import NO_CONTACT
from engine.smtp.providers import pacing_operator, provider_of
from engine.smtp.terms import CONNECTION_STAGES, RcptReply, Target
from engine.verification import verification_from_evidence

MAX_IN_FLIGHT_PER_CALL = 10_000
"""Addresses of one call that were read, and whose results were not taken yet."""
PARSE_BURST = 500
"""Addresses read without a pause for others."""
MAX_DOMAIN_LOOKUPS = 64
"""Looked up in DNS at a time."""
DNS_DEADLINE_S = 15.0
"""For the route and the policies of a domain."""
MAX_SINGLE_PROBES = 100
MAX_CONNECTIONS = 400
"""Of all lanes together."""
MAX_HOST_POOLS = 5_000
"""Mail hosts whose manners are remembered."""
UNREACHABLE_DOMAIN_FOR_S = 60.0
"""How long a domain whose hosts cannot be asked is not tried again."""
MAX_SKIPPED_HOSTS = 5
"""Mail hosts of a domain that do not answer, before the single path is left to find one."""
MAX_SILENT_IN_A_ROW = 5
"""Addresses that a host fell silent at, or was too busy for however long they waited; then
the others of its domain are not tried."""


class SingleProbe(Protocol):
    """The single path."""

    async def verify(
        self, address: Address, checks: Checks = Checks(), deadline_s: float | None = None
    ) -> Verification: ...


class BulkProbe:
    """What the bulk calls of one engine share."""

    def __init__(
        self,
        context: ProbeContext,
        single: SingleProbe,
        *,
        now: Callable[[], datetime],
        connections_per_host: int,
        recipients_per_connection: int,
    ) -> None:
        """`single` should not wait for greylisting."""
        self.context = context
        self.single = single
        self.now = now
        self.connections_per_host = connections_per_host
        self._recipients_per_connection = recipients_per_connection
        self._pools: dict[tuple[str, str], HostPool] = {}
        self._connection_slots = asyncio.Semaphore(MAX_CONNECTIONS)
        self.lookup_slots = asyncio.Semaphore(MAX_DOMAIN_LOOKUPS)
        self.single_slots = asyncio.Semaphore(MAX_SINGLE_PROBES)
        self.control_addresses: TtlCache[str, str] = TtlCache(CATCH_ALL_CACHE_SIZE, context.clock)
        """Control addresses: the same on every try, so that greylisting knows them again."""
        self.control_refusals: TtlCache[tuple[str, str], RcptReply] = TtlCache(
            CATCH_ALL_CACHE_SIZE, context.clock
        )
        """How controls were refused, by domain and operator."""
        self.unreachable_domains: TtlCache[str, Evidence] = TtlCache(
            CATCH_ALL_CACHE_SIZE, context.clock
        )

    def verify_many(self, addresses: Iterable[Address], checks: Checks) -> VerificationStream:
        """As `ProbeEngine.verify_many`."""
        return _BulkCall(self, checks).verifications(addresses)

    def pool_for(self, target: Target) -> HostPool:
        key = target.host, target.ip
        lane = self._pools.get(key)
        if lane is None:
            if len(self._pools) >= MAX_HOST_POOLS:
                self._evict_idle_pools()
            lane = self._pools[key] = HostPool(
                self.context,
                target,
                max_connections=self.connections_per_host,
                recipients_per_connection=self._recipients_per_connection,
                connection_slots=self._connection_slots,
            )
        return lane

    def has_connected(self, smtp: Smtp) -> bool:
        """Whether the host that `smtp` is of has spoken to a list before."""
        lane = self._pools.get((smtp.host or "", smtp.ip or ""))
        return lane is not None and lane.has_connected

    def control_address(self, domain: str) -> str:
        control = self.control_addresses.get(domain)
        if control is None:
            control = f"{control_local_part(self.context.rng.choice)}@{domain}"
            self.control_addresses.put(domain, control, CATCH_ALL_TTL_S)
        return control

    async def aclose(self) -> None:
        """Cut what is still open; calls should be over."""
        for lane in self._pools.values():
            await lane.aclose()

    def _evict_idle_pools(self) -> None:
        idle = sorted((lane.last_used_s, key) for key, lane in self._pools.items() if lane.idle)
        for _, key in idle[: MAX_HOST_POOLS // 10 + 1]:
            del self._pools[key]


class _BulkCall:
    """One list of addresses on its way to the consumer of its verifications."""

    tasks: asyncio.TaskGroup

    def __init__(self, bulk: BulkProbe, checks: Checks) -> None:
        self.bulk = bulk
        self.checks = checks
        self.is_active = True
        self.failure: Exception | None = None
        self._unanswered = 0
        self._results: asyncio.Queue[tuple[Address, Verification] | None] = asyncio.Queue()
        """Results that are not taken yet, then None; `_start_addresses` bounds it."""
        self._progress = asyncio.Event()
        """Set when an address was answered and when a result was taken."""

    async def verifications(self, addresses: Iterable[Address]) -> VerificationStream:
        """Run the list in a task of its own, and yield its results."""
        running = asyncio.create_task(self._run(iter(addresses)))
        try:
            while (result := await self._results.get()) is not None:
                self._progress.set()
                yield result
            await running
        finally:
            self.is_active = False
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def _run(self, addresses: Iterator[Address]) -> None:
        try:
            async with asyncio.TaskGroup() as self.tasks:
                try:
                    while await self._start_addresses(addresses):
                        await self._wait_for_progress(
                            lambda: self._in_flight <= MAX_IN_FLIGHT_PER_CALL // 2
                        )
                    await self._wait_for_progress(lambda: self._unanswered == 0)
                finally:
                    self.is_active = False
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
        finally:
            self._results.put_nowait(None)

    @property
    def _in_flight(self) -> int:
        """Addresses that were read and whose results were not taken."""
        return self._unanswered + self._results.qsize()

    async def _start_addresses(self, addresses: Iterator[Address]) -> bool:
        """Start some addresses; False if there are no more."""
        domains: dict[str, list[PendingAddress]] = {}
        more = True
        for _ in range(MAX_IN_FLIGHT_PER_CALL // 2 // PARSE_BURST):
            some = list(islice(addresses, PARSE_BURST))
            more = len(some) == PARSE_BURST
            for address in some:
                self._assign(address, domains)
            if not more:
                break
            await asyncio.sleep(0)
        lookups = self.bulk.lookup_slots
        for domain, asked in domains.items():
            await lookups.acquire()
            task = self.tasks.create_task(_DomainProbe(self, domain, asked).start())
            task.add_done_callback(lambda _: lookups.release())
        return more

    async def _wait_for_progress(self, is_enough: Callable[[], bool]) -> None:
        """Wait until `is_enough`. Raises the failure for which some addresses get no answer."""
        while self.failure is None and not is_enough():
            self._progress.clear()
            await self._progress.wait()
        if self.failure is not None:
            raise self.failure

    def deliver(self, address: Address, verification: Verification) -> None:
        self._unanswered -= 1
        if self.is_active:
            self._results.put_nowait((address, verification))
        self._progress.set()

    def fail(self, error: Exception) -> None:
        """Some addresses will not be answered."""
        self.failure = self.failure or error
        self._progress.set()

    def _assign(self, address: Address, domains: dict[str, list[PendingAddress]]) -> None:
        self._unanswered += 1
        if address.valid and (self.checks.dns or self.checks.smtp):
            domains.setdefault(address.ascii_domain, []).append(PendingAddress(address))
            return
        self.deliver_evidence(address, Evidence())

    def deliver_evidence(self, address: Address, evidence: Evidence) -> None:
        """Deliver the verification that follows from evidence of the address's domain."""
        evidence = with_list_evidence(address, evidence)
        self.deliver(address, self.make_verification(address, evidence))

    def make_verification(
        self, address: Address, evidence: Evidence, latency_ms: int | None = None
    ) -> Verification:
        return verification_from_evidence(
            address,
            evidence,
            self.checks,
            verified_at=self.bulk.now(),
            duration_s=(latency_ms or 0) / 1000,
        )


class _AddressTraits(NamedTuple):
    """What the lists know of an address and not of its whole domain, as `Evidence` names it."""

    role: bool
    no_reply: bool
    did_you_mean: str | None


class _DomainProbe:
    """The addresses of one domain in one call."""

    def __init__(self, call: _BulkCall, domain: str, addresses: list[PendingAddress]) -> None:
        self._call = call
        self._bulk = call.bulk
        self._domain = domain
        self._addresses = addresses
        self._evidence = Evidence()
        self._single_queue: deque[PendingAddress] = deque()
        self._single_workers = 0
        self._silent_in_a_row = 0
        self.has_other_hosts = False
        self._greylisted: dict[PendingAddress, Verification] = {}
        """Greylisted by the first host; another host may know more."""
        self._all_hosts_greylist = False

    # -- before the mail hosts -----------------------------------------------------------

    async def start(self) -> None:
        """Find the route, and put the addresses in its lane."""
        try:
            await self._start()
        except Exception as exc:
            self._call.fail(exc)

    async def _start(self) -> None:
        route = await self._look_up()
        if not (self._call.checks.smtp and route.dns.can_receive):
            for asked in self._addresses:
                self._deliver_evidence(asked, self._evidence)
            return
        self.has_other_hosts = len(route.hosts) > 1
        many = [asked for asked in self._addresses if not asked.address.needs_smtputf8]
        odd = [asked for asked in self._addresses if asked.address.needs_smtputf8]
        sick = self._bulk.unreachable_domains.get(self._domain) is not None
        target = None if sick else await self._first_target(route)
        if target is None:
            odd += many
        elif many:
            self._bulk.pool_for(target).submit(self._make_group(target, many))
        if odd:
            self._queue_singly(odd)

    async def _look_up(self) -> MailRoute:
        resolver, rng = self._bulk.context.resolver, self._bulk.context.rng
        try:
            async with asyncio.timeout(DNS_DEADLINE_S):
                route, spf, dmarc = await asyncio.gather(
                    resolve_route(resolver, self._domain, rng, ipv4_suffices=True),
                    has_spf(resolver, self._domain),
                    has_dmarc(resolver, self._domain),
                )
        except TimeoutError:
            route, spf, dmarc = MailRoute(Dns.TIMEOUT), None, None
        address = self._addresses[0].address
        self._evidence = Evidence(
            disposable=lists.is_disposable(address),
            free=lists.is_free_mail(address),
            dns=route.dns,
            mx=route.hosts,
            provider=next(filter(None, (provider_of(mx.host) for mx in route.hosts)), None),
            spf=spf,
            dmarc=dmarc,
        )
        return route

    async def _first_target(self, route: MailRoute) -> Target | None:
        """Where the domain's first mail host lives; None if only the single path can tell.

        Those that turn us away or are absent just now are passed over, as the single path does.
        """
        means = self._bulk.context
        for mx in route.hosts[:MAX_SKIPPED_HOSTS]:
            found = await resolve_addresses(means.resolver, mx.host, ipv4_suffices=True)
            if not found.ips:
                return None
            if not (means.limits.allow_private_networks or is_global(found.ips[0])):
                return None
            target = Target(mx.host, found.ips[0], means.limits.port)
            away = target in means.unresponsive or means.pacer.is_backing_off(
                pacing_operator(mx.host)
            )
            if not (self.has_other_hosts and away):
                return target
        return None

    def _make_group(self, target: Target, asked: Sequence[PendingAddress]) -> DomainGroup:
        group = DomainGroup(self, self._domain, asked, self._bulk.control_address(self._domain))
        operator = pacing_operator(target.host)
        group.catch_all = self._bulk.context.catch_all_cache.get(self._domain, operator)
        group.control_reply = self._bulk.control_refusals.get((self._domain, operator))
        known = group.catch_all is True or group.control_reply is not None
        group.control_tries = 2 if self._call.checks.catch_all and not known else 0
        return group

    # -- from the lane -------------------------------------------------------------------

    @property
    def is_active(self) -> bool:
        return self._call.is_active and self._call.failure is None

    def on_failure(self, error: Exception) -> None:
        self._call.fail(error)

    def on_replies(
        self,
        group: DomainGroup,
        replies: Sequence[tuple[PendingAddress, RcptReply]],
        connection: ConnectionInfo,
    ) -> None:
        control, catch_all = group.control_reply, group.catch_all
        if control is not None and accepts_all(control) is False:
            key = self._domain, pacing_operator(connection.target.host)
            if self._bulk.control_refusals.get(key) is None:
                self._bulk.control_refusals.put(key, control, CATCH_ALL_TTL_S)
        made: dict[tuple[object, ...], Verification] = {}
        """By what it depends on; most replies of a host are alike."""
        for asked, reply in replies:
            address = asked.address
            meaning = reply.classification.meaning
            if meaning is Meaning.REJECTED_UNRECOGNISED:
                if control is None and catch_all is not True:
                    self.on_single_path(group, (asked,))
                    continue
                meaning = compare_with_control(reply, control, catch_all)
            traits = _AddressTraits(
                lists.is_role_account(address),
                lists.is_no_reply_address(address),
                lists.suggest_correction(address),
            )
            key_ = (reply.code, reply.text, meaning, traits)
            if key_ not in made:
                smtp = _smtp_evidence(reply, meaning, connection)
                evidence = self._evidence_with(smtp, catch_all, reply, traits)
                made[key_] = self._call.make_verification(address, evidence, smtp.latency_ms)
            verification = made[key_].for_address(address)
            if meaning is Meaning.GREYLISTED and self._may_pass_at_other_host:
                self._greylisted[asked] = verification
                self.on_single_path(group, (asked,))
            else:
                self._call.deliver(address, verification)

    @property
    def _may_pass_at_other_host(self) -> bool:
        return self.has_other_hosts and not self._all_hosts_greylist

    def _evidence_with(
        self, smtp: Smtp, catch_all: bool | None, reply: RcptReply, traits: _AddressTraits
    ) -> Evidence:
        evidence = replace(self._evidence, **traits._asdict())
        result = InquiryResult(smtp, catch_all, reply.classification.inactive)
        return result.merged_into(evidence)

    def on_single_path(self, group: DomainGroup, addresses: Sequence[PendingAddress]) -> None:
        if self.is_active:
            self._queue_singly(addresses)

    # -- one at a time -------------------------------------------------------------------

    def _queue_singly(self, asked: Iterable[PendingAddress]) -> None:
        self._single_queue.extend(asked)
        if self._single_queue and not self._single_workers:
            # One goes ahead: what it finds may be true of them all.
            self._start_single_worker()

    def _start_single_worker(self) -> None:
        self._single_workers += 1
        self._call.tasks.create_task(self._run_single_worker())

    async def _run_single_worker(self) -> None:
        try:
            while self._single_queue and self.is_active:
                asked = self._single_queue.popleft()
                sick = self._bulk.unreachable_domains.get(self._domain)
                if sick is not None and not asked.address.needs_smtputf8:
                    self._deliver_evidence(asked, sick)
                    continue
                put_off = self._greylisted.pop(asked, None)
                if put_off is not None and self._all_hosts_greylist:
                    self._call.deliver(asked.address, put_off)
                    continue
                async with self._bulk.single_slots:
                    await self._verify_singly(asked)
                while self._single_queue and self._single_workers < self._bulk.connections_per_host:
                    self._start_single_worker()
        finally:
            self._single_workers -= 1

    async def _verify_singly(self, asked: PendingAddress) -> None:
        try:
            found = await self._bulk.single.verify(asked.address, self._call.checks)
            for pause_s in RECONNECT_PAUSES_S:
                if not self._may_be_restarting(found.evidence.smtp):
                    break
                await asyncio.sleep(pause_s)
                found = await self._bulk.single.verify(asked.address, self._call.checks)
        except Exception as exc:
            self._call.fail(exc)
            return
        smtp = found.evidence.smtp
        if smtp is not None and self._would_be_rejected(smtp):
            self._bulk.unreachable_domains.put(
                self._domain, found.evidence, UNREACHABLE_DOMAIN_FOR_S
            )
        elif smtp is not None and smtp.meaning in NO_CONTACT | {Meaning.THROTTLED}:
            self._silent_in_a_row += 1
            of_host = smtp.meaning in NO_CONTACT and smtp.stage is not Stage.RCPT
            if of_host or self._silent_in_a_row >= MAX_SILENT_IN_A_ROW:
                self._bulk.unreachable_domains.put(
                    self._domain, found.evidence, UNREACHABLE_DOMAIN_FOR_S
                )
        else:
            self._silent_in_a_row = 0
        if found.reason is Reason.GREYLISTED:
            self._all_hosts_greylist = True
        self._call.deliver(asked.address, found)

    def _may_be_restarting(self, smtp: Smtp | None) -> bool:
        """Whether a host that has spoken to us takes no connections: it may start again."""
        if smtp is None or smtp.meaning is not Meaning.UNREACHABLE or not self._call.is_active:
            return False
        return self._bulk.unreachable_domains.get(
            self._domain
        ) is None and self._bulk.has_connected(smtp)

    def _would_be_rejected(self, smtp: Smtp) -> bool:
        """Whether the next address would be turned away at the door as well."""
        if smtp.meaning is not Meaning.THROTTLED or smtp.stage not in CONNECTION_STAGES:
            return False
        pacer, operator = self._bulk.context.pacer, pacing_operator(smtp.host or "")
        # Without a code: it waited for its turn, and the deadline came first.
        return pacer.is_skipped(operator) or (smtp.code is None and pacer.is_backing_off(operator))

    def _deliver_evidence(self, asked: PendingAddress, evidence: Evidence) -> None:
        evidence = replace(evidence, person=None, transcript=())
        self._call.deliver_evidence(asked.address, evidence)


def _smtp_evidence(reply: RcptReply, meaning: Meaning, connection: ConnectionInfo) -> Smtp:
    reading = reply.classification
    return Smtp(
        meaning=meaning,
        stage=Stage.RCPT,
        connected=True,
        host=connection.target.host,
        ip=connection.target.ip,
        code=reply.code,
        enhanced=reading.enhanced,
        text=" ".join(reply.text.split()),
        latency_ms=connection.latency_ms,
        tls=connection.tls,
        block_list=reading.block_list,
        retry_after_s=reading.retry_after_s,
    )
