"""Replies that are compressed, for which clients, and which are not."""

import gzip
from collections.abc import AsyncIterator

import httpx
import orjson
import pytest
from starlette.types import Message

from gateway.app import open_services
from gateway.settings import Settings
from gateway.web.compression import MIN_BYTES, accepts_gzip, compressing
from gateway.web.dispatch import create_app
from tests.dialects import ALL

KEYS = {dialect.name: dialect.sandbox_key for dialect in ALL}
BEARER = {"Authorization": f"Bearer {KEYS['generic']}"}


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        ("", False),
        ("gzip", True),
        ("GZIP", True),
        ("x-gzip", True),
        ("deflate, gzip;q=0.5, br", True),
        ("*", True),
        ("identity", False),
        ("br", False),
        ("gzip;q=0", False),
        ("gzip; q=0.0, *", False),
        ("gzip;q=soon", False),
        ("gzip;level=9", True),
    ],
)
def test_who_accepts_gzip(header: str, accepted: bool) -> None:
    assert accepts_gzip(header) is accepted


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings.model_validate(
        {"storage": {"url": "sqlite:///:memory:"}, "sandbox": {"published": True}}
    )
    async with (
        open_services(settings, dialects=ALL, run_workers=False) as services,
        httpx.AsyncClient(
            transport=httpx.ASGITransport(create_app(services)), base_url="http://veriplex.test"
        ) as client,
    ):
        yield client


async def job(client: httpx.AsyncClient, count: int) -> str:
    emails = [f"user{n}@example.com" for n in range(count)]
    reply = await client.post(
        "/generic/api/v1/verify/bulk", headers=BEARER, json={"emails": emails}
    )
    return f"/generic/api/v1/jobs/{reply.json()['jobId']}"


async def fetch(client: httpx.AsyncClient, path: str, accepted: str) -> tuple[httpx.Headers, bytes]:
    """The headers, and the body as it was sent."""
    headers = {**BEARER, "Accept-Encoding": accepted}
    async with client.stream("GET", path, headers=headers) as reply:
        assert reply.status_code == 200
        return reply.headers, b"".join([chunk async for chunk in reply.aiter_raw()])


@pytest.mark.parametrize("path", ["/results?limit=1000", "/download"])
async def test_a_long_stream_is_compressed(client: httpx.AsyncClient, path: str) -> None:
    path = await job(client, 1000) + path
    headers, compressed = await fetch(client, path, "gzip")
    assert headers["content-encoding"] == "gzip"
    assert headers["vary"] == "Accept-Encoding"
    assert "content-length" not in headers
    plain_headers, plain = await fetch(client, path, "identity")
    assert "content-encoding" not in plain_headers
    assert plain_headers["vary"] == "Accept-Encoding"
    assert plain_headers["content-type"] == headers["content-type"]
    assert len(compressed) < len(plain) / 5
    if path.endswith("/download"):
        assert gzip.decompress(compressed) == plain
    else:
        assert orjson.loads(gzip.decompress(compressed)) == orjson.loads(plain)


async def test_a_long_reply_in_one_piece_has_its_new_length() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    plain = b'{"a":1}' * MIN_BYTES
    out = compressing(send, "gzip")
    length = (b"content-length", b"%d" % len(plain))
    headers = [length, (b"content-type", b"application/json; charset=utf-8")]
    await out({"type": "http.response.start", "status": 200, "headers": headers})
    await out({"type": "http.response.body", "body": plain})
    start, body = sent
    assert gzip.decompress(body["body"]) == plain
    assert dict(start["headers"]) == {
        b"content-type": b"application/json; charset=utf-8",
        b"content-encoding": b"gzip",
        b"content-length": b"%d" % len(body["body"]),
        b"vary": b"Accept-Encoding",
    }


@pytest.mark.parametrize("path", ["/generic/api/v1/account", "/livez"])
async def test_a_short_reply_is_sent_as_it_is(client: httpx.AsyncClient, path: str) -> None:
    headers, body = await fetch(client, path, "gzip")
    assert "content-encoding" not in headers
    assert len(body) < MIN_BYTES


async def test_a_short_stream_is_sent_as_it_is(client: httpx.AsyncClient) -> None:
    headers, body = await fetch(client, await job(client, 1) + "/download", "gzip")
    assert "content-encoding" not in headers
    assert body.startswith(b"email,")


async def test_an_archive_is_not_compressed_again(client: httpx.AsyncClient) -> None:
    emails = [f"user{n}@example.com" for n in range(1_001)]
    bearer = {"Authorization": f"Bearer {KEYS['emailable']}"}
    made = await client.post("/emailable/v1/batch", headers=bearer, json={"emails": emails})
    status = await client.get(
        "/emailable/v1/batch", headers=bearer, params={"id": made.json()["id"]}
    )
    path = status.json()["download_file"].removeprefix("http://veriplex.test")
    headers, body = await fetch(client, path, "gzip")
    assert "content-encoding" not in headers
    assert body.startswith(b"PK")


async def test_a_head_request_has_no_body(client: httpx.AsyncClient) -> None:
    path = await job(client, 1000) + "/download"
    reply = await client.head(path, headers=BEARER)
    assert reply.status_code == 200
    assert reply.content == b""
