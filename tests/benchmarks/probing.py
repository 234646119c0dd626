"""The probe for one address: what it adds to the bare conversation, and what its parts cost."""

from __future__ import annotations

import asyncio
import itertools
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from statistics import median

import dns.asyncquery
import dns.message
import uvloop

from engine import people
from engine.known import known
from engine.model import Reason, Stage, Verdict
from engine.probe import ProbeConfig, ProbeEngine
from engine.reply import read
from engine.resolver import Kind, Resolver, Server
from engine.score import score
from engine.syntax import parse

DNS = Server("127.0.0.53")
SINK = "127.0.0.13"
CONFIG = ProbeConfig(
    helo="probe.verifier.test",
    mail_from="probe@verifier.test",
    dns_servers=("127.0.0.53:53",),
    allow_private_networks=True,
)
AT_ONCE = 32
REFUSAL = "5.1.1 <{}@bench.test>: Recipient address rejected: User unknown in mailbox table"
_numbers = itertools.count()


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def there_is_a_testbed(name: str) -> bool:
    """Whether the loopback mail testbed is up; says so if it is not."""
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
        bare, ours = uvloop.run(_lookups(rounds * 500))
        say(f"MX look-ups, none cached: {ours:,.0f}/s, {ours / bare:.2f} of bare dnspython")
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
            # A host that is known, a domain that is not asked for its control yet.
            domain = f"s{next(_numbers)}x{number}.sink.test"
            for times, work in ((raw, _dialogue), (ours, engine.verify)):
                began = time.perf_counter()
                await work(f"user{number}@{domain}")
                times.append((time.perf_counter() - began) * 1000)
    finally:
        await engine.aclose()
    return median(raw), median(ours)


async def _dialogue(address: str) -> None:
    """The same commands, without reading what they come to."""
    reader, writer = await asyncio.open_connection(SINK, 25)
    await reader.readline()
    writer.write(b"EHLO probe.verifier.test\r\n")
    while (await reader.readline())[3:4] == b"-":
        pass
    recipient = f"RCPT TO:<{address}>\r\n"
    writer.write(f"MAIL FROM:<probe@verifier.test>\r\n{recipient}{recipient}".encode())
    for _ in range(3):
        await reader.readline()
    writer.write(b"QUIT\r\n")
    writer.close()


async def _lookups(count: int) -> tuple[float, float]:
    """A second: dnspython's own, and the resolver's."""
    resolver = Resolver([DNS])

    async def bare(name: str) -> object:
        query = dns.message.make_query(name, "MX")
        return await dns.asyncquery.udp(query, DNS.host, port=DNS.port)

    async def ours(name: str) -> object:
        return await resolver.ask(name, Kind.MX)

    names = [f"q{next(_numbers)}.sink.test" for _ in range(count)]
    try:
        return await _per_s(bare, names), await _per_s(ours, names)
    finally:
        await resolver.aclose()


async def _per_s(ask: Callable[[str], Awaitable[object]], names: list[str]) -> float:
    todo = iter(names)

    async def work() -> None:
        for name in todo:
            await ask(name)

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    return len(names) / (time.perf_counter() - began)


def _rate(what: str, work: Callable[[int], object]) -> None:
    work(0)
    began = time.perf_counter()
    count = 20_000
    for number in range(count):
        work(number)
    say(f"{what}: {count / (time.perf_counter() - began):,.0f}/s")


def _classify(number: int) -> object:
    return read(Stage.RCPT, 550, REFUSAL.format(number))


def _score(_: int) -> object:
    return score(Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL, EVIDENCE)


def _guess(number: int) -> object:
    return people.guess(f"john.smith{number}")


EVIDENCE = known(parse("john.smith@bench.test"))
