"""The UDP client: its sockets, and the datagrams that it takes for a response."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from typing import cast

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from engine.dns import wire as dns_wire
from engine.dns.terms import DnsQuestion, ParsedResponse, RecordType
from engine.dns.udp import MAX_DATAGRAM, QUERIES_PER_SOCKET, UdpClient

Datagram = tuple[bytes, tuple[str, int]]


class ManualServer(asyncio.DatagramProtocol):
    """A server whose responses the test sends."""

    def __init__(self) -> None:
        self.received: asyncio.Queue[Datagram] = asyncio.Queue()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.received.put_nowait((data, addr))

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.transport.get_extra_info("sockname")[:2]
        return host, port

    async def receive(self, count: int) -> list[Datagram]:
        async with asyncio.timeout(5):
            return [await self.received.get() for _ in range(count)]


@contextlib.asynccontextmanager
async def manual_server(host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[ManualServer]:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(ManualServer, local_addr=(host, port))
    try:
        yield server
    finally:
        transport.close()
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def pending(server: UdpClient, *names: str) -> AsyncIterator[list[asyncio.Task[object]]]:
    """The pending questions for `names`."""
    tasks: list[asyncio.Task[object]] = [
        asyncio.create_task(server.query(question(name))) for name in names
    ]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)


def question(name: str) -> DnsQuestion:
    wire = dns_wire.encode_name(name)
    assert wire is not None
    return DnsQuestion(wire, RecordType.A)


def response_with(query: bytes, ip: str) -> bytes:
    message = dns.message.from_wire(query)
    response = dns.message.make_response(message)
    name = message.question[0].name
    response.answer.append(dns.rrset.from_text(name, 60, "IN", "A", ip))
    return response.to_wire()


def another_id(query: bytes) -> bytes:
    return bytes((query[0] ^ 1,)) + response_with(query, "192.0.2.66")[1:]


def another_name(query: bytes) -> bytes:
    return response_with(query, "192.0.2.66").replace(b"\1a\4test", b"\1b\4test")


def another_type(query: bytes) -> bytes:
    return response_with(query, "192.0.2.66").replace(b"\4test\0\0\1", b"\4test\0\0\2", 1)


def no_question(query: bytes) -> bytes:
    """RFC 5452 section 9.1: a response must repeat the question."""
    response = dns.message.make_response(dns.message.from_wire(query))
    response.question.clear()
    return response.to_wire()


def the_query_itself(query: bytes) -> bytes:
    return query


def noise(query: bytes) -> bytes:
    return query[:2] + b"\xff" * 40


def empty(_: bytes) -> bytes:
    return b""


def too_long(query: bytes) -> bytes:
    """RFC 6891 section 6.2.5: a server sends no more than we said that we accept."""
    message = dns.message.from_wire(query)
    response = dns.message.make_response(message)
    ips = [f"192.0.{number // 250}.{number % 250}" for number in range(MAX_DATAGRAM // 16)]
    response.answer.append(dns.rrset.from_text(message.question[0].name, 60, "IN", "A", *ips))
    return response.to_wire(max_size=65535)


def cut_off(query: bytes) -> bytes:
    return response_with(query, "192.0.2.66")[:-2]


@pytest.mark.parametrize(
    "forge",
    [another_id, another_name, another_type, no_question, the_query_itself, noise,
     empty, cut_off, too_long],
)  # fmt: skip
async def test_a_datagram_that_is_no_response_to_the_question_is_ignored(
    forge: Callable[[bytes], bytes],
) -> None:
    async with manual_server() as server:
        udp = UdpClient(*server.address, random.Random(1))
        async with pending(udp, "a.test") as (task,):
            ((query, client),) = await server.receive(1)
            server.transport.sendto(forge(query), client)
            server.transport.sendto(response_with(query, "192.0.2.1"), client)
            response = await asyncio.wait_for(task, 5)
    assert isinstance(response, ParsedResponse)
    assert response.records == ("192.0.2.1",)


async def test_a_datagram_from_another_port_is_not_received() -> None:
    async with manual_server() as server, manual_server() as forger:
        udp = UdpClient(*server.address, random.Random(1))
        async with pending(udp, "a.test") as (task,):
            ((query, client),) = await server.receive(1)
            forger.transport.sendto(response_with(query, "192.0.2.66"), client)
            server.transport.sendto(response_with(query, "192.0.2.1"), client)
            response = await asyncio.wait_for(task, 5)
    assert isinstance(response, ParsedResponse)
    assert response.records == ("192.0.2.1",)


async def test_a_second_response_is_ignored() -> None:
    async with manual_server() as server:
        udp = UdpClient(*server.address, random.Random(1))
        async with pending(udp, "a.test", "b.test") as (first, second):
            (query, client), (other, _) = await server.receive(2)
            for ip in ("192.0.2.1", "192.0.2.66"):
                server.transport.sendto(response_with(query, ip), client)
            server.transport.sendto(response_with(other, "192.0.2.2"), client)
            responses = await asyncio.wait_for(asyncio.gather(first, second), 5)
    assert [cast(ParsedResponse, response).records for response in responses] == [
        ("192.0.2.1",),
        ("192.0.2.2",),
    ]


async def test_responses_may_arrive_in_any_order() -> None:
    names = [f"n{number}.test" for number in range(3 * QUERIES_PER_SOCKET)]
    async with manual_server() as server:
        udp = UdpClient(*server.address, random.Random(1))
        async with pending(udp, *names) as tasks:
            datagrams = await server.receive(len(names))
            for query, client in reversed(datagrams):
                number = dns.message.from_wire(query).question[0].name.labels[0][1:].decode()
                server.transport.sendto(response_with(query, f"192.0.2.{number}"), client)
            responses = await asyncio.wait_for(asyncio.gather(*tasks), 5)
    assert [cast(ParsedResponse, response).records for response in responses] == [
        (f"192.0.2.{number}",) for number in range(len(names))
    ]
    # They share a few sockets, each for a bounded number of queries.
    ports = [client[1] for _, client in datagrams]
    assert len(set(ports)) == 3
    assert max(map(ports.count, ports)) == QUERIES_PER_SOCKET


async def test_ids_are_random_and_no_two_pending_ones_are_equal() -> None:
    class Repeating(random.Random):
        numbers: Iterator[int] = iter([7, 7, 7, 9])

        def getrandbits(self, k: int, /) -> int:
            assert k == 16
            return next(self.numbers)

    async with (
        manual_server() as server,
        pending(UdpClient(*server.address, Repeating()), "a.test", "b.test"),
    ):
        datagrams = await server.receive(2)
    assert [int.from_bytes(query[:2], "big") for query, _ in datagrams] == [7, 9]


async def test_a_socket_is_only_open_while_questions_are_pending() -> None:
    async with manual_server() as server:
        udp = UdpClient(*server.address, random.Random(1))
        for _ in range(2):
            async with pending(udp, "a.test") as (task,):
                ((query, client),) = await server.receive(1)
                server.transport.sendto(response_with(query, "192.0.2.1"), client)
                await asyncio.wait_for(task, 5)
            await asyncio.sleep(0)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                probe.bind(client)  # raises if the port is still in use


async def test_a_cancelled_question_leaves_the_socket_to_the_others() -> None:
    async with manual_server() as server:
        udp = UdpClient(*server.address, random.Random(1))
        async with pending(udp, "a.test", "b.test") as (first, second):
            _, (other, client) = await server.receive(2)
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            server.transport.sendto(response_with(other, "192.0.2.2"), client)
            response = await asyncio.wait_for(second, 5)
    assert cast(ParsedResponse, response).records == ("192.0.2.2",)


async def test_an_unusual_response_is_parsed_by_dnspython() -> None:
    async with manual_server() as server:
        udp = UdpClient(*server.address, random.Random(1))
        async with pending(udp, "a.test") as (task,):
            ((query, client),) = await server.receive(1)
            failure = dns.message.make_response(dns.message.from_wire(query))
            failure.set_rcode(dns.rcode.SERVFAIL)
            failure.question.clear()
            server.transport.sendto(failure.to_wire(), client)
            response = await asyncio.wait_for(task, 5)
    assert isinstance(response, dns.message.Message)
    assert response.rcode() == dns.rcode.SERVFAIL


async def test_questions_stay_pending_while_a_server_restarts() -> None:
    async with manual_server() as server:
        address = server.address
    udp = UdpClient(*address, random.Random(1))
    async with pending(udp, "a.test") as (refused,):
        await asyncio.wait([refused], timeout=0.05)
        async with manual_server(*address) as server, pending(udp, "b.test") as (task,):
            ((query, client),) = await server.receive(1)
            server.transport.sendto(response_with(query, "192.0.2.2"), client)
            response = await asyncio.wait_for(task, 5)
        assert not refused.done()
    assert cast(ParsedResponse, response).records == ("192.0.2.2",)


async def test_an_address_that_cannot_be_sent_to_is_an_error() -> None:
    udp = UdpClient("255.255.255.255", 53, random.Random(1))  # broadcast is not permitted
    with pytest.raises(OSError):  # noqa: PT011 (any subclass of it)
        await udp.query(question("a.test"))


async def test_a_server_may_have_an_ipv6_address() -> None:
    async with manual_server("::1") as server:
        udp = UdpClient(*server.address, random.Random(1))
        async with pending(udp, "a.test") as (task,):
            ((query, client),) = await server.receive(1)
            server.transport.sendto(response_with(query, "192.0.2.1"), client)
            response = await asyncio.wait_for(task, 5)
    assert cast(ParsedResponse, response).records == ("192.0.2.1",)
