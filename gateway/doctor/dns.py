"""Facts from DNS: the servers themselves, our names, the domain of MAIL FROM, block lists."""

from __future__ import annotations

import asyncio
import ipaddress
import random
import time
from collections.abc import Awaitable

from engine.dns.mx import resolve_route
from engine.dns.resolver import Resolver
from engine.dns.terms import DnsAnswer, LookupStatus, NameServer, RecordType
from engine.model import Dns
from gateway.doctor.block_lists import (
    NEVER_LISTED,
    TEST_ENTRY,
    BlockList,
    Listing,
    interpret_answers,
    query_name,
)
from gateway.doctor.facts import WELL_KNOWN_DOMAINS, DnsServer, NameRecords

MAX_PTR_NAMES = 10
"""PTR names of our address whose own addresses are looked up."""
_PARENT_DOMAINS = ("com", WELL_KNOWN_DOMAINS[0])
"""Parents of a random name that cannot exist; the second for servers that know few domains."""
_STATUS_ORDER = (
    LookupStatus.OK,
    LookupStatus.NODATA,
    LookupStatus.NXDOMAIN,
    LookupStatus.SERVFAIL,
    LookupStatus.REFUSED,
    LookupStatus.TIMEOUT,
)
_NEGATIVE_STATUS_ORDER = (
    LookupStatus.NXDOMAIN,
    LookupStatus.NODATA,
    LookupStatus.OK,
    LookupStatus.SERVFAIL,
    LookupStatus.REFUSED,
    LookupStatus.TIMEOUT,
)


async def ask_server(server: NameServer, timeout_s: float, rng: random.Random) -> DnsServer:
    """How one server answers, queried alone and without a cache."""
    alone = Resolver([server], timeout_s=timeout_s / 2)
    label = "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(20))
    random_names = [f"{label}.{parent}" for parent in _PARENT_DOMAINS]
    try:
        (answers, latency_ms), (negatives, _) = await asyncio.gather(
            _timed(*(alone.resolve(domain, RecordType.MX) for domain in WELL_KNOWN_DOMAINS)),
            _timed(*(alone.resolve(name, RecordType.A) for name in random_names)),
        )
    finally:
        await alone.aclose()
    best = min(answers, key=lambda answer: _STATUS_ORDER.index(answer.status))
    negative = min(negatives, key=lambda answer: _NEGATIVE_STATUS_ORDER.index(answer.status))
    name = f"[{server.host}]" if ":" in server.host else server.host
    return DnsServer(
        server=f"{name}:{server.port}",
        status=best.status,
        latency_ms=latency_ms,
        nonexistent_status=negative.status,
        false_address=next((answer.records[0] for answer in negatives if answer.records), ""),
    )


async def look_up_names(resolver: Resolver, helo: str, ip: str) -> NameRecords:
    """The addresses of the HELO name, and the PTR names of `ip` with those that resolve back."""
    v4, v6, pointer = await asyncio.gather(
        resolver.resolve(helo, RecordType.A),
        resolver.resolve(helo, RecordType.AAAA),
        resolver.resolve(ipaddress.ip_address(ip).reverse_pointer, RecordType.PTR)
        if ip
        else _no_answer(),
    )
    status = LookupStatus.OK if v4.records or v6.records else _worse(v4.status, v6.status)
    names = [record.rstrip(".").lower() for record in pointer.records][:MAX_PTR_NAMES]
    kind = RecordType.AAAA if ":" in ip else RecordType.A
    back = await asyncio.gather(*(resolver.resolve(name, kind) for name in names))
    confirmed = [n for n, answer in zip(names, back, strict=True) if _has_address(answer, ip)]
    ips = tuple(map(_canonical, (*v4.records, *v6.records)))
    return NameRecords(status, ips, pointer.status, names, confirmed)


async def look_up_mail_domain(resolver: Resolver, mail_from: str, rng: random.Random) -> Dns:
    """Whether the domain of MAIL FROM accepts mail."""
    domain = mail_from.rpartition("@")[2]
    if not domain:
        return Dns.NOT_CHECKED
    return (await resolve_route(resolver, domain, rng)).dns


async def look_up_listing(resolver: Resolver, block_list: BlockList, ip: str) -> Listing | None:
    """Whether a list has our address `ip`; None if that is empty, and so not known."""
    if not ip:
        return None
    names = (query_name(block_list.zone, address) for address in (ip, TEST_ENTRY, NEVER_LISTED))
    answers = await asyncio.gather(*(resolver.resolve(name, RecordType.A) for name in names))
    own, test, never = (a.records if a.status.definite else None for a in answers)
    # in a test network our own address may be the one that must not be listed
    never = () if ip == NEVER_LISTED else never
    return interpret_answers(block_list, own, test_entry=test, never_listed=never)


async def _timed(*questions: Awaitable[DnsAnswer]) -> tuple[list[DnsAnswer], int]:
    """The answers, and the milliseconds until the first definite one."""
    started = time.monotonic()
    first_ms: list[int] = []

    async def one(question: Awaitable[DnsAnswer]) -> DnsAnswer:
        answer = await question
        if answer.status.definite:
            first_ms.append(round((time.monotonic() - started) * 1000))
        return answer

    answers = await asyncio.gather(*map(one, questions))
    return answers, first_ms[0] if first_ms else 0


async def _no_answer() -> DnsAnswer:
    return DnsAnswer("", RecordType.PTR, LookupStatus.NODATA)


def _worse(one: LookupStatus, other: LookupStatus) -> LookupStatus:
    return one if not one.definite else other


def _canonical(text: str) -> str:
    return str(ipaddress.ip_address(text))


def _has_address(answer: DnsAnswer, ip: str) -> bool:
    return _canonical(ip) in map(_canonical, answer.records)
