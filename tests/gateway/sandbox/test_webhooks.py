"""Webhooks of the sandbox, to a receiver that can fail."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from gateway.sandbox.requests import MAX_WAITERS_OF_SCOPE
from gateway.sandbox.webhooks import MAX_IN_FLIGHT
from gateway.sandbox_app import (
    NOT_PRIVATE,
    WEBHOOK_TIMEOUT_S,
    SandboxServer,
    open_sandbox,
    open_webhook_post,
)
from gateway.web.dispatch import create_app
from tests.fakes import toy

KEY = "test_7aff7fc0142c65f86a00"
API = "/veriplex/v1"


class Receiver:
    """Answers with the given statuses, and then always with the last of them."""

    def __init__(self, statuses: list[int]) -> None:
        self.statuses = statuses
        self.bodies: asyncio.Queue[bytes] = asyncio.Queue()
        self.url = ""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        )
        self.bodies.put_nowait(await reader.readexactly(length))
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        writer.write(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % status)
        await writer.drain()
        writer.close()
        await writer.wait_closed()


@asynccontextmanager
async def receiving(*statuses: int) -> AsyncIterator[Receiver]:
    receiver = Receiver(list(statuses))
    server = await asyncio.start_server(receiver.answer, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook?a=b"
    async with server:
        yield receiver


async def submit(
    client: httpx.AsyncClient, url: str, email: str = "a@b.org", key: str = KEY
) -> str:
    body = {"emails": [email], "api_key": key, "url": url}
    made = await client.post("/emailable/v1/batch", json=body)
    return str(made.json()["id"])


async def body_of(receiver: Receiver) -> dict[str, object]:
    async with asyncio.timeout(5):
        body: dict[str, object] = json.loads(await receiver.bodies.get())
    return body


async def test_the_webhook_has_the_completed_batch(client: httpx.AsyncClient) -> None:
    async with receiving(200) as receiver:
        id_ = await submit(client, receiver.url)
        body = await body_of(receiver)
        assert body["id"] == id_
        status = await client.get(f"/emailable/v1/batch?id={id_}&api_key={KEY}")
        assert body == status.json()


@pytest.mark.parametrize("status", [500, 302, 204])
async def test_after_anything_but_200_it_is_sent_again_an_hour_later(
    client: httpx.AsyncClient, status: int
) -> None:
    async with receiving(status, 200) as receiver:
        await submit(client, receiver.url)
        await body_of(receiver)
        await client.post(f"{API}/clock", json={"advance_s": 3_601})
        await body_of(receiver)
        await client.post(f"{API}/clock", json={"advance_s": 3_601})
        assert receiver.bodies.empty()


async def test_an_hour_passes_for_one_key_only(client: httpx.AsyncClient) -> None:
    keys = [(await client.post(f"{API}/keys")).json()["keys"]["emailable"] for _ in range(2)]
    async with receiving(500, 500, 200) as receiver:
        ids = [await submit(client, receiver.url, key=key) for key in keys]
        assert {(await body_of(receiver))["id"] for _ in ids} == set(ids)
        await client.post(f"{API}/clock", params={"key": keys[0]}, json={"advance_s": 3_601})
        assert (await body_of(receiver))["id"] == ids[0]
        assert receiver.bodies.empty()


async def test_a_fault_makes_an_attempt_fail_unsent(client: httpx.AsyncClient) -> None:
    fault = {"operation": "webhook", "simulate": "500", "times": 1}
    await client.post(f"{API}/faults", json=fault)
    async with receiving(200) as receiver:
        failed, sent = [await submit(client, receiver.url) for _ in range(2)]
        assert (await body_of(receiver))["id"] == sent
        assert (await client.get(f"{API}/faults")).json()["faults"][0]["over"]
        await client.post(f"{API}/clock", json={"advance_s": 3_601})
        assert (await body_of(receiver))["id"] == failed
        assert receiver.bodies.empty()


async def test_the_webhook_of_a_slow_batch_waits_for_its_end(client: httpx.AsyncClient) -> None:
    async with receiving(200) as receiver:
        await client.post(f"{API}/clock", json={"frozen": True})
        await submit(client, receiver.url, "a+simulate-slow@b.org")
        assert receiver.bodies.empty()
        await client.post(f"{API}/clock", json={"advance_s": 61})
        assert (await body_of(receiver))["message"] == "Batch verification completed."


ODD_URLS = (
    "http://a b/",
    "http://[::1]:1/",
    "http://" + "a." * 200 + "x/",
    "http://xn--/",
    "http://..",
    "http://\u200d/",
    "http://127.0.0.1:1/a b\r\nX: y",
    "http://user:pa ss@127.0.0.1:1/",
)


async def test_odd_urls_do_not_keep_other_webhooks_from_being_sent(
    client: httpx.AsyncClient,
) -> None:
    async with receiving(200) as receiver:
        for url in ODD_URLS:
            await submit(client, url)
        id_ = await submit(client, receiver.url)
        assert (await body_of(receiver))["id"] == id_
        for _ in range(2):  # later, too
            await client.post(f"{API}/clock", json={"advance_s": 3_601})
            id_ = await submit(client, receiver.url)
            assert (await body_of(receiver))["id"] == id_


class Silent:
    """A receiver that never answers."""

    def __init__(self) -> None:
        self.connections = asyncio.Semaphore(0)
        """One for each that was made."""
        self._writers: list[asyncio.StreamWriter] = []

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        self.connections.release()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self.answer, "127.0.0.1", 0)
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        finally:
            server.close()
            for writer in self._writers:
                writer.close()
                with contextlib.suppress(ConnectionError):
                    await writer.wait_closed()
            await server.wait_closed()


async def test_slow_receivers_of_one_key_do_not_delay_those_of_another(
    client: httpx.AsyncClient,
) -> None:
    keys = [(await client.post(f"{API}/keys")).json()["keys"]["emailable"] for _ in range(2)]
    silent = Silent()
    async with silent.listening() as slow_url, receiving(200) as receiver:
        for _ in range(3 * MAX_IN_FLIGHT):
            await submit(client, slow_url, key=keys[0])
        for _ in range(MAX_IN_FLIGHT):
            await silent.connections.acquire()
        id_ = await submit(client, receiver.url, key=keys[1])
        assert (await body_of(receiver))["id"] == id_
        assert silent.connections.locked()  # no more than those at a time


async def test_a_server_that_stops_does_not_wait_for_slow_receivers() -> None:
    silent = Silent()
    async with silent.listening() as slow_url:
        async with open_sandbox("veriplex", url="http://veriplex.test") as server:
            transport = httpx.ASGITransport(create_app(server))
            async with httpx.AsyncClient(
                transport=transport, base_url="http://veriplex.test"
            ) as client:
                for _ in range(MAX_IN_FLIGHT):
                    await submit(client, slow_url)
                for _ in range(MAX_IN_FLIGHT):
                    await silent.connections.acquire()
            stopping_at = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - stopping_at < WEBHOOK_TIMEOUT_S / 2


async def test_the_webhook_of_a_removed_batch_is_not_sent(
    client: httpx.AsyncClient, server: SandboxServer
) -> None:
    async with receiving(200) as receiver:
        await client.post(f"{API}/clock", json={"frozen": True})
        for _ in range(3):
            await submit(client, receiver.url, "a+simulate-slow@b.org")
        await server.sandbox.jobs.clear(None)
        kept = await submit(client, receiver.url, "a+simulate-slow@b.org")
        await client.post(f"{API}/clock", json={"advance_s": 61})
        assert (await body_of(receiver))["id"] == kept
        assert receiver.bodies.empty()


@pytest.mark.parametrize(
    "host",
    [
        "8.8.8.8",
        "[2606:4700::1111]",
        "168.63.129.16",
        "169.254.169.254",
        "[fe80::1]",
        "[fd00:ec2::254]",
        "[::ffff:169.254.169.254]",
        "[64:ff9b::808:808]",
        "100.100.100.200",
    ],
)
async def test_public_addresses_and_cloud_metadata_are_not_dialled(host: str) -> None:
    async with contextlib.aclosing(open_webhook_post()) as post:
        for scheme in ("http", "https"):
            assert await post(f"{scheme}://{host}/hook", b"{}") == NOT_PRIVATE


async def test_each_event_and_each_row_of_a_batch_may_have_a_webhook(
    client: httpx.AsyncClient,
) -> None:
    key = toy.DIALECT.sandbox_key
    async with receiving(202) as receiver:
        fields = {"email_address_column": "1", "return_url": receiver.url, "api_key": key}
        file = {
            "file": ("l.csv", b"deliverable@example.com\nundeliverable@example.com", "text/csv")
        }
        made = await client.post("/toy/v9/sendfile", data=fields, files=file)
        id_ = made.json()["file_id"]
        bodies = [await body_of(receiver) for _ in range(6)]
        assert {body["job"] for body in bodies} == {id_}
        told = {str(body.get("event") or body["word"]) for body in bodies}
        assert told == {"parsing", "parsed", "started", "valid", "invalid", "finished"}
        gone = await client.get(f"/toy/v9/deletefile?file_id={id_}&api_key={key}")
        assert gone.status_code == 200
        assert (await body_of(receiver)) == {"job": id_, "event": "deleted", "name": "l.csv"}
        await client.post(f"{API}/clock", json={"advance_s": 121})
        assert receiver.bodies.empty()


async def shown(client: httpx.AsyncClient, query: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await client.get(f"{API}/webhooks{query}")).json()["webhooks"]
    return found


async def test_the_control_api_shows_what_became_of_a_webhook(client: httpx.AsyncClient) -> None:
    await client.post(f"{API}/clock", json={"at": "2027-01-01T00:00:00Z", "frozen": True})
    async with receiving(500, 200) as receiver:
        url = receiver.url.replace("http://", "http://user:hunter2@") + "&token=s3cr3t"
        id_ = await submit(client, url)
        reply = await client.get(f"{API}/webhooks/wait?timeout_s=5")
        assert reply.status_code == 200
        await body_of(receiver)
        async with asyncio.timeout(5):
            while not (found := await shown(client))[0]["error"]:
                await client.get(f"{API}/webhooks/wait?count=2&timeout_s=0.05")
        (record,) = found
        assert "hunter2" not in str(record)
        assert "s3cr3t" not in str(record)
        assert receiver.url.removeprefix("http://") in record["url"]
        assert (record["dialect"], record["batch"]) == ("emailable", id_)
        assert (record["status"], record["attempts"]) == ("waiting", 1)
        assert "500" in record["error"]
        assert record["last_attempt_at"] == "2027-01-01T00:00:00+00:00"
        assert record["next_attempt_at"] == "2027-01-01T01:00:00+00:00"

        await client.post(f"{API}/clock", json={"advance_s": 3_600})
        await body_of(receiver)
        reply = await client.get(f"{API}/webhooks/wait?status=delivered&batch={id_}&timeout_s=5")
        (record,) = reply.json()["webhooks"]
        assert (record["attempts"], record["error"], record["next_attempt_at"]) == (2, "", None)
    assert await shown(client, "?status=waiting") == []
    await client.post(f"{API}/reset")
    assert await shown(client) == []


async def test_a_webhook_that_is_never_accepted_is_given_up(client: httpx.AsyncClient) -> None:
    await client.post(f"{API}/faults", json={"operation": "webhook", "simulate": "500"})
    await submit(client, "http://127.0.0.1:9/hook")
    await client.get(f"{API}/webhooks/wait?timeout_s=5")
    async with asyncio.timeout(10):
        while not await shown(client, "?status=given_up"):
            await client.post(f"{API}/clock", json={"advance_s": 86_400})
            await client.get(f"{API}/webhooks/wait?status=given_up&timeout_s=0.05")
    (record,) = await shown(client)
    assert record["attempts"] >= 2
    assert record["next_attempt_at"] is None


async def test_webhooks_are_those_of_the_key(client: httpx.AsyncClient) -> None:
    key = (await client.post(f"{API}/keys")).json()["keys"]["emailable"]
    async with receiving(200) as receiver:
        await submit(client, receiver.url)
        assert len(await shown(client)) == 1
        assert await shown(client, f"?key={key}") == []


async def test_too_few_webhooks_are_a_408(client: httpx.AsyncClient) -> None:
    reply = await client.get(f"{API}/webhooks/wait?count=2&timeout_s=0")
    assert reply.status_code == 408
    assert reply.json()["detail"] == "0 of 2 webhooks came so far within 0 s."


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("batches=1", "no parameter is named 'batches'; did you mean batch?"),
        ("status=deliverd", "no status is named 'deliverd'; did you mean delivered?"),
        ("dialect=emailabel", "no dialect is named 'emailabel'; did you mean emailable?"),
    ],
)
async def test_misspelt_filters_of_webhooks_are_refused(
    client: httpx.AsyncClient, query: str, detail: str
) -> None:
    for call in ("webhooks", "webhooks/wait"):
        reply = await client.get(f"{API}/{call}?{query}")
        assert (reply.status_code, reply.json()["detail"]) == (400, detail)


async def test_few_calls_may_wait_for_webhooks_at_a_time(client: httpx.AsyncClient) -> None:
    url = f"{API}/webhooks/wait?timeout_s=0.5"
    replies = await asyncio.gather(*(client.get(url) for _ in range(MAX_WAITERS_OF_SCOPE + 5)))
    assert Counter(reply.status_code for reply in replies) == {408: MAX_WAITERS_OF_SCOPE, 429: 5}
    assert (await client.get(f"{API}/webhooks/wait?timeout_s=0.01")).status_code == 408
