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
from engine.dns.terms import DnsQuestion, ParsedResponse

QUERIES_PER_SOCKET = 32
"""In all, so that ports change often; and so that the answers fit its buffer all at once."""

UdpResponse = ParsedResponse | dns.message.Message
"""What a usual response comes to; any other one as it is."""


class UdpClient:
    """A DNS server. Sockets are open only while questions are waiting."""

    def __init__(self, host: str, port: int, rng: random.Random) -> None:
        """`rng` should be a cryptographic one."""
        self._address = host, port
        self._family = (
            socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET
        )
        self._rng = rng
        self._opening = asyncio.Lock()
        self._socket: _QuerySocket | None = None

    async def query(self, question: DnsQuestion, *, edns: bool = True) -> UdpResponse:
        """The response to `question`; waits for it as long as the caller does. OSError."""
        shared = self._socket
        if shared is None or shared.is_retired:
            shared = await self._open()
        message_id = shared.new_id(self._rng)
        answer: asyncio.Future[UdpResponse] = asyncio.get_running_loop().create_future()
        shared.send(
            dns_wire.encode_query(question, message_id, edns=edns), message_id, question, answer
        )
        try:
            return await answer
        finally:
            shared.release(message_id)

    async def _open(self) -> _QuerySocket:
        async with self._opening:
            if self._socket is None or self._socket.is_retired:
                connected = socket.socket(self._family, socket.SOCK_DGRAM)
                try:
                    connected.setblocking(False)
                    connected.connect(self._address)
                    loop = asyncio.get_running_loop()
                    _, self._socket = await loop.create_datagram_endpoint(
                        _QuerySocket, sock=connected
                    )
                except BaseException:
                    connected.close()
                    raise
            return self._socket


class _QuerySocket(asyncio.DatagramProtocol):
    """A connected socket, and who waits for what."""

    _transport: asyncio.DatagramTransport

    def __init__(self) -> None:
        self._pending: dict[int, tuple[DnsQuestion, asyncio.Future[UdpResponse]]] = {}
        self._sent = 0
        self.is_retired = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def new_id(self, rng: random.Random) -> int:
        """One that no other question waits with."""
        while (message_id := rng.getrandbits(16)) in self._pending:
            pass
        return message_id

    def send(
        self,
        wire: bytes,
        message_id: int,
        question: DnsQuestion,
        answer: asyncio.Future[UdpResponse],
    ) -> None:
        self._sent += 1
        self.is_retired = self._sent >= QUERIES_PER_SOCKET
        self._pending[message_id] = question, answer
        self._transport.sendto(wire)

    def release(self, message_id: int) -> None:
        del self._pending[message_id]
        if not self._pending:
            self.is_retired = True
            self._transport.close()

    def datagram_received(self, data: bytes, _: object) -> None:
        message_id = int.from_bytes(data[:2], "big")
        question, answer = self._pending.get(message_id, (None, None))
        if question is None or answer is None or answer.done():
            return
        reply = dns_wire.parse_response(data, question) or dns_reference.parse_datagram(
            data, question, message_id
        )
        if reply is not None:
            answer.set_result(reply)

    def error_received(self, exc: Exception) -> None:
        """Nothing to do: a server that starts again refuses now, and answers the next question.

        Who waits goes on waiting; else a list would be through before the server is back.
        """

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_retired = True
