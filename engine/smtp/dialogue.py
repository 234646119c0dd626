"""One conversation with one mail host: connect, EHLO, STARTTLS, MAIL, RCPT, QUIT.

RCPT only, never DATA. aiosmtplib connects, greets and starts TLS; `engine.smtp.pipe` carries what
follows, so that recipients can be pipelined (RFC 2920) and the connection kept for more. The
one place where aiosmtplib's exceptions are known.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import zip_longest
from typing import cast

import aiosmtplib

from engine.model import Meaning, Stage
from engine.smtp.pipe import CLOSING, PipeBroken, Reply, ReplyPipe, legible
from engine.smtp.reply import Reading, read

DELAYED_ACK_S = 0.2
"""The longest that a TCP holds an acknowledgement back, in practice (RFC 1122: 0.5 s)."""

Say = Callable[[str, str], None]
"""Notes a line of the transcript: who, what."""


@dataclass(frozen=True, slots=True)
class Identity:
    """How we introduce ourselves."""

    helo: str
    sender: str
    """MAIL FROM; empty for the null sender."""


@dataclass(frozen=True, slots=True)
class Target:
    """A place to dial."""

    host: str
    ip: str
    port: int


@dataclass(frozen=True, slots=True)
class Said:
    """How a step of the conversation ended: with a reply, or without."""

    stage: Stage
    reading: Reading
    reply: Reply | None = None

    @property
    def meaning(self) -> Meaning:
        return self.reading.meaning


class ConversationEnded(Exception):
    """The host will hear no recipient from us on this connection; `said` tells why."""

    def __init__(self, said: Said, *, greeted: bool) -> None:
        super().__init__(f"{said.stage}: {said.meaning}")
        self.said = said
        self.greeted = greeted


class TlsFailed(Exception):
    """STARTTLS was agreed on and came to nothing; the connection is lost."""


def tls_context() -> ssl.SSLContext:
    """Opportunistic TLS (RFC 3207, RFC 7435): any certificate is better than none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


RSET = b"RSET"


@dataclass(frozen=True, slots=True)
class _Step:
    stage: Stage
    command: bytes


