"""One address's way through the mail hosts of its domain.

An inquiry decides which target to ask next, when to ask again, and what several failures come to. A
host that fails for reasons of its own, or of ours, sends it to the next host; a host whose reply is
about the mailbox decides. All waits share one deadline, and a host that hangs never gets all the
time that is left.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from engine.dns.mx import resolve_addresses
from engine.dns.terms import MailRoute
from engine.model import Address, Evidence, Meaning, Smtp
from engine.smtp.context import Deadline, ProbeContext
from engine.smtp.meanings import ABOUT_US, DECISIVE
from engine.smtp.target_inquiry import TargetInquiry, had_no_slot, precedence
from engine.smtp.target_probe import MIN_USEFUL_S, ProbeQuestion, TargetResult
from engine.smtp.terms import Target, Trace

MAX_TARGETS = 12
"""IP addresses connected to for one mailbox."""
MAX_REFUSING_HOSTS = 3
"""Hosts that may refuse *us*; then the domain's other hosts are not asked."""
MAX_THROTTLED_RETRIES = 2
THROTTLED_PAUSE_S = 1.0
"""Before the first retry, where the host states no delay; twice as long before the second."""
GREYLIST_MARGIN_S = 0.1
"""Added to a stated delay: the server's clock counts whole seconds."""


@dataclass(frozen=True, slots=True)
class InquiryResult:
    """What the mail hosts' replies came to."""

    smtp: Smtp
    catch_all: bool | None = None
    inactive: bool = False
    """Whether the mailbox is also out of use."""
    control_deferred: bool = False
    """Whether the control was refused for now, so that `catch_all` may be known later."""

    def merged_into(self, evidence: Evidence, **facts: Any) -> Evidence:
        """`evidence` with the fields that SMTP decides, and `facts`, other fields."""
        meaning = self.smtp.meaning
        # An accepted mailbox is neither; of a refused one only the stated reason is known.
        otherwise = False if meaning is Meaning.ACCEPTED else None
        return replace(
            evidence,
            **facts,
            smtp=self.smtp,
            catch_all=self.catch_all,
            mailbox_full=True if meaning is Meaning.MAILBOX_FULL else otherwise,
            mailbox_disabled=(
                True if meaning is Meaning.MAILBOX_DISABLED or self.inactive else otherwise
            ),
        )


