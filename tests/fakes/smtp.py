"""Scripted SMTP servers on loopback: normal ones, and ones that hang, drop, flood or talk nonsense.

    hosts = {"127.0.0.2": Script(rcpt=[("^user@", "250 2.1.5 Ok")])}
    async with fake_smtp(hosts) as smtp:
        ... smtp.port ... smtp.commands("127.0.0.2") ...

All hosts listen on one port, so that one setting reaches them all. An action is a reply (`\\n`
between its lines), one of HANG, CLOSE, RESET, Raw, Slowly, Delay and Wait, or a tuple of actions.
A server can be killed and started again: `await smtp.kill(ip)`, `await smtp.restart(ip)`.
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
"""Self-signed, like those of most mail hosts."""


class Do(Enum):
    """What a server does instead of replying."""

    HANG = "send nothing more"
    CLOSE = "close the connection"
    RESET = "abort the connection"


HANG, CLOSE, RESET = Do.HANG, Do.CLOSE, Do.RESET


@dataclass(frozen=True, slots=True)
class Raw:
    """Octets to send as they are, repeated until `octets` were sent."""

    data: bytes
    octets: int = 0


@dataclass(frozen=True, slots=True)
class Slowly:
    """Octets to send one by one, each followed by a pause."""

    data: bytes
    pause_s: float = 0.0
    forever: bool = False


@dataclass(frozen=True, slots=True)
class Delay:
    """A pause before what follows."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Wait:
    """Set `reached`, then wait for `go_on`."""

    reached: asyncio.Event
    go_on: asyncio.Event


Action = str | Do | Raw | Slowly | Delay | Wait | tuple["Action", ...]


@dataclass(frozen=True, slots=True)
class Script:
    """How a server behaves."""

    banner: Action | list[Action] = "220 mx.fake.test ESMTP"
    """A list has one action for each connection. In all lists the last action is repeated."""
    extensions: tuple[str, ...] = ("PIPELINING", "ENHANCEDSTATUSCODES", "8BITMIME")
    on: Mapping[str, Action | list[Action]] = field(default_factory=dict)
    """First four letters of a command -> action, in place of the usual reply; a list has one action
    for each time."""
    rcpt: Sequence[tuple[str, Action | list[Action]]] = ((".*", "250 2.1.5 Ok"),)
    """Pattern -> action, the first match decides; a list has one action for each time that the
    address is sent."""
    tls: bool = False
    """Offer STARTTLS."""
    tls_required: bool = False
    """530 to MAIL before STARTTLS."""
    broken_tls: bool = False
    """Reply 220 to STARTTLS, then send what is not TLS."""
    max_connections: int = 1000
    """More at a time get 421 4.7.0."""
    max_recipients: int = 1000
    """More in a transaction get `too_many`."""
    too_many: str = "452 4.5.3 Error: too many recipients"
    max_transactions: int = 1000
    """More on a connection get `421 4.7.0`."""
    max_errors: int = 1000
    """Refused recipients on a connection; after more it is closed with 421 4.7.0."""
    max_rcpts: int = 1_000_000
    """On a connection; more get `beyond_max_rcpts`."""
    max_rcpts_in_all: int = 1_000_000
    """On all connections together; more get `beyond_max_rcpts`."""
    beyond_max_rcpts: Action = ("421 4.7.0 Enough", CLOSE)
    loses_pipelined: bool = False
    """Reply to the first command of each segment only."""
    by_peer: Mapping[str, Script] = field(default_factory=dict)
    """The behaviour towards clients from these addresses."""


@dataclass(slots=True)
class Seen:
    """What a server has received."""

    connections: int = 0
    open: int = 0
    max_open: int = 0
    tls: int = 0
    commands: list[str] = field(default_factory=list)
    chunks: list[bytes] = field(default_factory=list)
    """The octets of each read, which show pipelining."""
    recipients: dict[str, int] = field(default_factory=dict)
    """How often each address was sent."""
    rcpts: int = 0
    verbs: dict[str, int] = field(default_factory=dict)
    """How often each verb of `Script.on` came."""
    peers: list[str] = field(default_factory=list)
    """The client's address of each connection."""
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
        """End a server and all its connections, as `kill -9` does."""
        server = self.servers.pop(ip, None)
        if server is None:
            return
        server.close()
        for writer in list(self.writers[ip]):
            writer.transport.abort()
        await server.wait_closed()

    async def restart(self, ip: str) -> None:
        """Start a killed server again, at the same address and port."""
        await self.serve(ip, _listener(ip, self.port))

    async def serve(self, ip: str, listener: socket.socket) -> None:
        """Start a server on a bound socket."""
        writers = self.writers.setdefault(ip, set())
        handle = _connection_handler(self.hosts[ip], self.seen[ip], writers, self.sessions)
        self.servers[ip] = await asyncio.start_server(handle, sock=listener)

    def commands(self, ip: str) -> list[str]:
        return self.seen[ip].commands

    def recipients(self, ip: str) -> list[str]:
        """The addresses of RCPT commands, in order."""
        matches = (re.search(r"<(.*)>", c) for c in self.commands(ip) if c.startswith("RCPT"))
        return [match[1] for match in matches if match]


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
        listeners: list[socket.socket] = []
        port = 0
        try:
            for ip in ips:
                listeners.append(_listener(ip, port))
                port = listeners[-1].getsockname()[1]
        except OSError:
            for listener in listeners:
                listener.close()
        else:
            return listeners
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