class Conversation:
    """A host that greeted us and waits for MAIL."""

    def __init__(
        self, pipe: ReplyPipe, target: Target, extensions: frozenset[str], tls: bool, say: Say
    ) -> None:
        self._pipe = pipe
        self._target = target
        self._extensions = extensions
        self._say = say
        self._used = False
        self.tls = tls

    @property
    def usable(self) -> bool:
        """Whether more recipients can be asked about on this connection."""
        return self._pipe.usable

    def offers(self, extension: str) -> bool:
        """Whether the host's EHLO reply names `extension` (lower case)."""
        return extension in self._extensions

    async def ask(
        self, sender: str, recipients: Sequence[str], *, utf8: bool, timeout_s: float
    ) -> list[Said | None]:
        """What the host says to MAIL FROM `sender` and RCPT TO each of `recipients`.

        One entry a recipient: its reply, or MAIL's when that was refused; None for those that
        the host never came to answer. `timeout_s` bounds each reply. Never raises for what a
        server does.
        """
        if utf8 and not self.offers("smtputf8"):
            self._say(self._target.host, "offers no SMTPUTF8")
            reading = Reading(Meaning.SMTPUTF8_UNSUPPORTED, "smtputf8-not-offered")
            return [Said(Stage.EHLO, reading)] * len(recipients)
        steps = self._plan(sender, recipients, utf8)
        return _by_recipient(steps, await self._exchange(steps, timeout_s))

    async def _exchange(self, steps: Sequence[_Step], timeout_s: float) -> list[Said | None]:
        """What was said to each step, as far as it came; None for a step left out."""
        heard: list[Said | None] = []
        transaction_open = True
        pipelined = self.offers("pipelining")
        try:
            if pipelined:
                self._send(*(step.command for step in steps))
            for step in steps:
                if not pipelined:
                    if step.stage is Stage.RCPT and not transaction_open:
                        heard.append(None)
                        continue
                    self._send(step.command)
                said = await self._hear(step.stage, timeout_s)
                heard.append(said)
                if step.stage is Stage.MAIL:
                    transaction_open = _is_yes(said)
                if said.reply is not None and said.reply.code == CLOSING:
                    # RFC 5321 section 3.8: the host closes the connection after it.
                    self._pipe.abort()
                    break
            else:
                self._pipe.expect_no_more()
        except PipeBroken as broken:
            self._say(self._target.host, _BROKEN_WORDS[broken.meaning])
            if len(heard) == len(steps):
                # One reply too many: whose each of them was cannot be told.
                return [Said(step.stage, Reading(broken.meaning, "no-reply")) for step in steps]
            stage = steps[len(heard)].stage
            heard.append(Said(stage, Reading(broken.meaning, "no-reply")))
        return heard

    async def exchange(
        self,
        commands: Sequence[bytes],
        timeout_s: float,
        *,
        refusals: int = 0,
        refused_timeout_s: float = 0.0,
    ) -> tuple[list[Reply], Meaning | None]:
        """The replies to MAIL, RCPT and RSET commands, as far as they came, and what ended them.

        They are written in one go where the host takes that, else one after the other up to a
        MAIL that is refused. `timeout_s` bounds each reply, `refused_timeout_s` those after so
        many `refusals` (0: never); a 421 is the last one. Unlike in `ask` nothing is added to
        the commands, and the transcript gets no line.
        """
        pipe = self._pipe
        replies: list[Reply] = []
        pipelined = self.offers("pipelining")
        try:
            if pipelined:
                pipe.send(*commands)
            for command in commands:
                if not pipelined:
                    pipe.send(command)
                reply = await pipe.reply(timeout_s)
                replies.append(reply)
                if reply.code == CLOSING:
                    pipe.abort()
                    return replies, Meaning.DROPPED
                if reply.code >= 400:
                    refusals -= 1
                    if refusals == 0:
                        timeout_s = min(timeout_s, refused_timeout_s)
                if not pipelined and reply.code >= 300 and command.startswith(b"MAIL"):
                    return replies, None
            pipe.expect_no_more()
        except PipeBroken as broken:
            # One reply too many: whose each of them was cannot be told.
            return replies if len(replies) < len(commands) else [], broken.meaning
        return replies, None

    def _plan(self, sender: str, recipients: Sequence[str], utf8: bool) -> list[_Step]:
        """The commands for one transaction, or for one each.

        A bounce has one recipient, so servers refuse a second one of the null sender whatever
        its name: each gets a transaction of its own.
        """
        mail = b"MAIL FROM:<" + sender.encode() + b">" + (b" SMTPUTF8" if utf8 else b"")
        steps: list[_Step] = []
        for recipient in recipients:
            if not steps or not sender:
                if self._used:
                    steps.append(_Step(Stage.MAIL, RSET))
                steps.append(_Step(Stage.MAIL, mail))
                self._used = True
            steps.append(_Step(Stage.RCPT, b"RCPT TO:<" + recipient.encode() + b">"))
        return steps

    def leave(self) -> ReplyPipe:
        """Say QUIT without waiting for the answer; returns what is still to be closed."""
        if self.usable:
            self._say(self._target.host, "> QUIT")
        self._pipe.quit()
        return self._pipe

    def abort(self) -> None:
        """Cut the connection."""
        self._pipe.abort()

    def _send(self, *commands: bytes) -> None:
        for command in commands:
            self._say(self._target.host, "> " + command.decode())
        self._pipe.send(*commands)

    async def _hear(self, stage: Stage, timeout_s: float) -> Said:
        reply = await self._pipe.reply(timeout_s)
        self._say(self._target.host, f"< {reply.code} {_one_line(reply.text)}".rstrip())
        return Said(stage, read(stage, reply.code, reply.text), reply)


