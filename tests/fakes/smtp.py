"""Scripted SMTP servers on loopback: honest ones, and ones that hang, drop, flood or babble.

    hosts = {"127.0.0.2": Script(rcpt=[("^user@", "250 2.1.5 Ok")])}
    async with fake_smtp(hosts) as smtp:
        ... smtp.port ... smtp.commands("127.0.0.2") ...

All hosts listen on one port, so that one setting reaches them all. An action is a reply (`\\n`
between its lines), one of HANG, CLOSE, RESET, Raw, Slowly, Delay and Wait, or several in a row.
A server can be killed and started again: `await smtp.kill(ip)`, `await smtp.revive(ip)`.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

CERTIFICATE = Path(__file__).parent / "mail_host.pem"
"""Self-signed, as that of most mail hosts."""


class Do(Enum):
    """What a server may do instead of replying."""

    HANG = "say nothing more"
    CLOSE = "close the connection"
    RESET = "abort the connection"


HANG, CLOSE, RESET = Do.HANG, Do.CLOSE, Do.RESET


@dataclass(frozen=True, slots=True)
class Raw:
    """Octets to send as they are, again and again until `octets` are reached."""

    data: bytes
    octets: int = 0


@dataclass(frozen=True, slots=True)
class Slowly:
    """Octets to send one by one, each after a pause."""

    data: bytes
    pause_s: float = 0.0
    forever: bool = False


@dataclass(frozen=True, slots=True)
class Delay:
    """A server that takes its time."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Wait:
    """Tell `reached`, then go on only when `go_on` is set."""

    reached: asyncio.Event
    go_on: asyncio.Event


Action = str | Do | Raw | Slowly | Delay | Wait | tuple["Action", ...]


@dataclass(frozen=True, slots=True)
class Script:
    """How a server behaves."""

    banner: Action | list[Action] = "220 mx.fake.test ESMTP"
    """A list gives one action for each connection, here and below the last one from then on."""
    extensions: tuple[str, ...] = ("PIPELINING", "ENHANCEDSTATUSCODES", "8BITMIME")
    on: Mapping[str, Action | list[Action]] = field(default_factory=dict)
    """Verb -> action, in place of the usual reply; a list gives one for each time."""
    rcpt: Sequence[tuple[str, Action | list[Action]]] = ((".*", "250 2.1.5 Ok"),)
    """Pattern -> action; a list gives one action for each time the address is seen."""
    tls: bool = False
    """Offer STARTTLS."""
    tls_required: bool = False
    """530 to MAIL before STARTTLS."""
    broken_tls: bool = False
    """Say 220 to STARTTLS, then babble."""
    most_connections: int = 1000
    """More at a time get 421 4.7.0."""
    most_recipients: int = 1000
    """More in a transaction get `too_many`."""
    too_many: str = "452 4.5.3 Error: too many recipients"
    most_transactions: int = 1000
    """More on a connection get `421 4.7.0`."""
    most_errors: int = 1000
    """After more on a connection it is closed with 421 4.7.0."""
    most_heard: int = 1_000_000
    """RCPTs answered on a connection; to more of them it does `enough`."""
    most_heard_in_all: int = 1_000_000
    """RCPTs answered on all connections together; to more of them it does `enough`."""
    enough: Action = ("421 4.7.0 Enough", CLOSE)
    forgets: bool = False
    """Answers only the first command of each segment."""


@dataclass(slots=True)
class Seen:
    """What a server has seen."""

    connections: int = 0
    open: int = 0
    most_open: int = 0
    tls: int = 0
    commands: list[str] = field(default_factory=list)
    chunks: list[bytes] = field(default_factory=list)
    """What each read brought, so that pipelining shows."""
    recipients: dict[str, int] = field(default_factory=dict)
    rcpts: int = 0
    verbs: dict[str, int] = field(default_factory=dict)
    """How often a scripted verb came."""
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    """Set whenever the last open connection is closed."""


