"""Commands for many processes on one database: `migrate`, `cluster`, `worker`."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from pathlib import Path

import httpx
import pytest
from sqlalchemy import create_engine, select, text

from gateway.accounts.accounts import open_accounts
from gateway.cli.terminal import EXIT_FAILURE
from gateway.cluster.dispatch import DRAIN_S
from gateway.store import open_store
from gateway.store.tables import REVISION, batch_chunks, batches
from tests.dialects import ALL
from tests.gateway.batches.conftest import open_bench
from tests.gateway.cli.conftest import Here, Shell, finish
from tests.gateway.cluster.processes import dispatch_for
from tests.postgres import PostgresServer


def run_sql(url: str, *statements: str) -> None:
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


# -- migrate -----------------------------------------------------------------------------


def test_migrate_creates_and_checks_the_tables(here: Here, database_url: str) -> None:
    variables = {"VERIPLEX_STORAGE__URL": database_url, "VERIPLEX_STORAGE__MIGRATE": "never"}
    done = here("migrate", "--check", **variables)
    assert (done.code, done.out) == (EXIT_FAILURE, "")
    assert not Path(database_url.removeprefix("sqlite:///")).exists()

    done = here("migrate", **variables)
    assert done.code == 0
    assert done.out.endswith(f": up to date (tables at {REVISION})\n")
    assert here("migrate", "--check", **variables).out == done.out


def test_migrate_brings_older_tables_up_to_date(here: Here, database_url: str) -> None:
    run_sql(database_url, "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
    variables = {"VERIPLEX_STORAGE__URL": database_url}
    done = here("migrate", "--check", **variables)
    assert done.code == EXIT_FAILURE
    assert "bring it up to date with: veriplex migrate" in done.err

    assert here("migrate", **variables).code == 0
    assert here("migrate", "--check", **variables).code == 0

    # what a later version has added, and lets this one use
    run_sql(database_url, "UPDATE alembic_version SET version_num = '9999'")
    newer = here("migrate", "--check", **variables)
    assert (newer.code, "newer than this version's" in newer.out) == (0, True)


def test_migrate_leaves_the_tables_of_other_programs_alone(here: Here, database_url: str) -> None:
    run_sql(database_url, "CREATE TABLE songs (name TEXT)")
    for args in (("migrate",), ("migrate", "--check")):
        done = here(*args, VERIPLEX_STORAGE__URL=database_url)
        assert done.code == EXIT_FAILURE
        assert "another program's tables (songs" in done.err


# -- cluster -----------------------------------------------------------------------------


async def submit_batch(url: str) -> None:
    async with open_bench(url, time.time, dispatch=dispatch_for(url)) as bench:
        await bench.submit(await bench.caller("emailable"), ["a@example.com"])


def test_cluster_says_that_nobody_does_the_work(here: Here, database_url: str) -> None:
    variables = {"VERIPLEX_STORAGE__URL": database_url}
    here("migrate", **variables)
    idle = here("cluster", **variables)
    assert (idle.code, "no process runs" in idle.out) == (0, True)
    assert "chunks due        0\n" in idle.out

    asyncio.run(submit_batch(database_url))
    waiting = here("cluster", "--json", **variables)
    report = json.loads(waiting.out)
    assert waiting.code == EXIT_FAILURE
    assert (report["work"]["due_chunks"], report["is_worked_on"]) == (1, False)
    assert report["work"]["oldest_due_s"] < 60
    assert "no process that does it; start `veriplex" in report["problems"][0]
    assert "problem: there is work" in here("cluster", **variables).out


def test_cluster_says_that_the_shared_store_is_away(here: Here, database_url: str) -> None:
    variables = {"VERIPLEX_STORAGE__URL": database_url}
    here("migrate", **variables)
    done = here("cluster", VERIPLEX_SHARED__URL="redis://127.0.0.1:1", **variables)
    assert done.code == EXIT_FAILURE
    assert "problem: the shared store cannot be reached" in done.out


# -- worker ------------------------------------------------------------------------------


def test_a_sqlite_file_has_no_workers(here: Here, tmp_path: Path) -> None:
    variables = {"VERIPLEX_STORAGE__URL": f"sqlite:///{tmp_path / 'v.db'}"}
    done = here("worker", **variables)
    assert done.code == EXIT_FAILURE
    assert done.err.count("\n") == 1
    assert "`veriplex serve` does its work itself" in done.err
    assert "no other process works on" in here("serve", "--no-work", **variables).err


@pytest.mark.postgres
async def test_a_worker_works_on_what_a_server_was_given(
    networked: Shell, postgres_server: PostgresServer
) -> None:
    url = postgres_server.empty_database()
    networked.environ |= {"VERIPLEX_STORAGE__URL": url, "VERIPLEX_LOG__FORMAT": "json"}
    async with open_store(url) as store, open_accounts(store, ALL) as accounts:
        account = await accounts.create_account(credits=10)
        key = (await accounts.create_key(account, "generic")).key
        async with (
            networked.serving_json("serve", "--no-work", "--port", "0") as server,
            networked.serving_json("worker", "--port", "0") as worker,
            httpx.AsyncClient(trust_env=False) as client,
        ):
            for path in ("livez", "healthz", "readyz"):
                assert (await client.get(f"{worker}/{path}")).json()["status"] == "ok"
            assert (await client.get(f"{worker}/api/v1/verify")).status_code == 404
            submitted = await client.post(
                f"{server}/api/v1/verify/bulk",
                json={"emails": ["user@good.test", "none@good.test"]},
                headers={"X-API-Key": key},
            )
            assert submitted.status_code < 300, submitted.text
            async with asyncio.timeout(30):
                unfinished = select(batches).where(batches.c.state != "completed")
                while await store.fetch_all(unfinished):  # noqa: ASYNC110 - in another process
                    await asyncio.sleep(0.05)
            metrics = (await client.get(f"{worker}/metrics")).text
            assert 'veriplex_turns_total{outcome="worked"} 1.0' in metrics
            assert "veriplex_cluster_chunks_due 0.0" in metrics
            shown = json.loads((await finish(await networked.start("cluster", "--json")))[1])
            assert {each["kind"] for each in shown["processes"]} == {"serve", "worker"}
            assert shown["is_worked_on"]


@pytest.mark.postgres
async def test_a_second_sigterm_ends_the_drain_of_a_worker(
    networked: Shell, postgres_server: PostgresServer
) -> None:
    url = postgres_server.empty_database()
    networked.environ |= {
        "VERIPLEX_STORAGE__URL": url,
        "VERIPLEX_LOG__FORMAT": "json",
        "VERIPLEX_SERVER__DRAIN_S": "60",
    }
    async with open_bench(url, time.time, dispatch=dispatch_for(url)) as bench:
        process = await networked.start("worker", "--port", "0")
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            async with asyncio.timeout(60):
                while b"worker.started" not in await process.stderr.readline():
                    pass
                await process.stdout.readline()
            caller = await bench.caller("generic")
            job = await bench.submit(caller, ["user@slow.test"])
            leased = select(batch_chunks.c.lease).where(batch_chunks.c.lease.is_not(None))
            async with asyncio.timeout(30):
                while not await bench.store.fetch_all(leased):  # noqa: ASYNC110 - of the worker
                    await asyncio.sleep(0.02)
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(30):
                while b"server.stopping" not in await process.stderr.readline():
                    pass
            process.send_signal(signal.SIGTERM)  # instead of a minute for balancers,
            signalled = time.monotonic()
            code, _, err = await asyncio.wait_for(finish(process), 30)
            assert time.monotonic() - signalled < DRAIN_S  # and that for the chunk in flight
        finally:
            if process.returncode is None:
                process.kill()
                await process.communicate()
        assert (code, "Traceback" in err) == (0, False)
        assert not await bench.store.fetch_all(leased)
        assert (await bench.show(caller, job)).done_count == 0
