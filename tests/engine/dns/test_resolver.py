"""The resolver: the outcomes it distinguishes, its transports and servers, and its cache."""

from __future__ import annotations

import asyncio
import random
import struct
import time
from collections.abc import Mapping

import pytest

from engine.dns import tcp as dns_tcp
from engine.dns import wire as dns_wire
from engine.dns.reference import system_name_servers
from engine.dns.resolver import PREFER_TCP_FOR_S, WITHOUT_EDNS_FOR_S, Resolver
from engine.dns.terms import (
    FAILURE_TTL_S,
    DnsAnswer,
    DnsQuestion,
    LookupStatus,
    NameServer,
    ParsedResponse,
    RecordType,
)
from tests.fakes.clock import Clock
from tests.fakes.dns import Fault, fake_dns

JUNK = [f'"{number} {"x" * 200}"' for number in range(250)]
"""The records of a domain with 50 kB of unrelated TXT."""
ZONE: Mapping[str, Mapping[str, list[str]] | Fault] = {
    "mail.test": {"MX": ["10 mx1.mail.test.", "20 MX2.mail.test."], "TXT": ['"v=spf1 " "-all"']},
    "mx1.mail.test": {"A": ["127.0.0.1", "127.0.0.2"], "AAAA": ["::1"]},
    "alias.test": {"CNAME": ["second.test."]},
    "second.test": {"CNAME": ["mail.test."]},
    "nowhere.test": {"CNAME": ["ghost.test."]},
    "circle.test": {"CNAME": ["elcric.test."]},
    "elcric.test": {"CNAME": ["circle.test."]},
    "empty.test": {"TXT": ['"x"']},
    "servfail.test": Fault.SERVFAIL,
    "refused.test": Fault.REFUSED,
    "silent.test": Fault.SILENT,
    "lame.test": Fault.REFERRAL,
    "garbage.test": Fault.GARBAGE,
    "big.test": {"MX": ["10 mx1.mail.test."]},
    "tcp-only.test": {"MX": ["10 mx1.mail.test."]},
    "plain.test": {"MX": ["10 mx1.mail.test."]},
    "no-soa.test": {"TXT": ['"x"']},
    "cut.test": {"MX": ["10 mx1.mail.test."]},
    "texts.test": {"TXT": ['"v=spf1 -all"', '"V = dmarc1; p=none"', '"v=spf 1"', *JUNK]},
    "many.test": {"MX": [f"{n} mx{n}.many.test." for n in range(2_800)]},
}
FAULTS = {
    "big.test": Fault.TRUNCATED,
    "tcp-only.test": Fault.UDP_SILENT,
    "plain.test": Fault.NO_EDNS,
    "no-soa.test": Fault.NO_SOA,
    "cut.test": Fault.ALWAYS_TRUNCATED,
}


def new_resolver(*addresses: str, clock: Clock | None = None, attempt_s: float = 0.1) -> Resolver:
    servers = [NameServer.parse(address) for address in addresses]
    return Resolver(
        servers,
        attempt_timeout_s=attempt_s,
        timeout_s=max(5.0, 4 * attempt_s),
        clock=clock or Clock(),
    )


@pytest.mark.parametrize(
    ("name", "record_type", "status", "records"),
    [
        ("mail.test", RecordType.MX, LookupStatus.OK, ("10 mx1.mail.test.", "20 MX2.mail.test.")),
        ("MAIL.Test.", RecordType.MX, LookupStatus.OK, ("10 mx1.mail.test.", "20 MX2.mail.test.")),
        ("mail.test", RecordType.TXT, LookupStatus.OK, ("v=spf1 -all",)),
        ("mx1.mail.test", RecordType.A, LookupStatus.OK, ("127.0.0.1", "127.0.0.2")),
        ("mx1.mail.test", RecordType.AAAA, LookupStatus.OK, ("::1",)),
        ("alias.test", RecordType.TXT, LookupStatus.OK, ("v=spf1 -all",)),
        ("mail.test", RecordType.A, LookupStatus.NODATA, ()),
        ("alias.test", RecordType.A, LookupStatus.NODATA, ()),
        ("ghost.test", RecordType.MX, LookupStatus.NXDOMAIN, ()),
        ("nowhere.test", RecordType.MX, LookupStatus.NXDOMAIN, ()),
        ("circle.test", RecordType.MX, LookupStatus.SERVFAIL, ()),
        ("servfail.test", RecordType.MX, LookupStatus.SERVFAIL, ()),
        ("lame.test", RecordType.MX, LookupStatus.SERVFAIL, ()),
        ("refused.test", RecordType.MX, LookupStatus.REFUSED, ()),
        ("big.test", RecordType.MX, LookupStatus.OK, ("10 mx1.mail.test.",)),
        # What a truncated response lacks is not known to be absent.
        ("cut.test", RecordType.MX, LookupStatus.SERVFAIL, ()),
        ("texts.test", RecordType.TXT, LookupStatus.OK, ("V = dmarc1; p=none", "v=spf1 -all")),
        ("tcp-only.test", RecordType.MX, LookupStatus.OK, ("10 mx1.mail.test.",)),
        ("plain.test", RecordType.MX, LookupStatus.OK, ("10 mx1.mail.test.",)),
        ("x" * 64 + ".test", RecordType.MX, LookupStatus.NXDOMAIN, ()),
        ("a..test", RecordType.MX, LookupStatus.NXDOMAIN, ()),
    ],
)
async def test_answers_and_failures_are_distinguished(
    name: str, record_type: RecordType, status: LookupStatus, records: tuple[str, ...]
) -> None:
    async with fake_dns(ZONE, faults=FAULTS) as dns:
        # only a query that no response can end waits for its time-out
        attempt_s = 5.0 if status is LookupStatus.OK else 0.1
        resolver = new_resolver(dns.address, attempt_s=attempt_s)
        answer = await resolver.resolve(name, record_type)
    assert (answer.status, sorted(answer.records)) == (status, sorted(records))


