"""One conversation with one mail host: connect, EHLO, STARTTLS, MAIL, RCPT, QUIT; never DATA.

aiosmtplib connects, sends EHLO and starts TLS. `engine.smtp.pipe` carries the rest, so that
recipients can be pipelined (RFC 2920) and the connection can be kept for more. This is the only
module that knows aiosmtplib and its exceptions.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import zip_longest
from typing import cast

import aiosmtplib

from engine.model import Meaning, Stage
from engine.smtp.connect import HostUnreachable, connect
from engine.smtp.pipe import PipeBroken, ReplyPipe, blank_unprintable
from engine.smtp.reply import classify_rcpt, classify_reply
from engine.smtp.terms import (
    MAX_REPLY_CHARACTERS,
    SERVICE_CLOSING,
    EgressConfig,
    Identity,
    ReplyClassification,
    SmtpReply,
    StageResult,
    Target,
    Trace,
)

DELAYED_ACK_S = 0.2
"""The longest delay of a TCP acknowledgement in practice (RFC 1122 allows 0.5 s)."""


class ConversationEnded(Exception):
    """No recipient can be sent on this connection; `result` says why.

    `greeted` if the host sent a banner. The others are as in `connect.HostUnreachable`.
    """

    def __init__(
        self,
        result: StageResult,
        *,
        greeted: bool,
        refused: bool = False,
        maybe_egress: bool = False,
        no_ipv6: bool = False,
    ) -> None:
        super().__init__(f"{result.stage}: {result.meaning}")
        self.result = result
        self.greeted = greeted
        self.refused = refused
        self.maybe_egress = maybe_egress
        self.no_ipv6 = no_ipv6


class TlsFailed(Exception):
    """The host accepted STARTTLS, and the TLS handshake failed; the connection is lost."""


def tls_context() -> ssl.SSLContext:
    """Opportunistic TLS (RFC 3207, RFC 7435): any certificate is better than none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


RSET_COMMAND = b"RSET"


@dataclass(frozen=True, slots=True)
class _Command:
    stage: Stage
    command: bytes
    recipient: str = ""
    """Of RCPT."""


