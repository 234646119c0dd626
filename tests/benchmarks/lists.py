"""Lists of addresses, compared with bare loops over as many connections to the same sink."""

from __future__ import annotations

import asyncio
import re
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast

import aiosmtplib
import uvloop

from adapters.contract.jobs import BatchEntry, JobState
from engine.address.syntax import parse_address
from engine.model import Checks
from engine.probe import ProbeConfig, ProbeEngine
from gateway.cli.local_batch import LocalBatch, open_local_batch
from gateway.settings import Settings
from tests.benchmarks.probing import SINK, say, there_is_a_testbed
from tests.fakes.dns import fake_dns
from tests.mail_testbed import CONFIG

CONNECTIONS = 4
WINDOW = 100
DELAY_S = 0.1
LIST = 50_000
MX, FAR = "mx.far.test", "127.0.0.1"

Loop = Callable[[int, str, int], Awaitable[None]]
"""Sends so many recipients to a host and port."""


def lists(rounds: int, _: float) -> None:
    """Addresses a second through the engine, each round with empty caches."""
    if not there_is_a_testbed("lists"):
        return
    count = 20_000
    aio = _best(rounds, lambda: _bare(_aiosmtplib, count // 4), count // 4)
    raw = _best(rounds, lambda: _bare(_pipelined, count), count)
    say(f"bare aiosmtplib, {CONNECTIONS} kept connections: {aio:,.0f} RCPT/s")
    say(f"raw asyncio, {CONNECTIONS} kept connections, pipelined: {raw:,.0f} RCPT/s")
    for domains in (1, 400, 4_000):
        ours = _best(rounds, lambda many=domains: _verify(count, many), count)  # type: ignore[misc]
        say(
            f"verify_many with catch-all check, {domains:,} domains: {ours:,.0f} addresses/s,"
            f" {ours / aio:.2f} of aiosmtplib, {ours / raw:.2f} of raw"
        )


def far(rounds: int, _: float) -> None:
    """The same where each round trip takes 100 ms."""
    count = 2_000
    aio = _best(rounds, lambda: _far_bare(_aiosmtplib, count // 20), count // 20)
    ours = _best(rounds, lambda: _far_verify(count), count)
    say(
        f"100 ms away: verify_many {ours:,.0f} addresses/s,"
        f" {ours / aio:.1f} times bare aiosmtplib ({aio:,.0f} RCPT/s)"
    )


def jobs(rounds: int, _: float) -> None:
    """A durable job of 50,000 addresses, and the memory it takes."""
    if not there_is_a_testbed("jobs"):
        return
    for domains in (1, 1_000):
        best = 0.0
        for _round in range(max(1, rounds - 1)):
            before = _rss_mb()
            per_s = LIST / uvloop.run(job(domains))
            best = max(best, per_s)
        say(
            f"durable job, {LIST:,} addresses in {domains:,} domains, from submission to the"
            f" last row: {best:,.0f}/s; resident {before:.0f} MB before, {_rss_mb():.0f} MB after"
        )
    steps = uvloop.run(_memory())
    say("engine alone, MB resident after every 10,000 addresses: " + ", ".join(steps))


def _best(rounds: int, work: Callable[[], Awaitable[None]], count: int) -> float:
    best = 0.0
    for _round in range(rounds):
        began = time.perf_counter()
        uvloop.run(_done(work))
        best = max(best, count / (time.perf_counter() - began))
    return best


async def _done(work: Callable[[], Awaitable[None]]) -> None:
    await work()


# -- bare loops --------------------------------------------------------------------------


async def _bare(loop: Loop, count: int) -> None:
    await asyncio.gather(*(loop(count // CONNECTIONS, SINK, 25) for _ in range(CONNECTIONS)))


async def _aiosmtplib(count: int, host: str, port: int) -> None:
    client = aiosmtplib.SMTP(hostname=host, port=port, start_tls=False)
    await client.connect()
    await client.ehlo()
    for number in range(count):
        if number % WINDOW == 0:
            await client.rset()
            await client.mail("probe@verifier.test")
        await client.rcpt(f"user{number}@d1.sink.test")
    await client.quit()


async def _pipelined(count: int, host: str, port: int) -> None:
    reader, writer = await asyncio.open_connection(host, port)
    await reader.readline()
    writer.write(b"EHLO probe.verifier.test\r\n")
    while (await reader.readline())[3:4] == b"-":
        pass
    for first in range(0, count, WINDOW):
        rcpts = (b"RCPT TO:<user%d@d1.sink.test>\r\n" % n for n in range(first, first + WINDOW))
        writer.write(b"RSET\r\nMAIL FROM:<probe@verifier.test>\r\n" + b"".join(rcpts))
        lines = WINDOW + 2
        while lines:
            lines -= (await reader.read(65536)).count(b"\n")
    writer.close()


# -- ours --------------------------------------------------------------------------------


def _texts(count: int, domains: int) -> Iterator[str]:
    return (f"user{n}@d{n * domains // count}.sink.test" for n in range(count))


async def _verify_all(engine: ProbeEngine, texts: Iterable[str]) -> None:
    async for _ in engine.verify_many(map(parse_address, texts)):
        pass


@asynccontextmanager
async def _open(config: ProbeConfig) -> AsyncIterator[ProbeEngine]:
    engine = ProbeEngine.open(config)
    try:
        yield engine
    finally:
        await engine.aclose()


async def _verify(count: int, domains: int) -> None:
    async with _open(CONFIG) as engine:
        await _verify_all(engine, _texts(count, domains))


async def job(domains: int) -> float:
    """Seconds."""
    settings = Settings.model_validate(
        {
            "engine": {
                "helo": CONFIG.helo,
                "mail_from": CONFIG.mail_from,
                "dns_servers": list(CONFIG.dns_servers),
                "allow_private_networks": True,
            }
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        async with open_local_batch(settings, str(Path(folder) / "list.db")) as batch:
            began = time.perf_counter()
            entries = (BatchEntry(text) for text in _texts(LIST, domains))
            await batch.submit(entries, headers=(), checks=Checks(), retries=True, options={})
            async with batch.running():
                await _completed(batch)
            return time.perf_counter() - began


async def _completed(batch: LocalBatch) -> None:
    while (await batch.get_job()).state is not JobState.COMPLETED:  # noqa: ASYNC110
        await asyncio.sleep(0.05)  # as a client measures it


async def _memory() -> list[str]:
    steps = []
    async with _open(CONFIG) as engine:
        count = 0
        async for _ in engine.verify_many(map(parse_address, _texts(LIST, 1_000))):
            count += 1
            if count % 10_000 == 0:
                steps.append(f"{_rss_mb():.0f}")
    return steps


def _rss_mb() -> float:
    """Resident memory, from Linux's /proc."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found, sys.platform
    return int(found[1]) / 1024


# -- a host far away ---------------------------------------------------------------------


class _Far(asyncio.Protocol):
    """Accepts every recipient, each write answered after 100 ms."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._rest = b""
        self._answer(b"220 mx.far.test\r\n")

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\r\n")
        self._answer(b"".join(_REPLIES.get(line[:4], b"250 Ok\r\n") for line in lines))

    def _answer(self, reply: bytes) -> None:
        asyncio.get_running_loop().call_later(DELAY_S, self._transport.write, reply)


_REPLIES = {b"EHLO": b"250-mx.far.test\r\n250 PIPELINING\r\n", b"QUIT": b"221 Bye\r\n"}


@asynccontextmanager
async def _far_host() -> AsyncIterator[int]:
    server = await asyncio.get_running_loop().create_server(_Far, FAR, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def _far_bare(loop: Loop, count: int) -> None:
    async with _far_host() as port:
        share = count // CONNECTIONS
        await asyncio.gather(*(loop(share, FAR, port) for _ in range(CONNECTIONS)))


async def _far_verify(count: int) -> None:
    zone = {"far.test": {"MX": [f"0 {MX}."]}, MX: {"A": [FAR]}}
    async with _far_host() as port, fake_dns(zone) as dns:
        config = replace(CONFIG, dns_servers=(dns.address,), smtp_port=port)
        async with _open(config) as engine:
            texts = (f"user{number}@far.test" for number in range(count))
            await _verify_all(engine, texts)