@dataclass(slots=True)
class FakeSmtp:
    """The running servers."""

    port: int
    seen: dict[str, Seen]
    hosts: Mapping[str, Script]
    servers: dict[str, asyncio.Server] = field(default_factory=dict)
    writers: dict[str, set[asyncio.StreamWriter]] = field(default_factory=dict)
    sessions: set[asyncio.Task[None]] = field(default_factory=set)

    async def kill(self, ip: str) -> None:
        """End a server and all of its connections, as `kill -9` does."""
        server = self.servers.pop(ip, None)
        if server is None:
            return
        server.close()
        for writer in list(self.writers[ip]):
            writer.transport.abort()
        await server.wait_closed()

    async def revive(self, ip: str) -> None:
        """Start a server again, at the place it had."""
        await self.serve(ip, _listener(ip, self.port))

    async def serve(self, ip: str, listener: socket.socket) -> None:
        """Start a server on a bound socket."""
        writers = self.writers.setdefault(ip, set())
        talk = _talker(self.hosts[ip], self.seen[ip], writers, self.sessions)
        self.servers[ip] = await asyncio.start_server(talk, sock=listener)

    def commands(self, ip: str) -> list[str]:
        return self.seen[ip].commands

    def recipients(self, ip: str) -> list[str]:
        """The RCPT addresses, in order."""
        found = (re.search(r"<(.*)>", c) for c in self.commands(ip) if c.startswith("RCPT"))
        return [match[1] for match in found if match]


@contextlib.asynccontextmanager
async def fake_smtp(hosts: Mapping[str, Script]) -> AsyncIterator[FakeSmtp]:
    """A server for each address of `hosts`, all on one free port."""
    sockets = _sockets(list(hosts))
    smtp = FakeSmtp(sockets[0].getsockname()[1], {ip: Seen() for ip in hosts}, hosts)
    for ip, listener in zip(hosts, sockets, strict=True):
        await smtp.serve(ip, listener)
    try:
        yield smtp
    finally:
        for ip in hosts:
            await smtp.kill(ip)
        await asyncio.gather(*smtp.sessions, return_exceptions=True)


def _sockets(ips: Sequence[str]) -> list[socket.socket]:
    """Listening sockets with one port number that is free on all of `ips`."""
    for _ in range(100):
        made: list[socket.socket] = []
        port = 0
        try:
            for ip in ips:
                made.append(_listener(ip, port))
                port = made[-1].getsockname()[1]
        except OSError:
            for each in made:
                each.close()
        else:
            return made
    raise RuntimeError(f"no port is free on all of {ips}")


