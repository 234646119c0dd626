"""Questions over UDP share sockets, and only the server's answer to the question counts."""

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
from engine.dns.udp import QUERIES_PER_SOCKET, UdpClient

Datagram = tuple[bytes, tuple[str, int]]


class Puppet(asyncio.DatagramProtocol):
    """A server that answers when the test says so."""

    def __init__(self) -> None:
        self.asked: asyncio.Queue[Datagram] = asyncio.Queue()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.asked.put_nowait((data, addr))

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.transport.get_extra_info("sockname")[:2]
        return host, port

    async def take(self, count: int) -> list[Datagram]:
        async with asyncio.timeout(5):
            return [await self.asked.get() for _ in range(count)]


@contextlib.asynccontextmanager
async def puppet(host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Puppet]:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(Puppet, local_addr=(host, port))
    try:
        yield server
    finally:
        transport.close()
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def asking(server: UdpClient, *names: str) -> AsyncIterator[list[asyncio.Task[object]]]:
    """These questions, under way."""
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


def answer(asked: bytes, ip: str) -> bytes:
    query = dns.message.from_wire(asked)
    response = dns.message.make_response(query)
    name = query.question[0].name
    response.answer.append(dns.rrset.from_text(name, 60, "IN", "A", ip))
    return response.to_wire()


def another_id(asked: bytes) -> bytes:
    return bytes((asked[0] ^ 1,)) + answer(asked, "192.0.2.66")[1:]


def another_name(asked: bytes) -> bytes:
    return answer(asked, "192.0.2.66").replace(b"\1a\4test", b"\1b\4test")


def another_type(asked: bytes) -> bytes:
    return answer(asked, "192.0.2.66").replace(b"\4test\0\0\1", b"\4test\0\0\2", 1)


def another_question(asked: bytes) -> bytes:
    """A failure may come without the question (RFC 5452 section 9.1 would rather not)."""
    response = dns.message.make_response(dns.message.from_wire(asked))
    response.question.clear()
    return response.to_wire()


def the_question_itself(asked: bytes) -> bytes:
    return asked


def noise(asked: bytes) -> bytes:
    return asked[:2] + b"\xff" * 40


def nothing(_: bytes) -> bytes:
    return b""


def cut_off(asked: bytes) -> bytes:
    return answer(asked, "192.0.2.66")[:-2]


@pytest.mark.parametrize(
    "forge",
    [another_id, another_name, another_type, another_question, the_question_itself, noise,
     nothing, cut_off],
)  # fmt: skip
async def test_what_is_no_answer_to_the_question_is_waited_past(
    forge: Callable[[bytes], bytes],
) -> None:
    async with puppet() as server:
        udp = UdpClient(*server.address, random.Random(1))
        async with asking(udp, "a.test") as (task,):
            ((asked, asker),) = await server.take(1)
            server.transport.sendto(forge(asked), asker)
            server.transport.sendto(answer(asked, "192.0.2.1"), asker)
            found = await asyncio.wait_for(task, 5)
    assert isinstance(found, ParsedResponse)
    assert found.records == ("192.0.2.1",)


async def test_what_another_host_sends_is_not_heard() -> None:
    async with puppet() as server, puppet() as forger:
        udp = UdpClient(*server.address, random.Random(1))
        async with asking(udp, "a.test") as (task,):
            ((asked, asker),) = await server.take(1)
            forger.transport.sendto(answer(asked, "192.0.2.66"), asker)
            server.transport.sendto(answer(asked, "192.0.2.1"), asker)
            found = await asyncio.wait_for(task, 5)
    assert isinstance(found, ParsedResponse)
    assert found.records == ("192.0.2.1",)


async def test_a_second_answer_changes_nothing() -> None:
    async with puppet() as server:
        udp = UdpClient(*server.address, random.Random(1))
        async with asking(udp, "a.test", "b.test") as (first, second):
            (asked, asker), (other, _) = await server.take(2)
            for ip in ("192.0.2.1", "192.0.2.66"):
                server.transport.sendto(answer(asked, ip), asker)
            server.transport.sendto(answer(other, "192.0.2.2"), asker)
            found = await asyncio.wait_for(asyncio.gather(first, second), 5)
    assert [cast(ParsedResponse, outcome).records for outcome in found] == [
        ("192.0.2.1",),
        ("192.0.2.2",),
    ]