@pytest.mark.parametrize("name", ["silent.test", "garbage.test"])
async def test_no_response_and_a_malformed_one_end_in_a_failure(name: str) -> None:
    async with fake_dns(ZONE) as dns:
        answer = await new_resolver(dns.address, attempt_s=0.03).resolve(name, RecordType.MX)
    # A malformed response may be forged, so that it is ignored (RFC 5452).
    assert answer.status in (LookupStatus.TIMEOUT, LookupStatus.SERVFAIL)
    assert answer.ttl_s == FAILURE_TTL_S


async def test_a_server_that_does_not_exist_is_a_failure() -> None:
    async with fake_dns(ZONE) as dns:
        former_address = dns.address
    answer = await new_resolver(former_address, attempt_s=0.03).resolve("mail.test", RecordType.MX)
    assert answer.status in (LookupStatus.TIMEOUT, LookupStatus.SERVFAIL)


async def test_a_truncated_response_is_queried_again_over_tcp() -> None:
    async with fake_dns(ZONE, faults=FAULTS) as dns:
        await new_resolver(dns.address).resolve("big.test", RecordType.MX)
        assert dns.queries == [("big.test", "MX", "udp"), ("big.test", "MX", "tcp")]


async def test_a_server_that_only_answers_over_tcp_is_queried_over_tcp_first_for_a_while() -> None:
    clock = Clock()
    names = [f"n{number}.test" for number in range(3)]
    zone = {name: {"A": ["127.0.0.1"]} for name in names}
    faults = dict.fromkeys(names, Fault.UDP_SILENT)
    async with fake_dns(zone, faults=faults) as dns:
        resolver = new_resolver(dns.address, clock=clock)
        for name in names[:2]:
            assert (await resolver.resolve(name, RecordType.A)).status is LookupStatus.OK
        clock.now += PREFER_TCP_FOR_S + 1
        await resolver.resolve(names[2], RecordType.A)
        assert [transport for _, _, transport in dns.queries] == ["udp", "tcp", "tcp", "udp", "tcp"]


@pytest.mark.parametrize("name", ["servfail.test", "refused.test", "silent.test", "lame.test"])
async def test_the_next_server_is_queried_when_one_fails(name: str) -> None:
    working_zone = {name: {"MX": ["10 mx1.mail.test."]}}
    async with fake_dns(ZONE) as first, fake_dns(working_zone) as second:
        answer = await new_resolver(first.address, second.address, attempt_s=0.05).resolve(
            name, RecordType.MX
        )
    assert answer.status is LookupStatus.OK


@pytest.mark.parametrize("has_tcp", [True, False])
async def test_a_server_that_drops_edns_is_queried_without_it_for_a_while(has_tcp: bool) -> None:
    clock = Clock()
    every_name = dict.fromkeys(ZONE, Fault.DROPS_EDNS)
    async with fake_dns(ZONE, faults=every_name) as server:
        if server.tcp is not None and not has_tcp:
            server.tcp.close()
        resolver = new_resolver(server.address, clock=clock)
        answer = await resolver.resolve("mail.test", RecordType.MX)
        assert answer.status is LookupStatus.OK
        before = len(server.queries)
        assert (await resolver.resolve("mx1.mail.test", RecordType.A)).records
        assert len(server.queries) == before + 1
        clock.now += WITHOUT_EDNS_FOR_S
        assert (await resolver.resolve("mx1.mail.test", RecordType.AAAA)).records
        assert len(server.queries) > before + 2


async def test_a_lost_packet_does_not_end_edns() -> None:
    faults = {"mx1.mail.test": Fault.DROPS_EDNS}
    async with fake_dns(ZONE, faults=faults) as server:
        resolver = new_resolver(server.address)
        assert (await resolver.resolve("mail.test", RecordType.MX)).records
        assert (await resolver.resolve("mx1.mail.test", RecordType.A)).records
        before = len(server.queries)
        assert (await resolver.resolve("mx1.mail.test", RecordType.AAAA)).records
        assert len(server.queries) > before + 1


async def test_a_negative_answer_is_definite() -> None:
    async with fake_dns(ZONE) as first, fake_dns(ZONE) as second:
        answer = await new_resolver(first.address, second.address).resolve(
            "ghost.test", RecordType.MX
        )
        assert answer.status is LookupStatus.NXDOMAIN
        assert second.queries == []


