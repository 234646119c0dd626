"""Asking one target about a recipient, and about the control where it takes that to judge.

The real address is asked first, so that nothing that the control provokes can spoil its reply. A
host that hangs up on the two of them together is asked once more, one at a time.
"""

from __future__ import annotations

import math
import ssl
from dataclasses import dataclass, replace

from engine.model import Meaning, Stage
from engine.smtp.catch_all import accepts_all, compare_with_control, is_deferred
from engine.smtp.connect import EgressFault
from engine.smtp.context import Deadline, ProbeContext
from engine.smtp.dialogue import Conversation, ConversationEnded, TlsFailed
from engine.smtp.egress import Egress
from engine.smtp.meanings import ABOUT_MAILBOX, ABOUT_US, WITHOUT_REPLY
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

EGRESS_FAILED = "egress"
"""Stands for the rule of a reply where no egress works."""
_NOT_SERVED = frozenset({Meaning.DOMAIN_NOT_SERVED, Meaning.PROTOCOL_ERROR})
_UNKNOWN_FORM = {
    False: _NOT_SERVED,
    True: _NOT_SERVED | {Meaning.SMTPUTF8_UNSUPPORTED, Meaning.MAILBOX_NOT_FOUND},
}
"""What a host says of a form of its domain that it does not know; without and with SMTPUTF8."""
_KNOWN_FORM = ABOUT_MAILBOX | {Meaning.GREYLISTED, Meaning.REJECTED_UNRECOGNISED}
"""What shows that the host knows the other form."""
MIN_USEFUL_S = 0.2
"""With less than this left of the deadline no further connection is made."""


@dataclass(frozen=True, slots=True)
class ProbeQuestion:
    """What the targets of one address are asked, and until when."""

    recipient: str
    control: str
    """The same in every retry, so that greylisting recognises it."""
    domain: str
    utf8: bool
    """Whether the recipient needs SMTPUTF8 (RFC 6531)."""
    checks_catch_all: bool
    deadline: Deadline
    trace: Trace
    other_form: ProbeQuestion | None = None
    """The question with the domain in Unicode instead of A-labels, or the reverse (RFC 5890): some
    hosts say of one form that they do not serve it."""


@dataclass(frozen=True, slots=True)
class TargetResult:
    """What asking one target came to."""

    target: Target
    outcome: StageResult
    """Of the real address, or of the stage that the conversation ended at."""
    meaning: Meaning
    """That of `outcome`, given the control's reply."""
    greeted: bool = False
    """Whether the host sent a banner of its own."""
    tls: bool = False
    latency_ms: int | None = None
    catch_all: bool | None = None
    about_mailbox: bool = False
    """Whether any reply was about a mailbox, the control's included."""
    deferred_control: ReplyClassification | None = None
    """The control's reply, where it was a temporary one and the real address was accepted."""
    text_without_reply: str | None = None
    """Stands in the evidence where there was no reply."""
    egress: str | None = None
    """Name of the egress that it was asked by."""
    maybe_egress: bool = False
    """Whether that egress may have failed rather than the host."""
    refused: bool = False
    """Whether the host refused the TCP connection."""

    @classmethod
    def not_asked(cls, target: Target, meaning: Meaning, rule: str) -> TargetResult:
        """The target was not connected to; `rule` says why."""
        outcome = StageResult(Stage.CONNECT, ReplyClassification(meaning, rule))
        return cls(target, outcome, meaning)

    @classmethod
    def without_egress(cls, target: Target, why: str, egress: str | None = None) -> TargetResult:
        """The target was not connected to for lack of an egress, or `egress` failed."""
        outcome = StageResult(
            Stage.CONNECT, ReplyClassification(Meaning.UNREACHABLE, EGRESS_FAILED)
        )
        return cls(target, outcome, Meaning.UNREACHABLE, text_without_reply=why, egress=egress)

    @classmethod
    def paused(cls, target: Target, pause: Pause, egress: str) -> TargetResult:
        """The target was not connected to because it refuses us."""
        classification = ReplyClassification(
            pause.meaning,
            "paused",
            block_list=pause.block_list,
            retry_after_s=math.ceil(pause.left_s),
        )
        outcome = StageResult(Stage.CONNECT, classification)
        return cls(target, outcome, pause.meaning, text_without_reply=pause.text, egress=egress)

    @property
    def egress_failed(self) -> bool:
        """Whether there was no egress that works, which says nothing about the host."""
        return self.outcome.classification.rule == EGRESS_FAILED


@dataclass(frozen=True, slots=True)
class _ConnectionResult:
    """What one connection came to."""

    outcome: StageResult
    """Of the real address."""
    control: RcptReply | None = None
    cut_short: bool = False
    """Whether the host hung up before all replies that were wanted."""
    tls: bool = False


