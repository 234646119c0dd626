"""One address's way through the mail hosts of its domain.

Which host to ask next, when to ask again, what to conclude from several failures. A host that
fails for reasons of its own (or of ours) sends us to the next; a host that speaks of the
mailbox decides. All waits share one deadline, and a stuck host never gets all that is left.
"""

from __future__ import annotations

import asyncio
import math
import ssl
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace

from engine.dns.mx import resolve_addresses
from engine.dns.targets import is_global
from engine.dns.terms import MailRoute
from engine.model import Address, Evidence, Meaning, Smtp, Stage
from engine.smtp.catch_all import accepts_all, compare_with_control, control_local_part
from engine.smtp.context import Deadline, ProbeContext
from engine.smtp.dialogue import (
    Conversation,
    ConversationEnded,
    TlsFailed,
    open_conversation,
)
from engine.smtp.meanings import (
    ABOUT_MAILBOX,
    ABOUT_US,
    DECISIVE,
    MEANING_PRECEDENCE,
    WITHOUT_REPLY,
)
from engine.smtp.providers import pacing_operator
from engine.smtp.reputation import Pause
from engine.smtp.terms import (
    SERVICE_CLOSING,
    RcptReply,
    ReplyClassification,
    StageResult,
    Target,
    Trace,
)

MAX_TARGETS = 12
"""Addresses dialled for one mailbox, at most."""
MAX_REFUSING_HOSTS = 3
"""Hosts that may refuse *us* before the others are left in peace."""
MAX_THROTTLED_RETRIES = 2
THROTTLED_PAUSE_S = 1.0
GREYLIST_MARGIN_S = 0.1
"""Added to a stated delay: the server's clock counts whole seconds."""
NO_SLOT = "our-own-limit"
"""Stands for the rule of a reply where our own pace left no time for a connection."""
MIN_USEFUL_S = 0.2
"""With less than this left of the deadline no further host is dialled."""


@dataclass(frozen=True, slots=True)
class InquiryResult:
    """What the mail hosts said."""

    smtp: Smtp
    catch_all: bool | None = None
    inactive: bool = False

    def merged_into(self, evidence: Evidence) -> Evidence:
        """What is known with it."""
        meaning = self.smtp.meaning
        # An accepted mailbox is neither; of one that is refused only the stated reason is known.
        otherwise = False if meaning is Meaning.ACCEPTED else None
        return replace(
            evidence,
            smtp=self.smtp,
            catch_all=self.catch_all,
            mailbox_full=True if meaning is Meaning.MAILBOX_FULL else otherwise,
            mailbox_disabled=(
                True if meaning is Meaning.MAILBOX_DISABLED or self.inactive else otherwise
            ),
        )


@dataclass(frozen=True, slots=True)
class _TargetResult:
    """How one target answered."""

    target: Target
    result: StageResult
    meaning: Meaning
    greeted: bool = False
    tls: bool = False
    latency_ms: int | None = None
    catch_all: bool | None = None
    about_mailbox: bool = False
    """Whether any reply was about a mailbox, the control's too."""
    text_without_reply: str | None = None
    """What stands in the evidence where there was no reply."""

    @property
    def had_no_slot(self) -> bool:
        return self.result.classification.rule == NO_SLOT