class Inquiry:
    """Asks the hosts of `route` about `address` until `deadline`; made for one use."""

    def __init__(
        self,
        context: ProbeContext,
        address: Address,
        route: MailRoute,
        *,
        catch_all: bool,
        deadline: Deadline,
        trace: Trace,
    ) -> None:
        self._context = context
        self._limits = context.limits
        self._route = route
        self._deadline = deadline
        self._trace = trace
        self._question = _question_about(
            address,
            control=context.control_address(address.ascii_domain),
            checks_catch_all=catch_all,
            deadline=deadline,
            trace=trace,
        )
        self._deferred: list[Target] = []
        """Backing off or unresponsive in this round; they are tried after the other targets."""

    async def run(self) -> InquiryResult:
        """What the hosts' replies come to. Never raises for what a host does."""
        greylist_pauses_s = list(self._limits.greylist_pauses_s)
        throttled = 0
        latest: InquiryResult | None = None
        while True:
            results = await self._try_targets()
            chosen = min(results, key=precedence)
            is_accepted = latest is not None and latest.smtp.meaning is Meaning.ACCEPTED
            if had_no_slot(chosen) or (is_accepted and chosen.meaning not in DECISIVE):
                # There would be none after a pause either, and an earlier round tells more.
                return latest or _inquiry_result(results, chosen)
            latest = _inquiry_result(results, chosen)
            deferring = chosen.deferred_control or chosen.outcome.classification
            stated_s = deferring.retry_after_s
            pause_s: float | None = None
            if deferring.meaning is Meaning.GREYLISTED and greylist_pauses_s:
                usual_s = greylist_pauses_s.pop(0)
                pause_s = usual_s if stated_s is None else stated_s + GREYLIST_MARGIN_S
            elif chosen.meaning is Meaning.THROTTLED and throttled < MAX_THROTTLED_RETRIES:
                pause_s = THROTTLED_PAUSE_S * 2**throttled if stated_s is None else stated_s
                throttled += 1
            if pause_s is None or pause_s + MIN_USEFUL_S > self._deadline.left_s:
                return latest
            self._trace(chosen.target.host, f"waiting {pause_s:.1f} s, then asking again")
            await asyncio.sleep(pause_s)

    async def _try_targets(self) -> list[TargetResult]:
        """One round: ask targets in order until one decides; at least one result."""
        results: list[TargetResult] = []
        refusals = 0
        self._deferred.clear()
        async with aclosing(self._targets()) as targets:
            async for target, is_last in targets:
                result = await self._try_target(target, is_last)
                if result.meaning in DECISIVE:
                    return [result]
                if had_no_slot(result) and self._has_alternative(target, is_last):
                    self._deferred.append(target)
                    continue
                results.append(result)
                refusals += result.meaning in ABOUT_US
                if refusals >= MAX_REFUSING_HOSTS or self._deadline.left_s < MIN_USEFUL_S:
                    break
        if not results:
            # The hosts had addresses when the route was resolved, and have none now.
            target = Target(self._route.hosts[0].host, "", self._limits.port)
            results.append(TargetResult.not_asked(target, Meaning.UNREACHABLE, "no-address"))
        return results

    async def _targets(self) -> AsyncGenerator[tuple[Target, bool], None]:
        """The targets in order of preference, then the deferred ones; and whether each is last."""
        count = 0
        hosts = self._route.hosts
        for host in hosts:
            addresses = await resolve_addresses(self._context.resolver, host.host)
            for ip in addresses.ips[: MAX_TARGETS - count]:
                count += 1
                at_end = host is hosts[-1] and ip == addresses.ips[-1]
                is_last = (at_end or count == MAX_TARGETS) and not self._deferred
                yield Target(host.host, ip, self._limits.port), is_last
            if count == MAX_TARGETS:
                break
        for number, target in enumerate(deferred := tuple(self._deferred), start=1):
            yield target, number == len(deferred)

    async def _try_target(self, target: Target, is_last: bool) -> TargetResult:
        if not is_last:  # the last one is asked in any case
            await self._context.egresses.learn(target)
        inquiry = TargetInquiry(
            self._context,
            self._question,
            target,
            is_last=is_last,
            has_alternative=self._has_alternative(target, is_last),
        )
        return await inquiry.run()

    def _has_alternative(self, target: Target, is_last: bool) -> bool:
        """Whether other targets can be tried before this one."""
        return not is_last and target not in self._deferred


def _question_about(
    address: Address, *, control: str, checks_catch_all: bool, deadline: Deadline, trace: Trace
) -> ProbeQuestion:
    """The question in the form of the domain that the address was written in, if that can be sent.

    A local part beyond ASCII needs SMTPUTF8, so that its domain may be beyond ASCII too (RFC 6531
    section 3.3); else the domain is sent in A-labels first.
    """
    in_a_labels = ProbeQuestion(
        recipient=f"{address.local}@{address.ascii_domain}",
        control=control,
        domain=address.ascii_domain,
        utf8=address.needs_smtputf8,
        checks_catch_all=checks_catch_all,
        deadline=deadline,
        trace=trace,
    )
    if address.domain == address.ascii_domain:
        return in_a_labels
    in_unicode = replace(
        in_a_labels,
        recipient=f"{address.local}@{address.domain}",
        control=f"{control.partition('@')[0]}@{address.domain}",
        utf8=True,
    )
    if address.needs_smtputf8 and not address.raw.rpartition("@")[2].isascii():
        return replace(in_unicode, other_form=in_a_labels)
    return replace(in_a_labels, other_form=in_unicode)


def _inquiry_result(results: list[TargetResult], chosen: TargetResult) -> InquiryResult:
    reply, classification = chosen.outcome.reply, chosen.outcome.classification
    return InquiryResult(
        Smtp(
            meaning=chosen.meaning,
            stage=chosen.outcome.stage,
            connected=any(result.greeted for result in results),
            host=chosen.target.host,
            ip=chosen.target.ip or None,
            code=reply.code if reply else None,
            enhanced=classification.enhanced,
            text=" ".join(reply.text.split()) if reply else chosen.text_without_reply,
            latency_ms=chosen.latency_ms,
            tls=chosen.tls,
            block_list=classification.block_list,
            retry_after_s=classification.retry_after_s,
            egress=chosen.egress,
        ),
        catch_all=chosen.catch_all,
        inactive=classification.inactive,
        control_deferred=chosen.deferred_control is not None,
    )