async def open_conversation(
    target: Target,
    identity: Identity,
    *,
    connect_timeout_s: float,
    command_timeout_s: float,
    tls_timeout_s: float,
    tls: ssl.SSLContext | None,
    say: Say,
) -> Conversation:
    """Connect, read the banner, say EHLO (HELO if need be) and start TLS if it is offered.

    `tls` None leaves STARTTLS alone. Raises ConversationEnded when the host cannot be asked,
    and TlsFailed when it could be without TLS.
    """
    connection = await _connect(target, connect_timeout_s, say)
    client = aiosmtplib.SMTP(
        hostname=target.host,
        sock=connection,
        local_hostname=identity.helo,
        timeout=command_timeout_s,
        start_tls=False,
        tls_context=tls,
    )
    try:
        await _greet(client, target, say)
        await _hello(client, identity, target, say)
        encrypted = False
        if tls is not None and client.supports_extension("starttls"):
            encrypted = await _start_tls(client, target, tls_timeout_s, say)
            if encrypted:
                with _prompt_acknowledgement(connection):
                    await _hello(client, identity, target, say)
        transport = client.transport
        if transport is None or transport.is_closing():
            raise _ended(Stage.EHLO, Meaning.DROPPED, greeted=True)
    except BaseException:
        # Not close(): over TLS that waits half a minute for the other side's farewell.
        if client.transport is not None:
            cast(asyncio.Transport, client.transport).abort()
        client.close()
        connection.close()
        raise
    pipe = ReplyPipe()
    pipe.attach(transport)
    return Conversation(pipe, target, frozenset(client.esmtp_extensions), encrypted, say)


async def _connect(target: Target, timeout_s: float, say: Say) -> socket.socket:
    say(target.host, f"connecting to {target.ip} port {target.port}")
    version = ipaddress.ip_address(target.ip).version
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    try:
        connection = socket.socket(family, socket.SOCK_STREAM)
    except OSError:
        raise _ended(Stage.CONNECT, Meaning.UNREACHABLE, greeted=False) from None
    try:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        async with asyncio.timeout(timeout_s):
            await asyncio.get_running_loop().sock_connect(connection, (target.ip, target.port))
    except OSError as exc:
        connection.close()
        late = isinstance(exc, TimeoutError)
        say(target.host, "no answer" if late else f"cannot connect: {exc.strerror or exc}")
        raise _ended(Stage.CONNECT, Meaning.UNREACHABLE, greeted=False) from exc
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def _prompt_acknowledgement(connection: socket.socket) -> Iterator[None]:
    """Spare the 40 ms that a delayed acknowledgement of TLS session tickets costs.

    The server's next reply waits for that acknowledgement (RFC 896), and tickets never reach
    us as data. Only Linux lets a client hurry it, once at a time, so it is asked for at
    growing intervals until the reply is there.
    """
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle | None = None

    def hurry(after_s: float) -> None:
        nonlocal timer
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        if after_s < DELAYED_ACK_S:
            timer = loop.call_later(after_s, hurry, after_s * 2)

    if hasattr(socket, "TCP_QUICKACK"):
        hurry(0.0005)
    try:
        yield
    finally:
        if timer is not None:
            timer.cancel()


async def _greet(client: aiosmtplib.SMTP, target: Target, say: Say) -> None:
    try:
        banner = await client.connect()
    except aiosmtplib.SMTPConnectResponseError as exc:
        raise _refused(Stage.BANNER, exc, target, say, greeted=False) from exc
    except (aiosmtplib.SMTPException, OSError) as exc:
        raise _failed(Stage.BANNER, exc, target, say, greeted=False) from exc
    say(target.host, f"< {banner.code} {_one_line(banner.message)}")


async def _hello(client: aiosmtplib.SMTP, identity: Identity, target: Target, say: Say) -> None:
    """EHLO, and HELO where that is unknown (RFC 5321 section 3.2)."""
    refusal: aiosmtplib.SMTPHeloError | None = None
    for verb, command in (("EHLO", client.ehlo), ("HELO", client.helo)):
        say(target.host, f"> {verb} {identity.helo}")
        try:
            answer = await command()
        except aiosmtplib.SMTPHeloError as exc:
            refusal = exc
            if exc.code < 500 or not client.is_connected:
                break
            say(target.host, f"< {exc.code} {_one_line(exc.message)}")
        except (aiosmtplib.SMTPException, OSError) as exc:
            if refusal is not None:
                break
            raise _failed(Stage.EHLO, exc, target, say, greeted=True) from exc
        else:
            say(target.host, f"< {answer.code} {_one_line(answer.message)}")
            return
    assert refusal is not None
    raise _refused(Stage.EHLO, refusal, target, say, greeted=True) from refusal


