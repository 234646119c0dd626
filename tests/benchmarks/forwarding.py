"""The cost of forwarding, and of failing vendors: servers, clients and vendors run in processes of
their own, and every address is new.

`python -m tests.benchmarks.forwarding BASE_URL…` runs a server with an upstream for each URL.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import httpx
import uvloop

from adapters.registry import DIALECTS
from gateway.app import open_services
from gateway.settings import Settings
from gateway.sockets import bind
from gateway.web.dispatch import create_app
from gateway.web.server import serve
from tests.benchmarks import load
from tests.benchmarks.servers import LIVE_KEY, SAY_LISTENING, Deliverable, Running, ours, running
from tests.fakes.vendor import GOOD_KEY, Mood, Vendor, vendor

EMAILABLE = next(dialect for dialect in DIALECTS if dialect.name == "emailable")
TIMEOUT_S, PAUSE_S, RAMP_S = 1.0, 1.0, 2.0
"""The settings under which faults are measured."""


def forwarding(rounds: int, seconds: float) -> None:
    """Added time at the median on one connection, and requests a second on fifty."""
    numbers = itertools.count()

    def fresh(count: int) -> list[bytes]:
        return [get_fresh(numbers) for _ in range(count)]

    with running(*ours("bare")) as bare, running(*_command(bare)) as through:
        direct_ms: list[float] = []
        through_ms: list[float] = []
        direct_s: list[float] = []
        through_s: list[float] = []
        for _ in range(rounds):
            for server, ms, per_s in (
                (bare, direct_ms, direct_s),
                (through, through_ms, through_s),
            ):
                one = load.run(server.port, fresh(20_000), seconds=seconds, connections=1)
                many = load.run(server.port, fresh(50_000), seconds=seconds)
                if one.errors or many.errors:
                    raise SystemExit(f"{one.errors + many.errors} errors")
                ms.append(one.percentile_ms(0.5))
                per_s.append(many.per_s)
    sys.stdout.write(
        f"forwarding: {max(through_s):,.0f} requests/s, {max(through_s) / max(direct_s):.3f} of"
        f" bare Starlette's {max(direct_s):,.0f};"
        f" median {min(through_ms):.2f} ms, direct {min(direct_ms):.2f} ms:"
        f" {min(through_ms) - min(direct_ms):.2f} ms added\n"
    )


def outages(_: int, seconds: float) -> None:
    """Each kind of failure under steady load: failed requests, latency, times of the circuit."""
    uvloop.run(_outages(seconds))


MOODS = (
    "killed",
    Mood.HANG,
    Mood.RESET,
    Mood.HALF,
    Mood.GARBAGE,
    Mood.ERROR,
    Mood.UNAVAILABLE,
    Mood.THROTTLED,
    Mood.SLOW,
)
RATE, CLIENTS = 100.0, 50
"""Requests a second, and from how many clients."""


@dataclass
class Seen:
    """The replies to clients in one phase."""

    statuses: Counter[int] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    ms: list[float] = field(default_factory=list)


async def _outages(seconds: float) -> None:
    for mood in MOODS:
        async with contextlib.AsyncExitStack() as stack:
            bad = await stack.enter_async_context(vendor(EMAILABLE, slow_s=0.5))
            good = await stack.enter_async_context(vendor(EMAILABLE))
            front = stack.enter_context(running(*_command(bad, good)))
            session = await stack.enter_async_context(
                httpx.AsyncClient(base_url=f"http://127.0.0.1:{front.port}", timeout=60)
            )
            await _run(session, bad, mood, seconds)


async def _run(session: httpx.AsyncClient, bad: Vendor, mood: str, seconds: float) -> None:
    phases = {name: Seen() for name in ("before", "during", "after")}
    now = "before"
    stop = asyncio.Event()
    numbers = itertools.count()

    async def client(number: int) -> None:
        await asyncio.sleep(number / RATE)
        while not stop.is_set():
            seen, began = phases[now], time.perf_counter()
            email = f"a{next(numbers)}@example.com"
            headers = {"Authorization": f"Bearer {LIVE_KEY}"}
            reply = await session.get(
                "/v1/verify", params={"email": email, "timeout": "10"}, headers=headers
            )
            seen.statuses[reply.status_code] += 1
            seen.sources[reply.headers["x-veriplex-source"]] += 1
            took_s = time.perf_counter() - began
            seen.ms.append(took_s * 1000)
            await asyncio.sleep(max(CLIENTS / RATE - took_s, 0))

    clients = [asyncio.create_task(client(number)) for number in range(CLIENTS)]
    await asyncio.sleep(seconds)
    now, began = "during", time.perf_counter()
    if mood == "killed":
        await bad.kill()
    else:
        bad.mood = Mood(mood)
    opened = await _until(session, "open", began, limit_s=max(seconds, 3))
    await asyncio.sleep(max(seconds - (time.perf_counter() - began), 0))
    now, began = "after", time.perf_counter()
    if mood == "killed":
        await bad.start()
    bad.mood = Mood.GOOD
    first = await _until(session, "recovering", began, limit_s=10)
    closed = await _until(session, "closed", began, limit_s=15)
    stop.set()
    await asyncio.gather(*clients)
    _report(mood, phases, opened, first, closed)


def _report(
    mood: str,
    phases: dict[str, Seen],
    opened: float | None,
    first: float | None,
    closed: float | None,
) -> None:
    failed = sum(
        count
        for seen in phases.values()
        for status, count in seen.statuses.items()
        if status != 200
    )
    total = sum(seen.statuses.total() for seen in phases.values())
    before, during = (sorted(phases[name].ms) for name in ("before", "during"))
    changes = [
        f"opened after {opened:.2f} s" if opened is not None else "never opened",
        f"first trial good after {first:.2f} s" if first is not None else "",
        f"closed after {closed:.2f} s" if closed is not None and opened is not None else "",
    ]
    sys.stdout.write(
        f"{mood:<12} {failed} of {total} failed; p50 {median(before):.1f} -> {median(during):.1f}"
        f" ms, p99 {before[int(len(before) * 0.99)]:.0f} ->"
        f" {during[int(len(during) * 0.99)]:.0f} ms, longest {during[-1]:.0f} ms;"
        f" circuit {', '.join(filter(None, changes))}\n"
    )
    sys.stdout.flush()


async def _until(
    session: httpx.AsyncClient, state: str, began: float, *, limit_s: float
) -> float | None:
    """Seconds until the first upstream's circuit is in that state."""
    line = re.compile(rf'veriplex_circuit{{source="v0",state="{state}"}} 1\.0')
    while (took_s := time.perf_counter() - began) < limit_s:
        if line.search((await session.get("/metrics")).text):
            return took_s
        await asyncio.sleep(0.1)
    return None


