"""After a kill at any moment a batch continues: no row is lost, doubled or verified again."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import sys
from pathlib import Path

from adapters.contract.jobs import JobState
from tests.gateway.batches.conftest import open_bench

ADDRESSES = 3_000
KILLS = 5


def stored_results(path: Path) -> dict[str, bytes]:
    """The stored results, by address."""
    with sqlite3.connect(path) as connection:
        rows = connection.execute(
            "SELECT email, answer FROM batch_items JOIN batch_results USING (batch_id, position)"
        )
        found = dict(rows.fetchall())
    connection.close()
    return found


async def test_a_batch_survives_repeated_kills(tmp_path: Path) -> None:
    path = tmp_path / "v.db"
    emails = [f"user{i}@domain{i % 7}.example" for i in range(ADDRESSES)]
    async with open_bench(f"sqlite:///{path}") as bench:
        caller = await bench.caller("emailable")
        job = await bench.submit(caller, emails, url="http://done.example")
    rng = random.Random(5)
    known: dict[str, bytes] = {}
    for run in range(KILLS + 1):
        lines = None if run == KILLS else rng.randrange(50, 900)
        verified = await run_worker(path, lines)
        assert not verified & known.keys()  # an address with a result is not verified again
        now = stored_results(path)
        assert known.items() <= now.items()
        known = now
    assert known.keys() == set(emails)
    async with open_bench(f"sqlite:///{path}") as bench:
        assert await bench.state(caller, job) is JobState.COMPLETED
        assert [row.email for row in await bench.rows(caller, job)] == emails
        assert (await bench.show(caller, job)).counts == {
            "deliverable": ADDRESSES,
            "accepted_email": ADDRESSES,
        }


async def run_worker(path: Path, lines: int | None) -> set[str]:
    """Run a worker, and kill it after `lines` addresses; returns those that it began with."""
    worker = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.gateway.batches.worker",
        str(path),
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    )
    assert worker.stdout is not None
    begun: set[str] = set()
    async with asyncio.timeout(60):
        async for line in worker.stdout:
            begun.add(line.decode().strip())
            if lines is not None and len(begun) == lines:
                worker.kill()
        await worker.wait()
    return begun
