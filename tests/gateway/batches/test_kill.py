"""Killed at any moment, a batch goes on where it was: no row lost, none twice, none asked again."""

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


def answered(path: Path) -> dict[str, bytes]:
    """The answers on disk, by address."""
    with sqlite3.connect(path) as connection:
        rows = connection.execute(
            "SELECT email, answer FROM batch_items JOIN batch_results USING (batch_id, position)"
        )
        found = dict(rows.fetchall())
    connection.close()
    return found


async def test_kill_and_kill_again(tmp_path: Path) -> None:
    path = tmp_path / "v.db"
    emails = [f"user{i}@domain{i % 7}.example" for i in range(ADDRESSES)]
    async with open_bench(f"sqlite:///{path}") as bench:
        caller = await bench.caller("emailable")
        job = await bench.submit(caller, emails, url="http://done.example")
    rng = random.Random(5)
    known: dict[str, bytes] = {}
    for life in range(KILLS + 1):
        lines = None if life == KILLS else rng.randrange(50, 900)
        asked = await live(path, lines)
        assert not asked & known.keys()  # what was answered is not asked again
        now = answered(path)
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


async def live(path: Path, lines: int | None) -> set[str]:
    """A worker's life, ended by SIGKILL after so many addresses; those that it asked about."""
    worker = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.gateway.batches.worker",
        str(path),
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    )
    assert worker.stdout is not None
    asked: set[str] = set()
    async with asyncio.timeout(60):
        async for line in worker.stdout:
            asked.add(line.decode().strip())
            if lines is not None and len(asked) == lines:
                worker.kill()
        await worker.wait()
    return asked
