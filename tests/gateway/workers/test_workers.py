"""Several workers on one port: started, killed, replaced, stopped."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import time

import httpx
import pytest

from tests.gateway.cli.conftest import Here, here
from tests.gateway.workers.conftest import (
    ADDRESSES,
    CREDITS,
    HOSTS,
    KEY,
    TEST_KEY,
    WITHIN_S,
    Database,
    Server,
    Start,
)

__all__ = ["here"]

VERIFY = "/v1/verify?email=deliverable@example.com"
TEST = {"Authorization": f"Bearer {TEST_KEY}"}
LIVE = {"Authorization": f"Bearer {KEY}"}
OWN_CONNECTION = {**TEST, "Connection": "close"}


async def ask_until_each_answered(server: Server, client: httpx.AsyncClient) -> int:
    """Ask until every worker has answered; how often that was."""
    asked = 0
    workers: set[object] = set()
    async with asyncio.timeout(WITHIN_S):
        while workers != {1, 2}:
            reply = await client.get(VERIFY, headers=OWN_CONNECTION)
            assert reply.json()["state"] == "deliverable"
            asked += 1
            await server.until(lambda: len(server.events("request")) >= asked)  # noqa: B023
            workers = {line["worker"] for line in server.events("request")}
    return asked


def counted(metrics: dict[str, float]) -> float:
    return sum(
        value
        for name, value in metrics.items()
        if name.startswith("veriplex_requests_total") and 'dialect="emailable"' in name
    )


async def test_workers_share_a_port_and_one_that_is_killed_is_replaced(start: Start) -> None:
    async with start("--workers", "2") as (server, client):
        (listening,) = [line for line in server.printed if '"server.listening"' in line]
        assert json.loads(listening)["workers"] == 2
        assert {line["worker"] for line in server.events("server.started")} == {1, 2}
        asked = await ask_until_each_answered(server, client)
        before = await server.metrics(client)
        assert counted(before) == asked
        assert before["veriplex_workers"] == 2

        os.kill(server.pids()[1], signal.SIGKILL)
        await server.until(lambda: server.events("worker.restarted"))
        (died,) = server.events("worker.died")
        assert (died["number"], died["signal"]) == (1, "SIGKILL")
        asked += 1
        assert (await client.get(VERIFY, headers=OWN_CONNECTION)).status_code == 200
        after = await server.metrics(client)
        assert counted(after) == asked
        assert after["veriplex_worker_restarts_total"] == 1
        assert after["veriplex_workers"] == 2

        server.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(WITHIN_S):
            assert await server.process.wait() == 0
        ended = server.events("server.stopped")
        assert {line["worker"] for line in ended} == {1, 2}


async def test_sighup_replaces_the_workers_without_a_failed_request(start: Start) -> None:
    config = start.folder / "veriplex.toml"
    config.write_text('[engine]\nhelo = "first.test"\n')
    async with start("--workers", "2") as (server, client):
        old = server.pids()
        asking = True
        asked = 0

        async def ask(client: httpx.AsyncClient) -> None:
            nonlocal asked
            while asking:
                reply = await client.get(VERIFY, headers=TEST)
                assert reply.status_code == 200
                asked += 1

        async with contextlib.AsyncExitStack() as stack, asyncio.TaskGroup() as group:
            for _ in range(4):
                one = httpx.AsyncClient(base_url=server.url, timeout=WITHIN_S)
                group.create_task(ask(await stack.enter_async_context(one)))
            await server.until(lambda: asked > 20)

            config.write_text("[engine]\nhelo = 5\n")
            server.process.send_signal(signal.SIGHUP)
            await server.until(lambda: server.events("workers.not_replaced"))
            assert server.pids() == old

            config.write_text('[sandbox]\nseed = "another"\n')
            server.process.send_signal(signal.SIGHUP)
            await server.until(lambda: server.events("workers.replaced"))
            asking = False
        new = server.pids()
        assert new.keys() == {1, 2}
        assert not set(new.values()) & set(old.values())
        described = await client.get("/veriplex/v1/sandbox", headers=TEST)
        assert described.json()["seed"] == "another"
        assert counted(await server.metrics(client)) == asked
        assert not server.events("worker.died")


async def test_the_sandbox_says_what_needs_one_process_and_ctrl_c_stops_all(start: Start) -> None:
    async with start("--workers", "2") as (server, client):
        reply = await client.get("/veriplex/v1/requests", headers=TEST)
        assert reply.status_code == 501
        assert "without --workers" in reply.json()["detail"]
        emails = {"emails": ["deliverable@example.com"]}
        batch = await client.post("/v1/batch", headers=OWN_CONNECTION, json=emails)
        shown: set[object] = set()
        async with asyncio.timeout(WITHIN_S):
            while shown != {1, 2}:  # each worker finds it
                path = f"/v1/batch?id={batch.json()['id']}"
                reply = await client.get(path, headers=OWN_CONNECTION)
                assert reply.json()["total_counts"]["processed"] == 1
                await server.until(lambda: server.events("request"))
                shown = {line["worker"] for line in server.events("request")}
        assert (await client.get(VERIFY, headers=TEST)).json()["state"] == "deliverable"
        assert (await client.get("/readyz")).json() == {"status": "ok"}
        server.process.send_signal(signal.SIGINT)
        async with asyncio.timeout(WITHIN_S):
            assert await server.process.wait() == 0
        assert not server.events("worker.died")


async def test_workers_end_with_their_supervisor(start: Start) -> None:
    async with start("--workers", "2") as (server, client):
        pids = server.pids()
        assert (await client.get(VERIFY, headers=TEST)).status_code == 200
        server.process.kill()
        await server.process.wait()
        async with asyncio.timeout(WITHIN_S):
            while any(map(is_running, pids.values())):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        with socket.socket() as sock:  # the port is free for the next supervisor
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("127.0.0.1", httpx.URL(server.url).port or 0))
            sock.listen()
        assert len(server.events("server.stopped")) == 2


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_database_in_memory_has_one_process(here: Here) -> None:
    done = here("serve", "--workers", "2", VERIPLEX_STORAGE__URL="sqlite:///:memory:")
    assert done.code == 2
    assert "storage.url is in memory" in done.err


async def test_a_worker_that_cannot_start_ends_the_server(start: Start) -> None:
    (start.folder / "veriplex.db").write_bytes(b"no database" * 1000)
    with pytest.raises(AssertionError, match="is not an SQLite database"):
        async with start("--workers", "2"):
            pass
    assert (start.folder / "log").read_text().count("server.failed") == 1


# -- batches -----------------------------------------------------------------------------

RESUMED_WITHIN_S = 10


async def test_a_batch_survives_the_kill_of_any_worker(
    start: Start, mail: dict[str, str], database_url: str
) -> None:
    settings = {**mail, "VERIPLEX_STORAGE__URL": database_url}
    async with start("--workers", "2", **settings) as (server, client):
        with contextlib.closing(Database(database_url)) as database:
            database.write(f"UPDATE accounts SET credits = {CREDITS}")  # noqa: S608
            emails = [f"user{i}@d{i % HOSTS}.test" for i in range(ADDRESSES)]
            reply = await client.post("/v1/batch", headers=LIVE, json={"emails": emails})
            job = reply.json()["id"]
            # On a file the chunks are spread over both; on PostgreSQL it is the dispatch that says
            # who works, and one worker may have all of so few.
            many = 2 if database_url.startswith("sqlite") else 1
            await server.until(lambda: len(database.holders()) >= many)
            for victim in (1, 2):
                before = database.done()
                await server.until(lambda: database.done() > before + 100)  # noqa: B023
                os.kill(server.pids()[victim], signal.SIGKILL)
                await server.until(lambda: len(server.events("worker.restarted")) == victim)  # noqa: B023
                before, at = database.done(), time.monotonic()
                more = min(before + 100, ADDRESSES)
                await server.until(lambda: database.done() >= more)  # noqa: B023
                assert time.monotonic() - at < RESUMED_WITHIN_S
            await server.until(lambda: database.done() == ADDRESSES)
            status = {}
            async with asyncio.timeout(WITHIN_S):
                while "download_file" not in status:
                    query = {"id": job, "partial": "false"}
                    status = (await client.get("/v1/batch", headers=LIVE, params=query)).json()
                    await asyncio.sleep(0.02)
            ((credits,),) = database.rows("SELECT credits FROM accounts")
            positions = database.rows("SELECT position FROM batch_results ORDER BY position")
        assert [position for (position,) in positions] == list(range(ADDRESSES))
        assert status["total_counts"]["deliverable"] == ADDRESSES
        assert credits == CREDITS - ADDRESSES
