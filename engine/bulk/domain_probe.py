"""The addresses of one domain in one bulk call: route, host pool, single path.

Addresses go to the pool of the domain's first mail host that can be asked. Its replies about a
mailbox become verifications. An address that needs more (see `engine.bulk.transaction`) takes the
single path, so that a batch gets the same results as single verifications.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol

from engine.address import lists
from engine.address.offline import with_list_evidence
from engine.bulk.host_pool import RECONNECT_PAUSES_S
from engine.bulk.shared import BulkShared
from engine.bulk.transaction import ConnectionInfo, DomainGroup, PendingAddress
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
)
from engine.smtp.catch_all import accepts_all, compare_with_control, is_deferred
from engine.smtp.context import CATCH_ALL_TTL_S
from engine.smtp.egress import MAX_FURTHER_EGRESSES, Egress
from engine.smtp.inquiry import InquiryResult
from engine.smtp.meanings import NO_CONTACT
from engine.smtp.providers import pacing_operator, provider_of
from engine.smtp.terms import CONNECTION_STAGES, RcptReply, Target
from engine.turns import acting_for
from engine.verification import verification_from_evidence

DNS_DEADLINE_S = 15.0
"""For the route and the policies of a domain."""
MAX_SKIPPED_HOSTS = 5
"""Mail hosts of a domain that do not answer, before the single path looks for one."""
MAX_SILENT_IN_A_ROW = 5
"""Consecutive addresses at which a host fell silent, or throttled us until their deadline; then the
domain's other addresses get the same result."""
SHARED_OUT_FROM = 60
"""Addresses of one domain that are shared out among the egresses. Fewer go by one of them, since
each further connection costs more than it brings."""
CONTROL_TRIES = 2
"""With the first addresses, then alone if the reply was lost with the connection."""


class DomainCall(Protocol):
    """The call that a domain's addresses are part of."""

    @property
    def checks(self) -> Checks: ...

    @property
    def is_active(self) -> bool:
        """False once its results are no longer wanted."""
        ...

    def start_task(self, task: Coroutine[None, None, None]) -> None: ...

    def deliver(self, address: Address, verification: Verification) -> None: ...

    def fail(self, error: Exception) -> None:
        """Some addresses will get no result."""
        ...


class _AddressTraits(NamedTuple):
    """Fields of `Evidence` that the lists fill for an address rather than its whole domain."""

    role: bool
    no_reply: bool
    did_you_mean: str | None


_VerificationKey = tuple[int, str, Meaning, bool, bool, str | None]
"""All that a verification of one window depends on: code, text, meaning, and `_AddressTraits`. Most
replies of a host are alike, so that few verifications are judged and scored."""