async def test_answers_in_another_order_find_their_questions() -> None:
    names = [f"n{number}.test" for number in range(3 * QUERIES_PER_SOCKET)]
    async with puppet() as server:
        udp = UdpClient(*server.address, random.Random(1))
        async with asking(udp, *names) as tasks:
            datagrams = await server.take(len(names))
            for asked, asker in reversed(datagrams):
                number = dns.message.from_wire(asked).question[0].name.labels[0][1:].decode()
                server.transport.sendto(answer(asked, f"192.0.2.{number}"), asker)
            found = await asyncio.wait_for(asyncio.gather(*tasks), 5)
    assert [cast(ParsedResponse, outcome).records for outcome in found] == [
        (f"192.0.2.{number}",) for number in range(len(names))
    ]
    # A few sockets for all of them, and none of them for many.
    ports = [asker[1] for _, asker in datagrams]
    assert len(set(ports)) == 3
    assert max(map(ports.count, ports)) == QUERIES_PER_SOCKET


async def test_ids_are_drawn_and_no_two_are_waited_for_at_once() -> None:
    class Stubborn(random.Random):
        drawn: Iterator[int] = iter([7, 7, 7, 9])

        def getrandbits(self, k: int, /) -> int:
            assert k == 16
            return next(self.drawn)

    async with (
        puppet() as server,
        asking(UdpClient(*server.address, Stubborn()), "a.test", "b.test"),
    ):
        datagrams = await server.take(2)
    assert [int.from_bytes(asked[:2], "big") for asked, _ in datagrams] == [7, 9]


async def test_a_socket_is_open_only_while_something_is_waited_for() -> None:
    async with puppet() as server:
        udp = UdpClient(*server.address, random.Random(1))
        for _ in range(2):
            async with asking(udp, "a.test") as (task,):
                ((asked, asker),) = await server.take(1)
                server.transport.sendto(answer(asked, "192.0.2.1"), asker)
                await asyncio.wait_for(task, 5)
            await asyncio.sleep(0)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                probe.bind(asker)  # nobody has it any more


async def test_who_gives_up_leaves_the_others_their_socket() -> None:
    async with puppet() as server:
        udp = UdpClient(*server.address, random.Random(1))
        async with asking(udp, "a.test", "b.test") as (first, second):
            _, (other, asker) = await server.take(2)
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            server.transport.sendto(answer(other, "192.0.2.2"), asker)
            found = await asyncio.wait_for(second, 5)
    assert cast(ParsedResponse, found).records == ("192.0.2.2",)


async def test_an_odd_response_is_handed_on_as_dnspython_reads_it() -> None:
    async with puppet() as server:
        udp = UdpClient(*server.address, random.Random(1))
        async with asking(udp, "a.test") as (task,):
            ((asked, asker),) = await server.take(1)
            response = dns.message.make_response(dns.message.from_wire(asked))
            response.set_rcode(dns.rcode.SERVFAIL)
            response.question.clear()
            server.transport.sendto(response.to_wire(), asker)
            found = await asyncio.wait_for(task, 5)
    assert isinstance(found, dns.message.Message)
    assert found.rcode() == dns.rcode.SERVFAIL


async def test_a_server_that_starts_again_is_waited_for() -> None:
    async with puppet() as server:
        address = server.address
    udp = UdpClient(*address, random.Random(1))
    async with asking(udp, "a.test") as (refused,):
        await asyncio.wait([refused], timeout=0.05)
        async with puppet(*address) as server, asking(udp, "b.test") as (task,):
            ((asked, asker),) = await server.take(1)
            server.transport.sendto(answer(asked, "192.0.2.2"), asker)
            found = await asyncio.wait_for(task, 5)
        assert not refused.done()
    assert cast(ParsedResponse, found).records == ("192.0.2.2",)


async def test_a_server_that_cannot_be_reached_is_an_error() -> None:
    udp = UdpClient("255.255.255.255", 53, random.Random(1))  # broadcast is not for us
    with pytest.raises(OSError):  # noqa: PT011 (any kind of it)
        await udp.query(question("a.test"))


async def test_servers_have_ipv6_addresses_too() -> None:
    async with puppet("::1") as server:
        udp = UdpClient(*server.address, random.Random(1))
        async with asking(udp, "a.test") as (task,):
            ((asked, asker),) = await server.take(1)
            server.transport.sendto(answer(asked, "192.0.2.1"), asker)
            found = await asyncio.wait_for(task, 5)
    assert cast(ParsedResponse, found).records == ("192.0.2.1",)