class TargetProbe:
    """Asks `question` of one target by `egress`; made for one use.

    `is_last` if no other target is left to ask, so that this one may use all time that is left.
    """

    def __init__(
        self,
        context: ProbeContext,
        question: ProbeQuestion,
        target: Target,
        egress: Egress,
        *,
        is_last: bool,
    ) -> None:
        self._context = context
        self._egress = egress
        self._question = question
        self._target = target
        self._is_last = is_last
        self._operator = pacing_operator(target.host)

    async def run(self) -> TargetResult:
        """The target's reply. Raises EgressFault, but nothing for what a host does."""
        question, started = self._question, self._context.clock()
        try:
            result = await self._probe_on_connection()
        except ConversationEnded as ended:
            return TargetResult(
                self._target,
                ended.result,
                ended.result.meaning,
                ended.greeted,
                latency_ms=self._elapsed_ms(started),
                egress=self._egress.name,
                maybe_egress=ended.maybe_egress,
                refused=ended.refused,
            )
        latency_ms = self._elapsed_ms(started)
        if result.cut_short and question.deadline.left_s > MIN_USEFUL_S:
            result = await self._retry_cut_short(result)
        outcome, control = result.outcome, result.control
        catch_all = self._context.catch_all_cache.update(
            question.domain, self._operator, accepts_all(control)
        )
        reply = _rcpt_reply(outcome)
        meaning = (
            outcome.meaning if reply is None else compare_with_control(reply, control, catch_all)
        )
        about_mailbox = meaning in ABOUT_MAILBOX or (
            control is not None and control.classification.meaning in ABOUT_MAILBOX
        )
        deferred = None
        if control and is_deferred(control) and meaning is Meaning.ACCEPTED and catch_all is None:
            deferred = control.classification
        return TargetResult(
            self._target,
            outcome,
            meaning,
            True,
            result.tls,
            latency_ms,
            catch_all,
            about_mailbox,
            deferred,
            egress=self._egress.name,
        )

    # -- connections ---------------------------------------------------------------------

    async def _retry_cut_short(self, first: _ConnectionResult) -> _ConnectionResult:
        """Ask again, on a connection of its own, what the host hung up on.

        Some hosts hang up at names that do not exist, or after each recipient. A reset may even
        discard the real address's reply, which came before (RFC 9293 section 3.10.7.4).
        """
        self._question.trace(
            self._target.host, "connection lost: asking again, one recipient at a time"
        )
        try:
            if first.outcome.meaning is Meaning.DROPPED:
                return await self._probe_on_connection(control_apart=True)
            return await self._probe_on_connection(known_outcome=first.outcome)
        except ConversationEnded:
            return first
        except EgressFault:
            if first.outcome.meaning is Meaning.DROPPED:
                raise  # the egress broke, it seems, and not the host
            return first

    async def _probe_on_connection(
        self, *, control_apart: bool = False, known_outcome: StageResult | None = None
    ) -> _ConnectionResult:
        """Ask on one connection. Raises ConversationEnded if no recipient could be sent.

        With `control_apart` the control is asked only after the real address's reply; with
        `known_outcome`, the real address's from another connection, it is asked alone.
        """
        conversation = await self._open()
        try:
            if known_outcome is not None:
                question = self._form_of(known_outcome)
                sender = self._egress.config.identity.sender
                control = await self._send_control(conversation, question, sender)
                result = _ConnectionResult(known_outcome, _rcpt_reply(control))
            else:
                result = await self._probe_forms(conversation, control_apart=control_apart)
        except BaseException:
            conversation.abort()
            raise
        self._context.pending_quits.quit(conversation)
        return replace(result, tls=conversation.tls)

    async def _open(self) -> Conversation:
        """A conversation over TLS if the host offers it, in clear text if TLS fails."""
        try:
            return await self._open_with(self._context.tls)
        except TlsFailed:
            self._question.trace(self._target.host, "going on without TLS")
            return await self._open_with(None)

    async def _open_with(self, tls: ssl.SSLContext | None) -> Conversation:
        limits = self._context.limits
        share_s = self._question.deadline.share_s(is_last=self._is_last)
        return await self._context.egresses.open_conversation(
            self._egress,
            self._target,
            connect_timeout_s=min(limits.connect_timeout_s, share_s),
            command_timeout_s=min(limits.command_timeout_s, share_s),
            # Half at most, so that time is left for clear text.
            tls_timeout_s=min(limits.command_timeout_s, share_s / 2),
            tls=tls,
            trace=self._question.trace,
        )

    # -- one connection ------------------------------------------------------------------

    async def _probe_forms(
        self, conversation: Conversation, *, control_apart: bool
    ) -> _ConnectionResult:
        """Ask in one form of the domain, then in the other if the host does not know the first."""
        question, other = self._question, self._question.other_form
        first = await self._probe_recipient(conversation, question, control_apart=control_apart)
        if (
            other is None
            or first.outcome.meaning not in _UNKNOWN_FORM[question.utf8]
            or not (conversation.usable and conversation.supports("smtputf8"))
        ):
            return first
        second = await self._probe_recipient(conversation, other, control_apart=control_apart)
        return second if second.outcome.meaning in _KNOWN_FORM else first

    def _form_of(self, outcome: StageResult) -> ProbeQuestion:
        """The question that `outcome` is the result of."""
        other = self._question.other_form
        return other if other and outcome.recipient == other.recipient else self._question

    async def _probe_recipient(
        self, conversation: Conversation, question: ProbeQuestion, *, control_apart: bool
    ) -> _ConnectionResult:
        """Send the recipient, then the control if its reply is needed."""
        if question.checks_catch_all:
            await self._context.catch_all_cache.learn(question.domain, self._operator)
        catch_all = self._context.catch_all_cache.get(question.domain, self._operator)
        checks_catch_all = question.checks_catch_all and catch_all is None
        recipients = [question.recipient]
        if checks_catch_all and not control_apart and conversation.supports("pipelining"):
            recipients.append(question.control)
        results, sender = await self._send_with_either_sender(conversation, question, recipients)
        outcome = results[0] or StageResult(
            Stage.RCPT, ReplyClassification(Meaning.DROPPED, "no-reply")
        )
        control = results[1] if len(recipients) > 1 else None
        if outcome.meaning is Meaning.DROPPED:
            return _ConnectionResult(
                outcome, cut_short=len(recipients) > 1 and outcome.stage is Stage.RCPT
            )
        if not needs_control(outcome.meaning, checks_catch_all, catch_all):
            return _ConnectionResult(outcome, _rcpt_reply(control))
        # RFC 5321 section 4.5.3.1.10: one too many for this transaction, but not for another.
        one_too_many = outcome.meaning is Meaning.ACCEPTED and _is_throttled(control)
        if conversation.usable and (control is None or one_too_many):
            control = await self._send_control(conversation, question, sender)
        # A greylisted address is asked again with its control in any case.
        cut_short = _is_cut_off(control) and outcome.meaning is not Meaning.GREYLISTED
        return _ConnectionResult(outcome, _rcpt_reply(control), cut_short=cut_short)

    async def _send_with_either_sender(
        self, conversation: Conversation, question: ProbeQuestion, recipients: list[str]
    ) -> tuple[list[StageResult | None], str]:
        """The results for `recipients`, and the sender that they were sent with.

        A host that refuses our sender is asked again with the null sender, which bounces use and
        few hosts refuse (RFC 5321 section 4.5.5).
        """
        sender = self._egress.config.identity.sender
        results = await self._send(conversation, question, sender, recipients)
        if sender and _rejects_sender(results[0]) and conversation.usable:
            retried = await self._send(conversation, question, "", recipients)
            if retried[0] is not None and retried[0].meaning not in ABOUT_US | WITHOUT_REPLY:
                return retried, ""
        return results, sender

    async def _send_control(
        self, conversation: Conversation, question: ProbeQuestion, sender: str
    ) -> StageResult | None:
        """The result for the control, sent alone."""
        return (await self._send(conversation, question, sender, [question.control]))[0]

    async def _send(
        self,
        conversation: Conversation,
        question: ProbeQuestion,
        sender: str,
        recipients: list[str],
    ) -> list[StageResult | None]:
        share_s = question.deadline.share_s(is_last=self._is_last)
        return await conversation.probe_recipients(
            sender,
            recipients,
            utf8=question.utf8,
            timeout_s=min(self._context.limits.command_timeout_s, share_s),
        )

    def _elapsed_ms(self, started: float) -> int:
        return round((self._context.clock() - started) * 1000)


