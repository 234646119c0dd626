"""One target's part of an inquiry: by which egress it is asked, and by which further ones.

A host that refuses us at one egress may serve us at another, so it is asked again by the next one.
A failure of the egress itself says nothing about the host: another egress takes over.
"""

from __future__ import annotations

import asyncio

from engine.dns.targets import is_global
from engine.model import Meaning
from engine.smtp.connect import EgressFault, is_proxy_alive
from engine.smtp.context import ProbeContext
from engine.smtp.egress import MAX_FURTHER_EGRESSES, REFUSES_EGRESS, Egress
from engine.smtp.meanings import MEANING_PRECEDENCE, WITHOUT_REPLY
from engine.smtp.providers import pacing_operator
from engine.smtp.target_probe import MIN_USEFUL_S, ProbeQuestion, TargetProbe, TargetResult
from engine.smtp.terms import Target

MAX_WAITS = 2
MAX_WAIT_S = 2.0
"""An egress that is tried again within this time is waited for: its proxy may be restarting."""
NO_SLOT = "our-own-limit"
"""Stands for the rule of a reply where our own pacing left no time for a connection."""


class TargetInquiry:
    """Asks `question` of one target; made for one use.

    `is_last` if no other target is left to ask. `has_alternative` if another one can be asked
    before this one.
    """

    def __init__(
        self,
        context: ProbeContext,
        question: ProbeQuestion,
        target: Target,
        *,
        is_last: bool,
        has_alternative: bool,
    ) -> None:
        self._context = context
        self._question = question
        self._target = target
        self._is_last = is_last
        self._has_alternative = has_alternative
        self._operator = pacing_operator(target.host)
        local = question.recipient.rpartition("@")[0]
        self._key = f"{local}@{question.domain}"
        """The address, in whichever form its domain is sent."""
        self._tried: set[str] = set()
        """Names of egresses."""
        self._waits = 0

    async def run(self) -> TargetResult:
        """The target's last word about the mailbox, else the result that tells most."""
        target, limits = self._target, self._context.limits
        if not limits.allow_private_networks and not is_global(target.ip):
            self._trace(f"{target.ip} is not a public address: not connected to")
            return TargetResult.not_asked(target, Meaning.NOT_ALLOWED, "not-global")
        results: list[TargetResult] = []
        refusals = 0
        while (egress := self._next_egress()) or await self._wait_for_egress(results):
            if egress is None:
                continue
            result = await self._ask_by(egress, may_ask_further=refusals < MAX_FURTHER_EGRESSES)
            is_silent = self._refuses_in_silence(result)
            if not (is_silent or _asks_next_egress(result)):
                return result
            results.append(result)
            if not result.egress_failed:
                # The host may just be down, so one further egress is enough.
                refusals += MAX_FURTHER_EGRESSES if is_silent else 1
            if refusals > MAX_FURTHER_EGRESSES or self._question.deadline.left_s < MIN_USEFUL_S:
                break
        if all(result.egress_failed for result in results):
            return self._without_egress(results)
        return min(results, key=precedence)

    def _next_egress(self) -> Egress | None:
        """The next egress to ask by, if there is one that may be used."""
        egress = self._context.egresses.choose(self._target, self._key, tried=self._tried)
        if egress is not None:
            if self._tried:
                self._trace(f"asking again by the egress {egress.name}")
            self._tried.add(egress.name)
        return egress

    async def _wait_for_egress(self, results: list[TargetResult]) -> bool:
        """Wait until an egress is tried again, if that is soon; whether it was waited for."""
        pause_s = self._context.egresses.soonest_s(self._target)
        if (
            pause_s is None
            or self._waits >= MAX_WAITS
            or not 0 < pause_s <= MAX_WAIT_S
            or pause_s + MIN_USEFUL_S > self._question.deadline.left_s
            or not all(result.egress_failed for result in results)
        ):
            return False
        self._waits += 1
        self._tried.clear()
        self._trace(f"waiting {pause_s:.1f} s for an egress")
        await asyncio.sleep(pause_s)
        return True

    def _without_egress(self, results: list[TargetResult]) -> TargetResult:
        why = self._context.egresses.why_none(self._target)
        self._trace(why)
        last = next((result.egress for result in reversed(results) if result.egress), None)
        return TargetResult.without_egress(self._target, why, last)

    async def _ask_by(self, egress: Egress, *, may_ask_further: bool) -> TargetResult:
        """Ask as soon as there is a slot for it, if that may be waited for."""
        deadline, target = self._question.deadline, self._target
        # A proxy may hang as well as the host, so time is left for another egress.
        is_last = self._is_last and not (
            egress.config.proxy is not None
            and may_ask_further
            and self._context.egresses.has_alternative(target, self._tried)
        )
        if why := self._why_no_slot(egress, is_last):
            self._trace(why)
            return TargetResult.not_asked(target, Meaning.THROTTLED, NO_SLOT)
        try:
            async with (
                asyncio.timeout(deadline.share_s(is_last=is_last)) as waiting,
                egress.pacer.slot(
                    self._operator,
                    bulk=self._context.limits.bulk,
                    has_alternative=self._has_alternative,
                ),
            ):
                waiting.reschedule(None)
                # Not before the slot: the egress may have failed, or a pause begun, meanwhile.
                if egress.health.left_s:
                    return TargetResult.without_egress(target, egress.health.reason)
                if pause := await egress.pause_or_start_trial(target.host):
                    self._trace(pause.text)
                    return TargetResult.paused(target, pause, egress.name)
                share_s = deadline.share_s(is_last=is_last)
                probe = TargetProbe(self._context, self._question, target, egress, is_last=is_last)
                result = await probe.run()
        except EgressFault as fault:
            return TargetResult.without_egress(target, fault.reason, egress.name)
        except TimeoutError:
            self._trace("no free connection in time")
            return TargetResult.not_asked(target, Meaning.THROTTLED, NO_SLOT)
        if result.meaning in WITHOUT_REPLY and not await is_proxy_alive(egress.config):
            egress.record_fault("the proxy failed in the middle of a conversation")
            return TargetResult.without_egress(target, egress.health.reason, egress.name)
        self._learn(egress, result, share_s)
        return result

    def _refuses_in_silence(self, result: TargetResult) -> bool:
        """Whether the host may have refused this egress without a reply, as firewalls do.

        A time-out takes long, so it counts only where there is nothing else to ask.
        """
        if result.greeted or result.outcome.reply is not None or result.egress_failed:
            return False
        may_wait = self._is_last and not self._context.limits.bulk
        return (
            result.refused
            or result.meaning is Meaning.DROPPED
            or (result.meaning in (Meaning.UNREACHABLE, Meaning.TIMED_OUT) and may_wait)
        )

    def _why_no_slot(self, egress: Egress, is_last: bool) -> str:
        """Why no slot should be waited for; empty if it should."""
        pacer = egress.pacer
        # A batch can wait for longer than its single probes' deadlines say.
        hopeless = (
            pacer.is_skipped(self._operator)
            if self._context.limits.bulk
            else pacer.wait_s(self._operator) > self._question.deadline.share_s(is_last=is_last)
        )
        if hopeless:
            return "no connection before the deadline"
        if self._has_alternative and (
            self._target in egress.unresponsive or pacer.is_backing_off(self._operator)
        ):
            return "deferred: unresponsive or backing off"
        return ""

    def _learn(self, egress: Egress, result: TargetResult, share_s: float) -> None:
        """Record how the host treats `egress`."""
        meaning, stage = result.outcome.meaning, result.outcome.stage
        # With less than the whole time the deadline may have been too short.
        if share_s >= self._context.limits.command_timeout_s and not result.maybe_egress:
            egress.unresponsive.record_connection(result.target, meaning, stage)
        if result.meaning is Meaning.THROTTLED:
            egress.pacer.record_throttling(
                self._operator, result.outcome.classification.retry_after_s, stage
            )
        elif result.greeted:
            egress.pacer.record_success(self._operator)
        if result.meaning is Meaning.GREYLISTED or result.deferred_control is not None:
            self._context.egresses.record_greylisted(self._key, egress.name)
        reply = result.outcome.reply
        if reply is None and not result.greeted:
            return  # there was no conversation
        egress.reputation.record_outcome(
            result.target.host,
            meaning,
            stage,
            about_mailbox=result.about_mailbox,
            block_list=result.outcome.classification.block_list,
            text=reply.text if reply else None,
        )

    def _trace(self, line: str) -> None:
        self._question.trace(self._target.host, line)


def had_no_slot(result: TargetResult) -> bool:
    """Whether our own pacing left no time for a connection."""
    return result.outcome.classification.rule == NO_SLOT


def precedence(result: TargetResult) -> tuple[int, bool]:
    """Sorts the result to report first: the nearer to the mailbox, the more it tells."""
    return MEANING_PRECEDENCE.index(result.meaning), had_no_slot(result)


def _asks_next_egress(result: TargetResult) -> bool:
    """Whether another egress may bring a better result."""
    return result.egress_failed or result.maybe_egress or result.meaning in REFUSES_EGRESS