@pytest.mark.parametrize(
    ("name", "record_type", "ttl_s"),
    [
        ("mail.test", RecordType.MX, 300),
        ("alias.test", RecordType.TXT, 300),
        ("mail.test", RecordType.A, 60),  # the minimum of the SOA record, RFC 2308 section 5
        ("ghost.test", RecordType.MX, 60),
        ("servfail.test", RecordType.MX, FAILURE_TTL_S),
        ("no-soa.test", RecordType.A, 0),
    ],
)
async def test_answers_are_cached_for_their_ttl(
    name: str, record_type: RecordType, ttl_s: int
) -> None:
    clock = Clock()
    async with fake_dns(ZONE, faults=FAULTS) as dns:
        resolver = new_resolver(dns.address, clock=clock)

        async def is_queried() -> bool:
            before = len(dns.queries)
            await resolver.resolve(name, record_type)
            return len(dns.queries) > before

        assert await is_queried()
        clock.now += max(0.0, ttl_s - 0.5)
        assert await is_queried() == (ttl_s == 0)
        clock.now += 1
        assert await is_queried()


async def test_a_long_response_takes_little_time_of_the_event_loop() -> None:
    async with fake_dns(ZONE) as dns:
        response = await dns.answer(mx_query("many.test"), "tcp")
    assert response is not None
    # A TXT record in the additional section: such a response is left to dnspython, which is slow.
    additional = b"\0" + struct.pack("!HHIH", 16, 1, 0, 2) + b"\1x"
    response = response[:10] + b"\0\1" + response[12:] + additional

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        query = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
        writer.write(len(response).to_bytes(2, "big") + query[:2] + response[2:])
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        question = DnsQuestion(b"\4many\4test\0", RecordType.MX)
        name_server = NameServer("127.0.0.1", server.sockets[0].getsockname()[1])
        began = time.thread_time(), time.process_time()
        answer = await dns_tcp.query(question, name_server, random.Random(1))
        loop_s, all_s = time.thread_time() - began[0], time.process_time() - began[1]
    assert isinstance(answer, ParsedResponse)
    assert len(answer.records) == 2_800
    assert loop_s < all_s / 4


def mx_query(name: str) -> bytes:
    wire = dns_wire.encode_name(name)
    assert wire is not None
    return dns_wire.encode_query(DnsQuestion(wire, RecordType.MX), 0, edns=False)


async def test_large_answers_push_out_each_other() -> None:
    zone = {
        f"n{n}.test": {"TXT": [f'"v=spf1 {n} {"x" * 200}"' for _ in range(2)]} for n in range(9)
    }
    async with fake_dns(zone) as dns:
        servers = [NameServer.parse(dns.address)]
        resolver = Resolver(servers, clock=Clock(), cache_bytes=6 * 900)
        for name in zone:
            await resolver.resolve(name, RecordType.TXT)
    kept = [name for name in zone if resolver.get_cached(name, RecordType.TXT)]
    assert kept == list(zone)[-len(kept) :]
    assert 5 <= len(kept) <= 7


async def test_equal_questions_in_flight_share_one_query() -> None:
    hold = asyncio.Event()
    async with fake_dns(ZONE, hold=hold) as dns:
        resolver = new_resolver(dns.address, attempt_s=5)
        callers = [
            asyncio.ensure_future(resolver.resolve("mail.test", RecordType.MX)) for _ in range(20)
        ]
        await asyncio.wait_for(dns.reached.wait(), 5)
        hold.set()
        answers: list[DnsAnswer] = await asyncio.gather(*callers)
        assert len(dns.queries) == 1
        assert {answer.status for answer in answers} == {LookupStatus.OK}


async def test_closing_cancels_the_questions_in_flight() -> None:
    async with fake_dns(ZONE, hold=asyncio.Event()) as dns:
        resolver = new_resolver(dns.address, attempt_s=5)
        caller = asyncio.ensure_future(resolver.resolve("mail.test", RecordType.MX))
        await asyncio.wait_for(dns.reached.wait(), 5)
        await resolver.aclose()
        assert isinstance((await asyncio.gather(caller, return_exceptions=True))[0], BaseException)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("192.0.2.1", "192.0.2.1", 53),
        ("192.0.2.1:5353", "192.0.2.1", 5353),
        ("2001:db8::1", "2001:db8::1", 53),
        ("[2001:db8::1]:5353", "2001:db8::1", 5353),
        ("[2001:db8::1]", "2001:db8::1", 53),
    ],
)
def test_a_name_server_is_parsed(text: str, host: str, port: int) -> None:
    assert NameServer.parse(text) == NameServer(host, port)


@pytest.mark.parametrize("text", ["", "dns.example", "192.0.2.1:", "192.0.2.1:0", "192.0.2.1:x"])
def test_any_other_text_is_no_name_server(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (some errors are worded by ipaddress)
        NameServer.parse(text)


def test_the_system_has_name_servers() -> None:
    servers = system_name_servers()
    assert servers
    assert [NameServer.parse(f"[{server.host}]:{server.port}") for server in servers] == [*servers]