@dataclass(frozen=True, slots=True)
class _ConnectionResult:
    """What one connection brought."""

    result: StageResult
    """Of the real address."""
    control: RcptReply | None = None
    cut_short: bool = False
    """Whether the host hung up where more was to come."""
    tls: bool = False


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
        self._address = address
        self._route = route
        self._checks_catch_all = catch_all
        self._deadline = deadline
        self._trace = trace
        self._recipient = f"{address.local}@{address.ascii_domain}"
        # The same control on every try, so that greylisting knows it when it comes again.
        self._control = f"{control_local_part(context.rng.choice)}@{address.ascii_domain}"
        self._deferred: list[Target] = []
        """Of this round: they turn us away or are absent just now, and come after the others."""

    async def run(self) -> InquiryResult:
        """What the hosts say. Never raises for what a host does."""
        greylist_pauses_s = list(self._limits.greylist_pauses_s)
        throttled = 0
        heard: InquiryResult | None = None
        while True:
            visits = await self._try_targets()
            last = min(
                visits,
                key=lambda visit: (MEANING_PRECEDENCE.index(visit.meaning), visit.had_no_slot),
            )
            if last.had_no_slot:
                # Nor would there be one after a pause; and what was said before tells more.
                return heard or _inquiry_result(visits, last)
            heard = _inquiry_result(visits, last)
            stated_s = last.result.classification.retry_after_s
            pause_s: float | None = None
            if last.meaning is Meaning.GREYLISTED and greylist_pauses_s:
                usual_s = greylist_pauses_s.pop(0)
                pause_s = usual_s if stated_s is None else stated_s + GREYLIST_MARGIN_S
            elif last.meaning is Meaning.THROTTLED and throttled < MAX_THROTTLED_RETRIES:
                pause_s = THROTTLED_PAUSE_S * 2**throttled if stated_s is None else stated_s
                throttled += 1
            if pause_s is None or pause_s + MIN_USEFUL_S > self._deadline.left_s:
                return heard
            self._trace(last.target.host, f"waiting {pause_s:.1f} s, then asking again")
            await asyncio.sleep(pause_s)

    async def _try_targets(self) -> list[_TargetResult]:
        """Visit targets in order until one decides; at least one visit."""
        visits: list[_TargetResult] = []
        refusals = 0
        self._deferred.clear()
        async with aclosing(self._targets()) as targets:
            async for target, is_last in targets:
                visit = await self._try_target(target, is_last)
                if visit.meaning in DECISIVE:
                    return [visit]
                if visit.had_no_slot and not is_last and target not in self._deferred:
                    self._deferred.append(target)
                    continue
                visits.append(visit)
                refusals += visit.meaning in ABOUT_US
                if refusals >= MAX_REFUSING_HOSTS or self._deadline.left_s < MIN_USEFUL_S:
                    break
        if not visits:
            # The hosts had addresses when the route was found, and have none now.
            target = Target(self._route.hosts[0].host, "", self._limits.port)
            visits.append(_not_tried(target, Meaning.UNREACHABLE, "no-address"))
        return visits

    async def _targets(self) -> AsyncGenerator[tuple[Target, bool], None]:
        """Where to dial, in order of preference, and whether it is the last place."""
        count = 0
        hosts = self._route.hosts
        for host in hosts:
            found = await resolve_addresses(self._context.resolver, host.host)
            for ip in found.ips[: MAX_TARGETS - count]:
                count += 1
                at_end = host is hosts[-1] and ip == found.ips[-1]
                is_last = (at_end or count == MAX_TARGETS) and not self._deferred
                yield Target(host.host, ip, self._limits.port), is_last
            if count == MAX_TARGETS:
                break
        for number, target in enumerate(put_off := tuple(self._deferred), start=1):
            yield target, number == len(put_off)

    async def _try_target(self, target: Target, is_last: bool) -> _TargetResult:
        """Ask one target, if it may be asked now, once it has a connection to spare."""
        operator = pacing_operator(target.host)
        refusal = self._admit(target, is_last, operator)
        if refusal is not None:
            return refusal
        pacer = self._context.pacer
        has_alternative = self._has_alternative(target, is_last)
        try:
            async with (
                asyncio.timeout(self._wait_limit_s(is_last)) as waiting,
                pacer.slot(operator, bulk=self._limits.bulk, has_alternative=has_alternative),
            ):
                waiting.reschedule(None)
                # Not before the slot: those who waited for it would not know of a pause since.
                if pause := self._context.reputation.pause_or_start_trial(target.host):
                    self._trace(target.host, pause.text)
                    return _paused(target, pause)
                patience_s = self._wait_limit_s(is_last)
                result = await self._probe_target(target, is_last, operator)
        except TimeoutError:
            self._trace(target.host, "no free connection in time")
            return _not_tried(target, Meaning.THROTTLED, NO_SLOT)
        if patience_s >= self._limits.command_timeout_s:  # else it may have been our own hurry
            self._context.unresponsive.record_visit(
                target, result.result.meaning, result.result.stage
            )
        self._record_pacing(result, operator)
        self._record_reputation(result)
        return result

    def _admit(self, target: Target, is_last: bool, operator: str) -> _TargetResult | None:
        """None if a connection to `target` may be waited for, else why not."""
        if not self._limits.allow_private_networks and not is_global(target.ip):
            self._trace(target.host, f"{target.ip} is not a public address: not dialled")
            return _not_tried(target, Meaning.NOT_ALLOWED, "not-global")
        pacer = self._context.pacer
        # A list has time: it gives up only those who never have any for it.
        vain = (
            pacer.is_skipped(operator)
            if self._limits.bulk
            else pacer.wait_s(operator) > self._wait_limit_s(is_last)
        )
        if vain:
            self._trace(target.host, "no connection before the deadline")
            return _not_tried(target, Meaning.THROTTLED, NO_SLOT)
        if self._has_alternative(target, is_last) and (
            target in self._context.unresponsive or pacer.is_backing_off(operator)
        ):
            self._trace(target.host, "not there just now: the others first")
            return _not_tried(target, Meaning.THROTTLED, NO_SLOT)
        return None

    def _has_alternative(self, target: Target, is_last: bool) -> bool:
        """Whether other targets can be tried before this one is waited for."""
        return not is_last and target not in self._deferred

    def _record_pacing(self, result: _TargetResult, operator: str) -> None:
        if result.meaning is Meaning.THROTTLED:
            self._context.pacer.record_throttling(
                operator, result.result.classification.retry_after_s, result.result.stage
            )
        elif result.greeted:
            self._context.pacer.record_success(operator)

    def _record_reputation(self, result: _TargetResult) -> None:
        reply = result.result.reply
        if reply is None and not result.greeted:
            return  # nobody was there
        self._context.reputation.record_outcome(
            result.target.host,
            result.result.meaning,
            result.result.stage,
            about_mailbox=result.about_mailbox,
            block_list=result.result.classification.block_list,
            text=reply.text if reply else None,
        )

    async def _probe_target(self, target: Target, is_last: bool, operator: str) -> _TargetResult:
        started = self._context.clock()
        domain, memory = self._address.ascii_domain, self._context.catch_all_cache
        try:
            answer = await self._probe_on_connection(target, is_last, operator)
        except ConversationEnded as ended:
            latency_ms = self._elapsed_ms(started)
            said = ended.result
            return _TargetResult(target, said, said.meaning, ended.greeted, latency_ms=latency_ms)
        latency_ms = self._elapsed_ms(started)
        if answer.cut_short and self._deadline.left_s > MIN_USEFUL_S:
            answer = await self._retry_cut_short(answer, target, is_last, operator)
        said, control = answer.result, answer.control
        catch_all = memory.update(domain, operator, accepts_all(control))
        heard = _rcpt_reply(said)
        meaning = said.meaning if heard is None else compare_with_control(heard, control, catch_all)
        spoke = meaning in ABOUT_MAILBOX or (
            control is not None and control.classification.meaning in ABOUT_MAILBOX
        )
        return _TargetResult(target, said, meaning, True, answer.tls, latency_ms, catch_all, spoke)

    async def _retry_cut_short(
        self, first: _ConnectionResult, target: Target, is_last: bool, operator: str
    ) -> _ConnectionResult:
        """On a connection of its own, what the host hung up on.

        Some do so at names that nobody has, or after each recipient. A reset may even take the
        real address's reply along, which had come before (RFC 9293 section 3.10.7.4).
        """
        self._trace(target.host, "asking once more, one at a time")
        try:
            if first.result.meaning is Meaning.DROPPED:
                return await self._probe_on_connection(
                    target, is_last, operator, control_apart=True
                )
            return await self._probe_on_connection(
                target, is_last, operator, known_result=first.result
            )
        except ConversationEnded:
            return first

    async def _probe_on_connection(
        self,
        target: Target,
        is_last: bool,
        operator: str,
        *,
        control_apart: bool = False,
        known_result: StageResult | None = None,
    ) -> _ConnectionResult:
        """One connection. ConversationEnded when nothing could be asked.

        `apart` asks for the control only after the answer for the real address; where that is
        known already, as `said`, the control is asked alone.
        """
        conversation = await self._open(target, is_last)
        try:
            if known_result is not None:
                control = await self._send_control(
                    conversation, self._context.identity.sender, is_last
                )
                answer = _ConnectionResult(known_result, _rcpt_reply(control))
            else:
                answer = await self._probe_recipient(
                    conversation, operator, is_last, control_apart=control_apart
                )
        except BaseException:
            conversation.abort()
            raise
        self._context.pending_quits.quit(conversation)
        return replace(answer, tls=conversation.tls)

    async def _open(self, target: Target, is_last: bool) -> Conversation:
        """A conversation, over TLS if the host offers it, in clear if that fails."""
        try:
            return await self._open_with(target, is_last, self._context.tls)
        except TlsFailed:
            self._trace(target.host, "going on without TLS")
            return await self._open_with(target, is_last, None)

    async def _open_with(
        self, target: Target, is_last: bool, tls: ssl.SSLContext | None
    ) -> Conversation:
        share_s = self._wait_limit_s(is_last)
        return await open_conversation(
            target,
            self._context.identity,
            connect_timeout_s=min(self._limits.connect_timeout_s, share_s),
            command_timeout_s=min(self._limits.command_timeout_s, share_s),
            # Half at most: clear text must still have its chance.
            tls_timeout_s=min(self._limits.command_timeout_s, share_s / 2),
            tls=tls,
            trace=self._trace,
        )

    async def _probe_recipient(
        self, conversation: Conversation, operator: str, is_last: bool, *, control_apart: bool
    ) -> _ConnectionResult:
        """The real address's answer, and the control's if it was asked.

        The real one goes first, so that nothing the control provokes can spoil its answer.
        """
        catch_all = self._context.catch_all_cache.get(self._address.ascii_domain, operator)
        checks_catch_all = self._checks_catch_all and catch_all is None
        recipients = [self._recipient]
        if checks_catch_all and not control_apart and conversation.supports("pipelining"):
            recipients.append(self._control)
        results, sender = await self._send_with_either_sender(conversation, recipients, is_last)
        result = results[0] or StageResult(
            Stage.RCPT, ReplyClassification(Meaning.DROPPED, "no-reply")
        )
        control = results[1] if len(recipients) > 1 else None
        if result.meaning is Meaning.DROPPED:
            return _ConnectionResult(
                result, cut_short=len(recipients) > 1 and result.stage is Stage.RCPT
            )
        if not needs_control(result.meaning, checks_catch_all, catch_all):
            return _ConnectionResult(result, _rcpt_reply(control))
        # RFC 5321 section 4.5.3.1.10: one too many for this transaction, but not for another.
        one_too_many = result.meaning is Meaning.ACCEPTED and _is_throttled(control)
        if conversation.usable and (control is None or one_too_many):
            control = await self._send_control(conversation, sender, is_last)
        return _ConnectionResult(result, _rcpt_reply(control), cut_short=_is_cut_off(control))

    async def _send_with_either_sender(
        self, conversation: Conversation, recipients: list[str], is_last: bool
    ) -> tuple[list[StageResult | None], str]:
        """The replies to `recipients`, and the sender they were asked with.

        A host that refuses our sender is asked with the null sender, which bounces use and few
        refuse (RFC 5321 section 4.5.5).
        """
        sender = self._context.identity.sender
        results = await self._send_recipients(conversation, sender, recipients, is_last)
        if sender and _rejects_sender(results[0]) and conversation.usable:
            retried = await self._send_recipients(conversation, "", recipients, is_last)
            if retried[0] is not None and retried[0].meaning not in ABOUT_US | WITHOUT_REPLY:
                return retried, ""
        return results, sender

    async def _send_control(
        self, conversation: Conversation, sender: str, is_last: bool
    ) -> StageResult | None:
        """The reply to the control, asked alone."""
        return (await self._send_recipients(conversation, sender, [self._control], is_last))[0]

    async def _send_recipients(
        self, conversation: Conversation, sender: str, recipients: list[str], is_last: bool
    ) -> list[StageResult | None]:
        timeout_s = min(self._limits.command_timeout_s, self._wait_limit_s(is_last))
        utf8 = self._address.needs_smtputf8
        return await conversation.probe_recipients(
            sender, recipients, utf8=utf8, timeout_s=timeout_s
        )

    def _wait_limit_s(self, is_last: bool) -> float:
        """What a single wait may take: half of what is left while other places remain."""
        left_s = self._deadline.left_s
        return max(0.05, left_s if is_last else left_s / 2)

    def _elapsed_ms(self, started: float) -> int:
        return round((self._context.clock() - started) * 1000)