async def _start_tls(client: aiosmtplib.SMTP, target: Target, timeout_s: float, say: Say) -> bool:
    """True once encrypted; False when the host took its offer back and clear text goes on."""
    say(target.host, "> STARTTLS")
    try:
        answer = await client.starttls(server_hostname=target.host, timeout=timeout_s)
    except aiosmtplib.SMTPResponseException as exc:
        if not client.is_connected or exc.code < 400:
            raise TlsFailed from exc
        say(target.host, f"< {exc.code} {_one_line(exc.message)}")
        return False
    except (aiosmtplib.SMTPException, OSError, ValueError) as exc:
        # ssl.SSLError is an OSError; ValueError is a host name that TLS cannot carry as SNI.
        say(target.host, f"TLS failed: {_one_line(str(exc))}")
        raise TlsFailed from exc
    say(target.host, f"< {answer.code} {_one_line(answer.message)}")
    return True


def _refused(
    stage: Stage,
    exc: aiosmtplib.SMTPResponseException,
    target: Target,
    say: Say,
    *,
    greeted: bool,
) -> ConversationEnded:
    if not 400 <= exc.code < 600:
        # "250" for a banner: it talks, but not SMTP.
        return _failed(stage, exc, target, say, greeted=greeted)
    text = _text(exc.message)
    say(target.host, f"< {exc.code} {_one_line(text)}".rstrip())
    reading = read(stage, exc.code, text)
    return ConversationEnded(Said(stage, reading, Reply(exc.code, text)), greeted=greeted)


def _failed(
    stage: Stage, exc: Exception, target: Target, say: Say, *, greeted: bool
) -> ConversationEnded:
    meaning = next((row[1] for row in _FAILURES if isinstance(exc, row[0])), Meaning.DROPPED)
    say(target.host, _BROKEN_WORDS[meaning])
    return _ended(stage, meaning, greeted=greeted)


def _ended(stage: Stage, meaning: Meaning, *, greeted: bool) -> ConversationEnded:
    return ConversationEnded(Said(stage, Reading(meaning, "no-reply")), greeted=greeted)


# First match wins: a connect time-out is also a connect error.
_FAILURES: tuple[tuple[type[Exception], Meaning], ...] = (
    (aiosmtplib.SMTPTimeoutError, Meaning.TIMED_OUT),
    (aiosmtplib.SMTPServerDisconnected, Meaning.DROPPED),
    (aiosmtplib.SMTPResponseException, Meaning.NOT_SMTP),
    (TimeoutError, Meaning.TIMED_OUT),
)
_BROKEN_WORDS = {
    Meaning.TIMED_OUT: "no reply in time",
    Meaning.DROPPED: "closed the connection",
    Meaning.NOT_SMTP: "sent what is not SMTP",
}


def _by_recipient(steps: Sequence[_Step], heard: Sequence[Said | None]) -> list[Said | None]:
    """One entry a recipient: its own reply, or that of the MAIL before it if it was no yes."""
    answers: list[Said | None] = []
    mail: Said | None = None
    for step, said in zip_longest(steps, heard):
        if step.stage is not Stage.RCPT:
            mail = said
        else:
            answers.append(mail if mail is not None and not _is_yes(mail) else said)
    return answers


def _is_yes(said: Said) -> bool:
    return said.reply is not None and said.reply.code // 100 == 2


def _text(message: str) -> str:
    """aiosmtplib keeps octets that are not UTF-8 as surrogates; nothing could print those."""
    text = message.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "\n".join(legible(line) for line in text.split("\n"))


def _one_line(text: str) -> str:
    return " ".join(_text(text).split())
