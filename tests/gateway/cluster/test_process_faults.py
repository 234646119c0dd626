"""Servers are killed in the middle of a submission; connections to the database are half open;
a greylisted address meets a second egress."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import httpx
import pytest
from sqlalchemy import func, select, text

from adapters.contract.jobs import JobState
from adapters.contract.operations import ListJobs
from gateway.app import open_services
from gateway.batches.intake import ROWS_PER_INSERT
from gateway.batches.sweeper import UPLOAD_TIMEOUT
from gateway.settings.model import Settings
from gateway.store import Store
from gateway.store.tables import accounts, batch_chunks, batch_items, batch_results, batches
from gateway.web.dispatch import create_app
from tests.fakes.dns import fake_dns
from tests.fakes.smtp import Script, fake_smtp
from tests.fakes.tcp_proxy import TcpProxy, tcp_proxy
from tests.gateway.batches.conftest import Bench, open_bench
from tests.gateway.cluster.processes import dispatch_for
from tests.gateway.upstreams.conftest import Local
from tests.mail_testbed import CONFIG, DNS_SERVER
from tests.postgres import PostgresServer

pytestmark = pytest.mark.postgres

ROOT = Path(__file__).parents[3]
ROWS = ROWS_PER_INSERT + 1
CREDITS = 100_000
WITHIN_S = 30


@pytest.fixture
def url(postgres_server: PostgresServer) -> str:
    return postgres_server.empty_database()


@contextlib.asynccontextmanager
async def submitting(url: str, key: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that has stored all rows of a batch but the last."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.gateway.cluster.submitter", url, key, str(ROWS),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=ROOT,
    )  # fmt: skip
    try:
        await said(process, "stored")
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def said(process: asyncio.subprocess.Process, word: str) -> None:
    assert process.stdout is not None
    async with asyncio.timeout(WITHIN_S):
        assert (await process.stdout.readline()).decode().strip() == word


async def count(store: Store, what: object) -> int:
    rows = await store.fetch_all(select(func.count()).select_from(what))  # type: ignore[arg-type]
    return int(rows[0][0])


async def turns(store: Store) -> int:
    return await count(store, text("procrastinate_jobs"))


async def credits_left(store: Store) -> int:
    return int((await store.fetch_all(select(accounts.c.credits)))[0][0])


async def until_completed(store: Store) -> None:
    unfinished = select(batches.c.id).where(batches.c.state != JobState.COMPLETED)
    async with asyncio.timeout(WITHIN_S):
        while await store.fetch_all(unfinished):  # noqa: ASYNC110 - another task completes it
            await asyncio.sleep(0.02)


async def paying_key(bench: Bench) -> str:
    account = await bench.accounts.create_account(credits=CREDITS)
    return (await bench.accounts.create_key(account, "emailable")).key


async def test_a_kill_before_the_commit_leaves_no_batch(url: str) -> None:
    async with open_bench(url, time.time, dispatch=dispatch_for(url)) as bench:
        key = await paying_key(bench)
        async with submitting(url, key) as process:
            process.kill()
            await process.wait()
        assert await count(bench.store, batch_items) == ROWS - 1
        caller = await bench.accounts.authenticate("emailable", key)
        assert caller is not None
        assert (await bench.jobs(caller).list_page(ListJobs())).total == 0
        assert await credits_left(bench.store) == CREDITS
        assert await count(bench.store, batch_chunks) == await turns(bench.store) == 0
    later = UPLOAD_TIMEOUT.total_seconds() + 60
    async with open_bench(url, lambda: time.time() + later, dispatch=dispatch_for(url)) as bench:
        await bench.batch_services.sweeper.sweep()
        assert await count(bench.store, batch_items) == await count(bench.store, batches) == 0


async def test_a_kill_after_the_commit_leaves_the_whole_batch(url: str) -> None:
    async with open_bench(url, time.time, dispatch=dispatch_for(url)) as bench:
        key = await paying_key(bench)
        async with submitting(url, key) as process:
            assert process.stdin is not None
            process.stdin.write(b"\n")
            await said(process, "submitted")
            process.kill()
            await process.wait()
        assert await credits_left(bench.store) == CREDITS - ROWS
        assert await turns(bench.store) > 0
        async with open_bench(url, time.time, work=True, dispatch=dispatch_for(url)):
            await until_completed(bench.store)
        caller = await bench.accounts.authenticate("emailable", key)
        assert caller is not None
        (job,) = (await bench.jobs(caller).list_page(ListJobs())).jobs
        assert (job.state, job.done_count, job.total) == (JobState.COMPLETED, ROWS, ROWS)
        assert await credits_left(bench.store) == CREDITS - ROWS


# -- half-open connections -----------------------------------------------------------------


@pytest.fixture
async def proxy(postgres_server: PostgresServer) -> AsyncIterator[TcpProxy]:
    async with tcp_proxy(postgres_server.socket_folder / ".s.PGSQL.5432") as proxy:
        yield proxy


async def test_a_worker_goes_on_after_its_connections_were_lost(
    url: str, proxy: TcpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.store.postgres.ANSWER_TIMEOUT_S", 1.0)
    monkeypatch.setattr("gateway.cluster.dispatch.connector.CALL_TIMEOUT_S", 1.0)
    proxied = f"postgresql://veriplex@127.0.0.1:{proxy.port}/postgres"
    async with open_bench(url, time.time, dispatch=dispatch_for(url)) as server:
        caller = await server.caller("emailable")
        async with open_bench(proxied, time.time, work=True, dispatch=dispatch_for(proxied)):
            await server.submit(caller, ["before@example.org"])
            await until_completed(server.store)
            proxy.lose_connections()
            await server.submit(caller, ["after@example.org"])
            await until_completed(server.store)


async def test_livez_fails_if_the_job_engine_alone_is_stuck(
    url: str, proxy: TcpProxy, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.cluster.dispatch.connector.STUCK_AFTER_S", 3.0)
    monkeypatch.setattr("gateway.cluster.dispatch.connector.CALL_TIMEOUT_S", 1.0)
    proxied = f"postgresql://veriplex@127.0.0.1:{proxy.port}/postgres"
    settings = Settings.model_validate({"storage": {"url": url, "direct_url": proxied}})
    async with (
        open_services(settings, verifier=Local()) as services,
        httpx.AsyncClient(
            transport=httpx.ASGITransport(create_app(services)), base_url="http://127.0.0.1"
        ) as client,
    ):

        async def livez() -> int:
            return (await client.get("/livez")).status_code

        async def until(status: int) -> None:
            async with asyncio.timeout(WITHIN_S):
                while await livez() != status:  # noqa: ASYNC110 - what changes is a time
                    await asyncio.sleep(0.05)

        assert await livez() == 200
        proxy.passes_new = False
        proxy.lose_connections()
        await until(503)
        with postgres_server.frozen():  # a restart would not help
            await until(200)
        proxy.passes_new = True
        proxy.lose_connections()
        await until(200)


# -- greylisting ---------------------------------------------------------------------------

SOURCES = {"vienna": "127.0.3.1", "berlin": "127.0.4.1"}
LETTERS = str.maketrans("0123456789", "ghijklmnop")  # postgrey ignores digits in a sender
GREYLISTS = Script(rcpt=[("^grey", ["450 4.2.0 Greylisted, come back", "250 2.1.5 Ok"])])


def egress_settings(url: str, name: str, engine: Mapping[str, object]) -> Settings:
    """A process with one egress, from its own source address."""
    return Settings.model_validate(
        {
            "storage": {"url": url},
            "work": {"heartbeat_s": 0.2, "dead_after_s": 1.0, "pieces": 1},
            "engine": {"allow_private_networks": True, **engine},
            "egress": [{"name": name, "source_address": SOURCES[name]}],
        }
    )


@contextlib.asynccontextmanager
async def vienna_then_berlin(
    url: str,
    engine: Mapping[str, object],
    emails: Sequence[str],
    until_greylisted: Callable[[Store], Awaitable[None]],
) -> AsyncIterator[Store]:
    """Lists of an address each, all of which Vienna has asked about when Berlin starts, and which
    are completed. Either works on one at a time, and would take its part of them."""
    async with contextlib.AsyncExitStack() as stack:
        enter = stack.enter_async_context
        services = await enter(open_services(egress_settings(url, "vienna", engine)))
        account = await services.accounts.create_account()
        key = (await services.accounts.create_key(account, "generic")).key
        transport = httpx.ASGITransport(create_app(services))
        client = await enter(
            httpx.AsyncClient(transport=transport, base_url="http://veriplex.test")
        )
        for email in emails:
            reply = await client.post(
                "/generic/api/v1/verify/bulk", json={"emails": [email]}, headers={"X-API-Key": key}
            )
            assert reply.status_code < 300, reply.text
        async with asyncio.timeout(WITHIN_S):
            await until_greylisted(services.store)
        await enter(open_services(egress_settings(url, "berlin", engine)))
        await until_completed(services.store)
        yield services.store


async def test_a_greylisted_address_is_asked_again_from_the_same_source_address(url: str) -> None:
    zone = {"g.test": {"MX": ["10 mx.g.test."]}, "mx.g.test": {"A": ["127.0.1.1"]}}
    emails = [f"grey{n}@g.test" for n in range(5)]
    async with fake_dns(zone) as dns, fake_smtp({"127.0.1.1": GREYLISTS}) as smtp:
        engine = {
            "dns_servers": [dns.address],
            "smtp_port": smtp.port,
            "helo": "probe.test",
            "greylist_retries_s": [1.0],
        }
        seen = smtp.seen["127.0.1.1"]

        async def until_greylisted(_: Store) -> None:
            while len(seen.recipients) < len(emails):  # noqa: ASYNC110 - of another task
                await asyncio.sleep(0.01)

        async with vienna_then_berlin(url, engine, emails, until_greylisted):
            assert {seen.recipients[email] for email in emails} == {2}
            assert set(seen.peers) == {SOURCES["vienna"]}


@pytest.mark.testbed
async def test_a_real_greylist_accepts_the_one_retry(url: str) -> None:
    """Postgrey knows a client by its /24 network, a sender and a recipient. It refuses a retry from
    elsewhere, as it does the first one, and there is no other."""
    emails = [f"grey{n:02}@greylist.test" for n in range(10, 15)]
    engine = {
        "dns_servers": [DNS_SERVER],
        "helo": CONFIG.helo,
        "mail_from": f"{secrets.token_hex(8).translate(LETTERS)}@sender.test",  # a new one
        "greylist_retries_s": [5.0],
    }

    async def until_greylisted(store: Store) -> None:
        put_off = select(batch_chunks.c.batch_id).where(batch_chunks.c.attempt > 0)
        while len(await store.fetch_all(put_off)) < len(emails):  # noqa: ASYNC110 - of another task
            await asyncio.sleep(0.01)

    async with vienna_then_berlin(url, engine, emails, until_greylisted) as store:
        found = await store.fetch_all(select(batch_results.c.word))
        assert [row.word for row in found] == ["deliverable"] * len(emails)