class DomainProbe:
    """Verifies the addresses of one domain; made for one use."""

    def __init__(
        self, call: DomainCall, shared: BulkShared, domain: str, addresses: list[PendingAddress]
    ) -> None:
        self._call = call
        self._shared = shared
        self._domain = domain
        self._addresses = addresses
        self._evidence = Evidence()
        """What DNS and the lists show for the domain."""
        self.has_other_hosts = False
        self._single_queue: deque[PendingAddress] = deque()
        self._single_workers = 0
        self._silent_in_a_row = 0
        self._greylisted: dict[PendingAddress, Verification] = {}
        """Greylisted by the first host, and queued for the others, which may not greylist."""
        self._all_hosts_greylist = False

    # -- before the mail hosts -----------------------------------------------------------

    async def start(self) -> None:
        """Find the route, and queue the addresses for their host or the single path."""
        try:
            await self._start()
        except Exception as exc:
            self._call.fail(exc)

    async def _start(self) -> None:
        route = await self._resolve()
        if not (self._call.checks.smtp and route.dns.can_receive):
            for pending in self._addresses:
                self._deliver_evidence(pending, self._evidence)
            return
        self.has_other_hosts = len(route.hosts) > 1
        pooled = [pending for pending in self._addresses if not pending.address.needs_smtputf8]
        single = [pending for pending in self._addresses if pending.address.needs_smtputf8]
        unreachable = self._shared.unreachable_evidence(self._domain) is not None
        target = None if unreachable else await self._first_target(route)
        if target is None or (pooled and not self._submit(target, pooled)):
            single += pooled
        if single:
            self._queue_singly(single)

    async def _resolve(self) -> MailRoute:
        context = self._shared.context
        resolving = resolve_route(
            context.resolver,
            self._domain,
            context.rng,
            ipv4_suffices=True,
            counts_local=context.limits.allow_private_networks,
        )
        spf = dmarc = None
        try:
            async with asyncio.timeout(DNS_DEADLINE_S):
                if self._call.checks.policies:
                    route, spf, dmarc = await asyncio.gather(
                        resolving,
                        has_spf(context.resolver, self._domain),
                        has_dmarc(context.resolver, self._domain),
                    )
                else:
                    route = await resolving
        except TimeoutError:
            route = MailRoute(Dns.TIMEOUT)
        address = self._addresses[0].address
        self._evidence = Evidence(
            disposable=lists.is_disposable(address)
            or any(lists.is_disposable_host(mx.host) for mx in route.hosts),
            free=lists.is_free_mail(address),
            dns=route.dns,
            mx=route.hosts,
            provider=next(filter(None, (provider_of(mx.host) for mx in route.hosts)), None),
            spf=spf,
            dmarc=dmarc,
        )
        return route

    async def _first_target(self, route: MailRoute) -> Target | None:
        """The first target that can be asked now; None if only the single path can find one.

        Like the single path this passes over hosts that back off or did not answer lately.
        """
        context = self._shared.context
        for mx in route.hosts[:MAX_SKIPPED_HOSTS]:
            addresses = await resolve_addresses(context.resolver, mx.host, ipv4_suffices=True)
            if not addresses.ips:
                return None
            if not (context.limits.allow_private_networks or is_global(addresses.ips[0])):
                return None
            target = Target(mx.host, addresses.ips[0], context.limits.port)
            if self.has_other_hosts:
                await context.egresses.learn(target)
            if not (self.has_other_hosts and context.egresses.passes_over(target)):
                if self._call.checks.catch_all:
                    operator = pacing_operator(target.host)
                    await context.catch_all_cache.learn(self._domain, operator)
                return target
        return None

    def _submit(
        self,
        target: Target,
        addresses: Sequence[PendingAddress],
        tried: frozenset[str] = frozenset(),
    ) -> bool:
        """Queue the addresses for `target`, by egresses not in `tried`; False if there is none."""
        egresses = self._shared.context.egresses
        choose = egresses.chooser(target, tried=tried)
        if choose is None:
            return False
        parts: dict[Egress, list[PendingAddress]] = {}
        if len(addresses) >= SHARED_OUT_FROM or egresses.any_greylisted(
            pending.recipient for pending in addresses
        ):
            for pending in addresses:
                parts.setdefault(choose(pending.recipient), []).append(pending)
        else:
            parts[choose(self._domain)] = list(addresses)
        for egress, part in parts.items():
            group = self._make_group(target, part)
            group.tried = tried | {egress.name}
            self._shared.pool_for(target, egress).submit(group)
        return True

    def _make_group(self, target: Target, addresses: Sequence[PendingAddress]) -> DomainGroup:
        control = self._shared.context.control_address(self._domain)
        group = DomainGroup(self, self._domain, addresses, control)
        operator = pacing_operator(target.host)
        group.catch_all = self._shared.context.catch_all_cache.get(self._domain, operator)
        group.control_reply = self._shared.control_refusals.get((self._domain, operator))
        is_known = group.catch_all is True or group.control_reply is not None
        group.control_tries = CONTROL_TRIES if self._call.checks.catch_all and not is_known else 0
        return group

    # -- from the host pool (GroupListener) ----------------------------------------------

    @property
    def is_active(self) -> bool:
        return self._call.is_active

    def on_failure(self, error: Exception) -> None:
        self._call.fail(error)

    def on_single_path(self, group: DomainGroup, addresses: Sequence[PendingAddress]) -> None:
        if self.is_active:
            self._queue_singly(addresses)

    def on_other_egress(
        self, group: DomainGroup, addresses: Sequence[PendingAddress], target: Target
    ) -> None:
        if not self.is_active:
            return
        is_last = len(group.tried) > MAX_FURTHER_EGRESSES
        with acting_for(group.party):
            if is_last or not self._submit(target, addresses, group.tried):
                self._queue_singly(addresses)

    def on_replies(
        self,
        group: DomainGroup,
        replies: Sequence[tuple[PendingAddress, RcptReply]],
        connection: ConnectionInfo,
    ) -> None:
        context = self._shared.context
        control, catch_all = group.control_reply, group.catch_all
        if control is not None and accepts_all(control) is False:
            scope = self._domain, pacing_operator(connection.target.host)
            if self._shared.control_refusals.get(scope) is None:
                self._shared.control_refusals.put(scope, control, CATCH_ALL_TTL_S)
        made: dict[_VerificationKey, Verification] = {}
        for pending, reply in replies:
            address = pending.address
            meaning = reply.classification.meaning
            if meaning is Meaning.REJECTED_UNRECOGNISED:
                if control is None and catch_all is not True:
                    self.on_single_path(group, (pending,))
                    continue
                meaning = compare_with_control(reply, control, catch_all)
            key = (
                reply.code,
                reply.text,
                meaning,
                lists.is_role_account(address),
                lists.is_no_reply_address(address),
                lists.suggest_correction(address),
            )
            like = made.get(key)
            if like is None:
                smtp = _smtp_evidence(reply, meaning, connection)
                evidence = self._evidence_with(smtp, catch_all, reply, _AddressTraits(*key[3:]))
                like = self._make_verification(
                    address,
                    evidence,
                    smtp.latency_ms,
                    control_deferred=meaning is Meaning.ACCEPTED
                    and catch_all is None
                    and is_deferred(control),
                )
                made[key] = like
            verification = like.for_address(address)
            if meaning is Meaning.GREYLISTED:
                context.egresses.record_greylisted(pending.recipient, connection.egress)
            if meaning is Meaning.GREYLISTED and self._may_pass_at_other_host:
                self._greylisted[pending] = verification
                self.on_single_path(group, (pending,))
            else:
                self._call.deliver(address, verification)

    @property
    def _may_pass_at_other_host(self) -> bool:
        return self.has_other_hosts and not self._all_hosts_greylist

    def _evidence_with(
        self, smtp: Smtp, catch_all: bool | None, reply: RcptReply, traits: _AddressTraits
    ) -> Evidence:
        result = InquiryResult(smtp, catch_all, reply.classification.inactive)
        return result.merged_into(self._evidence, **traits._asdict())

    # -- the single path -----------------------------------------------------------------

    def _queue_singly(self, addresses: Iterable[PendingAddress]) -> None:
        self._single_queue.extend(addresses)
        if self._single_queue and not self._single_workers:
            # One address goes ahead: its result may hold for all.
            self._start_single_worker()

    def _start_single_worker(self) -> None:
        self._single_workers += 1
        self._call.start_task(self._run_single_worker())

    async def _run_single_worker(self) -> None:
        try:
            while self._single_queue and self.is_active:
                pending = self._single_queue.popleft()
                unreachable = self._shared.unreachable_evidence(self._domain)
                if unreachable is not None and not pending.address.needs_smtputf8:
                    self._deliver_evidence(pending, unreachable)
                    continue
                greylisted = self._greylisted.pop(pending, None)
                if greylisted is not None and self._all_hosts_greylist:
                    self._call.deliver(pending.address, greylisted)
                    continue
                async with self._shared.single_slots.slot():
                    await self._verify_singly(pending)
                max_workers = self._shared.connections_per_host
                while self._single_queue and self._single_workers < max_workers:
                    self._start_single_worker()
        finally:
            self._single_workers -= 1

    async def _verify_singly(self, pending: PendingAddress) -> None:
        try:
            verification = await self._shared.single.verify(pending.address, self._call.checks)
            for pause_s in RECONNECT_PAUSES_S:
                if not self._may_be_restarting(verification.evidence.smtp):
                    break
                await asyncio.sleep(pause_s)
                verification = await self._shared.single.verify(pending.address, self._call.checks)
        except Exception as exc:
            self._call.fail(exc)
            return
        self._learn_from(verification)
        self._call.deliver(pending.address, verification)

    def _learn_from(self, verification: Verification) -> None:
        """Mark the domain as unreachable if its other addresses would get the same result."""
        smtp = verification.evidence.smtp
        if verification.reason is Reason.GREYLISTED:
            self._all_hosts_greylist = True
        if smtp is not None and self._would_be_rejected(smtp):
            self._shared.mark_unreachable(self._domain, verification.evidence)
        elif smtp is not None and _egress_failed(smtp):
            pass  # which says nothing about the domain
        elif smtp is not None and smtp.meaning in NO_CONTACT | {Meaning.THROTTLED}:
            self._silent_in_a_row += 1
            # Before RCPT no mailbox was named, so it is the same for all of them.
            before_rcpt = smtp.meaning in NO_CONTACT and smtp.stage is not Stage.RCPT
            if before_rcpt or self._silent_in_a_row >= MAX_SILENT_IN_A_ROW:
                self._shared.mark_unreachable(self._domain, verification.evidence)
        else:
            self._silent_in_a_row = 0

    def _may_be_restarting(self, smtp: Smtp | None) -> bool:
        """Whether a host that has served us refuses connections: it may be restarting."""
        if smtp is None or smtp.meaning is not Meaning.UNREACHABLE or not self.is_active:
            return False
        if _egress_failed(smtp):
            return False
        unreachable = self._shared.unreachable_evidence(self._domain) is not None
        return not unreachable and self._shared.has_connected(smtp)

    def _would_be_rejected(self, smtp: Smtp) -> bool:
        """Whether the connection for the next address would be rejected as well."""
        if smtp.meaning is not Meaning.THROTTLED or smtp.stage not in CONNECTION_STAGES:
            return False
        target = Target(smtp.host or "", smtp.ip or "", self._shared.context.limits.port)
        # Without a code it waited for a slot until its deadline.
        return self._shared.context.egresses.rejects_all(target, if_backing_off=smtp.code is None)

    # -- results -------------------------------------------------------------------------

    def _deliver_evidence(self, pending: PendingAddress, evidence: Evidence) -> None:
        """Deliver the result that the domain's evidence implies for any mailbox."""
        address = pending.address
        evidence = with_list_evidence(address, replace(evidence, person=None, transcript=()))
        self._call.deliver(address, self._make_verification(address, evidence))

    def _make_verification(
        self,
        address: Address,
        evidence: Evidence,
        latency_ms: int | None = None,
        *,
        control_deferred: bool = False,
    ) -> Verification:
        return verification_from_evidence(
            address,
            evidence,
            self._call.checks,
            verified_at=self._shared.now(),
            duration_s=(latency_ms or 0) / 1000,
            control_deferred=control_deferred,
        )


def _egress_failed(smtp: Smtp) -> bool:
    """Whether no egress worked: only then is there a text although no host was reached."""
    return smtp.meaning is Meaning.UNREACHABLE and smtp.text is not None


def _smtp_evidence(reply: RcptReply, meaning: Meaning, connection: ConnectionInfo) -> Smtp:
    classification = reply.classification
    return Smtp(
        meaning=meaning,
        stage=Stage.RCPT,
        connected=True,
        host=connection.target.host,
        ip=connection.target.ip,
        code=reply.code,
        enhanced=classification.enhanced,
        text=" ".join(reply.text.split()),
        latency_ms=connection.latency_ms,
        tls=connection.tls,
        block_list=classification.block_list,
        retry_after_s=classification.retry_after_s,
        egress=connection.egress,
    )
