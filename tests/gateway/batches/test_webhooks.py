"""Webhooks: sent again until they are accepted, as the dialect says, and to public addresses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import pytest
from sqlalchemy import column, create_engine, insert, table, text

from adapters.contract.batch_rules import is_success
from adapters.contract.jobs import BatchEntry
from adapters.contract.operations import DeleteJob, StartJob, SubmitJob
from engine.dns.targets import is_global
from engine.turns import Turns
from gateway.batches.http_post import HttpWebhookPost
from gateway.batches.outbox import LEASE_S, SqlOutbox
from gateway.store import StoreAway
from gateway.store.migrate import upgrade
from gateway.upstreams.transport.aiohttp_transport import HttpTransport
from tests.gateway.batches.conftest import Bench, open_bench

URL = "https://hooks.example/done"
RETRY_INTERVAL_S = 3_600
"""Emailable's."""


async def test_the_body_is_that_of_the_status_endpoint(bench: Bench) -> None:
    caller = await bench.caller("emailable")
    job = await bench.submit(caller, ["ada@example.com"], url=URL)
    await bench.batch_services.drain()
    ((url, sent),) = bench.posts
    body = orjson.loads(sent)
    assert (url, body["id"]) == (URL, job.id)
    assert body["message"] == "Batch verification completed."
    assert [row["email"] for row in body["emails"]] == ["ada@example.com"]


async def test_the_webhook_of_a_large_batch_names_its_file(bench: Bench) -> None:
    caller = await bench.caller("emailable")
    await bench.submit(caller, [f"u{i}@example.com" for i in range(1001)], url=URL)
    await bench.batch_services.drain()
    body = orjson.loads(bench.posts[0][1])
    assert body["download_file"].startswith("http://veriplex.test/emailable/v1/downloads/")
    assert "emails" not in body


async def test_a_delivered_webhook_is_not_sent_again(bench: Bench) -> None:
    await bench.submit(await bench.caller("emailable"), ["ada@example.com"], url=URL)
    await bench.batch_services.drain()
    await bench.wait(100 * RETRY_INTERVAL_S)
    assert len(bench.posts) == 1


async def test_a_webhook_is_sent_hourly_until_it_is_accepted(bench: Bench) -> None:
    bench.replies[:] = ["HTTP 500", "HTTP 204", "timed out"]
    await bench.submit(await bench.caller("emailable"), ["ada@example.com"], url=URL)
    await bench.batch_services.drain()
    for times in (1, 2, 3):
        assert len(bench.posts) == times
        await bench.wait(RETRY_INTERVAL_S - 1)
        assert len(bench.posts) == times
        await bench.wait(1)
    await bench.wait(100 * RETRY_INTERVAL_S)
    assert len(bench.posts) == 4


async def test_a_webhook_is_given_up_after_three_days(bench: Bench) -> None:
    bench.replies[:] = ["HTTP 500"] * 1000
    await bench.submit(await bench.caller("emailable"), ["ada@example.com"], url=URL)
    await bench.batch_services.drain()
    for _ in range(100):
        await bench.wait(RETRY_INTERVAL_S)
    assert len(bench.posts) == 1 + 72


async def test_a_pending_webhook_survives_a_restart(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'v.db'}"
    async with open_bench(url) as bench:
        bench.replies[:] = ["HTTP 500"]
        await bench.submit(await bench.caller("emailable"), ["ada@example.com"], url=URL)
        await bench.batch_services.drain()
    async with open_bench(url, bench.clock) as again:
        await again.wait(RETRY_INTERVAL_S)
        assert len(again.posts) == 1


@dataclass
class Receiver:
    """An HTTP server that answers with `statuses`, then 200."""

    port: int = 0
    statuses: list[int] = field(default_factory=list)
    requests: list[bytes] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.partition(b":")[2])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        )
        self.requests.append(head + await reader.readexactly(length))
        status = self.statuses.pop(0) if self.statuses else 200
        location = b"Location: /\r\n" if status == 302 else b""
        writer.write(b"HTTP/1.1 %d x\r\n%sContent-Length: 0\r\n\r\n" % (status, location))
        await writer.drain()
        writer.close()
        await writer.wait_closed()


@asynccontextmanager
async def receiver(*statuses: int) -> AsyncIterator[Receiver]:
    receiver = Receiver(statuses=list(statuses))
    async with await asyncio.start_server(receiver.serve, "127.0.0.1", 0) as server:
        receiver.port = server.sockets[0].getsockname()[1]
        yield receiver


@asynccontextmanager
async def posting(*, private: bool) -> AsyncIterator[HttpWebhookPost]:
    post = HttpWebhookPost(
        HttpTransport(keep_alive_s=0),
        may_dial=lambda address: private or is_global(address),
        refusal="the receiver's address is private",
    )
    try:
        yield post
    finally:
        await post.aclose()