class Conversation:
    """A connection to a host that accepted our EHLO and expects MAIL."""

    def __init__(
        self, pipe: ReplyPipe, target: Target, extensions: frozenset[str], tls: bool, trace: Trace
    ) -> None:
        self._pipe = pipe
        self._target = target
        self._extensions = extensions
        self._trace = trace
        self._mail_sent = False
        self.tls = tls

    @property
    def usable(self) -> bool:
        """Whether more commands can be sent on this connection."""
        return self._pipe.usable

    def supports(self, extension: str) -> bool:
        """Whether the host's reply to EHLO names `extension` (lower case)."""
        return extension in self._extensions

    async def probe_recipients(
        self, sender: str, recipients: Sequence[str], *, utf8: bool, timeout_s: float
    ) -> list[StageResult | None]:
        """Send MAIL FROM `sender` and RCPT TO each of `recipients`; one result a recipient.

        A result is the recipient's reply, or MAIL's if that was refused, or None if the host did
        not get as far. `timeout_s` bounds each reply. Never raises for what a server does.
        """
        if utf8 and not self.supports("smtputf8"):
            self._trace(self._target.host, "does not offer SMTPUTF8")
            not_offered = ReplyClassification(Meaning.SMTPUTF8_UNSUPPORTED, "smtputf8-not-offered")
            return [StageResult(Stage.EHLO, not_offered)] * len(recipients)
        commands = self._plan_commands(sender, recipients, utf8)
        return _by_recipient(commands, await self._run_commands(commands, timeout_s))

    async def _run_commands(
        self, commands: Sequence[_Command], timeout_s: float
    ) -> list[StageResult | None]:
        """The result of each command, as far as they came; None for a command that was not sent."""
        results: list[StageResult | None] = []
        transaction_open = True
        pipelined = self.supports("pipelining")
        try:
            if pipelined:
                self._send(*(command.command for command in commands))
            for command in commands:
                if not pipelined:
                    if command.stage is Stage.RCPT and not transaction_open:
                        results.append(None)
                        continue
                    self._send(command.command)
                result = await self._read_reply(command, timeout_s)
                results.append(result)
                if command.stage is Stage.MAIL:
                    transaction_open = _is_positive(result)
                if result.reply is not None and result.reply.code == SERVICE_CLOSING:
                    # RFC 5321 section 3.8: the host closes the connection after it.
                    self._pipe.abort()
                    break
            else:
                self._pipe.expect_no_more()
        except PipeBroken as broken:
            self._trace(self._target.host, _TRACE_TEXTS[broken.meaning])
            if len(results) == len(commands):
                # One reply too many: none of them can be matched with a command.
                return [
                    StageResult(command.stage, ReplyClassification(broken.meaning, "no-reply"))
                    for command in commands
                ]
            stage = commands[len(results)].stage
            results.append(StageResult(stage, ReplyClassification(broken.meaning, "no-reply")))
        return results

    async def exchange(
        self,
        commands: Sequence[bytes],
        timeout_s: float,
        *,
        max_refusals: int = 0,
        refused_timeout_s: float = 0.0,
    ) -> tuple[list[SmtpReply], Meaning | None]:
        """Send MAIL, RCPT and RSET commands; the replies as far as they came, and what ended them.

        The commands are written in one go where the host supports pipelining, else one after the
        other up to a MAIL that is refused. `timeout_s` bounds each reply, `refused_timeout_s`
        those after `max_refusals` refusals (0: never). A 421 is the last reply. Unlike in
        `probe_recipients`, no command is added, and the transcript gets no line.
        """
        pipe = self._pipe
        replies: list[SmtpReply] = []
        pipelined = self.supports("pipelining")
        try:
            if pipelined:
                pipe.send(*commands)
            for command in commands:
                if not pipelined:
                    pipe.send(command)
                reply = await pipe.read_reply(timeout_s)
                replies.append(reply)
                if reply.code == SERVICE_CLOSING:
                    pipe.abort()
                    return replies, Meaning.DROPPED
                if reply.code >= 400:
                    max_refusals -= 1
                    if max_refusals == 0:
                        timeout_s = min(timeout_s, refused_timeout_s)
                if not pipelined and reply.code >= 300 and command.startswith(b"MAIL"):
                    return replies, None
            pipe.expect_no_more()
        except PipeBroken as broken:
            # One reply too many: none of them can be matched with a command.
            return replies if len(replies) < len(commands) else [], broken.meaning
        return replies, None

    def _plan_commands(self, sender: str, recipients: Sequence[str], utf8: bool) -> list[_Command]:
        """The commands for one transaction, or with the null sender for one a recipient.

        A bounce has one recipient, so servers refuse a second recipient of the null sender
        for any name.
        """
        mail = b"MAIL FROM:<" + sender.encode() + b">" + (b" SMTPUTF8" if utf8 else b"")
        commands: list[_Command] = []
        for recipient in recipients:
            if not commands or not sender:
                if self._mail_sent:
                    commands.append(_Command(Stage.MAIL, RSET_COMMAND))
                commands.append(_Command(Stage.MAIL, mail))
                self._mail_sent = True
            command = b"RCPT TO:<" + recipient.encode() + b">"
            commands.append(_Command(Stage.RCPT, command, recipient))
        return commands

    def quit(self) -> ReplyPipe:
        """Send QUIT without waiting for the reply; returns the pipe, which closes by itself."""
        if self.usable:
            self._trace(self._target.host, "> QUIT")
        self._pipe.quit()
        return self._pipe

    def abort(self) -> None:
        """Close the connection at once."""
        self._pipe.abort()

    def _send(self, *commands: bytes) -> None:
        for command in commands:
            self._trace(self._target.host, "> " + command.decode())
        self._pipe.send(*commands)

    async def _read_reply(self, command: _Command, timeout_s: float) -> StageResult:
        reply = await self._pipe.read_reply(timeout_s)
        self._trace(self._target.host, f"< {reply.code} {_one_line(reply.text)}".rstrip())
        if command.stage is Stage.RCPT:
            classification = classify_rcpt(reply.code, reply.text, command.recipient)
        else:
            classification = classify_reply(command.stage, reply.code, reply.text)
        return StageResult(command.stage, classification, reply, command.recipient)