def _not_tried(target: Target, meaning: Meaning, rule: str) -> _TargetResult:
    return _TargetResult(
        target, StageResult(Stage.CONNECT, ReplyClassification(meaning, rule)), meaning
    )


def _paused(target: Target, pause: Pause) -> _TargetResult:
    reading = ReplyClassification(
        pause.meaning,
        "paused",
        block_list=pause.block_list,
        retry_after_s=math.ceil(pause.left_s),
    )
    return _TargetResult(
        target, StageResult(Stage.CONNECT, reading), pause.meaning, text_without_reply=pause.text
    )


def needs_control(meaning: Meaning, checks_catch_all: bool, catch_all: bool | None) -> bool:
    """Whether the control's reply is wanted beside a real address's reply of `meaning`.

    `catch_all` is what is known of the domain; `checks_catch_all` if it should be found out.
    An accepted address needs it to tell a mailbox from a domain that accepts every name, a bare
    refusal to tell whom it is about.
    """
    if meaning is Meaning.ACCEPTED:
        return checks_catch_all
    return meaning is Meaning.REJECTED_UNRECOGNISED and catch_all is not True


def _rejects_sender(result: StageResult | None) -> bool:
    return result is not None and result.meaning is Meaning.SENDER_REJECTED


def _is_throttled(result: StageResult | None) -> bool:
    return result is not None and result.meaning is Meaning.THROTTLED