async def test_only_200_is_a_success() -> None:
    statuses = [201, 204, 302, 400, 500, 503]
    async with receiver(*statuses) as server, posting(private=True) as post:
        url = f"http://localhost:{server.port}/done?x=1"
        outcomes = [await post(url, b"{}") for _ in range(len(statuses) + 1)]
    assert outcomes == [*(f"HTTP {status}" for status in statuses), ""]
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /done?x=1 HTTP/1.1\r\n")
    assert f"host: localhost:{server.port}".encode() in head
    assert b"content-type: application/json" in head
    assert body == b"{}"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "10.0.0.1", "169.254.169.254"])
async def test_private_addresses_are_not_dialled(host: str) -> None:
    async with receiver() as server, posting(private=False) as post:
        assert "private" in await post(f"http://{host}:{server.port}/", b"{}")
    assert server.requests == []


@pytest.mark.parametrize("url", ["http://", "http://nowhere.invalid/", "http://127.0.0.1:1/"])
async def test_an_unreachable_receiver_has_a_reason(url: str) -> None:
    async with posting(private=True) as post:
        assert await post(url, b"{}") != ""


async def test_accounts_take_turns_with_their_webhooks(bench: Bench) -> None:
    many, one = await bench.caller("emailable"), await bench.caller("emailable")
    outbox, turns = SqlOutbox(bench.store, clock=bench.clock), Turns()
    for n in range(4):
        await bench.submit(many, [f"ada@{n}.example"], url=f"https://silent.example/{n}")
    for n in range(2):
        await bench.submit(one, [f"bob@{n}.example"], url=URL)
    await bench.batch_services.runner.drain()
    accounts = []
    while (delivery := await outbox.claim(turns)) is not None:
        turns.take(delivery.account_id)
        accounts.append(delivery.account_id)
    many_id, one_id = many.account_id, one.account_id
    assert accounts == [many_id, one_id, many_id, one_id, many_id, many_id]


async def test_an_account_without_a_webhook_in_flight_does_not_wait_for_slow_receivers(
    bench: Bench,
) -> None:
    many, one = await bench.caller("emailable"), await bench.caller("emailable")
    outbox, turns = SqlOutbox(bench.store, clock=bench.clock), Turns()
    for n in range(2):
        await bench.submit(many, [f"ada@{n}.example"], url=f"https://silent.example/{n}")
    await bench.batch_services.runner.drain()
    assert (await outbox.claim(turns)) is not None
    turns.take(many.account_id)
    assert await outbox.claim(turns, only_idle_accounts=True) is None
    await bench.submit(one, ["bob@example.com"], url=URL)
    await bench.batch_services.runner.drain()
    delivery = await outbox.claim(turns, only_idle_accounts=True)
    assert delivery is not None
    assert (delivery.account_id, delivery.url) == (one.account_id, URL)


def events_of(bench: Bench) -> list[str]:
    bodies = [orjson.loads(body) for _, body in bench.posts]
    return [body.get("event") or f"row {body['row']}" for body in bodies]


async def test_each_event_and_each_row_may_have_a_webhook(bench: Bench) -> None:
    caller = await bench.caller("toy")
    op = SubmitJob(
        entries=map(BatchEntry, ("ada@example.com", "bob@example.com")),
        webhook_url=URL,
        name="list.csv",
        options={"hook": "mine"},
    )
    job = await bench.jobs(caller).submit(op)
    await bench.batch_services.webhook_sender.drain()
    assert events_of(bench) == ["parsing", "parsed", "started"]
    await bench.batch_services.drain()
    assert events_of(bench)[3:] == ["row ada@example.com", "row bob@example.com", "finished"]
    await bench.jobs(caller).delete(DeleteJob(job_id=job.id))
    await bench.batch_services.sweeper.sweep()
    await bench.batch_services.drain()
    assert events_of(bench)[6:] == ["deleted"]
    assert {orjson.loads(body)["job"] for _, body in bench.posts} == {job.id}
    assert orjson.loads(bench.posts[-1][1])["name"] == "list.csv"
    assert [headers["X-Hook"] for headers in bench.sent_headers] == ["mine"] * 7


async def test_a_batch_without_a_url_has_no_webhooks(bench: Bench) -> None:
    caller = await bench.caller("toy")
    job = await bench.submit(caller, ["ada@example.com"])
    await bench.batch_services.drain()
    await bench.jobs(caller).delete(DeleteJob(job_id=job.id))
    await bench.batch_services.drain()
    assert bench.posts == []