def _nth(action: Action | list[Action], times: int) -> Action:
    return action[min(times, len(action) - 1)] if isinstance(action, list) else action


class _ConnectionOver(Exception):
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
        if self.seen.open > self.script.max_connections:
            await self.perform("421 4.7.0 mx.fake.test Error: too many connections from 127.0.0.1")
            raise _ConnectionOver
        await self.perform(_nth(self.script.banner, self.seen.connections - 1))
        pending = b""
        while True:
            while b"\r\n" not in pending:
                chunk = await self.reader.read(65536)
                if not chunk:
                    raise _ConnectionOver
                self.seen.chunks.append(chunk)
                pending += chunk
            line, _, pending = pending.partition(b"\r\n")
            command = line.decode("utf-8", "replace")
            self.seen.commands.append(command)
            await self.command(command)
            if self.script.loses_pipelined:
                pending = b""

    async def command(self, command: str) -> None:
        verb = command[:4].upper()
        if verb == "STAR":
            await self.start_tls()
        elif verb in self.script.on:
            times = self.seen.verbs.get(verb, 0)
            self.seen.verbs[verb] = times + 1
            await self.perform(_nth(self.script.on[verb], times))
            self.mail = self.mail or verb == "MAIL"
        elif verb == "EHLO":
            offers = self.script.extensions + (("STARTTLS",) * self._offers_tls())
            await self.perform(
                "\n".join(["250 mx.fake.test", *(f"250 {offer}" for offer in offers)])
            )
        elif verb == "MAIL" and self.script.tls_required and not self.encrypted:
            await self.perform("530 5.7.0 Must issue a STARTTLS command first")
        elif verb == "RCPT":
            await self.rcpt(command)
        elif verb == "QUIT":
            await self.perform(("221 2.0.0 Bye", CLOSE))
        elif verb == "MAIL" and self.mail:
            await self.perform("503 5.5.1 Nested MAIL command")
        elif verb in ("MAIL", "RSET", "HELO"):
            self.mail = verb == "MAIL"
            self.transactions += self.mail
            self.accepted = 0
            if self.transactions > self.script.max_transactions:
                await self.perform(("421 4.7.0 Too many transactions", CLOSE))
            await self.perform("250 2.0.0 Ok")
        else:
            await self.perform("502 5.5.2 Command not recognized")

    def _offers_tls(self) -> bool:
        return self.script.tls and not self.encrypted

    async def rcpt(self, command: str) -> None:
        if not self.mail:
            await self.perform("503 5.5.1 need MAIL first")
            return
        self.rcpts += 1
        self.seen.rcpts += 1
        script = self.script
        if self.rcpts > script.max_rcpts or self.seen.rcpts > script.max_rcpts_in_all:
            await self.perform(script.beyond_max_rcpts)
            return
        if self.accepted >= script.max_recipients:
            await self.perform(script.too_many)
            return
        found = re.search(r"<(.*)>", command)
        address = found[1] if found else ""
        times = self.seen.recipients.get(address, 0)
        self.seen.recipients[address] = times + 1
        for pattern, action in self.script.rcpt:
            if re.search(pattern, address):
                action = _nth(action, times)
                break
        else:
            action = "550 5.1.1 No such user"
        refused = str(action[0] if isinstance(action, tuple) else action)[:1] in "45"
        self.errors += refused
        self.accepted += not refused
        if self.errors > self.script.max_errors:
            await self.perform(("421 4.7.0 Error: too many errors", CLOSE))
        await self.perform(action)

    async def start_tls(self) -> None:
        if "STAR" in self.script.on:
            await self.perform(_nth(self.script.on["STAR"], 0))
            return
        await self.perform("220 2.0.0 Ready to start TLS")
        if self.script.broken_tls:
            await self.perform((Raw(b"this is not TLS at all\r\n"), CLOSE))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATE)
        await self.writer.start_tls(context)
        self.seen.tls += 1
        self.encrypted = True
        self.mail = False

    async def perform(self, action: Action) -> None:
        match action:
            case Do.HANG:
                while await self.reader.read(4096):
                    pass
                raise _ConnectionOver
            case Do.CLOSE:
                raise _ConnectionOver
            case Do.RESET:
                connection = self.writer.get_extra_info("socket")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.writer.transport.abort()
                raise _ConnectionOver
            case Slowly(data, pause_s, forever):
                is_first = True
                while is_first or forever:
                    is_first = False
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
                    await self.perform(part)


def _reply(text: str) -> bytes:
    lines = text.split("\n")
    continued = [line[:3] + "-" + line[4:] for line in lines[:-1]]
    return "".join(f"{line}\r\n" for line in [*continued, lines[-1]]).encode()


def _connection_handler(
    script: Script,
    seen: Seen,
    writers: set[asyncio.StreamWriter],
    sessions: set[asyncio.Task[None]],
) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")[0]
        seen.peers.append(peer)
        seen.connections += 1
        seen.open += 1
        seen.idle.clear()
        seen.max_open = max(seen.max_open, seen.open)
        writers.add(writer)
        session = asyncio.current_task()
        assert session is not None
        sessions.add(session)
        session.add_done_callback(sessions.discard)
        try:
            await _Session(script.by_peer.get(peer, script), seen, reader, writer).run()
        except (_ConnectionOver, OSError):
            pass
        finally:
            seen.open -= 1
            if not seen.open:
                seen.idle.set()
            writers.discard(writer)
            writer.close()

    return handle