async def open_conversation(
    target: Target,
    egress: EgressConfig,
    *,
    connect_timeout_s: float,
    command_timeout_s: float,
    tls_timeout_s: float,
    tls: ssl.SSLContext | None,
    trace: Trace,
) -> Conversation:
    """Connect, read the banner, send EHLO (or HELO) and start TLS if the host offers it.

    Without `tls` STARTTLS is not sent. Raises ConversationEnded if the host cannot be asked,
    TlsFailed if it could be asked without TLS, and EgressFault if `egress` is out of order.
    """
    identity = egress.identity
    connection = await _connect(target, egress, connect_timeout_s, trace)
    client = aiosmtplib.SMTP(
        hostname=target.host,
        sock=connection,
        local_hostname=identity.helo,
        timeout=command_timeout_s,
        start_tls=False,
        tls_context=tls,
    )
    try:
        await _read_banner(client, target, trace)
        await _send_ehlo(client, identity, target, trace)
        encrypted = False
        if tls is not None and client.supports_extension("starttls"):
            encrypted = await _start_tls(client, target, tls_timeout_s, trace)
            if encrypted:
                with _quick_acknowledgement(connection):
                    await _send_ehlo(client, identity, target, trace)
        transport = client.transport
        if transport is None or transport.is_closing():
            raise _ended_without_reply(Stage.EHLO, Meaning.DROPPED, greeted=True)
    except BaseException as exc:
        if isinstance(exc, ConversationEnded) and egress.proxy is not None:
            # Some proxies report success before they have connected to the host.
            exc.maybe_egress = not exc.greeted and exc.result.reply is None
        # Not close(): over TLS that waits half a minute for the peer's close_notify.
        if client.transport is not None:
            cast(asyncio.Transport, client.transport).abort()
        client.close()
        connection.close()
        raise
    pipe = ReplyPipe()
    pipe.attach(transport)
    return Conversation(pipe, target, frozenset(client.esmtp_extensions), encrypted, trace)


async def _connect(
    target: Target, egress: EgressConfig, timeout_s: float, trace: Trace
) -> socket.socket:
    try:
        return await connect(target, egress, timeout_s, trace)
    except HostUnreachable as exc:
        trace(target.host, exc.reason)
        raise ConversationEnded(
            StageResult(Stage.CONNECT, ReplyClassification(Meaning.UNREACHABLE, "no-reply")),
            greeted=False,
            refused=exc.refused,
            maybe_egress=exc.maybe_egress,
            no_ipv6=exc.no_ipv6,
        ) from exc


@contextmanager
def _quick_acknowledgement(connection: socket.socket) -> Iterator[None]:
    """Avoid the 40 ms that a delayed acknowledgement of TLS session tickets costs.

    The server's next reply waits for that acknowledgement (RFC 896), and tickets never reach
    us as data. Linux alone lets a client acknowledge at once, and forgets it soon, so the option
    is set again at growing intervals until the reply has come.
    """
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle | None = None

    def acknowledge_now(next_in_s: float) -> None:
        nonlocal timer
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        if next_in_s < DELAYED_ACK_S:
            timer = loop.call_later(next_in_s, acknowledge_now, next_in_s * 2)

    if hasattr(socket, "TCP_QUICKACK"):
        acknowledge_now(0.0005)
    try:
        yield
    finally:
        if timer is not None:
            timer.cancel()


async def _read_banner(client: aiosmtplib.SMTP, target: Target, trace: Trace) -> None:
    try:
        banner = await client.connect()
    except aiosmtplib.SMTPConnectResponseError as exc:
        raise _ended_by_reply(Stage.BANNER, exc, target, trace, greeted=False) from exc
    except (aiosmtplib.SMTPException, OSError) as exc:
        raise _ended_by_error(Stage.BANNER, exc, target, trace, greeted=False) from exc
    trace(target.host, f"< {banner.code} {_one_line(banner.message)}")


async def _send_ehlo(
    client: aiosmtplib.SMTP, identity: Identity, target: Target, trace: Trace
) -> None:
    """Send EHLO, then HELO if the host rejects that (RFC 5321 section 3.2)."""
    refusal: aiosmtplib.SMTPHeloError | None = None
    for verb, command in (("EHLO", client.ehlo), ("HELO", client.helo)):
        trace(target.host, f"> {verb} {identity.helo}")
        try:
            reply = await command()
        except aiosmtplib.SMTPHeloError as exc:
            refusal = exc
            if exc.code < 500 or not client.is_connected:
                break
            trace(target.host, f"< {exc.code} {_one_line(exc.message)}")
        except (aiosmtplib.SMTPException, OSError) as exc:
            if refusal is not None:
                break
            raise _ended_by_error(Stage.EHLO, exc, target, trace, greeted=True) from exc
        else:
            trace(target.host, f"< {reply.code} {_one_line(reply.message)}")
            return
    assert refusal is not None
    raise _ended_by_reply(Stage.EHLO, refusal, target, trace, greeted=True) from refusal


