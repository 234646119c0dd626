"""PostgreSQL is away for a minute, or some of its processes hang, while servers serve and work."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator

import httpx
import pytest

from tests.gateway.workers.conftest import (
    ADDRESSES,
    CREDITS,
    HOSTS,
    KEY,
    WITHIN_S,
    Database,
    Server,
    Start,
)
from tests.postgres import PostgresServer

pytestmark = pytest.mark.postgres

LIVE = {"Authorization": f"Bearer {KEY}"}
AWAY_S = 60
"""Longer than any pause between two attempts to connect."""
RESUMED_WITHIN_S = 15
ENDED_WITHIN_S = 7
"""Of a request while the database does not answer."""
EMAILS = [f"user{i}@d{i % HOSTS}.test" for i in range(ADDRESSES)]


@pytest.fixture
def postgres() -> Iterator[PostgresServer]:
    """A server that nobody else uses."""
    server = PostgresServer("synchronous_commit=on")
    try:
        yield server
    finally:
        server.close()


@contextlib.contextmanager
def database_of(postgres: PostgresServer) -> Iterator[Database]:
    with contextlib.closing(Database(postgres.url)) as database:
        yield database


async def submit(server: Server, client: httpx.AsyncClient, postgres: PostgresServer) -> str:
    """A batch under way."""
    with database_of(postgres) as database:
        database.write(f"UPDATE accounts SET credits = {CREDITS}")  # noqa: S608
        reply = await client.post("/v1/batch", headers=LIVE, json={"emails": EMAILS})
        await server.until(lambda: database.done() > 100)
        assert database.done() < ADDRESSES
    return str(reply.json()["id"])


async def check_all_done(
    server: Server, client: httpx.AsyncClient, postgres: PostgresServer, job: str
) -> None:
    """Each row has one result, and is charged once."""
    with database_of(postgres) as database:
        await server.until(lambda: database.done() == ADDRESSES)
        status = {}
        async with asyncio.timeout(WITHIN_S):
            while "download_file" not in status:
                query = {"id": job, "partial": "false"}
                status = (await client.get("/v1/batch", headers=LIVE, params=query)).json()
                await asyncio.sleep(0.02)
        assert status["total_counts"]["deliverable"] == ADDRESSES
        assert database.rows("SELECT credits FROM accounts") == [(CREDITS - ADDRESSES,)]
        found = database.rows("SELECT position FROM batch_results ORDER BY position")
        assert [position for (position,) in found] == list(range(ADDRESSES))


async def test_nobody_gives_up_while_the_database_is_away_for_a_minute(
    start: Start, mail: dict[str, str], postgres: PostgresServer
) -> None:
    settings = {**mail, "VERIPLEX_STORAGE__URL": postgres.empty_database()}
    async with start("--workers", "2", **settings) as (server, client):
        pids = server.pids()
        job = await submit(server, client, postgres)
        await asyncio.to_thread(postgres.stop)
        stopped = time.monotonic()
        replies: Counter[tuple[str, int]] = Counter()
        paths = ("/livez", "/readyz", "/v1/account", f"/v1/batch?id={job}")
        while time.monotonic() < stopped + AWAY_S:
            for path in paths:
                began = time.monotonic()
                reply = await client.get(path, headers=LIVE)
                assert time.monotonic() < began + ENDED_WITHIN_S, path
                if reply.status_code == 503 and path.startswith("/v1"):
                    assert reply.json()["message"], reply.text  # in the dialect's words
                replies[path, reply.status_code] += 1
            await asyncio.sleep(0.2)
        assert {path for path, status in replies if status == 200} <= {"/livez", "/readyz"}
        assert {status for path, status in replies if path == "/livez"} == {200}
        for path in paths[1:]:
            assert replies[path, 503] > 10, replies
        assert server.pids() == pids
        await asyncio.to_thread(postgres.start)
        back = time.monotonic()
        with database_of(postgres) as database:
            before = database.done()
            await server.until(lambda: database.done() > before or before == ADDRESSES)
        assert time.monotonic() < back + RESUMED_WITHIN_S
        await check_all_done(server, client, postgres, job)
        assert (await client.get("/readyz")).status_code == 200
        assert server.pids() == pids
        assert not server.events("worker.died")


async def test_connections_that_hang_are_given_up(
    start: Start, mail: dict[str, str], postgres: PostgresServer
) -> None:
    settings = {**mail, "VERIPLEX_STORAGE__URL": postgres.empty_database()}
    async with start("--workers", "2", **settings) as (server, client):
        job = await submit(server, client, postgres)
        with database_of(postgres) as database:
            backends = [
                pid
                for (pid,) in database.rows(
                    "SELECT pid FROM pg_stat_activity"
                    " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
                )
            ]
        assert len(backends) > 4
        for pid in backends:
            os.kill(pid, signal.SIGSTOP)
        try:
            answered: Counter[str] = Counter()
            async with asyncio.timeout(WITHIN_S):
                while min(answered["/v1/account"], answered["/readyz"]) < 5:
                    for path in ("/livez", "/readyz", "/v1/account"):
                        began = time.monotonic()
                        reply = await client.get(path, headers=LIVE)
                        assert time.monotonic() < began + ENDED_WITHIN_S, path
                        answered[path] += reply.status_code == 200
                        assert path != "/livez" or reply.status_code == 200
        finally:
            for pid in backends:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
        await check_all_done(server, client, postgres, job)  # some had locks