def _is_cut_off(result: StageResult | None) -> bool:
    """Whether the host hung up instead of an answer, or with a 421."""
    return result is None or result.meaning is Meaning.DROPPED or _is_closing(result)


def _is_closing(result: StageResult) -> bool:
    return result.reply is not None and result.reply.code == SERVICE_CLOSING


def _rcpt_reply(result: StageResult | None) -> RcptReply | None:
    if result is None or result.reply is None or result.stage is not Stage.RCPT:
        return None
    return RcptReply(result.classification, result.reply.code, result.reply.text)


def _inquiry_result(results: list[_TargetResult], chosen: _TargetResult) -> InquiryResult:
    reply, reading = chosen.result.reply, chosen.result.classification
    return InquiryResult(
        Smtp(
            meaning=chosen.meaning,
            stage=chosen.result.stage,
            connected=any(visit.greeted for visit in results),
            host=chosen.target.host,
            ip=chosen.target.ip or None,
            code=reply.code if reply else None,
            enhanced=reading.enhanced,
            text=" ".join(reply.text.split()) if reply else chosen.text_without_reply,
            latency_ms=chosen.latency_ms,
            tls=chosen.tls,
            block_list=reading.block_list,
            retry_after_s=reading.retry_after_s,
        ),
        catch_all=chosen.catch_all,
        inactive=reading.inactive,
    )
