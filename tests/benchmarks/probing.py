"""The probe for one address: its overhead over the bare dialogue, and the cost of its parts."""

from __future__ import annotations

import asyncio
import itertools
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from statistics import median

import dns.asyncquery
import dns.message
import uvloop

from engine.address import people
from engine.address.offline import offline_evidence
from engine.address.syntax import parse_address
from engine.dns.resolver import Resolver
from engine.dns.terms import NameServer, RecordType
from engine.model import Address, Reason, Stage, Verdict
from engine.probe import ProbeEngine
from engine.score import score
from engine.smtp.reply import classify_reply
from tests.mail_testbed import CONFIG, DNS_SERVER

DNS = NameServer.parse(DNS_SERVER)
SINK = "127.0.0.13"
AT_ONCE = 32
REFUSAL = "5.1.1 <{}@bench.test>: Recipient address rejected: User unknown in mailbox table"
_numbers = itertools.count()


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def there_is_a_testbed(name: str) -> bool:
    """Whether the loopback mail testbed is up; prints a line if it is not."""
    try:
        socket.create_connection((SINK, 25), timeout=1).close()
        socket.create_connection((DNS.host, DNS.port), timeout=1).close()
    except OSError as exc:
        say(f"{name}: SKIPPED, the mail testbed does not answer: {exc}")
        return False
    return True


def probing(rounds: int, _: float) -> None:
    """Latency of a fresh verification on a fast host; rates of the pure parts."""
    if there_is_a_testbed("probing"):
        bare_ms, ours_ms = uvloop.run(_latency(rounds * 100))
        say(
            f"single verify, fresh domain known: p50 {ours_ms:.2f} ms;"
            f" the raw dialogue {bare_ms:.2f} ms, so {ours_ms - bare_ms:.2f} ms are added"
        )
        bare, ours = uvloop.run(_lookups(rounds))
        say(
            f"MX look-ups, none cached: {ours.per_s:,.0f}/s, {ours.per_s / bare.per_s:.1f} times"
            f" bare dnspython; {ours.cpu_us:.0f} us of CPU each for its {bare.cpu_us:.0f}"
        )
    _rate("classified refusals, each with another address", _classify)
    _rate("scores", _score)
    _rate("names guessed", _guess)


async def _latency(count: int) -> tuple[float, float]:
    """Medians of the raw dialogue and of a verification, in ms, taken in turns."""
    engine = ProbeEngine.open(CONFIG)
    raw: list[float] = []
    ours: list[float] = []
    try:
        for number in range(count):
            # A known host, and a domain whose control address was not sent yet.
            domain = f"s{next(_numbers)}x{number}.sink.test"
            address = parse_address(f"user{number}@{domain}")
            for times, work in ((raw, _dialogue), (ours, engine.verify)):
                began = time.perf_counter()
                await work(address)
                times.append((time.perf_counter() - began) * 1000)
    finally:
        await engine.aclose()
    return median(raw), median(ours)


async def _dialogue(address: Address) -> None:
    """The same commands, without interpreting the replies."""
    reader, writer = await asyncio.open_connection(SINK, 25)
    await reader.readline()
    writer.write(b"EHLO probe.verifier.test\r\n")
    while (await reader.readline())[3:4] == b"-":
        pass
    recipient = f"RCPT TO:<{address.raw}>\r\n"
    writer.write(f"MAIL FROM:<probe@verifier.test>\r\n{recipient}{recipient}".encode())
    for _ in range(3):
        await reader.readline()
    writer.write(b"QUIT\r\n")
    writer.close()


@dataclass(frozen=True, slots=True)
class _Cost:
    """Of one look-up among `AT_ONCE`."""

    per_s: float
    cpu_us: float
    """Of this process, without the DNS server."""


async def _lookups(rounds: int) -> tuple[_Cost, _Cost]:
    """dnspython's own, and the resolver's, in turns; medians."""
    resolver = Resolver([DNS])

    async def bare(name: str) -> object:
        query = dns.message.make_query(name, "MX")
        return await dns.asyncquery.udp(query, DNS.host, port=DNS.port)

    async def ours(name: str) -> object:
        return await resolver.resolve(name, RecordType.MX)

    costs: dict[Callable[[str], Awaitable[object]], list[_Cost]] = {bare: [], ours: []}
    try:
        for _ in range(rounds):
            for ask, found in costs.items():
                found.append(await _cost(ask, 1_000))
    finally:
        await resolver.aclose()
    theirs, mine = (
        _Cost(median(cost.per_s for cost in found), median(cost.cpu_us for cost in found))
        for found in costs.values()
    )
    return theirs, mine


async def _cost(ask: Callable[[str], Awaitable[object]], count: int) -> _Cost:
    todo = iter([f"q{next(_numbers)}.sink.test" for _ in range(count)])

    async def work() -> None:
        for name in todo:
            await ask(name)

    began, cpu_began = time.perf_counter(), time.process_time()
    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    took_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
    return _Cost(count / took_s, cpu_s / count * 1e6)


def _rate(what: str, work: Callable[[int], object]) -> None:
    work(0)
    began = time.perf_counter()
    count = 20_000
    for number in range(count):
        work(number)
    say(f"{what}: {count / (time.perf_counter() - began):,.0f}/s")


def _classify(number: int) -> object:
    return classify_reply(Stage.RCPT, 550, REFUSAL.format(number))


def _score(_: int) -> object:
    return score(Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL, EVIDENCE)


def _guess(number: int) -> object:
    return people.guess_person(f"john.smith{number}")


EVIDENCE = offline_evidence(parse_address("john.smith@bench.test"))
