"""Three vendors that keep failing, one of which is well at every moment.

Every `PHASE_S` a seed draws what is wrong with each vendor. Requests come at a steady rate, whether
or not earlier ones were answered, and the server has its default settings.

`python -m tests.benchmarks.changing_faults SEED…` measures those seeds.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import aiohttp
import uvloop

from adapters.registry import DIALECTS
from tests.benchmarks.forwarding import front
from tests.benchmarks.servers import LIVE_KEY, running
from tests.fakes.vendor import Mood, Vendor, vendor

EMAILABLE = next(dialect for dialect in DIALECTS if dialect.name == "emailable")
VENDORS = 3
PHASE_S = 3.0
SLOW_S = 3.0
REQUESTS, RATE = 2_000, 50.0
REFUSES = "refuses"
"""The vendor does not listen. The other states are moods of the fake vendor."""
STATES = (
    Mood.GOOD,
    REFUSES,
    Mood.HANG,
    Mood.HALF,
    Mood.ERROR,
    Mood.THROTTLED,
    Mood.GARBAGE,
    Mood.SLOW,
)
CLIENT_TIMEOUT_S = 60.0
NOT_CALLS = re.compile(r"busy|resting|outrun")
"""Outcomes of attempts that called no vendor, or are counted again under what they came to."""
FAULTS = re.compile(
    r"unreachable|timed_out|broken|garbage|server_error|too_fast|pending|refused|banned|dead_key"
)
ATTEMPTS = re.compile(r'veriplex_attempts_total{outcome="(\w+)",source="v\d"} ([\d.]+)')


def schedule(seed: int, phases: int) -> list[tuple[str, ...]]:
    """The states of all vendors in each phase."""
    rng = random.Random(seed)
    drawn = []
    for _ in range(phases):
        states = [rng.choice(STATES) for _ in range(VENDORS)]
        if Mood.GOOD not in states:
            states[rng.randrange(VENDORS)] = Mood.GOOD
        drawn.append(tuple(states))
    return drawn


@dataclass
class Seen:
    """What the clients got."""

    statuses: Counter[str] = field(default_factory=Counter)
    ms: list[float] = field(default_factory=list)
    failed_at: list[float] = field(default_factory=list)
    slowest: list[tuple[float, float, str]] = field(default_factory=list)


def changing_faults(rounds: int, _: float) -> None:
    """Failed requests, latency, and calls to dead vendors, for as many seeds as rounds."""
    for seed in range(1, rounds + 1):
        uvloop.run(measure(seed))


async def measure(seed: int, show: bool = False) -> None:
    async with contextlib.AsyncExitStack() as stack:
        vendors = [
            await stack.enter_async_context(vendor(EMAILABLE, slow_s=SLOW_S))
            for _ in range(VENDORS)
        ]
        command = (sys.executable, "-m", __spec__.name, "--serve")
        server = stack.enter_context(running(*command, *(v.base_url for v in vendors)))
        client = await stack.enter_async_context(
            aiohttp.ClientSession(
                f"http://127.0.0.1:{server.port}",
                timeout=aiohttp.ClientTimeout(total=CLIENT_TIMEOUT_S),
                connector=aiohttp.TCPConnector(limit=0),
                headers={"Authorization": f"Bearer {LIVE_KEY}"},
            )
        )
        states = schedule(seed, int(REQUESTS / RATE / PHASE_S) + 1)
        began = time.perf_counter()
        changing = asyncio.create_task(_change(vendors, states, began, show))
        seen = Seen()
        async with asyncio.TaskGroup() as group:
            for number in range(REQUESTS):
                await asyncio.sleep(began + number / RATE - time.perf_counter())
                group.create_task(_ask(client, number, seen, began))
        await changing
        outcomes = Counter[str]()
        async with client.get("/metrics") as reply:
            metrics = await reply.text()
        for outcome, count in ATTEMPTS.findall(metrics):
            outcomes[outcome] += int(float(count))
        _report(seed, seen, outcomes, show)


async def _change(
    vendors: Sequence[Vendor], states: list[tuple[str, ...]], began: float, show: bool
) -> None:
    for number, phase in enumerate(states):
        await asyncio.sleep(began + number * PHASE_S - time.perf_counter())
        if show:
            sys.stdout.write(f"{number * PHASE_S:5.1f} s: {', '.join(phase)}\n")
        for each, state in zip(vendors, phase, strict=True):
            if state == REFUSES:
                await each.kill()
                continue
            each.mood = Mood(state)
            if not each.is_listening:
                await each.start()


async def _ask(client: aiohttp.ClientSession, number: int, seen: Seen, began: float) -> None:
    asked = time.perf_counter()
    params = {"email": f"a{number}@example.com", "timeout": "10"}
    try:
        status = await _status(client, params)
        # A verification that takes longer than its client waits is asked for again, free of charge.
        while status == "249":
            status = await _status(client, params)
    except (aiohttp.ClientError, TimeoutError) as exc:
        status = type(exc).__name__
    took_s = time.perf_counter() - asked
    seen.statuses[status] += 1
    seen.ms.append(took_s * 1000)
    if status != "200":
        seen.failed_at.append(asked - began)
    seen.slowest.append((took_s, asked - began, status))


async def _status(client: aiohttp.ClientSession, params: dict[str, str]) -> str:
    async with client.get("/v1/verify", params=params) as reply:
        await reply.read()
        return str(reply.status)


def _report(seed: int, seen: Seen, outcomes: Counter[str], show: bool) -> None:
    ms = sorted(seen.ms)
    calls = sum(count for outcome, count in outcomes.items() if not NOT_CALLS.fullmatch(outcome))
    wasted = sum(count for outcome, count in outcomes.items() if FAULTS.fullmatch(outcome))
    failed = seen.statuses.total() - seen.statuses["200"]
    sys.stdout.write(
        f"changing faults, seed {seed}: {failed} of {seen.statuses.total():,} failed;"
        f" p50 {ms[len(ms) // 2]:.1f} ms, p99 {ms[int(len(ms) * 0.99)] / 1000:.2f} s,"
        f" longest {ms[-1] / 1000:.2f} s;"
        f" {wasted} of {calls:,} calls to a dead vendor ({wasted / max(calls, 1):.1%})\n"
    )
    if show:
        sys.stdout.write(f"  statuses {dict(seen.statuses)}; calls {dict(outcomes)}\n")
        for took_s, at, status in sorted(seen.slowest, reverse=True)[:40]:
            sys.stdout.write(f"  {took_s:.2f} s, asked at {at:.2f} s: {status}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        with (
            tempfile.TemporaryDirectory() as folder,
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            runner.run(front(folder, {}, {}, *sys.argv[2:]))
    else:
        for given in sys.argv[1:]:
            uvloop.run(measure(int(given), show=True))