def _listener(ip: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    # The protocol is named because asyncio sets TCP_NODELAY only then.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((ip, port))
    except OSError:
        listener.close()
        raise
    return listener


def _at(action: Action | list[Action], times: int) -> Action:
    return action[min(times, len(action) - 1)] if isinstance(action, list) else action


class _Gone(Exception):
    pass


class _Session:
    """One connection."""

    def __init__(
        self, script: Script, seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.script = script
        self.seen = seen
        self.reader = reader
        self.writer = writer
        self.encrypted = False
        self.mail = False
        self.transactions = self.accepted = self.errors = self.rcpts = 0

    async def run(self) -> None:
        if self.seen.open > self.script.most_connections:
            await self.act("421 4.7.0 mx.fake.test Error: too many connections from 127.0.0.1")
            raise _Gone
        await self.act(_at(self.script.banner, self.seen.connections - 1))
        pending = b""
        while True:
            while b"\r\n" not in pending:
                chunk = await self.reader.read(65536)
                if not chunk:
                    raise _Gone
                self.seen.chunks.append(chunk)
                pending += chunk
            line, _, pending = pending.partition(b"\r\n")
            command = line.decode("utf-8", "replace")
            self.seen.commands.append(command)
            await self.command(command)
            if self.script.forgets:
                pending = b""

    async def command(self, command: str) -> None:
        verb = command[:4].upper()
        if verb == "STAR":
            await self.start_tls()
        elif verb in self.script.on:
            times = self.seen.verbs.get(verb, 0)
            self.seen.verbs[verb] = times + 1
            await self.act(_at(self.script.on[verb], times))
            self.mail = self.mail or verb == "MAIL"
        elif verb == "EHLO":
            offers = self.script.extensions + (("STARTTLS",) * self._offers_tls())
            await self.act("\n".join(["250 mx.fake.test", *(f"250 {offer}" for offer in offers)]))
        elif verb == "MAIL" and self.script.tls_required and not self.encrypted:
            await self.act("530 5.7.0 Must issue a STARTTLS command first")
        elif verb == "RCPT":
            await self.rcpt(command)
        elif verb == "QUIT":
            await self.act(("221 2.0.0 Bye", CLOSE))
        elif verb == "MAIL" and self.mail:
            await self.act("503 5.5.1 Nested MAIL command")
        elif verb in ("MAIL", "RSET", "HELO"):
            self.mail = verb == "MAIL"
            self.transactions += self.mail
            self.accepted = 0
            if self.transactions > self.script.most_transactions:
                await self.act(("421 4.7.0 Too many transactions", CLOSE))
            await self.act("250 2.0.0 Ok")
        else:
            await self.act("502 5.5.2 Command not recognized")

    def _offers_tls(self) -> bool:
        return self.script.tls and not self.encrypted

    async def rcpt(self, command: str) -> None:
        if not self.mail:
            await self.act("503 5.5.1 need MAIL first")
            return
        self.rcpts += 1
        self.seen.rcpts += 1
        script = self.script
        if self.rcpts > script.most_heard or self.seen.rcpts > script.most_heard_in_all:
            await self.act(script.enough)
            return
        if self.accepted >= script.most_recipients:
            await self.act(script.too_many)
            return
        found = re.search(r"<(.*)>", command)
        address = found[1] if found else ""
        times = self.seen.recipients.get(address, 0)
        self.seen.recipients[address] = times + 1
        for pattern, action in self.script.rcpt:
            if re.search(pattern, address):
                action = _at(action, times)
                break
        else:
            action = "550 5.1.1 No such user"
        refused = str(action[0] if isinstance(action, tuple) else action)[:1] in "45"
        self.errors += refused
        self.accepted += not refused
        if self.errors > self.script.most_errors:
            await self.act(("421 4.7.0 Error: too many errors", CLOSE))
        await self.act(action)

    async def start_tls(self) -> None:
        if "STAR" in self.script.on:
            await self.act(_at(self.script.on["STAR"], 0))
            return
        await self.act("220 2.0.0 Ready to start TLS")
        if self.script.broken_tls:
            await self.act((Raw(b"this is not TLS at all\r\n"), CLOSE))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATE)
        await self.writer.start_tls(context)
        self.seen.tls += 1
        self.encrypted = True
        self.mail = False

    async def act(self, action: Action) -> None:
        match action:
            case Do.HANG:
                while await self.reader.read(4096):
                    pass
                raise _Gone
            case Do.CLOSE:
                raise _Gone
            case Do.RESET:
                connection = self.writer.get_extra_info("socket")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.writer.transport.abort()
                raise _Gone
            case Slowly(data, pause_s, forever):
                once = True
                while once or forever:
                    once = False
                    for octet in data:
                        self.writer.write(bytes([octet]))
                        await self.writer.drain()
                        await asyncio.sleep(pause_s)
            case Delay(seconds):
                await asyncio.sleep(seconds)
            case Raw(data, octets):
                sent = 0
                while sent == 0 or sent < octets:
                    self.writer.write(data)
                    await self.writer.drain()
                    sent += len(data)
            case Wait(reached, go_on):
                reached.set()
                await go_on.wait()
            case str():
                self.writer.write(_reply(action))
                await self.writer.drain()
            case _:
                for part in action:
                    await self.act(part)


def _reply(text: str) -> bytes:
    lines = text.split("\n")
    marked = [line[:3] + "-" + line[4:] for line in lines[:-1]]
    return "".join(f"{line}\r\n" for line in [*marked, lines[-1]]).encode()


def _talker(
    script: Script,
    seen: Seen,
    writers: set[asyncio.StreamWriter],
    sessions: set[asyncio.Task[None]],
) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.connections += 1
        seen.open += 1
        seen.idle.clear()
        seen.most_open = max(seen.most_open, seen.open)
        writers.add(writer)
        session = asyncio.current_task()
        assert session is not None
        sessions.add(session)
        session.add_done_callback(sessions.discard)
        try:
            await _Session(script, seen, reader, writer).run()
        except (_Gone, OSError):
            pass
        finally:
            seen.open -= 1
            if not seen.open:
                seen.idle.set()
            writers.discard(writer)
            writer.close()

    return talk