async def _start_tls(
    client: aiosmtplib.SMTP, target: Target, timeout_s: float, trace: Trace
) -> bool:
    """True once encrypted; False if the host rejected STARTTLS and goes on in clear text."""
    trace(target.host, "> STARTTLS")
    try:
        reply = await client.starttls(server_hostname=target.host, timeout=timeout_s)
    except aiosmtplib.SMTPResponseException as exc:
        if not client.is_connected or exc.code < 400:
            raise TlsFailed from exc
        trace(target.host, f"< {exc.code} {_one_line(exc.message)}")
        return False
    except (aiosmtplib.SMTPException, OSError, ValueError) as exc:
        # ssl.SSLError is an OSError; ValueError is a host name that is not valid as SNI.
        trace(target.host, f"TLS failed: {_one_line(str(exc))}")
        raise TlsFailed from exc
    trace(target.host, f"< {reply.code} {_one_line(reply.message)}")
    return True


def _ended_by_reply(
    stage: Stage,
    exc: aiosmtplib.SMTPResponseException,
    target: Target,
    trace: Trace,
    *,
    greeted: bool,
) -> ConversationEnded:
    if not 400 <= exc.code < 600:
        # Such as 250 for a banner: it is no SMTP server.
        return _ended_by_error(stage, exc, target, trace, greeted=greeted)
    text = _printable_text(exc.message)[:MAX_REPLY_CHARACTERS]
    trace(target.host, f"< {exc.code} {_one_line(text)}".rstrip())
    classification = classify_reply(stage, exc.code, text)
    return ConversationEnded(
        StageResult(stage, classification, SmtpReply(exc.code, text)), greeted=greeted
    )


def _ended_by_error(
    stage: Stage, exc: Exception, target: Target, trace: Trace, *, greeted: bool
) -> ConversationEnded:
    meaning = next(
        (row[1] for row in _MEANING_BY_ERROR if isinstance(exc, row[0])), Meaning.DROPPED
    )
    trace(target.host, _TRACE_TEXTS[meaning])
    return _ended_without_reply(stage, meaning, greeted=greeted)


def _ended_without_reply(stage: Stage, meaning: Meaning, *, greeted: bool) -> ConversationEnded:
    return ConversationEnded(
        StageResult(stage, ReplyClassification(meaning, "no-reply")), greeted=greeted
    )


# The first match decides: a connect time-out is also a connect error.
_MEANING_BY_ERROR: tuple[tuple[type[Exception], Meaning], ...] = (
    (aiosmtplib.SMTPTimeoutError, Meaning.TIMED_OUT),
    (aiosmtplib.SMTPServerDisconnected, Meaning.DROPPED),
    (aiosmtplib.SMTPResponseException, Meaning.NOT_SMTP),
    (TimeoutError, Meaning.TIMED_OUT),
)
_TRACE_TEXTS = {
    Meaning.TIMED_OUT: "no reply in time",
    Meaning.DROPPED: "closed the connection",
    Meaning.NOT_SMTP: "sent something that is not SMTP",
}


def _by_recipient(
    commands: Sequence[_Command], results: Sequence[StageResult | None]
) -> list[StageResult | None]:
    """One result a recipient: its own, or that of the MAIL before it if MAIL was refused."""
    by_recipient: list[StageResult | None] = []
    mail: StageResult | None = None
    for command, result in zip_longest(commands, results):
        if command.stage is not Stage.RCPT:
            mail = result
        else:
            refused = mail is not None and not _is_positive(mail)
            by_recipient.append(mail if refused else result)
    return by_recipient


def _is_positive(result: StageResult) -> bool:
    return result.reply is not None and result.reply.code // 100 == 2


def _printable_text(message: str) -> str:
    """Replace the surrogates that aiosmtplib makes of octets that are not UTF-8."""
    text = message.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "\n".join(blank_unprintable(line) for line in text.split("\n"))


def _one_line(text: str) -> str:
    return " ".join(_printable_text(text).split())
