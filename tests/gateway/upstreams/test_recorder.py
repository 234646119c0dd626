"""Exchanges with an upstream kept as fixtures, where its replies are meant to do harm."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path

from adapters.contract.upstream import (
    Call,
    Fault,
    Pending,
    UpstreamQuery,
    UpstreamReply,
    UpstreamRequest,
    UpstreamResult,
)
from adapters.emailable import DIALECT
from engine.address.syntax import parse_address
from gateway.upstreams.source.recorder import MAX_REPLY_BYTES, MAX_WAITING, FixtureRecorder
from gateway.upstreams.transport.client import UpstreamLocation

QUERY = UpstreamQuery(parse_address("someone.private@example.org"))
REQUEST = UpstreamRequest("GET", "/v1/verify", {"email": QUERY.address.raw, "api_key": "good-key"})


def reply_of(body: str | bytes, status: int = 200) -> UpstreamReply:
    raw = body.encode() if isinstance(body, str) else body
    return UpstreamReply(status, {"content-type": "application/json"}, raw, 1_780_000_000.0)


async def recorded(folder: Path, *replies: UpstreamReply) -> list[str]:
    recorder = FixtureRecorder(folder, UpstreamLocation(DIALECT, "https://api.test/v1"))
    for reply in replies:
        recorder("good-key", QUERY, REQUEST, reply)
    await recorder.aclose()
    return texts_in(folder)


def texts_in(folder: Path) -> list[str]:
    return [file.read_text("utf-8") for file in sorted(folder.rglob("*.json"))]


async def test_a_large_reply_is_not_recorded(tmp_path: Path) -> None:
    assert not await recorded(tmp_path, reply_of('"' + "a" * MAX_REPLY_BYTES + '"'))


async def test_a_reply_of_letters_is_recorded(tmp_path: Path) -> None:
    letters = "a" * (MAX_REPLY_BYTES - 20)
    (text,) = await recorded(tmp_path, reply_of(f'{{"message":"{letters}"}}', status=400))
    assert json.loads(text)["reply"]["json"] == {"message": letters}


async def test_no_part_of_an_address_is_recorded_however_long_it_is(tmp_path: Path) -> None:
    body = json.dumps({"message": f"{'private.' * 40}@{'secret.' * 60}example: no such user"})
    (text,) = await recorded(tmp_path, reply_of(body, status=400))
    assert "private" not in text
    assert "secret" not in text
    assert ": no such user" in text


async def test_a_reply_nested_too_deeply_is_recorded_as_text(tmp_path: Path) -> None:
    nested = '{"message":' * 1000 + "1" + "}" * 1000
    (text,) = await recorded(tmp_path, reply_of(nested, status=400))
    assert json.loads(text)["reply"]["text"] == nested


async def test_replies_are_read_and_written_in_another_thread(tmp_path: Path) -> None:
    assert DIALECT.upstream is not None
    verify = DIALECT.upstream.verify
    threads = []

    def parse(reply: UpstreamReply, query: UpstreamQuery) -> UpstreamResult | Pending | Fault:
        threads.append(threading.get_ident())
        return verify.parse(reply, query)

    upstream = replace(DIALECT.upstream, verify=Call(verify.build, parse))
    location = UpstreamLocation(replace(DIALECT, upstream=upstream), "https://api.test/v1")
    recorder = FixtureRecorder(tmp_path, location)
    recorder("good-key", QUERY, REQUEST, reply_of("{}"))
    await recorder.aclose()
    assert threads
    assert threading.get_ident() not in threads


async def test_few_exchanges_wait_to_be_recorded(tmp_path: Path) -> None:
    replies = [reply_of("{}", status=400 + number) for number in range(2 * MAX_WAITING)]
    assert len(await recorded(tmp_path, *replies)) == MAX_WAITING