def get_fresh(numbers: Iterator[int]) -> bytes:
    """A request for an address that was never asked about."""
    return (
        f"GET /v1/verify?email=ada{next(numbers)}@example.com HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {LIVE_KEY}\r\nAccept: application/json\r\n\r\n"
    ).encode()


def _command(*upstreams: Running | Vendor) -> tuple[str, ...]:
    urls = [f"http://127.0.0.1:{upstream.port}/v1" for upstream in upstreams]
    return (sys.executable, "-m", "tests.benchmarks.forwarding", *urls)


async def front(
    folder: str, options: Mapping[str, object], of_upstreams: Mapping[str, object], *urls: str
) -> None:
    """The whole server on a database file, with upstreams as its only sources.

    `options` are further settings, `of_upstreams` those of each upstream.
    """
    names = [f"v{place}" for place in range(len(urls))]
    tree = {
        "storage": {"url": f"sqlite:///{Path(folder) / 'a.db'}"},
        "log": {"level": "error"},
        "routing": {"order": names},
        **options,
        "upstreams": [
            {
                "name": name,
                "dialect": "emailable",
                "base_url": url,
                "api_key": "env:KEY",
                "balance_every_s": 0,
                **of_upstreams,
            }
            for name, url in zip(names, urls, strict=True)
        ],
    }
    settings = Settings.model_validate(tree, context={"environ": {"KEY": GOOD_KEY}})
    async with open_services(settings, verifier=Deliverable()) as services:
        account_id = await services.accounts.create_account("bench@example.com")
        await services.accounts.create_key(account_id, "emailable", key=LIVE_KEY)
        await serve(create_app(services), bind("127.0.0.1", 0), hooks=SAY_LISTENING)


if __name__ == "__main__":
    with (
        tempfile.TemporaryDirectory() as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        circuit = {"pause_s": PAUSE_S, "ramp_s": RAMP_S}
        runner.run(front(folder, {"circuit": circuit}, {"timeout_s": TIMEOUT_S}, *sys.argv[1:]))
