"""Questions to one DNS server over UDP, several at a time on one socket.

Responses are hard to forge (RFC 5452): the socket only receives datagrams of the server, its port
is chosen by the system and changes often, ids are random, and a response must repeat the question.
Any other datagram is ignored.
"""

from __future__ import annotations

import asyncio
import ipaddress
import random
import socket
from typing import cast

from engine.dns import reference as dns_reference
from engine.dns import wire as dns_wire
from engine.dns.reference import Response
from engine.dns.terms import DnsQuestion

MAX_DATAGRAM = 4096
"""Octets of a datagram that is parsed. Servers send no more than we accept (`EDNS_PAYLOAD`; RFC
6891 section 6.2.5) but for a few that ignore it; 64 kB would take a third of a second."""
DEFAULT_TIMEOUT_S = 60.0
QUERIES_PER_SOCKET = 32
"""Few enough that ports change often, and that all responses at once fit the socket's buffer."""


class UdpClient:
    """A client of one DNS server. Its sockets are only open while questions are pending."""

    def __init__(self, host: str, port: int, rng: random.Random) -> None:
        """`rng` draws the ids of messages and should be unpredictable."""
        self._address = host, port
        self._family = (
            socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET
        )
        self._rng = rng
        self._opening = asyncio.Lock()
        self._socket: _QuerySocket | None = None

    async def query(
        self, question: DnsQuestion, *, edns: bool = True, timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> Response:
        """The response to `question`. Raises OSError, and TimeoutError after `timeout_s`."""
        shared = self._socket
        if shared is None or shared.is_retired:
            shared = await self._open()
        message_id = shared.new_id(self._rng)
        loop = asyncio.get_running_loop()
        response: asyncio.Future[Response] = loop.create_future()
        shared.send(
            dns_wire.encode_query(question, message_id, edns=edns), message_id, question, response
        )
        # A timer of its own costs a third of `asyncio.timeout`.
        timer = loop.call_later(timeout_s, _give_up, response)
        try:
            return await response
        finally:
            timer.cancel()
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


def _give_up(response: asyncio.Future[Response]) -> None:
    if not response.done():
        response.set_exception(TimeoutError())


class _QuerySocket(asyncio.DatagramProtocol):
    """A connected socket, and the questions pending on it by message id."""

    _transport: asyncio.DatagramTransport

    def __init__(self) -> None:
        self._pending: dict[int, tuple[DnsQuestion, asyncio.Future[Response]]] = {}
        self._sent = 0
        self.is_retired = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def new_id(self, rng: random.Random) -> int:
        """A random id that no pending question has."""
        while (message_id := rng.getrandbits(16)) in self._pending:
            pass
        return message_id

    def send(
        self,
        wire: bytes,
        message_id: int,
        question: DnsQuestion,
        response: asyncio.Future[Response],
    ) -> None:
        self._sent += 1
        self.is_retired = self._sent >= QUERIES_PER_SOCKET
        self._pending[message_id] = question, response
        self._transport.sendto(wire)

    def release(self, message_id: int) -> None:
        del self._pending[message_id]
        if not self._pending:
            self.is_retired = True
            self._transport.close()

    def datagram_received(self, data: bytes, _: object) -> None:
        message_id = int.from_bytes(data[:2], "big")
        question, response = self._pending.get(message_id, (None, None))
        if question is None or response is None or response.done() or len(data) > MAX_DATAGRAM:
            return
        parsed = dns_wire.parse_response(data, question) or dns_reference.parse_message(
            data, question, message_id
        )
        if parsed is not None:
            response.set_result(parsed)

    def error_received(self, exc: Exception) -> None:
        """Ignore ICMP errors: the questions stay pending until their timeout.

        A server that restarts refuses datagrams for a moment. If questions failed at once, a long
        list would have failed before the server is back.
        """

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_retired = True