async def test_the_start_of_a_waiting_batch_is_an_event(bench: Bench) -> None:
    caller = await bench.caller("toy")
    op = SubmitJob(entries=[BatchEntry("ada@example.com")], webhook_url=URL, start=False)
    job = await bench.jobs(caller).submit(op)
    await bench.batch_services.drain()
    assert events_of(bench) == ["parsing", "parsed"]
    started = await bench.jobs(caller).start(StartJob(job_id=job.id, options={"by": "hand"}))
    assert started.options == {"by": "hand"}
    await bench.batch_services.webhook_sender.drain()
    assert events_of(bench)[2:] == ["started"]


async def test_a_dialect_says_which_statuses_are_a_success(bench: Bench) -> None:
    bench.replies[:] = ["HTTP 204", "HTTP 201", "HTTP 302"]
    await bench.submit(await bench.caller("toy"), ["ada@example.com"], url=URL)
    await bench.batch_services.webhook_sender.drain()
    assert events_of(bench) == ["parsing", "parsed", "started"]
    await bench.batch_services.drain()
    await bench.wait(60)
    assert events_of(bench)[3:] == ["row ada@example.com", "finished", "started"]


async def test_rows_that_are_deleted_have_no_webhook(bench: Bench) -> None:
    bench.replies[:] = ["HTTP 500"] * 5
    caller = await bench.caller("toy")
    job = await bench.submit(caller, ["ada@example.com"], url=URL)
    await bench.batch_services.drain()
    await bench.jobs(caller).delete(DeleteJob(job_id=job.id))
    await bench.batch_services.sweeper.sweep()
    await bench.wait(60)
    assert events_of(bench)[5:] == ["deleted"]


def test_the_deliveries_of_an_older_version_are_kept(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'v.db'}")
    with engine.begin() as connection:
        upgrade(connection, "here", None, target="0006")
        values = {
            **{"id": 7, "public_id": "x", "dialect": "emailable", "account_id": 1},
            **{"state": "completed", "created_at": "2026-05-15", "total": 1, "rows": 1},
            **{"valid": 1, "done": 1, "counts": "{}", "start": 1, "retries": 1, "checks": "dns"},
            **{"headers": "[]", "options": "{}", "webhook_url": URL, "token": "t"},
            **{"charged_units": 0, "turn": 0, "rows_gone": 0},
        }
        older = table("batches", *map(column, values))
        connection.execute(insert(older).values(values))
        deliveries = "INSERT INTO deliveries VALUES (:batch, :url, 5.0, 9.0, 2, 'HTTP 500', NULL)"
        connection.execute(text(deliveries), {"batch": 7, "url": URL})
        connection.execute(text(deliveries), {"batch": 8, "url": "https://gone.example/"})
    with engine.begin() as connection:
        upgrade(connection, "here", "0006")
        rows = connection.execute(text("SELECT * FROM webhooks")).mappings().all()
        names = connection.execute(text("SELECT name FROM batches")).scalars().all()
    engine.dispose()
    ((row),) = rows
    wanted = {"batch_id": 7, "dialect": "emailable", "url": URL, "event": "", "attempts": 2}
    assert {name: row[name] for name in wanted} == wanted
    assert (row["due_at"], row["give_up_at"], row["body"]) == (5.0, 9.0, None)
    assert names == [""]


async def test_a_client_adds_headers_but_none_of_the_connection() -> None:
    async with receiver(204) as server, posting(private=True) as post:
        headers = {
            "X-Own": "yes", "Authorization": "Bearer x", "Host": "evil.example",
            "Content-Length": "1", "Transfer-Encoding": "chunked", "Connection": "close",
            "Bad Name": "x", "X-Split": "a\r\nX-Injected: 1", "X-Umlaut": "ä",
        }  # fmt: skip
        url = f"http://localhost:{server.port}/"
        assert await post(url, b"{}", headers=headers, is_accepted=is_success) == ""
    head = server.requests[0].partition(b"\r\n\r\n")[0].lower()
    assert b"\r\nx-own: yes" in head
    assert b"\r\nauthorization: bearer x" in head
    assert f"\r\nhost: localhost:{server.port}".encode() in head
    assert b"\r\ncontent-length: 2" in head
    for absent in (b"evil", b"chunked", b"bad name", b"injected", b"umlaut"):
        assert absent not in head


async def test_a_database_that_fails_meanwhile_is_no_bug_and_the_webhook_is_sent_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    failed = asyncio.Event()

    async def post(url: str, body: bytes, **options: object) -> str:
        failed.set()
        raise StoreAway("the database", "is being restarted")

    url = f"sqlite:///{tmp_path / 'v.db'}"
    async with open_bench(url, work=True, post_webhook=post) as bench:
        await bench.submit(await bench.caller("emailable"), ["ada@example.com"], url=URL)
        await asyncio.wait_for(failed.wait(), 30)
    assert "webhook.delayed" in caplog.messages
    assert "webhook.failed" not in caplog.messages
    async with open_bench(url, bench.clock) as again:
        await again.wait(LEASE_S)
        assert len(again.posts) == 1
