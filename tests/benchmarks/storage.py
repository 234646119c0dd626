"""Durable batches on SQLite and on PostgreSQL, and what a second worker adds.

`python -m tests.benchmarks.storage URL WAIT_MS` runs one of the workers that are measured.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import uvloop
from sqlalchemy import select

from engine.model import Address, Checks, VerificationStream
from gateway.cluster.opening import open_dispatch
from gateway.settings import Settings
from gateway.store.tables import batches
from tests.gateway.batches.conftest import Bench, Scripted, answer, open_bench
from tests.postgres import PostgresServer

LIST = 50_000
DURABLE = ("fsync=on", "synchronous_commit=on", "full_page_writes=on")
WAIT_MS = 50
AT_ONCE = 10
"""Addresses of a chunk that are answered after each wait."""
WAITED_LIST = 16_000


class Waiting(Scripted):
    """Answers at once, or `AT_ONCE` addresses after each wait."""

    def __init__(self, wait_s: float) -> None:
        super().__init__()
        self._wait_s = wait_s

    async def verify_many(self, addresses: Iterable[Address], checks: Checks) -> VerificationStream:
        for number, address in enumerate(addresses):
            if self._wait_s and number % AT_ONCE == 0:
                await asyncio.sleep(self._wait_s)
            yield address, answer(address, checks=checks)


def storage(rounds: int, _: float) -> None:
    """Rows a second: submitted, and worked on by one process and by two."""
    server = PostgresServer(*DURABLE)
    try:
        best: dict[str, float] = {}

        def note(name: str, per_s: float) -> None:
            best[name] = max(best.get(name, 0.0), per_s)

        for _round in range(rounds):
            for system in ("SQLite", "PostgreSQL"):
                with tempfile.TemporaryDirectory() as folder:
                    for workers, wait_ms in ((1, 0), (2, 0), (1, WAIT_MS), (2, WAIT_MS)):
                        if system == "SQLite" and workers > 1:
                            continue
                        file = f"sqlite:///{folder}/{workers}-{wait_ms}.db"
                        url = file if system == "SQLite" else server.empty_database()
                        submitted, worked = uvloop.run(_measure(url, workers, wait_ms))
                        note(f"{system}: submit", submitted)
                        note(f"{system}: work, {workers} x {wait_ms} ms", worked)
        for name, per_s in best.items():
            _say(f"{name:<34} {per_s:>9,.0f} rows/s")
        for text, above, below in (
            ("submit, PostgreSQL / SQLite", "PostgreSQL: submit", "SQLite: submit"),
            ("work, PostgreSQL / SQLite", "PostgreSQL: work, 1 x 0 ms", "SQLite: work, 1 x 0 ms"),
            ("2 workers / 1", "PostgreSQL: work, 2 x 0 ms", "PostgreSQL: work, 1 x 0 ms"),
            (
                "2 workers / 1, verifier waits",
                f"PostgreSQL: work, 2 x {WAIT_MS} ms",
                f"PostgreSQL: work, 1 x {WAIT_MS} ms",
            ),
        ):
            _say(f"{text:<34} {best[above] / best[below]:.2f}")
    finally:
        server.close()


async def _measure(url: str, workers: int, wait_ms: int) -> tuple[float, float]:
    """Rows submitted and rows worked on in a second."""
    rows = WAITED_LIST if wait_ms else LIST
    async with _opened(url, 0, works=False) as bench, contextlib.AsyncExitStack() as stack:
        caller = await bench.caller("emailable")
        for _ in range(workers):
            await stack.enter_async_context(_worker(url, wait_ms))
        emails = [f"user{n}@d{n % 1_000}.example.com" for n in range(rows)]
        began = time.perf_counter()
        await bench.submit(caller, emails)
        submitted = rows / (time.perf_counter() - began)
        query = select(batches.c.started_at, batches.c.finished_at)
        while True:
            row = (await bench.store.fetch_all(query))[0]
            if row.finished_at is not None:
                return submitted, rows / (row.finished_at - row.started_at).total_seconds()
            await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def _worker(url: str, wait_ms: int) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.benchmarks.storage",
        url,
        str(wait_ms),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert await process.stdout.readline() == b"ready\n"
        yield
    finally:
        process.stdin.close()
        await process.wait()


async def _work(url: str, wait_ms: int) -> None:
    """Work until standard input ends."""
    async with _opened(url, wait_ms, works=True):
        _say("ready")
        await asyncio.to_thread(sys.stdin.read)


@contextlib.asynccontextmanager
async def _opened(url: str, wait_ms: int, *, works: bool) -> AsyncIterator[Bench]:
    settings = Settings.model_validate({"storage": {"url": url}})
    dispatch = open_dispatch(settings, {"default"}, clock=time.time)
    verifier = Waiting(wait_ms / 1000)
    async with open_bench(url, time.time, verifier, work=works, dispatch=dispatch) as bench:
        yield bench


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    uvloop.run(_work(sys.argv[1], int(sys.argv[2])))