def needs_control(meaning: Meaning, checks_catch_all: bool, catch_all: bool | None) -> bool:
    """Whether the control's reply is needed beside a real address's reply of `meaning`.

    An accepted address needs it if `checks_catch_all`: the domain may accept every name. A
    greylisted one needs it too, so that both have waited when they are asked again. A bare refusal
    needs it to show whom it is about, unless the domain is known to accept other names
    (`catch_all`).
    """
    if meaning in (Meaning.ACCEPTED, Meaning.GREYLISTED):
        return checks_catch_all
    return meaning is Meaning.REJECTED_UNRECOGNISED and catch_all is not True


def _rejects_sender(result: StageResult | None) -> bool:
    return result is not None and result.meaning is Meaning.SENDER_REJECTED


def _is_throttled(result: StageResult | None) -> bool:
    return result is not None and result.meaning is Meaning.THROTTLED


def _is_cut_off(result: StageResult | None) -> bool:
    """Whether the host hung up instead of a reply, or after a 421."""
    return result is None or result.meaning is Meaning.DROPPED or _is_closing(result)


def _is_closing(result: StageResult) -> bool:
    return result.reply is not None and result.reply.code == SERVICE_CLOSING


def _rcpt_reply(result: StageResult | None) -> RcptReply | None:
    if result is None or result.reply is None or result.stage is not Stage.RCPT:
        return None
    reply = result.reply
    return RcptReply(result.classification, reply.code, reply.text, result.recipient)
