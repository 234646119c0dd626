"""Questions to one DNS server over UDP, several at a time on one socket.

What makes an answer hard to forge (RFC 5452): the socket takes datagrams of the server alone,
its port is the system's choice and soon another, ids are random, and an answer must repeat the
question. Everything else that arrives is waited past.
"""

from __future__ import annotations

import asyncio
import ipaddress
import random
import socket
from typing import cast

import dns.message

from engine.dns import reference as dns_reference
from engine.dns import wire as dns_wire
from engine.dns.terms import Outcome, Question

QUESTIONS_PER_SOCKET = 32
"""In all, so that ports change often; and so that the answers fit its buffer all at once."""

Reply = Outcome | dns.message.Message
"""What a usual response comes to; any other one as it is."""


class UdpServer:
    """A DNS server. Sockets are open only while questions are waiting."""

    def __init__(self, host: str, port: int, rng: random.Random) -> None:
        """`rng` should be a cryptographic one."""
        self._address = host, port
        self._family = (
            socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET
        )
        self._rng = rng
        self._opening = asyncio.Lock()
        self._socket: _Socket | None = None

    async def ask(self, question: Question, *, edns: bool = True) -> Reply:
        """The response to `question`; waits for it as long as the caller does. OSError."""
        shared = self._socket
        if shared is None or shared.is_used_up:
            shared = await self._open()
        message_id = shared.new_id(self._rng)
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        shared.send(dns_wire.write(question, message_id, edns=edns), message_id, question, answer)
        try:
            return await answer
        finally:
            shared.forget(message_id)

    async def _open(self) -> _Socket:
        async with self._opening:
            if self._socket is None or self._socket.is_used_up:
                connected = socket.socket(self._family, socket.SOCK_DGRAM)
                try:
                    connected.setblocking(False)
                    connected.connect(self._address)
                    loop = asyncio.get_running_loop()
                    _, self._socket = await loop.create_datagram_endpoint(_Socket, sock=connected)
                except BaseException:
                    connected.close()
                    raise
            return self._socket


class _Socket(asyncio.DatagramProtocol):
    """A connected socket, and who waits for what."""

    _transport: asyncio.DatagramTransport

    def __init__(self) -> None:
        self._waiting: dict[int, tuple[Question, asyncio.Future[Reply]]] = {}
        self._asked = 0
        self.is_used_up = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def new_id(self, rng: random.Random) -> int:
        """One that no other question waits with."""
        while (message_id := rng.getrandbits(16)) in self._waiting:
            pass
        return message_id

    def send(
        self, wire: bytes, message_id: int, question: Question, answer: asyncio.Future[Reply]
    ) -> None:
        self._asked += 1
        self.is_used_up = self._asked >= QUESTIONS_PER_SOCKET
        self._waiting[message_id] = question, answer
        self._transport.sendto(wire)

    def forget(self, message_id: int) -> None:
        del self._waiting[message_id]
        if not self._waiting:
            self.is_used_up = True
            self._transport.close()

    def datagram_received(self, data: bytes, _: object) -> None:
        message_id = int.from_bytes(data[:2], "big")
        question, answer = self._waiting.get(message_id, (None, None))
        if question is None or answer is None or answer.done():
            return
        reply = dns_wire.read(data, question) or dns_reference.read(data, question, message_id)
        if reply is not None:
            answer.set_result(reply)

    def error_received(self, exc: Exception) -> None:
        """Nothing to do: a server that starts again refuses now, and answers the next question.

        Who waits goes on waiting; else a list would be through before the server is back.
        """

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_used_up = True
